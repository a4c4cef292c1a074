//! Deciding extensions over gRPC: drives [`Deciders`], and says what went over the wire in the words of the API.
//!
//! An extension that is not connected here is asked by way of a node that it is connected to ([`super::borrowed`]).

use super::api;
use super::borrowed::Borrowed;
use super::mail::read_flags;
use super::registry::{Registry, Standing};
use crate::config::{Extensions, Verb};
use events::{Decider, Deciders, DecidersEffect, DecidersInput, Missed, QuestionId};
use fsm::{Budget, Host, Mono, Stepped, TimerKey, TimerOp, Token};
use mailstore::face::{
    Decision, Filing, FolderName, Place, Question, Ruling, SessionId, SystemFlag, UserId,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Questions on their way to one connection; what finds no room is late. Our choice: as many as an extension may have.
const GIVEN_MAX: usize = 256;

/// Asks for browsers; no session of a protocol has this id.
const OWN: SessionId = SessionId(u64::MAX);

/// A question on its way to an extension.
struct Given {
    id: QuestionId,
    question: Arc<Question>,
    /// Those that it is asked about, by their places in the question.
    mailboxes: Vec<usize>,
}

/// What reaches the driver.
enum Word {
    Asked { by: Asker, question: Arc<Question> },
    Joined { decider: usize, line: Line },
    Left { decider: usize, stream: u64 },
    Answered { decider: usize, id: QuestionId, verdicts: Vec<api::Verdict>, tell: Tell },
}

type Tell = oneshot::Sender<Result<(), Status>>;

/// Who waits for decisions.
enum Asker {
    Session(SessionId, Token),
    Own(oneshot::Sender<Vec<Decision>>),
}

/// A connection of an extension.
struct Line {
    stream: u64,
    /// The node that it is connected to; `None`: this one.
    by: Option<Arc<str>>,
    to: mpsc::Sender<Given>,
}

/// Gives a session what was decided.
pub type Decided = Box<dyn Fn(SessionId, Token, Vec<Decision>) + Send + Sync>;

/// The way to the deciding extensions of this node.
#[derive(Clone)]
pub struct Deciding {
    words: mpsc::UnboundedSender<Word>,
    /// Their places and deadlines, by name.
    places: Arc<BTreeMap<String, (usize, Duration)>>,
    streams: Arc<std::sync::atomic::AtomicU64>,
    /// Where answers to questions of other nodes go.
    pub(super) borrowed: Borrowed,
}

/// A connected extension; it leaves when this is dropped.
pub struct Seat {
    deciding: Deciding,
    decider: usize,
    stream: u64,
    deadline: Duration,
    given: mpsc::Receiver<Given>,
}

impl Seat {
    /// The next question, in the words of the API; `None`: another connection has taken its place.
    pub async fn next(&mut self) -> Option<api::Question> {
        let deadline = self.deadline;
        self.given.recv().await.map(|given| question(&given, deadline))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (decider, stream) = (self.decider, self.stream);
        let _ended = self.deciding.words.send(Word::Left { decider, stream });
    }
}

impl Deciding {
    /// Runs for those of the file that decide; `None`: there are none.
    #[must_use]
    pub fn start(extensions: &Extensions, registry: &Registry, decided: Decided) -> Option<Self> {
        let deciding = extensions.iter().filter(|(_, it)| it.verbs.contains(&Verb::Decide));
        let (mut all, mut standings, mut places) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (name, extension) in deciding {
            let (scope, deadline) = (extension.scope(), extension.deadline.0);
            places.insert(name.clone(), (all.len(), deadline));
            standings.push(registry.enter(name, false));
            all.push(Decider { name: name.clone(), scope, deadline });
        }
        if all.is_empty() {
            return None;
        }
        let (words, heard) = mpsc::unbounded_channel();
        let driver = Driver {
            machine: Deciders::new(all),
            host: Host::new(0, 1),
            timer: None,
            lines: BTreeMap::new(),
            asked: BTreeMap::new(),
            own: BTreeMap::new(),
            own_asked: 0,
            standings,
            decided,
        };
        tokio::spawn(driver.run(heard));
        let (places, borrowed) = (Arc::new(places), Borrowed::default());
        Some(Self { words, places, streams: Arc::default(), borrowed })
    }

    /// Decided by and by, unless the node ends.
    pub fn ask(&self, from: SessionId, token: Token, question: Arc<Question>) {
        let by = Asker::Session(from, token);
        let _ended = self.words.send(Word::Asked { by, question });
    }

    /// What is said of a message; nothing when the node ends.
    pub async fn decide(&self, question: Arc<Question>) -> Vec<Decision> {
        let (tell, told) = oneshot::channel();
        let _ended = self.words.send(Word::Asked { by: Asker::Own(tell), question });
        told.await.unwrap_or_default()
    }

    /// An extension takes its seat: one that is connected to this node that of another which is, one that is connected to another node (`by`)
    /// that of an earlier one by that node. `None`: no extension of that name decides, or the node ends.
    #[must_use]
    pub fn join(&self, name: &str, by: Option<&str>) -> Option<Seat> {
        let (decider, deadline) = *self.places.get(name)?;
        let stream = self.streams.fetch_add(1, Relaxed);
        let (to, given) = mpsc::channel(GIVEN_MAX);
        let line = Line { stream, by: by.map(Arc::from), to };
        self.words.send(Word::Joined { decider, line }).ok()?;
        Some(Seat { deciding: self.clone(), decider, stream, deadline, given })
    }

    /// What an extension says of a question.
    ///
    /// # Errors
    /// It is not understood, or speaks of what was not asked.
    pub async fn answer(
        &self,
        name: &str,
        id: QuestionId,
        verdicts: Vec<api::Verdict>,
    ) -> Result<(), Status> {
        let gone = || Status::unavailable("the node stops");
        let (decider, _) = *self.places.get(name).ok_or_else(gone)?;
        let (tell, told) = oneshot::channel();
        self.words.send(Word::Answered { decider, id, verdicts, tell }).map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

type Account = (UserId, Arc<str>);

/// Owns the machine.
struct Driver {
    machine: Deciders,
    host: Host,
    timer: Option<(TimerKey, Mono)>,
    /// The first of each is asked: who is connected here, before who is connected to another node.
    lines: BTreeMap<usize, Vec<Line>>,
    /// Questions that an extension has: the stream that they went over, and the mailboxes that they are about.
    asked: BTreeMap<(usize, QuestionId), (u64, Vec<Account>)>,
    /// Those who wait under [`OWN`].
    own: BTreeMap<Token, oneshot::Sender<Vec<Decision>>>,
    own_asked: u64,
    standings: Vec<Arc<Standing>>,
    decided: Decided,
}

impl Driver {
    async fn run(mut self, mut heard: mpsc::UnboundedReceiver<Word>) {
        loop {
            let due = self.timer.map_or(Duration::MAX, |(_, at)| at.since(stages::Clock.mono()));
            tokio::select! {
                word = heard.recv() => match word {
                    Some(word) => self.on_word(word),
                    None => return,
                },
                () = tokio::time::sleep(due), if self.timer.is_some() => {
                    if let Some((key, _)) = self.timer.take() {
                        self.step(DecidersInput::TimerFired(key));
                    }
                }
            }
        }
    }

    fn on_word(&mut self, word: Word) {
        match word {
            Word::Asked { by, question } => {
                let (from, token) = match by {
                    Asker::Session(from, token) => (from, token),
                    Asker::Own(tell) => {
                        self.own_asked += 1;
                        self.own.insert(Token(self.own_asked), tell);
                        (OWN, Token(self.own_asked))
                    }
                };
                self.step(DecidersInput::Asked { from, token, question });
            }
            Word::Joined { decider, line } => self.join(decider, line),
            Word::Left { decider, stream } => {
                self.leave(decider, |line| line.stream == stream);
                self.show(decider);
            }
            Word::Answered { decider, id, verdicts, tell } => {
                let _gone = tell.send(self.on_answer(decider, id, &verdicts));
            }
        }
    }

    fn join(&mut self, decider: usize, line: Line) {
        self.leave(decider, |other| other.by == line.by);
        let lines = self.lines.entry(decider).or_default();
        let is_first = lines.is_empty();
        let at = if line.by.is_none() { 0 } else { lines.len() };
        lines.insert(at, line);
        if is_first {
            self.step(DecidersInput::Joined { decider });
        }
        self.show(decider);
    }

    /// The connections that are meant end: what they were asked is not answered any more.
    fn leave(&mut self, decider: usize, is_meant: impl Fn(&Line) -> bool) {
        let Some(lines) = self.lines.get_mut(&decider) else { return };
        let gone: Vec<u64> = lines.extract_if(.., |it| is_meant(it)).map(|it| it.stream).collect();
        let is_away = lines.is_empty() && !gone.is_empty();
        let had = |(of, (stream, _)): (&(usize, QuestionId), &(u64, Vec<Account>))| {
            (of.0 == decider && gone.contains(stream)).then_some(of.1)
        };
        for id in self.asked.iter().filter_map(had).collect::<Vec<_>>() {
            self.step(DecidersInput::Dropped { decider, id });
        }
        if is_away {
            self.step(DecidersInput::Left { decider });
        }
    }

    fn show(&self, decider: usize) {
        let first = self.lines.get(&decider).and_then(|lines| lines.first());
        if let Some(standing) = self.standings.get(decider) {
            standing.show_decider(first.map(|line| line.by.clone()));
        }
    }

    fn on_answer(
        &mut self,
        decider: usize,
        id: QuestionId,
        verdicts: &[api::Verdict],
    ) -> Result<(), Status> {
        let Some((_, mailboxes)) = self.asked.get(&(decider, id)) else {
            return Err(Status::failed_precondition(
                "the question is not waited for any more: the answer was late, or came twice",
            ));
        };
        let mut decisions = Vec::new();
        for verdict in verdicts {
            let (ruling, filing) = read_verdict(verdict)?;
            let named = |address: &str| {
                let it = mailboxes.iter().find(|(_, own)| own.eq_ignore_ascii_case(address));
                it.map(|(user, _)| *user).ok_or_else(|| {
                    Status::invalid_argument(format!("{address:?} is not among the recipients"))
                })
            };
            let users = if verdict.accounts.is_empty() {
                mailboxes.iter().map(|(user, _)| *user).collect()
            } else {
                verdict.accounts.iter().map(|it| named(it)).collect::<Result<Vec<_>, _>>()?
            };
            let decision = |user| Decision { user, ruling, filing: filing.clone() };
            decisions.extend(users.into_iter().map(decision));
        }
        if let Some(standing) = self.standings.get(decider) {
            standing.decided.fetch_add(1, Relaxed);
        }
        self.asked.remove(&(decider, id));
        self.step(DecidersInput::Answered { decider, id, decisions });
        Ok(())
    }

    fn step(&mut self, input: DecidersInput) {
        let mut stepped = Stepped::default();
        let now = (stages::Clock.mono(), stages::Clock.wall());
        self.host.step(&mut self.machine, &mut stepped, now, Budget::new(1000), input);
        for op in stepped.timers {
            self.timer = match op {
                TimerOp::Arm { key, at } => Some((key, at)),
                TimerOp::Cancel { key: _ } => None,
            };
        }
        for effect in stepped.effects {
            self.on_effect(effect);
        }
    }

    fn on_effect(&mut self, effect: DecidersEffect) {
        match effect {
            DecidersEffect::Ask { decider, id, question, mailboxes } => {
                let named = |place: &usize| {
                    let it = question.mailboxes.get(*place)?;
                    Some((it.user, Arc::clone(&it.address)))
                };
                let asked = mailboxes.iter().filter_map(named).collect();
                let first = self.lines.get(&decider).and_then(|lines| lines.first());
                if let Some(Line { stream, to, .. }) = first {
                    self.asked.insert((decider, id), (*stream, asked));
                    // Gone: its seat says so next. Full: it reads nothing, and is late.
                    let _unread = to.try_send(Given { id, question, mailboxes });
                }
            }
            DecidersEffect::Decide { to: OWN, token, decisions } => {
                if let Some(tell) = self.own.remove(&token) {
                    let _gone = tell.send(decisions);
                }
            }
            DecidersEffect::Decide { to, token, decisions } => {
                (self.decided)(to, token, decisions);
            }
            DecidersEffect::Missed { decider, id, why } => {
                if let Some(id) = id {
                    self.asked.remove(&(decider, id));
                }
                let Some(standing) = self.standings.get(decider) else { return };
                let counter = match why {
                    Missed::Away => &standing.missed_away,
                    Missed::Late => &standing.missed_late,
                    Missed::Busy => &standing.missed_busy,
                };
                counter.fetch_add(1, Relaxed);
            }
        }
    }
}

/// What a verdict says of the mailboxes that it names.
fn read_verdict(verdict: &api::Verdict) -> Result<(Ruling, Filing), Status> {
    let ruling = match verdict.ruling.as_str() {
        "" | "take" => Ruling::Take,
        "defer" => Ruling::Defer,
        "refuse" => Ruling::Refuse,
        other => {
            let text = format!("{other:?} is no ruling: these are take, defer and refuse");
            return Err(Status::invalid_argument(text));
        }
    };
    let place = match verdict.folder.as_str() {
        "" => None,
        "\\Junk" => Some(Place::Junk),
        "\\Trash" => Some(Place::Trash),
        name => Some(Place::Folder(
            FolderName::new(name)
                .map_err(|error| Status::invalid_argument(format!("folder {name:?}: {error}")))?,
        )),
    };
    let (flags, keywords) = read_flags(&verdict.add_flags)?;
    if flags.has(SystemFlag::Deleted) || flags.has(SystemFlag::Draft) {
        let text = "a message does not arrive \\Deleted or \\Draft: file it in \"\\Trash\"";
        return Err(Status::invalid_argument(text));
    }
    Ok((ruling, Filing { place, flags, keywords }))
}

/// A question in the words of the API.
fn question(given: &Given, deadline: Duration) -> api::Question {
    let Given { id, question, mailboxes } = given;
    let recipient = |place: &usize| {
        let it = question.mailboxes.get(*place)?;
        Some(api::Recipient { address: it.recipient.to_string(), account: it.address.to_string() })
    };
    api::Question {
        id: id.0,
        protocol: question.protocol.name().to_owned(),
        ip: question.ip.to_string(),
        helo: question.helo.clone(),
        submitter: question.submitter.as_ref().map(ToString::to_string).unwrap_or_default(),
        reverse_path: question.reverse_path.to_string(),
        recipients: mailboxes.iter().filter_map(recipient).collect(),
        size: question.bytes,
        message: question.head.to_vec(),
        deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ruling: &str, folder: &str, flags: &[&str]) -> api::Verdict {
        api::Verdict {
            accounts: Vec::new(),
            ruling: ruling.to_owned(),
            folder: folder.to_owned(),
            add_flags: flags.iter().map(|&it| it.to_owned()).collect(),
        }
    }

    #[test]
    fn verdicts_are_read_and_unknown_ones_refused() {
        let (ruling, filing) =
            read_verdict(&verdict("", "\\Junk", &["\\Seen", "spam"])).expect("a verdict");
        assert_eq!((ruling, filing.place), (Ruling::Take, Some(Place::Junk)));
        assert!(filing.flags.has(SystemFlag::Seen) && filing.keywords.len() == 1);
        let (ruling, filing) = read_verdict(&verdict("refuse", "", &[])).expect("a verdict");
        assert!(ruling == Ruling::Refuse && filing.is_empty());
        for wrong in [
            verdict("bounce", "", &[]),
            verdict("", "a//b", &[]),
            verdict("", "", &["\\Deleted"]),
            verdict("", "", &["no flag"]),
        ] {
            assert!(read_verdict(&wrong).is_err(), "{wrong:?}");
        }
    }
}
