//! What deciding extensions are asked between the end of a message and the answer to it, and what they say.

use super::{FolderId, FolderName, Keyword, Protocol, SystemFlags, UserId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// INBOX when there is no such folder (any more).
    Folder(FolderName),
    /// The folder of that use; it also gets `$Junk`.
    Junk,
    Trash,
    /// The folder of this number, however it is called now; `name`: as it was called when it was chosen. INBOX when it is gone.
    Known {
        id: FolderId,
        name: FolderName,
    },
}

/// What is done with an arriving message besides keeping it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filing {
    pub place: Option<Place>,
    pub flags: SystemFlags,
    pub keywords: Vec<Keyword>,
}

impl Filing {
    /// Nothing is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what somebody else says. Of two places the first counts.
    pub fn add(&mut self, other: &Self) {
        if self.place.is_none() {
            self.place.clone_from(&other.place);
        }
        self.flags = SystemFlags(self.flags.0 | other.flags.0);
        for keyword in &other.keywords {
            if !self.keywords.contains(keyword) {
                self.keywords.push(keyword.clone());
            }
        }
    }
}

/// A message that is complete, and not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub protocol: Protocol,
    pub ip: IpAddr,
    /// As the client introduced itself.
    pub helo: String,
    /// Who submits it; `None`: it comes from elsewhere.
    pub submitter: Option<Arc<str>>,
    /// Empty for the null reverse path.
    pub reverse_path: Box<str>,
    /// Each mailbox once.
    pub mailboxes: Vec<AskedMailbox>,
    /// Octets of the message, without what this service adds.
    pub bytes: u64,
    /// The message from its first octet on: all of it, or the first chunk.
    pub head: Bytes,
}

/// A mailbox that shall get the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedMailbox {
    pub user: UserId,
    /// As given at RCPT.
    pub recipient: Arc<str>,
    /// Of its account.
    pub address: Arc<str>,
}

/// What is said of the message for one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub user: UserId,
    pub ruling: Ruling,
    pub filing: Filing,
}

/// Whether a mailbox takes a message. The later one counts over the earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ruling {
    #[default]
    Take,
    /// Not now.
    Defer,
    Refuse,
}

/// What is said of a message for some mailboxes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept, where each decision files it.
    Kept,
    Deferred,
    Refused,
}

/// The verdict on a message for mailboxes that are answered together, and what is done with the copy of each, in their order.
#[must_use]
pub fn settle(mailboxes: &[AskedMailbox], said: &[Decision]) -> (Verdict, Vec<Filing>) {
    let of = |mailbox: &AskedMailbox| {
        let nothing =
            || Decision { user: mailbox.user, ruling: Ruling::Take, filing: Filing::default() };
        said.iter().find(|decision| decision.user == mailbox.user).cloned().unwrap_or_else(nothing)
    };
    let mut decisions: Vec<Decision> = mailboxes.iter().map(of).collect();
    let verdict = judge(&mut decisions);
    (verdict, decisions.into_iter().map(|decision| decision.filing).collect())
}

/// Judges a message that is answered once for several mailboxes: it is refused only when all refuse it. Where others take it, who refuses
/// it gets it in Junk, and who only wants it later gets it at once.
fn judge<'a>(decisions: impl IntoIterator<Item = &'a mut Decision>) -> Verdict {
    let mut all: Vec<&mut Decision> = decisions.into_iter().collect();
    let Some(least) = all.iter().map(|it| it.ruling).min() else { return Verdict::Kept };
    match least {
        Ruling::Refuse => Verdict::Refused,
        Ruling::Defer => Verdict::Deferred,
        Ruling::Take => {
            for decision in all.iter_mut().filter(|it| it.ruling == Ruling::Refuse) {
                decision.filing.place = Some(Place::Junk);
            }
            Verdict::Kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::SystemFlag;

    fn said(rulings: &[Ruling]) -> Vec<Decision> {
        let decision = |(user, &ruling): (usize, &Ruling)| Decision {
            user: UserId(user as u64),
            ruling,
            filing: Filing::default(),
        };
        rulings.iter().enumerate().map(decision).collect()
    }

    #[test]
    fn only_all_together_refuse() {
        use Ruling::{Defer, Refuse, Take};
        for (rulings, verdict) in [
            (&[][..], Verdict::Kept),
            (&[Take], Verdict::Kept),
            (&[Refuse], Verdict::Refused),
            (&[Defer], Verdict::Deferred),
            (&[Refuse, Refuse], Verdict::Refused),
            (&[Refuse, Defer], Verdict::Deferred),
            (&[Refuse, Take, Defer], Verdict::Kept),
        ] {
            let mut decisions = said(rulings);
            assert_eq!(judge(&mut decisions), verdict, "{rulings:?}");
            for decision in &decisions {
                let junk = verdict == Verdict::Kept && decision.ruling == Refuse;
                assert_eq!(decision.filing.place, junk.then_some(Place::Junk), "{rulings:?}");
            }
        }
    }

    #[test]
    fn of_whom_nothing_is_said_takes_it() {
        let mailbox = |user| AskedMailbox {
            user: UserId(user),
            recipient: "ann@example.org".into(),
            address: "ann@example.org".into(),
        };
        let mailboxes = [mailbox(1), mailbox(0)];
        assert_eq!(settle(&mailboxes, &[]).0, Verdict::Kept);
        let (verdict, filings) = settle(&mailboxes, &said(&[Ruling::Refuse]));
        assert_eq!(verdict, Verdict::Kept);
        assert_eq!((&filings[0].place, &filings[1].place), (&None, &Some(Place::Junk)));
        let both = said(&[Ruling::Refuse, Ruling::Refuse]);
        assert_eq!(settle(&mailboxes, &both).0, Verdict::Refused);
    }

    #[test]
    fn the_first_place_counts_and_marks_add_up() {
        let keyword = |name: &str| Keyword::new(name.as_bytes()).expect("a keyword");
        let flags = SystemFlags::default().with(SystemFlag::Flagged);
        let mut filing = Filing { place: Some(Place::Junk), flags, keywords: vec![keyword("one")] };
        filing.add(&Filing {
            place: Some(Place::Trash),
            flags: SystemFlags::default().with(SystemFlag::Seen),
            keywords: vec![keyword("one"), keyword("two")],
        });
        assert_eq!(filing.place, Some(Place::Junk));
        assert!(filing.flags.has(SystemFlag::Seen) && filing.flags.has(SystemFlag::Flagged));
        assert_eq!(filing.keywords, [keyword("one"), keyword("two")]);
    }
}
