//! What a client of IMAP believes: a model of its own, that obeys every response and complains
//! about the first wrong one.
//!
//! For tests and the simulator, which run it against the session machine. It shares no code with
//! the codec or the session: it reads the wire by itself and keeps the mailbox as a plain list.
//!
//! Invariants checked: sequence numbers exist; EXPUNGE and VANISHED come only where RFC 9051 7.5.1
//! permits; EXISTS never shrinks; a message keeps its UID and its text; UIDs rise; a keyword is
//! announced before it is used; a tag is answered once.

mod driver;
mod wire;

pub use driver::{Below, Driver, Flags};
use std::collections::{BTreeMap, BTreeSet};
use wire::Value;

/// One message of the selected mailbox, as far as the client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub uid: Option<u32>,
    /// In lower case, `\Recent` left out.
    pub flags: Option<BTreeSet<String>>,
    pub mod_seq: Option<u64>,
    pub text: Option<Vec<u8>>,
}

/// What kind of command is under way: it decides what the server may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Running {
    /// SELECT, EXAMINE: begins a new list.
    Select,
    /// FETCH, STORE or SEARCH by number, or UID SEARCH with numbers in it: nothing may disappear.
    ByNumber,
    /// A silent STORE by number: as `ByNumber`, and at its OK the client changes what it knows by
    /// itself.
    SilentByNumber(Silent),
    /// A silent UID STORE.
    SilentByUid(Silent),
    Idle,
    Other,
}

/// What a silent STORE makes of flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// UIDs named.
    pub uids: BTreeSet<u32>,
    pub change: Change,
    /// In lower case.
    pub flags: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Add,
    Remove,
    Replace,
}

/// Something the server may not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

/// Something of interest to whoever drives the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// `tag OK ...`: the text behind the condition.
    Tagged {
        tag: String,
        condition: String,
        text: String,
    },
    Continue,
    /// Numbers or UIDs of SEARCH.
    Found(Vec<u32>),
    Bye(String),
}

/// One client.
#[derive(Clone, Debug, Default)]
pub struct ClientModel {
    buffer: Vec<u8>,
    running: Option<(String, Running)>,
    pub messages: Vec<Known>,
    keywords: BTreeSet<String>,
    pub uid_validity: Option<u32>,
    /// Texts by UID under this UIDVALIDITY: they never change, also after the message is gone.
    texts: BTreeMap<u32, Vec<u8>>,
    /// Messages told of during the command under way, by UID: a silent STORE does not touch them.
    told: BTreeSet<u32>,
}

type Checked<T> = Result<T, Wrong>;

fn wrong<T>(what: impl Into<String>) -> Checked<T> {
    Err(Wrong(what.into()))
}

impl ClientModel {
    /// The client sent a command.
    pub fn begin(&mut self, tag: &str, running: Running) {
        self.running = Some((tag.to_owned(), running));
        self.told.clear();
    }

    /// Whether a command is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    /// UIDs known, in order of sequence numbers.
    #[must_use]
    pub fn uids(&self) -> Vec<Option<u32>> {
        self.messages.iter().map(|message| message.uid).collect()
    }

    /// Takes what the server sent.
    ///
    /// # Errors
    /// The first thing that a client would be misled by.
    pub fn receive(&mut self, bytes: &[u8]) -> Checked<Vec<Heard>> {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let (mut heard, mut rest) = (Vec::new(), &buffer[..]);
        while let Some(len) = wire::response_len(rest)? {
            let (response, behind) = rest.split_at(len);
            match self.on_response(response) {
                Ok(said) => heard.extend(said),
                Err(Wrong(what)) => {
                    return wrong(format!("{what}, in: {}", response.escape_ascii()));
                }
            }
            rest = behind;
        }
        self.buffer = rest.to_vec();
        Ok(heard)
    }

    fn on_response(&mut self, response: &[u8]) -> Checked<Option<Heard>> {
        if response.starts_with(b"+") {
            return Ok(Some(Heard::Continue));
        }
        let values = wire::parse(response)?;
        let (first, rest) = match values.split_first() {
            Some((Value::Atom(first), rest)) => (first.as_str(), rest),
            _ => return wrong("a response begins with a tag or *"),
        };
        if first == "*" { self.on_untagged(rest) } else { self.on_tagged(first, rest, response) }
    }

    fn on_tagged(&mut self, tag: &str, rest: &[Value], raw: &[u8]) -> Checked<Option<Heard>> {
        match &self.running {
            Some((awaited, _)) if awaited == tag => {}
            _ => return wrong("a tag nobody waits for"),
        }
        let Some((_, running)) = self.running.take() else { return Ok(None) };
        let condition = rest.first().and_then(Value::atom).unwrap_or_default().to_owned();
        let text = String::from_utf8_lossy(raw).into_owned();
        if condition == "OK" {
            match &running {
                Running::SilentByNumber(silent) | Running::SilentByUid(silent) => {
                    self.apply(silent, &text);
                }
                Running::Select | Running::ByNumber | Running::Idle | Running::Other => {}
            }
        }
        Ok(Some(Heard::Tagged { tag: tag.to_owned(), condition, text }))
    }

    /// RFC 9051 6.4.6: after a silent STORE the client knows the flags without being told.
    fn apply(&mut self, silent: &Silent, answer: &str) {
        // A message in MODIFIED was left alone; the drivers of this model name none there.
        let conditional = answer.contains("[MODIFIED");
        for message in &mut self.messages {
            let named = message
                .uid
                .is_some_and(|uid| silent.uids.contains(&uid) && !self.told.contains(&uid));
            let Some(flags) = message.flags.as_mut().filter(|_| named && !conditional) else {
                continue;
            };
            match silent.change {
                Change::Add => flags.extend(silent.flags.iter().cloned()),
                Change::Remove => flags.retain(|flag| !silent.flags.contains(flag)),
                Change::Replace => *flags = silent.flags.clone(),
            }
        }
    }

    fn on_untagged(&mut self, values: &[Value]) -> Checked<Option<Heard>> {
        let word = values.first().and_then(Value::atom).unwrap_or_default();
        if let Ok(number) = word.parse::<u32>() {
            let kind = values.get(1).and_then(Value::atom).unwrap_or_default();
            match kind {
                "EXISTS" => self.on_exists(number)?,
                "RECENT" => {}
                "EXPUNGE" => self.on_expunge(number)?,
                "FETCH" => self.on_fetch(number, values.get(2))?,
                other => return wrong(format!("unknown response {other}")),
            }
            return Ok(None);
        }
        match word {
            "FLAGS" => self.on_flags(values.get(1)),
            "VANISHED" => self.on_vanished(values.get(1..).unwrap_or_default()),
            "SEARCH" => {
                let numbers = values.iter().skip(1).filter_map(Value::atom);
                let found = numbers.filter_map(|atom| atom.parse().ok()).collect();
                Ok(Some(Heard::Found(found)))
            }
            "OK" => {
                self.on_code(values);
                Ok(None)
            }
            "BYE" => Ok(Some(Heard::Bye(format!("{values:?}")))),
            _ => Ok(None),
        }
    }

    fn on_code(&mut self, values: &[Value]) {
        let code = values.get(1).and_then(Value::atom).unwrap_or_default();
        let number = || {
            let digits = values.get(2)?.atom()?.trim_end_matches(']');
            digits.parse::<u32>().ok()
        };
        if code == "[UIDVALIDITY" && self.uid_validity != number() {
            self.uid_validity = number();
            self.texts.clear();
        }
        if code == "[CLOSED]" {
            self.messages.clear();
        }
    }

    fn on_exists(&mut self, number: u32) -> Checked<()> {
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some((_, Running::Select)) = &self.running {
            self.messages.clear();
        }
        if count < self.messages.len() {
            return wrong(format!("EXISTS shrinks from {}", self.messages.len()));
        }
        if count > 1_000_000 {
            return wrong("more messages than any test makes");
        }
        self.messages.resize(count, Known::default());
        Ok(())
    }

    fn may_disappear(&self) -> Checked<()> {
        match &self.running {
            None => wrong("messages disappear without a command under way"),
            Some((_, Running::ByNumber | Running::SilentByNumber(_))) => {
                wrong("messages disappear while numbers are under way")
            }
            Some((
                _,
                Running::Select | Running::SilentByUid(_) | Running::Idle | Running::Other,
            )) => Ok(()),
        }
    }

    fn on_expunge(&mut self, number: u32) -> Checked<()> {
        self.may_disappear()?;
        let at = self.place(number)?;
        self.messages.remove(at);
        Ok(())
    }

    fn on_vanished(&mut self, values: &[Value]) -> Checked<Option<Heard>> {
        let earlier = matches!(values.first(), Some(Value::List(_)));
        let set = values.last().and_then(Value::atom).unwrap_or_default();
        let gone = wire::numbers(set)?;
        if earlier {
            // RFC 7162 3.2.10: numbers do not change.
            let known = |uid| self.messages.iter().any(|message| message.uid == Some(uid));
            let select = matches!(self.running, Some((_, Running::Select)));
            return match gone.iter().find(|uid| known(**uid)) {
                Some(uid) if !select => wrong(format!("EARLIER names {uid}, which is there")),
                Some(_) | None => Ok(None),
            };
        }
        self.may_disappear()?;
        for uid in &gone {
            match self.find_or_guess(*uid) {
                Some(at) => {
                    self.messages.remove(at);
                }
                None => return wrong(format!("VANISHED names {uid}, which is not there")),
            }
        }
        Ok(None)
    }

    /// The message with this UID, or one of unknown UID in the gap where it must be.
    fn find_or_guess(&mut self, uid: u32) -> Option<usize> {
        let end = self
            .messages
            .iter()
            .position(|message| message.uid.is_some_and(|known| known >= uid))
            .unwrap_or(self.messages.len());
        if self.messages.get(end).is_some_and(|message| message.uid == Some(uid)) {
            return Some(end);
        }
        let before = end.checked_sub(1)?;
        if self.messages[before].uid.is_some() {
            return None;
        }
        // Which of several it was can't be known: what was learned of each may belong to its
        // neighbour now.
        for message in self.messages[..end].iter_mut().rev() {
            if message.uid.is_some() {
                break;
            }
            *message = Known::default();
        }
        Some(before)
    }

    fn on_flags(&mut self, list: Option<&Value>) -> Checked<Option<Heard>> {
        let Some(Value::List(flags)) = list else { return wrong("FLAGS without a list") };
        self.keywords = flags.iter().filter_map(Value::atom).map(str::to_lowercase).collect();
        Ok(None)
    }

    fn place(&self, number: u32) -> Checked<usize> {
        match usize::try_from(number).ok().and_then(|number| number.checked_sub(1)) {
            Some(at) if at < self.messages.len() => Ok(at),
            Some(_) | None => wrong(format!("no message {number} of {}", self.messages.len())),
        }
    }

    fn on_fetch(&mut self, number: u32, items: Option<&Value>) -> Checked<()> {
        let at = self.place(number)?;
        let Some(Value::List(items)) = items else { return wrong("FETCH without a list") };
        let mut seen = Known::default();
        for pair in items.chunks(2) {
            let [name, value] = pair else { return wrong("an item without a value") };
            match (name.atom().unwrap_or_default(), value) {
                ("UID", value) => seen.uid = value.number(),
                ("FLAGS", Value::List(flags)) => seen.flags = Some(self.check_flags(flags)?),
                ("MODSEQ", Value::List(number)) => {
                    seen.mod_seq =
                        number.first().and_then(Value::atom).and_then(|n| n.parse().ok());
                }
                ("BODY[]", Value::Text(text)) => seen.text = Some(text.clone()),
                _ => {}
            }
        }
        self.learn(at, seen)
    }

    fn check_flags(&self, flags: &[Value]) -> Checked<BTreeSet<String>> {
        let flags: BTreeSet<String> =
            flags.iter().filter_map(Value::atom).map(str::to_lowercase).collect();
        if let Some(flag) =
            flags.iter().find(|flag| *flag != "\\recent" && !self.keywords.contains(flag.as_str()))
        {
            return wrong(format!("{flag} was not announced in FLAGS"));
        }
        Ok(flags.into_iter().filter(|flag| flag != "\\recent").collect())
    }

    fn learn(&mut self, at: usize, seen: Known) -> Checked<()> {
        let before = self.messages[..at].iter().rev().find_map(|message| message.uid);
        let after = self.messages[at + 1..].iter().find_map(|message| message.uid);
        let known = &mut self.messages[at];
        if let Some(uid) = seen.uid {
            if known.uid.is_some_and(|before| before != uid) {
                return wrong(format!("message {} changes its UID from {:?}", at + 1, known.uid));
            }
            if before.is_some_and(|before| before >= uid) || after.is_some_and(|after| after <= uid)
            {
                return wrong(format!("UID {uid} stands between {before:?} and {after:?}"));
            }
            known.uid = Some(uid);
        }
        if let Some(flags) = seen.flags {
            known.flags = Some(flags);
            self.told.extend(known.uid);
        }
        if let Some(mod_seq) = seen.mod_seq {
            if known.mod_seq.is_some_and(|before| before > mod_seq) {
                return wrong(format!("MODSEQ falls from {:?}", known.mod_seq));
            }
            known.mod_seq = Some(mod_seq);
        }
        if let (Some(text), Some(uid)) = (seen.text, known.uid) {
            if self.texts.get(&uid).is_some_and(|before| *before != text) {
                return wrong(format!("the text of UID {uid} changes"));
            }
            self.texts.insert(uid, text.clone());
            known.text = Some(text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(count: u32) -> ClientModel {
        let mut model = ClientModel::default();
        model.begin("a", Running::Select);
        let text = format!(
            "* FLAGS (\\Seen)\r\n* {count} EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n\
             a OK [READ-WRITE] done\r\n"
        );
        assert_eq!(model.receive(text.as_bytes()).map(|heard| heard.len()), Ok(1));
        model
    }

    #[test]
    fn obeys_expunge_and_catches_a_wrong_number() {
        let mut model = selected(3);
        model.begin("b", Running::Other);
        model.receive(b"* 2 FETCH (UID 5 BODY[] {3}\r\nabc FLAGS (\\Seen))\r\n").expect("right");
        model.receive(b"* 1 EXPUNGE\r\nb OK x\r\n").expect("right");
        assert_eq!(model.uids(), [Some(5), None]);
        model.begin("c", Running::Other);
        assert!(model.receive(b"* 3 EXPUNGE\r\n").is_err());
    }

    #[test]
    fn catches_what_misleads() {
        for (running, text) in [
            (None, "* 1 EXPUNGE\r\n"),
            (Some(Running::ByNumber), "* 1 EXPUNGE\r\n"),
            (Some(Running::ByNumber), "* VANISHED 1\r\n"),
            (Some(Running::Other), "* 1 EXISTS\r\n"),
            (Some(Running::Other), "* 3 FETCH (UID 9)\r\n"),
            (Some(Running::Other), "* 1 FETCH (FLAGS ($New))\r\n"),
            (Some(Running::Other), "* 1 FETCH (UID 5)\r\n* 1 FETCH (UID 6)\r\n"),
            (Some(Running::Other), "* 1 FETCH (UID 5)\r\n* 2 FETCH (UID 5)\r\n"),
            (Some(Running::Other), "z OK what\r\n"),
            (
                Some(Running::Other),
                "* 1 FETCH (UID 5 BODY[] {1}\r\na)\r\n* 1 FETCH (BODY[] {1}\r\nb)\r\n",
            ),
        ] {
            let mut model = selected(2);
            if let Some(running) = running {
                model.begin("b", running);
            }
            assert!(model.receive(text.as_bytes()).is_err(), "{text}");
        }
    }
}
