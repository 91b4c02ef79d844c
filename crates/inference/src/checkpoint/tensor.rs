//! One named tensor, as it lies in its file.
//!
//! In: bytes that a header was checked against. Out: the same bytes, typed where their address
//! allows it.
//! It does not know: what the numbers are for.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use half::{bf16, f16};
use lattice_kernels::{Packed, PackedShape};

use super::blocks::{BlockKind, Blocks};
use super::mmap::FileBytes;

/// How a number is stored: the types that safetensors 0.8 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the name that stands in the file")]
#[allow(
    non_camel_case_types,
    reason = "each is the name that stands in the file"
)]
#[non_exhaustive]
pub enum Dtype {
    F32,
    F16,
    BF16,
    F64,
    BOOL,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    C64,
    F4,
    F6_E2M3,
    F6_E3M2,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
}

impl Dtype {
    const ALL: [Self; 22] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::F64,
        Self::BOOL,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::C64,
        Self::F4,
        Self::F6_E2M3,
        Self::F6_E3M2,
        Self::F8_E5M2,
        Self::F8_E4M3,
        Self::F8_E8M0,
        Self::F8_E4M3FNUZ,
        Self::F8_E5M2FNUZ,
    ];

    /// The type of that name, or `None` for a name the format does not have.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The name that stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F64 => "F64",
            Self::BOOL => "BOOL",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::U16 => "U16",
            Self::I16 => "I16",
            Self::U32 => "U32",
            Self::I32 => "I32",
            Self::U64 => "U64",
            Self::I64 => "I64",
            Self::C64 => "C64",
            Self::F4 => "F4",
            Self::F6_E2M3 => "F6_E2M3",
            Self::F6_E3M2 => "F6_E3M2",
            Self::F8_E5M2 => "F8_E5M2",
            Self::F8_E4M3 => "F8_E4M3",
            Self::F8_E8M0 => "F8_E8M0",
            Self::F8_E4M3FNUZ => "F8_E4M3FNUZ",
            Self::F8_E5M2FNUZ => "F8_E5M2FNUZ",
        }
    }

    /// Bits of one number; not always whole bytes.
    pub fn bits(self) -> usize {
        match self {
            Self::F4 => 4,
            Self::F6_E2M3 | Self::F6_E3M2 => 6,
            Self::BOOL | Self::U8 | Self::I8 => 8,
            Self::F8_E5M2 | Self::F8_E4M3 | Self::F8_E8M0 => 8,
            Self::F8_E4M3FNUZ | Self::F8_E5M2FNUZ => 8,
            Self::F16 | Self::BF16 | Self::U16 | Self::I16 => 16,
            Self::F32 | Self::U32 | Self::I32 => 32,
            Self::F64 | Self::U64 | Self::I64 | Self::C64 => 64,
        }
    }

    /// Whether a model's weights can be stored so: F32, F16 and BF16.
    pub fn is_weight(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Appends stored weights to `values`, exactly, as f32.
    pub(crate) fn widen(self, stored: &[u8], values: &mut Vec<f32>) {
        debug_assert!(self.is_weight(), "{self}");
        let pairs = stored.as_chunks::<2>().0.iter().copied();
        if self == Self::F32 {
            let words = stored.as_chunks::<4>().0.iter().copied();
            values.extend(words.map(f32::from_le_bytes));
        } else if self == Self::F16 {
            values.extend(pairs.map(|bytes| f16::from_le_bytes(bytes).to_f32()));
        } else {
            values.extend(pairs.map(|bytes| bf16::from_le_bytes(bytes).to_f32()));
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a tensor's numbers lie in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One after the other, row-major.
    Dense(Dtype),
    /// Packed to few bits by `lattice quantize`; the shape is that of the matrix, all leading dimensions taken as rows.
    Packed(PackedShape),
    /// A matrix in the blocks of another maker, or in another order: read through the checkpoint, row by row.
    Blocks(Blocks),
}

impl Form {
    /// The type of the numbers, if they lie one after the other.
    pub fn dtype(self) -> Option<Dtype> {
        match self {
            Self::Dense(dtype) => Some(dtype),
            Self::Packed(_) | Self::Blocks(_) => None,
        }
    }

    /// What the packed bytes hold, if they are.
    pub fn packed(self) -> Option<PackedShape> {
        match self {
            Self::Dense(_) | Self::Blocks(_) => None,
            Self::Packed(shape) => Some(shape),
        }
    }

    /// Whether a runner multiplies with it in integers.
    pub fn is_integers(self) -> bool {
        match self {
            Self::Dense(_) => false,
            Self::Packed(_) => true,
            Self::Blocks(blocks) => blocks.scheme().is_some(),
        }
    }

    /// Whether its numbers are F32, in whatever order.
    pub fn is_f32(self) -> bool {
        match self {
            Self::Dense(dtype) => dtype == Dtype::F32,
            Self::Packed(_) => false,
            Self::Blocks(blocks) => blocks.kind() == BlockKind::Plain(Dtype::F32),
        }
    }

    /// What the address of the bytes must be a multiple of, to be used where they lie.
    fn align(self) -> usize {
        match self {
            Self::Dense(dtype) => (dtype.bits() / 8).max(1),
            Self::Packed(_) => PACKED_ALIGN,
            Self::Blocks(_) => 1,
        }
    }
}

/// A form that runners keep and files of ours hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As [`Form::Dense`].
    Dense(Dtype),
    /// As [`Form::Packed`].
    Packed(PackedShape),
}

impl From<Kept> for Form {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Dense(dtype) => Self::Dense(dtype),
            Kept::Packed(shape) => Self::Packed(shape),
        }
    }
}

/// The type's name, the scheme's, or that of the blocks.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense(dtype) => f.pad(dtype.name()),
            Self::Packed(shape) => shape.scheme().fmt(f),
            Self::Blocks(blocks) => f.pad(blocks.name()),
        }
    }
}

/// A tensor of a checkpoint: little-endian, slowest dimension first, as stored.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Its name in the checkpoint (after renaming).
    pub name: &'a str,
    /// How its numbers are stored.
    pub form: Form,
    /// Of the numbers, packed or not. Empty for a single number.
    pub shape: &'a [usize],
    /// As they lie in the file, at any address. Dense: product of the shape times the type's size; packed: what the form
    /// takes, filled up with zeros to whole pages of 4,096; in blocks: those of the first place they lie in.
    pub bytes: &'a [u8],
    /// Bytes it takes in its files.
    pub stored_bytes: usize,
    /// The file it stands in.
    pub file: &'a str,
}

impl<'a> Tensor<'a> {
    /// How many numbers it holds.
    pub fn count(&self) -> usize {
        // The product of the shape was checked against the length when the header was read.
        match self.form {
            Form::Dense(dtype) => self.bytes.len().saturating_mul(8) / dtype.bits(),
            Form::Packed(shape) => shape.rows() * shape.columns(),
            Form::Blocks(blocks) => blocks.rows() * blocks.columns(),
        }
    }

    /// The packed matrix; `None` for another form or if the address is not a multiple of 64.
    pub fn as_packed(&self) -> Option<Packed<'a>> {
        let shape = self.form.packed()?;
        Packed::new(self.bytes.get(..shape.bytes())?, shape).ok()
    }

    /// The bits of BF16 numbers; `None` for another type or if the address is odd.
    pub fn as_bf16(&self) -> Option<&'a [u16]> {
        self.cast(Dtype::BF16)
    }

    /// The bits of F16 numbers; `None` for another type or if the address is odd.
    pub fn as_f16(&self) -> Option<&'a [u16]> {
        self.cast(Dtype::F16)
    }

    /// F32 numbers; `None` for another type or if the address is not a multiple of 4.
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        self.cast(Dtype::F32)
    }

    /// Whether the address is a multiple of the number's size, or of what a packed matrix needs.
    pub fn is_aligned(&self) -> bool {
        is_aligned(self.bytes, self.form)
    }

    /// How many values are NaN or infinite, and the row-major index of the first;
    /// `None` if there is none, and for every form but dense F32, F16 and BF16.
    pub fn non_finite(&self) -> Option<(usize, usize)> {
        match self.form.dtype()? {
            Dtype::F32 => non_finite(self.bytes, |bytes: [u8; 4]| {
                u32::from_le_bytes(bytes) & 0x7f80_0000 == 0x7f80_0000
            }),
            Dtype::F16 => non_finite(self.bytes, |bytes: [u8; 2]| {
                u16::from_le_bytes(bytes) & 0x7c00 == 0x7c00
            }),
            Dtype::BF16 => non_finite(self.bytes, |bytes: [u8; 2]| {
                u16::from_le_bytes(bytes) & 0x7f80 == 0x7f80
            }),
            _ => None,
        }
    }

    fn cast<T: bytemuck::Pod>(&self, dtype: Dtype) -> Option<&'a [T]> {
        if self.form != Form::Dense(dtype) {
            return None;
        }
        bytemuck::try_cast_slice(self.bytes).ok()
    }
}

/// What packed matrices are aligned to.
const PACKED_ALIGN: usize = 64;

fn is_aligned(bytes: &[u8], form: Form) -> bool {
    bytes.as_ptr().addr().is_multiple_of(form.align())
}

/// An exponent of ones means NaN or infinity. Counts whole blocks without a branch, so that the
/// compiler makes vector code of it, and looks for the place only in the first block that has one.
fn non_finite<const N: usize>(
    bytes: &[u8],
    is_bad: impl Fn([u8; N]) -> bool,
) -> Option<(usize, usize)> {
    const BLOCK: usize = 4096;
    let (values, _rest) = bytes.as_chunks::<N>();
    let (mut count, mut first) = (0, None);
    for (number, block) in values.chunks(BLOCK).enumerate() {
        let found: u32 = block.iter().map(|value| u32::from(is_bad(*value))).sum();
        if found > 0 && first.is_none() {
            let inside = block.iter().position(|value| is_bad(*value));
            first = inside.map(|inside| number * BLOCK + inside);
        }
        count += found as usize;
    }
    first.map(|first| (count, first))
}

/// A tensor's bytes at an address that is a multiple of what its form needs, for as long as the holder lives:
/// the file's own memory where that fits, else a copy. Cloning it copies nothing.
#[derive(Debug, Clone)]
pub struct AlignedBytes {
    bytes: Held,
}

#[derive(Debug, Clone)]
enum Held {
    File {
        file: Arc<FileBytes>,
        range: Range<usize>,
    },
    Copy {
        words: Arc<[u64]>,
        /// Bytes of `words`.
        range: Range<usize>,
    },
}

impl AlignedBytes {
    /// `range` of `file`, copied if it does not begin where `form` needs it.
    pub(crate) fn of(file: &Arc<FileBytes>, range: Range<usize>, form: Form) -> Self {
        let bytes = &file[range.clone()];
        if is_aligned(bytes, form) {
            return Self {
                bytes: Held::File {
                    file: Arc::clone(file),
                    range,
                },
            };
        }
        // With room for the alignment in front. An allocation stays where it is, so the place holds.
        let mut words: Arc<[u64]> = vec![0; (bytes.len() + form.align()).div_ceil(8)].into();
        let start = words.as_ptr().align_offset(form.align().max(8)) * 8;
        let range = start..start + bytes.len();
        let memory = Arc::get_mut(&mut words).expect("nobody else holds what was just made");
        bytemuck::cast_slice_mut(memory)[range.clone()].copy_from_slice(bytes);
        Self {
            bytes: Held::Copy { words, range },
        }
    }

    /// Gives the memory of a mapped file's bytes back to the system, which reads them again where they are used again.
    pub(crate) fn release(&self) {
        if let Held::File { file, range } = &self.bytes {
            file.release(range.clone());
        }
    }

    /// Whether the bytes had to be copied.
    pub fn is_copy(&self) -> bool {
        matches!(self.bytes, Held::Copy { .. })
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Held::File { file, range } => &file[range.clone()],
            Held::Copy { words, range } => &bytemuck::cast_slice(words)[range.clone()],
        }
    }
}
