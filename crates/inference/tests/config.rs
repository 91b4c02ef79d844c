//! What a configuration may not say, and what is read from one that is right.

use lattice_inference::checkpoint::{
    Config, Expected, GenerationDefaults, LoadError, RopeConfig, RopeScaling,
};
use proptest::prelude::*;

/// A configuration with these fields besides its kind.
fn config(fields: &str) -> Config {
    let comma = if fields.is_empty() { "" } else { "," };
    Config::from_text(&format!(r#"{{"model_type":"test"{comma}{fields}}}"#)).expect("it is right")
}

/// One with fields under `text_config`, and others beside it.
fn nested(inside: &str, beside: &str) -> Config {
    let text = format!(
        r#"{{"model_type":"test","text_config":{{"model_type":"test_text",{inside}}},{beside}}}"#
    );
    Config::from_text(&text).expect("it is right")
}

/// Asserts that an error is about a field, and says these words.
fn about<T: std::fmt::Debug>(result: Result<T, LoadError>, field: &str, words: &[&str]) {
    let error = result.expect_err("must be refused");
    let text = error.to_string();
    match error {
        LoadError::Field { field: found, .. } => assert_eq!(found, field, "{text}"),
        error => panic!("{error}"),
    }
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

#[test]
fn sizes_are_integers_in_range() {
    let config = config(
        r#""zero":0,"one":1,"max":16777216,"over":16777217,"huge":1000000000000000000,
           "float":1024.0,"text":"8","minus":-8,"null":null,"list":[8]"#,
    );
    assert_eq!(config.size("one").expect("it fits"), 1);
    assert_eq!(config.size("max").expect("it fits"), 1 << 24);
    assert_eq!(config.size_or("absent", 7).expect("a default"), 7);
    assert_eq!(config.size_or("null", 7).expect("null is absent"), 7);
    assert_eq!(config.count("zero").expect("a count may be 0"), 0);
    assert_eq!(config.count_or("absent", 3).expect("a default"), 3);
    for field in ["zero", "over", "huge", "float", "text", "minus", "list"] {
        about(
            config.size(field),
            field,
            &["config.json", "expected an integer from 1 to"],
        );
        about(
            config.size_or(field, 7),
            field,
            &["expected an integer from 1 to"],
        );
    }
    for field in ["null", "absent"] {
        about(config.size(field), field, &["is missing"]);
    }
    about(config.size("float"), "float", &["found 1024.0"]);
}

#[test]
fn layers_are_bounded_before_anything_is_made_of_them() {
    let config = config(r#""few":1024,"many":1025,"huge":1000000000000000000,"none":0"#);
    assert_eq!(config.layers("few").expect("it fits"), 1024);
    for field in ["many", "huge", "none"] {
        about(config.layers(field), field, &["from 1 to 1024"]);
    }
}

#[test]
fn an_epsilon_is_above_zero() {
    let config = config(r#""eps":1e-6,"int":1,"zero":0,"minus":-1e-6,"text":"1e-6""#);
    assert_eq!(config.positive("eps").expect("it fits"), 1e-6);
    assert_eq!(config.positive("int").expect("it fits"), 1.0);
    assert_eq!(config.positive_or("absent", 0.5).expect("a default"), 0.5);
    for field in ["zero", "minus", "text"] {
        about(
            config.positive(field),
            field,
            &["expected a number above 0"],
        );
    }
    for number in ["NaN", "Infinity", "-Infinity", "1e999"] {
        let text = format!(r#"{{"model_type":"test","eps":{number}}}"#);
        assert!(
            matches!(Config::from_text(&text), Err(LoadError::Json { .. })),
            "{number}"
        );
    }
}

#[test]
fn flags_texts_and_ids_have_their_types() {
    let config = config(
        r#""yes":true,"word":"silu","words":["a","b"],"mixed":["a",1],"id":7,"ids":[7,8],
           "minus":[-1],"wide":4294967296,"empty":[]"#,
    );
    assert!(config.flag("yes").expect("it is one"));
    assert!(!config.flag_or("absent", false).expect("a default"));
    about(
        config.flag("id"),
        "id",
        &["expected true or false, found 7"],
    );
    assert_eq!(config.text("word").expect("it is one"), "silu");
    assert_eq!(config.text_or("absent", "gelu").expect("a default"), "gelu");
    about(config.text("yes"), "yes", &["expected a text"]);
    let words = config.texts("words").expect("it is one");
    assert_eq!(words, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(config.texts("absent").expect("absence is no error"), None);
    about(
        config.texts("mixed"),
        "mixed",
        &["expected a list of texts"],
    );
    assert_eq!(config.ids("id").expect("it is one"), [7]);
    assert_eq!(config.ids("ids").expect("they are"), [7, 8]);
    assert_eq!(config.ids("absent").expect("absence is no error"), [0; 0]);
    for field in ["minus", "wide", "yes"] {
        about(
            config.ids(field),
            field,
            &["expected a token id or a list of them"],
        );
    }
}

#[test]
fn a_field_with_one_supported_value_is_held_to_it() {
    let config = config(r#""hidden_act":"gelu","bias":true,"groups":1,"odd":[3],"even":[]"#);
    about(
        config.must_be("hidden_act", "silu", "no other activation is built"),
        "hidden_act",
        &["expected \"silu\", found \"gelu\": no other activation is built"],
    );
    about(
        config.must_be("bias", false, "why"),
        "bias",
        &["expected false, found true"],
    );
    about(
        config.must_be("odd", Expected::EmptyList, "why"),
        "odd",
        &["expected [], found [3]"],
    );
    config.must_be("groups", 1, "why").expect("it is");
    config
        .must_be("even", Expected::EmptyList, "why")
        .expect("it is");
    config
        .must_be("absent", "silu", "why")
        .expect("absence means the value");
}

#[test]
fn nested_fields_count_and_disagreements_are_noted() {
    let config = nested(
        r#""hidden_size":64,"same":1"#,
        r#""hidden_size":32,"same":1,"only":5"#,
    );
    assert_eq!(
        (config.model_type(), config.top_model_type()),
        ("test_text", "test")
    );
    assert_eq!(config.size("hidden_size").expect("it is there"), 64);
    assert_eq!(config.size("only").expect("the top level serves"), 5);
    assert_eq!(
        config.notes(),
        ["text_config.hidden_size is 64 and hidden_size is 32: the first counts"]
    );
    about(config.size("absent"), "text_config.absent", &["is missing"]);
    about(
        config.flag("hidden_size"),
        "text_config.hidden_size",
        &["found 64"],
    );
    let refused: Result<(), _> = Err(config.refuse("only", "is odd"));
    about(refused, "only", &["config.json: only: is odd"]);
}

#[test]
fn the_top_level_ties_the_head() {
    let tied = nested(
        r#""tie_word_embeddings":true"#,
        r#""tie_word_embeddings":false"#,
    );
    assert!(!tied.flag("tie_word_embeddings").expect("it is there"));
    assert_eq!(
        tied.notes(),
        [
            "tie_word_embeddings is false and text_config.tie_word_embeddings is true: the first counts"
        ]
    );
    let inside = nested(
        r#""tie_word_embeddings":true"#,
        r#""tie_word_embeddings":null"#,
    );
    assert!(inside.flag("tie_word_embeddings").expect("it is there"));
}

#[test]
fn a_configuration_is_an_object_with_a_kind() {
    about(Config::from_text("{}"), "model_type", &["is missing"]);
    about(
        Config::from_text(r#"{"model_type":3}"#),
        "model_type",
        &["expected a text"],
    );
    let nested = Config::from_text(r#"{"model_type":"test","text_config":[]}"#);
    about(nested, "text_config", &["expected an object"]);
    let deep = format!(r#"{{"model_type":"test","x":{}"#, "[".repeat(10_000));
    let broken = [
        "",
        "[]",
        "{",
        "\u{feff}{}",
        r#"{"a":1,"a":1}"#,
        r#"{"a":{"b":1,"b":1}}"#,
        &deep,
    ];
    for text in broken {
        assert!(
            matches!(Config::from_text(text), Err(LoadError::Json { .. })),
            "{text:.20}"
        );
    }
    let kinds = config(r#""architectures":["TestForCausalLM","Other"],"text_config":null"#);
    assert_eq!(kinds.architecture(), Some("TestForCausalLM"));
    assert_eq!(
        (kinds.model_type(), kinds.top_model_type()),
        ("test", "test")
    );
}

#[test]
fn what_nobody_read_is_listed_unless_it_has_no_effect() {
    let config = nested(
        r#""hidden_size":64,"sliding_window":128,"attention_dropout":0.1,"nothing":null,
           "rope_parameters":{"rope_type":"default","rope_theta":1e4,"attn_factor":2}"#,
        r#""hidden_size":64,"vision_config":{"depth":12},"_name":"x","logit_scale":2,
           "torch_dtype":"bfloat16""#,
    );
    config.size("hidden_size").expect("it is there");
    assert_eq!(
        config.unread(),
        [
            "text_config.rope_parameters",
            "text_config.sliding_window",
            "logit_scale"
        ]
    );
    config.rope(None).expect("it is right");
    config.known(&["sliding_window"]);
    assert_eq!(
        config.unread(),
        ["text_config.rope_parameters.attn_factor", "logit_scale"]
    );
}

fn rope(fields: &str) -> Result<RopeConfig, LoadError> {
    config(fields).rope(None)
}

#[test]
fn rotary_numbers_are_found_in_every_place() {
    let expected = RopeConfig {
        theta: 1e7,
        partial: 0.25,
        scaling: RopeScaling::None,
    };
    let places = [
        r#""rope_theta":10000000,"partial_rotary_factor":0.25"#,
        r#""rope_parameters":{"rope_theta":1e7,"partial_rotary_factor":0.25}"#,
        r#""rope_scaling":{"type":"mrope","rope_theta":1e7},"partial_rotary_factor":0.25"#,
        r#""rope_theta":1e7,"rope_scaling":null,"rope_parameters":{"rope_type":"default",
           "rope_theta":10000000.0,"partial_rotary_factor":0.25,"mrope_section":[11,11,10],
           "mrope_interleaved":true}"#,
    ];
    for fields in places {
        assert_eq!(rope(fields).expect("it is right"), expected, "{fields}");
        let inside = nested(fields, r#""x":1"#);
        assert_eq!(
            inside.rope(None).expect("it is right"),
            expected,
            "{fields}"
        );
    }
    let plain = rope(r#""rope_theta":1e4"#).expect("it is right");
    assert_eq!(plain.partial, 1.0);
}

#[test]
fn rotary_numbers_that_disagree_are_refused_with_both_places() {
    about(
        rope(r#""rope_theta":1e4,"rope_parameters":{"rope_theta":1e6}"#),
        "rope_parameters.rope_theta",
        &["is 1000000.0, but rope_theta is 10000.0"],
    );
    about(
        nested(
            r#""partial_rotary_factor":0.5"#,
            r#""rope_theta":1,"partial_rotary_factor":1"#,
        )
        .rope(None),
        "text_config.partial_rotary_factor",
        &["is 0.5, but partial_rotary_factor is 1"],
    );
    about(
        rope(r#""rope_theta":1e4,"rope_scaling":{"rope_type":"linear","type":"llama3"}"#),
        "rope_scaling.rope_type",
        &["is \"linear\", but rope_scaling.type is \"llama3\""],
    );
}

#[test]
fn a_base_is_never_guessed() {
    about(rope(""), "rope_theta", &["is missing"]);
    about(rope(r#""rope_theta":null"#), "rope_theta", &["is missing"]);
    let default = config("").rope(Some(1e4)).expect("the caller's word");
    assert_eq!(default.theta, 1e4);
    for theta in ["0", "-1e4", "\"1e4\""] {
        about(
            rope(&format!(r#""rope_theta":{theta}"#)),
            "rope_theta",
            &["a number above 0"],
        );
    }
    for partial in ["0", "1.5", "-0.25"] {
        let fields = format!(r#""rope_theta":1e4,"partial_rotary_factor":{partial}"#);
        about(
            rope(&fields),
            "partial_rotary_factor",
            &["above 0, at most 1"],
        );
    }
}

#[test]
fn scalings_are_read_whole() {
    let scaling = |fields: &str| {
        let fields = format!(r#""rope_theta":5e5,"rope_scaling":{{{fields}}}"#);
        rope(&fields).map(|rope| rope.scaling)
    };
    let linear = scaling(r#""type":"linear","factor":4"#).expect("it is right");
    assert_eq!(linear, RopeScaling::Linear { factor: 4.0 });
    let llama3 = r#""rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
        "high_freq_factor":4.0,"original_max_position_embeddings":8192"#;
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position: 8192,
    };
    assert_eq!(scaling(llama3).expect("it is right"), expected);
    let object = "rope_scaling";
    for missing in ["factor", "low_freq_factor", "high_freq_factor"] {
        let field = format!("{object}.{missing}");
        let without = llama3.replace(&format!("\"{missing}\""), "\"x\"");
        about(scaling(&without), &field, &["is missing"]);
    }
    let crossed = llama3.replace("4.0", "1.0");
    about(
        scaling(&crossed),
        "rope_scaling.high_freq_factor",
        &["above low_freq_factor (1)"],
    );
    about(
        scaling(r#""factor":2"#),
        "rope_scaling.factor",
        &["without a rope_type"],
    );
    about(
        scaling(r#""type":"linear","factor":0.5"#),
        "rope_scaling.factor",
        &["from 1 up"],
    );
    about(
        scaling(r#""type":7"#),
        "rope_scaling.type",
        &["expected a text"],
    );
    about(
        scaling(r#""type":"su","factor":2"#),
        "rope_scaling.type",
        &["su", "is not supported"],
    );
    let layers = r#""full_attention":{"rope_type":"default","rope_theta":1e4}"#;
    about(
        scaling(layers),
        "rope_scaling.full_attention",
        &["single layer types"],
    );
    about(
        rope(r#""rope_scaling":"linear""#),
        "rope_scaling",
        &["expected an object"],
    );
}

#[test]
fn generation_defaults_are_typed_and_bounded() {
    let read = GenerationDefaults::from_text;
    let defaults = read(
        r#"{"do_sample":true,"temperature":0.7,"top_k":40,"top_p":0.9,"min_p":0.05,
            "repetition_penalty":1.1,"eos_token_id":[5,6],"max_new_tokens":256,"pad_token_id":6,
            "typical_p":0.5,"transformers_version":"5","num_beams":null,"_from_model_config":true}"#,
    )
    .expect("it is right");
    let expected = GenerationDefaults {
        temperature: Some(0.7),
        top_k: Some(40),
        top_p: Some(0.9),
        min_p: Some(0.05),
        repetition_penalty: Some(1.1),
        do_sample: Some(true),
        eos_token_ids: vec![5, 6],
        max_new_tokens: Some(256),
        unread: vec!["typical_p".to_owned()],
    };
    assert_eq!(defaults, expected);
    assert_eq!(
        read("{}").expect("it says nothing"),
        GenerationDefaults::default()
    );
    let greedy = read(r#"{"do_sample":false,"temperature":0.7}"#).expect("it is right");
    assert_eq!(greedy.temperature, Some(0.0));
    let wrong = [
        ("temperature", "-0.1"),
        ("temperature", "\"1\""),
        ("top_k", "-1"),
        ("top_k", "1.5"),
        ("top_p", "0"),
        ("top_p", "1.1"),
        ("min_p", "-0.1"),
        ("repetition_penalty", "0"),
        ("do_sample", "1"),
        ("eos_token_id", "-1"),
        ("eos_token_id", "[1,null]"),
        ("max_new_tokens", "0"),
        ("max_new_tokens", "1000000000000000000"),
    ];
    for (field, value) in wrong {
        about(
            read(&format!(r#"{{"{field}":{value}}}"#)),
            field,
            &["generation_config.json", value],
        );
    }
}

/// Numbers of every length, and one value of every other type.
const VALUES: &str =
    "(-?[0-9]{1,22}(\\.[0-9]{1,3})?(e[0-9])?|null|true|\"[a-z]{0,4}\"|\\[[0-9]{0,3}\\]|\\{\\})";

proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]\\{\\}\",:a-c0-9_ \\\\u.eE-]{0,80}") {
        let _ = Config::from_text(&text);
        let _ = GenerationDefaults::from_text(&text);
    }

    /// Whatever stands in a field, every reader gives a value or names the field.
    #[test]
    fn no_value_panics(value in VALUES) {
        let text = format!(
            r#"{{"model_type":"test","f":{value},"rope_theta":{value},"rope_scaling":{value}}}"#
        );
        if let Ok(config) = Config::from_text(&text) {
            let errors = [
                config.size("f").err(), config.count_or("f", 0).err(), config.layers("f").err(),
                config.flag_or("f", true).err(), config.positive("f").err(), config.text("f").err(),
                config.texts("f").err(), config.ids("f").err(), config.must_be("f", "x", "").err(),
                config.rope(Some(1.0)).err(),
            ];
            for error in errors.into_iter().flatten() {
                let is_field = matches!(error, LoadError::Field { .. });
                prop_assert!(is_field, "{}", error);
            }
        }
    }
}
