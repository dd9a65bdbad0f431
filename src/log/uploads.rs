//! Bringing finished segments to the store, and taking removed ones out of it.
//!
//! A segment is put whole, then its row says that it is stored; until then its file counts towards the backlog, which is
//! bounded. What was removed from the catalog is removed from the store after that. What fails is tried again as long as
//! it takes; what a stop makes us forget, the next start finds in the catalog or by looking through the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use catalog::{Change, Document, LogUpdate, SegmentRow, SegmentState};
use tokio::sync::Notify;
use world::{Body, Mode, Store, Timestamp};

use crate::{
    LogError, backlog::Backlog, entry::SegmentId, keys::lock, objects, open_segment::closed_name,
    opening::OpenError, shared::Shared,
};

/// The object that says whose store this is.
const MARKER: &str = "rushes-store";
/// The document that says which store is ours: an id, and since when.
const KIND: &str = "log-store";
const IDENTITY: &str = "identity";
/// How long a start waits for the store; after that it goes on without having seen it.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Waiting {
    /// Finished and not stored: bytes, and whether they count.
    pending: BTreeMap<SegmentId, (u64, bool)>,
    /// Removed from the catalog, perhaps still in the store.
    removals: BTreeSet<SegmentId>,
    busy: BTreeSet<SegmentId>,
    /// Bytes of those that count.
    bytes: u64,
    /// What was finished before there was a store does not count.
    since: Timestamp,
    /// Why the last attempt failed.
    failure: Option<String>,
    /// The marker was seen to be ours.
    ours: bool,
}

/// What waits for the store.
pub(crate) struct Uploads {
    waiting: Mutex<Waiting>,
    pub wake: Notify,
    backlog: Arc<Backlog>,
}

enum Work {
    Put(SegmentId),
    Remove(SegmentId),
}

/// Nobody else takes this segment up meanwhile.
struct Busy<'s>(&'s Uploads, SegmentId);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(&self.0.waiting).busy.remove(&self.1);
    }
}

impl Uploads {
    pub fn new(backlog: Arc<Backlog>) -> Uploads {
        Uploads { waiting: Mutex::default(), wake: Notify::new(), backlog }
    }
    /// These are to be brought to the store.
    pub fn add(&self, rows: &[SegmentRow]) {
        let mut w = lock(&self.waiting);
        for r in rows.iter().filter(|r| r.state == SegmentState::Local) {
            let counts = r.created >= w.since;
            if w.pending.insert(r.id, (r.bytes, counts)).is_none() && counts {
                w.bytes += r.bytes;
            }
        }
        drop(w);
        self.wake.notify_one();
    }
    fn done(&self, id: &SegmentId) {
        let mut w = lock(&self.waiting);
        if let Some((bytes, true)) = w.pending.remove(id) {
            w.bytes -= bytes;
            drop(w);
            self.backlog.moved();
        }
    }
    /// This is to be removed from the store, if it is there.
    pub fn remove(&self, id: &SegmentId) {
        self.done(id);
        lock(&self.waiting).removals.insert(*id);
        self.wake.notify_one();
    }
    /// Bytes that wait.
    pub fn backlog(&self) -> u64 {
        lock(&self.waiting).bytes
    }
    /// Whether it waits, is under way, or is to be removed.
    pub fn knows(&self, id: &SegmentId) -> bool {
        let w = lock(&self.waiting);
        w.pending.contains_key(id) || w.removals.contains(id) || w.busy.contains(id)
    }
    /// Why nothing gets through, if so.
    pub fn failure(&self) -> Option<String> {
        lock(&self.waiting).failure.clone()
    }
    fn take(&self) -> Option<(Work, Busy<'_>)> {
        let mut w = lock(&self.waiting);
        let free = |id: &&SegmentId| !w.busy.contains(*id);
        let work = match w.removals.iter().find(free) {
            Some(id) => Work::Remove(*id),
            // Ids rise with time: the oldest goes first.
            None => Work::Put(*w.pending.keys().find(free)?),
        };
        let (Work::Put(id) | Work::Remove(id)) = work;
        w.busy.insert(id);
        Some((work, Busy(self, id)))
    }
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

impl Shared {
    /// Sees to it that the store is this catalog's, and finds out what is to be brought there.
    pub async fn attach_store(self: &Arc<Self>) -> Result<(), OpenError> {
        let known = self.catalog.get(KIND, IDENTITY).await?;
        if self.world.store.is_none() {
            let Some(doc) = known else { return Ok(()) };
            if self.catalog.segments_in(SegmentState::Stored, None, 1).await?.is_empty() {
                return Ok(());
            }
            let url = String::from_utf8_lossy(doc.body.get(24..).unwrap_or_default()).into_owned();
            return Err(OpenError::Store(format!(
                "segments of this data folder are in the store {url:?}: give it as the store"
            )));
        }
        let since = match known.as_ref().and_then(|d| d.body.get(16..24)) {
            Some(b) => Timestamp(b.iter().fold(0, |n, b| n << 8 | i64::from(*b))),
            None => self.world.clock.now(),
        };
        if known.is_none() {
            self.name_store(since).await?;
        }
        lock(&self.uploads.waiting).since = since;
        let checking = self.check_marker();
        let patience = async {
            if self.inline {
                // Nothing hangs in a simulated run, and nobody moves its clock meanwhile.
                std::future::pending::<()>().await;
            }
            self.world.clock.sleep(PATIENCE).await;
        };
        tokio::select! {
            biased;
            seen = checking => match seen {
                Ok(()) => {}
                Err(LogError::Refused(e)) => return Err(OpenError::Store(e)),
                Err(e) => tracing::warn!(error = %e, "the store cannot be reached; what is recorded waits here for it"),
            },
            () = patience => tracing::warn!("the store does not answer; what is recorded waits here for it"),
        }
        let mut after = None;
        loop {
            let rows = self.catalog.segments_in(SegmentState::Local, after, 1000).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.id);
            self.uploads.add(&rows);
        }
    }

    async fn name_store(&self, since: Timestamp) -> Result<(), OpenError> {
        let Some(store) = &self.world.store else { return Ok(()) };
        let mut body = self.world.random16().to_vec();
        body.extend_from_slice(&since.0.to_be_bytes());
        body.extend_from_slice(store.url().as_bytes());
        let doc = Document { kind: KIND.into(), id: IDENTITY.into(), version: 0, body, keys: Vec::new() };
        Ok(self.catalog.commit(vec![Change::Put { doc, expect: 0 }]).await?)
    }

    /// `Refused` if the store is another's.
    async fn check_marker(self: &Arc<Self>) -> Result<(), LogError> {
        let Some(store) = self.world.store.clone() else { return Ok(()) };
        if lock(&self.uploads.waiting).ours {
            return Ok(());
        }
        let doc = self.catalog.get(KIND, IDENTITY).await?;
        let id: [u8; 16] = doc
            .as_ref()
            .and_then(|d| d.body.get(..16)?.try_into().ok())
            .ok_or_else(|| LogError::Io("the catalog does not say which store is its own".into()))?;
        let seen = self.blocking(move || claim(&*store, &hex(&id))).await?;
        seen?;
        lock(&self.uploads.waiting).ours = true;
        Ok(())
    }

    /// Does one thing that waits for the store; `false` if nothing does. May be given up at any moment.
    pub async fn store_step(self: &Arc<Self>) -> Result<bool, LogError> {
        let done = self.try_store_step().await;
        let failure = done.as_ref().err().map(ToString::to_string);
        match (&failure, std::mem::replace(&mut lock(&self.uploads.waiting).failure, failure.clone())) {
            (Some(e), None) => tracing::warn!(error = e, "the store takes nothing; trying again"),
            (None, Some(_)) => tracing::info!("the store takes segments again"),
            _ => {}
        }
        if failure.is_some() {
            self.counters.upload_failures.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    async fn try_store_step(self: &Arc<Self>) -> Result<bool, LogError> {
        if self.world.store.is_none() {
            return Ok(false);
        }
        let Some((work, _busy)) = self.uploads.take() else { return Ok(false) };
        self.check_marker().await?;
        match work {
            Work::Put(id) => self.upload(id).await?,
            Work::Remove(id) => self.remove_object(id).await?,
        }
        Ok(true)
    }

    async fn upload(self: &Arc<Self>, id: SegmentId) -> Result<(), LogError> {
        let row = match self.catalog.segment(id).await? {
            Some(row) if row.state == SegmentState::Local => row,
            _ => {
                self.uploads.done(&id);
                return Ok(());
            }
        };
        let (s, len) = (self.clone(), row.bytes);
        self.blocking(move || s.put(&id, len)).await??;
        // It may have been removed meanwhile, and a row must not come back.
        let _one = self.projection.lock().await;
        match self.catalog.segment(id).await? {
            Some(row) => {
                let bytes = row.bytes;
                let row = SegmentRow { state: SegmentState::Stored, ..row };
                let update = LogUpdate { segments: vec![row], ..LogUpdate::default() };
                self.catalog.log_update(update).await?;
                self.uploads.done(&id);
                self.counters.uploads.fetch_add(1, Ordering::Relaxed);
                self.counters.uploaded_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.cache.add(id, bytes);
            }
            None => self.uploads.remove(&id),
        }
        drop(_one);
        self.trim_cache().await;
        Ok(())
    }

    fn put(&self, id: &SegmentId, len: u64) -> Result<(), LogError> {
        let Some(store) = &self.world.store else { return Ok(()) };
        let (name, key) = (closed_name(id), objects::key(id));
        let file = match self.world.disk.open(&name, Mode::Read) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                // An older catalog does not know what was stored since.
                return match store.len(&key)? {
                    Some(n) if n == len => Ok(()),
                    _ => Err(LogError::Io(format!(
                        "{name} is missing, and the store has no {key} of its length"
                    ))),
                };
            }
            r => r?,
        };
        let found = file.len()?;
        if found != len {
            return Err(LogError::Damaged(format!("{name} has {found} bytes, the catalog says {len}")));
        }
        store.put(&key, Body::File(&*file, len))?;
        // What was read will rather be read from memory by nobody.
        file.forget(0, len);
        Ok(())
    }

    async fn remove_object(self: &Arc<Self>, id: SegmentId) -> Result<(), LogError> {
        let s = self.clone();
        self.blocking(move || match &s.world.store {
            Some(store) => store.delete(&objects::key(&id)),
            None => Ok(()),
        })
        .await??;
        lock(&self.uploads.waiting).removals.remove(&id);
        Ok(())
    }

    /// Whether more may wait for the store.
    pub fn admit_backlog(&self) -> Result<(), LogError> {
        let held = self.uploads.backlog();
        if self.world.store.is_none() || held <= self.limits.upload_backlog {
            return Ok(());
        }
        let why = self.uploads.failure().unwrap_or_else(|| "it takes them more slowly than they come".into());
        Err(LogError::Refused(format!(
            "{held} bytes of segments wait for the store; the bound is {}; {why}",
            self.limits.upload_backlog
        )))
    }

    /// Removes files of stored segments until the cache is within its bound, but for those that stay.
    pub async fn trim_cache(self: &Arc<Self>) {
        while self.evict(self.cache.excess()).await > 0 {}
    }

    /// Whether the newest that is stored of some shard is in it. Whoever goes on with that shard reads it first, and must
    /// be able to while the store is away.
    async fn stays(self: &Arc<Self>, id: &SegmentId) -> bool {
        let Ok(root) = self.root(*id).await else { return false };
        for r in &root.runs {
            if self.find(r.shard).is_some()
                && !self.catalog.first_runs(r.shard, r.end, 1).await.is_ok_and(|later| !later.is_empty())
            {
                return true;
            }
        }
        false
    }

    /// Removes files of stored segments, those used longest ago first, until so many bytes are free; says how many.
    pub async fn free_local(self: &Arc<Self>, bytes: u64) -> u64 {
        let ids = self.cache.oldest(bytes);
        self.evict(ids).await
    }

    async fn evict(self: &Arc<Self>, mut ids: Vec<(SegmentId, u64)>) -> u64 {
        let mut at = 0;
        while let Some((id, _)) = ids.get(at) {
            if self.stays(id).await {
                // Behind the others, so that these are chosen the next time.
                self.cache.touch(id);
                ids.swap_remove(at);
            } else {
                at += 1;
            }
        }
        if ids.is_empty() {
            return 0;
        }
        let s = self.clone();
        let done = self
            .blocking(move || {
                let mut freed = 0;
                for (id, bytes) in ids {
                    s.segments.forget_file(&id);
                    match s.world.disk.remove(&closed_name(&id)) {
                        Err(e) if e.kind() != ErrorKind::NotFound => {
                            tracing::warn!(error = %e, "a cached segment could not be removed");
                            continue;
                        }
                        _ => freed += bytes,
                    }
                    s.cache.remove(&id);
                }
                freed
            })
            .await;
        done.unwrap_or(0)
    }
}

/// Makes the store ours, or sees that it is.
fn claim(store: &dyn Store, id: &str) -> Result<(), LogError> {
    match store.create(MARKER, id.as_bytes()) {
        Ok(()) => return Ok(()),
        // Others may have taken effect, too.
        Err(e) => match store.len(MARKER) {
            Ok(Some(32)) => {}
            Ok(Some(_)) => return Err(LogError::Refused(format!("{}: {MARKER} is not ours", store.url()))),
            Ok(None) | Err(_) => return Err(e.into()),
        },
    }
    let mut found = [0; 32];
    store.read_exact_at(MARKER, &mut found, 0)?;
    if found == *id.as_bytes() {
        return Ok(());
    }
    Err(LogError::Refused(format!(
        "the store {} belongs to another data folder: its {MARKER} says {}, this catalog {id}. Use another prefix, or \
         restore the catalog that belongs to it",
        store.url(),
        String::from_utf8_lossy(&found)
    )))
}
