//! Histories of a made-up world: clients, committer and flusher take steps in an order that a seed decides, on a disk
//! that fails and loses power, with a catalog that fails and whose commits interleave with journal frames. After every
//! restart what is there is compared with what was acknowledged.

mod client;
mod cuts;
mod driven;
mod flaky;
mod full;
mod leap;
mod model;
mod single;
mod year;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use catalog::{MemoryCatalog, SegmentState};
use seal::{DataKey, LocalKey};
use world::{
    Disk as _, StreamUid,
    sim::{Dice, Faults, Sim, StoreFaults},
};

use crate::{
    Limits, StorePolicy,
    committer::{Committer, Op},
    flush::Scope,
    local::LocalLog,
    opening::{OpenError, Parts},
    shared::Shared,
};
use flaky::Flaky;
use model::Model;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What one history did; two runs of a seed must give the same.
#[derive(Debug, PartialEq, Eq, Default)]
struct Told {
    trace: u64,
    calls: u64,
    acknowledged: usize,
    removed: usize,
    restarts: usize,
    uploads: u64,
    compacted: u64,
    merged: usize,
    forgotten: usize,
    log: Vec<String>,
}

fn limits() -> Limits {
    Limits {
        batch_bytes: 64 << 10,
        payload_bytes: 1 << 20,
        inflight_bytes: 1 << 16,
        tail_bytes: 4 << 10,
        journal_file: 64 << 10,
        journal_backlog: 1 << 20,
        segment_bytes: 64 << 10,
        segment_age: Duration::from_secs(20),
        footer_bytes: 16 << 10,
        upload_backlog: 1 << 20,
        // Nobody moves the clock of what is driven step by step.
        backlog_wait: Duration::ZERO,
        cache_bytes: 64 << 10,
        small_segment: 16 << 10,
        small_segments: 3,
        tiering: true,
    }
}

fn poll(task: &mut Task) -> Poll<()> {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls something that only waits for what polling it again brings about.
fn run<T>(f: impl Future<Output = T>) -> T {
    let mut f = std::pin::pin!(f);
    loop {
        if let Poll::Ready(t) = f.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return t;
        }
    }
}

/// Names the seed of a history that fails, wherever it does.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} failed: RUSHES_SEED={} runs it alone", self.0, self.0);
        }
    }
}

fn history(seed: u64, keep: bool) -> Told {
    let _named = Named(seed);
    let mut dice = Dice::new(seed ^ 0xfeed);
    let sim = Sim::new(seed);
    if keep {
        sim.disk.keep_log();
        sim.store.keep_log();
    }
    let mut world = sim.world.clone();
    if dice.once_in(2) {
        world.store = None;
    }
    let stored = world.store.is_some();
    let inner = Arc::new(MemoryCatalog::new(sim.world.clone()));
    let catalog = Arc::new(Flaky::catalog(inner, sim.disk.clone(), seed));
    let model = Arc::new(Mutex::new(Model::default()));
    let mut told = Told::default();
    let began = sim.world.clock.now();
    let lives = 2 + dice.below(4);
    // How far ahead of the time that goes by the wall clock is.
    let mut leap = Duration::ZERO;
    let mut opened = 0;
    while opened < lives {
        told.restarts += 1;
        assert!(told.restarts < 100, "seed {seed}: it never opens");
        // The power may go while it opens, too, and the store be away.
        sim.store.set_faults(StoreFaults { away: dice.once_in(4), ..StoreFaults::default() });
        let last = opened + 1 == lives;
        if last {
            sim.clock.set(sim.world.clock.now() - std::mem::take(&mut leap));
        }
        if !last && dice.once_in(3) {
            sim.disk.cut_after(dice.below(60) as u64);
        }
        // A disk that gets full, or a store that may not grow.
        let (policy, capacity) =
            if !last && dice.once_in(3) { crowded(&mut dice) } else { Default::default() };
        sim.disk.set_capacity(capacity);
        model.lock().unwrap().full |= policy != StorePolicy::default() || capacity.is_some();
        let keys = Arc::new(LocalKey::new(DataKey::new([3; 32])));
        // As it is started with, or as it is told later.
        let first = if last || dice.once_in(2) { policy } else { StorePolicy::default() };
        let limits = Limits {
            journal_backlog: 1 << (16 + dice.below(5)),
            backlog_wait: Duration::from_secs(dice.below(3) as u64),
            ..limits()
        };
        let parts = run(Parts::open(world.clone(), catalog.clone(), keys, limits, first, true));
        sim.store.set_faults(StoreFaults::default());
        let Parts { shared, mut committer, lease: _, strays } = match parts {
            Ok(p) => p,
            Err(e) => {
                assert!(sim.disk.is_off(), "seed {seed}: {e}");
                assert!(!matches!(e, OpenError::Damaged { .. }), "seed {seed}: {e}");
                sim.disk.restart();
                continue;
            }
        };
        if run(shared.load_rules()).is_err() {
            assert!(sim.disk.is_off(), "seed {seed}: rules cannot be read");
            sim.disk.restart();
            continue;
        }
        opened += 1;
        let log = Arc::new(LocalLog::driven(shared.clone()));
        if !sim.disk.is_off() {
            run(model::compare(&model, &log, seed, &sim.disk));
        }
        if last {
            settle(&log, &shared, &mut committer, strays.clone(), seed, &sim);
            run(model::compare(&model, &log, seed, &sim.disk));
            run(model::nothing_stays(&log, &shared, seed, &sim.world));
            if stored {
                run(nothing_is_left(&shared, &sim, strays, seed));
            }
            break;
        }
        if first != policy {
            log.set_store_policy(policy);
        }
        let mut tasks: Vec<Task> = Vec::new();
        for n in 0..2 + dice.below(4) as u64 {
            let c = client::Client::new(log.clone(), model.clone(), dice.roll(), n, told.restarts as u64);
            tasks.push(Box::pin(c.run(4 + dice.below(12))));
        }
        let s = shared.clone();
        tasks.push(Box::pin(async move {
            s.sweep(strays).await;
            s.sweep_rules().await;
            s.sweep_objects().await;
        }));
        if dice.once_in(2) {
            sim.store.set_faults(StoreFaults { fail: 5, late: 5, away: dice.once_in(6) });
        }
        if dice.once_in(2) {
            let often = 20 + dice.below(200) as u32;
            let pick = dice.below(3);
            sim.disk.set_faults(Faults {
                write: if pick == 0 { often } else { 0 },
                sync: if pick < 2 { often } else { 0 },
                names: if pick == 2 { often / 4 } else { 0 },
            });
        }
        catalog.steps.fail(if dice.once_in(2) { 6 } else { 0 });
        if dice.once_in(3) {
            sim.disk.cut_after(20 + dice.below(600) as u64);
        }
        // Some lives end in the middle.
        let steps = if dice.once_in(2) { dice.below(400) } else { 100_000 };
        let (mut ops, mut cuts): (Vec<Op>, _) = (Vec::new(), Vec::new());
        for _ in 0..steps {
            {
                let mut m = model.lock().unwrap();
                // As time has gone by, however the wall clock was set.
                m.latest = began + sim.world.clock.monotonic();
            }
            if tasks.is_empty() || sim.disk.is_off() {
                break;
            }
            match dice.below(tasks.len() + 3) {
                0 | 1 => {
                    shared.queue.take(&mut ops, &mut cuts, false);
                    committer.round(&mut ops, std::mem::take(&mut cuts));
                }
                2 => {
                    if dice.once_in(4) {
                        sim.clock.advance(Duration::from_millis(dice.below(3000) as u64));
                    } else if dice.once_in(6) {
                        // The wall clock steps back.
                        let now = sim.world.clock.now();
                        sim.clock.set(now - Duration::from_secs(dice.below(5) as u64));
                    } else if dice.once_in(30) {
                        // It leaps far ahead, or is set right again.
                        let right = sim.world.clock.now() - leap;
                        let far = Duration::from_secs((2 + dice.below(2000)) as u64 * 86_400);
                        leap = if leap.is_zero() { far } else { Duration::ZERO };
                        sim.clock.set(right + leap);
                    } else if dice.once_in(3) && tasks.len() < 8 {
                        let s = shared.clone();
                        tasks.push(Box::pin(async move { drop(s.enforce().await) }));
                    } else if dice.once_in(3) && tasks.len() < 8 {
                        let s = shared.clone();
                        tasks.push(match dice.below(4) {
                            0 => Box::pin(async move { _ = s.free_local(u64::MAX).await }),
                            1 => Box::pin(async move { drop(s.compact().await) }),
                            _ => Box::pin(async move { while let Ok(true) = s.store_step().await {} }),
                        });
                    } else if dice.once_in(3) && tasks.len() < 8 {
                        let s = shared.clone();
                        let scope = if dice.once_in(2) { Scope::All } else { Scope::Due };
                        tasks.push(Box::pin(async move { drop(s.flush(scope).await) }));
                    }
                }
                n => {
                    // Whoever waits may give up at any moment.
                    if dice.once_in(150) || poll(&mut tasks[n - 3]).is_ready() {
                        drop(tasks.swap_remove(n - 3));
                    }
                }
            }
        }
        drop(tasks);
        model.lock().unwrap().creating.clear();
        let stats = shared.stats();
        told.uploads += stats.uploads;
        told.compacted += stats.compacted;
        log.die();
        drop((log, committer, shared, ops));
        sim.disk.set_faults(Faults::default());
        catalog.steps.fail(0);
        if sim.disk.is_off() || dice.once_in(2) {
            sim.disk.restart();
        } else {
            sim.disk.restart_process();
        }
    }
    told.trace = sim.disk.trace();
    told.calls = sim.disk.calls();
    {
        let m = model.lock().unwrap();
        (told.acknowledged, told.removed, told.merged) = (m.acknowledged, m.removed, m.opened[3]);
        told.forgotten = m.forgotten.len();
    }
    told.log = sim.disk.take_log();
    told.log.extend(sim.store.take_log());
    told
}

/// When all is well again, files and objects are those that the catalog knows.
async fn nothing_is_left(shared: &Arc<Shared>, sim: &Sim, strays: Vec<([u8; 16], bool)>, seed: u64) {
    shared.sweep(strays).await;
    while shared.store_step().await.unwrap_or_else(|e| panic!("seed {seed}: {e}")) {}
    shared.sweep_objects().await;
    while shared.store_step().await.unwrap_or_else(|e| panic!("seed {seed}: {e}")) {}
    assert_eq!(shared.uploads.backlog(), 0, "seed {seed}");
    let rows = shared.catalog.segments(None, usize::MAX).await.unwrap();
    let wanted: BTreeMap<String, u64> = rows.iter().map(|r| (crate::objects::key(&r.id), r.bytes)).collect();
    assert!(rows.iter().all(|r| r.state == SegmentState::Stored), "seed {seed}: something waits still");
    let mut objects: BTreeMap<String, u64> =
        sim.store.objects().into_iter().map(|o| (o.key, o.len)).collect();
    objects.remove("rushes-store");
    assert_eq!(objects, wanted, "seed {seed}: the store and the catalog differ");
    for e in sim.disk.list("segments").unwrap() {
        let name = format!("segments/{}", e.name);
        assert!(name.ends_with(".open") || wanted.contains_key(&name), "seed {seed}: {name} is nobody's");
    }
}

/// Lets everything come to rest, on a healthy disk.
fn settle(
    log: &Arc<LocalLog>,
    shared: &Arc<Shared>,
    committer: &mut Committer,
    strays: Vec<([u8; 16], bool)>,
    seed: u64,
    sim: &Sim,
) {
    let (l, s) = (log.clone(), shared.clone());
    let mut task: Task = Box::pin(async move {
        s.sweep(strays).await;
        s.sweep_rules().await;
        s.finish_trims().await;
        l.flush().await.expect("a healthy disk takes it");
        for _ in 0..3 {
            s.enforce().await.expect("a healthy disk does it");
            l.flush().await.expect("a healthy disk takes it");
        }
    });
    let (mut ops, mut cuts) = (Vec::new(), Vec::new());
    for _ in 0..1_000_000 {
        if poll(&mut task).is_ready() {
            return;
        }
        shared.queue.take(&mut ops, &mut cuts, false);
        committer.round(&mut ops, std::mem::take(&mut cuts));
    }
    assert!(sim.disk.is_off(), "seed {seed}: it never comes to rest");
}

/// What a small store on a small disk is told, and how small the disk is.
fn crowded(dice: &mut Dice) -> (StorePolicy, Option<u64>) {
    let policy = StorePolicy {
        bytes: dice.once_in(2).then(|| 20_000 + dice.below(100_000) as u64),
        free_floor: dice.below(80_000) as u64,
        reserve: if dice.once_in(2) { 96 << 10 } else { 0 },
        trust_clock: false,
    };
    let capacity = 200_000 + dice.below(800_000) as u64;
    (policy, dice.once_in(2).then_some(capacity))
}

fn stream(n: u64) -> StreamUid {
    StreamUid([n as u8 + 1; 16])
}

/// So many, or so many where there are hours; `RUSHES_SEED=n`: that one alone, `RUSHES_SEED=n..`: from there on.
fn seeds_of(few: u64, many: u64) -> std::ops::Range<u64> {
    let n = if std::env::var_os("RUSHES_SOAK").is_some() { many } else { few };
    let Ok(wanted) = std::env::var("RUSHES_SEED") else { return 0..n };
    let number = |s: &str| s.parse::<u64>().expect("RUSHES_SEED is a number, perhaps with .. behind it");
    match wanted.strip_suffix("..") {
        Some(from) => number(from)..n,
        None => number(&wanted)..number(&wanted) + 1,
    }
}

fn seeds() -> std::ops::Range<u64> {
    seeds_of(20_000, 1_000_000)
}

#[test]
fn what_was_acknowledged_survives_every_history() {
    let (mut acknowledged, mut removed, mut restarts, mut calls) = (0, 0, 0, 0);
    let (mut uploads, mut compacted, mut merged, mut forgotten) = (0, 0, 0, 0);
    for seed in seeds() {
        let told = history(seed, false);
        acknowledged += told.acknowledged;
        removed += told.removed;
        restarts += told.restarts;
        calls += told.calls;
        uploads += told.uploads;
        compacted += told.compacted;
        merged += told.merged;
        forgotten += told.forgotten;
    }
    println!(
        "{acknowledged} acknowledged, {removed} removed, {restarts} restarts, {calls} disk calls, {uploads} uploads, {compacted} compacted, {merged} merges, {forgotten} forgotten"
    );
    let n = seeds().count();
    if n > 1 {
        assert!(removed > n / 10, "hardly anything was removed: {removed}");
        assert!(acknowledged > n * 5, "hardly anything was acknowledged: {acknowledged}");
        assert!(uploads > n as u64 / 5, "hardly anything was stored: {uploads}");
        assert!(compacted > n as u64 / 10, "hardly anything was compacted: {compacted}");
        assert!(merged > n / 20, "hardly any shards were split and merged again: {merged}");
        assert!(forgotten > n / 20, "hardly any shards were forgotten: {forgotten}");
    }
}

#[test]
fn the_same_seed_does_the_same_twice() {
    for seed in 0..20 {
        let (a, b) = (history(seed, true), history(seed, true));
        if a != b {
            let at = a.log.iter().zip(&b.log).position(|(x, y)| x != y);
            panic!(
                "seed {seed}: differs at call {at:?}: {:?} {:?}",
                at.map(|i| &a.log[i]),
                at.map(|i| &b.log[i])
            );
        }
        assert!(!a.log.is_empty());
    }
}
