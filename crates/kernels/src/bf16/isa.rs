//! Instruction sets for bf16 products.
//!
//! In: what the processor reports. Out: a [`Bf16Isa`]. It does not know: any weight.

use std::fmt;
use std::str::FromStr;

use crate::Isa;

/// The instruction set that products of bf16 weights run on. Unlike those of [`Isa`] they differ in
/// bits: all but the first round inputs to bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bf16Isa {
    /// Weights widened to f32, multiplied by the [`Isa`] of everything else.
    F32Fma,
    /// `vdpbf16ps` of 512 bits: AVX512-BF16 on top of [`Isa::Avx512`].
    Avx512Bf16,
    /// `tdpbf16ps`: AMX-BF16 on top of [`Isa::Avx512`], Linux alone.
    AmxBf16,
}

impl Bf16Isa {
    /// All of them, slowest first.
    pub const ALL: [Bf16Isa; 3] = [Bf16Isa::F32Fma, Bf16Isa::Avx512Bf16, Bf16Isa::AmxBf16];

    /// The fastest one this machine has.
    pub fn detect() -> Bf16Isa {
        Bf16Isa::available().pop().unwrap_or(Bf16Isa::F32Fma)
    }

    /// The fastest one this machine has that asks for no wider vectors than `isa`.
    pub fn beside(isa: Isa) -> Bf16Isa {
        match isa {
            Isa::Avx512 => Bf16Isa::detect(),
            Isa::Scalar | Isa::Avx2 | Isa::Neon => Bf16Isa::F32Fma,
        }
    }

    /// Those this machine has, slowest first; [`Bf16Isa::F32Fma`] is always there.
    pub fn available() -> Vec<Bf16Isa> {
        let all = Bf16Isa::ALL.into_iter();
        all.filter(|isa| isa.is_available()).collect()
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Bf16Isa::F32Fma => true,
            #[cfg(target_arch = "x86_64")]
            Bf16Isa::Avx512Bf16 => {
                Isa::Avx512.is_available() && is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(target_arch = "x86_64")]
            Bf16Isa::AmxBf16 => Bf16Isa::Avx512Bf16.is_available() && crate::amx::has_bf16(),
            #[cfg(not(target_arch = "x86_64"))]
            Bf16Isa::Avx512Bf16 | Bf16Isa::AmxBf16 => false,
        }
    }
}

impl fmt::Display for Bf16Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Bf16Isa::F32Fma => "f32_fma",
            Bf16Isa::Avx512Bf16 => "avx512_bf16",
            Bf16Isa::AmxBf16 => "amx_bf16",
        })
    }
}

/// A name that is no bf16 instruction set of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown bf16 instruction set {0:?}, expected f32_fma, avx512_bf16 or amx_bf16")]
pub struct ParseBf16IsaError(String);

impl FromStr for Bf16Isa {
    type Err = ParseBf16IsaError;

    fn from_str(name: &str) -> Result<Bf16Isa, ParseBf16IsaError> {
        let known = Bf16Isa::ALL.into_iter().find(|isa| isa.to_string() == name);
        known.ok_or_else(|| ParseBf16IsaError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for isa in Bf16Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert!("bf16".parse::<Bf16Isa>().is_err());
    }

    #[test]
    fn narrow_sets_multiply_in_f32() {
        assert_eq!(Bf16Isa::beside(Isa::Scalar), Bf16Isa::F32Fma);
        assert_eq!(Bf16Isa::beside(Isa::Avx2), Bf16Isa::F32Fma);
        assert!(Bf16Isa::beside(Isa::detect()).is_available());
    }
}
