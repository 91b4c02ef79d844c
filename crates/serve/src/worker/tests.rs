//! What the thread promises, on the bundled model.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lattice_inference::backend::LoadOptions;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::generate::{Event, GeneratorOptions, StopReason};
use lattice_inference::sample::{Guide, SamplerOptions};
use lattice_inference::{Engine, EngineOptions};

use super::*;

fn engine(places: usize, queue_max: usize) -> Engine {
    let files = ModelFiles::open("../../models/lattice-tiny".as_ref()).unwrap();
    let options = EngineOptions {
        load: LoadOptions {
            sequences_max: places,
            context_tokens_max: 512,
            ..LoadOptions::default()
        },
        generator: GeneratorOptions {
            queue_max,
            ..GeneratorOptions::default()
        },
        ..EngineOptions::default()
    };
    Engine::open(&files, &Cpu, &options).unwrap()
}

fn greedy(engine: &Engine, text: &str, max_tokens: usize) -> Request {
    Request {
        sampler: SamplerOptions::greedy(),
        stop_ids: Vec::new(),
        max_tokens: Some(max_tokens),
        ..engine.complete(text).unwrap()
    }
}

async fn submit(worker: &Worker, request: Request) -> Ticket {
    let mut ticket = worker.submit(request, later()).unwrap();
    ticket.accepted().await.unwrap();
    ticket
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// The tokens of a request and why it ended; `None` where its time was up.
async fn heard(mut ticket: Ticket) -> (Vec<u32>, Option<StopReason>) {
    let mut ids = Vec::new();
    loop {
        match ticket.next().await.unwrap() {
            News::Event(event) => match *event {
                Event::Token { id, .. } => ids.push(id),
                Event::Done { reason, .. } => return (ids, Some(reason)),
                _ => {}
            },
            News::TimeUp => return (ids, None),
            other => panic!("{other:?}"),
        }
    }
}

struct Panics;

impl Guide for Panics {
    fn accept(&mut self, _id: u32) {
        panic!("a fault of this request");
    }
}

#[tokio::test]
async fn a_panic_ends_its_request_and_no_other() {
    let engine = engine(4, 4);
    let request = |max| greedy(&engine, "Once upon a time", max);
    let (good, faulty, alone) = (request(12), request(12), request(12));
    let worker = Worker::start("tiny", engine.generator).unwrap();
    let faulty = Request {
        guides: vec![Box::new(Panics)],
        ..faulty
    };
    let good = submit(&worker, good).await;
    let faulty = submit(&worker, faulty).await;
    let (good, faulty) = tokio::join!(heard(good), heard(faulty));
    assert!(matches!(faulty.1, Some(StopReason::Failed(_))));
    assert_eq!(good.1, Some(StopReason::MaxTokens));
    let alone = heard(submit(&worker, alone).await).await;
    assert_eq!(good, alone);
}

#[tokio::test]
async fn who_leaves_frees_the_place_and_who_waits_gets_it() {
    let engine = engine(1, 1);
    let long = || greedy(&engine, "Once", usize::MAX);
    let (first, second, third) = (long(), greedy(&engine, "Then", 3), long());
    let worker = Worker::start("tiny", engine.generator).unwrap();
    let mut first = submit(&worker, first).await;
    // It runs: the place is taken.
    while !matches!(first.next().await, Some(News::Event(event)) if matches!(*event, Event::Token { .. }))
    {
    }
    let second = submit(&worker, second).await;
    let mut third = worker.submit(third, later()).unwrap();
    let refused = third.accepted().await.unwrap_err();
    assert_eq!(refused.status.as_u16(), 429);
    drop(first);
    let (ids, reason) = heard(second).await;
    assert_eq!((ids.len(), reason), (3, Some(StopReason::MaxTokens)));
    assert_eq!(worker.gauges().abandoned.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn time_that_is_up_is_said() {
    let engine = engine(1, 4);
    let request = greedy(&engine, "Once", usize::MAX);
    let worker = Worker::start("tiny", engine.generator).unwrap();
    let mut ticket = worker.submit(request, Instant::now()).unwrap();
    ticket.accepted().await.unwrap();
    assert_eq!(heard(ticket).await, (Vec::new(), None));
}

#[tokio::test]
async fn what_was_read_is_there_after_a_restart() {
    let folder = lattice_testkit::ScratchDir::new().unwrap();
    let text = "The fox went out on a chilly night. ".repeat(20);
    let mut cached = Vec::new();
    for more in ["", " Then it slept."] {
        let mut engine = engine(2, 4);
        assert!(engine.keep_in(folder.path(), 1 << 30).unwrap());
        let request = greedy(&engine, &format!("{text}{more}"), 4);
        let worker = Worker::start("tiny", engine.generator).unwrap();
        let mut ticket = submit(&worker, request).await;
        while let Some(News::Event(event)) = ticket.next().await {
            if let Event::Done { usage, .. } = *event {
                cached.push((usage.prompt_tokens, usage.cached_tokens));
                break;
            }
        }
        assert_eq!(worker.save().await.unwrap(), 1);
    }
    assert_eq!((cached[0].1, cached[1].1), (0, cached[0].0));
}
