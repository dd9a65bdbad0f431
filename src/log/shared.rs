//! What the parts of the local engine share.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use catalog::Catalog;
use seal::DataKey;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};
use world::{ShardId, StreamUid, World};

use crate::{
    Limits, LogError, Stats,
    backlog::Backlog,
    cache::Cache,
    committer::{CutRequest, Op},
    compact::Compaction,
    entry::{Directory, Writer},
    footers::Footers,
    forgotten,
    guard::Guard,
    index::{Shard, Stream},
    journal::{JournalFile, Loc, Spares},
    keys::{Keys, lock},
    lru::Lru,
    open_segment::Segments,
    pool::Pool,
    rules::Rules,
    uploads::Uploads,
};

/// A frame's file and directory.
pub(crate) type Frame = (Arc<JournalFile>, Arc<Directory>);

#[derive(Default)]
pub(crate) struct Counters {
    pub appended: AtomicU64,
    pub appended_bytes: AtomicU64,
    pub rounds: AtomicU64,
    pub sync_failures: AtomicU64,
    pub journal_bytes: AtomicU64,
    pub tail_bytes: AtomicU64,
    pub uploads: AtomicU64,
    pub uploaded_bytes: AtomicU64,
    pub upload_failures: AtomicU64,
    pub compacted: AtomicU64,
    pub slowed: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    ops: Vec<Op>,
    cuts: Vec<CutRequest>,
    down: bool,
}

/// What waits for the committer.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

/// Work that may block, under way.
pub(crate) enum Running<T> {
    Done(T),
    Task(JoinHandle<T>),
}

impl<T> Running<T> {
    /// What comes of it. Dropped while it waits, it loses that.
    pub async fn end(self) -> Result<T, LogError> {
        match self {
            Running::Done(t) => Ok(t),
            Running::Task(t) => t.await.map_err(|e| LogError::Io(format!("a disk task failed: {e}"))),
        }
    }
}

impl Queue {
    /// Hands an operation over; gives it back if there is no committer any more.
    pub fn push(&self, op: Op) -> Result<(), Op> {
        let mut w = lock(&self.waiting);
        if w.down {
            return Err(op);
        }
        w.ops.push(op);
        if w.ops.len() == 1 {
            self.ready.notify_one();
        }
        Ok(())
    }
    pub fn cut(&self, c: CutRequest) {
        let mut w = lock(&self.waiting);
        // Dropped otherwise, which is an answer.
        if !w.down {
            w.cuts.push(c);
            self.ready.notify_one();
        }
    }
    /// Takes everything, waiting if `block`. `false` once it is shut and empty.
    pub fn take(&self, ops: &mut Vec<Op>, cuts: &mut Vec<CutRequest>, block: bool) -> bool {
        let mut w = lock(&self.waiting);
        while block && w.ops.is_empty() && w.cuts.is_empty() && !w.down {
            w = self.ready.wait(w).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut w.ops, ops);
        std::mem::swap(&mut w.cuts, cuts);
        !(ops.is_empty() && cuts.is_empty() && w.down)
    }
    /// Refuses what comes from now on; what is waiting is still done.
    pub fn shut(&self) {
        lock(&self.waiting).down = true;
        self.ready.notify_all();
    }
}

/// How long nothing is said of refused writes once it was.
const REFUSALS: Duration = Duration::from_secs(10);

pub(crate) struct Shared {
    pub world: World,
    pub limits: Limits,
    pub catalog: Arc<dyn Catalog>,
    pub keys: Keys,
    /// This start's.
    pub writer: Arc<Writer>,
    /// The journal's own key in force, with its generation.
    pub journal_key: (u32, Arc<DataKey>),
    /// All of its generations.
    pub journal_keys: BTreeMap<u32, Arc<DataKey>>,
    /// The next block id.
    pub ids: AtomicU64,
    /// The position that a new shard begins at: not 0 if an older one of the same number may have been lost.
    pub begin: AtomicU64,
    index: RwLock<BTreeMap<ShardId, Arc<Shard>>>,
    /// Shards of which something is not in the catalog yet.
    pub active: Mutex<BTreeSet<ShardId>>,
    pub journal: Mutex<BTreeMap<u32, Arc<JournalFile>>>,
    pub spares: Mutex<Spares>,
    directories: Mutex<Lru<Loc, Arc<Directory>>>,
    pub segments: Segments,
    pub footers: Footers,
    pub uploads: Uploads,
    pub backlog: Arc<Backlog>,
    pub cache: Cache,
    pub compaction: Compaction,
    pub queue: Queue,
    pub pool: Pool,
    /// Permits are bytes that may be accepted.
    pub room: Arc<Semaphore>,
    pub counters: Counters,
    /// Held by whoever moves the catalog's projection, or forgets a stream.
    pub projection: tokio::sync::Mutex<VecDeque<crate::flush::Prepared>>,
    /// Streams whose keys may be gone: a deletion was given up, or its outcome is unknown. Settled before anything of
    /// them could get back into the catalog.
    pub doubts: Mutex<BTreeSet<StreamUid>>,
    /// How long records stay.
    pub rules: Rules,
    /// Shards that are gone, but not their streams.
    pub forgotten: forgotten::Memory,
    /// What age goes by.
    pub guard: Mutex<Guard>,
    /// Wakes the flusher before its time.
    pub flush: Notify,
    /// No more work is accepted.
    pub down: AtomicBool,
    /// Another process took the lease: nothing may be written any more.
    pub lost: AtomicBool,
    /// When it was last said that there is no room for more.
    refused: Mutex<Option<Duration>>,
    slowed: Mutex<Option<Duration>>,
    /// Dropped: nothing may touch the folder any more.
    pub dead: AtomicBool,
    /// Held by whoever rearranges files.
    pub busy: Mutex<()>,
    /// Blocking calls are made in place: there is no runtime to move them to (a simulated run).
    pub inline: bool,
}

/// Parsed directories kept in memory, in bytes.
const DIRECTORIES: usize = 8 << 20;

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "made in one place")]
    pub fn new(
        world: World,
        limits: Limits,
        catalog: Arc<dyn Catalog>,
        keys: Keys,
        writer: Writer,
        journal_key: (u32, Arc<DataKey>),
        journal_keys: BTreeMap<u32, Arc<DataKey>>,
        inline: bool,
    ) -> Shared {
        let backlog = Arc::new(Backlog::new(limits.inflight_bytes));
        Shared {
            room: Arc::new(Semaphore::new(limits.inflight_bytes)),
            footers: Footers::new(limits.footer_bytes),
            uploads: Uploads::new(backlog.clone()),
            backlog,
            cache: Cache::new(limits.cache_bytes),
            compaction: Compaction::default(),
            world,
            limits,
            catalog,
            keys,
            writer: Arc::new(writer),
            journal_key,
            journal_keys,
            ids: AtomicU64::new(1),
            begin: AtomicU64::new(0),
            index: RwLock::default(),
            active: Mutex::default(),
            journal: Mutex::default(),
            spares: Mutex::new(Spares::new(Vec::new())),
            directories: Mutex::new(Lru::new(DIRECTORIES)),
            segments: Segments::new(),
            queue: Queue::default(),
            pool: Pool::default(),
            counters: Counters::default(),
            projection: tokio::sync::Mutex::default(),
            doubts: Mutex::default(),
            rules: Rules::default(),
            forgotten: forgotten::Memory::default(),
            guard: Mutex::default(),
            flush: Notify::new(),
            down: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            refused: Mutex::default(),
            slowed: Mutex::default(),
            dead: AtomicBool::new(false),
            busy: Mutex::new(()),
            inline,
        }
    }

    pub fn find(&self, id: ShardId) -> Option<Arc<Shard>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
    pub fn shard(&self, id: ShardId) -> Result<Arc<Shard>, LogError> {
        self.find(id).ok_or(LogError::NoShard(id))
    }
    pub fn insert(&self, shard: Arc<Shard>) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).insert(shard.id, shard);
    }
    pub fn remove(&self, id: ShardId) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
    /// All of a stream's shards, or all.
    pub fn shards(&self, stream: Option<StreamUid>) -> Vec<Arc<Shard>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        match stream {
            Some(stream) => {
                let at = |shard| ShardId { stream, shard };
                index.range(at(0)..=at(u32::MAX)).map(|(_, s)| s.clone()).collect()
            }
            None => index.values().cloned().collect(),
        }
    }
    /// The stream of a shard that is there, or a new one.
    pub fn stream(&self, uid: StreamUid) -> Arc<Stream> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let at = |shard| ShardId { stream: uid, shard };
        index.range(at(0)..=at(u32::MAX)).next().map_or_else(|| Stream::new(uid), |(_, s)| s.stream.clone())
    }

    /// Whether work may be accepted.
    pub fn admit(&self) -> Result<(), LogError> {
        if self.down.load(Ordering::Acquire) {
            return Err(LogError::Down);
        }
        if self.lost.load(Ordering::Acquire) {
            return Err(LogError::Refused("another process has taken the journal over".into()));
        }
        Ok(())
    }
    /// Says that there is no room for more; seldom, however many writes are refused.
    pub fn say_refused(&self, why: &LogError) {
        if self.seldom(&self.refused) {
            tracing::warn!(%why, "writes are refused");
        }
    }
    /// The same of writes that are held up for now.
    pub fn say_slowed(&self, why: &LogError) {
        if self.seldom(&self.slowed) {
            tracing::warn!(%why, "writes wait until something was moved on");
        }
    }
    fn seldom(&self, said: &Mutex<Option<Duration>>) -> bool {
        let now = self.world.clock.monotonic();
        let mut said = lock(said);
        let due = said.is_none_or(|at| now.saturating_sub(at) >= REFUSALS);
        if due {
            *said = Some(now);
        }
        due
    }
    pub fn admit_journal(&self) -> Result<(), LogError> {
        let held = self.counters.journal_bytes.load(Ordering::Relaxed);
        if held > self.limits.journal_backlog {
            return Err(LogError::Refused(format!(
                "{held} bytes of the journal wait to be moved to segments; the bound is {}",
                self.limits.journal_backlog
            )));
        }
        Ok(())
    }

    /// Runs something that blocks, off the runtime.
    pub async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LogError> {
        self.begin(f).end().await
    }

    /// The same, which is under way already when this returns.
    pub fn begin<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        if self.inline { Running::Done(f()) } else { Running::Task(tokio::task::spawn_blocking(f)) }
    }

    /// A frame's directory. `None` if its file has been released meanwhile.
    pub fn directory(&self, at: Loc) -> Result<Option<Frame>, LogError> {
        let Some(file) = lock(&self.journal).get(&at.file).cloned() else { return Ok(None) };
        if let Some(d) = lock(&self.directories).get(&at) {
            return Ok(Some((file, d)));
        }
        let d = file.read_directory(at.offset)?.map_err(|e| {
            LogError::Damaged(format!("{} at {}: {e}", crate::journal::file_name(at.file), at.offset))
        })?;
        let d = Arc::new(d);
        lock(&self.directories).put(at, d.clone(), d.weight());
        Ok(Some((file, d)))
    }

    pub fn stats(&self) -> Stats {
        let c = &self.counters;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        Stats {
            appended: get(&c.appended),
            appended_bytes: get(&c.appended_bytes),
            rounds: get(&c.rounds),
            sync_failures: get(&c.sync_failures),
            inflight_bytes: self.limits.inflight_bytes.saturating_sub(self.room.available_permits()) as u64,
            journal_bytes: get(&c.journal_bytes),
            tail_bytes: get(&c.tail_bytes),
            open_segments: self.segments.count() as u64,
            upload_backlog: self.uploads.backlog(),
            uploads: get(&c.uploads),
            uploaded_bytes: get(&c.uploaded_bytes),
            upload_failures: get(&c.upload_failures),
            cached_bytes: self.cache.bytes(),
            compacted: get(&c.compacted),
            slowed: get(&c.slowed),
            removed: self.rules.removed(),
            clock_leap: lock(&self.guard).leap(),
        }
    }
}
