//! Exchanges without packets: the four stamps of an exchange are made straight from oscillators, links and stamps, and
//! handed to both ends' pipelines. For clusters of thousands, in which the protocol and its seals would cost ten times
//! what is to be looked at. Nothing of the core stands here: filters, fusion and steering are those of the daemon.
//!
//! As with packets: who speaks, the rhythm and the start burst, jitter, loss, queues, routes and cuts of links, errors,
//! classes and grain of stamps, departures that never come back, claims as they were when their packet left, crashes
//! and new runs. Left out: the bytes and their seal, nonces, what a missing follow packet delays (a departure that
//! comes back late is known at once), copies and replays, liars, and a second exchange of a pair while one is under
//! way. The end that answered learns of the exchange in the moment in which the other does, unless the packet that
//! tells it so is lost.

use super::super::link::Link;
use super::super::node::Node;
use super::super::random::{Purpose, Stream};
use super::super::world::TrueNs;
use super::{Cluster, Event};
use crate::flow::{Claim, Exchange, Stamp};
use crate::limits::BURST_INTERVAL_NS;
use crate::sys::prefetch::prefetch;
use crate::unit::PeerSlot;

/// Packets of an exchange when they are sent: probe, reply, report and follow.
const PACKETS: u64 = 4;

/// The exchanges of one pair.
pub(super) struct Meeting {
    /// Where each end keeps the other.
    slots: [u16; 2],
    stream: Stream,
    burst_left: u32,
    /// Which end speaks next.
    speaker: usize,
    /// When the exchange under way began.
    began: TrueNs,
    /// The runs of both ends that began it.
    runs: [u32; 2],
    sent: Stamp,
    received: Stamp,
    replied: Stamp,
    /// What the end that answered said of itself.
    claim: Claim,
}

impl Meeting {
    pub(super) fn new(ends: (usize, usize), slots: [usize; 2], rounds: u32, claim: Claim, seed: u64) -> Self {
        Meeting {
            slots: slots.map(|slot| slot as u16),
            stream: Stream::new(seed, Purpose::Meeting, ends.0 as u64, ends.1 as u64),
            burst_left: rounds,
            speaker: (ends.0 + ends.1) % 2,
            began: 0,
            runs: [0; 2],
            sent: Stamp::default(),
            received: Stamp::default(),
            replied: Stamp::default(),
            claim,
        }
    }

    /// When the pair meets for the first time.
    pub(super) fn first_ns(&mut self, interval_ns: i64) -> TrueNs {
        (interval_ns.min(BURST_INTERVAL_NS) as f64 / 4.0 * self.stream.unit()) as i64
    }

    /// A new run of an end begins with a burst.
    pub(super) fn hurry(&mut self, rounds: u32) {
        self.burst_left = rounds;
    }

    /// The other end's turn; when it comes.
    fn next_ns(&mut self, interval_ns: i64) -> TrueNs {
        let pace_ns = if self.burst_left > 0 { interval_ns.min(BURST_INTERVAL_NS) } else { interval_ns };
        self.burst_left = self.burst_left.saturating_sub(1);
        self.speaker = 1 - self.speaker;
        self.began + pace_ns + (pace_ns as f64 / 10.0 * self.stream.symmetric()) as i64
    }
}

impl Cluster {
    /// Asks for what a pair's turn touches.
    pub(super) fn foresee_meeting(&self, edge: u32) {
        let ends = self.edges[edge as usize];
        prefetch(std::ptr::from_ref(&self.meetings[edge as usize]).cast(), size_of::<Meeting>());
        prefetch(self.links[edge as usize].as_ptr().cast(), size_of::<[Link; 2]>());
        self.nodes[ends.0].foresee();
        self.nodes[ends.1].foresee();
    }

    /// Asks for where the exchange will be put, once the nodes themselves are here.
    pub(super) fn foresee_exchange(&self, edge: u32) {
        let ends = self.edges[edge as usize];
        self.nodes[ends.0].foresee_exchange();
        self.nodes[ends.1].foresee_exchange();
    }

    /// A pair's turn has come: the one whose turn it is speaks.
    pub(super) fn meet(&mut self, edge: u32) {
        let now = self.agenda.now();
        let (meeting, ends) = (&mut self.meetings[edge as usize], self.edges[edge as usize]);
        meeting.began = now;
        let speaker = meeting.speaker;
        let node = &mut self.nodes[[ends.0, ends.1][speaker]];
        if !node.is_awake() || node.alone {
            return self.part(edge);
        }
        let lead_ns = node.lead_ns();
        meeting.sent = node.departs(now, lead_ns);
        meeting.runs[speaker] = node.run;
        self.packets += 1;
        match self.links[edge as usize][speaker].send(now + lead_ns)[0] {
            Some(at) => self.agenda.at(at, Event::Answer { edge }),
            None => self.part(edge),
        }
    }

    /// The probe arrives and is answered.
    pub(super) fn answer(&mut self, edge: u32) {
        let now = self.agenda.now();
        let (meeting, ends) = (&mut self.meetings[edge as usize], self.edges[edge as usize]);
        let answerer = 1 - meeting.speaker;
        let node = &mut self.nodes[[ends.0, ends.1][answerer]];
        if !node.is_awake() || node.alone {
            return self.part(edge);
        }
        let lead_ns = node.lead_ns();
        meeting.received = node.arrives(now);
        meeting.replied = node.departs(now, lead_ns);
        meeting.claim = node.claim;
        meeting.runs[answerer] = node.run;
        self.packets += 1;
        match self.links[edge as usize][answerer].send(now + lead_ns)[0] {
            Some(at) => self.agenda.at(at, Event::Finish { edge }),
            None => self.part(edge),
        }
    }

    /// The answer arrives: both ends hold four stamps.
    pub(super) fn finish(&mut self, edge: u32) {
        let now = self.agenda.now();
        let (meeting, ends) = (&mut self.meetings[edge as usize], self.edges[edge as usize]);
        let speaker = meeting.speaker;
        let (slots, runs) = (meeting.slots, meeting.runs);
        let ends = [ends.0, ends.1];
        let told = self.links[edge as usize][speaker].send(now)[0].is_some();
        let (lower, higher) = self.nodes.split_at_mut(ends[1]);
        let pair: [&mut Node; 2] = [&mut lower[ends[0]], &mut higher[0]];
        let [low, high] = pair;
        let (asker, answerer) = if speaker == 0 { (low, high) } else { (high, low) };
        if asker.is_awake() && asker.run == runs[speaker] {
            let local_received = asker.arrives(now);
            let stamps = [meeting.sent, meeting.received, meeting.replied, local_received];
            let exchange = Exchange {
                peer: PeerSlot(slots[speaker]),
                node: answerer.identity.node,
                boot: answerer.identity.boot,
                initiator: true,
                local_sent: meeting.sent.at,
                remote_received: meeting.received.at,
                remote_sent: meeting.replied.at,
                local_received: local_received.at,
                class: stamps.map(|stamp| stamp.class).into_iter().min().expect("there are four"),
                local_rx_class: local_received.class,
                local_tx_class: meeting.sent.class,
                claim: meeting.claim,
            };
            let said = asker.claim;
            if answerer.run == runs[1 - speaker] {
                asker.exchange(&exchange);
                if told && answerer.is_awake() {
                    let peer = PeerSlot(slots[1 - speaker]);
                    let (node, boot) = (asker.identity.node, asker.identity.boot);
                    answerer.exchange(&exchange.mirrored(peer, node, boot, said));
                }
            }
        }
        self.packets += PACKETS - 2;
        self.part(edge);
    }

    /// The exchange is over, well or badly.
    fn part(&mut self, edge: u32) {
        let at = self.meetings[edge as usize].next_ns(self.interval_ns);
        self.agenda.at(at, Event::Meet { edge });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::run::run;
    use super::super::super::scenario::Scenario;
    use super::*;
    use crate::pipeline::Algorithm;
    use crate::sim::world::SECOND_NS;

    fn scenario(fidelity: &str, more: &str) -> Scenario {
        let text = format!(
            "summary = 'x'\nduration = '100s'\n[cluster]\nnodes = 6\nfidelity = '{fidelity}'\n\
             [link]\ndelay = '5us'\njitter = 'normal 30ns'\nloss = 0.01\n{more}"
        );
        Scenario::parse("direct", &text).unwrap()
    }

    #[test]
    fn a_cluster_without_packets_agrees_as_well_as_one_with_them() {
        let rms = |fidelity: &str| {
            let report = run(&scenario(fidelity, ""), Algorithm::default(), 1, &|| {}, None);
            (report.pairwise_rms_ns.unwrap(), report.packets_per_node_s, report.exchanges as f64)
        };
        let ((packets_ns, packets, exchanges), (direct_ns, direct, met)) = (rms("packets"), rms("exchanges"));
        assert!((direct_ns / packets_ns - 1.0).abs() < 0.25, "{packets_ns} ns with packets, {direct_ns} ns without");
        assert!((direct / packets - 1.0).abs() < 0.1, "{packets} packets a second and node, {direct} counted");
        assert!((met / exchanges - 1.0).abs() < 0.05, "{exchanges} exchanges, {met} without packets");
    }

    #[test]
    fn faults_reach_a_cluster_without_packets() {
        let more = "[[event]]\nkind = 'crash'\nat = '20s'\nnodes = [5]\ndown = '10s'\n\
                    [[event]]\nkind = 'partition'\nat = '60s'\nnodes = [4]\nuntil = '70s'\n\
                    [[node]]\nnodes = [3]\nwrong_key = true\n";
        let mut cluster = Cluster::new(&scenario("exchanges", more), Algorithm::default(), 3);
        let counts = |cluster: &mut Cluster, s: i64| {
            cluster.run_until(s * SECOND_NS);
            [5, 4, 3].map(|other| cluster.nodes[0].exchanged_with(other))
        };
        let [crashed, ..] = counts(&mut cluster, 21);
        assert!((120..200).contains(&crashed), "{crashed} exchanges in 21 s");
        assert_eq!(counts(&mut cluster, 29)[0], crashed);
        let [back, before, stranger] = counts(&mut cluster, 61);
        assert!(back > crashed + 200, "{crashed} before, {back} after");
        assert_eq!(counts(&mut cluster, 69)[1], before);
        assert!(counts(&mut cluster, 75)[1] > before + 20);
        assert_eq!(stranger, 0);
        assert_eq!(cluster.nodes[5].run, 2);
    }
}
