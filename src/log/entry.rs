//! What the log knows of one block, wherever its bytes are, and the journal's directory of a frame.
//!
//! Directory, before sealing:
//!
//! ```text
//! arrival zigzag (µs) | shards varint | per shard: uid 16, shard varint, base varint, arrival delta varint
//! then entries to the end: (kind | codec << 4) u8 | slot varint |
//!   0 batch: id delta zigzag | generation | count | sealed length | digest 16
//!   1 large: id delta zigzag | generation | plain length | crc32c u32 | digest 16 | producer start zigzag |
//!            producer length zigzag | segment 16 | extents n, (offset, length)* | index length, bytes
//!   2 open:  parents n, parents*
//!   3 close
//!   4 trim:  before
//! ```
//!
//! Positions are implied: a shard's entries follow each other from its base. Batches' bytes follow the directory in the
//! order of their entries.

use std::sync::Arc;

use bytes::Bytes;
use seal::{Block, Salt};
use world::{ShardId, StreamUid, Timestamp};

use crate::{
    MAX_INDEX,
    codec::{Malformed, Put, Reader, varint_len},
};

/// A segment's id: 48 bits of milliseconds, 80 random bits, so that ids rise with time.
pub(crate) type SegmentId = [u8; 16];

/// One start of a writer: blocks name it by being in a file whose header or footer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    pub epoch: u64,
    pub salt: Salt,
}

/// How a block was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub writer: Arc<Writer>,
    pub generation: u32,
    pub id: u64,
    /// 0: as it is.
    pub codec: u8,
    /// The tag of a block of one chunk; else the first half of SHA-256 over its tags.
    pub digest: [u8; 16],
}

impl Sealed {
    pub fn block(&self, shard: ShardId) -> Block {
        Block { shard, epoch: self.writer.epoch, id: self.id }
    }
}

/// A batch of records as one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub first: u64,
    pub count: u32,
    pub arrival: Timestamp,
    pub sealed: Sealed,
    /// In the file that names it.
    pub offset: u64,
    pub len: u32,
    /// Of the sealed bytes; known once it is in a segment (the frame's covers it before).
    pub crc: u32,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub offset: u64,
    pub len: u64,
}

/// A large payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Large {
    pub position: u64,
    pub arrival: Timestamp,
    pub producer: (Timestamp, Timestamp),
    /// Plain.
    pub len: u64,
    pub index: Bytes,
    pub sealed: Sealed,
    pub segment: SegmentId,
    /// Where its chunks are, in order; a chunk is never split.
    pub extents: Vec<Extent>,
    pub crc: u32,
}

impl Large {
    pub fn sealed_bytes(&self) -> u64 {
        self.extents.iter().map(|e| e.len).sum()
    }
    /// What it weighs in memory.
    pub fn weight(&self) -> usize {
        size_of::<Large>() + self.index.len() + self.extents.len() * size_of::<Extent>()
    }
}

/// One entry of a segment's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Batch(Batch),
    Large(Arc<Large>),
}

impl Entry {
    pub fn first(&self) -> u64 {
        match self {
            Entry::Batch(b) => b.first,
            Entry::Large(l) => l.position,
        }
    }
    pub fn end(&self) -> u64 {
        match self {
            Entry::Batch(b) => b.first + u64::from(b.count),
            Entry::Large(l) => l.position + 1,
        }
    }
    pub fn arrival(&self) -> Timestamp {
        match self {
            Entry::Batch(b) => b.arrival,
            Entry::Large(l) => l.arrival,
        }
    }
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Batch(Batch),
    Large(Arc<Large>),
    Open {
        parents: Vec<u32>,
    },
    /// With the position that the next record would have had.
    Close {
        end: u64,
    },
    Trim {
        before: u64,
    },
}

/// A shard's line in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub shard: ShardId,
    pub base: u64,
    pub arrival: Timestamp,
}

/// A frame's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub arrival: Timestamp,
    pub slots: Vec<Slot>,
    /// (slot, event), in order.
    pub events: Vec<(u32, Event)>,
}

const BATCH: u8 = 0;
const LARGE: u8 = 1;
const OPEN: u8 = 2;
const CLOSE: u8 = 3;
const TRIM: u8 = 4;

/// Encodes entries as they are assigned; the slots are added at the end, in front.
#[derive(Default)]
pub(crate) struct DirectoryWriter {
    entries: Vec<u8>,
    last_id: u64,
}

impl DirectoryWriter {
    pub fn clear(&mut self) {
        self.entries.clear();
        self.last_id = 0;
    }
    fn head(&mut self, kind: u8, codec: u8, slot: u32) {
        self.entries.push(kind | codec << 4);
        self.entries.put_varint(slot.into());
    }
    fn id(&mut self, id: u64) {
        self.entries.put_zigzag(id.wrapping_sub(self.last_id) as i64);
        self.last_id = id;
    }
    #[allow(clippy::too_many_arguments, reason = "the fields of the entry, in their order")]
    pub fn batch(
        &mut self,
        slot: u32,
        codec: u8,
        id: u64,
        generation: u32,
        count: u32,
        len: u32,
        digest: &[u8; 16],
    ) {
        self.head(BATCH, codec, slot);
        self.id(id);
        self.entries.put_varint(generation.into());
        self.entries.put_varint(count.into());
        self.entries.put_varint(len.into());
        self.entries.extend_from_slice(digest);
    }
    pub fn large(&mut self, slot: u32, l: &Large) {
        self.head(LARGE, l.sealed.codec, slot);
        self.id(l.sealed.id);
        self.entries.put_varint(l.sealed.generation.into());
        put_large(&mut self.entries, l);
        self.entries.extend_from_slice(&l.segment);
    }
    pub fn open(&mut self, slot: u32, parents: &[u32]) {
        self.head(OPEN, 0, slot);
        self.entries.put_varint(parents.len() as u64);
        parents.iter().for_each(|p| self.entries.put_varint((*p).into()));
    }
    pub fn close(&mut self, slot: u32) {
        self.head(CLOSE, 0, slot);
    }
    pub fn trim(&mut self, slot: u32, before: u64) {
        self.head(TRIM, 0, slot);
        self.entries.put_varint(before);
    }
    /// The plain directory, appended to `out`.
    pub fn finish(&self, arrival: Timestamp, slots: &[Slot], out: &mut Vec<u8>) {
        out.put_zigzag(arrival.0);
        out.put_varint(slots.len() as u64);
        for s in slots {
            out.extend_from_slice(&s.shard.stream.0);
            out.put_varint(s.shard.shard.into());
            out.put_varint(s.base);
            out.put_varint(s.arrival.0.wrapping_sub(arrival.0) as u64);
        }
        out.extend_from_slice(&self.entries);
    }
}

/// The part of a large payload that the journal and a segment's index write alike.
pub(crate) fn put_large(out: &mut Vec<u8>, l: &Large) {
    out.put_varint(l.len);
    out.put_u32(l.crc);
    out.extend_from_slice(&l.sealed.digest);
    out.put_zigzag(l.producer.0.0);
    out.put_zigzag(l.producer.1.0.wrapping_sub(l.producer.0.0));
    out.put_varint(l.extents.len() as u64);
    for e in &l.extents {
        out.put_varint(e.offset);
        out.put_varint(e.len);
    }
    out.put_varint(l.index.len() as u64);
    out.extend_from_slice(&l.index);
}

/// The inverse of [`put_large`]; position, arrival, segment and how it was sealed (but the digest) are the caller's.
pub(crate) fn get_large(r: &mut Reader<'_>, mut l: Large) -> Result<Large, Malformed> {
    l.len = r.varint()?;
    l.crc = r.u32()?;
    l.sealed.digest = r.array()?;
    let start = r.zigzag()?;
    l.producer = (Timestamp(start), Timestamp(start.wrapping_add(r.zigzag()?)));
    let n = r.count(2)?;
    for _ in 0..n {
        let (offset, len) = (r.varint()?, r.varint()?);
        offset.checked_add(len).ok_or(Malformed("an extent is too long"))?;
        l.extents.push(Extent { offset, len });
    }
    let total = l.extents.iter().try_fold(0u64, |a, e| a.checked_add(e.len));
    if l.len > 1 << 48 || total != Some(seal::sealed_len(l.len)) {
        return Err(Malformed("extents do not add up"));
    }
    let n = r.count(1)?;
    if n > MAX_INDEX {
        return Err(Malformed("an index entry is too long"));
    }
    l.index = Bytes::copy_from_slice(r.bytes(n)?);
    Ok(l)
}

/// An otherwise empty payload for [`get_large`] to fill.
pub(crate) fn blank_large(position: u64, arrival: Timestamp, sealed: Sealed) -> Large {
    Large {
        position,
        arrival,
        producer: (Timestamp(0), Timestamp(0)),
        len: 0,
        index: Bytes::new(),
        sealed,
        segment: [0; 16],
        extents: Vec::new(),
        crc: 0,
    }
}

impl Directory {
    /// Parses a plain directory. `body` is where the first batch's bytes begin, `body_len` how many there are.
    pub fn parse(
        plain: &[u8],
        writer: &Arc<Writer>,
        body: u64,
        body_len: u64,
    ) -> Result<Directory, Malformed> {
        let mut r = Reader::new(plain);
        let arrival = Timestamp(r.zigzag()?);
        let n = r.count(19)?;
        let mut slots = Vec::with_capacity(n);
        for _ in 0..n {
            let shard = ShardId { stream: StreamUid(r.array()?), shard: r.varint32()? };
            let base = r.varint()?;
            slots.push(Slot { shard, base, arrival: Timestamp(arrival.0.wrapping_add(r.varint()? as i64)) });
        }
        let mut next: Vec<u64> = slots.iter().map(|s| s.base).collect();
        let mut events = Vec::new();
        let (mut id, mut offset) = (0u64, body);
        while !r.is_empty() {
            let tag = r.u8()?;
            let (kind, codec) = (tag & 0xf, tag >> 4);
            let slot = r.varint32()?;
            let s = slots.get(slot as usize).ok_or(Malformed("an entry names no shard"))?;
            let position = next[slot as usize];
            let mut take = |count: u64| {
                next[slot as usize] = position.checked_add(count).ok_or(Malformed("positions overflow"))?;
                Ok(())
            };
            let mut sealed = |r: &mut Reader<'_>| {
                id = id.wrapping_add(r.zigzag()? as u64);
                let generation = r.varint32()?;
                Ok::<_, Malformed>(Sealed { writer: writer.clone(), generation, id, codec, digest: [0; 16] })
            };
            let event = match kind {
                BATCH => {
                    let mut sealed = sealed(&mut r)?;
                    let (count, len) = (r.varint32()?, r.varint32()?);
                    sealed.digest = r.array()?;
                    take(count.into())?;
                    let at = offset;
                    offset += u64::from(len);
                    if count == 0 || offset - body > body_len {
                        return Err(Malformed("a batch is not within its frame"));
                    }
                    Event::Batch(Batch {
                        first: position,
                        count,
                        arrival: s.arrival,
                        sealed,
                        offset: at,
                        len,
                        crc: 0,
                    })
                }
                LARGE => {
                    let sealed = sealed(&mut r)?;
                    let mut l = get_large(&mut r, blank_large(position, s.arrival, sealed))?;
                    l.segment = r.array()?;
                    take(1)?;
                    Event::Large(Arc::new(l))
                }
                OPEN => {
                    let n = r.count(1)?;
                    Event::Open { parents: (0..n).map(|_| r.varint32()).collect::<Result<_, _>>()? }
                }
                CLOSE => Event::Close { end: position },
                TRIM => Event::Trim { before: r.varint()? },
                _ => return Err(Malformed("an entry of a kind that is not known here")),
            };
            events.push((slot, event));
        }
        Ok(Directory { arrival, slots, events })
    }

    /// About how much memory it takes.
    pub fn weight(&self) -> usize {
        self.slots.len() * size_of::<Slot>() + self.events.len() * size_of::<(u32, Event)>()
    }
}

/// The plain bytes of a batch: each record's length as a varint, then its bytes.
pub(crate) fn encode_records(records: &[Bytes], out: &mut Vec<u8>) {
    for r in records {
        out.put_varint(r.len() as u64);
        out.extend_from_slice(r);
    }
}

/// How long [`encode_records`] makes them.
pub(crate) fn records_len(records: &[Bytes]) -> usize {
    records.iter().map(|r| varint_len(r.len() as u64) + r.len()).sum()
}

/// The inverse of [`encode_records`], without copying; yields each record in turn.
pub(crate) fn decode_records(plain: &Bytes) -> impl Iterator<Item = Result<Bytes, Malformed>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == plain.len() {
            return None;
        }
        let mut r = Reader::new(&plain[at..]);
        Some(match r.varint().and_then(|n| usize::try_from(n).map_err(|_| Malformed("too long"))) {
            Ok(n) if n <= r.remaining() => {
                let from = plain.len() - r.remaining();
                at = from + n;
                Ok(plain.slice(from..at))
            }
            _ => {
                at = plain.len();
                Err(Malformed("a record is longer than its block"))
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn writer() -> Arc<Writer> {
        Arc::new(Writer { epoch: 3, salt: [9; 32] })
    }

    fn event() -> impl Strategy<Value = Event> {
        let sealed = (any::<u32>(), any::<u64>(), 0u8..16, any::<[u8; 16]>()).prop_map(
            |(generation, id, codec, digest)| Sealed { writer: writer(), generation, id, codec, digest },
        );
        let batch = (sealed.clone(), 1u32..100, 16u32..5000).prop_map(|(sealed, count, len)| {
            Event::Batch(Batch { first: 0, count, arrival: Timestamp(0), sealed, offset: 0, len, crc: 0 })
        });
        let large =
            (sealed, 0u64..2_000_000, any::<(i64, i64)>(), any::<[u8; 16]>(), 0u64..1 << 40, any::<u32>())
                .prop_map(|(sealed, len, p, segment, offset, crc)| {
                    Event::Large(Arc::new(Large {
                        producer: (Timestamp(p.0), Timestamp(p.1)),
                        len,
                        index: Bytes::copy_from_slice(&segment[..3]),
                        segment,
                        extents: vec![Extent { offset, len: seal::sealed_len(len) }],
                        crc,
                        ..blank_large(0, Timestamp(0), sealed)
                    }))
                });
        prop_oneof![
            4 => batch,
            2 => large,
            1 => proptest::collection::vec(any::<u32>(), 0..3).prop_map(|parents| Event::Open { parents }),
            1 => Just(Event::Close { end: 0 }),
            1 => any::<u64>().prop_map(|before| Event::Trim { before }),
        ]
    }

    proptest! {
        #![proptest_config(crate::testing::cases(256))]
        #[test]
        fn directories_come_back(
            base in proptest::collection::vec((any::<[u8; 16]>(), any::<u32>(), 0u64..1 << 60, 0i64..1 << 40), 1..5),
            events in proptest::collection::vec((any::<prop::sample::Index>(), event()), 0..30),
            arrival in -(1i64 << 50)..1 << 50,
            cut in any::<prop::sample::Index>(),
        ) {
            let slots: Vec<Slot> = base.iter().map(|(u, s, b, d)| Slot {
                shard: ShardId { stream: StreamUid(*u), shard: *s }, base: *b, arrival: Timestamp(arrival + d),
            }).collect();
            let mut w = DirectoryWriter::default();
            let mut next: Vec<u64> = slots.iter().map(|s| s.base).collect();
            let mut want = Vec::new();
            let mut offset = 1000;
            for (i, e) in events {
                let slot = i.index(slots.len());
                let e = match e {
                    Event::Batch(b) => {
                        w.batch(slot as u32, b.sealed.codec, b.sealed.id, b.sealed.generation, b.count, b.len, &b.sealed.digest);
                        let b = Batch { first: next[slot], arrival: slots[slot].arrival, offset, ..b };
                        offset += u64::from(b.len);
                        next[slot] += u64::from(b.count);
                        Event::Batch(b)
                    }
                    Event::Large(l) => {
                        w.large(slot as u32, &l);
                        let l = Large { position: next[slot], arrival: slots[slot].arrival, ..(*l).clone() };
                        next[slot] += 1;
                        Event::Large(Arc::new(l))
                    }
                    Event::Open { parents } => { w.open(slot as u32, &parents); Event::Open { parents } }
                    Event::Close { .. } => { w.close(slot as u32); Event::Close { end: next[slot] } }
                    Event::Trim { before } => { w.trim(slot as u32, before); Event::Trim { before } }
                };
                want.push((slot as u32, e));
            }
            let mut plain = Vec::new();
            w.finish(Timestamp(arrival), &slots, &mut plain);
            let body = offset - 1000;
            let got = Directory::parse(&plain, &writer(), 1000, body).unwrap();
            prop_assert_eq!(&got.events, &want);
            prop_assert_eq!(&got.slots, &slots);
            // A shorter body, and any prefix, is an error or a shorter directory, never a panic.
            if body > 0 {
                prop_assert!(Directory::parse(&plain, &writer(), 1000, body - 1).is_err());
            }
            let _ = Directory::parse(&plain[..cut.index(plain.len())], &writer(), 1000, body);
        }

        #[test]
        fn any_directory_is_survived(b in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Directory::parse(&b, &writer(), 0, 1 << 20);
        }

        #[test]
        fn records_come_back(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20)) {
            let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
            let mut b = Vec::new();
            encode_records(&records, &mut b);
            prop_assert_eq!(b.len(), records_len(&records));
            let b = Bytes::from(b);
            prop_assert_eq!(&decode_records(&b).collect::<Result<Vec<_>, _>>().unwrap(), &records);
            let cut = b.slice(..b.len() - 1);
            prop_assert!(decode_records(&cut).any(|r| r.is_err()) || decode_records(&cut).count() == records.len() - 1);
        }
    }
}
