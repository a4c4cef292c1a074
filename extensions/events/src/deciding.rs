//! Who decides about messages that arrive at this node: questions go to the deciding extensions that are connected, and what they say in
//! time goes back.
//!
//! States of a question: asked -> decided, once everybody who was asked has answered, left or been late.
//! Invariants: every question is decided once, at the latest when the longest deadline of those asked has passed; nobody is asked
//! about, or heard on, a mailbox that is not in its scope; what several say adds up in the order of their names, whoever was first.
//! Absences: nothing here knows a message, and nothing is kept over a restart: whoever asks goes on without an answer.

use fsm::{Cx, Digest, Duration, Machine, Mono, TimerKey, Token};
use mailstore::face::{Decision, Filing, Question, Scope, SessionId, UserId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The next deadline.
const TIMER: TimerKey = TimerKey(1);

/// Questions that an extension has at once; with more under way it is passed over. Our choice: what a burst over many connections brings.
const UNANSWERED_MAX: usize = 256;

/// An extension that decides.
#[derive(Clone, Debug)]
pub struct Decider {
    pub name: String,
    pub scope: Scope,
    /// How long it may take over a message.
    pub deadline: Duration,
}

/// Names a question to the extensions; of the life of one [`Deciders`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuestionId(pub u64);

/// Everything that can happen to [`Deciders`]. Extensions are named by their place in the list.
#[derive(Clone, Debug)]
pub enum DecidersInput {
    /// A session asks; it hears exactly one `Decide`.
    Asked {
        from: SessionId,
        token: Token,
        question: Arc<Question>,
    },
    /// An extension is connected. It was not, or has `Left`.
    Joined {
        decider: usize,
    },
    Left {
        decider: usize,
    },
    /// What this question was given to is gone; the extension is connected otherwise.
    Dropped {
        decider: usize,
        id: QuestionId,
    },
    Answered {
        decider: usize,
        id: QuestionId,
        decisions: Vec<Decision>,
    },
    TimerFired(TimerKey),
}

/// Everything [`Deciders`] may ask.
#[derive(Clone, Debug, PartialEq)]
pub enum DecidersEffect {
    /// Asks an extension about some mailboxes of a question, by their places in it.
    Ask {
        decider: usize,
        id: QuestionId,
        question: Arc<Question>,
        mailboxes: Vec<usize>,
    },
    Decide {
        to: SessionId,
        token: Token,
        decisions: Vec<Decision>,
    },
    /// A message went on without this extension. `id`: it was asked.
    Missed {
        decider: usize,
        id: Option<QuestionId>,
        why: Missed,
    },
}

/// Why an extension was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It is not connected, or was lost before it answered.
    Away,
    Late,
    /// It has too many questions already.
    Busy,
}

#[derive(Debug)]
struct Open {
    from: SessionId,
    token: Token,
    question: Arc<Question>,
    /// Who has not answered, and until when that is waited for.
    asked: BTreeMap<usize, Mono>,
    answers: BTreeMap<usize, Vec<Decision>>,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Deciders {
    all: Vec<Decider>,
    /// Those that are connected, with the questions they have.
    connected: BTreeMap<usize, BTreeSet<QuestionId>>,
    open: BTreeMap<QuestionId, Open>,
    deadlines: BTreeSet<(Mono, QuestionId, usize)>,
    asked: u64,
}

impl Deciders {
    /// `all`: in the order of their names. None is connected.
    #[must_use]
    pub fn new(all: Vec<Decider>) -> Self {
        Self {
            all,
            connected: BTreeMap::new(),
            open: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            asked: 0,
        }
    }

    /// Questions that are not decided.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    fn on_asked(
        &mut self,
        cx: &mut Cx<'_, DecidersEffect>,
        (from, token): (SessionId, Token),
        question: Arc<Question>,
    ) {
        self.asked += 1;
        let id = QuestionId(self.asked);
        let mut asked = BTreeMap::new();
        for (place, decider) in self.all.iter().enumerate() {
            let mailboxes: Vec<usize> = places(&decider.scope, &question).collect();
            if mailboxes.is_empty() {
                continue;
            }
            let why = match self.connected.get_mut(&place) {
                None => Missed::Away,
                Some(has) if has.len() >= UNANSWERED_MAX => Missed::Busy,
                Some(has) => {
                    has.insert(id);
                    let until = cx.mono().plus(decider.deadline);
                    asked.insert(place, until);
                    self.deadlines.insert((until, id, place));
                    let question = Arc::clone(&question);
                    cx.emit(DecidersEffect::Ask { decider: place, id, question, mailboxes });
                    continue;
                }
            };
            cx.emit(DecidersEffect::Missed { decider: place, id: None, why });
        }
        let answers = BTreeMap::new();
        self.open.insert(id, Open { from, token, question, asked, answers });
        self.decide_if_heard(cx, id);
    }

    /// Nothing more is waited for of this extension.
    fn close(&mut self, id: QuestionId, decider: usize) -> Option<&mut Open> {
        if let Some(has) = self.connected.get_mut(&decider) {
            has.remove(&id);
        }
        let open = self.open.get_mut(&id)?;
        let until = open.asked.remove(&decider)?;
        self.deadlines.remove(&(until, id, decider));
        Some(open)
    }

    fn miss(
        &mut self,
        cx: &mut Cx<'_, DecidersEffect>,
        (id, decider): (QuestionId, usize),
        why: Missed,
    ) {
        if self.close(id, decider).is_some() {
            cx.emit(DecidersEffect::Missed { decider, id: Some(id), why });
            self.decide_if_heard(cx, id);
        }
    }

    fn on_answered(
        &mut self,
        cx: &mut Cx<'_, DecidersEffect>,
        (id, decider): (QuestionId, usize),
        mut decisions: Vec<Decision>,
    ) {
        let Some(Decider { scope, .. }) = self.all.get(decider) else { return };
        let scope = scope.clone();
        let Some(open) = self.close(id, decider) else { return };
        let mailboxes = &open.question.mailboxes;
        let may: BTreeSet<UserId> = places(&scope, &open.question)
            .filter_map(|place| mailboxes.get(place).map(|it| it.user))
            .collect();
        decisions.retain(|decision| may.contains(&decision.user));
        open.answers.insert(decider, decisions);
        self.decide_if_heard(cx, id);
    }

    fn decide_if_heard(&mut self, cx: &mut Cx<'_, DecidersEffect>, id: QuestionId) {
        if self.open.get(&id).is_none_or(|open| !open.asked.is_empty()) {
            return;
        }
        let Some(Open { from, token, answers, .. }) = self.open.remove(&id) else { return };
        let mut said: BTreeMap<UserId, Decision> = BTreeMap::new();
        for decision in answers.into_values().flatten() {
            let nothing = Decision {
                user: decision.user,
                ruling: mailstore::face::Ruling::Take,
                filing: Filing::default(),
            };
            let sum = said.entry(decision.user).or_insert(nothing);
            sum.ruling = sum.ruling.max(decision.ruling);
            sum.filing.add(&decision.filing);
        }
        let decisions = said.into_values().collect();
        cx.emit(DecidersEffect::Decide { to: from, token, decisions });
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, DecidersEffect>) {
        while let Some((until, id, decider)) = self.deadlines.first().copied()
            && until <= cx.mono()
        {
            self.miss(cx, (id, decider), Missed::Late);
        }
    }
}

/// The mailboxes of a question that are in a scope.
fn places(scope: &Scope, question: &Question) -> impl Iterator<Item = usize> {
    let mailboxes = question.mailboxes.iter().enumerate();
    mailboxes.filter(|(_, mailbox)| scope.holds(&mailbox.address)).map(|(place, _)| place)
}

impl Machine for Deciders {
    type Input = DecidersInput;
    type Effect = DecidersEffect;

    fn step(&mut self, cx: &mut Cx<'_, DecidersEffect>, input: DecidersInput) {
        let before = self.deadlines.first().map(|it| it.0);
        match input {
            DecidersInput::Asked { from, token, question } => {
                self.on_asked(cx, (from, token), question);
            }
            DecidersInput::Joined { decider } => {
                self.connected.entry(decider).or_default();
            }
            DecidersInput::Left { decider } => {
                for id in self.connected.remove(&decider).unwrap_or_default() {
                    self.miss(cx, (id, decider), Missed::Away);
                }
            }
            DecidersInput::Dropped { decider, id } => self.miss(cx, (id, decider), Missed::Away),
            DecidersInput::Answered { decider, id, decisions } => {
                self.on_answered(cx, (id, decider), decisions);
            }
            DecidersInput::TimerFired(_) => self.on_timer(cx),
        }
        match self.deadlines.first().map(|it| it.0) {
            None if before.is_some() => cx.cancel(TIMER),
            Some(next) if before != Some(next) => cx.arm(TIMER, next.since(cx.mono())),
            None | Some(_) => {}
        }
    }

    fn digest(&self, digest: &mut Digest) {
        digest.word(self.asked);
        for (id, open) in &self.open {
            digest.word(id.0);
            digest.word(open.token.0);
            open.asked.keys().for_each(|decider| digest.word(*decider as u64));
        }
        for (decider, has) in &self.connected {
            digest.word(*decider as u64 ^ (has.len() as u64) << 8);
        }
    }
}

#[cfg(test)]
mod tests;
