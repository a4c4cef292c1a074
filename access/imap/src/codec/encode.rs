//! Pieces of responses, appended to a buffer.
//!
//! Invariants: what is appended is well-formed whatever bytes are given; nothing allocates but the
//! buffer.

use super::{NameEncoding, object_id, utf7};
use bytes::BytesMut;
use mailstore::face::{
    EmailId, Flags, FolderId, InternalDate, Keyword, ModSeq, Section, SectionText, SystemFlag,
    ThreadId, Uid, UidSet,
};

/// A number in decimal.
pub fn put_number(buffer: &mut BytesMut, number: impl Into<u64>) {
    buffer.extend_from_slice(itoa::Buffer::new().format(number.into()).as_bytes());
}

/// Appends every number of a set, each behind a space.
pub fn put_numbers(buffer: &mut BytesMut, numbers: &UidSet) {
    // By the page: a copy for each number took longer than to write it.
    let (mut page, mut at) = ([b' '; 512], 0);
    for number in numbers.iter() {
        let end = at + 2 + number.0.checked_ilog10().unwrap_or(0) as usize;
        page[at] = b' ';
        let mut left = number.0;
        for digit in page[at + 1..end].iter_mut().rev() {
            *digit = b'0' + (left % 10).to_le_bytes()[0];
            left /= 10;
        }
        at = end;
        if at + NUMBER_BYTES_MAX > page.len() {
            buffer.extend_from_slice(&page[..at]);
            at = 0;
        }
    }
    buffer.extend_from_slice(&page[..at]);
}

/// A space and a number of 32 bits.
const NUMBER_BYTES_MAX: usize = 11;

/// RFC 9051 section 9 string: quoted where it can be, else a literal. 8-bit text goes quoted only
/// to clients that enabled UTF8=ACCEPT (RFC 9755 3).
pub fn put_string(buffer: &mut BytesMut, text: &[u8], names: NameEncoding) {
    let is_plain = |&byte: &u8| byte >= b' ' && byte != 0x7f && byte.is_ascii();
    let can_quote = text.len() <= QUOTED_BYTES_MAX
        && match names {
            NameEncoding::Utf7 => text.iter().all(is_plain),
            NameEncoding::Utf8 => {
                !text.iter().any(|&byte| matches!(byte, b'\r' | b'\n' | 0))
                    && std::str::from_utf8(text).is_ok()
            }
        };
    if can_quote { put_quoted(buffer, text) } else { put_literal(buffer, text) }
}

/// Bytes of the longest quoted string that we send. Our choice: a client's line buffer is small.
const QUOTED_BYTES_MAX: usize = 1000;

/// The string, or NIL.
pub fn put_nstring(buffer: &mut BytesMut, text: Option<&[u8]>, names: NameEncoding) {
    match text {
        Some(text) => put_string(buffer, text, names),
        None => buffer.extend_from_slice(b"NIL"),
    }
}

/// An atom where it can be one, else a string.
pub fn put_astring(buffer: &mut BytesMut, text: &[u8], names: NameEncoding) {
    let is_astring = |&byte: &u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
    };
    // NIL would be taken for nothing.
    if !text.is_empty() && text.iter().all(is_astring) && !text.eq_ignore_ascii_case(b"NIL") {
        buffer.extend_from_slice(text);
    } else {
        put_string(buffer, text, names);
    }
}

/// Text without CR, LF and NUL, in quotes.
fn put_quoted(buffer: &mut BytesMut, text: &[u8]) {
    buffer.extend_from_slice(b"\"");
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let (before, special) = rest.split_at(at);
        buffer.extend_from_slice(before);
        buffer.extend_from_slice(b"\\");
        buffer.extend_from_slice(&special[..1]);
        rest = &special[1..];
    }
    buffer.extend_from_slice(rest);
    buffer.extend_from_slice(b"\"");
}

/// RFC 9051 4.3. NUL can't be sent in it and is left out.
fn put_literal(buffer: &mut BytesMut, text: &[u8]) {
    let nuls = memchr::memchr_iter(0, text).count();
    put_literal_header(buffer, (text.len() - nuls) as u64);
    for piece in text.split(|&byte| byte == 0) {
        buffer.extend_from_slice(piece);
    }
}

/// `{n}` CRLF. Exactly `len` bytes must follow.
pub fn put_literal_header(buffer: &mut BytesMut, len: u64) {
    buffer.extend_from_slice(b"{");
    put_number(buffer, len);
    buffer.extend_from_slice(b"}\r\n");
}

/// `~{n}` CRLF (RFC 3516 literal8). Exactly `len` bytes must follow, NUL among them or not.
pub fn put_literal8_header(buffer: &mut BytesMut, len: u64) {
    buffer.extend_from_slice(b"~");
    put_literal_header(buffer, len);
}

/// A mailbox name as the client wants it encoded.
pub fn put_mailbox(buffer: &mut BytesMut, name: &str, names: NameEncoding) {
    // RFC 3501 5.1.3: plain ASCII without & is its own modified UTF-7.
    let is_own = name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'&');
    match names {
        NameEncoding::Utf7 if !is_own => {
            let mut wire = Vec::with_capacity(name.len() * 2);
            utf7::encode(name, &mut wire);
            put_astring(buffer, &wire, names);
        }
        NameEncoding::Utf7 | NameEncoding::Utf8 => put_astring(buffer, name.as_bytes(), names),
    }
}

/// Whether `\Recent` stands among the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recent {
    Yes,
    No,
}

/// Flags without parentheses. Keywords that the table does not name are left out.
pub fn put_flags(buffer: &mut BytesMut, flags: Flags, recent: Recent, keywords: &[Keyword]) {
    let start = buffer.len();
    for flag in SystemFlag::ALL {
        if flags.system.has(flag) {
            put_item(buffer, start, flag.name());
        }
    }
    let mut bits = flags.keywords;
    while bits != 0 {
        if let Some(keyword) = keywords.get(bits.trailing_zeros() as usize) {
            put_item(buffer, start, keyword.as_str());
        }
        bits &= bits - 1;
    }
    match recent {
        Recent::Yes => put_item(buffer, start, "\\Recent"),
        Recent::No => {}
    }
}

/// An item of a list that began at `start`.
fn put_item(buffer: &mut BytesMut, start: usize, item: &str) {
    if buffer.len() > start {
        buffer.extend_from_slice(b" ");
    }
    buffer.extend_from_slice(item.as_bytes());
}

/// A FETCH response about flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagsRow {
    pub seq: u32,
    /// In answer to UID commands, and always under QRESYNC.
    pub uid: Option<Uid>,
    /// Once CONDSTORE is in use.
    pub mod_seq: Option<ModSeq>,
    pub flags: Flags,
    pub recent: Recent,
}

/// `* n FETCH (UID u FLAGS (...) MODSEQ (m))` CRLF.
pub fn put_flags_row(buffer: &mut BytesMut, row: &FlagsRow, keywords: &[Keyword]) {
    buffer.extend_from_slice(b"* ");
    put_number(buffer, row.seq);
    buffer.extend_from_slice(b" FETCH (");
    if let Some(uid) = row.uid {
        buffer.extend_from_slice(b"UID ");
        put_number(buffer, uid.0);
        buffer.extend_from_slice(b" ");
    }
    buffer.extend_from_slice(b"FLAGS (");
    put_flags(buffer, row.flags, row.recent, keywords);
    if let Some(mod_seq) = row.mod_seq {
        buffer.extend_from_slice(b") MODSEQ (");
        put_number(buffer, mod_seq.0);
    }
    buffer.extend_from_slice(b"))\r\n");
}

/// RFC 9051 section 9 uid-set; nothing for the empty set.
pub fn put_uid_set(buffer: &mut BytesMut, set: &UidSet) {
    for (index, &(first, last)) in set.ranges().iter().enumerate() {
        if index > 0 {
            buffer.extend_from_slice(b",");
        }
        put_number(buffer, first);
        if last > first {
            buffer.extend_from_slice(b":");
            put_number(buffer, last);
        }
    }
}

/// RFC 9051 section 9 date-time, in quotes, in its own zone. Years beyond 0 to 9999 show as the
/// nearest of them.
pub fn put_internal_date(buffer: &mut BytesMut, date: InternalDate) {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (year, month, day, hour, minute, second) = date.civil();
    let year = u32::try_from(year.clamp(0, 9999)).unwrap_or(0);
    let zone = u32::from(date.zone_minutes.unsigned_abs());
    let mut text = *b"\"..-Mmm-.... ..:..:.. +....\"";
    let mut two = |at: usize, number: u32| {
        text[at] = digit(number / 10);
        text[at + 1] = digit(number);
    };
    two(1, day);
    two(8, year / 100);
    two(10, year);
    two(13, hour);
    two(16, minute);
    two(19, second);
    two(23, zone / 60);
    two(25, zone % 60);
    // RFC 9051 section 9 date-day-fixed: a space before one digit.
    if day < 10 {
        text[1] = b' ';
    }
    let month = month.clamp(1, 12) as usize * 3;
    text[4..7].copy_from_slice(&MONTHS[month - 3..month]);
    if date.zone_minutes < 0 {
        text[22] = b'-';
    }
    buffer.extend_from_slice(&text);
}

fn digit(number: u32) -> u8 {
    b"0123456789"[(number % 10) as usize]
}

/// The name of a section in FETCH responses: `BODY[1.2.HEADER.FIELDS (From)]`, or `BINARY[1]`.
/// Behind it goes the origin of a partial, `<n>`.
pub fn put_section(buffer: &mut BytesMut, section: &Section) {
    let name: &[u8] = match section.text {
        SectionText::Binary => b"BINARY[",
        SectionText::All
        | SectionText::Header
        | SectionText::HeaderFields { .. }
        | SectionText::Text
        | SectionText::Mime => b"BODY[",
    };
    buffer.extend_from_slice(name);
    for (index, &number) in section.part.iter().enumerate() {
        if index > 0 {
            buffer.extend_from_slice(b".");
        }
        put_number(buffer, number);
    }
    let (text, fields): (&[u8], &[bytes::Bytes]) = match &section.text {
        SectionText::All | SectionText::Binary => (b"", &[]),
        SectionText::Header => (b"HEADER", &[]),
        SectionText::HeaderFields { names, not: false } => (b"HEADER.FIELDS (", names),
        SectionText::HeaderFields { names, not: true } => (b"HEADER.FIELDS.NOT (", names),
        SectionText::Text => (b"TEXT", &[]),
        SectionText::Mime => (b"MIME", &[]),
    };
    if !section.part.is_empty() && !text.is_empty() {
        buffer.extend_from_slice(b".");
    }
    buffer.extend_from_slice(text);
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            buffer.extend_from_slice(b" ");
        }
        put_astring(buffer, field, NameEncoding::Utf7);
    }
    buffer.extend_from_slice(if text.ends_with(b"(") { b")]" } else { b"]" });
}

/// EMAILID (RFC 8474 5.1), without parentheses.
pub fn put_email_id(buffer: &mut BytesMut, id: EmailId) {
    buffer.extend_from_slice(&object_id::write(object_id::EMAIL, id.0));
}

/// THREADID (RFC 8474 5.2), without parentheses.
pub fn put_thread_id(buffer: &mut BytesMut, id: ThreadId) {
    buffer.extend_from_slice(&object_id::write(object_id::THREAD, id.0));
}

/// MAILBOXID (RFC 8474 4), without parentheses.
pub fn put_mailbox_id(buffer: &mut BytesMut, id: FolderId) {
    buffer.extend_from_slice(&object_id::write(object_id::MAILBOX, id.0.into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mailstore::face::SystemFlags;

    fn shown(put: impl FnOnce(&mut BytesMut)) -> String {
        let mut buffer = BytesMut::new();
        put(&mut buffer);
        buffer.escape_ascii().to_string()
    }

    #[test]
    fn strings_take_the_plainest_form_there_is() {
        let string =
            |text: &str, names| shown(|buffer| put_astring(buffer, text.as_bytes(), names));
        assert_eq!(string("INBOX", NameEncoding::Utf7), "INBOX");
        assert_eq!(string("nil", NameEncoding::Utf7), r#"\"nil\""#);
        assert_eq!(string("", NameEncoding::Utf7), r#"\"\""#);
        assert_eq!(string(r#"a "b\"#, NameEncoding::Utf7), r#"\"a \\\"b\\\\\""#);
        assert_eq!(string("a\r\nb", NameEncoding::Utf8), r"{4}\r\na\r\nb");
        assert_eq!(string("ü", NameEncoding::Utf7), r"{2}\r\n\xc3\xbc");
        assert_eq!(string("ü", NameEncoding::Utf8), r#"\"\xc3\xbc\""#);
        assert_eq!(string("a\0\0b", NameEncoding::Utf7), r"{2}\r\nab");
        assert_eq!(shown(|b| put_nstring(b, None, NameEncoding::Utf8)), "NIL");
        assert_eq!(shown(|b| put_string(b, b"\xff", NameEncoding::Utf8)), r"{1}\r\n\xff");
        assert!(string(&"x ".repeat(600), NameEncoding::Utf7).starts_with("{1200}"));
    }

    #[test]
    fn mailbox_names() {
        let name = |name: &str, names| shown(|buffer| put_mailbox(buffer, name, names));
        assert_eq!(name("Entwürfe/Q&A x", NameEncoding::Utf7), r#"\"Entw&APw-rfe/Q&-A x\""#);
        assert_eq!(name("Entwürfe", NameEncoding::Utf7), "Entw&APw-rfe");
        assert_eq!(name("Q&A", NameEncoding::Utf8), "Q&A");
    }

    #[test]
    fn rows_of_flags() {
        let keywords =
            ["$Forwarded", "Work"].map(|name| Keyword::new(name.as_bytes()).expect("atom"));
        let flags = Flags {
            system: SystemFlags::default().with(SystemFlag::Seen).with(SystemFlag::Answered),
            keywords: 0b110,
        };
        let mut row = FlagsRow { seq: 7, uid: None, mod_seq: None, flags, recent: Recent::Yes };
        assert_eq!(
            shown(|buffer| put_flags_row(buffer, &row, &keywords)),
            r"* 7 FETCH (FLAGS (\\Answered \\Seen Work \\Recent))\r\n"
        );
        row = FlagsRow {
            uid: Some(Uid(u32::MAX)),
            mod_seq: Some(ModSeq(12)),
            flags: Flags::default(),
            recent: Recent::No,
            ..row
        };
        assert_eq!(
            shown(|buffer| put_flags_row(buffer, &row, &keywords)),
            r"* 7 FETCH (UID 4294967295 FLAGS () MODSEQ (12))\r\n"
        );
    }

    #[test]
    fn dates_show_in_their_own_zone() {
        let date = |date, zone| {
            let date = InternalDate::from_civil(date, (2, 44, 5), zone).expect("exists");
            shown(|buffer| put_internal_date(buffer, date))
        };
        assert_eq!(date((1996, 7, 7), -420), r#"\" 7-Jul-1996 02:44:05 -0700\""#);
        assert_eq!(date((2026, 12, 31), 330), r#"\"31-Dec-2026 02:44:05 +0530\""#);
        let extreme = InternalDate { unix_seconds: i64::MAX, zone_minutes: 0 };
        assert_eq!(shown(|buffer| put_internal_date(buffer, extreme)).len(), 30);
    }

    #[test]
    fn sections_are_named_as_asked() {
        let fields = |not| SectionText::HeaderFields {
            names: vec![Bytes::from("From"), Bytes::from("X y")],
            not,
        };
        let section = |part: &[u32], text| {
            let section = Section { part: part.to_vec(), text };
            shown(|buffer| put_section(buffer, &section))
        };
        assert_eq!(section(&[], SectionText::All), "BODY[]");
        assert_eq!(section(&[1, 2], SectionText::All), "BODY[1.2]");
        assert_eq!(section(&[1], SectionText::Mime), "BODY[1.MIME]");
        assert_eq!(section(&[2], SectionText::Binary), "BINARY[2]");
        assert_eq!(section(&[], fields(false)), r#"BODY[HEADER.FIELDS (From \"X y\")]"#);
        assert_eq!(section(&[3], fields(true)), r#"BODY[3.HEADER.FIELDS.NOT (From \"X y\")]"#);
    }

    #[test]
    fn sets_and_ids() {
        let set = UidSet::from_ranges(vec![(1, 3), (7, 7), (4_294_967_294, u32::MAX)]);
        assert_eq!(shown(|buffer| put_uid_set(buffer, &set)), set.to_string());
        let numbers = shown(|buffer| put_numbers(buffer, &set));
        assert_eq!(numbers, " 1 2 3 7 4294967294 4294967295");
        assert_eq!(shown(|buffer| put_numbers(buffer, &UidSet::new())), "");
        let many = UidSet::from_range(1..=1234);
        let plain: String = (1..=1234).map(|number| format!(" {number}")).collect();
        assert_eq!(shown(|buffer| put_numbers(buffer, &many)), plain);
        assert_eq!(shown(|buffer| put_email_id(buffer, EmailId(255))), "M00000000000000ff");
        assert_eq!(shown(|buffer| put_thread_id(buffer, ThreadId(1))), "T0000000000000001");
        assert_eq!(shown(|buffer| put_mailbox_id(buffer, FolderId(1))), "F0000000000000001");
    }
}
