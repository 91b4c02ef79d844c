//! One vector, or many, against many.

use lattice_kernels::Cpu;
use lattice_kernels::vector::{self, Element, Hit, Matrix, Metric, OwnedMatrix, Query};

use super::VectorError;

/// Rows of equal length, one behind the other: `[rows, columns]`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T>(Matrix<'a, T>);

impl<'a, T> Rows<'a, T> {
    /// The rows in `data`.
    ///
    /// # Errors
    /// [`VectorError::NoRows`] if `data` is not whole rows of one column or more.
    pub fn new(data: &'a [T], columns: usize) -> Result<Rows<'a, T>, VectorError> {
        if columns == 0 || !data.len().is_multiple_of(columns) {
            return Err(VectorError::NoRows {
                elements: data.len(),
                columns,
            });
        }
        Ok(Rows(Matrix::new(data, columns)))
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.0.rows()
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.0.columns()
    }

    fn numbered(&self) -> Result<(), VectorError> {
        let rows = self.rows();
        u32::try_from(rows).map_or(Err(VectorError::TooManyRows { rows }), |_| Ok(()))
    }
}

/// [`Rows`] that are kept, where they are read fastest: from the beginning of a line of the cache. A `Vec` begins
/// anywhere; many queries against the same rows of i8 are a tenth faster this way, of other types some hundredths.
///
/// ```
/// use lattice_embed::utils::{OwnedRows, Rows};
///
/// let rows = OwnedRows::new(Rows::new(&[1i8, 2, 3, 4, 5, 6], 3)?);
/// assert_eq!((rows.rows().rows(), rows.rows().columns()), (2, 3));
/// # Ok::<(), lattice_embed::utils::VectorError>(())
/// ```
#[derive(Debug)]
pub struct OwnedRows<T>(OwnedMatrix<T>);

impl<T: Copy> Clone for OwnedRows<T> {
    fn clone(&self) -> Self {
        OwnedRows(self.0.clone())
    }
}

impl<T: Copy> OwnedRows<T> {
    /// A copy of `rows`.
    pub fn new(rows: Rows<'_, T>) -> OwnedRows<T> {
        OwnedRows(OwnedMatrix::new(rows.0))
    }

    /// The rows.
    pub fn rows(&self) -> Rows<'_, T> {
        Rows(self.0.matrix())
    }
}

/// A vector made ready to be scored against many.
#[derive(Debug, Clone)]
pub struct PreparedQuery<T: Element>(Query<T>);

impl<T: Element> PreparedQuery<T> {
    /// Makes `vector` ready.
    ///
    /// # Errors
    /// [`VectorError::TooLong`] for more than 32,768 elements of i8.
    pub fn new(vector: &[T]) -> Result<PreparedQuery<T>, VectorError> {
        fits::<T>(vector.len())?;
        Ok(PreparedQuery(Query::new(vector)))
    }

    fn meets(&self, rows: Rows<'_, T>) -> Result<(), VectorError> {
        same_columns(self.0.vector().len(), rows.columns())
    }
}

fn fits<T: Element>(columns: usize) -> Result<(), VectorError> {
    let most = T::COLUMNS_MAX;
    if columns > most {
        return Err(VectorError::TooLong { columns, most });
    }
    Ok(())
}

fn same_columns(left: usize, right: usize) -> Result<(), VectorError> {
    if left == right {
        return Ok(());
    }
    Err(VectorError::Lengths { left, right })
}

/// The score of each row, in order.
///
/// # Errors
/// [`VectorError::Lengths`] if rows are not as long as the query.
pub fn scores<T: Element>(
    cpu: &Cpu,
    metric: Metric,
    query: &PreparedQuery<T>,
    rows: Rows<'_, T>,
) -> Result<Vec<f32>, VectorError> {
    query.meets(rows)?;
    let mut out = vec![0.0; rows.rows()];
    vector::scores(cpu, metric, &query.0, rows.0, &mut out);
    Ok(out)
}

/// The `k` best rows, best first: the highest dot products and cosines, the lowest distances. Of equal
/// scores the lower row comes first, NaN comes last. The answer is the same for any number of threads.
///
/// # Errors
/// [`VectorError::Lengths`] if rows are not as long as the query, [`VectorError::TooManyRows`] for 2^32
/// of them.
///
/// ```
/// use lattice_embed::utils::{Cpu, CpuOptions, Metric, PreparedQuery, Rows, top_k};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let rows = [0.0, 1.0, 0.6, 0.8, 1.0, 0.0];
/// let query = PreparedQuery::new(&[1.0, 0.0])?;
/// let hits = top_k(&cpu, Metric::Cosine, &query, Rows::new(&rows, 2)?, 2)?;
/// assert_eq!((hits[0].index, hits[0].score), (2, 1.0));
/// assert_eq!((hits[1].index, hits[1].score), (1, 0.6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn top_k<T: Element>(
    cpu: &Cpu,
    metric: Metric,
    query: &PreparedQuery<T>,
    rows: Rows<'_, T>,
    k: usize,
) -> Result<Vec<Hit>, VectorError> {
    query.meets(rows)?;
    rows.numbered()?;
    Ok(vector::top(cpu, metric, &query.0, rows.0, k))
}

/// The scores of all rows of `a` against all of `b`: `[rows of a, rows of b]`.
///
/// # Errors
/// [`VectorError::Lengths`] if rows differ in length, [`VectorError::TooLong`] for more than 32,768
/// elements of i8, [`VectorError::TooManyRows`] if the scores are more than memory can hold.
pub fn all_pairs<T: Element>(
    cpu: &Cpu,
    metric: Metric,
    a: Rows<'_, T>,
    b: Rows<'_, T>,
) -> Result<Vec<f32>, VectorError> {
    same_columns(a.columns(), b.columns())?;
    fits::<T>(a.columns())?;
    let too_many = || VectorError::TooManyRows { rows: a.rows() };
    let scores = a.rows().checked_mul(b.rows()).ok_or_else(too_many)?;
    let mut out = Vec::new();
    if out.try_reserve_exact(scores).is_err() {
        return Err(too_many());
    }
    out.resize(scores, 0.0);
    vector::all_pairs(cpu, metric, a.0, b.0, &mut out);
    Ok(out)
}

/// The bits in which each row of packed bits differs from `query`, in order.
///
/// # Errors
/// [`VectorError::Lengths`] if rows are not as long as the query.
pub fn hamming_distances(
    cpu: &Cpu,
    query: &[u8],
    rows: Rows<'_, u8>,
) -> Result<Vec<u32>, VectorError> {
    same_columns(query.len(), rows.columns())?;
    let mut out = vec![0; rows.rows()];
    vector::hamming_distances(cpu, query, rows.0, &mut out);
    Ok(out)
}

/// The `k` rows of packed bits that differ from `query` in the fewest, the fewest first; of equal ones
/// the lower row.
///
/// # Errors
/// As [`top_k`].
pub fn hamming_top_k(
    cpu: &Cpu,
    query: &[u8],
    rows: Rows<'_, u8>,
    k: usize,
) -> Result<Vec<Hit>, VectorError> {
    same_columns(query.len(), rows.columns())?;
    rows.numbered()?;
    Ok(vector::hamming_top(cpu, query, rows.0, k))
}
