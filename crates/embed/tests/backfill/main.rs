//! A store's way from one model to another: in order, out of order, broken off, and with files that lie.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod toy;

use std::fs;
use std::ops::ControlFlow;

use lattice_embed::backfill::{
    BackfillError, Dtype, FillOptions, Filled, Identity, Numbers, Progress, Row, ShardForm,
    ShardIds, ShardKind, Stage, Store,
};
use lattice_testkit::{ScratchDir, SplitMix64};
use lattice_vectors::{Field, Id, ReadOptions, VectorSet};
use toy::{JSONL, PARQUET, embedder, files, identity, new, old, rows, store};

fn fill(store: &Store, here: &Identity) -> Result<Filled, BackfillError> {
    let options = FillOptions { batch_rows: 64 };
    let mut on = |_: &Progress| ControlFlow::Continue(());
    store.fill(here, &mut embedder(here.clone()), &options, &mut on)
}

fn verify(store: &Store, here: &Identity) -> Result<u64, BackfillError> {
    let verified = store.verify(here, &mut embedder(here.clone()), 10)?;
    assert!(verified.samples >= 10.min(verified.rows));
    Ok(verified.rows)
}

fn append(store: &Store, range: std::ops::Range<usize>) -> Result<u64, BackfillError> {
    let status = store.status().unwrap();
    let mut current = embedder(status.current.made_by);
    let mut other = status.other.map(|other| embedder(other.made_by));
    let other = other.as_mut().map(|other| other as _);
    store.append(&rows(range), &mut current, other)
}

/// The generation that is read holds the texts `0..rows`, and of each the vector of the model it says.
fn holds(store: &Store, rows: usize) {
    let made_by = store.status().unwrap().current.made_by;
    let mut row = 0;
    for file in store.shard_files().unwrap() {
        let options = ReadOptions {
            scales: true,
            ..ReadOptions::default()
        };
        let set = VectorSet::open(&file, &options).unwrap();
        for at in 0..set.rows {
            let text = format!("text {row} é");
            let scaled = made_by.dtype == Dtype::I8;
            let scale = scaled.then_some(0.1 + text.len() as f32);
            assert_eq!(set.labels[at].scale, scale);
            assert_eq!(set.labels[at].id, Some(Id::Int(row as i64)));
            assert_eq!(set.labels[at].text.as_deref(), Some(&*text));
            let expected = match embedder(made_by.clone())(&[&text]).unwrap() {
                Numbers::F32(numbers) => numbers,
                Numbers::I8 { values, .. } => values.into_iter().map(f32::from).collect(),
                Numbers::Binary(numbers) => numbers.into_iter().map(f32::from).collect(),
            };
            assert_eq!(set.row(at), expected);
            row += 1;
        }
    }
    assert_eq!(row, rows);
}

#[test]
fn the_whole_way_there_and_back_and_there() {
    for (form, dtype) in [
        (PARQUET, Dtype::F32),
        (JSONL, Dtype::F32),
        (PARQUET, Dtype::I8),
        (JSONL, Dtype::I8),
        (JSONL, Dtype::Binary),
    ] {
        let dir = ScratchDir::new().unwrap();
        let new = identity("new", 20, dtype);
        let store = store(dir.path(), form, 3, 50);
        holds(&store, 150);
        store.plan(&new).unwrap();
        append(&store, 150..180).unwrap();
        let filled = fill(&store, &new).unwrap();
        assert_eq!((filled.rows, filled.rows_embedded), (180, 150));
        append(&store, 180..190).unwrap();
        assert_eq!(verify(&store, &new).unwrap(), 190);
        append(&store, 190..200).unwrap();
        holds(&store, 200);
        store.cut_over().unwrap();
        holds(&store, 200);
        assert_eq!(store.status().unwrap().current.made_by, new);
        append(&store, 200..210).unwrap();
        store.rollback().unwrap();
        holds(&store, 210);
        assert_eq!(store.status().unwrap().current.made_by, old());
        append(&store, 210..211).unwrap();
        store.cut_over().unwrap();
        store.prune().unwrap();
        append(&store, 211..220).unwrap();
        holds(&store, 220);
        let status = store.status().unwrap();
        assert_eq!((status.stage, status.other), (None, None));
        assert!(!dir.path().join("g0001").exists());
    }
}

/// Where a store may be, and what brings it there.
fn at_stage(dir: &std::path::Path, stage: Option<Stage>) -> Store {
    let store = store(dir, PARQUET, 2, 20);
    if stage.is_some() {
        store.plan(&new()).unwrap();
    }
    if !matches!(stage, None | Some(Stage::Filling)) {
        fill(&store, &new()).unwrap();
    }
    if matches!(stage, Some(Stage::Verified | Stage::CutOver)) {
        verify(&store, &new()).unwrap();
    }
    if stage == Some(Stage::CutOver) {
        store.cut_over().unwrap();
    }
    store
}

#[test]
fn a_step_that_does_not_follow_is_refused_in_words_and_changes_nothing() {
    use Stage::{CutOver, Filled, Filling, Verified};
    type Step = fn(&Store) -> Result<(), BackfillError>;
    let steps: [(&str, Step, &[Option<Stage>]); 7] = [
        (
            "plan",
            |store| store.plan(&identity("newer", 2, Dtype::F32)),
            &[None],
        ),
        (
            "fill",
            |store| fill(store, &new()).map(drop),
            &[Some(Filling), Some(Filled), Some(Verified)],
        ),
        (
            "verify",
            |store| verify(store, &new()).map(drop),
            &[Some(Filled), Some(Verified)],
        ),
        ("cut over", Store::cut_over, &[Some(Verified)]),
        ("roll back", Store::rollback, &[Some(CutOver)]),
        ("prune", Store::prune, &[Some(CutOver)]),
        (
            "abandon",
            Store::abandon,
            &[Some(Filling), Some(Filled), Some(Verified)],
        ),
    ];
    for stage in [
        None,
        Some(Filling),
        Some(Filled),
        Some(Verified),
        Some(CutOver),
    ] {
        for (name, step, from) in steps {
            let dir = ScratchDir::new().unwrap();
            let store = at_stage(dir.path(), stage);
            assert_eq!(store.status().unwrap().stage, stage);
            let before = files(dir.path());
            let result = step(&store);
            if from.contains(&stage) {
                result.unwrap();
                continue;
            }
            let error = result.unwrap_err();
            assert!(
                matches!(error, BackfillError::Step { .. }),
                "{stage:?}: {error}"
            );
            assert!(
                error.to_string().contains(&format!("cannot {name}: ")),
                "{error}"
            );
            assert!(
                files(dir.path()) == before,
                "{stage:?}: {name} changes something"
            );
        }
    }
}

#[test]
fn stopped_at_any_moment_it_ends_with_the_same_bytes() {
    for form in [PARQUET, JSONL] {
        let whole = ScratchDir::new().unwrap();
        let once = store(whole.path(), form, 2, 1500);
        once.plan(&new()).unwrap();
        fill(&once, &new()).unwrap();
        for seed in 0..2 {
            let dir = ScratchDir::new().unwrap();
            let store = store(dir.path(), form, 2, 1500);
            store.plan(&new()).unwrap();
            let mut rng = SplitMix64::new(seed);
            let (mut stops, mut embedded) = (0, 0);
            loop {
                let (mut left, mut last) = (1 + rng.below(30), 0);
                let result = store.fill(
                    &new(),
                    &mut embedder(new()),
                    &FillOptions { batch_rows: 64 },
                    &mut |progress| {
                        assert!(progress.rows >= last && progress.rows <= 3000);
                        assert_eq!((progress.rows_total, progress.shards_total), (3000, 2));
                        embedded += 1;
                        last = progress.rows;
                        left -= 1;
                        if left == 0 {
                            ControlFlow::Break(())
                        } else {
                            ControlFlow::Continue(())
                        }
                    },
                );
                match result {
                    Ok(filled) => {
                        assert_eq!(filled.rows, 3000);
                        break;
                    }
                    Err(BackfillError::Stopped) => stops += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(stops > 0 && embedded > 40);
            assert!(files(dir.path()) == files(whole.path()));
        }
    }
}

#[test]
fn rows_that_arrive_while_it_is_filled_are_in_both() {
    let dir = ScratchDir::new().unwrap();
    let store = store(dir.path(), PARQUET, 3, 100);
    store.plan(&new()).unwrap();
    let mut arrived = 300;
    let mut watch = |_: &Progress| {
        append(&store, arrived..arrived + 5).unwrap();
        arrived += 5;
        // The same shard is not written by two.
        if arrived == 310 {
            let words = fill(&store, &new()).unwrap_err().to_string();
            assert!(words.contains("another process is writing it"), "{words}");
        }
        ControlFlow::Continue(())
    };
    let options = FillOptions { batch_rows: 50 };
    store
        .fill(&new(), &mut embedder(new()), &options, &mut watch)
        .unwrap();
    assert!(arrived > 330);
    assert_eq!(verify(&store, &new()).unwrap(), arrived as u64);
    store.cut_over().unwrap();
    holds(&store, arrived);
}

#[test]
fn a_row_is_in_both_or_in_neither() {
    let dir = ScratchDir::new().unwrap();
    let store = at_stage(dir.path(), Some(Stage::CutOver));
    let before = files(dir.path());
    let words = |result: Result<u64, BackfillError>| {
        assert!(files(dir.path()) == before);
        result.unwrap_err().to_string()
    };
    let (mut by_new, mut by_old) = (embedder(new()), embedder(old()));
    let alone = words(store.append(&rows(40..41), &mut by_new, None));
    assert!(
        alone.contains("there are two generations") && alone.contains("old"),
        "{alone}"
    );
    let mut fails = |_: &[&str]| Err("out of breath".to_owned());
    let failed = words(store.append(&rows(40..41), &mut by_new, Some(&mut fails)));
    assert!(failed.contains("shard 2, row 0: out of breath"), "{failed}");
    let short = words(store.append(&rows(40..41), &mut by_old, Some(&mut by_new)));
    assert!(short.contains("3 numbers for 1 texts, not 5"), "{short}");
    let mut nan = |_: &[&str]| Ok(Numbers::F32(vec![0.0, f32::NAN, 0.0]));
    let nan = words(store.append(&rows(40..41), &mut by_new, Some(&mut nan)));
    assert!(nan.contains("NaN for text 0"), "{nan}");
    let mut row = Row::of_text("x");
    row.id = Some(Id::Text("x".to_owned()));
    let id = words(store.append(&[row.clone()], &mut by_new, Some(&mut by_old)));
    assert!(id.contains("row 0: an id of another type"), "{id}");
    row.id = None;
    row.rest = vec![Field::new("year", "7").unwrap()];
    let rest = words(store.append(&[row], &mut by_new, Some(&mut by_old)));
    assert!(rest.contains("only a store of JSON lines"), "{rest}");
    words(store.append(&[], &mut by_new, Some(&mut by_old)));
    let made = store.append_made(&rows(40..41), &new(), Numbers::F32(vec![0.0; 5]));
    assert!(words(made).contains("two generations"));
}

#[test]
fn other_fields_of_json_lines_stay() {
    let dir = ScratchDir::new().unwrap();
    let form = ShardForm {
        kind: ShardKind::Jsonl,
        ids: ShardIds::None,
    };
    let store = Store::create(dir.path(), form, &old()).unwrap();
    let mut row = Row::of_text("one");
    row.rest = vec![
        Field::new("year", "1e3").unwrap(),
        Field::new("a b", "[1, {}]").unwrap(),
    ];
    let numbers = Numbers::F32(vec![0.5, 1.0, -2.0]);
    store.append_made(&[row.clone()], &old(), numbers).unwrap();
    store.plan(&new()).unwrap();
    fill(&store, &new()).unwrap();
    verify(&store, &new()).unwrap();
    store.cut_over().unwrap();
    let set = VectorSet::open(&store.shard_files().unwrap()[0], &ReadOptions::default()).unwrap();
    assert_eq!(set.labels[0].rest, row.rest);
}

#[test]
fn what_does_not_hold_is_found_before_anybody_reads_it() {
    let check = |spoil: &dyn Fn(&std::path::Path), words: &str| {
        let dir = ScratchDir::new().unwrap();
        let store = at_stage(dir.path(), Some(Stage::Filled));
        spoil(dir.path());
        let found = verify(&store, &new()).unwrap_err().to_string();
        assert!(found.contains(words), "{found}");
        assert!(store.cut_over().is_err());
        holds(&store, 40);
    };
    let flip = |path: std::path::PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    check(
        &|dir| flip(dir.join("g0002/000001.parquet")),
        "000001.parquet: the manifest says",
    );
    check(
        &|dir| flip(dir.join("g0002/000000.parquet")),
        "000000.parquet: the manifest says",
    );
    check(
        &|dir| fs::remove_file(dir.join("g0002/000000.parquet")).unwrap(),
        "cannot open",
    );

    let dir = ScratchDir::new().unwrap();
    let store = at_stage(dir.path(), Some(Stage::Filled));
    let words = verify(&store, &old()).unwrap_err().to_string();
    assert!(
        words.contains(r#"model is "new" there, "old" here; dims is "5" there, "3" here"#),
        "{words}"
    );
    let mut by_new = embedder(new());
    let mut almost = |texts: &[&str]| {
        let Ok(Numbers::F32(mut numbers)) = by_new(texts) else {
            panic!("f32")
        };
        numbers[7] = f32::from_bits(numbers[7].to_bits() + 1);
        Ok(Numbers::F32(numbers))
    };
    let words = store
        .verify(&new(), &mut almost, 10)
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("shard 0, row 4, column 2: ") && words.contains("embedded again"),
        "{words}"
    );
    // A shard that is lost after it was looked at is missed when cutting over.
    verify(&store, &new()).unwrap();
    fs::write(dir.path().join("g0002/000001.parquet"), "x").unwrap();
    let words = store.cut_over().unwrap_err().to_string();
    assert!(
        words.contains("000001.parquet: the manifest says"),
        "{words}"
    );
    store.abandon().unwrap();
    holds(&store, 40);
}

#[test]
fn a_source_that_is_not_as_the_manifest_says_is_not_filled_from() {
    let dir = ScratchDir::new().unwrap();
    let store = at_stage(dir.path(), Some(Stage::Filling));
    fs::copy(
        dir.path().join("g0001/000000.parquet"),
        dir.path().join("g0001/000001.parquet"),
    )
    .unwrap();
    let words = fill(&store, &new()).unwrap_err().to_string();
    assert!(
        words.contains("g0001/000001.parquet: the manifest says"),
        "{words}"
    );
}

#[test]
fn what_a_broken_step_left_is_told_and_removed() {
    let dir = ScratchDir::new().unwrap();
    let store = at_stage(dir.path(), None);
    fs::create_dir_all(dir.path().join("g0002")).unwrap();
    fs::write(dir.path().join("g0002/000000.parquet"), "x").unwrap();
    fs::write(dir.path().join("manifest.json.new"), "{").unwrap();
    assert_eq!(store.status().unwrap().leftovers, ["g0002"]);
    store.plan(&new()).unwrap();
    fill(&store, &new()).unwrap();
    verify(&store, &new()).unwrap();
    assert!(store.status().unwrap().leftovers.is_empty());
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let dir = ScratchDir::new().unwrap();
    at_stage(dir.path(), Some(Stage::Filled));
    let path = dir.path().join("manifest.json");
    let right = fs::read_to_string(&path).unwrap();
    for (from, to, words) in [
        ("lattice-store", "other-store", "is known"),
        ("\"version\": 1", "\"version\": 2", "is known"),
        ("\"filled\"", "null", "at stage None"),
        ("\"filled\"", "\"done\"", "unknown variant"),
        ("\"current\": 1", "\"current\": 3", "3 of them current"),
        ("\"number\": 2", "\"number\": 1", "[1, 1]"),
        ("\"dims\": 5", "\"dims\": 0", "has 0 dims"),
        ("\"rows\": 20", "\"rows\": -20", "invalid value"),
        ("\"format\"", "\"formal\"", "unknown field"),
    ] {
        assert!(right.contains(from), "{from}");
        fs::write(&path, right.replacen(from, to, 1)).unwrap();
        let found = Store::open(dir.path()).unwrap_err().to_string();
        assert!(
            found.contains("manifest.json: ") && found.contains(words),
            "{found}"
        );
    }
    let mut rng = SplitMix64::new(3);
    for _ in 0..300 {
        let mut bytes = right.clone().into_bytes();
        let at = rng.below(bytes.len());
        match rng.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.next_u64() as u8,
            _ => bytes.insert(at, b"{}[],:\"0"[rng.below(8)]),
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(store) = Store::open(dir.path()) {
            let _ = (store.status(), store.shard_files());
        }
    }
    fs::remove_file(&path).unwrap();
    assert!(Store::open(dir.path()).is_err());
}

#[test]
fn there_is_one_store_in_a_directory() {
    let dir = ScratchDir::new().unwrap();
    let store = at_stage(dir.path(), None);
    let words = Store::create(dir.path(), JSONL, &old())
        .unwrap_err()
        .to_string();
    assert!(words.contains("there is one"), "{words}");
    let words = store.plan(&old()).unwrap_err().to_string();
    assert!(words.contains("this very model"), "{words}");
}
