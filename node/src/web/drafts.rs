//! Drafts: a form in the store, and back.
//!
//! Each save takes the place of the one before in one batch. When that is not there any more, another window or program has changed or
//! sent the message meanwhile: then nothing is overwritten, and the person is told. The exception is a save of the same window whose
//! answer was lost, with a node or a connection: its Message-ID tells it, and it is gone on with ([`catch_up`]).

use super::asking::{Folder, unexpected};
use super::compose::{QUOTED, Writing, place_of, references};
use super::conversation::found;
use super::login::{Login, now};
use super::message::{mark, row_of};
use super::{Trouble, send};
use html::compose::{Attachment, Blind, Draft, MESSAGE_MEDIA, Recipients, Sender, message};
use html::date;
use html::envelope::{Address, Envelope, joined};
use html::pages::KeptLine;
use html::reading::rich;
use html::structure::{Part, Plan};
use mailstore::face::{
    Criteria, DirectoryDone, DirectoryTask, FolderId, Keyword, Section, SectionText, SpecialUse,
    SystemFlag, SystemFlags, Uid, UidSet, UserTask,
};
use std::hash::{DefaultHasher, Hash, Hasher};

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
    let (text, html) = match plan.shown.first() {
        Some(part) => written(login, (folder, uid), part).await?,
        None => (String::new(), None),
    };
    let draft = Draft {
        from: envelope.from.first().map(|it| it.mailbox.clone()).unwrap_or_default(),
        to: joined(&envelope.to),
        cc: joined(&envelope.cc),
        bcc: joined(&envelope.bcc),
        subject: envelope.subject,
        text,
        html,
        in_reply_to: envelope.in_reply_to,
        references: references(login, (folder, uid)).await?,
        attachments: Vec::new(),
    };
    let kept = plan.attachments.iter().map(|part| place_in((folder, uid), part)).collect();
    Ok(Writing { draft, saved: Some(uid), kept, ..Writing::default() })
}

/// Where an attachment of a draft is, and its name and size: by these it is found in the draft that takes the place of this one.
fn place_in((folder, uid): (FolderId, Uid), part: &Part) -> String {
    let mut hasher = DefaultHasher::new();
    (part.name(), &part.media).hash(&mut hasher);
    let (number, name) = (part.number(), hasher.finish());
    format!("{}.{}.{number}-{name:016x}-{}", folder.0, uid.0, part.bytes)
}

/// The text of a draft in its form: with markup, and what it says without, or plain.
async fn written(
    login: &Login,
    at: (FolderId, Uid),
    part: &Part,
) -> Result<(String, Option<String>), Trouble> {
    let section = Section { part: part.path.clone(), text: SectionText::Binary };
    let (bytes, _) = login.section(at, section, TEXT_BYTES_MAX as u64 + QUOTED).await?;
    Ok(match html::shown::writable(&bytes, part) {
        Some(html) => (rich::text(&html), Some(html)),
        None => (html::shown::plain(&bytes, part), None),
    })
}

/// Base64 and headers take a third more.
pub fn attachments_max(login: &Login) -> u64 {
    login.web.control.message_bytes_max() / 4 * 3
}

/// An attachment that is in the store.
#[derive(Debug)]
struct Kept {
    at: (FolderId, Uid),
    name: String,
    media: String,
    bytes: u64,
    section: Section,
}

/// The attachment at `folder.uid.part` (what [`place_in`] adds says nothing here), or the message `folder.uid.message` itself; `None`: it is gone.
async fn kept(login: &Login, place: &str) -> Result<Option<Kept>, Trouble> {
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
    let number = number.split('-').next().unwrap_or_default();
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

/// Those of the attachments that are still there, as a page shows them.
pub async fn kept_lines(login: &Login, places: &[String]) -> Result<Vec<KeptLine>, Trouble> {
    let mut lines = Vec::new();
    for place in places {
        if let Some(Kept { name, bytes, .. }) = kept(login, place).await? {
            lines.push(KeptLine { place: place.clone(), name, size: date::bytes(bytes), bytes });
        }
    }
    Ok(lines)
}

/// The form with all its attachments, those in the store included.
pub async fn whole(login: &Login, writing: &Writing) -> Done<Draft> {
    let html = writing.draft.html.as_ref().map_or(0, String::len);
    if writing.draft.text.len().max(html) > TEXT_BYTES_MAX {
        let most = date::bytes(TEXT_BYTES_MAX as u64);
        return Ok(Err(format!("The text is too long: {most} at most. Attach it as a file.")));
    }
    let mut draft = writing.draft.clone();
    let most = attachments_max(login);
    // Those of before come first: the script counts on it.
    let fresh = std::mem::take(&mut draft.attachments);
    let mut sum: u64 = fresh.iter().map(|it| it.bytes.len() as u64).sum();
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
    draft.attachments.extend(fresh);
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
    let mut sender = match sender(login, &draft.from).await? {
        Ok(sender) => sender,
        Err(why) => return Ok(Err(why)),
    };
    if !writing.window.is_empty() {
        sender.message_id.clone_from(&writing.window);
    }
    // What is no address yet is kept as it was typed, as far as it goes.
    let read = |typed: &str| html::compose::addresses(typed).unwrap_or_default();
    let recipients = Recipients { to: read(&draft.to), cc: read(&draft.cc), bcc: read(&draft.bcc) };
    let bytes = message(&draft, &recipients, &sender, Blind::Shown);
    let (_, folders) = login.folders().await?;
    let (folder, name) = login.folder_for(&folders, SpecialUse::Drafts).await?;
    let flags = SystemFlags::default().with(SystemFlag::Draft).with(SystemFlag::Seen);
    let kept = send::Keeping { flags, keywords, message: bytes, date: None };
    let uid = match now_at(login, folder, writing).await? {
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
    writing.kept = plan.attachments.iter().map(|part| place_in((folder, uid), part)).collect();
    Ok(Ok(uid))
}

/// Goes on from a save whose answer was lost: the draft is the one it made, and attachments are those in it.
pub async fn catch_up(login: &Login, writing: &mut Writing) -> Result<(), Trouble> {
    let (_, folders) = login.folders().await?;
    let drafts = folders.iter().find(|it| it.special_use == Some(SpecialUse::Drafts));
    let Some(&Folder { id, .. }) = drafts else { return Ok(()) };
    let Some(now) = now_at(login, id, writing).await?.filter(|now| Some(*now) != writing.saved)
    else {
        return Ok(());
    };
    let row = match row_of(login, id, now).await {
        Ok(row) => row,
        Err(Trouble::NotFound(_)) => return Ok(()),
        Err(trouble) => return Err(trouble),
    };
    if let Some(before) = writing.saved.replace(now) {
        let plan = Plan::read(&row.structure);
        let places = plan.attachments.iter().map(|part| place_in((id, now), part)).collect();
        follow(&mut writing.kept, &format!("{}.{}.", id.0, before.0), places);
    }
    Ok(())
}

/// Finds attachments that were in the draft of before among those of the draft that took its place: one of the same name and
/// size, or the only one of its name.
fn follow(kept: &mut [String], before: &str, mut places: Vec<String>) {
    let marks = |place: &str| place.split_once('-').map(|(_, marks)| marks.to_owned());
    let name = |place: &str| Some(marks(place)?.split_once('-')?.0.to_owned());
    for place in kept.iter_mut().filter(|place| place.starts_with(before)) {
        let same = places.iter().position(|it| marks(it).is_some() && marks(it) == marks(place));
        let mut named = places.iter().enumerate().filter(|(_, it)| name(it) == name(place));
        let only = named.next().filter(|_| named.next().is_none()).map(|(at, _)| at);
        if let Some(at) = same.or(only) {
            *place = places.remove(at);
        }
    }
}

/// Where the saved form is now, as far as it is known.
async fn now_at(
    login: &Login,
    folder: FolderId,
    writing: &Writing,
) -> Result<Option<Uid>, Trouble> {
    if let Some(saved) = writing.saved
        && is_there(login, folder, saved).await?
    {
        return Ok(Some(saved));
    }
    if writing.window.is_empty() {
        return Ok(writing.saved);
    }
    let text = bytes::Bytes::from(writing.window.clone());
    let own = Criteria::Header { name: bytes::Bytes::from_static(b"Message-ID"), text };
    Ok(found(login, folder, own).await?.last().or(writing.saved))
}

async fn is_there(login: &Login, folder: FolderId, uid: Uid) -> Result<bool, Trouble> {
    match row_of(login, folder, uid).await {
        Ok(_) => Ok(true),
        Err(Trouble::NotFound(_)) => Ok(false),
        Err(trouble) => Err(trouble),
    }
}

/// Whether the saved form is still there: else it was sent or changed elsewhere.
pub async fn still_there(login: &Login, writing: &mut Writing) -> Done<()> {
    if writing.saved.is_none() {
        return Ok(Ok(()));
    }
    let (_, folders) = login.folders().await?;
    let (folder, _) = login.folder_for(&folders, SpecialUse::Drafts).await?;
    writing.saved = now_at(login, folder, writing).await?;
    match writing.saved {
        Some(uid) if is_there(login, folder, uid).await? => Ok(Ok(())),
        _ => {
            writing.saved = None;
            Ok(Err(CHANGED_ELSEWHERE.into()))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, name: &str, bytes: u64) -> Part {
        Part { path: vec![number], file_name: name.to_owned(), bytes, ..Part::default() }
    }

    fn places(uid: u32, parts: &[(&str, u64)]) -> Vec<String> {
        let numbered = (2..).zip(parts);
        let at = (FolderId(4), Uid(uid));
        numbered.map(|(number, (name, bytes))| place_in(at, &part(number, name, *bytes))).collect()
    }

    #[test]
    fn attachments_are_found_in_the_draft_that_took_the_place() {
        let mut kept = places(7, &[("a", 10), ("b", 10), ("b", 20)]);
        let other = "4.71.2".to_owned();
        // The first was taken off in the save whose answer was lost, the second since.
        kept.remove(1);
        kept.push(other.clone());
        let now = places(8, &[("b", 10), ("b", 20), ("c", 5)]);
        let (gone, found) = (kept[0].clone(), now[1].clone());
        follow(&mut kept, "4.7.", now);
        assert_eq!(kept, [gone, found, other]);
        // Another program wrote it, in lines of another length.
        let mut kept = places(7, &[("a", 10)]);
        follow(&mut kept, "4.7.", places(8, &[("a", 11), ("b", 10)]));
        assert_eq!(kept, places(8, &[("a", 11)]));
    }
}
