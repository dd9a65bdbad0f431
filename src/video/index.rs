//! The index entry of a fragment: what [`log::Payload::index`] holds. `docs/formats/fragment-index.md` is its page.

use std::fmt;

use world::Timestamp;

/// The only version so far.
const VERSION: u8 = 1;

/// Most tracks that a fragment has.
pub const MAX_TRACKS: usize = 8;

/// Most tracks whose count is carried on while they have no samples.
pub const MAX_ABSENT: usize = 16;

/// An index entry does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a fragment's index entry: {0}")]
pub struct EntryError(&'static str);

/// What the index says of one fragment: enough to render a playlist without opening its payload.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// A decoder of its video can start at its first sample (or it has no video).
    pub independent: bool,
    /// It starts with an open GOP: leading pictures may refer to the fragment before.
    pub open: bool,
    /// It does not continue the fragment before.
    pub discontinuity: bool,
    /// Its producer times are a guess of the server's.
    pub estimated: bool,
    /// Parts of the fragment after it may have been shown before that was stored.
    pub ahead: bool,
    /// How many fragments the stream had before this one. Of a fragment that was shown and then lost there is one, too.
    pub ordinal: u64,
    /// Its discontinuity sequence number: fragments up to and including this one that do not continue theirs before.
    pub discontinuities: u64,
    /// Length of the sample table at the end of the payload, in bytes.
    pub table_len: u32,
    /// Its first sample of video where decoding can start.
    pub key: Option<Key>,
    /// Tracks that have samples in it, ascending by id; at most [`MAX_TRACKS`].
    pub tracks: Vec<TrackEntry>,
    /// Other tracks that the stream has had, (id, how many fragments had samples of it); at most [`MAX_ABSENT`].
    pub absent: Vec<(u8, u64)>,
    /// What names the fragment to clients of Kinesis Video Streams: rises with the position; microseconds since the Unix
    /// epoch when receipt of it began, or more. 0: none, of before there was any.
    pub number: u64,
    /// How it came, if it came as Matroska.
    pub matroska: Option<Matroska>,
}

/// What is kept of a fragment that came as Matroska, besides its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matroska {
    /// Length of its skeleton, which lies between the samples' bytes and the sample table.
    pub skeleton_len: u32,
    /// The first half of SHA-256 over its frames, by which one that is put again is known.
    pub digest: [u8; 16],
}

/// Where a key frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Offset in the payload.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
}

/// What the index says of one track in a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackEntry {
    /// The track's id.
    pub id: u8,
    /// Pictures rather than sound.
    pub video: bool,
    /// There is a form for it in MP4, hence in HLS.
    pub mp4: bool,
    /// Its units are not framed as MP4 has them (lengths of four bytes), or not all of them.
    pub rewrite: bool,
    /// Names its configuration: [`init_hash`].
    pub init: InitHash,
    /// Ticks a second.
    pub timescale: u32,
    /// Decode time of its first sample, in ticks since the Unix epoch.
    pub first_dts: i64,
    /// Presentation time of its first sample, in ticks after `first_dts`.
    pub first_cts: u64,
    /// Sum of its samples' durations in ticks.
    pub duration: u64,
    /// How many fragments with samples of this track the stream had before.
    pub ordinal: u64,
    /// Its samples.
    pub samples: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[cfg(test)]
impl TrackEntry {
    /// One picture, in milliseconds.
    pub(crate) fn picture(at: Timestamp, duration: u64, ordinal: u64) -> TrackEntry {
        TrackEntry {
            id: 1,
            video: true,
            mp4: true,
            rewrite: false,
            init: InitHash(7),
            timescale: 1000,
            first_dts: at.millis(),
            first_cts: 0,
            duration,
            ordinal,
            samples: 1,
            bytes: 1,
        }
    }
}

impl TrackEntry {
    /// Duration in seconds.
    pub fn seconds(&self) -> f64 {
        self.duration as f64 / f64::from(self.timescale.max(1))
    }
    /// When its first sample is shown, by the producer's clock.
    pub fn start(&self) -> Timestamp {
        time_of(self.first_dts.saturating_add_unsigned(self.first_cts), self.timescale)
    }
}

/// Names a track's configuration within its stream; sixteen hexadecimal digits in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InitHash(pub u64);

impl fmt::Display for InitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// FNV-1a over everything that an initialisation segment is made of. It tells a camera's own few configurations
/// apart; nothing rests on nobody being able to make two alike.
pub fn init_hash(track: &media::Track) -> InitHash {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    let mut eat = |bytes: &[u8]| {
        for b in bytes {
            h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let codec = match track.codec {
        media::Codec::H264 => *b"h264",
        media::Codec::H265 => *b"h265",
        media::Codec::Aac => *b"aac ",
        media::Codec::Opus => *b"opus",
        media::Codec::Pcmu => *b"pcmu",
        media::Codec::Pcma => *b"pcma",
        media::Codec::Other(name) => name,
    };
    eat(&[track.id]);
    eat(&codec);
    match track.kind {
        media::Kind::Video { width, height } => {
            eat(b"v");
            eat(&width.to_be_bytes());
            eat(&height.to_be_bytes());
        }
        media::Kind::Audio { rate, channels } => {
            eat(b"a");
            eat(&rate.to_be_bytes());
            eat(&[channels]);
        }
    }
    eat(&track.timescale.to_be_bytes());
    eat(&match track.framing {
        media::Framing::Length(n) => [b'l', n],
        media::Framing::AnnexB => [b'b', 0],
        media::Framing::Raw => [b'r', 0],
    });
    eat(&track.config);
    InitHash(h)
}

/// Ticks since the epoch as a time, rounded down to a microsecond.
pub fn time_of(ticks: i64, timescale: u32) -> Timestamp {
    let us = (i128::from(ticks) * 1_000_000).div_euclid(i128::from(timescale.max(1)));
    Timestamp(i64::try_from(us).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX }))
}

/// A time in ticks since the epoch, rounded down.
pub fn ticks_of(time: Timestamp, timescale: u32) -> i64 {
    let t = (i128::from(time.micros()) * i128::from(timescale)).div_euclid(1_000_000);
    i64::try_from(t).unwrap_or(if t < 0 { i64::MIN } else { i64::MAX })
}

const INDEPENDENT: u8 = 1;
const DISCONTINUITY: u8 = 2;
const ESTIMATED: u8 = 4;
const OPEN: u8 = 8;
const KEY: u8 = 16;
const NUMBER: u8 = 32;
const MATROSKA: u8 = 64;
const AHEAD: u8 = 128;

const VIDEO: u8 = 1;
const MP4: u8 = 2;
const REWRITE: u8 = 4;

impl Entry {
    /// The track's part, if it has samples here.
    pub fn track(&self, id: u8) -> Option<&TrackEntry> {
        self.tracks.iter().find(|t| t.id == id)
    }

    /// As stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + 36 * self.tracks.len());
        let mut flags = 0;
        for (on, bit) in [
            (self.independent, INDEPENDENT),
            (self.discontinuity, DISCONTINUITY),
            (self.estimated, ESTIMATED),
            (self.open, OPEN),
            (self.key.is_some(), KEY),
            (self.number > 0, NUMBER),
            (self.matroska.is_some(), MATROSKA),
            (self.ahead, AHEAD),
        ] {
            flags |= if on { bit } else { 0 };
        }
        out.extend([VERSION, flags]);
        put(&mut out, self.ordinal);
        put(&mut out, self.discontinuities);
        put(&mut out, u64::from(self.table_len));
        if let Some(k) = self.key {
            put(&mut out, k.offset);
            put(&mut out, u64::from(k.len));
        }
        let tracks = &self.tracks[..self.tracks.len().min(MAX_TRACKS)];
        out.push(tracks.len() as u8);
        for t in tracks {
            let bits = [(t.video, VIDEO), (t.mp4, MP4), (t.rewrite, REWRITE)];
            out.extend([t.id, bits.iter().fold(0, |f, (on, bit)| if *on { f | bit } else { f })]);
            out.extend(t.init.0.to_be_bytes());
            put(&mut out, u64::from(t.timescale));
            put(&mut out, zigzag(t.first_dts));
            for n in [t.first_cts, t.duration, t.ordinal, t.samples, t.bytes] {
                put(&mut out, n);
            }
        }
        let absent = &self.absent[..self.absent.len().min(MAX_ABSENT)];
        out.push(absent.len() as u8);
        for (id, ordinal) in absent {
            out.push(*id);
            put(&mut out, *ordinal);
        }
        if self.number > 0 {
            put(&mut out, self.number);
        }
        if let Some(m) = &self.matroska {
            put(&mut out, u64::from(m.skeleton_len));
            out.extend(m.digest);
        }
        out
    }

    /// The inverse of [`Entry::encode`]. Bytes after the end are ignored: a later version may add there.
    pub fn decode(mut b: &[u8]) -> Result<Entry, EntryError> {
        let b = &mut b;
        if byte(b)? != VERSION {
            return Err(EntryError("of a version that is not known here"));
        }
        let flags = byte(b)?;
        let (ordinal, discontinuities, table_len) = (get(b)?, get(b)?, get32(b)?);
        let key = if flags & KEY != 0 { Some(Key { offset: get(b)?, len: get32(b)? }) } else { None };
        let n = usize::from(byte(b)?);
        if n > MAX_TRACKS {
            return Err(EntryError("too many tracks"));
        }
        let mut tracks = Vec::with_capacity(n);
        for _ in 0..n {
            let (id, f) = (byte(b)?, byte(b)?);
            let Some((hash, rest)) = b.split_first_chunk::<8>() else { return Err(EntryError("too short")) };
            *b = rest;
            let timescale = get32(b)?;
            if timescale == 0 {
                return Err(EntryError("a timescale of zero"));
            }
            tracks.push(TrackEntry {
                id,
                video: f & VIDEO != 0,
                mp4: f & MP4 != 0,
                rewrite: f & REWRITE != 0,
                init: InitHash(u64::from_be_bytes(*hash)),
                timescale,
                first_dts: unzigzag(get(b)?),
                first_cts: get(b)?,
                duration: get(b)?,
                ordinal: get(b)?,
                samples: get(b)?,
                bytes: get(b)?,
            });
        }
        let n = usize::from(byte(b)?);
        if n > MAX_ABSENT {
            return Err(EntryError("too many absent tracks"));
        }
        let absent = (0..n).map(|_| Ok((byte(b)?, get(b)?))).collect::<Result<_, EntryError>>()?;
        let number = if flags & NUMBER != 0 { get(b)? } else { 0 };
        let matroska = if flags & MATROSKA != 0 {
            let skeleton_len = get32(b)?;
            let (digest, rest) = b.split_first_chunk::<16>().ok_or(EntryError("too short"))?;
            *b = rest;
            Some(Matroska { skeleton_len, digest: *digest })
        } else {
            None
        };
        Ok(Entry {
            number,
            matroska,
            independent: flags & INDEPENDENT != 0,
            discontinuity: flags & DISCONTINUITY != 0,
            estimated: flags & ESTIMATED != 0,
            open: flags & OPEN != 0,
            ahead: flags & AHEAD != 0,
            ordinal,
            discontinuities,
            table_len,
            key,
            tracks,
            absent,
        })
    }
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// LEB128.
fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn byte(b: &mut &[u8]) -> Result<u8, EntryError> {
    let (first, rest) = b.split_first().ok_or(EntryError("too short"))?;
    *b = rest;
    Ok(*first)
}

fn get(b: &mut &[u8]) -> Result<u64, EntryError> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let x = byte(b)?;
        if shift == 63 && x > 1 {
            break;
        }
        n |= u64::from(x & 0x7f) << shift;
        if x & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(EntryError("a number of more than 64 bits"))
}

fn get32(b: &mut &[u8]) -> Result<u32, EntryError> {
    u32::try_from(get(b)?).map_err(|_| EntryError("a number of more than 32 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    prop_compose! {
        fn track()(id: u8, f in any::<[bool; 3]>(), init: u64, timescale in 1u32.., first_dts: i64, first_cts: u64,
                   duration: u64, ordinal: u64, samples: u64, bytes: u64) -> TrackEntry {
            let (video, mp4, rewrite, init) = (f[0], f[1], f[2], InitHash(init));
            TrackEntry { id, video, mp4, rewrite, init, timescale, first_dts, first_cts, duration, ordinal, samples, bytes }
        }
    }

    prop_compose! {
        fn entry()(f in any::<[bool; 6]>(), n in any::<[u64; 3]>(), m in any::<[u32; 2]>(),
                   tracks in vec(track(), 0..=MAX_TRACKS),
                   absent in vec(any::<(u8, u64)>(), 0..=MAX_ABSENT), number in prop_oneof![Just(0), any::<u64>()],
                   came in any::<Option<(u32, [u8; 16])>>()) -> Entry {
            Entry {
                number, matroska: came.map(|(skeleton_len, digest)| Matroska { skeleton_len, digest }),
                independent: f[0], open: f[1], discontinuity: f[2], estimated: f[3], ahead: f[5], ordinal: n[0],
                discontinuities: n[1], table_len: m[0], key: f[4].then_some(Key { offset: n[2], len: m[1] }), tracks,
                absent,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(e in entry()) {
            prop_assert_eq!(Entry::decode(&e.encode()), Ok(e));
        }
        #[test]
        fn any_bytes_are_an_entry_or_an_error(b in vec(any::<u8>(), 0..200)) {
            let _ = Entry::decode(&b);
        }
        #[test]
        fn a_shortened_entry_is_an_error(e in entry(), cut in any::<prop::sample::Index>()) {
            let b = e.encode();
            prop_assert!(Entry::decode(&b[..cut.index(b.len())]).is_err());
        }
        #[test]
        fn ticks_and_times_agree(us in -4_000_000_000_000_000i64..4_000_000_000_000_000) {
            // A timescale finer than microseconds loses nothing.
            prop_assert_eq!(time_of(ticks_of(Timestamp(us), 90_000_000), 90_000_000), Timestamp(us));
        }
    }

    #[test]
    fn an_ordinary_entry_is_small() {
        let t = TrackEntry {
            id: 1,
            video: true,
            mp4: true,
            rewrite: false,
            init: InitHash(u64::MAX),
            timescale: 90_000,
            first_dts: 1_800_000_000 * 90_000,
            first_cts: 3600,
            duration: 180_000,
            ordinal: 40_000_000,
            samples: 50,
            bytes: 1_000_000,
        };
        let a = TrackEntry { id: 2, video: false, timescale: 48_000, samples: 94, bytes: 32_000, ..t };
        let e = Entry {
            independent: true,
            ordinal: 40_000_000,
            discontinuities: 10_000,
            table_len: 900,
            key: Some(Key { offset: 0, len: 90_000 }),
            tracks: vec![t, a],
            number: 1_800_000_000_000_000,
            ..Entry::default()
        };
        assert!(e.encode().len() <= 108, "{}", e.encode().len());
    }
}
