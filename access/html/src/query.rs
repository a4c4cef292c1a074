//! The search box: words, phrases in quotes, and operators.
//!
//! `from:` `to:` `cc:` `subject:` `has:attachment` `is:unread` `is:read` `is:flagged` `before:2024-05-01` `after:2024-05-01`
//! `larger:1m`; a `-` in front turns one round. Everything must match. A bare word is looked for in the whole message.
//! `in:archive` and `in:anywhere` say where to look.

use bytes::Bytes;
use mailstore::face::{Criteria, DayTest, SystemFlag};

/// Terms of one search. Our choice: IMAP's own limit of nesting is far above.
const TERMS_MAX: usize = 32;

/// What was asked for, and the words to mark in what is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub criteria: Criteria,
    pub place: Place,
    /// What was typed, without where to look.
    pub rest: String,
    pub words: Vec<String>,
    /// Those of them that were looked for in the text of messages.
    pub in_text: Vec<String>,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the folder that is shown.
    Shown,
    /// In the one that is called so.
    Named(String),
    Anywhere,
    /// In two folders, or not in one: no search is like that.
    Unclear,
}

impl Place {
    fn read(places: &[Term]) -> Self {
        match places {
            [] => Self::Shown,
            [place] if !place.not => match place.text.to_lowercase().as_str() {
                "anywhere" | "all" => Self::Anywhere,
                _ => Self::Named(place.text.clone()),
            },
            [_, ..] => Self::Unclear,
        }
    }
}

impl Query {
    /// Reads what was typed; `None`: nothing was.
    #[must_use]
    pub fn read(typed: &str) -> Option<Self> {
        let (mut all, mut words, mut in_text) = (Vec::new(), Vec::new(), Vec::new());
        let (places, asked): (Vec<Term>, Vec<Term>) =
            terms(typed).into_iter().partition(|term| term.operator == "in");
        let rest: Vec<&str> = asked.iter().map(|term| term.typed.as_str()).collect();
        let rest = rest.join(" ");
        for term in asked.into_iter().take(TERMS_MAX) {
            let found = criterion(&term);
            match found {
                _ if term.not => {}
                Criteria::Text(_) | Criteria::BodyText(_) => {
                    words.push(term.text.clone());
                    in_text.push(term.text.clone());
                }
                Criteria::From(_) | Criteria::Subject(_) => words.push(term.text.clone()),
                _ => {}
            }
            all.push(if term.not { Criteria::Not(Box::new(found)) } else { found });
        }
        let criteria = match all.len() {
            0 if places.is_empty() => return None,
            0 => Criteria::All,
            1 => all.remove(0),
            _ => Criteria::And(all),
        };
        Some(Self { criteria, place: Place::read(&places), rest, words, in_text })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Term {
    not: bool,
    operator: String,
    text: String,
    /// All of it, as it was typed.
    typed: String,
}

fn terms(typed: &str) -> Vec<Term> {
    let mut terms = Vec::new();
    let mut chars = typed.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let not = c == '-';
        if not {
            chars.next();
        }
        let (mut operator, mut text, mut quoted) = (String::new(), String::new(), false);
        let mut typed = String::from(if not { "-" } else { "" });
        while let Some(&c) = chars.peek() {
            if c.is_whitespace() && !quoted {
                break;
            }
            chars.next();
            typed.push(c);
            match c {
                '"' => quoted = !quoted,
                ':' if !quoted && operator.is_empty() && is_operator(&text) => {
                    operator = std::mem::take(&mut text).to_lowercase();
                }
                c => text.push(c),
            }
        }
        if !text.is_empty() {
            terms.push(Term { not, operator, text, typed });
        }
    }
    terms
}

fn is_operator(text: &str) -> bool {
    const OPERATORS: [&str; 12] = [
        "from", "to", "cc", "subject", "has", "is", "before", "after", "since", "larger", "body",
        "in",
    ];
    OPERATORS.iter().any(|operator| text.eq_ignore_ascii_case(operator))
}

/// What a term asks for, not turned round.
fn criterion(term: &Term) -> Criteria {
    let text = || Bytes::copy_from_slice(term.text.as_bytes());
    let lower = term.text.to_lowercase();
    let seen = || Criteria::Flag(SystemFlag::Seen);
    match (term.operator.as_str(), lower.as_str()) {
        ("from", _) => Criteria::From(text()),
        ("to", _) => Criteria::Or(Box::new(Criteria::To(text())), Box::new(Criteria::Cc(text()))),
        ("cc", _) => Criteria::Cc(text()),
        ("subject", _) => Criteria::Subject(text()),
        ("body", _) => Criteria::BodyText(text()),
        // What a mail program calls so; no header says more without reading the parts.
        ("has", "attachment" | "attachments") => Criteria::Header {
            name: Bytes::from_static(b"Content-Type"),
            text: Bytes::from_static(b"multipart/mixed"),
        },
        ("is", "unread" | "unseen" | "new") => Criteria::Not(Box::new(seen())),
        ("is", "read" | "seen") => seen(),
        ("is", "flagged" | "starred") => Criteria::Flag(SystemFlag::Flagged),
        ("is", "answered") => Criteria::Flag(SystemFlag::Answered),
        ("before", day) => day_or_word(day, DayTest::Before, text()),
        ("after" | "since", day) => day_or_word(day, DayTest::Since, text()),
        ("larger", size) => match bytes_of(size) {
            Some(size) => Criteria::Larger(size),
            None => Criteria::Text(text()),
        },
        _ => Criteria::Text(text()),
    }
}

fn day_or_word(day: &str, test: impl Fn(i32) -> DayTest, text: Bytes) -> Criteria {
    let days = day.parse::<jiff::civil::Date>().ok().and_then(|date| {
        let epoch = jiff::civil::date(1970, 1, 1);
        Some(date.since(epoch).ok()?.get_days())
    });
    days.map_or(Criteria::Text(text), |days| Criteria::InternalDate(test(days)))
}

fn bytes_of(size: &str) -> Option<u64> {
    let (digits, factor) = match size.strip_suffix(['k', 'm', 'g']) {
        Some(digits) if size.ends_with('k') => (digits, 1 << 10),
        Some(digits) if size.ends_with('m') => (digits, 1 << 20),
        Some(digits) => (digits, 1 << 30),
        None => (size, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn criteria(typed: &str) -> Criteria {
        Query::read(typed).expect("something was typed").criteria
    }

    fn text(word: &'static str) -> Criteria {
        Criteria::Text(Bytes::from_static(word.as_bytes()))
    }

    #[test]
    fn words_phrases_and_operators() {
        assert_eq!(criteria("hello"), text("hello"));
        assert_eq!(criteria(" \"two words\" "), text("two words"));
        let from = Criteria::From(Bytes::from_static(b"Ann Lee"));
        let unread = Criteria::Not(Box::new(Criteria::Flag(SystemFlag::Seen)));
        assert_eq!(criteria("from:\"Ann Lee\" is:unread"), Criteria::And(vec![from, unread]));
        assert_eq!(criteria("-hello"), Criteria::Not(Box::new(text("hello"))));
        assert_eq!(criteria("after:1970-01-11"), Criteria::InternalDate(DayTest::Since(10)));
        assert_eq!(criteria("larger:2k"), Criteria::Larger(2048));
        assert_eq!(Query::read("  "), None);
        assert_eq!(Query::read("from:"), None);
    }

    #[test]
    fn what_is_no_operator_is_a_word() {
        assert_eq!(criteria("http://x"), text("http://x"));
        assert_eq!(criteria("before:soon"), text("soon"));
        let query = Query::read("subject:plan -secret note").expect("a query");
        assert_eq!(query.words, ["plan", "note"]);
        assert_eq!(query.in_text, ["note"]);
    }

    #[test]
    fn where_to_look() {
        let named = |name: &str| Place::Named(name.to_owned());
        for (typed, place, rest) in [
            ("plan", Place::Shown, "plan"),
            ("in:Archive plan", named("Archive"), "plan"),
            (
                "\"the plan\" IN:\"My Folder\"  -from:ann",
                named("My Folder"),
                "\"the plan\" -from:ann",
            ),
            ("plan in:anywhere", Place::Anywhere, "plan"),
            ("in:All plan", Place::Anywhere, "plan"),
            ("-in:trash plan", Place::Unclear, "plan"),
            ("in:sent in:drafts plan", Place::Unclear, "plan"),
            ("\"in:sent\" within:sent", Place::Shown, "\"in:sent\" within:sent"),
            ("plan in:", Place::Shown, "plan"),
        ] {
            let query = Query::read(typed).expect("something was typed");
            assert_eq!((query.place, query.rest.as_str()), (place, rest), "{typed}");
        }
        assert_eq!(criteria("in:sent plan"), text("plan"));
        assert_eq!(criteria("in:sent"), Criteria::All);
        assert_eq!(Query::read("in:"), None);
        let many = format!("{} in:sent", "word ".repeat(TERMS_MAX + 1));
        assert_eq!(Query::read(&many).expect("a query").place, named("sent"));
    }
}
