//! A user's own records: all or none, versions, usage, pages.

use super::world::*;
use crate::face::*;
use crate::mailbox::Limits;
use crate::mailbox::format::{RecordUsage, keys};
use bytes::Bytes;

fn named(name: &str) -> RecordName {
    RecordName::new(name).expect("a name")
}

fn put(name: &str, value: &'static [u8], expect: Expect) -> RecordChange {
    let value = Some(Bytes::from_static(value));
    RecordChange { collection: Collection::Contacts, name: named(name), expect, value }
}

fn delete(name: &str) -> RecordChange {
    let collection = Collection::Contacts;
    RecordChange { collection, name: named(name), expect: Expect::Anything, value: None }
}

fn ask(world: &mut World, task: RecordTask) -> UserDone {
    let done = world.call(ANN, UserTask::Records(task)).expect("the store works");
    world.settle();
    done
}

fn write(world: &mut World, changes: Vec<RecordChange>) -> UserDone {
    ask(world, RecordTask::Write(changes))
}

fn written(world: &mut World, changes: Vec<RecordChange>) -> ModSeq {
    match write(world, changes) {
        UserDone::Records(RecordsDone::Written { version }) => version,
        other => panic!("{other:?}"),
    }
}

fn list(world: &mut World, after: Option<RecordName>) -> (Vec<Record>, bool) {
    match ask(world, RecordTask::List { collection: Collection::Contacts, after }) {
        UserDone::Records(RecordsDone::Page { records, more }) => (records, more),
        other => panic!("{other:?}"),
    }
}

fn names(world: &mut World) -> Vec<String> {
    list(world, None).0.into_iter().map(|record| record.name.as_str().to_owned()).collect()
}

/// What the store says of their number and bytes.
fn usage(world: &World) -> RecordUsage {
    let value = world.table.entries.get(&keys::lone(keys::RECORD_USAGE));
    value
        .map_or(RecordUsage::default(), |value| RecordUsage::decode(value).expect("a usage record"))
}

#[test]
fn what_was_put_is_read_after_the_master_is_another() {
    let mut world = World::new();
    let version = written(
        &mut world,
        vec![put("b", b"bob", Expect::Absent), put("a", b"ann", Expect::Absent)],
    );
    world.crash(0);
    assert_eq!(names(&mut world), ["a", "b"]);
    let get = RecordTask::Get { collection: Collection::Contacts, name: named("b") };
    let record = Record { name: named("b"), version, value: Bytes::from_static(b"bob") };
    let page = |records| UserDone::Records(RecordsDone::Page { records, more: false });
    assert_eq!(ask(&mut world, get.clone()), page(vec![record]));
    let other = RecordTask::Get { collection: Collection::Settings, name: named("b") };
    assert_eq!(ask(&mut world, other), page(vec![]), "collections are apart");
    let later = written(&mut world, vec![delete("b")]);
    assert!(later > version, "a version comes once, also after a restart");
    assert_eq!(ask(&mut world, get), page(vec![]));
    assert_eq!(usage(&world), RecordUsage { records: 1, bytes: 4 });
}

#[test]
fn a_write_is_all_or_nothing() {
    let mut world = World::new();
    let first = written(&mut world, vec![put("a", b"1", Expect::Absent)]);
    let conflict = |name: &str| {
        let (collection, name) = (Collection::Contacts, named(name));
        UserDone::Records(RecordsDone::Conflict { collection, name })
    };
    let again = vec![put("c", b"3", Expect::Anything), put("a", b"2", Expect::Absent)];
    assert_eq!(write(&mut world, again), conflict("a"));
    assert_eq!(names(&mut world), ["a"]);
    let second = written(&mut world, vec![put("a", b"2", Expect::Version(first))]);
    assert_eq!(write(&mut world, vec![put("a", b"3", Expect::Version(first))]), conflict("a"));
    written(&mut world, vec![put("a", b"3", Expect::Version(second))]);
    let absent = vec![put("z", b"1", Expect::Version(second))];
    assert_eq!(write(&mut world, absent), conflict("z"));
    let twice = vec![put("d", b"1", Expect::Anything), delete("d")];
    assert!(matches!(write(&mut world, twice), UserDone::Failed(UserError::Cannot(_))));
    assert!(matches!(write(&mut world, vec![]), UserDone::Failed(UserError::Cannot(_))));
}

#[test]
fn a_user_keeps_only_so_much_and_may_always_delete() {
    let limits = Limits { records_max: 2, records_bytes_max: 12, ..Limits::default() };
    let mut world = World::with_limits(limits);
    written(&mut world, vec![put("a", b"1", Expect::Anything)]);
    let three = vec![put("b", b"1", Expect::Anything), put("c", b"1", Expect::Anything)];
    assert!(matches!(write(&mut world, three), UserDone::Failed(UserError::Limit(_))));
    written(&mut world, vec![put("b", b"123456789", Expect::Anything)]);
    assert_eq!(usage(&world), RecordUsage { records: 2, bytes: 12 });
    let longer = vec![put("a", b"12", Expect::Anything)];
    assert!(matches!(write(&mut world, longer), UserDone::Failed(UserError::Limit(_))));
    written(&mut world, vec![delete("b"), put("c", b"12", Expect::Absent)]);
    written(&mut world, vec![delete("a"), delete("c"), delete("never there")]);
    assert_eq!(usage(&world), RecordUsage::default());
}

#[test]
fn long_lists_come_in_pages() {
    let mut world = World::new();
    let all: Vec<String> = (0..20).map(|number| format!("{number:04}")).collect();
    for name in &all {
        written(&mut world, vec![put(name, b"x", Expect::Absent)]);
    }
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (records, more) = list(&mut world, after);
        pages += 1;
        after = records.last().map(|record| record.name.clone());
        seen.extend(records.into_iter().map(|record| record.name.as_str().to_owned()));
        if !more {
            break;
        }
    }
    assert_eq!(seen, all);
    assert!(pages > 1, "the store gives few entries at once here");
}
