//! Groups of MLX, AWQ and GPTQ: integers times a scale plus a minimum.
//!
//! In: the words, scales and biases or zero points of a matrix. Out: one row as integers, scales and minima.
//! Layout, for `out` rows and `in` columns in groups of g, words of 32 bits, the first integer in the lowest bits:
//! MLX: words `[out, in / n]`, scales and biases `[out, in / g]`; w = s q + b.
//! GPTQ: words `[in / n, out]`, zero points `[in / g, out / n]`, scales `[in / g, out]`; w = s (q - z).
//! AWQ: words `[in, out / 8]`, zero points `[in / g, out / 8]`, scales `[in / g, out]`; w = s (q - z). Of each 8 rows a word
//! has the even ones first.
//! 4 bits stay as they are. Of 8 bits 128 is taken, and 128 s added to the minimum. -s z is exact for scales of F16 and BF16;
//! b + 128 s is where the two are as far apart as MLX makes them, else it is rounded to f32.
//! Source: mlx `quantize`, AutoAWQ `pack_intweight`, AutoGPTQ `QuantLinear.pack`.

use std::ops::Range;

use lattice_kernels::{GroupBits, GroupColumns, PackedScheme};

use crate::checkpoint::Dtype;

/// Where the parts of a matrix lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AffineLayout {
    /// Row by row, with biases.
    Mlx,
    /// Column by column, eight rows to a word.
    Awq,
    /// Column by column, a word holds columns.
    Gptq {
        /// Zero points are stored less one.
        less_one: bool,
    },
}

/// One kind of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AffineBlock {
    pub(crate) layout: AffineLayout,
    pub(crate) bits: GroupBits,
    pub(crate) group: GroupColumns,
    /// Of scales and biases.
    pub(crate) float: Dtype,
}

/// Columns that are read of some rows before the next ones: their words stay near.
const COLUMNS: usize = 64;

/// A row to be filled, or some.
pub(super) type Row<'a> = (&'a mut [i8], &'a mut [f32], &'a mut [f32]);

/// Row 0 to 7 of eight: which place of an AWQ word it has.
const AWQ_PLACE: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

impl AffineBlock {
    /// Columns that share a scale.
    pub(crate) fn group(&self) -> usize {
        self.group.columns()
    }

    /// The form that holds them as they are.
    pub(crate) fn scheme(&self) -> PackedScheme {
        PackedScheme::Grouped {
            bits: self.bits,
            group: self.group,
            minimum: true,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match (self.layout, self.bits) {
            (AffineLayout::Mlx, GroupBits::Four) => "MLX4",
            (AffineLayout::Mlx, GroupBits::Eight) => "MLX8",
            (AffineLayout::Awq, _) => "AWQ4",
            (AffineLayout::Gptq { .. }, GroupBits::Four) => "GPTQ4",
            (AffineLayout::Gptq { .. }, GroupBits::Eight) => "GPTQ8",
        }
    }

    /// Rows that `parts` have together: words, scales, and biases or zero points.
    pub(super) fn rows(&self, parts: [&[u8]; 3], columns: usize) -> usize {
        let row = columns / self.group() * self.float_bytes();
        parts[1].len() / row.max(1)
    }

    /// Reads row `row` of a matrix of `rows`.
    pub(super) fn read(&self, parts: [&[u8]; 3], (row, rows): (usize, usize), out: Row<'_>) {
        match self.layout {
            AffineLayout::Mlx => self.read_mlx(parts, row, out),
            AffineLayout::Awq | AffineLayout::Gptq { .. } => {
                self.read_columns(parts, (row..row + 1, rows), out)
            }
        }
    }

    /// Whether a row's words lie far from each other, so that rows are better read together.
    pub(super) fn is_by_columns(&self) -> bool {
        self.layout != AffineLayout::Mlx
    }

    fn read_mlx(&self, [words, scales, biases]: [&[u8]; 3], row: usize, (quants, s, m): Row<'_>) {
        let bytes = quants.len() * self.bits.bits() / 8;
        let words = &words[row * bytes..][..bytes];
        match self.bits {
            GroupBits::Four => {
                for (pair, byte) in quants.chunks_exact_mut(2).zip(words) {
                    pair[0] = (byte & 15) as i8;
                    pair[1] = (byte >> 4) as i8;
                }
            }
            GroupBits::Eight => {
                for (quant, byte) in quants.iter_mut().zip(words) {
                    *quant = (byte ^ 0x80) as i8;
                }
            }
        }
        let first = row * s.len();
        for (g, (scale, minimum)) in s.iter_mut().zip(m).enumerate() {
            *scale = self.float_at(scales, first + g);
            *minimum = self.float_at(biases, first + g);
            if self.bits == GroupBits::Eight {
                *minimum = 128.0_f32.mul_add(*scale, *minimum);
            }
        }
    }

    /// Reads some of `rows` rows. Some columns of all of them are read before the next: a row alone needs a line of memory
    /// for each of its words, which hold the next rows, too.
    pub(super) fn read_columns(
        &self,
        [words, scales, zeros]: [&[u8]; 3],
        (of, rows): (Range<usize>, usize),
        (quants, s, m): Row<'_>,
    ) {
        let (columns, groups) = (quants.len() / of.len().max(1), s.len() / of.len().max(1));
        for first in (0..columns).step_by(COLUMNS) {
            let last = (first + COLUMNS).min(columns);
            for (row, quants) in of.clone().zip(quants.chunks_exact_mut(columns.max(1))) {
                self.quants(words, (row, rows), first, &mut quants[first..last]);
            }
        }
        let of_groups = s
            .chunks_exact_mut(groups.max(1))
            .zip(m.chunks_exact_mut(groups.max(1)));
        for (row, (s, m)) in of.zip(of_groups) {
            self.floats([scales, zeros], (row, rows), s, m);
        }
    }

    /// Integers of a row from column `first` on, which begins a word.
    fn quants(&self, words: &[u8], (row, rows): (usize, usize), first: usize, quants: &mut [i8]) {
        let (bits, per_word, mask) = (self.bits.bits(), self.per_word(), self.mask());
        let middle = self.middle();
        let quant =
            |word: u32, place: usize| ((word >> (bits * place) & mask) as i32 - middle) as i8;
        if self.layout == AffineLayout::Awq {
            let (line, place) = (rows / per_word, AWQ_PLACE[row % 8]);
            for (column, out) in (first..).zip(quants) {
                *out = quant(word_at(words, column * line + row / per_word), place);
            }
            return;
        }
        for (line, quants) in (first / per_word..).zip(quants.chunks_mut(per_word)) {
            let word = word_at(words, line * rows + row);
            for (place, out) in quants.iter_mut().enumerate() {
                *out = quant(word, place);
            }
        }
    }

    /// Scales of a row, and minima made of zero points.
    fn floats(
        &self,
        [scales, zeros]: [&[u8]; 2],
        (row, rows): (usize, usize),
        s: &mut [f32],
        m: &mut [f32],
    ) {
        let (per_word, mask) = (self.per_word(), self.mask());
        let (place, added) = match self.layout {
            AffineLayout::Awq => (AWQ_PLACE[row % 8], 0),
            AffineLayout::Gptq { less_one } => (row % per_word, u32::from(less_one)),
            AffineLayout::Mlx => (0, 0),
        };
        for (g, (scale, minimum)) in s.iter_mut().zip(m).enumerate() {
            let word = word_at(zeros, g * (rows / per_word) + row / per_word);
            let zero = (word >> (self.bits.bits() * place)).wrapping_add(added) & mask;
            *scale = self.float_at(scales, g * rows + row);
            *minimum = *scale * (self.middle() - zero as i32) as f32;
        }
    }

    fn per_word(&self) -> usize {
        32 / self.bits.bits()
    }

    fn mask(&self) -> u32 {
        (1 << self.bits.bits()) - 1
    }

    /// What is taken from a stored integer.
    fn middle(&self) -> i32 {
        match self.bits {
            GroupBits::Four => 0,
            GroupBits::Eight => 128,
        }
    }

    fn float_bytes(&self) -> usize {
        self.float.bits() / 8
    }

    fn float_at(&self, bytes: &[u8], index: usize) -> f32 {
        let size = self.float_bytes();
        let bytes = &bytes[index * size..][..size];
        match (self.float, bytes) {
            (Dtype::F16, [a, b]) => half::f16::from_le_bytes([*a, *b]).to_f32(),
            (Dtype::BF16, [a, b]) => half::bf16::from_le_bytes([*a, *b]).to_f32(),
            (_, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
            _ => f32::NAN,
        }
    }
}

fn word_at(bytes: &[u8], index: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[index * 4..index * 4 + 4]);
    u32::from_le_bytes(word)
}
