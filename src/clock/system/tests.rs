//! Every sequence of calls against a kernel that is played by the rules of the real one.

use libc::{
    ADJ_ESTERROR, ADJ_FREQUENCY, ADJ_MAXERROR, ADJ_NANO, ADJ_OFFSET, ADJ_OFFSET_SINGLESHOT, ADJ_SETOFFSET, ADJ_STATUS,
    ADJ_TAI, ADJ_TICK, STA_DEL, STA_FREQHOLD, STA_INS, STA_NANO, STA_PLL, STA_UNSYNC,
};

use super::super::fake_kernel::{FakeKernel, State};
use super::*;

const REPORT: u32 = ADJ_STATUS | ADJ_NANO | ADJ_MAXERROR | ADJ_ESTERROR;
const RATE: u32 = ADJ_FREQUENCY | ADJ_TICK;
const TICK_NS: i64 = 62_500_000;
const SECOND_NS: i64 = 1_000_000_000;

struct Bench {
    kernel: FakeKernel,
    clock: SystemClock<FakeKernel, FakeKernel>,
    _folder: tempfile::TempDir,
}

/// A clock held on a kernel that was left in some state.
fn bench(leave: impl FnOnce(&mut State)) -> Bench {
    let (folder, kernel) = (tempfile::tempdir().unwrap(), FakeKernel::new());
    kernel.with(leave);
    let path = folder.path().join("clock.lock");
    let clock = SystemClock::with(kernel.clone(), kernel.clone(), &path, true).unwrap();
    Bench { kernel, clock, _folder: folder }
}

fn correction(rate: f64, step_ns: i64) -> Correction {
    Correction { rate, step_ns, sigma_ns: 2_500.0, bound_ns: 40_000.0, synchronised: true }
}

impl Bench {
    /// What a node does at a tick; gives what others were found to have done.
    fn tick(&mut self, rate: f64) -> Option<Interference> {
        self.clock.read().unwrap();
        let found = self.clock.interference();
        self.clock.apply(&correction(rate, 0)).unwrap();
        self.kernel.advance(TICK_NS);
        found
    }

    fn status(&self) -> i32 {
        self.kernel.with(|state| state.status)
    }
}

#[test]
fn taking_hold_changes_nothing_and_finds_the_rate_the_clock_has() {
    let mut bench = bench(|state| (state.frequency, state.status) = (3 << 16, STA_PLL | STA_UNSYNC));
    assert!((bench.clock.rate() - 3e-6).abs() < 1e-15);
    assert_eq!(bench.clock.read().unwrap().clock.nanos(), bench.kernel.real_ns());
    assert_eq!(bench.clock.interference(), None, "what was there before is nobody's interference");
    bench.clock.release().unwrap();
    assert!(bench.kernel.take().is_empty());
}

#[test]
fn the_first_correction_takes_the_clock_over() {
    let mut bench = bench(|state| state.status = STA_PLL | STA_INS | STA_FREQHOLD | STA_UNSYNC);
    bench.clock.apply(&correction(-20e-6, 0)).unwrap();
    let [adjtime, offset, request] = bench.kernel.take()[..] else { panic!("three calls that change something") };
    assert_eq!((adjtime.modes, offset.modes), (ADJ_OFFSET_SINGLESHOT, ADJ_STATUS | ADJ_OFFSET));
    assert_eq!(request.modes, RATE | REPORT);
    assert_eq!((request.freq, request.tick), (-(20 << 16), 10_000));
    assert_eq!((request.maxerror, request.esterror), (40, 3));
    assert_eq!(bench.status(), STA_INS | STA_NANO);
    assert!((bench.clock.rate() + 20e-6).abs() < 1e-15);
}

#[test]
fn a_step_is_relative_in_nanoseconds_and_comes_with_the_rate_and_an_honest_status() {
    let mut bench = bench(|_| ());
    bench.tick(0.0);
    bench.kernel.take();
    let before_ns = bench.kernel.real_ns();
    bench.clock.apply(&correction(1e-6, -1_500_000_000)).unwrap();
    let [request] = bench.kernel.take()[..] else { panic!("one call") };
    assert_eq!(request.modes, ADJ_SETOFFSET | RATE | REPORT);
    assert_eq!((request.time.tv_sec, request.time.tv_usec), (-2, 500_000_000));
    assert_eq!(bench.kernel.real_ns(), before_ns - 1_500_000_000);
    // The kernel forgets how good a clock is when it is set: it has been told again in the same call.
    assert_eq!((bench.status(), bench.kernel.with(|state| state.maxerror_us)), (STA_NANO, 40.0));
}

#[test]
fn beyond_500_ppm_the_tick_helps_and_is_taken_back_after() {
    let mut bench = bench(|_| ());
    for (rate, gained_ns) in [(830e-6, 830_000), (-0.1, -100_000_000), (10e-6, 10_000)] {
        let before_ns = bench.kernel.real_ns();
        bench.clock.apply(&correction(rate, 0)).unwrap();
        bench.kernel.advance(SECOND_NS);
        let error_ns = bench.kernel.real_ns() - before_ns - SECOND_NS - gained_ns;
        assert!(error_ns.abs() <= 1, "{rate}: {error_ns} ns");
    }
    let set =
        bench.kernel.take().into_iter().filter(|request| request.modes & RATE != 0 && request.modes & 0x8000 == 0);
    let set: Vec<_> = set.map(|request| (request.tick, request.freq)).collect();
    assert_eq!(set, [(10_008, 30 << 16), (9_000, 0), (10_000, 10 << 16)]);
}

#[test]
fn the_kernel_is_told_only_what_changes_and_the_error_once_a_second() {
    let mut bench = bench(|_| ());
    bench.clock.apply(&correction(1e-6, 0)).unwrap();
    bench.kernel.take();

    bench.kernel.advance(SECOND_NS / 2);
    bench.clock.apply(&correction(1e-6, 0)).unwrap();
    assert!(bench.kernel.take().is_empty());
    bench.clock.apply(&correction(2e-6, 0)).unwrap();
    assert_eq!(bench.kernel.take()[0].modes, RATE);
    bench.kernel.advance(SECOND_NS / 2);
    bench.clock.apply(&correction(2e-6, 0)).unwrap();
    assert_eq!(bench.kernel.take()[0].modes, REPORT);

    // Losing the cluster is said at once.
    bench.clock.apply(&Correction { synchronised: false, ..correction(2e-6, 0) }).unwrap();
    assert_eq!(bench.kernel.take()[0].modes, REPORT);
    assert_eq!(bench.status(), STA_NANO | STA_UNSYNC);
}

#[test]
fn an_error_at_the_kernels_largest_is_never_called_synchronised() {
    let mut bench = bench(|_| ());
    for (bound_ns, unsync) in [(15.999e9, 0), (16e9, STA_UNSYNC), (f64::INFINITY, STA_UNSYNC)] {
        bench.clock.apply(&Correction { bound_ns, ..correction(0.0, 0) }).unwrap();
        assert_eq!(bench.status() & STA_UNSYNC, unsync, "{bound_ns}");
    }
}

#[test]
fn the_kernels_own_loop_never_gets_an_offset_and_its_tai_is_kept() {
    let mut bench = bench(|state| state.status = STA_PLL);
    for n in 0..100 {
        bench.clock.read().unwrap();
        bench.clock.apply(&correction(f64::from(n) * 1e-6, i64::from(n % 7))).unwrap();
        bench.kernel.advance(TICK_NS);
    }
    for request in bench.kernel.take() {
        // ADJ_SETOFFSET is another bit; ADJ_OFFSET is what feeds the PLL, and here only takes back what was fed.
        assert_eq!((request.modes & ADJ_TAI, request.offset), (0, 0));
        assert_eq!(request.status & STA_PLL != 0, request.modes & (ADJ_OFFSET | ADJ_STATUS) == ADJ_OFFSET | ADJ_STATUS);
    }
    assert_eq!(bench.status() & STA_PLL, 0);
    assert_eq!(bench.kernel.with(|state| state.tai_s), 37);
}

#[test]
fn a_leap_second_is_announced_and_taken_back_and_outlives_reports() {
    let mut bench = bench(|_| ());
    bench.tick(0.0);
    for (leap, bits) in [(Leap::Insert, STA_INS), (Leap::Delete, STA_DEL), (Leap::None, 0)] {
        bench.clock.announce_leap(leap).unwrap();
        for _ in 0..40 {
            assert_eq!(bench.tick(0.0), None);
        }
        assert_eq!(bench.status(), STA_NANO | bits, "{leap:?}");
    }
}

/// A kernel so long before the end of its day.
fn before_midnight(kernel: &FakeKernel, ns: i64) {
    const DAY_NS: i64 = 86_400 * SECOND_NS;
    let shown_ns = kernel.real_ns();
    kernel.set(DAY_NS - shown_ns.rem_euclid(DAY_NS) - ns);
}

#[test]
fn a_leap_second_taken_by_the_kernel_is_told_once_and_is_nobodys_interference() {
    for (leap, tai_s) in [(Leap::Insert, 38), (Leap::Delete, 36)] {
        let mut bench = bench(|_| ());
        before_midnight(&bench.kernel, 5 * SECOND_NS);
        bench.clock.announce_leap(leap).unwrap();
        let first_ns = bench.clock.read().unwrap().clock.nanos();
        let mut taken = Vec::new();
        for n in 0..160 {
            let told_early = bench.kernel.tai_told() != bench.kernel.with(|state| state.tai_s);
            let due_at = if leap == Leap::Insert { 80 } else { 64 };
            assert_eq!(told_early, n == due_at, "one reading falls between the kernel's word and its deed");
            assert_eq!(bench.tick(2e-6), None, "{leap:?}");
            taken.extend(Some(bench.clock.leap().taken).filter(|taken| *taken != Leap::None));
        }
        assert_eq!(taken, [leap]);
        assert_eq!(bench.clock.leap().announced, leap, "until it is taken back");
        let gained_ns = bench.kernel.real_ns() - first_ns - 160 * TICK_NS;
        assert!((gained_ns - leap.step_s() * SECOND_NS).abs() < 50_000, "{gained_ns}");
        assert_eq!(bench.kernel.with(|state| state.tai_s), tai_s);
        bench.clock.announce_leap(Leap::None).unwrap();
        bench.tick(2e-6);
        assert_eq!(bench.status(), STA_NANO);
    }
}

#[test]
fn a_clock_that_is_set_after_the_announcement_takes_its_leap_second_all_the_same() {
    for foreign in [false, true] {
        let mut bench = bench(|_| ());
        before_midnight(&bench.kernel, 20 * SECOND_NS);
        bench.tick(0.0);
        bench.clock.announce_leap(Leap::Insert).unwrap();
        for _ in 0..40 {
            assert_eq!(bench.tick(0.0), None);
        }
        // The kernel forgets when it is due, and would remember only that it was announced.
        if foreign {
            bench.kernel.set(3_000_000);
        } else {
            bench.clock.apply(&correction(0.0, 3_000_000)).unwrap();
        }
        let (mut taken, mut withdrawn) = (0, 0);
        for _ in 0..400 {
            bench.tick(0.0);
            taken += i32::from(bench.clock.leap().taken == Leap::Insert);
            withdrawn += i32::from(bench.status() & STA_INS == 0);
            assert_eq!(bench.clock.leap().announced, Leap::Insert, "nobody has to announce it again");
        }
        assert_eq!((taken, bench.kernel.with(|state| state.tai_s)), (1, 38), "foreign {foreign}");
        assert!((30..40).contains(&withdrawn), "{withdrawn} ticks");
    }
}

#[test]
fn a_tai_offset_that_somebody_writes_is_no_leap_second_and_a_second_that_somebody_steps_neither() {
    for (tai_s, step_ns) in [(37, 0), (38, 0), (37, -SECOND_NS), (39, -SECOND_NS)] {
        let mut bench = bench(|_| ());
        (0..20).for_each(|_| assert_eq!(bench.tick(0.0), None));
        bench.kernel.with(|state| state.tai_s = tai_s);
        bench.kernel.set(step_ns);
        let found = bench.tick(0.0);
        assert_eq!(bench.clock.leap().taken, Leap::None, "{tai_s} {step_ns}");
        assert_eq!(found.is_some(), step_ns != 0, "{found:?}");
    }
}

#[test]
fn at_release_the_clock_is_called_unsynchronised_and_keeps_its_rate() {
    let mut bench = bench(|_| ());
    bench.clock.apply(&correction(7e-6, 0)).unwrap();
    bench.kernel.take();
    bench.clock.release().unwrap();
    let [request] = bench.kernel.take()[..] else { panic!("one call") };
    assert_eq!(request.modes, ADJ_STATUS);
    assert_eq!(bench.status(), STA_NANO | STA_UNSYNC);
    assert_eq!(bench.kernel.with(|state| state.frequency), 7 << 16);
    bench.clock.release().unwrap();
    assert!(bench.kernel.take().is_empty(), "once is enough");
}

#[test]
fn a_correction_refused_by_the_kernel_is_tried_again_in_full() {
    let mut bench = bench(|state| state.permitted = false);
    let refused = bench.clock.apply(&correction(1e-6, 0)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(bench.clock.rate(), 0.0);
    bench.kernel.with(|state| state.permitted = true);
    bench.clock.apply(&correction(1e-6, 0)).unwrap();
    assert_eq!(bench.kernel.take()[2].modes, RATE | REPORT);
}

#[test]
fn steering_by_this_node_alone_is_nobodys_interference() {
    let mut bench = bench(|_| ());
    for n in 0..200 {
        let rate = f64::from(n % 5 - 2) * 40e-3 + f64::from(n) * 1e-8;
        assert_eq!(bench.tick(rate), None, "at {n}");
        if n % 50 == 0 {
            bench.clock.apply(&correction(rate, 3 * SECOND_NS)).unwrap();
        }
    }
    // A tick that comes ten seconds late, and a kernel that is half a ppm off, are no interference either.
    bench.kernel.advance(10 * SECOND_NS);
    bench.kernel.with(|state| state.raw_ns += 4_000);
    assert_eq!(bench.tick(0.0), None);
}

#[test]
fn a_clock_that_somebody_sets_is_noticed_at_the_next_tick_whichever_way() {
    for by_ns in [200_000_000, -200_000_000, 6_000, -6_000, 3_600 * SECOND_NS] {
        let mut bench = bench(|_| ());
        (0..20).for_each(|_| assert_eq!(bench.tick(3e-6), None));
        bench.kernel.set(by_ns);
        let found = bench.tick(3e-6);
        let Some(Interference::Moved(seen_ns)) = found else { panic!("{by_ns}: {found:?}") };
        assert!((seen_ns - by_ns).abs() <= 2, "{seen_ns} instead of {by_ns}");
        // The kernel had called it unsynchronised; that is put right at once, not at the next full second.
        assert_eq!(bench.status() & STA_UNSYNC, 0);
        assert_eq!(bench.tick(3e-6), None, "told once");
    }
}

#[test]
fn a_clock_that_somebody_sets_between_its_reading_and_the_command_is_noticed_too() {
    for (by_ns, step_ns) in
        [(200_000_000, 0), (-200_000_000, 0), (6_000, 0), (200_000_000, -5 * SECOND_NS), (0, SECOND_NS)]
    {
        let mut bench = bench(|_| ());
        for n in 0..20 {
            // A command that comes late, and changes the rate by as much as can be, is nobody's interference.
            bench.clock.read().unwrap();
            assert_eq!(bench.clock.interference(), None, "at {n}");
            bench.kernel.advance(2_000_000);
            bench.clock.apply(&correction(if n % 2 == 0 { 0.1 } else { -0.1 }, 0)).unwrap();
            bench.kernel.advance(TICK_NS);
        }
        bench.clock.read().unwrap();
        bench.kernel.advance(1_000_000);
        bench.kernel.set(by_ns);
        bench.kernel.advance(1_000_000);
        bench.clock.apply(&correction(-0.1, step_ns)).unwrap();
        // Nobody may believe, until the next command, a promise that this one has made for another time.
        assert_eq!(bench.status() & STA_UNSYNC != 0, by_ns != 0, "{by_ns}");
        bench.kernel.advance(TICK_NS);
        match bench.tick(0.0) {
            Some(Interference::Moved(seen_ns)) => assert!((seen_ns - by_ns).abs() <= 2, "{seen_ns} instead of {by_ns}"),
            found => assert!(found.is_none() && by_ns == 0, "{by_ns}: {found:?}"),
        }
        assert_eq!(bench.tick(0.0), None, "told once");
    }
}

#[test]
fn a_move_below_what_measuring_explains_is_let_be() {
    let mut bench = bench(|_| ());
    bench.tick(0.0);
    bench.kernel.set(5_000);
    assert_eq!(bench.tick(0.0), None);
}

#[test]
fn a_frequency_that_somebody_sets_is_noticed_and_taken_back() {
    let mut bench = bench(|_| ());
    (0..20).for_each(|_| assert_eq!(bench.tick(3e-6), None));
    bench.kernel.with(|state| state.frequency += 100 << 16);
    bench.kernel.advance(TICK_NS);
    let found = bench.tick(3e-6);
    assert!(
        matches!(found, Some(Interference::Rate { found, left }) if (found - left - 100e-6).abs() < 1e-12),
        "{found:?}"
    );
    assert_eq!(bench.kernel.with(|state| state.frequency), 3 << 16);
    assert_eq!(bench.tick(3e-6), None);
}

#[test]
fn a_kernel_loop_that_somebody_switches_on_is_noticed_and_switched_off() {
    let mut bench = bench(|_| ());
    (0..20).for_each(|_| assert_eq!(bench.tick(0.0), None));
    bench.kernel.with(|state| state.status |= STA_PLL);
    assert_eq!(bench.tick(0.0), Some(Interference::Loop));
    assert_eq!(bench.status() & STA_PLL, 0);
    // Fed with an offset it moves the clock besides, and goes on when it is switched off, until that is taken back.
    for on in [STA_PLL, 0] {
        bench.kernel.with(|state| (state.status, state.pll_ns) = (state.status | on, 50e6));
        (0..3).for_each(|_| bench.kernel.advance(SECOND_NS));
        assert!(matches!(bench.tick(0.0), Some(Interference::Moved(_))));
        for _ in 0..40 {
            assert_eq!(bench.tick(0.0), None, "nothing is left of it");
        }
    }
    // Too little to be seen in the clock is seen in the kernel's state.
    bench.kernel.with(|state| state.pll_ns = 40_000.0);
    assert_eq!(bench.tick(0.0), Some(Interference::Loop));
    bench.clock.foreign_slew_ended();
    bench.kernel.with(|state| state.adjtime_ns = 50e6);
    (0..3).for_each(|_| bench.kernel.advance(SECOND_NS));
    assert!(matches!(bench.tick(0.0), Some(Interference::Moved(_))));
    assert_eq!(bench.tick(0.0), None);
    let ended = bench.clock.foreign_slew_ended().unwrap();
    assert!(ended.loop_ns == 0 && (48_000_000..50_000_000).contains(&ended.adjtime_ns), "{ended:?}");
    assert_eq!(bench.clock.foreign_slew_ended(), None, "told once");
}

#[test]
fn what_a_daemon_before_had_left_to_slew_is_not_slewed() {
    for (status, fed) in [(STA_PLL, true), (0, true), (0, false)] {
        let mut bench = bench(|state| {
            state.status = status;
            if fed { state.pll_ns = 80e6 } else { state.adjtime_ns = -80e6 }
        });
        (0..3).for_each(|_| bench.kernel.advance(SECOND_NS));
        // The first command comes a moment after the reading, and until then it is slewed.
        bench.clock.read().unwrap();
        bench.kernel.advance(4_000_000);
        bench.clock.apply(&correction(0.0, 0)).unwrap();
        let start_ns = bench.kernel.real_ns();
        bench.kernel.advance(TICK_NS);
        for _ in 1..160 {
            assert_eq!(bench.tick(0.0), None);
        }
        assert_eq!(bench.kernel.real_ns() - start_ns, 160 * TICK_NS, "{status} {fed}");
        assert_eq!(bench.status(), STA_NANO);
    }
}

#[test]
fn without_the_privilege_or_with_another_holder_one_sentence_says_what_to_do() {
    let bench = bench(|_| ());
    let path = bench._folder.path().join("clock.lock");
    let refusal =
        |permitted| SystemClock::with(FakeKernel::new(), FakeKernel::new(), &path, permitted).map(|_| ()).unwrap_err();
    let denied = refusal(false).to_string();
    assert!(denied.contains("CAP_SYS_TIME") && denied.contains("--clock virtual"), "{denied}");
    let held = refusal(true).to_string();
    assert!(held.contains(&format!("process {}", std::process::id())), "{held}");
}

#[test]
fn a_clock_whose_holder_died_is_left_without_its_haste_and_any_other_is_let_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clock.lock");
    let mut kernel = FakeKernel::new();
    let release = |kernel: &mut FakeKernel, best| release_abandoned_by(kernel, &path, best).unwrap();
    assert_eq!(release(&mut kernel, None), Abandoned::GivenBack);
    assert!(!path.exists(), "nobody ever held it");

    let clock = SystemClock::with(kernel.clone(), kernel.clone(), &path, true).unwrap();
    assert_eq!(release(&mut kernel, None), Abandoned::Held(Some(std::process::id())));
    drop(clock);
    assert_eq!(release(&mut kernel, None), Abandoned::GivenBack);
    assert!(kernel.take().is_empty(), "nothing was to be done so far");

    let die_at = |kernel: &FakeKernel, rate| {
        let mut clock = SystemClock::with(kernel.clone(), kernel.clone(), &path, true).unwrap();
        clock.apply(&correction(rate, 0)).unwrap();
        let number = std::fs::read(&path).unwrap();
        drop(clock);
        std::fs::write(&path, number).unwrap();
        kernel.take();
    };
    for (rate, best, to) in [(0.08, Some(-20e-6), -20e-6), (0.08, None, 0.0), (31e-6, None, 0.0)] {
        die_at(&kernel, rate);
        let Abandoned::Released { from, to: now, .. } = release(&mut kernel, best) else { panic!("it was abandoned") };
        assert!((from - rate).abs() < 1e-11 && (now - to).abs() < 1e-11, "{from} {now}");
        let [request] = kernel.take()[..] else { panic!("one call") };
        assert_eq!(request.modes, RATE | ADJ_STATUS, "no step");
        assert_eq!(kernel.with(|state| state.status) & STA_UNSYNC, STA_UNSYNC);
        assert_eq!(release(&mut kernel, best), Abandoned::GivenBack, "once is enough");
    }
    // A kernel that refuses leaves it to be done.
    die_at(&kernel, 0.08);
    kernel.with(|state| state.permitted = false);
    assert!(release_abandoned_by(&mut kernel, &path, None).is_err());
    assert!(SystemClock::with(kernel.clone(), kernel.clone(), &path, true).is_err());
    kernel.with(|state| state.permitted = true);
    // A node that starts ends the haste at once: it may hear nobody for long.
    let clock = SystemClock::with(kernel.clone(), kernel.clone(), &path, true).unwrap();
    assert_eq!((clock.rate(), kernel.with(|state| (state.tick_us, state.frequency))), (0.0, (10_000, 0)));
    drop(clock);
    assert_eq!(release(&mut kernel, None), Abandoned::GivenBack);
}
