//! SEARCH criteria, compiled: keywords to bits, texts to folded needles, body texts to numbered tests. Judged in three
//! values, so that what the facts at hand decide is decided, also below NOT and OR.

use super::format::{Block, Meta, Slot};
use super::matching::{BodyTest, TESTS_MAX};
use crate::face::{
    Criteria, DayTest, EmailId, InternalDate, Keyword, ModSeq, SearchColumns, SystemFlag,
    SystemFlags, ThreadId, UidSet, UserError,
};
use crate::mime::fold_needle;
use bytes::Bytes;
use fsm::Wall;
use memchr::memmem::Finder;
use std::cell::Cell;
use std::sync::Arc;

/// Yes, no, or not decided by the facts at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tri {
    Yes,
    No,
    Maybe,
}

impl Tri {
    const fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// What is known of a message.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub meta: &'a Meta,
    pub keywords: u128,
    pub columns: Columns<'a>,
    /// Results of the body tests.
    pub bits: Option<u64>,
}

/// Where the search columns of a message are.
#[derive(Clone, Copy, Debug)]
pub enum Columns<'a> {
    /// Not looked at yet.
    Unknown,
    /// There are none.
    Absent,
    Record(&'a SearchColumns),
    Block {
        number: u64,
        block: &'a Block,
        slot: Slot,
    },
}

/// Compiled criteria.
#[derive(Debug)]
pub struct Compiled {
    root: Node,
    pub tests: Arc<[BodyTest]>,
    pub needs_columns: bool,
    pub names_mod_seq: bool,
    /// Present when system flags decide alone.
    pub by_flags: Option<FlagTable>,
}

/// The answer for each set of system flags, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagTable(u32);

impl FlagTable {
    #[must_use]
    pub const fn holds(self, flags: SystemFlags) -> bool {
        self.0 >> (flags.0 & 31) & 1 == 1
    }
}

#[derive(Debug)]
enum Node {
    Always(bool),
    And(Vec<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Uids(UidSet),
    Flag(SystemFlag),
    /// One of the folder's keywords.
    Keyword(u128),
    InternalDate(DayTest),
    SavedDate(DayTest),
    SentDate(DayTest),
    Larger(u64),
    Smaller(u64),
    /// Arrived after this second.
    ArrivedAfter(i64),
    /// Arrived at this second or before.
    ArrivedBy(i64),
    Column(Box<ColumnTest>),
    Body(usize),
    ModSeq(ModSeq),
    Email(EmailId),
    Thread(ThreadId),
    /// They rise.
    Threads(Arc<[ThreadId]>),
}

/// A needle in one search column.
#[derive(Debug)]
struct ColumnTest {
    field: usize,
    finder: Finder<'static>,
    /// The block that was looked at last, and which of its messages have the needle.
    block: Cell<(u64, u64)>,
}

/// Levels of criteria. `access/imap` nests less; our choice.
const DEPTH_MAX: usize = 128;

/// Compiles criteria for a folder with these keywords, judged at `wall`.
///
/// # Errors
/// Too many body tests, or too deep.
pub fn compile(
    criteria: &Criteria,
    keywords: &[Keyword],
    wall: Wall,
) -> Result<Compiled, UserError> {
    let mut compiler =
        Compiler { keywords, wall, tests: Vec::new(), needs_columns: false, names_mod_seq: false };
    let root = compiler.node(criteria, 0)?;
    Ok(Compiled {
        by_flags: root.by_flags().map(FlagTable),
        root,
        tests: compiler.tests.into(),
        needs_columns: compiler.needs_columns,
        names_mod_seq: compiler.names_mod_seq,
    })
}

struct Compiler<'a> {
    keywords: &'a [Keyword],
    wall: Wall,
    tests: Vec<BodyTest>,
    needs_columns: bool,
    names_mod_seq: bool,
}

impl Compiler<'_> {
    fn node(&mut self, criteria: &Criteria, depth: usize) -> Result<Node, UserError> {
        if depth > DEPTH_MAX {
            return Err(UserError::Limit("the search is nested too deep".into()));
        }
        Ok(match criteria {
            Criteria::All => Node::Always(true),
            Criteria::And(all) => {
                let mut nodes = Vec::with_capacity(all.len());
                for one in all {
                    nodes.push(self.node(one, depth + 1)?);
                }
                // Cheapest first: what memory decides stands before what reads columns, and that before bodies.
                nodes.sort_by_key(Node::cost);
                Node::And(nodes)
            }
            Criteria::Or(one, other) => {
                let one = self.node(one, depth + 1)?;
                Node::Or(Box::new(one), Box::new(self.node(other, depth + 1)?))
            }
            Criteria::Not(inner) => Node::Not(Box::new(self.node(inner, depth + 1)?)),
            Criteria::Uids(uids) => Node::Uids(uids.clone()),
            Criteria::Flag(flag) => Node::Flag(*flag),
            Criteria::Keyword(keyword) => {
                match self.keywords.iter().position(|known| known == keyword) {
                    Some(bit) => Node::Keyword(1_u128.checked_shl(narrow(bit)).unwrap_or(0)),
                    None => Node::Always(false),
                }
            }
            Criteria::InternalDate(test) => Node::InternalDate(*test),
            Criteria::SavedDate(test) => Node::SavedDate(*test),
            Criteria::SentDate(test) => {
                self.needs_columns = true;
                Node::SentDate(*test)
            }
            Criteria::Larger(bytes) => Node::Larger(*bytes),
            Criteria::Smaller(bytes) => Node::Smaller(*bytes),
            Criteria::YoungerSeconds(seconds) => Node::ArrivedAfter(self.ago(*seconds)),
            Criteria::OlderSeconds(seconds) => Node::ArrivedBy(self.ago(*seconds)),
            Criteria::Header { name, text } => {
                self.test(BodyTest::Header { name: name.clone(), text: text.clone() })?
            }
            Criteria::From(text) => self.column(0, text),
            Criteria::To(text) => self.column(1, text),
            Criteria::Cc(text) => self.column(2, text),
            Criteria::Bcc(text) => self.column(3, text),
            Criteria::Subject(text) => self.column(4, text),
            Criteria::BodyText(text) => self.test(BodyTest::Body(text.clone()))?,
            Criteria::Text(text) => self.test(BodyTest::Text(text.clone()))?,
            Criteria::ModSeq(mod_seq) => {
                self.names_mod_seq = true;
                Node::ModSeq(*mod_seq)
            }
            Criteria::EmailId(email) => Node::Email(*email),
            Criteria::ThreadId(thread) => Node::Thread(*thread),
            Criteria::Threads(threads) => Node::Threads(Arc::clone(threads)),
        })
    }

    fn ago(&self, seconds: u64) -> i64 {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.wall.unix_seconds().saturating_sub(seconds)
    }

    fn column(&mut self, field: usize, text: &Bytes) -> Node {
        self.needs_columns = true;
        let finder = Finder::new(&fold_needle(text)).into_owned();
        Node::Column(Box::new(ColumnTest { field, finder, block: Cell::new((u64::MAX, 0)) }))
    }

    fn test(&mut self, test: BodyTest) -> Result<Node, UserError> {
        if let Some(at) = self.tests.iter().position(|known| *known == test) {
            return Ok(Node::Body(at));
        }
        if self.tests.len() >= TESTS_MAX {
            return Err(UserError::Limit("too many texts in one search".into()));
        }
        self.tests.push(test);
        Ok(Node::Body(self.tests.len() - 1))
    }
}

fn narrow(bit: usize) -> u32 {
    u32::try_from(bit).unwrap_or(u32::MAX)
}

impl Compiled {
    /// Whether a message is found, as far as the facts say.
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> Tri {
        self.root.judge(facts)
    }
}

impl Node {
    /// 0: memory; 1: columns; 2: bodies.
    fn cost(&self) -> u8 {
        match self {
            Self::Always(_)
            | Self::Uids(_)
            | Self::Flag(_)
            | Self::Keyword(_)
            | Self::InternalDate(_)
            | Self::SavedDate(_)
            | Self::Larger(_)
            | Self::Smaller(_)
            | Self::ArrivedAfter(_)
            | Self::ArrivedBy(_)
            | Self::ModSeq(_)
            | Self::Email(_)
            | Self::Thread(_)
            | Self::Threads(_) => 0,
            Self::SentDate(_) | Self::Column(_) => 1,
            Self::Body(_) => 2,
            Self::And(nodes) => nodes.iter().map(Self::cost).max().unwrap_or(0),
            Self::Or(one, other) => one.cost().max(other.cost()),
            Self::Not(inner) => inner.cost(),
        }
    }

    /// See [`FlagTable`].
    fn by_flags(&self) -> Option<u32> {
        match self {
            Self::Always(holds) => Some(if *holds { u32::MAX } else { 0 }),
            Self::Flag(flag) => {
                let with = (0..32_u8).filter(|flags| SystemFlags(*flags).has(*flag));
                Some(with.fold(0, |table, flags| table | 1 << flags))
            }
            Self::And(nodes) => {
                nodes.iter().try_fold(u32::MAX, |table, node| Some(table & node.by_flags()?))
            }
            Self::Or(one, other) => Some(one.by_flags()? | other.by_flags()?),
            Self::Not(inner) => Some(!inner.by_flags()?),
            Self::Uids(_)
            | Self::Keyword(_)
            | Self::InternalDate(_)
            | Self::SavedDate(_)
            | Self::SentDate(_)
            | Self::Larger(_)
            | Self::Smaller(_)
            | Self::ArrivedAfter(_)
            | Self::ArrivedBy(_)
            | Self::Column(_)
            | Self::Body(_)
            | Self::ModSeq(_)
            | Self::Email(_)
            | Self::Thread(_)
            | Self::Threads(_) => None,
        }
    }

    fn judge(&self, facts: &Facts<'_>) -> Tri {
        let meta = facts.meta;
        match self {
            Self::Always(holds) => Tri::of(*holds),
            Self::And(nodes) => {
                let mut all = Tri::Yes;
                for node in nodes {
                    match node.judge(facts) {
                        Tri::No => return Tri::No,
                        Tri::Maybe => all = Tri::Maybe,
                        Tri::Yes => {}
                    }
                }
                all
            }
            Self::Or(one, other) => match (one.judge(facts), other) {
                (Tri::Yes, _) => Tri::Yes,
                (Tri::No, other) => other.judge(facts),
                (Tri::Maybe, other) => match other.judge(facts) {
                    Tri::Yes => Tri::Yes,
                    Tri::No | Tri::Maybe => Tri::Maybe,
                },
            },
            Self::Not(inner) => match inner.judge(facts) {
                Tri::Yes => Tri::No,
                Tri::No => Tri::Yes,
                Tri::Maybe => Tri::Maybe,
            },
            Self::Uids(uids) => Tri::of(uids.contains(meta.uid)),
            Self::Flag(flag) => Tri::of(meta.flags.has(*flag)),
            Self::Keyword(bit) => Tri::of(facts.keywords & bit != 0),
            // `protocols.md`: the date as displayed in its zone.
            Self::InternalDate(test) => Tri::of(on_day(*test, meta.internal_date())),
            Self::SavedDate(test) => Tri::of(on_day(*test, meta.saved_date())),
            Self::Larger(bytes) => Tri::of(u64::from(meta.bytes) > *bytes),
            Self::Smaller(bytes) => Tri::of(u64::from(meta.bytes) < *bytes),
            Self::ArrivedAfter(second) => Tri::of(meta.unix_seconds > *second),
            Self::ArrivedBy(second) => Tri::of(meta.unix_seconds <= *second),
            Self::SentDate(test) => sent_on(*test, &facts.columns),
            Self::Column(test) => test.judge(meta.email, &facts.columns),
            Self::Body(at) => match facts.bits {
                Some(bits) => Tri::of(bits >> at & 1 == 1),
                None => Tri::Maybe,
            },
            Self::ModSeq(mod_seq) => Tri::of(meta.mod_seq >= *mod_seq),
            Self::Email(email) => Tri::of(meta.email == *email),
            Self::Thread(thread) => Tri::of(meta.thread == *thread),
            Self::Threads(threads) => Tri::of(threads.binary_search(&meta.thread).is_ok()),
        }
    }
}

fn on_day(test: DayTest, date: InternalDate) -> bool {
    let day = date.day();
    match test {
        DayTest::Before(limit) => day < limit,
        DayTest::On(limit) => day == limit,
        DayTest::Since(limit) => day >= limit,
    }
}

fn sent_on(test: DayTest, columns: &Columns<'_>) -> Tri {
    let sent = match columns {
        Columns::Unknown => return Tri::Maybe,
        Columns::Absent => None,
        Columns::Record(search) => search.sent,
        Columns::Block { block, slot, .. } => block.sent(*slot),
    };
    Tri::of(sent.is_some_and(|sent| on_day(test, sent)))
}

impl ColumnTest {
    fn judge(&self, email: EmailId, columns: &Columns<'_>) -> Tri {
        let holds = match columns {
            Columns::Unknown => return Tri::Maybe,
            Columns::Absent => false,
            Columns::Record(search) => {
                let field = match self.field {
                    0 => &search.from,
                    1 => &search.to,
                    2 => &search.cc,
                    3 => &search.bcc,
                    _ => &search.subject,
                };
                self.finder.find(field).is_some()
            }
            Columns::Block { number, block, slot: _ } => {
                self.in_block(*number, block) >> Block::low_of(email) & 1 == 1
            }
        };
        Tri::of(holds)
    }

    fn in_block(&self, number: u64, block: &Block) -> u64 {
        let (seen, found) = self.block.get();
        if seen == number {
            return found;
        }
        let found = block.matching(self.field, &self.finder);
        self.block.set((number, found));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::format::Rows;
    use proptest::prelude::*;

    fn of_flags() -> impl Strategy<Value = Criteria> {
        let flag = prop::sample::select(SystemFlag::ALL.to_vec()).prop_map(Criteria::Flag);
        let leaf = prop_oneof![Just(Criteria::All), flag];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Criteria::And),
                (inner.clone(), inner.clone())
                    .prop_map(|(one, other)| Criteria::Or(Box::new(one), Box::new(other))),
                inner.prop_map(|inner| Criteria::Not(Box::new(inner))),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_table_says_what_judging_says(criteria in of_flags()) {
            let compiled = compile(&criteria, &[], Wall::default()).expect("small enough");
            let table = compiled.by_flags.expect("flags decide");
            for flags in (0..32).map(SystemFlags) {
                let mut rows = Rows::default();
                rows.push(Meta { flags, ..Meta::ZERO }, 0);
                let (meta, columns) = (&rows.metas[0], Columns::Unknown);
                let facts = Facts { meta, keywords: 0, columns, bits: None };
                prop_assert_eq!(Tri::of(table.holds(flags)), compiled.judge(&facts));
            }
        }
    }

    #[test]
    fn one_of_several_threads() {
        let threads = [2, 5, 9].map(ThreadId);
        let criteria = Criteria::Threads(Arc::from(threads));
        let compiled = compile(&criteria, &[], Wall::default()).expect("small enough");
        let found = (0..12).map(ThreadId).filter(|thread| {
            let meta = &Meta { thread: *thread, ..Meta::ZERO };
            let facts = Facts { meta, keywords: 0, columns: Columns::Unknown, bits: None };
            compiled.judge(&facts) == Tri::Yes
        });
        assert_eq!(found.collect::<Vec<_>>(), threads);
    }

    #[test]
    fn there_is_no_table_when_more_decides() {
        let size = || Box::new(Criteria::Larger(7));
        let seen = Box::new(Criteria::Flag(SystemFlag::Seen));
        for criteria in [Criteria::Not(size()), Criteria::Or(size(), seen)] {
            let compiled = compile(&criteria, &[], Wall::default()).expect("small enough");
            assert_eq!(compiled.by_flags, None);
        }
    }
}
