//! What subjects say of conversations.

/// Without the marks of answers and forwarding, in lower case, its spaces single: what messages of one matter share.
/// RFC 5256 2.1, less the marks of lists.
#[must_use]
pub fn base_subject(subject: &str) -> String {
    let plain = plain_subject(subject).split_whitespace();
    plain.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Without the marks of answers and forwarding, as it is written.
#[must_use]
pub fn plain_subject(subject: &str) -> &str {
    let mut rest = subject.trim();
    while let Some(inner) = without_mark(rest) {
        rest = inner;
    }
    rest
}

/// Whether it says that it is an answer: `Re:`, and what some programs put in its place.
#[must_use]
pub fn is_reply(subject: &str) -> bool {
    mark_of(subject.trim()).is_some_and(|(mark, _)| !matches!(mark.as_str(), "fw" | "fwd" | "wg"))
}

fn without_mark(subject: &str) -> Option<&str> {
    mark_of(subject).map(|(_, rest)| rest.trim_start())
}

/// The mark in front and what follows: `Re: x`, `RE[2]: x`, `Fwd: x`, `AW: x`.
fn mark_of(subject: &str) -> Option<(String, &str)> {
    let (mark, rest) = subject.split_once(':')?;
    let name = mark.trim_end().split('[').next()?.to_lowercase();
    matches!(name.as_str(), "re" | "aw" | "sv" | "antw" | "fw" | "fwd" | "wg")
        .then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_without_their_marks() {
        for (subject, base, reply) in [
            ("Plan", "plan", false),
            ("Re: Plan", "plan", true),
            ("RE[2]: re:  The   Plan ", "the plan", true),
            ("Fwd: Re: Plan", "plan", false),
            ("AW: Plan", "plan", true),
            ("Regarding: Plan", "regarding: plan", false),
            ("", "", false),
        ] {
            assert_eq!(
                (base_subject(subject).as_str(), is_reply(subject)),
                (base, reply),
                "{subject}"
            );
        }
    }
}
