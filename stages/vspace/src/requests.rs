//! Requests to the hash table: to a seat of this node, or to the node that the map names; and how their answers come back.

use crate::follow::{Passed, followed_id};
use crate::following::RESIDENTS;
use crate::names::MachineId;
use crate::origin::Origin;
use crate::queue::Rank;
use crate::seats::{PATIENCE, refused, unavailable};
use crate::shard::{Shard, Work};
use crate::work::{Neighbour, Outward, Packet};
use dds::cluster::NodeId;
use dds::partition::within_limits;
use dds::wire::{RequestId, answer_that_fits};
use dds::{Outcome, PartitionId, Refusal, Request, Response};
use fsm::Mono;
use mailstore::face::{Completion, TaskRefusal};
use mailstore::{delivery, directory, mailbox, sweep};

/// A request that another node has.
#[derive(Debug)]
pub(crate) struct AwayRequest {
    pub target: NodeId,
    pub partition: PartitionId,
    /// Of its origin.
    number: u64,
    /// To be asked again when the node is lost: not when it may have been done, and doing it twice is not the same.
    again: Option<Request>,
    /// What is said when nobody knows.
    otherwise: Response,
    until: Mono,
}

impl Shard {
    /// Asks the partition that holds a request's route; the answer goes to `origin`.
    pub(crate) fn ask_dds(&mut self, origin: Origin, request: Request) {
        let number = self.origins.note(origin);
        let until = self.now.0.plus(PATIENCE);
        self.ask_numbered(number, request, until);
    }

    pub(crate) fn ask_numbered(&mut self, number: u64, request: Request, until: Mono) {
        let partition = request.partition(&self.config.map);
        let me = self.me();
        let primary = self.map.group(partition).and_then(|group| group.primary);
        if primary != Some(me) && self.is_of_master(number, partition) {
            // A master never works on what another node leads: it ends.
            return self.on_dds_done(number, unavailable(&request));
        }
        match primary {
            Some(node) if node == me => {
                let group = self.group_of_partition(partition);
                if group == self.config.group {
                    self.ask_seat(partition, number, request);
                } else {
                    let from = self.config.group;
                    let request = Box::new(request);
                    self.tell(group, Neighbour::DdsAsked { from, origin: number, request });
                }
            }
            Some(node) if self.peers.contains(&node) => {
                if let Err(refusal) = within_limits(&request, &self.config.dds) {
                    return self.on_dds_done(number, refused(&request, refusal));
                }
                self.ask_node((node, partition), (number, request), until);
            }
            Some(_) | None => {
                self.held_requests.push((until, number, request));
                self.look_soon();
            }
        }
    }

    /// Whether a request is a mailbox's, about what it is the master of.
    fn is_of_master(&self, number: u64, partition: PartitionId) -> bool {
        match self.origins.get(number) {
            Some(Origin::Machine { machine: MachineId::Mailbox(user), .. }) => {
                self.place_of(user) == partition
            }
            _ => false,
        }
    }

    fn ask_node(
        &mut self,
        (target, partition): (NodeId, PartitionId),
        (number, request): (u64, Request),
        until: Mono,
    ) {
        let serial = match self.origins.get(number) {
            Some(Origin::Client { origin, followed: true }) => followed_id(origin),
            _ => {
                self.requests_sent += 1;
                self.requests_sent
            }
        };
        let id = u64::from(self.config.group.0) << 56 | serial;
        let otherwise = nobody_knows(&request);
        let again = may_repeat(&request).then(|| request.clone());
        let away = AwayRequest { target, partition, number, again, otherwise, until };
        self.away_requests.insert(id, away);
        self.send(target, Packet::Ask { id: RequestId(id), request });
        self.look_soon();
    }

    /// Another node asks.
    pub(crate) fn on_ask(&mut self, from: NodeId, id: RequestId, request: Request) {
        let partition = request.partition(&self.config.map);
        let primary = self.map.group(partition).and_then(|group| group.primary);
        if primary == Some(self.me()) {
            let number = self.origins.note(Origin::Node { node: from, id });
            self.ask_seat(partition, number, request);
        } else {
            let response = unavailable(&request);
            self.send(from, Packet::Answer { id, response });
        }
    }

    pub(crate) fn on_node_answer(&mut self, from: NodeId, id: RequestId, response: Response) {
        let Some(away) = self.away_requests.get(&id.0) else { return };
        if away.target != from {
            return;
        }
        let Some(away) = self.away_requests.remove(&id.0) else { return };
        if is_unavailable(&response)
            && let Some(request) = away.again
        {
            // It does not lead, or not yet: the map will tell who does.
            self.held_requests.push((away.until, away.number, request));
            return self.look_soon();
        }
        self.on_dds_done(away.number, response);
    }

    /// What these requests came to will not be told.
    pub(crate) fn lose_requests(&mut self, lost: impl Fn(&AwayRequest) -> bool) {
        let lost: Vec<u64> =
            self.away_requests.iter().filter(|(_, away)| lost(away)).map(|(id, _)| *id).collect();
        for id in lost {
            let Some(away) = self.away_requests.remove(&id) else { continue };
            match away.again {
                Some(request) => {
                    self.held_requests.push((away.until, away.number, request));
                    self.look_soon();
                }
                None => self.on_dds_done(away.number, away.otherwise),
            }
        }
    }

    /// Asks again what waits for a primary.
    pub(crate) fn retry_requests(&mut self) {
        self.forward_waiting();
        let now = self.now.0;
        for (until, number, request) in std::mem::take(&mut self.held_requests) {
            if until <= now {
                self.on_dds_done(number, unavailable(&request));
            } else {
                self.ask_numbered(number, request, until);
            }
        }
    }

    /// Gives up requests that no node has answered in time.
    pub(crate) fn give_up_late_requests(&mut self) {
        let now = self.now.0;
        // Twice the time: the other side waits for its seat as long.
        let late = |away: &AwayRequest| away.until.plus(PATIENCE) <= now;
        let ids: Vec<u64> =
            self.away_requests.iter().filter(|(_, away)| late(away)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(away) = self.away_requests.remove(&id) {
                self.on_dds_done(away.number, away.otherwise);
            }
        }
    }

    pub(crate) fn on_dds_done(&mut self, number: u64, response: Response) {
        let Some(origin) = self.origins.take(number) else { return };
        if let Some(trace) = self.followed.on_answered(number) {
            self.out.push(Outward::Passed(Passed::Answered { trace }));
        }
        match origin {
            Origin::Machine { machine, token } => {
                let work = match machine {
                    MachineId::Mailbox(user) => {
                        Work::Mailbox(user, mailbox::Input::DdsDone { token, response })
                    }
                    MachineId::Directory => {
                        Work::Directory(directory::Input::DdsDone { token, response })
                    }
                    MachineId::Delivery => {
                        Work::Delivery(delivery::Input::DdsDone { token, response })
                    }
                    MachineId::Sweep => Work::Sweep(sweep::Input::DdsDone { token, response }),
                    MachineId::Session(_)
                    | MachineId::Partition(_)
                    | MachineId::Control
                    | MachineId::Links
                    | MachineId::Fills
                    | MachineId::Scrub => {
                        panic!(
                            "sessions, seats, the scrub and the control plane don't ask the hash table"
                        )
                    }
                };
                self.push(Rank::Completion, work);
            }
            Origin::Blob { session, token, done } => {
                let completion = match response {
                    Response::Wrote(Outcome::Committed { .. }) => Completion::Blob(done),
                    other => Completion::Refused(refusal_of(&other)),
                };
                self.complete(session, token, completion);
            }
            Origin::Group { group, origin } => {
                let response = Box::new(response);
                self.tell(group, Neighbour::DdsDone { origin, response });
            }
            Origin::Node { node, id } => {
                let response = answer_that_fits(response);
                self.send(node, Packet::Answer { id, response });
            }
            Origin::Client { origin, followed: _ } => {
                let response = Box::new(response);
                self.out.push(Outward::ClientDone { origin, response });
            }
        }
    }

    /// Whether this node has the directory, as far as the map says.
    pub(crate) fn residents_node(&self) -> Option<NodeId> {
        self.map.group(RESIDENTS).and_then(|group| group.primary)
    }
}

/// Whether asking twice is the same as asking once.
fn may_repeat(request: &Request) -> bool {
    match request {
        Request::Claim { .. }
        | Request::Get { .. }
        | Request::Scan { .. }
        | Request::ReadBlob { .. }
        | Request::PutChunk { .. }
        | Request::RenewBlob { .. } => true,
        Request::Write(_) | Request::DropBlob { .. } | Request::CollectBlobs { .. } => false,
    }
}

fn nobody_knows(request: &Request) -> Response {
    match request {
        Request::Write(_)
        | Request::PutChunk { .. }
        | Request::RenewBlob { .. }
        | Request::DropBlob { .. } => Response::Wrote(Outcome::Unknown),
        Request::Claim { .. }
        | Request::Get { .. }
        | Request::Scan { .. }
        | Request::ReadBlob { .. }
        | Request::CollectBlobs { .. } => Response::Refused(Refusal::Unavailable),
    }
}

fn is_unavailable(response: &Response) -> bool {
    matches!(
        response,
        Response::Refused(Refusal::Unavailable)
            | Response::Wrote(Outcome::Refused(Refusal::Unavailable))
    )
}

fn refusal_of(response: &Response) -> TaskRefusal {
    match response {
        Response::Wrote(Outcome::Refused(refusal)) | Response::Refused(refusal) => match refusal {
            Refusal::NoSpace => TaskRefusal::NoSpace,
            Refusal::Overloaded => TaskRefusal::Overloaded,
            Refusal::Corrupt { .. } => TaskRefusal::Damaged,
            Refusal::PreconditionFailed { .. }
            | Refusal::Fenced { .. }
            | Refusal::SequenceGap { .. }
            | Refusal::Forgotten
            | Refusal::TooLarge { .. }
            | Refusal::ReservedKey
            | Refusal::Unavailable => TaskRefusal::Unavailable,
        },
        Response::Wrote(Outcome::Committed { .. } | Outcome::Unknown)
        | Response::Claimed(_)
        | Response::Got(_)
        | Response::Scanned { .. }
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. } => TaskRefusal::Unavailable,
    }
}
