//! What a few steps show.

use catalog::Catalog as _;
use world::{
    ShardId, Timestamp,
    sim::{Sim, StoreFaults},
};

use super::{Task, driven::Driven, limits, poll, run, stream};
use crate::{Limits, Log, Query, StorePolicy};

#[test]
fn a_record_of_1_kib_costs_at_most_50_bytes_more_in_a_busy_round() {
    let sim = Sim::new(1);
    let limits = Limits { journal_file: 8 << 20, ..Limits::default() };
    let mut d = Driven::new(&sim.world, limits, StorePolicy::default());
    let (log, catalog) = (d.log.clone(), d.catalog.clone());
    let mut go = |tasks: &mut Vec<Task>| {
        while !tasks.is_empty() {
            tasks.retain_mut(|t| poll(t).is_pending());
            d.round();
        }
    };
    let s = |shard| ShardId { stream: stream(0), shard };
    let l = log.clone();
    go(&mut vec![Box::pin(async move {
        l.create_stream(stream(0)).await.unwrap();
        for n in 1..64 {
            l.open_shard(s(n), &[]).await.unwrap();
        }
    })]);
    let before = log.stats();
    let mut tasks: Vec<Task> = Vec::new();
    for n in 0..2048 {
        let l = log.clone();
        tasks.push(Box::pin(async move {
            assert!(l.append(s(n % 64), vec![vec![7; 1024].into()]).await.is_ok())
        }));
    }
    go(&mut tasks);
    let after = log.stats();
    assert_eq!(after.rounds - before.rounds, 1, "all of it is one round");
    let each = (after.journal_bytes - before.journal_bytes) as f64 / 2048.0 - 1024.0;
    println!("{each:.1} bytes more in the journal");
    assert!(each <= 50.0, "{each}");
    // And in all, once it is in a segment.
    let l = log.clone();
    go(&mut vec![Box::pin(async move { l.flush().await.unwrap() })]);
    let segments = run(catalog.segments(None, 10)).unwrap();
    let bytes = segments.iter().map(|s| s.bytes).sum::<u64>() + after.journal_bytes - before.journal_bytes;
    let factor = bytes as f64 / (2048.0 * 1024.0);
    println!("written {factor:.3} times");
    assert!(factor <= 2.2, "{factor}");
}

#[test]
fn the_newest_of_a_shard_stays_here_while_the_store_is_away() {
    let sim = Sim::new(1);
    let mut d = Driven::new(&sim.world, Limits { cache_bytes: 0, ..limits() }, StorePolicy::default());
    let (log, shared) = (d.log.clone(), d.shared.clone());
    let id = ShardId { stream: stream(0), shard: 0 };
    let l = log.clone();
    d.go(async move {
        l.create_stream(stream(0)).await.unwrap();
        for n in 0..3 {
            let mut w = l.payload(id).await.unwrap();
            w.write(&[n; 1000]).await.unwrap();
            w.commit((Timestamp(1), Timestamp(2)), vec![n].into()).await.unwrap();
            l.flush().await.unwrap();
        }
    });
    d.store();
    run(shared.free_local(u64::MAX));
    sim.store.set_faults(StoreFaults { away: true, ..StoreFaults::default() });
    // As a new process, which has nothing in memory.
    shared.footers.forget_all();
    let last = run(log.payloads(id, Query::Positions(0, u64::MAX), 1, true)).unwrap();
    assert_eq!(last[0].index[..], [2]);
    assert_eq!(run(log.read_payload(&last[0], 0..1000)).unwrap(), [2; 1000][..]);
    // The others are only in the store.
    assert!(run(log.payloads(id, Query::Positions(0, u64::MAX), 3, true)).is_err());
}

#[test]
fn a_flush_ends_though_the_newest_journal_file_is_more_than_a_pass() {
    let sim = Sim::new(1);
    let limits = Limits { journal_file: 1 << 20, segment_bytes: 1 << 10, ..Limits::default() };
    let mut d = Driven::new(&sim.world, limits, StorePolicy::default());
    let log = d.log.clone();
    let mut task: Task = Box::pin(async move {
        log.create_stream(stream(0)).await.unwrap();
        let shard = ShardId { stream: stream(0), shard: 0 };
        log.append(shard, vec![vec![7; 4096].into()]).await.unwrap();
        log.flush().await.unwrap();
    });
    let mut rounds = 0;
    while poll(&mut task).is_pending() {
        d.round();
        rounds += 1;
        assert!(rounds < 100, "the flush begins again and again");
    }
    assert_eq!(run(d.catalog.segments(None, 10)).unwrap().len(), 1);
}
