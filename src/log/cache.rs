//! Which stored segments have their files here still, by use and bounded in bytes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use crate::{entry::SegmentId, keys::lock};

#[derive(Default)]
struct Held {
    segments: HashMap<SegmentId, (u64, u64)>,
    order: BTreeMap<u64, SegmentId>,
    tick: u64,
    bytes: u64,
}

impl Held {
    fn put(&mut self, id: SegmentId, bytes: u64) {
        self.remove(&id);
        self.tick += 1;
        self.order.insert(self.tick, id);
        self.segments.insert(id, (self.tick, bytes));
        self.bytes += bytes;
    }
    fn remove(&mut self, id: &SegmentId) -> Option<u64> {
        let (tick, bytes) = self.segments.remove(id)?;
        self.order.remove(&tick);
        self.bytes -= bytes;
        Some(bytes)
    }
    fn first(&self, bytes: u64) -> Vec<(SegmentId, u64)> {
        let mut sum = 0;
        let mut out = Vec::new();
        for id in self.order.values() {
            if sum >= bytes {
                break;
            }
            let n = self.segments.get(id).map_or(0, |s| s.1);
            sum += n;
            out.push((*id, n));
        }
        out
    }
}

/// Files that are also objects. They may be removed at any time.
pub(crate) struct Cache {
    held: Mutex<Held>,
    limit: u64,
}

impl Cache {
    pub fn new(limit: u64) -> Cache {
        Cache { held: Mutex::default(), limit }
    }
    /// A segment is stored now, or was found to be; its file is here.
    pub fn add(&self, id: SegmentId, bytes: u64) {
        lock(&self.held).put(id, bytes);
    }
    /// It was read.
    pub fn touch(&self, id: &SegmentId) {
        let mut h = lock(&self.held);
        if let Some((_, bytes)) = h.segments.get(id).copied() {
            h.put(*id, bytes);
        }
    }
    pub fn remove(&self, id: &SegmentId) {
        lock(&self.held).remove(id);
    }
    pub fn bytes(&self) -> u64 {
        lock(&self.held).bytes
    }
    /// What must go for it to be within its bound.
    pub fn excess(&self) -> Vec<(SegmentId, u64)> {
        let h = lock(&self.held);
        h.first(h.bytes.saturating_sub(self.limit))
    }
    /// Those used longest ago, until they have so many bytes.
    pub fn oldest(&self, bytes: u64) -> Vec<(SegmentId, u64)> {
        lock(&self.held).first(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_until_the_bound_holds() {
        let c = Cache::new(10);
        let id = |n| [n; 16];
        c.add(id(1), 4);
        c.add(id(2), 4);
        assert!(c.excess().is_empty());
        c.add(id(3), 4);
        c.touch(&id(1));
        c.touch(&id(9));
        assert_eq!(c.excess(), [(id(2), 4)]);
        c.remove(&id(2));
        assert_eq!((c.bytes(), c.excess()), (8, vec![]));
        assert_eq!(c.oldest(5), [(id(3), 4), (id(1), 4)]);
        c.add(id(3), 1);
        assert_eq!(c.bytes(), 5);
    }
}
