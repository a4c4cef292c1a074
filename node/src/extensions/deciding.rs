//! Deciding extensions over gRPC: drives [`Deciders`], and says what went over the wire in the words of the API.

use super::api;
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
use tokio::sync::mpsc;
use tonic::Status;

/// A question on its way to an extension.
pub struct Given {
    pub id: QuestionId,
    pub question: Arc<Question>,
    /// Those that it is asked about, by their places in the question.
    pub mailboxes: Vec<usize>,
}

/// What reaches the driver.
enum Word {
    Asked { from: SessionId, token: Token, question: Arc<Question> },
    Joined { decider: usize, stream: u64, to: mpsc::UnboundedSender<Given> },
    Left { decider: usize, stream: u64 },
    Answered { decider: usize, id: QuestionId, verdicts: Vec<api::Verdict>, tell: Tell },
}

type Tell = tokio::sync::oneshot::Sender<Result<(), Status>>;

/// Gives a session what was decided.
pub type Decided = Box<dyn Fn(SessionId, Token, Vec<Decision>) + Send + Sync>;

/// The way to the deciding extensions of this node.
#[derive(Clone)]
pub struct Deciding {
    words: mpsc::UnboundedSender<Word>,
    /// Their places, by name.
    places: Arc<BTreeMap<String, usize>>,
    streams: Arc<std::sync::atomic::AtomicU64>,
}

/// A connected extension; it leaves when this is dropped.
pub struct Seat {
    deciding: Deciding,
    decider: usize,
    stream: u64,
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
            places.insert(name.clone(), all.len());
            standings.push(registry.enter(name, false));
            let (scope, deadline) = (extension.scope(), extension.deadline.0);
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
            streams: BTreeMap::new(),
            asked: BTreeMap::new(),
            standings,
            decided,
        };
        tokio::spawn(driver.run(heard));
        Some(Self { words, places: Arc::new(places), streams: Arc::default() })
    }

    /// Decided by and by, unless the node ends.
    pub fn ask(&self, from: SessionId, token: Token, question: Arc<Question>) {
        let _ended = self.words.send(Word::Asked { from, token, question });
    }

    /// An extension takes its seat; whoever had it gets no more questions.
    pub fn join(&self, name: &str) -> Option<(Seat, mpsc::UnboundedReceiver<Given>)> {
        let decider = *self.places.get(name)?;
        let stream = self.streams.fetch_add(1, Relaxed);
        let (to, given) = mpsc::unbounded_channel();
        self.words.send(Word::Joined { decider, stream, to }).ok()?;
        Some((Seat { deciding: self.clone(), decider, stream }, given))
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
        let decider = *self.places.get(name).ok_or_else(gone)?;
        let (tell, told) = tokio::sync::oneshot::channel();
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
    streams: BTreeMap<usize, (u64, mpsc::UnboundedSender<Given>)>,
    /// Questions that an extension has, and the mailboxes that it was asked about.
    asked: BTreeMap<(usize, QuestionId), Vec<Account>>,
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
            Word::Asked { from, token, question } => {
                self.step(DecidersInput::Asked { from, token, question });
            }
            Word::Joined { decider, stream, to } => {
                self.leave(decider);
                self.streams.insert(decider, (stream, to));
                self.show(decider, true);
                self.step(DecidersInput::Joined { decider });
            }
            Word::Left { decider, stream } => {
                if self.streams.get(&decider).is_some_and(|(of, _)| *of == stream) {
                    self.leave(decider);
                }
            }
            Word::Answered { decider, id, verdicts, tell } => {
                let _gone = tell.send(self.on_answer(decider, id, &verdicts));
            }
        }
    }

    fn show(&self, decider: usize, decides: bool) {
        if let Some(standing) = self.standings.get(decider) {
            standing.decides.store(decides, Relaxed);
        }
    }

    fn leave(&mut self, decider: usize) {
        if self.streams.remove(&decider).is_some() {
            self.show(decider, false);
            self.step(DecidersInput::Left { decider });
        }
    }

    fn on_answer(
        &mut self,
        decider: usize,
        id: QuestionId,
        verdicts: &[api::Verdict],
    ) -> Result<(), Status> {
        let Some(mailboxes) = self.asked.get(&(decider, id)) else {
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
                self.asked.insert((decider, id), asked);
                if let Some((_, to)) = self.streams.get(&decider) {
                    // Gone: its seat says so next.
                    let _gone = to.send(Given { id, question, mailboxes });
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
#[must_use]
pub fn question(given: &Given, deadline: Duration) -> api::Question {
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
