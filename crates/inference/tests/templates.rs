//! Laws of chat templates: rendered as the reference renders them, harmless whatever they contain, and deaf to control
//! tokens that people write.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::LazyLock;

use lattice_inference::tokenizer::{
    ChatMessage, ChatOptions, ChatTemplate, ControlTokens, HfTokenizer, Prompt, Rendered, Role,
    TemplateFiles, TextError, Tokenizer,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const LLAMA_CONFIG: &str = r#"{"bos_token": "<|begin_of_text|>"}"#;
/// 2026-11-24 09:05:07 UTC, the time of the goldens.
const NOW: i64 = 1_795_511_107;

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).expect("the file is part of the repository")
}

static TINY: LazyLock<HfTokenizer> = LazyLock::new(|| {
    let json = read("../../models/lattice-tiny/tokenizer.json");
    let config = read("../../models/lattice-tiny/tokenizer_config.json");
    HfTokenizer::from_json(json.as_bytes(), Some(&config)).expect("the tokenizer is sound")
});

fn source(name: &str) -> String {
    match name {
        "lattice_tiny" => read("../../models/lattice-tiny/chat_template.jinja"),
        name => read(&format!("tests/text/templates/{name}.jinja")),
    }
}

/// A template with the control tokens of the bundled model.
fn compile(source: &str) -> Result<ChatTemplate, TextError> {
    let files = TemplateFiles {
        jinja: Some(source),
        tokenizer_config: Some(LLAMA_CONFIG),
    };
    Ok(ChatTemplate::new(files, TINY.control_tokens())?.expect("there is a template"))
}

fn template(name: &str) -> ChatTemplate {
    compile(&source(name)).unwrap()
}

const TEMPLATES: [&str; 7] = [
    "lattice_tiny",
    "qwen3",
    "qwen3_5",
    "qwen3_coder",
    "smollm2",
    "llama3",
    "llama3_1",
];

fn talk(messages: Value) -> Vec<ChatMessage> {
    ChatMessage::list_from_json(&messages).unwrap()
}

fn as_reference() -> ChatOptions {
    ChatOptions {
        merge_system: false,
        now_unix_s: Some(NOW),
        ..ChatOptions::default()
    }
}

/// FNV-1a, as in make.py.
fn fnv(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("#{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// What the goldens hold for a rendering: its text or hash, `!` and the template's own words, or `!!` for another error.
fn agrees(rendered: &Result<Rendered, TextError>, golden: &str) -> bool {
    match rendered {
        Ok(rendered) => {
            let text = rendered.prompt.display();
            if golden.starts_with('#') {
                fnv(text) == golden
            } else {
                text == golden
            }
        }
        Err(TextError::Refused(words)) => golden == format!("!{words}"),
        Err(_) => golden == "!!",
    }
}

#[test]
fn conversations_are_rendered_byte_for_byte() {
    let goldens: Value = serde_json::from_str(&read("tests/text/rendered.json")).unwrap();
    let tools: Vec<Value> = serde_json::from_value(goldens["tools"].clone()).unwrap();
    let talks = goldens["conversations"].as_array().unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    for name in TEMPLATES {
        let template = template(name);
        for (index, messages) in talks.iter().enumerate() {
            let mut row = goldens["templates"][name][index].as_array().unwrap().iter();
            for tools in [None, Some(tools.clone())] {
                for enable_thinking in [None, Some(true), Some(false)] {
                    for add_generation_prompt in [true, false] {
                        let tools = tools.clone();
                        let options = ChatOptions {
                            tools,
                            enable_thinking,
                            add_generation_prompt,
                            ..as_reference()
                        };
                        let rendered = template.render(&talk(messages.clone()), &options);
                        let golden = row.next().unwrap().as_str().unwrap();
                        count += 1;
                        if !agrees(&rendered, golden) {
                            wrong.push(format!("{name} {messages}\n{options:?}\n want {golden:?}\nfound {rendered:?}"));
                        }
                    }
                }
            }
        }
    }
    assert!(count > 3_000);
    assert!(
        wrong.is_empty(),
        "{} of {count} differ, the first: {}",
        wrong.len(),
        wrong[0]
    );
}

fn render(source: &str, messages: Value, options: &ChatOptions) -> Result<String, TextError> {
    let rendered = compile(source)?.render(&talk(messages), options)?;
    Ok(rendered.prompt.display().to_owned())
}

fn hi() -> Value {
    json!([{"role": "user", "content": "hi"}])
}

#[test]
fn templates_reach_nothing_but_their_values() {
    let sources = [
        "{{ ''.__class__ }}{{ ''.__class__.__mro__ }}",
        "{% include 'other' %}",
        "{% import 'os' as os %}",
        "{% from 'os' import system %}",
        "{% extends 'chat' %}",
        "{{ messages | unknown_filter }}",
        "{{ unknown_function() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.append({}) }}",
        "{% for x in %}",
        "{{ 1 // 0 }}",
        "{{ messages[0].content.nothing.more }}",
        "{{ '%s' % messages % nothing.at.all }}",
    ];
    for source in sources {
        let error = render(source, hi(), &as_reference());
        assert!(
            matches!(error, Err(TextError::Template { .. })),
            "{source}: {error:?}"
        );
    }
}

#[test]
fn templates_that_grow_without_end_are_stopped() {
    let sources = [
        "{% for i in range(25000) %}{% for j in range(25000) %}{% endfor %}{% endfor %}",
        "{% for i in range(25000) %}{% for j in range(25000) %}x{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 'x' * 90000000 }}",
        "{{ ('x' * 900000) | replace('x', 'y' * 900000) }}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s=['x']) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}",
        "{% set ns = namespace(s=[]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | string | length }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s * 2 %}{% endfor %}{{ ns.s | string | length }}",
        "{% set ns = namespace(a=1) %}{% for i in range(60) %}{% set ns.a = namespace(a=ns.a, b=ns.a) %}{% endfor %}{{ ns | string | length }}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns ~ 'x' }}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns | upper }}",
        "{% set a = namespace() %}{% set b = namespace() %}{% set a.x = b %}{% set b.x = a %}{{ a == b }}",
        "{% set big = range(30000) | list %}{{ range(30000) | map(attribute='x', default=big) | string | length }}",
        "{{ [1] * 900000000 + [1] }}",
        "{{ [1] * 90000000 == [2] * 90000000 }}{{ ([1] * 90000000) | string | length }}",
        "{{ ([1] * 90000000) | join | length }}",
        "{{ '{:>1000000000}'.format('x') }}",
        "{{ range(100000) | list | tojson(indent=60) | length }}{{ range(100000) | list | tojson | length }}",
    ];
    for source in sources {
        let error = render(source, hi(), &as_reference()).expect_err(source);
        let stopped = matches!(
            error,
            TextError::TemplateBudget { .. } | TextError::Template { .. }
        );
        assert!(stopped, "{source}: {error:?}");
    }
}

#[test]
fn values_that_nest_without_end_are_survived() {
    let nested = "{% set ns = namespace(s=[]) %}{% for i in range(90000) %}{% set ns.s = [ns.s] %}{% endfor %}";
    let unrolled = format!(
        "{{% set x = [] %}}{}{{{{ x }}}}",
        "{% set x = {'k': x} %}".repeat(20_000)
    );
    assert!(render(&unrolled, hi(), &as_reference()).is_err());
    for end in [
        "",
        "{{ ns.s | tojson }}",
        "{{ ns.s }}",
        "{{ ns.s == ns.s }}",
        "{{ ns.s | string | length }}",
    ] {
        // An answer or an error, but not the end of the process.
        let _outcome = render(&format!("{nested}{end}"), hi(), &as_reference());
    }
}

#[test]
fn a_template_may_refuse_in_its_own_words() {
    let error = render(
        "{{ raise_exception('roles must alternate') }}",
        hi(),
        &as_reference(),
    );
    assert!(matches!(error, Err(TextError::Refused(words)) if words == "roles must alternate"));
}

#[test]
fn requests_do_not_override_what_a_template_gets() {
    for name in [
        "messages",
        "tools",
        "tokenize",
        "add_generation_prompt",
        "chat_template",
        "bos_token",
        "eos_token",
    ] {
        let extra = json!({name: "x"}).as_object().unwrap().clone();
        let options = ChatOptions {
            extra,
            ..as_reference()
        };
        let error = render("{{ messages }}", hi(), &options);
        let named = format!("chat_template_kwargs.{name}");
        assert!(matches!(error, Err(TextError::Conversation { field, .. }) if field == named));
    }
    let extra = json!({"mood": "fine"}).as_object().unwrap().clone();
    let options = ChatOptions {
        extra,
        ..as_reference()
    };
    assert_eq!(render("{{ mood }}", hi(), &options).unwrap(), "fine");
}

#[test]
fn python_manners_of_templates() {
    let cases = [
        (
            "{{ {'b': 1, 'a': 'é<>&\\u0001'} | tojson }}",
            r#"{"b": 1, "a": "é<>&\u0001"}"#,
        ),
        (
            "{{ {'b': [], 'a': [1, {}]} | tojson(indent=2) }}",
            "{\n  \"b\": [],\n  \"a\": [\n    1,\n    {}\n  ]\n}",
        ),
        (
            "{{ {'b': 1, 'a': 'é😀'} | tojson(ensure_ascii=true, sort_keys=true) }}",
            r#"{"a": "\u00e9\ud83d\ude00", "b": 1}"#,
        ),
        (
            "{{ [1, none, true] | tojson(separators=(',', ':')) }}",
            "[1,null,true]",
        ),
        (
            "{{ true }} {{ none }} {{ 1.0 }} {{ [1, 'a'] }} {{ {'k': none} }}",
            "True None 1.0 [1, 'a'] {'k': None}",
        ),
        (
            "{% if none is iterable %}y{% else %}n{% endif %}{{ 'a' is sequence }}{{ {} is sequence }}",
            "nTrueTrue",
        ),
        ("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"),
        (
            "{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.get('no', 'd') }}{% endfor %}",
            "0d",
        ),
        (
            "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% if x == 3 %}{% break %}{% endif %}{% endfor %}",
            "13",
        ),
        (
            "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ 'abcdef'[1:-1] }}",
            "a1bcde",
        ),
        ("a\n{% generation %}\nb\n{%- endgeneration -%}\nc", "a\nbc"),
        (
            "{{ [1] + [2, 'a'] }}{{ 1 + 2 }}{{ 1 + 0.5 }}{{ true + 1 }}{{ 'a' + 'b' + 'c' }}",
            "[1, 2, 'a']31.52abc",
        ),
        ("{{ strftime_now('%d %b %Y') }}", "24 Nov 2026"),
    ];
    for (source, text) in cases {
        assert_eq!(
            render(source, hi(), &as_reference()).unwrap(),
            text,
            "{source}"
        );
    }
}

#[test]
fn a_checkpoint_may_keep_its_template_in_its_configuration() {
    let compile = |config: &str| {
        let files = TemplateFiles {
            jinja: None,
            tokenizer_config: Some(config),
        };
        ChatTemplate::new(files, ControlTokens::default())
    };
    assert!(compile("{}").unwrap().is_none());
    assert!(compile("{").is_err());
    assert!(compile(r#"{"chat_template": 3}"#).is_err());
    let named = r#"{"chat_template": [{"name": "tool_use", "template": "T{{ eos_token }}"},
        {"name": "default", "template": "D"}], "eos_token": {"content": "<e>"}}"#;
    let named = compile(named).unwrap().unwrap();
    let text = |options: &ChatOptions| {
        named
            .render(&talk(hi()), options)
            .unwrap()
            .prompt
            .display()
            .to_owned()
    };
    assert_eq!(text(&as_reference()), "D");
    assert_eq!(
        text(&ChatOptions {
            tools: Some(vec![json!({})]),
            ..as_reference()
        }),
        "T<e>"
    );
}

#[test]
fn conversations_that_cannot_be_used_name_the_field() {
    let cases = [
        (json!("x"), "messages"),
        (json!([{"role": "wizard", "content": "x"}]), "messages[0]"),
        (json!([{"content": "x"}]), "messages[0]"),
        (json!([{"role": "user", "content": 3}]), "messages[0]"),
        (
            json!([{"role": "assistant", "tool_calls": [{"function": {}}]}]),
            "messages[0]",
        ),
    ];
    for (messages, wanted) in cases {
        let error = ChatMessage::list_from_json(&messages);
        assert!(
            matches!(&error, Err(TextError::Conversation { field, .. }) if field == wanted),
            "{error:?}"
        );
    }
    let image =
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    let arguments = json!([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{]"}}]}]);
    for (messages, wanted) in [
        (json!([]), "messages"),
        (image, "messages[0].content[0]"),
        (arguments, "messages[0].tool_calls[0].function.arguments"),
    ] {
        let error = template("qwen3").render(&talk(messages), &as_reference());
        assert!(
            matches!(&error, Err(TextError::Conversation { field, .. }) if field == wanted),
            "{error:?}"
        );
    }
}

#[test]
fn no_conversation_ends_a_template_in_a_panic() {
    let contents = [
        json!(null),
        json!(""),
        json!("x"),
        json!([]),
        json!([{"type": "text", "text": "x"}]),
    ];
    let roles = ["system", "developer", "user", "assistant", "tool"];
    for name in TEMPLATES {
        let template = template(name);
        for first in roles {
            for second in roles {
                for content in &contents {
                    let messages = json!([{"role": first, "content": content}, {"role": second, "content": content}]);
                    for merge_system in [true, false] {
                        let options = ChatOptions {
                            merge_system,
                            ..as_reference()
                        };
                        let _outcome = template.render(&talk(messages.clone()), &options);
                    }
                }
            }
        }
    }
}

#[test]
fn arguments_written_as_a_string_are_an_object() {
    let with = |arguments: Value| {
        let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}});
        json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [call]}])
    };
    for name in TEMPLATES
        .into_iter()
        .filter(|name| !["smollm2", "llama3"].contains(name))
    {
        let text = |arguments| {
            template(name)
                .render(&talk(with(arguments)), &as_reference())
                .unwrap()
                .prompt
        };
        let object = text(json!({"b": 1, "a": "é"}));
        assert!(object.display().contains('é'), "{name}");
        assert_eq!(text(json!(r#"{"b": 1, "a": "é"}"#)), object, "{name}");
    }
}

#[test]
fn an_open_message_ends_the_prompt() {
    let options = ChatOptions {
        continue_final_message: true,
        add_generation_prompt: false,
        ..as_reference()
    };
    for (name, end) in [
        ("smollm2", "the answer is "),
        ("llama3", "the answer is"),
        ("qwen3_5", "the answer is"),
    ] {
        let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "the answer is "}]);
        let rendered = template(name).render(&talk(messages), &options).unwrap();
        assert!(
            rendered.prompt.display().ends_with(end),
            "{name}: {rendered:?}"
        );
    }
}

#[test]
fn instructions_that_a_template_refuses_or_drops_are_merged_and_that_is_said() {
    let late = json!([{"role": "user", "content": "one"}, {"role": "system", "content": "be kind"},
        {"role": "developer", "content": "be brief"}, {"role": "user", "content": "two"}]);
    let options = ChatOptions {
        merge_system: true,
        ..as_reference()
    };
    for name in ["qwen3_5", "lattice_tiny", "qwen3"] {
        let rendered = template(name)
            .render(&talk(late.clone()), &options)
            .unwrap();
        let text = rendered.prompt.display();
        assert!(
            text.starts_with("<|im_start|>system\nbe kind\n\nbe brief<|im_end|>\n"),
            "{name}: {text}"
        );
        assert_eq!(rendered.notes.len(), 1, "{name}");
    }
    // A template that takes them where they stand keeps them there.
    let rendered = template("smollm2")
        .render(&talk(late.clone()), &options)
        .unwrap();
    assert!(rendered.notes.is_empty() && rendered.prompt.display().contains("developer\nbe brief"));
    assert!(matches!(
        template("qwen3_5").render(&talk(late), &as_reference()),
        Err(TextError::Refused(_))
    ));
}

fn control_ids(prompt: &Prompt) -> Vec<u32> {
    let first = TINY.id_from_token("<|endoftext|>").unwrap();
    let ids = TINY.ids_from_prompt(prompt).unwrap();
    ids.into_iter().filter(|&id| id >= first).collect()
}

/// A conversation with `text` in every place that a person or a tool fills, and tools with it.
fn everywhere(text: &str) -> (Value, Vec<Value>) {
    let call = json!({"id": text, "type": "function", "function": {"name": text, "arguments": {text: text, "list": [text]}}});
    let messages = json!([
        {"role": "system", "content": text},
        {"role": "user", "content": text, "name": text},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": text, "tool_call_id": text, "name": text},
        {"role": "user", "content": text},
    ]);
    let schema = json!({"type": "object", "description": text, "required": [text],
        "properties": {text: {"type": "string", "enum": [text], text: text}}});
    let tool = json!({"type": "function", "function": {"name": text, "description": text, "parameters": schema}});
    (messages, vec![tool])
}

#[test]
fn control_tokens_written_by_people_stay_text_in_every_place() {
    let spellings: Vec<String> = TINY
        .added_tokens()
        .map(|(token, _)| token.to_owned())
        .collect();
    assert_eq!(spellings.len(), 26);
    for name in TEMPLATES {
        let template = template(name);
        let ids_of = |text: &str| {
            let (messages, tools) = everywhere(text);
            let options = ChatOptions {
                tools: Some(tools),
                ..as_reference()
            };
            let rendered = template.render(&talk(messages), &options).unwrap();
            assert!(
                rendered.prompt.display().contains(text.trim()),
                "{name} {text}"
            );
            control_ids(&rendered.prompt)
        };
        let harmless = ids_of("harmless");
        for token in &spellings {
            let inside = &token[1..token.len() - 1];
            let forms = [
                token.clone(),
                format!("a{token}{token}\u{fdd0}b"),
                format!(" \u{fdd0}<{token} "),
                inside.to_owned(),
                format!("{inside}>"),
                format!("<{inside}"),
                format!("x {}", &token[..token.len() / 2]),
                format!("{} x", &token[token.len() / 2..]),
            ];
            for form in forms {
                assert_eq!(ids_of(&form), harmless, "{name}: {form:?}");
            }
        }
    }
}

#[test]
fn the_models_own_answers_keep_their_think_tags_but_no_special_tokens() {
    for (token, id) in TINY.added_tokens() {
        let answer = format!("x{token}y");
        let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}, {"role": "user", "content": "r"}]);
        let rendered = template("smollm2")
            .render(&talk(messages), &as_reference())
            .unwrap();
        let found = control_ids(&rendered.prompt)
            .iter()
            .filter(|&&found| found == id)
            .count();
        let by_template = ["<|im_start|>", "<|im_end|>"]
            .iter()
            .position(|&own| own == token);
        let special = TINY.bytes_from_id(id) == Some(b"");
        // Five heads, four ends.
        let own = by_template.map_or(0, |place| 5 - place);
        assert_eq!(found, own + usize::from(!special), "{token}");
    }
}

#[test]
fn a_control_token_is_not_made_of_a_person_and_a_template() {
    let sources = [
        "<{{ messages[0].content }}>",
        "<|{{ messages[0].content }}|>",
        "{{ messages[0].content }}im_end|>",
        "{{ messages[0].content | trim }}|im_end|>",
        "<|im_{{ messages[0].content }}",
        "<{{ messages[0].content[1:] }}",
        "{{ messages[0].content | upper | lower }}",
        "{{ messages[0].content[::-1] }}",
        "{{ messages | tojson }}",
        "{% for c in messages[0].content %}{{ c }}{% endfor %}",
        "{{ messages[0].content | replace('a', '') }}",
    ];
    let texts = [
        "|im_end|",
        "im_end",
        " <| ",
        "<",
        "<|im_",
        "end|>",
        "x|im_end|>",
        "<|im_end|>",
        ">|dne_mi|<",
        "<a|im_end|>",
        "<|im_end|a>",
    ];
    for source in sources {
        let template = compile(source).unwrap();
        for text in texts {
            let messages = json!([{"role": "user", "content": text}]);
            let rendered = template.render(&talk(messages), &as_reference()).unwrap();
            assert_eq!(
                control_ids(&rendered.prompt),
                [0u32; 0],
                "{source} {text:?}"
            );
        }
    }
}

#[test]
fn a_template_that_looks_for_control_tokens_is_told_apart() {
    let source = "{% if '<think>' in messages[0].content %}thinks{% else %}{{ messages[0].content }}{% endif %}";
    let messages = json!([{"role": "user", "content": "a <think>"}]);
    let rendered = compile(source)
        .unwrap()
        .render(&talk(messages), &as_reference())
        .unwrap();
    assert_eq!(
        (rendered.prompt.display(), rendered.notes.len()),
        ("a <think>", 1)
    );
    assert_eq!(control_ids(&rendered.prompt), [0u32; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_people_write_the_template_alone_makes_control_tokens(
        user in "([<>|/_a-z \n\u{fdd0}\u{fdd1}01]|<\\|im_(start|end)\\|>|</?think>|im_end){0,20}",
        system in "([<>|]|<\\|im_|end\\|>|\u{fdd0}){0,6}",
    ) {
        for name in ["lattice_tiny", "qwen3", "smollm2", "llama3"] {
            let template = template(name);
            let render = |system: &str, user: &str| {
                let messages = [ChatMessage::new(Role::System, system), ChatMessage::new(Role::User, user)];
                template.render(&messages, &as_reference()).unwrap().prompt
            };
            let prompt = render(&system, &user);
            prop_assert_eq!(control_ids(&prompt), control_ids(&render("s", "u")));
            let trimmed = if name == "llama3" { user.trim() } else { &user };
            prop_assert!(prompt.display().contains(trimmed));
        }
    }
}

#[test]
fn chains_of_operators_as_long_as_a_template_may_be_end_in_words() {
    let chains = [
        format!("{{{{ {}1 }}}}", "1+".repeat(32_000)),
        format!("{{{{ 1{} }}}}", "|string".repeat(9_000)),
        format!("{{{{ messages{} }}}}", "[0]".repeat(21_000)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(5_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(32_000), ")".repeat(32_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(16_000)),
    ];
    for source in &chains {
        let files = TemplateFiles {
            jinja: Some(source),
            ..TemplateFiles::default()
        };
        let template = ChatTemplate::new(files, ControlTokens::default());
        let said = template.and_then(|template| {
            let messages = [ChatMessage::new(Role::User, "hi")];
            template.unwrap().render(&messages, &ChatOptions::default())
        });
        // A sum may be a sum; what matters is that it comes to an end.
        assert!(said.is_ok() || !said.unwrap_err().to_string().is_empty());
    }
    let long = "x".repeat((64 << 10) + 1);
    let files = TemplateFiles {
        jinja: Some(&long),
        ..TemplateFiles::default()
    };
    let error = ChatTemplate::new(files, ControlTokens::default()).unwrap_err();
    assert!(error.to_string().contains("65537 bytes"), "{error}");
}

#[test]
fn instructions_whose_words_stand_elsewhere_too_are_not_lost() {
    let source = "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content }}{% endif %}{% if m.role == 'system' and loop.first %}<s>{{ m.content }}{% endif %}{% endfor %}";
    let files = TemplateFiles {
        jinja: Some(source),
        ..TemplateFiles::default()
    };
    let template = ChatTemplate::new(files, ControlTokens::default())
        .unwrap()
        .unwrap();
    let messages = [
        ChatMessage::new(Role::Developer, "Be brief."),
        ChatMessage::new(Role::User, "Be brief. What is a hen?"),
    ];
    let rendered = template.render(&messages, &ChatOptions::default()).unwrap();
    assert_eq!(
        rendered.prompt.display(),
        "<s>Be brief.<u>Be brief. What is a hen?"
    );
    assert_eq!(rendered.notes.len(), 1);
}

#[test]
fn texts_inside_of_lists_are_paid_for_before_they_are_joined() {
    for bomb in [
        "(['a'*1000000]*10000)|join|length",
        "(['a'*1000000]*10000)|string|length",
    ] {
        let source = format!("{{{{ {bomb} }}}}");
        let files = TemplateFiles {
            jinja: Some(&source),
            ..TemplateFiles::default()
        };
        let template = ChatTemplate::new(files, ControlTokens::default());
        let said = template.and_then(|template| {
            let messages = [ChatMessage::new(Role::User, "hi")];
            template.unwrap().render(&messages, &ChatOptions::default())
        });
        assert!(
            matches!(said, Err(TextError::TemplateBudget { .. })),
            "{said:?}"
        );
    }
}
