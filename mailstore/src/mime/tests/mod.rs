//! The scanner on whole messages.

mod formats;
mod grammar;
mod hostile;
mod odd_mail;
mod properties;

use super::{Limits, Scanner};
use crate::face::Columns;

fn scan(message: &[u8]) -> Columns {
    let mut scanner = Scanner::new(&Limits::default());
    scanner.push(message);
    scanner.finish()
}

/// Scans with every cut, and byte by byte: the result is the same.
fn scan_cut_everywhere(message: &[u8]) -> Columns {
    let whole = scan(message);
    for cut in 0..=message.len() {
        let mut scanner = Scanner::new(&Limits::default());
        scanner.push(&message[..cut]);
        scanner.push(&message[cut..]);
        assert_eq!(scanner.finish(), whole, "cut at {cut}");
    }
    let mut scanner = Scanner::new(&Limits::default());
    message.chunks(1).for_each(|byte| scanner.push(byte));
    assert_eq!(scanner.finish(), whole, "byte by byte");
    whole
}

/// BODYSTRUCTURE of a message whose lines end with LF here and CRLF there.
fn structure(message: &str) -> String {
    let columns = scan_cut_everywhere(message.replace('\n', "\r\n").as_bytes());
    String::from_utf8(columns.structure.to_vec()).expect("of UTF-8")
}
