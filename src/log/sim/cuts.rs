//! The power goes during one thing that the log does: at its first call of the disk, at its second, and so on to the
//! last. After each start all that was acknowledged is there, what was begun can be done again, and nothing is left over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use catalog::MemoryCatalog;
use seal::{DataKey, LocalKey};
use world::{ShardId, Timestamp, sim::Sim};

use super::{
    driven::Driven,
    limits,
    model::{Kept, read_all},
    nothing_is_left, stream,
};
use crate::{Archive, Limits, Log, LogError, OnFull, Retention, StorePolicy, Verify, note_restored};

/// What is done when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Flush,
    Upload,
    Compact,
    Retain,
    Rotate,
    Delete,
    Forget,
    Sweep,
}

type All = BTreeMap<(ShardId, u64), Kept>;

struct Scene {
    sim: Sim,
    d: Driven,
    all: All,
    sent: u8,
    /// The catalog as it was half way, and when.
    old: (Arc<MemoryCatalog>, Timestamp),
}

const STREAMS: u64 = 2;

fn small() -> Limits {
    Limits { segment_age: Duration::from_secs(3600), cache_bytes: 0, ..limits() }
}

fn shard(n: u64) -> ShardId {
    ShardId { stream: stream(n), shard: 0 }
}

fn call_off(sim: &Sim) {
    sim.disk.cut_after(u64::MAX / 2);
}

impl Scene {
    /// Always the same: two streams, four small segments of which two are stored, something in the journal.
    fn new() -> Scene {
        let sim = Sim::new(7);
        let mut d = Driven::new(&sim.world, small(), StorePolicy::default());
        for n in 0..STREAMS {
            let l = d.log.clone();
            d.go(l.create_stream(stream(n))).unwrap();
        }
        let old = (Arc::new(d.catalog.copy()), sim.world.clock.now());
        let mut s = Scene { sim, d, all: All::new(), sent: 0, old };
        for round in 0..5 {
            for n in 0..STREAMS {
                s.append(n).unwrap();
                s.payload(n).unwrap();
            }
            if round < 4 {
                let l = s.d.log.clone();
                s.d.go(async move { l.flush().await }).unwrap();
            }
            if round == 1 {
                s.d.store();
                s.old = (Arc::new(s.d.catalog.copy()), s.sim.world.clock.now());
            }
            s.sim.clock.advance(Duration::from_millis(1500));
        }
        s
    }

    fn content(&mut self, len: usize) -> Bytes {
        self.sent += 1;
        vec![self.sent; len].into()
    }

    fn append(&mut self, n: u64) -> Result<(), LogError> {
        let (l, content) = (self.d.log.clone(), self.content(300));
        let c = self.d.go(l.append(shard(n), vec![content.clone()]))?;
        self.all.insert((shard(n), c.first), Kept::Record(content));
        Ok(())
    }

    fn payload(&mut self, n: u64) -> Result<(), LogError> {
        let (l, content) = (self.d.log.clone(), self.content(2000));
        let b = content.clone();
        let c = self.d.go(async move {
            let mut w = l.payload(shard(n)).await?;
            w.write(&b).await?;
            w.commit((Timestamp(1), Timestamp(2)), b.slice(..8)).await
        })?;
        self.all.insert((shard(n), c.first), Kept::Payload(content));
        Ok(())
    }

    /// What goes before, with the power on.
    fn before(&mut self, doing: Doing) {
        let l = self.d.log.clone();
        if doing == Doing::Retain {
            let r = Retention { bytes: Some(4000), on_full: OnFull::Overwrite, ..Retention::default() };
            self.d.go(l.set_retention(stream(0), r)).unwrap();
        }
        if doing == Doing::Forget {
            let child = ShardId { shard: 1, ..shard(1) };
            self.d.go(async move {
                l.close_shard(shard(1)).await.unwrap();
                l.open_shard(child, &[0]).await.unwrap();
            });
        }
    }

    /// Until it is done, or the power is off.
    fn act(&mut self, doing: Doing) {
        let (l, s) = (self.d.log.clone(), self.d.shared.clone());
        match doing {
            Doing::Flush => drop(self.d.go(async move { l.flush().await })),
            Doing::Upload => self.d.go(async move { while let Ok(true) = s.store_step().await {} }),
            Doing::Compact => self.d.go(async move { while let Ok(true) = s.compact().await {} }),
            Doing::Retain => drop(self.d.go(async move { s.enforce().await })),
            Doing::Rotate => {
                let _ = self.d.go(l.rotate_key(stream(0)));
                // What a cut leaves unknown is not in `all`, and may be there.
                let _ = self.append(0);
                let _ = self.payload(0);
                drop(self.d.go(async move { l.flush().await }));
            }
            Doing::Delete => drop(self.d.go(async move { l.delete_stream(stream(1)).await })),
            Doing::Forget => {
                let _ = self.d.go(async move {
                    l.trim(shard(1), u64::MAX).await?;
                    l.forget_shards(stream(1), &[0, 1]).await
                });
            }
            Doing::Sweep => self.d.go(async move { s.sweep_objects().await }),
        }
    }

    /// Compares what is there with what was told; of the first stream retention may have taken its oldest, and the second
    /// may be no more.
    fn check(&mut self, doing: Doing, what: &str) {
        for n in 0..STREAMS {
            let (l, id) = (self.d.log.clone(), shard(n));
            let Ok(head) = l.watch(id).map(|w| *w.borrow()) else {
                let may = matches!(doing, Doing::Delete | Doing::Forget);
                assert!(may && n == 1, "{what}: {id} is gone");
                continue;
            };
            let found = self.d.go(read_all(&l, id, head.oldest));
            let found = found.unwrap_or_else(|e| panic!("{what}: {id}: {e}"));
            let there: BTreeMap<u64, Kept> = found.into_iter().map(|f| (f.0, f.2)).collect();
            for ((_, p), k) in self.all.iter().filter(|a| a.0.0 == id) {
                match there.get(p) {
                    Some(t) => assert_eq!(t, k, "{what}: {p} of {id}"),
                    None => assert!(
                        (doing, n) == (Doing::Retain, 0) && *p < head.oldest
                            || (doing, n) == (Doing::Forget, 1) && head.oldest == head.next,
                        "{what}: {p} of {id} is gone"
                    ),
                }
            }
            let known: BTreeSet<u64> = self.all.keys().filter(|a| a.0 == id).map(|a| a.1).collect();
            let more = there.keys().filter(|p| !known.contains(p)).count();
            assert!(more <= if doing == Doing::Rotate { 2 } else { 0 }, "{what}: {id} has {more} more");
        }
    }

    fn sound(&mut self, catalog: Arc<MemoryCatalog>, what: &str) {
        let world = self.sim.world.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let report = runtime.block_on(verify(world, catalog, false)).unwrap();
        assert_eq!((report.damaged, report.unchecked), (0, 0), "{what}");
    }

    /// After a start: what it does by itself, until all is at rest.
    fn rest(&mut self) {
        let (l, s, strays) = (self.d.log.clone(), self.d.shared.clone(), self.d.strays.clone());
        self.d.go(async move {
            s.sweep(strays).await;
            s.sweep_rules().await;
            s.finish_trims().await;
            l.flush().await.unwrap();
            s.enforce().await.unwrap();
        });
        let (s, strays) = (self.d.shared.clone(), self.d.strays.clone());
        self.d.go(nothing_is_left(&s, &self.sim, strays, 7));
    }

    fn again(self, catalog: Arc<MemoryCatalog>, what: &str) -> Scene {
        let d = Driven::open(&self.sim.world, catalog, small(), StorePolicy::default());
        let d = d.unwrap_or_else(|e| panic!("{what}: {e}"));
        Scene { d, ..self }
    }
}

async fn verify(
    world: world::World,
    catalog: Arc<MemoryCatalog>,
    resume: bool,
) -> Result<crate::Report, crate::OpenError> {
    let a = Archive::open(world, catalog, &LocalKey::new(DataKey::new([3; 32]))).await?;
    Arc::new(a).verify(Verify { alone: true, resume }, &mut |_| ()).await
}

fn at_every_call(doing: Doing) {
    for n in 0.. {
        let what = format!("{doing:?}, cut at call {n}");
        let mut s = Scene::new();
        s.before(doing);
        s.sim.disk.cut_after(n);
        s.act(doing);
        let whole = !s.sim.disk.is_off();
        let old = Scene::new().d;
        let catalog = std::mem::replace(&mut s.d, old).kill();
        if whole {
            s.sim.disk.restart_process();
        } else {
            s.sim.disk.restart();
        }
        call_off(&s.sim);
        let mut s = s.again(catalog, &what);
        s.check(doing, &what);
        s.act(doing);
        s.check(doing, &what);
        s.rest();
        s.check(doing, &what);
        if matches!(doing, Doing::Delete | Doing::Forget) {
            assert!(s.d.log.watch(shard(1)).is_err(), "{what}");
        }
        if doing == Doing::Forget {
            let (l, child) = (s.d.log.clone(), ShardId { shard: 1, ..shard(1) });
            assert!(s.d.go(l.open_shard(shard(1), &[])).is_err(), "{what}: its number is used again");
            let there = s.d.go(l.shards(stream(1))).unwrap();
            assert_eq!(there, [(child, vec![0])], "{what}");
            s.d.go(l.append(child, vec![vec![1].into()])).unwrap();
            s.rest();
        }
        let old = Scene::new().d;
        let catalog = std::mem::replace(&mut s.d, old).kill();
        s.sim.disk.restart_process();
        s.sound(catalog, &what);
        if whole {
            assert!(n > 1, "{doing:?} does nothing");
            return;
        }
        assert!(n < 10_000, "{doing:?} has no end");
    }
}

#[test]
fn during_a_flush() {
    at_every_call(Doing::Flush);
}
#[test]
fn during_an_upload() {
    at_every_call(Doing::Upload);
}
#[test]
fn during_compaction() {
    at_every_call(Doing::Compact);
}
#[test]
fn during_retention() {
    at_every_call(Doing::Retain);
}
#[test]
fn during_a_change_of_keys() {
    at_every_call(Doing::Rotate);
}
#[test]
fn during_a_deletion() {
    at_every_call(Doing::Delete);
}

#[test]
fn while_a_shard_is_forgotten() {
    at_every_call(Doing::Forget);
}

#[test]
fn while_an_older_catalog_takes_up_what_it_does_not_know() {
    for n in 0.. {
        let what = format!("adoption, cut at call {n}");
        let mut s = Scene::new();
        let l = s.d.log.clone();
        s.d.go(async move { l.flush().await }).unwrap();
        s.d.store();
        let other = Scene::new().d;
        drop(std::mem::replace(&mut s.d, other).kill());
        s.sim.disk.restart_process();
        let (old, at) = s.old.clone();
        super::run(note_restored(&*old, at, s.sim.world.clock.now())).unwrap();
        s.sim.disk.cut_after(n);
        let opened = Driven::open(&s.sim.world, old.clone(), small(), StorePolicy::default());
        let whole = !s.sim.disk.is_off();
        match opened {
            Ok(d) => drop(d.kill()),
            Err(e) => assert!(!whole, "{what}: {e}"),
        }
        if whole {
            s.sim.disk.restart_process();
        } else {
            s.sim.disk.restart();
        }
        call_off(&s.sim);
        let mut s = s.again(old, &what);
        s.check(Doing::Sweep, &what);
        s.act(Doing::Sweep);
        s.check(Doing::Sweep, &what);
        let highest = s.all.keys().filter(|a| a.0 == shard(0)).map(|a| a.1).max();
        s.append(0).unwrap();
        let last = s.all.keys().filter(|a| a.0 == shard(0)).map(|a| a.1).max();
        assert!(last > highest, "{what}: a position came again");
        s.rest();
        s.check(Doing::Sweep, &what);
        if whole {
            assert!(n > 1);
            return;
        }
    }
}

#[test]
fn during_a_verification_which_goes_on_from_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0.. {
        let mut s = Scene::new();
        let other = Scene::new().d;
        let catalog = std::mem::replace(&mut s.d, other).kill();
        s.sim.disk.restart_process();
        s.sim.disk.cut_after(n);
        let _ = runtime.block_on(verify(s.sim.world.clone(), catalog.clone(), false));
        let whole = !s.sim.disk.is_off();
        s.sim.disk.restart();
        call_off(&s.sim);
        let report = runtime.block_on(verify(s.sim.world.clone(), catalog.clone(), true)).unwrap();
        assert_eq!((report.damaged, report.unchecked), (0, 0), "cut at call {n}");
        if whole {
            assert!(n > 1);
            return;
        }
    }
}
