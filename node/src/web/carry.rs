//! Mail in and out: a folder as mbox, streamed, so that no node holds more of it than a message on its way in and a page on its way out.

use super::asking::unexpected;
use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::send::{Keeping, keep};
use super::{Shared, Trouble, page as shown};
use axum::body::{Body, Bytes};
use axum::extract::{Multipart, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use html::mbox::{Found, Reader, Writer};
use html::pages::{FoldersPage, Notice};
use mailstore::face::{
    FolderId, FolderName, InternalDate, OpenMode, SECTION_PAGE_BYTES_MAX, Section, SectionRead,
    SystemFlag, SystemFlags, Uid, UidSet, UserDone, UserTask, Want,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces of a folder on their way to a browser.
const PIECES_AHEAD: usize = 4;
/// Rows that are asked for at once.
const ROWS: usize = 256;
/// Most bytes of a file of mail. Our choice: what is larger is for `hikyaku import`.
pub const FILE_BYTES_MAX: usize = 4 << 30;

/// The folder as a file.
pub async fn export(login: Login, Path(folder): Path<u32>) -> Result<Response, Trouble> {
    let (_, folders) = login.folders().await?;
    let here = folders.into_iter().find(|it| it.id == FolderId(folder));
    let here = here.ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))?;
    let open =
        UserTask::OpenFolder { name: here.name.clone(), mode: OpenMode::ReadOnly, known: None };
    let UserDone::Opened(opened) = login.user(open).await? else { return Err(unexpected()) };
    let (to, from) = mpsc::channel(PIECES_AHEAD);
    let uids: Vec<Uid> = opened.uids.iter().collect();
    tokio::spawn(async move {
        if let Err(trouble) = pour(&login, (here.id, &uids), &to).await {
            let fields = vec![
                ("user", login.browser.address.clone()),
                ("reason", trouble.text().to_owned()),
            ];
            crate::log::note(crate::config::LogLevel::Warn, "export", fields);
            // A file that ends early must not look whole: the connection breaks.
            let _gone = to.send(Err(std::io::Error::other("the mailbox can't be read"))).await;
        }
    });
    let name: String =
        here.name.as_str().chars().filter(|c| c.is_alphanumeric()).take(60).collect();
    let name = if name.is_ascii() && !name.is_empty() { name } else { "folder".to_owned() };
    let headers = [
        (header::CONTENT_TYPE, "application/mbox".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.mbox\"")),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(from))).into_response())
}

type Pieces = mpsc::Sender<Result<Bytes, std::io::Error>>;

async fn pour(
    login: &Login,
    (folder, uids): (FolderId, &[Uid]),
    to: &Pieces,
) -> Result<(), Trouble> {
    let mut writer = Writer::default();
    for some in uids.chunks(ROWS) {
        let uids = UidSet::from_iter(some.iter().copied());
        let want = Want::default();
        let task = UserTask::Fetch { folder, uids, want, changed_since: None };
        let UserDone::Fetched { rows } = login.user(task).await? else { return Err(unexpected()) };
        for row in rows {
            let mut out = Vec::new();
            writer.begin("", &asctime(row.internal_date), &mut out);
            let mut offset = 0;
            loop {
                let (uid, section, len) = (row.uid, Section::WHOLE, SECTION_PAGE_BYTES_MAX);
                let task = UserTask::ReadSection { folder, uid, section, offset, len };
                let (bytes, total) = match login.user(task).await {
                    Ok(UserDone::Section(SectionRead::Page { bytes, total })) => (bytes, total),
                    Ok(_) => return Err(unexpected()),
                    // Deleted while it was on its way: what is out already can't be called back.
                    Err(Trouble::NotFound(_)) if offset == 0 => break out.clear(),
                    Err(trouble) => return Err(trouble),
                };
                offset += bytes.len() as u64;
                writer.push(&bytes, &mut out);
                let ended = bytes.is_empty() || offset >= total;
                if ended {
                    writer.end(&mut out);
                }
                if to.send(Ok(std::mem::take(&mut out).into())).await.is_err() {
                    return Ok(());
                }
                if ended {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// As RFC 4155 wants it.
fn asctime(date: InternalDate) -> String {
    let at = jiff::Timestamp::from_second(date.unix_seconds).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// The date of a line that begins a message: what stands behind the sender.
fn date_of(begun: &str) -> Option<InternalDate> {
    let date = begun.split_once(' ')?.1.trim();
    let at = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S %Y", date).ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(InternalDate { unix_seconds: at.timestamp().as_second(), ..InternalDate::default() })
}

/// What came of a file.
#[derive(Debug, Default)]
struct Taken {
    messages: u64,
    too_long: u64,
}

/// A file of mail into a folder. Each message is kept as it comes: what was kept stays when a later one can't be.
pub async fn import(
    State(web): Shared,
    login: Login,
    mut form: Multipart,
) -> Result<Response, Trouble> {
    let busy = || Trouble::Later("Too many files come in at once.".into());
    let _room = web.uploads.try_acquire().map_err(|_| busy())?;
    let broken = |error: axum::extract::multipart::MultipartError| {
        Trouble::Wrong(format!("The file did not arrive whole: {}.", error.body_text()))
    };
    let (mut fields, mut checked) = (Fields::default(), None);
    let mut taken = Taken::default();
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name != "file" {
            fields.push(name, field.text().await.map_err(broken)?);
            continue;
        }
        // The fields stand before the file: nothing of it is kept for a form that is not ours.
        let form = fields.clone().checked(&login)?;
        let to = target(&login, &form).await?;
        checked = Some(());
        let bytes_max = usize::try_from(web.control.message_bytes_max()).unwrap_or(usize::MAX);
        let mut reader = Reader::new(bytes_max);
        let mut found = Vec::new();
        while let Some(piece) = field.chunk().await.map_err(broken)? {
            reader.push(&piece, &mut found);
            store(&login, &to, &mut found, &mut taken).await?;
        }
        reader.finish(&mut found);
        store(&login, &to, &mut found, &mut taken).await?;
    }
    checked.ok_or(Trouble::Foreign)?;
    let notice = match taken {
        Taken { messages: 0, too_long: 0 } => {
            Notice::failed("There is no message in the file: mbox is what is read.")
        }
        Taken { messages, too_long: 0 } => Notice::done(format!("{messages} messages came in.")),
        Taken { messages, too_long } => Notice::failed(format!(
            "{messages} messages came in; {too_long} were longer than a message may be here, and were left out."
        )),
    };
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(&login, &settings, (&infos, &folders)).await?;
    frame.title = "Folders · Hikyaku".into();
    frame.notice = Some(notice);
    shown(&FoldersPage { frame })
}

async fn target(login: &Login, form: &Fields) -> Result<FolderName, Trouble> {
    let to = form.number("to").map(FolderId);
    let (_, folders) = login.folders().await?;
    let to = folders.into_iter().find(|it| Some(it.id) == to);
    to.map(|it| it.name).ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))
}

async fn store(
    login: &Login,
    to: &FolderName,
    found: &mut Vec<Found>,
    taken: &mut Taken,
) -> Result<(), Trouble> {
    for found in found.drain(..) {
        match found {
            Found::TooLong => taken.too_long += 1,
            Found::Message { begun, message } => {
                let date = date_of(&begun);
                let flags = SystemFlags::default().with(SystemFlag::Seen);
                let keeping = Keeping { flags, keywords: Vec::new(), message, date };
                keep(login, to.clone(), keeping).await.map_err(|trouble| match taken.messages {
                    0 => trouble,
                    some => Trouble::Wrong(format!(
                        "{some} messages came in; the next one did not: {}",
                        trouble.text()
                    )),
                })?;
                taken.messages += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_messages_come_back() {
        for unix_seconds in [0, 1_796_000_000] {
            let date = InternalDate { unix_seconds, ..InternalDate::default() };
            assert_eq!(date_of(&format!("a@x {}", asctime(date))), Some(date));
        }
        assert_eq!(date_of("a@x yesterday"), None);
        assert_eq!(date_of(""), None);
    }
}
