//! SEARCH: cheapest first. What the rows in memory decide is decided there; what is left looks at search columns; what is
//! still left has its bodies read, off the worker. Long searches yield.
//!
//! A search goes through its rows in windows. The columns of the next ones are read while one is judged, so that reading and
//! judging share the machine. States: [`Stage`]; at most one window's bodies are outstanding, and only while none is judged.

use super::change::Asker;
use super::columns::ColumnSet;
use super::core::Core;
use super::criteria::{Columns, Compiled, Facts, FlagTable, Tri, compile};
use super::format::{Block, BlockKind, Meta};
use super::index::Index;
use super::load::got;
use super::machine::Effect;
use super::matching::{Fetched, MatchBody, MatchHits, MatchJob, Want};
use super::pipeline::refusal_of;
use super::reading::Reading;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    Criteria, FolderId, ModSeq, TaskRefusal, Uid, UidSet, UserDone, UserError, UserTask,
};
use dds::{Request, Response};
use fsm::{Cx, Token};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Names a search of this mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchId(u64);

/// A search on its way.
#[derive(Debug)]
struct SearchJob {
    asker: Asker,
    folder: FolderId,
    compiled: Compiled,
    stage: Stage,
    /// The next row to look at.
    next: Uid,
    /// Rows that need their columns, or their bodies: the window that is being filled.
    open: Vec<Candidate>,
    /// Windows whose columns are at hand or being read; the first is judged next.
    windows: VecDeque<Window>,
    /// Windows so far.
    opened: u64,
    /// The columns of those in `bodies`.
    kept: Option<ColumnSet>,
    /// Those of the window judged last that need their bodies.
    bodies: VecDeque<Candidate>,
    /// Of the first of `bodies`.
    fetched: Fetching,
    /// Runs of UIDs; rising within a window.
    found: Vec<(u32, u32)>,
    mod_seq: ModSeq,
}

/// What a match job lacked, on its way.
#[derive(Debug, Default)]
struct Fetching {
    fetched: Fetched,
    /// Answers that are still to come, and to which round of asking they belong.
    missing: usize,
    round: u64,
}

/// What a search waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its turn.
    Turn,
    /// The columns of its first window.
    Columns,
    /// A match job.
    Bodies,
}

/// Rows whose columns decide.
#[derive(Debug)]
struct Window {
    number: u64,
    open: Vec<Candidate>,
    columns: ColumnSet,
    /// Those of `open` that need their bodies.
    bodies: VecDeque<Candidate>,
    state: WindowState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WindowState {
    Reading,
    /// So many of `open` are judged.
    Judged(usize),
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    meta: Meta,
    keywords: u128,
}

/// Rows judged for one unit of budget (100 ns).
const ROWS_PER_UNIT: usize = 8;
/// The same where a look into a table judges a row.
const FLAG_ROWS_PER_UNIT: usize = 64;
/// Rows judged between two looks at the budget.
const STRIDE: usize = 256;

/// Searches under way, those that wait for their turn, and those whose bodies are being read.
#[derive(Debug, Default)]
pub struct Searches {
    jobs: BTreeMap<SearchId, Box<SearchJob>>,
    turn: VecDeque<SearchId>,
    matching: BTreeMap<Token, SearchId>,
    last: u64,
}

impl Searches {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.matching.is_empty()
    }

    /// Ends: whoever waits.
    pub fn abandon(&mut self) -> Vec<Asker> {
        std::mem::take(self).jobs.into_values().map(|job| job.asker).collect()
    }

    /// Keeps a search until what it waits for has come.
    fn wait(&mut self, id: SearchId, mut job: Box<SearchJob>, stage: Stage) {
        job.stage = stage;
        self.jobs.insert(id, job);
    }
}

impl Core {
    pub fn search(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        id: FolderId,
        criteria: Arc<Criteria>,
    ) {
        let Some(folder) = self.folders.get(&id) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        if folder.loaded().is_none() {
            let task = UserTask::Search { folder: id, criteria };
            self.when_loaded(cx, id, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        }
        let compiled = match compile(&criteria, &folder.keywords, cx.wall()) {
            Ok(compiled) => compiled,
            Err(error) => return fail(cx, asker, error),
        };
        let job = SearchJob {
            asker,
            folder: id,
            compiled,
            stage: Stage::Turn,
            next: Uid(1),
            open: Vec::new(),
            windows: VecDeque::new(),
            opened: 0,
            kept: None,
            bodies: VecDeque::new(),
            fetched: Fetching::default(),
            found: Vec::new(),
            mod_seq: ModSeq(0),
        };
        self.searches.last += 1;
        let id = SearchId(self.searches.last);
        self.go_on_search(cx, id, Box::new(job));
    }

    /// The next turn of those that yielded.
    pub fn resume_searches(&mut self, cx: &mut Cx<'_, Effect>) {
        for _ in 0..self.searches.turn.len() {
            if cx.budget().left() == 0 {
                return cx.yield_now();
            }
            let Some(id) = self.searches.turn.pop_front() else {
                return;
            };
            // One that failed meanwhile has left only its turn.
            if let Some(job) = self.searches.jobs.remove(&id) {
                self.go_on_search(cx, id, job);
            }
        }
    }

    fn pause_search(&mut self, cx: &mut Cx<'_, Effect>, id: SearchId, job: Box<SearchJob>) {
        self.searches.wait(id, job, Stage::Turn);
        self.searches.turn.push_back(id);
        cx.yield_now();
    }

    fn go_on_search(&mut self, cx: &mut Cx<'_, Effect>, id: SearchId, mut job: Box<SearchJob>) {
        loop {
            if !job.bodies.is_empty() {
                return self.ask_bodies(cx, id, job);
            }
            match self.look_ahead(cx, id, &mut job) {
                Rows::Paused => return self.pause_search(cx, id, job),
                Rows::Gone => return fail(cx, job.asker, UserError::NoSuchFolder),
                Rows::Window | Rows::Done => {}
            }
            match job.windows.pop_front() {
                Some(window) => match window.state {
                    WindowState::Reading => {
                        job.windows.push_front(window);
                        return self.searches.wait(id, job, Stage::Columns);
                    }
                    WindowState::Judged(judged) => {
                        if judge_window(cx, &mut job, window, judged) == Turn::Over {
                            return self.pause_search(cx, id, job);
                        }
                    }
                },
                None if job.bodies.is_empty() => return job.finish(cx),
                None => {}
            }
        }
    }

    /// Looks at rows, and asks for their columns, until as many windows as may be are on their way or all rows are seen.
    fn look_ahead(&mut self, cx: &mut Cx<'_, Effect>, id: SearchId, job: &mut SearchJob) -> Rows {
        while job.windows.len() < self.limits().search_windows_max {
            match self.judge_rows(cx, job) {
                Rows::Window if job.compiled.needs_columns => {
                    let window = self.open_window(cx, id, job);
                    job.windows.push_back(window);
                }
                Rows::Window => {
                    job.bodies = std::mem::take(&mut job.open).into();
                    return Rows::Window;
                }
                ended @ (Rows::Paused | Rows::Done | Rows::Gone) => return ended,
            }
        }
        Rows::Window
    }

    fn open_window(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        id: SearchId,
        job: &mut SearchJob,
    ) -> Window {
        let open = std::mem::take(&mut job.open);
        let emails = open.iter().map(|candidate| candidate.meta.email).collect();
        let columns = ColumnSet::new(emails, vec![BlockKind::Search]);
        job.opened += 1;
        let (bodies, state) = (VecDeque::new(), WindowState::Reading);
        let mut window = Window { number: job.opened, open, columns, bodies, state };
        self.ask_window(cx, id, &mut window);
        window
    }

    /// Asks for what a window still lacks.
    fn ask_window(&mut self, cx: &mut Cx<'_, Effect>, id: SearchId, window: &mut Window) {
        let missing = self.missing_columns(&mut window.columns);
        if missing.is_empty() {
            window.state = WindowState::Judged(0);
        } else {
            self.get(cx, missing, Reading::Search { search: id, window: window.number });
        }
    }

    /// Looks at rows until a window is full of undecided ones, or all are seen.
    fn judge_rows(&mut self, cx: &mut Cx<'_, Effect>, job: &mut SearchJob) -> Rows {
        let Some(index) = self.folders.get(&job.folder).and_then(|folder| folder.loaded()) else {
            return Rows::Gone;
        };
        if let Some(table) = job.compiled.by_flags {
            return judge_flags(cx, index, (job, table));
        }
        let window_rows = self.limits().search_window_rows;
        let mut seen = 0_usize;
        let mut rows = index.rows_between(job.next, Uid(u32::MAX));
        loop {
            let Some((meta, of)) = rows.next() else {
                job.next = Uid(u32::MAX);
                return if job.open.is_empty() { Rows::Done } else { Rows::Window };
            };
            let candidate = Candidate { meta: *meta, keywords: of.keywords_of(meta) };
            job.next = Uid(meta.uid.0.saturating_add(1));
            let facts =
                Facts { meta, keywords: candidate.keywords, columns: Columns::Unknown, bits: None };
            match job.compiled.judge(&facts) {
                Tri::Yes => job.found(meta),
                Tri::No => {}
                Tri::Maybe => job.open.push(candidate),
            }
            if job.open.len() >= window_rows {
                return Rows::Window;
            }
            seen += 1;
            let units = (STRIDE / ROWS_PER_UNIT) as u64;
            if seen.is_multiple_of(STRIDE) && !cx.budget().spend(units) {
                return Rows::Paused;
            }
        }
    }

    /// Columns of a window have come.
    pub fn on_search_columns(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (id, number): (SearchId, u64),
        response: Response,
    ) {
        // It may have failed, with other reads under way.
        let Some(mut job) = self.searches.jobs.remove(&id) else {
            return;
        };
        if let Some(window) = job.windows.iter_mut().find(|window| window.number == number) {
            match self.take_columns(&mut window.columns, response) {
                Ok(()) => self.ask_window(cx, id, window),
                Err(refusal) => return answer(cx, job.asker, Err(refusal)),
            }
        }
        let first = job.windows.front().map(|window| window.state);
        match (job.stage, first) {
            (Stage::Columns, Some(WindowState::Judged(_))) => self.go_on_search(cx, id, job),
            (stage, _) => self.searches.wait(id, job, stage),
        }
    }

    fn ask_bodies(&mut self, cx: &mut Cx<'_, Effect>, id: SearchId, job: Box<SearchJob>) {
        let reads_max = self.limits().match_bodies_max;
        let of = |candidate: &Candidate| MatchBody {
            uid: candidate.meta.uid,
            email: candidate.meta.email,
        };
        let bodies = job.bodies.iter().map(of).collect();
        let tests = Arc::clone(&job.compiled.tests);
        let token = cx.fresh_token();
        let fetched = job.fetched.fetched.clone();
        let route = self.context.route.clone();
        let match_job = MatchJob { route, bodies, reads_max, tests, fetched };
        cx.emit(Effect::Match { token, job: match_job });
        self.searches.matching.insert(token, id);
        self.searches.wait(id, job, Stage::Bodies);
    }

    pub fn on_matched(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        token: Token,
        hits: Result<MatchHits, TaskRefusal>,
    ) {
        let id = self.searches.matching.remove(&token);
        let Some((id, mut job)) = id.and_then(|id| Some((id, self.searches.jobs.remove(&id)?)))
        else {
            return;
        };
        let hits = match hits {
            Ok(hits) => hits,
            Err(refusal) => return answer(cx, job.asker, Err(refusal)),
        };
        // In the order of the bodies.
        let mut bits = hits.bits.into_iter().peekable();
        let settled = job.bodies.len().min(hits.settled);
        if settled > 0 {
            job.fetched.fetched = Fetched::default();
        }
        for candidate in job.bodies.drain(..settled).collect::<Vec<_>>() {
            // A message that was removed meanwhile matches nothing.
            let Some((_, bits)) = bits.next_if(|(uid, _)| *uid == candidate.meta.uid) else {
                continue;
            };
            // Columns are looked at again only by criteria that name both.
            let email = candidate.meta.email;
            let kept = job.kept.as_ref();
            let columns = kept.map_or(Columns::Absent, |kept| {
                kept.search_view(email, kept.search_block(Block::number_of(email)))
            });
            let facts = Facts {
                meta: &candidate.meta,
                keywords: candidate.keywords,
                columns,
                bits: Some(bits),
            };
            let judged = job.compiled.judge(&facts);
            if judged == Tri::Yes {
                job.found(&candidate.meta);
            }
        }
        if hits.wants.is_empty() {
            self.go_on_search(cx, id, job);
        } else {
            self.fetch_bodies(cx, id, (job, hits.wants));
        }
    }

    /// Asks for what is not in the store of this node, wherever it is.
    fn fetch_bodies(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        id: SearchId,
        (mut job, wants): (Box<SearchJob>, Vec<Want>),
    ) {
        job.fetched.missing = wants.len();
        job.fetched.round += 1;
        for want in wants {
            let part = Part { search: id, round: job.fetched.round, want: want.clone() };
            match want {
                Want::Value(key) => self.get(cx, vec![key], Reading::SearchBody(part)),
                Want::Blob { blob, offset, len } => {
                    let request = Request::ReadBlob { blob, offset, len };
                    self.read(cx, request, Reading::SearchBody(part));
                }
            }
        }
        self.searches.wait(id, job, Stage::Bodies);
    }

    /// A part of a body has come, that was not in the store of this node.
    pub fn on_search_body(&mut self, cx: &mut Cx<'_, Effect>, part: Part, response: Response) {
        let Part { search: id, round, want } = part;
        let Some(mut job) = self.searches.jobs.remove(&id) else { return };
        if job.fetched.round != round || job.fetched.missing == 0 {
            // It has gone on without.
            let stage = job.stage;
            return self.searches.wait(id, job, stage);
        }
        match (want, response) {
            (Want::Blob { blob, offset, len }, Response::BlobRead(bytes)) => {
                job.fetched.fetched.parts.insert((blob, offset, len), bytes);
            }
            (Want::Blob { .. }, Response::Absent) => return self.on_body_gone(cx, id, job),
            (Want::Value(key), response) => match got(response) {
                Ok(values) => {
                    let value = values.into_iter().next().flatten();
                    job.fetched.fetched.values.insert(key, value);
                }
                Err(refusal) => return answer(cx, job.asker, Err(refusal)),
            },
            (Want::Blob { .. }, Response::Refused(refusal)) => {
                return answer(cx, job.asker, Err(refusal_of(&refusal)));
            }
            (Want::Blob { .. }, _) => {
                return answer(cx, job.asker, Err(TaskRefusal::Unavailable));
            }
        }
        job.fetched.missing -= 1;
        if job.fetched.missing == 0 {
            self.ask_bodies(cx, id, job);
        } else {
            self.searches.wait(id, job, Stage::Bodies);
        }
    }

    /// A large body is nowhere: its message was removed meanwhile, or it is damaged.
    fn on_body_gone(&mut self, cx: &mut Cx<'_, Effect>, id: SearchId, mut job: Box<SearchJob>) {
        let index = self.folders.get(&job.folder).and_then(|folder| folder.loaded());
        let uid = job.bodies.front().map(|candidate| candidate.meta.uid);
        let is_there = |uid: Uid| {
            index.is_some_and(|index| {
                index.rows_between(uid, uid).next().is_some_and(|(meta, _)| meta.uid == uid)
            })
        };
        if uid.is_some_and(is_there) {
            return answer(cx, job.asker, Err(TaskRefusal::Damaged));
        }
        job.bodies.pop_front();
        job.fetched = Fetching { round: job.fetched.round, ..Fetching::default() };
        self.go_on_search(cx, id, job);
    }
}

/// A part of a body that a search waits for.
#[derive(Debug)]
pub struct Part {
    search: SearchId,
    round: u64,
    want: Want,
}

/// Looks at the columns of a window; what the budget leaves of it stays the first one.
fn judge_window(
    cx: &mut Cx<'_, Effect>,
    job: &mut SearchJob,
    mut window: Window,
    mut judged: usize,
) -> Turn {
    let mut near: (u64, Option<&Block>) = (u64::MAX, None);
    while let Some(candidate) = window.open.get(judged) {
        let email = candidate.meta.email;
        let number = Block::number_of(email);
        if near.0 != number {
            near = (number, window.columns.search_block(number));
        }
        let columns = window.columns.search_view(email, near.1);
        let (meta, keywords) = (&candidate.meta, candidate.keywords);
        match job.compiled.judge(&Facts { meta, keywords, columns, bits: None }) {
            Tri::Yes => job.found(meta),
            Tri::No => {}
            Tri::Maybe => window.bodies.push_back(*candidate),
        }
        judged += 1;
        if judged.is_multiple_of(STRIDE) && !cx.budget().spend(STRIDE as u64 / 2) {
            window.state = WindowState::Judged(judged);
            job.windows.push_front(window);
            return Turn::Over;
        }
    }
    job.kept = (!window.bodies.is_empty()).then_some(window.columns);
    job.bodies = window.bodies;
    Turn::GoesOn
}

/// Looks at rows that their system flags decide, chunk by chunk.
fn judge_flags(
    cx: &mut Cx<'_, Effect>,
    index: &Index,
    (job, table): (&mut SearchJob, FlagTable),
) -> Rows {
    for chunk in index.chunks_from(job.next) {
        let metas = &chunk.rows.metas;
        let metas = &metas[metas.partition_point(|meta| meta.uid < job.next)..];
        for meta in metas.iter().filter(|meta| table.holds(meta.flags)) {
            job.found(meta);
        }
        if let Some(last) = metas.last() {
            job.next = Uid(last.uid.0.saturating_add(1));
        }
        if !cx.budget().spend((metas.len() / FLAG_ROWS_PER_UNIT + 1) as u64) {
            return Rows::Paused;
        }
    }
    Rows::Done
}

/// Whether there is budget left.
#[derive(PartialEq, Eq)]
enum Turn {
    GoesOn,
    Over,
}

/// How the look at rows ended.
enum Rows {
    Paused,
    Window,
    Done,
    Gone,
}

impl SearchJob {
    fn found(&mut self, meta: &Meta) {
        let uid = meta.uid.0;
        match self.found.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
            Some(_) | None => self.found.push((uid, uid)),
        }
        self.mod_seq = self.mod_seq.max(meta.mod_seq);
    }

    fn finish(self, cx: &mut Cx<'_, Effect>) {
        let uids = UidSet::from_ranges(self.found);
        // RFC 7162 3.1.5: told when the criteria name MODSEQ and something was found.
        let told = self.compiled.names_mod_seq && !uids.is_empty();
        let highest_mod_seq = told.then_some(self.mod_seq);
        answer(cx, self.asker, Ok(UserDone::Found { uids, highest_mod_seq }));
    }
}
