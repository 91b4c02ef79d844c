//! Servers for the tests: one that most share, and ones with options of their own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use lattice_inference::backend::LoadOptions;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::generate::GeneratorOptions;
use lattice_inference::{Engine, EngineOptions};
use lattice_serve::{
    App, Listener, ModelEntry, ModelKind, ModelMemory, RequestReport, ServeEvent, ServeOptions,
    serve,
};
use tokio::sync::oneshot;

use crate::client::ask;

pub(crate) const CONTEXT: usize = 1024;

/// A server under test. It stops with the program, or when it is told to.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) reports: Arc<Mutex<Vec<RequestReport>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How the engine of a server is built.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) model: PathBuf,
    pub(crate) places: usize,
    pub(crate) queue: usize,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            model: "../../models/lattice-tiny".into(),
            places: 8,
            queue: 256,
        }
    }
}

/// The one that most tests share.
pub(crate) fn shared() -> &'static Server {
    static SERVER: LazyLock<Server> =
        LazyLock::new(|| Server::start(ServeOptions::default(), Shape::default()));
    &SERVER
}

fn open(shape: &Shape) -> Result<Engine, lattice_inference::Error> {
    let files = ModelFiles::open(&shape.model)?;
    let options = EngineOptions {
        load: LoadOptions {
            sequences_max: shape.places,
            context_tokens_max: CONTEXT,
            output_rows_max: 64,
            ..LoadOptions::default()
        },
        generator: GeneratorOptions {
            queue_max: shape.queue,
            ..GeneratorOptions::default()
        },
        ..EngineOptions::default()
    };
    Engine::open(&files, &Cpu, &options)
}

/// A text model of this name.
pub(crate) fn entry(name: &str, shape: Shape) -> ModelEntry {
    ModelEntry {
        name: name.to_owned(),
        aliases: vec!["tiny".to_owned()],
        kind: ModelKind::Text(Arc::new(move || open(&shape))),
        memory: ModelMemory::default(),
    }
}

impl Server {
    pub(crate) fn start(options: ServeOptions, shape: Shape) -> Server {
        Server::with(vec![entry("lattice-tiny", shape)], options)
    }

    /// A server for these models.
    pub(crate) fn with(models: Vec<ModelEntry>, options: ServeOptions) -> Server {
        let reports = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&reports);
        let options = ServeOptions {
            sink: Arc::new(move |event| {
                if let ServeEvent::Request(report) = event {
                    heard.lock().unwrap().push(*report);
                }
            }),
            ..options
        };
        let (stop, stopped) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let work = async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let first = models[0].name.clone();
            let app = App::new(models, options);
            app.load(&first).await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            let stop = async {
                let _ = stopped.await;
            };
            serve(app, Listener::Tcp(listener), stop).await;
        };
        let run = move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(work);
        };
        let thread = std::thread::Builder::new().spawn(run).unwrap();
        Server {
            address: address.recv().unwrap(),
            reports,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Tells it to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped.
    pub(crate) fn wait(&mut self) {
        self.thread.take().unwrap().join().unwrap();
    }

    /// Waits for a report that `fits`, and returns it.
    pub(crate) fn report(&self, fits: impl Fn(&RequestReport) -> bool) -> RequestReport {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(Instant::now() < give_up, "no such report");
            if let Some(found) = self.reports.lock().unwrap().iter().find(|r| fits(r)) {
                return found.clone();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until `/metrics` has this line.
    pub(crate) fn wait_for(&self, line: &str) {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            let metrics = ask(self.address, "GET", "/metrics", "");
            let metrics = String::from_utf8(metrics.body).unwrap();
            if metrics.contains(line) {
                return;
            }
            assert!(Instant::now() < give_up, "{line} never stood in\n{metrics}");
        }
    }
}
