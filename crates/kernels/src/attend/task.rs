//! What a task of attention over whole sequences reads and how much room it takes.
//!
//! Layout: rows of words: f32, or pairs of bf16 as [`PanelRows`](crate::PanelRows) has them. Contract, Measured: see
//! [`super::whole`].

use std::ops::Range;

use super::AttendShape;
use super::whole::{GROUPS, KEYS};
use crate::cpu::Cpu;
use crate::lanes::LANES;
use crate::linear::prefetch;
use crate::panel::{CHUNK, PanelFormat, PanelInput, RowParts};
use crate::parts::Parts;
use crate::{Bf16Isa, Isa};

/// Rows of a sequence whose heads are asked for ahead: they should fit the first cache beside those in
/// use.
const ASKED_ROWS: usize = 32;

/// Rows of queries, keys and values, all f32 or all rounded to bf16.
#[derive(Debug, Clone, Copy)]
pub struct WholeInputs<'a> {
    /// `[rows, heads * head_dim]`.
    pub q: PanelInput<'a>,
    /// `[rows, kv_heads * head_dim]`.
    pub k: PanelInput<'a>,
    /// `[rows, kv_heads * head_dim]`.
    pub v: PanelInput<'a>,
}

/// What [`super::attend_whole`] reads fastest where its inputs may be rounded: f32 or bf16.
pub fn whole_format(cpu: &Cpu, head_dim: usize) -> PanelFormat {
    let pairs = PanelFormat::bf16_on(cpu) == PanelFormat::Bf16;
    let pairs = pairs && cpu.isa() == Isa::Avx512 && Bf16Isa::Avx512Bf16.is_available();
    match pairs && head_dim.is_multiple_of(2) {
        true => PanelFormat::Bf16,
        false => PanelFormat::F32,
    }
}

/// Rows of words.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) words: &'a [f32],
    /// Words from a row to the next.
    pub(super) stride: usize,
}

impl<'a> Rows<'a> {
    /// Of `columns` columns; their format and their number.
    pub(super) fn of(x: PanelInput<'a>, columns: usize) -> (Rows<'a>, PanelFormat, usize) {
        match x {
            PanelInput::Plain(words) => {
                let rows = words.len() / columns;
                assert_eq!(words.len(), rows * columns, "rows of {columns}");
                let stride = columns;
                (Rows { words, stride }, PanelFormat::F32, rows)
            }
            PanelInput::Rounded(x) => {
                assert_eq!(x.columns(), columns, "columns of rounded rows");
                assert_eq!(x.format(), Some(PanelFormat::Bf16), "rows to attend to");
                let (words, stride) = x.words();
                (Rows { words, stride }, PanelFormat::Bf16, x.rows())
            }
        }
    }
}

pub(super) enum Out<'a> {
    Plain(Parts<'a, f32>),
    Rounded(RowParts<'a>),
}

/// Some heads of some queries of one sequence.
pub(super) struct Task<'a> {
    pub(super) shape: AttendShape,
    /// Queries, keys and values.
    pub(super) inputs: [Rows<'a>; 3],
    /// Columns of a word.
    pub(super) per_word: usize,
    pub(super) span: Range<usize>,
    /// Rows of the span.
    pub(super) queries: Range<usize>,
    pub(super) heads: Range<usize>,
    pub(super) out: &'a Out<'a>,
}

impl<'a> Task<'a> {
    /// Asks for its rows, if they are few: no processor sees so short streams coming.
    pub(super) fn ask(&self) {
        let AttendShape {
            heads, kv_heads, ..
        } = self.shape;
        if self.span.len() > ASKED_ROWS {
            return;
        }
        let kv = self.heads.start / (heads / kv_heads)..self.heads.end.div_ceil(heads / kv_heads);
        for (x, heads) in self.inputs.iter().zip([&self.heads, &kv, &kv]) {
            for row in self.span.clone() {
                let row = row * x.stride;
                for at in (heads.start * self.words()..heads.end * self.words()).step_by(LANES) {
                    prefetch(x.words.as_ptr().wrapping_add(row + at));
                }
            }
        }
    }

    /// Words of a head.
    #[inline(always)]
    pub(super) fn words(&self) -> usize {
        self.shape.head_dim.div_ceil(self.per_word)
    }

    pub(super) fn padded_dim(&self) -> usize {
        self.shape.head_dim.next_multiple_of(LANES)
    }

    /// Columns of the task's heads, filled up to whole chunks.
    pub(super) fn width(&self) -> usize {
        (self.heads.len() * self.shape.head_dim).next_multiple_of(CHUNK)
    }

    /// Floats, or pairs of bf16, of keys, values, queries, scores and outputs.
    pub(super) fn parts(&self) -> [usize; 5] {
        let (keys, dim) = (self.span.len(), self.padded_dim());
        let padded = keys.next_multiple_of(KEYS);
        [
            padded * dim,
            keys * dim,
            GROUPS * LANES * dim,
            GROUPS * LANES * padded,
            self.queries.len() * self.width(),
        ]
    }

    pub(super) fn floats(&self) -> usize {
        self.parts().iter().sum()
    }

    /// From head `head` of the first key or value row of the sequence on.
    #[inline(always)]
    pub(super) fn kv_rows(&self, x: Rows<'a>, head: usize) -> &'a [f32] {
        let head = head / (self.shape.heads / self.shape.kv_heads);
        let end = (self.span.end - 1) * x.stride + (head + 1) * self.words();
        &x.words[self.span.start * x.stride + head * self.words()..end]
    }

    /// Head `head` of a query; none beyond the last.
    #[inline(always)]
    pub(super) fn query(&self, head: usize, query: usize) -> &'a [f32] {
        if query >= self.span.len() {
            return &[];
        }
        let (q, words) = (self.inputs[0], self.words());
        &q.words[(self.span.start + query) * q.stride + head * words..][..words]
    }
}
