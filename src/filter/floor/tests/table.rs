//! The tables of docs/measurements/2026-11-22-floor-filter.md. They take minutes, so they are printed only if asked
//! for: `LLTS_FULL=1 cargo test --release --lib filter::floor::tests::table -- --nocapture --test-threads 1`.

use super::link::*;
use super::*;

fn asked() -> bool {
    std::env::var_os("LLTS_FULL").is_some()
}

fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("LLTS_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let first = std::env::var("LLTS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_000);
    first..first + count
}

/// The boosted output's score and the models' own.
pub(super) fn both(conditions: Run, seeds: impl Iterator<Item = u64>) -> (Score, Score) {
    let (mut fused, mut own) = (Score::default(), Score::default());
    for seed in seeds {
        let mut filter = Floor::new();
        let (mut square, mut surprise, mut count) = (0.0, 0.0, 0.0);
        let score = run(Run { seed, ..conditions }, &mut filter, |filter, truth, counts| {
            let track = filter.track.as_ref().expect("an exchange was made");
            if counts {
                let mixed = track.mixed();
                let error = mixed.offset + track.base_ns as f64 - truth;
                square += error * error;
                surprise += error * error / mixed.variance;
                count += 1.0;
            }
        });
        fused = fused.and(&score);
        own = own.and(&Score { count, square, surprise, ..Score::default() });
    }
    (fused, own)
}

#[test]
fn the_two_node_table() {
    if !asked() {
        return;
    }
    let theirs = [
        ("Sw", [248.1, 44.0, 597.6, 110.5], [300.0, 60.0, 700.0, 140.0]),
        ("Hw", [11.1, 4.2, 18.2, 7.7], [12.5, 4.8, 20.0, 8.5]),
        ("Busy", [1935.9, 401.5, 3764.2, 776.7], [2400.0, 500.0, 4500.0, 1000.0]),
        ("Heavy", [512.6, 99.4, 1526.8, 251.7], [700.0, 130.0, 1900.0, 320.0]),
        ("Wan", [5259.5, 1339.9, 12233.8, 2870.8], [8000.0, 1800.0, 15000.0, 3600.0]),
        ("Mix", [30.3, 11.0, 51.9, 19.8], [f64::NAN; 4]),
        ("Asym", [15139.5, 1961.0, 23796.8, 3528.1], [18000.0, 2500.0, f64::NAN, f64::NAN]),
    ];
    println!(
        "| link | w | rate | aim | prototype | fused | sigma | models | sigma | worst | fused/prototype | changes |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let (mut mean_ln, mut fused_ln) = (0.0, 0.0);
    for path in PATHS {
        let (_, prototype, aim) = theirs.iter().find(|t| t.0 == path.name).expect("every path is there");
        for (index, (wander, rate)) in [(1e-9, 1.0), (1e-9, 16.0), (1e-8, 1.0), (1e-8, 16.0)].into_iter().enumerate() {
            let (fused, own) = both(Run::new(path, wander, rate, 0), seeds());
            fused_ln += (fused.rms() / prototype[index]).ln() / 28.0;
            mean_ln += (own.rms() / prototype[index]).ln() / 28.0;
            println!(
                "| {} | {wander:e} | {rate} | {:.1} | {:.1} | **{:.1}** | {:.2} | {:.1} | {:.2} | {:.1} | {:.2} | {} |",
                path.name,
                aim[index],
                prototype[index],
                fused.rms(),
                fused.sigma(),
                own.rms(),
                own.sigma(),
                fused.worst,
                fused.rms() / prototype[index],
                fused.changes,
            );
        }
    }
    println!("geometric mean over the prototype: fused {:.3}, models {:.3}", fused_ln.exp(), mean_ln.exp());
}

/// The troubles of the robustness table, with a name each. Downward changes are 30 % of the floor.
fn troubles(path: &Path) -> [(&'static str, Trouble); 16] {
    let drop = if path.floor_ns > 1e6 { -6e6 } else { -0.3 * path.floor_ns };
    [
        ("none", Trouble::None),
        ("33 % lost", Trouble::Loss(0.33)),
        ("5 % of one direction 50 ms late", Trouble::Outliers(0.05)),
        ("stamps of 1 us", Trouble::Grain(1_000)),
        ("bursts of 10 ms", Trouble::Bursts(10e6)),
        ("bursts of 100 ms", Trouble::Bursts(100e6)),
        ("bursts of 500 ms", Trouble::Bursts(500e6)),
        ("both floors creep 1 ns/s", Trouble::Creep(1.0)),
        ("sine 1e-7 in 1000 s", Trouble::Sine(1e-7, 1_000.0)),
        ("rate steps 2e-7", Trouble::RateStep(2e-7)),
        ("rate steps -1e-6", Trouble::RateStep(-1e-6)),
        ("clock steps 1 ms", Trouble::ClockStep(1e6)),
        ("one route +150 us", Trouble::Route(150e3, 0.0)),
        ("both routes +150 us", Trouble::Route(150e3, 150e3)),
        ("one route -30 %", Trouble::Route(drop, 0.0)),
        ("both routes -30 %", Trouble::Route(drop, drop)),
    ]
}

#[test]
fn the_robustness_table() {
    if !asked() {
        return;
    }
    println!("| trouble | link | 1/s: RMS | sigma | bias | changes | 16/s: RMS | sigma | bias | changes |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for index in 0..16 {
        for path in PATHS {
            let (name, trouble) = troubles(&path)[index];
            let mut row = format!("| {name} | {} ", path.name);
            for rate in [1.0, 16.0] {
                let (fused, _) = both(Run { trouble, ..Run::new(path, 1e-9, rate, 0) }, seeds());
                let (rms, sigma, bias) = (fused.rms(), fused.sigma(), fused.bias());
                row += &format!("| {rms:.1} | {sigma:.2} | {bias:.1} | {} ", fused.changes);
            }
            println!("{row}|");
        }
    }
}

#[test]
fn the_convergence_table() {
    if !asked() {
        return;
    }
    println!("| link | rate | last outside 100 us, s | 10 us | 1 us |");
    println!("|---|---|---|---|---|");
    for path in [SW, HW, MIX] {
        for rate in [1.0, 16.0] {
            let (fused, _) = both(Run { seconds: 300.0, ..Run::new(path, 1e-9, rate, 0) }, seeds());
            let [hundred, ten, one] = fused.outside_s;
            println!("| {} | {rate} | {hundred:.1} | {ten:.1} | {one:.1} |", path.name);
        }
    }
}

#[test]
fn probe_lan() {
    if !asked() {
        return;
    }
    for alive in [2.0, 3.0, 10.0] {
        let mut total = Score::default();
        let mut own = (0.0, 0.0, 0.0);
        for seed in seeds() {
            let conditions = Run { seconds: 400.0, alive, seed, ..Run::new(LAN, 1.4e-9, 8.0, seed) };
            let mut filter = Floor::new();
            let score = run(conditions, &mut filter, |filter, truth, counts| {
                let track = filter.track.as_ref().unwrap();
                if counts {
                    let mixed = track.mixed();
                    let e = mixed.offset + track.base_ns as f64 - truth;
                    own = (own.0 + e * e, own.1 + e * e / mixed.variance, own.2 + 1.0);
                }
            });
            total = total.and(&score);
            let track = filter.track.as_ref().unwrap();
            println!(
                "{alive} rms {:.1} sig {:.2} bias {:.1} s0 {:.1} q {:.1e} floor-best {:.0} w {:?}",
                score.rms(),
                score.sigma(),
                score.bias(),
                track.mixture.stamp_ns(),
                track.wander(),
                track.halves.least(),
                track.mixture.weights.map(|w| w.lanes::<2>().map(|x| (x * 1e4).round() / 1e4))
            );
        }
        println!(
            "{alive}: fused {:.1} sigma {:.2}; models {:.1} {:.2}",
            total.rms(),
            total.sigma(),
            (own.0 / own.2).sqrt(),
            (own.1 / own.2).sqrt()
        );
    }
}
