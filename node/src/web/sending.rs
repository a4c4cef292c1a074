//! Send: at once, or in a moment, so that it can be called back.
//!
//! A message that is held stands in Drafts with the keyword `$SubmitPending` (RFC 5550 5.10) until somebody takes that away: whoever does,
//! the one who sends or the one who calls back, has the message. The master lets one of them. A node that stops sends what it
//! holds; when it dies, the message is still in Drafts, and is not sent.

use super::asking::unexpected;
use super::compose::{Writing, front, place_of, written};
use super::drafts::{Done, forget, save, saved_draft, sender, still_there, whole};
use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::message::mark;
use super::{Trouble, contacts, deciding, page as shown, see, send};
use crate::admin::OwnSession;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use html::compose::{Blind, Draft, Recipients, Sender, forgot_attachment, message};
use html::envelope::Address;
use html::pages::{HeldPage, Notice};
use mailstore::face::{
    AskedMailbox, Decision, Filing, FlagChange, FolderName, Keyword, SpecialUse, SystemFlag,
    SystemFlags, Uid, UidSet, UserDone, UserTask,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Messages that one node holds at once; beyond it they go at once. Our choice: what is held are numbers, not messages.
pub const HELD_MAX: u32 = 4096;

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Whole,
    /// Delivered; but the own copy, or a flag, could not be kept.
    NotNoted,
}

fn pending() -> Vec<Keyword> {
    Keyword::new(b"$SubmitPending").into_iter().collect()
}

/// Send was pressed.
pub async fn submit(login: Login, mut writing: Writing) -> Result<Response, Trouble> {
    if !writing.warned && writing.kept.is_empty() && forgot_attachment(&writing.draft) {
        writing.warned = true;
        let text =
            "The text speaks of an attachment, and there is none. Send again if that is right.";
        return written(&login, writing, Some(Notice::failed(text))).await;
    }
    let seconds = login.settings().await?.undo_seconds;
    let room = match seconds {
        0 => None,
        _ => Arc::clone(&login.web.holding).try_acquire_owned().ok(),
    };
    let done = match room {
        Some(room) => hold(&login, &mut writing, (seconds, room)).await?,
        None => send_message(&login, &mut writing, None).await?.map(|sent| {
            let told = if sent == Sent::Whole { "sent" } else { "unkept" };
            (told, None)
        }),
    };
    match done {
        Ok((told, None)) => front(&login, told).await,
        Ok((_, Some(uid))) => held_page(&login, &writing, (uid, seconds)).await,
        Err(why) => {
            // Files can't stand in a form: they are kept in the draft.
            let why = match save(&login, &mut writing, Vec::new()).await? {
                Ok(_) => why,
                Err(also) if also == why => why,
                Err(also) => format!("{why} {also}"),
            };
            written(&login, writing, Some(Notice::failed(why))).await
        }
    }
}

/// A message that can leave.
struct Outgoing {
    draft: Draft,
    recipients: Recipients,
    targets: Vec<AskedMailbox>,
    sender: Sender,
}

impl Outgoing {
    fn written(&self, blind: Blind) -> Vec<u8> {
        message(&self.draft, &self.recipients, &self.sender, blind)
    }
}

/// What it looks like to its recipients, and what is done with their copies.
struct Decided {
    message: Bytes,
    /// As extensions said it.
    said: Vec<Decision>,
    targets: Vec<(AskedMailbox, Filing)>,
}

/// The last that may refuse it. `said`: it was decided about already.
async fn decided(
    login: &Login,
    outgoing: &Outgoing,
    said: Option<Vec<Decision>>,
) -> Result<Decided, String> {
    let message = Bytes::from(outgoing.written(Blind::Hidden));
    if message.len() as u64 > login.web.control.message_bytes_max() {
        return Err("The message is too large.".into());
    }
    let targets = &outgoing.targets;
    let said = match said {
        Some(said) => said,
        None => {
            let from = (login.browser.address.as_str(), targets.as_slice());
            deciding::ask(login, from, message.clone()).await
        }
    };
    let filings = deciding::filings(targets, &said)?;
    Ok(Decided { message, said, targets: targets.iter().cloned().zip(filings).collect() })
}

/// Everything that can be found wrong before anything is sent.
async fn checked(login: &Login, writing: &mut Writing) -> Done<Outgoing> {
    let recipients = match Recipients::read(&writing.draft) {
        Ok(recipients) => recipients,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = still_there(login, writing).await? {
        return Ok(Err(why));
    }
    let targets = match send::targets(login, &recipients).await? {
        Ok(targets) => targets,
        Err(why) => return Ok(Err(why)),
    };
    let sender = match sender(login, &writing.draft.from).await? {
        Ok(sender) => sender,
        Err(why) => return Ok(Err(why)),
    };
    let draft = match whole(login, writing).await? {
        Ok(draft) => draft,
        Err(why) => return Ok(Err(why)),
    };
    Ok(Ok(Outgoing { draft, recipients, targets, sender }))
}

/// The inner error: nothing was sent. `said`: it was decided about already.
async fn send_message(
    login: &Login,
    writing: &mut Writing,
    said: Option<Vec<Decision>>,
) -> Done<Sent> {
    let outgoing = match checked(login, writing).await? {
        Ok(outgoing) => outgoing,
        Err(why) => return Ok(Err(why)),
    };
    let Decided { message, targets, .. } = match decided(login, &outgoing, said).await {
        Ok(decided) => decided,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = send::deliver(login, message, &targets).await? {
        return Ok(Err(why));
    }
    // It is sent: from here on nothing may look as if it were not.
    let noted = note_sent(login, writing, outgoing.written(Blind::Shown)).await;
    // The address book is a convenience.
    let _learnt = contacts::learn(login, outgoing.recipients.iter()).await;
    Ok(Ok(match noted {
        Ok(()) => Sent::Whole,
        Err(trouble) => {
            let user = login.browser.address.clone();
            let fields = vec![("user", user), ("reason", format!("{trouble:?}"))];
            crate::log::note(crate::config::LogLevel::Warn, "sent, but not all was noted", fields);
            Sent::NotNoted
        }
    }))
}

/// The own copy; the draft goes; what was answered says so.
async fn note_sent(login: &Login, writing: &Writing, copy: Vec<u8>) -> Result<(), Trouble> {
    let (_, folders) = login.folders().await?;
    let (_, name) = login.folder_for(&folders, SpecialUse::Sent).await?;
    let flags = SystemFlags::default().with(SystemFlag::Seen);
    let kept = send::Keeping { flags, keywords: Vec::new(), message: copy, date: None };
    send::keep(login, name, kept).await?;
    forget(login, writing.saved).await?;
    if let Some(at) = place_of(&writing.answers) {
        mark(login, at, SystemFlag::Answered).await?;
    }
    if let Some((folder, uid)) = place_of(&writing.forwards) {
        let keywords = Keyword::new(b"$Forwarded").into_iter().collect();
        let task = UserTask::Store {
            folder,
            uids: UidSet::from_iter([uid]),
            change: FlagChange::Add,
            flags: SystemFlags::default(),
            keywords,
            unchanged_since: None,
        };
        login.user(task).await?;
    }
    Ok(())
}

/// Keeps the message in Drafts for so many seconds, then sends it. It is decided about before, while there is a page to say so.
async fn hold(
    login: &Login,
    writing: &mut Writing,
    (seconds, room): (u8, OwnedSemaphorePermit),
) -> Done<(&'static str, Option<Uid>)> {
    let outgoing = match checked(login, writing).await? {
        Ok(outgoing) => outgoing,
        Err(why) => return Ok(Err(why)),
    };
    let said = match decided(login, &outgoing, None).await {
        Ok(decided) => decided.said,
        Err(why) => return Ok(Err(why)),
    };
    let uid = match save(login, writing, pending()).await? {
        Ok(uid) => uid,
        Err(why) => return Ok(Err(why)),
    };
    let sender = Login {
        web: Arc::clone(&login.web),
        own: OwnSession::open(&login.web.control),
        cookie: login.cookie.clone(),
        browser: login.browser.clone(),
        came: login.came,
    };
    let held = Held { answers: writing.answers.clone(), forwards: writing.forwards.clone(), said };
    tokio::spawn(async move {
        let _room = room;
        let mut stopped = sender.web.stopped.clone();
        // A node that stops sends at once: nobody would later.
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds.into())) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        release(&sender, uid, held).await;
    });
    Ok(Ok(("held", Some(uid))))
}

/// Takes a held message: true for one alone of all who try.
async fn take(login: &Login, uid: Uid) -> Result<bool, Trouble> {
    let (_, folders) = login.folders().await?;
    let (folder, _) = login.folder_for(&folders, SpecialUse::Drafts).await?;
    let task = UserTask::Store {
        folder,
        uids: UidSet::from_iter([uid]),
        change: FlagChange::Remove,
        flags: SystemFlags::default(),
        keywords: pending(),
        unchanged_since: None,
    };
    match login.user(task).await? {
        UserDone::Stored(stored) => Ok(stored.changed.contains(uid)),
        _ => Err(unexpected()),
    }
}

/// What is remembered of a held message beside its draft.
struct Held {
    answers: String,
    forwards: String,
    said: Vec<Decision>,
}

async fn release(login: &Login, uid: Uid, held: Held) {
    let done = async {
        if !take(login, uid).await? {
            return Ok(Ok(Sent::Whole));
        }
        let mut writing = saved_draft(login, uid).await?;
        (writing.answers, writing.forwards) = (held.answers, held.forwards);
        send_message(login, &mut writing, Some(held.said)).await
    };
    let why = match done.await {
        Ok(Ok(Sent::Whole)) => return,
        Ok(Ok(Sent::NotNoted)) => {
            "The message was sent, but its copy in Sent could not be kept, or the draft could not be removed.".to_owned()
        }
        Ok(Err(why)) => why,
        Err(trouble) => format!("Nothing was sent: {}", trouble.text()),
    };
    let fields = vec![("user", login.browser.address.clone()), ("reason", why.clone())];
    crate::log::note(crate::config::LogLevel::Warn, "a held message", fields);
    // The page is gone: the person reads of it where mail is read.
    let _told = tell(login, &why).await;
}

/// A word to the user, as a message in the inbox.
async fn tell(login: &Login, why: &str) -> Result<(), Trouble> {
    let mailbox = login.browser.address.clone();
    let own = Address { name: String::new(), mailbox: mailbox.clone() };
    let domain = mailbox.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let from = Address { name: "Webmail".into(), mailbox: format!("postmaster@{domain}") };
    let draft = Draft {
        subject: "A message of yours".into(),
        text: format!("{why}\n\nThe message is in Drafts: open it there to send it again.\n"),
        ..Draft::default()
    };
    let recipients = Recipients { to: vec![own], ..Recipients::default() };
    let message_id = send::message_id(login)?;
    let sender = Sender { from, message_id, date: super::login::now() };
    let text = message(&draft, &recipients, &sender, Blind::Hidden);
    let flags = SystemFlags::default();
    let kept = send::Keeping { flags, keywords: Vec::new(), message: text, date: None };
    send::keep(login, FolderName::inbox(), kept).await.map(drop)
}

async fn held_page(
    login: &Login,
    writing: &Writing,
    (uid, seconds): (Uid, u8),
) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Sending · Hikyaku".into();
    let inbox = folders.iter().find(|it| it.name.is_inbox()).ok_or_else(unexpected)?;
    let back = format!("/f/{}", inbox.id.0);
    let subject = match writing.draft.subject.trim() {
        "" => "(no subject)".to_owned(),
        subject => subject.to_owned(),
    };
    // Without a script too: on to the inbox once there is nothing left to call back.
    let refresh = format!("{}; url={back}?told=sent", u32::from(seconds) + 1);
    let page = shown(&HeldPage { frame, draft_uid: uid.0, subject, seconds, back })?;
    Ok(([("refresh", refresh)], page).into_response())
}

/// Undo was pressed.
pub async fn undo(login: Login, body: Bytes) -> Result<Response, Trouble> {
    let form = Fields::of_form(&login, &body)?;
    let uid = Uid(form.number("draft").unwrap_or_default());
    if take(&login, uid).await? {
        return Ok(see(&format!("/compose?draft={}", uid.0)));
    }
    front(&login, "gone-out").await
}
