//! The blocks of ggml, which GGUF files hold: integers, and what they are multiplied with.
//!
//! In: a block's bytes. Out: its integers, and for each group of columns a scale and perhaps a minimum, in f32. A value is
//! scale * integer, or scale * integer + minimum rounded once. Scales and minima are products of an f16 and an integer of
//! at most 8 bits, and their products with the integers fit into 24 bits; so this is, to the bit, what ggml's own
//! dequantisation gives.
//! Source: ggml-common.h and the `dequantize_row` functions of ggml-quants.c of ggml.

use half::f16;

/// A kind of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    non_camel_case_types,
    missing_docs,
    reason = "each is the name that ggml has for it"
)]
pub enum GgmlBlock {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    MXFP4,
}

/// Values of a block of the "K" kinds.
const SUPER: usize = 256;
/// Values of a block of the others.
const PLAIN: usize = 32;
/// What the nibbles of `IQ4_NL` and `IQ4_XS` stand for.
const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
/// What the nibbles of `MXFP4` stand for, doubled.
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

impl GgmlBlock {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
    ];

    /// ggml's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::IQ4_NL => "IQ4_NL",
            Self::IQ4_XS => "IQ4_XS",
            Self::MXFP4 => "MXFP4",
        }
    }

    /// Values of a block.
    pub const fn values(self) -> usize {
        match self {
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K | Self::IQ4_XS => SUPER,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => PLAIN,
            Self::Q8_0 | Self::IQ4_NL | Self::MXFP4 => PLAIN,
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::IQ4_NL => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::IQ4_XS => 136,
            Self::MXFP4 => 17,
        }
    }

    /// Columns that share a scale.
    pub(super) const fn group(self) -> usize {
        match self {
            Self::Q2_K | Self::Q6_K => 16,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::IQ4_NL | Self::IQ4_XS | Self::MXFP4 => 32,
        }
    }

    /// Whether the integers fit into 4 bits: 0..=15 with minima, -8..=7 without.
    pub(super) const fn is_nibble(self) -> bool {
        matches!(self, Self::Q4_0 | Self::Q4_1 | Self::Q4_K | Self::Q2_K)
    }

    /// Whether a minimum is added.
    pub(super) const fn has_minima(self) -> bool {
        matches!(
            self,
            Self::Q4_1 | Self::Q5_1 | Self::Q2_K | Self::Q4_K | Self::Q5_K
        )
    }

    /// Reads one block: `quants` has room for its values, the others for its groups (`minima` for none where there are
    /// none).
    pub(super) fn read(
        self,
        block: &[u8],
        quants: &mut [i8],
        scales: &mut [f32],
        minima: &mut [f32],
    ) {
        match self {
            Self::Q4_0 => {
                scales[0] = half(block, 0);
                nibbles(&block[2..], quants, |q| q as i8 - 8);
            }
            Self::Q4_1 => {
                (scales[0], minima[0]) = (half(block, 0), half(block, 2));
                nibbles(&block[4..], quants, |q| q as i8);
            }
            Self::Q5_0 => {
                scales[0] = half(block, 0);
                nibbles(&block[6..], quants, |q| q as i8);
                fifth_bits(&block[2..6], quants, 16);
            }
            Self::Q5_1 => {
                (scales[0], minima[0]) = (half(block, 0), half(block, 2));
                nibbles(&block[8..], quants, |q| q as i8);
                fifth_bits(&block[4..8], quants, 0);
            }
            Self::Q8_0 => {
                scales[0] = half(block, 0);
                for (quant, byte) in quants.iter_mut().zip(&block[2..]) {
                    *quant = *byte as i8;
                }
            }
            Self::IQ4_NL => {
                scales[0] = half(block, 0);
                nibbles(&block[2..], quants, |q| IQ4[usize::from(q)]);
            }
            Self::MXFP4 => {
                scales[0] = half_of_power(block[0]);
                nibbles(&block[1..], quants, |q| FP4[usize::from(q)]);
            }
            Self::Q2_K => q2_k(block, quants, scales, minima),
            Self::Q3_K => q3_k(block, quants, scales),
            Self::Q4_K => {
                scales_and_minima(block, scales, minima);
                pairs(&block[16..], quants, |q| q as i8);
            }
            Self::Q5_K => {
                scales_and_minima(block, scales, minima);
                pairs(&block[48..], quants, |q| q as i8);
                for (group, quants) in quants.chunks_exact_mut(32).enumerate() {
                    for (quant, bits) in quants.iter_mut().zip(&block[16..48]) {
                        *quant += (bits >> group & 1) as i8 * 16;
                    }
                }
            }
            Self::Q6_K => q6_k(block, quants, scales),
            Self::IQ4_XS => {
                let (d, high) = (half(block, 0), u16::from_le_bytes([block[2], block[3]]));
                for (group, scale) in scales.iter_mut().enumerate() {
                    let low = block[4 + group / 2] >> (group % 2 * 4) & 15;
                    let six = i32::from(low) | i32::from(high >> (2 * group) & 3) << 4;
                    *scale = d * (six - 32) as f32;
                }
                for (bytes, quants) in block[8..].chunks_exact(16).zip(quants.chunks_exact_mut(32))
                {
                    nibbles(bytes, quants, |q| IQ4[usize::from(q)]);
                }
            }
        }
    }
}

/// The f16 at byte `at`.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 2^(e - 128).
fn half_of_power(e: u8) -> f32 {
    f32::from_bits(match e {
        0 | 1 => 0x0020_0000 << e,
        _ => u32::from(e - 1) << 23,
    })
}

/// 32 values of 16 bytes: the low halves are the first 16.
fn nibbles(bytes: &[u8], quants: &mut [i8], value: impl Fn(u8) -> i8) {
    let (low, high) = quants[..32].split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(&bytes[..16]) {
        (*low, *high) = (value(byte & 15), value(byte >> 4));
    }
}

/// 64 values of each 32 bytes: the low halves are the first 32.
fn pairs(bytes: &[u8], quants: &mut [i8], value: impl Fn(u8) -> i8) {
    for (bytes, quants) in bytes.chunks_exact(32).zip(quants.chunks_exact_mut(64)) {
        let (low, high) = quants.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            (*low, *high) = (value(byte & 15), value(byte >> 4));
        }
    }
}

/// Adds the fifth bits, and takes `zero` off.
fn fifth_bits(bytes: &[u8], quants: &mut [i8], zero: i8) {
    for (index, quant) in quants[..32].iter_mut().enumerate() {
        *quant += (bytes[index / 8] >> (index % 8) & 1) as i8 * 16 - zero;
    }
}

/// The scales and minima of `Q4_K` and `Q5_K`: eight times 6 bits of each in 12 bytes behind their two f16.
fn scales_and_minima(block: &[u8], scales: &mut [f32], minima: &mut [f32]) {
    let (d, least, bits) = (half(block, 0), half(block, 2), &block[4..16]);
    for group in 0..8 {
        let (scale, minimum) = match group {
            0..4 => (bits[group] & 63, bits[group + 4] & 63),
            _ => (
                bits[group + 4] & 15 | bits[group - 4] >> 6 << 4,
                bits[group + 4] >> 4 | bits[group] >> 6 << 4,
            ),
        };
        scales[group] = d * f32::from(scale);
        minima[group] = -(least * f32::from(minimum));
    }
}

fn q2_k(block: &[u8], quants: &mut [i8], scales: &mut [f32], minima: &mut [f32]) {
    let (d, least) = (half(block, 80), half(block, 82));
    for (group, byte) in block[..16].iter().enumerate() {
        scales[group] = d * f32::from(byte & 15);
        minima[group] = -(least * f32::from(byte >> 4));
    }
    for (index, quant) in quants.iter_mut().enumerate() {
        let byte = block[16 + index / 128 * 32 + index % 32];
        *quant = (byte >> (index % 128 / 32 * 2) & 3) as i8;
    }
}

/// Scales of 6 bits about 0, times integers from -4 to 3: the products are within -124..=128, so their opposites are int8,
/// and all of the block has the scale -d.
fn q3_k(block: &[u8], quants: &mut [i8], scales: &mut [f32]) {
    let (high, low, bits) = (&block[..32], &block[32..96], &block[96..108]);
    scales.fill(-half(block, 108));
    for (index, quant) in quants.iter_mut().enumerate() {
        let group = index / 16;
        let four = bits[group % 8] >> (group / 8 * 4) & 15;
        let two = bits[8 + group % 4] >> (group / 4 * 2) & 3;
        let scale = i16::from(four | two << 4) - 32;
        let byte = low[index / 128 * 32 + index % 32];
        let q = i16::from(byte >> (index % 128 / 32 * 2) & 3);
        let third = i16::from(high[index % 32] >> (index / 32) & 1);
        *quant = -(scale * (q - 4 + 4 * third)) as i8;
    }
}

fn q6_k(block: &[u8], quants: &mut [i8], scales: &mut [f32]) {
    let (low, high, d) = (&block[..128], &block[128..192], half(block, 208));
    for (scale, byte) in scales.iter_mut().zip(&block[192..208]) {
        *scale = d * f32::from(*byte as i8);
    }
    for (index, quant) in quants.iter_mut().enumerate() {
        let (part, inside) = (index / 128, index % 128);
        let four = low[part * 64 + inside % 64] >> (inside / 64 * 4) & 15;
        let two = high[part * 32 + inside % 32] >> (inside / 32 * 2) & 3;
        *quant = (four | two << 4) as i8 - 32;
    }
}
