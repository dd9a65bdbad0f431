//! Sound that players do not play, as AAC or Opus, when somebody asks for it.
//!
//! G.711 and 16-bit PCM are decoded here, Opus, MP3 and AC-3 (of one or two channels) by whoever makes pictures
//! ([`Stills`](crate::Stills)), who also encodes; a fragment at a time, kept for a while.
//!
//! **Without seams.** Packets stand on one grid for a whole stream, counted in samples since 1970: 1,024 samples of AAC,
//! 20 ms of Opus. A fragment has those packets whose last sample is within it (and for AAC, which is decoded with the
//! packet before, the one after that as well), and each is encoded with some packets before it that are thrown away. What
//! they are made of reaches back into the fragments before (about 0.4 s at 8 kHz), never into those to come. After a
//! discontinuity there is silence before. A fragment's sound thus begins up to two packets (0.26 s) before its pictures;
//! its times are exact all the same.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use media::{Codec, Kind, RandomAccess, Sample, Track, aac, fmp4, opus};
use tokio::sync::OnceCell;
use world::StreamUid;

use crate::{Fragment, Video, VideoError, index::TrackEntry, mp4, streams::Stream};

/// Samples of a packet of AAC.
const AAC_PACKET: u32 = 1024;
/// Packets of Opus a second, and what one lasts at the 48 kHz that it counts in.
const OPUS_PACKETS: u32 = 50;
const OPUS_TICKS: u32 = opus::RATE / OPUS_PACKETS;
/// Packets before the first that are encoded and thrown away.
const AAC_BEFORE: i64 = 2;
const OPUS_BEFORE: i64 = 10;
/// What a decoder is given before the first sample that counts (RFC 7845 §4.6 asks for 80 ms), in 1/s.
const PREROLL: i64 = 10;
/// Seconds of sound in a fragment beyond which something is wrong.
const MAX_SECONDS: i64 = 120;
/// Fragments kept: of 2 s some 8 to 32 kB each.
const KEPT: usize = 512;
/// Fragments before one that its sound may reach into.
const REACH: u64 = 4;

/// What of a session's sound is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Audio {
    /// Nothing: what players have no form for is left out.
    #[default]
    AsIs,
    /// What is neither AAC nor Opus becomes AAC.
    AacOrOpus,
    /// What is not AAC becomes AAC.
    Aac,
    /// What is neither AAC nor Opus becomes Opus.
    Opus,
}

/// What is made of a track of sound.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The track as it goes out.
    pub track: Track,
    /// As it is stored.
    codec: Codec,
    /// Of the plain sound between.
    rate: u32,
    channels: u8,
    /// Plain samples of a packet, and what it lasts in the track's ticks.
    packet: i64,
    ticks: u32,
    before: i64,
}

impl Made {
    /// When a fragment's segment begins and how long it lasts, in the made track's ticks.
    pub fn times(&self, entry: &TrackEntry) -> (i64, u64) {
        let Span { first, last } = self.span(entry);
        let ticks = |packets: i64| packets.saturating_mul(self.ticks.into());
        (ticks(first), u64::try_from(ticks(last - first + 1)).unwrap_or(0))
    }

    fn span(&self, entry: &TrackEntry) -> Span {
        let end = entry.first_dts.saturating_add_unsigned(entry.duration);
        let samples = |ticks| at(ticks, entry.timescale, self.rate);
        Span::of(samples(entry.first_dts), samples(end), self.packet)
    }

    /// Packets as samples, each with its bytes.
    pub fn pieces(&self, packets: &[(i64, Bytes)]) -> Vec<fmp4::Piece> {
        let piece = |(k, data): &(i64, Bytes)| fmp4::Piece {
            sample: sample(self, *k, 0, data.len()),
            data: data.clone(),
        };
        packets.iter().map(piece).collect()
    }

    /// Bits a second, about.
    pub fn bits(&self) -> u64 {
        u64::from(self.channels) * if self.rate > 16_000 { 64_000 } else { 32_000 }
    }
}

/// What is made of a track; none if it stays as it is, or if nothing can be made of it.
pub(crate) fn made(track: &Track, audio: Audio) -> Option<Made> {
    let Kind::Audio { rate, channels } = track.kind else { return None };
    let decodable = match track.codec {
        Codec::Pcmu | Codec::Pcma => true,
        Codec::Opus => opus::Head::parse(&track.config).is_ok_and(|h| h.family == 0),
        Codec::Other(four) => matches!(&four, b"sowt" | b"twos" | b".mp3" | b"ac-3" | b"ec-3"),
        _ => false,
    };
    let wanted = match audio {
        Audio::AsIs => false,
        Audio::Aac => track.codec != Codec::Aac,
        Audio::AacOrOpus | Audio::Opus => !matches!(track.codec, Codec::Aac | Codec::Opus),
    };
    let fits = (7_350..=96_000).contains(&rate) && (1..=2).contains(&channels);
    if !(decodable && wanted && fits) {
        return None;
    }
    let codec = track.codec;
    if audio == Audio::Opus && matches!(rate, 8_000 | 12_000 | 16_000 | 24_000 | 48_000) {
        let head = opus::Head { input_rate: rate, ..opus::Head::simple(channels) };
        let packet = i64::from(rate / OPUS_PACKETS);
        let (track, ticks) = (head.track(track.id), OPUS_TICKS);
        return Some(Made { track, codec, rate, channels, packet, ticks, before: OPUS_BEFORE });
    }
    let made = aac::track(track.id, &aac::build_asc(2, rate, channels).ok()?).ok()?;
    let (track, packet) = (Track { timescale: rate, ..made }, AAC_PACKET);
    Some(Made { track, codec, rate, channels, packet: packet.into(), ticks: packet, before: AAC_BEFORE })
}

/// In words why a session has not a track that it cannot carry.
pub(crate) fn why_not(track: &Track) -> String {
    let name = media::codec_name(track);
    let why = match made(track, Audio::Aac) {
        _ if track.codec == Codec::VP8 => {
            "browsers play VP8 by WebRTC alone: watch it live by WHEP, or export it as a file"
        }
        Some(_) => "ask for a session with \"audio\": \"aac\"",
        None => "it cannot be played",
    };
    format!("track {} ({name}) is left out: {why}", track.id)
}

type Key = (StreamUid, u64, u8, Codec);
/// Packets of a fragment, each with its number on the grid.
type Packets = Arc<[(i64, Bytes)]>;
type Cell = Arc<OnceCell<Packets>>;

/// Packets made lately.
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
    fn of(begin: i64, end: i64, packet: i64) -> Span {
        let first = begin.div_euclid(packet) - 1;
        // One at least: a segment cannot be empty.
        Span { first, last: (end.div_euclid(packet) - 2).max(first) }
    }
    /// The samples that are encoded, of so many packets before the first.
    fn samples(self, packet: i64, before: i64) -> std::ops::Range<i64> {
        (self.first - before) * packet..(self.last + 2) * packet
    }
}

impl Video {
    /// A fragment's segment of a track, as what is made of it.
    pub(crate) async fn sound(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
        entry: &TrackEntry,
        made: &Made,
    ) -> Result<Vec<Bytes>, VideoError> {
        let packets = self.sound_packets(stream, f, entry, made).await?;
        let pieces = made.pieces(&packets);
        let damaged = mp4::damaged(stream.name(), f.position());
        fmp4::segment(entry.ordinal as u32, &[fmp4::Run { track: &made.track, pieces: &pieces }])
            .map_err(damaged)
    }

    /// The packets of a fragment's sound; made once for all who ask.
    pub(crate) async fn sound_packets(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
        entry: &TrackEntry,
        made: &Made,
    ) -> Result<Packets, VideoError> {
        let cell = self.sounds.cell((stream.info.uid, f.position(), entry.id, made.track.codec));
        let packets = cell.get_or_try_init(|| async {
            let _one = self.rewriting.acquire().await.map_err(|e| VideoError::Busy(e.to_string()))?;
            self.encode(stream, f, entry, made).await
        });
        packets.await.cloned()
    }

    async fn encode(
        &self,
        stream: &Stream,
        f: &Arc<Fragment>,
        entry: &TrackEntry,
        made: &Made,
    ) -> Result<Packets, VideoError> {
        let Some(stills) = &self.stills else {
            return Err(VideoError::Picture(
                "this server was built without FFmpeg, which encodes sound".into(),
            ));
        };
        let (rate, channels) = (made.rate, made.channels);
        let span = made.span(entry);
        let range = span.samples(made.packet, made.before);
        if range.end - range.start > i64::from(rate) * MAX_SECONDS {
            return Err(VideoError::NoMedia(format!("fragment {} has too much sound", f.position())));
        }
        let mut stored = Vec::new();
        for g in self.reach(stream, f, entry.id).await? {
            self.stored(stream, &g, entry.id, made, &range, &mut stored).await?;
        }
        let mut pcm = Pcm::new(range, channels, rate);
        if let Some(law) = Law::of(made.codec) {
            stored.iter().for_each(|(t, payload)| pcm.put(*t, payload, law));
        } else if !stored.is_empty() {
            let (times, payloads): (Vec<_>, Vec<_>) = stored.into_iter().unzip();
            let sounds =
                stills.pcm(made.codec, payloads, rate, channels).await.map_err(VideoError::Picture)?;
            for (n, sound) in sounds {
                let t = usize::try_from(n).ok().and_then(|n| times.get(n));
                t.into_iter().for_each(|t| pcm.put(*t, &sound, Law::Little));
            }
        }
        let packets = match made.track.codec {
            Codec::Opus => stills.opus(pcm.samples, rate, channels).await,
            _ => stills.aac(pcm.samples, rate, channels).await,
        };
        let grid = packets.map_err(VideoError::Picture)?.into_iter();
        let grid = grid.map(|(n, data)| (span.first - made.before + i64::from(n), data));
        Ok(grid.filter(|(k, _)| (span.first..=span.last).contains(k)).collect())
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

    /// What a fragment has of a stretch: packets, and where they belong.
    async fn stored(
        &self,
        stream: &Stream,
        f: &Fragment,
        id: u8,
        made: &Made,
        range: &std::ops::Range<i64>,
        out: &mut Vec<(i64, Bytes)>,
    ) -> Result<(), VideoError> {
        let table = self.tables.get(&self.log, stream, f).await?;
        let Some(track) = table.tracks.iter().find(|t| t.id == id) else { return Ok(()) };
        let start = range.start - i64::from(made.rate) / PREROLL;
        let wanted: Vec<_> = table
            .samples
            .iter()
            .filter(|s| s.track == id)
            .map(|s| (at(s.pts, track.timescale, made.rate), s))
            .filter(|(t, s)| {
                // Durations of G.711 are not always said.
                let len = at(s.duration.into(), track.timescale, made.rate).max(s.len.into());
                *t < range.end && t + len > start
            })
            .collect();
        let from = wanted.iter().map(|(_, s)| s.offset).min().unwrap_or(0);
        let to = wanted.iter().map(|(_, s)| s.offset + u64::from(s.len)).max().unwrap_or(0);
        if from >= to {
            return Ok(());
        }
        let bytes = self.log.read_payload(&f.payload, from..to).await.map_err(|e| stream.log_error(e))?;
        out.extend(wanted.into_iter().map(|(t, s)| {
            let at = ((s.offset - from) as usize).min(bytes.len());
            (t, bytes.slice(at..(at + s.len as usize).min(bytes.len())))
        }));
        Ok(())
    }
}

/// A packet as a sample of what is made.
pub(crate) fn sample(made: &Made, number: i64, offset: u64, len: usize) -> Sample {
    let dts = number.saturating_mul(made.ticks.into());
    let (access, duration) = (RandomAccess::Idr, made.ticks);
    let len = u32::try_from(len).unwrap_or(0);
    Sample { track: made.track.id, dts, pts: dts, duration, access, offset, len }
}

/// Ticks as samples.
fn at(ticks: i64, timescale: u32, rate: u32) -> i64 {
    let t = (i128::from(ticks) * i128::from(rate)).div_euclid(i128::from(timescale.max(1)));
    i64::try_from(t).unwrap_or(0)
}

/// How plain samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Law {
    /// ITU-T G.711, a byte each.
    Mu,
    A,
    /// Sixteen bits.
    Little,
    Big,
}

impl Law {
    /// None for what must be decoded by others.
    fn of(codec: Codec) -> Option<Law> {
        match codec {
            Codec::Pcmu => Some(Law::Mu),
            Codec::Pcma => Some(Law::A),
            Codec::Other(four) if four == *b"sowt" => Some(Law::Little),
            Codec::Other(four) if four == *b"twos" => Some(Law::Big),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        if matches!(self, Law::Mu | Law::A) { 1 } else { 2 }
    }

    fn sample(self, b: &[u8]) -> i16 {
        match (self, b) {
            (Law::Mu, [b, ..]) => ulaw(*b),
            (Law::A, [b, ..]) => alaw(*b),
            (Law::Little, [a, b, ..]) => i16::from_le_bytes([*a, *b]),
            (Law::Big, [a, b, ..]) => i16::from_be_bytes([*a, *b]),
            _ => 0,
        }
    }
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

    /// Puts samples where they belong.
    fn put(&mut self, mut t: i64, payload: &[u8], law: Law) {
        let wide = usize::from(self.channels);
        let frames = payload.chunks_exact(wide * law.bytes());
        let len = frames.len() as i64;
        // Closed with what is at hand, so that it does not click.
        if let Some(end) = self.end.filter(|end| (t - end).abs() <= self.seam && *end < t) {
            t = end;
        }
        for (i, frame) in frames.enumerate() {
            let Some(n) = (t + i as i64).checked_sub(self.range.start).and_then(|n| usize::try_from(n).ok())
            else {
                continue;
            };
            for (c, b) in frame.chunks_exact(law.bytes()).enumerate() {
                if let Some(to) = self.samples.get_mut(n * wide + c) {
                    *to = law.sample(b);
                }
            }
        }
        self.end = Some(t + len);
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
        fn fragments_share_one_grid(packet in prop_oneof![Just(160i64), Just(960), Just(1024)], start in 1i64 << 43..1 << 44, lens in proptest::collection::vec(2_048i64..90_000, 1..20)) {
            let mut begin = start;
            let mut next = None;
            for len in lens {
                let span = Span::of(begin, begin + len, packet);
                let samples = span.samples(packet, 2);
                prop_assert!(next.is_none_or(|n| n == span.first));
                prop_assert!(samples.end <= begin + len, "nothing that is still to come");
                prop_assert!(begin - samples.start <= 4 * packet);
                next = Some(span.last + 1);
                begin += len;
            }
        }
    }

    #[test]
    fn payloads_lie_where_they_belong() {
        let mut pcm = Pcm::new(100..110, 1, 8_000);
        pcm.put(98, &[0x80; 4], Law::Mu);
        // A sample late is a seam, five hundred are a hole.
        pcm.put(103, &[0x00; 2], Law::Mu);
        pcm.put(603, &[0x00; 2], Law::Mu);
        assert_eq!(pcm.samples, [32_124, 32_124, -32_124, -32_124, 0, 0, 0, 0, 0, 0]);
    }
}
