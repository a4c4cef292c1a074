//! Whether what a session sent can be read at all: lines end, quotes and parentheses close,
//! literals are as long as announced, nothing a client said breaks out of its place.

/// Checks the output of an IMAP session. The last response may be cut short by the end of the
/// connection.
pub fn assert_imap(said: &[u8]) {
    let mut rest = said;
    while !rest.is_empty() {
        let Some(len) = imap_response(rest) else { return };
        rest = &rest[len..];
    }
}

/// The length of the response at the front; `None` when it is not all there.
fn imap_response(said: &[u8]) -> Option<usize> {
    let line_end = said.windows(2).position(|two| two == b"\r\n")?;
    let line = &said[..line_end];
    if line.starts_with(b"+") {
        assert!(line == b"+" || line.starts_with(b"+ "), "{}", line.escape_ascii());
        return Some(line_end + 2);
    }
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let tag = words.next().unwrap_or_default();
    assert!(!tag.is_empty() && tag.iter().all(u8::is_ascii_graphic), "{}", line.escape_ascii());
    let word = words.next().unwrap_or_default();
    if matches!(word, b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH") {
        let is_text = |&byte: &u8| byte >= b' ' && byte != 0x7f;
        assert!(line.iter().all(is_text), "a status of one line: {}", line.escape_ascii());
        return Some(line_end + 2);
    }
    assert_eq!(tag, b"*", "only statuses are tagged: {}", line.escape_ascii());
    imap_data(said)
}

fn imap_data(said: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_u32);
    loop {
        match *said.get(at)? {
            b'"' => at = quoted_end(said, at + 1)?,
            b'(' => (at, depth) = (at + 1, depth + 1),
            b')' => {
                let inside = depth.checked_sub(1);
                depth = inside
                    .unwrap_or_else(|| panic!("closed twice: {}", said[..=at].escape_ascii()));
                at += 1;
            }
            b'{' => at = literal_end(said, at + 1)?,
            b'\r' => {
                let shown = said[..at].escape_ascii();
                assert!(said.get(at + 1).is_none_or(|&byte| byte == b'\n'), "a bare CR: {shown}");
                assert_eq!(depth, 0, "not closed: {shown}");
                return (said.len() > at + 1).then_some(at + 2);
            }
            byte => {
                assert!(
                    byte.is_ascii() && !byte.is_ascii_control(),
                    "{}",
                    said[..=at].escape_ascii()
                );
                at += 1;
            }
        }
    }
}

fn quoted_end(said: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *said.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                assert!(
                    matches!(said.get(at + 1), None | Some(b'"' | b'\\')),
                    "{}",
                    said[..=at].escape_ascii()
                );
                at += 2;
            }
            byte => {
                assert!(!matches!(byte, 0 | b'\r' | b'\n'), "{}", said[..=at].escape_ascii());
                at += 1;
            }
        }
    }
}

fn literal_end(said: &[u8], at: usize) -> Option<usize> {
    let digits = said[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let len: usize = std::str::from_utf8(&said[at..at + digits]).ok()?.parse().ok()?;
    let announced = at + digits;
    if said.len() < announced + 3 {
        return None;
    }
    assert!(said[announced..].starts_with(b"}\r\n"), "{}", said[..announced].escape_ascii());
    let end = announced + 3 + len;
    (said.len() >= end).then_some(end)
}

/// Checks the replies of an SMTP session: `250-text` and `250 text` lines.
pub fn assert_smtp(said: &[u8]) {
    for line in said.split_inclusive(|&byte| byte == b'\n') {
        let shown = line.escape_ascii();
        let text = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no CRLF: {shown}"));
        assert!(text.len() >= 3 && text[..3].iter().all(u8::is_ascii_digit), "{shown}");
        assert!(matches!(text.get(3), None | Some(b' ' | b'-')), "{shown}");
        assert!(!text.iter().any(|byte| byte.is_ascii_control()), "{shown}");
        // RFC 5321 4.5.3.1.5.
        assert!(line.len() <= 512, "{shown}");
    }
}

/// Checks what a POP3 session sent: lines with CRLF, the first of each reply `+OK`, `-ERR` or `+ `.
pub fn assert_pop3(said: &[u8]) {
    let mut within = false;
    for line in said.split_inclusive(|&byte| byte == b'\n') {
        let shown = line.escape_ascii();
        let text = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no CRLF: {shown}"));
        let is_status =
            text.starts_with(b"+OK") || text.starts_with(b"-ERR") || text.starts_with(b"+ ");
        match (within, text) {
            (true, b".") => within = false,
            (_, _) if is_status => within = false,
            (_, _) => within = true,
        }
    }
}
