use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use catalog::{
    Catalog, CatalogError, Change, Document, Filter, KeyRow, Lease, LogUpdate, Mark, MemoryCatalog, RunQuery,
    RunRow, SegmentRow, SegmentState, ShardRow,
};
use world::{ShardId, StreamUid, World};

/// A catalog that lets others go first before each step, as one behind a network does, and can be made to fail.
pub(crate) struct Unsteady {
    within: MemoryCatalog,
    fails: Arc<AtomicBool>,
}

impl Unsteady {
    pub(crate) fn new(world: World) -> (Unsteady, Arc<AtomicBool>) {
        let fails = Arc::new(AtomicBool::new(false));
        (Unsteady { within: MemoryCatalog::new(world), fails: fails.clone() }, fails)
    }
    async fn step(&self) -> Result<&MemoryCatalog, CatalogError> {
        tokio::task::yield_now().await;
        match self.fails.load(Ordering::Relaxed) {
            true => Err(CatalogError::Engine("switched off".into())),
            false => Ok(&self.within),
        }
    }
}

#[async_trait::async_trait]
impl Catalog for Unsteady {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, CatalogError> {
        self.step().await?.get(kind, id).await
    }
    async fn list(&self, filter: Filter) -> Result<Vec<Document>, CatalogError> {
        self.step().await?.list(filter).await
    }
    async fn commit(&self, changes: Vec<Change>) -> Result<(), CatalogError> {
        self.step().await?.commit(changes).await
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, CatalogError> {
        self.step().await?.acquire(name, holder, ttl).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CatalogError> {
        self.step().await?.renew(lease, ttl).await
    }
    async fn release(&self, lease: Lease) -> Result<(), CatalogError> {
        self.step().await?.release(lease).await
    }
    async fn put_key(&self, key: KeyRow) -> Result<(), CatalogError> {
        self.step().await?.put_key(key).await
    }
    async fn keys(&self, stream: StreamUid) -> Result<Vec<KeyRow>, CatalogError> {
        self.step().await?.keys(stream).await
    }
    async fn all_keys(&self) -> Result<Vec<KeyRow>, CatalogError> {
        self.step().await?.all_keys().await
    }
    async fn rewrap(&self, keys: Vec<KeyRow>) -> Result<(), CatalogError> {
        self.step().await?.rewrap(keys).await
    }
    async fn forget_stream(&self, stream: StreamUid) -> Result<(), CatalogError> {
        self.step().await?.forget_stream(stream).await
    }
    async fn log_update(&self, update: LogUpdate) -> Result<(), CatalogError> {
        self.step().await?.log_update(update).await
    }
    async fn mark(&self) -> Result<Mark, CatalogError> {
        self.step().await?.mark().await
    }
    async fn shards(&self, stream: Option<StreamUid>) -> Result<Vec<ShardRow>, CatalogError> {
        self.step().await?.shards(stream).await
    }
    async fn runs(&self, shard: ShardId, query: RunQuery) -> Result<Vec<RunRow>, CatalogError> {
        self.step().await?.runs(shard, query).await
    }
    async fn segment(&self, id: [u8; 16]) -> Result<Option<SegmentRow>, CatalogError> {
        self.step().await?.segment(id).await
    }
    async fn segments(&self, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<SegmentRow>, CatalogError> {
        self.step().await?.segments(after, limit).await
    }
    async fn segments_in(
        &self,
        state: SegmentState,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, CatalogError> {
        self.step().await?.segments_in(state, after, limit).await
    }
    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, CatalogError> {
        self.step().await?.stored_bytes(stream).await
    }
}
