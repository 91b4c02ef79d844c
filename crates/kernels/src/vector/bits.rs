//! Packed bits: how many of two vectors differ.
//!
//! Layout: bytes as they lie, eight bits each, in any order that both vectors share.
//! Contract: exact; all instruction sets give the same count.
//! Measured: see [`super`].

use super::isa::BitIsa;

/// What bits are packed into: u8 or u64.
pub trait Word: Copy + sealed::Bytes {}

impl Word for u8 {}
impl Word for u64 {}

mod sealed {
    pub trait Bytes: Sized {
        /// The bytes of all words.
        fn bytes(words: &[Self]) -> &[u8];
    }

    impl Bytes for u8 {
        #[inline]
        fn bytes(words: &[u8]) -> &[u8] {
            words
        }
    }

    impl Bytes for u64 {
        #[inline]
        fn bytes(words: &[u64]) -> &[u8] {
            // SAFETY: each word is eight bytes, any of which is a u8.
            unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
        }
    }
}

/// The bits in which `a` and `b`, of one length, differ.
#[inline]
pub(super) fn hamming(isa: BitIsa, a: &[u8], b: &[u8]) -> u64 {
    // Asked first, as in `Isa::run_pair`.
    #[cfg(target_arch = "x86_64")]
    if isa == BitIsa::Vpopcnt {
        // SAFETY: a `VectorIsa` holds only what is available.
        return unsafe { x86::vpopcnt(a, b) };
    }
    match isa {
        BitIsa::Scalar => words(a, b),
        // SAFETY: a `VectorIsa` holds only what is available.
        #[cfg(target_arch = "x86_64")]
        BitIsa::Popcnt => unsafe { x86::popcnt(a, b) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        BitIsa::Neon => unsafe { neon::cnt(a, b) },
        #[allow(unreachable_patterns, reason = "the other architecture's")]
        _ => unreachable!("an instruction set of another architecture is never available"),
    }
}

/// As [`hamming`] for each row of `rows`, `[out.len(), query.len()]`.
pub(super) fn rows(isa: BitIsa, query: &[u8], rows: &[u8], out: &mut [u32]) {
    match isa {
        // SAFETY: as in `hamming`.
        #[cfg(target_arch = "x86_64")]
        BitIsa::Vpopcnt => unsafe { x86::vpopcnt_rows(query, rows, out) },
        _ => {
            for (row, out) in rows.chunks_exact(query.len()).zip(out) {
                *out = hamming(isa, query, row) as u32;
            }
        }
    }
}

/// By words of 64 bits.
#[inline(always)]
fn words(a: &[u8], b: &[u8]) -> u64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let word = |x: &[u8; 8]| u64::from_le_bytes(*x);
    let whole = a
        .iter()
        .zip(b)
        .map(|(a, b)| (word(a) ^ word(b)).count_ones());
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a ^ b).count_ones());
    whole.map(u64::from).sum::<u64>() + rest.map(u64::from).sum::<u64>()
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    /// # Safety
    /// The machine has popcnt.
    #[target_feature(enable = "popcnt")]
    pub(crate) unsafe fn popcnt(a: &[u8], b: &[u8]) -> u64 {
        super::words(a, b)
    }

    /// # Safety
    /// The machine has AVX-512 F, BW, DQ, VL and VPOPCNTDQ, and BMI2.
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,bmi2")]
    pub(crate) unsafe fn vpopcnt(a: &[u8], b: &[u8]) -> u64 {
        // SAFETY: the features are on.
        unsafe { vpopcnt_inline(a, b) }
    }

    /// # Safety
    /// As [`vpopcnt`].
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,bmi2")]
    pub(crate) unsafe fn vpopcnt_rows(query: &[u8], rows: &[u8], out: &mut [u32]) {
        for (row, out) in rows.chunks_exact(query.len()).zip(out) {
            // SAFETY: the features are on.
            *out = unsafe { vpopcnt_inline(query, row) } as u32;
        }
    }

    /// # Safety
    /// Inside a function that has the features of [`vpopcnt`] on.
    #[inline(always)]
    pub(crate) unsafe fn vpopcnt_inline(a: &[u8], b: &[u8]) -> u64 {
        let n = a.len().min(b.len());
        let (a, b) = (a.as_ptr(), b.as_ptr());
        // SAFETY: whole registers lie below n, and the mask reads what is left, 64 bytes or less.
        unsafe {
            // Straight on for what embeddings of bits have: a loop costs as much as they do.
            if n <= 64 {
                return _mm512_reduce_add_epi64(last(a, b, n)) as u64;
            }
            if n <= 128 {
                let sum = _mm512_add_epi64(whole(a, b), last(a.add(64), b.add(64), n - 64));
                return _mm512_reduce_add_epi64(sum) as u64;
            }
            let mut sum = _mm512_add_epi64(whole(a, b), whole(a.add(64), b.add(64)));
            let mut i = 128;
            while n - i > 64 {
                sum = _mm512_add_epi64(sum, whole(a.add(i), b.add(i)));
                i += 64;
            }
            sum = _mm512_add_epi64(sum, last(a.add(i), b.add(i), n - i));
            _mm512_reduce_add_epi64(sum) as u64
        }
    }

    /// # Safety
    /// 64 readable bytes at each, inside a function that has the features of [`vpopcnt`] on.
    #[inline(always)]
    unsafe fn whole(a: *const u8, b: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let (a, b) = (_mm512_loadu_si512(a.cast()), _mm512_loadu_si512(b.cast()));
            _mm512_popcnt_epi64(_mm512_xor_si512(a, b))
        }
    }

    /// # Safety
    /// `n` readable bytes at each, at most 64, inside a function that has the features of
    /// [`vpopcnt`] on.
    #[inline(always)]
    unsafe fn last(a: *const u8, b: *const u8, n: usize) -> __m512i {
        // SAFETY: the caller's promise; the mask reads no others.
        unsafe {
            let mask = _bzhi_u64(u64::MAX, n as u32);
            let a = _mm512_maskz_loadu_epi8(mask, a.cast());
            let b = _mm512_maskz_loadu_epi8(mask, b.cast());
            _mm512_popcnt_epi64(_mm512_xor_si512(a, b))
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) mod neon {
    #![allow(
        unused_unsafe,
        reason = "most AArch64 targets have NEON on, and its intrinsics are safe there"
    )]

    use std::arch::aarch64::*;

    /// # Safety
    /// The machine has NEON.
    #[target_feature(enable = "neon")]
    pub(crate) unsafe fn cnt(a: &[u8], b: &[u8]) -> u64 {
        let n = a.len().min(b.len()) / 16 * 16;
        // SAFETY: registers only.
        let mut sum = unsafe { vdupq_n_u64(0) };
        for i in (0..n).step_by(16) {
            // SAFETY: i + 16 <= n, the length of both or less.
            sum = unsafe {
                let x = veorq_u8(vld1q_u8(a.as_ptr().add(i)), vld1q_u8(b.as_ptr().add(i)));
                vpadalq_u32(sum, vpaddlq_u16(vpaddlq_u8(vcntq_u8(x))))
            };
        }
        // SAFETY: registers only.
        unsafe { vaddvq_u64(sum) + super::words(&a[n..], &b[n..]) }
    }
}
