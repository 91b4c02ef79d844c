//! Vocabularies of real models, where somebody put them: `real/` in the repository root.
//!
//! `vocabularies.py` and `directories.py` in `crates/testkit/goldens/real` make them; they are not part of the repository.

#![allow(clippy::print_stdout, reason = "these tests say what they compared")]

use lattice_inference::tokenizer::{GgufVocabulary, HfTokenizer, Tokenizer as _, Vocabulary};
use serde_json::Value;
use std::path::Path;

use super::{alone, fields_of, from_folder, strings};

#[test]
fn real_vocabularies_give_the_ids_of_llama_cpp() {
    for_each_file("real/vocabularies", |path| {
        let golden = read(path);
        let name = path.file_stem().unwrap().to_string_lossy();
        let vocabulary = vocabulary(&golden["fields"]);
        match HfTokenizer::from_files(&alone(Vocabulary::Gguf(&vocabulary))) {
            Ok(tokenizer) => differences(&name, &tokenizer, &golden),
            Err(error) => {
                println!("{name}: refused: {error}");
                0
            }
        }
    });
}

#[test]
fn real_directories_give_the_ids_of_their_tokenizer_json() {
    for_each_file("real/directories", |folder| {
        let golden = read(&folder.join("ids.json"));
        let name = folder.file_name().unwrap().to_string_lossy();
        let model_type = ["lattice_tiny", "qwen3_5"]
            .contains(&&*name)
            .then_some("qwen3_5");
        differences(&name, &from_folder(folder, &golden, model_type), &golden)
    });
}

/// Adds up what `differences` finds for each entry of a folder, which must be nothing.
fn for_each_file(folder: &str, differences: impl Fn(&Path) -> usize) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder);
    let Ok(entries) = std::fs::read_dir(&dir) else {
        println!("did not run: {} is not there", dir.display());
        return;
    };
    let wrong: usize = entries
        .map(|entry| differences(&entry.unwrap().path()))
        .sum();
    assert_eq!(wrong, 0);
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Compares one vocabulary, and prints what it found.
fn differences(name: &str, tokenizer: &HfTokenizer, golden: &Value) -> usize {
    let texts = strings(&golden["texts"]);
    let (mut same, mut ids, mut wrong, mut another) = (0, 0, 0, 0);
    for (text, want) in texts.iter().zip(golden["ids"].as_array().unwrap()) {
        if want.is_null() {
            another += 1;
            continue;
        }
        let found = tokenizer.ids_from_text(text).unwrap();
        let want = super::ids(want);
        if found == want {
            same += 1;
            ids += want.len();
        } else {
            wrong += 1;
            let at = found.iter().zip(&want).take_while(|(a, b)| a == b).count();
            let near = |ids: &[u32]| ids[at..ids.len().min(at + 6)].to_vec();
            println!(
                "{name}: {:.120?}\n  at {at} found {:?}, want {:?}",
                text,
                near(&found),
                near(&want)
            );
        }
    }
    println!("{name}: {same} texts equal, {ids} ids; {wrong} differ, {another} not compared");
    wrong
}

fn vocabulary(fields: &Value) -> GgufVocabulary {
    let list = |name: &str| fields.get(name).filter(|value| value.is_array()).cloned();
    GgufVocabulary {
        tokens: strings(&fields["tokens"]),
        scores: list("scores").map(|list| serde_json::from_value(list).unwrap()),
        types: list("types").map(|list| serde_json::from_value(list).unwrap()),
        merges: list("merges").map(|list| strings(&list)),
        charsmap: list("charsmap").map(|list| serde_json::from_value(list).unwrap()),
        ..fields_of(fields)
    }
}
