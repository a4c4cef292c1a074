//! UIDs rise and are never used again: UIDNEXT lies above every UID that anybody ever saw under
//! this UIDVALIDITY, and no two folders share one UIDVALIDITY. A mailbox that nobody opened since a
//! restoration has yet to learn what was seen.

use super::Subject;
use crate::failure::Failure;
use crate::ledger::Ledger;
use std::collections::BTreeSet;

pub fn check(subject: &Subject<'_>, ledger: &Ledger) -> Result<(), Failure> {
    let fail = |what: String| Err(Failure::new("uids_rise", what));
    let mut validities = BTreeSet::new();
    for folder in &subject.user.folders {
        let place = format!("{} of user {}", folder.name, subject.number);
        if !validities.insert(folder.uid_validity) {
            return fail(format!("{place}: UIDVALIDITY {} stands twice", folder.uid_validity));
        }
        let seen = ledger.places_of(subject.number, folder.uid_validity).next_back();
        let last = folder.rows.keys().next_back().copied();
        let highest = seen.map(|(uid, _)| uid).max(last).unwrap_or(0);
        if subject.user.is_raised && folder.header.uid_next <= highest {
            let next = folder.header.uid_next;
            return fail(format!("{place}: UIDNEXT is {next}, but UID {highest} was used"));
        }
        if folder.rows.values().any(|row| row.mod_seq > folder.header.mod_seq) {
            return fail(format!("{place}: a MODSEQ lies above HIGHESTMODSEQ"));
        }
    }
    Ok(())
}
