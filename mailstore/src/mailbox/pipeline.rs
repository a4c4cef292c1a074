//! Batches under way: numbered, sent without waiting for each other, settled in order.
//!
//! Invariants: changes take effect in the order of their numbers, each when its batch is known to be committed; after an
//! unknown outcome the same batch is asked again until the answer is definite, and nothing new is assigned meanwhile; after
//! a refusal every later batch is refused too, and the number of the first refused one is used again.

use super::change::{Asker, Change};
use super::format::keys;
use super::machine::Effect;
use crate::face::{FolderId, PendingId, TaskRefusal};
use dds::{Batch, Epoch, Op, Outcome, Refusal, Request, RouteKey, Seq, Writer};
use fsm::{Cx, Duration, Token};
use std::collections::VecDeque;

/// One batch under way.
#[derive(Debug)]
struct Flight {
    token: Token,
    batch: Batch,
    state: FlightState,
    /// An earlier try had no definite answer: it may have applied.
    unsure: bool,
    /// Sent again because its turn had come.
    in_turn: bool,
    change: Change,
}

#[derive(Debug)]
enum FlightState {
    UnderWay,
    Settled(Outcome),
    /// To be asked again at the next pause.
    Unknown,
}

/// Whether new batches may be numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// An outcome is unknown. `pauses` were made to ask again.
    Settling {
        pauses: u32,
    },
    /// A batch was refused; the later ones are being collected.
    RollingBack {
        why: TaskRefusal,
    },
}

/// What the front of the pipeline came to.
#[derive(Debug)]
pub enum Settled {
    /// With the bytes of log entries in the batch, and their folder.
    Committed(Change, Option<(FolderId, u64)>),
    Refused(Change, TaskRefusal),
    /// All batches behind a refused one are collected: assigned state goes back to the committed one.
    RolledBack,
    /// Another master writes, or it can't be known what applied: everything is to be loaded again.
    Lost(Vec<Change>),
}

/// The batches of one epoch.
#[derive(Debug)]
pub struct Pipeline {
    route: RouteKey,
    epoch: Epoch,
    next_seq: u64,
    flights: VecDeque<Flight>,
    mode: Mode,
}

impl Pipeline {
    #[must_use]
    pub fn new(route: RouteKey, epoch: Epoch) -> Self {
        Self { route, epoch, next_seq: 1, flights: VecDeque::new(), mode: Mode::Open }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether a new batch may be numbered now, as far as outcomes are concerned.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.mode == Mode::Open
    }

    /// What a digest folds: epoch, next number, batches under way.
    #[must_use]
    pub fn position(&self) -> [u64; 3] {
        [self.epoch.0, self.next_seq, self.flights.len() as u64]
    }

    /// Sends a batch; `change` comes back when it has settled.
    pub fn submit(&mut self, cx: &mut Cx<'_, Effect>, ops: Vec<Op>, change: Change) {
        assert!(self.is_open(), "nothing is assigned while an outcome is unsettled");
        let writer = Some(Writer { epoch: self.epoch, seq: Seq(self.next_seq) });
        self.next_seq += 1;
        let (route, preconditions) = (self.route.clone(), Vec::new());
        let batch = Batch { route, writer, preconditions, makes_way: change.makes_way(), ops };
        let token = cx.fresh_token();
        cx.emit(Effect::Dds { token, request: Request::Write(batch.clone()) });
        let state = FlightState::UnderWay;
        let flight = Flight { token, batch, state, unsure: false, in_turn: false, change };
        self.flights.push_back(flight);
    }

    /// Notes the outcome of a batch; false when the token is none of ours. `Some` pause: arm the timer and call
    /// [`Pipeline::ask_again`] when it fires.
    pub fn on_outcome(&mut self, token: Token, outcome: Outcome) -> Option<bool> {
        let flight = self.flights.iter_mut().find(|flight| flight.token == token)?;
        let unknown = !flight.is_settled_by(&outcome);
        flight.unsure |= unknown;
        flight.state = if unknown { FlightState::Unknown } else { FlightState::Settled(outcome) };
        if unknown && self.mode == Mode::Open {
            self.mode = Mode::Settling { pauses: 0 };
        }
        Some(unknown)
    }

    /// The pause before the next [`Pipeline::ask_again`].
    #[must_use]
    pub fn pause(&self, first: Duration) -> Duration {
        match self.mode {
            Mode::Settling { pauses } => first * 2_u32.pow(pauses.min(6)),
            Mode::Open | Mode::RollingBack { .. } => first,
        }
    }

    /// Sends every batch of unknown outcome again, under its number.
    pub fn ask_again(&mut self, cx: &mut Cx<'_, Effect>) {
        if let Mode::Settling { pauses } = &mut self.mode {
            *pauses = pauses.saturating_add(1);
        }
        for flight in &mut self.flights {
            if matches!(flight.state, FlightState::Unknown) {
                flight.send_again(cx);
            }
        }
    }

    /// Takes what the front batch came to, when it is definite.
    pub fn settle(&mut self, cx: &mut Cx<'_, Effect>) -> Option<Settled> {
        let Some(front) = self.flights.front_mut() else {
            return match std::mem::replace(&mut self.mode, Mode::Open) {
                Mode::RollingBack { .. } => Some(Settled::RolledBack),
                Mode::Open | Mode::Settling { .. } => None,
            };
        };
        let FlightState::Settled(outcome) = &front.state else {
            return None;
        };
        let seq = front.seq();
        let rolling = matches!(self.mode, Mode::RollingBack { .. });
        match outcome {
            // What follows a refused batch can't be committed: our picture of the route is wrong.
            Outcome::Committed { .. } if rolling => Some(self.lose()),
            Outcome::Committed { .. } => {
                let logged = front.logged();
                self.pop().map(|change| Settled::Committed(change, logged))
            }
            // Another master, or an answer that leaves open whether it applied: the store knows, so load again.
            Outcome::Refused(Refusal::Fenced { .. } | Refusal::Forgotten) => Some(self.lose()),
            Outcome::Refused(Refusal::Corrupt { .. }) if front.unsure => Some(self.lose()),
            // A batch before it was settled late: this one is in turn now.
            Outcome::Refused(Refusal::SequenceGap { expected }) if !rolling => {
                if *expected < seq && !front.in_turn {
                    front.in_turn = true;
                    front.send_again(cx);
                    return None;
                }
                Some(self.lose())
            }
            Outcome::Refused(refusal) => {
                let why = refusal_of(refusal);
                let why = match &self.mode {
                    Mode::RollingBack { why } => *why,
                    Mode::Open | Mode::Settling { .. } => {
                        self.next_seq = seq.0;
                        self.mode = Mode::RollingBack { why };
                        why
                    }
                };
                self.pop().map(|change| Settled::Refused(change, why))
            }
            Outcome::Unknown => None,
        }
    }

    fn lose(&mut self) -> Settled {
        let flights = std::mem::take(&mut self.flights);
        Settled::Lost(flights.into_iter().map(|flight| flight.change).collect())
    }

    /// Whether a batch that shows this pending set is under way.
    #[must_use]
    pub fn shows(&self, pending: PendingId) -> bool {
        self.flights.iter().any(|flight| flight.change.shows() == Some(pending))
    }

    /// Whether a batch of unknown outcome waits to be asked again.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.flights.iter().any(|flight| matches!(flight.state, FlightState::Unknown))
    }

    /// Ends: whoever waits for a batch.
    pub fn abandon(&mut self) -> Vec<Asker> {
        let flights = std::mem::take(&mut self.flights);
        flights.into_iter().flat_map(|flight| flight.change.into_askers()).collect()
    }

    fn pop(&mut self) -> Option<Change> {
        self.flights.pop_front().map(|flight| flight.change)
    }
}

impl Flight {
    /// Log entries of the batch: their folder, and their bytes.
    fn logged(&self) -> Option<(FolderId, u64)> {
        let entries = self.batch.ops.iter().filter_map(|op| match op {
            Op::Put { key, value } => Some((keys::folder_of_log(key)?, value.len() as u64)),
            Op::Delete { .. } | Op::DeleteRange { .. } => None,
        });
        entries.reduce(|(folder, sum), (_, bytes)| (folder, sum + bytes))
    }

    fn seq(&self) -> Seq {
        self.batch.writer.map_or(Seq(0), |writer| writer.seq)
    }

    /// Whether an answer tells what became of the batch.
    fn is_settled_by(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Unknown => false,
            // Said at the door, these tell nothing of an earlier try whose outcome was lost.
            Outcome::Refused(Refusal::Overloaded | Refusal::Unavailable) => !self.unsure,
            Outcome::Committed { .. } | Outcome::Refused(_) => true,
        }
    }

    fn send_again(&mut self, cx: &mut Cx<'_, Effect>) {
        self.token = cx.fresh_token();
        self.state = FlightState::UnderWay;
        let request = Request::Write(self.batch.clone());
        cx.emit(Effect::Dds { token: self.token, request });
    }
}

/// What a session is told of a refusal of the store.
#[must_use]
pub fn refusal_of(refusal: &Refusal) -> TaskRefusal {
    match refusal {
        Refusal::NoSpace => TaskRefusal::NoSpace,
        Refusal::Overloaded => TaskRefusal::Overloaded,
        Refusal::Corrupt { .. } => TaskRefusal::Damaged,
        Refusal::PreconditionFailed { .. }
        | Refusal::Fenced { .. }
        | Refusal::SequenceGap { .. }
        | Refusal::Forgotten
        | Refusal::TooLarge { .. }
        | Refusal::ReservedKey
        | Refusal::Unavailable => TaskRefusal::Unavailable,
    }
}
