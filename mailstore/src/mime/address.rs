//! Address lists of a header (RFC 5322 3.4 and 4.4), read leniently and written as RFC 9051
//! addresses.
//!
//! Every byte is looked at a bounded number of times, whatever is broken: an unclosed quote or
//! comment takes the rest.

use super::imap_string::write_nstring;
use super::words::word_at;

/// RFC 9051 7.5.2: the end of a group.
const GROUP_END: &[u8] = b"(NIL NIL NIL NIL)";

/// How much of an address list is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Addresses and markers of groups.
    pub addresses: usize,
    /// Bytes that `out` may reach.
    pub out_len_max: usize,
}

/// Appends the addresses of an unfolded field value, without the parentheses around the list. What
/// is beyond the room is left out, address by address.
pub(super) fn write_addresses(out: &mut Vec<u8>, value: &[u8], room: Room) {
    let parser = Parser { value, at: 0, address: Address::default() };
    parser.run(&mut Writer { out, room, in_group: false });
}

/// What is known of one address so far. Buffers are reused from address to address.
#[derive(Debug, Default)]
struct Address {
    /// Words before `<`, `@` or `:`, joined by one space.
    words: Vec<u8>,
    /// Where the last run of words that may be a local part begins in `words`.
    last_word: usize,
    word_count: usize,
    comment: Vec<u8>,
    route: Vec<u8>,
    local: Vec<u8>,
    domain: Vec<u8>,
}

impl Address {
    fn clear(&mut self) {
        self.words.clear();
        self.last_word = 0;
        self.word_count = 0;
        self.comment.clear();
        self.route.clear();
        self.local.clear();
        self.domain.clear();
    }
}

/// Writes complete addresses while there is room.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    room: Room,
    in_group: bool,
}

/// One address as it goes out. `None` becomes NIL.
struct Parts<'a> {
    name: Option<&'a [u8]>,
    route: Option<&'a [u8]>,
    mailbox: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

impl Writer<'_> {
    fn write(&mut self, parts: &Parts<'_>) {
        let before = self.out.len();
        self.out.push(b'(');
        write_nstring(self.out, parts.name);
        self.out.push(b' ');
        write_nstring(self.out, parts.route);
        self.out.push(b' ');
        write_nstring(self.out, parts.mailbox);
        self.out.push(b' ');
        write_nstring(self.out, parts.host);
        self.out.push(b')');
        // The end of a group always finds room.
        if self.room.addresses == 0 || self.out.len() + GROUP_END.len() > self.room.out_len_max {
            self.out.truncate(before);
            self.room.addresses = 0;
        } else {
            self.room.addresses -= 1;
        }
    }

    fn is_full(&self) -> bool {
        self.room.addresses == 0
    }

    /// RFC 9051 7.5.2: a start of group has a mailbox and no host.
    fn begin_group(&mut self, name: &[u8]) {
        let before = self.out.len();
        self.write(&Parts { name: None, route: None, mailbox: Some(name), host: None });
        self.in_group = self.out.len() > before;
    }

    fn end_group(&mut self) {
        if self.in_group {
            self.out.extend_from_slice(GROUP_END);
            self.in_group = false;
        }
    }
}

struct Parser<'a> {
    value: &'a [u8],
    at: usize,
    address: Address,
}

impl Parser<'_> {
    fn run(mut self, writer: &mut Writer<'_>) {
        while let Some(byte) = self.peek() {
            if writer.is_full() {
                break;
            }
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'(' => self.comment(),
                b'"' => self.quoted_word(),
                b',' => {
                    self.at += 1;
                    self.finish_bare(writer);
                }
                b';' => {
                    self.at += 1;
                    self.finish_bare(writer);
                    writer.end_group();
                }
                b':' if !writer.in_group && self.address.word_count > 0 => {
                    self.at += 1;
                    writer.begin_group(&self.address.words);
                    self.address.clear();
                }
                b'<' => {
                    self.at += 1;
                    self.angle(writer);
                }
                b'@' if self.address.word_count > 0 => {
                    self.at += 1;
                    self.addr_spec(writer);
                }
                b'@' | b'>' | b')' | b':' => self.at += 1,
                _ => self.atom_word(),
            }
        }
        if !writer.is_full() {
            self.finish_bare(writer);
        }
        writer.end_group();
    }

    fn peek(&self) -> Option<u8> {
        self.value.get(self.at).copied()
    }

    /// A comment; its text may serve as the name of the address (RFC 5322 appendix A.5 shows why
    /// people do that).
    fn comment(&mut self) {
        let into = &mut self.address.comment;
        if !into.is_empty() {
            into.push(b' ');
        }
        self.at = copy_comment(self.value, self.at, into);
    }

    fn begin_word(&mut self, first: Option<u8>) {
        let address = &mut self.address;
        if address.word_count > 0 {
            // RFC 5322 4.4 (obsolete): space around the dots of a local part.
            let joined = first == Some(b'.') || address.words.last() == Some(&b'.');
            address.words.push(b' ');
            if !joined {
                address.last_word = address.words.len();
            }
        }
        address.word_count += 1;
    }

    fn quoted_word(&mut self) {
        // `"a"."b"@c` and `=?..?="x"`: no space between words that touch.
        let touches = self.at > 0 && !matches!(self.value[self.at - 1], b' ' | b'\t' | b')' | b',');
        if touches && self.address.word_count > 0 {
            self.address.word_count += 1;
        } else {
            self.begin_word(None);
        }
        self.at = copy_quoted(self.value, self.at, &mut self.address.words);
    }

    fn atom_word(&mut self) {
        let rest = &self.value[self.at..];
        // RFC 2047 5 (3) forbids specials in an encoded word, but commas in them are common.
        let word = whole_word_len(rest).unwrap_or(0);
        let behind = rest[word..].iter().position(|&byte| ends_atom(byte));
        let len = behind.map_or(rest.len(), |behind| word + behind);
        let touches = self.at > 0 && self.value[self.at - 1] == b'"';
        if touches && self.address.word_count > 0 {
            self.address.word_count += 1;
        } else {
            self.begin_word(rest.first().copied());
        }
        self.address.words.extend_from_slice(&rest[..len]);
        self.at += len;
    }

    /// Words, `@` gone by: the last word is the local part, what stands before it the name (broken,
    /// but seen).
    fn addr_spec(&mut self, writer: &mut Writer<'_>) {
        let words = std::mem::take(&mut self.address.words);
        let (name, local) = words.split_at(self.address.last_word);
        undot(local, &mut self.address.local);
        self.at = copy_domain(self.value, self.at, &mut self.address.domain);
        self.skip_to_separator();
        self.address.words.extend_from_slice(name.trim_ascii_end());
        self.write_mailbox(writer);
    }

    /// `<` gone by. Takes what stands before `>`, else before the next address.
    fn angle(&mut self, writer: &mut Writer<'_>) {
        let rest = &self.value[self.at..];
        let (inside, taken) = angle_extent(rest);
        split_angle(inside, &mut self.address);
        self.at += taken;
        self.skip_to_separator();
        self.write_mailbox(writer);
    }

    /// After an address: comments count, words don't.
    fn skip_to_separator(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b',' => {
                    self.at += 1;
                    return;
                }
                // A group may end here, or an address begin without a comma.
                b';' | b'<' => return,
                b'(' => self.comment(),
                b'"' => {
                    let mut ignored = Vec::new();
                    self.at = copy_quoted(self.value, self.at, &mut ignored);
                }
                _ => self.at += 1,
            }
        }
    }

    fn write_mailbox(&mut self, writer: &mut Writer<'_>) {
        let address = &self.address;
        let name = [&address.words[..], &address.comment].into_iter().find(|text| !text.is_empty());
        writer.write(&Parts {
            name,
            route: (!address.route.is_empty()).then_some(&address.route[..]),
            mailbox: Some(&address.local),
            // RFC 9051 7.5.2: a NIL host would say "group", so a missing one is the empty string.
            host: Some(&address.domain),
        });
        self.address.clear();
    }

    /// Words without `@`: one is a mailbox without host, several are a name without address.
    fn finish_bare(&mut self, writer: &mut Writer<'_>) {
        match self.address.word_count {
            0 => self.address.clear(),
            1 => {
                std::mem::swap(&mut self.address.words, &mut self.address.local);
                self.write_mailbox(writer);
            }
            _ => self.write_mailbox(writer),
        }
    }
}

fn ends_atom(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'"'
    )
}

/// Bytes of the encoded word at the beginning, if there is a whole one.
fn whole_word_len(text: &[u8]) -> Option<usize> {
    let word = word_at(text, 0)?;
    (!word.text.windows(2).any(|pair| pair == b"=?")).then_some(word.end)
}

/// Copies the text of the comment that begins at `at`; returns where it ends.
fn copy_comment(value: &[u8], at: usize, into: &mut Vec<u8>) -> usize {
    let mut depth = 0usize;
    let mut at = at;
    while let Some(&byte) = value.get(at) {
        at += 1;
        match byte {
            b'(' => {
                depth += 1;
                if depth > 1 {
                    into.push(byte);
                }
            }
            b')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
                into.push(byte);
            }
            b'\\' => {
                into.extend(value.get(at));
                at += 1;
            }
            _ => into.push(byte),
        }
    }
    value.len()
}

/// Copies the text of the quoted string that begins at `at`, unquoted; returns where it ends.
pub(super) fn copy_quoted(value: &[u8], at: usize, into: &mut Vec<u8>) -> usize {
    let mut at = at + 1;
    while let Some(&byte) = value.get(at) {
        at += 1;
        match byte {
            b'"' => return at,
            b'\\' => {
                into.extend(value.get(at));
                at += 1;
            }
            _ => into.push(byte),
        }
    }
    value.len()
}

/// Copies the domain that begins at `at`, without space and comments; returns where it ends.
fn copy_domain(value: &[u8], at: usize, into: &mut Vec<u8>) -> usize {
    let mut at = at;
    let mut spaced = false;
    while let Some(&byte) = value.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                spaced = true;
                at += 1;
            }
            // A name in a comment behind the address is for the caller.
            b'(' => break,
            b'[' if into.is_empty() => {
                let end =
                    memchr::memchr(b']', &value[at..]).map_or(value.len(), |len| at + len + 1);
                into.extend(value[at..end].iter().filter(|byte| !byte.is_ascii_whitespace()));
                return end;
            }
            _ if ends_atom(byte) => break,
            // RFC 5322 4.4 (obsolete): space around dots belongs to the domain, other space ends
            // it.
            _ if spaced && !into.is_empty() && byte != b'.' && into.last() != Some(&b'.') => break,
            _ => {
                spaced = false;
                into.push(byte);
                at += 1;
            }
        }
    }
    at
}

/// What stands in angle brackets, and how many bytes that takes with the closing one. Without a
/// closing one: up to the next `<`, else to the next separator.
fn angle_extent(rest: &[u8]) -> (&[u8], usize) {
    let mut ignored = Vec::new();
    let mut at = 0;
    let mut separator = None;
    while let Some(&byte) = rest.get(at) {
        match byte {
            b'>' => return (&rest[..at], at + 1),
            b'<' => break,
            b'"' => {
                ignored.clear();
                at = copy_quoted(rest, at, &mut ignored);
            }
            b'(' => {
                ignored.clear();
                at = copy_comment(rest, at, &mut ignored);
            }
            b',' | b';' => {
                separator.get_or_insert(at);
                at += 1;
            }
            _ => at += 1,
        }
    }
    let end = separator.unwrap_or(at);
    (&rest[..end], end)
}

/// Splits route, local part and domain of what stands in angle brackets.
fn split_angle(inside: &[u8], address: &mut Address) {
    let mut at = 0;
    let inside = inside.trim_ascii();
    let mut words = Vec::new();
    let mut inside = inside;
    // RFC 5322 4.4 (obsolete): a route `@a,@b:`.
    if inside.first() == Some(&b'@')
        && let Some(colon) = memchr::memchr(b':', inside)
    {
        address.route.extend(inside[..colon].iter().filter(|byte| !byte.is_ascii_whitespace()));
        inside = &inside[colon + 1..];
    }
    let mut ignored = Vec::new();
    while let Some(&byte) = inside.get(at) {
        match byte {
            b'"' => at = copy_quoted(inside, at, &mut words),
            b'(' => {
                ignored.clear();
                at = copy_comment(inside, at, &mut ignored);
            }
            b'@' => {
                // The last `@` divides: local parts that hold one unquoted are broken, but seen.
                if !address.domain.is_empty() || !address.local.is_empty() {
                    address.local.push(b'@');
                    address.local.append(&mut address.domain);
                } else {
                    undot(words.trim_ascii(), &mut address.local);
                }
                at = copy_domain(inside, at + 1, &mut address.domain);
            }
            _ if address.domain.is_empty() && address.local.is_empty() => {
                words.push(byte);
                at += 1;
            }
            _ => at += 1,
        }
    }
    if address.local.is_empty() && address.domain.is_empty() {
        undot(words.trim_ascii(), &mut address.local);
    }
}

/// Copies a local part without the space that the obsolete syntax allows around its dots.
fn undot(local: &[u8], into: &mut Vec<u8>) {
    for (at, &byte) in local.iter().enumerate() {
        let beside_dot = (at > 0 && local[at - 1] == b'.') || local.get(at + 1) == Some(&b'.');
        if byte != b' ' || !beside_dot {
            into.push(byte);
        }
    }
}

/// `(addresses)`, or NIL when there are none. RFC 9051 7.5.2: absent and empty fields are both NIL.
pub(super) fn write_address_list(out: &mut Vec<u8>, values: &[&[u8]], room: Room) {
    let before = out.len();
    out.push(b'(');
    let mut room = Room { out_len_max: room.out_len_max.saturating_sub(1), ..room };
    for value in values {
        let start = out.len();
        write_addresses(out, &super::header::unfold(value), room);
        if out.len() > start {
            room.addresses = room.addresses.saturating_sub(1);
        }
    }
    if out.len() == before + 1 {
        out.truncate(before);
        out.extend_from_slice(b"NIL");
    } else {
        out.push(b')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &str) -> String {
        let mut out = Vec::new();
        let room = Room { addresses: 1_000, out_len_max: 10_000 };
        write_address_list(&mut out, &[value.as_bytes()], room);
        String::from_utf8(out).expect("of ASCII")
    }

    #[test]
    fn addresses_as_people_write_them() {
        let cases = [
            ("a@b", r#"((NIL NIL "a" "b"))"#),
            ("a@b, c@d", r#"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
            ("Ann  Lee <a@b>", r#"(("Ann Lee" NIL "a" "b"))"#),
            ("John Q. Public <a@b>", r#"(("John Q. Public" NIL "a" "b"))"#),
            (r#""Lee, \"A\"" <a@b>"#, r#"(("Lee, \"A\"" NIL "a" "b"))"#),
            ("a@b (Ann (of) Lee)", r#"(("Ann (of) Lee" NIL "a" "b"))"#),
            ("<a@b> (Ann)", r#"(("Ann" NIL "a" "b"))"#),
            ("Ann (x) Lee <a@b>", r#"(("Ann Lee" NIL "a" "b"))"#),
            ("<@x,@y:a@b>", r#"((NIL "@x,@y" "a" "b"))"#),
            (r#""a b"@c"#, r#"((NIL NIL "a b" "c"))"#),
            (r#"<"a b"@c>"#, r#"((NIL NIL "a b" "c"))"#),
            ("a . b @ c . d", r#"((NIL NIL "a.b" "c.d"))"#),
            ("a@[10.0.0.1]", r#"((NIL NIL "a" "[10.0.0.1]"))"#),
            ("[Bug 1] x <a@b>", r#"(("[Bug 1] x" NIL "a" "b"))"#),
            (
                "=?utf-8?q?A,_(B)?= <a@b>, c@d",
                r#"(("=?utf-8?q?A,_(B)?=" NIL "a" "b")(NIL NIL "c" "d"))"#,
            ),
            (
                "=?utf-8?q?A, c@d, =?utf-8?q?B?= <e@f>",
                r#"((NIL NIL "=?utf-8?q?A" "")(NIL NIL "c" "d")("=?utf-8?q?B?=" NIL "e" "f"))"#,
            ),
            ("=?utf-8?q?A=2C?= <a@b>", r#"(("=?utf-8?q?A=2C?=" NIL "a" "b"))"#),
        ];
        for (value, expected) in cases {
            assert_eq!(list(value), expected, "{value}");
        }
    }

    #[test]
    fn groups_begin_and_end_with_nil_hosts() {
        let cases = [
            (
                "undisclosed-recipients:;",
                r#"((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))"#,
            ),
            (
                "A Group: a@b, C <c@d>; e@f",
                r#"((NIL NIL "A Group" NIL)(NIL NIL "a" "b")("C" NIL "c" "d")(NIL NIL NIL NIL)(NIL NIL "e" "f"))"#,
            ),
            ("g: a@b", r#"((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL))"#),
        ];
        for (value, expected) in cases {
            assert_eq!(list(value), expected, "{value}");
        }
    }

    #[test]
    fn broken_addresses_give_what_there_is() {
        let cases = [
            ("", "NIL"),
            (" , ,", "NIL"),
            ("root", r#"((NIL NIL "root" ""))"#),
            ("undisclosed recipients", r#"(("undisclosed recipients" NIL "" ""))"#),
            ("<>", r#"((NIL NIL "" ""))"#),
            ("<root>", r#"((NIL NIL "root" ""))"#),
            ("Ann a@b", r#"(("Ann" NIL "a" "b"))"#),
            ("<a@b", r#"((NIL NIL "a" "b"))"#),
            ("<a@b, <c@d>", r#"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
            ("<a@b> <c@d>", r#"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
            ("<a@b> junk, c@d", r#"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
            ("<a@b@c>", r#"((NIL NIL "a@b" "c"))"#),
            ("a@b; c@d", r#"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
            (r#""Ann <a@b>"#, r#"((NIL NIL "Ann <a@b>" ""))"#),
            ("a@", r#"((NIL NIL "a" ""))"#),
            ("@b", r#"((NIL NIL "b" ""))"#),
        ];
        for (value, expected) in cases {
            assert_eq!(list(value), expected, "{value}");
        }
    }

    #[test]
    fn what_finds_no_room_is_left_out_whole() {
        let value = "a@b,".repeat(100);
        for (addresses, out_len_max) in [(3, 10_000), (1_000, 90), (0, 100), (1_000, 0)] {
            let mut out = Vec::new();
            let room = Room { addresses, out_len_max };
            write_address_list(&mut out, &[format!("g: {value}").as_bytes()], room);
            assert!(out.len() <= out_len_max.max(3), "{}", out.len());
            assert!(out == b"NIL" || out.ends_with(b"(NIL NIL NIL NIL))"));
        }
    }

    #[test]
    fn time_is_linear_in_broken_lists() {
        for piece in [
            "<", "\"", "(", "=?a?q?,", "<a,", "<\"", "a@", "@", ":", ";", "<(", "a <", "\\\"",
            "<@a:",
        ] {
            let value = piece.repeat(200_000 / piece.len());
            let mut out = Vec::new();
            let room = Room { addresses: usize::MAX, out_len_max: usize::MAX };
            write_addresses(&mut out, value.as_bytes(), room);
        }
    }
}
