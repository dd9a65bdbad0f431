//! What codecs are called, and what a track's configuration says of it.

use bytes::Bytes;

use crate::{
    Codec, Framing, Kind, MediaError, RandomAccess, Track, aac, av1, h264, h265, nals, opus, vp8, vp9,
};

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

    /// The parameter sets of its configuration, in the order that a stream gives them; none where it has none.
    pub fn parameter_sets(&self) -> Vec<Bytes> {
        match self.codec {
            Codec::H264 => h264::Config::parse(&self.config).map_or(vec![], |c| [c.sps, c.pps].concat()),
            Codec::H265 => {
                h265::Config::parse(&self.config).map_or(vec![], |c| [c.vps, c.sps, c.pps].concat())
            }
            _ => vec![],
        }
    }
}

/// What players call a track's codec (RFC 6381): `avc1.64001f`, `hvc1.1.6.L93.B0`, `vp09.00.31.08`, `av01.0.08M.08`,
/// `mp4a.40.2`, `opus`. Where the configuration cannot be read, the sample entry's name alone. Other codecs by their four characters.
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
        Codec::VP8 => "vp8".into(),
        Codec::VP9 => vp9::Config::of(track).map_or("vp09".into(), |c| c.codec_string()),
        Codec::AV1 => av1::configured(&track.config).map_or("av01".into(), |s| s.codec_string()),
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
        &Codec::VP8 => "VP8",
        &Codec::VP9 => "VP9",
        &Codec::AV1 => "AV1",
        Codec::Other(name) => match std::str::from_utf8(name) {
            Ok(name) if name.bytes().all(|b| b.is_ascii_graphic()) => name,
            _ => "unknown",
        },
    }
}

/// Whether decoding can start at a payload of a track, from its own bytes; always for sound, never for payloads that
/// cannot be read.
pub fn random_access(track: &Track, payload: &[u8]) -> RandomAccess {
    let units = || -> Result<Vec<&[u8]>, MediaError> { nals(track.framing, payload).collect() };
    match (track.codec, track.kind) {
        (Codec::H264, _) => units().map_or(RandomAccess::None, |units| h264::access(&units)),
        (Codec::H265, _) => units().map_or(RandomAccess::None, |units| h265::access(&units)),
        (_, Kind::Audio { .. }) => RandomAccess::Idr,
        (Codec::VP8, _) if vp8::key_frame(payload).is_ok() => RandomAccess::Idr,
        (Codec::VP9, _) if vp9::KeyFrame::parse(payload).is_ok() => RandomAccess::Idr,
        (Codec::AV1, _) => av1::access(payload),
        _ => RandomAccess::None,
    }
}

/// A track of VP8, VP9 or AV1 as one of its key frames shows it to be, where what is said of it beside its frames is wrong or
/// missing. `None` where it is right, and for any other payload.
pub fn refined(track: &Track, payload: &[u8]) -> Option<Track> {
    let (seen, right) = match track.codec {
        Codec::VP8 => (vp8::track(track.id, payload).ok()?, true),
        Codec::VP9 => {
            let key = vp9::KeyFrame::parse(payload).ok()?.config;
            let said = vp9::Config::of(track);
            let right = said.is_ok_and(|c| (c.profile, c.bits) == (key.profile, key.bits));
            (vp9::track(track.id, payload).ok()?, right)
        }
        Codec::AV1 if av1::access(payload).is_start() => {
            let seen = av1::track(track.id, payload).ok()?;
            let right = av1::configured(&track.config) == av1::configured(&seen.config);
            (seen, right)
        }
        _ => return None,
    };
    let no_size = track.kind == Kind::Video { width: 0, height: 0 };
    if !track.is_video() || right && !no_size {
        return None;
    }
    Some(Track {
        kind: if no_size { seen.kind } else { track.kind },
        config: if right { track.config.clone() } else { seen.config },
        ..track.clone()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn h264() -> Track {
        let sps = [
            0x67, 0x4d, 0x40, 0x28, 0xec, 0xa0, 0x3c, 0x01, 0x13, 0xf2, 0xe0, 0x22, 0, 0, 3, 0, 2, 0, 0, 3,
            0, 0x64, 0x1e, 0x30, 0x63, 0x2c,
        ];
        h264::track_from_parameter_sets(1, &[&sps], &[&[0x68, 0xce, 0x0f, 0xc8]]).unwrap()
    }

    #[test]
    fn names() {
        let other = |name| Track { codec: Codec::Other(name), ..g711_track(1, Codec::Pcma, 8_000, 1) };
        for (track, string, name) in [
            (h264(), "avc1.4d4028", "H.264"),
            (aac::track(1, &[0x12, 0x10]).unwrap(), "mp4a.40.2", "AAC"),
            (aac::track(1, &[0x2b, 0x11, 0x88, 0]).unwrap(), "mp4a.40.5", "AAC"),
            (opus::Head::simple(2).track(1), "opus", "Opus"),
            (g711_track(1, Codec::Pcmu, 8_000, 1), "ulaw", "G.711 µ-law"),
            (other(*b"av01"), "av01", "AV1"),
            (other(*b"vp09"), "vp09", "VP9"),
            (other(*b"vp08"), "vp8", "VP8"),
            (other(*b"mjpg"), "mjpg", "mjpg"),
            (other([0, 1, 0xff, b'a']), "???a", "unknown"),
            (Track { config: Default::default(), ..h264() }, "avc1", "H.264"),
        ] {
            assert_eq!((codec_string(&track).as_str(), codec_name(&track)), (string, name));
        }
    }

    #[test]
    fn what_a_configuration_says() {
        assert_eq!((reorder_depth(&h264()), frame_rate(&h264())), (2, Some((50, 2))));
        let broken = Track { config: Default::default(), ..h264() };
        assert_eq!((reorder_depth(&broken), frame_rate(&broken)), (0, None));
    }

    #[test]
    fn key_frames_say_what_nobody_else_did() {
        let key = [0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0];
        let ten = [0x92, 0x49, 0x83, 0x42, 0x10, 0x09, 0xf8, 0x07, 0x78];
        let said = Track { config: Default::default(), ..vp9::track(1, &key).unwrap() };
        assert_eq!(
            (refined(&said, &key), refined(&said, &key[1..]), refined(&h264(), &key)),
            (None, None, None)
        );
        let seen = refined(&said, &ten).unwrap();
        assert_eq!((codec_string(&seen).as_str(), seen.kind), ("vp09.02.20.10", said.kind));
        assert_eq!(refined(&seen, &ten), None);
        let bare = Track { kind: Kind::Video { width: 0, height: 0 }, ..said.clone() };
        assert_eq!(refined(&bare, &key), Some(said));
    }

    #[test]
    fn how_long_sound_lasts() {
        let aac = aac::track(1, &[0x12, 0x10]).unwrap();
        assert_eq!(payload_duration(&aac, &[0; 9]), Some(1_024));
        // HE-AAC counts its frames at the core's rate, its ticks at the rate heard.
        let he = aac::track(1, &[0x2b, 0x11, 0x88, 0]).unwrap();
        assert_eq!(payload_duration(&he, &[0; 9]), Some(2_048));
        let video_clock = Track { timescale: 90_000, ..opus::Head::simple(2).track(1) };
        assert_eq!(payload_duration(&video_clock, &[0xfc]), Some(1_800));
        assert_eq!(payload_duration(&video_clock, &[]), None);
        assert_eq!(payload_duration(&g711_track(1, Codec::Pcmu, 8_000, 2), &[0; 320]), Some(160));
        assert_eq!(payload_duration(&h264(), &[0; 9]), None);
    }

    #[test]
    fn where_decoding_can_start() {
        let track = h264();
        assert_eq!(random_access(&track, &[0, 0, 0, 2, 9, 0xf0, 0, 0, 0, 2, 0x65, 0x88]), RandomAccess::Idr);
        assert_eq!(random_access(&track, &[0, 0, 0, 2, 0x65, 0x88, 0, 0, 9]), RandomAccess::None);
        assert_eq!(random_access(&aac::track(1, &[0x12, 0x10]).unwrap(), &[]), RandomAccess::Idr);
    }
}
