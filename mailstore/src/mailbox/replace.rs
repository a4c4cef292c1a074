//! A message takes the place of another one in its folder: one batch, so that there is never none and never two (as RFC 8508
//! REPLACE). What it replaces must be there: else somebody else replaced it before.

use super::append::arriving_of;
use super::change::{Arrival, ArrivalSource, Asker, Change, Removal, Replacing};
use super::core::Core;
use super::expunge::Bodies;
use super::format::Meta;
use super::machine::Effect;
use super::{BlobLife, Waiting, fail};
use crate::face::{Body, FolderId, NewMessage, Uid, UidSet, UserError, UserTask};
use dds::Op;
use fsm::Cx;

/// Which message, and what comes in its place.
#[derive(Debug)]
pub struct ReplaceOrder {
    pub folder: FolderId,
    pub uid: Uid,
    pub message: NewMessage,
}

impl ReplaceOrder {
    fn again(self) -> UserTask {
        let Self { folder, uid, message } = self;
        UserTask::Replace { folder, uid, message }
    }
}

impl Core {
    pub fn replace(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        order: ReplaceOrder,
        blob: BlobLife,
    ) {
        let (id, only) = (order.folder, UidSet::from_iter([order.uid]));
        let Some(folder) = self.folders.get(&id) else {
            return self.fail_message(cx, asker, (UserError::NoSuchFolder, &order.message.body));
        };
        let Some(index) = folder.loaded() else {
            self.when_loaded(cx, id, Waiting { asker, task: order.again(), blob });
            return;
        };
        let before = index.rows_in(&only).next().map(|(meta, _)| *meta);
        let Some(before) = before else {
            return self.fail_message(cx, asker, (UserError::Expunged, &order.message.body));
        };
        let more = order.message.body.len().saturating_sub(u64::from(before.bytes));
        if !self.quota_admits(more, 0) {
            return self.fail_message(cx, asker, (UserError::OverQuota, &order.message.body));
        }
        if let (Body::Blob { blob: blob_id, .. }, BlobLife::AsFound) = (&order.message.body, blob) {
            let blob_id = *blob_id;
            return self.renew_blob(cx, blob_id, Waiting { asker, task: order.again(), blob });
        }
        self.replace_now(cx, asker, &order);
    }

    fn replace_now(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, order: &ReplaceOrder) {
        let (id, message) = (order.folder, &order.message);
        let mark = self.mark_keywords(id);
        let mut ops = Vec::with_capacity(12);
        let keywords = match self.assign_keywords(id, &message.keywords, &mut ops) {
            Ok(keywords) => keywords,
            Err(error) => return self.fail_message(cx, asker, (error, &message.body)),
        };
        let arriving = arriving_of(cx, message);
        let meta = match self.arrive(cx.wall(), id, (&arriving, keywords), &mut ops) {
            Ok(meta) => meta,
            Err(error) => {
                self.forget_keywords(mark);
                return self.fail_message(cx, asker, (error, &message.body));
            }
        };
        match self.plan_replacing(asker, order, (meta, keywords), &mut ops) {
            Some(replacing) => {
                self.hold_exclusive();
                self.pipeline.submit(cx, ops, Change::Replaced(Box::new(replacing)));
            }
            None => fail(cx, asker, UserError::NoSuchFolder),
        }
    }

    fn plan_replacing(
        &mut self,
        asker: Asker,
        order: &ReplaceOrder,
        (meta, keywords): (Meta, u128),
        ops: &mut Vec<Op>,
    ) -> Option<Replacing> {
        let folder = order.folder;
        let header = self.folders.get(&folder)?.assigned;
        let source = ArrivalSource::Append { memory: None, asker };
        let arrival = Arrival { folder, meta, keywords, header, source };
        let only = UidSet::from_iter([order.uid]);
        // It writes the header as it is behind both.
        let removal: Removal = self.remove_rows(folder, &only, Bodies::Release, ops)?;
        Some(Replacing { arrival, removal })
    }

    /// One is there, the other is gone.
    pub fn replaced(&mut self, cx: &mut Cx<'_, Effect>, replacing: Replacing) {
        let Replacing { arrival, removal } = replacing;
        self.release_exclusive();
        let id = arrival.folder;
        self.arrival_committed(cx, arrival);
        self.removal_committed(removal);
        self.notify_changed(cx, id);
    }
}
