//! A message that is being kept: its text comes in pieces, and goes to the sink and the scanner.
//!
//! A submitted message's header is held back until it is complete and has been edited; everything else streams.
//! Invariant: what the scanner saw is, byte for byte, what the sink keeps.

use super::body_sink::Head;
use super::submitted::{self, Edited};
use super::{BodySink, Envelope, Fault, HeaderWatch, Sunk, Watched, drop_blob};
use crate::Limits;
use bytes::Bytes;
use fsm::{Cx, Digest, Token};
use mailstore::face::{
    Account, BlobDone, Body, Columns, Completion, DeliveryId, DirectoryDone, DirectoryTask,
    Holders, InternalDate, Lane, SessionEffect, Task,
};
use mailstore::mime::Scanner;
use std::sync::Arc;

/// A message on its way in.
#[derive(Debug)]
pub struct Message {
    pub envelope: Envelope,
    sink: BodySink,
    scanner: Scanner,
    watch: HeaderWatch,
    header: Header,
    /// Lookups of authors that are under way.
    checks: Vec<Token>,
}

/// A message that is complete and durable as far as it is not inline.
#[derive(Debug)]
pub struct Whole {
    pub envelope: Envelope,
    pub body: Body,
    /// Its beginning, if that is wanted: all of it, or the first chunk.
    pub head: Bytes,
    pub columns: Arc<Columns>,
}

impl Whole {
    /// The message is not kept: what was written of it may go.
    pub fn abandon(self, cx: &mut Cx<'_, SessionEffect>) -> Envelope {
        if let Body::Blob { blob, .. } = self.body {
            drop_blob(cx, blob);
        }
        self.envelope
    }
}

/// What happens to the header.
#[derive(Debug)]
enum Header {
    /// It goes by as it is.
    Streamed,
    /// It is collected, to be edited.
    Collected { header: Vec<u8>, submitter: Account },
}

impl Message {
    /// `submitter`: the account, where a message is submitted.
    #[must_use]
    pub fn new(envelope: Envelope, submitter: Option<Account>, limits: &Limits) -> Self {
        let announced = envelope.announced_bytes;
        let holders = match envelope.single_mailbox() {
            Some(_) => Holders::One,
            None => Holders::Several,
        };
        Self {
            envelope,
            sink: BodySink::new(
                announced,
                holders,
                (limits.message_bytes_max, limits.chunk_life),
                if limits.deciding.is_some() { Head::Wanted } else { Head::Dropped },
            ),
            scanner: Scanner::new(&limits.mime),
            watch: HeaderWatch::default(),
            header: match submitter {
                Some(submitter) => Header::Collected { header: Vec::new(), submitter },
                None => Header::Streamed,
            },
            checks: Vec::new(),
        }
    }

    /// Takes text of the message: dots un-stuffed, line ends as they shall stay.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn push(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        text: &[u8],
        limits: &Limits,
    ) -> Result<(), Fault> {
        let watched = self.watch.push(text, limits)?;
        let Header::Collected { header, submitter: _ } = &mut self.header else {
            return self.keep(cx, text);
        };
        header.extend_from_slice(text);
        match watched {
            Watched::Header | Watched::Text => Ok(()),
            Watched::Ended { fields } => self.release_header(cx, fields, limits),
        }
    }

    /// No more text comes.
    ///
    /// # Errors
    /// As of `push`.
    pub fn finish(&mut self, cx: &mut Cx<'_, SessionEffect>, limits: &Limits) -> Result<(), Fault> {
        // A message of fields alone, without the empty line.
        self.release_header(cx, u64::MAX, limits)?;
        self.sink.finish(cx);
        Ok(())
    }

    fn keep(&mut self, cx: &mut Cx<'_, SessionEffect>, text: &[u8]) -> Result<(), Fault> {
        self.sink.push(cx, text)?;
        self.scanner.push(text);
        Ok(())
    }

    /// Edits the first `fields` bytes of what was collected, and lets it all go on.
    fn release_header(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        fields: u64,
        limits: &Limits,
    ) -> Result<(), Fault> {
        let Header::Collected { header, submitter } =
            std::mem::replace(&mut self.header, Header::Streamed)
        else {
            return Ok(());
        };
        let fields = usize::try_from(fields).map_or(header.len(), |at| at.min(header.len()));
        let (header, text) = header.split_at(fields);
        let random = cx.rng().next_u64();
        let completion = submitted::Completion {
            address: &submitter.address,
            date: InternalDate { unix_seconds: cx.wall().unix_seconds(), zone_minutes: 0 },
            queue_id: DeliveryId::new(cx.wall(), random).queue_id(),
            random,
            authors_max: limits.authors_max,
        };
        let Edited { header, authors } = submitted::edit(header, &completion)?;
        self.check_authors(cx, &submitter, authors);
        self.keep(cx, &header)?;
        self.keep(cx, text)
    }

    /// RFC 6409 6.1, protocols.md: From names the account, or addresses that are its own.
    fn check_authors(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        submitter: &Account,
        authors: Vec<Vec<u8>>,
    ) {
        let reverse_path = self.envelope.reverse_path.as_bytes();
        for author in authors {
            let is_account = author.eq_ignore_ascii_case(submitter.address.as_bytes());
            // The reverse path was judged at MAIL.
            if is_account || author == reverse_path {
                continue;
            }
            let user = submitter.user;
            let check = DirectoryTask::CheckSender { user, address: Bytes::from(author) };
            let token = cx.fresh_token();
            let task = Task::Directory(check);
            cx.emit(SessionEffect::Submit { token, lane: Lane::Interactive, task });
            self.checks.push(token);
        }
    }

    /// Nothing that was asked for the message is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.sink.under_way() == 0 && self.checks.is_empty()
    }

    /// Chunks being written.
    #[must_use]
    pub fn chunks_under_way(&self) -> usize {
        self.sink.under_way()
    }

    /// Something that was asked for the message is done.
    ///
    /// # Errors
    /// The message cannot be kept.
    pub fn on_completed(&mut self, token: Token, completion: Completion) -> Result<(), Fault> {
        if let Some(at) = self.checks.iter().position(|&check| check == token) {
            self.checks.swap_remove(at);
            return match completion {
                Completion::Directory(DirectoryDone::SenderChecked { allowed: true }) => Ok(()),
                Completion::Directory(DirectoryDone::SenderChecked { allowed: false }) => {
                    Err(Fault::ForeignAuthor)
                }
                Completion::Refused(_) => Err(Fault::Lookup),
                Completion::Directory(_)
                | Completion::User(_)
                | Completion::Delivery(_)
                | Completion::Blob(_) => panic!("CheckSender is answered with SenderChecked"),
            };
        }
        match (self.sink.on_written(token), completion) {
            (Sunk::Foreign, _) | (Sunk::Ours, Completion::Blob(BlobDone::Written)) => Ok(()),
            (Sunk::Ours, Completion::Refused(refusal)) => Err(Fault::Store(refusal)),
            (
                Sunk::Ours,
                Completion::Blob(BlobDone::Dropped)
                | Completion::Directory(_)
                | Completion::User(_)
                | Completion::Delivery(_),
            ) => panic!("PutChunk is answered with Written"),
        }
    }

    /// The message as it is handed over, once settled.
    #[must_use]
    pub fn into_whole(self) -> Whole {
        assert!(self.is_settled(), "a message is handed over when all of it is durable and judged");
        let (body, head) = self.sink.body();
        Whole { envelope: self.envelope, body, head, columns: Arc::new(self.scanner.finish()) }
    }

    /// The message is not kept: what was written of it may go.
    pub fn abandon(self, cx: &mut Cx<'_, SessionEffect>) -> Envelope {
        self.sink.abandon(cx);
        self.envelope
    }

    pub fn digest(&self, digest: &mut Digest) {
        self.envelope.digest(digest);
        digest.word(self.sink.len());
        digest.word(self.sink.under_way() as u64);
        digest.word(self.checks.len() as u64);
    }
}
