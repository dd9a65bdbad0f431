//! The one writer of the journal: takes what is queued, gives positions, writes one frame, syncs, publishes, wakes.
//!
//! Synchronous and deterministic: what comes in are operations, what goes out are effects on the disk and replies. The
//! thread that drives it is in [`crate::local`]; a simulated run drives it itself.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use catalog::{Mark, ShardRow};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use world::{ShardId, Timestamp};

use crate::{
    Committed, LogError,
    entry::{DirectoryWriter, Large, Slot},
    index::{Recent, Shard, State, TailData, TailItem},
    journal::{self, FRAME, Header, JournalFile, Loc, MAX_ENTRIES, MAX_FRAME},
    keys::lock,
    open_segment::OpenSegment,
    shared::Shared,
};

/// Why an operation did not go through.
#[derive(Debug)]
pub(crate) enum Fail {
    Log(LogError),
    /// The payload's segment was closed meanwhile: its bytes have to be moved.
    Moved,
}

impl From<LogError> for Fail {
    fn from(e: LogError) -> Self {
        Fail::Log(e)
    }
}

pub(crate) type Done = oneshot::Sender<Result<Committed, Fail>>;

/// A sealed batch.
pub(crate) struct BatchOp {
    pub shard: Arc<Shard>,
    pub sealed: Vec<u8>,
    /// For the tail.
    pub plain: Bytes,
    pub count: u32,
    pub id: u64,
    pub generation: u32,
    pub digest: [u8; 16],
    pub done: Done,
    /// Given back once the outcome is known, whether or not somebody still waits for it.
    #[allow(dead_code, reason = "what matters is when it is dropped")]
    pub room: OwnedSemaphorePermit,
}

/// A payload whose bytes are durable in their segment; position and arrival are to be given.
pub(crate) struct LargeOp {
    pub shard: Arc<Shard>,
    pub large: Box<Large>,
    pub segment: Arc<OpenSegment>,
    pub plain: Option<Arc<[Bytes]>>,
    pub done: Done,
}

/// What the committer is asked for.
pub(crate) enum Op {
    Batch(BatchOp),
    Large(LargeOp),
    Open { shard: Arc<Shard>, parents: Vec<Arc<Shard>>, done: Done },
    Close { shard: Arc<Shard>, done: Done },
    Trim { shard: Arc<Shard>, before: u64, done: Done },
}

impl Op {
    fn body(&self) -> &[u8] {
        match self {
            Op::Batch(b) => &b.sealed,
            _ => &[],
        }
    }
    fn weight(&self) -> usize {
        match self {
            Op::Batch(b) => b.sealed.len() + 64,
            Op::Large(l) => l.large.weight(),
            _ => 64,
        }
    }
    fn reply(self, r: Result<Committed, Fail>) {
        let (Op::Batch(BatchOp { done, .. })
        | Op::Large(LargeOp { done, .. })
        | Op::Open { done, .. }
        | Op::Close { done, .. }
        | Op::Trim { done, .. }) = self;
        // Nobody may be waiting any more.
        let _ = done.send(r);
    }
}

/// Asks for a snapshot of what is to move into segments; taken between two rounds, so that nothing of it is under way.
pub(crate) struct CutRequest {
    /// Shards, and up to where in the journal (exclusive); `None` for everything.
    pub shards: Vec<(Arc<Shard>, Option<Loc>)>,
    /// Segments that take no more from now on.
    pub closing: Vec<Arc<OpenSegment>>,
    /// Whether the catalog's rows that are behind are wanted.
    pub rows: bool,
    pub done: oneshot::Sender<Result<Cut, LogError>>,
}

/// The answer.
pub(crate) struct Cut {
    pub shards: Vec<(Arc<Shard>, Vec<Recent>)>,
    /// Catalog rows that are behind.
    pub rows: Vec<ShardRow>,
    /// Once the cut is in closed segments, everything in the journal before this is.
    pub mark: Mark,
}

/// The file that is being written.
struct Current {
    file: Arc<JournalFile>,
    offset: u32,
    seq: u32,
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    file: Option<Current>,
    /// Where the journal ends if there is no current file.
    end: Option<Loc>,
    /// A frame beyond `end` failed, and no later file says yet that it does not count: a restart might find it whole.
    /// Until then nothing that it refers to may go.
    tainted: bool,
    round: u64,
    slots: Vec<Slot>,
    slot_shards: Vec<Arc<Shard>>,
    directory: DirectoryWriter,
    plain: Vec<u8>,
    frame: Vec<u8>,
    /// What the tail holds, over all shards, in the order of commits: shard, end, cost.
    tail: VecDeque<(Arc<Shard>, u64, usize)>,
    tail_bytes: usize,
}

/// Why an operation is not part of a frame.
enum Not {
    Fail(Fail),
    /// It is so already.
    Needed,
    /// Another of the same frame does the same, and is not durable yet.
    Yet,
}

impl From<LogError> for Not {
    fn from(e: LogError) -> Self {
        Not::Fail(e.into())
    }
}

/// Where an operation of a round landed.
struct Staged {
    op: Op,
    slot: u32,
    position: u64,
}

impl Committer {
    /// `end` is where the recovered journal ends, if there is one.
    pub fn new(shared: Arc<Shared>, end: Option<Loc>) -> Self {
        Committer {
            shared,
            file: None,
            end,
            tainted: false,
            round: 0,
            slots: Vec::new(),
            slot_shards: Vec::new(),
            directory: DirectoryWriter::default(),
            plain: Vec::new(),
            frame: Vec::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }

    /// Does everything in `ops`, in order, in as few frames as they fit in.
    pub fn round(&mut self, ops: &mut Vec<Op>, cuts: Vec<CutRequest>) {
        for c in cuts {
            c.closing.iter().for_each(|s| s.closed.store(true, Ordering::Release));
            let cut = self.cut(&c.shards, c.rows);
            if let Err(Ok(cut)) = c.done.send(cut) {
                // Whoever asked has given up.
                self.shared.mark_dirty(&cut.rows);
            }
        }
        let mut ops = ops.drain(..).peekable();
        while let Some(first) = ops.next() {
            let mut weight = first.weight();
            let mut frame = vec![first];
            while frame.len() < MAX_ENTRIES
                && let Some(op) = ops.next_if(|op| weight + op.weight() <= MAX_FRAME)
            {
                weight += op.weight();
                frame.push(op);
            }
            while !frame.is_empty() {
                frame = self.commit(frame);
            }
        }
    }

    /// Writes one frame. Returns what could only be decided once it is durable.
    fn commit(&mut self, ops: Vec<Op>) -> Vec<Op> {
        let mut later = Vec::new();
        let now = self.shared.world.clock.now();
        self.round += 1;
        self.slots.clear();
        self.slot_shards.clear();
        self.directory.clear();
        let mut staged: Vec<Staged> = Vec::with_capacity(ops.len());
        for mut op in ops {
            match self.assign(&mut op, now, &staged) {
                Ok((slot, position)) => staged.push(Staged { op, slot, position }),
                Err(Not::Fail(fail)) => op.reply(Err(fail)),
                Err(Not::Needed) => op.reply(Ok(Committed { first: 0, count: 0, arrival: now })),
                Err(Not::Yet) => later.push(op),
            }
        }
        if staged.is_empty() {
            return later;
        }
        self.plain.clear();
        self.directory.finish(now, &self.slots, &mut self.plain);
        let body: usize = staged.iter().map(|s| s.op.body().len()).sum();
        let size = (FRAME + self.plain.len() + seal::TAG + body) as u64;
        let (file, at, seq) = match self.place(size) {
            Ok(c) => (c.file.clone(), c.offset, c.seq),
            Err(e) => {
                let why = LogError::Refused(format!("the journal: {e}"));
                self.shared.say_refused(&why);
                self.fail(staged, |_| why.clone());
                return later;
            }
        };
        let plain = &self.plain;
        file.frame(&mut self.frame, seq, |b| b.extend_from_slice(plain), staged.iter().map(|s| s.op.body()));
        debug_assert_eq!(self.frame.len() as u64, size);
        let written = file.disk.write_all_at(&self.frame, at.into()).and_then(|()| file.disk.sync_data());
        if self.frame.capacity() > 2 * MAX_FRAME {
            self.frame = Vec::new();
        }
        if let Err(e) = written {
            // What of it reached the disk is unknown, and after a failed sync the system may believe that it is clean.
            // The file ends before this frame; the next file's header will say so.
            file.failed.store(true, Ordering::Relaxed);
            self.file = None;
            self.end = Some(Loc { file: file.header.number, offset: at });
            self.tainted = true;
            self.shared.counters.sync_failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = %e, file = file.header.number, offset = at, "the journal could not be written");
            self.fail(staged, |_| LogError::Unknown(e.to_string()));
            return later;
        }
        let end = at + size as u32;
        file.end.store(end.into(), Ordering::Release);
        file.entries.fetch_add(staged.len() as u64, Ordering::Relaxed);
        if let Some(c) = &mut self.file {
            (c.offset, c.seq) = (end, seq + 1);
        }
        self.publish(staged, Loc { file: file.header.number, offset: at }, size);
        later
    }

    /// Room for a frame of `size`: in the current file, or in the next.
    fn place(&mut self, size: u64) -> io::Result<&mut Current> {
        let limit = self.shared.limits.journal_file;
        if let Some(c) = &self.file
            && u64::from(c.offset) + size > limit
            && c.offset > journal::HEADER
        {
            // From here on this file is not written, whether or not the next can be made: its header may be durable
            // even if making it fails, and says where this one ends.
            self.end = Some(Loc { file: c.file.header.number, offset: c.offset });
            self.file = None;
        }
        match self.file {
            Some(ref mut c) => Ok(c),
            None => {
                let file = self.start_file()?;
                self.tainted = false;
                Ok(self.file.insert(Current { file, offset: journal::HEADER, seq: 0 }))
            }
        }
    }

    fn start_file(&self) -> io::Result<Arc<JournalFile>> {
        let s = &*self.shared;
        let number = self.end.map_or(Some(1), |e| e.file.checked_add(1));
        let header = Header {
            number: number.ok_or_else(|| io::Error::other("file numbers are used up"))?,
            generation: s.journal_key.0,
            salt: s.world.random32(),
            writer: (*s.writer).clone(),
            prev: self.end,
            created: s.world.clock.now(),
        };
        let disk = lock(&s.spares).start(&*s.world.disk, &header, s.limits.journal_file)?;
        let file = Arc::new(JournalFile::new(header, disk, &s.journal_key.1));
        lock(&s.journal).insert(file.header.number, file.clone());
        Ok(file)
    }

    /// Checks an operation and gives it its position.
    fn assign(&mut self, op: &mut Op, now: Timestamp, before: &[Staged]) -> Result<(u32, u64), Not> {
        if let Op::Open { shard, parents, .. } = op {
            let pending = |s: &Staged| matches!(&s.op, Op::Open { shard: other, .. } if other.id == shard.id);
            if before.iter().any(pending) {
                return Err(Not::Yet);
            }
            if let Some(there) = self.shared.find(shard.id) {
                if there.parents == shard.parents {
                    return Err(Not::Needed);
                }
                return Err(
                    LogError::Refused(format!("shard {} exists, with other parents", shard.id)).into()
                );
            }
            // After the index, which a shard leaves only once it is named here.
            if self.shared.forgotten.has(shard.id) {
                return Err(LogError::Refused(format!(
                    "shard {} was there before: its number is not used again",
                    shard.id
                ))
                .into());
            }
            for p in parents.iter() {
                let st = p.state();
                if st.gone {
                    return Err(LogError::NoShard(p.id).into());
                }
                if !st.closing {
                    return Err(LogError::Refused(format!("parent shard {} is not closed", p.id)).into());
                }
            }
        }
        let (Op::Batch(BatchOp { shard, .. })
        | Op::Large(LargeOp { shard, .. })
        | Op::Open { shard, .. }
        | Op::Close { shard, .. }
        | Op::Trim { shard, .. }) = &*op;
        let shard = shard.clone();
        let mut st = shard.state();
        if st.gone || shard.stream.leaving.load(Ordering::Acquire) {
            return Err(LogError::NoShard(shard.id).into());
        }
        match op {
            Op::Batch(_) | Op::Large(_) | Op::Close { .. } if st.closing => {
                return Err(LogError::Closed(shard.id).into());
            }
            Op::Large(l) if l.segment.closed.load(Ordering::Acquire) => return Err(Not::Fail(Fail::Moved)),
            Op::Trim { before, .. } if *before <= st.trim => return Err(Not::Needed),
            _ => {}
        }
        if let Op::Open { .. } = op {
            st.assigned = self.shared.begin.load(Ordering::Relaxed);
        }
        let slot = if st.slot.0 == self.round {
            st.slot.1
        } else {
            let slot = self.slots.len() as u32;
            st.slot = (self.round, slot);
            st.last = st.last.max(now);
            self.slots.push(Slot { shard: shard.id, base: st.assigned, arrival: st.last });
            self.slot_shards.push(shard.clone());
            slot
        };
        let position = st.assigned;
        let d = &mut self.directory;
        match op {
            Op::Batch(b) => {
                st.assigned += u64::from(b.count);
                d.batch(slot, 0, b.id, b.generation, b.count, b.sealed.len() as u32, &b.digest);
            }
            Op::Large(l) => {
                st.assigned += 1;
                (l.large.position, l.large.arrival) = (position, st.last);
                d.large(slot, &l.large);
            }
            Op::Open { .. } => {
                st.opened = st.last;
                d.open(slot, &shard.parents);
            }
            Op::Close { .. } => {
                st.closing = true;
                d.close(slot);
            }
            Op::Trim { before, .. } => {
                // What was not assigned yet cannot be forgotten.
                *before = (*before).min(st.assigned);
                d.trim(slot, *before);
            }
        }
        Ok((slot, position))
    }

    /// Nothing of a round counts. The positions it had are not used again: holes are allowed.
    fn fail(&self, staged: Vec<Staged>, error: impl Fn(ShardId) -> LogError) {
        for Staged { op, .. } in staged {
            let id = match &op {
                Op::Close { shard, .. } => {
                    shard.state().closing = false;
                    shard.id
                }
                Op::Batch(BatchOp { shard, .. })
                | Op::Large(LargeOp { shard, .. })
                | Op::Open { shard, .. }
                | Op::Trim { shard, .. } => shard.id,
            };
            op.reply(Err(Fail::Log(error(id))));
        }
    }

    /// Makes a durable round visible, then answers.
    fn publish(&mut self, staged: Vec<Staged>, at: Loc, size: u64) {
        let s = self.shared.clone();
        let c = &s.counters;
        let (mut appended, mut bytes) = (0, 0);
        let mut newly = Vec::new();
        let mut replies = Vec::with_capacity(staged.len());
        for Staged { op, slot, position } in staged {
            let arrival = self.slots[slot as usize].arrival;
            let mut committed = Committed { first: position, count: 0, arrival };
            match &op {
                Op::Batch(b) => {
                    committed.count = b.count;
                    (appended, bytes) = (appended + u64::from(b.count), bytes + b.plain.len() as u64);
                    let data = TailData::Records(b.plain.clone());
                    let item = Recent::Frame {
                        first: position,
                        count: b.count,
                        bytes: b.sealed.len() as u32,
                        arrival,
                        at,
                    };
                    self.visible(&b.shard, item, data, &mut newly);
                }
                Op::Large(l) => {
                    committed.count = 1;
                    (appended, bytes) = (appended + 1, bytes + l.large.len);
                    let large = Arc::new((*l.large).clone());
                    l.segment.index_bytes.fetch_add(large.weight() as u64, Ordering::Relaxed);
                    // At once, rather than when next looked at: a fast writer would go far past its size.
                    if l.segment.end.load(Ordering::Relaxed) >= s.limits.segment_bytes {
                        s.flush.notify_one();
                    }
                    let data = TailData::Large(large.clone(), l.plain.clone());
                    self.visible(&l.shard, Recent::Large { large, at }, data, &mut newly);
                }
                Op::Open { shard, .. } => {
                    let mut st = shard.state();
                    (st.next, st.flushed, st.tail_start) = (position, position, position);
                    mark_dirty(shard, &mut st, &mut newly);
                    drop(st);
                    s.insert(shard.clone());
                }
                Op::Close { shard, .. } => {
                    let mut st = shard.state();
                    st.next = st.next.max(position);
                    st.closed = true;
                    mark_dirty(shard, &mut st, &mut newly);
                }
                Op::Trim { shard, before, .. } => {
                    let mut st = shard.state();
                    st.trim = st.trim.max(*before);
                    // A hole at the tip may be trimmed over.
                    st.next = st.next.max(st.trim);
                    let trim = st.trim;
                    st.drop_recent(trim);
                    st.drop_tail(trim);
                    mark_dirty(shard, &mut st, &mut newly);
                }
            }
            replies.push((op, committed));
        }
        if !newly.is_empty() {
            lock(&s.active).extend(newly);
        }
        for shard in self.slot_shards.drain(..) {
            shard.state().announce();
        }
        while self.tail_bytes > s.limits.tail_bytes
            && let Some((shard, end, cost)) = self.tail.pop_front()
        {
            self.tail_bytes -= cost;
            shard.state().drop_tail(end);
        }
        c.appended.fetch_add(appended, Ordering::Relaxed);
        c.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
        c.rounds.fetch_add(1, Ordering::Relaxed);
        c.tail_bytes.store(self.tail_bytes as u64, Ordering::Relaxed);
        c.journal_bytes.fetch_add(size, Ordering::Relaxed);
        let sealed = replies.iter_mut().filter_map(|(op, _)| match op {
            Op::Batch(b) => Some(std::mem::take(&mut b.sealed)),
            _ => None,
        });
        s.pool.give(sealed);
        for (op, committed) in replies {
            op.reply(Ok(committed));
        }
    }

    fn visible(&mut self, shard: &Arc<Shard>, item: Recent, data: TailData, newly: &mut Vec<ShardId>) {
        let (first, end) = (item.first(), item.end());
        let tail = TailItem { first, count: (end - first) as u32, arrival: item.arrival(), data };
        let cost = tail.cost();
        let mut st = shard.state();
        st.next = end;
        st.push_recent(item);
        mark_dirty(shard, &mut st, newly);
        st.tail.push_back(tail);
        self.tail.push_back((shard.clone(), end, cost));
        self.tail_bytes += cost;
    }

    /// See [`CutRequest`].
    fn cut(&mut self, wanted: &[(Arc<Shard>, Option<Loc>)], with_rows: bool) -> Result<Cut, LogError> {
        if self.tainted {
            self.place(0).map_err(|e| LogError::Io(format!("the journal: {e}")))?;
        }
        let mut mark = match (&self.file, self.end) {
            (Some(c), _) => Some(Loc { file: c.file.header.number, offset: c.offset }),
            (None, end) => end,
        };
        let mut taken = BTreeMap::new();
        let mut shards = Vec::new();
        for (shard, upto) in wanted {
            let st = shard.state();
            if st.gone {
                continue;
            }
            let items: Vec<Recent> =
                st.recent.iter().take_while(|i| upto.is_none_or(|u| i.at() < u)).cloned().collect();
            for i in &items {
                if let Recent::Large { large, .. } = i
                    && let Some(seg) = self.shared.segments.get(&large.segment)
                {
                    seg.closed.store(true, Ordering::Release);
                }
            }
            if !items.is_empty() {
                taken.insert(shard.id, items.len());
                shards.push((shard.clone(), items));
            }
        }
        let mut rows = Vec::new();
        for id in lock(&self.shared.active).iter() {
            let Some(shard) = self.shared.find(*id) else { continue };
            let mut st = shard.state();
            if with_rows && std::mem::take(&mut st.dirty) {
                rows.push(shard.row(&st));
            }
            if let Some(first_left) = st.recent.get(taken.get(id).copied().unwrap_or(0)) {
                mark = mark.min(Some(first_left.at()));
            }
        }
        let mark = mark.map_or(Mark::default(), |l| Mark { file: l.file.into(), offset: l.offset.into() });
        Ok(Cut { shards, rows, mark })
    }
}

fn mark_dirty(shard: &Shard, st: &mut State, newly: &mut Vec<ShardId>) {
    st.dirty = true;
    if !st.active {
        st.active = true;
        newly.push(shard.id);
    }
}
