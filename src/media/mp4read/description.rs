use bytes::Bytes;

use super::WHAT;
use crate::bits::Cursor;
use crate::boxes::Box;
use crate::error::{invalid, truncated};
use crate::{Codec, Framing, Kind, MediaError, aac, h264, h265, opus};

/// What a sample entry says, before it has a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub codec: Codec,
    pub kind: Kind,
    pub framing: Framing,
    pub config: Bytes,
}

/// The boxes within `content`, as far as they are whole: what follows the last one is left aside.
pub(super) fn boxes(content: &[u8]) -> impl Iterator<Item = Box<'_>> {
    let mut c = Cursor::new(WHAT, content);
    std::iter::from_fn(move || crate::boxes::next(&mut c).ok().flatten())
}

pub(super) fn find<'a>(content: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(content).find(|b| b.kind == *kind).map(|b| b.content)
}

/// Reads a sample entry of a track of pictures or of sound.
pub(super) fn read(entry: &Box, video: bool) -> Result<Described, MediaError> {
    let mut c = Cursor::new(WHAT, entry.content);
    c.take(8)?;
    if video { pictures(entry.kind, c) } else { sound(entry.kind, c) }
}

fn pictures(kind: [u8; 4], mut c: Cursor) -> Result<Described, MediaError> {
    c.take(16)?;
    let (width, height) = (c.u16()?, c.u16()?);
    c.take(50)?;
    let mut size = (width, height);
    let nal = |config: &[u8], length: u8| (Framing::Length(length), Bytes::copy_from_slice(config));
    let (codec, (framing, config)) = match &kind {
        b"avc1" | b"avc2" | b"avc3" | b"avc4" | b"dva1" | b"dvav" => {
            let record = must(c.rest, b"avcC")?;
            let length = h264::Config::parse(record)?.length_size;
            if let Some(sps) = h264::ParameterSets::from_config(record)?.sps() {
                size = (sps.width, sps.height);
            }
            (Codec::H264, nal(record, length))
        }
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => {
            let record = must(c.rest, b"hvcC")?;
            let length = h265::Config::parse(record)?.length_size;
            if let Some(sps) = h265::ParameterSets::from_config(record)?.sps() {
                size = (sps.width, sps.height);
            }
            (Codec::H265, nal(record, length))
        }
        b"vp08" | b"vp09" => {
            let config = if kind == *b"vp09" { find(c.rest, b"vpcC").unwrap_or_default() } else { &[] };
            (Codec::Other(kind), (Framing::Raw, Bytes::copy_from_slice(config)))
        }
        b"av01" => (Codec::AV1, (Framing::Raw, Bytes::copy_from_slice(must(c.rest, b"av1C")?))),
        _ => (Codec::Other(kind), (Framing::Raw, Bytes::new())),
    };
    let kind = Kind::Video { width: size.0, height: size.1 };
    Ok(Described { codec, kind, framing, config })
}

fn sound(kind: [u8; 4], mut c: Cursor) -> Result<Described, MediaError> {
    let version = c.u16()?;
    c.take(6)?;
    let mut channels = u32::from(c.u16()?);
    c.take(6)?;
    let mut rate = c.u32()? >> 16;
    // QuickTime's longer forms (QuickTime File Format, "Sound sample descriptions"). In MP4 a version of 1 stands
    // for something else and adds nothing: then what follows is a box at once.
    let boxed_at = |skip: usize| {
        let rest = c.rest.get(skip..).unwrap_or(&[]);
        rest.is_empty()
            || rest.get(4..8).is_some_and(|k| k.iter().all(|b| b.is_ascii_alphanumeric() || *b == b' '))
    };
    match version {
        1 if c.rest.len() >= 16 && boxed_at(16) => {
            c.take(16)?;
        }
        2 => {
            c.take(4)?;
            let exact = f64::from_bits(c.u64()?);
            rate = if (1.0..4e9).contains(&exact) { exact as u32 } else { rate };
            channels = c.u32()?;
            c.take(20)?;
        }
        _ => {}
    }
    let mut channels = u8::try_from(channels).unwrap_or(u8::MAX);
    let raw = |codec| (codec, Bytes::new());
    let (codec, config) = match &kind {
        b"mp4a" => {
            // QuickTime keeps it one box deeper.
            let esds = find(c.rest, b"esds").or_else(|| find(find(c.rest, b"wave")?, b"esds"));
            let Some(esds) = esds else { return invalid(WHAT, "MPEG-4 sound without its descriptor") };
            match decoder(esds)? {
                (0x40 | 0x66..=0x68, config) => {
                    if let Ok(asc) = aac::Asc::parse(config) {
                        (rate, channels) = (asc.output_rate(), asc.output_channels());
                    }
                    (Codec::Aac, Bytes::copy_from_slice(config))
                }
                (0x69 | 0x6b, _) => raw(Codec::Other(*b".mp3")),
                _ => raw(Codec::Other(kind)),
            }
        }
        b"Opus" => {
            let head = opus::Head::parse_dops(must(c.rest, b"dOps")?)?;
            (rate, channels) = (opus::RATE, head.channels);
            (Codec::Opus, head.build())
        }
        b"ulaw" => raw(Codec::Pcmu),
        b"alaw" => raw(Codec::Pcma),
        _ => raw(Codec::Other(kind)),
    };
    Ok(Described { codec, kind: Kind::Audio { rate, channels }, framing: Framing::Raw, config })
}

fn must<'a>(content: &'a [u8], kind: &[u8; 4]) -> Result<&'a [u8], MediaError> {
    match find(content, kind) {
        Some(found) => Ok(found),
        None => invalid(WHAT, "a sample description without its decoder's configuration"),
    }
}

/// Object type and `DecoderSpecificInfo` of an `esds` (ISO/IEC 14496-1 §7.2.6).
pub(crate) fn decoder(esds: &[u8]) -> Result<(u8, &[u8]), MediaError> {
    let mut c = Cursor::new(WHAT, esds);
    c.take(4)?;
    let mut object_type = 0;
    loop {
        let tag = c.u8()?;
        let mut len = 0usize;
        for _ in 0..4 {
            let b = c.u8()?;
            len = len << 7 | usize::from(b & 0x7f);
            if b < 0x80 {
                break;
            }
        }
        let mut content = Cursor::new(WHAT, c.take(len.min(c.rest.len()))?);
        match tag {
            3 => {
                content.take(2)?;
                let flags = content.u8()?;
                if flags & 0x80 != 0 {
                    content.take(2)?;
                }
                if flags & 0x40 != 0 {
                    let len = content.u8()?;
                    content.take(usize::from(len))?;
                }
                if flags & 0x20 != 0 {
                    content.take(2)?;
                }
                c = content;
            }
            4 => {
                object_type = content.u8()?;
                content.take(12)?;
                if content.rest.is_empty() {
                    return Ok((object_type, &[]));
                }
                c = content;
            }
            5 => return Ok((object_type, content.rest)),
            _ if c.rest.is_empty() => return truncated(WHAT),
            _ => {}
        }
    }
}
