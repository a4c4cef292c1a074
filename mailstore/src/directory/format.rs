//! What the directory keeps in the DDS, all on one route: domains, accounts, aliases, and accounts
//! that are being erased.
//!
//! Keys are a letter and a name: `d` and the domain (A-labels), `m` and the user id (8 bytes,
//! big-endian) of an account, `n` and the alias in canonical form, `x` and the user id of one being
//! erased; so domains are read before their accounts. Values are records of [`crate::record`].
//! Golden bytes of every format version are tested: added to and never edited.

use super::second_factor::SecondFactor;
use crate::address::{Address, Domain};
use crate::face::{CredentialKind, Protocol, RECOVERY_HASH_BYTES, TotpSecret, UserId};
use crate::record::{Reader, RecordError, Writer};
use bytes::Bytes;
use dds::{RouteKey, SortKey};
use fsm::Wall;

/// Version of the formats here.
const VERSION: u8 = 1;
/// Of an account with a second factor. One without is written as before.
const VERSION_SECOND_FACTOR: u8 = 2;

/// The route of the directory.
#[must_use]
pub fn route() -> RouteKey {
    RouteKey(Bytes::from_static(b"directory"))
}

/// The range of keys that holds everything.
#[must_use]
pub fn whole_range() -> (SortKey, SortKey) {
    (SortKey(Bytes::from_static(b"\x01")), SortKey(Bytes::from_static(&[SortKey::BODY_FIRST])))
}

/// A domain of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainRecord {
    pub domain: Domain,
    pub created: Wall,
    /// A mailbox or alias of ours.
    pub catch_all: Option<Address>,
    pub subaddress_separator: Option<char>,
    pub default_quota_bytes: Option<u64>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    pub user: UserId,
    pub address: Address,
    pub created: Wall,
    pub enabled: bool,
    pub display_name: String,
    pub quota_bytes: Option<u64>,
    pub quota_messages: Option<u64>,
    /// The number that the next credential gets.
    pub next_credential: u64,
    pub credentials: Vec<Credential>,
    pub second_factor: Option<SecondFactor>,
}

impl AccountRecord {
    /// Whether a credential of this account opens `protocol`. Mail protocols can't ask for a code, so that with a second factor
    /// they take app passwords alone; webmail takes the password alone, and asks.
    #[must_use]
    pub fn admits(&self, held: &Credential, protocol: Protocol) -> bool {
        let kind = match (&self.second_factor, protocol) {
            (None, _) => None,
            (Some(_), Protocol::Http) => Some(CredentialKind::Password),
            (
                Some(_),
                Protocol::Smtp
                | Protocol::Lmtp
                | Protocol::Submission
                | Protocol::Imap
                | Protocol::Pop3,
            ) => Some(CredentialKind::AppPassword),
        };
        held.allows(protocol) && kind.is_none_or(|kind| kind == held.kind)
    }
}

/// One way to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Unique in its account, never reused: a changed password is another credential, an upgraded
    /// hash is not.
    pub id: u64,
    pub kind: CredentialKind,
    pub label: String,
    pub created: Wall,
    pub last_used: Option<Wall>,
    /// `None`: all.
    pub protocols: Option<Vec<Protocol>>,
    pub phc: String,
}

impl Credential {
    /// Whether it may be used for `protocol`.
    #[must_use]
    pub fn allows(&self, protocol: Protocol) -> bool {
        self.protocols.as_ref().is_none_or(|protocols| protocols.contains(&protocol))
    }
}

/// Never shows the hash.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// An alias: every target is an address, of ours or not, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRecord {
    pub alias: Address,
    pub targets: Vec<Address>,
}

/// One entry of the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Domain(DomainRecord),
    Account(AccountRecord),
    Alias(AliasRecord),
    /// The account is gone and its mail is being erased.
    Erasing(UserId),
}

impl Record {
    #[must_use]
    pub fn key(&self) -> SortKey {
        match self {
            Self::Domain(record) => domain_key(&record.domain),
            Self::Account(record) => account_key(record.user),
            Self::Alias(record) => alias_key(&record.alias),
            Self::Erasing(user) => erasing_key(*user),
        }
    }

    #[must_use]
    pub fn value(&self) -> Bytes {
        let mut writer = Writer::new(self.version());
        match self {
            Self::Domain(record) => write_domain(&mut writer, record),
            Self::Account(record) => write_account(&mut writer, record),
            Self::Alias(record) => write_alias(&mut writer, record),
            Self::Erasing(user) => writer.number(user.0),
        }
        writer.finish()
    }

    fn version(&self) -> u8 {
        match self {
            Self::Account(AccountRecord { second_factor: Some(_), .. }) => VERSION_SECOND_FACTOR,
            Self::Account(_) | Self::Domain(_) | Self::Alias(_) | Self::Erasing(_) => VERSION,
        }
    }

    /// Reads an entry back.
    ///
    /// # Errors
    /// The value is not a record of this release, or does not belong under this key.
    pub fn read(key: &SortKey, value: Bytes) -> Result<Self, RecordError> {
        let newest = if key.0.first() == Some(&b'm') { VERSION_SECOND_FACTOR } else { VERSION };
        let (version, mut reader) = Reader::new(value, newest)?;
        let record = match key.0.first() {
            Some(b'd') => Self::Domain(read_domain(&mut reader)?),
            Some(b'm') => Self::Account(read_account(&mut reader, version)?),
            Some(b'n') => Self::Alias(read_alias(&mut reader)?),
            Some(b'x') => Self::Erasing(UserId(reader.number("user")?)),
            Some(_) | None => return Err(RecordError::Malformed("key")),
        };
        reader.finish()?;
        if record.key() == *key { Ok(record) } else { Err(RecordError::Malformed("key")) }
    }
}

#[must_use]
pub fn domain_key(domain: &Domain) -> SortKey {
    SortKey([b"d", domain.as_str().as_bytes()].concat().into())
}

#[must_use]
pub fn account_key(user: UserId) -> SortKey {
    user_key(b'm', user)
}

#[must_use]
pub fn erasing_key(user: UserId) -> SortKey {
    user_key(b'x', user)
}

#[must_use]
pub fn alias_key(alias: &Address) -> SortKey {
    SortKey([b"n", alias.canonical().as_bytes()].concat().into())
}

fn user_key(kind: u8, user: UserId) -> SortKey {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&user.0.to_be_bytes());
    SortKey(Bytes::copy_from_slice(&key))
}

fn write_domain(writer: &mut Writer, record: &DomainRecord) {
    writer.text(record.domain.as_str());
    writer.signed(record.created.0);
    writer.option(record.catch_all.as_ref(), |writer, to| writer.text(&to.to_string()));
    writer.option(record.subaddress_separator, |writer, char| writer.number(u64::from(char)));
    writer.option(record.default_quota_bytes, Writer::number);
}

fn read_domain(reader: &mut Reader) -> Result<DomainRecord, RecordError> {
    Ok(DomainRecord {
        domain: Domain::parse(&reader.text("domain")?)
            .map_err(|_| RecordError::Malformed("domain"))?,
        created: Wall(reader.signed("created")?),
        catch_all: reader.option("catch_all", read_address)?,
        subaddress_separator: reader.option("separator", read_char)?,
        default_quota_bytes: reader.option("default_quota", Reader::number)?,
    })
}

fn read_char(reader: &mut Reader, field: &'static str) -> Result<char, RecordError> {
    u32::try_from(reader.number(field)?)
        .ok()
        .and_then(char::from_u32)
        .ok_or(RecordError::Malformed(field))
}

fn write_account(writer: &mut Writer, record: &AccountRecord) {
    writer.number(record.user.0);
    writer.text(&record.address.to_string());
    writer.signed(record.created.0);
    writer.byte(u8::from(record.enabled));
    writer.text(&record.display_name);
    writer.option(record.quota_bytes, Writer::number);
    writer.option(record.quota_messages, Writer::number);
    writer.number(record.next_credential);
    writer.number(record.credentials.len() as u64);
    for credential in &record.credentials {
        write_credential(writer, credential);
    }
    if let Some(factor) = &record.second_factor {
        write_second_factor(writer, factor);
    }
}

fn write_second_factor(writer: &mut Writer, factor: &SecondFactor) {
    writer.bytes(factor.secret.bytes());
    writer.signed(factor.since.0);
    writer.signed(factor.last_step);
    writer.number(factor.recovery.len() as u64);
    for hash in &factor.recovery {
        writer.bytes(hash);
    }
}

fn read_second_factor(reader: &mut Reader) -> Result<SecondFactor, RecordError> {
    Ok(SecondFactor {
        secret: TotpSecret::new(&reader.bytes("secret")?)
            .ok_or(RecordError::Malformed("secret"))?,
        since: Wall(reader.signed("since")?),
        last_step: reader.signed("last_step")?,
        recovery: {
            let count = reader.count("recovery")?;
            let hash = |reader: &mut Reader| {
                let hash: Result<[u8; RECOVERY_HASH_BYTES], _> =
                    reader.bytes("recovery")?[..].try_into();
                hash.map_err(|_| RecordError::Malformed("recovery"))
            };
            (0..count).map(|_| hash(reader)).collect::<Result<_, _>>()?
        },
    })
}

fn read_account(reader: &mut Reader, version: u8) -> Result<AccountRecord, RecordError> {
    Ok(AccountRecord {
        user: UserId(reader.number("user")?),
        address: read_address(reader, "address")?,
        created: Wall(reader.signed("created")?),
        enabled: reader.byte("enabled")? != 0,
        display_name: reader.text("display_name")?,
        quota_bytes: reader.option("quota_bytes", Reader::number)?,
        quota_messages: reader.option("quota_messages", Reader::number)?,
        next_credential: reader.number("next_credential")?,
        credentials: {
            let count = reader.count("credentials")?;
            (0..count).map(|_| read_credential(reader)).collect::<Result<_, _>>()?
        },
        second_factor: if version >= VERSION_SECOND_FACTOR {
            Some(read_second_factor(reader)?)
        } else {
            None
        },
    })
}

fn read_address(reader: &mut Reader, field: &'static str) -> Result<Address, RecordError> {
    Address::parse(&reader.bytes(field)?).map_err(|_| RecordError::Malformed(field))
}

fn write_credential(writer: &mut Writer, credential: &Credential) {
    writer.number(credential.id);
    writer.byte(match credential.kind {
        CredentialKind::Password => 1,
        CredentialKind::AppPassword => 2,
    });
    writer.text(&credential.label);
    writer.signed(credential.created.0);
    writer.option(credential.last_used, |writer, at| writer.signed(at.0));
    writer.option(credential.protocols.as_deref(), |writer, protocols| {
        writer.number(protocols.len() as u64);
        for &protocol in protocols {
            writer.byte(protocol_number(protocol));
        }
    });
    writer.text(&credential.phc);
}

fn read_credential(reader: &mut Reader) -> Result<Credential, RecordError> {
    Ok(Credential {
        id: reader.number("credential")?,
        kind: match reader.byte("kind")? {
            1 => CredentialKind::Password,
            2 => CredentialKind::AppPassword,
            _ => return Err(RecordError::Malformed("kind")),
        },
        label: reader.text("label")?,
        created: Wall(reader.signed("created")?),
        last_used: reader.option("last_used", Reader::signed)?.map(Wall),
        protocols: reader.option("protocols", |reader, field| {
            let count = reader.count(field)?;
            (0..count).map(|_| read_protocol(reader)).collect::<Result<_, _>>()
        })?,
        phc: reader.text("phc")?,
    })
}

fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Smtp => 1,
        Protocol::Lmtp => 2,
        Protocol::Submission => 3,
        Protocol::Imap => 4,
        Protocol::Pop3 => 5,
        Protocol::Http => 6,
    }
}

fn read_protocol(reader: &mut Reader) -> Result<Protocol, RecordError> {
    Ok(match reader.byte("protocol")? {
        1 => Protocol::Smtp,
        2 => Protocol::Lmtp,
        3 => Protocol::Submission,
        4 => Protocol::Imap,
        5 => Protocol::Pop3,
        6 => Protocol::Http,
        _ => return Err(RecordError::Malformed("protocol")),
    })
}

fn write_alias(writer: &mut Writer, record: &AliasRecord) {
    writer.text(&record.alias.to_string());
    writer.number(record.targets.len() as u64);
    for target in &record.targets {
        writer.text(&target.to_string());
    }
}

fn read_alias(reader: &mut Reader) -> Result<AliasRecord, RecordError> {
    Ok(AliasRecord {
        alias: read_address(reader, "alias")?,
        targets: {
            let count = reader.count("targets")?;
            (0..count).map(|_| read_address(reader, "target")).collect::<Result<_, _>>()?
        },
    })
}
