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
    (folder, ModelStore { root })
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
