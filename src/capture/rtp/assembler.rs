//! Gathers the NAL units of an access unit: what H.264 and H.265 have in common over RTP.
//!
//! An access unit ends with the marker bit or when the timestamp changes. Cameras get both wrong, so neither ends one
//! that has no picture in it yet, or one whose last NAL unit can only begin the next (parameter sets, prefix SEI).
//! With packets missing, the access units that they belonged to are dropped whole: half a picture helps nobody, and
//! what is handed over is what was sent.

use std::marker::PhantomData;
use std::ops::Range;

use bytes::Bytes;
use media::{MediaError, RandomAccess, Track};

use super::{Broken, Frame, MAX_UNIT, Packet};

const MAX_NALS: usize = 4096;

/// What a NAL unit is for, as far as finding access units needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A slice; whether it begins a picture.
    Slice { first: bool },
    /// A parameter set.
    Set,
    /// Something else that comes before a picture's first slice.
    Prefix,
    /// Anything else.
    Other,
}

/// One of the two codecs.
pub(super) trait Family {
    /// Its parameter sets.
    type Sets: std::fmt::Debug + Default;
    fn class(nal: &[u8]) -> Class;
    fn update(sets: &mut Self::Sets, nal: &[u8]) -> bool;
    fn track(sets: &Self::Sets, id: u8) -> Option<Result<Track, MediaError>>;
    fn access(nals: &[&[u8]]) -> RandomAccess;
}

#[derive(Debug)]
pub(super) struct Assembler<F: Family> {
    sets: F::Sets,
    /// NAL units, each behind four bytes of length; the allocation is kept.
    buf: Vec<u8>,
    /// Where they lie in `buf`, lengths not included.
    nals: Vec<Range<usize>>,
    /// Where the unfinished one starts.
    open: Option<usize>,
    timestamp: u32,
    picture: bool,
    /// Whether the last NAL unit may end an access unit.
    may_end: bool,
    /// Packets before this access unit are missing: it is only good if it begins with a first slice.
    suspect: bool,
    /// The access unit of this timestamp is beyond repair.
    skip: Option<u32>,
    /// Timestamp of the last one handed over by its marker.
    marked: Option<u32>,
    /// The sender sets the marker within access units.
    distrust: bool,
    family: PhantomData<F>,
}

impl<F: Family> Assembler<F> {
    pub(super) fn new(sets: &[Vec<u8>]) -> Self {
        let mut known = F::Sets::default();
        for nal in sets {
            F::update(&mut known, nal);
        }
        Assembler {
            sets: known,
            buf: Vec::new(),
            nals: Vec::new(),
            open: None,
            timestamp: 0,
            picture: false,
            may_end: false,
            // A session may begin in the middle of one.
            suspect: true,
            skip: None,
            marked: None,
            distrust: false,
            family: PhantomData,
        }
    }

    pub(super) fn track(&self, id: u8) -> Option<Track> {
        F::track(&self.sets, id)?.ok()
    }

    /// Begins a packet. False if it belongs to what is beyond repair.
    pub(super) fn packet(
        &mut self,
        p: &Packet<'_>,
        lost: bool,
        out: &mut Vec<Frame>,
    ) -> Result<bool, Broken> {
        let mut result = Ok(());
        if lost {
            if !self.nals.is_empty() || self.open.is_some() {
                self.discard();
                if self.timestamp == p.timestamp {
                    self.skip = Some(p.timestamp);
                }
            }
            self.suspect = true;
        }
        if self.skip.is_some_and(|t| t != p.timestamp) {
            self.skip = None;
        }
        if self.skip.is_some() {
            return Ok(false);
        }
        if p.timestamp != self.timestamp {
            if self.open.is_some() {
                self.discard();
                self.suspect = true;
                result = Err(Broken("a timestamp changed within a NAL unit"));
            } else if self.picture {
                self.emit(out);
            }
        }
        self.timestamp = p.timestamp;
        result.map(|()| true)
    }

    /// Ends a packet.
    pub(super) fn packet_end(&mut self, p: &Packet<'_>, out: &mut Vec<Frame>) {
        if p.marker && !self.distrust && self.open.is_none() && self.picture && self.may_end {
            self.emit(out);
            self.marked = Some(p.timestamp);
        }
    }

    /// What was gathered of this access unit is dropped, and so is what is still to come.
    pub(super) fn spoil<T>(&mut self, why: &'static str) -> Result<T, Broken> {
        self.discard();
        self.skip = Some(self.timestamp);
        Err(Broken(why))
    }

    /// One NAL unit, whole.
    pub(super) fn whole(&mut self, nal: &[u8]) -> Result<(), Broken> {
        if self.open.is_some() {
            return self.spoil("a fragmented NAL unit was not finished");
        }
        if nal.is_empty() {
            return Ok(());
        }
        self.start(&[])?;
        self.append(nal)?;
        self.finish()
    }

    /// NAL units in one packet, whole, each behind its length in two bytes.
    pub(super) fn aggregated(&mut self, mut rest: &[u8]) -> Result<(), Broken> {
        while let [a, b, more @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*a, *b]));
            let Some((nal, more)) = more.split_at_checked(len) else {
                return self.spoil("an aggregation packet ends within a NAL unit");
            };
            self.whole(nal)?;
            rest = more;
        }
        Ok(())
    }

    /// A NAL unit that comes in fragments begins with these bytes.
    pub(super) fn start(&mut self, head: &[u8]) -> Result<(), Broken> {
        if self.open.is_some() {
            return self.spoil("a fragmented NAL unit was not finished");
        }
        if self.nals.len() >= MAX_NALS {
            return self.spoil("too many NAL units in an access unit");
        }
        self.buf.extend_from_slice(&[0; 4]);
        self.open = Some(self.buf.len());
        self.append(head)
    }

    /// More of it.
    pub(super) fn append(&mut self, part: &[u8]) -> Result<(), Broken> {
        if self.open.is_none() {
            // Its start was lost, which is no news; or the sender never sent one.
            return match self.suspect {
                true => {
                    self.discard();
                    self.skip = Some(self.timestamp);
                    Ok(())
                }
                false => self.spoil("a fragment of a NAL unit without its start"),
            };
        }
        if self.buf.len() + part.len() > MAX_UNIT {
            return self.spoil("an access unit beyond 16 MiB");
        }
        self.buf.extend_from_slice(part);
        Ok(())
    }

    /// It is whole.
    pub(super) fn finish(&mut self) -> Result<(), Broken> {
        let Some(start) = self.open.take() else { return Ok(()) };
        let end = self.buf.len();
        let class = F::class(&self.buf[start..end]);
        // Some senders put several NAL units into one, with start codes between them. No NAL unit holds a start code,
        // so this is certain; only the small ones that come first are searched.
        if matches!(class, Class::Set | Class::Prefix)
            && let Some(at) = start_code(&self.buf[start..end])
        {
            return self.split(start, at);
        }
        self.close(start, end, class);
        Ok(())
    }

    fn close(&mut self, start: usize, end: usize, class: Class) {
        let len = u32::try_from(end - start).unwrap_or(u32::MAX).to_be_bytes();
        self.buf[start - 4..start].copy_from_slice(&len);
        if let Class::Slice { first } = class {
            if !self.picture && !first {
                if self.marked == Some(self.timestamp) {
                    self.distrust = true;
                } else if self.suspect {
                    self.discard();
                    self.skip = Some(self.timestamp);
                    return;
                }
            }
            self.picture = true;
        }
        self.may_end = matches!(class, Class::Slice { .. } | Class::Other);
        self.nals.push(start..end);
    }

    fn split(&mut self, start: usize, first: usize) -> Result<(), Broken> {
        let all = self.buf.split_off(start);
        self.buf.truncate(start - 4);
        let mut rest = &all[..];
        let mut next = Some(first);
        while !rest.is_empty() {
            let (nal, after) = match next {
                Some(at) => (&rest[..at], &rest[at + 3..]),
                None => (rest, &[][..]),
            };
            let nal = &nal[..nal.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1)];
            if !nal.is_empty() {
                if self.nals.len() >= MAX_NALS || self.buf.len() + nal.len() + 4 > MAX_UNIT {
                    return self.spoil("too many NAL units in an access unit");
                }
                self.buf.extend_from_slice(&[0; 4]);
                let start = self.buf.len();
                self.buf.extend_from_slice(nal);
                self.close(start, self.buf.len(), F::class(nal));
                if self.skip.is_some() {
                    return Ok(());
                }
            }
            rest = after;
            next = start_code(rest);
        }
        Ok(())
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, out: &mut Vec<Frame>) {
        if self.picture && self.open.is_none() {
            self.emit(out);
        }
        self.discard();
    }

    fn emit(&mut self, out: &mut Vec<Frame>) {
        let nals: Vec<&[u8]> = self.nals.iter().map(|r| &self.buf[r.clone()]).collect();
        let mut changed = false;
        for nal in &nals {
            if F::class(nal) == Class::Set {
                changed |= F::update(&mut self.sets, nal);
            }
        }
        out.push(Frame {
            timestamp: self.timestamp,
            access: F::access(&nals),
            data: Bytes::copy_from_slice(&self.buf),
            duration: None,
            changed,
        });
        self.marked = None;
        self.suspect = false;
        self.discard();
    }

    fn discard(&mut self) {
        // One huge access unit must not keep its memory for ever.
        if self.buf.capacity() > 1 << 20 && self.buf.len() < self.buf.capacity() / 8 {
            self.buf.shrink_to(1 << 18);
        }
        self.buf.clear();
        self.nals.clear();
        self.open = None;
        self.picture = false;
        self.may_end = false;
    }
}

/// Where `00 00 01` begins.
fn start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|w| w == [0, 0, 1])
}
