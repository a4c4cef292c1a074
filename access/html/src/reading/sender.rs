//! Who wrote a message, shown so that a name can't pass for an address.

use unicode_normalization::UnicodeNormalization;
use url::Host;

use super::escape::{is_bidi_control, is_invisible, push_text};

/// Characters of a name that are shown.
const NAME_CHARS_MAX: usize = 100;
/// RFC 5321 4.5.3.1.3: a path; in characters, since an address may be in any script.
const ADDRESS_CHARS_MAX: usize = 320;

/// A mailbox of From, Sender or Reply-To as it is shown: the address always, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Empty if there is none, or if it only repeats the address.
    pub name: String,
    pub address: String,
    /// The domain as it is looked up (A-labels), when the address has it in other letters.
    pub looked_up: Option<String>,
    pub doubt: Option<Doubt>,
}

/// Why a name may be meant to deceive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It holds an address, or an `@`, and not this sender's.
    NameIsAnAddress,
    /// It held characters that are not seen, or turn the order of letters.
    NameHidesCharacters,
}

impl Sender {
    /// Both decoded (RFC 2047); `address` without angle brackets, whatever the message says.
    pub fn new(name: &str, address: &str) -> Self {
        let address: String = address
            .chars()
            .filter(|c| !c.is_control() && !is_invisible(*c))
            .take(ADDRESS_CHARS_MAX)
            .collect();
        let shown = cleaned(name);
        // A mark of direction is common in names of scripts that need it; an embedding or an override is not.
        let hides = name.chars().any(|c| {
            is_invisible(c)
                && !matches!(c, '\u{200c}'..='\u{200f}' | '\u{061c}' | '\u{fe0e}' | '\u{fe0f}')
        });
        let claims = claims_an_address(&shown) && !shown.eq_ignore_ascii_case(&address);
        let doubt = match (claims, hides) {
            (true, _) => Some(Doubt::NameIsAnAddress),
            (false, true) => Some(Doubt::NameHidesCharacters),
            (false, false) => None,
        };
        let name = if shown.eq_ignore_ascii_case(&address) { String::new() } else { shown };
        Self { looked_up: looked_up(&address), name, address, doubt }
    }

    /// Name and address, each in an isolate of its own (UAX 9), so that neither turns the other.
    pub fn html(&self) -> String {
        let mut out = String::from(if self.doubt.is_some() {
            "<span class=\"sender doubtful\">"
        } else {
            "<span class=\"sender\">"
        });
        if !self.name.is_empty() {
            out.push_str("<bdi class=\"sender-name\">");
            push_text(&mut out, &self.name);
            out.push_str("</bdi> ");
        }
        out.push_str("<bdi class=\"sender-address\" dir=\"ltr\">&lt;");
        push_text(&mut out, &self.address);
        out.push_str("&gt;</bdi>");
        if let Some(domain) = &self.looked_up {
            out.push_str(" <bdi class=\"sender-domain\" dir=\"ltr\">(");
            push_text(&mut out, domain);
            out.push_str(")</bdi>");
        }
        out.push_str("</span>");
        out
    }
}

/// One line, no control, no mark that turns or hides letters; joiners stay, scripts need them.
fn cleaned(name: &str) -> String {
    let kept = |c: &char| {
        matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}')
            || !is_invisible(*c) && !is_bidi_control(*c)
    };
    let line: String = name
        .nfc()
        .filter(kept)
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(4 * NAME_CHARS_MAX)
        .collect();
    let mut words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() > NAME_CHARS_MAX {
        words = words.chars().take(NAME_CHARS_MAX - 1).chain(['…']).collect();
    }
    words
}

/// Also in the letters of other scripts that look like `@` and end up as it (NFKC).
fn claims_an_address(name: &str) -> bool {
    name.nfkc().any(|c| c == '@')
}

fn looked_up(address: &str) -> Option<String> {
    let domain = address.rsplit_once('@')?.1;
    if domain.is_ascii() {
        return None;
    }
    Host::parse(domain).ok().map(|host| host.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_always_shown() {
        assert_eq!(
            Sender::new("Ann <b>", "ann@a.example").html(),
            "<span class=\"sender\"><bdi class=\"sender-name\">Ann &lt;b&gt;</bdi> \
             <bdi class=\"sender-address\" dir=\"ltr\">&lt;ann@a.example&gt;</bdi></span>"
        );
        assert_eq!(
            Sender::new("", "ann@a.example").html(),
            "<span class=\"sender\"><bdi class=\"sender-address\" dir=\"ltr\">&lt;ann@a.example&gt;</bdi></span>"
        );
        assert_eq!(Sender::new("ANN@a.example", "ann@a.example").name, "");
    }

    #[test]
    fn a_name_that_is_an_address_is_doubtful() {
        for name in
            ["ceo@bank.example", "ceo＠bank.example", "ceo﹫bank.example", "Bank <a@bank.example>"]
        {
            assert_eq!(
                Sender::new(name, "x@evil.example").doubt,
                Some(Doubt::NameIsAnAddress),
                "{name}"
            );
        }
        assert_eq!(Sender::new("x@evil.example", "x@evil.example").doubt, None);
        assert_eq!(Sender::new("Zoë Ünal", "z@a.example").doubt, None);
    }

    #[test]
    fn names_lose_what_is_not_seen() {
        let sender = Sender::new("\u{202e}knab\u{202c}\r\nX: y\u{200b}", "x@evil.example");
        assert_eq!(sender.name, "knab X: y");
        assert_eq!(sender.doubt, Some(Doubt::NameHidesCharacters));
        let persian = Sender::new("می\u{200c}خواهم", "x@a.example");
        assert_eq!((persian.name.as_str(), persian.doubt), ("می\u{200c}خواهم", None));
        assert_eq!(
            Sender::new(&"x".repeat(1_000), "a@b.example").name.chars().count(),
            NAME_CHARS_MAX
        );
        assert_eq!(Sender::new("a", "x\r\n\u{202e}@b.example").address, "x@b.example");
    }

    #[test]
    fn a_domain_in_other_letters_is_shown_as_it_is_looked_up() {
        assert_eq!(
            Sender::new("a", "x@bаnk.example").looked_up.as_deref(),
            Some("xn--bnk-6cd.example")
        );
        assert_eq!(Sender::new("a", "x@bank.example").looked_up, None);
    }
}
