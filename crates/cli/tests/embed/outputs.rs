//! What comes out.

use lattice_testkit::{encoder, max_abs_error};
use lattice_vectors::{Id, ReadOptions, Stored, VectorReader, VectorSet};
use serde_json::{Value, json};

use crate::{Desk, events, lines, vector, words};

fn set(desk: &Desk, name: &str) -> VectorSet {
    VectorSet::open(&desk.path(name), &ReadOptions::default()).unwrap()
}

#[test]
fn vectors_are_those_of_the_reference() {
    let desk = Desk::with("xlm_roberta_mean");
    let golden = encoder("xlm_roberta_mean").texts;
    let texts: Vec<String> = golden
        .texts
        .iter()
        .map(|text| json!({"text": text}).to_string())
        .collect();
    desk.write("in.jsonl", texts.join("\n"));
    for (prompt, expected) in [
        (None, &golden.plain),
        (Some("query"), golden.query.as_ref().unwrap()),
    ] {
        let mut args = vec!["-f", "in.jsonl"];
        args.extend(prompt.iter().flat_map(|prompt| ["--prompt", prompt]));
        let found: Vec<f32> = lines(&desk.says(&args)).iter().flat_map(vector).collect();
        assert!(max_abs_error(&found, &expected.rows.concat()) <= 2e-6);
    }
}

#[test]
fn every_kind_of_file_holds_the_same() {
    let desk = Desk::new();
    desk.write(
        "in.jsonl",
        "{\"id\":5,\"text\":\"a\",\"more\":[1]}\n{\"id\":6,\"text\":\"blue ferry\"}\n",
    );
    let stdout = lines(&desk.says(&["-f", "in.jsonl"]));
    let expected: Vec<f32> = stdout.iter().flat_map(vector).collect();
    assert_eq!(
        (&stdout[0]["id"], &stdout[0]["more"]),
        (&json!(5), &json!([1]))
    );
    for name in ["out.npy", "out.jsonl", "out.parquet"] {
        let said = desk.says(&["-f", "in.jsonl", "-o", name]);
        assert!(
            said.contains("vectors     2") && said.contains(name),
            "{said}"
        );
        let set = set(&desk, name);
        assert_eq!(
            (set.rows, set.columns, &set.values),
            (2, 24, &expected),
            "{name}"
        );
        if name != "out.npy" {
            assert_eq!(set.labels[1].id, Some(Id::Int(6)));
            assert_eq!(set.labels[1].text.as_deref(), Some("blue ferry"));
        }
    }
    desk.says(&["-f", "in.jsonl", "-o", "bare.parquet", "--no-text"]);
    assert_eq!(set(&desk, "bare.parquet").labels[0].text, None);
    // What was written can be read for its texts.
    let again = lines(&desk.says(&["-f", "out.parquet"]));
    assert_eq!(again.iter().flat_map(vector).collect::<Vec<_>>(), expected);
}

#[test]
fn numbers_come_as_bytes_and_bits() {
    let desk = Desk::new();
    let exact: Vec<f32> = lines(&desk.says(&["a"])).iter().flat_map(vector).collect();
    desk.says(&["a", "-o", "i8.npy", "--dtype", "i8"]);
    let bytes = set(&desk, "i8.npy");
    assert_eq!((bytes.stored, bytes.columns), (Stored::I8, 24));
    let line = &lines(&desk.says(&["a", "--dtype", "i8"]))[0];
    assert_eq!(vector(line), bytes.values);
    let scale = line["scale"].as_f64().unwrap() as f32;
    let close: Vec<f32> = bytes.values.iter().map(|value| value * scale).collect();
    assert!(max_abs_error(&close, &exact) <= f64::from(scale) * 0.51);
    desk.says(&["a", "-o", "bits.npy", "--dtype", "binary"]);
    let bits = set(&desk, "bits.npy");
    assert_eq!((bits.stored, bits.columns), (Stored::U8, 3));
    let first = (0..8).fold(0, |byte, at| byte * 2 + u8::from(exact[at] > 0.0));
    assert_eq!(bits.values[0], f32::from(first));
}

#[test]
fn cosines_stand_in_a_table() {
    let desk = Desk::new();
    let said = desk.says(&["--similarity", "blue ferry", "blue ferry", "night\tice"]);
    let table: Vec<&str> = said.lines().collect();
    assert_eq!(table.len(), 4);
    assert!(table[1].contains("1  blue ferry  1.000  1.000"), "{said}");
    assert!(table[3].contains("3  night ice"), "{said}");
    let said = desk.says(&["--similarity", "--json", "a", "b"]);
    let events = events(&said);
    let [similarity, done] = &events[..] else {
        panic!("{said}")
    };
    assert_eq!(similarity["cosines"][0][1], similarity["cosines"][1][0]);
    assert_eq!(done["ev"], "embed_done");
}

#[test]
fn programs_get_events() {
    let desk = Desk::new();
    let said = desk.says(&["--json", "a", "blue ferry"]);
    let rows = events(&said);
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (&rows[1]["ev"], &rows[1]["i"]),
        (&json!("embed_row"), &json!(1))
    );
    assert_eq!(vector(&rows[1]).len(), 24);
    let done = &rows[2];
    let expected =
        json!({"dims": 24, "dtype": "f32", "count": 2, "resumed": 0, "truncated": 0, "out": null});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&done[name], value, "{name}");
    }
    assert!(done["ms"].as_f64().unwrap() > 0.0 && done["tokens"].as_u64().unwrap() > 4);
    let input = json!({"text": "a", "ev": "theirs", "i": 7, "kept": 3});
    desk.write("own.jsonl", format!("{input}\n"));
    let said = desk.says(&["--json", "-f", "own.jsonl"]);
    assert_eq!(said.matches("\"ev\"").count(), 2, "{said}");
    let row = &events(&said)[0];
    assert_eq!((&row["i"], &row["kept"]), (&json!(0), &json!(3)));
    let output = desk
        .embed(&["--json", "a", "--dims", "99"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(events(&said)[0]["ev"], "error");
    desk.write("in.txt", "a\n".repeat(3000));
    let said = desk.says(&["--json", "-f", "in.txt", "-o", "out.npy"]);
    let done = events(&said).pop().unwrap();
    assert_eq!(
        (&done["count"], &done["out"]),
        (&json!(3000), &json!("out.npy"))
    );
}

#[test]
fn long_texts_are_told_of_or_refused() {
    let desk = Desk::new();
    let long = "harbour ".repeat(60);
    desk.write("in.txt", format!("a\n{long}\nb\n{long}\n"));
    let output = desk.embed(&["-f", "in.txt"]).output().unwrap();
    let said = words(&output);
    assert!(
        said.contains("and cut: text 1 (20 of 62 tokens read), text 3"),
        "{said}"
    );
    assert_eq!(lines(&String::from_utf8(output.stdout).unwrap()).len(), 4);
    let said = desk.refuses(&["-f", "in.txt", "--on-long", "error"]);
    assert!(
        said.contains("text 1 has") && said.contains("reads 20"),
        "{said}"
    );
    let said = desk.says(&["--json", "-f", "in.txt"]);
    let warnings: Vec<Value> = events(&said)
        .into_iter()
        .filter(|e| e["ev"] == "warning")
        .collect();
    assert_eq!(warnings.len(), 1);
    // Each is counted among all, whatever the pieces.
    desk.write("many.txt", format!("{}{long}\n", "a\n".repeat(1000)));
    let said = desk.refuses(&["-f", "many.txt", "--on-long", "error", "-o", "out.npy"]);
    assert!(said.contains("text 1000 has"), "{said}");
}

#[test]
fn what_cannot_be_written_is_refused_before_the_work() {
    let desk = Desk::new();
    desk.write("there.npy", "x");
    std::fs::create_dir(desk.path("folder.npy")).unwrap();
    for (args, reason) in [
        (
            ["a", "-o", "there.npy"],
            "there.npy is there; --force replaces it",
        ),
        (["a", "-o", "none/out.npy"], "there is no directory none"),
        (["a", "-o", "folder.npy"], "is a directory"),
        (["a", "-o", "out.txt"], "none of .npy"),
        (
            ["a", "--dims", "25"],
            "cannot give 25 dimensions: it has 24",
        ),
        (["a", "--prompt", "ask"], "has no prompt \"ask\""),
    ] {
        let said = desk.refuses(&args);
        assert!(said.contains(reason), "{args:?}: {said}");
    }
    desk.says(&["a", "-o", "there.npy", "--force"]);
    assert_eq!(set(&desk, "there.npy").rows, 1);
    let both = desk
        .embed(&["a", "--similarity", "-o", "x.npy"])
        .output()
        .unwrap();
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn a_reader_who_goes_away_is_no_accident() {
    let desk = Desk::new();
    desk.write("in.txt", "blue ferry\n".repeat(5000));
    for args in [&["-f", "in.txt"][..], &["-f", "in.txt", "--json"]] {
        let mut command = desk.embed(args);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = words(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.lines().all(|line| line.starts_with("note: ")),
            "{said}"
        );
    }
}

#[test]
fn nothing_makes_an_empty_file() {
    let desk = Desk::new();
    assert_eq!(desk.says(&[]), "");
    for name in ["out.npy", "out.jsonl", "out.parquet"] {
        desk.says(&["-o", name]);
        let mut reader = VectorReader::open(&desk.path(name), &ReadOptions::default()).unwrap();
        assert_eq!(reader.read(10, &mut VectorSet::new()).unwrap(), 0, "{name}");
    }
}
