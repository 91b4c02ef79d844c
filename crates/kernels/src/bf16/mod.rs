//! Products of input rows with a bf16 weight, by instructions that multiply bf16.
//!
//! In: a weight row-major as stored, input rows of f32. Out: outputs `[rows, out]`. It does not
//! know: packed weights, models.
//! Layout: input rows are rounded once for each product, see [`rows`].
//! Contract: inputs are rounded to bf16, to nearest even; NaN and infinities stay. Then each output
//! adds up its columns in an order that depends on their number alone, in f32 as the processor's
//! instruction does it: subnormal numbers count as zeros, and the order within an instruction is
//! its own. So bits depend on the machine, but on no machine on the rows beside, the number of
//! threads or how rows were cut: a [`Bf16Isa`] is one sequence of instructions for every number of
//! rows.
//! Measured: see [`avx512`] and [`amx`].

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
#[cfg(target_arch = "x86_64")]
mod rows;

pub use isa::{Bf16Isa, ParseBf16IsaError};

#[cfg(target_arch = "x86_64")]
use crate::cpu::Cpu;
use crate::linear::Shared;

/// Multiplies `weight`, bf16 bits as stored, unless the processor does that in f32: then false.
#[cfg(target_arch = "x86_64")]
pub(crate) fn product(cpu: &Cpu, weight: &[u16], shared: Shared<'_>) -> bool {
    match cpu.bf16_isa() {
        Bf16Isa::F32Fma => return false,
        // SAFETY: a `Cpu` refuses a set that `is_available` denies.
        Bf16Isa::Avx512Bf16 => unsafe { avx512::product(cpu, weight, shared) },
        // SAFETY: as above.
        Bf16Isa::AmxBf16 => unsafe { amx::product(cpu, weight, shared) },
    }
    true
}

/// Multiplies `weight`, bf16 bits as stored, unless the processor does that in f32: then false.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn product(_: &crate::cpu::Cpu, _: &[u16], _: Shared<'_>) -> bool {
    false
}

/// To nearest even, without a branch so that vectors can follow.
#[inline(always)]
pub(crate) fn bf16_from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet = bits >> 16 | 0x40;
    (if x.is_nan() { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_what_is_not_finite() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let x = f32::from_bits(bits);
            let (found, expected) = (bf16_from_f32(x), half::bf16::from_f32(x));
            let same = found == expected.to_bits() || (x.is_nan() && expected.is_nan());
            assert!(same, "{x} became {found:#x}");
            assert_eq!(x.is_nan(), half::bf16::from_bits(found).is_nan());
        }
        for x in [
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            1.0 + 1.0 / 256.0,
        ] {
            assert_eq!(bf16_from_f32(x), half::bf16::from_f32(x).to_bits());
        }
    }
}
