//! The directory in memory: domains, accounts, and one name space of account addresses and aliases.
//!
//! Invariants: what stands here is committed; every account is among the accounts of its domain; no
//! name is both an account and an alias. Records that contradict each other after damage are
//! counted, not trusted.
//! Absences: nothing here decides whether a change is allowed.

use super::format::{AccountRecord, AliasRecord, DomainRecord, Record};
use crate::address::{Address, Domain};
use crate::face::{AccountFacts, Recipient, UserId};
use fsm::{Digest, Wall};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One change of the directory: of the tables, and of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Record),
    RemoveDomain(Domain),
    RemoveAccount(UserId),
    RemoveAlias(Address),
    Erased(UserId),
}

/// A domain of ours, with its accounts.
#[derive(Debug)]
pub struct DomainEntry {
    pub record: DomainRecord,
    /// In order of creation.
    pub accounts: BTreeSet<(Wall, UserId)>,
}

/// An account.
#[derive(Debug)]
pub struct AccountEntry {
    pub record: AccountRecord,
    /// Canonical.
    pub address: Arc<str>,
    /// What resolves to this account alone: shared by every answer.
    pub alone: Arc<[Recipient]>,
}

/// What a name stands for.
#[derive(Debug)]
pub enum Name {
    Account(UserId),
    Alias(AliasRecord),
}

/// All of the directory.
#[derive(Debug, Default)]
pub struct Tables {
    pub domains: BTreeMap<Domain, DomainEntry>,
    pub accounts: BTreeMap<UserId, AccountEntry>,
    /// By canonical address.
    pub names: BTreeMap<String, Name>,
    pub erasing: BTreeSet<UserId>,
    /// Records that could not be read: what is not found may be one of them.
    pub damaged: u64,
}

impl Tables {
    /// Takes over a committed change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Put(Record::Domain(record)) => self.put_domain(record),
            Change::Put(Record::Account(record)) => self.put_account(record),
            Change::Put(Record::Alias(record)) => {
                self.names.insert(record.alias.canonical(), Name::Alias(record));
            }
            Change::Put(Record::Erasing(user)) => {
                self.erasing.insert(user);
            }
            Change::RemoveDomain(domain) => {
                self.domains.remove(&domain);
            }
            Change::RemoveAccount(user) => self.remove_account(user),
            Change::RemoveAlias(alias) => {
                self.names.remove(&alias.canonical());
            }
            Change::Erased(user) => {
                self.erasing.remove(&user);
            }
        }
    }

    fn put_domain(&mut self, record: DomainRecord) {
        let accounts = match self.domains.remove(&record.domain) {
            Some(entry) => entry.accounts,
            None => BTreeSet::new(),
        };
        self.domains.insert(record.domain.clone(), DomainEntry { record, accounts });
    }

    fn put_account(&mut self, record: AccountRecord) {
        let user = record.user;
        if let Some(domain) = self.domains.get_mut(&record.address.domain) {
            domain.accounts.insert((record.created, user));
        } else {
            // Only after damage: the record of the domain is gone.
            self.damaged += 1;
        }
        let address: Arc<str> = record.address.canonical().into();
        self.names.insert(address.to_string(), Name::Account(user));
        let alone = Arc::from([Recipient { user, address: Arc::clone(&address) }]);
        self.accounts.insert(user, AccountEntry { record, address, alone });
    }

    fn remove_account(&mut self, user: UserId) {
        let Some(entry) = self.accounts.remove(&user) else { return };
        self.names.remove(&*entry.address);
        if let Some(domain) = self.domains.get_mut(&entry.record.address.domain) {
            domain.accounts.remove(&(entry.record.created, user));
        }
    }

    /// The account with this address; aliases are not accounts.
    #[must_use]
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    pub fn account_at(&self, address: &Address) -> Option<&AccountEntry> {
        match self.names.get(&address.canonical())? {
            Name::Account(user) => self.accounts.get(user),
            Name::Alias(_) => None,
        }
    }

    /// The account made first in a domain, else in the service: it gets mail for postmaster and
    /// abuse.
    #[must_use]
    pub fn first_account(&self, domain: &Domain) -> Option<&AccountEntry> {
        let own = self.domains.get(domain).and_then(|entry| entry.accounts.first());
        let (_, user) =
            own.or_else(|| self.domains.values().filter_map(|entry| entry.accounts.first()).min())?;
        self.accounts.get(user)
    }

    /// The domain made first: it gets mail for `<Postmaster>` without a domain.
    #[must_use]
    pub fn first_domain(&self) -> Option<&DomainRecord> {
        let records = self.domains.values().map(|entry| &entry.record);
        records.min_by_key(|record| (record.created, &record.domain))
    }

    /// What the master of a mailbox has to know; a user without an account is disabled.
    #[must_use]
    pub fn facts(&self, user: UserId) -> AccountFacts {
        match self.accounts.get(&user) {
            Some(entry) => AccountFacts {
                address: Arc::clone(&entry.address),
                quota_bytes: entry.record.quota_bytes,
                quota_messages: entry.record.quota_messages,
                enabled: entry.record.enabled,
            },
            // A record that can't be read may be that of the account: then it counts as disabled.
            None => AccountFacts {
                address: if self.damaged > 0 { "?".into() } else { "".into() },
                quota_bytes: None,
                quota_messages: None,
                enabled: false,
            },
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.damaged);
        for domain in self.domains.values() {
            digest.bytes(&Record::Domain(domain.record.clone()).value());
        }
        for account in self.accounts.values() {
            digest.bytes(&Record::Account(account.record.clone()).value());
        }
        for (name, stands_for) in &self.names {
            digest.bytes(name.as_bytes());
            if let Name::Alias(alias) = stands_for {
                digest.bytes(&Record::Alias(alias.clone()).value());
            }
        }
        for user in &self.erasing {
            digest.word(user.0);
        }
    }
}
