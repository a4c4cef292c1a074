//! Log-ins of browsers. A cookie holds the user and a secret of 256 bits; the store holds the hash of the secret, among the
//! user's records: so any node knows it, and nobody who reads the store can log in with it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mailstore::face::{RecordName, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 32;
/// Bytes of what forms carry.
pub const TOKEN_BYTES: usize = 16;

/// Seconds that a log-in lasts unless it is to be remembered: 12 hours from the log-in.
pub const LIFE_SECONDS: i64 = 12 * 3600;
/// Seconds without a request after which a remembered log-in ends: 30 days.
pub const IDLE_SECONDS: i64 = 30 * 86_400;
/// A use is noted at most so often, in seconds: an hour. Every note is a write.
pub const NOTE_SECONDS: i64 = 3600;
/// Log-ins of one user; the oldest make way. Our choice.
pub const SESSIONS_MAX: usize = 64;

/// What a cookie proves.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    pub user: UserId,
    secret: [u8; SECRET_BYTES],
}

/// Never shows the secret.
impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cookie").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Cookie {
    #[must_use]
    pub fn new(user: UserId, secret: [u8; SECRET_BYTES]) -> Self {
        Self { user, secret }
    }

    /// The value of the cookie.
    #[must_use]
    pub fn value(&self) -> String {
        format!("{:x}.{}", self.user.0, URL_SAFE_NO_PAD.encode(self.secret))
    }

    /// `None`: no such value was ever given.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        let (user, secret) = value.split_once('.')?;
        let user = UserId(u64::from_str_radix(user, 16).ok()?);
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
        Some(Self { user, secret })
    }

    /// Under which the log-in is kept.
    ///
    /// # Panics
    /// Never: the name fits.
    #[must_use]
    pub fn record_name(&self) -> RecordName {
        let hash = self.hash(b"hikyaku browser session");
        RecordName::new(&URL_SAFE_NO_PAD.encode(hash)).expect("a short name")
    }

    /// What a form of this log-in carries, and no other site can know; never twice the same, as long as `pad` is random: pages
    /// are compressed, and their length must not tell it.
    #[must_use]
    pub fn form_token(&self, pad: [u8; TOKEN_BYTES]) -> String {
        let masked = pad.iter().zip(self.form_secret()).map(|(pad, byte)| pad ^ byte);
        URL_SAFE_NO_PAD.encode(pad.iter().copied().chain(masked).collect::<Vec<_>>())
    }

    /// Whether a form with this token came from a page of this log-in.
    #[must_use]
    pub fn is_form_token(&self, token: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else { return false };
        let Some((pad, masked)) = bytes.split_at_checked(TOKEN_BYTES) else { return false };
        // All of it is looked at, wherever it differs.
        let bytes = pad.iter().zip(masked).zip(self.form_secret());
        let differ = bytes.fold(0, |differ, ((pad, masked), byte)| differ | pad ^ masked ^ byte);
        masked.len() == TOKEN_BYTES && differ == 0
    }

    fn form_secret(&self) -> [u8; TOKEN_BYTES] {
        let mut secret = [0; TOKEN_BYTES];
        secret.copy_from_slice(&self.hash(b"hikyaku form")[..TOKEN_BYTES]);
        secret
    }

    fn hash(&self, purpose: &[u8]) -> [u8; 32] {
        // The lengths are fixed, so that no purpose runs into a secret.
        Sha256::new()
            .chain_update(purpose)
            .chain_update([0])
            .chain_update(self.secret)
            .finalize()
            .into()
    }
}

/// A log-in as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Browser {
    /// The account's address.
    pub address: String,
    /// Seconds since 1970.
    pub created: i64,
    pub used: i64,
    pub remembered: bool,
    /// As in `Firefox on Linux`.
    pub agent: String,
    pub ip: String,
}

impl Browser {
    /// `None`: what stands there is no log-in.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// # Panics
    /// Never: it is plain data.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    /// Whether it still counts.
    #[must_use]
    pub fn is_live(&self, now: i64) -> bool {
        if self.remembered {
            now.saturating_sub(self.used) < IDLE_SECONDS
        } else {
            now.saturating_sub(self.created) < LIFE_SECONDS
        }
    }

    /// Whether its use is to be noted again.
    #[must_use]
    pub fn is_stale(&self, now: i64) -> bool {
        now.saturating_sub(self.used) >= NOTE_SECONDS
    }
}

/// A browser and its system by the User-Agent field; for the list of log-ins only.
#[must_use]
pub fn agent_name(user_agent: &str) -> String {
    let known = |names: &[(&str, &str)]| {
        names.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| (*name).to_owned())
    };
    let browser = known(&[
        ("Firefox/", "Firefox"),
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
        ("Lynx/", "Lynx"),
        ("w3m/", "w3m"),
    ]);
    let system = known(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => "an unknown browser".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_come_back_and_tell_nothing() {
        let cookie = Cookie::new(UserId(0xABC), [7; SECRET_BYTES]);
        assert_eq!(Cookie::read(&cookie.value()), Some(cookie.clone()));
        for wrong in ["", "abc", "x.y", "abc.AAAA", "abc.", &cookie.value()[..40]] {
            assert_eq!(Cookie::read(wrong), None, "{wrong}");
        }
        let secret = cookie.value();
        let secret = secret.split_once('.').expect("two parts").1;
        assert_ne!(cookie.record_name().as_str(), secret);
        assert!(!format!("{cookie:?}").contains(secret));
        let other = Cookie::new(UserId(0xABC), [8; SECRET_BYTES]);
        let (pad, otherwise) = ([3; TOKEN_BYTES], [4; TOKEN_BYTES]);
        assert_ne!(cookie.form_token(pad), cookie.form_token(otherwise));
        for pad in [pad, otherwise] {
            assert!(cookie.is_form_token(&cookie.form_token(pad)));
            assert!(!cookie.is_form_token(&other.form_token(pad)));
        }
        for wrong in ["", "AAAA", &cookie.form_token(pad)[..40], "?"] {
            assert!(!cookie.is_form_token(wrong), "{wrong}");
        }
    }

    #[test]
    fn log_ins_end() {
        let browser = Browser {
            address: "ann@x".into(),
            created: 1000,
            used: 1000,
            remembered: false,
            agent: String::new(),
            ip: String::new(),
        };
        assert_eq!(Browser::read(&browser.written()), Some(browser.clone()));
        assert!(browser.is_live(1000 + LIFE_SECONDS - 1));
        assert!(!browser.is_live(1000 + LIFE_SECONDS));
        let remembered = Browser { remembered: true, used: 5_000_000, ..browser };
        assert!(remembered.is_live(5_000_000 + IDLE_SECONDS - 1));
        assert!(!remembered.is_live(5_000_000 + IDLE_SECONDS));
        assert!(Browser::read(b"x").is_none());
    }

    #[test]
    fn browsers_by_name() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
        assert_eq!(agent_name(firefox), "Firefox on Linux");
        assert_eq!(agent_name("curl/8.5.0"), "curl");
        assert_eq!(agent_name(""), "an unknown browser");
    }
}
