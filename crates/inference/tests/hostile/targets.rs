//! What is done with bytes that nobody vouches for: one function for each kind of file.
//!
//! In: any bytes. Out: nothing; a target panics where a law of the reader is broken. The test beside this file replays
//! the corpus with them, and the fuzzer in `fuzz/` calls the very same ones.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::reference::Reference;
use lattice_inference::backend::{Backend, Batch, Entry, LoadOptions, OutputRows};
use lattice_inference::checkpoint::{
    Checkpoint, Config, Form, GenerationDefaults, ModelFiles, OpenOptions, Renamed,
};
use lattice_inference::grammar::{Grammar, Grammars};
use lattice_inference::models::{self, Ending, FAMILIES};
use lattice_inference::plan::{Pooling, State};
use lattice_inference::sample::{Guide as _, TokenMask};
use lattice_inference::tokenizer::{
    ChatMessage, ChatOptions, ChatTemplate, HfTokenizer, Prompt, Role, TemplateFiles, Tokenizer,
    TokenizerFiles, Vocabulary,
};
use lattice_inference::tools::{Tool, ToolEvent, ToolFormat, ToolStream};
use lattice_inference::{Model, open_tokenizer};
use serde_json::{Map, Value, json};

/// The files of a model in memory, as long as a target needs them.
pub(crate) type Files = &'static [(&'static str, &'static [u8])];

/// A kind of file: its name, the file's name in a model, and what is done with a model that has it.
pub(crate) struct Target {
    /// As the folder of its corpus is called.
    pub(crate) name: &'static str,
    /// What the bytes are called.
    pub(crate) file: &'static str,
    /// Files that stand beside it.
    pub(crate) beside: fn() -> Files,
    /// Reads the model.
    pub(crate) run: fn(&ModelFiles),
}

/// Every target there is.
pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "safetensors",
        file: "model.safetensors",
        beside: || &[],
        run: weights,
    },
    Target {
        name: "index",
        file: "model.safetensors.index.json",
        beside: || &SHARDS[1..],
        run: weights,
    },
    Target {
        name: "manifest",
        file: "lattice.json",
        beside: || &SHARDS[..1],
        run: weights,
    },
    Target {
        name: "config",
        file: "config.json",
        beside: || &[],
        run: config,
    },
    Target {
        name: "generation",
        file: "generation_config.json",
        beside: || &[],
        run: |files| drop(black_box(GenerationDefaults::open(files))),
    },
    Target {
        name: "tokenizer",
        file: "tokenizer.json",
        beside: || &[],
        run: tokenizer,
    },
    Target {
        name: "vocab_txt",
        file: "vocab.txt",
        beside: || &[],
        run: words,
    },
    Target {
        name: "vocab_json",
        file: "vocab.json",
        beside: || MERGES,
        run: merges,
    },
    Target {
        name: "merges",
        file: "merges.txt",
        beside: || VOCAB,
        run: merges,
    },
    Target {
        name: "sentencepiece",
        file: "tokenizer.model",
        beside: || &[],
        run: sentence_piece,
    },
    Target {
        name: "gguf",
        file: "model.gguf",
        beside: || &[],
        run: gguf,
    },
    Target {
        name: "quantization",
        file: "config.json",
        beside: || GROUPED,
        run: grouped,
    },
    Target {
        name: "modules",
        file: "modules.json",
        beside: || ENCODER,
        run: encoder,
    },
    Target {
        name: "pooling",
        file: "1_Pooling/config.json",
        beside: || POOLED,
        run: encoder,
    },
    Target {
        name: "sentence",
        file: "config_sentence_transformers.json",
        beside: || ENCODER,
        run: encoder,
    },
    Target {
        name: "tokenizer_config",
        file: "tokenizer_config.json",
        beside: || &[],
        run: tokenizer_config,
    },
    Target {
        name: "template",
        file: "chat_template.jinja",
        beside: || &[],
        run: template,
    },
    Target {
        name: "messages",
        file: "messages.json",
        beside: || &[],
        run: messages,
    },
    Target {
        name: "text",
        file: "text.txt",
        beside: || &[],
        run: text,
    },
    Target {
        name: "tool_calls",
        file: "answer.txt",
        beside: || &[],
        run: tool_calls,
    },
    Target {
        name: "grammar",
        file: "grammar.txt",
        beside: || &[],
        run: grammar,
    },
];

/// Longer inputs of these kinds only cost time.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// A right file of weights, under the names that the targets beside it look for.
const SHARDS: Files = &[("model.safetensors", SHARD), ("1.safetensors", SHARD)];
const SHARD: &[u8] = b"\x40\0\0\0\0\0\0\0\
    {\"a.weight\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}} \
    \x80\x3f\0\x40";

const VOCAB: Files = &[(
    "vocab.json",
    br#"{"H":0,"e":1,"l":2,"o":3,"He":4,"lo":5,"\u0120":6,"\u0120w":7,"<unk>":8}"#,
)];
const MERGES: Files = &[("merges.txt", b"#version: 0.2\nH e\nl o\n\xc4\xa0 w\n")];
const GROUPED: Files = &[(
    "model.safetensors",
    include_bytes!("../../../testkit/goldens/grouped/mlx_llama_4/model.safetensors"),
)];

const MODULES: &[u8] = include_bytes!("../../../testkit/goldens/encoders/bert_mean/modules.json");
const POOLING: &[u8] =
    include_bytes!("../../../testkit/goldens/encoders/bert_mean/1_Pooling/config.json");
const BERT: &[u8] = include_bytes!("../../../testkit/goldens/encoders/bert_mean/config.json");
const BERT_WEIGHTS: &[u8] =
    include_bytes!("../../../testkit/goldens/encoders/bert_mean/model.safetensors");
/// An encoder without its modules, and one without its pooling.
const ENCODER: Files = &[
    ("config.json", BERT),
    ("model.safetensors", BERT_WEIGHTS),
    ("1_Pooling/config.json", POOLING),
];
const POOLED: Files = &[
    ("config.json", BERT),
    ("model.safetensors", BERT_WEIGHTS),
    ("modules.json", MODULES),
];

/// What the files of sentence-transformers say, beside a right encoder.
fn encoder(files: &ModelFiles) {
    if let Ok(model) = Model::open(files, &OpenOptions::default()) {
        run(&model);
    }
}

fn weights(files: &ModelFiles) {
    let Ok(checkpoint) = Checkpoint::open(files) else {
        return;
    };
    look_at(&checkpoint);
    for family in FAMILIES {
        if let Ok(renamed) = checkpoint.clone().rename(family.sanitize) {
            let ignored = |(name, _): &(String, _)| checkpoint.tensor(name).map(|t| t.stored_bytes);
            let ignored: usize = renamed.ignored().iter().filter_map(ignored).sum();
            let bytes = renamed.weight_bytes() + ignored as u64;
            assert_eq!(bytes, checkpoint.weight_bytes(), "no tensor is lost");
        }
    }
    let two = checkpoint.names().count() > 1;
    assert!(!two || checkpoint.rename(to_one).is_err());
}

fn to_one(_: &str) -> Renamed<'_> {
    Renamed::Keep("one".into())
}

/// Reads every byte of every tensor in every way there is.
fn look_at(checkpoint: &Checkpoint) {
    let mut bytes = 0;
    for tensor in checkpoint.tensors() {
        bytes += tensor.stored_bytes as u64;
        if let Form::Blocks(_) = tensor.form {
            continue;
        }
        black_box((tensor.as_bf16(), tensor.as_f16(), tensor.as_f32()));
        black_box(tensor.non_finite());
        black_box(checkpoint.check_finite(tensor.name)).ok();
        black_box(checkpoint.check_sum(tensor.name)).ok();
        let aligned = checkpoint.aligned(tensor.name);
        assert_eq!(aligned.as_deref(), Some(tensor.bytes));
        let shape = tensor.shape;
        let found = checkpoint.require(tensor.name, shape);
        assert!(found.is_ok() || !tensor.form.dtype().is_some_and(|dtype| dtype.is_weight()));
        if let Some(dtype) = tensor.form.dtype() {
            let count: usize = shape.iter().product();
            assert_eq!(count, tensor.count());
            assert_eq!((count * dtype.bits()).div_ceil(8), tensor.bytes.len());
        }
    }
    assert_eq!(bytes, checkpoint.weight_bytes());
}

fn config(files: &ModelFiles) {
    let Ok(config) = Config::open(files) else {
        return;
    };
    black_box((config.ids("eos_token_id").ok(), config.rope(None).ok()));
    let vector = Ending::Vector {
        pooling: Pooling::Mean,
        dense: Vec::new(),
    };
    let family = models::family_of(&config).ok();
    let plan = |ending| (family?.plan)(&config, ending).ok();
    for plan in [Ending::Logits, vector, Ending::Scores]
        .iter()
        .filter_map(plan)
    {
        black_box(plan.table(|weight| weight.len() as u64 * 4));
        let footprint = plan.footprint(|weight| weight.len() as u64, |_| 1, 8, 1);
        black_box(footprint);
    }
    black_box((config.unread(), config.notes().len()));
}

/// What config.json says of groups, beside a right file of them.
fn grouped(files: &ModelFiles) {
    if let Ok(model) = Model::open(files, &OpenOptions::default()) {
        run(&model);
    } else if let Ok(checkpoint) = Checkpoint::open(files) {
        black_box(checkpoint.names().count());
    }
}

/// Loads a model on both backends and runs a token, if it is a small one.
fn run(model: &Model) {
    const VALUES_MAX: u64 = 1 << 18;
    let small = model.plan.parameters() <= VALUES_MAX && model.plan.steps.len() <= 256;
    let states: usize = model.plan.states.iter().map(State::fixed_len).sum();
    if !small || states > 1 << 18 {
        return;
    }
    let options = LoadOptions {
        threads: 1,
        context_tokens_max: 8,
        batch_tokens_max: 8,
        ..LoadOptions::default()
    };
    let backends: [&dyn Backend; 2] = [&Reference, &Cpu];
    for backend in backends {
        let (plan, weights) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
        let Ok(mut runner) = backend.load(plan, weights, &options) else {
            continue;
        };
        let sequence = runner.open().expect("nothing is open yet");
        let entries = [Entry {
            sequence,
            ids: &[0],
            types: &[],
            outputs: OutputRows::Last,
        }];
        let width = runner.limits().output_width;
        let rows = runner.run(&Batch { entries: &entries });
        assert!(rows.is_ok_and(|rows| rows.rows.len() == width));
    }
}

/// A GGUF file is a file: it is written where temporary ones are.
fn gguf(files: &ModelFiles) {
    let Ok(Some(bytes)) = files.bytes("model.gguf") else {
        return;
    };
    let name = format!("lattice-hostile-{}.gguf", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, &*bytes).expect("a temporary file can be written");
    let read = || -> Option<()> {
        let files = ModelFiles::open(&path).ok()?;
        black_box(files.names().ok()?);
        let checkpoint = Checkpoint::open(&files).ok()?;
        black_box((checkpoint.names().count(), checkpoint.weight_bytes()));
        let model = Model::open(&files, &OpenOptions::default()).ok()?;
        run(&model);
        let tokenizer = open_tokenizer(&files, &model).ok()?;
        TEXTS.iter().for_each(|text| speak(&tokenizer, text));
        Some(())
    };
    read();
    let _ = std::fs::remove_file(path);
}

/// Texts in which most rules of splitting and normalizing have something to do.
const TEXTS: [&str; 4] = [
    "Hello, world! It's 12345 o'clock.\r\n\n  ",
    " \u{65e5}\u{672c} \u{1f98a}\u{200d} e\u{301} \u{fb01} \u{feff}x",
    "<s></s>[CLS] <|im_end|> \u{2581}a",
    "",
];

fn tokenizer(files: &ModelFiles) {
    let config = files
        .text("tokenizer_config.json", TEXT_BYTES_MAX)
        .ok()
        .flatten();
    let Ok(Some(json)) = files.bytes("tokenizer.json") else {
        return;
    };
    let Ok(tokenizer) = HfTokenizer::from_json(&json, config.as_deref()) else {
        return;
    };
    for text in TEXTS {
        speak(&tokenizer, text);
    }
}

fn words(files: &ModelFiles) {
    let Ok(Some(text)) = files.text("vocab.txt", TEXT_BYTES_MAX) else {
        return;
    };
    vocabulary(Vocabulary::Words(&text));
}

fn merges(files: &ModelFiles) {
    let text = |name| files.text(name, TEXT_BYTES_MAX).ok().flatten();
    if let (Some(vocab), Some(merges)) = (text("vocab.json"), text("merges.txt")) {
        let vocab = vocab.as_bytes();
        let merges = &merges;
        vocabulary(Vocabulary::Merges { vocab, merges });
    }
}

fn sentence_piece(files: &ModelFiles) {
    let name = "tokenizer.model";
    let Ok(Some(bytes)) = files.bytes(name) else {
        return;
    };
    let bytes = &bytes;
    vocabulary(Vocabulary::SentencePiece { name, bytes });
}

fn vocabulary(vocabulary: Vocabulary<'_>) {
    let files = TokenizerFiles {
        vocabulary,
        tokenizer_config: None,
        special_tokens_map: None,
        added_tokens: None,
        model_type: None,
    };
    if let Ok(tokenizer) = HfTokenizer::from_files(&files) {
        TEXTS.iter().for_each(|text| speak(&tokenizer, text));
    }
}

/// Text to ids and back, with a look at what each id may be.
fn speak(tokenizer: &HfTokenizer, text: &str) {
    let Ok(ids) = tokenizer.ids_from_text(text) else {
        return;
    };
    for id in &ids {
        assert!((*id as usize) < tokenizer.ids_max(), "{text:?}: id {id}");
    }
    black_box(tokenizer.text_from_ids(&ids));
    black_box(tokenizer.ids_with_specials_from_text(text)).ok();
}

fn tiny() -> &'static Arc<HfTokenizer> {
    static TINY: LazyLock<Arc<HfTokenizer>> = LazyLock::new(|| {
        let json = include_bytes!("../../../../models/lattice-tiny/tokenizer.json");
        Arc::new(HfTokenizer::from_json(json, None).expect("the bundled tokenizer is right"))
    });
    &TINY
}

fn tokenizer_config(files: &ModelFiles) {
    let Ok(Some(config)) = files.text("tokenizer_config.json", TEXT_BYTES_MAX) else {
        return;
    };
    render(TemplateFiles {
        jinja: None,
        tokenizer_config: Some(&config),
    });
}

fn template(files: &ModelFiles) {
    let Ok(Some(jinja)) = files.text("chat_template.jinja", TEXT_BYTES_MAX) else {
        return;
    };
    render(TemplateFiles {
        jinja: Some(&jinja),
        tokenizer_config: None,
    });
}

fn render(files: TemplateFiles<'_>) {
    let control = tiny().control_tokens();
    let Ok(Some(template)) = ChatTemplate::new(files, control) else {
        return;
    };
    let said = "What does <|im_end|> mean?";
    let mut messages = vec![
        ChatMessage::new(Role::System, "Be brief."),
        ChatMessage::new(Role::User, said),
        ChatMessage::new(Role::Assistant, "<think>\nhm\n</think>\n\nNothing."),
        ChatMessage::new(Role::User, "{{ 7 * 7 }}"),
    ];
    conversation(&template, &messages);
    messages[2].reasoning_content = Some("hm".to_owned());
    conversation(&template, &messages[1..]);
}

/// Renders, and sees that no control token comes from a person's words: in its text alone each word becomes text.
fn conversation(template: &ChatTemplate, messages: &[ChatMessage]) {
    let Ok(rendered) = template.render(messages, &ChatOptions::default()) else {
        return;
    };
    let ids = tiny().ids_from_prompt(&rendered.prompt);
    black_box(ids.ok());
    black_box(rendered.notes.len());
}

fn messages(files: &ModelFiles) {
    static CHATML: LazyLock<ChatTemplate> = LazyLock::new(|| {
        let jinja = include_str!("../../../../models/lattice-tiny/chat_template.jinja");
        let files = TemplateFiles {
            jinja: Some(jinja),
            tokenizer_config: None,
        };
        let template = ChatTemplate::new(files, tiny().control_tokens());
        template.expect("it is right").expect("it is there")
    });
    let Ok(Some(json)) = files.text("messages.json", TEXT_BYTES_MAX) else {
        return;
    };
    let Ok(value) = serde_json::from_str::<Value>(&json) else {
        return;
    };
    if let Ok(messages) = ChatMessage::list_from_json(&value) {
        conversation(&CHATML, &messages);
    }
}

/// The bundled tokenizer loses nothing of a text but how its characters are composed, and nothing in it becomes a
/// control token.
fn text(files: &ModelFiles) {
    let Ok(Some(text)) = files.text("text.txt", TEXT_BYTES_MAX) else {
        return;
    };
    let tokenizer = tiny();
    let Ok(ids) = tokenizer.ids_from_text(&text) else {
        return;
    };
    for spelling in ["<|im_start|>", "<|im_end|>", "<|endoftext|>"] {
        let id = tokenizer.id_from_token(spelling);
        assert!(
            id.is_none_or(|id| !ids.contains(&id)),
            "{text:?}: {spelling}"
        );
    }
    let back = tokenizer.text_from_ids(&ids);
    assert!(
        back == text || !text.is_ascii(),
        "{text:?} came back as {back:?}"
    );
    let again = tokenizer.ids_from_text(&back);
    assert!(again.is_ok_and(|again| again == ids), "{text:?}, {back:?}");
    black_box(tokenizer.ids_from_prompt(&Prompt::trusted(text))).ok();
}

/// Answers that may call tools: the cuts change nothing, arguments are JSON, and a text without calls is not changed.
fn tool_calls(files: &ModelFiles) {
    let Ok(Some(text)) = files.text("answer.txt", TEXT_BYTES_MAX) else {
        return;
    };
    for format in [ToolFormat::QwenXml, ToolFormat::Hermes, ToolFormat::Llama3] {
        let whole = called(format, std::iter::once(text.as_str()));
        let by_character = text
            .char_indices()
            .map(|(at, c)| &text[at..at + c.len_utf8()]);
        assert_eq!(called(format, by_character), whole, "{text:?}");
        let (said, arguments) = whole;
        assert!(
            !arguments.is_empty() || said == text,
            "{text:?} came out as {said:?}"
        );
        for json in arguments {
            let object = serde_json::from_str::<Map<String, Value>>(&json);
            assert!(object.is_ok(), "{text:?}: {json}");
        }
    }
}

/// The text and the arguments of each call, broken ones included.
fn called<'a>(format: ToolFormat, pieces: impl Iterator<Item = &'a str>) -> (String, Vec<String>) {
    let parameters =
        json!({"properties": {"a": {"type": "integer"}, "b": {"type": ["object", "null"]}}});
    let tools =
        json!([{"function": {"name": "f", "parameters": parameters}}, {"function": {"name": "g"}}]);
    let tools = Tool::list_from_json(&tools).expect("good tools");
    let (mut stream, mut events) = (ToolStream::new(format, tools), Vec::new());
    pieces.for_each(|piece| stream.push(piece, &mut events));
    stream.finish(&mut events);
    let (mut said, mut arguments) = (String::new(), Vec::<String>::new());
    for event in events {
        match event {
            ToolEvent::Text(text) => said.push_str(&text),
            ToolEvent::Begin { .. } => arguments.push(String::new()),
            ToolEvent::Arguments { index, json } => arguments[index].push_str(&json),
            ToolEvent::End { .. } | ToolEvent::Broken { .. } | ToolEvent::Note(_) => {}
        }
    }
    (said, arguments)
}

/// A grammar, whose kind the first line says: it is refused in words, or has a first mask or says why not.
fn grammar(files: &ModelFiles) {
    static GRAMMARS: LazyLock<Grammars> =
        LazyLock::new(|| Grammars::new(Arc::<HfTokenizer>::clone(tiny())));
    let Ok(Some(text)) = files.text("grammar.txt", TEXT_BYTES_MAX) else {
        return;
    };
    let (kind, text) = text.split_once('\n').unwrap_or(("regex", &text));
    let grammar = match kind {
        "schema" => Grammar::schema_from_text(text),
        "lark" | "gbnf" => Grammar::from_file(kind, text),
        _ => Ok(Grammar::Regex(text.to_owned())),
    };
    let compiled = grammar.and_then(|grammar| GRAMMARS.compile(&grammar));
    match compiled {
        Err(error) => assert!(error.to_string().len() < 1000, "{error}"),
        Ok(compiled) => {
            let mut mask = TokenMask::from_tokenizer(&**tiny(), tiny().ids_max());
            black_box(compiled.guide(&[]).mask(&mut mask)).ok();
            black_box(compiled.matches("{\"a\": 1}")).ok();
        }
    }
}
