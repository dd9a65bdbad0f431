//! Opening the local engine: the lease, the keys, the index, what the journal has beyond the catalog, open segments.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use catalog::{Catalog, CatalogError, Lease, RunQuery};
use seal::KeyProvider;
use world::{Mode, ShardId, StreamUid, Timestamp, World};

use crate::{
    Limits, LogError, StorePolicy,
    committer::Committer,
    entry::{Directory, Event, Writer},
    forgotten::Forgotten,
    index::{Recent, Shard, Stream},
    journal::{self, JOURNAL, Loc, Spares},
    keys::{Keys, lock},
    open_segment,
    orphans::Older,
    recovery::{Recovered, newest_epoch, recover},
    segment,
    shared::Shared,
};

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes to it.
    #[error("the log is in use by another process ({0})")]
    Locked(String),
    /// A file does not hold what it must.
    #[error("{file} is damaged at {offset}: {what}")]
    Damaged {
        /// Which, within the data folder.
        file: String,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// Written by a newer version.
    #[error("{0}: use the newer version of rushes that wrote it")]
    Newer(String),
    /// A key is missing, or the master key is another one.
    #[error("{0}")]
    Key(String),
    /// The store is missing, or another's.
    #[error("{0}")]
    Store(String),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The disk failed.
    #[error("{0}")]
    Io(String),
}

/// The lease that makes one process the writer.
const LEASE: &str = "journal";
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(30);
const HOLDER: &str = "journal/holder";

/// What makes up an opened engine, before anything runs.
pub(crate) struct Parts {
    pub shared: Arc<Shared>,
    pub committer: Committer,
    pub lease: Lease,
    /// Segment files that nothing refers to, as far as the journal knows: (name, whether it is finished).
    pub strays: Vec<([u8; 16], bool)>,
}

pub(crate) fn io(e: std::io::Error) -> OpenError {
    OpenError::Io(e.to_string())
}

fn key_error(e: LogError) -> OpenError {
    match e {
        LogError::Key(_, e) => OpenError::Key(format!("the journal's key: {e}")),
        e => OpenError::Io(e.to_string()),
    }
}

/// Who we are to the lease: the data folder itself, so that a start after a `kill -9` finds its own lease. That two
/// processes do not share a folder is the binary's lock to see to.
fn holder(world: &World) -> std::io::Result<String> {
    let mut id = [0; 32];
    match world.disk.open(HOLDER, Mode::Read) {
        Ok(f) if f.len()? == 32 => f.read_exact_at(&mut id, 0)?,
        r => {
            match r {
                Ok(_) => world.disk.remove(HOLDER)?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
            let hex: String = world.random16().iter().map(|b| format!("{b:02x}")).collect();
            id.copy_from_slice(hex.as_bytes());
            let f = world.disk.open(HOLDER, Mode::CreateNew)?;
            f.write_all_at(&id, 0)?;
            f.sync_data()?;
            world.disk.sync_dir(journal::DIR)?;
        }
    }
    Ok(String::from_utf8_lossy(&id).into_owned())
}

impl Parts {
    pub async fn open(
        world: World,
        catalog: Arc<dyn Catalog>,
        provider: Arc<dyn KeyProvider>,
        mut limits: Limits,
        policy: StorePolicy,
        inline: bool,
    ) -> Result<Parts, OpenError> {
        // Offsets in the journal are 32 bits in memory.
        limits.journal_file = limits.journal_file.clamp(64 << 10, 1 << 30);
        limits.inflight_bytes = limits.inflight_bytes.clamp(1 << 16, 1 << 30);
        for dir in [journal::DIR, open_segment::DIR] {
            world.disk.create_dir_all(dir).map_err(io)?;
        }
        world.disk.sync_dir("").map_err(io)?;
        let holder = holder(&world).map_err(io)?;
        let lease = catalog.acquire(LEASE, &holder, LEASE_TTL).await?;
        let lease =
            lease.ok_or_else(|| OpenError::Locked(format!("it holds the lease {LEASE:?} in the catalog")))?;
        let keys = Keys::new(world.clone(), catalog.clone(), provider);
        let mut generations = keys.generations(JOURNAL).await.map_err(key_error)?;
        if generations.is_empty() {
            let files = world.disk.list(journal::DIR).map_err(io)?;
            if files.iter().any(|f| f.name.ends_with(".j")) {
                return Err(OpenError::Key(
                    "there is a journal, but the catalog has no key for it: the catalog is lost, or another one".into(),
                ));
            }
            keys.create(JOURNAL, 1).await.map_err(key_error)?;
            generations.push(1);
        }
        let mut journal_keys = BTreeMap::new();
        for g in &generations {
            journal_keys.insert(*g, keys.data(JOURNAL, *g).await.map_err(key_error)?);
        }
        let Some(journal_key) = journal_keys.last_key_value().map(|(g, k)| (*g, k.clone())) else {
            return Err(OpenError::Key("the journal has no key".into()));
        };
        let writer = Writer { epoch: lease.epoch, salt: world.random32() };
        let shared =
            Arc::new(Shared::new(world, limits, catalog, keys, writer, journal_key, journal_keys, inline));
        shared.rules.begin(policy);
        shared.forgotten.begin(Forgotten::load(&*shared.catalog).await?);
        let mut streams: BTreeMap<StreamUid, Arc<Stream>> = BTreeMap::new();
        for row in shared.catalog.shards(None).await? {
            if shared.forgotten.has(row.shard) {
                shared.forgotten.row(row.shard);
                continue;
            }
            let stream =
                streams.entry(row.shard.stream).or_insert_with(|| Stream::new(row.shard.stream)).clone();
            shared.insert(Shard::from_row(&row, stream));
        }
        let mark = shared.catalog.mark().await?;
        let older = older(&shared).await?;
        let s = shared.clone();
        let lenient = older.is_some();
        let (found, mut touched) = shared
            .blocking(move || {
                let mut touched = BTreeSet::new();
                let mut sink = |at, dir| replay(&s, at, dir, lenient, &mut touched);
                let found = recover(&*s.world.disk, &s.journal_keys, mark, lenient, &mut sink)?;
                Ok::<_, OpenError>((found, touched))
            })
            .await
            .map_err(|e| OpenError::Io(e.to_string()))??;
        if let Some(older) = older {
            touched.extend(shared.settle_older(older, found.gap).await?);
        }
        settle(&shared, &touched).await?;
        let end = found.end;
        take_files(&shared, found);
        let strays = adopt_segments(&shared, &touched)?;
        let strays = shared.sweep_strays(strays).await;
        shared.attach_store().await?;
        shared.look_at_disk().await?;
        shared.watch_clock().await?;
        let committer = Committer::new(shared.clone(), end);
        Ok(Parts { shared, committer, lease, strays })
    }
}

/// Whether the catalog is older than the log, and what was there is still to be taken up.
async fn older(shared: &Arc<Shared>) -> Result<Option<Older>, OpenError> {
    let s = shared.clone();
    let newest = shared.blocking(move || newest_epoch(&*s.world.disk)).await;
    let newest = newest.map_err(|e| OpenError::Io(e.to_string()))??;
    let noted = Older::load(&*shared.catalog).await?;
    if newest >= shared.writer.epoch {
        // A copy of the catalog was put back by hand: each start takes a lease of a later epoch than any before.
        let snapshot = noted.map_or(Timestamp(0), |o| o.snapshot);
        return Ok(Some(Older { snapshot, restored: shared.world.clock.now(), settled: false }));
    }
    Ok(noted.filter(|o| !o.settled))
}

/// Applies a frame to the index; applying it twice, or over rows that know more already, changes nothing.
/// `lenient`: what opened a shard may be missing.
fn replay(shared: &Shared, at: Loc, dir: Directory, lenient: bool, touched: &mut BTreeSet<ShardId>) {
    for (slot, event) in dir.events {
        let slot = &dir.slots[slot as usize];
        let id = slot.shard;
        if shared.forgotten.has(id) {
            // Whatever it was, all of it is gone.
            continue;
        }
        touched.insert(id);
        if let Event::Open { parents } = &event
            && shared.find(id).is_none()
        {
            shared.insert(Shard::new(id, shared.stream(id.stream), parents, slot.arrival));
        }
        if lenient && shared.find(id).is_none() {
            shared.insert(Shard::new(id, shared.stream(id.stream), &[], slot.arrival));
        }
        // Not there: its stream was deleted.
        let Some(shard) = shared.find(id) else { continue };
        let mut st = shard.state();
        st.last = st.last.max(slot.arrival);
        match event {
            Event::Batch(b) => {
                let (first, count, bytes) = (b.first, b.count, b.len);
                st.next = st.next.max(first + u64::from(count));
                st.push_recent(Recent::Frame { first, count, bytes, arrival: b.arrival, at });
            }
            Event::Large(large) => {
                st.next = st.next.max(large.position + 1);
                st.push_recent(Recent::Large { large, at });
            }
            Event::Open { .. } => st.next = st.next.max(slot.base),
            Event::Close { end } => {
                st.next = st.next.max(end);
                st.closed = true;
            }
            Event::Trim { before } => {
                st.trim = st.trim.max(before);
                st.next = st.next.max(before);
            }
        }
    }
}

/// Drops what the catalog knows to be in segments, or to be deleted, from what was replayed.
async fn settle(shared: &Shared, touched: &BTreeSet<ShardId>) -> Result<(), OpenError> {
    let mut last: Option<(StreamUid, bool)> = None;
    for id in touched {
        let Some(shard) = shared.find(*id) else { continue };
        let alive = match last {
            Some((uid, alive)) if uid == id.stream => alive,
            _ => !shared.catalog.keys(id.stream).await?.is_empty(),
        };
        last = Some((id.stream, alive));
        if !alive {
            // Deleted after these frames were written: its keys went first.
            shared.remove(*id);
            continue;
        }
        let first = shard.state().recent.front().map(Recent::first);
        let flushed = match first {
            Some(first) => {
                let runs = shared.catalog.runs(*id, RunQuery::Positions((first, i64::MAX as u64))).await?;
                runs.iter().map(|r| r.end).max().unwrap_or(0)
            }
            None => 0,
        };
        let mut st = shard.state();
        let done = flushed.max(st.trim);
        st.drop_recent(done);
        if let Some(r) = st.recent.front() {
            st.flushed = r.first();
        }
        st.settle();
        st.dirty = true;
        st.active = true;
        drop(st);
        lock(&shared.active).insert(*id);
    }
    Ok(())
}

fn take_files(shared: &Shared, found: Recovered) {
    let held: u64 = found
        .files
        .values()
        .map(|f| f.end.load(Ordering::Relaxed).saturating_sub(journal::HEADER.into()))
        .sum();
    shared.counters.journal_bytes.store(held, Ordering::Relaxed);
    *lock(&shared.journal) = found.files;
    *lock(&shared.spares) = Spares::new(found.spares);
    for n in found.released {
        // Left by a stop between the catalog's commit and the release.
        if let Err(e) = shared.world.disk.remove(&journal::file_name(n)) {
            tracing::warn!(error = %e, file = n, "a released journal file could not be removed");
        }
    }
}

/// Takes up the segments that committed payloads are in and that were not finished: they go on being written. (Not
/// finished here, as a start should be quick and a crash should not multiply objects.) What is beyond the last
/// committed payload was never acknowledged and is overwritten, under another key. Returns files that nobody refers to.
fn adopt_segments(shared: &Shared, touched: &BTreeSet<ShardId>) -> Result<Vec<([u8; 16], bool)>, OpenError> {
    struct Found {
        shard: Arc<Shard>,
        end: u64,
        weight: u64,
    }
    let mut wanted: BTreeMap<[u8; 16], Found> = BTreeMap::new();
    for id in touched {
        let Some(shard) = shared.find(*id) else { continue };
        for r in &shard.state().recent {
            if let Recent::Large { large, .. } = r {
                let f = wanted.entry(large.segment).or_insert_with(|| Found {
                    shard: shard.clone(),
                    end: segment::HEADER,
                    weight: 0,
                });
                f.end = large.extents.iter().map(|e| e.offset + e.len).fold(f.end, u64::max);
                f.weight += large.weight() as u64;
            }
        }
    }
    let disk = &*shared.world.disk;
    let mut strays = Vec::new();
    let mut files = BTreeMap::new();
    for e in disk.list(open_segment::DIR).map_err(io)? {
        let Some((id, closed)) = open_segment::parse_name(&e.name) else { continue };
        if wanted.contains_key(&id) {
            files.insert(id, (closed, e.len));
        } else {
            strays.push((id, closed));
        }
    }
    for (id, f) in wanted {
        let name = open_segment::open_name(&id);
        let (closed, len) = match files.get(&id) {
            Some(f) => *f,
            _ => {
                return Err(OpenError::Damaged {
                    file: name,
                    offset: 0,
                    what: "is missing; the journal refers to it".into(),
                });
            }
        };
        if len < f.end {
            return Err(OpenError::Damaged {
                file: name,
                offset: len,
                what: format!("is shorter than the {} bytes that the journal refers to", f.end),
            });
        }
        if closed {
            // It was being finished; the catalog does not know it.
            disk.rename(&open_segment::closed_name(&id), &name).map_err(io)?;
            disk.sync_dir(open_segment::DIR).map_err(io)?;
        }
        let ms = u64::from_be_bytes([0, 0, id[0], id[1], id[2], id[3], id[4], id[5]]);
        let s = shared.segments.adopt(id, f.shard.id, Timestamp::from_millis(ms as i64), f.end, true);
        s.index_bytes.store(f.weight, Ordering::Relaxed);
        // Of several only the one that was written last goes on, so that a segment's payloads follow each other.
        let last = f.shard.state().recent.iter().rev().find_map(|r| match r {
            Recent::Large { large, .. } => Some(large.segment),
            Recent::Frame { .. } => None,
        });
        if last == Some(id) {
            *lock(&f.shard.segment) = Some(s);
        } else {
            s.closed.store(true, Ordering::Release);
        }
    }
    Ok(strays)
}
