//! Reports of the node to messages of the API.

use super::api;
use crate::control::{
    AdmissionReport, BehindReport, CheckReport, ClusterReport, EventPlace, EventReport,
    ExtensionReport, HistoryReport, IndexReport, Latency, LinkReport, MoveReport, NodeReport,
    NodeState, PartitionReport, ScrubReport, ScrubState, SessionReport, SpaceState, StagePoint,
    StageReport, StatusReport, StoreReport,
};
use dds::scrub::Round;

pub fn status(report: StatusReport) -> api::StatusReply {
    let state = match report.state {
        NodeState::Starting => "starting",
        NodeState::Ready => "ready",
        NodeState::Draining => "draining",
    };
    let listener = |it: crate::control::ListenerReport| api::Listener {
        name: it.name,
        address: it.address,
        connections: it.connections,
        accepted: it.accepted,
        refused: it.refused,
    };
    let (partitions, node_name) = (report.partitions, report.node.clone());
    api::StatusReply {
        node: report.node,
        version: report.version,
        cluster: report.cluster,
        state: state.to_owned(),
        pid: report.pid,
        uptime_seconds: report.uptime_seconds,
        data: report.data.display().to_string(),
        sync: report.sync,
        listeners: report.listeners.into_iter().map(listener).collect(),
        stages: report.stages.into_iter().map(stage).collect(),
        admission: report.admission.into_iter().map(admission).collect(),
        store: Some(store(report.store)),
        partitions: Some(api::Partitions {
            count: partitions.count,
            awake: partitions.awake,
            under_replicated: partitions.under_replicated,
            unavailable: partitions.unavailable,
        }),
        sessions: report.sessions,
        users_loaded: report.users_loaded,
        accounts: report.accounts,
        deliveries_pending: report.deliveries_pending,
        nodes: report.nodes.into_iter().map(node).collect(),
        cluster_state: Some(cluster_state(report.cluster_state)),
        sums: None,
        scrub: Some(scrub_state(report.scrub)),
        index: Some(index(report.index)),
        moves: report.moves.into_iter().map(move_under_way).collect(),
        extensions: report.extensions.into_iter().map(|it| extension(&node_name, it)).collect(),
        links: report.links.into_iter().map(link).collect(),
        behind: report.behind.into_iter().map(|it| behind(&node_name, it)).collect(),
    }
}

fn extension(node: &str, it: ExtensionReport) -> api::ExtensionState {
    api::ExtensionState {
        node: node.to_owned(),
        decides: it.decides,
        asked_at: it.asked_at,
        name: it.name,
        inside: it.inside,
        connected: it.connected,
        mailboxes: it.mailboxes,
        behind: it.behind,
        behind_seconds: it.behind_seconds,
        given: it.given,
        taken: it.taken,
        resets: it.resets,
        ended: it.ended,
        decided: it.decided,
        missed_away: it.missed_away,
        missed_late: it.missed_late,
        missed_busy: it.missed_busy,
    }
}

pub fn index(it: IndexReport) -> api::IndexState {
    api::IndexState {
        off: it.off,
        messages: it.messages,
        segments: it.segments,
        disk_bytes: it.disk_bytes,
        memory_bytes: it.memory_bytes,
        added: it.added,
        due: it.due,
        asked: it.asked,
        decided: it.decided,
        error: it.error,
    }
}

fn node(it: NodeReport) -> api::Node {
    api::Node {
        number: it.number.into(),
        name: it.name,
        address: it.address,
        state: if it.is_up { "up" } else { "down" }.to_owned(),
        draining: it.draining,
        voter: it.voter,
        leader: it.leader,
        session: it.session,
        primaries: it.primaries,
        in_sync: it.in_sync,
        learning: it.learning,
        zone: it.zone,
        load: it.load,
        exhausted: it.exhausted,
        incarnation: format!("{:016x}", it.incarnation),
        ..api::Node::default()
    }
}

fn link(it: LinkReport) -> api::Link {
    let state = match (it.is_up, it.through) {
        (true, None) => "up".to_owned(),
        (true, Some(third)) => format!("through {third}"),
        (false, _) => "down".to_owned(),
    };
    api::Link { node: it.node, state, seconds: it.seconds, lost: it.lost }
}

fn behind(leader: &str, it: BehindReport) -> api::Behind {
    api::Behind {
        leader: leader.to_owned(),
        follower: it.follower,
        partitions: it.partitions,
        waiting: it.waiting,
        groups: it.groups,
        groups_max: it.groups_max,
    }
}

pub fn partition(it: PartitionReport) -> api::Partition {
    api::Partition {
        partition: it.partition.into(),
        state: it.state.to_owned(),
        primary: it.primary.unwrap_or_default(),
        in_sync: it.in_sync,
        learners: it.learners,
        version: it.version,
        placed: it.placed.unwrap_or_default(),
    }
}

pub fn history(node: String, it: HistoryReport) -> api::StageHistoryReply {
    let point = |it: StagePoint| api::StagePoint {
        unix_ms: it.unix_ms,
        elapsed_ms: it.elapsed_ms,
        depth: it.depth,
        processed: it.processed,
        batches: it.batches,
        refusals: it.refusals,
        wait_us: it.wait_us,
        service_us: it.service_us,
    };
    let series = |(name, points): (String, Vec<StagePoint>)| api::StageSeries {
        name,
        points: points.into_iter().map(point).collect(),
    };
    let stages = it.stages.into_iter().map(series).collect();
    api::StageHistoryReply { node, every_ms: it.every_ms, stages }
}

pub fn event_place(it: EventPlace) -> api::EventPlace {
    let EventPlace { unix_ms, node, run, number } = it;
    api::EventPlace { unix_ms, node, run, number }
}

pub fn event(it: EventReport) -> api::Event {
    let field =
        |(key, value): (&'static str, String)| api::EventField { key: key.to_owned(), value };
    api::Event {
        place: Some(event_place(it.place)),
        level: crate::log::level_name(it.level).to_owned(),
        kind: it.kind,
        fields: it.fields.into_iter().map(field).collect(),
    }
}

fn cluster_state(it: ClusterReport) -> api::ClusterState {
    api::ClusterState {
        map_index: it.map_index,
        replicas: it.replicas,
        min_in_sync: it.min_in_sync,
        min_in_sync_wanted: it.min_in_sync_wanted,
        moves: it.moves,
        feature_level: it.feature_level,
        whole: it.whole,
        few: it.few,
        too_few: it.too_few,
        leaderless: it.leaderless,
        filling: it.filling,
        copies_in_sync: it.copies_in_sync,
        copies_wanted: it.copies_wanted,
        placed: it.placed,
    }
}

fn move_under_way(it: MoveReport) -> api::MoveUnderWay {
    api::MoveUnderWay {
        partition: it.partition.into(),
        primary: it.primary,
        node: it.node,
        step: it.step.to_owned(),
        ordered: it.ordered,
        copied_bytes: it.copied_bytes,
    }
}

fn latency(it: Latency) -> api::Latency {
    api::Latency {
        count: it.count,
        sum_us: it.sum_us,
        p50_us: it.p50_us,
        p99_us: it.p99_us,
        max_us: it.max_us,
    }
}

fn stage(it: StageReport) -> api::Stage {
    api::Stage {
        name: it.name,
        depth: it.depth,
        depth_max: it.depth_max,
        wait: Some(latency(it.wait)),
        service: Some(latency(it.service)),
        processed: it.processed,
        batches: it.batches,
        wakes: it.wakes,
        hops: it.hops,
        refusals: it.refusals,
    }
}

fn admission(it: AdmissionReport) -> api::Admission {
    api::Admission {
        name: it.name,
        taken_bytes: it.taken_bytes,
        allowed_bytes: it.allowed_bytes,
        waiting: it.waiting,
        waiting_max: it.waiting_max,
        held: it.held,
        refused: it.refused,
    }
}

fn store(it: StoreReport) -> api::Store {
    let space = match it.space {
        SpaceState::Ample => "ample",
        SpaceState::Low => "low",
        SpaceState::Exhausted => "exhausted",
    };
    api::Store {
        groups: it.groups,
        batches: it.batches,
        syncs: it.syncs,
        bytes_written: it.bytes_written,
        sync_time: Some(latency(it.sync_time)),
        disk_bytes_used: it.disk_bytes_used,
        disk_bytes_free: it.disk_bytes_free,
        cache_bytes: it.cache_bytes,
        memtable_bytes: it.memtable_bytes,
        memory_hits: it.memory_hits,
        memory_misses: it.memory_misses,
        space: space.to_owned(),
        errors: it.errors,
    }
}

pub fn session(it: SessionReport) -> api::Session {
    api::Session {
        session: it.session,
        protocol: it.protocol.name().to_owned(),
        ip: it.ip.to_string(),
        account: it.account,
        tls: it.tls,
        connected_seconds: it.connected_seconds,
        idle_seconds: it.idle_seconds,
        bytes_in: it.bytes_in,
        bytes_out: it.bytes_out,
        activity: it.activity,
        node: String::new(),
    }
}

pub fn finding(it: crate::control::Finding) -> api::Finding {
    api::Finding { thing: it.thing, reason: it.reason, next_step: it.next_step }
}

pub fn backup(report: crate::control::BackupReport) -> api::BackupReport {
    api::BackupReport {
        dir: report.dir.display().to_string(),
        files: report.files,
        bytes: report.bytes,
        findings: report.findings.into_iter().map(finding).collect(),
        nodes: Vec::new(),
        incarnation: format!("{:016x}", report.incarnation),
    }
}

pub fn check(report: CheckReport) -> api::CheckReport {
    api::CheckReport {
        entries: report.entries,
        bytes: report.bytes,
        users: report.users,
        messages: report.messages,
        blobs: report.blobs,
        findings: report.findings.into_iter().map(finding).collect(),
        nodes: Vec::new(),
        copies_compared: 0,
        copies_moving: 0,
    }
}

pub fn survey(report: crate::control::SurveyReport) -> api::SurveyReply {
    // A copy under construction holds nothing that could be compared.
    let whole = report.copies.into_iter().filter(|(_, copy)| copy.whole);
    let copy = |(partition, copy): (u16, dds::survey::Copy)| api::Copy {
        partition: partition.into(),
        number: copy.applied.0,
        hash: copy.applied.1,
        meta: copy.meta,
        bodies: copy.bodies,
    };
    api::SurveyReply { map_index: report.map_index, copies: whole.map(copy).collect() }
}

fn scrub_state(state: ScrubState) -> api::ScrubState {
    api::ScrubState {
        rounds: state.rounds,
        last: state.last.map(scrub_round),
        all: Some(scrub_round(state.all)),
        findings: state.findings,
    }
}

fn scrub_round(round: Round) -> api::ScrubRound {
    api::ScrubRound {
        partitions: round.partitions,
        bytes: round.bytes,
        differences: round.differences,
        repaired: round.repairs,
        undecided: round.undecided,
        unfinished: round.unfinished,
        ended_ms: round.ended_ms,
    }
}

pub fn scrub(report: ScrubReport) -> api::ScrubReply {
    api::ScrubReply {
        round: Some(scrub_round(report.round)),
        missed_nodes: report.missed_nodes.into_iter().map(u32::from).collect(),
    }
}
