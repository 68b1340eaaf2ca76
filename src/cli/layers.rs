//! Where the options of `run` come from when they are not on the command line: the environment, then the configuration
//! file. Both are turned into words of the command line, so that an option exists in all three places or in none, and
//! is read and refused by the same parser everywhere. Whatever is said earlier in the order command line, environment,
//! file wins over what is said later, and over whatever contradicts it there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::de::{DeTable, DeValue};

use super::args;
use super::exit::Failure;

/// The file that is read when none is named, if it is there.
pub(super) const DEFAULT_FILE: &str = "/etc/llts/llts.toml";
/// The longest configuration file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a command line stands in.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// Variables of the environment that begin with `LLTS_`.
    variables: BTreeMap<String, String>,
    /// The file to read when none is named.
    default_file: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn here() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with("LLTS_"))?;
            // What is no text is no value either: the parser quotes it when it refuses it.
            Some((name, value.to_string_lossy().into_owned()))
        });
        Surroundings { variables: variables.collect(), default_file: Some(DEFAULT_FILE.into()) }
    }

    /// A machine whose configuration is this file, and without variables.
    #[cfg(test)]
    pub fn with_file(file: &Path) -> Self {
        Surroundings { variables: BTreeMap::new(), default_file: Some(file.into()) }
    }
}

/// The words with which a node was started and what they stood in: enough to read all of it again.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    words: Vec<OsString>,
    around: Surroundings,
    /// Every option's value as it was written, by its name; secrets are left out.
    pub said: BTreeMap<String, String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The cluster's key itself stands on the command line, where `ps` shows it.
    pub key_is_public: bool,
}

impl Origin {
    /// Reads everything again, as at the start.
    ///
    /// # Errors
    /// As at the start.
    pub fn reread(&self) -> Result<args::RunArgs, Failure> {
        match args::read_around(self.words.clone(), &self.around)? {
            args::Command::Run(args) => Ok(*args),
            other => unreachable!("these words meant `run` before and mean {other:?} now"),
        }
    }
}

/// The options of `run` that the environment and the file can give too: all but the hidden ones.
pub(super) fn configurable(run: &Command) -> impl Iterator<Item = &Arg> {
    run.get_arguments().filter(|arg| arg.get_long().is_some_and(|name| name != "help") && !arg.is_hide_set())
}

/// A flag as an option that may also be given as `--flag=false`, so that a command line can take back what a file says.
pub(super) fn open_flag(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .value_name("BOOL")
        .value_parser(clap::value_parser!(bool))
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
}

/// True if `arg` may stand several times, so that a file may give it a list.
fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The variable that gives the option of this name.
pub(super) fn variable(option: &str) -> String {
    format!("LLTS_{}", option.to_uppercase().replace('-', "_"))
}

/// The words of `run` with those of the environment and the file put in, and where all of it came from. `given` is what
/// the words alone say.
///
/// # Errors
/// One sentence that begins with the place: the variable, or file, line and column.
pub(super) fn complete(
    words: &[OsString],
    given: &ArgMatches,
    run: &Command,
    around: &Surroundings,
) -> Result<(Vec<OsString>, Origin), Failure> {
    let mut said: Vec<&Arg> = configurable(run).filter(|arg| is_said(arg, given)).collect();
    let beaten = |arg: &Arg, said: &[&Arg]| said.iter().any(|other| excludes(run, arg, other));
    let mut found = Vec::new();
    let mut from_variables = Vec::new();
    for arg in configurable(run) {
        let name = arg.get_long().expect("it is configurable");
        let variable = variable(name);
        let Some(value) = around.variables.get(&variable).filter(|value| !value.is_empty()) else { continue };
        let word = format!("--{name}={value}");
        stands_alone(run, &word).map_err(|fault| Failure::Usage(format!("{variable} is wrong: {fault}")))?;
        if !beaten(arg, &said) {
            found.push(word);
            from_variables.push(arg);
        }
    }
    said.extend(from_variables);

    let named = || {
        let of_words = given.get_one::<PathBuf>("config").cloned();
        of_words.or_else(|| around.variables.get(&variable("config")).map(PathBuf::from))
    };
    let file = match named() {
        Some(path) => Some(path),
        None => around.default_file.clone().filter(|path| path.exists()),
    };
    if let Some(path) = &file {
        for (arg, word) in words_of_file(path, run)? {
            if !beaten(arg, &said) {
                found.push(word);
            }
        }
    }
    let key_is_public =
        is_said(run.get_arguments().find(|arg| arg.get_id() == "hmac_key").unwrap_or(&Arg::new("")), given);
    let origin = Origin { words: words.to_vec(), around: around.clone(), said: BTreeMap::new(), file, key_is_public };
    // Behind the program's name and, where it stands, the word `run`.
    let start = if words.get(1).is_some_and(|word| word == "run") { 2 } else { 1 };
    let mut all: Vec<OsString> = words[..start.min(words.len())].to_vec();
    all.extend(found.into_iter().map(OsString::from));
    all.extend_from_slice(&words[start.min(words.len())..]);
    Ok((all, origin))
}

/// Every option's value as it was written, or its default; secrets are left out.
pub(super) fn values(matches: &ArgMatches, run: &Command) -> BTreeMap<String, String> {
    let value = |arg: &Arg| {
        let raw = matches.try_get_raw(arg.get_id().as_str()).ok().flatten();
        let texts: Vec<String> = raw.into_iter().flatten().map(|text| text.to_string_lossy().into_owned()).collect();
        texts.join(",")
    };
    let open = configurable(run).filter(|arg| !matches!(arg.get_id().as_str(), "hmac_key" | "config"));
    open.map(|arg| (arg.get_long().expect("it is configurable").to_owned(), value(arg))).collect()
}

fn is_said(arg: &Arg, given: &ArgMatches) -> bool {
    let id = arg.get_id().as_str();
    given.try_contains_id(id).is_ok() && given.value_source(id) == Some(ValueSource::CommandLine)
}

/// True if `arg` has no say once `other` is given: they are one, or contradict each other.
fn excludes(run: &Command, arg: &Arg, other: &Arg) -> bool {
    let lists = |one: &Arg, two: &Arg| run.get_arg_conflicts_with(one).iter().any(|a| a.get_id() == two.get_id());
    arg.get_id() == other.get_id() || lists(arg, other) || lists(other, arg)
}

/// Whether the parser takes `word` for what it says; what it needs beside it is seen when all words are read together.
fn stands_alone(run: &Command, word: &str) -> Result<(), String> {
    match run.clone().no_binary_name(true).try_get_matches_from([word]) {
        Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => Err(args::sentence(&error)),
        _ => Ok(()),
    }
}

/// The words that the file `path` stands for, each with its option.
fn words_of_file<'a>(path: &Path, run: &'a Command) -> Result<Vec<(&'a Arg, String)>, Failure> {
    let unreadable =
        |reason: String| Failure::Usage(format!("cannot read the configuration file {}: {reason}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mode = file.metadata().map_err(|error| unreadable(error.to_string()))?.permissions().mode();
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    let words = words_of(&text, run).map_err(|(at, fault)| {
        let (line, column) = place(&text, at);
        Failure::Usage(format!("{}:{line}:{column}: {fault}", path.display()))
    })?;
    if mode & 0o077 != 0 && words.iter().any(|(arg, _)| arg.get_id() == "hmac_key") {
        return Err(Failure::Usage(format!(
            "{} holds the key itself (hmac-key) and is open to other users: put the key into a file of its own \
             (key-file), or run `chmod 600 {}`",
            path.display(),
            path.display()
        )));
    }
    Ok(words)
}

/// The words that a file's text stands for; a fault comes with its place in the text, in bytes.
fn words_of<'a>(text: &str, run: &'a Command) -> Result<Vec<(&'a Arg, String)>, (usize, String)> {
    let table =
        DeTable::parse(text).map_err(|error| (error.span().map_or(0, |span| span.start), one_line(error.message())))?;
    let mut words = Vec::new();
    // In the order of the file, so that the first fault is told first.
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let at = |fault: String| (key.span().start, fault);
        let name = key.get_ref().as_ref();
        let arg = configurable(run).find(|arg| arg.get_long() == Some(name));
        let arg = arg.filter(|_| name != "config").ok_or_else(|| at(unknown(name, run)))?;
        let of_value = |fault: String| (value.span().start, fault);
        for text in texts(value.get_ref(), arg).map_err(|fault| of_value(format!("{name}: {fault}")))? {
            let word = format!("--{name}={text}");
            stands_alone(run, &word).map_err(of_value)?;
            words.push((arg, word));
        }
    }
    Ok(words)
}

/// The values that stand for one entry.
fn texts(value: &DeValue<'_>, arg: &Arg) -> Result<Vec<String>, String> {
    match value {
        DeValue::String(text) if text.is_empty() => Err("is empty: leave the line out to keep the default".into()),
        DeValue::String(text) => Ok(vec![text.to_string()]),
        // With its radix it would not be read as a number later.
        DeValue::Integer(number) if number.radix() == 10 => Ok(vec![number.as_str().to_owned()]),
        DeValue::Integer(number) => Err(format!("write the number {} with decimal digits", number.as_str())),
        DeValue::Float(number) => Ok(vec![number.as_str().to_owned()]),
        DeValue::Boolean(answer) => Ok(vec![answer.to_string()]),
        DeValue::Array(list) if is_list(arg) => {
            let entries = list.iter().map(|entry| match entry.get_ref() {
                DeValue::Array(_) => Err("has a list in its list: write [\"one\", \"two\"]".into()),
                value => texts(value, arg),
            });
            entries.collect::<Result<Vec<_>, _>>().map(|texts| texts.concat())
        }
        DeValue::Array(_) => Err("takes one value, not a list".into()),
        DeValue::Datetime(_) | DeValue::Table(_) => Err("takes a text in quotes, a number, or true or false".into()),
    }
}

fn unknown(name: &str, run: &Command) -> String {
    if name == "config" {
        return "a configuration file cannot name another one: remove `config`".into();
    }
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let written = plain(name);
    let names = configurable(run).filter_map(Arg::get_long).filter(|known| *known != "config");
    let nearest = names.map(|known| (distance(&written, known), known)).min();
    match nearest {
        Some((far, known)) if far <= known.len().div_ceil(3) => {
            format!("unknown key `{}`, did you mean `{known}`?", one_line(name))
        }
        _ => format!("unknown key `{}` (`llts run --help` lists every option)", one_line(name)),
    }
}

/// How many letters must be put in, taken out or replaced to make one word of the other (Levenshtein 1966).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let cost = (diagonal + usize::from(a != *b)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[other.len()]
}

/// Line and column of a place in a text, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let end = (0..=at.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_command() -> Command {
        args::command().find_subcommand("run").unwrap().clone()
    }

    fn file_words(text: &str) -> Result<Vec<String>, String> {
        let run = run_command();
        words_of(text, &run).map(|words| words.into_iter().map(|(_, word)| word).collect()).map_err(|(at, fault)| {
            let (line, column) = place(text, at);
            format!("{line}:{column}: {fault}")
        })
    }

    fn around(variables: &[(&str, &str)]) -> Surroundings {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Surroundings { variables: variables.iter().map(own).collect(), default_file: None }
    }

    fn read(line: &str, around: &Surroundings) -> Result<args::RunArgs, String> {
        match args::read_around(line.split_whitespace().map(OsString::from), around) {
            Ok(args::Command::Run(args)) => Ok(*args),
            Err(Failure::Usage(sentence)) => Err(sentence),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn with_file(text: &str, line: &str, variables: &[(&str, &str)]) -> Result<args::RunArgs, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        read(&format!("{line} --config {}", file.path().display()), &around(variables))
    }

    #[test]
    fn every_kind_of_value_becomes_the_word_that_says_the_same() {
        let text = "# a comment\nrate = 16\nvirtual-drift = \"-20ppm\"\nno-discovery = true\nmlock = false\n\
                    peers = [\"a:1\", \"b:2,c:3\"]\n";
        assert_eq!(
            file_words(text).unwrap(),
            [
                "--rate=16",
                "--virtual-drift=-20ppm",
                "--no-discovery=true",
                "--mlock=false",
                "--peers=a:1",
                "--peers=b:2,c:3"
            ]
        );
        assert_eq!(file_words("rate = 0.5\npeers = \"a:1\"").unwrap(), ["--rate=0.5", "--peers=a:1"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column_and_what_was_probably_meant() {
        for (text, fault) in [
            ("rate = 8\nprot = 4123\n", "2:1: unknown key `prot`, did you mean `port`?"),
            ("  listen_addr = \":1\"\n", "1:3: unknown key `listen_addr`, did you mean `listen-addr`?"),
            ("Rate = 8\n", "1:1: unknown key `Rate`, did you mean `rate`?"),
            ("frobnicate = 1\n", "1:1: unknown key `frobnicate` (`llts run --help` lists every option)"),
            ("[peers]\na = 1\n", "1:1: peers: takes a text in quotes"),
            ("[servers]\na = 1\n", "1:2: unknown key `servers`"),
            ("config = \"x\"\n", "1:1: a configuration file cannot name another one"),
            ("end-with-parent = 1\n", "1:1: unknown key `end-with-parent`"),
            ("help = true\n", "1:1: unknown key `help`"),
            ("rate = 8\nport = 70000\n", "2:8: invalid value '70000' for '--port <N>'"),
            ("rate = \"fast\"\n", "1:8: invalid value 'fast' for '--rate <HZ>'"),
            ("rate = true\n", "1:8: invalid value 'true'"),
            ("mlock = \"yes\"\n", "1:9: invalid value 'yes'"),
            ("port = 0x10\n", "1:8: port: write the number 10 with decimal digits"),
            ("port = [1, 2]\n", "1:8: port: takes one value, not a list"),
            ("peers = [[\"a\"]]\n", "1:9: peers: has a list in its list"),
            ("peers = \"\"\n", "1:9: peers: is empty"),
            ("port = 1979-05-27\n", "1:8: port: takes a text"),
            ("port = 1\nport = 2\n", "2:1: duplicate key"),
            ("rate = \n", "1:8: "),
            ("név = 1\n", "1:2: "),
            ("\"na\\nme\" = 1\nrate = 3\n", "1:1: unknown key `na me`, did you mean `name`?"),
        ] {
            let told = file_words(text).unwrap_err();
            assert!(told.starts_with(fault), "{text:?}: {told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
        let text = "port = 1\nrate = 1\nrounds = 1\npeers = [\"a:1\"]\nmlock = true\nno-discovery = true\n";
        let variables = [("LLTS_PORT", "2"), ("LLTS_RATE", "2"), ("LLTS_NO_DISCOVERY", "false"), ("LLTS_OTHER", "x")];
        let args = with_file(text, "llts run --port 3 --peers b:2 --mlock=false", &variables).unwrap();
        assert_eq!((args.port, args.rate, args.rounds), (Some(3), 2.0, 1));
        assert_eq!((args.peers.as_slice(), args.mlock, args.no_discovery), (&["b:2".to_owned()][..], false, false));
        let args = with_file(text, "llts", &variables).unwrap();
        assert_eq!((args.port, args.mlock), (Some(2), true), "bare options mean `run`");
    }

    #[test]
    fn what_is_said_earlier_also_wins_over_what_contradicts_it() {
        let args = with_file("key-file = \"/a\"\n", "llts run --hmac-key 0123456789abcdef", &[]).unwrap();
        assert_eq!((args.key_file, args.hmac_key.as_deref()), (None, Some("0123456789abcdef")));
        let args = with_file("key-file = \"/a\"\n", "llts run", &[("LLTS_HMAC_KEY", "0123456789abcdef")]).unwrap();
        assert_eq!((args.key_file, args.hmac_key.as_deref()), (None, Some("0123456789abcdef")));
        assert!(!args.origin.key_is_public);
        let both = with_file("key-file = \"/a\"\nhmac-key = \"0123456789abcdef\"\n", "llts run", &[]);
        assert!(both.unwrap_err().contains("holds the key itself"), "the file is open to others");
    }

    #[test]
    fn a_variable_is_read_like_its_option_and_named_when_it_is_wrong() {
        let args = read("llts", &around(&[("LLTS_LISTEN_ADDR", ":4123"), ("LLTS_NAME", "")])).unwrap();
        assert_eq!((args.listen_addr.unwrap().port, args.name), (Some(4123), None), "an empty one is none");
        // What Kubernetes and Docker put into a container beside a service called llts.
        let fault = read("llts", &around(&[("LLTS_PORT", "tcp://10.0.0.1:4123")])).unwrap_err();
        assert!(fault.starts_with("LLTS_PORT is wrong: invalid value 'tcp://10.0.0.1:4123'"), "{fault}");
    }

    #[test]
    fn a_file_that_is_named_must_be_there_and_the_usual_one_need_not() {
        let fault = read("llts --config /nonexistent/llts.toml", &Surroundings::default()).unwrap_err();
        assert!(fault.starts_with("cannot read the configuration file /nonexistent/llts.toml: No such"), "{fault}");
        let usual = Surroundings { default_file: Some("/nonexistent/llts.toml".into()), ..Surroundings::default() };
        assert_eq!(read("llts", &usual).unwrap().origin.file, None);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "port = 77\n").unwrap();
        let usual = Surroundings { default_file: Some(file.path().into()), ..Surroundings::default() };
        assert_eq!(read("llts", &usual).unwrap().port, Some(77));
        assert_eq!(read("llts --config /dev/null", &usual).unwrap().port, None);
        let named = around(&[("LLTS_CONFIG", file.path().to_str().unwrap())]);
        assert_eq!(read("llts", &named).unwrap().port, Some(77));
    }

    #[test]
    fn every_option_of_run_is_a_key_of_the_file_and_a_variable() {
        let run = run_command();
        let names: Vec<&str> = configurable(&run).filter_map(Arg::get_long).collect();
        assert!(names.len() > 25 && names.contains(&"peers") && names.contains(&"record"), "{names:?}");
        for name in names.into_iter().filter(|name| *name != "config") {
            // Whatever is wrong with this value, the key itself is known.
            if let Err(fault) = file_words(&format!("{name} = \"?\"\n")) {
                assert!(!fault.contains("unknown key"), "{name}: {fault}");
            }
        }
        assert_eq!(variable("no-discovery"), "LLTS_NO_DISCOVERY");
    }

    #[test]
    fn what_was_said_can_be_told_without_its_secrets() {
        let args = read("llts --port 5 --hmac-key 0123456789abcdef --peers a:1 --peers b:2", &around(&[])).unwrap();
        let said = &args.origin.said;
        assert_eq!((said["port"].as_str(), said["peers"].as_str(), said["rate"].as_str()), ("5", "a:1,b:2", "8"));
        assert!(!said.values().any(|value| value.contains("0123")), "{said:?}");
        assert!(args.origin.key_is_public);
    }
}
