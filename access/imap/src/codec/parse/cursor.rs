//! The tokens of RFC 9051 section 9, taken from the front of a command.

use super::NameEncoding;
use bytes::Bytes;

/// Why a command is none. Goes out as the text of BAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub &'static str);

pub(super) type Parsed<T> = Result<T, SyntaxError>;

/// A place in a command. What it hands out are slices of the command's buffer.
#[derive(Debug)]
pub(in crate::codec) struct Cursor<'a> {
    buffer: &'a Bytes,
    at: usize,
    pub(super) names: NameEncoding,
}

/// RFC 9051 section 9 ATOM-CHAR.
pub(super) const fn is_atom(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// ASTRING-CHAR: `]` too.
pub(super) const fn is_astring(byte: u8) -> bool {
    is_atom(byte) || byte == b']'
}

/// list-char: wildcards too.
pub(super) const fn is_list_char(byte: u8) -> bool {
    is_astring(byte) || matches!(byte, b'%' | b'*')
}

impl<'a> Cursor<'a> {
    pub(in crate::codec) const fn new(buffer: &'a Bytes, names: NameEncoding) -> Self {
        Self { buffer, at: 0, names }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.buffer.get(self.at).copied()
    }

    /// The byte behind the next one.
    pub(super) fn peek_second(&self) -> Option<u8> {
        self.buffer.get(self.at + 1).copied()
    }

    /// Takes `byte` when it is next.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn expect(&mut self, byte: u8, reason: &'static str) -> Parsed<()> {
        if self.skip(byte) { Ok(()) } else { Err(SyntaxError(reason)) }
    }

    /// Goes on behind bytes that were looked at already.
    pub(super) fn skip_bytes(&mut self, len: usize) {
        self.at = (self.at + len).min(self.buffer.len());
    }

    /// Whether the line at hand is the last one.
    pub(super) fn is_last_line(&self) -> bool {
        memchr::memchr(b'\n', self.rest()).is_none_or(|at| at + 1 == self.rest().len())
    }

    /// Exactly one space.
    pub(super) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "space expected")
    }

    /// The end of the command. Spaces before it are forgiven.
    pub(super) fn end(&mut self) -> Parsed<()> {
        while self.skip(b' ') {}
        if self.is_at_end() { Ok(()) } else { Err(SyntaxError("unexpected argument")) }
    }

    /// Whether an argument follows; takes the space before it.
    pub(super) fn another(&mut self) -> Parsed<bool> {
        let spaces = self.rest().iter().take_while(|&&byte| byte == b' ').count();
        if matches!(self.rest().get(spaces..), None | Some(b"" | b"\n" | b"\r\n")) {
            return Ok(false);
        }
        self.space().map(|()| true)
    }

    /// Whether nothing but the line's end is left.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.rest(), b"" | b"\n" | b"\r\n")
    }

    /// The longest run of bytes that satisfy `is_in`, maybe empty.
    pub(super) fn run(&mut self, is_in: impl Fn(u8) -> bool) -> Bytes {
        let rest = self.rest();
        let len = rest.iter().position(|&byte| !is_in(byte)).unwrap_or(rest.len());
        self.advance(len)
    }

    fn advance(&mut self, len: usize) -> Bytes {
        let slice = self.buffer.slice(self.at..self.at + len);
        self.at += len;
        slice
    }

    /// One or more ATOM-CHARs.
    pub(super) fn atom(&mut self) -> Parsed<Bytes> {
        let atom = self.run(is_atom);
        if atom.is_empty() { Err(SyntaxError("atom expected")) } else { Ok(atom) }
    }

    /// A keyword of the grammar: letters, digits, `.`, `-`, compared in capitals.
    pub(super) fn word(&mut self) -> Parsed<Word> {
        let run = self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        Word::new(&run).ok_or(SyntaxError("unknown word"))
    }

    pub(super) fn astring(&mut self) -> Parsed<Bytes> {
        if self.peek().is_some_and(is_astring) {
            return Ok(self.run(is_astring));
        }
        self.string()
    }

    pub(super) fn string(&mut self) -> Parsed<Bytes> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            Some(_) | None => Err(SyntaxError("string expected")),
        }
    }

    /// A string, or NIL as `None`.
    pub(super) fn nstring(&mut self) -> Parsed<Option<Bytes>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string().map(Some),
            Some(_) | None => {
                let atom = self.atom()?;
                if atom.eq_ignore_ascii_case(b"NIL") {
                    Ok(None)
                } else {
                    Err(SyntaxError("string or NIL expected"))
                }
            }
        }
    }

    /// A quoted string. 8-bit bytes are allowed in it (RFC 9051 4.3); what they mean is for the
    /// rule that asked.
    pub(super) fn quoted(&mut self) -> Parsed<Bytes> {
        self.expect(b'"', "quoted string expected")?;
        let plain = self.run(|byte| !matches!(byte, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.skip(b'"') {
            return Ok(plain);
        }
        let mut text = plain.to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text.into());
                }
                // RFC 9051 section 9 quoted: a backslash stands before `"` and itself alone.
                Some(b'\\') => {
                    let Some(escaped @ (b'"' | b'\\')) = self.peek_second() else {
                        return Err(SyntaxError("wrong escape in a quoted string"));
                    };
                    text.push(escaped);
                    self.at += 2;
                }
                Some(b'\r' | b'\n' | 0) | None => {
                    return Err(SyntaxError("quoted string without an end"));
                }
                Some(byte) => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// A literal whose bytes the framer has collected.
    fn literal(&mut self) -> Parsed<Bytes> {
        const WRONG: SyntaxError = SyntaxError("wrong literal");
        self.expect(b'{', WRONG.0)?;
        let len = usize::try_from(self.number64()?).map_err(|_| WRONG)?;
        // RFC 7888: the sign matters to the framer alone.
        let _ = self.skip(b'+') || self.skip(b'-');
        self.expect(b'}', WRONG.0)?;
        self.skip(b'\r');
        self.expect(b'\n', WRONG.0)?;
        if self.rest().len() < len {
            return Err(WRONG);
        }
        let text = self.advance(len);
        // RFC 9051 4.3: NUL only in literal8.
        if memchr::memchr(0, &text).is_some() {
            return Err(SyntaxError("NUL in a literal"));
        }
        Ok(text)
    }

    /// RFC 9051 section 9 number64: below 2^63.
    pub(super) fn number64(&mut self) -> Parsed<u64> {
        let digits = self.run(|byte| byte.is_ascii_digit());
        if digits.is_empty() {
            return Err(SyntaxError("number expected"));
        }
        let mut value: u64 = 0;
        for &digit in &digits[..] {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u64::from(digit - b'0')))
                .filter(|&value| value < 1 << 63)
                .ok_or(SyntaxError("number too large"))?;
        }
        Ok(value)
    }

    pub(super) fn number(&mut self) -> Parsed<u32> {
        u32::try_from(self.number64()?).map_err(|_| SyntaxError("number too large"))
    }

    /// A number that is not 0 and does not begin with 0.
    pub(super) fn nz_number(&mut self) -> Parsed<u32> {
        if self.peek() == Some(b'0') {
            return Err(SyntaxError("number must not begin with 0"));
        }
        self.number()
    }

    /// `(item item ...)`: calls `item` for each; at least `min` of them.
    pub(super) fn list(
        &mut self,
        min: usize,
        mut item: impl FnMut(&mut Self) -> Parsed<()>,
    ) -> Parsed<()> {
        self.expect(b'(', "list expected")?;
        if min == 0 && self.skip(b')') {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.skip(b')') {
                return Ok(());
            }
            self.space()?;
        }
    }
}

/// A short word of the grammar in capitals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    text: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Word {
    /// The longest word of the grammar is shorter.
    const BYTES_MAX: usize = 24;

    fn new(word: &[u8]) -> Option<Self> {
        if word.is_empty() || word.len() > Self::BYTES_MAX {
            return None;
        }
        let mut text = [0; Self::BYTES_MAX];
        text[..word.len()].copy_from_slice(word);
        text.make_ascii_uppercase();
        Some(Self { text, len: word.len() })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}
