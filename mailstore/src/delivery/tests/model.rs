//! A random model with crashes: every accepted recipient gets the message.

use super::*;

/// What a master remembers, and what the test knows of every acceptance.
#[derive(Default)]
struct Model {
    delivered: BTreeSet<(DeliveryId, UserId)>,
    asked: BTreeSet<DeliveryId>,
    accepted: BTreeSet<DeliveryId>,
    refused: BTreeSet<DeliveryId>,
}

impl Model {
    /// Carries out one effect, or not, as `dice` says.
    fn carry_out(&mut self, bench: &mut Bench, effect: Effect, dice: u8) {
        match effect {
            Effect::Dds { token, request } => {
                bench.dds.next_fault = match dice {
                    0..=9 => Some(Fault::AppliedUnknown),
                    10..=19 => Some(Fault::LostUnknown),
                    20..=29 => Some(Fault::Unavailable),
                    30..=39 => Some(Fault::NoSpace),
                    _ => None,
                };
                let response = bench.dds.answer(request);
                bench.dds.next_fault = None;
                bench.step(Input::DdsDone { token, response });
            }
            Effect::AskUser { token, user, task: UserTask::Deliver(deliver) } => {
                let result = match dice {
                    0..=59 => Err(TaskRefusal::Unavailable),
                    60..=79 => {
                        // Delivered, but the answer is lost on the way.
                        self.delivered.insert((deliver.delivery, user));
                        Err(TaskRefusal::Overloaded)
                    }
                    _ => {
                        self.delivered.insert((deliver.delivery, user));
                        delivered()
                    }
                };
                assert_eq!(&*deliver.recipient, format!("user{user}@x.example"));
                bench.step(Input::UserDone { token, result });
            }
            Effect::Answer { to: _, token, completion } => {
                let id = DeliveryId(u128::from(token.0));
                match completion {
                    Completion::Delivery(DeliveryDone::Accepted) => self.accepted.insert(id),
                    Completion::Refused(_) => self.refused.insert(id),
                    other => panic!("{other:?}"),
                };
            }
            Effect::Log(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn check(&self, recipients: u64) {
        for id in &self.accepted {
            for user in 0..recipients {
                assert!(self.delivered.contains(&(*id, UserId(user))), "{id:?} to {user}");
            }
        }
        for (id, _) in &self.delivered {
            assert!(!self.refused.contains(id), "{id:?} was refused and delivered");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_accepted_reaches_everybody_across_crashes(
        script in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..200),
    ) {
        const RECIPIENTS: u64 = 3;
        let limits = Limits { piece_bytes_max: 64, commit_bytes_max: 200, ..Limits::default() };
        let (mut bench, mut model) = (Bench::with(limits), Model::default());
        for (act, dice) in script {
            match act {
                0..=9 => bench.crash(),
                10..=49 => {
                    let id = model.asked.len() as u64 + 1;
                    model.asked.insert(DeliveryId(id.into()));
                    let task = DeliveryTask::Accept(acceptance(id.into(), RECIPIENTS));
                    bench.step(Input::Asked { from: ASKER, token: Token(id), task });
                }
                // Somebody else becomes the writer for a moment.
                50..=52 => {
                    bench.dds.answer(Request::Claim { route: route(0) });
                }
                53..=69 => {
                    bench.now = bench.now.plus(Duration::from_millis(u64::from(dice) * 10));
                    if let Some((&key, _)) = bench.timers.iter().find(|(_, at)| **at <= bench.now) {
                        bench.timers.remove(&key);
                        bench.step(Input::TimerFired(key));
                    }
                }
                _ => {
                    if let Some(effect) = bench.effects.pop_front() {
                        model.carry_out(&mut bench, effect, dice);
                    }
                }
            }
        }
        // Heal: no faults any more, and time passes.
        for _ in 0..50 {
            while let Some(effect) = bench.effects.pop_front() {
                model.carry_out(&mut bench, effect, 255);
            }
            bench.now = bench.now.plus(Duration::from_secs(60));
            while let Some((&key, _)) = bench.timers.iter().find(|(_, at)| **at <= bench.now) {
                bench.timers.remove(&key);
                bench.step(Input::TimerFired(key));
            }
        }
        model.check(RECIPIENTS);
        prop_assert_eq!((bench.stored(), bench.queue.depth(), bench.queue.bytes_held), (0, 0, 0));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let bytes = Bytes::from(bytes);
        let _ = Head::read(bytes.clone());
        let _ = format::read_done(bytes.clone());
        let _ = read_blob(bytes.clone());
        let head = Head {
            accepted: Wall(0),
            body: format::BodyRef::Inline,
            recipients: 1,
            pieces: 0,
            first_piece: bytes,
        };
        let stored = format::Stored { id: DeliveryId(1), head, body: Bytes::new(), pieces: vec![] };
        let _ = stored.read();
    }
}
