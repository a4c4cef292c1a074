//! Where a link leads, and whether its text says otherwise.

use unicode_normalization::UnicodeNormalization;
use url::{Host, Url};

use super::escape::is_invisible;
use super::limits::LINK_TEXT_BYTES_MAX;

/// A link that may stay: `http`, `https` with a host, or `mailto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    url: Url,
}

impl Link {
    /// Nothing for any other scheme, for what is relative, and for what is no address at all. Credentials are taken out: they
    /// are there to be read as a host (RFC 3986 7.6).
    pub(crate) fn parse(written: &str) -> Option<Self> {
        let mut url = Url::parse(written).ok()?;
        match url.scheme() {
            "http" | "https" => {
                url.host()?;
                url.set_username("").ok()?;
                url.set_password(None).ok()?;
            }
            "mailto" => {}
            _ => return None,
        }
        Some(Self { url })
    }

    /// Escaped as addresses are: it holds no space, quote or angle bracket.
    pub(crate) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn is_web(&self) -> bool {
        self.url.scheme() != "mailto"
    }

    /// What to show of it: the host, in the letters that are looked up, with a port that is not usual; or the address.
    pub(crate) fn real_host(&self) -> String {
        if !self.is_web() {
            return self.url.path().to_owned();
        }
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Whether `text` names a host, and one that this link does not lead to. A host below the named one is no other.
    pub(crate) fn is_denied_by(&self, text: &str) -> bool {
        let text = &text[..text.floor_char_boundary(LINK_TEXT_BYTES_MAX)];
        let seen: String = text.nfkc().filter(|c| !is_invisible(*c)).map(plain_dot).collect();
        seen.split_whitespace().any(|word| self.is_denied_by_word(word))
    }

    /// Of `https://host/path` the host counts, the path does not: the first piece that names a host is the one that is read.
    fn is_denied_by_word(&self, word: &str) -> bool {
        for piece in word.split(['/', '?', '#', '\\']) {
            let names =
                piece.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_')));
            let mut claimed = names.filter_map(claimed_host).peekable();
            if claimed.peek().is_some() {
                return claimed.any(|claimed| !self.leads_to(&claimed));
            }
        }
        false
    }

    fn leads_to(&self, claimed: &str) -> bool {
        let real = match self.is_web() {
            true => self.url.host_str().unwrap_or_default(),
            false => self.url.path().rsplit('@').next().unwrap_or_default(),
        };
        let claimed = claimed.strip_prefix("www.").unwrap_or(claimed);
        let local_part =
            || self.url.path().split('@').next().is_some_and(|l| l.eq_ignore_ascii_case(claimed));
        real.eq_ignore_ascii_case(claimed)
            || real
                .to_ascii_lowercase()
                .strip_suffix(claimed)
                .is_some_and(|below| below.ends_with('.'))
            || (!self.is_web() && local_part())
    }
}

/// Characters that are read as the dot of a host name (UTS 46).
fn plain_dot(c: char) -> char {
    if matches!(c, '\u{3002}' | '\u{ff61}' | '\u{ff0e}' | '\u{2024}') { '.' } else { c }
}

/// A word that reads as a host: at least two labels, the last of two letters or more; or an IPv4 address.
fn claimed_host(word: &str) -> Option<String> {
    let word = word.trim_matches(|c| matches!(c, '.' | '-' | '_'));
    let (name, last) = word.rsplit_once('.')?;
    let is_top = last.chars().count() >= 2 && last.chars().all(|c| c.is_alphabetic() || c == '-')
        || last.starts_with("xn--");
    let is_four =
        word.split('.').count() == 4 && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if name.is_empty() || !(is_top || is_four) {
        return None;
    }
    match Host::parse(word) {
        Ok(host) => Some(host.to_string()),
        // A name that can't be looked up, but can be read.
        Err(_) => Some(word.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_schemes_and_no_other() {
        assert_eq!(
            Link::parse("HTTPS://Example.org/a b\"<").map(|l| l.as_str().to_owned()).as_deref(),
            Some("https://example.org/a%20b%22%3C")
        );
        assert_eq!(
            Link::parse("mailto:a@b.example?subject=x").map(|l| l.real_host()).as_deref(),
            Some("a@b.example")
        );
        for no in [
            "javascript:alert(1)",
            "JaVa\nScript:x",
            "\u{1}javascript:x",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "ftp://a/",
            "blob:x",
            "about:blank",
            "/a",
            "#a",
            "//a/",
            "",
            "x",
            "http://",
            "https:",
            "ws://a/",
            "cid:a",
            "tel:1",
        ] {
            assert_eq!(Link::parse(no), None, "{no:?}");
        }
    }

    #[test]
    fn credentials_are_no_host() {
        let link = Link::parse("https://bank.example@evil.example/").expect("a link");
        assert_eq!(link.as_str(), "https://evil.example/");
        assert_eq!(link.real_host(), "evil.example");
    }

    fn denied(url: &str, text: &str) -> bool {
        Link::parse(url).expect("a link").is_denied_by(text)
    }

    #[test]
    fn another_host_is_seen() {
        for text in [
            "bank.example",
            "https://bank.example/login",
            "Go to www.bank.example now",
            "bank\u{200b}.example",
            "bank\u{2024}example",
            "ｂａｎｋ．example",
            "bank。example",
            "b\u{ad}ank.example",
            "help@bank.example",
            "BANK.EXAMPLE",
            "bank.example.evil.test",
            "10.0.0.1",
            "evil.example.bank.example",
            "bаnk.example",
            "(bank.example)",
            "bank.example:443",
        ] {
            assert!(denied("https://evil.example/", text), "{text}");
        }
        assert!(denied("mailto:a@evil.example", "a@bank.example"));
    }

    #[test]
    fn the_same_host_is_no_other() {
        for text in [
            "here",
            "evil.example",
            "www.evil.example",
            "https://EVIL.example/x?y",
            "evil.example/index.html",
            "v1.2",
            "12.5",
            "e.g. this",
            "a. b",
            "",
        ] {
            assert!(!denied("https://evil.example/", text), "{text}");
        }
        assert!(!denied("https://click.news.example/", "news.example"));
        assert!(denied("https://badnews.example/", "news.example"));
        assert!(!denied("https://xn--r8jz45g.example/", "例え.example"));
        assert!(!denied("mailto:first.last@news.example", "first.last@news.example"));
    }
}
