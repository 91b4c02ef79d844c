//! A matrix in whatever form it is stored, and the operations that read one.
//!
//! In: rows of f32. Out: rows of f32. Which kernel a form has is said here, once for each operation.
//! It does not know: whose matrix it is, or where it lies.

use lattice_kernels::{self as kernels, Activations, Cpu, Dense, Packed};

/// A matrix, borrowed from the weights.
#[derive(Debug, Clone, Copy)]
pub(super) enum Matrix<'a> {
    /// As the checkpoint of a trained model stores it.
    Dense(Dense<'a>),
    /// Packed to few bits.
    Packed(Packed<'a>),
}

/// Input rows of linears, and their integers once a packed matrix asked for them.
pub(super) struct Input<'a> {
    /// `[rows, columns]`
    pub(super) x: &'a [f32],
    /// The rows of `x` that count, in this order; `None`: all.
    pub(super) picked: Option<&'a [u32]>,
    /// The integers of these rows.
    pub(super) integers: &'a mut Integers,
}

/// The integers of some rows, kept for all matrices that read the same rows.
#[derive(Debug, Default)]
pub(super) struct Integers {
    rows: Activations,
    known: bool,
}

impl Integers {
    /// Room for `rows` rows of `columns`, so that no batch has to make it.
    pub(super) fn reserve(&mut self, cpu: &Cpu, rows: usize, columns: usize) {
        if columns > 0 {
            kernels::quantise_rows(cpu, &vec![0.0; rows * columns], columns, &mut self.rows);
        }
        self.forget();
    }

    /// Makes the next rows known by `f`.
    pub(super) fn fill(&mut self, f: impl FnOnce(&mut Activations)) {
        f(&mut self.rows);
        self.known = true;
    }

    /// The rows that are known.
    pub(super) fn rows(&self) -> &Activations {
        &self.rows
    }

    /// The next rows are others.
    pub(super) fn forget(&mut self) {
        self.known = false;
    }
}

impl Input<'_> {
    /// Makes the integers known; whether they were not yet.
    fn round(&mut self, cpu: &Cpu, columns: usize) -> bool {
        let Integers { rows, known } = &mut *self.integers;
        let new = !std::mem::replace(known, true);
        if new {
            match self.picked {
                None => kernels::quantise_rows(cpu, self.x, columns, rows),
                Some(picked) => kernels::quantise_select(cpu, self.x, columns, picked, rows),
            }
        }
        new
    }
}

impl Matrix<'_> {
    /// Rows, the output size.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Dense(weight) => weight.rows(),
            Self::Packed(weight) => weight.rows(),
        }
    }

    /// Columns, the input size.
    pub(super) fn columns(&self) -> usize {
        match self {
            Self::Dense(weight) => weight.columns(),
            Self::Packed(weight) => weight.columns(),
        }
    }

    /// Whether it is packed so that products in f32 may read it as it lies.
    pub(super) fn expands(&self) -> bool {
        match self {
            Self::Dense(_) => false,
            Self::Packed(weight) => weight.expands(),
        }
    }

    /// Makes the integers known that a packed matrix takes; whether there was anything to do.
    pub(super) fn round(self, cpu: &Cpu, input: &mut Input<'_>) -> bool {
        match self {
            Self::Dense(_) => false,
            Self::Packed(weight) => input.round(cpu, weight.columns()),
        }
    }

    /// `out = x weight^T + bias`, `[rows of the input, outputs]`.
    pub(super) fn linear(
        self,
        cpu: &Cpu,
        bias: Option<&[f32]>,
        input: &mut Input<'_>,
        out: &mut [f32],
    ) {
        match self {
            Self::Dense(weight) => match input.picked {
                None => kernels::linear(cpu, weight, bias, input.x, out),
                Some(picked) => kernels::linear_select(cpu, weight, bias, input.x, picked, out),
            },
            Self::Packed(weight) => {
                input.round(cpu, weight.columns());
                kernels::linear_packed_quantised(cpu, weight, bias, &input.integers.rows, out);
            }
        }
    }

    /// Rows `ids` of a table.
    pub(super) fn embed(self, cpu: &Cpu, ids: &[u32], out: &mut [f32]) {
        match self {
            Self::Dense(table) => kernels::embed(cpu, table, ids, out),
            Self::Packed(table) => kernels::embed_packed(cpu, table, ids, out),
        }
    }
}
