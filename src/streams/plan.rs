//! What a change of shards takes: pure steps over a [`ShardMap`]. Every step closes one shard and opens two, or closes two
//! neighbours and opens one.

use world::Timestamp;

use crate::{
    hashing::uniform,
    map::{Shard, ShardMap, seconds},
};

/// Shards of a stream at most, whatever the quotas are: the model bounds no count, and their numbers are 32 bits, of which
/// AWS uses 31.
pub const MOST: u32 = 1_000_000;

/// A split or a merge: who closes, who opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Closed.
    pub parents: Vec<u32>,
    /// Opened, with `parents` as theirs.
    pub children: Vec<Shard>,
}

/// Numbers of children come after all numbers of their parents.
fn child(
    map: &ShardMap,
    offset: u32,
    range: (u128, u128),
    parents: [Option<u32>; 2],
    now: Timestamp,
) -> Shard {
    let newest = parents.iter().flatten().filter_map(|p| map.get(*p)).map(|p| p.created).max();
    let created = (seconds(now) + 1).max(newest.unwrap_or(0) + 1);
    Shard { index: map.next() + offset, range, parents, created, opened: now, closed: None }
}

/// Splits `shard` so that the upper child begins at `at`. `None` unless both parts hold keys: the service wants
/// `start + 1 < at < end`.
pub fn split(map: &ShardMap, shard: &Shard, at: u128, now: Timestamp) -> Option<Step> {
    let (start, end) = shard.range;
    (start < at && at <= end).then(|| Step {
        parents: vec![shard.index],
        children: vec![
            child(map, 0, (start, at - 1), [Some(shard.index), None], now),
            child(map, 1, (at, end), [Some(shard.index), None], now),
        ],
    })
}

/// Merges two neighbours; the first named is the parent, the other the adjacent parent. `None` if they are not.
pub fn merge(map: &ShardMap, a: &Shard, b: &Shard, now: Timestamp) -> Option<Step> {
    let (low, high) = if a.range.0 <= b.range.0 { (a, b) } else { (b, a) };
    (low.range.1.checked_add(1) == Some(high.range.0)).then(|| Step {
        parents: vec![a.index, b.index],
        children: vec![child(map, 0, (low.range.0, high.range.1), [Some(a.index), Some(b.index)], now)],
    })
}

/// The next steps, none of which needs another, towards `target` shards of equal size; empty when they are there. First
/// come splits at the new borders, then merges over those that are none any more (API_UpdateShardCount: a shard that is
/// in the way is split and its parts merged).
pub fn towards(map: &ShardMap, target: u32, now: Timestamp) -> Vec<Step> {
    let borders: Vec<u128> = uniform(target).map(|(start, _)| start).collect();
    let mut steps = Vec::new();
    let mut scratch = map.clone();
    for s in map.open() {
        // The border in the middle of those inside: the number of rounds is the logarithm.
        let from = borders.partition_point(|b| *b <= s.range.0);
        let to = borders.partition_point(|b| *b <= s.range.1);
        if from < to
            && let Some(step) = split(&scratch, s, borders[from + (to - from) / 2], now)
        {
            scratch.claim(step.children.len());
            steps.push(step);
        }
    }
    if !steps.is_empty() {
        return steps;
    }
    let mut open = map.open().peekable();
    while let Some(s) = open.next() {
        if let Some(next) = open.next_if(|next| borders.binary_search(&next.range.0).is_err())
            && let Some(step) = merge(&scratch, s, next, now)
        {
            scratch.claim(step.children.len());
            steps.push(step);
        }
    }
    steps
}

/// What is left of the map's shards after a step: the parents closed, and the children.
pub fn outcome(map: &ShardMap, step: &Step, closed: Timestamp) -> Vec<Shard> {
    let closing = |p: &u32| map.get(*p).map(|s| Shard { closed: Some(closed), ..*s });
    step.parents.iter().filter_map(closing).chain(step.children.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::map::tests::fresh;

    fn covers(map: &ShardMap) -> bool {
        let ranges: Vec<_> = map.open().map(|s| s.range).collect();
        ranges.first().is_some_and(|r| r.0 == 0)
            && ranges.last().is_some_and(|r| r.1 == u128::MAX)
            && ranges.windows(2).all(|w| w[0].1 + 1 == w[1].0)
    }

    fn take(map: &mut ShardMap, steps: &[Step]) {
        for step in steps {
            map.apply(&outcome(map, step, Timestamp(9)));
        }
    }

    proptest! {
        #[test]
        fn any_count_becomes_any_other(from in 1u32..40, to in 1u32..40, cuts: Vec<u128>) {
            let mut map = fresh(from);
            for at in cuts {
                let s = *map.taking(at).unwrap();
                if let Some(step) = split(&map, &s, at, Timestamp(1)) {
                    take(&mut map, &[step]);
                }
            }
            let mut rounds = 0;
            loop {
                let steps = towards(&map, to, Timestamp(1));
                if steps.is_empty() {
                    break;
                }
                take(&mut map, &steps);
                prop_assert!(covers(&map));
                rounds += 1;
                prop_assert!(rounds < 40);
            }
            let want: Vec<_> = uniform(to).collect();
            prop_assert_eq!(map.open().map(|s| s.range).collect::<Vec<_>>(), want);
            for s in map.all() {
                for p in s.parents.iter().flatten() {
                    let p = map.get(*p).unwrap();
                    prop_assert!(p.closed.is_some() && p.created < s.created);
                    prop_assert!(p.range.0 <= s.range.1 && s.range.0 <= p.range.1);
                }
                prop_assert_eq!(s.closed.is_some(), map.children(s.index).count() > 0);
            }
        }
    }

    #[test]
    fn only_neighbours_merge() {
        let map = fresh(3);
        let [a, b, c] = *map.all() else { panic!() };
        assert!(merge(&map, &a, &c, Timestamp(0)).is_none());
        let step = merge(&map, &b, &a, Timestamp(0)).unwrap();
        assert_eq!(step.children[0].parents, [Some(1), Some(0)]);
        assert_eq!(step.children[0].range, (0, b.range.1));
    }
}
