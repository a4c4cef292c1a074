//! Folders and their lists.

use super::asking::{Folder, unexpected};
use super::conversation::{self, Group};
use super::form::{Fields, ranges};
use super::login::Login;
use super::{Trouble, page, places, query_of, see};
use axum::extract::{Path, Request};
use axum::response::Response;
use futures_util::future::{join, join_all};
use html::date::{self, Dates};
use html::envelope::Envelope;
use html::pages::{
    Also, AlsoLine, FolderLine, Frame, Line, List, MailPage, MessagePane, Notice, Quota, Undo,
    marked,
};
use html::query::{Place, Query};
use html::settings::Settings;
use html::structure::Plan;
use mailstore::face::{
    Criteria, FolderId, FolderInfo, FolderKind, OpenMode, Row, Section, SectionText, SystemFlag,
    Uid, UidSet, UserDone, UserTask, Want,
};
use std::collections::BTreeMap;

/// Bytes of a text that are read for its first words.
const PREVIEW_BYTES: u64 = 1024;

pub async fn front(login: Login, request: Request) -> Result<Response, Trouble> {
    let (_, folders) = login.folders().await?;
    let inbox = folders.iter().find(|folder| folder.name.is_inbox()).ok_or_else(unexpected)?;
    // What was searched for from a page without a folder goes along.
    Ok(see(&address(&query_of(&request), inbox.id.0, &[])))
}

pub async fn folder(
    login: Login,
    Path(folder): Path<u32>,
    request: Request,
) -> Result<Response, Trouble> {
    let fields = query_of(&request);
    if let Some(Query { place: Place::Named(name), .. }) = Query::read(fields.get("q")) {
        let (_, folders) = login.folders().await?;
        // One that is unknown is told on the page.
        if let Ok(there) = places::named(&folders, &name)
            && there.0 != folder
        {
            return Ok(see(&address(&fields, there.0, &[])));
        }
    }
    let view = View::open(&login, FolderId(folder), fields).await?;
    page(&view.page(&login, None).await?)
}

/// Address of a list, from the fields of a request, with some set and others left out.
fn address(fields: &Fields, folder: u32, with: &[(&str, &str)]) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    let mut any = false;
    for name in ["q", "unread", "page"] {
        let value = with.iter().find(|(it, _)| *it == name).map(|(_, value)| *value);
        let value = value.unwrap_or_else(|| fields.get(name));
        if !value.is_empty() {
            pairs.append_pair(name, value);
            any = true;
        }
    }
    let question = if any { "?" } else { "" };
    format!("/f/{folder}{question}{}", pairs.finish())
}

/// A folder as one request sees it.
pub struct View {
    pub settings: Settings,
    pub infos: Vec<FolderInfo>,
    pub folders: Vec<Folder>,
    pub here: Folder,
    /// What the list shows of them: all, those found, or those unread.
    pub listed: UidSet,
    query: Option<Query>,
    /// Why nothing was searched.
    unclear: Option<String>,
    /// What `listed` fits.
    criteria: Criteria,
    fields: Fields,
    dates: Dates,
}

impl View {
    pub async fn open(login: &Login, id: FolderId, fields: Fields) -> Result<Self, Trouble> {
        let settings = login.settings().await?;
        let (infos, folders) = login.folders().await?;
        let here = folders.iter().find(|folder| folder.id == id).cloned();
        let here = here.ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))?;
        let open =
            UserTask::OpenFolder { name: here.name.clone(), mode: OpenMode::ReadOnly, known: None };
        let UserDone::Opened(opened) = login.user(open).await? else { return Err(unexpected()) };
        let query = Query::read(fields.get("q"));
        let unread = Criteria::Not(Box::new(Criteria::Flag(SystemFlag::Seen)));
        let unclear = query.as_ref().and_then(|query| places::unclear(&query.place, &folders));
        let mut criteria: Vec<Criteria> =
            query.iter().map(|query| query.criteria.clone()).collect();
        criteria.extend((fields.get("unread") == "1").then_some(unread));
        let is_all = criteria.is_empty();
        let criteria = Criteria::And(criteria);
        let listed = if unclear.is_some() {
            UidSet::default()
        } else if is_all {
            UidSet::clone(&opened.uids)
        } else {
            conversation::found(login, id, criteria.clone()).await?
        };
        let dates = login.dates(&settings);
        Ok(Self { settings, infos, folders, here, listed, query, unclear, criteria, fields, dates })
    }

    pub fn dates(&self) -> Dates {
        self.dates.clone()
    }

    /// What comes around every page of this folder.
    pub async fn frame(&self, login: &Login, title: &str) -> Result<Frame, Trouble> {
        let mut frame = frame(login, &self.settings, (&self.infos, &self.folders)).await?;
        let unread = match frame.unread_inbox() {
            0 => String::new(),
            unread => format!("({unread}) "),
        };
        frame.title = format!("{unread}{title} · Hikyaku");
        frame.folder = Some(self.here.id.0);
        frame.query = self.typed().to_owned();
        frame.notice = self.notice();
        Ok(frame)
    }

    /// What the act before this page did.
    fn notice(&self) -> Option<Notice> {
        let (told, count) = (self.fields.get("told"), self.fields.number("n").unwrap_or(1));
        let messages =
            if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
        let text = match told {
            "moved" => format!("{messages} moved."),
            "deleted" => format!("{messages} moved to Trash."),
            "archived" => format!("{messages} archived."),
            "junk" => format!("{messages} marked as junk."),
            "gone" => format!("{messages} deleted for good."),
            "copied" => format!("{messages} copied."),
            "sent" => "The message was sent.".into(),
            "unkept" => {
                return Some(Notice::failed(
                    "The message was sent, but its copy in Sent could not be kept, or the draft not be removed.",
                ));
            }
            "gone-out" => return Some(Notice::failed("Too late: the message was sent already.")),
            "saved" => "The draft was saved.".into(),
            "discarded" => "The draft was discarded.".into(),
            "none" => "No message was selected.".into(),
            _ => return None,
        };
        let mut notice = Notice::done(text);
        notice.undo = self.fields.number("at").map(|folder| Undo {
            folder,
            uids: self.fields.get("uids").to_owned(),
            back: self.here.id.0,
        });
        Some(notice)
    }

    /// Address of this list with some fields set and others left out.
    fn address(&self, with: &[(&str, &str)]) -> String {
        address(&self.fields, self.here.id.0, with)
    }

    /// Address of a message of this list.
    pub fn message_address(&self, uid: Uid) -> String {
        let list = self.address(&[]);
        let query = list.split_once('?').map_or_else(String::new, |(_, query)| format!("?{query}"));
        format!("/f/{}/m/{}{query}", self.here.id.0, uid.0)
    }

    /// Words that were looked for in the text of messages, and those to mark in what stands above it.
    pub fn words(&self) -> (&[String], &[String]) {
        self.query.as_ref().map_or((&[], &[]), |query| (&query.in_text, &query.words))
    }

    /// What stands in the search box.
    pub fn typed(&self) -> &str {
        self.fields.get("q")
    }

    pub fn list_address(&self) -> String {
        self.address(&[])
    }

    /// The same with something more asked for.
    pub fn with(&self, uid: Uid, more: &str) -> String {
        let address = self.message_address(uid);
        let join = if address.contains('?') { '&' } else { '?' };
        format!("{address}{join}{more}")
    }

    /// The whole page, with a message or without.
    pub async fn page(
        &self,
        login: &Login,
        message: Option<MessagePane>,
    ) -> Result<MailPage, Trouble> {
        let label = label(self.here.name.as_str());
        let title = message.as_ref().map(|it| it.subject.clone()).filter(|it| !it.is_empty());
        let frame = self.frame(login, title.as_deref().unwrap_or(&label)).await?;
        let shown = message.as_ref().map(|message| Uid(message.uid));
        let message = message.map(|it| MessagePane { frame: frame.clone(), ..it });
        let (list, also) =
            join(self.list(login, label, shown), self.also(login, &frame.folders)).await;
        let list = List { also, ..list? };
        Ok(MailPage { frame, list, message })
    }

    /// The other folders that have what is searched for. Trash and Junk, and the folder itself, are among them when it is
    /// searched for anywhere.
    async fn also(&self, login: &Login, folders: &[FolderLine]) -> Also {
        let Some(query) = self.query.as_ref().filter(|_| self.unclear.is_none()) else {
            return Also::default();
        };
        let is_anywhere = query.place == Place::Anywhere;
        let typed = match query.place {
            Place::Named(_) => query.rest.as_str(),
            Place::Shown | Place::Anywhere | Place::Unclear => self.typed(),
        };
        // A folder was asked for, and nothing else.
        if typed.is_empty() {
            return Also::default();
        }
        let here = self.here.id.0;
        let others = folders.iter().filter(|it| it.messages > 0 && it.id != Some(here));
        let (left_out, others): (Vec<&FolderLine>, Vec<&FolderLine>) =
            others.partition(|it| !is_anywhere && matches!(it.icon, "trash" | "junk"));
        let others: Vec<(u32, &FolderLine)> =
            others.into_iter().filter_map(|it| Some((it.id?, it))).collect();
        let ids: Vec<FolderId> = others.iter().map(|(id, _)| FolderId(*id)).collect();
        let counts = places::counts(login, &ids, &self.criteria).await;
        let to = |id: u32, typed: &str| address(&self.fields, id, &[("q", typed), ("page", "")]);
        let line = |(id, it): (u32, &FolderLine), count: usize| {
            let (name, href) = (it.name.clone(), to(id, typed));
            (count > 0).then_some(AlsoLine { name, href, count, here: id == here })
        };
        let own = folders.iter().find(|it| is_anywhere && it.id == Some(here));
        let found = usize::try_from(self.listed.len()).unwrap_or(usize::MAX);
        let own = own.and_then(|own| line((here, own), found));
        let found = others.iter().zip(&counts).filter_map(|(at, count)| line(*at, (*count)?));
        let names: Vec<&str> = left_out.iter().map(|it| it.label.as_str()).collect();
        Also {
            folders: own.into_iter().chain(found).collect(),
            partial: counts.iter().any(Option::is_none),
            left_out: names.join(" and "),
            left_out_href: to(here, &format!("in:anywhere {typed}")),
        }
    }

    async fn list(
        &self,
        login: &Login,
        title: String,
        shown: Option<Uid>,
    ) -> Result<List, Trouble> {
        let size = usize::from(self.settings.page_size);
        let total = usize::try_from(self.listed.len()).unwrap_or(usize::MAX);
        let pages = total.div_ceil(size).max(1);
        let number = self.fields.number("page").map_or(0, |page| page as usize).clamp(1, pages);
        let skip = (number - 1) * size;
        let uids = newest(&self.listed, skip, size);
        let rows = rows(login, self.here.id, uids).await?;
        let dates = self.dates();
        let groups = self.groups(login, &rows).await?;
        let rows: Vec<Row> = rows.into_iter().filter(|row| groups.contains_key(&row.uid)).collect();
        let plans: Vec<Plan> = rows.iter().map(|row| Plan::read(&row.structure)).collect();
        let previews =
            rows.iter().zip(&plans).map(|(row, plan)| preview(login, self.here.id, row, plan));
        let previews = join_all(previews).await;
        let words = self.query.as_ref().map(|query| query.words.clone()).unwrap_or_default();
        let lines = rows.iter().zip(&plans).zip(previews).rev();
        let lines = lines.filter_map(|((row, plan), preview)| {
            let group = groups.get(&row.uid)?;
            let mut line = self.line(&dates, (row, plan), &words);
            line.preview = marked(&preview, &words);
            line.here = shown.is_some_and(|shown| group.uids.contains(shown));
            line.uids = ranges(&group.uids);
            line.count = group.count;
            line.unread |= group.unread;
            line.flagged |= group.flagged;
            Some(line)
        });
        let at = |page: usize| {
            let page = if page == 1 { String::new() } else { page.to_string() };
            self.address(&[("page", page.as_str())])
        };
        Ok(List {
            folder: self.here.id.0,
            title,
            lines: lines.collect(),
            first: if total == 0 { 0 } else { skip + 1 },
            last: (skip + size).min(total),
            total,
            page: number,
            pages,
            newer: (number > 1).then(|| at(number - 1)),
            older: (number < pages).then(|| at(number + 1)),
            unread_only: self.is_unread_only(),
            here: self.list_address(),
            all_href: self.address(&[("unread", ""), ("page", "")]),
            unread_href: self.address(&[("unread", "1"), ("page", "")]),
            kind: self.here.kind(),
            unclear: self.unclear.clone(),
            also: Also::default(),
        })
    }

    fn is_unread_only(&self) -> bool {
        self.fields.get("unread") == "1"
    }

    /// What the lines of a page stand for. What was looked for is shown message by message.
    async fn groups(&self, login: &Login, rows: &[Row]) -> Result<BTreeMap<Uid, Group>, Trouble> {
        if conversation::is_grouped(&self.here) && self.query.is_none() && !self.is_unread_only() {
            return conversation::groups(login, self, rows).await;
        }
        let alone = |row: &Row| {
            let uids = UidSet::from_iter([row.uid]);
            (row.uid, Group { uids, count: 1, ..Group::default() })
        };
        Ok(rows.iter().map(alone).collect())
    }

    fn line(&self, dates: &Dates, (row, plan): (&Row, &Plan), words: &[String]) -> Line {
        use html::pages::FolderKind as Kind;
        let envelope = Envelope::read(&row.envelope);
        // Of one's own mail the recipients matter.
        let people = match self.here.kind() {
            Kind::Sent | Kind::Drafts => &envelope.to,
            Kind::Usual | Kind::Archive | Kind::Trash | Kind::Junk => &envelope.from,
        };
        let who = people.iter().map(|it| it.shown()).collect::<Vec<_>>().join(", ");
        let or = |text: String, none: &str| if text.is_empty() { none.to_owned() } else { text };
        let (who, subject) = (or(who, "(nobody)"), or(envelope.subject, "(no subject)"));
        let flags = row.flags.system;
        Line {
            uid: row.uid.0,
            href: match self.here.kind() {
                Kind::Drafts => format!("/compose?draft={}", row.uid.0),
                Kind::Usual | Kind::Archive | Kind::Trash | Kind::Junk | Kind::Sent => {
                    self.message_address(row.uid)
                }
            },
            label: format!("{who}: {subject}"),
            who: marked(&who, words),
            subject: marked(&subject, words),
            date: dates.short(row.internal_date),
            date_long: dates.long(row.internal_date),
            date_machine: dates.machine(row.internal_date),
            size: date::bytes(row.bytes),
            unread: !flags.has(SystemFlag::Seen),
            flagged: flags.has(SystemFlag::Flagged),
            answered: flags.has(SystemFlag::Answered),
            attachment: !plan.attachments.is_empty(),
            ..Line::default()
        }
    }
}

/// Rows with envelopes and structures, rising by UID.
pub async fn rows(login: &Login, folder: FolderId, uids: UidSet) -> Result<Vec<Row>, Trouble> {
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let want = Want { envelope: true, structure: true, ..Want::default() };
    match login.user(UserTask::Fetch { folder, uids, want, changed_since: None }).await? {
        UserDone::Fetched { rows } => Ok(rows),
        _ => Err(unexpected()),
    }
}

/// The first words of a message; empty when they can't be had: a list is shown all the same.
pub async fn preview(login: &Login, folder: FolderId, row: &Row, plan: &Plan) -> String {
    let Some(part) = plan.shown.first() else { return String::new() };
    let section = Section { part: part.path.clone(), text: SectionText::Binary };
    match login.section((folder, row.uid), section, PREVIEW_BYTES).await {
        Ok((bytes, _)) => html::shown::preview(&bytes, part),
        Err(_) => String::new(),
    }
}

/// `count` UIDs from the newest on, `skip` of them left out.
pub fn newest(uids: &UidSet, skip: usize, count: usize) -> UidSet {
    let (mut skip, mut left) = (skip as u64, count as u64);
    let mut ranges = Vec::new();
    for &(first, last) in uids.ranges().iter().rev() {
        let len = u64::from(last - first) + 1;
        if skip >= len {
            skip -= len;
            continue;
        }
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let last = last - narrow(skip);
        let take = narrow((len - skip).min(left));
        skip = 0;
        left -= u64::from(take);
        ranges.push((last + 1 - take, last));
        if left == 0 {
            break;
        }
    }
    UidSet::from_ranges(ranges)
}

/// What every page of a log-in shows around its own.
pub async fn frame(
    login: &Login,
    settings: &Settings,
    (infos, folders): (&[FolderInfo], &[Folder]),
) -> Result<Frame, Trouble> {
    let quota = match login.user(UserTask::Quota).await? {
        UserDone::Quota(report) => report.bytes_max.map(|max| Quota {
            percent: u8::try_from((report.bytes_used.saturating_mul(100) / max.max(1)).min(100))
                .unwrap_or(100),
            text: format!("{} of {}", date::bytes(report.bytes_used), date::bytes(max)),
        }),
        _ => return Err(unexpected()),
    };
    Ok(Frame {
        title: "Hikyaku".into(),
        address: login.browser.address.clone(),
        theme: settings.theme.name(),
        language: settings.language,
        form_token: login.form_token()?,
        folders: folder_lines(infos, folders),
        quota,
        ..Frame::default()
    })
}

/// INBOX first, then those of a use, then the user's own, each below its parent.
fn folder_lines(infos: &[FolderInfo], folders: &[Folder]) -> Vec<FolderLine> {
    let mut lines: Vec<(u8, FolderLine)> = Vec::new();
    for info in infos {
        let folder = folders.iter().find(|folder| folder.name == info.name);
        if folder.is_none() && info.kind != FolderKind::NoSelect {
            continue;
        }
        let name = info.name.as_str();
        let (rank, icon) = rank_of(name, folder);
        let line = FolderLine {
            id: folder.map(|folder| folder.id.0),
            label: label(name),
            // As people know it: IMAP alone shouts.
            name: if info.name.is_inbox() { label(name) } else { name.to_owned() },
            icon,
            depth: name.matches('/').count(),
            unread: folder.map_or(0, |folder| folder.status.unseen),
            messages: folder.map_or(0, |folder| folder.status.messages),
            own: rank == OWN,
        };
        lines.push((rank, line));
    }
    lines.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.name.cmp(&right.name)));
    lines.into_iter().map(|(_, line)| line).collect()
}

const OWN: u8 = 9;

fn rank_of(name: &str, folder: Option<&Folder>) -> (u8, &'static str) {
    use mailstore::face::SpecialUse as Use;
    if name == "INBOX" {
        return (0, "inbox");
    }
    match folder.and_then(|folder| folder.special_use) {
        Some(Use::Drafts) => (1, "drafts"),
        Some(Use::Sent) => (2, "sent"),
        Some(Use::Archive) => (3, "archive"),
        Some(Use::Junk) => (4, "junk"),
        Some(Use::Trash) => (5, "trash"),
        Some(Use::Flagged) => (6, "flagged"),
        None => (OWN, "folder"),
    }
}

/// The last level of a name, as people write it.
fn label(name: &str) -> String {
    match name.rsplit('/').next().unwrap_or(name) {
        "INBOX" => "Inbox".into(),
        last => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_from_the_newest_on() {
        let uids = UidSet::from_ranges(vec![(1, 3), (5, 5), (10, 14)]);
        let page =
            |skip, count| newest(&uids, skip, count).iter().map(|uid| uid.0).collect::<Vec<_>>();
        assert_eq!(page(0, 3), [12, 13, 14]);
        assert_eq!(page(3, 4), [3, 5, 10, 11]);
        assert_eq!(page(7, 9), [1, 2]);
        assert_eq!(page(9, 5), Vec::<u32>::new());
        let all = (0..9).flat_map(|skip| page(skip, 1)).collect::<Vec<_>>();
        assert_eq!(all, [14, 13, 12, 11, 10, 5, 3, 2, 1]);
    }
}
