//! Mistakes made on purpose, at the border of the machines: messages are forged, never the machines themselves.

use super::{Cluster, ClusterMutation, Event, Packet};
use dds::cluster::NodeId;
use dds::replica::{Body, Message, Round};
use dds::{GroupVersion, PartitionId};

impl Cluster {
    pub(super) fn mutate_received(
        &mut self,
        to: NodeId,
        partition: PartitionId,
        (from, mut message): (NodeId, Message),
    ) -> (NodeId, Message) {
        let seat = self.nodes.get(&to).and_then(|node| node.seat(partition));
        let Some(seat) = seat else { return (from, message) };
        let replica = seat.replica();
        match (self.options.mutation, &mut message.body) {
            (Some(ClusterMutation::SkipFence), Body::Append { entries, .. })
                if message.version < replica.version() =>
            {
                // As one would answer that had not joined a newer version.
                if let Some(last) = entries.last() {
                    let place = (message.version, message.round);
                    self.forge_appended((to, from), partition, place, last.number);
                }
            }
            (Some(ClusterMutation::ForgetReconciliation), Body::Stand(stand)) => {
                if let Some((last, _)) = replica.progress()
                    && stand.last.number > last.number
                {
                    stand.last = last;
                    if stand.applied.number > last.number {
                        stand.applied = last;
                    }
                }
            }
            (Some(ClusterMutation::CompareElsewhere), Body::Look(slice)) => {
                if let Some((_, decided)) = replica.progress() {
                    slice.at = decided;
                }
            }
            (Some(ClusterMutation::OverlookRot), Body::Looked { id, seen }) => {
                *seen = self.first_seen.entry(*id).or_insert(seen.clone()).clone();
            }
            _ => {}
        }
        (from, message)
    }

    /// The acknowledgement of a member that is not waited for.
    pub(super) fn mutate_sent(
        &mut self,
        (from, to): (NodeId, NodeId),
        partition: PartitionId,
        message: &Message,
    ) {
        if self.options.mutation == Some(ClusterMutation::AcknowledgeAlone)
            && let Body::Append { entries, .. } = &message.body
            && let Some(last) = entries.last()
        {
            let body = Body::Appended { through: last.number, decided: 0 };
            let message = Message { version: message.version, round: message.round, body };
            let packet = Packet::Replica { partition, message };
            self.schedule.after(100_000, Event::Packet { to: from, from: to, packet });
        }
    }

    fn forge_appended(
        &mut self,
        (from, to): (NodeId, NodeId),
        partition: PartitionId,
        (version, round): (GroupVersion, Round),
        through: u64,
    ) {
        let body = Body::Appended { through, decided: 0 };
        let message = Message { version, round, body };
        self.send(from, to, Packet::Replica { partition, message });
    }
}
