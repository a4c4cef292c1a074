//! Crashes, damage and deletion: the index is behind, or gone, and nobody notices but the clock.

use super::world::{Store, bring_up, index_in, letter, scanned, searched, text_test};
use mailstore::face::{EmailId, UserId};
use std::fs;

fn mail(store: &mut Store, emails: std::ops::Range<u64>) {
    for email in emails {
        let word = ["alpha", "beta", "gamma"][email as usize % 3];
        store.put(1, email, &letter("s", &format!("{word} {email}")));
    }
}

fn assert_right(store: &Store, text: &crate::FullText) {
    let tests = [text_test("alpha"), text_test("eta"), text_test("7")];
    assert_eq!(searched(store, text, 1, &tests), scanned(store, 1, &tests));
}

#[test]
fn what_was_committed_stays_and_the_rest_is_found_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::default();
    mail(&mut store, 0..23);
    {
        let (text, mut indexer) = index_in(dir.path());
        store.patience = Some(12);
        let round = bring_up(&mut indexer, &mut store).expect("it is written");
        assert_eq!((round.added, round.left.len()), (11, 1));
        assert_right(&store, &text);
    }
    store.patience = None;
    let (text, mut indexer) = index_in(dir.path());
    assert_right(&store, &text);
    text.open(0).expect("it is there");
    assert_eq!(text.up_to(0, UserId(1)), Some(EmailId(10)));
    let round = bring_up(&mut indexer, &mut store).expect("it is written");
    assert_eq!((round.added, round.left.len()), (12, 0));
    assert_right(&store, &text);
    let again = bring_up(&mut indexer, &mut store).expect("it is written");
    assert_eq!((again.added, again.removed), (0, 0));
    assert_eq!(text.status().buckets[0].messages, 23);
}

#[test]
fn damaged_and_missing_files_are_made_anew() {
    for damage in 0..4 {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Store::default();
        mail(&mut store, 0..9);
        let (_, mut indexer) = index_in(dir.path());
        bring_up(&mut indexer, &mut store).expect("it is written");
        let bucket = dir.path().join("bucket-000");
        let files = || fs::read_dir(&bucket).expect("a bucket").flatten().map(|file| file.path());
        match damage {
            0 => fs::remove_dir_all(dir.path()).expect("it is there"),
            1 => fs::write(bucket.join("meta.json"), "{").expect("it is written"),
            2 => files().filter(|path| path.extension().is_some_and(|it| it == "idx")).for_each(
                |path| {
                    let mut bytes = fs::read(&path).expect("it is there");
                    bytes[9] ^= 0x40;
                    fs::write(&path, bytes).expect("it is written");
                },
            ),
            _ => fs::write(bucket.join("format"), "0").expect("it is written"),
        }
        let (text, mut indexer) = index_in(dir.path());
        assert_right(&store, &text);
        text.open(0).expect("an empty one");
        assert_eq!(text.up_to(0, UserId(1)), None, "damage {damage}");
        assert_right(&store, &text);
        let round = bring_up(&mut indexer, &mut store).expect("it is written");
        assert_eq!(round.added, 9, "damage {damage}");
        assert_right(&store, &text);
    }
}

#[test]
fn dropped_while_it_is_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::default();
    mail(&mut store, 0..9);
    let (text, mut indexer) = index_in(dir.path());
    bring_up(&mut indexer, &mut store).expect("it is written");
    assert!(text.status().buckets[0].disk_bytes > 0);
    text.drop_bucket(0).expect("it is deleted");
    assert_eq!(text.status().buckets[0], crate::BucketStatus::default());
    assert_right(&store, &text);
    bring_up(&mut indexer, &mut store).expect("it is written");
    assert_eq!(text.status().buckets[0].messages, 9);
    // Removed behind its back: the next round finds out, and the one after it begins anew.
    fs::remove_dir_all(dir.path()).expect("it is there");
    mail(&mut store, 9..12);
    let broken = bring_up(&mut indexer, &mut store);
    assert_right(&store, &text);
    if broken.is_err() {
        let round = bring_up(&mut indexer, &mut store).expect("it is written");
        assert_eq!(round.added, 12);
    }
    assert_right(&store, &text);
}

#[test]
fn removed_messages_go_when_they_are_many() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::default();
    mail(&mut store, 0..100);
    let (text, mut indexer) = index_in(dir.path());
    bring_up(&mut indexer, &mut store).expect("it is written");
    for email in 0..70 {
        store.bodies.remove(&(UserId(1), EmailId(email)));
        indexer.note_removed(UserId(1), 1);
        if email == 62 {
            let round = bring_up(&mut indexer, &mut store).expect("it is written");
            assert_eq!(round.removed, 0, "few are left where they are");
        }
    }
    let round = bring_up(&mut indexer, &mut store).expect("it is written");
    assert_eq!(round.removed, 70);
    assert_eq!(text.status().buckets[0].messages, 30);
    assert_right(&store, &text);
}
