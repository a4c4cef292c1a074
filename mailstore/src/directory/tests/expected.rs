//! Which log-ins let a mailbox be loaded ahead.

use super::*;

/// The users whose mailboxes were expected since the last call.
fn expected(bench: &mut Bench) -> Vec<UserId> {
    let seen = std::mem::take(&mut bench.seen);
    let user = |effect| match effect {
        Effect::Expected { user } => Some(user),
        _ => None,
    };
    seen.into_iter().filter_map(user).collect()
}

#[test]
fn a_mailbox_is_expected_while_its_password_is_hashed() {
    let mut bench = Bench::peopled();
    let ann = bench.user("ann@x.example");
    bench.held = Some(Vec::new());
    bench.seen.clear();
    bench.try_login("ann", "secret", Protocol::Imap, "192.0.2.1");
    assert_eq!(bench.seen, [Effect::Expected { user: ann }], "before anything is known");
    // Equal attempts share a hash, and what it is for.
    bench.try_login("ann", "secret", Protocol::Imap, "192.0.2.1");
    assert_eq!(expected(&mut bench), [ann]);
    bench.release();
    // A password that was verified a moment ago costs no hash: there is no time to be used.
    expected(&mut bench);
    bench.login("ann", "secret");
    assert_eq!(expected(&mut bench), []);
}

#[test]
fn guesses_load_nothing() {
    let mut bench = Bench::peopled();
    let bob = bench.user("bob@x.example");
    bench.seen.clear();
    bench.login("nobody", "secret");
    bench.try_login("bob", "secret", Protocol::Submission, "192.0.2.1");
    assert_eq!(expected(&mut bench), [], "nobody has no mailbox, and who sends reads none");
    for (peer, seen) in [("192.0.2.1", vec![bob]), ("198.51.100.7", vec![bob])] {
        bench.login_from("bob", "guess", peer);
        assert_eq!(expected(&mut bench), seen, "the first one may be right");
        bench.login_from("bob", "guess again", peer);
        assert_eq!(expected(&mut bench), []);
    }
    bench.login_from("bob", "and again", "203.0.113.9");
    assert_eq!(expected(&mut bench), [], "a stranger was wrong, so that no stranger is trusted");
}
