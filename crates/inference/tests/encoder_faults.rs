//! Encoders whose files are wrong, or ask for what is not there: each error names the file and the field.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::{Checkpoint, ModelFiles, OpenOptions};
use lattice_inference::encoder::{EncodedText, Given};
use lattice_inference::plan::Pooling;
use lattice_inference::quantize::{Recipe, Source, WriteOptions, write};
use lattice_inference::{
    CrossEncoder, Encoder, EncoderOptions, Engine, EngineOptions, Model, Purpose,
};
use lattice_kernels::PackedScheme;
use lattice_testkit::{ScratchDir, TensorBytes, cross_encoders, encoder, write_checkpoint};
use serde_json::{Value, json};

/// A copy of a golden's directory, to be spoilt.
struct Copy(ScratchDir);

impl Copy {
    fn of(dir: &Path) -> Self {
        let copy = ScratchDir::new().unwrap();
        copy_into(dir, copy.path());
        Self(copy)
    }

    fn golden(name: &str) -> Self {
        Self::of(&encoder(name).dir)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// The same with a field of a JSON file set, or taken out.
    fn set(self, file: &str, pointer: &str, value: Value) -> Self {
        let mut whole: Value = match fs::read_to_string(self.path(file)) {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(_) => json!({}),
        };
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = whole.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(values) => values[key.parse::<usize>().unwrap()] = value,
            parent if value.is_null() => drop(parent.as_object_mut().unwrap().remove(key)),
            parent => parent[key] = value,
        }
        fs::write(self.path(file), whole.to_string()).unwrap();
        self
    }

    fn without(self, file: &str) -> Self {
        fs::remove_file(self.path(file)).unwrap();
        self
    }

    fn files(&self) -> ModelFiles {
        ModelFiles::open(self.0.path()).unwrap()
    }

    fn open(&self, given: &Given) -> Result<Encoder, String> {
        let options = EncoderOptions {
            given: given.clone(),
            ..EncoderOptions::default()
        };
        Encoder::open(&self.files(), &Cpu, &options).map_err(|error| error.to_string())
    }

    /// The error of opening it.
    #[track_caller]
    fn error(&self) -> String {
        self.open(&Given::default()).err().unwrap()
    }
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn modules_that_are_not_there_or_not_supported_are_named() {
    let cases = [
        (
            Copy::golden("bert_mean").without("1_Pooling/config.json"),
            "1_Pooling/config.json: cannot open: entity not found",
        ),
        (
            Copy::golden("bert_mean").set(
                "modules.json",
                "/1/type",
                json!("sentence_transformers.models.LSTM"),
            ),
            "modules.json: [1].type: `sentence_transformers.models.LSTM` in this place: Transformer, Pooling, Dense and \
             Normalize are supported, in this order",
        ),
        (
            Copy::golden("bert_mean").set("modules.json", "/0/path", json!("0_Transformer")),
            "modules.json: [0].path: a transformer in a folder of its own (`0_Transformer`) is not supported",
        ),
        (
            Copy::golden("bert_mean").set("modules.json", "/2", json!(7)),
            "modules.json: [2]: is not an object",
        ),
        (
            Copy::golden("bert_mean").set(
                "1_Pooling/config.json",
                "/pooling_mode_max_tokens",
                json!(true),
            ),
            "1_Pooling/config.json: pooling_mode: max and mean at once is not supported",
        ),
        (
            Copy::golden("bert_mean").set(
                "1_Pooling/config.json",
                "/pooling_mode",
                json!("attention"),
            ),
            "1_Pooling/config.json: pooling_mode: `attention` is not supported",
        ),
        (
            Copy::golden("bert_mean").set(
                "1_Pooling/config.json",
                "/word_embedding_dimension",
                json!(25),
            ),
            "1_Pooling/config.json: word_embedding_dimension: is 25, the model's hidden states have 24 columns",
        ),
        (
            Copy::golden("bert_dense").set(
                "2_Dense/config.json",
                "/activation_function",
                json!("torch.nn.modules.activation.Softsign"),
            ),
            "2_Dense/config.json: activation_function: `torch.nn.modules.activation.Softsign` is not supported",
        ),
        (
            Copy::golden("bert_dense").set("2_Dense/config.json", "/in_features", json!(23)),
            "2_Dense.linear: in_features: is 23, the layer's input has 24 columns",
        ),
        (
            Copy::golden("bert_dense").without("2_Dense/model.safetensors"),
            "2_Dense/model.safetensors: cannot open: entity not found",
        ),
    ];
    for (copy, expected) in cases {
        assert_eq!(copy.error(), expected);
    }
}

#[test]
fn configurations_that_do_not_go_together_are_refused_by_field() {
    let transformer = "sentence_bert_config.json";
    let sentence = "config_sentence_transformers.json";
    let cases = [
        (
            Copy::golden("bert_cls").set(transformer, "/max_seq_length", json!(33)),
            "sentence_bert_config.json: max_seq_length: is 33, the model has positions for 32 tokens",
        ),
        (
            Copy::golden("xlm_roberta_mean").set(transformer, "/max_seq_length", json!(33)),
            "sentence_bert_config.json: max_seq_length: is 33, the model has positions for 32 tokens",
        ),
        (
            Copy::golden("xlm_roberta_mean").set(
                "config.json",
                "/max_position_embeddings",
                json!(2),
            ),
            "config.json: max_position_embeddings: is 2, and the first 2 are not for tokens",
        ),
        (
            Copy::golden("bert_cls").set(sentence, "/default_prompt_name", json!("ask")),
            "config_sentence_transformers.json: default_prompt_name: there is no prompt of the name \"ask\"",
        ),
        (
            Copy::golden("bert_cls").set("config.json", "/hidden_act", json!("mish")),
            "config.json: hidden_act: `mish` is not supported",
        ),
        (
            Copy::golden("bert_cls").set(
                "config.json",
                "/position_embedding_type",
                json!("relative_key"),
            ),
            "config.json: position_embedding_type: expected \"absolute\", found \"relative_key\": no other is supported",
        ),
        (
            Copy::golden("bert_cls").set("config.json", "/num_attention_heads", json!(5)),
            "config.json: num_attention_heads: 5 does not divide hidden_size (24)",
        ),
    ];
    for (copy, expected) in cases {
        assert_eq!(copy.error(), expected);
    }
}

#[test]
fn weights_that_end_early_or_are_not_finite_are_refused() {
    let copy = Copy::golden("bert_mean");
    let weights = copy.path("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 5]).unwrap();
    assert!(copy.error().contains("ends at byte"), "{}", copy.error());
    // The first value of the data is one that the model reads.
    let mut broken = whole.clone();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    broken[8 + header..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, &broken).unwrap();
    let error = copy.error();
    assert!(error.contains("1 values are NaN or infinite"), "{error}");
    let copy = Copy::golden("bert_dense");
    let weights = copy.path("2_Dense/model.safetensors");
    let mut broken = fs::read(&weights).unwrap();
    let last = broken.len() - 4;
    broken[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&weights, &broken).unwrap();
    let error = copy.error();
    assert!(
        error.starts_with("2_Dense/model.safetensors: tensor 2_Dense.linear"),
        "{error}"
    );
}

#[test]
fn texts_and_pairs_that_do_not_fit_are_refused() {
    let mut model = Copy::golden("bert_mean").open(&Given::default()).unwrap();
    let mut refused = |texts: &[&[u32]]| model.encode(texts).unwrap_err().to_string();
    assert_eq!(refused(&[&[2, 3], &[]]), "text 1 has no tokens");
    assert_eq!(refused(&[&[2; 21]]), "text 0 has 21 tokens, at most 20");
    let error = refused(&[&[1_000_000]]);
    assert!(
        error.starts_with("token id 1000000 is outside of the vocabulary"),
        "{error}"
    );
    let golden = cross_encoders().remove(0);
    let files = ModelFiles::open(&golden.dir).unwrap();
    let mut cross = CrossEncoder::open(&files, &Cpu, &EncoderOptions::default()).unwrap();
    let mut refused = |type_ids: &[u32]| {
        let pair = EncodedText {
            ids: vec![2, 3],
            type_ids: type_ids.to_vec(),
            tokens_before: 2,
            prompt_tokens: 0,
        };
        cross.score(&[pair]).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&[0, 2]),
        "token type 2 is outside of the 2 that the model tells apart"
    );
    assert_eq!(refused(&[1]), "an entry has 2 ids and 1 token types");
}

#[test]
fn every_model_says_what_it_is_to_who_wants_something_else() {
    let bert = encoder("bert_mean").dir;
    let cross = cross_encoders().remove(0).dir;
    let open = |dir: &Path| ModelFiles::open(dir).unwrap();
    let chat = |dir: &Path| {
        let engine = Engine::open(&open(dir), &Cpu, &EngineOptions::default());
        engine.err().unwrap().to_string()
    };
    assert_eq!(
        chat(&bert),
        "this is an embedding model (bert): it does not generate text"
    );
    assert_eq!(
        chat(&encoder("qwen3_last").dir),
        "this is an embedding model (qwen3): it does not generate text"
    );
    assert_eq!(
        chat(&cross),
        "this is a cross-encoder (bert): it does not generate text"
    );
    let options = EncoderOptions::default();
    let error = CrossEncoder::open(&open(&bert), &Cpu, &options);
    assert_eq!(
        error.err().unwrap().to_string(),
        "this is an embedding model (bert): it does not score pairs of texts"
    );
    let error = Encoder::open(&open(&cross), &Cpu, &options);
    assert_eq!(
        error.err().unwrap().to_string(),
        "this is a cross-encoder (bert): it does not make vectors of texts"
    );
}

#[test]
fn a_bare_directory_pools_by_the_mean_and_says_so() {
    let copy = Copy::golden("bert_cls").without("modules.json");
    let model = Model::open(&copy.files(), &OpenOptions::default()).unwrap();
    let Purpose::Vectors(settings) = &model.purpose else {
        panic!("{:?}", model.purpose)
    };
    assert_eq!(settings.pooling, Pooling::Mean);
    assert!(!settings.normalise);
    let note = "no modules.json says how its tokens become one vector: mean pooling is taken";
    assert!(model.notes.iter().any(|found| found == note));
    let given = Given {
        pooling: Some(Pooling::Cls),
        normalise: Some(true),
        ..Given::default()
    };
    let golden = encoder("bert_cls");
    let ids: Vec<&[u32]> = golden.texts.plain.ids.iter().map(Vec::as_slice).collect();
    let bare = copy.open(&given).unwrap().encode(&ids).unwrap();
    let whole = Copy::golden("bert_cls").open(&Given::default());
    assert_eq!(bare, whole.unwrap().encode(&ids).unwrap());
}

#[test]
fn unknown_fields_are_said() {
    let copy = Copy::golden("bert_cls")
        .set("1_Pooling/config.json", "/pooling_mode_secret", json!(true))
        .set("sentence_bert_config.json", "/some_length", json!(4))
        .set("config.json", "/some_flag", json!(true));
    let model = Model::open(&copy.files(), &OpenOptions::default()).unwrap();
    for note in [
        "1_Pooling/config.json: not used: pooling_mode_secret",
        "sentence_bert_config.json: not used: some_length",
        "config.json: not used: some_flag",
    ] {
        assert!(
            model.notes.iter().any(|found| found == note),
            "{:?}",
            model.notes
        );
    }
}

/// The tensors of a model under other names.
fn renamed(dir: &Path, rename: impl Fn(&str) -> String) -> Copy {
    let copy = Copy::of(dir);
    let checkpoint = Checkpoint::open(&ModelFiles::open(dir).unwrap()).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = checkpoint
        .tensors()
        .map(|tensor| {
            let shape = tensor.shape.to_vec();
            (rename(tensor.name), shape, tensor.bytes.to_vec())
        })
        .collect();
    let tensors: Vec<TensorBytes<'_>> = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), "F32", &shape[..], &bytes[..]))
        .collect();
    let config = fs::read_to_string(dir.join("config.json")).unwrap();
    write_checkpoint(copy.0.path(), &config, &tensors).unwrap();
    copy
}

#[test]
fn older_names_of_tensors_mean_the_same() {
    let golden = encoder("bert_cls");
    let ids: Vec<&[u32]> = golden.texts.plain.ids.iter().map(Vec::as_slice).collect();
    let mut plain = Copy::golden("bert_cls").open(&Given::default()).unwrap();
    let expected = plain.encode(&ids).unwrap();
    let older = renamed(&golden.dir, |name| {
        let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        format!("bert.{}", name.replace("LayerNorm.bias", "LayerNorm.beta"))
    });
    let found = older.open(&Given::default()).unwrap().encode(&ids).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn a_packed_copy_takes_its_modules_along() {
    for name in ["bert_dense", "qwen3_last"] {
        let golden = encoder(name);
        let source = Source::open(
            &ModelFiles::open(&golden.dir).unwrap(),
            &OpenOptions::default(),
        );
        let out = ScratchDir::new().unwrap();
        let out = out.path().join("packed");
        let options = WriteOptions {
            threads: 1,
            ..WriteOptions::default()
        };
        let recipe = Recipe::new(PackedScheme::Q8);
        let watch = &mut |_: lattice_inference::quantize::Progress<'_>| ControlFlow::Continue(());
        let staged = write(&source.unwrap(), &recipe, &out, &options, watch).unwrap();
        staged.publish(None).unwrap();
        let files = ModelFiles::open(&out).unwrap();
        let mut packed = Encoder::open(&files, &Cpu, &EncoderOptions::default()).unwrap();
        let rows = &golden.texts.plain.rows;
        assert_eq!(packed.settings().dims, rows[0].len());
        let ids: Vec<&[u32]> = golden.texts.plain.ids.iter().map(Vec::as_slice).collect();
        let found = packed.encode(&ids).unwrap();
        for (expected, found) in rows.iter().zip(found.chunks_exact(rows[0].len())) {
            let products = expected.iter().zip(found);
            let cosine: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!(cosine > 0.999, "{name}: cosine {cosine}");
        }
    }
}
