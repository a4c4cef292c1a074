//! How the directory and the delivery queue write their records: a version byte, then fields in
//! order.
//!
//! Numbers are LEB128, strings and bytes carry their length, an optional field a leading 0 or 1. A
//! record ends with its last field: what follows is damage. The version byte rises when a field is
//! added; old versions stay readable.
//! Invariants: reading any bytes ends in a value or a [`RecordError`], in time and memory linear in
//! the bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why bytes are not the record they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("format {0} is newer than this release")]
    Newer(u8),
    #[error("ends within {0}")]
    Short(&'static str),
    #[error("{0} is malformed")]
    Malformed(&'static str),
    #[error("bytes follow the last field")]
    Trailing,
}

/// Writes one record.
#[derive(Debug)]
pub struct Writer(BytesMut);

impl Writer {
    /// A record of format `version`.
    #[must_use]
    pub fn new(version: u8) -> Self {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_u8(version);
        Self(bytes)
    }

    pub fn byte(&mut self, byte: u8) {
        self.0.put_u8(byte);
    }

    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.put_u8((number & 0x7F) as u8 | 0x80);
            number >>= 7;
        }
        self.0.put_u8(number as u8);
    }

    /// A signed number, zigzag.
    pub fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub fn wide(&mut self, number: u128) {
        self.0.put_u128(number);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.put_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// 0, or 1 and what `write` writes.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    #[must_use]
    pub fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// Reads one record; byte strings are slices of it.
#[derive(Debug)]
pub struct Reader(Bytes);

impl Reader {
    /// Reads the version byte, which must not exceed `newest`.
    ///
    /// # Errors
    /// Empty, version 0, or newer than `newest`.
    pub fn new(record: Bytes, newest: u8) -> Result<(u8, Self), RecordError> {
        let mut reader = Self(record);
        match reader.byte("version")? {
            0 => Err(RecordError::Malformed("version")),
            version if version > newest => Err(RecordError::Newer(version)),
            version => Ok((version, reader)),
        }
    }

    /// # Errors
    /// `Short`.
    pub fn byte(&mut self, field: &'static str) -> Result<u8, RecordError> {
        self.0.try_get_u8().map_err(|_| RecordError::Short(field))
    }

    /// # Errors
    /// `Short`, or over 64 bits.
    pub fn number(&mut self, field: &'static str) -> Result<u64, RecordError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7F);
            if (bits << shift) >> shift != bits {
                return Err(RecordError::Malformed(field));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(RecordError::Malformed(field))
    }

    /// # Errors
    /// As `number`.
    pub fn signed(&mut self, field: &'static str) -> Result<i64, RecordError> {
        let zigzag = self.number(field)?;
        Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    /// # Errors
    /// `Short`.
    pub fn wide(&mut self, field: &'static str) -> Result<u128, RecordError> {
        self.0.try_get_u128().map_err(|_| RecordError::Short(field))
    }

    /// # Errors
    /// `Short`.
    pub fn bytes(&mut self, field: &'static str) -> Result<Bytes, RecordError> {
        let len = self.number(field)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.0.len() => Ok(self.0.split_to(len)),
            Ok(_) | Err(_) => Err(RecordError::Short(field)),
        }
    }

    /// # Errors
    /// `Short`, or not UTF-8.
    pub fn text(&mut self, field: &'static str) -> Result<String, RecordError> {
        let bytes = self.bytes(field)?;
        String::from_utf8(bytes.into()).map_err(|_| RecordError::Malformed(field))
    }

    /// Reads what [`Writer::option`] wrote.
    ///
    /// # Errors
    /// `Short`, or neither 0 nor 1, or what `read` finds.
    pub fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, RecordError>,
    ) -> Result<Option<T>, RecordError> {
        match self.byte(field)? {
            0 => Ok(None),
            1 => read(self, field).map(Some),
            _ => Err(RecordError::Malformed(field)),
        }
    }

    /// A count of items of at least one byte each: never more than bytes are left, so that it may
    /// size a vector.
    ///
    /// # Errors
    /// `Short`.
    pub fn count(&mut self, field: &'static str) -> Result<usize, RecordError> {
        let count = self.number(field)?;
        match usize::try_from(count) {
            Ok(count) if count <= self.0.len() => Ok(count),
            Ok(_) | Err(_) => Err(RecordError::Short(field)),
        }
    }

    /// The record must be at its end.
    ///
    /// # Errors
    /// `Trailing`.
    pub fn finish(self) -> Result<(), RecordError> {
        if self.0.is_empty() { Ok(()) } else { Err(RecordError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_every_kind_of_field() {
        let mut writer = Writer::new(1);
        writer.byte(7);
        writer.number(300);
        writer.signed(-2);
        writer.wide(5);
        writer.text("ab");
        writer.option(None::<u64>, Writer::number);
        writer.option(Some(1), Writer::number);
        let golden =
            [&[1, 7, 0xAC, 0x02, 3][..], &5_u128.to_be_bytes(), &[2, b'a', b'b', 0, 1, 1]].concat();
        assert_eq!(writer.finish(), golden);
    }

    #[test]
    fn newer_and_overlong_records_are_refused() {
        let read = |bytes: &'static [u8]| Reader::new(Bytes::from_static(bytes), 1).map(|(_, r)| r);
        assert_eq!(read(&[2]).unwrap_err(), RecordError::Newer(2));
        assert_eq!(read(&[]).unwrap_err(), RecordError::Short("version"));
        assert_eq!(read(&[1, 0]).unwrap().finish(), Err(RecordError::Trailing));
        let mut overlong =
            read(&[1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2]).unwrap();
        assert_eq!(overlong.number("n"), Err(RecordError::Malformed("n")));
        assert_eq!(read(&[1, 9, 1]).unwrap().bytes("b"), Err(RecordError::Short("b")));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number: u64, signed: i64, wide: u128) {
            let mut writer = Writer::new(1);
            writer.number(number);
            writer.signed(signed);
            writer.wide(wide);
            let (_, mut reader) = Reader::new(writer.finish(), 1).unwrap();
            prop_assert_eq!(reader.number("n"), Ok(number));
            prop_assert_eq!(reader.signed("s"), Ok(signed));
            prop_assert_eq!(reader.wide("w"), Ok(wide));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
