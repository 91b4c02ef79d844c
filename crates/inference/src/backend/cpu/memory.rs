//! Memory of the sequences: keys and values in pages that sequences share until one writes, recurrent state in places.
//!
//! Layout: a page holds [`PAGE_TOKENS`] tokens of every attention step, one step after the other. The pool is one
//! anonymous mapping that the system fills as pages are first touched, so reserving a long context costs nothing.

use lattice_kernels::{KvPlace, KvSlice, KvView, PAGE_TOKENS};
use memmap2::{MmapMut, MmapOptions};

use super::super::table::{SequenceTable, Span};
use super::super::{KvFormat, Limits, PrefixId, RunError, SequenceId, Snapshot};
use crate::plan::{Plan, StateId};

/// What the runner keeps for one sequence.
#[derive(Debug)]
pub(super) struct SequenceMemory {
    /// Its pages, in order of position.
    pub(super) pages: Vec<u32>,
    /// Its place in the recurrent state.
    pub(super) place: usize,
}

/// The open sequences, and the pages of what is kept of others.
pub(super) type Table = SequenceTable<SequenceMemory, Vec<u32>>;

/// Keys and values of all sequences.
pub(super) struct KvPool {
    data: MmapMut,
    format: KvFormat,
    /// Elements of a page.
    page_stride: usize,
    /// Where each state's part of a page starts, in elements.
    offsets: Vec<usize>,
    free: Vec<u32>,
    /// Sequences that use each page.
    users: Vec<u32>,
}

impl KvPool {
    /// Room for `tokens` tokens, none of it touched yet.
    pub(super) fn new(plan: &Plan, format: KvFormat, tokens: usize) -> std::io::Result<Self> {
        let mut offsets = Vec::with_capacity(plan.states.len());
        let mut page_stride = 0;
        for state in &plan.states {
            offsets.push(page_stride);
            page_stride += format.token_bytes(state) / format.element_bytes() * PAGE_TOKENS;
        }
        let pages = if page_stride == 0 {
            0
        } else {
            tokens.div_ceil(PAGE_TOKENS)
        };
        let bytes = pages
            .saturating_mul(page_stride)
            .saturating_mul(format.element_bytes());
        let data = MmapOptions::new()
            .len(bytes.max(1))
            .no_reserve_swap()
            .map_anon()?;
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
        if self.page_stride == 0 {
            0
        } else {
            tokens.div_ceil(PAGE_TOKENS)
        }
    }

    /// Where a state's part of each page lies.
    pub(super) fn place(&self, state: StateId) -> KvPlace {
        KvPlace {
            page_stride: self.page_stride,
            layer_offset: self.offsets[state.index()],
        }
    }

    /// The pool, to write to.
    pub(super) fn slice(&mut self) -> KvSlice<'_> {
        let len = self.len_bytes();
        let bytes = &mut self.data[..len];
        // A mapping starts on a page of the system, so any number is aligned in it.
        match self.format {
            KvFormat::F32 => KvSlice::F32(bytemuck::cast_slice_mut(bytes)),
            KvFormat::F16 => KvSlice::F16(bytemuck::cast_slice_mut(bytes)),
            KvFormat::Int8 => KvSlice::Int8(bytemuck::cast_slice_mut(bytes)),
        }
    }

    /// The pool, to read from.
    pub(super) fn view(&self) -> KvView<'_> {
        let bytes = &self.data[..self.len_bytes()];
        match self.format {
            KvFormat::F32 => KvView::F32(bytemuck::cast_slice(bytes)),
            KvFormat::F16 => KvView::F16(bytemuck::cast_slice(bytes)),
            KvFormat::Int8 => KvView::Int8(bytemuck::cast_slice(bytes)),
        }
    }

    fn len_bytes(&self) -> usize {
        self.users.len() * self.page_stride * self.format.element_bytes()
    }

    /// Makes room for every span: own pages from its first position on. On an error nothing has changed but
    /// that some sequences may hold pages in advance.
    pub(super) fn reserve(&mut self, spans: &[Span], table: &mut Table) -> Result<(), RunError> {
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
        let Some(page) = pages.get_mut(first / PAGE_TOKENS) else {
            return Ok(());
        };
        if self.users[*page as usize] < 2 {
            return Ok(());
        }
        let copy = self.take()?;
        let bytes = self.page_stride * self.format.element_bytes();
        let from = *page as usize * bytes;
        self.data
            .copy_within(from..from + bytes, copy as usize * bytes);
        self.users[*page as usize] -= 1;
        *page = copy;
        Ok(())
    }

    fn take(&mut self) -> Result<u32, RunError> {
        let page = self
            .free
            .pop()
            .ok_or(RunError::CacheFull(self.users.len() * PAGE_TOKENS))?;
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
        Self {
            values,
            stride,
            offsets,
            free: (0..places).rev().collect(),
        }
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

    /// All values, for the kernels.
    pub(super) fn values(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Where a state of a place starts among all values.
    pub(super) fn offset(&self, place: usize, state: StateId) -> usize {
        place * self.stride + self.offsets[state.index()]
    }
}

/// All memory of a runner's sequences.
pub(super) struct Memory {
    pub(super) table: Table,
    pub(super) kv: KvPool,
    pub(super) fixed: FixedState,
}

impl Memory {
    /// Memory for `limits`, with room for `kv_tokens` tokens' keys and values over all sequences.
    pub(super) fn new(
        plan: &Plan,
        limits: &Limits,
        format: KvFormat,
        kv_tokens: usize,
    ) -> std::io::Result<Self> {
        Ok(Self {
            table: SequenceTable::new(*limits),
            kv: KvPool::new(plan, format, kv_tokens)?,
            fixed: FixedState::new(plan, limits.sequences_max),
        })
    }

    pub(super) fn open(&mut self) -> Result<SequenceId, RunError> {
        self.table.admit()?;
        let full = RunError::SequencesFull(self.table.limits().sequences_max);
        let place = self.fixed.take().ok_or(full)?;
        Ok(self.table.insert(
            0,
            SequenceMemory {
                pages: Vec::new(),
                place,
            },
        ))
    }

    pub(super) fn keep(
        &mut self,
        sequence: SequenceId,
        tokens: usize,
    ) -> Result<PrefixId, RunError> {
        self.table.check_keep(sequence, tokens)?;
        let pages = &self.table.get(sequence)?.memory.pages;
        let pages = pages[..self.kv.pages_for(tokens)].to_vec();
        self.kv.share(&pages);
        Ok(self.table.keep(tokens, pages))
    }

    pub(super) fn open_from(
        &mut self,
        prefix: PrefixId,
        tokens: usize,
        state: Option<&Snapshot>,
    ) -> Result<SequenceId, RunError> {
        self.table
            .check_open_from(prefix, tokens, state, self.fixed.stride)?;
        let sequence = self.open()?;
        let pages = &self.table.kept(prefix)?.memory;
        let pages = pages[..self.kv.pages_for(tokens)].to_vec();
        self.kv.share(&pages);
        let slot = self.table.get_mut(sequence)?;
        slot.tokens = tokens;
        slot.memory.pages = pages;
        if let Some(state) = state {
            let values = self.fixed.of_mut(slot.memory.place);
            values.copy_from_slice(&state.state);
        }
        Ok(sequence)
    }

    pub(super) fn release(&mut self, prefix: PrefixId) {
        if let Some(mut slot) = self.table.release(prefix) {
            self.kv.cut(&mut slot.memory, 0);
        }
    }

    pub(super) fn truncate(&mut self, sequence: SequenceId, tokens: usize) -> Result<(), RunError> {
        self.table.check_cut(sequence, tokens)?;
        let slot = self.table.get_mut(sequence)?;
        slot.tokens = tokens;
        self.kv.cut(&mut slot.memory.pages, tokens);
        if tokens == 0 {
            self.fixed.of_mut(slot.memory.place).fill(0.0);
        }
        Ok(())
    }

    pub(super) fn snapshot(&self, sequence: SequenceId) -> Result<Snapshot, RunError> {
        let slot = self.table.get(sequence)?;
        Ok(Snapshot {
            tokens: slot.tokens,
            state: self.fixed.of(slot.memory.place).into(),
        })
    }

    pub(super) fn restore(
        &mut self,
        sequence: SequenceId,
        snapshot: &Snapshot,
    ) -> Result<(), RunError> {
        let slot = self.table.get_mut(sequence)?;
        let state = self.fixed.of_mut(slot.memory.place);
        if snapshot.tokens > slot.tokens || snapshot.state.len() != state.len() {
            return Err(RunError::BadRestore {
                tokens: slot.tokens,
                wanted: snapshot.tokens,
            });
        }
        state.copy_from_slice(&snapshot.state);
        slot.tokens = snapshot.tokens;
        self.kv.cut(&mut slot.memory.pages, snapshot.tokens);
        Ok(())
    }

    pub(super) fn close(&mut self, sequence: SequenceId) {
        if let Some(mut slot) = self.table.remove(sequence) {
            self.kv.cut(&mut slot.memory.pages, 0);
            self.fixed.give_back(slot.memory.place);
        }
    }

    /// Makes room for every span's rows.
    pub(super) fn reserve(&mut self, spans: &[Span]) -> Result<(), RunError> {
        self.kv.reserve(spans, &mut self.table)
    }
}
