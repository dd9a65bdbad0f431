//! The rules in force: retention and pins of every stream, the store's policy, and who is refused at the moment. Kept in
//! memory; streams' own also as documents of the catalog.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use catalog::{CatalogError, Change, Document, Filter, Mark};
use tokio::sync::Notify;
use world::{ShardId, StreamUid, Timestamp};

use crate::{
    LogError,
    forgotten::KIND as FORGOTTEN,
    retention::{
        MAX_NOTE, MAX_PINS, PIN, Pin, PinBody, RETENTION, Removed, Retention, RetentionBody, StorePolicy,
        VERSION,
    },
    shared::Shared,
};

/// What holds for a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    pub retention: Retention,
    pub pins: Vec<Pin>,
}

impl Rule {
    pub fn pinned(&self, arrival: (Timestamp, Timestamp)) -> bool {
        self.pins.iter().any(|p| p.meets(arrival))
    }
}

/// Who is refused, and why.
#[derive(Default)]
pub(crate) struct Refused {
    /// By their own budgets.
    pub streams: BTreeMap<StreamUid, Arc<str>>,
    /// Everybody: there is no room and nothing can be removed.
    pub all: Option<Arc<str>>,
}

/// The oldest run of a shard that may be removed, as it was last seen.
#[derive(Clone, Copy)]
pub(crate) struct Hint {
    /// When the latest of it arrived; `Timestamp::MAX`: there was none.
    pub oldest: Timestamp,
    /// Where the shard's closed segments ended then: if that has moved, there may be one.
    pub flushed: u64,
}

pub(crate) struct Rules {
    streams: RwLock<BTreeMap<StreamUid, Arc<Rule>>>,
    store: RwLock<StorePolicy>,
    refused: RwLock<Refused>,
    refusing: AtomicBool,
    /// What may still be written before the disk has to be looked at.
    headroom: AtomicI64,
    /// Below this nothing is taken until somebody has looked.
    stop: AtomicI64,
    pub hints: Mutex<BTreeMap<ShardId, Hint>>,
    /// Shards' last runs that are to go before others do: up to where, and the end of the journal when that was seen.
    pub last_runs: Mutex<BTreeMap<ShardId, (u64, Mark)>>,
    /// Asks for a pass before its time …
    pub wake: Notify,
    /// … without a pause before it.
    pub at_once: AtomicBool,
    /// Held by the pass under way.
    pub pass: tokio::sync::Mutex<()>,
    /// Held while something is removed, and while a pin is made: what is pinned when that returns stays.
    pub removing: tokio::sync::Mutex<()>,
    /// One change of documents at a time.
    changing: tokio::sync::Mutex<()>,
    removed: [AtomicU64; 4],
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            streams: RwLock::default(),
            store: RwLock::default(),
            refused: RwLock::default(),
            refusing: AtomicBool::new(false),
            headroom: AtomicI64::new(i64::MAX / 2),
            stop: AtomicI64::new(i64::MIN),
            hints: Mutex::default(),
            last_runs: Mutex::default(),
            wake: Notify::new(),
            at_once: AtomicBool::new(false),
            pass: tokio::sync::Mutex::default(),
            removing: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            removed: Default::default(),
        }
    }
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Age,
    Stream,
    Store,
    Space,
}

fn read<T>(l: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    l.read().unwrap_or_else(PoisonError::into_inner)
}
fn write<T>(l: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    l.write().unwrap_or_else(PoisonError::into_inner)
}

impl Rules {
    pub fn of(&self, stream: StreamUid) -> Arc<Rule> {
        read(&self.streams).get(&stream).cloned().unwrap_or_default()
    }
    /// All streams for which something is set.
    pub fn all(&self) -> Vec<(StreamUid, Arc<Rule>)> {
        read(&self.streams).iter().map(|(s, r)| (*s, r.clone())).collect()
    }
    pub fn store(&self) -> StorePolicy {
        *read(&self.store)
    }
    /// What holds from the first byte on: before anything runs.
    pub fn begin(&self, p: StorePolicy) {
        *write(&self.store) = p;
    }
    pub fn set_store(&self, p: StorePolicy) {
        *write(&self.store) = p;
        // What may be written was measured by the old one.
        self.at_once.store(true, Ordering::Release);
        self.wake.notify_one();
    }
    fn change(&self, stream: StreamUid, f: impl FnOnce(&mut Rule)) {
        f(Arc::make_mut(write(&self.streams).entry(stream).or_default()));
        self.wake.notify_one();
    }
    fn forget(&self, stream: StreamUid) {
        write(&self.streams).remove(&stream);
        let mut r = write(&self.refused);
        r.streams.remove(&stream);
        drop(r);
        self.hints.lock().unwrap_or_else(PoisonError::into_inner).retain(|s, _| s.stream != stream);
        self.last_runs.lock().unwrap_or_else(PoisonError::into_inner).retain(|s, _| s.stream != stream);
    }

    pub fn count(&self, why: Reason, bytes: u64) {
        self.removed[why as usize].fetch_add(bytes, Ordering::Relaxed);
    }
    pub fn removed(&self) -> Removed {
        let at = |r: Reason| self.removed[r as usize].load(Ordering::Relaxed);
        Removed {
            age: at(Reason::Age),
            stream: at(Reason::Stream),
            store: at(Reason::Store),
            space: at(Reason::Space),
        }
    }

    /// What a pass found: who is refused from now on.
    pub fn refuse(&self, new: Refused) {
        let any = new.all.is_some() || !new.streams.is_empty();
        let mut r = write(&self.refused);
        match (&r.all, &new.all) {
            (None, Some(why)) => tracing::error!(%why, "nothing is accepted until there is room"),
            (Some(_), None) => tracing::info!("there is room again"),
            _ => {}
        }
        for (stream, why) in &new.streams {
            if !r.streams.contains_key(stream) {
                tracing::warn!(%stream, %why, "a stream is full: it accepts nothing until there is room");
            }
        }
        *r = new;
        self.refusing.store(any, Ordering::Release);
    }
    /// Everybody is refused until the pass that comes next.
    pub fn refuse_all(&self, why: &str) {
        self.refuse(Refused { all: Some(why.into()), ..Refused::default() });
    }
    /// What was found: so much is free, of which `floor` is to stay so. Until the next look half of the floor may be
    /// used, and no more.
    pub fn measure(&self, free: u64, floor: u64) {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX).min(i64::MAX / 2);
        self.stop.store(-signed(floor / 2), Ordering::Release);
        self.headroom.store(signed(free) - signed(floor), Ordering::Release);
    }

    /// Whether a stream may grow, by so many bytes on the disk.
    pub fn admit(&self, stream: StreamUid, bytes: u64) -> Result<(), LogError> {
        if self.refusing.load(Ordering::Acquire) {
            let r = read(&self.refused);
            if let Some(why) = r.all.as_ref().or_else(|| r.streams.get(&stream)) {
                return Err(LogError::Refused(why.to_string()));
            }
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX / 4);
        let left = self.headroom.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        if left < 0 {
            self.wake.notify_one();
            if left < self.stop.load(Ordering::Acquire) {
                self.headroom.fetch_add(bytes, Ordering::AcqRel);
                return Err(LogError::Refused(
                    "the disk is nearly full, and room is being made: try again".into(),
                ));
            }
        }
        Ok(())
    }
}

fn damaged(kind: &str, id: &str, e: impl std::fmt::Display) -> CatalogError {
    CatalogError::Damaged(format!("{kind} {id:?}: {e}"))
}

fn json<T: serde::Serialize>(v: &T) -> Result<Vec<u8>, LogError> {
    serde_json::to_vec(v).map_err(|e| LogError::Io(e.to_string()))
}

fn version(kind: &str, id: &str, v: u32) -> Result<(), CatalogError> {
    match v {
        VERSION => Ok(()),
        v => Err(damaged(kind, id, format!("version {v}, this program knows {VERSION}"))),
    }
}

pub(crate) fn check_pin(from: Timestamp, to: Timestamp, note: &str, pins: usize) -> Result<(), LogError> {
    let refuse = |m: String| Err(LogError::Refused(m));
    if from > to {
        return refuse("the pinned range ends before it begins".into());
    }
    if note.len() > MAX_NOTE {
        return refuse(format!(
            "a note of {} bytes is longer than the {MAX_NOTE} that one may have",
            note.len()
        ));
    }
    if pins >= MAX_PINS {
        return refuse(format!("the stream has {MAX_PINS} pinned ranges already, the most that it may have"));
    }
    Ok(())
}

pub(crate) fn new_pin_id(world: &world::World) -> String {
    world.random16()[..8].iter().map(|b| format!("{b:02x}")).collect()
}

impl Shared {
    /// Reads the documents; once, after opening.
    pub async fn load_rules(&self) -> Result<(), CatalogError> {
        let mut all: BTreeMap<StreamUid, Rule> = BTreeMap::new();
        for d in self.catalog.list(Filter::kind(RETENTION)).await? {
            let stream: StreamUid = d.id.parse().map_err(|e| damaged(RETENTION, &d.id, e))?;
            let b: RetentionBody =
                serde_json::from_slice(&d.body).map_err(|e| damaged(RETENTION, &d.id, e))?;
            version(RETENTION, &d.id, b.v)?;
            all.entry(stream).or_default().retention = b.into();
        }
        for d in self.catalog.list(Filter::kind(PIN)).await? {
            let (stream, id) = d.id.split_once('/').ok_or_else(|| damaged(PIN, &d.id, "is no pin's id"))?;
            let stream: StreamUid = stream.parse().map_err(|e| damaged(PIN, &d.id, e))?;
            let b: PinBody = serde_json::from_slice(&d.body).map_err(|e| damaged(PIN, &d.id, e))?;
            version(PIN, &d.id, b.v)?;
            all.entry(stream).or_default().pins.push(Pin {
                id: id.into(),
                stream,
                from: b.from,
                to: b.to,
                note: b.note,
                created: b.created,
            });
        }
        *write(&self.rules.streams) = all.into_iter().map(|(s, r)| (s, Arc::new(r))).collect();
        Ok(())
    }

    fn known(&self, stream: StreamUid) -> Result<(), LogError> {
        let shards = self.shards(Some(stream));
        match shards.first() {
            Some(s) if !s.stream.leaving.load(Ordering::Acquire) => Ok(()),
            _ => Err(LogError::NoShard(ShardId { stream, shard: 0 })),
        }
    }

    pub async fn set_retention(&self, stream: StreamUid, retention: Retention) -> Result<(), LogError> {
        let _one = self.rules.changing.lock().await;
        self.known(stream)?;
        let (kind, id) = (RETENTION.to_owned(), stream.to_string());
        let expect = self.catalog.get(&kind, &id).await?.map_or(0, |d| d.version);
        let body = json(&RetentionBody::from(retention))?;
        let doc = Document { kind, id, version: 0, body, keys: Vec::new() };
        self.catalog.commit(vec![Change::Put { doc, expect }]).await?;
        self.rules.change(stream, |r| r.retention = retention);
        Ok(())
    }

    pub fn retention(&self, stream: StreamUid) -> Result<Retention, LogError> {
        self.known(stream)?;
        Ok(self.rules.of(stream).retention)
    }

    pub async fn pin(
        &self,
        stream: StreamUid,
        from: Timestamp,
        to: Timestamp,
        note: &str,
    ) -> Result<Pin, LogError> {
        let _one = self.rules.changing.lock().await;
        self.known(stream)?;
        check_pin(from, to, note, self.rules.of(stream).pins.len())?;
        let id = new_pin_id(&self.world);
        let created = self.world.clock.now();
        let body = json(&PinBody { v: VERSION, from, to, note: note.into(), created })?;
        let doc =
            Document { kind: PIN.into(), id: format!("{stream}/{id}"), version: 0, body, keys: Vec::new() };
        let pin = Pin { id, stream, from, to, note: note.into(), created };
        self.catalog.commit(vec![Change::Put { doc, expect: 0 }]).await?;
        // Whatever is being removed is gone when this returns, and nothing of the range after it.
        let _removing = self.rules.removing.lock().await;
        self.rules.change(stream, |r| r.pins.push(pin.clone()));
        self.forget_hints(stream);
        Ok(pin)
    }

    pub async fn unpin(&self, stream: StreamUid, id: &str) -> Result<bool, LogError> {
        let _one = self.rules.changing.lock().await;
        self.known(stream)?;
        let full = format!("{stream}/{id}");
        let there = self.catalog.get(PIN, &full).await?;
        if let Some(d) = &there {
            let gone = Change::Delete { kind: PIN.into(), id: full, expect: d.version };
            self.catalog.commit(vec![gone]).await?;
        }
        self.rules.change(stream, |r| r.pins.retain(|p| p.id != id));
        self.forget_hints(stream);
        Ok(there.is_some())
    }

    pub fn pins(&self, stream: StreamUid) -> Result<Vec<Pin>, LogError> {
        self.known(stream)?;
        let mut pins = self.rules.of(stream).pins.clone();
        pins.sort_by(|a, b| (a.from, a.to, &a.id).cmp(&(b.from, b.to, &b.id)));
        Ok(pins)
    }

    fn forget_hints(&self, stream: StreamUid) {
        crate::keys::lock(&self.rules.hints).retain(|s, _| s.stream != stream);
    }

    /// Removes what was set for a stream that is gone. What fails is made up for by the next start.
    pub async fn forget_rules(&self, stream: StreamUid) {
        let _one = self.rules.changing.lock().await;
        self.rules.forget(stream);
        self.forgotten.leave(stream);
        let done = async {
            let mut docs: Vec<Document> =
                self.catalog.get(RETENTION, &stream.to_string()).await?.into_iter().collect();
            let prefix = Some(format!("{stream}/"));
            docs.extend(self.catalog.list(Filter { prefix, ..Filter::kind(PIN) }).await?);
            docs.extend(self.catalog.get(FORGOTTEN, &stream.to_string()).await?);
            if docs.is_empty() {
                return Ok(());
            }
            let gone = |d: Document| Change::Delete { kind: d.kind, id: d.id, expect: d.version };
            self.catalog.commit(docs.into_iter().map(gone).collect()).await
        };
        if let Err(e) = done.await {
            tracing::warn!(error = %e, %stream, "the retention of a deleted stream could not be removed");
        }
    }

    /// Once after a start: removes what was set for streams that are gone.
    pub async fn sweep_rules(&self) {
        let set = self.rules.all().into_iter().map(|(stream, _)| stream);
        for stream in set.chain(self.forgotten.streams()).collect::<BTreeSet<_>>() {
            if self.shards(Some(stream)).is_empty() {
                self.forget_rules(stream).await;
            }
        }
    }
}
