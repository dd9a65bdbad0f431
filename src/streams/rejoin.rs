//! A stream's shards brought together with a log that went on without their documents: an older catalog was put back.
//!
//! The log still has, or finds again, what was opened since. The ranges of a split are written nowhere but in the documents
//! that are lost, and often not even whose children the shards are. So what they may come of is joined, by merges of shards
//! that take nothing, and goes on in new shards with the ranges that the documents know: all that there is of a key is in
//! shards that come before the one that takes it now. What was only merged has a range that is known, and stays.

use world::Timestamp;

use crate::map::{Shard, ShardMap, seconds};

/// A shard that the log has and the documents do not know.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Its number.
    pub index: u32,
    /// As the log knows them; none if it lost them, too.
    pub parents: Vec<u32>,
    /// By the log.
    pub opened: Timestamp,
    /// Whether it takes no more.
    pub closed: bool,
}

/// Shards that come of each other, as far as is known.
struct Group {
    /// Those that the documents have as open, ascending by hash key.
    known: Vec<Shard>,
    /// Later ones, ascending by index.
    strays: Vec<Shard>,
}

impl Group {
    fn all(&self) -> impl Iterator<Item = &Shard> + Clone {
        self.known.iter().chain(&self.strays)
    }
    fn has(&self, index: u32) -> bool {
        self.all().any(|s| s.index == index)
    }
    /// Those that nothing continues.
    fn leaves(&self) -> Vec<Shard> {
        let ended = |s: &Shard| self.strays.iter().any(|c| c.parents.contains(&Some(s.index)));
        self.all().filter(|s| !ended(s)).copied().collect()
    }
    /// The range of all of it, if that is one.
    fn range(&self) -> Option<(u128, u128)> {
        let whole = self.known.windows(2).all(|w| w[0].range.1.checked_add(1) == Some(w[1].range.0));
        Some((self.known.first()?.range.0, self.known.last().filter(|_| whole)?.range.1))
    }
}

/// Created after all of these.
fn after<'s>(at: Timestamp, parents: impl Iterator<Item = &'s Shard>) -> u64 {
    parents.map(|p| p.created + 1).fold(seconds(at) + 1, u64::max)
}

/// From the lowest key of some to the highest; everything if there are none.
fn hull<'s>(of: impl Iterator<Item = &'s Shard> + Clone) -> (u128, u128) {
    let low = of.clone().map(|s| s.range.0).min();
    (low.unwrap_or(0), of.map(|s| s.range.1).max().unwrap_or(u128::MAX))
}

fn groups(map: &ShardMap, strays: &[Stray], now: Timestamp) -> Vec<Group> {
    let mut groups: Vec<Group> = map.open().map(|s| Group { known: vec![*s], strays: Vec::new() }).collect();
    for s in strays {
        // One whose parents are not known may come of any.
        let lost = s.parents.is_empty() || s.parents.iter().any(|p| !groups.iter().any(|g| g.has(*p)));
        let its = |g: &mut Group| lost || s.parents.iter().any(|p| g.has(*p));
        let mut one = Group { known: Vec::new(), strays: Vec::new() };
        for g in groups.extract_if(.., its) {
            one.known.extend(g.known);
            one.strays.extend(g.strays);
        }
        one.known.sort_by_key(|s| s.range.0);
        one.strays.sort_by_key(|s| s.index);
        let parents = one.all().filter(|p| s.parents.contains(&p.index));
        let mut names = s.parents.iter().copied().filter(|p| one.has(*p));
        let shard = Shard {
            index: s.index,
            range: hull(parents.clone()),
            parents: [names.next(), names.next()],
            created: after(s.opened, parents),
            opened: s.opened,
            closed: s.closed.then_some(now),
        };
        one.strays.push(shard);
        groups.push(one);
    }
    groups
}

/// What is to be put into the map, ascending by index within what comes of each other: a shard that the log does not have is
/// to be opened there, and one that is closed here is to be closed there. `strays`: ascending by index. `ended`: shards that
/// are open in the map and closed in the log.
pub fn rejoin(map: &ShardMap, strays: &[Stray], ended: &[u32], now: Timestamp) -> Vec<Shard> {
    let mut next = strays.iter().map(|s| s.index + 1).fold(map.next(), u32::max);
    let mut child = |range, parents: &[Shard]| {
        next += 1;
        Shard {
            index: next - 1,
            range,
            parents: [0, 1].map(|n| parents.get(n).map(|p| p.index)),
            created: after(now, parents.iter()),
            opened: now,
            closed: None,
        }
    };
    let mut out = Vec::new();
    for g in groups(map, strays, now) {
        let over = |s: &Shard| s.closed.is_some() || ended.contains(&s.index);
        if g.strays.is_empty() && !g.known.iter().any(over) {
            continue;
        }
        let closed = |s: &Shard| Shard { closed: Some(now), ..*s };
        let mut leaves = g.leaves();
        if let ([leaf], Some(range)) = (&*leaves, g.range())
            && !over(leaf)
        {
            out.extend(g.all().filter(|s| s.index != leaf.index).map(closed));
            out.push(Shard { range, ..*leaf });
            continue;
        }
        out.extend(g.all().map(closed));
        while leaves.len() > 1 {
            let pairs = leaves.chunks(2).map(|pair| match pair {
                [_, _] => {
                    out.push(closed(&child(hull(pair.iter()), pair)));
                    out[out.len() - 1]
                }
                odd => odd[0],
            });
            leaves = pairs.collect();
        }
        out.extend(g.known.iter().map(|s| child(s.range, &leaves)));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{map::tests::fresh, plan};

    /// Everybody before a shard.
    fn ancestors(map: &ShardMap, index: u32) -> HashSet<u32> {
        let (mut found, mut rest) = (HashSet::new(), vec![index]);
        while let Some(n) = rest.pop() {
            rest.extend(map.get(n).unwrap().parents.iter().flatten().filter(|p| found.insert(**p)));
        }
        found
    }

    proptest! {
        /// Some changes after a snapshot, of which the log has lost some shards' parents and some shards.
        #[test]
        fn whatever_came_since_comes_before_what_takes_its_keys(
            count in 1u32..5,
            turns in proptest::collection::vec((any::<u128>(), any::<bool>()), 0..6),
            lost in any::<u64>(),
            gone in any::<u64>(),
        ) {
            let old = fresh(count);
            let mut new = old.clone();
            for (at, up) in turns {
                let s = *new.taking(at).unwrap();
                let step = match new.above(&s) {
                    Some(other) if up => plan::merge(&new, &s, other, Timestamp(1)),
                    _ => plan::split(&new, &s, at, Timestamp(1)),
                };
                if let Some(step) = step {
                    new.apply(&plan::outcome(&new, &step, Timestamp(9)));
                }
            }
            let bit = |set: u64, n: u32| (set >> (n % 64)) & 1 == 1;
            let since = |s: &&Shard| old.get(s.index).is_none() && !bit(gone, s.index);
            let strays: Vec<Stray> = new.all().iter().filter(since).map(|s| Stray {
                index: s.index,
                parents: if bit(lost, s.index) { Vec::new() } else { s.parents.iter().flatten().copied().collect() },
                opened: s.opened,
                closed: s.closed.is_some(),
            }).collect();
            let ended: Vec<u32> =
                old.open().map(|s| s.index).filter(|n| new.get(*n).unwrap().closed.is_some()).collect();
            let out = rejoin(&old, &strays, &ended, Timestamp(20));
            let mut map = old.clone();
            map.apply(&out);
            let open: Vec<Shard> = map.open().copied().collect();
            prop_assert!(open[0].range.0 == 0 && open[open.len() - 1].range.1 == u128::MAX);
            prop_assert!(open.windows(2).all(|w| w[0].range.1 + 1 == w[1].range.0));
            for s in &open {
                prop_assert!(!ended.contains(&s.index));
                prop_assert!(!strays.iter().any(|t| t.index == s.index && t.closed));
                let before = ancestors(&map, s.index);
                // Whoever may have taken one of its keys once, by what truly was. The number of one that is lost may be given anew.
                let there = |t: &&Shard| old.get(t.index).is_some() || strays.iter().any(|s| s.index == t.index);
                let overlaps = |t: &&Shard| t.range.0 <= s.range.1 && s.range.0 <= t.range.1;
                for t in new.all().iter().filter(there).filter(overlaps) {
                    prop_assert!(t.index == s.index || before.contains(&t.index), "{t:?} {s:?}");
                }
            }
            for s in map.all() {
                for p in s.parents.iter().flatten() {
                    let p = map.get(*p).unwrap();
                    prop_assert!(p.index < s.index && p.created < s.created && p.closed.is_some());
                }
            }
            // Once is enough.
            prop_assert_eq!(rejoin(&map, &[], &[], Timestamp(30)), []);
        }
    }

    #[test]
    fn what_was_only_merged_stays() {
        let map = fresh(3);
        let stray = Stray { index: 3, parents: vec![0, 1], opened: Timestamp(5), closed: false };
        let out = rejoin(&map, &[stray], &[0, 1], Timestamp(9));
        let taking: Vec<_> = out.iter().filter(|s| s.closed.is_none()).map(|s| (s.index, s.range)).collect();
        assert_eq!(taking, [(3, (0, map.get(1).unwrap().range.1))]);
    }
}
