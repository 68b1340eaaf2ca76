//! How much one draw of a law says about where the law begins: its Fisher information of location. A Gaussian of
//! variance v holds 1/v; what comes after a sharp beginning holds far more than its variance tells, because an early
//! packet is never early by much. Densities are computed on a grid, term by term, and differentiated there.

use super::law::{Law, Term};

/// Points of the grid within one standard deviation of the normal part.
const POINTS_PER_SIGMA: f64 = 12.0;
/// The longest grid: 16 MB and a fraction of a second.
const POINTS_MAX: f64 = 2e6;
/// Means of an exponential that are looked at: what comes later is less than 1e-6 of all.
const MEANS: f64 = 14.0;
/// Spacing of the exponentials, in the logarithm of their means, of which heavier tails are mixed.
const MIX_STEP: f64 = 0.25;
/// Densities below this part of the greatest are rounding.
const FAINT: f64 = 1e-11;

/// The information, 1/ns².
///
/// # Errors
/// Why there is none, as the end of a sentence.
pub fn information(law: &Law) -> Result<f64, &'static str> {
    let always = |(part, term): &(f64, Term)| match term {
        Term::Normal(sd) if *part >= 1.0 => sd * sd,
        _ => 0.0,
    };
    let sigma = law.terms().iter().map(always).sum::<f64>().sqrt();
    if sigma == 0.0 {
        return Err("a delay without normal noise begins at a sharp edge, from which errors may fall as 1/n");
    }
    let mut grid = Grid::new(law, sigma)?;
    for (part, term) in law.terms() {
        let with = match term {
            // A constant moves where the law begins and says nothing about it.
            Term::Constant(_) if *part >= 1.0 => continue,
            Term::Normal(_) if *part >= 1.0 => continue,
            Term::Normal(_) => return Err("normal noise of only a part of the packets is not computed"),
            Term::Constant(span) => grid.shifted(*span),
            Term::Uniform(range) => grid.spread(*range),
            Term::Exponential(mean) => grid.delayed(*mean),
            Term::ExponentialProduct(scale) => grid.mixed(*scale, |mean| mean * (-mean).exp()),
            // An exponential whose rate is drawn from a gamma law.
            Term::Pareto(scale, shape) => grid.mixed(*scale, |mean| mean.powf(-shape) * (-1.0 / mean).exp()),
            Term::Recorded(delays) => grid.one_of(delays),
        };
        for (old, new) in grid.density.iter_mut().zip(with) {
            *old = (1.0 - part) * *old + part * new;
        }
    }
    Ok(grid.information())
}

/// A density at equal distances.
struct Grid {
    step: f64,
    density: Vec<f64>,
}

impl Grid {
    /// The normal part, with room for all the others.
    fn new(law: &Law, sigma: f64) -> Result<Self, &'static str> {
        let reach = |(part, term): &(f64, Term)| match term {
            Term::Constant(span) if *part < 1.0 => span.abs(),
            Term::Constant(_) | Term::Normal(_) => 0.0,
            Term::Uniform(range) => *range,
            Term::Exponential(span) | Term::Pareto(span, _) => MEANS * span,
            Term::ExponentialProduct(scale) => 3.0 * MEANS * scale,
            Term::Recorded(delays) => delays.iter().copied().fold(0.0, f64::max),
        };
        let after = law.terms().iter().map(reach).sum::<f64>() + 8.0 * sigma;
        let moved_back = |(part, term): &(f64, Term)| match term {
            Term::Uniform(range) => *range,
            Term::Constant(span) if *part < 1.0 => -span.min(0.0),
            Term::Recorded(delays) => -delays.iter().copied().fold(0.0, f64::min),
            _ => 0.0,
        };
        let before = law.terms().iter().map(moved_back).sum::<f64>() + 8.0 * sigma;
        let step = sigma / POINTS_PER_SIGMA;
        let points = (before + after) / step;
        if points > POINTS_MAX {
            return Err("its longest delays are too many times longer than its normal noise to be computed");
        }
        let normal = |n: usize| {
            let z = (n as f64 * step - before) / sigma;
            (-z * z / 2.0).exp() / (sigma * std::f64::consts::TAU.sqrt())
        };
        Ok(Grid { step, density: (0..points as usize + 2).map(normal).collect() })
    }

    /// Everything comes `span` later.
    fn shifted(&self, span: f64) -> Vec<f64> {
        let by = (span / self.step).round() as i64;
        let at = |n: usize| usize::try_from(n as i64 - by).ok().and_then(|from| self.density.get(from));
        (0..self.density.len()).map(|n| at(n).copied().unwrap_or(0.0)).collect()
    }

    /// Each delay is as likely as the others.
    fn one_of(&self, delays: &[f64]) -> Vec<f64> {
        let mut sum = vec![0.0; self.density.len()];
        for delay in delays {
            sum.iter_mut().zip(self.shifted(*delay)).for_each(|(sum, part)| *sum += part / delays.len() as f64);
        }
        sum
    }

    /// Everything comes up to `range` earlier or later.
    fn spread(&self, range: f64) -> Vec<f64> {
        if range == 0.0 {
            return self.density.clone();
        }
        let mut total = vec![0.0; self.density.len()];
        for n in 1..total.len() {
            total[n] = total[n - 1] + (self.density[n - 1] + self.density[n]) / 2.0 * self.step;
        }
        let before = |place: f64| {
            let place = place.clamp(0.0, (total.len() - 1) as f64);
            let (n, rest) = (place as usize, place.fract());
            total[n] + rest * (total.get(n + 1).unwrap_or(&total[n]) - total[n])
        };
        let reach = range / self.step;
        let over = |n: usize| (before(n as f64 + reach) - before(n as f64 - reach)) / (2.0 * range);
        (0..total.len()).map(over).collect()
    }

    /// Everything comes later by an exponential of this mean: exact for a density that is straight between its points.
    fn delayed(&self, mean: f64) -> Vec<f64> {
        if mean == 0.0 {
            return self.density.clone();
        }
        let x = self.step / mean;
        let (keep, come) = ((-x).exp(), -(-x).exp_m1());
        let (of_last, of_this) = (come / x - keep, 1.0 - come / x);
        let (mut sum, mut last) = (0.0, 0.0);
        let next = |now: &f64| {
            sum = keep * sum + of_last * last + of_this * now;
            last = *now;
            sum
        };
        self.density.iter().map(next).collect()
    }

    /// Everything comes later by one of many exponentials of means `scale` times e^t, each with this weight of e^t.
    fn mixed(&self, scale: f64, weight: impl Fn(f64) -> f64) -> Vec<f64> {
        let means = || (-60..=40).map(|n| (f64::from(n) * MIX_STEP).exp());
        let all: f64 = means().map(&weight).sum();
        let mut sum = vec![0.0; self.density.len()];
        for mean in means().filter(|mean| weight(*mean) > 1e-9 * all) {
            let part = weight(mean) / all;
            sum.iter_mut().zip(self.delayed(scale * mean)).for_each(|(sum, density)| *sum += part * density);
        }
        sum
    }

    /// The integral of the squared slope over the density.
    fn information(&self) -> f64 {
        let faint = FAINT * self.density.iter().copied().fold(0.0, f64::max);
        let at = |w: &[f64]| if w[1] > faint { ((w[2] - w[0]) / (2.0 * self.step)).powi(2) / w[1] } else { 0.0 };
        self.density.windows(3).map(at).sum::<f64>() * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> f64 {
        information(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_normal_law_holds_the_inverse_of_its_variance() {
        for (text, variance) in [("normal 30ns", 900.0), ("5us + normal 3ns + normal 4ns", 25.0)] {
            assert!((of(text) * variance - 1.0).abs() < 0.005, "{text}: {}", of(text) * variance);
        }
    }

    /// Far from its beginning an exponential behind normal noise is an edge of height 1/mean: what is learnt there is
    /// the integral of phi²/Phi, 0.9032, over sigma and mean, and 1/mean² of the slope behind it.
    #[test]
    fn an_exponential_behind_normal_noise_holds_what_its_edge_shows() {
        let phi = |z: f64| (-z * z / 2.0f64).exp() / std::f64::consts::TAU.sqrt();
        let (mut below, mut edge) = (0.0, 0.0);
        for n in -9_000..9_000 {
            let z = f64::from(n) * 1e-3;
            below += phi(z) * 1e-3;
            edge += phi(z).powi(2) / below * 1e-3;
        }
        for (text, sigma, mean) in [("exp 10us + normal 20ns", 20.0, 10e3), ("exp 200us + normal 100ns", 100.0, 200e3)]
        {
            let (seen, theory) = (of(text), edge / (sigma * mean));
            assert!((seen / theory - 1.0).abs() < 0.02, "{text}: {} of the theory", seen / theory);
        }
    }

    #[test]
    fn a_mixture_of_exponentials_has_the_moments_and_tail_of_the_law_it_stands_for() {
        for (text, tail) in [("normal 10ns + pareto 1us 4", 0.2f64), ("normal 10ns + exp*exp 1us", 0.1)] {
            let law: Law = text.parse().unwrap();
            let grid = Grid::new(&law, 10.0).unwrap();
            let density = match law.terms()[1].1 {
                Term::Pareto(scale, shape) => grid.mixed(scale, |m| m.powf(-shape) * (-1.0 / m).exp()),
                _ => grid.mixed(1_000.0, |mean| mean * (-mean).exp()),
            };
            let at = |n: usize| n as f64 * grid.step - 80.0;
            let mean: f64 = density.iter().enumerate().map(|(n, f)| at(n) * f * grid.step).sum();
            assert!((mean / law.mean() - 1.0).abs() < tail, "{text}: mean {mean}, not {}", law.mean());
        }
    }

    #[test]
    fn more_noise_never_says_more_and_no_law_says_less_than_its_variance() {
        let bare = of("exp 10us + normal 100ns");
        for more in ["uniform 500ns", "exp 2us", "pareto 1us 3", "10% 4us", "exp*exp 1us", "20% exp 100us"] {
            let text = format!("exp 10us + normal 100ns + {more}");
            let seen = of(&text);
            let variance = text.parse::<Law>().unwrap().variance();
            assert!(seen <= bare * 1.001 && seen * variance >= 1.0, "{text}: {seen} of {bare}, variance {variance}");
        }
    }

    #[test]
    fn a_sharp_edge_has_no_information_that_could_be_told() {
        for text in ["exp 10us", "none", "uniform 1us", "10% normal 30ns", "exp 1s + normal 1ns"] {
            assert!(information(&text.parse().unwrap()).is_err(), "{text}");
        }
    }
}
