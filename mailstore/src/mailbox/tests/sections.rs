//! Sections that are made, not cut out: in pages of any size, with bounded work and memory.

use super::world::*;
use crate::face::*;
use bytes::Bytes;
use dds::{BlobId, Request};

const BLOB: BlobId = BlobId(9);

/// A world with one large message in it.
fn with_blob(bytes: &Bytes) -> (World, FolderId) {
    let mut world = World::new();
    world.table.blobs.insert(BLOB, (bytes.clone(), fsm::Wall(0)));
    let body = Body::Blob { blob: BLOB, len: bytes.len() as u64, holders: Holders::Several };
    let deliver = Deliver { body, columns: columns(bytes), ..delivery(1) };
    world.done(ANN, UserTask::Deliver(deliver));
    let folder = world.inbox(ANN).folder;
    (world, folder)
}

/// Reads a section page by page; the pages together, and the bytes of blobs that were read for them.
fn read(world: &mut World, folder: FolderId, section: &Section, page: u64) -> (Vec<u8>, u64) {
    let (mut all, mut read) = (Vec::new(), 0);
    loop {
        let offset = all.len() as u64;
        let section = section.clone();
        let task = UserTask::ReadSection { folder, uid: Uid(1), section, offset, len: page };
        let token = world.ask(ANN, task);
        while let Some((_, request)) = world.requests.front() {
            if let Request::ReadBlob { len, .. } = request {
                read += len;
            }
            world.serve_one();
        }
        match world.answers.remove(&token).expect("answered") {
            Ok(UserDone::Section(SectionRead::Page { bytes, total })) => {
                assert!(bytes.len() as u64 <= page);
                all.extend_from_slice(&bytes);
                assert!(!bytes.is_empty() || all.len() as u64 == total, "a page without bytes");
                if all.len() as u64 >= total {
                    assert_eq!(all.len() as u64, total);
                    return (all, read);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn part(encoding: &str, text: &[u8]) -> Bytes {
    let head = format!(
        "Subject: x\r\nContent-Type: application/octet-stream\r\n\
         Content-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    [head.as_bytes(), text].concat().into()
}

#[test]
fn a_decoded_part_is_read_about_twice_whatever_the_pages() {
    // "QUJD" is ABC; lines of 76.
    let line = [&b"QUJD".repeat(19)[..], b"\r\n"].concat();
    let base64 = part("base64", &line.repeat(20_000));
    let plain = b"ABC".repeat(19 * 20_000);
    let quoted = part("quoted-printable", &b"a=20b=\r\n".repeat(100_000));
    let section = Section { part: vec![1], text: SectionText::Binary };
    for (message, expected) in [(base64, plain), (quoted, b"a b".repeat(100_000))] {
        for page in [1_000_000, 65_536, 40_000, 9_999] {
            let (mut world, folder) = with_blob(&message);
            let (bytes, read) = read(&mut world, folder, &section, page);
            assert!(bytes == expected, "pages of {page}");
            // Once to know how long it is, once for the pages; each of them may begin within a slice.
            let pages = (expected.len() as u64).div_ceil(page);
            let most = 2 * message.len() as u64 + (pages + 2) * 256 * 1024;
            assert!(read <= most, "{read} bytes of {} for {pages} pages", message.len());
            assert!(world.resumed > 0, "long work yields");
        }
    }
}

#[test]
fn a_huge_header_is_filtered_as_it_is_read() {
    let field = format!("X-Long: {}\r\n", "y".repeat(900));
    let header = format!("From: a@example.org\r\n{}Subject: last\r\n", field.repeat(2_000));
    let message: Bytes = format!("{header}\r\nbody\r\n").into();
    let (mut world, folder) = with_blob(&message);
    let fields = |names: &[&'static str], not| Section {
        part: Vec::new(),
        text: SectionText::HeaderFields {
            names: names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect(),
            not,
        },
    };
    let (bytes, _) = read(&mut world, folder, &fields(&["subject"], false), 100);
    assert_eq!(bytes, b"Subject: last\r\n\r\n");
    let (bytes, read) =
        read(&mut world, folder, &fields(&["from", "subject", "return-path"], true), 50_000);
    assert!(bytes == format!("{}\r\n", field.repeat(2_000)).as_bytes());
    assert!(read <= 2 * message.len() as u64 + 39 * 256 * 1024, "{read}");
}

#[test]
fn pages_in_any_order_are_the_same() {
    let text: Vec<u8> = (0..200_000_u32).flat_map(|at| format!("{at}=\r\n").into_bytes()).collect();
    let message = part("quoted-printable", &text);
    let (mut world, folder) = with_blob(&message);
    let section = Section { part: vec![1], text: SectionText::Binary };
    let (whole, _) = read(&mut world, folder, &section, 256 * 1024);
    for offset in [700_000, 0, 100_000, 99_999, 100_000, 900_000, 5_000_000] {
        let section = section.clone();
        let task = UserTask::ReadSection { folder, uid: Uid(1), section, offset, len: 70_000 };
        let done = world.done(ANN, task);
        let UserDone::Section(SectionRead::Page { bytes, total }) = done else {
            panic!("{done:?}")
        };
        assert_eq!(total, whole.len() as u64);
        let from = whole.len().min(usize::try_from(offset).expect("small"));
        assert!(bytes == whole[from..whole.len().min(from + 70_000)], "at {offset}");
    }
}
