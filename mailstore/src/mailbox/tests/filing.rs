//! Rules are applied to what is delivered, in the same batch, whatever happens in between; and never hold up mail.

use super::world::*;
use crate::face::*;
use crate::mime;
use crate::rules::*;
use bytes::Bytes;
use std::sync::Arc;

fn rule(subject: Subject, action: Action) -> Rule {
    Rule {
        name: "one".into(),
        enabled: true,
        joined: Joined::All,
        conditions: vec![Condition { subject, not: false }],
        action,
        then: Then::GoOn,
    }
}

fn about(text: &str) -> Subject {
    Subject::Subject(Test::Contains(text.into()))
}

fn to_place(place: Place) -> Action {
    Action { place: Some(place), ..Action::default() }
}

fn write(world: &mut World, value: Option<Bytes>) {
    let name = RecordName::new(RECORD_NAME).expect("a name");
    let (collection, expect) = (Collection::Rules, Expect::Anything);
    let change = RecordChange { collection, name, expect, value };
    let done = world.done(ANN, UserTask::Records(RecordTask::Write(vec![change])));
    assert!(matches!(done, UserDone::Records(RecordsDone::Written { .. })), "{done:?}");
}

fn keep(world: &mut World, rules: Vec<Rule>) {
    let value = Rules(rules).encode().expect("within the limits");
    write(world, Some(value));
}

/// A message with a subject, and a field of the sender's.
fn about_mail(number: u128, subject: &str) -> Deliver {
    let text =
        format!("From: Zoe <zoe@example.org>\r\nSubject: {subject}\r\nX-Team: Builds\r\n\r\nx\r\n");
    let mut scanner = mime::Scanner::new(&mime::Limits::default());
    scanner.push(text.as_bytes());
    let body = Body::Inline(Bytes::from(text));
    Deliver { columns: Arc::new(scanner.finish()), body, ..delivery(number) }
}

/// Where a delivery went: folder, flags, keywords.
fn delivered(world: &mut World, deliver: Deliver) -> (String, SystemFlags, usize) {
    match world.done(ANN, UserTask::Deliver(deliver)) {
        UserDone::Delivered { folder, uid } => {
            let opened = world.open(ANN, folder.as_str(), OpenMode::ReadOnly);
            let rows = world.rows(ANN, opened.folder, Want::default());
            let row = rows.into_iter().find(|row| row.uid == uid).expect("it is there");
            let keywords = row.flags.keywords.count_ones() as usize;
            (folder.as_str().to_owned(), row.flags.system, keywords)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_files_flags_and_marks() {
    let mut world = World::new();
    world.done(ANN, UserTask::CreateFolder { name: folder("Builds"), special_use: None });
    let keywords = vec![keyword("urgent")];
    let place = Some(Place::Folder(folder("Builds")));
    let action = Action { place, seen: true, flagged: true, keywords };
    keep(&mut world, vec![rule(about("NIGHTLY"), action)]);
    let (name, flags, keywords) = delivered(&mut world, about_mail(1, "the nightly build"));
    assert_eq!((name.as_str(), keywords), ("Builds", 1));
    assert!(flags.has(SystemFlag::Seen) && flags.has(SystemFlag::Flagged));
    let (name, flags, _) = delivered(&mut world, about_mail(2, "lunch"));
    assert_eq!((name.as_str(), flags), ("INBOX", SystemFlags::default()));
    world.crash(0);
    assert_eq!(delivered(&mut world, about_mail(3, "nightly")).0, "Builds", "after a restart");
    // A repetition is answered with the first outcome, whatever rules say by now.
    write(&mut world, None);
    assert_eq!(delivered(&mut world, about_mail(3, "nightly")).0, "Builds");
    assert_eq!(delivered(&mut world, about_mail(4, "nightly")).0, "INBOX", "the rules are gone");
}

#[test]
fn junk_and_trash_are_the_folders_of_that_use() {
    let mut world = World::new();
    let rules = vec![
        rule(about("win"), to_place(Place::Junk)),
        rule(about("bye"), to_place(Place::Trash)),
        rule(about("gone"), to_place(Place::Folder(folder("No such folder")))),
    ];
    keep(&mut world, rules);
    assert_eq!(delivered(&mut world, about_mail(1, "you win")).0, "Junk");
    assert_eq!(delivered(&mut world, about_mail(2, "you win again")).2, 1, "$Junk");
    assert_eq!(delivered(&mut world, about_mail(3, "bye bye")).0, "Trash");
    assert_eq!(delivered(&mut world, about_mail(4, "gone")).0, "INBOX");
}

#[test]
fn a_rule_follows_its_folder() {
    let mut world = World::new();
    let name = folder("Lists");
    let made = world.done(ANN, UserTask::CreateFolder { name: name.clone(), special_use: None });
    let UserDone::Created { id } = made else { panic!("{made:?}") };
    keep(&mut world, vec![rule(about("list"), to_place(Place::Known { id, name: name.clone() }))]);
    assert_eq!(delivered(&mut world, about_mail(1, "list")).0, "Lists");
    let to = folder("Archive/Lists");
    world.done(ANN, UserTask::RenameFolder { from: name.clone(), to: to.clone() });
    assert_eq!(delivered(&mut world, about_mail(2, "list")).0, "Archive/Lists");
    // Another folder of the old name is another folder.
    world.done(ANN, UserTask::CreateFolder { name, special_use: None });
    world.crash(0);
    assert_eq!(delivered(&mut world, about_mail(3, "list")).0, "Archive/Lists");
    world.done(ANN, UserTask::DeleteFolder { name: to });
    assert_eq!(delivered(&mut world, about_mail(4, "list")).0, "INBOX");
}

#[test]
fn any_field_of_the_header_is_looked_at_in_chunks_too() {
    let mut world = World::new();
    let header = Subject::Header { name: "X-Team".into(), text: "builds".into() };
    keep(&mut world, vec![rule(header, to_place(Place::Trash))]);
    assert_eq!(delivered(&mut world, about_mail(1, "x")).0, "Trash");
    let inline = about_mail(2, "y");
    let Body::Inline(bytes) = inline.body.clone() else { panic!("it is inline") };
    let blob = dds::BlobId(7);
    world.table.blobs.insert(blob, (bytes.clone(), fsm::Wall(0)));
    let body = Body::Blob { blob, len: bytes.len() as u64, holders: Holders::One };
    assert_eq!(delivered(&mut world, Deliver { body, ..inline }).0, "Trash");
}

#[test]
fn whoever_delivers_to_a_folder_is_obeyed() {
    let mut world = World::new();
    keep(&mut world, vec![rule(about("x"), to_place(Place::Trash))]);
    let deliver = Deliver { folder: folder("Archive"), ..about_mail(1, "x") };
    assert_eq!(delivered(&mut world, deliver).0, "Archive");
}

#[test]
fn rules_that_are_damaged_or_newer_hold_up_no_mail() {
    for value in [&b"\x09"[..], b"", b"\x01\xff"] {
        let mut world = World::new();
        write(&mut world, Some(Bytes::from_static(value)));
        assert_eq!(delivered(&mut world, about_mail(1, "x")).0, "INBOX");
        let said = |event: &LogEvent| matches!(event, LogEvent::Trouble { part: "rules", .. });
        assert!(world.logs.iter().any(said), "{value:?}");
    }
}

#[test]
fn mail_that_comes_while_rules_are_written_meets_the_new_ones() {
    let mut world = World::new();
    keep(&mut world, vec![rule(about("x"), to_place(Place::Junk))]);
    world.crash(0);
    // The first delivery waits for the rules; they are written before they were read.
    let first = world.ask(ANN, UserTask::Deliver(about_mail(1, "x")));
    while !world.requests.iter().any(|(_, request)| matches!(request, dds::Request::Get { .. })) {
        assert!(world.serve_one(), "the rules are read");
    }
    let late = world.requests.pop_back().expect("the read of the rules");
    keep(&mut world, vec![rule(about("x"), to_place(Place::Trash))]);
    world.requests.push_back(late);
    world.settle();
    let done = world.answers.remove(&first).expect("an answer").expect("done");
    let UserDone::Delivered { folder, .. } = done else { panic!("{done:?}") };
    assert_eq!(folder.as_str(), "Trash");
}
