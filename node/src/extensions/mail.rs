//! What an extension reads and changes in one mailbox.

use super::api;
use crate::admin::{OwnSession, pages, unexpected};
use mailstore::face::{
    FlagChange, FolderId, FolderKind, FolderName, FolderOpened, Keyword, OpenMode, Row,
    SECTION_PAGE_BYTES_MAX, Scope, Section, SectionRead, SectionText, SpecialUse, SystemFlag,
    SystemFlags, Uid, UidSet, UserDone, UserId, UserTask, Want,
};
use tokio::sync::mpsc;
use tonic::Status;

/// A mailbox that the caller may see.
pub struct Mail {
    session: OwnSession,
    user: UserId,
}

/// Id, name and use of a folder.
pub type FolderEntry = (FolderId, FolderName, Option<SpecialUse>);

/// The folders of a user.
pub async fn folder_names(session: &OwnSession, user: UserId) -> Result<Vec<FolderEntry>, Status> {
    let UserDone::Folders(folders) = session.user(user, UserTask::ListFolders).await? else {
        return Err(unexpected());
    };
    let folders = folders.iter().filter_map(|info| match info.kind {
        FolderKind::Folder { id, special_use } => Some((id, info.name.clone(), special_use)),
        _ => None,
    });
    Ok(folders.collect())
}

fn name_of(name: &str) -> Result<FolderName, Status> {
    FolderName::new(name).map_err(|error| Status::invalid_argument(format!("{name:?}: {error}")))
}

fn set_of(ranges: &[api::UidRange]) -> Result<UidSet, Status> {
    let mut set = UidSet::new();
    for &api::UidRange { first, last } in ranges {
        if first == 0 || last < first {
            return Err(Status::invalid_argument(format!("{first} to {last} are no UIDs")));
        }
        set = set.union(&UidSet::from_range(first..=last));
    }
    Ok(set)
}

/// The names of the flags of a message.
fn flags_of(row: &Row, keywords: &[Keyword]) -> Vec<String> {
    let system = SystemFlag::ALL.into_iter().filter(|flag| row.flags.system.has(*flag));
    let mut flags: Vec<String> = system.map(|flag| flag.name().to_owned()).collect();
    let is_set = |bit: usize| bit < 128 && row.flags.keywords >> bit & 1 == 1;
    let named = keywords.iter().enumerate().filter(|(bit, _)| is_set(*bit));
    flags.extend(named.map(|(_, keyword)| keyword.as_str().to_owned()));
    flags
}

/// Flags by their names.
pub fn read_flags(names: &[String]) -> Result<(SystemFlags, Vec<Keyword>), Status> {
    let (mut system, mut keywords) = (SystemFlags::default(), Vec::new());
    for name in names {
        match SystemFlag::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name)) {
            Some(flag) => system = system.with(flag),
            None => keywords.push(Keyword::new(name.as_bytes()).ok_or_else(|| {
                Status::invalid_argument(format!(
                    "{name:?} is no flag: as in \"\\\\Seen\", \"$Junk\", \"urgent\""
                ))
            })?),
        }
    }
    Ok((system, keywords))
}

/// RFC 9051 6.4.5, as far as it makes sense here.
pub fn section(text: &str, decoded: bool) -> Result<Section, Status> {
    let wrong = || {
        Status::invalid_argument(format!(
            "{text:?} is no section: as in \"\", \"HEADER\", \"TEXT\", \"1.2\", \"1.2.MIME\""
        ))
    };
    let (mut part, mut word) = (Vec::new(), None);
    for piece in text.split('.').filter(|_| !text.is_empty()) {
        match (piece.parse::<u32>(), word) {
            (Ok(number @ 1..), None) => part.push(number),
            (Err(_), None) => word = Some(piece),
            (Ok(_) | Err(_), _) => return Err(wrong()),
        }
    }
    let text = match word.map(str::to_ascii_uppercase).as_deref() {
        None if decoded && !part.is_empty() => SectionText::Binary,
        None => SectionText::All,
        Some("HEADER") => SectionText::Header,
        Some("TEXT") => SectionText::Text,
        Some("MIME") if !part.is_empty() => SectionText::Mime,
        Some(_) => return Err(wrong()),
    };
    Ok(Section { part, text })
}

impl Mail {
    /// The mailbox of an account in scope.
    pub async fn open(session: OwnSession, scope: &Scope, account: &str) -> Result<Self, Status> {
        let missing = || {
            Status::not_found(format!(
                "{account}: there is no such account in the scope of this extension"
            ))
        };
        if !scope.holds(account) {
            return Err(missing());
        }
        match session.account(account).await {
            Ok(user) => Ok(Self { session, user }),
            Err(status) if status.code() == tonic::Code::FailedPrecondition => Err(missing()),
            Err(status) => Err(status),
        }
    }

    #[must_use]
    pub fn user(&self) -> UserId {
        self.user
    }

    #[must_use]
    pub fn session(&self) -> &OwnSession {
        &self.session
    }

    pub async fn folders(&self) -> Result<Vec<api::Folder>, Status> {
        let entries = folder_names(&self.session, self.user).await?;
        let names = entries.iter().map(|(_, name, _)| name.clone()).collect();
        let done = self.session.user(self.user, UserTask::Status { names }).await?;
        let UserDone::Status(states) = done else { return Err(unexpected()) };
        let folders = entries.into_iter().zip(states).filter_map(|((id, name, special), state)| {
            let state = state?;
            Some(api::Folder {
                name: name.as_str().to_owned(),
                folder_id: id.0,
                uid_validity: state.uid_validity.0,
                messages: u64::from(state.messages),
                unseen: u64::from(state.unseen),
                special_use: special.map(|it| it.name().to_owned()).unwrap_or_default(),
                modseq: state.highest_mod_seq.0,
            })
        });
        Ok(folders.collect())
    }

    /// A folder by its name.
    pub async fn folder(&self, name: &str) -> Result<FolderId, Status> {
        let wanted = name_of(name)?;
        let entries = folder_names(&self.session, self.user).await?;
        let found = entries.into_iter().find(|(_, name, _)| *name == wanted);
        let missing = || Status::not_found(format!("{name:?}: there is no such folder"));
        found.map(|(id, ..)| id).ok_or_else(missing)
    }

    pub async fn open_folder(&self, name: &str) -> Result<FolderOpened, Status> {
        self.folder(name).await?;
        let open =
            UserTask::OpenFolder { name: name_of(name)?, mode: OpenMode::ReadOnly, known: None };
        let UserDone::Opened(opened) = self.session.user(self.user, open).await? else {
            return Err(unexpected());
        };
        Ok(*opened)
    }

    /// The messages of a folder, page by page.
    pub async fn messages(
        &self,
        opened: &FolderOpened,
        wanted: &[api::UidRange],
        to: &mpsc::Sender<Result<api::Message, Status>>,
    ) -> Result<(), Status> {
        let all = UidSet::clone(&opened.uids);
        let uids = if wanted.is_empty() { all } else { set_of(wanted)?.intersection(&all) };
        for uids in pages(&uids) {
            let (folder, want) = (opened.folder, Want::default());
            let fetch = UserTask::Fetch { folder, uids, want, changed_since: None };
            let UserDone::Fetched { rows } = self.session.user(self.user, fetch).await? else {
                return Err(unexpected());
            };
            for row in rows {
                let message = api::Message {
                    uid: row.uid.0,
                    flags: flags_of(&row, &opened.keywords),
                    size: row.bytes,
                    received: row.internal_date.unix_seconds,
                    modseq: row.mod_seq.0,
                    email_id: format!("M{:016x}", row.email_id.0),
                    thread_id: format!("T{:016x}", row.thread_id.0),
                };
                to.send(Ok(message)).await.map_err(|_| Status::cancelled("nobody listens"))?;
            }
        }
        Ok(())
    }

    /// A section of a message, page by page.
    pub async fn read(
        &self,
        folder: FolderId,
        uid: u32,
        section: Section,
        to: &mpsc::Sender<Result<api::FetchReply, Status>>,
    ) -> Result<(), Status> {
        let mut offset = 0;
        loop {
            let (section, len) = (section.clone(), SECTION_PAGE_BYTES_MAX);
            let read = UserTask::ReadSection { folder, uid: Uid(uid), section, offset, len };
            let (bytes, total) = match self.session.user(self.user, read).await? {
                UserDone::Section(SectionRead::Page { bytes, total }) => (bytes, total),
                UserDone::Section(SectionRead::NoSuchPart) => {
                    return Err(Status::not_found("the message has no such part"));
                }
                UserDone::Section(SectionRead::UnknownEncoding) => {
                    return Err(Status::data_loss("the part is encoded in a way nobody knows"));
                }
                _ => return Err(unexpected()),
            };
            offset += bytes.len() as u64;
            let is_last = offset >= total || bytes.is_empty();
            if !bytes.is_empty() {
                let reply = api::FetchReply { data: bytes.to_vec() };
                to.send(Ok(reply)).await.map_err(|_| Status::cancelled("nobody listens"))?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Flags, then the move.
    pub async fn update(&self, request: api::UpdateRequest) -> Result<api::UpdateReply, Status> {
        let folder = self.folder(&request.folder).await?;
        let uids = set_of(&request.uids)?;
        let mut reply = api::UpdateReply::default();
        let changes =
            [(FlagChange::Add, &request.add_flags), (FlagChange::Remove, &request.remove_flags)];
        for (change, names) in changes {
            let (flags, keywords) = read_flags(names)?;
            if names.is_empty() {
                continue;
            }
            let store = UserTask::Store {
                folder,
                uids: uids.clone(),
                change,
                flags,
                keywords,
                unchanged_since: None,
            };
            let UserDone::Stored(stored) = self.session.user(self.user, store).await? else {
                return Err(unexpected());
            };
            reply.changed = reply.changed.max(stored.changed.len());
        }
        if !request.move_to.is_empty() {
            let to = name_of(&request.move_to)?;
            let copy = UserTask::Copy { folder, uids, to, remove_source: true };
            let UserDone::Copied(copied) = self.session.user(self.user, copy).await? else {
                return Err(unexpected());
            };
            reply.moved = copied.source.len();
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_as_in_imap() {
        let read = |text, decoded| section(text, decoded).map(|it| (it.part, it.text)).ok();
        assert_eq!(read("", true), Some((vec![], SectionText::All)));
        assert_eq!(read("header", false), Some((vec![], SectionText::Header)));
        assert_eq!(read("1.2", false), Some((vec![1, 2], SectionText::All)));
        assert_eq!(read("1.2", true), Some((vec![1, 2], SectionText::Binary)));
        assert_eq!(read("3.MIME", false), Some((vec![3], SectionText::Mime)));
        for wrong in ["MIME", "0", "1..2", "1.HEADER.2", "BODY", "."] {
            assert_eq!(read(wrong, false), None, "{wrong}");
        }
    }

    #[test]
    fn flags_are_read_and_unknown_ones_refused() {
        let names = ["\\seen".to_owned(), "urgent".to_owned()];
        let (system, keywords) = read_flags(&names).expect("flags");
        assert!(system.has(SystemFlag::Seen) && keywords.len() == 1);
        assert!(read_flags(&["a b".to_owned()]).is_err());
        assert!(read_flags(&["\\Unknown".to_owned()]).is_err());
    }
}
