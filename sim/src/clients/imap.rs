//! A client of IMAP: it does random things to the folders of a user and checks all it hears with
//! a model of its own.
//!
//! It flags as deleted, copies and appends only messages whose number it knows, so that the ledger
//! knows what must still be there.

use super::text::message;
use super::{Client, ClientCx};
use crate::failure::Failure;
use crate::invariants::reads_are_fresh;
use crate::ledger::{Place, UserNumber};
use imap::client_model::{Change, ClientModel, Heard, Running, Silent};
use mailstore::face::Protocol;
use std::collections::{BTreeMap, BTreeSet};

const FOLDERS: [&str; 3] = ["INBOX", "Trash", "Archive"];
/// Messages above which a client tidies up.
const MUCH_MAIL: usize = 100;
const WORDS: [&str; 5] = ["\\Seen", "\\Flagged", "\\Answered", "$Work", "$Later"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Away,
    /// The greeting has not come.
    Greeted,
    LoggedIn,
    Selected {
        read_only: bool,
    },
}

/// The command under way, as far as its answer matters.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    Login,
    Select,
    Close,
    Append(Vec<u64>),
    Idle,
    Logout,
    Other,
}

/// See the head of the file.
#[derive(Debug)]
pub struct ImapClient {
    user: UserNumber,
    /// How many users it serves, from user 1 on: another one at every connection. 0: always the
    /// same.
    roams: u32,
    /// Reads only; never changes anything.
    reader: bool,
    phase: Phase,
    doing: Doing,
    model: ClientModel,
    tags: u64,
    qresync: bool,
    /// Messages that must be seen in the folder that is being opened.
    owed: usize,
    /// Message numbers by place.
    known: BTreeMap<Place, u64>,
    /// The highest MODSEQ told of each, whatever happened to the node since.
    mod_seqs: BTreeMap<Place, u64>,
    heard_any: bool,
}

impl ImapClient {
    #[must_use]
    pub fn new(user: UserNumber, reader: bool) -> Self {
        Self {
            user,
            roams: 0,
            reader,
            phase: Phase::Away,
            doing: Doing::Nothing,
            model: ClientModel::default(),
            tags: 0,
            qresync: false,
            owed: 0,
            known: BTreeMap::new(),
            mod_seqs: BTreeMap::new(),
            heard_any: false,
        }
    }

    /// A client of all users but the first and the last.
    #[must_use]
    pub fn roaming(users: u32) -> Self {
        Self { roams: users.saturating_sub(2), ..Self::new(1, false) }
    }

    fn say(&mut self, cx: &mut ClientCx<'_>, doing: Doing, running: Running, command: &str) {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.model.begin(&tag, running);
        self.doing = doing;
        cx.say.extend_from_slice(tag.as_bytes());
        cx.say.push(b' ');
        cx.say.extend_from_slice(command.as_bytes());
        cx.say.extend_from_slice(b"\r\n");
    }

    fn other(&mut self, cx: &mut ClientCx<'_>, command: &str) {
        self.say(cx, Doing::Other, Running::Other, command);
    }

    fn act(&mut self, cx: &mut ClientCx<'_>) {
        if cx.vanishes() {
            cx.coverage.fault("IMAP client vanishes");
            return;
        }
        match self.phase {
            Phase::Away | Phase::Greeted => {}
            Phase::LoggedIn if cx.winding_down => {
                self.say(cx, Doing::Logout, Running::Other, "LOGOUT");
            }
            Phase::LoggedIn => self.unselected(cx),
            Phase::Selected { .. } if self.doing == Doing::Idle => {
                self.doing = Doing::Other;
                cx.say.extend_from_slice(b"DONE\r\n");
            }
            Phase::Selected { .. } if cx.winding_down => {
                self.say(cx, Doing::Logout, Running::Other, "LOGOUT");
            }
            Phase::Selected { read_only } => self.selected(cx, read_only || self.reader),
        }
    }

    fn unselected(&mut self, cx: &mut ClientCx<'_>) {
        match cx.rng.below(12) {
            0 if !self.qresync => {
                self.qresync = true;
                self.other(cx, "ENABLE QRESYNC");
            }
            1 => self.other(cx, "LIST \"\" *"),
            2 => {
                let folder = FOLDERS[pick(cx, FOLDERS.len())];
                let items = "MESSAGES UIDNEXT UNSEEN SIZE";
                self.other(cx, &format!("STATUS {folder} ({items})"));
            }
            3 if !self.reader => self.folder_command(cx),
            _ => {
                let folder = if cx.rng.chance(3, 4) { 0 } else { pick(cx, FOLDERS.len()) };
                let verb = if cx.rng.chance(1, 6) { "EXAMINE" } else { "SELECT" };
                // Nobody puts anything into the others: they come and go.
                let name = match cx.rng.below(20) {
                    0 => "x0",
                    1 => "x1",
                    2 => "x2",
                    _ => FOLDERS[folder],
                };
                let judged = self.reader && name == "INBOX" && cx.fresh;
                self.owed = if judged { cx.ledger.landed(self.user) } else { 0 };
                let command = format!("{verb} {name}");
                self.model.messages.clear();
                self.say(cx, Doing::Select, Running::Select, &command);
            }
        }
    }

    fn folder_command(&mut self, cx: &mut ClientCx<'_>) {
        let name = format!("x{}", cx.rng.below(3));
        match cx.rng.below(5) {
            0 | 1 => self.other(cx, &format!("CREATE {name}")),
            2 => {
                let to = cx.rng.below(3);
                self.other(cx, &format!("RENAME {name} y{to}"));
            }
            3 => self.other(cx, &format!("SUBSCRIBE {name}")),
            // Nobody puts anything there.
            _ => self.other(cx, &format!("DELETE {name}")),
        }
    }

    fn selected(&mut self, cx: &mut ClientCx<'_>, read_only: bool) {
        match cx.rng.below(28) {
            0..=4 => self.fetch_unknown(cx),
            5 | 6 => self.fetch_by_number(cx),
            7..=10 if !read_only => self.store(cx),
            11 | 12 if !read_only => self.mark_deleted(cx),
            13 if !read_only => self.other(cx, "EXPUNGE"),
            14 if !read_only => {
                let set = self.some_known(cx);
                self.on_set(cx, "UID EXPUNGE", &set, "");
            }
            15 if !self.reader => self.copy(cx),
            16 if !read_only => {
                let set = self.some_known(cx);
                let to = FOLDERS[pick(cx, FOLDERS.len())];
                self.on_set(cx, "UID MOVE", &set, to);
            }
            17 | 18 if !self.reader => self.append(cx),
            19 | 20 => {
                self.say(cx, Doing::Idle, Running::Idle, "IDLE");
                cx.think_about(cx.think_ms * 5);
            }
            21 => {
                let verb = if cx.rng.chance(1, 2) { "CLOSE" } else { "UNSELECT" };
                self.say(cx, Doing::Close, Running::Other, verb);
            }
            22 => {
                let keys = ["ALL", "UNSEEN", "DELETED", "KEYWORD $Work", "BODY 12", "SUBJECT 7"];
                let key = keys[pick(cx, keys.len())];
                if cx.rng.chance(1, 2) {
                    self.other(cx, &format!("UID SEARCH {key}"));
                } else {
                    let command = format!("SEARCH {key}");
                    self.say(cx, Doing::Other, Running::ByNumber, &command);
                }
            }
            23 => self.say(cx, Doing::Logout, Running::Other, "LOGOUT"),
            _ => self.other(cx, "NOOP"),
        }
    }

    /// Reads whole messages whose number is not known yet.
    fn fetch_unknown(&mut self, cx: &mut ClientCx<'_>) {
        let unknown = self.model.messages.iter().position(|message| message.text.is_none());
        let Some(at) = unknown else { return self.other(cx, "NOOP") };
        let to = (at + 1 + pick(cx, 16)).min(self.model.messages.len());
        let verb = if cx.rng.chance(1, 4) && !self.reader { "BODY[]" } else { "BODY.PEEK[]" };
        let command = format!("FETCH {}:{to} (UID FLAGS MODSEQ {verb})", at + 1);
        self.say(cx, Doing::Other, Running::ByNumber, &command);
    }

    fn fetch_by_number(&mut self, cx: &mut ClientCx<'_>) {
        let count = self.model.messages.len();
        if count == 0 {
            return self.other(cx, "CHECK");
        }
        let from = 1 + pick(cx, count);
        let to = (from + pick(cx, 20)).min(count);
        let items =
            ["(UID FLAGS)", "(FLAGS MODSEQ)", "(ENVELOPE)", "(BODYSTRUCTURE RFC822.SIZE)", "ALL"];
        let command = format!("FETCH {from}:{to} {}", items[pick(cx, items.len())]);
        self.say(cx, Doing::Other, Running::ByNumber, &command);
    }

    fn store(&mut self, cx: &mut ClientCx<'_>) {
        let word = WORDS[pick(cx, WORDS.len())];
        let (verb, change) =
            if cx.rng.chance(1, 2) { ("+FLAGS", Change::Add) } else { ("-FLAGS", Change::Remove) };
        let set = self.some_known(cx);
        if set.is_empty() {
            return self.other(cx, "NOOP");
        }
        if cx.rng.chance(1, 2) {
            return self.on_set(cx, "UID STORE", &set, &format!("{verb} ({word})"));
        }
        let flags = BTreeSet::from([word.to_lowercase()]);
        let silent = Silent { uids: set.iter().copied().collect(), change, flags };
        let command = format!("UID STORE {} {verb}.SILENT ({word})", list(&set));
        self.say(cx, Doing::Other, Running::SilentByUid(silent), &command);
    }

    /// With much mail, as much of it as a client knows.
    fn mark_deleted(&mut self, cx: &mut ClientCx<'_>) {
        let set = if self.model.messages.len() > MUCH_MAIL {
            self.known_uids().take(MUCH_MAIL / 2).collect()
        } else {
            self.some_known(cx)
        };
        self.each_id(&set, |id| cx.ledger.may_delete(id, self.user));
        self.on_set(cx, "UID STORE", &set, "+FLAGS (\\Deleted)");
    }

    fn copy(&mut self, cx: &mut ClientCx<'_>) {
        let set = self.some_known(cx);
        self.each_id(&set, |id| cx.ledger.may_copy(id, self.user));
        let to = FOLDERS[pick(cx, FOLDERS.len())];
        self.on_set(cx, "UID COPY", &set, to);
    }

    fn on_set(&mut self, cx: &mut ClientCx<'_>, verb: &str, set: &[u32], rest: &str) {
        if set.is_empty() {
            return self.other(cx, "NOOP");
        }
        let command = format!("{verb} {} {rest}", list(set));
        self.other(cx, command.trim_end());
    }

    fn append(&mut self, cx: &mut ClientCx<'_>) {
        let folder = FOLDERS[pick(cx, FOLDERS.len())];
        let count = if cx.rng.chance(1, 4) { 2 } else { 1 };
        let mut command = format!("APPEND {folder}").into_bytes();
        let mut ids = Vec::new();
        for _ in 0..count {
            let large = cx.rng.chance(cx.large_chance, 10_000);
            let text = message(cx.ledger.next_id(), cx.rng, large);
            ids.push(cx.ledger.sent(text.clone(), false, &[self.user]));
            command.extend_from_slice(format!(" (\\Seen) {{{}+}}\r\n", text.len()).as_bytes());
            command.extend_from_slice(&text);
        }
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.model.begin(&tag, Running::Other);
        self.doing = Doing::Append(ids);
        cx.say.extend_from_slice(format!("{tag} ").as_bytes());
        cx.say.extend_from_slice(&command);
        cx.say.extend_from_slice(b"\r\n");
    }

    fn each_id(&self, set: &[u32], mut take: impl FnMut(u64)) {
        let validity = self.model.uid_validity.unwrap_or(0);
        for uid in set {
            if let Some(&id) = self.known.get(&(self.user, validity, *uid)) {
                take(id);
            }
        }
    }

    /// Up to three messages of the selected folder whose number is known.
    fn some_known(&self, cx: &mut ClientCx<'_>) -> Vec<u32> {
        let uids: Vec<u32> = self.known_uids().collect();
        let mut chosen = BTreeSet::new();
        for _ in 0..uids.len().min(1 + pick(cx, 3)) {
            chosen.insert(uids[pick(cx, uids.len())]);
        }
        chosen.into_iter().collect()
    }

    /// Messages of the selected folder whose number is known.
    fn known_uids(&self) -> impl Iterator<Item = u32> + '_ {
        let validity = self.model.uid_validity.unwrap_or(0);
        let uids = self.model.messages.iter().filter_map(|message| message.uid);
        uids.filter(move |uid| self.known.contains_key(&(self.user, validity, *uid)))
    }

    /// Checks the texts that came, and remembers their numbers.
    fn harvest(&mut self, cx: &mut ClientCx<'_>) -> Result<(), Failure> {
        let Some(validity) = self.model.uid_validity else { return Ok(()) };
        for message in &self.model.messages {
            if let (Some(uid), Some(mod_seq)) = (message.uid, message.mod_seq) {
                let told = self.mod_seqs.entry((self.user, validity, uid)).or_insert(mod_seq);
                if *told > mod_seq {
                    let what = format!(
                        "MODSEQ of UID {uid} of user {} falls from {told} to {mod_seq}",
                        self.user
                    );
                    return Err(Failure::new("told_one_story", what));
                }
                *told = mod_seq;
            }
            let (Some(uid), Some(text)) = (message.uid, &message.text) else { continue };
            let place = (self.user, validity, uid);
            if self.known.contains_key(&place) {
                continue;
            }
            let id = cx.ledger.identify(self.user, text)?;
            cx.ledger.place(place, id)?;
            self.known.insert(place, id);
        }
        Ok(())
    }

    fn on_tagged(
        &mut self,
        cx: &mut ClientCx<'_>,
        condition: &str,
        text: &str,
    ) -> Result<(), Failure> {
        let done = std::mem::replace(&mut self.doing, Doing::Nothing);
        if condition == "BAD" {
            return Err(Failure::new("told_one_story", format!("a right command is BAD: {text}")));
        }
        let good = condition == "OK";
        cx.coverage.action(if good { "IMAP command done" } else { "IMAP command refused" });
        match done {
            Doing::Login if good => self.phase = Phase::LoggedIn,
            Doing::Login => {
                // Busy: the next try comes after a pause, on this connection.
                self.phase = Phase::Greeted;
                cx.vanish = true;
            }
            Doing::Select if good => {
                let read_only = text.contains("[READ-ONLY]");
                let (owed, shown) = (std::mem::take(&mut self.owed), self.model.messages.len());
                if cx.fresh {
                    reads_are_fresh::check(self.user, owed, shown)?;
                }
                self.phase = Phase::Selected { read_only };
            }
            Doing::Select | Doing::Close => {
                self.phase = Phase::LoggedIn;
                self.model.messages.clear();
            }
            Doing::Append(ids) if good => self.appended(cx, &ids, text)?,
            Doing::Logout | Doing::Append(_) | Doing::Idle | Doing::Other | Doing::Nothing => {}
        }
        cx.think();
        Ok(())
    }

    /// RFC 4315: APPENDUID tells where the messages stand.
    fn appended(&mut self, cx: &mut ClientCx<'_>, ids: &[u64], text: &str) -> Result<(), Failure> {
        cx.coverage.action("APPEND");
        for &id in ids {
            cx.ledger.promise(id, self.user);
        }
        let Some((_, code)) = text.split_once("[APPENDUID ") else { return Ok(()) };
        let code = code.split(']').next().unwrap_or_default();
        let mut words = code.split(' ');
        let validity = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let first = words.next().unwrap_or_default();
        let first = first.split([':', ',']).next().and_then(|word| word.parse::<u32>().ok());
        if let (Some(first), [id]) = (first, ids) {
            cx.ledger.place((self.user, validity, first), *id)?;
        }
        Ok(())
    }
}

/// A place below `count`, which is not 0.
fn pick(cx: &mut ClientCx<'_>, count: usize) -> usize {
    usize::try_from(cx.rng.below(count as u64)).unwrap_or(0)
}

fn list(set: &[u32]) -> String {
    let words: Vec<String> = set.iter().map(u32::to_string).collect();
    words.join(",")
}

impl Client for ImapClient {
    fn protocol(&self) -> Protocol {
        Protocol::Imap
    }

    fn woke(&mut self, cx: &mut ClientCx<'_>) {
        match self.phase {
            Phase::Away => {
                if self.roams > 0 {
                    self.user = 1 + u32::try_from(cx.rng.below(u64::from(self.roams))).unwrap_or(0);
                }
                cx.connect = !cx.winding_down;
            }
            Phase::Greeted if self.heard_any && self.doing == Doing::Nothing => {
                let command = format!("LOGIN u{0}@example.org pw{0}", self.user);
                self.say(cx, Doing::Login, Running::Other, &command);
            }
            Phase::Greeted => {}
            Phase::LoggedIn | Phase::Selected { .. } => {
                if self.doing == Doing::Nothing || self.doing == Doing::Idle {
                    self.act(cx);
                }
            }
        }
    }

    fn opened(&mut self, cx: &mut ClientCx<'_>) {
        self.model = ClientModel::default();
        self.phase = Phase::Greeted;
        self.doing = Doing::Nothing;
        self.heard_any = false;
        self.qresync = false;
        cx.wake_ms = None;
    }

    fn heard(&mut self, cx: &mut ClientCx<'_>, bytes: &[u8]) -> Result<(), Failure> {
        let wrong = |wrong: imap::client_model::Wrong| {
            Failure::new("told_one_story", format!("user {}: {}", self.user, wrong.0))
        };
        let heard = self.model.receive(bytes).map_err(wrong)?;
        if heard.iter().any(|heard| matches!(heard, Heard::Tagged { .. })) {
            self.harvest(cx)?;
        }
        if !self.heard_any {
            self.heard_any = true;
            cx.think_about(1);
        }
        for heard in heard {
            match heard {
                Heard::Continue | Heard::Found(_) => {}
                Heard::Bye(_) => cx.coverage.action("IMAP BYE"),
                Heard::Tagged { tag: _, condition, text } => {
                    self.on_tagged(cx, &condition, &text)?;
                }
            }
        }
        Ok(())
    }

    fn closed(&mut self, cx: &mut ClientCx<'_>) {
        self.phase = Phase::Away;
        self.doing = Doing::Nothing;
        cx.think();
    }

    fn is_quiet(&self) -> bool {
        self.phase == Phase::Away
    }
}
