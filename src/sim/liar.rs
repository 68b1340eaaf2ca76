//! A node that lies: it holds a valid key and runs the whole protocol, and its packets are altered after it has written
//! them, and sealed again. So it can say anything, to each peer something else, but only as itself.

use std::collections::VecDeque;

use super::fault::{Attack, Liar, Via};
use super::random::mix;
use super::world::{SECOND_NS, TrueNs};
use crate::flow::NodeState;
use crate::wire::{DATAGRAM_LEN, Identity, Keyring, Message};

/// How long a random lie is kept up.
const RANDOM_HOLD_NS: TrueNs = SECOND_NS / 4;
/// Packets kept for a replay.
const REPLAY_DEPTH: usize = 64;

/// What the liar sees when it speaks: liars know the truth.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// The present.
    pub now: TrueNs,
    /// To whom it speaks.
    pub receiver: usize,
    /// The receiver's clock minus the liar's cluster time, ns.
    pub receiver_ns: f64,
    /// The receiver's clock's rate minus that of the liar's cluster time.
    pub receiver_rate: f64,
    /// Mean of the honest clocks minus the liar's cluster time, ns.
    pub mean_ns: f64,
    /// The mean's rate minus that of the liar's cluster time.
    pub mean_rate: f64,
}

/// A liar at work.
#[derive(Clone, Debug)]
pub struct Lying {
    spec: Liar,
    seed: u64,
    sent: VecDeque<[u8; DATAGRAM_LEN]>,
}

/// The shift of the liar's apparent cluster time, ns, and of its rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lie {
    /// Later by this much.
    pub shift_ns: f64,
    /// Faster by this much.
    pub rate: f64,
}

impl Lying {
    /// A liar that draws from `seed`.
    #[must_use]
    pub fn new(spec: Liar, seed: u64) -> Self {
        Lying { spec, seed, sent: VecDeque::new() }
    }

    /// True while it lies.
    #[must_use]
    pub fn is_active(&self, now: TrueNs) -> bool {
        now >= self.spec.from.nanos() && self.spec.until.is_none_or(|until| now < until.nanos())
    }

    /// True while it says nothing at all.
    #[must_use]
    pub fn is_silent(&self, now: TrueNs) -> bool {
        self.spec.attack == Attack::Silence && self.is_active(now)
    }

    /// By how much it holds its packets back, ns.
    #[must_use]
    pub fn holds_back_ns(&self, now: TrueNs) -> i64 {
        match self.spec.attack {
            Attack::Delay { by } if self.is_active(now) => by.nanos().max(0),
            _ => 0,
        }
    }

    /// An old packet to send after this one, which is kept in its turn.
    pub fn replay(&mut self, datagram: &[u8; DATAGRAM_LEN], now: TrueNs) -> Option<[u8; DATAGRAM_LEN]> {
        if self.spec.attack != Attack::Replay {
            return None;
        }
        self.sent.push_back(*datagram);
        if self.sent.len() > REPLAY_DEPTH {
            self.sent.pop_front();
        }
        let old = self.sent[mix(self.seed ^ now as u64) as usize % self.sent.len()];
        self.is_active(now).then_some(old)
    }

    /// What it makes this receiver believe of its cluster time; `None` if the truth.
    #[must_use]
    pub fn lie(&self, scene: &Scene) -> Option<Lie> {
        if !self.is_active(scene.now) {
            return None;
        }
        // All liars take the same sides: those who disagree with each other would help the honest.
        let side = if scene.receiver.is_multiple_of(2) { 1.0 } else { -1.0 };
        let own = |shift_ns: f64| Lie { shift_ns, rate: 0.0 };
        let theirs = |more_ns: f64| Lie { shift_ns: scene.receiver_ns + more_ns, rate: scene.receiver_rate };
        match self.spec.attack {
            Attack::Random { amplitude } => {
                let slot = (scene.now / RANDOM_HOLD_NS) as u64;
                let bits = mix(self.seed ^ mix(slot) ^ mix(scene.receiver as u64 + 1));
                let unit = (bits >> 11) as f64 / (1u64 << 53) as f64;
                Some(own(amplitude.0 * (2.0 * unit - 1.0)))
            }
            Attack::TwoFaced { amplitude } => {
                Some(Lie { shift_ns: scene.mean_ns + side * amplitude.0, rate: scene.mean_rate })
            }
            Attack::Edge { amplitude } => Some(theirs(side * amplitude.0)),
            Attack::SmartDrag { amplitude } => Some(theirs(amplitude.0)),
            Attack::Echo => Some(theirs(0.0)),
            Attack::SlowDrag { rate } => {
                let since_ns = (scene.now - self.spec.from.nanos()) as f64;
                Some(Lie { shift_ns: rate.0 * since_ns, rate: rate.0 })
            }
            // Told of nothing but the leap second.
            Attack::Leap { .. } => Some(own(0.0)),
            Attack::Delay { .. } | Attack::Replay | Attack::Silence => None,
        }
    }

    /// Puts the lie into a packet of `own` to `receiver` and seals it again. A packet that the receiver could not open
    /// anyway is left as it is.
    pub fn distort(
        &self,
        lie: Lie,
        datagram: &mut [u8; DATAGRAM_LEN],
        own: &Identity,
        receiver: &Identity,
        keys: &Keyring,
    ) {
        let Ok((mut message, key)) = Message::open(datagram, receiver, keys) else { return };
        if let Attack::Leap { second } = self.spec.attack {
            message.claim.leap = second.into();
        }
        match self.spec.via {
            Via::Claim => {
                message.claim.mapping =
                    message.claim.mapping.rebased(message.transmit.at).moved(lie.shift_ns, lie.rate);
                message.claim.state = NodeState::Track;
                message.claim.joining = false;
                message.claim.sigma_ns = message.claim.sigma_ns.min(1.0);
            }
            Via::Stamps => {
                let shift_ns = lie.shift_ns.round() as i64;
                message.receive.at = message.receive.at.plus(shift_ns);
                message.transmit.at = message.transmit.at.plus(shift_ns);
                if let Some(earlier) = &mut message.earlier {
                    earlier.stamp.at = earlier.stamp.at.plus(shift_ns);
                }
            }
        }
        message.seal(own, keys, key, datagram);
    }
}

#[cfg(test)]
mod tests {
    use super::super::quantity::{Rate, Span};
    use super::*;

    fn lying(attack: Attack) -> Lying {
        Lying::new(Liar { nodes: vec![0], attack, via: Via::Claim, from: Span(1e9), until: Some(Span(9e9)) }, 5)
    }

    fn scene(now: TrueNs, receiver: usize) -> Scene {
        Scene { now, receiver, receiver_ns: 40.0, receiver_rate: 1e-9, mean_ns: 10.0, mean_rate: 2e-9 }
    }

    #[test]
    fn a_liar_is_honest_before_and_after_its_time() {
        let liar = lying(Attack::Echo);
        assert_eq!(liar.lie(&scene(0, 1)), None);
        assert_eq!(liar.lie(&scene(9_000_000_000, 1)), None);
        assert_eq!(liar.lie(&scene(2_000_000_000, 1)), Some(Lie { shift_ns: 40.0, rate: 1e-9 }));
    }

    #[test]
    fn an_edge_attack_tells_neighbours_of_one_side_more_and_of_the_other_less() {
        let liar = lying(Attack::Edge { amplitude: Span(5.0) });
        let shifts = [1, 2, 3, 4].map(|receiver| liar.lie(&scene(2_000_000_000, receiver)).unwrap().shift_ns);
        assert_eq!(shifts[0], shifts[2]);
        assert_eq!(shifts[1], shifts[3]);
        assert_eq!((shifts[0] - shifts[1]).abs(), 10.0);
    }

    #[test]
    fn a_slow_drag_begins_at_nothing_and_grows() {
        let liar = lying(Attack::SlowDrag { rate: Rate(50e-9) });
        assert_eq!(liar.lie(&scene(1_000_000_000, 1)).unwrap().shift_ns, 0.0);
        let later = liar.lie(&scene(3_000_000_000, 1)).unwrap();
        assert!((later.shift_ns - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_replayer_sends_what_it_has_sent_before() {
        let mut liar = lying(Attack::Replay);
        assert_eq!(liar.replay(&[1; DATAGRAM_LEN], 0), None);
        let old = liar.replay(&[2; DATAGRAM_LEN], 2_000_000_000).unwrap();
        assert!(old == [1; DATAGRAM_LEN] || old == [2; DATAGRAM_LEN]);
    }
}
