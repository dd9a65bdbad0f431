//! Samples in, parts out; without I/O.
//!
//! A part ends with the sample after which another of the usual length would make it longer than the part target: so it
//! is there as soon as its last sample is, and not only when the next has come. Its length is thus an estimate by that one
//! sample's; decode times are exact, and the next part says where this one really ended.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use media::{Sample, Track, fmp4};
use world::Timestamp;

use crate::{
    Closed,
    index::{InitHash, init_hash, time_of},
    mp4,
};

/// Bytes of parts kept for a stream at most.
const MAX_HELD: u64 = 64 << 20;
/// Of what is closed, parts are kept so many times as long as the longest fragment lasts.
const KEPT: f64 = 5.0;
/// Beyond the length that whole samples have: what their times may differ by.
pub(super) const SLACK: f64 = 1.05;
/// What a part must have of the part target (§4.4.4.9).
const LEAST: f64 = 0.85;

/// A partial segment.
#[derive(Debug)]
pub(crate) struct Part {
    /// Which of its lane's.
    pub seq: u64,
    /// How long it lasts.
    pub seconds: f64,
    /// Decoding can start at its first sample.
    pub independent: bool,
    /// A `moof` and an `mdat`.
    pub data: Vec<Bytes>,
}

/// One track's parts of one fragment.
#[derive(Debug)]
pub(crate) struct Strip {
    pub track: u8,
    pub video: bool,
    pub init: InitHash,
    /// When its first sample is shown, by the producer's clock.
    pub start: Option<Timestamp>,
    /// The part target that they were made for, in seconds.
    pub target: f64,
    pub parts: Vec<Arc<Part>>,
}

/// A fragment that is being made, or was made lately.
#[derive(Debug)]
pub(crate) struct LiveFragment {
    id: u64,
    /// Its number, once it is about to be stored.
    pub number: Option<u64>,
    /// It has parts: all of it was seen, from its first sample on, and their times were known at once.
    pub listed: bool,
    /// There will be no more of it.
    pub closed: bool,
    /// It has its numbers for good: it is stored, or may turn up.
    stored: bool,
    /// It does not continue the fragment before.
    pub discontinuity: bool,
    pub strips: Vec<Strip>,
    seconds: f64,
    bytes: u64,
}

/// One track on its way.
struct Lane {
    track: Arc<Track>,
    next: u64,
    /// Samples of the part that is not whole yet.
    open: Vec<fmp4::Piece>,
    /// What a sample lasts on average, in seconds, as the latest fragment had it.
    usual: Option<f64>,
}

/// The parts of one session of a source.
pub(crate) struct Chain {
    pub session: u64,
    /// In the addresses of its parts: no two chains have the same.
    pub epoch: u64,
    /// The wanted part target, in seconds.
    wanted: f64,
    lanes: Vec<Lane>,
    pub fragments: VecDeque<LiveFragment>,
    next_id: u64,
    /// No lane has given out a number from here on, so one that comes anew begins here.
    unused: u64,
}

/// The part target, in seconds, for samples of a length: near what is wanted, and such that whole samples fill it.
fn target(wanted: f64, usual: f64) -> f64 {
    let up = |t: f64| (t * 1000.0 - 1e-6).ceil() / 1000.0;
    let fits = |t: f64| (t / usual).floor() * usual >= t * (LEAST + 0.02);
    let t = wanted * SLACK;
    if usual <= 0.0 || fits(t) {
        return up(t);
    }
    up((wanted / usual).round().max(1.0) * usual * SLACK)
}

impl Lane {
    fn seconds(&self, ticks: i64) -> f64 {
        ticks as f64 / f64::from(self.track.timescale.max(1))
    }

    /// Makes a part of what is open, which ends at a decode time, or as its last sample says.
    fn cut(&mut self, end: Option<i64>, strip: &mut Strip) -> Result<u64, media::MediaError> {
        let pieces = std::mem::take(&mut self.open);
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(0) };
        let end = end.unwrap_or(last.sample.dts.saturating_add(last.sample.duration.into()));
        let seconds = self.seconds(end.saturating_sub(first.sample.dts)).max(0.0);
        let independent = first.sample.access.is_start();
        let run = fmp4::Run { track: &self.track, pieces: &pieces };
        let data = fmp4::segment(self.next as u32, &[run])?;
        if seconds > strip.target {
            strip.target = (seconds * 1000.0).ceil() / 1000.0;
        }
        strip.parts.push(Arc::new(Part { seq: self.next, seconds, independent, data }));
        self.next += 1;
        Ok(pieces.iter().map(|p| p.data.len() as u64).sum())
    }
}

impl Chain {
    /// Of a session that publishes; `wanted` is the part target, in seconds.
    pub fn new(session: u64, epoch: u64, wanted: f64) -> Chain {
        Chain { session, epoch, wanted, lanes: Vec::new(), fragments: VecDeque::new(), next_id: 0, unused: 0 }
    }

    /// A fragment begins. It has no parts if the chain has none before it, or if some of it was not seen.
    pub fn begin(&mut self, tracks: &[Arc<Track>], discontinuity: bool, whole: bool) {
        let listed = whole && !self.fragments.is_empty();
        let mut old = std::mem::take(&mut self.lanes);
        self.unused = old.iter().map(|l| l.next).fold(self.unused, u64::max);
        self.lanes = tracks
            .iter()
            .filter(|t| mp4::carries(t))
            .map(|t| match old.iter().position(|l| l.track.id == t.id) {
                Some(i) if old[i].track == *t => Lane { open: Vec::new(), ..old.swap_remove(i) },
                i => Lane {
                    track: t.clone(),
                    next: i.map_or(self.unused, |i| old[i].next),
                    open: Vec::new(),
                    usual: None,
                },
            })
            .collect();
        let strips = self.lanes.iter().map(|l| Strip {
            track: l.track.id,
            video: l.track.is_video(),
            init: init_hash(&l.track),
            start: None,
            target: target(self.wanted, l.usual.unwrap_or(0.0)),
            parts: Vec::new(),
        });
        let strips = strips.collect();
        let id = self.next_id;
        self.next_id += 1;
        self.fragments.push_back(LiveFragment {
            id,
            number: None,
            listed,
            closed: false,
            stored: false,
            discontinuity,
            strips,
            seconds: 0.0,
            bytes: 0,
        });
    }

    /// A sample of the fragment that began last. `unsettled`: its decode time may still change. Whether a part is new.
    pub fn unit(
        &mut self,
        sample: &Sample,
        data: &Bytes,
        unsettled: bool,
    ) -> Result<bool, media::MediaError> {
        let Some(f) = self.fragments.back_mut() else { return Ok(false) };
        if f.closed || !f.listed {
            return Ok(false);
        }
        if unsettled {
            f.listed = false;
            f.strips.iter_mut().for_each(|s| s.parts.clear());
            self.lanes.iter_mut().for_each(|l| l.open.clear());
            return Ok(false);
        }
        let Some(lane) = self.lanes.iter_mut().find(|l| l.track.id == sample.track) else { return Ok(false) };
        let Some(strip) = f.strips.iter_mut().find(|s| s.track == sample.track) else { return Ok(false) };
        strip.start.get_or_insert_with(|| time_of(sample.pts, lane.track.timescale));
        let before = strip.parts.len();
        let lasts = i64::from(sample.duration);
        let reaches = |lane: &Lane, more: i64| {
            let from = lane.open.first().map_or(sample.dts, |p| p.sample.dts);
            lane.seconds(sample.dts.saturating_add(more).saturating_sub(from)) > strip.target + 1e-9
        };
        if !lane.open.is_empty() && reaches(lane, lasts) {
            f.bytes += lane.cut(Some(sample.dts), strip)?;
        }
        lane.open.push(fmp4::Piece { sample: sample.clone(), data: data.clone() });
        // Another one like it would be too much.
        let full = {
            let from = lane.open.first().map_or(sample.dts, |p| p.sample.dts);
            let end = sample.dts.saturating_add(lasts.saturating_mul(2));
            lane.seconds(end.saturating_sub(from)) > strip.target + 1e-9
        };
        if full {
            f.bytes += lane.cut(None, strip)?;
        }
        let new = strip.parts.len() > before;
        self.trim();
        Ok(new)
    }

    /// The fragment that began last has ended: what is left of it is its last parts. Its id, if it is one of the chain's.
    pub fn end(&mut self, closed: &Closed) -> Result<Option<u64>, media::MediaError> {
        let Some(f) = self.fragments.back_mut().filter(|f| !f.closed) else { return Ok(None) };
        f.closed = true;
        f.discontinuity |= closed.discontinuity;
        for lane in &mut self.lanes {
            let of = || closed.table.samples.iter().filter(|s| s.track == lane.track.id);
            let ticks: i64 = of().map(|s| i64::from(s.duration)).sum();
            let count = of().count();
            f.seconds = f.seconds.max(lane.seconds(ticks));
            if count > 0 && ticks > 0 {
                lane.usual = Some(lane.seconds(ticks) / count as f64);
            }
            // How long the last one lasts is known by now.
            if let Some(p) = lane.open.last_mut()
                && let Some(s) = of().next_back().filter(|s| s.dts == p.sample.dts)
            {
                p.sample.duration = s.duration;
            }
            if let Some(strip) = f.strips.iter_mut().find(|s| s.track == lane.track.id) {
                f.bytes += lane.cut(None, strip)?;
            }
        }
        let id = f.id;
        self.trim();
        Ok(Some(id))
    }

    /// A fragment is about to be stored under a number.
    pub fn numbered(&mut self, id: u64, number: u64) {
        if let Some(f) = self.fragments.iter_mut().find(|f| f.id == id) {
            f.number = Some(number);
        }
    }

    /// A fragment's numbers are its own for good.
    pub fn stored(&mut self, id: u64) {
        if let Some(f) = self.fragments.iter_mut().find(|f| f.id == id) {
            f.stored = true;
        }
    }

    /// The tracks of which parts may have been shown of what is not stored: of the fragment right after the last that is, as
    /// of no other are parts listed. With `failed` only if it is that one.
    pub fn shown_in_vain(&self, failed: Option<u64>) -> Vec<u8> {
        let mut pairs = self.fragments.iter().zip(self.fragments.iter().skip(1));
        let shown = pairs.find(|(before, f)| before.stored && !f.stored).map(|(_, f)| f);
        let lost = shown.filter(|f| f.listed && failed.is_none_or(|id| f.id == id));
        let strips = lost.into_iter().flat_map(|f| &f.strips);
        strips.filter(|s| !s.parts.is_empty()).map(|s| s.track).collect()
    }

    /// Lets go of what nobody asks for any more, and of what is too much.
    fn trim(&mut self) {
        let longest = self.fragments.iter().map(|f| f.seconds).fold(0.5, f64::max);
        let mut seconds: f64 = self.fragments.iter().map(|f| f.seconds).sum();
        let mut bytes: u64 = self.fragments.iter().map(|f| f.bytes).sum();
        while self.fragments.len() > 2
            && let Some(f) = self.fragments.front()
            && f.closed
            && (seconds - f.seconds > KEPT * longest || bytes > MAX_HELD)
        {
            seconds -= f.seconds;
            bytes -= f.bytes;
            self.fragments.pop_front();
        }
        // Of one that is too large by itself there are no parts.
        if bytes > MAX_HELD
            && let Some(f) = self.fragments.back_mut()
        {
            f.listed = false;
            f.bytes = 0;
            f.strips.iter_mut().for_each(|s| s.parts.clear());
            self.lanes.iter_mut().for_each(|l| l.open.clear());
        }
    }

    /// What fragment of a number there is, and the one that follows it.
    pub fn find(&self, number: u64) -> Option<(&LiveFragment, Option<&LiveFragment>)> {
        let i = self.fragments.iter().position(|f| f.number == Some(number))?;
        Some((self.fragments.get(i)?, self.fragments.get(i + 1)))
    }

    /// The number of the part of a track that is made next.
    pub fn next(&self, track: u8) -> Option<u64> {
        self.lanes.iter().find(|l| l.track.id == track).map(|l| l.next)
    }

    /// A part.
    pub fn part(&self, track: u8, seq: u64) -> Option<(Arc<Part>, bool)> {
        let strips = self.fragments.iter().filter(|f| f.listed).flat_map(|f| &f.strips);
        strips
            .filter(|s| s.track == track)
            .find_map(|s| s.parts.iter().find(|p| p.seq == seq).map(|p| (p.clone(), s.video)))
    }
}

#[cfg(test)]
mod tests {
    use media::{Codec, Framing, Kind, RandomAccess, Table};
    use proptest::prelude::*;

    use super::*;

    fn track(timescale: u32) -> Arc<Track> {
        let hex =
            "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
        let config: Vec<u8> =
            (0..hex.len() / 2).filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect();
        Arc::new(Track {
            id: 1,
            codec: Codec::H264,
            kind: Kind::Video { width: 320, height: 180 },
            timescale,
            framing: Framing::Length(4),
            config: config.into(),
        })
    }

    #[test]
    fn part_targets_that_whole_samples_fill() {
        for (usual, expected) in [
            (0.04, 0.21),
            (1.001 / 30.0, 0.21),
            (0.02, 0.21),
            (0.128, 0.269),
            (0.08, 0.252),
            (0.5, 0.525),
            (0.0, 0.21),
        ] {
            assert!((target(0.2, usual) - expected).abs() < 0.0011, "{usual}: {}", target(0.2, usual));
        }
    }

    /// Feeds fragments of samples that last so many ticks each, all but the first of which have parts.
    fn run(track: &Arc<Track>, fragments: &[Vec<u32>]) -> Chain {
        let mut chain = Chain::new(1, 7, 0.2);
        let mut dts = 1i64 << 40;
        let mut usual = 3600;
        for lasts in fragments {
            let mut samples: Vec<Sample> = Vec::new();
            for (i, d) in lasts.iter().enumerate() {
                let access = if i == 0 { RandomAccess::Idr } else { RandomAccess::None };
                let len = 5;
                let s =
                    Sample { track: 1, dts, pts: dts, duration: usual, access, offset: 5 * i as u64, len };
                if let Some(last) = samples.last_mut() {
                    last.duration = usual;
                }
                samples.push(s.clone());
                if i == 0 {
                    chain.begin(std::slice::from_ref(track), false, true);
                }
                chain.unit(&s, &Bytes::from_static(&[0, 0, 0, 1, 0x65]), false).expect("it is a segment");
                dts += i64::from(*d);
                usual = *d;
            }
            if let Some(last) = samples.last_mut() {
                last.duration = usual;
            }
            let closed = Closed {
                bytes: samples.len() as u64 * 5,
                table: Table { tracks: vec![track.clone()], samples },
                discontinuity: false,
                estimated: false,
                rewrite: Vec::new(),
            };
            chain.end(&closed).expect("it ends");
        }
        chain
    }

    /// Parts are listed of what comes right after what is stored.
    #[test]
    fn what_was_shown_in_vain() {
        let mut chain = run(&track(90_000), &[vec![3600; 50], vec![3600; 50], vec![3600; 50]]);
        let of = |chain: &Chain| [None, Some(1), Some(2)].map(|failed| chain.shown_in_vain(failed));
        let none = Vec::<u8>::new;
        assert_eq!(of(&chain), [none(), none(), none()]);
        chain.stored(0);
        assert_eq!(of(&chain), [vec![1], vec![1], none()]);
        chain.stored(1);
        assert_eq!(of(&chain), [vec![1], none(), vec![1]]);
        chain.stored(2);
        assert_eq!(of(&chain), [none(), none(), none()]);
    }

    proptest! {
        /// At any steady rate, parts are as long as they have to be, and together what the fragment is.
        #[test]
        fn parts_of_steady_samples(fps in 2u32..121, seconds in 1u32..4) {
            let t = track(90_000);
            let d = 90_000 / fps;
            let n = (fps * seconds) as usize;
            let chain = run(&t, &[vec![d; n], vec![d; n], vec![d; n]]);
            for f in chain.fragments.iter().skip(1) {
                prop_assert!(f.listed && f.closed);
                let s = &f.strips[0];
                let whole = f64::from(d) * n as f64 / 90_000.0;
                let sum: f64 = s.parts.iter().map(|p| p.seconds).sum();
                prop_assert!((sum - whole).abs() < 1e-3, "{sum} of {whole}");
                for (i, p) in s.parts.iter().enumerate() {
                    prop_assert!(p.seconds <= s.target + 1e-9, "{} > {}", p.seconds, s.target);
                    let last = i + 1 == s.parts.len();
                    prop_assert!(last || p.seconds >= LEAST * s.target, "{} of {} at {fps}", p.seconds, s.target);
                    prop_assert_eq!(p.independent, i == 0);
                }
            }
        }

        /// Whatever samples last: every one is in a part, once, in order, and no part is longer than the target says.
        #[test]
        fn nothing_is_left_out(lasts in proptest::collection::vec(proptest::collection::vec(1u32..60_000, 1..40), 2..5)) {
            let t = track(90_000);
            let chain = run(&t, &lasts);
            let mut seq = None;
            for (f, lasts) in chain.fragments.iter().rev().zip(lasts.iter().rev()).take_while(|(f, _)| f.listed) {
                let s = &f.strips[0];
                let mut count = 0;
                for p in &s.parts {
                    let all: Vec<u8> = p.data.concat();
                    let got = fmp4::read_segment(&all).expect("a segment");
                    count += got.runs[0].samples.len();
                    prop_assert!(p.seconds <= s.target + 1e-3);
                }
                prop_assert_eq!(count, lasts.len());
                let last = s.parts.last().map(|p| p.seq + 1);
                prop_assert!(seq.is_none() || last == seq, "numbers follow one another");
                seq = s.parts.first().map(|p| p.seq);
            }
        }
    }
}
