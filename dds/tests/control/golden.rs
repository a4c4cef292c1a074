//! Bytes on disk and between nodes, to be added to and never edited.

use crate::map_commands::{add, found, register, settings};
use crate::noise::Member;
use dds::cluster::{
    ClusterMap, Command, GroupChange, NodeId, Proposal, Scope, Session, Start, Suggestion,
    decode_map, decode_proposal, encode_map, encode_proposal,
};
use dds::control::Boot;
use dds::{Column, GroupVersion, MemoryStore, PartitionId};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn map() -> ClusterMap {
    let mut map = ClusterMap::default();
    let partition = PartitionId(0);
    let change = |expect, change| Command::ChangeGroup {
        partition,
        expect: GroupVersion(expect),
        change,
        by: NodeId(1),
    };
    let suggestion =
        Suggestion { partition, expect: GroupVersion(3), change: GroupChange::Remove(NodeId(2)) };
    let commands = [
        found(2),
        register(1, 1, 11),
        add(2),
        register(2, 1, 12),
        change(1, GroupChange::AddLearner(NodeId(2))),
        change(2, GroupChange::Promote(NodeId(2))),
        Command::Suggest(vec![suggestion]),
        Command::Drain { node: NodeId(2) },
    ];
    for (index, command) in (1..).zip(&commands) {
        map.apply(index, command);
    }
    map
}

#[test]
fn the_map() {
    let golden = GOLDEN_MAP;
    assert_eq!(hex(&encode_map(&map())), golden);
    assert_eq!(decode_map(&encode_map(&map())), Ok(map()));
}

#[test]
fn the_commands() {
    let (node, partition, expect) = (NodeId(2), PartitionId(7), GroupVersion(5));
    let change = |change| Command::ChangeGroup { partition, expect, change, by: NodeId(3) };
    let suggestion = Suggestion { partition, expect, change: GroupChange::AddLearner(node) };
    let commands = [
        found(1024),
        add(2),
        register(2, 3, 4),
        Command::GiveUp { node, session: Session(3) },
        change(GroupChange::Remove(node)),
        change(GroupChange::Expel(node)),
        change(GroupChange::AddLearner(node)),
        change(GroupChange::Promote(node)),
        change(GroupChange::HandOver(node)),
        change(GroupChange::Resign),
        Command::Suggest(vec![suggestion]),
        Command::Drain { node },
        Command::Undrain { node },
        Command::RemoveNode { node },
        Command::SetMinInSync { count: 2 },
        Command::ReachMinInSync,
        Command::SetReplicas { count: 3 },
        Command::RaiseFeatureLevel { level: 9 },
        Command::UnsafeRecover { scope: Scope::One(partition), from: node },
        Command::UnsafeRecover { scope: Scope::All, from: node },
        change(GroupChange::StepDown),
        Command::Place { partition, node: Some(node) },
        Command::Place { partition, node: None },
    ];
    assert_eq!(commands.len(), GOLDEN_COMMANDS.len());
    for (command, golden) in commands.into_iter().zip(GOLDEN_COMMANDS) {
        let proposal = Proposal { by: NodeId(1), start: Start(2), number: 3, command };
        let bytes = encode_proposal(&proposal);
        assert_eq!(hex(&bytes), golden, "{proposal:?}");
        assert_eq!(decode_proposal(&bytes), Ok(proposal));
    }
}

#[test]
fn a_map_with_placements() {
    let mut map = map();
    let partition = PartitionId(1);
    map.apply(9, &Command::Undrain { node: NodeId(2) });
    map.settings.feature_level = 2;
    let commands = [
        Command::Place { partition, node: Some(NodeId(2)) },
        Command::Place { partition: PartitionId(0), node: Some(NodeId(1)) },
    ];
    for (index, command) in (10..).zip(&commands) {
        map.apply(index, command);
    }
    assert_eq!(map.placements.len(), 2);
    assert_eq!(hex(&encode_map(&map)), GOLDEN_PLACEMENTS);
    assert_eq!(decode_map(&encode_map(&map)), Ok(map));
}

/// What a founder has on disk after its first start.
#[test]
fn the_records() {
    let mut member = Member::new(1, Boot::Found(settings(2)), MemoryStore::new());
    for _ in 0..4 {
        member.write();
    }
    let durable = member.store.durable();
    let records: Vec<_> = durable
        .into_iter()
        .map(|(column, key, value)| {
            assert_eq!(column, Column::Log);
            (hex(&key), hex(&value))
        })
        .collect();
    let records: Vec<_> =
        records.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(records, GOLDEN_RECORDS);
}

const GOLDEN_MAP: &str = "0808121c080211010000000000000019020000000000000020032801300238011a1e0801120220641901000000000000002801310b00000000000000380148011a200802120220641902000000000000002801310c00000000000000380140014801220c080310011a0201022a020102220a080110011a01012a01012a0810031a0408011002320101";
const GOLDEN_PLACEMENTS: &str = "080b121c080211010000000000000019020000000000000020032801300238021a1e0801120220641901000000000000002801310b00000000000000380148011a1e0802120220641902000000000000002801310c0000000000000038014801220c080310011a0201022a020102220a080110011a01012a01012a0a080110011a04080310023201013a04100118013a0408011002";
const GOLDEN_COMMANDS: [&str; 23] = [
    "08011102000000000000001803522e08011101000000000000001a022064221d0880081101000000000000001902000000000000002003280130023801",
    "080111020000000000000018035a0f08021102000000000000001a022064",
    "080111020000000000000018036218080211020000000000000018032104000000000000002801",
    "080111020000000000000018036a0408021003",
    "08011102000000000000001803720c080710051a04080110022003",
    "08011102000000000000001803720c080710051a04080210022003",
    "08011102000000000000001803720c080710051a04080310022003",
    "08011102000000000000001803720c080710051a04080410022003",
    "08011102000000000000001803720c080710051a04080510022003",
    "08011102000000000000001803720a080710051a0208062003",
    "080111020000000000000018037a0c0a0a080710051a0408031002",
    "08011102000000000000001803800102",
    "08011102000000000000001803880102",
    "08011102000000000000001803900102",
    "08011102000000000000001803980102",
    "08011102000000000000001803a00101",
    "08011102000000000000001803a80103",
    "08011102000000000000001803b00109",
    "08011102000000000000001803ba010408071802",
    "08011102000000000000001803ba010410011802",
    "08011102000000000000001803720a080710051a0208072003",
    "08011102000000000000001803c2010408071002",
    "08011102000000000000001803c201020807",
];
const GOLDEN_RECORDS: [(&str, &str); 5] = [
    ("ffff00650000000000000002", "0110021802"),
    (
        "ffff00650000000000000003",
        "01100218032227080111010000000000000018016218080111010000000000000018012101000000000000002801",
    ),
    ("ffff0068", "01080210818080808080401801"),
    ("ffff006e", "0108011101000000000000001801"),
    (
        "ffff0073",
        "010a4e0801121c080211010000000000000019020000000000000020032801300238011a110801120220641901000000000000003801220a080110011a01012a0101220a080110011a01012a0101320101120f0a090a078180808080804010011801",
    ),
];
