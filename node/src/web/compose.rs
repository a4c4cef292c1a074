//! Writing: the form, drafts, sending.

use super::asking::{Folder, unexpected};
use super::form::Fields;
use super::list::frame;
use super::login::{Login, now};
use super::message::{mark, row_of};
use super::{Shared, Trouble, contacts, page as shown, query_of, see, send};
use axum::extract::{Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use html::compose::{
    Answer, Attachment, Blind, Draft, Recipients, Sender, answer, forgot_attachment, message,
};
use html::date::{self, Dates};
use html::envelope::{Address, Envelope, joined};
use html::pages::{ComposePage, Notice};
use html::structure::{Part, Plan};
use mailstore::face::{
    FlagChange, FolderId, Section, SectionText, SpecialUse, SystemFlag, SystemFlags, Uid, UidSet,
    UserTask,
};

/// Bytes of a text that an answer quotes.
const QUOTED_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a draft's text.
const DRAFT_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a header that are read for References.
const HEADER_BYTES_MAX: u64 = 64 * 1024;

/// A form on its way to a page or out of it.
#[derive(Debug, Default)]
struct Writing {
    draft: Draft,
    /// The saved form of it.
    saved: Option<Uid>,
    /// `folder.uid` of what it answers, and of what it forwards.
    answers: String,
    forwards: String,
    /// Attachments that are in the store: `folder.uid.part`.
    kept: Vec<String>,
    warned: bool,
}

pub async fn page(login: Login, request: Request) -> Result<Response, Trouble> {
    let fields = query_of(&request);
    let writing = begin(&login, &fields).await?;
    written(&login, writing, None).await
}

/// The form as a link asks for it.
async fn begin(login: &Login, fields: &Fields) -> Result<Writing, Trouble> {
    let settings = login.settings().await?;
    let signature = if settings.signature.trim().is_empty() {
        String::new()
    } else {
        format!("\n\n-- \n{}", settings.signature.trim_end())
    };
    for (name, how) in
        [("reply", Answer::Reply), ("all", Answer::ReplyAll), ("forward", Answer::Forward)]
    {
        let Some(at) = place_of(fields.get(name)) else { continue };
        let mut writing = answered(login, at, how, &settings.time_zone).await?;
        writing.draft.text = format!("{signature}{}", writing.draft.text);
        return Ok(writing);
    }
    if let Some(uid) = fields.number("draft") {
        return saved_draft(login, Uid(uid)).await;
    }
    let mut draft = Draft { text: signature, ..Draft::default() };
    // RFC 6068: what a `mailto:` link may name.
    let mailto = fields.get("mailto");
    let (to, more) = mailto
        .strip_prefix("mailto:")
        .unwrap_or(mailto)
        .split_once('?')
        .unwrap_or((mailto.strip_prefix("mailto:").unwrap_or(mailto), ""));
    let more = Fields::read(more.replace('+', "%2B").as_bytes());
    let of = |name: &str| {
        let found = fields.get(name);
        if found.is_empty() { more.get(name).to_owned() } else { found.to_owned() }
    };
    let decoded = Fields::read(format!("to={}", to.replace('+', "%2B")).as_bytes());
    draft.to = [decoded.get("to"), of("to").as_str()]
        .iter()
        .filter(|it| !it.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    (draft.cc, draft.bcc, draft.subject) = (of("cc"), of("bcc"), of("subject"));
    draft.text = format!("{}{}", of("body").replace("\r\n", "\n"), draft.text);
    Ok(Writing { draft, ..Writing::default() })
}

/// `folder.uid`.
fn place_of(text: &str) -> Option<(FolderId, Uid)> {
    let (folder, uid) = text.split_once('.')?;
    Some((FolderId(folder.parse().ok()?), Uid(uid.parse().ok()?)))
}

async fn answered(
    login: &Login,
    (folder, uid): (FolderId, Uid),
    how: Answer,
    zone: &str,
) -> Result<Writing, Trouble> {
    let row = row_of(login, folder, uid).await?;
    let (envelope, plan) = (Envelope::read(&row.envelope), Plan::read(&row.structure));
    let text = match plan.shown.first() {
        Some(part) => text_of(login, (folder, uid), part, QUOTED_BYTES_MAX).await?,
        None => String::new(),
    };
    let dates = Dates { zone: date::zone(zone), now: jiff::Timestamp::now() };
    let references = references(login, (folder, uid)).await?;
    let own = [login.browser.address.clone()];
    let date = dates.long(row.internal_date);
    let draft = answer(how, (&envelope, &references), (&text, &date), &own);
    let place = format!("{}.{}", folder.0, uid.0);
    Ok(match how {
        Answer::Forward => Writing {
            draft,
            kept: plan
                .attachments
                .iter()
                .map(|part| format!("{place}.{}", part.number()))
                .collect(),
            forwards: place,
            ..Writing::default()
        },
        Answer::Reply | Answer::ReplyAll => Writing { draft, answers: place, ..Writing::default() },
    })
}

async fn text_of(
    login: &Login,
    at: (FolderId, Uid),
    part: &Part,
    most: u64,
) -> Result<String, Trouble> {
    let section = Section { part: part.path.clone(), text: SectionText::Binary };
    let (bytes, _) = login.section(at, section, most).await?;
    Ok(html::shown::plain(&bytes, part))
}

/// The References of a message.
async fn references(login: &Login, at: (FolderId, Uid)) -> Result<String, Trouble> {
    let names = vec![bytes::Bytes::from_static(b"References")];
    let text = SectionText::HeaderFields { names, not: false };
    let section = Section { part: Vec::new(), text };
    let (bytes, _) = login.section(at, section, HEADER_BYTES_MAX).await?;
    let text = String::from_utf8_lossy(&bytes);
    let ids = text.split_whitespace().filter(|word| word.starts_with('<') && word.ends_with('>'));
    Ok(ids.collect::<Vec<_>>().join(" "))
}

async fn saved_draft(login: &Login, uid: Uid) -> Result<Writing, Trouble> {
    let (_, folders) = login.folders().await?;
    let (folder, _) = login.folder_for(&folders, SpecialUse::Drafts).await?;
    let row = row_of(login, folder, uid).await?;
    let (envelope, plan) = (Envelope::read(&row.envelope), Plan::read(&row.structure));
    let text = match plan.shown.first() {
        Some(part) => text_of(login, (folder, uid), part, DRAFT_BYTES_MAX).await?,
        None => String::new(),
    };
    let place = format!("{}.{}", folder.0, uid.0);
    let draft = Draft {
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

/// The page of a form.
async fn written(
    login: &Login,
    writing: Writing,
    notice: Option<Notice>,
) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "New message · Hikyaku".into();
    frame.notice = notice;
    let mut kept = Vec::new();
    for place in &writing.kept {
        if let Some((_, part)) = kept_part(login, place).await? {
            kept.push((place.clone(), part.name(), date::bytes(part.bytes / 4 * 3)));
        }
    }
    let from = Address { name: settings.display_name, mailbox: login.browser.address.clone() };
    shown(&ComposePage {
        frame,
        from: from.full(),
        draft: writing.draft,
        draft_uid: writing.saved.map_or(0, |uid| uid.0),
        answers: writing.answers,
        forwards: writing.forwards,
        kept,
        attachment_limit: date::bytes(attachments_max(login)),
        warned: writing.warned,
    })
}

/// Base64 and headers take a third more.
fn attachments_max(login: &Login) -> u64 {
    login.web.control.message_bytes_max() / 4 * 3
}

/// An attachment that is in the store; `None`: it is gone.
async fn kept_part(login: &Login, place: &str) -> Result<Option<((FolderId, Uid), Part)>, Trouble> {
    let mut fields = place.splitn(3, '.');
    let at = (fields.next(), fields.next(), fields.next());
    let (Some(folder), Some(uid), Some(number)) = at else { return Ok(None) };
    let at = place_of(&format!("{folder}.{uid}"));
    let (Some(at), Some(path)) = (at, Part::path_of(number)) else { return Ok(None) };
    match row_of(login, at.0, at.1).await {
        Ok(row) => Ok(Plan::read(&row.structure).find(&path).cloned().map(|part| (at, part))),
        Err(Trouble::NotFound(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

pub async fn submit(
    State(web): Shared,
    login: Login,
    form: Multipart,
) -> Result<Response, Trouble> {
    let busy = || Trouble::Later("Too many messages with files come in at once.".into());
    let _room = web.uploads.try_acquire().map_err(|_| busy())?;
    let (fields, mut writing) = read(&login, form).await?;
    match fields.get("do") {
        "discard" => {
            forget(&login, writing.saved).await?;
            front(&login, "discarded").await
        }
        "save" => match save(&login, &mut writing).await? {
            Ok(_) => front(&login, "saved").await,
            Err(why) => written(&login, writing, Some(Notice::failed(why))).await,
        },
        "autosave" => {
            let (status, text) = match save(&login, &mut writing).await? {
                Ok(uid) => (StatusCode::OK, format!("{{\"draft\":{}}}", uid.0)),
                Err(why) => {
                    (StatusCode::BAD_REQUEST, serde_json::json!({ "error": why }).to_string())
                }
            };
            Ok((status, [(header::CONTENT_TYPE, "application/json")], text).into_response())
        }
        "send" => submit_message(&login, writing).await,
        _ => Err(Trouble::Wrong("No such thing can be done with a message.".into())),
    }
}

async fn submit_message(login: &Login, mut writing: Writing) -> Result<Response, Trouble> {
    if !writing.warned && writing.kept.is_empty() && forgot_attachment(&writing.draft) {
        writing.warned = true;
        let text =
            "The text speaks of an attachment, and there is none. Send again if that is right.";
        return written(login, writing, Some(Notice::failed(text))).await;
    }
    match send_message(login, &mut writing).await? {
        Ok(()) => front(login, "sent").await,
        Err(why) => {
            // Files can't stand in a form: they are kept in the draft.
            let why = match save(login, &mut writing).await? {
                Ok(_) => why,
                Err(also) => format!("{why} {also}"),
            };
            written(login, writing, Some(Notice::failed(why))).await
        }
    }
}

/// Back to the inbox, with a word.
async fn front(login: &Login, told: &str) -> Result<Response, Trouble> {
    let (_, folders) = login.folders().await?;
    let inbox = folders.iter().find(|folder| folder.name.is_inbox()).ok_or_else(unexpected)?;
    Ok(see(&format!("/f/{}?told={told}", inbox.id.0)))
}

/// Reads the form, files and all.
async fn read(login: &Login, mut form: Multipart) -> Result<(Fields, Writing), Trouble> {
    let broken = |error: axum::extract::multipart::MultipartError| {
        Trouble::Wrong(format!("The form did not arrive whole: {}.", error.body_text()))
    };
    let (mut fields, mut attachments) = (Fields::default(), Vec::new());
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            let file_name = field.file_name().unwrap_or_default().to_owned();
            let media = field.content_type().unwrap_or("application/octet-stream").to_owned();
            let bytes = field.bytes().await.map_err(broken)?.to_vec();
            if !file_name.is_empty() {
                attachments.push(Attachment { name: file_name, media, bytes });
            }
        } else {
            fields.push(name, field.text().await.map_err(broken)?);
        }
    }
    let fields = fields.checked(login)?;
    let text = |name: &str| fields.get(name).to_owned();
    let draft = Draft {
        to: text("to"),
        cc: text("cc"),
        bcc: text("bcc"),
        subject: text("subject"),
        text: text("text").replace("\r\n", "\n"),
        in_reply_to: text("in_reply_to"),
        references: text("references"),
        attachments,
    };
    let writing = Writing {
        draft,
        saved: fields.number("draft").filter(|uid| *uid > 0).map(Uid),
        answers: text("answers"),
        forwards: text("forwards"),
        kept: fields.all("keep").map(str::to_owned).collect(),
        warned: fields.get("warned") == "1",
    };
    Ok((fields, writing))
}

/// The form with all its attachments, those in the store included. The inner error is for the person.
async fn whole(login: &Login, writing: &Writing) -> Result<Result<Draft, String>, Trouble> {
    let mut draft = writing.draft.clone();
    let most = attachments_max(login);
    let mut sum: u64 = draft.attachments.iter().map(|it| it.bytes.len() as u64).sum();
    for place in &writing.kept {
        let Some((at, part)) = kept_part(login, place).await? else {
            return Ok(Err("An attachment is gone: attach it again.".into()));
        };
        sum += part.bytes / 4 * 3;
        if sum > most {
            break;
        }
        let section = Section { part: part.path.clone(), text: SectionText::Binary };
        let (bytes, _) = login.section(at, section, most).await?;
        draft.attachments.push(Attachment { name: part.name(), media: part.media.clone(), bytes });
    }
    if sum > most {
        return Ok(Err(format!("The attachments are too large: {} at most.", date::bytes(most))));
    }
    Ok(Ok(draft))
}

async fn sender(login: &Login) -> Result<Sender, Trouble> {
    let name = login.settings().await?.display_name;
    let from = Address { name, mailbox: login.browser.address.clone() };
    Ok(Sender { from, message_id: send::message_id(login)?, date: now() })
}

/// Saves the form into Drafts in place of what was saved before.
async fn save(login: &Login, writing: &mut Writing) -> Result<Result<Uid, String>, Trouble> {
    let draft = match whole(login, writing).await? {
        Ok(draft) => draft,
        Err(why) => return Ok(Err(why)),
    };
    // What is no address yet is kept as it was typed, as far as it goes.
    let read = |typed: &str| html::compose::addresses(typed).unwrap_or_default();
    let recipients = Recipients { to: read(&draft.to), cc: read(&draft.cc), bcc: read(&draft.bcc) };
    let bytes = message(&draft, &recipients, &sender(login).await?, Blind::Shown);
    let (_, folders) = login.folders().await?;
    let (folder, name) = login.folder_for(&folders, SpecialUse::Drafts).await?;
    let flags = SystemFlags::default().with(SystemFlag::Draft).with(SystemFlag::Seen);
    let uid = send::keep(login, name, bytes, flags).await?;
    forget(login, writing.saved.replace(uid)).await?;
    // From now on the files are those of the saved draft.
    writing.draft.attachments.clear();
    let plan = Plan::read(&row_of(login, folder, uid).await?.structure);
    let place = |part: &Part| format!("{}.{}.{}", folder.0, uid.0, part.number());
    writing.kept = plan.attachments.iter().map(place).collect();
    Ok(Ok(uid))
}

/// Deletes a saved draft.
async fn forget(login: &Login, saved: Option<Uid>) -> Result<(), Trouble> {
    let Some(uid) = saved else { return Ok(()) };
    let (_, folders) = login.folders().await?;
    let drafts = folders.iter().find(|it| it.special_use == Some(SpecialUse::Drafts));
    let Some(Folder { id, .. }) = drafts else { return Ok(()) };
    mark(login, (*id, uid), SystemFlag::Deleted).await?;
    let uids = Some(UidSet::from_iter([uid]));
    login.user(UserTask::Expunge { folder: *id, uids }).await.map(drop)
}

/// The inner error is for the person: nothing was sent.
async fn send_message(login: &Login, writing: &mut Writing) -> Result<Result<(), String>, Trouble> {
    let recipients = match Recipients::read(&writing.draft) {
        Ok(recipients) => recipients,
        Err(why) => return Ok(Err(why)),
    };
    let targets = match send::targets(login, &recipients).await? {
        Ok(targets) => targets,
        Err(why) => return Ok(Err(why)),
    };
    let draft = match whole(login, writing).await? {
        Ok(draft) => draft,
        Err(why) => return Ok(Err(why)),
    };
    let sender = sender(login).await?;
    let outgoing = message(&draft, &recipients, &sender, Blind::Hidden);
    if outgoing.len() as u64 > login.web.control.message_bytes_max() {
        return Ok(Err("The message is too large.".into()));
    }
    if let Err(why) = send::deliver(login, outgoing, &targets).await? {
        return Ok(Err(why));
    }
    // It is sent: from here on nothing may look as if it were not.
    if let Err(trouble) =
        sent(login, writing, message(&draft, &recipients, &sender, Blind::Shown)).await
    {
        let fields =
            vec![("user", login.browser.address.clone()), ("reason", format!("{trouble:?}"))];
        crate::log::note(crate::config::LogLevel::Warn, "sent, but not all was noted", fields);
    }
    // The address book is a convenience.
    let _learnt = contacts::learn(login, recipients.iter()).await;
    Ok(Ok(()))
}

/// The own copy; the draft goes; what was answered says so.
async fn sent(login: &Login, writing: &Writing, copy: Vec<u8>) -> Result<(), Trouble> {
    let (_, folders) = login.folders().await?;
    let (_, name) = login.folder_for(&folders, SpecialUse::Sent).await?;
    send::keep(login, name, copy, SystemFlags::default().with(SystemFlag::Seen)).await?;
    forget(login, writing.saved).await?;
    if let Some(at) = place_of(&writing.answers) {
        mark(login, at, SystemFlag::Answered).await?;
    }
    if let Some((folder, uid)) = place_of(&writing.forwards) {
        let task = UserTask::Store {
            folder,
            uids: UidSet::from_iter([uid]),
            change: FlagChange::Add,
            flags: SystemFlags::default(),
            keywords: mailstore::face::Keyword::new(b"$Forwarded").into_iter().collect(),
            unchanged_since: None,
        };
        login.user(task).await?;
    }
    Ok(())
}
