//! H.264 over RTP (RFC 6184): single NAL units, STAP-A, FU-A.

use media::{MediaError, RandomAccess, Track, h264};

use super::assembler::{Assembler, Class, Family};
use super::{Broken, Frame, Packet};

#[derive(Debug)]
pub(crate) struct H264;

impl Family for H264 {
    type Sets = h264::ParameterSets;

    fn class(nal: &[u8]) -> Class {
        match h264::nal_type(nal) {
            // `first_mb_in_slice` is an Exp-Golomb number: zero is a single 1 bit.
            1 | 2 | 5 => Class::Slice { first: nal.get(1).is_some_and(|b| b & 0x80 != 0) },
            h264::SPS | h264::PPS | 13 | 15 => Class::Set,
            h264::SEI | h264::AUD | 14 => Class::Prefix,
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
        h264::access(nals)
    }
}

#[derive(Debug)]
pub(crate) struct Depacketizer(Assembler<H264>);

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
            // STAP-A (§5.7.1)
            [head, rest @ ..] if head & 0x1f == 24 => au.aggregated(rest)?,
            // FU-A (§5.8)
            [indicator, fu, part @ ..] if indicator & 0x1f == 28 => {
                if fu & 0x80 != 0 {
                    au.start(&[indicator & 0xe0 | fu & 0x1f])?;
                }
                au.append(part)?;
                if fu & 0x40 != 0 {
                    au.finish()?;
                }
            }
            [head, ..] if matches!(head & 0x1f, 1..=23) => au.whole(p.payload)?,
            _ => return au.spoil("a packet of an unknown kind"),
        }
        au.packet_end(p, out);
        unfinished.map(|_| ())
    }
}
