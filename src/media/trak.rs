//! What fragmented and ordinary MP4 write alike: the boxes of a track down to its sample descriptions.

use crate::boxes::{boxed, full, u16, u32, u64, zeros};
use crate::error::invalid;
use crate::vui::Colour;
use crate::{Codec, Kind, MediaError, Track, aac, av1, h264, h265, opus, vp9};

const WHAT: &str = "MP4 sample description";

/// What a sample entry needs, checked before anything is written.
#[derive(Debug)]
pub(crate) struct Entry {
    config: Vec<u8>,
    colour: Option<Colour>,
    aspect: Option<(u16, u16)>,
}

impl Entry {
    /// Checks a track. `length` is how many bytes the lengths of NAL units are announced with: 1, 2 or 4.
    pub fn of(track: &Track, length: u8) -> Result<Entry, MediaError> {
        if track.id == 0 || track.timescale == 0 {
            return invalid(WHAT, "a track without id or timescale");
        }
        if track.config.len() > crate::table::MAX_CONFIG {
            return invalid(WHAT, "a configuration of more than 1 MiB");
        }
        let minus_one = length.clamp(1, 4) - 1;
        let mut entry = Entry { config: track.config.to_vec(), colour: None, aspect: None };
        match track.codec {
            Codec::H264 => {
                h264::Config::parse(&track.config)?;
                entry.config[4] = entry.config[4] & !3 | minus_one;
                if let Some(sps) = h264::ParameterSets::from_config(&track.config)?.sps() {
                    (entry.colour, entry.aspect) = (sps.colour, sps.sample_aspect);
                }
            }
            Codec::H265 => {
                h265::Config::parse(&track.config)?;
                entry.config[21] = entry.config[21] & !3 | minus_one;
                if let Some(sps) = h265::ParameterSets::from_config(&track.config)?.sps() {
                    (entry.colour, entry.aspect) = (sps.colour, sps.sample_aspect);
                }
            }
            Codec::Opus => entry.config = opus::Head::parse(&track.config)?.build_dops().to_vec(),
            Codec::Aac => {
                aac::Asc::parse(&track.config)?;
            }
            Codec::Pcmu | Codec::Pcma => entry.config.clear(),
            // VP8 has the same configuration (VP Codec ISO Media File Format Binding §2.2).
            Codec::VP8 | Codec::VP9 => entry.config = vp9::Config::of(track)?.build().to_vec(),
            Codec::AV1 => {
                av1::configured(&track.config)?;
            }
            Codec::Other(_) => {
                return Err(MediaError::Unsupported { what: WHAT, why: "a codec that it has no name for" });
            }
        }
        let video = track.codec.has_nals() || matches!(track.codec, Codec::VP8 | Codec::VP9 | Codec::AV1);
        if video != track.is_video() {
            return invalid(WHAT, "a codec for pictures on a track of sound, or the other way round");
        }
        Ok(entry)
    }
}

/// What a track's headers say of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    /// Its id in the file.
    pub id: u32,
    /// When it was made, in seconds since 1904; 0 if unknown.
    pub created: u64,
    /// How long it is shown, in ticks of the movie.
    pub shown: u64,
    /// How long its samples are together, in its own ticks.
    pub length: u64,
}

impl Head {
    fn version(&self) -> u8 {
        u8::from([self.created, self.shown, self.length].iter().any(|v| *v > u64::from(u32::MAX)))
    }
}

/// A number of 32 bits in version 0 of a box, of 64 in version 1.
pub(crate) fn sized(out: &mut Vec<u8>, version: u8, v: u64) {
    if version == 1 { u64(out, v) } else { u32(out, u32::try_from(v).unwrap_or(u32::MAX)) }
}

/// `mvhd`.
pub(crate) fn movie_head(out: &mut Vec<u8>, timescale: u32, head: &Head, next_track: u32) {
    let version = head.version();
    full(out, b"mvhd", version, 0, |out| {
        sized(out, version, head.created);
        sized(out, version, head.created);
        u32(out, timescale);
        sized(out, version, head.shown);
        u32(out, 0x1_0000); // rate
        u16(out, 0x100); // volume
        zeros(out, 10);
        matrix(out);
        zeros(out, 24);
        u32(out, next_track);
    });
}

/// A `trak`: `edits` writes what stands between `tkhd` and `mdia`, `tables` what follows `stsd` in `stbl`. The first
/// description gives the size in pixels.
pub(crate) fn trak(
    out: &mut Vec<u8>,
    head: &Head,
    descriptions: &[(&Track, &Entry)],
    edits: impl FnOnce(&mut Vec<u8>),
    tables: impl FnOnce(&mut Vec<u8>),
) {
    let Some((track, entry)) = descriptions.first() else { return };
    let version = head.version();
    boxed(out, b"trak", |out| {
        full(out, b"tkhd", version, 3, |out| {
            sized(out, version, head.created);
            sized(out, version, head.created);
            u32(out, head.id);
            zeros(out, 4);
            sized(out, version, head.shown);
            zeros(out, 8 + 4);
            u16(out, if track.is_video() { 0 } else { 0x100 }); // volume
            zeros(out, 2);
            matrix(out);
            let (width, height) = match track.kind {
                Kind::Video { width, height } => (shown_width(width, entry.aspect), u32::from(height) << 16),
                Kind::Audio { .. } => (0, 0),
            };
            u32(out, width);
            u32(out, height);
        });
        edits(out);
        boxed(out, b"mdia", |out| {
            full(out, b"mdhd", version, 0, |out| {
                sized(out, version, head.created);
                sized(out, version, head.created);
                u32(out, track.timescale);
                sized(out, version, head.length);
                u16(out, 0x55c4); // "und"
                u16(out, 0);
            });
            let (kind, name): (_, &[u8]) =
                if track.is_video() { (b"vide", b"VideoHandler\0") } else { (b"soun", b"SoundHandler\0") };
            full(out, b"hdlr", 0, 0, |out| {
                zeros(out, 4);
                out.extend(kind);
                zeros(out, 12);
                out.extend(name);
            });
            boxed(out, b"minf", |out| {
                if track.is_video() {
                    full(out, b"vmhd", 0, 1, |out| zeros(out, 8));
                } else {
                    full(out, b"smhd", 0, 0, |out| zeros(out, 4));
                }
                boxed(out, b"dinf", |out| {
                    full(out, b"dref", 0, 0, |out| {
                        u32(out, 1);
                        full(out, b"url ", 0, 1, |_| ());
                    });
                });
                boxed(out, b"stbl", |out| {
                    full(out, b"stsd", 0, 0, |out| {
                        u32(out, descriptions.len() as u32);
                        for (track, entry) in descriptions {
                            sample_entry(out, head.id, track, entry);
                        }
                    });
                    tables(out);
                });
            });
        });
    });
}

fn sample_entry(out: &mut Vec<u8>, id: u32, track: &Track, entry: &Entry) {
    let (name, configuration) = match track.codec {
        Codec::H264 => (b"avc1", b"avcC"),
        Codec::H265 => (b"hvc1", b"hvcC"),
        Codec::Aac => (b"mp4a", b"esds"),
        Codec::Opus => (b"Opus", b"dOps"),
        Codec::Pcma => (b"alaw", b"free"),
        Codec::VP8 => (b"vp08", b"vpcC"),
        Codec::VP9 => (b"vp09", b"vpcC"),
        Codec::AV1 => (b"av01", b"av1C"),
        Codec::Pcmu | Codec::Other(_) => (b"ulaw", b"free"),
    };
    boxed(out, name, |out| {
        zeros(out, 6);
        u16(out, 1); // data reference
        match track.kind {
            Kind::Video { width, height } => {
                zeros(out, 16);
                u16(out, width);
                u16(out, height);
                u32(out, 0x48_0000); // 72 dpi
                u32(out, 0x48_0000);
                u32(out, 0);
                u16(out, 1); // frames a sample
                zeros(out, 32); // compressor's name
                u16(out, 0x18);
                u16(out, 0xffff);
            }
            Kind::Audio { rate, channels } => {
                zeros(out, 8);
                u16(out, u16::from(channels));
                u16(out, 16);
                zeros(out, 4);
                // 16.16; what does not fit stands in the configuration alone.
                u32(out, u16::try_from(rate).map_or(0, |rate| u32::from(rate) << 16));
            }
        }
        match track.codec {
            Codec::Aac => full(out, configuration, 0, 0, |out| elementary_stream(out, id, &entry.config)),
            // Of VP8 and VP9 version and flags are part of it.
            Codec::H264 | Codec::H265 | Codec::Opus | Codec::VP8 | Codec::VP9 | Codec::AV1 => {
                boxed(out, configuration, |out| out.extend(&entry.config))
            }
            _ => {}
        }
        if let Some(colour) = entry.colour.filter(Colour::says_something) {
            boxed(out, b"colr", |out| {
                out.extend(b"nclx");
                for code in [colour.primaries, colour.transfer, colour.matrix] {
                    u16(out, u16::from(code));
                }
                out.push(if colour.full_range { 0x80 } else { 0 });
            });
        }
        if let Some((wide, high)) = entry.aspect {
            boxed(out, b"pasp", |out| {
                u32(out, u32::from(wide));
                u32(out, u32::from(high));
            });
        }
    });
}

/// `ES_Descriptor` (ISO/IEC 14496-1 §7.2.6.5) for AAC.
fn elementary_stream(out: &mut Vec<u8>, id: u32, config: &[u8]) {
    // Each descriptor: a tag, its length in four bytes of seven bits.
    let head = |out: &mut Vec<u8>, tag: u8, len: usize| {
        out.push(tag);
        out.extend(
            [21, 14, 7, 0].map(|shift| (len >> shift) as u8 & 0x7f | if shift == 0 { 0 } else { 0x80 }),
        );
    };
    head(out, 3, 3 + 5 + 13 + 5 + config.len() + 5 + 1);
    u16(out, id as u16);
    out.push(0);
    head(out, 4, 13 + 5 + config.len());
    out.extend([0x40, 0x15]); // MPEG-4 audio, an audio stream
    zeros(out, 3 + 4 + 4); // buffer size and rates: not known
    head(out, 5, config.len());
    out.extend(config);
    head(out, 6, 1);
    out.push(2);
}

/// 16.16, pixels made square.
fn shown_width(width: u16, aspect: Option<(u16, u16)>) -> u32 {
    let (wide, high) = aspect.unwrap_or((1, 1));
    let fixed = (u64::from(width) << 16) * u64::from(wide) / u64::from(high.max(1));
    u32::try_from(fixed).unwrap_or(u32::from(width) << 16)
}

fn matrix(out: &mut Vec<u8>) {
    for v in [0x1_0000u32, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000] {
        u32(out, v);
    }
}
