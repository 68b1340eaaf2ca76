//! The two-sided floor filter (docs/decisions/0007): the relation of two raw clocks from exchanges whose delays have a
//! sharp lower edge. Each direction of an exchange is its own measurement of `floor + noise`, the noise being learnt as
//! a mixture; six models, apart in how much the oscillators wander, are weighed by likelihood; and what the best of
//! them learns from each exchange feeds the boosted filter that the node fuses. Where a Gaussian filter averages
//! queueing away with 1/sqrt(n), the edge is found with up to 1/n. Open loop: nobody's steering reaches it.
//!
//! Two ends fed with the same four stamps hold exact negatives of each other: time between exchanges is the mean of
//! both raw scales, drift within an exchange is both ends' mean view of it, the direction with the smaller innovation
//! goes first, and every expression is symmetric under negation.
//!
//! It does not know an asymmetry that was there from the start: nobody can. A route that changes is another matter.

use std::mem::offset_of;

mod boosted;
mod duo;
mod events;
mod grain;
mod halves;
mod haste;
mod levels;
mod mixture;
mod model;
mod outset;
mod pack;
mod past;
mod rewind;
mod special;

use boosted::{Boosted, Site};
use events::{Change, EARLY_SIGMAS, Early, Watch};
use grain::Grain;
use halves::Halves;
use haste::{Haste, LAG_STAMPS};
use levels::Levels;
use mixture::{FLAT_MAX, Mixture, gain};
use model::{Innovation, MODELS, Models, Six, View};
use outset::Outset;
use past::{History, Past};
use special::{exp_all, ln_all};

use super::envelope::Envelope;
use super::{EdgeFilter, Fetch, Hard, Outcome, Pair, Scores, grain_ns};
use crate::flow::{Exchange, Relation, Span, StampClass};
use crate::limits::OSCILLATOR_RATE_MAX;
use crate::unit::RawTime;

/// Seconds in a nanosecond. Inside, offsets are ns, rates ns/s and q ns²/s³, so that the numbers stay near one.
const S_PER_NS: f64 = 1e-9;
const NS_PER_S: f64 = 1e9;
/// q in 1/s to q in ns²/s³.
const WANDER_SCALE: f64 = NS_PER_S * NS_PER_S;

/// Process noise of the models, q of the pair in 1/s: 1e-20 times powers of 10^1.2.
const BANK: [f64; MODELS] = [
    1e-20,
    1.584_893_192_461_113_5e-19,
    2.511_886_431_509_580_6e-18,
    3.981_071_705_534_972_5e-17,
    6.309_573_444_801_933e-16,
    1e-14,
];
const AGILE: usize = MODELS - 1;
/// The model believed first: two ordinary crystals of 1e-9/sqrt(s) make 2e-18.
const BANK_START: usize = 2;
/// Pair wander that is assumed until the bank has seen enough, 1/s.
const WANDER_PRIOR: f64 = 2e-17;
/// What is known of the wander before any exchange, in nats: server crystals lie between 1e-9 and 1e-8/sqrt(s)
/// (ALGORITHMS 4.2), a pair's q around 2e-17, with a decade of doubt. Without it a few minutes of a noisy link made q
/// 1e-20 as often as 1e-14, and the fused offset surer than it was.
const PRIOR: [f64; MODELS] = [-5.445, -2.205, -0.405, -0.045, -1.125, -3.645];
/// Variance of an unknown rate, ns²/s² (100 ppm).
const RATE_VAR_PRIOR: f64 = 1e10;
/// Exchanges before the models are scored, before their mean is believed, and before changes are looked for.
const SCORED_AFTER: u32 = 8;
const BELIEVED_AFTER: u32 = 24;
const WATCHED_AFTER: u32 = 64;
/// Exchanges since the start or a change before the state is worth going back to.
const MARKED_AFTER: u32 = 32;
/// Exchanges before the floors are well enough known for one of them to be seen falling. (All false changes of 130
/// seeds on 28 conditions lay before: in the first 320 exchanges.)
const SETTLED_AFTER: u32 = 512;
/// Memory of the models' scores, exchanges.
const SCORE_MEMORY: u32 = 2_000;
/// A model must be likelier by this much, in nats over the memory, to replace the best. (the prototype's 0.01 per
/// exchange is 20 nats at full memory: a model e^-20 as likely as another was kept, taught the noise, and took a rate's
/// wander for it; on 20 fresh seeds that cost 8 % of the RMS in the mean, 40 % where the wander is strong.)
const HYSTERESIS: f64 = 3.0;
/// And by this much before their mean is believed.
const EARLY_HYSTERESIS: f64 = 10.0;
/// An edge is lost, and takes in an exchange as the interval that it is, when the variance of its prediction is this
/// many times that of a delay of which nothing is known but the round trip.
const LOST_RATIO: f64 = 3.0;
/// The boosted filter starts anew when it lies this many standard deviations off the models.
const ASTRAY_SIGMAS: f64 = 6.0;
/// Memory of what an exchange is worth, exchanges.
const INFORMATION_MEMORY: f64 = 64.0;
/// Pair wander beyond these is not believed, 1/s.
const WANDER_MIN: f64 = 1e-24;
const WANDER_MAX: f64 = 1e-10;
/// Nor a boost beyond this; far above any cluster.
const BOOST_MAX: f64 = 32_768.0;
/// Exchanges of a weaker class in a row after which that class is all there is.
const WEAKER_MAX: u32 = 16;

/// The weighted mean of the models.
#[derive(Clone, Copy, Debug)]
struct Mixed {
    offset: f64,
    variance: f64,
}

/// The estimate of an edge that has seen at least one exchange. In the order in which it is needed: everything before
/// the watch's innovations is touched by each exchange, and comes in one piece.
#[derive(Clone, Debug)]
#[repr(C)]
struct Track {
    /// Whole part of peer minus self, ns.
    base_ns: i64,
    /// Sum of the newest exchange's four stamps: four times the mean of both raw clocks, wrapping.
    stamps_sum: i64,
    /// Own raw time to which the state belongs.
    mid: RawTime,
    envelope: Envelope,
    best: usize,
    grain: Grain,
    samples: u32,
    models: Models,
    log_likelihood: [f64; MODELS],
    mixture: Mixture,
    boosted: Boosted,
    /// Process noise of the pair as both ends last agreed on it, ns²/s³.
    q: f64,
    boost: f64,
    /// Mean information of one exchange, 1/ns².
    information: f64,
    /// True while exchanges of the past are gone through again.
    reliving: bool,
    outset: Outset,
    haste: Haste,
    levels: Levels,
    halves: Halves,
    watch: Watch,
    history: History,
}

impl Track {
    /// From one exchange and what is known of the rate (ns/s and its variance).
    fn new(base_ns: i64, exchange: &Exchange, pair: &Pair, rate: f64, rate_var: f64) -> Self {
        let (forward, backward) = relative(exchange, base_ns);
        let within = rate * S_PER_NS * symmetric_half_span_ns(exchange);
        let outset = Outset::new([forward + within, backward + within], rate, rate_var);
        let half = outset.half_ns();
        let mixture = Mixture::new(half);
        let models = outset.models(&mixture);
        let mid = exchange.local_mid();
        let mut track = Track {
            base_ns,
            stamps_sum: stamps_sum(exchange),
            mid,
            models,
            log_likelihood: [0.0; MODELS],
            best: BANK_START,
            mixture,
            grain: Grain::default(),
            watch: Watch::new(),
            history: History::new(),
            reliving: false,
            outset,
            haste: Haste::new(),
            levels: Levels::new(),
            halves: Halves::new(),
            boosted: Boosted::of(models.view(0)),
            q: 0.0,
            boost: 1.0,
            information: 1.0 / models.view(0).p_offset,
            envelope: Envelope::new(mid, Span { low_ns: 0.0, high_ns: 0.0 }),
            samples: 1,
        };
        track.agree(pair);
        track.grain.observe(exchange);
        track.halves.remember(half);
        track.envelope = Envelope::new(mid, track.hard(exchange));
        track
    }

    /// Takes over what both ends agree on.
    fn agree(&mut self, pair: &Pair) {
        // Both stand in what a peer says of itself: anything may come.
        let wander = if pair.wander.is_nan() { WANDER_PRIOR } else { pair.wander.clamp(WANDER_MIN, WANDER_MAX) };
        let wander = if self.haste.lags() { wander.max(BANK[AGILE] * self.haste.factor()) } else { wander };
        self.q = wander * WANDER_SCALE;
        self.boost = if pair.alive.is_nan() { 1.0 } else { (pair.alive / 2.0).clamp(1.0, BOOST_MAX) };
    }

    /// Takes in an exchange that lies `elapsed_s` after the newest; its apparent delays relative to the base, at its
    /// middle, ns. Returns what has changed on the path, if anything.
    fn take(&mut self, elapsed_s: f64, delays: [f64; 2], initiator: bool) -> Option<Change> {
        self.samples = self.samples.saturating_add(1);
        let n = self.samples;
        if !self.reliving {
            self.history.note(Past { elapsed_s, delays, initiator });
        }
        self.mixture.know_grain(self.grain.variance());
        let temper = self.outset.temper(n);
        let mixture = &self.mixture;
        self.models.predict(elapsed_s, self.bank() * WANDER_SCALE);
        let before = self.model(self.best);
        let half = 0.5 * (delays[0] + delays[1]);
        let own_var = half * half / 3.0;
        if before.p_offset > LOST_RATIO * own_var {
            // The first exchanges of a link that loses most of them, or an oscillator after a long silence: the mixture
            // says nothing at this scale, and what the exchange says by itself is certain.
            self.models.take_whole(0.5 * (delays[0] - delays[1]), own_var);
            if !self.reliving {
                self.boost_along(elapsed_s, None, true);
            }
            return None;
        }
        let expected = self.models.expected(delays);
        let (expected_best, expected_agile) = (self.alone(&expected, self.best), self.alone(&expected, AGILE));

        let (agile_ns, stamp_ns) = (self.model(AGILE).p_offset.sqrt(), self.models.stamp(AGILE).0);
        let taken = self.models.take(delays, &expected, initiator, mixture, temper);
        let [first, second] = taken.likelihoods;
        if n > SCORED_AFTER {
            let score_gain = 1.0 / f64::from((n - SCORED_AFTER).min(SCORE_MEMORY));
            let densities = first.density * second.density;
            let ratio = densities * densities / (taken.variances[0] * taken.variances[1]);
            let scores = Six::of(&self.log_likelihood);
            let scores = scores + (ln_all(ratio) * 0.5 - scores) * score_gain;
            self.log_likelihood = scores.lanes();
        }
        let flat = [first, second].iter().any(|l| l.flat.lane(self.best) > FLAT_MAX * l.density.lane(self.best));
        let best = self.model(self.best);
        let site = (!flat).then(|| Site::between((before.offset, before.p_offset), (best.offset, best.p_offset)));
        let scaled = expected_best.map(|(nu, sigma)| (nu / sigma, sigma));
        let lags = self.haste.lags();
        self.mixture.learn(scaled, n, lags);
        // What the best model lets the clock wander from one exchange to the next is more than the stamps' error: then
        // it may be the stamps' error just as well, and the models are judged each by its own idea of it.
        let wandered_var = BANK[self.best] * WANDER_SCALE * elapsed_s.powi(3) / 3.0;
        if wandered_var > self.mixture.stamp_var() {
            if !lags {
                self.models.learn_stamps(&taken, gain(n), self.mixture.stamp_ns_least());
            }
            self.models.know_stamp(self.best, &self.mixture);
        } else {
            self.models.share_stamp(&self.mixture);
        }
        if self.reliving {
            if let Some(site) = site.as_ref().filter(|_| n <= BELIEVED_AFTER) {
                self.learn_information(site); // it has set out again
            }
            return None;
        }

        let lag_ns = agile_ns.max(LAG_STAMPS * stamp_ns);
        self.haste.note(expected_agile.map(|(nu, _)| nu), lag_ns, self.best == AGILE && n > BELIEVED_AFTER);
        let early = [0, 1].map(|d| {
            let too_early = |(nu, sigma): (f64, f64)| n > WATCHED_AFTER && nu < -EARLY_SIGMAS * sigma;
            match [expected_best[d], expected_agile[d]].map(too_early) {
                [true, true] => Early::ForAll,
                [true, false] => Early::ForBest,
                [false, _] => Early::No,
            }
        });
        self.watch.note(expected_best.map(|(nu, _)| nu), early, elapsed_s);
        if !self.watch.any_early() {
            self.cap_floors();
        }
        let change = if n > WATCHED_AFTER {
            self.watch.change(&self.mixture, expected_best.map(|(_, sigma)| sigma), n > SETTLED_AFTER)
        } else {
            None
        };
        let mut found = change.map(|change| (change, self.watch.age(&change, self.mixture.stamp_ns()), true));
        if found.is_none() && n > WATCHED_AFTER {
            found = self.followed_change().map(|(change, age)| (change, age, false));
        }
        let change = found.and_then(|(change, age, sure)| self.book(change, age, sure));
        let outrun = change.is_none() && self.watch.outrun();
        if outrun {
            self.follow_agile();
        } else if change.is_none() && self.levels.is_due(self.watch.seen()) {
            self.compare();
        }
        self.choose();
        if self.watch.seen() >= MARKED_AFTER && self.history.is_due() && !self.watch.any_early() {
            self.mark();
        }
        let site = if self.set_out_again() { None } else { site };
        self.boost_along(elapsed_s, site, outrun || change.is_some());
        change
    }

    /// The models' process noise, q of the pair in 1/s.
    fn bank(&self) -> Six {
        let mut bank = Six::of(&BANK);
        if self.haste.lags() {
            bank.set(AGILE, BANK[AGILE] * self.haste.factor());
        }
        bank
    }

    fn model(&self, index: usize) -> View {
        self.models.view(index)
    }

    /// Of what all models expect, one model's innovations of both directions and their standard deviations, ns.
    fn alone(&self, expected: &[Innovation; 2], model: usize) -> [(f64, f64); 2] {
        [0, 1].map(|direction| {
            let innovation = &expected[direction];
            let (stamp_ns, _) = self.models.stamp(model);
            let variance = innovation.variance.lane(model) + stamp_ns * stamp_ns;
            (innovation.nu.lane(model), variance.sqrt())
        })
    }

    /// ln of each model's posterior probability, up to a constant.
    fn posterior(&self) -> [f64; MODELS] {
        let posterior = Six::of(&PRIOR) + Six::of(&self.log_likelihood) * self.memory();
        posterior.lanes()
    }

    /// Puts the likeliest model first.
    fn choose(&mut self) {
        if self.samples <= SCORED_AFTER {
            return;
        }
        let posterior = self.posterior();
        let top = greatest(&posterior);
        let hysteresis = if self.samples > BELIEVED_AFTER { HYSTERESIS } else { EARLY_HYSTERESIS };
        if posterior[top] > posterior[self.best] + hysteresis {
            self.best = top;
            self.mixture.believe(self.models.stamp(top));
            self.models.know_stamp(top, &self.mixture);
        }
    }

    /// Exchanges behind the scores.
    fn memory(&self) -> f64 {
        f64::from(self.samples.saturating_sub(SCORED_AFTER).min(SCORE_MEMORY))
    }

    /// The models' weighted mean; before they are believed, the best one.
    fn mixed(&self) -> Mixed {
        if self.samples <= BELIEVED_AFTER {
            let best = self.model(self.best);
            return Mixed { offset: best.offset, variance: best.p_offset };
        }
        let posterior = self.posterior();
        let top = posterior[greatest(&posterior)];
        let weights = exp_all(Six::of(&posterior) - Six::all(top));
        let offsets = self.models.offsets();
        let in_order = |numbers: Six| numbers.lanes::<MODELS>().into_iter().fold(0.0, |sum, number| sum + number);
        let total = in_order(weights);
        let offset = in_order(weights * offsets) / total;
        let apart = offsets - Six::all(offset);
        let variance = in_order(weights * (self.models.offset_variances() + apart * apart)) / total;
        Mixed { offset, variance }
    }

    /// Takes in what an exchange was worth.
    fn learn_information(&mut self, site: &Site) {
        let gain = 1.0 / f64::from(self.samples).min(INFORMATION_MEMORY);
        self.information += gain * (site.information - self.information);
    }

    /// Carries the boosted filter on and feeds it with what the exchange taught the best model.
    fn boost_along(&mut self, elapsed_s: f64, site: Option<Site>, changed: bool) {
        if let Some(site) = &site {
            self.learn_information(site);
        }
        let mixed = self.mixed();
        self.boosted.predict(elapsed_s, self.q);
        if let Some(site) = &site {
            self.boosted.update(site, self.boost);
        }
        let apart = self.boosted.offset - mixed.offset;
        let doubt = mixed.variance + self.boost * self.boosted.p_offset;
        let astray = apart * apart > ASTRAY_SIGMAS * ASTRAY_SIGMAS * doubt;
        if self.samples <= BELIEVED_AFTER || changed || astray {
            self.boosted = Boosted::of(self.model(self.best));
            self.boosted.offset = mixed.offset;
            self.boosted.p_offset = mixed.variance;
        }
    }

    /// How much faster the peer's raw clock runs than one's own. Inside, rate is per second of the *mean* of both.
    fn rate(&self) -> f64 {
        let symmetric = self.boosted.rate * S_PER_NS;
        symmetric / (1.0 - symmetric / 2.0)
    }

    /// What stamps of a class may be off by: as much as such are, or as these have been seen to be cut, ns.
    fn doubt_ns(&self, class: StampClass) -> f64 {
        grain_ns(class).max(self.grain.doubt_ns())
    }

    /// What the exchange says of the relation without any assumption on its delays, relative to the base, at its
    /// middle.
    fn hard(&self, exchange: &Exchange) -> Span {
        let span_ns = exchange.half_span_ns();
        let (rate, rate_doubt) = self.envelope.rate();
        let doubt_ns = self.doubt_ns(exchange.class) + rate_doubt * span_ns.abs();
        let (forward, backward) = relative(exchange, self.base_ns);
        let within = rate * span_ns;
        Span { low_ns: -(backward + within) - doubt_ns, high_ns: forward + within + doubt_ns }
    }
}

fn greatest(scores: &[f64; MODELS]) -> usize {
    let mut top = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[top] {
            top = index;
        }
    }
    top
}

/// The relation as one exchange shows it, to the nanosecond. Halving each delay first keeps it an exact opposite at the
/// other end: integer division cuts towards zero.
fn base_of(exchange: &Exchange) -> i64 {
    (exchange.forward_ns() / 2).wrapping_sub(exchange.backward_ns() / 2)
}

/// Apparent delays of an exchange when the base is taken out of the relation, ns.
fn relative(exchange: &Exchange, base_ns: i64) -> (f64, f64) {
    let forward = exchange.forward_ns().wrapping_sub(base_ns) as f64;
    let backward = exchange.backward_ns().wrapping_add(base_ns) as f64;
    (forward, backward)
}

fn stamps_sum(exchange: &Exchange) -> i64 {
    let local = exchange.local_sent.nanos().wrapping_add(exchange.local_received.nanos());
    let remote = exchange.remote_sent.nanos().wrapping_add(exchange.remote_received.nanos());
    local.wrapping_add(remote)
}

/// How long after the forward packet's middle the exchange's middle lies, on the mean of both raw scales, ns; the mean
/// of both ends' half spans, so that the ends correct by exact opposites (ALGORITHMS 2.2).
fn symmetric_half_span_ns(exchange: &Exchange) -> f64 {
    let remote = exchange.remote_received.since(exchange.remote_sent) as f64 / 2.0;
    (exchange.half_span_ns() - remote) / 2.0
}

/// The two-sided floor filter. About 11 KiB; what every exchange touches stands first.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Floor {
    class: StampClass,
    weaker: u32,
    track: Option<Track>,
}

impl Default for Floor {
    fn default() -> Self {
        Floor::new()
    }
}

impl Floor {
    /// A filter that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Floor { track: None, class: StampClass::User, weaker: 0 }
    }

    /// Decides by the class of its stamps whether an exchange may be mixed with its neighbours.
    fn admits(&mut self, class: StampClass) -> bool {
        if class < self.class && self.weaker < WEAKER_MAX && self.track.is_some() {
            self.weaker += 1;
            return false;
        }
        self.weaker = 0;
        true
    }
}

impl EdgeFilter for Floor {
    fn on_exchange(&mut self, exchange: &Exchange, pair: &Pair) -> Outcome {
        let (base_ns, rate) = match &self.track {
            Some(track) => (track.base_ns, track.model(track.best).rate * S_PER_NS),
            None => (base_of(exchange), 0.0),
        };
        let (forward, backward) = relative(exchange, base_ns);
        let span_ns = symmetric_half_span_ns(exchange);
        let within = rate.clamp(-OSCILLATOR_RATE_MAX, OSCILLATOR_RATE_MAX) * span_ns;
        let delays = [forward + within, backward + within];
        let half_ns = (delays[0] + delays[1]) / 2.0;
        let grain_ns = self.track.as_ref().map_or(grain_ns(exchange.class), |track| track.doubt_ns(exchange.class));
        let doubt_ns = grain_ns + exchange.half_span_ns().abs() * 2.0 * OSCILLATOR_RATE_MAX;
        if half_ns < -doubt_ns {
            return Outcome::Impossible;
        }
        if !self.admits(exchange.class) {
            if let Some(track) = &mut self.track {
                track.envelope.cut(exchange.local_mid(), track.hard(exchange));
            }
            return Outcome::WeakerStamp;
        }
        let other_class = exchange.class != self.class;
        self.class = exchange.class;
        let Some(track) = &mut self.track else {
            self.track = Some(Track::new(base_ns, exchange, pair, 0.0, RATE_VAR_PRIOR));
            return Outcome::Taken;
        };
        track.envelope.cut(exchange.local_mid(), track.hard(exchange));
        let sum = stamps_sum(exchange);
        let elapsed_s = sum.wrapping_sub(track.stamps_sum) as f64 / 4.0 * S_PER_NS;
        if elapsed_s <= 0.0 {
            return Outcome::Late;
        }
        if other_class {
            // Other stamps, other noise and other floors; the oscillators are the same.
            let best = track.model(track.best);
            let envelope = track.envelope;
            *track = Track::new(base_ns, exchange, pair, best.rate, best.p_rate);
            track.envelope = envelope;
            return Outcome::Restarted;
        }
        track.agree(pair);
        track.grain.observe(exchange);
        track.stamps_sum = sum;
        track.halves.remember(half_ns);
        track.outset.note_span(span_ns);
        let change = track.take(elapsed_s, delays, exchange.initiator);
        // The state belongs to the middle of the four stamps on the mean of both scales. On the own scale that is half
        // an innovation off the middle of the own two: with a packet 50 ms late and 50 ppm that makes 600 ns.
        let residual_ns = (delays[0] - delays[1]) / 2.0 - track.model(track.best).offset;
        track.mid = exchange.local_mid().plus((residual_ns / 2.0) as i64);
        match change {
            None | Some(Change::Rate { .. }) => Outcome::Taken,
            Some(Change::Clock { .. }) => Outcome::Restarted,
            Some(Change::Floor { .. } | Change::Floors { .. }) => Outcome::RouteChanged,
        }
    }

    fn relation(&self, at: RawTime) -> Option<Relation> {
        let track = self.track.as_ref()?;
        let later_s = at.since(track.mid) as f64 * S_PER_NS;
        let rate = track.rate();
        let mut aged = track.boosted;
        aged.predict(later_s.max(0.0), track.q);
        Some(Relation {
            at,
            base_ns: track.base_ns,
            offset_ns: track.boosted.offset + rate * NS_PER_S * later_s,
            rate,
            offset_var: aged.p_offset,
            offset_rate_cov: aged.p_cross * S_PER_NS,
            rate_var: aged.p_rate * S_PER_NS * S_PER_NS,
            noise_var: 1.0 / track.information,
            edge_var: aged.p_offset * track.boost,
            edge_rate_var: aged.p_rate * track.boost * S_PER_NS * S_PER_NS,
            hard: track.envelope.carried(at),
            delay_ns: 2.0 * f64::from(track.halves.least()),
            class: self.class,
            samples: track.samples,
        })
    }

    fn hard(&self, at: RawTime) -> Option<Hard> {
        self.track.as_ref().map(|track| Hard { base_ns: track.base_ns, span: track.envelope.carried(at) })
    }

    fn scores(&self) -> Scores<'_> {
        match &self.track {
            Some(track) => Scores {
                wander: &BANK,
                log_likelihood: &track.log_likelihood,
                samples: track.samples.saturating_sub(SCORED_AFTER).min(SCORE_MEMORY),
            },
            None => Scores { wander: &[], log_likelihood: &[], samples: 0 },
        }
    }

    fn foresee(&self, fetch: Fetch) {
        let before_track = offset_of!(Floor, track) + align_of::<Track>();
        fetch(std::ptr::from_ref(self).cast(), before_track + offset_of!(Track, watch) + Watch::HEAD);
        if let Some(track) = &self.track {
            track.watch.foresee(fetch);
        }
    }

    fn reset(&mut self) {
        *self = Floor::new();
    }
}

#[cfg(test)]
mod tests;
