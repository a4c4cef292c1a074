//! How a body search reads: straight from the store, on a thread of the reader pool.

use bytes::Bytes;
use dds::{
    BlobId, CHUNK_BYTES, Column, DpMap, Read, ReadDone, RouteKey, SortKey, Store, StoreError, Tier,
    layout,
};
use mailstore::face::TaskRefusal;
use mailstore::mailbox::BodyReader;

/// Reads committed entries and chunks of one store.
pub struct StoreReader<'a> {
    pub store: &'a dyn Store,
    pub map: DpMap,
}

impl StoreReader<'_> {
    fn get(&self, column: Column, key: Bytes) -> Result<Option<Bytes>, TaskRefusal> {
        match self.store.read(&Read::Get { column, keys: vec![key] }, Tier::Disk) {
            Ok(ReadDone::Got(values)) => Ok(values.into_iter().next().flatten()),
            Ok(ReadDone::Scanned { .. } | ReadDone::Summed(_) | ReadDone::Miss)
            | Err(StoreError::Io(_) | StoreError::NoSpace | StoreError::Fatal(_)) => {
                Err(TaskRefusal::Unavailable)
            }
            Err(StoreError::Corrupt(_)) => Err(TaskRefusal::Damaged),
        }
    }
}

impl BodyReader for StoreReader<'_> {
    fn value(&mut self, route: &RouteKey, key: &SortKey) -> Result<Option<Bytes>, TaskRefusal> {
        let partition = self.map.partition_of(&route.0);
        let physical = layout::entry_key(partition, route, &key.0);
        match self.get(layout::column_of(key), physical)? {
            Some(stored) => {
                let (value, _version) =
                    layout::split_entry(stored).map_err(|_| TaskRefusal::Damaged)?;
                Ok(Some(value))
            }
            None => Ok(None),
        }
    }

    fn blob(&mut self, blob: BlobId, offset: u64, len: u64) -> Result<Option<Bytes>, TaskRefusal> {
        let partition = self.map.partition_of(&blob.to_bytes());
        let chunk = CHUNK_BYTES as u64;
        let mut bytes = Vec::new();
        let (mut at, end) = (offset, offset.saturating_add(len));
        while at < end {
            let index = u32::try_from(at / chunk).map_err(|_| TaskRefusal::Damaged)?;
            let key = layout::chunk_key(partition, blob, index);
            let Some(stored) = self.get(Column::Bodies, key)? else { break };
            let from = usize::try_from(at % chunk).map_err(|_| TaskRefusal::Damaged)?;
            let want = usize::try_from(end - at).unwrap_or(usize::MAX);
            let Some(tail) = stored.get(from..) else { break };
            let part = &tail[..tail.len().min(want)];
            if part.is_empty() {
                break;
            }
            bytes.extend_from_slice(part);
            at += part.len() as u64;
        }
        Ok((!bytes.is_empty() || len == 0).then(|| bytes.into()))
    }
}
