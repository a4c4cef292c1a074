//! A whole store is clean; each planted damage is told, with its name.

use super::{Counts, Damage, Told, check};
use crate::address::Address;
use crate::directory::format as accounts;
use crate::face::*;
use crate::mailbox;
use crate::mailbox::format::{Header, References, keys};
use crate::mailbox::tests::world::{ANN, USER, World, columns, delivery, folder, message, set};
use bytes::{Bytes, BytesMut};
use dds::layout::{self, BlobRecord};
use dds::{
    BlobId, Chain, Column, DpMap, Durability, Group, MemoryStore, PartitionId, Read, RouteKey,
    Store, StoreError, StoreOp, Tier, Version,
};
use fsm::Wall;

const MAP: DpMap = DpMap { partitions: 4, hash_key: (1, 2) };
const BLOB: BlobId = BlobId(77);
const EXPIRES: Wall = Wall(1_800_000_000_000);

/// A store with one account: five messages, one of them flagged, one copied, one expunged, one with a blob.
struct Disk {
    store: MemoryStore,
    route: RouteKey,
}

impl Disk {
    fn new() -> Self {
        let mut world = World::new();
        let inbox = world.inbox(ANN).folder;
        let subscriber = Subscriber::new("index").expect("a name");
        world.done(ANN, UserTask::Events { subscriber, task: EventTask::Subscribe });
        for number in 1..=4 {
            world.deliver(number);
        }
        let text = message(5);
        world.table.blobs.insert(BLOB, (text.clone(), EXPIRES));
        let large = Deliver {
            columns: columns(&text),
            body: Body::Blob { blob: BLOB, len: text.len() as u64, holders: Holders::One },
            ..delivery(5)
        };
        world.done(ANN, UserTask::Deliver(large));
        world.store(ANN, inbox, ("1", FlagChange::Add, SystemFlags(SystemFlag::Seen as u8)));
        world.store(ANN, inbox, ("2", FlagChange::Add, SystemFlags(SystemFlag::Deleted as u8)));
        world.done(ANN, UserTask::Expunge { folder: inbox, uids: None });
        let to = folder("Archive");
        world.done(ANN, UserTask::Copy { folder: inbox, uids: set("3"), to, remove_source: false });
        world.settle();
        let disk = Self { store: MemoryStore::new(), route: mailbox::route(USER) };
        for (key, value) in &world.table.entries {
            disk.put(layout::column_of(key), disk.key(&key.0), stored(value));
        }
        disk.put_blob(&text);
        disk.put_account();
        disk
    }

    fn partition(&self) -> PartitionId {
        MAP.partition_of(&self.route.0)
    }

    fn key(&self, sort: &[u8]) -> Bytes {
        layout::entry_key(self.partition(), &self.route, sort)
    }

    fn commit(&self, op: StoreOp) {
        let (partition, frees_space, chain) = (PartitionId(0), false, Chain::Starts);
        let group = Group { partition, ops: vec![op], bytes: 0, frees_space, chain };
        self.store.commit(&[group], Durability::Synced).expect("no faults");
    }

    fn put(&self, column: Column, key: Bytes, value: Bytes) {
        self.commit(StoreOp::Put { column, key, value });
    }

    fn delete(&self, column: Column, key: Bytes) {
        self.commit(StoreOp::Delete { column, key });
    }

    fn put_blob(&self, text: &Bytes) {
        let partition = MAP.partition_of(&BLOB.to_bytes());
        let mut record = BytesMut::new();
        let last_bytes = u32::try_from(text.len()).expect("small");
        BlobRecord { version: Version(1), expires: EXPIRES, chunks: 1, last_bytes }
            .encode(&mut record);
        self.put(Column::Meta, layout::blob_key(partition, BLOB), record.freeze());
        self.put(Column::Meta, layout::expiry_key(partition, EXPIRES, BLOB), Bytes::new());
        self.put(Column::Bodies, layout::chunk_key(partition, BLOB, 0), text.clone());
    }

    fn put_account(&self) {
        let record = accounts::Record::Account(accounts::AccountRecord {
            user: USER,
            address: Address::parse(b"ann@example.org").expect("an address"),
            created: Wall(0),
            enabled: true,
            display_name: String::new(),
            quota_bytes: None,
            quota_messages: None,
            next_credential: 1,
            credentials: Vec::new(),
            second_factor: None,
        });
        let route = accounts::route();
        let key = layout::entry_key(MAP.partition_of(&route.0), &route, &record.key().0);
        self.put(Column::Meta, key, stored(&record.value()));
    }

    /// The value of a record of the user.
    fn value(&self, column: Column, sort: &[u8]) -> Bytes {
        let read = Read::Get { column, keys: vec![self.key(sort)] };
        match self.store.read(&read, Tier::Disk) {
            Ok(dds::ReadDone::Got(values)) => values[0].clone().expect("there").slice(8..),
            other => panic!("{other:?}"),
        }
    }

    /// All that is found wrong; values under `rotten` can't be read.
    fn check(&self, rotten: &[Bytes]) -> (Counts, Vec<Damage>) {
        let mut found = Vec::new();
        let reads = |read: &Read| {
            let hit = match read {
                Read::Get { keys, .. } => keys.iter().any(|key| rotten.contains(key)),
                Read::Scan { .. } | Read::Sum { .. } => false,
            };
            let done = self.store.read(read, Tier::Disk)?;
            let hit = hit
                || matches!(&done, dds::ReadDone::Scanned { entries, .. }
                    if entries.iter().any(|(key, _)| rotten.contains(key)));
            if hit { Err(StoreError::Corrupt("a checksum".into())) } else { Ok(done) }
        };
        let counts = check(&reads, (MAP, &|_| true), &mut |told| match told {
            Told::Damage(damage) => found.push(damage),
            Told::Progress(_) => {}
        });
        (counts, found)
    }

    /// The one thing that is wrong.
    fn only(&self) -> (String, String) {
        let (_, found) = self.check(&[]);
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].thing.clone(), found[0].reason.clone())
    }
}

fn stored(value: &Bytes) -> Bytes {
    [&7_u64.to_be_bytes()[..], value].concat().into()
}

/// The key of a header, and the EMAILID of message `number`: they are given in the order of arrival.
fn header_key() -> Bytes {
    keys::of_folder(keys::HEADER, FolderId(1)).0
}

fn body_key(number: u64) -> Bytes {
    keys::body(EmailId(number)).0
}

#[test]
fn what_is_whole_is_clean() {
    let (counts, found) = Disk::new().check(&[]);
    assert_eq!(found, []);
    assert_eq!((counts.users, counts.messages, counts.blobs), (1, 5, 1));
}

#[test]
fn a_header_that_counts_wrong_is_told() {
    let disk = Disk::new();
    let header = Header::decode(&disk.value(Column::Meta, &header_key())).expect("a header");
    let spoilt: [(Header, &str); 5] = [
        (Header { messages: 3, ..header }, "3 messages, there are 4"),
        (Header { unseen: 4, ..header }, "4 unseen messages, there are 3"),
        (Header { bytes: header.bytes + 1, ..header }, "bytes, there are"),
        (Header { uid_next: 4, ..header }, "UIDNEXT is 4, but UID 5 is there"),
        (Header { folded: header.mod_seq, ..header }, "there are 0"),
    ];
    for (spoilt, reason) in spoilt {
        disk.put(Column::Meta, disk.key(&header_key()), stored(&spoilt.encode()));
        let (_, found) = disk.check(&[]);
        let told = found
            .iter()
            .any(|it| it.thing == "ann@example.org INBOX" && it.reason.contains(reason));
        assert!(told, "{reason}: {found:?}");
    }
    disk.delete(Column::Meta, disk.key(&header_key()));
    assert!(disk.only().1.contains("header is not there"));
}

#[test]
fn a_body_that_is_gone_short_or_unreadable_is_told() {
    let disk = Disk::new();
    let first = disk.value(Column::Bodies, &body_key(1));
    disk.delete(Column::Bodies, disk.key(&body_key(1)));
    let gone = disk.only();
    assert_eq!(gone, ("ann@example.org INBOX UID 1".into(), "its body is not there".into()));
    let cut = first.slice(..first.len() - 1);
    disk.put(Column::Bodies, disk.key(&body_key(1)), stored(&cut));
    assert!(disk.only().1.contains("body"));
    let other = disk.value(Column::Bodies, &body_key(3));
    let longer = [b"01", &other[..]].concat();
    disk.put(Column::Bodies, disk.key(&body_key(1)), stored(&longer.into()));
    assert_eq!(disk.only().0, "ann@example.org INBOX UID 1");
    disk.put(Column::Bodies, disk.key(&body_key(1)), stored(&first));
    let (_, found) = disk.check(&[disk.key(&body_key(4))]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].thing, "ann@example.org INBOX UID 4");
    assert!(found[0].reason.contains("can't be read: damaged: a checksum"));
}

#[test]
fn a_blob_that_is_gone_or_not_whole_is_told() {
    let of = MAP.partition_of(&BLOB.to_bytes());
    let thing = "ann@example.org INBOX UID 5";
    let disk = Disk::new();
    let chunk = layout::chunk_key(of, BLOB, 0);
    let (_, found) = disk.check(std::slice::from_ref(&chunk));
    assert!(found.len() == 1 && found[0].thing == thing, "{found:?}");
    assert!(found[0].reason.contains("chunk 0 can't be read"));
    disk.put(Column::Bodies, chunk.clone(), Bytes::from_static(b"short"));
    assert_eq!(disk.only().0, thing);
    disk.delete(Column::Bodies, chunk);
    assert!(disk.only().1.contains("0 of 1 chunks"));
    disk.delete(Column::Meta, layout::blob_key(of, BLOB));
    let (_, found) = disk.check(&[]);
    assert!(found.iter().any(|it| it.thing == thing && it.reason.contains("is not there")));
    // Nobody renews it: it is whole today and gone tomorrow.
    let disk = Disk::new();
    disk.delete(Column::Meta, disk.key(&keys::blob_reference(EmailId(5)).0));
    assert!(disk.only().1.contains("no sweep renews"));
}

#[test]
fn records_that_cannot_be_read_and_references_that_differ_are_told() {
    let disk = Disk::new();
    let page = keys::references(0).0;
    disk.put(Column::Meta, disk.key(&page), stored(&References(vec![(3, 3)]).encode()));
    let (thing, reason) = disk.only();
    assert!(thing.ends_with("UID 3") || thing.ends_with("UID 1"), "{thing}");
    assert_eq!(reason, "3 references are counted, 2 are there");
    let disk = Disk::new();
    disk.put(Column::Meta, disk.key(&keys::columns(EmailId(1)).0), stored(&Bytes::from("\x01?")));
    let (_, found) = disk.check(&[]);
    assert!(found.iter().any(|it| it.thing == "ann@example.org"), "{found:?}");
    assert!(found.iter().any(|it| it.thing == "ann@example.org INBOX UID 1"), "{found:?}");
    let disk = Disk::new();
    let (_, found) = disk.check(&[disk.key(&header_key())]);
    assert!(found.iter().any(|it| it.thing == "ann@example.org"), "{found:?}");
    assert!(found[0].reason.contains("can't be read"));
}
