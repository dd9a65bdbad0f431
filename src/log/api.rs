use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use catalog::CatalogError;
use tokio::sync::watch;
use world::{ShardId, StreamUid, Timestamp};

use crate::{Pin, Removed, Retention};

/// Why the log did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// No such stream or shard (any more).
    #[error("shard {0} does not exist")]
    NoShard(ShardId),
    /// The shard takes no more records.
    #[error("shard {0} is closed")]
    Closed(ShardId),
    /// Nothing was written: there is no room, or too much is waiting. May be tried again.
    #[error("refused: {0}")]
    Refused(String),
    /// Too large to ever be accepted.
    #[error("{len} bytes are more than the {limit} that {what} may have")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// How large it was.
        len: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The write may or may not be durable: a sync failed, or the log went down meanwhile.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The position is before the trim point, or retention has removed it from behind something pinned.
    #[error("position {position} of shard {shard} is gone: the oldest is {oldest}")]
    Trimmed {
        /// The shard.
        shard: ShardId,
        /// What was asked for.
        position: u64,
        /// What there is.
        oldest: u64,
    },
    /// Stored bytes are damaged or cannot be opened; they are never served.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The stream's key is gone or cannot be had.
    #[error("key of stream {0}: {1}")]
    Key(StreamUid, String),
    /// The disk or the store failed on a read, or the catalog did.
    #[error("{0}")]
    Io(String),
    /// The log is shutting down.
    #[error("shutting down")]
    Down,
}

impl From<CatalogError> for LogError {
    fn from(e: CatalogError) -> LogError {
        LogError::Io(e.to_string())
    }
}

impl From<std::io::Error> for LogError {
    fn from(e: std::io::Error) -> LogError {
        LogError::Io(e.to_string())
    }
}

/// Where an append landed: `first .. first + count` of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Position of the first record.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Arrival time of all of them; never falls within a shard.
    pub arrival: Timestamp,
}

/// One record, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub position: u64,
    /// When it arrived.
    pub arrival: Timestamp,
    /// What was appended.
    pub data: Bytes,
}

/// What the index says of one large payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The shard.
    pub shard: ShardId,
    /// Its position.
    pub position: u64,
    /// When receipt of it was finished, by the server's clock.
    pub arrival: Timestamp,
    /// Its start and end by the producer's clock.
    pub producer: (Timestamp, Timestamp),
    /// Plain length in bytes.
    pub len: u64,
    /// What the service wanted listed (at most [`MAX_INDEX`] bytes). Sealed on disk like everything else.
    pub index: Bytes,
    /// Where the sealed bytes are; opaque.
    pub place: Place,
}

/// Where a payload's sealed bytes are: a segment, an offset, the block they are. Made by engines, opaque to others.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place(pub(crate) Bytes);

/// What an index entry may hold.
pub const MAX_INDEX: usize = 4 * 1024;

/// What [`Log::read`] found.
#[derive(Clone, Debug)]
pub enum Item {
    /// A record.
    Record(Record),
    /// A large payload; its bytes by [`Log::read_payload`]. Boxed, as pages of many records are handed around.
    Payload(Box<Payload>),
}

/// A page of a shard.
#[derive(Clone, Debug)]
pub struct Page {
    /// In order.
    pub items: Vec<Item>,
    /// Where to go on.
    pub next: u64,
}

/// Where a shard begins and ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The oldest position that can be read.
    pub oldest: u64,
    /// The position the next record will have at the earliest; all before are readable (holes aside).
    pub next: u64,
    /// Whether it takes no more.
    pub closed: bool,
}

/// A shard's beginning and end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was opened. Of a shard whose opening was lost (an older catalog was put back): when the first arrived that
    /// is known of it.
    pub opened: Timestamp,
    /// Whether it takes no more.
    pub closed: bool,
}

/// A part of a shard that cannot be read, and will not be by itself: its bytes are gone or damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Positions: the first, and one past the last.
    pub positions: (u64, u64),
    /// When the first and the last of it arrived.
    pub arrival: (Timestamp, Timestamp),
    /// Sealed.
    pub bytes: u64,
    /// What is wrong, and where.
    pub why: String,
}

/// A stretch of a shard, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// By position.
    Positions(u64, u64),
    /// By arrival time.
    Arrival(Timestamp, Timestamp),
    /// By producer time: payloads whose time range meets this one.
    Producer(Timestamp, Timestamp),
}

/// The shard log.
///
/// * **must** An append is acknowledged only once it is durable, and read by nobody before that.
/// * **must** Within a shard positions rise strictly in the order in which readers see them and are never used twice;
///   holes are allowed; nothing acknowledged is skipped; across crashes, restarts, splits and merges.
/// * **must** Arrival time never falls within a shard.
/// * **must** A child shard's first record is readable only once its parents are closed.
/// * **must** What is not acknowledged may be lost, but is never half there.
/// * **must** Nothing readable is on disk in the clear, and no nonce repeats under a key.
#[async_trait::async_trait]
pub trait Log: Send + Sync + 'static {
    /// Makes a stream with one open shard, 0: its first data key and its shard are durable when this returns.
    async fn create_stream(&self, stream: StreamUid) -> Result<(), LogError>;
    /// Forgets a stream. Its keys are destroyed first: from then on its bytes, wherever they are, cannot be opened.
    async fn delete_stream(&self, stream: StreamUid) -> Result<(), LogError>;
    /// Makes a new data key for what is appended from now on. Returns its generation.
    async fn rotate_key(&self, stream: StreamUid) -> Result<u32, LogError>;

    /// Opens a shard that continues `parents` (which must be closed).
    async fn open_shard(&self, shard: ShardId, parents: &[u32]) -> Result<(), LogError>;
    /// Closes a shard; returns its end.
    async fn close_shard(&self, shard: ShardId) -> Result<u64, LogError>;
    /// The shards of a stream with their parents.
    async fn shards(&self, stream: StreamUid) -> Result<Vec<(ShardId, Vec<u32>)>, LogError>;
    /// Since when a shard is there, and whether it is closed.
    async fn life(&self, shard: ShardId) -> Result<Life, LogError>;
    /// When the catalog was last put back from a snapshot that is older than the log, if it ever was: documents in it may
    /// not know what was done here since.
    async fn restored(&self) -> Result<Option<Timestamp>, LogError>;

    /// Takes shards of a stream out entirely that are closed and of which nothing is left, as all of it was trimmed or
    /// removed by retention: durable when it returns. Children keep their numbers as their parents', and nobody is told
    /// of them any more. Their numbers are never used again. Returns those that stay: open, not empty (in time, what
    /// retention removes goes at the next pass), or the last of the stream. What is not there is passed over.
    async fn forget_shards(&self, stream: StreamUid, shards: &[u32]) -> Result<Vec<u32>, LogError>;

    /// Appends a batch of small records (at least one; together at most [`Limits::batch_bytes`]) as one block. The
    /// batch is wholly there or not at all.
    async fn append(&self, shard: ShardId, records: Vec<Bytes>) -> Result<Committed, LogError>;
    /// Begins a large payload. Several may be under way in a shard; each takes its position when it is committed.
    async fn payload(&self, shard: ShardId) -> Result<Box<dyn PayloadWriter>, LogError>;

    /// Reads on from `from` (inclusive): at most `max_items` and about `max_bytes`. An empty page means the tip.
    async fn read(
        &self,
        shard: ShardId,
        from: u64,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Page, LogError>;
    /// The first position at or after an arrival time.
    async fn seek(&self, shard: ShardId, arrival: Timestamp) -> Result<u64, LogError>;
    /// Payloads in a stretch, ascending by position, at most `limit` (`from_end`: the last ones rather than the first,
    /// still ascending). Costs index reads only.
    async fn payloads(
        &self,
        shard: ShardId,
        query: Query,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Payload>, LogError>;
    /// As [`Log::payloads`], but goes on past parts that are gone or damaged, and says which these are; at most
    /// [`crate::MAX_UNREADABLE`]: then what is between the last of them and what is in no closed segment yet was not looked
    /// at. What only cannot be had at the moment fails it.
    async fn readable_payloads(
        &self,
        shard: ShardId,
        query: Query,
        limit: usize,
        from_end: bool,
    ) -> Result<(Vec<Payload>, Vec<Unreadable>), LogError> {
        Ok((self.payloads(shard, query, limit, from_end).await?, Vec::new()))
    }
    /// Positions within a stretch that hold nothing between others that do, as (first, one past the last): removed by
    /// retention, or never used.
    async fn gaps(&self, shard: ShardId, from: u64, to: u64) -> Result<Vec<(u64, u64)>, LogError>;
    /// A range of a payload's plain bytes; only the chunks that it meets are read and opened.
    async fn read_payload(&self, payload: &Payload, range: Range<u64>) -> Result<Bytes, LogError>;

    /// Follows a shard's head: changes whenever something becomes readable.
    fn watch(&self, shard: ShardId) -> Result<watch::Receiver<Head>, LogError>;
    /// Says how long a stream's records stay, from now on; durable when it returns. Whoever makes a stream says so: unless
    /// told, it keeps everything.
    async fn set_retention(&self, stream: StreamUid, retention: Retention) -> Result<(), LogError>;
    /// What was said last.
    async fn retention(&self, stream: StreamUid) -> Result<Retention, LogError>;
    /// Keeps what has arrived and will arrive between two moments from retention, whatever that says; what is gone
    /// already stays gone. Durable when it returns. A deletion of the stream, and [`Log::trim`], do not heed it.
    async fn pin(
        &self,
        stream: StreamUid,
        from: Timestamp,
        to: Timestamp,
        note: &str,
    ) -> Result<Pin, LogError>;
    /// Takes a pin away; `false` if there is none of this id.
    async fn unpin(&self, stream: StreamUid, id: &str) -> Result<bool, LogError>;
    /// A stream's pins, the earliest first.
    async fn pins(&self, stream: StreamUid) -> Result<Vec<Pin>, LogError>;
    /// Does now what the log does by itself every few seconds: removes what the rules say, and settles whether there is
    /// room. What goes goes in whole runs, or as it arrived where it is in no closed segment yet; beyond something
    /// pinned this leaves holes.
    async fn enforce(&self) -> Result<(), LogError>;
    /// Forgets everything before `before`.
    async fn trim(&self, shard: ShardId, before: u64) -> Result<(), LogError>;
    /// Sealed bytes held for a stream, or in all.
    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, LogError>;
    /// What the log is doing, for metrics.
    fn stats(&self) -> Stats;
    /// Commits what was accepted, writes open segments' footers, and stops.
    async fn shutdown(&self) -> Result<(), LogError>;
}

/// A large payload on its way in. Dropped without [`PayloadWriter::commit`], it leaves nothing.
#[async_trait::async_trait]
pub trait PayloadWriter: Send {
    /// Appends plain bytes; sealed and written chunk by chunk.
    async fn write(&mut self, data: &[u8]) -> Result<(), LogError>;
    /// Makes it a record: durable when this returns.
    async fn commit(
        self: Box<Self>,
        producer: (Timestamp, Timestamp),
        index: Bytes,
    ) -> Result<Committed, LogError>;
}

/// Bounds of an engine. All have defaults.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Plain bytes in one append.
    pub batch_bytes: usize,
    /// Bytes of one payload.
    pub payload_bytes: u64,
    /// Bytes accepted and not yet durable, over all shards; beyond it appends wait.
    pub inflight_bytes: usize,
    /// Plain bytes of the tail kept in memory, over all shards.
    pub tail_bytes: usize,
    /// A journal file's size.
    pub journal_file: u64,
    /// Journal bytes not yet released; beyond it appends wait, and are refused.
    pub journal_backlog: u64,
    /// A segment is closed at this size …
    pub segment_bytes: u64,
    /// … and at this age.
    pub segment_age: Duration,
    /// Bytes of footers kept in memory.
    pub footer_bytes: usize,
    /// Bytes of finished segments that may wait for the store; beyond it appends wait, and are refused.
    pub upload_backlog: u64,
    /// How long an append waits beyond these two before it is refused (zero: not at all). No longer than clients wait
    /// for an answer: the Kinesis Producer Library gives a request six seconds.
    pub backlog_wait: Duration,
    /// Bytes of stored segments kept as files, too.
    pub cache_bytes: u64,
    /// Segments smaller than this are small: in time they are rewritten into full ones (0: never).
    pub small_segment: u64,
    /// So many small ones are worth rewriting, or as many as make a full one.
    pub small_segments: usize,
    /// Whether records are moved from the journal to segments (tests and benchmarks hold it back).
    pub tiering: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            batch_bytes: 12 << 20,
            payload_bytes: 256 << 20,
            inflight_bytes: 64 << 20,
            tail_bytes: 64 << 20,
            journal_file: 64 << 20,
            journal_backlog: 4 << 30,
            segment_bytes: 256 << 20,
            segment_age: Duration::from_secs(600),
            footer_bytes: 32 << 20,
            upload_backlog: 64 << 30,
            backlog_wait: Duration::from_secs(5),
            cache_bytes: 16 << 30,
            small_segment: 32 << 20,
            small_segments: 32,
            tiering: true,
        }
    }
}

/// Counters since the start, and levels now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records and payloads made durable.
    pub appended: u64,
    /// Their plain bytes.
    pub appended_bytes: u64,
    /// Group commits.
    pub rounds: u64,
    /// Sync failures.
    pub sync_failures: u64,
    /// Bytes accepted and not yet durable.
    pub inflight_bytes: u64,
    /// Journal bytes not yet released.
    pub journal_bytes: u64,
    /// Bytes of the tail in memory.
    pub tail_bytes: u64,
    /// Open segments.
    pub open_segments: u64,
    /// Bytes of finished segments that wait for the store.
    pub upload_backlog: u64,
    /// Segments brought to the store.
    pub uploads: u64,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// Attempts at the store that failed.
    pub upload_failures: u64,
    /// Bytes of stored segments that are files here, too.
    pub cached_bytes: u64,
    /// Segments rewritten into others.
    pub compacted: u64,
    /// Writes that waited for what is to be moved on.
    pub slowed: u64,
    /// What retention has removed.
    pub removed: Removed,
    /// How far the wall clock has leapt ahead of the time that age goes by; zero: it is believed.
    pub clock_leap: Duration,
}

/// A shared log.
pub type SharedLog = Arc<dyn Log>;
