//! The number types of GGUF tensors: their numbers in the file, names and sizes.
//!
//! It does not know: what the bits of a block mean.
//! Source: ggml.h and ggml-common.h of ggml.

use crate::checkpoint::Dtype;
use crate::checkpoint::blocks::GgmlBlock;

/// A type: its number, its name, values of a block, bytes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GgmlType {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) values: usize,
    pub(super) bytes: usize,
    pub(super) stored: Stored,
}

/// How this program reads a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// Numbers one after the other.
    Dense(Dtype),
    /// Blocks.
    Blocks(GgmlBlock),
    /// Not at all.
    Unknown,
}

impl GgmlType {
    /// The type of that number, or `None` for one that the format does not have.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        TYPES.iter().copied().find(|kind| kind.number == number)
    }
}

const fn dense(number: u32, name: &'static str, bytes: usize, dtype: Dtype) -> GgmlType {
    GgmlType {
        number,
        name,
        values: 1,
        bytes,
        stored: Stored::Dense(dtype),
    }
}

const fn blocks(number: u32, block: GgmlBlock) -> GgmlType {
    GgmlType {
        number,
        name: block.name(),
        values: block.values(),
        bytes: block.bytes(),
        stored: Stored::Blocks(block),
    }
}

const fn unknown(number: u32, name: &'static str, values: usize, bytes: usize) -> GgmlType {
    GgmlType {
        number,
        name,
        values,
        bytes,
        stored: Stored::Unknown,
    }
}

const TYPES: [GgmlType; 35] = [
    dense(0, "F32", 4, Dtype::F32),
    dense(1, "F16", 2, Dtype::F16),
    blocks(2, GgmlBlock::Q4_0),
    blocks(3, GgmlBlock::Q4_1),
    blocks(6, GgmlBlock::Q5_0),
    blocks(7, GgmlBlock::Q5_1),
    blocks(8, GgmlBlock::Q8_0),
    unknown(9, "Q8_1", 32, 36),
    blocks(10, GgmlBlock::Q2_K),
    blocks(11, GgmlBlock::Q3_K),
    blocks(12, GgmlBlock::Q4_K),
    blocks(13, GgmlBlock::Q5_K),
    blocks(14, GgmlBlock::Q6_K),
    unknown(15, "Q8_K", 256, 292),
    unknown(16, "IQ2_XXS", 256, 66),
    unknown(17, "IQ2_XS", 256, 74),
    unknown(18, "IQ3_XXS", 256, 98),
    unknown(19, "IQ1_S", 256, 50),
    blocks(20, GgmlBlock::IQ4_NL),
    unknown(21, "IQ3_S", 256, 110),
    unknown(22, "IQ2_S", 256, 82),
    blocks(23, GgmlBlock::IQ4_XS),
    dense(24, "I8", 1, Dtype::I8),
    dense(25, "I16", 2, Dtype::I16),
    dense(26, "I32", 4, Dtype::I32),
    dense(27, "I64", 8, Dtype::I64),
    dense(28, "F64", 8, Dtype::F64),
    unknown(29, "IQ1_M", 256, 56),
    dense(30, "BF16", 2, Dtype::BF16),
    unknown(34, "TQ1_0", 256, 54),
    unknown(35, "TQ2_0", 256, 66),
    blocks(39, GgmlBlock::MXFP4),
    unknown(40, "NVFP4", 64, 36),
    unknown(41, "Q1_0", 128, 18),
    unknown(42, "Q2_0", 64, 18),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for (index, kind) in TYPES.iter().enumerate() {
            assert_eq!(GgmlType::from_number(kind.number), Some(*kind));
            let same = TYPES[..index].iter().find(|other| other.name == kind.name);
            assert_eq!(same, None);
        }
        assert_eq!(GgmlType::from_number(4), None);
    }
}
