//! Reading: the tail from memory, what is recent from the journal and open segments, the rest from closed segments.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;
use catalog::{RunQuery, RunRow};
use seal::{BlockKey, CHUNK, TAG};
use world::{DiskFile, ShardId, Timestamp};

use crate::{
    Item, LogError, Page, Payload, Query, Record,
    entry::{Batch, Directory, Entry, Event, Large, SegmentId, decode_records},
    index::{Recent, Shard, TailData, TailItem},
    journal::{JournalFile, file_name},
    open_segment::{closed_name, open_name},
    place::Located,
    segment::{self, FooterError, Root},
    shared::Shared,
};

/// A page on its way.
struct Gather {
    from: u64,
    items: Vec<Item>,
    next: u64,
    room: usize,
    bytes: usize,
}

impl Gather {
    fn new(from: u64, max_items: usize, max_bytes: usize) -> Self {
        Gather { from, items: Vec::new(), next: from, room: max_items.max(1), bytes: max_bytes }
    }
    fn full(&self) -> bool {
        self.room == 0 || (self.bytes == 0 && !self.items.is_empty())
    }
    fn push(&mut self, position: u64, len: usize, item: Item) {
        self.items.push(item);
        self.next = position + 1;
        self.room -= 1;
        self.bytes = self.bytes.saturating_sub(len);
    }
    fn records(
        &mut self,
        first: u64,
        arrival: Timestamp,
        plain: &Bytes,
    ) -> Result<(), crate::codec::Malformed> {
        for (position, data) in (first..).zip(decode_records(plain)) {
            let data = data?;
            if position < self.from.max(self.next) {
                continue;
            }
            if self.full() {
                break;
            }
            self.push(position, data.len() + 64, Item::Record(Record { position, arrival, data }));
        }
        Ok(())
    }
    fn large(&mut self, shard: ShardId, l: &Large) {
        if l.position >= self.from.max(self.next) && !self.full() {
            self.push(l.position, l.index.len() + 64, Item::Payload(Box::new(l.payload(shard))));
        }
    }
    fn page(self) -> Page {
        Page { items: self.items, next: self.next }
    }
}

/// Where a read goes for its next items.
enum Plan {
    Done,
    Recent(Vec<Recent>),
    Runs,
}

/// How many things of the index one step of a read takes up.
const STEP: usize = 64;
/// How often a read starts over because what it was about to read moved meanwhile.
pub(crate) const TRIES: usize = 64;

fn trimmed(shard: ShardId, position: u64, oldest: u64) -> LogError {
    LogError::Trimmed { shard, position, oldest }
}

impl Shared {
    pub async fn read(
        self: &Arc<Self>,
        id: ShardId,
        from: u64,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Page, LogError> {
        let shard = self.shard(id)?;
        let read = self.try_read(&shard, from, max_items, max_bytes).await;
        // Whatever failed, failed for that.
        read.map_err(|e| if shard.state().gone { LogError::NoShard(id) } else { e })
    }

    async fn try_read(
        self: &Arc<Self>,
        shard: &Arc<Shard>,
        from: u64,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Page, LogError> {
        let id = shard.id;
        let mut g = Gather::new(from, max_items, max_bytes);
        for _ in 0..TRIES {
            match self.plan(shard, &mut g)? {
                Plan::Done => return Ok(g.page()),
                Plan::Recent(items) => {
                    let before = g.next;
                    for item in items {
                        // Moved to a segment meanwhile, or more than was asked for.
                        if g.full() || !self.read_recent(shard, &item, &mut g).await? {
                            break;
                        }
                        g.next = g.next.max(item.end());
                    }
                    if !g.items.is_empty() && g.next > before {
                        return Ok(g.page());
                    }
                }
                Plan::Runs => {
                    let Some(run) = self.run_at(shard, g.next).await? else {
                        // A hole up to what is recent.
                        let flushed = shard.state().flushed;
                        g.next = g.next.max(flushed);
                        continue;
                    };
                    match self.read_run(shard, &run, &mut g).await {
                        // What was read is told before what could not be.
                        _ if !g.items.is_empty() => return Ok(g.page()),
                        Err(e) if self.there(&run).await? => return Err(e),
                        _ => {}
                    }
                }
            }
        }
        Err(LogError::Io(format!("shard {id} changed too often while it was read")))
    }

    fn plan(&self, shard: &Shard, g: &mut Gather) -> Result<Plan, LogError> {
        let st = shard.state();
        if st.gone {
            return Err(LogError::NoShard(shard.id));
        }
        if g.next < st.trim {
            return Err(trimmed(shard.id, g.from, st.trim));
        }
        if g.next >= st.next {
            return Ok(Plan::Done);
        }
        if g.next >= st.tail_start {
            let at = st.tail.partition_point(|t| t.end() <= g.next);
            for t in st.tail.range(at..) {
                if g.full() {
                    break;
                }
                match &t.data {
                    TailData::Records(plain) => g
                        .records(t.first, t.arrival, plain)
                        .map_err(|e| LogError::Damaged(format!("the tail of {}: {e}", shard.id)))?,
                    TailData::Large(l, _) => g.large(shard.id, l),
                }
            }
            return Ok(Plan::Done);
        }
        if g.next >= st.flushed {
            let at = st.recent.partition_point(|r| r.end() <= g.next);
            if at == st.recent.len() {
                // A hole up to the tip.
                g.next = st.next;
                return Ok(Plan::Done);
            }
            return Ok(Plan::Recent(st.recent.range(at..).take(STEP).cloned().collect()));
        }
        Ok(Plan::Runs)
    }

    /// `true` if all of it was read.
    async fn read_recent(
        self: &Arc<Self>,
        shard: &Shard,
        item: &Recent,
        g: &mut Gather,
    ) -> Result<bool, LogError> {
        let (first, end, at) = match item {
            Recent::Large { large, .. } => {
                g.large(shard.id, large);
                return Ok(true);
            }
            Recent::Frame { at, .. } => (item.first(), item.end(), *at),
        };
        let (s, id) = (self.clone(), shard.id);
        let from = g.next.max(first);
        let (room, bytes) = (g.room, g.bytes);
        let found = self
            .blocking(move || -> Result<_, LogError> {
                let Some((file, dir)) = s.directory(at)? else { return Ok(None) };
                let (mut out, mut whole) = (Vec::new(), true);
                let (mut records, mut left) = (0, bytes as i64);
                for b in batches(&dir, id, from, end) {
                    if records >= room || (left <= 0 && !out.is_empty()) {
                        whole = false;
                        break;
                    }
                    out.push((b.clone(), read_block(&*file.disk, b)?));
                    records += (b.first + u64::from(b.count)).saturating_sub(b.first.max(from)) as usize;
                    left -= i64::from(b.len);
                }
                Ok(Some((file, out, whole)))
            })
            .await??;
        let Some((file, blocks, whole)) = found else { return Ok(false) };
        for (b, sealed) in blocks {
            let plain = self.open_batch(shard.id, &b, sealed, || journal_place(&file, b.offset)).await?;
            g.records(b.first, b.arrival, &plain)
                .map_err(|e| LogError::Damaged(format!("{}: {e}", journal_place(&file, b.offset))))?;
        }
        // If it became full within the last block, `next` says where.
        Ok(whole && (!g.full() || g.next >= end))
    }

    async fn open_batch(
        &self,
        shard: ShardId,
        b: &Batch,
        sealed: Vec<u8>,
        place: impl Fn() -> String,
    ) -> Result<Bytes, LogError> {
        let key = self.keys.block(shard.stream, b.sealed.generation, &b.sealed.writer).await?;
        let plain = key.open(&b.sealed.block(shard), sealed).map_err(|e| {
            LogError::Damaged(format!(
                "{}: block of {} records from {} of {shard} {e}",
                place(),
                b.count,
                b.first
            ))
        })?;
        Ok(plain.into())
    }

    /// Reads on in closed segments, at least to the end of one page of an index.
    async fn read_run(self: &Arc<Self>, shard: &Shard, run: &RunRow, g: &mut Gather) -> Result<(), LogError> {
        g.next = g.next.max(run.first);
        let (root, ordinal) = self.root_of(run).await?;
        let pages = &root.runs[ordinal].pages;
        let from = pages.partition_point(|p| p.end <= g.next);
        for (p, at) in pages.iter().enumerate().skip(from) {
            let entries = self.page(&run.segment, &root, ordinal, p).await?;
            for e in &entries[entries.partition_point(|e| e.end() <= g.next)..] {
                if g.full() {
                    return Ok(());
                }
                match e {
                    Entry::Large(l) => g.large(shard.id, l),
                    Entry::Batch(b) => {
                        let (s, b2, id) = (self.clone(), b.clone(), run.segment);
                        let sealed = self
                            .blocking(move || -> Result<_, LogError> {
                                let file = s.segment_file(&id)?;
                                Ok(read_block(&*file, &b2)?)
                            })
                            .await??;
                        let place = || format!("{} at {}", closed_name(&run.segment), b.offset);
                        let plain = self.open_batch(shard.id, b, sealed, place).await?;
                        g.records(b.first, b.arrival, &plain)
                            .map_err(|e| LogError::Damaged(format!("{}: {e}", place())))?;
                    }
                }
            }
            if g.full() {
                return Ok(());
            }
            g.next = g.next.max(at.end);
            if !g.items.is_empty() {
                return Ok(());
            }
        }
        g.next = g.next.max(run.end);
        Ok(())
    }

    /// Whether a run is still where it was: compaction and retention move and remove runs under a reader.
    pub async fn there(&self, run: &RunRow) -> Result<bool, LogError> {
        let q = RunQuery::Positions((run.first, run.first));
        let now = self.catalog.runs(run.shard, q).await?;
        Ok(now.iter().any(|r| r.first == run.first && r.segment == run.segment))
    }

    /// The run that has `position`, or the next one.
    async fn run_at(&self, shard: &Shard, position: u64) -> Result<Option<RunRow>, LogError> {
        // Nearly always there is one; only at a hole are the later ones asked for.
        let at = |to| RunQuery::Positions((position, to));
        let runs = self.catalog.runs(shard.id, at(position)).await?;
        if let Some(r) = runs.into_iter().find(|r| r.end > position) {
            return Ok(Some(r));
        }
        let runs = self.catalog.runs(shard.id, at(i64::MAX as u64)).await?;
        Ok(runs.into_iter().find(|r| r.end > position))
    }

    pub fn segment_file(&self, id: &SegmentId) -> Result<Arc<dyn DiskFile>, LogError> {
        self.cache.touch(id);
        self.segments.file(&self.world, id).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                LogError::Io(format!("{} or {} is missing", closed_name(id), open_name(id)))
            }
            _ => e.into(),
        })
    }

    /// A run's root, and which of its runs this is.
    pub async fn root_of(self: &Arc<Self>, run: &RunRow) -> Result<(Arc<Root>, usize), LogError> {
        let root = self.root(run.segment).await?;
        let ordinal = run.ordinal as usize;
        match root.runs.get(ordinal) {
            Some(r) if r.shard == run.shard && r.first == run.first => Ok((root, ordinal)),
            _ => Err(LogError::Damaged(format!(
                "{}: its footer is not the one that the catalog knows",
                closed_name(&run.segment)
            ))),
        }
    }

    pub async fn root(self: &Arc<Self>, id: SegmentId) -> Result<Arc<Root>, LogError> {
        if let Some(r) = self.footers.root(&id) {
            return Ok(r);
        }
        let s = self.clone();
        self.blocking(move || {
            let file = s.segment_file(&id)?;
            let root = segment::read_root(&*file, &id, |g| s.journal_keys.get(&g).cloned())
                .map_err(|e| footer_error(&id, e))?;
            let root = Arc::new(root);
            s.footers.put_root(id, &root);
            Ok(root)
        })
        .await?
    }

    pub async fn page(
        self: &Arc<Self>,
        id: &SegmentId,
        root: &Arc<Root>,
        run: usize,
        page: usize,
    ) -> Result<Arc<Vec<Entry>>, LogError> {
        let number = root.page_number(run, page);
        if let Some(p) = self.footers.page(*id, number) {
            return Ok(p);
        }
        let (s, root, id) = (self.clone(), root.clone(), *id);
        self.blocking(move || {
            let file = s.segment_file(&id)?;
            let entries = Arc::new(root.read_page(&*file, run, page).map_err(|e| footer_error(&id, e))?);
            s.footers.put_page(id, number, &entries);
            Ok(entries)
        })
        .await?
    }

    pub async fn read_payload(self: &Arc<Self>, p: &Payload, range: Range<u64>) -> Result<Bytes, LogError> {
        let shard = self.shard(p.shard)?;
        let at =
            Located::parse(&p.place).map_err(|e| LogError::Damaged(format!("the place of a payload {e}")))?;
        let (from, to) = (range.start.min(at.len), range.end.min(at.len));
        if from >= to {
            return Ok(Bytes::new());
        }
        {
            let st = shard.state();
            if p.position < st.trim {
                return Err(trimmed(p.shard, p.position, st.trim));
            }
            let i = st.tail.partition_point(|t| t.end() <= p.position);
            if let Some(TailItem { first, data: TailData::Large(_, Some(chunks)), .. }) = st.tail.get(i)
                && *first == p.position
            {
                return Ok(slice_chunks(chunks, from, to));
            }
        }
        let (mut place, mut at) = (p.place.clone(), at);
        for _ in 0..TRIES {
            let e = match self.read_located(p.shard, at, from, to).await {
                Ok(read) => return Ok(read),
                Err(e) => e,
            };
            // It may have been moved or removed since it was found.
            let here = Query::Positions(p.position, p.position);
            let now = self.payloads(p.shard, here, 1, false).await?;
            let Some(now) = now.into_iter().next() else {
                return Err(self.removed(&shard, p.position));
            };
            if now.place == place {
                return Err(e);
            }
            at = Located::parse(&now.place)
                .map_err(|e| LogError::Damaged(format!("the place of a payload {e}")))?;
            place = now.place;
        }
        Err(LogError::Io(format!("shard {} changed too often while it was read", p.shard)))
    }

    /// What is said of something that was there a moment ago.
    fn removed(&self, shard: &Shard, position: u64) -> LogError {
        let st = shard.state();
        if st.gone { LogError::NoShard(shard.id) } else { trimmed(shard.id, position, st.trim) }
    }

    async fn read_located(
        self: &Arc<Self>,
        shard: ShardId,
        at: Located,
        from: u64,
        to: u64,
    ) -> Result<Bytes, LogError> {
        let key = self.keys.block(shard.stream, at.sealed.generation, &at.sealed.writer).await?;
        let s = self.clone();
        self.blocking(move || s.read_chunks(shard, &at, &key, from, to)).await?
    }

    fn read_chunks(
        &self,
        shard: ShardId,
        at: &Located,
        key: &BlockKey,
        from: u64,
        to: u64,
    ) -> Result<Bytes, LogError> {
        let file = self.segment_file(&at.segment)?;
        let chunks = at.len.div_ceil(CHUNK as u64).max(1);
        let (c0, c1) = (from / CHUNK as u64, (to - 1) / CHUNK as u64);
        let step = (CHUNK + TAG) as u64;
        let total = seal::sealed_len(at.len);
        let mut sealed = vec![0; ((c1 + 1) * step).min(total) as usize - (c0 * step) as usize];
        let mut filled = 0;
        for e in at.stretches(c0 * step, (c1 + 1) * step) {
            let n = e.len as usize;
            file.read_exact_at(&mut sealed[filled..filled + n], e.offset)?;
            filled += n;
        }
        let block = at.sealed.block(shard);
        let mut plain = 0;
        for (i, c) in (c0..=c1).enumerate() {
            let a = i * step as usize;
            let b = (a + step as usize).min(sealed.len());
            let chunk =
                u32::try_from(c).map_err(|_| LogError::Damaged("a payload has too many chunks".into()))?;
            let n = key
                .open_chunk(&block, chunk, c + 1 == chunks, &mut sealed[a..b])
                .map_err(|e| {
                    let offset = at.stretches(c * step, c * step + 1).first().map_or(0, |e| e.offset);
                    LogError::Damaged(format!(
                        "{} at {offset}: chunk {c} of a payload of {shard} {e}",
                        self.segment_name(&at.segment)
                    ))
                })?
                .len();
            sealed.copy_within(a..a + n, plain);
            plain += n;
        }
        sealed.truncate(plain);
        let base = c0 * CHUNK as u64;
        Ok(Bytes::from(sealed).slice((from - base) as usize..(to - base) as usize))
    }

    fn segment_name(&self, id: &SegmentId) -> String {
        if self.segments.get(id).is_some() { open_name(id) } else { closed_name(id) }
    }
}

/// A shard's batches in a directory that have something of `from..end`.
pub(crate) fn batches(dir: &Directory, shard: ShardId, from: u64, end: u64) -> impl Iterator<Item = &Batch> {
    let slot = dir.slots.iter().position(|s| s.shard == shard);
    dir.events.iter().filter_map(move |(s, e)| match e {
        Event::Batch(b)
            if Some(*s as usize) == slot && b.first < end && b.first + u64::from(b.count) > from =>
        {
            Some(b)
        }
        _ => None,
    })
}

pub(crate) fn read_block(file: &dyn DiskFile, b: &Batch) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; b.len as usize];
    file.read_exact_at(&mut buf, b.offset)?;
    Ok(buf)
}

fn journal_place(file: &JournalFile, offset: u64) -> String {
    format!("{} at {offset}", file_name(file.header.number))
}

fn footer_error(id: &SegmentId, e: FooterError) -> LogError {
    match e {
        FooterError::Io(e) => e.into(),
        e => LogError::Damaged(format!("{}: {e}", closed_name(id))),
    }
}

/// Plain bytes `from..to` of a payload in chunks, each full but the last.
fn slice_chunks(chunks: &[Bytes], from: u64, to: u64) -> Bytes {
    let (from, to) = (from as usize, to as usize);
    let (c0, c1) = (from / CHUNK, (to - 1) / CHUNK);
    if c0 == c1 {
        return chunks[c0].slice(from - c0 * CHUNK..to - c0 * CHUNK);
    }
    let mut out = Vec::with_capacity(to - from);
    for (c, b) in chunks.iter().enumerate().take(c1 + 1).skip(c0) {
        let at = c * CHUNK;
        out.extend_from_slice(&b[from.saturating_sub(at).min(b.len())..(to - at).min(b.len())]);
    }
    out.into()
}
