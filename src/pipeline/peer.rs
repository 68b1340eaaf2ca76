//! One place of the peer table: who sits there, its edge filter, what it last said, and where it stands. Knows no other
//! peer and decides nothing about agreement.

use super::conduct::Conduct;
use super::leap::{later, without_seconds};
use super::standing::{Candidate, Standing, settled};
use super::steady::Steady;
use super::upheaval::{Tear, ends};
use crate::consensus::Voice;
use crate::consensus::{Algorithm, EdgeModel};
use crate::filter::{EdgeFilter, Fetch, FilterKind, Outcome, Pair, Scores};
use crate::flow::{Claim, Exchange, Mapping, NodeState, PeerIdentity, Relation, Role, Span, StampClass};
use crate::limits::{
    DRIFT_RATE, NONCE_LIFETIME_NS, OSCILLATOR_RATE_MAX, PEERS_MAX, SILENCE_INTERVALS, SILENCE_NS_MIN,
    TRANSMIT_STAMP_WAIT_NS,
};
use crate::unit::{PeerSlot, RawTime};

/// V over raw of a sane node: both oscillators at their worst, and its V being slewed (seconds per second).
pub(super) const V_RATE_MAX: f64 = 0.01;
/// Two raw clocks that part faster than this are not both oscillators (seconds per second).
const RELATION_RATE_MAX: f64 = 4.0 * OSCILLATOR_RATE_MAX;
/// Exchanges after which an edge is past its prior and may enter an agreement that holds.
const WARM_SAMPLES: u32 = 16;
/// Exchanges after which an edge has something to say about wander.
const WANDER_SAMPLES: u32 = 48;
/// A peer is promised for until it has been silent for so long, ns; by then it has left.
const PROMISED_NS: i64 = 10_000_000_000;

/// No exchange comes later than this behind another, ns: one that seems to was taken after the own clock was set back.
const LATE_NS_MAX: i64 = NONCE_LIFETIME_NS + TRANSMIT_STAMP_WAIT_NS;

/// One place of the table.
pub(super) struct Peer {
    pub identity: Option<PeerIdentity>,
    filter: Box<dyn EdgeFilter>,
    /// The newest claim that made sense; `None` after one that did not.
    pub claim: Option<Claim>,
    /// When the newest exchange ended, own raw time.
    heard: Option<RawTime>,
    /// Since when it has been heard without falling silent, own raw time.
    returned: RawTime,
    /// Time between its exchanges as this node was told, and as it is, ns.
    told_interval_ns: f64,
    interval_ns: f64,
    /// Own mapping when the peer's claim came, and how far own V and its rate have moved from it since: a decision must
    /// not take the same step towards the same claim twice.
    own_at_claim: Option<Mapping>,
    pub own_moved_ns: f64,
    pub own_rate_moved: f64,
    /// When the newest claim came.
    claimed: Option<RawTime>,
    pub conduct: Conduct,
    /// The relation carried to this tick.
    pub relation: Option<Relation>,
    pub standing: Standing,
    /// Has been used since it arrived: it need not warm up again.
    admitted: bool,
    /// Has been seen before it was settled: it started when this node did, or later.
    pub seen_unsettled: bool,
    /// Rate of its V over its raw clock before it agreed with anybody.
    start_rate: Option<f64>,
    /// The same when both had agreed for a while.
    pub rate_at_agreement: Option<f64>,
    /// Its V minus own V at this tick, ns, before the tick's decision, and its rate.
    pub z_ns: f64,
    pub g: f64,
    /// What lasts of that distance.
    steady: Steady,
    steady_ns: f64,
    /// The rate its V would have had it kept to that of its start.
    start_g: Option<f64>,
    /// How far its clock can be from the own one, ns; infinite if nothing can be said.
    pub bound_ns: f64,
    pub rx_class: StampClass,
    pub tx_class: StampClass,
    /// The last jump on this edge, for as long as others may be part of it.
    pub tear: Option<Tear>,
    /// When the newest exchange that fitted what was known began, own raw time.
    pub whole: Option<RawTime>,
}

impl Peer {
    pub(super) fn new(algorithm: Algorithm, interval_ns: i64) -> Self {
        Peer {
            identity: None,
            filter: filter_of(algorithm).make(),
            claim: None,
            heard: None,
            returned: RawTime::from_nanos(0),
            told_interval_ns: interval_ns as f64,
            interval_ns: 0.0,
            own_at_claim: None,
            own_moved_ns: 0.0,
            own_rate_moved: 0.0,
            claimed: None,
            conduct: Conduct::new(interval_ns),
            relation: None,
            standing: Standing::NoSamples,
            admitted: false,
            seen_unsettled: false,
            start_rate: None,
            rate_at_agreement: None,
            z_ns: 0.0,
            g: 0.0,
            steady: Steady::default(),
            steady_ns: 0.0,
            start_g: None,
            bound_ns: f64::INFINITY,
            rx_class: StampClass::User,
            tx_class: StampClass::User,
            tear: None,
            whole: None,
        }
    }

    /// Somebody else sits here now, or nobody: everything known is about another clock.
    pub(super) fn seat(&mut self, identity: Option<PeerIdentity>) {
        self.identity = identity;
        self.interval_ns = 0.0;
        self.tear = None;
        self.relearn();
    }

    /// The own clock has jumped: what is known of the edge is about another one, unless it was learnt since the jump.
    pub(super) fn relearn(&mut self) {
        if self.tear.take().is_none() {
            self.filter.reset();
            self.claim = None;
            self.heard = None;
            self.own_at_claim = None;
        }
        self.claimed = None;
        self.conduct.forget();
        self.steady.forget();
        self.whole = None;
        self.relation = None;
        self.standing = Standing::NoSamples;
        self.admitted = false;
        self.seen_unsettled = false;
        self.start_rate = None;
        self.rate_at_agreement = None;
        (self.z_ns, self.g, self.bound_ns) = (0.0, 0.0, f64::INFINITY);
    }

    /// Own V has taken a leap second: what is remembered of it goes along.
    pub(super) fn leap(&mut self, by_ns: i64) {
        self.own_at_claim = self.own_at_claim.map(|mapping| later(&mapping, by_ns));
    }

    /// Whether the peer can say something of this node's oscillator: it is here and keeps time by an agreement.
    pub(super) fn is_witness(&self, now: RawTime) -> bool {
        let keeps_time = self.claim.is_some_and(|c| c.state != NodeState::Unset && !c.joining);
        self.identity.is_some() && keeps_time && self.age_ns(now) <= self.silence_ns()
    }

    /// Looks whether one of the two oscillators has jumped since the edge was last heard; if so, the edge is learnt
    /// anew from this exchange on.
    fn look_for_tear(&mut self, exchange: &Exchange) {
        let behind_ns = self.heard.map_or(-1, |heard| heard.since(exchange.local_received));
        if (0..=LATE_NS_MAX).contains(&behind_ns) {
            return; // a late one says nothing of the present
        }
        let Some(known) = self.filter.hard(exchange.local_mid()) else { return };
        let silence_ns = -behind_ns;
        match Tear::between(&known, exchange, silence_ns) {
            Some(tear) => {
                self.filter.reset();
                self.steady.forget();
                self.heard = None;
                (self.tear, self.whole) = (Some(tear), None);
                (self.admitted, self.rate_at_agreement) = (false, None);
            }
            None => self.whole = Some(ends(exchange).0),
        }
    }

    /// Takes an exchange; `own` is what this node says of itself.
    pub(super) fn on_exchange(&mut self, exchange: &Exchange, own: &Claim) -> Outcome {
        let newer = self.claim.is_none_or(|c| exchange.claim.version.wrapping_sub(c.version) as i32 >= 0);
        let said = sane(&exchange.claim);
        if newer {
            self.watch(said.as_ref(), own, exchange);
            self.claim = said;
            self.own_at_claim = Some(own.mapping);
        }
        self.seen_unsettled |= !settled(&exchange.claim);
        if let Some(start) = said.filter(|c| c.state == NodeState::Unset) {
            self.start_rate = Some(start.mapping.rate);
        }
        self.look_for_tear(exchange);
        let outcome = self.filter.on_exchange(exchange, &pair(own, said.as_ref()));
        if outcome == Outcome::Impossible {
            return outcome;
        }
        if self.age_ns(exchange.local_received) > self.silence_ns() {
            self.returned = exchange.local_received;
        }
        if let Some(before) = self.heard {
            let gap_ns = exchange.local_received.since(before).max(0) as f64;
            self.interval_ns += (gap_ns - self.interval_ns) / 8.0;
        }
        if self.heard.is_none_or(|h| exchange.local_received.since(h) > 0) {
            self.heard = Some(exchange.local_received);
            (self.rx_class, self.tx_class) = (exchange.local_rx_class, exchange.local_tx_class);
        }
        outcome
    }

    /// Notes how the peer's V has moved since its last claim, while both have agreed.
    fn watch(&mut self, said: Option<&Claim>, own: &Claim, exchange: &Exchange) {
        let (here, there) = (exchange.local_received, exchange.remote_received);
        let before = self.claim.as_ref().zip(self.claimed);
        self.claimed = Some(here);
        let agreed = |claim: &Claim| claim.state == NodeState::Track && !claim.joining;
        match (said, before) {
            (Some(said), Some((claim, then))) if agreed(said) && agreed(claim) && agreed(own) => {
                // A leap second is no move of its V.
                let moved_ns = without_seconds(said.mapping.offset_difference_ns(there, &claim.mapping, there, 0));
                self.conduct.note(moved_ns, claim.mapping.rate, here.since(then) as f64 * 1e-9);
            }
            _ => self.conduct.forget(),
        }
    }

    /// Carries what is known to `now`, and expresses it between both nodes' V; with `blurred` their whole seconds say
    /// nothing.
    pub(super) fn carry(&mut self, now: RawTime, own: &Mapping, blurred: bool) {
        self.relation = self.identity.and(self.filter.relation(now));
        self.bound_ns = f64::INFINITY;
        let before = self.own_at_claim.unwrap_or(*own);
        self.own_moved_ns = own.offset_difference_ns(now, &before, now, 0);
        self.own_rate_moved = own.rate - before.rate;
        let (Some(relation), Some(claim)) = (&self.relation, &self.claim) else { return };
        let theirs = now.plus(relation.base_ns).plus(relation.offset_ns.floor() as i64);
        let through = |said: &Mapping, own: &Mapping| {
            let z_ns = said.offset_difference_ns(theirs, own, now, relation.base_ns) + relation.offset_ns;
            if blurred { without_seconds(z_ns) } else { z_ns }
        };
        (self.z_ns, self.steady_ns) = self.steady.follow(relation, (claim.mapping, *own), now, through);
        self.g = rate_apart(relation.rate, claim.mapping.rate, own.rate);
        self.start_g = self.start_rate.map(|start| rate_apart(relation.rate, start, own.rate));
    }

    pub(super) fn candidate(&self, now: RawTime) -> Candidate<'_> {
        let sane = self.relation.is_none_or(|r| r.rate.abs() <= RELATION_RATE_MAX && r.edge_var.is_finite());
        let warm = self.admitted || self.relation.is_some_and(|r| r.samples >= WARM_SAMPLES);
        Candidate {
            claim: self.claim.as_ref().filter(|_| sane),
            heard: self.relation.is_some(),
            silent: self.age_ns(now) > self.silence_ns(),
            warm,
            admitted: self.admitted,
        }
    }

    /// Tells `fetch` what of its filter the next exchange will touch.
    pub(super) fn foresee(&self, fetch: Fetch) {
        self.filter.foresee(fetch);
    }

    /// Remembers how the peer stands.
    pub(super) fn stand(&mut self, standing: Standing) {
        self.standing = standing;
        self.admitted |= standing == Standing::Used;
    }

    /// Time since the newest exchange, ns.
    pub(super) fn age_ns(&self, now: RawTime) -> i64 {
        self.heard.map_or(i64::MAX, |h| now.since(h))
    }

    fn silence_ns(&self) -> i64 {
        silence_ns(self.interval_ns.max(self.told_interval_ns))
    }

    /// The peer as the consensus hears it.
    pub(super) fn voice(&self, slot: PeerSlot, now: RawTime) -> Voice {
        let relation = self.relation.as_ref().expect("only a peer with a relation is used");
        let claim = self.claim.as_ref().expect("only a peer with a sane claim is used");
        let rate = self.conduct.rate();
        let through = self.z_ns - relation.offset_ns;
        Voice {
            slot,
            node: self.identity.expect("only somebody is used").node,
            tracks: claim.state == NodeState::Track,
            z_ns: self.z_ns,
            steady_ns: self.steady_ns,
            hard: Span { low_ns: through + relation.hard.low_ns, high_ns: through + relation.hard.high_ns },
            g: self.g,
            start_g: self.start_g,
            present_s: now.since(self.returned).max(0) as f64 * 1e-9,
            edge_var: relation.edge_var.max(1e-6),
            edge_rate_var: relation.edge_rate_var.max(1e-30),
            noise_var: relation.noise_var.max(1e-6),
            drift: self.rate_at_agreement.zip(rate).map(|(before, rate)| rate - before),
        }
    }

    /// Whether this node's promise covers it: whoever counts, or did or will do so in a moment. What is certain of a
    /// peer is certain from its first exchange on, whatever is made of its word; where much is lost, two that each hear
    /// a third agree with that one and say hardly anything to each other. While references lead, it speaks of them.
    pub(super) fn is_promised_for(&self, now: RawTime, led: bool) -> bool {
        let by_role = |claim: &&Claim| match claim.role {
            Role::Peer => !led,
            Role::Reference => true,
            Role::Observer => false,
        };
        let Some(claim) = self.claim.as_ref().filter(by_role) else { return false };
        match self.standing {
            Standing::Used => true,
            Standing::Learning | Standing::Coasting => settled(claim),
            Standing::Silent => !claim.joining && self.age_ns(now) <= PROMISED_NS,
            _ => false,
        }
    }

    /// How far the peer's clock can be from own V, ns, when own V has just moved by `moved_ns`: the hard interval
    /// through both mappings, what the peer says its clock still lacks to its V, what both may have drifted since it
    /// spoke, and what both ends' stamps can be wrong by (each stamp of a card is off by the same unknown amount, so
    /// that it widens the interval once for each end).
    pub(super) fn reach_ns(&self, now: RawTime, moved_ns: f64, own_stamp_doubt_ns: f64) -> f64 {
        let (Some(relation), Some(claim)) = (&self.relation, &self.claim) else { return f64::INFINITY };
        let z_ns = self.z_ns - moved_ns;
        let low = z_ns + (relation.hard.low_ns - relation.offset_ns);
        let high = z_ns + (relation.hard.high_ns - relation.offset_ns);
        let since_ns = self.age_ns(now).max(0) as f64;
        let doubt_ns = own_stamp_doubt_ns + f64::from(claim.stamp_doubt_ns);
        low.abs().max(high.abs()) + f64::from(claim.sigma_ns) + 2.0 * DRIFT_RATE * since_ns + doubt_ns
    }

    /// How well each process noise explains what this edge has seen; `None` before it has seen enough.
    pub(super) fn scores(&self) -> Option<Scores<'_>> {
        let scores = self.identity.map(|_| self.filter.scores())?;
        self.relation.filter(|r| r.samples >= WANDER_SAMPLES).map(|_| scores)
    }
}

/// The edge filter that an algorithm asks for.
fn filter_of(algorithm: Algorithm) -> FilterKind {
    match algorithm.entry().edges {
        EdgeModel::Gaussian => FilterKind::Kalman,
        EdgeModel::Floor => FilterKind::Floor,
        EdgeModel::Rounds => FilterKind::Rounds,
        EdgeModel::Regressed => FilterKind::Regressed,
    }
}

/// Who has not been heard for so long has left, ns.
pub(super) fn silence_ns(interval_ns: f64) -> i64 {
    SILENCE_NS_MIN.max((interval_ns * SILENCE_INTERVALS as f64) as i64)
}

/// How much faster the peer's V runs than own V: its raw clock against the own, and each V against its raw clock.
fn rate_apart(raw: f64, theirs: f64, own: f64) -> f64 {
    (raw + theirs + raw * theirs - own) / (1.0 + own)
}

/// What both ends of an edge agree on: everything symmetric in the two claims.
fn pair(own: &Claim, other: Option<&Claim>) -> Pair {
    let other = other.unwrap_or(own);
    Pair {
        boost: (f64::from(own.boost) + f64::from(other.boost)) / 2.0,
        wander: f64::from(own.wander) + f64::from(other.wander),
        alive: (f64::from(own.alive) + f64::from(other.alive)) / 2.0,
    }
}

/// The claim with its harmless oddities brought into range; `None` if its mapping cannot be that of a clock. A claim is
/// authenticated, but its sender may be broken or a liar.
fn sane(claim: &Claim) -> Option<Claim> {
    let Mapping { offset_frac_ns, rate, .. } = claim.mapping;
    if !(rate.abs() <= V_RATE_MAX && (0.0..=1.0).contains(&offset_frac_ns)) {
        return None;
    }
    let or_infinite = |n: f32| if n >= 0.0 { n } else { f32::INFINITY };
    Some(Claim {
        wander: if claim.wander.is_finite() { claim.wander.clamp(1e-21, 1e-12) } else { 1e-18 },
        boost: if claim.boost.is_finite() { claim.boost.clamp(1.0, PEERS_MAX as f32) } else { 1.0 },
        sigma_ns: or_infinite(claim.sigma_ns),
        bound_ns: or_infinite(claim.bound_ns),
        alive: claim.alive.clamp(1, PEERS_MAX as u16 + 1),
        ..*claim
    })
}
