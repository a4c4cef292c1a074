//! RCPT: lookups side by side, answers in order.

use super::conversation::Conversation;
use super::state::State;
use crate::Mode;
use crate::codec::Path;
use crate::codec::reply::{self, Reply};
use crate::message::{Envelope, Finding, Lookup, refusal_reply};
use bytes::Bytes;
use fsm::{Cx, Token};
use mailstore::face::{
    Completion, DirectoryDone, DirectoryTask, Lane, Resolved, SessionEffect, Task,
};

impl Conversation {
    pub(super) fn on_rcpt(&mut self, cx: &mut Cx<'_, SessionEffect>, path: Path<'_>) {
        let envelope = match &mut self.state {
            State::Envelope(envelope) => envelope,
            State::BetweenChunks(_) => return self.refuse(reply::BDAT_UNDER_WAY),
            _ => return self.refuse(reply::MAIL_FIRST),
        };
        if envelope.recipients() >= self.limits.recipients_max {
            // RFC 5321 4.5.3.1.10. Not counted as an error: the client goes on with those that were taken.
            return self.reply(reply::TOO_MANY_RECIPIENTS);
        }
        let token = cx.fresh_token();
        let finding = if path.needs_utf8() && !envelope.smtputf8 {
            Finding::Refused(reply::NEEDS_SMTPUTF8)
        } else {
            let address = Bytes::copy_from_slice(path.address.as_bytes());
            let task = Task::Directory(DirectoryTask::Resolve { address });
            cx.emit(SessionEffect::Submit { token, lane: Lane::Delivery, task });
            Finding::Awaited
        };
        envelope.lookups.push_back(Lookup { token, address: path.address.into(), finding });
        self.answer_recipients(cx);
    }

    pub(super) fn on_lookup(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        mut envelope: Box<Envelope>,
        token: Token,
        completion: Completion,
    ) {
        envelope.found(token, self.judge_recipient(completion));
        self.state = State::Envelope(envelope);
        self.answer_recipients(cx);
    }

    fn judge_recipient(&self, completion: Completion) -> Finding {
        match completion {
            Completion::Directory(DirectoryDone::Resolved(resolved)) => match resolved {
                Resolved::Local(mailboxes) if mailboxes.is_empty() => {
                    Finding::Refused(reply::UNKNOWN_USER)
                }
                Resolved::Local(mailboxes) => Finding::Local(mailboxes),
                Resolved::Unknown => Finding::Refused(reply::UNKNOWN_USER),
                Resolved::Disabled => Finding::Refused(reply::DISABLED_USER),
                Resolved::NotLocal => Finding::Refused(self.not_local()),
                Resolved::Malformed => Finding::Refused(reply::BAD_RECIPIENT),
            },
            Completion::Refused(refusal) => Finding::Refused(match refusal_reply(refusal) {
                reply::UNREACHABLE => reply::LOOKUP_FAILED,
                other => other,
            }),
            // A stale answer of another kind: judged by `found`, where its token is unknown.
            Completion::Directory(_)
            | Completion::User(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => Finding::Refused(reply::LOCAL_TROUBLE),
        }
    }

    fn not_local(&self) -> Reply {
        match self.mode {
            Mode::Submission => reply::RELAY_LATER,
            Mode::Smtp | Mode::Lmtp => reply::NOT_LOCAL,
        }
    }

    /// Answers all RCPTs, oldest first, up to one whose lookup is under way.
    fn answer_recipients(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        loop {
            let State::Envelope(envelope) = &mut self.state else { return };
            match envelope.answer_next() {
                None => return,
                Some(Ok(())) => self.reply(reply::RECIPIENT_OK),
                Some(Err((address, refusal))) => {
                    self.reply(refusal);
                    if !refusal.is_temporary() {
                        self.tally.refused_recipients += 1;
                    }
                    self.log_refused(cx, &address, refusal);
                }
            }
        }
    }
}
