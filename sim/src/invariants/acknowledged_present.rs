//! Every acknowledged message is there, byte for byte, unless a client may have deleted it: in a
//! folder of its user, or in the delivery queue on its way there.

use super::{Moment, Subject};
use crate::failure::Failure;
use crate::ledger::{Ledger, id_in};
use std::collections::BTreeSet;

pub fn check(subject: &Subject<'_>, ledger: &Ledger) -> Result<(), Failure> {
    let rows = subject.user.folders.iter().flat_map(|folder| folder.rows.values());
    let texts = rows.filter_map(|row| subject.user.texts.get(&row.email)?.as_ref());
    let mut present: BTreeSet<u64> = texts.filter_map(|text| id_in(text)).collect();
    if subject.moment == Moment::Crashed {
        let queued = subject.queue.iter().filter_map(|queued| queued.text.as_ref());
        present.extend(queued.filter_map(|text| id_in(text)));
    }
    for (id, message) in (0_u64..).zip(ledger.messages()) {
        let Some(fate) = message.fates.get(&subject.number) else { continue };
        if fate.promised && !fate.deletable && !present.contains(&id) {
            let what = format!("message {id} of user {} is lost", subject.number);
            return Err(Failure::new("acknowledged_present", what));
        }
    }
    Ok(())
}
