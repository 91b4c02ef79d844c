//! GBNF, translated: the same texts.

use lattice_inference::grammar::Grammar;

use super::grammars;

/// The usual grammar of JSON, which refers to itself.
const JSON: &str = r#"
# A JSON text.
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
"#;

const SUMS: &str = r#"
root ::= sum
sum ::= product (("+" | "-") product)*
product ::= factor ("*" factor)*
factor ::= [0-9]+ | "(" sum ")" | name
name ::= [a-z] [a-z0-9_]*
"#;

const MOVES: &str = r#"
root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
"#;

#[test]
fn translated_grammars_have_the_same_texts() {
    let grammars = grammars();
    let check = |gbnf: &str, texts: &[(&str, bool)]| {
        let compiled = grammars.compile(&Grammar::Gbnf(gbnf.to_owned()));
        let compiled = compiled.unwrap_or_else(|error| panic!("{error}"));
        for (text, taken) in texts {
            assert_eq!(compiled.matches(text).unwrap(), *taken, "{text:?}");
        }
    };
    check(
        JSON,
        &[
            ("{}", true),
            (
                r#"{"a": [1, -2.5e3, true, {"b": "\u00e9\\"}], "c": null}"#,
                true,
            ),
            ("{\n  \"a\": 0\n}", true),
            ("[]", false),
            (r#"{"a": 01}"#, false),
            (r#"{"a" 1}"#, false),
            (r#"{"a": "x}"#, false),
            ("{\n\n}", false),
        ],
    );
    check(
        SUMS,
        &[
            ("1+2*(x-30)", true),
            ("((a1))", true),
            ("1+", false),
            ("1a", false),
            ("(1", false),
        ],
    );
    check(
        MOVES,
        &[
            ("1. e4 e5\n2. Nf3 O-O-O\n", true),
            ("1. e4 e5\n", false),
            ("1. e9 e5\n2. a1 a2\n", false),
        ],
    );
    check(
        r#"root ::= "\u00e9" . [^a]"#,
        &[("\u{e9}\nb", true), ("\u{e9}ba", false)],
    );
    check("root ::= ", &[("", true), ("x", false)]);
    check(
        "root ::= \"a\" root \"b\" | \"ab\"",
        &[("aabb", true), ("aab", false)],
    );
    check(
        "root ::= item{2,3}\nitem ::= \"x\" | \"(\" root \")\"",
        &[("xx", true), ("x(xx)x", true), ("x", false)],
    );
}

/// A rule that is copied into itself over and over, and one that is empty over and over.
#[test]
fn growth_has_an_end() {
    let grammars = grammars();
    let doubled = |least: &str| {
        let rule = |n| format!("r{} ::= r{n} r{n} | r{n}\n", n + 1);
        let rules: String = (0..60).map(rule).collect();
        format!("root ::= r60\nr0 ::= \"{least}\"\n{rules}")
    };
    for text in [doubled("x"), doubled("")] {
        let error = grammars
            .compile(&Grammar::Gbnf(text))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("the length of its expressions"), "{error}");
    }
    let many: String = (0..5000)
        .map(|n| format!("r{n} ::= r{}\n", n + 1))
        .collect();
    let many = format!("root ::= r0\n{many}r5000 ::= \"x\"\n");
    let error = grammars
        .compile(&Grammar::Gbnf(many))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("the number of its rules"), "{error}");
}
