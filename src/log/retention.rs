//! How long records stay: what is set for a stream, for the whole store, and what is pinned.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use world::{StreamUid, Timestamp};

/// What a stream does when it may not grow: by its own budget, or because the store or the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// Its oldest records make room.
    Overwrite,
    /// It takes no more until there is room.
    #[default]
    Refuse,
}

/// How long a stream's records stay. The default keeps everything and refuses when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Records that arrived longer ago than this are removed. `None`: age removes nothing. Zero: as soon as they are
    /// there.
    pub age: Option<Duration>,
    /// Sealed bytes that it may hold; what is pinned does not count.
    pub bytes: Option<u64>,
    /// What happens at the bound.
    pub on_full: OnFull,
}

/// What holds for the whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorePolicy {
    /// Sealed bytes that all streams together may hold.
    pub bytes: Option<u64>,
    /// Bytes that are left free on the disk of the data folder. Between two looks at the disk half of it may be used, in
    /// whole journal files: should be several of these ([`crate::Limits::journal_file`]).
    pub free_floor: u64,
    /// Bytes set aside in a file of their own, given up when the disk is full so that making room itself has room.
    /// Should be more than a journal file ([`crate::Limits::journal_file`]).
    pub reserve: u64,
    /// The wall clock is right however far ahead it has leapt: age goes by it at once, rather than after a week.
    pub trust_clock: bool,
}

/// A range of arrival time that retention leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Sixteen hexadecimal digits.
    pub id: String,
    /// Whose.
    pub stream: StreamUid,
    /// The first moment.
    pub from: Timestamp,
    /// The last moment.
    pub to: Timestamp,
    /// What somebody wrote on it; at most [`MAX_NOTE`] bytes.
    pub note: String,
    /// When it was made.
    pub created: Timestamp,
}

/// What a note may hold.
pub const MAX_NOTE: usize = 1024;
/// Pins that a stream may have.
pub const MAX_PINS: usize = 1000;

/// What begins within a pinned range may arrive after it: so much around it stays, too.
pub const PIN_MARGIN: Duration = Duration::from_secs(120);

impl Pin {
    /// Whether something that arrived within a stretch of time is to stay.
    pub(crate) fn meets(&self, arrival: (Timestamp, Timestamp)) -> bool {
        self.from - PIN_MARGIN <= arrival.1 && arrival.0 <= self.to + PIN_MARGIN
    }
}

/// Sealed bytes that retention has removed since the start, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Too old.
    pub age: u64,
    /// Over the stream's budget.
    pub stream: u64,
    /// Over the whole store's budget.
    pub store: u64,
    /// The disk was too full.
    pub space: u64,
}

/// The document of a [`Retention`]: kind [`RETENTION`], id the stream's unique id.
#[derive(Serialize, Deserialize)]
pub(crate) struct RetentionBody {
    pub v: u32,
    #[serde(default, rename = "ageMs", skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(rename = "onFull")]
    pub on_full: OnFull,
}

/// The document of a [`Pin`]: kind [`PIN`], id `STREAM/ID`.
#[derive(Serialize, Deserialize)]
pub(crate) struct PinBody {
    pub v: u32,
    pub from: Timestamp,
    pub to: Timestamp,
    #[serde(default)]
    pub note: String,
    pub created: Timestamp,
}

pub(crate) const RETENTION: &str = "log-retention";
pub(crate) const PIN: &str = "log-pin";
pub(crate) const VERSION: u32 = 1;

impl From<Retention> for RetentionBody {
    fn from(r: Retention) -> Self {
        let age_ms = r.age.map(|a| u64::try_from(a.as_millis()).unwrap_or(u64::MAX));
        RetentionBody { v: VERSION, age_ms, bytes: r.bytes, on_full: r.on_full }
    }
}

impl From<RetentionBody> for Retention {
    fn from(b: RetentionBody) -> Self {
        Retention { age: b.age_ms.map(Duration::from_millis), bytes: b.bytes, on_full: b.on_full }
    }
}
