//! What goes in and out of each stream, and for how long it has its shards.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use usage::{Kind, Quantity, Resource, Usage};
use world::StreamUid;

use crate::{body::Mode, error, service::DataStreams, stream::Stream};

/// A PUT payload unit (Kinesis Data Streams pricing).
const UNIT: u64 = 25 * 1024;

/// One stream's counters.
pub(crate) struct Meter {
    usage: Arc<usage::Meter>,
    put_refused: AtomicU64,
    get_refused: AtomicU64,
    behind: Mutex<Behind>,
    consumers: Mutex<HashMap<String, Arc<Consumed>>>,
}

/// How far behind answers left their readers, in milliseconds: the furthest of this minute, and of the one before. A reader
/// at the tip hides nobody, neither in another shard nor in its own.
#[derive(Default)]
struct Behind {
    minute: u64,
    furthest: u64,
    before: u64,
}

impl Behind {
    fn until(&mut self, now: Duration) -> &mut Behind {
        // Who comes a little late does not turn it back.
        let minute = (now.as_secs() / 60).max(self.minute);
        let last = std::mem::replace(&mut self.minute, minute);
        if minute != last {
            self.before = if minute == last + 1 { self.furthest } else { 0 };
            self.furthest = 0;
        }
        self
    }
}

/// What a consumer of enhanced fan-out was given.
pub(crate) struct Consumed {
    usage: Arc<usage::Meter>,
    /// By shard that it is subscribed to: how far the last event left it behind, in milliseconds.
    behind: Mutex<HashMap<u32, u64>>,
}

impl Meter {
    pub fn new(usage: &Usage, name: &str, uid: StreamUid) -> Meter {
        Meter {
            usage: usage.meter(Resource::stream(Kind::DataStream, name, uid)),
            put_refused: AtomicU64::default(),
            get_refused: AtomicU64::default(),
            behind: Mutex::default(),
            consumers: Mutex::default(),
        }
    }
    /// A record was stored.
    pub fn put(&self, bytes: u64, mode: Mode) {
        let u = &self.usage;
        u.add(Quantity::RecordsIn, 1);
        u.add(Quantity::BytesIn, bytes);
        u.add(Quantity::PutUnits, bytes.div_ceil(UNIT).max(1));
        if mode == Mode::OnDemand {
            u.add(Quantity::OnDemandKibIn, bytes.div_ceil(1024).max(1));
        }
    }
    /// A record was refused for a shard's rate.
    pub fn put_refused(&self) {
        self.put_refused.fetch_add(1, Relaxed);
    }
    /// `GetRecords` answered, and left its reader so far behind. `now` is monotonic.
    pub fn got(&self, records: u64, bytes: u64, behind_ms: u64, now: Duration) {
        self.usage.add(Quantity::RecordsOut, records);
        self.usage.add(Quantity::BytesOut, bytes);
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let b = behind.until(now);
        b.furthest = b.furthest.max(behind_ms);
    }
    fn furthest_behind(&self, now: Duration) -> u64 {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let b = behind.until(now);
        b.furthest.max(b.before)
    }
    /// `GetRecords` was refused for a shard's rate.
    pub fn get_refused(&self) {
        self.get_refused.fetch_add(1, Relaxed);
    }
    /// One consumer's.
    pub fn consumer(&self, usage: &Usage, stream: &Stream, name: &str) -> Arc<Consumed> {
        let mut all = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let of = Resource {
                consumer: name.into(),
                ..Resource::stream(Kind::Consumer, &stream.name, stream.uid)
            };
            Arc::new(Consumed { usage: usage.meter(of), behind: Mutex::default() })
        };
        all.entry(name.to_owned()).or_insert_with(new).clone()
    }
    /// Forgets those of consumers that are not there any more.
    fn forget(&self, there: &[crate::consumers::Consumer]) {
        let mut all = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| there.iter().any(|c| c.name == *name));
    }
}

impl Consumed {
    /// Records were pushed from a shard, and left the consumer so far behind.
    pub fn pushed(&self, shard: u32, records: u64, bytes: u64, behind_ms: u64) {
        self.usage.add(Quantity::RecordsOut, records);
        self.usage.add(Quantity::BytesOut, bytes);
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, behind_ms);
    }
    /// It is not subscribed to a shard any more.
    pub fn left(&self, shard: u32) {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
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
    /// How far behind `GetRecords` left a reader, in milliseconds: the furthest of this minute and of the one before.
    pub iterator_age_ms: u64,
    /// Each registered consumer, by name.
    pub by_consumer: Vec<ConsumerTally>,
}

/// What a consumer of enhanced fan-out was given, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerTally {
    /// Its name.
    pub consumer: String,
    /// Records pushed to it.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Shards that it is subscribed to.
    pub subscriptions: u64,
    /// How far behind it is in the shard where it is furthest behind, in milliseconds.
    pub behind_ms: u64,
}

impl DataStreams {
    /// What each stream took and gave, by name.
    pub fn tallies(&self) -> Vec<Tally> {
        self.all().into_iter().map(|s| self.tally(&s)).collect()
    }

    fn tally(&self, s: &Stream) -> Tally {
        let m = &s.meter;
        let names = self.inner.consumers.of(s.uid);
        let by_consumer: Vec<ConsumerTally> = names
            .iter()
            .map(|c| {
                let consumed = m.consumer(&self.inner.usage, s, &c.name);
                let behind = consumed.behind.lock().unwrap_or_else(PoisonError::into_inner);
                ConsumerTally {
                    consumer: c.name.clone(),
                    records: consumed.usage.total(Quantity::RecordsOut),
                    bytes: consumed.usage.total(Quantity::BytesOut),
                    subscriptions: behind.len() as u64,
                    behind_ms: behind.values().copied().max().unwrap_or(0),
                }
            })
            .collect();
        let get = |n: &AtomicU64| n.load(Relaxed);
        let total = |q| m.usage.total(q);
        Tally {
            stream: s.name.clone(),
            open_shards: s.read().map.open_count() as u64,
            consumers: names.len() as u64,
            put_records: total(Quantity::RecordsIn),
            put_bytes: total(Quantity::BytesIn),
            put_units: total(Quantity::PutUnits),
            put_refused: get(&m.put_refused),
            get_records: total(Quantity::RecordsOut),
            get_bytes: total(Quantity::BytesOut),
            get_refused: get(&m.get_refused),
            pushed_records: by_consumer.iter().map(|c| c.records).sum(),
            pushed_bytes: by_consumer.iter().map(|c| c.bytes).sum(),
            iterator_age_ms: m.furthest_behind(self.inner.tools.world.clock.monotonic()),
            by_consumer,
        }
    }

    /// Adds what goes by time since the last call, for all streams.
    pub(crate) fn meter_shards(&self) {
        let now = self.inner.tools.world.clock.monotonic();
        let before =
            std::mem::replace(&mut *self.inner.metered.lock().unwrap_or_else(PoisonError::into_inner), now);
        for stream in self.all() {
            self.meter_time(&stream, now.saturating_sub(before));
        }
    }

    /// Of one stream: so long has passed since the last call, or less for what is younger.
    pub(crate) fn meter_time(&self, stream: &Stream, passed: Duration) {
        let now = self.now();
        let since = |created| passed.min(now.since(created)).as_millis().try_into().unwrap_or(u64::MAX);
        let (shards, extended, mode, ms) = {
            let s = stream.read();
            let b = &s.body;
            (s.map.open_count() as u64, b.retention_hours > 24, b.mode, since(b.created))
        };
        let u = &stream.meter.usage;
        u.add(Quantity::ShardMs, shards * ms);
        if extended {
            u.add(Quantity::ExtendedShardMs, shards * ms);
        }
        if mode == Mode::OnDemand {
            u.add(Quantity::OnDemandMs, ms);
        }
        let consumers = self.inner.consumers.of(stream.uid);
        stream.meter.forget(&consumers);
        for c in consumers {
            let consumed = stream.meter.consumer(&self.inner.usage, stream, &c.name);
            consumed.usage.add(Quantity::ShardMs, shards * since(c.created));
        }
    }

    /// Adds what all streams store, if the last time was so long ago.
    pub async fn meter_stored(&self, least: Duration) {
        let Some(passed) = self.inner.looks.again(self.inner.tools.world.clock.monotonic(), least) else {
            return;
        };
        for stream in self.all() {
            let since = self.now().since(stream.read().body.created);
            match self.inner.tools.log.stored_bytes(Some(stream.uid)).await {
                Ok(bytes) => stream.meter.usage.stored(bytes, passed.min(since)),
                Err(e) => drop(error::log(e)),
            }
        }
    }
}
