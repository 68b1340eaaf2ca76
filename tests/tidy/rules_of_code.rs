//! The rules that src and its neighbours keep: who imports whom, where the world may be touched, how files look.
//! Each rule is a function from a house to its faults; the breaks beside it are what makes it fail.

use std::collections::BTreeSet;

use crate::house::{House, files_of, room_of};
use crate::source::{Kind, Source, module_of};
use crate::{Break, Rule};

/// Rooms that ask the world for nothing: time, randomness and bytes come in as arguments.
const CORE: [&str; 10] =
    ["unit", "flow", "wire", "exchange", "filter", "consensus", "steering", "pipeline", "saturn", "watch"];
/// Rooms that may read a clock; of the words, only the demo and the status client need to.
const CLOCK_READERS: [&str; 4] = ["sys", "clock", "engine", "cli"];
/// Rooms that speak to the terminal.
const SPEAKERS: [&str; 3] = ["cli", "report", "main"];
/// What the world is called, as the beginning of a path.
const WORLD: [&str; 18] = [
    "std::thread",
    "std::fs",
    "std::env",
    "std::process",
    "std::io",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::ToSocketAddrs",
    "std::os",
    "libc",
    "nix",
    "mio",
    "socket2",
    "crossbeam_channel",
    "core_affinity",
];
const LINE_CHARS_MAX: usize = 120;
const FILE_LINES_MAX: usize = 600;

/// The rules of code, in the order in which they are told.
pub const RULES: [Rule; 14] = [
    Rule {
        says: "a room imports only what the map of docs/ARCHITECTURE.md allows it, in test code too",
        check: imports_follow_the_map,
        breaks: &[
            Break::Put("src/flow/stamp.rs", "//! x\nuse crate::wire::X;", "src/flow/stamp.rs:2"),
            Break::Put("src/flow/stamp.rs", "//! x\n\nuse crate::{limits, wire};", "src/flow/stamp.rs:3"),
            Break::Put("src/flow/stamp.rs", "//! x\nfn f() { super::super::wire::g() }", "src/flow/stamp.rs:2"),
            Break::Put("src/flow/stamp.rs", "//! x\n#[cfg(test)]\nmod t {\nuse crate::wire; }", "src/flow/stamp.rs:4"),
            Break::Put("src/sys/mod.rs", "//! x\nuse crate::flow::Relation;", "src/sys/mod.rs:2"),
            Break::Put("src/sys/mod.rs", "//! x\nuse crate::flow;", "src/sys/mod.rs:2"),
            Break::Put("src/main.rs", "//! x\nfn main() { llts::engine::run() }", "src/main.rs:2"),
            Break::Put("src/wire/mod.rs", "//! x\nuse crate::*;", "src/wire/mod.rs:2"),
        ],
    },
    Rule {
        says: "the map runs one way (a room stands below its imports) and names just the rooms of src/lib.rs and main",
        check: map_is_true,
        breaks: &[
            Break::Swap(
                "docs/ARCHITECTURE.md",
                "| `flow` | `limits` |",
                "| `flow` | `wire` |",
                "`flow` may import `wire`",
            ),
            Break::Swap("src/lib.rs", "pub mod cli;", "pub mod cli;\npub mod hall;", "`hall`"),
            Break::Swap("src/lib.rs", "pub mod sys;\n", "", "`sys`"),
            Break::Swap("docs/ARCHITECTURE.md", "## Who may", "## What may", "no map"),
        ],
    },
    Rule {
        says: "src/lib.rs is a map and holds no code",
        check: the_root_holds_no_code,
        breaks: &[
            Break::Put("src/lib.rs", "//! x\npub mod flow;\npub use flow::X;", "src/lib.rs:3"),
            Break::Put("src/lib.rs", "//! x\nfn f() {}", "src/lib.rs:2"),
        ],
    },
    Rule {
        says: "`unsafe` stands only under src/sys",
        check: unsafe_is_in_sys,
        breaks: &[
            Break::Put("src/wire/mod.rs", "//! x\nfn f() { unsafe { g() } }", "src/wire/mod.rs:2"),
            Break::Put("src/wire/mod.rs", "//! x\n#[cfg(test)]\nfn f() { unsafe { g() } }", "src/wire/mod.rs:3"),
        ],
    },
    Rule {
        says: "clocks are read only in sys, clock, engine and cli (and in tests)",
        check: clocks_are_read_where_they_may_be,
        breaks: &[
            Break::Put("src/flow/stamp.rs", "//! x\nfn f() { let t = Instant::now(); }", "src/flow/stamp.rs:2"),
            Break::Put("src/flow/stamp.rs", "//! x\nfn f() { std::time::SystemTime::now() }", "src/flow/stamp.rs:2"),
            Break::Put("src/flow/stamp.rs", "//! x\nfn f(t: T) { t.elapsed(); }", "src/flow/stamp.rs:2"),
            Break::Put("src/flow/stamp.rs", "//! x\nuse nix::time::clock_gettime;", "src/flow/stamp.rs:2"),
            Break::Put("src/wire/mod.rs", "//! x\nfn f() { super::sys::time::raw_now(); }", "src/wire/mod.rs:2"),
        ],
    },
    Rule {
        says: "the core rooms touch nothing of the world: no file, socket, thread, environment, clock or kernel call",
        check: the_core_is_alone,
        breaks: &[
            Break::Put("src/flow/stamp.rs", "//! x\nuse std::{fmt, thread};", "src/flow/stamp.rs:2"),
            Break::Put("src/flow/stamp.rs", "//! x\nuse std::time::Instant as Now;", "src/flow/stamp.rs:2"),
            Break::Put("src/wire/mod.rs", "//! x\nfn f() { std::fs::read(\"\"); }", "src/wire/mod.rs:2"),
            Break::Put("src/wire/mod.rs", "//! x\nfn f() { libc::getpid(); }", "src/wire/mod.rs:2"),
            Break::Put("src/wire/mod.rs", "//! x\nuse std::net::{SocketAddr, UdpSocket};", "src/wire/mod.rs:2"),
        ],
    },
    Rule {
        says: "only cli, report and main print (and tests)",
        check: only_speakers_print,
        breaks: &[
            Break::Put("src/engine/hot.rs", "//! x\nfn f() { println!(); }", "src/engine/hot.rs:2"),
            Break::Put("src/wire/mod.rs", "//! x\nfn f() { print != 1; std::eprint!(\"\"); }", "src/wire/mod.rs:2"),
        ],
    },
    Rule {
        says: "nothing is logged by the hot thread or by a core room",
        check: hot_and_core_do_not_log,
        breaks: &[
            Break::Put("src/engine/hot.rs", "//! x\nfn f() { tracing::info!(\"\"); }", "src/engine/hot.rs:2"),
            Break::Put("src/engine/hot/mod.rs", "//! x\nfn f() { warn!(\"\"); }", "src/engine/hot/mod.rs:2"),
            Break::Put("src/wire/mod.rs", "//! x\nuse tracing::debug;", "src/wire/mod.rs:2"),
        ],
    },
    Rule {
        says: "every Rust file opens with `//!`: what it is for and what it does not do",
        check: files_say_what_they_are_for,
        breaks: &[
            Break::Put("src/limits.rs", "// x\n", "src/limits.rs"),
            Break::Put("tests/tidy.rs", "use x;\n//! late\n", "tests/tidy.rs"),
            Break::Put("src/limits.rs", "", "src/limits.rs"),
        ],
    },
    Rule {
        says: "every file of src is brought in by a `mod` line and stands where its module path leads (no `#[path]`)",
        check: no_file_is_lost,
        breaks: &[
            Break::Put("src/flow/orphan.rs", "//! x\n", "src/flow/orphan.rs"),
            Break::Put("src/flow/mod.rs", "//! x\nmod stamp; mod bed; // mod orphan;\nmod ghost;", "flow::ghost"),
        ],
    },
    Rule {
        says: "no line of Rust is longer than 120 characters",
        check: lines_are_short,
        breaks: &[Break::Put(
            "src/limits.rs",
            concat!(
                "//! x\n//! ",
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
            ),
            "src/limits.rs:2",
        )],
    },
    Rule {
        says: "no file of src is longer than 600 lines, its tests not counted",
        check: files_are_short,
        breaks: &[Break::Long("src/limits.rs", FILE_LINES_MAX + 1, "src/limits.rs")],
    },
    Rule {
        says: "names are nouns of the field: no file or type called util, common, helper, manager or misc, no `get_`",
        check: names_mean_something,
        breaks: &[
            Break::Put("src/flow/utils.rs", "//! x\n", "src/flow/utils.rs"),
            Break::Put("src/flow/clock_helpers.rs", "//! x\n", "src/flow/clock_helpers.rs"),
            Break::Put("src/manager/mod.rs", "//! x\n", "src/manager/mod.rs"),
            Break::Put("src/flow/stamp.rs", "//! x\nmod common {}", "src/flow/stamp.rs:2"),
            Break::Put("src/flow/stamp.rs", "//! x\nstruct PeerManager;", "src/flow/stamp.rs:2"),
            Break::Put("src/flow/stamp.rs", "//! x\nfn get_x() {}", "src/flow/stamp.rs:2"),
        ],
    },
    Rule {
        says: "nothing is left lying about: no to-do marks, no `dbg!`",
        check: nothing_is_left_lying_about,
        breaks: &[
            Break::Put("src/limits.rs", concat!("//! x\n// TO", "DO: y"), "src/limits.rs:2"),
            Break::Put("tests/tidy.rs", concat!("//! x\n//! FIX", "ME"), "tests/tidy.rs:2"),
            Break::Put("src/limits.rs", concat!("//! x\n/* XX", "X */"), "src/limits.rs:2"),
            Break::Put("src/limits.rs", "//! x\n#[cfg(test)] fn f() { dbg!(1); }", "src/limits.rs:2"),
        ],
    },
];

fn imports_follow_the_map(house: &House) -> Vec<String> {
    let map = house.map();
    each_source(house, |path, source| {
        let own = room_of(path);
        if own == "lib" {
            return Vec::new();
        }
        let allowed = map.iter().find(|room| room.name == own).map_or(&[][..], |room| &room.may_import);
        let crossing = source.paths.iter().filter_map(|p| Some((p.line, source.in_crate(p)?)));
        crossing
            .filter(|(_, to)| to.first().is_none_or(|room| room != own))
            .filter(|(_, to)| !allowed.iter().any(|grant| to.starts_with(grant)))
            .map(|(line, to)| format!("{path}:{line}: `{own}` may not import `{}`", to.join("::")))
            .collect()
    })
}

fn map_is_true(house: &House) -> Vec<String> {
    let map = house.map();
    if map.is_empty() {
        return vec!["docs/ARCHITECTURE.md: no map of rooms was found".into()];
    }
    let mut faults = Vec::new();
    for (row, room) in map.iter().enumerate() {
        for to in &room.may_import {
            if !map[..row].iter().any(|above| above.name == to[0]) {
                faults.push(format!("`{}` may import `{}`, which does not stand above it", room.name, to.join("::")));
            }
        }
    }
    let drawn: BTreeSet<&str> = map.iter().map(|room| room.name.as_str()).collect();
    let root = Source::read("src/lib.rs", house.text("src/lib.rs"), false);
    let built: BTreeSet<&str> = root.children.iter().map(|child| child.module[0].as_str()).chain(["main"]).collect();
    faults.extend(drawn.symmetric_difference(&built).map(|room| {
        format!(
            "room `{room}` must be in src/lib.rs and in the map of docs/ARCHITECTURE.md, and is in one of them only"
        )
    }));
    faults
}

fn the_root_holds_no_code(house: &House) -> Vec<String> {
    let root = Source::read("src/lib.rs", house.text("src/lib.rs"), false);
    let mut depth = 0;
    let mut faults = BTreeSet::new();
    for token in &root.tokens {
        match token.text.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ if depth > 0 => {}
            "pub" | "mod" | ";" | "#" | "!" => {}
            word if token.kind == Kind::Word && root.children.iter().any(|child| child.module == [word]) => {}
            word => {
                faults.insert((token.line, word));
            }
        }
    }
    let first = faults.into_iter().next();
    first.map(|(line, word)| format!("src/lib.rs:{line}: `{word}` is code; put it in a room")).into_iter().collect()
}

fn unsafe_is_in_sys(house: &House) -> Vec<String> {
    each_source(house, |path, source| match room_of(path) {
        "sys" => Vec::new(),
        _ => faults(path, source.lines_with(&["unsafe"], true), "`unsafe` outside src/sys"),
    })
}

fn clocks_are_read_where_they_may_be(house: &House) -> Vec<String> {
    each_source(house, |path, source| {
        if CLOCK_READERS.contains(&room_of(path)) {
            return Vec::new();
        }
        let in_sys = |p| source.in_crate(p).is_some_and(|to| to.starts_with(&["sys".to_string(), "time".to_string()]));
        let mut lines: Vec<usize> = source.paths.iter().filter(|p| !p.test && in_sys(p)).map(|p| p.line).collect();
        for words in
            [&["Instant", "::", "now"][..], &["SystemTime", "::", "now"], &["clock_gettime"], &[".", "elapsed"]]
        {
            lines.extend(source.lines_with(words, false));
        }
        faults(path, lines, "reads a clock; time comes in as an argument here")
    })
}

fn the_core_is_alone(house: &House) -> Vec<String> {
    each_source(house, |path, source| {
        if !CORE.contains(&room_of(path)) {
            return Vec::new();
        }
        let outside = |to: &str| WORLD.iter().any(|w| to == *w || to.starts_with(&format!("{w}::")));
        let paths = source.paths.iter().filter(|p| !p.test);
        let outward = paths.filter(|p| outside(&p.segments.join("::")));
        outward.map(|p| format!("{path}:{}: the core may not touch `{}`", p.line, p.segments.join("::"))).collect()
    })
}

fn only_speakers_print(house: &House) -> Vec<String> {
    each_source(house, |path, source| {
        if SPEAKERS.contains(&room_of(path)) {
            return Vec::new();
        }
        let macros = ["println", "eprintln", "print", "eprint"];
        let lines = macros.iter().flat_map(|name| source.macro_calls(name, false));
        faults(path, lines.collect(), "prints; only cli, report and main speak")
    })
}

fn hot_and_core_do_not_log(house: &House) -> Vec<String> {
    each_source(house, |path, source| {
        let hot = module_of(path).starts_with(&["engine".to_string(), "hot".to_string()]);
        if !hot && !CORE.contains(&room_of(path)) {
            return Vec::new();
        }
        let macros = ["trace", "debug", "info", "warn", "error", "event", "span", "instrument"];
        let mut lines: BTreeSet<usize> = macros.iter().flat_map(|name| source.macro_calls(name, false)).collect();
        lines.extend(source.lines_with(&["tracing", "::"], false));
        faults(path, lines.into_iter().collect(), "logs; count it by reason instead")
    })
}

fn files_say_what_they_are_for(house: &House) -> Vec<String> {
    let silent = all_rust(house).filter(|(_, text)| !text.starts_with("//! "));
    silent.map(|(path, _)| format!("{path}: does not open with `//!`")).collect()
}

fn no_file_is_lost(house: &House) -> Vec<String> {
    let reached = house.reached();
    let wanted: BTreeSet<String> = reached.iter().flat_map(|child| files_of(&child.module)).collect();
    let roots = ["src/lib.rs", "src/main.rs"];
    let lost = house.rust_in("src").filter(|(path, _)| !roots.contains(path) && !wanted.contains(*path));
    let absent = reached.iter().filter(|child| files_of(&child.module).iter().all(|f| !house.files.contains_key(f)));
    lost.map(|(path, _)| format!("{path}: no `mod` line brings it in"))
        .chain(absent.map(|child| format!("{}: no file stands where the module path leads", child.module.join("::"))))
        .collect()
}

fn lines_are_short(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in all_rust(house) {
        for (n, line) in text.lines().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX {
                found.push(format!("{path}:{}: {chars} characters", n + 1));
            }
        }
    }
    found
}

fn files_are_short(house: &House) -> Vec<String> {
    each_source(house, |path, source| {
        let lines = source.lines_without_tests();
        let long = lines > FILE_LINES_MAX;
        long.then(|| format!("{path}: {lines} lines without tests; split it by noun")).into_iter().collect()
    })
}

fn names_mean_something(house: &House) -> Vec<String> {
    let empty = ["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"];
    let means_nothing = |name: &str| snake(name).split('_').any(|word| empty.contains(&word));
    let mut found = Vec::new();
    for (path, text) in all_rust(house) {
        if path.split('/').any(|part| means_nothing(part.trim_end_matches(".rs"))) {
            found.push(format!("{path}: the name says nothing"));
        }
        for pair in Source::read(path, text, false).tokens.windows(2) {
            let (what, name) = (pair[0].text.as_str(), pair[1].text.as_str());
            let faulty = match what {
                "mod" | "struct" | "enum" | "trait" | "type" => means_nothing(name),
                "fn" => name.starts_with("get_"),
                _ => false,
            };
            if pair[0].kind == Kind::Word && faulty {
                found.push(format!("{path}:{}: `{name}` says nothing; use the field's noun", pair[1].line));
            }
        }
    }
    found
}

fn nothing_is_left_lying_about(house: &House) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut found = Vec::new();
    for (path, text) in all_rust(house) {
        for (n, line) in text.lines().enumerate() {
            if line.split(|c: char| !c.is_alphanumeric()).any(|word| marks.contains(&word)) {
                found.push(format!("{path}:{}: do it, or open an issue", n + 1));
            }
        }
        let source = Source::read(path, text, false);
        found.extend(faults(path, source.macro_calls("dbg", true), "`dbg!` is for the desk"));
    }
    found
}

fn all_rust(house: &House) -> impl Iterator<Item = (&str, &str)> {
    ["src", "tests", "benches", "tools", "fuzz", "examples"].into_iter().flat_map(|folder| house.rust_in(folder))
}

fn each_source(house: &House, rule: impl Fn(&str, &Source) -> Vec<String>) -> Vec<String> {
    house.sources().iter().flat_map(|(path, source)| rule(path, source)).collect()
}

fn faults(path: &str, lines: Vec<usize>, fault: &str) -> Vec<String> {
    lines.into_iter().map(|line| format!("{path}:{line}: {fault}")).collect()
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}
