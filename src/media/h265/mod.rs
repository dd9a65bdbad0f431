//! H.265: parameter sets, where decoding can start, and the decoder configuration of MP4 and Matroska.
//!
//! NAL units here have neither length nor start code before them. Only the base layer is understood.

mod config;
mod sps;

use std::sync::Arc;

use bytes::Bytes;

use crate::bits::Bits;
use crate::error::{invalid, truncated};
use crate::h264::{replace, sei_message};
use crate::nal::trim;
use crate::{Codec, Framing, Kind, MediaError, RandomAccess, Track};

pub use config::Config;
pub use sps::{Profile, Sps};

/// `nal_unit_type` of a picture after which decoding goes on as if nothing had been before: the first of three.
pub const BLA_W_LP: u8 = 16;
/// Of an instantaneous refresh that decodable leading pictures may follow.
pub const IDR_W_RADL: u8 = 19;
/// Of an instantaneous refresh that no leading pictures follow.
pub const IDR_N_LP: u8 = 20;
/// Of a clean random access picture.
pub const CRA: u8 = 21;
/// Of a video parameter set.
pub const VPS: u8 = 32;
/// Of a sequence parameter set.
pub const SPS: u8 = 33;
/// Of a picture parameter set.
pub const PPS: u8 = 34;
/// Of an access unit delimiter.
pub const AUD: u8 = 35;
/// Of filler data.
pub const FILLER: u8 = 38;
/// Of supplemental enhancement information before the picture.
pub const PREFIX_SEI: u8 = 39;
/// Of supplemental enhancement information after the picture.
pub const SUFFIX_SEI: u8 = 40;

/// `nal_unit_type` (§7.4.2.2), 63 (unspecified) of an empty unit.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(63, |b| b >> 1 & 0x3f)
}

/// Whether a unit is a slice of a leading picture that cannot be decoded when decoding started at the open start
/// before it (RASL).
pub fn is_rasl(nal: &[u8]) -> bool {
    matches!(nal_type(nal), 8 | 9)
}

/// The payload after a header of the wanted type and the base layer.
fn payload<'a>(what: &'static str, nal: &'a [u8], wanted: u8) -> Result<&'a [u8], MediaError> {
    let [first, second, rest @ ..] = nal else { return truncated(what) };
    if nal_type(nal) != wanted {
        return invalid(what, "another type of NAL unit");
    }
    if first & 1 != 0 || second >> 3 != 0 {
        return Err(MediaError::Unsupported { what, why: "it belongs to an enhancement layer" });
    }
    Ok(rest)
}

/// What a video parameter set says first (§7.3.2.1): its id, 0 to 15.
pub fn vps_id(nal: &[u8]) -> Result<u8, MediaError> {
    const WHAT: &str = "H.265 video parameter set";
    Ok(Bits::escaped(WHAT, payload(WHAT, nal, VPS)?).u(4)? as u8)
}

/// What a picture parameter set says first (§7.3.2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pps {
    /// Its own id, 0 to 63.
    pub id: u8,
    /// The sequence parameter set that it belongs to, 0 to 15.
    pub sps_id: u8,
}

impl Pps {
    /// Reads the NAL unit.
    pub fn parse(nal: &[u8]) -> Result<Pps, MediaError> {
        const WHAT: &str = "H.265 picture parameter set";
        let mut b = Bits::escaped(WHAT, payload(WHAT, nal, PPS)?);
        let id = b.ue_max(63, "an id beyond 63")? as u8;
        let sps_id = b.ue_max(15, "a sequence parameter set's id beyond 15")? as u8;
        Ok(Pps { id, sps_id })
    }
}

/// Whether decoding can start at an access unit, from its NAL units.
pub fn access(nals: &[&[u8]]) -> RandomAccess {
    let mut recovery = false;
    let mut picture = false;
    for nal in nals {
        match nal_type(nal) {
            IDR_W_RADL | IDR_N_LP => return RandomAccess::Idr,
            BLA_W_LP..=18 | CRA => return RandomAccess::Open,
            0..=9 => picture = true,
            PREFIX_SEI => recovery |= recovery_poc_count(nal) == Some(0),
            _ => {}
        }
    }
    if recovery && picture { RandomAccess::Recovery } else { RandomAccess::None }
}

/// `recovery_poc_cnt` of a recovery point message (§D.2.8), if the SEI unit holds one.
pub fn recovery_poc_count(sei: &[u8]) -> Option<i32> {
    const WHAT: &str = "H.265 recovery point";
    let mut b = Bits::escaped(WHAT, payload(WHAT, sei, PREFIX_SEI).ok()?);
    sei_message(&mut b, 6)?;
    b.se().ok()
}

/// A track from its parameter sets as a session description or MP4 gives them: 90 kHz, payloads framed with four-byte
/// lengths (change these two fields where it is otherwise; the configuration always speaks of four-byte lengths).
/// The first sequence parameter set says the size. The video parameter set may be missing.
pub fn track_from_parameter_sets(
    id: u8,
    vps: &[&[u8]],
    sps: &[&[u8]],
    pps: &[&[u8]],
) -> Result<Track, MediaError> {
    const WHAT: &str = "H.265 parameter sets";
    let Some(first) = sps.first() else { return truncated(WHAT) };
    if pps.is_empty() {
        return truncated(WHAT);
    }
    let parsed = Sps::parse(trim(first))?;
    for nal in vps {
        vps_id(nal)?;
    }
    for nal in pps {
        Pps::parse(nal)?;
    }
    let own = |sets: &[&[u8]]| sets.iter().map(|nal| Bytes::copy_from_slice(trim(nal))).collect();
    let config = Config { length_size: 4, vps: own(vps), sps: own(sps), pps: own(pps), sei: vec![] };
    Ok(Track {
        id,
        codec: Codec::H265,
        kind: Kind::Video { width: parsed.width, height: parsed.height },
        timescale: 90_000,
        framing: Framing::Length(4),
        config: config.build()?,
    })
}

/// The parameter sets of a stream as they come, to notice when one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    /// By id, that which changed last first. At most 16, 16 and 64.
    vps: Vec<(u8, Bytes)>,
    sps: Vec<(u8, Bytes)>,
    pps: Vec<(u8, Bytes)>,
}

impl ParameterSets {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of a decoder configuration.
    pub fn from_config(record: &[u8]) -> Result<Self, MediaError> {
        let config = Config::parse(record)?;
        let mut sets = Self::new();
        for nal in config.pps.iter().rev().chain(config.sps.iter().rev()).chain(config.vps.iter().rev()) {
            sets.update(nal);
        }
        Ok(sets)
    }

    /// Takes any NAL unit of the stream. True if it is a parameter set that is new or says something else than the
    /// one it replaces. What cannot be read is left aside.
    pub fn update(&mut self, nal: &[u8]) -> bool {
        let nal = trim(nal);
        match nal_type(nal) {
            VPS => vps_id(nal).is_ok_and(|id| replace(&mut self.vps, id, nal)),
            SPS => Sps::parse(nal).is_ok_and(|parsed| replace(&mut self.sps, parsed.id, nal)),
            PPS => Pps::parse(nal).is_ok_and(|parsed| replace(&mut self.pps, parsed.id, nal)),
            _ => false,
        }
    }

    /// The sequence parameter set that changed last.
    pub fn sps(&self) -> Option<Sps> {
        Sps::parse(&self.sps.first()?.1).ok()
    }

    /// The track that they describe, once there are sets of each kind; see [`track_from_parameter_sets`].
    pub fn track(&self, id: u8) -> Option<Result<Arc<Track>, MediaError>> {
        if self.vps.is_empty() || self.sps.is_empty() || self.pps.is_empty() {
            return None;
        }
        fn units(sets: &[(u8, Bytes)]) -> Vec<&[u8]> {
            sets.iter().map(|(_, nal)| &nal[..]).collect()
        }
        let (vps, sps, pps) = (units(&self.vps), units(&self.sps), units(&self.pps));
        Some(track_from_parameter_sets(id, &vps, &sps, &pps).map(Arc::new))
    }
}

#[cfg(test)]
mod tests;
