//! INTERNALDATE with its zone: ON, SINCE and BEFORE judge the date as displayed.

use serde::{Deserialize, Serialize};

/// A moment and the zone it is displayed in.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct InternalDate {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: i64,
    /// Minutes east of UTC, -1439 to 1439.
    pub zone_minutes: i16,
}

impl InternalDate {
    /// Days since 1970-01-01 of the date as displayed in its zone.
    #[must_use]
    pub fn day(self) -> i32 {
        let local = self.unix_seconds.saturating_add(i64::from(self.zone_minutes) * 60);
        i32::try_from(local.div_euclid(86_400)).unwrap_or(if local < 0 {
            i32::MIN
        } else {
            i32::MAX
        })
    }

    /// (year, month 1-12, day 1-31, hour, minute, second) as displayed in its zone, proleptic Gregorian.
    #[must_use]
    pub fn civil(self) -> (i64, u32, u32, u32, u32, u32) {
        let local = self.unix_seconds.saturating_add(i64::from(self.zone_minutes) * 60);
        let (year, month, day) = civil_from_days(local.div_euclid(86_400));
        let second = u32::try_from(local.rem_euclid(86_400)).expect("less than a day");
        (year, month, day, second / 3600, second / 60 % 60, second % 60)
    }

    /// The moment that (year, month, day, hour, minute, second) names in a zone; `None` when the date does not exist.
    #[must_use]
    pub fn from_civil(
        (year, month, day): (i64, u32, u32),
        (hour, minute, second): (u32, u32, u32),
        zone_minutes: i16,
    ) -> Option<Self> {
        // RFC 5322 3.3 allows a leap second.
        if hour > 23 || minute > 59 || second > 60 || zone_minutes.unsigned_abs() > 1439 {
            return None;
        }
        let days = days_from_civil(year, month, day)?;
        let clock = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        Some(Self {
            unix_seconds: days * 86_400 + clock - i64::from(zone_minutes) * 60,
            zone_minutes,
        })
    }
}

/// Days since 1970-01-01 of a date; `None` when it does not exist or lies outside the years 0 to 9999.
#[must_use]
pub fn days_from_civil(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Howard Hinnant, "chrono-compatible low-level date algorithms": eras of 400 years that begin on 1 March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = u32::try_from(day_of_year - (153 * month_from_march + 2) / 5 + 1).unwrap_or(1);
    let month = u32::try_from((month_from_march + 2) % 12 + 1).unwrap_or(1);
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_the_one_displayed() {
        let date = InternalDate::from_civil((2026, 11, 21), (23, 30, 0), -120).expect("exists");
        assert_eq!(date.civil(), (2026, 11, 21, 23, 30, 0));
        assert_eq!(i64::from(date.day()), days_from_civil(2026, 11, 21).expect("exists"));
        assert_eq!(InternalDate { zone_minutes: 0, ..date }.civil(), (2026, 11, 22, 1, 30, 0));
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        assert_eq!(days_from_civil(2026, 2, 29), None);
        assert_eq!(days_from_civil(2024, 2, 29), Some(19_782));
        assert_eq!(days_from_civil(1970, 1, 1), Some(0));
    }
}
