//! What is being computed: the second one who wants a vector waits for the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oneshot::{AsyncReceiver, Sender};

use super::key::Key;
use super::memory::Entry;

type Waiters = HashMap<Key, Vec<Sender<Arc<Entry>>>>;

/// The keys that somebody computes, and who waits for them.
#[derive(Default)]
pub(super) struct Pending(Mutex<Waiters>);

/// Who computes it.
pub(super) enum Claim<'a> {
    Mine(Mine<'a>),
    /// Somebody else; an error means that he failed, or went away.
    Theirs(AsyncReceiver<Arc<Entry>>),
}

/// A key that its holder computes. Dropped without a vector, it lets those go who wait.
pub(super) struct Mine<'a> {
    pending: &'a Pending,
    key: Key,
    done: bool,
}

impl Pending {
    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn claim(&self, key: Key) -> Claim<'_> {
        let mut waiters = self.waiters();
        match waiters.get_mut(&key) {
            Some(waiting) => {
                let (sender, receiver) = oneshot::async_channel();
                waiting.push(sender);
                Claim::Theirs(receiver)
            }
            None => {
                waiters.insert(key, Vec::new());
                Claim::Mine(Mine {
                    pending: self,
                    key,
                    done: false,
                })
            }
        }
    }
}

impl Mine<'_> {
    /// Gives the vector to those who wait.
    pub(super) fn fulfil(mut self, entry: &Arc<Entry>) {
        let waiting = self.pending.waiters().remove(&self.key);
        self.done = true;
        for waiter in waiting.into_iter().flatten() {
            // One who went away needs none.
            let _ = waiter.send(Arc::clone(entry));
        }
    }
}

impl Drop for Mine<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.pending.waiters().remove(&self.key);
        }
    }
}
