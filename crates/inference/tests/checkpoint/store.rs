//! Models by name.

use lattice_inference::checkpoint::{LoadError, ModelStore};
use proptest::prelude::*;

use crate::{Folder, says};

fn store() -> (Folder, ModelStore) {
    let folder = Folder::new();
    folder.write("root/tiny/config.json", "{}");
    folder.write("root/tiny/model.safetensors", [0; 98]);
    folder.write("root/org/Some Model-1.5/config.json", "{}");
    folder.write("root/org/no-model/readme", "");
    folder.write("root/file", "");
    folder.write("outside/config.json", "{}");
    let root = folder.0.join("root");
    let store = ModelStore {
        root,
        hub_cache: None,
    };
    (folder, store)
}

fn names(store: &ModelStore) -> Vec<String> {
    let list = store.list().expect("the root can be read");
    list.into_iter().map(|model| model.name).collect()
}

#[test]
fn models_one_and_two_levels_deep_are_listed_with_their_bytes() {
    let (_folder, store) = store();
    assert_eq!(names(&store), ["org/Some Model-1.5", "tiny"]);
    let list = store.list().expect("the root can be read");
    assert_eq!(
        (list[1].bytes, &list[1].path),
        (100, &store.root.join("tiny"))
    );
}

#[test]
fn every_listed_name_resolves() {
    let (_folder, store) = store();
    for model in store.list().expect("the root can be read") {
        let files = store.resolve(&model.name).expect("it is listed");
        assert_eq!(files.path(), Some(model.path.as_path()));
    }
}

#[test]
fn a_path_wins_over_a_name() {
    let (folder, store) = store();
    let outside = folder.0.join("outside");
    let files = store
        .resolve(outside.to_str().expect("a plain path"))
        .expect("it is there");
    assert_eq!(files.path(), Some(outside.as_path()));
    let file = store.root.join("file");
    let error = store
        .resolve(file.to_str().expect("a plain path"))
        .expect_err("it is a file");
    assert!(matches!(error, LoadError::NotADirectory { .. }), "{error}");
}

#[test]
fn an_unknown_name_says_what_is_there() {
    let (_folder, store) = store();
    let error = store
        .resolve("large")
        .expect_err("it is not there")
        .to_string();
    says(
        &error,
        &["no model \"large\"", "root", "org/Some Model-1.5, tiny"],
    );
    let nowhere = ModelStore {
        root: store.root.join("absent"),
        hub_cache: None,
    };
    assert_eq!(names(&nowhere), [""; 0]);
    says(
        &nowhere
            .resolve("large")
            .expect_err("nothing is there")
            .to_string(),
        &["there are none"],
    );
}

#[test]
fn unfinished_work_is_no_model() {
    let (folder, store) = store();
    folder.write("root/org/new.partial/config.json", "{}");
    folder.write("root/old.replaced/config.json", "{}");
    assert_eq!(names(&store), ["org/Some Model-1.5", "tiny"]);
    let error = store.resolve("org/new.partial").expect_err("it is half");
    assert!(matches!(error, LoadError::UnknownModel { .. }), "{error}");
}

#[test]
fn a_cache_of_other_programs_is_read_where_it_is_complete() {
    let (folder, mut store) = store();
    store.hub_cache = Some(folder.0.join("hub"));
    let whole = "hub/models--org--whole";
    folder.write(&format!("{whole}/refs/main"), "0123");
    folder.write(&format!("{whole}/snapshots/0123/config.json"), "{}");
    folder.write(&format!("{whole}/snapshots/0123/model.safetensors"), [0; 8]);
    folder.write(&format!("{whole}/snapshots/4567/config.json"), "{}");
    let half = "hub/models--org--half";
    folder.write(&format!("{half}/refs/main"), "0123");
    folder.write(&format!("{half}/snapshots/0123/config.json"), "{}");
    let shard = "model-00001-of-00002.safetensors";
    folder.write(&format!("{half}/snapshots/0123/{shard}"), [0; 8]);
    let away = "hub/models--org--away";
    folder.write(&format!("{away}/refs/main"), "../../../outside");
    folder.write("hub/models--org--tiny/refs/main", "0");
    folder.write("hub/version.txt", "1");
    assert_eq!(names(&store), ["org/Some Model-1.5", "org/whole", "tiny"]);
    let list = store.list().expect("the root can be read");
    assert_eq!((list[1].shared, list[1].bytes), (true, 10));
    assert!(!list[0].shared && !list[2].shared);
    for name in ["org/whole", "org/whole@main", "org/whole@0123"] {
        let files = store.resolve(name).expect("it is there");
        assert_eq!(files.revision().as_deref(), Some("0123"), "{name}");
        assert_eq!(files.name(), "org/whole");
    }
    for name in ["org/half", "org/away", "org/whole@4567", "org/whole@none"] {
        let error = store.resolve(name).expect_err("it is not complete");
        assert!(matches!(error, LoadError::UnknownModel { .. }), "{error}");
    }
    // Ours wins over theirs.
    folder.write("root/org/whole/config.json", "{}");
    let list = store.list().expect("the root can be read");
    assert!(list.iter().all(|model| !model.shared));
}

#[test]
fn what_is_no_name_is_refused() {
    let (_folder, store) = store();
    let long = "a".repeat(300);
    let names = [
        "",
        "../outside",
        "tiny/../../outside",
        "/absent",
        "\\\\host\\share",
        "C:x",
        "D:\\x",
        "tiny\0",
        "CON",
        "nul.txt",
        "org/com1",
        "%2e%2e",
        "%2e%2e/outside",
        "．．",
        "․․",
        "a/b/c",
        "tiny/",
        "org//x",
        ".hidden",
        "x.",
        "x ",
        "-x",
        &long,
    ];
    for name in names {
        let error = store.resolve(name).expect_err("it is no name");
        assert!(matches!(error, LoadError::Name { .. }), "{name:?}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_root_is_no_model() {
    let (folder, store) = store();
    std::os::unix::fs::symlink(folder.0.join("outside"), store.root.join("link")).expect("a link");
    std::os::unix::fs::symlink("tiny", store.root.join("alias")).expect("a link");
    assert_eq!(names(&store), ["alias", "org/Some Model-1.5", "tiny"]);
    assert!(matches!(
        store.resolve("link"),
        Err(LoadError::UnknownModel { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked for by name lies inside of the root.
    #[test]
    fn a_name_never_leaves_the_root(name in "(\\.|/|\\\\|tiny|org|outside|\\.\\.|:|%2e| ){0,6}") {
        let (_folder, store) = store();
        if let Ok(files) = store.resolve(&name) {
            let path = files.path().expect("a directory").canonicalize().expect("it is there");
            // "." and the like are paths that exist; they are no names of the store.
            let by_path = std::path::Path::new(&name).is_dir();
            prop_assert!(by_path || path.starts_with(&store.root), "{name:?} is {path:?}");
        }
    }
}
