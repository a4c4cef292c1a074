//! SEARCH: cheapest first. What the rows in memory decide is decided there; what is left looks at search columns; what is
//! still left has its bodies read, off the worker. Long searches yield.

use super::change::Asker;
use super::columns::ColumnSet;
use super::core::Core;
use super::criteria::{Columns, Compiled, Facts, FlagTable, Tri, compile};
use super::format::{Block, BlockKind, Meta};
use super::index::Index;
use super::machine::Effect;
use super::matching::{MatchBody, MatchHits, MatchJob};
use super::reading::Reading;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    Criteria, FolderId, ModSeq, TaskRefusal, Uid, UidSet, UserDone, UserError, UserTask,
};
use dds::Response;
use fsm::{Cx, Token};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A search on its way.
#[derive(Debug)]
pub struct SearchJob {
    pub asker: Asker,
    folder: FolderId,
    compiled: Compiled,
    /// The next row to look at.
    next: Uid,
    /// Rows that need their columns, or their bodies.
    open: Vec<Candidate>,
    columns: Option<ColumnSet>,
    /// The columns of those in `bodies`.
    kept: Option<ColumnSet>,
    /// Candidates whose columns were looked at.
    judged: usize,
    /// Those of `open` that need their bodies.
    bodies: VecDeque<Candidate>,
    /// Runs of UIDs; rising within a window.
    found: Vec<(u32, u32)>,
    mod_seq: ModSeq,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    meta: Meta,
    keywords: u128,
}

/// Rows that are looked at before their columns are.
const WINDOW_ROWS: usize = 2048;
/// Rows judged for one unit of budget (100 ns).
const ROWS_PER_UNIT: usize = 8;
/// The same where a look into a table judges a row.
const FLAG_ROWS_PER_UNIT: usize = 64;
/// Rows judged between two looks at the budget.
const STRIDE: usize = 256;

/// Searches under way that wait for their turn, and those whose bodies are being read.
#[derive(Debug, Default)]
pub struct Searches {
    pub turn: VecDeque<Box<SearchJob>>,
    pub matching: BTreeMap<Token, Box<SearchJob>>,
}

impl Searches {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.turn.is_empty() && self.matching.is_empty()
    }

    /// Ends: whoever waits.
    pub fn abandon(&mut self) -> Vec<Asker> {
        let matching = std::mem::take(&mut self.matching).into_values();
        self.turn.drain(..).chain(matching).map(|job| job.asker).collect()
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
            next: Uid(1),
            open: Vec::new(),
            columns: None,
            kept: None,
            judged: 0,
            bodies: VecDeque::new(),
            found: Vec::new(),
            mod_seq: ModSeq(0),
        };
        self.go_on_search(cx, Box::new(job));
    }

    /// The next turn of those that yielded.
    pub fn resume_searches(&mut self, cx: &mut Cx<'_, Effect>) {
        for _ in 0..self.searches.turn.len() {
            if cx.budget().left() == 0 {
                return cx.yield_now();
            }
            if let Some(job) = self.searches.turn.pop_front() {
                self.go_on_search(cx, job);
            }
        }
    }

    fn pause_search(&mut self, cx: &mut Cx<'_, Effect>, job: Box<SearchJob>) {
        self.searches.turn.push_back(job);
        cx.yield_now();
    }

    fn go_on_search(&mut self, cx: &mut Cx<'_, Effect>, mut job: Box<SearchJob>) {
        loop {
            if job.columns.is_some() {
                match self.judge_columns(cx, job) {
                    Some(next) => job = next,
                    None => return,
                }
            }
            if !job.bodies.is_empty() {
                return self.ask_bodies(cx, job);
            }
            match self.judge_rows(cx, &mut job) {
                Rows::Paused => return self.pause_search(cx, job),
                Rows::Window => {
                    let emails = job.open.iter().map(|candidate| candidate.meta.email).collect();
                    if job.compiled.needs_columns {
                        job.columns = Some(ColumnSet::new(emails, vec![BlockKind::Search]));
                        job.judged = 0;
                    } else {
                        job.bodies = std::mem::take(&mut job.open).into();
                    }
                }
                Rows::Done => return job.finish(cx),
                Rows::Gone => return fail(cx, job.asker, UserError::NoSuchFolder),
            }
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
            if job.open.len() >= WINDOW_ROWS {
                return Rows::Window;
            }
            seen += 1;
            let units = (STRIDE / ROWS_PER_UNIT) as u64;
            if seen.is_multiple_of(STRIDE) && !cx.budget().spend(units) {
                return Rows::Paused;
            }
        }
    }

    /// Looks at the columns of the window. Gives the job back when all of them are judged.
    fn judge_columns(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut job: Box<SearchJob>,
    ) -> Option<Box<SearchJob>> {
        let mut columns = job.columns.take()?;
        let missing = self.missing_columns(&mut columns);
        if !missing.is_empty() {
            job.columns = Some(columns);
            self.get(cx, missing, Reading::Search(job));
            return None;
        }
        let mut near: (u64, Option<&Block>) = (u64::MAX, None);
        while job.judged < job.open.len() {
            let candidate = job.open[job.judged];
            let email = candidate.meta.email;
            let number = Block::number_of(email);
            if near.0 != number {
                near = (number, columns.search_block(number));
            }
            let view = columns.search_view(email, near.1);
            let facts = Facts {
                meta: &candidate.meta,
                keywords: candidate.keywords,
                columns: view,
                bits: None,
            };
            match job.compiled.judge(&facts) {
                Tri::Yes => job.found(&candidate.meta),
                Tri::No => {}
                Tri::Maybe => job.bodies.push_back(candidate),
            }
            job.judged += 1;
            if job.judged.is_multiple_of(STRIDE) && !cx.budget().spend(STRIDE as u64 / 2) {
                job.columns = Some(columns);
                self.pause_search(cx, job);
                return None;
            }
        }
        job.kept = (!job.bodies.is_empty()).then_some(columns);
        job.open.clear();
        Some(job)
    }

    pub fn on_search_columns(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut job: Box<SearchJob>,
        response: Response,
    ) {
        let Some(mut columns) = job.columns.take() else {
            return self.go_on_search(cx, job);
        };
        match self.take_columns(&mut columns, response) {
            Ok(()) => {
                job.columns = Some(columns);
                self.go_on_search(cx, job);
            }
            Err(refusal) => answer(cx, job.asker, Err(refusal)),
        }
    }

    fn ask_bodies(&mut self, cx: &mut Cx<'_, Effect>, job: Box<SearchJob>) {
        let bodies_max = self.limits().match_bodies_max;
        let of = |candidate: &Candidate| MatchBody {
            uid: candidate.meta.uid,
            email: candidate.meta.email,
        };
        let bodies = job.bodies.iter().take(bodies_max).map(of).collect();
        let tests = Arc::clone(&job.compiled.tests);
        let token = cx.fresh_token();
        let match_job = MatchJob { route: self.context.route.clone(), bodies, tests };
        cx.emit(Effect::Match { token, job: match_job });
        self.searches.matching.insert(token, job);
    }

    pub fn on_matched(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        token: Token,
        hits: Result<MatchHits, TaskRefusal>,
    ) {
        let Some(mut job) = self.searches.matching.remove(&token) else {
            return;
        };
        let hits = match hits {
            Ok(hits) => hits,
            Err(refusal) => return answer(cx, job.asker, Err(refusal)),
        };
        let bits: BTreeMap<Uid, u64> = hits.0.into_iter().collect();
        let asked = job.bodies.len().min(self.limits().match_bodies_max);
        for candidate in job.bodies.drain(..asked).collect::<Vec<_>>() {
            // A message that was removed meanwhile matches nothing.
            let Some(bits) = bits.get(&candidate.meta.uid) else {
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
                bits: Some(*bits),
            };
            let judged = job.compiled.judge(&facts);
            if judged == Tri::Yes {
                job.found(&candidate.meta);
            }
        }
        self.go_on_search(cx, job);
    }
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
