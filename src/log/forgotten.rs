//! Shards taken out entirely, once they are closed and nothing of them is left.
//!
//! A shard is forgotten by one commit: a document of its stream names it. From then on whatever else speaks of it says
//! nothing: its row in the catalog, which goes next, and what the journal still has of it. The document stays as long as
//! the stream, so that no number is used again: positions begin anew in a new shard, and what is left somewhere of the old
//! one would pass for the new one's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::Ordering},
};

use catalog::{Catalog, CatalogError, Change, Document, Filter, LogUpdate};
use serde::{Deserialize, Serialize};
use world::{ShardId, StreamUid};

use crate::{LogError, index::Shard, keys::lock, shared::Shared};

/// The document; its id is the stream's.
pub(crate) const KIND: &str = "log-forgotten";
const VERSION: u32 = 1;

/// Shards of one stream: (first, last) of each stretch of numbers, ascending, with others between them. There are no more
/// stretches than shards that are there, and one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers(Vec<(u32, u32)>);

impl Numbers {
    pub fn has(&self, n: u32) -> bool {
        let at = self.0.partition_point(|s| s.1 < n);
        self.0.get(at).is_some_and(|s| s.0 <= n)
    }
    pub fn add(&mut self, n: u32) {
        if self.has(n) {
            return;
        }
        let at = self.0.partition_point(|s| s.1 < n);
        let below = at.checked_sub(1).filter(|b| self.0[*b].1.checked_add(1) == Some(n));
        let above = self.0.get(at).is_some_and(|s| n.checked_add(1) == Some(s.0));
        match (below, above) {
            (Some(b), true) => self.0[b].1 = self.0.remove(at).1,
            (Some(b), false) => self.0[b].1 = n,
            (None, true) => self.0[at].0 = n,
            (None, false) => self.0.insert(at, (n, n)),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    v: u32,
    shards: Vec<(u32, u32)>,
}

fn parse(d: &Document) -> Result<(StreamUid, Numbers), CatalogError> {
    let damaged = |e: String| CatalogError::Damaged(format!("{KIND} {:?}: {e}", d.id));
    let stream = d.id.parse().map_err(|e| damaged(format!("{e}")))?;
    let b: Body = serde_json::from_slice(&d.body).map_err(|e| damaged(e.to_string()))?;
    if b.v != VERSION {
        return Err(damaged(format!("version {}, this program knows {VERSION}", b.v)));
    }
    let rise = b.shards.windows(2).all(|w| w[0].1 < w[1].0);
    if !rise || b.shards.iter().any(|s| s.0 > s.1) {
        return Err(damaged("its numbers do not rise".into()));
    }
    Ok((stream, Numbers(b.shards)))
}

/// All that the catalog says is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Forgotten(BTreeMap<StreamUid, Numbers>);

impl Forgotten {
    pub async fn load(catalog: &dyn Catalog) -> Result<Forgotten, CatalogError> {
        let all = catalog.list(Filter::kind(KIND)).await?;
        Ok(Forgotten(all.iter().map(parse).collect::<Result<_, _>>()?))
    }
    pub fn has(&self, id: ShardId) -> bool {
        self.0.get(&id.stream).is_some_and(|n| n.has(id.shard))
    }
}

/// What the engine remembers of it.
#[derive(Default)]
pub(crate) struct Memory {
    all: RwLock<Forgotten>,
    /// Of these a row may still be in the catalog.
    rows: std::sync::Mutex<BTreeSet<ShardId>>,
}

impl Memory {
    fn read(&self) -> RwLockReadGuard<'_, Forgotten> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, Forgotten> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// What the catalog says; once, at the opening.
    pub fn begin(&self, all: Forgotten) {
        *self.write() = all;
    }
    pub fn has(&self, id: ShardId) -> bool {
        self.read().has(id)
    }
    /// Its row is there: [`Shared::drop_rows`] takes it out.
    pub fn row(&self, id: ShardId) {
        lock(&self.rows).insert(id);
    }
    pub fn streams(&self) -> Vec<StreamUid> {
        self.read().0.keys().copied().collect()
    }
    /// A stream is gone, and all of it with it.
    pub fn leave(&self, stream: StreamUid) {
        self.write().0.remove(&stream);
        lock(&self.rows).retain(|s| s.stream != stream);
    }
}

impl Shared {
    /// See [`crate::Log::forget_shards`]. May be given up at any moment.
    pub async fn forget_shards(
        self: &Arc<Self>,
        stream: StreamUid,
        shards: &[u32],
    ) -> Result<Vec<u32>, LogError> {
        // While it is held nothing gets into the catalog, and no stream goes.
        let mut waiting = self.projection.lock().await;
        self.commit_waiting(&mut waiting).await?;
        let there = self.shards(Some(stream));
        match there.first() {
            Some(s) if !s.stream.leaving.load(Ordering::Acquire) => {}
            _ => return Err(LogError::NoShard(ShardId { stream, shard: 0 })),
        }
        let (mut left, mut stay, mut empty) = (there.len(), Vec::new(), Vec::new());
        for n in shards.iter().copied().collect::<BTreeSet<u32>>() {
            let Some(shard) = self.find(ShardId { stream, shard: n }) else { continue };
            if left > 1 && self.is_over(&shard).await? {
                left -= 1;
                empty.push(shard);
            } else {
                stay.push(n);
            }
        }
        if !empty.is_empty() {
            let doc = self.catalog.get(KIND, &stream.to_string()).await?;
            let expect = doc.as_ref().map_or(0, |d| d.version);
            let mut numbers = match &doc {
                Some(d) => parse(d)?.1,
                None => Numbers::default(),
            };
            empty.iter().for_each(|s| numbers.add(s.id.shard));
            let body = serde_json::to_vec(&Body { v: VERSION, shards: numbers.0.clone() })
                .map_err(|e| LogError::Io(e.to_string()))?;
            let doc =
                Document { kind: KIND.into(), id: stream.to_string(), version: 0, body, keys: Vec::new() };
            // If it only seems to fail, they are gone with the next start: nothing can be put to them meanwhile.
            self.catalog.commit(vec![Change::Put { doc, expect }]).await?;
            // Before they leave the index, so that none can be opened again in between.
            self.forgotten.write().0.insert(stream, numbers);
            for s in &empty {
                self.forgotten.row(s.id);
                self.take_out(s);
            }
            for s in &empty {
                self.drop_open_segments(|id| id == s.id).await;
            }
        }
        self.drop_rows().await;
        Ok(stay)
    }

    /// Whether a shard takes no more and nothing of it is left. The projection's lock is held.
    async fn is_over(&self, shard: &Shard) -> Result<bool, LogError> {
        {
            let st = shard.state();
            if st.gone || !st.closed || !st.recent.is_empty() {
                return Ok(false);
            }
        }
        Ok(self.catalog.first_runs(shard.id, 0, 1).await?.is_empty())
    }

    /// Forgets a shard in memory.
    pub fn take_out(&self, shard: &Shard) {
        {
            let mut st = shard.state();
            st.gone = true;
            (st.recent, st.tail) = Default::default();
            (st.recent_bytes, st.larges) = (0, 0);
            st.watch = None;
        }
        self.remove(shard.id);
        lock(&self.active).remove(&shard.id);
        *lock(&shard.segment) = None;
        lock(&self.rules.hints).remove(&shard.id);
        lock(&self.rules.last_runs).remove(&shard.id);
    }

    /// Removes the segments that payloads of these shards were written into: none was committed.
    pub async fn drop_open_segments(self: &Arc<Self>, of: impl Fn(ShardId) -> bool) {
        for s in self.segments.all().into_iter().filter(|s| of(s.shard)) {
            s.closed.store(true, Ordering::Release);
            self.segments.retire(&s.id);
            self.remove_file(&s.id).await;
        }
    }

    /// Takes the rows of forgotten shards out of the catalog. What fails is made up for by the next of them, or by the
    /// next start. The projection's lock is held.
    pub async fn drop_rows(&self) {
        let rows: Vec<ShardId> = lock(&self.forgotten.rows).iter().copied().collect();
        if rows.is_empty() {
            return;
        }
        let update = LogUpdate { removed_shards: rows.clone(), ..LogUpdate::default() };
        match self.catalog.log_update(update).await {
            Ok(()) => lock(&self.forgotten.rows).retain(|s| !rows.contains(s)),
            Err(e) => tracing::warn!(error = %e, "rows of forgotten shards could not be removed yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn doc(body: &str) -> Document {
        let id = StreamUid([7; 16]).to_string();
        Document { kind: KIND.into(), id, version: 1, body: body.into(), keys: Vec::new() }
    }

    proptest! {
        #[test]
        fn numbers_are_those_that_were_added(all in proptest::collection::vec(0u32..40, 0..60), ends: bool) {
            let mut all = all;
            if ends {
                all.extend([u32::MAX, u32::MAX - 1, 0]);
            }
            let mut numbers = Numbers::default();
            for (n, i) in all.iter().enumerate() {
                numbers.add(*i);
                let so_far = &all[..=n];
                let near = (0..42).chain([u32::MAX - 2, u32::MAX - 1, u32::MAX]);
                near.for_each(|i| assert_eq!(numbers.has(i), so_far.contains(&i)));
                prop_assert!(numbers.0.windows(2).all(|w| w[0].1 + 1 < w[1].0), "{numbers:?}");
            }
            let body = serde_json::to_vec(&Body { v: VERSION, shards: numbers.0.clone() }).unwrap();
            let d = Document { body, ..doc("") };
            prop_assert_eq!(parse(&d).unwrap(), (StreamUid([7; 16]), numbers));
        }
    }

    #[test]
    fn what_is_no_document_is_said_to_be_damaged() {
        for bad in [
            "",
            "{}",
            r#"{"v":2,"shards":[]}"#,
            r#"{"v":1,"shards":[[2,1]]}"#,
            r#"{"v":1,"shards":[[1,2],[2,3]]}"#,
        ] {
            assert!(matches!(parse(&doc(bad)), Err(CatalogError::Damaged(_))), "{bad}");
        }
        let d = Document { id: "nobody".into(), ..doc(r#"{"v":1,"shards":[[1,2]]}"#) };
        assert!(parse(&d).is_err());
    }
}
