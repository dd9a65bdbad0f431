use std::sync::Arc;

use bytes::Bytes;

use crate::MediaError;

/// What a track's payloads are. Codecs that are not understood are kept untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// ITU-T H.264. Configuration: `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3).
    H264,
    /// ITU-T H.265. Configuration: `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §8.3.3).
    H265,
    /// MPEG-4 AAC. Configuration: `AudioSpecificConfig` (ISO/IEC 14496-3 §1.6.2.1). Payloads are raw access units.
    Aac,
    /// Opus. Configuration: `OpusHead` (RFC 7845 §5.1). Payloads are packets.
    Opus,
    /// G.711 µ-law, no configuration.
    Pcmu,
    /// G.711 A-law, no configuration.
    Pcma,
    /// Anything else: four characters that name it. Some of them are known, below.
    Other([u8; 4]),
}

/// Codecs whose names are their sample entries' in MP4.
impl Codec {
    /// VP8, no configuration. Payloads are frames.
    pub const VP8: Codec = Codec::Other(*b"vp08");
    /// VP9. Configuration: `vpcC`'s content (VP Codec ISO Media File Format Binding §2.2), or Matroska's CodecPrivate, or
    /// none. Payloads are frames or superframes.
    pub const VP9: Codec = Codec::Other(*b"vp09");
    /// AV1. Configuration: `av1C`'s content (AV1 Codec ISO Media File Format Binding §2.3). Payloads are temporal units.
    pub const AV1: Codec = Codec::Other(*b"av01");

    /// Whether its payloads are NAL units.
    pub fn has_nals(self) -> bool {
        matches!(self, Codec::H264 | Codec::H265)
    }
}

/// How NAL units lie in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Each preceded by its length in so many bytes (1, 2 or 4), as MP4 and Matroska have them.
    Length(u8),
    /// Start codes (ITU-T H.264 annex B).
    AnnexB,
    /// Not NAL units.
    Raw,
}

/// What kind of track, with what a player wants to know before it decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Pictures. Sizes in pixels as shown (cropped), 0 if unknown.
    Video {
        /// Width.
        width: u16,
        /// Height.
        height: u16,
    },
    /// Sound.
    Audio {
        /// Samples a second.
        rate: u32,
        /// Channels.
        channels: u8,
    },
}

/// One track, as long as its configuration stays the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Track {
    /// From 1, unique in its stream.
    pub id: u8,
    /// Payloads.
    pub codec: Codec,
    /// Pictures or sound.
    pub kind: Kind,
    /// Ticks a second.
    pub timescale: u32,
    /// How NAL units lie in payloads.
    pub framing: Framing,
    /// The decoder's configuration, in the form that [`Codec`] names; may be empty.
    pub config: Bytes,
}

/// Whether decoding can start at a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RandomAccess {
    /// It cannot.
    None,
    /// A closed start (IDR; every audio sample).
    Idr,
    /// An open GOP's start (CRA, BLA): leading pictures may follow that cannot be decoded.
    Open,
    /// A recovery point of count 0.
    Recovery,
}

/// One sample (an access unit) of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its track's id.
    pub track: u8,
    /// Decode time in the track's ticks since the Unix epoch; strictly rising within a track.
    pub dts: i64,
    /// Presentation time likewise; `pts >= dts`.
    pub pts: i64,
    /// Until the next sample of the track in ticks.
    pub duration: u32,
    /// Whether decoding can start here.
    pub access: RandomAccess,
    /// Where its bytes begin in the fragment's payload.
    pub offset: u64,
    /// How many there are.
    pub len: u32,
}

/// A fragment without its bytes: what the sample table says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Table {
    /// The tracks as they were throughout the fragment.
    pub tracks: Vec<Arc<Track>>,
    /// In decode order over all tracks, as they arrived.
    pub samples: Vec<Sample>,
}

/// One access unit on its way in. Times are as in [`Sample`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Its track's id.
    pub track: u8,
    /// Presentation time.
    pub pts: i64,
    /// Decode time where the source has one (it is derived otherwise).
    pub dts: Option<i64>,
    /// Until the next, where the source knows.
    pub duration: Option<u32>,
    /// Whether decoding can start here.
    pub access: RandomAccess,
    /// The payload, framed as its track says.
    pub data: Bytes,
}

/// A track, or one of its configurations, that could not be put into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its id in the fragments.
    pub track: u8,
    /// What its payloads are.
    pub codec: Codec,
    /// Why it was left out.
    pub why: MediaError,
}
