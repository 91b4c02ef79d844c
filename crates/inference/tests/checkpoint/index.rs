//! Checkpoints of several files.

use lattice_inference::checkpoint::{Checkpoint, LoadError};

use crate::{Folder, safetensors, says};

const INDEX: &str = "model.safetensors.index.json";

fn index(pairs: &[(&str, &str)]) -> String {
    let map: Vec<String> = pairs.iter().map(|(t, f)| format!("{t:?}:{f:?}")).collect();
    format!(
        r#"{{"metadata":{{"total_size":8}},"weight_map":{{{}}}}}"#,
        map.join(",")
    )
}

/// A folder with tensor `a` in shard 1 and `b` in shard 2, and that index.
fn sharded(index: &str) -> Folder {
    let folder = Folder::new();
    folder.write("1.safetensors", safetensors(&[("a", "F32", &[1], &[0; 4])]));
    folder.write("2.safetensors", safetensors(&[("b", "F32", &[1], &[1; 4])]));
    folder.write(INDEX, index);
    folder
}

fn refusal(folder: &Folder) -> String {
    Checkpoint::open(&folder.files())
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn shards_make_one_checkpoint() {
    let folder = sharded(&index(&[("a", "1.safetensors"), ("b", "2.safetensors")]));
    let checkpoint = Checkpoint::open(&folder.files()).expect("it is right");
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(
        checkpoint.tensor("b").map(|b| (b.file, b.bytes)),
        Some(("2.safetensors", &[1; 4][..]))
    );
    assert_eq!(checkpoint.weight_bytes(), 8);
}

#[test]
fn a_name_that_could_lead_out_is_refused_unread() {
    let outside = Folder::new();
    let secret = outside.write("x.safetensors", safetensors(&[("a", "F32", &[1], &[0; 4])]));
    let absolute = secret.to_str().expect("a plain path");
    for name in [
        "../../x", "..", ".", "", "a//b", "a/../b", absolute, "C:x", "..\\x", "a\0b",
    ] {
        let name = name.replace('\0', "\\u0000");
        let index = format!(
            r#"{{"weight_map":{{"a":"{}"}}}}"#,
            name.replace("..\\x", "..\\\\x")
        );
        let error = refusal(&sharded(&index));
        says(&error, &[INDEX, "weight_map.a"]);
    }
}

#[cfg(unix)]
#[test]
fn a_shard_that_links_out_is_refused_unread() {
    let outside = Folder::new();
    let target = outside.write("x.safetensors", safetensors(&[("a", "F32", &[1], &[0; 4])]));
    let folder = sharded(&index(&[("a", "link.safetensors")]));
    std::os::unix::fs::symlink(&target, folder.0.join("link.safetensors")).expect("a link");
    says(
        &refusal(&folder),
        &["link.safetensors", "leads outside of the model directory"],
    );
}

#[test]
fn a_missing_shard_is_named() {
    let folder = sharded(&index(&[("a", "1.safetensors"), ("b", "3.safetensors")]));
    says(&refusal(&folder), &["3.safetensors: cannot open"]);
}

#[test]
fn swapped_shards_are_noticed() {
    let folder = sharded(&index(&[("a", "2.safetensors"), ("b", "1.safetensors")]));
    says(&refusal(&folder), &[INDEX, "2.safetensors holds tensor a"]);
}

#[test]
fn a_shard_without_its_tensor_is_noticed() {
    let folder = sharded(&index(&[("a", "1.safetensors"), ("c", "2.safetensors")]));
    says(
        &refusal(&folder),
        &["2.safetensors holds tensor c; it does not"],
    );
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let folder = sharded(&index(&[("a", "1.safetensors"), ("b", "2.safetensors")]));
    folder.write("2.safetensors", safetensors(&[("a", "F32", &[1], &[0; 4])]));
    let error = Checkpoint::open(&folder.files()).expect_err("must be refused");
    assert!(matches!(error, LoadError::TensorTwice { .. }), "{error}");
    says(
        &error.to_string(),
        &["tensor a", "1.safetensors", "2.safetensors"],
    );
}

#[test]
fn an_index_that_is_none_is_refused() {
    let twice = r#"{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}"#;
    says(&refusal(&sharded(twice)), &[INDEX, "\"a\" stands twice"]);
    says(
        &refusal(&sharded("{}")),
        &[INDEX, "missing field `weight_map`"],
    );
    says(
        &refusal(&sharded(r#"{"weight_map":{}}"#)),
        &[INDEX, "names no tensor"],
    );
    says(
        &refusal(&sharded(r#"{"weight_map":{"a":1}}"#)),
        &[INDEX, "line 1, column"],
    );
    says(&refusal(&sharded(&"[".repeat(10_000))), &[INDEX]);
    let deep = format!(r#"{{"metadata":{}"#, "{\"a\":".repeat(10_000));
    says(&refusal(&sharded(&deep)), &[INDEX, "EOF"]);
    says(&refusal(&sharded("")), &[INDEX, "EOF"]);
}

#[test]
fn a_folder_without_weights_says_what_it_lacks() {
    says(
        &refusal(&Folder::new()),
        &["has no model.safetensors or model.safetensors.index.json"],
    );
}
