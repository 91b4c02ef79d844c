//! What a vector is, and that it depends on its own text alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::ops::ControlFlow;

use common::{bits, open, options, texts};
use lattice_embed::{
    Done, EmbedError, EmbedOptions, Embeddings, Encoding, Input, OnLong, Role, Values,
};
use lattice_inference::tokenizer::Tokenizer as _;
use lattice_testkit::{encoder, encoders, max_abs_error};

fn plain() -> EmbedOptions {
    EmbedOptions {
        on_long: OnLong::Truncate,
        ..EmbedOptions::default()
    }
}

fn rows(answer: &Embeddings) -> &[f32] {
    match &answer.values {
        Values::F32(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn vectors_are_those_of_sentence_transformers() {
    for golden in encoders() {
        let mut embedder = open(&golden.dir, &options(2, 64));
        let query = golden
            .texts
            .query
            .as_ref()
            .map(|query| (Role::Query, query));
        for (role, expected) in [(Role::Plain, &golden.texts.plain)]
            .into_iter()
            .chain(query)
        {
            let options = EmbedOptions { role, ..plain() };
            let answer = embedder.embed(&golden.texts.texts, &options).unwrap();
            let error = max_abs_error(rows(&answer), &expected.rows.concat());
            assert!(error <= 2e-6, "{}: {options:?}: {error}", golden.name);
            let tokens: Vec<usize> = expected.ids.iter().map(Vec::len).collect();
            let found = answer.text_tokens.iter().map(|tokens| *tokens as usize);
            assert_eq!(found.collect::<Vec<_>>(), tokens, "{}", golden.name);
        }
    }
}

#[test]
fn ids_have_the_vector_of_their_text() {
    let texts = texts(40);
    for golden in encoders() {
        let mut embedder = open(&golden.dir, &options(2, 64));
        let name = &golden.name;
        let prompted = embedder
            .prompt(&Role::Plain)
            .is_ok_and(|prompt| !prompt.is_empty());
        let expected = embedder.embed(&texts, &plain()).unwrap();
        let side = std::sync::Arc::clone(&embedder.encoder().text);
        let lower = embedder.settings().lower_case;
        let bare = |text: &String| {
            let text = if lower {
                text.to_lowercase()
            } else {
                text.clone()
            };
            Input::Ids(side.tokenizer().ids_from_text(&text).unwrap())
        };
        let bare: Vec<Input> = texts.iter().map(bare).collect();
        // Cut ones too: what is left of them stands between the special tokens already.
        let framed = texts.iter().map(|text| side.tokenise(text).unwrap().ids);
        let framed: Vec<Input> = framed.map(Input::Ids).collect();
        for inputs in [&bare, &framed] {
            let found = embedder.embed(inputs, &plain());
            if prompted {
                assert!(found.unwrap_err().to_string().contains("prompt"), "{name}");
                continue;
            }
            assert_eq!(bits(rows(&found.unwrap())), bits(rows(&expected)), "{name}");
        }
        let unknown = [Input::Ids(vec![1, u32::MAX])];
        let error = embedder.embed(&unknown, &plain()).unwrap_err().to_string();
        assert!(prompted || error.contains("4294967295"), "{error}");
    }
}

#[test]
fn a_vector_is_the_same_alone_in_any_batch_and_on_any_threads() {
    let texts = texts(150);
    for golden in encoders() {
        let mut alone = open(&golden.dir, &options(1, 32));
        let expected: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| bits(rows(&alone.embed(&[text], &plain()).unwrap())))
            .collect();
        for (threads, batch_tokens) in [(1, 20), (2, 256), (3, 33), (2, 8192)] {
            let mut embedder = open(&golden.dir, &options(threads, batch_tokens));
            let answer = embedder.embed(&texts, &plain()).unwrap();
            let name = &golden.name;
            assert_eq!(
                bits(rows(&answer)),
                expected.concat(),
                "{name} {threads} {batch_tokens}"
            );
        }
    }
}

#[test]
fn many_windows_are_one() {
    let golden = encoder("bert_mean");
    let mut embedder = open(&golden.dir, &options(2, 512));
    let texts = texts(3000);
    let mut heard: Vec<Done> = Vec::new();
    let watch = &mut |done| {
        heard.push(done);
        ControlFlow::Continue(())
    };
    let all = embedder.embed_watched(&texts, &plain(), watch).unwrap();
    let mut parts = Vec::new();
    for part in texts.chunks(37) {
        parts.extend(bits(rows(&embedder.embed(part, &plain()).unwrap())));
    }
    assert_eq!(bits(rows(&all)), parts);
    assert!(heard.windows(2).all(|two| two[0].texts < two[1].texts));
    let last = heard.last().unwrap();
    assert_eq!(
        (last.texts, last.of, last.tokens),
        (3000, 3000, all.tokens())
    );
}

#[test]
fn a_watcher_stops_it_at_the_next_batch() {
    let golden = encoder("bert_mean");
    let mut embedder = open(&golden.dir, &options(1, 64));
    for after in [1, 2, 40] {
        let mut heard = 0;
        let watch = &mut |_done| {
            heard += 1;
            match heard == after {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let stopped = embedder.embed_watched(&texts(3000), &plain(), watch);
        assert!(matches!(stopped, Err(EmbedError::Stopped)));
        assert_eq!(heard, after);
    }
    // And it goes on with the next request.
    assert_eq!(embedder.embed(&["a"], &plain()).unwrap().len(), 1);
}

#[test]
fn a_long_text_is_named_or_cut_and_told_of() {
    let golden = encoder("bert_mean");
    let mut embedder = open(&golden.dir, &options(1, 64));
    let long = "harbour ".repeat(200);
    let texts = ["a", &long, "b"];
    let error = embedder
        .embed(&texts, &EmbedOptions::default())
        .unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("text 1 has") && words.contains("reads 20"),
        "{words}"
    );
    let answer = embedder.embed(&texts, &plain()).unwrap();
    let [cut] = &answer.truncated[..] else {
        panic!("{answer:?}")
    };
    assert_eq!((cut.text, cut.kept), (1, 20));
    assert!(cut.tokens > 200);
    let head = embedder.embed(&["harbour ".repeat(300)], &plain()).unwrap();
    assert_eq!(
        bits(rows(&head)),
        bits(&rows(&answer)[answer.dims..2 * answer.dims])
    );
}

#[test]
fn nothing_and_the_empty_text_are_defined() {
    let golden = encoder("bert_mean");
    let mut embedder = open(&golden.dir, &options(1, 64));
    let none = embedder.embed::<&str>(&[], &plain()).unwrap();
    assert!(none.is_empty() && none.dims == 24);
    let empty = embedder.embed(&["", "  ", "\n"], &plain()).unwrap();
    // The special tokens alone, as the reference has them.
    assert_eq!(empty.text_tokens, [2, 2, 2]);
    let first = &rows(&empty)[..24];
    assert_eq!(first, &rows(&empty)[24..48]);
    assert!(first.iter().all(|x| x.is_finite()));
}

#[test]
fn a_cut_vector_is_the_head_at_length_one() {
    let golden = encoder("xlm_roberta_mean");
    let mut embedder = open(&golden.dir, &options(1, 64));
    let texts = texts(20);
    let whole = embedder.embed(&texts, &plain()).unwrap();
    for dims in [1, 7, 23, 24] {
        let options = EmbedOptions {
            dims: Some(dims),
            ..plain()
        };
        let cut = embedder.embed(&texts, &options).unwrap();
        assert_eq!((cut.dims, cut.len()), (dims, texts.len()));
        for (cut, whole) in cut.f32_rows().unwrap().zip(whole.f32_rows().unwrap()) {
            let length = whole[..dims].iter().map(|x| x * x).sum::<f32>().sqrt();
            let expected: Vec<f32> = whole[..dims].iter().map(|x| x / length).collect();
            assert!(max_abs_error(cut, &expected) < 1e-6);
        }
    }
    for dims in [0, 25] {
        let options = EmbedOptions {
            dims: Some(dims),
            ..plain()
        };
        let error = embedder.embed(&texts, &options).unwrap_err();
        assert!(matches!(error, EmbedError::Dims { .. }), "{error}");
    }
}

#[test]
fn an_encoding_is_made_of_the_numbers() {
    let golden = encoder("bert_cls");
    let mut embedder = open(&golden.dir, &options(1, 64));
    let texts = texts(10);
    for encoding in [Encoding::F32, Encoding::I8, Encoding::Binary] {
        let options = EmbedOptions {
            encoding,
            ..plain()
        };
        let asked = embedder.embed(&texts, &options).unwrap();
        let made = embedder
            .embed(&texts, &plain())
            .unwrap()
            .encoded(encoding)
            .unwrap();
        assert_eq!(asked, made);
    }
}

#[test]
fn prompts_go_by_role() {
    let golden = encoder("qwen3_last");
    let mut embedder = open(&golden.dir, &options(1, 64));
    let mut row = |role: Role, text: &str| {
        let options = EmbedOptions { role, ..plain() };
        embedder
            .embed(&[text], &options)
            .map(|answer| bits(rows(&answer)))
    };
    let query = row(Role::Query, "a").unwrap();
    assert_eq!(query, row(Role::Plain, "Ask: a").unwrap());
    assert_eq!(query, row(Role::Named("query".to_owned()), "a").unwrap());
    assert_eq!(
        row(Role::Passage, "a").unwrap(),
        row(Role::Plain, "a").unwrap()
    );
    let words = row(Role::Named("ask".to_owned()), "a")
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("has no prompt \"ask\"; there are passage, query"),
        "{words}"
    );
}
