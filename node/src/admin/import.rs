//! Takes in mail, message by message, and adds nothing twice.
//!
//! The identity of an imported message is (folder, exact bytes, occurrence number): the n-th message of an import with certain
//! bytes is skipped when the folder held n such messages before the import began. Nothing is kept for this: the folder itself is
//! asked, first by size, then by the hash of those few that have the size.
//!
//! Messages are read one after the other; while they become durable, the next ones are read already. Outcomes are told in the
//! order of the messages.
//!
//! Invariants: a message is never in memory as a whole, unless it is kept inline; at most [`APPENDS_MAX`] wait for the disk; bare CR and LF become CRLF (`protocols.md`:
//! refusing would lose the mail); NUL is refused.

use super::api::import_reply::Outcome;
use super::api::import_request::Step;
use super::api::{ImportReply, ImportRequest, MessageHeader};
use super::own_session::{OwnSession, unexpected};
use bytes::Bytes;
use dds::{BlobId, CHUNK_BYTES};
use mailstore::face::{
    BlobTask, Body, FolderId, FolderName, Holders, INLINE_BYTES_MAX, InternalDate, Keyword,
    NewMessage, OpenMode, SECTION_PAGE_BYTES_MAX, Section, SectionRead, SystemFlag, SystemFlags,
    Uid, UserDone, UserId, UserTask, Want,
};
use mailstore::mime::{Limits, Scanner};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

/// How long chunks live that nobody refers to yet. Our choice: far longer than the longest message takes.
const CHUNK_LIFE: Duration = Duration::from_secs(3600);

/// Appends under way. Our choice: a full batch for the disk, at most 64 inline bodies in memory.
const APPENDS_MAX: usize = 64;

type Hash = [u8; 32];

/// The outcome of a message, which may still be on its way.
enum Pending {
    Known(Outcome),
    Append(JoinHandle<Result<Outcome, Status>>),
}

/// The import of one stream.
struct Import {
    session: Arc<OwnSession>,
    user: UserId,
    message_bytes_max: u64,
    folders: BTreeMap<FolderName, Folder>,
}

/// A folder as it was when the import first met it.
struct Folder {
    id: FolderId,
    by_size: BTreeMap<u64, Vec<(Uid, Option<Hash>)>>,
    /// How often bytes have come in this import.
    seen: BTreeMap<Hash, u32>,
}

/// A message while it comes.
struct Arriving {
    folder: FolderName,
    flags: SystemFlags,
    keywords: Vec<Keyword>,
    internal_date: Option<InternalDate>,
    lines: LineEnds,
    scanner: Scanner,
    hash: Sha256,
    kept: Kept,
    has_nul: bool,
}

enum Kept {
    Inline(Vec<u8>),
    Chunked { blob: BlobId, index: u32, filling: Vec<u8>, bytes: u64 },
}

/// Turns bare CR and bare LF into CRLF, across pieces.
#[derive(Default)]
struct LineEnds {
    after_cr: bool,
}

/// Serves one import stream to its end. No message may be larger than `message_bytes_max`.
pub async fn run(
    session: OwnSession,
    message_bytes_max: u64,
    mut requests: impl Stream<Item = Result<ImportRequest, Status>> + Unpin + Send,
    to: &mpsc::Sender<Result<ImportReply, Status>>,
) -> Result<(), Status> {
    let Some(Step::Open(open)) = next(&mut requests).await? else {
        return Err(Status::invalid_argument("an import begins with the account"));
    };
    let user = session.account(&open.account).await?;
    let session = Arc::new(session);
    let mut import = Import { session, user, message_bytes_max, folders: BTreeMap::new() };
    let (pending, outcomes) = mpsc::channel(APPENDS_MAX);
    let read = async move {
        while let Some(step) = next(&mut requests).await? {
            let Step::Message(header) = step else {
                return Err(Status::invalid_argument("bytes without a message"));
            };
            let outcome = import.message(header, &mut requests).await?;
            if pending.send(outcome).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    };
    // Whatever ended the reading: what was appended before is told first.
    let (read, told) = tokio::join!(read, tell(outcomes, to));
    told.and(read)
}

/// Tells outcomes in order, each when it is known. Ends early when the client has gone.
async fn tell(
    mut outcomes: mpsc::Receiver<Pending>,
    to: &mpsc::Sender<Result<ImportReply, Status>>,
) -> Result<(), Status> {
    while let Some(pending) = outcomes.recv().await {
        let outcome = match pending {
            Pending::Known(outcome) => outcome,
            Pending::Append(append) => {
                append.await.map_err(|error| Status::internal(error.to_string()))??
            }
        };
        if to.send(Ok(ImportReply { outcome: Some(outcome) })).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn next(
    requests: &mut (impl Stream<Item = Result<ImportRequest, Status>> + Unpin),
) -> Result<Option<Step>, Status> {
    match requests.next().await {
        None => Ok(None),
        Some(Err(status)) => Err(status),
        Some(Ok(ImportRequest { step: Some(step) })) => Ok(Some(step)),
        Some(Ok(ImportRequest { step: None })) => Err(Status::invalid_argument("an empty step")),
    }
}

impl Import {
    /// Takes one message. What is wrong with the message is its outcome; the error is for what ends the import.
    async fn message(
        &mut self,
        header: MessageHeader,
        requests: &mut (impl Stream<Item = Result<ImportRequest, Status>> + Unpin + Send),
    ) -> Result<Pending, Status> {
        let announced = header.bytes;
        let mut arriving = match self.oversize(announced) {
            Some(reason) => Err(reason),
            None => Arriving::begin(header),
        };
        let mut received = 0;
        while received < announced {
            let Some(Step::Data(data)) = next(requests).await? else {
                return Err(Status::invalid_argument("a message ends too early"));
            };
            received = received.saturating_add(data.len() as u64);
            if let Ok(arriving) = &mut arriving {
                arriving.push(&data, &self.session).await?;
            }
        }
        let mut arriving = match arriving {
            Ok(arriving) => arriving,
            Err(reason) => return Ok(Pending::Known(Outcome::Refused(reason))),
        };
        if received != announced {
            return Err(Status::invalid_argument("a message is longer than announced"));
        }
        arriving.finish(&self.session).await?;
        let nul = arriving.has_nul.then(|| "the message has a NUL byte".to_owned());
        // Line ends may have grown.
        if let Some(reason) = nul.or_else(|| self.oversize(arriving.kept.len())) {
            arriving.drop_blob(&self.session).await?;
            return Ok(Pending::Known(Outcome::Refused(reason)));
        }
        self.store(arriving).await
    }

    /// Why a message of so many bytes is too large, if it is.
    fn oversize(&self, bytes: u64) -> Option<String> {
        let most = self.message_bytes_max;
        (bytes > most).then(|| {
            format!("the message has {bytes} bytes, limits.message_size allows {most}: raise it")
        })
    }

    async fn store(&mut self, arriving: Arriving) -> Result<Pending, Status> {
        let name = arriving.folder.clone();
        if !self.folders.contains_key(&name) {
            let folder = self.load_folder(&name).await?;
            self.folders.insert(name.clone(), folder);
        }
        let hash: Hash = arriving.hash.clone().finalize().into();
        let size = arriving.kept.len();
        let (session, user) = (Arc::clone(&self.session), self.user);
        let Some(folder) = self.folders.get_mut(&name) else { return Err(unexpected()) };
        let seen = folder.seen.entry(hash).or_default();
        *seen += 1;
        let occurrence = *seen;
        if folder.count(&session, user, size, &hash).await? >= occurrence {
            arriving.drop_blob(&session).await?;
            return Ok(Pending::Known(Outcome::AlreadyThere(true)));
        }
        let message = NewMessage {
            flags: arriving.flags,
            keywords: arriving.keywords,
            internal_date: arriving.internal_date,
            columns: Arc::new(arriving.scanner.finish()),
            body: arriving.kept.into_body(),
        };
        let append = async move {
            match session.user(user, UserTask::Append { to: name, message, once: None }).await {
                Ok(UserDone::Appended { uids, .. }) => {
                    Ok(Outcome::StoredUid(uids.first().map_or(0, |uid| uid.0)))
                }
                Ok(_) => Err(unexpected()),
                Err(status) if status.code() == tonic::Code::FailedPrecondition => {
                    Ok(Outcome::Refused(status.message().to_owned()))
                }
                Err(status) => Err(status),
            }
        };
        Ok(Pending::Append(tokio::spawn(append)))
    }

    /// The folder's messages by size; the folder is made when it is not there.
    async fn load_folder(&self, name: &FolderName) -> Result<Folder, Status> {
        let create = UserTask::CreateFolder { name: name.clone(), special_use: None };
        match self.session.user(self.user, create).await {
            // Most often it is there already; what else is wrong shows when it is opened.
            Ok(_) => {}
            Err(status) if status.code() == tonic::Code::FailedPrecondition => {}
            Err(status) => return Err(status),
        }
        let open =
            UserTask::OpenFolder { name: name.clone(), mode: OpenMode::ReadOnly, known: None };
        let UserDone::Opened(opened) = self.session.user(self.user, open).await? else {
            return Err(unexpected());
        };
        let mut by_size: BTreeMap<u64, Vec<(Uid, Option<Hash>)>> = BTreeMap::new();
        for uids in super::export::pages(&opened.uids) {
            let fetch = UserTask::Fetch {
                folder: opened.folder,
                uids,
                want: Want::default(),
                changed_since: None,
            };
            let UserDone::Fetched { rows } = self.session.user(self.user, fetch).await? else {
                return Err(unexpected());
            };
            for row in rows {
                by_size.entry(row.bytes).or_default().push((row.uid, None));
            }
        }
        Ok(Folder { id: opened.folder, by_size, seen: BTreeMap::new() })
    }
}

impl Folder {
    /// How many messages of these bytes the folder held when the import began.
    async fn count(
        &mut self,
        session: &OwnSession,
        user: UserId,
        size: u64,
        wanted: &Hash,
    ) -> Result<u32, Status> {
        let Some(same_size) = self.by_size.get_mut(&size) else { return Ok(0) };
        let mut count = 0;
        for (uid, hash) in same_size {
            let hash = match hash {
                Some(hash) => *hash,
                None => *hash.insert(hash_of(session, user, (self.id, *uid)).await?),
            };
            count += u32::from(hash == *wanted);
        }
        Ok(count)
    }
}

/// The hash of a stored message; that of nothing when it is gone.
async fn hash_of(
    session: &OwnSession,
    user: UserId,
    (folder, uid): (FolderId, Uid),
) -> Result<Hash, Status> {
    let mut hash = Sha256::new();
    let mut offset = 0;
    loop {
        let len = SECTION_PAGE_BYTES_MAX;
        let read = UserTask::ReadSection { folder, uid, section: Section::WHOLE, offset, len };
        let (bytes, total) = match session.user(user, read).await {
            Ok(UserDone::Section(SectionRead::Page { bytes, total })) => (bytes, total),
            Ok(_) => return Err(unexpected()),
            Err(status) if status.code() == tonic::Code::FailedPrecondition => {
                return Ok(Sha256::new().finalize().into());
            }
            Err(status) => return Err(status),
        };
        hash.update(&bytes);
        offset += bytes.len() as u64;
        if offset >= total || bytes.is_empty() {
            return Ok(hash.finalize().into());
        }
    }
}

impl Arriving {
    fn begin(header: MessageHeader) -> Result<Self, String> {
        let folder = FolderName::new(&header.folder)
            .map_err(|error| format!("the folder {:?}: {error}", header.folder))?;
        let mut flags = SystemFlags::default();
        let mut keywords = Vec::new();
        for flag in &header.flags {
            match SystemFlag::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(flag)) {
                Some(system) => flags = flags.with(system),
                // Foreign flags that can't be kept, \Recent among them, are left out.
                None => keywords.extend(Keyword::new(flag.as_bytes())),
            }
        }
        let internal_date = header.internal_date.map(|date| InternalDate {
            unix_seconds: date.unix_seconds,
            zone_minutes: i16::try_from(date.zone_minutes).unwrap_or(0),
        });
        Ok(Self {
            folder,
            flags,
            keywords,
            internal_date,
            lines: LineEnds::default(),
            scanner: Scanner::new(&Limits::default()),
            hash: Sha256::new(),
            kept: Kept::Inline(Vec::new()),
            has_nul: false,
        })
    }

    async fn push(&mut self, data: &[u8], session: &OwnSession) -> Result<(), Status> {
        let text = self.lines.convert(data);
        self.take(&text, session).await
    }

    async fn finish(&mut self, session: &OwnSession) -> Result<(), Status> {
        if self.lines.after_cr {
            self.take(b"\n", session).await?;
        }
        if let Kept::Chunked { blob, index, filling, .. } = &mut self.kept
            && !filling.is_empty()
        {
            write_chunk(session, (*blob, *index), std::mem::take(filling).into()).await?;
        }
        Ok(())
    }

    async fn take(&mut self, text: &[u8], session: &OwnSession) -> Result<(), Status> {
        self.has_nul |= text.contains(&0);
        self.scanner.push(text);
        self.hash.update(text);
        self.kept.push(text, session).await
    }

    /// The message is not wanted: its chunks may go.
    async fn drop_blob(&self, session: &OwnSession) -> Result<(), Status> {
        match &self.kept {
            Kept::Inline(_) => Ok(()),
            Kept::Chunked { blob, .. } => {
                session.blob(BlobTask::Drop { blob: *blob }).await.map(|_| ())
            }
        }
    }
}

impl Kept {
    fn len(&self) -> u64 {
        match self {
            Self::Inline(kept) => kept.len() as u64,
            Self::Chunked { bytes, .. } => *bytes,
        }
    }

    async fn push(&mut self, text: &[u8], session: &OwnSession) -> Result<(), Status> {
        match self {
            Self::Inline(kept) if kept.len() + text.len() <= INLINE_BYTES_MAX => {
                kept.extend_from_slice(text);
                return Ok(());
            }
            Self::Inline(kept) => {
                let mut id = [0_u8; 16];
                getrandom::fill(&mut id).map_err(|error| Status::internal(error.to_string()))?;
                let (filling, bytes) = (std::mem::take(kept), 0);
                let blob = BlobId(u128::from_be_bytes(id));
                *self =
                    Self::Chunked { blob, index: 0, bytes: filling.len() as u64 + bytes, filling };
            }
            Self::Chunked { .. } => {}
        }
        let Self::Chunked { blob, index, filling, bytes } = self else { return Err(unexpected()) };
        *bytes += text.len() as u64;
        filling.extend_from_slice(text);
        while filling.len() >= CHUNK_BYTES {
            let rest = filling.split_off(CHUNK_BYTES);
            let chunk = std::mem::replace(filling, rest);
            write_chunk(session, (*blob, *index), chunk.into()).await?;
            *index += 1;
        }
        Ok(())
    }

    fn into_body(self) -> Body {
        match self {
            Self::Inline(kept) => Body::Inline(kept.into()),
            Self::Chunked { blob, bytes, .. } => {
                Body::Blob { blob, len: bytes, holders: Holders::One }
            }
        }
    }
}

async fn write_chunk(
    session: &OwnSession,
    (blob, index): (BlobId, u32),
    bytes: Bytes,
) -> Result<(), Status> {
    session.blob(BlobTask::PutChunk { blob, index, bytes, life: CHUNK_LIFE }).await.map(|_| ())
}

impl LineEnds {
    /// The piece with its line ends made CRLF. A CR at the end of a piece waits for what follows.
    fn convert(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(piece.len() + piece.len() / 32 + 2);
        for &byte in piece {
            match (self.after_cr, byte) {
                (true, b'\n') => text.push(b'\n'),
                (true, b'\r') => text.extend_from_slice(b"\n\r"),
                (true, byte) => text.extend_from_slice(&[b'\n', byte]),
                (false, b'\n') => text.extend_from_slice(b"\r\n"),
                (false, byte) => text.push(byte),
            }
            self.after_cr = byte == b'\r';
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_line_ends_become_crlf_however_the_text_is_cut() {
        for (raw, text) in [
            ("a\nb\n", "a\r\nb\r\n"),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\rb\r", "a\r\nb\r\n"),
            ("\r\r\n\n\r", "\r\n\r\n\r\n\r\n"),
            ("", ""),
        ] {
            for cut in 0..=raw.len() {
                let mut ends = LineEnds::default();
                let mut made = ends.convert(&raw.as_bytes()[..cut]);
                made.extend(ends.convert(&raw.as_bytes()[cut..]));
                if ends.after_cr {
                    made.push(b'\n');
                }
                assert_eq!(String::from_utf8_lossy(&made), text, "{raw:?} cut at {cut}");
            }
        }
    }
}
