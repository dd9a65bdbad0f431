//! Cutting a fragment's sample table to a range; its payload stays as it is.

use media::{RandomAccess, Table};
use world::Timestamp;

use crate::{builder::primary, index::time_of};

/// Keeps what belongs to a range by the producer's clock.
///
/// From the start on: the pictures of the first video track from the last key frame shown at or before it (all if there
/// is none), and of other tracks what is shown or heard from that key frame on. Up to the end: each track's samples, in
/// decode order, to the last that begins before it.
pub(crate) fn trim(table: &Table, from: Option<Timestamp>, to: Option<Timestamp>) -> Table {
    let scale = |id: u8| table.tracks.iter().find(|t| t.id == id).map_or(1, |t| t.timescale);
    let start = |s: &media::Sample| time_of(s.pts, scale(s.track));
    let end = |s: &media::Sample| time_of(s.pts.saturating_add(i64::from(s.duration)), scale(s.track));
    let leads = primary(&table.tracks);
    // Which sample is the first picture, and when the file begins.
    let mut begin = (0, from.unwrap_or(Timestamp::MIN));
    if let (Some(from), Some(lead)) = (from, leads) {
        let mut keys = table.samples.iter().enumerate();
        let key = keys.rfind(|(_, s)| s.track == lead && s.access != RandomAccess::None && start(s) <= from);
        begin = key.map_or((0, Timestamp::MIN), |(i, s)| (i, start(s)));
    }
    let mut last = [None; 256];
    for (i, s) in table.samples.iter().enumerate() {
        if to.is_none_or(|to| start(s) < to) {
            last[usize::from(s.track)] = Some(i);
        }
    }
    let keep = |(i, s): &(usize, &media::Sample)| {
        let begun = if Some(s.track) == leads { *i >= begin.0 } else { end(s) > begin.1 };
        begun && last[usize::from(s.track)].is_some_and(|l| *i <= l)
    };
    let samples: Vec<_> = table.samples.iter().enumerate().filter(keep).map(|(_, s)| s.clone()).collect();
    let tracks = table.tracks.iter().filter(|t| samples.iter().any(|s| s.track == t.id)).cloned().collect();
    Table { tracks, samples }
}

/// When a table's first sample begins and its last ends.
pub(crate) fn covers(table: &Table) -> (Timestamp, Timestamp) {
    let (mut from, mut to) = (Timestamp::MAX, Timestamp::MIN);
    for s in &table.samples {
        let Some(t) = table.tracks.iter().find(|t| t.id == s.track) else { continue };
        from = from.min(time_of(s.pts, t.timescale));
        to = to.max(time_of(s.pts.saturating_add(i64::from(s.duration)), t.timescale));
    }
    (from, to)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use media::{Codec, Framing, Kind, Sample, Track};
    use proptest::prelude::*;

    use super::*;

    fn track(id: u8, video: bool) -> Arc<Track> {
        let kind = if video {
            Kind::Video { width: 16, height: 16 }
        } else {
            Kind::Audio { rate: 1000, channels: 1 }
        };
        let codec = if video { Codec::H264 } else { Codec::Pcmu };
        Arc::new(Track {
            id,
            codec,
            kind,
            timescale: 1000,
            framing: Framing::Raw,
            config: Default::default(),
        })
    }

    /// Key frames each 400 ms, each followed by a picture that is decoded early and shown late.
    fn table() -> Table {
        let mut samples = Vec::new();
        for i in 0i64..20 {
            let shown = [0, 3, 1, 2][(i % 4) as usize] + i / 4 * 4;
            let access = if i % 4 == 0 { RandomAccess::Idr } else { RandomAccess::None };
            let dts = 1_000 + i * 100;
            let sample = |track, pts, access| Sample {
                track,
                dts,
                pts,
                duration: 100,
                access,
                offset: samples_len(&samples),
                len: 1,
            };
            let (a, b) = (
                sample(1, 1_200 + shown * 100, access),
                Sample { offset: samples_len(&samples) + 1, ..sample(2, dts, RandomAccess::Idr) },
            );
            samples.push(a);
            samples.push(b);
        }
        Table { tracks: vec![track(1, true), track(2, false)], samples }
    }

    fn samples_len(s: &[Sample]) -> u64 {
        s.len() as u64
    }

    fn ms(n: i64) -> Timestamp {
        Timestamp::from_millis(n)
    }

    #[test]
    fn it_begins_with_the_key_frame_before_and_ends_with_what_the_last_frame_needs() {
        let t = trim(&table(), Some(ms(1_750)), Some(ms(2_250)));
        let of = |id| t.samples.iter().filter(|s| s.track == id).map(|s| s.pts).collect::<Vec<_>>();
        // The key frame at 1600; 2300 is decoded before 2100 and 2200, which are wanted.
        assert_eq!(of(1), [1_600, 1_900, 1_700, 1_800, 2_000, 2_300, 2_100, 2_200]);
        assert_eq!(of(2), [1_600, 1_700, 1_800, 1_900, 2_000, 2_100, 2_200]);
        assert_eq!(covers(&t), (ms(1_600), ms(2_400)));
    }

    #[test]
    fn what_lies_outside_goes_with_its_tracks() {
        assert_eq!(trim(&table(), None, Some(ms(0))), Table::default());
        let t = trim(&table(), None, Some(ms(1_150)));
        assert_eq!((t.tracks.len(), t.samples.len()), (1, 2));
        assert_eq!(trim(&table(), Some(ms(900)), None).samples.len(), 40, "no key frame before: all of it");
    }

    proptest! {
        #[test]
        fn a_cut_is_a_part_that_keeps_its_order(from in 0i64..4_000, to in 0i64..4_000) {
            let whole = table();
            let t = trim(&whole, Some(ms(from)), Some(ms(to)));
            prop_assert!(media::table::check(&t, 40).is_ok());
            let mut rest = whole.samples.iter();
            prop_assert!(t.samples.iter().all(|s| rest.any(|w| w == s)));
            if let Some(first) = t.samples.iter().find(|s| s.track == 1) {
                prop_assert!(first.access == RandomAccess::Idr);
            }
        }
    }
}
