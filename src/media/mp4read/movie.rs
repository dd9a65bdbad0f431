use bytes::Bytes;

use super::description::{boxes, find, read};
use super::samples::{Samples, Tables};
use super::{MovieSample, WHAT};
use crate::bits::Cursor;
use crate::error::{invalid, truncated};
use crate::{MediaError, Track, date};

/// Tracks of one movie, and descriptions of one track.
const MAX_TRACKS: usize = 255;
const MAX_DESCRIPTIONS: usize = 1024;
const MAX_EDITS: usize = 1 << 16;

/// A box at the top level of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopBox {
    /// `ftyp`, `moov`, `mdat`, `moof`, …
    pub kind: [u8; 4],
    /// Bytes of its head: 8 or 16.
    pub head: u8,
    /// Bytes with its head; `None`: to the end of the file.
    pub len: Option<u64>,
}

/// Reads the head of the next box from the bytes at its start: 16 are enough. `None` if there are too few.
pub fn next_box(data: &[u8]) -> Result<Option<TopBox>, MediaError> {
    let Some((size, rest)) = data.split_first_chunk::<4>() else { return Ok(None) };
    let Some((kind, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let (head, len) = match u32::from_be_bytes(*size) {
        0 => (8, None),
        1 => match rest.first_chunk::<8>() {
            Some(size) => (16, Some(u64::from_be_bytes(*size))),
            None => return Ok(None),
        },
        n => (8, Some(u64::from(n))),
    };
    if len.is_some_and(|len| len < u64::from(head)) {
        return invalid(WHAT, "a box smaller than its head");
    }
    Ok(Some(TopBox { kind: *kind, head, len }))
}

/// What a `moov` says.
#[derive(Clone, Debug)]
pub struct Movie {
    /// Ticks a second of the movie itself.
    pub timescale: u32,
    /// When it was made, in milliseconds since the Unix epoch: `udta/©day` if that is a time with a zone (exact, as our
    /// own files have it), else `mvhd` (whole seconds); `None` if neither says.
    pub created: Option<i64>,
    /// Whether there are samples in `moof` boxes to come.
    pub fragmented: bool,
    /// Pictures and sound. Other tracks are left aside.
    pub tracks: Vec<MovieTrack>,
}

/// One track.
#[derive(Clone, Debug)]
pub struct MovieTrack {
    /// Its id in the file.
    pub id: u32,
    /// Ticks a second.
    pub timescale: u32,
    /// Its sample descriptions, each as a track with the same id (its place among the movie's tracks, from 1).
    pub descriptions: Vec<Track>,
    /// What to add to its times, in its ticks, to get the movie's time.
    pub shift: i64,
    /// Where the edit list ends it, in the movie's time in its ticks: what is shown from here on is cut off.
    pub shown_until: Option<i64>,
    /// Whether the edit list does more than start and end it; the rest of that was not followed.
    pub edited: bool,
    pub(super) tables: Tables,
    /// Of a fragmented file: defaults for its fragments, and where they have come to.
    pub(super) extends: Extends,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extends {
    pub description: u32,
    pub duration: u32,
    pub size: u32,
    pub flags: u32,
    /// The decode time after the last sample, and how far decode times are moved back.
    pub next: i64,
    pub lead: i64,
}

impl MovieTrack {
    /// Its samples in decode order, but for those in fragments. `file_len`: bytes of the file; a sample that reaches
    /// beyond ends the list with [`MediaError::Truncated`].
    pub fn samples(&self, file_len: u64) -> Samples<'_> {
        Samples::new(self, file_len)
    }

    /// The description that a sample has.
    pub fn track(&self, sample: &MovieSample) -> Option<&Track> {
        self.descriptions.get(sample.description)
    }
}

impl Movie {
    /// Reads the content of a `moov` box (without its head). What is kept shares `moov`'s memory.
    pub fn parse(moov: &Bytes) -> Result<Movie, MediaError> {
        if find(moov, b"cmov").is_some() {
            return Err(MediaError::Unsupported { what: WHAT, why: "a compressed moov" });
        }
        let Some(mvhd) = find(moov, b"mvhd") else { return invalid(WHAT, "no mvhd") };
        let mut c = Cursor::new(WHAT, mvhd);
        let large = c.u32()? >> 24 == 1;
        let created = if large { c.u64()? } else { u64::from(c.u32()?) };
        c.take(if large { 8 } else { 4 })?;
        let timescale = c.u32()?;
        if timescale == 0 {
            return invalid(WHAT, "a timescale of 0");
        }
        let mvex = find(moov, b"mvex");
        let mut tracks = vec![];
        for trak in boxes(moov).filter(|b| &b.kind == b"trak") {
            if tracks.len() == MAX_TRACKS {
                return invalid(WHAT, "more than 255 tracks");
            }
            let trak = moov.slice_ref(trak.content);
            if let Some(track) = read_track(&trak, tracks.len() as u8 + 1, timescale)? {
                tracks.push(track);
            }
        }
        for trex in mvex.into_iter().flat_map(boxes).filter(|b| &b.kind == b"trex") {
            let mut c = Cursor::new(WHAT, trex.content);
            c.take(4)?;
            let id = c.u32()?;
            let (description, duration, size, flags) = (c.u32()?, c.u32()?, c.u32()?, c.u32()?);
            if let Some(track) = tracks.iter_mut().find(|t| t.id == id) {
                track.extends = Extends { description, duration, size, flags, ..track.extends };
            }
        }
        let seconds = i64::try_from(created).ok().filter(|s| *s > 0).map(|s| s - date::SINCE_1904);
        let created = day(moov).or_else(|| seconds.and_then(|s| s.checked_mul(1000)));
        Ok(Movie { timescale, created, fragmented: mvex.is_some(), tracks })
    }
}

/// `udta/©day`, as QuickTime writes strings: length, language, text.
fn day(moov: &[u8]) -> Option<i64> {
    let text = find(find(moov, b"udta")?, b"\xa9day")?;
    let len = usize::from(u16::from_be_bytes(*text.first_chunk()?));
    date::read(std::str::from_utf8(text.get(4..4 + len)?).ok()?)
}

fn read_track(trak: &Bytes, id: u8, movie_timescale: u32) -> Result<Option<MovieTrack>, MediaError> {
    let (Some(tkhd), Some(mdia)) = (find(trak, b"tkhd"), find(trak, b"mdia")) else {
        return invalid(WHAT, "a track without its heads");
    };
    let (Some(mdhd), Some(hdlr)) = (find(mdia, b"mdhd"), find(mdia, b"hdlr")) else {
        return invalid(WHAT, "a track without its heads");
    };
    let mut c = Cursor::new(WHAT, hdlr);
    c.take(8)?;
    let video = match &c.array()? {
        b"vide" => true,
        b"soun" => false,
        _ => return Ok(None),
    };
    let head = |content| -> Result<u32, MediaError> {
        let mut c = Cursor::new(WHAT, content);
        let skip = if c.u32()? >> 24 == 1 { 16 } else { 8 };
        c.take(skip)?;
        c.u32()
    };
    let (file_id, timescale) = (head(tkhd)?, head(mdhd)?);
    if timescale == 0 {
        return invalid(WHAT, "a timescale of 0");
    }
    let Some(stbl) = find(mdia, b"minf").and_then(|minf| find(minf, b"stbl")) else {
        return invalid(WHAT, "a track without sample tables");
    };
    let Some(stsd) = find(stbl, b"stsd") else { return invalid(WHAT, "a track without a description") };
    let mut descriptions = vec![];
    for entry in boxes(stsd.get(8..).unwrap_or(&[])).take(MAX_DESCRIPTIONS) {
        let d = read(&entry, video)?;
        let (codec, kind, framing, config) = (d.codec, d.kind, d.framing, d.config);
        if config.len() > crate::table::MAX_CONFIG {
            return invalid(WHAT, "a configuration of more than 1 MiB");
        }
        descriptions.push(Track { id, codec, kind, timescale, framing, config });
    }
    if descriptions.is_empty() {
        return invalid(WHAT, "a track without a description");
    }
    let edits = match find(trak, b"edts").and_then(|edts| find(edts, b"elst")) {
        Some(elst) => read_edits(elst, timescale, movie_timescale)?,
        None => Edits::default(),
    };
    Ok(Some(MovieTrack {
        id: file_id,
        timescale,
        descriptions,
        shift: edits.shift,
        shown_until: edits.until,
        edited: edits.more,
        tables: Tables::read(&trak.slice_ref(stbl), video)?,
        extends: Extends { description: 1, ..Extends::default() },
    }))
}

#[derive(Default)]
struct Edits {
    shift: i64,
    until: Option<i64>,
    more: bool,
}

/// An edit list (§8.6.6): nothing for a while, then the samples from some time on.
fn read_edits(elst: &[u8], timescale: u32, movie_timescale: u32) -> Result<Edits, MediaError> {
    let mut c = Cursor::new(WHAT, elst);
    let large = c.u32()? >> 24 == 1;
    let count = c.u32()? as usize;
    if count > MAX_EDITS || c.rest.len() < count * if large { 20 } else { 12 } {
        return truncated(WHAT);
    }
    let mut empty = 0u64;
    let mut edits = Edits::default();
    let mut started = false;
    for _ in 0..count {
        let (duration, time) = if large {
            (c.u64()?, c.u64()? as i64)
        } else {
            (u64::from(c.u32()?), i64::from(c.u32()? as i32))
        };
        let rate = c.u32()?;
        if started || (time >= 0 && rate != 0x1_0000) {
            edits.more = true;
        }
        if started {
            continue;
        }
        if time < 0 {
            empty = empty.saturating_add(duration);
            continue;
        }
        started = true;
        let media = |v: u64| {
            let v = u128::from(v) * u128::from(timescale) + u128::from(movie_timescale) / 2;
            i64::try_from(v / u128::from(movie_timescale)).unwrap_or(i64::MAX)
        };
        edits.shift = media(empty).saturating_sub(time);
        // A duration of 0 means all, as fragmented files have it.
        if duration > 0 {
            edits.until = Some(media(empty.saturating_add(duration)));
        }
    }
    if edits.more {
        edits.until = None;
    }
    Ok(edits)
}
