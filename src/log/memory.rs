//! The engine that forgets everything when dropped: for tests, and as the plain statement of what the others must do.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use tokio::sync::watch;
use world::{ShardId, StreamUid, Timestamp, World};

use crate::{
    Committed, Head, Item, Life, Limits, Log, LogError, OnFull, Page, Payload, PayloadWriter, Pin, Place,
    Query, Record, Retention, Stats,
    forgotten::Numbers,
    keys::lock,
    payload::check_commit,
    rules::{Rule, check_pin, new_pin_id},
};

struct MemoryShard {
    parents: Vec<u32>,
    opened: Timestamp,
    items: BTreeMap<u64, Stored>,
    next: u64,
    trim: u64,
    closed: bool,
    last: Timestamp,
    watch: watch::Sender<Head>,
}

enum Stored {
    Record(Record),
    Payload(Payload, Bytes),
}

impl Stored {
    fn bytes(&self) -> u64 {
        match self {
            Stored::Record(r) => r.data.len() as u64,
            Stored::Payload(_, d) => d.len() as u64,
        }
    }
    fn arrival(&self) -> Timestamp {
        match self {
            Stored::Record(r) => r.arrival,
            Stored::Payload(p, _) => p.arrival,
        }
    }
}

impl MemoryShard {
    fn head(&self) -> Head {
        Head { oldest: self.trim, next: self.next, closed: self.closed }
    }
    fn announce(&self) {
        self.watch.send_replace(self.head());
    }
    fn arrive(&mut self, now: Timestamp) -> Timestamp {
        self.last = self.last.max(now);
        self.last
    }
}

#[derive(Default)]
struct State {
    streams: BTreeMap<StreamUid, u32>,
    rules: BTreeMap<StreamUid, Rule>,
    shards: BTreeMap<ShardId, MemoryShard>,
    forgotten: BTreeMap<StreamUid, Numbers>,
    stats: Stats,
    restored: Option<Timestamp>,
    down: bool,
}

impl State {
    fn shard(&mut self, id: ShardId) -> Result<&mut MemoryShard, LogError> {
        self.shards.get_mut(&id).ok_or(LogError::NoShard(id))
    }
    fn rule(&mut self, stream: StreamUid) -> Result<&mut Rule, LogError> {
        if !self.streams.contains_key(&stream) {
            return Err(LogError::NoShard(ShardId { stream, shard: 0 }));
        }
        Ok(self.rules.entry(stream).or_default())
    }
    fn held(&self, stream: StreamUid) -> u64 {
        self.shards
            .iter()
            .filter(|(id, _)| id.stream == stream)
            .flat_map(|(_, s)| s.items.values())
            .map(Stored::bytes)
            .sum()
    }
    /// A stream that may not overwrite has to fit.
    fn admit(&self, stream: StreamUid) -> Result<(), LogError> {
        match self.rules.get(&stream).map(|r| r.retention) {
            Some(Retention { bytes: Some(budget), on_full: OnFull::Refuse, .. })
                if self.held(stream) > budget =>
            {
                Err(LogError::Refused(format!("the stream holds more than the {budget} bytes that it may")))
            }
            _ => Ok(()),
        }
    }
    fn open(&mut self, id: ShardId) -> Result<&mut MemoryShard, LogError> {
        if self.down {
            return Err(LogError::Down);
        }
        let s = self.shard(id)?;
        if s.closed { Err(LogError::Closed(id)) } else { Ok(s) }
    }
}

/// A log in memory. Nothing of it is durable.
pub struct MemoryLog {
    world: World,
    limits: Limits,
    state: Arc<Mutex<State>>,
}

impl MemoryLog {
    /// An empty log that tells time by `world`'s clock.
    pub fn new(world: World, limits: Limits) -> Arc<MemoryLog> {
        Arc::new(MemoryLog { world, limits, state: Arc::default() })
    }
    /// From now on it says that an older catalog was put back at this time.
    pub fn note_restored(&self, at: Timestamp) {
        self.state().restored = Some(at);
    }
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[async_trait::async_trait]
impl Log for MemoryLog {
    async fn create_stream(&self, stream: StreamUid) -> Result<(), LogError> {
        if stream == StreamUid([0; 16]) {
            return Err(LogError::Refused("this id is reserved".into()));
        }
        self.state().streams.entry(stream).or_insert(1);
        self.open_shard(ShardId { stream, shard: 0 }, &[]).await
    }
    async fn delete_stream(&self, stream: StreamUid) -> Result<(), LogError> {
        let mut s = self.state();
        s.streams.remove(&stream);
        s.rules.remove(&stream);
        s.shards.retain(|id, _| id.stream != stream);
        s.forgotten.remove(&stream);
        Ok(())
    }
    async fn rotate_key(&self, stream: StreamUid) -> Result<u32, LogError> {
        let mut s = self.state();
        let g = s.streams.get_mut(&stream).ok_or(LogError::NoShard(ShardId { stream, shard: 0 }))?;
        *g += 1;
        Ok(*g)
    }
    async fn open_shard(&self, shard: ShardId, parents: &[u32]) -> Result<(), LogError> {
        let mut s = self.state();
        if s.down {
            return Err(LogError::Down);
        }
        if let Some(there) = s.shards.get(&shard) {
            return match there.parents == parents {
                true => Ok(()),
                false => Err(LogError::Refused(format!("shard {shard} exists, with other parents"))),
            };
        }
        if s.forgotten.get(&shard.stream).is_some_and(|n| n.has(shard.shard)) {
            return Err(LogError::Refused(format!(
                "shard {shard} was there before: its number is not used again"
            )));
        }
        for p in parents {
            let p = ShardId { shard: *p, ..shard };
            if !s.shard(p)?.closed {
                return Err(LogError::Refused(format!("parent shard {p} is not closed")));
            }
        }
        let head = Head { oldest: 0, next: 0, closed: false };
        let new = MemoryShard {
            parents: parents.to_vec(),
            opened: self.world.clock.now(),
            items: BTreeMap::new(),
            next: 0,
            trim: 0,
            closed: false,
            last: self.world.clock.now(),
            watch: watch::Sender::new(head),
        };
        s.shards.insert(shard, new);
        Ok(())
    }
    async fn close_shard(&self, shard: ShardId) -> Result<u64, LogError> {
        let mut s = self.state();
        let sh = s.open(shard)?;
        sh.closed = true;
        sh.announce();
        Ok(sh.next)
    }
    async fn shards(&self, stream: StreamUid) -> Result<Vec<(ShardId, Vec<u32>)>, LogError> {
        let s = self.state();
        Ok(s.shards
            .iter()
            .filter(|(id, _)| id.stream == stream)
            .map(|(id, s)| (*id, s.parents.clone()))
            .collect())
    }
    async fn life(&self, shard: ShardId) -> Result<Life, LogError> {
        let mut s = self.state();
        let s = s.shard(shard)?;
        Ok(Life { opened: s.opened, closed: s.closed })
    }
    async fn restored(&self) -> Result<Option<Timestamp>, LogError> {
        Ok(self.state().restored)
    }
    async fn forget_shards(&self, stream: StreamUid, shards: &[u32]) -> Result<Vec<u32>, LogError> {
        let mut s = self.state();
        if s.down {
            return Err(LogError::Down);
        }
        let mut left = s.shards.keys().filter(|id| id.stream == stream).count();
        if left == 0 {
            return Err(LogError::NoShard(ShardId { stream, shard: 0 }));
        }
        let mut stay = Vec::new();
        for n in shards.iter().copied().collect::<BTreeSet<u32>>() {
            let id = ShardId { stream, shard: n };
            let Some(shard) = s.shards.get(&id) else { continue };
            if !shard.closed || !shard.items.is_empty() || left == 1 {
                stay.push(n);
                continue;
            }
            left -= 1;
            s.shards.remove(&id);
            s.forgotten.entry(stream).or_default().add(n);
        }
        Ok(stay)
    }
    async fn append(&self, shard: ShardId, records: Vec<Bytes>) -> Result<Committed, LogError> {
        let len = crate::entry::records_len(&records);
        if len > self.limits.batch_bytes {
            return Err(LogError::TooLarge {
                what: "a batch",
                len: len as u64,
                limit: self.limits.batch_bytes as u64,
            });
        }
        if records.is_empty() {
            return Err(LogError::Refused("a batch has at least one record".into()));
        }
        let now = self.world.clock.now();
        let mut s = self.state();
        s.admit(shard.stream)?;
        let sh = s.open(shard)?;
        let (first, arrival, count) = (sh.next, sh.arrive(now), records.len() as u32);
        for (position, data) in (first..).zip(records) {
            sh.items.insert(position, Stored::Record(Record { position, arrival, data }));
        }
        sh.next = first + u64::from(count);
        sh.announce();
        s.stats.appended += u64::from(count);
        s.stats.appended_bytes += len as u64;
        s.stats.rounds += 1;
        Ok(Committed { first, count, arrival })
    }
    async fn payload(&self, shard: ShardId) -> Result<Box<dyn PayloadWriter>, LogError> {
        let mut s = self.state();
        s.admit(shard.stream)?;
        s.open(shard)?;
        drop(s);
        Ok(Box::new(MemoryPayload {
            world: self.world.clone(),
            limit: self.limits.payload_bytes,
            state: self.state.clone(),
            shard,
            data: Vec::new(),
        }))
    }
    async fn read(
        &self,
        shard: ShardId,
        from: u64,
        max_items: usize,
        max_bytes: usize,
    ) -> Result<Page, LogError> {
        let mut s = self.state();
        let sh = s.shard(shard)?;
        if from < sh.trim {
            return Err(LogError::Trimmed { shard, position: from, oldest: sh.trim });
        }
        let (mut items, mut next, mut bytes) = (Vec::new(), from, 0);
        for (position, item) in sh.items.range(from..).take(max_items.max(1)) {
            if bytes >= max_bytes && !items.is_empty() {
                break;
            }
            next = position + 1;
            items.push(match item {
                Stored::Record(r) => {
                    bytes += r.data.len() + 64;
                    Item::Record(r.clone())
                }
                Stored::Payload(p, _) => {
                    bytes += p.index.len() + 64;
                    Item::Payload(Box::new(p.clone()))
                }
            });
        }
        Ok(Page { items, next })
    }
    async fn seek(&self, shard: ShardId, arrival: Timestamp) -> Result<u64, LogError> {
        let mut s = self.state();
        let sh = s.shard(shard)?;
        Ok(sh.items.iter().find(|(_, i)| i.arrival() >= arrival).map_or(sh.next, |(p, _)| *p))
    }
    async fn payloads(
        &self,
        shard: ShardId,
        query: Query,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Payload>, LogError> {
        let mut s = self.state();
        let found = s.shard(shard)?.items.values().filter_map(|i| match i {
            Stored::Payload(p, _) => Some(p),
            Stored::Record(_) => None,
        });
        let found = found.filter(|p| match query {
            Query::Positions(a, b) => (a..=b).contains(&p.position),
            Query::Arrival(a, b) => (a..=b).contains(&p.arrival),
            Query::Producer(a, b) => p.producer.0 <= b && p.producer.1 >= a,
        });
        Ok(if from_end {
            let mut v: Vec<_> = found.rev().take(limit).cloned().collect();
            v.reverse();
            v
        } else {
            found.take(limit).cloned().collect()
        })
    }
    async fn gaps(&self, shard: ShardId, from: u64, to: u64) -> Result<Vec<(u64, u64)>, LogError> {
        let mut s = self.state();
        let items = &s.shard(shard)?.items;
        let mut out = Vec::new();
        let mut last: Option<u64> = None;
        for at in items.range(from..=to.max(from)).map(|i| *i.0) {
            out.extend(last.filter(|l| l + 1 < at).map(|l| (l + 1, at)));
            last = Some(at);
        }
        Ok(out)
    }
    async fn read_payload(&self, p: &Payload, range: Range<u64>) -> Result<Bytes, LogError> {
        let mut s = self.state();
        let sh = s.shard(p.shard)?;
        match sh.items.get(&p.position) {
            Some(Stored::Payload(_, data)) => {
                let len = data.len() as u64;
                let (from, to) = (range.start.min(len), range.end.min(len));
                Ok(data.slice(from as usize..to.max(from) as usize))
            }
            _ => Err(LogError::Trimmed { shard: p.shard, position: p.position, oldest: sh.trim }),
        }
    }
    fn watch(&self, shard: ShardId) -> Result<watch::Receiver<Head>, LogError> {
        Ok(self.state().shard(shard)?.watch.subscribe())
    }
    async fn set_retention(&self, stream: StreamUid, retention: Retention) -> Result<(), LogError> {
        self.state().rule(stream)?.retention = retention;
        Ok(())
    }
    async fn retention(&self, stream: StreamUid) -> Result<Retention, LogError> {
        Ok(self.state().rule(stream)?.retention)
    }
    async fn pin(
        &self,
        stream: StreamUid,
        from: Timestamp,
        to: Timestamp,
        note: &str,
    ) -> Result<Pin, LogError> {
        let (id, created) = (new_pin_id(&self.world), self.world.clock.now());
        let mut s = self.state();
        let rule = s.rule(stream)?;
        check_pin(from, to, note, rule.pins.len())?;
        let pin = Pin { id, stream, from, to, note: note.into(), created };
        rule.pins.push(pin.clone());
        Ok(pin)
    }
    async fn unpin(&self, stream: StreamUid, id: &str) -> Result<bool, LogError> {
        let mut s = self.state();
        let pins = &mut s.rule(stream)?.pins;
        let before = pins.len();
        pins.retain(|p| p.id != id);
        Ok(pins.len() < before)
    }
    async fn pins(&self, stream: StreamUid) -> Result<Vec<Pin>, LogError> {
        let mut pins = self.state().rule(stream)?.pins.clone();
        pins.sort_by(|a, b| (a.from, a.to, &a.id).cmp(&(b.from, b.to, &b.id)));
        Ok(pins)
    }
    async fn enforce(&self) -> Result<(), LogError> {
        let now = self.world.clock.now();
        let mut s = self.state();
        for (stream, rule) in s.rules.clone() {
            let r = rule.retention;
            let before = r.age.map_or(Timestamp::MIN, |age| now - age);
            let free = |i: &Stored| !rule.pinned((i.arrival(), i.arrival()));
            let mut over = match (r.bytes, r.on_full) {
                (Some(budget), OnFull::Overwrite) => {
                    let counts = |s: &MemoryShard| -> u64 {
                        s.items.values().filter(|i| free(i)).map(Stored::bytes).sum()
                    };
                    let of = s.shards.iter().filter(|(id, _)| id.stream == stream);
                    of.map(|(_, s)| counts(s)).sum::<u64>().saturating_sub(budget)
                }
                _ => 0,
            };
            loop {
                let of = s.shards.iter_mut().filter(|(id, _)| id.stream == stream);
                let oldest = of
                    .filter_map(|(_, s)| {
                        let (at, i) = s.items.iter().find(|(_, i)| free(i))?;
                        Some((i.arrival(), *at, s))
                    })
                    .min_by_key(|o| o.0);
                let Some((arrival, at, shard)) = oldest else { break };
                if arrival >= before && over == 0 {
                    break;
                }
                if let Some(i) = shard.items.remove(&at) {
                    over = over.saturating_sub(i.bytes());
                    shard.trim = shard.items.keys().next().copied().unwrap_or(at + 1).max(shard.trim);
                }
                shard.announce();
            }
        }
        Ok(())
    }
    async fn trim(&self, shard: ShardId, before: u64) -> Result<(), LogError> {
        let mut s = self.state();
        let sh = s.shard(shard)?;
        sh.trim = sh.trim.max(before.min(sh.next));
        sh.items = sh.items.split_off(&sh.trim);
        sh.announce();
        Ok(())
    }
    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, LogError> {
        let s = self.state();
        let of = s.shards.iter().filter(|(id, _)| stream.is_none_or(|s| id.stream == s));
        Ok(of.flat_map(|(_, s)| s.items.values()).map(Stored::bytes).sum())
    }
    fn stats(&self) -> Stats {
        self.state().stats.clone()
    }
    async fn shutdown(&self) -> Result<(), LogError> {
        self.state().down = true;
        Ok(())
    }
}

struct MemoryPayload {
    world: World,
    limit: u64,
    state: Arc<Mutex<State>>,
    shard: ShardId,
    data: Vec<u8>,
}

#[async_trait::async_trait]
impl PayloadWriter for MemoryPayload {
    async fn write(&mut self, data: &[u8]) -> Result<(), LogError> {
        let len = (self.data.len() + data.len()) as u64;
        if len > self.limit {
            return Err(LogError::TooLarge { what: "a payload", len, limit: self.limit });
        }
        self.data.extend_from_slice(data);
        Ok(())
    }
    async fn commit(
        self: Box<Self>,
        producer: (Timestamp, Timestamp),
        index: Bytes,
    ) -> Result<Committed, LogError> {
        check_commit(producer, &index)?;
        let now = self.world.clock.now();
        let mut s = lock(&self.state);
        let sh = s.open(self.shard)?;
        let (position, arrival) = (sh.next, sh.arrive(now));
        let len = self.data.len() as u64;
        let place = Place(Bytes::copy_from_slice(&position.to_le_bytes()));
        let payload = Payload { shard: self.shard, position, arrival, producer, len, index, place };
        sh.items.insert(position, Stored::Payload(payload, self.data.into()));
        sh.next += 1;
        sh.announce();
        s.stats.appended += 1;
        s.stats.appended_bytes += len;
        s.stats.rounds += 1;
        Ok(Committed { first: position, count: 1, arrival })
    }
}
