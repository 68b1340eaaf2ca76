//! Filter, consensus and steering in order: the only place that joins them. Exchanges come in, each tick gives one
//! correction and one claim. Sans-IO: no clock, thread, log or randomness; time is passed in; nothing is allocated
//! after construction. The daemon runs one of these, the simulator thousands.
//!
//! Who is heard, in order of precedence (`standing` has the words):
//! - While a *reference* is alive, peers hear references only, their own V counts for nothing, and floor((r-1)/3) of r
//!   references may lie. A reference hears nobody; its V is what its clock reads, with the promise zero by definition.
//! - A node that tracked under references which are all gone now shows *holdover*: it and its like go on agreeing as
//!   equals and steering, but their bound keeps growing, because it is against the references. It ends when one
//!   returns.
//! - A node without agreement that hears more than twice f nodes which agreed before it came *joins*: it hears only the
//!   settled, asks for no weight, and takes V over whole. Otherwise all who start are equals, and stay so.
//! - An *observer* moves its own V like one that joins, so that its offset can be shown, but never its clock.
//!
//! The bound: of the peers that count, have just counted or are about to, all but the f furthest have their clocks
//! within it of this one (the f furthest are left out because liars can inflate them; with f = 0 it is all of them). Of
//! two honest nodes, either one is within the other's bound, or both leave each other out, and then share, with
//! n >= 3f+1, an honest peer within both bounds: so the *sum* of their bounds holds for any honest pair, whatever the
//! liars do (ALGORITHMS 9.3; 9.4 says what it rests on: above all that neither has rejected an honest peer as an
//! outlier).
//!
//! When the own oscillator is no longer what it was, everything starts anew: `upheaval` says when.
//!
//! Signs: inside, everything is peer minus self; [`NodeView`] and [`PeerView`] turn it round for people.

mod budget;
mod conduct;
mod config;
mod exercise;
mod follow;
mod foresight;
mod leap;
mod median;
mod peer;
mod promise;
mod snapshot;
mod standing;
mod steady;
pub mod tuning;
mod upheaval;
mod wander;

#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;

use crate::consensus::{Consensus, View, Voice};
use crate::flow::{Claim, Correction, Exchange, Leap, Mapping, NodeState, PeerIdentity, Reading, Role, Verdict};
use crate::limits::{PEERS_MAX, STAMP_DOUBT_NS_MAX};
use crate::steering::{Guard, Happening, Mode, Refusal, Signs};
use crate::unit::{PeerSlot, RawTime};
use median::median;

pub use crate::consensus::{ALGORITHMS, Algorithm};
pub use crate::filter::{Fetch, Outcome};
pub use crate::steering::{Limits, Refusal as ClockRefusal};
pub use config::{Config, Taken, Tick};
pub use exercise::Exercise;
pub use snapshot::{NodeView, PeerView, Snapshot};
pub use standing::Standing;
pub use upheaval::Upheaval;

use budget::{Budget, Circle, Heads};
use conduct::Conduct;
use follow::{Follower, lag_ns};
use leap::LeapWatch;
use peer::{Peer, V_RATE_MAX};
use promise::{Promise, reach};
use standing::{Situation, settled};
use upheaval::ends;
use wander::pooled_wander;

/// A node that has just heard somebody waits this long before it judges whether it starts with the others or joins
/// them.
const DECISION_NS: i64 = 250_000_000;
/// Rates count as agreed for the anchor after this many of a conduct's memories in track: 30 s where peers are heard
/// often. After 12 s what has not yet gone round in an overlay is taken for a drag, and held on to.
const ANCHOR_AFTER: f64 = 6.0;
/// A decision that moves V by more than this, and by more than thirty sigma, is no agreement, ns.
const APART_NS: f64 = 1_000.0;
/// A longer pause between ticks (a suspended machine) counts as this, seconds.
const DT_MAX_S: f64 = 60.0;
/// The own wander is found anew every so many ticks: it changes over minutes.
const WANDER_TICKS: u32 = 8;
/// Wander assumed until edges have said more, q in 1/s: 1e-9/sqrt(s), an ordinary crystal.
const WANDER_PRIOR: f64 = 1e-18;

/// One node's way from exchanges to corrections.
pub struct Pipeline {
    config: Config,
    peers: Vec<Peer>,
    consensus: Box<dyn Consensus>,
    voices: Vec<Voice>,
    mapping: Mapping,
    mode: Mode,
    guard: Guard,
    follower: Follower,
    promise: Promise,
    claim: Claim,
    /// When the last tick was.
    ticked: RawTime,
    /// When the first peer was heard that counts; `None` while there is none.
    first_heard: Option<RawTime>,
    /// When this node began to agree with others, and V's rate then; no time once it has been without them.
    started: Option<RawTime>,
    start_rate: f64,
    joining: bool,
    /// References lead now; did when this node last tracked.
    led: bool,
    led_once: bool,
    /// Seconds in track without joining.
    agreed_s: f64,
    /// How own V has moved in that time.
    conduct: Conduct,
    rate_at_agreement: Option<f64>,
    /// Liars tolerated.
    budget: Budget,
    circle: Circle,
    wander: f64,
    ticks: u32,
    boost: f64,
    alive: usize,
    used: u16,
    /// V minus the delivered clock at the last tick, ns.
    lag_ns: f64,
    /// By how much this node's own stamps can be wrong beyond the delays that they measure, ns.
    stamp_doubt_ns: u16,
    /// V goes by a saved mapping until somebody is heard.
    resumed: bool,
    /// What the machine has told of its oscillator since the last tick.
    told: Option<Upheaval>,
    /// When this node last started anew: exchanges that began before belong to another oscillator.
    born: Option<RawTime>,
    /// Since when it is not known how the own oscillator has spent the time.
    doubt: Option<RawTime>,
    /// Nothing small can be promised at this tick.
    doubtful: bool,
    refusal: Option<Refusal>,
    leap: LeapWatch,
}

impl Pipeline {
    /// A node that has heard nobody; `start` is its clock as read at `now`.
    ///
    /// # Panics
    /// If the capacity is beyond [`PEERS_MAX`] or ticks do not follow one another.
    #[must_use]
    pub fn new(config: &Config, start: Mapping, now: RawTime) -> Self {
        assert!(config.capacity <= PEERS_MAX, "a peer table holds at most {PEERS_MAX} peers");
        let start = Mapping { rate: start.rate.clamp(-V_RATE_MAX, V_RATE_MAX), ..start };
        let mut pipeline = Pipeline {
            config: *config,
            peers: (0..config.capacity).map(|_| Peer::new(config.algorithm, config.interval_ns)).collect(),
            consensus: config.algorithm.make(config.capacity),
            voices: Vec::with_capacity(config.capacity),
            mapping: start,
            mode: Mode::default(),
            guard: Guard::new(config.limits, config.tick_ns),
            follower: Follower::new(),
            promise: Promise::NOTHING,
            claim: Claim::unset(start, config.role),
            ticked: now,
            first_heard: None,
            started: None,
            start_rate: start.rate,
            joining: false,
            led: false,
            led_once: false,
            agreed_s: 0.0,
            conduct: Conduct::new(config.interval_ns),
            rate_at_agreement: None,
            budget: Budget::new(peer::silence_ns(config.interval_ns as f64)),
            circle: Circle::default(),
            wander: WANDER_PRIOR,
            ticks: 0,
            boost: 1.0,
            alive: 1,
            used: 0,
            lag_ns: 0.0,
            stamp_doubt_ns: 0,
            resumed: config.resumed,
            told: None,
            born: None,
            doubt: None,
            doubtful: false,
            refusal: None,
            leap: LeapWatch::default(),
        };
        pipeline.publish();
        pipeline
    }

    /// Somebody has taken a slot, or has come back in a new run: its edge starts anew.
    pub fn arrived(&mut self, identity: &PeerIdentity) {
        self.consensus.forget(identity.slot);
        self.peers[identity.slot.index()].seat(Some(*identity));
    }

    /// A slot is empty again.
    pub fn left(&mut self, slot: PeerSlot) {
        self.consensus.forget(slot);
        self.peers[slot.index()].seat(None);
    }

    /// Takes one finished exchange. Nothing in it, however absurd, panics.
    pub fn on_exchange(&mut self, exchange: &Exchange) -> Taken {
        let peer = &mut self.peers[exchange.peer.index()];
        let known = peer.identity.is_some_and(|i| i.node == exchange.node && i.boot == exchange.boot);
        let stale = self.born.is_some_and(|born| ends(exchange).0.since(born) < 0);
        if !known || stale {
            return Taken::Stray;
        }
        Taken::Filtered(peer.on_exchange(exchange, &self.claim))
    }

    /// From now on this node's stamps can be wrong by as much as this beyond the delays that they measure, ns: a card's
    /// clock is known only so well. Bounds are wider by it.
    pub fn set_stamp_doubt(&mut self, doubt_ns: f64) {
        // Rounded up, because it is a bound; what is beyond the field's range is no use as a stamp anyway.
        self.stamp_doubt_ns = doubt_ns.ceil().clamp(0.0, STAMP_DOUBT_NS_MAX) as u16;
    }

    /// What this node says of itself since the last tick.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// One steering tick: `now` is the delivered clock and the raw oscillator, just read together.
    pub fn tick(&mut self, now: Reading) -> Tick {
        let (gap_ns, before) = (now.raw.since(self.ticked), self.state());
        let dt_s = (gap_ns as f64 * 1e-9).clamp(0.0, DT_MAX_S);
        self.ticked = now.raw;
        let upheaval = self.look_for_upheaval(now.raw, gap_ns);
        self.mapping = self.mapping.rebased(now.raw);
        if self.state() == NodeState::Unset && !self.resumed || self.config.role == Role::Reference {
            self.mapping = self.follower.follow(now, self.mapping.rate);
        } else {
            self.follower.forget();
        }
        let blurred = self.blurs_seconds(now.raw);
        for peer in &mut self.peers {
            peer.carry(now.raw, &self.mapping, blurred);
        }

        let own_counts = self.judge(now.raw);
        let mut verdict = self.decide(own_counts, now.raw, dt_s);
        if !self.acts() {
            (verdict.phase_ns, verdict.rate) = (0.0, 0.0);
        }
        self.mapping = self.mapping.moved(verdict.phase_ns, verdict.rate);
        self.mapping.rate = self.mapping.rate.clamp(-V_RATE_MAX, V_RATE_MAX);
        self.lag_ns = lag_ns(&self.mapping, now);

        let fallen = (before != self.state()).then_some((before, self.state()));
        let changed = self.transit(&verdict, now.raw, dt_s).or(fallen);
        self.hear_of_leaps(now.raw);
        self.settle_anchor(verdict.phase_ns, dt_s);
        self.guard.ticked(dt_s);
        self.learn_oscillator();
        self.promise(&verdict, now.raw, gap_ns.max(0) as f64 * 1e-9);
        let correction = self.correct(&verdict, changed);
        let leap = correction.and_then(|_| self.leap.command());
        self.publish();
        Tick { correction, claim: self.claim, changed, verdict, upheaval, refusal: self.refusal, leap }
    }

    /// Fills a snapshot of the node and its peers at the last tick.
    pub fn snapshot(&self, into: &mut Snapshot) {
        into.node = self.node_view();
        into.count = 0;
        into.peers = [None; PEERS_MAX];
        for view in self.peers.iter().filter_map(|p| self.peer_view(p)) {
            into.peers[into.count] = Some(view);
            into.count += 1;
        }
    }

    /// The node as status shows it.
    #[must_use]
    pub fn node_view(&self) -> NodeView {
        NodeView {
            node: self.config.node,
            state: self.state(),
            role: self.config.role,
            joining: self.claim.joining,
            led: self.led,
            algorithm: self.config.algorithm.as_str(),
            mapping: self.mapping,
            offset_ns: -self.lag_ns,
            frequency: self.mapping.rate,
            sigma_ns: self.promise.sigma_ns(self.wander, self.lag_ns),
            bound_ns: self.bound_ns(self.lag_ns),
            wander: self.wander,
            boost: self.boost,
            alive: self.alive as u16,
            faults: self.budget.faults() as u16,
            used: self.used,
        }
    }

    fn peer_view(&self, peer: &Peer) -> Option<PeerView> {
        let identity = peer.identity?;
        let relation = peer.relation.as_ref();
        Some(PeerView {
            identity,
            standing: peer.standing,
            state: peer.claim.map_or(NodeState::Unset, |c| c.state),
            role: peer.claim.map_or(Role::Peer, |c| c.role),
            offset_ns: relation.map_or(f64::NAN, |_| -(peer.z_ns + self.lag_ns)),
            delay_ns: relation.map_or(f64::NAN, |r| r.delay_ns),
            sigma_ns: relation.map_or(f64::INFINITY, |r| r.edge_var.min(r.noise_var).sqrt()),
            rate: relation.map_or(f64::NAN, |r| r.rate),
            bound_ns: peer.bound_ns,
            rx_class: peer.rx_class,
            tx_class: peer.tx_class,
            samples: relation.map_or(0, |r| r.samples),
            age_ns: peer.age_ns(self.ticked),
        })
    }

    fn state(&self) -> NodeState {
        if self.config.role == Role::Reference { NodeState::Track } else { self.mode.state() }
    }

    /// References that this node followed are gone: it may agree with its peers, but not with them.
    fn leaderless(&self) -> bool {
        self.led_once && !self.led
    }

    /// Whether the decision of this tick moves V.
    fn acts(&self) -> bool {
        match self.state() {
            _ if self.config.role == Role::Reference => false,
            NodeState::Unset => false,
            NodeState::Acquire | NodeState::Track => true,
            NodeState::Holdover => self.leaderless(),
        }
    }

    /// Decides for every peer whether its word counts, and collects those that do. Says whether the own V counts too.
    fn judge(&mut self, now: RawTime) -> bool {
        let (mut voters, mut settled, mut elders, mut references) = (0, 0, 0, 0);
        let own = usize::from(self.config.role == Role::Peer);
        self.circle = if own == 1 { Circle::default().with(self.config.node) } else { Circle::default() };
        let starting = matches!(self.state(), NodeState::Unset | NodeState::Acquire);
        for peer in &self.peers {
            let candidate = peer.candidate(now);
            if candidate.votes() {
                voters += 1;
                self.circle = peer.identity.map_or(self.circle, |identity| self.circle.with(identity.node));
            }
            settled += usize::from(candidate.settled() && candidate.warm);
            elders += usize::from(candidate.settled() && (!peer.seen_unsettled || self.mode.tracked_once()));
            references += usize::from(candidate.refers() && (starting || candidate.warm));
        }
        self.alive = voters + references + usize::from(self.config.role != Role::Observer);
        self.led = references > 0 && self.config.role != Role::Reference;
        let is_alike = |p: &&Peer| p.candidate(now).votes() && p.claim.is_some_and(|c| self.circle.is_of(&c));
        let alike = own + self.peers.iter().filter(is_alike).count();
        let members = if self.led { references } else { voters + own };
        let quorum = self.budget.count(self.config.faults, self.led, Heads { members, alike }, now);
        if starting {
            // An older agreement is joined, not averaged with; but only one that liars alone cannot pretend.
            self.joining = self.led || elders > 2 * self.budget.faults();
        }
        let situation = Situation {
            role: self.config.role,
            state: self.state(),
            joining: self.joining,
            led: self.led,
            enough_settled: settled >= (2 * self.budget.faults()).max(1),
        };
        self.voices.clear();
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if peer.identity.is_none() {
                continue;
            }
            let mut standing = situation.judge(peer.candidate(now));
            if standing == Standing::Used && !quorum {
                standing = Standing::NoQuorum;
            }
            peer.stand(standing);
            if standing == Standing::Used {
                self.voices.push(peer.voice(PeerSlot(index as u16), now));
            }
        }
        !self.joining && !self.led && self.config.role == Role::Peer
    }

    fn decide(&mut self, own_counts: bool, now: RawTime, dt_s: f64) -> Verdict {
        if self.voices.is_empty() {
            self.first_heard = None;
        }
        if self.voices.is_empty() || self.state() == NodeState::Unset {
            self.used = 0;
            return Verdict::default();
        }
        let view = View {
            voices: &self.voices,
            own_node: self.config.node,
            own_tracks: self.state() == NodeState::Track,
            faults: self.budget.faults(),
            sparse: self.budget.is_sparse(),
            own_counts,
            elapsed_s: self.started.map_or(f64::INFINITY, |started| now.since(started) as f64 * 1e-9),
            own_start: self.start_rate - self.mapping.rate,
            own_drift: self.rate_at_agreement.zip(self.conduct.rate()).map(|(before, rate)| rate - before),
            drift_memory_s: self.conduct.memory_s(),
            own_moved_ns: self.mean_of_heard(|peer| peer.own_moved_ns),
            own_rate_moved: self.mean_of_heard(|peer| peer.own_rate_moved),
        };
        let verdict = self.consensus.decide(&view, dt_s);
        assert!(
            verdict.phase_ns.is_finite() && verdict.rate.is_finite(),
            "an algorithm given finite voices decides something finite"
        );
        for (index, voice) in self.voices.iter().enumerate() {
            if verdict.rejected >> index & 1 == 1 {
                self.peers[voice.slot.index()].standing = Standing::Outlier;
            }
        }
        self.used = verdict.used;
        verdict
    }

    fn mean_of_heard(&self, of: impl Fn(&Peer) -> f64) -> f64 {
        self.voices.iter().map(|voice| of(&self.peers[voice.slot.index()])).sum::<f64>() / self.voices.len() as f64
    }

    fn transit(&mut self, verdict: &Verdict, now: RawTime, dt_s: f64) -> Option<(NodeState, NodeState)> {
        if self.config.role == Role::Reference {
            return None;
        }
        let heard = !self.voices.is_empty();
        let first_heard = if heard { *self.first_heard.get_or_insert(now) } else { now };
        let decided = self.state() != NodeState::Unset || now.since(first_heard) >= DECISION_NS;
        let (moved_ns, sigma_ns) = (verdict.phase_ns.abs(), verdict.sigma_ns.max(1.0));
        let signs = Signs {
            usable: heard && decided,
            close: heard && moved_ns <= 3.0 * sigma_ns && !verdict.parted,
            apart: heard && moved_ns > APART_NS.max(30.0 * sigma_ns),
            caught_up: self.config.role != Role::Peer || Guard::caught_up(self.lag_ns, verdict.sigma_ns),
            leaderless: self.leaderless(),
        };
        let changed = self.mode.tick(signs, dt_s);
        match changed {
            Some((NodeState::Unset, _)) => {
                (self.started, self.start_rate, self.resumed) = (Some(now), self.mapping.rate, false);
            }
            Some((_, NodeState::Holdover | NodeState::Unset)) => self.started = None,
            _ => {}
        }
        match self.mode.state() {
            NodeState::Track => {
                self.led_once |= self.led;
                // Whoever was joined alone tracks only once it hears that this node asks for weight.
                self.joining &= !(self.mode.joined() && self.voices.iter().any(|voice| voice.tracks));
            }
            NodeState::Holdover | NodeState::Unset => self.joining = false,
            NodeState::Acquire => {}
        }
        changed
    }

    /// Notes everybody's rates once agreement has lasted, for the anchor to hold on to; forgets them when it ends.
    fn settle_anchor(&mut self, moved_ns: f64, dt_s: f64) {
        if self.state() != NodeState::Track || self.joining || self.led {
            self.conduct.forget();
            if self.rate_at_agreement.take().is_some() {
                self.peers.iter_mut().for_each(|p| p.rate_at_agreement = None);
            }
            self.agreed_s = 0.0;
            return;
        }
        self.agreed_s += dt_s;
        self.conduct.note(moved_ns, self.mapping.rate, dt_s);
        if self.agreed_s < ANCHOR_AFTER * self.conduct.memory_s() {
            return;
        }
        // V's moves are watched from here on: those of the start would be taken for a drag.
        if self.rate_at_agreement.is_none() {
            self.rate_at_agreement = Some(self.mapping.rate);
            self.conduct.forget();
        }
        for peer in self.peers.iter_mut().filter(|p| p.standing == Standing::Used && p.rate_at_agreement.is_none()) {
            peer.rate_at_agreement = peer.claim.as_ref().filter(|c| settled(c)).map(|c| c.mapping.rate);
            peer.conduct.forget();
        }
    }

    /// Learns what is published of the own oscillator and of the number of edges: its wander is half of what explains
    /// all pairs best; the boost is the information of all used edges in units of a typical one's, halved
    /// (ALGORITHMS 4.3).
    fn learn_oscillator(&mut self) {
        let mut sorted = [0.0; PEERS_MAX];
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(WANDER_TICKS)
            && let Some(wander) = pooled_wander(self.peers.iter().filter_map(Peer::scores))
        {
            self.wander = (wander / 2.0).clamp(1e-21, 1e-12);
        }
        let edges = self.voices.len() as f64;
        let noise = median(&mut sorted, self.voices.iter().map(|v| v.noise_var));
        let information = self.voices.iter().map(|v| 1.0 / v.noise_var).sum::<f64>();
        self.boost = noise.map_or(1.0, |noise| (noise * information / 2.0).clamp(1.0, edges.max(1.0)));
    }

    fn promise(&mut self, verdict: &Verdict, now: RawTime, dt_s: f64) {
        let moved_ns = verdict.phase_ns;
        for peer in &mut self.peers {
            if peer.identity.is_some() {
                let reach_ns = peer.reach_ns(now, moved_ns, f64::from(self.stamp_doubt_ns));
                peer.bound_ns = reach_ns + self.lag_ns.abs();
            }
        }
        let least = self.voices.iter().map(|v| v.edge_rate_var).fold(f64::INFINITY, f64::min);
        let rate_sigma = (least / f64::from(verdict.used.max(1))).sqrt();
        self.promise = match self.state() {
            _ if self.config.role == Role::Reference => Promise::TRUTH,
            NodeState::Unset => Promise::NOTHING,
            NodeState::Acquire => Promise::agreed(verdict.sigma_ns, rate_sigma, f64::INFINITY),
            NodeState::Holdover => self.promise.coasted(dt_s, moved_ns),
            NodeState::Track if self.used == 0 => self.promise.coasted(dt_s, moved_ns),
            NodeState::Track => {
                let each_ns = self.peers.iter().filter(|p| p.is_promised_for(now, self.led)).filter_map(|peer| {
                    let claim = peer.claim.as_ref()?;
                    let beyond_ns = if claim.role == Role::Reference { f64::from(claim.bound_ns) } else { 0.0 };
                    // The peer does not know yet how far own V has moved since they last spoke, so this end answers for
                    // it.
                    let untold_ns = (peer.own_moved_ns + moved_ns).abs();
                    Some(peer.bound_ns - self.lag_ns.abs() + beyond_ns + untold_ns)
                });
                // At most `faults` may be left out in all, or the sum of two promises would not cover an honest pair;
                // those that the fusion has already rejected are left out above.
                let left_out = verdict.rejected.count_ones() as usize;
                let faults = self.budget.faults_of_promise().saturating_sub(left_out);
                Promise::agreed(verdict.sigma_ns, rate_sigma, reach(each_ns, faults))
            }
        };
    }

    fn correct(&mut self, verdict: &Verdict, changed: Option<(NodeState, NodeState)>) -> Option<Correction> {
        let entered = changed.map(|(_, to)| to);
        if self.config.role != Role::Peer || self.state() == NodeState::Unset && entered.is_none() {
            return None;
        }
        if self.state() == NodeState::Track && self.used > 0 && Guard::caught_up(self.lag_ns, verdict.sigma_ns) {
            self.guard.note(Happening::CaughtUp);
        }
        let (rate, step_ns) = if entered == Some(NodeState::Unset) {
            (self.mapping.rate, 0) // whoever we were closing in on is gone: stop slewing, then let the clock be
        } else {
            match self.guard.advise(self.mapping.rate, self.lag_ns, verdict.phase_ns) {
                Ok(advice) => (advice.rate, advice.step_ns),
                Err(refusal) => {
                    self.refusal = Some(refusal);
                    return None;
                }
            }
        };
        let bound_ns = self.bound_ns(self.lag_ns);
        Some(Correction {
            rate,
            step_ns,
            sigma_ns: self.promise.sigma_ns(self.wander, self.lag_ns),
            bound_ns,
            synchronised: self.state() == NodeState::Track && bound_ns.is_finite(),
        })
    }

    /// The bound of the delivered clock, ns, until the next tick.
    fn bound_ns(&self, lag_ns: f64) -> f64 {
        if self.doubtful { f64::INFINITY } else { self.promise.bound_ns(lag_ns, self.config.tick_ns) }
    }

    fn publish(&mut self) {
        let (reference, state) = (self.config.role == Role::Reference, self.state());
        // References publish no error of their own: they are right by definition.
        let lag_ns = if reference { 0.0 } else { self.lag_ns };
        self.claim = Claim {
            mapping: self.mapping,
            version: self.claim.version.wrapping_add(1),
            state,
            role: self.config.role,
            joining: !reference && (self.joining && !self.mode.joined() || state == NodeState::Unset),
            wander: self.wander as f32,
            boost: self.boost as f32,
            sigma_ns: self.promise.sigma_ns(self.wander, lag_ns) as f32,
            bound_ns: if reference { 0.0 } else { self.bound_ns(lag_ns) as f32 },
            alive: self.alive.max(1) as u16,
            stamp_doubt_ns: self.stamp_doubt_ns,
            leap: if reference { self.leap.own() } else { Leap::None },
            circle: self.circle.to_claim(),
        };
    }
}
