//! The Date field (RFC 5322 3.3 and 4.3), read leniently: the pieces may stand in other orders, the
//! zone may be missing.

use crate::face::InternalDate;

/// Reads a date; `None` when it has no day, month and year that exist.
pub(super) fn parse_date(text: &[u8]) -> Option<InternalDate> {
    let mut seen = Seen::default();
    let mut rest = text;
    // Linear: each token is taken from the front once; a date has a dozen.
    for _ in 0..TOKENS_MAX {
        rest = skip_space(rest);
        let Some(&first) = rest.first() else {
            break;
        };
        let len = token_len(rest);
        let (token, behind) = rest.split_at(len);
        match first {
            b'0'..=b'9' => seen.number(token),
            b'+' | b'-' => seen.signed(token),
            b'a'..=b'z' | b'A'..=b'Z' => seen.word(token),
            _ => {}
        }
        rest = behind;
    }
    seen.date()
}

/// Tokens looked at. Our choice: a full date with a comment has about ten.
const TOKENS_MAX: usize = 32;

/// Skips white space, commas and comments.
fn skip_space(text: &[u8]) -> &[u8] {
    let mut depth = 0usize;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {}
            _ if depth == 0 => return &text[at..],
            _ => {}
        }
    }
    &[]
}

/// At least one byte.
fn token_len(text: &[u8]) -> usize {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.');
    1 + text[1..].iter().position(|byte| !inside(byte)).unwrap_or(text.len() - 1)
}

#[derive(Debug, Default)]
struct Seen {
    day: Option<u32>,
    month: Option<u32>,
    year: Option<i64>,
    clock: Option<(u32, u32, u32)>,
    zone_minutes: Option<i16>,
}

impl Seen {
    fn number(&mut self, token: &[u8]) {
        if token.iter().any(|byte| matches!(byte, b':' | b'.')) && self.clock.is_none() {
            self.clock = clock(token);
            return;
        }
        let Some(number) = digits(token) else {
            return;
        };
        match (self.day, self.year) {
            (None, _) if (1..=31).contains(&number) && token.len() <= 2 => self.day = Some(number),
            (_, None) => self.year = Some(full_year(number, token.len())),
            (_, Some(_)) => {}
        }
    }

    /// A zone; or a piece of `21-Nov-97` and `1997-11-21`.
    fn signed(&mut self, token: &[u8]) {
        let (sign, rest) = token.split_at(1);
        match (digits(rest), rest.len()) {
            (Some(number), 4) if self.clock.is_some() && self.zone_minutes.is_none() => {
                let minutes = i16::try_from(number / 100 * 60 + number % 100).unwrap_or(0);
                // RFC 5322 3.3: the last two digits are under 60; what is off is read as UTC.
                let minutes = if minutes > 1439 || number % 100 > 59 { 0 } else { minutes };
                self.zone_minutes = Some(if sign == b"-" { -minutes } else { minutes });
            }
            (Some(number), 1 | 2) if self.year.is_some() && self.month.is_none() => {
                self.month = Some(number);
            }
            (Some(_), _) => self.number(rest),
            (None, _) => self.word(rest),
        }
    }

    fn word(&mut self, token: &[u8]) {
        if let Some(month) = month(token) {
            self.month.get_or_insert(month);
        } else if self.clock.is_some() && self.zone_minutes.is_none() {
            self.zone_minutes = zone(token);
        }
    }

    fn date(self) -> Option<InternalDate> {
        let date = (self.year?, self.month?, self.day?);
        let zone_minutes = self.zone_minutes.unwrap_or(0);
        InternalDate::from_civil(date, self.clock.unwrap_or_default(), zone_minutes)
            .or_else(|| InternalDate::from_civil(date, (0, 0, 0), 0))
    }
}

/// RFC 5322 4.3: two digits below 50 are of this century, other short years count from 1900.
fn full_year(number: u32, len: usize) -> i64 {
    match len {
        ..=2 if number < 50 => i64::from(number) + 2000,
        ..=3 => i64::from(number) + 1900,
        _ => i64::from(number),
    }
}

fn clock(token: &[u8]) -> Option<(u32, u32, u32)> {
    let mut pieces = token.split(|byte| matches!(byte, b':' | b'.'));
    let hour = digits(pieces.next()?)?;
    let minute = digits(pieces.next()?)?;
    let second = pieces.next().and_then(digits).unwrap_or(0);
    Some((hour, minute, second))
}

fn digits(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0u32, |number, &byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })
}

fn month(word: &[u8]) -> Option<u32> {
    const MONTHS: [&[u8]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let start = word.get(..3)?;
    let at = MONTHS.iter().position(|month| start.eq_ignore_ascii_case(month))?;
    u32::try_from(at + 1).ok()
}

/// RFC 5322 4.3: obsolete zones. Military letters were defined the wrong way round once, so they
/// say nothing.
fn zone(word: &[u8]) -> Option<i16> {
    const ZONES: [(&[u8], i16); 15] = [
        (b"ut", 0),
        (b"gmt", 0),
        (b"utc", 0),
        (b"est", -300),
        (b"edt", -240),
        (b"cst", -360),
        (b"cdt", -300),
        (b"mst", -420),
        (b"mdt", -360),
        (b"pst", -480),
        (b"pdt", -420),
        // Not of the RFC, but in the archives.
        (b"cet", 60),
        (b"cest", 120),
        (b"bst", 60),
        (b"jst", 540),
    ];
    ZONES.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, zone)| zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn civil(text: &str) -> Option<String> {
        parse_date(text.as_bytes()).map(|date| {
            let (year, month, day, hour, minute, second) = date.civil();
            let zone = date.zone_minutes;
            format!("{year}-{month}-{day} {hour}:{minute}:{second} {zone}")
        })
    }

    #[test]
    fn dates_of_all_ages() {
        let cases = [
            ("Fri, 21 Nov 1997 09:55:06 -0600", Some("1997-11-21 9:55:6 -360")),
            ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", Some("1997-11-21 0:0:0 0")),
            ("21 Nov 97 09:55:06 GMT", Some("1997-11-21 9:55:6 0")),
            ("Thu, 1 Jan 26 00:00 EST", Some("2026-1-1 0:0:0 -300")),
            ("1 Jan 102 1:2:3 Z", Some("2002-1-1 1:2:3 0")),
            ("Fri Nov 21 09:55:06 1997", Some("1997-11-21 9:55:6 0")),
            ("Fri, 21-Nov-97 09:55:06 +0100 (CET)", Some("1997-11-21 9:55:6 60")),
            ("2026-11-21 10:11:12 +0530", Some("2026-11-21 10:11:12 330")),
            ("Sat, 21 November 2026 25:00:00 +0000", Some("2026-11-21 0:0:0 0")),
            ("Sat, 21 Nov 2026 10:00:60 +9999", Some("2026-11-21 10:1:0 0")),
            ("31 Feb 2026 10:00:00 +0000", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(civil(text).as_deref(), expected, "{text}");
        }
    }
}
