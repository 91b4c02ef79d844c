//! Drift is found where there is some, and not where there is none.

mod common;

use common::close;
use lattice_transport::*;

/// Normal numbers by seed.
struct Normal(u64);

impl Normal {
    fn unit(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Unit vectors, the first 16 coordinates moved before they are scaled: the recipe of the table.
    fn vectors(&mut self, count: usize, dimension: usize, moved: f64) -> Vec<f32> {
        let mut out = Vec::with_capacity(count * dimension);
        for _ in 0..count {
            let shift = |k: usize| if k < 16 { moved } else { 0.0 };
            let row: Vec<f64> = (0..dimension).map(|k| self.next() + shift(k)).collect();
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            out.extend(row.iter().map(|x| (x / length) as f32));
        }
        out
    }
}

fn set(seed: u64, count: usize, dimension: usize, moved: f64) -> EmbeddingSet {
    let values = Normal(seed * 2 + 1).vectors(count, dimension, moved);
    EmbeddingSet::new(values, dimension).expect("numbers")
}

#[test]
fn the_moved_set_of_the_table_is_found_and_the_other_is_not() {
    let workers = Workers::new(2).expect("threads start");
    let options = DriftOptions {
        directions: 1000,
        ..DriftOptions::default()
    };
    let baseline = set(1, 1000, 384, 0.0);
    let same = drift(&workers, &baseline, &set(2, 1000, 384, 0.0), &options).expect("it compares");
    let moved =
        drift(&workers, &baseline, &set(3, 1000, 384, 0.25), &options).expect("it compares");
    assert!(!same.is_drift(), "{}", same.p_value);
    assert!(moved.is_drift());
    close(moved.p_value, 0.001, 1e-12);
    // The table's figures for numpy's numbers: these are others of the same law.
    close(same.mean_shift, 0.046, 0.003);
    close(moved.mean_shift, 0.067, 0.006);
    close(same.sliced, 0.0041, 0.0004);
    assert!(moved.sliced > 1.03 * same.sliced, "{}", moved.sliced);
    assert!(
        moved.divergence > 1.5 * same.divergence,
        "{} {}",
        moved.divergence,
        same.divergence
    );
}

#[test]
fn unmoved_sets_are_rarely_flagged() {
    let workers = Workers::new(2).expect("threads start");
    let options = DriftOptions {
        permutations: 199,
        directions: 4,
        ..DriftOptions::default()
    };
    let mut flagged = 0;
    let mut p_values = 0.0;
    for seed in 0..200 {
        let (old, new) = (set(1000 + seed, 60, 24, 0.0), set(5000 + seed, 50, 24, 0.0));
        let report = drift(&workers, &old, &new, &options).expect("it compares");
        flagged += usize::from(report.is_drift());
        p_values += report.p_value / 200.0;
    }
    assert!(flagged <= 4, "{flagged} of 200");
    close(p_values, 0.5, 0.07);
}

#[test]
fn reports_are_the_same_for_any_number_of_threads() {
    let (old, new) = (set(1, 120, 20, 0.0), set(2, 90, 20, 0.4));
    for ground in [Ground::SquaredEuclidean, Ground::Euclidean, Ground::Cosine] {
        let options = DriftOptions {
            ground,
            sample_max: 80,
            ..DriftOptions::default()
        };
        let of = |threads| {
            drift(
                &Workers::new(threads).expect("threads"),
                &old,
                &new,
                &options,
            )
        };
        let report = of(1).expect("it compares");
        assert_eq!((report.baseline_sampled, report.new_sampled), (80, 80));
        assert_eq!(of(3).expect("it compares"), report);
    }
}

#[test]
fn items_that_moved_and_items_outside_are_named() {
    let names = |from: usize| (from..from + 100).map(|i| format!("item {i}")).collect();
    let values = Normal(9).vectors(100, 8, 0.0);
    let old = EmbeddingSet::new(values.clone(), 8)
        .expect("numbers")
        .with_ids(names(0))
        .expect("names");
    let mut moved = values[8 * 10..].to_vec();
    moved.extend(Normal(11).vectors(10, 8, 0.0));
    moved[8 * 5] += 3.0;
    let new = EmbeddingSet::new(moved, 8)
        .expect("numbers")
        .with_ids(names(10))
        .expect("names");
    let report =
        drift(&Workers::serial(), &old, &new, &DriftOptions::default()).expect("it compares");
    let items = report.displacement.as_ref().expect("both have names");
    assert_eq!((items.matched, items.gone, items.added), (90, 10, 10));
    assert_eq!(items.largest[0].id, "item 15");
    close(items.largest[0].distance, 3.0, 1e-5);
    close(items.median, 0.0, 1e-12);
    let outside = report
        .outliers
        .as_ref()
        .expect("the baseline tells what is usual");
    assert_eq!(outside.furthest[0].id, "item 15");
    assert!(outside.count < 5);
    let twice = EmbeddingSet::new(vec![0.0, 1.0], 1).expect("numbers");
    let error = twice
        .with_ids(vec!["a".into(), "a".into()])
        .expect_err("twice");
    assert_eq!(error.to_string(), "the id \"a\" is there twice");
}

#[test]
fn thresholds_say_what_was_exceeded() {
    let (old, new) = (set(1, 60, 8, 0.0), set(2, 60, 8, 0.0));
    let thresholds = Thresholds {
        mean_shift: Some(1e-9),
        divergence: Some(1e9),
        ..Thresholds::default()
    };
    let options = DriftOptions {
        thresholds,
        ..DriftOptions::default()
    };
    let report = drift(&Workers::serial(), &old, &new, &options).expect("it compares");
    let what: Vec<_> = report.exceeded.iter().map(|e| e.what).collect();
    assert_eq!(what, ["mean_shift"]);
    assert!(report.is_drift());
}

#[test]
fn a_stream_is_cut_into_the_same_windows_however_it_comes() {
    let workers = Workers::serial();
    let baseline = set(1, 80, 6, 0.0);
    let mut values = Normal(21).vectors(100, 6, 0.0);
    values.extend(Normal(22).vectors(60, 6, 2.0));
    let options = DriftOptions {
        permutations: 199,
        ..DriftOptions::default()
    };
    for windows in [
        Windows::of(40),
        Windows { size: 40, step: 15 },
        Windows { size: 20, step: 50 },
    ] {
        let run = |piece: usize| {
            let mut monitor =
                DriftMonitor::new(&workers, &baseline, options, windows).expect("options");
            let pieces = values.chunks(piece * 6);
            let found: Vec<DriftWindow> = pieces
                .flat_map(|piece| monitor.push(piece).expect("vectors"))
                .collect();
            assert!(monitor.waiting() < windows.size);
            found
        };
        let whole = run(160);
        assert_eq!(run(1), whole);
        assert_eq!(run(37), whole);
        let starts: Vec<u64> = whole.iter().map(|window| window.first).collect();
        let count = (160 - windows.size) / windows.step + 1;
        let expected: Vec<u64> = (0..count).map(|k| (k * windows.step) as u64).collect();
        assert_eq!(starts, expected);
        assert!(!whole[0].report.is_drift());
        assert!(whole.last().expect("windows").report.is_drift());
        assert!(text_from_windows(&whole).lines().count() == whole.len() + 1);
        assert!(svg_from_windows(&whole).ends_with("</svg>\n"));
    }
    let mut monitor =
        DriftMonitor::new(&workers, &baseline, options, Windows::of(5)).expect("options");
    assert!(monitor.push(&[0.0; 7]).is_err());
    assert!(DriftMonitor::new(&workers, &baseline, options, Windows::of(0)).is_err());
}

#[test]
fn reports_are_shown() {
    let report = drift(
        &Workers::serial(),
        &set(1, 60, 8, 0.0),
        &set(2, 60, 8, 1.5),
        &DriftOptions::default(),
    );
    let report = report.expect("it compares");
    let text = text_from_report(&report);
    assert!(text.starts_with("verdict          drift\n"), "{text}");
    assert!(
        text.contains("because          p_value 0.001000 is below 0.01000"),
        "{text}"
    );
    let json = report.to_json();
    assert_eq!(json["drift"], true);
    assert_eq!(json["p_value"], 0.001);
    assert!(json.get("map").is_none());
    let svg = svg_from_report(&report);
    assert_eq!(svg.matches("<svg").count(), 1);
    assert_eq!(svg.matches("<circle").count(), 120);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn small_and_equal_sets_have_reports_too() {
    let of = |values: &[f32]| EmbeddingSet::new(values.to_vec(), 1).expect("numbers");
    let workers = Workers::serial();
    let options = DriftOptions::default();
    for (old, new) in [
        (&[1.0][..], &[2.0][..]),
        (&[1.0], &[1.0]),
        (&[1.0, 1.0], &[1.0]),
        (&[0.0], &[0.0, 0.0, 5.0]),
    ] {
        let report = drift(&workers, &of(old), &of(new), &options).expect("it compares");
        assert!(!report.is_drift(), "too few to tell");
        assert!(report.divergence.is_finite() && report.sliced.is_finite());
        assert!(!svg_from_report(&report).contains("NaN"));
    }
    let other = EmbeddingSet::new(vec![0.0; 4], 2).expect("numbers");
    assert!(drift(&workers, &of(&[1.0]), &other, &options).is_err());
    let cosine = DriftOptions {
        ground: Ground::Cosine,
        ..options
    };
    assert!(drift(&workers, &other, &other, &cosine).is_err());
    let bad = [
        DriftOptions {
            permutations: 0,
            ..options
        },
        DriftOptions {
            sample_max: 1,
            ..options
        },
        DriftOptions {
            neighbours: 0,
            ..options
        },
        DriftOptions {
            epsilon_share: f64::NAN,
            ..options
        },
        DriftOptions {
            directions: usize::MAX,
            ..options
        },
    ];
    for options in bad {
        assert!(drift(&workers, &of(&[1.0]), &of(&[1.0]), &options).is_err());
    }
}

#[test]
fn baselines_come_back_as_they_were_and_no_other_bytes_pass() {
    let named = EmbeddingSet::new(vec![0.25f32; 6], 3).expect("numbers");
    let named = named.with_ids(vec!["é".into(), "".into()]).expect("names");
    let named = named.made_by("größe, \"query: \"".into());
    for set in [set(1, 20, 5, 0.0), named] {
        let bytes = bytes_from_baseline(&set).expect("it fits");
        assert_eq!(baseline_from_bytes(&bytes).expect("its own"), set);
        for end in 0..bytes.len() {
            assert!(baseline_from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            assert!(baseline_from_bytes(&changed).is_err(), "{at}");
        }
        let mut later = bytes.clone();
        later[8] = 3;
        let error = baseline_from_bytes(&later).expect_err("another version");
        assert_eq!(error.to_string(), "baseline: version 3, expected 2");
    }
}

#[test]
fn two_origins_are_not_compared_and_who_says_none_is() {
    let workers = Workers::serial();
    let by = |seed, origin: Option<&str>| match origin {
        Some(origin) => set(seed, 20, 3, 0.0).made_by(origin.into()),
        None => set(seed, 20, 3, 0.0),
    };
    let options = DriftOptions::default();
    let a_to = |new: Option<&str>| drift(&workers, &by(1, Some("a")), &by(2, new), &options);
    let error = a_to(Some("b")).expect_err("two models").to_string();
    assert_eq!(
        error,
        "the baseline was made by \"a\", the new vectors by \"b\""
    );
    assert!(a_to(Some("a")).is_ok() && a_to(None).is_ok());
    assert!(drift(&workers, &by(1, None), &by(2, Some("b")), &options).is_ok());
}

#[test]
fn the_divergence_has_a_p_value_where_it_is_asked_for() {
    let workers = Workers::new(2).expect("threads start");
    let options = DriftOptions {
        divergence_permutations: 39,
        permutations: 39,
        ..DriftOptions::default()
    };
    let base = set(1, 60, 8, 0.0);
    let p_value = |new: &EmbeddingSet, options: &DriftOptions| {
        let report = drift(&workers, &base, new, options).expect("it compares");
        report.divergence_p_value
    };
    let moved = set(2, 60, 8, 1.0);
    assert_eq!(p_value(&moved, &options), Some(1.0 / 40.0));
    assert!(p_value(&set(3, 60, 8, 0.0), &options).expect("it was asked for") > 0.05);
    // Every labelling of equal points is as far apart as the given one.
    assert_eq!(p_value(&base, &options).expect("it was asked for"), 1.0);
    assert_eq!(p_value(&moved, &DriftOptions::default()), None);
}
