//! How a row of keys or values becomes elements of a page, and what its scale is.
//!
//! Layout: see [`super`]; a scale is two bytes, the low one first, slot after slot.
//! Contract: f32 is kept as it is, f16 rounds to nearest even. int8 has one scale a row: max|x| / 127
//! in f32, rounded to f16; an element is x / scale, rounded to nearest even and held to -127..=127. A
//! row with a NaN or infinity has a scale that is NaN; a scale beyond f16 is infinite and does the
//! same, for the elements are then 0. Below 0.0078 a scale is subnormal and loses bits; a row of no
//! value above 3.7e-6 becomes 0.
//! Measured: see `attend`; a row is written once and read by every later one.

use half::f16;

use super::PAGE_TOKENS;
use crate::dense::{F16, F32, Format, Int8};
use crate::lanes::{LANES, Lanes};

/// The largest element of int8, so that both signs have the same ones.
const INT8_MAX: f32 = 127.0;
/// Bytes of a scale.
const SCALE_BYTES: usize = 2;

/// A format of the memory of keys and values. Those without scales leave all but `narrow` alone.
pub(crate) trait Kept: Format {
    /// Elements that the scales of one head's keys, or of its values, take in a page.
    const SCALES_LEN: usize = 0;

    /// The scale of a row.
    #[inline(always)]
    fn scale<L: Lanes>(_row: &[f32]) -> f16 {
        f16::ONE
    }

    /// 16 values of a row with this scale as elements.
    fn narrow<L: Lanes>(x: L, scale: f16) -> [Self::Bits; LANES];

    /// Writes the scale of the row in slot `slot`.
    #[inline(always)]
    fn put_scale(_scales: &mut [Self::Bits], _slot: usize, _scale: f16) {}

    /// The scales of slots `slot..slot + 16`, which multiply what was computed from the elements.
    #[inline(always)]
    fn scales<L: Lanes>(_scales: &[Self::Bits], _slot: usize) -> Option<L> {
        None
    }
}

impl Kept for F16 {
    #[inline(always)]
    fn narrow<L: Lanes>(x: L, _scale: f16) -> [u16; LANES] {
        x.to_f16()
    }
}

impl Kept for F32 {
    #[inline(always)]
    fn narrow<L: Lanes>(x: L, _scale: f16) -> [f32; LANES] {
        x.to_array()
    }
}

impl Kept for Int8 {
    const SCALES_LEN: usize = PAGE_TOKENS * SCALE_BYTES;

    #[inline(always)]
    fn scale<L: Lanes>(row: &[f32]) -> f16 {
        let (mut most, mut finite) = (L::zero(), L::zero());
        for d in (0..row.len()).step_by(LANES) {
            let x = L::get(row, d);
            most = x.max(x.neg()).max(most);
            // 0 as long as all are finite, then NaN: `max` would pass over one.
            finite = x.fma(L::zero(), finite);
        }
        f16::from_f32_const(most.max_lane() / INT8_MAX + finite.sum())
    }

    #[inline(always)]
    fn narrow<L: Lanes>(x: L, scale: f16) -> [i8; LANES] {
        let scale = scale.to_f32_const();
        let scale = if scale == 0.0 { 1.0 } else { scale };
        let whole = x.div(L::splat(scale)).round();
        let whole = whole.max(L::splat(-INT8_MAX)).min(L::splat(INT8_MAX));
        whole.to_array().map(|x| x as i8)
    }

    #[inline(always)]
    fn put_scale(scales: &mut [i8], slot: usize, scale: f16) {
        let to = &mut scales[slot * SCALE_BYTES..][..SCALE_BYTES];
        to.copy_from_slice(&scale.to_le_bytes().map(|byte| byte as i8));
    }

    #[inline(always)]
    fn scales<L: Lanes>(scales: &[i8], slot: usize) -> Option<L> {
        let bytes = &scales[slot * SCALE_BYTES..][..LANES * SCALE_BYTES];
        let mut bits = [0; LANES];
        for (bits, bytes) in bits.iter_mut().zip(bytes.as_chunks::<SCALE_BYTES>().0) {
            *bits = u16::from_le_bytes(bytes.map(|byte| byte as u8));
        }
        // SAFETY: an array of 16.
        Some(unsafe { L::load_f16(bits.as_ptr()) })
    }
}
