//! A message is deferred or refused when all mailboxes that are answered together said so in time, and only then.

use crate::failure::Failure;
use crate::ledger::UserNumber;
use mailstore::face::Ruling;

/// When what extensions say of a message reaches the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    InTime,
    /// Just when the session gives up.
    Either,
    Never,
}

/// What extensions say of a message.
#[derive(Clone, Debug)]
pub struct Said {
    pub heard: Heard,
    /// For each mailbox that it is for; `None`: it is that of no user by that name.
    pub rulings: Vec<(Option<UserNumber>, Ruling)>,
}

/// `line`: what the client was told of the message, for one user, or for all together.
///
/// # Errors
/// When it is something else than was decided.
pub fn check(said: &Said, user: Option<UserNumber>, line: &str) -> Result<(), Failure> {
    let meant = |of: &Option<UserNumber>| user.is_none() || *of == user;
    let decided = said.rulings.iter().filter(|(of, _)| meant(of)).map(|(_, ruling)| *ruling).min();
    let decided = match (said.heard, decided) {
        (Heard::Either, _) => return Ok(()),
        (Heard::InTime, Some(ruling)) => ruling,
        (Heard::InTime, None) | (Heard::Never, _) => Ruling::Take,
    };
    let told = match line.get(..9) {
        Some("550 5.7.1") => Ruling::Refuse,
        Some("451 4.7.1") => Ruling::Defer,
        Some(_) if line.starts_with('2') => Ruling::Take,
        // Trouble of the service comes before or behind the decision.
        Some(_) | None => return Ok(()),
    };
    if told == decided {
        return Ok(());
    }
    let what = format!("extensions said {decided:?} ({said:?}), and the client heard {line}");
    Err(Failure::new("decided", what))
}
