//! The data directory, backup and verification.

use bytes::Bytes;
use dds::{Chain, Column, Durability, Group, PartitionId, Read, ReadDone, Store, StoreOp, Tier};
use dds_rocksdb::{FORMAT, Fit, OpenError, RocksStore, SpaceConfig, StoreConfig};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn config(dir: &Path) -> StoreConfig {
    let space = SpaceConfig { low_bytes: 0, critical_bytes: 0, ballast_bytes: 0 };
    StoreConfig { space, fit: Fit::Exact, ..StoreConfig::new(dir.join("parent").join("store")) }
}

fn put(store: &RocksStore, key: &'static [u8], value: &[u8]) {
    let (key, value) = (Bytes::from_static(key), Bytes::copy_from_slice(value));
    let bytes = key.len() + value.len();
    let ops = vec![StoreOp::Put { column: Column::Bodies, key, value }];
    let partition = PartitionId(0);
    let group = Group { partition, ops, bytes, frees_space: false, chain: Chain::Starts };
    store.commit(&[group], Durability::Synced).expect("it commits");
}

fn get(store: &RocksStore, key: &'static [u8]) -> Option<Bytes> {
    let read = Read::Get { column: Column::Bodies, keys: vec![Bytes::from_static(key)] };
    match store.read(&read, Tier::Disk) {
        Ok(ReadDone::Got(mut values)) => values.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_directory_is_private_and_has_a_format() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    drop(RocksStore::open(&config).expect("it opens"));
    let mode = std::fs::metadata(&config.dir).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let path = config.dir.join("FORMAT");
    assert_eq!(std::fs::read(&path).expect("there"), b"1\n");
    std::fs::write(&path, b"2\n").expect("written");
    let newer = RocksStore::open(&config);
    assert!(matches!(newer, Err(OpenError::NewerFormat { found, .. }) if found == FORMAT + 1));
    for bad in [&b""[..], b"zero", b"0\n", b"-1\n", b"\xFF\n"] {
        std::fs::write(&path, bad).expect("written");
        assert!(matches!(RocksStore::open(&config), Err(OpenError::BadFormat { .. })), "{bad:?}");
    }
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(RocksStore::open(&config), Err(OpenError::NoFormat { .. })));
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let first = RocksStore::open(&config).expect("it opens");
    let second = RocksStore::open(&config);
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    drop(first);
    RocksStore::open(&config).expect("it opens");
}

#[test]
fn a_checkpoint_is_a_store_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let store = RocksStore::open(&config).expect("it opens");
    put(&store, b"before", &[1; 5000]);
    let copy = dir.path().join("copy");
    store.checkpoint(&copy).expect("it copies");
    assert!(store.checkpoint(&copy).is_err(), "never over another");
    put(&store, b"after", &[2; 5000]);
    let copy = RocksStore::open(&StoreConfig { dir: copy, ..config }).expect("it opens");
    assert_eq!(get(&copy, b"before"), Some(Bytes::from_static(&[1; 5000])));
    assert_eq!(get(&copy, b"after"), None);
    put(&copy, b"copy", b"c");
    assert_eq!(get(&store, b"copy"), None);
}

#[test]
fn a_moment_stays_as_it_was_and_rot_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let store = RocksStore::open(&config).expect("it opens");
    put(&store, b"k1", &[1; 5000]);
    put(&store, b"k2", &[2; 500]);
    store.flush().expect("it flushes");
    let all = dds::Read::Scan {
        column: Column::Bodies,
        from: Bytes::new(),
        to: Bytes::from_static(b"z"),
        reverse: false,
        entries_max: 10,
        bytes_max: 1 << 20,
    };
    let moment = store.moment();
    let before = moment.read(&all).expect("all is well");
    assert!(matches!(&before, dds::ReadDone::Scanned { entries, .. } if entries.len() == 2));
    put(&store, b"k3", &[3; 50]);
    assert_eq!(moment.read(&all).expect("all is well"), before);
    drop(moment);
    let stats = store.stats();
    assert!(stats.commits == 3 && stats.syncs == 3 && stats.wal_bytes > 5500, "{stats:?}");
    assert!(stats.flush_bytes + stats.blob_bytes > 5000, "{stats:?}");
    drop(store);
    let files = std::fs::read_dir(config.dir.join("db")).expect("there");
    let blobs = files.map(|file| file.expect("an entry").path());
    let blob = blobs.filter(|path| path.extension().is_some_and(|is| is == "blob")).max();
    let blob = blob.expect("a blob file");
    let mut bytes = std::fs::read(&blob).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, bytes).expect("it can be written");
    let store = RocksStore::open(&config).expect("it opens");
    let found = store.moment().read(&all);
    assert!(matches!(found, Err(dds::StoreError::Corrupt(_))), "{found:?}");
}
