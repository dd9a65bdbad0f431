use bytes::Bytes;

use super::WHAT;
use super::ebml::{children, float, put, put_float, put_master, put_uint, text, uint};
use super::ids::*;
use crate::error::invalid;
use crate::{Codec, Framing, Kind, MediaError, Track, aac, h264, h265, opus, vp9};

/// Bytes taken off the front of every frame, at most.
const MAX_STRIPPED: usize = 4096;

/// Codecs by both their names, besides those of [`Codec`].
const OTHERS: [(&str, &[u8; 4]); 9] = [
    ("V_AV1", b"av01"),
    ("V_VP8", b"vp08"),
    ("V_VP9", b"vp09"),
    ("V_MJPEG", b"mjpg"),
    ("A_AC3", b"ac-3"),
    ("A_EAC3", b"ec-3"),
    ("A_FLAC", b"fLaC"),
    ("A_MPEG/L3", b".mp3"),
    ("A_VORBIS", b"vorb"),
];

/// A TrackEntry that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrackEntry {
    /// What blocks name it by.
    pub number: u64,
    /// TrackUID.
    pub uid: u64,
    /// 1 video, 2 audio, 17 subtitles, …
    pub kind: u64,
    /// CodecID, for instance `V_MPEG4/ISO/AVC`.
    pub codec_id: String,
    /// CodecPrivate.
    pub codec_private: Bytes,
    /// Name.
    pub name: String,
    /// DefaultDuration of a frame in nanoseconds.
    pub default_duration: Option<u64>,
    /// CodecDelay in nanoseconds.
    pub codec_delay: u64,
    /// SeekPreRoll in nanoseconds.
    pub seek_pre_roll: u64,
    /// Pixels across, cropping taken off.
    pub width: u64,
    /// Pixels down, cropping taken off.
    pub height: u64,
    /// Samples of sound a second, as played.
    pub rate: f64,
    /// Channels.
    pub channels: u64,
    /// What is to be put before every frame again (header stripping); done by the reader.
    pub stripped: Bytes,
    /// Whether frames are compressed or encrypted otherwise; they are given out as they are.
    pub encoded: bool,
}

impl TrackEntry {
    pub(super) fn read(content: &Bytes) -> Result<TrackEntry, MediaError> {
        let mut e = TrackEntry { rate: 8_000.0, channels: 1, ..TrackEntry::default() };
        for child in children(content) {
            let (id, data) = child?;
            match id {
                TRACK_NUMBER => e.number = uint(data)?,
                TRACK_UID => e.uid = uint(data)?,
                TRACK_TYPE => e.kind = uint(data)?,
                CODEC_ID => e.codec_id = text(data),
                CODEC_PRIVATE => e.codec_private = content.slice_ref(data),
                NAME => e.name = text(data),
                DEFAULT_DURATION => e.default_duration = Some(uint(data)?).filter(|d| *d > 0),
                CODEC_DELAY => e.codec_delay = uint(data)?,
                SEEK_PRE_ROLL => e.seek_pre_roll = uint(data)?,
                VIDEO => e.video(data)?,
                AUDIO => e.audio(data)?,
                CONTENT_ENCODINGS => e.encodings(content, data)?,
                _ => {}
            }
        }
        if e.number == 0 {
            return invalid(WHAT, "a track without a number");
        }
        if e.codec_private.len() > crate::table::MAX_CONFIG {
            return invalid(WHAT, "a CodecPrivate of more than 1 MiB");
        }
        Ok(e)
    }

    fn video(&mut self, content: &[u8]) -> Result<(), MediaError> {
        let mut crop = [0u64; 2];
        for child in children(content) {
            let (id, data) = child?;
            match id {
                PIXEL_WIDTH => self.width = uint(data)?,
                PIXEL_HEIGHT => self.height = uint(data)?,
                CROP_LEFT | CROP_RIGHT => crop[0] = crop[0].saturating_add(uint(data)?),
                CROP_TOP | CROP_BOTTOM => crop[1] = crop[1].saturating_add(uint(data)?),
                _ => {}
            }
        }
        self.width = self.width.saturating_sub(crop[0]);
        self.height = self.height.saturating_sub(crop[1]);
        Ok(())
    }

    fn audio(&mut self, content: &[u8]) -> Result<(), MediaError> {
        let mut output = None;
        for child in children(content) {
            let (id, data) = child?;
            match id {
                SAMPLING_FREQUENCY => self.rate = float(data)?,
                OUTPUT_FREQUENCY => output = Some(float(data)?),
                CHANNELS => self.channels = uint(data)?,
                _ => {}
            }
        }
        self.rate = output.filter(|rate| *rate > 0.0).unwrap_or(self.rate);
        Ok(())
    }

    fn encodings(&mut self, entry: &Bytes, content: &[u8]) -> Result<(), MediaError> {
        for child in children(content) {
            let (CONTENT_ENCODING, encoding) = child? else { continue };
            let (mut scope, mut kind, mut algorithm, mut settings) = (1, 0, 0, Bytes::new());
            for child in children(encoding) {
                let (id, data) = child?;
                match id {
                    CONTENT_SCOPE => scope = uint(data)?,
                    CONTENT_TYPE => kind = uint(data)?,
                    CONTENT_COMPRESSION => {
                        for child in children(data) {
                            let (id, data) = child?;
                            match id {
                                CONTENT_ALGORITHM => algorithm = uint(data)?,
                                CONTENT_SETTINGS => settings = entry.slice_ref(data),
                                _ => {}
                            }
                        }
                    }
                    _ => {}
                }
            }
            if scope & 1 == 0 {
                // Of CodecPrivate alone: it cannot be read then.
                self.encoded |= scope & 2 != 0;
            } else if (kind, algorithm) == (0, 3)
                && settings.len() <= MAX_STRIPPED
                && self.stripped.is_empty()
            {
                self.stripped = settings;
            } else {
                self.encoded = true;
            }
        }
        Ok(())
    }

    /// What the track is here: pictures count in 90 kHz, sound in its rate. Codecs that are not understood come out as
    /// [`Codec::Other`] with CodecPrivate as their configuration. Fails for tracks that are neither pictures nor sound,
    /// whose frames are encoded, or whose configuration is of no use.
    pub fn track(&self, id: u8) -> Result<Track, MediaError> {
        if self.encoded {
            return Err(MediaError::Unsupported {
                what: WHAT,
                why: "a track of compressed or encrypted frames",
            });
        }
        let small = |n: u64| u16::try_from(n).unwrap_or(0);
        let rate = if (1.0..4e9).contains(&self.rate) { self.rate.round() as u32 } else { 8_000 };
        let channels = u8::try_from(self.channels).unwrap_or(u8::MAX);
        let (kind, timescale) = match self.kind {
            1 => (Kind::Video { width: small(self.width), height: small(self.height) }, 90_000),
            2 => (Kind::Audio { rate, channels }, rate),
            _ => {
                return Err(MediaError::Unsupported {
                    what: WHAT,
                    why: "a track that is neither pictures nor sound",
                });
            }
        };
        let mut track = Track {
            id,
            codec: Codec::Pcmu,
            kind,
            timescale,
            framing: Framing::Raw,
            config: self.codec_private.clone(),
        };
        let name = self.codec_id.as_str();
        match name {
            // Some of AWS's pages, and producers that follow them, leave the 4 out; likewise for H.265.
            "V_MPEG4/ISO/AVC" | "V_MPEG/ISO/AVC" => nal_units(&mut track, Codec::H264)?,
            "V_MPEGH/ISO/HEVC" | "V_MPEG/ISO/HEVC" => nal_units(&mut track, Codec::H265)?,
            "A_OPUS" => {
                track.codec = Codec::Opus;
                match opus::Head::parse(&self.codec_private) {
                    Ok(head) => track.kind = Kind::Audio { rate: opus::RATE, channels: head.channels },
                    Err(_) if channels <= 2 => track.config = opus::Head::simple(channels).build(),
                    Err(e) => return Err(e),
                }
                track.timescale = opus::RATE;
            }
            "A_MS/ACM" => match self.codec_private.first_chunk::<2>().map(|tag| u16::from_le_bytes(*tag)) {
                Some(tag @ (6 | 7)) => {
                    track.codec = if tag == 6 { Codec::Pcma } else { Codec::Pcmu };
                    track.config = Bytes::new();
                }
                _ => track.codec = Codec::Other(*b"acm "),
            },
            _ if name == "A_AAC" || name.starts_with("A_AAC/") => {
                track.codec = Codec::Aac;
                if track.config.is_empty() {
                    track.config = aac::build_asc(2, rate, channels)?;
                }
                let asc = aac::Asc::parse(&track.config)?;
                track.kind = Kind::Audio { rate: asc.output_rate(), channels: asc.output_channels() };
                track.timescale = asc.output_rate();
            }
            _ => {
                let known = OTHERS.iter().find(|(id, _)| *id == name).map(|(_, four)| **four);
                track.codec = Codec::Other(known.unwrap_or_else(|| {
                    let mut letters = name.bytes().skip(2).filter(u8::is_ascii_alphanumeric);
                    [0; 4].map(|_| letters.next().map_or(b' ', |b| b.to_ascii_lowercase()))
                }));
            }
        }
        Ok(track)
    }
}

/// From a decoder configuration record, from parameter sets with start codes, or from nothing (they are in the stream
/// then, as its start codes are).
fn nal_units(track: &mut Track, codec: Codec) -> Result<(), MediaError> {
    track.codec = codec;
    let c = &track.config;
    if c.is_empty() || c.starts_with(&[0, 0, 1]) || c.starts_with(&[0, 0, 0, 1]) {
        track.framing = Framing::AnnexB;
        let units: Vec<&[u8]> = crate::nals(Framing::AnnexB, &track.config).map_while(Result::ok).collect();
        let of =
            |f: fn(&[u8]) -> u8, kind| units.iter().copied().filter(|u| f(u) == kind).collect::<Vec<_>>();
        let made = match codec {
            Codec::H264 => h264::track_from_parameter_sets(
                track.id,
                &of(h264::nal_type, h264::SPS),
                &of(h264::nal_type, h264::PPS),
            ),
            _ => h265::track_from_parameter_sets(
                track.id,
                &of(h265::nal_type, h265::VPS),
                &of(h265::nal_type, h265::SPS),
                &of(h265::nal_type, h265::PPS),
            ),
        };
        match made {
            Ok(made) => (track.config, track.kind) = (made.config, made.kind),
            Err(_) => track.config = Bytes::new(),
        }
        return Ok(());
    }
    let length = match codec {
        Codec::H264 => {
            if let Some(sps) = h264::ParameterSets::from_config(&track.config)?.sps() {
                track.kind = Kind::Video { width: sps.width, height: sps.height };
            }
            h264::Config::parse(&track.config)?.length_size
        }
        _ => {
            if let Some(sps) = h265::ParameterSets::from_config(&track.config)?.sps() {
                track.kind = Kind::Video { width: sps.width, height: sps.height };
            }
            h265::Config::parse(&track.config)?.length_size
        }
    };
    track.framing = Framing::Length(length);
    Ok(())
}

/// How long an Opus decoder's output is to be dropped at its start, in nanoseconds; 0 of other codecs.
pub(super) fn delay(track: &Track) -> u64 {
    match (track.codec, opus::Head::parse(&track.config)) {
        (Codec::Opus, Ok(head)) => u64::from(head.pre_skip) * 1_000_000_000 / u64::from(opus::RATE),
        _ => 0,
    }
}

/// Writes a TrackEntry. NAL units are announced with four-byte lengths. Fails for codecs that it has no name for, and
/// where the configuration is missing or cannot be read.
pub(super) fn write(
    out: &mut Vec<u8>,
    number: u64,
    track: &Track,
    duration: Option<u64>,
) -> Result<(), MediaError> {
    let mut config = track.config.to_vec();
    let (mut colour, mut aspect, mut core_rate) = (None, None, None);
    let name = match track.codec {
        Codec::H264 => {
            h264::Config::parse(&config)?;
            config[4] |= 3;
            if let Some(sps) = h264::ParameterSets::from_config(&config)?.sps() {
                (colour, aspect) = (sps.colour, sps.sample_aspect);
            }
            "V_MPEG4/ISO/AVC"
        }
        Codec::H265 => {
            h265::Config::parse(&config)?;
            config[21] |= 3;
            if let Some(sps) = h265::ParameterSets::from_config(&config)?.sps() {
                (colour, aspect) = (sps.colour, sps.sample_aspect);
            }
            "V_MPEGH/ISO/HEVC"
        }
        Codec::Aac => {
            core_rate = Some(aac::Asc::parse(&config)?.rate);
            "A_AAC"
        }
        Codec::Opus => {
            opus::Head::parse(&config)?;
            "A_OPUS"
        }
        Codec::Pcmu | Codec::Pcma => {
            let Kind::Audio { rate, channels } = track.kind else {
                return invalid(WHAT, "G.711 that is not sound");
            };
            config = wave_format(if track.codec == Codec::Pcma { 6 } else { 7 }, rate, channels);
            "A_MS/ACM"
        }
        Codec::VP9 => {
            if !config.is_empty() {
                config = vp9::Config::of(track)?.build_features().to_vec();
            }
            "V_VP9"
        }
        Codec::Other(four) => match OTHERS.iter().find(|(_, f)| **f == four) {
            Some((name, _)) => name,
            None => {
                return Err(MediaError::Unsupported {
                    what: WHAT,
                    why: "a codec that it has no name for here",
                });
            }
        },
    };
    if name.starts_with('V') != track.is_video() {
        return invalid(WHAT, "a codec for pictures on a track of sound, or the other way round");
    }
    put_master(out, TRACK_ENTRY, |out| {
        put_uint(out, TRACK_NUMBER, number);
        put_uint(out, TRACK_UID, number);
        put_uint(out, TRACK_TYPE, if track.is_video() { 1 } else { 2 });
        put_uint(out, FLAG_LACING, 0);
        put(out, LANGUAGE, b"und");
        put(out, CODEC_ID, name.as_bytes());
        if !config.is_empty() {
            put(out, CODEC_PRIVATE, &config);
        }
        if let Some(duration) = duration {
            put_uint(out, DEFAULT_DURATION, duration);
        }
        if track.codec == Codec::Opus {
            put_uint(out, CODEC_DELAY, delay(track));
            put_uint(out, SEEK_PRE_ROLL, 80_000_000); // RFC 7845 §4.6
        }
        match track.kind {
            Kind::Video { width, height } => put_master(out, VIDEO, |out| {
                // 0 is not allowed; players look into the parameter sets.
                put_uint(out, PIXEL_WIDTH, u64::from(width.max(1)));
                put_uint(out, PIXEL_HEIGHT, u64::from(height.max(1)));
                if let Some((wide, high)) = aspect {
                    let shown = u64::from(width) * u64::from(wide) / u64::from(high.max(1));
                    put_uint(out, DISPLAY_WIDTH, shown.max(1));
                    put_uint(out, DISPLAY_HEIGHT, u64::from(height.max(1)));
                }
                if let Some(c) = colour.filter(crate::Colour::says_something) {
                    put_master(out, COLOUR, |out| {
                        put_uint(out, MATRIX_COEFFICIENTS, u64::from(c.matrix));
                        put_uint(out, RANGE, if c.full_range { 2 } else { 1 });
                        put_uint(out, TRANSFER, u64::from(c.transfer));
                        put_uint(out, PRIMARIES, u64::from(c.primaries));
                    });
                }
            }),
            Kind::Audio { rate, channels } => put_master(out, AUDIO, |out| {
                let core = core_rate.unwrap_or(rate);
                put_float(out, SAMPLING_FREQUENCY, f64::from(core));
                if core != rate {
                    put_float(out, OUTPUT_FREQUENCY, f64::from(rate));
                }
                put_uint(out, CHANNELS, u64::from(channels.max(1)));
                if matches!(track.codec, Codec::Pcmu | Codec::Pcma) {
                    put_uint(out, BIT_DEPTH, 8);
                }
            }),
        }
    });
    Ok(())
}

/// `WAVEFORMATEX`, as A_MS/ACM has it.
fn wave_format(tag: u16, rate: u32, channels: u8) -> Vec<u8> {
    let channels = u16::from(channels.max(1));
    let mut out = vec![];
    out.extend(tag.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend(rate.saturating_mul(u32::from(channels)).to_le_bytes());
    out.extend(channels.to_le_bytes()); // bytes of a frame
    out.extend(8u16.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}
