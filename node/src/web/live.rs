//! New mail appears by itself: server-sent events (WHATWG HTML 9.2) from the watch of a folder.
//!
//! A stream tells `changed`, and goes on when another node becomes master of the mailbox. It ends with `reset` when the folder
//! can't be watched any more, and with `out` when the log-in ends: somebody signed out elsewhere, or was idle too long.

use super::asking::unexpected;
use super::login::Login;
use super::present::Listening;
use super::{Trouble, query_of};
use axum::extract::Request;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use mailstore::face::{FolderId, FolderName, Notice, OpenMode, UserDone, UserTask};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

/// A line now and then, so that whoever is between does not close a quiet connection.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// How often it is looked whether the log-in still counts. Our choice: one record is read for it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often, and after what pause, a folder is opened at a new master: a minute in all. Our choice: a node that dies is missed
/// in far less.
const ATTEMPTS_MAX: u32 = 120;
const PAUSE: Duration = Duration::from_millis(500);

/// A browser that listens. Its session watches the folder.
struct Live {
    login: Login,
    folder: FolderName,
    notices: UnboundedReceiver<Notice>,
    look: Interval,
    listening: Listening,
    ended: bool,
}

impl Live {
    /// What is told next; `None`: nothing any more.
    async fn next(&mut self) -> Option<&'static str> {
        while !self.ended {
            tokio::select! {
                notice = self.notices.recv() => return Some(self.told(notice?).await),
                _ = self.look.tick() => if !self.is_in().await {
                    return Some(self.out());
                }
            }
        }
        None
    }

    fn end(&mut self, last: &'static str) -> &'static str {
        self.ended = true;
        last
    }

    fn out(&mut self) -> &'static str {
        self.listening.forget();
        self.end("out")
    }

    /// What can't be known now may still be so.
    async fn is_in(&self) -> bool {
        let kept = self.login.kept_browser().await;
        kept.map_or(true, |browser| browser.is_some_and(|browser| !browser.code_due))
    }

    /// What a notice is to a browser. The next one comes only to who has looked at what this one is of.
    async fn told(&mut self, notice: Notice) -> &'static str {
        let goes_on = match notice {
            Notice::Changed { folder, mod_seq } => {
                let look = UserTask::Sync { folder, since: mod_seq, expunges_told: mod_seq };
                self.login.user(look).await.is_ok() || self.open_again().await
            }
            Notice::MasterChanged => self.open_again().await,
            Notice::FolderDeleted { .. } => false,
            Notice::Kicked { .. } if !self.is_in().await => return self.out(),
            Notice::Kicked { .. } => false,
        };
        if goes_on { "changed" } else { self.end("reset") }
    }

    /// Whoever is master now watches from here on.
    async fn open_again(&self) -> bool {
        for _ in 0..ATTEMPTS_MAX {
            match open(&self.login, &self.folder).await {
                Ok(()) => return true,
                Err(Trouble::Later(_)) => sleep(PAUSE).await,
                Err(_) => return false,
            }
        }
        false
    }
}

async fn open(login: &Login, folder: &FolderName) -> Result<(), Trouble> {
    let name = folder.clone();
    match login.user(UserTask::OpenFolder { name, mode: OpenMode::ReadOnly, known: None }).await? {
        UserDone::Opened(_) => Ok(()),
        _ => Err(unexpected()),
    }
}

pub async fn live(login: Login, request: Request) -> Result<Response, Trouble> {
    let id = query_of(&request).number("folder").map(FolderId);
    let (_, folders) = login.folders().await?;
    let folder = folders.into_iter().find(|folder| Some(folder.id) == id);
    let folder = folder.ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))?;
    let notices = login.own.listen();
    open(&login, &folder.name).await?;
    let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listening = Listening::of(&login);
    let live = Live { login, folder: folder.name, notices, look, listening, ended: false };
    let events = futures_util::stream::unfold(live, |mut live| async move {
        let name = live.next().await?;
        // WHATWG HTML 9.2.6: an event without data is not told.
        Some((Ok::<_, Infallible>(Event::default().event(name).data(name)), live))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
