//! What all commands of a session share: the connection, who logged in, what was enabled, and the
//! turn that a job has.

use super::limits::Limits;
use super::output::Output;
use super::reply::Reply;
use super::view::View;
use crate::codec::Framer;
use fsm::{Cx, Token};
use mailstore::face::{
    Account, BlobTask, DirectoryTask, Lane, Peer, SessionCounts, SessionEffect, Task, TlsInfo,
    UserTask,
};
use std::sync::Arc;

/// The session but for the command under way.
#[derive(Debug)]
pub struct Shared {
    pub limits: Arc<Limits>,
    pub peer: Arc<Peer>,
    pub tls: Option<TlsInfo>,
    pub framer: Framer,
    pub output: Output,
    pub login: Login,
    pub enabled: Extensions,
    pub counts: SessionCounts,
    pub failed_logins: u32,
}

/// RFC 9051 3: the states between commands. Logout is the end of the machine.
#[derive(Debug)]
pub enum Login {
    NotAuthenticated,
    Authenticated { account: Account },
    Selected { account: Account, view: Box<View> },
}

/// What the client enabled (RFC 5161), or used and so enabled (RFC 7162 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    pub condstore: bool,
    pub qresync: bool,
    pub utf8: bool,
}

/// One step of one job.
pub struct Turn<'t, 'c> {
    pub cx: &'t mut Cx<'c, SessionEffect>,
    pub shared: &'t mut Shared,
}

impl Shared {
    pub fn account(&self) -> Option<&Account> {
        match &self.login {
            Login::NotAuthenticated => None,
            Login::Authenticated { account } | Login::Selected { account, view: _ } => {
                Some(account)
            }
        }
    }

    pub fn view(&self) -> Option<&View> {
        match &self.login {
            Login::NotAuthenticated | Login::Authenticated { account: _ } => None,
            Login::Selected { account: _, view } => Some(view),
        }
    }

    pub fn view_mut(&mut self) -> Option<&mut View> {
        match &mut self.login {
            Login::NotAuthenticated | Login::Authenticated { account: _ } => None,
            Login::Selected { account: _, view } => Some(view),
        }
    }

    /// Leaves the selected folder, if any, in the session's own books.
    pub fn unselect(&mut self) -> Option<Box<View>> {
        let login = std::mem::replace(&mut self.login, Login::NotAuthenticated);
        let (login, view) = match login {
            Login::Selected { account, view } => (Login::Authenticated { account }, Some(view)),
            Login::NotAuthenticated | Login::Authenticated { account: _ } => (login, None),
        };
        self.login = login;
        view
    }

    /// Selects a folder.
    pub fn select(&mut self, view: View) {
        let login = std::mem::replace(&mut self.login, Login::NotAuthenticated);
        self.login = match login {
            Login::Authenticated { account } | Login::Selected { account, view: _ } => {
                Login::Selected { account, view: Box::new(view) }
            }
            Login::NotAuthenticated => Login::NotAuthenticated,
        };
    }

    /// Whether output must rest until the client has read more.
    pub fn output_is_full(&self) -> bool {
        self.output.undrained_bytes() >= self.limits.undrained_bytes_max
    }
}

impl Turn<'_, '_> {
    /// Asks the master of this session's user.
    pub fn submit_user(&mut self, task: UserTask) -> Token {
        let user = self.shared.account().map(|account| account.user).unwrap_or_default();
        self.submit(Task::User { user, task })
    }

    pub fn submit_directory(&mut self, task: DirectoryTask) -> Token {
        self.submit(Task::Directory(task))
    }

    pub fn submit_blob(&mut self, task: BlobTask) -> Token {
        self.submit(Task::Blob(task))
    }

    fn submit(&mut self, task: Task) -> Token {
        let token = self.cx.fresh_token();
        self.cx.emit(SessionEffect::Submit { token, lane: Lane::Interactive, task });
        token
    }

    /// Answers a command that needs a selected folder without one.
    pub fn nothing_selected() -> Reply {
        Reply::bad("no mailbox is selected")
    }
}
