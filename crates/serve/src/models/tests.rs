//! Which models are in memory, on the bundled model and a clock that the tests set.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use lattice_inference::backend::LoadOptions;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::{Engine, EngineOptions};

use super::*;
use crate::options::ServeOptions;

/// Models that take 40 bytes each, as they say.
struct Models {
    registry: Arc<Registry>,
    seconds: Arc<AtomicU64>,
    /// How often one was opened.
    opened: Arc<AtomicUsize>,
}

fn engine() -> Result<Engine, lattice_inference::Error> {
    let files = ModelFiles::open("../../models/lattice-tiny".as_ref())?;
    let load = LoadOptions {
        sequences_max: 1,
        context_tokens_max: 64,
        ..LoadOptions::default()
    };
    let options = EngineOptions {
        load,
        ..EngineOptions::default()
    };
    Engine::open(&files, &Cpu, &options)
}

impl Models {
    fn new(names: &[&str], memory_bytes_max: Option<u64>) -> Models {
        let (seconds, opened) = (Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
        let entry = |name: &&str| {
            let opened = Arc::clone(&opened);
            let open_it = move || {
                opened.fetch_add(1, Ordering::Relaxed);
                engine()
            };
            ModelEntry {
                name: (*name).to_owned(),
                aliases: Vec::new(),
                kind: ModelKind::Text(Arc::new(open_it)),
                memory: ModelMemory {
                    model_bytes: 30,
                    cache_bytes: 10,
                },
            }
        };
        let now = Arc::clone(&seconds);
        let options = ServeOptions {
            memory_bytes_max,
            clock: Arc::new(move || Duration::from_secs(now.load(Ordering::Relaxed))),
            ..ServeOptions::default()
        };
        let entries = names.iter().map(entry).collect();
        Models {
            registry: Arc::new(Registry::new(entries, Arc::new(options))),
            seconds,
            opened,
        }
    }

    fn at(&self, seconds: u64) -> &Models {
        self.seconds.store(seconds, Ordering::Relaxed);
        self
    }

    fn hold(&self, name: &str) -> Pin<Box<dyn Future<Output = Result<Held, ApiError>>>> {
        let registry = Arc::clone(&self.registry);
        let slot = Arc::clone(registry.find(name).unwrap());
        Box::pin(async move { registry.hold(&slot).await })
    }

    /// Asks for a model and lets go of it at once.
    async fn use_at(&self, seconds: u64, name: &str) {
        self.at(seconds).hold(name).await.map(drop).unwrap();
    }

    fn state(&self, name: &str) -> ModelState {
        self.registry.find(name).unwrap().state()
    }

    fn loaded(&self) -> Vec<&str> {
        let slots = self.registry.slots().iter();
        let loaded = slots.filter(|slot| slot.state() == ModelState::Loaded);
        loaded.map(|slot| slot.entry.name.as_str()).collect()
    }
}

/// Runs whatever can run, and says whether this is among it.
async fn is_done<T>(future: &mut Pin<Box<dyn Future<Output = T>>>) -> bool {
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = &mut *future => return true,
            () = tokio::task::yield_now() => {}
        }
    }
    false
}

#[tokio::test]
async fn a_model_that_nobody_asks_for_goes_and_comes_back() {
    let models = Models::new(&["a", "b"], None);
    let minute = Duration::from_secs(60);
    models.use_at(0, "a").await;
    models.use_at(30, "b").await;
    assert_eq!(models.at(59).registry.unload_idle(minute).await, 0);
    assert_eq!(models.at(60).registry.unload_idle(minute).await, 1);
    assert_eq!(models.loaded(), ["b"]);
    // One that is at work stays however long that takes, and is idle from when it was let go of.
    let held = models.at(70).hold("a").await.unwrap();
    assert_eq!(models.at(9000).registry.unload_idle(minute).await, 1);
    drop(held);
    assert_eq!(models.at(9059).registry.unload_idle(minute).await, 0);
    assert_eq!(models.at(9060).registry.unload_idle(minute).await, 1);
    let figures = models.registry.find("a").unwrap().figures();
    assert_eq!((figures.state, figures.loads), (ModelState::Unloaded, 2));
    assert_eq!(models.opened.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn the_one_used_longest_ago_makes_room() {
    let models = Models::new(&["a", "b", "c"], Some(100));
    models.use_at(1, "a").await;
    models.use_at(2, "b").await;
    models.use_at(3, "a").await;
    models.use_at(4, "c").await;
    assert_eq!(models.loaded(), ["a", "c"]);
    // It is not the one at work, though that was asked for longer ago.
    let held = models.at(5).hold("a").await.unwrap();
    models.use_at(6, "c").await;
    models.use_at(7, "b").await;
    assert_eq!(models.loaded(), ["a", "b"]);
    drop(held);
}

#[tokio::test]
async fn what_alone_takes_more_than_may_be_is_refused_with_numbers() {
    let models = Models::new(&["a"], Some(39));
    let Err(error) = models.hold("a").await else {
        panic!("loaded");
    };
    assert_eq!(
        (error.status.as_u16(), error.code),
        (503, Some("insufficient_memory"))
    );
    for number in ["40", "30", "10", "39"] {
        assert!(error.message.contains(number), "{error}");
    }
    assert_eq!(models.opened.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn one_at_work_is_waited_for_and_its_next_requests_wait_behind() {
    let models = Models::new(&["a", "b"], Some(40));
    let of_a = models.hold("a").await.unwrap();
    let mut of_b = models.hold("b");
    assert!(!is_done(&mut of_b).await);
    assert_eq!(models.state("a"), ModelState::Unloading);
    let mut next_of_a = models.hold("a");
    assert!(!is_done(&mut next_of_a).await);
    drop(of_a);
    let of_b = of_b.await.unwrap();
    assert_eq!(models.loaded(), ["b"]);
    assert!(!is_done(&mut next_of_a).await);
    drop(of_b);
    next_of_a.await.map(drop).unwrap();
    assert_eq!(models.loaded(), ["a"]);
}

#[tokio::test]
async fn who_waits_for_room_and_leaves_takes_nothing() {
    let models = Models::new(&["a", "b"], Some(40));
    let of_a = models.hold("a").await.unwrap();
    let mut of_b = models.hold("b");
    assert!(!is_done(&mut of_b).await);
    drop(of_b);
    assert_eq!(models.state("a"), ModelState::Loaded);
    models.hold("a").await.map(drop).unwrap();
    drop(of_a);
    assert_eq!(models.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_leaves_while_it_loads_has_it_loaded_once() {
    let models = Models::new(&["a"], None);
    let mut first = models.hold("a");
    assert!(!is_done(&mut first).await);
    drop(first);
    let mut others: Vec<_> = (0..3).map(|_| models.hold("a")).collect();
    for other in &mut others {
        other.await.map(drop).unwrap();
    }
    assert_eq!(models.opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_asks_for_its_end_waits_for_those_at_work() {
    let models = Models::new(&["a"], None);
    let held = models.hold("a").await.unwrap();
    let registry = Arc::clone(&models.registry);
    let slot = Arc::clone(registry.find("a").unwrap());
    let mut end: Pin<Box<dyn Future<Output = _>>> =
        Box::pin(async move { registry.unload(&slot).await });
    assert!(!is_done(&mut end).await);
    // It still answers those who hold it.
    assert!(held.text().is_some());
    drop(held);
    end.await.unwrap();
    assert_eq!(models.state("a"), ModelState::Unloaded);
}

#[tokio::test]
async fn no_more_wait_for_a_model_than_may() {
    let models = Models::new(&["a", "b"], Some(40));
    let held = models.hold("a").await.unwrap();
    let mut waiting: Vec<_> = (0..1024).map(|_| models.hold("b")).collect();
    for one in &mut waiting {
        assert!(
            std::future::poll_fn(|context| Poll::Ready(one.as_mut().poll(context).is_pending()))
                .await
        );
    }
    let refused = models.hold("b").await.map(drop).unwrap_err();
    assert_eq!(refused.status.as_u16(), 429);
    // Who asks for what is there waits for nobody, once those who waited are gone.
    drop(waiting);
    models.hold("a").await.map(drop).unwrap();
    drop(held);
}
