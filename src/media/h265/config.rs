use bytes::{BufMut, Bytes, BytesMut};

use super::{PPS, PREFIX_SEI, Profile, SPS, SUFFIX_SEI, Sps, VPS, nal_type};
use crate::MediaError;
use crate::bits::Cursor;
use crate::error::invalid;

const WHAT: &str = "HEVC decoder configuration";

/// `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §8.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a NAL unit's length: 1, 2 or 4.
    pub length_size: u8,
    /// Video parameter sets.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets.
    pub pps: Vec<Bytes>,
    /// Supplemental information for the whole stream.
    pub sei: Vec<Bytes>,
}

impl Config {
    /// Reads the record. What it says besides NAL units only repeats what they say; units of other kinds are left out.
    pub fn parse(record: &[u8]) -> Result<Config, MediaError> {
        let mut c = Cursor::new(WHAT, record);
        if c.u8()? != 1 {
            return invalid(WHAT, "an unknown version");
        }
        c.take(20)?;
        let length_size = (c.u8()? & 3) + 1;
        if length_size == 3 {
            return invalid(WHAT, "NAL unit lengths of three bytes");
        }
        let mut config = Config { length_size, vps: vec![], sps: vec![], pps: vec![], sei: vec![] };
        for _ in 0..c.u8()? {
            let kind = c.u8()? & 0x3f;
            for _ in 0..c.u16()? {
                let len = c.u16()?;
                let nal = c.take(usize::from(len))?;
                let list = match kind {
                    VPS => &mut config.vps,
                    SPS => &mut config.sps,
                    PPS => &mut config.pps,
                    PREFIX_SEI | SUFFIX_SEI => &mut config.sei,
                    _ => continue,
                };
                if nal_type(nal) != kind {
                    return invalid(WHAT, "a NAL unit among those of another type");
                }
                list.push(Bytes::copy_from_slice(nal));
            }
        }
        Ok(config)
    }

    /// Writes the record. Needs one sequence parameter set at least, the first of which gives what the record repeats.
    pub fn build(&self) -> Result<Bytes, MediaError> {
        let Some(first) = self.sps.first() else { return invalid(WHAT, "no sequence parameter set") };
        let sps = Sps::parse(first)?;
        if !matches!(self.length_size, 1 | 2 | 4) {
            return invalid(WHAT, "the length size is not 1, 2 or 4");
        }
        if sps.luma_bits > 15 || sps.chroma_bits > 15 {
            return Err(MediaError::Unsupported { what: WHAT, why: "more than 15 bits a sample" });
        }
        let p = sps.profile;
        let mut out = BytesMut::new();
        out.put_slice(&[1, p.space << 6 | u8::from(p.high_tier) << 5 | p.profile]);
        out.put_u32(p.compatibility);
        out.put_slice(&p.constraints);
        out.put_u8(p.level);
        out.put_u16(0xf000); // min_spatial_segmentation_idc: not known
        out.put_u8(0xfc); // parallelismType: not known
        out.put_u8(0xfc | sps.chroma_format);
        out.put_slice(&[0xf8 | (sps.luma_bits - 8), 0xf8 | (sps.chroma_bits - 8)]);
        out.put_u16(0); // avgFrameRate: not said
        out.put_u8(sps.sub_layers << 3 | u8::from(sps.nested) << 2 | (self.length_size - 1));
        let sei = |kind| self.sei.iter().filter(|nal| nal_type(nal) == kind).cloned().collect::<Vec<_>>();
        let (prefix, suffix) = (sei(PREFIX_SEI), sei(SUFFIX_SEI));
        let lists = [
            (VPS, &self.vps),
            (SPS, &self.sps),
            (PPS, &self.pps),
            (PREFIX_SEI, &prefix),
            (SUFFIX_SEI, &suffix),
        ];
        let lists = lists.iter().filter(|(_, list)| !list.is_empty());
        out.put_u8(lists.clone().count() as u8);
        for (kind, list) in lists {
            // Of parameter sets, all that there are (`hvc1` asks for it).
            out.put_u8(if *kind < PREFIX_SEI { 0x80 } else { 0 } | kind);
            out.put_u16(list.len().min(usize::from(u16::MAX)) as u16);
            for nal in list.iter().take(usize::from(u16::MAX)) {
                let Ok(len) = u16::try_from(nal.len()) else {
                    return invalid(WHAT, "a parameter set of 64 KiB or more");
                };
                out.put_u16(len);
                out.put_slice(nal);
            }
        }
        Ok(out.freeze())
    }

    /// `hvc1.1.6.L93.B0` (ISO/IEC 14496-15 annex E.3), from the record's own fields.
    pub fn codec_string(record: &[u8]) -> Result<String, MediaError> {
        let mut c = Cursor::new(WHAT, record);
        if c.u8()? != 1 {
            return invalid(WHAT, "an unknown version");
        }
        let first = c.u8()?;
        let (space, high_tier, profile) = (first >> 6, first & 0x20 != 0, first & 0x1f);
        let compatibility = c.u32()?;
        let profile =
            Profile { space, high_tier, profile, compatibility, constraints: c.array()?, level: c.u8()? };
        Ok(profile.codec_string())
    }
}
