//! The name of an attachment, fit to be saved and to be read.

use std::fmt::Write;

use unicode_normalization::UnicodeNormalization;

use super::escape::is_invisible;

/// Bytes of a name: file systems take 255.
const NAME_BYTES_MAX: usize = 200;
/// Bytes of what counts as the extension when a long name is cut.
const EXTENSION_BYTES_MAX: usize = 16;
const NAMELESS: &str = "attachment";

/// Invariants: not empty, no control, invisible or bidi character, no path separator and nothing else that a file system takes
/// for more than a letter, no dot or space at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName(String);

impl FileName {
    /// Whatever a message says, already decoded (RFC 2047, RFC 2231).
    pub fn clean(said: &str) -> Self {
        let mut name: String = said
            .chars()
            .filter(|c| !is_invisible(*c))
            .nfc()
            .take(said.len().min(4 * NAME_BYTES_MAX))
            .map(|c| match c {
                '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' | '\u{2044}' | '\u{2215}'
                | '\u{29f8}' | '\u{ff0f}' | '\u{ff3c}' => '_',
                c if c.is_control() || c.is_whitespace() => ' ',
                c => c,
            })
            .collect();
        let ends = |c: char| c == '.' || c == ' ';
        name = name.trim_matches(ends).to_owned();
        // Devices on Windows, whatever the extension.
        let stem = name.split('.').next().unwrap_or_default().trim().to_ascii_lowercase();
        let numbered = |device: &str| {
            stem.strip_prefix(device)
                .is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
        };
        if matches!(stem.as_str(), "con" | "prn" | "aux" | "nul")
            || numbered("com")
            || numbered("lpt")
        {
            name.insert(0, '_');
        }
        if name.len() > NAME_BYTES_MAX {
            name = shortened(&name).trim_matches(ends).to_owned();
        }
        if name.is_empty() {
            name.push_str(NAMELESS);
        }
        Self(name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In lower case and without its dot; empty if there is none.
    pub(crate) fn extension(&self) -> String {
        self.0
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_ascii_lowercase())
            .unwrap_or_default()
    }

    /// A `Content-Disposition` (RFC 6266): the name in ASCII for old clients, and as it is (RFC 8187) if that differs.
    pub(crate) fn disposition(&self, kind: &str) -> String {
        // RFC 6266 appendix D: no percent sign, which some decode; no quote or backslash is left by `clean`.
        let ascii: String =
            self.0.chars().map(|c| if c.is_ascii() && c != '%' { c } else { '_' }).collect();
        let mut value = format!("{kind}; filename=\"{ascii}\"");
        if ascii != self.0 {
            value.push_str("; filename*=UTF-8''");
            for byte in self.0.bytes() {
                // RFC 8187 3.2.1: attr-char.
                if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                    value.push(byte.into());
                } else {
                    write!(value, "%{byte:02X}").expect("a string takes it");
                }
            }
        }
        value
    }
}

/// The start of the name and its extension.
fn shortened(name: &str) -> String {
    let extension =
        name.rsplit_once('.').map(|(_, e)| e).filter(|e| e.len() <= EXTENSION_BYTES_MAX);
    let room = NAME_BYTES_MAX - extension.map_or(0, |e| e.len() + 1);
    let start = &name[..name.floor_char_boundary(room)];
    extension.map_or_else(|| start.to_owned(), |e| format!("{start}.{e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(said: &str) -> String {
        FileName::clean(said).as_str().to_owned()
    }

    #[test]
    fn names_lose_what_is_no_letter_of_them() {
        assert_eq!(clean("report.pdf"), "report.pdf");
        assert_eq!(clean("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(clean("C:\\a\\b.txt"), "C__a_b.txt");
        assert_eq!(clean("a\r\nSet-Cookie: x"), "a  Set-Cookie_ x");
        assert_eq!(clean("invoice\u{202e}fdp.exe"), "invoicefdp.exe");
        assert_eq!(clean("a\u{200b}\0b.png"), "a b.png");
        assert_eq!(clean("...hidden..."), "hidden");
        assert_eq!(clean(" . "), "attachment");
        assert_eq!(clean(""), "attachment");
        assert_eq!(clean("nul.txt"), "_nul.txt");
        assert_eq!(clean("COM1"), "_COM1");
        assert_eq!(clean("command.txt"), "command.txt");
        assert_eq!(clean("報告書.pdf"), "報告書.pdf");
        assert_eq!(clean("u\u{308}"), "ü");
    }

    #[test]
    fn long_names_keep_their_extension() {
        let name = clean(&format!("{}.pdf", "日".repeat(1_000)));
        assert!(name.len() <= NAME_BYTES_MAX && name.starts_with('日'), "{name}");
        let name = clean(&format!("{}.pdf", "日".repeat(100)));
        assert!(name.len() <= NAME_BYTES_MAX && name.ends_with("日.pdf"), "{name}");
    }

    #[test]
    fn dispositions() {
        assert_eq!(
            FileName::clean("a b.txt").disposition("attachment"),
            "attachment; filename=\"a b.txt\""
        );
        assert_eq!(
            FileName::clean("é\"%41.txt").disposition("inline"),
            "inline; filename=\"___41.txt\"; filename*=UTF-8''%C3%A9_%2541.txt"
        );
    }
}
