//! The control machine once its records have been read: carries out what the log asks for, applies what it agrees on, and follows
//! up.
//!
//! Invariant: the map is as of the last entry that the log has handed out, whenever the log is asked for more.

use super::leading::Leading;
use super::log::{Committed, ControlLog, MemberId, Members, Work};
use super::proposals::{Asker, Errand, Proposals, Route};
use super::registration::{self, Registration};
use super::writer::{After, Writer, Written};
use super::{Config, Effect, Event, RAFT_TICK, RETRY, Stop, TICK, records};
use crate::StoreError;
use crate::cluster::{
    ClusterMap, Command, Delta, Incarnation, Node, NodeId, Objection, Reports, Session, Start,
    Verdict, decode_map, decode_proposal, encode_map, encode_proposal,
};
use crate::report::Report;
use bytes::Bytes;
use fsm::{Cx, Digest, Token};
use prost::Message;
use proto::cluster as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::control_message::Body;

#[derive(Debug)]
pub(super) struct Running {
    config: Config,
    log: Box<dyn ControlLog>,
    map: ClusterMap,
    members: Members,
    writer: Writer,
    proposals: Proposals,
    registration: Registration,
    role: Role,
    /// What watchers were told.
    leader: Option<NodeId>,
    /// Watchers have the map; from now on they get what changes.
    told: bool,
    /// Whom a node that is to join can ask, and how often each was.
    met: BTreeMap<NodeId, u64>,
    /// What nodes say of themselves: for when this one leads.
    reports: Reports,
    armed: Armed,
}

#[derive(Debug)]
enum Role {
    Following,
    Leading(Box<Leading>),
}

/// Timers that will fire.
#[derive(Debug, Default)]
struct Armed {
    raft_tick: bool,
    tick: bool,
}

/// Whether the machine goes on.
pub(super) type Health = Result<(), Stop>;

/// What a machine begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub log: Box<dyn ControlLog>,
    pub map: ClusterMap,
    pub session: Session,
    pub writer: Writer,
}

impl Running {
    /// `beginning.session` is being written, or is the last that was.
    pub fn new(config: Config, beginning: Beginning) -> Self {
        let Beginning { log, map, session, writer } = beginning;
        let Config { node, incarnation, start, .. } = config;
        let members = log.members();
        Self {
            config,
            log,
            map,
            members,
            writer,
            proposals: Proposals::new(node, start),
            registration: Registration::new(node, incarnation, start, session),
            role: Role::Following,
            leader: None,
            told: false,
            met: BTreeMap::new(),
            reports: Reports::new(),
            armed: Armed::default(),
        }
    }

    /// Applies what was known to be committed, and tells watchers of the outcome.
    pub fn begin(&mut self, cx: &mut Cx<'_, Effect>) -> Health {
        if let registration::State::Writing(session) = self.registration.state() {
            self.write_session(session);
        }
        let work = self.log.work();
        self.carry_out(cx, work)?;
        if self.map.is_founded() {
            cx.emit(Effect::Changed(Delta::whole(&self.map)));
            self.told = true;
        }
        self.log.campaign_alone();
        self.settle(cx)
    }

    pub fn on_received(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, bytes: &[u8]) -> Health {
        let body = wire::ControlMessage::decode(bytes).ok().and_then(|message| message.body);
        let refused = match body {
            None => Err("a message that can't be read"),
            Some(Body::Raft(message)) => self.on_raft(from, message),
            Some(Body::Proposals(asked)) => self.on_proposals(cx, from, asked),
            Some(Body::OldImage(told)) => {
                let (incarnation, start) = (Incarnation(told.incarnation), Start(told.start));
                self.registration.on_told(cx, incarnation, start);
                Ok(())
            }
        };
        if let Err(why) = refused {
            cx.emit(Effect::Log(Event::Refused { from, why }));
        }
        self.settle(cx)
    }

    fn on_raft(&mut self, from: NodeId, message: wire::RaftMessage) -> Result<(), &'static str> {
        if MemberId(message.from).node() != from {
            return Err("a message in another node's name");
        }
        if message.to != self.me().0 {
            // For the data directory that this node had before: the leader will hear of the new one.
            return Ok(());
        }
        self.log.step(message)
    }

    fn on_proposals(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        from: NodeId,
        asked: wire::Proposals,
    ) -> Result<(), &'static str> {
        if asked.proposals.len() > self.config.limits.proposals_per_message_max {
            return Err("too many proposals");
        }
        let mut sound = Vec::with_capacity(asked.proposals.len());
        for proposal in &asked.proposals {
            let bytes = proposal.encode_to_vec();
            let proposal = decode_proposal(&bytes).map_err(|malformed| malformed.0)?;
            if proposal.by != from && !asked.passed_on {
                return Err("a proposal in another node's name");
            }
            sound.push(encode_proposal(&proposal));
        }
        let standing = self.log.standing();
        let leader = standing.leader.map(MemberId::node).filter(|&leader| leader != from);
        if standing.leads {
            // What does not fit now is sent again by its node.
            for bytes in sound {
                self.log.propose(bytes);
            }
        } else if let Some(to) = leader.filter(|_| !asked.passed_on) {
            let passed_on = wire::Proposals { passed_on: true, ..asked };
            send(cx, to, Body::Proposals(passed_on));
        }
        Ok(())
    }

    pub fn on_heard(&mut self, cx: &mut Cx<'_, Effect>, node: NodeId, session: Session) -> Health {
        if let Role::Leading(leading) = &mut self.role {
            leading.on_heard(cx.mono(), node, session);
        }
        if self.is_outside() && node != self.config.node && self.met.len() < MET_MAX {
            self.met.entry(node).or_default();
            return self.settle(cx);
        }
        Ok(())
    }

    pub fn on_reported(&mut self, node: NodeId, report: Arc<Report>) {
        if self.map.nodes.contains_key(&node) {
            self.reports.insert(node, report);
        }
    }

    pub fn on_propose(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (from, token): (u64, Token),
        command: Command,
    ) -> Health {
        let objection = if self.proposals.len() >= self.config.limits.proposals_max {
            Some(Objection::Overloaded)
        } else if self.is_outside() {
            Some(Objection::NotReady)
        } else {
            None
        };
        if let Some(objection) = objection {
            let verdict = Verdict::Refused(objection);
            cx.emit(Effect::Decided { from, token, verdict });
            return Ok(());
        }
        self.proposals.ask(cx.mono(), Asker::Local { from, token }, command);
        self.settle(cx)
    }

    pub fn on_stored(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        token: Token,
        result: Result<(), StoreError>,
    ) -> Health {
        match self.writer.on_stored(token, result) {
            Written::Done(after) => {
                for after in after {
                    match after {
                        After::Log(number) => self.log.on_written(number),
                        After::Session(session) => self.registration.on_written(session),
                    }
                }
            }
            Written::Failed(error) => {
                cx.emit(Effect::Log(Event::StoreFailed(error)));
                cx.arm(RETRY, self.config.limits.retry_after);
            }
            Written::Fatal(error) => return Err(Stop::Store(error)),
            Written::Stray => {}
        }
        self.log.campaign_alone();
        self.settle(cx)
    }

    pub fn on_retry(&mut self, cx: &mut Cx<'_, Effect>) -> Health {
        self.writer.on_retry(cx);
        Ok(())
    }

    pub fn on_raft_tick(&mut self, cx: &mut Cx<'_, Effect>) -> Health {
        self.armed.raft_tick = false;
        self.log.tick();
        self.settle(cx)
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_, Effect>) -> Health {
        self.armed.tick = false;
        self.proposals.on_tick(cx, &self.config.limits);
        self.lead(cx);
        self.settle(cx)
    }

    /// What the leader looks after.
    fn lead(&mut self, cx: &mut Cx<'_, Effect>) {
        let me = self.me();
        let Role::Leading(leading) = &mut self.role else { return };
        let now = cx.mono();
        self.reports.retain(|node, _| self.map.nodes.contains_key(node));
        let known = (&self.map, &self.reports, &self.config);
        let wanted = leading.on_tick(now, known, &self.proposals);
        let relief = leading.take_relief();
        if !self.log.standing().leads_with_all {
            return;
        }
        if let Some(relief) = relief {
            cx.emit(Effect::Log(Event::Relieving(relief)));
        }
        for (errand, command) in wanted {
            if let Command::GiveUp { node, session } = command {
                cx.emit(Effect::Log(Event::GivingUp { node, session }));
            }
            self.proposals.ask(now, Asker::Own(errand), command);
        }
        let (group, limits) = ((&self.map, &self.members), &self.config.limits);
        leading.move_members(&mut *self.log, group, (me, limits));
    }

    /// Carries out all that has become possible.
    fn settle(&mut self, cx: &mut Cx<'_, Effect>) -> Health {
        loop {
            let work = self.log.work();
            let idle = work.is_empty();
            self.carry_out(cx, work)?;
            let acted = self.follow_up(cx);
            if idle && !acted {
                break;
            }
        }
        self.writer.emit_next(cx);
        self.arm(cx);
        Ok(())
    }

    fn carry_out(&mut self, cx: &mut Cx<'_, Effect>, work: Work) -> Health {
        for message in work.messages {
            send(cx, MemberId(message.to).node(), Body::Raft(message));
        }
        if let Some((number, ops)) = work.write {
            self.writer.push(ops, After::Log(number));
        }
        self.writer.emit_next(cx);
        if let Some(snapshot) = work.snapshot {
            self.install(cx, &snapshot.data)?;
        }
        for entry in work.committed {
            self.apply(cx, entry);
        }
        self.check_level()
    }

    /// A program that knows less than the cluster may use would misread what it is told.
    fn check_level(&self) -> Health {
        let (level, known) = (self.map.settings.feature_level, self.config.features);
        if level > known { Err(Stop::OldRelease { level, known }) } else { Ok(()) }
    }

    fn install(&mut self, cx: &mut Cx<'_, Effect>, map: &Bytes) -> Health {
        // It was checked when it came.
        self.map = decode_map(map).map_err(|malformed| Stop::Damaged(malformed.0))?;
        self.members = self.log.members();
        cx.emit(Effect::Log(Event::Installed { index: self.map.index }));
        cx.emit(Effect::Changed(Delta::whole(&self.map)));
        self.told = true;
        self.proposals.on_installed(cx);
        Ok(())
    }

    /// The nodes whose votes count by `members`: while the members change, those that vote before and after. A node that has lost
    /// its disk does not, until its new directory votes.
    fn voters(&self, members: &Members) -> Vec<NodeId> {
        let counts = |member: &MemberId| {
            let node = member.node();
            let known = self.map.node(node);
            let is_current = |known: &Node| MemberId::new(node, known.incarnation) == *member;
            known.is_none_or(is_current) && (!members.joint || self.map.voters.contains(&node))
        };
        let voters = members.voters.iter().filter(|member| counts(member));
        voters.map(|member| member.node()).collect()
    }

    fn apply(&mut self, cx: &mut Cx<'_, Effect>, entry: Committed) {
        match entry {
            Committed::Nothing { index } => self.map.skip(index),
            Committed::Members { index, members } => {
                let voters = self.voters(&members);
                self.members = members;
                if self.told {
                    cx.emit(Effect::Log(Event::Voters(voters.clone())));
                }
                let delta = self.map.set_voters(index, voters);
                self.tell(cx, delta);
            }
            Committed::Data { index, bytes } => match decode_proposal(&bytes) {
                Ok(proposal) => {
                    let applied = self.map.apply_proposal(index, &proposal);
                    self.tell(cx, applied.delta);
                    let verdict = applied.verdict;
                    self.proposals.on_applied(cx, &proposal, verdict);
                    self.on_judged(cx, &proposal.command, verdict);
                }
                Err(malformed) => {
                    self.map.skip(index);
                    cx.emit(Effect::Log(Event::Skipped { index, why: malformed.0 }));
                }
            },
        }
    }

    /// A node whose directory is an old image may not see the entry: it is told.
    fn on_judged(&mut self, cx: &mut Cx<'_, Effect>, command: &Command, verdict: Verdict) {
        let Command::Register { node, incarnation, start, .. } = command else { return };
        if verdict != Verdict::OldImage {
            return;
        }
        if *node == self.config.node {
            self.registration.on_told(cx, *incarnation, *start);
        } else if matches!(self.role, Role::Leading(_)) {
            let told = wire::OldImage { incarnation: incarnation.0, start: start.0 };
            send(cx, *node, Body::OldImage(told));
        }
    }

    fn tell(&mut self, cx: &mut Cx<'_, Effect>, delta: Delta) {
        if let Role::Leading(leading) = &mut self.role {
            leading.on_changed(cx.mono(), &self.map, &delta);
        }
        if self.told && !delta.is_empty() {
            cx.emit(Effect::Changed(delta));
        }
    }

    /// What follows from the map and the standing as they are. True: the log may have work again.
    fn follow_up(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        self.follow_leader(cx);
        if let Some(session) = self.registration.on_map(cx, &self.map) {
            self.write_session(session);
        }
        self.ask_registration(cx);
        if self.log.wants_snapshot() && self.map.is_founded() {
            self.log.offer_snapshot(encode_map(&self.map));
        }
        let compacts = self.log.wants_compaction();
        if compacts {
            self.log.compact(encode_map(&self.map));
        }
        self.send_proposals(cx) || compacts
    }

    fn follow_leader(&mut self, cx: &mut Cx<'_, Effect>) {
        let standing = self.log.standing();
        let leads = match &self.role {
            Role::Following => None,
            Role::Leading(leading) => Some(leading.term),
        };
        let should = standing.leads.then_some(standing.term);
        if leads != should {
            if leads.is_some() {
                self.proposals.on_leadership_lost();
                self.role = Role::Following;
            }
            if let Some(term) = should {
                let leading = Leading::new(cx.mono(), term, &self.map);
                self.role = Role::Leading(Box::new(leading));
                cx.emit(Effect::Log(Event::Leading { term }));
            }
        }
        let leader = standing.leader.map(MemberId::node);
        if leader != self.leader {
            self.leader = leader;
            cx.emit(Effect::Leader(leader));
        }
    }

    fn ask_registration(&mut self, cx: &mut Cx<'_, Effect>) {
        let registration::State::Asking(session) = self.registration.state() else { return };
        let Config { node, incarnation, start, features, .. } = self.config;
        let now = cx.mono();
        if self.is_outside() && !self.proposals.is_asked(Errand::Join) {
            let site = self.config.site.clone();
            let command = Command::AddNode { node, incarnation, site };
            self.proposals.ask(now, Asker::Own(Errand::Join), command);
        }
        if !self.proposals.is_asked(Errand::Register) {
            let command = Command::Register { node, incarnation, session, start, features };
            self.proposals.ask(now, Asker::Own(Errand::Register), command);
        }
    }

    /// True: some were appended to the log.
    fn send_proposals(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        if self.proposals.len() == 0 {
            return false;
        }
        let standing = self.log.standing();
        let term = standing.term;
        let route = if standing.leads {
            Some(Route::Append { term })
        } else {
            let to = standing.leader.map(MemberId::node).or_else(|| self.guide());
            to.map(|to| Route::Send { to, term })
        };
        let Some(route) = route else { return false };
        let now = cx.mono();
        let due = self.proposals.due(now, route, &self.config.limits);
        match route {
            Route::Append { .. } => {
                let mut appended = false;
                for (number, bytes) in due {
                    // In order: what is overtaken does not apply.
                    if !self.log.propose(bytes) {
                        break;
                    }
                    self.proposals.on_sent(number, now, route);
                    appended = true;
                }
                appended
            }
            Route::Send { to, .. } => {
                for part in due.chunks(self.config.limits.proposals_per_message_max) {
                    let decoded = part.iter().map(|(_, bytes)| wire::Proposal::decode(&**bytes));
                    let proposals = decoded.filter_map(Result::ok).collect();
                    let message = wire::Proposals { proposals, passed_on: false };
                    send(cx, to, Body::Proposals(message));
                    for (number, _) in part {
                        self.proposals.on_sent(*number, now, route);
                    }
                }
                if !due.is_empty()
                    && let Some(asked) = self.met.get_mut(&to)
                {
                    *asked += 1;
                }
                false
            }
        }
    }

    /// Whom a node outside the group asks next: the one it has asked least.
    fn guide(&self) -> Option<NodeId> {
        let outside = self.is_outside();
        let least = self.met.iter().filter(|_| outside).min_by_key(|(_, asked)| **asked);
        least.map(|(&node, _)| node)
    }

    fn write_session(&mut self, session: Session) {
        let Config { node, incarnation, .. } = self.config;
        let op = records::put_node(node, incarnation, session);
        self.writer.push(vec![op], After::Session(session));
    }

    fn arm(&mut self, cx: &mut Cx<'_, Effect>) {
        let leads = matches!(self.role, Role::Leading(_));
        let count = self.members.voters.len() + self.members.learners.len();
        // A node alone has nobody to wait for, and nothing to do while nothing is asked of it.
        let alone = leads && count == 1 && self.map.nodes.len() == 1;
        let settled = matches!(self.registration.state(), registration::State::Registered(_));
        // Who has heard of a leader must notice when it is gone, or it would never vote for another.
        let idle = (self.is_outside() && self.leader.is_none()) || (leads && count == 1);
        if !self.armed.raft_tick && !idle {
            self.armed.raft_tick = true;
            cx.arm(RAFT_TICK, self.config.limits.raft_tick);
        }
        let rests = alone && settled && self.proposals.len() == 0;
        if !self.armed.tick && !rests {
            self.armed.tick = true;
            cx.arm(TICK, self.config.limits.tick);
        }
    }

    /// Nobody has told this node of a cluster yet.
    fn is_outside(&self) -> bool {
        self.members.voters.is_empty()
    }

    fn me(&self) -> MemberId {
        MemberId::new(self.config.node, self.config.incarnation)
    }

    pub fn map(&self) -> &ClusterMap {
        &self.map
    }

    pub fn term_led(&self) -> Option<u64> {
        match &self.role {
            Role::Following => None,
            Role::Leading(leading) => Some(leading.term),
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        let standing = self.log.standing();
        digest.word(self.map.index);
        digest.word(self.map.versions());
        digest.word(standing.term);
        digest.word(standing.leader.map_or(0, |leader| leader.0));
        digest.word(self.log.applied());
        digest.word(self.proposals.len() as u64);
        digest.word(u64::from(self.writer.is_idle()));
        let voters: BTreeSet<_> = self.members.voters.iter().collect();
        for voter in voters {
            digest.word(voter.0);
        }
    }
}

/// Nodes that one outside remembers.
const MET_MAX: usize = 64;

fn send(cx: &mut Cx<'_, Effect>, to: NodeId, body: Body) {
    let message = wire::ControlMessage { body: Some(body) };
    cx.emit(Effect::Send { to, bytes: message.encode_to_vec().into() });
}
