//! How fast sets are written and read: `cargo run --release -p lattice-vectors --example rates -- DIR [ROWS] [COLUMNS]`.
//!
//! MB/s are of the numbers in f32 (4 bytes each), whatever the file takes. Writing is on the disk, synced piece by piece.

#![allow(clippy::unwrap_used, reason = "a tool that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "a tool that prints")]

use std::path::Path;
use std::time::Instant;

use lattice_vectors::{
    Id, Ids, Label, ReadOptions, Rows, Values, VectorReader, VectorSet, VectorWriter, WriteOptions,
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a directory");
    let mut number = |or: usize| arguments.next().map_or(or, |text| text.parse().unwrap());
    let (rows, columns) = (number(100_000), number(384));
    // Numbers as models give them: a row of length 1.
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.1
    };
    let values: Vec<f32> = (0..rows * columns).map(|_| next()).collect();
    let label = |row: usize| Label {
        id: Some(Id::Int(row as i64)),
        text: Some(format!(
            "a text of some twenty words that stands for others, number {row}"
        )),
        ..Label::default()
    };
    let labels: Vec<Label> = (0..rows).map(label).collect();
    println!(
        "{rows} x {columns} f32, {} MB",
        rows * columns * 4 / 1_000_000
    );
    for name in ["rates.npy", "rates.parquet", "rates.jsonl"] {
        let out = Path::new(&dir).join(name);
        let megabytes = (4 * rows * columns) as f64 / 1e6;
        let started = Instant::now();
        write(&out, columns, &values, &labels);
        let written = megabytes / started.elapsed().as_secs_f64();
        let started = Instant::now();
        read(&out, rows);
        let read = megabytes / started.elapsed().as_secs_f64();
        let bytes = out.metadata().unwrap().len();
        println!(
            "{name:<14} {bytes:>12} bytes  written {written:>7.0} MB/s  read {read:>7.0} MB/s"
        );
        std::fs::remove_file(out).unwrap();
    }
}

fn write(out: &Path, columns: usize, values: &[f32], labels: &[Label]) {
    let mut options = WriteOptions::of(out, columns).unwrap();
    (options.ids, options.texts) = (Ids::Int, true);
    let mut writer = VectorWriter::open(out, options).unwrap();
    for (values, labels) in values.chunks(256 * columns).zip(labels.chunks(256)) {
        let values = Values::F32(values);
        writer.push(Rows { values, labels }).unwrap();
    }
    writer.finish().unwrap();
}

fn read(path: &Path, rows: usize) {
    let mut reader = VectorReader::open(path, &ReadOptions::default()).unwrap();
    let (mut piece, mut found) = (VectorSet::new(), 0);
    while reader.read(4096, &mut piece).unwrap() > 0 {
        found += piece.rows;
    }
    assert_eq!(found, rows);
}
