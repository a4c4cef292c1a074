//! `CollectBlobs`: the index by expiry says which blobs to look at, each blob's own turn says whether it goes.

use super::log::{Context, Log};
use super::reads;
use super::subject::{Subject, Task};
use super::{Asker, Core};
use crate::layout::{self, Damaged};
use crate::{ReadDone, Refusal, Response, StoreError};
use fsm::Wall;

/// One `CollectBlobs` under way.
#[derive(Debug)]
pub struct Job {
    asker: Asker,
    waiting: usize,
    blobs: usize,
    more: bool,
    refusal: Option<Refusal>,
}

impl Log {
    /// The index by expiry has been read: every blob it lists is judged in its own turn.
    pub fn on_expired(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        (asker, expired_before): (Asker, Wall),
        result: Result<ReadDone, StoreError>,
    ) {
        let listed = reads::entries_of(result).and_then(|(entries, more)| {
            let blobs: Result<Vec<_>, Damaged> =
                entries.iter().map(|(key, _)| layout::split_expiry_key(key)).collect();
            blobs.map(|blobs| (blobs, more)).map_err(reads::corrupt)
        });
        let (blobs, more) = match listed {
            Ok(listed) => listed,
            Err(refusal) => return core.answer(cx, asker, Response::Refused(refusal)),
        };
        if blobs.is_empty() {
            return core.answer(cx, asker, Response::Collected { blobs: 0, more });
        }
        self.jobs_begun += 1;
        let number = self.jobs_begun;
        let job = Job { asker, waiting: blobs.len(), blobs: 0, more, refusal: None };
        self.jobs.insert(number, job);
        for (listed, blob) in blobs {
            let task = Task::Collect { listed, expired_before };
            self.on_task(core, cx, Subject::Blob(blob), (Asker::Job(number), task));
        }
    }

    /// One blob of a job is done.
    pub(super) fn on_job(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        number: u64,
        response: Response,
    ) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.waiting -= 1;
        match response {
            Response::Collected { blobs, more: _ } => job.blobs += blobs,
            Response::Refused(refusal) => job.refusal = Some(refusal),
            Response::Claimed(_)
            | Response::Wrote(_)
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent => unreachable!("the collection of a blob has no such answer"),
        }
        if job.waiting > 0 {
            return;
        }
        let Some(job) = self.jobs.remove(&number) else { return };
        let response = match job.refusal {
            Some(refusal) => Response::Refused(refusal),
            None => Response::Collected { blobs: job.blobs, more: job.more },
        };
        core.answer(cx, job.asker, response);
    }
}
