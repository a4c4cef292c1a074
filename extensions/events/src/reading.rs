//! One reading of a log: its pages come folder by folder, and leave in the order of the mailbox.
//!
//! A reading that is too long is begun again with less: up to a MODSEQ below which half of what was seen lies. So memory is
//! bounded, and the order holds whatever the length of the log.

use crate::{Kinds, Limits};
use mailstore::face::{Event, EventLane, EventNext, EventPlace, FolderId, ModSeq};

/// The pages so far.
#[derive(Debug, Default)]
pub struct Reading {
    events: Vec<Event>,
}

/// What comes behind a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Read on from there.
    On(EventPlace),
    /// Nothing was new.
    Nothing,
    /// All of it, cut: the last piece may be empty.
    Whole { pieces: Vec<Piece>, up_to: ModSeq },
}

/// Events in order, and what who has dealt with them knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub events: Vec<Event>,
    pub up_to: ModSeq,
}

impl Reading {
    /// Takes a page.
    pub fn on_page(
        &mut self,
        (events, next): (Vec<Event>, EventNext),
        kinds: Kinds,
        limits: &Limits,
    ) -> Turn {
        self.events.extend(events);
        match next {
            EventNext::More(place) if self.events.len() > limits.reading_events_max => {
                Turn::On(self.with_less(place))
            }
            EventNext::More(place) => Turn::On(place),
            EventNext::End { .. } if self.events.is_empty() => Turn::Nothing,
            EventNext::End { up_to } => {
                let pieces = self.cut(kinds, (limits.batch_events_max, up_to));
                Turn::Whole { pieces, up_to }
            }
        }
    }

    /// From the beginning, up to half of what was seen. When that is no less, it goes on: no more than what one change left
    /// can come.
    fn with_less(&mut self, place: EventPlace) -> EventPlace {
        let mut seen: Vec<ModSeq> = self.events.iter().map(|event| event.mod_seq).collect();
        seen.sort_unstable();
        match seen.get(seen.len() / 2) {
            Some(&up_to) if up_to < place.up_to => {
                self.events.clear();
                let (lane, behind) = (EventLane::Changes, (ModSeq(0), 0));
                EventPlace { up_to, folder: FolderId(0), lane, behind }
            }
            Some(_) | None => place,
        }
    }

    fn cut(&mut self, kinds: Kinds, (events_max, up_to): (usize, ModSeq)) -> Vec<Piece> {
        let mut events = std::mem::take(&mut self.events);
        // Stable: of one MODSEQ what arrives comes before what vanishes.
        events.sort_by_key(|event| event.mod_seq);
        events.retain(|event| kinds.hold(&event.change));
        let mut pieces: Vec<Piece> = Vec::new();
        for event in events {
            match pieces.last_mut() {
                Some(last) if last.events.len() < events_max || last.up_to == event.mod_seq => {
                    last.up_to = event.mod_seq;
                    last.events.push(event);
                }
                Some(_) | None => {
                    pieces.push(Piece { up_to: event.mod_seq, events: vec![event] });
                }
            }
        }
        if let Some(last) = pieces.last_mut() {
            last.up_to = up_to;
        }
        pieces
    }
}
