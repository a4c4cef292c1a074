//! Domains, aliases and accounts: requests to orders, and what the directory answers to replies. Passwords become hashes here.

use super::api;
use super::own_session::{OwnSession, unexpected};
use crate::passwords::{HashJob, HashKind, HashOutcome, HashPool, Secret, StoredHash};
use mailstore::face::{AccountEntry, AccountSetting, AdminDone, AdminTask, AliasEntry};
use mailstore::face::{DomainEntry, DomainSetting};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tonic::Status;

/// How long an order waits for room in the hash pool. Our choice.
const HASH_ROOM_WAIT: Duration = Duration::from_secs(30);
/// Between two attempts to get room.
const HASH_ROOM_POLL: Duration = Duration::from_millis(20);

/// The stored form of `secret`: a password is hashed, `{SCHEME}hash` is checked and taken as it is, `{PLAIN}` is hashed.
pub async fn stored_form(hashes: &Arc<HashPool>, secret: &str) -> Result<String, Status> {
    let password = match (secret.starts_with('{'), StoredHash::parse(secret)) {
        (false, _) => secret,
        (true, Ok(StoredHash::Plain(password))) => password,
        (true, Ok(_)) => return Ok(secret.to_owned()),
        (true, Err(error)) => return Err(Status::failed_precondition(error.to_string())),
    };
    if password.is_empty() {
        return Err(Status::failed_precondition("the password is empty; choose another"));
    }
    let (to, from) = oneshot::channel();
    // The one who asked may be gone: then nobody wants the answer.
    let mut answer: crate::passwords::Answer = Box::new(move |outcome| drop(to.send(outcome)));
    let secret = Secret::new(password.as_bytes());
    let mut job =
        HashJob { id: 0, peer: IpAddr::V4(Ipv4Addr::LOCALHOST), kind: HashKind::Make { secret } };
    let mut waited = Duration::ZERO;
    while let Err((busy, unused)) = hashes.submit_to(job, answer) {
        if waited >= HASH_ROOM_WAIT {
            return Err(Status::resource_exhausted(format!("{busy}; try again")));
        }
        tokio::time::sleep(HASH_ROOM_POLL).await;
        waited += HASH_ROOM_POLL;
        (job, answer) = (busy.0, unused);
    }
    match from.await {
        Ok(HashOutcome::Made(stored)) => Ok(stored),
        Ok(HashOutcome::Matched { .. } | HashOutcome::Mismatched) => Err(unexpected()),
        Ok(HashOutcome::Failed) => {
            Err(Status::failed_precondition("the password is too long; choose a shorter one"))
        }
        Err(_) => Err(Status::unavailable("the node is stopping")),
    }
}

/// What a domain is told to change, in order.
pub fn domain_settings(request: &api::DomainSetRequest) -> Result<Vec<DomainSetting>, Status> {
    let mut settings = Vec::new();
    if let Some(address) = &request.catch_all {
        settings.push(DomainSetting::CatchAll((!address.is_empty()).then(|| address.clone())));
    }
    if let Some(separator) = &request.subaddress_separator {
        let mut chars = separator.chars();
        let setting = match (chars.next(), chars.next()) {
            (first, None) => first,
            (_, Some(_)) => {
                return Err(Status::invalid_argument("the separator must be one character"));
            }
        };
        settings.push(DomainSetting::SubaddressSeparator(setting));
    }
    if let Some(bytes) = request.default_quota_bytes {
        settings.push(DomainSetting::DefaultQuotaBytes((bytes > 0).then_some(bytes)));
    }
    Ok(settings)
}

/// What an account is told to change, in order.
pub fn account_settings(request: api::AccountSetRequest) -> Vec<AccountSetting> {
    let mut settings = Vec::new();
    if let Some(bytes) = request.quota_bytes {
        settings.push(AccountSetting::QuotaBytes((bytes > 0).then_some(bytes)));
    }
    if let Some(count) = request.quota_messages {
        settings.push(AccountSetting::QuotaMessages((count > 0).then_some(count)));
    }
    if let Some(name) = request.display_name {
        settings.push(AccountSetting::DisplayName(name));
    }
    settings
}

/// An order whose only answer is that it is done.
pub async fn done(session: &OwnSession, task: AdminTask) -> Result<(), Status> {
    // AccountAdd may tell of the account that it made.
    session.order(task).await.map(|_: AdminDone| ())
}

pub fn domain(entry: DomainEntry) -> api::Domain {
    api::Domain {
        domain: entry.domain,
        catch_all: entry.catch_all,
        subaddress_separator: entry.subaddress_separator.map(String::from),
        default_quota_bytes: entry.default_quota_bytes,
        accounts: entry.accounts,
    }
}

pub fn alias(entry: AliasEntry) -> api::Alias {
    api::Alias { alias: entry.alias, targets: entry.targets }
}

pub fn account(entry: AccountEntry) -> api::Account {
    api::Account {
        address: entry.address,
        enabled: entry.enabled,
        display_name: entry.display_name,
        quota_bytes: entry.quota_bytes,
        quota_messages: entry.quota_messages,
        user: format!("{:016x}", entry.user.0),
        ..api::Account::default()
    }
}
