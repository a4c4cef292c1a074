//! A deliverer: SMTP or LMTP, with and without pipelining, one recipient or several, DATA or BDAT.
//!
//! States of a connection: greeting, greeted, one transaction after the other. What each reply
//! answers is kept in a queue, so that pipelining is nothing special.

use super::text::{dotted, message, split_line};
use super::{Client, ClientCx};
use crate::failure::Failure;
use crate::invariants::decided;
use crate::ledger::UserNumber;
use bytes::Bytes;
use fsm::Rng;
use mailstore::face::Protocol;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelivererKind {
    Smtp,
    Lmtp,
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Greeting,
    StartTls,
    Hello,
    Mail,
    Recipient(UserNumber),
    /// An account or alias that comes and goes: whatever the answer.
    Stranger,
    Data,
    /// The end of the message, for all recipients.
    Accepted,
    /// The end of the message, for one recipient.
    AcceptedFor(UserNumber),
    Quit,
}

#[derive(Debug)]
struct Transaction {
    id: u64,
    text: Bytes,
    users: Vec<UserNumber>,
    accepted: Vec<UserNumber>,
    chunked: bool,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Deliverer {
    kind: DelivererKind,
    users: u32,
    connected: bool,
    awaited: VecDeque<Awaited>,
    transaction: Option<Transaction>,
    input: Vec<u8>,
    left: u64,
    secure: bool,
}

impl Deliverer {
    #[must_use]
    pub fn new(kind: DelivererKind, users: u32) -> Self {
        Self {
            kind,
            users,
            connected: false,
            awaited: VecDeque::new(),
            transaction: None,
            input: Vec::new(),
            left: 0,
            secure: false,
        }
    }

    fn hello(&mut self, cx: &mut ClientCx<'_>) {
        let verb = match self.kind {
            DelivererKind::Smtp => "EHLO",
            DelivererKind::Lmtp => "LHLO",
        };
        cx.say.extend_from_slice(format!("{verb} client.example.net\r\n").as_bytes());
        self.awaited.push_back(Awaited::Hello);
    }

    /// Begins a transaction: everything up to DATA in one piece, or up to the last RCPT before
    /// BDAT.
    fn begin(&mut self, cx: &mut ClientCx<'_>) {
        if cx.winding_down || self.left == 0 {
            cx.say.extend_from_slice(b"QUIT\r\n");
            self.awaited.push_back(Awaited::Quit);
            return;
        }
        self.left -= 1;
        let count = if cx.rng.chance(1, 4) { 2 + cx.rng.below(4) } else { 1 };
        let mut users = Vec::new();
        for _ in 0..count {
            let user = some_user(cx.rng, self.users);
            if !users.contains(&user) {
                users.push(user);
            }
        }
        let large = cx.rng.chance(cx.large_chance, 10_000);
        let text = message(cx.ledger.next_id(), cx.rng, large);
        let id = cx.ledger.sent(text.clone(), true, &users);
        cx.say.extend_from_slice(b"MAIL FROM:<sender@example.net>\r\n");
        self.awaited.push_back(Awaited::Mail);
        for &user in &users {
            let detail = if cx.rng.chance(1, 10) { "+detail" } else { "" };
            let line = format!("RCPT TO:<u{user}{detail}@example.org>\r\n");
            cx.say.extend_from_slice(line.as_bytes());
            self.awaited.push_back(Awaited::Recipient(user));
        }
        if self.kind == DelivererKind::Smtp && users.len() > 1 && cx.rng.chance(1, 3) {
            let kind = if cx.rng.chance(1, 2) { 't' } else { 'a' };
            let line = format!("RCPT TO:<{kind}{}@example.org>\r\n", cx.rng.below(3));
            cx.say.extend_from_slice(line.as_bytes());
            self.awaited.push_back(Awaited::Stranger);
        }
        let chunked = cx.rng.chance(1, 3);
        if !chunked {
            cx.say.extend_from_slice(b"DATA\r\n");
            self.awaited.push_back(Awaited::Data);
        }
        self.transaction = Some(Transaction { id, text, users, accepted: Vec::new(), chunked });
        if cx.vanishes() {
            cx.coverage.fault("deliverer vanishes before the message");
        }
    }

    fn await_verdicts(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        match self.kind {
            DelivererKind::Smtp => self.awaited.push_back(Awaited::Accepted),
            DelivererKind::Lmtp => {
                let each = transaction.accepted.iter().map(|&user| Awaited::AcceptedFor(user));
                self.awaited.extend(each);
            }
        }
    }

    fn send_text(&mut self, cx: &mut ClientCx<'_>) {
        let Some(transaction) = &self.transaction else { return };
        cx.say.extend_from_slice(&dotted(&transaction.text));
        self.await_verdicts();
        if cx.vanishes() {
            cx.coverage.fault("deliverer vanishes within or behind the message");
        }
    }

    fn send_chunks(&mut self, cx: &mut ClientCx<'_>) {
        let Some(transaction) = &self.transaction else { return };
        let text = &transaction.text;
        cx.say.extend_from_slice(format!("BDAT {} LAST\r\n", text.len()).as_bytes());
        cx.say.extend_from_slice(text);
        cx.coverage.action("BDAT");
        self.await_verdicts();
        if cx.vanishes() {
            cx.coverage.fault("deliverer vanishes within or behind the message");
        }
    }

    fn next(&mut self, cx: &mut ClientCx<'_>) {
        self.transaction = None;
        cx.think();
    }

    fn on_reply(&mut self, cx: &mut ClientCx<'_>, code: u16, line: &str) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::new("smtp_replies", what));
        if code == 421 {
            return Ok(());
        }
        let Some(awaited) = self.awaited.pop_front() else {
            return wrong(format!("a reply to nothing: {line}"));
        };
        let good = (200..300).contains(&code);
        match awaited {
            Awaited::Greeting if good => self.hello(cx),
            Awaited::Hello if good => {
                if !self.secure && cx.rng.chance(1, 8) {
                    cx.say.extend_from_slice(b"STARTTLS\r\n");
                    self.awaited.push_back(Awaited::StartTls);
                } else {
                    cx.think();
                }
            }
            Awaited::StartTls if good => {
                self.secure = true;
                cx.coverage.action("STARTTLS");
                self.hello(cx);
            }
            Awaited::Greeting | Awaited::Hello | Awaited::StartTls | Awaited::Mail if !good => {
                cx.coverage.action("SMTP refused early");
            }
            Awaited::Mail | Awaited::Greeting | Awaited::Hello | Awaited::StartTls => {}
            Awaited::Recipient(user) => {
                if code == 550 {
                    return wrong(format!("user {user} exists: {line}"));
                }
                if let Some(transaction) = self.transaction.as_mut().filter(|_| good) {
                    transaction.accepted.push(user);
                }
                self.after_recipients(cx);
            }
            Awaited::Stranger => {
                if good {
                    cx.coverage.action("recipient that may be removed");
                }
                self.after_recipients(cx);
            }
            Awaited::Data if code == 354 => self.send_text(cx),
            Awaited::Data => {
                cx.say.extend_from_slice(b"RSET\r\n");
                self.awaited.push_back(Awaited::Mail);
                self.next(cx);
            }
            Awaited::Accepted => {
                self.check_decided(cx, None, line)?;
                self.on_verdict(cx, good, None);
            }
            Awaited::AcceptedFor(user) => {
                self.check_decided(cx, Some(user), line)?;
                self.on_verdict(cx, good, Some(user));
            }
            Awaited::Quit => {}
        }
        Ok(())
    }

    /// The message goes out in chunks once all recipients are answered.
    fn after_recipients(&mut self, cx: &mut ClientCx<'_>) {
        let chunked = self.transaction.as_ref().is_some_and(|transaction| transaction.chunked);
        if !chunked || !self.awaited.is_empty() {
            return;
        }
        let nobody = self.transaction.as_ref().is_some_and(|t| t.accepted.is_empty());
        if nobody {
            cx.say.extend_from_slice(b"RSET\r\n");
            self.awaited.push_back(Awaited::Mail);
            self.next(cx);
        } else {
            self.send_chunks(cx);
        }
    }

    fn check_decided(
        &self,
        cx: &ClientCx<'_>,
        user: Option<UserNumber>,
        line: &str,
    ) -> Result<(), Failure> {
        let id = self.transaction.as_ref().map(|transaction| transaction.id);
        let said = id.and_then(|id| cx.ledger.said.get(&id));
        said.map_or(Ok(()), |said| decided::check(said, user, line))
    }

    fn on_verdict(&mut self, cx: &mut ClientCx<'_>, good: bool, user: Option<UserNumber>) {
        let Some(transaction) = &self.transaction else { return };
        let users = user.map_or_else(|| transaction.accepted.clone(), |user| vec![user]);
        if good {
            let several = transaction.users.len() > 1;
            let large = transaction.text.len() > mailstore::face::INLINE_BYTES_MAX;
            cx.coverage.action(match (self.kind, several, large) {
                (DelivererKind::Smtp, false, false) => "SMTP delivery, one recipient",
                (DelivererKind::Smtp, true, false) => "SMTP delivery, several recipients",
                (DelivererKind::Smtp, false, true) => "SMTP delivery, one recipient, large",
                (DelivererKind::Smtp, true, true) => "SMTP delivery, several recipients, large",
                (DelivererKind::Lmtp, _, false) => "LMTP delivery",
                (DelivererKind::Lmtp, _, true) => "LMTP delivery, large",
            });
            for user in users {
                cx.ledger.promise(transaction.id, user);
                // Several recipients of SMTP are served behind the answer.
                if self.kind == DelivererKind::Lmtp || !several {
                    cx.ledger.land(user);
                }
            }
        } else {
            cx.coverage.action("delivery refused");
            cx.ledger.counts.refused += 1;
        }
        if self.awaited.is_empty() {
            self.next(cx);
        }
    }
}

/// The last user's mail is never deleted, so little comes.
fn some_user(rng: &mut Rng, users: u32) -> UserNumber {
    let spared = users - u32::from(users > 1 && rng.chance(7, 8));
    u32::try_from(rng.below(u64::from(spared))).unwrap_or(0)
}

impl Client for Deliverer {
    fn protocol(&self) -> Protocol {
        match self.kind {
            DelivererKind::Smtp => Protocol::Smtp,
            DelivererKind::Lmtp => Protocol::Lmtp,
        }
    }

    fn woke(&mut self, cx: &mut ClientCx<'_>) {
        if !self.connected {
            cx.connect = !cx.winding_down;
        } else if self.awaited.is_empty() {
            self.begin(cx);
        }
    }

    fn opened(&mut self, cx: &mut ClientCx<'_>) {
        self.connected = true;
        self.secure = false;
        self.left = 1 + cx.rng.below(20);
        self.awaited.clear();
        self.awaited.push_back(Awaited::Greeting);
    }

    fn heard(&mut self, cx: &mut ClientCx<'_>, bytes: &[u8]) -> Result<(), Failure> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while let Some((line, behind)) = split_line(rest) {
            rest = behind;
            let text = String::from_utf8_lossy(line);
            if text.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let code = text.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            self.on_reply(cx, code, &text)?;
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn closed(&mut self, cx: &mut ClientCx<'_>) {
        self.connected = false;
        self.transaction = None;
        self.awaited.clear();
        self.input.clear();
        cx.think();
    }

    fn is_quiet(&self) -> bool {
        !self.connected
    }
}
