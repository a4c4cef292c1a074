//! Who is signed in at the console of a node, and how often a wrong token may be tried. Kept in memory: a restart signs
//! everybody out.
//!
//! Invariants: no secret of a browser is kept, only its hash; what is kept is bounded.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of the secret in a cookie.
pub const SECRET_BYTES: usize = 32;
/// Seconds without a page after which a sign-in ends: 12 hours. Our choice: a working day.
pub const IDLE_SECONDS: u64 = 12 * 3600;
/// Sign-ins at once; the one that was used longest ago makes way. Our choice: operators are few.
pub const SIGN_INS_MAX: usize = 64;
/// Wrong tokens from one address in [`WRONG_SECONDS`]. Our choice: nobody types a token so often.
pub const WRONG_MAX: u32 = 5;
pub const WRONG_SECONDS: u64 = 60;
/// Addresses whose attempts are remembered; the oldest is forgotten.
pub const ADDRESSES_MAX: usize = 1024;

/// What a browser shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    #[must_use]
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The value of a cookie.
    #[must_use]
    pub fn value(&self) -> String {
        hex(&self.0)
    }

    /// `None`: no such value was ever given.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        if value.len() != 2 * SECRET_BYTES || !value.is_ascii() {
            return None;
        }
        let mut bytes = [0; SECRET_BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(value.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// What forms of this sign-in carry, and no other site can know.
    #[must_use]
    pub fn form_token(&self) -> String {
        hex(&self.hash("console form")[..16])
    }

    fn hash(&self, purpose: &str) -> [u8; 32] {
        // The lengths are fixed, so that no purpose runs into a secret.
        Sha256::new().chain_update(purpose).chain_update([0]).chain_update(self.0).finalize().into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What came of an order, for the next page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub text: String,
    /// Nothing was done.
    pub refused: bool,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Somebody looks, or does something.
    Person,
    /// A page that is open looks by itself: that keeps nobody signed in.
    Refresh,
}

/// Everybody who is signed in. Times are seconds of one clock.
#[derive(Debug, Default)]
pub struct SignIns {
    live: BTreeMap<[u8; 32], Live>,
    wrong: BTreeMap<IpAddr, Wrong>,
}

#[derive(Debug)]
struct Live {
    used: u64,
    notice: Option<Notice>,
}

#[derive(Debug)]
struct Wrong {
    since: u64,
    count: u32,
}

impl SignIns {
    /// Somebody has shown the token.
    pub fn begin(&mut self, secret: &Secret, now: u64) {
        self.forget(now);
        while self.live.len() >= SIGN_INS_MAX {
            let oldest = self.live.iter().min_by_key(|(_, live)| live.used).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.live.remove(&oldest);
        }
        self.live.insert(secret.hash("console"), Live { used: now, notice: None });
    }

    /// Whether the secret is that of somebody who is signed in.
    pub fn is_live(&mut self, secret: &Secret, now: u64, purpose: Use) -> bool {
        self.forget(now);
        let Some(live) = self.live.get_mut(&secret.hash("console")) else { return false };
        if purpose == Use::Person {
            live.used = now;
        }
        true
    }

    pub fn end(&mut self, secret: &Secret) {
        self.live.remove(&secret.hash("console"));
    }

    /// What the next page of this sign-in tells.
    pub fn tell(&mut self, secret: &Secret, notice: Notice) {
        if let Some(live) = self.live.get_mut(&secret.hash("console")) {
            live.notice = Some(notice);
        }
    }

    pub fn take_notice(&mut self, secret: &Secret) -> Option<Notice> {
        self.live.get_mut(&secret.hash("console"))?.notice.take()
    }

    fn forget(&mut self, now: u64) {
        self.live.retain(|_, live| now.saturating_sub(live.used) < IDLE_SECONDS);
    }

    /// Whether an address may try a token now.
    pub fn may_try(&mut self, ip: IpAddr, now: u64) -> bool {
        self.wrong.retain(|_, wrong| now.saturating_sub(wrong.since) < WRONG_SECONDS);
        self.wrong.get(&network(ip)).is_none_or(|wrong| wrong.count < WRONG_MAX)
    }

    /// It was wrong.
    pub fn on_wrong(&mut self, ip: IpAddr, now: u64) {
        if self.wrong.len() >= ADDRESSES_MAX {
            let oldest = self.wrong.iter().min_by_key(|(_, wrong)| wrong.since).map(|(ip, _)| *ip);
            oldest.map(|ip| self.wrong.remove(&ip));
        }
        let wrong = self.wrong.entry(network(ip)).or_insert(Wrong { since: now, count: 0 });
        wrong.count = wrong.count.saturating_add(1);
    }
}

/// Who has one IPv6 address has 2^64 of them (RFC 7421).
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(number: u8) -> Secret {
        Secret::new([number; SECRET_BYTES])
    }

    #[test]
    fn secrets_come_back_and_tell_nothing() {
        let one = secret(0xA7);
        assert_eq!(Secret::read(&one.value()), Some(one.clone()));
        for wrong in ["", "a7", &one.value()[1..], &one.value().replace('a', "g"), &"é".repeat(32)]
        {
            assert_eq!(Secret::read(wrong), None, "{wrong}");
        }
        assert_ne!(one.form_token(), secret(0xA8).form_token());
        assert!(!format!("{one:?}").contains("a7"));
    }

    #[test]
    fn sign_ins_end() {
        let mut signed = SignIns::default();
        assert!(!signed.is_live(&secret(1), 0, Use::Person));
        signed.begin(&secret(1), 100);
        assert!(signed.is_live(&secret(1), 100 + IDLE_SECONDS - 1, Use::Refresh));
        assert!(
            !signed.is_live(&secret(1), 100 + IDLE_SECONDS, Use::Person),
            "a refresh is no use"
        );
        signed.begin(&secret(1), 0);
        assert!(signed.is_live(&secret(1), IDLE_SECONDS - 1, Use::Person));
        assert!(signed.is_live(&secret(1), IDLE_SECONDS + 1, Use::Person), "a page is");
        let notice = Notice { text: "done".into(), refused: false };
        signed.tell(&secret(1), notice.clone());
        assert_eq!(signed.take_notice(&secret(1)), Some(notice));
        assert_eq!(signed.take_notice(&secret(1)), None);
        signed.end(&secret(1));
        assert!(!signed.is_live(&secret(1), IDLE_SECONDS + 1, Use::Person));
    }

    #[test]
    fn the_one_used_longest_ago_makes_way() {
        let mut signed = SignIns::default();
        for number in 0..u8::try_from(SIGN_INS_MAX).expect("few") {
            signed.begin(&secret(number), number.into());
        }
        assert!(signed.is_live(&secret(0), 1000, Use::Person));
        signed.begin(&secret(200), 1001);
        assert!(signed.is_live(&secret(0), 1002, Use::Person));
        assert!(!signed.is_live(&secret(1), 1002, Use::Person));
    }

    #[test]
    fn wrong_tokens_are_limited_by_address() {
        let mut signed = SignIns::default();
        let (one, neighbour): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().expect("ip"), "2001:db8::2".parse().expect("ip"));
        for _ in 0..WRONG_MAX {
            assert!(signed.may_try(one, 10));
            signed.on_wrong(one, 10);
        }
        assert!(!signed.may_try(one, 11) && !signed.may_try(neighbour, 11));
        assert!(signed.may_try([192, 0, 2, 1].into(), 11));
        assert!(signed.may_try(one, 10 + WRONG_SECONDS));
        for number in 0..2 * u32::try_from(ADDRESSES_MAX).expect("few") {
            signed.on_wrong(IpAddr::from(number.to_be_bytes()), 20);
        }
        assert!(signed.wrong.len() <= ADDRESSES_MAX);
    }
}
