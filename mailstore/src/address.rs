//! Mail addresses: RFC 5321 4.1.2 `Mailbox` and paths, with the UTF-8 of RFC 6531 3.3, in a form
//! that compares.
//!
//! An [`Address`] keeps the local part as a person means it (quotes and escapes undone, NFC) and
//! the domain as lower-case A-labels. Two addresses are the same mailbox when their
//! [`Address::canonical`] forms are equal: local parts compare case-insensitively.
//! Invariants: whatever [`Address`] displays, [`Address::parse`] reads back to an equal address,
//! and its canonical form to one of the same canonical form;
//! parsing is linear in the input.
//! Absences: nothing here knows which domains are ours.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Octets of a local part. RFC 5321 4.5.3.1.1 promises 64, and 4.5.3.1 asks not to refuse longer
/// ones: VERP and SRS senders do exceed it.
pub const LOCAL_BYTES_MAX: usize = 255;
/// Octets of a domain. RFC 5321 4.5.3.1.2, RFC 1035 2.3.4.
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Octets of a label. RFC 1035 2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// Octets of a path, brackets and source route included: twice the parts, and room for a route (RFC
/// 5321 4.5.3.1.3: 256).
pub const PATH_BYTES_MAX: usize = 1024;

/// A mailbox: `local@domain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Without quotes and escapes, NFC, in the case it was given. Never empty, at most
    /// [`LOCAL_BYTES_MAX`], in lower case as well.
    pub local: Arc<str>,
    pub domain: Domain,
}

/// A domain as lower-case A-labels, or an address literal in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

/// What stands between the angle brackets of MAIL and RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// `<>`: the null reverse path (RFC 5321 4.5.5).
    Null,
    /// `<Postmaster>` without a domain (RFC 5321 4.1.1.3).
    Postmaster,
    Mailbox(Address),
}

/// Why something is not an address: 501 5.1.3 (recipients), 501 5.1.7 (senders).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address stands between < and >")]
    NoBrackets,
    #[error("the address is empty")]
    Empty,
    #[error("the address has no domain")]
    NoDomain,
    #[error("the part before @ is malformed")]
    BadLocalPart,
    #[error("the domain is malformed")]
    BadDomain,
    #[error("the address is too long")]
    TooLong,
    #[error("the address is not UTF-8")]
    NotUtf8,
}

impl Address {
    /// Reads a mailbox without brackets.
    ///
    /// # Errors
    /// Whatever is not exactly one mailbox.
    pub fn parse(text: &[u8]) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let text = std::str::from_utf8(text).map_err(|_| AddressError::NotUtf8)?;
        let (local, rest) = take_local(text)?;
        let domain = rest.strip_prefix('@').ok_or(if rest.is_empty() {
            AddressError::NoDomain
        } else {
            AddressError::BadLocalPart
        })?;
        let address = Self { local: checked_local(local)?, domain: Domain::parse(domain)? };
        // What keys the directory is an address as well: lower case can be longer (U+0130 is).
        if !address.local.is_ascii() && address.local_key().len() > LOCAL_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        Ok(address)
    }

    /// The local part in the form that compares: lower case.
    #[must_use]
    pub fn local_key(&self) -> String {
        if self.local.is_ascii() {
            return self.local.to_ascii_lowercase();
        }
        // Lower case may leave NFC: normalise once more.
        // Character by character: the lower case of a final sigma must not depend on its neighbours.
        let lower = self.local.chars().flat_map(char::to_lowercase);
        lower.map(|char| if char == 'ς' { 'σ' } else { char }).nfc().collect()
    }

    /// The form that compares, and that keys the directory: `local@domain` in lower case, quoted
    /// where the grammar asks for it.
    #[must_use]
    pub fn canonical(&self) -> String {
        render(&self.local_key(), &self.domain)
    }

    /// The same mailbox without its detail: `ann+lists@d` is `ann@d` where `+` separates. `None`:
    /// there is no detail, or nothing before it.
    #[must_use]
    pub fn without_detail(&self, separator: char) -> Option<Self> {
        let (user, _) = split_detail(&self.local, separator)?;
        Some(Self { local: user.into(), domain: self.domain.clone() })
    }

    /// Whether it goes only to servers that announce SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

/// `local@domain`, quoted where the grammar asks for it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.local, &self.domain))
    }
}

impl Domain {
    /// Reads a domain or an address literal. U-labels become A-labels (UTS 46, not transitional).
    ///
    /// # Errors
    /// `BadDomain`, `TooLong`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(AddressError::BadDomain)?;
            return parse_literal(inner);
        }
        // The common case costs one pass: plain letters, digits and hyphens, in either case.
        if text.is_ascii() && !text.as_bytes().windows(4).any(|w| w.eq_ignore_ascii_case(b"xn--")) {
            return checked_name(text.to_ascii_lowercase());
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| AddressError::BadDomain)?;
        checked_name(ascii)
    }

    /// Lower-case A-labels, or a literal with its brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an address literal, as in `[192.0.2.1]`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }

    /// For people: U-labels where there are any.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a path with its brackets from the front of `input`; returns it with the bytes it took, so
/// that parameters follow.
///
/// # Errors
/// The path is malformed, or does not begin with `<`.
pub fn parse_path(input: &[u8]) -> Result<(Path, usize), AddressError> {
    let inner = input.strip_prefix(b"<").ok_or(AddressError::NoBrackets)?;
    let len = closing_bracket(inner)?;
    Ok((parse_unbracketed(&inner[..len])?, len + 2))
}

/// Reads what stands between the brackets of a path: nothing, `Postmaster`, or a mailbox behind an
/// ignored source route.
///
/// # Errors
/// It is none of these.
pub fn parse_unbracketed(inner: &[u8]) -> Result<Path, AddressError> {
    if inner.is_empty() {
        return Ok(Path::Null);
    }
    if inner.len() > PATH_BYTES_MAX {
        return Err(AddressError::TooLong);
    }
    // RFC 5321 4.1.1.3: "Postmaster" without a domain, in any case.
    if inner.eq_ignore_ascii_case(b"postmaster") {
        return Ok(Path::Postmaster);
    }
    Address::parse(skip_source_route(inner)?).map(Path::Mailbox)
}

/// Splits a local part at the first separator: user and detail. `None`: no detail, or nothing
/// before the separator.
#[must_use]
pub fn split_detail(local: &str, separator: char) -> Option<(&str, &str)> {
    local.split_once(separator).filter(|(user, _)| !user.is_empty())
}

/// The offset of the `>` that ends a path: one inside a quoted local part does not.
fn closing_bracket(inner: &[u8]) -> Result<usize, AddressError> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in inner.iter().take(PATH_BYTES_MAX).enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Ok(at),
            _ => {}
        }
    }
    Err(if inner.len() > PATH_BYTES_MAX { AddressError::TooLong } else { AddressError::NoBrackets })
}

/// RFC 5321 4.1.2, F.2: `@a,@b:` before a mailbox is accepted and ignored.
fn skip_source_route(inner: &[u8]) -> Result<&[u8], AddressError> {
    if !inner.starts_with(b"@") {
        return Ok(inner);
    }
    let colon = inner.iter().position(|&byte| byte == b':').ok_or(AddressError::BadDomain)?;
    let route = std::str::from_utf8(&inner[..colon]).map_err(|_| AddressError::NotUtf8)?;
    for hop in route.split(',') {
        Domain::parse(hop.strip_prefix('@').ok_or(AddressError::BadDomain)?)?;
    }
    Ok(&inner[colon + 1..])
}

/// The local part at the front of `text`, unquoted, and the rest, which should begin with `@`.
fn take_local(text: &str) -> Result<(std::borrow::Cow<'_, str>, &str), AddressError> {
    if let Some(inner) = text.strip_prefix('"') {
        let (local, rest) = take_quoted(inner)?;
        return Ok((local.into(), rest));
    }
    let (local, rest) = text.split_at(text.find('@').unwrap_or(text.len()));
    // RFC 5321 4.1.2 Dot-string: atoms between single dots.
    if local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext)) {
        Ok((local.into(), rest))
    } else {
        Err(AddressError::BadLocalPart)
    }
}

/// RFC 5321 4.1.2 Quoted-string: printable ASCII, with `\` before any of it; RFC 6531 3.3 adds
/// UTF-8.
fn take_quoted(inner: &str) -> Result<(String, &str), AddressError> {
    let mut local = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, char)) = chars.next() {
        let literal = match char {
            '"' => return Ok((local, &inner[at + 1..])),
            '\\' => chars.next().map(|(_, escaped)| escaped).filter(char::is_ascii),
            other => Some(other),
        };
        match literal {
            Some(char) if !char.is_control() => local.push(char),
            Some(_) | None => return Err(AddressError::BadLocalPart),
        }
    }
    Err(AddressError::BadLocalPart)
}

/// RFC 5322 3.2.3, RFC 6531 3.3.
fn is_atext(char: char) -> bool {
    char.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(char)
        || (!char.is_ascii() && !char.is_control() && !char.is_whitespace())
}

fn checked_local(local: std::borrow::Cow<'_, str>) -> Result<Arc<str>, AddressError> {
    if local.is_empty() {
        return Err(AddressError::BadLocalPart);
    }
    let local: Arc<str> = match is_nfc_quick(local.chars()) {
        IsNormalized::Yes => local.into(),
        IsNormalized::No | IsNormalized::Maybe => local.nfc().collect::<String>().into(),
    };
    if local.len() > LOCAL_BYTES_MAX { Err(AddressError::TooLong) } else { Ok(local) }
}

/// RFC 5321 4.1.2 Domain: labels of letters, digits and inner hyphens. Underscores are in use among
/// senders, and harmless.
fn checked_name(name: String) -> Result<Domain, AddressError> {
    if name.len() > DOMAIN_BYTES_MAX {
        return Err(AddressError::TooLong);
    }
    if name.split('.').all(is_label) {
        Ok(Domain(name.into()))
    } else {
        Err(AddressError::BadDomain)
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// RFC 5321 4.1.3: IPv4 and IPv6 literals, in one spelling each. No other tag was ever
/// standardised.
fn parse_literal(inner: &str) -> Result<Domain, AddressError> {
    let tagged = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
    let canonical = if tagged {
        let address: Ipv6Addr = inner[5..].parse().map_err(|_| AddressError::BadDomain)?;
        format!("[IPv6:{address}]")
    } else {
        let address: Ipv4Addr = inner.parse().map_err(|_| AddressError::BadDomain)?;
        format!("[{address}]")
    };
    Ok(Domain(canonical.into()))
}

fn render(local: &str, domain: &Domain) -> String {
    let plain = local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext));
    if plain {
        return format!("{local}@{domain}");
    }
    let mut text = String::with_capacity(local.len() + domain.0.len() + 8);
    text.push('"');
    for char in local.chars() {
        if matches!(char, '"' | '\\') {
            text.push('\\');
        }
        text.push(char);
    }
    text.push_str("\"@");
    text.push_str(&domain.0);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        Address::parse(text.as_bytes()).unwrap().canonical()
    }

    fn error(text: &str) -> AddressError {
        Address::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn spellings_of_one_mailbox_compare_equal() {
        for text in
            ["Ann@Example.COM", "ann@example.com", "\"ann\"@example.com", "\"a\\nn\"@example.com"]
        {
            assert_eq!(canonical(text), "ann@example.com", "{text}");
        }
        assert_eq!(canonical("ann@BÜCHER.example"), "ann@xn--bcher-kva.example");
        assert_eq!(canonical("ann@XN--bcher-kva.example"), "ann@xn--bcher-kva.example");
        // NFD and NFC, upper and lower case.
        assert_eq!(canonical("JO\u{0308}RG@x.example"), canonical("j\u{00F6}rg@x.example"));
        assert_eq!(canonical("ΝΊΚΟΣ@x.example"), canonical("νίκος@x.example"));
        assert_eq!(canonical("a@[ipv6:2001:DB8::0:1]"), "a@[IPv6:2001:db8::1]");
        assert_eq!(canonical("a@[192.0.2.1]"), "a@[192.0.2.1]");
    }

    #[test]
    fn quotes_are_kept_where_the_grammar_needs_them() {
        for text in
            ["\"a b\"@x.example", "\"a..b\"@x.example", "\"a\\\"b\"@x.example", "\"a@b\"@x.example"]
        {
            assert_eq!(canonical(text), text);
        }
        assert_eq!(&*Address::parse(b"\"a@b\"@x.example").unwrap().local, "a@b");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        assert_eq!(error(""), AddressError::Empty);
        assert_eq!(error("ann"), AddressError::NoDomain);
        for text in [
            "@x",
            "a..b@x",
            ".a@x",
            "a.@x",
            "a b@x",
            "\"a@x",
            "\"a\"b@x",
            "\"\"@x",
            "a\u{7f}@x",
            "\"a\n\"@x",
        ] {
            assert_eq!(error(text), AddressError::BadLocalPart, "{text}");
        }
        for text in [
            "a@",
            "a@-x",
            "a@x-",
            "a@x..y",
            "a@x.",
            "a@x y",
            "a@[x]",
            "a@[1.2.3]",
            "a@[1.2.3.4",
            "a@x@y",
            "a@xn--a",
        ] {
            assert_eq!(error(text), AddressError::BadDomain, "{text}");
        }
        assert_eq!(Address::parse(b"a\xFF@x"), Err(AddressError::NotUtf8));
        assert_eq!(error(&format!("{}@x", "a".repeat(256))), AddressError::TooLong);
        assert_eq!(error(&format!("a@{}", "a.".repeat(200))), AddressError::TooLong);
    }

    #[test]
    fn the_canonical_form_keeps_the_limit_too() {
        // Two bytes, and three in lower case.
        let dotted = |count| format!("{}@x", "İ".repeat(count));
        let longest = canonical(&dotted(LOCAL_BYTES_MAX / 3));
        assert_eq!(canonical(&longest), longest);
        assert_eq!(error(&dotted(LOCAL_BYTES_MAX / 3 + 1)), AddressError::TooLong);
    }

    #[test]
    fn paths_end_at_their_bracket() {
        let mailbox = |text: &str| Path::Mailbox(Address::parse(text.as_bytes()).unwrap());
        assert_eq!(parse_path(b"<> BODY=8BITMIME"), Ok((Path::Null, 2)));
        assert_eq!(parse_path(b"<a@x> SIZE=1"), Ok((mailbox("a@x"), 5)));
        assert_eq!(parse_path(b"<pOSTMASTER>"), Ok((Path::Postmaster, 12)));
        assert_eq!(parse_path(b"<\"a>\\\"\"@x>y"), Ok((mailbox("\"a>\\\"\"@x"), 10)));
        // RFC 5321 F.2: source routes are ignored.
        assert_eq!(parse_path(b"<@a.example,@b:a@x>"), Ok((mailbox("a@x"), 19)));
        for malformed in ["a@x", "<a@x", "<\"a>@x", "", "<@a a@x>", "<@a,b:a@x>"] {
            assert!(parse_path(malformed.as_bytes()).is_err(), "{malformed}");
        }
    }

    #[test]
    fn details_split_at_the_first_separator() {
        assert_eq!(split_detail("ann+a+b", '+'), Some(("ann", "a+b")));
        assert_eq!(split_detail("ann", '+'), None);
        assert_eq!(split_detail("+ann", '+'), None);
        let address = Address::parse(b"Ann+x@d.example").unwrap();
        assert_eq!(address.without_detail('+').unwrap().canonical(), "ann@d.example");
        assert_eq!(address.without_detail('-'), None);
    }

    #[test]
    fn domains_show_their_u_labels() {
        assert_eq!(Domain::parse("xn--bcher-kva.example").unwrap().to_unicode(), "bücher.example");
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back(
            local in "[ -~äÖ日İßΣẞ]{1,20}",
            domain in "[a-zA-Z0-9]{1,10}(\\.[a-z0-9]{1,5}){0,3}",
        ) {
            let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
            let quoted = format!("\"{escaped}\"@{domain}");
            let address = Address::parse(quoted.as_bytes()).unwrap();
            prop_assert_eq!(&Address::parse(address.to_string().as_bytes()).unwrap(), &address);
            let canonical = address.canonical();
            prop_assert_eq!(Address::parse(canonical.as_bytes()).unwrap().canonical(), canonical);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Address::parse(&bytes);
            let _ = parse_path(&bytes);
            let _ = parse_unbracketed(&bytes);
        }
    }
}
