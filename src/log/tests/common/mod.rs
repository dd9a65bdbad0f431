//! Engines as the tests open them, and what they fill them with.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use catalog::{Catalog, MemoryCatalog};
use log::{Committed, Item, Limits, LocalLog, LogError, MemoryLog, SharedLog, StorePolicy};
use seal::{DataKey, LocalKey};
use world::{Clock, ShardId, StreamUid, Timestamp, World};

/// Real time, shifted or held.
pub struct TestClock {
    real: Arc<dyn Clock>,
    /// `i64::MIN`: real.
    now: AtomicI64,
}

#[async_trait::async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
    async fn sleep(&self, d: Duration) {
        self.real.sleep(d).await
    }
}

/// An engine with what it keeps between openings.
pub trait Engine {
    fn world(&self) -> &(World, Arc<TestClock>);
    fn limits(&self) -> Limits;
    fn durable(&self) -> bool;
    fn open(&self) -> impl Future<Output = SharedLog>;
    /// Moves everything to where it rests.
    fn settle(&self, log: &SharedLog) -> impl Future<Output = ()>;
    /// Moves everything into closed segments, if the engine has any.
    fn flush(&self, _: &SharedLog) -> impl Future<Output = ()> {
        async {}
    }
    /// Whether what was settled one after another can be removed one without the other.
    fn runs_apart(&self) -> bool {
        true
    }
    fn clock(&self) -> Arc<TestClock> {
        self.world().1.clone()
    }
    fn set_clock(&self, t: Timestamp) {
        self.world().1.now.store(t.0, Ordering::SeqCst);
    }
}

fn world(dir: &Path) -> (World, Arc<TestClock>) {
    let mut w = World::real(dir);
    let clock = Arc::new(TestClock { real: w.clock.clone(), now: AtomicI64::new(w.clock.now().0) });
    w.clock = clock.clone();
    (w, clock)
}

pub fn small_limits() -> Limits {
    Limits { batch_bytes: 1 << 20, payload_bytes: 2 << 20, journal_file: 256 << 10, ..Limits::default() }
}

pub struct Memory(tempfile::TempDir, (World, Arc<TestClock>));

impl Memory {
    pub fn new() -> Memory {
        let dir = tempfile::tempdir().unwrap();
        let w = world(dir.path());
        Memory(dir, w)
    }
}

impl Engine for Memory {
    fn world(&self) -> &(World, Arc<TestClock>) {
        &self.1
    }
    fn limits(&self) -> Limits {
        small_limits()
    }
    fn durable(&self) -> bool {
        false
    }
    async fn open(&self) -> SharedLog {
        MemoryLog::new(self.1.0.clone(), small_limits())
    }
    async fn settle(&self, _: &SharedLog) {}
}

/// The local engine; the catalog outlives the log, as a file would.
pub struct Local {
    pub dir: tempfile::TempDir,
    pub world: (World, Arc<TestClock>),
    pub catalog: Arc<dyn Catalog>,
    pub limits: Limits,
    /// Whether `settle` moves everything into segments and drops the tail.
    tiered: bool,
    last: std::sync::Mutex<std::sync::Weak<LocalLog>>,
}

impl Local {
    pub fn new() -> Local {
        Local::with(small_limits(), false)
    }
    pub fn tiered() -> Local {
        Local::with(Limits { tail_bytes: 2000, ..small_limits() }, true)
    }
    pub fn with(limits: Limits, tiered: bool) -> Local {
        let dir = tempfile::tempdir().unwrap();
        let world = world(dir.path());
        let catalog = Arc::new(MemoryCatalog::new(world.0.clone()));
        Local { dir, world, catalog, limits, tiered, last: Default::default() }
    }
    pub async fn try_open(&self) -> Result<Arc<LocalLog>, log::OpenError> {
        let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
        LocalLog::open(
            self.world.0.clone(),
            self.catalog.clone(),
            keys,
            self.limits.clone(),
            StorePolicy::default(),
        )
        .await
    }
}

impl Engine for Local {
    fn world(&self) -> &(World, Arc<TestClock>) {
        &self.world
    }
    fn limits(&self) -> Limits {
        self.limits.clone()
    }
    fn durable(&self) -> bool {
        true
    }
    async fn open(&self) -> SharedLog {
        let log = self.try_open().await.unwrap();
        *self.last.lock().unwrap() = Arc::downgrade(&log);
        log
    }
    fn runs_apart(&self) -> bool {
        self.tiered
    }
    async fn flush(&self, _: &SharedLog) {
        let log = self.last.lock().unwrap().upgrade().unwrap();
        log.flush().await.unwrap();
    }
    async fn settle(&self, _: &SharedLog) {
        if self.tiered {
            let log = self.last.lock().unwrap().upgrade().unwrap();
            log.flush().await.unwrap();
        }
    }
}

pub fn stream(n: u8) -> StreamUid {
    StreamUid([n; 16])
}

/// Bytes that differ for each seed.
pub fn bytes(seed: u64, n: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}

pub fn records(seed: u64, n: usize, len: usize) -> Vec<Bytes> {
    (0..n).map(|i| bytes(seed * 1000 + i as u64, len).into()).collect()
}

/// Everything from a position on: records' data, payloads' index.
pub async fn collect(log: &SharedLog, s: ShardId, mut from: u64) -> Vec<(u64, Bytes)> {
    let mut out = Vec::new();
    loop {
        let page = log.read(s, from, 17, 64 << 10).await.unwrap();
        if page.items.is_empty() {
            return out;
        }
        from = page.next;
        for i in page.items {
            out.push(match i {
                Item::Record(r) => (r.position, r.data),
                Item::Payload(p) => (p.position, p.index),
            });
        }
    }
}

/// Writes a payload in pieces.
pub async fn payload(
    log: &SharedLog,
    s: ShardId,
    data: &[u8],
    piece: usize,
    producer: (i64, i64),
    index: &[u8],
) -> Result<Committed, LogError> {
    let mut w = log.payload(s).await?;
    for c in data.chunks(piece.max(1)) {
        w.write(c).await?;
    }
    w.commit((Timestamp(producer.0), Timestamp(producer.1)), Bytes::copy_from_slice(index)).await
}

/// The files of a folder with an extension, sorted.
pub fn files(e: &Local, dir: &str, ext: &str) -> Vec<PathBuf> {
    let mut v: Vec<PathBuf> = std::fs::read_dir(e.dir.path().join(dir))
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.extension().is_some_and(|x| x == ext))
        .collect();
    v.sort();
    v
}

/// Flips a bit of a byte.
pub fn flip(path: &Path, at: u64) {
    let f = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut b = [0];
    f.read_exact_at(&mut b, at).unwrap();
    f.write_all_at(&[b[0] ^ 8], at).unwrap();
}
