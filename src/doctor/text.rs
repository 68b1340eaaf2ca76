//! Findings as text for people, and as one JSON document. Says nothing that the findings do not say.

use std::fmt::Write as _;

use serde::Serialize;

use super::judge::{Finding, Level, verdict};

/// The JSON document of `llts doctor --json`; its names do not change.
#[derive(Serialize)]
struct Document<'a> {
    verdict: Level,
    exit_code: u8,
    findings: &'a [Finding],
}

/// The findings as one line of JSON.
#[must_use]
pub fn document(findings: &[Finding]) -> String {
    let verdict = verdict(findings);
    let document = Document { verdict, exit_code: verdict.exit_code(), findings };
    serde_json::to_string(&document).expect("findings are plain data")
}

/// Several lines, the last one without its newline.
#[must_use]
pub fn report_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.level {
            Level::Good => "ok    ",
            Level::Note => "note  ",
            Level::Less => "LESS  ",
            Level::Broken => "BROKEN",
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{mark}  {:<14} {}", finding.topic, finding.says);
        for (word, sentence) in [("costs", &finding.costs), ("do", &finding.fix)] {
            if !sentence.is_empty() {
                let _infallible = writeln!(text, "{:>22} {word}: {sentence}", "");
            }
        }
    }
    let less = findings.iter().filter(|finding| finding.level == Level::Less).count();
    let things = if less == 1 { "thing" } else { "things" };
    text + &match verdict(findings) {
        Level::Good | Level::Note => "\nllts can give its best here.".to_owned(),
        Level::Less => format!("\nllts runs here, with less than it could give: {less} {things} to look at."),
        Level::Broken => "\nllts cannot run here as things are.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(level: Level) -> Finding {
        let (costs, fix) = if level > Level::Note { ("a lot", "something") } else { ("", "") };
        Finding { topic: "port", level, says: "it is so".into(), costs: costs.into(), fix: fix.into() }
    }

    #[test]
    fn the_text_says_what_is_what_it_costs_and_what_to_do() {
        let expected = "\
ok      port           it is so
LESS    port           it is so
                       costs: a lot
                       do: something

llts runs here, with less than it could give: 1 thing to look at.";
        assert_eq!(report_text(&[finding(Level::Good), finding(Level::Less)]), expected);
        assert!(report_text(&[finding(Level::Broken)]).ends_with("cannot run here as things are."));
        assert!(report_text(&[finding(Level::Note)]).ends_with("its best here."));
    }

    #[test]
    fn the_document_has_the_names_that_programs_rely_on() {
        let json: serde_json::Value = serde_json::from_str(&document(&[finding(Level::Less)])).unwrap();
        assert_eq!((json["verdict"].as_str(), json["exit_code"].as_u64()), (Some("less"), Some(1)));
        for name in ["topic", "level", "says", "costs", "fix"] {
            assert!(json["findings"][0][name].is_string(), "{name}");
        }
        let json: serde_json::Value = serde_json::from_str(&document(&[])).unwrap();
        assert_eq!((json["verdict"].as_str(), json["exit_code"].as_u64()), (Some("good"), Some(0)));
    }
}
