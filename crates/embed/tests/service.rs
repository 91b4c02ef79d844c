//! Services: answers from other threads are the answers, whatever else they are asked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use common::{bits, local, native, open, options, texts};
use lattice_embed::{
    CancelToken, EmbedError, EmbedOptions, EmbeddingModel, EmbeddingService, Encoding, ModelConfig,
    NativeEmbeddingService, NativeRerankService, OnLong, Request, RerankRequest, Reranker, Role,
    Values,
};
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_testkit::{cross_encoders, encoder, max_abs_error};
use pollster::block_on;

#[test]
fn a_service_answers_as_the_embedder_does() {
    let service: Box<dyn EmbeddingService> = Box::new(NativeEmbeddingService::new(native(2)));
    let texts = texts(40);
    for name in ["bert_mean", "qwen3_last"] {
        let mut embedder = open(&encoder(name).dir, &options(1, 64));
        let cut = EmbedOptions {
            on_long: OnLong::Truncate,
            ..EmbedOptions::default()
        };
        let expected = embedder.embed(&texts, &cut).unwrap();
        let request = Request::new(texts.clone(), local(name)).on_long(OnLong::Truncate);
        assert_eq!(block_on(service.answer(request)).unwrap(), expected);
        let one = block_on(service.embed_one("a", local(name))).unwrap();
        assert_eq!(one, embedder.embed_one("a").unwrap());
        let all = block_on(service.embed(&["a".to_owned(), "b".to_owned()], local(name))).unwrap();
        assert_eq!(all[0], one);
        let query = block_on(service.embed_query("a", local(name))).unwrap();
        assert_eq!(query, embedder.embed_query("a").unwrap());
        let passage = block_on(service.embed_passage("a", local(name))).unwrap();
        assert_eq!(passage, embedder.embed_passage("a").unwrap());
    }
}

#[test]
fn no_more_models_are_loaded_than_may_be() {
    let service = NativeEmbeddingService::new(native(2));
    let names = [
        "bert_mean",
        "bert_cls",
        "qwen3_last",
        "bert_mean",
        "bert_dense",
    ];
    for (at, name) in names.iter().enumerate() {
        block_on(service.embed_one("a", local(name))).unwrap();
        let loaded = service.loaded();
        assert!(
            loaded.len() <= 2 && loaded.last() == Some(&local(name)),
            "{at}"
        );
    }
    assert_eq!(service.loaded(), [local("bert_mean"), local("bert_dense")]);
}

#[test]
fn a_model_that_was_let_go_of_is_loaded_again_and_answers_alike() {
    let service = NativeEmbeddingService::new(native(2));
    let before = block_on(service.embed_one("a", local("bert_mean"))).unwrap();
    block_on(service.embed_one("a", local("bert_cls"))).unwrap();
    // What it was asked before is answered.
    let mut waiting = pin!(service.embed_one("a", local("bert_mean")));
    let mut context = Context::from_waker(Waker::noop());
    let early = waiting.as_mut().poll(&mut context);
    for _ in 0..2 {
        service.unload(&local("bert_mean"));
        assert_eq!(service.loaded(), [local("bert_cls")]);
    }
    let answer = match early {
        Poll::Ready(answer) => answer,
        Poll::Pending => block_on(waiting),
    };
    assert_eq!(answer.unwrap(), before);
    let again = block_on(service.embed_one("a", local("bert_mean"))).unwrap();
    assert_eq!(again, before);
    let ranks = NativeRerankService::new(native(1));
    let model = EmbeddingModel::Local(cross_encoders().remove(0).dir);
    block_on(ranks.load(&model)).unwrap();
    ranks.unload(&model);
    block_on(ranks.load(&model)).unwrap();
}

#[test]
fn callers_from_many_threads_get_their_own_answers() {
    let service = Arc::new(NativeEmbeddingService::new(native(1)));
    let texts = texts(64);
    let mut expected = std::collections::BTreeMap::new();
    for name in ["bert_mean", "bert_cls"] {
        let mut embedder = open(&encoder(name).dir, &options(2, 256));
        for text in &texts {
            expected.insert((name, text.clone()), embedder.embed_one(text).unwrap());
        }
    }
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (service, texts, expected) = (&service, &texts, &expected);
            scope.spawn(move || {
                // With room for one model, each change of it ends a thread that others still wait for.
                for (at, text) in texts.iter().enumerate() {
                    let name = if (at / 16 + caller) % 2 == 0 {
                        "bert_mean"
                    } else {
                        "bert_cls"
                    };
                    let found = block_on(service.embed_one(text, local(name))).unwrap();
                    assert_eq!(bits(&found), bits(&expected[&(name, text.clone())]));
                }
            });
        }
    });
}

#[test]
fn small_requests_that_wait_together_get_their_own_answers() {
    let service = NativeEmbeddingService::new(native(1));
    let mut embedder = open(&encoder("bert_mean").dir, &options(1, 64));
    let gate = Arc::new(std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let (opens, service) = (Arc::clone(&gate), &service);
        // This one holds the model until all others stand in the queue.
        let first = Request::new(["a"], local("bert_mean")).progress(move |_done| {
            opens.wait();
            opens.wait();
        });
        let first = scope.spawn(move || service.answer_blocking(first));
        // Now it does.
        gate.wait();
        let long = "harbour ".repeat(50);
        let requests = [
            Request::new(["a", "blue ferry"], local("bert_mean")),
            Request::new([long.as_str(), "b"], local("bert_mean")).on_long(OnLong::Truncate),
            Request::new(["b", long.as_str()], local("bert_mean")),
            Request::new(["a"], local("bert_mean")).encoding(Encoding::I8),
            Request::new(["ice"], local("bert_mean")).role(Role::Query),
            Request::new(["ice"], local("bert_mean")).role(Role::Named("none".to_owned())),
            Request::new([""; 0], local("bert_mean")),
        ];
        let mut futures: Vec<_> = requests
            .iter()
            .map(|one| service.answer(one.clone()))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        for future in &mut futures {
            assert!(future.as_mut().poll(&mut context).is_pending());
        }
        gate.wait();
        for (request, future) in requests.iter().zip(futures) {
            let expected = embedder.embed(&request.texts, &request.options());
            match (block_on(future), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{request:?}"),
                (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected.to_string()),
                other => panic!("{request:?}: {other:?}"),
            }
        }
        first.join().unwrap().unwrap();
    });
}

#[test]
fn a_token_and_a_dropped_future_stop_the_work() {
    let service = NativeEmbeddingService::new(native(1));
    let (token, heard) = (CancelToken::default(), Arc::new(AtomicUsize::new(0)));
    let stop = |request: Request, token: &CancelToken| {
        let (token, heard) = (token.clone(), Arc::clone(&heard));
        request.progress(move |_done| {
            heard.fetch_add(1, Ordering::SeqCst);
            token.cancel();
        })
    };
    let many = Request::new(texts(5000), local("bert_mean")).on_long(OnLong::Truncate);
    let request = many.clone().cancelled_by(&token);
    let stopped = block_on(service.answer(stop(request, &token)));
    assert!(matches!(stopped, Err(EmbedError::Stopped)));
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    let stopped =
        service.answer_blocking(Request::new(["a"], local("bert_mean")).cancelled_by(&token));
    assert!(matches!(stopped, Err(EmbedError::Stopped)));
    // A future that was begun and dropped: those behind it need not wait for its 5,000 texts.
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let request = many.progress(move |_done| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    {
        let mut future = pin!(service.answer(request));
        let mut context = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut context).is_pending());
    }
    block_on(service.embed_one("a", local("bert_mean"))).unwrap();
    assert!(heard.load(Ordering::SeqCst) <= 1);
}

#[test]
fn what_cannot_be_loaded_is_said_to_all_and_tried_again() {
    let service = NativeEmbeddingService::new(native(1));
    let dir = lattice_testkit::ScratchDir::new().unwrap();
    let model = EmbeddingModel::Local(dir.path().to_owned());
    for _ in 0..3 {
        let error = block_on(service.embed_one("a", model.clone())).unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
        assert!(matches!(error.root(), EmbedError::Model(_)));
    }
    let error = block_on(service.embed_one("a", EmbeddingModel::default())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`lattice pull bge-small-en-v1.5`"),
        "{error}"
    );
    let nowhere = NativeEmbeddingService::new(lattice_embed::NativeOptions {
        source: None,
        ..native(1)
    });
    let error = block_on(nowhere.embed_one("a", EmbeddingModel::default())).unwrap_err();
    assert!(matches!(error.root(), EmbedError::NoHome), "{error}");
    // The model comes: nothing has to be begun anew.
    for entry in std::fs::read_dir(encoder("bert_mean").dir).unwrap() {
        let entry = entry.unwrap();
        let to = dir.path().join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&to).unwrap();
            let config = "config.json";
            std::fs::copy(entry.path().join(config), to.join(config)).unwrap();
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
    assert_eq!(block_on(service.embed_one("a", model)).unwrap().len(), 24);
}

#[test]
fn an_identity_tells_models_and_arithmetic_apart() {
    let of = |name: &str, threads: usize| {
        let options = lattice_embed::NativeOptions {
            embedder: options(threads, 100 * threads),
            ..native(1)
        };
        let service = NativeEmbeddingService::new(options);
        let config = ModelConfig::from(local(name));
        let first = block_on(service.identity(&config)).unwrap();
        assert_eq!(block_on(service.identity(&config)).unwrap(), first);
        first
    };
    assert_eq!(of("bert_mean", 1), of("bert_mean", 2));
    assert_ne!(of("bert_mean", 1), of("bert_cls", 1));
}

#[test]
fn encodings_and_dims_go_through() {
    let service = NativeEmbeddingService::new(native(1));
    let config = ModelConfig::try_new(local("qwen3_last"), Some(8)).unwrap();
    let request = Request::new(["a", "b"], config)
        .role(Role::Query)
        .encoding(Encoding::Binary);
    let answer = service.answer_blocking(request).unwrap();
    assert_eq!(answer.dims, 8);
    assert!(matches!(&answer.values, Values::Binary(bytes) if bytes.len() == 2));
}

#[test]
fn scores_are_those_of_the_reference_whoever_asks() {
    let service = NativeRerankService::new(native(1));
    for golden in cross_encoders() {
        let files = ModelFiles::open(&golden.dir).unwrap();
        let mut reranker = Reranker::open(&files, &Cpu, &options(2, 40)).unwrap();
        for (pair, expected) in golden.pairs.pairs.iter().zip(&golden.pairs.scores) {
            let [query, document] = pair;
            let alone = reranker
                .score(query, &[document], OnLong::Truncate)
                .unwrap();
            assert!(
                max_abs_error(&alone.values, expected) <= 2e-6,
                "{}",
                golden.name
            );
        }
        let query = &golden.pairs.pairs[0][0];
        let documents: Vec<String> = golden
            .pairs
            .pairs
            .iter()
            .map(|pair| pair[1].clone())
            .collect();
        let together = reranker.score(query, &documents, OnLong::Truncate).unwrap();
        for (document, score) in documents
            .iter()
            .zip(together.values.chunks(together.labels.len()))
        {
            let alone = reranker
                .score(query, &[document], OnLong::Truncate)
                .unwrap();
            assert_eq!(bits(&alone.values), bits(score));
        }
        let request = RerankRequest {
            query: query.clone(),
            documents,
            model: EmbeddingModel::Local(golden.dir.clone()),
            on_long: OnLong::Truncate,
        };
        assert_eq!(block_on(service.score(request)).unwrap(), together);
        let long = "harbour ".repeat(100);
        let error = reranker
            .score("a", &["a", &long], OnLong::Error)
            .unwrap_err();
        assert!(
            matches!(error, EmbedError::TooLong { text: 1, .. }),
            "{error}"
        );
    }
    let error = block_on(service.score(RerankRequest {
        query: String::new(),
        documents: Vec::new(),
        model: local("bert_mean"),
        on_long: OnLong::Error,
    }));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("does not score pairs"), "{error}");
}
