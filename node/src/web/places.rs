//! Where a search looks: in the folder that `in:` names, and, to count, in the others.
//!
//! A page never waits long for the others: few are looked into, and for a moment.

use super::asking::Folder;
use super::conversation::found;
use super::login::Login;
use futures_util::stream::{self, StreamExt};
use html::query::Place;
use mailstore::face::{Criteria, FolderId, FolderName, SpecialUse};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Folders that are looked into for one page. Our choice: each is a search.
const FOLDERS_MAX: usize = 100;
/// How long a page waits for them. Our choice: below what people call slow.
const WAIT: Duration = Duration::from_millis(300);
/// Searches of a page at once. Our choice: so many go on for nobody when it waits no longer.
const AT_ONCE: usize = 4;
/// Folders of the same last level that are told.
const NAMESAKES_MAX: usize = 3;

/// Why a search can't be done.
pub fn unclear(place: &Place, folders: &[Folder]) -> Option<String> {
    match place {
        Place::Shown | Place::Anywhere => None,
        Place::Named(name) => named(folders, name).err(),
        Place::Unclear => Some(
            "A search is of one folder, named once by in:, or of all of them with in:anywhere."
                .into(),
        ),
    }
}

/// The folder that is called so: by its name, by its use, or by the end of its name when only one ends so. The error is for
/// the page.
pub fn named(folders: &[Folder], called: &str) -> Result<FolderId, String> {
    let none = || format!("There is no folder “{called}”.");
    let name = FolderName::new(called.trim()).map_err(|_| none())?;
    let lower = |name: &FolderName| name.as_str().to_lowercase();
    let (wanted, of_use) = (lower(&name), use_of(&lower(&name)));
    let exact = folders.iter().find(|it| it.name == name);
    let known = exact
        .or_else(|| folders.iter().find(|it| lower(&it.name) == wanted))
        .or_else(|| folders.iter().find(|it| of_use.is_some() && it.special_use == of_use));
    if let Some(folder) = known {
        return Ok(folder.id);
    }
    let end = format!("/{wanted}");
    let namesakes: Vec<&Folder> =
        folders.iter().filter(|it| lower(&it.name).ends_with(&end)).collect();
    match namesakes.as_slice() {
        [] => Err(none()),
        [folder] => Ok(folder.id),
        several => {
            let names: Vec<&str> =
                several.iter().take(NAMESAKES_MAX).map(|it| it.name.as_str()).collect();
            Err(format!("Several folders are called “{called}”: {}.", names.join(", ")))
        }
    }
}

/// What people call folders of a use, in lower case.
fn use_of(called: &str) -> Option<SpecialUse> {
    match called {
        "archive" => Some(SpecialUse::Archive),
        "drafts" => Some(SpecialUse::Drafts),
        "sent" => Some(SpecialUse::Sent),
        "trash" => Some(SpecialUse::Trash),
        "junk" | "spam" => Some(SpecialUse::Junk),
        _ => None,
    }
}

/// How many messages of each folder fit; `None`: it was not looked into.
pub async fn counts(
    login: &Login,
    folders: &[FolderId],
    criteria: &Criteria,
) -> Vec<Option<usize>> {
    let looked_into = folders.iter().copied().take(FOLDERS_MAX).enumerate();
    let searches: Vec<_> = looked_into
        .map(|(at, folder)| {
            let criteria = criteria.clone();
            async move { (at, found(login, folder, criteria).await) }
        })
        .collect();
    // In any order: the counts of the quick ones are there when a slow one is not.
    let mut answers = pin!(stream::iter(searches).buffer_unordered(AT_ONCE));
    let deadline = Instant::now() + WAIT;
    let mut counts = vec![None; folders.len()];
    while let Ok(Some((at, answer))) = timeout_at(deadline, answers.next()).await {
        if let (Some(count), Ok(uids)) = (counts.get_mut(at), answer) {
            *count = usize::try_from(uids.len()).ok();
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::face::{FolderStatus, ModSeq, Uid, UidValidity};

    fn folder(id: u32, name: &str, special_use: Option<SpecialUse>) -> Folder {
        let name = FolderName::new(name).expect("a name");
        let status = FolderStatus {
            id: FolderId(id),
            uid_validity: UidValidity(1),
            uid_next: Uid(1),
            highest_mod_seq: ModSeq(1),
            messages: 0,
            recent: 0,
            unseen: 0,
            deleted: 0,
            bytes: 0,
            deleted_bytes: 0,
        };
        Folder { id: FolderId(id), name, special_use, status }
    }

    #[test]
    fn folders_by_what_people_call_them() {
        let folders = [
            folder(1, "INBOX", None),
            folder(2, "Sent Items", Some(SpecialUse::Sent)),
            folder(3, "Junk", Some(SpecialUse::Junk)),
            folder(4, "Work/My Plans", None),
            folder(5, "Work/Lists", None),
            folder(6, "Home/Lists", None),
            folder(7, "Archive", None),
            folder(8, "archive", None),
        ];
        for (called, id) in [
            ("inbox", 1),
            ("sent", 2),
            ("sent items", 2),
            ("spam", 3),
            ("JUNK", 3),
            ("work/my plans", 4),
            (" My plans ", 4),
            ("home/lists", 6),
            ("archive", 8),
            ("Archive", 7),
        ] {
            assert_eq!(named(&folders, called), Ok(FolderId(id)), "{called}");
        }
        for (called, why) in [
            ("Plans", "There is no folder “Plans”."),
            ("trash", "There is no folder “trash”."),
            ("a//b", "There is no folder “a//b”."),
            ("lists", "Several folders are called “lists”: Work/Lists, Home/Lists."),
        ] {
            assert_eq!(named(&folders, called), Err(why.to_owned()), "{called}");
        }
    }
}
