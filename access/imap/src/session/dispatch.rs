//! Which command begins what, and in which state it may.

use super::auth::AuthJob;
use super::capability;
use super::copy::{self, CopyJob, Transfer, TransferKind};
use super::fetch::FetchJob;
use super::idle::IdleJob;
use super::job::Outcome;
use super::list::ListJob;
use super::names;
use super::prepare::Prepare;
use super::reply::Reply;
use super::search::SearchJob;
use super::select::SelectJob;
use super::shared::{Login, Turn};
use super::single::{SingleJob, What, named};
use super::store::StoreJob;
use super::view::News;
use crate::codec::{CommandBody, Enabled, NameEncoding, Tag, UnknownUse};
use bytes::Bytes;
use mailstore::face::{FolderName, OpenMode, SpecialUse, UserTask};

/// States in which a command may come (RFC 9051 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Anywhere,
    NotAuthenticated,
    Authenticated,
    Selected,
}

/// Begins a command. The tag is for answers that repeat it inside.
pub fn dispatch(turn: &mut Turn<'_, '_>, tag: &Tag, command: CommandBody) -> Outcome {
    let place = place_of(&command);
    match (place, &turn.shared.login) {
        (Where::Anywhere, _)
        | (Where::NotAuthenticated, Login::NotAuthenticated)
        | (Where::Authenticated, Login::Authenticated { .. } | Login::Selected { .. })
        | (Where::Selected, Login::Selected { .. }) => {}
        (Where::NotAuthenticated, Login::Authenticated { .. } | Login::Selected { .. }) => {
            return Outcome::Answer(Reply::bad("already logged in"));
        }
        (Where::Authenticated | Where::Selected, Login::NotAuthenticated) => {
            return Outcome::Answer(Reply::bad("log in first"));
        }
        (Where::Selected, Login::Authenticated { .. }) => {
            return Outcome::Answer(Turn::nothing_selected());
        }
    }
    let lost = turn.shared.view().is_some_and(|view| view.news == News::MasterLost);
    // UNSELECT only leaves: there is nothing to open for it.
    let leaves = matches!(command, CommandBody::Unselect);
    if place == Where::Selected && lost && !leaves {
        return Prepare::start(turn, tag.clone(), command);
    }
    begin(turn, tag, command)
}

fn place_of(command: &CommandBody) -> Where {
    match command {
        CommandBody::Capability | CommandBody::Noop | CommandBody::Logout | CommandBody::Id(_) => {
            Where::Anywhere
        }
        CommandBody::StartTls | CommandBody::Authenticate { .. } | CommandBody::Login { .. } => {
            Where::NotAuthenticated
        }
        CommandBody::Enable(_)
        | CommandBody::Select { .. }
        | CommandBody::Examine { .. }
        | CommandBody::Create { .. }
        | CommandBody::Delete { .. }
        | CommandBody::Rename { .. }
        | CommandBody::Subscribe { .. }
        | CommandBody::Unsubscribe { .. }
        | CommandBody::List(_)
        | CommandBody::Lsub { .. }
        | CommandBody::Namespace
        | CommandBody::Status { .. }
        | CommandBody::GetQuota { .. }
        | CommandBody::GetQuotaRoot { .. }
        | CommandBody::SetQuota { .. }
        | CommandBody::Idle => Where::Authenticated,
        CommandBody::Check
        | CommandBody::Close
        | CommandBody::Unselect
        | CommandBody::Expunge
        | CommandBody::UidExpunge { .. }
        | CommandBody::Search(_)
        | CommandBody::Fetch(_)
        | CommandBody::Store(_)
        | CommandBody::Copy { .. }
        | CommandBody::Move { .. } => Where::Selected,
    }
}

/// Begins a command whose state was judged.
pub fn begin(turn: &mut Turn<'_, '_>, tag: &Tag, command: CommandBody) -> Outcome {
    match command {
        CommandBody::Capability => on_capability(turn),
        CommandBody::Noop => Outcome::Answer(Reply::ok("NOOP completed")),
        CommandBody::Check => Outcome::Answer(Reply::ok("CHECK completed")),
        CommandBody::Logout => Outcome::Logout,
        CommandBody::Id(_) => on_id(turn),
        CommandBody::StartTls => on_start_tls(turn),
        CommandBody::Authenticate { mechanism, initial } => {
            AuthJob::start_authenticate(turn, &mechanism, initial.as_ref())
        }
        CommandBody::Login { username, password } => AuthJob::start_login(turn, username, password),
        CommandBody::Enable(names) => on_enable(turn, &names),
        CommandBody::Select { mailbox, params } => {
            SelectJob::start(turn, OpenMode::ReadWrite, (mailbox, params))
        }
        CommandBody::Examine { mailbox, params } => {
            SelectJob::start(turn, OpenMode::ReadOnly, (mailbox, params))
        }
        CommandBody::List(list) => ListJob::start_list(turn, list),
        CommandBody::Lsub { reference, pattern } => ListJob::start_lsub(turn, &reference, pattern),
        CommandBody::Namespace => {
            turn.shared.output.put("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
            Outcome::Answer(Reply::ok("NAMESPACE completed"))
        }
        CommandBody::GetQuota { root } => on_get_quota(turn, &root),
        CommandBody::SetQuota { .. } => {
            // RFC 9208 4.1.3: quotas are the operator's.
            Outcome::Answer(Reply::no("[NOPERM] quotas are set by the operator"))
        }
        CommandBody::Idle => IdleJob::start(turn),
        CommandBody::Close => CopyJob::start_close(turn),
        CommandBody::Unselect => {
            copy::leave(turn);
            Outcome::Answer(Reply::ok("UNSELECT completed"))
        }
        CommandBody::Expunge => CopyJob::start_expunge(turn, None),
        CommandBody::UidExpunge { uids } => CopyJob::start_expunge(turn, Some(&uids)),
        CommandBody::Search(search) => SearchJob::start(turn, tag, search),
        CommandBody::Fetch(fetch) => FetchJob::start(turn, &fetch),
        CommandBody::Store(store) => StoreJob::start(turn, store),
        CommandBody::Copy { numbering, set, mailbox } => {
            let kind = TransferKind::Copy;
            CopyJob::start_transfer(turn, Transfer { numbering, set, mailbox, kind })
        }
        CommandBody::Move { numbering, set, mailbox } => {
            let kind = TransferKind::Move;
            CopyJob::start_transfer(turn, Transfer { numbering, set, mailbox, kind })
        }
        folder @ (CommandBody::Create { .. }
        | CommandBody::Delete { .. }
        | CommandBody::Rename { .. }
        | CommandBody::Subscribe { .. }
        | CommandBody::Unsubscribe { .. }
        | CommandBody::Status { .. }
        | CommandBody::GetQuotaRoot { .. }) => {
            begin_on_folder(turn, folder).unwrap_or_else(|outcome| outcome)
        }
    }
}

/// Commands on folders by name. `Err`: the name is none.
fn begin_on_folder(turn: &mut Turn<'_, '_>, command: CommandBody) -> Result<Outcome, Outcome> {
    let (task, what) = match command {
        CommandBody::Create { mailbox, special_use } => {
            return Ok(on_create(turn, named(mailbox)?, special_use));
        }
        CommandBody::Delete { mailbox } => {
            let name = named(mailbox)?;
            if turn.shared.view().is_some_and(|view| view.name == name) {
                // The session deletes what it has open: it leaves first, so that the BYE is for
                // others.
                copy::leave(turn);
            }
            (UserTask::DeleteFolder { name }, What::Plain("DELETE"))
        }
        CommandBody::Rename { from, to } => {
            let (from, to) = (named(from)?, named(to)?);
            (UserTask::RenameFolder { from, to }, What::Plain("RENAME"))
        }
        CommandBody::Subscribe { mailbox } => {
            let name = named(mailbox)?;
            (UserTask::Subscribe { name, on: true }, What::Plain("SUBSCRIBE"))
        }
        CommandBody::Unsubscribe { mailbox } => {
            let name = named(mailbox)?;
            (UserTask::Subscribe { name, on: false }, What::Plain("UNSUBSCRIBE"))
        }
        CommandBody::Status { mailbox, items } => {
            let name = named(mailbox)?;
            (UserTask::Status { names: vec![name.clone()] }, What::Status { name, items })
        }
        CommandBody::GetQuotaRoot { mailbox } => {
            (UserTask::Quota, What::QuotaRoot { name: named(mailbox)? })
        }
        other => return Err(unexpected(&other)),
    };
    Ok(SingleJob::start(turn, task, what))
}

fn unexpected(command: &CommandBody) -> Outcome {
    debug_assert!(place_of(command) != Where::Anywhere, "sorted by `begin`");
    Outcome::Answer(Reply::bug())
}

fn on_capability(turn: &mut Turn<'_, '_>) -> Outcome {
    turn.shared.output.put("* CAPABILITY ");
    capability::put_capabilities(turn.shared);
    turn.shared.output.line();
    Outcome::Answer(Reply::ok("CAPABILITY completed"))
}

fn on_id(turn: &mut Turn<'_, '_>) -> Outcome {
    turn.shared
        .output
        .put("* ID (\"name\" \"Hikyaku\" \"version\" \"")
        .put(env!("CARGO_PKG_VERSION"))
        .put("\")\r\n");
    Outcome::Answer(Reply::ok("ID completed"))
}

fn on_start_tls(turn: &mut Turn<'_, '_>) -> Outcome {
    if !capability::may_start_tls(turn.shared) {
        return Outcome::Answer(Reply::bad("TLS can't be started here"));
    }
    Outcome::BeginTls
}

fn on_enable(turn: &mut Turn<'_, '_>, names: &[Enabled]) -> Outcome {
    let shared = &mut *turn.shared;
    let enabled = &mut shared.enabled;
    shared.output.put("* ENABLED");
    for name in names {
        match name {
            Enabled::CondStore => {
                enabled.condstore = true;
                shared.output.put(" CONDSTORE");
            }
            Enabled::QResync => {
                // RFC 7162 3.2.3: QRESYNC implies CONDSTORE.
                (enabled.condstore, enabled.qresync) = (true, true);
                shared.output.put(" QRESYNC");
            }
            Enabled::Utf8Accept => {
                enabled.utf8 = true;
                shared.framer.set_names(NameEncoding::Utf8);
                shared.output.put(" UTF8=ACCEPT");
            }
            // RFC 5161 3.1: what is not offered is passed over.
            Enabled::Imap4Rev2 => {}
        }
    }
    shared.output.line();
    debug_assert!(names::encoding(shared.enabled) == NameEncoding::Utf8 || !shared.enabled.utf8);
    Outcome::Answer(Reply::ok("ENABLE completed"))
}

fn on_get_quota(turn: &mut Turn<'_, '_>, root: &Bytes) -> Outcome {
    if !root.is_empty() {
        return Outcome::Answer(Reply::no("[NONEXISTENT] no such quota root"));
    }
    SingleJob::start(turn, UserTask::Quota, What::Quota)
}

fn on_create(
    turn: &mut Turn<'_, '_>,
    name: FolderName,
    special_use: Result<Vec<SpecialUse>, UnknownUse>,
) -> Outcome {
    let special_use = match special_use.as_deref() {
        Ok([]) => None,
        Ok([only]) => Some(*only),
        // RFC 6154 3: USEATTR.
        Ok(_) => return Outcome::Answer(Reply::no("[USEATTR] one use for a folder")),
        Err(error) => return Outcome::Answer(Reply::no(format!("[USEATTR] {error}"))),
    };
    SingleJob::start(turn, UserTask::CreateFolder { name, special_use }, What::Create)
}
