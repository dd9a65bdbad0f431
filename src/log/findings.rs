//! What a check of the archive says.

use world::{ShardId, Timestamp};

use crate::entry::Entry;

/// How grave a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost by it: a file that nothing refers to, the journal's end torn by a crash.
    Notice,
    /// Something could not be looked at.
    Unchecked,
    /// Something is not what was written.
    Damage,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// Which file of the data folder, object of the store, or row of the catalog.
    pub place: String,
    /// Where in it, in bytes.
    pub offset: Option<u64>,
    /// What is wrong with it.
    pub what: String,
    /// Whose records are affected.
    pub shard: Option<ShardId>,
    /// Which of them: the first, and one past the last.
    pub positions: Option<(u64, u64)>,
    /// When they arrived, from and to.
    pub arrival: Option<(Timestamp, Timestamp)>,
    /// When they were recorded by the producer's clock, from and to.
    pub producer: Option<(Timestamp, Timestamp)>,
    /// How many stored bytes are affected, as far as is known.
    pub bytes: u64,
}

impl Finding {
    pub(crate) fn new(severity: Severity, place: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding {
            severity,
            place: place.into(),
            offset: None,
            what: what.into(),
            shard: None,
            positions: None,
            arrival: None,
            producer: None,
            bytes: 0,
        }
    }
    /// Damage of a thing that the log does not know, found by whoever does.
    pub fn damaged(place: &str, what: &str) -> Finding {
        Finding::damage(place, what)
    }
    pub(crate) fn damage(place: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Damage, place, what)
    }
    pub(crate) fn at(self, offset: u64) -> Finding {
        Finding { offset: Some(offset), ..self }
    }
    pub(crate) fn bytes(self, bytes: u64) -> Finding {
        Finding { bytes, ..self }
    }
    pub(crate) fn of(self, shard: ShardId, first: u64, end: u64) -> Finding {
        Finding { shard: Some(shard), positions: Some((first, end)), ..self }
    }
    pub(crate) fn entry(self, shard: ShardId, e: &Entry) -> Finding {
        let producer = match e {
            Entry::Large(l) => Some(l.producer),
            Entry::Batch(_) => None,
        };
        Finding { arrival: Some((e.arrival(), e.arrival())), producer, ..self.of(shard, e.first(), e.end()) }
    }
    pub(crate) fn run(self, r: &catalog::RunRow) -> Finding {
        Finding {
            arrival: Some(r.arrival),
            producer: Some(r.producer),
            bytes: r.bytes,
            ..self.of(r.shard, r.first, r.end)
        }
    }
}

/// What a check tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// So many bytes of so many have been looked at.
    Progress {
        /// Looked at, or known to be sound from before.
        done: u64,
        /// Of all segments.
        total: u64,
    },
    /// Something was found.
    Finding(Finding),
}

/// What a check amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments read through.
    pub segments: u64,
    /// Segments that an interrupted check had read through before.
    pub resumed: u64,
    /// Bytes read of them and of the journal.
    pub bytes: u64,
    /// Sealed batches and payloads opened.
    pub blocks: u64,
    /// Whether the journal was checked.
    pub journal: bool,
    /// Findings of [`Severity::Damage`].
    pub damaged: u64,
    /// Bytes affected by them.
    pub damaged_bytes: u64,
    /// Findings of [`Severity::Unchecked`].
    pub unchecked: u64,
    /// Findings of [`Severity::Notice`].
    pub notices: u64,
}
