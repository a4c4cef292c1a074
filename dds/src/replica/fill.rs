//! How a primary copies its partition to a learner that its log does not reach.
//!
//! States: `Waiting` until the log is clean -> `Ordered` (the learner empties itself) -> `Reading` a page and `Sending` it, in
//! turn, until the last. The log streams beside the pages, from behind the mark; a learner applies it after the last page.
//! Pages are not of one moment: what changed meanwhile stands in the log, and is replayed over them.

use super::core::{Context, Core, ReadFor};
use super::entry::Mark;
use super::message::{Body, Page, Round};
use crate::cluster::NodeId;
use crate::layout;
use crate::{Column, Read, ReadDone, StoreError};
use bytes::Bytes;

/// See the head of the file.
#[derive(Debug)]
pub struct Fill {
    mark: Mark,
    step: Step,
    /// Read for it so far.
    bytes: u64,
    /// In a new round, until the learner has said that it still is where it was.
    paused: bool,
}

#[derive(Debug)]
enum Step {
    Waiting,
    Ordered {
        sent: bool,
    },
    Reading {
        index: u32,
        from: Place,
        asked: bool,
    },
    /// The last page waits until the learner has the log up to `through`: what the pages hold of entries that were not decided
    /// is settled by those.
    Sending {
        page: Page,
        next: Option<Place>,
        through: u64,
        sent: bool,
    },
}

/// Where a scan of the partition goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    column: Column,
    from: Bytes,
}

impl Fill {
    pub fn waiting() -> Self {
        Self { mark: Mark::default(), step: Step::Waiting, bytes: 0, paused: false }
    }

    /// Bytes of the copy so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the learner takes entries of the log already.
    pub fn is_open(&self) -> bool {
        !self.paused
            && match self.step {
                Step::Waiting | Step::Ordered { .. } => false,
                Step::Reading { .. } | Step::Sending { .. } => true,
            }
    }

    /// As a new round finds it.
    pub fn paused(self) -> Self {
        match self.step {
            Step::Waiting | Step::Ordered { .. } => Self::waiting(),
            Step::Reading { .. } | Step::Sending { .. } => Self { paused: true, ..self },
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused || matches!(self.step, Step::Waiting)
    }

    /// The learner stands in the middle of this copy: whether it can go on from there.
    pub fn resumes(&mut self, mark: Mark, next: u32) -> bool {
        let here = match &self.step {
            Step::Waiting | Step::Ordered { .. } => false,
            Step::Reading { index, .. } => *index == next,
            Step::Sending { page, .. } => page.index == next || page.index + 1 == next,
        };
        if !here || mark != self.mark {
            return false;
        }
        self.paused = false;
        self.again();
        if let Step::Sending { page, .. } = &self.step
            && page.index + 1 == next
        {
            self.on_filled(mark, next);
        }
        true
    }

    /// Nothing was heard for a while: the order, or the page, is sent again. A learner that waits for its turn does not answer. One
    /// that went on with a copy of an earlier round would take an order for a new one: so only a page may ask it.
    pub fn ask_after(&mut self) -> Option<Body> {
        match &self.step {
            Step::Ordered { .. } => Some(Body::Fill { mark: self.mark }),
            Step::Sending { .. } => {
                self.again();
                None
            }
            Step::Waiting | Step::Reading { .. } => None,
        }
    }

    /// What was sent last is sent again.
    fn again(&mut self) {
        match &mut self.step {
            Step::Ordered { sent } | Step::Sending { sent, .. } => *sent = false,
            Step::Waiting | Step::Reading { .. } => {}
        }
    }

    /// The learner has everything before page `index`; true after the last one.
    pub fn on_filled(&mut self, mark: Mark, index: u32) -> bool {
        if mark != self.mark || self.paused {
            return false;
        }
        let from = match &self.step {
            Step::Ordered { .. } if index == 0 => {
                Place { column: Column::Meta, from: Bytes::new() }
            }
            Step::Sending { page, next, .. } if index == page.index + 1 => match next {
                Some(next) => next.clone(),
                None => return true,
            },
            Step::Sending { page, .. } if index == page.index => {
                // Asked for once more: it was lost.
                self.again();
                return false;
            }
            Step::Waiting | Step::Ordered { .. } | Step::Reading { .. } | Step::Sending { .. } => {
                return false;
            }
        };
        self.step = Step::Reading { index, from, asked: false };
        false
    }

    /// What goes to the learner now; a page may have to be read first.
    pub fn next(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        (node, acked): (NodeId, u64),
    ) -> Option<Body> {
        if self.paused {
            return None;
        }
        match &mut self.step {
            Step::Waiting => {
                let mark = core.log.mark_at(core.log.applied)?;
                self.mark = mark;
                self.step = Step::Ordered { sent: true };
                Some(Body::Fill { mark })
            }
            Step::Ordered { sent } => {
                let again = !std::mem::replace(sent, true);
                again.then_some(Body::Fill { mark: self.mark })
            }
            Step::Reading { index, from, asked } => {
                if !std::mem::replace(asked, true) {
                    let (first, to) = layout::partition_range(core.partition);
                    let read = Read::Scan {
                        column: from.column,
                        from: from.from.clone().max(first),
                        to,
                        reverse: false,
                        entries_max: usize::MAX,
                        bytes_max: core.limits.page_bytes_max,
                    };
                    let page = ReadFor::Page { node, mark: self.mark, index: *index };
                    core.read(cx, read, page);
                }
                None
            }
            Step::Sending { page, through, sent, .. } => {
                if page.last && acked < *through {
                    return None;
                }
                let again = !std::mem::replace(sent, true);
                again.then(|| Body::Page { mark: self.mark, page: page.clone() })
            }
        }
    }

    /// A page has been read. False: it is not the one that is waited for.
    pub fn on_read(
        &mut self,
        (mark, number): (Mark, u32),
        entries: Vec<(Bytes, Bytes)>,
        (more, through): (bool, u64),
    ) -> bool {
        let Step::Reading { index, from, .. } = &self.step else { return false };
        if mark != self.mark || number != *index {
            return false;
        }
        let column = from.column;
        let size = |(key, value): &(Bytes, Bytes)| (key.len() + value.len()) as u64;
        self.bytes += entries.iter().map(size).sum::<u64>();
        let behind = entries.last().map(|(key, _)| {
            let mut next = key.to_vec();
            next.push(0);
            Bytes::from(next)
        });
        let next = match (more, behind, column) {
            (true, Some(from), _) => Some(Place { column, from }),
            (_, _, Column::Meta) => Some(Place { column: Column::Bodies, from: Bytes::new() }),
            (_, _, Column::Bodies | Column::Log) => None,
        };
        let entries = entries.into_iter().map(|(key, value)| (column, key, value)).collect();
        let page = Page { index: number, entries, last: next.is_none() };
        self.step = Step::Sending { page, next, through, sent: false };
        true
    }
}

/// A member drops entries that had written bodies: what do those keys hold? False: that is not decided here.
pub fn ask_bodies(
    core: &mut Core,
    cx: Context<'_, '_>,
    (to, round): (NodeId, Round),
    keys: Vec<Bytes>,
) -> bool {
    let read = Read::Get { column: Column::Bodies, keys: keys.clone() };
    let needed = core.log.needed_by(&read);
    // What is decided is applied in a moment: the member asks again.
    if needed <= core.log.applied {
        core.read(cx, read, ReadFor::Bodies { to, round, keys });
    }
    needed <= core.log.decided
}

/// The answer to [`ask_bodies`].
pub fn bodies(keys: Vec<Bytes>, done: Result<ReadDone, StoreError>) -> Option<Body> {
    match done {
        Ok(ReadDone::Got(values)) if values.len() == keys.len() => {
            Some(Body::Bodies { values: keys.into_iter().zip(values).collect() })
        }
        Ok(ReadDone::Got(_) | ReadDone::Scanned { .. } | ReadDone::Summed(_) | ReadDone::Miss)
        | Err(_) => None,
    }
}
