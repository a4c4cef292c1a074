//! Dates as people read them, in their own time zone.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use mailstore::face::InternalDate;

/// A time zone by its name, as in `Europe/Berlin`; UTC when there is none of the name.
#[must_use]
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// Where dates are shown.
#[derive(Clone, Debug)]
pub struct Dates {
    pub zone: TimeZone,
    pub now: Timestamp,
}

impl Dates {
    fn at(&self, date: InternalDate) -> Option<Zoned> {
        Some(Timestamp::from_second(date.unix_seconds).ok()?.to_zoned(self.zone.clone()))
    }

    /// For a list: the hour of today, the weekday of this week, else the day.
    #[must_use]
    pub fn short(&self, date: InternalDate) -> String {
        let Some(at) = self.at(date) else { return String::new() };
        let today = self.now.to_zoned(self.zone.clone()).date();
        let days = today.since(at.date()).map_or(i32::MAX, |span| span.get_days());
        let form = match days {
            0 => "%H:%M",
            1..=5 => "%a %H:%M",
            _ if at.year() == today.year() => "%-d %b",
            _ => "%-d %b %Y",
        };
        at.strftime(form).to_string()
    }

    /// For a message.
    #[must_use]
    pub fn long(&self, date: InternalDate) -> String {
        self.at(date).map_or_else(String::new, |at| at.strftime("%A, %-d %B %Y, %H:%M").to_string())
    }

    /// For machines: the `datetime` of a `time` element.
    #[must_use]
    pub fn machine(&self, date: InternalDate) -> String {
        Timestamp::from_second(date.unix_seconds)
            .map_or_else(|_| String::new(), |at| at.to_string())
    }
}

/// Bytes as people read them.
#[must_use]
pub fn bytes(count: u64) -> String {
    let units = ["KB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} bytes");
    }
    let (mut tenths, mut unit) = (count.div_ceil(100), 0);
    while tenths >= 10_000 && unit + 1 < units.len() {
        tenths = tenths.div_ceil(1000);
        unit += 1;
    }
    let name = units[unit];
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths.div_ceil(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_by_their_distance() {
        let now = "2024-05-15T12:00:00Z".parse().expect("a time");
        let dates = Dates { zone: zone("Europe/Berlin"), now };
        let at = |text: &str| {
            let at: Timestamp = text.parse().expect("a time");
            InternalDate { unix_seconds: at.as_second(), ..InternalDate::default() }
        };
        assert_eq!(dates.short(at("2024-05-14T22:30:00Z")), "00:30", "today in Berlin");
        assert_eq!(dates.short(at("2024-05-14T20:00:00Z")), "Tue 22:00");
        assert_eq!(dates.short(at("2024-03-01T20:00:00Z")), "1 Mar");
        assert_eq!(dates.short(at("2023-03-01T20:00:00Z")), "1 Mar 2023");
        assert_eq!(dates.short(at("2024-05-16T20:00:00Z")), "16 May", "from the future");
        assert_eq!(dates.long(at("2024-05-14T22:30:00Z")), "Wednesday, 15 May 2024, 00:30");
        assert_eq!(
            dates.short(InternalDate { unix_seconds: i64::MAX, ..InternalDate::default() }),
            ""
        );
        assert_eq!(zone("Nowhere/Atall"), TimeZone::UTC);
    }

    #[test]
    fn sizes() {
        for (count, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 KB"),
            (4_701, "4.8 KB"),
            (25_000, "25 KB"),
            (999_999, "1.0 MB"),
            (52_428_800, "53 MB"),
            (u64::MAX, "18446745 TB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
