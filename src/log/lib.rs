//! Floor 2: the shard log. Every durable thing that happens is a record in a shard of it.
//!
//! [`Log`] is the trait that conformance holds engines to; [`Log`]'s **must** lines are in its documentation. Two
//! engines: [`MemoryLog`] and [`LocalLog`], a journal and segments in one data folder.
//!
//! How the local engine works: callers seal on their own task ([`seal::Block`]: one batch, or one large payload) and
//! queue; one committer takes everything that waits, gives positions, writes one frame to the journal, syncs, publishes
//! it to the index and the tail, and wakes the waiters. Large payloads are written to their shard's open segment as they
//! arrive and synced before the frame that commits them. A flusher moves what is in the journal into segments and the
//! catalog, and lets go of the journal's files. Retention removes what is too old or too much, as each stream's rules, the
//! store's policy and the disk say. `docs/formats/journal.md` and `docs/formats/segment.md` are the layouts.
//!
//! The committer, the recovery and the flusher's steps are synchronous and take time, randomness and disk from
//! [`world::World`], so that a simulated run can drive and fail them.

mod api;
mod archive;
mod backlog;
mod blocks;
mod cache;
mod codec;
mod committer;
mod compact;
mod enforce;
mod entry;
mod find;
mod findings;
mod flush;
mod footers;
mod forgotten;
mod guard;
#[doc(hidden)]
pub mod hostile;
mod index;
mod journal;
mod keys;
mod local;
mod lru;
mod memory;
mod objects;
mod open_segment;
mod opening;
mod orphans;
mod payload;
mod place;
mod policy;
mod pool;
mod progress;
mod read;
mod recovery;
mod reserve;
mod retain;
mod retention;
mod rewrap;
mod rules;
mod segment;
mod shared;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod testing;
mod tier;
mod tombstones;
mod uploads;
mod verify;
mod verify_journal;

pub use api::*;
pub use archive::{Archive, SegmentEntry, SegmentRun, segment_id, segment_name};
pub use find::MAX_UNREADABLE;
pub use findings::{Finding, Report, Seen, Severity};
pub use local::LocalLog;
pub use memory::MemoryLog;
pub use opening::OpenError;
pub use orphans::note_restored;
pub use reserve::make_way;
pub use retention::{MAX_NOTE, MAX_PINS, OnFull, PIN_MARGIN, Pin, Removed, Retention, StorePolicy};
pub use rewrap::{key_context, rewrap};
pub use verify::Verify;
