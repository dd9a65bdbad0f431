//! Formats of which a packet's payload is an access unit: Opus (RFC 7587) and G.711 (RFC 3551 §4.5.14).

use bytes::Bytes;
use media::{Codec, RandomAccess, Track};

use super::{Broken, Frame, Packet};

#[derive(Debug)]
pub(crate) struct Depacketizer {
    track: Track,
}

impl Depacketizer {
    pub(crate) fn opus(rate: u32, channels: u8) -> Self {
        Depacketizer { track: Track { timescale: rate, ..media::opus::Head::simple(channels).track(0) } }
    }

    pub(crate) fn g711(codec: Codec, rate: u32, channels: u8) -> Self {
        Depacketizer { track: media::g711_track(0, codec, rate, channels) }
    }

    pub(crate) fn track(&self, id: u8) -> Option<Track> {
        Some(Track { id, ..self.track.clone() })
    }

    pub(crate) fn push(&mut self, p: &Packet<'_>, out: &mut Vec<Frame>) -> Result<(), Broken> {
        if !p.payload.is_empty() {
            out.push(Frame {
                timestamp: p.timestamp,
                data: Bytes::copy_from_slice(p.payload),
                access: RandomAccess::Idr,
                duration: media::payload_duration(&self.track, p.payload),
                changed: false,
            });
        }
        Ok(())
    }
}
