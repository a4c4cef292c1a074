//! Reverse and forward paths: RFC 5321 4.1.2, with the UTF-8 of RFC 6531 3.3.
//!
//! Finds where a path ends and that its bytes are harmless in headers and logs. What the address means is the directory's.

/// Octets of a path. RFC 5321 4.5.3.1.3 asks for 256 with ASCII; RFC 6531 allows UTF-8, where a character takes more.
const PATH_BYTES_MAX: usize = 512;

/// What stood between the angle brackets, without a source route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// Empty for the null path. Valid UTF-8 without control characters.
    pub address: &'a str,
}

impl Path<'_> {
    /// Whether the address can only be used with SMTPUTF8.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        !self.address.is_ascii()
    }
}

/// The path at the beginning of `input`, and what follows it; `None` when it is malformed.
#[must_use]
pub fn parse_path(input: &[u8]) -> Option<(Path<'_>, &[u8])> {
    let inner = input.strip_prefix(b"<")?;
    let end = closing_bracket(inner)?;
    let (address, rest) = (&inner[..end], &inner[end + 1..]);
    if address.len() > PATH_BYTES_MAX {
        return None;
    }
    let address = std::str::from_utf8(address).ok()?;
    if address.chars().any(char::is_control) {
        return None;
    }
    Some((Path { address: without_source_route(address)? }, rest))
}

/// Index of the `>` that ends the path: none within a quoted local part counts.
fn closing_bracket(inner: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, &byte) in inner.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(index),
            b'<' | b' ' if !quoted => return None,
            _ => {}
        }
    }
    None
}

/// RFC 5321 4.1.1.3: source routes must be accepted, and should be ignored.
fn without_source_route(address: &str) -> Option<&str> {
    if !address.starts_with('@') {
        return Some(address);
    }
    address.split_once(':').map(|(_, mailbox)| mailbox).filter(|mailbox| !mailbox.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(input: &str) -> Option<(&str, &str)> {
        let (path, rest) = parse_path(input.as_bytes())?;
        Some((path.address, std::str::from_utf8(rest).expect("as given")))
    }

    #[test]
    fn forms_of_rfc_5321_4_1_2() {
        assert_eq!(address("<>"), Some(("", "")));
        assert_eq!(address("<a@b.c> SIZE=3"), Some(("a@b.c", " SIZE=3")));
        assert_eq!(address("<Postmaster>"), Some(("Postmaster", "")));
        assert_eq!(address(r#"<"a > b\""@c>x"#), Some((r#""a > b\""@c"#, "x")));
        assert_eq!(address("<@x.y,@z:a@b>"), Some(("a@b", "")));
        assert_eq!(address("<a@[IPv6:::1]>"), Some(("a@[IPv6:::1]", "")));
        assert_eq!(address("<грета@пример.org>"), Some(("грета@пример.org", "")));
    }

    #[test]
    fn malformed_paths() {
        for bad in ["", "a@b", "<a@b", "<a b@c>", "<<a@b>>", "<@x.y>", "<@x:>", "<a\tb@c>", "<\"a>"]
        {
            assert_eq!(address(bad), None, "{bad}");
        }
        assert_eq!(parse_path(b"<a\xFF@b>"), None);
        let long = format!("<{}@b>", "a".repeat(600));
        assert_eq!(address(&long), None);
    }
}
