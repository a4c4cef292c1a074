//! Reading of one value, front to back.

use bytes::Bytes;

/// A value that is not what its key says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable: {0}")]
pub struct Unreadable(pub String);

/// See the head of the file.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Cursor<'a> {
    /// A value that begins with version 1.
    ///
    /// # Errors
    /// When it does not.
    pub fn versioned(value: &'a Bytes, what: &'static str) -> Result<Self, Unreadable> {
        let mut cursor = Self { rest: value, what };
        if cursor.byte()? == 1 { Ok(cursor) } else { cursor.fail("version") }
    }

    /// # Errors
    /// Always.
    pub fn fail<T>(&self, field: &str) -> Result<T, Unreadable> {
        Err(Unreadable(format!("{}: {field}", self.what)))
    }

    /// # Errors
    /// At the end.
    pub fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.take(1)?[0])
    }

    /// # Errors
    /// When there are fewer bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Unreadable> {
        if len > self.rest.len() {
            return self.fail("too short");
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    /// LEB128.
    ///
    /// # Errors
    /// At the end, or over 64 bits.
    pub fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0_u128;
        for place in 0..10 {
            let byte = self.byte()?;
            number |= u128::from(byte & 0x7F) << (7 * place);
            if byte < 0x80 {
                return u64::try_from(number).or_else(|_| self.fail("number"));
            }
        }
        self.fail("number")
    }

    /// # Errors
    /// As `number`, or over 32 bits.
    pub fn number32(&mut self) -> Result<u32, Unreadable> {
        u32::try_from(self.number()?).or_else(|_| self.fail("number of 32 bits"))
    }

    /// # Errors
    /// As `number`.
    pub fn length(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.number()?).or_else(|_| self.fail("length"))
    }

    /// Zigzag.
    ///
    /// # Errors
    /// As `number`.
    pub fn signed(&mut self) -> Result<i64, Unreadable> {
        let number = self.number()?;
        let half = (number / 2).cast_signed();
        Ok(if number % 2 == 0 { half } else { -half - 1 })
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// When there are fewer bytes.
    pub fn fixed(&mut self) -> Result<u64, Unreadable> {
        Ok(self.take(8)?.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// Sixteen bytes, little-endian.
    ///
    /// # Errors
    /// When there are fewer bytes.
    pub fn wide(&mut self) -> Result<u128, Unreadable> {
        Ok(self.take(16)?.iter().rev().fold(0, |sum, &byte| sum << 8 | u128::from(byte)))
    }

    /// A length, and so many bytes.
    ///
    /// # Errors
    /// When there are fewer bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let len = self.length()?;
        self.take(len)
    }

    /// # Errors
    /// When bytes are left.
    pub fn end(&self) -> Result<(), Unreadable> {
        if self.rest.is_empty() { Ok(()) } else { self.fail("bytes are left over") }
    }
}

/// A big-endian number.
#[must_use]
pub fn big_endian(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u128::from(byte))
}
