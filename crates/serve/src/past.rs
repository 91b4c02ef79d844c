//! Conversations of earlier responses, by their id: as many as fit, the oldest go first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lattice_inference::tokenizer::ChatMessage;

/// Conversations that are kept.
const KEPT_MAX: usize = 1000;
/// Bytes of their texts.
const BYTES_MAX: usize = 64 << 20;

/// The conversations. They are in memory alone.
#[derive(Debug, Default)]
pub(crate) struct Past(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    conversations: VecDeque<Conversation>,
    bytes: usize,
}

#[derive(Debug)]
struct Conversation {
    id: String,
    messages: Vec<ChatMessage>,
    bytes: usize,
}

impl Past {
    /// Keeps a conversation.
    pub(crate) fn keep(&self, id: String, messages: Vec<ChatMessage>) {
        let bytes = serde_json::to_vec(&messages).map_or(0, |json| json.len());
        if bytes > BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += bytes;
        kept.conversations.push_back(Conversation {
            id,
            messages,
            bytes,
        });
        while kept.bytes > BYTES_MAX || kept.conversations.len() > KEPT_MAX {
            let oldest = kept.conversations.pop_front();
            kept.bytes -= oldest.map_or(0, |oldest| oldest.bytes);
        }
    }

    /// The conversation of this id, if it is still kept.
    pub(crate) fn find(&self, id: &str) -> Option<Vec<ChatMessage>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.conversations.iter().find(|kept| kept.id == id);
        found.map(|found| found.messages.clone())
    }
}

#[cfg(test)]
mod tests {
    use lattice_inference::tokenizer::Role;

    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let past = Past::default();
        let of = |text: &str| vec![ChatMessage::new(Role::User, text)];
        for number in 0..KEPT_MAX + 5 {
            past.keep(number.to_string(), of("hi"));
        }
        assert_eq!(past.find("4"), None);
        assert_eq!(past.find("5"), Some(of("hi")));
        past.keep("large".to_owned(), of(&"a".repeat(BYTES_MAX - 100)));
        assert_eq!(past.find("900"), None);
        assert!(past.find("large").is_some());
    }
}
