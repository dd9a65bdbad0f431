//! Fragments on the one line of a file's time.
//!
//! A file has one clock that only goes forward. Within a fragment times are kept exactly; between fragments:
//!
//! - **Time that goes on** (nearly always): nothing is changed.
//! - **Time that goes back** (the camera's clock was set): where a track's next decode time is not after its last, the
//!   whole fragment, all tracks alike, is moved to where the fragments before it end.
//! - **A pause**, of which [`Gaps`] decides. Either way tracks stay in step, since all are moved together.

use crate::{Table, Track};

/// What becomes of the time in which nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gaps {
    /// It is in the file too: the last picture stands, and the file's time runs as the clock on the wall did.
    #[default]
    Keep,
    /// It is left out: what follows begins where what came before ends. Pauses below 100 ms are kept.
    Close,
}

/// Shorter pauses are seams: the clocks of pictures and sound, and durations that were guessed.
const SEAM: i128 = 100_000_000;

/// Nanoseconds of a second.
pub(crate) const NS: i128 = 1_000_000_000;

/// A time in ticks as nanoseconds, rounded down.
pub(crate) fn to_ns(ticks: i64, timescale: u32) -> i128 {
    (i128::from(ticks) * NS).div_euclid(i128::from(timescale.max(1)))
}

/// Nanoseconds as ticks, to the nearest.
pub(crate) fn from_ns(ns: i128, timescale: u32) -> i64 {
    clamp(ns.saturating_mul(i128::from(timescale)).saturating_add(NS / 2).div_euclid(NS))
}

/// A time in the ticks of another timescale, to the nearest.
pub(crate) fn rescale(ticks: i64, from: u32, to: u32) -> i64 {
    if from == to {
        return ticks;
    }
    let from = i128::from(from.max(1));
    clamp((i128::from(ticks) * i128::from(to) + from / 2).div_euclid(from))
}

fn clamp(v: i128) -> i64 {
    v.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Where the fragments so far end.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    gaps: Gaps,
    shift: i128,
    end: Option<i128>,
    /// Each track's last decode time, as placed.
    last: Vec<Option<i128>>,
}

impl Timeline {
    pub fn new(gaps: Gaps) -> Timeline {
        Timeline { gaps, shift: 0, end: None, last: vec![None; 256] }
    }

    /// Nanoseconds to add to the times of the next fragment. Pauses of more than `longest` nanoseconds are closed
    /// whatever was asked for. The table is one that [`check`](crate::table::check) accepts.
    pub fn place(&mut self, table: &Table, longest: i128) -> i128 {
        let mut scale = [0u32; 256];
        for track in &table.tracks {
            scale[usize::from(track.id)] = track.timescale;
        }
        let mut seen = [false; 256];
        let mut start = None;
        let mut back = false;
        for s in &table.samples {
            let id = usize::from(s.track);
            if !std::mem::replace(&mut seen[id], true) {
                let at = to_ns(s.dts, scale[id]);
                start = Some(start.map_or(at, |start: i128| start.min(at)));
                back |= self.last[id].is_some_and(|last| at + self.shift <= last);
            }
        }
        let Some(start) = start else { return self.shift };
        if let Some(end) = self.end {
            let gap = start + self.shift - end;
            if back || gap > longest || (self.gaps == Gaps::Close && gap > SEAM) {
                self.shift -= gap;
            }
        }
        for s in &table.samples {
            let id = usize::from(s.track);
            let end = to_ns(s.dts.saturating_add(i64::from(s.duration)), scale[id]) + self.shift;
            self.last[id] = Some(to_ns(s.dts, scale[id]) + self.shift);
            self.end = Some(self.end.map_or(end, |e| e.max(end)));
        }
        self.shift
    }
}

/// Frames a second that tracks of pictures keep to: nanoseconds of a picture, by what its parameter sets say where
/// the samples agree with it, else by the samples where nearly all agree.
pub(crate) fn picture_duration(track: &Track, table: &Table) -> Option<u64> {
    let mut list: Vec<u32> =
        table.samples.iter().filter(|s| s.track == track.id).map(|s| s.duration).filter(|d| *d > 0).collect();
    let mean = list.iter().map(|d| u64::from(*d)).sum::<u64>().checked_div(list.len() as u64)?;
    let mean = to_ns(mean as i64, track.timescale);
    if let Some((n, d)) = crate::frame_rate(track).filter(|(n, d)| *n > 0 && *d > 0) {
        let said = NS * i128::from(d) / i128::from(n);
        if said > 0 && (said - mean).abs() * 20 <= said {
            return u64::try_from(said).ok();
        }
    }
    list.sort_unstable();
    let common = list[list.len() / 2];
    let agree = list.iter().filter(|d| **d == common).count();
    let ns = to_ns(i64::from(common), track.timescale);
    if agree * 4 >= list.len() * 3 { u64::try_from(ns).ok().filter(|ns| *ns > 0) } else { None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Codec, RandomAccess, Sample, g711_track};

    const MS: i128 = 1_000_000;

    /// One fragment of two tracks from a time in milliseconds, 100 ms long.
    fn table(at: i64) -> Table {
        let tracks = vec![
            Arc::new(g711_track(1, Codec::Pcmu, 1_000, 1)),
            Arc::new(g711_track(2, Codec::Pcmu, 8_000, 1)),
        ];
        let sample = |track, dts, duration| Sample {
            track,
            dts,
            pts: dts,
            duration,
            access: RandomAccess::Idr,
            offset: 0,
            len: 0,
        };
        let samples = vec![sample(1, at, 50), sample(2, at * 8 - 80, 880), sample(1, at + 50, 50)];
        Table { tracks, samples }
    }

    #[test]
    fn time_that_goes_on_is_not_touched() {
        let mut line = Timeline::new(Gaps::Close);
        for at in [1_000, 1_100, 1_203, 1_300] {
            assert_eq!(line.place(&table(at), i128::MAX), 0);
        }
    }

    #[test]
    fn pauses() {
        let mut keep = Timeline::new(Gaps::Keep);
        let mut close = Timeline::new(Gaps::Close);
        for line in [&mut keep, &mut close] {
            assert_eq!(line.place(&table(1_000), 3_600_000 * MS), 0);
        }
        // It ended at 1100; the second track begins 10 ms before the first.
        assert_eq!(keep.place(&table(5_000), 3_600_000 * MS), 0);
        assert_eq!(close.place(&table(5_000), 3_600_000 * MS), -3_890 * MS);
        assert_eq!(close.place(&table(5_100), 3_600_000 * MS), -3_890 * MS);
        assert_eq!(keep.place(&table(10_000_000), 3_600_000 * MS), -(10_000_000 - 10 - 5_100) * MS);
    }

    #[test]
    fn time_that_goes_back() {
        for gaps in [Gaps::Keep, Gaps::Close] {
            let mut line = Timeline::new(gaps);
            assert_eq!(line.place(&table(100_000), i128::MAX), 0);
            assert_eq!(line.place(&table(1_000), i128::MAX), 99_110 * MS);
            assert_eq!(line.place(&table(1_100), i128::MAX), 99_110 * MS);
        }
    }

    #[test]
    fn scales() {
        assert_eq!(rescale(48_000, 48_000, 90_000), 90_000);
        assert_eq!(rescale(-1, 3, 2), -1);
        assert_eq!(rescale(i64::MAX, 1, u32::MAX), i64::MAX);
        assert_eq!(from_ns(to_ns(12_345, 90_000), 90_000), 12_345);
        assert_eq!(from_ns(i128::MAX, u32::MAX), i64::MAX);
    }
}
