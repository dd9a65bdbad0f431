use world::{ShardId, StreamUid, Timestamp};

/// A stream's data key of one generation, wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Whose.
    pub stream: StreamUid,
    /// From 1.
    pub generation: u32,
    /// `seal::Wrapped::provider`.
    pub provider: String,
    /// `seal::Wrapped::bytes`.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
}

/// A shard as the journal has left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRow {
    /// Which.
    pub shard: ShardId,
    /// Shards it continues: none, one (split), two (merge).
    pub parents: Vec<u32>,
    /// When it was opened.
    pub opened: Timestamp,
    /// Set once closed: the position that the next record would have had.
    pub closed: Option<u64>,
    /// Positions before this one are gone.
    pub trim: u64,
    /// Positions before this one were given out (a lower bound until the shard is closed: the journal knows more).
    pub next: u64,
    /// The latest arrival time among them.
    pub last_arrival: Timestamp,
}

/// Where a segment's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// A file in the data folder only.
    Local,
    /// In the store (and perhaps cached here).
    Stored,
}

/// One segment: a file, or an object of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// A ULID-like id: rises with time.
    pub id: [u8; 16],
    /// Where it is.
    pub state: SegmentState,
    /// Length in bytes, footer and trailer included.
    pub bytes: u64,
    /// Where the footer begins; it ends where the trailer begins.
    pub footer: u64,
    /// When it was finished.
    pub created: Timestamp,
}

/// A stretch of one shard in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// The shard.
    pub shard: ShardId,
    /// First position in it.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// The segment.
    pub segment: [u8; 16],
    /// Which run of the segment's footer this is.
    pub ordinal: u32,
    /// Sealed bytes.
    pub bytes: u64,
    /// Earliest and latest arrival.
    pub arrival: (Timestamp, Timestamp),
    /// Earliest start and latest end by the producers' clocks. Runs may overlap in it.
    pub producer: (Timestamp, Timestamp),
}

/// A position in the journal: everything before it is in the projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The journal file's number.
    pub file: u64,
    /// Offset in it.
    pub offset: u64,
}

/// One step of the projection of the journal. Removals come first, so that a run may take the place of one removed.
#[derive(Clone, Debug, Default)]
pub struct LogUpdate {
    /// Inserted, or replaced where they are there.
    pub shards: Vec<ShardRow>,
    /// Inserted, or replaced.
    pub segments: Vec<SegmentRow>,
    /// Inserted, or replaced (by shard and first position).
    pub runs: Vec<RunRow>,
    /// Shards forgotten, of which there are no runs.
    pub removed_shards: Vec<ShardId>,
    /// Runs removed (shard, first position), as compaction and retention do.
    pub removed_runs: Vec<(ShardId, u64)>,
    /// Segments forgotten, once their bytes are gone.
    pub removed_segments: Vec<[u8; 16]>,
    /// The new mark, unless it stays. Never moves backwards.
    pub mark: Option<Mark>,
}

/// Both ends inclusive.
pub type Span<T> = (T, T);

/// Which runs [`crate::Catalog::runs`] returns: those that meet the span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunQuery {
    /// By position.
    Positions(Span<u64>),
    /// By arrival time.
    Arrival(Span<Timestamp>),
    /// By producer time.
    Producer(Span<Timestamp>),
}
