//! `lattice eval ppl` and `lattice bench` as programs see them: the built binary and what it prints.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lattice_inference::tokenizer::{HfTokenizer, Tokenizer as _};
use lattice_testkit::ScratchDir;
use serde_json::{Value, json};

const CONTEXT: usize = 16;
const TEXT: &str = "Once upon a time there was a hen. <|im_end|> She lived beside a river with a fox, who was \
     old and kind, and every evening they told each other stories until the moon stood over the hill.\n";

fn lattice(dir: &ScratchDir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice"));
    command
        .args(args)
        .args(["--threads", "1"])
        .env("LATTICE_MODEL_CACHE", dir.path());
    command.current_dir(dir.path()).output().unwrap()
}

/// What it prints, where all goes well.
fn printed(dir: &ScratchDir, args: &[&str]) -> String {
    let output = lattice(dir, args);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

fn object(dir: &ScratchDir, args: &[&str]) -> Value {
    serde_json::from_str(&printed(dir, args)).unwrap()
}

fn ids_of(text: &str) -> Vec<u32> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models/lattice-tiny")
        .join("tokenizer.json");
    let tokenizer = HfTokenizer::from_json(&fs::read(file).unwrap(), None).unwrap();
    tokenizer.ids_from_text(text).unwrap()
}

/// Perplexity over the second halves of chunks, from the rows that `eval logits` writes.
fn naive(dir: &ScratchDir, ids: &[u32]) -> f64 {
    let chunks: Vec<&[u32]> = ids.chunks_exact(CONTEXT).collect();
    let lines: Vec<String> = chunks
        .iter()
        .map(|chunk| json!(chunk).to_string())
        .collect();
    fs::write(dir.path().join("ids.jsonl"), lines.join("\n")).unwrap();
    let args = [
        "eval",
        "logits",
        "lattice-tiny",
        "--ids",
        "ids.jsonl",
        "-o",
        "rows.npy",
    ];
    printed(dir, &args);
    let file = fs::read(dir.path().join("rows.npy")).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let values = file[header..].chunks_exact(4);
    let logits: Vec<f64> = values
        .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())))
        .collect();
    let rows: Vec<&[f64]> = logits
        .chunks_exact(logits.len() / (chunks.len() * CONTEXT))
        .collect();
    let mut nll = Vec::new();
    for (chunk, rows) in chunks.iter().zip(rows.chunks_exact(CONTEXT)) {
        for place in CONTEXT / 2..CONTEXT - 1 {
            let sum: f64 = rows[place].iter().map(|x| x.exp()).sum();
            nll.push(sum.ln() - rows[place][chunk[place + 1] as usize]);
        }
    }
    (nll.iter().sum::<f64>() / nll.len() as f64).exp()
}

#[test]
fn perplexity_is_that_of_the_rows_of_eval_logits() {
    let dir = ScratchDir::new().unwrap();
    fs::write(dir.path().join("text"), TEXT).unwrap();
    let args = [
        "eval",
        "ppl",
        "lattice-tiny",
        "--text",
        "text",
        "--context",
        "16",
        "--json",
    ];
    let found = object(&dir, &args);
    let ids = ids_of(TEXT);
    assert_eq!(found["text_tokens"], ids.len());
    let expected = naive(&dir, &ids);
    let perplexity = found["measured"]["perplexity"]["value"].as_f64().unwrap();
    assert!(
        (perplexity / expected - 1.0).abs() < 1e-9,
        "{perplexity} instead of {expected}"
    );
    assert_eq!(found["measured"]["against"], Value::Null);
    let obeyed = object(&dir, &[&args[..], &["--parse-special"]].concat());
    let fewer = obeyed["text_tokens"].as_u64() < found["text_tokens"].as_u64();
    assert!(
        fewer,
        "a control token is one token only where it is asked for"
    );
}

#[test]
fn a_model_against_itself_shows_no_divergence_but_that_of_its_keys_and_values() {
    let dir = ScratchDir::new().unwrap();
    fs::write(dir.path().join("text"), TEXT).unwrap();
    let args = [
        "eval",
        "ppl",
        "lattice-tiny",
        "--text",
        "text",
        "--context",
        "16",
    ];
    let against = ["--against", "lattice-tiny"];
    let found = object(&dir, &[&args[..], &against, &["--json"]].concat());
    let against_itself = &found["measured"]["against"];
    assert_eq!(against_itself["kl_mean"]["value"], 0.0);
    assert_eq!(against_itself["same_top"]["value"], 1.0);
    assert_eq!(against_itself["perplexity_ratio"]["value"], 1.0);
    let words = printed(&dir, &[&args[..], &against].concat());
    assert!(words.contains("same top    100.00 +- 0.00 %"), "{words}");
    let kv = ["--kv", "int8", "--against-kv", "f32", "--json"];
    let found = object(&dir, &[&args[..], &against, &kv].concat());
    let kl = found["measured"]["against"]["kl_mean"]["value"].as_f64();
    let kl = kl.unwrap();
    assert!(kl > 0.0 && kl < 0.01, "keys and values in 8 bits cost {kl}");
}

#[test]
fn a_text_too_short_for_a_window_is_refused() {
    let dir = ScratchDir::new().unwrap();
    fs::write(dir.path().join("text"), "A hen.").unwrap();
    let output = lattice(&dir, &["eval", "ppl", "lattice-tiny", "--text", "text"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        words.contains("does not fill one context of 512"),
        "{words}"
    );
}

const BENCH: [&str; 12] = [
    "bench",
    "--prompt",
    "8,24",
    "--decode-at",
    "0,16",
    "--sequences",
    "1,2",
    "--tokens",
    "3",
    "--runs",
    "2",
    "--json",
];

#[test]
fn a_bench_gives_positive_figures_for_each_shape_and_compares_them() {
    let dir = ScratchDir::new().unwrap();
    let found = object(&dir, &BENCH);
    let tests = found["tests"].as_array().unwrap();
    let names: Vec<&str> = tests.iter().map(|t| t["test"].as_str().unwrap()).collect();
    let all = [
        "prompt 8",
        "prompt 24",
        "decode at 0",
        "decode at 16",
        "decode 2 sequences",
    ];
    assert_eq!(names, all);
    for test in tests {
        assert!(test["tok_s"].as_f64().unwrap() > 0.0, "{test}");
        assert!(test["gflops"].as_f64().unwrap() > 0.0, "{test}");
        assert_eq!(test["runs_tok_s"].as_array().unwrap().len(), 2);
        assert_eq!(test["gbps"].is_null(), test["kind"] == "prompt");
    }
    for field in [
        "load_ms",
        "read_gbps",
        "weight_bytes_per_token",
        "kv_bytes_per_token",
    ] {
        assert!(found[field].as_f64().unwrap() > 0.0, "{field}");
    }
    fs::write(dir.path().join("before.json"), found.to_string()).unwrap();
    let again = object(&dir, &[&BENCH[..], &["--compare", "before.json"]].concat());
    let compared = &again["compare"];
    assert_eq!(compared["not_alike"], json!([]));
    let figures = compared["figures"].as_array().unwrap();
    assert!(figures.len() >= names.len(), "{compared}");
    assert!(figures.iter().all(|f| f["ratio"].as_f64().unwrap() > 0.0));
}

#[test]
fn only_times_what_is_asked_for() {
    let dir = ScratchDir::new().unwrap();
    let one = ["bench", "--only", "--prompt", "8", "--runs", "1", "--json"];
    let tests = object(&dir, &one)["tests"].clone();
    assert_eq!(tests.as_array().unwrap().len(), 1, "{tests}");
    assert_eq!(tests[0]["test"], "prompt 8");
    let none = object(&dir, &["bench", "--only", "--json"]);
    assert_eq!(none["tests"], json!([]));
    assert!(none["read_gbps"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_profile_adds_up_and_comes_when_asked() {
    let dir = ScratchDir::new().unwrap();
    let plain = ["bench", "--only", "--prompt", "8", "--runs", "2", "--json"];
    assert!(object(&dir, &plain)["tests"][0].get("profile").is_none());
    let test = object(&dir, &[&plain[..], &["--profile"]].concat())["tests"][0].clone();
    let rows = test["profile"].as_array().unwrap();
    let sum = |field: &str| {
        rows.iter()
            .map(|row| row[field].as_f64().unwrap())
            .sum::<f64>()
    };
    assert!((sum("share") - 1.0).abs() < 1e-9, "{test}");
    // Mean milliseconds of the two runs, whose rates are known.
    let runs = test["runs_tok_s"].as_array().unwrap();
    let ms = runs
        .iter()
        .map(|rate| 8e3 / rate.as_f64().unwrap())
        .sum::<f64>()
        / 2.0;
    assert!(sum("ms") > 0.0 && sum("ms") <= ms, "{ms}: {test}");
    let named = |name: &str| rows.iter().any(|row| row["work"] == name);
    assert!(named("attention") && named("norm") && named("around the steps"));
    let products = rows.iter().filter(|row| !row["weight_gbps"].is_null());
    assert!(products.count() >= 2, "{test}");
}

#[test]
fn a_shape_beyond_the_context_is_refused_by_name() {
    let dir = ScratchDir::new().unwrap();
    let output = lattice(&dir, &["bench", "--decode-at", "4096"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(words.contains("decode at 4096 needs more than"), "{words}");
}

#[test]
fn a_model_that_makes_vectors_is_timed_by_texts() {
    let dir = ScratchDir::new().unwrap();
    let model = lattice_testkit::encoder("bert_mean").dir;
    let model = model.display().to_string();
    let args = ["bench", &model, "--prompt", "3,16", "--sequences", "1,5"];
    let report = object(&dir, &[&args[..], &["--runs", "2", "--json"]].concat());
    let tests = report["tests"].as_array().unwrap();
    let shapes: Vec<(u64, u64)> = tests
        .iter()
        .map(|test| {
            assert_eq!((&test["kind"], &test["runs"]), (&json!("texts"), &json!(2)));
            assert!(test["gflops"].as_f64().unwrap() > 0.0);
            let number = |name: &str| test[name].as_u64().unwrap();
            (number("tokens"), number("texts"))
        })
        .collect();
    assert_eq!(shapes, [(3, 1), (3, 5), (16, 1), (16, 5)]);
    let table = printed(&dir, &[&args[..], &["--runs", "1"]].concat());
    assert!(table.contains("5 of 16 tokens"), "{table}");
    for (more, words) in [
        (["--prompt", "21"], "a text of 21 tokens"),
        (["--decode-at", "4"], "the model makes vectors"),
    ] {
        let output = lattice(&dir, &[&["bench", model.as_str()][..], &more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
}
