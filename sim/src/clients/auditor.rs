//! Looks at everything one user has, when everything has settled.

use super::{Client, ClientCx};
use crate::failure::Failure;
use crate::invariants::Audit;
use crate::ledger::UserNumber;
use imap::client_model::{ClientModel, Heard, Running};
use mailstore::face::Protocol;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Away,
    Greeted,
    Login,
    Enable,
    List,
    Examine(String),
    Fetch(String),
    Logout,
    Ended,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Auditor {
    user: UserNumber,
    step: Step,
    model: ClientModel,
    tags: u64,
    listed: Vec<u8>,
    left: Vec<String>,
    done: Vec<Audit>,
}

impl Auditor {
    #[must_use]
    pub fn new(user: UserNumber) -> Self {
        Self {
            user,
            step: Step::Away,
            model: ClientModel::default(),
            tags: 0,
            listed: Vec::new(),
            left: Vec::new(),
            done: Vec::new(),
        }
    }

    fn say(&mut self, cx: &mut ClientCx<'_>, step: Step, running: Running, command: &str) {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.model.begin(&tag, running);
        self.step = step;
        cx.say.extend_from_slice(format!("{tag} {command}\r\n").as_bytes());
    }

    fn next_folder(&mut self, cx: &mut ClientCx<'_>) {
        match self.left.pop() {
            Some(name) => {
                let command = format!("EXAMINE {name}");
                self.say(cx, Step::Examine(name), Running::Select, &command);
            }
            None => self.say(cx, Step::Logout, Running::Other, "LOGOUT"),
        }
    }

    fn on_tagged(
        &mut self,
        cx: &mut ClientCx<'_>,
        condition: &str,
        text: &str,
    ) -> Result<(), Failure> {
        if condition != "OK" {
            let what = format!("user {}: {:?} was refused: {text}", self.user, self.step);
            return Err(Failure::new("everything_finishes", what));
        }
        match std::mem::replace(&mut self.step, Step::Ended) {
            Step::Login => self.say(cx, Step::Enable, Running::Other, "ENABLE CONDSTORE"),
            Step::Enable => {
                self.listed.clear();
                self.say(cx, Step::List, Running::Other, "LIST \"\" *");
            }
            Step::List => {
                self.left = folders_in(&self.listed);
                self.next_folder(cx);
            }
            Step::Examine(name) => {
                if self.model.messages.is_empty() {
                    self.keep(name);
                    self.next_folder(cx);
                } else {
                    let items = "FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[])";
                    self.say(cx, Step::Fetch(name), Running::ByNumber, items);
                }
            }
            Step::Fetch(name) => {
                for message in &self.model.messages {
                    if let Some(text) = &message.text {
                        cx.ledger.identify(self.user, text)?;
                    }
                }
                self.keep(name);
                self.next_folder(cx);
            }
            Step::Logout => {
                cx.ledger.audits.append(&mut self.done);
                self.step = Step::Ended;
            }
            Step::Away | Step::Greeted | Step::Ended => {}
        }
        Ok(())
    }

    fn keep(&mut self, folder: String) {
        self.done.push(Audit {
            user: self.user,
            folder,
            uid_validity: self.model.uid_validity.unwrap_or(0),
            messages: std::mem::take(&mut self.model.messages),
        });
    }
}

/// The names in answers to LIST that can be selected.
fn folders_in(listed: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(listed);
    let lines = text.lines().filter(|line| line.starts_with("* LIST "));
    let selectable = lines.filter(|line| {
        let lower = line.to_lowercase();
        !lower.contains("\\noselect") && !lower.contains("\\nonexistent")
    });
    selectable
        .filter_map(|line| line.rsplit(' ').next())
        .map(|name| name.trim_matches('"').to_owned())
        .collect()
}

impl Client for Auditor {
    fn protocol(&self) -> Protocol {
        Protocol::Imap
    }

    fn woke(&mut self, cx: &mut ClientCx<'_>) {
        if self.step == Step::Away {
            cx.connect = true;
        }
    }

    fn opened(&mut self, _cx: &mut ClientCx<'_>) {
        self.step = Step::Greeted;
    }

    fn heard(&mut self, cx: &mut ClientCx<'_>, bytes: &[u8]) -> Result<(), Failure> {
        if self.step == Step::List {
            self.listed.extend_from_slice(bytes);
        }
        let wrong = |wrong: imap::client_model::Wrong| Failure::new("told_one_story", wrong.0);
        let heard = self.model.receive(bytes).map_err(wrong)?;
        if self.step == Step::Greeted {
            let command = format!("LOGIN u{0}@example.org pw{0}", self.user);
            self.say(cx, Step::Login, Running::Other, &command);
        }
        for heard in heard {
            match heard {
                Heard::Tagged { tag: _, condition, text } => {
                    self.on_tagged(cx, &condition, &text)?;
                }
                Heard::Continue | Heard::Found(_) | Heard::Bye(_) => {}
            }
        }
        Ok(())
    }

    fn closed(&mut self, _cx: &mut ClientCx<'_>) {
        if self.step != Step::Ended {
            self.step = Step::Away;
        }
    }

    fn is_quiet(&self) -> bool {
        self.step == Step::Ended
    }
}
