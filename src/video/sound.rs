//! Sound that browsers do not play, as AAC.
//!
//! **Only G.711**: a browser plays the other kinds there are, or nobody does. It is decoded here (two tables), encoded by
//! whoever makes pictures ([`Stills::aac`]), when somebody asks for it, a fragment at a time, and kept for a while.
//!
//! **Without seams.** AAC packets are of 1,024 samples, each decoded together with the one before. So packets stand on one
//! grid for a whole stream, counted in samples since 1970: a fragment has those packets whose last sample is within
//! it, and each is encoded with two packets before it that are thrown away. What they are made of reaches back into the
//! fragments before (about 0.4 s at 8 kHz), never into those to come. After a discontinuity there is silence before. A
//! fragment's sound thus begins up to two packets (0.26 s) before its pictures; its times are exact all the same.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use media::{Codec, Kind, RandomAccess, Sample, Track, aac, fmp4};
use tokio::sync::OnceCell;
use world::StreamUid;

use crate::{Fragment, Video, VideoError, index::TrackEntry, mp4, streams::Stream};

/// Samples of a packet.
const PACKET: i64 = 1024;
/// Bits a second and channel, about.
pub(crate) const BITS: u64 = 32_000;
/// Seconds of sound in a fragment beyond which something is wrong.
const MAX_SECONDS: i64 = 120;
/// Fragments kept: of 2 s some 8 kB each.
const KEPT: usize = 512;
/// Fragments before one that its sound may reach into.
const REACH: u64 = 4;

/// What of a session's sound is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Audio {
    /// Nothing: what players have no form for is left out.
    #[default]
    AsIs,
    /// That becomes AAC.
    Aac,
}

/// What is made of a track: none if it stays as it is.
pub(crate) fn made(track: &Track, audio: Audio) -> Option<Track> {
    let Kind::Audio { rate, channels } = track.kind else { return None };
    let fits = (7_350..=96_000).contains(&rate) && (1..=2).contains(&channels);
    if audio != Audio::Aac || !matches!(track.codec, Codec::Pcmu | Codec::Pcma) || !fits {
        return None;
    }
    let made = aac::track(track.id, &aac::build_asc(2, rate, channels).ok()?).ok()?;
    Some(Track { timescale: rate, ..made })
}

type Key = (StreamUid, u64, u8);
type Cell = Arc<OnceCell<Vec<Bytes>>>;

/// Segments made lately.
#[derive(Default)]
pub(crate) struct Sounds(Mutex<VecDeque<(Key, Cell)>>);

impl Sounds {
    fn cell(&self, key: Key) -> Cell {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = all.iter().find(|(k, _)| *k == key) {
            return cell.clone();
        }
        if all.len() >= KEPT {
            all.pop_front();
        }
        let cell = Cell::default();
        all.push_back((key, cell.clone()));
        cell
    }
}

/// The packets of a fragment: numbers of the first and the last on the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: i64,
    last: i64,
}

impl Span {
    /// Of a fragment whose sound begins and ends with these samples since 1970.
    fn of(begin: i64, end: i64) -> Span {
        let first = begin.div_euclid(PACKET) - 1;
        // One at least: a segment cannot be empty.
        Span { first, last: (end.div_euclid(PACKET) - 2).max(first) }
    }
    /// The samples that are encoded.
    fn samples(self) -> std::ops::Range<i64> {
        (self.first - 2) * PACKET..(self.last + 2) * PACKET
    }
}

impl Video {
    /// A fragment's segment of a track, as AAC.
    pub(crate) async fn sound(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
        entry: &TrackEntry,
        track: &Track,
        made: &Track,
    ) -> Result<Vec<Bytes>, VideoError> {
        let cell = self.sounds.cell((stream.info.uid, f.position(), track.id));
        let segment = cell.get_or_try_init(|| async {
            let _one = self.rewriting.acquire().await.map_err(|e| VideoError::Busy(e.to_string()))?;
            self.encode(stream, f, entry, track, made).await
        });
        segment.await.cloned()
    }

    async fn encode(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
        entry: &TrackEntry,
        track: &Track,
        made: &Track,
    ) -> Result<Vec<Bytes>, VideoError> {
        let Some(stills) = &self.stills else {
            return Err(VideoError::Picture(
                "this server was built without FFmpeg, which encodes AAC".into(),
            ));
        };
        let Kind::Audio { rate, channels } = made.kind else {
            return Err(VideoError::NoMedia("no sound".into()));
        };
        let damaged = mp4::damaged(stream.name(), f.position());
        let end = entry.first_dts.saturating_add_unsigned(entry.duration);
        let span = Span::of(at(entry.first_dts, track.timescale, rate), at(end, track.timescale, rate));
        let range = span.samples();
        if range.end - range.start > i64::from(rate) * MAX_SECONDS {
            return Err(VideoError::NoMedia(format!("fragment {} has too much sound", f.position())));
        }
        let mut pcm = Pcm::new(range.clone(), channels, rate);
        for g in self.reach(stream, f, track.id).await? {
            self.decode(stream, &g, track, rate, &mut pcm).await?;
        }
        let packets = stills.aac(pcm.samples, rate, channels).await.map_err(VideoError::Picture)?;
        let mut pieces = Vec::new();
        for (number, data) in packets {
            let k = span.first - 2 + i64::from(number);
            if (span.first..=span.last).contains(&k) {
                let (dts, len) = (k * PACKET, u32::try_from(data.len()).unwrap_or(0));
                let (access, duration) = (RandomAccess::Idr, PACKET as u32);
                let sample = Sample { track: made.id, dts, pts: dts, duration, access, offset: 0, len };
                pieces.push(fmp4::Piece { sample, data });
            }
        }
        fmp4::segment(entry.ordinal as u32, &[fmp4::Run { track: made, pieces: &pieces }]).map_err(damaged)
    }

    /// The fragments that a fragment's sound is made of: some before that it continues, and itself.
    async fn reach(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
        id: u8,
    ) -> Result<Vec<Arc<Fragment>>, VideoError> {
        let mut out = Vec::new();
        if !f.entry.discontinuity && f.position() > 0 {
            let p = f.position();
            out = stream.page(&self.log, p.saturating_sub(REACH), p - 1, REACH as usize).await?;
            let init = f.entry.track(id).map(|t| t.init);
            out.retain(|g| {
                g.entry.discontinuities == f.entry.discontinuities
                    && g.entry.track(id).map(|t| t.init) == init
            });
        }
        out.push(f.clone());
        Ok(out)
    }

    /// Puts what a fragment has of a stretch where it belongs.
    async fn decode(
        &self,
        stream: &Stream,
        f: &Fragment,
        track: &Track,
        rate: u32,
        pcm: &mut Pcm,
    ) -> Result<(), VideoError> {
        let table = self.tables.get(&self.log, stream, f).await?;
        let wide = i64::from(pcm.channels);
        let wanted: Vec<_> = table
            .samples
            .iter()
            .filter(|s| s.track == track.id)
            .map(|s| (at(s.pts, track.timescale, rate), s))
            .filter(|(t, s)| *t < pcm.range.end && t + i64::from(s.len) / wide > pcm.range.start)
            .collect();
        let from = wanted.iter().map(|(_, s)| s.offset).min().unwrap_or(0);
        let to = wanted.iter().map(|(_, s)| s.offset + u64::from(s.len)).max().unwrap_or(0);
        if from >= to {
            return Ok(());
        }
        let bytes = self.log.read_payload(&f.payload, from..to).await.map_err(|e| stream.log_error(e))?;
        for (t, s) in wanted {
            let start = (s.offset - from) as usize;
            pcm.put(t, bytes.get(start..start + s.len as usize).unwrap_or_default(), track.codec);
        }
        Ok(())
    }
}

/// Ticks as samples.
fn at(ticks: i64, timescale: u32, rate: u32) -> i64 {
    let t = (i128::from(ticks) * i128::from(rate)).div_euclid(i128::from(timescale.max(1)));
    i64::try_from(t).unwrap_or(0)
}

/// A stretch of sound; what nothing is put into is silent.
struct Pcm {
    range: std::ops::Range<i64>,
    channels: u8,
    samples: Vec<i16>,
    /// Up to where it is filled, and how much of a hole is none: clocks that are slewed leave some of a sample.
    end: Option<i64>,
    seam: i64,
}

impl Pcm {
    fn new(range: std::ops::Range<i64>, channels: u8, rate: u32) -> Pcm {
        let len = usize::try_from(range.end - range.start).unwrap_or(0) * usize::from(channels);
        Pcm { range, channels, samples: vec![0; len], end: None, seam: i64::from(rate) / 50 }
    }

    /// Puts a payload of G.711 at a sample.
    fn put(&mut self, mut t: i64, payload: &[u8], codec: Codec) {
        let wide = usize::from(self.channels);
        // Closed with what is at hand, so that it does not click.
        if let Some(end) = self.end.filter(|end| (t - end).abs() <= self.seam && *end < t) {
            t = end;
        }
        for (i, frame) in payload.chunks_exact(wide).enumerate() {
            let Some(n) = (t + i as i64).checked_sub(self.range.start).and_then(|n| usize::try_from(n).ok())
            else {
                continue;
            };
            for (c, b) in frame.iter().enumerate() {
                if let Some(to) = self.samples.get_mut(n * wide + c) {
                    *to = if codec == Codec::Pcma { alaw(*b) } else { ulaw(*b) };
                }
            }
        }
        self.end = Some(t + (payload.len() / wide) as i64);
    }
}

/// ITU-T G.711 §4, µ-law.
fn ulaw(byte: u8) -> i16 {
    let b = !byte;
    let value = ((i16::from(b & 0x0f) << 3) + 0x84) << (b >> 4 & 7);
    if b & 0x80 != 0 { 0x84 - value } else { value - 0x84 }
}

/// ITU-T G.711 §3, A-law.
fn alaw(byte: u8) -> i16 {
    let b = byte ^ 0x55;
    let (exponent, mantissa) = (b >> 4 & 7, i16::from(b & 0x0f) << 4);
    let value = if exponent == 0 { mantissa + 8 } else { (mantissa + 0x108) << (exponent - 1) };
    if b & 0x80 != 0 { value } else { -value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn g711() {
        // The ends and the middles of both laws (ITU-T G.711, tables 1a to 2b; scaled to 16 bits).
        assert_eq!([0x00, 0x80, 0xff, 0x7f, 0xf0].map(ulaw), [-32_124, 32_124, 0, 0, 120]);
        assert_eq!([0xd5, 0x55, 0xaa, 0x2a, 0x80].map(alaw), [8, -8, 32_256, -32_256, 5_504]);
    }

    proptest! {
        /// Fragments one after another have all packets of the grid, each once.
        #[test]
        fn fragments_share_one_grid(start in 1i64 << 43..1 << 44, lens in proptest::collection::vec(2_048i64..90_000, 1..20)) {
            let mut begin = start;
            let mut next = None;
            for len in lens {
                let span = Span::of(begin, begin + len);
                prop_assert!(next.is_none_or(|n| n == span.first));
                prop_assert!(span.samples().end <= begin + len, "nothing that is still to come");
                prop_assert!(begin - span.samples().start <= 4 * PACKET);
                next = Some(span.last + 1);
                begin += len;
            }
        }
    }

    #[test]
    fn payloads_lie_where_they_belong() {
        let mut pcm = Pcm::new(100..110, 1, 8_000);
        pcm.put(98, &[0x80; 4], Codec::Pcmu);
        // A sample late is a seam, five hundred are a hole.
        pcm.put(103, &[0x00; 2], Codec::Pcmu);
        pcm.put(603, &[0x00; 2], Codec::Pcmu);
        assert_eq!(pcm.samples, [32_124, 32_124, -32_124, -32_124, 0, 0, 0, 0, 0, 0]);
    }
}
