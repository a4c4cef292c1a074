//! The second factor as people and their apps see it: secrets in letters, the link that an app reads, and its QR code.

use qrcodegen::{QrCode, QrCodeEcc};
use std::fmt::Write as _;
use url::form_urlencoded::byte_serialize;

/// RFC 4648 6.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Empty modules around a QR code. ISO/IEC 18004 asks for four.
const QUIET_MODULES: i32 = 4;

/// Base 32 without padding: what apps take, and people type.
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = (held << 8 | u32::from(*byte)) & 0xFFFF;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(LETTERS[(held >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        text.push(char::from(LETTERS[(held << (5 - bits)) as usize & 31]));
    }
    text
}

/// Reads [`base32`] back; `None`: it is not that.
#[must_use]
pub fn from_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let at = LETTERS.iter().position(|it| *it == letter)?;
        held = (held << 5 | u32::try_from(at).ok()?) & 0xFFFF;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xFF).ok()?);
        }
    }
    (base32(&bytes) == text).then_some(bytes)
}

/// In groups of four, so that it can be read out.
#[must_use]
pub fn grouped(text: &str, between: char) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            out.push(between);
        }
        out.push(c);
    }
    out
}

/// What an app for codes reads. Its form is that of Google Authenticator's key URI, which all follow.
#[must_use]
pub fn otpauth_link((issuer, address): (&str, &str), secret: &str) -> String {
    // No "+" for a space: apps show it.
    let encoded =
        |text: &str| byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    let (issuer, address) = (encoded(issuer), encoded(address));
    format!(
        "otpauth://totp/{issuer}:{address}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
    )
}

/// A QR code as SVG that stands in a page; `None`: the text is too long for one.
#[must_use]
pub fn qr_svg(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let side = code.size() + 2 * QUIET_MODULES;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            // Writing to a string can't fail.
            let _ = write!(path, "M{} {}h1v1h-1z", x + QUIET_MODULES, y + QUIET_MODULES);
        }
    }
    Some(format!(
        "<svg class=\"qr\" role=\"img\" aria-label=\"QR code for an app\" width=\"240\" height=\"240\" \
         viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/>\
         <path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 4648 10, without its padding.
    #[test]
    fn letters_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
            assert_eq!(from_base32(text), Some(bytes.as_bytes().to_vec()));
        }
        for wrong in ["M", "MZ", "mzxw6", "MZXW6=", "0", "é"] {
            assert_eq!(from_base32(wrong), None, "{wrong}");
        }
        assert_eq!(grouped("ABCDEFGHI", '-'), "ABCD-EFGH-I");
    }

    #[test]
    fn a_link_that_apps_read() {
        let link = otpauth_link(("mail one", "ann+x@example.org"), "MZXW6");
        let expected = "otpauth://totp/mail%20one:ann%2Bx%40example.org?secret=MZXW6&issuer=mail%20one&algorithm=SHA1\
                        &digits=6&period=30";
        assert_eq!(link, expected);
        let svg = qr_svg(&link).expect("short");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>") && !svg.contains("style"));
        assert_eq!(qr_svg(&"x".repeat(10_000)), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(from_base32(&base32(&bytes)), Some(bytes));
        }
    }
}
