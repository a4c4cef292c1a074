//! Blobs of deleted messages: those of one mailbox alone go with their message, all others are the sweep's.

use super::world::*;
use crate::face::*;
use crate::mailbox::format::keys;
use bytes::Bytes;
use dds::{BlobId, Request};

const DELETED: SystemFlags = SystemFlags(SystemFlag::Deleted as u8);

fn large(number: u128) -> Bytes {
    [&message(number)[..], &vec![b'x'; 60_000]].concat().into()
}

fn write_blob(world: &mut World, number: u128) -> Bytes {
    let bytes = large(number);
    world.table.blobs.insert(BlobId(number), (bytes.clone(), fsm::Wall(0)));
    bytes
}

/// Delivers message `number`, whose body is the blob of that number.
fn deliver(world: &mut World, number: u128, holders: Holders) -> Result<UserDone, TaskRefusal> {
    let bytes = write_blob(world, number);
    let body = Body::Blob { blob: BlobId(number), len: bytes.len() as u64, holders };
    world.call(
        ANN,
        UserTask::Deliver(Deliver { body, columns: columns(&bytes), ..delivery(number) }),
    )
}

fn delete_all(world: &mut World, folder: FolderId) {
    world.store(ANN, folder, ("1:100", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder, uids: None });
    let task = UserTask::CloseFolder { folder };
    world.done(ANN, task);
    world.settle();
}

fn blobs(world: &World) -> Vec<u128> {
    world.table.blobs.keys().map(|blob| blob.0).collect()
}

/// Keys of kinds that must be empty when all is deleted.
fn leftovers(world: &World) -> usize {
    let kinds = [keys::CONDEMNED, keys::RELEASED, keys::blob_references().0.0[0]];
    world.table.entries.keys().filter(|key| kinds.contains(&key.0[0])).count()
}

#[test]
fn a_blob_of_one_mailbox_goes_with_its_message() {
    let mut world = World::new();
    for number in 1..=5 {
        assert!(deliver(&mut world, number, Holders::One).is_ok());
    }
    assert!(deliver(&mut world, 6, Holders::Several).is_ok());
    let inbox = world.inbox(ANN).folder;
    assert_eq!(blobs(&world), [1, 2, 3, 4, 5, 6]);
    delete_all(&mut world, inbox);
    assert_eq!(blobs(&world), [6], "nobody here knows who else refers to it");
    assert_eq!(leftovers(&world), 0);
}

#[test]
fn a_blob_stays_while_a_copy_of_its_message_does() {
    let mut world = World::new();
    assert!(deliver(&mut world, 1, Holders::One).is_ok());
    let inbox = world.inbox(ANN).folder;
    let copy = |to: &str| UserTask::Copy {
        folder: inbox,
        uids: set("1"),
        to: folder(to),
        remove_source: false,
    };
    world.done(ANN, UserTask::CreateFolder { name: folder("kept"), special_use: None });
    world.done(ANN, copy("kept"));
    delete_all(&mut world, inbox);
    assert_eq!(blobs(&world), [1]);
    let kept = world.open(ANN, "kept", OpenMode::ReadWrite).folder;
    assert_eq!(world.section(ANN, (kept, 1), Section::WHOLE).len(), 60_017 + message(1).len());
    delete_all(&mut world, kept);
    assert_eq!(blobs(&world), [0_u128; 0]);
    assert_eq!(leftovers(&world), 0);
}

#[test]
fn a_blob_stays_until_every_session_was_told() {
    let mut world = World::new();
    assert!(deliver(&mut world, 1, Holders::One).is_ok());
    let opened = world.inbox(ANN);
    let bob = world.inbox(BOB);
    delete_all(&mut world, opened.folder);
    assert_eq!(blobs(&world), [1], "Bob may still read the message");
    world.section(BOB, (bob.folder, 1), Section::WHOLE);
    let diff = world.sync(BOB, bob.folder, bob.highest_mod_seq);
    world.sync(BOB, bob.folder, diff.mod_seq);
    world.settle();
    assert_eq!(blobs(&world), [0_u128; 0]);
}

#[test]
fn a_read_under_way_while_the_blob_goes_is_answered() {
    let mut world = World::new();
    assert!(deliver(&mut world, 1, Holders::One).is_ok());
    let inbox = world.inbox(ANN).folder;
    let section = Section::WHOLE;
    let read = UserTask::ReadSection { folder: inbox, uid: Uid(1), section, offset: 0, len: 9000 };
    let token = world.ask(ANN, read);
    // The record was read, the chunk is not yet.
    world.serve_one();
    let late = world.requests.pop_front().expect("the chunk is asked for");
    assert!(matches!(late.1, Request::ReadBlob { .. }));
    delete_all(&mut world, inbox);
    assert_eq!(blobs(&world), [0_u128; 0]);
    world.requests.push_back(late);
    world.settle();
    assert_eq!(world.answers[&token], Ok(UserDone::Failed(UserError::Expunged)));
}

#[test]
fn a_crash_at_any_point_leaves_no_dangling_reference_and_no_garbage() {
    for requests in 0..40 {
        let mut world = World::new();
        for number in 1..=3 {
            assert!(deliver(&mut world, number, Holders::One).is_ok());
        }
        let inbox = world.inbox(ANN).folder;
        world.store(ANN, inbox, ("1:2", FlagChange::Add, DELETED));
        world.ask(ANN, UserTask::Expunge { folder: inbox, uids: None });
        world.ask(ANN, UserTask::CloseFolder { folder: inbox });
        for _ in 0..requests {
            world.serve_one();
        }
        let referenced = world
            .table
            .entries
            .iter()
            .filter(|(key, _)| key.0[0] == keys::blob_references().0.0[0]);
        for (_, value) in referenced {
            let (blob, _) = crate::mailbox::format::decode_blob_reference(value).expect("whole");
            assert!(world.table.blobs.contains_key(&blob), "{requests}: {blob:?} is gone");
        }
        world.crash(usize::from(requests % 2 == 0));
        let inbox = world.inbox(ANN).folder;
        delete_all(&mut world, inbox);
        assert_eq!(blobs(&world), [0_u128; 0], "{requests}");
        assert_eq!(leftovers(&world), 0, "{requests}");
    }
}

#[test]
fn the_blob_of_a_refused_message_goes_at_once() {
    let mut world = World::new();
    world.tell_account(AccountFacts {
        address: "ann@example.org".into(),
        quota_bytes: Some(1000),
        quota_messages: None,
        enabled: true,
    });
    let over = Ok(UserDone::Failed(UserError::OverQuota));
    assert_eq!(deliver(&mut world, 1, Holders::One), over);
    assert_eq!(deliver(&mut world, 2, Holders::Several), over);
    assert_eq!(blobs(&world), [2]);
}

#[test]
fn a_set_that_is_never_shown_gives_its_blobs_back() {
    let mut world = World::new();
    let bytes = write_blob(&mut world, 1);
    let len = bytes.len() as u64;
    let body = Body::Blob { blob: BlobId(1), len, holders: Holders::One };
    let message = NewMessage { body, columns: columns(&bytes), ..new_message(1) };
    let task = UserTask::StageAppend { to: folder("INBOX"), pending: None, message };
    let UserDone::Staged { pending } = world.done(ANN, task) else { panic!("staged") };
    assert_eq!(blobs(&world), [1]);
    world.done(ANN, UserTask::DropAppend { pending });
    world.settle();
    assert_eq!(blobs(&world), [0_u128; 0]);
    assert_eq!(leftovers(&world), 0);
}
