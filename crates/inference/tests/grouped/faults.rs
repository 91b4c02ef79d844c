//! What is not supported about groups is refused with the field or the tensor.

use std::sync::Arc;

use lattice_inference::Model;
use lattice_inference::backend::LoadOptions;
use lattice_testkit::{ScratchDir, grouped};
use serde_json::{Value, json};

use super::common::backends;
use super::open;

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

/// Each field with each value is refused with its sentence.
fn fields_are_refused(name: &str, prefix: &str, rows: &[(&str, Value, &str)]) {
    for (key, value, sentence) in rows {
        let refusal = Changed::of(name).quantization(key, value.clone()).refusal();
        let wanted = format!("config.json: {prefix}.{key}{sentence}");
        assert!(refusal.starts_with(&wanted), "{refusal}");
    }
}

const BITS: &str = " is not supported; 4 and 8 are";

#[test]
fn other_forms_of_mlx_are_refused_by_name() {
    let rows = [
        ("bits", json!(2), &format!(": 2{BITS}")[..]),
        ("bits", json!(3), &format!(": 3{BITS}")),
        ("bits", json!(5), &format!(": 5{BITS}")),
        ("bits", json!(6), &format!(": 6{BITS}")),
        ("bits", json!("4"), &format!(": \"4\"{BITS}")),
        (
            "group_size",
            json!(16),
            ": 16 is not supported; 32, 64 and 128 are",
        ),
        (
            "mode",
            json!("mxfp4"),
            ": \"mxfp4\" is not supported; affine is",
        ),
        (
            "mode",
            json!("mxfp8"),
            ": \"mxfp8\" is not supported; affine is",
        ),
        (
            "mode",
            json!("nvfp4"),
            ": \"nvfp4\" is not supported; affine is",
        ),
        (
            "model.layers.0.mlp.up_proj",
            json!({"bits": 5, "group_size": 32}),
            &format!(".bits: 5{BITS}"),
        ),
    ];
    fields_are_refused("mlx_llama_4", "quantization", &rows);
}

#[test]
fn other_forms_of_awq_and_gptq_are_refused_by_name() {
    let rows = [
        ("bits", json!(8), ": 8 is not supported; 4 is"),
        (
            "version",
            json!("gemv"),
            ": \"gemv\" is not supported; gemm is",
        ),
        (
            "group_size",
            json!(-1),
            ": -1 is not supported; 32, 64 and 128 are",
        ),
    ];
    fields_are_refused("awq_llama", "quantization_config", &rows);
    let rows = [
        ("bits", json!(2), &format!(": 2{BITS}")[..]),
        ("bits", json!(3), &format!(": 3{BITS}")),
        (
            "group_size",
            json!(-1),
            ": -1 is not supported; 32, 64 and 128 are",
        ),
        (
            "checkpoint_format",
            json!("marlin"),
            ": \"marlin\" is not supported; gptq or gptq_v2 is",
        ),
    ];
    fields_are_refused("gptq_llama", "quantization_config", &rows);
}

#[test]
fn other_makers_are_refused_by_name() {
    for method in [
        "fp8",
        "bitsandbytes",
        "compressed-tensors",
        "hqq",
        "mxfp4",
        "auto-round",
        "",
    ] {
        let sentence = format!(
            ": weights stored by `{method}` are not supported; those of MLX, AWQ and GPTQ are"
        );
        let rows = [("quant_method", json!(method), &sentence[..])];
        fields_are_refused("gptq_llama", "quantization_config", &rows);
    }
}

const MLP: &str = "model.layers.0.mlp.up_proj";

/// A changed golden is refused with these words.
fn refused(name: &str, change: impl Fn(&mut Changed), wants: [&str; 2]) {
    let mut changed = Changed::of(name);
    change(&mut changed);
    let refusal = changed.refusal();
    assert!(
        wants.iter().all(|want| refusal.contains(want)),
        "{wants:?}: {refusal}"
    );
}

fn without(end: &str) -> impl Fn(&mut Changed) {
    move |c| c.rename(&format!("{MLP}.{end}"), &format!("{MLP}.x"))
}

fn with(end: &str, key: &str, value: Value) -> impl Fn(&mut Changed) {
    move |c| c.header[&format!("{MLP}.{end}")][key] = value.clone()
}

#[test]
fn parts_of_mlx_that_do_not_fit_are_refused_with_the_tensor() {
    let name = "mlx_llama_4";
    for end in ["biases", "weight"] {
        refused(name, without(end), [&format!("{MLP}.{end}"), "missing"]);
    }
    refused(
        name,
        with("scales", "shape", json!([2, 96])),
        ["up_proj.scales", "[96, 2]"],
    );
    refused(
        name,
        with("biases", "dtype", json!("BF16")),
        ["up_proj.biases", "is BF16, expected F16"],
    );
    refused(
        name,
        with("weight", "dtype", json!("F32")),
        ["up_proj.weight", "is F32, expected U32 or I32"],
    );
    refused(
        name,
        with("weight", "shape", json!([768])),
        ["up_proj.weight", "no matrix of words"],
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
    refused(
        "mlx_qwen3_5_moe",
        no_up,
        ["switch_mlp.up_proj.weight", "missing"],
    );
}

#[test]
fn parts_of_awq_and_gptq_that_do_not_fit_are_refused_with_the_tensor() {
    for name in ["awq_llama", "gptq_llama"] {
        for end in ["qzeros", "scales"] {
            refused(name, without(end), [&format!("{MLP}.{end}"), "missing"]);
        }
        refused(
            name,
            with("scales", "shape", json!([96, 2])),
            ["up_proj.scales", "[2, 96]"],
        );
        refused(
            name,
            with("qzeros", "shape", json!([12, 2])),
            ["up_proj.qzeros", "[2, 12]"],
        );
        refused(
            name,
            with("scales", "dtype", json!("I16")),
            ["up_proj.scales", "is I16, expected F16 or BF16 or F32"],
        );
        refused(
            name,
            with("qweight", "shape", json!([768])),
            ["up_proj.qweight", "no matrix of words"],
        );
    }
    refused(
        "gptq_llama",
        with("g_idx", "shape", json!([8, 8])),
        ["up_proj.g_idx", "[64]"],
    );
    let act_order = |c: &mut Changed| {
        let begin = c.header[&format!("{MLP}.g_idx")]["data_offsets"][0]
            .as_u64()
            .unwrap() as usize;
        c.data[begin + 4 * 9] = 1;
    };
    let sentence =
        "column 9 is in group 1: an order of columns (act-order, `desc_act`) is not supported";
    refused("gptq_llama", act_order, ["up_proj.g_idx", sentence]);
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
