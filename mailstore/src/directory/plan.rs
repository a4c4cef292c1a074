//! An order of the operator, checked against the directory: either what is to be changed, or why
//! not.
//!
//! Accounts stand here; domains and aliases in `plan_names`. A refusal names the thing, the reason
//! and the next step.
//! Invariants: a plan is made against committed tables only; what it changes becomes visible on its
//! commit.
//! Absences: nothing here changes the tables.

use super::format::{AccountRecord, Credential, Record};
use super::limits::Limits;
use super::login::Upgrade;
use super::plan_second_factor::NewFactor;
use super::tables::{AccountEntry, Change, Name, Tables};
use crate::address::{Address, Domain};
use crate::face::{
    AccountEntry as AccountLine, AccountSetting, AdminDone, AdminTask, CredentialKind, Protocol,
    UserId,
};
use fsm::Wall;

/// The label of the password that `account password` sets.
pub const PASSWORD_LABEL: &str = "password";

/// What an order comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Committed as one.
    pub changes: Vec<Change>,
    /// Once they are.
    pub aftermath: Vec<Aftermath>,
    /// For the log.
    pub change: String,
}

/// What follows a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// Sessions of the user end.
    Kick { user: UserId, reason: &'static str },
    /// The master of the mailbox learns the new facts.
    TellFacts(UserId),
    /// The mail of the user goes.
    Erase(UserId),
    /// What was known of the user's secrets no longer holds.
    Forget(UserId),
}

/// What plans are made against.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    pub limits: &'a Limits,
    pub tables: &'a Tables,
    pub now: Wall,
    /// A user id that nobody has or had: for `AccountAdd`.
    pub fresh_user: UserId,
}

/// Checks an order that changes something. `Err`: the answer, nothing is to be changed.
///
/// # Errors
/// The refusal, or `Done` when things are so already.
pub fn plan(ground: &Ground<'_>, task: AdminTask) -> Result<Plan, AdminDone> {
    let planned = match task {
        AdminTask::DomainAdd { domain } => ground.domain_add(&domain),
        AdminTask::DomainRemove { domain } => ground.domain_remove(&domain),
        AdminTask::DomainSet { domain, setting } => ground.domain_set(&domain, setting),
        AdminTask::AliasAdd { alias, targets } => ground.alias_add(&alias, &targets),
        AdminTask::AliasRemove { alias } => ground.alias_remove(&alias),
        AdminTask::AccountAdd { address, phc } => ground.account_add(&address, &phc),
        AdminTask::AccountRemove { address } => ground.account_remove(&address),
        AdminTask::AccountPassword { address, phc } => ground.account_password(&address, &phc),
        AdminTask::AccountEnable { address, on } => {
            if ground.account(&address).map_err(AdminDone::Refused)?.record.enabled == on {
                return Err(AdminDone::Done);
            }
            ground.account_switch(&address)
        }
        AdminTask::AccountSet { address, setting } => ground.account_set(&address, setting),
        AdminTask::CredentialAdd { address, label, phc, protocols } => {
            ground.credential_add(&address, NewCredential { label, phc, protocols })
        }
        AdminTask::CredentialRemove { address, label } => {
            ground.credential_remove(&address, &label)
        }
        AdminTask::SecondFactorOn { address, secret, code, recovery } => {
            ground.second_factor_on(&address, NewFactor { secret, code, recovery })
        }
        AdminTask::SecondFactorOff { address } => ground.second_factor_off(&address),
        AdminTask::SecondFactorRecovery { address, recovery } => {
            ground.second_factor_recovery(&address, recovery)
        }
        AdminTask::DomainList
        | AdminTask::AliasList { domain: _ }
        | AdminTask::AccountList { domain: _ }
        | AdminTask::AccountShow { address: _ }
        | AdminTask::CredentialList { address: _ }
        | AdminTask::SecondFactorShow { address: _ } => {
            Err("this order changes nothing; it is answered at once".to_owned())
        }
    };
    planned.map_err(AdminDone::Refused)
}

/// A verified secret gets a hash of ours. `None`: another hash stands there by now.
#[must_use]
pub fn plan_upgrade(tables: &Tables, upgrade: &Upgrade, phc: String) -> Option<Change> {
    let mut record = tables.accounts.get(&upgrade.user)?.record.clone();
    let held = record.credentials.iter_mut().find(|held| held.id == upgrade.credential)?;
    if held.phc != upgrade.old_phc {
        return None;
    }
    held.phc = phc;
    Some(Change::Put(Record::Account(record)))
}

/// Dates of last use, where they moved by more than the grain.
#[must_use]
pub fn plan_used(limits: &Limits, tables: &Tables, used: &[((UserId, u64), Wall)]) -> Vec<Change> {
    let mut changes = Vec::new();
    // Sorted by user: one change per account.
    for group in used.chunk_by(|a, b| a.0.0 == b.0.0) {
        let Some(entry) = tables.accounts.get(&group[0].0.0) else { continue };
        let mut record = entry.record.clone();
        let mut moved = false;
        for ((_, credential), at) in group {
            let held = record.credentials.iter_mut().find(|held| held.id == *credential);
            let Some(held) = held else { continue };
            if held.last_used.is_none_or(|before| before.plus(limits.last_used_grain) <= *at) {
                held.last_used = Some(*at);
                moved = true;
            }
        }
        if moved {
            changes.push(Change::Put(Record::Account(record)));
        }
    }
    changes
}

#[derive(Debug)]
struct NewCredential {
    label: String,
    phc: String,
    protocols: Option<Vec<Protocol>>,
}

impl Ground<'_> {
    fn account_add(&self, address: &str, phc: &str) -> Result<Plan, String> {
        let address = parse_address(address)?;
        let name = address.canonical();
        let domain = self.tables.domains.get(&address.domain).ok_or_else(|| {
            let domain = &address.domain;
            format!(
                "account {name}: the domain {domain} is not here; \
                 `hikyaku domain add {domain}` adds it"
            )
        })?;
        self.check_local(&address)?;
        self.check_free(&name, "account")?;
        let phc = self.check_phc(&name, phc)?;
        let record = AccountRecord {
            user: self.fresh_user,
            created: self.now,
            enabled: true,
            display_name: String::new(),
            quota_bytes: domain.record.default_quota_bytes,
            quota_messages: None,
            next_credential: 2,
            credentials: vec![self.password(1, phc)],
            second_factor: None,
            address,
        };
        Ok(Plan {
            aftermath: vec![Aftermath::TellFacts(record.user)],
            changes: vec![Change::Put(Record::Account(record))],
            change: format!("account {name} added"),
        })
    }

    fn account_remove(&self, address: &str) -> Result<Plan, String> {
        let entry = self.account(address)?;
        let name = &entry.address;
        if let Some(user_of) = self.names_leading_to(&entry.record.address) {
            return Err(format!("account {name}: {user_of} leads to it; change that first"));
        }
        let user = entry.record.user;
        Ok(Plan {
            changes: vec![Change::RemoveAccount(user), Change::Put(Record::Erasing(user))],
            aftermath: vec![
                Aftermath::Forget(user),
                Aftermath::Kick { user, reason: "the account was removed" },
                Aftermath::TellFacts(user),
                Aftermath::Erase(user),
            ],
            change: format!("account {name} removed"),
        })
    }

    fn account_password(&self, address: &str, phc: &str) -> Result<Plan, String> {
        let entry = self.account(address)?;
        let phc = self.check_phc(&entry.address, phc)?;
        let mut record = entry.record.clone();
        record.credentials.retain(|held| held.kind != CredentialKind::Password);
        record.credentials.insert(0, self.password(record.next_credential, phc));
        record.next_credential += 1;
        let change = format!("account {}: password changed", entry.address);
        Ok(with_sessions_ended(record, change, "the password was changed"))
    }

    fn account_switch(&self, address: &str) -> Result<Plan, String> {
        let entry = self.account(address)?;
        let mut record = entry.record.clone();
        record.enabled = !record.enabled;
        let name = &entry.address;
        if record.enabled {
            return Ok(Plan {
                aftermath: vec![Aftermath::TellFacts(record.user)],
                changes: vec![Change::Put(Record::Account(record))],
                change: format!("account {name} enabled"),
            });
        }
        let change = format!("account {name} disabled");
        Ok(with_sessions_ended(record, change, "the account was disabled"))
    }

    fn account_set(&self, address: &str, setting: AccountSetting) -> Result<Plan, String> {
        let entry = self.account(address)?;
        let mut record = entry.record.clone();
        let what = match setting {
            AccountSetting::QuotaBytes(quota) => {
                record.quota_bytes = quota;
                format!("quota {}", in_words(quota, "bytes"))
            }
            AccountSetting::QuotaMessages(quota) => {
                record.quota_messages = quota;
                format!("quota {}", in_words(quota, "messages"))
            }
            AccountSetting::DisplayName(name) => {
                self.check_label(&entry.address, &name)?;
                record.display_name = name;
                "display name changed".to_owned()
            }
        };
        Ok(Plan {
            aftermath: vec![Aftermath::TellFacts(record.user)],
            changes: vec![Change::Put(Record::Account(record))],
            change: format!("account {}: {what}", entry.address),
        })
    }

    fn credential_add(&self, address: &str, new: NewCredential) -> Result<Plan, String> {
        let NewCredential { label, phc, protocols } = new;
        let entry = self.account(address)?;
        let name = &entry.address;
        let phc = self.check_phc(name, &phc)?;
        self.check_label(name, &label)?;
        let mut record = entry.record.clone();
        if label.is_empty() || record.credentials.iter().any(|held| held.label == label) {
            return Err(format!(
                "account {name}: a credential needs a label of its own, and {label:?} is none; \
                 choose another"
            ));
        }
        if record.credentials.len() >= self.limits.credentials_max {
            let max = self.limits.credentials_max;
            return Err(format!(
                "account {name}: it has {max} credentials, the most; remove one first"
            ));
        }
        if protocols.as_ref().is_some_and(Vec::is_empty) {
            return Err(format!(
                "account {name}: a credential for no protocol is of no use; name one"
            ));
        }
        let change = format!("account {name}: credential {label:?} added");
        record.credentials.push(Credential {
            id: record.next_credential,
            kind: CredentialKind::AppPassword,
            label,
            created: self.now,
            last_used: None,
            protocols,
            phc,
        });
        record.next_credential += 1;
        Ok(Plan {
            aftermath: vec![Aftermath::Forget(record.user)],
            changes: vec![Change::Put(Record::Account(record))],
            change,
        })
    }

    fn credential_remove(&self, address: &str, label: &str) -> Result<Plan, String> {
        let entry = self.account(address)?;
        let name = &entry.address;
        let mut record = entry.record.clone();
        let before = record.credentials.len();
        record
            .credentials
            .retain(|held| held.label != label || held.kind == CredentialKind::Password);
        if record.credentials.len() == before {
            return Err(format!(
                "account {name}: no credential {label:?} can be removed; `hikyaku account list` \
                 shows them, `hikyaku account password` changes the password"
            ));
        }
        let change = format!("account {name}: credential {label:?} removed");
        Ok(with_sessions_ended(record, change, "a credential was removed"))
    }

    /// The account with this address, as typed.
    ///
    /// # Errors
    /// A refusal in words.
    pub fn account(&self, address: &str) -> Result<&AccountEntry, String> {
        account_in(self.tables, address)
    }

    fn password(&self, id: u64, phc: String) -> Credential {
        Credential {
            id,
            kind: CredentialKind::Password,
            label: PASSWORD_LABEL.to_owned(),
            created: self.now,
            last_used: None,
            protocols: None,
            phc,
        }
    }

    /// A name is an account or an alias, never both.
    pub(super) fn check_free(&self, name: &str, kind: &str) -> Result<(), String> {
        match self.tables.names.get(name) {
            Some(Name::Account(_)) => Err(format!(
                "{kind} {name}: an account has this address; `hikyaku account remove {name}` \
                 would remove it"
            )),
            Some(Name::Alias(_)) => Err(format!(
                "{kind} {name}: an alias has this address; `hikyaku alias remove {name}` removes it"
            )),
            None => Ok(()),
        }
    }

    pub(super) fn check_local(&self, address: &Address) -> Result<(), String> {
        let max = self.limits.local_bytes_max;
        if address.local.len() > max || address.domain.is_literal() {
            return Err(format!(
                "{address}: an address of ours has at most {max} octets before the @ and a \
                 domain behind it; choose another"
            ));
        }
        Ok(())
    }

    fn check_label(&self, name: &str, label: &str) -> Result<(), String> {
        let max = self.limits.label_bytes_max;
        if label.len() > max || label.chars().any(char::is_control) {
            return Err(format!(
                "account {name}: a label or name has at most {max} octets and no control \
                 characters; choose another"
            ));
        }
        Ok(())
    }

    /// A hash in a form that the pool can verify; the prefix that only repeats what the hash says
    /// goes.
    fn check_phc(&self, name: &str, phc: &str) -> Result<String, String> {
        let bare = ["{ARGON2ID}", "{BLF-CRYPT}", "{SHA512-CRYPT}", "{CRYPT}"]
            .iter()
            .find_map(|scheme| {
                let head = phc.get(..scheme.len())?;
                head.eq_ignore_ascii_case(scheme).then(|| &phc[scheme.len()..])
            })
            .filter(|bare| bare.starts_with('$'))
            .unwrap_or(phc);
        let known = ["$argon2id$", "$2a$", "$2b$", "$2y$", "$6$", "{SSHA512}"];
        let fits =
            bare.len() <= self.limits.phc_bytes_max && bare.bytes().all(|b| b.is_ascii_graphic());
        if fits && known.iter().any(|scheme| bare.starts_with(scheme)) {
            return Ok(bare.to_owned());
        }
        Err(format!(
            "account {name}: the hash is of no known scheme; use ARGON2ID, BLF-CRYPT, \
             SHA512-CRYPT or SSHA512, or give the password itself"
        ))
    }
}

/// The account with this address, as typed.
///
/// # Errors
/// A refusal in words.
pub fn account_in<'a>(tables: &'a Tables, address: &str) -> Result<&'a AccountEntry, String> {
    let address = parse_address(address)?;
    tables.account_at(&address).ok_or_else(|| {
        format!("account {}: there is none; `hikyaku account list` shows all", address.canonical())
    })
}

/// A changed account whose sessions end.
pub(super) fn with_sessions_ended(
    record: AccountRecord,
    change: String,
    reason: &'static str,
) -> Plan {
    let user = record.user;
    Plan {
        changes: vec![Change::Put(Record::Account(record))],
        aftermath: vec![
            Aftermath::Forget(user),
            Aftermath::TellFacts(user),
            Aftermath::Kick { user, reason },
        ],
        change,
    }
}

/// An account as lists show it.
#[must_use]
pub fn account_line(entry: &AccountEntry) -> AccountLine {
    let record = &entry.record;
    AccountLine {
        user: record.user,
        address: entry.address.to_string(),
        enabled: record.enabled,
        display_name: record.display_name.clone(),
        quota_bytes: record.quota_bytes,
        quota_messages: record.quota_messages,
    }
}

/// What a hash says of its scheme.
#[must_use]
pub fn scheme_of(phc: &str) -> String {
    let scheme = match phc {
        phc if phc.starts_with("$argon2id$") => "ARGON2ID",
        phc if phc.starts_with("$2") => "BLF-CRYPT",
        phc if phc.starts_with("$6$") => "SHA512-CRYPT",
        phc if phc.starts_with("{SSHA512}") => "SSHA512",
        _ => "unknown",
    };
    scheme.to_owned()
}

pub(super) fn parse_address(text: &str) -> Result<Address, String> {
    Address::parse(text.as_bytes())
        .map_err(|error| format!("{text:?} is not an address ({error}); write it as name@domain"))
}

pub(super) fn parse_domain(text: &str) -> Result<Domain, String> {
    match Domain::parse(text) {
        Ok(domain) if !domain.is_literal() => Ok(domain),
        Ok(_) => {
            Err(format!("{text:?} is an address literal, not a domain; write it as example.org"))
        }
        Err(error) => Err(format!("{text:?} is not a domain ({error}); write it as example.org")),
    }
}

fn in_words(quota: Option<u64>, unit: &str) -> String {
    quota.map_or_else(|| format!("unlimited in {unit}"), |quota| format!("{quota} {unit}"))
}
