//! TRANSACTION and UPDATE (RFC 1939 sections 5 and 6).

use super::conversation::Conversation;
use super::maildrop::{Message, OpenMaildrop};
use super::state::State;
use super::transfer::{Listed, Listing};
use crate::codec::{Command, Extent};
use fsm::Cx;
use mailstore::face::{Completion, SessionEffect, UserDone, UserTask};
use std::io::Write;

const NO_SUCH_MESSAGE: &str = "-ERR No such message\r\n";

impl Conversation {
    pub(super) fn on_transaction(&mut self, cx: &mut Cx<'_, SessionEffect>, command: Command<'_>) {
        let state = std::mem::replace(&mut self.state, State::Start);
        let State::Transaction(mut maildrop) = state else {
            panic!("commands of TRANSACTION are handled in it")
        };
        match command {
            Command::Quit => return self.on_quit(cx, maildrop),
            Command::Retr(number) => return self.on_read(cx, maildrop, number, Extent::All),
            Command::Top { message, lines } => {
                return self.on_read(cx, maildrop, message, Extent::Lines(lines));
            }
            Command::List(None) => return self.list(cx, maildrop, Listed::Octets),
            Command::Uidl(None) => return self.list(cx, maildrop, Listed::UniqueIds),
            Command::List(Some(number)) => self.list_one(&maildrop, number, Listed::Octets),
            Command::Uidl(Some(number)) => self.list_one(&maildrop, number, Listed::UniqueIds),
            Command::Stat => {
                let (messages, octets) = maildrop.stat();
                self.reply(&format!("+OK {messages} {octets}\r\n"));
            }
            Command::Dele(number) => match maildrop.message(number) {
                Some(message) => {
                    maildrop.mark(message);
                    self.reply("+OK Marked for deletion\r\n");
                }
                None => self.refuse(NO_SUCH_MESSAGE),
            },
            Command::Rset => {
                maildrop.unmark_all();
                self.reply("+OK\r\n");
            }
            Command::Noop => self.reply("+OK\r\n"),
            Command::Capa => {
                self.state = State::Transaction(maildrop);
                return self.on_capa();
            }
            // RFC 2595 section 4, RFC 5034 section 4: in AUTHORIZATION only.
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } | Command::Stls => {
                self.refuse("-ERR Already logged in\r\n");
            }
        }
        self.state = State::Transaction(maildrop);
    }

    fn list_one(&mut self, maildrop: &OpenMaildrop, number: u64, listed: Listed) {
        match maildrop.message(number) {
            Some(message) => {
                self.reply("+OK ");
                listed.write(maildrop, message, &mut self.out);
            }
            None => self.refuse(NO_SUCH_MESSAGE),
        }
    }

    fn list(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: Box<OpenMaildrop>,
        listed: Listed,
    ) {
        let (messages, octets) = maildrop.stat();
        match listed {
            Listed::Octets => self.reply(&format!("+OK {messages} messages ({octets} octets)\r\n")),
            Listed::UniqueIds => self.reply("+OK\r\n"),
        }
        self.state = State::Listing { maildrop, listing: Listing { listed, next: 1 } };
        self.continue_transfer(cx);
    }

    fn on_read(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: Box<OpenMaildrop>,
        number: u64,
        extent: Extent,
    ) {
        match maildrop.message(number) {
            Some(message) => self.begin_transfer(cx, maildrop, message, extent),
            None => {
                self.state = State::Transaction(maildrop);
                self.refuse(NO_SUCH_MESSAGE);
            }
        }
    }

    /// RFC 1939 section 6: only QUIT deletes; the answer waits until it is durable.
    fn on_quit(&mut self, cx: &mut Cx<'_, SessionEffect>, maildrop: Box<OpenMaildrop>) {
        let delete = maildrop.marked();
        let task = if delete.is_empty() {
            UserTask::ReleaseMaildrop
        } else {
            UserTask::CommitMaildrop { delete }
        };
        let token = self.submit(cx, maildrop.account.user, task);
        self.state = State::Updating { token, maildrop };
    }

    pub(super) fn on_updated(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: &OpenMaildrop,
        completion: &Completion,
    ) {
        let deleted = !maildrop.marked().is_empty();
        match completion {
            Completion::User(UserDone::Done) => self.reply("+OK Bye\r\n"),
            Completion::User(UserDone::Failed(_)) | Completion::Refused(_) if deleted => {
                self.reply("-ERR [SYS/TEMP] The messages could not be deleted now\r\n");
                // The commit may have left the lock.
                self.submit(cx, maildrop.account.user, UserTask::ReleaseMaildrop);
            }
            Completion::User(UserDone::Failed(_)) | Completion::Refused(_) => {
                self.reply("+OK Bye\r\n");
            }
            Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => panic!("UPDATE is answered with Done"),
        }
        self.close(cx);
    }
}

impl Listed {
    /// One line of LIST or UIDL.
    pub(super) fn write(self, maildrop: &OpenMaildrop, message: Message, out: &mut Vec<u8>) {
        let written = match self {
            Self::Octets => write!(out, "{} {}\r\n", message.number, message.octets),
            Self::UniqueIds => {
                write!(out, "{} {}\r\n", message.number, maildrop.unique_id(message))
            }
        };
        written.expect("writing to memory does not fail");
    }
}
