//! What clients know: every message ever sent, who was promised it, and who allowed it to be
//! deleted.

use crate::failure::Failure;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Number of a user of the simulation, from 0.
pub type UserNumber = u32;

/// What a client was told of one message for one user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// A positive answer arrived: the message must be there.
    pub promised: bool,
    /// A client may have deleted it.
    pub deletable: bool,
    /// Copies that a client may have made, besides the first.
    pub copies: u32,
}

/// A message as it was sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub bytes: Bytes,
    /// A delivery gets trace lines put before it, an append does not.
    pub traced: bool,
    pub fates: BTreeMap<UserNumber, Fate>,
}

/// Where an observed message stands: user, UIDVALIDITY, UID.
pub type Place = (UserNumber, u32, u32);

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Ledger {
    messages: Vec<Message>,
    /// Which message each place has ever held, as clients saw it.
    places: BTreeMap<Place, u64>,
    pub counts: Counts,
    /// Messages of which a client was told that they stand in the INBOX of a user.
    landed: BTreeMap<UserNumber, usize>,
    /// What extensions say of messages.
    pub said: BTreeMap<u64, crate::invariants::decided::Said>,
    /// What was shown of folders at the end.
    pub audits: Vec<crate::invariants::Audit>,
}

/// Figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub promised: u64,
    pub refused: u64,
    pub bodies_checked: u64,
}

/// What was promised at some time: message and user.
pub type Promises = BTreeSet<(u64, UserNumber)>;

const MARK: &[u8] = b"X-Sim-Id: ";

impl Ledger {
    /// The number of the next message.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Notes a message that is about to be sent.
    pub fn sent(&mut self, bytes: Bytes, traced: bool, users: &[UserNumber]) -> u64 {
        let fates = users.iter().map(|&user| (user, Fate::default())).collect();
        self.messages.push(Message { bytes, traced, fates });
        self.messages.len() as u64 - 1
    }

    fn fate(&mut self, id: u64, user: UserNumber) -> Option<&mut Fate> {
        self.messages.get_mut(usize::try_from(id).ok()?)?.fates.get_mut(&user)
    }

    /// A positive answer arrived.
    pub fn promise(&mut self, id: u64, user: UserNumber) {
        self.counts.promised += 1;
        if let Some(fate) = self.fate(id, user) {
            fate.promised = true;
        }
    }

    /// The answer said that the message stands in the INBOX: it did so when the answer left.
    pub fn land(&mut self, user: UserNumber) {
        *self.landed.entry(user).or_default() += 1;
    }

    /// Messages that who opens the INBOX of a user from now on must see, where nobody deletes any.
    #[must_use]
    pub fn landed(&self, user: UserNumber) -> usize {
        self.landed.get(&user).copied().unwrap_or(0)
    }

    /// A client is about to do what may delete the message.
    pub fn may_delete(&mut self, id: u64, user: UserNumber) {
        if let Some(fate) = self.fate(id, user) {
            fate.deletable = true;
        }
    }

    /// A client is about to ask for a copy.
    pub fn may_copy(&mut self, id: u64, user: UserNumber) {
        if let Some(fate) = self.fate(id, user) {
            fate.copies += 1;
        }
    }

    /// Everything promised so far.
    #[must_use]
    pub fn promises(&self) -> Promises {
        let all = (0_u64..).zip(&self.messages).flat_map(|(id, message)| {
            let fates = message.fates.iter().filter(|(_, fate)| fate.promised);
            fates.map(move |(&user, _)| (id, user))
        });
        all.collect()
    }

    /// The disk is lost: what was promised besides `kept` is owed no more.
    pub fn forget_but(&mut self, kept: &Promises) {
        self.landed.clear();
        for (id, message) in (0_u64..).zip(&mut self.messages) {
            for (&user, fate) in &mut message.fates {
                fate.promised &= kept.contains(&(id, user));
            }
        }
    }

    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// A client, or the decoder, saw a text of `user`'s: it must be one that was sent, byte for
    /// byte. Its number.
    ///
    /// # Errors
    /// When it is not.
    pub fn identify(&mut self, user: UserNumber, text: &[u8]) -> Result<u64, Failure> {
        self.counts.bodies_checked += 1;
        let wrong = |what: String| Failure::new("byte_for_byte", what);
        let shown = || text[..text.len().min(300)].escape_ascii().to_string();
        let id = id_in(text)
            .ok_or_else(|| wrong(format!("user {user} has a text nobody sent: {}", shown())))?;
        let message = usize::try_from(id).ok().and_then(|id| self.messages.get(id));
        let message =
            message.ok_or_else(|| wrong(format!("message {id} was never sent: {}", shown())))?;
        if !message.fates.contains_key(&user) {
            return Err(wrong(format!("message {id} is not for user {user}")));
        }
        let whole = match text.strip_suffix(&message.bytes[..]) {
            Some(trace) if message.traced => trace.starts_with(b"Return-Path: "),
            Some(trace) => trace.is_empty(),
            None => false,
        };
        if whole {
            Ok(id)
        } else {
            Err(wrong(format!(
                "message {id} of user {user} differs from what was sent: {} bytes for {}",
                text.len(),
                message.bytes.len()
            )))
        }
    }

    /// A message was seen at a place: no place ever holds two.
    ///
    /// # Errors
    /// When another one was seen there.
    pub fn place(&mut self, place: Place, id: u64) -> Result<(), Failure> {
        match self.places.insert(place, id) {
            Some(before) if before != id => Err(Failure::new(
                "uids_never_reused",
                format!(
                    "UID {} of user {} (UIDVALIDITY {}) was message {before} and is {id}",
                    place.2, place.0, place.1
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Everything seen so far under one UIDVALIDITY of a user.
    pub fn places_of(
        &self,
        user: UserNumber,
        uid_validity: u32,
    ) -> impl DoubleEndedIterator<Item = (u32, u64)> + '_ {
        let range = (user, uid_validity, 0)..=(user, uid_validity, u32::MAX);
        self.places.range(range).map(|(&(_, _, uid), &id)| (uid, id))
    }
}

/// The number that a message carries.
#[must_use]
pub fn id_in(text: &[u8]) -> Option<u64> {
    let from = memchr::memmem::find(text, MARK)? + MARK.len();
    let digits = text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[from..from + digits]).ok()?.parse().ok()
}
