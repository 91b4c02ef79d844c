//! Responses that can be read again and gone on from: bounded in number and bytes, the one that was longest not asked
//! for goes first. They are gone with the program.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use lattice_inference::tokenizer::ChatMessage;
use serde_json::Value;

/// The responses that are kept.
pub(crate) struct Store {
    entries_max: usize,
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    /// Ids by the time they were asked for last.
    ages: BTreeMap<u64, String>,
    now: u64,
    bytes: usize,
}

struct Entry {
    response: Arc<Value>,
    /// What the request brought.
    input: Arc<[Value]>,
    /// All that was said up to its end, without instructions.
    conversation: Arc<[ChatMessage]>,
    bytes: usize,
    age: u64,
}

impl Store {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Store {
        Store {
            entries_max,
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// Keeps a response. One that is larger than all may be is not kept.
    pub(crate) fn keep(
        &self,
        id: &str,
        response: Value,
        input: Vec<Value>,
        conversation: Vec<ChatMessage>,
    ) {
        let said = json_bytes(&input) + json_bytes(&conversation);
        let bytes = id.len() + json_bytes(&response) + said;
        if self.entries_max == 0 || bytes > self.bytes_max {
            return;
        }
        let mut kept = self.lock();
        kept.remove(id);
        while kept.entries.len() >= self.entries_max || kept.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = kept.ages.pop_first() else {
                break;
            };
            kept.remove(&oldest);
        }
        let age = kept.tick();
        kept.ages.insert(age, id.to_owned());
        kept.bytes += bytes;
        let entry = Entry {
            response: Arc::new(response),
            input: input.into(),
            conversation: conversation.into(),
            bytes,
            age,
        };
        kept.entries.insert(id.to_owned(), entry);
    }

    /// A response as it was answered.
    pub(crate) fn response(&self, id: &str) -> Option<Arc<Value>> {
        let mut kept = self.lock();
        kept.asked_for(id).map(|entry| Arc::clone(&entry.response))
    }

    /// What the request of a response brought.
    pub(crate) fn input(&self, id: &str) -> Option<Arc<[Value]>> {
        let mut kept = self.lock();
        kept.asked_for(id).map(|entry| Arc::clone(&entry.input))
    }

    /// What was said up to the end of a response.
    pub(crate) fn conversation(&self, id: &str) -> Option<Arc<[ChatMessage]>> {
        let mut kept = self.lock();
        let entry = kept.asked_for(id)?;
        Some(Arc::clone(&entry.conversation))
    }

    /// Forgets a response; whether there was one.
    pub(crate) fn remove(&self, id: &str) -> bool {
        self.lock().remove(id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn asked_for(&mut self, id: &str) -> Option<&Entry> {
        let age = self.tick();
        let entry = self.entries.get_mut(id)?;
        self.ages.remove(&entry.age);
        self.ages.insert(age, id.to_owned());
        entry.age = age;
        Some(entry)
    }

    fn remove(&mut self, id: &str) -> bool {
        let Some(entry) = self.entries.remove(id) else {
            return false;
        };
        self.ages.remove(&entry.age);
        self.bytes -= entry.bytes;
        true
    }
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use lattice_inference::tokenizer::Role;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_longest_not_asked_for_goes_first() {
        let store = Store::new(3, 1000);
        let keep = |id: &str, text: &str| {
            let said = vec![ChatMessage::new(Role::User, text)];
            store.keep(id, json!(id), Vec::new(), said);
        };
        for id in ["a", "b", "c"] {
            keep(id, "hi");
        }
        assert_eq!(*store.response("a").unwrap(), json!("a"));
        keep("d", "hi");
        assert!(store.conversation("b").is_none() && store.conversation("a").is_some());
        // One large one puts out the others; one that is too large is not taken, and puts out nothing.
        keep("large", &"x".repeat(930));
        assert!(store.response("a").is_none() && store.response("large").is_some());
        keep("larger", &"x".repeat(2000));
        assert!(store.response("larger").is_none());
        assert_eq!(store.conversation("large").unwrap()[0].text().len(), 930);
        // The same id again takes the place of the first, and bytes are given back.
        keep("large", "hi");
        assert!(store.remove("large") && !store.remove("large"));
        let kept = store.lock();
        assert_eq!((kept.bytes, kept.entries.len(), kept.ages.len()), (0, 0, 0));
        drop(kept);
        let none = Store::new(0, 1000);
        none.keep("a", json!(1), Vec::new(), Vec::new());
        assert!(none.response("a").is_none());
    }
}
