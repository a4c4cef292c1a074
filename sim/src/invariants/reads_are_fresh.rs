//! Who opens a mailbox sees everything that was acknowledged before it asked, wherever the master was then.

use crate::failure::Failure;
use crate::ledger::UserNumber;

/// `owed`: messages that were there when the client asked; nobody deletes any of this user.
///
/// # Errors
/// When the client is shown fewer.
pub fn check(user: UserNumber, owed: usize, shown: usize) -> Result<(), Failure> {
    if shown >= owed {
        return Ok(());
    }
    let what = format!("user {user} was shown {shown} messages, {owed} were acknowledged before");
    Err(Failure::new("reads_are_fresh", what))
}
