//! Commands that are one task and one answer: CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, GETQUOTA
//! ...

use super::job::{Job, Outcome};
use super::names::put_mailbox;
use super::output::Output;
use super::reply::Reply;
use super::shared::{Extensions, Turn};
use crate::codec::{Mailbox, StatusItem, encode};
use fsm::Token;
use mailstore::face::{
    Completion, FolderId, FolderName, FolderStatus, QuotaReport, UserDone, UserTask,
};

/// One task under way.
#[derive(Debug)]
pub struct SingleJob {
    token: Token,
    what: What,
}

/// What the answer is made of.
#[derive(Debug)]
pub enum What {
    /// `name completed`, for `Done`.
    Plain(&'static str),
    Create,
    Status {
        name: FolderName,
        items: Vec<StatusItem>,
    },
    Quota,
    QuotaRoot {
        name: FolderName,
    },
}

impl SingleJob {
    pub fn start(turn: &mut Turn<'_, '_>, task: UserTask, what: What) -> Outcome {
        let token = turn.submit_user(task);
        Outcome::Wait(Job::Single(Self { token, what }))
    }

    pub fn on_completed(
        self,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        if token != self.token {
            return Outcome::Wait(Job::Single(self));
        }
        Outcome::Answer(match (self.what, completion) {
            (_, Completion::User(UserDone::Failed(error))) => Reply::failed(&error),
            (_, Completion::Refused(refusal)) => Reply::refused(refusal),
            (What::Plain(name), Completion::User(UserDone::Done)) => {
                Reply::ok(format!("{name} completed"))
            }
            (What::Create, Completion::User(UserDone::Created { id })) => {
                // RFC 8474 4.1.
                Reply::ok(format!("[MAILBOXID ({})] CREATE completed", mailbox_id(id)))
            }
            (What::Status { name, items }, Completion::User(UserDone::Status(statuses))) => {
                on_status(turn, (&name, &items), statuses.first().copied().flatten())
            }
            (What::Quota, Completion::User(UserDone::Quota(report))) => {
                put_quota(&mut turn.shared.output, &report);
                Reply::ok("GETQUOTA completed")
            }
            (What::QuotaRoot { name }, Completion::User(UserDone::Quota(report))) => {
                let enabled = turn.shared.enabled;
                let output = &mut turn.shared.output;
                output.put("* QUOTAROOT ");
                put_mailbox(output, enabled, &name);
                output.put(" \"\"\r\n");
                put_quota(output, &report);
                Reply::ok("GETQUOTAROOT completed")
            }
            (
                What::Plain(_)
                | What::Create
                | What::Status { .. }
                | What::Quota
                | What::QuotaRoot { .. },
                _,
            ) => Reply::bug(),
        })
    }
}

/// A name, or the answer to a command with a name that is none (`protocols.md`).
pub fn named(mailbox: Mailbox) -> Result<FolderName, Outcome> {
    mailbox.map_err(|error| Outcome::Answer(Reply::no(format!("[CANNOT] {error}"))))
}

/// RFC 8474 4: MAILBOXID.
pub fn mailbox_id(id: FolderId) -> String {
    let mut buffer = bytes::BytesMut::new();
    encode::put_mailbox_id(&mut buffer, id);
    String::from_utf8_lossy(&buffer).into_owned()
}

fn on_status(
    turn: &mut Turn<'_, '_>,
    (name, items): (&FolderName, &[StatusItem]),
    status: Option<FolderStatus>,
) -> Reply {
    let Some(status) = status else {
        return Reply::no("[NONEXISTENT] no such folder");
    };
    if items.contains(&StatusItem::HighestModSeq) {
        // RFC 7162 3.1: enables CONDSTORE.
        turn.shared.enabled.condstore = true;
    }
    let (enabled, limit) = (turn.shared.enabled, turn.shared.limits.append_bytes_max);
    put_status(&mut turn.shared.output, (enabled, limit), (name, items), &status);
    Reply::ok("STATUS completed")
}

/// `* STATUS name (...)` (RFC 9051 7.3.4). `append_limit` in bytes.
pub fn put_status(
    output: &mut Output,
    (enabled, append_limit): (Extensions, u64),
    (name, items): (&FolderName, &[StatusItem]),
    status: &FolderStatus,
) {
    output.put("* STATUS ");
    put_mailbox(output, enabled, name);
    output.put(" (");
    for (at, item) in items.iter().enumerate() {
        output.put(if at == 0 { "" } else { " " }).put(item.name()).put(" ");
        match item {
            StatusItem::Messages => output.number(status.messages),
            StatusItem::Recent => output.number(status.recent),
            StatusItem::UidNext => output.number(status.uid_next.0),
            StatusItem::UidValidity => output.number(status.uid_validity.0),
            StatusItem::Unseen => output.number(status.unseen),
            StatusItem::Deleted => output.number(status.deleted),
            StatusItem::Size => output.number(status.bytes),
            StatusItem::HighestModSeq => output.number(status.highest_mod_seq.0.max(1)),
            StatusItem::AppendLimit => output.number(append_limit),
            StatusItem::MailboxId => output.put("(").put(mailbox_id(status.id)).put(")"),
            StatusItem::DeletedStorage => output.number(status.deleted_bytes),
        };
    }
    output.put(")\r\n");
}

/// RFC 9208 5.1: STORAGE in units of 1024 octets. Only resources with a limit are shown.
fn put_quota(output: &mut Output, report: &QuotaReport) {
    output.put("* QUOTA \"\" (");
    let mut space = "";
    if let Some(max) = report.bytes_max {
        output.put("STORAGE ").number(report.bytes_used.div_ceil(1024)).put(" ");
        output.number(max / 1024);
        space = " ";
    }
    if let Some(max) = report.messages_max {
        output.put(space).put("MESSAGE ").number(report.messages_used).put(" ").number(max);
    }
    output.put(")\r\n");
}
