//! A user's simple rules: what is done with arriving mail. A pure matcher, and how rules are kept.
//!
//! Rules stand in one of the user's own records ([`crate::face::Collection::Rules`], name [`RECORD_NAME`]), so that a page that
//! edits them writes all of them at once, on the version that it has read: [`Rules::encode`], [`Rules::decode`]. The master of the
//! mailbox applies them to every delivery, with the batch that puts the message in.
//!
//! Every enabled rule is looked at in order; what several say adds up, of two folders the first counts. Nothing is ever deleted
//! or refused by a rule: *discard* means Trash.

mod sought;

pub use crate::face::{Filing, Place};
use crate::face::{FolderId, FolderName, Keyword, SearchColumns, SystemFlag, SystemFlags};
use crate::mime::{fold_into, header_contains};
use crate::record::{Reader, RecordError, Writer};
use bytes::Bytes;
pub use sought::{Found, Sought};

/// The name of the record.
pub const RECORD_NAME: &str = "rules";

/// Since version 2 folders are known by their numbers.
const VERSION: u8 = 2;

/// Rules of a user. Our choice; all of them fit a record.
pub const RULES_MAX: usize = 100;
/// Conditions of a rule, and its keywords. Our choice.
pub const CONDITIONS_MAX: usize = 20;
/// Bytes of a name, or of a text that is sought. Our choice.
pub const TEXT_BYTES_MAX: usize = 512;

/// All rules of a user, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(pub Vec<Rule>);

/// What is done with mail that is like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For people.
    pub name: String,
    pub enabled: bool,
    pub joined: Joined,
    /// Without conditions a rule is for all mail.
    pub conditions: Vec<Condition>,
    pub action: Action,
    pub then: Then,
}

/// How many of the conditions must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    All,
    Any,
}

/// What comes behind a rule that applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    GoOn,
    Stop,
}

/// One condition. Texts are compared without regard to case, as in SEARCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub subject: Subject,
    /// The condition holds when this does not.
    pub not: bool,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Name or address.
    From(Test),
    /// To or Cc.
    To(Test),
    Subject(Test),
    /// Some field of this name contains the text; an empty text: there is such a field.
    Header {
        name: String,
        text: String,
    },
    /// Bytes of the message, trace lines included.
    Larger(u64),
    Smaller(u64),
}

/// How a text is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    Contains(String),
    /// The whole subject; one of the addresses, or the whole field.
    Is(String),
}

/// What is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Action {
    pub place: Option<Place>,
    pub seen: bool,
    pub flagged: bool,
    pub keywords: Vec<Keyword>,
}

/// What rules are told of a message.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub columns: &'a SearchColumns,
    /// As in RFC822.SIZE.
    pub bytes: u64,
    /// The header as sent; `None`: it was not read, as no rule asks for it.
    pub header: Option<&'a [u8]>,
}

/// Why rules can't be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    #[error("there can be {RULES_MAX} rules at most")]
    TooMany,
    #[error("the rule {0:?} has too many conditions or keywords")]
    TooLong(String),
    #[error("the rule {0:?} has a text that is too long, or no name")]
    BadText(String),
}

impl Rules {
    /// What they say of a message.
    #[must_use]
    pub fn file(&self, facts: &Facts<'_>) -> Filing {
        let mut filing = Filing::default();
        for rule in self.0.iter().filter(|rule| rule.enabled && rule.holds(facts)) {
            filing.add(&rule.action.filing());
            if rule.then == Then::Stop {
                break;
            }
        }
        filing
    }

    /// Whether they can only be judged with the header of the message.
    #[must_use]
    pub fn need_header(&self) -> bool {
        let asks = |it: &Condition| matches!(it.subject, Subject::Header { .. });
        self.0.iter().any(|rule| rule.enabled && rule.conditions.iter().any(asks))
    }

    /// The value of the record.
    ///
    /// # Errors
    /// See [`RulesError`].
    pub fn encode(&self) -> Result<Bytes, RulesError> {
        if self.0.len() > RULES_MAX {
            return Err(RulesError::TooMany);
        }
        let mut writer = Writer::new(VERSION);
        writer.number(self.0.len() as u64);
        for rule in &self.0 {
            rule.check()?;
            rule.write(&mut writer);
        }
        Ok(writer.finish())
    }

    /// # Errors
    /// The value is no rules of this release.
    pub fn decode(value: Bytes) -> Result<Self, RecordError> {
        let (_version, mut reader) = Reader::new(value, VERSION)?;
        let count = reader.count("rules")?;
        let rules = (0..count).map(|_| Rule::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self(rules))
    }
}

impl Action {
    fn filing(&self) -> Filing {
        let mut flags = SystemFlags::default();
        for (wanted, flag) in [(self.seen, SystemFlag::Seen), (self.flagged, SystemFlag::Flagged)] {
            if wanted {
                flags = flags.with(flag);
            }
        }
        Filing { place: self.place.clone(), flags, keywords: self.keywords.clone() }
    }
}

impl Rule {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        let mut conditions = self.conditions.iter().map(|it| it.subject.holds(facts) != it.not);
        match self.joined {
            Joined::All => conditions.all(|holds| holds),
            Joined::Any => self.conditions.is_empty() || conditions.any(|holds| holds),
        }
    }

    fn check(&self) -> Result<(), RulesError> {
        let name = || self.name.clone();
        if self.conditions.len() > CONDITIONS_MAX || self.action.keywords.len() > CONDITIONS_MAX {
            return Err(RulesError::TooLong(name()));
        }
        let fits = |text: &str| text.len() <= TEXT_BYTES_MAX;
        let good = |it: &Condition| match &it.subject {
            Subject::From(test) | Subject::To(test) | Subject::Subject(test) => match test {
                Test::Contains(text) | Test::Is(text) => fits(text),
            },
            Subject::Header { name, text } => !name.is_empty() && fits(name) && fits(text),
            Subject::Larger(_) | Subject::Smaller(_) => true,
        };
        if !fits(&self.name) || !self.conditions.iter().all(good) {
            return Err(RulesError::BadText(name()));
        }
        Ok(())
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(&self.name);
        writer.byte(u8::from(self.enabled));
        writer.byte(u8::from(self.joined == Joined::Any));
        writer.byte(u8::from(self.then == Then::Stop));
        writer.number(self.conditions.len() as u64);
        for condition in &self.conditions {
            writer.byte(u8::from(condition.not));
            condition.subject.write(writer);
        }
        write_place(writer, self.action.place.as_ref());
        writer.byte(u8::from(self.action.seen));
        writer.byte(u8::from(self.action.flagged));
        write_keywords(writer, &self.action.keywords);
    }

    fn read(reader: &mut Reader) -> Result<Self, RecordError> {
        let name = reader.text("name")?;
        let enabled = flag(reader, "enabled")?;
        let joined = if flag(reader, "joined")? { Joined::Any } else { Joined::All };
        let then = if flag(reader, "then")? { Then::Stop } else { Then::GoOn };
        let count = reader.count("conditions")?;
        let conditions = (0..count).map(|_| {
            let not = flag(reader, "not")?;
            Ok(Condition { not, subject: Subject::read(reader)? })
        });
        let conditions = conditions.collect::<Result<_, RecordError>>()?;
        let place = read_place(reader)?;
        let (seen, flagged) = (flag(reader, "seen")?, flag(reader, "flagged")?);
        let keywords = read_keywords(reader)?;
        let action = Action { place, seen, flagged, keywords };
        Ok(Self { name, enabled, joined, conditions, action, then })
    }
}

impl Subject {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        let columns = facts.columns;
        match self {
            Self::From(test) => test.holds_of_addresses(&columns.from),
            Self::To(test) => {
                test.holds_of_addresses(&columns.to) || test.holds_of_addresses(&columns.cc)
            }
            Self::Subject(Test::Contains(text)) => contains(&columns.subject, text),
            Self::Subject(Test::Is(text)) => columns.subject == folded(text),
            Self::Header { name, text } => facts
                .header
                .is_some_and(|header| header_contains(header, name.as_bytes(), &folded(text))),
            Self::Larger(bytes) => facts.bytes > *bytes,
            Self::Smaller(bytes) => facts.bytes < *bytes,
        }
    }

    fn write(&self, writer: &mut Writer) {
        let (kind, test) = match self {
            Self::From(test) => (1, test),
            Self::To(test) => (2, test),
            Self::Subject(test) => (3, test),
            Self::Header { name, text } => {
                writer.byte(4);
                writer.text(name);
                return writer.text(text);
            }
            Self::Larger(bytes) => {
                writer.byte(5);
                return writer.number(*bytes);
            }
            Self::Smaller(bytes) => {
                writer.byte(6);
                return writer.number(*bytes);
            }
        };
        writer.byte(kind);
        let (kind, text) = match test {
            Test::Contains(text) => (0, text),
            Test::Is(text) => (1, text),
        };
        writer.byte(kind);
        writer.text(text);
    }

    fn read(reader: &mut Reader) -> Result<Self, RecordError> {
        Ok(match reader.byte("subject")? {
            1 => Self::From(Test::read(reader)?),
            2 => Self::To(Test::read(reader)?),
            3 => Self::Subject(Test::read(reader)?),
            4 => Self::Header { name: reader.text("field")?, text: reader.text("text")? },
            5 => Self::Larger(reader.number("bytes")?),
            6 => Self::Smaller(reader.number("bytes")?),
            _ => return Err(RecordError::Malformed("subject")),
        })
    }
}

impl Test {
    /// `column`: decoded, folded, several divided by commas.
    fn holds_of_addresses(&self, column: &[u8]) -> bool {
        match self {
            Self::Contains(text) => contains(column, text),
            Self::Is(text) => {
                let text = folded(text);
                let ends = |byte: Option<&u8>| byte.is_none_or(|it| b" ,<>\t".contains(it));
                !text.is_empty()
                    && memchr::memmem::find_iter(column, &text).any(|at| {
                        let before = at.checked_sub(1).and_then(|at| column.get(at));
                        ends(before) && ends(column.get(at + text.len()))
                    })
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, RecordError> {
        let is = flag(reader, "test")?;
        let text = reader.text("text")?;
        Ok(if is { Self::Is(text) } else { Self::Contains(text) })
    }
}

pub(crate) fn write_place(writer: &mut Writer, place: Option<&Place>) {
    writer.option(place, |writer, place| match place {
        Place::Folder(name) => {
            writer.byte(1);
            writer.text(name.as_str());
        }
        Place::Junk => writer.byte(2),
        Place::Trash => writer.byte(3),
        Place::Known { id, name } => {
            writer.byte(4);
            writer.number(u64::from(id.0));
            writer.text(name.as_str());
        }
    });
}

pub(crate) fn read_place(reader: &mut Reader) -> Result<Option<Place>, RecordError> {
    reader.option("place", |reader, field| match reader.byte(field)? {
        1 => read_name(reader, field).map(Place::Folder),
        2 => Ok(Place::Junk),
        3 => Ok(Place::Trash),
        4 => {
            let id = u32::try_from(reader.number(field)?);
            let id = FolderId(id.map_err(|_| RecordError::Malformed(field))?);
            Ok(Place::Known { id, name: read_name(reader, field)? })
        }
        _ => Err(RecordError::Malformed(field)),
    })
}

fn read_name(reader: &mut Reader, field: &'static str) -> Result<FolderName, RecordError> {
    FolderName::new(&reader.text(field)?).map_err(|_| RecordError::Malformed(field))
}

pub(crate) fn write_keywords(writer: &mut Writer, keywords: &[Keyword]) {
    writer.number(keywords.len() as u64);
    keywords.iter().for_each(|keyword| writer.text(keyword.as_str()));
}

pub(crate) fn read_keywords(reader: &mut Reader) -> Result<Vec<Keyword>, RecordError> {
    let count = reader.count("keywords")?;
    let keywords = (0..count).map(|_| {
        let keyword = reader.text("keyword")?;
        Keyword::new(keyword.as_bytes()).ok_or(RecordError::Malformed("keyword"))
    });
    keywords.collect()
}

fn flag(reader: &mut Reader, field: &'static str) -> Result<bool, RecordError> {
    match reader.byte(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RecordError::Malformed(field)),
    }
}

fn folded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    fold_into(text.trim(), &mut out);
    out
}

fn contains(column: &[u8], text: &str) -> bool {
    memchr::memmem::find(column, &folded(text)).is_some()
}

#[cfg(test)]
mod tests;
