//! One message: shown, its parts, its source.

use super::asking::unexpected;
use super::conversation::{self, Conversation, Member};
use super::list::{View, preview, rows};
use super::login::Login;
use super::{Trouble, page, query_of};
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use html::date;
use html::envelope::Envelope;
use html::pages::{AttachmentLine, FirstHit, Letter, MessagePane, Safe, Shown, marked};
use html::query::Query;
use html::reading::{self, Remote, Searched};
use html::shown::{Framing, HTML_BYTES_MAX, PICTURE_BYTES_MAX, PICTURES_BYTES_MAX, framed};
use html::structure::{Part, Plan};
use mailstore::face::{
    FlagChange, FolderId, Row, Section, SectionText, SystemFlag, SystemFlags, Uid, UidSet, UserTask,
};
use std::collections::BTreeMap;

/// Bytes of a text that are shown; the rest is behind “Download”. Our choice.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// The `id` of the first mark in a frame.
const FIRST_HIT: &str = "hit";
/// Bytes of a part that are kept in memory to be saved or looked at. `limits.message_size` is the real bound.
const PART_BYTES_MAX: u64 = 256 << 20;

pub async fn message(
    login: Login,
    Path((folder, uid)): Path<(u32, u32)>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Trouble> {
    let fields = query_of(&request);
    let remote = fields.get("remote") == "1";
    let mut view = View::open(&login, FolderId(folder), fields).await?;
    let row = row_of(&login, view.here.id, Uid(uid)).await?;
    let conversation = conversation::of(&login, &view, &row).await?;
    let mut pane = pane(&login, &view, (&row, &conversation), remote).await?;
    // What a page fetches ahead is not read yet.
    let wanted = headers.get("x-fragment").map(HeaderValue::as_bytes);
    let unread = conversation.members.iter().filter(|it| !is_seen(&it.row));
    for member in unread.filter(|_| wanted != Some(b"peek")) {
        mark(&login, (member.folder, member.row.uid), SystemFlag::Seen).await?;
    }
    if wanted.is_none() {
        // Behind the marks: the counts are those that the reader will find.
        (view.infos, view.folders) = login.folders().await?;
        return page(&view.page(&login, Some(pane)).await?);
    }
    pane.frame = view.frame(&login, &pane.subject).await?;
    page(&pane)
}

fn is_seen(row: &Row) -> bool {
    row.flags.system.has(SystemFlag::Seen)
}

/// One row, with envelope and structure.
pub async fn row_of(login: &Login, folder: FolderId, uid: Uid) -> Result<Row, Trouble> {
    let rows = rows(login, folder, UidSet::from_iter([uid])).await?;
    rows.into_iter().next().ok_or_else(|| Trouble::NotFound("The message is gone.".into()))
}

/// Adds a flag to one message.
pub async fn mark(
    login: &Login,
    (folder, uid): (FolderId, Uid),
    flag: SystemFlag,
) -> Result<(), Trouble> {
    let task = UserTask::Store {
        folder,
        uids: UidSet::from_iter([uid]),
        change: FlagChange::Add,
        flags: SystemFlags::default().with(flag),
        keywords: Vec::new(),
        unchanged_since: None,
    };
    login.user(task).await.map(drop)
}

async fn pane(
    login: &Login,
    view: &View,
    (row, conversation): (&Row, &Conversation),
    remote: bool,
) -> Result<MessagePane, Trouble> {
    let (folder, uid) = (view.here.id, row.uid);
    let letters = conversation.members.iter().map(|member| {
        let main = (member.folder, member.row.uid) == (folder, uid);
        letter(login, view, (member, main), remote && main)
    });
    let letters = try_join_all(letters).await?;
    // To step is to leave the conversation.
    let others = view.listed.difference(&conversation.here);
    let step = |side| neighbour(&others, uid, side).map(|uid| view.message_address(uid));
    let subject = Envelope::read(&row.envelope).subject;
    Ok(MessagePane {
        folder: folder.0,
        uid: uid.0,
        uids: super::form::ranges(&conversation.here),
        subject_shown: marked(&subject, view.words().1),
        subject,
        flagged: row.flags.system.has(SystemFlag::Flagged),
        letters,
        omitted: conversation.omitted,
        newer: step(Side::Newer),
        older: step(Side::Older),
        back: view.list_address(),
        kind: view.here.kind(),
        ..MessagePane::default()
    })
}

/// One message of the conversation: the main one is shown, others are at hand.
async fn letter(
    login: &Login,
    view: &View,
    (member, main): (&Member, bool),
    remote: bool,
) -> Result<Letter, Trouble> {
    let (row, at) = (&member.row, (member.folder, member.row.uid));
    let envelope = Envelope::read(&row.envelope);
    let plan = Plan::read(&row.structure);
    let (mut shown, mut remote_blocked) = (Vec::new(), 0);
    let (mut hits, mut first_hit) = (0, None);
    for part in &plan.shown {
        let seen = show(login, view, (at, part), remote).await?;
        shown.push(seen.shown);
        remote_blocked += seen.blocked;
        hits += seen.hits;
        first_hit = first_hit.or(seen.first_hit);
    }
    let base = format!("/f/{}/m/{}", at.0.0, at.1.0);
    let dates = view.dates();
    let who = envelope.from.iter().map(|it| it.shown().to_owned()).collect::<Vec<_>>().join(", ");
    Ok(Letter {
        folder: at.0.0,
        uid: at.1.0,
        main,
        open: !main && !is_seen(row),
        unread: !is_seen(row),
        who: if who.is_empty() { "(nobody)".into() } else { who },
        preview: if main { String::new() } else { preview(login, at.0, row, &plan).await },
        attachments: plan.attachments.iter().map(|part| attachment(&base, part)).collect(),
        from: envelope.from,
        to: envelope.to,
        cc: envelope.cc,
        bcc: envelope.bcc,
        date: dates.long(row.internal_date),
        date_short: dates.short(row.internal_date),
        date_machine: dates.machine(row.internal_date),
        shown,
        remote_blocked,
        load_href: if main { view.with(at.1, "remote=1") } else { format!("{base}?remote=1") },
        hits,
        first_hit: first_hit.unwrap_or_default(),
    })
}

#[derive(Clone, Copy)]
enum Side {
    Newer,
    Older,
}

fn neighbour(listed: &UidSet, uid: Uid, side: Side) -> Option<Uid> {
    let all = || (1, u32::MAX);
    let (first, last) = match side {
        Side::Newer => (uid.0.checked_add(1)?, all().1),
        Side::Older => (all().0, uid.0.checked_sub(1)?),
    };
    if first > last {
        return None;
    }
    let beyond = listed.intersection(&UidSet::from_range(first..=last));
    match side {
        Side::Newer => beyond.first(),
        Side::Older => beyond.last(),
    }
}

/// A text as a page has it.
struct Seen {
    shown: Shown,
    /// Pictures from elsewhere that were left out of it.
    blocked: u32,
    /// Places that say what was searched for, and the first.
    hits: usize,
    first_hit: Option<FirstHit>,
}

impl Seen {
    fn not(why: String) -> Self {
        Self { shown: Shown::Not(why), blocked: 0, hits: 0, first_hit: None }
    }
}

async fn show(
    login: &Login,
    view: &View,
    (at, part): ((FolderId, Uid), &Part),
    remote: bool,
) -> Result<Seen, Trouble> {
    let section = Section { part: part.path.clone(), text: SectionText::Binary };
    let most = if part.is_html() { HTML_BYTES_MAX } else { TEXT_BYTES_MAX };
    let (bytes, total) = match login.section(at, section, most).await {
        Ok(read) => read,
        Err(Trouble::Wrong(why)) => return Ok(Seen::not(why)),
        Err(trouble) => return Err(trouble),
    };
    let (words, _) = view.words();
    let name = format!("{FIRST_HIT}-{}-{}-{}", at.0.0, at.1.0, part.number());
    if part.is_html() {
        let src = frame_address(view, (at, part), remote);
        let told = html::shown::told(&bytes, part, &Searched { words, id: FIRST_HIT });
        let way = FirstHit { href: format!("{src}#{FIRST_HIT}"), frame: name.clone() };
        return Ok(Seen {
            shown: Shown::Html { src, name },
            blocked: if remote { 0 } else { told.remote },
            hits: told.hits,
            first_hit: (told.hits > 0).then_some(way),
        });
    }
    let opened = html::shown::as_html(&bytes, part, &Searched { words, id: &name });
    let mut html = opened.html;
    if total > TEXT_BYTES_MAX {
        html.push_str("<p>The text is longer: download the message to read all of it.</p>");
    }
    let way = FirstHit { href: format!("#{name}"), frame: String::new() };
    Ok(Seen {
        shown: Shown::Text(Safe(html)),
        blocked: 0,
        hits: opened.hits,
        first_hit: (opened.hits > 0).then_some(way),
    })
}

/// Where the document of an HTML part is.
fn frame_address(view: &View, (at, part): ((FolderId, Uid), &Part), remote: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if remote {
        query.append_pair("remote", "1");
    }
    if !view.words().0.is_empty() {
        query.append_pair("q", view.typed());
    }
    let query = query.finish();
    let join = if query.is_empty() { "" } else { "?" };
    format!("/f/{}/m/{}/html/{}{join}{query}", at.0.0, at.1.0, part.number())
}

fn attachment(base: &str, part: &Part) -> AttachmentLine {
    AttachmentLine {
        name: part.name(),
        media: part.media.clone(),
        // Base64 is a third longer than what it carries.
        size: date::bytes(part.bytes / 4 * 3),
        href: format!("{base}/part/{}", part.number()),
        preview: html::shown::may_be_viewed(&part.media),
        picture: part.media.starts_with("image/") && html::shown::may_be_viewed(&part.media),
    }
}

/// Headers of what is sent as it came: the browser must not make anything of it.
fn inert(media: &str, disposition: &str) -> Result<HeaderMap, Trouble> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| unexpected());
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, value(media)?);
    headers.insert(header::CONTENT_DISPOSITION, value(disposition)?);
    let policy = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox";
    headers.insert(header::CONTENT_SECURITY_POLICY, value(policy)?);
    headers.insert(header::CACHE_CONTROL, value("private, max-age=3600")?);
    Ok(headers)
}

pub async fn source(
    login: Login,
    Path((folder, uid)): Path<(u32, u32)>,
    request: Request,
) -> Result<Response, Trouble> {
    let at = (FolderId(folder), Uid(uid));
    let (bytes, _) = login.section(at, Section::WHOLE, PART_BYTES_MAX).await?;
    let headers = if query_of(&request).get("save") == "1" {
        inert("message/rfc822", &format!("attachment; filename=\"message-{uid}.eml\""))?
    } else {
        inert("text/plain; charset=utf-8", "inline")?
    };
    Ok((headers, bytes).into_response())
}

/// The part of a message that the path names.
async fn part_of(
    login: &Login,
    (folder, uid): (FolderId, Uid),
    number: &str,
) -> Result<(Plan, Part), Trouble> {
    let gone = || Trouble::NotFound("The message has no such part.".into());
    let path = Part::path_of(number).ok_or_else(gone)?;
    let row = row_of(login, folder, uid).await?;
    let plan = Plan::read(&row.structure);
    let part = plan.find(&path).cloned().ok_or_else(gone)?;
    Ok((plan, part))
}

pub async fn part(
    login: Login,
    Path((folder, uid, number)): Path<(u32, u32, String)>,
    request: Request,
) -> Result<Response, Trouble> {
    let at = (FolderId(folder), Uid(uid));
    let (_, part) = part_of(&login, at, &number).await?;
    let section = Section { part: part.path.clone(), text: SectionText::Binary };
    let (bytes, _) = login.section(at, section, PART_BYTES_MAX).await?;
    let view = query_of(&request).get("view") == "1";
    let (media, disposition) = html::shown::served(&part, &bytes, view);
    Ok((inert(&media, &disposition)?, bytes).into_response())
}

pub async fn html(
    login: Login,
    Path((folder, uid, number)): Path<(u32, u32, String)>,
    request: Request,
) -> Result<Response, Trouble> {
    let at = (FolderId(folder), Uid(uid));
    let (plan, part) = part_of(&login, at, &number).await?;
    if !part.is_html() {
        return Err(Trouble::NotFound("The part is no HTML.".into()));
    }
    let section = Section { part: part.path.clone(), text: SectionText::Binary };
    let (bytes, _) = login.section(at, section, HTML_BYTES_MAX).await?;
    let fields = query_of(&request);
    let remote = if fields.get("remote") == "1" { Remote::Allowed } else { Remote::Blocked };
    let words = Query::read(fields.get("q")).map(|query| query.in_text).unwrap_or_default();
    let pictures = pictures(&login, at, &plan).await?;
    let theme = login.settings().await?.theme.name();
    let searched = Searched { words: &words, id: FIRST_HIT };
    let framing = Framing { pictures: &pictures, remote, theme, searched };
    let framed = framed((&bytes, &part), &framing);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = HeaderValue::from_str(&framed.policy).map_err(|_| unexpected())?;
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in reading::frame::HEADERS {
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| unexpected())?,
            HeaderValue::from_static(value),
        );
    }
    Ok((headers, framed.document).into_response())
}

/// Pictures that the text may show, by their content ids.
async fn pictures(
    login: &Login,
    at: (FolderId, Uid),
    plan: &Plan,
) -> Result<BTreeMap<String, String>, Trouble> {
    let (mut pictures, mut left) = (BTreeMap::new(), PICTURES_BYTES_MAX);
    for part in plan.related.iter().filter(|part| html::shown::may_be_viewed(&part.media)) {
        if part.bytes > PICTURE_BYTES_MAX.min(left) {
            continue;
        }
        left -= part.bytes;
        let section = Section { part: part.path.clone(), text: SectionText::Binary };
        let (bytes, _) = login.section(at, section, PICTURE_BYTES_MAX).await?;
        if let Some(picture) = html::shown::picture(part, &bytes) {
            pictures.insert(part.content_id.clone(), picture);
        }
    }
    Ok(pictures)
}
