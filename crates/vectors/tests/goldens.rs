//! What numpy and pyarrow wrote is read as they mean it, and what they read of ours is what we write.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{COLUMNS, OURS, ROWS, golden, labels, numbers, write_ours};
use lattice_testkit::ScratchDir;
use lattice_vectors::{
    Id, Ids, Label, ReadOptions, Rows, Stored, Values, VectorReader, VectorSet, VectorWriter,
    Vectors, VectorsError, WriteOptions,
};

fn named(name: &str) -> ReadOptions {
    ReadOptions {
        vectors: Vectors::Named(name.to_owned()),
        ..ReadOptions::default()
    }
}

fn read(name: &str, options: &ReadOptions) -> Result<VectorSet, VectorsError> {
    VectorSet::open(&golden(name), options)
}

/// Reads a golden whole and in pieces of every size, and holds it against what it is.
fn check(name: &str, stored: Stored, labels: &[Label], options: &ReadOptions) {
    let expected = numbers(stored, ROWS, COLUMNS);
    for rows_max in 1..=ROWS + 1 {
        let mut reader = VectorReader::open(&golden(name), options).unwrap();
        assert_eq!(reader.stored(), Some(stored), "{name}");
        let (mut piece, mut row) = (VectorSet::new(), 0);
        while reader.read(rows_max, &mut piece).unwrap() > 0 {
            assert_eq!((piece.first_row, piece.columns), (row as u64, COLUMNS));
            for at in 0..piece.rows {
                let place = (row + at) * COLUMNS;
                assert_eq!(piece.row(at), &expected[place..place + COLUMNS], "{name}");
            }
            let found = labels.get(row..row + piece.rows).unwrap_or_default();
            assert_eq!(piece.labels, found, "{name}");
            row += piece.rows;
        }
        assert_eq!(row, ROWS, "{name}");
    }
}

#[test]
fn numpy_files_of_every_type_order_and_version() {
    let options = ReadOptions::default();
    for (name, stored) in [
        ("f2", Stored::F16),
        ("f4", Stored::F32),
        ("f8", Stored::F64),
        ("f2be", Stored::F16),
        ("f4be", Stored::F32),
        ("f8be", Stored::F64),
        ("i1", Stored::I8),
        ("u1", Stored::U8),
        ("f4_fortran", Stored::F32),
        ("f8be_fortran", Stored::F64),
        ("v1", Stored::F32),
        ("v2", Stored::F32),
        ("v3", Stored::F32),
    ] {
        check(&format!("{name}.npy"), stored, &[], &options);
    }
}

#[test]
fn parquet_files_of_every_type_and_encoding() {
    let options = ReadOptions::default();
    let texts = labels(ROWS, Ids::Text, false);
    for (name, stored) in [
        ("f16", Stored::F16),
        ("f32", Stored::F32),
        ("f64", Stored::F64),
        ("i8", Stored::I8),
        ("u8", Stored::U8),
        ("fixed", Stored::F32),
        ("large", Stored::F32),
        ("plain", Stored::F32),
        ("brotli", Stored::F32),
        ("zstd", Stored::F32),
        ("zstd_v2", Stored::F32),
        ("split", Stored::F32),
        ("gzip", Stored::F32),
        ("lz4", Stored::F32),
        ("v2", Stored::F32),
        ("pages", Stored::F32),
    ] {
        check(&format!("{name}.parquet"), stored, &texts, &options);
    }
    let numbered = labels(ROWS, Ids::Int, false);
    check("groups.parquet", Stored::F32, &numbered, &options);
    let gaps = labels(ROWS, Ids::Int, true);
    check("nulls.parquet", Stored::F32, &gaps, &options);
    check("named.parquet", Stored::F32, &texts, &named("minilm"));
    let reader = VectorReader::open(&golden("f32.parquet"), &options).unwrap();
    assert_eq!(
        (reader.rows(), reader.others()),
        (Some(9), &["year".to_owned()][..])
    );
}

#[test]
fn ids_and_texts_alone_are_read() {
    let options = ReadOptions {
        vectors: Vectors::Skipped,
        text: Some("text".to_owned()),
        id: Some("year".to_owned()),
        ..ReadOptions::default()
    };
    let set = read("f32.parquet", &options).unwrap();
    assert_eq!((set.rows, set.columns, set.values.len()), (9, 0, 0));
    assert_eq!(set.labels[8].id, Some(Id::Int(8)));
    assert_eq!(set.labels[8].text.as_deref(), Some("text 8 é"));
}

#[test]
fn other_columns_are_fields_where_they_are_asked_for() {
    let options = ReadOptions {
        rest: true,
        ..ReadOptions::default()
    };
    let reader = VectorReader::open(&golden("rest.parquet"), &options).unwrap();
    assert_eq!(reader.others(), ["when", "price", "raw", "words"]);
    let set = reader.read_all().unwrap();
    let fields = |row: usize| -> Vec<String> {
        let rest = set.labels[row].rest.iter();
        rest.map(|field| format!("{}={}", field.name(), field.json()))
            .collect()
    };
    let full = "year=3 long=-9007199254740993 byte=253 huge=18446744073709551612 real=0.1 half=3.5 good=false title=\"text 3 \u{e9}\"";
    assert_eq!(fields(3).join(" "), full);
    assert_eq!(fields(4), ["year=4", "real=null"]);
}

#[test]
fn scales_are_read_where_they_are_asked_for() {
    let dir = ScratchDir::new().unwrap();
    let label = |scale| Label {
        scale,
        ..Label::default()
    };
    let labels = [label(Some(0.1)), label(None), label(Some(1e-30))];
    for name in ["scaled.parquet", "scaled.jsonl"] {
        let out = dir.path().join(name);
        let mut options = WriteOptions::of(&out, 2).unwrap();
        (options.stored, options.scales) = (Stored::I8, true);
        let mut writer = VectorWriter::open(&out, options).unwrap();
        let values = Values::I8(&[1, 2, 3, 4, 5, -6]);
        let rows = Rows {
            values,
            labels: &labels,
        };
        writer.push(rows).unwrap();
        writer.finish().unwrap();
        let asked = ReadOptions {
            scales: true,
            ..ReadOptions::default()
        };
        let set = VectorSet::open(&out, &asked).unwrap();
        assert_eq!(
            (&set.labels[..], set.row(2)),
            (&labels[..], &[5.0, -6.0][..])
        );
        let rest = ReadOptions {
            rest: true,
            ..ReadOptions::default()
        };
        let set = VectorSet::open(&out, &rest).unwrap();
        let field = &set.labels[0].rest[0];
        assert_eq!((field.name(), field.json()), ("scale", "0.1"), "{name}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let usual = ReadOptions::default();
    for (name, options, words) in [
        (
            "null_row.parquet",
            &usual,
            "row 6, column \"embedding\": no list of numbers",
        ),
        (
            "null_number.parquet",
            &usual,
            "row 6, column \"embedding\": number 3 is null",
        ),
        (
            "empty_row.parquet",
            &usual,
            "row 6, column \"embedding\": no list of numbers",
        ),
        (
            "ragged.parquet",
            &usual,
            "row 6, column \"embedding\": 6 numbers, the rows before have 5",
        ),
        (
            "nan.parquet",
            &usual,
            "row 6, column 2: NaN is no finite number",
        ),
        (
            "named.parquet",
            &usual,
            "no column is called one of embedding, vector",
        ),
        (
            "named.parquet",
            &named("other"),
            "no column \"other\"; there are: id (byte_array), text (byte_array), year (int64), minilm.list.element (list of f32)",
        ),
        ("f32.parquet", &named("text"), "column \"text\" is no list"),
        (
            "record.parquet",
            &usual,
            "column \"embedding\" is a record of several columns",
        ),
        (
            "record.parquet",
            &named("embeddings"),
            "column \"embeddings\" is no list of",
        ),
        ("none.npy", &usual, "cannot open"),
        ("../vectors.py", &usual, "ends with none of .npy"),
    ] {
        let error = read(name, options).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
    let allowed = ReadOptions {
        allow_non_finite: true,
        ..ReadOptions::default()
    };
    assert!(read("nan.parquet", &allowed).unwrap().row(6)[2].is_nan());
}

#[test]
fn what_others_read_of_ours_is_what_we_write() {
    let dir = ScratchDir::new().unwrap();
    write_ours(dir.path()).unwrap();
    for (name, stored, ids) in OURS {
        let there = std::fs::read(golden(&format!("ours/{name}"))).unwrap();
        let here = std::fs::read(dir.path().join(name)).unwrap();
        assert!(
            there == here,
            "{name} differs from the file that goldens/vectors.py looked at"
        );
        let gaps = labels(ROWS, ids, true);
        let gaps = if name.ends_with("npy") {
            &[]
        } else {
            &gaps[..]
        };
        if ids == Ids::No && name.ends_with("parquet") {
            let set = read(&format!("ours/{name}"), &ReadOptions::default()).unwrap();
            assert_eq!(set.values, numbers(stored, ROWS, COLUMNS));
        } else {
            check(
                &format!("ours/{name}"),
                stored,
                gaps,
                &ReadOptions::default(),
            );
        }
    }
    let reader = VectorReader::open(&golden("ours/u8.parquet"), &ReadOptions::default()).unwrap();
    assert_eq!(reader.notes(), [("model".to_owned(), "mine".to_owned())]);
}
