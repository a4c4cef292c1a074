//! SEARCH and UID SEARCH (RFC 9051 6.4.4), in both forms of answer (RFC 3501, RFC 4731), with
//! MODSEQ (RFC 7162 3.1.5) and SAVE (RFC 5182).
//!
//! States: `Searching` -> (`Extremes`: the MODSEQ of MIN and MAX) -> answer.
//! Invariants: only messages that the client knows are named.

use super::fetch::expunge_rule;
use super::job::{Job, Outcome};
use super::output::Output;
use super::reply::Reply;
use super::shared::Turn;
use super::view::{ExpungeRule, View};
use crate::codec::{Numbering, SearchCommand, SearchKey, SearchReturn, Tag, charset, encode};
use fsm::Token;
use mailstore::face::{Completion, Criteria, DayTest, ModSeq, UidSet, UserDone, UserTask, Want};
use std::sync::Arc;

/// A SEARCH under way.
#[derive(Debug)]
pub struct SearchJob {
    tag: Tag,
    numbering: Numbering,
    returns: Option<SearchReturn>,
    with_mod_seq: bool,
    rule: ExpungeRule,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Searching {
        token: Token,
    },
    /// RFC 7162 3.1.5: with MIN and MAX alone, the MODSEQ is that of these messages.
    Extremes {
        token: Token,
        found: UidSet,
    },
}

impl SearchJob {
    pub fn start(turn: &mut Turn<'_, '_>, tag: &Tag, command: SearchCommand) -> Outcome {
        let key = match command.key {
            Ok(key) => key,
            Err(_) => {
                let text =
                    format!("[BADCHARSET ({})] unknown charset", charset::SUPPORTED.join(" "));
                return Outcome::Answer(Reply::no(text).with(expunge_rule(command.numbering)));
            }
        };
        // RFC 9051 7.5.1: nor in answer to a UID SEARCH that holds message numbers.
        let rule =
            if key.has_numbers() { ExpungeRule::Withheld } else { expunge_rule(command.numbering) };
        let with_mod_seq = key.has_mod_seq();
        if with_mod_seq {
            turn.shared.enabled.condstore = true;
        }
        let Some(view) = turn.shared.view_mut() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        let Some(criteria) = criteria(view, key) else {
            return Outcome::Answer(Reply::bad("no message has such a number").with(rule));
        };
        if command.returns.is_some_and(|returns| returns.save) {
            // RFC 5182 2.1: a search that fails leaves `$` empty.
            view.saved = UidSet::new();
        }
        let folder = view.folder;
        let task = UserTask::Search { folder, criteria: Arc::new(criteria) };
        let token = turn.submit_user(task);
        Outcome::Wait(Job::Search(Box::new(Self {
            tag: tag.clone(),
            numbering: command.numbering,
            returns: command.returns,
            with_mod_seq,
            rule,
            stage: Stage::Searching { token },
        })))
    }

    pub fn on_completed(
        mut self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        let rule = self.rule;
        match (&self.stage, completion) {
            (Stage::Searching { token: awaited }, completion) if *awaited == token => {
                match completion {
                    Completion::User(UserDone::Found { uids, highest_mod_seq }) => {
                        self.on_found(turn, &uids, highest_mod_seq)
                    }
                    Completion::User(UserDone::Failed(error)) => {
                        Outcome::Answer(Reply::failed(&error).with(rule))
                    }
                    Completion::Refused(refusal) => {
                        Outcome::Answer(Reply::refused(refusal).with(rule))
                    }
                    Completion::User(_)
                    | Completion::Directory(_)
                    | Completion::Delivery(_)
                    | Completion::Blob(_) => Outcome::Answer(Reply::bug().with(rule)),
                }
            }
            (Stage::Extremes { token: awaited, found }, completion) if *awaited == token => {
                let mod_seq = match completion {
                    Completion::User(UserDone::Fetched { rows }) => {
                        rows.iter().map(|row| row.mod_seq).max()
                    }
                    Completion::User(_)
                    | Completion::Directory(_)
                    | Completion::Delivery(_)
                    | Completion::Blob(_)
                    | Completion::Refused(_) => None,
                };
                let found = found.clone();
                self.answer(turn, &found, mod_seq)
            }
            (Stage::Searching { .. } | Stage::Extremes { .. }, _) => {
                self.rule = rule;
                Outcome::Wait(Job::Search(self))
            }
        }
    }

    fn on_found(
        mut self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        uids: &UidSet,
        highest_mod_seq: Option<ModSeq>,
    ) -> Outcome {
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        let found = uids.intersection(&view.map.uids());
        let folder = view.folder;
        if !self.with_mod_seq || found.is_empty() {
            return self.answer(turn, &found, None);
        }
        let extremes_only = self
            .returns
            .is_some_and(|returns| (returns.min || returns.max) && !returns.all && !returns.count);
        if !extremes_only {
            return self.answer(turn, &found, highest_mod_seq);
        }
        let task = UserTask::Fetch {
            folder,
            uids: self.extremes(&found),
            want: Want::default(),
            changed_since: None,
        };
        let token = turn.submit_user(task);
        self.stage = Stage::Extremes { token, found };
        Outcome::Wait(Job::Search(self))
    }

    fn extremes(&self, found: &UidSet) -> UidSet {
        let returns = self.returns.unwrap_or_default();
        let min = found.first().filter(|_| returns.min);
        let max = found.last().filter(|_| returns.max);
        min.into_iter().chain(max).collect()
    }

    fn answer(self, turn: &mut Turn<'_, '_>, found: &UidSet, mod_seq: Option<ModSeq>) -> Outcome {
        let Some(view) = turn.shared.view_mut() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        if let Some(returns) = self.returns
            && returns.save
        {
            // RFC 5182 2.4: with MIN and MAX alone only these are saved.
            let extremes = (returns.min || returns.max) && !returns.all && !returns.count;
            view.saved = if extremes { self.extremes(found) } else { found.clone() };
        }
        let shown = view.shown(self.numbering, found);
        let output = &mut turn.shared.output;
        match self.returns {
            None => put_search(output, &shown, mod_seq),
            Some(SearchReturn { min: false, max: false, all: false, count: false, save: _ }) => {}
            Some(returns) => {
                let head = (&self.tag, self.numbering);
                put_esearch(output, head, returns, (&shown, mod_seq));
            }
        }
        Outcome::Answer(Reply::ok("SEARCH completed").with(self.rule))
    }
}

/// RFC 3501 7.2.5; RFC 7162 3.1.5 for MODSEQ.
fn put_search(output: &mut Output, shown: &UidSet, mod_seq: Option<ModSeq>) {
    output.put("* SEARCH");
    encode::put_numbers(output.buffer(), shown);
    if let Some(mod_seq) = mod_seq {
        output.put(" (MODSEQ ").number(mod_seq.0).put(")");
    }
    output.line();
}

/// RFC 4731 3.1.
fn put_esearch(
    output: &mut Output,
    (tag, numbering): (&Tag, Numbering),
    returns: SearchReturn,
    (shown, mod_seq): (&UidSet, Option<ModSeq>),
) {
    output.put("* ESEARCH (TAG \"");
    // A tag may hold no quote, but a backslash it may.
    for &byte in &tag.0 {
        if byte == b'\\' || byte == b'"' {
            output.put("\\");
        }
        output.put([byte]);
    }
    output.put("\")");
    if numbering == Numbering::Uid {
        output.put(" UID");
    }
    if returns.count {
        output.put(" COUNT ").number(shown.len());
    }
    // RFC 4731 3.1: MIN, MAX and ALL are left out when nothing was found.
    if let (true, Some(min)) = (returns.min, shown.first()) {
        output.put(" MIN ").number(min.0);
    }
    if let (true, Some(max)) = (returns.max, shown.last()) {
        output.put(" MAX ").number(max.0);
    }
    if returns.all && !shown.is_empty() {
        output.put(" ALL ");
        encode::put_uid_set(output.buffer(), shown);
    }
    if let Some(mod_seq) = mod_seq {
        output.put(" MODSEQ ").number(mod_seq.0);
    }
    output.line();
}

/// The key in the words of the MailStore; `None` when it names a message that is not there. Keys
/// nest at most [`crate::codec::limits::SEARCH_DEPTH_MAX`] deep.
fn criteria(view: &View, key: SearchKey) -> Option<Criteria> {
    let nothing = || Criteria::Uids(UidSet::new());
    Some(match key {
        SearchKey::All | SearchKey::SaveDateSupported => Criteria::All,
        SearchKey::And(keys) => Criteria::And(
            keys.into_iter().map(|key| criteria(view, key)).collect::<Option<Vec<_>>>()?,
        ),
        SearchKey::Or(left, right) => {
            Criteria::Or(Box::new(criteria(view, *left)?), Box::new(criteria(view, *right)?))
        }
        SearchKey::Not(key) => Criteria::Not(Box::new(criteria(view, *key)?)),
        SearchKey::Numbers(set) => Criteria::Uids(view.named_numbers(&set).ok()?),
        SearchKey::Uids(set) => Criteria::Uids(view.named_uids(&set)),
        SearchKey::Flag(flag) => Criteria::Flag(flag),
        SearchKey::Recent => Criteria::Uids(view.recent.clone()),
        SearchKey::NoSuchKeyword | SearchKey::NoSuchId => nothing(),
        SearchKey::Keyword(keyword) => Criteria::Keyword(keyword),
        SearchKey::Bcc(text) => Criteria::Bcc(text),
        SearchKey::Cc(text) => Criteria::Cc(text),
        SearchKey::From(text) => Criteria::From(text),
        SearchKey::To(text) => Criteria::To(text),
        SearchKey::Subject(text) => Criteria::Subject(text),
        SearchKey::Body(text) => Criteria::BodyText(text),
        SearchKey::Text(text) => Criteria::Text(text),
        SearchKey::Header { name, text } => Criteria::Header { name, text },
        SearchKey::Before(day) => Criteria::InternalDate(DayTest::Before(day)),
        SearchKey::On(day) => Criteria::InternalDate(DayTest::On(day)),
        SearchKey::Since(day) => Criteria::InternalDate(DayTest::Since(day)),
        SearchKey::SentBefore(day) => Criteria::SentDate(DayTest::Before(day)),
        SearchKey::SentOn(day) => Criteria::SentDate(DayTest::On(day)),
        SearchKey::SentSince(day) => Criteria::SentDate(DayTest::Since(day)),
        SearchKey::SavedBefore(day) => Criteria::SavedDate(DayTest::Before(day)),
        SearchKey::SavedOn(day) => Criteria::SavedDate(DayTest::On(day)),
        SearchKey::SavedSince(day) => Criteria::SavedDate(DayTest::Since(day)),
        SearchKey::Larger(bytes) => Criteria::Larger(bytes),
        SearchKey::Smaller(bytes) => Criteria::Smaller(bytes),
        SearchKey::Younger(seconds) => Criteria::YoungerSeconds(seconds),
        SearchKey::Older(seconds) => Criteria::OlderSeconds(seconds),
        SearchKey::ModSeq(mod_seq) => Criteria::ModSeq(mod_seq),
        SearchKey::EmailId(id) => Criteria::EmailId(id),
        SearchKey::ThreadId(id) => Criteria::ThreadId(id),
    })
}
