//! The house as text: every file that a rule may ask for, by its path, and the map of rooms that docs/ARCHITECTURE.md
//! draws. Also the model house: the smallest tree that breaks no rule, on which each rule shows that it can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{Child, Source, module_of};

/// What stands in the repository: texts by path, and the names at its top.
#[derive(Clone, Default)]
pub struct House {
    pub files: BTreeMap<String, String>,
    pub top: BTreeSet<String>,
}

/// One line of the map: a room and what it may import (`flow` for a whole room, `flow::Stamp` for one thing of it).
pub struct Room {
    pub name: String,
    pub may_import: Vec<Vec<String>>,
}

/// The heading under which docs/ARCHITECTURE.md keeps the map.
const MAP_HEADING: &str = "## Who may import whom";
/// Folders whose texts are read; `target` and what .gitignore names at the top are nobody's business.
const FOLDERS: [&str; 9] = ["src", "tests", "benches", "tools", "docs", "fuzz", "examples", "packaging", ".ci"];
const TEXTS: [&str; 6] = ["rs", "md", "toml", "sh", "html", "json"];

impl House {
    /// Reads the repository at `root`.
    pub fn at(root: &Path) -> House {
        let mut house = House::default();
        let ignored = std::fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let ignored: BTreeSet<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
        for entry in names_in(root) {
            if entry == ".git" || ignored.contains(entry.as_str()) {
                continue;
            }
            if root.join(&entry).is_file() {
                house.take(root, &entry);
            } else if FOLDERS.contains(&entry.as_str()) {
                house.take_folder(root, &entry, &ignored);
            }
            house.top.insert(entry);
        }
        house
    }

    fn take_folder(&mut self, root: &Path, folder: &str, ignored: &BTreeSet<&str>) {
        for name in names_in(&root.join(folder)) {
            let path = format!("{folder}/{name}");
            if ignored.contains(path.as_str()) {
                continue;
            } else if root.join(&path).is_dir() {
                self.take_folder(root, &path, ignored);
            } else {
                self.take(root, &path);
            }
        }
    }

    /// A file that is no text counts as present and empty.
    fn take(&mut self, root: &Path, path: &str) {
        let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
        let text = if TEXTS.contains(&ending)
            || !path.rsplit('/').next().unwrap_or(path).contains('.')
            || path == ".gitignore"
        {
            std::fs::read_to_string(root.join(path)).unwrap_or_default()
        } else {
            String::new()
        };
        self.files.insert(path.to_string(), text);
    }

    /// The house with one file put in (or in its place).
    pub fn with(&self, path: &str, text: &str) -> House {
        let mut house = self.clone();
        house.files.insert(path.to_string(), text.to_string());
        house.top.insert(path.split('/').next().unwrap_or(path).to_string());
        house
    }

    /// The house with one file gone.
    pub fn without(&self, path: &str) -> House {
        let mut house = self.clone();
        house.files.remove(path);
        if !path.contains('/') {
            house.top.remove(path);
        }
        house
    }

    pub fn text(&self, path: &str) -> &str {
        self.files.get(path).map_or("", String::as_str)
    }

    /// Every Rust file under `folder`, unread.
    pub fn rust_in<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let inside = move |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .filter(move |(path, _)| inside(path) && path.ends_with(".rs"))
    }

    /// Every file of src, read; a file that is brought in only under `#[cfg(test)]` is test code as a whole.
    pub fn sources(&self) -> Vec<(&str, Source)> {
        let tests: BTreeSet<Vec<String>> =
            self.reached().into_iter().filter(|child| child.test).map(|child| child.module).collect();
        self.rust_in("src")
            .map(|(path, text)| {
                let module = module_of(path);
                let test = (1..=module.len()).any(|n| tests.contains(&module[..n]));
                (path, Source::read(path, text, test))
            })
            .collect()
    }

    /// Every module that a `mod` line declares, from `src/lib.rs` and `src/main.rs` on.
    pub fn reached(&self) -> Vec<Child> {
        let mut reached = Vec::new();
        let mut open = vec!["src/lib.rs".to_string(), "src/main.rs".to_string()];
        while let Some(path) = open.pop() {
            let Some(text) = self.files.get(&path) else { continue };
            for child in Source::read(&path, text, false).children {
                open.extend(files_of(&child.module));
                reached.push(child);
            }
        }
        reached
    }

    /// The map that docs/ARCHITECTURE.md draws: the first table after its heading. Rooms are the words in back quotes.
    pub fn map(&self) -> Vec<Room> {
        let text = self.text("docs/ARCHITECTURE.md");
        let Some((_, after)) = text.split_once(MAP_HEADING) else { return Vec::new() };
        let rows = after.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        rows.skip(2)
            .filter_map(|row| {
                let mut cells = row.trim_matches('|').split('|');
                let name = quoted(cells.next()?).into_iter().next()?.join("::");
                Some(Room { name, may_import: quoted(cells.next()?) })
            })
            .collect()
    }

    /// The model: a house of two rooms that is in order.
    pub fn model() -> House {
        let map = format!(
            "# Architecture\n{MAP_HEADING}\n\n| room | may import | must not contain |\n|---|---|---|\n\
             | `limits` | - | |\n| `flow` | `limits` | |\n| `wire` | `limits` `flow` | |\n\
             | `sys` | `limits` `flow::Stamp` | |\n| `engine` | `flow` `wire` `sys` | |\n| `cli` | `engine` | |\n\
             | `main` | `cli` | |\n"
        );
        let files = [
            (
                "src/lib.rs",
                "//! The map.\n#[allow(missing_docs)]\npub mod limits;\npub mod flow;\npub mod wire;\npub mod sys;\n\
                            pub mod engine;\npub mod cli;\n",
            ),
            ("src/main.rs", "//! The program.\nfn main() { llts::cli::start(); }\n"),
            ("src/limits.rs", "//! Bounds.\n"),
            ("src/flow/mod.rs", "//! Nouns.\nmod stamp;\n#[cfg(test)]\nmod bed;\n"),
            ("src/flow/stamp.rs", "//! Stamps.\nuse crate::limits::X;\nuse super::Y;\n"),
            ("src/flow/bed.rs", "//! Tests only.\nfn f() { println!(); std::time::Instant::now(); }\n"),
            (
                "src/wire/mod.rs",
                "//! Bytes.\nuse crate::flow;\n#[cfg(test)]\nmod tests { use super::*; use std::fs::read; }\n",
            ),
            (
                "src/sys/mod.rs",
                "//! The kernel.\nuse crate::flow::Stamp;\nfn f() { unsafe { libc::clock_gettime() } }\n",
            ),
            (
                "src/engine/mod.rs",
                "//! Threads.\nmod hot;\nuse crate::{flow, wire};\nfn f() { tracing::info!(\"\"); }\n",
            ),
            ("src/engine/hot.rs", "//! The hot thread.\nuse super::g;\n"),
            ("src/cli/mod.rs", "//! Words.\nuse crate::engine;\nfn f() { println!(); }\n"),
            ("tests/tidy.rs", "//! Rules.\n"),
            ("docs/ARCHITECTURE.md", map.as_str()),
            ("docs/STYLE.md", "# Style\n[map](ARCHITECTURE.md#rooms) [web](https://example.org/x.md)\n"),
            ("docs/decisions/0001-one.md", "# 0001: one\n\n| `libc` | kernel |\n"),
            ("docs/decisions/0002-two.md", "# 0002: two\n"),
            ("README.md", "# llts\n```\ncargo test\n```\n[style](docs/STYLE.md)\n"),
            ("CHANGELOG.md", "# Changes\n\n## Unreleased\n\n- x\n\n## 0.1.0 - 2026-11-22\n"),
            ("LICENSE", "MIT License\n"),
            (
                "Cargo.toml",
                "[package]\nname = \"llts\"\n[dependencies]\nlibc = \"0.2\"\n[profile.release]\nlto = true\n",
            ),
            (".ci/run", "#!/usr/bin/env bash\nset -euo pipefail\ncargo test\n"),
            (".gitignore", "/target\n"),
        ];
        files.iter().fold(House::default(), |house, (path, text)| house.with(path, text))
    }
}

/// The two files that may hold `module`.
pub fn files_of(module: &[String]) -> [String; 2] {
    let inner = module.join("/");
    [format!("src/{inner}.rs"), format!("src/{inner}/mod.rs")]
}

/// The room that a file of src belongs to; `lib` for the root.
pub fn room_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// The paths in back quotes of one cell of the map.
fn quoted(cell: &str) -> Vec<Vec<String>> {
    let inside = cell.split('`').skip(1).step_by(2);
    inside.map(|path| path.split("::").map(str::to_string).collect()).collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("a folder being read stays").file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}
