//! Opened footers of finished segments, kept by use and bounded in bytes.

use std::sync::{Arc, Mutex};

use crate::{
    entry::{Entry, SegmentId},
    keys::lock,
    lru::Lru,
    segment::Root,
};

/// By segment and number of the page.
type Pages = Lru<(SegmentId, u64), Arc<Vec<Entry>>>;

pub(crate) struct Footers {
    roots: Mutex<Lru<SegmentId, Arc<Root>>>,
    pages: Mutex<Pages>,
}

impl Footers {
    pub fn new(limit: usize) -> Self {
        Footers { roots: Mutex::new(Lru::new(limit / 4)), pages: Mutex::new(Lru::new(limit - limit / 4)) }
    }
    pub fn root(&self, id: &SegmentId) -> Option<Arc<Root>> {
        lock(&self.roots).get(id)
    }
    pub fn put_root(&self, id: SegmentId, root: &Arc<Root>) {
        lock(&self.roots).put(id, root.clone(), root.weight());
    }
    pub fn page(&self, id: SegmentId, page: u64) -> Option<Arc<Vec<Entry>>> {
        lock(&self.pages).get(&(id, page))
    }
    pub fn put_page(&self, id: SegmentId, page: u64, entries: &Arc<Vec<Entry>>) {
        let weight = entries
            .iter()
            .map(|e| size_of::<Entry>() + if let Entry::Large(l) = e { l.weight() } else { 0 })
            .sum();
        lock(&self.pages).put((id, page), entries.clone(), weight);
    }
    #[cfg(test)]
    pub fn forget_all(&self) {
        lock(&self.roots).retain(|_| false);
        lock(&self.pages).retain(|_| false);
    }
    pub fn forget(&self, id: &SegmentId) {
        lock(&self.roots).remove(id);
        lock(&self.pages).retain(|k| k.0 != *id);
    }
}
