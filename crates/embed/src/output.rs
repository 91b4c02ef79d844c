//! Vectors as they are given out: f32, i8 or bits.
//!
//! In: rows of f32. Out: [`Embeddings`]. A row's bytes depend on that row alone.

use crate::EmbedError;

/// How the numbers of a vector are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// As they are computed.
    #[default]
    F32,
    /// A byte each: `round(x * 127 / max|x|)`, ties to even, with one scale `max|x| / 127` for each vector, so that
    /// `scale * value` is close to `x`. Cosines need no scale. [`Int8Ranges`] has the int8 of sentence-transformers.
    I8,
    /// A bit each, 1 where the number is above 0; eight in a byte, the first one highest, the last byte filled up with
    /// zeros: `ubinary` of sentence-transformers' `quantize_embeddings`, and `numpy.packbits`.
    Binary,
}

/// Vectors of texts, in the order of the texts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embeddings {
    /// Numbers in a vector.
    pub dims: usize,
    /// The vectors, one after the other.
    pub values: Values,
    /// The texts that were longer than the model reads, and what was left out of them; in the order of the texts.
    pub truncated: Vec<Truncated>,
    /// Tokens that were read of each text, special ones included.
    pub text_tokens: Vec<u32>,
}

/// The numbers of vectors.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Values {
    /// `[texts, dims]`.
    F32(Vec<f32>),
    /// See [`Encoding::I8`].
    I8 {
        /// `[texts, dims]`.
        values: Vec<i8>,
        /// `[texts]`.
        scales: Vec<f32>,
    },
    /// `[texts, dims / 8]`, rounded up; see [`Encoding::Binary`].
    Binary(Vec<u8>),
}

impl Default for Values {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

/// A text that was longer than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated {
    /// Which one, counted from 0.
    pub text: usize,
    /// Its tokens, special ones included.
    pub tokens: usize,
    /// How many of them were read.
    pub kept: usize,
}

impl Embeddings {
    /// Vectors.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::F32(values) => values.len() / self.dims.max(1),
            Values::I8 { scales, .. } => scales.len(),
            Values::Binary(bytes) => bytes.len() / binary_bytes(self.dims).max(1),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens that were read, over all texts.
    pub fn tokens(&self) -> u64 {
        self.text_tokens
            .iter()
            .map(|tokens| u64::from(*tokens))
            .sum()
    }

    /// The rows, where they are f32.
    pub fn f32_rows(&self) -> Option<impl ExactSizeIterator<Item = &[f32]>> {
        match &self.values {
            Values::F32(values) => Some(values.chunks_exact(self.dims.max(1))),
            Values::I8 { .. } | Values::Binary(_) => None,
        }
    }

    /// Those of some of the texts, which are counted anew. The values are f32.
    pub(crate) fn part(&self, texts: std::ops::Range<usize>) -> Result<Self, EmbedError> {
        let Values::F32(values) = &self.values else {
            return Err(EmbedError::Encoding);
        };
        let cut = self
            .truncated
            .iter()
            .filter(|cut| texts.contains(&cut.text));
        Ok(Self {
            dims: self.dims,
            values: Values::F32(values[texts.start * self.dims..texts.end * self.dims].to_vec()),
            truncated: cut
                .map(|cut| Truncated {
                    text: cut.text - texts.start,
                    ..*cut
                })
                .collect(),
            text_tokens: self.text_tokens[texts].to_vec(),
        })
    }

    /// The same in another encoding.
    ///
    /// # Errors
    /// [`EmbedError::Encoding`] unless the values are f32, or in that encoding already.
    pub fn encoded(self, encoding: Encoding) -> Result<Self, EmbedError> {
        let dims = self.dims.max(1);
        let values = match (self.values, encoding) {
            (Values::F32(rows), Encoding::I8) => {
                let mut values = vec![0; rows.len()];
                let pairs = rows.chunks_exact(dims).zip(values.chunks_exact_mut(dims));
                let scales = pairs.map(|(row, out)| i8_from_f32(row, out)).collect();
                Values::I8 { values, scales }
            }
            (Values::F32(rows), Encoding::Binary) => {
                let rows = rows.chunks_exact(dims);
                Values::Binary(rows.flat_map(bits_from_f32).collect())
            }
            (same @ Values::F32(_), Encoding::F32)
            | (same @ Values::I8 { .. }, Encoding::I8)
            | (same @ Values::Binary(_), Encoding::Binary) => same,
            (Values::I8 { .. } | Values::Binary(_), _) => return Err(EmbedError::Encoding),
        };
        Ok(Self { values, ..self })
    }
}

/// Bytes of a vector of bits.
pub fn binary_bytes(dims: usize) -> usize {
    dims.div_ceil(8)
}

/// Rounds a row to bytes, as [`Encoding::I8`] says. Out: its scale; 0 for a row of zeros. A row with a number that is not
/// finite has a scale that is not finite.
///
/// # Panics
/// If `out` is shorter than `row`.
pub fn i8_from_f32(row: &[f32], out: &mut [i8]) -> f32 {
    let out = &mut out[..row.len()];
    // `max` drops a NaN; the sum keeps it.
    let most = row.iter().fold(0f32, |most, x| most.max(x.abs()));
    let finite = row.iter().all(|x| x.is_finite());
    if !finite {
        out.fill(0);
        return f32::NAN;
    }
    // Numbers so small that their quotient is no number are zeros to a byte.
    let factor = if most < f32::MIN_POSITIVE {
        0.0
    } else {
        127.0 / most
    };
    for (value, x) in out.iter_mut().zip(row) {
        *value = (x * factor).round_ties_even() as i8;
    }
    if factor == 0.0 { 0.0 } else { most / 127.0 }
}

/// The signs of a row, as [`Encoding::Binary`] says.
pub fn bits_from_f32(row: &[f32]) -> impl Iterator<Item = u8> + '_ {
    row.chunks(8).map(|eight| {
        let bits = eight.iter().enumerate();
        bits.fold(0, |byte, (at, x)| byte | (u8::from(*x > 0.0) << (7 - at)))
    })
}

/// Cuts a row to its first numbers and brings what is left back to length 1. A row of zeros stays one.
pub(crate) fn cut(row: &[f32], out: &mut [f32]) {
    let kept = &row[..out.len()];
    let squares: f64 = kept.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = squares.sqrt();
    let factor = if length > 0.0 { 1.0 / length } else { 0.0 };
    for (out, x) in out.iter_mut().zip(kept) {
        *out = (f64::from(*x) * factor) as f32;
    }
}

/// Columns and the range of each, for bytes as sentence-transformers' `quantize_embeddings(precision="int8")` makes them.
///
/// The range of a column is taken from calibration vectors, so these bytes depend on more than their own vector; they are made
/// here, of vectors that are there, and by no service.
///
/// ```
/// use lattice_embed::Int8Ranges;
///
/// let calibration = [[-1.0, 0.0], [1.0, 0.5f32]];
/// let ranges = Int8Ranges::of(calibration.iter().map(|row| &row[..]), 2)?;
/// let mut bytes = [0; 2];
/// ranges.encode(&[-1.0, 0.25], &mut bytes);
/// assert_eq!(bytes, [-128, -1]); // from the least of a column to the most: -128 to 127
/// # Ok::<(), lattice_embed::EmbedError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Int8Ranges {
    /// Of each column: the least, and the 255th part of the way to the most.
    starts_steps: Vec<(f32, f32)>,
}

impl Int8Ranges {
    /// The ranges of calibration vectors: a few thousand are usual.
    ///
    /// # Errors
    /// [`EmbedError::Calibration`]: none, one of another length than `dims`, a number that is not finite.
    pub fn of<'a>(
        rows: impl IntoIterator<Item = &'a [f32]>,
        dims: usize,
    ) -> Result<Self, EmbedError> {
        let refused = |reason: String| Err(EmbedError::Calibration { reason });
        let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); dims];
        let mut count = 0usize;
        for (at, row) in rows.into_iter().enumerate() {
            if row.len() != dims {
                return refused(format!("vector {at} has {} numbers, not {dims}", row.len()));
            }
            if row.iter().any(|x| !x.is_finite()) {
                return refused(format!("vector {at} has a number that is not finite"));
            }
            for ((least, most), x) in ranges.iter_mut().zip(row) {
                (*least, *most) = (least.min(*x), most.max(*x));
            }
            count += 1;
        }
        if count == 0 {
            return refused("there are no vectors".to_owned());
        }
        let step = |(least, most): (f32, f32)| match (most - least) / 255.0 {
            0.0 => (least, 1.0),
            step => (least, step),
        };
        Ok(Self {
            starts_steps: ranges.into_iter().map(step).collect(),
        })
    }

    /// Bytes of a vector: the whole steps of `x` above the least, from 0 to 255, less 128. A column that never changed has steps
    /// of 1.
    pub fn encode(&self, row: &[f32], out: &mut [i8]) {
        for ((out, x), (start, step)) in out.iter_mut().zip(row).zip(&self.starts_steps) {
            // A cast keeps a number within its type.
            *out = (((x - start) / step).floor() as u8).wrapping_sub(128) as i8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(values: Vec<f32>, dims: usize) -> Embeddings {
        Embeddings {
            dims,
            values: Values::F32(values),
            truncated: Vec::new(),
            text_tokens: Vec::new(),
        }
    }

    #[test]
    fn bits_are_those_of_numpy_packbits() {
        // np.packbits(np.array([[1,-1,0,2,-3,0,0,1, 5,-5,0]]) > 0, axis=-1)
        let row = [1., -1., 0., 2., -3., 0., 0., 1., 5., -5., 0.];
        let bits = rows(row.to_vec(), 11).encoded(Encoding::Binary).unwrap();
        assert_eq!(bits.values, Values::Binary(vec![0b1001_0001, 0b1000_0000]));
        assert_eq!(bits.len(), 1);
    }

    #[test]
    fn what_has_no_scale_is_zeros() {
        let mut out = [1i8; 2];
        assert_eq!(i8_from_f32(&[0.0, -0.0], &mut out), 0.0);
        assert_eq!(out, [0, 0]);
        assert!(i8_from_f32(&[f32::NAN, 1.0], &mut out).is_nan());
        assert!(i8_from_f32(&[f32::INFINITY, 1.0], &mut out).is_nan());
        assert_eq!(out, [0, 0]);
        assert_eq!(i8_from_f32(&[1e-45, 0.0], &mut out), 0.0);
    }

    #[test]
    fn bytes_are_not_made_of_bits() {
        let bits = rows(vec![1.0; 8], 8).encoded(Encoding::Binary).unwrap();
        assert!(matches!(
            bits.clone().encoded(Encoding::I8),
            Err(EmbedError::Encoding)
        ));
        assert_eq!(bits.clone().encoded(Encoding::Binary).unwrap(), bits);
    }

    #[test]
    fn ranges_are_checked() {
        let of = |rows: &[&[f32]]| Int8Ranges::of(rows.iter().copied(), 2).map(drop);
        assert!(of(&[]).is_err());
        assert!(of(&[&[1.0]]).is_err());
        assert!(of(&[&[1.0, f32::NAN]]).is_err());
        assert!(of(&[&[1.0, 2.0]]).is_ok());
    }

    #[test]
    fn ranges_give_the_bytes_of_the_reference() {
        // sentence-transformers 6.2, quantize_embeddings(x, "int8", calibration_embeddings=calibration)
        let calibration: [[f32; 4]; 5] = [
            [0.001, 0.299, -0.274, -0.891],
            [-0.455, -0.992, 0.06, 1.34],
            [-0.492, -0.62, 0.49, 0.357],
            [0.105, -0.93, -0.029, 0.695],
            [-1.344, -0.458, -1.901, -1.29],
        ];
        let x = [
            [-1.842, -0.235, -1.267, 0.271],
            [0.157, -0.187, -2.517, -0.539],
            [-0.049, 0.113, -1.53, -0.478],
        ];
        let expected = [
            [-128, 21, -61, 23],
            [127, 31, -128, -56],
            [99, 90, -89, -50],
        ];
        let ranges = Int8Ranges::of(calibration.iter().map(|row| &row[..]), 4).unwrap();
        for (row, expected) in x.iter().zip(expected) {
            let mut bytes = [0i8; 4];
            ranges.encode(row, &mut bytes);
            assert_eq!(bytes, expected);
        }
        // quantize_embeddings(calibration, "ubinary")
        let bits: Vec<u8> = calibration
            .iter()
            .flat_map(|row| bits_from_f32(row))
            .collect();
        assert_eq!(bits, [192, 48, 48, 144, 0]);
    }

    proptest! {
        #[test]
        fn a_byte_is_within_half_a_step(row in prop::collection::vec(-1e3f32..1e3, 1..70)) {
            let mut out = vec![0i8; row.len()];
            let scale = i8_from_f32(&row, &mut out);
            for (x, value) in row.iter().zip(&out) {
                prop_assert!((x - scale * f32::from(*value)).abs() <= scale * 0.5001);
                prop_assert!(*value >= -127);
            }
        }

        #[test]
        fn a_cut_row_has_length_one(row in prop::collection::vec(-1f32..1.0, 1..70), keep in 1usize..70) {
            let mut out = vec![0f32; keep.min(row.len())];
            cut(&row, &mut out);
            let length: f32 = out.iter().map(|x| x * x).sum();
            let zeros = row[..out.len()].iter().all(|x| *x == 0.0);
            prop_assert!(zeros || (length - 1.0).abs() < 1e-5);
        }

        #[test]
        fn a_rows_bytes_are_its_own(a in prop::collection::vec(-1f32..1.0, 9), b in prop::collection::vec(-1f32..1.0, 9)) {
            for encoding in [Encoding::I8, Encoding::Binary] {
                let both = rows([a.clone(), b.clone()].concat(), 9).encoded(encoding).unwrap();
                let [a, b] = [&a, &b].map(|row| rows(row.clone(), 9).encoded(encoding).unwrap().values);
                let joined = match (a, b) {
                    (Values::I8 { values: a, scales: s }, Values::I8 { values: b, scales: t }) => Values::I8 {
                        values: [a, b].concat(),
                        scales: [s, t].concat(),
                    },
                    (Values::Binary(a), Values::Binary(b)) => Values::Binary([a, b].concat()),
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(both.values, joined);
            }
        }
    }
}
