//! What outlives a run that steers the system clock: the drift file, which outlives a reboot, and the mapping, which is
//! good on the raw scale of this boot only. Each is one line of numbers, replaced as a whole or not at all, and checked
//! when read: what is damaged is ignored with one sentence. Neither is trusted with more than a start: peers decide.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::flow::Mapping;
use crate::limits::OSCILLATOR_RATE_MAX;
use crate::unit::RawTime;

/// No honest file is longer, bytes.
const BYTES_MAX: u64 = 512;
/// A saved mapping older than this is no better than the clock, ns.
const MAPPING_AGE_NS_MAX: i64 = 3_600_000_000_000;
/// First word and version of a saved mapping.
const MAPPING_WORD: &str = "llts-mapping-1";
/// Suspends shorter than this are the error of two readings, ns.
const SUSPENDED_NS_MIN: i64 = 10_000_000;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read or written.
    #[error("{path}: {error}")]
    Access {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// It does not hold what it should.
    #[error("{path} is no {what} ({fault}): it is ignored, and written anew in time")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        fault: &'static str,
    },
}

/// How fast the oscillator of a machine runs, as far as its peers could tell: the two columns of chrony's drift file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// How fast the clock gains if it is let run, ppm.
    pub ppm: f64,
    /// How far that may be off, ppm.
    pub error_ppm: f64,
}

/// Where the drift is kept: in the file that is named, or in the state folder.
#[must_use]
pub fn drift_path(named: Option<&Path>, state_dir: &Path) -> PathBuf {
    named.map_or_else(|| state_dir.join("drift"), Path::to_owned)
}

impl Drift {
    /// The drift of an oscillator against which V runs `rate` faster (seconds per second) and which wanders by `wander`
    /// (q in 1/s): what it may wander within an hour is its error.
    #[must_use]
    pub fn of(rate: f64, wander: f64) -> Self {
        Drift { ppm: -rate * 1e6, error_ppm: ((wander * 3_600.0).sqrt() * 1e6).clamp(0.001, 100.0) }
    }

    /// The rate against raw that makes a clock run right (seconds per second).
    #[must_use]
    pub fn rate(&self) -> f64 {
        -self.ppm * 1e-6
    }

    /// Reads a drift file; `None` if there is none yet.
    ///
    /// # Errors
    /// [`KeptError`], one sentence.
    pub fn read(path: &Path) -> Result<Option<Self>, KeptError> {
        let Some(text) = read(path)? else { return Ok(None) };
        let damaged = |fault| KeptError::Damaged { path: path.to_owned(), what: "drift file", fault };
        let numbers: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        let Some([ppm, error_ppm]) = numbers.as_deref() else {
            return Err(damaged("it should hold two numbers, ppm and its error"));
        };
        let max_ppm = OSCILLATOR_RATE_MAX * 1e6;
        if !(0.0..=max_ppm).contains(&ppm.abs()) {
            return Err(damaged("no oscillator drifts by so much"));
        }
        if !(f64::MIN_POSITIVE..=max_ppm).contains(error_ppm) {
            return Err(damaged("its error is none"));
        }
        Ok(Some(Drift { ppm: *ppm, error_ppm: *error_ppm }))
    }

    /// Replaces a drift file.
    ///
    /// # Errors
    /// It cannot be written; the old one is still there.
    pub fn write(&self, path: &Path) -> Result<(), KeptError> {
        replace(path, &format!("{:.6} {:.6}\n", self.ppm, self.error_ppm), true)
    }
}

/// Which raw scale a mapping belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawScale {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// For how long the machine has been suspended since it booted, ns: the raw scale stood still meanwhile.
    pub suspended_ns: i64,
}

impl RawScale {
    /// The scale of this boot.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn now(suspended_ns: i64) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(RawScale { boot: boot.trim().to_owned(), suspended_ns })
    }

    fn continues(&self, other: &RawScale) -> bool {
        self.boot == other.boot && (self.suspended_ns - other.suspended_ns).abs() < SUSPENDED_NS_MIN
    }
}

/// The last mapping of an earlier run.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedMapping {
    /// What it is relative to.
    pub scale: RawScale,
    /// The mapping.
    pub mapping: Mapping,
}

impl SavedMapping {
    /// Reads the mapping saved at `path` if it holds at the raw time `now` of `scale`; `None` if there is none, or it
    /// belongs to another boot, or is too old.
    ///
    /// # Errors
    /// [`KeptError`], one sentence.
    pub fn read(path: &Path, scale: &RawScale, now: RawTime) -> Result<Option<Mapping>, KeptError> {
        let Some(text) = read(path)? else { return Ok(None) };
        let fault = "it should hold a boot and five numbers";
        let damaged = || KeptError::Damaged { path: path.to_owned(), what: "saved mapping", fault };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [MAPPING_WORD, boot, suspended, epoch, offset, frac, rate] = words[..] else { return Err(damaged()) };
        let whole = |word: &str| word.parse::<i64>().map_err(|_| damaged());
        let real = |word: &str| word.parse::<f64>().map_err(|_| damaged());
        let mapping = Mapping {
            epoch: RawTime::from_nanos(whole(epoch)?),
            offset_ns: whole(offset)?,
            offset_frac_ns: real(frac)?,
            rate: real(rate)?,
        };
        if !(mapping.rate.abs() <= OSCILLATOR_RATE_MAX && (0.0..1.0).contains(&mapping.offset_frac_ns)) {
            return Err(damaged());
        }
        let saved = RawScale { boot: boot.to_owned(), suspended_ns: whole(suspended)? };
        let fresh = (0..=MAPPING_AGE_NS_MAX).contains(&now.since(mapping.epoch));
        Ok((saved.continues(scale) && fresh).then(|| mapping.rebased(now)))
    }

    /// Saves it at `path` in place of what is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeptError> {
        let Mapping { epoch, offset_ns, offset_frac_ns, rate } = self.mapping;
        let RawScale { boot, suspended_ns } = &self.scale;
        let epoch_ns = epoch.nanos();
        let text =
            format!("{MAPPING_WORD} {boot} {suspended_ns} {epoch_ns} {offset_ns} {offset_frac_ns:.6} {rate:e}\n");
        // Lost with the boot anyway: not worth a write to the disk.
        replace(path, &text, false)
    }
}

fn read(path: &Path) -> Result<Option<String>, KeptError> {
    let access = |error| KeptError::Access { path: path.to_owned(), error };
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(access)?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(access)?;
    // What is no text holds no numbers either, and is told so by who looks for them.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Puts a new file in the place of `path`, whole or not at all.
fn replace(path: &Path, text: &str, lasting: bool) -> Result<(), KeptError> {
    let access = |error| KeptError::Access { path: path.to_owned(), error };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let write = || -> io::Result<()> {
        // Left behind by a run that was killed; if it cannot be removed, making it fails with the reason.
        let _none_before = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
        file.write_all(text.as_bytes())?;
        if lasting {
            file.sync_all()?;
        }
        fs::rename(&beside, path)?;
        if lasting && let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().map_err(access)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale() -> RawScale {
        RawScale { boot: "0e7c6a4e-boot".into(), suspended_ns: 5_000 }
    }

    #[test]
    fn a_drift_comes_back_as_it_was_written_and_has_the_sign_of_chronys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drift");
        assert_eq!(Drift::read(&path).unwrap(), None);
        // V runs slower than raw: the oscillator is fast, and a clock that is let run gains.
        let drift = Drift::of(-12.345678e-6, 1e-18);
        assert!(drift.ppm > 0.0 && (drift.error_ppm - 0.06).abs() < 1e-6);
        drift.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "12.345678 0.060000\n");
        let read = Drift::read(&path).unwrap().unwrap();
        assert!((read.rate() + 12.345678e-6).abs() < 1e-15);
        Drift::of(1e-6, 1e-18).write(&path).unwrap();
        assert!((Drift::read(&path).unwrap().unwrap().ppm + 1.0).abs() < 1e-9);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_drift_at_its_limits_is_believed_and_one_past_them_or_damaged_is_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drift");
        for good in ["500 500", "-500.0 0.001\n", "  1e1\t2 \n"] {
            fs::write(&path, good).unwrap();
            assert!(Drift::read(&path).unwrap().is_some(), "{good}");
        }
        let long = "1 ".repeat(400);
        for bad in ["", "12.5", "1 2 3", "a b", "500.001 1", "-501 1", "1 0", "1 -1", "1 501", "nan 1", "1 inf", &long]
        {
            fs::write(&path, bad).unwrap();
            let sentence = Drift::read(&path).unwrap_err().to_string();
            assert!(sentence.contains("is no drift file") && sentence.contains("ignored"), "{bad}: {sentence}");
        }
        fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
        assert!(Drift::read(&path).is_err());
    }

    #[test]
    fn a_link_in_place_of_a_file_is_neither_read_nor_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (link, victim) = (folder.path().join("drift"), folder.path().join("victim"));
        fs::write(&victim, "1 1").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(matches!(Drift::read(&link), Err(KeptError::Access { .. })));
        Drift::of(0.0, 1e-18).write(&link).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "1 1");
        assert!(Drift::read(&link).unwrap().is_some(), "the link itself was replaced");
        assert!(Drift::of(0.0, 1e-18).write(&folder.path().join("none/drift")).is_err());
    }

    #[test]
    fn a_mapping_comes_back_on_the_same_raw_scale_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mapping");
        let epoch = RawTime::from_nanos(77_000_000_000);
        let mapping = Mapping { epoch, offset_ns: 1_790_000_000_000_000_003, offset_frac_ns: 0.25, rate: -1.25e-5 };
        SavedMapping { scale: scale(), mapping }.write(&path).unwrap();
        let later = epoch.plus(2_000_000_000);
        let read = SavedMapping::read(&path, &scale(), later).unwrap().unwrap();
        assert_eq!((read.epoch, read.offset_ns, read.rate), (later, 1_789_999_999_999_975_003, -1.25e-5));

        let read = |scale: &RawScale, at| SavedMapping::read(&path, scale, at).unwrap();
        assert!(read(&scale(), epoch.plus(MAPPING_AGE_NS_MAX)).is_some());
        assert_eq!(read(&scale(), epoch.plus(MAPPING_AGE_NS_MAX + 1)), None);
        assert_eq!(read(&scale(), epoch.plus(-1)), None);
        assert_eq!(read(&RawScale { boot: "another".into(), ..scale() }, later), None);
        let asleep = |ns| RawScale { suspended_ns: 5_000 + ns, ..scale() };
        assert!(read(&asleep(SUSPENDED_NS_MIN - 1), later).is_some());
        assert_eq!(read(&asleep(SUSPENDED_NS_MIN), later), None);
    }

    #[test]
    fn a_damaged_mapping_is_a_sentence_and_never_a_mapping() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mapping");
        let now = RawTime::from_nanos(9);
        assert_eq!(SavedMapping::read(&path, &scale(), now).unwrap(), None);
        for bad in [
            "",
            "llts-mapping-1",
            "llts-mapping-2 0e7c6a4e-boot 5000 1 2 0.5 0",
            "llts-mapping-1 0e7c6a4e-boot 5000 1 2 1.0 0",
            "llts-mapping-1 0e7c6a4e-boot 5000 1 2 nan 0",
            "llts-mapping-1 0e7c6a4e-boot 5000 1 2 0.5 0.1",
            "llts-mapping-1 0e7c6a4e-boot 5000 1 2 0.5 nan",
            "llts-mapping-1 0e7c6a4e-boot 5000 1 99999999999999999999 0.5 0",
            "llts-mapping-1 0e7c6a4e-boot 5000 1 2 0.5 0 7",
        ] {
            fs::write(&path, bad).unwrap();
            let sentence = SavedMapping::read(&path, &scale(), now).unwrap_err().to_string();
            assert!(sentence.contains("is no saved mapping"), "{bad}: {sentence}");
        }
    }
}
