//! H.264: parameter sets, where decoding can start, and the decoder configuration of MP4 and Matroska.
//!
//! NAL units here have neither length nor start code before them.

mod config;
mod sps;

use std::sync::Arc;

use bytes::Bytes;

use crate::bits::Bits;
use crate::error::{invalid, truncated};
use crate::nal::trim;
use crate::{Codec, Framing, Kind, MediaError, RandomAccess, Track};

pub use config::Config;
pub use sps::Sps;

/// `nal_unit_type` of a coded slice of a picture that is not an IDR picture.
pub const SLICE: u8 = 1;
/// Of a coded slice of an IDR picture.
pub const IDR: u8 = 5;
/// Of supplemental enhancement information.
pub const SEI: u8 = 6;
/// Of a sequence parameter set.
pub const SPS: u8 = 7;
/// Of a picture parameter set.
pub const PPS: u8 = 8;
/// Of an access unit delimiter.
pub const AUD: u8 = 9;
/// Of filler data.
pub const FILLER: u8 = 12;

/// `nal_unit_type` (§7.4.1), 0 of an empty unit.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |b| b & 0x1f)
}

/// What a picture parameter set says first (§7.3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pps {
    /// Its own id, 0 to 255.
    pub id: u8,
    /// The sequence parameter set that it belongs to, 0 to 31.
    pub sps_id: u8,
}

impl Pps {
    /// Reads the NAL unit.
    pub fn parse(nal: &[u8]) -> Result<Pps, MediaError> {
        const WHAT: &str = "H.264 picture parameter set";
        if nal_type(nal) != PPS {
            return invalid(WHAT, "another type of NAL unit");
        }
        let mut b = Bits::escaped(WHAT, &nal[1..]);
        let id = b.ue_max(255, "an id beyond 255")? as u8;
        let sps_id = b.ue_max(31, "a sequence parameter set's id beyond 31")? as u8;
        Ok(Pps { id, sps_id })
    }
}

/// What a slice header says first (§7.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SliceHead {
    /// Of the slice's first macroblock; 0 begins a picture.
    pub first_mb: u32,
    /// P, B, I, SP, SI as 0 to 4 (those that say "all slices of this picture" are folded in).
    pub slice_type: u8,
    /// The picture parameter set in use.
    pub pps_id: u8,
}

impl SliceHead {
    /// Reads a NAL unit of type [`SLICE`], 2 (data partition A) or [`IDR`].
    pub fn parse(nal: &[u8]) -> Result<SliceHead, MediaError> {
        const WHAT: &str = "H.264 slice header";
        if !matches!(nal_type(nal), SLICE | 2 | IDR) {
            return invalid(WHAT, "another type of NAL unit");
        }
        let mut b = Bits::escaped(WHAT, &nal[1..]);
        let first_mb = b.ue()?;
        let slice_type = (b.ue_max(9, "an unknown slice type")? % 5) as u8;
        let pps_id = b.ue_max(255, "a picture parameter set's id beyond 255")? as u8;
        Ok(SliceHead { first_mb, slice_type, pps_id })
    }
}

/// Whether decoding can start at an access unit, from its NAL units.
pub fn access(nals: &[&[u8]]) -> RandomAccess {
    let mut recovery = false;
    let mut picture = false;
    for nal in nals {
        match nal_type(nal) {
            IDR => return RandomAccess::Idr,
            SLICE | 2 => picture = true,
            SEI => recovery |= recovery_frame_count(nal) == Some(0),
            _ => {}
        }
    }
    if recovery && picture { RandomAccess::Recovery } else { RandomAccess::None }
}

/// `recovery_frame_cnt` of a recovery point message (§D.1.8), if the SEI unit holds one.
pub fn recovery_frame_count(sei: &[u8]) -> Option<u32> {
    if nal_type(sei) != SEI {
        return None;
    }
    let mut b = Bits::escaped("H.264 recovery point", sei.get(1..)?);
    sei_message(&mut b, 6)?;
    b.ue().ok()
}

/// Goes to the content of the first message of a type (§7.3.2.3.1). Ends at the unit's end at the latest.
pub(crate) fn sei_message(b: &mut Bits, wanted: u32) -> Option<()> {
    loop {
        let mut kind = 0u32;
        let mut size = 0u32;
        for value in [&mut kind, &mut size] {
            loop {
                let part = b.byte().ok()?;
                *value = value.checked_add(u32::from(part))?;
                if part != 255 {
                    break;
                }
            }
        }
        if kind == wanted {
            return Some(());
        }
        b.skip(size.checked_mul(8)?).ok()?;
    }
}

/// A track from its parameter sets as a session description or MP4 gives them: 90 kHz, payloads framed with four-byte
/// lengths (change these two fields where it is otherwise; the configuration always speaks of four-byte lengths).
/// The first sequence parameter set says the size.
pub fn track_from_parameter_sets(id: u8, sps: &[&[u8]], pps: &[&[u8]]) -> Result<Track, MediaError> {
    const WHAT: &str = "H.264 parameter sets";
    let Some(first) = sps.first() else { return truncated(WHAT) };
    if pps.is_empty() {
        return truncated(WHAT);
    }
    let parsed = Sps::parse(trim(first))?;
    for nal in pps {
        Pps::parse(nal)?;
    }
    let own = |sets: &[&[u8]]| sets.iter().map(|nal| Bytes::copy_from_slice(trim(nal))).collect();
    let config = Config { length_size: 4, sps: own(sps), pps: own(pps) };
    Ok(Track {
        id,
        codec: Codec::H264,
        kind: Kind::Video { width: parsed.width, height: parsed.height },
        timescale: 90_000,
        framing: Framing::Length(4),
        config: config.build()?,
    })
}

/// The parameter sets of a stream as they come, to notice when one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    /// By id, that which changed last first. At most 32 and 256.
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
        for nal in config.pps.iter().rev().chain(config.sps.iter().rev()) {
            sets.update(nal);
        }
        Ok(sets)
    }

    /// Takes any NAL unit of the stream. True if it is a parameter set that is new or says something else than the
    /// one it replaces. What cannot be read is left aside.
    pub fn update(&mut self, nal: &[u8]) -> bool {
        let nal = trim(nal);
        match nal_type(nal) {
            SPS => Sps::parse(nal).is_ok_and(|parsed| replace(&mut self.sps, parsed.id, nal)),
            PPS => Pps::parse(nal).is_ok_and(|parsed| replace(&mut self.pps, parsed.id, nal)),
            _ => false,
        }
    }

    /// The sequence parameter set that changed last.
    pub fn sps(&self) -> Option<Sps> {
        Sps::parse(&self.sps.first()?.1).ok()
    }

    /// The track that they describe, once there is one of each; see [`track_from_parameter_sets`].
    pub fn track(&self, id: u8) -> Option<Result<Arc<Track>, MediaError>> {
        if self.sps.is_empty() || self.pps.is_empty() {
            return None;
        }
        let sps: Vec<&[u8]> = self.sps.iter().map(|(_, nal)| &nal[..]).collect();
        let pps: Vec<&[u8]> = self.pps.iter().map(|(_, nal)| &nal[..]).collect();
        Some(track_from_parameter_sets(id, &sps, &pps).map(Arc::new))
    }
}

/// Puts a set in its place; true if something changed. Sets that no configuration could hold are left aside.
pub(crate) fn replace(sets: &mut Vec<(u8, Bytes)>, id: u8, nal: &[u8]) -> bool {
    if nal.len() > usize::from(u16::MAX) {
        return false;
    }
    let old = sets.iter().position(|(have, _)| *have == id);
    if old.is_some_and(|at| sets[at].1 == nal) {
        return false;
    }
    if let Some(at) = old {
        sets.remove(at);
    }
    sets.insert(0, (id, Bytes::copy_from_slice(nal)));
    true
}

#[cfg(test)]
mod tests;
