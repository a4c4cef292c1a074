//! The pages. Everything is escaped where it is shown.

use crate::assets::{ICON, SCRIPT, STYLE};
use crate::filters;
use crate::health::{Concern, Grade};
use crate::model::{
    Account, AccountList, Alias, Answer, Domain, Event, EventList, History, Location, Node,
    Partition, PartitionList, Session, SessionList, StagePoint, StageSeries, Status,
};
use crate::plot::Plot;
use crate::sign_in::Notice;
use askama::Template;

/// The parts of the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    #[default]
    Overview,
    Nodes,
    Partitions,
    Accounts,
    Domains,
    Sessions,
    Events,
}

/// Addresses and names, in the order of the navigation.
const PARTS: [(Part, &str, &str); 7] = [
    (Part::Overview, "/", "Overview"),
    (Part::Nodes, "/nodes", "Nodes"),
    (Part::Partitions, "/partitions", "Partitions"),
    (Part::Accounts, "/accounts", "Accounts"),
    (Part::Domains, "/domains", "Domains"),
    (Part::Sessions, "/sessions", "Sessions"),
    (Part::Events, "/events", "Events"),
];

/// What every page shows around its own.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub title: String,
    pub part: Part,
    pub cluster: String,
    /// The node that answers.
    pub node: String,
    pub form_token: String,
    pub notice: Option<Notice>,
}

impl Frame {
    fn parts(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        PARTS.iter().map(|(part, path, name)| (*path, *name, *part == self.part))
    }
}

fn icon() -> &'static str {
    &ICON.path
}

fn style() -> &'static str {
    &STYLE.path
}

fn script() -> &'static str {
    &SCRIPT.path
}

/// The sign-in.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    pub refused: Option<String>,
    /// Where the token is found.
    pub token_file: String,
    pub node: String,
    /// Where to go then: a path of this site.
    pub next: String,
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    pub title: String,
    pub text: String,
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "overview.html")]
pub struct OverviewPage {
    pub frame: Frame,
    pub status: Status,
    pub concerns: Vec<Concern>,
    /// Accounts with at least one session.
    pub users: usize,
    /// Warnings and errors.
    pub events: Vec<Event>,
}

impl OverviewPage {
    fn grade(&self) -> Grade {
        self.concerns.first().map_or(Grade::Well, |it| it.grade)
    }
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "nodes.html")]
pub struct NodesPage {
    pub frame: Frame,
    pub status: Status,
}

impl NodesPage {
    fn has_zones(&self) -> bool {
        self.status.nodes.iter().any(|node| !node.zone.is_empty())
    }

    fn voters(&self) -> usize {
        self.status.nodes.iter().filter(|node| node.voter).count()
    }
}

/// One node.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "node.html")]
pub struct NodePage {
    pub frame: Frame,
    /// As the cluster knows it.
    pub known: Node,
    pub alone: bool,
    /// What it says itself, or why it says nothing.
    pub own: Option<Status>,
    pub silent: String,
    pub stages: Vec<StageLine>,
    /// Of the curves.
    pub minutes: u64,
}

/// A stage and its last minutes.
#[derive(Clone, Debug, Default)]
pub struct StageLine {
    pub name: String,
    pub done: Plot,
    pub depth: Plot,
    pub wait: Plot,
    pub service: Plot,
    pub batch: String,
    pub refusals: u64,
}

#[expect(clippy::cast_precision_loss, reason = "figures of a few seconds")]
fn float(number: u64) -> f64 {
    number as f64
}

fn ratio(of: u64, by: u64) -> f64 {
    if by == 0 { 0.0 } else { float(of) / float(by) }
}

/// With one digit behind the point while there are few before it.
fn number(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn micros(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of counts")]
    let whole = value as u64;
    filters::micros(whole).unwrap_or_default()
}

impl StageLine {
    fn of(series: &StageSeries) -> Self {
        let values =
            |of: &dyn Fn(&StagePoint) -> f64| series.points.iter().map(of).collect::<Vec<_>>();
        let sum = |of: &dyn Fn(&StagePoint) -> u64| series.points.iter().map(of).sum::<u64>();
        let rate = values(&|it| ratio(it.processed * 1000, it.elapsed_ms));
        Self {
            name: series.name.clone(),
            done: Plot::of(&rate, number),
            depth: Plot::of(&values(&|it| float(it.depth)), number),
            wait: Plot::of(&values(&|it| float(it.wait_us)), micros),
            service: Plot::of(&values(&|it| float(it.service_us)), micros),
            batch: number(ratio(sum(&|it| it.processed), sum(&|it| it.batches))),
            refusals: sum(&|it| it.refusals),
        }
    }
}

impl NodePage {
    /// Puts what the stages did into curves.
    #[must_use]
    pub fn with_history(mut self, history: &History) -> Self {
        let first = history.stages.first();
        let ms: u64 = first.map_or(0, |it| it.points.iter().map(|it| it.elapsed_ms).sum());
        self.minutes = ms.div_ceil(60_000);
        self.stages = history.stages.iter().map(StageLine::of).collect();
        self
    }
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "partitions.html")]
pub struct PartitionsPage {
    pub frame: Frame,
    pub status: Status,
    pub list: PartitionList,
    /// The state that is listed; empty: all.
    pub state: String,
    pub pager: Pager,
}

/// States of partitions, their counts, and what each means.
impl PartitionsPage {
    fn states(&self) -> [(&'static str, u64, &'static str); 4] {
        let state = &self.status.cluster_state;
        [
            ("whole", state.whole, "all copies that there are nodes for"),
            ("few", state.few, "fewer copies, and served"),
            ("too few", state.too_few, "too few copies to acknowledge anything"),
            ("leaderless", state.leaderless, "nobody leads it: not served"),
        ]
    }

    fn filters(&self) -> [(&'static str, &'static str); 6] {
        [
            ("", "all"),
            ("whole", "whole"),
            ("few", "few copies"),
            ("too few", "too few copies"),
            ("leaderless", "without a leader"),
            ("moving", "moving"),
        ]
    }

    fn is_chosen(&self, state: &str) -> bool {
        self.state == state
    }

    fn partitions(&self) -> &[Partition] {
        &self.list.partitions
    }
}

/// Where a list goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pager {
    /// The first and last that are shown, counted from 1, of how many.
    pub first: u64,
    pub last: u64,
    pub total: u64,
    /// Addresses of the pages beside this one.
    pub back: Option<String>,
    pub on: Option<String>,
}

impl Pager {
    /// Of a list that shows `shown` behind the first `offset` of `total`. `address` names the page at an offset.
    #[must_use]
    pub fn new(
        (offset, shown, total): (u64, u64, u64),
        size: u64,
        address: impl Fn(u64) -> String,
    ) -> Self {
        let last = offset + shown;
        Self {
            first: if shown == 0 { 0 } else { offset + 1 },
            last,
            total,
            back: (offset > 0).then(|| address(offset.saturating_sub(size))),
            on: (last < total).then(|| address(last)),
        }
    }
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "accounts.html")]
pub struct AccountsPage {
    pub frame: Frame,
    pub list: AccountList,
    pub search: String,
    pub pager: Pager,
    pub alone: bool,
    /// What stood in the form that was refused.
    pub address: String,
}

impl AccountsPage {
    fn accounts(&self) -> &[Account] {
        &self.list.accounts
    }
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    pub frame: Frame,
    pub account: Account,
    pub location: Option<Location>,
    pub sessions: SessionList,
    pub aliases: Vec<Alias>,
    /// Where it may be moved to.
    pub nodes: Vec<String>,
    /// As in `5 GiB`.
    pub quota: String,
}

impl AccountPage {
    fn sessions(&self) -> &[Session] {
        &self.sessions.sessions
    }
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "domains.html")]
pub struct DomainsPage {
    pub frame: Frame,
    pub domains: Vec<Domain>,
    pub aliases: Vec<Alias>,
    /// The domain whose aliases are listed; empty: all.
    pub chosen: String,
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "domain.html")]
pub struct DomainPage {
    pub frame: Frame,
    pub domain: Domain,
    pub quota: String,
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "sessions.html")]
pub struct SessionsPage {
    pub frame: Frame,
    pub list: SessionList,
    pub search: String,
    /// How many match, and of how many users; those that are shown are the first of them.
    pub total: usize,
    pub users: usize,
    pub protocols: Vec<(String, usize)>,
}

impl SessionsPage {
    fn sessions(&self) -> &[Session] {
        &self.list.sessions
    }
}

#[derive(Clone, Debug, Default, Template)]
#[template(path = "events.html")]
pub struct EventsPage {
    pub frame: Frame,
    pub list: EventList,
    pub nodes: Vec<String>,
    pub wanted: EventFilter,
    /// The address of older ones, when there are some.
    pub older: Option<String>,
    pub newest: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub node: String,
    pub level: String,
    pub kind: String,
    pub text: String,
}

impl EventsPage {
    fn is_level(&self, level: &str) -> bool {
        self.wanted.level == level
    }

    fn levels(&self) -> [(&'static str, &'static str); 5] {
        [
            ("", "all"),
            ("error", "errors"),
            ("warn", "warnings and errors"),
            ("info", "without debug"),
            ("debug", "everything"),
        ]
    }
}

/// Nodes that did not answer.
fn silent(answers: &[Answer]) -> Vec<(&str, &str)> {
    answers.iter().filter_map(|it| Some((it.node.as_str(), it.silent.as_deref()?))).collect()
}

/// What will happen, before it does.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "confirm.html")]
pub struct ConfirmPage {
    pub frame: Frame,
    /// What will happen, by paragraph.
    pub says: Vec<String>,
    /// Where the form goes.
    pub action: String,
    /// Hidden fields.
    pub fields: Vec<(&'static str, String)>,
    /// On the button: the deed, not "OK".
    pub button: String,
    /// It can't be taken back.
    pub grave: bool,
    /// Where to go instead.
    pub back: String,
    /// The same on the command line.
    pub command: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pagers_know_their_ends() {
        let address = |offset| format!("/x?offset={offset}");
        let first = Pager::new((0, 50, 120), 50, address);
        assert_eq!(
            (first.first, first.last, first.back, first.on.as_deref()),
            (1, 50, None, Some("/x?offset=50"))
        );
        let last = Pager::new((100, 20, 120), 50, address);
        assert_eq!(
            (last.first, last.last, last.on, last.back.as_deref()),
            (101, 120, None, Some("/x?offset=50"))
        );
        let empty = Pager::new((0, 0, 0), 50, address);
        assert_eq!((empty.first, empty.last, empty.back, empty.on), (0, 0, None, None));
    }
}
