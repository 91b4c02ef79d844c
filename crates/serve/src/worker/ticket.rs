//! How news of a request travel from the model's thread to whoever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use lattice_inference::generate::Event;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Refusal;
use crate::models::Held;
use crate::wire::ApiError;

/// News that may wait for one listener. An answer of a whole context fits; who reads slower is cut off.
const WAITING_MAX: usize = 1 << 16;

/// News of one request: `Queued` or `Refused` first, then events, the last of which is `Done`.
#[derive(Debug)]
pub(crate) enum News {
    /// It was taken.
    Queued,
    /// It was not.
    Refused(Refusal),
    /// Something happened to it.
    Event(Box<Event>),
    /// Its time is up; nothing follows.
    TimeUp,
}

/// The end that hears.
pub(crate) struct Ticket {
    news: UnboundedReceiver<News>,
    waiting: Arc<AtomicUsize>,
    /// Keeps the model loaded.
    held: Option<Held>,
}

/// The end that tells.
pub(super) struct Outbox {
    news: UnboundedSender<News>,
    waiting: Arc<AtomicUsize>,
}

/// Both ends.
pub(super) fn ticket() -> (Outbox, Ticket) {
    let (sender, receiver) = unbounded_channel();
    let waiting = Arc::<AtomicUsize>::default();
    let outbox = Outbox {
        news: sender,
        waiting: Arc::clone(&waiting),
    };
    let ticket = Ticket {
        news: receiver,
        waiting,
        held: None,
    };
    (outbox, ticket)
}

impl Ticket {
    /// The same, that keeps a model loaded as long as somebody listens.
    pub(crate) fn holding(mut self, held: &Held) -> Ticket {
        self.held = Some(held.clone());
        self
    }

    /// Waits until the thread took the request.
    ///
    /// # Errors
    /// As many wait as may wait.
    pub(crate) async fn accepted(&mut self) -> Result<(), ApiError> {
        match self.next().await {
            Some(News::Queued) => Ok(()),
            Some(News::Refused(error)) => Err(error.into()),
            _ => Err(ApiError::internal()),
        }
    }

    /// The next news; `None` where the thread is gone.
    pub(crate) async fn next(&mut self) -> Option<News> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next`], for those who wait for several.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<News>> {
        let polled = self.news.poll_recv(context);
        if let Poll::Ready(Some(_)) = polled {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        polled
    }
}

impl Outbox {
    /// Tells something; where nobody listens, nothing happens.
    pub(super) fn tell(&self, news: News) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _ = self.news.send(news);
    }

    /// Whether the listener is gone, or so far behind that it counts as gone.
    pub(super) fn is_deaf(&self) -> bool {
        self.news.is_closed() || self.waiting.load(Ordering::Relaxed) > WAITING_MAX
    }
}
