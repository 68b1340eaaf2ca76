//! A pipeline with peers and a steady stream of exchanges, for benchmarks and for tests of what a step costs. Its world
//! is as plain as can be: peers whose clocks run evenly, a path with a little repeatable jitter.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Config, Pipeline, Taken, Tick};
use crate::flow::{Claim, Exchange, Mapping, NodeState, PeerIdentity, Reading, Role, StampClass};
use crate::limits::TICK_NS;
use crate::unit::{BootId, ClockTime, Name, NodeId, PeerSlot, RawTime};

/// A pipeline in track with some peers, and the means to feed it.
pub struct Exercise {
    pipeline: Pipeline,
    peers: u16,
    turn: u64,
    now: RawTime,
    rate: f64,
    clock_ns: f64,
}

impl Exercise {
    /// A pipeline with `peers` peers that has run for four seconds and agrees with them.
    #[must_use]
    pub fn new(peers: u16) -> Self {
        let start = RawTime::from_nanos(1_000_000_000_000);
        let mapping = Mapping { epoch: start, offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 };
        let config = Config { capacity: usize::from(peers), ..Config::new(NodeId(1)) };
        let mut pipeline = Pipeline::new(&config, mapping, start);
        for peer in 0..peers {
            pipeline.arrived(&PeerIdentity {
                slot: PeerSlot(peer),
                node: node(peer),
                boot: BootId(1),
                name: Name::new("peer"),
                address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1 + peer),
            });
        }
        let mut exercise = Exercise { pipeline, peers, turn: 0, now: start, rate: 0.0, clock_ns: 0.0 };
        for _ in 0..64 {
            exercise.step();
        }
        exercise
    }

    /// One pipeline step: an exchange with each peer and a tick.
    pub fn step(&mut self) -> Tick {
        for peer in 0..self.peers {
            self.exchange(peer);
        }
        self.tick()
    }

    /// One exchange with `peer`.
    pub fn exchange(&mut self, peer: u16) -> Taken {
        self.turn += 1;
        let jitter_ns = (self.turn.wrapping_mul(6_364_136_223_846_793_005) >> 52) as i64 % 1_000;
        let sent = self.now.plus(i64::from(peer) * 1_000 - TICK_NS / 2);
        let arrived = sent.plus(20_000 + jitter_ns);
        let answered = arrived.plus(10_000);
        let mapping = Mapping { epoch: answered, offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 };
        self.pipeline.on_exchange(&Exchange {
            peer: PeerSlot(peer),
            node: node(peer),
            boot: BootId(1),
            initiator: true,
            local_sent: sent,
            remote_received: arrived,
            remote_sent: answered,
            local_received: answered.plus(20_700),
            class: StampClass::Kernel,
            local_rx_class: StampClass::Kernel,
            local_tx_class: StampClass::Kernel,
            claim: Claim {
                version: self.turn as u32,
                state: NodeState::Track,
                joining: false,
                sigma_ns: 100.0,
                bound_ns: 1e5,
                alive: self.peers + 1,
                ..Claim::unset(mapping, Role::Peer)
            },
        })
    }

    /// One tick.
    pub fn tick(&mut self) -> Tick {
        self.now = self.now.plus(TICK_NS);
        self.clock_ns += self.rate * TICK_NS as f64;
        let clock = ClockTime::from_nanos(self.now.nanos() + self.clock_ns.round() as i64);
        let tick = self.pipeline.tick(Reading { raw: self.now, clock });
        if let Some(correction) = tick.correction {
            self.rate = correction.rate;
            self.clock_ns += correction.step_ns as f64;
        }
        tick
    }
}

fn node(peer: u16) -> NodeId {
    NodeId(100 + u64::from(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exercise_is_that_of_a_node_that_tracks_all_its_peers() {
        for peers in [3, 16, 64] {
            let tick = Exercise::new(peers).step();
            assert_eq!(tick.claim.state, NodeState::Track);
            assert_eq!(tick.verdict.used, peers);
        }
    }
}
