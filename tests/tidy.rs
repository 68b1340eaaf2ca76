//! The house rules as a test: what docs/ARCHITECTURE.md draws and docs/STYLE.md asks, held on every run. The map of
//! imports is read from docs/ARCHITECTURE.md itself, so that there is one truth. Every rule carries the breaks that
//! make it fail, and is shown to fail on each: a rule that cannot fail does not get in. What rustfmt and clippy hold
//! is not held here again.

#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/rules_of_code.rs"]
mod rules_of_code;
#[path = "tidy/rules_of_paper.rs"]
mod rules_of_paper;
#[path = "tidy/source.rs"]
mod source;

use std::path::Path;

use house::House;

/// One rule of the house.
struct Rule {
    /// The rule as a sentence.
    says: &'static str,
    /// Every fault of a house, each with its place.
    check: fn(&House) -> Vec<String>,
    /// Ways to break the rule in the model house; each must be found, once, at its place.
    breaks: &'static [Break],
}

/// A change to the model house that breaks exactly one rule once, and what the fault must name.
enum Break {
    /// A file put in, or in the place of another: path, text, fault.
    Put(&'static str, &'static str, &'static str),
    /// Words of a file replaced by others: path, words, others, fault.
    Swap(&'static str, &'static str, &'static str, &'static str),
    /// A file that is gone: path, fault.
    Gone(&'static str, &'static str),
    /// A file of so many lines: path, lines, fault.
    Long(&'static str, usize, &'static str),
}

impl Break {
    fn of(&self, model: &House) -> (House, &'static str) {
        match *self {
            Break::Put(path, text, fault) => (model.with(path, text), fault),
            Break::Gone(path, fault) => (model.without(path), fault),
            Break::Long(path, lines, fault) => (model.with(path, &"//! x\n".repeat(lines)), fault),
            Break::Swap(path, words, others, fault) => {
                let text = model.text(path);
                assert!(text.contains(words), "{path} of the model house does not contain {words:?}");
                (model.with(path, &text.replacen(words, others, 1)), fault)
            }
        }
    }
}

fn rules() -> impl Iterator<Item = &'static Rule> {
    rules_of_code::RULES.iter().chain(&rules_of_paper::RULES)
}

#[test]
fn this_house_keeps_every_rule() {
    let house = House::at(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut told = String::new();
    for rule in rules() {
        let faults = (rule.check)(&house);
        if !faults.is_empty() {
            told += &format!("\n{}:\n  {}\n", rule.says, faults.join("\n  "));
        }
    }
    assert!(told.is_empty(), "the house is not tidy\n{told}");
}

#[test]
fn the_model_house_keeps_every_rule() {
    for rule in rules() {
        assert_eq!((rule.check)(&House::model()), [""; 0], "{}", rule.says);
    }
}

#[test]
fn every_rule_fails_on_each_of_its_breaks_once_and_names_the_place() {
    let model = House::model();
    for rule in rules() {
        assert!(!rule.breaks.is_empty(), "nothing shows that this rule can fail: {}", rule.says);
        for example in rule.breaks {
            let (broken, place) = example.of(&model);
            let faults = (rule.check)(&broken);
            assert_eq!(faults.len(), 1, "{}\nshould be broken once at {place}, but finds {faults:#?}", rule.says);
            assert!(faults[0].contains(place), "{}\nshould name {place}, but says {}", rule.says, faults[0]);
        }
    }
}

#[test]
fn a_file_and_a_line_at_the_limit_are_still_allowed() {
    let line = format!("//! {}\n", "x".repeat(116));
    let house = House::model().with("src/limits.rs", &line.repeat(600));
    for rule in rules() {
        assert_eq!((rule.check)(&house), [""; 0], "{}", rule.says);
    }
}
