//! `llts top` in a real terminal, which tmux plays: started, made tiny and large again, ordered, looked at closer,
//! quit, and ended by signals; each time the terminal is as it was before. Where there is no tmux the tests say so and
//! are left out.

mod daemons;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use daemons::{Daemon, Lab, llts, wait_for};

/// A tmux server of this test's own, with one window in which a shell runs.
struct Tmux {
    socket: String,
}

impl Tmux {
    /// `None` if it is not installed.
    fn start(lab: &Lab) -> Option<Self> {
        Command::new("tmux").arg("-V").output().ok().filter(|output| output.status.success())?;
        let tmux = Tmux { socket: lab.path().join("tmux").to_str().unwrap().to_owned() };
        tmux.run(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "20", "env PS1='shell> ' sh -i"]);
        tmux.run(&["set-option", "-g", "window-size", "manual"]);
        tmux.until("a shell", |screen| screen.contains("shell>"));
        Some(tmux)
    }

    fn command(&self, words: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket]).args(words).stdin(Stdio::null()).env_remove("TMUX").env("TERM", "xterm");
        command.env("LC_ALL", "C.UTF-8").output().unwrap()
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.command(words);
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    fn line(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    fn resize(&self, width: u32, height: u32) {
        self.run(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut seen = String::new();
        let mut waited = Duration::ZERO;
        while !holds(&seen) {
            assert!(waited < Duration::from_secs(40), "not within 40 s: {what}: {seen}");
            std::thread::sleep(Duration::from_millis(50));
            waited += Duration::from_millis(50);
            seen = self.screen();
        }
        seen
    }

    /// The alternate screen, the cursor and the modes of the terminal's line are as a shell wants them.
    fn is_given_back(&self) {
        // The program has left the screen before it has ended.
        let state = || self.run(&["display-message", "-p", "#{alternate_on} #{cursor_flag} #{pane_current_command}"]);
        self.until("the shell is back", |_| state().trim() == "0 1 sh");
        self.line("stty -a | tr ';' '\\n' | grep -ow -e '-*icanon' -e '-*echo' -e '-*isig' | tr '\\n' ' '; echo told");
        let screen = self.until("the modes are told", |screen| screen.contains("told\n"));
        let modes = screen.lines().rev().find(|line| line.ends_with(" told")).unwrap_or_default();
        for mode in ["icanon", "echo", "isig"] {
            let words: Vec<&str> = modes.split_whitespace().collect();
            assert!(words.contains(&mode), "{mode}: {screen}");
        }
        self.line("clear");
        self.until("an empty screen", |screen| screen.trim() == "shell>");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Everything in it ends with it.
        let _gone = self.command(&["kill-server"]);
    }
}

fn tmux(lab: &Lab) -> Option<Tmux> {
    let tmux = Tmux::start(lab);
    if tmux.is_none() {
        println!("left out: no tmux is installed here (on Debian: apt-get install tmux)");
    }
    tmux
}

fn three(lab: &Lab) -> [Daemon; 3] {
    let nodes =
        [lab.start("db1", &[]), lab.start("db2", &["--virtual-offset=3ms"]), lab.start("db3", &["--role=observer"])];
    wait_for("they agree", 60.0, || nodes[0].used_peers() == 1 && nodes[1].used_peers() == 1);
    nodes
}

fn top(lab: &Lab, node: &Daemon) -> String {
    let socket = lab.path().join(format!("llts-{}.sock", node.port));
    format!("{} top --interval 200ms --socket {}", env!("CARGO_BIN_EXE_llts"), socket.display())
}

fn row(screen: &str, name: &str) -> Option<usize> {
    screen.lines().position(|line| line.split_whitespace().next() == Some(name))
}

#[test]
fn a_terminal_shows_peers_in_any_size_and_order_and_is_given_back() {
    let lab = Lab::new();
    let Some(tmux) = tmux(&lab) else { return };
    let mut nodes = three(&lab);
    tmux.line(&top(&lab, &nodes[0]));
    let screen = tmux.until("the peers", |screen| row(screen, "db2").is_some() && row(screen, "db3").is_some());
    for part in ["db1  ", "peers used", "bound ", "PEER↓", "OFFSET OVER TIME", "it only observes", "q quit  ? help"] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    assert_eq!(tmux.run(&["display-message", "-p", "#{alternate_on}"]).trim(), "1");
    tmux.until("a line grows", |screen| screen.chars().filter(|c| ('▁'..='█').contains(c)).count() > 5);

    tmux.resize(20, 5);
    let small = tmux.until("it is small", |screen| screen.lines().count() == 5 && screen.contains("q quit"));
    assert!(row(&small, "db2").is_some() && small.lines().all(|line| line.chars().count() <= 20), "{small}");
    tmux.resize(1, 1);
    tmux.resize(100, 20);
    let large = tmux.until("it is large again", |screen| screen.contains("OFFSET OVER TIME"));
    assert!(row(&large, "db3").is_some(), "{large}");

    tmux.keys(&["n"]);
    tmux.until("the names are turned round", |screen| {
        screen.contains("PEER↑") && row(screen, "db3") < row(screen, "db2") && row(screen, "db3").is_some()
    });
    tmux.keys(&["s"]);
    tmux.until("those that are not used come first", |screen| screen.contains("STATE↓"));
    tmux.keys(&["n", "Down", "Enter"]);
    let closer = tmux.until("a closer look", |screen| screen.contains("db3 at 127.0.0.1:"));
    assert!(closer.contains("observer: it only observes") && closer.contains("stamps "), "{closer}");
    tmux.keys(&["Up"]);
    tmux.until("the other one", |screen| screen.contains("db2 at 127.0.0.1:") && screen.contains("now"));
    tmux.keys(&["q"]);
    tmux.until("the table", |screen| screen.contains("OFFSET OVER TIME"));
    panels(&tmux);
    tmux.keys(&["?"]);
    tmux.until("the help", |screen| screen.contains("a bound is a promise"));
    tmux.keys(&["Escape"]);
    tmux.until("the table", |screen| screen.contains("OFFSET OVER TIME"));
    tmux.keys(&["p"]);
    tmux.until("it stands still", |screen| screen.contains("paused"));
    tmux.keys(&["p"]);

    // Away for a while, and back.
    tmux.keys(&["C-z"]);
    tmux.until("the shell", |screen| screen.contains("shell>") && !screen.contains("OFFSET OVER TIME"));
    tmux.line("fg");
    tmux.until("it is back", |screen| screen.contains("OFFSET OVER TIME"));

    // The daemon goes and comes back under its eyes.
    let port = nodes[0].port;
    nodes[0].crash();
    tmux.until("it is missed", |screen| screen.contains("no llts daemon answers"));
    let _again = lab.start_at(port, "db1", &[]);
    tmux.until("it is back", |screen| screen.contains("db1  ") && !screen.contains("no llts daemon"));

    tmux.keys(&["q"]);
    tmux.until("the shell", |screen| screen.contains("shell>"));
    tmux.line("clear; echo code $?");
    tmux.is_given_back();
}

/// What is seen in place of the peers, in a common window and in a tiny one.
fn panels(tmux: &Tmux) {
    tmux.keys(&["m"]);
    let skews = tmux.until("the matrix", |screen| screen.contains("SKEW: row minus column"));
    // The first is the node's own, at the top of the screen.
    let line = skews.lines().rfind(|line| line.starts_with("db1")).unwrap();
    // The observer does not count: two clocks, and the own one against itself is a point.
    assert!(line.contains('·') && line.ends_with('s') && !skews.contains("db3"), "{skews}");
    tmux.keys(&["l"]);
    let counts = |screen: &str| screen.lines().any(|line| line.starts_with("path delay") && line.contains(" us"));
    let latencies = tmux.until("latencies that were measured", counts);
    for name in ["turn-around", "ring", "P50", "P99", "MAX"] {
        assert!(latencies.contains(name), "{name}: {latencies}");
    }
    tmux.resize(40, 8);
    tmux.until("they are small", |screen| screen.lines().count() == 8 && screen.contains("path delay"));
    tmux.keys(&["e"]);
    tmux.until("events in a small window", |screen| screen.contains("EVENTS, the newest first"));
    tmux.resize(3, 2);
    tmux.resize(100, 20);
    let events = tmux.until("events", |screen| screen.contains("runs as db1 of cluster default"));
    assert!(events.contains(" ago  ") && events.contains("peer db2 ("), "{events}");
    assert!(events.contains("q back  ? help  arrows move  m skews  l latencies  e events"), "{events}");
    tmux.keys(&["Escape"]);
    tmux.until("the table again", |screen| screen.contains("OFFSET OVER TIME"));
}

#[test]
fn signals_end_it_and_leave_the_terminal_as_it_was() {
    let lab = Lab::new();
    let Some(tmux) = tmux(&lab) else { return };
    let nodes = three(&lab);
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let file = lab.path().join("code");
        // The shell waits for it and writes down how it ended.
        tmux.line(&format!("{}; echo $? > {}", top(&lab, &nodes[0]), file.display()));
        tmux.until("the peers", |screen| row(screen, "db2").is_some());
        let pid = child_of_shell(&tmux);
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        wait_for("it ends", 20.0, || std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), code.to_string(), "{signal}");
        std::fs::remove_file(&file).unwrap();
        tmux.is_given_back();
    }
    // Of itself: Ctrl-C is a key there, and means to go.
    tmux.line(&top(&lab, &nodes[0]));
    tmux.until("the peers", |screen| row(screen, "db2").is_some());
    tmux.keys(&["C-c"]);
    tmux.until("the shell", |screen| screen.contains("shell>"));
    tmux.is_given_back();
}

/// The process that the shell of the window waits for.
fn child_of_shell(tmux: &Tmux) -> String {
    let shell = tmux.run(&["display-message", "-p", "#{pane_pid}"]);
    let children = format!("/proc/{0}/task/{0}/children", shell.trim());
    let text = std::fs::read_to_string(Path::new(&children)).unwrap();
    text.split_whitespace().next().expect("it runs").to_owned()
}

#[test]
fn without_a_terminal_or_a_daemon_it_is_one_sentence() {
    let lab = Lab::new();
    let output = llts(&["top", "--runtime-dir", lab.path().to_str().unwrap()]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{text}");
    assert!(text.contains("needs a terminal") && text.contains("llts status --watch"), "{text}");
    assert!(output.stdout.is_empty(), "nothing is written where no terminal is");

    let Some(tmux) = tmux(&lab) else { return };
    tmux.line(&format!("{} top --runtime-dir {}; echo code $?", env!("CARGO_BIN_EXE_llts"), lab.path().display()));
    let screen = tmux.until("its sentence", |screen| screen.contains("code 1"));
    assert!(screen.contains("no llts daemon is running here"), "{screen}");
}
