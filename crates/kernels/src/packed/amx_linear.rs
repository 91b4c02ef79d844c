//! Packed products by AMX: the tasks of one product.
//!
//! Layout, Contract: see [`super::linear`]. A task takes some groups of them and some tiles of weight, four at a time,
//! which it expands first where they are of 4 bits; [`super::amx`] multiplies.
//! Measured: see [`super::linear`].

use super::activations::Activations;
use super::amx::{self, Product, QUAD, Target, WeightTile};
use super::dots::Dots;
use super::int_isa::{IntBody, IntIsa};
use super::{Packed, PackedScheme, PackedShape, SubBlock, TILE, product};
use crate::cpu::Cpu;
use crate::parts::Parts;
use crate::scratch;

/// `out = x weight^T + bias` in tasks that `cut` cuts, given how many parts the input rows come in.
///
/// # Safety
/// The machine has [`crate::IntIsa::AmxInt8`], the rows are grouped, the lengths of bias and output fit, and the weight is
/// not grouped: its scales would be other ones.
pub(super) unsafe fn product(
    cpu: &Cpu,
    weight: Packed<'_>,
    bias: Option<&[f32]>,
    x: &Activations,
    out: &Parts<'_, f32>,
    cut: impl Fn(usize, usize) -> (usize, usize),
) {
    let product = Product {
        x,
        bias,
        out: Target {
            floats: out,
            stride: weight.rows(),
            row: 0,
            column: 0,
            far: true,
        },
    };
    let (tiles, span) = cut(x.groups(), TILE);
    let (parts, groups) = (weight.tiles().div_ceil(tiles), x.groups());
    let floats = amx::FLOATS + expanded_floats(weight);
    cpu.run(parts * groups.div_ceil(span), &|i| {
        let (first, start) = (i % parts * tiles, i / parts * span);
        let (end, groups) = (
            weight.tiles().min(first + tiles),
            start..groups.min(start + span),
        );
        // SAFETY: the caller's promise; a tile meets a group of rows in one task alone.
        let product = unsafe { product.configure() };
        scratch::with(floats, |scratch| {
            let (scratch, expanded) = scratch.split_at_mut(amx::FLOATS);
            for tile in (first..end).step_by(QUAD) {
                let count = QUAD.min(end - tile);
                let quad = operands(cpu.int_isa(), weight, tile, count, expanded);
                // As if the next ones followed, which in a part of a weight they may not.
                let stored = weight.tile(tile).bytes;
                let bytes = QUAD * stored.len();
                let ahead = (stored.as_ptr().wrapping_add(bytes), bytes);
                product.multiply(groups.clone(), &quad[..count], ahead, scratch);
            }
        });
    });
}

/// Floats of memory for four expanded tiles.
pub(super) fn expanded_floats(weight: Packed<'_>) -> usize {
    match weight.shape().scheme() {
        PackedScheme::Q8 | PackedScheme::Grouped { .. } => 0,
        PackedScheme::Q4 { .. } => QUAD * tile_floats(weight),
    }
}

fn tile_floats(weight: Packed<'_>) -> usize {
    TILE * weight.shape().padded_columns() / size_of::<f32>()
}

/// Tiles `first..first + count` of the weight as int8, expanded where they are stored otherwise.
/// The last one stands in for those that are missing.
pub(super) fn operands<'a>(
    isa: IntIsa,
    weight: Packed<'a>,
    first: usize,
    count: usize,
    expanded: &'a mut [f32],
) -> [WeightTile<'a>; QUAD] {
    let shape = weight.shape();
    if let PackedScheme::Q4 { sub } = shape.scheme() {
        for (i, room) in expanded
            .chunks_exact_mut(tile_floats(weight))
            .take(count)
            .enumerate()
        {
            // SAFETY: as many bytes as the floats have; any bits are a float.
            let room = unsafe {
                std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<i8>(), size_of_val(room))
            };
            let tile = weight.tile(first + i).bytes;
            isa.run(Expand {
                tile,
                shape,
                sub,
                out: room,
            });
        }
    }
    std::array::from_fn(|i| {
        let i = i.min(count - 1);
        let tile = weight.tile(first + i);
        let (scales, stored) = tile.bytes.split_at(shape.scales_bytes());
        let values = match shape.scheme() {
            PackedScheme::Q8 | PackedScheme::Grouped { .. } => stored.as_ptr().cast(),
            PackedScheme::Q4 { .. } => expanded[i * tile_floats(weight)..].as_ptr().cast(),
        };
        // SAFETY: a tile has 16 bytes for each padded column, there or expanded; scales begin on a
        // multiple of 64 and are whole pairs.
        let (values, scales) = unsafe {
            (
                std::slice::from_raw_parts(values, TILE * shape.padded_columns()),
                std::slice::from_raw_parts(scales.as_ptr().cast(), scales.len() / 2),
            )
        };
        WeightTile {
            values,
            scales,
            first: tile.rows.start,
            rows: tile.rows.len(),
        }
    })
}

/// A tile of 4 bits that becomes int8 in `out`.
struct Expand<'a> {
    tile: &'a [u8],
    shape: PackedShape,
    sub: SubBlock,
    out: &'a mut [i8],
}

impl IntBody for Expand<'_> {
    #[inline(always)]
    fn run<D: Dots>(self) {
        match self.sub {
            SubBlock::Of16 => product::expand::<D, 16>(self.tile, self.shape, self.sub, self.out),
            SubBlock::Of32 => product::expand::<D, 32>(self.tile, self.shape, self.sub, self.out),
        }
    }
}
