//! Checkpoints as MLX, AWQ and GPTQ store them: logits of the peer or of transformers, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use common::{backends, feed_alone, load};
use lattice_inference::Model;
use lattice_inference::backend::{Backend, KvFormat, LoadOptions, cpu::Cpu};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::quantize::{Recipe, Source, WriteOptions, write};
use lattice_kernels::PackedScheme;
use lattice_testkit::{
    GroupedGolden, PromptGolden, ScratchDir, grouped, grouped_in, nmse, tolerance,
};
use serde_json::{Value, json};

fn open(dir: &Path) -> Result<Model, lattice_inference::Error> {
    let files = ModelFiles::open(dir)?;
    Model::open(&files, &OpenOptions::default())
}

/// How far a model's logits are from a golden, by the tokens of the prompt.
fn errors(
    golden: &GroupedGolden,
    model: &Model,
    backend: &dyn Backend,
    options: &LoadOptions,
) -> Vec<(usize, f64)> {
    let mut runner = load(backend, &model.plan, &model.checkpoint, options);
    let error = |prompt: &PromptGolden| {
        let rows = feed_alone(&mut *runner, &prompt.ids, 512);
        let error = nmse(&prompt.logits, &rows[prompt.first_row * golden.vocab..]);
        (prompt.ids.len(), error)
    };
    golden.prompts.iter().map(error).collect()
}

#[test]
fn logits_equal_those_of_the_reference() {
    let goldens = grouped();
    assert_eq!(goldens.len(), 8);
    let mut far = Vec::new();
    for golden in goldens {
        let model = open(&golden.dir).unwrap();
        assert!(model.notes.is_empty(), "{}: {:?}", golden.name, model.notes);
        for backend in backends() {
            let options = LoadOptions {
                output_rows_max: 512,
                threads: 2,
                kv: Some(KvFormat::F32),
                ..LoadOptions::default()
            };
            // The reference backend computes with the values that the groups stand for.
            let limit = match (backend.name(), golden.name.ends_with("_f16")) {
                ("cpu", true) => "f16",
                ("cpu", false) => "g4_64m",
                _ => "f32",
            };
            for (tokens, error) in errors(&golden, &model, backend, &options) {
                println!(
                    "{} {} {tokens}: NMSE {error:.1e}",
                    golden.name,
                    backend.name()
                );
                if error > tolerance::nmse_limit(limit) {
                    far.push(golden.name.clone());
                }
            }
        }
    }
    assert!(far.is_empty(), "{far:?}");
}

#[test]
fn real_checkpoints_of_mlx_give_its_logits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../real/grouped");
    if !folder.is_dir() {
        println!("did not run: {} is not there", folder.display());
        return;
    }
    for golden in grouped_in(&folder) {
        let model = open(&golden.dir).unwrap();
        let options = LoadOptions {
            output_rows_max: 512,
            threads: 2,
            ..LoadOptions::default()
        };
        for (tokens, error) in errors(&golden, &model, &Cpu, &options) {
            println!("{} {tokens}: NMSE {error:.1e}", golden.name);
            assert!(
                error <= tolerance::nmse_limit("g4_64m"),
                "{}: {error:e}",
                golden.name
            );
        }
    }
}

/// A golden's files with a changed configuration, header and data.
struct Changed {
    scratch: ScratchDir,
    config: Value,
    header: Value,
    data: Vec<u8>,
}

impl Changed {
    fn of(name: &str) -> Self {
        let goldens = grouped();
        let golden = goldens.iter().find(|golden| golden.name == name).unwrap();
        let read = |file: &str| std::fs::read(golden.dir.join(file)).unwrap();
        let file = read("model.safetensors");
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let (header, data) = file[8..].split_at(length);
        Self {
            scratch: ScratchDir::new().unwrap(),
            config: serde_json::from_slice(&read("config.json")).unwrap(),
            header: serde_json::from_slice(header).unwrap(),
            data: data.to_vec(),
        }
    }

    fn open(&self) -> Result<Model, lattice_inference::Error> {
        let write = |file: &str, bytes: &[u8]| {
            std::fs::write(self.scratch.path().join(file), bytes).unwrap();
        };
        let header = self.header.to_string().into_bytes();
        let length = (header.len() as u64).to_le_bytes();
        write("config.json", self.config.to_string().as_bytes());
        write(
            "model.safetensors",
            &[&length, &header[..], &self.data].concat(),
        );
        open(self.scratch.path())
    }

    fn refusal(&self) -> String {
        match self.open() {
            Ok(_) => panic!("{} was taken", self.config),
            Err(error) => error.to_string(),
        }
    }

    /// What stands in place of the field `quantization`.
    fn quantization(&mut self, key: &str, value: Value) -> &mut Self {
        for field in ["quantization", "quantization_config"] {
            if let Some(fields) = self.config.get_mut(field) {
                fields[key] = value.clone();
            }
        }
        self
    }

    fn rename(&mut self, from: &str, to: &str) {
        let entry = self.header.as_object_mut().unwrap().remove(from).unwrap();
        self.header[to] = entry;
    }
}

#[test]
fn other_ways_to_store_weights_are_refused_by_name() {
    let supported = "is not supported; 4 and 8 are";
    let rows: [(&str, &str, Value, String); 20] = [
        (
            "mlx_llama_4",
            "bits",
            json!(3),
            format!("quantization.bits: 3 {supported}"),
        ),
        (
            "mlx_llama_4",
            "bits",
            json!(6),
            format!("quantization.bits: 6 {supported}"),
        ),
        (
            "mlx_llama_4",
            "bits",
            json!("4"),
            format!("quantization.bits: \"4\" {supported}"),
        ),
        (
            "mlx_llama_4",
            "group_size",
            json!(16),
            "quantization.group_size: 16 is not supported; 32, 64 and 128 are".to_owned(),
        ),
        (
            "mlx_llama_4",
            "mode",
            json!("mxfp4"),
            "quantization.mode: \"mxfp4\" is not supported; affine is".to_owned(),
        ),
        (
            "mlx_llama_4",
            "mode",
            json!("nvfp4"),
            "quantization.mode: \"nvfp4\" is not supported; affine is".to_owned(),
        ),
        (
            "mlx_llama_4",
            "model.layers.0.mlp.up_proj",
            json!({"bits": 5, "group_size": 32}),
            format!("quantization.model.layers.0.mlp.up_proj.bits: 5 {supported}"),
        ),
        (
            "awq_llama",
            "bits",
            json!(8),
            "quantization_config.bits: 8 is not supported; 4 is".to_owned(),
        ),
        (
            "awq_llama",
            "version",
            json!("gemv"),
            "quantization_config.version: \"gemv\" is not supported; gemm is".to_owned(),
        ),
        (
            "awq_llama",
            "group_size",
            json!(-1),
            "quantization_config.group_size: -1 is not supported".to_owned(),
        ),
        (
            "gptq_llama",
            "bits",
            json!(3),
            format!("quantization_config.bits: 3 {supported}"),
        ),
        (
            "gptq_llama",
            "bits",
            json!(2),
            format!("quantization_config.bits: 2 {supported}"),
        ),
        (
            "gptq_llama",
            "checkpoint_format",
            json!("marlin"),
            "quantization_config.checkpoint_format: \"marlin\" is not supported".to_owned(),
        ),
        (
            "gptq_llama",
            "quant_method",
            json!("fp8"),
            refused_method("fp8"),
        ),
        (
            "gptq_llama",
            "quant_method",
            json!("bitsandbytes"),
            refused_method("bitsandbytes"),
        ),
        (
            "gptq_llama",
            "quant_method",
            json!("compressed-tensors"),
            refused_method("compressed-tensors"),
        ),
        (
            "gptq_llama",
            "quant_method",
            json!("hqq"),
            refused_method("hqq"),
        ),
        (
            "gptq_llama",
            "quant_method",
            json!("mxfp4"),
            refused_method("mxfp4"),
        ),
        (
            "gptq_llama",
            "quant_method",
            json!("auto-round"),
            refused_method("auto-round"),
        ),
        ("gptq_llama", "quant_method", json!(7), refused_method("")),
    ];
    for (name, key, value, sentence) in rows {
        let refusal = Changed::of(name).quantization(key, value).refusal();
        assert!(
            refusal.starts_with(&format!("config.json: {sentence}")),
            "{refusal}"
        );
    }
}

fn refused_method(method: &str) -> String {
    format!(
        "quantization_config.quant_method: weights stored by `{method}` are not supported; those of MLX, AWQ and GPTQ are"
    )
}

#[test]
fn parts_that_do_not_fit_are_refused_with_the_tensor() {
    let mlp = "model.layers.0.mlp.up_proj";
    let check = |name: &str, change: &dyn Fn(&mut Changed), wants: [&str; 2]| {
        let mut changed = Changed::of(name);
        change(&mut changed);
        let refusal = changed.refusal();
        assert!(
            wants.iter().all(|want| refusal.contains(want)),
            "{wants:?}: {refusal}"
        );
    };
    let rename = |end: &'static str| {
        move |c: &mut Changed| c.rename(&format!("{mlp}.{end}"), &format!("{mlp}.x"))
    };
    let set = |end: &'static str, key: &'static str, value: Value| {
        move |c: &mut Changed| c.header[&format!("{mlp}.{end}")][key] = value.clone()
    };
    for end in ["biases", "weight"] {
        check(
            "mlx_llama_4",
            &rename(end),
            [&format!("{mlp}.{end}"), "missing"],
        );
    }
    for name in ["awq_llama", "gptq_llama"] {
        for end in ["qzeros", "scales"] {
            check(name, &rename(end), [&format!("{mlp}.{end}"), "missing"]);
        }
        check(
            name,
            &set("scales", "shape", json!([96, 2])),
            [&format!("{mlp}.scales"), "[2, 96]"],
        );
        check(
            name,
            &set("qzeros", "shape", json!([12, 2])),
            [&format!("{mlp}.qzeros"), "[2, 12]"],
        );
        check(
            name,
            &set("scales", "dtype", json!("I16")),
            [
                &format!("{mlp}.scales"),
                "is I16, expected F16 or BF16 or F32",
            ],
        );
        check(
            name,
            &set("qweight", "shape", json!([768])),
            [&format!("{mlp}.qweight"), "no matrix of words"],
        );
    }
    check(
        "mlx_llama_4",
        &set("scales", "shape", json!([2, 96])),
        [&format!("{mlp}.scales"), "[96, 2]"],
    );
    check(
        "mlx_llama_4",
        &set("biases", "dtype", json!("BF16")),
        [&format!("{mlp}.biases"), "is BF16, expected F16"],
    );
    check(
        "mlx_llama_4",
        &set("weight", "dtype", json!("F32")),
        [&format!("{mlp}.weight"), "is F32, expected U32 or I32"],
    );
    check(
        "mlx_llama_4",
        &set("weight", "shape", json!([768])),
        [&format!("{mlp}.weight"), "no matrix of words"],
    );
    check(
        "gptq_llama",
        &set("g_idx", "shape", json!([8, 8])),
        [&format!("{mlp}.g_idx"), "[64]"],
    );
    let act_order = |c: &mut Changed| {
        let begin = c.header[&format!("{mlp}.g_idx")]["data_offsets"][0]
            .as_u64()
            .unwrap() as usize;
        c.data[begin + 4 * 9] = 1;
    };
    check(
        "gptq_llama",
        &act_order,
        [
            &format!("{mlp}.g_idx"),
            "column 9 is in group 1: an order of columns (act-order, `desc_act`)",
        ],
    );
    let switch = "language_model.model.layers.0.mlp.switch_mlp";
    let no_up = |c: &mut Changed| {
        for end in ["weight", "scales", "biases"] {
            c.rename(
                &format!("{switch}.up_proj.{end}"),
                &format!("{switch}.x.{end}"),
            );
        }
    };
    check(
        "mlx_qwen3_5_moe",
        &no_up,
        ["switch_mlp.up_proj.weight", "missing"],
    );
}

#[test]
fn a_scale_that_is_not_finite_is_refused_when_it_is_loaded() {
    for (name, end) in [
        ("mlx_llama_4", "biases"),
        ("awq_llama", "scales"),
        ("gptq_llama", "scales"),
    ] {
        let mut changed = Changed::of(name);
        let tensor = format!("model.layers.0.mlp.up_proj.{end}");
        let begin = changed.header[&tensor]["data_offsets"][0].as_u64().unwrap() as usize;
        changed.data[begin..begin + 2].copy_from_slice(&[0x00, 0x7c]);
        let model = changed.open().unwrap();
        for backend in backends() {
            let options = LoadOptions::default();
            let refusal = backend.load(
                Arc::clone(&model.plan),
                Arc::clone(&model.checkpoint),
                &options,
            );
            let refusal = refusal.err().unwrap().to_string();
            assert!(
                refusal.contains("model.layers.0.mlp.up_proj.weight"),
                "{refusal}"
            );
        }
    }
}

#[test]
fn a_model_in_groups_can_be_packed_and_opened_again() {
    let options = LoadOptions {
        output_rows_max: 512,
        threads: 2,
        ..LoadOptions::default()
    };
    for golden in grouped() {
        let scratch = ScratchDir::new().unwrap();
        let out = scratch.path().join("packed");
        let files = ModelFiles::open(&golden.dir).unwrap();
        let source = Source::open(&files, &OpenOptions::default()).unwrap();
        let recipe = Recipe::new(PackedScheme::Q8);
        let staged = write(
            &source,
            &recipe,
            &out,
            &WriteOptions::default(),
            &mut |_| ControlFlow::Continue(()),
        );
        staged.unwrap().publish(None).unwrap();
        let model = open(&out).unwrap();
        for (tokens, error) in errors(&golden, &model, &Cpu, &options) {
            println!("{} {tokens}: NMSE {error:.1e}", golden.name);
            // A row of a mixture may change an expert.
            let limit = if golden.name.contains("moe") {
                0.2
            } else {
                1e-2
            };
            assert!(error < limit, "{}: NMSE {error:e}", golden.name);
        }
    }
}
