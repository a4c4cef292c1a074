//! Commands and maps as bytes: `proto/hikyaku/cluster/v1/cluster.proto`.
//!
//! Invariant: bytes that come from a peer or a disk are decoded without panics, and what is decoded is sound.

use super::{
    Address, ClusterMap, Command, GroupChange, Incarnation, Node, NodeId, NodeState, Placement,
    Proposal, ReplicaGroup, Scope, Session, Settings, Site, Start, Suggestion, invariant_sound,
};
use crate::{GroupVersion, PartitionId};
use bytes::Bytes;
use prost::Message;
use proto::cluster as wire;
use wire::proposal::Command as Wire;

/// Bytes that are no command or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

type Decoded<T> = Result<T, Malformed>;

#[must_use]
pub fn encode_proposal(proposal: &Proposal) -> Bytes {
    to_wire(proposal).encode_to_vec().into()
}

/// # Errors
/// When the bytes are no proposal of a known command.
pub fn decode_proposal(bytes: &[u8]) -> Decoded<Proposal> {
    from_wire(wire::Proposal::decode(bytes).map_err(|_| Malformed("proposal"))?)
}

#[must_use]
pub fn encode_map(map: &ClusterMap) -> Bytes {
    let node = |(node, known): (&NodeId, &Node)| {
        wire_node(*node, known, map.marks.get(node).copied().unwrap_or(0))
    };
    let record = wire::ClusterMap {
        index: map.index,
        settings: Some(wire_settings(&map.settings)),
        nodes: map.nodes.iter().map(node).collect(),
        groups: map.groups.iter().map(wire_group).collect(),
        suggestions: map.suggestions.values().map(wire_suggestion).collect(),
        voters: numbers(&map.voters),
        placements: map.placements.iter().map(wire_placement).collect(),
    };
    record.encode_to_vec().into()
}

/// # Errors
/// When the bytes are no sound map.
pub fn decode_map(bytes: &[u8]) -> Decoded<ClusterMap> {
    let record = wire::ClusterMap::decode(bytes).map_err(|_| Malformed("cluster map"))?;
    let mut map = ClusterMap {
        index: record.index,
        settings: settings(record.settings)?,
        groups: record.groups.into_iter().map(group).collect::<Decoded<_>>()?,
        voters: nodes(&record.voters)?,
        ..ClusterMap::default()
    };
    for known in record.nodes {
        let (id, mark) = (node(known.node)?, known.mark);
        map.nodes.insert(id, node_of(known)?);
        if mark > 0 {
            map.marks.insert(id, mark);
        }
    }
    for record in record.suggestions {
        let suggestion = suggestion(record)?;
        map.suggestions.insert(suggestion.partition, suggestion);
    }
    for record in record.placements {
        let placement = Placement { node: node(record.node)?, arrived: record.arrived };
        map.placements.insert(partition(record.partition)?, placement);
    }
    invariant_sound(&map).map_err(|broken| Malformed(broken.what))?;
    Ok(map)
}

fn to_wire(proposal: &Proposal) -> wire::Proposal {
    let command = match &proposal.command {
        Command::Found { node, incarnation, site, settings } => Wire::Found(wire::Found {
            node: node.0.into(),
            incarnation: incarnation.0,
            site: Some(wire_site(site)),
            settings: Some(wire_settings(settings)),
        }),
        Command::AddNode { node, incarnation, site } => Wire::AddNode(wire::AddNode {
            node: node.0.into(),
            incarnation: incarnation.0,
            site: Some(wire_site(site)),
        }),
        Command::Register { node, incarnation, session, start, features } => {
            Wire::Register(wire::Register {
                node: node.0.into(),
                incarnation: incarnation.0,
                session: session.0,
                start: start.0,
                features: *features,
            })
        }
        Command::GiveUp { node, session } => {
            Wire::GiveUp(wire::GiveUp { node: node.0.into(), session: session.0 })
        }
        Command::ChangeGroup { partition, expect, change, by } => {
            Wire::ChangeGroup(wire::ChangeGroup {
                partition: partition.0.into(),
                expect: expect.0,
                change: Some(wire_change(*change)),
                by: by.0.into(),
            })
        }
        Command::Suggest(suggestions) => {
            let suggestions = suggestions.iter().map(wire_suggestion).collect();
            Wire::Suggest(wire::Suggest { suggestions })
        }
        Command::Drain { node } => Wire::Drain(node.0.into()),
        Command::Undrain { node } => Wire::Undrain(node.0.into()),
        Command::RemoveNode { node } => Wire::RemoveNode(node.0.into()),
        Command::SetMinInSync { count } => Wire::SetMinInSync(u32::from(*count)),
        Command::ReachMinInSync => Wire::ReachMinInSync(true),
        Command::SetReplicas { count } => Wire::SetReplicas(u32::from(*count)),
        Command::Place { partition, node } => Wire::Place(wire::Place {
            partition: partition.0.into(),
            node: node.map_or(0, |node| node.0.into()),
        }),
        Command::RaiseFeatureLevel { level } => Wire::RaiseFeatureLevel(*level),
        Command::UnsafeRecover { scope, from } => {
            let scope = match scope {
                Scope::One(partition) => wire::unsafe_recover::Scope::One(partition.0.into()),
                Scope::All => wire::unsafe_recover::Scope::All(true),
            };
            Wire::UnsafeRecover(wire::UnsafeRecover { scope: Some(scope), from: from.0.into() })
        }
    };
    wire::Proposal {
        by: proposal.by.0.into(),
        start: proposal.start.0,
        number: proposal.number,
        command: Some(command),
    }
}

fn from_wire(proposal: wire::Proposal) -> Decoded<Proposal> {
    let command = match proposal.command.ok_or(Malformed("command"))? {
        Wire::Found(asked) => Command::Found {
            node: node(asked.node)?,
            incarnation: Incarnation(asked.incarnation),
            site: site(asked.site)?,
            settings: settings(asked.settings)?,
        },
        Wire::AddNode(asked) => Command::AddNode {
            node: node(asked.node)?,
            incarnation: Incarnation(asked.incarnation),
            site: site(asked.site)?,
        },
        Wire::Register(asked) => Command::Register {
            node: node(asked.node)?,
            incarnation: Incarnation(asked.incarnation),
            session: Session(asked.session),
            start: Start(asked.start),
            features: asked.features,
        },
        Wire::GiveUp(asked) => {
            Command::GiveUp { node: node(asked.node)?, session: Session(asked.session) }
        }
        Wire::ChangeGroup(asked) => Command::ChangeGroup {
            partition: partition(asked.partition)?,
            expect: GroupVersion(asked.expect),
            change: change(asked.change)?,
            by: node(asked.by)?,
        },
        Wire::Suggest(asked) => {
            let suggestions = asked.suggestions.into_iter().map(suggestion);
            Command::Suggest(suggestions.collect::<Decoded<_>>()?)
        }
        Wire::Drain(asked) => Command::Drain { node: node(asked)? },
        Wire::Undrain(asked) => Command::Undrain { node: node(asked)? },
        Wire::RemoveNode(asked) => Command::RemoveNode { node: node(asked)? },
        Wire::SetMinInSync(asked) => Command::SetMinInSync { count: small(asked)? },
        Wire::ReachMinInSync(_) => Command::ReachMinInSync,
        Wire::SetReplicas(asked) => Command::SetReplicas { count: small(asked)? },
        Wire::Place(asked) => Command::Place {
            partition: partition(asked.partition)?,
            node: optional_node(asked.node)?,
        },
        Wire::RaiseFeatureLevel(level) => Command::RaiseFeatureLevel { level },
        Wire::UnsafeRecover(asked) => {
            let scope = match asked.scope.ok_or(Malformed("scope"))? {
                wire::unsafe_recover::Scope::One(one) => Scope::One(partition(one)?),
                wire::unsafe_recover::Scope::All(_) => Scope::All,
            };
            Command::UnsafeRecover { scope, from: node(asked.from)? }
        }
    };
    let (by, start) = (node(proposal.by)?, Start(proposal.start));
    Ok(Proposal { by, start, number: proposal.number, command })
}

fn wire_site(site: &Site) -> wire::Site {
    wire::Site {
        peers: site.address.peers.clone(),
        admin: site.address.admin.clone(),
        zone: site.zone.clone(),
        weight: site.weight,
    }
}

/// Bytes of an address or a zone. Our choice: a host name has at most 253 (RFC 1035 2.3.4), and a port follows.
const NAME_BYTES_MAX: usize = 300;

fn site(record: Option<wire::Site>) -> Decoded<Site> {
    let wire::Site { peers, admin, zone, weight } = record.ok_or(Malformed("site"))?;
    if [&peers, &admin, &zone].iter().any(|name| name.len() > NAME_BYTES_MAX) {
        return Err(Malformed("site"));
    }
    Ok(Site { address: Address { peers, admin }, zone, weight })
}

fn wire_settings(settings: &Settings) -> wire::Settings {
    wire::Settings {
        partitions: settings.partitions.into(),
        hash_key_0: settings.hash_key.0,
        hash_key_1: settings.hash_key.1,
        replicas: settings.replicas.into(),
        min_in_sync: settings.min_in_sync.into(),
        min_in_sync_wanted: settings.min_in_sync_wanted.into(),
        feature_level: settings.feature_level,
    }
}

fn settings(record: Option<wire::Settings>) -> Decoded<Settings> {
    let record = record.ok_or(Malformed("settings"))?;
    Ok(Settings {
        partitions: u16::try_from(record.partitions).map_err(|_| Malformed("settings"))?,
        hash_key: (record.hash_key_0, record.hash_key_1),
        replicas: small(record.replicas)?,
        min_in_sync: small(record.min_in_sync)?,
        min_in_sync_wanted: small(record.min_in_sync_wanted)?,
        feature_level: record.feature_level,
    })
}

fn wire_node(node: NodeId, known: &Node, mark: u64) -> wire::Node {
    wire::Node {
        node: node.0.into(),
        site: Some(wire_site(&known.site)),
        incarnation: known.incarnation.0,
        retired: known.retired.iter().map(|incarnation| incarnation.0).collect(),
        session: known.session.0,
        start: known.start.0,
        up: known.state == NodeState::Up,
        draining: known.draining,
        features: known.features,
        mark,
    }
}

fn node_of(record: wire::Node) -> Decoded<Node> {
    Ok(Node {
        site: site(record.site)?,
        incarnation: Incarnation(record.incarnation),
        retired: record.retired.into_iter().map(Incarnation).collect(),
        session: Session(record.session),
        start: Start(record.start),
        state: if record.up { NodeState::Up } else { NodeState::Down },
        draining: record.draining,
        features: record.features,
    })
}

fn wire_group(group: &ReplicaGroup) -> wire::ReplicaGroup {
    wire::ReplicaGroup {
        version: group.version.0,
        primary: group.primary.map_or(0, |node| node.0.into()),
        in_sync: numbers(&group.in_sync),
        learners: numbers(&group.learners),
        candidates: numbers(&group.candidates),
        consented: group.consented,
    }
}

fn group(record: wire::ReplicaGroup) -> Decoded<ReplicaGroup> {
    Ok(ReplicaGroup {
        version: GroupVersion(record.version),
        primary: optional_node(record.primary)?,
        in_sync: nodes(&record.in_sync)?,
        learners: nodes(&record.learners)?,
        candidates: nodes(&record.candidates)?,
        consented: record.consented,
    })
}

fn wire_suggestion(suggestion: &Suggestion) -> wire::Suggestion {
    wire::Suggestion {
        partition: suggestion.partition.0.into(),
        expect: suggestion.expect.0,
        change: Some(wire_change(suggestion.change)),
    }
}

fn suggestion(record: wire::Suggestion) -> Decoded<Suggestion> {
    Ok(Suggestion {
        partition: partition(record.partition)?,
        expect: GroupVersion(record.expect),
        change: change(record.change)?,
    })
}

fn wire_placement((partition, placement): (&PartitionId, &Placement)) -> wire::Placement {
    wire::Placement {
        partition: partition.0.into(),
        node: placement.node.0.into(),
        arrived: placement.arrived,
    }
}

fn wire_change(change: GroupChange) -> wire::GroupChange {
    let kind = match change {
        GroupChange::Remove(_) => wire::ChangeKind::Remove,
        GroupChange::Expel(_) => wire::ChangeKind::Expel,
        GroupChange::AddLearner(_) => wire::ChangeKind::AddLearner,
        GroupChange::Promote(_) => wire::ChangeKind::Promote,
        GroupChange::HandOver(_) => wire::ChangeKind::HandOver,
        GroupChange::Resign => wire::ChangeKind::Resign,
        GroupChange::StepDown => wire::ChangeKind::StepDown,
    };
    let node = change.node().map_or(0, |node| node.0.into());
    wire::GroupChange { kind: kind.into(), node }
}

fn change(record: Option<wire::GroupChange>) -> Decoded<GroupChange> {
    let record = record.ok_or(Malformed("group change"))?;
    match record.kind() {
        wire::ChangeKind::Unspecified => Err(Malformed("group change")),
        wire::ChangeKind::Remove => Ok(GroupChange::Remove(node(record.node)?)),
        wire::ChangeKind::Expel => Ok(GroupChange::Expel(node(record.node)?)),
        wire::ChangeKind::AddLearner => Ok(GroupChange::AddLearner(node(record.node)?)),
        wire::ChangeKind::Promote => Ok(GroupChange::Promote(node(record.node)?)),
        wire::ChangeKind::HandOver => Ok(GroupChange::HandOver(node(record.node)?)),
        wire::ChangeKind::Resign => Ok(GroupChange::Resign),
        wire::ChangeKind::StepDown => Ok(GroupChange::StepDown),
    }
}

fn numbers(nodes: &[NodeId]) -> Vec<u32> {
    nodes.iter().map(|node| node.0.into()).collect()
}

fn nodes(numbers: &[u32]) -> Decoded<Vec<NodeId>> {
    numbers.iter().map(|&number| node(number)).collect()
}

fn node(number: u32) -> Decoded<NodeId> {
    let number = u16::try_from(number).ok().filter(|&number| number > 0);
    number.map(NodeId).ok_or(Malformed("node number"))
}

fn optional_node(number: u32) -> Decoded<Option<NodeId>> {
    if number == 0 { Ok(None) } else { node(number).map(Some) }
}

fn partition(number: u32) -> Decoded<PartitionId> {
    let number = u16::try_from(number).ok().filter(|&number| number < 16_384);
    number.map(PartitionId).ok_or(Malformed("partition number"))
}

fn small(number: u32) -> Decoded<u8> {
    u8::try_from(number).map_err(|_| Malformed("count"))
}
