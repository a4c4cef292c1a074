//! Bytes on disk: added to, never edited.

use crate::face::*;
use crate::mailbox::events::{Cursor, CursorState};
use crate::mailbox::format::*;
use bytes::Bytes;
use dds::BlobId;
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn meta(uid: u32) -> Meta {
    Meta {
        uid: Uid(uid),
        bytes: 4711,
        mod_seq: ModSeq(1000 + u64::from(uid)),
        created: ModSeq(1000),
        unix_seconds: 1_790_000_000,
        saved: 1_790_000_100,
        email: EmailId(70),
        thread: ThreadId(0x0102_0304_0506_0708),
        zone_minutes: -120,
        flags: SystemFlags(5),
        keyworded: false,
    }
}

fn rows() -> Rows {
    let mut rows = Rows::default();
    rows.push(meta(3), 0);
    rows.push(meta(4), 1 << 127 | 1);
    rows
}

#[test]
fn golden_records() {
    let root = Root {
        next_folder: 7,
        next_uid_validity: 8,
        mod_seq: ModSeq(300),
        email_next: 9,
        next_pending: 2,
    };
    assert_eq!(hex(&root.encode()), "010708ac020902");
    let restored = RestoredRecord {
        done: crate::mailbox::Restored { steps: 2, unix_micros: 300 },
        floor: ModSeq(301),
        gaps: vec![(2, 300)],
    };
    assert_eq!(hex(&restored.encode()), "0102ac02ad020102ac02");
    assert_eq!(RestoredRecord::decode(&restored.encode()), Ok(restored));
    let mut packed = Packed::default();
    packed.raise(300);
    assert_eq!(hex(&packed.encode()), "01ac02");
    assert_eq!(Packed::decode(&packed.encode()), Ok(packed.clone()));
    packed.insert(302);
    packed.insert(305);
    assert_eq!(hex(&packed.encode()), "01ac020203");
    assert_eq!(Packed::decode(&packed.encode()), Ok(packed));
    let folder = FolderRecord {
        name: FolderName::new("Säcke").expect("a name"),
        uid_validity: UidValidity(300),
        special_use: Some(SpecialUse::Trash),
    };
    assert_eq!(hex(&folder.encode()), "010653c3a4636b65ac0206");
    let header = Header { uid_next: 5, bytes: 300, ..Header::fresh(ModSeq(6)) };
    assert_eq!(hex(&header.encode()), "010500000000010000ac02000600060600");
    let entry = LogEntry::Arrived(rows());
    assert_eq!(
        hex(&entry.encode()),
        "0101020503d00f03c8ef89ab0dc701ef01e7248c0108070605040302018501000400c701ef01e724000807\
         06050403020101000000000000000000000000000080"
    );
    for (state, wanted) in [
        (CursorState::Live, "01ac0200"),
        (CursorState::Missed, "01ac0201"),
        (CursorState::SentBack, "01ac0202"),
    ] {
        let cursor = Cursor { acknowledged: ModSeq(300), state };
        assert_eq!(hex(&cursor.encode()), wanted);
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
    }
    let uids = UidSet::from_ranges(vec![(1, 3), (300, 300)]);
    assert_eq!(hex(&encode_uids(&uids)), "0100020102a90200");
    let extent = Extent::Blob { blob: BlobId(1), offset: 0, len: 300 };
    assert_eq!(
        hex(&BodyRecord::encode(5, b"P\r\n", Some(b"T"), &extent)),
        "0105030201010100000000000000000000000000000000ac0254500d0a"
    );
    let extent = Extent::Pieces { len: 61_441 };
    assert_eq!(hex(&BodyRecord::encode(5, b"P\r\n", None, &extent)), "01050300010281e003500d0a");
    let extent = Extent::Inline(Bytes::from_static(b"hi"));
    assert_eq!(hex(&BodyRecord::encode(2, b"P\r\n", None, &extent)), "01020300010002500d0a6869");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut value = vec![VERSION];
        value.extend(&bytes);
        let value = Bytes::from(value);
        let _ = Root::decode(&value);
        let _ = FolderRecord::decode(&value);
        let _ = RestoredRecord::decode(&value);
        let _ = Header::decode(&value);
        let _ = Packed::decode(&value);
        let _ = KeywordTable::decode(&value);
        let _ = LogEntry::decode(&value);
        let _ = decode_uids(&value);
        let _ = Condemned::decode(&value);
        let _ = References::decode(&value);
        let _ = Remembered::decode(&value);
        let _ = PendingSet::decode(&value);
        let _ = ColumnRecord::decode(&value);
        for kind in BlockKind::ALL {
            let _ = Block::decode(kind, &value);
        }
        if let Ok(record) = BodyRecord::decode(&value) {
            let len = record.len();
            let _ = record.range(0, len);
            let _ = record.range(len / 2, u64::MAX);
        }
    }

    #[test]
    fn uid_sets_come_back(ranges in prop::collection::vec((1_u32..5000, 0_u32..9), 0..40)) {
        let ranges = ranges.into_iter().map(|(first, len)| (first, first + len)).collect();
        let uids = UidSet::from_ranges(ranges);
        prop_assert_eq!(decode_uids(&encode_uids(&uids)), Ok(uids));
    }

    #[test]
    fn a_body_reads_in_any_cut(
        prefix in prop::collection::vec(any::<u8>(), 0..20),
        body in prop::collection::vec(any::<u8>(), 0..60),
        (offset, len) in (0_u64..90, 0_u64..90),
    ) {
        let extent = Extent::Inline(body.clone().into());
        let value = BodyRecord::encode(3, &prefix, Some(b"table"), &extent);
        let record = BodyRecord::decode(&value).expect("just written");
        let whole = [prefix, body].concat();
        let read: Vec<u8> = record
            .range(offset, len)
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.to_vec(),
                Piece::Kept { .. } | Piece::Blob { .. } => panic!("inline"),
            })
            .collect();
        let clamp = |at: u64| (at as usize).min(whole.len());
        prop_assert_eq!(&read[..], &whole[clamp(offset)..clamp(offset + len)]);
    }
}

#[test]
fn a_body_in_pieces_reads_in_any_cut() {
    let body: Bytes = (0..150_000_u32).map(|at| (at % 251) as u8).collect();
    let kept: Vec<Bytes> = pieces_of(&body).map(|(_, piece)| piece).collect();
    assert_eq!(kept.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE_BYTES, PIECE_BYTES, 27_120]);
    let extent = Extent::Pieces { len: body.len() as u64 };
    let record = BodyRecord::decode(&BodyRecord::encode(3, b"P\r\n", Some(b"table"), &extent))
        .expect("just written");
    let whole = [b"P\r\n", body.as_ref()].concat();
    for (offset, len) in
        [(0, 1 << 20), (2, 2), (61_442, 2), (61_443, 61_440), (150_002, 9), (150_003, 9)]
    {
        let read: Vec<u8> = record
            .range(offset, len)
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Kept { piece, offset, len } => {
                    kept[usize::from(piece)].slice(offset..offset + len)
                }
                Piece::Blob { .. } => panic!("in pieces"),
            })
            .collect();
        let clamp = |at: u64| (at as usize).min(whole.len());
        assert_eq!(read, whole[clamp(offset)..clamp(offset + len)], "{offset} {len}");
    }
}

#[test]
fn rows_come_back() {
    let mut writer = Writer::new(0);
    let rows = rows();
    let keyed = rows.metas.iter().map(|meta| (meta, rows.keywords_of(meta)));
    encode_rows(&mut writer, rows.metas.len(), keyed);
    let value = writer.finish();
    let mut reader = Reader::new(&value, "rows").expect("a version");
    assert_eq!(decode_rows(&mut reader), Ok(rows));
    assert!(reader.is_at_end());
}
