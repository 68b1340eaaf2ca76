//! What stands in packaging/: units that systemd takes, pages that groff sets without a warning, scripts that shells
//! read. A tool that is not here is said, and its test skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// Runs a tool of the system, if it is here.
fn tool(program: &str, words: &[&str]) -> Option<Output> {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    if output.is_err() {
        println!("skipped: there is no {program} here");
    }
    output.ok()
}

fn all_of(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn systemd_takes_the_units() {
    let dir = tempfile::tempdir().unwrap();
    let units = ["llts.service", "llts-wait.service"].map(|name| {
        let text = fs::read_to_string(packaging().join(name)).unwrap();
        let path = dir.path().join(name);
        // The program is not installed where the tests run.
        fs::write(&path, text.replace("/usr/bin/llts", env!("CARGO_BIN_EXE_llts"))).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let Some(output) = tool("systemd-analyze", &["verify", "--man=no", &units[0], &units[1]]) else { return };
    assert!(output.status.success() && all_of(&output).trim().is_empty(), "{}", all_of(&output));
    // 3.0 and 1.1 with systemd 252; later versions know more that could be taken away.
    for (unit, exposure) in [(&units[0], "30"), (&units[1], "20")] {
        let words = ["security", "--offline=true", &format!("--threshold={exposure}"), unit];
        let Some(output) = tool("systemd-analyze", &words) else { return };
        assert!(output.status.success(), "{}", all_of(&output));
    }
}

#[test]
fn the_unit_is_notified_watched_and_takes_only_the_powers_it_needs() {
    let text = fs::read_to_string(packaging().join("llts.service")).unwrap();
    for line in [
        "Type=notify",
        "WatchdogSec=30s",
        "RestartPreventExitStatus=2 3",
        "StartLimitIntervalSec=0",
        "CapabilityBoundingSet=CAP_SYS_TIME CAP_SYS_NICE CAP_NET_ADMIN",
        "AmbientCapabilities=CAP_SYS_TIME CAP_SYS_NICE CAP_NET_ADMIN",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing");
    }
    for other in ["systemd-timesyncd", "chrony", "chronyd", "ntp", "ntpd", "ntpsec", "openntpd", "ntpd-rs"] {
        let conflicts = text
            .lines()
            .filter(|l| l.starts_with("Conflicts="))
            .any(|l| l["Conflicts=".len()..].split_whitespace().any(|unit| unit == format!("{other}.service")));
        assert!(conflicts, "two daemons would steer one clock: {other}");
        let ordered = text.lines().filter_map(|l| l.strip_prefix("After=")).flat_map(str::split_whitespace);
        let ends_first = ordered.into_iter().any(|unit| unit == format!("{other}.service"));
        assert!(ends_first, "llts would be started before it has ended: {other}");
    }
    assert!(text.lines().all(|line| line != "PrivateUsers=yes" && line != "ProtectClock=yes"), "it steers the clock");
    let wait = fs::read_to_string(packaging().join("llts-wait.service")).unwrap();
    assert!(wait.contains("\nBefore=time-sync.target\n") && wait.contains(" waitsync "));
    assert!(wait.contains("--wait-for-daemon"), "a first start may fail for a reason that passes");
    assert!(!wait.contains("\nRequires="), "a restart of llts would end whatever requires time-sync.target");
    // Or the target is reached though nobody promises anything.
    assert!(wait.contains("\nRequiredBy=time-sync.target\n") && !wait.contains("--accept-virtual"));
}

#[test]
fn the_man_pages_are_set_without_a_warning() {
    for entry in fs::read_dir(packaging().join("man")).unwrap() {
        let page = entry.unwrap().path();
        let Some(output) = tool("groff", &["-man", "-Tutf8", "-ww", page.to_str().unwrap()]) else { return };
        assert!(output.status.success() && output.stderr.is_empty(), "{}: {}", page.display(), all_of(&output));
        assert!(output.stdout.len() > 500, "{} is empty", page.display());
    }
}

#[test]
fn the_completions_are_read_by_their_shells_and_are_what_the_program_prints() {
    for (shell, file, check) in [("bash", "llts.bash", "-n"), ("zsh", "_llts", "-n"), ("fish", "llts.fish", "-n")] {
        let path = packaging().join("completions").join(file);
        let printed = Command::new(env!("CARGO_BIN_EXE_llts")).args(["completions", shell]).output().unwrap();
        assert!(printed.status.success());
        assert_eq!(printed.stdout, fs::read(&path).unwrap(), "{file}");
        if let Some(output) = tool(shell, &[check, path.to_str().unwrap()]) {
            assert!(output.status.success(), "{}", all_of(&output));
        }
    }
}

#[test]
fn the_scripts_of_the_debian_package_are_shell_and_every_file_it_names_is_there() {
    for entry in fs::read_dir(packaging().join("debian")).unwrap() {
        let path = entry.unwrap().path();
        if let Some(output) = tool("sh", &["-n", path.to_str().unwrap()]) {
            assert!(output.status.success(), "{}", all_of(&output));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    for asset in assets {
        let source = asset[0].as_str().unwrap();
        let folder = source.split('*').next().unwrap();
        assert!(source.starts_with("target/") || root.join(folder).exists(), "{source} is not there");
    }
}

/// The files that the Debian package installs: where each comes from, and its path there.
fn installed() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let mut files = Vec::new();
    for asset in assets {
        let (source, target) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        let sources: Vec<PathBuf> = match source.split_once('*') {
            None => vec![root.join(source)],
            Some((folder, end)) => {
                let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
                entries.filter(|path| path.is_file() && path.to_str().unwrap().ends_with(end)).collect()
            }
        };
        for path in sources {
            let name = path.file_name().unwrap().to_str().unwrap();
            let there = if target.ends_with('/') { format!("{target}{name}") } else { target.to_owned() };
            files.push((path, there));
        }
    }
    files
}

/// Where the links of a paper lead that name a file beside it.
fn relative_links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|file| !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:")).collect()
}

/// A path with its `..` taken away; `None` if it leads out of the root.
fn straight(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

#[test]
fn every_link_of_a_paper_leads_to_a_file_of_the_package_too() {
    let files = installed();
    let is_there = |path: &str| files.iter().any(|(_, there)| there == path || there.starts_with(&format!("{path}/")));
    let (mut followed, mut papers) = (0, 0);
    for (source, there) in files.iter().filter(|(_, there)| there.ends_with(".md")) {
        papers += 1;
        let folder = there.rsplit_once('/').unwrap().0;
        for link in relative_links(&fs::read_to_string(source).unwrap()) {
            let target = straight(&format!("{folder}/{link}"));
            assert!(target.is_some_and(|target| is_there(&target)), "{there}: {link} is not in the package");
            followed += 1;
        }
    }
    assert!(papers > 30 && followed > 60, "{papers} papers, {followed} links");
    assert!(!is_there("usr/share/doc/llts/nothing.md") && straight("a/../../b").is_none());
}
