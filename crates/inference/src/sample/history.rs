//! The tokens so far, as the penalties see them.

use super::SamplerOptions;

/// A token of the prompt or of the text so far.
struct Seen {
    id: u32,
    generated: u32,
}

/// Every distinct token so far, in the order of the ids: a table over the vocabulary would cost a megabyte
/// for each request.
pub(super) struct History {
    seen: Vec<Seen>,
}

impl History {
    pub(super) fn from_prompt(prompt: &[u32]) -> History {
        let mut ids = prompt.to_vec();
        ids.sort_unstable();
        ids.dedup();
        History {
            seen: ids
                .into_iter()
                .map(|id| Seen { id, generated: 0 })
                .collect(),
        }
    }

    pub(super) fn push(&mut self, id: u32) {
        match self.seen.binary_search_by_key(&id, |seen| seen.id) {
            Ok(at) => self.seen[at].generated += 1,
            Err(at) => self.seen.insert(at, Seen { id, generated: 1 }),
        }
    }

    /// Repetition as in `transformers` (prompt and text), then presence and frequency as OpenAI defines them
    /// (text only).
    pub(super) fn penalize(&self, options: &SamplerOptions, scores: &mut [f32]) {
        for seen in &self.seen {
            let Some(score) = scores.get_mut(seen.id as usize) else {
                continue;
            };
            let repeated = if *score < 0.0 {
                *score * options.repetition_penalty
            } else {
                *score / options.repetition_penalty
            };
            let mut penalty = 0.0;
            if seen.generated > 0 {
                penalty =
                    options.presence_penalty + options.frequency_penalty * seen.generated as f32;
            }
            // A huge logit over a small penalty must stay a number.
            *score = (repeated - penalty).min(f32::MAX);
        }
    }
}
