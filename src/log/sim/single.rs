//! What a few steps show.

use std::time::Duration;

use catalog::Catalog as _;
use world::{
    ShardId, Timestamp,
    sim::{Sim, StoreFaults},
};

use super::{Task, driven::Driven, limits, poll, run, stream};
use crate::{Limits, Log, OnFull, Query, Retention, StorePolicy, open_segment::DIR};

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
fn who_asks_where_a_shard_ends_is_told_of_all_that_can_be_read() {
    let sim = Sim::new(1);
    let mut d = Driven::new(&sim.world, limits(), StorePolicy::default());
    let (l, id) = (d.log.clone(), ShardId { stream: stream(0), shard: 0 });
    d.go(l.create_stream(stream(0))).unwrap();
    let early = l.watch(id).unwrap();
    let append = {
        let l = l.clone();
        async move { l.append(id, vec![vec![1].into()]).await }
    };
    d.go(append).unwrap();
    // As in the middle of a round: one more can be read, and nobody was told yet.
    let shard = d.shared.shards(Some(id.stream)).pop().unwrap();
    shard.state().next += 1;
    assert_eq!(early.borrow().next, 1);
    assert_eq!(l.watch(id).unwrap().borrow().next, 2);
    assert_eq!(early.borrow().next, 2, "and so is everybody else");
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

/// As seed 25211 of the histories found: a compaction is given up between its copy and the catalog, then retention
/// removes what is on both sides of a pin. What is left of the copy looks like something that the catalog has lost.
#[test]
fn a_copy_that_nobody_took_up_goes_at_the_next_start() {
    let sim = Sim::new(1);
    let world = super::driven::alone(&sim);
    let mut d = Driven::new(&world, limits(), StorePolicy::default());
    let (log, shared) = (d.log.clone(), d.shared.clone());
    let id = ShardId { stream: stream(0), shard: 0 };
    let (l, clock) = (log.clone(), sim.clock.clone());
    let middle = d.go(async move {
        l.create_stream(stream(0)).await.unwrap();
        let mut middle = Timestamp::MIN;
        // The last stays, whatever its age.
        for n in 0..4 {
            let mut w = l.payload(id).await.unwrap();
            w.write(&[n; 1000]).await.unwrap();
            let done = w.commit((Timestamp(1), Timestamp(2)), vec![n].into()).await.unwrap();
            if n == 1 {
                middle = done.arrival;
            }
            l.flush().await.unwrap();
            clock.advance(Duration::from_secs(3600));
        }
        middle
    });
    let files = || world.disk.list(DIR).unwrap().len();
    assert_eq!(files(), 4);
    {
        let held = run(shared.projection.lock());
        let s = shared.clone();
        let mut task: Task = Box::pin(async move { drop(s.compact().await) });
        assert!(poll(&mut task).is_pending());
        // As seed 968172 found: who looks for notes of what is gone must leave that of a copy alone.
        let noted = run(shared.noted_removals()).unwrap();
        assert!(!noted.is_empty());
        run(shared.forget_removals(noted.clone())).unwrap();
        assert_eq!(run(shared.noted_removals()).unwrap(), noted);
        drop((task, held));
    }
    assert_eq!(files(), 5, "a copy was made");
    let (l, s) = (log.clone(), shared.clone());
    d.go(async move {
        l.pin(stream(0), middle, middle, "").await.unwrap();
        let rule = Retention { age: Some(Duration::from_secs(1)), bytes: None, on_full: OnFull::Overwrite };
        l.set_retention(stream(0), rule).await.unwrap();
        s.enforce().await.unwrap();
    });
    assert_eq!(files(), 3, "what is pinned, the last, and the copy");
    let catalog = d.kill();
    let d = Driven::open(&world, catalog, limits(), StorePolicy::default()).unwrap();
    assert_eq!(files(), 2);
    run(d.shared.sweep_objects());
    assert!(run(d.shared.noted_removals()).unwrap().is_empty());
    let left = run(d.log.payloads(id, Query::Positions(0, u64::MAX), 9, false)).unwrap();
    assert_eq!(left.iter().map(|p| p.position).collect::<Vec<_>>(), [1, 3]);
}

/// A stream whose first shard was split, with a record and a payload in each of the three.
fn split(d: &mut Driven) {
    let l = d.log.clone();
    d.go(async move {
        l.create_stream(stream(0)).await.unwrap();
        for n in 0..3 {
            let id = ShardId { stream: stream(0), shard: n };
            if n > 0 {
                l.open_shard(id, &[0]).await.unwrap();
            }
            l.append(id, vec![vec![n as u8; 100].into()]).await.unwrap();
            let mut w = l.payload(id).await.unwrap();
            w.write(&[n as u8; 1000]).await.unwrap();
            w.commit((Timestamp(1), Timestamp(2)), vec![n as u8].into()).await.unwrap();
            if n == 0 {
                l.close_shard(id).await.unwrap();
            }
        }
    });
}

fn there(d: &Driven) -> Vec<u32> {
    run(d.log.shards(stream(0))).unwrap().into_iter().map(|(id, _)| id.shard).collect()
}

/// Nothing of it was moved out of the journal: a start comes upon all that it was.
#[test]
fn what_the_journal_has_of_a_forgotten_shard_says_nothing() {
    let sim = Sim::new(1);
    let world = super::driven::alone(&sim);
    let mut d = Driven::new(&world, limits(), StorePolicy::default());
    split(&mut d);
    let l = d.log.clone();
    let at = |shard| ShardId { stream: stream(0), shard };
    let stay = d.go(async move {
        assert_eq!(l.forget_shards(stream(0), &[0, 1, 7]).await.unwrap(), [0, 1], "neither is empty");
        l.trim(at(0), u64::MAX).await.unwrap();
        l.forget_shards(stream(0), &[0, 1, 7]).await.unwrap()
    });
    assert_eq!((stay, there(&d)), (vec![1], vec![1, 2]));
    assert_eq!(run(d.shared.catalog.mark()).unwrap(), catalog::Mark::default());
    let catalog = d.kill();
    let sound = |catalog: std::sync::Arc<catalog::MemoryCatalog>| {
        let keys = seal::LocalKey::new(seal::DataKey::new([3; 32]));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let report = runtime.block_on(async {
            let archive = crate::Archive::open(world.clone(), catalog, &keys).await.unwrap();
            let what = crate::Verify { alone: true, resume: false };
            std::sync::Arc::new(archive).verify(what, &mut |_| ()).await.unwrap()
        });
        assert_eq!((report.damaged, report.unchecked), (0, 0));
    };
    sound(catalog.clone());
    let mut d = Driven::open(&world, catalog, limits(), StorePolicy::default()).unwrap();
    assert_eq!(there(&d), [1, 2]);
    let (l, s, strays) = (d.log.clone(), d.shared.clone(), d.strays.clone());
    d.go(async move {
        assert!(l.open_shard(at(0), &[]).await.is_err(), "its number is used again");
        assert!(l.append(at(0), vec![vec![1].into()]).await.is_err());
        // Whoever opens a child again, as after a crash, does not need its parent.
        l.open_shard(at(1), &[0]).await.unwrap();
        s.sweep(strays).await;
        l.flush().await.unwrap();
        s.enforce().await.unwrap();
    });
    run(super::model::nothing_stays(&d.log, &d.shared, 1, &world));
    for n in [1, 2] {
        let all = run(super::model::read_all(&d.log, at(n), 0)).unwrap();
        assert_eq!(all.iter().map(|f| f.0).collect::<Vec<_>>(), [0, 1]);
    }
    let catalog = d.kill();
    sound(catalog.clone());
    let d = Driven::open(&world, catalog, limits(), StorePolicy::default()).unwrap();
    assert_eq!(there(&d), [1, 2]);
}

#[test]
fn a_copy_with_a_forgotten_shard_in_it_is_nobodys() {
    let sim = Sim::new(1);
    let world = super::driven::alone(&sim);
    let mut d = Driven::new(&world, limits(), StorePolicy::default());
    split(&mut d);
    let (l, s) = (d.log.clone(), d.shared.clone());
    let at = |shard| ShardId { stream: stream(0), shard };
    d.go(async move { l.flush().await.unwrap() });
    let files = || -> Vec<String> {
        let all = world.disk.list(DIR).unwrap().into_iter();
        all.map(|e| format!("{DIR}/{}", e.name)).collect()
    };
    // As a power cut may bring them back.
    let kept: Vec<(String, Vec<u8>)> = files()
        .into_iter()
        .map(|name| {
            let f = world.disk.open(&name, world::Mode::Read).unwrap();
            let mut all = vec![0; f.len().unwrap() as usize];
            f.read_exact_at(&mut all, 0).unwrap();
            (name, all)
        })
        .collect();
    let l = d.log.clone();
    d.go(async move {
        l.trim(at(0), u64::MAX).await.unwrap();
        assert!(l.forget_shards(stream(0), &[0]).await.unwrap().is_empty());
        run(s.forget_removals(run(s.noted_removals()).unwrap())).unwrap();
    });
    let before = files();
    assert!(before.len() < kept.len(), "{before:?}");
    let catalog = d.kill();
    for (name, all) in kept.iter().filter(|(name, _)| !before.contains(name)) {
        let f = world.disk.open(name, world::Mode::CreateNew).unwrap();
        f.write_all_at(all, 0).unwrap();
        f.sync_data().unwrap();
    }
    let d = Driven::open(&world, catalog, limits(), StorePolicy::default()).unwrap();
    assert_eq!(files(), before);
    assert_eq!(there(&d), [1, 2]);
}

#[test]
fn the_last_shard_of_a_stream_stays_until_the_stream_goes() {
    let sim = Sim::new(1);
    let mut d = Driven::new(&sim.world, limits(), StorePolicy::default());
    split(&mut d);
    let (l, c) = (d.log.clone(), d.catalog.clone());
    let at = |shard| ShardId { stream: stream(0), shard };
    d.go(async move {
        for n in 0..3 {
            let _ = l.close_shard(at(n)).await;
            l.trim(at(n), u64::MAX).await.unwrap();
        }
        assert_eq!(l.forget_shards(stream(0), &[2, 1, 0, 1]).await.unwrap(), [2]);
        assert_eq!(l.forget_shards(stream(0), &[0, 1]).await.unwrap(), [0; 0], "gone before");
        l.rotate_key(stream(0)).await.unwrap();
        let documents = || run(c.list(catalog::Filter::kind("log-forgotten"))).unwrap().len();
        assert_eq!(documents(), 1);
        l.delete_stream(stream(0)).await.unwrap();
        assert_eq!(documents(), 0);
        assert!(l.forget_shards(stream(0), &[2]).await.is_err());
    });
    assert!(run(d.catalog.shards(None)).unwrap().is_empty());
}
