//! What a partition promises about blobs.

use crate::bench::*;
use bytes::Bytes;
use dds::*;
use fsm::Wall;

const BLOB: BlobId = BlobId(0xB10B);

fn chunk(fill: u8, len: usize) -> Bytes {
    Bytes::from(vec![fill; len])
}

fn put_chunk(index: u32, bytes: Bytes, expires: i64) -> Request {
    Request::PutChunk { blob: BLOB, index, bytes, expires: Wall(expires) }
}

fn read(offset: u64, len: u64) -> Request {
    Request::ReadBlob { blob: BLOB, offset, len }
}

fn collect(expired_before: i64) -> Request {
    let expired_before = Wall(expired_before);
    Request::CollectBlobs { partition: PARTITION, expired_before, blobs_max: 10 }
}

fn renew(expires: i64) -> Request {
    Request::RenewBlob { blob: BLOB, expires: Wall(expires) }
}

/// Keys of the partition's own in the columns that clients write, by kind.
fn kinds(bench: &Bench) -> String {
    let own = bench.store.durable();
    let own = own.iter().filter(|(column, ..)| *column != Column::Log);
    own.map(|(_, key, _)| char::from(key[3])).collect()
}

fn collected(blobs: usize) -> Response {
    Response::Collected { blobs, more: false }
}

#[test]
fn a_blob_is_read_in_any_range() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(bench.call(read(0, 10)), Response::Absent);
    let full = CHUNK_BYTES as u64;
    assert_eq!(bench.call(put_chunk(2, chunk(3, 10), 100)), committed(1));
    assert_eq!(bench.call(put_chunk(0, chunk(1, CHUNK_BYTES), 100)), committed(2));
    let hole = bench.call(read(0, 2 * full));
    assert!(matches!(hole, Response::Refused(Refusal::Corrupt { .. })), "{hole:?}");
    assert_eq!(bench.call(put_chunk(1, chunk(2, CHUNK_BYTES), 100)), committed(3));
    let whole = [chunk(1, CHUNK_BYTES), chunk(2, CHUNK_BYTES), chunk(3, 10)].concat();
    let len = whole.len() as u64;
    for (offset, asked) in [
        (0, 1),
        (0, len),
        (0, len + 999),
        (full - 1, 2),
        (full, full),
        (full + 7, full),
        (2 * full, 10),
        (2 * full + 3, 3),
        (len - 1, 1),
        (len, 5),
        (len + 5, 5),
        (3 * full, 1),
        (3, 0),
        (len, 0),
    ] {
        let from = offset.min(len) as usize;
        let to = (offset + asked).min(len) as usize;
        let expected = Response::BlobRead(Bytes::copy_from_slice(&whole[from..to.max(from)]));
        assert!(bench.call(read(offset, asked)) == expected, "{offset}+{asked}");
    }
    let far = bench.call(read(u64::MAX, 5));
    assert_eq!(far, Response::BlobRead(Bytes::new()));
    let too_large = Response::Refused(Refusal::TooLarge { what: "read of a blob" });
    assert_eq!(bench.call(read(0, u64::MAX)), too_large);
}

#[test]
fn chunks_but_the_last_are_full() {
    let mut bench = Bench::new(Limits { blob_chunks_max: 4, ..Limits::default() });
    let gap = || refused(Refusal::TooLarge { what: "gap behind a short chunk" });
    assert_eq!(bench.call(put_chunk(1, chunk(1, 10), 100)), committed(1));
    assert_eq!(bench.call(put_chunk(2, chunk(1, 10), 100)), gap());
    assert_eq!(bench.call(put_chunk(0, chunk(1, 10), 100)), gap());
    let over = chunk(1, CHUNK_BYTES + 1);
    let what = "chunk";
    assert_eq!(bench.call(put_chunk(0, over, 100)), refused(Refusal::TooLarge { what }));
    let what = "blob";
    let beyond = bench.call(put_chunk(4, chunk(1, 10), 100));
    assert_eq!(beyond, refused(Refusal::TooLarge { what }));
    assert_eq!(bench.call(put_chunk(1, chunk(1, 10), 100)), committed(2), "again is fine");
}

#[test]
fn what_has_expired_is_collected_and_leaves_nothing() {
    let mut bench = Bench::new(Limits::default());
    bench.call(put_chunk(0, chunk(1, CHUNK_BYTES), 100));
    bench.call(put_chunk(1, chunk(2, 10), 150));
    let other = BlobId(2);
    let bytes = chunk(9, 9);
    bench.call(Request::PutChunk { blob: other, index: 0, bytes, expires: Wall(500) });
    assert_eq!(kinds(&bench), "bbeeccc");
    assert_eq!(bench.call(collect(150)), collected(0), "only what expired before");
    assert_eq!(bench.call(collect(151)), collected(1));
    assert_eq!(kinds(&bench), "bec");
    assert_eq!(bench.call(read(0, 1)), Response::Absent);
    assert_eq!(bench.call(renew(900)), refused(Refusal::PreconditionFailed { index: 0 }));
    assert_eq!(bench.call(Request::DropBlob { blob: other }), committed(5));
    assert_eq!(bench.call(Request::DropBlob { blob: other }), committed(5), "gone is gone");
    assert_eq!(kinds(&bench), "");
}

#[test]
fn a_collection_goes_on_where_the_page_ended() {
    let mut bench = Bench::new(Limits { blobs_collected_max: 2, ..Limits::default() });
    for blob in 1..=5 {
        let (blob, bytes) = (BlobId(blob), chunk(1, 1));
        bench.call(Request::PutChunk { blob, index: 0, bytes, expires: Wall(7) });
    }
    let page = |blobs, more| Response::Collected { blobs, more };
    assert_eq!(bench.call(collect(100)), page(2, true));
    bench.restart(0);
    assert_eq!(bench.call(collect(100)), page(2, true));
    assert_eq!(bench.call(collect(100)), page(1, false));
    assert_eq!(kinds(&bench), "");
}

#[test]
fn a_renewal_under_way_saves_the_blob_from_a_collection_under_way() {
    let mut bench = Bench::new(Limits::default());
    bench.call(put_chunk(0, chunk(1, 10), 100));
    // The index has been read, with the blob on it, before the renewal is asked.
    let collection = bench.ask(collect(200));
    let (token, scan) = bench.reads.pop_front().expect("the index is read");
    let listed = bench.store.read(&scan, Tier::Disk);
    let renewal = bench.ask(renew(300));
    bench.step(dds::partition::Input::ReadDone { token, result: listed });
    bench.settle();
    assert_eq!(bench.answer(renewal), committed(2));
    assert_eq!(bench.answer(collection), collected(0));
    assert_eq!(bench.call(read(0, 10)), Response::BlobRead(chunk(1, 10)));
    assert_eq!(kinds(&bench), "bec");
    // And the other way round: what is being collected can't be renewed.
    let collection = bench.ask(collect(400));
    bench.settle_reads();
    let renewal = bench.ask(renew(900));
    bench.settle();
    assert_eq!(bench.answer(collection), collected(1));
    let gone = refused(Refusal::PreconditionFailed { index: 0 });
    assert_eq!(bench.answer(renewal), gone);
    assert_eq!(kinds(&bench), "");
}

#[test]
fn a_renewal_never_shortens_and_survives_a_restart() {
    let mut bench = Bench::new(Limits::default());
    bench.call(put_chunk(0, chunk(1, 10), 100));
    assert_eq!(bench.call(renew(50)), committed(1), "it lives longer already");
    assert_eq!(bench.call(renew(200)), committed(2));
    assert_eq!(
        bench.call(put_chunk(1, chunk(1, 10), 100)),
        refused(Refusal::TooLarge { what: "gap behind a short chunk" })
    );
    bench.restart(0);
    assert_eq!(bench.call(collect(200)), collected(0));
    assert_eq!(bench.call(put_chunk(0, chunk(1, 10), 100)), committed(3));
    assert_eq!(bench.call(collect(200)), collected(0));
    assert_eq!(bench.call(collect(201)), collected(1));
}

#[test]
fn a_full_brick_still_renews_and_collects() {
    let mut bench = Bench::new(Limits::default());
    bench.call(put_chunk(0, chunk(1, 10), 100));
    bench.store.set_bytes_max(Some(0));
    assert_eq!(bench.call(put_chunk(0, chunk(1, 10), 100)), refused(Refusal::NoSpace));
    assert_eq!(bench.call(renew(200)), committed(2));
    assert_eq!(bench.call(collect(300)), collected(1));
}
