//! What clients were told, and what must therefore be there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use catalog::RunQuery;
use world::{ShardId, StreamUid, Timestamp, World, sim::SimDisk};

use crate::{
    Item, LocalLog, Log, LogError, OnFull, Query,
    open_segment::{DIR, closed_name},
    shared::Shared,
};

/// A record as `(content)`, a payload with its content too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    Record(Bytes),
    Payload(Bytes),
}

#[derive(Debug, Default)]
pub struct ShardModel {
    /// Somebody was told that it is there.
    pub told: bool,
    /// Acknowledged, or read by somebody.
    pub kept: BTreeMap<u64, Kept>,
    /// What has been sent and not been acknowledged: may be there, once.
    pub maybe: BTreeSet<Bytes>,
    /// When what is kept arrived.
    pub arrivals: BTreeMap<u64, Timestamp>,
    /// What somebody saw of a pinned range after it was pinned, by pin.
    pub pinned: BTreeMap<String, BTreeSet<u64>>,
    pub trimmed: u64,
    pub maybe_trimmed: u64,
    pub closed: Option<u64>,
    pub maybe_closed: bool,
    /// The highest position that anybody was told of.
    pub highest: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Model {
    pub shards: BTreeMap<ShardId, ShardModel>,
    /// How many are at creating it: a deletion waits for that, as whoever names streams sees to.
    pub creating: BTreeMap<StreamUid, usize>,
    pub deleted: BTreeSet<StreamUid>,
    pub maybe_deleted: BTreeSet<StreamUid>,
    pub acknowledged: usize,
    /// What retention may have been told to do.
    pub ages: BTreeMap<StreamUid, Duration>,
    pub overwriting: BTreeSet<StreamUid>,
    pub budgets: BTreeSet<StreamUid>,
    /// The store, or the disk, may have been too full.
    pub full: bool,
    /// The latest that a clock that is right may have shown.
    pub latest: Timestamp,
    /// Pins that somebody wanted gone.
    pub unpinned: BTreeSet<String>,
    /// Removed by retention.
    pub removed: usize,
    /// Shards that somebody wanted forgotten, and those that are: none of them is seen again.
    pub maybe_forgotten: BTreeSet<ShardId>,
    pub forgotten: BTreeSet<ShardId>,
    /// How often each shard was opened after its parents.
    pub opened: [usize; LINEAGE.len()],
}

/// The parents of each shard of a stream: a split, and a merge of what came of it.
pub const LINEAGE: [&[u32]; 4] = [&[], &[0], &[0], &[1, 2]];

impl Model {
    pub fn shard(&mut self, id: ShardId) -> &mut ShardModel {
        self.shards.entry(id).or_default()
    }
    /// Somebody was told, or shown, that this is there.
    pub fn keep(&mut self, id: ShardId, position: u64, at: Timestamp, what: Kept) {
        self.shard(id).arrivals.insert(position, at);
        let s = self.shard(id);
        let (Kept::Record(content) | Kept::Payload(content)) = &what;
        s.maybe.remove(content);
        s.told = true;
        s.highest = s.highest.max(Some(position));
        let old = s.kept.insert(position, what.clone());
        assert!(old.is_none() || old.as_ref() == Some(&what), "position {position} of {id} was two things");
    }
}

impl Model {
    /// Whether retention may have removed this.
    fn may_go(&self, id: ShardId, position: u64) -> bool {
        let Some(s) = self.shards.get(&id) else { return false };
        if s.pinned.values().any(|p| p.contains(&position)) {
            return false;
        }
        let aged = match (self.ages.get(&id.stream), s.arrivals.get(&position)) {
            (Some(age), Some(at)) => *at + *age < self.latest,
            _ => false,
        };
        aged || self.overwriting.contains(&id.stream) && (self.full || self.budgets.contains(&id.stream))
    }
}

impl Model {
    /// A shard is not there any more, as somebody wanted: nothing was lost by it.
    pub fn is_forgotten(&mut self, id: ShardId) {
        let s = self.shard(id);
        assert!(s.closed.is_some() || s.maybe_closed, "{id} was forgotten, and nobody closed it");
        let trim = s.trimmed.max(s.maybe_trimmed);
        let beyond: Vec<u64> = s.kept.range(trim..).map(|k| *k.0).collect();
        for p in beyond {
            assert!(self.may_go(id, p), "{id} was forgotten with {p} in it");
        }
        self.forgotten.insert(id);
    }
}

/// Something that was read: position, arrival, content.
pub type Found = (u64, Timestamp, Kept);

/// Everything of a shard from a position on. Stops at what can be read no more (the power went).
pub async fn read_all(log: &LocalLog, id: ShardId, mut from: u64) -> Result<Vec<Found>, LogError> {
    let mut out = Vec::new();
    loop {
        let page = log.read(id, from, 7, 5000).await?;
        if page.items.is_empty() {
            return Ok(out);
        }
        from = page.next;
        for i in page.items {
            match i {
                Item::Record(r) => out.push((r.position, r.arrival, Kept::Record(r.data))),
                Item::Payload(p) => {
                    let data = log.read_payload(&p, 0..u64::MAX).await?;
                    assert_eq!(data.len() as u64, p.len);
                    out.push((p.position, p.arrival, Kept::Payload(data)));
                }
            }
        }
    }
}

pub async fn compare(model: &Arc<Mutex<Model>>, log: &LocalLog, seed: u64, disk: &SimDisk) {
    let ids: BTreeSet<ShardId> = {
        let m = model.lock().unwrap();
        m.shards.keys().copied().collect()
    };
    for id in ids {
        let head = log.watch(id).map(|w| *w.borrow());
        let found = match head {
            Err(_) => None,
            Ok(h) => match read_all(log, id, h.oldest).await {
                Ok(f) => Some((h, f)),
                Err(_) if disk.is_off() => return,
                Err(e) => panic!("seed {seed}: {id}: {e}"),
            },
        };
        let lineage = log.shards(id.stream).await.unwrap_or_default();
        if let Some((_, parents)) = lineage.iter().find(|(s, _)| *s == id) {
            assert_eq!(parents, LINEAGE[id.shard as usize], "seed {seed}: the parents of {id}");
            for p in parents {
                // It may not be there any more, and is not if it is not known.
                let p = ShardId { shard: *p, ..id };
                let of = log.watch(p);
                if of.is_err() && model.lock().unwrap().maybe_forgotten.contains(&p) {
                    continue;
                }
                assert!(of.is_ok_and(|h| h.borrow().closed), "seed {seed}: {id} before the end of {p}");
            }
        }
        let Some(payloads) = check(model, id, found, seed) else { continue };
        match log.payloads(id, Query::Positions(0, u64::MAX), usize::MAX, false).await {
            Ok(all) => {
                let all: Vec<u64> = all.iter().map(|p| p.position).collect();
                assert_eq!(all, payloads, "seed {seed}: {id}");
            }
            Err(e) => assert!(disk.is_off(), "seed {seed}: {id}: {e}"),
        }
    }
}

/// Compares one shard; returns the positions of its payloads. `None` if it is rightly gone.
fn check(
    model: &Mutex<Model>,
    id: ShardId,
    found: Option<(crate::Head, Vec<Found>)>,
    seed: u64,
) -> Option<Vec<u64>> {
    let mut guard = model.lock().unwrap();
    let m = &mut *guard;
    let Some((head, found)) = found else {
        let may_be_gone = m.maybe_deleted.contains(&id.stream);
        if !may_be_gone && m.shard(id).told && m.maybe_forgotten.contains(&id) {
            m.is_forgotten(id);
            return None;
        }
        // A stream is created in two steps; what was never told to be there need not be.
        assert!(may_be_gone || !m.shard(id).told, "seed {seed}: {id} is gone");
        return None;
    };
    assert!(!m.deleted.contains(&id.stream), "seed {seed}: {id} was deleted and is back");
    assert!(!m.forgotten.contains(&id), "seed {seed}: {id} was forgotten and is back");
    // What retention took, and what is below a trim point of its own.
    let there: BTreeSet<u64> = found.iter().map(|f| f.0).collect();
    let s = m.shard(id);
    let trim = s.trimmed.max(s.maybe_trimmed);
    let missing: Vec<u64> =
        s.kept.range(trim.min(head.oldest)..).map(|k| *k.0).filter(|p| !there.contains(p)).collect();
    let mut by_retention = false;
    for p in missing {
        if p < trim && p < head.oldest {
            continue;
        }
        if m.may_go(id, p) {
            m.removed += 1;
            by_retention = true;
            m.shard(id).kept.remove(&p);
        }
    }
    // Nobody knows of what was never acknowledged.
    by_retention |= m.ages.contains_key(&id.stream) || m.overwriting.contains(&id.stream);
    let s = m.shard(id);
    s.told = true;
    let most = s.trimmed.max(s.maybe_trimmed);
    assert!(
        head.oldest >= s.trimmed && (head.oldest <= most || by_retention),
        "seed {seed}: {id}: {head:?}, trimmed {} {most}",
        s.trimmed
    );
    assert!(
        s.highest.is_none_or(|h| head.next > h),
        "seed {seed}: {id}: {head:?} but {:?} was told",
        s.highest
    );
    if let Some(end) = s.closed {
        assert!(head.closed && head.next == end, "seed {seed}: {id}: {head:?}, closed at {end}");
    } else {
        assert!(!head.closed || s.maybe_closed, "seed {seed}: {id} closed itself");
    }
    let mut arrival = Timestamp::MIN;
    let mut before = None;
    let mut seen = BTreeMap::new();
    for (position, at, what) in found {
        assert!(Some(position) > before, "seed {seed}: {id}: out of order at {position}");
        assert!(at >= arrival, "seed {seed}: {id}: arrival fell at {position}");
        (before, arrival) = (Some(position), at);
        let (Kept::Record(content) | Kept::Payload(content)) = &what;
        match s.kept.get(&position) {
            Some(k) => assert!(*k == what, "seed {seed}: {id}: {position} changed"),
            // Not acknowledged, but there: from here on it must stay.
            None => {
                assert!(
                    s.maybe.remove(content),
                    "seed {seed}: {id}: {position} was never sent, or is there twice"
                );
                s.kept.insert(position, what.clone());
                s.arrivals.insert(position, at);
                s.highest = s.highest.max(Some(position));
            }
        }
        seen.insert(position, ());
    }
    for position in s.kept.range(most.min(head.oldest)..).map(|k| *k.0) {
        let trimmed = position < most && position < head.oldest;
        assert!(
            trimmed || seen.contains_key(&position),
            "seed {seed}: {id}: {position} was acknowledged and is gone"
        );
    }
    // What the restart made of the unknown is settled now.
    s.trimmed = head.oldest;
    s.maybe_trimmed = head.oldest;
    if head.closed {
        s.closed = Some(head.next);
    }
    let payloads: Vec<u64> =
        s.kept.range(head.oldest..).filter(|k| matches!(k.1, Kept::Payload(_))).map(|k| *k.0).collect();
    Some(payloads)
}

/// After a pass on a log at rest nothing stays that the rules do not allow, and no file that nobody knows.
pub async fn nothing_stays(log: &LocalLog, shared: &Shared, seed: u64, world: &World) {
    let now = world.clock.now();
    let mut uids: Vec<StreamUid> = shared.shards(None).iter().map(|s| s.id.stream).collect();
    uids.dedup();
    for uid in uids {
        let (rule, pins) = (log.retention(uid).await.unwrap(), log.pins(uid).await.unwrap());
        if !pins.is_empty() {
            continue;
        }
        if let (Some(budget), OnFull::Overwrite) = (rule.bytes, rule.on_full) {
            let held = log.stored_bytes(Some(uid)).await.unwrap();
            assert!(held <= budget, "seed {seed}: {uid} holds {held} of {budget}");
        }
        let Some(age) = rule.age else { continue };
        for (id, _) in log.shards(uid).await.unwrap() {
            // What is in a segment goes with the latest of it.
            for r in shared.catalog.runs(id, RunQuery::Positions((0, u64::MAX))).await.unwrap() {
                assert!(r.arrival.1 + age >= now, "seed {seed}: {id}: {} to {} is too old", r.first, r.end);
            }
        }
    }
    let rows = shared.catalog.shards(None).await.unwrap();
    let shards: Vec<ShardId> = shared.shards(None).iter().map(|s| s.id).collect();
    assert!(rows.iter().map(|r| r.shard).eq(shards), "seed {seed}: rows of the catalog differ: {rows:?}");
    let rows = shared.catalog.segments(None, usize::MAX).await.unwrap();
    let known: BTreeSet<String> = rows.iter().map(|r| closed_name(&r.id)).collect();
    let files = world.disk.list(DIR).unwrap().into_iter().map(|e| format!("{DIR}/{}", e.name));
    let files: BTreeSet<String> = files.collect();
    assert!(files.is_subset(&known), "seed {seed}: files {files:?}, and segments of the catalog {known:?}");
    // What the store has need not be here.
    assert!(shared.world.store.is_some() || files == known, "seed {seed}: files are missing");
}
