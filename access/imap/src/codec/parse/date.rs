//! Dates of SEARCH and APPEND.

use super::cursor::{Cursor, Parsed, SyntaxError};
use mailstore::face::InternalDate;

const WRONG_DATE: SyntaxError = SyntaxError("wrong date");

/// RFC 9051 section 9 date, quoted or not, as days since 1970-01-01.
pub(super) fn date(cursor: &mut Cursor<'_>) -> Parsed<i32> {
    let quoted = cursor.skip(b'"');
    let date = day_month_year(cursor)?;
    if quoted {
        cursor.expect(b'"', WRONG_DATE.0)?;
    }
    InternalDate::from_civil(date, (0, 0, 0), 0).map(InternalDate::day).ok_or(WRONG_DATE)
}

/// RFC 9051 section 9 date-time: `"dd-Mmm-yyyy hh:mm:ss +zzzz"`, the day with a space for a leading
/// zero.
pub(super) fn date_time(cursor: &mut Cursor<'_>) -> Parsed<InternalDate> {
    cursor.expect(b'"', WRONG_DATE.0)?;
    cursor.skip(b' ');
    let date = day_month_year(cursor)?;
    cursor.space()?;
    let hour = digits(cursor, 2..=2)?;
    cursor.expect(b':', WRONG_DATE.0)?;
    let minute = digits(cursor, 2..=2)?;
    cursor.expect(b':', WRONG_DATE.0)?;
    let second = digits(cursor, 2..=2)?;
    cursor.space()?;
    let zone = zone_minutes(cursor)?;
    cursor.expect(b'"', WRONG_DATE.0)?;
    InternalDate::from_civil(date, (hour, minute, second), zone).ok_or(WRONG_DATE)
}

fn day_month_year(cursor: &mut Cursor<'_>) -> Parsed<(i64, u32, u32)> {
    let day = digits(cursor, 1..=2)?;
    cursor.expect(b'-', WRONG_DATE.0)?;
    let month = month(&cursor.run(|byte| byte.is_ascii_alphabetic()))?;
    cursor.expect(b'-', WRONG_DATE.0)?;
    let year = digits(cursor, 4..=4)?;
    Ok((i64::from(year), month, day))
}

fn month(name: &[u8]) -> Parsed<u32> {
    let names: [&[u8]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    (1..)
        .zip(names)
        .find(|(_, month)| month.eq_ignore_ascii_case(name))
        .map(|(n, _)| n)
        .ok_or(WRONG_DATE)
}

fn zone_minutes(cursor: &mut Cursor<'_>) -> Parsed<i16> {
    let west = match cursor.peek() {
        Some(b'-') => true,
        Some(b'+') => false,
        Some(_) | None => return Err(WRONG_DATE),
    };
    cursor.skip(if west { b'-' } else { b'+' });
    let hours_minutes = digits(cursor, 4..=4)?;
    let minutes = hours_minutes % 100;
    if minutes > 59 {
        return Err(WRONG_DATE);
    }
    let zone = i16::try_from(hours_minutes / 100 * 60 + minutes).map_err(|_| WRONG_DATE)?;
    Ok(if west { -zone } else { zone })
}

fn digits(cursor: &mut Cursor<'_>, count: std::ops::RangeInclusive<usize>) -> Parsed<u32> {
    let digits = cursor.run(|byte| byte.is_ascii_digit());
    if !count.contains(&digits.len()) {
        return Err(WRONG_DATE);
    }
    Ok(digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}
