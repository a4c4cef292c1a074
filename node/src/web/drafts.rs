//! Drafts: a form in the store, and back.
//!
//! Each save takes the place of the one before in one batch. When that is not there any more, another window or program has changed or
//! sent the message meanwhile: then nothing is overwritten, and the person is told.

use super::asking::{Folder, unexpected};
use super::compose::{QUOTED, Writing, place_of, references, text_of};
use super::login::{Login, now};
use super::message::{mark, row_of};
use super::{Trouble, send};
use html::compose::{Attachment, Blind, Draft, MESSAGE_MEDIA, Recipients, Sender, message};
use html::date;
use html::envelope::{Address, Envelope, joined};
use html::structure::{Part, Plan};
use mailstore::face::{
    DirectoryDone, DirectoryTask, FolderId, Keyword, Section, SectionText, SpecialUse, SystemFlag,
    SystemFlags, Uid, UidSet, UserTask,
};

/// Bytes of a text that can be written. Our choice: a book; what is longer is a file.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// `Err` of it is for the person.
pub type Done<T> = Result<Result<T, String>, Trouble>;

const CHANGED_ELSEWHERE: &str = "This message was changed, sent or deleted in another window meanwhile. Your text stands below: \
                                 save or send it to have it as a message of its own.";

pub async fn saved_draft(login: &Login, uid: Uid) -> Result<Writing, Trouble> {
    let (_, folders) = login.folders().await?;
    let (folder, _) = login.folder_for(&folders, SpecialUse::Drafts).await?;
    let row = row_of(login, folder, uid).await?;
    let (envelope, plan) = (Envelope::read(&row.envelope), Plan::read(&row.structure));
    let text = match plan.shown.first() {
        Some(part) => text_of(login, (folder, uid), part, TEXT_BYTES_MAX as u64 + QUOTED).await?,
        None => String::new(),
    };
    let place = format!("{}.{}", folder.0, uid.0);
    let draft = Draft {
        from: envelope.from.first().map(|it| it.mailbox.clone()).unwrap_or_default(),
        to: joined(&envelope.to),
        cc: joined(&envelope.cc),
        bcc: joined(&envelope.bcc),
        subject: envelope.subject,
        text,
        in_reply_to: envelope.in_reply_to,
        references: references(login, (folder, uid)).await?,
        attachments: Vec::new(),
    };
    let kept = plan.attachments.iter().map(|part| format!("{place}.{}", part.number())).collect();
    Ok(Writing { draft, saved: Some(uid), kept, ..Writing::default() })
}

/// Base64 and headers take a third more.
pub fn attachments_max(login: &Login) -> u64 {
    login.web.control.message_bytes_max() / 4 * 3
}

/// An attachment that is in the store.
#[derive(Debug)]
pub struct Kept {
    at: (FolderId, Uid),
    pub name: String,
    media: String,
    pub bytes: u64,
    section: Section,
}

/// The attachment at `folder.uid.part`, or the message `folder.uid.message` itself; `None`: it is gone.
pub async fn kept(login: &Login, place: &str) -> Result<Option<Kept>, Trouble> {
    let mut fields = place.splitn(3, '.');
    let at = (fields.next(), fields.next(), fields.next());
    let (Some(folder), Some(uid), Some(number)) = at else { return Ok(None) };
    let Some(at) = place_of(&format!("{folder}.{uid}")) else { return Ok(None) };
    let row = match row_of(login, at.0, at.1).await {
        Ok(row) => row,
        Err(Trouble::NotFound(_)) => return Ok(None),
        Err(trouble) => return Err(trouble),
    };
    if number == "message" {
        let subject = Envelope::read(&row.envelope).subject;
        let name = if subject.is_empty() { "message".to_owned() } else { subject };
        let name = format!("{}.eml", name.replace(['/', '\\'], "-"));
        let media = MESSAGE_MEDIA.to_owned();
        return Ok(Some(Kept { at, name, media, bytes: row.bytes, section: Section::WHOLE }));
    }
    let Some(path) = Part::path_of(number) else { return Ok(None) };
    let plan = Plan::read(&row.structure);
    Ok(plan.find(&path).map(|part| Kept {
        at,
        name: part.name(),
        media: part.media.clone(),
        bytes: if part.media == MESSAGE_MEDIA { part.bytes } else { part.bytes / 4 * 3 },
        section: Section { part: part.path.clone(), text: SectionText::Binary },
    }))
}

/// The form with all its attachments, those in the store included.
pub async fn whole(login: &Login, writing: &Writing) -> Done<Draft> {
    if writing.draft.text.len() > TEXT_BYTES_MAX {
        let most = date::bytes(TEXT_BYTES_MAX as u64);
        return Ok(Err(format!("The text is too long: {most} at most. Attach it as a file.")));
    }
    let mut draft = writing.draft.clone();
    let most = attachments_max(login);
    let mut sum: u64 = draft.attachments.iter().map(|it| it.bytes.len() as u64).sum();
    for place in &writing.kept {
        let Some(kept) = kept(login, place).await? else {
            return Ok(Err("An attachment is gone: attach it again.".into()));
        };
        sum += kept.bytes;
        if sum > most {
            break;
        }
        let (bytes, _) = login.section(kept.at, kept.section, most).await?;
        draft.attachments.push(Attachment { name: kept.name, media: kept.media, bytes });
    }
    if sum > most {
        return Ok(Err(format!("The attachments are too large: {} at most.", date::bytes(most))));
    }
    Ok(Ok(draft))
}

/// Addresses that the user may choose to send from; that of the account comes first.
pub async fn senders(login: &Login) -> Result<Vec<Address>, Trouble> {
    let settings = login.settings().await?;
    let mut all =
        vec![Address { name: settings.display_name, mailbox: login.browser.address.clone() }];
    all.extend(
        settings.identities.into_iter().map(|it| Address { name: it.name, mailbox: it.address }),
    );
    Ok(all)
}

/// Whether the account may send as this address (RFC 6409 6.1).
pub async fn is_own(login: &Login, mailbox: &str) -> Result<bool, Trouble> {
    let (user, address) = (login.cookie.user, mailbox.to_owned().into());
    match login.directory(DirectoryTask::CheckSender { user, address }).await? {
        DirectoryDone::SenderChecked { allowed } => Ok(allowed),
        _ => Err(unexpected()),
    }
}

/// The sender of a form: one of those that the user has.
pub async fn sender(login: &Login, from: &str) -> Done<Sender> {
    let all = senders(login).await?;
    let chosen = |it: &&Address| it.mailbox.eq_ignore_ascii_case(from);
    let own = all.first().ok_or_else(unexpected)?;
    let from = all.iter().find(chosen).unwrap_or(own).clone();
    if !is_own(login, &from.mailbox).await? {
        let why = "the address is not one of yours any more: choose another sender";
        return Ok(Err(format!("{}: {why}.", from.mailbox)));
    }
    Ok(Ok(Sender { from, message_id: send::message_id(login)?, date: now() }))
}

/// Saves the form into Drafts in place of what was saved before.
pub async fn save(login: &Login, writing: &mut Writing, keywords: Vec<Keyword>) -> Done<Uid> {
    let draft = match whole(login, writing).await? {
        Ok(draft) => draft,
        Err(why) => return Ok(Err(why)),
    };
    let sender = match sender(login, &draft.from).await? {
        Ok(sender) => sender,
        Err(why) => return Ok(Err(why)),
    };
    // What is no address yet is kept as it was typed, as far as it goes.
    let read = |typed: &str| html::compose::addresses(typed).unwrap_or_default();
    let recipients = Recipients { to: read(&draft.to), cc: read(&draft.cc), bcc: read(&draft.bcc) };
    let bytes = message(&draft, &recipients, &sender, Blind::Shown);
    let (_, folders) = login.folders().await?;
    let (folder, name) = login.folder_for(&folders, SpecialUse::Drafts).await?;
    let flags = SystemFlags::default().with(SystemFlag::Draft).with(SystemFlag::Seen);
    let kept = send::Keeping { flags, keywords, message: bytes, date: None };
    let uid = match writing.saved {
        None => send::keep(login, name, kept).await?,
        Some(before) => match send::replace(login, (folder, before), kept).await? {
            Some(uid) => uid,
            None => {
                writing.saved = None;
                return Ok(Err(CHANGED_ELSEWHERE.into()));
            }
        },
    };
    writing.saved = Some(uid);
    // From now on the files are those of the saved draft.
    writing.draft.attachments.clear();
    let plan = Plan::read(&row_of(login, folder, uid).await?.structure);
    let place = |part: &Part| format!("{}.{}.{}", folder.0, uid.0, part.number());
    writing.kept = plan.attachments.iter().map(place).collect();
    Ok(Ok(uid))
}

/// Whether the saved form is still there: else it was sent or changed elsewhere.
pub async fn still_there(login: &Login, writing: &mut Writing) -> Done<()> {
    let Some(uid) = writing.saved else { return Ok(Ok(())) };
    let (_, folders) = login.folders().await?;
    let (folder, _) = login.folder_for(&folders, SpecialUse::Drafts).await?;
    match row_of(login, folder, uid).await {
        Ok(_) => Ok(Ok(())),
        Err(Trouble::NotFound(_)) => {
            writing.saved = None;
            Ok(Err(CHANGED_ELSEWHERE.into()))
        }
        Err(trouble) => Err(trouble),
    }
}

/// Deletes a saved draft.
pub async fn forget(login: &Login, saved: Option<Uid>) -> Result<(), Trouble> {
    let Some(uid) = saved else { return Ok(()) };
    let (_, folders) = login.folders().await?;
    let drafts = folders.iter().find(|it| it.special_use == Some(SpecialUse::Drafts));
    let Some(Folder { id, .. }) = drafts else { return Ok(()) };
    mark(login, (*id, uid), SystemFlag::Deleted).await?;
    let uids = Some(UidSet::from_iter([uid]));
    login.user(UserTask::Expunge { folder: *id, uids }).await.map(drop)
}
