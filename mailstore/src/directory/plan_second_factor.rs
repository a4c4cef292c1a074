//! Orders about the second factor of an account, and the use of a code.
//!
//! Invariants: what a code does to the account is committed before anybody is told that it was right; two uses of one code are
//! planned one behind the other, so that the second finds it used.

use super::format::Record;
use super::plan::{Ground, Plan, with_sessions_ended};
use super::second_factor::{SecondFactor, step_of};
use super::tables::{Change, Tables};
use crate::face::{Account, AdminDone, RECOVERY_HASH_BYTES, SecondFactorEntry, TotpSecret, UserId};
use fsm::Wall;
use std::sync::Arc;

/// What a user brings to turn the second factor on.
#[derive(Debug)]
pub struct NewFactor {
    pub secret: TotpSecret,
    pub code: String,
    pub recovery: Vec<[u8; RECOVERY_HASH_BYTES]>,
}

impl Ground<'_> {
    pub(super) fn second_factor_on(&self, address: &str, new: NewFactor) -> Result<Plan, String> {
        let NewFactor { secret, code, recovery } = new;
        let entry = self.account(address)?;
        let name = &entry.address;
        if entry.record.second_factor.is_some() {
            return Err(format!(
                "account {name}: it has a second factor; turn that off first, then make a new one"
            ));
        }
        self.check_recovery(name, &recovery)?;
        let digits: String = code.chars().filter(char::is_ascii_digit).collect();
        let last_step = step_of(&secret, digits.as_bytes(), self.now).ok_or_else(|| {
            format!(
                "account {name}: that is not the code of this moment; look whether the clock of the device is right, and \
                 try the next one"
            )
        })?;
        let mut record = entry.record.clone();
        record.second_factor = Some(SecondFactor { secret, since: self.now, last_step, recovery });
        let change = format!("account {name}: second factor turned on");
        Ok(with_sessions_ended(record, change, "log-ins need a second factor now"))
    }

    pub(super) fn second_factor_off(&self, address: &str) -> Result<Plan, String> {
        let entry = self.account(address)?;
        let name = &entry.address;
        let mut record = entry.record.clone();
        if record.second_factor.take().is_none() {
            return Err(format!(
                "account {name}: it has no second factor that could be turned off"
            ));
        }
        let change = format!("account {name}: second factor turned off");
        Ok(with_sessions_ended(record, change, "the second factor was turned off"))
    }

    pub(super) fn second_factor_recovery(
        &self,
        address: &str,
        recovery: Vec<[u8; RECOVERY_HASH_BYTES]>,
    ) -> Result<Plan, String> {
        let entry = self.account(address)?;
        let name = &entry.address;
        self.check_recovery(name, &recovery)?;
        let mut record = entry.record.clone();
        let Some(factor) = &mut record.second_factor else {
            return Err(format!("account {name}: it has no second factor, and needs no codes"));
        };
        factor.recovery = recovery;
        let change = format!("account {name}: new recovery codes");
        let changes = vec![Change::Put(Record::Account(record))];
        Ok(Plan { changes, aftermath: Vec::new(), change })
    }

    fn check_recovery(
        &self,
        name: &str,
        codes: &[[u8; RECOVERY_HASH_BYTES]],
    ) -> Result<(), String> {
        let max = self.limits.recovery_codes_max;
        if codes.is_empty() || codes.len() > max {
            return Err(format!("account {name}: from one to {max} recovery codes; make others"));
        }
        Ok(())
    }
}

/// What a code does to its account. `None`: it is not right, or no code is asked for.
#[must_use]
pub fn plan_code(
    tables: &Tables,
    (user, code): (UserId, &[u8]),
    now: Wall,
) -> Option<(Change, Account)> {
    let entry = tables.accounts.get(&user)?;
    let mut record = entry.record.clone();
    record.second_factor = Some(record.second_factor?.after(user, code, now)?);
    let account = Account { user, address: Arc::clone(&entry.address) };
    Some((Change::Put(Record::Account(record)), account))
}

/// The answer to `SecondFactorShow`.
#[must_use]
pub fn second_factor_line(factor: Option<&SecondFactor>) -> AdminDone {
    AdminDone::SecondFactor(factor.map(|factor| SecondFactorEntry {
        since: factor.since,
        recovery_left: u32::try_from(factor.recovery.len()).unwrap_or(u32::MAX),
    }))
}
