//! Loading: claim the route, scan it page by page, then serve what waited.

use super::commit::Commits;
use super::format::{self, Record};
use super::tables::{Change, Tables};
use super::{Directory, Effect, State, TIMER_LOAD, Waiting, trouble};
use crate::backoff::backoff;
use dds::{Claimed, Entry, Epoch, Request, Response, SortKey};
use fsm::Cx;

impl Directory {
    pub(super) fn begin_loading(&mut self, cx: &mut Cx<'_, Effect>) {
        if matches!(self.state, State::Idle) {
            let token = cx.fresh_token();
            cx.emit(Effect::Dds { token, request: Request::Claim { route: format::route() } });
            self.state = State::Claiming { token };
        }
    }

    pub(super) fn load_later(&mut self, cx: &mut Cx<'_, Effect>, response: &Response) {
        self.load_tries = self.load_tries.saturating_add(1);
        if self.load_tries.is_power_of_two() {
            trouble(cx, format!("can't load, will try again: {response:?}"));
        }
        let range = (self.limits.retry_min, self.limits.retry_max);
        let wait = backoff(cx, range, self.load_tries);
        cx.arm(TIMER_LOAD, wait);
        self.state = State::Idle;
    }

    pub(super) fn on_claimed(&mut self, cx: &mut Cx<'_, Effect>, response: Response) {
        let Response::Claimed(Claimed { epoch, previous: _ }) = response else {
            return self.load_later(cx, &response);
        };
        self.tables = Tables::default();
        let (from, _) = format::whole_range();
        self.scan(cx, epoch, from);
    }

    pub(super) fn scan(&mut self, cx: &mut Cx<'_, Effect>, epoch: Epoch, from: SortKey) {
        let token = cx.fresh_token();
        let (_, to) = format::whole_range();
        let request = Request::Scan {
            route: format::route(),
            from: from.clone(),
            to,
            reverse: false,
            entries_max: self.limits.load_page_entries,
        };
        cx.emit(Effect::Dds { token, request });
        self.state = State::Scanning { token, epoch, from };
    }

    pub(super) fn on_scanned(&mut self, cx: &mut Cx<'_, Effect>, epoch: Epoch, response: Response) {
        let Response::Scanned { entries, more } = response else {
            return self.load_later(cx, &response);
        };
        let last = entries.last().map(|entry| entry.key.clone());
        for entry in entries {
            self.load(cx, entry);
        }
        match last.filter(|_| more) {
            Some(last) => self.scan(cx, epoch, behind(&last)),
            None => self.serve(cx, epoch),
        }
    }

    /// Takes over a stored record.
    pub(super) fn load(&mut self, cx: &mut Cx<'_, Effect>, entry: Entry) {
        match Record::read(&entry.key, entry.value) {
            Ok(record) => self.tables.apply(Change::Put(record)),
            Err(error) => {
                self.tables.damaged += 1;
                let key = entry.key.0.escape_ascii();
                trouble(cx, format!("record {key} can't be read: {error}"));
            }
        }
    }

    pub(super) fn serve(&mut self, cx: &mut Cx<'_, Effect>, epoch: Epoch) {
        self.load_tries = 0;
        let mut commits = Commits::new(epoch);
        commits.take_queue(std::mem::take(&mut self.orders_kept));
        commits.advance(cx, &self.limits, &self.tables);
        self.state = State::Serving(commits);
        if !std::mem::replace(&mut self.announced, true) {
            cx.emit(Effect::Ready);
        }
        for &user in &self.tables.erasing {
            cx.emit(Effect::EraseUser { user });
        }
        for user in std::mem::take(&mut self.masters_waiting) {
            cx.emit(Effect::AccountIs { user, facts: self.tables.facts(user) });
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Task { from, token, task } => self.on_asked(cx, (from, token), task),
                Waiting::Users { token, after, users_max } => {
                    self.on_asked_users(cx, token, (after, users_max));
                }
            }
        }
    }
}

/// The first key behind `key`.
fn behind(key: &SortKey) -> SortKey {
    SortKey([&key.0[..], b"\0"].concat().into())
}
