//! The addresses of a From field (RFC 5322 3.4, 3.6.2; groups: RFC 6854): as much of the grammar as tells who is named.
//!
//! Linear, without recursion. What is not clearly a list of mailboxes is refused: a reading of our own, next to that of the
//! recipient's program, is how forgeries pass.

/// Who a From field names, each as written (`local@domain`, white space and comments taken out).
///
/// `None`: it cannot be read, names nobody, or more than `authors_max`.
#[must_use]
pub fn authors(value: &[u8], authors_max: usize) -> Option<Vec<Vec<u8>>> {
    let mut list = List::default();
    let mut rest = value;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => behind,
            b'(' => skip_comment(rest)?,
            b'"' => {
                let end = quoted_len(rest)?;
                list.add(&rest[..end])?;
                &rest[end..]
            }
            b'<' => {
                let end = angle_len(rest)?;
                list.set_angle(&rest[1..end - 1])?;
                &rest[end..]
            }
            b',' | b';' => {
                list.end_mailbox();
                behind
            }
            // A phrase and a colon begin a group: the phrase names nobody.
            b':' => {
                list.begin_group()?;
                behind
            }
            b'>' | b')' => return None,
            _ => {
                list.add(&rest[..1])?;
                behind
            }
        };
        if list.found.len() > authors_max {
            return None;
        }
    }
    list.end_mailbox();
    (!list.found.is_empty() && list.found.len() <= authors_max).then_some(list.found)
}

#[derive(Debug, Default)]
struct List {
    found: Vec<Vec<u8>>,
    /// Words of the mailbox under way: its address, or the name before an angle.
    words: Vec<u8>,
    angle: Option<Vec<u8>>,
}

impl List {
    /// Nothing but comments may follow an address in angles.
    fn add(&mut self, word: &[u8]) -> Option<()> {
        self.words.extend_from_slice(word);
        self.angle.is_none().then_some(())
    }

    fn set_angle(&mut self, inner: &[u8]) -> Option<()> {
        let plain: Vec<u8> =
            inner.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        self.angle.replace(plain).is_none().then_some(())
    }

    fn begin_group(&mut self) -> Option<()> {
        self.words.clear();
        self.angle.is_none().then_some(())
    }

    fn end_mailbox(&mut self) {
        let words = std::mem::take(&mut self.words);
        let address = self.angle.take().unwrap_or(words);
        if !address.is_empty() {
            self.found.push(address);
        }
    }
}

/// What follows a comment, which may hold others (RFC 5322 3.2.2).
fn skip_comment(text: &[u8]) -> Option<&[u8]> {
    let (mut depth, mut escaped) = (0_usize, false);
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[index + 1..]);
                }
            }
            _ => {}
        }
    }
    None
}

/// Octets of the quoted string at the beginning of `text`.
fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (index, &byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// Octets of the address in angles at the beginning of `text`.
fn angle_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'>' => return Some(at + 1),
            b'"' => at += quoted_len(&text[at..])?,
            b'<' | b'(' => return None,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Option<Vec<String>> {
        let read = authors(value.as_bytes(), 3)?;
        Some(read.into_iter().map(|a| String::from_utf8(a).expect("as given")).collect())
    }

    fn names(expected: &[&str]) -> Option<Vec<String>> {
        Some(expected.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn mailboxes_and_groups() {
        assert_eq!(read(" a@b "), names(&["a@b"]));
        assert_eq!(read("\"A, B\" (x (y)) <a@b> (z)"), names(&["a@b"]));
        assert_eq!(read("Ann\r\n <a@b>, c@d"), names(&["a@b", "c@d"]));
        assert_eq!(read("=?utf-8?q?a?= <\"x y\"@b>"), names(&["\"xy\"@b"]));
        assert_eq!(read("Team: a@b, <c@d>;"), names(&["a@b", "c@d"]));
        assert_eq!(read("a @ b"), names(&["a@b"]));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [
            "",
            "(a@b)",
            "Nobody:;",
            "<a@b",
            "<a@b> <c@d>",
            "<a@b> c@d",
            "\"a@b",
            "(a@b",
            "a@b>",
            "<a@b<c@d>>",
            "a,b,c,d",
            "<a@b>: c@d;",
            "a@b)",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop::sample::select(b"a@<>()\\\",;: \r\n".to_vec()), 0..40)) {
            let _ = authors(&bytes, 3);
        }
    }
}
