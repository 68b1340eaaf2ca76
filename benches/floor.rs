//! What one exchange costs in the floor filter, on three links and beside the simple filter; `chase` is a fixed floor
//! to compare machines by: 100 dependent divisions. `cargo bench --bench floor`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use llts::filter::{FilterKind, Pair};
use llts::flow::{Claim, Exchange, Mapping, Role, StampClass};
use llts::unit::{BootId, NodeId, PeerSlot, RawTime};

/// Exchanges before measuring, so that the noise has been learnt, and in the measured round.
const WARM: usize = 20_000;
const ROUND: usize = 200_000;
const PAIR: Pair = Pair { boost: 1.0, wander: 2e-18, alive: 4.0 };

struct Dice(u64);

impl Dice {
    fn flat(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 + 0.5) / (1_u64 << 31) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.flat().ln()).sqrt() * (std::f64::consts::TAU * self.flat()).cos()
    }
}

/// 16 exchanges a second of two clocks 20 ppm apart.
fn exchanges(delay: impl Fn(&mut Dice) -> f64) -> Vec<Exchange> {
    let mut dice = Dice(7);
    let start = RawTime::from_nanos(0);
    let claim = Claim::unset(Mapping { epoch: start, offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 }, Role::Peer);
    let remote = |ns: f64| RawTime::from_nanos(10_000_000 + (ns * (1.0 + 20e-6)).round() as i64);
    (0..WARM + ROUND)
        .map(|turn| {
            let sent = turn as f64 * 62.5e6;
            let arrived = sent + delay(&mut dice);
            let back = arrived + delay(&mut dice);
            Exchange {
                peer: PeerSlot(0),
                node: NodeId(2),
                boot: BootId(1),
                initiator: true,
                local_sent: RawTime::from_nanos(sent as i64),
                remote_received: remote(arrived),
                remote_sent: remote(arrived),
                local_received: RawTime::from_nanos(back as i64),
                class: StampClass::Nic,
                local_rx_class: StampClass::Nic,
                local_tx_class: StampClass::Nic,
                claim,
            }
        })
        .collect()
}

fn floor(c: &mut Criterion) {
    let hw = exchanges(|d| 10e3 + 30.0 * d.normal());
    let sw = exchanges(|d| 50e3 - 10e3 * d.flat().ln());
    let heavy = exchanges(|d| 50e3 + 200e3 * d.flat().ln() * d.flat().ln());
    let mut group = c.benchmark_group("edge filter, one exchange");
    for (kind, name) in [(FilterKind::Floor, "floor"), (FilterKind::Kalman, "kalman")] {
        for (link, stream) in [("hw", &hw), ("sw", &sw), ("heavy", &heavy)] {
            group.bench_function(format!("{name} {link}"), |bencher| {
                let (mut filter, mut next) = (kind.make(), 0);
                bencher.iter_custom(|turns| {
                    let mut spent = std::time::Duration::ZERO;
                    let mut left = turns as usize;
                    while left > 0 {
                        if next == 0 || next == stream.len() {
                            filter.reset();
                            for exchange in &stream[..WARM] {
                                filter.on_exchange(exchange, &PAIR);
                            }
                            next = WARM;
                        }
                        let round = &stream[next..stream.len().min(next + left)];
                        let began = std::time::Instant::now();
                        for exchange in round {
                            black_box(filter.on_exchange(black_box(exchange), &PAIR));
                        }
                        spent += began.elapsed();
                        left -= round.len();
                        next += round.len();
                    }
                    spent
                });
            });
        }
    }
    group.bench_function("chase", |bencher| {
        bencher.iter(|| (0..100).fold(black_box(1.7), |x: f64, _| 1.0 / (x + 1.0)));
    });
    group.finish();
}

criterion_group!(benches, floor);
criterion_main!(benches);
