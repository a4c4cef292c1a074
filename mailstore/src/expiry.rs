//! When mail in Trash and Junk goes: what a user chose, and how it is kept.
//!
//! It stands in one of the user's own records ([`crate::face::Collection::Settings`], name [`RECORD_NAME`]). The master of the
//! mailbox acts by it, and writes the first one: mail that was there before counts from then on, so that no release that
//! brings expiry empties a folder unseen.

use crate::face::SpecialUse;
use crate::record::{Reader, RecordError, Writer};
use bytes::Bytes;

/// The name of the record.
pub const RECORD_NAME: &str = "expiry";

const VERSION: u8 = 1;

const DAY_SECONDS: i64 = 86_400;

/// Days of those who chose nothing. Our choice: what people know from elsewhere.
pub const DAYS_DEFAULT: u16 = 30;

/// What a user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Days after which mail that was put into Trash goes; 0: never.
    pub trash_days: u16,
    /// The same of Junk.
    pub junk_days: u16,
    /// Seconds since 1970. Mail that was put there before counts as put there then.
    pub since: i64,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { trash_days: DAYS_DEFAULT, junk_days: DAYS_DEFAULT, since: 0 }
    }
}

impl Expiry {
    /// Mail that was put into a folder of this use at this time, or before, goes; `None`: none does. Seconds since 1970.
    #[must_use]
    pub fn due(&self, special_use: Option<SpecialUse>, now: i64) -> Option<i64> {
        let days = match special_use? {
            SpecialUse::Trash => self.trash_days,
            SpecialUse::Junk => self.junk_days,
            SpecialUse::Archive | SpecialUse::Drafts | SpecialUse::Flagged | SpecialUse::Sent => 0,
        };
        let due = now.saturating_sub(i64::from(days).saturating_mul(DAY_SECONDS));
        (days > 0 && self.since <= due).then_some(due)
    }

    /// The value of the record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(VERSION);
        writer.number(u64::from(self.trash_days));
        writer.number(u64::from(self.junk_days));
        writer.signed(self.since);
        writer.finish()
    }

    /// # Errors
    /// The value is none of this release.
    pub fn decode(value: Bytes) -> Result<Self, RecordError> {
        let (_version, mut reader) = Reader::new(value, VERSION)?;
        let mut days =
            |field| u16::try_from(reader.number(field)?).map_err(|_| RecordError::Malformed(field));
        let (trash_days, junk_days) = (days("days of Trash")?, days("days of Junk")?);
        let since = reader.signed("since")?;
        reader.finish()?;
        Ok(Self { trash_days, junk_days, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_the_record() {
        let expiry = Expiry { trash_days: 30, junk_days: 300, since: 5 };
        let golden = b"\x01\x1e\xac\x02\x0a";
        assert_eq!(expiry.encode(), Bytes::from_static(golden));
        assert_eq!(Expiry::decode(Bytes::from_static(golden)), Ok(expiry));
        for len in 0..golden.len() {
            assert!(Expiry::decode(Bytes::copy_from_slice(&golden[..len])).is_err(), "{len}");
        }
        assert_eq!(
            Expiry::decode(Bytes::from_static(b"\x01\xff\xff\x7f\x00\x00")),
            Err(RecordError::Malformed("days of Trash"))
        );
    }

    #[test]
    fn only_trash_and_junk_expire_and_never_is_never() {
        let now = 1_000 * DAY_SECONDS;
        let expiry = Expiry { trash_days: 1, junk_days: 0, since: 0 };
        assert_eq!(expiry.due(Some(SpecialUse::Trash), now), Some(999 * DAY_SECONDS));
        for other in [None, Some(SpecialUse::Junk), Some(SpecialUse::Sent)] {
            assert_eq!(expiry.due(other, now), None, "{other:?}");
        }
        let late = Expiry { since: 999 * DAY_SECONDS + 1, ..expiry };
        assert_eq!(late.due(Some(SpecialUse::Trash), now), None);
    }

    proptest! {
        #[test]
        fn it_round_trips(trash_days: u16, junk_days: u16, since: i64) {
            let expiry = Expiry { trash_days, junk_days, since };
            prop_assert_eq!(Expiry::decode(expiry.encode()), Ok(expiry));
        }
    }
}
