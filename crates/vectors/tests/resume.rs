//! A run that was broken off, at any moment and however badly, ends with the same bytes as one that was not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{labels, options, push};
use lattice_testkit::{ScratchDir, SplitMix64};
use lattice_vectors::{Ids, Label, Stored, VectorWriter, VectorsError};

/// Four pieces of four rows and one of three.
const ROWS: usize = 19;
const KINDS: [(&str, Stored, Ids); 5] = [
    ("a.npy", Stored::F32, Ids::No),
    ("b.npy", Stored::I8, Ids::No),
    ("c.jsonl", Stored::F32, Ids::Text),
    ("d.parquet", Stored::F32, Ids::Int),
    ("e.parquet", Stored::U8, Ids::Text),
];

struct Job {
    dir: ScratchDir,
    out: PathBuf,
    stored: Stored,
    ids: Ids,
    labels: Vec<Label>,
}

impl Job {
    fn new((name, stored, ids): (&str, Stored, Ids)) -> Self {
        let dir = ScratchDir::new().unwrap();
        Self {
            out: dir.path().join(name),
            dir,
            stored,
            ids,
            labels: labels(ROWS, ids, true),
        }
    }

    fn open(&self) -> Result<VectorWriter, VectorsError> {
        VectorWriter::open(&self.out, options(&self.out, self.stored, self.ids))
    }

    fn push(&self, writer: &mut VectorWriter, rows: usize) {
        push(writer, self.stored, &self.labels, rows).unwrap();
    }

    fn partial(&self, name: &str) -> PathBuf {
        let mut partial = self.out.clone().into_os_string();
        partial.push(".partial");
        Path::new(&partial).join(name)
    }

    /// Goes on to the end, and gives the bytes of the whole and how many rows an earlier run had left.
    fn finish(&self) -> (Vec<u8>, u64) {
        let mut writer = self.open().unwrap();
        let found = writer.found_rows();
        assert_eq!(found, writer.rows());
        self.push(&mut writer, ROWS);
        assert_eq!(writer.finish().unwrap(), ROWS as u64);
        let names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "only the output is left");
        (fs::read(&self.out).unwrap(), found)
    }

    /// Breaks off after `rows`.
    fn begin(&self, rows: usize) {
        let mut writer = self.open().unwrap();
        self.push(&mut writer, rows);
    }

    /// All is written, but has no name yet: something stood in the way.
    fn all_but_the_name(&self) {
        let mut writer = self.open().unwrap();
        self.push(&mut writer, ROWS);
        fs::create_dir(&self.out).unwrap();
        let words = writer.finish().unwrap_err().to_string();
        assert!(words.contains("cannot rename"), "{words}");
        fs::remove_dir(&self.out).unwrap();
    }
}

#[test]
fn broken_off_after_any_row() {
    for kind in KINDS {
        let (whole, _) = Job::new(kind).finish();
        for rows in [0, 1, 3, 4, 5, 9, 16, 18, 19] {
            let job = Job::new(kind);
            job.begin(rows);
            assert!(!job.out.exists());
            let (bytes, found) = job.finish();
            assert!(bytes == whole, "{} after {rows}", kind.0);
            assert_eq!(found as usize, rows / 4 * 4, "whole pieces are kept");
        }
        let job = Job::new(kind);
        [1, 4, 6, 9, 18]
            .into_iter()
            .for_each(|rows| job.begin(rows));
        assert!(job.finish().0 == whole, "{} again and again", kind.0);
    }
}

#[test]
fn files_cut_at_any_byte() {
    for kind in KINDS {
        let (whole, _) = Job::new(kind).finish();
        for file in ["data", "progress.jsonl"] {
            let job = Job::new(kind);
            job.begin(ROWS);
            let bytes = fs::read(job.partial(file)).unwrap();
            let journal = fs::read(job.partial("progress.jsonl")).unwrap();
            let data = fs::read(job.partial("data")).unwrap();
            for cut in (0..bytes.len()).step_by(bytes.len() / 11 + 1) {
                fs::create_dir_all(job.partial("")).unwrap();
                fs::write(job.partial("data"), &data).unwrap();
                fs::write(job.partial("progress.jsonl"), &journal).unwrap();
                fs::write(job.partial(file), &bytes[..cut]).unwrap();
                let (found, _) = job.finish();
                assert!(found == whole, "{}: {file} cut at {cut}", kind.0);
                fs::remove_file(&job.out).unwrap();
            }
        }
    }
}

#[test]
fn bytes_that_the_disk_lost_are_not_believed() {
    let mut rng = SplitMix64::new(7);
    for kind in KINDS {
        let (whole, _) = Job::new(kind).finish();
        for turn in 0..12 {
            let job = Job::new(kind);
            if turn % 2 == 0 {
                job.begin(ROWS);
            } else {
                job.all_but_the_name();
            }
            let file = job.partial(["data", "progress.jsonl"][turn / 2 % 2]);
            let mut bytes = fs::read(&file).unwrap();
            let at = rng.below(bytes.len());
            let end = bytes.len().min(at + 1 + rng.below(300));
            match turn % 3 {
                0 => bytes[at..end].fill(0),
                1 => bytes[at] ^= 1 << rng.below(8),
                _ => bytes.extend(std::iter::repeat_n(b'\n', 300)),
            }
            fs::write(&file, bytes).unwrap();
            // A journal whose first line is broken is one of other work.
            if matches!(job.open(), Err(VectorsError::Differs { .. })) {
                VectorWriter::discard(&job.out).unwrap();
            }
            assert!(job.finish().0 == whole, "{}: turn {turn}", kind.0);
        }
    }
}

#[test]
fn all_is_written_but_for_the_name() {
    for kind in KINDS {
        let (whole, _) = Job::new(kind).finish();
        let job = Job::new(kind);
        job.all_but_the_name();
        let mut writer = job.open().unwrap();
        assert!(writer.is_whole() && writer.rows() == ROWS as u64);
        let more = push(
            &mut writer,
            kind.1,
            &labels(ROWS + 1, kind.2, true),
            ROWS + 1,
        );
        assert!(more.unwrap_err().to_string().contains("is whole"));
        drop(writer);
        assert!(job.finish().0 == whole);
    }
}

#[test]
fn the_name_is_given_but_the_working_directory_is_left() {
    for kind in KINDS {
        let (whole, _) = Job::new(kind).finish();
        for spoilt in [false, true] {
            let job = Job::new(kind);
            job.all_but_the_name();
            fs::rename(job.partial("data"), &job.out).unwrap();
            if spoilt {
                let last = whole.len() - 1;
                fs::write(&job.out, &whole[..last]).unwrap();
            }
            let writer = job.open().unwrap();
            assert_eq!(writer.is_whole(), !spoilt);
            assert_eq!(writer.rows(), if spoilt { 0 } else { ROWS as u64 });
            drop(writer);
            assert!(job.finish().0 == whole);
        }
    }
}

#[test]
fn other_work_is_refused_and_says_what_differs() {
    let job = Job::new(KINDS[3]);
    job.begin(ROWS);
    let mut other = options(&job.out, job.stored, job.ids);
    other.fingerprint = vec![("model".to_owned(), "theirs".to_owned())];
    other.columns = 7;
    let error = VectorWriter::open(&job.out, other.clone()).err().unwrap();
    let words = error.to_string();
    assert!(matches!(error, VectorsError::Differs { .. }));
    assert!(
        words.ends_with(r#"columns was 5, is 7; model was "mine", is "theirs""#),
        "{words}"
    );
    // The rows are still there for who asks for the same work.
    assert_eq!(job.open().unwrap().rows(), 16);
    VectorWriter::discard(&job.out).unwrap();
    assert_eq!(VectorWriter::open(&job.out, other).unwrap().rows(), 0);
    // Without a row, nothing is lost.
    assert_eq!(job.open().unwrap().rows(), 0);
}

#[test]
fn one_writer_at_a_time_and_the_old_file_until_the_end() {
    let job = Job::new(KINDS[0]);
    fs::write(&job.out, "old").unwrap();
    let mut writer = job.open().unwrap();
    let words = job.open().err().unwrap().to_string();
    assert!(words.contains("another process is writing"), "{words}");
    job.push(&mut writer, ROWS);
    assert_eq!(fs::read(&job.out).unwrap(), b"old");
    writer.finish().unwrap();
    assert!(fs::read(&job.out).unwrap().starts_with(b"\x93NUMPY"));
}
