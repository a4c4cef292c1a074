//! A message is there once for each recipient, however often its delivery was tried, besides the
//! copies that clients made.

use super::Subject;
use crate::failure::Failure;
use crate::ledger::{Ledger, id_in};
use std::collections::BTreeMap;

pub fn check(subject: &Subject<'_>, ledger: &Ledger) -> Result<(), Failure> {
    let mut ids = BTreeMap::new();
    for (email, text) in &subject.user.texts {
        if let Some(id) = text.as_ref().and_then(|text| id_in(text)) {
            ids.insert(*email, id);
        }
    }
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    for row in subject.user.folders.iter().flat_map(|folder| folder.rows.values()) {
        if let Some(&id) = ids.get(&row.email) {
            *counts.entry(id).or_default() += 1;
        }
    }
    for (id, count) in counts {
        let message = usize::try_from(id).ok().and_then(|id| ledger.messages().get(id));
        let fate = message.and_then(|message| message.fates.get(&subject.number));
        let allowed = fate.map_or(0, |fate| 1 + fate.copies);
        if count > allowed {
            let what = format!(
                "message {id} is there {count} times for user {}, allowed {allowed}",
                subject.number
            );
            return Err(Failure::new("at_most_once", what));
        }
    }
    Ok(())
}
