//! Orders about domains and aliases, and the lists of both.
//!
//! Every domain has postmaster and abuse (RFC 5321 4.5.1, RFC 2142 2): without an alias or account
//! of that name they lead to the account made first. They are not stored, so they can't go missing.

use super::format::{AliasRecord, DomainRecord, Record};
use super::plan::{Ground, Plan, parse_address, parse_domain};
use super::resolve::{Found, Scope};
use super::tables::{Change, DomainEntry, Name, Tables};
use crate::address::{Address, Domain};
use crate::face::{AdminDone, AliasEntry, DomainEntry as DomainLine, DomainSetting};

/// Names that exist in every domain.
const IMPLIED: [&str; 2] = ["abuse", "postmaster"];

impl Ground<'_> {
    pub(super) fn domain_add(&self, domain: &str) -> Result<Plan, String> {
        let domain = parse_domain(domain)?;
        if self.tables.domains.contains_key(&domain) {
            return Err(format!(
                "domain {domain}: it is here already; `hikyaku domain list` shows it"
            ));
        }
        let change = format!("domain {domain} added");
        let record = DomainRecord {
            domain,
            created: self.now,
            catch_all: None,
            subaddress_separator: Some('+'),
            default_quota_bytes: None,
        };
        Ok(Plan {
            changes: vec![Change::Put(Record::Domain(record))],
            aftermath: Vec::new(),
            change,
        })
    }

    pub(super) fn domain_remove(&self, domain: &str) -> Result<Plan, String> {
        let entry = self.domain(domain)?;
        let domain = &entry.record.domain;
        if !entry.accounts.is_empty() {
            let count = entry.accounts.len();
            return Err(format!(
                "domain {domain}: it has {count} accounts; remove them first (`hikyaku account \
                 list` shows them)"
            ));
        }
        if let Some(name) = self.names_leading_into(domain) {
            return Err(format!("domain {domain}: {name} leads into it; change that first"));
        }
        let aliases: Vec<Address> = self
            .aliases()
            .filter(|alias| alias.alias.domain == *domain)
            .map(|alias| alias.alias.clone())
            .collect();
        if aliases.len() > self.limits.aliases_removed_max {
            let count = aliases.len();
            return Err(format!(
                "domain {domain}: it has {count} aliases, too many to remove at once; remove \
                 some first (`hikyaku alias remove`)"
            ));
        }
        let mut changes: Vec<Change> = aliases.into_iter().map(Change::RemoveAlias).collect();
        changes.push(Change::RemoveDomain(domain.clone()));
        let change = format!("domain {domain} removed, with {} aliases", changes.len() - 1);
        Ok(Plan { changes, aftermath: Vec::new(), change })
    }

    pub(super) fn domain_set(&self, domain: &str, setting: DomainSetting) -> Result<Plan, String> {
        let mut record = self.domain(domain)?.record.clone();
        let domain = record.domain.clone();
        let what = match setting {
            DomainSetting::CatchAll(None) => {
                record.catch_all = None;
                "no catch-all".to_owned()
            }
            DomainSetting::CatchAll(Some(to)) => {
                let to = parse_address(&to)?;
                self.check_leads_somewhere(&format!("domain {domain}"), &to)?;
                let what = format!("catch-all {to}");
                record.catch_all = Some(to);
                what
            }
            DomainSetting::SubaddressSeparator(separator) => {
                if separator.is_some_and(|char| !"!#$%&'*+-/=?^_{|}~.".contains(char)) {
                    return Err(format!(
                        "domain {domain}: a separator is one of !#$%&'*+-/=?^_{{|}}~. and \
                         nothing else; choose one of them"
                    ));
                }
                record.subaddress_separator = separator;
                separator
                    .map_or_else(|| "no sub-addresses".to_owned(), |s| format!("separator {s}"))
            }
            DomainSetting::DefaultQuotaBytes(quota) => {
                record.default_quota_bytes = quota;
                "default quota changed".to_owned()
            }
        };
        Ok(Plan {
            changes: vec![Change::Put(Record::Domain(record))],
            aftermath: Vec::new(),
            change: format!("domain {domain}: {what}"),
        })
    }

    pub(super) fn alias_add(&self, alias: &str, targets: &[String]) -> Result<Plan, String> {
        let alias = parse_address(alias)?;
        let name = alias.canonical();
        if !self.tables.domains.contains_key(&alias.domain) {
            let domain = &alias.domain;
            return Err(format!(
                "alias {name}: the domain {domain} is not here; `hikyaku domain add {domain}` \
                 adds it"
            ));
        }
        self.check_local(&alias)?;
        self.check_free(&name, "alias")?;
        let max = self.limits.targets_max;
        if targets.is_empty() || targets.len() > max {
            return Err(format!("alias {name}: an alias has 1 to {max} targets; name them"));
        }
        let mut parsed: Vec<Address> = Vec::with_capacity(targets.len());
        for target in targets {
            let target = parse_address(target)?;
            if target.canonical() == name {
                return Err(format!("alias {name}: it would lead to itself; name another target"));
            }
            if self.tables.domains.contains_key(&target.domain) {
                self.check_leads_somewhere(&format!("alias {name}"), &target)?;
            }
            parsed.push(target);
        }
        parsed.sort_by_key(Address::canonical);
        parsed.dedup_by_key(|target| target.canonical());
        if self.tables.passes(self.limits, &parsed, &name) {
            return Err(format!("alias {name}: its targets lead back to it; name others"));
        }
        if self.tables.reaches_too_many(self.limits, &parsed) {
            return Err(format!(
                "alias {name}: its targets lead to over {max} mailboxes, or through over {} \
                 aliases; name fewer",
                self.limits.alias_depth_max
            ));
        }
        let change = format!("alias {name} added, to {} targets", parsed.len());
        let record = Record::Alias(AliasRecord { alias, targets: parsed });
        if record.value().len() > self.limits.record_bytes_max {
            return Err(format!(
                "alias {name}: its targets are too long together; split them over two aliases"
            ));
        }
        Ok(Plan { changes: vec![Change::Put(record)], aftermath: Vec::new(), change })
    }

    pub(super) fn alias_remove(&self, alias: &str) -> Result<Plan, String> {
        let alias = parse_address(alias)?;
        let name = alias.canonical();
        let Some(Name::Alias(record)) = self.tables.names.get(&name) else {
            let implied = IMPLIED.contains(&alias.local_key().as_str());
            return Err(if implied {
                format!(
                    "alias {name}: every domain has it; `hikyaku alias add {name} TARGET` sets \
                     where it leads"
                )
            } else {
                format!("alias {name}: there is none; `hikyaku alias list` shows all")
            });
        };
        if !IMPLIED.contains(&alias.local_key().as_str())
            && let Some(user_of) = self.names_leading_to(&record.alias)
        {
            return Err(format!("alias {name}: {user_of} leads to it; change that first"));
        }
        Ok(Plan {
            changes: vec![Change::RemoveAlias(record.alias.clone())],
            aftermath: Vec::new(),
            change: format!("alias {name} removed"),
        })
    }

    /// An address of ours must lead to somebody.
    fn check_leads_somewhere(&self, thing: &str, to: &Address) -> Result<(), String> {
        match self.tables.find(to, Scope::NamesOnly) {
            Found::Account(_) | Found::Alias(_) => Ok(()),
            Found::Nothing => Err(format!(
                "{thing}: nobody has the address {to}; `hikyaku account add {to}` adds an account"
            )),
            Found::NotOurs => {
                let domain = &to.domain;
                Err(format!(
                    "{thing}: the domain {domain} is not here; `hikyaku domain add {domain}` \
                     adds it"
                ))
            }
        }
    }

    /// An alias or catch-all that leads to `address`, in words.
    pub(super) fn names_leading_to(&self, address: &Address) -> Option<String> {
        let name = address.canonical();
        let separator = self.tables.domains.get(&address.domain)?.record.subaddress_separator;
        self.names_leading(|target| {
            target.domain == address.domain
                && (target.canonical() == name
                    || separator
                        .and_then(|separator| target.without_detail(separator))
                        .is_some_and(|user| user.canonical() == name))
        })
    }

    fn names_leading_into(&self, domain: &Domain) -> Option<String> {
        let leads = |target: &Address| target.domain == *domain;
        let outside = self.aliases().filter(|alias| alias.alias.domain != *domain);
        let alias = outside.into_iter().find(|alias| alias.targets.iter().any(leads));
        alias.map(|alias| format!("alias {}", alias.alias)).or_else(|| {
            let mut others = self.tables.domains.values().map(|entry| &entry.record);
            let other = others.find(|other| {
                other.domain != *domain && other.catch_all.as_ref().is_some_and(leads)
            })?;
            Some(format!("the catch-all of {}", other.domain))
        })
    }

    fn names_leading(&self, leads: impl Fn(&Address) -> bool) -> Option<String> {
        if let Some(alias) = self.aliases().find(|alias| alias.targets.iter().any(&leads)) {
            return Some(format!("alias {}", alias.alias));
        }
        let mut domains = self.tables.domains.values().map(|entry| &entry.record);
        let domain = domains.find(|record| record.catch_all.as_ref().is_some_and(&leads))?;
        Some(format!("the catch-all of {}", domain.domain))
    }

    fn aliases(&self) -> impl Iterator<Item = &AliasRecord> {
        self.tables.names.values().filter_map(|name| match name {
            Name::Alias(record) => Some(record),
            Name::Account(_) => None,
        })
    }

    fn domain(&self, domain: &str) -> Result<&DomainEntry, String> {
        let domain = parse_domain(domain)?;
        self.tables.domains.get(&domain).ok_or_else(|| {
            format!("domain {domain}: it is not here; `hikyaku domain list` shows all")
        })
    }
}

/// All domains.
#[must_use]
pub fn list_domains(tables: &Tables) -> AdminDone {
    let line = |entry: &DomainEntry| DomainLine {
        domain: entry.record.domain.to_string(),
        catch_all: entry.record.catch_all.as_ref().map(Address::canonical),
        subaddress_separator: entry.record.subaddress_separator,
        default_quota_bytes: entry.record.default_quota_bytes,
        accounts: entry.accounts.len() as u64,
    };
    AdminDone::Domains(tables.domains.values().map(line).collect())
}

/// All aliases, of one domain or of all, with the implied ones, by address.
#[must_use]
pub fn list_aliases(tables: &Tables, only: Option<&Domain>) -> AdminDone {
    let wanted = |domain: &Domain| only.is_none_or(|only| only == domain);
    let mut lines: Vec<AliasEntry> = Vec::new();
    for (name, stands_for) in &tables.names {
        if let Name::Alias(record) = stands_for
            && wanted(&record.alias.domain)
        {
            let targets = record.targets.iter().map(Address::canonical).collect();
            lines.push(AliasEntry { alias: name.clone(), targets });
        }
    }
    for domain in tables.domains.keys().filter(|domain| wanted(domain)) {
        for local in IMPLIED {
            let alias = format!("{local}@{domain}");
            if !tables.names.contains_key(&alias) {
                let first = tables.first_account(domain);
                let targets = first.map(|entry| entry.address.to_string()).into_iter().collect();
                lines.push(AliasEntry { alias, targets });
            }
        }
    }
    lines.sort_by(|a, b| a.alias.cmp(&b.alias));
    AdminDone::Aliases(lines)
}
