//! numpy's .npy header, both ways.
//!
//! Layout: `\x93NUMPY`, version (two bytes), the header's length (u16 in version 1, u32 in 2 and 3, little-endian), a
//! Python dictionary as text with `descr`, `fortran_order` and `shape`, spaces and a newline; then the numbers.
//! Source: numpy's `lib/format.py`.

use std::io::{self, Write};

use crate::Stored;

/// Bytes of a header that we write: room for any number of rows, so that it can be written again at the end.
pub(crate) const HEADER_BYTES: usize = 128;
/// Bytes of a header that we read; numpy's own limit is 10,000.
const HEADER_BYTES_MAX: u64 = 1 << 20;
const MAGIC: &[u8] = b"\x93NUMPY";

/// What a header says of an array with rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) stored: Stored,
    pub(crate) big_endian: bool,
    /// Column by column instead of row by row.
    pub(crate) fortran: bool,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    /// Where the numbers begin.
    pub(crate) data_at: u64,
}

/// The header of a little-endian array `[rows, columns]` in C order, always of the same length.
pub(crate) fn header_bytes(stored: Stored, rows: u64, columns: u64) -> [u8; HEADER_BYTES] {
    let descr = match stored {
        Stored::F16 => "<f2",
        Stored::F32 => "<f4",
        Stored::F64 => "<f8",
        Stored::I8 => "|i1",
        Stored::U8 => "|u1",
    };
    let fields =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let mut bytes = [b' '; HEADER_BYTES];
    bytes[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
    bytes[8..10].copy_from_slice(&(HEADER_BYTES as u16 - 10).to_le_bytes());
    // Two numbers of 20 digits leave 20 bytes.
    bytes[10..10 + fields.len()].copy_from_slice(fields.as_bytes());
    bytes[HEADER_BYTES - 1] = b'\n';
    bytes
}

/// Writes the header of a little-endian array `[rows, columns]` in C order.
///
/// # Errors
/// What the system says.
pub fn write_npy_header(
    out: &mut impl Write,
    stored: Stored,
    rows: u64,
    columns: u64,
) -> io::Result<()> {
    out.write_all(&header_bytes(stored, rows, columns))
}

/// Writes values, little-endian.
///
/// # Errors
/// What the system says.
pub fn write_npy_values(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = [0_u8; 4096];
    for values in values.chunks(bytes.len() / 4) {
        for (to, value) in bytes.chunks_exact_mut(4).zip(values) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        out.write_all(&bytes[..4 * values.len()])?;
    }
    Ok(())
}

impl Header {
    /// Reads a header. `file_bytes` is the length of the whole file; the numbers must fill the rest of it.
    ///
    /// # Errors
    /// What is wrong, with the byte.
    pub(crate) fn read(input: &mut impl io::Read, file_bytes: u64) -> Result<Self, String> {
        let cut = |_short| "the file ends inside of the header".to_owned();
        let mut fixed = [0; 8];
        input.read_exact(&mut fixed).map_err(cut)?;
        if &fixed[..6] != MAGIC {
            return Err("byte 0: no .npy file, it does not begin with \\x93NUMPY".to_owned());
        }
        let length_bytes = match fixed[6] {
            1 => 2,
            2 | 3 => 4,
            version => return Err(format!("byte 6: version {version}; 1, 2 and 3 are known")),
        };
        let mut length = [0; 4];
        input.read_exact(&mut length[..length_bytes]).map_err(cut)?;
        let length = u64::from(u32::from_le_bytes(length));
        let begin = 8 + length_bytes as u64;
        let data_at = begin + length;
        if data_at > file_bytes || length > HEADER_BYTES_MAX {
            return Err(format!(
                "byte 8: a header of {length} bytes in a file of {file_bytes}"
            ));
        }
        let mut text = vec![0; length as usize];
        input.read_exact(&mut text).map_err(cut)?;
        let header = Dict {
            bytes: &text,
            at: 0,
            begin,
        }
        .header(data_at)?;
        header.check_length(file_bytes)?;
        Ok(header)
    }

    fn check_length(&self, file_bytes: u64) -> Result<(), String> {
        let row = self.columns.checked_mul(self.stored.bytes());
        let data = row.and_then(|row| row.checked_mul(self.rows));
        let there = file_bytes - self.data_at;
        if data == Some(there) {
            return Ok(());
        }
        Err(format!(
            "the header says {} x {} {}, which is {} bytes; behind it are {there}",
            self.rows,
            self.columns,
            self.stored.name(),
            data.map_or("more than any file's".to_owned(), |data| data.to_string()),
        ))
    }
}

/// The dictionary's text, and how far it is read.
struct Dict<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The text's place in the file.
    begin: u64,
}

impl<'a> Dict<'a> {
    fn header(mut self, data_at: u64) -> Result<Header, String> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.take(b'}') {
            let key = self.text()?;
            self.expect(b':')?;
            match key {
                b"descr" if descr.is_none() => descr = Some(self.descr()?),
                b"fortran_order" if fortran.is_none() => fortran = Some(self.truth()?),
                b"shape" if shape.is_none() => shape = Some(self.shape()?),
                _ => {
                    let key = String::from_utf8_lossy(key).into_owned();
                    return Err(self.wrong(&format!("a key {key:?} too many")));
                }
            }
            if !self.take(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.spaces();
        if self.at != self.bytes.len() {
            return Err(self.wrong("the header goes on behind its dictionary"));
        }
        let (Some((stored, big_endian)), Some(fortran), Some((rows, columns))) =
            (descr, fortran, shape)
        else {
            return Err(self.wrong("the header lacks descr, fortran_order or shape"));
        };
        Ok(Header {
            stored,
            big_endian,
            fortran,
            rows,
            columns,
            data_at,
        })
    }

    fn descr(&mut self) -> Result<(Stored, bool), String> {
        self.spaces();
        if self.bytes.get(self.at) == Some(&b'[') {
            return Err(self.wrong("records with fields; wanted is one type of number"));
        }
        let descr = self.text()?;
        let (order, name) = descr.split_at(descr.len().min(1));
        let stored = match name {
            b"f2" => Stored::F16,
            b"f4" => Stored::F32,
            b"f8" => Stored::F64,
            b"i1" => Stored::I8,
            b"u1" => Stored::U8,
            _ => {
                let descr = String::from_utf8_lossy(descr).into_owned();
                return Err(self.wrong(&format!(
                    "numbers of type {descr:?}; f2, f4, f8, i1 and u1 are read"
                )));
            }
        };
        match order {
            b"<" => Ok((stored, false)),
            b">" => Ok((stored, true)),
            b"|" if stored.bytes() == 1 => Ok((stored, false)),
            _ => Err(self.wrong("the type does not say its byte order")),
        }
    }

    fn shape(&mut self) -> Result<(u64, u64), String> {
        self.expect(b'(')?;
        let mut sizes = Vec::new();
        while !self.take(b')') {
            sizes.push(self.number()?);
            if !self.take(b',') {
                self.expect(b')')?;
                break;
            }
        }
        match sizes[..] {
            [rows, columns] if columns > 0 => Ok((rows, columns)),
            [_, _] => Err(self.wrong("rows of no columns")),
            _ => Err(self.wrong(&format!(
                "{} dimensions; wanted are two, rows and columns",
                sizes.len()
            ))),
        }
    }

    fn number(&mut self) -> Result<u64, String> {
        self.spaces();
        let rest = &self.bytes[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = std::str::from_utf8(&rest[..digits]).unwrap_or_default();
        let number = text.parse();
        self.at += digits;
        number.map_err(|_no_number| self.wrong("no size"))
    }

    fn truth(&mut self) -> Result<bool, String> {
        self.spaces();
        for (word, truth) in [(&b"True"[..], true), (b"False", false)] {
            if self.bytes[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(truth);
            }
        }
        Err(self.wrong("neither True nor False"))
    }

    fn text(&mut self) -> Result<&'a [u8], String> {
        self.spaces();
        let quote = self.bytes.get(self.at).copied();
        let Some(quote @ (b'\'' | b'"')) = quote else {
            return Err(self.wrong("no text in quotes"));
        };
        let rest = &self.bytes[self.at + 1..];
        let Some(end) = rest.iter().position(|byte| *byte == quote) else {
            return Err(self.wrong("a text without its end"));
        };
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.take(byte) {
            return Ok(());
        }
        Err(self.wrong(&format!("no {:?}", char::from(byte))))
    }

    fn take(&mut self, byte: u8) -> bool {
        self.spaces();
        let there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn spaces(&mut self) {
        let rest = &self.bytes[self.at..];
        let spaces = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        self.at += rest.iter().take_while(spaces).count();
    }

    fn wrong(&self, what: &str) -> String {
        format!("byte {}: {what}", self.begin + self.at as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_numpy_writes() {
        let bytes = header_bytes(Stored::F32, 3, 5);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&bytes[10..]).unwrap();
        assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }"));
        assert!(text.ends_with('\n'));
        header_bytes(Stored::F64, u64::MAX, u64::MAX);
    }

    #[test]
    fn what_is_written_is_read() {
        for stored in [
            Stored::F16,
            Stored::F32,
            Stored::F64,
            Stored::I8,
            Stored::U8,
        ] {
            let bytes = header_bytes(stored, 3, 5);
            let found = Header::read(&mut &bytes[..], 128 + 15 * stored.bytes()).unwrap();
            assert_eq!((found.stored, found.rows, found.columns), (stored, 3, 5));
            assert_eq!(
                (found.data_at, found.fortran, found.big_endian),
                (128, false, false)
            );
        }
    }
}
