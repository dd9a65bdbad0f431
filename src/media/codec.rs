//! What codecs are called, and what a track's configuration says of it.

use crate::{Codec, Framing, Kind, MediaError, RandomAccess, Track, aac, h264, h265, nals, opus};

impl RandomAccess {
    /// Whether decoding may start here.
    pub fn is_start(self) -> bool {
        self != RandomAccess::None
    }
}

impl Track {
    /// Whether it is pictures.
    pub fn is_video(&self) -> bool {
        matches!(self.kind, Kind::Video { .. })
    }
}

/// What players call a track's codec (RFC 6381): `avc1.64001f`, `hvc1.1.6.L93.B0`, `mp4a.40.2`, `opus`. Where the
/// configuration cannot be read, the sample entry's name alone. Other codecs by their four characters.
pub fn codec_string(track: &Track) -> String {
    match track.codec {
        Codec::H264 => h264::Config::codec_string(&track.config).unwrap_or_else(|_| "avc1".into()),
        Codec::H265 => h265::Config::codec_string(&track.config).unwrap_or_else(|_| "hvc1".into()),
        Codec::Aac => match aac::Asc::parse(&track.config) {
            Ok(asc) => format!("mp4a.40.{}", asc.signalled_object_type()),
            Err(_) => "mp4a.40".into(),
        },
        Codec::Opus => "opus".into(),
        Codec::Pcmu => "ulaw".into(),
        Codec::Pcma => "alaw".into(),
        Codec::Other(name) => {
            name.iter().map(|b| if b.is_ascii_graphic() { *b as char } else { '?' }).collect()
        }
    }
}

/// What people call it.
pub fn codec_name(track: &Track) -> &str {
    match &track.codec {
        Codec::H264 => "H.264",
        Codec::H265 => "H.265",
        Codec::Aac => "AAC",
        Codec::Opus => "Opus",
        Codec::Pcmu => "G.711 µ-law",
        Codec::Pcma => "G.711 A-law",
        Codec::Other(name) => match std::str::from_utf8(name) {
            Ok(name) if name.bytes().all(|b| b.is_ascii_graphic()) => name,
            _ => "unknown",
        },
    }
}

/// Whether decoding can start at a payload of a track, from its NAL units; always for sound, never for payloads that
/// cannot be read.
pub fn random_access(track: &Track, payload: &[u8]) -> RandomAccess {
    let units = || -> Result<Vec<&[u8]>, MediaError> { nals(track.framing, payload).collect() };
    match (track.codec, track.kind) {
        (Codec::H264, _) => units().map_or(RandomAccess::None, |units| h264::access(&units)),
        (Codec::H265, _) => units().map_or(RandomAccess::None, |units| h265::access(&units)),
        (_, Kind::Audio { .. }) => RandomAccess::Idr,
        _ => RandomAccess::None,
    }
}

/// How many access units may come before one in decoding order and after it in output order, for
/// [`DtsFiller`](crate::DtsFiller); 0 for sound and where nothing is known.
pub fn reorder_depth(track: &Track) -> u8 {
    match track.codec {
        Codec::H264 => h264_sps(track).map_or(0, |sps| sps.reorder_depth()),
        Codec::H265 => h265_sps(track).map_or(0, |sps| sps.reorder_depth()),
        _ => 0,
    }
}

/// Frames a second as a fraction, where the parameter sets say.
pub fn frame_rate(track: &Track) -> Option<(u32, u32)> {
    match track.codec {
        Codec::H264 => h264_sps(track)?.frame_rate(),
        Codec::H265 => h265_sps(track)?.frame_rate(),
        _ => None,
    }
}

fn h264_sps(track: &Track) -> Option<h264::Sps> {
    h264::ParameterSets::from_config(&track.config).ok()?.sps()
}

fn h265_sps(track: &Track) -> Option<h265::Sps> {
    h265::ParameterSets::from_config(&track.config).ok()?.sps()
}

/// How long a payload of sound lasts by its content, in ticks of its track; `None` where the content does not say.
pub fn payload_duration(track: &Track, payload: &[u8]) -> Option<u32> {
    let (samples, rate) = match track.codec {
        Codec::Aac => {
            let asc = aac::Asc::parse(&track.config).ok()?;
            (u64::from(asc.frame_samples), asc.rate)
        }
        Codec::Opus => (u64::from(opus::packet_duration(payload).ok()?), opus::RATE),
        Codec::Pcmu | Codec::Pcma => match track.kind {
            Kind::Audio { rate, channels } => (payload.len() as u64 / u64::from(channels.max(1)), rate),
            Kind::Video { .. } => return None,
        },
        _ => return None,
    };
    let ticks = samples * u64::from(track.timescale) / u64::from(rate.max(1));
    u32::try_from(ticks).ok()
}

/// A G.711 track: 8 kHz unless told otherwise, no configuration.
pub fn g711_track(id: u8, codec: Codec, rate: u32, channels: u8) -> Track {
    Track {
        id,
        codec,
        kind: Kind::Audio { rate, channels },
        timescale: rate,
        framing: Framing::Raw,
        config: Default::default(),
    }
}
