//! SEARCH.

use super::change::Asker;
use super::core::Core;
use super::fail;
use super::machine::Effect;
use super::matching::MatchHits;
use crate::face::{Criteria, FolderId, TaskRefusal, UserError};
use fsm::{Cx, Token};
use std::sync::Arc;

impl Core {
    pub fn search(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        _folder: FolderId,
        _criteria: Arc<Criteria>,
    ) {
        fail(cx, asker, UserError::Cannot("not yet"));
    }

    pub fn on_matched(
        &mut self,
        _cx: &mut Cx<'_, Effect>,
        _token: Token,
        _hits: Result<MatchHits, TaskRefusal>,
    ) {
    }
}
