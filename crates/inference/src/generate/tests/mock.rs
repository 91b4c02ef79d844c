//! A model whose logits show every mistake, and a tokenizer of bytes.
//!
//! The logits of a row are a hash of all ids so far, in order: a token fed twice, left out, or fed to a
//! state that was not put back gives another text. It holds its caller to the contract of `Runner`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::backend::*;
use crate::tokenizer::{Prompt, TextError, Tokenizer};

pub(super) const EOS: u32 = 256;
pub(super) const THINK: u32 = 257;
pub(super) const CLOSE: u32 = 258;
/// "né" in one token, then the halves of an emoji.
pub(super) const NE: u32 = 259;
pub(super) const EMOJI: [u32; 2] = [260, 261];
/// An id inside of the range that has no token.
pub(super) const HOLE: u32 = 263;
const IDS_MAX: usize = 266;
/// Columns of the logits: the last ones are padding.
pub(super) const WIDTH: usize = 272;

pub(super) fn mix(x: u64) -> u64 {
    let x = (x.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn state_of(ids: &[u32]) -> u64 {
    ids.iter().fold(1, |state, &id| mix(state ^ u64::from(id)))
}

fn unpack(snapshot: &Snapshot) -> u64 {
    let parts = snapshot.state.iter().zip(0..);
    parts
        .map(|(&value, part)| (value as u64) << (16 * part))
        .sum()
}

/// What a test may look at after the model went into a generator.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) open: usize,
    pub(super) kept: usize,
    /// Sequences opened from what was kept.
    pub(super) begun: usize,
    pub(super) restores: usize,
    pub(super) truncates: usize,
    /// For each batch: entries and tokens.
    pub(super) batches: Vec<(usize, usize)>,
}

#[derive(Clone)]
struct Sequence {
    ids: Vec<u32>,
    state: u64,
}

#[derive(Clone)]
pub(super) struct Model {
    pub(super) limits: Limits,
    /// Tokens that all sequences may hold together.
    pub(super) memory_tokens: usize,
    /// From this length on, these ids are the clear favourites.
    pub(super) script: Option<(usize, Vec<u32>)>,
    /// A batch with this id fails.
    pub(super) poison: Option<u32>,
    pub(super) broken_logits: bool,
    pub(super) seen: Arc<Mutex<Seen>>,
    sequences: BTreeMap<u64, Sequence>,
    kept: BTreeMap<u64, Vec<u32>>,
    next: u64,
    rows: Vec<f32>,
}

impl Model {
    pub(super) fn new(rewinds: bool) -> Model {
        let limits = Limits {
            sequences_max: 4,
            context_tokens_max: 300,
            batch_tokens_max: 64,
            output_rows_max: 64,
            output_width: WIDTH,
            vocab: WIDTH,
            types: 0,
            whole: false,
            pools: false,
            rewinds,
        };
        Model {
            limits,
            memory_tokens: usize::MAX,
            script: None,
            poison: None,
            broken_logits: false,
            seen: Arc::default(),
            sequences: BTreeMap::new(),
            kept: BTreeMap::new(),
            next: 0,
            rows: Vec::new(),
        }
    }

    /// The same model, and nothing seen yet.
    fn fresh(&self) -> Model {
        Model {
            seen: Arc::default(),
            ..self.clone()
        }
    }

    pub(super) fn with_batch(&self, batch_tokens_max: usize) -> Model {
        let mut model = self.fresh();
        model.limits.batch_tokens_max = batch_tokens_max;
        model.limits.output_rows_max = batch_tokens_max;
        model
    }

    pub(super) fn with_sequences(&self, sequences_max: usize) -> Model {
        let mut model = self.fresh();
        model.limits.sequences_max = sequences_max;
        model
    }

    pub(super) fn with_script(&self, from: usize, ids: &[u32]) -> Model {
        Model {
            script: Some((from, ids.to_vec())),
            ..self.fresh()
        }
    }

    fn sequence(&mut self, id: SequenceId) -> Result<&mut Sequence, RunError> {
        self.sequences
            .get_mut(&id.0)
            .ok_or(RunError::UnknownSequence(id.0))
    }

    fn insert(&mut self, sequence: Sequence) -> Result<SequenceId, RunError> {
        if self.sequences.len() >= self.limits.sequences_max {
            return Err(RunError::SequencesFull(self.limits.sequences_max));
        }
        self.next += 1;
        self.sequences.insert(self.next, sequence);
        self.seen.lock().unwrap().open = self.sequences.len();
        Ok(SequenceId(self.next))
    }

    fn push_row(&mut self, state: u64, tokens: usize) {
        let favourite = self
            .script
            .as_ref()
            .and_then(|(from, ids)| ids.get(tokens.checked_sub(*from)?).copied());
        for id in 0..WIDTH as u32 {
            let mut logit = (mix(state ^ u64::from(id) << 40) >> 40) as f32 / (1 << 21) as f32;
            if id >= IDS_MAX as u32 || id == HOLE {
                logit += 50.0;
            }
            if favourite == Some(id) {
                logit += 100.0;
            }
            self.rows
                .push(if self.broken_logits { f32::NAN } else { logit });
        }
    }

    fn check(&self, batch: &Batch<'_>) -> Result<(), RunError> {
        let tokens = batch.entries.iter().map(|entry| entry.ids.len()).sum();
        let rows: usize = batch
            .entries
            .iter()
            .map(|entry| match entry.outputs {
                OutputRows::None => 0,
                OutputRows::Last => 1,
                OutputRows::All => entry.ids.len(),
            })
            .sum();
        let Limits {
            batch_tokens_max: max,
            output_rows_max,
            context_tokens_max,
            ..
        } = self.limits;
        if batch.entries.is_empty() || batch.entries.iter().any(|entry| entry.ids.is_empty()) {
            return Err(RunError::EmptyBatch);
        }
        if tokens > max {
            return Err(RunError::BatchTooLong { found: tokens, max });
        }
        if rows > output_rows_max {
            return Err(RunError::TooManyOutputs {
                found: rows,
                max: output_rows_max,
            });
        }
        for (at, entry) in batch.entries.iter().enumerate() {
            let id = entry.sequence.0;
            if batch.entries[..at]
                .iter()
                .any(|other| other.sequence == entry.sequence)
            {
                return Err(RunError::SequenceTwice(id));
            }
            let found = self.tokens(entry.sequence)? + entry.ids.len();
            if found > context_tokens_max {
                return Err(RunError::ContextFull {
                    found,
                    max: context_tokens_max,
                });
            }
            if let Some(&id) = entry.ids.iter().find(|&&id| Some(id) == self.poison) {
                return Err(RunError::TokenOutOfRange { id, vocab: WIDTH });
            }
        }
        let held: usize = self
            .sequences
            .values()
            .map(|sequence| sequence.ids.len())
            .chain(self.kept.values().map(Vec::len))
            .sum();
        if held + tokens > self.memory_tokens {
            return Err(RunError::CacheFull(self.memory_tokens));
        }
        Ok(())
    }
}

impl Runner for Model {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn open(&mut self) -> Result<SequenceId, RunError> {
        self.insert(Sequence {
            ids: Vec::new(),
            state: 1,
        })
    }

    fn keep(&mut self, sequence: SequenceId, tokens: usize) -> Result<PrefixId, RunError> {
        let ids = self.sequence(sequence)?.ids[..tokens].to_vec();
        self.next += 1;
        self.kept.insert(self.next, ids);
        self.seen.lock().unwrap().kept = self.kept.len();
        Ok(PrefixId(self.next))
    }

    fn open_from(
        &mut self,
        prefix: PrefixId,
        tokens: usize,
        state: Option<&Snapshot>,
    ) -> Result<SequenceId, RunError> {
        let kept = self.kept.get(&prefix.0);
        let ids = kept.ok_or(RunError::UnknownPrefix(prefix.0))?[..tokens].to_vec();
        let true_state = state_of(&ids);
        if !self.limits.rewinds {
            let state = state.expect("a state where the sequence cannot be cut");
            assert_eq!(state.tokens, tokens);
            assert_eq!(unpack(state), true_state, "a snapshot of the same tokens");
        }
        self.seen.lock().unwrap().begun += 1;
        self.insert(Sequence {
            ids,
            state: true_state,
        })
    }

    fn release(&mut self, prefix: PrefixId) {
        self.kept.remove(&prefix.0);
        self.seen.lock().unwrap().kept = self.kept.len();
    }

    fn tokens(&self, sequence: SequenceId) -> Result<usize, RunError> {
        let found = self.sequences.get(&sequence.0);
        found
            .map(|found| found.ids.len())
            .ok_or(RunError::UnknownSequence(sequence.0))
    }

    fn truncate(&mut self, sequence: SequenceId, wanted: usize) -> Result<(), RunError> {
        let rewinds = self.limits.rewinds;
        let found = self.sequence(sequence)?;
        let tokens = found.ids.len();
        if wanted > tokens {
            return Err(RunError::BadRestore { tokens, wanted });
        }
        if wanted != 0 && wanted != tokens && !rewinds {
            return Err(RunError::CannotRewind { tokens, wanted });
        }
        found.ids.truncate(wanted);
        found.state = state_of(&found.ids);
        self.seen.lock().unwrap().truncates += usize::from(wanted != tokens);
        Ok(())
    }

    fn snapshot(&mut self, sequence: SequenceId) -> Result<Snapshot, RunError> {
        let found = self.sequence(sequence)?;
        let state = (0..4)
            .map(|part| (found.state >> (16 * part) & 0xffff) as f32)
            .collect();
        Ok(Snapshot {
            tokens: found.ids.len(),
            state,
        })
    }

    fn restore(&mut self, sequence: SequenceId, snapshot: &Snapshot) -> Result<(), RunError> {
        let found = self.sequence(sequence)?;
        let tokens = found.ids.len();
        if snapshot.tokens > tokens {
            return Err(RunError::BadRestore {
                tokens,
                wanted: snapshot.tokens,
            });
        }
        found.ids.truncate(snapshot.tokens);
        found.state = unpack(snapshot);
        let true_state = state_of(&found.ids);
        assert_eq!(found.state, true_state, "a snapshot of the same tokens");
        self.seen.lock().unwrap().restores += 1;
        Ok(())
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence.0);
        self.seen.lock().unwrap().open = self.sequences.len();
    }

    fn run(&mut self, batch: &Batch<'_>) -> Result<Outputs<'_>, RunError> {
        self.check(batch)?;
        self.rows.clear();
        for entry in batch.entries {
            for (at, &id) in entry.ids.iter().enumerate() {
                let found = self.sequence(entry.sequence)?;
                found.ids.push(id);
                found.state = mix(found.state ^ u64::from(id));
                let (state, tokens) = (found.state, found.ids.len());
                let last = at + 1 == entry.ids.len();
                match entry.outputs {
                    OutputRows::All => self.push_row(state, tokens),
                    OutputRows::Last if last => self.push_row(state, tokens),
                    OutputRows::Last | OutputRows::None => {}
                }
            }
        }
        let tokens = batch.entries.iter().map(|entry| entry.ids.len()).sum();
        self.seen
            .lock()
            .unwrap()
            .batches
            .push((batch.entries.len(), tokens));
        Ok(Outputs {
            rows: &self.rows,
            width: WIDTH,
        })
    }
}

/// Ids below 256 are bytes.
pub(super) struct Bytes {
    tokens: Vec<Option<Vec<u8>>>,
}

impl Bytes {
    pub(super) fn new() -> Bytes {
        let mut tokens: Vec<_> = (0..=255u8).map(|byte| Some(vec![byte])).collect();
        let [first, second] = ["😀".as_bytes()[..2].to_vec(), "😀".as_bytes()[2..].to_vec()];
        tokens.extend([
            Some(Vec::new()),
            Some(b"<think>".to_vec()),
            Some(b"</think>".to_vec()),
        ]);
        tokens.extend([
            Some("né".into()),
            Some(first),
            Some(second),
            Some(b"end".to_vec()),
            None,
        ]);
        tokens.extend([Some(b"nd st".to_vec()), Some(b"ops".to_vec())]);
        assert_eq!(tokens.len(), IDS_MAX);
        Bytes { tokens }
    }
}

impl Tokenizer for Bytes {
    fn ids_from_text(&self, text: &str) -> Result<Vec<u32>, TextError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn ids_from_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError> {
        self.ids_from_text(&prompt.text)
    }

    fn bytes_from_id(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize)?.as_deref()
    }

    fn id_from_token(&self, token: &str) -> Option<u32> {
        let found = self
            .tokens
            .iter()
            .position(|known| known.as_deref() == Some(token.as_bytes()));
        found.and_then(|id| u32::try_from(id).ok())
    }

    fn ids_max(&self) -> usize {
        IDS_MAX
    }
}
