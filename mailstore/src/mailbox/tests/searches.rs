//! Body searches over what the store of the node does not have: it is fetched, or the search fails, and misses nothing.

use super::world::*;
use crate::face::*;
use crate::mailbox::format::keys;
use bytes::Bytes;
use dds::BlobId;
use std::sync::Arc;

/// A text of several chunks, with a word at its end.
fn large(word: &str) -> Bytes {
    let line = "nothing to see in this line of the text\r\n";
    [&message(9)[..], line.repeat(30_000).as_bytes(), word.as_bytes(), b"\r\n"].concat().into()
}

fn deliver_large(world: &mut World, number: u128, word: &str) {
    let bytes = large(word);
    world.table.blobs.insert(BlobId(number), (bytes.clone(), fsm::Wall(0)));
    let (blob, len) = (BlobId(number), bytes.len() as u64);
    let body = Body::Blob { blob, len, holders: Holders::One };
    let deliver = Deliver { body, columns: columns(&bytes), ..delivery(number) };
    assert!(world.call(ANN, UserTask::Deliver(deliver)).is_ok());
}

fn search(world: &mut World, folder: FolderId, text: &str) -> Result<UserDone, TaskRefusal> {
    let criteria = Arc::new(Criteria::BodyText(Bytes::copy_from_slice(text.as_bytes())));
    world.call(ANN, UserTask::Search { folder, criteria })
}

fn found(result: Result<UserDone, TaskRefusal>) -> UidSet {
    match result {
        Ok(UserDone::Found { uids, .. }) => uids,
        other => panic!("{other:?}"),
    }
}

fn world_with_bodies() -> (World, FolderId) {
    let mut world = World::new();
    deliver_large(&mut world, 1, "heron");
    assert!(world.call(ANN, UserTask::Deliver(delivery(2))).is_ok());
    deliver_large(&mut world, 3, "egret");
    deliver_large(&mut world, 4, "heron");
    let inbox = world.inbox(ANN).folder;
    (world, inbox)
}

#[test]
fn large_bodies_on_other_nodes_are_found() {
    let (mut world, inbox) = world_with_bodies();
    for elsewhere in [vec![], vec![4], vec![1, 3, 4]] {
        world.table.elsewhere.0 = elsewhere.into_iter().map(BlobId).collect();
        assert_eq!(found(search(&mut world, inbox, "heron")), set("1,4"));
        assert_eq!(found(search(&mut world, inbox, "egret")), set("3"));
        assert_eq!(found(search(&mut world, inbox, "body 2")), set("2"));
        // The header and the whole text begin at the same byte.
        let name = Bytes::from_static(b"Message-ID");
        let header = Criteria::Header { name, text: Bytes::from_static(b"m9@") };
        let both = Criteria::And(vec![header, Criteria::Text(Bytes::from_static(b"heron"))]);
        let task = UserTask::Search { folder: inbox, criteria: Arc::new(both) };
        assert_eq!(found(world.call(ANN, task)), set("1,4"));
    }
}

#[test]
fn what_this_node_has_not_applied_yet_is_asked_for() {
    let (mut world, inbox) = world_with_bodies();
    let bodies = world.table.entries.keys().filter(|key| key.is_body()).cloned();
    world.table.elsewhere.1 = bodies.chain([keys::apart(EmailId(0), 1)]).collect();
    assert_eq!(found(search(&mut world, inbox, "body 2")), set("2"));
    assert_eq!(found(search(&mut world, inbox, "heron")), set("1,4"));
}

#[test]
fn a_body_that_is_nowhere_fails_the_search_and_is_not_missed() {
    let (mut world, inbox) = world_with_bodies();
    world.table.blobs.remove(&BlobId(3));
    assert!(matches!(search(&mut world, inbox, "heron"), Err(TaskRefusal::Damaged)));
    // A search that does not need it goes on.
    let seen = Arc::new(Criteria::Flag(SystemFlag::Seen));
    assert_eq!(found(world.call(ANN, UserTask::Search { folder: inbox, criteria: seen })), set(""));
}
