//! AV1: open bitstream units (OBUs), where decoding can start, and the decoder configuration of MP4 and Matroska.
//!
//! Section numbers without a name are of the "AV1 Bitstream & Decoding Process Specification"; `av1C` is of the "AV1 Codec
//! ISO Media File Format Binding". A payload is a temporal unit in the low-overhead format (§5.2), without delimiters.

use bytes::Bytes;

use crate::bits::Bits;
use crate::error::{invalid, truncated};
use crate::{Codec, Framing, Kind, MediaError, RandomAccess, Track};

const WHAT: &str = "AV1 bitstream unit";
const SEQUENCE: &str = "AV1 sequence header";
const RECORD: &str = "AV1 configuration";

/// `obu_type` (§6.2.2) of a sequence header.
pub const SEQUENCE_HEADER: u8 = 1;
/// Of what stands between temporal units.
pub const TEMPORAL_DELIMITER: u8 = 2;
/// Of a frame's header alone.
pub const FRAME_HEADER: u8 = 3;
/// Of tiles of the frame whose header came before.
pub const TILE_GROUP: u8 = 4;
/// Of a frame: its header, and tiles.
pub const FRAME: u8 = 6;
/// Of a list of tiles, which no temporal unit has.
pub const TILE_LIST: u8 = 8;
/// Of padding.
pub const PADDING: u8 = 15;

/// One unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// Its first byte.
    pub head: u8,
    /// Its second, where it has one: of layers.
    pub extension: Option<u8>,
    /// What it holds.
    pub payload: &'a [u8],
}

impl<'a> Obu<'a> {
    /// Takes one off the front, and what follows it. A unit that does not say its length goes on to the end.
    pub fn split(data: &'a [u8]) -> Result<(Obu<'a>, &'a [u8]), MediaError> {
        let Some((head, mut rest)) = data.split_first() else { return truncated(WHAT) };
        if head & 0x80 != 0 {
            return invalid(WHAT, "the forbidden bit is set");
        }
        let mut extension = None;
        if head & 4 != 0 {
            let Some((e, after)) = rest.split_first() else { return truncated(WHAT) };
            (extension, rest) = (Some(*e), after);
        }
        let mut len = rest.len();
        if head & 2 != 0 {
            let (said, after) = leb128(rest)?;
            (len, rest) = (usize::try_from(said).unwrap_or(usize::MAX), after);
        }
        let Some((payload, after)) = rest.split_at_checked(len) else { return truncated(WHAT) };
        Ok((Obu { head: *head, extension, payload }, after))
    }

    /// `obu_type`
    pub fn kind(&self) -> u8 {
        self.head >> 3 & 15
    }

    /// Writes it with its length.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(self.head & !4 | 2 | if self.extension.is_some() { 4 } else { 0 });
        out.extend(self.extension);
        put_leb128(out, self.payload.len() as u64);
        out.extend_from_slice(self.payload);
    }
}

/// The units of a payload, up to the first that cannot be read.
pub fn obus(mut data: &[u8]) -> impl Iterator<Item = Result<Obu<'_>, MediaError>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let next = Obu::split(data);
        data = next.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(next.map(|(obu, _)| obu))
    })
}

/// A temporal unit as RTP and files want it: each unit with its length, without what carries nothing (delimiters, padding,
/// tile lists). `None` if it cannot be read, or if nothing is left.
pub fn plain(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for obu in obus(data) {
        let obu = obu.ok()?;
        if !matches!(obu.kind(), TEMPORAL_DELIMITER | TILE_LIST | PADDING) {
            obu.put(&mut out);
        }
    }
    (!out.is_empty()).then_some(out)
}

/// A number of seven bits a byte, lowest first (§4.10.5), and what follows it.
pub fn leb128(data: &[u8]) -> Result<(u64, &[u8]), MediaError> {
    let mut v = 0u64;
    for (i, b) in data.iter().take(8).enumerate() {
        v |= u64::from(b & 0x7f) << (7 * i);
        if b < &0x80 {
            return Ok((v, &data[i + 1..]));
        }
    }
    if data.len() < 8 { truncated(WHAT) } else { invalid(WHAT, "a length of more than 56 bits") }
}

fn put_leb128(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// What a sequence header says (§5.5), as far as anybody here wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// 0 to 2.
    pub profile: u8,
    /// `seq_level_idx` of the first operating point: 8 is 4.0.
    pub level: u8,
    /// High tier.
    pub high_tier: bool,
    /// Bits a sample: 8, 10 or 12.
    pub bits: u8,
    /// Without colour.
    pub monochrome: bool,
    /// Chroma is half as wide, half as high.
    pub subsampling: (bool, bool),
    /// Where chroma samples lie: 0 not known, 1 left, 2 top left.
    pub position: u8,
    /// A still picture's short headers.
    pub reduced: bool,
    /// The largest picture's width in pixels; 65536 is told as 65535.
    pub width: u16,
    /// The largest picture's height likewise.
    pub height: u16,
}

impl Sequence {
    /// Reads the payload of the unit.
    pub fn parse(payload: &[u8]) -> Result<Sequence, MediaError> {
        let mut b = Bits::plain(SEQUENCE, payload);
        let profile = b.u(3)? as u8;
        if profile > 2 {
            return invalid(SEQUENCE, "a profile beyond 2");
        }
        b.skip(1)?; // still_picture
        let reduced = b.flag()?;
        let (level, high_tier) = if reduced { (b.u(5)? as u8, false) } else { operating_points(&mut b)? };
        let (across, down) = (b.u(4)? + 1, b.u(4)? + 1);
        let small = |n: u32| u16::try_from(n.saturating_add(1)).unwrap_or(u16::MAX);
        let (width, height) = (small(b.u(across)?), small(b.u(down)?));
        if !reduced && b.flag()? {
            b.skip(7)?; // lengths of frame ids
        }
        b.skip(3)?;
        if !reduced {
            b.skip(4)?;
            let order_hint = b.flag()?;
            if order_hint {
                b.skip(2)?;
            }
            // seq_choose_screen_content_tools, seq_force_screen_content_tools, seq_choose_integer_mv.
            let screen = b.flag()? || b.flag()?;
            if screen && !b.flag()? {
                b.skip(1)?;
            }
            if order_hint {
                b.skip(3)?;
            }
        }
        b.skip(3)?;
        // color_config (§5.5.2)
        let high = b.flag()?;
        let bits = match (profile, high) {
            (2, true) if b.flag()? => 12,
            (_, true) => 10,
            _ => 8,
        };
        let monochrome = profile != 1 && b.flag()?;
        let colour = if b.flag()? { [b.byte()?, b.byte()?, b.byte()?] } else { [2; 3] };
        let mut position = 0;
        let subsampling = if monochrome {
            b.skip(1)?;
            (true, true)
        } else if colour == [1, 13, 0] {
            (false, false)
        } else {
            b.skip(1)?;
            let both = match (profile, bits) {
                (0, _) => (true, true),
                (1, _) => (false, false),
                (_, 12) => {
                    let across = b.flag()?;
                    (across, across && b.flag()?)
                }
                _ => (true, false),
            };
            if both == (true, true) {
                position = b.u(2)? as u8;
            }
            both
        };
        Ok(Sequence {
            profile,
            level,
            high_tier,
            bits,
            monochrome,
            subsampling,
            position,
            reduced,
            width,
            height,
        })
    }

    /// `av1C`, of which this is the header: Matroska's CodecPrivate, too.
    fn record(&self, payload: &[u8]) -> Bytes {
        let bit = |on: bool, at: u8| u8::from(on) << at;
        let mut out = vec![
            0x81,
            self.profile << 5 | self.level & 31,
            bit(self.high_tier, 7)
                | bit(self.bits > 8, 6)
                | bit(self.bits > 10, 5)
                | bit(self.monochrome, 4)
                | bit(self.subsampling.0, 3)
                | bit(self.subsampling.1, 2)
                | self.position & 3,
            0,
        ];
        Obu { head: SEQUENCE_HEADER << 3, extension: None, payload }.put(&mut out);
        out.into()
    }

    /// `av01.0.08M.08` (annex E of the binding's codecs parameter), what follows left to its defaults.
    pub fn codec_string(&self) -> String {
        let tier = if self.high_tier { 'H' } else { 'M' };
        format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.bits)
    }
}

/// Up to the sizes of frames: level and tier of the first operating point.
fn operating_points(b: &mut Bits) -> Result<(u8, bool), MediaError> {
    let (mut model, mut delay) = (false, 0);
    if b.flag()? {
        b.skip(64)?;
        if b.flag()? {
            // num_ticks_per_picture_minus_1, uvlc(): like Exp-Golomb (§4.10.3).
            b.ue()?;
        }
        model = b.flag()?;
        if model {
            delay = b.u(5)? + 1;
            b.skip(32 + 5 + 5)?;
        }
    }
    let display = b.flag()?;
    let mut first = None;
    for _ in 0..=b.u(5)? {
        b.skip(12)?;
        let level = b.u(5)? as u8;
        let tier = level > 7 && b.flag()?;
        if model && b.flag()? {
            b.skip(2 * delay + 1)?;
        }
        if display && b.flag()? {
            b.skip(4)?;
        }
        first.get_or_insert((level, tier));
    }
    Ok(first.unwrap_or_default())
}

/// The sequence header in a configuration (`av1C`).
pub fn configured(record: &[u8]) -> Result<Sequence, MediaError> {
    let Some((head, units)) = record.split_at_checked(4) else { return truncated(RECORD) };
    if head[0] != 0x81 {
        return invalid(RECORD, "an unknown version");
    }
    for obu in obus(units) {
        let obu = obu?;
        if obu.kind() == SEQUENCE_HEADER {
            return Sequence::parse(obu.payload);
        }
    }
    invalid(RECORD, "no sequence header")
}

/// Whether decoding can start at a temporal unit: a sequence header, and a key frame that is shown (§7.6.2).
pub fn access(unit: &[u8]) -> RandomAccess {
    let mut sequence = None;
    for obu in obus(unit).map_while(Result::ok) {
        match obu.kind() {
            SEQUENCE_HEADER => sequence = sequence.or(Sequence::parse(obu.payload).ok()),
            FRAME_HEADER | FRAME => {
                let Some(sequence) = sequence else { return RandomAccess::None };
                // show_existing_frame, two bits of frame_type, show_frame.
                let key = sequence.reduced || obu.payload.first().is_some_and(|b| b >> 4 == 1);
                return if key { RandomAccess::Idr } else { RandomAccess::None };
            }
            _ => {}
        }
    }
    RandomAccess::None
}

/// A track as a key frame's sequence header describes it: 90 kHz, its configuration in the form of `av1C`.
pub fn track(id: u8, unit: &[u8]) -> Result<Track, MediaError> {
    for obu in obus(unit) {
        let obu = obu?;
        if obu.kind() != SEQUENCE_HEADER {
            continue;
        }
        let sequence = Sequence::parse(obu.payload)?;
        return Ok(Track {
            id,
            codec: Codec::AV1,
            kind: Kind::Video { width: sequence.width, height: sequence.height },
            timescale: 90_000,
            framing: Framing::Raw,
            config: sequence.record(obu.payload),
        });
    }
    invalid(SEQUENCE, "there is none")
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The beginning of a temporal unit by libaom: delimiter, sequence header, frame.
    pub(crate) const UNIT: [u8; 20] = [
        0x12, 0x00, 0x0a, 0x0b, 0x00, 0x00, 0x00, 0x04, 0x3c, 0xff, 0xbc, 0xda, 0xf9, 0x00, 0x40, 0x32, 0x03,
        0x10, 0x00, 0x84,
    ];

    #[test]
    fn a_sequence_header_says_what_it_is() {
        let t = track(1, &UNIT).unwrap();
        assert_eq!(t.kind, Kind::Video { width: 320, height: 240 });
        assert_eq!(t.config[..4], [0x81, 0, 0x0c, 0]);
        assert_eq!(&t.config[4..], &UNIT[2..15]);
        let sequence = configured(&t.config).unwrap();
        assert_eq!((sequence.bits, sequence.codec_string().as_str()), (8, "av01.0.00M.08"));
        assert!(configured(&t.config[..4]).is_err() && configured(&[0x80, 0, 0, 0]).is_err());
        assert!(track(1, &UNIT[15..]).is_err());
    }

    #[test]
    fn decoding_starts_at_a_key_frame_that_is_shown_after_a_sequence_header() {
        assert_eq!(access(&UNIT), RandomAccess::Idr);
        for (first, want) in [
            (0x00, RandomAccess::None), // not shown
            (0x90, RandomAccess::None), // shown again
            (0x30, RandomAccess::None), // an inter frame
            (0x50, RandomAccess::None), // intra only
            (0x1f, RandomAccess::Idr),
        ] {
            let mut unit = UNIT;
            unit[17] = first;
            assert_eq!(access(&unit), want, "{first:02x}");
        }
        assert_eq!(access(&UNIT[15..]), RandomAccess::None);
        assert_eq!(access(&[]), RandomAccess::None);
    }

    #[test]
    fn what_carries_nothing_is_left_out() {
        let padded = [&UNIT[..], &[0x7a, 2, 0, 0x80]].concat();
        assert_eq!(plain(&padded).as_deref(), Some(&UNIT[2..]));
        // The last may come without its length.
        let open = [&UNIT[..15], &[0x30, 0x10, 0, 0x84]].concat();
        assert_eq!(plain(&open).as_deref(), Some(&UNIT[2..]));
        assert_eq!(plain(&UNIT[..2]), None);
        assert_eq!(plain(&UNIT[..19]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in vec(any::<u8>(), 0..80), cut in 0usize..20) {
            for data in [data.clone(), [&UNIT[..cut], &data].concat(), [&[0x0a, 0x20][..], &data].concat()] {
                let _ = (access(&data), configured(&data), Sequence::parse(&data), leb128(&data));
                if let Ok(t) = track(1, &data) {
                    prop_assert_eq!(configured(&t.config).map(|s| Kind::Video { width: s.width, height: s.height }), Ok(t.kind));
                }
                if let Some(plain) = plain(&data) {
                    prop_assert_eq!(super::plain(&plain), Some(plain));
                }
            }
        }

        #[test]
        fn units_are_written_as_they_are_read(units in vec((0u8..16, any::<Option<u8>>(), vec(any::<u8>(), 0..300)), 0..6)) {
            let all: Vec<Obu> = units.iter()
                .map(|(kind, extension, payload)| {
                    let head = kind << 3 | 2 | if extension.is_some() { 4 } else { 0 };
                    Obu { head, extension: *extension, payload }
                })
                .collect();
            let mut out = vec![];
            all.iter().for_each(|o| o.put(&mut out));
            prop_assert_eq!(obus(&out).collect::<Result<Vec<_>, _>>(), Ok(all));
        }
    }
}
