//! Instruction sets for integer products.
//!
//! In: what the processor reports. Out: an [`IntIsa`] to dispatch on. It does not know: any weight.
//! [`IntIsa::run`] is the only place that picks a type of [`Dots`].
//! Layout, Contract: the types' own. Measured: see [`super::linear`].

use std::fmt;
use std::str::FromStr;

use super::dots::{Dots, Scalar};
use crate::Isa;

/// The instruction set that products of packed weights run on. All give the same bits.
///
/// A processor offers these beside its [`Isa`], which everything in f32 runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntIsa {
    /// Plain Rust: the definition.
    Scalar,
    /// `vpmaddubsw`: x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// `vpdpbusd` of 256 bits: AVX-VNNI on top of [`IntIsa::Avx2`].
    AvxVnni,
    /// `vpdpbusd` of 512 bits: AVX-512 F, BW, DQ, VL and VNNI on top of [`IntIsa::Avx2`].
    Avx512Vnni,
    /// AMX int8 tiles for more than a few rows, [`IntIsa::Avx512Vnni`] for those: Linux alone.
    AmxInt8,
    /// AArch64 NEON, widening multiplies.
    Neon,
    /// AArch64 NEON with `sdot`.
    NeonDot,
    /// AArch64 NEON with `smmla` for two and more input rows, [`IntIsa::NeonDot`] for one.
    NeonI8mm,
}

/// A product written once for every type of [`Dots`]. `run` must be `#[inline(always)]`, as must
/// all it calls with them, so that it is compiled inside the function that has the features on.
pub(crate) trait IntBody {
    fn run<D: Dots>(self);
}

impl IntIsa {
    /// All of them, slowest first on each architecture.
    pub const ALL: [IntIsa; 8] = [
        IntIsa::Scalar,
        IntIsa::Avx2,
        IntIsa::AvxVnni,
        IntIsa::Avx512Vnni,
        IntIsa::AmxInt8,
        IntIsa::Neon,
        IntIsa::NeonDot,
        IntIsa::NeonI8mm,
    ];

    /// The fastest one this machine has.
    pub fn detect() -> IntIsa {
        IntIsa::available().pop().unwrap_or(IntIsa::Scalar)
    }

    /// The fastest one this machine has that asks for no wider vectors than `isa`.
    pub fn beside(isa: Isa) -> IntIsa {
        let fits = |int: &IntIsa| match isa {
            Isa::Scalar => *int == IntIsa::Scalar,
            Isa::Avx2 => !matches!(int, IntIsa::Avx512Vnni | IntIsa::AmxInt8),
            Isa::Avx512 | Isa::Neon => true,
        };
        let fastest = IntIsa::available().into_iter().rfind(fits);
        fastest.unwrap_or(IntIsa::Scalar)
    }

    /// Those this machine has, slowest first; [`IntIsa::Scalar`] is always there.
    pub fn available() -> Vec<IntIsa> {
        IntIsa::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            IntIsa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            IntIsa::Avx2 => Isa::Avx2.is_available(),
            #[cfg(target_arch = "x86_64")]
            IntIsa::AvxVnni => Isa::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            IntIsa::Avx512Vnni => {
                Isa::Avx512.is_available() && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            IntIsa::AmxInt8 => {
                // What is made of its products rounds to bf16, which every processor with tiles does.
                let rounds = crate::Bf16Isa::Avx512Bf16.is_available();
                IntIsa::Avx512Vnni.is_available() && rounds && crate::amx::has_int8()
            }
            #[cfg(target_arch = "aarch64")]
            IntIsa::Neon => Isa::Neon.is_available(),
            #[cfg(target_arch = "aarch64")]
            IntIsa::NeonDot => {
                Isa::Neon.is_available() && std::arch::is_aarch64_feature_detected!("dotprod")
            }
            #[cfg(target_arch = "aarch64")]
            IntIsa::NeonI8mm => {
                IntIsa::NeonDot.is_available() && std::arch::is_aarch64_feature_detected!("i8mm")
            }
            _ => false,
        }
    }

    /// Runs `body` with the products of this instruction set; tiles have their own, see
    /// [`super::amx`].
    ///
    /// `self` must be available: a [`crate::Cpu`] only ever holds one that is.
    #[inline]
    pub(crate) fn run<B: IntBody>(self, body: B) {
        match self {
            IntIsa::Scalar => body.run::<Scalar>(),
            // SAFETY: a `Cpu` refuses an instruction set that `is_available` denies.
            #[cfg(target_arch = "x86_64")]
            IntIsa::Avx2 => unsafe { super::dots::avx2::run(body) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            IntIsa::AvxVnni => unsafe { super::dots::avx_vnni::run(body) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            IntIsa::Avx512Vnni | IntIsa::AmxInt8 => unsafe { super::dots::avx512_vnni::run(body) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            IntIsa::Neon => unsafe { super::dots::neon::run(body) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            IntIsa::NeonDot => unsafe { super::dots::neon::run_dot(body) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            IntIsa::NeonI8mm => unsafe { super::dots::neon::run_i8mm(body) },
            _ => unreachable!("an instruction set of another architecture is never available"),
        }
    }
}

impl fmt::Display for IntIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            IntIsa::Scalar => "scalar",
            IntIsa::Avx2 => "avx2",
            IntIsa::AvxVnni => "avx_vnni",
            IntIsa::Avx512Vnni => "avx512_vnni",
            IntIsa::AmxInt8 => "amx_int8",
            IntIsa::Neon => "neon",
            IntIsa::NeonDot => "neon_dot",
            IntIsa::NeonI8mm => "neon_i8mm",
        })
    }
}

/// A name that is no integer instruction set of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown integer instruction set {0:?}, expected scalar, avx2, avx_vnni, avx512_vnni, \
     amx_int8, neon, neon_dot or neon_i8mm"
)]
pub struct ParseIntIsaError(String);

impl FromStr for IntIsa {
    type Err = ParseIntIsaError;

    fn from_str(name: &str) -> Result<IntIsa, ParseIntIsaError> {
        let known = IntIsa::ALL.into_iter().find(|isa| isa.to_string() == name);
        known.ok_or_else(|| ParseIntIsaError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for isa in IntIsa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert!("vnni".parse::<IntIsa>().is_err());
    }

    #[test]
    fn the_set_beside_another_is_available_and_no_wider() {
        assert_eq!(IntIsa::beside(Isa::Scalar), IntIsa::Scalar);
        for isa in Isa::available() {
            assert!(IntIsa::beside(isa).is_available());
        }
        let narrow = IntIsa::beside(Isa::Avx2);
        assert!(!matches!(narrow, IntIsa::Avx512Vnni | IntIsa::AmxInt8));
        assert_eq!(IntIsa::beside(Isa::detect()), IntIsa::detect());
    }
}
