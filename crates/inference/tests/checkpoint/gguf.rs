//! What a GGUF file may not be.

use std::path::PathBuf;

use lattice_inference::Model;
use lattice_inference::backend::{Backend as _, LoadOptions, cpu::Cpu, reference::Reference};
use lattice_inference::checkpoint::{Checkpoint, LoadError, ModelFiles, OpenOptions};
use lattice_testkit::{GgufFile, GgufValue, f32_bytes};
use proptest::prelude::*;

use crate::{Folder, says};

/// A llama of one layer: 32 columns, 2 heads, in Q8_0 with scales of 1.
fn llama() -> GgufFile {
    let mut file = GgufFile::default();
    file.set("general.architecture", "llama");
    for (key, value) in [
        ("llama.block_count", 1),
        ("llama.context_length", 64),
        ("llama.embedding_length", 32),
        ("llama.feed_forward_length", 32),
        ("llama.attention.head_count", 2),
        ("llama.attention.head_count_kv", 1),
        ("tokenizer.ggml.eos_token_id", 1),
    ] {
        file.set(key, value);
    }
    file.set("llama.attention.layer_norm_rms_epsilon", 1e-5);
    file.set("tokenizer.ggml.model", "gpt2");
    let tokens = (0..32).map(|id| format!("t{id}")).collect();
    file.set("tokenizer.ggml.tokens", GgufValue::Texts(tokens));
    let block = [&[0x00, 0x3c][..], &[1; 32]].concat();
    for (name, rows) in [
        ("token_embd.weight", 32),
        ("blk.0.attn_q.weight", 32),
        ("blk.0.attn_k.weight", 16),
        ("blk.0.attn_v.weight", 16),
        ("blk.0.attn_output.weight", 32),
        ("blk.0.ffn_gate.weight", 32),
        ("blk.0.ffn_up.weight", 32),
        ("blk.0.ffn_down.weight", 32),
    ] {
        file.add(name, 8, &[rows, 32], block.repeat(rows as usize));
    }
    for name in [
        "blk.0.attn_norm.weight",
        "blk.0.ffn_norm.weight",
        "output_norm.weight",
    ] {
        file.add(name, 0, &[32], f32_bytes(&[1.0; 32]));
    }
    file
}

/// Opens a file's bytes as a model; loads nothing.
fn open(bytes: &[u8]) -> Result<Model, lattice_inference::Error> {
    let folder = Folder::new();
    let path = folder.write("x.gguf", bytes);
    let files = ModelFiles::open(&path)?;
    Model::open(&files, &OpenOptions::default())
}

fn refusal(bytes: &[u8]) -> String {
    let error = open(bytes).err().expect("must be refused");
    error.to_string()
}

/// The words with which the file is refused after a change.
fn changed(change: impl FnOnce(&mut GgufFile)) -> String {
    let mut file = llama();
    change(&mut file);
    refusal(&file.bytes())
}

#[test]
fn a_right_file_is_opened() {
    let model = open(&llama().bytes()).expect("it is right");
    assert_eq!(model.family.name, "llama");
    assert!(model.notes.is_empty(), "{:?}", model.notes);
    let tensor = model
        .checkpoint
        .tensor("model.layers.0.self_attn.k_proj.weight");
    let tensor = tensor.expect("it is there");
    assert_eq!(
        (tensor.form.to_string(), tensor.shape),
        ("Q8_0".to_owned(), &[16, 32][..])
    );
}

#[test]
fn a_file_without_a_whole_header_is_refused() {
    // What does not begin as GGUF files do is no model at all.
    for bytes in [&b""[..], b"GGU", b"GGML   "] {
        says(&refusal(bytes), &["not a model directory or a GGUF file"]);
    }
    let whole = llama().bytes();
    says(
        &refusal(&whole[..6]),
        &["x.gguf", "header truncated", "file has 6"],
    );
    // The data begins behind byte 900.
    for end in (8..900).step_by(7) {
        let error = refusal(&whole[..end]);
        assert!(
            error.contains("truncated") || error.contains("at most") || error.contains("ends at"),
            "{end}: {error}"
        );
    }
}

#[test]
fn counts_and_lengths_that_lie_are_refused() {
    for (at, what) in [(8, "tensors"), (16, "keys")] {
        for count in [1u64 << 63, u64::MAX, 1 << 40] {
            let mut bytes = llama().bytes();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            says(&refusal(&bytes), &[&format!("{count} {what}, at most")]);
        }
    }
    // The length of the first key, of a text, of a list.
    let lie = |at: usize, length: u64| {
        let mut bytes = llama().bytes();
        bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
        refusal(&bytes)
    };
    for length in [u64::MAX, 1 << 62, 1 << 20] {
        says(&lie(24, length), &["byte 24", "a text of"]);
    }
    says(&lie(24 + 8 + 20 + 4, u64::MAX), &["a text of"]);
    says(&lie(24 + 8 + 20 + 4, 1 << 20), &["header truncated"]);
    let list = |length: u64| {
        let bytes = [&4u32.to_le_bytes()[..], &length.to_le_bytes(), &[0; 16]].concat();
        changed(|file| file.set("a.list", GgufValue::Raw(9, bytes)))
    };
    for length in [u64::MAX, 1 << 61, 1 << 32] {
        says(&list(length), &["elements, at most"]);
    }
}

#[test]
fn a_cut_data_section_names_the_first_tensor_that_does_not_fit() {
    let file = llama();
    let whole = file.bytes();
    let data: usize = file.tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    for end in (whole.len() - data..whole.len()).step_by(512) {
        says(
            &refusal(&whole[..end]),
            &[
                "x.gguf: tensor ",
                " ends at byte ",
                &format!("file has {end}"),
            ],
        );
    }
    let longer = [&whole[..], &[0; 64]].concat();
    says(&refusal(&longer), &["64 bytes behind the last tensor"]);
}

#[test]
fn shapes_and_offsets_that_lie_are_refused() {
    let dims =
        |dims: &[u64]| changed(|file| file.tensor("blk.0.ffn_up.weight").dims = dims.to_vec());
    says(
        &dims(&[1 << 32, 1 << 32]),
        &["tensor blk.0.ffn_up.weight", "overflows"],
    );
    says(&dims(&[u64::MAX - 31, 1]), &["blk.0.ffn_up.weight"]);
    says(
        &dims(&[33, 32]),
        &["rows of 33 values are no whole blocks of Q8_0"],
    );
    says(&dims(&[32; 5]), &["5 dimensions, at most 4"]);
    says(&dims(&[32, 1 << 40]), &["ends at byte"]);
    // Each tensor begins where the one before ends.
    says(
        &dims(&[32, 64]),
        &["tensor blk.0.ffn_down.weight", "into the data, expected"],
    );
    says(
        &dims(&[32, 16]),
        &["tensor blk.0.ffn_down.weight", "into the data, expected"],
    );
    let error = changed(|file| file.alignment = 64);
    says(&error, &["into the data, expected"]);
    for alignment in [0, 3, 48] {
        let error = changed(|file| file.set("general.alignment", alignment));
        says(&error, &["general.alignment"]);
    }
    let mut file = llama();
    (file.alignment, file.version) = (128, 2);
    file.set("general.alignment", 128);
    open(&file.bytes()).expect("another alignment, and the older version");
}

#[test]
fn what_stands_twice_or_is_no_text_is_refused() {
    let error = changed(|file| file.keys.push(("llama.block_count".to_owned(), 1.into())));
    says(&error, &["key \"llama.block_count\" stands twice"]);
    let error =
        changed(|file| file.tensor("blk.0.ffn_up.weight").name = "token_embd.weight".to_owned());
    says(&error, &["tensor token_embd.weight stands twice"]);
    let error = changed(|file| {
        let text = [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
        file.set("general.name", GgufValue::Raw(8, text));
    });
    says(&error, &["not UTF-8"]);
    let nested = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[0; 64]].concat();
    let error = changed(|file| file.set("a", GgufValue::Raw(9, nested)));
    says(&error, &["key \"a\" is a list of lists"]);
    for kind in [13, u32::MAX] {
        let error = changed(|file| file.set("a", GgufValue::Raw(kind, vec![0; 8])));
        says(&error, &["has the type"]);
    }
    for (version, words) in [(1, "version 1"), (4, "version 4"), (3 << 24, "other order")] {
        let error = changed(|file| file.version = version);
        says(&error, &[words]);
    }
}

#[test]
fn types_that_are_not_read_are_refused_by_name() {
    let kind = |kind: u32, bytes: usize| {
        changed(|file| {
            let tensor = file.tensor("blk.0.ffn_up.weight");
            (tensor.kind, tensor.dims) = (kind, vec![256, 4]);
            tensor.bytes = vec![0; bytes];
        })
    };
    says(
        &kind(16, 4 * 66),
        &["x.gguf: tensor blk.0.ffn_up.weight: stored as IQ2_XXS, which is not supported"],
    );
    says(
        &kind(26, 4 * 1024),
        &["stored as I32, which is not supported"],
    );
    for number in [4, 5, 36, 43, u32::MAX] {
        says(&kind(number, 64), &[&format!("unknown type {number}")]);
    }
}

#[test]
fn empty_tensors_and_single_numbers_are_no_harm() {
    let mut file = llama();
    file.add("blk.0.extra.weight", 8, &[0, 32], Vec::new());
    file.add("blk.0.single", 0, &[], vec![0; 4]);
    let model = open(&file.bytes()).expect("nobody reads them");
    assert_eq!(
        model.left_out,
        ["2 tensors left out: no part of this architecture"]
    );
    let error = changed(|file| {
        let tensor = file.tensor("blk.0.ffn_up.weight");
        (tensor.dims, tensor.bytes) = (vec![32, 0], Vec::new());
    });
    says(
        &error,
        &["model.layers.0.mlp.up_proj.weight: shape [0, 32], expected [32, 32]"],
    );
}

#[test]
fn wrong_shapes_and_missing_tensors_are_listed() {
    let error = changed(|file| {
        let tensor = file.tensor("blk.0.ffn_up.weight");
        tensor.dims = vec![32, 16];
        tensor.bytes.truncate(16 * 34);
        file.tensors
            .retain(|tensor| tensor.name != "blk.0.ffn_norm.weight");
    });
    says(
        &error,
        &[
            "2 tensors do not fit",
            "up_proj.weight: shape [16, 32], expected [32, 32]",
            "post_attention_layernorm.weight is missing",
        ],
    );
}

#[test]
fn scales_that_are_no_numbers_are_refused_by_name_and_row() {
    let mut file = llama();
    let tensor = file.tensor("blk.0.attn_output.weight");
    for row in [5, 9] {
        tensor.bytes[row * 34..row * 34 + 2].copy_from_slice(&[0x00, 0x7e]);
    }
    let model = open(&file.bytes()).expect("values are looked at by whoever loads them");
    let load = |allow_non_finite| {
        let options = LoadOptions {
            allow_non_finite,
            threads: 2,
            ..LoadOptions::default()
        };
        let (plan, checkpoint) = (model.plan.clone(), model.checkpoint.clone());
        let reference = Reference.load(plan.clone(), checkpoint.clone(), &options);
        (Cpu.load(plan, checkpoint, &options), reference)
    };
    let (cpu, reference) = load(false);
    for error in [cpu.err(), reference.err()] {
        says(
            &error.expect("must be refused").to_string(),
            &["o_proj.weight: 2 scales are NaN or infinite, the first in row 5"],
        );
    }
    let (cpu, reference) = load(true);
    assert!(cpu.is_ok() && reference.is_ok());
}

#[test]
fn metadata_that_is_no_model_is_refused_by_key() {
    let set = |key: &str, value: GgufValue| changed(|file| file.set(key, value));
    let without = |key: &str| changed(|file| file.keys.retain(|(known, _)| known != key));
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
    ] {
        says(&without(key), &["x.gguf", key, "is missing"]);
    }
    says(
        &set("general.architecture", "qwen3moe".into()),
        &["`qwen3moe` is not supported in GGUF files", "qwen35moe"],
    );
    for key in [
        "llama.block_count",
        "llama.embedding_length",
        "llama.attention.head_count",
    ] {
        says(&set(key, 0u32.into()), &[key, "expected an integer from 1"]);
        says(&set(key, u32::MAX.into()), &[key, "found 4294967295"]);
        says(&set(key, "32".into()), &[key, "found a text"]);
    }
    let many = set("llama.block_count", 2000u32.into());
    says(&many, &["num_hidden_layers", "from 1 to 1024"]);
    says(
        &set("llama.attention.layer_norm_rms_epsilon", f32::NAN.into()),
        &["a finite number"],
    );
    says(
        &set("llama.attention.layer_norm_rms_epsilon", (-1.0).into()),
        &["rms_norm_eps"],
    );
    says(
        &set("llama.attention.head_count", 3u32.into()),
        &["num_attention_heads"],
    );
    says(
        &set("llama.rope.scaling.type", "yarn".into()),
        &["rope type \"yarn\" is not supported"],
    );
    says(
        &set("tokenizer.ggml.eos_token_id", 99u32.into()),
        &["is 99, there are 32 tokens"],
    );
    says(
        &set("llama.vocab_size", 64u32.into()),
        &["shape [32, 32], expected [64, 32]"],
    );
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = Folder::new();
    let pipe = folder.0.join("pipe.gguf");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    for (path, words) in [(pipe, "named pipe"), (PathBuf::from("/dev/zero"), "device")] {
        let error = ModelFiles::open(&path).expect_err("must be refused");
        says(&error.to_string(), &[words]);
    }
}

#[test]
fn a_file_that_changed_is_noticed() {
    let folder = Folder::new();
    let path = folder.write("x.gguf", llama().bytes());
    let files = ModelFiles::open(&path).expect("it is right");
    let checkpoint = Checkpoint::open(&files).expect("it is right");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(2000))
        .expect("it can be cut");
    assert!(matches!(
        checkpoint.unchanged(),
        Err(LoadError::Changed { .. })
    ));
    assert!(Checkpoint::open(&files).is_err());
}

proptest! {
    /// Whatever stands in a file, it is opened or refused.
    #[test]
    fn any_bytes_are_refused_or_read(changes in prop::collection::vec((0usize..4000, any::<u8>()), 1..6)) {
        let mut bytes = llama().bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(model) = open(&bytes) {
            let options = LoadOptions { threads: 1, ..LoadOptions::default() };
            let _ = Cpu.load(model.plan, model.checkpoint, &options);
        }
    }
}
