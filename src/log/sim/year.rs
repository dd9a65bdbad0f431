//! A year of cameras, hours to days a step: recording, uploads, compaction, retention by age, by bytes and for the whole
//! store, pins, new keys, a store that is away, starts after a stop, a crash and a power cut. At the end index, holes,
//! bytes and objects agree, and a verification finds nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use catalog::{Catalog as _, RunQuery};
use seal::{DataKey, LocalKey};
use world::{
    ShardId, Timestamp,
    sim::{Dice, Sim, StoreFaults},
};

use super::{
    driven::Driven,
    limits,
    model::{Kept, nothing_stays, read_all},
    nothing_is_left, seeds_of, stream,
};
use crate::{Archive, Limits, LocalLog, Log, LogError, OnFull, Query, Retention, Seen, StorePolicy, Verify};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What was told of one stream.
struct Camera {
    id: ShardId,
    rule: Retention,
    /// Small records rather than fragments.
    records: bool,
    /// Acknowledged, or seen, and not known to be gone: when it arrived, and what it is.
    kept: BTreeMap<u64, (Timestamp, Kept)>,
    /// Sent, with an outcome that nobody knows.
    maybe: Vec<Kept>,
    /// What was there of a pinned range once it was pinned.
    pins: BTreeMap<String, BTreeSet<u64>>,
    highest: Option<u64>,
}

impl Camera {
    fn new(n: u64, rule: Retention, records: bool) -> Camera {
        let id = ShardId { stream: stream(n), shard: 0 };
        let (kept, maybe, pins) = Default::default();
        Camera { id, rule, records, kept, maybe, pins, highest: None }
    }

    fn may_go(&self, position: u64, at: Timestamp, now: Timestamp, total: bool) -> bool {
        !self.pins.values().any(|p| p.contains(&position))
            && (self.rule.age.is_some_and(|age| at + age < now)
                || self.rule.on_full == OnFull::Overwrite && (self.rule.bytes.is_some() || total))
    }

    /// Compares what is there with what was told.
    async fn check(&mut self, log: &LocalLog, now: Timestamp, total: bool, what: &str) {
        let id = self.id;
        let head = *log.watch(id).unwrap().borrow();
        assert!(
            self.highest.is_none_or(|h| h < head.next),
            "{what}: {id}: {head:?}, {:?} was told",
            self.highest
        );
        let found = read_all(log, id, head.oldest).await.unwrap_or_else(|e| panic!("{what}: {id}: {e}"));
        let there: BTreeMap<u64, (Timestamp, Kept)> = found.into_iter().map(|f| (f.0, (f.1, f.2))).collect();
        let mut arrival = Timestamp::MIN;
        for (p, (at, k)) in &there {
            assert!(*at >= arrival, "{what}: {id}: arrival fell at {p}");
            arrival = *at;
            match self.kept.get(p) {
                Some(old) => assert!(old == &(*at, k.clone()), "{what}: {id}: {p} changed"),
                None => {
                    let n = self.maybe.iter().position(|m| m == k);
                    let n =
                        n.unwrap_or_else(|| panic!("{what}: {id}: {p} was never sent, or is there twice"));
                    self.maybe.swap_remove(n);
                    self.highest = self.highest.max(Some(*p));
                }
            }
        }
        let mut removed = BTreeSet::new();
        for (p, (at, _)) in &self.kept {
            if !there.contains_key(p) {
                assert!(self.may_go(*p, *at, now, total), "{what}: {id}: {p} of {at:?} is gone");
                removed.insert(*p);
            }
        }
        // Holes are told of where something was between what is there.
        if let (Some(first), Some(last)) = (there.keys().next(), there.keys().next_back()) {
            let gaps = log.gaps(id, *first, *last).await.unwrap();
            let within = |p: &u64| gaps.iter().any(|(a, b)| (*a..*b).contains(p));
            for p in removed.iter().filter(|p| (first..=last).contains(p)) {
                assert!(within(p), "{what}: {id}: {p} is gone, and no hole tells of it: {gaps:?}");
            }
            assert!(!there.keys().any(within), "{what}: {id}: {gaps:?} are said to be holes");
        }
        let listed = log.payloads(id, Query::Positions(0, u64::MAX), usize::MAX, false).await.unwrap();
        let payloads = there.iter().filter(|t| matches!(t.1.1, Kept::Payload(_))).map(|t| *t.0);
        assert!(listed.iter().map(|p| p.position).eq(payloads), "{what}: {id}: the index differs");
        self.kept = there;
    }
}

struct Year {
    sim: Sim,
    dice: Dice,
    limits: Limits,
    policy: StorePolicy,
    cameras: Vec<Camera>,
    d: Option<Driven>,
    sent: u64,
    told: Told,
}

/// What happened, to see that something did.
#[derive(Default, Debug)]
struct Told {
    appended: u64,
    starts: u64,
    cuts: u64,
    compacted: u64,
    removed: u64,
    rotated: u64,
}

impl Year {
    fn new(seed: u64) -> Year {
        let (sim, mut dice) = (Sim::new(seed), Dice::new(seed ^ 0x9ea2));
        let limits = Limits {
            segment_bytes: 16 << 10,
            small_segment: 4 << 10,
            segment_age: 12 * HOUR,
            cache_bytes: if dice.once_in(2) { 0 } else { 32 << 10 },
            ..limits()
        };
        let over = OnFull::Overwrite;
        let mut cameras = vec![
            Camera::new(0, Retention { age: Some(30 * DAY), bytes: None, on_full: over }, false),
            Camera::new(1, Retention { age: None, bytes: Some(60_000), on_full: over }, false),
            Camera::new(2, Retention { age: Some(90 * DAY), bytes: Some(200_000), on_full: over }, false),
            Camera::new(3, Retention { age: Some(10 * DAY), ..Retention::default() }, true),
        ];
        if dice.once_in(2) {
            cameras.push(Camera::new(4, Retention::default(), true));
        }
        let bytes = dice.once_in(2).then(|| 150_000 + dice.below(100_000) as u64);
        let policy = StorePolicy { bytes, ..StorePolicy::default() };
        let mut d = Driven::new(&sim.world, limits.clone(), policy);
        for c in &cameras {
            let l = d.log.clone();
            d.go(l.create_stream(c.id.stream)).unwrap();
            d.go(l.set_retention(c.id.stream, c.rule)).unwrap();
        }
        Year { sim, dice, limits, policy, cameras, d: Some(d), sent: 0, told: Told::default() }
    }

    fn d(&mut self) -> &mut Driven {
        self.d.as_mut().expect("it runs")
    }

    /// What a camera sends at one moment.
    fn record(&mut self, n: usize) {
        self.sent += 1;
        let len = 50 + self.dice.below(if self.cameras[n].records { 200 } else { 3000 });
        let mut v = self.sent.to_le_bytes().to_vec();
        v.resize(len, self.sent as u8);
        let (content, id, records): (Bytes, _, _) = (v.into(), self.cameras[n].id, self.cameras[n].records);
        let at = self.sim.world.clock.now();
        let (l, c) = (self.d().log.clone(), content.clone());
        let done = self.d().go(async move {
            if records {
                return l.append(id, vec![c]).await;
            }
            let mut w = l.payload(id).await?;
            w.write(&c).await?;
            w.commit((at - Duration::from_secs(2), at), c.slice(..8)).await
        });
        let kept = if records { Kept::Record(content) } else { Kept::Payload(content) };
        let camera = &mut self.cameras[n];
        match done {
            Ok(c) => {
                camera.kept.insert(c.first, (c.arrival, kept));
                camera.highest = camera.highest.max(Some(c.first));
                self.told.appended += 1;
            }
            Err(LogError::Unknown(_)) => camera.maybe.push(kept),
            // The power went, or there is no room: nothing was written.
            Err(_) => {}
        }
    }

    /// What goes on beside; failures are those of the store or of the power.
    fn work(&mut self) {
        let s = self.d().shared.clone();
        let l = self.d().log.clone();
        let compact = self.dice.once_in(3);
        self.d().go(async move {
            let _ = l.flush().await;
            while let Ok(true) = s.store_step().await {}
            if compact {
                while let Ok(true) = s.compact().await {}
            }
            let _ = s.enforce().await;
            while let Ok(true) = s.store_step().await {}
        });
    }

    fn pin(&mut self) {
        let n = self.dice.below(self.cameras.len());
        let back = Duration::from_secs(self.dice.below(20 * 86_400) as u64);
        let from = self.sim.world.clock.now() - back;
        let to = from + Duration::from_secs(self.dice.below(3 * 86_400) as u64);
        let id = self.cameras[n].id;
        let l = self.d().log.clone();
        let Ok(pin) = self.d().go(l.pin(id.stream, from, to, "")) else { return };
        let found = self.d().go(async {
            let oldest = l.watch(id).unwrap().borrow().oldest;
            read_all(&l, id, oldest).await
        });
        let Ok(found) = found else { return };
        let inside = found.iter().filter(|f| from <= f.1 && f.1 <= to).map(|f| f.0).collect();
        self.cameras[n].pins.insert(pin.id, inside);
    }

    fn unpin(&mut self) {
        let n = self.dice.below(self.cameras.len());
        let (l, stream) = (self.d().log.clone(), self.cameras[n].id.stream);
        let Some(pin) = self.d().go(l.pins(stream)).unwrap_or_default().into_iter().next() else { return };
        self.cameras[n].pins.remove(&pin.id);
        let _ = self.d().go(l.unpin(stream, &pin.id));
    }

    /// Ends it, in one way or another, and starts it again.
    fn restart(&mut self, what: &str) {
        let stats = self.d().log.stats();
        self.told.compacted += stats.compacted;
        let r = stats.removed;
        self.told.removed += r.age + r.stream + r.store;
        let catalog = self.d.take().expect("it runs").kill();
        let mut cut = self.sim.disk.is_off();
        loop {
            if cut {
                self.told.cuts += 1;
                self.sim.disk.restart();
            } else {
                self.sim.disk.restart_process();
            }
            // Off for a night, at times for weeks.
            if self.dice.once_in(3) {
                let days = if self.dice.once_in(4) { 20 } else { 1 };
                self.sim.clock.advance(DAY * days / 2);
            }
            if self.dice.once_in(4) {
                self.sim.disk.cut_after(self.dice.below(60) as u64);
            }
            let opened = Driven::open(&self.sim.world, catalog.clone(), self.limits.clone(), self.policy);
            match opened {
                Ok(d) => break self.d = Some(d),
                Err(e) => assert!(self.sim.disk.is_off(), "{what}: {e}"),
            }
            cut = true;
        }
        self.told.starts += 1;
        if self.sim.disk.is_off() {
            return self.restart(what);
        }
        // A cut that was announced for the opening is called off.
        self.sim.disk.cut_after(u64::MAX / 2);
        let s = self.d().shared.clone();
        let strays = self.d().strays.clone();
        self.d().go(async move {
            s.sweep(strays).await;
            s.sweep_rules().await;
            s.finish_trims().await;
            s.sweep_objects().await;
        });
        self.check(what);
    }

    fn check(&mut self, what: &str) {
        let (now, total) = (self.sim.world.clock.now(), self.policy.bytes.is_some());
        let mut cameras = std::mem::take(&mut self.cameras);
        let l = self.d().log.clone();
        for c in &mut cameras {
            self.d().go(c.check(&l, now, total, what));
        }
        self.cameras = cameras;
    }

    /// One step: hours to days.
    fn step(&mut self) {
        let hours = if self.dice.once_in(8) { 24 + self.dice.below(48) } else { 1 + self.dice.below(12) };
        self.sim.clock.advance(HOUR * hours as u32);
        let away = self.dice.once_in(12);
        let fail = if self.dice.once_in(6) { 4 } else { 0 };
        self.sim.store.set_faults(StoreFaults { fail, late: fail, away });
        if self.dice.once_in(25) {
            self.sim.disk.cut_after(self.dice.below(300) as u64);
        }
        for n in 0..self.cameras.len() {
            for _ in 0..self.dice.below(4) {
                self.record(n);
            }
        }
        match self.dice.below(30) {
            0 => self.pin(),
            1 | 2 => self.unpin(),
            3 => {
                let n = self.dice.below(self.cameras.len());
                let (l, stream) = (self.d().log.clone(), self.cameras[n].id.stream);
                self.told.rotated += u64::from(self.d().go(l.rotate_key(stream)).is_ok());
            }
            _ => {}
        }
        self.work();
        self.sim.store.set_faults(StoreFaults::default());
        let stop = self.dice.once_in(25);
        if self.sim.disk.is_off() || stop {
            let what = format!("start {}", self.told.starts + 1);
            self.restart(&what);
        }
    }

    /// All comes to rest; then everything agrees.
    fn end(mut self, seed: u64) -> Told {
        self.sim.disk.cut_after(u64::MAX / 2);
        // Long enough for a clock to be believed again.
        for _ in 0..9 {
            self.sim.clock.advance(DAY);
            self.work();
        }
        self.check("at the end");
        for n in 0..self.cameras.len() {
            let (l, stream) = (self.d().log.clone(), self.cameras[n].id.stream);
            for pin in self.d().go(l.pins(stream)).unwrap() {
                self.cameras[n].pins.remove(&pin.id);
                assert!(self.d().go(l.unpin(stream, &pin.id)).unwrap());
            }
        }
        for _ in 0..3 {
            self.work();
        }
        self.check("without pins");
        let (sim, d) = (&self.sim, self.d.as_mut().expect("it runs"));
        let (s, l, strays) = (d.shared.clone(), d.log.clone(), d.strays.clone());
        d.go(nothing_is_left(&s, sim, strays, seed));
        d.go(nothing_stays(&l, &s, seed, &sim.world));
        let (mut all, mut of) = (0, BTreeMap::<[u8; 16], u64>::new());
        for c in &self.cameras {
            let runs = d.go(d.catalog.clone().runs(c.id, RunQuery::Positions((0, i64::MAX as u64)))).unwrap();
            let bytes: u64 = runs.iter().map(|r| r.bytes).sum();
            assert_eq!(d.go(l.stored_bytes(Some(c.id.stream))).unwrap(), bytes, "seed {seed}: {}", c.id);
            assert!(c.rule.bytes.is_none_or(|b| bytes <= b), "seed {seed}: {} holds {bytes}", c.id);
            all += bytes;
            runs.iter().for_each(|r| *of.entry(r.segment).or_default() += r.bytes);
        }
        assert_eq!(d.go(l.stored_bytes(None)).unwrap(), all, "seed {seed}");
        let rows = d.go(d.catalog.clone().segments(None, usize::MAX)).unwrap();
        let without: Vec<_> = rows.iter().filter(|r| !of.contains_key(&r.id)).collect();
        assert!(without.is_empty(), "seed {seed}: nothing is in {without:?}");
        assert!(
            rows.iter().map(|r| r.id).eq(of.keys().copied()),
            "seed {seed}: segments without runs, or the other way"
        );
        assert!(rows.iter().all(|r| of[&r.id] < r.bytes), "seed {seed}: runs are larger than their segments");
        let stats = l.stats();
        self.told.compacted += stats.compacted;
        self.told.removed += stats.removed.age + stats.removed.stream + stats.removed.store;
        self.verify(seed);
        self.told
    }

    fn verify(&mut self, seed: u64) {
        let catalog = self.d.take().expect("it runs").kill();
        self.sim.disk.restart_process();
        let world = self.sim.world.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut findings = Vec::new();
        let mut tell = |s| {
            if let Seen::Finding(f) = s {
                findings.push(f);
            }
        };
        let report = runtime.block_on(async {
            let keys = LocalKey::new(DataKey::new([3; 32]));
            let a = Arc::new(Archive::open(world, catalog, &keys).await.unwrap());
            a.verify(Verify { alone: true, resume: false }, &mut tell).await.unwrap()
        });
        assert_eq!((report.damaged, report.unchecked), (0, 0), "seed {seed}: {findings:?}");
    }
}

fn year(seed: u64) -> Told {
    let _named = super::Named(seed);
    let mut y = Year::new(seed);
    let end = y.sim.world.clock.now() + 365 * DAY;
    while y.sim.world.clock.now() < end {
        y.step();
    }
    y.end(seed)
}

#[test]
fn after_a_year_index_holes_bytes_and_objects_agree() {
    let mut all = Told::default();
    for seed in seeds_of(5, 2000) {
        let t = year(seed);
        all.appended += t.appended;
        all.starts += t.starts;
        all.cuts += t.cuts;
        all.compacted += t.compacted;
        all.removed += t.removed;
        all.rotated += t.rotated;
    }
    println!("{all:?}");
    assert!(all.appended > 1000 && all.starts > 10 && all.cuts > 3, "{all:?}");
    assert!(all.compacted > 50 && all.removed > 100_000 && all.rotated > 5, "{all:?}");
}

/// A soak found it: records that had gone from behind a pin were still read from memory.
#[test]
fn what_retention_took_from_the_middle_is_not_read_from_memory() {
    year(249);
}
