//! Deciding extensions as sessions know them: they say anything about a message, at any time, or nothing at all.

use super::{Life, World};
use crate::invariants::decided::{Heard, Said};
use crate::ledger::{UserNumber, id_in};
use crate::options::Mutation;
use fsm::{Rng, Token};
use mailstore::face::{
    AskedMailbox, Decision, Filing, Keyword, Place, Protocol, Question, Ruling, SessionInput,
    SystemFlag, SystemFlags,
};
use vspace::{Inward, SessionId, group_of};

/// How long a session waits.
pub const PATIENCE_NANOS: u64 = 2_000_000_000;
/// Longer than that, now and then.
const NANOS_MAX: u64 = 3_000_000_000;
/// So close to the end of the wait either may come first.
const MARGIN_NANOS: u64 = 100_000_000;

impl World {
    pub(super) fn on_question(
        &mut self,
        life: Life,
        (session, token): (SessionId, Token),
        question: &Question,
    ) {
        if self.rng.chance(1, 20) {
            self.coverage.action("question not answered");
            return self.note_said(question, &[], Heard::Never);
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
        self.note_said(question, &decisions, heard(nanos));
        if self.errs(Mutation::RefuseForAll)
            && decisions.iter().any(|it| it.ruling == Ruling::Refuse)
        {
            let refusal =
                |user| Decision { user, ruling: Ruling::Refuse, filing: Filing::default() };
            decisions = question.mailboxes.iter().map(|it| refusal(it.user)).collect();
        }
        let group = group_of(session);
        if self.errs(Mutation::DecideEarly) {
            let input = SessionInput::Decided { token, decisions: Vec::new() };
            self.arrive(life, group, 1_000, Inward::Session { session, input });
        }
        let input = SessionInput::Decided { token, decisions };
        self.arrive(life, group, nanos, Inward::Session { session, input });
    }

    /// What the client must hear follows from it.
    fn note_said(&mut self, question: &Question, decisions: &[Decision], heard: Heard) {
        let Some(id) = id_in(&question.head) else { return };
        let ruling = |mailbox: &AskedMailbox| {
            let said = decisions.iter().find(|it| it.user == mailbox.user);
            (user_of(&mailbox.recipient), said.map_or(Ruling::Take, |it| it.ruling))
        };
        let rulings = question.mailboxes.iter().map(ruling).collect();
        self.ledger.said.insert(id, Said { heard, rulings });
    }
}

/// `nanos`: until the session hears it.
fn heard(nanos: u64) -> Heard {
    match nanos.abs_diff(PATIENCE_NANOS) {
        0..MARGIN_NANOS => Heard::Either,
        _ if nanos < PATIENCE_NANOS => Heard::InTime,
        _ => Heard::Never,
    }
}

/// Of `u7@example.org` and `u7+detail@example.org`.
fn user_of(recipient: &str) -> Option<UserNumber> {
    recipient.strip_prefix('u')?.split(['@', '+']).next()?.parse().ok()
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
