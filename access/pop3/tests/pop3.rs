//! RFC 1939 and its extensions: transcripts, each whole and cut at every byte; then what transcripts cannot show.

mod stand;

use bytes::Bytes;
use fsm::Duration;
use mailstore::face::*;
use pop3::Limits;
use proptest::prelude::*;
use stand::{Drains, Hold, Stand, Transcript, peer};

fn play(text: &str) -> Stand {
    Transcript::parse(text).play(Stand::new)
}

fn play_logged_in(text: &str) -> Stand {
    Transcript::parse(text).play(Stand::logged_in)
}

#[test]
fn a_session_of_rfc_1939() {
    let stand = play(
        "S: +OK pop.example POP3 Hikyaku
         C: USER ann
         S: +OK
         C: PASS secret
         S: +OK 2 messages (30 octets)
         C: STAT
         S: +OK 2 30
         C: LIST
         S: +OK 2 messages (30 octets)
         S: 1 19
         S: 2 11
         S: .
         C: RETR 1
         S: +OK 19 octets
         S: A: 1
         S:
         S: one
         S: ..dot
         S: .
         C: DELE 1
         S: +OK Marked for deletion
         C: RETR 2
         S: +OK 11 octets
         S: A: 2
         S:
         S: two
         S: .
         C: QUIT
         S: +OK Bye",
    );
    assert!(stand.closed);
    let committed = stand.user_tasks().into_iter().find_map(|task| match task {
        UserTask::CommitMaildrop { delete } => Some(delete.to_string()),
        _ => None,
    });
    assert_eq!(committed.as_deref(), Some("11"));
    assert!(!stand.user_tasks().contains(&&UserTask::ReleaseMaildrop));
}

#[test]
fn small_messages_take_one_round_trip_and_one_send() {
    let mut stand = Stand::logged_in();
    stand.send("RETR 1\r\n");
    assert_eq!((stand.tasks.len(), stand.sends.len()), (1, 1));
}

#[test]
fn rfc_1939_5_transaction() {
    play_logged_in(
        "C: LIST 2
         C: LIST 3
         C: LIST 0
         C: DELE 2
         C: DELE 2
         C: RETR 2
         C: LIST 2
         C: UIDL 2
         C: TOP 2 0
         C: STAT
         C: LIST
         C: UIDL
         C: RSET
         C: STAT
         C: NOOP
         C: UIDL
         C: UIDL 1
         C: RETR x
         C: USER ann
         C: STLS
         C: LAST
         S: +OK 2 11
         S: -ERR No such message
         S: -ERR No such message
         S: +OK Marked for deletion
         S: -ERR No such message
         S: -ERR No such message
         S: -ERR No such message
         S: -ERR No such message
         S: -ERR No such message
         S: +OK 1 19
         S: +OK 1 messages (19 octets)
         S: 1 19
         S: .
         S: +OK
         S: 1 1700000000.11
         S: .
         S: +OK
         S: +OK 2 30
         S: +OK
         S: +OK
         S: 1 1700000000.11
         S: 2 1700000000.12
         S: .
         S: +OK 1 1700000000.11
         S: -ERR Bad arguments
         S: -ERR Already logged in
         S: -ERR Already logged in
         S: -ERR Unknown command",
    );
}

#[test]
fn rfc_1939_7_top() {
    play_logged_in(
        "C: TOP 1 1
         C: TOP 2 0
         C: TOP 2 9
         C: TOP 1
         S: +OK
         S: A: 1
         S:
         S: one
         S: .
         S: +OK
         S: A: 2
         S:
         S: .
         S: +OK
         S: A: 2
         S:
         S: two
         S: .
         S: -ERR Bad arguments",
    );
}

#[test]
fn rfc_2449_capa() {
    play(
        "S: +OK pop.example POP3 Hikyaku
         C: CAPA
         S: +OK Capability list follows
         S: TOP
         S: UIDL
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: PIPELINING
         S: EXPIRE NEVER
         S: USER
         S: SASL PLAIN LOGIN
         S: STLS
         S: IMPLEMENTATION Hikyaku
         S: .",
    );
    play_logged_in(
        "C: CAPA
         S: +OK Capability list follows
         S: TOP
         S: UIDL
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: PIPELINING
         S: EXPIRE NEVER
         S: IMPLEMENTATION Hikyaku
         S: .",
    );
}

#[test]
fn rfc_5034_auth() {
    play(
        "S: +OK pop.example POP3 Hikyaku
         C: AUTH
         S: +OK
         S: PLAIN
         S: LOGIN
         S: .
         C: AUTH CRAM-MD5
         S: -ERR Unknown mechanism
         C: AUTH PLAIN
         S: +\x20
         C: *
         S: -ERR Cancelled
         C: AUTH PLAIN !
         S: -ERR Cannot decode the response
         C: AUTH LOGIN
         S: + VXNlcm5hbWU6
         C: YW5u
         S: + UGFzc3dvcmQ6
         C: c2VjcmV0
         S: +OK 2 messages (30 octets)
         C: AUTH PLAIN AGFubgBzZWNyZXQ=
         S: -ERR Already logged in",
    );
    play(
        "S: +OK pop.example POP3 Hikyaku
         C: AUTH PLAIN
         S: +\x20
         C: AGFubgBzZWNyZXQ=
         C: NOOP
         S: +OK 2 messages (30 octets)
         S: +OK",
    );
}

#[test]
fn log_in_failures() {
    let stand = play(
        "S: +OK pop.example POP3 Hikyaku
         C: STAT
         C: PASS secret
         C: USER down
         C: PASS x
         C: USER slow
         C: PASS x
         C: USER off
         C: PASS x
         C: USER ann
         C: PASS  two words
         C: NOOP
         S: -ERR Log in first
         S: -ERR USER first
         S: +OK
         S: -ERR [SYS/TEMP] Try again later
         S: +OK
         S: -ERR [SYS/TEMP] Too many attempts, try again later
         S: +OK
         S: -ERR [SYS/PERM] The account is disabled
         S: +OK
         S: -ERR [AUTH] Wrong name or password",
    );
    assert!(stand.closed);
    let failed = |event: &&LogEvent| matches!(event, LogEvent::AuthFailed { .. });
    assert_eq!(stand.log.iter().filter(failed).count(), 4);
}

#[test]
fn rfc_2449_8_1_1_in_use() {
    let text = "S: +OK pop.example POP3 Hikyaku
         C: USER ann
         C: PASS secret
         C: USER ann
         C: PASS secret
         S: +OK
         S: -ERR [IN-USE] Another session has the maildrop open
         S: +OK
         S: +OK 2 messages (30 octets)";
    Transcript::parse(text).play(|| {
        let mut stand = Stand::new();
        let in_use = UserDone::Failed(UserError::MaildropInUse);
        stand.outcomes.push_back(Completion::User(in_use));
        stand
    });
}

#[test]
fn without_tls_off_loopback_no_password_is_taken() {
    let open = || Stand::with(Peer { plaintext_auth: false, ..peer() }, Limits::default());
    Transcript::parse(
        "S: +OK pop.example POP3 Hikyaku
         C: USER ann
         C: AUTH PLAIN AGFubgBzZWNyZXQ=
         C: CAPA
         S: -ERR [SYS/PERM] Log-in needs TLS: STLS first
         S: -ERR [SYS/PERM] Log-in needs TLS: STLS first
         S: +OK Capability list follows
         S: TOP
         S: UIDL
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: PIPELINING
         S: EXPIRE NEVER
         S: STLS
         S: IMPLEMENTATION Hikyaku
         S: .",
    )
    .play(open);
    let mut stand = open();
    stand.send("STLS\r\n");
    assert!(stand.tls_wanted && stand.output().ends_with("+OK Begin TLS\r\n"));
    let tls = TlsInfo { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" };
    stand.input(SessionInput::TlsStarted(tls));
    stand.sends.clear();
    stand.send("STLS\r\nCAPA\r\n");
    assert!(stand.output().starts_with("-ERR TLS is active already\r\n"));
    assert!(stand.output().contains("\r\nUSER\r\n") && !stand.output().contains("\r\nSTLS\r\n"));
    stand.log_in();
}

#[test]
fn cve_2011_0411_bytes_behind_stls_close() {
    let mut stand = Stand::new();
    stand.send("STLS\r\nUSER ann\r\n");
    assert!(stand.closed && !stand.tls_wanted);
}

#[test]
fn quit_is_answered_when_the_deletions_are_durable() {
    let mut stand = Stand::logged_in();
    stand.hold = Hold::Everything;
    stand.send("DELE 1\r\nDELE 2\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(stand.output(), "", "held together with the answer to QUIT");
    assert_eq!(stand.held.len(), 1);
    stand.release();
    let expected = "+OK Marked for deletion\r\n+OK Marked for deletion\r\n+OK Bye\r\n";
    assert_eq!(stand.output(), expected);
    assert!(stand.closed);
    let mut stand = Stand::logged_in();
    stand.outcomes.push_back(Completion::Refused(TaskRefusal::Unavailable));
    stand.send("DELE 1\r\nQUIT\r\n");
    assert!(stand.output().ends_with("-ERR [SYS/TEMP] The messages could not be deleted now\r\n"));
    assert_eq!(stand.user_tasks().last(), Some(&&UserTask::ReleaseMaildrop));
}

#[test]
fn the_lock_goes_on_every_way_out() {
    let ways: [fn(&mut Stand); 5] = [
        |stand| stand.send("QUIT\r\n"),
        |stand| stand.input(SessionInput::PeerClosed),
        |stand| stand.input(SessionInput::ShuttingDown),
        |stand| stand.input(SessionInput::Notified(Notice::Kicked { reason: "x".into() })),
        |stand| stand.pass(Duration::from_secs(601)),
    ];
    for way in ways {
        let mut stand = Stand::logged_in();
        way(&mut stand);
        assert!(stand.closed);
        assert_eq!(stand.user_tasks(), [&UserTask::ReleaseMaildrop]);
    }
    // Also while the lock is being taken.
    let mut stand = Stand::new();
    stand.hold = Hold::Everything;
    stand.send("USER ann\r\nPASS secret\r\n");
    stand.release();
    stand.input(SessionInput::PeerClosed);
    assert_eq!(stand.user_tasks(), [&UserTask::OpenMaildrop, &UserTask::ReleaseMaildrop]);
}

#[test]
fn messages_that_cannot_be_read() {
    let failures = [
        (Completion::User(UserDone::Failed(UserError::Expunged)), "-ERR The message is gone\r\n"),
        (
            Completion::Refused(TaskRefusal::Unavailable),
            "-ERR [SYS/TEMP] The message cannot be read now\r\n",
        ),
    ];
    for (failure, reply) in failures {
        let mut stand = Stand::logged_in();
        stand.outcomes.push_back(failure);
        stand.send("RETR 1\r\nNOOP\r\n");
        assert_eq!(stand.output(), format!("{reply}+OK\r\n"));
    }
}

fn with_big_message() -> (Stand, String) {
    let text = format!("A: b\r\n\r\n{}", ".23456789\r\n".repeat(100_000));
    let mut stand = Stand::new();
    stand.messages = vec![text.clone().into()];
    stand.log_in();
    (stand, text)
}

#[test]
fn large_messages_go_page_by_page_as_the_client_reads() {
    let (mut stand, text) = with_big_message();
    stand.drains = Drains::Never;
    stand.send("RETR 1\r\nNOOP\r\n");
    assert_eq!(stand.tasks.len(), 1, "the next page waits until the client took this one");
    let mut rounds = 1;
    while std::mem::take(&mut stand.awaits_drained) {
        stand.input(SessionInput::Drained);
        rounds += 1;
        assert!(stand.tasks.len() <= rounds);
    }
    let expected = text.replace("\r\n.", "\r\n..");
    let expected = format!("+OK {} octets\r\n{expected}.\r\n+OK\r\n", text.len());
    assert!(stand.output() == expected);
}

#[test]
fn a_page_that_fails_later_closes_without_an_end() {
    let (mut stand, _) = with_big_message();
    stand.drains = Drains::Never;
    stand.send("RETR 1\r\n");
    stand.outcomes.push_back(Completion::Refused(TaskRefusal::Damaged));
    stand.input(SessionInput::Drained);
    assert!(stand.closed && !stand.output().ends_with(".\r\n\r\n"));
    assert_eq!(stand.user_tasks().last(), Some(&&UserTask::ReleaseMaildrop));
}

#[test]
fn top_of_a_large_message_reads_little() {
    let (mut stand, _) = with_big_message();
    stand.send("TOP 1 1\r\n");
    assert_eq!(stand.output(), "+OK\r\nA: b\r\n\r\n..23456789\r\n.\r\n");
    assert_eq!(stand.tasks.len(), 1);
}

#[test]
fn a_client_that_never_reads_gets_a_bounded_amount() {
    let mut stand = Stand::new();
    stand.messages = vec![Bytes::from("x".repeat(10_000)); 50];
    stand.log_in();
    stand.drains = Drains::Never;
    for _ in 0..200 {
        stand.send((1..=50).map(|number| format!("RETR {number}\r\n")).collect::<String>());
        if !stand.reading {
            break;
        }
    }
    assert!(!stand.reading);
    assert!(stand.output().len() < 300_000);
    stand.pass(Duration::from_secs(601));
    assert!(stand.closed);
}

#[test]
fn long_listings_stream() {
    let mut stand = Stand::new();
    stand.messages = vec![Bytes::from_static(b"x"); 100_000];
    stand.log_in();
    stand.drains = Drains::Never;
    stand.send("UIDL\r\nSTAT\r\n");
    assert!(stand.output().len() < 300_000);
    while std::mem::take(&mut stand.awaits_drained) {
        stand.input(SessionInput::Drained);
    }
    let output = stand.output();
    assert_eq!(output.lines().count(), 100_003);
    assert!(output.ends_with("\r\n100000 1700000000.100010\r\n.\r\n+OK 100000 100000\r\n"));
}

#[test]
fn timers() {
    let mut stand = Stand::new();
    for _ in 0..7 {
        stand.send("CAPA\r\n");
        stand.pass(Duration::from_secs(10));
    }
    assert!(stand.closed, "60 s in all before log-in");
    let mut stand = Stand::logged_in();
    stand.pass(Duration::from_secs(500));
    stand.send("NOOP\r\n");
    stand.pass(Duration::from_secs(599));
    assert!(!stand.closed);
    for _ in 0..5 {
        stand.send("N");
        stand.pass(Duration::from_secs(1));
    }
    // RFC 1939 section 3: no response.
    assert!(stand.closed);
    assert_eq!(stand.output(), "+OK\r\n");
}

#[test]
fn errors_and_long_lines() {
    let mut stand = Stand::new();
    for _ in 0..100 {
        stand.send("x".repeat(10_000));
    }
    stand.sends.clear();
    stand.send("\r\nCAPA\r\n");
    assert!(stand.output().starts_with("-ERR Line too long\r\n+OK Capability"));
    stand.send("FOO\r\n".repeat(100));
    assert!(stand.closed && stand.output().ends_with("-ERR Too many errors\r\n"));
}

fn somewhere(steps: usize) -> Stand {
    let mut stand = Stand::new();
    for line in ["USER ann\r\n", "PASS secret\r\n", "DELE 1\r\n"].iter().take(steps) {
        stand.send(line);
    }
    stand
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn garbage_in_any_state_never_panics_and_does_not_depend_on_cuts(
        steps in 0_usize..4,
        lines in prop::collection::vec(prop_oneof![
            "(USER|PASS|AUTH|CAPA|STAT|LIST|UIDL|RETR|TOP|DELE|NOOP|RSET|QUIT)( [0-9a-z]{0,3}){0,2}\r\n",
            "(AUTH LOGIN|AUTH PLAIN|AUTH PLAIN =|YW5u|c2VjcmV0|\\*)\r\n",
            "[ -~]{0,20}(\r\n|\n|\r)",
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        ], 0..25),
        cut in 0_usize..200,
    ) {
        let input = lines.concat();
        let input = input.as_bytes();
        let cut = cut.min(input.len());
        let (mut whole, mut pieces) = (somewhere(steps), somewhere(steps));
        whole.send(input);
        pieces.send(&input[..cut]);
        pieces.send(&input[cut..]);
        prop_assert_eq!(whole.output(), pieces.output());
        prop_assert_eq!(whole.closed, pieces.closed);
        if !whole.closed {
            prop_assert_eq!(whole.digest(), pieces.digest());
        }
    }
}
