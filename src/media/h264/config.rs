use bytes::{BufMut, Bytes, BytesMut};

use super::{PPS, SPS, Sps, nal_type};
use crate::MediaError;
use crate::bits::Cursor;
use crate::error::invalid;

const WHAT: &str = "AVC decoder configuration";

/// `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15 §5.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a NAL unit's length: 1, 2 or 4.
    pub length_size: u8,
    /// Sequence parameter sets, at most 31.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, at most 255.
    pub pps: Vec<Bytes>,
}

impl Config {
    /// Reads the record. What follows the parameter sets only repeats what they say.
    pub fn parse(record: &[u8]) -> Result<Config, MediaError> {
        let mut c = Cursor::new(WHAT, record);
        if c.u8()? != 1 {
            return invalid(WHAT, "an unknown version");
        }
        c.take(3)?;
        let length_size = (c.u8()? & 3) + 1;
        if length_size == 3 {
            return invalid(WHAT, "NAL unit lengths of three bytes");
        }
        let sps = sets(&mut c, 0x1f, SPS)?;
        let pps = sets(&mut c, 0xff, PPS)?;
        Ok(Config { length_size, sps, pps })
    }

    /// Writes the record. Needs one sequence parameter set at least, the first of which gives profile and level.
    pub fn build(&self) -> Result<Bytes, MediaError> {
        let Some(first) = self.sps.first() else { return invalid(WHAT, "no sequence parameter set") };
        let sps = Sps::parse(first)?;
        if !matches!(self.length_size, 1 | 2 | 4) {
            return invalid(WHAT, "the length size is not 1, 2 or 4");
        }
        if self.sps.len() > 31 || self.pps.len() > 255 {
            return invalid(WHAT, "too many parameter sets");
        }
        let mut out = BytesMut::new();
        out.put_slice(&[1, sps.profile, sps.constraints, sps.level, 0xfc | (self.length_size - 1)]);
        out.put_u8(0xe0 | self.sps.len() as u8);
        put(&mut out, &self.sps)?;
        out.put_u8(self.pps.len() as u8);
        put(&mut out, &self.pps)?;
        if !matches!(sps.profile, 66 | 77 | 88) {
            let depths = [sps.chroma_format, sps.luma_bits - 8, sps.chroma_bits - 8];
            out.put_slice(&[0xfc | depths[0], 0xf8 | depths[1], 0xf8 | depths[2], 0]);
        }
        Ok(out.freeze())
    }

    /// `avc1.64001f` (RFC 6381 §3.3): profile, constraints and level of the first sequence parameter set.
    pub fn codec_string(record: &[u8]) -> Result<String, MediaError> {
        match record {
            [1, profile, constraints, level, ..] => {
                Ok(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
            }
            _ => invalid(WHAT, "an unknown version, or too short"),
        }
    }
}

fn sets(c: &mut Cursor, mask: u8, kind: u8) -> Result<Vec<Bytes>, MediaError> {
    let count = c.u8()? & mask;
    let mut out = vec![];
    for _ in 0..count {
        let len = c.u16()?;
        let nal = c.take(usize::from(len))?;
        if nal_type(nal) != kind {
            return invalid(WHAT, "a parameter set of another type");
        }
        out.push(Bytes::copy_from_slice(nal));
    }
    Ok(out)
}

fn put(out: &mut BytesMut, sets: &[Bytes]) -> Result<(), MediaError> {
    for nal in sets {
        let Ok(len) = u16::try_from(nal.len()) else {
            return invalid(WHAT, "a parameter set of 64 KiB or more");
        };
        out.put_u16(len);
        out.put_slice(nal);
    }
    Ok(())
}
