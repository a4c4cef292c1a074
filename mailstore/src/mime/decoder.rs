//! Transfer encodings undone (RFC 2045 6.7 and 6.8), piece by piece.

use super::part_table::Encoding;

/// The encoded data are no such encoding: SectionRead::UnknownEncoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transfer encoding is unknown or broken")]
pub struct BrokenEncoding;

/// Undoes one transfer encoding over pieces of any size.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Identity,
    Base64 {
        bits: u32,
        count: u8,
    },
    /// Padding was seen: whatever follows (a footer of a mailing list) is not of the data.
    Base64Ended,
    Quoted(Quoted),
}

/// Quoted-printable: what was held back because it depends on what follows.
#[derive(Clone, Debug, Default)]
struct Quoted {
    /// `=` and what followed it so far, or white space that may end a line.
    held: Vec<u8>,
}

/// White space held back at most. RFC 2045 6.7: lines have 76 bytes.
const HELD_BYTES_MAX: usize = 998;

const NOT_OF_ALPHABET: u8 = 0xFF;
const SPACE: u8 = 0xFE;
const PADDING: u8 = 0xFD;

/// RFC 2045 6.8, table 1; white space and padding apart.
static BASE64: [u8; 256] = base64_table();

const fn base64_table() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [NOT_OF_ALPHABET; 256];
    let mut at = 0;
    while at < alphabet.len() {
        table[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    table[b' ' as usize] = SPACE;
    table[b'\t' as usize] = SPACE;
    table[b'\r' as usize] = SPACE;
    table[b'\n' as usize] = SPACE;
    table[b'=' as usize] = PADDING;
    table
}

impl Decoder {
    /// A decoder of an encoding.
    ///
    /// # Errors
    /// When the encoding is unknown.
    pub fn new(encoding: Encoding) -> Result<Self, BrokenEncoding> {
        let state = match encoding {
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => State::Identity,
            Encoding::Base64 => State::Base64 { bits: 0, count: 0 },
            Encoding::QuotedPrintable => State::Quoted(Quoted::default()),
            Encoding::Unknown => return Err(BrokenEncoding),
        };
        Ok(Self { state })
    }

    /// Appends what the next piece decodes to.
    ///
    /// # Errors When the data are no base64; what stood before has been appended. Quoted-printable
    /// takes all (RFC 2045 6.7).
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), BrokenEncoding> {
        match &mut self.state {
            State::Identity => {
                out.extend_from_slice(piece);
                Ok(())
            }
            State::Base64 { bits, count } => match push_base64(piece, (bits, count), out) {
                Base64Piece::Going => Ok(()),
                Base64Piece::Ended => {
                    self.state = State::Base64Ended;
                    Ok(())
                }
                Base64Piece::Broken => Err(BrokenEncoding),
            },
            State::Base64Ended => Ok(()),
            State::Quoted(quoted) => {
                quoted.push(piece, out);
                Ok(())
            }
        }
    }

    /// The data have ended: appends what was held back.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.state {
            State::Identity | State::Base64Ended => {}
            State::Base64 { bits, count } => flush_base64(bits, count, out),
            State::Quoted(quoted) => quoted.finish(out),
        }
    }
}

enum Base64Piece {
    Going,
    Ended,
    Broken,
}

fn push_base64(piece: &[u8], (bits, count): (&mut u32, &mut u8), out: &mut Vec<u8>) -> Base64Piece {
    out.reserve(piece.len() / 4 * 3 + 3);
    let mut rest = piece;
    loop {
        if *count == 0 {
            rest = push_quads(rest, out);
        }
        let Some((&byte, behind)) = rest.split_first() else {
            return Base64Piece::Going;
        };
        rest = behind;
        match BASE64[usize::from(byte)] {
            SPACE => {}
            PADDING => {
                flush_base64(*bits, *count, out);
                return Base64Piece::Ended;
            }
            NOT_OF_ALPHABET => return Base64Piece::Broken,
            value => {
                *bits = *bits << 6 | u32::from(value);
                *count += 1;
                if *count == 4 {
                    out.extend_from_slice(&bits.to_be_bytes()[1..]);
                    *bits = 0;
                    *count = 0;
                }
            }
        }
    }
}

/// Whole groups of four, as long as nothing but the alphabet comes.
fn push_quads<'a>(piece: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = piece;
    while let Some((quad, behind)) = rest.split_first_chunk::<4>() {
        let values = quad.map(|byte| BASE64[usize::from(byte)]);
        if values.iter().fold(0, |all, value| all | value) & 0xC0 != 0 {
            break;
        }
        let bits = values.iter().fold(0u32, |bits, &value| bits << 6 | u32::from(value));
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
        rest = behind;
    }
    rest
}

/// The last group: two characters make one byte, three make two; a lone one is dropped.
fn flush_base64(bits: u32, count: u8, out: &mut Vec<u8>) {
    match count {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
        _ => {}
    }
}

impl Quoted {
    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = match self.held.first() {
                Some(b'=') => self.after_equals(rest, out),
                Some(_) => self.after_space(rest, out),
                None => self.plain(rest, out),
            };
        }
    }

    fn plain<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let special = rest.iter().position(|&byte| matches!(byte, b'=' | b' ' | b'\t'));
        let len = special.unwrap_or(rest.len());
        out.extend_from_slice(&rest[..len]);
        match rest.get(len) {
            Some(&byte) => {
                self.held.push(byte);
                &rest[len + 1..]
            }
            None => &[],
        }
    }

    /// RFC 2045 6.7 rule 3: white space at the end of a line was added on the way.
    fn after_space<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        match rest[0] {
            byte @ (b' ' | b'\t' | b'\r') if self.held.len() < HELD_BYTES_MAX => {
                self.held.push(byte);
                &rest[1..]
            }
            b'\n' => {
                if self.held.last() == Some(&b'\r') {
                    out.push(b'\r');
                }
                self.held.clear();
                out.push(b'\n');
                &rest[1..]
            }
            _ => {
                out.append(&mut self.held);
                rest
            }
        }
    }

    fn after_equals<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let byte = rest[0];
        match (self.held[1..].as_ref(), byte) {
            // RFC 2045 6.7 rule 5: a soft line break, white space before the line end ignored.
            (_, b'\n') if self.held.len() == 1 || !self.held[1].is_ascii_hexdigit() => {
                self.held.clear();
                &rest[1..]
            }
            ([], _) if byte.is_ascii_hexdigit() => {
                self.held.push(byte);
                &rest[1..]
            }
            ([] | [b' ' | b'\t' | b'\r', ..], b' ' | b'\t' | b'\r')
                if self.held.len() < HELD_BYTES_MAX =>
            {
                self.held.push(byte);
                &rest[1..]
            }
            (&[high], _) if high.is_ascii_hexdigit() && byte.is_ascii_hexdigit() => {
                out.push(hex(high) << 4 | hex(byte));
                self.held.clear();
                &rest[1..]
            }
            // RFC 2045 6.7, note: what is no encoding stays as it is.
            _ => {
                out.append(&mut self.held);
                rest
            }
        }
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        match self.held.first() {
            // A soft line break may end the data; a cut encoding stays as it is.
            Some(b'=') if self.held.get(1).is_some_and(u8::is_ascii_hexdigit) => {
                out.append(&mut self.held);
            }
            Some(_) | None => {}
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10) & 15,
    }
}

/// The B encoding of RFC 2047, as far as it goes.
pub(super) fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0, 0);
    match push_base64(text, (&mut bits, &mut count), &mut out) {
        Base64Piece::Going | Base64Piece::Broken => flush_base64(bits, count, &mut out),
        Base64Piece::Ended => {}
    }
    out
}

/// The Q encoding of RFC 2047 4.2.
pub(super) fn decode_q(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (b'_', _) => out.push(b' '),
            (b'=', [high, low, behind @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(hex(*high) << 4 | hex(*low));
                rest = behind;
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes with every cut: the result is the same.
    fn decoded(encoding: Encoding, text: &[u8]) -> Result<Vec<u8>, BrokenEncoding> {
        let decode = |pieces: &[&[u8]]| {
            let mut decoder = Decoder::new(encoding)?;
            let mut out = Vec::new();
            for piece in pieces {
                decoder.push(piece, &mut out)?;
            }
            decoder.finish(&mut out);
            Ok(out)
        };
        let whole = decode(&[text]);
        for cut in 0..=text.len() {
            assert_eq!(decode(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(decode(&bytes), whole, "byte by byte");
        whole
    }

    #[test]
    fn base64_as_it_comes() {
        type Case = (&'static [u8], Result<&'static [u8], BrokenEncoding>);
        let cases: [Case; 9] = [
            (b"", Ok(b"")),
            (b"aGVsbG8=", Ok(b"hello")),
            (b"aGVs\r\nbG8=\r\n", Ok(b"hello")),
            (b" a G V s b G 8 ", Ok(b"hello")),
            (b"aGVsbG8hIQ==\r\n____\r\na list", Ok(b"hello!!")),
            (b"aGVsb", Ok(b"hel")),
            (b"aGVsbG", Ok(b"hell")),
            (b"=", Ok(b"")),
            (b"aGVs*bG8=", Err(BrokenEncoding)),
        ];
        for (text, expected) in cases {
            let expected = expected.map(<[u8]>::to_vec);
            assert_eq!(decoded(Encoding::Base64, text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn quoted_printable_as_it_comes() {
        let cases: [(&[u8], &[u8]); 16] = [
            (b"", b""),
            (b"a=3Db=\r\nc=\nd", b"a=bcd"),
            (b"caf=c3=A9", "caf\u{e9}".as_bytes()),
            (b"soft= \t\r\nbreak", b"softbreak"),
            (b"end \t \r\nnext  x\n", b"end\r\nnext  x\n"),
            (b"=ZZ =", b"=ZZ "),
            (b"=4", b"=4"),
            (b"=4\r\nx", b"=4\r\nx"),
            (b"== 41=41", b"== 41A"),
            (b"a=", b"a"),
            (b"a=\r", b"a"),
            (b"a  ", b"a"),
            (b"a \r b", b"a \r b"),
            (b"= x", b"= x"),
            (b"=4=41", b"=4A"),
            (b"plain\r\n", b"plain\r\n"),
        ];
        for (text, expected) in cases {
            let expected = Ok(expected.to_vec());
            assert_eq!(
                decoded(Encoding::QuotedPrintable, text),
                expected,
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_not_encoded_stays_and_what_is_unknown_is_refused() {
        assert_eq!(decoded(Encoding::Binary, b"=41\0"), Ok(b"=41\0".to_vec()));
        assert_eq!(decoded(Encoding::Unknown, b""), Err(BrokenEncoding));
    }
}
