//! The rules that everything around the code keeps: what may stand at the top, the papers of docs, the change log,
//! the list of crates. They hold form, not truth: whether a sentence is right, a reader must say.

use std::collections::BTreeSet;

use crate::house::House;
use crate::{Break, Rule};

/// What may stand at the top of the repository.
const TOP: [&str; 22] = [
    ".ci",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "benches",
    "build.rs",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "packaging",
    "rustfmt.toml",
    "src",
    "tests",
    "tools",
];

/// The rules of paper, in the order in which they are told.
pub const RULES: [Rule; 7] = [
    Rule {
        says: "the top holds only what everybody expects there",
        check: the_top_is_tidy,
        breaks: &[
            Break::Put("notes.txt", "x", "notes.txt"),
            Break::Put("scripts/x.sh", "x", "scripts"),
            Break::Gone("LICENSE", "LICENSE"),
            Break::Gone("README.md", "README.md"),
        ],
    },
    Rule {
        says: "CHANGELOG.md has `## Unreleased` first, then versions `## 1.2.3 - 2026-01-31`, newest first",
        check: changes_are_told,
        breaks: &[
            Break::Put("CHANGELOG.md", "# Changes\n", "CHANGELOG.md"),
            Break::Put("CHANGELOG.md", "# Changes\n## 0.1.0 - 2026-11-22\n", "CHANGELOG.md"),
            Break::Put("CHANGELOG.md", "## Unreleased\n## Version one\n", "Version one"),
            Break::Put("CHANGELOG.md", "## Unreleased\n## 0.9.0 - 2026-11-22\n## 0.10.0 - 2026-11-21\n", "0.10.0"),
        ],
    },
    Rule {
        says: "decisions are docs/decisions/NNNN-words.md, numbered from 0001 without a gap, and open with `# NNNN: `",
        check: decisions_are_numbered,
        breaks: &[
            Break::Put("docs/decisions/0004-four.md", "# 0004: four\n", "0004-four.md"),
            Break::Put("docs/decisions/0002-too.md", "# 0002: too\n", "0002-two.md"),
            Break::Put("docs/decisions/0003-three.md", "# three\n", "0003-three.md"),
            Break::Put("docs/decisions/three.md", "# 0003: three\n", "three.md"),
            Break::Gone("docs/decisions/0001-one.md", "0002-two.md"),
        ],
    },
    Rule {
        says: "every crate of Cargo.toml is named in a decision: what it is for, and what was not taken",
        check: crates_are_decided,
        breaks: &[
            Break::Put("Cargo.toml", "license = \"MIT\"\n[dependencies]\nleft_pad = \"1\"\n", "left_pad"),
            Break::Put("Cargo.toml", "license = \"MIT\"\n[dev-dependencies]\nx = { version = \"1\" }\n", "`x`"),
            Break::Put("Cargo.toml", "license = \"MIT\"\n[target.'cfg(unix)'.dependencies]\nrand = \"1\"\n", "`rand`"),
        ],
    },
    Rule {
        says: "no relative link in a Markdown file is dead",
        check: links_lead_somewhere,
        breaks: &[
            Break::Put("README.md", "```\ncargo test\n```\n[x](docs/GONE.md)\n", "docs/GONE.md"),
            Break::Put("docs/STYLE.md", "[x](decisions/0009-no.md#top)", "docs/decisions/0009-no.md"),
            Break::Put("docs/STYLE.md", "[x](../GONE.md)", "GONE.md"),
        ],
    },
    Rule {
        says: "README and .ci/run name the same test command, `cargo test`",
        check: one_test_command,
        breaks: &[
            Break::Swap("README.md", "cargo test", "cargo nextest run", "README.md"),
            Break::Swap(".ci/run", "cargo test", "cargo test --lib", ".ci/run"),
        ],
    },
    Rule {
        says: "nothing knows the machine it was written on: no absolute path of the folder it was made in",
        check: no_machine_is_known,
        breaks: &[
            Break::Put("tests/tidy.rs", concat!("//! x\n//! /wo", "rk/main/x"), "tests/tidy.rs:2"),
            Break::Put("docs/STYLE.md", concat!("see /ro", "ot/llts"), "docs/STYLE.md:1"),
        ],
    },
];

fn the_top_is_tidy(house: &House) -> Vec<String> {
    let strange = house.top.iter().filter(|entry| !TOP.contains(&entry.as_str()));
    let needed = ["Cargo.toml", "src", "tests", "docs", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore", ".ci"];
    let absent = needed.iter().filter(|entry| !house.top.contains(**entry));
    strange
        .map(|entry| format!("{entry}: does not belong at the top"))
        .chain(absent.map(|entry| format!("{entry}: is missing at the top")))
        .collect()
}

fn changes_are_told(house: &House) -> Vec<String> {
    let mut headings = house.text("CHANGELOG.md").lines().filter_map(|line| line.strip_prefix("## "));
    if headings.next() != Some("Unreleased") {
        return vec!["CHANGELOG.md: the first section is not `## Unreleased`".into()];
    }
    let mut newest: Option<[u32; 3]> = None;
    let mut found = Vec::new();
    for heading in headings {
        let Some(version) = heading.split_once(" - ").filter(|(_, day)| is_day(day)).and_then(|(v, _)| version(v))
        else {
            found.push(format!("CHANGELOG.md: `{heading}` is not `1.2.3 - 2026-01-31`"));
            continue;
        };
        if newest.is_some_and(|newest| newest <= version) {
            found.push(format!("CHANGELOG.md: `{heading}` stands below an older version"));
        }
        newest = Some(version);
    }
    found
}

fn version(text: &str) -> Option<[u32; 3]> {
    let numbers: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && text.char_indices().all(|(n, c)| if n == 4 || n == 7 { c == '-' } else { c.is_ascii_digit() })
}

fn decisions_are_numbered(house: &House) -> Vec<String> {
    let files = house.files.iter().filter_map(|(path, text)| Some((path.strip_prefix("docs/decisions/")?, text)));
    let mut found = Vec::new();
    for ((name, text), wanted) in files.zip(1..) {
        let named = name.starts_with(&format!("{wanted:04}-")) && name.ends_with(".md");
        if !named || !text.starts_with(&format!("# {wanted:04}: ")) {
            found
                .push(format!("docs/decisions/{name}: should be {wanted:04}-words.md and open with `# {wanted:04}: `"));
            break; // the numbers after a gap are all wrong, and say nothing new
        }
    }
    found
}

fn crates_are_decided(house: &House) -> Vec<String> {
    let decisions: String = house
        .files
        .iter()
        .filter(|(path, _)| path.starts_with("docs/decisions/"))
        .map(|(_, text)| text.as_str())
        .collect();
    let mut among_crates = false;
    let mut found = Vec::new();
    for line in house.text("Cargo.toml").lines() {
        if let Some(section) = line.strip_prefix('[') {
            among_crates = section.trim_end().trim_end_matches(']').ends_with("dependencies");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| among_crates) {
            let name = name.trim();
            if !name.starts_with('#') && !decisions.contains(&format!("`{name}`")) {
                found.push(format!("Cargo.toml: `{name}` has no line in docs/decisions"));
            }
        }
    }
    found
}

fn links_lead_somewhere(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in house.files.iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let to = resolved(folder, target);
            let is_folder = house.files.keys().any(|file| file.starts_with(&format!("{to}/")));
            if !house.files.contains_key(&to) && !is_folder {
                found.push(format!("{path}: the link to {to} is dead"));
            }
        }
    }
    found
}

fn resolved(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn one_test_command(house: &House) -> Vec<String> {
    let silent = ["README.md", ".ci/run"].into_iter();
    let silent = silent.filter(|path| !house.text(path).lines().any(|line| line.trim() == "cargo test"));
    silent.map(|path| format!("{path}: has no line `cargo test`")).collect()
}

fn no_machine_is_known(house: &House) -> Vec<String> {
    let homes = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mut found = BTreeSet::new();
    for (path, text) in &house.files {
        for (n, line) in text.lines().enumerate() {
            let absolute = |home: &str| {
                let before = line.split(home).next().filter(|before| before.len() < line.len());
                before.is_some_and(|before| !before.ends_with(|c: char| c.is_alphanumeric() || "_-.~$}".contains(c)))
            };
            if homes.iter().any(|home| absolute(home)) {
                found.insert(format!("{path}:{}: names a folder of one machine", n + 1));
            }
        }
    }
    found.into_iter().collect()
}
