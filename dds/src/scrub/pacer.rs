//! Says when which slice of what a node leads is scrubbed, one at a time.
//!
//! States: `Resting` until the next partition's turn -> `Permitted` until the seat has told what became of the permit -> `Pausing`
//! for as long as the bytes read are worth, and so on to the partition's end. In a round every partition has one turn, evenly over
//! the period, from a place drawn at the start: a node that starts again every day gets everywhere too. A round that was
//! asked for has no turns to wait for.
//!
//! Invariants: one permit is out at most; a round that was asked for begins after the question, and is told once.
//!
//! Absences: it knows neither who leads a partition nor what is compared; those who take its permits do.

use super::report::{Finding, Passed, Round, Step};
use crate::PartitionId;
use fsm::{Cx, Digest, Duration, Machine, TimerKey, Token};

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for one round over everything. Zero: only when it is asked for. Our choice: silent damage of disks is a matter of
    /// months (Bairavasundaram et al., FAST 2008).
    pub period: Duration,
    /// Bytes of keys and values read in a second, here and on each other replica; 0: as fast as they come. Our choice: a small
    /// share of what any disk reads.
    pub bytes_per_second: u64,
    /// A partition that can't be looked at now is tried again after this. Our choice: about as long as a change of its group.
    pub retry_after: Duration,
    /// So many tries in one round, then the partition waits for the next one. Our choice: half a minute.
    pub retries_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(7 * 24 * 3600),
            bytes_per_second: 16 << 20,
            retry_after: Duration::from_millis(200),
            retries_max: 150,
        }
    }
}

/// Everything that can happen to a pacer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// These are all that there are, led here or not. Once.
    PartitionsAre(Vec<PartitionId>),
    /// A round over everything shall begin now, or after the one that was asked for before.
    Asked {
        token: Token,
    },
    /// What became of the permit.
    Told {
        partition: PartitionId,
        step: Step,
    },
    TimerFired(TimerKey),
}

/// Everything that it may ask of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The seat of the partition may look at one slice, the first one if it `begins`. To be answered by [`Input::Told`].
    Permit { partition: PartitionId, begins: bool },
    /// For the log of the operator.
    Found { partition: PartitionId, finding: Finding, repairs: u64 },
    /// A round is over. `asked`: who had asked for it.
    Ended { round: Round, asked: Vec<Token> },
}

/// See the head of the file.
#[derive(Debug)]
pub struct Pacer {
    limits: Limits,
    /// The partitions are known.
    known: bool,
    partitions: Vec<PartitionId>,
    /// The place of the partition whose turn it is.
    at: usize,
    /// Partitions that had their turn in this round.
    visited: usize,
    doing: Doing,
    round: Round,
    /// Who waits for the end of this round; empty: it is one of those that come by themselves.
    asked: Vec<Token>,
    /// Who waits for the next one.
    next: Vec<Token>,
    sums: Sums,
}

/// What the rounds of this run have come to, the present one included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub rounds: u64,
    /// The last one that was completed; all zero before.
    pub last: Round,
    pub all: Round,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Resting,
    Permitted(Visit),
    Pausing(Visit),
}

/// A turn of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Visit {
    begun: bool,
    /// Bytes that were paused for.
    paid: u64,
    retries: u32,
}

const NEXT: TimerKey = TimerKey(1);

type Context<'a, 'b> = &'a mut Cx<'b, Effect>;

impl Pacer {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            known: false,
            partitions: Vec::new(),
            at: 0,
            visited: 0,
            doing: Doing::Resting,
            round: Round::default(),
            asked: Vec::new(),
            next: Vec::new(),
            sums: Sums::default(),
        }
    }

    /// What was done and found since the start.
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.sums
    }

    /// No permit is out, and nobody waits for a round.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.doing == Doing::Resting && self.asked.is_empty() && self.next.is_empty()
    }

    fn begin(&mut self, cx: Context<'_, '_>, partitions: Vec<PartitionId>) {
        if std::mem::replace(&mut self.known, true) {
            return;
        }
        if partitions.is_empty() {
            return self.end_empty(cx);
        }
        let place = cx.rng().below(partitions.len() as u64);
        self.at = usize::try_from(place).unwrap_or(0);
        self.partitions = partitions;
        if self.next.is_empty() {
            self.rest(cx);
        } else {
            self.begin_asked(cx);
        }
    }

    /// A round over nothing.
    fn end_empty(&mut self, cx: Context<'_, '_>) {
        self.asked = std::mem::take(&mut self.next);
        if !self.asked.is_empty() {
            self.end(cx);
        }
    }

    /// Waits for the next turn.
    fn rest(&mut self, cx: Context<'_, '_>) {
        self.doing = Doing::Resting;
        if !self.limits.period.is_zero() {
            let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX).max(1);
            cx.arm(NEXT, self.limits.period / count);
        }
    }

    /// What was under way by itself is given up for it.
    fn begin_asked(&mut self, cx: Context<'_, '_>) {
        self.asked = std::mem::take(&mut self.next);
        (self.round, self.visited) = (Round::default(), 0);
        self.permit(cx, Visit::default());
    }

    fn permit(&mut self, cx: Context<'_, '_>, visit: Visit) {
        let Some(&partition) = self.partitions.get(self.at) else { return };
        cx.emit(Effect::Permit { partition, begins: !visit.begun });
        self.doing = Doing::Permitted(Visit { begun: true, ..visit });
    }

    fn pause(&mut self, cx: Context<'_, '_>, visit: Visit, pause: Duration) {
        self.doing = Doing::Pausing(visit);
        cx.arm(NEXT, pause);
    }

    /// How long reading so many bytes may take.
    fn worth(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000;
        let nanos = nanos.checked_div(u128::from(self.limits.bytes_per_second)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn on_told(&mut self, cx: Context<'_, '_>, partition: PartitionId, step: Step) {
        let Doing::Permitted(visit) = self.doing else { return };
        if self.partitions.get(self.at) != Some(&partition) {
            return;
        }
        match step {
            Step::Done(passed) => self.on_passed(cx, (partition, passed), visit),
            // The rest of a round that came by itself is given up for the one that was asked for.
            Step::Read { .. } | Step::Waits | Step::NotLed if self.is_overtaken() => {
                self.begin_asked(cx);
            }
            Step::Read { bytes } => {
                let visit = Visit { paid: visit.paid + bytes, ..visit };
                self.pause(cx, visit, self.worth(bytes));
            }
            Step::Waits if visit.retries >= self.limits.retries_max => {
                self.round.unfinished += 1;
                self.sums.all.unfinished += 1;
                self.turn(cx, Duration::ZERO);
            }
            Step::Waits => {
                let visit = Visit { retries: visit.retries + 1, ..visit };
                self.pause(cx, visit, self.limits.retry_after);
            }
            Step::NotLed => self.turn(cx, Duration::ZERO),
        }
    }

    fn on_passed(
        &mut self,
        cx: Context<'_, '_>,
        (partition, passed): (PartitionId, Passed),
        visit: Visit,
    ) {
        self.round.note(&passed);
        self.sums.all.note(&passed);
        let (bytes, repairs) = (passed.bytes, passed.repairs);
        for finding in passed.findings {
            cx.emit(Effect::Found { partition, finding, repairs });
        }
        self.turn(cx, self.worth(bytes.saturating_sub(visit.paid)));
    }

    /// Somebody waits for a round, and this is not it.
    fn is_overtaken(&self) -> bool {
        self.asked.is_empty() && !self.next.is_empty()
    }

    /// The partition's turn is over. `due`: what was read last is still to be paused for.
    fn turn(&mut self, cx: Context<'_, '_>, due: Duration) {
        self.at = (self.at + 1) % self.partitions.len().max(1);
        self.visited += 1;
        if self.visited >= self.partitions.len() {
            self.end(cx);
        }
        if self.is_overtaken() {
            self.begin_asked(cx);
        } else if self.asked.is_empty() {
            self.rest(cx);
        } else if due.is_zero() {
            self.permit(cx, Visit::default());
        } else {
            self.pause(cx, Visit::default(), due);
        }
    }

    fn end(&mut self, cx: Context<'_, '_>) {
        self.round.end(cx.wall());
        let round = std::mem::take(&mut self.round);
        self.visited = 0;
        self.sums.rounds += 1;
        self.sums.last = round;
        let asked = std::mem::take(&mut self.asked);
        cx.emit(Effect::Ended { round, asked });
    }
}

impl Machine for Pacer {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::PartitionsAre(partitions) => self.begin(cx, partitions),
            Input::Asked { token } => {
                self.next.push(token);
                let idle = !matches!(self.doing, Doing::Permitted(_));
                if self.known && self.partitions.is_empty() {
                    self.end_empty(cx);
                } else if self.known && self.is_overtaken() && idle {
                    self.begin_asked(cx);
                }
            }
            Input::Told { partition, step } => self.on_told(cx, partition, step),
            Input::TimerFired(_) => match self.doing {
                Doing::Resting => self.permit(cx, Visit::default()),
                Doing::Pausing(visit) => self.permit(cx, visit),
                Doing::Permitted(_) => {}
            },
        }
    }

    fn digest(&self, digest: &mut Digest) {
        digest.word(self.at as u64);
        digest.word(self.visited as u64);
        digest.word(match self.doing {
            Doing::Resting => 0,
            Doing::Permitted(visit) => 1 + (visit.paid << 2),
            Doing::Pausing(visit) => 2 + (visit.paid << 2),
        });
        digest.word(self.next.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fsm::{Budget, Host, Mono, Stepped, TimerOp, Wall};

    struct Bench {
        pacer: Pacer,
        host: Host,
        now: Mono,
        timer: Option<Mono>,
    }

    impl Bench {
        fn new(limits: Limits, count: u16) -> Self {
            let (pacer, host) = (Pacer::new(limits), Host::new(1, 1));
            let mut bench = Self { pacer, host, now: Mono(0), timer: None };
            bench.step(Input::PartitionsAre((0..count).map(PartitionId).collect()));
            bench
        }

        fn step(&mut self, input: Input) -> Vec<Effect> {
            let mut stepped = Stepped::default();
            let now = (self.now, Wall(77));
            self.host.step(&mut self.pacer, &mut stepped, now, Budget::new(10), input);
            for op in stepped.timers {
                match op {
                    TimerOp::Arm { at, .. } => self.timer = Some(at),
                    TimerOp::Cancel { .. } => self.timer = None,
                }
            }
            stepped.effects
        }

        /// Waits for the next permit.
        fn permitted(&mut self) -> (PartitionId, bool) {
            self.now = self.timer.take().expect("a timer");
            match self.step(Input::TimerFired(NEXT))[..] {
                [Effect::Permit { partition, begins }] => (partition, begins),
                ref other => panic!("{other:?}"),
            }
        }

        fn told(&mut self, partition: PartitionId, step: Step) -> Vec<Effect> {
            self.step(Input::Told { partition, step })
        }
    }

    fn passed(bytes: u64) -> Step {
        Step::Done(Passed { bytes, ..Passed::default() })
    }

    #[test]
    fn every_partition_has_one_turn_in_a_period() {
        let period = Duration::from_secs(40);
        let mut bench = Bench::new(Limits { period, ..Limits::default() }, 4);
        let mut seen = Vec::new();
        for turn in 1..=8_u64 {
            let (partition, begins) = bench.permitted();
            assert!(begins);
            assert_eq!(bench.now, Mono(turn * 10_000_000_000));
            seen.push(partition.0);
            let step = if turn % 3 == 0 { Step::NotLed } else { passed(1) };
            let told = bench.told(partition, step);
            assert_eq!(told.len(), usize::from(turn % 4 == 0), "{told:?}");
        }
        assert_eq!(seen[..4], seen[4..]);
        seen.truncate(4);
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
        let sums = bench.pacer.sums();
        assert_eq!((sums.rounds, sums.all.partitions, sums.last.ended_ms), (2, 6, 77));
    }

    #[test]
    fn what_is_read_is_paused_for() {
        let limits = Limits { bytes_per_second: 1_000, ..Limits::default() };
        let mut bench = Bench::new(limits, 1);
        bench.step(Input::Asked { token: Token(5) });
        let partition = PartitionId(0);
        bench.told(partition, Step::Read { bytes: 500 });
        assert_eq!(bench.timer, Some(Mono(500_000_000)));
        assert_eq!(bench.permitted(), (partition, false));
        let told = bench.told(partition, passed(750));
        let [Effect::Ended { round, asked }] = &told[..] else { panic!("{told:?}") };
        assert_eq!((round.partitions, round.bytes, &asked[..]), (1, 750, &[Token(5)][..]));
    }

    #[test]
    fn a_round_that_is_asked_for_begins_after_the_question() {
        let mut bench = Bench::new(Limits::default(), 2);
        let (first, _) = bench.permitted();
        assert_eq!(bench.step(Input::Asked { token: Token(5) }), []);
        // The turn that was under way does not count.
        let told = bench.told(first, passed(0));
        let [Effect::Permit { partition, begins: true }] = told[..] else { panic!("{told:?}") };
        let told = bench.told(partition, passed(0));
        let [Effect::Permit { partition, begins: true }] = told[..] else { panic!("{told:?}") };
        // One more, who has to wait for a round of its own.
        assert_eq!(bench.step(Input::Asked { token: Token(6) }), []);
        let told = bench.told(partition, passed(0));
        let [Effect::Ended { asked, .. }, Effect::Permit { partition, .. }] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(asked[..], [Token(5)]);
        let told = bench.told(*partition, Step::NotLed);
        let [Effect::Permit { partition, .. }] = told[..] else { panic!("{told:?}") };
        let told = bench.told(partition, Step::NotLed);
        assert!(matches!(&told[..], [Effect::Ended { asked, .. }] if asked[..] == [Token(6)]));
        assert!(bench.pacer.is_resting());
    }

    #[test]
    fn a_partition_that_is_busy_is_put_off() {
        let limits = Limits { retries_max: 2, ..Limits::default() };
        let mut bench = Bench::new(limits, 1);
        bench.step(Input::Asked { token: Token(5) });
        let partition = PartitionId(0);
        for _ in 0..2 {
            assert_eq!(bench.told(partition, Step::Waits), []);
            assert_eq!(bench.permitted(), (partition, false));
        }
        let told = bench.told(partition, Step::Waits);
        let [Effect::Ended { round, .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!((round.unfinished, round.partitions), (1, 0));
    }

    #[test]
    fn nothing_to_scrub_is_scrubbed_at_once() {
        let mut bench = Bench::new(Limits::default(), 0);
        let told = bench.step(Input::Asked { token: Token(5) });
        assert!(matches!(&told[..], [Effect::Ended { asked, .. }] if asked[..] == [Token(5)]));
    }
}
