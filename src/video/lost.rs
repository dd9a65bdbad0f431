//! Parts of a stream that cannot be read any more: their objects are gone, or damaged. Whoever reads passes over them, and
//! they are remembered, to be told: a hole that no fragment tells of is found by trying to read it alone.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use log::Unreadable;

/// Parts remembered for a stream.
const MOST: usize = 1000;

/// What was come upon of a stream, by first position.
#[derive(Default)]
pub(crate) struct Lost(Mutex<BTreeMap<u64, Unreadable>>);

impl Lost {
    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Unreadable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These could not be read.
    pub fn note(&self, parts: &[Unreadable]) {
        if parts.is_empty() {
            return;
        }
        let mut map = self.map();
        for p in parts {
            if map.len() < MOST || map.contains_key(&p.positions.0) {
                map.insert(p.positions.0, p.clone());
            }
        }
    }

    /// All from `first` to `last` was read, but for `parts`: what was lost may have been put back, or removed.
    pub fn settle(&self, first: u64, last: u64, parts: &[Unreadable]) {
        let mut map = self.map();
        if !map.is_empty() {
            map.retain(|p, u| *p < first || u.positions.1 > last.saturating_add(1));
        }
        drop(map);
        self.note(parts);
    }

    /// Those that have something between two positions, ascending.
    pub fn between(&self, first: u64, last: u64) -> Vec<Unreadable> {
        let within = |u: &&Unreadable| u.positions.0 <= last && u.positions.1 > first;
        self.map().values().filter(within).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use world::Timestamp;

    use super::*;

    fn part(first: u64, end: u64) -> Unreadable {
        let arrival = (Timestamp(0), Timestamp(1));
        Unreadable { positions: (first, end), arrival, bytes: 1, why: "gone".into() }
    }

    #[test]
    fn what_was_put_back_is_lost_no_more() {
        let lost = Lost::default();
        lost.note(&[part(10, 20), part(30, 40)]);
        lost.note(&[part(10, 20)]);
        assert_eq!(lost.between(0, 9), []);
        assert_eq!(lost.between(19, 30), [part(10, 20), part(30, 40)]);
        // Read up to the middle of one: nothing is known of it.
        lost.settle(0, 35, &[]);
        assert_eq!(lost.between(0, 99), [part(30, 40)]);
        lost.settle(30, 39, &[part(30, 40)]);
        assert_eq!(lost.between(0, 99), [part(30, 40)]);
        lost.settle(30, 39, &[]);
        assert_eq!(lost.between(0, 99), []);
    }
}
