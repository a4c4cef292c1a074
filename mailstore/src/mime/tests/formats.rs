//! Golden bytes of the part table. Add to them, never edit them.

use super::scan;
use crate::mime::{PartTable, PartTableError};

const MESSAGE: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
    Content-Type: text/html; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n--b\r\n\
    Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n\r\nx\r\n--b--\r\n";

#[test]
fn format_1() {
    let expected: &[u8] = &[
        1, // version
        0x01, 0, 0, 45, 0xAB, 1, 0, // multipart
        0x50, 1, 50, 78, 4, 9, b'k', b'o', b'i', b'8', b'-', b'r', // text/html in base64
        0x82, 1, 89, 65, 3, 0, // message, attachment
        0x20, 2, 65, 2, 1, 1, // text/plain inside
    ];
    assert_eq!(scan(MESSAGE).parts, expected);
}

#[test]
fn what_is_no_table_is_refused() {
    let whole = scan(MESSAGE).parts;
    assert_eq!(PartTable::decode(&[2]), Err(PartTableError::Version));
    assert_eq!(PartTable::decode(&[1, 0, 1, 0, 0, 0, 0]), Err(PartTableError::Malformed));
    let readable: Vec<usize> =
        (0..=whole.len()).filter(|len| PartTable::decode(&whole[..*len]).is_ok()).collect();
    // A cut between parts can't be told from a shorter table.
    assert_eq!(readable, [8, 20, 26, 32]);
}
