//! The sampler of one request.

use super::history::History;
use super::select::{Buffers, draw};
use super::{FieldError, SampleError, SamplerOptions, TokenMask, uniform};

/// Buffers for choosing a token. One serves any number of samplers, one after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) scores: Vec<f32>,
    pub(super) buffers: Buffers,
}

/// Chooses the tokens of one request.
///
/// ```
/// use lattice_inference::sample::{Sampler, SamplerOptions, Scratch, TokenMask};
///
/// let logits = [0.5, 2.0, 1.9];
/// let (mut allowed, mut scratch) = (TokenMask::all(3), Scratch::default());
/// let mut sampler = Sampler::new(SamplerOptions::greedy(), 0, &[], 3)?;
/// let id = sampler.choose(&logits, &allowed, &mut scratch)?;
/// assert_eq!(id, 1);
/// sampler.accept(id);
/// allowed.forbid(1);
/// assert_eq!(sampler.choose(&logits, &allowed, &mut scratch)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sampler {
    options: SamplerOptions,
    seed: u64,
    history: Option<History>,
    accepted: u64,
}

impl Sampler {
    /// A sampler for a request with this prompt, over `vocab` ids. `seed` counts where the options name none.
    ///
    /// # Errors
    /// The first option outside of its range.
    pub fn new(
        options: SamplerOptions,
        seed: u64,
        prompt: &[u32],
        vocab: usize,
    ) -> Result<Sampler, FieldError> {
        options.validate(vocab)?;
        let seed = options.seed.unwrap_or(seed);
        let history = options.penalizes().then(|| History::from_prompt(prompt));
        Ok(Sampler {
            options,
            seed,
            history,
            accepted: 0,
        })
    }

    /// The seed of the draws.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Chooses the token that follows the accepted ones. Asking again gives the same answer.
    ///
    /// # Errors
    /// [`SampleError::NotFinite`] for logits with NaN or positive infinity, [`SampleError::DeadEnd`] where
    /// nothing is allowed.
    ///
    /// # Panics
    /// If the mask is not as wide as the logits.
    pub fn choose(
        &self,
        logits: &[f32],
        allowed: &TokenMask,
        scratch: &mut Scratch,
    ) -> Result<u32, SampleError> {
        assert_eq!(
            allowed.width(),
            logits.len(),
            "the mask is made for this row of logits"
        );
        check_finite(logits, self.accepted)?;
        let chosen = if self.options.temperature == 0.0 && !self.options.adjusts() {
            allowed.best(logits)
        } else {
            let Scratch { scores, buffers } = scratch;
            scores.clear();
            scores.extend_from_slice(logits);
            self.adjust(scores);
            if self.options.temperature == 0.0 {
                allowed.best(scores)
            } else {
                allowed.apply(scores);
                draw(
                    &self.options,
                    scores,
                    uniform(self.seed, self.accepted),
                    buffers,
                )
            }
        };
        chosen.ok_or(SampleError::DeadEnd {
            width: logits.len(),
            index: self.accepted,
        })
    }

    /// Takes note of the token that came next.
    pub fn accept(&mut self, id: u32) {
        self.accepted += 1;
        if let Some(history) = &mut self.history {
            history.push(id);
        }
    }

    /// Bias, then penalties.
    fn adjust(&self, scores: &mut [f32]) {
        for &(id, bias) in &self.options.logit_bias {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = (*score + bias).min(f32::MAX);
            }
        }
        if let Some(history) = &self.history {
            history.penalize(&self.options, scores);
        }
    }
}

fn check_finite(logits: &[f32], index: u64) -> Result<(), SampleError> {
    // Negative infinity is a legal way to say never.
    let bad = |logit: f32| logit.is_nan() || logit == f32::INFINITY;
    let clean = |block: &[f32]| !block.iter().fold(false, |any, &logit| any | bad(logit));
    if logits.chunks(64).all(clean) {
        return Ok(());
    }
    let mut all = logits.iter().zip(0u32..).filter(|&(&logit, _)| bad(logit));
    let id = all.next().map_or(0, |(_, id)| id);
    Err(SampleError::NotFinite {
        id,
        others: all.count(),
        index,
    })
}
