//! A client of POP3: it lists, reads and sometimes deletes.

use super::text::split_line;
use super::{Client, ClientCx};
use crate::failure::Failure;
use crate::ledger::UserNumber;
use mailstore::face::Protocol;
use std::collections::BTreeMap;

/// The command whose answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Nothing,
    Greeting,
    User,
    Password,
    Capabilities,
    Stat,
    Listing,
    Message(u32),
    Other,
    Quit,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Pop3Client {
    user: UserNumber,
    /// Never deletes.
    reader: bool,
    connected: bool,
    ready: bool,
    awaited: Awaited,
    input: Vec<u8>,
    /// Lines of an answer of several lines so far; `None`: its first line has not come.
    lines: Option<Vec<u8>>,
    /// UIDL by message number.
    uidl: BTreeMap<u32, String>,
    /// Message numbers by unique id, over all connections.
    seen: BTreeMap<String, u64>,
    left: u64,
}

impl Pop3Client {
    #[must_use]
    pub fn new(user: UserNumber, reader: bool) -> Self {
        Self {
            user,
            reader,
            connected: false,
            ready: false,
            awaited: Awaited::Nothing,
            input: Vec::new(),
            lines: None,
            uidl: BTreeMap::new(),
            seen: BTreeMap::new(),
            left: 0,
        }
    }

    fn say(&mut self, cx: &mut ClientCx<'_>, awaited: Awaited, command: &str) {
        self.awaited = awaited;
        self.lines = None;
        cx.say.extend_from_slice(command.as_bytes());
        cx.say.extend_from_slice(b"\r\n");
    }

    fn act(&mut self, cx: &mut ClientCx<'_>) {
        if cx.vanishes() {
            cx.coverage.fault("POP3 client vanishes");
            return;
        }
        if self.left == 0 || cx.winding_down {
            return self.say(cx, Awaited::Quit, "QUIT");
        }
        self.left -= 1;
        let count = u32::try_from(self.uidl.len()).unwrap_or(0);
        let number = 1 + u32::try_from(cx.rng.below(u64::from(count.max(1)))).unwrap_or(0);
        match cx.rng.below(10) {
            0 => self.say(cx, Awaited::Stat, "STAT"),
            1 => self.say(cx, Awaited::Listing, "UIDL"),
            2 => self.say(cx, Awaited::Capabilities, "CAPA"),
            3 if !self.reader => self.delete(cx, number),
            4 => self.say(cx, Awaited::Other, "NOOP"),
            _ if count > 0 => {
                self.say(cx, Awaited::Message(number), &format!("RETR {number}"));
            }
            _ => self.say(cx, Awaited::Listing, "UIDL"),
        }
    }

    fn delete(&mut self, cx: &mut ClientCx<'_>, number: u32) {
        let unique = self.uidl.get(&number);
        match unique.and_then(|unique| self.seen.get(unique)) {
            Some(&id) => {
                cx.ledger.may_delete(id, self.user);
                cx.coverage.action("POP3 DELE");
                self.say(cx, Awaited::Other, &format!("DELE {number}"));
            }
            None => self.say(cx, Awaited::Other, "NOOP"),
        }
    }

    fn has_several_lines(&self) -> bool {
        matches!(self.awaited, Awaited::Capabilities | Awaited::Listing | Awaited::Message(_))
    }

    fn on_line(&mut self, cx: &mut ClientCx<'_>, line: &[u8]) -> Result<(), Failure> {
        if let Some(lines) = &mut self.lines {
            if line == b"." {
                let lines = std::mem::take(lines);
                self.lines = None;
                return self.on_lines(cx, &lines);
            }
            lines.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            lines.extend_from_slice(b"\r\n");
            return Ok(());
        }
        let good = line.starts_with(b"+OK");
        if good && self.has_several_lines() {
            self.lines = Some(Vec::new());
            return Ok(());
        }
        match std::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Greeting => {
                self.say(cx, Awaited::User, &format!("USER u{}@example.org", self.user));
            }
            Awaited::User => self.say(cx, Awaited::Password, &format!("PASS pw{}", self.user)),
            Awaited::Password if good => {
                self.ready = true;
                self.say(cx, Awaited::Listing, "UIDL");
            }
            // Busy, or the maildrop is in use.
            Awaited::Password => self.say(cx, Awaited::Quit, "QUIT"),
            Awaited::Nothing
            | Awaited::Capabilities
            | Awaited::Stat
            | Awaited::Listing
            | Awaited::Message(_)
            | Awaited::Other
            | Awaited::Quit => cx.think(),
        }
        Ok(())
    }

    fn on_lines(&mut self, cx: &mut ClientCx<'_>, lines: &[u8]) -> Result<(), Failure> {
        match std::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Listing => {
                let text = String::from_utf8_lossy(lines);
                let pairs = text.lines().filter_map(|line| line.split_once(' '));
                self.uidl = pairs
                    .filter_map(|(number, unique)| Some((number.parse().ok()?, unique.to_owned())))
                    .collect();
            }
            Awaited::Message(number) => {
                cx.coverage.action("POP3 RETR");
                let id = cx.ledger.identify(self.user, lines)?;
                if let Some(unique) = self.uidl.get(&number)
                    && let Some(before) = self.seen.insert(unique.clone(), id)
                    && before != id
                {
                    let what = format!("UIDL {unique} was message {before} and is {id}");
                    return Err(Failure::new("uids_never_reused", what));
                }
            }
            Awaited::Nothing
            | Awaited::Greeting
            | Awaited::User
            | Awaited::Password
            | Awaited::Capabilities
            | Awaited::Stat
            | Awaited::Other
            | Awaited::Quit => {}
        }
        cx.think();
        Ok(())
    }
}

impl Client for Pop3Client {
    fn protocol(&self) -> Protocol {
        Protocol::Pop3
    }

    fn woke(&mut self, cx: &mut ClientCx<'_>) {
        if !self.connected {
            cx.connect = !cx.winding_down;
        } else if self.ready && self.awaited == Awaited::Nothing {
            self.act(cx);
        }
    }

    fn opened(&mut self, cx: &mut ClientCx<'_>) {
        self.connected = true;
        self.ready = false;
        self.awaited = Awaited::Greeting;
        self.uidl.clear();
        self.left = 2 + cx.rng.below(20);
    }

    fn heard(&mut self, cx: &mut ClientCx<'_>, bytes: &[u8]) -> Result<(), Failure> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while let Some((line, behind)) = split_line(rest) {
            self.on_line(cx, line)?;
            rest = behind;
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn closed(&mut self, cx: &mut ClientCx<'_>) {
        self.connected = false;
        self.ready = false;
        self.input.clear();
        self.lines = None;
        cx.think();
    }

    fn is_quiet(&self) -> bool {
        !self.connected
    }
}
