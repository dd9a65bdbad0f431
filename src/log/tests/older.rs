//! A catalog that is older than the log: what is in segments is taken up, nothing that anyone could want is deleted, no
//! position is given twice, and what cannot be made good is said.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use catalog::{Catalog, MemoryCatalog};
use common::{payload, records, stream};
use log::{
    Archive, Item, Limits, LocalLog, Log, OpenError, Seen, SharedLog, StorePolicy, Verify, note_restored,
};
use seal::{DataKey, LocalKey};
use world::{Mode, ShardId, Timestamp, World, sim::Dice};

fn limits() -> Limits {
    Limits {
        journal_file: 64 << 10,
        segment_bytes: 64 << 10,
        segment_age: Duration::from_secs(3600),
        ..Limits::default()
    }
}

fn keys() -> Arc<LocalKey> {
    Arc::new(LocalKey::new(DataKey::new([7; 32])))
}

async fn open(world: &World, catalog: &Arc<MemoryCatalog>) -> Result<Arc<LocalLog>, OpenError> {
    LocalLog::open(world.clone(), catalog.clone(), keys(), limits(), StorePolicy::default()).await
}

type Kept = BTreeMap<(ShardId, u64), Bytes>;

struct Run {
    dice: Dice,
    kept: Kept,
    streams: u8,
    sent: u64,
    /// The snapshot was made.
    taken: bool,
}

impl Run {
    async fn step(&mut self, log: &Arc<LocalLog>) {
        let shared: SharedLog = log.clone();
        let s = ShardId { stream: stream(1 + self.dice.below(self.streams.into()) as u8), shard: 0 };
        self.sent += 1;
        match self.dice.below(20) {
            0..=9 => {
                let batch = records(self.sent, 1 + self.dice.below(4), 40 + self.dice.below(3000));
                let c = log.append(s, batch.clone()).await.unwrap();
                self.kept.extend((c.first..).zip(batch).map(|(p, b)| ((s, p), b)));
            }
            10..=15 => {
                let content = common::bytes(self.sent, 100 + self.dice.below(20_000));
                let c = payload(&shared, s, &content, 5000, (1, 2), b"index").await.unwrap();
                self.kept.insert((s, c.first), content.into());
            }
            16 => {
                let head = *log.watch(s).unwrap().borrow();
                let before = head.oldest + self.dice.below((head.next - head.oldest) as usize / 3 + 1) as u64;
                log.trim(s, before).await.unwrap();
                self.kept.retain(|(shard, p), _| *shard != s || *p >= before);
            }
            // A key that a snapshot does not have is lost with the catalog.
            17 if !self.taken => drop(log.rotate_key(s.stream).await.unwrap()),
            _ => log.flush().await.unwrap(),
        }
    }
    async fn create(&mut self, log: &LocalLog) {
        self.streams += 1;
        log.create_stream(stream(self.streams)).await.unwrap();
    }
}

async fn read(log: &Arc<LocalLog>, streams: u8) -> Kept {
    let mut out = Kept::new();
    for n in 1..=streams {
        let s = ShardId { stream: stream(n), shard: 0 };
        let Ok(head) = log.watch(s).map(|w| *w.borrow()) else { continue };
        let mut from = head.oldest;
        loop {
            let page = log.read(s, from, 100, 1 << 20).await.unwrap();
            if page.items.is_empty() {
                break;
            }
            from = page.next;
            for i in page.items {
                match i {
                    Item::Record(r) => out.insert((s, r.position), r.data),
                    Item::Payload(p) => {
                        out.insert((s, p.position), log.read_payload(&p, 0..u64::MAX).await.unwrap())
                    }
                };
            }
        }
    }
    out
}

fn segments(world: &World) -> BTreeSet<String> {
    world.disk.list("segments").unwrap().into_iter().map(|e| e.name).filter(|n| n.ends_with(".seg")).collect()
}

async fn sound(world: &World, catalog: &Arc<MemoryCatalog>) {
    let a = Archive::open(world.clone(), catalog.clone(), &*keys()).await.unwrap();
    let mut damage = Vec::new();
    let mut tell = |s| {
        if let Seen::Finding(f) = s {
            damage.push(f);
        }
    };
    let r = Arc::new(a).verify(Verify { alone: true, resume: false }, &mut tell).await.unwrap();
    assert_eq!((r.damaged, r.unchecked), (0, 0), "{damage:?}");
}

/// What happens between the snapshot and its restoring.
async fn history(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::real(dir.path());
    let mut catalog = Arc::new(MemoryCatalog::new(world.clone()));
    let mut r = Run { dice: Dice::new(seed), kept: Kept::new(), streams: 0, sent: 0, taken: false };
    let mut log = open(&world, &catalog).await.unwrap();
    r.create(&log).await;
    r.create(&log).await;
    for _ in 0..r.dice.below(40) {
        r.step(&log).await;
    }
    let old = Arc::new(catalog.copy());
    let (taken, known) = (world.clock.now(), r.streams);
    r.taken = true;
    for n in 0..3 {
        for _ in 0..r.dice.below(40) {
            r.step(&log).await;
        }
        if n == 0 {
            r.create(&log).await;
        }
        if r.dice.once_in(3) {
            drop(log);
            log = open(&world, &catalog).await.unwrap();
        }
    }
    // What is in segments must not be lost; what is in the journal only if the journal is.
    let lose = r.dice.once_in(3);
    if lose {
        log.flush().await.unwrap();
    }
    let trims: BTreeMap<u8, u64> = (1..=r.streams)
        .map(|n| (n, log.watch(ShardId { stream: stream(n), shard: 0 }).unwrap().borrow().oldest))
        .collect();
    if r.dice.once_in(2) {
        log.shutdown().await.unwrap();
    }
    drop(log);
    assert_eq!(
        r.kept,
        read(&open(&world, &catalog).await.unwrap(), r.streams).await,
        "seed {seed}: the test is wrong"
    );
    if lose {
        for e in world.disk.list("journal").unwrap() {
            world.disk.remove(&format!("journal/{}", e.name)).unwrap();
        }
    }
    catalog = old;
    note_restored(&*catalog, taken, world.clock.now()).await.unwrap();
    let mut log = open(&world, &catalog).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    for again in 0..2 {
        let found = read(&log, r.streams).await;
        for ((s, p), content) in &r.kept {
            // Streams made after the snapshot have no key in it.
            if s.stream.0[0] <= known {
                assert_eq!(
                    found.get(&(*s, *p)),
                    Some(content),
                    "seed {seed}, start {again}: {p} of {s} is lost"
                );
            }
        }
        for (s, p) in found.keys() {
            // Only what was trimmed since may be back.
            let back = *p < trims[&s.stream.0[0]];
            assert!(back || r.kept.contains_key(&(*s, *p)), "seed {seed}: {p} of {s} was never acknowledged");
        }
        // The next start is an ordinary one.
        log.shutdown().await.unwrap();
        drop(log);
        sound(&world, &catalog).await;
        log = open(&world, &catalog).await.unwrap();
    }
    // No position twice.
    for n in 1..=known {
        let s = ShardId { stream: stream(n), shard: 0 };
        let c = log.append(s, records(1, 1, 10)).await.unwrap();
        let highest = r.kept.keys().filter(|k| k.0 == s).map(|k| k.1).max();
        assert!(highest.is_none_or(|h| c.first > h), "seed {seed}: position {} again", c.first);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_segments_survives_an_older_catalog() {
    let from = std::env::var("RUSHES_SEED").ok().and_then(|s| s.parse().ok());
    let n = if std::env::var_os("RUSHES_SOAK").is_some() { 1000 } else { 10 };
    for seed in from.map_or(0..n, |f: u64| f..f + 1) {
        history(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_put_back_by_hand_is_noticed_and_treated_alike() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::real(dir.path());
    let catalog = Arc::new(MemoryCatalog::new(world.clone()));
    let log = open(&world, &catalog).await.unwrap();
    let s = ShardId { stream: stream(1), shard: 0 };
    log.create_stream(stream(1)).await.unwrap();
    log.append(s, records(1, 3, 100)).await.unwrap();
    log.flush().await.unwrap();
    drop(log);
    let old = Arc::new(catalog.copy());
    // Two more starts, whose journal says so.
    for i in 0..2 {
        let log = open(&world, &catalog).await.unwrap();
        log.append(s, records(2 + i, 40, 3000)).await.unwrap();
        log.create_stream(stream(8 + i as u8)).await.unwrap();
        log.append(ShardId { stream: stream(8 + i as u8), shard: 0 }, records(9, 1, 100)).await.unwrap();
        log.flush().await.unwrap();
        drop(log);
    }
    let files = segments(&world);
    for _ in 0..3 {
        let log = open(&world, &old).await.unwrap();
        assert_eq!(read(&log, 1).await.len(), 83);
        // The sweep has been through once a flush is done after it.
        log.flush().await.unwrap();
        tokio::task::yield_now().await;
        log.shutdown().await.unwrap();
        assert!(files.is_subset(&segments(&world)), "nothing was removed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_segments_that_are_gone_are_dropped_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::real(dir.path());
    let catalog = Arc::new(MemoryCatalog::new(world.clone()));
    let log = open(&world, &catalog).await.unwrap();
    let s = ShardId { stream: stream(1), shard: 0 };
    log.create_stream(stream(1)).await.unwrap();
    for i in 0..3 {
        log.append(s, records(i, 10, 100)).await.unwrap();
        log.flush().await.unwrap();
    }
    let old = Arc::new(catalog.copy());
    let taken = world.clock.now();
    // Retention has been at work since.
    log.trim(s, 20).await.unwrap();
    log.append(s, records(4, 10, 100)).await.unwrap();
    log.flush().await.unwrap();
    log.shutdown().await.unwrap();
    drop(log);
    for e in world.disk.list("journal").unwrap().iter().filter(|e| e.name.ends_with(".j")) {
        world.disk.remove(&format!("journal/{}", e.name)).unwrap();
    }
    assert!(
        matches!(open(&world, &Arc::new(old.copy())).await, Err(OpenError::Damaged { .. })),
        "not noted: refused"
    );
    note_restored(&*old, taken, world.clock.now()).await.unwrap();
    let log = open(&world, &old).await.unwrap();
    let found: Vec<u64> = read(&log, 1).await.keys().map(|k| k.1).collect();
    assert_eq!(found, (20..40).collect::<Vec<u64>>());
    assert_eq!(old.runs(s, catalog::RunQuery::Positions((0, 99))).await.unwrap().len(), 2);
    assert!(world.disk.open("journal/holder", Mode::Read).is_ok());
}

/// A catalog, an older copy of it that has not the latest key of a stream, when that was made, and a folder whose
/// journal is gone.
async fn without_the_latest_key()
-> (tempfile::TempDir, World, Arc<MemoryCatalog>, Arc<MemoryCatalog>, Timestamp) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::real(dir.path());
    let catalog = Arc::new(MemoryCatalog::new(world.clone()));
    let log = open(&world, &catalog).await.unwrap();
    let s = ShardId { stream: stream(1), shard: 0 };
    log.create_stream(stream(1)).await.unwrap();
    log.append(s, records(1, 5, 100)).await.unwrap();
    log.flush().await.unwrap();
    let old = Arc::new(catalog.copy());
    let taken = world.clock.now();
    log.rotate_key(stream(1)).await.unwrap();
    log.append(s, records(2, 5, 100)).await.unwrap();
    log.create_stream(stream(2)).await.unwrap();
    log.append(ShardId { stream: stream(2), shard: 0 }, records(3, 5, 100)).await.unwrap();
    log.flush().await.unwrap();
    log.shutdown().await.unwrap();
    drop(log);
    for e in world.disk.list("journal").unwrap().iter().filter(|e| e.name.ends_with(".j")) {
        world.disk.remove(&format!("journal/{}", e.name)).unwrap();
    }
    (dir, world, catalog, old, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_under_a_key_that_the_snapshot_does_not_have_are_left_alone() {
    let (_dir, world, catalog, old, taken) = without_the_latest_key().await;
    let files = segments(&world);
    note_restored(&*old, taken, world.clock.now()).await.unwrap();
    for _ in 0..3 {
        let log = open(&world, &old).await.unwrap();
        assert_eq!(read(&log, 2).await.len(), 5);
        log.shutdown().await.unwrap();
        assert_eq!(segments(&world), files);
    }
    // The newer catalog is found after all: everything is there.
    note_restored(&*catalog, taken, world.clock.now()).await.unwrap();
    let log = open(&world, &catalog).await.unwrap();
    assert_eq!(read(&log, 2).await.len(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_after_a_restore_does_not_pass_for_one_that_was_lost() {
    let (_dir, world, _, again, taken) = without_the_latest_key().await;
    let s = ShardId { stream: stream(1), shard: 0 };
    let files = segments(&world);
    note_restored(&*again, taken, world.clock.now()).await.unwrap();
    let log = open(&world, &again).await.unwrap();
    let generation = log.rotate_key(stream(1)).await.unwrap();
    assert!(generation > 1000, "{generation}");
    assert_eq!(log.rotate_key(stream(1)).await.unwrap(), generation + 1, "once is enough");
    log.append(s, records(7, 5, 100)).await.unwrap();
    log.shutdown().await.unwrap();
    drop(log);
    for _ in 0..2 {
        let log = open(&world, &again).await.unwrap();
        assert_eq!(read(&log, 2).await.len(), 10, "nothing under the lost key was taken up");
        log.shutdown().await.unwrap();
    }
    assert!(files.is_subset(&segments(&world)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_opened_after_a_loss_does_not_begin_where_one_of_its_number_may_have() {
    let (_dir, world, _, old, taken) = without_the_latest_key().await;
    note_restored(&*old, taken, world.clock.now()).await.unwrap();
    let log = open(&world, &old).await.unwrap();
    let at = |shard| ShardId { stream: stream(1), shard };
    for n in [1, 2] {
        log.open_shard(at(n), &[]).await.unwrap();
        assert_eq!(log.watch(at(n)).unwrap().borrow().next, 1 << 40);
    }
    let put = log.append(at(1), records(1, 3, 100)).await.unwrap();
    assert_eq!(put.first, 1 << 40);
    drop(log);
    // Nothing but the journal says so now.
    let log = open(&world, &old).await.unwrap();
    assert_eq!(log.append(at(1), records(1, 1, 100)).await.unwrap().first, (1 << 40) + 3);
    assert_eq!(log.append(at(2), records(1, 1, 100)).await.unwrap().first, 1 << 40);
    assert_eq!(common::collect(&(log.clone() as SharedLog), at(1), 0).await.len(), 4);
    log.open_shard(at(3), &[]).await.unwrap();
    assert_eq!(log.append(at(3), records(1, 1, 100)).await.unwrap().first, 0, "nothing is missing any more");
    log.shutdown().await.unwrap();
    drop(log);
    sound(&world, &old).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_forgotten_since_is_back_with_nothing_in_it_and_goes_again() {
    for lose in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(dir.path());
        let catalog = Arc::new(MemoryCatalog::new(world.clone()));
        let log = open(&world, &catalog).await.unwrap();
        let (s, child) = (ShardId { stream: stream(1), shard: 0 }, ShardId { stream: stream(1), shard: 1 });
        log.create_stream(stream(1)).await.unwrap();
        log.append(s, records(1, 5, 100)).await.unwrap();
        log.flush().await.unwrap();
        log.close_shard(s).await.unwrap();
        log.open_shard(child, &[0]).await.unwrap();
        log.append(child, records(2, 5, 100)).await.unwrap();
        log.flush().await.unwrap();
        let (old, taken) = (Arc::new(catalog.copy()), world.clock.now());
        log.trim(s, 5).await.unwrap();
        assert!(log.forget_shards(stream(1), &[0]).await.unwrap().is_empty());
        log.append(child, records(3, 5, 100)).await.unwrap();
        log.flush().await.unwrap();
        log.shutdown().await.unwrap();
        drop(log);
        // Put back before it was forgotten, and after.
        let newer = Arc::new(catalog.copy());
        if lose {
            for e in world.disk.list("journal").unwrap().iter().filter(|e| e.name.ends_with(".j")) {
                world.disk.remove(&format!("journal/{}", e.name)).unwrap();
            }
        }
        for (catalog, back) in [(old, true), (newer, false)] {
            note_restored(&*catalog, taken, world.clock.now()).await.unwrap();
            let log = open(&world, &catalog).await.unwrap();
            assert_eq!(log.shards(stream(1)).await.unwrap().len(), if back { 2 } else { 1 });
            assert!(log.forget_shards(stream(1), &[0]).await.unwrap().is_empty());
            assert!(log.open_shard(s, &[]).await.is_err());
            let shared: SharedLog = log.clone();
            assert_eq!(common::collect(&shared, child, 0).await.len(), 10);
            log.shutdown().await.unwrap();
            drop((log, shared));
            sound(&world, &catalog).await;
            let log = open(&world, &catalog).await.unwrap();
            assert_eq!(log.shards(stream(1)).await.unwrap(), [(child, vec![0])]);
        }
    }
}
