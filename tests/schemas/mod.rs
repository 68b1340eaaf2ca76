//! The schemas of docs/schema, and whether a document is what one of them promises.
#![allow(dead_code)] // each test binary uses its own part of this

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Where `document` is not what `schema` says (the words of JSON Schema 2020-12 that ours use); a word that is not
/// known here is a fault too, so that no promise goes unchecked.
pub fn faults(root: &Value, schema: &Value, document: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        let fault = |what: String| vec![format!("{at}: {what}")];
        found.extend(match word.as_str() {
            "$schema" | "title" | "description" | "$defs" => vec![],
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                faults(root, &root["$defs"][name], document, at)
            }
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "object" => document.is_object(),
                    "array" => document.is_array(),
                    "string" => document.is_string(),
                    "number" => document.is_number(),
                    "boolean" => document.is_boolean(),
                    "integer" => document.is_u64() || document.is_i64(),
                    "null" => document.is_null(),
                    other => panic!("no such type: {other}"),
                };
                let fits = rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is));
                if fits { vec![] } else { fault(format!("{document} is not of type {rule}")) }
            }
            "anyOf" => {
                let of = |rule| faults(root, rule, document, at);
                let each: Vec<Vec<String>> = rule.as_array().unwrap().iter().map(of).collect();
                if each.iter().any(Vec::is_empty) { vec![] } else { each.concat() }
            }
            "enum" if rule.as_array().unwrap().contains(document) => vec![],
            "enum" => fault(format!("{document} is none of {rule}")),
            "minimum" if document.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()) => vec![],
            "maximum" if document.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()) => vec![],
            "minimum" | "maximum" => fault(format!("{document} is beyond {word} {rule}")),
            "required" => {
                let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                names
                    .filter(|name| document.get(name).is_none())
                    .flat_map(|n| fault(format!("{n} is missing")))
                    .collect()
            }
            "properties" => {
                let named = rule.as_object().unwrap().iter();
                named
                    .filter_map(|(name, rule)| Some((rule, document.get(name)?, format!("{at}.{name}"))))
                    .flat_map(|(rule, value, at)| faults(root, rule, value, &at))
                    .collect()
            }
            "additionalProperties" => {
                let known = |name: &str| schema.get("properties").is_some_and(|named| named.get(name).is_some());
                let others = document.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
                match rule {
                    Value::Bool(false) => others.flat_map(|(n, _)| fault(format!("{n} is not promised"))).collect(),
                    rule => others.flat_map(|(n, v)| faults(root, rule, v, &format!("{at}.{n}"))).collect(),
                }
            }
            "items" => {
                let items = document.as_array().into_iter().flatten().enumerate();
                items.flat_map(|(n, item)| faults(root, rule, item, &format!("{at}[{n}]"))).collect()
            }
            other => fault(format!("this test does not know the word {other}")),
        });
    }
    found
}

/// One of docs/schema.
pub fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schema/{name}.schema.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Fails unless `text` is a document of this schema.
pub fn holds(name: &str, text: &str) {
    let schema = schema(name);
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
    assert_eq!(faults(&schema, &schema, &document, name), [""; 0], "{text}");
}
