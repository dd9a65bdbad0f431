//! AAC in LATM over RTP (RFC 6416, `MP4A-LATM`), with the configuration in the session description (`cpresent=0`):
//! one programme, one layer, one access unit to a frame, as cameras and GStreamer send it.

use bytes::Bytes;
use media::{RandomAccess, Track, aac::Asc};

use super::aac::{duration, hex, track};
use super::{Broken, Frame, Packet};
use crate::sdp::Media;

const MAX_AAC: usize = 64 << 10;

/// The `AudioSpecificConfig` out of a `StreamMuxConfig` (ISO/IEC 14496-3 §1.7.3), and the core's rate.
pub(super) fn config(m: &Media) -> Result<(Vec<u8>, u32), &'static str> {
    if m.param("cpresent").unwrap_or("1") != "0" {
        return Err("configuration in band");
    }
    let mux = m.param("config").and_then(hex).ok_or("no configuration")?;
    // audioMuxVersion 0, allStreamsSameTimeFraming 1, numSubFrames, numProgram and numLayer 0: 15 bits.
    if mux.len() < 4 || u16::from_be_bytes([mux[0], mux[1]]) >> 1 != 0x2000 {
        return Err("several layers");
    }
    // What follows is shifted by 15 bits: one from the second byte, seven from the next, and so on.
    let config: Vec<u8> = mux[1..].windows(2).map(|w| w[0] << 7 | w[1] >> 1).collect();
    let asc = Asc::parse(&config).map_err(|_| "not AAC")?;
    // Without extensions it has 16 bits; what stands behind belongs to LATM.
    let len = if asc.sbr_rate.is_none() && asc.rate != 0 && config[0] >> 3 < 31 { 2 } else { config.len() };
    let config = match Asc::parse(&config[..len.min(config.len())]) {
        Ok(short) if short == asc => config[..len].to_vec(),
        _ => config,
    };
    Ok((config, asc.rate))
}

#[derive(Debug)]
pub(crate) struct Depacketizer {
    config: Vec<u8>,
    rate: u32,
    duration: u32,
    /// The frame so far, which may come in several packets, and its timestamp.
    frame: Vec<u8>,
    timestamp: Option<u32>,
}

impl Depacketizer {
    pub(crate) fn new(config: Vec<u8>, rate: u32) -> Self {
        let duration = match Asc::parse(&config) {
            Ok(asc) => duration(u32::from(asc.frame_samples), asc.rate, rate),
            Err(_) => 1024,
        };
        Depacketizer { config, rate, duration, frame: Vec::new(), timestamp: None }
    }

    pub(crate) fn track(&self, id: u8) -> Option<Track> {
        track(id, &self.config, self.rate)
    }

    pub(crate) fn push(&mut self, p: &Packet<'_>, lost: bool, out: &mut Vec<Frame>) -> Result<(), Broken> {
        if lost || self.timestamp != Some(p.timestamp) {
            self.frame.clear();
        }
        self.timestamp = Some(p.timestamp);
        if self.frame.len() + p.payload.len() > MAX_AAC {
            self.frame.clear();
            return Err(Broken("an AAC frame beyond 64 KiB"));
        }
        self.frame.extend_from_slice(p.payload);
        if !p.marker {
            return Ok(());
        }
        self.timestamp = None;
        let frame = std::mem::take(&mut self.frame);
        let mut rest = &frame[..];
        let mut n = 0;
        while !rest.is_empty() {
            // PayloadLengthInfo (§1.7.3.1): bytes of 255 and one that is less.
            let full = rest.iter().take_while(|b| **b == 255).count();
            let Some(last) = rest.get(full) else { return Err(Broken("a LATM frame ends too early")) };
            let len = full * 255 + usize::from(*last);
            let Some((one, more)) = rest[full + 1..].split_at_checked(len) else {
                return Err(Broken("a LATM frame ends too early"));
            };
            rest = more;
            if !one.is_empty() {
                out.push(Frame {
                    timestamp: p.timestamp.wrapping_add(self.duration.wrapping_mul(n)),
                    data: Bytes::copy_from_slice(one),
                    access: RandomAccess::Idr,
                    duration: Some(self.duration),
                    changed: false,
                });
            }
            n += 1;
        }
        Ok(())
    }
}
