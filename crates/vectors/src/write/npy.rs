//! Pieces of an .npy file: the numbers, little-endian. Their number of rows is in the header, which is written again.

use super::encode::{Encoded, Encoder, Ending, Piece, PieceLine};
use crate::npy::{header_bytes, write_npy_values};
use crate::{Label, Stored, Values};

pub(super) struct Npy {
    stored: Stored,
    columns: u64,
}

impl Npy {
    pub(super) fn new(stored: Stored, columns: usize) -> Self {
        Self {
            stored,
            columns: columns as u64,
        }
    }
}

impl Encoder for Npy {
    fn head(&self) -> Vec<u8> {
        header_bytes(self.stored, 0, self.columns).to_vec()
    }

    /// Labels have no place here and are left out.
    fn check(&self, _label: &Label) -> Result<(), String> {
        Ok(())
    }

    fn encode(&mut self, piece: &Piece<'_>) -> Result<Encoded, String> {
        let mut bytes = Vec::new();
        match piece.values {
            Values::F32(values) => {
                bytes.reserve_exact(4 * values.len());
                write_npy_values(&mut bytes, values).map_err(|error| error.to_string())?;
            }
            Values::I8(values) => bytes.extend(values.iter().map(|value| value.cast_unsigned())),
            Values::U8(values) => bytes.extend_from_slice(values),
        }
        Ok(Encoded {
            bytes,
            note: String::new(),
        })
    }

    fn ending(&self, pieces: &[PieceLine]) -> Result<Ending, String> {
        let rows = pieces.iter().map(|piece| piece.rows).sum();
        Ok(Ending {
            head: header_bytes(self.stored, rows, self.columns).to_vec(),
            tail: Vec::new(),
        })
    }
}
