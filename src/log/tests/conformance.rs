//! What every engine of the log must hold, each **must** line of the design under its name, on each engine.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "conformance/retention.rs"]
mod retention;

use std::time::Duration;

use bytes::Bytes;
use common::{Engine, Local, Memory, bytes, collect, payload, records, stream};
use log::{Committed, Item, LogError, Query, SharedLog};
use retention::*;
use world::{Clock, ShardId, Timestamp};

async fn create(log: &SharedLog, n: u8) -> ShardId {
    let s = stream(n);
    log.create_stream(s).await.unwrap();
    ShardId { stream: s, shard: 0 }
}

/// Runs each test on each engine.
macro_rules! suite {
    ($($(#[$doc:meta])* $name:ident)*) => {
        mod memory { $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::Memory::new()).await })* }
        mod local { $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::Local::new()).await })* }
        mod local_tiered { $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::Local::tiered()).await })* }
    };
}

suite! {
    what_is_acknowledged_is_read_back_and_survives
    nobody_reads_before_it_is_acknowledged
    positions_rise_strictly_and_are_never_used_twice
    positions_go_on_after_a_restart
    arrival_never_falls_within_a_shard
    a_child_opens_only_once_its_parents_are_closed
    a_batch_is_wholly_there_or_not_at_all
    closed_shards_take_nothing
    payloads_come_back_in_every_range
    a_dropped_payload_leaves_nothing
    payloads_under_way_together_take_positions_when_committed
    payloads_are_found_by_position_arrival_and_producer
    records_and_payloads_share_one_order
    seek_finds_the_first_at_or_after_a_time
    trim_forgets_and_says_so
    followers_see_the_head_move
    a_deleted_stream_is_gone_and_its_successor_shares_nothing
    rotating_the_key_keeps_the_past_readable
    limits_are_refused_clearly
    pages_are_bounded
    nothing_is_accepted_after_shutdown
    stored_bytes_follow_what_is_there
    what_is_set_for_a_stream_is_kept_and_goes_with_it
    age_removes_what_is_older_and_nothing_else
    a_closed_shard_gives_its_space_back
    a_budget_overwrites_the_oldest_or_refuses
    what_is_pinned_outlives_age_and_budget
}

async fn what_is_acknowledged_is_read_back_and_survives<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let mut want = Vec::new();
    for i in 0..50u64 {
        let batch = records(i, 1 + i as usize % 7, 100);
        let c = log.append(s, batch.clone()).await.unwrap();
        want.extend((c.first..).zip(batch));
    }
    assert_eq!(collect(&log, s, 0).await, want);
    e.settle(&log).await;
    assert_eq!(collect(&log, s, 0).await, want);
    drop(log);
    if e.durable() {
        let log = e.open().await;
        assert_eq!(collect(&log, s, 0).await, want);
        log.shutdown().await.unwrap();
        drop(log);
        let log = e.open().await;
        assert_eq!(collect(&log, s, 0).await, want);
        assert_eq!(collect(&log, s, 77).await, want[77..]);
    }
}

async fn nobody_reads_before_it_is_acknowledged<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let mut head = log.watch(s).unwrap();
    let writer = {
        let log = log.clone();
        tokio::spawn(async move {
            for i in 0..200u64 {
                log.append(s, records(i, 1, 10)).await.unwrap();
            }
        })
    };
    // Whatever the head announces can be read at once, and reading never gives more than it announces afterwards.
    while head.borrow_and_update().next < 200 {
        let next = head.borrow().next;
        let got = collect(&log, s, 0).await;
        assert!(got.len() as u64 >= next);
        assert!(got.len() as u64 <= log.watch(s).unwrap().borrow().next);
        if next < 200 {
            head.changed().await.unwrap();
        }
    }
    writer.await.unwrap();
}

async fn positions_rise_strictly_and_are_never_used_twice<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let tasks: Vec<_> = (0..8u64)
        .map(|t| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut out = Vec::new();
                for i in 0..40 {
                    let batch = records(t * 1000 + i, 1 + i as usize % 3, 30);
                    let c = log.append(s, batch.clone()).await.unwrap();
                    assert_eq!(c.count as usize, batch.len());
                    out.extend((c.first..).zip(batch));
                }
                assert!(out.is_sorted_by(|a, b| a.0 < b.0));
                out
            })
        })
        .collect();
    let mut want = Vec::new();
    for t in tasks {
        want.extend(t.await.unwrap());
    }
    want.sort();
    assert!(want.is_sorted_by(|a, b| a.0 < b.0), "a position was used twice");
    assert_eq!(collect(&log, s, 0).await, want);
}

async fn positions_go_on_after_a_restart<E: Engine>(e: E) {
    if !e.durable() {
        return;
    }
    let mut want = Vec::new();
    for round in 0..5u64 {
        let log = e.open().await;
        let s = create(&log, 1).await;
        let b = records(round, 3, 40);
        let c = log.append(s, b.clone()).await.unwrap();
        assert_eq!(c.first, want.len() as u64);
        want.extend((c.first..).zip(b));
        if round % 2 == 0 {
            e.settle(&log).await;
        }
        assert_eq!(collect(&log, s, 0).await, want);
        if round == 3 {
            log.shutdown().await.unwrap();
        }
    }
}

async fn arrival_never_falls_within_a_shard<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let start = e.clock().now();
    let a = log.append(s, records(0, 1, 5)).await.unwrap();
    assert_eq!(a.arrival, start);
    e.set_clock(start + Duration::from_secs(60));
    let b = log.append(s, records(1, 1, 5)).await.unwrap();
    e.set_clock(start);
    let c = log.append(s, records(2, 1, 5)).await.unwrap();
    assert_eq!((b.arrival, c.arrival), (start + Duration::from_secs(60), b.arrival));
    if e.durable() {
        drop(log);
        let log = e.open().await;
        let d = log.append(s, records(3, 1, 5)).await.unwrap();
        assert_eq!(d.arrival, b.arrival);
    }
}

async fn a_child_opens_only_once_its_parents_are_closed<E: Engine>(e: E) {
    let log = e.open().await;
    let parent = create(&log, 1).await;
    let child = ShardId { shard: 1, ..parent };
    assert!(matches!(log.open_shard(child, &[0]).await, Err(LogError::Refused(_))));
    assert!(matches!(log.append(child, records(0, 1, 5)).await, Err(LogError::NoShard(_))));
    log.append(parent, records(0, 3, 5)).await.unwrap();
    assert_eq!(log.close_shard(parent).await.unwrap(), 3);
    log.open_shard(child, &[0]).await.unwrap();
    // Asking again for the same is fine; for something else it is not.
    log.open_shard(child, &[0]).await.unwrap();
    assert!(log.open_shard(child, &[]).await.is_err());
    let c = log.append(child, records(9, 1, 5)).await.unwrap();
    assert_eq!(c.first, 0);
    let check = |log: SharedLog| async move {
        assert_eq!(log.shards(parent.stream).await.unwrap(), vec![(parent, vec![]), (child, vec![0])]);
        let h = *log.watch(parent).unwrap().borrow();
        assert_eq!((h.closed, h.next), (true, 3));
        assert!(matches!(log.append(parent, records(5, 1, 5)).await, Err(LogError::Closed(_))));
    };
    check(log.clone()).await;
    if e.durable() {
        drop(log);
        let log = e.open().await;
        check(log.clone()).await;
        e.settle(&log).await;
        drop(log);
        check(e.open().await).await;
    }
}

async fn a_batch_is_wholly_there_or_not_at_all<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    // Larger than one chunk of a block, and with empty records.
    let mut batch = records(1, 10, 70_000);
    batch.insert(3, Bytes::new());
    batch.push(Bytes::new());
    let c = log.append(s, batch.clone()).await.unwrap();
    let want: Vec<_> = (c.first..).zip(batch).collect();
    assert_eq!(collect(&log, s, 0).await, want);
    e.settle(&log).await;
    assert_eq!(collect(&log, s, 0).await, want);
    if e.durable() {
        drop(log);
        assert_eq!(collect(&e.open().await, s, 0).await, want);
    }
}

async fn closed_shards_take_nothing<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let mut w = log.payload(s).await.unwrap();
    w.write(&bytes(1, 1000)).await.unwrap();
    assert_eq!(log.close_shard(s).await.unwrap(), 0);
    assert!(matches!(log.append(s, records(0, 1, 5)).await, Err(LogError::Closed(x)) if x == s));
    assert!(matches!(log.payload(s).await, Err(LogError::Closed(_))));
    assert!(matches!(w.commit((Timestamp(0), Timestamp(1)), Bytes::new()).await, Err(LogError::Closed(_))));
    assert!(matches!(log.close_shard(s).await, Err(LogError::Closed(_))));
    assert_eq!(collect(&log, s, 0).await, vec![]);
}

const CHUNK: usize = 256 * 1024;

async fn payloads_come_back_in_every_range<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let sizes = [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17];
    let mut want = Vec::new();
    for (i, n) in sizes.into_iter().enumerate() {
        let data = bytes(i as u64, n);
        let c = payload(&log, s, &data, 70_001, (i as i64, i as i64 + 5), b"index").await.unwrap();
        assert_eq!((c.first, c.count), (i as u64, 1));
        want.push(data);
    }
    let check = |log: SharedLog, want: Vec<Vec<u8>>| async move {
        let all = log.payloads(s, Query::Positions(0, u64::MAX), usize::MAX, false).await.unwrap();
        assert_eq!(all.len(), want.len());
        for (p, data) in all.iter().zip(&want) {
            assert_eq!((p.len, &p.index[..]), (data.len() as u64, &b"index"[..]));
            let n = p.len;
            for (a, b) in [
                (0, n),
                (0, u64::MAX),
                (n / 2, n),
                (n / 3, n / 3 + 1),
                (n.saturating_sub(1), n),
                (n, n + 5),
                (CHUNK as u64 - 1, CHUNK as u64 + 1),
            ] {
                let got = log.read_payload(p, a..b).await.unwrap();
                let (a, b) = (a.min(n) as usize, b.min(n) as usize);
                assert!(got == data[a.min(b)..b], "{a}..{b} of {n}");
            }
        }
    };
    check(log.clone(), want.clone()).await;
    e.settle(&log).await;
    check(log.clone(), want.clone()).await;
    if e.durable() {
        drop(log);
        check(e.open().await, want.clone()).await;
    }
}

async fn a_dropped_payload_leaves_nothing<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let mut w = log.payload(s).await.unwrap();
    w.write(&bytes(1, 2 * CHUNK)).await.unwrap();
    drop(w);
    payload(&log, s, b"kept", 10, (0, 1), b"").await.unwrap();
    let all = log.payloads(s, Query::Positions(0, u64::MAX), usize::MAX, false).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(&log.read_payload(&all[0], 0..100).await.unwrap()[..], b"kept");
}

async fn payloads_under_way_together_take_positions_when_committed<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let data: Vec<Vec<u8>> = (0..3).map(|i| bytes(i, 2 * CHUNK + i as usize)).collect();
    let mut ws = Vec::new();
    for _ in 0..3 {
        ws.push(log.payload(s).await.unwrap());
    }
    for from in (0..3 * CHUNK).step_by(100_000) {
        for (w, d) in ws.iter_mut().zip(&data) {
            w.write(&d[from.min(d.len())..(from + 100_000).min(d.len())]).await.unwrap();
        }
        if from == 300_000 {
            // Its segment may be closed under a payload that is being written.
            payload(&log, s, b"between", 10, (5, 6), b"").await.unwrap();
            e.settle(&log).await;
        }
    }
    let c = ws.remove(0);
    let b = ws.pop().unwrap();
    let a = ws.pop().unwrap();
    for (i, w) in [a, b, c].into_iter().enumerate() {
        assert_eq!(w.commit((Timestamp(0), Timestamp(1)), Bytes::new()).await.unwrap().first, 1 + i as u64);
    }
    let check = |log: SharedLog, data: Vec<Vec<u8>>| async move {
        let all = log.payloads(s, Query::Positions(1, 9), usize::MAX, false).await.unwrap();
        for (p, d) in all.iter().zip([&data[1], &data[2], &data[0]]) {
            assert!(log.read_payload(p, 0..u64::MAX).await.unwrap() == d[..]);
        }
        assert_eq!(all.len(), 3);
    };
    check(log.clone(), data.clone()).await;
    if e.durable() {
        e.settle(&log).await;
        drop(log);
        check(e.open().await, data).await;
    }
}

async fn payloads_are_found_by_position_arrival_and_producer<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let start = e.clock().now();
    // Producer times overlap and step back; settled in the middle, so that the answer spans segments and what is open.
    let mut all = Vec::new();
    for i in 0..60i64 {
        e.set_clock(start + Duration::from_secs(i as u64));
        let p = (1000 + (i % 20) * 10, 1000 + (i % 20) * 10 + 15);
        let c = payload(&log, s, &bytes(i as u64, 10), 10, p, format!("i{i}").as_bytes()).await.unwrap();
        all.push((c, p));
        if i % 17 == 16 {
            e.settle(&log).await;
        }
    }
    type Stored = (Committed, (i64, i64));
    let expect = |f: &dyn Fn(&Stored) -> bool| -> Vec<u64> {
        all.iter().filter(|x| f(x)).map(|x| x.0.first).collect()
    };
    let t = |n: u64| start + Duration::from_secs(n);
    let cases: Vec<(Query, Vec<u64>)> = vec![
        (Query::Positions(0, u64::MAX), expect(&|_| true)),
        (Query::Positions(10, 40), expect(&|x| (10..=40).contains(&x.0.first))),
        (Query::Positions(59, 59), vec![59]),
        (Query::Positions(60, 70), vec![]),
        (Query::Arrival(t(5), t(33)), expect(&|x| x.0.arrival >= t(5) && x.0.arrival <= t(33))),
        (Query::Arrival(t(17), t(17)), vec![17]),
        (Query::Arrival(Timestamp::MIN, Timestamp::MAX), expect(&|_| true)),
        (Query::Producer(Timestamp(1100), Timestamp(1100)), expect(&|x| x.1.0 <= 1100 && x.1.1 >= 1100)),
        (Query::Producer(Timestamp(1015), Timestamp(1020)), expect(&|x| x.1.0 <= 1020 && x.1.1 >= 1015)),
        (Query::Producer(Timestamp(0), Timestamp(999)), vec![]),
        (Query::Producer(Timestamp(1205), Timestamp(1300)), expect(&|x| x.1.1 >= 1205)),
    ];
    for (q, want) in cases {
        for limit in [1, 5, 1000] {
            let got = log.payloads(s, q, limit, false).await.unwrap();
            let got: Vec<u64> = got.iter().map(|p| p.position).collect();
            assert_eq!(got, want[..want.len().min(limit)], "{q:?} {limit}");
            let got = log.payloads(s, q, limit, true).await.unwrap();
            let got: Vec<u64> = got.iter().map(|p| p.position).collect();
            assert_eq!(got, want[want.len().saturating_sub(limit)..], "{q:?} {limit} from the end");
        }
    }
}

async fn records_and_payloads_share_one_order<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let mut want = Vec::new();
    for i in 0..40u64 {
        if i % 3 == 0 {
            let c = payload(&log, s, &bytes(i, 50), 50, (0, 1), &i.to_le_bytes()).await.unwrap();
            want.push((c.first, Bytes::copy_from_slice(&i.to_le_bytes())));
        } else {
            let b = records(i, 2, 20);
            let c = log.append(s, b.clone()).await.unwrap();
            want.extend((c.first..).zip(b));
        }
        if i % 11 == 10 {
            e.settle(&log).await;
        }
    }
    let check = |log: SharedLog, want: Vec<(u64, Bytes)>| async move {
        assert_eq!(collect(&log, s, 0).await, want);
        for from in [1, 13, 30, 50] {
            assert_eq!(collect(&log, s, from).await, want[from as usize..]);
        }
        let page = log.read(s, 0, 1, 1).await.unwrap();
        assert!(matches!(&page.items[..], [Item::Payload(p)] if p.position == 0));
    };
    check(log.clone(), want.clone()).await;
    if e.durable() {
        drop(log);
        check(e.open().await, want).await;
    }
}

async fn seek_finds_the_first_at_or_after_a_time<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let start = e.clock().now();
    let t = |n: i64| Timestamp(start.0 + n * 1_000_000);
    for i in 0..20 {
        e.set_clock(t(i * 10));
        log.append(s, records(i as u64, 2, 10)).await.unwrap();
        if i % 6 == 5 {
            e.settle(&log).await;
        }
    }
    for (at, want) in [(-5, 0), (0, 0), (1, 2), (10, 2), (55, 12), (60, 12), (61, 14), (190, 38), (191, 40)] {
        assert_eq!(log.seek(s, t(at)).await.unwrap(), want, "{at}");
    }
    log.trim(s, 15).await.unwrap();
    assert_eq!(log.seek(s, t(0)).await.unwrap(), 15);
    assert_eq!(log.seek(s, t(75)).await.unwrap(), 16);
}

async fn trim_forgets_and_says_so<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let mut want = Vec::new();
    for i in 0..30u64 {
        let b = records(i, 1, 10);
        let c = log.append(s, b.clone()).await.unwrap();
        want.extend((c.first..).zip(b));
        if i % 10 == 9 && i < 25 {
            e.settle(&log).await;
        }
    }
    for before in [5, 10, 13, 24] {
        log.trim(s, before).await.unwrap();
        // Never back.
        log.trim(s, 1).await.unwrap();
        assert_eq!(log.watch(s).unwrap().borrow().oldest, before);
        let r = log.read(s, before - 1, 10, 1000).await;
        assert!(matches!(r, Err(LogError::Trimmed { oldest, .. }) if oldest == before), "{r:?}");
        assert_eq!(collect(&log, s, before).await, want[before as usize..]);
    }
    if e.durable() {
        drop(log);
        let log = e.open().await;
        assert_eq!(log.watch(s).unwrap().borrow().oldest, 24);
        assert_eq!(collect(&log, s, 24).await, want[24..]);
    }
}

async fn followers_see_the_head_move<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let mut w = log.watch(s).unwrap();
    log.append(s, records(0, 2, 5)).await.unwrap();
    w.changed().await.unwrap();
    assert_eq!(w.borrow_and_update().next, 2);
    log.close_shard(s).await.unwrap();
    w.changed().await.unwrap();
    assert!(w.borrow_and_update().closed);
    log.delete_stream(s.stream).await.unwrap();
    // The end of the shard ends the following.
    assert!(w.changed().await.is_err());
}

async fn a_deleted_stream_is_gone_and_its_successor_shares_nothing<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let other = create(&log, 2).await;
    log.append(s, records(0, 5, 100)).await.unwrap();
    log.append(other, records(7, 5, 100)).await.unwrap();
    payload(&log, s, &bytes(3, 1000), 1000, (0, 1), b"").await.unwrap();
    let p = log.payloads(s, Query::Positions(0, 99), 1, false).await.unwrap().remove(0);
    e.settle(&log).await;
    log.append(s, records(1, 5, 100)).await.unwrap();
    log.delete_stream(s.stream).await.unwrap();
    let gone = |log: SharedLog, p: log::Payload| async move {
        assert!(matches!(log.read(s, 0, 1, 1).await, Err(LogError::NoShard(_))));
        assert!(matches!(log.append(s, records(0, 1, 5)).await, Err(LogError::NoShard(_))));
        assert!(matches!(log.read_payload(&p, 0..10).await, Err(LogError::NoShard(_))));
        assert_eq!(log.shards(s.stream).await.unwrap(), vec![]);
        assert_eq!(log.stored_bytes(Some(s.stream)).await.unwrap(), 0);
        assert_eq!(collect(&log, other, 0).await.len(), 5);
    };
    gone(log.clone(), p.clone()).await;
    let successor = create(&log, 3).await;
    assert_eq!(log.append(successor, records(2, 1, 5)).await.unwrap().first, 0);
    if e.durable() {
        drop(log);
        let log = e.open().await;
        gone(log.clone(), p).await;
        assert_eq!(collect(&log, successor, 0).await.len(), 1);
    }
}

async fn rotating_the_key_keeps_the_past_readable<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let mut want = Vec::new();
    for i in 0..4u64 {
        let b = records(i, 2, 50);
        want.extend((2 * i..).zip(b.clone()));
        log.append(s, b).await.unwrap();
        assert_eq!(log.rotate_key(s.stream).await.unwrap(), i as u32 + 2);
    }
    assert_eq!(collect(&log, s, 0).await, want);
    e.settle(&log).await;
    assert_eq!(collect(&log, s, 0).await, want);
    if e.durable() {
        drop(log);
        assert_eq!(collect(&e.open().await, s, 0).await, want);
    }
}

async fn limits_are_refused_clearly<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let limits = e.limits();
    let big = Bytes::from(vec![0; limits.batch_bytes + 1]);
    assert!(matches!(log.append(s, vec![big]).await, Err(LogError::TooLarge { what: "a batch", .. })));
    assert!(matches!(log.append(s, vec![]).await, Err(LogError::Refused(_))));
    let mut w = log.payload(s).await.unwrap();
    let big = vec![0; limits.payload_bytes as usize + 1];
    assert!(matches!(w.write(&big).await, Err(LogError::TooLarge { what: "a payload", .. })));
    let w = log.payload(s).await.unwrap();
    let index = Bytes::from(vec![0; log::MAX_INDEX + 1]);
    assert!(matches!(w.commit((Timestamp(0), Timestamp(0)), index).await, Err(LogError::TooLarge { .. })));
    let w = log.payload(s).await.unwrap();
    assert!(matches!(w.commit((Timestamp(1), Timestamp(0)), Bytes::new()).await, Err(LogError::Refused(_))));
    assert_eq!(collect(&log, s, 0).await, vec![]);
}

async fn pages_are_bounded<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    log.append(s, records(0, 100, 1000)).await.unwrap();
    for round in 0..2 {
        let p = log.read(s, 0, 10, usize::MAX).await.unwrap();
        assert_eq!((p.items.len(), p.next), (10, 10));
        let p = log.read(s, 0, 1000, 10_000).await.unwrap();
        assert!((5..20).contains(&p.items.len()), "{}", p.items.len());
        assert_eq!(p.next, p.items.len() as u64);
        // One item at least, however small the bound.
        assert_eq!(log.read(s, 5, 1000, 0).await.unwrap().next, 6);
        let tip = log.read(s, 100, 10, 1000).await.unwrap();
        assert_eq!((tip.items.len(), tip.next), (0, 100));
        if round == 0 {
            e.settle(&log).await;
        }
    }
}

async fn nothing_is_accepted_after_shutdown<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    log.append(s, records(0, 1, 5)).await.unwrap();
    log.shutdown().await.unwrap();
    log.shutdown().await.unwrap();
    assert!(matches!(log.append(s, records(0, 1, 5)).await, Err(LogError::Down)));
    assert!(matches!(log.payload(s).await, Err(LogError::Down)));
    // What is there can still be read.
    assert_eq!(collect(&log, s, 0).await.len(), 1);
}

async fn stored_bytes_follow_what_is_there<E: Engine>(e: E) {
    let log = e.open().await;
    let s = create(&log, 1).await;
    let other = create(&log, 2).await;
    log.append(s, records(0, 10, 1000)).await.unwrap();
    payload(&log, s, &bytes(1, 50_000), 5000, (0, 1), b"").await.unwrap();
    log.append(other, records(0, 1, 1000)).await.unwrap();
    for _ in 0..2 {
        let mine = log.stored_bytes(Some(s.stream)).await.unwrap();
        let all = log.stored_bytes(None).await.unwrap();
        assert!((60_000..61_000).contains(&mine), "{mine}");
        assert!((1000..1100).contains(&(all - mine)), "{all} {mine}");
        e.settle(&log).await;
    }
    log.trim(s, 11).await.unwrap();
    assert_eq!(log.stored_bytes(Some(s.stream)).await.unwrap(), 0);
}
