//! New mail appears by itself: server-sent events (WHATWG HTML 9.2) from the watch of a folder.

use super::asking::unexpected;
use super::login::Login;
use super::{Trouble, query_of};
use axum::extract::Request;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use mailstore::face::{FolderId, Notice, OpenMode, UserDone, UserTask};
use std::convert::Infallible;
use std::time::Duration;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// A line now and then, so that whoever is between does not close a quiet connection.
const KEEP_ALIVE: Duration = Duration::from_secs(25);

pub async fn live(login: Login, request: Request) -> Result<Response, Trouble> {
    let id = query_of(&request).number("folder").map(FolderId);
    let (_, folders) = login.folders().await?;
    let folder = folders.into_iter().find(|folder| Some(folder.id) == id);
    let folder = folder.ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))?;
    let notices = login.own.listen();
    let open = UserTask::OpenFolder { name: folder.name, mode: OpenMode::ReadOnly, known: None };
    let UserDone::Opened(_) = login.user(open).await? else { return Err(unexpected()) };
    let events = UnboundedReceiverStream::new(notices).map(move |notice| {
        // The log-in lives as long as somebody listens: its session watches the folder.
        let _watching = &login;
        let name = match notice {
            Notice::Changed { .. } => "changed",
            Notice::FolderDeleted { .. } | Notice::Kicked { .. } | Notice::MasterChanged => "reset",
        };
        // WHATWG HTML 9.2.6: an event without data is not told.
        Ok::<_, Infallible>(Event::default().event(name).data(name))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
