//! Conversations: messages that go back to the same first one (In-Reply-To and References, RFC 5322 3.6.4), one's own answers
//! among them. A `Re:` that refers to nothing belongs to mail of its subject of the two weeks before it.
//!
//! A conversation is looked for where mail is read and kept: the folder that is shown, INBOX, Sent and Archive. Trash, Junk
//! and Drafts are shown message by message.

use super::Trouble;
use super::asking::{Folder, unexpected};
use super::list::{View, rows};
use super::login::Login;
use bytes::Bytes;
use futures_util::future::try_join_all;
use html::conversation::{base_subject, is_reply};
use html::envelope::Envelope;
use html::pages::FolderKind as Kind;
use mailstore::face::{
    Criteria, DayTest, FETCH_ROWS_MAX, FolderId, Row, SpecialUse, ThreadId, Uid, UidSet, UserDone,
    UserTask, Want,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Messages of a conversation that a page shows. Our choice: their texts are read for it.
pub const LETTERS_MAX: usize = 20;
/// How long a subject alone holds a conversation together, in days.
const SUBJECT_DAYS: i32 = 14;
const DAY_SECONDS: i64 = 86_400;
/// Messages that are looked at for one conversation, or for those of one page, in one folder: what one `Fetch` may ask for.
const ROWS_MAX: usize = 512;
const _: () = assert!(ROWS_MAX as u64 == FETCH_ROWS_MAX);

/// A message of a conversation.
#[derive(Clone, Debug)]
pub struct Member {
    pub folder: FolderId,
    pub row: Row,
    envelope: Envelope,
}

/// A conversation around one message.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// By date, at most [`LETTERS_MAX`]; the message itself among them.
    pub members: Vec<Member>,
    pub omitted: usize,
    /// Those in the folder that is shown.
    pub here: UidSet,
}

/// What a line of a list stands for.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Messages in the folder that is shown.
    pub uids: UidSet,
    /// Messages there and in Sent.
    pub count: usize,
    pub unread: bool,
    pub flagged: bool,
}

/// Whether a folder is shown by conversations.
pub fn is_grouped(folder: &Folder) -> bool {
    matches!(folder.kind(), Kind::Usual | Kind::Archive | Kind::Sent)
}

/// Groups of the rows of a page, by the UID of the newest message of each. Rows that are not among them belong to a group
/// whose newest message stands further up.
pub async fn groups(
    login: &Login,
    view: &View,
    page: &[Row],
) -> Result<BTreeMap<Uid, Group>, Trouble> {
    let threads = threads_of(page);
    let here = thread_rows(login, view.here.id, &threads).await?;
    let sent = view.folders.iter().find(|folder| folder.special_use == Some(SpecialUse::Sent));
    let sent = match sent.filter(|sent| sent.id != view.here.id) {
        Some(sent) => thread_rows(login, sent.id, &threads).await?,
        None => Vec::new(),
    };
    let mut groups: Groups = BTreeMap::new();
    // What very long conversations left no room for is shown by itself rather than hidden.
    let known: BTreeSet<ThreadId> = here.iter().map(|row| row.thread_id).collect();
    let left = page.iter().filter(|row| !known.contains(&row.thread_id));
    for row in here.iter().chain(left) {
        let (group, uids) = groups.entry(row.thread_id).or_default();
        uids.push((row.uid.0, row.uid.0));
        group.count += 1;
        group.unread |= !row.flags.system.has(mailstore::face::SystemFlag::Seen);
        group.flagged |= row.flags.system.has(mailstore::face::SystemFlag::Flagged);
    }
    for row in &sent {
        groups.entry(row.thread_id).or_default().0.count += 1;
    }
    join_by_subject(page, &mut groups);
    let by_newest = groups.into_values().filter_map(|(mut group, uids)| {
        group.uids = UidSet::from_ranges(uids);
        Some((group.uids.last()?, group))
    });
    Ok(by_newest.collect())
}

/// With the ranges of UIDs that each will have.
type Groups = BTreeMap<ThreadId, (Group, Vec<(u32, u32)>)>;

/// A lone `Re:` that answers nothing goes to the message of its subject before it, if the page has both.
fn join_by_subject(page: &[Row], groups: &mut Groups) {
    let mut latest: BTreeMap<String, (ThreadId, i64)> = BTreeMap::new();
    let mut by_date: Vec<&Row> = page.iter().collect();
    by_date.sort_by_key(|row| (row.internal_date.unix_seconds, row.uid));
    for row in by_date {
        let envelope = Envelope::read(&row.envelope);
        let base = base_subject(&envelope.subject);
        let (mut thread, at) = (row.thread_id, row.internal_date.unix_seconds);
        let lone = groups.get(&thread).is_some_and(|(group, _)| group.count == 1);
        let joins = lone && is_reply(&envelope.subject) && envelope.in_reply_to.is_empty();
        let before = latest.get(&base).filter(|(other, then)| {
            joins && *other != thread && at - then <= i64::from(SUBJECT_DAYS) * DAY_SECONDS
        });
        if let Some((other, _)) = before.copied()
            && let Some((joined, uids)) = groups.remove(&thread)
        {
            let (group, all) = groups.entry(other).or_default();
            all.extend(uids);
            group.count += joined.count;
            group.unread |= joined.unread;
            group.flagged |= joined.flagged;
            thread = other;
        }
        if !base.is_empty() {
            latest.insert(base, (thread, at));
        }
    }
}

fn threads_of(rows: &[Row]) -> Arc<[ThreadId]> {
    rows.iter().map(|row| row.thread_id).collect::<BTreeSet<_>>().into_iter().collect()
}

pub async fn found(login: &Login, folder: FolderId, criteria: Criteria) -> Result<UidSet, Trouble> {
    match login.user(UserTask::Search { folder, criteria: Arc::new(criteria) }).await? {
        UserDone::Found { uids, .. } => Ok(uids),
        _ => Err(unexpected()),
    }
}

/// Rows of threads in a folder, without their columns; the newest, when there are very many.
async fn thread_rows(
    login: &Login,
    folder: FolderId,
    threads: &Arc<[ThreadId]>,
) -> Result<Vec<Row>, Trouble> {
    let uids = found(login, folder, Criteria::Threads(Arc::clone(threads))).await?;
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let uids = super::list::newest(&uids, 0, ROWS_MAX);
    let task = UserTask::Fetch { folder, uids, want: Want::default(), changed_since: None };
    match login.user(task).await? {
        UserDone::Fetched { rows } => Ok(rows),
        _ => Err(unexpected()),
    }
}

/// The conversation of a message of the folder that is shown.
pub async fn of(login: &Login, view: &View, row: &Row) -> Result<Conversation, Trouble> {
    let own =
        Member { folder: view.here.id, row: row.clone(), envelope: Envelope::read(&row.envelope) };
    let mut members = vec![own];
    if is_grouped(&view.here) {
        let reach = reach(view);
        let mut threads = vec![row.thread_id];
        threads.extend(earlier(login, &reach, &members[0]).await?);
        threads.sort_unstable();
        take_in(login, &reach, &mut members, Criteria::Threads(threads.into())).await?;
        if let Some(answers) = answers_by_subject(&members) {
            take_in(login, &reach, &mut members, answers).await?;
        }
    }
    members.sort_by_key(|it| (it.row.internal_date.unix_seconds, it.row.uid));
    let here = members.iter().filter(|it| it.folder == view.here.id).map(|it| it.row.uid);
    let here = UidSet::from_ranges(here.map(|uid| (uid.0, uid.0)).collect());
    // The newest stay, and the one that was asked for.
    let omitted = members.len().saturating_sub(LETTERS_MAX);
    let is_own = |it: &Member| it.folder == view.here.id && it.row.uid == row.uid;
    let mut number = 0;
    members.retain(|it| {
        number += 1;
        number > omitted || is_own(it)
    });
    Ok(Conversation { members, omitted, here })
}

/// Folders that a conversation is looked for in; the one that is shown first, whose copies count.
fn reach(view: &View) -> Vec<FolderId> {
    let also = view.folders.iter().filter(|folder| {
        folder.id != view.here.id
            && (folder.name.is_inbox()
                || matches!(folder.special_use, Some(SpecialUse::Sent | SpecialUse::Archive)))
    });
    std::iter::once(view.here.id).chain(also.map(|folder| folder.id)).collect()
}

/// What is found in a folder, the newest of it.
async fn members(
    login: &Login,
    folder: FolderId,
    criteria: Criteria,
) -> Result<Vec<Member>, Trouble> {
    let uids = found(login, folder, criteria).await?;
    let rows = rows(login, folder, super::list::newest(&uids, 0, ROWS_MAX)).await?;
    let member = |row: Row| Member { folder, envelope: Envelope::read(&row.envelope), row };
    Ok(rows.into_iter().map(member).collect())
}

/// Adds what is found, each message once.
async fn take_in(
    login: &Login,
    reach: &[FolderId],
    into: &mut Vec<Member>,
    criteria: Criteria,
) -> Result<(), Trouble> {
    let all = reach.iter().map(|folder| members(login, *folder, criteria.clone()));
    for member in try_join_all(all).await?.into_iter().flatten() {
        let id = &member.envelope.message_id;
        let known = into.iter().any(|it| {
            let same_id = !id.is_empty() && it.envelope.message_id == *id;
            it.row.email_id == member.row.email_id || same_id && it.folder != member.folder
        });
        if !known {
            into.push(member);
        }
    }
    Ok(())
}

/// Messages whose header lacks a field.
fn lacks(field: &'static str) -> Criteria {
    let (name, text) = (Bytes::from_static(field.as_bytes()), Bytes::new());
    Criteria::Not(Box::new(Criteria::Header { name, text }))
}

fn between(first_day: i32, last_day: i32) -> [Criteria; 2] {
    let since = Criteria::InternalDate(DayTest::Since(first_day));
    [since, Criteria::InternalDate(DayTest::Before(last_day.saturating_add(1)))]
}

/// The thread that a `Re:` which refers to nothing answers: that of the last message of its subject before it.
async fn earlier(
    login: &Login,
    reach: &[FolderId],
    own: &Member,
) -> Result<Option<ThreadId>, Trouble> {
    let base = base_subject(&own.envelope.subject);
    if base.is_empty() || !is_reply(&own.envelope.subject) || !own.envelope.in_reply_to.is_empty() {
        return Ok(None);
    }
    let itself = Criteria::Uids(UidSet::from_iter([own.row.uid]));
    let refers_to_nothing = Criteria::And(vec![itself, lacks("References")]);
    if found(login, own.folder, refers_to_nothing).await?.is_empty() {
        return Ok(None);
    }
    let day = own.row.internal_date.day();
    let mut before = between(day.saturating_sub(SUBJECT_DAYS), day).to_vec();
    before.push(Criteria::Subject(Bytes::from(base.clone())));
    let all = reach.iter().map(|folder| members(login, *folder, Criteria::And(before.clone())));
    let at = |it: &Member| it.row.internal_date.unix_seconds;
    let before = try_join_all(all).await?.into_iter().flatten().filter(|it| {
        it.row.email_id != own.row.email_id
            && at(it) <= at(own)
            && base_subject(&it.envelope.subject) == base
    });
    Ok(before.max_by_key(at).map(|it| it.row.thread_id).filter(|it| *it != own.row.thread_id))
}

/// Answers that refer to nothing, by their subject, within two weeks behind a member.
fn answers_by_subject(members: &[Member]) -> Option<Criteria> {
    let base = base_subject(&members[0].envelope.subject);
    let days = members.iter().map(|it| it.row.internal_date.day());
    let (first, last) = (days.clone().min()?, days.max()?);
    let mut answers = between(first, last.saturating_add(SUBJECT_DAYS)).to_vec();
    answers.push(Criteria::Subject(Bytes::from(format!("re: {base}"))));
    answers.extend([lacks("References"), lacks("In-Reply-To")]);
    (!base.is_empty()).then_some(Criteria::And(answers))
}
