//! Segment files: blocks, then an index in sealed pages, a sealed root that lists runs and pages, a trailer.
//! `docs/formats/segment.md` is the layout, byte for byte.

use std::{io, sync::Arc};

use seal::{Block, BlockKey, DataKey, Salt};
use world::{DiskFile, ShardId, StreamUid, Timestamp};

use crate::{
    codec::{Malformed, Put, Reader},
    entry::{Batch, Entry, Sealed, SegmentId, Writer, blank_large, get_large},
    journal::JOURNAL,
};

mod writing;

pub(crate) use writing::IndexWriter;

const MAGIC: &[u8; 8] = b"rushess\0";
const TRAILER_MAGIC: &[u8; 8] = b"rushesf\0";
const VERSION: u32 = 1;
/// Bytes before the first block.
pub(crate) const HEADER: u64 = 64;
/// Bytes of the trailer.
pub(crate) const TRAILER: u64 = 96;

pub(crate) fn header(id: &SegmentId, created: Timestamp) -> Vec<u8> {
    let mut b = Vec::with_capacity(HEADER as usize);
    b.extend_from_slice(MAGIC);
    b.put_u32(VERSION);
    b.put_u32(0);
    b.extend_from_slice(id);
    b.put_u64(created.0 as u64);
    b.put_u32(crc32c::crc32c(&b));
    b.resize(HEADER as usize, 0);
    b
}

/// Checks a file's first [`HEADER`] bytes.
pub(crate) fn check_header(b: &[u8], id: &SegmentId) -> Result<(), FooterError> {
    let mut r = Reader::new(b);
    if &r.array::<8>()? != MAGIC {
        return Err(Malformed("is not there: the file does not begin as a segment does").into());
    }
    let version = r.u32()?;
    if version != VERSION {
        return Err(FooterError::Newer(version));
    }
    let _zero = r.u32()?;
    let (own, _made) = (r.array::<16>()?, r.u64()?);
    let used = b.len() - r.remaining();
    if r.u32()? != crc32c::crc32c(&b[..used]) {
        return Err(Malformed("is damaged").into());
    }
    if own != *id {
        return Err(Malformed("is another segment's").into());
    }
    Ok(())
}

/// Lowest and highest of something, both inclusive.
pub(crate) type Span = (Timestamp, Timestamp);

/// A page of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageRef {
    pub first: u64,
    pub end: u64,
    pub arrival: Span,
    /// Of its payloads; `MAX, MIN` if there are none.
    pub producer: Span,
    pub offset: u64,
    pub len: u32,
}

/// A shard's stretch of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub shard: ShardId,
    pub first: u64,
    pub end: u64,
    pub arrival: Span,
    pub producer: Span,
    /// Sealed bytes of its blocks.
    pub bytes: u64,
    pub pages: Vec<PageRef>,
}

/// A segment's root, opened.
pub(crate) struct Root {
    pub writers: Vec<Arc<Writer>>,
    pub runs: Vec<Run>,
    /// Where the pages begin, which is where the blocks end.
    pub base: u64,
    /// Where the trailer begins.
    pub end: u64,
    /// The checksum of pages and root that the trailer has.
    pub index_crc: u32,
    key: BlockKey,
    id: SegmentId,
}

fn wider(a: Span, b: Span) -> Span {
    (a.0.min(b.0), a.1.max(b.1))
}

const NOTHING: Span = (Timestamp::MAX, Timestamp::MIN);

/// Pages count from 0; the root is this one.
const ROOT: u64 = u64::MAX;

fn block(id: &SegmentId, page: u64) -> Block {
    // A segment's own id stands where a block has its stream's, so that a swapped file does not open.
    Block { shard: ShardId { stream: StreamUid(*id), shard: 0 }, epoch: 0, id: page }
}

/// What the next entry of a page is written relative to.
#[derive(Default)]
struct Last {
    position: u64,
    arrival: i64,
    id: u64,
    offset: u64,
}

/// What stands at a segment's end; where its root is.
pub(crate) struct Trailer {
    pub generation: u32,
    pub base: u64,
    pub root: u64,
    pub len: u32,
    /// Of the index, root included.
    pub crc: u32,
}

impl Trailer {
    pub fn encode(&self, id: &SegmentId, salt: &Salt) -> Vec<u8> {
        let mut b = Vec::with_capacity(TRAILER as usize);
        b.extend_from_slice(TRAILER_MAGIC);
        b.put_u32(VERSION);
        b.put_u32(self.generation);
        b.extend_from_slice(id);
        b.extend_from_slice(salt);
        b.put_u64(self.base);
        b.put_u64(self.root);
        b.put_u32(self.len);
        b.put_u32(self.crc);
        b.put_u32(crc32c::crc32c(&b));
        b.put_u32(0);
        b
    }
}

/// Why a footer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FooterError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its footer {0}")]
    Malformed(#[from] Malformed),
    #[error("its footer {0}")]
    Seal(#[from] seal::SealError),
    #[error("has format {0}; this program knows up to {VERSION}")]
    Newer(u32),
    #[error("no index key of generation {0}")]
    NoKey(u32),
}

/// Reads and opens a segment's root.
pub(crate) fn read_root(
    file: &dyn DiskFile,
    id: &SegmentId,
    key: impl Fn(u32) -> Option<Arc<DataKey>>,
) -> Result<Root, FooterError> {
    let total = file.len()?;
    // Most roots fit: one read.
    let guess = total.min(16 << 10);
    if total < HEADER + TRAILER {
        return Err(Malformed("is missing: the file is too short").into());
    }
    let mut end = vec![0; guess as usize];
    file.read_exact_at(&mut end, total - guess)?;
    let trailer = &end[end.len() - TRAILER as usize..];
    let mut r = Reader::new(trailer);
    if &r.array::<8>()? != TRAILER_MAGIC {
        return Err(Malformed("is missing").into());
    }
    let (version, generation) = (r.u32()?, r.u32()?);
    if version != VERSION {
        return Err(FooterError::Newer(version));
    }
    let (own, salt) = (r.array::<16>()?, r.array::<32>()?);
    let (base, at, len) = (r.u64()?, r.u64()?, r.u32()?);
    let index_crc = r.u32()?;
    if r.u32()? != crc32c::crc32c(&trailer[..TRAILER as usize - 8]) {
        return Err(Malformed("is damaged").into());
    }
    if own != *id {
        return Err(Malformed("is another segment's").into());
    }
    if base < HEADER || at < base || at.checked_add(len.into()) != Some(total - TRAILER) {
        return Err(Malformed("does not fit the file").into());
    }
    let from = total - guess;
    let mut sealed = if at >= from {
        end[(at - from) as usize..][..len as usize].to_vec()
    } else {
        let mut b = vec![0; len as usize];
        file.read_exact_at(&mut b, at)?;
        b
    };
    let data = key(generation).ok_or(FooterError::NoKey(generation))?;
    let key = BlockKey::new(&data, &salt, JOURNAL, generation);
    let plain = key.open_chunk(&block(id, ROOT), 0, true, &mut sealed)?;
    let (writers, runs) = parse_root(plain, base, at)?;
    Ok(Root { writers, runs, base, end: total - TRAILER, index_crc, key, id: *id })
}

pub(crate) fn parse_root(
    plain: &[u8],
    base: u64,
    limit: u64,
) -> Result<(Vec<Arc<Writer>>, Vec<Run>), Malformed> {
    let mut r = Reader::new(plain);
    let n = r.count(33)?;
    let mut writers = Vec::with_capacity(n);
    for _ in 0..n {
        writers.push(Arc::new(Writer { epoch: r.varint()?, salt: r.array()? }));
    }
    let n = r.count(19)?;
    let mut runs = Vec::with_capacity(n);
    for _ in 0..n {
        let shard = ShardId { stream: StreamUid(r.array()?), shard: r.varint32()? };
        let bytes = r.varint()?;
        let n = r.count(36)?;
        let mut pages: Vec<PageRef> = Vec::with_capacity(n);
        for _ in 0..n {
            let first = r.varint()?;
            let end = first.checked_add(r.varint()?).ok_or(Malformed("positions overflow"))?;
            let mut t = || r.u64().map(|t| Timestamp(t as i64));
            let (arrival, producer) = ((t()?, t()?), (t()?, t()?));
            let offset = r.varint()?.checked_add(base).ok_or(Malformed("an offset is too large"))?;
            let len = r.varint32()?;
            if offset.checked_add(len.into()).is_none_or(|e| e > limit) {
                return Err(Malformed("a page is not within its footer"));
            }
            pages.push(PageRef { first, end, arrival, producer, offset, len });
        }
        let span = |f: fn(&PageRef) -> Span| pages.iter().map(f).fold(NOTHING, wider);
        runs.push(Run {
            shard,
            first: pages.first().map_or(0, |p| p.first),
            end: pages.last().map_or(0, |p| p.end),
            arrival: span(|p| p.arrival),
            producer: span(|p| p.producer),
            bytes,
            pages,
        });
    }
    if !r.is_empty() {
        return Err(Malformed("has more than it should"));
    }
    Ok((writers, runs))
}

impl Root {
    /// About how much memory it takes.
    pub fn weight(&self) -> usize {
        let pages: usize = self.runs.iter().map(|r| r.pages.len()).sum();
        1024 + self.writers.len() * 48 + self.runs.len() * size_of::<Run>() + pages * size_of::<PageRef>()
    }

    /// The number, counted over all runs, of a run's first page.
    pub fn page_number(&self, run: usize, page: usize) -> u64 {
        self.runs[..run].iter().map(|r| r.pages.len() as u64).sum::<u64>() + page as u64
    }

    /// Reads and opens a page of a run.
    pub fn read_page(&self, file: &dyn DiskFile, run: usize, page: usize) -> Result<Vec<Entry>, FooterError> {
        let at = self.runs.get(run).and_then(|r| r.pages.get(page)).ok_or(Malformed("has no such page"))?;
        let mut sealed = vec![0; at.len as usize];
        file.read_exact_at(&mut sealed, at.offset)?;
        let plain =
            self.key.open_chunk(&block(&self.id, self.page_number(run, page)), 0, true, &mut sealed)?;
        Ok(parse_page(&self.writers, self.id, plain)?)
    }
}

/// The entries of an opened page.
pub(crate) fn parse_page(
    writers: &[Arc<Writer>],
    id: SegmentId,
    plain: &[u8],
) -> Result<Vec<Entry>, Malformed> {
    let mut r = Reader::new(plain);
    let mut last = Last::default();
    let mut out = Vec::new();
    while !r.is_empty() {
        let tag = r.u8()?;
        let first = last.position.checked_add(r.varint()?).ok_or(Malformed("positions overflow"))?;
        last.arrival = last.arrival.wrapping_add(r.zigzag()?);
        let arrival = Timestamp(last.arrival);
        let writer = writers.get(r.varint()? as usize).ok_or(Malformed("names no writer"))?.clone();
        let generation = r.varint32()?;
        last.id = last.id.wrapping_add(r.zigzag()? as u64);
        let mut sealed = Sealed { writer, generation, id: last.id, codec: tag >> 4, digest: [0; 16] };
        let e = match tag & 0xf {
            0 => {
                let count = r.varint32()?;
                let offset = last.offset.wrapping_add(r.zigzag()? as u64);
                let len = r.varint32()?;
                let crc = r.u32()?;
                sealed.digest = r.array()?;
                last.offset = offset.checked_add(len.into()).ok_or(Malformed("an offset is too large"))?;
                Entry::Batch(Batch { first, count, arrival, sealed, offset, len, crc })
            }
            1 => {
                let mut l = get_large(&mut r, blank_large(first, arrival, sealed))?;
                l.segment = id;
                Entry::Large(Arc::new(l))
            }
            _ => return Err(Malformed("has an entry of a kind that is not known here")),
        };
        last.position = match &e {
            Entry::Batch(b) => first.checked_add(b.count.into()).ok_or(Malformed("positions overflow"))?,
            Entry::Large(_) => first.checked_add(1).ok_or(Malformed("positions overflow"))?,
        };
        out.push(e);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Extent, Large},
        segment::writing::Footer,
    };
    use bytes::Bytes;
    use proptest::prelude::*;
    use world::{
        Disk, Mode,
        sim::{Dice, SimDisk},
    };

    const ID: SegmentId = [7; 16];

    fn key() -> DataKey {
        DataKey::new([1; 32])
    }

    fn shard(n: usize) -> ShardId {
        ShardId { stream: StreamUid([n as u8; 16]), shard: n as u32 }
    }

    /// Runs of entries as a flush might write them.
    fn runs(seed: u64, lens: &[usize]) -> Vec<Vec<Entry>> {
        let mut d = Dice::new(seed);
        let writers: Vec<Arc<Writer>> =
            (0..3).map(|n| Arc::new(Writer { epoch: n * 7, salt: [n as u8; 32] })).collect();
        let mut runs = Vec::new();
        for n in lens {
            let (mut position, mut arrival) = (d.roll() >> 20, d.roll() as i64 >> 16);
            let mut run = Vec::new();
            for _ in 0..*n {
                position += d.below(3) as u64;
                arrival += d.below(2_000_000) as i64;
                let sealed = Sealed {
                    writer: writers[d.below(3)].clone(),
                    generation: d.roll() as u32,
                    id: d.roll(),
                    codec: d.below(16) as u8,
                    digest: [d.roll() as u8; 16],
                };
                let (offset, crc) = (d.roll() >> 24, d.roll() as u32);
                let arrival = Timestamp(arrival);
                if d.once_in(2) {
                    let (count, len) = (1 + d.below(100) as u32, d.roll() as u32 >> 8);
                    run.push(Entry::Batch(Batch {
                        first: position,
                        count,
                        arrival,
                        sealed,
                        offset,
                        len,
                        crc,
                    }));
                    position += u64::from(count);
                } else {
                    let len = d.roll() >> 40;
                    run.push(Entry::Large(Arc::new(Large {
                        producer: (Timestamp(d.roll() as i64), Timestamp(d.roll() as i64)),
                        len,
                        index: Bytes::from(vec![3; d.below(300)]),
                        segment: ID,
                        extents: vec![Extent { offset, len: seal::sealed_len(len) }],
                        crc,
                        ..blank_large(position, arrival, sealed)
                    })));
                    position += 1;
                }
            }
            runs.push(run);
        }
        runs
    }

    fn written(runs: &[Vec<Entry>], blocks: usize) -> (SimDisk, Footer, usize) {
        let mut w = IndexWriter::new(ID, (1, &key()), [9; 32]);
        for (n, run) in runs.iter().enumerate() {
            w.run(shard(n));
            run.iter().for_each(|e| w.add(e));
        }
        let base = HEADER as usize + blocks;
        let footer = w.finish(base as u64);
        let disk = SimDisk::new(1);
        let f = disk.open("s", Mode::CreateNew).unwrap();
        f.write_all_at(&vec![5; base], 0).unwrap();
        f.write_all_at(&footer.bytes, base as u64).unwrap();
        let total = base + footer.bytes.len();
        (disk, footer, total)
    }

    fn root(disk: &SimDisk, id: &SegmentId) -> Result<Root, FooterError> {
        read_root(&*disk.open("s", Mode::Read).unwrap(), id, |g| (g == 1).then(|| Arc::new(key())))
    }

    proptest! {
        #![proptest_config(crate::testing::cases(48))]
        #[test]
        fn footers_come_back_and_nothing_else_passes_for_one(
            seed: u64,
            lens in proptest::collection::vec(1usize..600, 1..5),
            blocks in 0usize..5000,
            flip in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let runs = runs(seed, &lens);
            let (disk, footer, total) = written(&runs, blocks);
            let r = root(&disk, &ID).unwrap();
            prop_assert_eq!(&r.runs, &footer.runs);
            let f = disk.open("s", Mode::Read).unwrap();
            for (n, run) in runs.iter().enumerate() {
                prop_assert_eq!(r.runs[n].shard, shard(n));
                let mut back = Vec::new();
                for p in 0..r.runs[n].pages.len() {
                    let entries = r.read_page(&*f, n, p).unwrap();
                    let page = &r.runs[n].pages[p];
                    prop_assert_eq!((page.first, page.end), (entries[0].first(), entries[entries.len() - 1].end()));
                    back.extend(entries);
                }
                prop_assert_eq!(&back, run);
            }
            prop_assert!(root(&disk, &[8; 16]).is_err(), "another segment's");
            // A flipped bit of the footer is met by whoever reads that part of it (but for the unused last word, and
            // the checksum that only a check of everything reads).
            let at = total - footer.bytes.len() + flip.index(footer.bytes.len() - 4);
            disk.flip("s", at, bit).unwrap();
            let unread = total - 12..total - 8;
            let whole = root(&disk, &ID).and_then(|r| {
                for (n, run) in r.runs.iter().enumerate() {
                    for p in 0..run.pages.len() {
                        r.read_page(&*f, n, p)?;
                    }
                }
                Ok(())
            });
            prop_assert!(whole.is_err() || unread.contains(&at), "a bit at {} of {} went unseen", at, total);
        }

        #[test]
        fn any_root_and_page_is_survived(b in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_root(&b, 64, 1 << 20);
            let (disk, ..) = written(&runs(1, &[3]), 0);
            let _ = parse_page(&root(&disk, &ID).unwrap().writers, ID, &b);
        }
    }
}
