//! What clients ask, and what they make of the answers.

use super::clients::{self, Doing, route_key, sort_key};
use super::{Cluster, Event};
use dds::cluster::NodeId;
use dds::{Batch, Outcome, Refusal, Request, Response, Seq, Writer};

/// Without an answer for so long a client turns to another node, in nanoseconds.
const PATIENCE: u64 = 300_000_000;

impl Cluster {
    /// A client whose turn has come: begins something, or asks again.
    pub(super) fn act(&mut self, index: usize) {
        let wait = 1_000_000 + self.rng.below(20_000_000);
        self.schedule.after(wait, Event::Act { client: index });
        let client = &self.clients[index];
        let waited = self.schedule.now().saturating_sub(client.asked_at);
        let request = match &client.doing {
            Doing::Rest if self.healed => return,
            Doing::Rest => return self.begin(index),
            _ if waited < PATIENCE => return,
            Doing::Claim => Request::Claim { route: route_key(client.route) },
            Doing::Numbered { batch, .. } => Request::Write(batch.clone()),
            // Nobody will know what became of it.
            Doing::Blind { .. } | Doing::Read { .. } => {
                self.clients[index].doing = Doing::Rest;
                return;
            }
        };
        self.coverage.action("asked again elsewhere");
        self.clients[index].node = self.any_node();
        self.ask(index, request);
    }

    fn any_node(&mut self) -> u16 {
        let below = self.rng.below(u64::from(self.options.scenario.nodes));
        u16::try_from(below).unwrap_or(0) + 1
    }

    fn begin(&mut self, index: usize) {
        let now = self.schedule.now();
        let key = self.rng.below(clients::KEYS);
        let client = &self.clients[index];
        let (number, numbered, epoch) = (client.route, client.numbered, client.epoch);
        let route = route_key(number);
        if self.rng.chance(1, 2) {
            self.clients[index].doing = Doing::Read { key, from: now };
            return self.ask(index, Request::Get { route, keys: vec![sort_key(key)] });
        }
        if numbered && (epoch.is_none() || self.rng.chance(1, 200)) {
            self.clients[index].doing = Doing::Claim;
            return self.ask(index, Request::Claim { route });
        }
        self.values += 1;
        let value = self.values;
        self.histories.entry((number, key)).or_default().write_begins(value, now);
        let writer = epoch.map(|epoch| Writer { epoch, seq: Seq(self.clients[index].seq) });
        let ops = clients::ops(&mut self.rng, key, value);
        let (preconditions, makes_way) = (Vec::new(), false);
        let batch = Batch { route, writer, preconditions, makes_way, ops };
        let request = Request::Write(batch.clone());
        self.clients[index].doing = match writer {
            Some(_) => Doing::Numbered { key, value, batch },
            None => Doing::Blind { key, value },
        };
        self.ask(index, request);
    }

    fn ask(&mut self, index: usize, request: Request) {
        self.origins += 1;
        let client = &mut self.clients[index];
        client.origin = self.origins;
        client.asked_at = self.schedule.now();
        let (node, origin) = (NodeId(client.node), self.origins);
        let nanos = self.rng.below(300_000);
        self.schedule.after(nanos, Event::Asked { node, origin, request });
    }

    /// A request reaches a node: its seat does it, or somebody else's.
    pub(super) fn on_asked(&mut self, id: NodeId, origin: u64, request: Request) {
        let map = self.map.dp_map();
        let partition = clients::partition_of(&request, &map);
        let Some(node) = self.nodes.get(&id).filter(|node| node.running.is_some()) else { return };
        let leads = node.seat(partition).is_some_and(dds::Seat::leads);
        let known = node.running.as_ref().and_then(|running| running.map.group(partition));
        let primary = known.and_then(|group| group.primary);
        match primary {
            Some(primary) if !leads && primary != id => {
                // It knows better, as far as it knows.
                let client = self.clients.iter_mut().find(|client| client.origin == origin);
                if let Some(client) = client {
                    client.node = primary.0;
                }
                let nanos = 20_000 + self.rng.below(200_000);
                let hop = self.rng.chance(9, 10);
                if hop && !self.is_cut(id, primary) {
                    self.schedule.after(nanos, Event::Asked { node: primary, origin, request });
                }
            }
            Some(_) | None => self.ask_seat(id, origin, request),
        }
    }

    pub(super) fn on_answered(&mut self, origin: u64, response: Response) {
        let Some(index) = self.clients.iter().position(|client| client.origin == origin) else {
            return;
        };
        self.answered += 1;
        let now = self.schedule.now();
        let client = &mut self.clients[index];
        let doing = std::mem::replace(&mut client.doing, Doing::Rest);
        let route = client.route;
        match (doing, response) {
            (Doing::Claim, Response::Claimed(claimed)) => {
                client.epoch = Some(claimed.epoch);
                client.seq = 1;
                self.coverage.action("claimed");
            }
            (Doing::Read { key, from }, Response::Got(found)) => {
                let bytes = found.into_iter().next().flatten();
                let value = bytes.map_or(0, |(bytes, _)| clients::number(&bytes));
                let history = self.histories.entry((route, key)).or_default();
                if let Err(failure) = history.read(value, from, now) {
                    self.failure.get_or_insert(failure);
                }
                self.coverage.action("read");
            }
            (doing @ (Doing::Numbered { .. } | Doing::Blind { .. }), Response::Wrote(outcome)) => {
                self.on_wrote(index, doing, outcome);
            }
            // Refused for now: asked again when the client's turn comes.
            (doing @ (Doing::Claim | Doing::Numbered { .. }), _) => client.doing = doing,
            (Doing::Rest | Doing::Read { .. } | Doing::Blind { .. }, _) => {}
        }
    }

    fn on_wrote(&mut self, index: usize, doing: Doing, outcome: Outcome) {
        let now = self.schedule.now();
        let client = &mut self.clients[index];
        let (key, value) = match &doing {
            Doing::Numbered { key, value, .. } | Doing::Blind { key, value } => (*key, *value),
            Doing::Rest | Doing::Claim | Doing::Read { .. } => return,
        };
        let history = self.histories.entry((client.route, key)).or_default();
        match (doing, outcome) {
            (Doing::Numbered { .. }, Outcome::Committed { .. }) => {
                client.seq += 1;
                history.write_ends(value, now);
                self.coverage.action("numbered write");
            }
            (Doing::Blind { .. }, Outcome::Committed { .. }) => {
                history.write_ends(value, now);
                self.coverage.action("blind write");
            }
            // Another epoch, or a place that was lost: an earlier try may have applied, no later one will.
            (
                Doing::Numbered { .. },
                Outcome::Refused(
                    Refusal::Fenced { .. } | Refusal::SequenceGap { .. } | Refusal::Forgotten,
                ),
            ) => {
                client.epoch = None;
                self.coverage.action("fenced");
            }
            (doing @ Doing::Numbered { .. }, Outcome::Unknown | Outcome::Refused(_)) => {
                client.doing = doing;
            }
            (Doing::Blind { .. }, Outcome::Refused(_)) => {
                history.write_refused(value);
                self.coverage.action("blind write is refused");
            }
            (Doing::Blind { .. }, Outcome::Unknown) => self.coverage.action("blind write: unknown"),
            (Doing::Rest | Doing::Claim | Doing::Read { .. }, _) => {}
        }
    }
}
