use std::sync::Arc;

use bytes::Bytes;

use super::WHAT;
use super::ebml::{put, put_float, put_id, put_master, put_uint, put_vint, put_vint_in, put_void};
use super::entry::{delay, write};
use super::ids::*;
use crate::error::invalid;
use crate::timeline::{NS, Timeline, picture_duration, to_ns};
use crate::{
    Codec, Framing, Gaps, LeftOut, MediaError, Sample, Table, Track, aac, date, h264, h265, join_length4,
    nals, salvage_length4, table,
};

/// What kind of NAL unit bytes are.
type NalType = fn(&[u8]) -> u8;

/// Bytes kept for a SeekHead, for Duration, and to tell the size of the Segment.
const SEEK_SPACE: usize = 100;
const DURATION_SPACE: usize = 11;
/// A longer pause is a clock that was wrong: a year.
const LONGEST: i128 = 365 * 86_400 * NS;
const MAX_TRACKS: usize = 126;

/// Bytes to be written over what stands at an offset in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// From the start of the file.
    pub at: u64,
    /// As many as there are.
    pub bytes: Bytes,
}

/// What ends a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// To be written after the last Cluster: Cues.
    pub bytes: Bytes,
    /// Whoever can go back in the file may write these: duration, size, and where the Cues are.
    pub patches: Vec<Patch>,
}

struct Out {
    track: Arc<Track>,
    /// Nanoseconds by which its blocks' times are later than they are shown (CodecDelay).
    delay: i128,
    /// Whether its parameter sets have changed, and which go before key frames since.
    sets: Option<(Arc<Track>, Bytes)>,
}

struct Cue {
    time: u64,
    track: u64,
    cluster: u64,
    relative: u64,
}

/// Writes a file of fragments; see the [module](super).
pub struct Writer {
    timeline: Timeline,
    declared: Vec<Arc<Track>>,
    outs: Vec<Out>,
    /// Nanoseconds since the epoch of the file's time 0, once it is begun.
    origin: Option<i128>,
    /// Bytes written, where the Segment's content begins, and where Info, Duration and Tracks stand.
    at: u64,
    segment: u64,
    info: u64,
    duration_at: u64,
    tracks: u64,
    /// Milliseconds at which what is written ends.
    end: i64,
    cues: Vec<Cue>,
    left_out: Vec<LeftOut>,
    /// Times are counted from 1970.
    absolute: bool,
}

/// A block of the Cluster that is being made.
struct Block {
    out: usize,
    /// Milliseconds.
    time: i64,
    key: bool,
    data: [Bytes; 3],
}

impl Writer {
    /// A file of which nothing is written.
    pub fn new(gaps: Gaps) -> Writer {
        Writer {
            timeline: Timeline::new(gaps),
            declared: vec![],
            outs: vec![],
            origin: None,
            at: 0,
            segment: 0,
            info: 0,
            duration_at: 0,
            tracks: 0,
            end: 0,
            cues: vec![],
            left_out: vec![],
            absolute: false,
        }
    }

    /// One whose times are those since 1970, rather than from the first picture, and that says no date.
    pub fn absolute(gaps: Gaps) -> Writer {
        Writer { absolute: true, ..Writer::new(gaps) }
    }

    /// Names tracks that the first fragment does not have, or other configurations of its sound, before that fragment.
    /// The file can have no others (pictures bring theirs along). What was named already, and more than 126, is passed over.
    pub fn declare(&mut self, tracks: &[Arc<Track>]) {
        for track in tracks {
            let known = self.declared.iter().any(|t| fits(t, track));
            if self.origin.is_none() && !known && self.declared.len() < MAX_TRACKS {
                self.declared.push(track.clone());
            }
        }
    }

    /// The next fragment, as slices: the first with what comes before it, each with one Cluster or more. Payloads are
    /// passed on as they are, or copied where their framing has to change. A fragment without samples gives nothing.
    ///
    /// Fails if the table is not sound ([`table::check`]), and if no track of the first fragment can be written; then
    /// nothing is to be written, and the file can be finished or go on.
    pub fn fragment(&mut self, table: &Table, payload: &Bytes) -> Result<Vec<Bytes>, MediaError> {
        table::check(table, payload.len() as u64)?;
        if table.samples.iter().map(|s| u64::from(s.len)).sum::<u64>() > payload.len() as u64 {
            return invalid(WHAT, "samples that share bytes");
        }
        if table.samples.is_empty() {
            return Ok(vec![]);
        }
        let mut slices = vec![];
        if self.origin.is_none() {
            slices.push(self.begin(table)?);
        }
        let origin = self.origin.unwrap_or(0);
        let places = self.places(table);
        let shift = self.timeline.place(table, LONGEST);
        let mut by_id = [None; 256];
        for (i, track) in table.tracks.iter().enumerate() {
            by_id[usize::from(track.id)] = places[i].map(|out| (i, out));
        }
        let mut blocks = vec![];
        for s in &table.samples {
            let Some((i, out)) = by_id[usize::from(s.track)] else { continue };
            let track = &table.tracks[i];
            let ns = to_ns(s.pts, track.timescale) + shift + self.outs[out].delay - origin;
            let time = milliseconds(ns).max(0);
            let lasts = milliseconds(to_ns(i64::from(s.duration), track.timescale));
            self.end = self.end.max(time.saturating_add(lasts));
            let data = self.data(out, track, s, payload)?;
            blocks.push(Block { out, time, key: s.access.is_start(), data });
        }
        let mut rest = &blocks[..];
        while !rest.is_empty() {
            let (n, time) = reach(rest);
            self.cluster(&rest[..n], time, &mut slices);
            rest = &rest[n..];
        }
        Ok(slices)
    }

    /// What could not be put into the file so far.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Ends the file. Of a file without samples there is nothing to write.
    pub fn finish(self) -> Tail {
        if self.origin.is_none() {
            return Tail { bytes: Bytes::new(), patches: vec![] };
        }
        let mut cues = vec![];
        for cue in &self.cues {
            put_master(&mut cues, CUE_POINT, |out| {
                put_uint(out, CUE_TIME, cue.time);
                put_master(out, CUE_POSITIONS, |out| {
                    put_uint(out, CUE_TRACK, cue.track);
                    put_uint(out, CUE_CLUSTER, cue.cluster);
                    put_uint(out, CUE_RELATIVE, cue.relative);
                });
            });
        }
        let mut bytes = vec![];
        if !cues.is_empty() {
            put(&mut bytes, CUES, &cues);
        }
        let mut seek = vec![];
        put_master(&mut seek, SEEK_HEAD, |out| {
            let places = [(INFO, self.info), (TRACKS, self.tracks), (CUES, self.at)];
            for (id, at) in places.iter().filter(|(id, _)| *id != CUES || !cues.is_empty()) {
                put_master(out, SEEK, |out| {
                    put(out, SEEK_ID, &id.to_be_bytes());
                    put(out, SEEK_POSITION, &(at - self.segment).to_be_bytes());
                });
            }
        });
        let space = SEEK_SPACE - seek.len();
        put_void(&mut seek, space);
        let mut duration = vec![];
        put_float(&mut duration, DURATION, self.end as f64);
        let mut size = vec![];
        put_vint_in(&mut size, self.at + bytes.len() as u64 - self.segment, 8);
        let patches = vec![
            Patch { at: self.segment - 8, bytes: size.into() },
            Patch { at: self.segment, bytes: seek.into() },
            Patch { at: self.duration_at, bytes: duration.into() },
        ];
        Tail { bytes: bytes.into(), patches }
    }

    /// Everything before the first Cluster.
    fn begin(&mut self, table: &Table) -> Result<Bytes, MediaError> {
        let mut entries = vec![];
        let (mut outs, mut left_out): (Vec<Out>, Vec<LeftOut>) = (vec![], vec![]);
        let mut tracks: Vec<&Arc<Track>> = table.tracks.iter().chain(&self.declared).collect();
        tracks.sort_by_key(|t| !t.is_video());
        for track in tracks {
            if outs.len() == MAX_TRACKS
                || outs.iter().any(|o| fits(&o.track, track) || carries(&o.track, track))
            {
                continue;
            }
            let duration =
                if track.is_video() { picture_duration(track, table) } else { sound_duration(track) };
            match write(&mut entries, outs.len() as u64 + 1, track, duration) {
                Ok(()) => {
                    outs.push(Out { track: track.clone(), delay: i128::from(delay(track)), sets: None })
                }
                Err(why) => left_out.push(LeftOut { track: track.id, codec: track.codec, why }),
            }
        }
        if outs.is_empty() {
            return match left_out.first() {
                Some(left) => Err(left.why),
                None => invalid(WHAT, "no tracks"),
            };
        }
        // The first presented sample's; what an Opus decoder drops is not presented.
        let mut scales = [(1, 0); 256];
        for track in &table.tracks {
            scales[usize::from(track.id)] = (track.timescale, i128::from(delay(track)));
        }
        let shown = |s: &Sample| {
            let (timescale, delay) = scales[usize::from(s.track)];
            to_ns(s.pts, timescale) + delay
        };
        let first = table.samples.iter().map(shown).min().unwrap_or(0);
        let origin = if self.absolute { 0 } else { first };
        let mut out = vec![];
        put_master(&mut out, EBML, |out| {
            for (id, v) in [(EBML_VERSION, 1), (EBML_READ_VERSION, 1), (EBML_MAX_ID, 4), (EBML_MAX_SIZE, 8)] {
                put_uint(out, id, v);
            }
            put(out, DOC_TYPE, b"matroska");
            put_uint(out, DOC_TYPE_VERSION, 4);
            put_uint(out, DOC_TYPE_READ_VERSION, 2);
        });
        put_id(&mut out, SEGMENT);
        out.extend([1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        self.segment = out.len() as u64;
        put_void(&mut out, SEEK_SPACE);
        self.info = out.len() as u64;
        put_master(&mut out, INFO, |out| {
            put_uint(out, TIMESTAMP_SCALE, 1_000_000);
            put(out, MUXING_APP, b"Rushes");
            put(out, WRITING_APP, b"Rushes");
            if let Ok(ns) = i64::try_from(origin - i128::from(date::TO_2001) * NS)
                && !self.absolute
            {
                put(out, DATE_UTC, &ns.to_be_bytes());
            }
            put_void(out, DURATION_SPACE);
        });
        self.tracks = out.len() as u64;
        self.duration_at = self.tracks - DURATION_SPACE as u64;
        put(&mut out, TRACKS, &entries);
        (self.origin, self.outs, self.left_out) = (Some(origin), outs, left_out);
        self.at = out.len() as u64;
        Ok(out.into())
    }

    /// For each track of a table, which track of the file it is.
    fn places(&mut self, table: &Table) -> Vec<Option<usize>> {
        let mut places = vec![];
        for track in &table.tracks {
            let exact = self.outs.iter().position(|o| fits(&o.track, track));
            let place = exact.or_else(|| self.outs.iter().position(|o| carries(&o.track, track)));
            if let Some(out) = place {
                let out = &mut self.outs[out];
                // Once they have changed they are told anew, also when they change back.
                let told = out.sets.as_ref().map_or(&out.track, |(track, _)| track);
                if !fits(told, track)
                    && let Some(sets) = parameter_sets(track)
                {
                    out.sets = Some((track.clone(), sets));
                }
            } else {
                let why =
                    MediaError::Unsupported { what: WHAT, why: "a track that its header does not have" };
                let left = LeftOut { track: track.id, codec: track.codec, why };
                let listed = self.left_out.iter().any(|l| (l.track, l.codec) == (track.id, track.codec));
                if !listed && self.left_out.len() < MAX_TRACKS {
                    self.left_out.push(left);
                }
            }
            places.push(place);
        }
        places
    }

    /// A sample's bytes, with parameter sets before it (but after its delimiter) where they are needed.
    fn data(&self, out: usize, track: &Track, s: &Sample, payload: &Bytes) -> Result<[Bytes; 3], MediaError> {
        let start = usize::try_from(s.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(s.len as usize);
        if end > payload.len() {
            return invalid(WHAT, "a sample beyond the payload");
        }
        let mut data = payload.slice(start..end);
        let (sps, delimiter, kind): (u8, u8, NalType) = match track.codec {
            Codec::H264 => (h264::SPS, h264::AUD, h264::nal_type),
            Codec::H265 => (h265::SPS, h265::AUD, h265::nal_type),
            _ => return Ok([Bytes::new(), Bytes::new(), data]),
        };
        data = salvage_length4(track.framing, &data);
        let units = || nals(Framing::Length(4), &data).map_while(Result::ok);
        let sets = self.outs.get(out).and_then(|o| o.sets.as_ref()).filter(|_| s.access.is_start());
        match sets {
            Some((_, sets)) if !units().any(|u| kind(u) == sps) => {
                let first = units().next().filter(|u| kind(u) == delimiter).map_or(0, |u| u.len() + 4);
                Ok([data.slice(..first), sets.clone(), data.slice(first..)])
            }
            _ => Ok([Bytes::new(), Bytes::new(), data]),
        }
    }

    fn cluster(&mut self, blocks: &[Block], time: i64, slices: &mut Vec<Bytes>) {
        let video = self.outs.iter().any(|o| o.track.is_video());
        // All that is not payload in one piece, which is cut afterwards.
        let mut heads = vec![];
        put_uint(&mut heads, TIMESTAMP, time as u64);
        let mut cuts = vec![];
        let mut written = 0u64;
        let mut cue = None;
        for block in blocks {
            let number = block.out as u64 + 1;
            if block.key && cue.is_none() && (!video || self.outs[block.out].track.is_video()) {
                cue = Some((block.time as u64, number, heads.len() as u64 + written));
            }
            let len = block.data.iter().map(Bytes::len).sum::<usize>() as u64;
            put_id(&mut heads, SIMPLE_BLOCK);
            put_vint(&mut heads, 4 + len); // track numbers are below 127: one byte
            put_vint(&mut heads, number);
            heads.extend(((block.time - time) as i16).to_be_bytes());
            heads.push(if block.key { 0x80 } else { 0 });
            cuts.push(heads.len());
            written += len;
        }
        let mut first = vec![];
        put_id(&mut first, CLUSTER);
        put_vint(&mut first, heads.len() as u64 + written);
        if let Some((time, track, relative)) = cue {
            self.cues.push(Cue { time, track, cluster: self.at - self.segment, relative });
        }
        self.at += first.len() as u64 + heads.len() as u64 + written;
        slices.push(first.into());
        let heads = Bytes::from(heads);
        let mut from = 0;
        for (block, cut) in blocks.iter().zip(cuts) {
            slices.push(heads.slice(from..cut));
            slices.extend(block.data.iter().filter(|d| !d.is_empty()).cloned());
            from = cut;
        }
    }
}

/// Whether a track can go where another one is declared.
fn fits(declared: &Arc<Track>, track: &Arc<Track>) -> bool {
    let (a, b) = (&**declared, &**track);
    Arc::ptr_eq(declared, track)
        || (a.id == b.id && a.codec == b.codec && a.kind == b.kind && a.config == b.config)
}

/// Whether a track can bring its configuration along where another one is declared.
fn carries(declared: &Track, track: &Track) -> bool {
    let nal_units = matches!(track.codec, Codec::H264 | Codec::H265);
    nal_units && declared.id == track.id && declared.codec == track.codec
}

fn milliseconds(ns: i128) -> i64 {
    let ms = (ns + 500_000).div_euclid(1_000_000);
    // Far beyond what any clock says, and such that sums do not overflow.
    ms.clamp(-(1 << 60), 1 << 60) as i64
}

/// How many blocks one Cluster can hold, and the time to give it: blocks' times are within 15 bits after it.
fn reach(blocks: &[Block]) -> (usize, i64) {
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    for (n, block) in blocks.iter().enumerate() {
        let (l, h) = (low.min(block.time), high.max(block.time));
        if h - l > i64::from(i16::MAX) {
            return (n, low);
        }
        (low, high) = (l, h);
    }
    (blocks.len(), low)
}

fn sound_duration(track: &Track) -> Option<u64> {
    match track.codec {
        Codec::Aac => {
            let asc = aac::Asc::parse(&track.config).ok()?;
            (u64::from(asc.frame_samples) * 1_000_000_000).checked_div(u64::from(asc.rate))
        }
        _ => None,
    }
}

/// Parameter sets of a configuration, framed as payloads are; `None` where there are none.
fn parameter_sets(track: &Track) -> Option<Bytes> {
    join_length4(track.parameter_sets().iter().map(|u| &u[..])).ok().filter(|sets| !sets.is_empty())
}
