use bytes::Bytes;

use super::WHAT;
use super::description::find;
use super::movie::MovieTrack;
use crate::MediaError;
use crate::error::{invalid, truncated};

/// Samples (or packets) of one track that are read.
pub const MAX_SAMPLES: u32 = 1 << 27;

/// One sample of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovieSample {
    /// Where in the file its bytes begin.
    pub offset: u64,
    /// How many there are.
    pub len: u32,
    /// Decode time in ticks from the track's zero; strictly rising.
    pub dts: i64,
    /// Presentation time likewise; `pts >= dts`.
    pub pts: i64,
    /// Until the next in ticks.
    pub duration: u32,
    /// Whether it is a sync sample.
    pub sync: bool,
    /// Its description, an index into [`MovieTrack::descriptions`].
    pub description: usize,
}

/// Sizes of samples.
#[derive(Clone, Debug)]
enum Sizes {
    Same(u32),
    /// Bits of each: 4, 8, 16 or 32.
    Each(u8, Bytes),
}

/// The tables of `stbl`, as they lie.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    sizes: Sizes,
    count: u32,
    durations: Bytes,
    offsets: Bytes,
    /// `None`: all are.
    sync: Option<Bytes>,
    chunks: Bytes,
    wide: bool,
    runs: Bytes,
    /// How far decode times are moved back, so that none is after its presentation time.
    lead: i64,
    /// Frames of sound in a packet, where samples are those.
    packet: bool,
}

impl Tables {
    pub fn read(stbl: &Bytes, video: bool) -> Result<Tables, MediaError> {
        let table = |kind: &[u8; 4], skip: usize, each: usize| -> Result<Option<Bytes>, MediaError> {
            let Some(content) = find(stbl, kind) else { return Ok(None) };
            let Some((count, rest)) = content
                .get(skip..)
                .and_then(|c| c.split_first_chunk::<4>())
                .map(|(n, r)| (u32::from_be_bytes(*n), r))
            else {
                return truncated(WHAT);
            };
            match (count as usize).checked_mul(each).and_then(|len| rest.get(..len)) {
                Some(rows) => Ok(Some(stbl.slice_ref(rows))),
                None => invalid(WHAT, "a sample table with more entries than it has room for"),
            }
        };
        let none = |t: Option<Bytes>| t.unwrap_or_default();
        let (sizes, count) = if let Some(stz2) = find(stbl, b"stz2") {
            let (Some(&bits), Some(count)) = (stz2.get(7), u32_at(stz2, 8)) else { return truncated(WHAT) };
            let need = (u64::from(count) * u64::from(bits)).div_ceil(8);
            let rows = stz2.get(12..).unwrap_or(&[]);
            if !matches!(bits, 4 | 8 | 16) || (rows.len() as u64) < need {
                return invalid(WHAT, "sizes that are not there");
            }
            (Sizes::Each(bits, stbl.slice_ref(rows)), count)
        } else if let Some(stsz) = find(stbl, b"stsz") {
            let (Some(same), Some(count)) = (u32_at(stsz, 4), u32_at(stsz, 8)) else {
                return truncated(WHAT);
            };
            match same {
                0 => (Sizes::Each(32, none(table(b"stsz", 8, 4)?)), count),
                same => (Sizes::Same(same), count),
            }
        } else {
            (Sizes::Same(0), 0)
        };
        let offsets = none(table(b"ctts", 4, 8)?);
        let lowest = offsets.chunks_exact(8).filter_map(|e| u32_at(e, 4)).map(|v| i64::from(v as i32)).min();
        // Version 0 has no negative offsets; but many writers say 0 and mean 1. What would be 2³¹ and more is neither.
        let lead = lowest.map_or(0, |v| (-v).max(0));
        let (chunks, wide) = match table(b"co64", 4, 8)? {
            Some(chunks) => (chunks, true),
            None => (none(table(b"stco", 4, 4)?), false),
        };
        let durations = none(table(b"stts", 4, 8)?);
        // Sound whose samples are single frames.
        let single = durations.len() == 8 && u32_at(&durations, 4) == Some(1);
        let packet = !video && single && matches!(sizes, Sizes::Same(_)) && offsets.is_empty();
        let (sync, runs) = (table(b"stss", 4, 4)?, none(table(b"stsc", 4, 12)?));
        Ok(Tables { sizes, count, durations, offsets, sync, chunks, wide, runs, lead, packet })
    }

    fn size(&self, n: u32) -> Option<u32> {
        match &self.sizes {
            Sizes::Same(size) => Some(*size),
            Sizes::Each(4, rows) => {
                let b = *rows.get(n as usize / 2)?;
                Some(u32::from(if n.is_multiple_of(2) { b >> 4 } else { b & 15 }))
            }
            Sizes::Each(8, rows) => rows.get(n as usize).map(|b| u32::from(*b)),
            Sizes::Each(16, rows) => {
                let at = n as usize * 2;
                Some(u32::from(u16::from_be_bytes(rows.get(at..at + 2)?.try_into().ok()?)))
            }
            Sizes::Each(_, rows) => u32_at(rows, n as usize * 4),
        }
    }

    fn chunk_offset(&self, n: u32) -> Option<u64> {
        let at = n as usize;
        if self.wide {
            let entry = self.chunks.get(at * 8..at * 8 + 8)?;
            Some(u64::from_be_bytes(entry.try_into().ok()?))
        } else {
            u32_at(&self.chunks, at * 4).map(u64::from)
        }
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// A table of runs: (how many, which value).
struct Runs<'a> {
    rows: &'a [u8],
    left: u32,
    value: u32,
}

impl Runs<'_> {
    /// The next sample's value; after the end, the last one again.
    fn next(&mut self) -> u32 {
        while self.left == 0 {
            let (Some(count), Some(value)) = (u32_at(self.rows, 0), u32_at(self.rows, 4)) else {
                return self.value;
            };
            self.rows = self.rows.get(8..).unwrap_or(&[]);
            (self.left, self.value) = (count, value);
        }
        self.left -= 1;
        self.value
    }
}

/// A track's samples in decode order; see [`MovieTrack::samples`]. Ends after the first error.
pub struct Samples<'a> {
    t: &'a Tables,
    file_len: u64,
    packet: u32,
    /// The next sample's number, and how many have been given out.
    n: u32,
    given: u32,
    durations: Runs<'a>,
    offsets: Runs<'a>,
    sync: usize,
    /// Chunks begun, samples left in the one at hand, and the run that it belongs to.
    chunk: u32,
    left: u32,
    per_chunk: u32,
    description: u32,
    run: usize,
    offset: u64,
    /// The next decode time by the durations, and the last one given out.
    dts: i64,
    last: Option<i64>,
    done: bool,
}

impl<'a> Samples<'a> {
    pub(super) fn new(track: &'a MovieTrack, file_len: u64) -> Samples<'a> {
        let t = &track.tables;
        Samples {
            t,
            file_len,
            packet: if t.packet { (track.timescale / 50).max(1) } else { 1 },
            n: 0,
            given: 0,
            durations: Runs { rows: &t.durations, left: 0, value: 1 },
            offsets: Runs { rows: &t.offsets, left: 0, value: 0 },
            sync: 0,
            chunk: 0,
            left: 0,
            per_chunk: 0,
            description: 1,
            run: 0,
            offset: 0,
            dts: 0,
            last: None,
            done: false,
        }
    }

    /// Begins the next chunk that has samples.
    fn next_chunk(&mut self) -> Result<(), MediaError> {
        while self.left == 0 {
            let Some(offset) = self.t.chunk_offset(self.chunk) else {
                return invalid(WHAT, "more samples than its chunks hold");
            };
            self.chunk += 1;
            // Runs say from which chunk on they hold.
            while u32_at(&self.t.runs, self.run * 12) == Some(self.chunk)
                || (self.run == 0 && !self.t.runs.is_empty())
            {
                self.per_chunk = u32_at(&self.t.runs, self.run * 12 + 4).unwrap_or(0);
                self.description = u32_at(&self.t.runs, self.run * 12 + 8).unwrap_or(1);
                self.run += 1;
            }
            (self.offset, self.left) = (offset, self.per_chunk);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<MovieSample, MediaError> {
        if self.given == MAX_SAMPLES {
            return invalid(WHAT, "more than 2^27 samples in a track");
        }
        self.given += 1;
        self.next_chunk()?;
        let frames = self.packet.min(self.left).min(self.t.count - self.n);
        let Some(size) = self.t.size(self.n) else { return truncated(WHAT) };
        let Some(len) = size.checked_mul(frames) else { return invalid(WHAT, "a sample of 4 GiB or more") };
        let end = self.offset.checked_add(u64::from(len)).filter(|end| *end <= self.file_len);
        let Some(end) = end else { return truncated("MP4 file") };
        let delta = if self.t.packet { frames } else { self.durations.next() };
        let offset = i64::from(self.offsets.next() as i32);
        let mut sync = true;
        if let Some(table) = &self.t.sync {
            while u32_at(table, self.sync * 4).is_some_and(|at| at <= self.n) {
                self.sync += 1;
            }
            sync = u32_at(table, self.sync * 4) == Some(self.n + 1);
        }
        let shown = self.dts.saturating_add(offset);
        let mut dts = self.dts.saturating_sub(self.t.lead);
        if let Some(last) = self.last {
            dts = dts.max(last.saturating_add(1));
        }
        let sample = MovieSample {
            offset: self.offset,
            len,
            dts,
            pts: shown.max(dts),
            duration: delta,
            sync,
            description: self.description.saturating_sub(1) as usize,
        };
        self.last = Some(dts);
        // A negative difference (2³¹ and more) is not time that goes back, but a broken table.
        let delta = if delta > i32::MAX as u32 { 0 } else { delta };
        self.dts = self.dts.saturating_add(i64::from(delta));
        self.offset = end;
        self.left -= frames;
        self.n += frames;
        Ok(sample)
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<MovieSample, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done || self.n >= self.t.count {
            return None;
        }
        let read = self.read();
        self.done = read.is_err();
        Some(read)
    }
}
