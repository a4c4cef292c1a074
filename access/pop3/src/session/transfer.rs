//! Long responses: messages page by page, listings piece by piece. The next page is asked for when the client took the one
//! before; a small message is one round trip and one send.

use super::conversation::Conversation;
use super::maildrop::{Message, OpenMaildrop};
use super::state::{Output, State};
use crate::codec::{Extent, Stuffer};
use bytes::Bytes;
use fsm::{Cx, Digest, Token};
use mailstore::face::{
    Completion, Section, SectionRead, SessionEffect, UserDone, UserError, UserTask,
};

/// A message on its way to the client.
#[derive(Debug)]
pub struct Transfer {
    message: Message,
    extent: Extent,
    stuffer: Stuffer,
    /// Octets of the message that were read.
    offset: u64,
    page: Page,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Asked(Token),
    /// Asked for once the client has taken what was sent.
    Later,
}

impl Transfer {
    #[must_use]
    pub fn awaits(&self, token: Token) -> bool {
        self.page == Page::Asked(token)
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.message.uid.0.into());
        digest.word(self.offset);
    }
}

/// A listing on its way to the client.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    pub listed: Listed,
    /// Number of the next message.
    pub next: usize,
}

/// What a listing tells of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Octets,
    UniqueIds,
}

impl Conversation {
    pub(super) fn begin_transfer(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: Box<OpenMaildrop>,
        message: Message,
        extent: Extent,
    ) {
        let stuffer = Stuffer::new(extent);
        let transfer = Transfer { message, extent, stuffer, offset: 0, page: Page::Later };
        self.ask_for_page(cx, maildrop, transfer);
    }

    fn ask_for_page(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: Box<OpenMaildrop>,
        mut transfer: Transfer,
    ) {
        let len = match transfer.extent {
            Extent::All => self.limits.page_bytes,
            Extent::Lines(_) => self.limits.top_page_bytes,
        };
        let task = UserTask::ReadSection {
            folder: maildrop.folder,
            uid: transfer.message.uid,
            section: Section::WHOLE,
            offset: transfer.offset,
            len,
        };
        transfer.page = Page::Asked(self.submit(cx, maildrop.account.user, task));
        self.state = State::Transferring { maildrop, transfer };
    }

    pub(super) fn on_page(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: Box<OpenMaildrop>,
        transfer: Transfer,
        completion: Completion,
    ) {
        match completion {
            Completion::User(UserDone::Section(SectionRead::Page { bytes, total })) => {
                self.send_page(cx, maildrop, transfer, (&bytes, total));
            }
            // protocols.md: IMAP expunged it meanwhile.
            Completion::User(UserDone::Failed(UserError::Expunged)) => {
                self.fail_transfer(cx, maildrop, &transfer, "-ERR The message is gone\r\n");
            }
            Completion::User(
                UserDone::Failed(_)
                | UserDone::Section(SectionRead::NoSuchPart | SectionRead::UnknownEncoding),
            )
            | Completion::Refused(_) => {
                let refusal = "-ERR [SYS/TEMP] The message cannot be read now\r\n";
                self.fail_transfer(cx, maildrop, &transfer, refusal);
            }
            Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => panic!("ReadSection is answered with Section"),
        }
    }

    fn send_page(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: Box<OpenMaildrop>,
        mut transfer: Transfer,
        (bytes, total): (&Bytes, u64),
    ) {
        let is_first = transfer.offset == 0;
        transfer.offset = transfer.offset.saturating_add(bytes.len() as u64);
        if bytes.is_empty() && transfer.offset < total {
            // The message ends before its end: better no end than a wrong one.
            let refusal = "-ERR [SYS/TEMP] The message cannot be read now\r\n";
            return self.fail_transfer(cx, maildrop, &transfer, refusal);
        }
        self.out.reserve(bytes.len() + bytes.len() / 64 + 64);
        if is_first {
            match transfer.extent {
                Extent::All => self.reply(&format!("+OK {total} octets\r\n")),
                Extent::Lines(_) => self.reply("+OK\r\n"),
            }
        }
        transfer.stuffer.push(bytes, &mut self.out);
        cx.budget().spend(bytes.len() as u64 / 64);
        if transfer.offset >= total || transfer.stuffer.is_done() {
            transfer.stuffer.finish(&mut self.out);
            self.counts.messages += 1;
            self.state = State::Transaction(maildrop);
            return;
        }
        transfer.page = Page::Later;
        self.state = State::Transferring { maildrop, transfer };
        self.check_output(cx);
        self.continue_transfer(cx);
    }

    /// Before anything was sent of the message the client can be told; later only by closing.
    fn fail_transfer(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: Box<OpenMaildrop>,
        transfer: &Transfer,
        refusal: &str,
    ) {
        self.state = State::Transaction(maildrop);
        if transfer.offset == 0 {
            self.reply(refusal);
        } else {
            self.close(cx);
        }
    }

    /// Goes on with a long response, unless the client has to read first.
    pub(super) fn continue_transfer(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        while let Output::Flowing { .. } = self.output {
            match std::mem::replace(&mut self.state, State::Start) {
                State::Transferring { maildrop, transfer } if transfer.page == Page::Later => {
                    return self.ask_for_page(cx, maildrop, transfer);
                }
                State::Listing { maildrop, listing } => {
                    self.send_listing(cx, maildrop, listing);
                    if !cx.budget().spend(1000) {
                        return cx.yield_now();
                    }
                }
                other => {
                    self.state = other;
                    return;
                }
            }
        }
    }

    fn send_listing(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        maildrop: Box<OpenMaildrop>,
        mut listing: Listing,
    ) {
        let mut room = self.limits.listing_bytes;
        while let Some(message) = maildrop.next_message(listing.next) {
            if room == 0 {
                self.state = State::Listing { maildrop, listing };
                return self.check_output(cx);
            }
            let before = self.out.len();
            listing.listed.write(&maildrop, message, &mut self.out);
            room = room.saturating_sub(self.out.len() - before);
            listing.next = message.number + 1;
        }
        self.out.extend_from_slice(b".\r\n");
        self.state = State::Transaction(maildrop);
        self.check_output(cx);
    }
}
