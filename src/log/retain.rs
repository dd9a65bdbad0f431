//! Forgetting: streams with their keys, runs that were trimmed, and segments that nothing refers to any more.
//!
//! Always in this order: the catalog first, the bytes after. A stop in between leaves an orphan, which the next start
//! removes, and never a row without its bytes.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use catalog::{Change, Document, Filter, LogUpdate, RunQuery, SegmentState};
use tokio::sync::oneshot;
use world::{ShardId, StreamUid};

use crate::{
    LogError,
    committer::CutRequest,
    entry::SegmentId,
    index::{Shard, Stream},
    keys::lock,
    objects,
    open_segment::{DIR, closed_name, open_name},
    orphans::Older,
    shared::Shared,
};

/// Documents that say which segments a stream that is being deleted was in.
const INTENT: &str = "log-deletion";
const ALL: RunQuery = RunQuery::Positions((0, i64::MAX as u64));

/// A deletion under way. If it fails or is given up, the stream takes records again, unless its keys may be gone: what it
/// took then could be lost.
struct Leaving<'s> {
    shared: &'s Shared,
    stream: Arc<Stream>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !lock(&self.shared.doubts).contains(&self.stream.uid) {
            self.stream.leaving.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    /// May be given up at any moment.
    pub async fn delete_stream(self: &Arc<Self>, stream: StreamUid) -> Result<(), LogError> {
        let mut waiting = self.projection.lock().await;
        self.commit_waiting(&mut waiting).await?;
        let leaving = Leaving { shared: self, stream: self.stream(stream) };
        leaving.stream.leaving.store(true, Ordering::Release);
        // The round under way may still open a shard of it; the next one will not.
        let (done, passed) = oneshot::channel();
        self.queue.cut(CutRequest { shards: Vec::new(), closing: Vec::new(), rows: false, done });
        passed.await.map_err(|_| LogError::Down)??;
        let mut segments = BTreeSet::new();
        for s in self.shards(Some(stream)) {
            segments.extend(self.catalog.runs(s.id, ALL).await?.iter().map(|r| r.segment));
        }
        // Keys and runs go in one transaction, the segments later: what was begun is found again after a stop.
        self.intend(stream, &segments).await?;
        lock(&self.doubts).insert(stream);
        if let Err(e) = self.catalog.forget_stream(stream).await {
            match self.catalog.keys(stream).await {
                Ok(k) if k.is_empty() => {}
                Ok(_) => {
                    lock(&self.doubts).remove(&stream);
                    return Err(e.into());
                }
                Err(_) => return Err(LogError::Unknown(e.to_string())),
            }
        }
        self.forgotten(stream).await;
        Ok(())
    }

    /// Finds out what became of deletions whose outcome is unknown. The projection's lock is held.
    pub async fn settle_doubts(self: &Arc<Self>) -> Result<(), LogError> {
        let doubts: Vec<StreamUid> = lock(&self.doubts).iter().copied().collect();
        for stream in doubts {
            if self.catalog.keys(stream).await?.is_empty() {
                self.forgotten(stream).await;
            } else {
                self.stream(stream).leaving.store(false, Ordering::Release);
                lock(&self.doubts).remove(&stream);
            }
        }
        Ok(())
    }

    /// A stream's keys are gone: nothing of it can be opened any more, wherever it is. Forgets it here, too.
    async fn forgotten(self: &Arc<Self>, stream: StreamUid) {
        self.keys.forget(stream);
        for s in self.shards(Some(stream)) {
            s.stream.forget_sealer().await;
            self.take_out(&s);
        }
        lock(&self.doubts).remove(&stream);
        self.drop_open_segments(|s| s.stream == stream).await;
        match self.catalog.get(INTENT, &stream.to_string()).await {
            Ok(Some(doc)) => self.finish_deletion(doc).await,
            Ok(None) => {}
            Err(e) => tracing::warn!(error = %e, "a deletion's segments could not be looked up"),
        }
    }

    /// Removes the segments that a deleted stream was in, unless others are in them, and the note of them.
    async fn finish_deletion(self: &Arc<Self>, doc: Document) {
        let segments = doc.body.chunks_exact(16).filter_map(|c| c.try_into().ok()).collect();
        if self.collect(segments).await {
            self.done(doc.id, doc.version).await;
        }
    }

    /// Notes which segments a stream was in before it is forgotten.
    async fn intend(&self, stream: StreamUid, segments: &BTreeSet<SegmentId>) -> Result<(), LogError> {
        if segments.is_empty() {
            return Ok(());
        }
        let id = stream.to_string();
        let expect = self.catalog.get(INTENT, &id).await?.map_or(0, |d| d.version);
        let body = segments.iter().flatten().copied().collect();
        let doc = Document { kind: INTENT.into(), id, version: 0, body, keys: Vec::new() };
        Ok(self.catalog.commit(vec![Change::Put { doc, expect }]).await?)
    }

    async fn done(&self, id: String, expect: u64) {
        if let Err(e) = self.catalog.commit(vec![Change::Delete { kind: INTENT.into(), id, expect }]).await {
            tracing::warn!(error = %e, "a finished deletion could not be noted");
        }
    }

    /// Once after a start: what [`Shared::sweep_strays`] left, rows of forgotten shards, and deletions that a stop
    /// interrupted.
    pub async fn sweep(self: &Arc<Self>, strays: Vec<(SegmentId, bool)>) {
        self.sweep_strays(strays).await;
        {
            let _one = self.projection.lock().await;
            self.drop_rows().await;
        }
        let left = match self.catalog.list(Filter::kind(INTENT)).await {
            Ok(l) => l,
            Err(e) => return tracing::warn!(error = %e, "interrupted deletions could not be listed"),
        };
        for doc in left {
            let _one = self.projection.lock().await;
            // Noted, but not begun: the stream is still there, and whoever wanted it gone was told of the failure.
            if doc.id.parse().is_ok_and(|s: StreamUid| self.shards(Some(s)).is_empty()) {
                self.finish_deletion(doc).await;
            } else {
                self.done(doc.id, doc.version).await;
            }
        }
    }

    /// At the start, before anything is flushed or removed: removes files that nothing refers to. Later it could not be
    /// told any more: where retention has since left a hole, a file that a stop or a power cut left behind looks like one
    /// that the catalog has lost. Returns those that could not be looked at or removed.
    pub async fn sweep_strays(self: &Arc<Self>, strays: Vec<(SegmentId, bool)>) -> Vec<(SegmentId, bool)> {
        let loaded = async { Ok((Older::load(&*self.catalog).await?, self.noted_removals().await?)) };
        let (older, noted) = match loaded.await {
            Ok(l) => l,
            Err::<_, LogError>(e) => {
                tracing::warn!(error = %e, "stray segment files could not be looked up");
                return strays;
            }
        };
        let (mut left, mut removed) = (Vec::new(), false);
        for (id, closed) in strays {
            let looked = match self.catalog.segment(id).await {
                Ok(Some(row)) if closed => {
                    if row.state == SegmentState::Stored {
                        self.cache.add(id, row.bytes);
                    }
                    Ok(false)
                }
                // A power cut may have undone its removal, or nobody took up the copy. (A catalog that was put back may
                // have the note of a copy that was taken up since.)
                Ok(_) if closed && noted.contains(&id) && !older.is_some_and(|o| o.made_meanwhile(&id)) => {
                    Ok(true)
                }
                Ok(_) if closed => self.may_go(&id, older, true).await,
                Ok(_) => Ok(!older.is_some_and(|o| o.made_meanwhile(&id))),
                Err(e) => Err(e),
            };
            match looked {
                Ok(true) => {}
                Ok(false) => continue,
                Err(e) => {
                    tracing::warn!(error = %e, "a stray segment file could not be looked up");
                    left.push((id, closed));
                    continue;
                }
            }
            let name = if closed { closed_name(&id) } else { open_name(&id) };
            tracing::info!(file = name, "removing an orphan");
            let s = self.clone();
            match self
                .blocking(move || s.world.disk.remove(&name))
                .await
                .and_then(|r| r.map_err(LogError::from))
            {
                Ok(()) => removed = true,
                Err(e) => {
                    tracing::warn!(error = %e, "an orphan could not be removed");
                    left.push((id, closed));
                }
            }
        }
        if removed {
            let s = self.clone();
            // Not to come back once there are holes.
            let synced = self.blocking(move || s.world.disk.sync_dir(DIR)).await;
            if let Err(e) = synced.and_then(|r| r.map_err(LogError::from)) {
                tracing::warn!(error = %e, "orphans that were removed may come back");
            }
        }
        left
    }

    /// Looks through the store for segments that the catalog does not know, and removes those of which nothing is
    /// wanted any more: an upload or a removal was interrupted. What the catalog may have forgotten stays.
    pub async fn sweep_objects(self: &Arc<Self>) {
        if let Err(e) = self.try_sweep_objects().await {
            tracing::warn!(error = %e, "the store could not be looked through for orphans");
        }
    }

    async fn try_sweep_objects(self: &Arc<Self>) -> Result<(), LogError> {
        let noted = self.noted_removals().await?;
        let Some(store) = self.world.store.clone() else { return self.forget_removals(noted).await };
        let mut left = noted.clone();
        let older = Older::load(&*self.catalog).await?;
        let mut after: Option<String> = None;
        loop {
            let (s, from) = (store.clone(), after.clone());
            let page = self.blocking(move || s.list(objects::PREFIX, from.as_deref(), 1000)).await??;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for id in page.iter().filter_map(|o| objects::parse_key(&o.key)) {
                left.remove(&id);
                if self.uploads.knows(&id) || self.catalog.segment(id).await?.is_some() {
                    continue;
                }
                let noted = noted.contains(&id) && !older.is_some_and(|o| o.made_meanwhile(&id));
                if noted || self.may_go(&id, older, false).await? {
                    tracing::info!(object = objects::key(&id), "removing an orphan from the store");
                    self.uploads.remove(&id);
                } else {
                    tracing::warn!(
                        object = objects::key(&id),
                        "the catalog does not know this segment: it is left alone"
                    );
                }
            }
        }
        left.retain(|id| !self.uploads.knows(id));
        self.forget_removals(left).await
    }

    /// Takes the runs of a shard that are trimmed out of the catalog, and their segments if nothing else is in them.
    /// What fails here is made up for by the next trim or start.
    pub async fn drop_runs(self: &Arc<Self>, shard: &Shard) {
        let mut waiting = self.projection.lock().await;
        if let Err(e) = self.commit_waiting(&mut waiting).await {
            return tracing::warn!(error = %e, shard = %shard.id, "trimmed runs could not be removed yet");
        }
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
        let mut removed: BTreeSet<(ShardId, u64)> = done.iter().map(|r| (r.shard, r.first)).collect();
        let mut empty = Vec::new();
        for id in done.iter().map(|r| r.segment).collect::<BTreeSet<_>>() {
            match self.unreferenced(&id, &removed).await {
                Ok(true) => empty.push(id),
                Ok(false) => self.compaction.thin(id),
                // Its runs stay until it can be: without them nobody would come upon it again.
                Err(e) => {
                    tracing::warn!(error = %e, "a segment could not be looked at for removal");
                    removed
                        .retain(|gone| !done.iter().any(|r| r.segment == id && (r.shard, r.first) == *gone));
                }
            }
        }
        if let Err(e) = self.note_removals(&empty).await {
            return tracing::warn!(error = %e, shard = %shard.id, "trimmed runs could not be removed yet");
        }
        let update = LogUpdate {
            removed_runs: removed.into_iter().collect(),
            removed_segments: empty.clone(),
            ..LogUpdate::default()
        };
        match self.catalog.log_update(update).await {
            Ok(()) => {
                for id in empty {
                    self.remove_segment(&id).await;
                }
            }
            Err(e) => tracing::warn!(error = %e, shard = %shard.id, "trimmed runs could not be removed"),
        }
    }

    /// Removes those of these segments that no run is in any more. The projection's lock is held. `false` if some
    /// could not be looked at.
    async fn collect(self: &Arc<Self>, segments: BTreeSet<SegmentId>) -> bool {
        let mut all = true;
        for id in segments {
            match self.catalog.segment(id).await {
                Ok(Some(_)) => {}
                // Gone already.
                Ok(None) => continue,
                Err(e) => {
                    tracing::warn!(error = %e, "a segment could not be looked up for removal");
                    all = false;
                    continue;
                }
            }
            match self.unreferenced(&id, &BTreeSet::new()).await {
                Ok(false) => self.compaction.thin(id),
                Ok(true) => {
                    if let Err(e) = self.note_removals(&[id]).await {
                        tracing::warn!(error = %e, "a segment without runs could not be removed");
                        all = false;
                        continue;
                    }
                    let update = LogUpdate { removed_segments: vec![id], ..LogUpdate::default() };
                    match self.catalog.log_update(update).await {
                        Ok(()) => self.remove_segment(&id).await,
                        Err(e) => {
                            tracing::warn!(error = %e, "a segment without runs could not be removed");
                            all = false;
                        }
                    }
                }
                Err(e) => {
                    tracing::warn!(error = %e, "a segment could not be looked at for removal");
                    all = false;
                }
            }
        }
        all
    }

    /// Whether no run is in it, but for those that are about to be removed.
    pub async fn unreferenced(
        self: &Arc<Self>,
        id: &SegmentId,
        but: &BTreeSet<(ShardId, u64)>,
    ) -> Result<bool, LogError> {
        let referring = |row: &catalog::RunRow| row.segment == *id && !but.contains(&(row.shard, row.first));
        let root = match self.root(*id).await {
            Ok(r) => r,
            Err(e) => {
                if !self.unreadable_for_good(id, &e).await {
                    return Err(e);
                }
                // Nobody can say any more who is in it: all are asked.
                for s in self.shards(None) {
                    if self.catalog.runs(s.id, ALL).await?.iter().any(referring) {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
        };
        for r in &root.runs {
            let q = RunQuery::Positions((r.first, r.end.saturating_sub(1)));
            let rows = self.catalog.runs(r.shard, q).await?;
            if rows.iter().any(referring) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes a segment that the catalog does not know any more: its file, and its object.
    pub async fn remove_segment(self: &Arc<Self>, id: &SegmentId) {
        self.cache.remove(id);
        self.remove_file(id).await;
        if self.world.store.is_some() {
            self.uploads.remove(id);
        }
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
