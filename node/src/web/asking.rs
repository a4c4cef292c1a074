//! What pages ask of the MailStore, and the answers in the form they need.

use super::Trouble;
use super::login::Login;
use crate::control::ControlError;
use bytes::Bytes;
use html::pages::FolderKind;
use mailstore::face::{
    Collection, Completion, DirectoryDone, DirectoryTask, FolderId, FolderInfo, FolderName,
    FolderStatus, Record, RecordName, RecordTask, RecordsDone, SECTION_PAGE_BYTES_MAX, Section,
    SectionRead, SpecialUse, Task, Uid, UserDone, UserTask,
};

/// A folder with what a page shows of it.
#[derive(Clone, Debug)]
pub struct Folder {
    pub id: FolderId,
    pub name: FolderName,
    pub special_use: Option<SpecialUse>,
    pub status: FolderStatus,
}

impl Folder {
    pub fn kind(&self) -> FolderKind {
        match self.special_use {
            Some(SpecialUse::Trash) => FolderKind::Trash,
            Some(SpecialUse::Junk) => FolderKind::Junk,
            Some(SpecialUse::Drafts) => FolderKind::Drafts,
            Some(SpecialUse::Sent) => FolderKind::Sent,
            Some(SpecialUse::Archive) => FolderKind::Archive,
            Some(SpecialUse::Flagged) | None => FolderKind::Usual,
        }
    }
}

fn mixed_up() -> Trouble {
    Trouble::Broken("the answer does not fit the task".into())
}

impl From<ControlError> for Trouble {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Stopping => Self::Later("The server is stopping.".into()),
            ControlError::Failed(why) => Self::Broken(why),
        }
    }
}

impl Login {
    pub async fn user(&self, task: UserTask) -> Result<UserDone, Trouble> {
        let user = self.cookie.user;
        match self.own.ask(Task::User { user, task }).await? {
            Completion::User(UserDone::Failed(error)) => Err(error.into()),
            Completion::User(done) => Ok(done),
            Completion::Refused(refusal) => Err(refusal.into()),
            Completion::Directory(_) | Completion::Delivery(_) | Completion::Blob(_) => {
                Err(mixed_up())
            }
        }
    }

    pub async fn directory(&self, task: DirectoryTask) -> Result<DirectoryDone, Trouble> {
        match self.own.ask(Task::Directory(task)).await? {
            Completion::Directory(done) => Ok(done),
            Completion::Refused(refusal) => Err(refusal.into()),
            Completion::User(_) | Completion::Delivery(_) | Completion::Blob(_) => Err(mixed_up()),
        }
    }

    /// Names of all folders, and the folders among them with their counts, in the same order.
    pub async fn folders(&self) -> Result<(Vec<FolderInfo>, Vec<Folder>), Trouble> {
        use mailstore::face::FolderKind::Folder as Selectable;
        let UserDone::Folders(infos) = self.user(UserTask::ListFolders).await? else {
            return Err(mixed_up());
        };
        let selectable = infos.iter().filter_map(|info| match info.kind {
            Selectable { id, special_use } => Some((id, info.name.clone(), special_use)),
            _ => None,
        });
        let selectable: Vec<_> = selectable.collect();
        let names = selectable.iter().map(|(_, name, _)| name.clone()).collect();
        let UserDone::Status(counts) = self.user(UserTask::Status { names }).await? else {
            return Err(mixed_up());
        };
        let folders =
            selectable.into_iter().zip(counts).filter_map(|((id, name, special_use), status)| {
                Some(Folder { id, name, special_use, status: status? })
            });
        Ok((infos.to_vec(), folders.collect()))
    }

    /// The folder of a use; made when it is missing.
    pub async fn folder_for(
        &self,
        folders: &[Folder],
        wanted: SpecialUse,
    ) -> Result<(FolderId, FolderName), Trouble> {
        if let Some(found) = folders.iter().find(|folder| folder.special_use == Some(wanted)) {
            return Ok((found.id, found.name.clone()));
        }
        let name = wanted.name().trim_start_matches('\\');
        let name = FolderName::new(name).map_err(|error| Trouble::Broken(error.to_string()))?;
        if let Some(found) = folders.iter().find(|folder| folder.name == name) {
            return Ok((found.id, name));
        }
        let task = UserTask::CreateFolder { name: name.clone(), special_use: Some(wanted) };
        match self.user(task).await? {
            UserDone::Created { id } => Ok((id, name)),
            _ => Err(mixed_up()),
        }
    }

    /// At most `most` bytes of a section from its beginning, and how many it has.
    pub async fn section(
        &self,
        (folder, uid): (FolderId, Uid),
        section: Section,
        most: u64,
    ) -> Result<(Vec<u8>, u64), Trouble> {
        let mut all = Vec::new();
        loop {
            let offset = all.len() as u64;
            let len = SECTION_PAGE_BYTES_MAX.min(most - offset);
            let section = section.clone();
            let task = UserTask::ReadSection { folder, uid, section, offset, len };
            let (bytes, total) = match self.user(task).await? {
                UserDone::Section(SectionRead::Page { bytes, total }) => (bytes, total),
                UserDone::Section(SectionRead::NoSuchPart) => {
                    return Err(Trouble::NotFound("The message has no such part.".into()));
                }
                UserDone::Section(SectionRead::UnknownEncoding) => {
                    return Err(Trouble::Wrong(
                        "The part is encoded in a way nobody knows.".into(),
                    ));
                }
                _ => return Err(mixed_up()),
            };
            all.extend_from_slice(&bytes);
            let read = all.len() as u64;
            if bytes.is_empty() || read >= total || read >= most {
                return Ok((all, total));
            }
        }
    }

    /// All records of a collection.
    pub async fn records(&self, collection: Collection) -> Result<Vec<Record>, Trouble> {
        let (mut all, mut after): (Vec<Record>, Option<RecordName>) = (Vec::new(), None);
        loop {
            let task = UserTask::Records(RecordTask::List { collection, after: after.take() });
            let UserDone::Records(RecordsDone::Page { records, more }) = self.user(task).await?
            else {
                return Err(mixed_up());
            };
            after = records.last().map(|record| record.name.clone());
            all.extend(records);
            if !more || after.is_none() {
                return Ok(all);
            }
        }
    }

    pub async fn record(
        &self,
        collection: Collection,
        name: RecordName,
    ) -> Result<Option<Record>, Trouble> {
        match self.user(UserTask::Records(RecordTask::Get { collection, name })).await? {
            UserDone::Records(RecordsDone::Page { records, .. }) => Ok(records.into_iter().next()),
            _ => Err(mixed_up()),
        }
    }

    /// Puts one record, whatever is there; `None` deletes it.
    pub async fn put(
        &self,
        (collection, name): (Collection, RecordName),
        value: Option<Vec<u8>>,
    ) -> Result<(), Trouble> {
        let expect = mailstore::face::Expect::Anything;
        let value = value.map(Bytes::from);
        let change = mailstore::face::RecordChange { collection, name, expect, value };
        match self.user(UserTask::Records(RecordTask::Write(vec![change]))).await? {
            UserDone::Records(RecordsDone::Written { .. }) => Ok(()),
            _ => Err(mixed_up()),
        }
    }
}

/// An answer that no task of ours can have.
pub fn unexpected() -> Trouble {
    mixed_up()
}
