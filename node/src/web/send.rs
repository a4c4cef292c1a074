//! A message leaves: kept in the user's own folders, and delivered to its recipients here. The same rules as for submission
//! by SMTP: recipients elsewhere are refused before anything is accepted (`protocols.md`).

use super::Trouble;
use super::asking::unexpected;
use super::login::Login;
use bytes::Bytes;
use dds::{BlobId, CHUNK_BYTES};
use html::compose::Recipients;
use html::envelope::Address;
use mailstore::face::{
    Acceptance, AcceptedRecipient, AskedMailbox, BlobDone, BlobTask, Body, Columns, Completion,
    Deliver, DeliveryDone, DeliveryId, DeliveryTask, DirectoryDone, DirectoryTask, Filing,
    FolderId, FolderName, Holders, INLINE_BYTES_MAX, InternalDate, Keyword, LONE_BYTES_MAX,
    NewMessage, Promise, Resolved, SystemFlags, Task, Uid, UserDone, UserError, UserId, UserTask,
};
use mailstore::mime::{Limits, Scanner};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long chunks live that nobody refers to yet. Our choice: far longer than handing them over takes.
const CHUNK_LIFE: fsm::Duration = fsm::Duration::from_secs(3600);

/// Where the recipients are; each mailbox once.
///
/// The inner error is for the person: nothing was sent.
pub async fn targets(
    login: &Login,
    recipients: &Recipients,
) -> Result<Result<Vec<AskedMailbox>, String>, Trouble> {
    let mut targets: BTreeMap<UserId, AskedMailbox> = BTreeMap::new();
    for Address { mailbox, .. } in recipients.iter() {
        let task = DirectoryTask::Resolve { address: mailbox.clone().into() };
        let DirectoryDone::Resolved(resolved) = login.directory(task).await? else {
            return Err(unexpected());
        };
        let why = match resolved {
            Resolved::Local(found) => {
                for it in found.iter() {
                    let recipient: Arc<str> = mailbox.as_str().into();
                    let address = Arc::clone(&it.address);
                    let target = AskedMailbox { user: it.user, recipient, address };
                    targets.entry(it.user).or_insert(target);
                }
                continue;
            }
            Resolved::Unknown => "there is no such mailbox",
            Resolved::Disabled => "the mailbox is disabled",
            Resolved::NotLocal => {
                "the address is elsewhere, and mail to other servers can't be sent yet"
            }
            Resolved::Malformed => "this is no mail address",
        };
        return Ok(Err(format!("{mailbox}: {why}. Nothing was sent.")));
    }
    Ok(Ok(targets.into_values().collect()))
}

/// Delivers to all, each with what is done with its copy.
///
/// The inner error is for the person: nothing was sent.
pub async fn deliver(
    login: &Login,
    message: Bytes,
    targets: &[(AskedMailbox, Filing)],
) -> Result<Result<(), String>, Trouble> {
    let columns = Arc::new(columns(&message));
    let delivery = new_delivery()?;
    let holders = if targets.len() == 1 { Holders::One } else { Holders::Several };
    let body = body(login, message, holders).await?;
    let prefix = |target: &AskedMailbox| prefix(login, delivery, target);
    if let [(target, filing)] = targets {
        let deliver = Deliver {
            delivery,
            recipient: Arc::clone(&target.recipient),
            folder: FolderName::inbox(),
            prefix: prefix(target),
            body,
            columns,
            filing: filing.clone(),
            promise: Promise::Open,
        };
        let task = Task::User { user: target.user, task: UserTask::Deliver(deliver) };
        return match login.own.ask(task).await? {
            Completion::User(UserDone::Delivered { .. }) => Ok(Ok(())),
            Completion::User(UserDone::Failed(UserError::OverQuota)) => {
                Ok(Err(format!("{}: the mailbox is full. Nothing was sent.", target.recipient)))
            }
            Completion::User(UserDone::Failed(error)) => {
                Ok(Err(format!("{}: {error}. Nothing was sent.", target.recipient)))
            }
            Completion::Refused(refusal) => Err(refusal.into()),
            _ => Err(unexpected()),
        };
    }
    let recipients = targets.iter().map(|(target, filing)| AcceptedRecipient {
        user: target.user,
        recipient: Arc::clone(&target.recipient),
        prefix: prefix(target),
        filing: filing.clone(),
    });
    let acceptance = Acceptance { delivery, body, columns, recipients: recipients.collect() };
    match login.own.ask(Task::Delivery(DeliveryTask::Accept(acceptance))).await? {
        Completion::Delivery(DeliveryDone::Accepted) => Ok(Ok(())),
        Completion::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

/// A message for one of the user's own folders.
#[derive(Debug)]
pub struct Keeping {
    pub flags: SystemFlags,
    pub keywords: Vec<Keyword>,
    pub message: Vec<u8>,
    /// `None`: now.
    pub date: Option<InternalDate>,
}

async fn new_message(login: &Login, keeping: Keeping) -> Result<NewMessage, Trouble> {
    let Keeping { flags, keywords, message, date } = keeping;
    let columns = Arc::new(columns(&message));
    let body = body(login, message.into(), Holders::One).await?;
    Ok(NewMessage { flags, keywords, internal_date: date, body, columns })
}

/// Puts a message in place of another; `None`: that is not there any more.
pub async fn replace(
    login: &Login,
    (folder, uid): (FolderId, Uid),
    keeping: Keeping,
) -> Result<Option<Uid>, Trouble> {
    let message = new_message(login, keeping).await?;
    match login.user(UserTask::Replace { folder, uid, message }).await {
        Ok(UserDone::Appended { uids, .. }) => uids.first().ok_or_else(unexpected).map(Some),
        Ok(_) => Err(unexpected()),
        Err(Trouble::NotFound(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Puts a message into one of the user's own folders.
pub async fn keep(login: &Login, to: FolderName, keeping: Keeping) -> Result<Uid, Trouble> {
    let message = new_message(login, keeping).await?;
    match login.user(UserTask::Append { to, message, once: None }).await? {
        UserDone::Appended { uids, .. } => uids.first().ok_or_else(unexpected),
        _ => Err(unexpected()),
    }
}

fn columns(message: &[u8]) -> Columns {
    let mut scanner = Scanner::new(&Limits::default());
    scanner.push(message);
    scanner.finish()
}

/// What is too long to travel with its metadata is written in chunks first.
async fn body(login: &Login, message: Bytes, holders: Holders) -> Result<Body, Trouble> {
    let inline_max = match holders {
        Holders::One => LONE_BYTES_MAX,
        Holders::Several => INLINE_BYTES_MAX,
    };
    if message.len() <= inline_max {
        return Ok(Body::Inline(message));
    }
    let blob = BlobId(random()?);
    let len = message.len() as u64;
    for (index, at) in (0..).zip((0..message.len()).step_by(CHUNK_BYTES)) {
        let bytes = message.slice(at..message.len().min(at + CHUNK_BYTES));
        let task = BlobTask::PutChunk { blob, index, bytes, life: CHUNK_LIFE };
        match login.own.ask(Task::Blob(task)).await? {
            Completion::Blob(BlobDone::Written) => {}
            Completion::Refused(refusal) => return Err(refusal.into()),
            _ => return Err(unexpected()),
        }
    }
    Ok(Body::Blob { blob, len, holders })
}

fn random() -> Result<u128, Trouble> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::Broken(error.to_string()))?;
    Ok(u128::from_be_bytes(bytes))
}

fn new_delivery() -> Result<DeliveryId, Trouble> {
    let random = u64::try_from(random()? >> 64).unwrap_or_default();
    Ok(DeliveryId::new(stages::Clock.wall(), random))
}

/// A new Message-ID, without angle brackets.
pub fn message_id(login: &Login) -> Result<String, Trouble> {
    Ok(format!("{:x}@{}", random()?, login.web.hostname))
}

/// Trace fields. RFC 5321 4.4; "HTTP" is how it came (RFC 3848 names only mail protocols).
fn prefix(login: &Login, delivery: DeliveryId, target: &AskedMailbox) -> Bytes {
    let date = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let date = date.strftime("%a, %-d %b %Y %H:%M:%S +0000");
    let with = if login.came.secure { "HTTPS" } else { "HTTP" };
    format!(
        "Return-Path: <{}>\r\nDelivered-To: {}\r\nReceived: by {} (Hikyaku) with {with} id {};\r\n\t{date}\r\n",
        login.browser.address,
        target.address,
        login.web.hostname,
        delivery.queue_id(),
    )
    .into()
}
