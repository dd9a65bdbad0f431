//! H.265 over RTP (RFC 7798): single NAL units, aggregation packets, fragmentation units; without decoding order
//! numbers (`sprop-max-don-diff` 0).

use media::{MediaError, RandomAccess, Track, h265};

use super::assembler::{Assembler, Class, Family};
use super::{Broken, Frame, Packet};

#[derive(Debug)]
pub(crate) struct H265;

impl Family for H265 {
    type Sets = h265::ParameterSets;

    fn class(nal: &[u8]) -> Class {
        match h265::nal_type(nal) {
            // `first_slice_segment_in_pic_flag` is the first bit after the header.
            0..=31 => Class::Slice { first: nal.get(2).is_some_and(|b| b & 0x80 != 0) },
            32..=34 => Class::Set,
            // Delimiter, prefix SEI, reserved and unspecified ones of which the same is said (ITU-T H.265 §7.4.2.4.4).
            35 | 39 | 41..=44 | 48..=55 => Class::Prefix,
            _ => Class::Other,
        }
    }

    fn update(sets: &mut Self::Sets, nal: &[u8]) -> bool {
        sets.update(nal)
    }

    fn track(sets: &Self::Sets, id: u8) -> Option<Result<Track, MediaError>> {
        Some(sets.track(id)?.map(|t| (*t).clone()))
    }

    fn access(nals: &[&[u8]]) -> RandomAccess {
        h265::access(nals)
    }
}

#[derive(Debug)]
pub(crate) struct Depacketizer(Assembler<H265>);

impl Depacketizer {
    pub(crate) fn new(sets: &[Vec<u8>]) -> Self {
        Depacketizer(Assembler::new(sets))
    }

    pub(crate) fn track(&self, id: u8) -> Option<Track> {
        self.0.track(id)
    }

    pub(crate) fn end(&mut self, out: &mut Vec<Frame>) {
        self.0.end(out);
    }

    pub(crate) fn push(&mut self, p: &Packet<'_>, lost: bool, out: &mut Vec<Frame>) -> Result<(), Broken> {
        let au = &mut self.0;
        let unfinished = au.packet(p, lost, out);
        if matches!(unfinished, Ok(false)) {
            return Ok(());
        }
        match p.payload {
            [] => {}
            // Aggregation packet (§4.4.2)
            [head, _, rest @ ..] if head >> 1 & 0x3f == 48 => au.aggregated(rest)?,
            // Fragmentation unit (§4.4.3)
            [head, layer, fu, part @ ..] if head >> 1 & 0x3f == 49 => {
                if fu & 0x80 != 0 {
                    au.start(&[head & 0x81 | (fu & 0x3f) << 1, *layer])?;
                }
                au.append(part)?;
                if fu & 0x40 != 0 {
                    au.finish()?;
                }
            }
            [head, _, ..] if head >> 1 & 0x3f < 48 => au.whole(p.payload)?,
            _ => return au.spoil("a packet of an unknown kind"),
        }
        au.packet_end(p, out);
        unfinished.map(|_| ())
    }
}
