//! Every command in the papers is run by a test, or marked as one that cannot be. A fence says of its lines what they
//! are: `sh` is run here, `sh endless` is started here and ended, `sh one` is for one server of a cluster; `sh
//! server` needs a server, a key or nodes elsewhere (those of OPERATING.md are run by `tools/package/run walk`, of its
//! `sh server package` and `sh server hand` one or the other; one that is `findings` may end with 1; what `sh copy`
//! copies between machines it copies between its servers), `sh person` needs a person: a terminal, a browser, a machine
//! of one's own; `sh long` takes minutes, `sh build` is cargo's or needs the internet. That the program understands the
//! words of all of them, `cli::papers` sees to. What is marked `text` is no command, and may not look like one.
//!
//! What is run has a network, a /run and a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What may stand behind `sh`.
const MARKS: [&str; 10] =
    ["server", "package", "hand", "one", "endless", "long", "build", "copy", "person", "findings"];
/// What a line of a command begins with.
const COMMANDS: [&str; 20] = [
    "$",
    "#",
    "llts",
    "docker",
    "kubectl",
    "systemctl",
    "journalctl",
    "timedatectl",
    "curl",
    "apt",
    "apt-get",
    "dpkg",
    "cargo",
    "git",
    "ssh",
    "scp",
    "install",
    "rm",
    "sudo",
    "tools/",
];

/// The line of a block that is a command, though the block says that it has none.
fn disguised(info: &str, text: &str) -> Option<String> {
    let is_command = |line: &&str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        COMMANDS.contains(&first) || (first.starts_with("tools/") && COMMANDS.contains(&"tools/"))
    };
    text.lines().find(is_command).filter(|_| info == "text").map(str::to_owned)
}

/// A block between fences.
struct Block {
    place: String,
    info: String,
    text: String,
}

fn papers() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut papers: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    papers.sort();
    papers.extend(["README.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    papers
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for paper in papers() {
        let text = fs::read_to_string(&paper).unwrap();
        let mut open: Option<Block> = None;
        for (n, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(info), None) => {
                    let place = format!("{}:{}", paper.file_name().unwrap().to_str().unwrap(), n + 1);
                    open = Some(Block { place, info: info.to_owned(), text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", paper.display());
    }
    blocks
}

/// Runs a script in a folder, a network and a /run of its own; `None` where there can be none.
fn alone(script: &str) -> Option<Output> {
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_llts")).parent().unwrap().to_owned();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let apart = |script: &str| {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let script = format!("mount -t tmpfs tmpfs /run && ip link set lo up && {{ {script}\n}}");
        command.args(["--mount", "--net", "sh", "-c", &script]).stdin(Stdio::null()).current_dir(dir.path());
        command.env("PATH", &path).env("HOME", dir.path()).env("LLTS_STATE_DIR", dir.path().join("state"));
        command.env("LLTS_CONFIG", "/dev/null").env_remove("XDG_RUNTIME_DIR").output()
    };
    if !apart("true").is_ok_and(|output| output.status.success()) {
        println!("skipped: there can be no separate network here (unshare)");
        return None;
    }
    Some(apart(script).unwrap())
}

#[test]
fn every_block_says_what_it_is() {
    let blocks = blocks();
    for Block { place, info, text } in &blocks {
        let disguised = disguised(info, text);
        assert_eq!(disguised, None, "{place}: that is a command: mark it as the head of tests/doc_commands.rs tells");
        let words: Vec<&str> = info.split_whitespace().collect();
        let known = match words.as_slice() {
            ["sh", rest @ ..] => rest.iter().all(|w| MARKS.contains(w)),
            [language, rest @ ..] => {
                ["text", "toml", "json", "python", "rust"].contains(language) && rest.iter().all(|w| *w == "example")
            }
            [] => false,
        };
        assert!(known, "{place}: the fence says {info:?}: mark commands as the head of tests/doc_commands.rs tells");
    }
    assert!(blocks.len() > 30, "{}", blocks.len());
}

#[test]
fn a_command_is_known_where_it_is_called_text() {
    for text in ["llts top\n", "$ llts query db1\n", "docker exec llts llts tracking\n", "a\n  ssh -L 1:b:2 c\n"] {
        assert!(disguised("text", text).is_some(), "{text}");
        assert!(disguised("sh server", text).is_none(), "{text}");
    }
    for text in ["bytes -> Message -> Exchange\n", "llts_peers_used 2\n", "sshd listens\n"] {
        assert!(disguised("text", text).is_none(), "{text}");
    }
}

#[test]
fn commands_that_can_be_run_anywhere_do_what_they_should() {
    let mut ran = 0;
    for Block { place, info, text } in blocks() {
        if !["sh", "sh one"].contains(&info.as_str()) {
            continue;
        }
        let Some(output) = alone(&format!("set -e\n{text}")) else { return };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{place}: {text}{said}");
        ran += 1;
    }
    assert!(ran >= 4, "{ran} blocks were run");
}

#[test]
fn commands_that_go_on_until_they_are_ended_do() {
    let mut ran = 0;
    for Block { place, info, text } in blocks() {
        if info != "sh endless" {
            continue;
        }
        let started: String = text.lines().map(|line| format!("{line} & all=\"$all $!\"\n")).collect();
        let script = format!(
            "{started}sleep 4\nfor one in $all; do kill -0 $one || exit 9; done\nkill $all\n\
             for one in $all; do wait $one || exit 8; done"
        );
        let Some(output) = alone(&script) else { return };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{place}: {text}{said}");
        ran += 1;
    }
    assert!(ran >= 2, "{ran} blocks were run");
}
