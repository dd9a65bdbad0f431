use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use world::{ShardId, StreamUid, Timestamp, World};

use crate::{
    Catalog, CatalogError, Change, Document, Filter, KeyRow, Lease, LogUpdate, Mark, RunQuery, RunRow,
    SegmentRow, SegmentState, ShardRow, check,
};

/// The engine that forgets everything when dropped: for tests, simulations, and as the plain statement of what the
/// others must do.
pub struct MemoryCatalog {
    world: World,
    state: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    documents: BTreeMap<(String, String), Document>,
    leases: BTreeMap<String, LeaseRow>,
    keys: BTreeMap<(StreamUid, u32), KeyRow>,
    shards: BTreeMap<ShardId, ShardRow>,
    segments: BTreeMap<[u8; 16], SegmentRow>,
    runs: BTreeMap<(ShardId, u64), RunRow>,
    mark: Mark,
}

#[derive(Clone)]
struct LeaseRow {
    epoch: u64,
    /// `None` once released.
    holder: Option<String>,
    expires: Timestamp,
}

impl MemoryCatalog {
    /// An empty catalog; leases expire by `world`'s clock.
    pub fn new(world: World) -> MemoryCatalog {
        MemoryCatalog { world, state: Mutex::default() }
    }

    /// A copy as of now, as a snapshot is: nobody holds its leases.
    pub fn copy(&self) -> MemoryCatalog {
        let mut state = self.state().clone();
        state.leases.values_mut().for_each(|l| l.holder = None);
        MemoryCatalog { world: self.world.clone(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below panics between two halves of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Catalog for MemoryCatalog {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, CatalogError> {
        Ok(self.state().documents.get(&(kind.to_owned(), id.to_owned())).cloned())
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Document>, CatalogError> {
        let from = (filter.kind.clone(), filter.prefix.clone().unwrap_or_default());
        let s = self.state();
        Ok(s.documents
            .range(from..)
            .take_while(|((kind, id), _)| {
                *kind == filter.kind && id.starts_with(filter.prefix.as_deref().unwrap_or_default())
            })
            .map(|(_, doc)| doc)
            .filter(|d| filter.after.as_ref().is_none_or(|after| d.id > *after))
            .filter(|d| filter.key.as_ref().is_none_or(|k| d.keys.contains(k)))
            .take(filter.limit.unwrap_or(usize::MAX))
            .cloned()
            .collect())
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CatalogError> {
        let mut s = self.state();
        // What the transaction has done so far; only merged when all of it holds.
        let mut done: BTreeMap<(String, String), Option<Document>> = BTreeMap::new();
        for change in changes {
            let (at, expect) = match &change {
                Change::Put { doc, expect } => ((doc.kind.clone(), doc.id.clone()), *expect),
                Change::Delete { kind, id, expect } => ((kind.clone(), id.clone()), *expect),
            };
            let now = done.get(&at).map_or_else(|| s.documents.get(&at), Option::as_ref).map(|d| d.version);
            match change {
                Change::Put { mut doc, expect } if now.unwrap_or(0) == expect => {
                    doc.version = expect + 1;
                    done.insert(at, Some(doc));
                }
                Change::Delete { .. } if now == Some(expect) => {
                    done.insert(at, None);
                }
                change => return Err(check::changed(&change)),
            }
        }
        for (at, doc) in done {
            match doc {
                Some(doc) => s.documents.insert(at, doc),
                None => s.documents.remove(&at),
            };
        }
        Ok(())
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, CatalogError> {
        let now = self.world.clock.now();
        let mut s = self.state();
        let row = s.leases.entry(name.to_owned()).or_insert(LeaseRow {
            epoch: 0,
            holder: None,
            expires: Timestamp::MIN,
        });
        if row.holder.as_deref().is_some_and(|h| h != holder) && now < row.expires {
            return Ok(None);
        }
        *row = LeaseRow { epoch: row.epoch + 1, holder: Some(holder.to_owned()), expires: now + ttl };
        Ok(Some(Lease {
            name: name.to_owned(),
            holder: holder.to_owned(),
            epoch: row.epoch,
            expires: row.expires,
        }))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CatalogError> {
        let now = self.world.clock.now();
        let mut s = self.state();
        match s.leases.get_mut(&lease.name) {
            Some(row) if row.epoch == lease.epoch && row.holder.as_ref() == Some(&lease.holder) => {
                row.expires = now + ttl;
                Ok(Lease { expires: row.expires, ..lease.clone() })
            }
            _ => Err(CatalogError::LeaseLost(lease.name.clone())),
        }
    }

    async fn release(&self, lease: Lease) -> Result<(), CatalogError> {
        if let Some(row) = self.state().leases.get_mut(&lease.name)
            && row.epoch == lease.epoch
            && row.holder.as_ref() == Some(&lease.holder)
        {
            row.holder = None;
        }
        Ok(())
    }

    async fn put_key(&self, key: KeyRow) -> Result<(), CatalogError> {
        let mut s = self.state();
        let at = (key.stream, key.generation);
        if s.keys.contains_key(&at) {
            return Err(check::key_exists(&key));
        }
        s.keys.insert(at, key);
        Ok(())
    }

    async fn keys(&self, stream: StreamUid) -> Result<Vec<KeyRow>, CatalogError> {
        Ok(self.state().keys.range((stream, 0)..=(stream, u32::MAX)).map(|(_, k)| k.clone()).collect())
    }

    async fn all_keys(&self) -> Result<Vec<KeyRow>, CatalogError> {
        Ok(self.state().keys.values().cloned().collect())
    }

    async fn rewrap(&self, keys: Vec<KeyRow>) -> Result<(), CatalogError> {
        let mut s = self.state();
        if let Some(k) = keys.iter().find(|k| !s.keys.contains_key(&(k.stream, k.generation))) {
            return Err(check::no_key(k));
        }
        s.keys.extend(keys.into_iter().map(|k| ((k.stream, k.generation), k)));
        Ok(())
    }

    async fn forget_stream(&self, stream: StreamUid) -> Result<(), CatalogError> {
        let mut s = self.state();
        s.keys.retain(|k, _| k.0 != stream);
        s.shards.retain(|k, _| k.stream != stream);
        s.runs.retain(|k, _| k.0.stream != stream);
        Ok(())
    }

    async fn log_update(&self, update: LogUpdate) -> Result<(), CatalogError> {
        check::update(&update)?;
        let mut s = self.state();
        for id in &update.removed_shards {
            s.shards.remove(id);
        }
        for r in &update.removed_runs {
            s.runs.remove(r);
        }
        for id in &update.removed_segments {
            s.segments.remove(id);
        }
        s.shards.extend(update.shards.into_iter().map(|r| (r.shard, r)));
        s.segments.extend(update.segments.into_iter().map(|r| (r.id, r)));
        s.runs.extend(update.runs.into_iter().map(|r| ((r.shard, r.first), r)));
        s.mark = s.mark.max(update.mark.unwrap_or_default());
        Ok(())
    }

    async fn mark(&self) -> Result<Mark, CatalogError> {
        Ok(self.state().mark)
    }

    async fn shards(&self, stream: Option<StreamUid>) -> Result<Vec<ShardRow>, CatalogError> {
        let s = self.state();
        Ok(s.shards.values().filter(|r| stream.is_none_or(|u| r.shard.stream == u)).cloned().collect())
    }

    async fn runs(&self, shard: ShardId, query: RunQuery) -> Result<Vec<RunRow>, CatalogError> {
        if check::inverted(&query) {
            return Ok(Vec::new());
        }
        let meets = |r: &RunRow| match query {
            RunQuery::Positions((lo, hi)) => r.first <= hi && r.end > lo,
            RunQuery::Arrival((lo, hi)) => r.arrival.0 <= hi && r.arrival.1 >= lo,
            RunQuery::Producer((lo, hi)) => r.producer.0 <= hi && r.producer.1 >= lo,
        };
        let s = self.state();
        Ok(s.runs
            .range((shard, 0)..=(shard, u64::MAX))
            .map(|(_, r)| r)
            .filter(|r| meets(r))
            .cloned()
            .collect())
    }

    async fn segment(&self, id: [u8; 16]) -> Result<Option<SegmentRow>, CatalogError> {
        Ok(self.state().segments.get(&id).cloned())
    }

    async fn segments(&self, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<SegmentRow>, CatalogError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self
            .state()
            .segments
            .range((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, r)| r.clone())
            .collect())
    }

    async fn segments_in(
        &self,
        state: SegmentState,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, CatalogError> {
        let mut all = self.segments(after, usize::MAX).await?;
        all.retain(|r| r.state == state);
        all.truncate(limit);
        Ok(all)
    }

    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, CatalogError> {
        let s = self.state();
        Ok(s.runs.values().filter(|r| stream.is_none_or(|u| r.shard.stream == u)).map(|r| r.bytes).sum())
    }
}
