//! `lattice rerank`.

use lattice_testkit::cross_encoders;
use serde_json::{Value, json};

use crate::{Desk, events, words};

#[test]
fn the_best_documents_stand_first() {
    let desk = Desk::new();
    for golden in cross_encoders() {
        let model = golden.dir.display().to_string();
        let pairs = &golden.pairs.pairs;
        // The pairs that have the first one's query.
        let query = pairs[0][0].as_str();
        let same: Vec<usize> = (0..pairs.len())
            .filter(|&at| pairs[at][0] == query)
            .collect();
        let lines = same
            .iter()
            .map(|&at| json!({"id": format!("d{at}"), "text": pairs[at][1]}));
        let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
        desk.write("documents.jsonl", lines.join("\n"));
        let args = [
            "rerank",
            "--model",
            &model,
            "--json",
            "-f",
            "documents.jsonl",
            "--",
            query,
        ];
        let output = desk.lattice(&args).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let done = events(&String::from_utf8(output.stdout).unwrap())
            .pop()
            .unwrap();
        if golden.pairs.scores[0].len() > 1 {
            assert_eq!(done["scores"].as_array().unwrap().len(), same.len());
            continue;
        }
        let results = done["results"].as_array().unwrap();
        assert_eq!(results.len(), same.len());
        let score = |result: &Value| result["score"].as_f64().unwrap();
        assert!(
            results
                .windows(2)
                .all(|two| score(&two[0]) >= score(&two[1]))
        );
        for result in results {
            let at = same[result["document"].as_u64().unwrap() as usize];
            assert_eq!(result["id"], json!(format!("d{at}")));
            let expected = f64::from(golden.pairs.scores[at][0]);
            assert!((score(result) - expected).abs() <= 2e-6, "{}", golden.name);
        }
    }
}

#[test]
fn people_get_a_table_and_a_sentence() {
    let desk = Desk::new();
    let one = cross_encoders()
        .into_iter()
        .find(|golden| golden.pairs.scores[0].len() == 1);
    if let Some(golden) = one {
        let model = golden.dir.display().to_string();
        let args = [
            "rerank",
            "--model",
            &model,
            "--top",
            "1",
            "ice",
            "blue ferry",
            "night\nice",
        ];
        let output = desk.lattice(&args).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.trim_start().starts_with("1  "), "{said}");
    }
    let output = desk.lattice(&["rerank", "a", "b"]).output().unwrap();
    assert!(words(&output).contains("say which cross-encoder with --model"));
    let output = desk
        .lattice(&["rerank", "a", "b", "--model", &desk.model])
        .output()
        .unwrap();
    assert!(
        words(&output).contains("does not score pairs"),
        "{}",
        words(&output)
    );
}
