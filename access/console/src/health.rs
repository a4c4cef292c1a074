//! The state of the whole in a sentence: what is wrong and what to do, or that all is well.

use crate::filters;
use crate::model::Status;

/// How grave a thing is, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// All is as it should be.
    Well,
    /// Something is under way; nothing is to be done.
    Busy,
    /// Everything is served; somebody should look at it.
    Warning,
    /// Something is not served, or not safe.
    Trouble,
}

impl Grade {
    /// The class of the style sheet.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Busy => "busy",
            Self::Warning => "warning",
            Self::Trouble => "trouble",
        }
    }

    /// So that colour is never the only sign.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Well => "All is well",
            Self::Busy => "At work",
            Self::Warning => "Look at this",
            Self::Trouble => "Trouble",
        }
    }
}

/// One thing that is to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    pub grade: Grade,
    pub what: String,
    /// The next step; empty: none.
    pub then: String,
}

/// What is to be known, the gravest first. Never empty.
#[must_use]
pub fn judge(status: &Status) -> Vec<Concern> {
    let mut all = Vec::new();
    partitions(status, &mut all);
    nodes(status, &mut all);
    space(status, &mut all);
    damage(status, &mut all);
    under_way(status, &mut all);
    if all.iter().all(|it| it.grade < Grade::Warning) {
        all.push(well(status));
    }
    all.sort_by_key(|it| std::cmp::Reverse(it.grade));
    all
}

fn concern(grade: Grade, what: String, then: impl Into<String>) -> Concern {
    Concern { grade, what, then: then.into() }
}

/// As in `3 partitions`.
fn some(count: u64, what: &str) -> String {
    let shown = filters::count(count).unwrap_or_default();
    if count == 1 { format!("{shown} {what}") } else { format!("{shown} {what}s") }
}

fn has(count: u64) -> &'static str {
    if count == 1 { "has" } else { "have" }
}

fn well(status: &Status) -> Concern {
    let partitions = some(status.partitions.count, "partition");
    let what = match status.nodes.len() {
        0 | 1 => format!("Node {} serves {partitions} and everything works.", status.node),
        nodes => format!(
            "{} serve {partitions}, and each has all of its copies.",
            some(nodes as u64, "node")
        ),
    };
    concern(Grade::Well, what, "")
}

/// The names of nodes that are down, for a next step.
fn down(status: &Status) -> Vec<&str> {
    let down = status.nodes.iter().filter(|node| !node.is_up());
    down.map(|node| node.name.as_str()).collect()
}

fn partitions(status: &Status, all: &mut Vec<Concern>) {
    let state = &status.cluster_state;
    let down = down(status);
    let bring_back = if down.is_empty() {
        "Look at the nodes and their events.".to_owned()
    } else {
        format!(
            "Start {} again. If their disks are lost for good, see “Losing a majority” in docs/operating.md.",
            down.join(", ")
        )
    };
    if state.leaderless > 0 {
        let what = format!(
            "{} {} no leader: the mailboxes in there are not served.",
            some(state.leaderless, "partition"),
            has(state.leaderless)
        );
        all.push(concern(Grade::Trouble, what, bring_back.clone()));
    }
    if state.too_few > 0 {
        let what = format!(
            "{} {} too few copies: nothing is acknowledged there, and senders try again later.",
            some(state.too_few, "partition"),
            has(state.too_few)
        );
        all.push(concern(Grade::Trouble, what, bring_back));
    }
    if state.few > 0 {
        let what = format!(
            "{} {} fewer copies than wanted, and {} served.",
            some(state.few, "partition"),
            has(state.few),
            if state.few == 1 { "is" } else { "are" }
        );
        let then = match (state.filling, down.is_empty()) {
            (0, false) => "They get theirs when the node is back.".to_owned(),
            (0, true) => "Copies will be made; look again in a minute.".to_owned(),
            (copies, _) => format!("{} being made.", some_are(copies)),
        };
        all.push(concern(Grade::Warning, what, then));
    }
    if !status.is_alone() && state.min_in_sync < state.min_in_sync_wanted {
        let what = format!(
            "Mail is acknowledged with {} as long as there is no more; {} are wanted.",
            some(state.min_in_sync.into(), "copy").replace("copys", "copies"),
            state.min_in_sync_wanted
        );
        all.push(concern(Grade::Warning, what, "That ends when enough nodes hold everything."));
    }
}

fn some_are(copies: u64) -> String {
    if copies == 1 { "1 copy is".to_owned() } else { format!("{copies} copies are") }
}

fn nodes(status: &Status, all: &mut Vec<Concern>) {
    for node in &status.nodes {
        let name = &node.name;
        if !node.is_up() {
            let what = format!("Node {name} is down.");
            let then = format!(
                "Start it on its host: hikyaku --node {name} serve. To do without it, remove it on its page."
            );
            all.push(concern(Grade::Warning, what, then));
        } else if let Some(why) = status.silence_of(name) {
            let what = format!("Node {name} does not answer: {why}.");
            all.push(concern(Grade::Warning, what, "Look at its host and at its log."));
        }
    }
    if !status.sync {
        let what = format!(
            "Node {} runs with store.sync = false: what it acknowledges is lost when its machine stops.",
            status.node
        );
        let then = "Take that out of its configuration and start it again.";
        all.push(concern(Grade::Trouble, what, then));
    }
}

fn space(status: &Status, all: &mut Vec<Concern>) {
    for node in &status.nodes {
        let space = node.space.as_deref().unwrap_or_default();
        let name = &node.name;
        if node.exhausted || space == "exhausted" {
            let what = format!("Node {name} has no space left: only deletions pass there.");
            let then = "Make room on its disk, or move mailboxes to other nodes.";
            all.push(concern(Grade::Trouble, what, then));
        } else if space == "low" {
            let what = format!(
                "Node {name} is short of space: deliveries get 452, and senders try again."
            );
            all.push(concern(Grade::Warning, what, "Make room on its disk."));
        }
    }
}

fn damage(status: &Status, all: &mut Vec<Concern>) {
    let damaged = status.damage().len() as u64;
    if damaged > 0 {
        let what = format!(
            "{} found damaged since the start.",
            some(damaged, "mailbox").replace("mailboxs", "mailboxes")
        );
        let then = "Run hikyaku check: it tells all that is damaged, and what to do.";
        all.push(concern(Grade::Trouble, what, then));
    }
    let undecided = status.scrub.last.as_ref().map_or(0, |round| round.undecided);
    if undecided > 0 {
        let what = "Copies of a partition differ, and nobody can say which is right.".to_owned();
        let then = "See “Silent damage” in docs/operating.md, and the findings under Partitions.";
        all.push(concern(Grade::Trouble, what, then));
    }
}

fn under_way(status: &Status, all: &mut Vec<Concern>) {
    for node in status.nodes.iter().filter(|node| node.draining) {
        let what = match node.primaries + node.in_sync + node.learning {
            0 => format!("Node {} is drained: it holds nothing.", node.name),
            _ => format!(
                "Node {} is being drained: it still holds {}.",
                node.name,
                some(node.in_sync, "partition")
            ),
        };
        all.push(concern(Grade::Busy, what, "It can be stopped or removed when it holds nothing."));
    }
    let moves = status.cluster_state.moves;
    if moves > 0 {
        let verb = if moves == 1 { "is" } else { "are" };
        let what = format!("{} {verb} changing hands or members.", some(moves, "partition"));
        all.push(concern(Grade::Busy, what, ""));
    }
    if status.state != "ready" {
        let what = format!("Node {} is {}.", status.node, status.state);
        all.push(concern(Grade::Busy, what, ""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Answer, Node, Sums};

    fn cluster(names: &[&str]) -> Status {
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            state: "up".to_owned(),
            ..Node::default()
        };
        let mut status = Status {
            node: names[0].to_owned(),
            state: "ready".to_owned(),
            sync: true,
            nodes: names.iter().map(node).collect(),
            ..Status::default()
        };
        status.partitions.count = 256;
        status.cluster_state.whole = 256;
        status
    }

    fn first(status: &Status) -> (Grade, String) {
        let concern = judge(status).remove(0);
        (concern.grade, concern.what)
    }

    #[test]
    fn all_is_well() {
        let alone = first(&cluster(&["one"]));
        assert_eq!(
            alone,
            (Grade::Well, "Node one serves 256 partitions and everything works.".into())
        );
        let three = first(&cluster(&["a", "b", "c"]));
        let sentence = "3 nodes serve 256 partitions, and each has all of its copies.";
        assert_eq!(three, (Grade::Well, sentence.into()));
    }

    #[test]
    fn a_dead_node_is_a_warning_while_all_is_served() {
        let mut status = cluster(&["a", "b", "c"]);
        status.nodes[1].state = "down".to_owned();
        (status.cluster_state.whole, status.cluster_state.few) = (0, 256);
        let all = judge(&status);
        assert_eq!(all[0].grade, Grade::Warning);
        assert!(
            all.iter().any(|it| it.what == "Node b is down." && it.then.contains("--node b serve"))
        );
        assert!(!all.iter().any(|it| it.grade == Grade::Well));
        status.cluster_state.leaderless = 1;
        let (grade, what) = first(&status);
        assert_eq!(grade, Grade::Trouble);
        assert_eq!(what, "1 partition has no leader: the mailboxes in there are not served.");
    }

    #[test]
    fn what_is_not_safe_is_trouble() {
        let mut status = cluster(&["a", "b"]);
        status.sync = false;
        assert_eq!(first(&status).0, Grade::Trouble);
        let mut status = cluster(&["a", "b"]);
        status.nodes[1].exhausted = true;
        assert!(first(&status).1.contains("Node b has no space left"));
        let mut status = cluster(&["a", "b"]);
        let silent = Some("gone".to_owned());
        let answers = vec![Answer { node: "b".to_owned(), silent }];
        status.sums = Some(Sums { answers, errors: vec!["x".to_owned()], ..Sums::default() });
        let all = judge(&status);
        assert_eq!(all[0].what, "1 mailbox found damaged since the start.");
        assert_eq!(all[1].what, "Node b does not answer: gone.");
    }

    #[test]
    fn work_is_no_alarm() {
        let mut status = cluster(&["a", "b"]);
        status.nodes[1].draining = true;
        status.nodes[1].in_sync = 3;
        status.cluster_state.moves = 1;
        let all = judge(&status);
        assert!(all.iter().all(|it| it.grade < Grade::Warning));
        assert_eq!(all[0].what, "Node b is being drained: it still holds 3 partitions.");
        assert_eq!(all[1].what, "1 partition is changing hands or members.");
        assert_eq!(all[2].grade, Grade::Well);
    }
}
