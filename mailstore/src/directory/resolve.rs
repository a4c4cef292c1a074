//! Where an address leads: accounts, aliases, sub-addresses, postmaster and abuse, catch-all, in
//! this order.
//!
//! Absences: nothing here changes the tables.

use super::format::AliasRecord;
use super::limits::Limits;
use super::tables::{AccountEntry, Name, Tables};
use crate::address::{Address, Path, parse_unbracketed};
use crate::face::{Recipient, Resolved, UserId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What an address stands for, one step deep.
#[derive(Debug)]
pub enum Found<'a> {
    Account(&'a AccountEntry),
    Alias(&'a AliasRecord),
    Nothing,
    NotOurs,
}

/// Whether the catch-all of a domain counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    WithCatchAll,
    NamesOnly,
}

/// The mailboxes behind an address, as far as they are known.
#[derive(Debug, Default)]
struct Expansion {
    mailboxes: Vec<Recipient>,
    users: BTreeSet<UserId>,
    /// Aliases followed, canonical.
    aliases: BTreeSet<String>,
    /// Every target seen, canonical.
    seen: BTreeSet<String>,
    /// What the targets seen are without their detail.
    stripped: BTreeSet<String>,
    disabled: usize,
    leaves: bool,
    too_many: bool,
}

impl Tables {
    /// Where mail to `address` (what stood between the brackets) goes.
    #[must_use]
    pub fn resolve(&self, limits: &Limits, address: &[u8]) -> Resolved {
        let address = match parse_unbracketed(address) {
            Ok(Path::Mailbox(address)) => address,
            // RFC 5321 4.1.1.3, 4.5.1: this must reach somebody.
            Ok(Path::Postmaster) => match self.first_domain() {
                Some(record) => {
                    Address { local: "postmaster".into(), domain: record.domain.clone() }
                }
                None => return Resolved::Unknown,
            },
            Ok(Path::Null) | Err(_) => return Resolved::Malformed,
        };
        match self.find(&address, Scope::WithCatchAll) {
            Found::Account(entry) if entry.record.enabled => {
                Resolved::Local(Arc::clone(&entry.alone))
            }
            Found::Account(_) => Resolved::Disabled,
            Found::Alias(alias) => self.resolve_alias(limits, &alias.targets),
            Found::Nothing => Resolved::Unknown,
            Found::NotOurs => Resolved::NotLocal,
        }
    }

    /// Whether mail from `address` may come from `user`: its own address, with or without detail,
    /// or an alias that reaches it.
    #[must_use]
    pub fn may_send_as(&self, limits: &Limits, user: UserId, address: &[u8]) -> bool {
        let Ok(Path::Mailbox(address)) = parse_unbracketed(address) else { return false };
        match self.find(&address, Scope::NamesOnly) {
            Found::Account(entry) => entry.record.user == user,
            Found::Alias(alias) => self.expand(limits, &alias.targets).users.contains(&user),
            Found::Nothing | Found::NotOurs => false,
        }
    }

    /// What `address` stands for, one step deep.
    #[must_use]
    pub fn find(&self, address: &Address, scope: Scope) -> Found<'_> {
        let Some(domain) = self.domains.get(&address.domain) else { return Found::NotOurs };
        if let Some(name) = self.names.get(&address.canonical()) {
            return self.found(name);
        }
        let user = domain
            .record
            .subaddress_separator
            .and_then(|separator| address.without_detail(separator));
        if let Some(name) = user.as_ref().and_then(|user| self.names.get(&user.canonical())) {
            return self.found(name);
        }
        // RFC 5321 4.5.1, RFC 2142 2: these two exist in every domain.
        let local = user.as_ref().unwrap_or(address).local_key();
        if matches!(local.as_str(), "postmaster" | "abuse") {
            return match self.first_account(&address.domain) {
                Some(entry) => Found::Account(entry),
                None => Found::Nothing,
            };
        }
        match (scope, &domain.record.catch_all) {
            (Scope::WithCatchAll, Some(target)) => self.find(target, Scope::NamesOnly),
            (Scope::WithCatchAll, None) | (Scope::NamesOnly, _) => Found::Nothing,
        }
    }

    /// Whether following `targets` passes the address `name` (canonical).
    #[must_use]
    pub fn passes(&self, limits: &Limits, targets: &[Address], name: &str) -> bool {
        let expansion = self.expand(limits, targets);
        expansion.seen.contains(name) || expansion.stripped.contains(name)
    }

    /// Whether following `targets` reaches more mailboxes, or passes more aliases, than one message
    /// may.
    #[must_use]
    pub fn reaches_too_many(&self, limits: &Limits, targets: &[Address]) -> bool {
        self.expand(limits, targets).too_many
    }

    fn found<'a>(&'a self, name: &'a Name) -> Found<'a> {
        match name {
            Name::Account(user) => match self.accounts.get(user) {
                Some(entry) => Found::Account(entry),
                None => Found::Nothing,
            },
            Name::Alias(record) => Found::Alias(record),
        }
    }

    fn resolve_alias(&self, limits: &Limits, targets: &[Address]) -> Resolved {
        let expansion = self.expand(limits, targets);
        // One target elsewhere spoils all: what is accepted must reach everybody it was accepted
        // for.
        if expansion.leaves {
            Resolved::NotLocal
        } else if !expansion.mailboxes.is_empty() {
            Resolved::Local(expansion.mailboxes.into())
        } else if expansion.disabled > 0 {
            Resolved::Disabled
        } else {
            Resolved::Unknown
        }
    }

    /// Follows targets to the end: every mailbox once, in the order of the targets.
    fn expand(&self, limits: &Limits, targets: &[Address]) -> Expansion {
        let mut expansion = Expansion::default();
        let mut level: Vec<&Address> = targets.iter().collect();
        for _ in 0..limits.alias_depth_max {
            let mut next = Vec::new();
            for target in level {
                self.expand_one(limits, &mut expansion, &mut next, target);
            }
            if next.is_empty() {
                return expansion;
            }
            level = next;
        }
        expansion.too_many = true;
        expansion
    }

    fn expand_one<'a>(
        &'a self,
        limits: &Limits,
        expansion: &mut Expansion,
        next: &mut Vec<&'a Address>,
        target: &'a Address,
    ) {
        if !expansion.seen.insert(target.canonical()) {
            return;
        }
        let separator =
            self.domains.get(&target.domain).and_then(|d| d.record.subaddress_separator);
        if let Some(user) = separator.and_then(|separator| target.without_detail(separator)) {
            expansion.stripped.insert(user.canonical());
        }
        match self.find(target, Scope::NamesOnly) {
            Found::Account(entry) => {
                if !expansion.users.insert(entry.record.user) {
                    return;
                }
                if !entry.record.enabled {
                    expansion.disabled += 1;
                } else if expansion.mailboxes.len() < limits.targets_max {
                    expansion.mailboxes.extend(entry.alone.iter().cloned());
                } else {
                    expansion.too_many = true;
                }
            }
            Found::Alias(alias) => {
                // An alias is followed once: loops end, and the work stays linear.
                if expansion.aliases.insert(alias.alias.canonical()) {
                    next.extend(&alias.targets);
                }
            }
            Found::Nothing => {}
            Found::NotOurs => expansion.leaves = true,
        }
    }
}
