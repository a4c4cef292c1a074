//! What keeps a session small, orderly and alive: backpressure, timers, limits, garbage, vanishing clients.

mod stand;

use fsm::Duration;
use mailstore::face::*;
use proptest::prelude::*;
use smtp::Limits;
use stand::{Hold, Stand};

fn greeted() -> Stand {
    let mut stand = Stand::new(Protocol::Smtp);
    stand.send("EHLO client.example\r\n");
    stand.sends.clear();
    stand
}

fn in_data() -> Stand {
    let mut stand = greeted();
    stand.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
    stand.sends.clear();
    stand
}

#[test]
fn lookups_run_side_by_side_and_are_answered_in_order() {
    let mut stand = greeted();
    stand.hold = Hold::Everything;
    stand.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<x@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n");
    assert_eq!(stand.held.len(), 3);
    stand.held.rotate_left(2);
    stand.release();
    stand.release();
    assert_eq!(stand.output(), "", "held together until the group is answered");
    stand.release();
    let expected = "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550 5.1.1 User unknown\r\n250 2.1.5 Ok\r\n354 ";
    assert!(stand.output().starts_with(expected));
    assert_eq!(stand.sends.len(), 1);
}

#[test]
fn a_message_is_acknowledged_only_when_it_is_durable() {
    let mut stand = in_data();
    stand.hold = Hold::Everything;
    stand.send("A: b\r\n.\r\nNOOP\r\n");
    assert_eq!(stand.output(), "");
    assert_eq!(stand.held.len(), 1);
    stand.release();
    assert_eq!(stand.output(), "250 2.0.0 Ok: queued as ID\r\n250 2.0.0 Ok\r\n");
}

#[test]
fn large_bodies_stream_into_chunks_with_backpressure() {
    let mut stand = in_data();
    stand.hold = Hold::Everything;
    let line = "0123456789abcde\r\n";
    let text = format!("A: b\r\n\r\n{}", line.repeat(60_000));
    let mut sent = 0;
    for piece in text.as_bytes().chunks(16 * 1024) {
        while !stand.reading {
            stand.release();
        }
        stand.send(piece);
        sent += piece.len();
        assert!(stand.held.len() <= 2, "two chunks under way after {sent} bytes");
    }
    stand.send(".\r\n");
    while stand.held.len() > 1 {
        stand.release();
        assert_eq!(stand.output(), "");
    }
    stand.hold = Hold::Nothing;
    stand.release();
    assert_eq!(stand.output(), "250 2.0.0 Ok: queued as ID\r\n");
    assert_eq!(stand.delivered()[0].body, text);
    assert!(stand.dropped.is_empty() && stand.reading);
}

#[test]
fn refused_and_abandoned_bodies_are_dropped() {
    let big = "x".repeat(300_000);
    let mut stand = in_data();
    stand.send(format!("A: b\r\n\r\n{big}\n\r\n.\r\n"));
    assert!(stand.closed && stand.dropped.len() == 1 && stand.chunks.is_empty());
    let mut stand = in_data();
    stand.send(format!("A: b\r\n\r\n{big}"));
    stand.input(SessionInput::PeerClosed);
    assert!(stand.closed && stand.dropped.len() == 1 && stand.chunks.is_empty());
    let mut stand = greeted();
    stand.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n");
    stand.send(format!("BDAT 300000\r\n{big}RSET\r\nNOOP\r\n"));
    assert!(stand.output().ends_with("Chunk accepted\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"));
    assert!(stand.dropped.len() == 1 && stand.chunks.is_empty());
}

#[test]
fn a_chunk_that_cannot_be_written_refuses_the_message() {
    let mut stand = in_data();
    stand.hold = Hold::Everything;
    stand.send(format!("A: b\r\n\r\n{}\r\n", "x".repeat(300_000)));
    stand.release_with(Completion::Refused(TaskRefusal::NoSpace));
    stand.send("more\r\n.\r\n");
    assert_eq!(stand.output(), "452 4.3.1 Insufficient system storage, please try again later\r\n");
    assert!(matches!(stand.held[0].1, Task::Blob(BlobTask::Drop { .. })));
    // The same when the last chunk fails, behind the end of the content.
    let mut stand = in_data();
    stand.hold = Hold::Everything;
    stand.send(format!("A: b\r\n\r\n{}\r\n.\r\n", "x".repeat(250_000)));
    stand.release_with(Completion::Refused(TaskRefusal::Unavailable));
    assert!(stand.output().starts_with("451 4.3.0 "));
}

#[test]
fn a_message_over_the_limit_is_read_to_its_end() {
    let limits = Limits { message_bytes_max: 100_000, ..Limits::default() };
    let mut stand = Stand::with(stand::peer(Protocol::Smtp), limits);
    stand.send("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
    stand.sends.clear();
    for _ in 0..50 {
        stand.send("x".repeat(10_000));
        assert_eq!(stand.output(), "");
    }
    stand.send("\r\n.\r\nNOOP\r\n");
    assert_eq!(stand.output(), "552 5.3.4 Message size exceeds the limit\r\n250 2.0.0 Ok\r\n");
}

#[test]
fn too_many_recipients_are_put_off_and_cost_nothing_more() {
    let mut stand = greeted();
    stand.send("MAIL FROM:<>\r\n");
    stand.sends.clear();
    for _ in 0..200 {
        stand.send("RCPT TO:<ann@example.org>\r\n".repeat(50));
    }
    let output = stand.output();
    assert_eq!(output.matches("250 2.1.5 Ok").count(), 1000);
    assert_eq!(output.matches("452 4.5.3 ").count(), 9000);
    assert!(!stand.closed);
    stand.send("DATA\r\n");
    stand.send(".\r\n");
    assert!(stand.output().ends_with("queued as ID\r\n"));
}

#[test]
fn errors_harvesting_and_idling_end_the_session() {
    let mut stand = greeted();
    stand.send("FOO\r\n".repeat(100));
    assert!(stand.closed);
    assert_eq!(stand.output().matches("500 5.5.1").count(), 21);
    assert!(stand.output().ends_with("421 4.7.0 Too many errors, closing the connection\r\n"));
    let mut stand = greeted();
    stand.send("MAIL FROM:<>\r\n".to_owned() + &"RCPT TO:<x@example.org>\r\n".repeat(300));
    stand.send("NOOP\r\n");
    assert!(stand.closed);
    let mut stand = greeted();
    stand.send("NOOP\r\n".repeat(300));
    assert!(stand.closed);
    assert!(stand.output().contains("421 4.7.0 Too many commands without mail"));
}

#[test]
fn a_line_without_end_is_dropped_as_it_comes() {
    let mut stand = greeted();
    for _ in 0..1000 {
        stand.send("x".repeat(10_000));
    }
    stand.send("\r\nNOOP\r\n");
    assert_eq!(stand.output(), "500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n");
}

#[test]
fn commands_behind_a_delivery_wait_and_reading_pauses() {
    let mut stand = in_data();
    stand.hold = Hold::Everything;
    stand.send(".\r\n");
    for _ in 0..100 {
        stand.send(format!("NOOP {}\r\n", "x".repeat(1000)));
        if !stand.reading {
            break;
        }
    }
    assert!(!stand.reading);
    stand.release();
    assert!(stand.reading);
}

#[test]
fn rfc_5321_4_5_3_2_7_idle_sessions_end() {
    let mut stand = greeted();
    stand.pass(Duration::from_secs(200));
    stand.send("NOOP\r\n");
    stand.pass(Duration::from_secs(299));
    assert!(!stand.closed);
    stand.pass(Duration::from_secs(2));
    assert!(stand.closed);
    assert!(stand.output().ends_with("421 4.4.2 Timeout, closing the connection\r\n"));
}

#[test]
fn a_byte_a_second_is_no_progress() {
    for mut stand in [greeted(), in_data()] {
        for _ in 0..310 {
            stand.send("x");
            stand.pass(Duration::from_secs(1));
        }
        assert!(stand.closed);
    }
}

#[test]
fn a_busy_session_without_a_message_ends_before_its_chunks_expire() {
    let limits = Limits::default();
    assert!(limits.fruitless + limits.idle < limits.chunk_life);
    let mut stand = in_data();
    let minutes = (0..).find(|_| {
        stand.send("x".repeat(16 * 1024));
        stand.pass(Duration::from_secs(60));
        stand.closed
    });
    assert!(minutes.is_some_and(|minutes| (55..=66).contains(&minutes)), "{minutes:?}");
    assert_eq!(stand.dropped.len(), 1);
}

#[test]
fn while_we_keep_the_client_waiting_nobody_is_timed_out() {
    let mut stand = in_data();
    stand.hold = Hold::Everything;
    stand.send(".\r\n");
    stand.pass(Duration::from_secs(1000));
    stand.release();
    assert!(stand.output().starts_with("250 2.0.0 Ok"));
}

#[test]
fn shutting_down_waits_for_the_message_under_way() {
    let mut stand = greeted();
    stand.input(SessionInput::ShuttingDown);
    assert!(stand.closed);
    assert!(stand.output().starts_with("421 4.3.2 "));
    let mut stand = in_data();
    stand.input(SessionInput::ShuttingDown);
    assert!(!stand.closed);
    stand.send("A: b\r\n.\r\nMAIL FROM:<>\r\n");
    let expected = "250 2.0.0 Ok: queued as ID\r\n421 4.3.2 ";
    assert!(stand.closed && stand.output().starts_with(expected), "{}", stand.output());
    let mut stand = greeted();
    stand.input(SessionInput::Notified(Notice::Kicked { reason: "disabled".into() }));
    assert!(stand.closed && stand.output().starts_with("421 4.7.0 "));
}

#[test]
fn a_vanished_client_ends_quietly() {
    let mut stand = in_data();
    stand.hold = Hold::Everything;
    stand.send(".\r\n");
    stand.input(SessionInput::PeerClosed);
    assert!(stand.closed && stand.output().is_empty());
    stand.release();
    let ended = stand.log.iter().any(|event| matches!(event, LogEvent::SessionEnded { .. }));
    assert!(ended);
}

#[test]
fn an_idle_session_is_small() {
    assert!(std::mem::size_of::<smtp::Session>() <= 64);
}

/// Opens a session of any mode and brings it to one of its states.
fn somewhere(protocol: Protocol, steps: usize) -> Stand {
    let mut stand = Stand::new(protocol);
    let hello = if protocol == Protocol::Lmtp { "LHLO x\r\n" } else { "EHLO x\r\n" };
    let script = [
        hello,
        "AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n",
        "MAIL FROM:<>\r\n",
        "RCPT TO:<ann@example.org>\r\n",
        "BDAT 3\r\nA: ",
        "BDAT 1000\r\n",
    ];
    for line in script.iter().take(steps) {
        stand.send(line);
    }
    stand
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn garbage_in_any_state_never_panics_and_does_not_depend_on_cuts(
        mode in 0_usize..3,
        steps in 0_usize..7,
        lines in prop::collection::vec(prop_oneof![
            "MAIL FROM:<[a-z@\"<>. ]{0,12}>( SIZE=[0-9]{1,4})?\r\n",
            "RCPT TO:<(ann|bob|x)@example[.]org>\r\n",
            "(DATA|RSET|QUIT|NOOP|EHLO x|LHLO x|AUTH LOGIN|AUTH PLAIN =|\\*|BDAT [0-9]{1,2}( LAST)?|\\.|)\r\n",
            // Her own address: for another the directory is asked, and the chunk at whose end its answer is there is refused.
            "From: ann@example[.]org\r\n\r\n[.]\r\n",
            "[ -~]{0,20}(\r\n|\n|\r)",
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        ], 0..25),
        cut in 0_usize..200,
    ) {
        let protocol = [Protocol::Smtp, Protocol::Submission, Protocol::Lmtp][mode];
        let input = lines.concat();
        let input = input.as_bytes();
        let cut = cut.min(input.len());
        let (mut whole, mut pieces) = (somewhere(protocol, steps), somewhere(protocol, steps));
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

/// What may happen to a session, in any order.
#[derive(Clone, Debug)]
enum Event {
    Send(String),
    Release(usize),
    Refuse(usize),
    Pass(u64),
    ShutDown,
    PeerClosed,
}

fn event() -> impl Strategy<Value = Event> {
    let text = prop_oneof![
        Just(
            "MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<team@example.org>\r\n"
                .to_owned()
        ),
        Just("DATA\r\n".to_owned()),
        Just("From: ann.alias@example.org\r\n\r\ntext\r\n.\r\n".to_owned()),
        Just(format!("BDAT 70000\r\n{}", "x".repeat(70_000))),
        Just("BDAT 0 LAST\r\n".to_owned()),
        Just("RSET\r\n".to_owned()),
        Just("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n".to_owned()),
    ];
    prop_oneof![
        8 => text.prop_map(Event::Send),
        8 => (0_usize..4).prop_map(Event::Release),
        1 => (0_usize..4).prop_map(Event::Refuse),
        1 => (1_u64..200).prop_map(Event::Pass),
        1 => Just(Event::ShutDown),
        1 => Just(Event::PeerClosed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every 250 for a message stands on a delivery that was done, whatever order things happen in.
    #[test]
    fn completions_in_any_order(mode in 0_usize..3, events in prop::collection::vec(event(), 0..40)) {
        let protocol = [Protocol::Smtp, Protocol::Submission, Protocol::Lmtp][mode];
        let mut stand = somewhere(protocol, if protocol == Protocol::Submission { 2 } else { 1 });
        stand.hold = Hold::Everything;
        let mut done = 0;
        for event in events {
            if stand.closed {
                break;
            }
            match event {
                Event::Send(text) => stand.send(text),
                Event::Release(at) if at < stand.held.len() => {
                    stand.held.rotate_left(at);
                    let is_delivery = matches!(
                        stand.held[0].1,
                        Task::User { .. } | Task::Delivery(_)
                    );
                    done += usize::from(is_delivery);
                    stand.release();
                }
                Event::Refuse(at) if at < stand.held.len() => {
                    stand.held.rotate_left(at);
                    stand.release_with(Completion::Refused(TaskRefusal::Unavailable));
                }
                Event::Release(_) | Event::Refuse(_) => {}
                Event::Pass(seconds) => stand.pass(Duration::from_secs(seconds)),
                Event::ShutDown => stand.input(SessionInput::ShuttingDown),
                Event::PeerClosed => stand.input(SessionInput::PeerClosed),
            }
            prop_assert!(stand.output().matches("queued as").count() <= done * 2);
            prop_assert!(done > 0 || !stand.output().contains("queued as"));
        }
    }
}
