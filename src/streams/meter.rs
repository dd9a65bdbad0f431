//! What goes in and out of each stream, since the start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::service::DataStreams;

/// A PUT payload unit (Kinesis Data Streams pricing).
const UNIT: u64 = 25 * 1024;

/// One stream's counters.
#[derive(Default)]
pub(crate) struct Meter {
    put_records: AtomicU64,
    put_bytes: AtomicU64,
    put_units: AtomicU64,
    put_refused: AtomicU64,
    get_records: AtomicU64,
    get_bytes: AtomicU64,
    get_refused: AtomicU64,
    pushed_records: AtomicU64,
    pushed_bytes: AtomicU64,
    behind: AtomicU64,
}

impl Meter {
    /// A record was stored.
    pub fn put(&self, bytes: u64) {
        self.put_records.fetch_add(1, Relaxed);
        self.put_bytes.fetch_add(bytes, Relaxed);
        self.put_units.fetch_add(bytes.div_ceil(UNIT).max(1), Relaxed);
    }
    /// A record was refused for a shard's rate.
    pub fn put_refused(&self) {
        self.put_refused.fetch_add(1, Relaxed);
    }
    /// `GetRecords` answered, and left its reader so far behind.
    pub fn got(&self, records: u64, bytes: u64, behind_ms: u64) {
        self.get_records.fetch_add(records, Relaxed);
        self.get_bytes.fetch_add(bytes, Relaxed);
        self.behind.store(behind_ms, Relaxed);
    }
    /// `GetRecords` was refused for a shard's rate.
    pub fn get_refused(&self) {
        self.get_refused.fetch_add(1, Relaxed);
    }
    /// Records went to a consumer with dedicated throughput.
    pub fn pushed(&self, records: u64, bytes: u64) {
        self.pushed_records.fetch_add(records, Relaxed);
        self.pushed_bytes.fetch_add(bytes, Relaxed);
    }
}

/// What [`DataStreams::tallies`] tells of one stream. Counters since the start; bytes are data and partition keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The stream's name.
    pub stream: String,
    /// Its open shards.
    pub open_shards: u64,
    /// Its registered consumers.
    pub consumers: u64,
    /// Records stored.
    pub put_records: u64,
    /// Their bytes.
    pub put_bytes: u64,
    /// Their PUT payload units: 25 KiB each, at least one for a record.
    pub put_units: u64,
    /// Records refused for a shard's rate.
    pub put_refused: u64,
    /// Records read by `GetRecords`.
    pub get_records: u64,
    /// Their bytes.
    pub get_bytes: u64,
    /// Calls refused for a shard's rate.
    pub get_refused: u64,
    /// Records pushed to consumers of enhanced fan-out.
    pub pushed_records: u64,
    /// Their bytes.
    pub pushed_bytes: u64,
    /// How far behind the last answer of `GetRecords` left its reader, in milliseconds.
    pub iterator_age_ms: u64,
}

impl DataStreams {
    /// What each stream took and gave.
    pub fn tallies(&self) -> Vec<Tally> {
        let tally = |s: std::sync::Arc<crate::stream::Stream>| {
            let m = &s.meter;
            let get = |n: &AtomicU64| n.load(Relaxed);
            Tally {
                stream: s.name.clone(),
                open_shards: s.read().map.open_count() as u64,
                consumers: self.inner.consumers.of(s.uid).len() as u64,
                put_records: get(&m.put_records),
                put_bytes: get(&m.put_bytes),
                put_units: get(&m.put_units),
                put_refused: get(&m.put_refused),
                get_records: get(&m.get_records),
                get_bytes: get(&m.get_bytes),
                get_refused: get(&m.get_refused),
                pushed_records: get(&m.pushed_records),
                pushed_bytes: get(&m.pushed_bytes),
                iterator_age_ms: get(&m.behind),
            }
        };
        self.all().into_iter().map(tally).collect()
    }
}
