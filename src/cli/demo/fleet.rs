//! The processes of a demo: real daemons of this very program on loopback, in a private folder that is theirs alone.
//! However the demo ends, they end, and the folder goes. Knows nothing of clocks.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::throw::Throw;
use crate::cli::args::DemoArgs;

/// How long a node may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// Socket paths are short by nature (108 bytes); a temporary folder with a longer name than this is not used.
const TEMP_PATH_BYTES_MAX: usize = 60;

/// All nodes of a demo. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Fleet {
    nodes: Vec<Node>,
    // Declared after the nodes: fields are dropped in order, and the folder must go last.
    dir: PrivateDir,
}

/// One daemon process and what it was started with.
#[derive(Debug)]
pub(super) struct Node {
    /// Its name.
    pub name: String,
    /// What its clock was given.
    pub throw: Throw,
    /// Its status socket.
    pub socket: PathBuf,
    log: PathBuf,
    command: Command,
    child: Option<Child>,
}

impl Fleet {
    /// Starts a node for each throw.
    pub fn start(args: &DemoArgs, throws: &[Throw]) -> anyhow::Result<Self> {
        let dir = PrivateDir::make()?;
        let program = std::env::current_exe().context("cannot find this program's own file to start nodes from")?;
        let mut fleet = Fleet { nodes: Vec::with_capacity(throws.len()), dir };
        for (index, (throw, port)) in throws.iter().zip(free_ports(throws.len())?).enumerate() {
            let name = format!("n{}", index + 1);
            let mut node = Node::new(&program, &fleet.dir.0, name, port, *throw, args);
            node.start()?;
            fleet.nodes.push(node);
        }
        Ok(fleet)
    }

    /// The nodes, in the order of their throws.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at `index`, to be killed or started.
    pub fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// Fails if a node has ended that should run, with its last words.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(Node::check)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // All are told first, so that they end at the same time.
        for node in &mut self.nodes {
            node.signal(Signal::SIGTERM);
        }
        let until = Instant::now() + PATIENCE;
        for node in &mut self.nodes {
            node.end_by(until);
        }
    }
}

impl Node {
    fn new(program: &Path, dir: &Path, name: String, port: u16, throw: Throw, args: &DemoArgs) -> Self {
        let socket = dir.join(format!("{name}.sock"));
        let log = dir.join(format!("{name}.log"));
        let mut command = Command::new(program);
        command
            .args([
                "run",
                "--config",
                "/dev/null",
                "--listen-addr",
                "127.0.0.1",
                "--cluster",
                "demo",
                "--clock",
                "virtual",
                "--log-level",
                "warn",
            ])
            .args(["--port", &port.to_string(), "--name", &name])
            .args(["--virtual-offset", &format!("{}ns", throw.offset_ns)])
            .args(["--virtual-drift", &format!("{}ppb", throw.drift_ppb)])
            .args(["--algorithm", args.algorithm.as_str(), "--poll-mode", args.poll_mode.as_str()])
            .args(["--rate", &args.rate.to_string()])
            .args(["--end-with-parent", &std::process::id().to_string()])
            .arg("--runtime-dir")
            .arg(dir)
            .arg("--state-dir")
            .arg(dir.join(format!("{name}.state")))
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            // Interrupts from the terminal are for the demo, which ends its nodes itself.
            .process_group(0);
        // What the environment says to a node of this machine is not meant for those of a demo.
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"LLTS_")) {
            command.env_remove(variable);
        }
        Node { name, throw, socket, log, command, child: None }
    }

    /// Starts the process, with what it says going into its log.
    pub fn start(&mut self) -> anyhow::Result<()> {
        assert!(self.child.is_none(), "a node runs once at a time");
        let log = File::create(&self.log).with_context(|| format!("cannot make {}", self.log.display()))?;
        let errors = log.try_clone().context("cannot duplicate a file descriptor")?;
        self.command.stdout(log).stderr(errors);
        self.child = Some(self.command.spawn().with_context(|| format!("cannot start node {}", self.name))?);
        Ok(())
    }

    /// Kills the process as a crash would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).with_context(|| format!("cannot kill node {}", self.name))?;
        }
        Ok(())
    }

    /// True if the process was started and not killed.
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    fn check(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.child = None;
                let words = last_line(&self.log).unwrap_or_else(|| "it said nothing".into());
                Err(anyhow!("node {} ended by itself ({status}): {words}", self.name))
            }
            Err(error) => Err(anyhow!("cannot tell whether node {} runs: {error}", self.name)),
        }
    }

    /// Signals the process if it still is this node's: one that has been waited for is gone, and its id may be
    /// another's.
    fn signal(&mut self, signal: Signal) {
        if let Some(child) = &mut self.child
            && matches!(child.try_wait(), Ok(None))
        {
            // It may be ending this very moment, which is what is wanted.
            let _ending = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }

    fn end_by(&mut self, until: Instant) {
        while let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    // Nothing more can be done if this fails: the kernel ends it with this process.
                    let _failed = child.kill().and_then(|()| child.wait());
                    self.child = None;
                }
                Ok(Some(_)) | Err(_) => self.child = None,
            }
        }
    }
}

/// A folder that only this user can enter, and that goes when this is dropped.
#[derive(Debug)]
struct PrivateDir(PathBuf);

impl PrivateDir {
    fn make() -> anyhow::Result<Self> {
        let temp = Some(std::env::temp_dir()).filter(|dir| dir.as_os_str().len() <= TEMP_PATH_BYTES_MAX);
        let dir = temp.unwrap_or_else(|| "/tmp".into()).join(format!(
            "llts-demo-{}-{:08x}",
            std::process::id(),
            random()? as u32
        ));
        // Not recursive: a folder that is there already, perhaps somebody else's, is an error.
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make the folder {}", dir.display()))?;
        Ok(PrivateDir(dir))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // It is in the temporary folder: what cannot be removed will be.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// A number nobody can guess.
pub(super) fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.context("cannot read random numbers from /dev/urandom")?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Ports of loopback that were free a moment ago. All are held until all are found, so no two are the same.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let bind = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let held: io::Result<Vec<UdpSocket>> = (0..count).map(bind).collect();
    let ports = held.and_then(|held| held.iter().map(|socket| Ok(socket.local_addr()?.port())).collect());
    ports.context("cannot find free ports on 127.0.0.1")
}

/// The last line of a log that says something.
fn last_line(log: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(log).ok()?).into_owned();
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.strip_prefix("llts: ").unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_with_its_owner() {
        let dir = PrivateDir::make().unwrap();
        let path = dir.0.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("x"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn ports_found_together_are_all_different() {
        let mut ports = free_ports(16).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 16);
    }

    #[test]
    fn the_last_words_of_a_node_are_its_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "INFO started\nllts: the port is in use\n\n").unwrap();
        assert_eq!(last_line(&log).unwrap(), "the port is in use");
        fs::write(&log, "\n").unwrap();
        assert_eq!(last_line(&log), None);
    }
}
