//! Strings of RFC 9051 as the server sends them: quoted where that is safe, else literals.

/// Longest quoted string, in bytes. Our choice: some clients read quoted strings into small
/// buffers.
const QUOTED_BYTES_MAX: usize = 1_000;

/// `NIL` for none, else a string.
pub(super) fn write_nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => write_string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// RFC 9051 4.3: quoted when it is 7-bit without CR, LF and NUL, else a literal. A NUL becomes `?`,
/// for no string has it.
pub(super) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    let mut plain = text.len() <= QUOTED_BYTES_MAX;
    let mut specials = false;
    for &byte in text {
        // RFC 9051 9: TEXT-CHAR is any CHAR (0x01 to 0x7F) but CR and LF.
        plain &= !matches!(byte, 0 | b'\r' | b'\n' | 0x80..);
        specials |= matches!(byte, b'"' | b'\\');
    }
    match (plain, specials) {
        (true, false) => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
        (true, true) => write_escaped(out, text),
        (false, _) => write_literal(out, text),
    }
}

fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn write_literal(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'{');
    write_number(out, text.len() as u64);
    out.extend_from_slice(b"}\r\n");
    out.extend(text.iter().map(|&byte| if byte == 0 { b'?' } else { byte }));
}

/// A decimal number.
pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut rest = number;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Cuts a text to at most `max` bytes, not inside a character of UTF-8.
pub(super) fn cut(text: &[u8], max: usize) -> &[u8] {
    if text.len() <= max {
        return text;
    }
    let tail = text[..max].iter().rev().take(3).take_while(|&&byte| byte & 0xC0 == 0x80).count();
    let head = &text[..max - tail];
    match head.last() {
        // The lead byte of the character that was cut, or a lone one.
        Some(&byte) if byte >= 0xC0 && text[max] & 0xC0 == 0x80 => &head[..head.len() - 1],
        _ if text[max] & 0xC0 == 0x80 => head,
        _ => &text[..max],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_string(&mut out, text);
        out
    }

    #[test]
    fn strings_are_quoted_where_that_is_safe() {
        assert_eq!(written(b""), b"\"\"");
        assert_eq!(written(b"a\tb"), b"\"a\tb\"");
        assert_eq!(written(br#"a "b" \c"#), br#""a \"b\" \\c""#);
        assert_eq!(written(b"a\r\nb"), b"{4}\r\na\r\nb");
        assert_eq!(written("é".as_bytes()), b"{2}\r\n\xC3\xA9");
        assert_eq!(written(b"a\0b"), b"{3}\r\na?b");
        assert_eq!(written(&[b'x'; 1_001])[..8], *b"{1001}\r\n");
    }

    #[test]
    fn a_cut_keeps_characters_whole() {
        assert_eq!(cut("aé".as_bytes(), 2), b"a");
        assert_eq!(cut("aé".as_bytes(), 3), "aé".as_bytes());
        assert_eq!(cut("aéb".as_bytes(), 3), "aé".as_bytes());
        assert_eq!(cut("a😀".as_bytes(), 4), b"a");
        assert_eq!(cut(b"\x80\x80\x80\x80\x80", 4).len(), 1);
        assert_eq!(cut(b"abc", 2), b"ab");
    }
}
