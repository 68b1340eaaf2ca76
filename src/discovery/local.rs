//! How nodes of one user on one machine find each other without sending anything: each keeps a small file in the
//! runtime folder. The file is locked for the process's life, so that the file of a killed node is known to be stale.
//!
//! One rule keeps races out: *only who holds a file's lock removes the file*, and a name is taken by link(2), which
//! works only where there is none. No packet, no multicast (the loopback interface has none), no trust: the folder
//! belongs to the user alone, and still only authentication admits a node.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::dirs::{DirError, prepare_dir};
use super::{Candidate, Source, label, may_reach};
use crate::limits::PEERS_MAX;
use crate::unit::{ClusterId, NodeId};

/// Time between two looks at the folder when it tells of changes by itself, ns: only a safety net.
const RESCAN_INTERVAL_NS: i64 = 5_000_000_000;
/// The same when it does not (the machine has no watch left), ns.
const RESCAN_INTERVAL_UNWATCHED_NS: i64 = 1_000_000_000;
/// A look after the last change, ns: a killed node's file is reported as closed shortly before its lock is free.
const SETTLE_NS: i64 = 100_000_000;
/// Files of the folder that are looked at; more is somebody's mistake and must not hold up the control thread.
const FILES_MAX: usize = 8 * PEERS_MAX;
/// The largest announcement that is read, bytes; a real one has about 200.
const FILE_BYTES_MAX: u64 = 4096;
/// Reads of the watch in one go; what is left is found by the next look.
const WATCH_READS_MAX: usize = 64;
/// Tries to take a name whose file is locked, [`NAME_PAUSE`] apart: a node that looks whether a file is stale holds its
/// lock too, for microseconds.
const NAME_TRIES: usize = 10;
/// See [`NAME_TRIES`].
const NAME_PAUSE: Duration = Duration::from_millis(10);
/// The format of the announcement that this version writes and reads.
const FORMAT: u32 = 1;

/// Why a node cannot announce itself on its machine.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The runtime folder is not fit for it.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The announcement cannot be written.
    #[error(
        "cannot write the announcement {path}: {error} (clear that path, or name another folder with --runtime-dir)"
    )]
    Announce {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// One identity holds one place.
    #[error("a node called {name:?} of this cluster runs here already{by}: give this one another name with --name")]
    NameTaken {
        /// The name that both want.
        name: String,
        /// ` (process N)`, when the other's file can be read.
        by: String,
    },
}

/// What a node tells the others of its user on its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) name: String,
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    /// Where its socket is bound; may be a wildcard.
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
}

/// An announcement as it stands in its file.
#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    name: String,
    cluster: String,
    node: String,
    address: SocketAddr,
    pid: u32,
}

impl Announcement {
    fn to_json(&self) -> Vec<u8> {
        let document = Document {
            format: FORMAT,
            name: self.name.clone(),
            cluster: format!("{:08x}", self.cluster.0),
            node: format!("{:016x}", self.node.0),
            address: self.address,
            pid: self.pid,
        };
        let mut text = serde_json::to_vec(&document).expect("a flat document of text and numbers is always JSON");
        text.push(b'\n');
        text
    }

    fn from_json(text: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(text).ok()?;
        if document.format != FORMAT {
            return None;
        }
        Some(Announcement {
            name: label(&document.name),
            cluster: ClusterId(u32::from_str_radix(&document.cluster, 16).ok()?),
            node: NodeId(u64::from_str_radix(&document.node, 16).ok()?),
            address: document.address,
            pid: document.pid,
        })
    }

    fn file_name(&self) -> String {
        format!("{:016x}.json", self.node.0)
    }

    /// Where the node `seen_from` reaches this one, if it can: a wildcard is reached at the other's own address, or
    /// over loopback; a socket on loopback reaches loopback only, and one on a real address only real ones.
    fn reached_from(&self, seen_from: SocketAddr) -> Option<SocketAddr> {
        let (own, other) = (seen_from.ip(), self.address.ip());
        let ip = match (own.is_unspecified(), other.is_unspecified()) {
            (false, true) => own,
            (true, true) if own.is_ipv6() && other.is_ipv6() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            (true, true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            (false, false) if own.is_loopback() != other.is_loopback() => return None,
            (_, false) => other,
        };
        // A socket on 0.0.0.0 cannot be reached over IPv6, one on [::] can over both.
        let open = other.is_ipv6() || ip.is_ipv4();
        let to = if ip == other { self.address } else { SocketAddr::new(ip, self.address.port()) };
        (open && may_reach(seen_from, to)).then_some(to)
    }
}

/// This node's announcement, and those of the others.
#[derive(Debug)]
pub(super) struct Local {
    /// The runtime folder's `nodes`.
    dir: PathBuf,
    me: Announcement,
    /// Our own file, locked.
    held: Option<Flock<File>>,
    watch: Option<Inotify>,
    /// Whether the folder that is there now is being watched.
    watched: bool,
    found: Vec<Announcement>,
    look_due_ns: i64,
    /// The operator has been told that the announcement is gone and cannot be written again.
    complained: bool,
}

impl Local {
    /// Announces `me` in the runtime folder `runtime_dir`.
    pub(super) fn start(runtime_dir: &Path, me: Announcement) -> Result<Self, LocalError> {
        prepare_dir(runtime_dir)?;
        let dir = runtime_dir.join("nodes");
        prepare_dir(&dir)?;
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        let mut local = Local {
            dir,
            me,
            held: None,
            watch,
            watched: false,
            found: Vec::new(),
            look_due_ns: i64::MIN,
            complained: false,
        };
        local.announce()?;
        Ok(local)
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn next_deadline(&self) -> i64 {
        self.look_due_ns
    }

    /// Looks at the folder if it has changed or if it is time to.
    pub(super) fn poll(&mut self, now_ns: i64, messages: &mut Vec<String>) {
        let changed = self.changed();
        if !changed && now_ns < self.look_due_ns {
            return;
        }
        if !self.is_announced() {
            // Somebody cleaned up, or the user's session ended and took its folder along.
            match prepare_dir(&self.dir).map_err(LocalError::from).and_then(|()| self.announce()) {
                Ok(()) => self.complained = false,
                Err(error) if !self.complained => {
                    messages.push(format!("nodes on this machine no longer find this one: {error}"));
                    self.complained = true;
                }
                Err(_) => {}
            }
        }
        self.look();
        let pause_ns = match (changed, self.watched) {
            (true, _) => SETTLE_NS,
            (false, true) => RESCAN_INTERVAL_NS,
            (false, false) => RESCAN_INTERVAL_UNWATCHED_NS,
        };
        self.look_due_ns = now_ns + pause_ns;
    }

    pub(super) fn candidates(&self) -> impl Iterator<Item = Candidate> {
        self.found.iter().filter_map(|other| {
            Some(Candidate {
                address: other.reached_from(self.me.address)?,
                label: other.name.clone(),
                node: Some(other.node),
                source: Source::Local,
            })
        })
    }

    fn own_path(&self) -> PathBuf {
        self.dir.join(self.me.file_name())
    }

    fn is_announced(&self) -> bool {
        self.held.as_ref().is_some_and(|file| is_at(file, &self.own_path()))
    }

    /// Writes our file aside, locked, and links it to its name.
    fn announce(&mut self) -> Result<(), LocalError> {
        let path = self.own_path();
        let failed = |error| LocalError::Announce { path: path.clone(), error };
        if let Some(watch) = &self.watch {
            // The same folder gives the same watch; one that was made anew needs its own.
            let news = AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_MOVED_FROM
                | AddWatchFlags::IN_CLOSE_WRITE
                | AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_ONLYDIR;
            self.watched = watch.add_watch(&self.dir, news).is_ok();
        }
        let (mut file, aside) = self.create_aside().map_err(failed)?;
        self.clean_up(&aside);
        let written = file.write_all(&self.me.to_json()).map_err(failed).and_then(|()| self.take_name(&aside, &path));
        fs::remove_file(&aside).map_err(failed)?;
        written?;
        self.held = Some(file);
        Ok(())
    }

    /// A new locked file whose name nobody looks at.
    fn create_aside(&self) -> io::Result<(Flock<File>, PathBuf)> {
        let mut last = io::Error::from(Errno::EAGAIN);
        for attempt in 0..NAME_TRIES {
            let aside = self.dir.join(format!(".{}.{}.{attempt}.tmp", self.me.file_name(), self.me.pid));
            let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            // Before we have the lock, another one of our name that cleans up may have had it, and removed the file.
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) if is_at(&file, &aside) => return Ok((file, aside)),
                Ok(_) => {}
                Err((_, errno)) => last = errno.into(),
            }
        }
        Err(last)
    }

    /// Removes the unfinished files that former runs of this node left. Only at a start, and only those of one's own
    /// name: if every node did it at every change, a new file would be gone again before its maker has locked it.
    fn clean_up(&self, aside: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let unfinished = format!(".{}.", self.me.file_name());
        for entry in entries.take(FILES_MAX).flatten() {
            let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&unfinished));
            if ours && entry.path() != aside {
                examine(&entry.path());
            }
        }
    }

    /// Links `aside` to `path`, in the place of a dead node's file if there is one.
    fn take_name(&self, aside: &Path, path: &Path) -> Result<(), LocalError> {
        for _ in 0..NAME_TRIES {
            match fs::hard_link(aside, path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(LocalError::Announce { path: path.to_path_buf(), error }),
            }
            match examine(path) {
                Entry::Stale | Entry::Gone => {}
                Entry::Live(_) => thread::sleep(NAME_PAUSE),
                Entry::Foreign => {
                    let error = io::Error::other("something that is no announcement is in its place");
                    return Err(LocalError::Announce { path: path.to_path_buf(), error });
                }
            }
        }
        let by = match examine(path) {
            Entry::Live(Some(other)) => format!(" (process {})", other.pid),
            _ => String::new(),
        };
        Err(LocalError::NameTaken { name: self.me.name.clone(), by })
    }

    /// Reads the watch empty; whether it told of anything.
    fn changed(&mut self) -> bool {
        let Some(watch) = &self.watch else { return false };
        for read in 0..WATCH_READS_MAX {
            match watch.read_events() {
                Ok(_) | Err(Errno::EINTR) => {}
                // EAGAIN: empty.
                Err(_) => return read > 0,
            }
        }
        true
    }

    /// Reads the other nodes' files, and removes those of dead ones.
    fn look(&mut self) {
        self.found.clear();
        // A folder that cannot be read holds nobody; why, the attempt to announce has told.
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let own = self.me.file_name();
        for entry in entries.take(FILES_MAX).flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_ours(name) && *name != own) else { continue };
            if let Entry::Live(Some(other)) = examine(&entry.path()) {
                let named_after_itself = other.file_name() == name;
                if named_after_itself && other.cluster == self.me.cluster && self.found.len() < PEERS_MAX {
                    self.found.push(other);
                }
            }
        }
        self.found.sort_by_key(|other| other.node);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // Only our own file, which we hold; then the lock goes with it.
        if self.is_announced() {
            let _ = fs::remove_file(self.own_path());
        }
    }
}

/// What a path of the folder turned out to be.
#[derive(Debug)]
enum Entry {
    /// Nothing is there (any longer).
    Gone,
    /// Not a file of ours: junk, a link, another user's. Left alone.
    Foreign,
    /// A dead node's file, now removed.
    Stale,
    /// Somebody holds it. `None` while it is not, or not readably, written.
    Live(Option<Announcement>),
}

/// Looks at a file with a name of ours, and removes it if its node is dead.
fn examine(path: &Path) -> Entry {
    // A pipe must not hold us up, a link must not lead elsewhere.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Entry::Gone,
        Err(_) => return Entry::Foreign,
    };
    let Ok(found) = file.metadata() else { return Entry::Foreign };
    let ours = found.is_file() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0;
    if !ours || found.len() > FILE_BYTES_MAX {
        return Entry::Foreign;
    }
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(dead) if is_at(&dead, path) => match fs::remove_file(path) {
            Ok(()) => Entry::Stale,
            Err(_) => Entry::Foreign,
        },
        Ok(_) => Entry::Gone,
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut text = Vec::new();
            let read = file.take(FILE_BYTES_MAX).read_to_end(&mut text);
            Entry::Live(read.ok().and_then(|_| Announcement::from_json(&text)))
        }
        Err(_) => Entry::Foreign,
    }
}

/// Whether a file name is one that nodes make: `<16 digits>.json`.
fn is_ours(name: &str) -> bool {
    name.strip_suffix(".json").is_some_and(|node| node.len() == 16 && node.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether the open `file` is what stands at `path` now.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::stat::Mode;

    use super::*;

    fn announcement(name: &str, cluster: &str, port: u16) -> Announcement {
        Announcement {
            name: name.into(),
            cluster: ClusterId::derive(cluster),
            node: NodeId::derive(cluster, name),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            pid: std::process::id(),
        }
    }

    fn start(dir: &Path, name: &str, port: u16) -> Local {
        Local::start(dir, announcement(name, "c", port)).unwrap()
    }

    /// The ports of the nodes that `local` sees, after it has taken in what has changed.
    fn seen(local: &mut Local, now_ns: i64) -> Vec<u16> {
        let mut messages = Vec::new();
        local.poll(now_ns, &mut messages);
        assert_eq!(messages, Vec::<String>::new());
        let mut ports: Vec<u16> = local.candidates().map(|c| c.address.port()).collect();
        ports.sort_unstable();
        ports
    }

    fn wait(local: &Local) {
        let mut fds = [PollFd::new(local.fd().unwrap(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5_000u16)), Ok(1), "a change must wake the control thread");
    }

    #[test]
    fn three_announcers_see_each_other_are_woken_by_who_comes_and_goes_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        assert_eq!(seen(&mut a, 0), [] as [u16; 0]);
        let mut b = start(dir.path(), "b", 2);
        wait(&a);
        assert_eq!((seen(&mut a, 1), seen(&mut b, 1)), (vec![2], vec![1]));
        let mut c = start(dir.path(), "c", 3);
        wait(&a);
        assert_eq!((seen(&mut a, 2), seen(&mut b, 2), seen(&mut c, 2)), (vec![2, 3], vec![1, 3], vec![1, 2]));
        drop(b);
        wait(&a);
        assert_eq!((seen(&mut a, 3), seen(&mut c, 3)), (vec![3], vec![1]));
        drop((a, c));
        assert_eq!(fs::read_dir(dir.path().join("nodes")).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_read_between_changes_but_for_the_safety_net() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        seen(&mut a, 0);
        assert_eq!(a.next_deadline(), SETTLE_NS, "its own file is news");
        seen(&mut a, SETTLE_NS);
        assert_eq!(a.next_deadline(), SETTLE_NS + RESCAN_INTERVAL_NS);
        seen(&mut a, SETTLE_NS + 1);
        assert_eq!(a.next_deadline(), SETTLE_NS + RESCAN_INTERVAL_NS, "nothing happened, nothing was read");
        (a.watch, a.watched) = (None, false);
        let _b = start(dir.path(), "b", 2);
        assert_eq!(seen(&mut a, SETTLE_NS + 2), [] as [u16; 0]);
        assert_eq!(seen(&mut a, SETTLE_NS + RESCAN_INTERVAL_NS), [2], "without a watch the look in turn finds it");
        assert_eq!(a.next_deadline() - SETTLE_NS - RESCAN_INTERVAL_NS, RESCAN_INTERVAL_UNWATCHED_NS);
    }

    #[test]
    fn another_cluster_is_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        let _other = Local::start(dir.path(), announcement("b", "other", 2)).unwrap();
        let _mine = start(dir.path(), "c", 3);
        assert_eq!(seen(&mut a, 0), [3]);
    }

    #[test]
    fn one_name_is_held_once_and_free_again_when_its_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = start(dir.path(), "twin", 1);
        let error = Local::start(dir.path(), announcement("twin", "c", 2)).unwrap_err();
        let process = format!("(process {})", std::process::id());
        assert!(matches!(&error, LocalError::NameTaken { .. }) && error.to_string().contains(&process), "{error}");
        let files = fs::read_dir(dir.path().join("nodes")).unwrap().count();
        assert_eq!(files, 1, "the refused one must leave nothing");
        drop(first);
        start(dir.path(), "twin", 2);
    }

    #[test]
    fn of_eight_that_want_one_name_exactly_one_gets_it() {
        for _ in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            let barrier = std::sync::Barrier::new(8);
            let started: Vec<_> = thread::scope(|scope| {
                let start_one = |port| {
                    barrier.wait();
                    Local::start(
                        dir.path(),
                        Announcement { pid: 1000 + u32::from(port), ..announcement("n", "c", port) },
                    )
                };
                let threads: Vec<_> = (1..9).map(|port| scope.spawn(move || start_one(port))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let refused = started.iter().filter(|s| matches!(s, Err(LocalError::NameTaken { .. }))).count();
            assert_eq!(refused, 7);
        }
    }

    /// Runs the test below in a process of its own; it ends when it is killed.
    fn spawn_announcer(dir: &Path) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["discovery::local::tests::announcer_in_another_process", "--exact", "--ignored"])
            .env("LLTS_TEST_ANNOUNCE_IN", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    #[ignore = "the other process of the test below, not a test"]
    fn announcer_in_another_process() {
        let Some(dir) = std::env::var_os("LLTS_TEST_ANNOUNCE_IN") else { return };
        let _local = start(Path::new(&dir), "child", 7);
        // Until the parent kills us, or is gone itself.
        let _ = io::stdin().read(&mut [0]);
    }

    #[test]
    fn a_killed_node_is_noticed_its_file_removed_and_its_name_free() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        let mut child = spawn_announcer(dir.path());
        let began = Instant::now();
        let mut until = |expected: &[u16]| loop {
            let now_ns = i64::try_from(began.elapsed().as_nanos()).unwrap();
            if seen(&mut a, now_ns) == expected {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "never saw {expected:?}");
            // As the control thread does it: until a descriptor or the deadline.
            let pause_ms = ((a.next_deadline() - now_ns) / 1_000_000).clamp(1, 5_000);
            let mut fds = [PollFd::new(a.fd().unwrap(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::try_from(pause_ms).unwrap()).unwrap();
        };
        until(&[7]);
        child.kill().unwrap();
        child.wait().unwrap();
        until(&[]);
        assert!(!dir.path().join("nodes").join(announcement("child", "c", 7).file_name()).exists());
        start(dir.path(), "child", 8);
    }

    #[test]
    fn a_dead_nodes_file_gives_its_name_to_the_next_one_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let dead = announcement("n", "c", 1);
        drop(start(dir.path(), "other", 9));
        let path = dir.path().join("nodes").join(dead.file_name());
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        fs::write(&path, dead.to_json()).unwrap();
        let next = start(dir.path(), "n", 2);
        assert!(is_at(next.held.as_ref().unwrap(), &path));
    }

    #[test]
    fn junk_is_ignored_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let nodes = dir.path().join("nodes");
        let mut a = start(dir.path(), "a", 1);
        let real = announcement("real", "c", 2);
        let held = |file_name: &str, text: &[u8]| {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(nodes.join(file_name)).unwrap();
            file.write_all(text).unwrap();
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).unwrap()
        };
        let node = |n: u64| Announcement { node: NodeId(n), ..real.clone() };
        let mut huge = node(2).to_json();
        huge.resize(FILE_BYTES_MAX as usize + 1, b' ');
        let newer = String::from_utf8(node(3).to_json()).unwrap().replace("\"format\":1", "\"format\":2");
        let locks = [
            held(&real.file_name(), &real.to_json()),
            held("0000000000000001.json", b"\xff{"),
            held(&node(2).file_name(), &huge),
            held(&node(3).file_name(), newer.as_bytes()),
            held(&node(4).file_name(), &node(5).to_json()),
            held("notes.json", &node(6).to_json()),
            held(&node(7).file_name(), &node(7).to_json()),
            held(&node(8).file_name(), b""),
        ];
        fs::set_permissions(nodes.join(node(7).file_name()), fs::Permissions::from_mode(0o666)).unwrap();
        symlink(nodes.join(real.file_name()), nodes.join(node(9).file_name())).unwrap();
        nix::unistd::mkfifo(&nodes.join(node(10).file_name()), Mode::S_IRWXU).unwrap();
        fs::create_dir(nodes.join(node(11).file_name())).unwrap();
        fs::write(nodes.join("README"), "not ours").unwrap();
        let before = fs::read_dir(&nodes).unwrap().count();
        assert_eq!(before, 1 + locks.len() + 4);
        assert_eq!(seen(&mut a, 0), [2]);
        assert_eq!(fs::read_dir(&nodes).unwrap().count(), before);
    }

    #[test]
    fn a_file_of_another_user_is_ignored() {
        if !geteuid().is_root() {
            println!("skipped: giving a file away needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        let b = start(dir.path(), "b", 2);
        std::os::unix::fs::chown(b.own_path(), Some(12345), None).unwrap();
        assert_eq!(seen(&mut a, 0), [] as [u16; 0]);
    }

    #[test]
    fn what_a_node_that_died_early_left_is_cleaned_up_by_its_next_run_and_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        let b = announcement("b", "c", 2);
        let aside = dir.path().join("nodes").join(format!(".{}.99.0.tmp", b.file_name()));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).unwrap();
        assert_eq!(seen(&mut a, 0), [] as [u16; 0]);
        assert!(aside.exists(), "its maker may be about to lock it");
        let _b = Local::start(dir.path(), b).unwrap();
        assert!(!aside.exists());
    }

    #[test]
    fn nodes_that_look_all_the_time_never_keep_another_one_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    a.look();
                }
            });
            let started: Vec<_> =
                (0..200).map(|_| Local::start(dir.path(), announcement("b", "c", 2)).map(drop)).collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(started.iter().all(Result::is_ok), "{started:?}");
        });
    }

    #[test]
    fn a_folder_that_was_cleaned_up_is_filled_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        let mut b = start(dir.path(), "b", 2);
        assert_eq!((seen(&mut a, 0), seen(&mut b, 0)), (vec![2], vec![1]));
        fs::remove_dir_all(dir.path().join("nodes")).unwrap();
        wait(&a);
        seen(&mut a, 1);
        wait(&b);
        assert_eq!((seen(&mut b, 1), seen(&mut a, 1)), (vec![1], vec![2]));
        let _c = start(dir.path(), "c", 3);
        wait(&b);
        assert_eq!(seen(&mut b, 2), [1, 3], "the new folder is watched too");
    }

    #[test]
    fn a_folder_that_cannot_be_filled_again_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = start(dir.path(), "a", 1);
        fs::remove_dir_all(dir.path().join("nodes")).unwrap();
        fs::write(dir.path().join("nodes"), "").unwrap();
        let mut messages = Vec::new();
        a.poll(0, &mut messages);
        a.poll(RESCAN_INTERVAL_NS, &mut messages);
        assert_eq!(messages.len(), 1, "{messages:?}");
    }

    #[test]
    fn where_a_node_is_reached_follows_from_both_ends() {
        for (announced, seen_from, expected) in [
            ("127.0.0.1:1", "127.0.0.1:2", Some("127.0.0.1:1")),
            ("0.0.0.0:1", "127.0.0.1:2", Some("127.0.0.1:1")),
            ("0.0.0.0:1", "10.0.0.5:2", Some("10.0.0.5:1")),
            ("0.0.0.0:1", "0.0.0.0:2", Some("127.0.0.1:1")),
            ("0.0.0.0:1", "[::]:2", Some("127.0.0.1:1")),
            ("0.0.0.0:1", "[::1]:2", None),
            ("[::]:1", "[::]:2", Some("[::1]:1")),
            ("[::]:1", "0.0.0.0:2", Some("127.0.0.1:1")),
            ("[::]:1", "127.0.0.1:2", Some("127.0.0.1:1")),
            ("[::]:1", "[2001:db8::5]:2", Some("[2001:db8::5]:1")),
            ("10.0.0.5:1", "0.0.0.0:2", Some("10.0.0.5:1")),
            ("10.0.0.5:1", "10.0.0.6:2", Some("10.0.0.5:1")),
            ("10.0.0.5:1", "127.0.0.1:2", None),
            ("127.0.0.1:1", "10.0.0.5:2", None),
            ("127.0.0.1:1", "0.0.0.0:2", Some("127.0.0.1:1")),
            ("[::1]:1", "127.0.0.1:2", None),
            ("[::1]:1", "0.0.0.0:2", None),
            ("127.0.0.1:0", "127.0.0.1:2", None),
            ("224.0.0.1:1", "0.0.0.0:2", None),
        ] {
            let other = Announcement { address: announced.parse().unwrap(), ..announcement("n", "c", 1) };
            let found = other.reached_from(seen_from.parse().unwrap());
            assert_eq!(found, expected.map(|e| e.parse().unwrap()), "{announced} seen from {seen_from}");
        }
    }

    #[test]
    fn an_announcement_reads_back_and_a_name_in_it_cannot_play_with_the_terminal() {
        let me = announcement("n", "c", 1);
        assert_eq!(Announcement::from_json(&me.to_json()), Some(me.clone()));
        let rude = Announcement { name: "\x1b[2J".into(), ..me };
        assert_eq!(Announcement::from_json(&rude.to_json()).unwrap().name, "?[2J");
    }
}
