//! What is done with sets of vectors that nobody vouches for: one function for each kind of file.
//!
//! In: any bytes. Out: nothing; a target panics where a law of the readers is broken. The test beside this file replays
//! the corpus with them, and the fuzzer in `fuzz/` calls the very same ones.

use std::hint::black_box;

use lattice_vectors::{Format, ReadOptions, VectorReader, VectorSet, Vectors};

/// A kind of file.
pub(crate) struct SetTarget {
    /// As the folder of its corpus is called.
    pub(crate) name: &'static str,
    /// Reads it.
    pub(crate) run: fn(&[u8]),
}

/// Every target there is.
pub(crate) const SET_TARGETS: &[SetTarget] = &[
    SetTarget {
        name: "npy",
        run: |bytes| read(Format::Npy, bytes),
    },
    SetTarget {
        name: "jsonl",
        run: |bytes| read(Format::Jsonl, bytes),
    },
    SetTarget {
        name: "parquet",
        run: |bytes| read(Format::Parquet, bytes),
    },
];

/// Rows that are read of a file at most: a few bytes may say that a number comes a billion times.
const ROWS_MAX: u64 = 20_000;

fn read(format: Format, bytes: &[u8]) {
    let options = [
        ReadOptions::default(),
        ReadOptions {
            vectors: Vectors::Skipped,
            rest: true,
            scales: true,
            ..ReadOptions::default()
        },
        ReadOptions {
            vectors: Vectors::Named("v".to_owned()),
            allow_non_finite: true,
            ..ReadOptions::default()
        },
    ];
    for options in options {
        // The pieces a file is read in do not change what it says.
        let (one, two) = (
            all(format, bytes, &options, 7),
            all(format, bytes, &options, 300),
        );
        match (&one, &two) {
            (Some(one), Some(two)) => {
                let bits = |set: &VectorSet| -> Vec<u32> {
                    set.values.iter().map(|value| value.to_bits()).collect()
                };
                let same =
                    one.rows == two.rows && one.labels == two.labels && bits(one) == bits(two);
                assert!(same, "the same file in other pieces says something else");
            }
            (None, None) => {}
            _ => panic!("the same file in other pieces is refused"),
        }
        black_box((one, two));
    }
}

/// All of it, or nothing if it is refused or too large for a test.
fn all(format: Format, bytes: &[u8], options: &ReadOptions, rows_max: usize) -> Option<VectorSet> {
    let mut reader = VectorReader::from_bytes("hostile", format, bytes.to_vec(), options).ok()?;
    black_box((
        reader.rows(),
        reader.stored(),
        reader.notes(),
        reader.others().len(),
    ));
    let (mut all, mut piece) = (VectorSet::new(), VectorSet::new());
    while reader.read(rows_max, &mut piece).ok()? > 0 {
        assert!(piece.rows <= rows_max);
        assert_eq!(piece.first_row, all.rows as u64);
        assert_eq!(piece.values.len(), piece.rows * piece.columns);
        assert!(piece.labels.is_empty() || piece.labels.len() == piece.rows);
        assert!(options.allow_non_finite || piece.values.iter().all(|value| value.is_finite()));
        all.rows += piece.rows;
        all.values.append(&mut piece.values);
        all.labels.append(&mut piece.labels);
        if all.rows as u64 > ROWS_MAX || all.values.len() > 1 << 22 {
            return None;
        }
    }
    Some(all)
}
