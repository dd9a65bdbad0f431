//! A snapshot of the catalog is put back that is older than splits and merges, or was made in the middle of one. The stream
//! comes to rest, takes every key, and gives all that the log has, what comes later behind it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use catalog::MemoryCatalog;
use log::{Limits, LocalLog, Log, SharedLog, StorePolicy, note_restored};
use seal::{DataKey, LocalKey};
use world::{World, sim::Dice};

use super::{
    Site,
    crashes::Failing,
    resharding::{follow, reshard},
};
use crate::{DataStreams, map::Shard};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Puts the next number under each key; `false` if the service is out of order.
async fn put_all(s: &DataStreams, next: &mut u32) -> bool {
    for key in KEYS {
        if s.put("s", key, next.to_string().as_bytes()).await.is_err() {
            return false;
        }
    }
    *next += 1;
    true
}

/// Under each key are the numbers before `put`, in order.
fn check(seen: &[(String, String)], put: u32, case: &str) {
    let mut by_key: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (key, number) in seen {
        by_key.entry(key).or_default().push(number.parse().unwrap());
    }
    for key in KEYS {
        let found = by_key.remove(key).unwrap_or_default();
        assert_eq!(found, (0..put).collect::<Vec<_>>(), "{case}: under {key}");
    }
}

async fn read(s: &DataStreams) -> Vec<(String, String)> {
    let done = Arc::new(AtomicBool::new(true));
    tokio::time::timeout(Duration::from_secs(60), follow(s, done)).await.unwrap()
}

/// Comes to rest, and documents and log say the same.
async fn settled(s: &DataStreams, case: &str) {
    let stream = s.get("s").unwrap();
    s.rest("s").await;
    assert_eq!(stream.status().text(), "ACTIVE", "{case}");
    let log = &s.inner.tools.log;
    let shards: Vec<Shard> = stream.read().map.all().to_vec();
    let there = log.shards(stream.uid).await.unwrap();
    assert!(there.iter().map(|(id, _)| id.shard).eq(shards.iter().map(|s| s.index)), "{case}: {there:?}");
    for s in shards {
        let life = log.life(stream.log_shard(s.index)).await.unwrap();
        assert_eq!(life.closed, s.closed.is_some(), "{case}: shard {}", s.index);
    }
}

/// Where a log is that can be lost in part, and who opens it.
struct Place {
    world: World,
    catalog: Arc<MemoryCatalog>,
    log: Arc<LocalLog>,
}

impl Place {
    async fn open(world: &World, catalog: &Arc<MemoryCatalog>) -> Place {
        let limits = Limits { journal_file: 64 << 10, ..Limits::default() };
        let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
        let (world, catalog) = (world.clone(), catalog.clone());
        let log = LocalLog::open(world.clone(), catalog.clone(), keys, limits, StorePolicy::default());
        Place { log: log.await.unwrap(), world, catalog }
    }
    /// Puts an older catalog back; what the journal has is in segments, and the journal is gone.
    async fn put_back(self, old: MemoryCatalog) -> Place {
        let Place { world, log, catalog } = self;
        log.shutdown().await.unwrap();
        drop((log, catalog));
        for e in world.disk.list("journal").unwrap().iter().filter(|e| e.name.ends_with(".j")) {
            world.disk.remove(&format!("journal/{}", e.name)).unwrap();
        }
        let now = world.clock.now();
        note_restored(&old, now, now).await.unwrap();
        Place::open(&world, &Arc::new(old)).await
    }
}

/// Changes at random, the snapshot after `at` commits of it, more changes; then it is put back.
async fn history(seed: u64, at: i64, journal: bool) {
    let case = format!("seed {seed}, after {at} commits, journal {journal}");
    let mut dice = Dice::new(seed);
    let mut site = Site::new().await;
    let catalog = Arc::new(MemoryCatalog::new(site.world.clone()));
    site.catalog = catalog.clone();
    site.config.patience = Duration::from_millis(10);
    let memory = log::MemoryLog::new(site.world.clone(), Limits::default());
    site.log = memory.clone();
    let mut place = None;
    if !journal {
        let p = Place::open(&site.world, &catalog).await;
        site.log = p.log.clone();
        place = Some(p);
    }
    let mut next = 0;
    site.open().await.make("s", 2).await;
    // What is begun when the catalog fails is as a snapshot of that moment has it.
    let failing = Arc::new(Failing(catalog.clone(), AtomicI64::new(at)));
    let s = site.open_on(failing.clone()).await.unwrap();
    let stream = s.get("s").unwrap();
    for _ in 0..3 {
        reshard(&s, &mut dice).await;
        while stream.read().body.work.is_some() && failing.1.load(SeqCst) >= 0 {
            tokio::task::yield_now().await;
        }
        if failing.1.load(SeqCst) < 0 {
            break;
        }
        assert!(put_all(&s, &mut next).await);
    }
    drop(s);
    let old = catalog.copy();
    let s = site.open().await;
    settled(&s, &case).await;
    for _ in 0..dice.below(4) {
        assert!(put_all(&s, &mut next).await);
        reshard(&s, &mut dice).await;
        s.rest("s").await;
    }
    assert!(put_all(&s, &mut next).await);
    drop(s);
    match place {
        Some(p) => {
            // Nobody else may have it.
            site.log = log::MemoryLog::new(site.world.clone(), Limits::default());
            let p = p.put_back(old).await;
            (site.catalog, site.log) = (p.catalog.clone(), p.log.clone() as SharedLog);
        }
        None => {
            site.catalog = Arc::new(old);
            memory.note_restored(site.world.clock.now());
        }
    }
    let s = site.open().await;
    settled(&s, &case).await;
    let open: Vec<(u128, u128)> = s.get("s").unwrap().read().map.open().map(|s| s.range).collect();
    assert!(open[0].0 == 0 && open[open.len() - 1].1 == u128::MAX, "{case}: {open:?}");
    assert!(open.windows(2).all(|w| w[0].1 + 1 == w[1].0), "{case}: {open:?}");
    let found = read(&s).await;
    if journal {
        check(&found, next, &case);
    } else {
        // Whose children the shards are is lost with the journal, and so is the order among them.
        let mut found = found;
        found.sort_by_key(|(_, n)| n.parse::<u32>().unwrap());
        check(&found, next, &case);
    }
    // It is changed again, and what comes is behind all that was.
    for _ in 0..2 {
        assert!(put_all(&s, &mut next).await, "{case}");
        reshard(&s, &mut dice).await;
        s.rest("s").await;
    }
    assert!(put_all(&s, &mut next).await, "{case}");
    let mut found = read(&s).await;
    if !journal {
        let old = found.len() - 3 * KEYS.len();
        found[..old].sort_by_key(|(_, n)| n.parse::<u32>().unwrap());
    }
    check(&found, next, &case);
    // The next start finds nothing to do.
    let shards = s.get("s").unwrap().read().map.all().to_vec();
    drop(s);
    assert_eq!(site.open().await.get("s").unwrap().read().map.all(), shards, "{case}");
}

#[tokio::test]
async fn a_stream_is_whole_with_an_older_catalog_and_the_journal() {
    for seed in 0..12 {
        history(seed, seed as i64 % 7, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_whole_with_an_older_catalog_and_without_the_journal() {
    for seed in 0..12 {
        history(seed, seed as i64 % 7, false).await;
    }
}

/// A snapshot is made within a minute after a stream was: the log's rows of its shards are not in it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_only_the_documents_know_are_opened_anew() {
    let mut site = Site::new().await;
    let catalog = Arc::new(MemoryCatalog::new(site.world.clone()));
    let place = Place::open(&site.world, &catalog).await;
    (site.catalog, site.log) = (catalog.clone(), place.log.clone());
    let s = site.open().await;
    s.make("s", 3).await;
    let old = catalog.copy();
    let before = s.put("s", "a", b"lost").await.unwrap();
    drop(s);
    site.log = log::MemoryLog::new(site.world.clone(), Limits::default());
    // As if the disk were lost.
    place.log.shutdown().await.unwrap();
    let Place { world, log, catalog } = place;
    drop((log, catalog));
    for dir in ["journal", "segments"] {
        for e in world.disk.list(dir).unwrap().iter().filter(|e| e.name.contains('.')) {
            world.disk.remove(&format!("{dir}/{}", e.name)).unwrap();
        }
    }
    note_restored(&old, world.clock.now(), world.clock.now()).await.unwrap();
    let place = Place::open(&world, &Arc::new(old)).await;
    (site.catalog, site.log) = (place.catalog.clone(), place.log.clone());
    let s = site.open().await;
    settled(&s, "anew").await;
    let it = s.from("s", &before.0, "AFTER_SEQUENCE_NUMBER", Some(&before.1)).await.unwrap();
    let mut next = 0;
    assert!(put_all(&s, &mut next).await);
    check(&read(&s).await, next, "anew");
    // Who had read what is lost misses nothing of what comes in its place.
    assert!(super::data(&s.read(&it).await.unwrap()).contains(&"0".to_owned()));
}
