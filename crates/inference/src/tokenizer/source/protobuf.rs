//! The wire form of protocol buffers, as far as a tokenizer.model needs it.
//!
//! In: the bytes of a message. Out: its fields one after the other, each length checked against what is left.
//! It does not know what a field means.

use super::Fault;

/// One field's number and value. Groups, which no current writer makes, are refused.
pub(super) type Field<'a> = (u64, Wire<'a>);

/// A value as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Reads the fields of one message.
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the message begins in the file, for errors.
    base: usize,
}

impl<'a> Message<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    fn at(bytes: &'a [u8], base: usize) -> Self {
        Message { bytes, at: 0, base }
    }

    /// A message that is the value of the field just read.
    pub(super) fn inner(&self, value: &'a [u8]) -> Self {
        Self::at(value, self.base + self.at - value.len())
    }

    /// The next field, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Fault> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Wire::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                let mut word = [0; 4];
                word.copy_from_slice(self.take(4)?);
                Wire::Fixed32(u32::from_le_bytes(word))
            }
            kind => return Err(self.fault(format!("wire type {kind} is not known"))),
        };
        match tag >> 3 {
            0 => Err(self.fault("field number 0".to_owned())),
            number => Ok(Some((number, value))),
        }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                let taken = &self.bytes[self.at..self.at + length];
                self.at += length;
                Ok(taken)
            }
            _ => Err(self.fault(format!("a field of {length} bytes, {left} are left"))),
        }
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.fault("a number of more than 64 bits".to_owned()))
    }

    fn fault(&self, reason: String) -> Fault {
        Fault(format!("byte {}: {reason}", self.base + self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Field<'_>>, String> {
        let mut message = Message::new(bytes);
        let mut fields = Vec::new();
        loop {
            match message.next() {
                Ok(Some(field)) => fields.push(field),
                Ok(None) => return Ok(fields),
                Err(Fault(reason)) => return Err(reason),
            }
        }
    }

    #[test]
    fn fields_come_in_order() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f,
        ];
        let want = [
            (1, Wire::Varint(150)),
            (2, Wire::Bytes(b"hi")),
            (3, Wire::Fixed32(0x3f80_0000)),
        ];
        assert_eq!(all(&bytes).unwrap(), want);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let cases: [(&[u8], &str); 7] = [
            (
                &[0x12, 3, b'h', b'i'],
                "byte 2: a field of 3 bytes, 2 are left",
            ),
            (
                &[
                    0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
                ],
                "left",
            ),
            (
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
                ],
                "64 bits",
            ),
            (&[0x08], "left"),
            (&[0x0b], "wire type 3"),
            (&[0x00, 0x00], "field number 0"),
            (&[0x0d, 1, 2, 3], "left"),
        ];
        for (bytes, fault) in cases {
            let reason = all(bytes).unwrap_err();
            assert!(reason.contains(fault), "{reason}");
        }
    }
}
