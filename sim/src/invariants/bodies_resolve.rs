//! Every row names a body that is there in full, and its text is one that was sent, of the length
//! that the row says.

use super::Subject;
use crate::failure::Failure;
use crate::ledger::Ledger;

pub fn check(subject: &Subject<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
    let fail = |what: String| Err(Failure::new("bodies_resolve", what));
    for folder in &subject.user.folders {
        for (uid, row) in &folder.rows {
            let place = format!("UID {uid} of {} of user {}", folder.name, subject.number);
            let Some(text) = subject.user.texts.get(&row.email) else {
                return fail(format!("{place}: EMAILID {} has no body", row.email));
            };
            let Some(text) = text else {
                return fail(format!("{place}: the blob of EMAILID {} is gone", row.email));
            };
            if text.len() as u64 != row.bytes {
                return fail(format!("{place}: {} bytes, the row says {}", text.len(), row.bytes));
            }
            let id = ledger.identify(subject.number, text)?;
            ledger.place((subject.number, folder.uid_validity, *uid), id)?;
        }
    }
    if let Some(lost) = subject.queue.iter().find(|queued| queued.text.is_none()) {
        return fail(format!("a queued message lost its body: {:?}", lost.blob));
    }
    Ok(())
}
