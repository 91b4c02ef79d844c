//! Which files of a repository are fetched.
//!
//! In: a listing, and patterns where the caller has some. Out: the small files a model cannot do without, its weights,
//! and what is left out. It goes by names alone: safetensors before GGUF, no second copies in other formats.

use std::collections::BTreeSet;

use lattice_files::{check_plain, matches};

use crate::{HubError, Listing, Record, RemoteFile};

/// Small files at the top that are taken, where they are.
const SMALL: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "quantize_config.json",
    "quant_config.json",
    "lattice.json",
    "model.safetensors.index.json",
    "README.md",
];
/// A file that is called small is no larger; tokenizers take a few tens of MB.
const SMALL_BYTES_MAX: u64 = 512 << 20;
/// GGUF files that are named in a refusal.
const NAMED_MAX: usize = 40;

/// Files that are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// What is fetched of a repository, and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Everything but weights.
    pub small: Vec<RemoteFile>,
    /// Weights.
    pub weights: Vec<RemoteFile>,
    /// The rest.
    pub skipped: Vec<Skipped>,
}

impl Choice {
    /// Chooses; `patterns`, in which `*` stands for any text, say which weight files are meant, where there are several.
    ///
    /// # Errors
    /// [`HubError::Choice`] for a repository without weights, with several GGUF files and no pattern, or a pattern that
    /// no weight file answers to.
    pub fn of(listing: &Listing, patterns: &[String]) -> Result<Self, HubError> {
        let weights = weights(listing, patterns)?;
        let chosen: BTreeSet<&str> = weights.iter().map(|file| file.path.as_str()).collect();
        let gguf = !weights
            .iter()
            .any(|file| file.path.ends_with(".safetensors"));
        let small = |file: &&RemoteFile| {
            !chosen.contains(file.path.as_str())
                && is_small(&file.path)
                && file.bytes <= SMALL_BYTES_MAX
                && !(gguf && file.path.ends_with(".index.json"))
        };
        let files = listing.files.iter();
        let choice = Self {
            small: files.clone().filter(small).cloned().collect(),
            skipped: files
                .filter(|file| !chosen.contains(file.path.as_str()) && !small(file))
                .map(|file| Skipped {
                    path: file.path.clone(),
                    bytes: file.bytes,
                })
                .collect(),
            weights,
        };
        choice.check(listing)?;
        Ok(choice)
    }

    /// Adds what an earlier download of the model chose, so that a second weight file does not cost the first one.
    pub(crate) fn with(mut self, listing: &Listing, record: &Record) -> Self {
        for file in &listing.files {
            let known = self.files().any(|chosen| chosen.path == file.path);
            if !known && record.file(&file.path).is_some() && check_plain(&file.path).is_ok() {
                self.skipped.retain(|skipped| skipped.path != file.path);
                self.weights.push(file.clone());
            }
        }
        self
    }

    /// All chosen files.
    pub fn files(&self) -> impl Iterator<Item = &RemoteFile> {
        self.small.iter().chain(&self.weights)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.files()
            .fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Names that are good on every file system, no two of them the same but for case.
    fn check(&self, listing: &Listing) -> Result<(), HubError> {
        let mut seen = BTreeSet::new();
        for file in self.files() {
            let reason = match check_plain(&file.path) {
                Err(reason) => reason,
                Ok(()) if !seen.insert(file.path.to_lowercase()) => "stands there twice",
                Ok(()) => continue,
            };
            return Err(refused(listing, format!("file {:?}: {reason}", file.path)));
        }
        Ok(())
    }
}

fn refused(listing: &Listing, reason: String) -> HubError {
    HubError::Choice {
        name: listing.name.to_string(),
        reason,
    }
}

fn weights(listing: &Listing, patterns: &[String]) -> Result<Vec<RemoteFile>, HubError> {
    if !patterns.is_empty() {
        return named(listing, patterns);
    }
    let ending = |end: &str| -> Vec<RemoteFile> {
        let top = |file: &&RemoteFile| !file.path.contains('/') && file.path.ends_with(end);
        listing.files.iter().filter(top).cloned().collect()
    };
    let mut found = ending(".safetensors");
    if !found.is_empty() {
        let single = found.iter().any(|file| file.path == "model.safetensors");
        if single {
            found.retain(|file| file.path == "model.safetensors");
        } else if found.iter().any(|file| file.path.starts_with("model")) {
            found.retain(|file| file.path.starts_with("model"));
        }
        // Parts of sentence models that have weights of their own: `2_Dense/model.safetensors`.
        let parts = listing.files.iter().filter(|file| {
            part_of_pipeline(&file.path).is_some_and(|name| name == "model.safetensors")
        });
        found.extend(parts.cloned());
        return Ok(found);
    }
    let gguf = ending(".gguf");
    match gguf.as_slice() {
        [] => Err(refused(listing, no_weights(listing))),
        [_only] => Ok(gguf),
        several => Err(refused(listing, which(several))),
    }
}

/// The weight files that patterns mean.
fn named(listing: &Listing, patterns: &[String]) -> Result<Vec<RemoteFile>, HubError> {
    let is_weight = |path: &str| path.ends_with(".safetensors") || path.ends_with(".gguf");
    let weights = || listing.files.iter().filter(|file| is_weight(&file.path));
    for pattern in patterns {
        if !weights().any(|file| matches(pattern, &file.path)) {
            let all: Vec<RemoteFile> = weights().cloned().collect();
            let reason = if all.is_empty() {
                no_weights(listing)
            } else {
                format!(
                    "no weight file is called {pattern:?}; there are {}",
                    names(&all)
                )
            };
            return Err(refused(listing, reason));
        }
    }
    let meant = |file: &&RemoteFile| patterns.iter().any(|pattern| matches(pattern, &file.path));
    Ok(weights().filter(meant).cloned().collect())
}

fn no_weights(listing: &Listing) -> String {
    let others = [".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".npz"];
    let other = listing
        .files
        .iter()
        .find(|file| others.iter().any(|end| file.path.ends_with(end)));
    let has = other.map_or(String::new(), |file| format!("; there is {}", file.path));
    format!("has no weights in .safetensors or .gguf{has}")
}

fn which(files: &[RemoteFile]) -> String {
    format!("has several weight files, say which: {}", names(files))
}

fn names(files: &[RemoteFile]) -> String {
    let mut shown: Vec<String> = files
        .iter()
        .take(NAMED_MAX)
        .map(|file| format!("{} ({:.2} GB)", file.path, file.bytes as f64 / 1e9))
        .collect();
    if files.len() > NAMED_MAX {
        shown.push(format!("and {} more", files.len() - NAMED_MAX));
    }
    shown.join(", ")
}

fn is_small(path: &str) -> bool {
    let licence = |name: &str| {
        let name = name.to_ascii_uppercase();
        name.starts_with("LICENSE") || name.starts_with("LICENCE") || name.starts_with("NOTICE")
    };
    SMALL.contains(&path)
        || (!path.contains('/') && licence(path))
        || part_of_pipeline(path).is_some_and(|name| name == "config.json")
}

/// The file's name in a part of a sentence model, whose folders are numbered: `1_Pooling/config.json`.
fn part_of_pipeline(path: &str) -> Option<&str> {
    let (folder, name) = path.split_once('/')?;
    let (number, _) = folder.split_once('_')?;
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (numbered && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;

    fn listing(paths: &[&str]) -> Listing {
        let files = paths.iter().map(|path| RemoteFile {
            path: (*path).to_owned(),
            bytes: 5,
            hash: Hash::git(&"0".repeat(40)).unwrap(),
        });
        Listing {
            name: "org/name".parse().unwrap(),
            commit: "0".repeat(40),
            files: files.collect(),
        }
    }

    fn chosen(paths: &[&str], patterns: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let choice = Choice::of(&listing(paths), &patterns).map_err(|error| error.to_string())?;
        let paths = |files: &[RemoteFile]| files.iter().map(|file| file.path.clone()).collect();
        Ok((paths(&choice.small), paths(&choice.weights)))
    }

    #[test]
    fn a_sentence_model_comes_with_its_parts_and_no_second_copy() {
        let paths = [
            ".gitattributes",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "LICENSE.txt",
            "config.json",
            "model.safetensors",
            "modules.json",
            "onnx/config.json",
            "onnx/model.onnx",
            "onnx/model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
        ];
        let (small, weights) = chosen(&paths, &[]).unwrap();
        assert_eq!(
            small,
            [
                "1_Pooling/config.json",
                "2_Dense/config.json",
                "LICENSE.txt",
                "config.json",
                "modules.json"
            ]
        );
        assert_eq!(weights, ["model.safetensors", "2_Dense/model.safetensors"]);
        let skipped = Choice::of(&listing(&paths), &[]).unwrap().skipped;
        assert_eq!(skipped.len() + small.len() + weights.len(), paths.len());
    }

    #[test]
    fn shards_come_with_their_index() {
        let shards = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        let paths = [
            &shards[..],
            &[
                "model.safetensors.index.json",
                "consolidated.safetensors",
                "config.json",
            ],
        ]
        .concat();
        let (small, weights) = chosen(&paths, &[]).unwrap();
        assert_eq!(small, ["model.safetensors.index.json", "config.json"]);
        assert_eq!(weights, shards);
    }

    #[test]
    fn of_several_gguf_files_one_must_be_named() {
        let paths = [
            "a-Q4_0.gguf",
            "a-Q8_0.gguf",
            "config.json",
            "big/a-00001-of-00002.gguf",
            "big/a-00002-of-00002.gguf",
        ];
        let words = chosen(&paths, &[]).unwrap_err();
        assert!(
            words.contains("say which: a-Q4_0.gguf (0.00 GB), a-Q8_0.gguf"),
            "{words}"
        );
        assert_eq!(chosen(&paths, &["*Q8_0*"]).unwrap().1, ["a-Q8_0.gguf"]);
        assert_eq!(chosen(&paths, &["big/*"]).unwrap().1.len(), 2);
        let words = chosen(&paths, &["*Q8_0*", "*Q5*"]).unwrap_err();
        assert!(
            words.contains("no weight file is called \"*Q5*\""),
            "{words}"
        );
        assert_eq!(chosen(&["a.gguf"], &[]).unwrap().1, ["a.gguf"]);
        let words = chosen(&["pytorch_model.bin", "config.json"], &[]).unwrap_err();
        assert!(
            words.contains("no weights") && words.contains("pytorch_model.bin"),
            "{words}"
        );
    }

    #[test]
    fn names_that_fall_together_are_refused() {
        assert!(chosen(&["model.safetensors", "LICENSE", "license"], &[]).is_err());
        assert!(chosen(&["CON.gguf"], &[]).is_err());
    }
}
