//! A thread that computes masks while the caller runs the forward pass.
//!
//! In: a matcher. Out: the matcher again, with the mask of what may come next. One thread for all requests of an engine:
//! a mask takes microseconds where a forward pass takes milliseconds.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use llguidance::Matcher;
use toktrie::SimpleVob;

/// A matcher with its next mask, or the reason why there is none.
pub(super) struct Answer {
    pub(super) matcher: Box<Matcher>,
    pub(super) mask: Result<SimpleVob, String>,
}

struct Question {
    matcher: Box<Matcher>,
    answer: Sender<Answer>,
}

/// The thread, which ends with the last clone of this.
#[derive(Default)]
pub(super) struct MaskThread {
    /// Started by the first question; `Some(None)` where the system has no room for it.
    questions: Mutex<Option<Option<Sender<Question>>>>,
}

/// The next mask of a matcher.
pub(super) fn answer(mut matcher: Box<Matcher>) -> Answer {
    let mask = matcher.compute_mask().map_err(|error| error.to_string());
    Answer { matcher, mask }
}

impl MaskThread {
    /// Begins a mask. Without a thread it is computed at once.
    pub(super) fn ask(&self, matcher: Box<Matcher>) -> Receiver<Answer> {
        let (sender, receiver) = channel();
        let question = Question {
            matcher,
            answer: sender,
        };
        let mut questions = self
            .questions
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        let refused = match questions.get_or_insert_with(start) {
            Some(thread) => thread.send(question).err().map(|refused| refused.0),
            None => Some(question),
        };
        if let Some(question) = refused {
            reply(question);
        }
        receiver
    }
}

fn start() -> Option<Sender<Question>> {
    let (sender, receiver) = channel::<Question>();
    let thread = std::thread::Builder::new().name("masks".to_owned());
    let started = thread.spawn(move || receiver.into_iter().for_each(reply));
    started.ok().map(|_| sender)
}

fn reply(question: Question) {
    // A request that ended does not wait for its mask.
    let _ = question.answer.send(answer(question.matcher));
}
