//! Telling programs and servers of crossed thresholds, on threads of their own: whoever has news hands them over and
//! goes on at once. Each way has one bounded queue; what does not fit is dropped and counted. A program is started
//! directly, never through a shell, one at a time and with a pause after each, so that a storm of news is no storm of
//! processes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::watch_line::{HookCounts, WatchEvent};
use super::webhook::WebhookUrl;
use crate::limits::HOOK_NEWS;

/// Pause after each program and each POST: no more than four a second.
const PAUSE: Duration = Duration::from_millis(250);
/// A program that runs longer is killed.
const RUN_MAX: Duration = Duration::from_secs(30);
/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The ways to tell, open until dropped.
pub struct Hooks {
    ways: Vec<Way>,
}

struct Way {
    queue: Option<Sender<WatchEvent>>,
    /// Nothing comes out of it; it ends when the thread has told everything.
    done: Receiver<()>,
    counts: Arc<Counts>,
    faults: Receiver<String>,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Hooks {
    /// Opens the ways that are named.
    ///
    /// # Errors
    /// The system refuses threads.
    pub fn open(program: Option<PathBuf>, webhook: Option<WebhookUrl>) -> io::Result<Self> {
        let mut ways = Vec::new();
        if let Some(program) = program {
            ways.push(Way::open("llts-exec", PAUSE, move |event| run(&program, event, RUN_MAX))?);
        }
        if let Some(url) = webhook {
            ways.push(Way::open("llts-webhook", PAUSE, move |event| {
                let document = serde_json::to_string(event).expect("the document is plain data");
                url.post(&document).map_err(|error| error.to_string())
            })?);
        }
        Ok(Hooks { ways })
    }

    /// Hands an event to every way, without waiting.
    pub fn tell(&self, event: &WatchEvent) {
        for way in &self.ways {
            way.tell(event);
        }
    }

    /// What has become of everything told, all ways together.
    #[must_use]
    pub fn counts(&self) -> HookCounts {
        let sum = |of: fn(&Counts) -> &AtomicU64| self.ways.iter().map(|w| of(&w.counts).load(Ordering::Relaxed)).sum();
        HookCounts { delivered: sum(|c| &c.delivered), failed: sum(|c| &c.failed), dropped: sum(|c| &c.dropped) }
    }

    /// Why telling failed, since the last time this was asked; one sentence each.
    pub fn take_faults(&self) -> Vec<String> {
        self.ways.iter().flat_map(|way| way.faults.try_iter()).collect()
    }

    /// Takes no more news and waits until what was told is delivered, no longer than `patience` for each way.
    pub fn close(&mut self, patience: Duration) {
        for way in &mut self.ways {
            way.queue = None;
        }
        for way in &self.ways {
            match way.done.recv_timeout(patience) {
                Ok(()) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Way {
    fn open(
        name: &str,
        pause: Duration,
        deliver: impl Fn(&WatchEvent) -> Result<(), String> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, news) = bounded::<WatchEvent>(HOOK_NEWS);
        let (ending, done) = bounded::<()>(1);
        let (fault, faults) = bounded::<String>(HOOK_NEWS);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _until_here = ending;
            for event in news {
                match deliver(&event) {
                    Ok(()) => counted.delivered.fetch_add(1, Ordering::Relaxed),
                    Err(reason) => {
                        // Nobody reads: the counter still tells.
                        let _unread = fault.try_send(reason);
                        counted.failed.fetch_add(1, Ordering::Relaxed)
                    }
                };
                thread::sleep(pause);
            }
        })?;
        Ok(Way { queue: Some(queue), done, counts, faults })
    }

    fn tell(&self, event: &WatchEvent) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(event.clone()) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Runs `program` with the event in its arguments and its environment, and waits for its end, at most `run_max`.
fn run(program: &Path, event: &WatchEvent, run_max: Duration) -> Result<(), String> {
    let shown = program.display();
    let number = |value: Option<f64>| value.map_or_else(String::new, |ns| format!("{ns:.0}"));
    let place = |address: Option<std::net::SocketAddr>| address.map_or_else(String::new, |a| a.to_string());
    let child = Command::new(program)
        .args([&event.event, &event.subject, &event.node])
        .env("LLTS_EVENT", &event.event)
        .env("LLTS_SUBJECT", &event.subject)
        .env("LLTS_NODE", &event.node)
        .env("LLTS_ADDRESS", place(event.address))
        .env("LLTS_OTHER", event.other.as_deref().unwrap_or_default())
        .env("LLTS_OTHER_ADDRESS", place(event.other_address))
        .env("LLTS_VALUE_NS", number(Some(event.value_ns)))
        .env("LLTS_SIGMA_NS", number(event.sigma_ns))
        .env("LLTS_BOUND_NS", number(event.bound_ns))
        .env("LLTS_THRESHOLD_NS", number(Some(event.threshold_ns)))
        .env("LLTS_AT_UNIX_NS", event.at_unix_ns.to_string())
        .stdin(Stdio::null())
        // Our standard output is a table or JSON lines: nobody else may write there.
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("the hook {shown} cannot be started: {error}"))?;
    match end_of(child, run_max).map_err(|error| format!("the hook {shown} cannot be waited for: {error}"))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("the hook {shown} failed: {status}")),
        None => Err(format!("the hook {shown} ran for {} s and was killed", run_max.as_secs_f64())),
    }
}

/// How the process ended, or `None` if it was killed because it took too long.
fn end_of(mut child: Child, run_max: Duration) -> io::Result<Option<ExitStatus>> {
    let mut waited = Duration::ZERO;
    while waited < run_max {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK);
        waited += LOOK;
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn event(node: &str) -> WatchEvent {
        WatchEvent {
            event: "raised".into(),
            subject: "node".into(),
            node: node.into(),
            address: Some(([127, 0, 0, 1], 8080).into()),
            other: None,
            other_address: None,
            value_ns: -5_000_000.4,
            sigma_ns: Some(300.0),
            bound_ns: None,
            threshold_ns: 1e6,
            at_unix_ns: 1_790_000_000_000_000_000,
        }
    }

    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_program_gets_the_event_as_words_and_nothing_is_read_by_a_shell() {
        let dir = tempfile::tempdir().unwrap();
        let seen = dir.path().join("seen");
        let text =
            format!("echo \"$1|$2|$3|$LLTS_NODE|$LLTS_VALUE_NS|$LLTS_BOUND_NS|$LLTS_ADDRESS\" > {}", seen.display());
        let program = script(dir.path(), &text);
        run(&program, &event("$(touch owned); n1"), RUN_MAX).unwrap();
        let name = "$(touch owned); n1";
        assert_eq!(
            std::fs::read_to_string(seen).unwrap(),
            format!("raised|node|{name}|{name}|-5000000||127.0.0.1:8080\n")
        );
    }

    #[test]
    fn a_program_that_fails_hangs_or_is_not_there_is_told_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let failing = script(dir.path(), "exit 3");
        assert!(run(&failing, &event("n"), RUN_MAX).unwrap_err().contains("failed: exit status: 3"));
        let hanging = script(dir.path(), "exec sleep 60");
        assert!(run(&hanging, &event("n"), Duration::from_millis(200)).unwrap_err().contains("was killed"));
        assert!(run(&dir.path().join("none"), &event("n"), RUN_MAX).unwrap_err().contains("cannot be started"));
    }

    #[test]
    fn news_beyond_the_queue_are_dropped_and_counted_and_nobody_waits() {
        let (go, wait) = bounded::<()>(0);
        let way = Way::open("test", Duration::ZERO, move |_| {
            let _gate = wait.recv();
            Ok(())
        })
        .unwrap();
        let mut hooks = Hooks { ways: vec![way] };
        // One may already be out of the queue and at the gate.
        for _ in 0..HOOK_NEWS + 10 {
            hooks.tell(&event("n"));
        }
        let dropped = hooks.counts().dropped;
        assert!((9..=10).contains(&dropped), "{dropped}");
        drop(go);
        hooks.close(Duration::from_secs(10));
        let counts = hooks.counts();
        assert_eq!((counts.delivered + counts.dropped, counts.failed), (HOOK_NEWS as u64 + 10, 0));
    }

    #[test]
    fn a_failure_is_counted_and_told_once() {
        let mut hooks = Hooks { ways: vec![Way::open("test", Duration::ZERO, |_| Err("no".into())).unwrap()] };
        hooks.tell(&event("n"));
        hooks.close(Duration::from_secs(10));
        assert_eq!((hooks.counts().failed, hooks.take_faults()), (1, vec!["no".to_owned()]));
        assert!(hooks.take_faults().is_empty());
    }
}
