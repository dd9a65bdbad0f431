//! What goes by itself, and what stays.

use std::time::Duration;

use log::{LogError, OnFull, Retention, SharedLog};
use world::{Clock as _, ShardId, Timestamp};

use crate::{
    common::{Engine, collect, records},
    create,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Ten records of 1000 bytes, an hour apart, each settled by itself; returns when the first arrived.
async fn hourly<E: Engine>(e: &E, log: &SharedLog, s: ShardId) -> Timestamp {
    let start = e.clock().now();
    for i in 0..10 {
        e.set_clock(start + 60 * MINUTE * i as u32);
        log.append(s, records(i, 1, 1000)).await.unwrap();
        e.settle(log).await;
    }
    start
}

async fn left(log: &SharedLog, s: ShardId) -> Vec<u64> {
    let oldest = log.watch(s).unwrap().borrow().oldest;
    collect(log, s, oldest).await.into_iter().map(|r| r.0).collect()
}

pub async fn what_is_set_for_a_stream_is_kept_and_goes_with_it<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await.stream;
    let other = create(&log, 2).await.stream;
    assert_eq!(log.retention(s).await.unwrap(), Retention::default());
    let set = Retention { age: Some(30 * MINUTE), bytes: Some(7), on_full: OnFull::Overwrite };
    log.set_retention(s, Retention { bytes: None, ..set }).await.unwrap();
    log.set_retention(s, set).await.unwrap();
    let b = log.pin(s, Timestamp(5), Timestamp(9), "the door").await.unwrap();
    let a = log.pin(s, Timestamp(4), Timestamp(4), "").await.unwrap();
    assert!(matches!(log.pin(s, Timestamp(5), Timestamp(4), "").await, Err(LogError::Refused(_))));
    let long = "n".repeat(log::MAX_NOTE + 1);
    assert!(matches!(log.pin(s, Timestamp(5), Timestamp(5), &long).await, Err(LogError::Refused(_))));
    assert_eq!(log.pins(s).await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(log.pins(other).await.unwrap(), []);
    let log = if e.durable() {
        drop(log);
        e.open().await
    } else {
        log
    };
    assert_eq!(log.retention(s).await.unwrap(), set);
    assert_eq!(log.pins(s).await.unwrap(), [a.clone(), b.clone()]);
    assert!(!log.unpin(other, &a.id).await.unwrap());
    assert!(log.unpin(s, &a.id).await.unwrap());
    assert!(!log.unpin(s, &a.id).await.unwrap());
    assert_eq!(log.pins(s).await.unwrap(), [b]);
    log.delete_stream(s).await.unwrap();
    assert!(matches!(log.retention(s).await, Err(LogError::NoShard(_))));
    assert!(matches!(log.pins(s).await, Err(LogError::NoShard(_))));
    assert!(matches!(log.set_retention(s, set).await, Err(LogError::NoShard(_))));
    assert!(matches!(log.pin(s, Timestamp(0), Timestamp(0), "").await, Err(LogError::NoShard(_))));
}

pub async fn age_removes_what_is_older_and_nothing_else<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let other = create(&log, 2).await;
    hourly(&e, &log, s).await;
    hourly(&e, &log, other).await;
    log.enforce().await.unwrap();
    assert_eq!(left(&log, s).await.len(), 10, "nothing is set: nothing goes");
    // The clock stands twice nine hours after the start.
    let age = |a| Retention { age: Some(a), ..Retention::default() };
    log.set_retention(s.stream, age(630 * MINUTE)).await.unwrap();
    log.set_retention(other.stream, age(90 * MINUTE)).await.unwrap();
    log.enforce().await.unwrap();
    assert_eq!(left(&log, s).await, [8, 9], "the others arrived more than ten and a half hours ago");
    assert_eq!(left(&log, other).await, [8, 9]);
    let r = log.read(s, 7, 1, 1).await;
    assert!(matches!(r, Err(LogError::Trimmed { oldest: 8, .. })), "{r:?}");
    assert!(log.stored_bytes(Some(s.stream)).await.unwrap() < 2200);
    log.set_retention(s.stream, age(Duration::ZERO)).await.unwrap();
    e.set_clock(e.clock().now() + MINUTE);
    log.enforce().await.unwrap();
    assert_eq!(left(&log, s).await, [0; 0]);
    assert_eq!(log.stored_bytes(Some(s.stream)).await.unwrap(), 0);
    assert_eq!(log.append(s, records(0, 1, 5)).await.unwrap().first, 10, "positions go on");
    if e.durable() {
        drop(log);
        let log = e.open().await;
        assert_eq!(left(&log, s).await, [10]);
        assert_eq!(left(&log, other).await, [8, 9]);
    }
}

/// Nobody trims a shard that was split: what is in it goes by age all the same.
pub async fn a_closed_shard_gives_its_space_back<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    hourly(&e, &log, s).await;
    log.close_shard(s).await.unwrap();
    let child = ShardId { shard: 1, ..s };
    log.open_shard(child, &[0]).await.unwrap();
    log.set_retention(s.stream, Retention { age: Some(90 * MINUTE), ..Retention::default() }).await.unwrap();
    e.set_clock(e.clock().now() + 91 * MINUTE);
    log.enforce().await.unwrap();
    assert_eq!(left(&log, s).await, [0; 0]);
    assert_eq!(log.stored_bytes(Some(s.stream)).await.unwrap(), 0);
    log.append(child, records(0, 1, 5)).await.unwrap();
    assert_eq!(left(&log, child).await.len(), 1);
}

pub async fn a_budget_overwrites_the_oldest_or_refuses<E: Engine>(e: E) {
    let log = e.open().await;
    let (s, other) = (create(&log, 1).await, create(&log, 2).await);
    let bytes = |on_full| Retention { bytes: Some(4500), on_full, ..Retention::default() };
    hourly(&e, &log, s).await;
    hourly(&e, &log, other).await;
    log.set_retention(s.stream, bytes(OnFull::Overwrite)).await.unwrap();
    log.set_retention(other.stream, bytes(OnFull::Refuse)).await.unwrap();
    // Only what is in closed segments can make room.
    e.flush(&log).await;
    log.enforce().await.unwrap();
    let now = left(&log, s).await;
    assert!(now.is_empty() || now == [6, 7, 8, 9], "{now:?}");
    log.append(s, records(0, 1, 5)).await.unwrap();
    assert_eq!(left(&log, other).await.len(), 10);
    let refused = log.append(other, records(0, 1, 5)).await;
    assert!(matches!(&refused, Err(LogError::Refused(m)) if m.contains("4500")), "{refused:?}");
    assert!(matches!(log.payload(other).await, Err(LogError::Refused(_))));
    // It resumes by itself.
    log.set_retention(other.stream, Retention { bytes: Some(1 << 20), ..bytes(OnFull::Refuse) })
        .await
        .unwrap();
    log.enforce().await.unwrap();
    log.append(other, records(0, 1, 5)).await.unwrap();
}

pub async fn what_is_pinned_outlives_age_and_budget<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let start = hourly(&e, &log, s).await;
    let hour = |h: u32| start + 60 * MINUTE * h;
    let a = log.pin(s.stream, hour(2), hour(3) + MINUTE, "a").await.unwrap();
    let b = log.pin(s.stream, hour(5), hour(5), "b").await.unwrap();
    let (head, before) = (*log.watch(s).unwrap().borrow(), left(&log, s).await);
    assert_eq!((head.oldest, before.len()), (0, 10));
    let set = Retention { age: Some(90 * MINUTE), bytes: Some(500), on_full: OnFull::Overwrite };
    // First into closed segments: the log enforces by itself, too.
    e.flush(&log).await;
    log.set_retention(s.stream, Retention { bytes: None, ..set }).await.unwrap();
    log.enforce().await.unwrap();
    let want = if e.runs_apart() { vec![2, 3, 5, 8, 9] } else { (0..10).collect() };
    assert_eq!(left(&log, s).await, want);
    let gaps = if e.runs_apart() { vec![(4, 5), (6, 8)] } else { vec![] };
    assert_eq!(log.gaps(s, 0, 99).await.unwrap(), gaps);
    log.set_retention(s.stream, set).await.unwrap();
    log.append(s, records(10, 1, 1000)).await.unwrap();
    e.flush(&log).await;
    log.enforce().await.unwrap();
    let pinned = if e.runs_apart() { vec![2, 3, 5] } else { (0..10).collect() };
    let now = left(&log, s).await;
    assert!(now.starts_with(&pinned) && now.len() <= pinned.len() + 1, "{now:?}");
    let log = if e.durable() {
        drop(log);
        e.open().await
    } else {
        log
    };
    assert!(left(&log, s).await.starts_with(&pinned), "a start changes nothing");
    log.append(s, records(11, 1, 1000)).await.unwrap();
    e.flush(&log).await;
    // One pin less: what only it held goes.
    log.unpin(s.stream, &a.id).await.unwrap();
    log.enforce().await.unwrap();
    if e.runs_apart() {
        let now = left(&log, s).await;
        assert!(now.starts_with(&[5]), "{now:?}");
        assert_eq!(log.watch(s).unwrap().borrow().oldest, 5);
    }
    log.unpin(s.stream, &b.id).await.unwrap();
    e.set_clock(hour(20));
    log.append(s, records(12, 1, 10)).await.unwrap();
    log.enforce().await.unwrap();
    assert_eq!(left(&log, s).await, [12]);
}
