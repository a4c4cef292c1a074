//! A client that does random things to one mailbox, as fast as it is answered, and checks all it
//! hears.
//!
//! Random numbers come from outside, so that a simulation can repeat a run.

use super::{Change, Checked, ClientModel, Heard, Running, Silent, wrong};
use std::collections::{BTreeMap, BTreeSet};

/// Draws a number below its argument.
pub type Below<'r> = &'r mut dyn FnMut(u64) -> u64;

/// One client with its model.
#[derive(Clone, Debug)]
pub struct Driver {
    pub model: ClientModel,
    mailbox: String,
    /// Where MOVE puts messages.
    other: String,
    tags: u64,
    phase: Phase,
    /// What the command under way is allowed to answer.
    expect: Expect,
    qresync: bool,
    name: u64,
    pub commands: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unselected,
    Selecting,
    Selected,
    ReadOnly,
    Idling,
    Leaving,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Anything,
    Numbers,
    Uids,
}

/// Flags by UID.
pub type Flags = BTreeMap<u32, BTreeSet<String>>;

const WORDS: [&str; 6] = ["\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Work", "$Later"];

impl Driver {
    /// A client that is logged in. `name` tells its messages from those of others.
    #[must_use]
    pub fn new(name: u64, mailbox: &str, other: &str) -> Self {
        Self {
            model: ClientModel::default(),
            mailbox: mailbox.to_owned(),
            other: other.to_owned(),
            tags: 0,
            phase: Phase::Unselected,
            expect: Expect::Anything,
            qresync: false,
            name,
            commands: 0,
        }
    }

    /// Whether it waits for an answer (IDLE can be ended at any time).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.model.is_busy() && self.phase != Phase::Idling
    }

    #[must_use]
    pub fn is_idling(&self) -> bool {
        self.phase == Phase::Idling
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    fn say(&mut self, running: Running, command: &str) -> Vec<u8> {
        self.tags += 1;
        self.commands += 1;
        let tag = format!("t{}", self.tags);
        self.model.begin(&tag, running);
        format!("{tag} {command}\r\n").into_bytes()
    }

    /// The next thing to send. Only when it is not busy.
    pub fn next(&mut self, below: Below<'_>) -> Vec<u8> {
        self.expect = Expect::Anything;
        match self.phase {
            Phase::Idling => {
                self.phase = Phase::Selected;
                b"DONE\r\n".to_vec()
            }
            Phase::Unselected | Phase::Selecting | Phase::Leaving => self.select(below),
            Phase::Ended => Vec::new(),
            Phase::Selected | Phase::ReadOnly => self.command(below),
        }
    }

    fn select(&mut self, below: Below<'_>) -> Vec<u8> {
        if !self.qresync && below(4) == 0 {
            self.qresync = true;
            return self.say(Running::Other, "ENABLE QRESYNC");
        }
        self.phase = Phase::Selecting;
        let verb = if below(5) == 0 { "EXAMINE" } else { "SELECT" };
        let command = format!("{verb} {}", self.mailbox);
        self.say(Running::Select, &command)
    }

    /// Ends IDLE if need be; then brings the client up to date.
    pub fn noop(&mut self) -> Vec<u8> {
        match self.phase {
            Phase::Idling => {
                self.phase = Phase::Selected;
                b"DONE\r\n".to_vec()
            }
            Phase::Unselected
            | Phase::Selecting
            | Phase::Selected
            | Phase::ReadOnly
            | Phase::Leaving
            | Phase::Ended => self.say(Running::Other, "NOOP"),
        }
    }

    /// Selects when nothing is selected.
    pub fn ensure_selected(&mut self) -> Option<Vec<u8>> {
        match self.phase {
            Phase::Unselected | Phase::Selecting | Phase::Leaving => {
                self.phase = Phase::Selecting;
                let command = format!("SELECT {}", self.mailbox);
                Some(self.say(Running::Select, &command))
            }
            Phase::Selected | Phase::ReadOnly | Phase::Idling | Phase::Ended => None,
        }
    }

    /// Asks for everything.
    pub fn fetch_all(&mut self) -> Vec<u8> {
        self.say(Running::ByNumber, "FETCH 1:* (UID FLAGS BODY.PEEK[])")
    }

    /// Flags as the client believes them to be.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let known = |message: &super::Known| Some((message.uid?, message.flags.clone()?));
        self.model.messages.iter().filter_map(known).collect()
    }

    fn command(&mut self, below: Below<'_>) -> Vec<u8> {
        let read_only = self.phase == Phase::ReadOnly;
        match below(24) {
            0..=4 => self.fetch(below),
            5..=9 if !read_only => self.store(below),
            10 | 11 => self.search(below),
            12 if !read_only => self.say(Running::Other, "EXPUNGE"),
            13 if !read_only => {
                let set = self.uid_set(below);
                self.say(Running::Other, &format!("UID EXPUNGE {set}"))
            }
            14 | 15 => self.append(below),
            16 => {
                let set = self.uid_set(below);
                let to = if below(2) == 0 { &self.mailbox } else { &self.other };
                let command = format!("UID COPY {set} {to}");
                self.say(Running::Other, &command)
            }
            17 if !read_only => {
                let set = self.uid_set(below);
                let command = format!("UID MOVE {set} {}", self.other);
                self.say(Running::Other, &command)
            }
            18 | 19 => {
                self.phase = Phase::Idling;
                let idle = self.say(Running::Idle, "IDLE");
                if read_only {
                    // DONE leads back to `Selected`, which is not what EXAMINE opened.
                    self.phase = Phase::ReadOnly;
                    return [idle, b"DONE\r\n".to_vec()].concat();
                }
                idle
            }
            20 => {
                self.phase = Phase::Leaving;
                let verb = if below(2) == 0 { "CLOSE" } else { "UNSELECT" };
                self.say(Running::Other, verb)
            }
            _ => self.say(Running::Other, "NOOP"),
        }
    }

    /// A range of message numbers; `None` in an empty mailbox.
    fn numbers(&self, below: Below<'_>) -> Option<(u64, u64)> {
        let count = self.model.messages.len() as u64;
        (count > 0).then(|| {
            let from = 1 + below(count);
            (from, (from + below(4)).min(count))
        })
    }

    fn uid_set(&self, below: Below<'_>) -> String {
        let uids: Vec<u32> = self.model.uids().into_iter().flatten().collect();
        if uids.is_empty() {
            return "1:*".to_owned();
        }
        let pick = |below: Below<'_>| uids[usize::try_from(below(uids.len() as u64)).unwrap_or(0)];
        let (one, two) = (pick(below), pick(below));
        if below(2) == 0 { format!("{one},{two}") } else { one.to_string() }
    }

    fn fetch(&mut self, below: Below<'_>) -> Vec<u8> {
        let items =
            ["(UID FLAGS)", "(UID BODY.PEEK[])", "(UID BODY[])", "(UID FLAGS MODSEQ)", "FAST"];
        let item = items[usize::try_from(below(5)).unwrap_or(0)];
        if below(2) == 0 {
            let set = self.uid_set(below);
            return self.say(Running::Other, &format!("UID FETCH {set} {item}"));
        }
        match self.numbers(below) {
            Some((from, to)) => self.say(Running::ByNumber, &format!("FETCH {from}:{to} {item}")),
            None => self.say(Running::Other, "NOOP"),
        }
    }

    fn store(&mut self, below: Below<'_>) -> Vec<u8> {
        let word = WORDS[usize::try_from(below(WORDS.len() as u64)).unwrap_or(0)];
        let (verb, change) = match below(5) {
            0 | 1 => ("+FLAGS", Change::Add),
            2 | 3 => ("-FLAGS", Change::Remove),
            _ => ("FLAGS", Change::Replace),
        };
        let by_uid = below(2) == 0;
        let silent = below(2) == 0;
        let suffix = if silent { ".SILENT" } else { "" };
        let flags = BTreeSet::from([word.to_lowercase()]);
        if by_uid {
            let set = self.uid_set(below);
            if set.contains('*') {
                return self.say(Running::Other, "CHECK");
            }
            let uids = set.split(',').filter_map(|uid| uid.parse().ok()).collect();
            let running = if silent {
                Running::SilentByUid(Silent { uids, change, flags })
            } else {
                Running::Other
            };
            return self.say(running, &format!("UID STORE {set} {verb}{suffix} ({word})"));
        }
        let Some((from, to)) = self.numbers(below) else {
            return self.say(Running::Other, "CHECK");
        };
        let place = |number: u64| usize::try_from(number).unwrap_or(0);
        let named = &self.model.messages[place(from) - 1..place(to)];
        let uids = named.iter().filter_map(|message| message.uid).collect();
        // What is silently done to a message without a known UID leaves its flags in doubt.
        let all_known = named.iter().all(|message| message.uid.is_some());
        let (suffix, running) = if silent && all_known {
            (".SILENT", Running::SilentByNumber(Silent { uids, change, flags }))
        } else {
            ("", Running::ByNumber)
        };
        self.say(running, &format!("STORE {from}:{to} {verb}{suffix} ({word})"))
    }

    fn search(&mut self, below: Below<'_>) -> Vec<u8> {
        let keys = ["ALL", "UNSEEN", "DELETED", "KEYWORD $Work", "NOT FLAGGED"];
        let key = keys[usize::try_from(below(5)).unwrap_or(0)];
        if below(2) == 0 {
            self.expect = Expect::Uids;
            return self.say(Running::Other, &format!("UID SEARCH {key}"));
        }
        self.expect = Expect::Numbers;
        self.say(Running::ByNumber, &format!("SEARCH {key}"))
    }

    fn append(&mut self, below: Below<'_>) -> Vec<u8> {
        let message = |serial: u64, pad: u64| {
            let pad = "x".repeat(usize::try_from(pad).unwrap_or(0));
            format!("Subject: {} {serial}\r\n\r\n{pad}\r\n", self.name)
        };
        let first = message(self.commands * 2, below(200));
        let second = message(self.commands * 2 + 1, below(200));
        let command = if below(4) == 0 {
            format!(
                "APPEND {} {{{}+}}\r\n{first} (\\Seen) {{{}+}}\r\n{second}",
                self.mailbox,
                first.len(),
                second.len()
            )
        } else {
            format!("APPEND {} ($Work) {{{}+}}\r\n{first}", self.mailbox, first.len())
        };
        self.say(Running::Other, &command)
    }

    /// Takes what the server sent.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn hear(&mut self, bytes: &[u8]) -> Checked<()> {
        for heard in self.model.receive(bytes)? {
            match heard {
                Heard::Continue => {}
                Heard::Bye(_) => self.phase = Phase::Ended,
                Heard::Found(found) => self.on_found(&found)?,
                Heard::Tagged { tag: _, condition, text } => self.on_tagged(&condition, &text)?,
            }
        }
        Ok(())
    }

    fn on_found(&self, found: &[u32]) -> Checked<()> {
        let count = u32::try_from(self.model.messages.len()).unwrap_or(u32::MAX);
        match self.expect {
            Expect::Numbers => {
                match found.iter().find(|number| **number == 0 || **number > count) {
                    Some(number) => wrong(format!("SEARCH finds {number} of {count}")),
                    None => Ok(()),
                }
            }
            Expect::Uids => {
                let uids = self.model.uids();
                // A message whose UID is not known yet may be any.
                let all_known = uids.iter().all(Option::is_some);
                match found.iter().find(|uid| !uids.contains(&Some(**uid))) {
                    Some(uid) if all_known => wrong(format!("UID SEARCH finds unknown {uid}")),
                    Some(_) | None => Ok(()),
                }
            }
            Expect::Anything => Ok(()),
        }
    }

    fn on_tagged(&mut self, condition: &str, text: &str) -> Checked<()> {
        match (self.phase, condition) {
            (Phase::Selecting, "OK") => {
                let read_only = text.contains("[READ-ONLY]");
                self.phase = if read_only { Phase::ReadOnly } else { Phase::Selected };
            }
            (Phase::Selecting, _) => self.phase = Phase::Unselected,
            (Phase::Leaving, "OK") => {
                self.phase = Phase::Unselected;
                self.model.messages.clear();
            }
            (Phase::Leaving, _) => self.phase = Phase::Selected,
            (_, "BAD") => return wrong(format!("a right command is BAD: {text}")),
            (
                Phase::Unselected
                | Phase::Selected
                | Phase::ReadOnly
                | Phase::Idling
                | Phase::Ended,
                _,
            ) => {}
        }
        Ok(())
    }
}
