//! Segments that payloads are written into, and the handles of all segment files.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use world::{Disk, DiskFile, Mode, ShardId, Timestamp, World};

use crate::{entry::SegmentId, keys::lock, lru::Lru, objects, segment};

/// The folder that they live in.
pub(crate) const DIR: &str = "segments";

pub(crate) fn hex(id: &SegmentId) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

/// The name of a segment that has no footer yet.
pub(crate) fn open_name(id: &SegmentId) -> String {
    format!("{DIR}/{}.open", hex(id))
}

/// The name of a finished segment.
pub(crate) fn closed_name(id: &SegmentId) -> String {
    format!("{DIR}/{}.seg", hex(id))
}

/// The id in a file's name, and whether it is finished.
pub(crate) fn parse_name(name: &str) -> Option<(SegmentId, bool)> {
    let (stem, ext) = name.split_once('.')?;
    let closed = match ext {
        "seg" => true,
        "open" => false,
        _ => return None,
    };
    let uid: world::StreamUid = stem.parse().ok()?;
    Some((uid.0, closed))
}

/// A new id: 48 bits of milliseconds, then random bits.
pub(crate) fn new_id(world: &World) -> SegmentId {
    let mut id = world.random16();
    let ms = world.clock.now().millis().max(0) as u64;
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id
}

/// A segment file that one shard's payloads are written into. It holds no file handle: whoever writes has one.
pub(crate) struct OpenSegment {
    pub id: SegmentId,
    pub shard: ShardId,
    pub created: Timestamp,
    /// Where the next chunk goes.
    pub end: AtomicU64,
    /// Takes no more payloads. Set between two rounds of the committer, which refuses later ones, or when there was no
    /// room for one.
    pub closed: AtomicBool,
    /// A write or sync failed (not for want of room): it takes no more, and what it holds is copied when it is closed.
    pub failed: AtomicBool,
    /// Its name is durable.
    named: AtomicBool,
    /// Bytes that its index will take, about.
    pub index_bytes: AtomicU64,
    /// Shared by who writes, alone for who closes.
    gate: RwLock<()>,
}

impl OpenSegment {
    pub fn usable(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && !self.failed.load(Ordering::Acquire)
    }
    /// Makes what was written, and the file's name, durable.
    pub fn sync(&self, disk: &dyn Disk, file: &dyn DiskFile) -> io::Result<()> {
        let done = file.sync_data().and_then(|()| {
            if !self.named.load(Ordering::Acquire) {
                disk.sync_dir(DIR)?;
                self.named.store(true, Ordering::Release);
            }
            Ok(())
        });
        if done.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        done
    }
    /// Writes a piece where there is room for it; returns where. `None` if it takes no more.
    pub fn write(&self, file: &dyn DiskFile, bytes: &[u8]) -> io::Result<Option<u64>> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !self.usable() {
            return Ok(None);
        }
        let at = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        file.write_all_at(bytes, at).inspect_err(|e| {
            // Without room nothing is wrong with what is in it, and a copy would need as much room again.
            let full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let flag = if full { &self.closed } else { &self.failed };
            flag.store(true, Ordering::Release);
            if full {
                // The place is the footer's, unless somebody has the next by now.
                let next = at + bytes.len() as u64;
                let _ = self.end.compare_exchange(next, at, Ordering::AcqRel, Ordering::Relaxed);
            }
        })?;
        Ok(Some(at))
    }
    /// Waits until nobody writes; as long as the guard lives, nobody does. `closed` must be set.
    pub fn shut(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All segments that are not finished, and the file handles of those lately used.
pub(crate) struct Segments {
    open: Mutex<BTreeMap<SegmentId, Arc<OpenSegment>>>,
    files: Mutex<Lru<SegmentId, Arc<dyn DiskFile>>>,
}

/// File handles kept open.
const HANDLES: usize = 256;

impl Segments {
    pub fn new() -> Self {
        Segments { open: Mutex::default(), files: Mutex::new(Lru::new(HANDLES)) }
    }

    /// Begins one.
    pub fn create(&self, world: &World, shard: ShardId) -> io::Result<Arc<OpenSegment>> {
        let id = new_id(world);
        let created = world.clock.now();
        let file = world.disk.open(&open_name(&id), Mode::CreateNew)?;
        if let Err(e) = file.write_all_at(&segment::header(&id, created), 0) {
            // On a full disk nothing must be left of an attempt.
            let _ = world.disk.remove(&open_name(&id));
            return Err(e);
        }
        lock(&self.files).put(id, file, 1);
        Ok(self.adopt(id, shard, created, segment::HEADER, false))
    }

    /// Takes one up that a recovery found, or that was just made.
    pub fn adopt(
        &self,
        id: SegmentId,
        shard: ShardId,
        created: Timestamp,
        end: u64,
        named: bool,
    ) -> Arc<OpenSegment> {
        let s = Arc::new(OpenSegment {
            id,
            shard,
            created,
            end: AtomicU64::new(end),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            named: AtomicBool::new(named),
            index_bytes: AtomicU64::new(0),
            gate: RwLock::new(()),
        });
        lock(&self.open).insert(id, s.clone());
        s
    }

    pub fn get(&self, id: &SegmentId) -> Option<Arc<OpenSegment>> {
        lock(&self.open).get(id).cloned()
    }
    pub fn all(&self) -> Vec<Arc<OpenSegment>> {
        lock(&self.open).values().cloned().collect()
    }
    pub fn count(&self) -> usize {
        lock(&self.open).len()
    }
    /// No longer open: finished, or dropped.
    pub fn retire(&self, id: &SegmentId) {
        lock(&self.open).remove(id);
    }

    /// A handle to read from, whichever name the file has, or of its object; writable while it is open.
    pub fn file(&self, world: &World, id: &SegmentId) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(f) = lock(&self.files).get(id) {
            return Ok(f);
        }
        let disk = &*world.disk;
        let read = || disk.open(&closed_name(id), Mode::Read);
        let missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        let f = match disk.open(&open_name(id), Mode::ReadWrite) {
            // It may be on its way from one name to the other, and back.
            Err(e) if missing(&e) => match read() {
                Err(e) if missing(&e) => match (disk.open(&open_name(id), Mode::ReadWrite), &world.store) {
                    (Err(e), Some(store)) if missing(&e) => objects::object(store.clone(), id),
                    (r, _) => r?,
                },
                r => r?,
            },
            r => r?,
        };
        lock(&self.files).put(*id, f.clone(), 1);
        Ok(f)
    }
    /// Drops the cached handle: the file is going, or changed its name.
    pub fn forget_file(&self, id: &SegmentId) {
        lock(&self.files).remove(id);
    }
}
