//! Opus: its identification header (RFC 7845 §5.1), that header as MP4 has it, and how long packets last (RFC 6716).
//!
//! **Pre-skip.** A sample's time is that of the first sample which its packet decodes to, as RTP has it; nothing is
//! taken off for the pre-skip. RTP sources have none (their header says 0); where a header says otherwise it is passed
//! on, for the decoder to drop those samples when it starts.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::bits::Cursor;
use crate::error::{invalid, truncated};
use crate::{Codec, Framing, Kind, MediaError, Track};

/// Samples a second at which Opus counts, whatever its input was.
pub const RATE: u32 = 48_000;
const WHAT: &str = "Opus header";
const MAGIC: &[u8; 8] = b"OpusHead";

/// The identification header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// 1 to 255.
    pub channels: u8,
    /// Samples at 48 kHz that a decoder drops at the start.
    pub pre_skip: u16,
    /// What the encoder was fed with in samples a second; 0 if unknown.
    pub input_rate: u32,
    /// Gain in 1/256 dB.
    pub gain: i16,
    /// 0 for mono and stereo, else as `mapping` says.
    pub family: u8,
    /// For a family other than 0: streams, coupled streams, and one byte for each channel.
    pub mapping: Bytes,
}

impl Head {
    /// Of a source that has no header, such as RTP: one stream of one or two channels.
    pub fn simple(channels: u8) -> Head {
        Head {
            channels: channels.clamp(1, 2),
            pre_skip: 0,
            input_rate: RATE,
            gain: 0,
            family: 0,
            mapping: Bytes::new(),
        }
    }

    /// Reads `OpusHead`. What follows it is left aside.
    pub fn parse(data: &[u8]) -> Result<Head, MediaError> {
        let mut c = Cursor::new(WHAT, data);
        if c.array()? != *MAGIC {
            return invalid(WHAT, "it does not begin with OpusHead");
        }
        if c.u8()? >> 4 != 0 {
            return Err(MediaError::Unsupported { what: WHAT, why: "an unknown version" });
        }
        let mut fixed = c.take(10)?;
        let channels = fixed.get_u8();
        let (pre_skip, input_rate, gain) = (fixed.get_u16_le(), fixed.get_u32_le(), fixed.get_i16_le());
        Self::with_mapping(channels, pre_skip, input_rate, gain, fixed.get_u8(), c)
    }

    /// Reads the content of MP4's `dOps` box (Opus in ISOBMFF §4.3.2): the same, big-endian, version 0.
    pub fn parse_dops(data: &[u8]) -> Result<Head, MediaError> {
        let mut c = Cursor::new(WHAT, data);
        if c.u8()? != 0 {
            return Err(MediaError::Unsupported { what: WHAT, why: "an unknown version" });
        }
        let (channels, pre_skip, input_rate, gain) = (c.u8()?, c.u16()?, c.u32()?, c.u16()? as i16);
        let family = c.u8()?;
        Self::with_mapping(channels, pre_skip, input_rate, gain, family, c)
    }

    fn with_mapping(
        channels: u8,
        pre_skip: u16,
        input_rate: u32,
        gain: i16,
        family: u8,
        mut rest: Cursor,
    ) -> Result<Head, MediaError> {
        if channels == 0 || (family == 0 && channels > 2) {
            return invalid(WHAT, "an impossible number of channels");
        }
        let mapping = if family == 0 { &[][..] } else { rest.take(2 + usize::from(channels))? };
        Ok(Head { channels, pre_skip, input_rate, gain, family, mapping: Bytes::copy_from_slice(mapping) })
    }

    /// Writes `OpusHead`.
    pub fn build(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_slice(&[1, self.channels]);
        out.put_u16_le(self.pre_skip);
        out.put_u32_le(self.input_rate);
        out.put_i16_le(self.gain);
        out.put_u8(self.family);
        out.put_slice(&self.mapping);
        out.freeze()
    }

    /// Writes the content of MP4's `dOps` box.
    pub fn build_dops(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(&[0, self.channels]);
        out.put_u16(self.pre_skip);
        out.put_u32(self.input_rate);
        out.put_i16(self.gain);
        out.put_u8(self.family);
        out.put_slice(&self.mapping);
        out.freeze()
    }

    /// The track: 48 kHz.
    pub fn track(&self, id: u8) -> Track {
        Track {
            id,
            codec: Codec::Opus,
            kind: Kind::Audio { rate: RATE, channels: self.channels },
            timescale: RATE,
            framing: Framing::Raw,
            config: self.build(),
        }
    }
}

/// How long a packet lasts, in samples at 48 kHz, by its first bytes (RFC 6716 §3.1, §3.2): 120 to 5760.
pub fn packet_duration(packet: &[u8]) -> Result<u32, MediaError> {
    const PACKET: &str = "Opus packet";
    let Some(toc) = packet.first() else { return truncated(PACKET) };
    let config = toc >> 3;
    let frame = match config {
        0..12 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => match packet.get(1) {
            Some(count) => u32::from(count & 0x3f),
            None => return truncated(PACKET),
        },
    };
    match frame * frames {
        0 => invalid(PACKET, "no frames"),
        total if total > 5_760 => invalid(PACKET, "longer than 120 ms"),
        total => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (packet, want) in [
            (&[0xfc, 0][..], Some(960)), // CELT, 20 ms, one frame
            (&[0x80], Some(120)),        // CELT, 2.5 ms
            (&[0x19], Some(5_760)),      // SILK, 60 ms, two frames
            (&[0x68], Some(960)),        // hybrid, 20 ms
            (&[0xfb, 0x06], Some(5_760)),
            (&[0xfb, 0x07], None),
            (&[0xfb, 0x40], None),
            (&[0xfb], None),
            (&[], None),
        ] {
            assert_eq!(packet_duration(packet).ok(), want, "{packet:x?}");
        }
    }

    #[test]
    fn known_header() {
        let bytes = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00";
        let head = Head::parse(bytes).unwrap();
        assert_eq!((head.channels, head.pre_skip, head.input_rate), (2, 312, 48_000));
        assert_eq!(head.build(), &bytes[..]);
        assert_eq!(head.build_dops(), &[0, 2, 1, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0][..]);
        assert!(Head::parse(&bytes[..18]).is_err());
        assert!(Head::parse(b"OpusHead\x01\x03\x38\x01\x80\xbb\x00\x00\x00\x00\x00").is_err());
    }

    proptest! {
        #[test]
        fn round_trip(
            channels in 1u8.., pre_skip in any::<u16>(), input_rate in any::<u32>(), gain in any::<i16>(),
            family in any::<u8>(), seed in any::<u8>(),
        ) {
            let family = if channels > 2 { family.max(1) } else { family };
            let mapping = if family == 0 { 0 } else { 2 + usize::from(channels) };
            let mapping = Bytes::from(vec![seed; mapping]);
            let head = Head { channels, pre_skip, input_rate, gain, family, mapping };
            prop_assert_eq!(Head::parse(&head.build()), Ok(head.clone()));
            prop_assert_eq!(Head::parse_dops(&head.build_dops()), Ok(head));
        }
    }
}
