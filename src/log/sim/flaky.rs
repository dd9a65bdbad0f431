//! A catalog that outlives power cuts, whose every call takes several steps, and that fails before or after the fact.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use catalog::{
    Catalog, CatalogError, Change, Document, Filter, KeyRow, Lease, LogUpdate, Mark, MemoryCatalog, RunQuery,
    RunRow, SegmentRow, SegmentState, ShardRow,
};
use world::{
    ShardId, StreamUid,
    sim::{Dice, SimDisk},
};

pub struct FlakyCatalog {
    inner: Arc<MemoryCatalog>,
    disk: Arc<SimDisk>,
    dice: Mutex<Dice>,
    once_in: Mutex<u32>,
}

/// Ready the second time: others may take steps in between.
struct Pause(bool);

impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl FlakyCatalog {
    pub fn new(inner: Arc<MemoryCatalog>, disk: Arc<SimDisk>, seed: u64) -> Self {
        FlakyCatalog { inner, disk, dice: Mutex::new(Dice::new(seed ^ 0xca7)), once_in: Mutex::new(0) }
    }
    /// Once in so many commits fails; 0 for none.
    pub fn fail(&self, once_in: u32) {
        *self.once_in.lock().unwrap() = once_in;
    }
    fn broken(&self) -> Result<(), CatalogError> {
        let once_in = *self.once_in.lock().unwrap();
        if self.dice.lock().unwrap().once_in(once_in) {
            return Err(CatalogError::Engine("made up".into()));
        }
        Ok(())
    }
    async fn read(&self) -> Result<(), CatalogError> {
        Pause(false).await;
        if self.disk.is_off() { Err(CatalogError::Engine("the power is off".into())) } else { Ok(()) }
    }
    /// A commit may fail before it took effect, or be reported as failed after it did.
    async fn write<T>(&self, f: impl Future<Output = Result<T, CatalogError>>) -> Result<T, CatalogError> {
        self.read().await?;
        self.broken()?;
        let done = f.await;
        Pause(false).await;
        self.broken()?;
        done
    }
}

#[async_trait::async_trait]
impl Catalog for FlakyCatalog {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, CatalogError> {
        self.read().await?;
        self.inner.get(kind, id).await
    }
    async fn list(&self, filter: Filter) -> Result<Vec<Document>, CatalogError> {
        self.read().await?;
        self.inner.list(filter).await
    }
    async fn commit(&self, changes: Vec<Change>) -> Result<(), CatalogError> {
        self.write(self.inner.commit(changes)).await
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, CatalogError> {
        self.inner.acquire(name, holder, ttl).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CatalogError> {
        self.inner.renew(lease, ttl).await
    }
    async fn release(&self, lease: Lease) -> Result<(), CatalogError> {
        self.inner.release(lease).await
    }
    async fn put_key(&self, key: KeyRow) -> Result<(), CatalogError> {
        self.write(self.inner.put_key(key)).await
    }
    async fn keys(&self, stream: StreamUid) -> Result<Vec<KeyRow>, CatalogError> {
        self.read().await?;
        self.inner.keys(stream).await
    }
    async fn all_keys(&self) -> Result<Vec<KeyRow>, CatalogError> {
        self.read().await?;
        self.inner.all_keys().await
    }
    async fn rewrap(&self, keys: Vec<KeyRow>) -> Result<(), CatalogError> {
        self.write(self.inner.rewrap(keys)).await
    }
    async fn forget_stream(&self, stream: StreamUid) -> Result<(), CatalogError> {
        self.write(self.inner.forget_stream(stream)).await
    }
    async fn log_update(&self, update: LogUpdate) -> Result<(), CatalogError> {
        self.write(self.inner.log_update(update)).await
    }
    async fn mark(&self) -> Result<Mark, CatalogError> {
        self.read().await?;
        self.inner.mark().await
    }
    async fn shards(&self, stream: Option<StreamUid>) -> Result<Vec<ShardRow>, CatalogError> {
        self.read().await?;
        self.inner.shards(stream).await
    }
    async fn runs(&self, shard: ShardId, query: RunQuery) -> Result<Vec<RunRow>, CatalogError> {
        self.read().await?;
        self.inner.runs(shard, query).await
    }
    async fn segment(&self, id: [u8; 16]) -> Result<Option<SegmentRow>, CatalogError> {
        self.read().await?;
        self.inner.segment(id).await
    }
    async fn segments(&self, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<SegmentRow>, CatalogError> {
        self.read().await?;
        self.inner.segments(after, limit).await
    }
    async fn segments_in(
        &self,
        state: SegmentState,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, CatalogError> {
        self.read().await?;
        self.inner.segments_in(state, after, limit).await
    }
    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, CatalogError> {
        self.inner.stored_bytes(stream).await
    }
}
