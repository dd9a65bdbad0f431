//! Access units on a connection: what `rushes import` sends. `docs/formats/units.md` is its page.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use media::{AccessUnit, RandomAccess, Table, Track};
use std::sync::Arc;

use crate::MAX_UNIT;

/// The media type of a sequence of records.
pub const MEDIA_TYPE: &str = "application/vnd.rushes.units";

/// Bytes of a record's head: its kind and the length of its body.
const HEAD: usize = 5;
/// What a unit has beside its payload, at most; and the longest list of tracks.
const EXTRA: usize = 64;
const MAX_TRACKS: usize = 16 << 20;

const END: u8 = 0;
const TRACKS: u8 = 1;
const UNIT: u8 = 2;
const BREAK: u8 = 3;

const HAS_DTS: u8 = 1;
const HAS_DURATION: u8 = 2;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The tracks from here on; first of all, and whenever one changed.
    Tracks(Vec<Arc<Track>>),
    /// An access unit.
    Unit(AccessUnit),
    /// What follows does not continue what was, and why.
    Break(String),
    /// Nothing follows: without it the sequence was cut off.
    End,
}

/// Bytes that are not such a sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitsError {
    /// A record of a kind that is not known.
    #[error("byte {0}: a record of the unknown kind {1}")]
    Kind(u64, u8),
    /// A record that is longer than any may be.
    #[error("byte {0}: a record of {1} bytes, more than one may have")]
    Long(u64, u64),
    /// A record that does not hold what its kind says.
    #[error("byte {0}: {1}")]
    Body(u64, String),
    /// It ended without an end.
    #[error("cut off after byte {0}")]
    Cut(u64),
}

/// Appends a record.
pub fn encode(record: &Record, out: &mut BytesMut) {
    let mut head = |kind: u8, len: usize| {
        out.put_u8(kind);
        // No payload in memory has 4 GiB; the other side refuses far shorter ones.
        out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    };
    match record {
        Record::End => head(END, 0),
        Record::Tracks(tracks) => {
            let body = media::table::encode(&Table { tracks: tracks.clone(), samples: Vec::new() });
            head(TRACKS, body.len());
            out.put_slice(&body);
        }
        Record::Break(why) => {
            head(BREAK, why.len());
            out.put_slice(why.as_bytes());
        }
        Record::Unit(u) => {
            let more = if u.dts.is_some() { 8 } else { 0 } + if u.duration.is_some() { 4 } else { 0 };
            head(UNIT, 11 + more + u.data.len());
            out.put_u8(u.track);
            out.put_u8(match u.access {
                RandomAccess::None => 0,
                RandomAccess::Idr => 1,
                RandomAccess::Open => 2,
                RandomAccess::Recovery => 3,
            });
            out.put_u8(
                if u.dts.is_some() { HAS_DTS } else { 0 }
                    | if u.duration.is_some() { HAS_DURATION } else { 0 },
            );
            out.put_i64(u.pts);
            if let Some(dts) = u.dts {
                out.put_i64(dts);
            }
            if let Some(d) = u.duration {
                out.put_u32(d);
            }
            out.put_slice(&u.data);
        }
    }
}

/// Takes records apart as they come; holds at most one that is not whole.
#[derive(Debug, Default)]
pub struct Decoder {
    buf: BytesMut,
    at: u64,
    ended: bool,
}

impl Decoder {
    /// Takes the next bytes.
    pub fn push(&mut self, data: &[u8]) {
        self.buf.extend_from_slice(data);
    }

    /// How far it has read.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// There is nothing more to push.
    pub fn finish(&self) -> Result<(), UnitsError> {
        if self.ended { Ok(()) } else { Err(UnitsError::Cut(self.at + self.buf.len() as u64)) }
    }

    /// The next record; none: push more. After an error there is nothing more to be had.
    pub fn record(&mut self) -> Result<Option<Record>, UnitsError> {
        let Some((&kind, rest)) = self.buf.split_first() else { return Ok(None) };
        let Some(len) = rest.first_chunk::<4>().map(|b| u32::from_be_bytes(*b) as usize) else {
            return Ok(None);
        };
        let most = match kind {
            END => 0,
            TRACKS => MAX_TRACKS,
            UNIT => MAX_UNIT + EXTRA,
            BREAK => 1000,
            k => return Err(UnitsError::Kind(self.at, k)),
        };
        if len > most {
            return Err(UnitsError::Long(self.at, len as u64));
        }
        if self.ended {
            return Err(UnitsError::Body(self.at, "something follows the end".into()));
        }
        if self.buf.len() < HEAD + len {
            self.buf.reserve(HEAD + len - self.buf.len());
            return Ok(None);
        }
        self.buf.advance(HEAD);
        let body = self.buf.split_to(len).freeze();
        let at = self.at;
        self.at += (HEAD + len) as u64;
        let bad = |why: &str| UnitsError::Body(at, why.to_owned());
        Ok(Some(match kind {
            END => {
                self.ended = true;
                Record::End
            }
            TRACKS => {
                let table = media::table::decode(&body).map_err(|e| bad(&e.to_string()))?;
                if !table.samples.is_empty() {
                    return Err(bad("samples among the tracks"));
                }
                Record::Tracks(table.tracks)
            }
            BREAK => Record::Break(String::from_utf8_lossy(&body).into_owned()),
            _ => Record::Unit(unit(body).ok_or_else(|| bad("not an access unit"))?),
        }))
    }
}

fn unit(mut b: Bytes) -> Option<AccessUnit> {
    let track = b.try_get_u8().ok()?;
    let access = match b.try_get_u8().ok()? {
        0 => RandomAccess::None,
        1 => RandomAccess::Idr,
        2 => RandomAccess::Open,
        3 => RandomAccess::Recovery,
        _ => return None,
    };
    let flags = b.try_get_u8().ok().filter(|f| f & !(HAS_DTS | HAS_DURATION) == 0)?;
    let pts = b.try_get_i64().ok()?;
    let dts = if flags & HAS_DTS != 0 { Some(b.try_get_i64().ok()?) } else { None };
    let duration = if flags & HAS_DURATION != 0 { Some(b.try_get_u32().ok()?) } else { None };
    Some(AccessUnit { track, pts, dts, duration, access, data: b })
}

#[cfg(test)]
mod tests {
    use media::Codec;
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let access = prop_oneof![
            Just(RandomAccess::None),
            Just(RandomAccess::Idr),
            Just(RandomAccess::Open),
            Just(RandomAccess::Recovery)
        ];
        let unit = (
            any::<u8>(),
            any::<i64>(),
            any::<Option<i64>>(),
            any::<Option<u32>>(),
            access,
            proptest::collection::vec(any::<u8>(), 0..300),
        )
            .prop_map(|(track, pts, dts, duration, access, data)| {
                Record::Unit(AccessUnit { track, pts, dts, duration, access, data: data.into() })
            });
        let tracks = (1u8..9).prop_map(|n| {
            Record::Tracks((1..=n).map(|id| Arc::new(media::g711_track(id, Codec::Pcmu, 8_000, 1))).collect())
        });
        let one = prop_oneof![8 => unit, 1 => tracks, 1 => "[a-z ]{0,40}".prop_map(Record::Break)];
        proptest::collection::vec(one, 0..20)
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives_however_it_is_cut(mut sent in records(), step in 1usize..400) {
            sent.push(Record::End);
            let mut bytes = BytesMut::new();
            sent.iter().for_each(|r| encode(r, &mut bytes));
            let mut d = Decoder::default();
            let mut got = Vec::new();
            for chunk in bytes.chunks(step) {
                prop_assert!(d.finish().is_err());
                d.push(chunk);
                while let Some(r) = d.record().unwrap() {
                    got.push(r);
                }
            }
            prop_assert_eq!(d.finish(), Ok(()));
            prop_assert_eq!(d.offset(), bytes.len() as u64);
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..5) {
            let mut d = Decoder::default();
            d.push(&[kind, 0, 0, 0]);
            d.push(&data);
            while let Ok(Some(_)) = d.record() {}
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_held() {
        let mut d = Decoder::default();
        d.push(&[UNIT, 0xff, 0, 0, 0]);
        assert_eq!(d.record(), Err(UnitsError::Long(0, 0xff00_0000)));
        let mut d = Decoder::default();
        d.push(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(d.record(), Ok(Some(Record::End)));
        assert!(matches!(d.record(), Err(UnitsError::Body(5, _))));
    }
}
