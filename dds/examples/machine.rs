//! What a durable write and a get cost in a partition machine alone, the store left out.
//!
//! `cargo run --release -p dds --example machine -- [writes] [value bytes]`
#![expect(clippy::disallowed_types, reason = "a measurement reads the clock")]

use bytes::Bytes;
use dds::partition::{Effect, Input};
use dds::{
    Batch, Epoch, GroupVersion, Limits, Op, Partition, PartitionId, ReadDone, Request, RouteKey,
    Seq, SortKey, Writer,
};
use fsm::{Budget, Host, Mono, Stepped, Token, Wall};
use std::sync::Arc;
use std::time::Instant;

struct Bench {
    machine: Partition,
    host: Host,
    stepped: Stepped<Effect>,
}

impl Bench {
    /// Steps, and completes what the step began; returns how many answers came.
    fn ask(&mut self, token: u64, request: Request) -> usize {
        self.step(Input::Asked { from: 1, token: Token(token), request });
        let mut answers = 0;
        while let Some(effect) = self.stepped.effects.pop() {
            match effect {
                Effect::Answer { .. } => answers += 1,
                Effect::Commit { token, group: _ } => {
                    self.step(Input::Stored { token, result: Ok(()) });
                }
                Effect::Read { token, read: _ } => {
                    self.step(Input::ReadDone { token, result: Ok(ReadDone::Got(vec![None])) });
                }
            }
        }
        answers
    }

    fn step(&mut self, input: Input) {
        let now = (Mono(0), Wall(0));
        self.host.step(&mut self.machine, &mut self.stepped, now, Budget::new(2000), input);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |index, default: u64| {
        std::env::args().nth(index).map_or(Ok(default), |argument| argument.parse())
    };
    let (writes, bytes) = (number(1, 500_000)?, usize::try_from(number(2, 4700)?)?);
    let machine = Partition::new(PartitionId(1), GroupVersion(1), Arc::new(Limits::default()));
    let mut bench = Bench { machine, host: Host::new(1, 1), stepped: Stepped::default() };
    let route = |user: u64| RouteKey(Bytes::from(format!("user{:04}", user % 200)));
    let routes: Vec<_> = (0..200).map(route).collect();
    for (token, route) in (0..).zip(&routes) {
        bench.ask(token, Request::Claim { route: route.clone() });
    }
    let (body, metadata) = (Bytes::from(vec![b'x'; bytes]), Bytes::from(vec![b'm'; 300]));
    let began = Instant::now();
    for write in 0..writes {
        let (user, seq) = (write % 200, write / 200 + 1);
        let key = |kind: u8| SortKey(Bytes::from([&[kind], &seq.to_be_bytes()[..]].concat()));
        let ops = vec![
            Op::Put { key: key(0x80), value: body.clone() },
            Op::Put { key: key(0x10), value: metadata.clone() },
        ];
        let route = routes[user as usize].clone();
        let writer = Some(Writer { epoch: Epoch(1), seq: Seq(seq) });
        let batch = Batch { route, writer, preconditions: Vec::new(), makes_way: false, ops };
        assert_eq!(bench.ask(write, Request::Write(batch)), 1);
    }
    let each = began.elapsed().as_nanos() as f64 / writes as f64;
    println!("write of {bytes} bytes and 300 of metadata: {each:.0} ns");
    let began = Instant::now();
    for get in 0..writes {
        let (route, keys) = (routes[(get % 200) as usize].clone(), vec![SortKey("key".into())]);
        assert_eq!(bench.ask(get, Request::Get { route, keys }), 1);
    }
    println!("get: {:.0} ns", began.elapsed().as_nanos() as f64 / writes as f64);
    Ok(())
}
