//! The local engine: a journal and segments in one data folder.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use catalog::{Catalog, CatalogError, Lease};
use seal::KeyProvider;
use tokio::sync::{oneshot, watch};
use world::{ShardId, StreamUid, Timestamp, World};

use crate::{
    Committed, Head, Life, Limits, Log, LogError, Page, Payload, PayloadWriter, Pin, Query, Retention, Stats,
    StorePolicy, Unreadable,
    committer::{BatchOp, Done, Fail, Op},
    enforce::keep_enforcing,
    entry::{encode_records, records_len},
    flush::Scope,
    index::Shard,
    journal::JOURNAL,
    keys::lock,
    opening::{LEASE_TTL, OpenError, Parts, io},
    orphans::Older,
    payload::{LocalPayload, first16},
    shared::Shared,
};

/// What a block costs beside its records: in a frame, and in a footer.
const BESIDE: usize = 128;
/// How often the flusher looks.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Segments on their way to the store at once.
const UPLOADS: usize = 3;
/// The pause after a failure of the store, at first and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// How often small segments are looked for.
const COMPACT_EVERY: Duration = Duration::from_secs(60);
/// How often the store is looked through for what nobody knows.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Shards forgotten at once.
const FORGET: usize = 256;

/// The local engine.
pub struct LocalLog {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
    tasks: Vec<tokio::task::AbortHandle>,
    lease: Arc<Mutex<Option<Lease>>>,
}

impl LocalLog {
    /// An engine that nothing drives: a simulated run calls the committer itself.
    #[cfg(test)]
    pub(crate) fn driven(shared: Arc<Shared>) -> LocalLog {
        LocalLog { shared, committer: Mutex::new(None), tasks: Vec::new(), lease: Arc::default() }
    }

    /// Ends it as a crash does.
    #[cfg(test)]
    pub(crate) fn die(&self) {
        self.shared.dead.store(true, Ordering::Release);
    }

    /// Moves everything that is in the journal and in open segments into closed ones, now.
    pub async fn flush(&self) -> Result<(), LogError> {
        self.shared.admit()?;
        self.to_its_end(|s| async move { s.flush(Scope::All).await }).await
    }

    /// Says what holds for the whole store, from now on, in place of what was said at the opening. Not kept: whoever opens the log says it each time.
    pub fn set_store_policy(&self, policy: StorePolicy) {
        self.shared.rules.set_store(policy);
    }

    /// What holds for the whole store.
    pub fn store_policy(&self) -> StorePolicy {
        self.shared.rules.store()
    }

    /// Runs something to its end even if nobody waits for it any more.
    async fn to_its_end<T, F>(&self, f: impl FnOnce(Arc<Shared>) -> F) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LogError>> + Send + 'static,
    {
        let f = f(self.shared.clone());
        if self.shared.inline {
            return f.await;
        }
        tokio::spawn(f).await.map_err(|e| LogError::Io(format!("a task of the log failed: {e}")))?
    }

    /// Opens the log of a data folder, making it if there is none, and recovers what a crash left. `policy` holds from
    /// the first byte that is taken. Must be called on a Tokio runtime.
    pub async fn open(
        world: World,
        catalog: Arc<dyn Catalog>,
        keys: Arc<dyn KeyProvider>,
        limits: Limits,
        policy: StorePolicy,
    ) -> Result<Arc<LocalLog>, OpenError> {
        let Parts { shared, mut committer, lease, strays } =
            Parts::open(world, catalog, keys, limits, policy, false).await?;
        shared.load_rules().await?;
        let s = shared.clone();
        let thread = std::thread::Builder::new()
            .name("log-committer".into())
            .spawn(move || {
                let (mut ops, mut cuts) = (Vec::new(), Vec::new());
                while s.queue.take(&mut ops, &mut cuts, true) {
                    committer.round(&mut ops, std::mem::take(&mut cuts));
                }
            })
            .map_err(io)?;
        let lease = Arc::new(Mutex::new(Some(lease)));
        let renewing = tokio::spawn(renew(shared.clone(), lease.clone())).abort_handle();
        let flushing = tokio::spawn(keep_flushing(shared.clone(), strays)).abort_handle();
        let enforcing = tokio::spawn(keep_enforcing(shared.clone())).abort_handle();
        let compacting = tokio::spawn(keep_compacting(shared.clone())).abort_handle();
        let mut tasks = vec![renewing, flushing, enforcing, compacting];
        if shared.world.store.is_some() {
            tasks.extend((0..UPLOADS).map(|_| tokio::spawn(keep_storing(shared.clone())).abort_handle()));
        }
        let committer = Mutex::new(Some(thread));
        Ok(Arc::new(LocalLog { shared, committer, tasks, lease }))
    }

    async fn control(&self, op: impl FnOnce(Done) -> Op) -> Result<Committed, LogError> {
        self.shared.admit()?;
        let (done, outcome) = oneshot::channel();
        self.shared.queue.push(op(done)).map_err(|_| LogError::Down)?;
        finish(outcome).await
    }

    fn join(&self) {
        let thread = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(t) = thread
            && t.join().is_err()
        {
            tracing::error!("the committer panicked");
        }
    }
}

async fn finish(outcome: oneshot::Receiver<Result<Committed, Fail>>) -> Result<Committed, LogError> {
    match outcome.await {
        Ok(Ok(c)) => Ok(c),
        Ok(Err(Fail::Log(e))) => Err(e),
        Ok(Err(Fail::Moved)) => Err(LogError::Io("a segment was closed under a record".into())),
        Err(_) => Err(LogError::Unknown("the log stopped meanwhile".into())),
    }
}

/// Keeps the lease while the log runs; stops the log if it was lost.
async fn renew(shared: Arc<Shared>, lease: Arc<Mutex<Option<Lease>>>) {
    loop {
        shared.world.clock.sleep(LEASE_TTL / 3).await;
        let Some(l) = lock(&lease).clone() else { return };
        match shared.catalog.renew(&l, LEASE_TTL).await {
            Ok(l) => *lock(&lease) = Some(l),
            Err(CatalogError::LeaseLost(_)) => {
                tracing::error!("the lease of the journal was lost: nothing more is accepted");
                shared.lost.store(true, Ordering::Release);
                return;
            }
            Err(e) => tracing::warn!(error = %e, "the lease of the journal could not be renewed"),
        }
    }
}

/// Looks twice a second, and when asked, whether something is to be moved on.
async fn keep_flushing(shared: Arc<Shared>, strays: Vec<([u8; 16], bool)>) {
    shared.sweep(strays).await;
    let mut swept = None;
    loop {
        let now = shared.world.clock.monotonic();
        if swept.is_none_or(|at| now - at >= SWEEP_EVERY) {
            swept = Some(now);
            let s = shared.clone();
            tokio::spawn(async move { s.sweep_objects().await });
        }
        tokio::select! {
            () = shared.world.clock.sleep(FLUSH_EVERY) => {}
            () = shared.flush.notified() => {}
        }
        if let Err(e) = shared.flush(Scope::Due).await {
            tracing::warn!(error = %e, "the journal could not be moved to segments; trying again");
            // It may be for want of room.
            shared.rules.wake.notify_one();
            shared.world.clock.sleep(10 * FLUSH_EVERY).await;
        }
    }
}

/// Brings to the store what is finished, as it comes; after a failure ever more slowly, up to once a minute.
async fn keep_storing(shared: Arc<Shared>) {
    let mut pause = RETRY;
    loop {
        match shared.store_step().await {
            Ok(true) => pause = RETRY,
            Ok(false) => {
                pause = RETRY;
                tokio::select! {
                    () = shared.uploads.wake.notified() => {}
                    () = shared.world.clock.sleep(RETRY_MOST) => {}
                }
            }
            Err(_) => {
                shared.world.clock.sleep(pause).await;
                pause = (pause * 2).min(RETRY_MOST);
            }
        }
    }
}

/// Rewrites small segments, once a minute if there are any worth it.
async fn keep_compacting(shared: Arc<Shared>) {
    loop {
        shared.world.clock.sleep(COMPACT_EVERY).await;
        loop {
            match shared.compact().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => {
                    tracing::warn!(error = %e, "small segments could not be rewritten; trying again");
                    break;
                }
            }
        }
    }
}

impl Drop for LocalLog {
    /// As a crash would, but for the rounds under way. Payload writers that outlive the log fail.
    fn drop(&mut self) {
        self.shared.down.store(true, Ordering::Release);
        self.shared.backlog.moved();
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
        self.shared.queue.shut();
        self.join();
        self.shared.dead.store(true, Ordering::Release);
        // Whoever is at the disk finishes first: the folder may be opened again at once.
        drop(lock(&self.shared.busy));
        self.shared.compaction.wait();
        for s in self.shared.segments.all() {
            s.closed.store(true, Ordering::Release);
            drop(s.shut());
        }
    }
}

#[async_trait::async_trait]
impl Log for LocalLog {
    async fn create_stream(&self, stream: StreamUid) -> Result<(), LogError> {
        self.shared.admit()?;
        if stream == JOURNAL {
            return Err(LogError::Refused("this id is reserved".into()));
        }
        // If it is there, an earlier attempt got this far.
        self.shared.keys.create(stream, 1).await?;
        self.open_shard(ShardId { stream, shard: 0 }, &[]).await
    }

    async fn delete_stream(&self, stream: StreamUid) -> Result<(), LogError> {
        self.shared.admit()?;
        if stream == JOURNAL {
            return Err(LogError::Refused("this id is reserved".into()));
        }
        self.to_its_end(move |s| async move {
            s.delete_stream(stream).await?;
            s.forget_rules(stream).await;
            Ok(())
        })
        .await
    }

    async fn rotate_key(&self, stream: StreamUid) -> Result<u32, LogError> {
        self.shared.admit()?;
        // Not beside a deletion, which would leave a key behind.
        let _one = self.shared.projection.lock().await;
        let shards = self.shared.shards(Some(stream));
        let shard = shards.first().ok_or(LogError::NoShard(ShardId { stream, shard: 0 }))?;
        if shard.stream.leaving.load(Ordering::Acquire) {
            return Err(LogError::NoShard(shard.id));
        }
        let generation = self.shared.next_generation(stream).await?;
        self.shared.keys.create(stream, generation).await?;
        shard.stream.forget_sealer().await;
        Ok(generation)
    }

    async fn open_shard(&self, shard: ShardId, parents: &[u32]) -> Result<(), LogError> {
        let s = &self.shared;
        // Its parents may be forgotten by now.
        if s.find(shard).is_some_and(|there| *there.parents == *parents) {
            return s.admit();
        }
        let mut found = Vec::with_capacity(parents.len());
        for p in parents {
            found.push(s.shard(ShardId { shard: *p, ..shard })?);
        }
        let stream = s.stream(shard.stream);
        let new = Shard::new(shard, stream, parents, Timestamp(0));
        self.control(|done| Op::Open { shard: new, parents: found, done }).await.map(drop)
    }

    async fn close_shard(&self, shard: ShardId) -> Result<u64, LogError> {
        let shard = self.shared.shard(shard)?;
        self.control(|done| Op::Close { shard, done }).await.map(|c| c.first)
    }

    async fn shards(&self, stream: StreamUid) -> Result<Vec<(ShardId, Vec<u32>)>, LogError> {
        Ok(self.shared.shards(Some(stream)).iter().map(|s| (s.id, s.parents.to_vec())).collect())
    }

    async fn life(&self, shard: ShardId) -> Result<Life, LogError> {
        let shard = self.shared.shard(shard)?;
        let st = shard.state();
        Ok(Life { opened: st.opened, closed: st.closed })
    }

    async fn restored(&self) -> Result<Option<Timestamp>, LogError> {
        Ok(Older::load(&*self.shared.catalog).await?.map(|o| o.restored))
    }

    async fn forget_shards(&self, stream: StreamUid, shards: &[u32]) -> Result<Vec<u32>, LogError> {
        self.shared.admit()?;
        let mut stay = Vec::new();
        // In steps, as flushes wait meanwhile.
        for some in shards.chunks(FORGET) {
            let some = some.to_vec();
            stay.extend(self.to_its_end(move |s| async move { s.forget_shards(stream, &some).await }).await?);
        }
        Ok(stay)
    }

    async fn append(&self, shard: ShardId, records: Vec<Bytes>) -> Result<Committed, LogError> {
        let s = &*self.shared;
        s.admit()?;
        let len = records_len(&records);
        if len > s.limits.batch_bytes {
            return Err(LogError::TooLarge {
                what: "a batch",
                len: len as u64,
                limit: s.limits.batch_bytes as u64,
            });
        }
        let count = match u32::try_from(records.len()) {
            Ok(n) if n > 0 => n,
            _ => return Err(LogError::Refused("a batch has at least one record".into())),
        };
        let shard = s.shard(shard)?;
        if shard.state().closing {
            return Err(LogError::Closed(shard.id));
        }
        s.admit_bytes(len).await?;
        // Once in the journal, once in a segment.
        s.rules.admit(shard.id.stream, 2 * (len + BESIDE) as u64)?;
        let sealer = shard.stream.sealer(&s.keys, &s.writer).await?;
        let want = (len + seal::TAG).min(s.limits.inflight_bytes) as u32;
        let room = s.room.clone().acquire_many_owned(want).await.map_err(|_| LogError::Down)?;
        let mut sealed = s.pool.take(seal::sealed_len(len as u64) as usize);
        encode_records(&records, &mut sealed);
        let plain = Bytes::copy_from_slice(&sealed);
        drop(records);
        let id = s.ids.fetch_add(1, Ordering::Relaxed);
        let block = seal::Block { shard: shard.id, epoch: s.writer.epoch, id };
        let digest = if plain.len() <= seal::CHUNK {
            sealer.key.seal_chunk(&block, 0, true, &mut sealed, 0);
            first16(&sealed[plain.len()..])
        } else {
            sealed = sealer.key.seal(&block, &plain);
            let step = seal::CHUNK + seal::TAG;
            let mut tags = ring::digest::Context::new(&ring::digest::SHA256);
            sealed.chunks(step).for_each(|c| tags.update(&c[c.len() - seal::TAG..]));
            first16(tags.finish().as_ref())
        };
        let (done, outcome) = oneshot::channel();
        let generation = sealer.generation;
        let op = BatchOp { shard, sealed, plain, count, id, generation, digest, done, room };
        s.queue.push(Op::Batch(op)).map_err(|_| LogError::Down)?;
        finish(outcome).await
    }

    async fn payload(&self, shard: ShardId) -> Result<Box<dyn PayloadWriter>, LogError> {
        self.shared.admit()?;
        let shard = self.shared.shard(shard)?;
        if shard.state().closing {
            return Err(LogError::Closed(shard.id));
        }
        // There is nothing of it yet.
        self.shared.admit_bytes(0).await?;
        self.shared.rules.admit(shard.id.stream, 0)?;
        let sealer = shard.stream.sealer(&self.shared.keys, &self.shared.writer).await?;
        Ok(Box::new(LocalPayload::new(self.shared.clone(), shard, sealer)))
    }

    async fn read(
        &self,
        shard: ShardId,
        from: u64,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Page, LogError> {
        self.shared.read(shard, from, max_items, max_bytes).await
    }

    async fn seek(&self, shard: ShardId, arrival: Timestamp) -> Result<u64, LogError> {
        self.shared.seek(shard, arrival).await
    }

    async fn payloads(
        &self,
        shard: ShardId,
        query: Query,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Payload>, LogError> {
        self.shared.payloads(shard, query, limit, from_end).await
    }

    async fn readable_payloads(
        &self,
        shard: ShardId,
        query: Query,
        limit: usize,
        from_end: bool,
    ) -> Result<(Vec<Payload>, Vec<Unreadable>), LogError> {
        self.shared.readable_payloads(shard, query, limit, from_end).await
    }

    async fn gaps(&self, shard: ShardId, from: u64, to: u64) -> Result<Vec<(u64, u64)>, LogError> {
        self.shared.gaps(shard, from, to).await
    }

    async fn read_payload(&self, payload: &Payload, range: Range<u64>) -> Result<Bytes, LogError> {
        self.shared.read_payload(payload, range).await
    }

    fn watch(&self, shard: ShardId) -> Result<watch::Receiver<Head>, LogError> {
        let shard = self.shared.shard(shard)?;
        let mut st = shard.state();
        if st.gone {
            return Err(LogError::NoShard(shard.id));
        }
        let head = st.head();
        // Records can be read a moment before their followers are told. Whoever asks is told of all that was read: with
        // less, a reader would take itself for too far ahead and read on from before.
        if st.watch.as_ref().is_some_and(|w| *w.borrow() != head) {
            st.announce();
        }
        Ok(st.watch.get_or_insert_with(|| watch::channel(head).0).subscribe())
    }

    async fn set_retention(&self, stream: StreamUid, retention: Retention) -> Result<(), LogError> {
        self.shared.admit()?;
        self.shared.set_retention(stream, retention).await
    }

    async fn retention(&self, stream: StreamUid) -> Result<Retention, LogError> {
        self.shared.retention(stream)
    }

    async fn pin(
        &self,
        stream: StreamUid,
        from: Timestamp,
        to: Timestamp,
        note: &str,
    ) -> Result<Pin, LogError> {
        self.shared.admit()?;
        self.shared.pin(stream, from, to, note).await
    }

    async fn unpin(&self, stream: StreamUid, id: &str) -> Result<bool, LogError> {
        self.shared.admit()?;
        self.shared.unpin(stream, id).await
    }

    async fn pins(&self, stream: StreamUid) -> Result<Vec<Pin>, LogError> {
        self.shared.pins(stream)
    }

    async fn enforce(&self) -> Result<(), LogError> {
        self.to_its_end(|s| async move { s.enforce().await }).await
    }

    async fn trim(&self, shard: ShardId, before: u64) -> Result<(), LogError> {
        let shard = self.shared.shard(shard)?;
        let s = shard.clone();
        self.control(|done| Op::Trim { shard: s, before, done }).await?;
        self.to_its_end(move |s| async move {
            s.drop_runs(&shard).await;
            Ok(())
        })
        .await
    }

    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, LogError> {
        let recent: u64 = self.shared.shards(stream).iter().map(|s| s.state().recent_bytes).sum();
        let closed = self.shared.catalog.stored_bytes(stream).await?;
        Ok(recent + closed)
    }

    fn stats(&self) -> Stats {
        self.shared.stats()
    }

    async fn shutdown(&self) -> Result<(), LogError> {
        if self.shared.down.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.shared.backlog.moved();
        let flushed = self.shared.flush(Scope::All).await;
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
        self.shared.queue.shut();
        self.join();
        let lease = lock(&self.lease).take();
        if let Some(l) = lease
            && let Err(e) = self.shared.catalog.release(l).await
        {
            tracing::warn!(error = %e, "the lease of the journal could not be given back");
        }
        flushed
    }
}
