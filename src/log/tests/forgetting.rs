//! Shards that are closed and empty go entirely, and do not come back; on each engine.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use catalog::{Catalog, SqliteCatalog};
use common::{Engine, Local, Memory, collect, records, small_limits, stream};
use log::{LocalLog, Log, LogError, OnFull, Retention, SharedLog, StorePolicy};
use seal::{DataKey, LocalKey};
use world::{Clock, ShardId, Timestamp, World};

const HOUR: Duration = Duration::from_secs(3600);

fn at(shard: u32) -> ShardId {
    ShardId { stream: stream(1), shard }
}

async fn shards(log: &SharedLog) -> Vec<(u32, Vec<u32>)> {
    log.shards(stream(1)).await.unwrap().into_iter().map(|(id, parents)| (id.shard, parents)).collect()
}

/// Shard 0, with records, becomes 1 and 2; in each is one.
async fn split(log: &SharedLog) {
    log.create_stream(stream(1)).await.unwrap();
    log.append(at(0), records(1, 3, 50)).await.unwrap();
    log.close_shard(at(0)).await.unwrap();
    for n in [1, 2] {
        log.open_shard(at(n), &[0]).await.unwrap();
        log.append(at(n), records(u64::from(n), 1, 50)).await.unwrap();
    }
}

async fn only_what_is_closed_and_empty_goes<E: Engine>(e: E) {
    let log = e.open().await;
    split(&log).await;
    e.settle(&log).await;
    let mut head = log.watch(at(0)).unwrap();
    let mut late = log.payload(at(1)).await.unwrap();
    assert_eq!(log.forget_shards(stream(1), &[0, 1, 2, 9]).await.unwrap(), [0, 1, 2]);
    assert!(matches!(log.forget_shards(stream(3), &[0]).await, Err(LogError::NoShard(_))));
    // By retention, as it closes: its records, not those of its children, are too old.
    let now = e.clock().now();
    e.set_clock(now + 2 * HOUR);
    for n in [1, 2] {
        log.append(at(n), records(10 + u64::from(n), 1, 50)).await.unwrap();
    }
    e.settle(&log).await;
    let rule = Retention { age: Some(HOUR), bytes: None, on_full: OnFull::Refuse };
    log.set_retention(stream(1), rule).await.unwrap();
    log.enforce().await.unwrap();
    assert_eq!(log.forget_shards(stream(1), &[0, 1, 2]).await.unwrap(), [1, 2]);
    assert_eq!(log.forget_shards(stream(1), &[0]).await.unwrap(), [0; 0], "gone before");
    while head.changed().await.is_ok() {}
    assert!(matches!(log.watch(at(0)), Err(LogError::NoShard(_))));
    assert!(matches!(log.read(at(0), 0, 1, 1).await, Err(LogError::NoShard(_))));
    assert!(matches!(log.append(at(0), records(1, 1, 1)).await, Err(LogError::NoShard(_))));
    assert!(matches!(log.trim(at(0), 1).await, Err(LogError::NoShard(_))));
    // A payload under way, of a shard that is forgotten meanwhile.
    late.write(&[7; 1000]).await.unwrap();
    log.close_shard(at(1)).await.unwrap();
    log.open_shard(at(3), &[1]).await.unwrap();
    log.trim(at(1), u64::MAX).await.unwrap();
    log.trim(at(2), u64::MAX).await.unwrap();
    assert_eq!(log.forget_shards(stream(1), &[1, 2]).await.unwrap(), [2], "empty, and open");
    let _ = late.write(&[7; 300_000]).await;
    assert!(late.commit((Timestamp(0), Timestamp(1)), Bytes::new()).await.is_err());
    let check = async |log: &SharedLog| {
        assert_eq!(shards(log).await, [(2, vec![0]), (3, vec![1])]);
        // A child that is opened again, as after a crash; not what was forgotten.
        log.open_shard(at(3), &[1]).await.unwrap();
        for n in [0, 1] {
            assert!(matches!(log.open_shard(at(n), &[]).await, Err(LogError::Refused(_))));
        }
        assert!(log.create_stream(stream(1)).await.is_err());
        let next = log.watch(at(2)).unwrap().borrow().next;
        assert_eq!(log.append(at(2), records(5, 1, 5)).await.unwrap().first, next);
        assert_eq!(collect(log, at(2), next).await.len(), 1);
    };
    check(&log).await;
    if e.durable() {
        drop(log);
        let log = e.open().await;
        check(&log).await;
        e.flush(&log).await;
        drop(log);
        check(&e.open().await).await;
    }
}

async fn what_is_pinned_keeps_its_shard<E: Engine>(e: E) {
    let log = e.open().await;
    split(&log).await;
    e.settle(&log).await;
    let now = e.clock().now();
    let pin = log.pin(stream(1), now, now, "the door").await.unwrap();
    e.set_clock(now + 2 * HOUR);
    let rule = Retention { age: Some(HOUR), bytes: None, on_full: OnFull::Refuse };
    log.set_retention(stream(1), rule).await.unwrap();
    log.enforce().await.unwrap();
    assert_eq!(log.forget_shards(stream(1), &[0]).await.unwrap(), [0]);
    assert_eq!(collect(&log, at(0), 0).await.len(), 3);
    log.unpin(stream(1), &pin.id).await.unwrap();
    log.enforce().await.unwrap();
    assert_eq!(log.forget_shards(stream(1), &[0]).await.unwrap(), [0; 0]);
}

/// Many of them, one in three: what is remembered of them grows with what is left, not with what was.
async fn thousands_go_at_once<E: Engine>(e: E) {
    let log = e.open().await;
    log.create_stream(stream(1)).await.unwrap();
    let mut opened = tokio::task::JoinSet::new();
    for n in 1..2000 {
        let log = log.clone();
        opened.spawn(async move {
            log.open_shard(at(n), &[]).await.unwrap();
            if n % 3 != 0 {
                log.close_shard(at(n)).await.unwrap();
            }
        });
    }
    opened.join_all().await;
    let all: Vec<u32> = (0..2000).collect();
    let open = |n: &u32| n.is_multiple_of(3);
    let stay: Vec<u32> = all.iter().copied().filter(open).collect();
    assert_eq!(log.forget_shards(stream(1), &all).await.unwrap(), stay);
    assert_eq!(shards(&log).await.len(), stay.len());
    if e.durable() {
        drop(log);
        assert_eq!(shards(&e.open().await).await.len(), stay.len());
    }
}

macro_rules! suite {
    ($($name:ident)*) => {
        mod memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::Memory::new()).await })* }
        mod local { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::Local::new()).await })* }
        mod local_tiered { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::Local::tiered()).await })* }
    };
}

suite! {
    only_what_is_closed_and_empty_goes
    what_is_pinned_keeps_its_shard
    thousands_go_at_once
}

/// The rows, in a database: gone with the shard, and with the stream all that is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_has_no_row_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::real(dir.path());
    let catalog = Arc::new(SqliteCatalog::open(&dir.path().join("catalog.db"), world.clone()).unwrap());
    let keys = Arc::new(LocalKey::new(DataKey::new([9; 32])));
    let log =
        LocalLog::open(world, catalog.clone(), keys, small_limits(), StorePolicy::default()).await.unwrap();
    let shared: SharedLog = log.clone();
    split(&shared).await;
    log.flush().await.unwrap();
    let rows =
        async || -> Vec<u32> { catalog.shards(None).await.unwrap().iter().map(|r| r.shard.shard).collect() };
    assert_eq!(rows().await, [0, 1, 2]);
    log.trim(at(0), u64::MAX).await.unwrap();
    assert!(log.forget_shards(stream(1), &[0]).await.unwrap().is_empty());
    log.flush().await.unwrap();
    assert_eq!(rows().await, [1, 2]);
    log.delete_stream(stream(1)).await.unwrap();
    assert_eq!(rows().await, [0; 0]);
    assert_eq!(catalog.list(catalog::Filter::kind("log-forgotten")).await.unwrap(), []);
    assert_eq!(catalog.segments(None, 9).await.unwrap(), []);
}
