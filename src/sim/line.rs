//! The straight line that lies best among points, by least squares. All points count alike; whoever wants only some of
//! them adds only those.

/// A line through points that are given one by one. Times are best counted from near the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    n: f64,
    t: f64,
    y: f64,
    tt: f64,
    ty: f64,
}

impl Line {
    /// One more point: `y` at `t`.
    pub fn add(&mut self, t: f64, y: f64) {
        (self.n, self.t, self.y) = (self.n + 1.0, self.t + t, self.y + y);
        (self.tt, self.ty) = (self.tt + t * t, self.ty + t * y);
    }

    /// By how much it rises, in the unit of `y` for one of `t`; `None` until two points have different times.
    #[must_use]
    pub fn slope(&self) -> Option<f64> {
        let spread = self.n * self.tt - self.t * self.t;
        (self.n >= 2.0 && spread > 0.0).then(|| (self.n * self.ty - self.t * self.y) / spread)
    }

    /// Where it is at `t`; `None` where it has no slope.
    #[must_use]
    pub fn at(&self, t: f64) -> Option<f64> {
        self.slope().map(|slope| self.y / self.n + slope * (t - self.t / self.n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_a_line_give_that_line_and_too_few_give_none() {
        let mut line = Line::default();
        line.add(3.0, 1.0);
        assert!(line.slope().is_none() && line.at(3.0).is_none());
        line.add(3.0, 1.0);
        assert!(line.slope().is_none());
        let mut line = Line::default();
        (0..1_000).for_each(|t| line.add(f64::from(t), 7.0 - 2e-3 * f64::from(t)));
        assert!((line.slope().unwrap() + 2e-3).abs() < 1e-12);
        assert!((line.at(2_000.0).unwrap() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn what_lies_beside_a_line_to_both_sides_moves_it_least() {
        let mut line = Line::default();
        [(0.0, 1.0), (1.0, -1.0), (2.0, -1.0), (3.0, 1.0)].into_iter().for_each(|(t, y)| line.add(t, y));
        assert_eq!((line.slope(), line.at(9.0)), (Some(0.0), Some(0.0)));
    }
}
