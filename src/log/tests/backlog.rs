//! Writers that are faster than what moves their bytes on: slowed, and refused only if that does not help.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "what is refused is refused in real time")]

mod common;

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use catalog::MemoryCatalog;
use common::{collect, payload, records, stream};
use log::{Limits, LocalLog, Log, LogError, SharedLog, StorePolicy};
use seal::{DataKey, LocalKey};
use tokio::task::JoinSet;
use world::{Body, DiskStore, Object, ShardId, Store, StreamUid, World};

const S: ShardId = ShardId { stream: StreamUid([1; 16]), shard: 0 };

/// A store whose puts hang unless they may pass.
struct Slow {
    to: Arc<dyn Store>,
    /// So many; `None` for all.
    pass: Mutex<Option<u64>>,
    told: Condvar,
    puts: AtomicU64,
}

impl Slow {
    fn pass(&self, puts: Option<u64>) {
        *self.pass.lock().unwrap() = puts;
        self.told.notify_all();
    }
    fn hang(&self, on: bool) {
        self.pass(if on { Some(0) } else { None });
    }
}

impl Store for Slow {
    fn url(&self) -> String {
        self.to.url()
    }
    fn put(&self, key: &str, body: Body<'_>) -> io::Result<()> {
        let mut pass = self.told.wait_while(self.pass.lock().unwrap(), |p| *p == Some(0)).unwrap();
        if let Some(puts) = &mut *pass {
            *puts -= 1;
        }
        drop(pass);
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.to.put(key, body)
    }
    fn create(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.to.create(key, bytes)
    }
    fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.to.read_exact_at(key, buf, offset)
    }
    fn len(&self, key: &str) -> io::Result<Option<u64>> {
        self.to.len(key)
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.to.delete(key)
    }
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>> {
        self.to.list(prefix, after, limit)
    }
}

async fn open(limits: Limits) -> (tempfile::TempDir, Arc<Slow>, Arc<LocalLog>) {
    let dir = tempfile::tempdir().unwrap();
    for d in ["data", "store"] {
        std::fs::create_dir(dir.path().join(d)).unwrap();
    }
    let mut world = World::real(dir.path().join("data"));
    let folder = World::real(dir.path().join("store"));
    let to = Arc::new(DiskStore::new(folder.disk, "store").unwrap());
    let (pass, told, puts) = Default::default();
    let store = Arc::new(Slow { to, pass, told, puts });
    world.store = Some(store.clone());
    let catalog = Arc::new(MemoryCatalog::new(world.clone()));
    let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
    let log = LocalLog::open(world, catalog, keys, limits, StorePolicy::default()).await.unwrap();
    log.create_stream(stream(1)).await.unwrap();
    (dir, store, log)
}

/// A few segments may wait.
fn limits() -> Limits {
    Limits {
        journal_file: 64 << 10,
        segment_bytes: 100_000,
        upload_backlog: 400_000,
        inflight_bytes: 1 << 20,
        small_segment: 0,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_slows_its_writers_and_refuses_none() {
    let limits = Limits { backlog_wait: Duration::from_secs(60), ..limits() };
    let bound = limits.upload_backlog;
    let (_dir, store, log) = open(limits).await;
    store.hang(true);
    let shared: SharedLog = log.clone();
    let n = 60u64;
    let mut writers: JoinSet<()> = (0..4u64)
        .map(|w| {
            let log = shared.clone();
            async move {
                for i in 0..n / 4 {
                    let content = common::bytes(w << 8 | i, 100_000);
                    payload(&log, S, &content, 30_000, (1, 2), b"").await.unwrap();
                    let waits = log.stats().upload_backlog;
                    assert!(waits < 3 << 20, "{waits} bytes wait for the store");
                }
            }
        })
        .collect();
    // Once somebody waits it takes one at a time, and only what has to go for others to come.
    let slowly = async {
        while log.stats().slowed == 0 {
            tokio::task::yield_now().await;
        }
        loop {
            let before = log.stats();
            if before.upload_backlog > bound {
                store.pass(Some(1));
                while log.stats().uploads == before.uploads {
                    tokio::task::yield_now().await;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    let written = async {
        while let Some(w) = writers.join_next().await {
            w.unwrap();
        }
    };
    tokio::select! {
        () = written => {}
        () = slowly => {}
    }
    store.hang(false);
    assert!(log.stats().slowed > 0, "nobody had to wait: {:?}", log.stats());
    // All are there.
    let mut all = log.payloads(S, log::Query::Positions(0, u64::MAX), 1000, false).await.unwrap();
    all.dedup_by_key(|p| p.position);
    assert_eq!(all.len() as u64, n);
    assert!(store.puts.load(Ordering::Relaxed) > 2);
}

/// Writes until one is refused; returns how many were not, and how long that one took.
async fn fill(log: &SharedLog, seed: u64) -> (u64, Duration) {
    for n in 0..200 {
        let began = Instant::now();
        match payload(log, S, &common::bytes(seed + n, 100_000), 100_000, (1, 2), b"").await {
            Ok(_) => {}
            Err(LogError::Refused(why)) => {
                assert!(why.contains("of segments wait for the store"), "{why}");
                return (n, began.elapsed());
            }
            Err(e) => panic!("{e}"),
        }
    }
    panic!("it takes everything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_refuses_after_a_wait_and_then_at_once() {
    let wait = Duration::from_millis(700);
    let (_dir, store, log) = open(Limits { backlog_wait: wait, ..limits() }).await;
    let shared: SharedLog = log.clone();
    store.hang(true);
    let (taken, took) = fill(&shared, 0).await;
    assert!((3..60).contains(&taken), "{taken}");
    assert!(took >= wait && took < 10 * wait, "{took:?}");
    // Whoever comes now has nothing to wait for; what needs no room goes on.
    let began = Instant::now();
    for n in 0..20 {
        let e = log.append(S, records(n, 1, 100)).await.unwrap_err();
        assert!(matches!(e, LogError::Refused(_)), "{e}");
        assert!(log.payload(S).await.is_err());
    }
    assert_eq!(
        log.payloads(S, log::Query::Positions(0, u64::MAX), 1000, false).await.unwrap().len() as u64,
        taken
    );
    log.open_shard(ShardId { shard: 1, ..S }, &[]).await.unwrap();
    log.close_shard(ShardId { shard: 1, ..S }).await.unwrap();
    log.flush().await.unwrap();
    assert!(began.elapsed() < 10 * wait, "{:?}", began.elapsed());
    // It comes back: so do they, without having been told.
    store.hang(false);
    let began = Instant::now();
    while log.append(S, records(1, 1, 100)).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", log.stats());
        tokio::task::yield_now().await;
    }
    assert!(fill_some(&shared).await);
    log.shutdown().await.unwrap();
}

async fn fill_some(log: &SharedLog) -> bool {
    payload(log, S, &common::bytes(9, 100_000), 100_000, (1, 2), b"").await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_wait_are_bounded_and_let_go_when_the_log_stops() {
    let limits = Limits { backlog_wait: Duration::from_secs(600), ..limits() };
    let (_dir, store, log) = open(limits).await;
    let shared: SharedLog = log.clone();
    store.hang(true);
    // Fills it without waiting: the last of them does.
    let filler = tokio::spawn({
        let log = shared.clone();
        async move { while fill_some(&log).await {} }
    });
    while log.stats().slowed == 0 {
        tokio::task::yield_now().await;
    }
    // A MiB may wait, in records of a quarter each.
    let mut all = JoinSet::new();
    for n in 0..12 {
        let log = shared.clone();
        all.spawn(async move { log.append(S, records(n, 1, 256 << 10)).await });
    }
    for _ in 0..9 {
        let refused = all.join_next().await.unwrap().unwrap();
        assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
    }
    assert_eq!(all.len(), 3, "with what fills it they are as many as may wait");
    assert!(!collect(&shared, S, 0).await.is_empty());
    let stopping = tokio::spawn({
        let log = log.clone();
        async move { log.shutdown().await }
    });
    while let Some(left) = all.join_next().await {
        assert!(matches!(left.unwrap(), Err(LogError::Down)));
    }
    filler.await.unwrap();
    store.hang(false);
    stopping.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_moved_on_in_time_refuses_nobody() {
    let limits = Limits { journal_backlog: 300_000, upload_backlog: u64::MAX, ..limits() };
    let (_dir, _store, log) = open(limits).await;
    let mut all = JoinSet::new();
    for w in 0..4u64 {
        let log = log.clone();
        all.spawn(async move {
            for i in 0..50 {
                log.append(S, records(w << 16 | i, 1, 40_000)).await.unwrap();
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert!(log.stats().slowed > 0, "nobody had to wait: {:?}", log.stats());
    let shared: SharedLog = log.clone();
    assert_eq!(collect(&shared, S, 0).await.len(), 200);
}
