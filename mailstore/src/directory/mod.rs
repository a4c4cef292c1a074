//! The directory: domains, accounts, aliases and credentials; who may log in, and where an address
//! leads.
//!
//! States: `Idle` (waits for the first input or a retry) -> `Claiming` -> `Scanning` -> `Serving`;
//! back to `Claiming` when another writer took over. Tasks that come before `Serving` wait in a
//! bounded queue.
//! Invariants: it answers from memory, and memory shows what is committed; every task is answered
//! exactly once; a record that can't be read makes "no such address" a temporary answer, never a
//! bounce.
//! Absences: it hashes no password, knows no mailbox, and holds no lock; log-ins are logged by
//! their sessions.

mod attempts;
mod bounded;
mod commit;
pub(crate) mod format;
mod limits;
mod load;
mod login;
mod plan;
mod plan_names;
mod plan_second_factor;
mod resolve;
mod second_factor;
mod tables;
#[cfg(test)]
mod tests;

pub use attempts::Net;
pub use limits::Limits;
pub use second_factor::{code_at, recovery_hash, step_of};

use crate::face::{
    AccountFacts, AdminDone, AdminTask, Completion, CredentialEntry, DirectoryDone, DirectoryTask,
    LogEvent, Resolved, SessionId, TaskRefusal, UserId,
};
use crate::sweep::UsersPage;
use bytes::Bytes;
use commit::{Commits, Order, Settled};
use dds::{Epoch, Request, Response, SortKey};
use fsm::{Cx, Digest, Machine, TimerKey, Token};
use login::Logins;
use plan::{Aftermath, account_line, parse_domain, scheme_of};
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use tables::{AccountEntry, Tables};

/// Loading is tried again.
const TIMER_LOAD: TimerKey = TimerKey(1);
/// A batch of unknown outcome is asked again.
const TIMER_COMMIT: TimerKey = TimerKey(2);
/// Dates of last use are written down.
const TIMER_LAST_USED: TimerKey = TimerKey(3);

/// Everything that can happen to the directory. The first input is `Resumed`: it begins to load.
#[derive(Debug)]
pub enum Input {
    Asked {
        from: SessionId,
        token: Token,
        task: DirectoryTask,
    },
    DdsDone {
        token: Token,
        response: Response,
    },
    /// The hash pool has compared.
    Hashed {
        token: Token,
        verdict: HashVerdict,
    },
    /// The hash pool has made a hash; `None`: it had no room.
    Rehashed {
        token: Token,
        phc: Option<String>,
    },
    /// A master wants to know its account. Answered with `AccountIs`, now and whenever the facts
    /// change.
    AskedAccount {
        user: UserId,
    },
    /// The collector wants all users behind `after`, by rising id. Answered with `UsersAre`.
    AskedUsers {
        token: Token,
        after: Option<UserId>,
        users_max: usize,
    },
    /// The mail of a removed account is gone.
    Erased {
        user: UserId,
    },
    TimerFired(TimerKey),
    Resumed,
}

/// Everything the directory may ask.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    Answer {
        to: SessionId,
        token: Token,
        completion: Completion,
    },
    Dds {
        token: Token,
        request: Request,
    },
    /// Compare a secret with a hash, in the pool, fairly among `peer`s. Done: `Hashed`. The secret
    /// overwrites itself when its last holder lets go.
    VerifyHash {
        token: Token,
        peer: IpAddr,
        phc: String,
        secret: Bytes,
    },
    /// Make a hash of ours. Done: `Rehashed`.
    Rehash {
        token: Token,
        secret: Bytes,
    },
    AccountIs {
        user: UserId,
        facts: AccountFacts,
    },
    /// The user may have logged in once a hash is made: the mailbox can be loaded meanwhile.
    Expected {
        user: UserId,
    },
    UsersAre(UsersPage),
    /// Sessions of the user end, with this reason.
    Kick {
        user: UserId,
        reason: &'static str,
    },
    /// All mail of the user goes. Done: `Erased`; asked again at every start until then.
    EraseUser {
        user: UserId,
    },
    Log(LogEvent),
    /// Loaded: emitted once.
    Ready,
}

/// What the hash pool says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashVerdict {
    Matches,
    Differs,
    /// No room now, or the hash can't be read.
    Busy,
}

/// What a directory is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub limits: Arc<Limits>,
    /// Drawn at random for each run: keys the tags of secrets.
    pub tag_key: [u8; 16],
    /// A hash of ours that no secret matches: unknown users cost as much as others.
    pub dummy_phc: Arc<str>,
}

/// A task that came before the directory was loaded.
#[derive(Debug)]
enum Waiting {
    Task { from: SessionId, token: Token, task: DirectoryTask },
    Users { token: Token, after: Option<UserId>, users_max: usize },
}

#[derive(Debug)]
enum State {
    /// Nothing is under way: before the first input, or until the timer.
    Idle,
    Claiming {
        token: Token,
    },
    Scanning {
        token: Token,
        epoch: Epoch,
        from: SortKey,
    },
    Serving(Commits),
}

/// The directory of a node.
#[derive(Debug)]
pub struct Directory {
    limits: Arc<Limits>,
    state: State,
    tables: Tables,
    logins: Logins,
    waiting: VecDeque<Waiting>,
    /// Masters that asked before the directory was loaded.
    masters_waiting: BTreeSet<UserId>,
    /// Orders of a writer before this one that were never sent.
    orders_kept: VecDeque<Order>,
    load_tries: u32,
    announced: bool,
    last_used_armed: bool,
}

impl Machine for Directory {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::Asked { from, token, task } => {
                self.begin_loading(cx);
                self.on_asked(cx, (from, token), task);
            }
            Input::DdsDone { token, response } => self.on_dds_done(cx, token, response),
            Input::Hashed { token, verdict } => {
                // While the tables are read again, nobody can be told that a password is wrong.
                let serving = matches!(self.state, State::Serving(_));
                let verdict = if serving { verdict } else { HashVerdict::Busy };
                self.logins.on_verdict(cx, (&self.limits, &self.tables), token, verdict);
                self.note_use(cx);
            }
            Input::Rehashed { token, phc } => self.on_rehashed(cx, token, phc),
            Input::AskedAccount { user } => self.on_asked_account(cx, user),
            Input::AskedUsers { token, after, users_max } => {
                self.on_asked_users(cx, token, (after, users_max));
            }
            Input::Erased { user } => self.order(cx, Order::Erased(user)),
            Input::TimerFired(TIMER_LOAD) | Input::Resumed => self.begin_loading(cx),
            Input::TimerFired(TIMER_COMMIT) => self.on_commit_timer(cx),
            Input::TimerFired(TIMER_LAST_USED) => self.on_last_used_timer(cx),
            Input::TimerFired(TimerKey(_)) => {}
        }
    }

    fn digest(&self, digest: &mut Digest) {
        match &self.state {
            State::Idle => digest.word(1),
            State::Claiming { token } => digest.word(token.0 ^ 2),
            State::Scanning { token, epoch, from } => {
                digest.word(token.0 ^ 3);
                digest.word(epoch.0);
                digest.bytes(&from.0);
            }
            State::Serving(commits) => commits.digest(digest),
        }
        digest.word(self.waiting.len() as u64);
        self.logins.digest(digest);
        self.tables.digest(digest);
    }
}

impl Directory {
    /// Accounts known now.
    #[must_use]
    pub fn account_count(&self) -> usize {
        self.tables.account_count()
    }

    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let logins = Logins::new(&setup.limits, setup.tag_key, setup.dummy_phc);
        Self {
            limits: setup.limits,
            state: State::Idle,
            tables: Tables::default(),
            logins,
            waiting: VecDeque::new(),
            masters_waiting: BTreeSet::new(),
            orders_kept: VecDeque::new(),
            load_tries: 0,
            announced: false,
            last_used_armed: false,
        }
    }

    fn on_asked(&mut self, cx: &mut Cx<'_, Effect>, to: (SessionId, Token), task: DirectoryTask) {
        if !matches!(self.state, State::Serving(_)) {
            let (from, token) = to;
            return self.wait(cx, Waiting::Task { from, token, task });
        }
        match task {
            DirectoryTask::Resolve { address } => {
                let resolved = self.tables.resolve(&self.limits, &address);
                self.answer_resolved(cx, to, resolved);
            }
            DirectoryTask::Authenticate(attempt) => {
                self.logins.on_attempt(cx, (&self.limits, &self.tables), to, attempt);
                self.note_use(cx);
            }
            DirectoryTask::CheckSender { user, address } => {
                let allowed = self.tables.may_send_as(&self.limits, user, &address);
                answer(cx, to, DirectoryDone::SenderChecked { allowed });
            }
            DirectoryTask::CheckCode(check) => {
                let ground = (&*self.limits, &self.tables);
                if self.logins.on_code(cx, ground, to, &check) {
                    self.order(cx, Order::Code { to, check });
                }
            }
            DirectoryTask::Admin(task) => match self.read_only(&task) {
                Some(done) => answer(cx, to, DirectoryDone::Admin(done)),
                None => self.order(cx, Order::Admin { to, task }),
            },
        }
    }

    /// What is not found may be what could not be read: the client shall try again.
    fn answer_resolved(&self, cx: &mut Cx<'_, Effect>, to: (SessionId, Token), found: Resolved) {
        match found {
            Resolved::Unknown | Resolved::NotLocal if self.tables.damaged > 0 => {
                refuse_task(cx, to, TaskRefusal::Damaged);
            }
            Resolved::Local(_)
            | Resolved::Unknown
            | Resolved::Disabled
            | Resolved::NotLocal
            | Resolved::Malformed => answer(cx, to, DirectoryDone::Resolved(found)),
        }
    }

    fn wait(&mut self, cx: &mut Cx<'_, Effect>, waiting: Waiting) {
        if self.waiting.len() < self.limits.tasks_waiting_max {
            return self.waiting.push_back(waiting);
        }
        match waiting {
            Waiting::Task { from, token, task: _ } => {
                refuse_task(cx, (from, token), TaskRefusal::Overloaded);
            }
            // The collector's asking is one at a time, and it must be answered.
            Waiting::Users { .. } => self.waiting.push_back(waiting),
        }
    }

    fn on_asked_account(&mut self, cx: &mut Cx<'_, Effect>, user: UserId) {
        self.begin_loading(cx);
        match self.state {
            State::Serving(_) => {
                cx.emit(Effect::AccountIs { user, facts: self.tables.facts(user) });
            }
            State::Idle | State::Claiming { .. } | State::Scanning { .. } => {
                self.masters_waiting.insert(user);
            }
        }
    }

    fn on_asked_users(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        token: Token,
        (after, users_max): (Option<UserId>, usize),
    ) {
        self.begin_loading(cx);
        if !matches!(self.state, State::Serving(_)) {
            return self.wait(cx, Waiting::Users { token, after, users_max });
        }
        let first = match after {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Unbounded,
        };
        let mut rest =
            self.tables.accounts.range((first, std::ops::Bound::Unbounded)).map(|(user, _)| *user);
        let users: Vec<UserId> = rest.by_ref().take(users_max).collect();
        let more = rest.next().is_some();
        let missing = self.tables.damaged;
        cx.emit(Effect::UsersAre(UsersPage { token, users, more, missing }));
    }

    /// Orders that only read are answered from the tables.
    fn read_only(&self, task: &AdminTask) -> Option<AdminDone> {
        let done = match task {
            AdminTask::DomainList => Ok(plan_names::list_domains(&self.tables)),
            AdminTask::AliasList { domain } => only_domain(domain.as_deref())
                .map(|only| plan_names::list_aliases(&self.tables, only.as_ref())),
            AdminTask::AccountList { domain } => {
                only_domain(domain.as_deref()).map(|only| self.list_accounts(only.as_ref()))
            }
            AdminTask::AccountShow { address } => {
                self.account(address).map(|entry| AdminDone::Accounts(vec![account_line(entry)]))
            }
            AdminTask::CredentialList { address } => {
                self.account(address).map(|entry| self.list_credentials(entry))
            }
            AdminTask::SecondFactorShow { address } => self.account(address).map(|entry| {
                plan_second_factor::second_factor_line(entry.record.second_factor.as_ref())
            }),
            AdminTask::DomainAdd { .. }
            | AdminTask::DomainRemove { .. }
            | AdminTask::DomainSet { .. }
            | AdminTask::AliasAdd { .. }
            | AdminTask::AliasRemove { .. }
            | AdminTask::AccountAdd { .. }
            | AdminTask::AccountRemove { .. }
            | AdminTask::AccountPassword { .. }
            | AdminTask::AccountEnable { .. }
            | AdminTask::AccountSet { .. }
            | AdminTask::CredentialAdd { .. }
            | AdminTask::CredentialRemove { .. }
            | AdminTask::SecondFactorOn { .. }
            | AdminTask::SecondFactorOff { .. }
            | AdminTask::SecondFactorRecovery { .. } => return None,
        };
        Some(done.unwrap_or_else(AdminDone::Refused))
    }

    fn account(&self, address: &str) -> Result<&AccountEntry, String> {
        plan::account_in(&self.tables, address)
    }

    fn list_accounts(&self, only: Option<&crate::address::Domain>) -> AdminDone {
        let wanted =
            |entry: &&AccountEntry| only.is_none_or(|only| entry.record.address.domain == *only);
        let mut lines: Vec<_> =
            self.tables.accounts.values().filter(wanted).map(account_line).collect();
        lines.sort_by(|a, b| a.address.cmp(&b.address));
        AdminDone::Accounts(lines)
    }

    fn list_credentials(&self, entry: &AccountEntry) -> AdminDone {
        let user = entry.record.user;
        let lines = entry.record.credentials.iter().map(|held| CredentialEntry {
            kind: held.kind,
            label: held.label.clone(),
            created: held.created,
            last_used: self.logins.last_used(user, held.id).max(held.last_used),
            protocols: held.protocols.clone(),
            scheme: scheme_of(&held.phc),
        });
        AdminDone::Credentials(lines.collect())
    }

    fn on_rehashed(&mut self, cx: &mut Cx<'_, Effect>, token: Token, phc: Option<String>) {
        if let (Some(upgrade), Some(phc)) = (self.logins.take_upgrade(token), phc) {
            self.order(cx, Order::Upgrade { upgrade, phc });
        }
    }

    fn order(&mut self, cx: &mut Cx<'_, Effect>, order: Order) {
        if let State::Serving(commits) = &mut self.state {
            commits.push(cx, &self.limits, order);
            commits.advance(cx, &self.limits, &self.tables);
        }
    }

    fn on_commit_timer(&mut self, cx: &mut Cx<'_, Effect>) {
        if let State::Serving(commits) = &mut self.state {
            commits.on_timer(cx);
        }
    }

    /// Dates of last use are written once in a while.
    fn note_use(&mut self, cx: &mut Cx<'_, Effect>) {
        if self.logins.has_used() && !std::mem::replace(&mut self.last_used_armed, true) {
            cx.arm(TIMER_LAST_USED, self.limits.last_used_every);
        }
    }

    fn on_last_used_timer(&mut self, cx: &mut Cx<'_, Effect>) {
        let used = self.logins.take_used(self.limits.last_used_per_write);
        self.last_used_armed = self.logins.has_used();
        if self.last_used_armed {
            cx.arm(TIMER_LAST_USED, self.limits.last_used_pause);
        }
        self.order(cx, Order::Used(used));
    }

    fn on_dds_done(&mut self, cx: &mut Cx<'_, Effect>, token: Token, response: Response) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Claiming { token: awaited } if awaited == token => self.on_claimed(cx, response),
            State::Scanning { token: awaited, epoch, from: _ } if awaited == token => {
                self.on_scanned(cx, epoch, response);
            }
            State::Serving(mut commits) => {
                let settled = commits.on_response(cx, &self.limits, token, &response);
                self.on_settled(cx, commits, settled);
            }
            // A completion of an earlier attempt.
            other @ (State::Idle | State::Claiming { .. } | State::Scanning { .. }) => {
                self.state = other;
            }
        }
    }

    fn on_settled(&mut self, cx: &mut Cx<'_, Effect>, mut commits: Commits, settled: Settled) {
        match settled {
            Settled::Applied { changes, aftermath, words } => {
                for change in changes {
                    self.tables.apply(change);
                }
                for step in aftermath {
                    self.follow_up(cx, step);
                }
                for change in words {
                    cx.emit(Effect::Log(LogEvent::Administered { change }));
                }
            }
            Settled::Nothing | Settled::Pending => {}
            Settled::Lost => {
                self.orders_kept = commits.into_queue();
                trouble(cx, "another writer holds the directory; it is loaded again".to_owned());
                return self.begin_loading(cx);
            }
        }
        commits.advance(cx, &self.limits, &self.tables);
        self.state = State::Serving(commits);
    }

    fn follow_up(&mut self, cx: &mut Cx<'_, Effect>, step: Aftermath) {
        match step {
            Aftermath::Kick { user, reason } => cx.emit(Effect::Kick { user, reason }),
            Aftermath::TellFacts(user) => {
                cx.emit(Effect::AccountIs { user, facts: self.tables.facts(user) });
            }
            Aftermath::Erase(user) => cx.emit(Effect::EraseUser { user }),
            Aftermath::Forget(user) => self.logins.forget(user),
        }
    }
}

fn only_domain(domain: Option<&str>) -> Result<Option<crate::address::Domain>, String> {
    domain.map(parse_domain).transpose()
}

fn answer(cx: &mut Cx<'_, Effect>, (to, token): (SessionId, Token), done: DirectoryDone) {
    cx.emit(Effect::Answer { to, token, completion: Completion::Directory(done) });
}

fn refuse_task(cx: &mut Cx<'_, Effect>, (to, token): (SessionId, Token), reason: TaskRefusal) {
    cx.emit(Effect::Answer { to, token, completion: Completion::Refused(reason) });
}

fn trouble(cx: &mut Cx<'_, Effect>, what: String) {
    cx.emit(Effect::Log(LogEvent::Trouble { part: "directory", user: None, what }));
}
