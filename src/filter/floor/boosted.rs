//! The filter whose relation the node fuses: offset and rate alone, fed with what each exchange taught the floor
//! filter's best model, and with the gain that suits a node which fuses many edges (decisions/0007,
//! steps 1-3). Knows nothing of delays: the likelihood has been turned into an equivalent Gaussian measurement before
//! it comes here.

use super::model::View;

/// What one exchange says of the offset, as a Gaussian would say it: `ln p(o) = score (o - at) - information (o -
/// at)²/2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Site {
    /// The offset it is written around, ns.
    pub at: f64,
    /// Slope of the log-likelihood there, 1/ns.
    pub score: f64,
    /// Inverse of the measurement's variance, 1/ns².
    pub information: f64,
}

impl Site {
    /// From the best model's offset and variance before and after the exchange. Where the exchange left the model less
    /// sure than before, only its push is kept.
    pub(super) fn between(before: (f64, f64), after: (f64, f64)) -> Self {
        let tighter = (1.0 / after.1 - 1.0 / before.1).max(0.0);
        Site { at: before.0, score: (after.0 - before.0) / after.1.min(before.1), information: tighter }
    }
}

/// No offset is surer than this, ns².
const VARIANCE_MIN: f64 = 1e-9;

/// Offset and rate of an edge as its node fuses them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Boosted {
    /// Peer minus self, relative to the edge's base, ns.
    pub offset: f64,
    /// Its rate, ns/s.
    pub rate: f64,
    /// Variance of the offset if `boost` such edges were averaged, ns².
    pub p_offset: f64,
    /// Covariance of offset and rate, ns²/s.
    pub p_cross: f64,
    /// Variance of the rate, ns²/s².
    pub p_rate: f64,
}

impl Boosted {
    /// As sure as the model itself.
    pub(super) fn of(model: View) -> Self {
        let mut boosted = Boosted {
            offset: model.offset,
            rate: model.rate,
            p_offset: model.p_offset,
            p_cross: model.p_offset_rate,
            p_rate: model.p_rate,
        };
        boosted.settle();
        boosted
    }

    /// Stamps of another world make variances so large that rounding leaves negative ones.
    fn settle(&mut self) {
        let possible = self.p_offset >= VARIANCE_MIN
            && self.p_rate >= 0.0
            && self.p_cross * self.p_cross <= self.p_offset * self.p_rate;
        if !possible {
            self.p_offset = self.p_offset.max(VARIANCE_MIN);
            self.p_rate = self.p_rate.max(0.0);
            let most = (self.p_offset * self.p_rate).sqrt();
            self.p_cross = self.p_cross.clamp(-most, most);
        }
    }

    /// Carries the state `t` seconds on, under process noise `q` in ns²/s³.
    pub(super) fn predict(&mut self, t: f64, q: f64) {
        self.offset += self.rate * t;
        self.p_offset += t * (2.0 * self.p_cross + t * self.p_rate) + q * t * t * t / 3.0;
        self.p_cross += t * self.p_rate + q * t * t / 2.0;
        self.p_rate += q * t;
        self.settle();
    }

    /// Takes in a site as if `boost` independent edges had brought one like it.
    pub(super) fn update(&mut self, site: &Site, boost: f64) {
        let score = site.score - site.information * (self.offset - site.at);
        let gain = boost / (1.0 + boost * site.information * self.p_offset);
        let (offset, cross) = (self.p_offset, self.p_cross);
        self.offset += offset * score * gain;
        self.rate += cross * score * gain;
        let shrink = site.information * gain;
        self.p_offset -= offset * offset * shrink;
        self.p_cross -= offset * cross * shrink;
        self.p_rate -= cross * cross * shrink;
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gaussian_exchange_makes_the_site_of_a_kalman_update() {
        // Offset 10 +- 3, measured 16 +- 2: the posterior by hand, then back to the measurement.
        let (before, noise, measured) = ((10.0, 9.0), 4.0, 16.0);
        let gain = before.1 / (before.1 + noise);
        let after = (before.0 + gain * (measured - before.0), before.1 * (1.0 - gain));
        let site = Site::between(before, after);
        assert!((site.information - 1.0 / noise).abs() < 1e-12);
        assert!((site.score - (measured - before.0) / noise).abs() < 1e-12);

        let mut state = Boosted { offset: 10.0, rate: 0.0, p_offset: 9.0, p_cross: 0.0, p_rate: 1.0 };
        state.update(&site, 1.0);
        assert!((state.offset - after.0).abs() < 1e-12 && (state.p_offset - after.1).abs() < 1e-12);
    }

    #[test]
    fn a_boost_of_four_equals_four_exchanges_at_once() {
        let site = Site { at: 3.0, score: 0.5, information: 0.25 };
        let mut once = Boosted { offset: 1.0, rate: 2.0, p_offset: 9.0, p_cross: 1.0, p_rate: 4.0 };
        let mut four = once;
        once.update(&site, 4.0);
        for _ in 0..4 {
            four.update(&site, 1.0);
        }
        assert!((once.offset - four.offset).abs() < 1e-12, "{once:?} {four:?}");
        assert!((once.rate - four.rate).abs() < 1e-12);
        assert!((once.p_rate - four.p_rate).abs() < 1e-12);
    }

    #[test]
    fn an_exchange_that_widens_the_model_pushes_but_does_not_narrow() {
        let site = Site::between((0.0, 4.0), (1.0, 5.0));
        assert_eq!(site, Site { at: 0.0, score: 0.25, information: 0.0 });
    }
}
