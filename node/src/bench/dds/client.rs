//! A client and one route that it alone writes.

use ::dds::{
    Batch, Epoch, Op, Outcome, Refusal, Request, Response, RouteKey, Seq, SortKey, Writer,
};
use anyhow::bail;
use bytes::Bytes;

/// Bytes of a batch before the run.
const FILL_BATCH_BYTES: usize = 128 * 1024;
/// Puts of a batch before the run.
const FILL_BATCH_OPS: u64 = 256;
/// Values over it belong into the column for bodies, as in a mailbox.
const BODY_FROM_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Get,
    Put,
}

/// What a client does.
#[derive(Debug)]
enum Stage {
    Claiming,
    /// Writes the values for the gets; so many are there.
    Filling {
        filled: u64,
    },
    /// Reads each once, so that it is in memory; so many were read.
    Warming {
        warmed: u64,
    },
    /// Does what the load asks.
    Ready,
}

/// What was asked last.
#[derive(Clone, Copy, Debug)]
enum Last {
    Claim,
    Get { number: u64 },
    Put { first: u64, count: u64 },
}

#[derive(Debug)]
pub struct Client {
    route: RouteKey,
    stage: Stage,
    last: Last,
    epoch: Epoch,
    /// Of the next batch.
    seq: u64,
    /// Values for gets.
    keys: u64,
    /// The next fresh key.
    next_key: u64,
    random: u64,
}

/// Values of one run, shared by its clients.
#[derive(Clone, Debug)]
pub struct Values {
    pub value: Bytes,
    first: u8,
}

impl Values {
    #[must_use]
    pub fn new(size: usize) -> Self {
        let first = if size > BODY_FROM_BYTES { SortKey::BODY_FIRST } else { 0x10 };
        Self { value: letters(size), first }
    }

    fn key(&self, number: u64) -> SortKey {
        let mut key = [0; 9];
        key[0] = self.first;
        key[1..].copy_from_slice(&number.to_be_bytes());
        SortKey(Bytes::copy_from_slice(&key))
    }
}

/// 64 different bytes in no order: as hard to compress as base64.
fn letters(size: usize) -> Bytes {
    let mut state = 1_u64;
    let letter = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b' ' + (state >> 58) as u8
    };
    (0..size).map(letter).collect()
}

impl Client {
    #[must_use]
    pub fn new(number: u64, route: RouteKey, keys: u64) -> Self {
        Self {
            route,
            stage: Stage::Claiming,
            last: Last::Claim,
            epoch: Epoch(0),
            seq: 1,
            keys,
            next_key: 0,
            random: (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    /// The first request.
    #[must_use]
    pub fn claim(&mut self) -> Request {
        self.last = Last::Claim;
        Request::Claim { route: self.route.clone() }
    }

    /// Takes the answer to a request made before the run; the next one, unless this client is ready.
    ///
    /// # Errors
    /// When a request was refused: the store can't do its work.
    pub fn on_prepared(
        &mut self,
        response: &Response,
        values: &Values,
    ) -> anyhow::Result<Option<Request>> {
        match (&self.stage, response) {
            (Stage::Claiming, Response::Claimed(claimed)) => {
                self.epoch = claimed.epoch;
                self.stage = Stage::Filling { filled: 0 };
            }
            (Stage::Filling { .. }, Response::Wrote(Outcome::Committed { .. }))
            | (Stage::Warming { .. }, Response::Got(_)) => {}
            (stage, other) => bail!("the hash table answered {other:?} while {stage:?}"),
        }
        match self.stage {
            Stage::Filling { filled } if filled < self.keys => {
                let fit = (FILL_BATCH_BYTES / values.value.len()).max(1) as u64;
                let count = fit.min(FILL_BATCH_OPS).min(self.keys - filled);
                self.stage = Stage::Filling { filled: filled + count };
                Ok(Some(self.put(values, count)))
            }
            Stage::Filling { .. } if self.keys == 0 => {
                self.stage = Stage::Ready;
                Ok(None)
            }
            Stage::Filling { .. } => {
                self.stage = Stage::Warming { warmed: 1 };
                Ok(Some(self.get(values, 0)))
            }
            Stage::Warming { warmed } if warmed < self.keys => {
                self.stage = Stage::Warming { warmed: warmed + 1 };
                Ok(Some(self.get(values, warmed)))
            }
            Stage::Warming { .. } | Stage::Claiming | Stage::Ready => {
                self.stage = Stage::Ready;
                Ok(None)
            }
        }
    }

    /// The next request of the run.
    pub fn next(&mut self, reads_percent: u8, values: &Values) -> (Kind, Request) {
        if self.random_below(100) < u64::from(reads_percent) {
            let number = self.random_below(self.keys);
            (Kind::Get, self.get(values, number))
        } else {
            (Kind::Put, self.put(values, 1))
        }
    }

    /// Whether the answer is what was asked for.
    #[must_use]
    pub fn is_right(kind: Kind, response: &Response, values: &Values) -> bool {
        match (kind, response) {
            (Kind::Put, Response::Wrote(Outcome::Committed { .. })) => true,
            (Kind::Get, Response::Got(got)) => {
                matches!(got.as_slice(), [Some((value, _))] if value.len() == values.value.len())
            }
            (Kind::Put | Kind::Get, _) => false,
        }
    }

    /// Whether nobody knows what became of a request, or it was not begun: it has to be asked again. Leads move now and then, and on
    /// a busy machine nodes are taken for dead.
    #[must_use]
    pub fn is_open(response: &Response) -> bool {
        let unavailable = Outcome::Refused(Refusal::Unavailable);
        match response {
            Response::Wrote(outcome) => *outcome == Outcome::Unknown || *outcome == unavailable,
            Response::Refused(refusal) => *refusal == Refusal::Unavailable,
            _ => false,
        }
    }

    /// The last request once more; a put under the same number, so that it is done once.
    pub fn again(&mut self, values: &Values) -> Request {
        match self.last {
            Last::Claim => self.claim(),
            Last::Get { number } => self.get(values, number),
            Last::Put { first, count } => self.write(values, self.seq - 1, (first, count)),
        }
    }

    fn get(&mut self, values: &Values, number: u64) -> Request {
        self.last = Last::Get { number };
        Request::Get { route: self.route.clone(), keys: vec![values.key(number)] }
    }

    fn put(&mut self, values: &Values, count: u64) -> Request {
        let first = self.next_key;
        self.next_key += count;
        self.seq += 1;
        self.last = Last::Put { first, count };
        self.write(values, self.seq - 1, (first, count))
    }

    fn write(&self, values: &Values, seq: u64, (first, count): (u64, u64)) -> Request {
        let keys = first..first + count;
        let writer = Some(Writer { epoch: self.epoch, seq: Seq(seq) });
        let put = |number| Op::Put { key: values.key(number), value: values.value.clone() };
        let ops = keys.map(put).collect();
        let route = self.route.clone();
        Request::Write(Batch { route, writer, preconditions: Vec::new(), makes_way: false, ops })
    }

    /// xorshift64.
    fn random_below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end.max(1)
    }
}
