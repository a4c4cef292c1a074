//! The index that the machines serve is what the raw store holds: headers count what is there, and
//! what a client is shown of each folder is what the decoder reads.

use super::Subject;
use crate::decoder::{DecodedFolder, DecodedUser};
use crate::failure::Failure;
use crate::ledger::UserNumber;
use imap::client_model::Known;
use std::collections::BTreeSet;

const SEEN: u8 = 1;
const DELETED: u8 = 8;
const FLAGS: [(u8, &str); 5] =
    [(1, "\\seen"), (2, "\\answered"), (4, "\\flagged"), (8, "\\deleted"), (16, "\\draft")];

pub fn check(subject: &Subject<'_>) -> Result<(), Failure> {
    for folder in &subject.user.folders {
        let place = format!("{} of user {}", folder.name, subject.number);
        let rows = || folder.rows.values();
        let count =
            |flag: u8, set: bool| rows().filter(|row| (row.flags & flag != 0) == set).count();
        let header = &folder.header;
        let deleted = rows().filter(|row| row.flags & DELETED != 0);
        let pairs = [
            ("messages", u64::from(header.messages), folder.rows.len() as u64),
            ("unseen", u64::from(header.unseen), count(SEEN, false) as u64),
            ("deleted", u64::from(header.deleted), count(DELETED, true) as u64),
            ("bytes", header.bytes, rows().map(|row| row.bytes).sum()),
            ("deleted bytes", header.deleted_bytes, deleted.map(|row| row.bytes).sum()),
        ];
        for (what, said, counted) in pairs {
            if said != counted {
                let what = format!("{place}: the header says {said} {what}, there are {counted}");
                return Err(Failure::new("index_matches", what));
            }
        }
        let known = header.keywords.min(128);
        let beyond = |bits: u128| known < 128 && bits >> known != 0;
        if folder.keywords.len() < known as usize || rows().any(|row| beyond(row.keywords)) {
            return Err(Failure::new("index_matches", format!("{place}: keywords without names")));
        }
    }
    Ok(())
}

/// What a client was shown of one folder when everything had settled.
#[derive(Clone, Debug)]
pub struct Audit {
    pub user: UserNumber,
    pub folder: String,
    pub uid_validity: u32,
    pub messages: Vec<Known>,
}

/// Compares what was shown of all folders of a user with what the decoder read.
///
/// # Errors
/// The first difference.
pub fn audit(user: UserNumber, decoded: &DecodedUser, shown: &[Audit]) -> Result<(), Failure> {
    let fail = |what: String| Err(Failure::new("index_matches", what));
    let names: BTreeSet<&str> = shown.iter().map(|audit| audit.folder.as_str()).collect();
    for folder in &decoded.folders {
        if !names.contains(folder.name.as_str()) {
            return fail(format!("folder {} of user {user} is not shown", folder.name));
        }
    }
    for audit in shown {
        let folder = decoded.folders.iter().find(|folder| folder.name == audit.folder);
        let Some(folder) = folder else {
            return fail(format!("folder {} of user {user} is not stored", audit.folder));
        };
        if folder.uid_validity != audit.uid_validity {
            return fail(format!("{} of user {user}: UIDVALIDITY differs", folder.name));
        }
        if folder.rows.len() != audit.messages.len() {
            return fail(format!(
                "{} of user {user}: {} messages shown, {} stored",
                folder.name,
                audit.messages.len(),
                folder.rows.len()
            ));
        }
        for ((uid, row), shown) in folder.rows.iter().zip(&audit.messages) {
            let flags = names_of(folder, row.flags, row.keywords);
            let text = decoded.texts.get(&row.email).and_then(Option::as_ref);
            let same = shown.uid == Some(*uid)
                && shown.flags.as_ref() == Some(&flags)
                && (shown.mod_seq == Some(row.mod_seq)
                    || !decoded.is_raised && shown.mod_seq > Some(row.mod_seq))
                && shown.text.as_ref() == text;
            if !same {
                return fail(format!(
                    "{} of user {user}: UID {uid} {flags:?} MODSEQ {} is shown as {:?} {:?} {:?}",
                    folder.name, row.mod_seq, shown.uid, shown.flags, shown.mod_seq
                ));
            }
        }
    }
    Ok(())
}

fn names_of(folder: &DecodedFolder, flags: u8, keywords: u128) -> BTreeSet<String> {
    let system = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    let keyword =
        |(bit, name): (usize, &String)| (keywords >> bit & 1 == 1).then(|| name.to_lowercase());
    let keywords = folder.keywords.iter().take(128).enumerate().filter_map(keyword);
    system.map(str::to_owned).chain(keywords).collect()
}
