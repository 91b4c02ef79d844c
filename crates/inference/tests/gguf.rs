//! GGUF files by llama.cpp's own tools: logits of transformers on the weights that the blocks stand for, and of llama.cpp.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::ops::ControlFlow;
use std::path::Path;

use common::{assert_same_bits, backends, feed_alone, load};
use lattice_inference::backend::LoadOptions;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::{Mapping, ModelFiles, OpenOptions};
use lattice_inference::quantize::{Progress, Recipe, Source, WriteOptions, write};
use lattice_inference::tokenizer::Tokenizer as _;
use lattice_inference::{Model, open_tokenizer};
use lattice_testkit::{ScratchDir, gguf_files, nmse, tolerance};

/// How far llama.cpp is from its own weights: it rounds the inputs of products to 8 bits. Measured: 6e-4 to 2.5e-3.
const LLAMA_CPP: f64 = 1e-2;

fn open(path: &Path, mapping: Mapping) -> Model {
    let files = ModelFiles::open(path).unwrap();
    Model::open(&files, &OpenOptions { mapping }).unwrap()
}

#[test]
fn logits_equal_those_of_the_references() {
    let goldens = gguf_files();
    assert_eq!(goldens.len(), 5);
    for golden in goldens {
        for mapping in [Mapping::Mapped, Mapping::Copied] {
            let model = open(&golden.path, mapping);
            assert!(model.notes.is_empty(), "{:?}", model.notes);
            for backend in backends() {
                let options = LoadOptions {
                    output_rows_max: 64,
                    threads: 2,
                    ..LoadOptions::default()
                };
                let mut runner = load(backend, &model.plan, &model.checkpoint, &options);
                let rows = feed_alone(&mut *runner, &golden.prompt.ids, 64);
                let found = &rows[golden.prompt.first_row * golden.vocab..];
                let (error, theirs) = (
                    nmse(&golden.prompt.logits, found),
                    nmse(&golden.llama_cpp, found),
                );
                let what = format!("{} {}", golden.name, backend.name());
                println!("{what}: NMSE {error:.1e}, to llama.cpp {theirs:.1e}");
                // The reference backend computes with the values that the blocks stand for.
                let limit = match backend.name() {
                    "cpu" => tolerance::nmse_limit("g4_64m"),
                    _ => tolerance::nmse_limit("f32"),
                };
                assert!(error <= limit, "{what}: NMSE {error:e}");
                assert!(theirs <= LLAMA_CPP, "{what}: to llama.cpp NMSE {theirs:e}");
            }
        }
    }
}

#[test]
fn a_file_is_a_directory_with_texts() {
    for golden in gguf_files() {
        let files = ModelFiles::open(&golden.path).unwrap();
        assert_eq!(files.name(), golden.name);
        let names = [
            "config.json",
            "generation_config.json",
            "tokenizer_config.json",
            "tokenizer.gguf",
        ];
        assert_eq!(files.names().unwrap(), names);
        let model = open(&golden.path, Mapping::Mapped);
        assert_eq!(model.config.ids("eos_token_id").unwrap(), [261]);
        let text = files
            .text("tokenizer_config.json", 1 << 20)
            .unwrap()
            .unwrap();
        assert!(
            text.contains("<|im_end|>") && text.contains("add_generation_prompt"),
            "{text}"
        );
        assert_eq!(
            files
                .bytes("tokenizer.json")
                .unwrap()
                .map(|bytes| bytes.len()),
            None
        );
    }
}

/// Cuts a file into `count`, as llama.cpp's splitter does: the metadata stands in the first.
fn cut(path: &Path, count: u32, dir: &Path) -> Vec<std::path::PathBuf> {
    use lattice_testkit::{GgufFile, GgufValue};
    let whole = std::fs::read(path).unwrap();
    let mut files: Vec<GgufFile> = (0..count).map(|_| GgufFile::default()).collect();
    let (keys, tensors) = parse(&whole);
    let of_each = tensors.len().div_ceil(count as usize);
    for (number, file) in files.iter_mut().enumerate() {
        file.set("split.no", GgufValue::U32(number as u32));
        file.set("split.count", GgufValue::U32(count));
        file.set("split.tensors.count", GgufValue::U32(tensors.len() as u32));
        let these = tensors.iter().skip(number * of_each).take(of_each);
        file.tensors = these.cloned().collect();
    }
    files[0].keys.extend(keys);
    let paths = (1..=count).map(|n| dir.join(format!("part-{n:05}-of-{count:05}.gguf")));
    let paths: Vec<_> = paths.collect();
    for (path, file) in paths.iter().zip(&files) {
        std::fs::write(path, file.bytes()).unwrap();
    }
    paths
}

type Parsed = (
    Vec<(String, lattice_testkit::GgufValue)>,
    Vec<lattice_testkit::GgufTensor>,
);

/// A right file, read without a check. Values stay bytes.
fn parse(whole: &[u8]) -> Parsed {
    use lattice_testkit::{GgufTensor, GgufValue};
    struct Reader<'a>(&'a [u8], usize);
    impl Reader<'_> {
        fn bytes(&mut self, count: usize) -> Vec<u8> {
            self.1 += count;
            self.0[self.1 - count..self.1].to_vec()
        }
        fn u32(&mut self) -> u32 {
            u32::from_le_bytes(self.bytes(4).try_into().unwrap())
        }
        fn u64(&mut self) -> u64 {
            u64::from_le_bytes(self.bytes(8).try_into().unwrap())
        }
        fn text(&mut self) -> String {
            let count = self.u64() as usize;
            String::from_utf8(self.bytes(count)).unwrap()
        }
        fn skip(&mut self, kind: u32) {
            let size = match kind {
                0 | 1 | 7 => 1,
                2 | 3 => 2,
                4..=6 => 4,
                8 => self.u64() as usize,
                9 => {
                    let kind = self.u32();
                    let count = self.u64();
                    (0..count).for_each(|_| self.skip(kind));
                    0
                }
                _ => 8,
            };
            self.1 += size;
        }
    }
    let mut reader = Reader(whole, 8);
    let (tensors, keys) = (reader.u64(), reader.u64());
    let mut values = Vec::new();
    for _ in 0..keys {
        let key = reader.text();
        let kind = reader.u32();
        let begin = reader.1;
        reader.skip(kind);
        values.push((key, GgufValue::Raw(kind, whole[begin..reader.1].to_vec())));
    }
    let mut entries = Vec::new();
    for _ in 0..tensors {
        let name = reader.text();
        let rank = reader.u32();
        let dims = (0..rank).map(|_| reader.u64()).collect();
        let (kind, offset) = (reader.u32(), reader.u64() as usize);
        entries.push((name, dims, kind, offset));
    }
    let data = &whole[reader.1.next_multiple_of(32)..];
    let mut ends: Vec<usize> = entries.iter().skip(1).map(|entry| entry.3).collect();
    ends.push(data.len());
    let tensor = |((name, dims, kind, begin), end): ((String, Vec<u64>, u32, usize), usize)| {
        // What fills up to the alignment belongs to nobody, and does no harm here but at the end.
        let values: u64 = dims.iter().product();
        let bytes = match kind {
            0 => values as usize * 4,
            _ => end - begin,
        };
        let bytes = data[begin..begin + bytes].to_vec();
        GgufTensor {
            name,
            dims,
            kind,
            bytes,
        }
    };
    (values, entries.into_iter().zip(ends).map(tensor).collect())
}

#[test]
fn several_files_are_one_model() {
    let golden = gguf_files().remove(0);
    let dir = ScratchDir::new().unwrap();
    let paths = cut(&golden.path, 3, dir.path());
    let whole = open(&golden.path, Mapping::Mapped);
    let model = open(&paths[0], Mapping::Mapped);
    let names =
        |model: &Model| -> Vec<String> { model.checkpoint.names().map(str::to_owned).collect() };
    assert_eq!(names(&model), names(&whole));
    assert_eq!(ModelFiles::open(&paths[0]).unwrap().name(), "part");
    let mut runner = load(
        backends()[1],
        &model.plan,
        &model.checkpoint,
        &LoadOptions {
            output_rows_max: 64,
            threads: 1,
            ..LoadOptions::default()
        },
    );
    let rows = feed_alone(&mut *runner, &golden.prompt.ids, 64);
    let found = &rows[golden.prompt.first_row * golden.vocab..];
    assert!(nmse(&golden.prompt.logits, found) <= tolerance::nmse_limit("g4_64m"));

    let refused = |path: &Path| ModelFiles::open(path).err().unwrap().to_string();
    let error = refused(&paths[1]);
    assert!(
        error.contains("split.no: one of 3 files") || error.contains("general"),
        "{error}"
    );
    std::fs::rename(&paths[2], dir.path().join("away.gguf")).unwrap();
    let error = refused(&paths[0]);
    assert!(
        error.contains("part-00003-of-00003.gguf: cannot open"),
        "{error}"
    );
    std::fs::copy(&paths[1], &paths[2]).unwrap();
    let error = refused(&paths[0]);
    assert!(error.contains("split.no: expected 2"), "{error}");
    std::fs::copy(&paths[0], dir.path().join("x.gguf")).unwrap();
    let error = refused(&dir.path().join("x.gguf"));
    assert!(
        error.contains("not called NAME-00001-of-00003.gguf"),
        "{error}"
    );
}

#[test]
fn a_converted_model_gives_the_same_bits() {
    for golden in gguf_files() {
        let dir = ScratchDir::new().unwrap();
        let out = dir.path().join("ours");
        let files = ModelFiles::open(&golden.path).unwrap();
        let source = Source::open(&files, &OpenOptions::default()).unwrap();
        let go_on = &mut |_progress: Progress<'_>| ControlFlow::Continue(());
        let staged = write(
            &source,
            &Recipe::keep(),
            &out,
            &WriteOptions::default(),
            go_on,
        );
        staged.unwrap().publish(None).unwrap();
        let converted = ModelFiles::open(&out).unwrap();
        let model = Model::open(&converted, &OpenOptions::default()).unwrap();
        assert!(model.notes.is_empty(), "{}: {:?}", golden.name, model.notes);
        let rows = |model: &Model| {
            let options = LoadOptions {
                output_rows_max: 64,
                threads: 2,
                ..LoadOptions::default()
            };
            let mut runner = load(&Cpu, &model.plan, &model.checkpoint, &options);
            feed_alone(&mut *runner, &golden.prompt.ids, 64)
        };
        let before = rows(&open(&golden.path, Mapping::Mapped));
        assert_same_bits(&golden.name, &rows(&model), &before);
        // The vocabulary comes along in a file of its own.
        let tokenizer = open_tokenizer(&converted, &model).unwrap();
        let known = open_tokenizer(&files, &source.model).unwrap();
        let text = "the inner tent<|im_end|>";
        assert_eq!(
            tokenizer.ids_from_text(text).unwrap(),
            known.ids_from_text(text).unwrap()
        );
    }
}
