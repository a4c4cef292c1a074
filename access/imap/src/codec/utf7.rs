//! Modified UTF-7 (RFC 3501 5.1.3), strictly: one spelling for each name.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Text of a name on the wire. `None` when it is malformed: 8-bit or control bytes, a run that does
/// not end, stray bits, lone surrogates, an encoded printable ASCII character, two runs side by
/// side.
#[must_use]
pub fn decode(wire: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(wire.len());
    let mut rest = wire;
    let mut after_run = false;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'&' {
            if !matches!(byte, b' '..=b'~') {
                return None;
            }
            text.push(char::from(byte));
            after_run = false;
            continue;
        }
        let end = rest.iter().position(|&byte| byte == b'-')?;
        let (run, tail) = rest.split_at(end);
        rest = &tail[1..];
        if run.is_empty() {
            text.push('&');
            after_run = false;
            continue;
        }
        // RFC 3501 5.1.3: no superfluous shifts.
        if after_run {
            return None;
        }
        decode_run(run, &mut text)?;
        after_run = true;
    }
    Some(text)
}

/// Base64 of UTF-16BE, without padding.
fn decode_run(run: &[u8], text: &mut String) -> Option<()> {
    let mut units = Vec::with_capacity(run.len() * 6 / 16);
    let (mut bits, mut bit_count) = (0_u32, 0_u32);
    for &byte in run {
        bits = bits << 6 | sextet(byte)?;
        bit_count += 6;
        if bit_count >= 16 {
            bit_count -= 16;
            units.push(u16::try_from(bits >> bit_count & 0xffff).ok()?);
            bits &= (1 << bit_count) - 1;
        }
    }
    // What is left is padding: fewer than six bits, all zero.
    if bit_count >= 6 || bits != 0 {
        return None;
    }
    for unit in char::decode_utf16(units) {
        let character = unit.ok()?;
        // RFC 3501 5.1.3: printable US-ASCII represents itself.
        if matches!(character, ' '..='~') {
            return None;
        }
        text.push(character);
    }
    Some(())
}

fn sextet(byte: u8) -> Option<u32> {
    Some(match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        b',' => 63,
        _ => return None,
    })
}

/// The name on the wire: printable ASCII.
pub fn encode(text: &str, wire: &mut impl Extend<u8>) {
    let mut run: Vec<u16> = Vec::new();
    for character in text.chars() {
        match character {
            ' '..='~' => {
                end_run(&mut run, wire);
                match character {
                    '&' => wire.extend(*b"&-"),
                    _ => wire.extend(u8::try_from(character)),
                }
            }
            _ => run.extend_from_slice(character.encode_utf16(&mut [0; 2])),
        }
    }
    end_run(&mut run, wire);
}

fn end_run(run: &mut Vec<u16>, wire: &mut impl Extend<u8>) {
    if run.is_empty() {
        return;
    }
    wire.extend([b'&']);
    let (mut bits, mut bit_count) = (0_u32, 0_u32);
    for unit in run.drain(..) {
        bits = bits << 16 | u32::from(unit);
        bit_count += 16;
        while bit_count >= 6 {
            bit_count -= 6;
            wire.extend([ALPHABET[(bits >> bit_count & 63) as usize]]);
        }
        bits &= (1 << bit_count) - 1;
    }
    if bit_count > 0 {
        wire.extend([ALPHABET[(bits << (6 - bit_count) & 63) as usize]]);
    }
    wire.extend([b'-']);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(text: &str) -> String {
        let mut wire = Vec::new();
        encode(text, &mut wire);
        String::from_utf8(wire).expect("printable")
    }

    #[test]
    fn names_of_the_rfc() {
        // RFC 3501 5.1.3.
        let name = "~peter/mail/台北/日本語";
        assert_eq!(encoded(name), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(decode(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(), Some(name));
        assert_eq!(encoded("Q&A"), "Q&-A");
        assert_eq!(encoded("Entwürfe"), "Entw&APw-rfe");
        assert_eq!(encoded("📬"), "&2D3c7A-");
        assert_eq!(decode(b"&2D3c7A-").as_deref(), Some("📬"));
    }

    #[test]
    fn malformed_names_are_refused() {
        for wire in [
            &b"&"[..],
            b"a&b",
            b"&Jjo",
            b"&Jjo!-",
            // RFC 3501 5.1.3: superfluous shift, and ASCII in base64.
            b"&U,BTFw-&ZeVnLIqe-",
            b"&AEE-",
            // Stray bits, half a unit, a lone surrogate.
            b"&Jjp-",
            b"&J-",
            b"&JjoA-",
            b"&2D0-",
            b"caf\xc3\xa9",
            b"a\x01",
        ] {
            assert_eq!(decode(wire), None, "{}", wire.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn round_trip(text in "\\PC{0,40}") {
            prop_assert_eq!(decode(encoded(&text).as_bytes()), Some(text));
        }

        #[test]
        fn one_spelling(wire in "[&a-c,A-D+0-9-]{0,12}") {
            if let Some(text) = decode(wire.as_bytes()) {
                prop_assert_eq!(encoded(&text), wire);
            }
        }
    }
}
