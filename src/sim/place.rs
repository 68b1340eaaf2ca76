//! Where in the text of a scenario something stands: keys, and mistakes that the reader of TOML knows only roughly.
//! Judges nothing.

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::fault::{Attack, Event};

/// The line, from 1, on which the byte `at` of `text` stands.
#[must_use]
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where the key (dotted, lists counted from 0), or as much of it as is written, stands in `text`.
#[must_use]
pub fn key_at(text: &str, key: &str) -> Option<usize> {
    places(text, key).last().map(|(key_at, _)| *key_at)
}

/// Where each part of the key, and where its value stands, as far as they are written.
fn places(text: &str, key: &str) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let Ok(table) = DeTable::parse(text) else { return places };
    let (mut table, mut list) = (Some(table.get_ref()), None);
    for part in key.split('.') {
        let value = match (table, list) {
            (Some(entries), _) => {
                let Some((name, value)) = entries.iter().find(|(name, _)| name.get_ref() == part) else { break };
                places.push((name.span().start, value.span().start));
                value.get_ref()
            }
            (None, Some(values)) => {
                let values: &toml::de::DeArray<'_> = values;
                let Some(value) = part.parse::<usize>().ok().and_then(|n| values.get(n)) else { break };
                places.push((value.span().start, value.span().start));
                value.get_ref()
            }
            (None, None) => break,
        };
        (table, list) = match value {
            DeValue::Table(entries) => (Some(entries), None),
            DeValue::Array(values) => (None, Some(values)),
            _ => (None, None),
        };
    }
    places
}

/// Where the mistake stands that `says` so and that the reader saw at `at`. Of tables in which `kind` decides what else
/// may be there, events and attacks, it knows only where they begin; there the key is sought with which alone, beside
/// the kind, the same is wrong. What is missing stands nowhere, and is told at the beginning.
#[must_use]
pub fn mistake_at(text: &str, at: usize, says: &str) -> usize {
    let Ok(whole) = text.parse::<Table>() else { return at };
    let listed = |name: &str| whole.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let events = listed("event").iter().enumerate().map(|(n, event)| (format!("event.{n}"), event));
    let liars = listed("liar").iter().enumerate();
    let attacks = liars.filter_map(|(n, liar)| Some((format!("liar.{n}.attack"), liar.get("attack")?)));
    let fault = |key: &str, value: Value| {
        let error =
            if key.starts_with("event") { Event::deserialize(value).err() } else { Attack::deserialize(value).err() };
        error.map(|error| error.message().to_owned())
    };
    // What is seen is where the entry begins, or the whole list: the first entry that cannot be read is meant.
    let may_be = |key: &str| places(text, key).iter().any(|(_, value_at)| *value_at == at);
    let mut entries = events.chain(attacks).filter(|(key, _)| may_be(key));
    let Some((key, entry)) = entries.find(|(key, entry)| fault(key, (*entry).clone()).is_some()) else { return at };
    let names = entry.as_table().into_iter().flat_map(Table::keys).map(String::as_str);
    let wrong = |with: &&str| {
        let few = entry.as_table().into_iter().flatten().filter(|(name, _)| *name == "kind" || name == with);
        fault(&key, Value::Table(few.map(|(name, value)| (name.clone(), value.clone())).collect())).as_deref()
            == Some(says)
    };
    let is_missing = says.starts_with("missing field");
    let name = ["kind"].into_iter().chain(names).find(|name| !is_missing && wrong(name));
    match name {
        Some(name) => key_at(text, &format!("{key}.{name}")).unwrap_or(at),
        None => places(text, &key).last().map_or(at, |(_, value_at)| *value_at),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    #[test]
    fn the_line_of_a_key_is_found_in_tables_lists_and_inline_tables() {
        let text = "a = 1\n[b]\nc = { d = 2 }\n[[e]]\nf = 3\n[[e]]\nf = [4,\n 5]\n";
        let line = |key: &str| key_at(text, key).map(|at| line_of(text, at));
        assert_eq!(
            ["a", "b.c.d", "e.0.f", "e.1.f.1", "b.x", "x"].map(line),
            [1, 3, 5, 8, 2, 0].map(|n| (n > 0).then_some(n))
        );
    }

    #[test]
    fn a_mistake_in_an_entry_of_a_list_is_told_with_the_line_of_its_own_key() {
        let crash = "[[event]]\nkind = 'crash'\nat = '1s'\nnodes = [0]\n";
        let liar = "[[liar]]\nnodes = [0]\nfrom = '5s'\n";
        for (more, told) in [
            (format!("{crash}speed = 3\n"), "line 7: unknown field `speed`"),
            // Of two mistakes the one that is told; and the key that is right stands elsewhere with the same name.
            (format!("{crash}\n{crash}sped = 3\nspeed = 4\n"), "line 12: unknown field `sped`"),
            ("[[event]]\nat = '1s'\nnodes = [0]\nkind = 'quake'\n".into(), "line 6: unknown variant `quake`"),
            ("[[event]]\nkind = 'crash'\nnodes = [0]\nat = '1'\n".into(), "line 6: '1' is not a span of time"),
            ("[[event]]\nkind = 'crash'\nat = '1s'\nnodes = 0\n".into(), "line 6: invalid type: integer `0`"),
            ("[[event]]\nkind = 'crash'\nnodes = [0]\n".into(), "line 3: missing field `at`"),
            ("[[event]]\nnodes = [0]\nat = '1s'\n".into(), "line 3: missing field `kind`"),
            (format!("{crash}[[event]]\nkind = 'crash'\nnodes = [0]\n"), "line 7: missing field `at`"),
            (format!("{liar}attack = {{ kind = 'echo' }}\n{liar}attack = {{ kind = 'ech' }}\n"), "line 10: unknown"),
            (format!("{liar}fro = '5s'\nattack = {{ kind = 'echo' }}\n"), "line 6: unknown field `fro`"),
            (format!("{liar}[liar.attack]\nkind = 'edge'\nampl = '1us'\n"), "line 8: unknown field `ampl`"),
            (format!("{liar}[liar.attack]\namplitude = '1'\nkind = 'edge'\n"), "line 7: '1' is not a span"),
            (format!("{liar}attack = {{ kind = 'edge', ampl = '1us' }}\n"), "line 6: unknown field `ampl`"),
            ("[[node]]\nnodes = [0]\nrole = 'peer'\nrol = 'peer'\n".into(), "line 6: unknown field `rol`"),
            ("[[node]]\nnodes = [0]\n[node.clock]\noffest = '1s'\n".into(), "line 6: unknown field `offest`"),
            ("[[edge]]\nof = [0]\nlink = {}\nfoo = 1\n".into(), "line 6: unknown field `foo`"),
        ] {
            let said = Scenario::parse("test", &format!("summary = 'x'\nduration = '9s'\n{more}")).unwrap_err();
            assert!(said.starts_with(&format!("scenario test: {told}")), "{more}{said}");
        }
    }
}
