//! Patterns of LIST and LSUB: `*` matches anything, `%` anything within one level (RFC 9051 6.3.9).
//!
//! Invariants: a match costs at most the length of the name times the number of wildcards, whatever
//! the client sends.

/// A pattern, its wildcards in a row made one.
#[derive(Debug)]
pub struct Pattern {
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Byte(u8),
    /// `%`
    Level,
    /// `*`
    Any,
}

impl Pattern {
    /// The pattern that a reference and a mailbox pattern make together.
    pub fn new(reference: &str, pattern: &str) -> Self {
        let text = format!("{reference}{pattern}");
        // RFC 9051 5.1: INBOX in any case, also as a parent.
        let inbox = text.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("INBOX"));
        let whole_level = text.as_bytes().get(5).is_none_or(|&next| b"/%*".contains(&next));
        let mut steps: Vec<Step> = Vec::with_capacity(text.len());
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            let step = match byte {
                b'*' => Step::Any,
                b'%' => Step::Level,
                _ if inbox && whole_level && at < 5 => Step::Byte(byte.to_ascii_uppercase()),
                _ => Step::Byte(byte),
            };
            match (steps.last(), step) {
                (Some(Step::Any), Step::Any | Step::Level) | (Some(Step::Level), Step::Level) => {}
                (Some(Step::Level), Step::Any) => {
                    steps.pop();
                    steps.push(Step::Any);
                }
                _ => steps.push(step),
            }
        }
        Self { steps }
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        // The set of places in the pattern that the name so far may have led to.
        let mut at = vec![false; self.steps.len() + 1];
        let mut next = at.clone();
        at[0] = true;
        self.skip_wildcards(&mut at);
        for &byte in name.as_bytes() {
            next.fill(false);
            for (place, step) in self.steps.iter().enumerate() {
                if !at[place] {
                    continue;
                }
                match step {
                    Step::Byte(wanted) if *wanted == byte => next[place + 1] = true,
                    Step::Any => next[place] = true,
                    Step::Level if byte != b'/' => next[place] = true,
                    Step::Byte(_) | Step::Level => {}
                }
            }
            self.skip_wildcards(&mut next);
            std::mem::swap(&mut at, &mut next);
        }
        at[self.steps.len()]
    }

    /// A wildcard may match nothing.
    fn skip_wildcards(&self, at: &mut [bool]) {
        for (place, step) in self.steps.iter().enumerate() {
            if at[place] && !matches!(step, Step::Byte(_)) {
                at[place + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_keep_within_their_levels() {
        let matches = |pattern: &str, name: &str| Pattern::new("", pattern).matches(name);
        for (pattern, name) in [
            ("*", "a/b/c"),
            ("%", "a"),
            ("%/%", "a/b"),
            ("a*", "a/b"),
            ("*c", "a/b/c"),
            ("%/c*", "a/cd/e"),
            ("inbox", "INBOX"),
            ("iNbox/%", "INBOX/x"),
            ("in%", "in-tray"),
            ("%b%", "abc"),
            ("**%%*", ""),
            ("a/*/z", "a/b/c/z"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("%", "a/b"),
            ("%/%", "a/b/c"),
            ("a%", "a/b"),
            ("a", "A"),
            ("inboxes", "INBOXES"),
            ("", "a"),
            ("a/%/z", "a/b/c/z"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(Pattern::new("a/", "%").matches("a/b"));
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_length() {
        let pattern = Pattern::new("", &"a*".repeat(500));
        assert!(!pattern.matches(&"a".repeat(255)));
    }
}
