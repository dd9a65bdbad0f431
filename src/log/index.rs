//! What is known in memory of each shard: where it stands, what of it is not in a closed segment yet, and its tail.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool},
};

use bytes::Bytes;
use catalog::ShardRow;
use tokio::sync::watch;
use world::{ShardId, StreamUid, Timestamp};

use crate::{
    Head, LogError,
    entry::Large,
    journal::Loc,
    keys::{Keys, Sealer, lock},
    open_segment::OpenSegment,
};

/// One stream; its shards share it.
pub(crate) struct Stream {
    pub uid: StreamUid,
    /// It is being deleted: nothing is opened or appended any more.
    pub leaving: AtomicBool,
    /// Loaded with the first append, replaced when the key changes. The lock is held over the loading, so that a change
    /// of key is not undone by a loader that is late.
    sealer: tokio::sync::RwLock<Option<Arc<Sealer>>>,
}

impl Stream {
    pub fn new(uid: StreamUid) -> Arc<Stream> {
        Arc::new(Stream { uid, leaving: AtomicBool::new(false), sealer: tokio::sync::RwLock::new(None) })
    }
    pub async fn sealer(&self, keys: &Keys, writer: &crate::entry::Writer) -> Result<Arc<Sealer>, LogError> {
        if let Some(s) = &*self.sealer.read().await {
            return Ok(s.clone());
        }
        let mut place = self.sealer.write().await;
        if let Some(s) = &*place {
            return Ok(s.clone());
        }
        let s = keys.sealer(self.uid, writer).await?;
        *place = Some(s.clone());
        Ok(s)
    }
    /// Blocks that are being sealed under the old key may still be appended after this; each names its generation.
    pub async fn forget_sealer(&self) {
        *self.sealer.write().await = None;
    }
}

/// Something of a shard that is only in the journal, or in an open segment, so far.
#[derive(Clone, Debug)]
pub(crate) enum Recent {
    /// Records in one frame: its directory says where.
    Frame { first: u64, count: u32, bytes: u32, arrival: Timestamp, at: Loc },
    /// A large payload, and the frame that committed it.
    Large { large: Arc<Large>, at: Loc },
}

impl Recent {
    pub fn first(&self) -> u64 {
        match self {
            Recent::Frame { first, .. } => *first,
            Recent::Large { large, .. } => large.position,
        }
    }
    pub fn end(&self) -> u64 {
        match self {
            Recent::Frame { first, count, .. } => first + u64::from(*count),
            Recent::Large { large, .. } => large.position + 1,
        }
    }
    pub fn arrival(&self) -> Timestamp {
        match self {
            Recent::Frame { arrival, .. } => *arrival,
            Recent::Large { large, .. } => large.arrival,
        }
    }
    /// Sealed.
    pub fn bytes(&self) -> u64 {
        match self {
            Recent::Frame { bytes, .. } => u64::from(*bytes),
            Recent::Large { large, .. } => large.sealed_bytes(),
        }
    }
    pub fn at(&self) -> Loc {
        match self {
            Recent::Frame { at, .. } | Recent::Large { at, .. } => *at,
        }
    }
}

/// A piece of the tail, plain.
#[derive(Clone)]
pub(crate) struct TailItem {
    pub first: u64,
    pub count: u32,
    pub arrival: Timestamp,
    pub data: TailData,
}

#[derive(Clone)]
pub(crate) enum TailData {
    /// As [`crate::entry::encode_records`] made them.
    Records(Bytes),
    /// Its plain chunks, if it was small enough to keep.
    Large(Arc<Large>, Option<Arc<[Bytes]>>),
}

impl TailItem {
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
    /// About what it takes in memory.
    pub fn cost(&self) -> usize {
        // Its place in the queue of all tails, and what allocating takes.
        size_of::<TailItem>()
            + 64
            + match &self.data {
                TailData::Records(b) => b.len(),
                TailData::Large(_, Some(chunks)) => chunks.iter().map(Bytes::len).sum(),
                TailData::Large(_, None) => 0,
            }
    }
}

/// A shard.
pub(crate) struct Shard {
    pub id: ShardId,
    pub stream: Arc<Stream>,
    pub parents: Box<[u32]>,
    state: Mutex<State>,
    /// The segment that new payloads are written into.
    pub segment: Mutex<Option<Arc<OpenSegment>>>,
}

/// What changes of a shard. *Assigned* runs ahead of what readers see by the round that is being synced.
#[derive(Default)]
pub(crate) struct State {
    pub opened: Timestamp,
    /// Deleted with its stream.
    pub gone: bool,
    /// A close is assigned; `closed` once it is durable.
    pub closing: bool,
    pub closed: bool,
    pub trim: u64,
    pub assigned: u64,
    pub next: u64,
    /// The latest arrival assigned.
    pub last: Timestamp,
    /// Everything before is in closed segments.
    pub flushed: u64,
    /// Everything from `flushed` on, in order.
    pub recent: VecDeque<Recent>,
    /// Sealed bytes among it.
    pub recent_bytes: u64,
    /// Payloads among it.
    pub larges: u32,
    /// Everything from `tail_start` on, in order.
    pub tail: VecDeque<TailItem>,
    pub tail_start: u64,
    pub watch: Option<watch::Sender<Head>>,
    /// The catalog's row is behind.
    pub dirty: bool,
    /// In the set of shards that a flush looks at.
    pub active: bool,
    /// The round, and the line in its directory, that it was last in.
    pub slot: (u64, u32),
}

impl State {
    pub fn head(&self) -> Head {
        Head { oldest: self.trim, next: self.next, closed: self.closed }
    }
    /// Adds what became durable, joining what one frame has of it.
    pub fn push_recent(&mut self, item: Recent) {
        self.recent_bytes += item.bytes();
        self.larges += u32::from(matches!(item, Recent::Large { .. }));
        if let (
            Some(Recent::Frame { first, count, bytes, at, .. }),
            Recent::Frame { first: from, count: n, bytes: b, at: same, .. },
        ) = (self.recent.back_mut(), &item)
            && at == same
            && *first + u64::from(*count) == *from
            && let (Some(n), Some(b)) = (count.checked_add(*n), bytes.checked_add(*b))
        {
            (*count, *bytes) = (n, b);
            return;
        }
        self.recent.push_back(item);
    }
    /// Forgets what is in closed segments by now, or trimmed: everything that ends at or before `end`.
    pub fn drop_recent(&mut self, end: u64) {
        while let Some(r) = self.recent.pop_front_if(|r| r.end() <= end) {
            self.recent_bytes -= r.bytes();
            self.larges -= u32::from(matches!(r, Recent::Large { .. }));
        }
        self.flushed = self.flushed.max(end.min(self.recent.front().map_or(self.next, Recent::first)));
        if self.recent.is_empty() {
            self.recent = VecDeque::new();
        }
    }
    /// Forgets the tail before `end`.
    pub fn drop_tail(&mut self, end: u64) {
        while self.tail.front().is_some_and(|t| t.end() <= end) {
            self.tail.pop_front();
        }
        self.tail_start = self.tail_start.max(end);
        if self.tail.is_empty() {
            self.tail = VecDeque::new();
        }
    }
    /// Tells followers.
    pub fn announce(&mut self) {
        if let Some(w) = &self.watch {
            if w.receiver_count() == 0 {
                self.watch = None;
            } else {
                w.send_replace(self.head());
            }
        }
    }
}

impl Shard {
    pub fn new(id: ShardId, stream: Arc<Stream>, parents: &[u32], opened: Timestamp) -> Arc<Shard> {
        let state = State { opened, ..State::default() };
        Arc::new(Shard {
            id,
            stream,
            parents: parents.into(),
            state: Mutex::new(state),
            segment: Mutex::new(None),
        })
    }
    pub fn from_row(row: &ShardRow, stream: Arc<Stream>) -> Arc<Shard> {
        let s = Shard::new(row.shard, stream, &row.parents, row.opened);
        {
            let mut st = s.state();
            st.trim = row.trim;
            st.next = row.closed.unwrap_or(row.next).max(row.next);
            st.closed = row.closed.is_some();
            st.last = row.last_arrival;
            st.settle();
        }
        s
    }
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
    /// The catalog's row as it should be now.
    pub fn row(&self, st: &State) -> ShardRow {
        ShardRow {
            shard: self.id,
            parents: self.parents.to_vec(),
            opened: st.opened,
            closed: st.closed.then_some(st.next),
            trim: st.trim,
            next: st.next,
            last_arrival: st.last,
        }
    }
}

impl State {
    /// After a recovery: nothing is assigned beyond what is visible, nothing is in memory.
    pub fn settle(&mut self) {
        self.assigned = self.next;
        self.closing = self.closed;
        self.tail_start = self.next;
        if self.recent.is_empty() {
            self.flushed = self.next;
        }
    }
}
