//! Access units in, fragments out; without I/O.
//!
//! The caller writes each unit's bytes to the payload itself: [`FragmentBuilder::push`] says whether a fragment must
//! be closed *before* they are, and keeps only the sample table.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use media::{AccessUnit, Codec, DtsFiller, Kind, RandomAccess, Sample, Stamp, Table, Track, reorder_depth};
use world::Timestamp;

use crate::{
    index::{Entry, Key, MAX_TRACKS, TrackEntry, init_hash, time_of},
    mp4,
};

/// When fragments end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A fragment ends at the first random-access sample of video after so long (less a twentieth, so that a key
    /// frame due at the target and a little early is not missed for a whole group of pictures).
    pub target: Duration,
    /// … and anyway after so long; also the longest that one sample lasts before a gap is taken for a break.
    pub max: Duration,
    /// … and anyway before it has more bytes than this.
    pub max_bytes: u64,
    /// … or samples.
    pub max_samples: usize,
    /// Nothing of that holds: fragments end where [`FragmentBuilder::end`] and [`FragmentBuilder::end_with_next`] say.
    pub told: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            target: Duration::from_secs(2),
            max: Duration::from_secs(10),
            max_bytes: 50_000_000,
            max_samples: 20_000,
            told: false,
        }
    }
}

/// The largest access unit that is taken.
pub const MAX_UNIT: usize = 32 << 20;
/// The largest decoder configuration that is taken.
pub const MAX_CONFIG: usize = 1 << 20;
/// Times before 1970 or so many ticks after it are refused (at 90 kHz: a million years).
const MAX_TICKS: i64 = 1 << 61;

/// What cannot be stored. The builder is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A unit of a track that was not declared.
    #[error("track {0} was not declared")]
    UnknownTrack(u8),
    /// More tracks than a fragment can have, or none.
    #[error("{0} tracks: a stream has 1 to {MAX_TRACKS}")]
    TrackCount(usize),
    /// Two tracks with one id, or the id 0.
    #[error("track id {0} is 0 or used twice")]
    TrackId(u8),
    /// A track that ticks zero times a second.
    #[error("track {0} has a timescale of zero")]
    Timescale(u8),
    /// A decoder configuration that is too large.
    #[error("the decoder configuration of track {0} has {1} bytes, more than {MAX_CONFIG}")]
    Config(u8, usize),
    /// An access unit that is too large.
    #[error("an access unit of {0} bytes is more than the {MAX_UNIT} that one may have")]
    UnitSize(usize),
    /// A time that is nowhere near any date.
    #[error("a time of {0} ticks is out of any range")]
    Time(i64),
}

/// A finished fragment, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its samples and the tracks that have some.
    pub table: Table,
    /// Their bytes.
    pub bytes: u64,
    /// It does not continue what this builder gave out before.
    pub discontinuity: bool,
    /// The times of some of its units are an estimate of the server's.
    pub estimated: bool,
    /// Ids of tracks with units whose framing MP4 does not have.
    pub rewrite: Vec<u8>,
}

impl Closed {
    /// Start and end by the producer's clock: the first and the last moment at which something is shown or heard.
    pub fn producer(&self) -> (Timestamp, Timestamp) {
        let (mut start, mut end) = (Timestamp::MAX, Timestamp::MIN);
        for s in &self.table.samples {
            let Some(t) = self.table.tracks.iter().find(|t| t.id == s.track) else { continue };
            start = start.min(time_of(s.pts, t.timescale));
            end = end.max(time_of(s.pts.saturating_add(i64::from(s.duration)), t.timescale));
        }
        (start, end.max(start))
    }

    /// Its index entry, but for what only the stream knows: ordinals, discontinuities, the table's length.
    pub fn entry(&self) -> Entry {
        let mut e = Entry {
            independent: true,
            discontinuity: self.discontinuity,
            estimated: self.estimated,
            ..Entry::default()
        };
        let primary = primary(&self.table.tracks);
        for t in &self.table.tracks {
            let mut of = self.table.samples.iter().filter(|s| s.track == t.id);
            let Some(first) = of.next() else { continue };
            let video = matches!(t.kind, Kind::Video { .. });
            if video && primary == Some(t.id) {
                e.independent = first.access != RandomAccess::None;
                e.open = first.access == RandomAccess::Open;
                e.key = std::iter::once(first)
                    .chain(of.clone())
                    .find(|s| s.access != RandomAccess::None)
                    .map(|s| Key { offset: s.offset, len: s.len });
            }
            let mut entry = TrackEntry {
                id: t.id,
                video,
                mp4: mp4::carries(t),
                rewrite: self.rewrite.contains(&t.id),
                init: init_hash(t),
                timescale: t.timescale,
                first_dts: first.dts,
                first_cts: u64::try_from(first.pts.saturating_sub(first.dts)).unwrap_or(0),
                duration: u64::from(first.duration),
                ordinal: 0,
                samples: 1,
                bytes: u64::from(first.len),
            };
            for s in of {
                entry.duration += u64::from(s.duration);
                entry.samples += 1;
                entry.bytes += u64::from(s.len);
            }
            e.tracks.push(entry);
        }
        e.tracks.sort_by_key(|t| t.id);
        e
    }
}

/// The track whose key frames begin fragments: the first of video.
pub(crate) fn primary(tracks: &[Arc<Track>]) -> Option<u8> {
    tracks.iter().find(|t| matches!(t.kind, Kind::Video { .. })).map(|t| t.id)
}

/// One track on its way.
struct Lane {
    track: Arc<Track>,
    video: bool,
    /// Derives decode times where the source has none.
    filler: DtsFiller,
    /// Samples of the open fragment whose decode times it does not know yet: a few, at the start of a time line.
    waiting: VecDeque<usize>,
    /// Decode time of its latest sample, on the present time line.
    last: Option<i64>,
    /// … and on the one before, as long as the present one has none.
    before: Option<i64>,
    /// What a sample lasts when nobody says.
    usual: u32,
    /// Of the open fragment: its first decode time, and which sample is its latest.
    first: Option<i64>,
    open: Option<usize>,
    /// … and whether a unit of it must be rewritten for MP4.
    rewrite: bool,
}

impl Lane {
    fn new(track: Arc<Track>) -> Lane {
        let video = matches!(track.kind, Kind::Video { .. });
        let usual = match track.codec {
            Codec::Aac => per_second(&track, 1024.0, f64::from(rate(&track))),
            _ if video => per_second(&track, 1.0, 25.0),
            _ => per_second(&track, 1.0, 50.0),
        };
        Lane {
            filler: DtsFiller::new(reorder_depth(&track)),
            waiting: VecDeque::new(),
            video,
            last: None,
            before: None,
            usual,
            first: None,
            open: None,
            rewrite: false,
            track,
        }
    }
    fn ticks(&self, d: Duration) -> i64 {
        i64::try_from(d.as_micros() * u128::from(self.track.timescale) / 1_000_000).unwrap_or(i64::MAX)
    }
    /// The decode time of the track's next sample is known, and with it what the one before lasted; also where its
    /// fragment ends here.
    fn reaches(&mut self, dts: i64, samples: &mut [Sample], max: Duration) {
        let Some(last) = self.last else { return };
        let d = u32::try_from(dts.saturating_sub(last)).unwrap_or(u32::MAX);
        if i64::from(d) <= self.ticks(max) {
            self.usual = d;
            if let Some(before) = self.open.and_then(|i| samples.get_mut(i)) {
                before.duration = d;
            }
        }
    }
    /// A decode time that rises: also through a break after which time goes on, and players that keep no two time
    /// lines apart see none go back.
    fn rising(&mut self, dts: i64, pts: i64) -> i64 {
        let before = self.before.take().filter(|before| pts > *before);
        self.last.or(before).map_or(dts, |last| dts.max(last + 1))
    }
    /// Settles samples that waited; the stamp that is left over belongs to the unit being taken.
    fn settle(&mut self, stamps: &[Stamp], samples: &mut [Sample], max: Duration) -> Option<Stamp> {
        let mut own = None;
        for s in stamps {
            let mut s = *s;
            s.dts = self.rising(s.dts, s.pts);
            s.pts = s.pts.max(s.dts);
            let Some(i) = self.waiting.pop_front() else {
                own = Some(s);
                continue;
            };
            self.reaches(s.dts, samples, max);
            samples[i].dts = s.dts;
            samples[i].pts = s.pts;
            samples[i].duration = self.usual;
            self.last = Some(s.dts);
            self.open = Some(i);
            self.first = self.first.map(|f| f.min(s.dts));
        }
        own
    }
}

fn rate(track: &Track) -> u32 {
    match track.kind {
        Kind::Audio { rate, .. } => rate.max(1),
        Kind::Video { .. } => 1,
    }
}

fn per_second(track: &Track, n: f64, rate: f64) -> u32 {
    (f64::from(track.timescale) * n / rate).round().clamp(1.0, f64::from(u32::MAX)) as u32
}

/// Makes fragments of one session.
pub struct FragmentBuilder {
    rules: Rules,
    lanes: Vec<Lane>,
    primary: Option<usize>,
    samples: Vec<Sample>,
    stamps: Vec<Stamp>,
    bytes: u64,
    /// The open fragment has video, and begins where decoding can.
    has_video: bool,
    independent: bool,
    /// The next fragment, or the open one, does not continue the one before.
    broken: bool,
    /// What is taken now has estimated times; and whether something of the open fragment has.
    estimating: bool,
    estimated: bool,
    /// Something was given out.
    begun: bool,
    /// The open fragment ends before the next unit.
    ending: bool,
}

impl FragmentBuilder {
    /// A builder that knows no track yet.
    pub fn new(rules: Rules) -> FragmentBuilder {
        FragmentBuilder {
            rules,
            lanes: Vec::new(),
            primary: None,
            samples: Vec::new(),
            stamps: Vec::new(),
            bytes: 0,
            has_video: false,
            independent: true,
            broken: false,
            estimating: false,
            estimated: false,
            begun: false,
            ending: false,
        }
    }

    /// Declares all tracks. A change ends the open fragment.
    pub fn tracks(&mut self, tracks: Vec<Arc<Track>>) -> Result<Option<Closed>, BuildError> {
        if tracks.is_empty() || tracks.len() > MAX_TRACKS {
            return Err(BuildError::TrackCount(tracks.len()));
        }
        for (i, t) in tracks.iter().enumerate() {
            if t.id == 0 || tracks[..i].iter().any(|o| o.id == t.id) {
                return Err(BuildError::TrackId(t.id));
            }
            if t.timescale == 0 {
                return Err(BuildError::Timescale(t.id));
            }
            if t.config.len() > MAX_CONFIG {
                return Err(BuildError::Config(t.id, t.config.len()));
            }
        }
        if self.lanes.len() == tracks.len() && self.lanes.iter().zip(&tracks).all(|(l, t)| l.track == *t) {
            return Ok(None);
        }
        let closed = self.close_at(None).0;
        let old = std::mem::take(&mut self.lanes);
        self.lanes = tracks.into_iter().map(Lane::new).collect();
        // The time line goes on where a track does, so that decode times rise through the change.
        for lane in &mut self.lanes {
            let same =
                old.iter().find(|o| o.track.id == lane.track.id && o.track.timescale == lane.track.timescale);
            lane.last = same.and_then(|o| o.last);
            lane.before = same.and_then(|o| o.before);
        }
        self.primary = self.lanes.iter().position(|l| l.video);
        self.broken |= self.begun;
        Ok(closed)
    }

    /// Whether the times of the units that follow are an estimate; at first they are not.
    pub fn estimated(&mut self, estimated: bool) {
        self.estimating = estimated;
    }

    /// The tracks as declared.
    pub fn declared(&self) -> Vec<Arc<Track>> {
        self.lanes.iter().map(|l| l.track.clone()).collect()
    }

    /// What follows does not continue what was: ends the open fragment.
    pub fn discontinuity(&mut self) -> Option<Closed> {
        let closed = self.close_at(None).0;
        self.broken |= self.begun;
        for lane in &mut self.lanes {
            lane.before = lane.last.take().or(lane.before);
            lane.filler = DtsFiller::new(reorder_depth(&lane.track));
        }
        closed
    }

    /// Ends the open fragment. Also asked for between units: what comes then continues it.
    pub fn end(&mut self) -> Option<Closed> {
        self.close_at(None).0
    }

    /// Ends the open fragment before the next unit, whose time then says how long the last one lasts.
    pub fn end_with_next(&mut self) {
        self.ending = !self.samples.is_empty();
    }

    /// Whether fragments end only where they are said to.
    pub fn is_told(&self) -> bool {
        self.rules.told
    }

    /// Whether there is nothing in the open fragment.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The latest sample, as far as it is known: its duration comes with the next.
    pub fn latest(&self) -> Option<&Sample> {
        self.samples.last()
    }

    /// Whether decode times of a track's samples are not known yet.
    pub(crate) fn unsettled(&self, track: u8) -> bool {
        self.lanes.iter().any(|l| l.track.id == track && !l.waiting.is_empty())
    }

    /// Whether the open fragment does not continue what was given out before.
    pub(crate) fn breaks(&self) -> bool {
        self.broken
    }

    /// Takes a unit into the open fragment; the one returned was closed before it. Its bytes follow those of all units
    /// taken since.
    pub fn push(&mut self, unit: &AccessUnit) -> Result<Option<Closed>, BuildError> {
        let at = self
            .lanes
            .iter()
            .position(|l| l.track.id == unit.track)
            .ok_or(BuildError::UnknownTrack(unit.track))?;
        if unit.data.len() > MAX_UNIT {
            return Err(BuildError::UnitSize(unit.data.len()));
        }
        for t in [Some(unit.pts), unit.dts].into_iter().flatten() {
            if !(0..=MAX_TICKS).contains(&t) {
                return Err(BuildError::Time(t));
            }
        }
        let mut closed = None;
        if self.jumps(at, unit.dts.unwrap_or(unit.pts)) {
            closed = self.discontinuity();
        }
        let max = self.rules.max;
        let lane = &mut self.lanes[at];
        let mut stamp = match unit.dts {
            Some(dts) => {
                // A source that gives some decode times and not others.
                if !lane.waiting.is_empty() {
                    self.stamps.clear();
                    self.stamps.extend(lane.filler.flush());
                    lane.settle(&self.stamps, &mut self.samples, max);
                }
                Some(Stamp { pts: unit.pts, dts, moved: false })
            }
            None => {
                self.stamps.clear();
                self.stamps.extend(lane.filler.push(unit.pts));
                lane.settle(&self.stamps, &mut self.samples, max)
            }
        };
        if let Some(s) = &mut stamp {
            s.dts = lane.rising(s.dts, s.pts);
            lane.reaches(s.dts, &mut self.samples, max);
        }
        if self.ends_before(at, stamp.map_or(unit.pts, |s| s.dts), unit) {
            let own;
            (closed, own) = self.close_at(Some(at));
            stamp = stamp.or(own);
        }
        let lane = &mut self.lanes[at];
        if let Some(d) = unit.duration.filter(|d| *d > 0 && i64::from(*d) <= lane.ticks(self.rules.max)) {
            lane.usual = d;
        }
        if Some(at) == self.primary && !self.has_video {
            self.has_video = true;
            self.independent = unit.access != RandomAccess::None;
        }
        lane.rewrite |= mp4::needs_rewrite(&lane.track, &unit.data);
        let index = self.samples.len();
        let (dts, pts) = match stamp {
            Some(s) => {
                lane.last = Some(s.dts);
                lane.open = Some(index);
                (s.dts, unit.pts.max(s.dts))
            }
            None => {
                lane.waiting.push_back(index);
                (unit.pts, unit.pts)
            }
        };
        lane.first.get_or_insert(dts);
        self.samples.push(Sample {
            track: unit.track,
            dts,
            pts,
            duration: lane.usual,
            access: unit.access,
            offset: self.bytes,
            len: unit.data.len() as u32,
        });
        self.bytes += unit.data.len() as u64;
        self.begun = true;
        self.estimated |= self.estimating;
        Ok(closed)
    }

    /// Whether the source's time line breaks at this sample: back by more than a second, or (where fragments are
    /// measured: a pause in the sound of a video is none) on by more than a sample may last.
    fn jumps(&self, at: usize, time: i64) -> bool {
        if self.rules.told {
            return false;
        }
        let lane = &self.lanes[at];
        let max = lane.ticks(self.rules.max);
        // Pictures that are shown before the first may come after it, and nothing is known of decode times yet.
        let first = lane.waiting.front().and_then(|i| self.samples.get(*i)).map(|s| (s.pts, max));
        let Some((last, back)) = lane.last.map(|l| (l, i64::from(lane.track.timescale))).or(first) else {
            return false;
        };
        let leads = self.primary.is_none_or(|p| p == at);
        time < last.saturating_sub(back) || leads && time > last.saturating_add(max)
    }

    fn ends_before(&self, at: usize, dts: i64, unit: &AccessUnit) -> bool {
        if self.samples.is_empty() {
            return false;
        }
        if self.rules.told || self.ending {
            return self.ending;
        }
        let lane = &self.lanes[at];
        let elapsed = lane.first.map_or(0, |first| dts.saturating_sub(first));
        let target = lane.ticks(self.rules.target - self.rules.target / 20);
        let key = Some(at) == self.primary && unit.access != RandomAccess::None && self.has_video;
        key && (elapsed >= target || !self.independent)
            || !self.has_video && elapsed >= target
            || elapsed >= lane.ticks(self.rules.max)
            || self.bytes + unit.data.len() as u64 > self.rules.max_bytes
            || self.samples.len() >= self.rules.max_samples
    }

    /// Closes the open fragment. Samples that wait for decode times get the best known now, and so does the unit that
    /// is just being taken on a lane.
    fn close_at(&mut self, taking: Option<usize>) -> (Option<Closed>, Option<Stamp>) {
        let mut own = None;
        for (i, lane) in self.lanes.iter_mut().enumerate() {
            if !lane.waiting.is_empty() || taking == Some(i) {
                let stamps: Vec<_> = lane.filler.flush().collect();
                own = own.or(lane.settle(&stamps, &mut self.samples, self.rules.max));
            }
        }
        self.ending = false;
        if self.samples.is_empty() {
            return (None, own);
        }
        let room = self.samples.len() + self.samples.len() / 8;
        let samples = std::mem::replace(&mut self.samples, Vec::with_capacity(room));
        let tracks = self.lanes.iter().filter(|l| l.open.is_some()).map(|l| l.track.clone()).collect();
        let rewrite = self.lanes.iter().filter(|l| l.rewrite).map(|l| l.track.id).collect();
        for lane in &mut self.lanes {
            (lane.first, lane.open, lane.rewrite) = (None, None, false);
        }
        let closed = Closed {
            table: Table { tracks, samples },
            bytes: std::mem::take(&mut self.bytes),
            discontinuity: std::mem::take(&mut self.broken),
            estimated: std::mem::take(&mut self.estimated),
            rewrite,
        };
        self.has_video = false;
        self.independent = true;
        (Some(closed), own)
    }
}
