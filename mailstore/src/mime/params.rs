//! Values with parameters: Content-Type (RFC 2045 5.1) and Content-Disposition (RFC 2183),
//! continuations joined (RFC 2231).

use super::address::copy_quoted;
use super::imap_string::{cut, write_string};
use super::limits::Limits;
use std::borrow::Cow;

/// A value and its parameters, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameterized<'a> {
    /// What stands before the first semicolon, without comments.
    pub value: &'a [u8],
    pub params: Vec<Param<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Param<'a> {
    pub name: Cow<'a, [u8]>,
    pub value: Cow<'a, [u8]>,
}

/// RFC 2045 5.1, leniently: unquoted values go up to the semicolon, for file names with spaces are
/// common.
pub(super) fn parse<'a>(text: &'a [u8], limits: &Limits) -> Parameterized<'a> {
    let (value, mut at) = bare(text, 0);
    let mut params = Vec::new();
    while at < text.len() && params.len() < limits.params_max {
        let name_at = at + 1;
        let rest = text.get(name_at..).unwrap_or_default();
        let len = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
        let name = without_comments(&rest[..len]);
        at = name_at + len;
        if text.get(at) != Some(&b'=') {
            continue;
        }
        let (value, next) = param_value(text, at + 1);
        at = next;
        if !name.is_empty() {
            params.push(Param { name: Cow::Borrowed(name), value });
        }
    }
    for param in &mut params {
        shorten(&mut param.name, limits.boundary_bytes_max);
    }
    if params.iter().any(|param| param.name.contains(&b'*')) {
        params = join_continuations(params);
    }
    for param in &mut params {
        shorten(&mut param.value, limits.param_bytes_max);
    }
    Parameterized { value, params }
}

fn shorten(text: &mut Cow<'_, [u8]>, max: usize) {
    if text.len() > max {
        *text = Cow::Owned(cut(text, max).to_vec());
    }
}

/// Text up to a semicolon, trimmed, with a comment behind it cut off; and where it ends.
fn bare(text: &[u8], at: usize) -> (&[u8], usize) {
    let rest = &text[at..];
    let len = memchr::memchr(b';', rest).unwrap_or(rest.len());
    (without_comments(&rest[..len]), at + len)
}

/// A comment counts as one at the beginning or behind white space: `name(1).pdf` is a name.
fn without_comments(text: &[u8]) -> &[u8] {
    let mut text = text.trim_ascii();
    while text.first() == Some(&b'(') {
        let end = memchr::memchr(b')', text).map_or(text.len(), |at| at + 1);
        text = text[end..].trim_ascii_start();
    }
    let comment = text.windows(2).position(|pair| matches!(pair, [b' ' | b'\t', b'(']));
    text[..comment.unwrap_or(text.len())].trim_ascii_end()
}

/// The value of a parameter that begins at `at`, and where the semicolon behind it or the end is.
fn param_value(text: &[u8], at: usize) -> (Cow<'_, [u8]>, usize) {
    let start = text[at..].iter().position(|byte| !byte.is_ascii_whitespace());
    let start = start.map_or(text.len(), |len| at + len);
    if text.get(start) != Some(&b'"') {
        let (value, end) = bare(text, start);
        return (Cow::Borrowed(value), end);
    }
    let mut value = Vec::new();
    let end = copy_quoted(text, start, &mut value);
    let end = memchr::memchr(b';', &text[end..]).map_or(text.len(), |len| end + len);
    (Cow::Owned(value), end)
}

/// A parameter name of RFC 2231: `base*section*`.
struct Continuation<'a> {
    base: &'a [u8],
    section: Option<u32>,
    extended: bool,
}

fn continuation(name: &[u8]) -> Continuation<'_> {
    let whole = Continuation { base: name, section: None, extended: false };
    let (rest, extended) = match name.strip_suffix(b"*") {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    let Some(star) = memchr::memchr(b'*', rest) else {
        return Continuation { base: rest, section: None, extended };
    };
    match std::str::from_utf8(&rest[star + 1..]).ok().and_then(|text| text.parse().ok()) {
        Some(section) => Continuation { base: &rest[..star], section: Some(section), extended },
        None => whole,
    }
}

/// RFC 2231 section 6: an IMAP server joins continuations (section 3); character set and language
/// stay encoded (section 4). The joined one stands where its first section stood; sections that
/// follow no first one stay as they are.
fn join_continuations(params: Vec<Param<'_>>) -> Vec<Param<'_>> {
    let keys: Vec<Continuation<'_>> =
        params.iter().map(|param| continuation(&param.name)).collect();
    let mut order: Vec<(Vec<u8>, u32, usize)> = keys
        .iter()
        .enumerate()
        .filter_map(|(at, key)| Some((key.base.to_ascii_lowercase(), key.section?, at)))
        .collect();
    order.sort_unstable();
    let mut joined: Vec<Option<Param<'_>>> = params.iter().cloned().map(Some).collect();
    for of_base in order.chunk_by(|one, next| one.0 == next.0) {
        let whole = of_base.iter().enumerate().take_while(|(nth, (_, section, _))| {
            usize::try_from(*section).is_ok_and(|section| section == *nth)
        });
        let sections: Vec<usize> = whole.map(|(_, (_, _, at))| *at).collect();
        for at in &sections {
            joined[*at] = None;
        }
        if let Some(&first) = sections.first() {
            joined[first] = Some(joined_param(&sections, &keys, &params));
        }
    }
    joined.into_iter().flatten().collect()
}

fn joined_param(
    sections: &[usize],
    keys: &[Continuation<'_>],
    params: &[Param<'_>],
) -> Param<'static> {
    let extended = sections.iter().any(|at| keys[*at].extended);
    let mut name = keys[sections[0]].base.to_vec();
    let mut value = Vec::new();
    if extended {
        name.push(b'*');
        if !keys[sections[0]].extended {
            value.extend_from_slice(b"''");
        }
    }
    for at in sections {
        if extended && !keys[*at].extended {
            percent_encode(&params[*at].value, &mut value);
        } else {
            value.extend_from_slice(&params[*at].value);
        }
    }
    Param { name: Cow::Owned(name), value: Cow::Owned(value) }
}

/// RFC 2231 section 7: attribute-char stays, all else becomes `%XX`.
fn percent_encode(text: &[u8], into: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&byte) {
            into.push(byte);
        } else {
            into.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// `("name" "value" ...)`, or NIL when there are none.
pub(super) fn write_params(out: &mut Vec<u8>, params: &[Param<'_>]) {
    if params.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    for (at, param) in params.iter().enumerate() {
        out.push(if at == 0 { b'(' } else { b' ' });
        write_string(out, &param.name);
        out.push(b' ');
        write_string(out, &param.value);
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let parsed = parse(text.as_bytes(), &Limits::default());
        let mut out = parsed.value.to_vec();
        out.push(b' ');
        write_params(&mut out, &parsed.params);
        String::from_utf8(out).expect("of UTF-8")
    }

    #[test]
    fn values_and_parameters() {
        let cases = [
            ("text/plain", "text/plain NIL"),
            ("text/plain; charset=us-ascii (Plain)", r#"text/plain ("charset" "us-ascii")"#),
            ("(x) text/plain (y) ; a=b;c = \"d;\\\"e\" ; f", r#"text/plain ("a" "b" "c" "d;\"e")"#),
            ("a/b; name=my file(1).pdf; ;=x; y=", r#"a/b ("name" "my file(1).pdf" "y" "")"#),
            ("a/b; name=\"open; z=1", r#"a/b ("name" "open; z=1")"#),
            ("a/b;", "a/b NIL"),
            ("", " NIL"),
        ];
        for (text, expected) in cases {
            assert_eq!(written(text), expected, "{text}");
        }
    }

    #[test]
    fn continuations_are_joined() {
        let cases = [
            ("a/b; f*=utf-8''%C3%A9", r#"a/b ("f*" "utf-8''%C3%A9")"#),
            ("a/b; f*0=\"one \"; F*1=two", r#"a/b ("f" "one two")"#),
            ("a/b; f*1=two; f*0=one; g=h", r#"a/b ("f" "onetwo" "g" "h")"#),
            ("a/b; f*0*=us-ascii'en'a%20; f*1=\"b c\"", r#"a/b ("f*" "us-ascii'en'a%20b%20c")"#),
            ("a/b; f*0=x; f*1*=%20", r#"a/b ("f*" "''x%20")"#),
            ("a/b; f*1=x; f*3=y", r#"a/b ("f*1" "x" "f*3" "y")"#),
            ("a/b; f*0=x; f*2=y", r#"a/b ("f" "x" "f*2" "y")"#),
            ("a/b; f*x=y; f**=z", r#"a/b ("f*x" "y" "f**" "z")"#),
        ];
        for (text, expected) in cases {
            assert_eq!(written(text), expected, "{text}");
        }
    }
}
