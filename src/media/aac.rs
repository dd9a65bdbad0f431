//! AAC: its configuration (ISO/IEC 14496-3 §1.6.2.1) and the ADTS framing (§1.A.2).

use bytes::{BufMut, Bytes, BytesMut};

use crate::bits::Bits;
use crate::error::{invalid, truncated};
use crate::{Codec, Framing, Kind, MediaError, Track};

const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// `samplingFrequencyIndex`
pub(crate) fn rate_index(rate: u32) -> Option<u8> {
    RATES.iter().position(|r| *r == rate).map(|i| i as u8)
}

/// `AudioSpecificConfig`, as far as a player needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asc {
    /// The audio object type of the core: 2 is AAC LC.
    pub object_type: u8,
    /// Samples a second of the core.
    pub rate: u32,
    /// `channelConfiguration`, 1 to 7; 0: the stream says it itself.
    pub channel_configuration: u8,
    /// Channels that it means; of a configuration of 0, those of its program.
    pub channels: u8,
    /// Samples of the core a frame: 1024, or 960.
    pub frame_samples: u16,
    /// Samples a second after spectral band replication, where that is signalled.
    pub sbr_rate: Option<u32>,
    /// Whether parametric stereo is signalled (then one channel becomes two).
    pub parametric_stereo: bool,
    /// Whether SBR or PS come first, as the object type itself (hierarchical signalling), not as an extension.
    pub hierarchical: bool,
}

impl Asc {
    /// Reads it. Object types of the general audio coder (1 to 4, 6, 7, 17, 19 to 23) and its extensions 5 and 29.
    pub fn parse(config: &[u8]) -> Result<Asc, MediaError> {
        const WHAT: &str = "AAC configuration";
        let mut b = Bits::plain(WHAT, config);
        let b = &mut b;
        let mut object_type = object_type_of(b)?;
        let rate = rate_of(b, WHAT)?;
        let channel_configuration = b.u(4)? as u8;
        let mut asc = Asc {
            object_type,
            rate,
            channel_configuration,
            channels: 0,
            frame_samples: 1024,
            sbr_rate: None,
            parametric_stereo: object_type == 29,
            hierarchical: matches!(object_type, 5 | 29),
        };
        if asc.hierarchical {
            asc.sbr_rate = Some(rate_of(b, WHAT)?);
            object_type = object_type_of(b)?;
            if object_type == 22 {
                b.skip(4)?;
            }
            asc.object_type = object_type;
        }
        if !matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23) {
            return Err(MediaError::Unsupported { what: "MPEG-4 audio object type", why: "not AAC" });
        }
        // GASpecificConfig (§4.4.1).
        if b.flag()? {
            asc.frame_samples = 960;
        }
        if b.flag()? {
            b.skip(14)?;
        }
        let extension = b.flag()?;
        asc.channels = match channel_configuration {
            0 => program_channels(b)?,
            7 => 8,
            n @ 1..=6 => n,
            11 => 7,
            12 | 14 => 8,
            _ => return invalid(WHAT, "a reserved channel configuration"),
        };
        if matches!(object_type, 6 | 20) {
            b.skip(3)?;
        }
        if extension {
            if object_type == 22 {
                b.skip(16)?;
            }
            if matches!(object_type, 17 | 19 | 20 | 23) {
                b.skip(3)?;
            }
            b.skip(1)?;
        }
        // Backward compatible signalling, after what older decoders read. Error resilient types have more before it.
        if !asc.hierarchical && object_type < 17 && b.bits_left() >= 16 && b.u(11)? == 0x2b7 && b.u(5)? == 5 {
            asc.read_extension(b, WHAT)?;
        }
        Ok(asc)
    }

    fn read_extension(&mut self, b: &mut Bits, what: &'static str) -> Result<(), MediaError> {
        if b.bits_left() >= 5 && b.flag()? {
            self.sbr_rate = Some(rate_of(b, what)?);
            if b.bits_left() >= 12 && b.u(11)? == 0x548 {
                self.parametric_stereo = b.flag()?;
            }
        }
        Ok(())
    }

    /// Samples a second as a player hears them.
    pub fn output_rate(&self) -> u32 {
        self.sbr_rate.unwrap_or(self.rate)
    }

    /// Channels as a player hears them.
    pub fn output_channels(&self) -> u8 {
        if self.parametric_stereo && self.channels == 1 { 2 } else { self.channels }
    }

    /// The object type of RFC 6381 strings: 5 or 29 where the extension comes first.
    pub fn signalled_object_type(&self) -> u8 {
        match (self.hierarchical, self.parametric_stereo) {
            (true, true) => 29,
            (true, false) => 5,
            _ => self.object_type,
        }
    }
}

/// A plain configuration: no extension, 1024 samples a frame. `object_type` 1 to 4 (2 is AAC LC), `channels` 1 to 6 or 8.
pub fn build_asc(object_type: u8, rate: u32, channels: u8) -> Result<Bytes, MediaError> {
    const WHAT: &str = "AAC configuration";
    if !matches!(object_type, 1..=4) {
        return Err(MediaError::Unsupported {
            what: "MPEG-4 audio object type",
            why: "only 1 to 4 are written",
        });
    }
    let configuration = match channels {
        1..=6 => channels,
        8 => 7,
        _ => return invalid(WHAT, "a number of channels that has no configuration"),
    };
    let mut out = BytesMut::new();
    match RATES.iter().position(|r| *r == rate) {
        Some(index) => {
            out.put_u16(u16::from(object_type) << 11 | (index as u16) << 7 | u16::from(configuration) << 3);
        }
        None if rate > 0 && rate < 1 << 24 => {
            let bits = u64::from(object_type) << 35
                | 15 << 31
                | u64::from(rate) << 7
                | u64::from(configuration) << 3;
            out.put_slice(&bits.to_be_bytes()[3..]);
        }
        None => return invalid(WHAT, "an impossible sampling rate"),
    }
    Ok(out.freeze())
}

/// A track from an `AudioSpecificConfig`. Its timescale is the rate that a player hears.
pub fn track(id: u8, config: &[u8]) -> Result<Track, MediaError> {
    let asc = Asc::parse(config)?;
    Ok(Track {
        id,
        codec: Codec::Aac,
        kind: Kind::Audio { rate: asc.output_rate(), channels: asc.output_channels() },
        timescale: asc.output_rate(),
        framing: Framing::Raw,
        config: Bytes::copy_from_slice(config),
    })
}

/// One ADTS frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adts {
    /// 1 to 4; 2 is AAC LC.
    pub object_type: u8,
    /// Samples a second.
    pub rate: u32,
    /// As in [`Asc::channel_configuration`].
    pub channel_configuration: u8,
    /// Bytes of the header: 7, or 9 with a checksum.
    pub header: usize,
    /// Bytes of header and payload.
    pub len: usize,
}

impl Adts {
    /// Reads a header.
    pub fn parse(data: &[u8]) -> Result<Adts, MediaError> {
        const WHAT: &str = "ADTS header";
        let mut b = Bits::plain(WHAT, data);
        if b.u(12)? != 0xfff {
            return invalid(WHAT, "no sync word");
        }
        b.skip(1)?;
        if b.u(2)? != 0 {
            return invalid(WHAT, "a layer other than 0");
        }
        let header = if b.flag()? { 7 } else { 9 };
        let object_type = b.u(2)? as u8 + 1;
        let Some(&rate) = RATES.get(b.u(4)? as usize) else {
            return invalid(WHAT, "a reserved sampling rate");
        };
        b.skip(1)?;
        let channel_configuration = b.u(3)? as u8;
        b.skip(4)?;
        let len = b.u(13)? as usize;
        b.skip(11)?;
        if b.u(2)? != 0 {
            return Err(MediaError::Unsupported { what: WHAT, why: "several raw data blocks in a frame" });
        }
        if len <= header {
            return invalid(WHAT, "a frame without a payload");
        }
        Ok(Adts { object_type, rate, channel_configuration, header, len })
    }

    /// The configuration that it amounts to.
    pub fn asc(&self) -> Result<Bytes, MediaError> {
        build_asc(
            self.object_type,
            self.rate,
            if self.channel_configuration == 7 { 8 } else { self.channel_configuration },
        )
    }
}

/// Takes the first ADTS frame off a buffer: its header, its raw payload, and the rest.
pub fn split_adts(data: &[u8]) -> Result<(Adts, &[u8], &[u8]), MediaError> {
    let head = Adts::parse(data)?;
    match data.split_at_checked(head.len) {
        Some((frame, rest)) => Ok((head, &frame[head.header..], rest)),
        None => truncated("ADTS frame"),
    }
}

fn object_type_of(b: &mut Bits) -> Result<u8, MediaError> {
    let short = b.u(5)? as u8;
    if short == 31 { Ok(32 + b.u(6)? as u8) } else { Ok(short) }
}

fn rate_of(b: &mut Bits, what: &'static str) -> Result<u32, MediaError> {
    let rate = match b.u(4)? {
        15 => b.u(24)?,
        index => RATES.get(index as usize).copied().unwrap_or(0),
    };
    if rate == 0 { invalid(what, "a reserved sampling rate") } else { Ok(rate) }
}

/// Counts a program's channels (`program_config_element`, §4.4.1.1).
fn program_channels(b: &mut Bits) -> Result<u8, MediaError> {
    b.skip(10)?; // element_instance_tag, object_type, sampling_frequency_index
    let paired = [b.u(4)?, b.u(4)?, b.u(4)?];
    let lfe = b.u(2)?;
    let (assoc, coupling) = (b.u(3)?, b.u(4)?);
    for bits in [4, 4, 3] {
        if b.flag()? {
            b.skip(bits)?;
        }
    }
    let mut channels = lfe;
    for elements in paired {
        for _ in 0..elements {
            channels += 1 + b.u(1)?;
            b.skip(4)?;
        }
    }
    b.skip(4 * (lfe + assoc) + 5 * coupling)?;
    b.align();
    let comment = u32::from(b.byte()?);
    b.skip(8 * comment)?;
    Ok(channels as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_configurations() {
        let lc = Asc::parse(&[0x11, 0x90]).unwrap();
        assert_eq!((lc.object_type, lc.rate, lc.channels, lc.sbr_rate), (2, 48_000, 2, None));
        // FFmpeg's usual: an extension that says "no SBR".
        let lc = Asc::parse(&[0x12, 0x10, 0x56, 0xe5, 0x00]).unwrap();
        assert_eq!((lc.rate, lc.channels, lc.sbr_rate), (44_100, 2, None));
        // HE-AAC: type 5 first, 24 kHz core, 48 kHz heard.
        let he = Asc::parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!((he.object_type, he.rate, he.output_rate()), (2, 24_000, 48_000));
        assert_eq!((he.signalled_object_type(), he.output_channels()), (5, 2));
        // HE-AAC v2: type 29, one channel heard as two.
        let v2 = Asc::parse(&[0xeb, 0x09, 0x88, 0x00]).unwrap();
        assert_eq!((v2.signalled_object_type(), v2.channels, v2.output_channels()), (29, 1, 2));
        // Backward compatible: LC 22.05 kHz, then SBR 44.1 kHz.
        let back = Asc::parse(&[0x13, 0x90, 0x56, 0xe5, 0xa0]).unwrap();
        assert_eq!((back.rate, back.output_rate(), back.signalled_object_type()), (22_050, 44_100, 2));
        assert!(Asc::parse(&[]).is_err());
        assert!(Asc::parse(&[0x17, 0x00]).is_err());
    }

    #[test]
    fn adts() {
        let frame = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x3f, 0xfc, 0x21, 0x10, 0xff];
        let (head, payload, rest) = split_adts(&frame).unwrap();
        assert_eq!((head.rate, head.channel_configuration, head.len), (48_000, 2, 9));
        assert_eq!((payload, rest), (&[0x21, 0x10][..], &[0xff][..]));
        assert_eq!(head.asc().unwrap(), &[0x11, 0x90][..]);
        assert!(split_adts(&frame[..8]).is_err());
    }

    proptest! {
        #[test]
        fn configuration_round_trip(
            object_type in 1u8..=4, rate in prop_oneof![1u32..1 << 24, proptest::sample::select(&RATES[..])],
            channels in 1u8..=6,
        ) {
            let asc = Asc::parse(&build_asc(object_type, rate, channels).unwrap()).unwrap();
            prop_assert_eq!((asc.object_type, asc.rate, asc.channels), (object_type, rate, channels));
        }
    }
}
