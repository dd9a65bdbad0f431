//! Bad days: flipped bits, torn and missing files, failing disks, wrong keys, two writers. What is wrong is said, with
//! the file and the place; it is never served; everything else is.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use catalog::{Catalog, MemoryCatalog};
use common::{Engine, Local, bytes, collect, files, flip, payload, records, small_limits, stream};
use log::{Limits, LocalLog, Log, LogError, OpenError, Query, SharedLog, StorePolicy};
use seal::{DataKey, LocalKey};
use world::{
    ShardId, World,
    sim::{Faults, Sim},
};

const S: ShardId = ShardId { stream: world::StreamUid([1; 16]), shard: 0 };

/// Where the frames of a journal file begin, found by the mark that starts each.
fn frames(path: &Path) -> Vec<u64> {
    let b = fs::read(path).unwrap();
    let mark = &b[4096..4100];
    (4096..b.len() - 24).filter(|i| &b[*i..i + 4] == mark).map(|i| i as u64).collect()
}

async fn filled(e: &Local, n: u64) -> SharedLog {
    let log = e.open().await;
    log.create_stream(stream(1)).await.unwrap();
    for i in 0..n {
        log.append(S, records(i, 1, 500)).await.unwrap();
    }
    log
}

#[tokio::test]
async fn a_torn_frame_at_the_end_is_cut_off() {
    // Any of the head, the directory and the body of the last frame.
    for at in [0, 5, 21, 40, 200] {
        let e = Local::new();
        drop(filled(&e, 5).await);
        let j = files(&e, "journal", "j").remove(0);
        let last = *frames(&j).last().unwrap();
        flip(&j, last + at);
        let log = e.open().await;
        assert_eq!(collect(&log, S, 0).await.len(), 4, "{at}");
        // And the position goes to another.
        assert_eq!(log.append(S, records(9, 1, 10)).await.unwrap().first, 4);
        drop(log);
        assert_eq!(collect(&e.open().await, S, 0).await.len(), 5);
    }
}

#[tokio::test]
async fn a_bad_frame_before_whole_ones_is_damage_and_not_an_end() {
    for at in [0, 5, 21, 40] {
        let e = Local::new();
        drop(filled(&e, 5).await);
        let j = files(&e, "journal", "j").remove(0);
        let third = frames(&j)[2];
        flip(&j, third + at);
        match e.try_open().await {
            Err(OpenError::Damaged { file, offset, .. }) => {
                assert_eq!((file, offset), ("journal/0000000000000001.j".into(), third));
            }
            other => panic!("{:?}", other.err()),
        }
        // Nothing was made worse.
        flip(&j, third + at);
        assert_eq!(collect(&e.open().await, S, 0).await.len(), 5);
    }
}

#[tokio::test]
async fn a_bad_frame_before_a_later_file_is_damage() {
    let e = Local::new();
    drop(filled(&e, 5).await);
    drop(filled(&e, 5).await);
    let j = files(&e, "journal", "j");
    assert_eq!(j.len(), 2, "a start never goes on in an old file");
    let last = *frames(&j[0]).last().unwrap();
    flip(&j[0], last + 30);
    assert!(matches!(e.try_open().await, Err(OpenError::Damaged { offset, .. }) if offset == last));
}

#[tokio::test]
async fn a_bad_header_or_a_missing_file_is_damage() {
    let e = Local::new();
    drop(filled(&e, 5).await);
    drop(filled(&e, 5).await);
    let j = files(&e, "journal", "j");
    flip(&j[1], 20);
    assert!(matches!(e.try_open().await, Err(OpenError::Damaged { .. })));
    flip(&j[1], 20);
    // A newer format is said to be that.
    flip(&j[1], 8);
    let err = e.try_open().await.err().unwrap();
    assert!(matches!(err, OpenError::Newer(_)), "{err}");
    flip(&j[1], 8);
    fs::rename(&j[0], e.dir.path().join("elsewhere")).unwrap();
    let err = e.try_open().await.err().unwrap();
    assert!(matches!(&err, OpenError::Damaged { file, .. } if file.ends_with("0001.j")), "{err}");
}

#[tokio::test]
async fn a_flipped_bit_in_a_journal_block_is_reported_and_the_rest_is_served() {
    let e = Local::with(Limits { tail_bytes: 0, ..small_limits() }, true);
    drop(filled(&e, 5).await);
    let j = files(&e, "journal", "j").remove(0);
    // The body of the third record's frame: frames 0 is the shard's opening.
    flip(&j, frames(&j)[3] + 300);
    let log = e.open().await;
    assert_eq!(log.read(S, 0, 2, 1 << 20).await.unwrap().items.len(), 2);
    let err = log.read(S, 2, 1, 1).await.unwrap_err();
    assert!(matches!(&err, LogError::Damaged(m) if m.contains("journal/0000000000000001.j at ")), "{err}");
    assert_eq!(collect(&log, S, 3).await.len(), 2);
    // It goes along to a segment as it is.
    e.settle(&log).await;
    assert_eq!(collect(&log, S, 3).await.len(), 2);
    let err = log.read(S, 2, 1, 1).await.unwrap_err();
    assert!(matches!(&err, LogError::Damaged(m) if m.contains("segments/")), "{err}");
}

#[tokio::test]
async fn a_flipped_bit_in_a_segment_is_reported_and_the_rest_is_served() {
    let e = Local::with(Limits { tail_bytes: 0, ..small_limits() }, true);
    let log = filled(&e, 5).await;
    e.settle(&log).await;
    payload(&log, S, &bytes(1, 600_000), 100_000, (0, 1), b"a").await.unwrap();
    payload(&log, S, &bytes(2, 1000), 1000, (2, 3), b"b").await.unwrap();
    e.settle(&log).await;
    drop(log);
    let mut segs = files(&e, "segments", "seg");
    assert_eq!(segs.len(), 2);
    // The records', then the payloads': names made within a millisecond are in no order.
    segs.sort_by_key(|s| fs::metadata(s).unwrap().len());
    // The second chunk of the first payload.
    flip(&segs[1], 64 + 300_000);
    let log = e.open().await;
    let all = log.payloads(S, Query::Positions(0, 99), 9, false).await.unwrap();
    let err = log.read_payload(&all[0], 0..600_000).await.unwrap_err();
    assert!(
        matches!(&err, LogError::Damaged(m) if m.contains("segments/") && m.contains(".seg at 262224")),
        "{err}"
    );
    // Its other chunks, and the other payload, are served.
    assert_eq!(log.read_payload(&all[0], 0..262_144).await.unwrap(), bytes(1, 600_000)[..262_144]);
    assert_eq!(log.read_payload(&all[1], 0..1000).await.unwrap(), bytes(2, 1000)[..]);
    drop(log);
    // A footer: page, root, trailer.
    let len = fs::metadata(&segs[0]).unwrap().len();
    for back in [10, 60, 130, 250, 400] {
        flip(&segs[0], len - back);
        let log = e.open().await;
        // What comes before the damage is served.
        let mut at = 0;
        let r = loop {
            match log.read(S, at, 9, 1 << 20).await {
                Ok(p) if p.next > at => at = p.next,
                r => break r.map(drop),
            }
        };
        assert!(matches!(&r, Err(LogError::Damaged(m)) if m.contains("segments/")), "{back}: {r:?}");
        assert!(at < 5);
        assert_eq!(log.payloads(S, Query::Positions(5, 99), 9, false).await.unwrap().len(), 2);
        drop(log);
        flip(&segs[0], len - back);
    }
    assert_eq!(log_len(&e).await, 7);
    // One segment's bytes under another's name.
    fs::copy(&segs[1], e.dir.path().join("kept")).unwrap();
    fs::copy(&segs[0], &segs[1]).unwrap();
    let r = e.open().await.payloads(S, Query::Positions(5, 99), 9, false).await;
    assert!(matches!(&r, Err(LogError::Damaged(_))), "{r:?}");
    fs::remove_file(&segs[1]).unwrap();
    let r = e.open().await.payloads(S, Query::Positions(5, 99), 9, false).await;
    assert!(matches!(&r, Err(LogError::Io(m)) if m.contains("is missing")), "{r:?}");
}

async fn log_len(e: &Local) -> usize {
    collect(&e.open().await, S, 0).await.len()
}

#[tokio::test]
async fn a_missing_open_segment_is_said_plainly() {
    let e = Local::new();
    let log = filled(&e, 1).await;
    payload(&log, S, b"x", 1, (0, 1), b"").await.unwrap();
    drop(log);
    fs::remove_file(&files(&e, "segments", "open")[0]).unwrap();
    let err = e.try_open().await.err().unwrap();
    assert!(err.to_string().contains("segments/") && err.to_string().contains("missing"), "{err}");
}

#[tokio::test]
async fn files_that_nothing_refers_to_are_removed_at_a_start() {
    let e = Local::with(small_limits(), true);
    let log = filled(&e, 3).await;
    e.settle(&log).await;
    drop(log);
    let kept = files(&e, "segments", "seg");
    let dir = e.dir.path().join("segments");
    for name in ["00112233445566778899aabbccddeeff.seg", "00112233445566778899aabbccddeef0.open"] {
        fs::write(dir.join(name), b"left over").unwrap();
    }
    fs::write(dir.join("a person's note"), b"stays").unwrap();
    let log = e.open().await;
    while files(&e, "segments", "seg") != kept || !files(&e, "segments", "open").is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(dir.join("a person's note").exists());
    assert_eq!(collect(&log, S, 0).await.len(), 3);
}

#[tokio::test]
async fn another_master_key_and_a_lost_catalog_are_told_apart_from_damage() {
    let e = Local::new();
    drop(filled(&e, 3).await);
    let wrong = Arc::new(LocalKey::new(DataKey::new([8; 32])));
    let r =
        LocalLog::open(e.world.0.clone(), e.catalog.clone(), wrong, small_limits(), StorePolicy::default())
            .await;
    let err = r.err().unwrap();
    assert!(matches!(&err, OpenError::Key(m) if m.contains("master key")), "{err}");
    let right = Arc::new(LocalKey::new(DataKey::new([7; 32])));
    let empty: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(e.world.0.clone()));
    let r = LocalLog::open(e.world.0.clone(), empty, right, small_limits(), StorePolicy::default()).await;
    let err = r.err().unwrap();
    assert!(matches!(&err, OpenError::Key(m) if m.contains("catalog")), "{err}");
}

#[tokio::test]
async fn another_folders_process_is_kept_out_and_ones_own_is_not() {
    let e = Local::new();
    let log = filled(&e, 1).await;
    // The same catalog, another folder: another holder.
    let dir = tempfile::tempdir().unwrap();
    let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
    let r = LocalLog::open(
        World::real(dir.path()),
        e.catalog.clone(),
        keys,
        small_limits(),
        StorePolicy::default(),
    )
    .await;
    let err = r.err().unwrap();
    assert!(matches!(err, OpenError::Locked(_)) && !err.to_string().contains('\n'), "{err}");
    // Killed, not shut down: the lease is still held, and is its own.
    drop(log);
    assert_eq!(log_len(&e).await, 1);
}

async fn on_sim(sim: &Sim, catalog: &Arc<dyn Catalog>) -> Arc<LocalLog> {
    let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
    LocalLog::open(sim.world.clone(), catalog.clone(), keys, small_limits(), StorePolicy::default())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_the_outcome_is_unknown_and_the_file_is_never_written_again() {
    let sim = Sim::new(5);
    let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(sim.world.clone()));
    let log = on_sim(&sim, &catalog).await;
    log.create_stream(stream(1)).await.unwrap();
    log.append(S, records(1, 1, 10)).await.unwrap();
    sim.disk.set_faults(Faults { sync: 1, ..Faults::default() });
    let r = log.append(S, records(2, 1, 10)).await;
    assert!(matches!(r, Err(LogError::Unknown(_))), "{r:?}");
    // The next file cannot be made either: nothing was written, and that is known.
    let r = log.append(S, records(3, 1, 10)).await;
    assert!(matches!(r, Err(LogError::Refused(_))), "{r:?}");
    assert_eq!(log.watch(S).unwrap().borrow().next, 1, "nobody reads what is not durable");
    sim.disk.set_faults(Faults::default());
    sim.disk.keep_log();
    let c = log.append(S, records(4, 1, 10)).await.unwrap();
    assert!(c.first > 1, "the position of the unknown is not used again");
    let calls = sim.disk.take_log();
    assert!(!calls.iter().any(|c| c.contains("write journal/0000000000000001.j")), "{calls:?}");
    assert_eq!(log.stats().sync_failures, 1);
    let shared: SharedLog = log.clone();
    let before = collect(&shared, S, 0).await;
    assert_eq!(before.len(), 2);
    drop((log, shared));
    sim.disk.restart();
    let again: SharedLog = on_sim(&sim, &catalog).await;
    assert_eq!(collect(&again, S, 0).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_whose_sync_fails_is_refused_and_its_segments_others_survive() {
    let sim = Sim::new(6);
    let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(sim.world.clone()));
    let log = on_sim(&sim, &catalog).await;
    log.create_stream(stream(1)).await.unwrap();
    let shared: SharedLog = log.clone();
    payload(&shared, S, &bytes(1, 1000), 100, (0, 1), b"one").await.unwrap();
    sim.disk.set_faults(Faults { sync: 1, ..Faults::default() });
    let r = payload(&shared, S, &bytes(2, 1000), 100, (0, 1), b"two").await;
    assert!(matches!(r, Err(LogError::Refused(_))), "{r:?}");
    sim.disk.set_faults(Faults::default());
    payload(&shared, S, &bytes(3, 1000), 100, (0, 1), b"three").await.unwrap();
    let check = |log: SharedLog| async move {
        let all = log.payloads(S, Query::Positions(0, 9), 9, false).await.unwrap();
        let index: Vec<Bytes> = all.iter().map(|p| p.index.clone()).collect();
        assert_eq!(index, [Bytes::from_static(b"one"), Bytes::from_static(b"three")]);
        assert_eq!(log.read_payload(&all[0], 0..1000).await.unwrap(), bytes(1, 1000)[..]);
        assert_eq!(log.read_payload(&all[1], 0..1000).await.unwrap(), bytes(3, 1000)[..]);
    };
    check(shared.clone()).await;
    log.flush().await.unwrap();
    check(shared.clone()).await;
    drop((log, shared));
    sim.disk.restart();
    check(on_sim(&sim, &catalog).await).await;
}
