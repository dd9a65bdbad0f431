//! A small map that forgets what was not used for longest, by weight.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

pub(crate) struct Lru<K, V> {
    map: HashMap<K, (V, usize, u64)>,
    order: BTreeMap<u64, K>,
    tick: u64,
    weight: usize,
    limit: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Lru<K, V> {
    /// `limit` is in whatever unit the weights are.
    pub fn new(limit: usize) -> Self {
        Lru { map: HashMap::new(), order: BTreeMap::new(), tick: 0, weight: 0, limit }
    }
    pub fn get(&mut self, k: &K) -> Option<V> {
        let (v, _, at) = self.map.get_mut(k)?;
        self.tick += 1;
        if let Some(k) = self.order.remove(at) {
            self.order.insert(self.tick, k);
        }
        *at = self.tick;
        Some(v.clone())
    }
    /// What alone exceeds the limit is not kept.
    pub fn put(&mut self, k: K, v: V, weight: usize) {
        self.remove(&k);
        if weight > self.limit {
            return;
        }
        while self.weight + weight > self.limit {
            let Some((_, old)) = self.order.pop_first() else { break };
            if let Some((_, w, _)) = self.map.remove(&old) {
                self.weight -= w;
            }
        }
        self.tick += 1;
        self.order.insert(self.tick, k.clone());
        self.map.insert(k, (v, weight, self.tick));
        self.weight += weight;
    }
    pub fn remove(&mut self, k: &K) -> Option<V> {
        let (v, w, at) = self.map.remove(k)?;
        self.order.remove(&at);
        self.weight -= w;
        Some(v)
    }
    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        let gone: Vec<K> = self.map.keys().filter(|k| !keep(k)).cloned().collect();
        for k in gone {
            self.remove(&k);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_first_and_the_weight_holds() {
        let mut l = Lru::new(10);
        l.put("a", 1, 4);
        l.put("b", 2, 4);
        assert_eq!(l.get(&"a"), Some(1));
        l.put("c", 3, 4);
        assert_eq!((l.get(&"b"), l.get(&"a"), l.get(&"c")), (None, Some(1), Some(3)));
        l.put("d", 4, 11);
        assert_eq!((l.get(&"d"), l.weight), (None, 8));
        l.retain(|k| *k == "c");
        assert_eq!((l.get(&"a"), l.weight, l.order.len()), (None, 4, 1));
    }
}
