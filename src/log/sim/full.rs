//! A disk that gets full.

use std::{
    future::Future,
    sync::atomic::Ordering,
    task::{Context, Waker},
    time::Duration,
};

use catalog::Catalog as _;
use world::{
    Disk as _, ShardId, Timestamp,
    sim::{Sim, SimDisk},
};

use super::{
    driven::{Driven, alone},
    limits, poll, stream,
};
use crate::{
    Committed, Limits, Log, LogError, OnFull, Retention, StorePolicy, enforce::keep_enforcing,
    open_segment::hex, reserve::held,
};

const S: ShardId = ShardId { stream: world::StreamUid([1; 16]), shard: 0 };
const RESERVE: u64 = 96 << 10;

fn roomy() -> Limits {
    Limits { segment_bytes: 1 << 20, segment_age: Duration::from_secs(3600), ..limits() }
}

fn policy() -> StorePolicy {
    StorePolicy { bytes: None, free_floor: 300_000, reserve: RESERVE, ..StorePolicy::default() }
}

fn used(disk: &SimDisk) -> u64 {
    disk.set_capacity(Some(1 << 40));
    let s = disk.space().unwrap();
    s.total - s.free
}

fn append(d: &mut Driven, len: usize) -> Result<Committed, LogError> {
    let l = d.log.clone();
    d.go(async move { l.append(S, vec![vec![9; len].into()]).await })
}

/// Returns how many went in before one was refused.
fn fill(d: &mut Driven) -> usize {
    for n in 0..10_000 {
        match append(d, 3000) {
            Ok(_) => {}
            Err(LogError::Refused(why)) => {
                assert!(!why.contains("no space"), "the disk itself refused: {why}");
                return n;
            }
            Err(e) => panic!("{e}"),
        }
    }
    panic!("it takes everything");
}

#[test]
fn a_segment_that_meets_a_full_disk_is_not_copied_as_if_damaged() {
    let sim = Sim::new(1);
    let mut d = Driven::new(&alone(&sim), roomy(), StorePolicy::default());
    let l = d.log.clone();
    let write = |len: usize| {
        let l = l.clone();
        async move {
            let mut w = l.payload(S).await?;
            w.write(&vec![5; len]).await?;
            w.commit((Timestamp(1), Timestamp(2)), b"index"[..].into()).await
        }
    };
    d.go(l.create_stream(stream(0))).unwrap();
    d.go(write(100_000)).unwrap();
    let before = d.shared.segments.all()[0].id;
    sim.disk.set_capacity(Some(used(&sim.disk) + 50_000));
    let e = d.go(write(200_000)).unwrap_err();
    assert!(matches!(&e, LogError::Refused(why) if why.contains("no space")), "{e}");
    // Not a byte of room, and none is needed to finish what is there.
    assert_eq!(sim.disk.space().unwrap().free, 0);
    sim.disk.keep_log();
    d.go(l.flush()).unwrap();
    let rows = d.go(d.catalog.clone().segments(None, 10)).unwrap();
    assert_eq!(rows.iter().map(|r| r.id).collect::<Vec<_>>(), [before], "it is the one that it was");
    assert!(rows[0].bytes < 110_000, "{} bytes, of which most are dead", rows[0].bytes);
    let name = hex(&before);
    let made = sim.disk.take_log().into_iter().filter(|c| c.contains("CreateNew") && !c.contains(&name));
    assert_eq!(made.collect::<Vec<_>>(), Vec::<String>::new(), "nothing was copied");
    assert!(sim.disk.space().unwrap().free > 40_000, "what was written in vain is free again");
    let all = d.go(l.payloads(S, crate::Query::Positions(0, 9), 9, false)).unwrap();
    assert_eq!(d.go(l.read_payload(&all[0], 0..u64::MAX)).unwrap(), vec![5; 100_000]);
    d.go(write(20_000)).unwrap();
}

#[test]
fn a_segment_that_is_large_enough_asks_to_be_closed() {
    let sim = Sim::new(1);
    let mut d = Driven::new(&alone(&sim), roomy(), StorePolicy::default());
    let (l, s) = (d.log.clone(), d.shared.clone());
    d.go(l.create_stream(stream(0))).unwrap();
    let mut asked = Box::pin(s.flush.notified());
    for n in 0.. {
        let before = d.shared.segments.all().first().map_or(0, |s| s.end.load(Ordering::Relaxed));
        assert!(before < 1 << 20, "{before} bytes, and nobody was asked");
        let l = l.clone();
        d.go(async move {
            let mut w = l.payload(S).await?;
            w.write(&vec![5; 100_000]).await?;
            w.commit((Timestamp(n), Timestamp(n + 1)), b"index"[..].into()).await
        })
        .unwrap();
        if asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            assert!(n >= 9, "too early, after {n}");
            return;
        }
    }
}

#[test]
fn writers_do_not_take_the_reserve() {
    let sim = Sim::new(1);
    sim.disk.set_capacity(Some(1 << 20));
    let mut d = Driven::new(&alone(&sim), roomy(), policy());
    assert_eq!(held(&*sim.disk).unwrap(), RESERVE, "it is there before the first byte");
    let l = d.log.clone();
    d.go(l.create_stream(stream(0))).unwrap();
    let mut taken = 0;
    for _ in 0..40 {
        taken += fill(&mut d);
        let free = sim.disk.space().unwrap().free;
        assert!(free >= 150_000, "{free} bytes are free: writers were to leave half of the floor");
        let s = d.shared.clone();
        d.go(async move { s.enforce().await }).unwrap();
        if let Err(e) = d.go(l.flush()) {
            panic!("what was taken finds room: {e}");
        }
        assert_eq!(held(&*sim.disk).unwrap(), RESERVE);
    }
    assert!(taken > 20, "hardly anything was taken: {taken}");
    // As it is, so it is after a start.
    let catalog = d.kill();
    sim.disk.restart_process();
    let mut d = Driven::open(&alone(&sim), catalog, roomy(), policy()).unwrap();
    let (more, free) = (fill(&mut d), sim.disk.space().unwrap().free);
    assert!(free >= 150_000 && more < 40, "{more} more were taken, {free} bytes are free");
    assert_eq!(held(&*sim.disk).unwrap(), RESERVE);
}

#[test]
fn a_start_on_a_full_disk_takes_nothing_before_there_is_room() {
    let sim = Sim::new(1);
    let mut d = Driven::new(&alone(&sim), roomy(), StorePolicy::default());
    let l = d.log.clone();
    d.go(l.create_stream(stream(0))).unwrap();
    for _ in 0..20 {
        append(&mut d, 3000).unwrap();
    }
    let catalog = d.kill();
    sim.disk.restart_process();
    for left in [0, 10_000, RESERVE, 150_000] {
        sim.disk.set_capacity(Some(used(&sim.disk) + left));
        let mut d = Driven::open(&alone(&sim), catalog.clone(), roomy(), policy()).unwrap();
        assert_eq!(fill(&mut d), 0, "{left} bytes are free");
        drop(d.kill());
        sim.disk.restart_process();
    }
}

#[test]
fn writing_resumes_by_itself_when_there_is_room() {
    for on_full in [OnFull::Refuse, OnFull::Overwrite] {
        let sim = Sim::new(1);
        sim.disk.set_capacity(Some(1 << 20));
        let mut d = Driven::new(&alone(&sim), Limits { segment_bytes: 64 << 10, ..roomy() }, policy());
        let l = d.log.clone();
        d.go(l.create_stream(stream(0))).unwrap();
        d.go(l.set_retention(stream(0), Retention { on_full, ..Retention::default() })).unwrap();
        let mut keeping: super::Task = Box::pin(keep_enforcing(d.shared.clone()));
        let mut pass = |d: &mut Driven| {
            sim.clock.advance(Duration::from_secs(11));
            for _ in 0..1000 {
                assert!(poll(&mut keeping).is_pending());
                d.round();
            }
        };
        pass(&mut d);
        while append(&mut d, 3000).is_ok() {}
        d.go(l.flush()).unwrap();
        // Somebody else takes all the rest.
        sim.disk.set_capacity(Some(used(&sim.disk)));
        pass(&mut d);
        if on_full == OnFull::Overwrite {
            append(&mut d, 3000).expect("the oldest made room");
            let oldest = l.watch(S).unwrap().borrow().oldest;
            assert!(oldest > 0, "nothing was removed");
            assert_eq!(held(&*sim.disk).unwrap(), RESERVE, "made again of what was removed");
        } else {
            let e = append(&mut d, 3000).unwrap_err();
            assert!(matches!(&e, LogError::Refused(why) if why.contains("kept free")), "{e}");
            assert_eq!(held(&*sim.disk).unwrap(), 0, "the reserve was given up");
        }
        let page = d.go(l.read(S, l.watch(S).unwrap().borrow().oldest, 5, 1 << 20)).unwrap();
        assert!(!page.items.is_empty(), "reading goes on");
        // And frees it again.
        sim.disk.set_capacity(Some(4 << 20));
        pass(&mut d);
        append(&mut d, 3000).expect("there is room");
        assert_eq!(held(&*sim.disk).unwrap(), RESERVE, "the reserve is back");
    }
}
