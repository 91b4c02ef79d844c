//! Writes numpy's .npy format, version 1.0: a header that says type and shape, then the values.
//!
//! Source: numpy's `lib/format.py`.

use std::io::{self, Write};

/// The header of a little-endian f32 array `[rows, columns]` in C order, padded to a multiple of 64 bytes.
pub(crate) fn write_header(out: &mut impl Write, rows: usize, columns: usize) -> io::Result<()> {
    let fields =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let prefix = b"\x93NUMPY\x01\x00";
    let unpadded = prefix.len() + 2 + fields.len() + 1;
    let padding = unpadded.next_multiple_of(64) - unpadded;
    let length = u16::try_from(fields.len() + padding + 1)
        .map_err(|_too_long| io::Error::other("an .npy header of more than 65,535 bytes"))?;
    out.write_all(prefix)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(fields.as_bytes())?;
    out.write_all(&vec![b' '; padding])?;
    out.write_all(b"\n")
}

/// Values, little-endian.
pub(crate) fn write_values(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    values
        .iter()
        .try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_numpy_writes() {
        let mut bytes = Vec::new();
        write_header(&mut bytes, 3, 5).unwrap();
        assert_eq!(bytes.len() % 64, 0);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&bytes[10..]).unwrap();
        assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }"));
        assert!(text.ends_with('\n'));
    }
}
