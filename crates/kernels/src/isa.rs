//! Instruction sets: which one the bodies run on, and what the machine offers.
//!
//! In: what the processor reports. Out: an [`Isa`] to dispatch on, a [`Feature`] list for people.
//! It does not know: any operation. [`Isa::run`] is the only place that picks a vector type.

use std::fmt;
use std::str::FromStr;

use crate::lanes::{Body, PairBody, Scalar};

/// The instruction set that every operation of a [`crate::Cpu`] runs on. All give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust; on x86 without fused multiply-add it is right but very slow.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C (Haswell, Zen and later).
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL on top of [`Isa::Avx2`].
    Avx512,
    /// AArch64 NEON.
    Neon,
}

impl Isa {
    /// All of them, slowest first.
    pub const ALL: [Isa; 4] = [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The fastest one this machine has.
    pub fn detect() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Scalar)
    }

    /// Those this machine has, slowest first; [`Isa::Scalar`] is always there.
    pub fn available() -> Vec<Isa> {
        Isa::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => has_avx2() && has_avx512(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }

    /// Runs `body` with the vectors of this instruction set.
    ///
    /// `self` must be available: a [`crate::Cpu`] or [`crate::Solo`] only ever holds one that is.
    #[inline]
    pub(crate) fn run<B: Body>(self, body: B) -> B::Out {
        match self {
            Isa::Scalar => body.run::<Scalar>(),
            // SAFETY: `Cpu::new` and `Solo::new` refuse an instruction set that `is_available` denies.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { crate::lanes::avx2::run(body) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { crate::lanes::avx512::run(body) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { crate::lanes::neon::run(body) },
            _ => unreachable!("an instruction set of another architecture is never available"),
        }
    }
}

impl Isa {
    /// Runs `B` on two vectors of one length, as [`Isa::run`].
    #[inline]
    pub(crate) fn run_pair<B: PairBody>(self, a: &[B::Element], b: &[B::Element]) -> B::Out {
        // Asked first, the others out of sight: in one `match` they become a jump through a table, which
        // costs a tenth of a product of 384 elements.
        #[cfg(target_arch = "x86_64")]
        if self == Isa::Avx512 {
            let n = a.len().min(b.len());
            // SAFETY: n elements of each; as in `run`.
            return unsafe { crate::lanes::avx512::run_pair::<B>(a.as_ptr(), b.as_ptr(), n) };
        }
        self.run_other_pair::<B>(a, b)
    }

    /// [`Isa::run_pair`] of the sets that are not asked for first.
    #[inline(never)]
    fn run_other_pair<B: PairBody>(self, a: &[B::Element], b: &[B::Element]) -> B::Out {
        let n = a.len().min(b.len());
        let (a, b) = (a.as_ptr(), b.as_ptr());
        match self {
            // SAFETY: n elements of each.
            Isa::Scalar => unsafe { B::run::<Scalar>(a, b, n) },
            // SAFETY: as above, and as in `run`.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { crate::lanes::avx2::run_pair::<B>(a, b, n) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { crate::lanes::neon::run_pair::<B>(a, b, n) },
            _ => unreachable!("an instruction set of another architecture is never available"),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        })
    }
}

/// A name that is no instruction set of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set {0:?}, expected scalar, avx2, avx512 or neon")]
pub struct ParseIsaError(String);

impl FromStr for Isa {
    type Err = ParseIsaError;

    fn from_str(name: &str) -> Result<Isa, ParseIsaError> {
        let known = Isa::ALL.into_iter().find(|isa| isa.to_string() == name);
        known.ok_or_else(|| ParseIsaError(name.to_owned()))
    }
}

/// Something a processor may offer, by the name its vendor uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Lower-case name, as in `/proc/cpuinfo` where it stands there.
    pub name: &'static str,
    /// Whether this machine has it.
    pub present: bool,
}

/// What this machine offers of the features that matter here, used today or not.
#[cfg(target_arch = "x86_64")]
pub fn features() -> Vec<Feature> {
    macro_rules! detected {
        ($($name:literal = $feature:tt),*) => {
            vec![$(Feature { name: $name, present: is_x86_feature_detected!($feature) }),*]
        };
    }
    let mut list = detected!(
        "avx2" = "avx2",
        "fma" = "fma",
        "f16c" = "f16c",
        "avx512f" = "avx512f",
        "avx512bw" = "avx512bw",
        "avx512dq" = "avx512dq",
        "avx512vl" = "avx512vl",
        "avx512_vnni" = "avx512vnni",
        "avx512_bf16" = "avx512bf16",
        "avx_vnni" = "avxvnni"
    );
    list.extend(amx());
    list
}

/// What this machine offers of the features that matter here, used today or not.
#[cfg(target_arch = "aarch64")]
pub fn features() -> Vec<Feature> {
    macro_rules! detected {
        ($($name:tt),*) => {
            vec![$(Feature {
                name: $name,
                present: std::arch::is_aarch64_feature_detected!($name),
            }),*]
        };
    }
    detected!("neon", "dotprod", "i8mm", "bf16", "sve")
}

/// What this machine offers of the features that matter here: none are known for this architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn features() -> Vec<Feature> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// The tile features: std's detection of them is not stable yet.
#[cfg(target_arch = "x86_64")]
fn amx() -> impl Iterator<Item = Feature> {
    let names = ["amx_tile", "amx_int8", "amx_bf16"];
    let bits = crate::amx::cpu_bits();
    let features = names.into_iter().zip(bits);
    features.map(|(name, present)| Feature { name, present })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert!("sse9".parse::<Isa>().is_err());
    }

    #[test]
    fn the_detected_set_is_available() {
        assert!(Isa::detect().is_available());
        assert_eq!(Isa::available().first(), Some(&Isa::Scalar));
    }
}
