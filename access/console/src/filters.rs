//! How figures are written on pages.

/// A count, or a reference to one.
pub trait Figure {
    fn figure(&self) -> u64;
}

impl Figure for u64 {
    fn figure(&self) -> u64 {
        *self
    }
}

impl Figure for usize {
    fn figure(&self) -> u64 {
        *self as u64
    }
}

impl<T: Figure> Figure for &T {
    fn figure(&self) -> u64 {
        (*self).figure()
    }
}

/// As in `1.5 GiB`.
///
/// # Errors
/// Never; so with the others.
pub fn size(bytes: impl Figure) -> askama::Result<String> {
    let bytes = bytes.figure();
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return Ok(format!("{bytes} B"));
    }
    // The largest unit of which there is at least one.
    let unit = (bytes.ilog2() / 10) as usize;
    let tenths = (u128::from(bytes) * 10) >> (unit * 10);
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let name = UNITS[(unit - 1).min(UNITS.len() - 1)];
    Ok(if whole >= 100 { format!("{whole} {name}") } else { format!("{whole}.{tenth} {name}") })
}

/// As in `1,234,567`.
///
/// # Errors
/// Never.
pub fn count(count: impl ToString) -> askama::Result<String> {
    let digits = count.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    Ok(shown)
}

/// As in `2 h 05 min`.
///
/// # Errors
/// Never.
pub fn span(seconds: impl Figure) -> askama::Result<String> {
    let seconds = seconds.figure();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Ok(match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, minutes) => format!("{minutes} min {rest:02} s"),
        (hours, minutes) if hours < 48 => format!("{hours} h {minutes:02} min"),
        (hours, _) => format!("{} days {} h", hours / 24, hours % 24),
    })
}

/// Microseconds, as in `1.5 ms`.
///
/// # Errors
/// Never.
pub fn micros(us: impl Figure) -> askama::Result<String> {
    let us = us.figure();
    Ok(match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1000, us / 100 % 10),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    })
}

/// Milliseconds since 1970, as a time in UTC to the second.
///
/// # Errors
/// Never.
pub fn time(unix_ms: &i64) -> askama::Result<String> {
    let time = jiff::Timestamp::from_millisecond(*unix_ms).unwrap_or_default();
    Ok(time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// The same for machines (HTML 2.3.5, `datetime`).
///
/// # Errors
/// Never.
pub fn datetime(unix_ms: &i64) -> askama::Result<String> {
    let time = jiff::Timestamp::from_millisecond(*unix_ms).unwrap_or_default();
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// For an address: RFC 3986 2.3 leaves these as they are.
///
/// # Errors
/// Never.
pub fn path(text: &str) -> askama::Result<String> {
    let mut shown = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@') {
            shown.push(char::from(byte));
        } else {
            shown.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(shown)
}

/// `s` behind all counts but one.
///
/// # Errors
/// Never.
pub fn s(count: impl ToString) -> askama::Result<&'static str> {
    Ok(if count.to_string() == "1" { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let sizes = [(0_u64, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB")];
        for (bytes, shown) in sizes {
            assert_eq!(size(bytes).expect("fine"), shown);
        }
        assert_eq!(size(150_u64 << 20).expect("fine"), "150 MiB");
        assert_eq!(size(u64::MAX).expect("fine"), "15.9 EiB");
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number).expect("fine"), shown);
        }
        for (seconds, shown) in [(59_u64, "59 s"), (61, "1 min 01 s"), (7500, "2 h 05 min")] {
            assert_eq!(span(seconds).expect("fine"), shown);
        }
        assert_eq!(span(50_u64 * 3600).expect("fine"), "2 days 2 h");
        for (us, shown) in [(0_u64, "0 µs"), (1500, "1.5 ms"), (2_340_000, "2.3 s")] {
            assert_eq!(micros(us).expect("fine"), shown);
        }
        assert_eq!(time(&1_795_237_012_345).expect("fine"), "2026-11-21 04:56:52");
        assert_eq!(path("a/b c@d").expect("fine"), "a%2Fb%20c@d");
    }
}
