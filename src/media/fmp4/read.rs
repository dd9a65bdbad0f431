use bytes::Bytes;

use crate::bits::Cursor;
use crate::boxes::{find, next};
use crate::error::invalid;
use crate::mp4read::decoder;
use crate::{Codec, Framing, Kind, MediaError, RandomAccess, Sample, Track, opus};

const INIT: &str = "MP4 initialisation segment";
const SEGMENT: &str = "MP4 media segment";

/// A media segment that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSegment {
    /// Of `mfhd`.
    pub sequence: u32,
    /// One for each `traf`.
    pub runs: Vec<ReadRun>,
}

/// One track's samples; their offsets count from the start of the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRun {
    /// Track id.
    pub track: u32,
    /// Samples. Sync samples read as [`RandomAccess::Idr`].
    pub samples: Vec<Sample>,
}

/// Reads the tracks of an initialisation segment such as [`init`](super::init) writes: track ids to 255, one sample
/// entry each.
pub fn read_init(data: &[u8]) -> Result<Vec<Track>, MediaError> {
    let mut c = Cursor::new(INIT, find(INIT, data, b"moov")?);
    let mut tracks = vec![];
    while let Some(found) = next(&mut c)? {
        if &found.kind == b"trak" {
            tracks.push(read_track(found.content)?);
        }
    }
    Ok(tracks)
}

fn read_track(trak: &[u8]) -> Result<Track, MediaError> {
    let mut tkhd = Cursor::new(INIT, find(INIT, trak, b"tkhd")?);
    let skip = if tkhd.u32()? >> 24 == 1 { 16 } else { 8 };
    tkhd.take(skip)?;
    let Ok(id) = u8::try_from(tkhd.u32()?) else { return invalid(INIT, "a track id beyond 255") };
    let mdia = find(INIT, trak, b"mdia")?;
    let mut mdhd = Cursor::new(INIT, find(INIT, mdia, b"mdhd")?);
    let skip = if mdhd.u32()? >> 24 == 1 { 16 } else { 8 };
    mdhd.take(skip)?;
    let timescale = mdhd.u32()?;
    let stbl = find(INIT, find(INIT, mdia, b"minf")?, b"stbl")?;
    let mut stsd = Cursor::new(INIT, find(INIT, stbl, b"stsd")?);
    stsd.take(8)?;
    let Some(entry) = next(&mut stsd)? else { return invalid(INIT, "no sample entry") };
    let mut c = Cursor::new(INIT, entry.content);
    c.take(8)?;
    let codec = match &entry.kind {
        b"avc1" => Codec::H264,
        b"hvc1" => Codec::H265,
        b"mp4a" => Codec::Aac,
        b"Opus" => Codec::Opus,
        b"ulaw" => Codec::Pcmu,
        b"alaw" => Codec::Pcma,
        other => Codec::Other(*other),
    };
    let pictures = codec.has_nals() || matches!(codec, Codec::VP8 | Codec::VP9 | Codec::AV1);
    let (kind, framing) = if pictures {
        c.take(16)?;
        let (width, height) = (c.u16()?, c.u16()?);
        c.take(50)?;
        let framing = if codec.has_nals() { Framing::Length(4) } else { Framing::Raw };
        (Kind::Video { width, height }, framing)
    } else {
        c.take(8)?;
        let channels = c.u16()?.min(255) as u8;
        c.take(6)?;
        (Kind::Audio { rate: c.u32()? >> 16, channels }, Framing::Raw)
    };
    let config = match codec {
        Codec::H264 => Bytes::copy_from_slice(find(INIT, c.rest, b"avcC")?),
        Codec::H265 => Bytes::copy_from_slice(find(INIT, c.rest, b"hvcC")?),
        Codec::Aac => Bytes::copy_from_slice(decoder(find(INIT, c.rest, b"esds")?)?.1),
        Codec::Opus => opus::Head::parse_dops(find(INIT, c.rest, b"dOps")?)?.build(),
        Codec::VP9 => Bytes::copy_from_slice(find(INIT, c.rest, b"vpcC")?),
        Codec::AV1 => Bytes::copy_from_slice(find(INIT, c.rest, b"av1C")?),
        _ => Bytes::new(),
    };
    Ok(Track { id, codec, kind, timescale, framing, config })
}

/// Reads a media segment such as [`segment`](super::segment) writes: one `moof` first, offsets from its start, one
/// `trun` in each `traf`.
pub fn read_segment(data: &[u8]) -> Result<ReadSegment, MediaError> {
    let mut top = Cursor::new(SEGMENT, data);
    let Some(moof) = next(&mut top)?.filter(|b| &b.kind == b"moof") else {
        return invalid(SEGMENT, "it does not begin with a moof");
    };
    let mut mfhd = Cursor::new(SEGMENT, find(SEGMENT, moof.content, b"mfhd")?);
    mfhd.take(4)?;
    let mut segment = ReadSegment { sequence: mfhd.u32()?, runs: vec![] };
    let mut c = Cursor::new(SEGMENT, moof.content);
    while let Some(found) = next(&mut c)? {
        if &found.kind == b"traf" {
            segment.runs.push(read_run(found.content, data.len() as u64)?);
        }
    }
    Ok(segment)
}

fn read_run(traf: &[u8], len: u64) -> Result<ReadRun, MediaError> {
    let mut tfhd = Cursor::new(SEGMENT, find(SEGMENT, traf, b"tfhd")?);
    let set = tfhd.u32()?;
    let track = tfhd.u32()?;
    let mut optional = |bit: u32| if set & bit != 0 { tfhd.u32().map(Some) } else { Ok(None) };
    let base = [optional(1)?, optional(1)?]; // base-data-offset, 64 bits
    optional(2)?;
    let (duration, size, flags) = (optional(8)?, optional(0x10)?, optional(0x20)?);
    if base[0].is_some() {
        return Err(MediaError::Unsupported { what: SEGMENT, why: "offsets from elsewhere than its moof" });
    }
    let mut tfdt = Cursor::new(SEGMENT, find(SEGMENT, traf, b"tfdt")?);
    let dts = if tfdt.u32()? >> 24 == 1 { tfdt.u64()? } else { u64::from(tfdt.u32()?) };
    let Ok(mut dts) = i64::try_from(dts) else { return invalid(SEGMENT, "a decode time beyond 63 bits") };
    let mut trun = Cursor::new(SEGMENT, find(SEGMENT, traf, b"trun")?);
    let set = trun.u32()?;
    let count = trun.u32()?;
    let mut offset = if set & 1 != 0 { u64::from(trun.u32()?) } else { 0 };
    let first_flags = if set & 4 != 0 { Some(trun.u32()?) } else { None };
    let each = (set >> 8 & 0xf).count_ones() as usize * 4;
    if count as u64 > len || trun.rest.len() < each.saturating_mul(count as usize) {
        return invalid(SEGMENT, "more samples than it has room for");
    }
    let mut samples = vec![];
    for i in 0..count {
        let mut field = |bit: u32| if set & bit != 0 { trun.u32().map(Some) } else { Ok(None) };
        let duration = field(0x100)?.or(duration).unwrap_or(0);
        let len = field(0x200)?.or(size).unwrap_or(0);
        let own = field(0x400)?.or(first_flags.filter(|_| i == 0)).or(flags).unwrap_or(0);
        let cts = field(0x800)?.unwrap_or(0) as i32;
        samples.push(Sample {
            track: track.min(255) as u8,
            dts,
            pts: dts.saturating_add(i64::from(cts)),
            duration,
            access: if own & 0x1_0000 == 0 { RandomAccess::Idr } else { RandomAccess::None },
            offset,
            len,
        });
        dts = dts.saturating_add(i64::from(duration));
        offset = offset.saturating_add(u64::from(len));
    }
    Ok(ReadRun { track, samples })
}
