//! Sizes and times as people write them: `"50 MiB"`, `"30 s"`.

use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A number of bytes. Written with a unit: B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A span of time. Written with a unit: ms, s, min, h or d.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

const TIME_UNITS_MS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

impl Size {
    /// Parses `"50 MiB"`; the blank may be missing, units compare without case.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text, &SIZE_UNITS).map(Self).ok_or_else(|| {
            format!("{text:?} is no size: write a number with a unit, as in \"50 MiB\"")
        })
    }

    /// Bytes, for a count kept in memory.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Time {
    /// Parses `"30 s"`; the blank may be missing.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text, &TIME_UNITS_MS).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(|| {
            format!("{text:?} is no time: write a number with a unit, as in \"30 s\"")
        })
    }

    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim();
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*factor)
}

fn show(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let smallest = units.last().map_or(("", 1), |unit| *unit);
    let exact = |&&(_, factor): &&(&str, u64)| value >= factor && value.is_multiple_of(factor);
    let (name, factor) = units.iter().find(exact).copied().unwrap_or(smallest);
    write!(f, "{} {name}", value / factor)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &SIZE_UNITS)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &TIME_UNITS_MS)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_back_as_written() {
        for text in ["50 MiB", "0 B", "1 TiB", "3 kB", "4097 B"] {
            assert_eq!(Size::parse(text).expect("a size").to_string(), text);
        }
        for text in ["30 s", "5 ms", "30 min", "7 d", "1500 ms", "0 ms"] {
            assert_eq!(Time::parse(text).expect("a time").to_string(), text);
        }
        assert_eq!(Size::parse("64KiB"), Ok(Size(65_536)));
    }

    #[test]
    fn numbers_without_a_unit_are_refused() {
        for text in ["", "50", "MiB", "-1 B", "1.5 GiB", "99999999999 TiB", "50 MiBs"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
        for text in ["30", "s", "30 sec", "-5 s"] {
            assert!(Time::parse(text).is_err(), "{text}");
        }
    }
}
