//! Orders on their way into the store: one batch under way, the rest waits in order.
//!
//! What waits when a batch completes goes into the next one together, as far as the orders cannot
//! affect each other: new accounts of domains that have one. Everything else is planned alone,
//! against tables that show all before it.
//! States: no batch; `Flight` under way; `Flight` that waits for its retry.
//! Invariants: a change is visible, and its asker answered, once it is durable; an unknown outcome
//! is asked again under the same sequence number until it is definite.
//! Absences: nothing here judges an order; that is `plan`.

use super::Effect;
use super::format::{account_key, alias_key, domain_key, erasing_key, route};
use super::limits::Limits;
use super::login::Upgrade;
use super::plan::{Aftermath, Ground, Plan, plan, plan_upgrade, plan_used};
use super::plan_second_factor::plan_code;
use super::tables::{Change, Tables};
use super::{TIMER_COMMIT, answer, refuse_task};
use crate::address::Address;
use crate::backoff::backoff;
use crate::face::{
    AdminDone, AdminTask, AuthRefusal, CheckCode, DirectoryDone, SessionId, TaskRefusal, UserId,
};
use crate::verdict::{Verdict, judge};
use dds::{Batch, Epoch, Op, Request, Response, Seq, Writer};
use fsm::{Cx, Digest, Token, Wall};
use std::collections::{BTreeSet, VecDeque};

/// Something that is to be changed.
#[derive(Debug)]
pub enum Order {
    Admin {
        to: (SessionId, Token),
        task: AdminTask,
    },
    /// A code of a second factor that was right when it was judged.
    Code {
        to: (SessionId, Token),
        check: CheckCode,
    },
    Upgrade {
        upgrade: Upgrade,
        phc: String,
    },
    Used(Vec<((UserId, u64), Wall)>),
    Erased(UserId),
}

/// What an order came to, until it is durable.
#[derive(Debug)]
struct Planned {
    to: Option<(SessionId, Token)>,
    /// What the asker is told then.
    done: DirectoryDone,
    plan: Plan,
}

/// A batch that is not durable yet.
#[derive(Debug)]
struct Flight {
    stage: Stage,
    batch: Batch,
    planned: Vec<Planned>,
    tries: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    UnderWay(Token),
    /// The outcome is unknown; the timer asks again.
    Waiting,
}

/// The writer of the directory.
#[derive(Debug)]
pub struct Commits {
    writer: Writer,
    queue: VecDeque<Order>,
    flight: Option<Flight>,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Settled {
    /// Durable: the tables may show it.
    Applied { changes: Vec<Change>, aftermath: Vec<Aftermath>, words: Vec<String> },
    /// Nothing happened; the askers have been told.
    Nothing,
    /// Another writer took over, or the store forgot us: load again.
    Lost,
    /// Not ours, or not settled yet.
    Pending,
}

impl Commits {
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { writer: Writer { epoch, seq: Seq(1) }, queue: VecDeque::new(), flight: None }
    }

    /// Takes an order; a full queue is a refusal.
    pub fn push(&mut self, cx: &mut Cx<'_, Effect>, limits: &Limits, order: Order) {
        if self.queue.len() < limits.changes_waiting_max {
            self.queue.push_back(order);
            return;
        }
        match order {
            Order::Admin { to, task: _ } | Order::Code { to, check: _ } => {
                refuse_task(cx, to, TaskRefusal::Overloaded);
            }
            // The next log-in tries again; the date is a little older; the next start erases again.
            Order::Upgrade { upgrade: _, phc: _ } | Order::Used(_) | Order::Erased(_) => {}
        }
    }

    /// Plans and sends the next batch, if none is under way.
    pub fn advance(&mut self, cx: &mut Cx<'_, Effect>, limits: &Limits, tables: &Tables) {
        if self.flight.is_some() {
            return;
        }
        let mut planned: Vec<Planned> = Vec::new();
        let mut group = Group::default();
        while let Some(order) = self.queue.front() {
            let joins = group.admits(tables, order);
            if !planned.is_empty() && (!joins || planned.len() >= limits.changes_per_commit) {
                break;
            }
            let Some(order) = self.queue.pop_front() else { break };
            planned.extend(plan_order(cx, limits, tables, (&mut group, order)));
            if !joins && !planned.is_empty() {
                break;
            }
        }
        if planned.is_empty() {
            return;
        }
        let ops = planned.iter().flat_map(|planned| &planned.plan.changes).map(op_of).collect();
        let batch = Batch {
            route: route(),
            writer: Some(self.writer),
            preconditions: Vec::new(),
            makes_way: false,
            ops,
        };
        let token = send(cx, &batch);
        self.flight = Some(Flight { stage: Stage::UnderWay(token), batch, planned, tries: 0 });
    }

    /// The store has answered.
    pub fn on_response(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        limits: &Limits,
        token: Token,
        response: &Response,
    ) -> Settled {
        let Some(mut flight) = self.flight.take_if(|flight| flight.stage == Stage::UnderWay(token))
        else {
            return Settled::Pending;
        };
        match judge(response, flight.tries) {
            Verdict::Committed => {
                self.writer.seq.0 += 1;
                applied(cx, flight)
            }
            Verdict::Unknown => {
                flight.stage = Stage::Waiting;
                flight.tries = flight.tries.saturating_add(1);
                let wait = backoff(cx, (limits.retry_min, limits.retry_max), flight.tries);
                cx.arm(TIMER_COMMIT, wait);
                self.flight = Some(flight);
                Settled::Pending
            }
            Verdict::Refused(reason) => {
                for to in flight.planned.into_iter().filter_map(|planned| planned.to) {
                    refuse_task(cx, to, reason);
                }
                Settled::Nothing
            }
            Verdict::Lost => lost(cx, flight),
        }
    }

    /// The wait for a definite outcome is over.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Effect>) {
        if let Some(flight) = &mut self.flight
            && flight.stage == Stage::Waiting
        {
            flight.stage = Stage::UnderWay(send(cx, &flight.batch));
        }
    }

    /// Orders that were not sent, for the writer after this one.
    pub fn into_queue(self) -> VecDeque<Order> {
        self.queue
    }

    pub fn take_queue(&mut self, queue: VecDeque<Order>) {
        self.queue = queue;
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.writer.epoch.0);
        digest.word(self.writer.seq.0);
        digest.word(self.queue.len() as u64);
        digest.word(self.flight.as_ref().map_or(0, |flight| flight.planned.len() as u64));
    }
}

/// Orders that may share a batch: each a new account, of another name.
#[derive(Debug, Default)]
struct Group {
    names: BTreeSet<String>,
    users: BTreeSet<UserId>,
}

impl Group {
    fn admits(&mut self, tables: &Tables, order: &Order) -> bool {
        let Order::Admin { to: _, task: AdminTask::AccountAdd { address, phc: _ } } = order else {
            return false;
        };
        let Ok(address) = Address::parse(address.as_bytes()) else { return false };
        let has_first =
            tables.domains.get(&address.domain).is_some_and(|entry| !entry.accounts.is_empty());
        has_first && self.names.insert(address.canonical())
    }
}

/// Plans one order; the asker of one that changes nothing is answered at once.
fn plan_order(
    cx: &mut Cx<'_, Effect>,
    limits: &Limits,
    tables: &Tables,
    (group, order): (&mut Group, Order),
) -> Option<Planned> {
    match order {
        Order::Admin { to, task } => {
            let fresh_user = draw_user(cx, tables, &mut group.users);
            let ground = Ground { limits, tables, now: cx.wall(), fresh_user };
            match plan(&ground, task) {
                Ok(plan) => Some(Planned {
                    to: Some(to),
                    done: DirectoryDone::Admin(AdminDone::Done),
                    plan,
                }),
                Err(done) => {
                    answer(cx, to, DirectoryDone::Admin(done));
                    None
                }
            }
        }
        Order::Code { to, check } => {
            let Some((change, account)) = plan_code(tables, (check.user, &check.code), cx.wall())
            else {
                // Used up, or turned off, by what stood before it.
                answer(cx, to, DirectoryDone::AuthRefused(AuthRefusal::WrongCredentials));
                return None;
            };
            let done = DirectoryDone::Authenticated(account);
            Some(Planned { to: Some(to), done, plan: silent(vec![change]) })
        }
        Order::Upgrade { upgrade, phc } => quiet(plan_upgrade(tables, &upgrade, phc)),
        Order::Used(used) => quiet(plan_used(limits, tables, &used)),
        Order::Erased(user) => {
            quiet(tables.erasing.contains(&user).then_some(Change::Erased(user)))
        }
    }
}

/// Changes that nobody waits for.
fn quiet(changes: impl IntoIterator<Item = Change>) -> Option<Planned> {
    let changes: Vec<Change> = changes.into_iter().collect();
    if changes.is_empty() {
        return None;
    }
    let done = DirectoryDone::Admin(AdminDone::Done);
    Some(Planned { to: None, done, plan: silent(changes) })
}

/// Changes that are not the operator's: the log has no line of them.
fn silent(changes: Vec<Change>) -> Plan {
    Plan { changes, aftermath: Vec::new(), change: String::new() }
}

/// A user id that no account has, none that is being erased, and none of this batch. Never 0.
fn draw_user(cx: &mut Cx<'_, Effect>, tables: &Tables, drawn: &mut BTreeSet<UserId>) -> UserId {
    loop {
        let user = UserId(cx.rng().next_u64());
        let taken = tables.accounts.contains_key(&user) || tables.erasing.contains(&user);
        if user.0 != 0 && !taken && drawn.insert(user) {
            return user;
        }
    }
}

fn op_of(change: &Change) -> Op {
    match change {
        Change::Put(record) => Op::Put { key: record.key(), value: record.value() },
        Change::RemoveDomain(domain) => Op::Delete { key: domain_key(domain) },
        Change::RemoveAccount(user) => Op::Delete { key: account_key(*user) },
        Change::RemoveAlias(alias) => Op::Delete { key: alias_key(alias) },
        Change::Erased(user) => Op::Delete { key: erasing_key(*user) },
    }
}

fn send(cx: &mut Cx<'_, Effect>, batch: &Batch) -> Token {
    let token = cx.fresh_token();
    cx.emit(Effect::Dds { token, request: Request::Write(batch.clone()) });
    token
}

fn applied(cx: &mut Cx<'_, Effect>, flight: Flight) -> Settled {
    let (mut changes, mut aftermath, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for Planned { to, done, plan } in flight.planned {
        changes.extend(plan.changes);
        aftermath.extend(plan.aftermath);
        words.extend(Some(plan.change).filter(|change| !change.is_empty()));
        if let Some(to) = to {
            answer(cx, to, done);
        }
    }
    Settled::Applied { changes, aftermath, words }
}

/// Whether the batch applied shows once the directory is loaded again.
fn lost(cx: &mut Cx<'_, Effect>, flight: Flight) -> Settled {
    for Planned { to, done, plan } in flight.planned {
        let Some(to) = to else { continue };
        if matches!(done, DirectoryDone::Authenticated(_)) {
            // A code that may be used up: the next one is right whatever happened.
            answer(cx, to, DirectoryDone::AuthRefused(AuthRefusal::Unavailable));
            continue;
        }
        let text = format!(
            "{}: or not, for the directory moved meanwhile; look with the list command and try \
             again",
            plan.change
        );
        answer(cx, to, DirectoryDone::Admin(AdminDone::Refused(text)));
    }
    Settled::Lost
}
