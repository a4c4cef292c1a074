//! Object ids on the wire (RFC 8474 4): a letter for the kind and the number in hexadecimal.

use mailstore::face::{EmailId, ThreadId};

/// EMAILID.
pub(super) const EMAIL: u8 = b'M';
/// THREADID.
pub(super) const THREAD: u8 = b'T';
/// MAILBOXID.
pub(super) const MAILBOX: u8 = b'F';

/// What FETCH EMAILID showed; `None` for what it can't have shown.
pub(super) fn parse_email_id(wire: &[u8]) -> Option<EmailId> {
    parse(EMAIL, wire).map(EmailId)
}

/// What FETCH THREADID showed.
pub(super) fn parse_thread_id(wire: &[u8]) -> Option<ThreadId> {
    parse(THREAD, wire).map(ThreadId)
}

fn parse(kind: u8, wire: &[u8]) -> Option<u64> {
    let (&first, digits) = wire.split_first()?;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if first != kind || digits.len() != 16 || !digits.iter().all(is_hex) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The id as 17 bytes.
pub(super) fn write(kind: u8, id: u64) -> [u8; 17] {
    let mut wire = [kind; 17];
    for (index, byte) in wire[1..].iter_mut().enumerate() {
        let nibble = id >> (60 - 4 * index) & 15;
        *byte = b"0123456789abcdef"[nibble as usize];
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_shown() {
        for id in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(parse_email_id(&write(EMAIL, id)), Some(EmailId(id)));
            assert_eq!(parse_thread_id(&write(THREAD, id)), Some(ThreadId(id)));
            assert_eq!(parse_thread_id(&write(EMAIL, id)), None);
        }
        assert_eq!(parse_email_id(b"M+123456789abcdef"), None);
    }
}
