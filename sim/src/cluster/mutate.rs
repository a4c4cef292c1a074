//! Mistakes made on purpose, at the border of the machines: messages are forged, never the machines themselves.

use super::{Cluster, ClusterMutation, Event, Packet};
use dds::PartitionId;
use dds::cluster::NodeId;
use dds::replica::{Body, Message};

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
            (Some(ClusterMutation::SkipFence), Body::Append { .. })
                if message.version < replica.version() =>
            {
                let version = replica.version();
                let group = self.registry.map.group(partition);
                let primary = group.and_then(|group| group.primary).unwrap_or(from);
                if let Some(round) = replica.round() {
                    let theirs = (from, message.version, message.round);
                    self.forged.insert((to, partition), theirs);
                    (message.version, message.round) = (version, round);
                    return (primary, message);
                }
            }
            (Some(ClusterMutation::AcknowledgeEarly), Body::Append { entries, .. }) => {
                if let Some(last) = entries.last() {
                    let body = Body::Appended { through: last.number, decided: 0 };
                    let forged = Message { body, ..message };
                    self.send(to, from, Packet::Replica { partition, message: forged });
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
            _ => {}
        }
        (from, message)
    }

    pub(super) fn mutate_sent(&mut self, id: NodeId, partition: PartitionId, message: &Message) {
        if let Body::Appended { .. } = message.body
            && let Some((to, version, round)) = self.forged.get(&(id, partition)).copied()
        {
            let message = Message { version, round, body: message.body.clone() };
            let packet = Packet::Replica { partition, message };
            self.schedule.after(100_000, Event::Packet { to, from: id, packet });
        }
    }
}
