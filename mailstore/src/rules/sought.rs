//! A rule over mail that is there already: what SEARCH finds of it, and the rest.

use super::{Condition, Facts, Joined, Rule, Subject, Test};
use crate::face::Criteria;
use bytes::Bytes;

/// What a search finds of the messages that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    pub criteria: Criteria,
    pub found: Found,
}

/// Whether a rule is for all that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// For these, and no others.
    All,
    /// For none but these; each has to be looked at ([`Rule::is_for`]).
    Some,
}

impl Rule {
    /// Whether it is for a message, be it enabled or not.
    #[must_use]
    pub fn is_for(&self, facts: &Facts<'_>) -> bool {
        self.holds(facts)
    }

    /// What to search for.
    #[must_use]
    pub fn sought(&self) -> Sought {
        let parts: Vec<Sought> = self.conditions.iter().map(Condition::sought).collect();
        let all = parts.iter().all(|it| it.found == Found::All);
        let parts = parts.into_iter().map(|it| it.criteria);
        let criteria = match self.joined {
            Joined::All => Criteria::And(parts.collect()),
            Joined::Any => parts.reduce(or).unwrap_or(Criteria::All),
        };
        Sought { criteria, found: if all { Found::All } else { Found::Some } }
    }
}

impl Condition {
    fn sought(&self) -> Sought {
        let Sought { criteria, found } = self.subject.sought();
        match (found, self.not) {
            (_, false) => Sought { criteria, found },
            (Found::All, true) => Sought { criteria: Criteria::Not(Box::new(criteria)), found },
            (Found::Some, true) => Sought { criteria: Criteria::All, found },
        }
    }
}

impl Subject {
    fn sought(&self) -> Sought {
        // An empty text is in everything; what SEARCH makes of it is its own business.
        let texts = |test: &Test, of: fn(Bytes) -> Criteria| {
            let (text, found) = match test {
                Test::Contains(text) => (text.trim(), Found::All),
                Test::Is(text) => (text.trim(), Found::Some),
            };
            match text {
                "" => Sought { criteria: Criteria::All, found: Found::Some },
                text => Sought { criteria: of(Bytes::copy_from_slice(text.as_bytes())), found },
            }
        };
        let exactly = |criteria| Sought { criteria, found: Found::All };
        match self {
            Self::From(test) => texts(test, Criteria::From),
            Self::To(test) => {
                texts(test, |text| or(Criteria::To(text.clone()), Criteria::Cc(text)))
            }
            Self::Subject(test) => texts(test, Criteria::Subject),
            // The trace lines are in it by now: they came with the delivery, behind the rules.
            Self::Header { name, text } => {
                let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
                exactly(Criteria::Header { name: bytes(name), text: bytes(text.trim()) })
            }
            Self::Larger(bytes) => exactly(Criteria::Larger(*bytes)),
            Self::Smaller(bytes) => exactly(Criteria::Smaller(*bytes)),
        }
    }
}

fn or(one: Criteria, other: Criteria) -> Criteria {
    Criteria::Or(Box::new(one), Box::new(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Action, Then};

    fn sought(joined: Joined, conditions: &[(Subject, bool)]) -> Sought {
        let condition =
            |(subject, not): &(Subject, bool)| Condition { subject: subject.clone(), not: *not };
        let conditions = conditions.iter().map(condition).collect();
        let (name, action, then) = (String::new(), Action::default(), Then::GoOn);
        Rule { name, enabled: true, joined, conditions, action, then }.sought()
    }

    fn text(text: &str) -> Test {
        Test::Contains(text.into())
    }

    #[test]
    fn a_search_says_all_but_whole_addresses() {
        let from = || Subject::From(text(" boss@ "));
        let search = Criteria::From(Bytes::from_static(b"boss@"));
        let found = |joined, conditions: &[_]| sought(joined, conditions);
        let one = found(Joined::All, &[(from(), false), (Subject::Larger(5), true)]);
        let not_larger = Criteria::Not(Box::new(Criteria::Larger(5)));
        assert_eq!(one.criteria, Criteria::And(vec![search.clone(), not_larger]));
        assert_eq!(one.found, Found::All);
        let one = found(Joined::Any, &[(from(), false), (Subject::Smaller(5), false)]);
        assert_eq!(one.criteria, or(search, Criteria::Smaller(5)));
        for joined in [Joined::All, Joined::Any] {
            let all = found(joined, &[]);
            assert!(
                matches!(&all.criteria, Criteria::All) || all.criteria == Criteria::And(vec![])
            );
            assert_eq!(all.found, Found::All);
        }
    }

    #[test]
    fn what_a_search_cannot_say_is_looked_at() {
        let is = || Subject::Subject(Test::Is("plan".into()));
        let one = sought(Joined::All, &[(is(), false)]);
        let search = Criteria::Subject(Bytes::from_static(b"plan"));
        assert_eq!((one.criteria, one.found), (Criteria::And(vec![search]), Found::Some));
        let one = sought(Joined::All, &[(is(), true)]);
        assert_eq!((one.criteria, one.found), (Criteria::And(vec![Criteria::All]), Found::Some));
        let one = sought(Joined::All, &[(Subject::From(text("")), false)]);
        assert_eq!((one.criteria, one.found), (Criteria::And(vec![Criteria::All]), Found::Some));
    }
}
