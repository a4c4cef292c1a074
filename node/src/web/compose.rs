//! Writing: the form, as links ask for it and as it comes back.

use super::asking::unexpected;
use super::drafts::{attachments_max, catch_up, forget, kept_lines, save, saved_draft, senders};
use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::message::row_of;
use super::{Shared, Trouble, page as shown, query_of, see, send, sending};
use axum::extract::{Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use html::compose::{Answer, Attachment, Draft, answer};
use html::date::{self, DateStyle, Dates};
use html::envelope::{Address, Envelope};
use html::pages::{ComposePage, KeptLine, Notice};
use html::reading::rich;
use html::structure::{Part, Plan};
use mailstore::face::{FolderId, Section, SectionText, Uid};

/// Bytes of a text that an answer quotes.
pub const QUOTED: u64 = 64 * 1024;
/// Bytes of a header that are read for References.
const HEADER_BYTES_MAX: u64 = 64 * 1024;

/// Bytes of a Message-ID: digits and a host name.
const MESSAGE_ID_BYTES_MAX: usize = 300;

/// A form on its way to a page or out of it.
#[derive(Debug, Default)]
pub struct Writing {
    pub draft: Draft,
    /// The saved form of it.
    pub saved: Option<Uid>,
    /// `folder.uid` of what it answers, and of what it forwards.
    pub answers: String,
    pub forwards: String,
    /// Attachments that are in the store: `folder.uid.part`, or `folder.uid.message` for the message itself.
    pub kept: Vec<String>,
    pub warned: bool,
    /// The Message-ID of what this window saves.
    pub window: String,
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
    if let Some(at) = place_of(fields.get("attach")) {
        return attached(login, at, signature).await;
    }
    if let Some(uid) = fields.number("draft") {
        return saved_draft(login, Uid(uid)).await;
    }
    let mut draft = html::mailto::draft(fields.get("mailto"));
    for (field, name) in [
        (&mut draft.to, "to"),
        (&mut draft.cc, "cc"),
        (&mut draft.bcc, "bcc"),
        (&mut draft.subject, "subject"),
    ] {
        if !fields.get(name).is_empty() {
            *field = fields.get(name).to_owned();
        }
    }
    draft.text.push_str(&signature);
    Ok(Writing { draft, ..Writing::default() })
}

/// `folder.uid`.
pub fn place_of(text: &str) -> Option<(FolderId, Uid)> {
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
        Some(part) => text_of(login, (folder, uid), part, QUOTED).await?,
        None => String::new(),
    };
    let (zone, style) = (date::zone(zone), DateStyle::DayFirst);
    let dates = Dates { zone, now: jiff::Timestamp::now(), style };
    let references = references(login, (folder, uid)).await?;
    let own: Vec<String> = senders(login).await?.into_iter().map(|it| it.mailbox).collect();
    let date = dates.long(row.internal_date);
    let mut draft = answer(how, (&envelope, &references), (&text, &date), &own);
    draft.from = answering(&envelope, &own);
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

/// The own address that the message was sent to, or from; the first when there is none.
fn answering(envelope: &Envelope, own: &[String]) -> String {
    let named = envelope.to.iter().chain(&envelope.cc).chain(&envelope.from);
    let named: Vec<&Address> = named.collect();
    let is_named = |own: &&String| named.iter().any(|it| it.mailbox.eq_ignore_ascii_case(own));
    own.iter().find(is_named).cloned().unwrap_or_default()
}

/// A forward of the message as it is, as an attachment.
async fn attached(
    login: &Login,
    (folder, uid): (FolderId, Uid),
    text: String,
) -> Result<Writing, Trouble> {
    let row = row_of(login, folder, uid).await?;
    let envelope = Envelope::read(&row.envelope);
    let own: Vec<String> = senders(login).await?.into_iter().map(|it| it.mailbox).collect();
    let from = answering(&envelope, &own);
    let subject = answer(Answer::Forward, (&envelope, ""), ("", ""), &own).subject;
    let draft = Draft { from, subject, text, ..Draft::default() };
    let place = format!("{}.{}", folder.0, uid.0);
    let kept = vec![format!("{place}.message")];
    Ok(Writing { draft, kept, forwards: place, ..Writing::default() })
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
pub async fn references(login: &Login, at: (FolderId, Uid)) -> Result<String, Trouble> {
    let names = vec![bytes::Bytes::from_static(b"References")];
    let text = SectionText::HeaderFields { names, not: false };
    let section = Section { part: Vec::new(), text };
    let (bytes, _) = login.section(at, section, HEADER_BYTES_MAX).await?;
    let text = String::from_utf8_lossy(&bytes);
    let ids = text.split_whitespace().filter(|word| word.starts_with('<') && word.ends_with('>'));
    Ok(ids.collect::<Vec<_>>().join(" "))
}

/// The page of a form.
pub async fn written(
    login: &Login,
    writing: Writing,
    notice: Option<Notice>,
) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "New message · Hikyaku".into();
    frame.notice = notice;
    let kept = kept_lines(login, &writing.kept).await?;
    let from = &writing.draft.from;
    let senders = senders(login).await?.into_iter().map(|it| {
        let chosen = it.mailbox.eq_ignore_ascii_case(from);
        (it.mailbox.clone(), it.full(), chosen)
    });
    shown(&ComposePage {
        frame,
        senders: senders.collect(),
        draft: writing.draft,
        draft_uid: writing.saved.map_or(0, |uid| uid.0),
        answers: writing.answers,
        forwards: writing.forwards,
        kept,
        attachment_limit: date::bytes(attachments_max(login)),
        attachment_bytes_max: attachments_max(login),
        warned: writing.warned,
        window: send::message_id(login)?,
    })
}

pub async fn submit(
    State(web): Shared,
    login: Login,
    form: Multipart,
) -> Result<Response, Trouble> {
    let busy = || Trouble::Later("Too many messages with files come in at once.".into());
    let _room = web.uploads.try_acquire().map_err(|_| busy())?;
    let (fields, mut writing) = read(&login, form).await?;
    catch_up(&login, &mut writing).await?;
    match fields.get("do") {
        "discard" => {
            forget(&login, writing.saved).await?;
            front(&login, "discarded").await
        }
        "save" => match save(&login, &mut writing, Vec::new()).await? {
            Ok(_) => front(&login, "saved").await,
            Err(why) => written(&login, writing, Some(Notice::failed(why))).await,
        },
        "autosave" => {
            let (status, said) = match save(&login, &mut writing, Vec::new()).await? {
                Ok(uid) => (StatusCode::OK, saved(&login, uid, &writing.kept).await?),
                Err(why) => (StatusCode::BAD_REQUEST, serde_json::json!({ "error": why })),
            };
            let said = said.to_string();
            Ok((status, [(header::CONTENT_TYPE, "application/json")], said).into_response())
        }
        "send" => sending::submit(login, writing).await,
        _ => Err(Trouble::Wrong("No such thing can be done with a message.".into())),
    }
}

/// What the script goes on with: the draft, and where its attachments are now.
async fn saved(login: &Login, uid: Uid, kept: &[String]) -> Result<serde_json::Value, Trouble> {
    let lines = kept_lines(login, kept).await?;
    let line = |it: KeptLine| serde_json::json!([it.place, it.name, it.size, it.bytes]);
    let kept: Vec<serde_json::Value> = lines.into_iter().map(line).collect();
    Ok(serde_json::json!({ "draft": uid.0, "kept": kept }))
}

/// Back to the inbox, with a word.
pub async fn front(login: &Login, told: &str) -> Result<Response, Trouble> {
    let (_, folders) = login.folders().await?;
    let inbox = folders.iter().find(|folder| folder.name.is_inbox()).ok_or_else(unexpected)?;
    Ok(see(&format!("/f/{}?told={told}", inbox.id.0)))
}

/// One of ours, without angle brackets.
fn is_message_id(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"@.-_".contains(&byte);
    text.len() <= MESSAGE_ID_BYTES_MAX && text.contains('@') && text.bytes().all(fine)
}

fn too_long() -> Trouble {
    Trouble::Wrong("The text is too long, or quotes too deeply.".into())
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
    // Only a script writes with markup: without one, what stands in the form is plain.
    let html = match fields.all("html").next() {
        Some(html) => Some(rich::clean(html).ok_or_else(too_long)?),
        None => None,
    };
    let draft = Draft {
        from: text("from"),
        to: text("to"),
        cc: text("cc"),
        bcc: text("bcc"),
        subject: text("subject"),
        text: match &html {
            Some(html) => rich::text(html),
            None => text("text").replace("\r\n", "\n"),
        },
        html,
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
        window: Some(text("window")).filter(|it| is_message_id(it)).unwrap_or_default(),
    };
    Ok((fields, writing))
}
