//! The design's **must** lines that are about the disk and about memory.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::{collections::HashSet, fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use catalog::SqliteCatalog;
use common::{Engine, Local, collect, payload, small_limits, stream};
use log::{Limits, LocalLog, Log, LogError, Query, SharedLog, StorePolicy};
use seal::{DataKey, LocalKey};
use world::{ShardId, StreamUid, World};

const S: ShardId = ShardId { stream: StreamUid([1; 16]), shard: 0 };

fn all_files(dir: &Path, out: &mut Vec<(String, Vec<u8>)>) {
    for f in fs::read_dir(dir).unwrap() {
        let p = f.unwrap().path();
        if p.is_dir() {
            all_files(&p, out);
        } else {
            out.push((p.display().to_string(), fs::read(&p).unwrap()));
        }
    }
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|w| w == needle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_readable_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::real(dir.path());
    let catalog = Arc::new(SqliteCatalog::open(&dir.path().join("catalog.db"), world.clone()).unwrap());
    let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
    let log =
        LocalLog::open(world, catalog.clone(), keys, small_limits(), StorePolicy::default()).await.unwrap();
    let shared: SharedLog = log.clone();
    log.create_stream(stream(1)).await.unwrap();
    let (record, body, index) = (b"a readable record", b"a readable payload", b"a readable index");
    log.append(S, vec![Bytes::from_static(record)]).await.unwrap();
    payload(&shared, S, &body.repeat(20_000), 50_000, (1, 2), index).await.unwrap();
    let check = || {
        let mut all = Vec::new();
        all_files(dir.path(), &mut all);
        assert!(all.len() >= 4);
        for (name, bytes) in all {
            for needle in [&record[..], body, index] {
                assert!(!contains(&bytes, needle), "{name} holds {:?}", String::from_utf8_lossy(needle));
            }
        }
    };
    check();
    log.flush().await.unwrap();
    check();
    log.append(S, vec![Bytes::from_static(record)]).await.unwrap();
    log.shutdown().await.unwrap();
    check();
    // A deleted stream's bytes cannot be opened: its keys are nowhere.
    assert_eq!(log.payloads(S, Query::Positions(0, 9), 9, false).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_nonce_repeats_each_start_and_each_file_has_a_salt_of_its_own() {
    let e = Local::new();
    let (mut salts, mut epochs) = (HashSet::new(), HashSet::new());
    for round in 0..6u64 {
        let log = e.open().await;
        log.create_stream(stream(1)).await.unwrap();
        for i in 0..5 {
            log.append(S, common::records(round * 10 + i, 1, 60_000)).await.unwrap();
        }
        if round == 3 {
            // Released files come back as new ones.
            log.shutdown().await.unwrap();
        }
        drop(log);
        let mut seen = 0;
        for f in fs::read_dir(e.dir.path().join("journal")).unwrap().map(|f| f.unwrap().path()) {
            if f.extension().is_some_and(|x| x == "j") {
                let b = fs::read(&f).unwrap();
                let (number, epoch) = (b[16..24].to_vec(), b[24..32].to_vec());
                // A file's number is never used twice, so a salt seen again is the same file.
                salts.insert((b[32..64].to_vec(), number.clone()));
                epochs.insert((b[64..96].to_vec(), epoch));
                seen += 1;
            }
        }
        assert!(seen > 0);
    }
    let distinct: HashSet<_> = salts.iter().map(|s| &s.0).collect();
    assert_eq!(distinct.len(), salts.len(), "two files share a salt");
    let writers: HashSet<_> = epochs.iter().map(|e| &e.0).collect();
    assert!(
        writers.len() >= 6 && writers.len() == epochs.len(),
        "two starts share a salt, or one has two epochs"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_space_is_released_only_when_its_segments_are_in_the_catalog() {
    let e = Local::with(Limits { journal_file: 64 << 10, ..small_limits() }, true);
    let log = e.open().await;
    log.create_stream(stream(1)).await.unwrap();
    for i in 0..40 {
        log.append(S, common::records(i, 1, 20_000)).await.unwrap();
    }
    let held = log.stats().journal_bytes;
    assert!(held > 40 * 20_000);
    e.settle(&log).await;
    let left = log.stats().journal_bytes;
    assert!(left < 70_000, "{left}");
    assert_eq!(e.catalog.segments(None, 10).await.unwrap().len(), 1);
    let names: Vec<String> = fs::read_dir(e.dir.path().join("journal"))
        .unwrap()
        .map(|f| f.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().filter(|n| n.ends_with(".spare")).count() <= 4, "{names:?}");
    assert_eq!(names.iter().filter(|n| n.ends_with(".j")).count(), 1, "{names:?}");
    assert_eq!(collect(&log, S, 0).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_cannot_be_moved_on_is_bounded_and_refuses() {
    let limits = Limits {
        journal_file: 64 << 10,
        journal_backlog: 300_000,
        tiering: false,
        backlog_wait: Duration::from_millis(50),
        ..small_limits()
    };
    let e = Local::with(limits, false);
    let log = e.open().await;
    log.create_stream(stream(1)).await.unwrap();
    let mut n = 0;
    let err = loop {
        match log.append(S, common::records(n, 1, 20_000)).await {
            Ok(_) => n += 1,
            Err(e) => break e,
        }
        assert!(n < 100);
    };
    assert!(matches!(&err, LogError::Refused(m) if m.contains("journal")), "{err}");
    assert!((14..18).contains(&n), "{n}");
    // Reads go on.
    assert_eq!(collect(&log, S, 0).await.len() as u64, n);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_close_by_size_and_by_age() {
    let e = Local::with(Limits { segment_bytes: 300_000, ..small_limits() }, true);
    let log = e.open().await;
    log.create_stream(stream(1)).await.unwrap();
    log.create_stream(stream(2)).await.unwrap();
    let records_only = ShardId { stream: stream(2), shard: 0 };
    payload(&log, S, &common::bytes(1, 400_000), 100_000, (0, 1), b"").await.unwrap();
    // By size, without being asked.
    while e.catalog.segments(None, 10).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    payload(&log, S, &common::bytes(1, 1000), 1000, (0, 1), b"").await.unwrap();
    log.append(records_only, common::records(1, 1, 100)).await.unwrap();
    assert_eq!(log.stats().open_segments, 1);
    let now = world::Clock::now(&*e.clock());
    e.set_clock(now + Duration::from_secs(601));
    while e.catalog.segments(None, 10).await.unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.stats().open_segments, 0);
    assert_eq!(collect(&log, records_only, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trimmed_segments_are_removed_and_shared_ones_stay_while_somebody_needs_them() {
    let e = Local::with(small_limits(), true);
    let log = e.open().await;
    let other = ShardId { stream: stream(2), shard: 0 };
    for n in [1, 2] {
        log.create_stream(stream(n)).await.unwrap();
        log.append(ShardId { stream: stream(n), shard: 0 }, common::records(1, 5, 1000)).await.unwrap();
    }
    e.settle(&log).await;
    let files = || fs::read_dir(e.dir.path().join("segments")).unwrap().count();
    assert_eq!((files(), e.catalog.segments(None, 10).await.unwrap().len()), (1, 1));
    log.trim(S, 5).await.unwrap();
    assert_eq!((files(), e.catalog.segments(None, 10).await.unwrap().len()), (1, 1));
    assert_eq!(collect(&log, other, 0).await.len(), 5);
    log.delete_stream(stream(2)).await.unwrap();
    assert_eq!((files(), e.catalog.segments(None, 10).await.unwrap().len()), (0, 0));
}

/// Resident anonymous memory, in bytes.
fn resident() -> u64 {
    let s = fs::read_to_string("/proc/self/status").unwrap();
    let line = s.lines().find(|l| l.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Alone in its process, as other tests' memory would count: run by the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only as a child of the test below"]
async fn idle_shards_child() {
    const N: u32 = 50_000;
    let e = Local::new();
    let log = e.open().await;
    log.create_stream(stream(1)).await.unwrap();
    let before = resident();
    for from in (1..N).step_by(1000) {
        let opens: Vec<_> = (from..(from + 1000).min(N))
            .map(|shard| {
                let log = log.clone();
                tokio::spawn(async move { log.open_shard(ShardId { shard, ..S }, &[]).await })
            })
            .collect();
        for o in opens {
            o.await.unwrap().unwrap();
        }
    }
    // Each was used once, and the tail has gone on since.
    for shard in (0..N).step_by(50) {
        log.append(ShardId { shard, ..S }, common::records(1, 1, 100)).await.unwrap();
    }
    let each = (resident() - before) / u64::from(N);
    println!("{each} bytes a shard");
    assert!(each <= 2048, "{each} bytes a shard");
}

#[test]
fn an_idle_shard_takes_at_most_two_kilobytes() {
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "idle_shards_child", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && text.contains("bytes a shard"),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    println!("{text}");
}
