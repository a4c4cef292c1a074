//! What a user chose, as kept in the user's records. A missing or unreadable record means the defaults: settings never lock
//! anybody out.

use crate::date::DateStyle;
use mailstore::face::RecordName;
use serde::{Deserialize, Serialize};

/// Everything on the settings page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// As in `Ann Lee`; shown to recipients.
    pub display_name: String,
    pub signature: String,
    /// Messages of a page.
    pub page_size: u16,
    pub theme: Theme,
    /// As in `Europe/Berlin`.
    pub time_zone: String,
    pub language: Language,
    /// `None`: as the language of the browser has them.
    pub dates: Option<DateStyle>,
    /// Further addresses to send from. Whether they belong to the account is asked whenever one is used.
    pub identities: Vec<Identity>,
    /// How long a message can be called back after Send, in seconds; 0: it goes at once.
    pub undo_seconds: u8,
}

/// A name and an address to send from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub name: String,
    pub address: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// As the device has it.
    #[default]
    Auto,
    Light,
    Dark,
}

impl Theme {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// By its name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::Auto,
        }
    }
}

/// What pages are written in. docs/webmail.md says what another one takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    #[default]
    #[serde(rename = "en")]
    English,
}

impl Language {
    pub const ALL: [Self; 1] = [Self::English];

    /// RFC 5646: the `lang` of pages.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
        }
    }

    /// As its speakers call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
        }
    }

    /// By its code.
    #[must_use]
    pub fn of(code: &str) -> Self {
        Self::ALL.into_iter().find(|language| language.code() == code).unwrap_or_default()
    }
}

/// Days from which a user chooses when mail goes from Trash and Junk; 0: never.
pub const EXPIRY_DAYS: [u16; 7] = [0, 7, 14, 30, 60, 90, 365];

/// Messages of a page, from which a user chooses.
pub const PAGE_SIZES: [u16; 4] = [25, 50, 100, 200];

/// Times from which a user chooses.
pub const UNDO_SECONDS: [u8; 5] = [0, 5, 10, 20, 30];
/// Further addresses to send from. Our choice.
pub const IDENTITIES_MAX: usize = 20;

/// Longest display name, in characters. Our choice: a line of a header holds it.
const NAME_CHARS_MAX: usize = 100;
/// Longest signature, in characters. Our choice.
const SIGNATURE_CHARS_MAX: usize = 4_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            display_name: String::new(),
            signature: String::new(),
            page_size: 50,
            theme: Theme::Auto,
            time_zone: "UTC".into(),
            language: Language::English,
            dates: None,
            identities: Vec::new(),
            undo_seconds: 5,
        }
    }
}

impl Settings {
    /// The one record of the collection.
    ///
    /// # Panics
    /// Never: the name fits.
    #[must_use]
    pub fn record_name() -> RecordName {
        RecordName::new("general").expect("a short name")
    }

    #[must_use]
    pub fn read(value: &[u8]) -> Self {
        serde_json::from_slice::<Self>(value).unwrap_or_default().cleaned()
    }

    /// # Panics
    /// Never: it is plain data.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    /// Within its limits.
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        self.display_name = clean_name(&self.display_name);
        self.identities.truncate(IDENTITIES_MAX);
        for identity in &mut self.identities {
            identity.name = clean_name(&identity.name);
        }
        if !UNDO_SECONDS.contains(&self.undo_seconds) {
            self.undo_seconds = Self::default().undo_seconds;
        }
        let kept = |c: &char| *c == '\n' || !c.is_control();
        self.signature = self.signature.chars().filter(kept).take(SIGNATURE_CHARS_MAX).collect();
        if !PAGE_SIZES.contains(&self.page_size) {
            self.page_size = Self::default().page_size;
        }
        if jiff::tz::TimeZone::get(&self.time_zone).is_err() {
            self.time_zone = Self::default().time_zone;
        }
        self
    }
}

fn clean_name(name: &str) -> String {
    let kept = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX);
    kept.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_and_nonsense_is_the_default() {
        let settings = Settings {
            display_name: "Ann".into(),
            theme: Theme::Dark,
            time_zone: "Europe/Berlin".into(),
            dates: Some(DateStyle::YearFirst),
            ..Settings::default()
        };
        assert_eq!(Settings::read(&settings.written()), settings);
        for language in Language::ALL {
            assert_eq!(Language::of(language.code()), language);
            let kept = serde_json::to_string(&language).expect("plain data");
            assert_eq!(kept, format!("\"{}\"", language.code()));
        }
        assert_eq!(Language::of("xx"), Language::English);
        assert_eq!(Settings::read(b"nonsense"), Settings::default());
        assert_eq!(
            Settings::read(b"{\"page_size\": 7, \"time_zone\": \"x\", \"new\": 1}"),
            Settings::default()
        );
        let odd = Settings { display_name: " a\r\nBcc: b ".into(), ..Settings::default() };
        assert_eq!(odd.cleaned().display_name, "aBcc: b");
    }
}
