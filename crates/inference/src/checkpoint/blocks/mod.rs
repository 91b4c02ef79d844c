//! Matrices in the blocks of other makers.
//!
//! In: bytes where they lie in their files, and what kind of blocks they are. Out: rows of them as integers with scales and
//! minima, as values, or as the kernels' tiles. Nothing is rounded on the way to integers or values; rows and columns that
//! a file has in another order come in the model's.
//! A new kind of file adds a [`BlockKind`] and its arms here.
//! It does not know: names, headers, which file the bytes are of.

mod affine;
mod ggml;
mod order;
mod pieces;
mod repack;
mod rows;

use std::ops::Range;

use lattice_kernels::{GroupBits, GroupColumns, PackedError, PackedScheme, PackedShape};

pub use affine::{AffineBlock, AffineLayout};
pub use ggml::GgmlBlock;
pub use order::Order;
pub(crate) use pieces::{Piece, Pieces};
pub(crate) use repack::{Run, repack};
pub(crate) use rows::{Bench, Rows};

use super::{Dtype, Kept};

/// Whose blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlockKind {
    /// Numbers as a dense tensor has them, in rows that stand elsewhere than the model has them.
    Plain(Dtype),
    /// ggml's.
    Ggml(GgmlBlock),
    /// Groups with a scale and a minimum each: those of MLX, AWQ and GPTQ.
    Affine(AffineBlock),
}

/// A matrix in blocks: its kind, its logical size, and the order its parts are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    kind: BlockKind,
    rows: usize,
    columns: usize,
    row_order: Order,
    column_order: Order,
}

impl Blocks {
    /// A matrix `[rows, columns]` whose rows and columns stand as the model has them.
    pub(crate) fn new(kind: BlockKind, rows: usize, columns: usize) -> Self {
        Self {
            kind,
            rows,
            columns,
            row_order: Order::SAME,
            column_order: Order::SAME,
        }
    }

    /// The same in another order. `None` if columns that share a scale would part.
    pub(crate) fn ordered(self, rows: Order, columns: Order) -> Option<Self> {
        let group = self.native_group();
        columns.keeps(group).then_some(Self {
            row_order: rows,
            column_order: columns,
            ..self
        })
    }

    /// Whose blocks they are.
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    /// Rows over all leading dimensions.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The fastest dimension.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The form that a runner keeps them in, which holds every value as it is; `None`: dense, of the type that they have.
    pub fn scheme(&self) -> Option<PackedScheme> {
        match self.kind {
            BlockKind::Plain(_) => None,
            BlockKind::Ggml(block) => Some(PackedScheme::Grouped {
                bits: match block.is_nibble() {
                    true => GroupBits::Four,
                    false => GroupBits::Eight,
                },
                group: match block.group() {
                    16 => GroupColumns::Of16,
                    _ => GroupColumns::Of32,
                },
                minimum: block.has_minima(),
            }),
            BlockKind::Affine(block) => Some(block.scheme()),
        }
    }

    /// The form that a runner keeps, if packed in segments of `segment` rows.
    ///
    /// # Errors
    /// The rows are no whole segments; more bytes than memory can hold.
    pub(crate) fn kept(&self, segment: usize) -> Result<Kept, PackedError> {
        match (self.kind, self.scheme()) {
            (BlockKind::Plain(dtype), _) => Ok(Kept::Dense(dtype)),
            (_, None) => Ok(Kept::Dense(Dtype::F32)),
            (_, Some(scheme)) => {
                PackedShape::new(scheme, self.rows, self.columns, segment).map(Kept::Packed)
            }
        }
    }

    /// Bytes of `values` values as a runner keeps them, whole rows of them.
    pub(crate) fn loaded_bytes(&self, values: usize) -> usize {
        let dense = |dtype: Dtype| values * dtype.bits() / 8;
        match (self.kind, self.scheme()) {
            (BlockKind::Plain(dtype), _) => dense(dtype),
            (_, None) => dense(Dtype::F32),
            (_, Some(scheme)) => {
                let tile = PackedShape::new(scheme, 16, self.columns.max(1), 16);
                let tile_bytes = tile.map_or(0, |tile| tile.bytes());
                values / self.columns.max(1) * tile_bytes / 16
            }
        }
    }

    /// Bytes of a row in the file, for kinds that store row after row.
    pub(crate) fn row_bytes(&self) -> usize {
        match self.kind {
            BlockKind::Plain(dtype) => self.columns * dtype.bits() / 8,
            BlockKind::Ggml(block) => self.columns / block.values() * block.bytes(),
            // Its parts lie in different places.
            BlockKind::Affine(_) => 0,
        }
    }

    /// The bytes that hold these rows and no others, where rows lie one after the other.
    pub(super) fn bytes_of_rows(&self, rows: Range<usize>) -> Option<Range<usize>> {
        let bytes = self.row_bytes();
        self.row_order
            .is_same()
            .then(|| rows.start * bytes..rows.end * bytes)
    }

    /// Columns that share a scale in the file.
    fn native_group(&self) -> usize {
        match self.kind {
            BlockKind::Plain(_) => 1,
            BlockKind::Ggml(block) => block.group(),
            BlockKind::Affine(block) => block.group(),
        }
    }

    /// Whether a minimum is added.
    fn has_minima(&self) -> bool {
        match self.kind {
            BlockKind::Plain(_) => false,
            BlockKind::Ggml(block) => block.has_minima(),
            BlockKind::Affine(_) => true,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            BlockKind::Plain(dtype) => dtype.name(),
            BlockKind::Ggml(block) => block.name(),
            BlockKind::Affine(block) => block.name(),
        }
    }
}

/// Rows as integers with what they are multiplied with, row-major.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// `[rows, columns]`
    pub(crate) quants: Vec<i8>,
    /// `[rows, groups]`
    pub(crate) scales: Vec<f32>,
    /// `[rows, groups]`, or none.
    pub(crate) minima: Vec<f32>,
    /// Columns of a group.
    pub(crate) group: usize,
    /// A row, before its columns are put in order.
    row: Option<Box<Groups>>,
}

impl Groups {
    fn resize(&mut self, blocks: &Blocks, rows: usize) {
        self.group = blocks.native_group();
        let groups = blocks.columns.div_ceil(self.group);
        self.quants.resize(rows * blocks.columns, 0);
        self.scales.resize(rows * groups, 0.0);
        let minima = if blocks.has_minima() {
            rows * groups
        } else {
            0
        };
        self.minima.resize(minima, 0.0);
    }

    /// Scales and minima that are NaN or infinite, and the first of their places among the scales.
    pub(crate) fn non_finite(&self) -> Option<(usize, usize)> {
        let bad = |list: &[f32]| -> (usize, Option<usize>) {
            let mut bad = list.iter().enumerate().filter(|(_, x)| !x.is_finite());
            let first = bad.next().map(|(index, _)| index);
            (first.map_or(0, |_| 1 + bad.count()), first)
        };
        let ((scales, a), (minima, b)) = (bad(&self.scales), bad(&self.minima));
        let first = a.into_iter().chain(b).min()?;
        Some((scales + minima, first))
    }
}

/// A matrix in blocks where it lies.
#[derive(Debug, Clone)]
pub(crate) struct BlockBytes<'a> {
    pub(crate) blocks: Blocks,
    /// For kinds that store row after row: rows of the first, then of the next, and so on. For affine ones: words, scales
    /// and biases or zero points of the first rows, then of the next.
    pub(crate) parts: Vec<&'a [u8]>,
}

impl BlockBytes<'_> {
    /// The bytes of the model's row `row`.
    fn row(&self, row: usize) -> &[u8] {
        let bytes = self.blocks.row_bytes();
        let mut row = self.blocks.row_order.stored(row);
        for part in &self.parts {
            let rows = part.len() / bytes.max(1);
            if row < rows {
                return &part[row * bytes..(row + 1) * bytes];
            }
            row -= rows;
        }
        unreachable!("the header's lengths were checked against the shape")
    }

    /// The parts that hold the model's row `row`, and which row of how many it is there.
    fn affine_parts(&self, block: AffineBlock, row: usize) -> ([&[u8]; 3], (usize, usize)) {
        let mut row = self.blocks.row_order.stored(row);
        for parts in self.parts.as_chunks::<3>().0 {
            let rows = block.rows(*parts, self.blocks.columns);
            if row < rows {
                return (*parts, (row, rows));
            }
            row -= rows;
        }
        unreachable!("the parts' lengths were checked against the shape")
    }

    /// The rows `rows` as groups. Asked of kinds that have a [`Blocks::scheme`].
    pub(crate) fn groups(&self, rows: Range<usize>, out: &mut Groups) {
        out.resize(&self.blocks, rows.len());
        let columns = self.blocks.columns;
        let groups = columns.div_ceil(out.group);
        let order = self.blocks.column_order;
        if let (BlockKind::Affine(block), [a, b, c]) = (self.blocks.kind, &self.parts[..])
            && block.is_by_columns()
            && self.blocks.row_order.is_same()
            && order.is_same()
        {
            let out = (
                &mut out.quants[..],
                &mut out.scales[..],
                &mut out.minima[..],
            );
            return block.read_columns([a, b, c], (rows, self.blocks.rows), out);
        }
        let mut stored = out.row.take().unwrap_or_default();
        for (index, row) in rows.enumerate() {
            let quants = &mut out.quants[index * columns..][..columns];
            let scales = &mut out.scales[index * groups..][..groups];
            let minima = match out.minima.is_empty() {
                true => &mut [][..],
                false => &mut out.minima[index * groups..][..groups],
            };
            if order.is_same() {
                self.stored_row(row, (quants, scales, minima));
                continue;
            }
            stored.resize(&self.blocks, 1);
            let Groups {
                quants: q,
                scales: s,
                minima: m,
                ..
            } = &mut *stored;
            self.stored_row(row, (q, s, m));
            for (g, quants) in quants.chunks_mut(out.group).enumerate() {
                let from = order.stored(g * out.group);
                quants.copy_from_slice(&q[from..from + quants.len()]);
                scales[g] = s[from / out.group];
                if let Some(minimum) = minima.get_mut(g) {
                    *minimum = m[from / out.group];
                }
            }
        }
        out.row = Some(stored);
    }

    /// A row with its columns as stored.
    fn stored_row(
        &self,
        row: usize,
        (quants, scales, minima): (&mut [i8], &mut [f32], &mut [f32]),
    ) {
        let block = match self.blocks.kind {
            BlockKind::Plain(_) => return,
            BlockKind::Affine(block) => {
                let (parts, row) = self.affine_parts(block, row);
                return block.read(parts, row, (quants, scales, minima));
            }
            BlockKind::Ggml(block) => block,
        };
        let groups = block.values() / block.group();
        let bytes = self.row(row).chunks_exact(block.bytes());
        let quants = quants.chunks_exact_mut(block.values());
        for (index, (bytes, quants)) in bytes.zip(quants).enumerate() {
            let scales = &mut scales[index * groups..][..groups];
            let minima = match minima.is_empty() {
                true => &mut [][..],
                false => &mut minima[index * groups..][..groups],
            };
            block.read(bytes, quants, scales, minima);
        }
    }

    /// Appends the values of the rows `rows`, exactly.
    pub(crate) fn values(&self, rows: Range<usize>, groups: &mut Groups, values: &mut Vec<f32>) {
        if let BlockKind::Plain(dtype) = self.blocks.kind {
            for row in rows {
                let begin = values.len();
                dtype.widen(self.row(row), values);
                let order = self.blocks.column_order;
                if !order.is_same() {
                    let stored = values[begin..].to_vec();
                    for (column, value) in values[begin..].iter_mut().enumerate() {
                        *value = stored[order.stored(column)];
                    }
                }
            }
            return;
        }
        self.groups(rows, groups);
        let columns = self.blocks.columns.max(1);
        let per_row = columns.div_ceil(groups.group);
        for (row, quants) in groups.quants.chunks_exact(columns).enumerate() {
            for (g, quants) in quants.chunks(groups.group).enumerate() {
                let scale = groups.scales[row * per_row + g];
                match groups.minima.get(row * per_row + g) {
                    Some(minimum) => values.extend(
                        quants
                            .iter()
                            .map(|q| scale.mul_add(f32::from(*q), *minimum)),
                    ),
                    None => values.extend(quants.iter().map(|q| scale * f32::from(*q))),
                }
            }
        }
    }

    /// Copies the rows `rows` of plain numbers, in the model's order.
    pub(crate) fn copy(&self, rows: Range<usize>, out: &mut [u8]) {
        let bytes = self.blocks.row_bytes();
        let size = bytes / self.blocks.columns.max(1);
        let order = self.blocks.column_order;
        for (row, out) in rows.zip(out.chunks_exact_mut(bytes.max(1))) {
            let stored = self.row(row);
            if order.is_same() {
                out.copy_from_slice(stored);
                continue;
            }
            for (column, out) in out.chunks_exact_mut(size).enumerate() {
                out.copy_from_slice(&stored[order.stored(column) * size..][..size]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
