//! RTP (RFC 3550) and the payload formats that we receive: packets in, access units out. Without I/O.
//!
//! Depacketizers live here, not in a library, for three reasons: they hand on every NAL unit as it came, parameter
//! sets in their places; one damaged packet costs one access unit, not the session; and pull and push, whatever
//! carries the packets, are received by the same code.

mod aac;
mod assembler;
mod h264;
mod h265;
mod latm;
mod pictures;
mod plain;
mod reorder;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use media::{RandomAccess, Track};
pub(crate) use reorder::Reorder;

use crate::sdp::Media;

/// No access unit is bigger: what grows beyond it is dropped and counted.
pub(crate) const MAX_UNIT: usize = 16 << 20;

/// One RTP packet (RFC 3550 §5.1), without padding and extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Payload type.
    pub payload_type: u8,
    /// Marker: for video, the last packet of an access unit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet; `None` if it is not one.
    pub fn parse(data: &'a [u8]) -> Option<Packet<'a>> {
        let head: &[u8; 12] = data.first_chunk()?;
        if head[0] >> 6 != 2 {
            return None;
        }
        let mut start = 12 + 4 * usize::from(head[0] & 15);
        if head[0] & 0x10 != 0 {
            let words = data.get(start + 2..start + 4)?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        let padding = if head[0] & 0x20 != 0 { usize::from(*data.last()?) } else { 0 };
        let end = data.len().checked_sub(padding)?;
        Some(Packet {
            payload_type: head[1] & 0x7f,
            marker: head[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            payload: data.get(start..end)?,
        })
    }
}

/// What a sender report says of clocks (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Whose.
    pub ssrc: u32,
    /// The sender's wall clock in NTP's 32.32 fixed point.
    pub ntp: u64,
    /// The same moment as an RTP timestamp.
    pub rtp: u32,
}

impl SenderReport {
    /// The first sender report of a compound RTCP packet.
    pub fn parse(mut data: &[u8]) -> Option<SenderReport> {
        loop {
            let head: &[u8; 4] = data.first_chunk()?;
            let len = 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
            let (one, rest) = data.split_at_checked(len)?;
            if head[0] >> 6 != 2 {
                return None;
            }
            if head[1] == 200 {
                let b: &[u8; 16] = one.get(4..)?.first_chunk()?;
                return Some(SenderReport {
                    ssrc: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
                    ntp: u64::from_be_bytes([b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11]]),
                    rtp: u32::from_be_bytes([b[12], b[13], b[14], b[15]]),
                });
            }
            data = rest;
        }
    }
}

/// One access unit out of a depacketizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub timestamp: u32,
    pub data: Bytes,
    pub access: RandomAccess,
    /// In ticks of the clock rate, where known.
    pub duration: Option<u32>,
    /// Its parameter sets differ from those before: the track is another from here on.
    pub changed: bool,
}

/// Why packets came to nothing; the words are for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub &'static str);

/// How a medium is carried: everything needed to receive it.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Ticks a second.
    pub rate: u32,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    H264 { sets: Vec<Vec<u8>> },
    H265 { sets: Vec<Vec<u8>> },
    Pictures(pictures::Form),
    Aac(aac::Layout),
    Latm { config: Vec<u8> },
    Opus { channels: u8 },
    G711 { codec: media::Codec, channels: u8 },
}

impl Carried {
    pub(crate) fn of(m: &Media) -> Result<Carried, String> {
        let unsupported = |what: &str| Err(format!("{} {}", what, m.kind));
        let or = |default| if m.clock_rate == 0 { default } else { m.clock_rate };
        let base64 = |key| -> Vec<Vec<u8>> {
            let sets = m.param(key).unwrap_or_default().split(',');
            sets.filter_map(|s| STANDARD.decode(s.trim()).ok()).filter(|s| !s.is_empty()).collect()
        };
        let (rate, how) = match (m.kind.as_str(), m.encoding.as_str()) {
            ("video", "H264") if m.param("packetization-mode") == Some("2") => {
                return unsupported("H264 (interleaved)");
            }
            ("video", "H264") => (or(90_000), How::H264 { sets: base64("sprop-parameter-sets") }),
            ("video", "H265" | "HEVC") if m.param("sprop-max-don-diff").is_some_and(|v| v != "0") => {
                return unsupported("H265 (interleaved)");
            }
            ("video", "H265" | "HEVC") => {
                let sets = ["sprop-vps", "sprop-sps", "sprop-pps"].into_iter().flat_map(base64).collect();
                (or(90_000), How::H265 { sets })
            }
            ("video", "VP8") => (or(90_000), How::Pictures(pictures::Form::Vp8)),
            ("video", "VP9") => (or(90_000), How::Pictures(pictures::Form::Vp9)),
            ("video", "AV1") => (or(90_000), How::Pictures(pictures::Form::Av1)),
            ("audio", "MPEG4-GENERIC") => match aac::Layout::of(m) {
                Ok(layout) => (or(layout.rate), How::Aac(layout)),
                Err(why) => return unsupported(&format!("MPEG4-GENERIC ({why})")),
            },
            ("audio", "MP4A-LATM") => match latm::config(m) {
                Ok((config, rate)) => (or(rate), How::Latm { config }),
                Err(why) => return unsupported(&format!("MP4A-LATM ({why})")),
            },
            ("audio", "OPUS") => {
                (or(48_000), How::Opus { channels: if m.param("sprop-stereo") == Some("0") { 1 } else { 2 } })
            }
            ("audio", "PCMU") => {
                (or(8000), How::G711 { codec: media::Codec::Pcmu, channels: m.channels.max(1) })
            }
            ("audio", "PCMA") => {
                (or(8000), How::G711 { codec: media::Codec::Pcma, channels: m.channels.max(1) })
            }
            (_, "") => return unsupported(&format!("payload type {}", m.payload_type)),
            (_, name) => return unsupported(name),
        };
        Ok(Carried { rate, how })
    }
}

/// A depacketizer of any kind.
#[derive(Debug)]
pub(crate) enum Depacketizer {
    H264(h264::Depacketizer),
    H265(h265::Depacketizer),
    Pictures(pictures::Depacketizer),
    Aac(aac::Depacketizer),
    Latm(latm::Depacketizer),
    Plain(plain::Depacketizer),
}

impl Depacketizer {
    pub(crate) fn new(carried: &Carried) -> Depacketizer {
        let rate = carried.rate;
        match &carried.how {
            How::H264 { sets } => Depacketizer::H264(h264::Depacketizer::new(sets)),
            How::H265 { sets } => Depacketizer::H265(h265::Depacketizer::new(sets)),
            How::Pictures(form) => Depacketizer::Pictures(pictures::Depacketizer::new(*form, rate)),
            How::Aac(layout) => Depacketizer::Aac(aac::Depacketizer::new(layout.clone(), rate)),
            How::Latm { config } => Depacketizer::Latm(latm::Depacketizer::new(config.clone(), rate)),
            How::Opus { channels } => Depacketizer::Plain(plain::Depacketizer::opus(rate, *channels)),
            How::G711 { codec, channels } => {
                Depacketizer::Plain(plain::Depacketizer::g711(*codec, rate, *channels))
            }
        }
    }

    /// Takes the packets of one source in order. `lost`: packets before this one are missing. Frames that are complete
    /// are appended; an error says what was dropped, and the next packet starts afresh.
    pub(crate) fn push(&mut self, p: &Packet<'_>, lost: bool, out: &mut Vec<Frame>) -> Result<(), Broken> {
        match self {
            Depacketizer::H264(d) => d.push(p, lost, out),
            Depacketizer::H265(d) => d.push(p, lost, out),
            Depacketizer::Pictures(d) => d.push(p, lost, out),
            Depacketizer::Aac(d) => d.push(p, lost, out),
            Depacketizer::Latm(d) => d.push(p, lost, out),
            Depacketizer::Plain(d) => d.push(p, out),
        }
    }

    /// Nothing more comes: hands over what is complete but could not be known to be.
    pub(crate) fn end(&mut self, out: &mut Vec<Frame>) {
        match self {
            Depacketizer::H264(d) => d.end(out),
            Depacketizer::H265(d) => d.end(out),
            Depacketizer::Pictures(d) => d.end(),
            Depacketizer::Aac(_) | Depacketizer::Latm(_) | Depacketizer::Plain(_) => {}
        }
    }

    /// The track as of the last frame; `None` while its parameters are not known.
    pub(crate) fn track(&self, id: u8) -> Option<Track> {
        match self {
            Depacketizer::H264(d) => d.track(id),
            Depacketizer::H265(d) => d.track(id),
            Depacketizer::Pictures(d) => d.track(id),
            Depacketizer::Aac(d) => d.track(id),
            Depacketizer::Latm(d) => d.track(id),
            Depacketizer::Plain(d) => d.track(id),
        }
    }

    /// The track without its parameters, for when they never come.
    pub(crate) fn bare_track(&self, id: u8, rate: u32) -> Track {
        let codec = match self {
            Depacketizer::H265(_) => media::Codec::H265,
            Depacketizer::Pictures(d) => d.codec(),
            _ => media::Codec::H264,
        };
        let framing = if codec.has_nals() { media::Framing::Length(4) } else { media::Framing::Raw };
        Track {
            id,
            codec,
            kind: media::Kind::Video { width: 0, height: 0 },
            timescale: rate,
            framing,
            config: Bytes::new(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
