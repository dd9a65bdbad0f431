//! VP9: where decoding can start, and the decoder configuration of MP4 and Matroska.
//!
//! "VP9 Bitstream & Decoding Process Specification" for frames, "VP Codec ISO Media File Format Binding" for `vpcC`.

use bytes::Bytes;

use crate::bits::{Bits, Cursor};
use crate::error::invalid;
use crate::{Codec, Framing, Kind, MediaError, Track};

const FRAME: &str = "VP9 frame header";
const WHAT: &str = "VP9 configuration";

/// What a key frame's header says (§7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFrame {
    /// Width in pixels; 65536 is told as 65535.
    pub width: u16,
    /// Height likewise.
    pub height: u16,
    /// What a decoder has to know.
    pub config: Config,
}

/// `VPCodecConfigurationRecord` (§2.2 of the binding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// 0 to 3.
    pub profile: u8,
    /// Ten times the level: 31 is 3.1. 0: not known.
    pub level: u8,
    /// Bits a sample: 8, 10 or 12.
    pub bits: u8,
    /// 0 and 1: 4:2:0, 2: 4:2:2, 3: 4:4:4.
    pub chroma: u8,
    /// Samples use all of their range.
    pub full_range: bool,
    /// Primaries, transfer and matrix (ISO/IEC 23091-2); 2: not said.
    pub colour: [u8; 3],
}

impl KeyFrame {
    /// Reads the header of a frame, or of the first in a superframe. An error for any but a key frame.
    pub fn parse(frame: &[u8]) -> Result<KeyFrame, MediaError> {
        let mut b = Bits::plain(FRAME, frame);
        if b.u(2)? != 2 {
            return invalid(FRAME, "no frame marker");
        }
        let profile = (b.u(1)? | b.u(1)? << 1) as u8;
        if profile == 3 && b.flag()? {
            return invalid(FRAME, "a profile beyond 3");
        }
        // show_existing_frame, frame_type.
        if b.flag()? || b.flag()? {
            return invalid(FRAME, "not a key frame");
        }
        b.skip(2)?; // show_frame, error_resilient_mode
        if b.u(24)? != 0x49_83_42 {
            return invalid(FRAME, "a key frame without its sync code");
        }
        let bits = match profile {
            2 | 3 if b.flag()? => 12,
            2 | 3 => 10,
            _ => 8,
        };
        let space = b.u(3)?;
        let odd = profile == 1 || profile == 3;
        let (full_range, chroma) = if space != 7 {
            let full = b.flag()?;
            let (x, y) = if odd { (b.flag()?, b.flag()?) } else { (true, true) };
            if odd {
                b.skip(1)?;
            }
            // 4:4:0 has no number of its own here.
            (
                full,
                if x && y {
                    1
                } else if x {
                    2
                } else {
                    3
                },
            )
        } else if odd {
            b.skip(1)?;
            (true, 3)
        } else {
            return invalid(FRAME, "RGB in a profile of 4:2:0");
        };
        let matrix = match space {
            1 => 5,
            2 => 1,
            3 => 6,
            4 => 7,
            5 => 9,
            7 => 0,
            _ => 2,
        };
        let (width, height) = (b.u(16)? + 1, b.u(16)? + 1);
        let small = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let config =
            Config { profile, level: level(width, height), bits, chroma, full_range, colour: [2, 2, matrix] };
        Ok(KeyFrame { width: small(width), height: small(height), config })
    }
}

/// The lowest level (times ten) whose pictures may be so large, and come 30 times a second (annex A).
fn level(width: u32, height: u32) -> u8 {
    const LEVELS: [(u8, u64, u64); 12] = [
        (10, 36_864, 829_440),
        (11, 73_728, 2_764_800),
        (20, 122_880, 4_608_000),
        (21, 245_760, 9_216_000),
        (30, 552_960, 20_736_000),
        (31, 983_040, 36_864_000),
        (40, 2_228_224, 83_558_400),
        (41, 2_228_224, 160_432_128),
        (50, 8_912_896, 311_951_360),
        (51, 8_912_896, 588_251_136),
        (60, 35_651_584, 1_176_502_272),
        (61, 35_651_584, 2_353_004_544),
    ];
    let size = u64::from(width) * u64::from(height);
    LEVELS.iter().find(|l| size <= l.1 && size * 30 <= l.2).map_or(62, |l| l.0)
}

impl Config {
    /// What is assumed of a track that says nothing: what nearly all are.
    pub fn usual(width: u16, height: u16) -> Config {
        let level = level(width.into(), height.into());
        Config { profile: 0, level, bits: 8, chroma: 1, full_range: false, colour: [2; 3] }
    }

    /// Reads `vpcC`'s content, version and flags included.
    pub fn parse(record: &[u8]) -> Result<Config, MediaError> {
        let mut c = Cursor::new(WHAT, record);
        if c.u32()? >> 24 != 1 {
            return Err(MediaError::Unsupported { what: WHAT, why: "an unknown version" });
        }
        let [profile, level, packed]: [u8; 3] = c.array()?;
        let config = Config {
            profile,
            level,
            bits: packed >> 4,
            chroma: packed >> 1 & 7,
            full_range: packed & 1 != 0,
            colour: c.array()?,
        };
        config.checked()
    }

    /// Reads Matroska's CodecPrivate (WebM Container Guidelines, "VP9 Codec Feature Metadata"): an id, a length, a value,
    /// and so on.
    pub fn parse_features(private: &[u8]) -> Result<Config, MediaError> {
        let mut config = Config { level: 0, ..Config::usual(0, 0) };
        let mut c = Cursor::new(WHAT, private);
        while !c.rest.is_empty() {
            let (id, len) = (c.u8()?, c.u8()?);
            let value = c.take(usize::from(len))?;
            match (id, value) {
                (1, [v]) => config.profile = *v,
                (2, [v]) => config.level = *v,
                (3, [v]) => config.bits = *v,
                (4, [v]) => config.chroma = *v,
                _ => {}
            }
        }
        config.checked()
    }

    fn checked(self) -> Result<Config, MediaError> {
        match self.profile <= 3 && matches!(self.bits, 8 | 10 | 12) && self.chroma <= 3 {
            true => Ok(self),
            false => invalid(WHAT, "a profile, depth or sampling that there is not"),
        }
    }

    /// Of a track: from either form, or what is usual if it has none.
    pub fn of(track: &Track) -> Result<Config, MediaError> {
        let (width, height) = match track.kind {
            Kind::Video { width, height } => (width, height),
            Kind::Audio { .. } => return invalid(WHAT, "pictures on a track of sound"),
        };
        let usual = Config::usual(width, height);
        let config = match &track.config[..] {
            [] => usual,
            // A feature of a length of zero there is not.
            [1, 0, ..] => Config::parse(&track.config)?,
            features => Config::parse_features(features)?,
        };
        Ok(Config { level: if config.level == 0 { usual.level } else { config.level }, ..config })
    }

    /// `vpcC`'s content.
    pub fn build(&self) -> Bytes {
        let packed = self.bits << 4 | (self.chroma & 7) << 1 | u8::from(self.full_range);
        let [primaries, transfer, matrix] = self.colour;
        Bytes::copy_from_slice(&[
            1,
            0,
            0,
            0,
            self.profile,
            self.level,
            packed,
            primaries,
            transfer,
            matrix,
            0,
            0,
        ])
    }

    /// Matroska's CodecPrivate.
    pub fn build_features(&self) -> Bytes {
        let all = [(1, self.profile), (2, self.level), (3, self.bits), (4, self.chroma)];
        all.iter().filter(|(id, v)| *id != 2 || *v != 0).flat_map(|(id, v)| [*id, 1, *v]).collect()
    }

    /// `vp09.00.31.08`
    pub fn codec_string(&self) -> String {
        format!("vp09.{:02}.{:02}.{:02}", self.profile, self.level, self.bits)
    }
}

/// A track as a key frame describes it: 90 kHz, its configuration in the form of `vpcC`.
pub fn track(id: u8, frame: &[u8]) -> Result<Track, MediaError> {
    let key = KeyFrame::parse(frame)?;
    Ok(Track {
        id,
        codec: Codec::VP9,
        kind: Kind::Video { width: key.width, height: key.height },
        timescale: 90_000,
        framing: Framing::Raw,
        config: key.config.build(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frame marker, profile 0, a key frame that is shown, sync code, BT.601, 320×240.
    pub(crate) const KEY: [u8; 9] = [0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0];

    #[test]
    fn a_key_frame_says_what_it_is() {
        let key = KeyFrame::parse(&KEY).unwrap();
        assert_eq!((key.width, key.height), (320, 240));
        assert_eq!(
            key.config,
            Config { profile: 0, level: 20, bits: 8, chroma: 1, full_range: false, colour: [2, 2, 5] }
        );
        assert_eq!(key.config.codec_string(), "vp09.00.20.08");
        // Profile 2: ten bits.
        let ten = [0x92, 0x49, 0x83, 0x42, 0x10, 0x09, 0xf8, 0x07, 0x78];
        let key = KeyFrame::parse(&ten).unwrap();
        assert_eq!((key.width, key.height, key.config.profile, key.config.bits), (320, 240, 2, 10));
        // Another frame; one that is shown again; no sync code.
        assert!(KeyFrame::parse(&[0x86, 0x00, 0x40, 0x92, 0x00]).is_err());
        assert!(KeyFrame::parse(&[0x8a, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0]).is_err());
        assert!(KeyFrame::parse(&[0x82, 0x49, 0x83, 0x43, 0x20, 0x13, 0xf0, 0x0e, 0xf0]).is_err());
    }

    #[test]
    fn configurations_are_read_in_both_forms() {
        let of = |config: &[u8]| {
            let t = Track { config: Bytes::copy_from_slice(config), ..track(1, &KEY).unwrap() };
            Config::of(&t).map(|c| c.codec_string())
        };
        assert_eq!(of(&[]), Ok("vp09.00.20.08".into()));
        assert_eq!(of(&[1, 1, 2, 3, 1, 10]), Ok("vp09.02.20.10".into()));
        assert_eq!(of(&[1, 1, 1, 2, 1, 40, 3, 1, 8, 4, 1, 3]), Ok("vp09.01.40.08".into()));
        assert_eq!(of(&[1, 0, 0, 0, 0, 31, 0x82, 2, 2, 2, 0, 0]), Ok("vp09.00.31.08".into()));
        assert!(of(&[1, 0, 0, 0]).is_err() && of(&[1, 1, 9]).is_err() && of(&[7]).is_err());
    }

    #[test]
    fn levels() {
        let of = [(1280, 720, 31), (1920, 1080, 40), (3840, 2160, 50), (16_384, 16_384, 62)];
        for (width, height, l) in of {
            assert_eq!(level(width, height), l, "{width}×{height}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(frame in proptest::collection::vec(any::<u8>(), 0..30), first in 0x80u8..0xc0) {
            let _ = (Config::parse(&frame), Config::parse_features(&frame), KeyFrame::parse(&frame));
            let synced = [&[first, 0x49, 0x83, 0x42], &frame[..]].concat();
            if let Ok(key) = KeyFrame::parse(&synced) {
                prop_assert!(key.width > 0 && key.height > 0);
                prop_assert_eq!(Config::parse(&key.config.build()), Ok(key.config));
                let lossy = Config { full_range: false, colour: [2; 3], ..key.config };
                prop_assert_eq!(Config::parse_features(&key.config.build_features()), Ok(lossy));
            }
        }
    }
}
