//! New mail appears by itself: server-sent events (WHATWG HTML 9.2) from the watch of a folder.

use super::asking::unexpected;
use super::login::Login;
use super::{Trouble, query_of};
use axum::extract::Request;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use mailstore::face::{FolderId, Notice, OpenMode, UserDone, UserTask};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// A line now and then, so that whoever is between does not close a quiet connection.
const KEEP_ALIVE: Duration = Duration::from_secs(25);

/// What a notice is to a browser. The next one comes only to who has looked at what this one is of.
async fn told(login: &Login, notice: Notice) -> &'static str {
    let Notice::Changed { folder, mod_seq } = notice else { return "reset" };
    let look = UserTask::Sync { folder, since: mod_seq, expunges_told: mod_seq };
    if login.user(look).await.is_ok() { "changed" } else { "reset" }
}

pub async fn live(login: Login, request: Request) -> Result<Response, Trouble> {
    let id = query_of(&request).number("folder").map(FolderId);
    let (_, folders) = login.folders().await?;
    let folder = folders.into_iter().find(|folder| Some(folder.id) == id);
    let folder = folder.ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))?;
    let notices = login.own.listen();
    let open = UserTask::OpenFolder { name: folder.name, mode: OpenMode::ReadOnly, known: None };
    let UserDone::Opened(_) = login.user(open).await? else { return Err(unexpected()) };
    // The log-in lives as long as somebody listens: its session watches the folder.
    let watching = Arc::new(login);
    let events = UnboundedReceiverStream::new(notices).then(move |notice| {
        let login = Arc::clone(&watching);
        async move {
            let name = told(&login, notice).await;
            // WHATWG HTML 9.2.6: an event without data is not told.
            Ok::<_, Infallible>(Event::default().event(name).data(name))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
