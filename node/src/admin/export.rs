//! Gives out all mail of an account: folder by folder, message by message, as stored.

use super::api::export_reply::Step;
use super::api::{ExportFolder, ExportReply, InternalDate, MessageHeader};
use super::own_session::{OwnSession, unexpected};
use mailstore::face::{
    FETCH_ROWS_MAX, FolderKind, FolderOpened, OpenMode, Row, SECTION_PAGE_BYTES_MAX, Section,
    SectionRead, SystemFlag, UidSet, UserDone, UserId, UserTask, Want,
};
use tokio::sync::mpsc;
use tonic::Status;

type To = mpsc::Sender<Result<ExportReply, Status>>;

/// The client went away.
fn gone() -> Status {
    Status::cancelled("nobody listens any more")
}

async fn send(to: &To, step: Step) -> Result<(), Status> {
    to.send(Ok(ExportReply { step: Some(step) })).await.map_err(|_| gone())
}

/// Serves one export to its end.
pub async fn run(session: OwnSession, user: UserId, to: &To) -> Result<(), Status> {
    let UserDone::Folders(folders) = session.user(user, UserTask::ListFolders).await? else {
        return Err(unexpected());
    };
    for info in folders.iter() {
        let FolderKind::Folder { id: _, special_use } = info.kind else { continue };
        let name = info.name.clone();
        let open = UserTask::OpenFolder { name, mode: OpenMode::ReadOnly, known: None };
        let UserDone::Opened(opened) = session.user(user, open).await? else {
            return Err(unexpected());
        };
        let folder = ExportFolder {
            name: info.name.as_str().to_owned(),
            subscribed: info.subscribed,
            special_use: special_use.map(|it| it.name().to_owned()),
            messages: opened.uids.len(),
        };
        send(to, Step::Folder(folder)).await?;
        for uids in pages(&opened.uids) {
            let folder = opened.folder;
            let fetch =
                UserTask::Fetch { folder, uids, want: Want::default(), changed_since: None };
            let UserDone::Fetched { rows } = session.user(user, fetch).await? else {
                return Err(unexpected());
            };
            for row in rows {
                message(&session, user, (info.name.as_str(), &opened), &row, to).await?;
            }
        }
        session.user(user, UserTask::CloseFolder { folder: opened.folder }).await?;
    }
    Ok(())
}

async fn message(
    session: &OwnSession,
    user: UserId,
    (name, opened): (&str, &FolderOpened),
    row: &Row,
    to: &To,
) -> Result<(), Status> {
    let mut offset = 0;
    loop {
        let read = UserTask::ReadSection {
            folder: opened.folder,
            uid: row.uid,
            section: Section::WHOLE,
            offset,
            len: SECTION_PAGE_BYTES_MAX,
        };
        let (bytes, total) = match session.user(user, read).await {
            Ok(UserDone::Section(SectionRead::Page { bytes, total })) => (bytes, total),
            Ok(_) => return Err(unexpected()),
            // Deleted meanwhile by its owner.
            Err(status) if offset == 0 && status.code() == tonic::Code::FailedPrecondition => {
                return Ok(());
            }
            Err(status) => return Err(status),
        };
        if offset == 0 {
            send(to, Step::Message(header(name, opened, row, total))).await?;
        }
        offset += bytes.len() as u64;
        let is_last = offset >= total || bytes.is_empty();
        if !bytes.is_empty() {
            send(to, Step::Data(bytes.to_vec())).await?;
        }
        if is_last {
            return if offset == total { Ok(()) } else { Err(unexpected()) };
        }
    }
}

fn header(name: &str, opened: &FolderOpened, row: &Row, bytes: u64) -> MessageHeader {
    let system = SystemFlag::ALL.into_iter().filter(|flag| row.flags.system.has(*flag));
    let mut flags: Vec<String> = system.map(|flag| flag.name().to_owned()).collect();
    for (bit, keyword) in opened.keywords.iter().enumerate() {
        if u32::try_from(bit).ok().and_then(|bit| row.flags.keywords.checked_shr(bit)).unwrap_or(0)
            & 1
            == 1
        {
            flags.push(keyword.as_str().to_owned());
        }
    }
    let internal_date = Some(InternalDate {
        unix_seconds: row.internal_date.unix_seconds,
        zone_minutes: i32::from(row.internal_date.zone_minutes),
    });
    MessageHeader { folder: name.to_owned(), flags, internal_date, bytes }
}

/// A set in pieces of at most [`FETCH_ROWS_MAX`].
pub fn pages(uids: &UidSet) -> Vec<UidSet> {
    let mut pages = Vec::new();
    let (mut ranges, mut room) = (Vec::new(), FETCH_ROWS_MAX);
    for &(first, last) in uids.ranges() {
        let mut from = u64::from(first);
        while from <= u64::from(last) {
            let until = u64::from(last).min(from + room - 1);
            let narrow = |uid: u64| u32::try_from(uid).unwrap_or(u32::MAX);
            ranges.push((narrow(from), narrow(until)));
            room -= until - from + 1;
            if room == 0 {
                pages.push(UidSet::from_ranges(std::mem::take(&mut ranges)));
                room = FETCH_ROWS_MAX;
            }
            from = until + 1;
        }
    }
    if !ranges.is_empty() {
        pages.push(UidSet::from_ranges(ranges));
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_everything_once_and_are_small() {
        for ranges in [vec![], vec![(1, 5)], vec![(1, 512)], vec![(3, 2000), (2002, 2002)]] {
            let uids = UidSet::from_ranges(ranges);
            let pages = pages(&uids);
            assert!(pages.iter().all(|page| page.len() <= FETCH_ROWS_MAX && !page.is_empty()));
            let union = pages.iter().fold(UidSet::new(), |all, page| all.union(page));
            assert_eq!(union, uids);
            assert_eq!(pages.iter().map(UidSet::len).sum::<u64>(), uids.len());
        }
    }
}
