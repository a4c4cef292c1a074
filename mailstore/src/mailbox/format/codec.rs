//! Writing and reading of values: bounded and fallible, because disks are not trusted.

use super::VERSION;
use crate::face::TaskRefusal;
use bytes::Bytes;

/// A value that can't be what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged {0}")]
pub struct Damaged(pub &'static str);

impl From<Damaged> for TaskRefusal {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

/// Builds one value.
#[derive(Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A value of about `capacity` bytes; the version byte is written.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity + 1);
        bytes.push(VERSION);
        Self(bytes)
    }

    /// Part of a value: no version byte.
    #[must_use]
    pub fn bare() -> Self {
        Self(Vec::new())
    }

    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// LEB128.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    /// Zigzag, then LEB128.
    pub fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    /// Eight bytes, little-endian: for hashes, which LEB128 would lengthen.
    pub fn fixed(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub fn wide(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Length, then bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Bytes alone.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn finish(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// Reads one value from its beginning.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Checks the version byte. `what` names the record in errors.
    ///
    /// # Errors
    /// An empty value or another version.
    pub fn new(value: &'a [u8], what: &'static str) -> Result<Self, Damaged> {
        match value.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest, what }),
            Some(_) | None => Err(Damaged(what)),
        }
    }

    /// Reads part of a value: no version byte.
    #[must_use]
    pub fn bare(rest: &'a [u8], what: &'static str) -> Self {
        Self { rest, what }
    }

    /// The error of this record.
    #[must_use]
    pub fn damaged(&self) -> Damaged {
        Damaged(self.what)
    }

    /// # Errors
    /// At the end.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Damaged> {
        let (&first, rest) = self.rest.split_first().ok_or(Damaged(self.what))?;
        self.rest = rest;
        Ok(first)
    }

    /// # Errors
    /// At the end, or over 64 bits.
    #[inline]
    pub fn number(&mut self) -> Result<u64, Damaged> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.longer_number(first) }
    }

    fn longer_number(&mut self, first: u8) -> Result<u64, Damaged> {
        let mut number = u64::from(first & 0x7F);
        let mut shift = 7_u32;
        while shift < 64 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(Damaged(self.what));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
        Err(Damaged(self.what))
    }

    /// # Errors
    /// At the end, or over 32 bits.
    #[inline]
    pub fn number32(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged(self.what))
    }

    /// # Errors
    /// As [`Reader::number`].
    #[inline]
    pub fn signed(&mut self) -> Result<i64, Damaged> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// # Errors
    /// At the end.
    #[inline]
    pub fn fixed(&mut self) -> Result<u64, Damaged> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(Damaged(self.what))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*head))
    }

    /// # Errors
    /// At the end.
    pub fn wide(&mut self) -> Result<u128, Damaged> {
        let (head, rest) = self.rest.split_first_chunk::<16>().ok_or(Damaged(self.what))?;
        self.rest = rest;
        Ok(u128::from_le_bytes(*head))
    }

    /// A length, and so many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let len = usize::try_from(self.number()?).map_err(|_| Damaged(self.what))?;
        self.raw(len)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Damaged(self.what))?;
        self.rest = rest;
        Ok(head)
    }

    /// UTF-8 text with its length.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| Damaged(self.what))
    }

    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// # Errors
    /// When bytes are left over.
    pub fn finish(self) -> Result<(), Damaged> {
        if self.rest.is_empty() { Ok(()) } else { Err(Damaged(self.what)) }
    }
}
