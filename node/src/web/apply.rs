//! A rule over mail that is there already: slice by slice, so that nobody waits for it, and from request to request, so that
//! no folder is too long.
//!
//! What the rule was for stays done when it stops half-way: to go over the same messages again changes nothing more.

use super::Trouble;
use super::asking::{Folder, unexpected};
use super::form::Fields;
use super::login::Login;
use super::rules::{gone, place_in};
use html::pages::{ApplyPage, Frame};
use mailstore::face::{
    Criteria, FlagChange, FolderId, FolderName, Keyword, OpenMode, Section, SectionText,
    SpecialUse, SystemFlag, SystemFlags, Uid, UidSet, UserDone, UserTask, Want,
};
use mailstore::mime::{Limits, Scanner};
use mailstore::rules::{Facts, Found, Place, Rule};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages of a slice: what one search and one batch take in. Our choice: a few milliseconds.
const SLICE_MESSAGES: usize = 2_000;
/// Messages of a slice whose headers are read, where a search can't tell. Our choice.
const READ_MAX: usize = 100;
/// Bytes of a header that are read: as many as rules see when mail arrives in chunks.
const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// No slice begins later than this in a request. Our choice: a person waits so long without wondering.
const REQUEST_TIME: Duration = Duration::from_millis(700);

/// The rule that is applied.
pub struct Applied<'a> {
    pub at: usize,
    pub name: String,
    pub rule: &'a Rule,
}

/// How far it has come.
pub struct Course {
    here: Folder,
    /// UIDs up to this are done.
    after: u32,
    /// The last UID when it began; `None`: it begins.
    until: Option<u32>,
    looked: u64,
    total: u64,
    matched: u64,
}

/// What a request came to.
pub enum Went {
    /// There is more.
    On(Course),
    Through(Course),
}

/// What is done with messages.
struct Deed {
    flags: SystemFlags,
    keywords: Vec<Keyword>,
    to: Option<FolderName>,
}

impl Course {
    pub fn of(form: &Fields, folders: &[Folder]) -> Result<Self, Trouble> {
        let id = form.number("folder").map(FolderId);
        let here = folders.iter().find(|it| Some(it.id) == id).cloned();
        let count = |name| form.get(name).parse().unwrap_or_default();
        Ok(Self {
            here: here.ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))?,
            after: form.number("after").unwrap_or_default(),
            until: form.number("until"),
            looked: count("looked"),
            total: count("total"),
            matched: count("matched"),
        })
    }

    pub fn page(self, frame: Frame, applied: &Applied<'_>, version: u64) -> ApplyPage {
        ApplyPage {
            frame,
            rule: applied.name.clone(),
            at: applied.at,
            version,
            folder: self.here.id.0,
            folder_name: self.here.name.as_str().to_owned(),
            after: self.after,
            until: self.until.unwrap_or_default(),
            looked: self.looked,
            total: self.total,
            matched: self.matched,
        }
    }

    /// In words, at the end.
    pub fn says(&self, rule: &str) -> String {
        let (matched, looked) = (self.matched, self.looked);
        let name = self.here.name.as_str();
        format!("“{rule}” was applied to {name}: it was for {matched} of {looked} messages.")
    }
}

/// Goes on for the time of a request. The inner error is for the person.
pub async fn go_on(
    login: &Login,
    applied: &Applied<'_>,
    mut course: Course,
    folders: &[Folder],
) -> Result<Result<Went, String>, Trouble> {
    let deed = match deed(login, applied.rule, folders).await? {
        Ok(deed) => deed,
        Err(why) => return Ok(Err(why)),
    };
    let name = course.here.name.clone();
    let open = UserTask::OpenFolder { name, mode: OpenMode::ReadOnly, known: None };
    let UserDone::Opened(opened) = login.user(open).await? else { return Err(unexpected()) };
    let last = opened.uids.last().map_or(0, |uid| uid.0);
    if course.until.is_none() {
        course.total = opened.uids.len();
    }
    let until = *course.until.get_or_insert(last);
    let began = Instant::now();
    loop {
        let Some(first) = course.after.checked_add(1).filter(|first| *first <= until) else {
            return Ok(Ok(Went::Through(course)));
        };
        let left = opened.uids.intersection(&UidSet::from_range(first..=until));
        let slice: UidSet = left.iter().take(SLICE_MESSAGES).collect();
        let Some(end) = slice.last() else { return Ok(Ok(Went::Through(course))) };
        let (end, matched) = matched(login, (&course, applied.rule), (&slice, end)).await?;
        course.matched += matched.len();
        course.looked += slice.intersection(&UidSet::from_range(1..=end.0)).len();
        course.after = end.0;
        deed.run(login, &course.here, matched).await?;
        if began.elapsed() >= REQUEST_TIME && left.last() != Some(end) {
            return Ok(Ok(Went::On(course)));
        }
    }
}

/// The inner error: the folder of the rule is gone.
async fn deed(
    login: &Login,
    rule: &Rule,
    folders: &[Folder],
) -> Result<Result<Deed, String>, Trouble> {
    let action = &rule.action;
    if let Some(name) = gone(rule, folders) {
        return Ok(Err(format!("The folder “{name}” is gone: choose another for this rule.")));
    }
    let mut flags = SystemFlags::default();
    for (wanted, flag) in [(action.seen, SystemFlag::Seen), (action.flagged, SystemFlag::Flagged)] {
        flags = if wanted { flags.with(flag) } else { flags };
    }
    let mut keywords = action.keywords.clone();
    let to = match &action.place {
        None => None,
        Some(place @ (Place::Folder(_) | Place::Known { .. })) => {
            place_in(place, folders).map(|folder| folder.name.clone())
        }
        Some(Place::Trash) => Some(login.folder_for(folders, SpecialUse::Trash).await?.1),
        Some(Place::Junk) => {
            keywords.extend(Keyword::new(b"$Junk"));
            Some(login.folder_for(folders, SpecialUse::Junk).await?.1)
        }
    };
    Ok(Ok(Deed { flags, keywords, to }))
}

impl Deed {
    async fn run(&self, login: &Login, here: &Folder, uids: UidSet) -> Result<(), Trouble> {
        if uids.is_empty() {
            return Ok(());
        }
        if self.flags != SystemFlags::default() || !self.keywords.is_empty() {
            let store = UserTask::Store {
                folder: here.id,
                uids: uids.clone(),
                change: FlagChange::Add,
                flags: self.flags,
                keywords: self.keywords.clone(),
                unchanged_since: None,
            };
            login.user(store).await?;
        }
        if let Some(to) = self.to.as_ref().filter(|to| **to != here.name) {
            let (folder, to) = (here.id, to.clone());
            login.user(UserTask::Copy { folder, uids, to, remove_source: true }).await?;
        }
        Ok(())
    }
}

/// The messages of a slice that the rule is for, and how far the slice goes after all.
async fn matched(
    login: &Login,
    (course, rule): (&Course, &Rule),
    (slice, end): (&UidSet, Uid),
) -> Result<(Uid, UidSet), Trouble> {
    let sought = rule.sought();
    let criteria = Criteria::And(vec![Criteria::Uids(slice.clone()), sought.criteria]);
    let folder = course.here.id;
    let search = UserTask::Search { folder, criteria: Arc::new(criteria) };
    let UserDone::Found { uids, .. } = login.user(search).await? else { return Err(unexpected()) };
    if sought.found == Found::All {
        return Ok((end, uids));
    }
    let some: UidSet = uids.iter().take(READ_MAX).collect();
    let end = some.last().filter(|_| some.len() < uids.len()).unwrap_or(end);
    let (want, changed_since) = (Want::default(), None);
    let fetch = UserTask::Fetch { folder, uids: some, want, changed_since };
    let UserDone::Fetched { rows } = login.user(fetch).await? else { return Err(unexpected()) };
    let mut matched = UidSet::new();
    for row in rows {
        if is_for(login, rule, (folder, row.uid, row.bytes)).await? {
            matched.insert(row.uid);
        }
    }
    Ok((end, matched))
}

async fn is_for(
    login: &Login,
    rule: &Rule,
    (folder, uid, bytes): (FolderId, Uid, u64),
) -> Result<bool, Trouble> {
    let section = Section { part: Vec::new(), text: SectionText::Header };
    let header = match login.section((folder, uid), section, HEADER_BYTES_MAX).await {
        Ok((header, _)) => header,
        // Deleted meanwhile.
        Err(Trouble::NotFound(_)) => return Ok(false),
        Err(trouble) => return Err(trouble),
    };
    let mut scanner = Scanner::new(&Limits::default());
    scanner.push(&header);
    let columns = scanner.finish().search;
    Ok(rule.is_for(&Facts { columns: &columns, bytes, header: Some(&header) }))
}
