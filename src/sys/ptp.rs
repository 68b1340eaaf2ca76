//! The clock of a network card, `/dev/ptpN`: reading it, and reading it together with `CLOCK_MONOTONIC_RAW`. Never set
//! and never steered: llts wants it to run free.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::time::{Pair, bracket, raw_now};

/// Readings taken in one call, of which the narrowest counts. Each costs two or three reads over the bus, about 1 us.
const SAMPLES: u32 = 9;
/// Rounds of a bracket of REALTIME and RAW around a reading that came in REALTIME.
const BRACKET_ROUNDS: usize = 5;
/// REALTIME moved by this much against RAW beyond the widest steering, ns: somebody set it during the reading.
const SET_NS_MIN: i64 = 2_000;
/// The widest steering of REALTIME: 10 % by the tick, and then some.
const STEERING_MAX: f64 = 0.11;
/// What a cross time stamp of the card's own hardware is taken to be good for, ns (PTM and ART say tens of ns).
const PRECISE_NOISE_NS: f64 = 10.0;

/// How card and machine are read together, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PtpMethod {
    /// Both latched by hardware at one instant (`PTP_SYS_OFFSET_PRECISE`).
    Precise,
    /// The driver reads RAW right around the one bus read that matters (`PTP_SYS_OFFSET_EXTENDED`, Linux 6.12).
    ExtendedRaw,
    /// The same with REALTIME, carried over to RAW here.
    Extended,
    /// The kernel reads REALTIME around the whole of the driver's reading (`PTP_SYS_OFFSET`).
    Plain,
    /// This program reads RAW around `clock_gettime`.
    Gettime,
}

impl PtpMethod {
    const ALL: [PtpMethod; 5] =
        [PtpMethod::Precise, PtpMethod::ExtendedRaw, PtpMethod::Extended, PtpMethod::Plain, PtpMethod::Gettime];

    /// The word shown to people and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PtpMethod::Precise => "precise",
            PtpMethod::ExtendedRaw => "extended-raw",
            PtpMethod::Extended => "extended",
            PtpMethod::Plain => "plain",
            PtpMethod::Gettime => "gettime",
        }
    }
}

/// Card and `CLOCK_MONOTONIC_RAW` at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PtpReading {
    /// The card's clock, ns.
    pub ptp_ns: i64,
    /// `CLOCK_MONOTONIC_RAW` of the machine, ns.
    pub raw_ns: i64,
    /// The two belong to one instant to within half of this, ns.
    pub width_ns: i64,
    /// One standard deviation of the reading as its neighbours show it, ns.
    pub noise_ns: f64,
}

/// What a card's clock can do besides being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PtpAbility {
    /// The largest rate that it could be steered by, ppb.
    pub adjustment_ppb_max: i32,
    /// It latches itself and the machine's clock at one instant.
    pub precise: bool,
    /// It drives the kernel's pulse per second.
    pub pps: bool,
}

/// An open card clock.
#[derive(Debug)]
pub struct PtpClock {
    file: File,
    path: PathBuf,
    method: Option<PtpMethod>,
}

/// The device file of the clock with this number.
#[must_use]
pub fn device_path(number: u32) -> PathBuf {
    Path::new("/dev").join(format!("ptp{number}"))
}

impl PtpClock {
    /// Opens a clock for reading.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `Unsupported` if the file is no card's clock.
    pub fn open(path: &Path) -> io::Result<Self> {
        let clock = PtpClock { file: File::open(path)?, path: path.to_owned(), method: None };
        clock.ability().map_err(|_| io::Error::new(io::ErrorKind::Unsupported, "it is no clock of a network card"))?;
        Ok(clock)
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is read; `None` before the first reading.
    #[must_use]
    pub const fn method(&self) -> Option<PtpMethod> {
        self.method
    }

    /// What else it can do.
    ///
    /// # Errors
    /// What the driver says; `ENOTTY` if the file is no such clock.
    pub fn ability(&self) -> io::Result<PtpAbility> {
        let mut caps: libc::ptp_clock_caps = zeroed();
        self.ioctl(libc::PTP_CLOCK_GETCAPS as _, &mut caps)?;
        Ok(PtpAbility { adjustment_ppb_max: caps.max_adj, precise: caps.cross_timestamping != 0, pps: caps.pps != 0 })
    }

    /// The card's time, ns, alone.
    ///
    /// # Errors
    /// What the driver says; `ENODEV` once the card is gone.
    pub fn now(&self) -> io::Result<i64> {
        // A dynamic clock is named by its descriptor (`FD_TO_CLOCKID` of the kernel's own tools).
        let clock = (!self.file.as_raw_fd() << 3) | 3;
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid timespec that the call fills.
        let rc = unsafe { libc::clock_gettime(clock, &raw mut now) };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(now.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec))
    }

    /// Reads the card together with `CLOCK_MONOTONIC_RAW`, by the best method that the driver has; which one is found
    /// at the first reading and kept. Some 10 to 50 us.
    ///
    /// # Errors
    /// What the driver says. `Interrupted` if `CLOCK_REALTIME` was set during a reading that needs it: try again.
    pub fn read(&mut self) -> io::Result<PtpReading> {
        if let Some(method) = self.method {
            return self.read_by(method);
        }
        let mut said = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        for method in PtpMethod::ALL {
            match self.read_by(method) {
                Ok(reading) => {
                    self.method = Some(method);
                    return Ok(reading);
                }
                Err(error) => said = error,
            }
        }
        Err(said)
    }

    fn read_by(&self, method: PtpMethod) -> io::Result<PtpReading> {
        match method {
            PtpMethod::Precise => {
                let mut both: libc::ptp_sys_offset_precise = zeroed();
                self.ioctl(libc::PTP_SYS_OFFSET_PRECISE as _, &mut both)?;
                Ok(PtpReading {
                    ptp_ns: nanos(&both.device),
                    raw_ns: nanos(&both.sys_monoraw),
                    width_ns: 2 * PRECISE_NOISE_NS as i64,
                    noise_ns: PRECISE_NOISE_NS,
                })
            }
            PtpMethod::ExtendedRaw => best_of(&self.extended(libc::CLOCK_MONOTONIC_RAW)?),
            PtpMethod::Extended => through_realtime(|| best_of(&self.extended(libc::CLOCK_REALTIME)?)),
            PtpMethod::Plain => through_realtime(|| best_of(&self.plain()?)),
            PtpMethod::Gettime => {
                let mut samples = [[0; 3]; SAMPLES as usize];
                for sample in &mut samples {
                    *sample = [raw_now(), self.now()?, raw_now()];
                }
                best_of(&samples)
            }
        }
    }

    fn extended(&self, clock: libc::clockid_t) -> io::Result<[[i64; 3]; SAMPLES as usize]> {
        let mut block: libc::ptp_sys_offset_extended = zeroed();
        block.n_samples = SAMPLES;
        block.clockid = clock;
        self.ioctl(libc::PTP_SYS_OFFSET_EXTENDED as _, &mut block)?;
        Ok(std::array::from_fn(|n| block.ts[n].map(|time| nanos(&time))))
    }

    fn plain(&self) -> io::Result<[[i64; 3]; SAMPLES as usize]> {
        let mut block: libc::ptp_sys_offset = zeroed();
        block.n_samples = SAMPLES;
        self.ioctl(libc::PTP_SYS_OFFSET as _, &mut block)?;
        // System, card, system, card, ..., system.
        Ok(std::array::from_fn(|n| std::array::from_fn(|k| nanos(&block.ts[2 * n + k]))))
    }

    fn ioctl<T>(&self, request: libc::Ioctl, data: &mut T) -> io::Result<()> {
        // SAFETY: the request is one of the PTP requests above, each with the block that libc defines for it, whose
        // size is asserted in `uapi`; the block lives across the call.
        let rc = unsafe { libc::ioctl(self.file.as_raw_fd(), request, std::ptr::from_mut(data)) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The narrowest of several readings `[before, card, after]`, with the spread of the narrower half as its noise.
fn best_of(samples: &[[i64; 3]]) -> io::Result<PtpReading> {
    let width = |sample: &[i64; 3]| sample[2].wrapping_sub(sample[0]);
    let mut sorted = [[0; 3]; SAMPLES as usize];
    let sorted = &mut sorted[..samples.len()];
    sorted.copy_from_slice(samples);
    sorted.sort_unstable_by_key(width);
    let best = sorted[0];
    if width(&best) < 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the card's clock was read backwards"));
    }
    let middle = |sample: &[i64; 3]| sample[0].wrapping_add(width(sample) / 2);
    let ahead = |sample: &[i64; 3]| middle(sample).wrapping_sub(sample[1]);
    let half = &sorted[..sorted.len().div_ceil(2)];
    // Against the best: the means of absolute times would need more digits than a float has.
    let spread = half.iter().map(|s| ahead(s).wrapping_sub(ahead(&best)) as f64).map(|d| d * d).sum::<f64>();
    let noise_ns = (spread / (half.len().max(2) - 1) as f64).sqrt();
    Ok(PtpReading {
        ptp_ns: best[1],
        raw_ns: middle(&best),
        width_ns: width(&best),
        noise_ns: noise_ns.clamp(1.0, (width(&best) as f64 / 2.0).max(1.0)),
    })
}

/// A reading whose machine side is REALTIME, carried over to RAW between two brackets.
fn through_realtime(read: impl FnOnce() -> io::Result<PtpReading>) -> io::Result<PtpReading> {
    let before = bracket(BRACKET_ROUNDS);
    let reading = read()?;
    let after = bracket(BRACKET_ROUNDS);
    carried(&reading, &before, &after)
}

fn carried(reading: &PtpReading, before: &Pair, after: &Pair) -> io::Result<PtpReading> {
    let (raw_span_ns, real_span_ns) = (after.raw_ns - before.raw_ns, after.real_ns - before.real_ns);
    let doubt_ns = (before.width_ns + after.width_ns) / 2;
    let moved_ns = (real_span_ns - raw_span_ns).abs();
    if moved_ns > SET_NS_MIN + doubt_ns + (raw_span_ns as f64 * STEERING_MAX) as i64 {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let since_ns = reading.raw_ns - before.real_ns;
    let gained_ns = since_ns as f64 * (raw_span_ns - real_span_ns) as f64 / real_span_ns.max(1) as f64;
    Ok(PtpReading {
        raw_ns: before.raw_ns + since_ns + gained_ns.round() as i64,
        width_ns: reading.width_ns + doubt_ns,
        ..*reading
    })
}

fn nanos(time: &libc::ptp_clock_time) -> i64 {
    time.sec.wrapping_mul(1_000_000_000).wrapping_add(i64::from(time.nsec))
}

fn zeroed<T: Copy>() -> T {
    // SAFETY: only called for the blocks of `linux/ptp_clock.h`, which are made of integers, for which zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: i64 = 1_790_000_037_000_000_000;

    #[test]
    fn the_narrowest_of_several_readings_counts_and_its_neighbours_say_how_noisy_it_is() {
        // The card is 1 s ahead; an interrupt widened the second reading, and the others scatter by some 10 ns.
        let sample = |at: i64, before: i64, after: i64| [at - before, at + 1_000_000_000, at + after];
        let samples =
            [sample(0, 500, 520), sample(9_000, 40_000, 600), sample(20_000, 480, 490), sample(30_000, 510, 500)];
        let best = best_of(&samples).unwrap();
        assert_eq!((best.ptp_ns - best.raw_ns, best.width_ns), (1_000_000_000 - 5, 970));
        assert!((1.0..20.0).contains(&best.noise_ns), "{best:?}");
    }

    #[test]
    fn one_reading_alone_has_some_noise_and_one_that_runs_backwards_is_none() {
        assert_eq!(best_of(&[[10, CARD, 1_010]]).unwrap().noise_ns, 1.0);
        assert_eq!(best_of(&[[10, CARD, 9]]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // Nonsense of a driver is no panic.
        let _ = best_of(&[[i64::MIN, i64::MAX, i64::MAX], [0, i64::MIN, 5]]);
    }

    #[test]
    fn a_reading_in_realtime_is_carried_to_raw_at_the_rate_between_its_brackets() {
        // REALTIME runs 500 ppm fast; the reading is in the middle.
        let before = Pair { raw_ns: 1_000_000, real_ns: 9_000_000_000, width_ns: 40 };
        let after = Pair { raw_ns: 1_100_000, real_ns: 9_000_100_050, width_ns: 60 };
        let reading = PtpReading { ptp_ns: CARD, raw_ns: 9_000_050_025, width_ns: 900, noise_ns: 20.0 };
        let there = carried(&reading, &before, &after).unwrap();
        assert_eq!((there.raw_ns, there.width_ns, there.ptp_ns), (1_050_000, 950, CARD));
    }

    #[test]
    fn a_clock_that_was_set_during_the_reading_spoils_it() {
        let before = Pair { raw_ns: 0, real_ns: 5_000, width_ns: 40 };
        let after = Pair { raw_ns: 100_000, real_ns: 125_000, width_ns: 40 };
        let reading = PtpReading { ptp_ns: CARD, raw_ns: 50_000, width_ns: 900, noise_ns: 20.0 };
        assert_eq!(carried(&reading, &before, &after).unwrap_err().kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn what_is_no_card_clock_is_refused_when_it_is_opened() {
        assert_eq!(PtpClock::open(Path::new("/dev/null")).unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(PtpClock::open(Path::new("/dev/ptp-none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(device_path(3), Path::new("/dev/ptp3"));
    }
}
