//! The sample table as it is stored: `docs/formats/fragment.md`.
//!
//! Everything is told as a difference from what the sample before makes likely, each track on its own: a sample costs
//! its head byte, its size, and whatever came otherwise. Any [`Table`] at all round-trips; [`check`] says whether it
//! is one to rely on.

use std::sync::Arc;

use bytes::Bytes;

use crate::bits::Cursor;
use crate::error::invalid;
use crate::{Codec, Framing, Kind, MediaError, RandomAccess, Sample, Table, Track};

const WHAT: &str = "sample table";
const VERSION: u8 = 1;

/// Samples in one table: beyond any fragment's, so that a broken count cannot ask for much memory.
pub const MAX_SAMPLES: usize = 1 << 20;
/// Bytes of one track's configuration.
pub const MAX_CONFIG: usize = 1 << 20;

// The head byte of a sample: where a bit is set, the value follows; else it is the likely one.
const TRACK: u8 = 0b0000_0011; // index in the list of tracks; 3: the id follows
const ACCESS: u8 = 2; // two bits from here: `access_code`
const DTS: u8 = 0b0001_0000; // likely: the one before plus its duration
const CTS: u8 = 0b0010_0000; // pts - dts; likely: as before
const DURATION: u8 = 0b0100_0000; // likely: as before
const OFFSET: u8 = 0b1000_0000; // likely: where the sample before ends, whichever track's

/// What makes a value likely, for one track.
#[derive(Clone, Copy, Default)]
struct Before {
    next_dts: i64,
    cts: i64,
    duration: u32,
}

/// Writes a table. More than [`MAX_SAMPLES`] or 255 tracks cannot be read again; a fragment closes long before.
pub fn encode(table: &Table) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + table.samples.len() * 6);
    out.push(VERSION);
    varint(&mut out, table.tracks.len() as u64);
    for track in &table.tracks {
        put_track(&mut out, track);
    }
    varint(&mut out, table.samples.len() as u64);
    let mut before = [Before::default(); 256];
    let mut end = 0u64;
    for s in &table.samples {
        let b = &mut before[usize::from(s.track)];
        let index = table.tracks.iter().take(3).position(|t| t.id == s.track).unwrap_or(3) as u8;
        let cts = s.pts.wrapping_sub(s.dts);
        let mut head = index | access_code(s.access) << ACCESS;
        for (bit, differs) in [
            (DTS, s.dts != b.next_dts),
            (CTS, cts != b.cts),
            (DURATION, s.duration != b.duration),
            (OFFSET, s.offset != end),
        ] {
            if differs {
                head |= bit;
            }
        }
        out.push(head);
        if index == 3 {
            out.push(s.track);
        }
        if head & DTS != 0 {
            varint(&mut out, zigzag(s.dts.wrapping_sub(b.next_dts)));
        }
        if head & CTS != 0 {
            varint(&mut out, zigzag(cts.wrapping_sub(b.cts)));
        }
        if head & DURATION != 0 {
            varint(&mut out, zigzag(i64::from(s.duration) - i64::from(b.duration)));
        }
        if head & OFFSET != 0 {
            varint(&mut out, zigzag(s.offset.wrapping_sub(end) as i64));
        }
        varint(&mut out, u64::from(s.len));
        *b = Before { next_dts: s.dts.wrapping_add(i64::from(s.duration)), cts, duration: s.duration };
        end = s.offset.wrapping_add(u64::from(s.len));
    }
    out
}

/// Reads a table. Memory is bounded by 24 times the input and by [`MAX_SAMPLES`]. Whether offsets lie within a payload
/// is for [`check`] to say.
pub fn decode(data: &[u8]) -> Result<Table, MediaError> {
    let mut c = Cursor::new(WHAT, data);
    if c.u8()? != VERSION {
        return Err(MediaError::Unsupported { what: WHAT, why: "an unknown version" });
    }
    let count = get(&mut c)?;
    if count > 255 {
        return invalid(WHAT, "more than 255 tracks");
    }
    let tracks = (0..count).map(|_| get_track(&mut c).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let count = get(&mut c)?;
    // A sample takes two bytes at least.
    if count > MAX_SAMPLES as u64 || count > (c.rest.len() / 2) as u64 {
        return invalid(WHAT, "more samples than it has room for");
    }
    let mut samples = Vec::with_capacity(count as usize);
    let mut before = [Before::default(); 256];
    let mut end = 0u64;
    for _ in 0..count {
        let head = c.u8()?;
        let index = usize::from(head & TRACK);
        let track = match index {
            3 => c.u8()?,
            _ => match tracks.get(index) {
                Some(track) => track.id,
                None => return invalid(WHAT, "a sample of a track that is not there"),
            },
        };
        let b = &mut before[usize::from(track)];
        let mut delta = |bit: u8| if head & bit != 0 { get(&mut c).map(unzigzag) } else { Ok(0) };
        let dts = b.next_dts.wrapping_add(delta(DTS)?);
        let cts = b.cts.wrapping_add(delta(CTS)?);
        let Some(duration) =
            i64::from(b.duration).checked_add(delta(DURATION)?).and_then(|d| u32::try_from(d).ok())
        else {
            return invalid(WHAT, "an impossible duration");
        };
        let offset = end.wrapping_add(delta(OFFSET)? as u64);
        let Ok(len) = u32::try_from(get(&mut c)?) else { return invalid(WHAT, "a sample of 4 GiB or more") };
        *b = Before { next_dts: dts.wrapping_add(i64::from(duration)), cts, duration };
        end = offset.wrapping_add(u64::from(len));
        let access = access_of(head >> ACCESS & 3);
        samples.push(Sample { track, dts, pts: dts.wrapping_add(cts), duration, access, offset, len });
    }
    if !c.rest.is_empty() {
        return invalid(WHAT, "bytes after its end");
    }
    Ok(Table { tracks, samples })
}

/// Whether a table holds what [`Sample`] and [`Track`] promise, for a payload of so many bytes: tracks with ids from 1
/// that are unique, samples of known tracks, within the payload, decode times that rise, `pts >= dts`.
pub fn check(table: &Table, payload_len: u64) -> Result<(), MediaError> {
    let mut last = [None; 256];
    let mut known = [false; 256];
    for track in &table.tracks {
        if track.id == 0 || track.timescale == 0 || std::mem::replace(&mut known[usize::from(track.id)], true)
        {
            return invalid(WHAT, "a track whose id is 0 or taken, or without a timescale");
        }
    }
    for s in &table.samples {
        if !known[usize::from(s.track)] {
            return invalid(WHAT, "a sample of a track that is not there");
        }
        if s.offset.checked_add(u64::from(s.len)).is_none_or(|end| end > payload_len) {
            return invalid(WHAT, "a sample beyond the payload");
        }
        if s.pts < s.dts {
            return invalid(WHAT, "a sample shown before it is decoded");
        }
        if last[usize::from(s.track)].replace(s.dts).is_some_and(|before| s.dts <= before) {
            return invalid(WHAT, "decode times that do not rise");
        }
    }
    Ok(())
}

fn put_track(out: &mut Vec<u8>, track: &Track) {
    out.push(track.id);
    let (code, name) = match track.codec {
        Codec::H264 => (1, None),
        Codec::H265 => (2, None),
        Codec::Aac => (3, None),
        Codec::Opus => (4, None),
        Codec::Pcmu => (5, None),
        Codec::Pcma => (6, None),
        Codec::Other(name) => (0, Some(name)),
    };
    out.push(code);
    out.extend(name.into_iter().flatten());
    match track.kind {
        Kind::Video { width, height } => {
            out.push(0);
            varint(out, u64::from(width));
            varint(out, u64::from(height));
        }
        Kind::Audio { rate, channels } => {
            out.push(1);
            varint(out, u64::from(rate));
            varint(out, u64::from(channels));
        }
    }
    varint(out, u64::from(track.timescale));
    match track.framing {
        Framing::Length(n) => out.extend([0, n]),
        Framing::AnnexB => out.push(1),
        Framing::Raw => out.push(2),
    }
    varint(out, track.config.len() as u64);
    out.extend_from_slice(&track.config);
}

fn get_track(c: &mut Cursor) -> Result<Track, MediaError> {
    let id = c.u8()?;
    let codec = match c.u8()? {
        0 => Codec::Other(c.array()?),
        1 => Codec::H264,
        2 => Codec::H265,
        3 => Codec::Aac,
        4 => Codec::Opus,
        5 => Codec::Pcmu,
        6 => Codec::Pcma,
        _ => return invalid(WHAT, "an unknown codec"),
    };
    let kind = match c.u8()? {
        0 => Kind::Video { width: small(c)?, height: small(c)? },
        1 => Kind::Audio { rate: small(c)?, channels: small(c)? },
        _ => return invalid(WHAT, "an unknown kind of track"),
    };
    let timescale = small(c)?;
    let framing = match c.u8()? {
        0 => Framing::Length(c.u8()?),
        1 => Framing::AnnexB,
        2 => Framing::Raw,
        _ => return invalid(WHAT, "an unknown framing"),
    };
    let len = get(c)?;
    if len > MAX_CONFIG as u64 {
        return invalid(WHAT, "a configuration of more than 1 MiB");
    }
    let config = Bytes::copy_from_slice(c.take(len as usize)?);
    Ok(Track { id, codec, kind, timescale, framing, config })
}

fn access_code(access: RandomAccess) -> u8 {
    match access {
        RandomAccess::None => 0,
        RandomAccess::Idr => 1,
        RandomAccess::Open => 2,
        RandomAccess::Recovery => 3,
    }
}

fn access_of(code: u8) -> RandomAccess {
    match code {
        1 => RandomAccess::Idr,
        2 => RandomAccess::Open,
        3 => RandomAccess::Recovery,
        _ => RandomAccess::None,
    }
}

/// Seven bits a byte, lowest first; the top bit says that another follows.
fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn get(c: &mut Cursor) -> Result<u64, MediaError> {
    let mut v = 0u64;
    for shift in (0..64).step_by(7) {
        let b = c.u8()?;
        let bits = u64::from(b & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        v |= bits << shift;
        if b < 0x80 {
            // One form for each number, so that equal tables are equal bytes.
            return if b == 0 && shift > 0 { invalid(WHAT, "a number written too long") } else { Ok(v) };
        }
    }
    invalid(WHAT, "a number of more than 64 bits")
}

fn small<T: TryFrom<u64>>(c: &mut Cursor) -> Result<T, MediaError> {
    T::try_from(get(c)?).or_else(|_| invalid(WHAT, "a number too large for its place"))
}

/// Small numbers of either sign as small ones.
fn zigzag(v: i64) -> u64 {
    (v << 1 ^ v >> 63) as u64
}

fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn access() -> impl Strategy<Value = RandomAccess> {
        (0u8..4).prop_map(access_of)
    }

    fn track() -> impl Strategy<Value = Track> {
        let codec = prop_oneof![
            Just(Codec::H264),
            Just(Codec::H265),
            Just(Codec::Aac),
            Just(Codec::Opus),
            Just(Codec::Pcmu),
            Just(Codec::Pcma),
            any::<[u8; 4]>().prop_map(Codec::Other)
        ];
        let kind = prop_oneof![
            any::<(u16, u16)>().prop_map(|(width, height)| Kind::Video { width, height }),
            any::<(u32, u8)>().prop_map(|(rate, channels)| Kind::Audio { rate, channels })
        ];
        let framing =
            prop_oneof![any::<u8>().prop_map(Framing::Length), Just(Framing::AnnexB), Just(Framing::Raw)];
        let config = proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
        (any::<u8>(), codec, kind, any::<u32>(), framing, config).prop_map(
            |(id, codec, kind, timescale, framing, config)| Track {
                id,
                codec,
                kind,
                timescale,
                framing,
                config,
            },
        )
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let near = prop_oneof![any::<i64>(), 0i64..100_000];
        let offset = prop_oneof![any::<u64>(), 0u64..1000];
        (0u8..5, near.clone(), near, any::<u32>(), access(), offset, any::<u32>()).prop_map(
            |(track, dts, pts, duration, access, offset, len)| Sample {
                track,
                dts,
                pts,
                duration,
                access,
                offset,
                len,
            },
        )
    }

    /// As a camera would give it.
    pub(crate) fn typical(jitter: u64) -> Table {
        let track = |id, codec, kind, timescale| {
            Arc::new(Track {
                id,
                codec,
                kind,
                timescale,
                framing: Framing::Raw,
                config: Bytes::from_static(&[1; 40]),
            })
        };
        let video = track(1, Codec::H264, Kind::Video { width: 1920, height: 1080 }, 90_000);
        let audio = track(2, Codec::Aac, Kind::Audio { rate: 48_000, channels: 2 }, 48_000);
        let mut table = Table { tracks: vec![video, audio], samples: vec![] };
        let mut offset = 0;
        let mut dts = 160_000_000_000_000i64;
        for i in 0..50u64 {
            let mut len = if i == 0 { 60_000 } else { 9_000 + 37 * i as u32 };
            let duration = 3_600 + (i * 7_919 % (jitter + 1)) as u32;
            let reorder = [2, 4, 0, 0][i as usize % 4] * 3_600;
            let access = if i == 0 { RandomAccess::Idr } else { RandomAccess::None };
            table.samples.push(Sample { track: 1, dts, pts: dts + reorder, duration, access, offset, len });
            offset += u64::from(len);
            dts += i64::from(duration);
            for half in 0..2 {
                len = 300 + (i as u32 * 31 + half) % 80;
                let dts = 85_000_000_000_000 + (2 * i as i64 + i64::from(half)) * 1_024;
                let access = RandomAccess::Idr;
                table.samples.push(Sample { track: 2, dts, pts: dts, duration: 1_024, access, offset, len });
                offset += u64::from(len);
            }
        }
        table
    }

    #[test]
    fn a_sample_costs_few_bytes() {
        for (jitter, most) in [(0, 4.5), (90, 6.0)] {
            let table = typical(jitter);
            let payload = table.samples.iter().map(|s| u64::from(s.len)).sum();
            assert_eq!(check(&table, payload), Ok(()));
            let bytes = encode(&table);
            assert_eq!(decode(&bytes).unwrap(), table);
            let each = bytes.len() as f64 / table.samples.len() as f64;
            assert!(each <= most, "{each} bytes a sample");
        }
    }

    #[test]
    fn hostile_counts_ask_for_no_memory() {
        let mut bytes = vec![VERSION, 0];
        varint(&mut bytes, 1 << 40);
        assert!(decode(&bytes).is_err());
        assert!(decode(&[VERSION, 1, 1, 1, 0, 1, 1, 1, 2, 0xff, 0xff, 0x7f]).is_err());
        assert!(decode(&[2, 0, 0]).is_err());
        assert_eq!(decode(&[VERSION, 0, 0]), Ok(Table::default()));
    }

    #[test]
    fn what_a_table_promises() {
        let good = typical(0);
        let spoil = |f: &dyn Fn(&mut Table)| {
            let mut bad = good.clone();
            f(&mut bad);
            check(&bad, 10_000_000)
        };
        assert!(spoil(&|_| ()).is_ok());
        assert!(spoil(&|t| t.samples[7].track = 9).is_err());
        assert!(spoil(&|t| t.samples[7].offset = u64::MAX).is_err());
        assert!(spoil(&|t| t.samples[3].pts = 0).is_err());
        assert!(spoil(&|t| t.samples[3].dts = t.samples[0].dts).is_err());
        assert!(spoil(&|t| t.tracks[1] = t.tracks[0].clone()).is_err());
        assert!(check(&good, 1000).is_err());
    }

    proptest! {
        #[test]
        fn any_table_round_trips(
            tracks in proptest::collection::vec(track(), 0..5), mut samples in proptest::collection::vec(sample(), 0..40),
        ) {
            // Indexes name the first of equal ids; ids that no track has are written out.
            let tracks: Vec<_> = tracks.into_iter().map(Arc::new).collect();
            for s in &mut samples {
                if let Some(t) = tracks.get(usize::from(s.track)) { s.track = t.id; }
            }
            let table = Table { tracks, samples };
            prop_assert_eq!(decode(&encode(&table)), Ok(table));
        }

        #[test]
        fn any_change_is_survived(at in 0usize..10_000, to in any::<u8>(), cut in 0usize..10_000) {
            let mut bytes = encode(&typical(90));
            let len = bytes.len();
            bytes[at % len] = to;
            bytes.truncate(len - cut % len);
            if let Ok(table) = decode(&bytes) {
                let again = encode(&table);
                prop_assert_eq!(decode(&again), Ok(table));
            }
        }
    }
}
