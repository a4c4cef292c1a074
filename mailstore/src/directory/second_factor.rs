//! The second factor of an account: codes that change with time (RFC 6238), and recovery codes.
//!
//! Invariants: a code is taken once, and none older than the last one taken (RFC 6238 5.2); a recovery code is taken once; what a
//! comparison takes does not depend on where codes differ.
//! Absences: no clock; the caller says what time it is, and makes durable what [`SecondFactor::after`] returns before anybody
//! is told that the code was right.

use crate::face::{RECOVERY_HASH_BYTES, TotpSecret, UserId};
use fsm::Wall;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Seconds of a step. RFC 6238 5.2: the default, and the only one that every app knows.
pub const STEP_SECONDS: i64 = 30;
/// Digits of a code. RFC 4226 5.3: at least six.
pub const CODE_DIGITS: usize = 6;
/// Steps before and behind the present one whose codes are taken too. RFC 6238 5.2: one is for slow networks and wrong clocks.
const STEPS_AROUND: i64 = 1;

/// What an account asks for besides its password.
#[derive(Clone, PartialEq, Eq)]
pub struct SecondFactor {
    pub secret: TotpSecret,
    pub since: Wall,
    /// Of the last code that was taken: it and everything before count no more.
    pub last_step: i64,
    /// [`recovery_hash`] of the codes not used yet.
    pub recovery: Vec<[u8; RECOVERY_HASH_BYTES]>,
}

/// Never shows the secret.
impl std::fmt::Debug for SecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecondFactor").field("since", &self.since).finish_non_exhaustive()
    }
}

impl SecondFactor {
    /// What it is once `typed` was used; `None`: it is no code of this moment, or was used before.
    #[must_use]
    pub fn after(&self, user: UserId, typed: &[u8], now: Wall) -> Option<Self> {
        let typed = bare(typed);
        if typed.len() == CODE_DIGITS && typed.iter().all(u8::is_ascii_digit) {
            let last_step = step_of(&self.secret, &typed, now).filter(|it| *it > self.last_step)?;
            return Some(Self { last_step, ..self.clone() });
        }
        let hash = recovery_hash(user, &typed);
        let held = |it: &[u8; RECOVERY_HASH_BYTES]| bool::from(it.ct_eq(&hash));
        let at = self.recovery.iter().position(held)?;
        let mut after = self.clone();
        after.recovery.remove(at);
        Some(after)
    }
}

/// The step, now or next to now, that a code belongs to; the newest if several have it.
#[must_use]
pub fn step_of(secret: &TotpSecret, code: &[u8], now: Wall) -> Option<i64> {
    let present = now.unix_seconds().div_euclid(STEP_SECONDS);
    let mut found = None;
    // All are computed and compared, whichever fits.
    for step in present - STEPS_AROUND..=present + STEPS_AROUND {
        if bool::from(code_at(secret, step).as_bytes().ct_eq(code)) {
            found = Some(step);
        }
    }
    found
}

/// The code of a step: RFC 6238 4.2, which is RFC 4226 5.3 with the step as the counter.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn code_at(secret: &TotpSecret, step: i64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.bytes()).expect("keys of any length");
    mac.update(&step.to_be_bytes());
    let hash: [u8; 20] = mac.finalize().into_bytes().into();
    let at = usize::from(hash[19] & 0x0F);
    let word = u32::from_be_bytes([hash[at] & 0x7F, hash[at + 1], hash[at + 2], hash[at + 3]]);
    format!("{:06}", word % 1_000_000)
}

/// What is kept of a recovery code. It is drawn at random and long enough that a plain hash tells nothing.
#[must_use]
pub fn recovery_hash(user: UserId, code: &[u8]) -> [u8; RECOVERY_HASH_BYTES] {
    let hash = Sha256::new()
        .chain_update(b"hikyaku recovery code\0")
        .chain_update(user.0.to_be_bytes())
        .chain_update(bare(code));
    hash.finalize().into()
}

/// As people copy a code: without what they put between its groups, and in capitals.
fn bare(typed: &[u8]) -> Vec<u8> {
    typed.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TotpSecret {
        // RFC 6238 appendix B.
        TotpSecret::new(b"12345678901234567890").expect("20 bytes")
    }

    fn at(seconds: i64) -> Wall {
        Wall(seconds * 1000)
    }

    fn factor() -> SecondFactor {
        let recovery = vec![recovery_hash(UserId(1), b"ABCD-EFGH"), recovery_hash(UserId(1), b"X")];
        SecondFactor { secret: secret(), since: Wall(0), last_step: 0, recovery }
    }

    /// RFC 6238 appendix B, SHA-1: the last six of its eight digits.
    #[test]
    fn codes_of_the_standard() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(&secret(), seconds / STEP_SECONDS), code);
            assert!(factor().after(UserId(1), code.as_bytes(), at(seconds)).is_some(), "{code}");
        }
    }

    #[test]
    fn a_step_before_and_behind_and_no_more() {
        let code = code_at(&secret(), 1000);
        let taken = |step: i64| {
            factor().after(UserId(1), code.as_bytes(), at(step * STEP_SECONDS)).is_some()
        };
        assert_eq!((998..=1002).map(taken).collect::<Vec<_>>(), [false, true, true, true, false]);
    }

    #[test]
    fn a_code_counts_once_and_none_before_it_counts_later() {
        let now = at(1000 * STEP_SECONDS);
        let (old, code) = (code_at(&secret(), 999), code_at(&secret(), 1000));
        let after = factor().after(UserId(1), code.as_bytes(), now).expect("right");
        assert_eq!(after.last_step, 1000);
        assert!(after.after(UserId(1), code.as_bytes(), now).is_none(), "again");
        assert!(after.after(UserId(1), old.as_bytes(), now).is_none(), "an older one");
        let next = code_at(&secret(), 1001);
        assert!(after.after(UserId(1), next.as_bytes(), now).is_some());
    }

    #[test]
    fn recovery_codes_count_once_for_their_user_alone() {
        let after = factor().after(UserId(1), b" abcd efgh", Wall(0)).expect("right");
        assert_eq!(after.recovery, [recovery_hash(UserId(1), b"x")]);
        assert!(after.after(UserId(1), b"ABCD-EFGH", Wall(0)).is_none());
        assert!(factor().after(UserId(2), b"ABCD-EFGH", Wall(0)).is_none());
        for wrong in [&b""[..], b"ABCD", b"1234567", b"\xFF"] {
            assert!(factor().after(UserId(1), wrong, Wall(0)).is_none(), "{wrong:?}");
        }
    }
}
