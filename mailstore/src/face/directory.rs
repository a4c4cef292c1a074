//! The directory: who may log in, where an address leads, and the operator's changes.

use super::UserId;
use bytes::Bytes;
use fsm::Wall;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// A task for the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryTask {
    /// RCPT, VRFY: where does this address lead? `address` is what stood between the angle brackets. Done: `Resolved`.
    Resolve { address: Bytes },
    /// Done: `Authenticated`, or `AuthRefused`.
    Authenticate(Authenticate),
    /// May this account send as `address` (RFC 6409 6.1)? Done: `SenderChecked`.
    CheckSender { user: UserId, address: Bytes },
    /// An operator's order. Done: `Admin`.
    Admin(AdminTask),
    /// Behind `SecondFactorDue`. Done: `Authenticated`, or `AuthRefused`. What was right is used up.
    CheckCode(CheckCode),
}

/// A code of the second factor: of the app, or a recovery code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckCode {
    pub user: UserId,
    pub peer: IpAddr,
    /// As typed.
    pub code: Bytes,
}

/// Never shows the code.
impl std::fmt::Debug for CheckCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckCode")
            .field("user", &self.user)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The secret that an account shares with an app for codes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotpSecret([u8; TOTP_SECRET_BYTES]);

/// Bytes of the secret. RFC 4226 4: 160 bits recommended.
pub const TOTP_SECRET_BYTES: usize = 20;
/// Bytes that are kept of a recovery code.
pub const RECOVERY_HASH_BYTES: usize = 32;

impl TotpSecret {
    /// `None`: of another length.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Never shows the secret.
impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret")
    }
}

/// A log-in attempt. The secret is wiped by the directory once it has been judged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authenticate {
    pub protocol: Protocol,
    pub peer: IpAddr,
    /// As given: an address, or a bare local part when there is one domain.
    pub name: Bytes,
    pub secret: Bytes,
}

/// Never shows the secret.
impl std::fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticate")
            .field("protocol", &self.protocol)
            .field("peer", &self.peer)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a credential may be limited to, and what logs and limits name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Smtp,
    Lmtp,
    Submission,
    Imap,
    Pop3,
    Http,
}

impl Protocol {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
            Self::Submission => "submission",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Http => "http",
        }
    }
}

/// The completion of a [`DirectoryTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryDone {
    Resolved(Resolved),
    Authenticated(Account),
    AuthRefused(AuthRefusal),
    SenderChecked {
        allowed: bool,
    },
    Admin(AdminDone),
    /// Of webmail: the password is right, and the account wants a code besides: `CheckCode`.
    SecondFactorDue(Account),
}

/// Where an address leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolved {
    /// To these mailboxes (an alias may have several), each once.
    Local(Arc<[Recipient]>),
    /// No such user in a domain of ours: 550 5.1.1.
    Unknown,
    /// The account is disabled: 550 5.2.1.
    Disabled,
    /// The domain is not ours, or the alias leaves: 550 5.7.1 until outbound delivery exists.
    NotLocal,
    /// Not an address: 501 5.1.3.
    Malformed,
}

/// One mailbox behind an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub user: UserId,
    /// The account's own address, in canonical form: Delivered-To.
    pub address: Arc<str>,
}

/// Who logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub user: UserId,
    /// Canonical address.
    pub address: Arc<str>,
}

/// What the master of a mailbox has to know of its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFacts {
    /// Canonical address; empty when there certainly is no such account (any more).
    pub address: Arc<str>,
    /// `None`: unlimited.
    pub quota_bytes: Option<u64>,
    /// `None`: unlimited.
    pub quota_messages: Option<u64>,
    /// False for a disabled or missing account.
    pub enabled: bool,
}

impl AccountFacts {
    /// There is no such account any more: what comes for it is refused for good, also what was promised.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.address.is_empty()
    }
}

/// Why a log-in failed. The session logs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthRefusal {
    /// Unknown user, wrong password, or a credential not meant for this protocol: one answer for all.
    WrongCredentials,
    /// The account is disabled; told only after the right password.
    Disabled,
    /// The limits of `protocols.md` hold this address back: a temporary answer.
    Throttled,
    /// The directory or the hash pool can't answer now.
    Unavailable,
}

/// An operator's order, from the command line or the console. Addresses and domains as typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminTask {
    DomainAdd {
        domain: String,
    },
    DomainRemove {
        domain: String,
    },
    DomainSet {
        domain: String,
        setting: DomainSetting,
    },
    DomainList,
    AliasAdd {
        alias: String,
        targets: Vec<String>,
    },
    AliasRemove {
        alias: String,
    },
    AliasList {
        domain: Option<String>,
    },
    /// `phc`: the hash made by the hash pool, or an imported `{SCHEME}hash`.
    AccountAdd {
        address: String,
        phc: String,
    },
    AccountRemove {
        address: String,
    },
    AccountList {
        domain: Option<String>,
    },
    AccountPassword {
        address: String,
        phc: String,
    },
    AccountEnable {
        address: String,
        on: bool,
    },
    AccountSet {
        address: String,
        setting: AccountSetting,
    },
    /// The user behind an address.
    AccountShow {
        address: String,
    },
    /// A further password of the account, for one device or program. `phc` as in `AccountAdd`.
    CredentialAdd {
        address: String,
        label: String,
        phc: String,
        /// `None`: all protocols.
        protocols: Option<Vec<Protocol>>,
    },
    CredentialRemove {
        address: String,
        label: String,
    },
    CredentialList {
        address: String,
    },
    /// Codes are asked for from now on. `code` shows that the app has the secret; `recovery` as the directory keeps them.
    SecondFactorOn {
        address: String,
        secret: TotpSecret,
        code: String,
        recovery: Vec<[u8; RECOVERY_HASH_BYTES]>,
    },
    SecondFactorOff {
        address: String,
    },
    SecondFactorShow {
        address: String,
    },
    /// Other recovery codes; those of before count no more.
    SecondFactorRecovery {
        address: String,
        recovery: Vec<[u8; RECOVERY_HASH_BYTES]>,
    },
}

impl AdminTask {
    /// Whether it changes nothing.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        match self {
            Self::DomainList
            | Self::AliasList { .. }
            | Self::AccountList { .. }
            | Self::AccountShow { .. }
            | Self::CredentialList { .. }
            | Self::SecondFactorShow { .. } => true,
            Self::DomainAdd { .. }
            | Self::DomainRemove { .. }
            | Self::DomainSet { .. }
            | Self::AliasAdd { .. }
            | Self::AliasRemove { .. }
            | Self::AccountAdd { .. }
            | Self::AccountRemove { .. }
            | Self::AccountPassword { .. }
            | Self::AccountEnable { .. }
            | Self::AccountSet { .. }
            | Self::CredentialAdd { .. }
            | Self::CredentialRemove { .. }
            | Self::SecondFactorOn { .. }
            | Self::SecondFactorOff { .. }
            | Self::SecondFactorRecovery { .. } => false,
        }
    }
}

/// One setting of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DomainSetting {
    /// Where mail for unknown users goes; `None`: nowhere.
    CatchAll(Option<String>),
    /// Between user and detail; `None`: no sub-addresses. Default `+`.
    SubaddressSeparator(Option<char>),
    /// Quota of new accounts in bytes; `None`: unlimited.
    DefaultQuotaBytes(Option<u64>),
}

/// One setting of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountSetting {
    QuotaBytes(Option<u64>),
    QuotaMessages(Option<u64>),
    DisplayName(String),
}

/// The completion of an [`AdminTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminDone {
    Done,
    Domains(Vec<DomainEntry>),
    Aliases(Vec<AliasEntry>),
    Accounts(Vec<AccountEntry>),
    Credentials(Vec<CredentialEntry>),
    /// `None`: the password is enough.
    SecondFactor(Option<SecondFactorEntry>),
    /// Nothing changed; the text names the thing, the reason and the next step.
    Refused(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainEntry {
    pub domain: String,
    pub catch_all: Option<String>,
    pub subaddress_separator: Option<char>,
    pub default_quota_bytes: Option<u64>,
    pub accounts: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasEntry {
    pub alias: String,
    pub targets: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountEntry {
    pub user: UserId,
    pub address: String,
    pub enabled: bool,
    pub display_name: String,
    pub quota_bytes: Option<u64>,
    pub quota_messages: Option<u64>,
}

/// One credential of an account; its hash is never shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialEntry {
    pub kind: CredentialKind,
    pub label: String,
    pub created: Wall,
    /// To within an hour across restarts.
    pub last_used: Option<Wall>,
    /// `None`: all protocols.
    pub protocols: Option<Vec<Protocol>>,
    /// As in `argon2id`, `BLF-CRYPT`.
    pub scheme: String,
}

/// The second factor of an account, without its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondFactorEntry {
    pub since: Wall,
    /// Recovery codes not used yet.
    pub recovery_left: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialKind {
    /// The password of the account: set by `account password`.
    Password,
    /// A further password, for one device or program.
    AppPassword,
}
