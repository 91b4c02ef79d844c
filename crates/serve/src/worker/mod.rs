//! The thread that owns a model's generator.
//!
//! In: checked requests, by a bounded queue. Out: tickets that hear the events of theirs.
//! A ticket that is dropped cancels its request before the next step; one that does not listen is cut off when too much
//! waits for it; one whose time is up hears so. A panic ends the requests that it concerns, not the thread.
//! It does not know: HTTP, JSON, templates.

mod run;
#[cfg(test)]
mod tests;
mod ticket;

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use lattice_inference::backend::Limits;
use lattice_inference::generate::{Admitted, Generator, Request, RequestError, admit};

use tokio::sync::oneshot;

use run::Loop;
pub(crate) use ticket::{News, Ticket};
use ticket::{Outbox, ticket};

use crate::wire::ApiError;

/// Requests on their way to the thread; those that wait for a place are the generator's.
const HANDED_OVER_MAX: usize = 256;

/// Beginnings that are written one after the other; on a server at work something is new all the time.
const SAVED_MAX: usize = 4096;

/// A request and who hears of it.
struct Submit {
    request: Admitted,
    outbox: Outbox,
    deadline: Instant,
}

/// What the thread is asked for.
enum Command {
    Submit(Box<Submit>),
    /// Write one more of what is kept for reuse into a file, and say whether there was one.
    Save(oneshot::Sender<std::io::Result<bool>>),
    /// End, whatever is under way.
    End,
}

/// What can be read off a worker at any time.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Requests that hold a place.
    pub(crate) running: AtomicUsize,
    /// Requests that wait for one.
    pub(crate) waiting: AtomicUsize,
    /// Beginnings kept for prompts that start alike.
    pub(crate) prefixes: AtomicUsize,
    /// Bytes of recurrent states among them.
    pub(crate) snapshot_bytes: AtomicUsize,
    /// Steps so far.
    pub(crate) steps: AtomicU64,
    /// Requests that ended because nobody listened any more.
    pub(crate) abandoned: AtomicU64,
}

/// A handle to the thread. The thread ends when this is gone and its requests are done.
pub(crate) struct Worker {
    commands: SyncSender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    limits: Limits,
    gauges: Arc<Gauges>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(name: &str, generator: Generator) -> std::io::Result<Worker> {
        let (commands, queue) = sync_channel(HANDED_OVER_MAX);
        let (limits, gauges) = (generator.limits(), Arc::<Gauges>::default());
        let work = Loop::new(generator, queue, Arc::clone(&gauges));
        let thread = std::thread::Builder::new().name(format!("model {name}"));
        let thread = thread.spawn(|| work.run())?;
        Ok(Worker {
            commands,
            thread: Mutex::new(Some(thread)),
            limits,
            gauges,
        })
    }

    /// What its runner was built for.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Its figures.
    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Hands a request over, until `deadline`. Whether there was room for it, the ticket hears first.
    ///
    /// # Errors
    /// It does not fit the model, or as many are on their way as may be.
    pub(crate) fn submit(&self, request: Request, deadline: Instant) -> Result<Ticket, ApiError> {
        let request = admit(request, &self.limits)?;
        let (outbox, ticket) = ticket();
        let submit = Submit {
            request,
            outbox,
            deadline,
        };
        match self.commands.try_send(Command::Submit(Box::new(submit))) {
            Ok(()) => Ok(ticket),
            Err(TrySendError::Full(_)) => Err(ApiError::queue_full()),
            Err(TrySendError::Disconnected(_)) => Err(ApiError::internal()),
        }
    }

    /// Writes what is kept for reuse and not written yet into files, where the generator has a folder for them, one by one,
    /// so that answers go on in between; how many.
    ///
    /// # Errors
    /// What the system says; the thread is gone or has no ear for it.
    pub(crate) async fn save(&self) -> std::io::Result<usize> {
        let gone = || std::io::Error::other("the model's thread does not answer");
        let mut saved = 0;
        while saved < SAVED_MAX {
            let (answer, written) = oneshot::channel();
            let asked = self.commands.try_send(Command::Save(answer));
            asked.map_err(|_full| gone())?;
            if !written.await.map_err(|_gone| gone())?? {
                break;
            }
            saved += 1;
        }
        Ok(saved)
    }

    /// Ends the thread, and waits until its memory is given back. Requests that are under way hear no more.
    pub(crate) fn end(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A thread that is gone hears nothing, and has ended.
            let _ = self.commands.send(Command::End);
            let _ = thread.join();
        }
    }
}

/// A request that the thread did not take.
type Refusal = RequestError;
