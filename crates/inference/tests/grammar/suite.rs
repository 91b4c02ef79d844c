//! The official test suite of JSON Schema (draft 2020-12, MIT, `suite/LICENSE`), through compiled grammars.
//!
//! What a grammar takes must be valid, always. A schema may be refused with a reason. A valid value may be refused, as
//! grammars fix more than schemas do (formats, the order of properties: all orders of up to six are tried); how many are
//! is written down in `suite/results.txt`, which may only get better.

use std::fmt::Write as _;

use lattice_inference::grammar::Grammar;
use serde_json::{Map, Value};

use super::grammars;

/// Objects of more properties are tried in their own order alone.
const ORDERED_MAX: usize = 6;

#[test]
fn nothing_invalid_is_taken() {
    let suite: Map<String, Value> =
        serde_json::from_str(include_str!("suite/draft2020-12.json")).unwrap();
    let grammars = grammars();
    let (mut table, mut wrong) = (String::new(), String::new());
    for (file, groups) in &suite {
        let (mut right, mut refused, mut narrow) = (0, 0, 0);
        for group in groups.as_array().unwrap() {
            let tests = group["tests"].as_array().unwrap();
            let grammar = Grammar::JsonSchema(group["schema"].clone());
            let compiled = match grammars.compile(&grammar) {
                Ok(compiled) => Some(compiled),
                Err(error) if error.to_string().contains("nothing satisfies it") => None,
                Err(error) => {
                    assert!(error.to_string().len() > "json_schema: ".len());
                    refused += tests.len();
                    continue;
                }
            };
            for test in tests {
                let takes = |text: &String| compiled.as_ref().unwrap().matches(text).unwrap();
                let taken = compiled.is_some() && orders(&test["data"]).iter().any(takes);
                match (taken, test["valid"] == true) {
                    (true, true) | (false, false) => right += 1,
                    (false, true) => narrow += 1,
                    (true, false) => {
                        let (group, test) = (&group["description"], &test["description"]);
                        let _ = writeln!(wrong, "{file}: {group}: {test}");
                    }
                }
            }
        }
        let _ = writeln!(
            table,
            "{file:<24} right {right:>3}  schema refused {refused:>3}  valid refused {narrow:>3}"
        );
    }
    assert_eq!(wrong, "", "taken, and invalid");
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/grammar/suite/results.txt"
    );
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        table == written,
        "the results changed; {path} should be:\n{table}"
    );
}

/// A value as JSON, with the properties of its objects in every order.
fn orders(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(orders).collect();
            let joined = all_of(&items).into_iter();
            joined
                .map(|items| format!("[{}]", items.join(",")))
                .collect()
        }
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().collect();
            let orders = if fields.len() > ORDERED_MAX {
                vec![fields]
            } else {
                permutations(fields)
            };
            orders.into_iter().flat_map(object_orders).collect()
        }
        other => vec![other.to_string()],
    }
}

fn object_orders(fields: Vec<(&String, &Value)>) -> Vec<String> {
    let field = |(name, value): &(&String, &Value)| -> Vec<String> {
        let name = Value::from(name.as_str());
        orders(value)
            .iter()
            .map(|value| format!("{name}:{value}"))
            .collect()
    };
    let fields: Vec<_> = fields.iter().map(field).collect();
    let joined = all_of(&fields).into_iter();
    joined
        .map(|fields| format!("{{{}}}", fields.join(",")))
        .collect()
}

/// Every way to take one of each, a thousand at most.
fn all_of(choices: &[Vec<String>]) -> Vec<Vec<String>> {
    choices.iter().fold(vec![Vec::new()], |taken, choices| {
        let add = |taken: &Vec<String>| -> Vec<Vec<String>> {
            let one = |choice: &String| [taken.as_slice(), std::slice::from_ref(choice)].concat();
            choices.iter().map(one).collect()
        };
        taken.iter().flat_map(add).take(1000).collect()
    })
}

fn permutations<T: Clone>(items: Vec<T>) -> Vec<Vec<T>> {
    if items.len() < 2 {
        return vec![items];
    }
    let with_first = |at: usize| {
        let mut rest = items.clone();
        let first = rest.remove(at);
        permutations(rest).into_iter().map(move |mut order| {
            order.insert(0, first.clone());
            order
        })
    };
    (0..items.len()).flat_map(with_first).collect()
}
