//! Floor 1: the durable metadata: one trait, engines, one conformance suite.
//!
//! Two kinds of things live here. *Documents* serve every service: a kind, an id, a version, bytes, secondary keys;
//! compare-and-set, several in one transaction. The *log's tables* are typed: wrapped keys, shards, segments, runs and
//! the journal mark. *Leases* say who may write: an epoch that rises with every acquisition, whoever the holder.
//!
//! A commit that returned is durable (`synchronous=FULL` on SQLite). To lose the catalog is to lose every key.

mod check;
pub mod conformance;
mod document;
mod lease;
mod memory;
mod sqlite;
mod tables;
pub mod testing;
#[cfg(test)]
mod tests;

pub use document::{Change, Document, Filter};
pub use lease::Lease;
pub use memory::MemoryCatalog;
pub use sqlite::SqliteCatalog;
pub use tables::{KeyRow, LogUpdate, Mark, RunQuery, RunRow, SegmentRow, SegmentState, ShardRow, Span};

use std::time::Duration;
use world::{ShardId, StreamUid};

/// Why the catalog did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A compare-and-set met another version than expected; nothing of the transaction was done.
    #[error("{kind} {id:?} was changed meanwhile")]
    Conflict {
        /// The document's kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// The lease is another's by now; nothing was done.
    #[error("the lease {0:?} was lost")]
    LeaseLost(String),
    /// The folder was written by a newer version.
    #[error(
        "the catalog has format {found}, this program knows up to {known}: use the newer version of rushes that wrote it"
    )]
    Newer {
        /// What is on disk.
        found: u32,
        /// What we know.
        known: u32,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    Locked(String),
    /// What is stored does not parse.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
    /// The engine failed; whether a commit took effect is unknown.
    #[error("the catalog failed: {0}")]
    Engine(String),
}

/// The catalog.
#[async_trait::async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// One document.
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, CatalogError>;
    /// Documents of a kind in the order of their ids.
    async fn list(&self, filter: Filter) -> Result<Vec<Document>, CatalogError>;
    /// All of the changes or none of them, in their order: each sees what those before it did.
    async fn commit(&self, changes: Vec<Change>) -> Result<(), CatalogError>;

    /// Takes the lease if it is free, expired (by the clock of the world that the engine was given), or `holder`'s
    /// own; its epoch is higher than any before. `None` while another holds it.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, CatalogError>;
    /// Extends a lease that is still ours: nobody has acquired it since, it was not released. It may have expired
    /// meanwhile, as its epoch is still the highest. `LeaseLost` otherwise.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CatalogError>;
    /// Gives it up; the epoch stays used. Nothing happens if it was lost before.
    async fn release(&self, lease: Lease) -> Result<(), CatalogError>;

    /// Stores a wrapped key. Committed before the first block that needs it. Fails with `Conflict` if the generation
    /// exists.
    async fn put_key(&self, key: KeyRow) -> Result<(), CatalogError>;
    /// All generations of a stream, ascending.
    async fn keys(&self, stream: StreamUid) -> Result<Vec<KeyRow>, CatalogError>;
    /// Every wrapped key, by stream and generation.
    async fn all_keys(&self) -> Result<Vec<KeyRow>, CatalogError>;
    /// Puts these in the place of the keys of the same stream and generation, all or none, as another master key wraps
    /// them now. Fails with `Conflict` if one of them is not there. When this returns, what was there before is in none
    /// of the catalog's files any more; on an error, do it again.
    async fn rewrap(&self, keys: Vec<KeyRow>) -> Result<(), CatalogError>;
    /// Forgets a stream: keys, shards, runs; `secure_delete`. Segments without runs stay listed for removal. When this
    /// returns, the wrapped keys are in none of the catalog's files any more; on an error, do it again.
    async fn forget_stream(&self, stream: StreamUid) -> Result<(), CatalogError>;

    /// Moves the projection of the journal forward, in one transaction. Idempotent: the same update twice is one.
    ///
    /// The log sees to it that the runs of a shard are disjoint in position, and that their arrival rises with it (it
    /// may meet at the borders): [`Catalog::runs`] may miss some otherwise. A run of nothing, and a number above
    /// `i64::MAX`, are refused (`Engine`) and nothing is done.
    async fn log_update(&self, update: LogUpdate) -> Result<(), CatalogError>;
    /// How far the projection is true.
    async fn mark(&self) -> Result<Mark, CatalogError>;
    /// Shards of one stream, or all (`None`), ascending.
    async fn shards(&self, stream: Option<StreamUid>) -> Result<Vec<ShardRow>, CatalogError>;
    /// Runs of a shard that meet a span, ascending by first position. An inverted span meets nothing.
    async fn runs(&self, shard: ShardId, query: RunQuery) -> Result<Vec<RunRow>, CatalogError>;
    /// The first runs of a shard that end after a position, ascending, at most `limit`.
    async fn first_runs(
        &self,
        shard: ShardId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RunRow>, CatalogError> {
        let mut found = self.runs(shard, RunQuery::Positions((after, u64::MAX))).await?;
        found.truncate(limit);
        Ok(found)
    }
    /// Positions between two runs that meet a span and that are in neither: (end of the one, first of the other).
    async fn gaps(&self, shard: ShardId, span: Span<u64>) -> Result<Vec<(u64, u64)>, CatalogError> {
        let runs = self.runs(shard, RunQuery::Positions(span)).await?;
        Ok(runs.windows(2).filter(|w| w[0].end < w[1].first).map(|w| (w[0].end, w[1].first)).collect())
    }
    /// One segment.
    async fn segment(&self, id: [u8; 16]) -> Result<Option<SegmentRow>, CatalogError>;
    /// Segments in the order of their ids, after one, at most `limit`.
    async fn segments(&self, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<SegmentRow>, CatalogError>;
    /// The same, those in one state only.
    async fn segments_in(
        &self,
        state: SegmentState,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, CatalogError>;
    /// Bytes held in segments by a stream's runs, and in all.
    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, CatalogError>;
}
