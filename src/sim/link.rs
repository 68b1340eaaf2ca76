//! One direction of a link: how long a packet takes, whether it arrives, how often. A link knows packets by their size
//! and the time of their departure only.

use std::sync::Arc;

use super::law::Law;
use super::random::Stream;
use super::world::TrueNs;

/// What one direction of a link is like. Everything but the base delay may be left at its default.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Path {
    /// Delay of the wire, ns.
    pub base_ns: f64,
    /// What each packet's delay varies by, ns.
    pub jitter: Law,
    /// Part of the packets that are lost, each by itself.
    pub loss: f64,
    /// Losses that come in bursts.
    pub loss_bursts: Option<Bursts>,
    /// Part of the packets that arrive twice.
    pub duplicate: f64,
    /// Part of the packets that are held back, and for how long, ns, so that later ones overtake them.
    pub reorder: f64,
    /// See [`Path::reorder`].
    pub reorder_by: Law,
    /// Queues that fill for a while and delay everything that passes.
    pub queue: Option<Queue>,
    /// A shared wire of limited speed.
    pub wire: Option<Wire>,
}

/// An on-off process: exponential pauses, and bursts of a length drawn from a law.
#[derive(Clone, Debug, PartialEq)]
pub struct Bursts {
    /// Mean time between two bursts, ns.
    pub pause_ns: f64,
    /// Shortest and longest burst, ns; uniform between.
    pub length_ns: (f64, f64),
}

/// Correlated queueing: while a burst lasts, every packet waits behind the same queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// When.
    pub bursts: Bursts,
    /// The height of the queue, drawn once a burst, ns.
    pub height: Law,
}

/// A wire that sends one packet at a time, ours behind those of others (M/M/1 as far as the others go).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wire {
    /// Time one of our packets takes, ns.
    pub serialise_ns: f64,
    /// Part of the time that others' packets keep it busy.
    pub utilisation: f64,
    /// Mean time one of the others' packets takes, ns.
    pub other_ns: f64,
}

/// The state of an on-off process, drawn lazily.
#[derive(Clone, Copy, Debug)]
struct OnOff {
    on: bool,
    until: TrueNs,
    height_ns: f64,
}

/// One direction of a link at work.
#[derive(Clone, Debug)]
pub struct Link {
    /// Shared among all links that are alike: a large cluster looks at it for every packet.
    path: Arc<Path>,
    stream: Stream,
    losing: Option<OnOff>,
    queueing: Option<OnOff>,
    wire_free: f64,
    /// What route changes have added to the base delay, ns.
    detour_ns: f64,
    /// A partition has cut the link.
    cut: bool,
}

/// When the copies of one packet arrive: none if it is lost, two if it is doubled.
pub type Arrivals = [Option<TrueNs>; 2];

impl Bursts {
    fn on(&self, at: TrueNs, state: &mut Option<OnOff>, height: Option<&Law>, stream: &mut Stream) -> Option<f64> {
        let pause = |stream: &mut Stream| (self.pause_ns * stream.exponential()) as i64 + 1;
        let mut now = state.unwrap_or_else(|| OnOff { on: false, until: pause(stream), height_ns: 0.0 });
        while at >= now.until {
            now.on = !now.on;
            let length = if now.on {
                now.height_ns = height.map_or(0.0, |law| law.draw(stream).max(0.0));
                let (short, long) = self.length_ns;
                (short + (long - short) * stream.unit()) as i64 + 1
            } else {
                pause(stream)
            };
            now.until += length;
        }
        *state = Some(now);
        now.on.then_some(now.height_ns)
    }
}

impl Link {
    /// A link that draws from `stream`.
    #[must_use]
    pub fn new(path: impl Into<Arc<Path>>, stream: Stream) -> Self {
        Link { path: path.into(), stream, losing: None, queueing: None, wire_free: 0.0, detour_ns: 0.0, cut: false }
    }

    /// The path as configured.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The route changes: the base delay grows by `by_ns` (shrinks if negative).
    pub fn reroute(&mut self, by_ns: f64) {
        self.detour_ns += by_ns;
    }

    /// Cuts the link, or mends it.
    pub fn cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// A packet departs at `at`: when does it arrive?
    pub fn send(&mut self, at: TrueNs) -> Arrivals {
        if self.cut || self.is_lost(at) {
            return [None, None];
        }
        let first = self.arrival(at);
        let second = self.stream.chance(self.path.duplicate).then(|| self.arrival(at));
        [Some(first), second]
    }

    fn is_lost(&mut self, at: TrueNs) -> bool {
        let stream = &mut self.stream;
        let bursts = self.path.loss_bursts.as_ref();
        bursts.is_some_and(|b| b.on(at, &mut self.losing, None, stream).is_some()) || stream.chance(self.path.loss)
    }

    fn arrival(&mut self, at: TrueNs) -> TrueNs {
        let (path, stream) = (&self.path, &mut self.stream);
        let mut delay_ns = path.base_ns + self.detour_ns + path.jitter.draw(stream);
        if let Some(queue) = &path.queue {
            delay_ns += queue.bursts.on(at, &mut self.queueing, Some(&queue.height), stream).unwrap_or(0.0);
        }
        if stream.chance(path.reorder) {
            delay_ns += path.reorder_by.draw(stream).max(0.0);
        }
        if let Some(wire) = path.wire {
            let mut start = self.wire_free.max(at as f64);
            if stream.chance(wire.utilisation) {
                start += wire.other_ns / (1.0 - wire.utilisation) * stream.exponential();
            }
            self.wire_free = start + wire.serialise_ns;
            delay_ns += self.wire_free - at as f64;
        }
        at + delay_ns.max(0.0).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    fn link(path: Path) -> Link {
        Link::new(path, Stream::new(11, Purpose::Forward, 0, 1))
    }

    fn delays(link: &mut Link, count: i64, spacing_ns: i64) -> Vec<Option<i64>> {
        (0..count).map(|n| link.send(n * spacing_ns)[0].map(|at| at - n * spacing_ns)).collect()
    }

    #[test]
    fn a_plain_link_delays_by_its_base_and_a_route_change_moves_it() {
        let mut link = link(Path { base_ns: 20_000.0, ..Path::default() });
        assert_eq!(link.send(5), [Some(20_005), None]);
        link.reroute(-3_000.0);
        assert_eq!(link.send(5), [Some(17_005), None]);
        link.cut(true);
        assert_eq!(link.send(5), [None, None]);
    }

    #[test]
    fn losses_and_copies_come_as_often_as_they_should() {
        let mut link = link(Path { loss: 0.33, duplicate: 0.1, ..Path::default() });
        let sent: Vec<_> = (0..20_000).map(|n| link.send(n * 1_000)).collect();
        let lost = sent.iter().filter(|a| a[0].is_none()).count();
        let doubled = sent.iter().filter(|a| a[1].is_some()).count();
        assert!((6_300..6_900).contains(&lost) && (1_200..1_500).contains(&doubled), "{lost} lost, {doubled} doubled");
    }

    #[test]
    fn a_queue_holds_everything_that_passes_for_as_long_as_the_burst_lasts() {
        let bursts = Bursts { pause_ns: 500e6, length_ns: (100e6, 100e6) };
        let queue = Queue { bursts, height: "50us + exp 10us".parse().unwrap() };
        let mut link = link(Path { base_ns: 10_000.0, queue: Some(queue), ..Path::default() });
        let delays: Vec<_> = delays(&mut link, 100_000, 1_000_000).into_iter().flatten().collect();
        let on = delays.iter().filter(|d| **d > 10_000).count();
        assert!((14_000..20_000).contains(&on), "{on} of 100000 in a queue, not a sixth");
        let changes = delays.windows(2).filter(|w| w[0] != w[1]).count();
        assert!(changes < 500, "{changes} changes: neighbours wait alike");
    }

    #[test]
    fn losses_in_bursts_take_neighbours_together() {
        let bursts = Bursts { pause_ns: 900e6, length_ns: (50e6, 150e6) };
        let mut link = link(Path { loss_bursts: Some(bursts), ..Path::default() });
        let lost: Vec<_> = delays(&mut link, 100_000, 1_000_000).iter().map(Option::is_none).collect();
        let count = lost.iter().filter(|l| **l).count();
        let edges = lost.windows(2).filter(|w| w[0] != w[1]).count();
        assert!((7_500..12_500).contains(&count) && edges < 300, "{count} lost in {edges} edges");
    }

    #[test]
    fn packets_on_a_slow_wire_wait_for_each_other() {
        let wire = Wire { serialise_ns: 10_000.0, utilisation: 0.0, other_ns: 0.0 };
        let mut link = link(Path { wire: Some(wire), ..Path::default() });
        let arrivals: Vec<_> = (0..3).map(|_| link.send(0)[0].unwrap()).collect();
        assert_eq!(arrivals, [10_000, 20_000, 30_000]);
    }

    #[test]
    fn a_held_packet_is_overtaken() {
        let mut link = link(Path { reorder: 0.5, reorder_by: "1ms".parse().unwrap(), ..Path::default() });
        let arrivals: Vec<_> = (0..100).map(|n| link.send(n * 1_000)[0].unwrap()).collect();
        assert!(arrivals.windows(2).any(|w| w[0] > w[1]));
    }
}
