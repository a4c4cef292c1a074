//! Nobody learns of another's mail.

use super::world::{Store, bring_up, index_in, letter, scanned, searched, text_test};
use mailstore::face::{EmailId, UserId};
use mailstore::mailbox::Known;
use proptest::prelude::*;

const WORDS: [&str; 8] = ["alpha", "beta", "gamma", "alphabet", "東京", "k3y", "secret99", "b"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Users with the same numbers of messages and the same words, in one bucket, some of them removed.
    #[test]
    fn an_answer_is_about_the_asking_user_alone(
        mail in prop::collection::vec((1..6_u64, prop::sample::subsequence(WORDS.to_vec(), 0..5)), 1..60),
        gone in prop::collection::vec((1..6_u64, 0..12_u64), 0..10),
        query in prop::sample::select(WORDS.to_vec()),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let (text, mut indexer) = index_in(dir.path());
        let mut store = Store::default();
        let mut next = [0_u64; 6];
        for (user, words) in &mail {
            store.put(*user, next[*user as usize], &letter("s", &words.join(" ")));
            next[*user as usize] += 1;
        }
        let users = store.users();
        indexer.round(&mut store, 0, &users).expect("it is written");
        for (user, email) in gone {
            if store.bodies.remove(&(UserId(user), EmailId(email))).is_some() {
                indexer.note_removed(UserId(user), u64::MAX / 2);
            }
        }
        indexer.round(&mut store, 0, &users).expect("it is written");
        let tests = [text_test(query)];
        for user in 1..6 {
            prop_assert_eq!(searched(&store, &text, user, &tests), scanned(&store, user, &tests));
            // It knows what the user has, and of nothing else that there is such a message.
            let all = (0..60).map(EmailId);
            let known = text.known((0, UserId(user)), &tests, all.clone());
            for (email, known) in all.zip(known) {
                let has = store.bodies.contains_key(&(UserId(user), email));
                prop_assert!(has || known == Known::default(), "user {} message {}", user, email);
            }
        }
        let stranger = text.known((0, UserId(99)), &tests, (0..60).map(EmailId));
        prop_assert!(stranger.iter().all(|known| *known == Known::default()));
    }
}

#[test]
fn users_that_moved_away_leave_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (text, mut indexer) = index_in(dir.path());
    let mut store = Store::default();
    for user in 1..4 {
        store.put(user, 7, &letter("s", "alpha"));
    }
    bring_up(&mut indexer, &mut store).expect("it is written");
    assert_eq!(indexer.retain(0, &|user| user == UserId(2)).expect("it is written"), 2);
    for user in 1..4 {
        let known =
            text.known((0, UserId(user)), &[text_test("alpha")], std::iter::once(EmailId(7)));
        assert_eq!(known[0].yes, u64::from(user == 2), "user {user}");
    }
    assert_eq!(text.up_to(0, UserId(1)), None);
    assert_eq!(text.up_to(0, UserId(2)), Some(EmailId(7)));
}
