//! The second engine: nodes, links and faults around one agenda. Moves packets, stamps and ticks between them and
//! decides nothing: what a node does is the core's affair, what a link does is the link's.

mod direct;
mod foresight;

use std::sync::Arc;

use direct::Meeting;

use super::clock::Utc;
use super::fault::{Event as Fault, Kept};
use super::liar::Scene;
use super::link::{Link, Path};
use super::node::{Node, number};
use super::random::{Purpose, Stream};
use super::scenario::{Fidelity, Scenario};
use super::world::{Agenda, TrueNs};
use crate::exchange::Outgoing;
use crate::flow::{Role, Stamp};
use crate::pipeline::Algorithm;
use crate::wire::DATAGRAM_LEN;

/// What is going to happen. Small, because the agenda moves it about; packets lie elsewhere.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A node's protocol wants to be polled.
    Poll { node: u32 },
    /// A node ticks.
    Tick { node: u32, run: u32 },
    /// A packet leaves its node.
    Depart { flight: u32 },
    /// A packet arrives.
    Arrive { flight: u32 },
    /// The true departure of a packet comes back.
    Stamped { flight: u32 },
    /// A node's daemon starts.
    Boot { node: u32 },
    /// A pair's turn to exchange has come, where that is done without packets.
    Meet { edge: u32 },
    /// The first packet of such an exchange arrives.
    Answer { edge: u32 },
    /// The second does.
    Finish { edge: u32 },
    /// An entry of the scenario begins, or is over.
    Fault { index: u32, over: bool },
}

/// A packet, or a stamp that comes back.
#[derive(Clone, Copy)]
struct Flight {
    from: u32,
    to: u32,
    run: u32,
    outgoing: Outgoing,
    stamp: Stamp,
    datagram: [u8; DATAGRAM_LEN],
}

/// The whole simulated cluster.
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    agenda: Agenda<Event>,
    /// For each node the nodes it has a link to, ascending, each with the link's number.
    adjacent: Vec<Vec<(u32, u32)>>,
    /// Two directions a link.
    links: Vec<[Link; 2]>,
    edges: Vec<(usize, usize)>,
    /// The exchanges of each edge where they are made without packets; else empty.
    meetings: Vec<Meeting>,
    interval_ns: i64,
    rounds: u32,
    utc: Utc,
    flights: Vec<Flight>,
    free: Vec<u32>,
    faults: Vec<Fault>,
    /// Whether any node lies: only then is the truth looked at while packets are sent.
    lies: bool,
    packets: u64,
}

impl Cluster {
    /// The cluster of a scenario as `seed` makes it, under `algorithm`.
    #[must_use]
    pub fn new(scenario: &Scenario, algorithm: Algorithm, seed: u64) -> Self {
        let spec = &scenario.cluster;
        let edges = spec.topology.edges(spec.nodes, spec.degree, seed);
        let mut adjacent = vec![Vec::new(); spec.nodes];
        let mut links = Vec::with_capacity(edges.len());
        let mut alike = Vec::new();
        for (n, (a, b)) in edges.iter().enumerate() {
            adjacent[*a].push((*b as u32, n as u32));
            adjacent[*b].push((*a as u32, n as u32));
            links.push(build_link(scenario, (*a, *b), seed, &mut alike));
        }
        for peers in &mut adjacent {
            peers.sort_unstable();
        }
        let mut models = Vec::new();
        let node = |n: usize| {
            let peers = adjacent[n].iter().map(|(peer, _)| *peer as usize).collect();
            let mut node = Node::new(scenario, n, peers, algorithm, seed);
            node.share(&mut models);
            node
        };
        let nodes: Vec<Node> = (0..spec.nodes).map(node).collect();
        let mut agenda = Agenda::new();
        for n in 0..spec.nodes {
            let at = scenario.special(n, |s| s.joins_at).map_or(0, |at| at.nanos());
            agenda.at(at, Event::Boot { node: n as u32 });
        }
        let interval_ns = (1e9 / spec.rate) as i64;
        let mut meetings = Vec::new();
        if spec.fidelity == Fidelity::Exchanges {
            let place = |of: usize, other: usize| {
                let found = adjacent[of].binary_search_by_key(&(other as u32), |(peer, _): &(u32, u32)| *peer);
                found.expect("an edge has two ends")
            };
            for (edge, (a, b)) in edges.iter().enumerate() {
                let slots = [place(*a, *b), place(*b, *a)];
                let mut meeting = Meeting::new((*a, *b), slots, spec.rounds, nodes[*b].claim, seed);
                agenda.at(meeting.first_ns(interval_ns), Event::Meet { edge: edge as u32 });
                meetings.push(meeting);
            }
        }
        let faults = Fault::unrolled(&scenario.events, spec.nodes, seed);
        for (index, fault) in faults.iter().enumerate() {
            agenda.at(fault.at().nanos(), Event::Fault { index: index as u32, over: false });
            if let Some(over) = fault.over_at().filter(|over| over.0 > fault.at().0) {
                agenda.at(over.nanos(), Event::Fault { index: index as u32, over: true });
            }
        }
        Cluster {
            nodes,
            agenda,
            adjacent,
            links,
            edges,
            meetings,
            interval_ns,
            rounds: spec.rounds,
            utc: scenario.clock.utc(),
            flights: Vec::new(),
            free: Vec::new(),
            faults,
            lies: !scenario.liars.is_empty(),
            packets: 0,
        }
    }

    /// The links, as pairs of nodes.
    #[must_use]
    pub fn edges(&self) -> &[(usize, usize)] {
        &self.edges
    }

    /// Packets sent so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What has happened or will, as far as is known: the work of a run.
    #[must_use]
    pub fn happenings(&self) -> u64 {
        self.agenda.scheduled()
    }

    /// Exchanges finished so far, counted once for both ends.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.nodes.iter().map(Node::exchanges).sum::<u64>() / 2
    }

    /// Lets everything happen up to and including `end`.
    pub fn run_until(&mut self, end: TrueNs) {
        let mut slot = i64::MIN;
        while let Some(event) = self.agenda.next_until(end) {
            if self.agenda.slot() != slot {
                slot = self.agenda.slot();
                self.foresee();
            }
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.agenda.now();
        match event {
            Event::Poll { node } => {
                if self.nodes[node as usize].poll_at <= now {
                    self.nodes[node as usize].poll_at = TrueNs::MAX;
                    self.poll(node as usize);
                }
            }
            Event::Tick { node, run } => {
                let this = &mut self.nodes[node as usize];
                if this.run == run && this.up {
                    // A suspended machine's timer fires when it runs again.
                    let next = if this.frozen { now + 50_000_000 } else { this.tick(now) };
                    self.agenda.at(next, Event::Tick { node, run });
                }
            }
            Event::Depart { flight } => self.depart(flight),
            Event::Arrive { flight } => self.arrive(flight),
            Event::Stamped { flight } => {
                let Flight { from, run, outgoing, stamp, .. } = self.land(flight);
                let node = &mut self.nodes[from as usize];
                if node.is_awake() && node.run == run {
                    node.stamped(now, &outgoing, stamp);
                    self.arrange_poll(from as usize);
                }
            }
            Event::Boot { node } => self.boot(node as usize, Kept::Rate),
            Event::Meet { edge } => self.meet(edge),
            Event::Answer { edge } => self.answer(edge),
            Event::Finish { edge } => self.finish(edge),
            Event::Fault { index, over } => self.fault(index as usize, over),
        }
    }

    fn boot(&mut self, n: usize, keeps: Kept) {
        let now = self.agenda.now();
        let first_tick = self.nodes[n].boot(now, keeps);
        let run = self.nodes[n].run;
        self.agenda.at(first_tick, Event::Tick { node: n as u32, run });
        self.nodes[n].poll_at = TrueNs::MAX;
        self.arrange_poll(n);
        if !self.meetings.is_empty() {
            self.adjacent[n].iter().for_each(|(_, edge)| self.meetings[*edge as usize].hurry(self.rounds));
        }
    }

    /// Sees to it that the agenda holds a poll at the node's deadline.
    fn arrange_poll(&mut self, n: usize) {
        let now = self.agenda.now();
        let node = &mut self.nodes[n];
        let at = node.wants_poll_at(now).max(now);
        if at < node.poll_at {
            node.poll_at = at;
            self.agenda.at(at, Event::Poll { node: n as u32 });
        }
    }

    fn poll(&mut self, n: usize) {
        let now = self.agenda.now();
        let mut datagram = [0; DATAGRAM_LEN];
        while self.nodes[n].is_awake() {
            let Some(outgoing) = self.nodes[n].poll(now, &mut datagram) else { break };
            self.send(n, outgoing, &datagram);
        }
        if self.nodes[n].is_awake() {
            self.arrange_poll(n);
        }
    }

    fn send(&mut self, n: usize, outgoing: Outgoing, datagram: &[u8; DATAGRAM_LEN]) {
        let now = self.agenda.now();
        let to = number(outgoing.to);
        let mut datagram = *datagram;
        let mut again = None;
        if self.lies && self.nodes[n].lying.is_some() {
            again = self.lie(n, to, &mut datagram);
            if self.nodes[n].lying.as_ref().is_some_and(|l| l.is_silent(now)) {
                return;
            }
        }
        let node = &mut self.nodes[n];
        let run = node.run;
        let lead_ns = node.lead_ns();
        let flight = Flight { from: n as u32, to: to as u32, run, outgoing, stamp: Stamp::default(), datagram };
        let flight = self.launch(flight);
        if lead_ns > 0 {
            self.agenda.at(now + lead_ns, Event::Depart { flight });
        } else {
            self.depart(flight);
        }
        if let Some(old) = again {
            self.carry(n, to, &outgoing, old);
        }
    }

    /// Lets a liar alter its packet; returns one that it sends after it.
    fn lie(&mut self, n: usize, to: usize, datagram: &mut [u8; DATAGRAM_LEN]) -> Option<[u8; DATAGRAM_LEN]> {
        let now = self.agenda.now();
        let raw = self.nodes[n].raw(now);
        let mapping = self.nodes[n].claim.mapping;
        let (own_whole, own_frac) = mapping.offset_at(super::clock::whole(raw));
        let own_ns = (raw.nanos + own_whole - self.utc.at(now)) as f64 + own_frac;
        let own_rate = mapping.rate + self.nodes[n].oscillator.rate();
        let receiver_ns = self.nodes[to].error_ns(now) - own_ns;
        let receiver_rate = self.nodes[to].clock.rate() + self.nodes[to].oscillator.rate() - own_rate;
        let (mut mean_ns, mut mean_rate, mut honest) = (0.0, 0.0, 0.0);
        for node in self.nodes.iter_mut().filter(|node| node.lying.is_none() && node.is_awake()) {
            mean_ns += node.error_ns(now) - own_ns;
            mean_rate += node.clock.rate() + node.oscillator.rate() - own_rate;
            honest += 1.0f64;
        }
        let honest = honest.max(1.0);
        let scene = Scene {
            now,
            receiver: to,
            receiver_ns,
            receiver_rate,
            mean_ns: mean_ns / honest,
            mean_rate: mean_rate / honest,
        };
        let receiver = self.nodes[to].identity;
        let node = &mut self.nodes[n];
        let (lying, speech) = (node.lying.as_mut()?, node.speech.as_ref()?);
        if let Some(lie) = lying.lie(&scene) {
            lying.distort(lie, datagram, &node.identity, &receiver, &speech.keys);
        }
        lying.replay(datagram, now)
    }

    fn depart(&mut self, index: u32) {
        let now = self.agenda.now();
        let flight = self.land(index);
        let n = flight.from as usize;
        let node = &mut self.nodes[n];
        if node.run == flight.run && node.is_awake() && flight.outgoing.stamp_wanted {
            let late_ns =
                if node.stamps.late.is_zero() { 0 } else { node.stamps.late.draw(&mut node.stamp_stream) as i64 };
            match node.depart(now) {
                Some(stamp) if late_ns > 0 => {
                    let back = self.launch(Flight { stamp, ..flight });
                    self.agenda.at(now + late_ns, Event::Stamped { flight: back });
                }
                Some(stamp) => {
                    node.stamped(now, &flight.outgoing, stamp);
                    self.arrange_poll(n);
                }
                None => {}
            }
        }
        // A liar that holds back its answers has taken their stamps at the honest time.
        self.carry(n, flight.to as usize, &flight.outgoing, flight.datagram);
    }

    fn carry(&mut self, n: usize, to: usize, outgoing: &Outgoing, datagram: [u8; DATAGRAM_LEN]) {
        self.packets += 1;
        let now = self.agenda.now();
        let held_ns = self.nodes[n].lying.as_ref().map_or(0, |lying| lying.holds_back_ns(now));
        let run = self.nodes[n].run;
        let Some(link) = self.link(n, to) else { return };
        let direction = usize::from(n > to);
        let arrivals = self.links[link][direction].send(now + held_ns);
        for at in arrivals.into_iter().flatten() {
            let flight =
                Flight { from: n as u32, to: to as u32, run, outgoing: *outgoing, stamp: Stamp::default(), datagram };
            let flight = self.launch(flight);
            self.agenda.at(at, Event::Arrive { flight });
        }
    }

    fn arrive(&mut self, index: u32) {
        let now = self.agenda.now();
        let flight = self.land(index);
        let to = flight.to as usize;
        if !self.nodes[to].is_awake() {
            return;
        }
        let mut answer = [0; DATAGRAM_LEN];
        let outcome = self.nodes[to].receive(now, flight.from as usize, &flight.datagram, &mut answer);
        if let Ok(Some(outgoing)) = outcome {
            self.send(to, outgoing, &answer);
        }
        self.arrange_poll(to);
    }

    fn fault(&mut self, index: usize, over: bool) {
        let now = self.agenda.now();
        let fault = self.faults[index].clone();
        match &fault {
            Fault::Crash { nodes, offset, keeps, .. } => {
                for n in nodes {
                    let node = &mut self.nodes[*n];
                    if !over {
                        node.kill();
                        continue;
                    }
                    if let Some(offset) = offset {
                        let wrong_ns = offset.0 - node.error_ns(now);
                        let (raw, rate) = (node.raw(now), node.clock.rate());
                        node.clock.command(raw, rate, wrong_ns.round() as i64);
                    }
                    self.boot(*n, *keeps);
                }
            }
            Fault::Partition { nodes, .. } => {
                for (link, (a, b)) in self.links.iter_mut().zip(&self.edges) {
                    if nodes.contains(a) != nodes.contains(b) {
                        link.iter_mut().for_each(|direction| direction.cut(!over));
                    }
                }
            }
            Fault::Suspend { nodes, length, error, .. } => {
                for n in nodes {
                    let node = &mut self.nodes[*n];
                    node.oscillator.stop(now, !over);
                    node.frozen = !over;
                    if over {
                        let (raw, rate) = (node.raw(now), node.clock.rate());
                        node.clock.command(raw, rate, length.nanos() + error.nanos());
                        node.suspended(length.nanos());
                        node.poll_at = TrueNs::MAX;
                        self.arrange_poll(*n);
                    }
                }
            }
            Fault::Pause { nodes, .. } => {
                for n in nodes {
                    let node = &mut self.nodes[*n];
                    node.oscillator.stop(now, !over);
                    node.frozen = !over;
                    if over {
                        node.poll_at = TrueNs::MAX;
                        self.arrange_poll(*n);
                    }
                }
            }
            Fault::StuckClock { nodes, .. } => {
                for n in nodes {
                    self.nodes[*n].oscillator.stop(now, !over);
                    self.nodes[*n].poll_at = TrueNs::MAX;
                    self.arrange_poll(*n);
                }
            }
            Fault::Migrate { nodes, jump, change, .. } => {
                for n in nodes {
                    self.nodes[*n].oscillator.jump(now, jump.nanos());
                    self.nodes[*n].oscillator.jump_rate(now, change.0);
                    self.arrange_poll(*n);
                }
            }
            Fault::FrequencyJump { nodes, change, .. } => {
                nodes.iter().for_each(|n| self.nodes[*n].oscillator.jump_rate(now, change.0));
            }
            Fault::TemperatureStep { nodes, change, tau, .. } => {
                nodes.iter().for_each(|n| self.nodes[*n].oscillator.warm(now, change.0, tau.seconds()));
            }
            Fault::ClockStep { nodes, by, .. } => {
                for n in nodes {
                    let (raw, rate) = (self.nodes[*n].raw(now), self.nodes[*n].clock.rate());
                    self.nodes[*n].clock.command(raw, rate, by.nanos());
                }
            }
            Fault::Leap { nodes, second, .. } => {
                nodes.iter().for_each(|n| self.nodes[*n].announce_leap(now, (*second).into()));
            }
            Fault::LeapForgotten { nodes, .. } => nodes.iter().for_each(|n| self.nodes[*n].forget_leap(now)),
            Fault::Churn { .. } => unreachable!("churn has been written out as crashes"),
            Fault::Route { between: [a, b], forward, backward, .. } => {
                let (low, high) = (*a.min(b), *a.max(b));
                if let Some(link) = self.link(low, high) {
                    self.links[link][0].reroute(forward.0);
                    self.links[link][1].reroute(backward.0);
                }
            }
        }
    }

    fn link(&self, n: usize, to: usize) -> Option<usize> {
        let peers = &self.adjacent[n];
        let index = peers.binary_search_by_key(&(to as u32), |(peer, _)| *peer).ok()?;
        Some(peers[index].1 as usize)
    }

    fn launch(&mut self, flight: Flight) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.flights[index as usize] = flight;
                index
            }
            None => {
                self.flights.push(flight);
                (self.flights.len() - 1) as u32
            }
        }
    }

    fn land(&mut self, index: u32) -> Flight {
        self.free.push(index);
        self.flights[index as usize]
    }

    /// The honest nodes that steer a clock or are followed, and may hear the others: those whose agreement is judged.
    #[must_use]
    pub fn is_judged(&self, n: usize) -> bool {
        let node = &self.nodes[n];
        node.lying.is_none() && node.role != Role::Observer && !node.alone
    }
}

/// Kinds of paths of which one copy is kept.
const PATHS_SHARED: usize = 8;

/// One link; `alike` are paths that others already have.
fn build_link(scenario: &Scenario, edge: (usize, usize), seed: u64, alike: &mut Vec<Arc<Path>>) -> [Link; 2] {
    let (a, b) = edge;
    let (low, high) = (a as u64, b as u64);
    let mut once = Stream::new(seed, Purpose::Edge, low, high);
    let paths = scenario.link_between(edge, &mut once).build(&mut once);
    let [forward, backward] = paths.map(|path| {
        if let Some(same) = alike.iter().find(|other| ***other == path) {
            return Arc::clone(same);
        }
        let path = Arc::new(path);
        if alike.len() < PATHS_SHARED {
            alike.push(Arc::clone(&path));
        }
        path
    });
    [
        Link::new(forward, Stream::new(seed, Purpose::Forward, low, high)),
        Link::new(backward, Stream::new(seed, Purpose::Backward, low, high)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::SECOND_NS;

    fn cluster(nodes: usize, more: &str, seed: u64) -> Cluster {
        let text = format!("summary = 'x'\nduration = '60s'\n[cluster]\nnodes = {nodes}\n{more}");
        Cluster::new(&Scenario::parse("test", &text).unwrap(), Algorithm::default(), seed)
    }

    fn spread_ns(cluster: &mut Cluster, now: TrueNs) -> f64 {
        let errors: Vec<f64> = cluster.nodes.iter_mut().map(|node| node.error_ns(now)).collect();
        errors.iter().copied().fold(f64::MIN, f64::max) - errors.iter().copied().fold(f64::MAX, f64::min)
    }

    #[test]
    fn nodes_that_start_apart_find_each_other() {
        let mut cluster = cluster(3, "[link]\njitter = 'normal 30ns'\n", 1);
        let before = spread_ns(&mut cluster, 0);
        cluster.run_until(5 * SECOND_NS);
        let after = spread_ns(&mut cluster, 5 * SECOND_NS);
        assert!(before > 1e5 && after < 1e3, "{before} ns before, {after} ns after");
        // Eight exchanges a second and pair, and sixteen in the two seconds of the start burst.
        assert!((150..190).contains(&cluster.exchanges()), "{}", cluster.exchanges());
    }

    #[test]
    fn a_new_run_finds_what_the_scenario_says_that_the_old_one_left() {
        let error_ns = |keeps: &str| {
            let more = format!(
                "[oscillator]\nfrequency_exact = '40ppm'\n[clock]\noffset = '0s'\n[[node]]\nnodes = [0]\n\
                 role = 'reference'\noscillator = {{ frequency = '0', wander = 0.0 }}\n[[event]]\nkind = 'crash'\n\
                 at = '20s'\nnodes = [0]\n[[event]]\nkind = 'crash'\nat = '20s'\nnodes = [1]\ndown = '10s'\n\
                 offset = '1ms'\nkeeps = '{keeps}'\n"
            );
            let mut cluster = cluster(2, &more, 1);
            cluster.run_until(50 * SECOND_NS);
            let clock_ns = cluster.nodes[1].error_ns(50 * SECOND_NS) - 1e6;
            let mapping = cluster.nodes[1].claim.mapping;
            let raw = cluster.nodes[1].raw(50 * SECOND_NS);
            let v_ns = mapping.virtual_at(super::super::clock::whole(raw)).nanos() - cluster.utc.at(50 * SECOND_NS);
            (clock_ns, v_ns)
        };
        // Twenty seconds alone after coming back: at the oscillator's own rate that makes 800 us.
        assert!((error_ns("nothing").0 - 800e3).abs() < 10e3, "{:?}", error_ns("nothing"));
        assert!(error_ns("drift").0.abs() < 10e3, "{:?}", error_ns("drift"));
        assert!(error_ns("rate").0.abs() < 10e3, "{:?}", error_ns("rate"));
        // The clock is let be while nobody is heard, but V is what it was.
        assert!(error_ns("mapping").1.abs() < 10_000, "{:?}", error_ns("mapping"));
        assert!((error_ns("drift").1 - 1_000_000).abs() < 10_000, "{:?}", error_ns("drift"));
    }

    #[test]
    fn a_world_with_one_node_more_has_the_same_oscillators() {
        let (mut small, mut large) = (cluster(3, "", 9), cluster(4, "", 9));
        let at = 3 * SECOND_NS;
        for n in 0..3 {
            assert_eq!(small.nodes[n].raw(at), large.nodes[n].raw(at));
        }
    }

    #[test]
    fn a_partition_cuts_exactly_the_links_between_its_sides() {
        let event = "[[event]]\nkind = 'partition'\nat = '2s'\nnodes = [3]\nuntil = '50s'\n";
        let mut cluster = cluster(4, event, 1);
        cluster.run_until(3 * SECOND_NS);
        let before: Vec<u64> = (0..3).map(|n| cluster.nodes[n].exchanged_with(3)).collect();
        let inside = cluster.nodes[0].exchanged_with(1);
        cluster.run_until(10 * SECOND_NS);
        assert_eq!(before, (0..3).map(|n| cluster.nodes[n].exchanged_with(3)).collect::<Vec<_>>());
        assert!(cluster.nodes[0].exchanged_with(1) > inside + 40);
    }

    #[test]
    fn a_stranger_s_packets_are_refused_and_counted() {
        let mut cluster = cluster(3, "[[node]]\nnodes = [2]\nwrong_key = true\n", 1);
        cluster.run_until(5 * SECOND_NS);
        assert_eq!(cluster.nodes[0].exchanged_with(2), 0);
        assert!(cluster.nodes[0].speech.as_ref().unwrap().protocol.counters().rejected_total() > 3);
        assert!(!cluster.nodes[2].has_synced && !cluster.is_judged(2));
    }
}
