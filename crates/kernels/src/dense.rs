//! Dense weights as the checkpoint stores them, and what needs nothing but their elements.
//!
//! Layout: row-major `[rows, columns]`, weight `[out, in]`; f16 and bf16 as their bit patterns.
//! Contract: widening to f32 is exact; [`embed`] copies rows, [`non_finite`] counts.
//! Measured: not measured; both read each element once.

use std::ops::Range;
use std::sync::Mutex;

use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;

/// The elements of a [`Dense`], as stored.
#[derive(Debug, Clone, Copy)]
pub enum DenseData<'a> {
    /// IEEE 754 binary32.
    F32(&'a [f32]),
    /// Bit patterns of IEEE 754 binary16.
    F16(&'a [u16]),
    /// Bit patterns of bfloat16.
    Bf16(&'a [u16]),
}

impl<'a> DenseData<'a> {
    /// The elements of `range`.
    ///
    /// # Panics
    /// If it reaches beyond the end.
    pub fn slice(&self, range: Range<usize>) -> DenseData<'a> {
        match self {
            DenseData::F32(x) => DenseData::F32(&x[range]),
            DenseData::F16(x) => DenseData::F16(&x[range]),
            DenseData::Bf16(x) => DenseData::Bf16(&x[range]),
        }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            DenseData::F32(x) => x.len(),
            DenseData::F16(x) | DenseData::Bf16(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which stored rows make a matrix: of every `period` rows the `take` rows from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Rows after which the pattern repeats; above 0.
    pub period: usize,
    /// The first row taken.
    pub start: usize,
    /// Rows taken of each period; above 0, and within it.
    pub take: usize,
}

impl Rows {
    /// The stored row that is row `row` of the matrix.
    #[inline(always)]
    pub(crate) fn stored(&self, row: usize) -> usize {
        row / self.take * self.period + self.start + row % self.take
    }
}

/// A matrix `[rows, columns]`, row-major, borrowed from where it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Dense<'a> {
    data: DenseData<'a>,
    rows: usize,
    columns: usize,
    stored: Rows,
}

impl<'a> Dense<'a> {
    /// A matrix over `data`.
    ///
    /// # Panics
    /// If `data` has not `rows * columns` elements.
    pub fn new(data: DenseData<'a>, rows: usize, columns: usize) -> Dense<'a> {
        let elements = rows.checked_mul(columns);
        assert_eq!(
            Some(data.len()),
            elements,
            "elements of a matrix [{rows}, {columns}]"
        );
        let stored = Rows {
            period: rows.max(1),
            start: 0,
            take: rows.max(1),
        };
        Dense {
            data,
            rows,
            columns,
            stored,
        }
    }

    /// The matrix that `stored` takes out of `data`, whose rows have `columns` elements.
    ///
    /// # Panics
    /// If `data` is not whole periods of rows, or `stored` does not lie within its period.
    pub fn parts(data: DenseData<'a>, columns: usize, stored: Rows) -> Dense<'a> {
        let Rows {
            period,
            start,
            take,
        } = stored;
        assert!(
            take > 0 && start + take <= period,
            "rows {start}.. of {take} in {period}"
        );
        assert!(
            columns > 0 && data.len().is_multiple_of(period * columns),
            "{} elements in periods of [{period}, {columns}]",
            data.len()
        );
        let rows = data.len() / (period * columns) * take;
        Dense {
            data,
            rows,
            columns,
            stored,
        }
    }

    /// Which stored rows are its own.
    pub(crate) fn stored(&self) -> Rows {
        self.stored
    }

    /// The elements.
    pub fn data(&self) -> DenseData<'a> {
        self.data
    }

    /// Rows, the output size of a weight.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, the input size of a weight.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// How an element is stored and widened.
pub(crate) trait Format {
    type Bits: Copy + Sync;

    /// # Safety
    /// 16 readable elements at `p`.
    unsafe fn load<L: Lanes>(p: *const Self::Bits) -> L;

    /// The first `n` elements, then zeros.
    /// # Safety
    /// `n` readable elements at `p`, n < 16.
    unsafe fn load_partial<L: Lanes>(p: *const Self::Bits, n: usize) -> L;

    /// The first `n` elements, at most 16, then zeros.
    /// # Safety
    /// `n` readable elements at `p`, or 16 where there are more.
    #[inline(always)]
    unsafe fn load_up_to<L: Lanes>(p: *const Self::Bits, n: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe {
            match n {
                0 => L::zero(),
                1..LANES => Self::load_partial(p, n),
                _ => Self::load(p),
            }
        }
    }

    fn is_finite(bits: Self::Bits) -> bool;
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;
/// Whole numbers; what they count stands elsewhere.
pub(crate) struct Int8;

impl Format for F32 {
    type Bits = f32;

    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load(p) }
    }

    #[inline(always)]
    unsafe fn load_partial<L: Lanes>(p: *const f32, n: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_partial(p, n) }
    }

    fn is_finite(bits: f32) -> bool {
        bits.is_finite()
    }
}

/// # Safety
/// `n` readable values at `p`.
#[inline(always)]
unsafe fn padded<T: Copy + Default>(p: *const T, n: usize) -> [T; LANES] {
    let mut bits = [T::default(); LANES];
    // SAFETY: the caller's promise; `bits` has 16.
    unsafe { std::ptr::copy_nonoverlapping(p, bits.as_mut_ptr(), n.min(LANES)) };
    bits
}

impl Format for F16 {
    type Bits = u16;

    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const u16) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_f16(p) }
    }

    #[inline(always)]
    unsafe fn load_partial<L: Lanes>(p: *const u16, n: usize) -> L {
        // SAFETY: the caller's promise; the padded array has 16.
        unsafe { L::load_f16(padded(p, n).as_ptr()) }
    }

    fn is_finite(bits: u16) -> bool {
        bits & 0x7c00 != 0x7c00
    }
}

impl Format for Bf16 {
    type Bits = u16;

    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const u16) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_bf16(p) }
    }

    #[inline(always)]
    unsafe fn load_partial<L: Lanes>(p: *const u16, n: usize) -> L {
        // SAFETY: the caller's promise; the padded array has 16.
        unsafe { L::load_bf16(padded(p, n).as_ptr()) }
    }

    fn is_finite(bits: u16) -> bool {
        bits & 0x7f80 != 0x7f80
    }
}

impl Format for Int8 {
    type Bits = i8;

    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const i8) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_i8(p) }
    }

    #[inline(always)]
    unsafe fn load_partial<L: Lanes>(p: *const i8, n: usize) -> L {
        // SAFETY: the caller's promise; the padded array has 16.
        unsafe { L::load_i8(padded(p, n).as_ptr()) }
    }

    fn is_finite(_: i8) -> bool {
        true
    }
}

/// Calls `$f::<format>(bits, ..)` for the format that `$data` holds.
macro_rules! with_format {
    ($data:expr, $f:ident $(, $arg:expr)*) => {
        match $data {
            $crate::dense::DenseData::F32(bits) => $f::<$crate::dense::F32>(bits $(, $arg)*),
            $crate::dense::DenseData::F16(bits) => $f::<$crate::dense::F16>(bits $(, $arg)*),
            $crate::dense::DenseData::Bf16(bits) => $f::<$crate::dense::Bf16>(bits $(, $arg)*),
        }
    };
}
pub(crate) use with_format;

/// Copies the rows `ids` of `table` to `out`: `[ids, columns]`, widened to f32.
///
/// # Panics
/// On an id outside of the table or a wrong length of `out`.
pub fn embed(cpu: &Cpu, table: Dense<'_>, ids: &[u32], out: &mut [f32]) {
    assert_eq!(
        out.len(),
        ids.len() * table.columns,
        "output [{}, {}]",
        ids.len(),
        table.columns
    );
    with_format!(table.data, embed_format, cpu, table.columns, ids, out);
}

fn embed_format<F: Format>(
    table: &[F::Bits],
    cpu: &Cpu,
    columns: usize,
    ids: &[u32],
    out: &mut [f32],
) {
    let out = Parts::new(out);
    cpu.run_ranges(ids.len(), columns, |rows| {
        for r in rows {
            let start = ids[r] as usize * columns;
            let row = &table[start..start + columns];
            // SAFETY: each row of the output belongs to one range.
            let out = unsafe { out.part(r * columns..(r + 1) * columns) };
            cpu.isa().run(Widen::<F> { row, out });
        }
    });
}

/// Widens `row` to `out`, of the same length.
pub(crate) struct Widen<'a, F: Format> {
    pub(crate) row: &'a [F::Bits],
    pub(crate) out: &'a mut [f32],
}

impl<F: Format> Body for Widen<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let n = self.row.len().min(self.out.len());
        for i in (0..n).step_by(LANES) {
            // SAFETY: i < n, and a partial load takes only what is left.
            let x = unsafe {
                let p = self.row.as_ptr().add(i);
                if n - i >= LANES {
                    F::load::<L>(p)
                } else {
                    F::load_partial::<L>(p, n - i)
                }
            };
            x.put(self.out, i);
        }
    }
}

/// NaNs and infinities of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonFinite {
    /// How many there are.
    pub count: usize,
    /// The index of the first, row-major.
    pub first: usize,
}

/// Counts the NaNs and infinities of `weight`; None where there are none.
pub fn non_finite(cpu: &Cpu, weight: Dense<'_>) -> Option<NonFinite> {
    with_format!(weight.data, non_finite_format, cpu)
}

fn non_finite_format<F: Format>(bits: &[F::Bits], cpu: &Cpu) -> Option<NonFinite> {
    const STEP: usize = 1 << 20;
    let found = Mutex::new(None);
    cpu.run_steps(bits.len(), STEP, |range| {
        let part = &bits[range.clone()];
        // Counting everything vectorises; looking for the first one is left to the rare bad case.
        let count = part.iter().filter(|&&b| !F::is_finite(b)).count();
        if count == 0 {
            return;
        }
        let inside = part.iter().position(|&b| !F::is_finite(b)).unwrap_or(0);
        let here = NonFinite {
            count,
            first: range.start + inside,
        };
        let mut found = found.lock().expect("no holder panics");
        *found = Some(found.map_or(here, |f: NonFinite| NonFinite {
            count: f.count + here.count,
            first: f.first.min(here.first),
        }));
    });
    found.into_inner().expect("no holder panics")
}
