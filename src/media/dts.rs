//! Decode times for sources that give none (RTP, Matroska).

use std::collections::VecDeque;

/// What a sample gets: see [`DtsFiller`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The presentation time, as it was pushed unless `moved`.
    pub pts: i64,
    /// The decode time; at most `pts`, and above every one before.
    pub dts: i64,
    /// The source reordered more than it declares, or gave a time twice: no decode time fits, so the presentation
    /// time was moved up to it.
    pub moved: bool,
}

/// Derives decode times from presentation times that come in decode order. All times are ticks of one track.
///
/// **How.** Sort the presentation times `s₀ < s₁ < …`; the sample decoded as number *i* gets `s` of *i − depth*. With
/// *depth* the largest number of samples that are decoded before one and shown after it, this never exceeds its own
/// presentation time, it rises strictly, and of all such choices it is the latest. `s` of *i − depth* is known as soon
/// as sample *i* is (at most *depth* of those decoded so far are shown before samples yet to come), so nothing waits,
/// except at the start: the first `depth` samples, until one more tells what was shown first. They get times before
/// `s₀`, evenly, at the distance that the samples so far have on average. With depth 0 the decode time is the
/// presentation time, at once.
///
/// **When the source breaks its word**, a time that can no longer be kept is moved by as little as possible, and the
/// depth grows by one from there on, to [`MAX_DEPTH`](Self::MAX_DEPTH): decode times then rise by single ticks until
/// they lie one sample further back.
///
/// One filler serves a track as long as its time line continues, over any number of fragments. The same pushes always
/// give the same stamps.
#[derive(Clone, Debug)]
pub struct DtsFiller {
    depth: usize,
    /// Presentation times that are not yet anybody's decode time, sorted; `depth` of them between pushes.
    window: VecDeque<i64>,
    /// At the start: presentation times in decode order.
    waiting: Vec<i64>,
    started: bool,
    last: Option<i64>,
    /// The highest decode time that was not moved: what is shown before it was reordered further than declared.
    reached: i64,
    ready: VecDeque<Stamp>,
}

impl DtsFiller {
    /// As many as H.264 can reorder, counted in fields.
    pub const MAX_DEPTH: u8 = 32;

    /// For a track that reorders by so much: [`reorder_depth`](crate::reorder_depth).
    pub fn new(reorder_depth: u8) -> Self {
        DtsFiller {
            depth: usize::from(reorder_depth.min(Self::MAX_DEPTH)),
            window: VecDeque::new(),
            waiting: vec![],
            started: false,
            last: None,
            reached: i64::MIN,
            ready: VecDeque::new(),
        }
    }

    /// The depth in use: that declared, or more if the source broke it.
    pub fn depth(&self) -> u8 {
        self.depth as u8
    }

    /// How many samples wait for their stamps: not more than the depth, and none once it has started.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the next sample in decode order; gives the stamps that are known now, in the order of the pushes: none,
    /// then `depth + 1` at once, then one for each.
    pub fn push(&mut self, pts: i64) -> impl Iterator<Item = Stamp> {
        let at = self.window.partition_point(|have| *have <= pts);
        self.window.insert(at, pts);
        if self.started {
            self.stamp(pts);
        } else {
            self.waiting.push(pts);
            if self.waiting.len() > self.depth {
                self.start();
            }
        }
        self.ready.drain(..)
    }

    /// Gives the stamps of those that wait, knowing no more: at the end, or when they cannot wait longer. Samples may
    /// still follow.
    pub fn flush(&mut self) -> impl Iterator<Item = Stamp> {
        self.start();
        self.ready.drain(..)
    }

    /// The time line breaks and goes on later, or the reorder depth changes: flushes, and begins anew above every
    /// decode time so far. (Where it goes *back*, make a new filler.)
    pub fn restart(&mut self, reorder_depth: u8) -> impl Iterator<Item = Stamp> {
        self.start();
        self.depth = usize::from(reorder_depth.min(Self::MAX_DEPTH));
        self.window.clear();
        self.started = false;
        self.ready.drain(..)
    }

    fn start(&mut self) {
        let (Some(&first), Some(&last)) = (self.window.front(), self.window.back()) else { return };
        if self.started {
            return;
        }
        self.started = true;
        let gaps = self.window.len() as i64 - 1;
        let step = if gaps > 0 { (last.saturating_sub(first) / gaps).max(1) } else { 1 };
        for back in 1..=self.depth as i64 {
            self.window.push_front(first.saturating_sub(step.saturating_mul(back)));
        }
        for pts in std::mem::take(&mut self.waiting) {
            self.stamp(pts);
        }
    }

    fn stamp(&mut self, pts: i64) {
        let least = self.last.map_or(i64::MIN, |last| last.saturating_add(1));
        let moved = least > pts;
        let grows = moved && pts < self.reached && self.depth < usize::from(Self::MAX_DEPTH);
        let likely = match self.window.front() {
            Some(front) if grows => {
                self.depth += 1;
                *front
            }
            _ => self.window.pop_front().unwrap_or(pts),
        };
        let dts = likely.max(least);
        if !moved {
            self.reached = self.reached.max(dts);
        }
        self.last = Some(dts);
        self.ready.push_back(Stamp { pts: pts.max(dts), dts, moved });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(depth: u8, pts: &[i64]) -> Vec<i64> {
        let mut f = DtsFiller::new(depth);
        let mut out: Vec<Stamp> = pts.iter().flat_map(|p| f.push(*p).collect::<Vec<_>>()).collect();
        out.extend(f.flush());
        assert!(out.iter().zip(pts).all(|(s, p)| s.pts == *p && !s.moved));
        out.into_iter().map(|s| s.dts).collect()
    }

    #[test]
    fn without_reordering_nothing_waits_and_nothing_differs() {
        let mut f = DtsFiller::new(0);
        for pts in [0, 90, 200, 201] {
            assert_eq!(f.push(pts).collect::<Vec<_>>(), [Stamp { pts, dts: pts, moved: false }]);
        }
    }

    #[test]
    fn one_and_two_deep() {
        // I P B P B
        assert_eq!(run(1, &[0, 80, 40, 160, 120]), [-80, 0, 40, 80, 120]);
        // An open start: the key frame's leading pictures are shown before it.
        assert_eq!(run(2, &[160, 80, 40, 120, 320, 240]), [-80, -20, 40, 80, 120, 160]);
    }

    #[test]
    fn stamps_come_one_by_one_after_the_start() {
        let mut f = DtsFiller::new(2);
        let counts: Vec<usize> = [120, 40, 80, 240, 160].iter().map(|p| f.push(*p).count()).collect();
        assert_eq!(counts, [0, 0, 3, 1, 1]);
    }

    #[test]
    fn one_sample_alone_can_be_flushed_and_more_may_follow() {
        let mut f = DtsFiller::new(2);
        assert_eq!(f.push(100).count(), 0);
        assert_eq!(f.flush().map(|s| s.dts).collect::<Vec<_>>(), [98]);
        assert_eq!(f.push(300).map(|s| s.dts).collect::<Vec<_>>(), [99]);
        assert_eq!(f.push(200).map(|s| s.dts).collect::<Vec<_>>(), [100]);
        assert_eq!(f.flush().count(), 0);
    }

    #[test]
    fn a_source_that_declares_too_little_is_believed_once() {
        let mut f = DtsFiller::new(0);
        let pts = [0, 80, 40, 160, 120, 240, 200, 320, 280];
        let out: Vec<Stamp> = pts.iter().flat_map(|p| f.push(*p).collect::<Vec<_>>()).collect();
        assert_eq!(out.iter().map(|s| s.dts).collect::<Vec<_>>(), [0, 80, 81, 82, 120, 160, 200, 240, 280]);
        assert_eq!(out.iter().filter(|s| s.moved).count(), 1);
        assert_eq!(f.depth(), 1);
    }

    #[test]
    fn a_time_given_twice_is_not_reordering() {
        let mut f = DtsFiller::new(0);
        let out: Vec<i64> =
            [5, 5, 5, 5, 9].iter().flat_map(|p| f.push(*p).collect::<Vec<_>>()).map(|s| s.dts).collect();
        assert_eq!((out, f.depth()), (vec![5, 6, 7, 8, 9], 0));
    }

    #[test]
    fn a_gap_is_not_bridged_with_old_times() {
        let mut f = DtsFiller::new(1);
        let before: Vec<i64> =
            [0, 80, 40].iter().flat_map(|p| f.push(*p).collect::<Vec<_>>()).map(|s| s.dts).collect();
        assert_eq!(before, [-80, 0, 40]);
        assert_eq!(f.restart(1).count(), 0);
        let after: Vec<i64> = [9_000, 9_080, 9_040]
            .iter()
            .flat_map(|p| f.push(*p).collect::<Vec<_>>())
            .map(|s| s.dts)
            .collect();
        assert_eq!(after, [8_920, 9_000, 9_040]);
    }

    /// Decode order made by holding each sample back behind up to `depth` others.
    fn reordered() -> impl Strategy<Value = Vec<i64>> {
        (0u8..5, proptest::collection::vec((1i64..5_000, 0usize..5), 1..60)).prop_map(|(depth, list)| {
            let mut now = 0;
            let mut held: Vec<i64> = vec![];
            let mut out = vec![];
            // `held` is in output order; before its first is decoded, at most `depth` later ones may be.
            let mut passed = 0;
            let mut times: VecDeque<i64> = list
                .iter()
                .map(|(step, _)| {
                    now += step;
                    now
                })
                .collect();
            let mut picks = list.iter().map(|(_, pick)| *pick).cycle();
            while !times.is_empty() || !held.is_empty() {
                while held.len() <= usize::from(depth) && !times.is_empty() {
                    held.extend(times.pop_front());
                }
                let pick = if passed < depth { picks.next().unwrap_or(0) % held.len() } else { 0 };
                passed = if pick == 0 { 0 } else { passed + 1 };
                out.push(held.remove(pick));
            }
            out
        })
    }

    fn largest_reordering(pts: &[i64]) -> usize {
        (0..pts.len()).map(|i| pts[..i].iter().filter(|p| **p > pts[i]).count()).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn times_rise_and_none_is_moved(pts in reordered(), flush_at in 0usize..100) {
            let depth = largest_reordering(&pts) as u8;
            let mut f = DtsFiller::new(depth);
            let mut out = vec![];
            let mut late = 0;
            for (i, p) in pts.iter().enumerate() {
                out.extend(f.push(*p));
                late = late.max(i + 1 - out.len());
                if i == flush_at && i > usize::from(depth) { out.extend(f.flush()); }
            }
            out.extend(f.flush());
            prop_assert!(late <= usize::from(depth));
            prop_assert_eq!(out.iter().map(|s| s.pts).collect::<Vec<_>>(), pts);
            prop_assert!(out.iter().all(|s| s.dts <= s.pts && !s.moved));
            prop_assert!(out.windows(2).all(|w| w[0].dts < w[1].dts));
            prop_assert_eq!(f.depth(), depth);
        }

        #[test]
        fn whatever_comes_times_rise(
            depth in any::<u8>(), pts in proptest::collection::vec(-1_000i64..1_000, 0..80), restart in 0usize..80,
        ) {
            let mut f = DtsFiller::new(depth);
            let mut out = vec![];
            for (i, p) in pts.iter().enumerate() {
                if i == restart { out.extend(f.restart(depth / 2)); }
                out.extend(f.push(*p));
                prop_assert!(f.window.len() <= usize::from(f.depth()) + 1);
            }
            out.extend(f.flush());
            prop_assert_eq!(out.len(), pts.len());
            for (s, p) in out.iter().zip(&pts) {
                prop_assert!(s.dts <= s.pts && s.pts >= *p && (s.moved || s.pts == *p));
            }
            prop_assert!(out.windows(2).all(|w| w[0].dts < w[1].dts));
        }

        #[test]
        fn extremes_are_survived(depth in any::<u8>(), pts in proptest::collection::vec(any::<i64>(), 0..80)) {
            let mut f = DtsFiller::new(depth);
            let n = pts.iter().map(|p| f.push(*p).count()).sum::<usize>() + f.flush().count();
            prop_assert_eq!(n, pts.len());
        }
    }
}
