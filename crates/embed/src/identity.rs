//! What two vectors of one text must have in common to be the same to the bit.
//!
//! In: a loaded model, and its files. Out: a line of JSON: name, settings, hashes of the files, how it is computed. Caches and
//! stores keep it: its fields and their order are those of [`line`], and change with [`VERSION`] alone.
//! A line that differs costs a computation; one that is the same where vectors differ would cost a wrong answer. So everything
//! counts that might matter, the version of this program included.

use std::hash::Hasher as _;

use lattice_inference::backend::{KvFormat, LoadOptions};
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::encoder::{EncoderSettings, module_folders};
use lattice_kernels::{Bf16Isa, Isa};
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

use crate::{EmbedError, Embedder, EmbedderOptions};

/// Files that no vector depends on.
const WITHOUT_EFFECT: [&str; 5] = [
    "README",
    "LICENSE",
    "LICENCE",
    "NOTICE",
    "lattice-pull.json",
];

/// Of the fields and their meaning.
const VERSION: u32 = 1;
/// Counts the changes of an encoder's bits within a version of this program.
const ARITHMETIC: u32 = 2;

/// What must be the same for two vectors to lie in one space: model, files and settings. Neither the program nor the arithmetic
/// is in it.
pub(crate) fn of_model(embedder: &Embedder, files: &ModelFiles) -> Result<String, EmbedError> {
    let files = format!("{:016x}", hash(files)?);
    let mut fields = vec![("identity", json!(VERSION))];
    fields.extend(space(embedder.name(), &files, embedder.settings()));
    Ok(object(&fields))
}

pub(crate) fn of(
    embedder: &Embedder,
    files: &ModelFiles,
    options: &EmbedderOptions,
) -> Result<String, EmbedError> {
    let files = format!("{:016x}", hash(files)?);
    Ok(line(
        embedder.name(),
        &files,
        embedder.settings(),
        &options.load,
    ))
}

type Field = (&'static str, Value);

/// Fields are taken apart by name, so that a new one has to say whether it counts.
fn space(name: &str, files: &str, settings: &EncoderSettings) -> [Field; 11] {
    let EncoderSettings {
        pooling,
        include_prompt,
        normalise,
        max_tokens,
        dims,
        prompts,
        default_prompt,
        append_eos,
        lower_case,
        // Says how vectors are compared.
        similarity: _,
    } = settings;
    [
        ("model", json!(name)),
        ("files", json!(files)),
        ("pooling", json!(pooling.name())),
        ("include_prompt", json!(include_prompt)),
        ("normalise", json!(normalise)),
        ("max_tokens", json!(max_tokens)),
        ("dims", json!(dims)),
        ("prompts", json!(prompts)),
        ("default_prompt", json!(default_prompt)),
        ("append_eos", json!(append_eos)),
        ("lower_case", json!(lower_case)),
    ]
}

/// As [`space`], with how vectors are computed.
fn line(name: &str, files: &str, settings: &EncoderSettings, load: &LoadOptions) -> String {
    let LoadOptions {
        isa,
        bf16_isa,
        kv,
        compute,
        // No bit of a vector depends on these; every encoder rearranges.
        sequences_max: _,
        context_tokens_max: _,
        batch_tokens_max: _,
        output_rows_max: _,
        kv_tokens_max: _,
        threads: _,
        int_isa: _,
        rearrange: _,
        allow_non_finite: _,
        profile: _,
    } = load;
    let isa = isa.unwrap_or_else(Isa::detect);
    let bf16 = bf16_isa.unwrap_or_else(|| Bf16Isa::beside(isa));
    let mut fields = vec![("identity", json!(VERSION)), ("lattice", json!(program()))];
    fields.extend(space(name, files, settings));
    fields.extend([
        ("compute", json!(compute.name())),
        ("bf16", json!(bf16.to_string())),
        ("kv", json!(kv.map(KvFormat::name))),
    ]);
    object(&fields)
}

/// This program and its arithmetic.
fn program() -> String {
    format!("{}+{ARITHMETIC}", env!("CARGO_PKG_VERSION"))
}

/// The fields in this order, whatever features serde_json has.
fn object(fields: &[Field]) -> String {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{}:{value}", json!(name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// XXH3-64 over the names and bytes of all files, of the modules' folders too. It tells copies apart, and is no proof against
/// somebody who forges files: he could change the vectors as well.
fn hash(files: &ModelFiles) -> Result<u64, EmbedError> {
    let mut hash = XxHash3_64::new();
    let mut names = files.names()?;
    names.retain(|name| {
        !WITHOUT_EFFECT
            .iter()
            .any(|without| name.starts_with(without))
    });
    let modules = files.text("modules.json", 1 << 20)?.unwrap_or_default();
    for folder in module_folders(&modules) {
        names.extend(["config.json", "model.safetensors"].map(|name| format!("{folder}/{name}")));
    }
    for name in names {
        if let Some(bytes) = files.bytes(&name)? {
            hash.write(name.as_bytes());
            hash.write_u64(bytes.len() as u64);
            hash.write(&bytes);
        }
    }
    if files.gguf().is_some()
        && let Some(path) = files.path()
    {
        hash.write(path.as_os_str().as_encoded_bytes());
    }
    Ok(hash.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lattice_inference::backend::Compute;
    use lattice_inference::plan::Pooling;

    use super::*;

    fn settings() -> EncoderSettings {
        EncoderSettings {
            pooling: Pooling::Mean,
            include_prompt: true,
            normalise: true,
            max_tokens: 256,
            dims: 384,
            prompts: BTreeMap::from([("query".to_owned(), "Ask \"it\": ".to_owned())]),
            default_prompt: None,
            append_eos: false,
            lower_case: false,
            similarity: Some("cosine".to_owned()),
        }
    }

    fn load() -> LoadOptions {
        LoadOptions {
            bf16_isa: Some(Bf16Isa::F32Fma),
            ..LoadOptions::default()
        }
    }

    /// What is kept on disks must be read as it was written.
    #[test]
    fn the_line_is_this_one_until_its_version_changes() {
        let program = program();
        let expected = format!(
            "{{\"identity\":1,\"lattice\":\"{program}\",\"model\":\"m\",\"files\":\"0f\",\"pooling\":\"mean\",\
             \"include_prompt\":true,\"normalise\":true,\"max_tokens\":256,\"dims\":384,\
             \"prompts\":{{\"query\":\"Ask \\\"it\\\": \"}},\"default_prompt\":null,\"append_eos\":false,\
             \"lower_case\":false,\"compute\":\"as-stored\",\"bf16\":\"f32_fma\",\"kv\":null}}"
        );
        assert_eq!(line("m", "0f", &settings(), &load()), expected);
    }

    #[test]
    fn speed_does_not_count_and_arithmetic_does() {
        let line = |load: &LoadOptions| line("m", "0f", &settings(), load);
        let faster = LoadOptions {
            threads: 7,
            batch_tokens_max: 9,
            sequences_max: 3,
            profile: true,
            ..load()
        };
        assert_eq!(line(&faster), line(&load()));
        let coarser = LoadOptions {
            compute: Compute::Int8,
            ..load()
        };
        assert_ne!(line(&coarser), line(&load()));
    }
}
