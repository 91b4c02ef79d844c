//! Grammars that are too large, too deep, contradictory or wrong: refused in words, soon, and without a panic.

use std::time::{Duration, Instant};

use lattice_inference::grammar::{Grammar, GrammarError, GrammarLimits, Grammars};
use serde_json::{Map, Value, json};

use super::{grammars, regex, schema, tokenizer};

/// Far more than any grammar within the bounds takes on a busy machine, and far less than a hang.
const SLOW: Duration = Duration::from_secs(20);

fn lark(text: impl Into<String>) -> Grammar {
    Grammar::Lark(text.into())
}

fn error(grammars: &Grammars, grammar: &Grammar) -> GrammarError {
    let started = Instant::now();
    let result = grammars.compile(grammar);
    assert!(started.elapsed() < SLOW, "{grammar:?} hangs");
    match result {
        Err(error) => error,
        Ok(_) => panic!("taken: {}", shortened(grammar)),
    }
}

fn shortened(grammar: &Grammar) -> String {
    format!("{grammar:?}").chars().take(200).collect()
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(
        json!({"type": "null"}),
        |items, _| json!({"type": "array", "items": items}),
    )
}

#[test]
fn depth_has_an_end() {
    let grammars = grammars();
    let groups = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    grammars.compile(&regex(&groups(20))).unwrap();
    grammars.compile(&schema(nested(20))).unwrap();
    let hostile = [
        regex(&groups(60_000)),
        lark(format!("start: {}", groups(60_000))),
        Grammar::Gbnf(format!("root ::= {}", groups(60_000))),
        schema(nested(120)),
    ];
    for grammar in hostile {
        let found = error(&grammars, &grammar);
        assert!(matches!(found, GrammarError::TooLarge { .. }), "{found}");
    }
    let text = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let found = Grammar::schema_from_text(&text).unwrap_err();
    assert!(
        found.to_string().starts_with("json_schema: not JSON"),
        "{found}"
    );
}

#[test]
fn references_stay_within_the_schema() {
    let grammars = grammars();
    let tree = json!({"type": "object", "properties": {"children": {"type": "array",
        "items": {"$ref": "#"}}}, "additionalProperties": false});
    let tree = grammars.compile(&schema(tree)).unwrap();
    assert!(
        tree.matches(r#"{"children":[{},{"children":[]}]}"#)
            .unwrap()
    );
    assert!(!tree.matches(r#"{"children":[{"x":1}]}"#).unwrap());
    let cycles = json!({"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}});
    for (value, says) in [
        (json!({"$ref": "#"}), "nothing satisfies it"),
        (
            json!({"$ref": "#/$defs/a", "$defs": cycles}),
            "nothing satisfies it",
        ),
        (
            json!({"$ref": "https://example.com/a.json"}),
            "only references within",
        ),
        (json!({"$ref": "other.json"}), "not present"),
        (json!({"$ref": "#/$defs/none"}), "does not exist"),
    ] {
        let found = error(&grammars, &schema(value.clone())).to_string();
        assert!(found.contains(says), "{value}: {found}");
    }
}

#[test]
fn size_has_an_end() {
    let grammars = grammars();
    let properties = |count: usize| -> Map<String, Value> {
        let property = |n| (format!("p{n}"), json!({"type": "integer"}));
        (0..count).map(property).collect()
    };
    let either = |n: usize| {
        json!({"anyOf": [{"properties": {format!("a{n}"): {"type": "string"}}},
        {"properties": {format!("b{n}"): {"type": "number"}}}]})
    };
    let terminals = |count: usize| {
        let rule = |n| format!("T{n}: T{} \"x\"\n", n + 1);
        let rules: String = (0..count).map(rule).collect();
        format!("start: T0\n{rules}T{count}: \"y\"\n")
    };
    for grammar in [
        schema(json!({"enum": (0..100_000).map(|n| format!("v{n}")).collect::<Vec<_>>()})),
        schema(json!({"type": "object", "properties": properties(10_000)})),
        schema(json!({"type": "array", "minItems": 1_000_000_000})),
        schema(json!({"type": "string", "maxLength": 1e300})),
        schema(json!({"allOf": (0..20).map(either).collect::<Vec<_>>()})),
        regex("a{0,100000}"),
        regex("(a|b){99999999999999999999}"),
        lark(terminals(12_000)),
        lark("start: \"x\"~2..100000"),
        Grammar::Gbnf("root ::= \"x\"{2,100000}".to_owned()),
    ] {
        let found = error(&grammars, &grammar);
        let too_large = matches!(found, GrammarError::TooLarge { .. });
        assert!(
            too_large || found.to_string().contains("too large"),
            "{found}"
        );
    }
    for grammar in [
        schema(json!({"enum": (0..10_000).map(|n| format!("v{n}")).collect::<Vec<_>>()})),
        schema(json!({"type": "object", "properties": properties(200)})),
        schema(json!({"type": "array", "maxItems": 10_000, "items": {"type": "object"}})),
        schema(json!({"type": "string", "minLength": 10, "maxLength": 10_000})),
        regex("((a{0,1000}){0,1000}){0,1000}"),
        regex("(ab?c){0,10000}"),
        lark(terminals(100)),
    ] {
        let started = Instant::now();
        let compiled = grammars.compile(&grammar);
        assert!(
            compiled.is_ok(),
            "{}: {}",
            shortened(&grammar),
            compiled.err().unwrap()
        );
        assert!(started.elapsed() < SLOW);
    }
}

#[test]
fn contradictions_are_said() {
    let grammars = grammars();
    for value in [
        json!(false),
        json!({"type": "integer", "minimum": 5, "maximum": 3}),
        json!({"enum": []}),
        json!({"type": "array", "minItems": 5, "maxItems": 3}),
        json!({"type": "string", "minLength": 5, "maxLength": 3}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
        json!({"allOf": [{"type": "string"}, {"type": "number"}]}),
    ] {
        let found = error(&grammars, &schema(value));
        assert!(
            matches!(found, GrammarError::Unsatisfiable { .. }),
            "{found}"
        );
    }
    let found = error(&grammars, &regex(r"[^\s\S]"));
    assert!(
        matches!(found, GrammarError::Unsatisfiable { .. }),
        "{found}"
    );
}

#[test]
fn expressions_are_linear_or_refused() {
    let grammars = grammars();
    let plus = grammars.compile(&regex("(a+)+$")).unwrap();
    let many = "a".repeat(20_000);
    let started = Instant::now();
    assert!(plus.matches(&many).unwrap());
    assert!(!plus.matches(&format!("{many}b")).unwrap());
    assert!(started.elapsed() < SLOW);
    for (pattern, says) in [
        (r"(a)\1", "backreferences"),
        ("(?=a)b", "look-around"),
        ("(?!a)b", "look-around"),
        (r"\bfoo", "lookarounds"),
        ("a^b", "lookarounds"),
        ("^+", "repetition operator missing expression"),
        ("{2}x", "repetition operator missing expression"),
        (r"(?-u:\xff)", "UTF-8"),
        ("(", "unclosed group"),
    ] {
        let found = error(&grammars, &regex(pattern)).to_string();
        assert!(
            found.starts_with("regex: ") && found.contains(says),
            "{pattern}: {found}"
        );
    }
    for (pattern, whole, not) in [
        ("abc", "abc", "abcd"),
        ("^a/b$", "a/b", "^a/b$"),
        (r"a\$", "a$", "a"),
        ("", "", "x"),
        ("a\nb", "a\nb", "a b"),
        ("[\u{4e00}-\u{9fff}]+", "\u{6f22}\u{5b57}", "kanji"),
    ] {
        let compiled = grammars.compile(&regex(pattern)).unwrap();
        assert!(compiled.matches(whole).unwrap(), "{pattern}");
        assert!(!compiled.matches(not).unwrap(), "{pattern}");
    }
}

#[test]
fn white_space_is_bounded_and_no_request_changes_that() {
    let grammars = grammars();
    for value in [
        json!({"type": "array"}),
        json!({"type": "array", "x-guidance": {"whitespace_pattern": "[ ]+"}}),
    ] {
        let compiled = grammars.compile(&schema(value)).unwrap();
        for (text, allowed) in [
            ("[1,2]", true),
            ("[1, 2]", true),
            ("[\n  1,\n  2\n]", true),
            ("[1,   2]", false),
            ("[1,\n\n2]", false),
            (" [1]", false),
            ("[1] ", false),
        ] {
            assert_eq!(compiled.matches(text).unwrap(), allowed, "{text:?}");
        }
        let indent = " ".repeat(65);
        assert!(!compiled.matches(&format!("[\n{indent}1]")).unwrap());
    }
    let lenient = json!({"x-guidance": {"lenient": true}, "not": {}});
    assert!(grammars.compile(&schema(lenient)).is_err());
}

#[test]
fn what_is_kept_is_bounded() {
    let limits = GrammarLimits {
        cached_max: 8,
        ..GrammarLimits::default()
    };
    let grammars = Grammars::with_limits(tokenizer(), limits);
    for n in 0..300 {
        let value = json!({"type": "integer", "minimum": n});
        grammars.compile(&schema(value)).unwrap();
        assert!(grammars.cached().0 <= 8);
    }
    let limits = GrammarLimits {
        cached_bytes_max: 200_000,
        ..GrammarLimits::default()
    };
    let grammars = Grammars::with_limits(tokenizer(), limits);
    for n in 0..100 {
        grammars.compile(&regex(&format!("x{n}y+"))).unwrap();
        assert!(grammars.cached().1 <= 200_000);
    }
}

#[test]
fn response_formats_are_read() {
    let read = |value: Value| Grammar::from_response_format(&value);
    assert_eq!(read(json!({"type": "text"})), Ok(None));
    assert_eq!(
        read(json!({"type": "json_object"})),
        Ok(Some(Grammar::JsonObject))
    );
    let wrapped =
        json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}});
    assert_eq!(read(wrapped), Ok(Some(schema(json!({"type": "null"})))));
    for wrong in [
        json!({}),
        json!({"type": "xml"}),
        json!({"type": "json_schema"}),
        json!(5),
    ] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.starts_with("response_format: "), "{error}");
    }
}
