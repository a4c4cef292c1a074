//! Dates as people read them, in their own time zone and order.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use mailstore::face::InternalDate;
use serde::{Deserialize, Serialize};

/// A time zone by its name, as in `Europe/Berlin`; UTC when there is none of the name.
#[must_use]
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// The order of a date, and how hours are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DateStyle {
    /// 5 March 2024, 14:30
    #[default]
    DayFirst,
    /// March 5, 2024, 2:30 PM
    MonthFirst,
    /// 2024-03-05, 14:30
    YearFirst,
}

/// The forms of a style, for `strftime`.
struct Forms {
    hour: &'static str,
    weekday: &'static str,
    day: &'static str,
    year: &'static str,
    long: &'static str,
}

impl DateStyle {
    pub const ALL: [Self; 3] = [Self::DayFirst, Self::MonthFirst, Self::YearFirst];

    /// As settings name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DayFirst => "day-first",
            Self::MonthFirst => "month-first",
            Self::YearFirst => "year-first",
        }
    }

    #[must_use]
    pub const fn example(self) -> &'static str {
        match self {
            Self::DayFirst => "5 March 2024, 14:30",
            Self::MonthFirst => "March 5, 2024, 2:30 PM",
            Self::YearFirst => "2024-03-05, 14:30",
        }
    }

    /// By its name; `None`: as the browser has it.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|style| style.name() == name)
    }

    /// What the first language of Accept-Language (RFC 9110 12.5.4) is used to; browsers name the favourite first.
    #[must_use]
    pub fn of_languages(accepted: &str) -> Self {
        let first = accepted.split([',', ';']).next().unwrap_or_default().trim().to_lowercase();
        let language = first.split('-').next().unwrap_or_default();
        match (language, first.rsplit('-').next()) {
            (_, Some("us" | "ph")) => Self::MonthFirst,
            ("sv" | "lt" | "hu" | "ja" | "zh" | "ko", _) | (_, Some("ca")) => Self::YearFirst,
            _ => Self::DayFirst,
        }
    }

    const fn forms(self) -> Forms {
        match self {
            Self::DayFirst => Forms {
                hour: "%H:%M",
                weekday: "%a %H:%M",
                day: "%-d %b",
                year: "%-d %b %Y",
                long: "%A, %-d %B %Y, %H:%M",
            },
            Self::MonthFirst => Forms {
                hour: "%-I:%M %p",
                weekday: "%a %-I:%M %p",
                day: "%b %-d",
                year: "%b %-d, %Y",
                long: "%A, %B %-d, %Y, %-I:%M %p",
            },
            Self::YearFirst => Forms {
                hour: "%H:%M",
                weekday: "%a %H:%M",
                day: "%Y-%m-%d",
                year: "%Y-%m-%d",
                long: "%A, %Y-%m-%d, %H:%M",
            },
        }
    }
}

/// Where dates are shown.
#[derive(Clone, Debug)]
pub struct Dates {
    pub zone: TimeZone,
    pub now: Timestamp,
    pub style: DateStyle,
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
        let forms = self.style.forms();
        let form = match days {
            0 => forms.hour,
            1..=5 => forms.weekday,
            _ if at.year() == today.year() => forms.day,
            _ => forms.year,
        };
        at.strftime(form).to_string()
    }

    /// For a message.
    #[must_use]
    pub fn long(&self, date: InternalDate) -> String {
        let form = self.style.forms().long;
        self.at(date).map_or_else(String::new, |at| at.strftime(form).to_string())
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
        let dates = Dates { zone: zone("Europe/Berlin"), now, style: DateStyle::DayFirst };
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
        let dates = Dates { style: DateStyle::MonthFirst, ..dates };
        assert_eq!(dates.short(at("2024-05-14T22:30:00Z")), "12:30 AM");
        assert_eq!(dates.short(at("2023-03-01T20:00:00Z")), "Mar 1, 2023");
        assert_eq!(dates.long(at("2024-05-14T12:05:00Z")), "Tuesday, May 14, 2024, 2:05 PM");
        let dates = Dates { style: DateStyle::YearFirst, ..dates };
        assert_eq!(dates.short(at("2024-03-01T20:00:00Z")), "2024-03-01");
        assert_eq!(dates.long(at("2024-05-14T12:05:00Z")), "Tuesday, 2024-05-14, 14:05");
    }

    #[test]
    fn styles_by_language_and_name() {
        for (accepted, style) in [
            ("en-US,en;q=0.9", DateStyle::MonthFirst),
            ("en-GB,en-US;q=0.9", DateStyle::DayFirst),
            ("en", DateStyle::DayFirst),
            ("ja;q=0.8, en-US", DateStyle::YearFirst),
            ("zh-Hant-TW", DateStyle::YearFirst),
            ("en-CA", DateStyle::YearFirst),
            ("*", DateStyle::DayFirst),
            ("", DateStyle::DayFirst),
        ] {
            assert_eq!(DateStyle::of_languages(accepted), style, "{accepted}");
        }
        for style in DateStyle::ALL {
            assert_eq!(DateStyle::of(style.name()), Some(style));
            let kept = serde_json::to_string(&style).expect("plain data");
            assert_eq!(kept, format!("\"{}\"", style.name()));
        }
        assert_eq!(DateStyle::of("auto"), None);
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
