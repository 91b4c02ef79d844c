//! Memory of the sequences: keys and values in pages that sequences share until one writes, recurrent state in places.
//!
//! Layout: a page holds [`PAGE_TOKENS`] tokens of every attention step, one step after the other. The pool is one
//! anonymous mapping that the system fills as pages are first touched, so reserving a long context costs nothing.

use std::collections::BTreeMap;

use memmap2::{MmapMut, MmapOptions};

use super::super::table::{SequenceTable, Span};
use super::super::{KvFormat, RunError};
use crate::plan::{Plan, State, StateId};

/// Tokens of a page, and of a block of keys that attention folds at once.
pub(super) const PAGE_TOKENS: usize = lattice_kernels::PAGE_TOKENS;

/// What the runner keeps for one sequence.
#[derive(Debug)]
pub(super) struct SequenceMemory {
    /// Its pages, in order of position.
    pub(super) pages: Vec<u32>,
    /// Its place in the recurrent state.
    pub(super) place: usize,
}

/// Keys and values of all sequences.
pub(super) struct KvPool {
    data: MmapMut,
    format: KvFormat,
    /// Values of a page.
    page_stride: usize,
    /// Where each attention step's part of a page starts, in values.
    offsets: BTreeMap<StateId, usize>,
    free: Vec<u32>,
    /// Sequences that use each page.
    users: Vec<u32>,
}

impl KvPool {
    /// Room for `tokens` tokens, none of it touched yet.
    pub(super) fn new(plan: &Plan, format: KvFormat, tokens: usize) -> std::io::Result<Self> {
        let mut offsets = BTreeMap::new();
        let mut page_stride = 0;
        for (index, state) in plan.states.iter().enumerate() {
            if let State::Kv { .. } = state {
                offsets.insert(StateId(index as u32), page_stride);
                page_stride += state.len_per_token() * PAGE_TOKENS;
            }
        }
        let pages = if page_stride == 0 { 0 } else { tokens.div_ceil(PAGE_TOKENS) };
        let bytes = pages.saturating_mul(page_stride).saturating_mul(format.value_bytes());
        let data = MmapOptions::new().len(bytes.max(1)).no_reserve_swap().map_anon()?;
        Ok(Self {
            data,
            format,
            page_stride,
            offsets,
            free: (0..pages as u32).rev().collect(),
            users: vec![0; pages],
        })
    }

    /// Pages that hold `tokens` tokens.
    fn pages_for(&self, tokens: usize) -> usize {
        if self.page_stride == 0 { 0 } else { tokens.div_ceil(PAGE_TOKENS) }
    }

    /// Tokens the pool holds in all.
    pub(super) fn tokens(&self) -> usize {
        self.users.len() * PAGE_TOKENS
    }

    /// Values of a page, and where the step's part starts in it.
    pub(super) fn place(&self, state: StateId) -> (usize, usize) {
        (self.page_stride, self.offsets.get(&state).copied().unwrap_or(0))
    }

    /// The pool as the kernels take it.
    pub(super) fn values(&mut self) -> lattice_kernels::KvSlice<'_> {
        let bytes = &mut self.data[..];
        match self.format {
            KvFormat::F32 => lattice_kernels::KvSlice::F32(bytemuck::cast_slice_mut(trim(bytes, 4))),
            KvFormat::F16 => lattice_kernels::KvSlice::F16(bytemuck::cast_slice_mut(trim(bytes, 2))),
        }
    }

    /// Makes room for every span: own pages from its first position on. On an error nothing has changed but
    /// that some sequences may hold pages in advance.
    pub(super) fn reserve(
        &mut self,
        spans: &[Span],
        table: &mut SequenceTable<SequenceMemory>,
    ) -> Result<(), RunError> {
        for span in spans {
            let end = self.pages_for(span.first_position + span.rows.len());
            let pages = &mut table.get_mut(span.sequence)?.memory.pages;
            self.own(pages, span.first_position)?;
            while pages.len() < end {
                pages.push(self.take()?);
            }
        }
        Ok(())
    }

    /// Copies the page that position `first` falls into, if another sequence reads it too.
    fn own(&mut self, pages: &mut [u32], first: usize) -> Result<(), RunError> {
        let Some(page) = pages.get_mut(first / PAGE_TOKENS) else { return Ok(()) };
        if self.users[*page as usize] < 2 {
            return Ok(());
        }
        let copy = self.take()?;
        let bytes = self.page_stride * self.format.value_bytes();
        let from = *page as usize * bytes;
        self.data.copy_within(from..from + bytes, copy as usize * bytes);
        self.users[*page as usize] -= 1;
        *page = copy;
        Ok(())
    }

    fn take(&mut self) -> Result<u32, RunError> {
        let page = self.free.pop().ok_or(RunError::CacheFull(self.users.len() * PAGE_TOKENS))?;
        self.users[page as usize] = 1;
        Ok(page)
    }

    /// Adds a second user to every page.
    pub(super) fn share(&mut self, pages: &[u32]) {
        for page in pages {
            self.users[*page as usize] += 1;
        }
    }

    /// Gives back the pages that hold no token below `tokens`.
    pub(super) fn cut(&mut self, pages: &mut Vec<u32>, tokens: usize) {
        while pages.len() > self.pages_for(tokens) {
            let Some(page) = pages.pop() else { return };
            let users = &mut self.users[page as usize];
            *users -= 1;
            if *users == 0 {
                self.free.push(page);
            }
        }
    }
}

/// The longest start of `bytes` that is a whole number of `size`.
fn trim(bytes: &mut [u8], size: usize) -> &mut [u8] {
    let len = bytes.len() / size * size;
    &mut bytes[..len]
}

/// Recurrent state of all sequences: `[places][values of all states]`, f32.
pub(super) struct FixedState {
    values: Vec<f32>,
    stride: usize,
    /// Where each state starts within a place.
    offsets: Vec<usize>,
    free: Vec<usize>,
}

impl FixedState {
    pub(super) fn new(plan: &Plan, places: usize) -> Self {
        let mut stride = 0;
        let mut offsets = Vec::with_capacity(plan.states.len());
        for state in &plan.states {
            offsets.push(stride);
            stride += state.fixed_len();
        }
        let values = vec![0.0; stride * places];
        Self { values, stride, offsets, free: (0..places).rev().collect() }
    }

    /// A zeroed place. The sequence table admits no more sequences than there are places.
    pub(super) fn take(&mut self) -> Option<usize> {
        let place = self.free.pop()?;
        self.of_mut(place).fill(0.0);
        Some(place)
    }

    pub(super) fn give_back(&mut self, place: usize) {
        self.free.push(place);
    }

    pub(super) fn of(&self, place: usize) -> &[f32] {
        &self.values[place * self.stride..][..self.stride]
    }

    pub(super) fn of_mut(&mut self, place: usize) -> &mut [f32] {
        &mut self.values[place * self.stride..][..self.stride]
    }

    pub(super) fn copy(&mut self, from: usize, to: usize) {
        let start = from * self.stride;
        self.values.copy_within(start..start + self.stride, to * self.stride);
    }

    /// All values, for the kernels, and where a state of a place starts among them.
    pub(super) fn values(&mut self) -> &mut [f32] {
        &mut self.values
    }

    pub(super) fn offset(&self, place: usize, state: StateId) -> usize {
        place * self.stride + self.offsets[state.index()]
    }
}
