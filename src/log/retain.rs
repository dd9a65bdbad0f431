//! Forgetting: streams with their keys, runs that were trimmed, and segments that nothing refers to any more.
//!
//! Always in this order: the catalog first, the bytes after. A stop in between leaves an orphan, which the next start
//! removes, and never a row without its bytes.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use catalog::{LogUpdate, RunQuery};
use world::StreamUid;

use crate::{
    LogError,
    entry::SegmentId,
    index::Shard,
    keys::lock,
    open_segment::{closed_name, open_name},
    shared::Shared,
};

const ALL: RunQuery = RunQuery::Positions((0, i64::MAX as u64));

impl Shared {
    pub async fn delete_stream(self: &Arc<Self>, stream: StreamUid) -> Result<(), LogError> {
        let _one = self.projection.lock().await;
        let io = |e: catalog::CatalogError| LogError::Io(e.to_string());
        let shards = self.shards(Some(stream));
        let mut segments = BTreeSet::new();
        for s in &shards {
            segments.extend(self.catalog.runs(s.id, ALL).await.map_err(io)?.iter().map(|r| r.segment));
        }
        self.catalog.forget_stream(stream).await.map_err(io)?;
        // From here on nothing of it can be opened, wherever it is.
        self.keys.forget(stream);
        for s in &shards {
            s.stream.forget_sealer().await;
            let mut st = s.state();
            st.gone = true;
            (st.recent, st.tail) = Default::default();
            st.recent_bytes = 0;
            st.watch = None;
            drop(st);
            self.remove(s.id);
            lock(&self.active).remove(&s.id);
            *lock(&s.segment) = None;
        }
        let open: Vec<SegmentId> =
            self.segments.all().iter().filter(|s| s.shard.stream == stream).map(|s| s.id).collect();
        for id in open {
            if let Some(s) = self.segments.get(&id) {
                s.closed.store(true, Ordering::Release);
            }
            self.segments.retire(&id);
            self.remove_file(&id).await;
        }
        self.collect(segments).await;
        Ok(())
    }

    /// Takes the runs of a shard that are trimmed out of the catalog, and their segments if nothing else is in them.
    /// What fails here is made up for by the next trim or start.
    pub async fn drop_runs(self: &Arc<Self>, shard: &Shard) {
        let _one = self.projection.lock().await;
        let trim = shard.state().trim;
        let runs = match self.catalog.runs(shard.id, RunQuery::Positions((0, trim.saturating_sub(1)))).await {
            Ok(r) => r,
            Err(e) => {
                return tracing::warn!(error = %e, shard = %shard.id, "trimmed runs could not be listed");
            }
        };
        let done: Vec<_> = runs.iter().filter(|r| r.end <= trim).collect();
        if done.is_empty() {
            return;
        }
        let update = LogUpdate {
            removed_runs: done.iter().map(|r| (r.shard, r.first)).collect(),
            ..LogUpdate::default()
        };
        if let Err(e) = self.catalog.log_update(update).await {
            return tracing::warn!(error = %e, shard = %shard.id, "trimmed runs could not be removed");
        }
        self.collect(done.iter().map(|r| r.segment).collect()).await;
    }

    /// Removes those of these segments that no run is in any more. The projection's lock is held.
    pub async fn collect(self: &Arc<Self>, segments: BTreeSet<SegmentId>) {
        for id in segments {
            match self.unreferenced(&id).await {
                Ok(false) => {}
                Ok(true) => {
                    let update = LogUpdate { removed_segments: vec![id], ..LogUpdate::default() };
                    match self.catalog.log_update(update).await {
                        Ok(()) => self.remove_file(&id).await,
                        Err(e) => tracing::warn!(error = %e, "a segment without runs could not be removed"),
                    }
                }
                Err(e) => tracing::warn!(error = %e, "a segment could not be looked at for removal"),
            }
        }
    }

    async fn unreferenced(self: &Arc<Self>, id: &SegmentId) -> Result<bool, LogError> {
        let root = self.root(*id).await?;
        for r in &root.runs {
            let q = RunQuery::Positions((r.first, r.end.saturating_sub(1)));
            let rows = self.catalog.runs(r.shard, q).await.map_err(|e| LogError::Io(e.to_string()))?;
            if rows.iter().any(|row| row.segment == *id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes a segment's file, whichever name it has.
    pub async fn remove_file(self: &Arc<Self>, id: &SegmentId) {
        self.footers.forget(id);
        self.segments.forget_file(id);
        let (s, id) = (self.clone(), *id);
        let done = self
            .blocking(move || {
                for name in [open_name(&id), closed_name(&id)] {
                    match s.world.disk.remove(&name) {
                        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                        _ => {}
                    }
                }
                Ok(())
            })
            .await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(error = %e, "a segment's file could not be removed"),
            Err(e) => tracing::warn!(error = %e, "a segment's file could not be removed"),
        }
    }
}
