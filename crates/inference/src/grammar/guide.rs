//! Holds one text to a grammar.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use llguidance::Matcher;
use toktrie::SimpleVob;

use super::masks::{self, Answer, MaskThread};
use crate::sample::{Guide, SampleError, TokenMask};

/// The guide of one request: see [`super::Compiled::guide`].
pub struct GrammarGuide {
    matcher: Place,
    masks: Arc<MaskThread>,
    /// Ids that may end the text where the grammar lets it end.
    stop_ids: Vec<u32>,
    /// What must come next, token by token.
    forced: VecDeque<u32>,
    /// What may come next, where it is known.
    mask: Option<SimpleVob>,
    /// The first byte of the text may not be a space, because the tokenizer's decoder would drop it.
    no_space: Option<Arc<TokenMask>>,
    /// Why the grammar cannot go on.
    failed: Option<String>,
    ended: bool,
}

/// Where the matcher is.
enum Place {
    Here(Box<Matcher>),
    /// On the thread of masks.
    Away(Receiver<Answer>),
    /// The thread ended with it.
    Lost,
}

impl GrammarGuide {
    pub(super) fn new(
        matcher: Box<Matcher>,
        masks: Arc<MaskThread>,
        stop_ids: &[u32],
        no_space: Option<Arc<TokenMask>>,
    ) -> GrammarGuide {
        let mut guide = GrammarGuide {
            matcher: Place::Here(matcher),
            masks,
            stop_ids: stop_ids.to_vec(),
            forced: VecDeque::new(),
            mask: None,
            no_space,
            failed: None,
            ended: false,
        };
        guide.look_ahead();
        guide
    }

    /// The same guide, whose text has come to its end.
    pub(super) fn ended(mut self) -> GrammarGuide {
        self.ended = true;
        self
    }

    /// The matcher, waited for where it is away.
    fn matcher(&mut self) -> Option<&mut Matcher> {
        if let Place::Away(answer) = &self.matcher {
            match answer.recv() {
                Ok(answer) => self.take(answer),
                Err(_) => {
                    self.matcher = Place::Lost;
                    self.failed = Some("the thread that computes masks ended".to_owned());
                }
            }
        }
        match &mut self.matcher {
            Place::Here(matcher) => Some(matcher),
            Place::Away(_) | Place::Lost => None,
        }
    }

    fn take(&mut self, answer: Answer) {
        self.matcher = Place::Here(answer.matcher);
        match answer.mask {
            Ok(mask) => self.mask = Some(mask),
            Err(reason) => self.failed = Some(reason),
        }
    }

    /// After a token: whether the text is complete, and what must follow.
    fn look_ahead(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let Some(matcher) = self.matcher() else {
            return;
        };
        if let Some(reason) = matcher.get_error() {
            self.failed = Some(reason);
            return;
        }
        if matcher.is_stopped() {
            self.ended = true;
            return;
        }
        let forced = matcher.compute_ff_tokens();
        self.forced = forced.into();
    }

    fn accepting(&mut self) -> bool {
        self.ended
            || self
                .matcher()
                .is_some_and(|matcher| matcher.is_accepting().unwrap_or(false))
    }
}

impl Guide for GrammarGuide {
    fn prepare(&mut self) {
        let wanted = self.forced.is_empty() && self.mask.is_none();
        if !wanted || self.ended || self.failed.is_some() {
            return;
        }
        self.matcher = match std::mem::replace(&mut self.matcher, Place::Lost) {
            Place::Here(matcher) => Place::Away(self.masks.ask(matcher)),
            other => other,
        };
    }

    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), SampleError> {
        let accepting = self.accepting();
        if self.ended {
            allowed.keep(&[], &self.stop_ids);
            return Ok(());
        }
        if self.mask.is_none() && self.failed.is_none() {
            match std::mem::replace(&mut self.matcher, Place::Lost) {
                Place::Here(matcher) => self.take(masks::answer(matcher)),
                other => self.matcher = other,
            }
        }
        match (&self.mask, &self.failed) {
            (Some(mask), None) => {
                let stop_ids: &[u32] = if accepting { &self.stop_ids } else { &[] };
                allowed.keep(mask.as_slice(), stop_ids);
                if let Some(no_space) = &self.no_space {
                    allowed.intersect(no_space);
                }
                Ok(())
            }
            (_, reason) => Err(SampleError::Guide {
                reason: reason.clone().unwrap_or_default(),
            }),
        }
    }

    fn forced(&mut self) -> Option<u32> {
        self.forced.front().copied()
    }

    fn accept(&mut self, id: u32) {
        if self.ended || self.failed.is_some() || self.stop_ids.contains(&id) {
            return;
        }
        let expected = self.forced.pop_front() == Some(id);
        if !expected {
            self.forced.clear();
        }
        let Some(matcher) = self.matcher() else {
            return;
        };
        let taken = matcher.consume_token(id);
        let stopped = matcher.is_stopped();
        self.mask = None;
        self.no_space = None;
        match taken {
            Err(error) => self.failed = Some(error.to_string()),
            // What must follow was found out before.
            Ok(()) if !self.forced.is_empty() && !stopped => {}
            Ok(()) => self.look_ahead(),
        }
    }

    fn complete(&mut self) -> bool {
        self.ended
    }

    fn cut_off(&mut self) -> bool {
        !self.accepting()
    }

    fn usable(&mut self, proposed: &[u32]) -> usize {
        let stop_ids = std::mem::take(&mut self.stop_ids);
        let stop = proposed.iter().position(|id| stop_ids.contains(id));
        self.stop_ids = stop_ids;
        let text = &proposed[..stop.unwrap_or(proposed.len())];
        let matcher = self.matcher();
        let valid = matcher.and_then(|matcher| matcher.validate_tokens(text).ok());
        match valid {
            Some(valid) if valid == text.len() => proposed.len(),
            valid => valid.unwrap_or(0),
        }
    }
}
