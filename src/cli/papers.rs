//! The papers that are made from the description of the command line, so that they cannot say anything else: the man
//! pages and completions under packaging, and the commented docs/llts.example.toml. They are committed; these tests
//! compare them, and write them anew with `LLTS_BLESS=1 cargo test --lib cli::papers`.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::layers::{Surroundings, configurable, variable};
use super::{args, exit, run};
use crate::engine::LIVE_OPTIONS;
use crate::pipeline::Standing;

/// Widest line of the example, characters.
const LINE_CHARS: usize = 100;

/// What stands in the example for options that have no default of their own, as TOML.
const EXAMPLES: [(&str, &str); 20] = [
    ("port", "4123"),
    ("listen-addr", "\"[::]:4123\""),
    ("name", "\"db1\""),
    ("peers", "[\"db1:4123\", \"db2:4123\", \"[2001:db8::7]:4123\"]"),
    ("key-file", "\"/etc/llts/keys\""),
    ("hmac-key", "\"HEX:00112233445566778899aabbccddeeff\""),
    ("faults", "1"),
    ("virtual-offset", "\"10ms\""),
    ("virtual-drift", "\"20ppm\""),
    ("iface", "[\"eth0\"]"),
    ("phc", "\"/dev/ptp0\""),
    ("slew-limit", "\"200ppm\""),
    ("drift-file", "\"/var/lib/llts/drift\""),
    ("user", "\"llts\""),
    ("cpu", "3"),
    ("runtime-dir", "\"/run/llts\""),
    ("state-dir", "\"/var/lib/llts\""),
    ("socket", "\"/run/llts/llts.sock\""),
    ("log-measurements", "[\"tracking\", \"peers\"]"),
    ("log-dir", "\"/var/log/llts\""),
];
/// The same for those that name a file or an address that one has to choose.
const CHOSEN: [(&str, &str); 2] = [("record", "\"/var/log/llts/exchanges.rec\""), ("metrics", "\":9124\"")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a paper with what it should be, or writes it.
fn hold(path: PathBuf, text: &str) {
    if std::env::var_os("LLTS_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        committed == text,
        "{} is not what the command line says (line {}): run LLTS_BLESS=1 cargo test --lib cli::papers",
        path.display(),
        differs.map_or(0, |line| line + 1),
    );
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn default(arg: &Arg) -> Option<String> {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn keys(run: &Command) -> Vec<&Arg> {
    configurable(run).filter(|arg| arg.get_long() != Some("config")).collect()
}

fn name(arg: &Arg) -> &str {
    arg.get_long().expect("it is configurable")
}

/// The value of an option in the example, as TOML.
fn example(arg: &Arg) -> String {
    let chosen = EXAMPLES.iter().chain(&CHOSEN).find(|(option, _)| *option == name(arg));
    match (chosen, default(arg)) {
        (Some((_, value)), _) => (*value).to_owned(),
        (None, Some(text)) if matches!(text.as_str(), "true" | "false") || text.parse::<f64>().is_ok() => text,
        (None, Some(text)) => format!("{text:?}"),
        (None, None) => panic!("--{} has no default: give src/cli/papers.rs an example of its value", name(arg)),
    }
}

fn wrapped(text: &str, prefix: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if !last.is_empty() && prefix.len() + last.chars().count() + 1 + word.chars().count() > LINE_CHARS {
            lines.push(word.to_owned());
        } else {
            let space = if last.is_empty() { "" } else { " " };
            *last += &format!("{space}{word}");
        }
    }
    lines.iter().map(|line| format!("{prefix}{line}\n")).collect()
}

fn example_file(run: &Command) -> String {
    let mut text = String::from(
        "# /etc/llts/llts.toml: options of `llts run`, one a line, named as on the command line. All of them are\n\
         # here with an example or their default; take the # away from what you need. Options on the command line and\n\
         # variables (LLTS_RATE for rate) win over this file. `llts check-config` checks it; SIGHUP (`systemctl\n\
         # reload llts`) reads it again: options marked [live] change at once, the others after a restart.\n",
    );
    for arg in keys(run) {
        let live = if LIVE_OPTIONS.contains(&name(arg)) { " [live]" } else { "" };
        text += &format!("\n{}#{} = {}\n", wrapped(&format!("{}{live}", help(arg)), "# "), name(arg), example(arg));
    }
    text
}

fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn config_page(run: &Command) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(
        ".TH llts.toml 5 \"\" \"llts {version}\" \"llts manual\"\n\
         .SH NAME\nllts.toml \\- configuration file of llts(8)\n\
         .SH DESCRIPTION\n\
         A TOML file with the options of\n.BR llts\\-run (8),\none a line, named as on the command line without the \
         two dashes. Spans of time and rates are texts with a unit (\"100ms\", \"20ppm\"), flags are true or \
         false,\n.I peers\nmay be a list. A key that is unknown or given twice, or a value that cannot be read, is \
         refused with its line and column.\n.PP\n\
         What is given on the command line wins over a variable of the environment (LLTS_ and the name of the option \
         in capitals, as LLTS_LISTEN_ADDR), and that wins over the file. A flag can be taken back with \
         \\-\\-FLAG=false.\n\
         .PP\nOn SIGHUP the file is read again. If anything in it is wrong, nothing changes and the reason is logged.\n\
         .SH KEYS\n"
    );
    for arg in keys(run) {
        let live = if LIVE_OPTIONS.contains(&name(arg)) { " Changes on SIGHUP." } else { "" };
        let default = default(arg).map_or_else(String::new, |value| format!(" Default: {value}."));
        page += &format!(
            ".TP\n\\fB{}\\fR = {}\n{}\n",
            roff(name(arg)),
            roff(&example(arg)),
            roff(&format!("{}.{default}{live}", help(arg)))
        );
    }
    page += ".SH FILES\n.TP\n/etc/llts/llts.toml\nRead if it is there and no other is named with \\-\\-config.\n\
             .TP\n/etc/llts/keys\nWhere the package expects keys (key\\-file): one a line, a number from 1 to 65535, \
             then HEX: or B64: and the key, perhaps node=NAME for a key of one peer. The file belongs to root or to \
             the user that runs llts, mode 0600.\n\
             .SH WHERE FILES MAY BE WRITTEN\n\
             The packaged unit lets llts write into /run/llts, /var/lib/llts and /var/log/llts and nowhere else \
             (ProtectSystem=strict), hides /home, /root and /run/user from it (ProtectHome=yes) and gives it a /tmp \
             of its own (PrivateTmp=yes), whatever the modes of files say; llts check\\-config, run in a shell, cannot \
             see that. A record, log\\-dir, state\\-dir, runtime\\-dir, drift\\-file or socket elsewhere needs a \
             drop\\-in, made with systemctl edit llts:\n.PP\n.nf\n[Service]\nReadWritePaths=/srv/llts\n.fi\n.PP\n\
             The folder must be there when the service starts, and belong to the user llts.\n\
             .SH EXAMPLE\n.nf\nlisten\\-addr = \"[::]:4123\"\nkey\\-file = \"/etc/llts/keys\"\n\
             peers = [\"db1\", \"db2\", \"db3\"]\nclock = \"system\"\n.fi\n\
             .SH SEE ALSO\n.BR llts (8),\n.BR llts\\-run (8),\n.BR llts\\-check\\-config (8)\n";
    page
}

/// What stands below the options of a page.
fn further(page: &str) -> String {
    let standings = || {
        let word = |standing: Standing| format!(".TP\n{}\n{}\n", roff(standing.as_str()), roff(standing.reason()));
        format!(".SH STATES\n{}", Standing::ALL.map(word).concat())
    };
    match page {
        "llts-peers" | "llts-status" => further_words(page).to_owned() + &standings(),
        _ => further_words(page).to_owned(),
    }
}

fn further_words(page: &str) -> &'static str {
    match page {
        "llts" => {
            ".SH SIGNALS\n.TP\nSIGHUP\nreads the configuration and the keys again\n.TP\nSIGUSR1\nprints histograms of \
             latencies\n.TP\nSIGTERM, SIGINT\nend the daemon cleanly; a steered clock keeps its last rate\n\
             .SH EXIT STATUS\n0: done. 1: failed at run time. 2: used or configured wrongly; of waitsync: it will \
             never be reached. 3: a node has ended because it may not go on (a limit on changes of the clock, \
             on\\-conflict = refuse): look before it is started again.\n\
             .SH SIGNS AND UNITS\nAn offset is local minus the other: positive means that the local clock is ahead. \
             sigma is one standard deviation, an estimate; bound is a promise. JSON has nanoseconds and parts per \
             billion, metrics have seconds.\n\
             .SH FILES\n/etc/llts/llts.toml, /etc/llts/keys, /run/llts (sockets), /var/lib/llts (state)\n.PP\n\
             /usr/share/doc/llts: OPERATING.md (install, keys, upgrades, symptoms, taking it away), METRICS.md (what \
             every counter and metric is, and when to look at it), CONTAINERS.md, SECURITY.md, schemas of every \
             JSON\n\
             .SH SEE ALSO\n.BR llts.toml (5)\n"
        }
        "llts-peers" | "llts-status" => {
            ".SH LINES ABOVE THE COLUMNS (llts status)\n\
             .TP\nnode, state\nwhich node this is, and how far it is in agreement (see llts\\-tracking)\n\
             .TP\nclock\nsystem or virtual; offset: the clock minus cluster time; frequency: by how much its rate is \
             corrected\n\
             .TP\nerror\nof that offset: an estimate (one standard deviation), and a promise; \\- while there is \
             none\n\
             .TP\nalgorithm, hot loop\nhow agreement is found; how the thread that sends and receives waits, and its \
             core\n\
             .TP\ncard\na network card whose clock stamps packets\n\
             .TP\ncounters\nwhat has been counted since the start, but for zeros (METRICS.md explains each)\n\
             .TP\nnot found\na peer of the configuration whose name does not resolve (llts peers too)\n\
             .SH COLUMNS\n\
             .TP\nPEER, ADDRESS\nwhat the peer calls itself, and where its packets come from\n\
             .TP\nSTATE, REASON\nused, or the word and the sentence that say why its time does not count\n\
             .TP\nOFFSET\nlocal clock minus the peer's: positive means that the local clock is ahead\n\
             .TP\nDELAY\nthe shortest round trip seen lately\n\
             .TP\nSIGMA\none standard deviation of the offset: an estimate\n\
             .TP\nBOUND\nthe offset is not further from the truth than this if the peer is honest\n\
             .TP\nRX/TX\nwho stamps arrivals and departures of its packets: user, kernel or nic\n\
             .TP\nREACH\nthe last eight intervals in octal, the newest to the right; 377 is all\n"
        }
        "llts-tracking" => {
            ".SH LINES\n\
             .TP\nstate\nunset: has agreed with nobody yet; acquire: closing in; track: in agreement; holdover: has \
             lost those it agreed with\n\
             .TP\nclock\nsystem or virtual; corrected by: what its rate is changed by, positive makes it run faster\n\
             .TP\noffset\nthe clock minus cluster time\n\
             .TP\nsigma, bound\nan estimate (one standard deviation), and a promise: no clock of the agreement is \
             further away\n\
             .TP\nskew\nthe largest distance between any two clocks among this one and those of the peers used, as \
             this node measures them\n\
             .TP\nfurthest\nthe peer used with the largest offset\n\
             .TP\ndelay\nthe shortest and the longest round trip to the peers used\n"
        }
        "llts-top" => {
            ".SH KEYS\n\
             .TP\nup, down, page up, page down, Home, End\nchoose a peer (also k, j, g and G)\n\
             .TP\nEnter\na closer look at the chosen peer, and back\n\
             .TP\nn, s, o, b, d\norder by name, state, offset, bound or delay; the same key again turns the order \
             round\n\
             .TP\nm\nhow far every two clocks are apart, row minus column, and back\n\
             .TP\nl\nlatencies: percentiles of what takes time since the node was started, and back\n\
             .TP\ne\nwhat has happened, the newest first, and back\n\
             .TP\np, space\neverything stands still, or goes on; nothing is lost meanwhile\n\
             .TP\n?, h\nhelp\n\
             .TP\nq, Esc\nback, or quit; Ctrl\\-C quits at once\n\
             .SH ENVIRONMENT\n.TP\nNO_COLOR\nif it is set and not empty, there are no colours\n\
             .SH EXIT STATUS\n0: somebody quit. 1: no daemon answers. 2: standard input or output is no terminal. 128 \
             and its number: a signal ended it.\n"
        }
        "llts-waitsync" => {
            ".SH EXIT STATUS\n0: the node promises the bound. 1: not within the time. 2: it never will: no daemon \
             runs, it is an observer, or its clock is virtual and \\-\\-accept\\-virtual is not given. A daemon that \
             stops answering while it is waited for may be starting again, and is waited for.\n"
        }
        _ => "",
    }
}

#[test]
fn the_man_pages_say_what_the_command_line_says() {
    let folder = root().join("packaging/man");
    let mut llts = args::command().disable_help_subcommand(true);
    llts.build();
    let commands = llts.get_subcommands().filter(|command| !command.is_hide_set());
    let mut expected = vec!["llts.toml.5".to_owned()];
    for command in commands.chain([&llts]) {
        let title = command.get_display_name().unwrap_or("llts").to_owned();
        let man = Man::new(command.clone()).title(&title).section("8").date("").manual("llts manual");
        let mut page = Vec::new();
        man.source(format!("llts {}", env!("CARGO_PKG_VERSION"))).render(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap() + &further(&title);
        hold(folder.join(format!("{title}.8")), &page);
        expected.push(format!("{title}.8"));
    }
    let run = args::command().find_subcommand("run").unwrap().clone();
    hold(folder.join("llts.toml.5"), &config_page(&run));
    expected.sort();
    let mut present: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    present.sort();
    assert_eq!(present, expected, "a page for every command, and no other");
}

#[test]
fn the_completions_know_every_command() {
    for (shell, file) in [(Shell::Bash, "llts.bash"), (Shell::Zsh, "_llts"), (Shell::Fish, "llts.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut args::command(), "llts", &mut script);
        hold(root().join("packaging/completions").join(file), &String::from_utf8(script).unwrap());
    }
}

#[test]
fn the_example_file_holds_every_option_with_a_value_that_is_taken() {
    let run = args::command().find_subcommand("run").unwrap().clone();
    let path = root().join("docs/llts.example.toml");
    hold(path.clone(), &example_file(&run));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = || text.lines().filter(|line| line.starts_with('#') && !line.starts_with("# "));
    let said: Vec<&str> = lines().map(|line| line[1..].split_once(" = ").unwrap().0).collect();
    assert_eq!(said, keys(&run).into_iter().map(name).collect::<Vec<_>>());
    let read = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let words = ["llts".into(), "run".into(), "--config".into(), file.path().into()];
        args::read_around(words, &Surroundings::default())
    };
    read(&text).unwrap();
    // One by one, because some contradict each other.
    for line in lines() {
        let option = line[1..].split_once(" = ").unwrap().0;
        match read(&line[1..]) {
            Ok(args::Command::Run(args)) => assert!(args.origin.said.contains_key(option) || option == "hmac-key"),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(variable("rate") == "LLTS_RATE", "the example's preamble says so");
}

#[test]
fn the_example_of_the_man_page_is_a_configuration() {
    let text = "listen-addr = \"[::]:4123\"\nhmac-key = \"0123456789abcdef\"\npeers = [\"db1\", \"db2\", \"db3\"]\n\
                clock = \"system\"\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let words = ["llts".into(), "run".into(), "--config".into(), file.path().into()];
    let args::Command::Run(args) = args::read_around(words, &Surroundings::default()).unwrap() else { panic!() };
    let settings = run::settings_here(&args).map_err(exit::Failure::report).unwrap();
    assert_eq!(settings.peers, ["db1:4123", "db2:4123", "db3:4123"]);
}

#[test]
fn the_example_for_kubernetes_speaks_of_options_and_commands_that_exist() {
    let text = std::fs::read_to_string(root().join("docs/kubernetes/llts.yaml")).unwrap();
    let run = args::command().find_subcommand("run").unwrap().clone();
    let known: Vec<String> = keys(&run).into_iter().map(|arg| variable(name(arg))).collect();
    let mut words = vec!["llts".to_owned(), "run".to_owned()];
    let mut given = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(rest) = line.split("name: ").nth(1).filter(|rest| rest.starts_with("LLTS_")) {
            let option = rest.split([',', ' ']).next().unwrap();
            assert!(known.iter().any(|known| known == option), "{option} is no option");
            if let Some(value) = rest.split("value: \"").nth(1) {
                let long = option["LLTS_".len()..].to_lowercase().replace('_', "-");
                words.push(format!("--{long}={}", value.split('"').next().unwrap()));
            }
            given += 1;
        }
        if let Some(command) = line.split("command: [").nth(1) {
            let words = command.split('"').skip(1).step_by(2);
            args::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            given += 1;
        }
    }
    args::command().try_get_matches_from(words).unwrap();
    assert!(given >= 9, "{given} options and commands were found");
}

#[test]
fn every_command_that_prints_json_has_a_schema_and_there_is_no_other() {
    let command = args::command();
    let prints = |command: &&Command| command.get_arguments().any(|arg| arg.get_long() == Some("json"));
    let mut names: Vec<&str> = command.get_subcommands().filter(prints).map(Command::get_name).collect();
    // Of the list it is another object than of a run.
    names.push("sim-list");
    names.sort_unstable();
    let folder = root().join("docs/schema");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut schemas: Vec<String> =
        files.filter_map(|name| name.strip_suffix(".schema.json").map(str::to_owned)).collect();
    schemas.sort_unstable();
    assert_eq!(schemas, names);
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for name in names {
        assert!(index.contains(&format!("[{name}]({name}.schema.json)")), "docs/schema/README.md does not list {name}");
    }
}

#[test]
fn flags_of_run_are_single_words_or_take_true_and_false() {
    let run = args::command().find_subcommand("run").unwrap().clone();
    assert!(keys(&run).iter().all(|arg| !matches!(arg.get_action(), ArgAction::SetTrue)), "see layers::open_flag");
}

#[test]
fn every_llts_command_in_the_papers_is_understood() {
    let mut understood = 0;
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let papers = ["README.md", "CONTRIBUTING.md"].map(|paper| root().join(paper));
    for paper in papers.into_iter().chain(docs).filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(&paper).unwrap();
        let paper = paper.display();
        let blocks = text.split("```").skip(1).step_by(2);
        for line in blocks.flat_map(str::lines) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(start) = words.iter().take(4).position(|word| *word == "llts") else { continue };
            if words[..start].iter().any(|word| !matches!(*word, "runuser" | "-u" | "llts" | "--")) {
                continue;
            }
            let start = words.iter().take(5).rposition(|word| *word == "llts").unwrap_or(start);
            let words = words[start..].iter().take_while(|word| **word != "#");
            let words = words.map(|word| word.trim_matches('\''));
            args::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{paper}: {line}: {error}"));
            understood += 1;
        }
    }
    assert!(understood > 40, "{understood} commands were found");
}
