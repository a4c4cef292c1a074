//! Events once more: an extension sends its cursors back, by ordinary tasks, so that it is durable like everything else.

use super::api;
use super::mail::Mail;
use crate::admin::{OwnSession, unexpected};
use mailstore::face::{
    AdminDone, AdminTask, EventPage, EventTask, ModSeq, Rewind, Scope, Subscriber, UserDone,
    UserId, UserTask,
};
use tonic::Status;

/// What became of one cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Rewound,
    /// The mailbox begins anew.
    Reset,
}

/// Sends the cursor of one mailbox back, or those of all in scope, one after the other.
pub async fn rewind(
    session: OwnSession,
    (subscriber, scope): (&Subscriber, &Scope),
    request: &api::RewindRequest,
) -> Result<api::RewindReply, Status> {
    let to = point(request)?;
    let account = request.account.as_str();
    let (mut rewound, mut reset) = (0, 0);
    if account.is_empty() {
        let done = session.order(AdminTask::AccountList { domain: None }).await?;
        let AdminDone::Accounts(accounts) = done else { return Err(unexpected()) };
        for entry in accounts.iter().filter(|it| it.enabled && scope.holds(&it.address)) {
            match rewind_one(&session, (entry.user, subscriber), to).await? {
                Outcome::Rewound => rewound += 1,
                Outcome::Reset => reset += 1,
            }
        }
        return Ok(api::RewindReply { rewound, reset });
    }
    let mail = Mail::open(session, scope, account).await?;
    match (rewind_one(mail.session(), (mail.user(), subscriber), to).await?, to) {
        (Outcome::Rewound, _) => rewound = 1,
        (Outcome::Reset, Rewind::Behind(ModSeq(modseq))) => {
            return Err(Status::out_of_range(format!(
                "{account}: events behind {modseq} are kept no more: the mailbox begins with a reset"
            )));
        }
        (Outcome::Reset, Rewind::Kept | Rewind::Since { .. } | Rewind::Anew) => reset = 1,
    }
    Ok(api::RewindReply { rewound, reset })
}

fn point(request: &api::RewindRequest) -> Result<Rewind, Status> {
    match (request.to.as_str(), request.account.is_empty()) {
        ("kept", _) => Ok(Rewind::Kept),
        ("reset", _) => Ok(Rewind::Anew),
        ("time", _) => Ok(Rewind::Since { unix_seconds: request.since }),
        ("modseq", false) => Ok(Rewind::Behind(ModSeq(request.modseq))),
        ("modseq", true) => Err(Status::invalid_argument(
            "each mailbox counts by itself: \"modseq\" needs an account",
        )),
        (other, _) => Err(Status::invalid_argument(format!(
            "{other:?}: back is to \"kept\", \"modseq\", \"time\" or \"reset\""
        ))),
    }
}

async fn rewind_one(
    session: &OwnSession,
    (user, subscriber): (UserId, &Subscriber),
    to: Rewind,
) -> Result<Outcome, Status> {
    let (subscriber, task) = (subscriber.clone(), EventTask::Rewind { to });
    match session.user(user, UserTask::Events { subscriber, task }).await? {
        UserDone::Done => Ok(Outcome::Rewound),
        UserDone::Events(EventPage::Reset { .. }) => Ok(Outcome::Reset),
        _ => Err(unexpected()),
    }
}
