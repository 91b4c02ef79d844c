//! `lattice embed backfill`: a store goes from one tiny model to another, and back.

use lattice_testkit::encoder;

use super::{Desk, words};

/// What a step prints where it goes well.
fn step(desk: &Desk, args: &[&str]) -> String {
    let mut all = vec!["embed", "backfill"];
    all.extend(args);
    let output = desk.lattice(&all).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", words(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(desk: &Desk, args: &[&str]) -> String {
    let mut all = vec!["embed", "backfill"];
    all.extend(args);
    let output = desk.lattice(&all).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    words(&output)
}

#[test]
fn a_store_goes_to_another_model_and_back() {
    let desk = Desk::new();
    let (old, new) = (
        desk.model.clone(),
        encoder("bert_cls").dir.display().to_string(),
    );
    let texts = |range: std::ops::Range<usize>| -> String {
        range
            .map(|i| format!("{{\"id\": {i}, \"text\": \"text {i}\"}}\n"))
            .collect()
    };
    desk.write("first.jsonl", texts(0..30));
    desk.write("later.jsonl", texts(30..35));
    let made = step(&desk, &["create", "store", "first.jsonl", "--model", &old]);
    assert!(made.contains("30 rows"), "{made}");
    step(&desk, &["plan", "store", "--model", &new]);
    let early = refused(&desk, &["cut-over", "store"]);
    assert!(early.contains("verify comes first"), "{early}");
    // The store knows where its models are.
    step(&desk, &["run", "store"]);
    step(&desk, &["append", "store", "later.jsonl"]);
    let seen = step(&desk, &["verify", "store", "--model", &new]);
    assert!(seen.contains("35"), "{seen}");
    let over = step(&desk, &["cut-over", "store"]);
    assert!(over.contains("is read        generation 2"), "{over}");
    let back = step(&desk, &["rollback", "store"]);
    assert!(back.contains("is read        generation 1"), "{back}");
    step(&desk, &["cut-over", "store"]);
    step(&desk, &["prune", "store"]);
    let end = step(&desk, &["status", "store"]);
    assert!(end.contains("settled") && end.contains("35 rows"), "{end}");
    let lost = refused(&desk, &["rollback", "store"]);
    assert!(lost.contains("no old one is kept"), "{lost}");
}
