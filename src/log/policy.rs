//! What retention takes: a pure decision over what there is, without I/O.

use std::{cmp::Reverse, collections::BinaryHeap};

use world::Timestamp;

/// A run as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub first: u64,
    /// One past the last position.
    pub end: u64,
    /// Sealed.
    pub bytes: u64,
    /// When the latest of it arrived.
    pub latest: Timestamp,
    /// A pinned range meets it: it stays.
    pub pinned: bool,
    /// The trim point has passed it: nobody can read it any more.
    pub trimmed: bool,
}

/// The oldest runs of one shard, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretch {
    pub runs: Vec<Run>,
    /// There are more after these.
    pub more: bool,
}

/// What has to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// What arrived before this, whatever it is.
    pub before: Timestamp,
    /// And the oldest, until so many bytes are gone.
    pub bytes: u64,
    /// But nothing that arrived after this.
    pub bound: Timestamp,
}

/// One run to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Which stretch.
    pub shard: usize,
    /// Which of its runs.
    pub run: usize,
    /// For its age; else for its bytes.
    pub aged: bool,
}

/// Chooses what goes: the oldest first over all shards, nothing pinned, no more than is asked for, and whatever is
/// trimmed. The second answer says that the runs at hand ran out before the demand did.
pub(crate) fn choose(shards: &[Stretch], demand: Demand) -> (Vec<Pick>, bool) {
    let (mut picks, mut left, mut unknown) = (Vec::new(), demand.bytes, false);
    // Trimming is from the front: what is trimmed comes first.
    for (shard, s) in shards.iter().enumerate() {
        for (run, r) in s.runs.iter().enumerate().take_while(|(_, r)| r.trimmed) {
            left = left.saturating_sub(r.bytes);
            picks.push(Pick { shard, run, aged: true });
        }
    }
    let next = |shard: usize, from: usize| -> Option<Reverse<(Timestamp, usize, Option<usize>)>> {
        let s: &Stretch = &shards[shard];
        match s.runs[from..].iter().position(|r| !r.pinned && !r.trimmed) {
            Some(n) => Some(Reverse((s.runs[from + n].latest, shard, Some(from + n)))),
            // What the end of a stretch hides may be older than anything else that is at hand.
            None if s.more => {
                Some(Reverse((s.runs.last().map_or(Timestamp::MIN, |r| r.latest), shard, None)))
            }
            None => None,
        }
    };
    let mut heap: BinaryHeap<_> = (0..shards.len()).filter_map(|s| next(s, 0)).collect();
    while let Some(Reverse((latest, shard, run))) = heap.pop() {
        let aged = latest < demand.before;
        if !aged && (left == 0 || latest > demand.bound) {
            break;
        }
        let Some(run) = run else {
            unknown = true;
            break;
        };
        left = left.saturating_sub(shards[shard].runs[run].bytes);
        picks.push(Pick { shard, run, aged });
        heap.extend(next(shard, run + 1));
    }
    (picks, unknown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stretch() -> impl Strategy<Value = Stretch> {
        let run = (1u64..100, 0i64..50, any::<bool>());
        (prop::collection::vec(run, 0..12), any::<bool>(), 0usize..4).prop_map(|(runs, more, trimmed)| {
            let (mut at, mut latest) = (0, 0);
            let make = |(n, (bytes, step, pinned))| {
                latest += step;
                at += bytes + (bytes & 1);
                let (first, end) = (at - bytes, at);
                Run { first, end, bytes, latest: Timestamp(latest), pinned, trimmed: n < trimmed }
            };
            Stretch { runs: runs.into_iter().enumerate().map(make).collect(), more }
        })
    }

    proptest! {
        #![proptest_config(crate::testing::cases(2000))]
        #[test]
        fn the_oldest_go_and_no_more_than_is_asked_for(
            shards in prop::collection::vec(stretch(), 0..5),
            before in 0i64..200, bytes in 0u64..400, bound in 0i64..400,
        ) {
            let demand = Demand { before: Timestamp(before), bytes, bound: Timestamp(bound) };
            let (picks, unknown) = choose(&shards, demand);
            let get = |p: &Pick| &shards[p.shard].runs[p.run];
            let mut taken: Vec<(usize, usize)> = picks.iter().map(|p| (p.shard, p.run)).collect();
            taken.sort_unstable();
            taken.dedup();
            prop_assert_eq!(taken.len(), picks.len(), "nothing goes twice");
            let mut left = bytes;
            let mut last = Timestamp::MIN;
            for p in &picks {
                let r = get(p);
                if !r.trimmed {
                    prop_assert!(!r.pinned, "what is pinned stays");
                    prop_assert!(r.latest >= last, "the oldest first");
                    last = r.latest;
                    let old = r.latest < demand.before;
                    prop_assert_eq!(p.aged, old);
                    prop_assert!(old || (left > 0 && r.latest <= demand.bound), "no more than is asked for");
                }
                left = left.saturating_sub(r.bytes);
            }
            let ends = shards.iter().filter(|s| s.more).filter_map(|s| s.runs.last().map(|r| r.latest)).min();
            for (n, s) in shards.iter().enumerate() {
                let stay = s.runs.iter().enumerate().filter(|(i, _)| !taken.contains(&(n, *i)));
                for (_, r) in stay {
                    prop_assert!(!r.trimmed, "what is trimmed goes");
                    if r.pinned {
                        continue;
                    }
                    prop_assert!(r.latest >= last, "nothing older stays");
                    if !unknown {
                        prop_assert!(r.latest >= demand.before, "nothing too old stays");
                        prop_assert!(left == 0 || r.latest > demand.bound, "enough goes");
                    }
                }
            }
            if unknown {
                let hidden = shards.iter().any(|s| s.more && s.runs.is_empty());
                prop_assert!(hidden || ends.is_some_and(|e| e >= last), "it stopped for a reason");
            }
        }
    }

    #[test]
    fn a_demand_of_nothing_takes_nothing() {
        let run =
            |n| Run { first: n, end: n + 1, bytes: 9, latest: Timestamp(5), pinned: false, trimmed: false };
        let s = Stretch { runs: vec![run(0), run(1)], more: true };
        let none = Demand { before: Timestamp::MIN, bytes: 0, bound: Timestamp::MAX };
        assert_eq!(choose(std::slice::from_ref(&s), none), (vec![], false));
        let one = Demand { bytes: 1, ..none };
        assert_eq!(choose(std::slice::from_ref(&s), one).0.len(), 1);
        let all = Demand { before: Timestamp(6), ..none };
        let (picks, more) = choose(&[s], all);
        assert_eq!((picks.len(), more), (2, true));
    }
}
