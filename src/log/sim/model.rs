//! What clients were told, and what must therefore be there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use world::{ShardId, StreamUid, Timestamp, sim::SimDisk};

use crate::{Item, LocalLog, Log, LogError, Query};

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
}

impl Model {
    pub fn shard(&mut self, id: ShardId) -> &mut ShardModel {
        self.shards.entry(id).or_default()
    }
    /// Somebody was told, or shown, that this is there.
    pub fn keep(&mut self, id: ShardId, position: u64, what: Kept) {
        let s = self.shard(id);
        let (Kept::Record(content) | Kept::Payload(content)) = &what;
        s.maybe.remove(content);
        s.told = true;
        s.highest = s.highest.max(Some(position));
        let old = s.kept.insert(position, what.clone());
        assert!(old.is_none() || old.as_ref() == Some(&what), "position {position} of {id} was two things");
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
        // A stream is created in two steps; what was never told to be there need not be.
        assert!(may_be_gone || !m.shard(id).told, "seed {seed}: {id} is gone");
        return None;
    };
    assert!(!m.deleted.contains(&id.stream), "seed {seed}: {id} was deleted and is back");
    let s = m.shard(id);
    s.told = true;
    let most = s.trimmed.max(s.maybe_trimmed);
    assert!(
        head.oldest >= s.trimmed && head.oldest <= most,
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
                s.highest = s.highest.max(Some(position));
            }
        }
        seen.insert(position, ());
    }
    for position in s.kept.range(head.oldest..).map(|k| *k.0) {
        assert!(seen.contains_key(&position), "seed {seed}: {id}: {position} was acknowledged and is gone");
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
