//! The cache: what it answers is what the service behind it would.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use common::{local, native, texts};
use lattice_embed::{
    CacheOptions, CachedEmbeddingService, EmbedError, EmbeddingModel, EmbeddingService, Embeddings,
    Encoding, Input, ModelConfig, NativeEmbeddingService, OnLong, Request, Role, Truncated, Values,
};
use lattice_testkit::ScratchDir;
use pollster::block_on;

/// A text longer than this is cut.
const TOKENS_MAX: usize = 8;

/// Vectors made of the letters of texts; it counts the texts that it is asked for.
#[derive(Default)]
struct Letters {
    asked: Mutex<Vec<String>>,
    calls: AtomicUsize,
    revision: String,
    /// Calls that fail, from the first one.
    fails: usize,
    /// Calls wait for so many others.
    together: Option<std::sync::Barrier>,
}

fn words(input: &Input) -> String {
    match input {
        Input::Text(text) => text.clone(),
        Input::Ids(ids) => format!("{ids:?}"),
    }
}

#[async_trait]
impl EmbeddingService for Letters {
    async fn answer(&self, request: Request) -> Result<Embeddings, EmbedError> {
        if let Some(together) = &self.together {
            together.wait();
        }
        let words: Vec<String> = request.texts.iter().map(words).collect();
        self.asked.lock().unwrap().extend(words.clone());
        if self.calls.fetch_add(1, Ordering::SeqCst) < self.fails {
            return Err(EmbedError::Stopped);
        }
        let dims = request.model.dims().unwrap_or(4);
        let mut answer = Embeddings {
            dims,
            ..Embeddings::default()
        };
        let role = if request.role == Role::Query {
            0.5
        } else {
            0.0
        };
        let mut values = Vec::new();
        for (text, words) in words.iter().enumerate() {
            let (tokens, kept) = (words.len(), words.len().min(TOKENS_MAX));
            if tokens > kept {
                match request.on_long {
                    OnLong::Truncate => answer.truncated.push(Truncated { text, tokens, kept }),
                    OnLong::Error => {
                        return Err(EmbedError::TooLong {
                            model: "letters".to_owned(),
                            text,
                            tokens,
                            tokens_max: kept,
                        });
                    }
                }
            }
            let letter = |at: usize| {
                words
                    .as_bytes()
                    .get(at)
                    .map_or(-1.0, |byte| f32::from(*byte))
            };
            values.extend((0..dims).map(|at| letter(at) + role));
            answer.text_tokens.push(kept as u32);
        }
        answer.values = Values::F32(values);
        Ok(answer)
    }

    async fn identity(&self, model: &ModelConfig) -> Result<String, EmbedError> {
        Ok(format!("{} {}", model.model(), self.revision))
    }
}

fn ask<S: EmbeddingService>(
    cached: &CachedEmbeddingService<S>,
    texts: &[&str],
) -> Result<Embeddings, EmbedError> {
    let request = Request::new(texts.iter().copied(), EmbeddingModel::default());
    block_on(cached.answer(request.on_long(OnLong::Truncate)))
}

fn asked(cached: &CachedEmbeddingService<Letters>) -> Vec<String> {
    std::mem::take(&mut cached.inner().asked.lock().unwrap())
}

#[test]
fn each_text_is_asked_for_once() {
    let cached = CachedEmbeddingService::new(Letters::default());
    let first = ask(&cached, &["one", "two", "one", ""]).unwrap();
    assert_eq!(asked(&cached), ["one", "two", ""]);
    let plain = ask(&CachedEmbeddingService::new(Letters::default()), &["one"]).unwrap();
    assert_eq!(
        plain.f32_rows().unwrap().next(),
        first.f32_rows().unwrap().nth(2)
    );
    let again = ask(&cached, &["two", "three", "one"]).unwrap();
    assert_eq!(asked(&cached), ["three"]);
    assert_eq!(again.text_tokens, [3, 5, 3]);
    let stats = cached.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (3, 4, 4));
    cached.clear();
    ask(&cached, &["one"]).unwrap();
    assert_eq!(asked(&cached), ["one"]);
}

#[test]
fn another_role_model_or_size_is_another_vector() {
    let cached = CachedEmbeddingService::new(Letters::default());
    let model = EmbeddingModel::Qwen3Embedding0_6B;
    let cut = ModelConfig::try_new(model.clone(), Some(32)).unwrap();
    let requests = [
        Request::new(["a"], EmbeddingModel::default()),
        Request::new(["a"], EmbeddingModel::default()).role(Role::Query),
        Request::new(["a"], model),
        Request::new(["a"], cut),
    ];
    for request in &requests {
        let found = block_on(cached.answer(request.clone())).unwrap();
        assert_eq!(
            block_on(cached.inner().answer(request.clone())).unwrap(),
            found
        );
        assert_eq!(block_on(cached.answer(request.clone())).unwrap(), found);
    }
    assert_eq!(cached.stats().misses, 4);
    // Bytes and bits are made of the numbers that are there.
    for encoding in [Encoding::I8, Encoding::Binary] {
        let request = requests[0].clone();
        let plain = block_on(cached.answer(request.clone())).unwrap();
        let found = block_on(cached.answer(request.encoding(encoding))).unwrap();
        assert_eq!(found, plain.encoded(encoding).unwrap());
    }
    assert_eq!(cached.stats().misses, 4);
}

#[test]
fn what_was_cut_is_told_of_again() {
    let cached = CachedEmbeddingService::new(Letters::default());
    for _ in 0..2 {
        let answer = ask(&cached, &["short", "much longer", "short"]).unwrap();
        let cut = Truncated {
            text: 1,
            tokens: 11,
            kept: 8,
        };
        assert_eq!(answer.truncated, [cut]);
    }
    // One that is there cut is no answer to who wants none cut; nor is the place of the text another one.
    let request = Request::new(
        ["short", "long enough", "much longer"],
        EmbeddingModel::default(),
    );
    let error = block_on(cached.answer(request)).unwrap_err();
    assert!(
        matches!(error, EmbedError::TooLong { text: 1, .. }),
        "{error}"
    );
    let request = Request::new(["x", "much longer"], EmbeddingModel::default());
    let error = block_on(cached.answer(request)).unwrap_err();
    assert!(
        matches!(
            error,
            EmbedError::TooLong {
                text: 1,
                tokens: 11,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn who_waits_for_another_ones_work_gets_it() {
    let cached = CachedEmbeddingService::new(Letters {
        together: Some(std::sync::Barrier::new(2)),
        ..Letters::default()
    });
    let rows = std::thread::scope(|scope| {
        // The first computes "a" and waits for "b", the second the other way round; neither can end without the other.
        let ask = |texts: [&'static str; 2]| {
            let cached = &cached;
            move || ask(cached, &texts).unwrap()
        };
        let one = scope.spawn(ask(["a", "b"]));
        while cached.stats().misses == 0 {
            std::thread::yield_now();
        }
        let two = scope.spawn(ask(["b", "c"]));
        [one.join().unwrap(), two.join().unwrap()]
    });
    let row = |answer: &Embeddings, at| answer.f32_rows().unwrap().nth(at).unwrap().to_vec();
    assert_eq!(row(&rows[0], 1), row(&rows[1], 0));
    assert_eq!(asked(&cached).len(), 3);
    assert_eq!(cached.stats().shared, 1);
}

#[test]
fn a_failure_is_nobodys_answer() {
    let cached = CachedEmbeddingService::new(Letters {
        fails: 1,
        ..Letters::default()
    });
    assert!(ask(&cached, &["a", "a"]).is_err());
    assert_eq!(ask(&cached, &["a", "a"]).unwrap().len(), 2);
}

#[test]
fn the_limits_hold() {
    let options = CacheOptions {
        entries_max: 3,
        ..CacheOptions::default()
    };
    let cached = CachedEmbeddingService::with_options(Letters::default(), &options).unwrap();
    for text in ["a", "b", "a", "c", "d"] {
        ask(&cached, &[text]).unwrap();
    }
    assert_eq!(cached.stats().entries, 3);
    asked(&cached);
    ask(&cached, &["a", "b"]).unwrap();
    assert_eq!(asked(&cached), ["b"]);
}

fn on_disk(dir: &ScratchDir, revision: &str) -> CachedEmbeddingService<Letters> {
    let options = CacheOptions {
        dir: Some(dir.path().join("vectors")),
        ..CacheOptions::default()
    };
    let letters = Letters {
        revision: revision.to_owned(),
        ..Letters::default()
    };
    CachedEmbeddingService::with_options(letters, &options).unwrap()
}

#[test]
fn the_next_program_finds_what_this_one_kept() {
    let dir = ScratchDir::new().unwrap();
    let first = on_disk(&dir, "1");
    let answer = ask(&first, &["a", "much longer"]).unwrap();
    drop(first);
    let second = on_disk(&dir, "1");
    assert_eq!(ask(&second, &["a", "much longer"]).unwrap(), answer);
    let stats = second.stats();
    assert_eq!(
        (stats.disk_hits, stats.misses, stats.disk_entries),
        (2, 0, 2)
    );
    drop(second);
    // Other weights under the same name are another model.
    let other = on_disk(&dir, "2");
    ask(&other, &["a"]).unwrap();
    assert_eq!(other.stats().misses, 1);
    drop(other);
    lattice_embed::clear_disk_cache(&dir.path().join("vectors")).unwrap();
    assert_eq!(on_disk(&dir, "1").stats().disk_entries, 0);
}

#[test]
fn what_is_broken_on_the_disk_is_computed_again_and_said() {
    let dir = ScratchDir::new().unwrap();
    let first = on_disk(&dir, "1");
    let answer = ask(&first, &["a", "b"]).unwrap();
    drop(first);
    let file = dir.path().join("vectors/00000000.vectors");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[60] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let second = on_disk(&dir, "1");
    assert_eq!(ask(&second, &["a", "b"]).unwrap(), answer);
    assert_eq!((second.stats().corrupt, second.stats().misses), (1, 2));
    let notes = second.take_notes();
    assert!(
        notes[0].contains("00000000.vectors: byte 8: its checksum is wrong"),
        "{notes:?}"
    );
    assert!(second.take_notes().is_empty());
}

#[test]
fn a_real_service_behind_it_gives_the_same_bits() {
    let cached = CachedEmbeddingService::new(NativeEmbeddingService::new(native(1)));
    let texts = texts(50);
    let request = Request::new(texts, local("bert_mean")).on_long(OnLong::Truncate);
    let plain = block_on(cached.inner().answer(request.clone())).unwrap();
    for _ in 0..2 {
        assert_eq!(block_on(cached.answer(request.clone())).unwrap(), plain);
    }
}
