//! A world for tests: time that stands still until it is moved, randomness from a seed, no disk. And a catalog that something
//! comes in between.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use world::{
    Disk, DiskFile, Entry, Mode, ShardId, Space, StreamUid, World,
    sim::{Sim, SimClock},
};

use crate::{
    Catalog, CatalogError, Change, Document, Filter, KeyRow, Lease, LogUpdate, Mark, MemoryCatalog, RunQuery,
    RunRow, SegmentRow, SegmentState, ShardRow,
};

/// A world whose clock is the one returned, whose randomness follows from `seed` (and is fit for no real key), and
/// whose disk refuses everything.
pub fn world(seed: u64) -> (World, Arc<SimClock>) {
    let Sim { world, clock, .. } = Sim::new(seed);
    (World { disk: Arc::new(NoDisk), store: None, ..world }, clock)
}

struct NoDisk;

fn none<T>(path: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("{path}: this test has no disk")))
}

impl Disk for NoDisk {
    fn open(&self, path: &str, _: Mode) -> io::Result<Arc<dyn DiskFile>> {
        none(path)
    }
    fn rename(&self, from: &str, _: &str) -> io::Result<()> {
        none(from)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        none(path)
    }
    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        none(path)
    }
    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        none(path)
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        none(path)
    }
    fn space(&self) -> io::Result<Space> {
        none("")
    }
}

/// Kinds of calls, to [`Steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Of documents, keys, rows.
    Read,
    /// A commit, whatever of.
    Write,
    /// Of a lease.
    Lease,
}

/// What comes before and after the calls of a [`Between`].
#[async_trait]
pub trait Steps: Send + Sync + 'static {
    /// Its error is the call's answer, which does nothing then.
    async fn before(&self, call: Call) -> Result<(), CatalogError>;
    /// After a [`Call::Write`]: its error is the call's answer, whatever that has done.
    async fn written(&self) -> Result<(), CatalogError> {
        Ok(())
    }
}

/// A catalog in memory, and what comes in between.
pub struct Between<S> {
    /// The catalog.
    pub inner: Arc<MemoryCatalog>,
    /// What comes in between.
    pub steps: S,
}

impl<S: Steps> Between<S> {
    async fn read(&self) -> Result<&MemoryCatalog, CatalogError> {
        self.steps.before(Call::Read).await?;
        Ok(&self.inner)
    }
    async fn lease(&self) -> Result<&MemoryCatalog, CatalogError> {
        self.steps.before(Call::Lease).await?;
        Ok(&self.inner)
    }
    async fn write(
        &self,
        f: impl Future<Output = Result<(), CatalogError>> + Send,
    ) -> Result<(), CatalogError> {
        self.steps.before(Call::Write).await?;
        let done = f.await;
        self.steps.written().await?;
        done
    }
}

#[async_trait]
impl<S: Steps> Catalog for Between<S> {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, CatalogError> {
        self.read().await?.get(kind, id).await
    }
    async fn list(&self, filter: Filter) -> Result<Vec<Document>, CatalogError> {
        self.read().await?.list(filter).await
    }
    async fn commit(&self, changes: Vec<Change>) -> Result<(), CatalogError> {
        self.write(self.inner.commit(changes)).await
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, CatalogError> {
        self.lease().await?.acquire(name, holder, ttl).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CatalogError> {
        self.lease().await?.renew(lease, ttl).await
    }
    async fn release(&self, lease: Lease) -> Result<(), CatalogError> {
        self.lease().await?.release(lease).await
    }
    async fn put_key(&self, key: KeyRow) -> Result<(), CatalogError> {
        self.write(self.inner.put_key(key)).await
    }
    async fn keys(&self, stream: StreamUid) -> Result<Vec<KeyRow>, CatalogError> {
        self.read().await?.keys(stream).await
    }
    async fn all_keys(&self) -> Result<Vec<KeyRow>, CatalogError> {
        self.read().await?.all_keys().await
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
        self.read().await?.mark().await
    }
    async fn shards(&self, stream: Option<StreamUid>) -> Result<Vec<ShardRow>, CatalogError> {
        self.read().await?.shards(stream).await
    }
    async fn runs(&self, shard: ShardId, query: RunQuery) -> Result<Vec<RunRow>, CatalogError> {
        self.read().await?.runs(shard, query).await
    }
    async fn segment(&self, id: [u8; 16]) -> Result<Option<SegmentRow>, CatalogError> {
        self.read().await?.segment(id).await
    }
    async fn segments(&self, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<SegmentRow>, CatalogError> {
        self.read().await?.segments(after, limit).await
    }
    async fn segments_in(
        &self,
        state: SegmentState,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, CatalogError> {
        self.read().await?.segments_in(state, after, limit).await
    }
    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, CatalogError> {
        self.read().await?.stored_bytes(stream).await
    }
}
