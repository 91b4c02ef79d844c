//! Groups with a scale and perhaps a minimum: as they come, or from f32 weights, and back.
//!
//! Layout: see [`super::super`].
//! Contract: [`pack_grouped`] keeps every bit of what it is given. From f32 weights, by group, in
//! f32: of 8 bits S = max|w| / n and q = w / S, where n, of 127 down to 108, is the one with the
//! smallest squared error, the larger where two are equal; of 4 bits S = the w of the largest
//! magnitude / -8 and q = w / S; with minima S = (max w - min w) / (the largest integer - the least) and q = the
//! least integer + (w - min w) / S, the minimum being what 0 stands for. q is rounded to nearest
//! even and kept within its bits. Where S = 0, q is the one nearest to 0 or the least.
//! A short group's error depends much on where its values happen to lie between two integers: with
//! a choice of scales all-MiniLM-L6-v2 in groups of 16 has a least cosine of 0.9997 over 200 texts,
//! with n = 127 alone 0.99948.
//! Measured: speed not measured; files that hold groups bring them along.

use super::{PackError, Unfit, check, rounded};
use crate::packed::grouped::Form;
use crate::packed::{BLOCK, CHUNK, GroupBits, PackedShape};

/// Stores groups that are known, as files of other makers have them, into `out`, of
/// `shape.bytes()` bytes; `shape.scheme()` is a [`crate::PackedScheme::Grouped`]. `quants`: `[rows,
/// columns]`, -128..=127 of 8 bits, 0..=15 of 4 with minima and -8..=7 without; `scales` and
/// `minima`: `[rows, groups]`, where groups = columns / columns of a group, rounded up. All
/// row-major. An element is scale * quant, plus the minimum. Scales may be any numbers, see
/// [`crate::Packed::non_finite`]. On an error `out` is partly written.
///
/// # Errors
/// [`PackError::Groups`] where the scheme is not grouped or has no minima or needs them;
/// [`PackError::Length`]; [`PackError::Quant`].
pub fn pack_grouped(
    quants: &[i8],
    scales: &[f32],
    minima: Option<&[f32]>,
    shape: PackedShape,
    out: &mut [u8],
) -> Result<(), PackError> {
    let (scheme, columns) = (shape.scheme(), shape.columns());
    let fits = |form: &Form| form.minimum == minima.is_some();
    let Some(form) = scheme.grouped().filter(fits) else {
        let minima = minima.is_some();
        return Err(PackError::Groups { scheme, minima });
    };
    let groups = columns.div_ceil(form.group);
    check("the quants", shape, shape.rows() * columns, quants.len())?;
    check("the scales", shape, shape.rows() * groups, scales.len())?;
    if let Some(minima) = minima {
        check("the minima", shape, shape.rows() * groups, minima.len())?;
    }
    check("the packed form", shape, shape.bytes(), out.len())?;
    out.fill(0);
    for (row, quants) in quants.chunks_exact(columns).enumerate() {
        let (tile, lane) = shape.place(row);
        let tile = &mut out[tile * shape.tile_bytes()..(tile + 1) * shape.tile_bytes()];
        for g in 0..groups {
            let at = row * groups + g;
            let minimum = minima.map_or(0.0, |minima| minima[at]);
            form.put_scale(tile, (lane, g), (scales[at], minimum));
        }
        check_quants(form, row, quants)?;
        put_quants(form, &mut tile[shape.scales_bytes()..], lane, quants);
    }
    Ok(())
}

/// Refuses integers of more than 4 bits where there are 4.
fn check_quants(form: Form, row: usize, quants: &[i8]) -> Result<(), PackError> {
    let (low, high) = form.ends();
    let fits = |value: &i8| (low..=high).contains(value);
    // Without a branch for each of them.
    if quants.iter().fold(true, |all, value| all & fits(value)) {
        return Ok(());
    }
    let column = quants.iter().position(|value| !fits(value));
    let column = column.expect("one of them does not fit");
    let value = quants[column];
    Err(PackError::Quant { row, column, value })
}

/// Writes the integers of row `lane`, four bytes at a time.
fn put_quants(form: Form, values: &mut [u8], lane: usize, quants: &[i8]) {
    let columns = match form.bits {
        GroupBits::Eight => 4,
        GroupBits::Four => 8,
    };
    let (whole, rest) = quants.split_at(quants.len() / columns * columns);
    let lines = values.chunks_exact_mut(CHUNK);
    match form.bits {
        GroupBits::Eight => {
            for (line, q) in lines.zip(whole.as_chunks::<4>().0) {
                line[4 * lane..4 * lane + 4].copy_from_slice(&q.map(|q| q as u8));
            }
        }
        GroupBits::Four => {
            let low = form.ends().0;
            for (line, q) in lines.zip(whole.as_chunks::<8>().0) {
                let q = q.map(|q| (q - low) as u8);
                let both = [0, 1, 2, 3].map(|i| q[i] | q[i + 4] << 4);
                line[4 * lane..4 * lane + 4].copy_from_slice(&both);
            }
        }
    }
    for (column, &value) in rest.iter().enumerate() {
        form.put_quant(values, lane, whole.len() + column, value);
    }
}

/// Writes block `block` of row `lane` into `tile`; `weights` has its columns.
pub(super) fn pack_block(
    weights: &[f32],
    (shape, form): (PackedShape, Form),
    tile: &mut [u8],
    (lane, block): (usize, usize),
) -> Result<(), Unfit> {
    let (front, values) = tile.split_at_mut(shape.scales_bytes());
    for (i, weights) in weights.chunks(form.group).enumerate() {
        let column = block * BLOCK + i * form.group;
        let fit = Fit::of(form, weights)?;
        let place = (lane, column / form.group);
        form.put_scale(front, place, (fit.scale, fit.minimum()));
        for (i, &w) in weights.iter().enumerate() {
            form.put_quant(values, lane, column + i, fit.quant(w));
        }
    }
    Ok(())
}

/// The values of block `block` of row `lane` of `tile`, as many as `out` has room for.
pub(super) fn unpack_block(
    tile: &[u8],
    (shape, form): (PackedShape, Form),
    (lane, block): (usize, usize),
    out: &mut [f32],
) {
    let (front, values) = tile.split_at(shape.scales_bytes());
    for (i, out) in out.chunks_mut(form.group).enumerate() {
        let column = block * BLOCK + i * form.group;
        let (scale, minimum) = form.scale(front, lane, column / form.group);
        for (i, out) in out.iter_mut().enumerate() {
            let q = f32::from(form.quant(values, lane, column + i));
            *out = match form.minimum {
                true => scale.mul_add(q, minimum),
                false => scale * q,
            };
        }
    }
}

/// What stands for a group: w is about `scale * (q - zero) + low`.
struct Fit {
    scale: f32,
    low: f32,
    zero: f32,
    /// The least and the largest q.
    ends: (f32, f32),
}

/// What the largest magnitude of a group of 8 bits may become.
const PEAKS: std::ops::RangeInclusive<u8> = 108..=127;

/// The scale of 8 bits with the smallest squared error; `most`: the largest magnitude.
fn finest(weights: &[f32], most: f32) -> f32 {
    let mut best = (f32::INFINITY, most / f32::from(*PEAKS.end()));
    for peak in PEAKS.rev() {
        let scale = most / f32::from(peak);
        // Where this is not finite, neither is the scale, or all q are 0.
        let inverse = 1.0 / scale;
        let error = |w: &f32| {
            let error = w * inverse - rounded(w * inverse);
            error * error
        };
        let error = weights.iter().map(error).sum::<f32>() * scale * scale;
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}

impl Fit {
    fn of(form: Form, weights: &[f32]) -> Result<Fit, Unfit> {
        let (mut low, mut high) = (weights[0], weights[0]);
        for &w in weights {
            (low, high) = (low.min(w), high.max(w));
        }
        let furthest = if -low > high { low } else { high };
        let (least, largest) = form.ends();
        let ends = (f32::from(least), f32::from(largest));
        let (scale, low, zero) = match (form.minimum, form.bits) {
            (true, _) => ((high - low) / (ends.1 - ends.0), low, ends.0),
            (false, GroupBits::Eight) => (finest(weights, furthest.abs()), 0.0, 0.0),
            (false, GroupBits::Four) => (furthest / -8.0, 0.0, 0.0),
        };
        if !scale.is_finite() {
            return Err(Unfit(furthest.abs()));
        }
        Ok(Fit {
            scale,
            low,
            zero,
            ends,
        })
    }

    fn minimum(&self) -> f32 {
        self.low - self.zero * self.scale
    }

    fn quant(&self, w: f32) -> i8 {
        if self.scale == 0.0 {
            return self.zero as i8;
        }
        let q = rounded((w - self.low) / self.scale) + self.zero;
        q.clamp(self.ends.0, self.ends.1) as i8
    }
}
