//! Status data of clusters that there are not, and the pages of them.
#![allow(dead_code, reason = "tests and the example use different parts")]

use askama::Template;
use operator_console::health::judge;
use operator_console::model::*;
use operator_console::pages::*;

pub struct Sample {
    status: Status,
    events: EventList,
    sessions: SessionList,
    accounts: AccountList,
    history: History,
}

fn node(number: u64, of: u64) -> Node {
    let down = of == 9 && number == 4;
    Node {
        number: u32::try_from(number).expect("few"),
        name: format!("node{number}"),
        address: if of == 1 { String::new() } else { format!("10.0.0.{number}:2701") },
        state: if down { "down" } else { "up" }.to_owned(),
        draining: of == 9 && number == 7,
        voter: number <= 5,
        leader: number == 2 || of == 1,
        session: number,
        primaries: if down { 0 } else { 256 / of },
        in_sync: if down { 0 } else { 256 * of.min(3) / of },
        learning: if of == 9 && number == 8 { 3 } else { 0 },
        zone: if of == 9 { format!("rack{}", number % 3) } else { String::new() },
        users: (of > 1 && !down).then_some(12_000 / of + 37 * number),
        users_loaded: (!down).then_some(120 + number),
        sessions: (!down).then_some(340 + 11 * number),
        load: (!down).then_some(1200 + 17 * number),
        exhausted: false,
        incarnation: format!("{:016x}", number * 0x9e37_79b9_7f4a),
        version: (!down).then(|| "0.1.0".to_owned()),
        uptime_seconds: (!down).then_some(86_400 * number),
        disk_bytes_used: (!down).then_some((40 + number) << 30),
        disk_bytes_free: (!down).then_some((200 - number) << 30),
        space: (!down).then(|| if of == 9 && number == 9 { "low" } else { "ample" }.to_owned()),
    }
}

fn status(of: u64) -> Status {
    let nodes: Vec<Node> = (1..=of).map(|number| node(number, of)).collect();
    let several = of > 1;
    let few = if of == 9 { 85 } else { 0 };
    let answers = nodes.iter().map(|it| Answer {
        node: it.name.clone(),
        silent: (!it.is_up()).then(|| "it can't be reached".to_owned()),
    });
    let moves = (0..few / 20).map(|at| Move {
        partition: u32::try_from(at * 7 + 3).expect("few"),
        primary: "node2".to_owned(),
        node: "node8".to_owned(),
        step: "filling".to_owned(),
        ordered: at == 0,
        copied_bytes: at << 21,
    });
    let others = || nodes.iter().skip(1);
    Status {
        node: "node1".to_owned(),
        version: "0.1.0".to_owned(),
        cluster: "demo".to_owned(),
        state: "ready".to_owned(),
        pid: 4711,
        uptime_seconds: 86_399,
        data: "/var/lib/hikyaku".to_owned(),
        sync: true,
        listeners: ["smtp", "submission", "imap", "imaps", "pop3"]
            .into_iter()
            .map(|name| Listener {
                name: name.to_owned(),
                address: "0.0.0.0:25".to_owned(),
                connections: 12,
                accepted: 80_123,
                refused: 4,
            })
            .collect(),
        store: Store {
            disk_bytes_used: 41 << 30,
            disk_bytes_free: 199 << 30,
            space: "ample".to_owned(),
            groups: 9_812_331,
            batches: 1_200_333,
            syncs: 1_200_333,
            bytes_written: 1 << 42,
            sync_time: Latency { p50_us: 512, p99_us: 8192, ..Latency::default() },
            ..Store::default()
        },
        partitions: Partitions { count: 256, awake: 201, under_replicated: few, unavailable: 0 },
        sessions: 351,
        users_loaded: 121,
        accounts: 12_345,
        deliveries_pending: 3,
        admission: vec![Admission {
            name: "worker-0".to_owned(),
            taken_bytes: 1 << 20,
            allowed_bytes: 64 << 20,
            waiting: 0,
            waiting_max: 4096,
            held: 17,
            refused: 0,
        }],
        cluster_state: ClusterState {
            replicas: if several { 3 } else { 1 },
            min_in_sync: if several { 2 } else { 1 },
            min_in_sync_wanted: if several { 2 } else { 1 },
            moves: few,
            whole: 256 - few,
            few,
            filling: if few > 0 { 3 } else { 0 },
            copies_in_sync: 256 * of.min(3) - few,
            copies_wanted: 256 * of.min(3),
            placed: 2,
            ..ClusterState::default()
        },
        sums: several.then(|| Sums {
            answers: answers.collect(),
            sessions: 351 * of,
            users_loaded: 121 * of,
            accounts: 12_345,
            deliveries_pending: 3,
            disk_bytes_used: (41 * of) << 30,
            errors: Vec::new(),
            extensions: extensions(of),
        }),
        scrub: ScrubState {
            rounds: 2,
            last: Some(ScrubRound {
                partitions: 256,
                bytes: 40 << 30,
                ended_ms: 1_795_237_012_345,
                ..ScrubRound::default()
            }),
            ..ScrubState::default()
        },
        links: others()
            .map(|it| Link {
                node: it.name.clone(),
                state: it.state.clone(),
                seconds: Some(7200),
                lost: u64::from(!it.is_up()),
            })
            .collect(),
        behind: others()
            .map(|it| Behind {
                leader: "node1".to_owned(),
                follower: it.name.clone(),
                partitions: 12,
                waiting: 1,
                groups: 3,
                groups_max: 3,
            })
            .collect(),
        moves: moves.collect(),
        extensions: extensions(1),
        nodes,
        stages: Vec::new(),
    }
}

fn extensions(of: u64) -> Vec<Extension> {
    let on = |name: &str, number: u64| Extension {
        name: name.to_owned(),
        node: format!("node{number}"),
        inside: name == "index",
        connected: name == "index" || number == 1,
        decides: name == "filter",
        asked_at: if name == "filter" { "node1".to_owned() } else { String::new() },
        mailboxes: if name == "index" { 4_115 } else { 0 },
        behind: number - 1,
        behind_seconds: 3,
        decided: 812 / number,
        missed_late: number,
        ..Extension::default()
    };
    let nodes = |name: &'static str| (1..=of).map(move |number| on(name, number));
    nodes("filter").chain(nodes("index")).collect()
}

fn events(of: u64) -> EventList {
    let field =
        |key: &str, value: &str| EventField { key: key.to_owned(), value: value.to_owned() };
    let event = |at: i64, level: &str, kind: &str, fields: Vec<EventField>| Event {
        place: EventPlace {
            unix_ms: 1_795_237_012_345 - at * 61_000,
            node: format!("node{}", at.unsigned_abs() % of + 1),
            run: 0,
            number: 900 - at.unsigned_abs(),
        },
        level: level.to_owned(),
        kind: kind.to_owned(),
        fields,
    };
    let events = vec![
        event(
            0,
            "warn",
            "auth failed",
            vec![
                field("proto", "imap"),
                field("user", "ann@demo.test"),
                field("ip", "192.0.2.7"),
                field("reason", "wrong-credentials"),
            ],
        ),
        event(
            1,
            "info",
            "received",
            vec![
                field("queue-id", "0000000000000000a1"),
                field("from", "bob@demo.test"),
                field("to", "ann@demo.test"),
                field("size", "4711"),
                field("message-id", &"x".repeat(90)),
            ],
        ),
        event(
            2,
            "error",
            "trouble",
            vec![field("part", "scrub"), field("what", "partition 17: slice 3 differs on node2")],
        ),
        event(3, "warn", "node lost", vec![field("node", "node4")]),
    ];
    EventList {
        events,
        answers: Vec::new(),
        kinds: vec!["auth failed".to_owned(), "received".to_owned()],
        more: true,
    }
}

fn history() -> History {
    let series = |name: &str, scale: u64| StageSeries {
        name: name.to_owned(),
        points: (0..120_u64)
            .map(|at| {
                let wave = (at * at * 7 + at * 13) % 97;
                StagePoint {
                    unix_ms: 0,
                    elapsed_ms: 5000,
                    depth: wave % 5,
                    processed: wave * scale,
                    batches: wave * scale / 7,
                    refusals: 0,
                    wait_us: wave * 3,
                    service_us: wave * 40,
                }
            })
            .collect(),
    };
    let stages = vec![
        series("worker-0", 300),
        series("writer", 90),
        series("readers", 4),
        series("hash", 0),
        series("log", 120),
    ];
    History { node: "node1".to_owned(), every_ms: 5000, stages }
}

impl Sample {
    pub fn of(nodes: u64) -> Self {
        let session = |at: u64| Session {
            session: at,
            protocol: if at.is_multiple_of(2) { "imap" } else { "smtp" }.to_owned(),
            ip: format!("192.0.2.{at}"),
            account: at.is_multiple_of(2).then(|| format!("user{at}@demo.test")),
            tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384".to_owned()),
            connected_seconds: 300 * at,
            idle_seconds: at,
            bytes_in: 1000 * at,
            bytes_out: 1_000_000 * at,
            activity: "selected INBOX, IDLE".to_owned(),
            node: format!("node{}", at % nodes + 1),
        };
        let account = |at: u64| Account {
            address: format!("user{at}@demo.test"),
            enabled: at != 3,
            display_name: format!("User {at}"),
            quota_bytes: at.is_multiple_of(2).then_some(5 << 30),
            quota_messages: None,
            user: format!("{at:016x}"),
            bytes_used: (at != 5).then_some((at * 600) << 20),
            messages_used: (at != 5).then_some(at * 100),
            node: Some(format!("node{}", at % nodes + 1)),
            partition: Some(u32::try_from(at).expect("few")),
        };
        Self {
            status: status(nodes),
            events: events(nodes),
            sessions: SessionList { sessions: (0..12).map(session).collect(), answers: Vec::new() },
            accounts: AccountList { accounts: (0..20).map(account).collect(), total: 12_345 },
            history: history(),
        }
    }

    /// Puts a text wherever one comes from outside.
    pub fn spoil(&mut self, text: &str) {
        let evil = || text.to_owned();
        self.status.cluster = evil();
        self.status.store.errors.push(evil());
        self.status.scrub.findings.push(evil());
        for event in &mut self.events.events {
            event.kind = evil();
            event.fields.push(EventField { key: evil(), value: evil() });
        }
        self.events.kinds.push(evil());
        self.sessions.sessions[0].account = Some(evil());
        self.sessions.sessions[0].activity = evil();
        self.accounts.accounts[0].address = evil();
        self.accounts.accounts[0].display_name = evil();
    }

    fn frame(&self, part: Part, title: &str) -> Frame {
        let notice = None;
        Frame {
            title: title.to_owned(),
            part,
            cluster: self.status.cluster.clone(),
            node: self.status.node.clone(),
            form_token: "t".to_owned(),
            notice,
        }
    }

    /// By name.
    pub fn pages(&self) -> Vec<(String, String)> {
        let status = self.status.clone();
        let alone = status.is_alone();
        let list = (0..64_u32).map(|at| Partition {
            partition: at,
            state: if at % 9 == 4 && !alone { "few" } else { "whole" }.to_owned(),
            primary: "node1".to_owned(),
            in_sync: status.nodes.iter().take(3).map(|it| it.name.clone()).collect(),
            learners: Vec::new(),
            version: 12,
            placed: String::new(),
        });
        let pager = Pager::new((0, 64, 256), 64, |at| format!("/partitions?offset={at}"));
        let node = NodePage {
            frame: self.frame(Part::Nodes, "Node node1"),
            known: status.nodes[0].clone(),
            alone,
            own: Some(status.clone()),
            ..NodePage::default()
        };
        let mut sessions = self.sessions.clone();
        sessions.sessions.truncate(2);
        let location = Location {
            account: "user2@demo.test".to_owned(),
            node: "node1".to_owned(),
            partition: 2,
            worker: 0,
            loaded: true,
            trouble: None,
            in_sync: vec!["node1".to_owned()],
        };
        let domain = Domain {
            domain: "demo.test".to_owned(),
            catch_all: None,
            subaddress_separator: Some("+".to_owned()),
            default_quota_bytes: Some(5 << 30),
            accounts: 12_345,
        };
        let alias = Alias {
            alias: "sales@demo.test".to_owned(),
            targets: vec!["user1@demo.test".to_owned(), "user2@demo.test".to_owned()],
        };
        let nodes: Vec<String> = status.nodes.iter().map(|it| it.name.clone()).collect();
        let rendered = |page: Result<String, askama::Error>| page.expect("renders");
        [
            (
                "overview",
                rendered(
                    OverviewPage {
                        frame: self.frame(Part::Overview, "Overview"),
                        concerns: judge(&status),
                        status: status.clone(),
                        users: 6,
                        events: self.events.events.clone(),
                    }
                    .render(),
                ),
            ),
            (
                "nodes",
                rendered(
                    NodesPage { frame: self.frame(Part::Nodes, "Nodes"), status: status.clone() }
                        .render(),
                ),
            ),
            ("node", rendered(node.with_history(&self.history).render())),
            (
                "partitions",
                rendered(
                    PartitionsPage {
                        frame: self.frame(Part::Partitions, "Partitions"),
                        status: status.clone(),
                        list: PartitionList { partitions: list.collect(), total: 256 },
                        state: String::new(),
                        pager: pager.clone(),
                    }
                    .render(),
                ),
            ),
            (
                "accounts",
                rendered(
                    AccountsPage {
                        frame: self.frame(Part::Accounts, "Accounts"),
                        list: self.accounts.clone(),
                        pager,
                        alone,
                        ..AccountsPage::default()
                    }
                    .render(),
                ),
            ),
            (
                "account",
                rendered(
                    AccountPage {
                        frame: self.frame(Part::Accounts, "user2@demo.test"),
                        account: self.accounts.accounts[2].clone(),
                        location: Some(location),
                        sessions,
                        aliases: vec![alias.clone()],
                        nodes: nodes.iter().skip(1).cloned().collect(),
                        quota: "5 GiB".to_owned(),
                    }
                    .render(),
                ),
            ),
            (
                "domains",
                rendered(
                    DomainsPage {
                        frame: self.frame(Part::Domains, "Domains and aliases"),
                        domains: vec![domain.clone()],
                        aliases: vec![alias],
                        chosen: String::new(),
                    }
                    .render(),
                ),
            ),
            (
                "domain",
                rendered(
                    DomainPage {
                        frame: self.frame(Part::Domains, "demo.test"),
                        domain,
                        quota: "5 GiB".to_owned(),
                    }
                    .render(),
                ),
            ),
            (
                "sessions",
                rendered(
                    SessionsPage {
                        frame: self.frame(Part::Sessions, "Sessions"),
                        list: self.sessions.clone(),
                        search: String::new(),
                        total: 12,
                        users: 6,
                        protocols: vec![("imap".to_owned(), 5), ("webmail".to_owned(), 2)],
                    }
                    .render(),
                ),
            ),
            (
                "events",
                rendered(
                    EventsPage {
                        frame: self.frame(Part::Events, "Events"),
                        list: self.events.clone(),
                        nodes,
                        older: Some("/events?before=1".to_owned()),
                        ..EventsPage::default()
                    }
                    .render(),
                ),
            ),
            (
                "confirm",
                rendered(
                    ConfirmPage {
                        frame: self.frame(Part::Nodes, "Drain node node1?"),
                        says: vec!["Everything that it holds moves to other nodes.".to_owned()],
                        action: "/x".to_owned(),
                        fields: vec![("to", "b".to_owned())],
                        button: "Drain it".to_owned(),
                        grave: true,
                        back: "/".to_owned(),
                        command: "hikyaku node drain node1".to_owned(),
                    }
                    .render(),
                ),
            ),
            (
                "sign-in",
                rendered(
                    SignInPage {
                        refused: Some("This is not the admin token of this node.".to_owned()),
                        token_file: "/var/lib/hikyaku/admin.token".to_owned(),
                        node: "node1".to_owned(),
                        next: "/".to_owned(),
                    }
                    .render(),
                ),
            ),
            (
                "error",
                rendered(
                    ErrorPage {
                        title: "Not here".to_owned(),
                        text: "There is no such page.".to_owned(),
                    }
                    .render(),
                ),
            ),
        ]
        .into_iter()
        .map(|(name, page)| (name.to_owned(), page))
        .collect()
    }
}
