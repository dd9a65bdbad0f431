//! Writing closed segments: a shard's own, which its payloads are in already, and shared ones for the records of many.

use std::{
    cell::RefCell,
    io,
    sync::{Arc, atomic::Ordering},
};

use catalog::{RunRow, SegmentRow};
use seal::TAG;
use world::{DiskFile, Mode, ShardId};

use crate::{
    LogError,
    entry::{Batch, Entry, Extent, Large, SegmentId},
    flush::LOCAL,
    journal::JournalFile,
    open_segment::{DIR, closed_name, new_id, open_name},
    segment::{self, IndexWriter},
    shared::Shared,
};

/// What a run is made of, in order.
pub(crate) enum Piece {
    /// Records; their block is in a journal file.
    Batch { file: Arc<JournalFile>, batch: Batch },
    /// A payload; it is in an open segment already.
    Large(Arc<Large>),
}

/// What was written.
#[derive(Default)]
pub(crate) struct Tiered {
    pub segments: Vec<SegmentRow>,
    pub runs: Vec<RunRow>,
    /// Open segments that were closed.
    pub retired: Vec<SegmentId>,
    /// Files whose content was copied to another.
    pub superseded: Vec<SegmentId>,
}

pub(crate) struct Tier<'s> {
    shared: &'s Shared,
    /// The shared segment that is being filled.
    current: Option<Sink<'s>>,
    out: Tiered,
    /// Files that did not exist before.
    made: RefCell<Vec<SegmentId>>,
    /// The next files are to have these ids, the last of them first.
    ids: RefCell<Vec<SegmentId>>,
}

/// Bytes gathered before they are written, while the journal is behind.
const BUFFER: usize = 256 << 10;
/// While it is not, they are made durable, too: a whole segment at once would be a second's work for many a disk, and the
/// journal's next frame would have to wait for that. For so much it waits little.
const PIECE: usize = 64 << 10;

/// A segment that is being written.
struct Sink<'s> {
    shared: &'s Shared,
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    /// Where `buf` goes.
    at: u64,
    buf: Vec<u8>,
    index: IndexWriter,
}

impl Sink<'_> {
    fn end(&self) -> u64 {
        self.at + self.buf.len() as u64
    }

    fn copy(&mut self, from: &dyn DiskFile, offset: u64, len: u64) -> Result<u64, LogError> {
        let to = self.end();
        let mut done = 0;
        while done < len {
            let n = (len - done).min(self.enough() as u64) as usize;
            let start = self.buf.len();
            self.buf.resize(start + n, 0);
            from.read_exact_at(&mut self.buf[start..], offset + done)?;
            done += n as u64;
            if self.buf.len() >= self.enough() {
                self.write()?;
            }
        }
        Ok(to)
    }

    /// Copies a payload's bytes; returns what it is here.
    fn large(&mut self, from: &dyn DiskFile, l: &Large) -> Result<Entry, LogError> {
        let mut extents: Vec<Extent> = Vec::new();
        for e in &l.extents {
            let offset = self.copy(from, e.offset, e.len)?;
            match extents.last_mut() {
                Some(x) if x.offset + x.len == offset => x.len += e.len,
                _ => extents.push(Extent { offset, len: e.len }),
            }
        }
        Ok(Entry::Large(Arc::new(l.moved(self.id, extents))))
    }

    fn write(&mut self) -> Result<(), LogError> {
        self.file.write_all_at(&self.buf, self.at)?;
        self.at += self.buf.len() as u64;
        let whole = self.buf.len() >= PIECE;
        self.buf.clear();
        if whole && !self.behind() {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn enough(&self) -> usize {
        if self.behind() { BUFFER } else { PIECE }
    }

    /// Whether the journal grows faster than it is moved on: then it is as well that it has to wait.
    fn behind(&self) -> bool {
        let begins = self.shared.flush_at();
        self.shared.counters.journal_bytes.load(Ordering::Relaxed) >= begins + begins / 2
    }

    fn batch(&mut self, file: &JournalFile, mut b: Batch) -> Result<(), LogError> {
        let place = || format!("{} at {}", crate::journal::file_name(file.header.number), b.offset);
        let mut block = vec![0; b.len as usize];
        file.disk.read_exact_at(&mut block, b.offset)?;
        if block.len() <= seal::CHUNK + TAG && !block.ends_with(&b.sealed.digest) {
            // It goes along as it is: the rest of the segment must not suffer, and whoever reads it is told.
            tracing::error!(place = place(), "a block in the journal is damaged");
        }
        b.crc = crc32c::crc32c(&block);
        b.offset = self.end();
        self.buf.append(&mut block);
        if self.buf.len() >= self.enough() {
            self.write()?;
        }
        self.index.add(&Entry::Batch(b));
        Ok(())
    }
}

impl<'s> Tier<'s> {
    pub fn new(shared: &'s Shared) -> Self {
        Tier::named(shared, Vec::new())
    }

    /// Whose first files have these ids.
    pub fn named(shared: &'s Shared, mut ids: Vec<SegmentId>) -> Self {
        ids.reverse();
        let (made, ids) = (RefCell::default(), RefCell::new(ids));
        Tier { shared, current: None, out: Tiered::default(), made, ids }
    }

    fn index(&self, id: SegmentId) -> IndexWriter {
        let (generation, key) = &self.shared.journal_key;
        IndexWriter::new(id, (*generation, key), self.shared.world.random32())
    }

    /// A new file.
    fn fresh(&self) -> Result<Sink<'s>, LogError> {
        let id = self.ids.borrow_mut().pop().unwrap_or_else(|| new_id(&self.shared.world));
        let file = self.shared.world.disk.open(&open_name(&id), Mode::CreateNew)?;
        self.made.borrow_mut().push(id);
        let buf = segment::header(&id, self.shared.world.clock.now());
        Ok(Sink { shared: self.shared, id, file, at: 0, buf, index: self.index(id) })
    }

    /// Writes a run, into the segment that its payloads are in or, if it has none, into the shared one.
    pub fn run(
        &mut self,
        shard: ShardId,
        own: Option<SegmentId>,
        pieces: Vec<Piece>,
    ) -> Result<(), LogError> {
        if pieces.is_empty() {
            return Ok(());
        }
        let Some(own) = own else { return self.shared_run(shard, pieces) };
        let disk = &*self.shared.world.disk;
        let open = self.shared.segments.get(&own);
        // A file that failed once is not written again: what is in it is copied.
        let failed = open.as_ref().is_none_or(|s| s.failed.load(Ordering::Acquire));
        // Closed by an earlier run of this flush, as payloads were committed into another in between: a footer stays as
        // it is, what comes later is copied.
        let again = self.out.retired.contains(&own);
        let failed = failed || again;
        // Nobody is in the middle of a write from here on, and nobody begins one.
        let _gate = open.as_ref().map(|s| s.shut());
        let mut sink = if failed {
            self.fresh()?
        } else {
            let file = match disk.open(&open_name(&own), Mode::ReadWrite) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    // An earlier attempt got as far as its new name.
                    disk.rename(&closed_name(&own), &open_name(&own))?;
                    disk.open(&open_name(&own), Mode::ReadWrite)?
                }
                r => r?,
            };
            let at = open.as_ref().map_or(segment::HEADER, |s| s.end.load(Ordering::Acquire));
            Sink { shared: self.shared, id: own, file, at, buf: Vec::new(), index: self.index(own) }
        };
        sink.index.run(shard);
        for p in pieces {
            match p {
                Piece::Batch { file, batch } => sink.batch(&file, batch)?,
                Piece::Large(l) if !failed => sink.index.add(&Entry::Large(l)),
                Piece::Large(l) => {
                    let from = self.shared.segment_file(&l.segment)?;
                    let moved = sink.large(&*from, &l)?;
                    sink.index.add(&moved);
                }
            }
        }
        if failed && !again {
            self.out.superseded.push(own);
        }
        if !again {
            self.out.retired.push(own);
        }
        self.close(sink)
    }

    fn shared_run(&mut self, shard: ShardId, pieces: Vec<Piece>) -> Result<(), LogError> {
        let limit = self.shared.limits.segment_bytes;
        let mut begun = false;
        for p in pieces {
            let Piece::Batch { file, batch } = p else { continue };
            if self.current.as_ref().is_some_and(|s| s.end() >= limit)
                && let Some(full) = self.current.take()
            {
                self.close(full)?;
                begun = false;
            }
            if self.current.is_none() {
                self.current = Some(self.fresh()?);
            }
            let Some(sink) = &mut self.current else { continue };
            if !begun {
                sink.index.run(shard);
                begun = true;
            }
            sink.batch(&file, batch)?;
        }
        Ok(())
    }

    /// Copies entries of a finished segment on. `fresh`: they begin a run, rather than go on with the last one.
    pub fn copied(
        &mut self,
        shard: ShardId,
        mut fresh: bool,
        from: &dyn DiskFile,
        entries: &[Entry],
    ) -> Result<(), LogError> {
        let limit = self.shared.limits.segment_bytes;
        for e in entries {
            if self.current.as_ref().is_some_and(|s| s.end() >= limit)
                && let Some(full) = self.current.take()
            {
                self.close(full)?;
            }
            if self.current.is_none() {
                self.current = Some(self.fresh()?);
                fresh = true;
            }
            let Some(sink) = &mut self.current else { continue };
            if std::mem::take(&mut fresh) {
                sink.index.run(shard);
            }
            match e {
                Entry::Batch(b) => {
                    // Its checksum goes along: damage shows where it is read.
                    let offset = sink.copy(from, b.offset, b.len.into())?;
                    sink.index.add(&Entry::Batch(Batch { offset, ..b.clone() }));
                }
                Entry::Large(l) => {
                    let moved = sink.large(from, l)?;
                    sink.index.add(&moved);
                }
            }
        }
        Ok(())
    }

    /// Writes the footer and makes the file a finished one.
    fn close(&mut self, mut sink: Sink<'s>) -> Result<(), LogError> {
        let footer_at = sink.end();
        let index = std::mem::replace(&mut sink.index, self.index(sink.id));
        let footer = index.finish(footer_at);
        sink.buf.extend_from_slice(&footer.bytes);
        sink.write()?;
        let total = sink.at;
        // Dead bytes, or an earlier attempt's footer, may lie beyond.
        sink.file.set_len(total)?;
        sink.file.sync_data()?;
        self.shared.world.disk.rename(&open_name(&sink.id), &closed_name(&sink.id))?;
        self.shared.footers.forget(&sink.id);
        self.out.segments.push(SegmentRow {
            id: sink.id,
            state: LOCAL,
            bytes: total,
            footer: footer_at,
            created: self.shared.world.clock.now(),
        });
        for (ordinal, r) in footer.runs.into_iter().enumerate() {
            self.out.runs.push(RunRow {
                shard: r.shard,
                first: r.first,
                end: r.end,
                segment: sink.id,
                ordinal: ordinal as u32,
                bytes: r.bytes,
                arrival: r.arrival,
                // Without payloads there is no producer's time; the server's is as good as any.
                producer: if r.producer.0 > r.producer.1 { r.arrival } else { r.producer },
            });
        }
        Ok(())
    }

    /// Closes the shared segment; everything is durable when this returns.
    pub fn finish(&mut self) -> Result<(), LogError> {
        if let Some(s) = self.current.take() {
            self.close(s)?;
        }
        if !self.out.segments.is_empty() {
            self.shared.world.disk.sync_dir(DIR)?;
        }
        Ok(())
    }

    pub fn done(self) -> Tiered {
        self.out
    }

    /// Removes what was made: on a full disk nothing must be left of an attempt.
    pub fn give_up(self) {
        for id in self.made.borrow().iter() {
            for name in [open_name(id), closed_name(id)] {
                let _ = self.shared.world.disk.remove(&name);
            }
        }
    }
}
