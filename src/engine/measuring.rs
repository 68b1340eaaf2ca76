//! Measurement logs of a running node. A thread of its own makes the lines and writes the files, so that a disk that
//! stalls holds up nothing else: the control thread hands over what is to be logged, and what does not fit is counted.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing::warn;

use super::settings::Measurements;
use crate::flow::{Exchange, Mapping, PeerIdentity};
use crate::limits::{LOG_LINE_INTERVAL_NS, MEASUREMENTS};
use crate::report::{MeasurementFile, MeasurementLine, MeasurementLog, Status};
use crate::sys::rt;
use crate::sys::time::real_now;
use crate::unit::PeerSlot;

/// Files that were moved are noticed within this.
const TURN: Duration = Duration::from_millis(250);
/// At the end the disk is waited for no longer than this.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Samples that are turned into one write, so that a long queue does not become one huge text.
const BATCH: usize = 256;

/// What is to be logged.
#[expect(
    clippy::large_enum_variant,
    reason = "exchanges are the common case, and a box would be made for each of them"
)]
enum Sample {
    Exchange { utc_ns: i64, exchange: Exchange, own: Mapping, who: Option<PeerIdentity> },
    Status { utc_ns: i64, status: Box<Status> },
}

/// What both ends look at.
#[derive(Default)]
struct Shared {
    /// The files are to be opened again.
    reopen: AtomicBool,
    /// Lines that are not in the files.
    lost: AtomicU64,
}

/// The control thread's end.
pub(super) struct Measuring {
    samples: Option<Sender<Sample>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    logs: Vec<MeasurementLog>,
    interval_ns: i64,
    due_ns: i64,
    peers: BTreeMap<PeerSlot, PeerIdentity>,
    /// How many of the lost were told, and when.
    told: (u64, i64),
}

/// Reads how many lines were lost.
#[derive(Clone, Default)]
pub(super) struct LostLines(Option<Arc<Shared>>);

impl Measuring {
    /// Opens the files in `dir` and starts the thread that writes them, which calls `prepare` before anything else.
    ///
    /// # Errors
    /// A file cannot be opened (one sentence), or the system gives no thread.
    pub fn start(
        wanted: &Measurements,
        dir: &Path,
        node: &str,
        cluster: &str,
        prepare: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for log in &wanted.logs {
            let file = MeasurementFile::open(dir, *log, wanted.format, node, cluster).map_err(|error| {
                let (name, form) = (log.as_str(), wanted.format.as_str());
                anyhow::anyhow!(
                    "cannot log measurements into {}/{name}.{form}: {error}; the user that runs llts must be able to \
                     write into that folder (--log-dir)",
                    dir.display()
                )
            })?;
            files.push(file);
        }
        let shared = Arc::new(Shared::default());
        let (samples, received) = bounded(MEASUREMENTS);
        let writer = Writer { files, received, shared: Arc::clone(&shared), failing: false };
        let thread = thread::Builder::new().name("llts-log".to_owned()).spawn(move || {
            rt::name_thread("llts-log");
            prepare();
            writer.run();
        })?;
        Ok(Measuring {
            samples: Some(samples),
            shared,
            thread: Some(thread),
            logs: wanted.logs.clone(),
            interval_ns: wanted.interval_ns,
            due_ns: 0,
            peers: BTreeMap::new(),
            told: (0, 0),
        })
    }

    /// For the counters.
    pub fn lost_lines(&self) -> LostLines {
        LostLines(Some(Arc::clone(&self.shared)))
    }

    /// A peer took its slot.
    pub fn arrived(&mut self, peer: &PeerIdentity) {
        self.peers.insert(peer.slot, *peer);
    }

    /// An exchange whose packet arrived at `utc_ns` while `own` was this node's mapping.
    pub fn exchange(&mut self, utc_ns: i64, exchange: &Exchange, own: &Mapping) {
        if self.logs.contains(&MeasurementLog::Exchanges) {
            let who = self.peers.get(&exchange.peer).copied();
            self.hand_over(Sample::Exchange { utc_ns, exchange: *exchange, own: *own, who });
        }
    }

    /// To be called a few times a second: asks for a `status` when a line is due.
    pub fn look(&mut self, now_ns: i64, status: impl FnOnce() -> Status) {
        if now_ns >= self.due_ns && self.logs.iter().any(|log| *log != MeasurementLog::Exchanges) {
            self.due_ns = now_ns + self.interval_ns;
            self.hand_over(Sample::Status { utc_ns: real_now(), status: Box::new(status()) });
        }
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let (told, at_ns) = self.told;
        if lost > told && now_ns - at_ns >= LOG_LINE_INTERVAL_NS {
            warn!(
                "{} lines of measurement logs are lost, {lost} since the start: the disk is full or does not keep up",
                lost - told
            );
            self.told = (lost, now_ns);
        }
    }

    /// Has the files opened again, for after they were moved.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
    }

    fn hand_over(&mut self, sample: Sample) {
        let Some(samples) = &self.samples else { return };
        if samples.try_send(sample).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Measuring {
    /// Writes what was handed over, unless the disk hangs.
    fn drop(&mut self) {
        self.samples = None;
        let Some(thread) = self.thread.take() else { return };
        let steps = END_PATIENCE.as_millis() / 10;
        for _ in 0..steps {
            if thread.is_finished() {
                // A panic has ended the process by now.
                let _ended = thread.join();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        warn!("the last lines of the measurement logs are not written: the disk does not answer");
    }
}

impl LostLines {
    /// Lines that are not in the files, since the start.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.lost.load(Ordering::Relaxed))
    }
}

/// The thread that writes.
struct Writer {
    files: Vec<MeasurementFile>,
    received: Receiver<Sample>,
    shared: Arc<Shared>,
    /// A failure has been told, and nothing has been written since.
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let first = match self.received.recv_timeout(TURN) {
                Ok(sample) => Some(sample),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.shared.reopen.swap(false, Ordering::Acquire) {
                self.reopen();
            }
            let Some(first) = first else { continue };
            let rest = self.received.try_iter().take(BATCH - 1).collect::<Vec<_>>();
            let lines: Vec<MeasurementLine> = [first].into_iter().chain(rest).flat_map(|s| lines(&s)).collect();
            for index in 0..self.files.len() {
                self.write(index, &lines);
            }
        }
    }

    fn write(&mut self, index: usize, lines: &[MeasurementLine]) {
        let file = &mut self.files[index];
        let own = lines.iter().filter(|line| line.log() == file.log());
        let texts: Vec<String> = own.map(|line| line.text(file.format())).collect();
        if texts.is_empty() {
            return;
        }
        match file.append(&texts.concat()) {
            Ok(()) => self.failing = false,
            Err(error) => {
                let path = file.path().display().to_string();
                self.shared.lost.fetch_add(texts.len() as u64, Ordering::Relaxed);
                self.tell(&path, &error);
            }
        }
    }

    fn reopen(&mut self) {
        for file in &mut self.files {
            if let Err(error) = file.reopen() {
                warn!("{} is not opened again, the log goes on in the old file: {error}", file.path().display());
            }
        }
    }

    fn tell(&mut self, path: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            warn!("{path} cannot be written: {error}; lines are lost until it can");
        }
    }
}

fn lines(sample: &Sample) -> Vec<MeasurementLine> {
    match sample {
        Sample::Exchange { utc_ns, exchange, own, who } => {
            vec![MeasurementLine::of_exchange(*utc_ns, exchange, own, who.as_ref())]
        }
        Sample::Status { utc_ns, status } => {
            let mut lines = MeasurementLine::of_peers(*utc_ns, status);
            lines.push(MeasurementLine::of_tracking(*utc_ns, status));
            lines
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Claim, Role, StampClass};
    use crate::report::MeasurementFormat;
    use crate::unit::{BootId, NodeId, RawTime};

    fn exchange() -> (Exchange, Mapping) {
        let raw = RawTime::from_nanos(5);
        let mapping = Mapping { epoch: raw, offset_ns: 0, offset_frac_ns: 0.0, rate: 0.0 };
        let exchange = Exchange {
            peer: PeerSlot(0),
            node: NodeId(7),
            boot: BootId(1),
            initiator: true,
            local_sent: raw,
            remote_received: raw,
            remote_sent: raw,
            local_received: raw,
            class: StampClass::User,
            local_rx_class: StampClass::User,
            local_tx_class: StampClass::User,
            claim: Claim::unset(mapping, Role::Peer),
        };
        (exchange, mapping)
    }

    fn wanted() -> Measurements {
        Measurements {
            logs: vec![MeasurementLog::Exchanges],
            format: MeasurementFormat::Csv,
            dir: None,
            interval_ns: 1_000_000_000,
        }
    }

    #[test]
    fn a_writer_that_does_not_keep_up_loses_lines_by_count_and_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (release, held) = bounded::<()>(0);
        // The disk that does not answer.
        let hang = move || {
            let _released = held.recv();
        };
        let mut measuring = Measuring::start(&wanted(), dir.path(), "a", "c", hang).unwrap();
        let (exchange, own) = exchange();
        let (lost, sent) = (measuring.lost_lines(), MEASUREMENTS + 100);
        for _ in 0..sent {
            measuring.exchange(0, &exchange, &own);
        }
        assert_eq!(lost.count(), 100);
        drop(release);
        let lines = || std::fs::read_to_string(dir.path().join("exchanges.csv")).unwrap().lines().count();
        for _ in 0..6_000 {
            if lines() < MEASUREMENTS + 2 {
                thread::sleep(Duration::from_millis(10));
            }
        }
        assert_eq!(lines(), MEASUREMENTS + 2, "banner, names, and all that were taken");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_one_sentence() {
        let started = Measuring::start(&wanted(), Path::new("/dev/null/nowhere"), "a", "c", || {});
        let sentence = started.err().unwrap().to_string();
        assert!(sentence.starts_with("cannot log measurements into /dev/null/nowhere/exchanges.csv: "), "{sentence}");
        assert!(sentence.contains("--log-dir"), "{sentence}");
    }
}
