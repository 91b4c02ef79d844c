//! `lattice ls`, `verify` and `rm`, and the cache of other programs.

use std::fs;

use serde_json::{Value, json};

use crate::{Home, NAME, assert_whole, contents, tiny, words};

#[test]
fn a_model_is_pulled_listed_talked_with_checked_and_removed() {
    let (home, model) = (Home::new(vec![tiny()]), tiny());
    let output = home.run(&["pull", NAME]);
    assert!(output.status.success(), "{}", words(&output));
    let said = words(&output);
    for part in [
        "model       org/tiny at ",
        "needs       16.",
        " MiB on disk",
        "to run at 4096 tokens",
        "you have    ",
        "left out    pytorch_model.bin (8.79 KiB), onnx/model.onnx (1 B)",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("may not run it"), "{said}");
    assert_whole(&home, &model);
    assert!(home.says(&["pull", NAME]).contains("it was here already"));
    let revision = format!("{NAME}@{}", model.commit);
    home.says(&["pull", &revision]);
    assert!(home.says(&["show", &revision]).contains("qwen3_5"));
    assert_eq!(
        home.says(&["rm", "-y", &revision]),
        format!("removed {revision}\n")
    );
    let list: Value = serde_json::from_str(&home.says(&["ls", "--json"])).unwrap();
    let row = &list["models"][0];
    assert_eq!(
        (&row["name"], &row["family"]),
        (&json!(NAME), &json!("qwen3_5"))
    );
    assert_eq!(
        (&row["form"], &row["shared"]),
        (&json!("BF16+F32"), &json!(false))
    );
    assert_eq!(row["commit"], model.commit.as_str());
    let line = home.says(&["ls"]);
    assert!(
        line.contains("org/tiny  qwen3_5") && line.contains("0 min ago"),
        "{line}"
    );
    let args = [
        "chat",
        "--model",
        NAME,
        "-p",
        "Hello",
        "--max-tokens",
        "3",
        "--temperature",
        "0",
    ];
    assert!(!home.says(&args).is_empty());
    let checked = home.says(&["verify", NAME]);
    for part in [
        "ok     tokenizer.json: SHA-256 as pulled",
        "ok     model-00002-of-00002.safetensors: SHA-256 as pulled",
        "ok     tensors: shapes as the configuration says",
        "tensors: no NaN, no infinity",
        "tiny is as it should be",
    ] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
    let asks = home.refuses(&["rm", NAME]);
    assert!(
        asks.contains("--yes removes it without a question"),
        "{asks}"
    );
    assert_eq!(home.says(&["rm", "--yes", NAME]), "removed org/tiny\n");
    assert_eq!(fs::read_dir(home.root()).unwrap().count(), 0);
    let gone = home.refuses(&["chat", "--model", NAME, "-p", "x"]);
    assert!(
        gone.contains("`lattice pull org/tiny` gets it from the hub"),
        "{gone}"
    );
}

#[test]
fn a_flipped_bit_a_missing_file_and_a_nan_are_found() {
    let home = Home::new(vec![tiny()]);
    home.says(&["pull", NAME]);
    let shard = home
        .root()
        .join(NAME)
        .join("model-00002-of-00002.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = 0x7f;
    bytes[last - 1] = 0xff;
    fs::write(&shard, bytes).unwrap();
    fs::remove_file(home.root().join(NAME).join("vocab.json")).unwrap();
    let output = home.run(&["verify", NAME, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["faults"]),
        (&json!(false), &json!(3))
    );
    let faults: Vec<String> = report["looked_at"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| !line["fault"].is_null())
        .map(|line| format!("{}: {}", line["what"], line["fault"]))
        .collect();
    let has = |parts: [&str; 2]| {
        faults
            .iter()
            .any(|fault| parts.iter().all(|part| fault.contains(part)))
    };
    assert!(
        has([
            "\"model-00002-of-00002.safetensors\"",
            "its bytes are others"
        ]),
        "{faults:?}"
    );
    assert!(has(["\"vocab.json\"", "cannot open"]), "{faults:?}");
    assert!(
        has(["mtp.", "NaN or infinite"]) || has(["model.", "NaN or infinite"]),
        "{faults:?}"
    );
}

#[test]
fn a_packed_copy_is_checked_by_its_own_hashes() {
    let home = Home::new(vec![tiny()]);
    home.says(&["pull", NAME]);
    home.says(&["quantize", NAME, "--to", "q8", "-o", "packed"]);
    assert!(!home.dir.path().join("packed/lattice-pull.json").exists());
    let said = home.says(&["verify", "packed"]);
    assert!(said.contains("tokenizer.json: SHA-256 as packed"), "{said}");
    assert!(said.contains("tensors: checksums, no NaN"), "{said}");
    let config = home.dir.path().join("packed/generation_config.json");
    fs::write(config, "{}").unwrap();
    let said = home.run(&["verify", "packed"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(
        String::from_utf8(said.stdout)
            .unwrap()
            .contains("FAULT  generation_config.json: its bytes")
    );
}

#[test]
fn the_cache_of_other_programs_is_read_and_left_alone() {
    let (home, model) = (Home::new(vec![tiny()]), tiny());
    let cache = home
        .dir
        .path()
        .join(".cache/huggingface/hub/models--org--tiny");
    let snapshot = cache.join("snapshots").join(&model.commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(cache.join("refs")).unwrap();
    fs::write(cache.join("refs/main"), &model.commit).unwrap();
    for (path, bytes) in model.files.iter().filter(|(path, _)| !path.contains('/')) {
        fs::write(snapshot.join(path), bytes).unwrap();
    }
    let before = contents(&snapshot);
    let line = home.says(&["ls"]);
    assert!(
        line.contains("org/tiny") && line.contains("in the Hugging Face cache"),
        "{line}"
    );
    assert!(home.says(&["show", NAME]).contains("model       org/tiny"));
    let output = home.run(&["pull", NAME]);
    assert!(
        output.status.success() && words(&output).contains("in the Hugging Face cache already")
    );
    assert!(
        home.refuses(&["rm", "--yes", NAME])
            .contains("belongs to other programs")
    );
    assert_eq!(contents(&snapshot), before);
    home.says(&["pull", NAME, "--force"]);
    assert_whole(&home, &model);
    assert!(!home.says(&["ls"]).contains("Hugging Face"));
    home.says(&["rm", "--yes", NAME]);
    assert_eq!(contents(&snapshot), before);
}

#[test]
fn rm_goes_no_further_than_the_store() {
    let home = Home::new(vec![tiny()]);
    home.says(&["pull", NAME]);
    let outside = home.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("config.json"), "{}").unwrap();
    for name in [
        "../outside",
        "outside",
        "/",
        ".",
        "org",
        "lattice-tiny",
        "org/../../outside",
    ] {
        assert!(
            !home.run(&["rm", "--yes", NAME, name]).status.success(),
            "{name}"
        );
    }
    assert!(outside.join("config.json").is_file());
    assert!(
        home.root().join(NAME).is_dir(),
        "all names are looked at first"
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(home.root().join(NAME), home.root().join("alias")).unwrap();
        home.says(&["rm", "--yes", "alias"]);
        assert!(home.root().join(NAME).is_dir() && !home.root().join("alias").exists());
    }
}
