//! Instruction sets for operations on vectors.
//!
//! In: what the processor reports, or a [`Cpu`] that someone chose. Out: a [`VectorIsa`] to dispatch
//! on. It does not know: any operation.
//! Layout: one value per kind of element; each dispatches on its own.
//! Contract: it holds only what this machine has.
//! Measured: asking for the detected one is a load and a comparison, below 1 ns.

use std::sync::OnceLock;

use crate::{Bf16Isa, Cpu, IntIsa, Isa};

/// The instruction sets that operations on vectors run on. Only those on bf16 differ in bits, see
/// [`Bf16Isa`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorIsa {
    /// For f32 and f16.
    pub(crate) float: Isa,
    /// For i8.
    pub(crate) int: IntIsa,
    /// For dot products of bf16: whether by `vdpbf16ps`.
    pub(crate) bf16: bool,
    /// For bits.
    pub(crate) bits: BitIsa,
}

/// How set bits are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BitIsa {
    /// Plain Rust.
    Scalar,
    /// `popcnt`.
    #[cfg(target_arch = "x86_64")]
    Popcnt,
    /// `vpopcntq` of 512 bits.
    #[cfg(target_arch = "x86_64")]
    Vpopcnt,
    /// NEON `cnt`.
    Neon,
}

impl VectorIsa {
    /// The fastest ones this machine has.
    #[inline]
    pub fn detect() -> VectorIsa {
        static DETECTED: OnceLock<VectorIsa> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let isa = Isa::detect();
            VectorIsa::checked(isa, IntIsa::beside(isa), Bf16Isa::beside(isa))
        })
    }

    /// Those of `cpu`.
    pub fn of(cpu: &Cpu) -> VectorIsa {
        VectorIsa::checked(cpu.isa(), cpu.int_isa(), cpu.bf16_isa())
    }

    /// All three are available.
    fn checked(float: Isa, int: IntIsa, bf16: Bf16Isa) -> VectorIsa {
        VectorIsa {
            float,
            int,
            bf16: bf16 != Bf16Isa::F32Fma && has_bmi2(),
            bits: BitIsa::beside(float),
        }
    }
}

impl BitIsa {
    fn beside(isa: Isa) -> BitIsa {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if is_x86_feature_detected!("avx512vpopcntdq") && has_bmi2() => {
                BitIsa::Vpopcnt
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx2 if is_x86_feature_detected!("popcnt") => BitIsa::Popcnt,
            Isa::Neon => BitIsa::Neon,
            _ => BitIsa::Scalar,
        }
    }
}

/// Every processor with AVX-512 has it, but nobody promised.
#[cfg(target_arch = "x86_64")]
fn has_bmi2() -> bool {
    is_x86_feature_detected!("bmi2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bmi2() -> bool {
    false
}
