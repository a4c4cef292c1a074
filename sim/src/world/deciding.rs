//! Deciding extensions as sessions know them: they say anything about a message, at any time, or nothing at all.

use super::{Life, World};
use fsm::{Rng, Token};
use mailstore::face::{
    Decision, Filing, Keyword, Place, Protocol, Question, Ruling, SessionInput, SystemFlag,
    SystemFlags,
};
use vspace::{Inward, SessionId, group_of};

/// Longer than a session waits, now and then.
const NANOS_MAX: u64 = 3_000_000_000;

impl World {
    pub(super) fn on_question(
        &mut self,
        life: Life,
        (session, token): (SessionId, Token),
        question: &Question,
    ) {
        if self.rng.chance(1, 20) {
            self.coverage.action("question not answered");
            return;
        }
        let mut decisions = Vec::new();
        for mailbox in &question.mailboxes {
            if self.rng.chance(1, 2) {
                continue;
            }
            let ruling = match self.rng.below(6) {
                0 => Ruling::Refuse,
                1 => Ruling::Defer,
                _ => Ruling::Take,
            };
            self.coverage.action(match ruling {
                Ruling::Take => "decision: take",
                Ruling::Defer => "decision: defer",
                Ruling::Refuse => "decision: refuse",
            });
            // Who is told of one message alone looks for it in INBOX.
            let may_move = question.protocol == Protocol::Smtp && question.mailboxes.len() > 1;
            let filing = filing(&mut self.rng, may_move);
            decisions.push(Decision { user: mailbox.user, ruling, filing });
        }
        let nanos = if self.rng.chance(1, 4) { self.rng.below(NANOS_MAX) } else { 1_000_000 };
        let input = SessionInput::Decided { token, decisions };
        self.arrive(life, group_of(session), nanos, Inward::Session { session, input });
    }
}

fn filing(rng: &mut Rng, may_move: bool) -> Filing {
    let flags = SystemFlags::default();
    Filing {
        place: (may_move && rng.chance(1, 3)).then_some(Place::Trash),
        flags: if rng.chance(1, 3) { flags.with(SystemFlag::Flagged) } else { flags },
        keywords: if rng.chance(1, 3) {
            Keyword::new(b"decided").into_iter().collect()
        } else {
            Vec::new()
        },
    }
}
