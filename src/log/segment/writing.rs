//! Making a segment's index: entries gathered into pages, pages into runs, a root over all of them.

use std::sync::Arc;

use seal::{BlockKey, DataKey, Salt};
use world::ShardId;

use super::{Last, NOTHING, PageRef, ROOT, Run, TRAILER, Trailer, block, wider};
use crate::{
    codec::Put,
    entry::{Entry, SegmentId, Writer, put_large},
    journal::JOURNAL,
};

/// A page of the index is closed at about this many plain bytes.
const PAGE: usize = 16 << 10;

/// Collects the entries of a segment and makes its footer.
pub(crate) struct IndexWriter {
    id: SegmentId,
    key: BlockKey,
    generation: u32,
    salt: Salt,
    writers: Vec<Arc<Writer>>,
    runs: Vec<Run>,
    pages: u64,
    out: Vec<u8>,
    plain: Vec<u8>,
    last: Last,
}

/// A finished footer and what the catalog has to know of it.
pub(crate) struct Footer {
    /// Pages, root and trailer.
    pub bytes: Vec<u8>,
    pub runs: Vec<Run>,
}

impl IndexWriter {
    /// `salt` must be fresh.
    pub fn new(id: SegmentId, key: (u32, &DataKey), salt: Salt) -> Self {
        IndexWriter {
            id,
            key: BlockKey::new(key.1, &salt, JOURNAL, key.0),
            generation: key.0,
            salt,
            writers: Vec::new(),
            runs: Vec::new(),
            pages: 0,
            out: Vec::new(),
            plain: Vec::new(),
            last: Last::default(),
        }
    }

    /// Begins a shard's run.
    pub fn run(&mut self, shard: ShardId) {
        self.close_page();
        self.runs.push(Run {
            shard,
            first: 0,
            end: 0,
            arrival: NOTHING,
            producer: NOTHING,
            bytes: 0,
            pages: Vec::new(),
        });
    }

    /// Adds an entry to the run; positions rise.
    pub fn add(&mut self, e: &Entry) {
        if self.plain.len() >= PAGE {
            self.close_page();
        }
        let sealed = match e {
            Entry::Batch(b) => &b.sealed,
            Entry::Large(l) => &l.sealed,
        };
        let writer = self.writers.iter().position(|w| **w == *sealed.writer).unwrap_or_else(|| {
            self.writers.push(sealed.writer.clone());
            self.writers.len() - 1
        });
        let Some(run) = self.runs.last_mut() else { return };
        let fresh = self.plain.is_empty();
        if fresh {
            self.last = Last::default();
            run.pages.push(PageRef {
                first: e.first(),
                end: e.first(),
                arrival: NOTHING,
                producer: NOTHING,
                // Within the footer, until it is known where that is.
                offset: self.out.len() as u64,
                len: 0,
            });
        }
        let (bytes, producer) = match e {
            Entry::Batch(b) => (u64::from(b.len), NOTHING),
            Entry::Large(l) => (l.sealed_bytes(), l.producer),
        };
        if run.bytes == 0 {
            run.first = e.first();
        }
        run.end = e.end();
        run.bytes += bytes;
        let at = (e.arrival(), e.arrival());
        (run.arrival, run.producer) = (wider(run.arrival, at), wider(run.producer, producer));
        if let Some(p) = run.pages.last_mut() {
            p.end = e.end();
            (p.arrival, p.producer) = (wider(p.arrival, at), wider(p.producer, producer));
        }
        let (out, last) = (&mut self.plain, &mut self.last);
        let kind = u8::from(matches!(e, Entry::Large(_)));
        out.push(kind | sealed.codec << 4);
        out.put_varint(e.first().wrapping_sub(last.position));
        out.put_zigzag(e.arrival().0.wrapping_sub(last.arrival));
        out.put_varint(writer as u64);
        out.put_varint(sealed.generation.into());
        out.put_zigzag(sealed.id.wrapping_sub(last.id) as i64);
        (last.position, last.arrival, last.id) = (e.end(), e.arrival().0, sealed.id);
        match e {
            Entry::Batch(b) => {
                out.put_varint(b.count.into());
                out.put_zigzag(b.offset.wrapping_sub(last.offset) as i64);
                out.put_varint(b.len.into());
                out.put_u32(b.crc);
                out.extend_from_slice(&sealed.digest);
                last.offset = b.offset + u64::from(b.len);
            }
            Entry::Large(l) => put_large(out, l),
        }
    }

    fn close_page(&mut self) {
        if self.plain.is_empty() {
            return;
        }
        let from = self.out.len();
        self.out.append(&mut self.plain);
        self.key.seal_chunk(&block(&self.id, self.pages), 0, true, &mut self.out, from);
        self.pages += 1;
        if let Some(p) = self.runs.last_mut().and_then(|r| r.pages.last_mut()) {
            p.len = (self.out.len() - from) as u32;
        }
    }

    /// Seals what is left and adds root and trailer. `base` is where the footer will be.
    pub fn finish(mut self, base: u64) -> Footer {
        self.close_page();
        let mut plain = Vec::new();
        plain.put_varint(self.writers.len() as u64);
        for w in &self.writers {
            plain.put_varint(w.epoch);
            plain.extend_from_slice(&w.salt);
        }
        plain.put_varint(self.runs.len() as u64);
        for r in &self.runs {
            plain.extend_from_slice(&r.shard.stream.0);
            plain.put_varint(r.shard.shard.into());
            plain.put_varint(r.bytes);
            plain.put_varint(r.pages.len() as u64);
            for p in &r.pages {
                plain.put_varint(p.first);
                plain.put_varint(p.end - p.first);
                for t in [p.arrival.0, p.arrival.1, p.producer.0, p.producer.1] {
                    plain.put_u64(t.0 as u64);
                }
                plain.put_varint(p.offset);
                plain.put_varint(p.len.into());
            }
        }
        let root = self.out.len();
        self.out.append(&mut plain);
        self.key.seal_chunk(&block(&self.id, ROOT), 0, true, &mut self.out, root);
        let len = self.out.len() - root;
        let crc = crc32c::crc32c(&self.out);
        let start = self.out.len();
        let trailer =
            Trailer { generation: self.generation, base, root: base + root as u64, len: len as u32, crc };
        self.out.extend(trailer.encode(&self.id, &self.salt));
        debug_assert_eq!(self.out.len() - start, TRAILER as usize);
        self.runs.iter_mut().flat_map(|r| &mut r.pages).for_each(|p| p.offset += base);
        Footer { bytes: self.out, runs: self.runs }
    }
}
