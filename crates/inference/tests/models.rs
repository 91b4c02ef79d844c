//! Models that do not fit together: each is refused with the field or tensor at fault, before anything large is allocated.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{backends, feed_alone, load};
use lattice_inference::Model;
use lattice_inference::backend::LoadOptions;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::{Checkpoint, Mapping, ModelFiles, OpenOptions};
use lattice_inference::plan::{Mask, Op, Step};
use lattice_testkit::{ScratchDir, TensorBytes, families, write_checkpoint};
use serde_json::{Value, json};

/// A golden family's files, to be spoiled.
struct Spoiled {
    config: Value,
    tensors: BTreeMap<String, (String, Vec<usize>, Vec<u8>)>,
}

impl Spoiled {
    fn of(family: &str) -> Self {
        let golden = families()
            .into_iter()
            .find(|golden| golden.name == family)
            .unwrap();
        let config = std::fs::read_to_string(golden.dir.join("config.json")).unwrap();
        let checkpoint = Checkpoint::open(&ModelFiles::open(&golden.dir).unwrap()).unwrap();
        let tensors = checkpoint.tensors().map(|t| {
            let stored = (t.form.to_string(), t.shape.to_vec(), t.bytes.to_vec());
            (t.name.to_owned(), stored)
        });
        Self {
            config: serde_json::from_str(&config).unwrap(),
            tensors: tensors.collect(),
        }
    }

    /// The object that holds the model's fields.
    fn fields(&mut self) -> &mut Value {
        if self.config.get("text_config").is_some() {
            return &mut self.config["text_config"];
        }
        &mut self.config
    }

    fn open(&self) -> Result<Model, String> {
        let dir = ScratchDir::new().unwrap();
        let tensors: Vec<TensorBytes<'_>> = self
            .tensors
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                (
                    name.as_str(),
                    dtype.as_str(),
                    shape.as_slice(),
                    bytes.as_slice(),
                )
            })
            .collect();
        write_checkpoint(dir.path(), &self.config.to_string(), &tensors).unwrap();
        let options = OpenOptions {
            mapping: Mapping::Copied,
        };
        let files = ModelFiles::open(dir.path()).unwrap();
        Model::open(&files, &options).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) {
        let error = self.open().map(drop).unwrap_err();
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    }
}

/// Family, what is put over its fields (JSON), and words of the refusal.
const WRONG: [(&str, &str, &[&str]); 19] = [
    (
        "qwen3_5",
        r#"{"hidden_size": 0}"#,
        &["text_config.hidden_size", "0"],
    ),
    (
        "qwen3_5",
        r#"{"num_hidden_layers": 1e18}"#,
        &["num_hidden_layers"],
    ),
    (
        "qwen3_5",
        r#"{"num_hidden_layers": 1000000000000000000}"#,
        &["1024"],
    ),
    ("qwen3_5", r#"{"rms_norm_eps": -1e-6}"#, &["rms_norm_eps"]),
    (
        "qwen3_5",
        r#"{"num_key_value_heads": 3}"#,
        &["num_key_value_heads", "divide"],
    ),
    (
        "qwen3_5",
        r#"{"linear_num_key_heads": 3}"#,
        &["linear_num_key_heads", "divide"],
    ),
    (
        "qwen3_5",
        r#"{"layer_types": ["full_attention"]}"#,
        &["layer_types", "1 entries"],
    ),
    (
        "qwen3_5",
        r#"{"layer_types": ["a", "b", "c", "d"]}"#,
        &["layer_types", "`a`"],
    ),
    (
        "qwen3_5",
        r#"{"hidden_act": "gelu"}"#,
        &["hidden_act", "silu"],
    ),
    (
        "qwen3_5",
        r#"{"attn_output_gate": false}"#,
        &["attn_output_gate"],
    ),
    (
        "qwen3_5",
        r#"{"mamba_ssm_dtype": "bfloat16"}"#,
        &["mamba_ssm_dtype"],
    ),
    (
        "qwen3_5",
        r#"{"model_type": "mamba"}"#,
        &["model_type", "mamba", "qwen3", "llama"],
    ),
    (
        "qwen3_5_moe",
        r#"{"num_experts_per_tok": 9}"#,
        &["num_experts_per_tok"],
    ),
    (
        "qwen3",
        r#"{"layer_types": ["full_attention", "sliding_attention", "full_attention", "full_attention"]}"#,
        &["layer_types", "no window"],
    ),
    (
        "qwen3",
        r#"{"use_sliding_window": true, "sliding_window": 0}"#,
        &["sliding_window"],
    ),
    (
        "llama",
        r#"{"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}"#,
        &["short_factor", "4 numbers"],
    ),
    (
        "llama",
        r#"{"rope_scaling": {"type": "yarn", "factor": 2.0}, "rope_theta": 1.0}"#,
        &["rope_theta", "above 1"],
    ),
    ("llama", r#"{"pretraining_tp": 2}"#, &["pretraining_tp"]),
    (
        "llama",
        r#"{"rope_scaling": {"type": "su", "factor": 2.0}}"#,
        &["su", "longrope"],
    ),
];

#[test]
fn a_field_out_of_range_is_named() {
    for (family, wrong, words) in WRONG {
        let mut model = Spoiled::of(family);
        let wrong: serde_json::Map<String, Value> = serde_json::from_str(wrong).unwrap();
        model.fields().as_object_mut().unwrap().extend(wrong);
        model.refused(words);
    }
}

#[test]
fn a_missing_field_is_named_and_never_guessed() {
    for field in [
        "hidden_size",
        "head_dim",
        "vocab_size",
        "rms_norm_eps",
        "linear_key_head_dim",
    ] {
        let mut model = Spoiled::of("qwen3_5");
        model.fields().as_object_mut().unwrap().remove(field);
        model.refused(&[field, "missing"]);
    }
}

#[test]
fn tensors_that_do_not_fit_are_listed_all_at_once() {
    let mut model = Spoiled::of("qwen3_5");
    let norm = "model.language_model.norm.weight";
    model.tensors.remove(norm);
    let up = "model.language_model.layers.0.mlp.up_proj.weight";
    model.tensors.get_mut(up).unwrap().1.reverse();
    model.refused(&[norm, up, "[52, 60]", "[60, 52]"]);
    let mut model = Spoiled::of("qwen3_5");
    model.fields()["vocab_size"] = json!(150);
    model.refused(&["embed_tokens.weight", "150", "149"]);
    let mut model = Spoiled::of("qwen3_5_untied");
    model.tensors.remove("lm_head.weight");
    model.refused(&["lm_head.weight"]);
}

#[test]
fn surplus_tensors_and_unheard_fields_are_said() {
    let mut model = Spoiled::of("qwen3_5");
    let head = model.tensors["model.language_model.embed_tokens.weight"].clone();
    model
        .tensors
        .insert("lm_head.weight".to_owned(), head.clone());
    model.tensors.insert("mtp.norm.weight".to_owned(), head);
    model.fields()["logit_softcap"] = json!(30.0);
    let model = model.open().unwrap();
    let notes: Vec<&str> = model.all_notes().map(String::as_str).collect();
    let notes = notes.join("\n");
    for words in [
        "lm_head.weight",
        "ties the head",
        "multi-token",
        "text_config.logit_softcap",
    ] {
        assert!(notes.contains(words), "`{words}` is not in: {notes}");
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name_unless_allowed() {
    let mut model = Spoiled::of("llama");
    let tensor = "model.layers.1.mlp.down_proj.weight";
    let bytes = &mut model.tensors.get_mut(tensor).unwrap().2;
    bytes[20..24].copy_from_slice(&f32::NAN.to_le_bytes());
    bytes[80..84].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let model = model.open().unwrap();
    for backend in backends() {
        let load = |allow_non_finite| {
            let options = LoadOptions {
                allow_non_finite,
                ..LoadOptions::default()
            };
            let (plan, weights) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
            backend.load(plan, weights, &options).map(drop)
        };
        let error = load(false).unwrap_err().to_string();
        for word in [tensor, "2", "5"] {
            assert!(
                error.contains(word),
                "{}: `{word}` is not in: {error}",
                backend.name()
            );
        }
        load(true).unwrap();
    }
}

#[test]
fn sizes_beyond_any_model_are_refused_before_anything_is_made_of_them() {
    for (family, wrong, words) in [
        ("llama", r#"{"head_dim": 16777216}"#, "head_dim"),
        (
            "qwen3",
            r#"{"partial_rotary_factor": 0.5}"#,
            "partial_rotary_factor",
        ),
        ("llama", r#"{"hidden_size": 2147483648}"#, "hidden_size"),
        (
            "qwen3_5_moe",
            r#"{"num_experts": 16777216, "moe_intermediate_size": 16777216, "hidden_size": 16777216}"#,
            "more than 17592186044416 values",
        ),
    ] {
        let mut model = Spoiled::of(family);
        let wrong: serde_json::Map<String, Value> = serde_json::from_str(wrong).unwrap();
        model.fields().as_object_mut().unwrap().extend(wrong);
        model.refused(&[words]);
    }
}

/// The last row of the logits of a few tokens.
fn logits(model: &Model) -> Vec<f32> {
    let (plan, weights) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
    let mut runner = load(&Cpu, &plan, &weights, &LoadOptions::default());
    feed_alone(&mut *runner, &[3, 1, 4, 1, 5], 5)
}

#[test]
fn base_models_without_a_prefix_are_the_same_models() {
    for (family, prefixes) in [
        ("qwen3", &[""][..]),
        ("llama_bias", &[""]),
        ("mistral", &[""]),
        // As the parts of a larger model go by, as text models do, and as some tools put it.
        (
            "qwen3_5",
            &["", "model.", "language_model.", "language_model.model."],
        ),
    ] {
        let full = Spoiled::of(family);
        let expected = logits(&full.open().unwrap());
        for prefix in prefixes {
            let mut base = Spoiled::of(family);
            base.tensors = full
                .tensors
                .clone()
                .into_iter()
                .map(|(name, tensor)| {
                    let inner = name.strip_prefix("model.").unwrap_or(&name);
                    let inner = inner.strip_prefix("language_model.").unwrap_or(inner);
                    let name = if inner.starts_with("lm_head") {
                        inner.to_owned()
                    } else {
                        format!("{prefix}{inner}")
                    };
                    (name, tensor)
                })
                .collect();
            let base = base.open().unwrap();
            assert!(base.all_notes().next().is_none(), "{family} {prefix:?}");
            assert!(logits(&base) == expected, "{family} {prefix:?}");
        }
    }
    let mut both = Spoiled::of("qwen3");
    let norm = both.tensors["model.norm.weight"].clone();
    both.tensors.insert("norm.weight".to_owned(), norm);
    both.refused(&["model.norm.weight", "stands in", "norm.weight"]);
}

#[test]
fn a_base_that_grows_with_the_sequence_is_plain_in_the_trained_context() {
    let plain = Spoiled::of("llama").open().unwrap();
    let mut model = Spoiled::of("llama");
    model.fields()["rope_scaling"] = json!({"rope_type": "dynamic", "factor": 4.0});
    let model = model.open().unwrap();
    assert!(model.notes.is_empty(), "{:?}", model.notes);
    assert_eq!(model.plan.steps.len(), plain.plan.steps.len());
    let same = |(a, b): (&Step, &Step)| a.op == b.op;
    assert!(model.plan.steps.iter().zip(&plain.plan.steps).all(same));
    assert_eq!(model.plan.context_tokens_max, plain.plan.context_tokens_max);
}

#[test]
fn a_stretched_context_is_as_long_as_its_angles_hold() {
    let context = |family: &str, fields: Value| {
        let mut model = Spoiled::of(family);
        let fields = fields.as_object().unwrap().clone();
        model.fields().as_object_mut().unwrap().extend(fields);
        model.open().unwrap().plan.context_tokens_max
    };
    assert_eq!(context("qwen3_yarn", json!({})), 512);
    assert_eq!(context("llama_longrope", json!({})), 512);
    let huge = json!({"rope_scaling": {"type": "yarn", "factor": 1e300}});
    assert_eq!(context("llama", huge), 1 << 24);
}

#[test]
fn a_window_is_said_by_its_family() {
    let windows = |family: &str, fields: Value| -> Vec<Option<usize>> {
        let mut model = Spoiled::of(family);
        let fields = fields.as_object().unwrap().clone();
        model.fields().as_object_mut().unwrap().extend(fields);
        let plan = Arc::clone(&model.open().unwrap().plan);
        let window = |step: &Step| match step.op {
            Op::Attention { mask, .. } => Some(match mask {
                Mask::Window(keys) => Some(keys),
                _ => None,
            }),
            _ => None,
        };
        plan.steps.iter().filter_map(window).collect()
    };
    let some = |keys| Some(keys);
    assert_eq!(
        windows("qwen2", json!({})),
        [None, None, some(40), some(40)]
    );
    assert_eq!(
        windows("qwen2", json!({"use_sliding_window": false})),
        [None; 4]
    );
    assert_eq!(windows("qwen2", json!({"sliding_window": null})), [None; 4]);
    let kinds = [
        "sliding_attention",
        "full_attention",
        "full_attention",
        "sliding_attention",
    ];
    let mixed = json!({"layer_types": kinds, "use_sliding_window": true, "sliding_window": 7});
    assert_eq!(windows("qwen3", mixed), [some(7), None, None, some(7)]);
    assert_eq!(windows("mistral", json!({})), [some(24); 3]);
    assert_eq!(
        windows("mistral", json!({"sliding_window": null})),
        [None; 3]
    );
}

/// The mixture with a tensor for each expert's part, named and shaped as transformers 5.23 saves it.
fn experts_one_by_one() -> Spoiled {
    let mut model = Spoiled::of("qwen3_5_moe");
    let stacked: Vec<String> = model
        .tensors
        .keys()
        .filter(|name| name.contains(".experts."))
        .cloned()
        .collect();
    assert_eq!(stacked.len(), 8);
    for name in stacked {
        let (dtype, shape, bytes) = model.tensors.remove(&name).unwrap();
        let (path, leaf) = name.rsplit_once('.').unwrap();
        let parts: &[&str] = if leaf == "down_proj" {
            &["down_proj"]
        } else {
            &["gate_proj", "up_proj"]
        };
        let rows = shape[1] / parts.len();
        let bytes_each = rows * shape[2] * 4;
        for (index, bytes) in bytes.chunks(bytes_each).enumerate() {
            let (expert, part) = (index / parts.len(), parts[index % parts.len()]);
            let tensor = (dtype.clone(), vec![rows, shape[2]], bytes.to_vec());
            model
                .tensors
                .insert(format!("{path}.{expert}.{part}.weight"), tensor);
        }
    }
    model
}

#[test]
fn experts_that_are_stored_one_by_one_are_the_same_model() {
    let stacked = Spoiled::of("qwen3_5_moe").open().unwrap();
    let model = experts_one_by_one().open().unwrap();
    assert!(model.notes.is_empty(), "{:?}", model.notes);
    assert_eq!(
        model.checkpoint.weight_bytes(),
        stacked.checkpoint.weight_bytes()
    );
    for backend in backends() {
        let rows = |model: &Model| {
            let (plan, weights) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
            let mut runner = load(backend, &plan, &weights, &LoadOptions::default());
            feed_alone(&mut *runner, &[3, 1, 4, 1, 5], 5)
        };
        assert!(rows(&model) == rows(&stacked), "{}", backend.name());
    }
}

#[test]
fn experts_that_make_no_stack_are_refused_by_name() {
    let path = "model.language_model.layers.1.mlp.experts";
    let up = format!("{path}.5.up_proj.weight");
    let mut model = experts_one_by_one();
    let (_, _, bytes) = model.tensors.remove(&up).unwrap();
    model.refused(&["experts.gate_up_proj", "expert 5 has no up_proj"]);
    let halves: Vec<u8> = bytes
        .chunks(4)
        .flat_map(|value| [value[2], value[3]])
        .collect();
    model
        .tensors
        .insert(up.clone(), ("BF16".to_owned(), vec![10, 36], halves));
    model.refused(&["experts.gate_up_proj", &up, "BF16", "F32"]);
    model
        .tensors
        .insert(up.clone(), ("F32".to_owned(), vec![9, 40], bytes.clone()));
    model.refused(&[&up, "[9, 40]", "[10, 36]"]);
    let mut model = experts_one_by_one();
    for part in ["gate_proj", "up_proj", "down_proj"] {
        model
            .tensors
            .remove(&format!("{path}.7.{part}.weight"))
            .unwrap();
    }
    model.refused(&["gate_up_proj", "[8, 20, 36]", "[7, 20, 36]"]);
    let mut model = experts_one_by_one();
    let stack = Spoiled::of("qwen3_5_moe").tensors[&format!("{path}.down_proj")].clone();
    model.tensors.insert(format!("{path}.down_proj"), stack);
    model.refused(&["experts.down_proj", "single experts"]);
    let mut model = experts_one_by_one();
    let down = model.tensors[&format!("{path}.0.down_proj.weight")].clone();
    model
        .tensors
        .insert(format!("{path}.00.down_proj.weight"), down);
    model.refused(&["experts.down_proj", "experts.00.down_proj"]);
    let mut model = experts_one_by_one();
    let nan = &mut model.tensors.get_mut(&up).unwrap().2;
    nan[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    let model = model.open().unwrap();
    for backend in backends() {
        let (plan, weights) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
        let refused = backend
            .load(plan, weights, &LoadOptions::default())
            .map(drop);
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("gate_up_proj") && error.contains('1'),
            "{error}"
        );
    }
}
