//! Packed rows as f32, where products in f32 read them.
//!
//! Layout: a panel as [`crate::panel`] has it: 64 floats for each column, one for each of 64 rows.
//! Contract: the values that [`super::unpack`] gives, exactly; zeros for rows that there are none of.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512: 0.05 ns a weight, a tenth of what the product of 96 rows
//! takes. Picking single bytes instead of shifting words took many times as long.

use super::{GroupBits, Packed, TILE};
use crate::lanes::{Body, LANES, Lanes};
use crate::panel::PANEL;

/// Bytes of 4 columns of a tile.
const STEP_BYTES: usize = 4 * TILE;

impl Packed<'_> {
    /// Whether products in f32 may read it as it lies: 8 bits in groups without minima, whose tiles are rows one behind
    /// the other.
    pub fn expands(&self) -> bool {
        let (form, segment) = (self.shape().scheme().grouped(), self.shape().segment());
        let plain = form.is_some_and(|form| form.bits == GroupBits::Eight && !form.minimum);
        plain && (segment.is_multiple_of(TILE) || segment == self.rows())
    }
}

/// Writes panel `panel` of `weight` to `out`, `[columns, 64]`.
pub(crate) struct Expand<'a> {
    pub(crate) weight: Packed<'a>,
    pub(crate) panel: usize,
    pub(crate) out: &'a mut [f32],
}

impl Body for Expand<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for i in 0..PANEL / TILE {
            let tile = self.panel * (PANEL / TILE) + i;
            let columns = self.out[i * LANES..].chunks_mut(PANEL);
            if tile < self.weight.tiles() {
                expand_tile::<L>(self.weight, tile, columns);
            } else {
                columns.for_each(|column| L::zero().put(column, 0));
            }
        }
    }
}

/// A tile of the weight to the first 16 floats of each column.
#[inline(always)]
fn expand_tile<'a, L: Lanes>(
    weight: Packed<'_>,
    tile: usize,
    mut columns: impl Iterator<Item = &'a mut [f32]>,
) {
    let shape = weight.shape();
    let form = shape.scheme().grouped();
    let form = form.expect("`Packed::expands` said so");
    let (front, values) = weight.tile(tile).bytes.split_at(shape.scales_bytes());
    let groups = values.chunks(form.group * TILE);
    for (front, values) in front.chunks_exact(LANES * size_of::<f32>()).zip(groups) {
        // SAFETY: 16 floats of any bits.
        let scale = unsafe { L::load(front.as_ptr().cast()) };
        for values in values.as_chunks::<STEP_BYTES>().0 {
            let mut words = [0u32; LANES];
            for (word, bytes) in words.iter_mut().zip(values.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            for c in 0..4 {
                let Some(column) = columns.next() else {
                    return;
                };
                // Byte c of each row, as shifts: these are vectors to the compiler, single bytes are not.
                let mut quants = [0.0; LANES];
                for (quant, word) in quants.iter_mut().zip(&words) {
                    *quant = ((word << (24 - 8 * c)) as i32 >> 24) as f32;
                }
                L::from_array(quants).mul(scale).put(column, 0);
            }
        }
    }
}
