//! Finished segments wherever they are: a file in the data folder, or an object of the store, or both.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, OnceLock},
};

use world::{DiskFile, Mode, Store, World};

use crate::{
    entry::SegmentId,
    open_segment::{closed_name, open_name, parse_name},
};

/// What the keys of all segments begin with.
pub(crate) const PREFIX: &str = "segments/";

/// A finished segment's key in the store: the name of its file.
pub(crate) fn key(id: &SegmentId) -> String {
    closed_name(id)
}

/// The segment that an object of the store is.
pub(crate) fn parse_key(key: &str) -> Option<SegmentId> {
    match parse_name(key.strip_prefix(PREFIX)?)? {
        (id, true) => Some(id),
        _ => None,
    }
}

/// A finished segment to read from: its file if there is one, else its object. Whether there is an object shows when
/// it is read.
pub(crate) fn open(world: &World, id: &SegmentId) -> io::Result<Arc<dyn DiskFile>> {
    match (world.disk.open(&closed_name(id), Mode::Read), &world.store) {
        (Err(e), Some(store)) if e.kind() == ErrorKind::NotFound => Ok(object(store.clone(), id)),
        (r, _) => r,
    }
}

/// Whether a finished segment is neither here nor in the store, for certain.
pub(crate) fn gone(world: &World, id: &SegmentId) -> bool {
    let no_file =
        |name: &str| matches!(world.disk.open(name, Mode::Read), Err(e) if e.kind() == ErrorKind::NotFound);
    no_file(&closed_name(id))
        && no_file(&open_name(id))
        && world.store.as_ref().is_none_or(|s| matches!(s.len(&key(id)), Ok(None)))
}

/// A segment's object to read from.
pub(crate) fn object(store: Arc<dyn Store>, id: &SegmentId) -> Arc<dyn DiskFile> {
    Arc::new(ObjectFile { store, key: key(id), len: OnceLock::new() })
}

/// An object as a file that cannot be written.
struct ObjectFile {
    store: Arc<dyn Store>,
    key: String,
    len: OnceLock<u64>,
}

impl ObjectFile {
    fn read_only<T>(&self) -> io::Result<T> {
        Err(io::Error::new(
            ErrorKind::Unsupported,
            format!("{}/{}: is only read", self.store.url(), self.key),
        ))
    }
}

impl DiskFile for ObjectFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.store.read_exact_at(&self.key, buf, offset)
    }
    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        self.read_only()
    }
    fn sync_data(&self) -> io::Result<()> {
        self.read_only()
    }
    fn len(&self) -> io::Result<u64> {
        if let Some(n) = self.len.get() {
            return Ok(*n);
        }
        let found = self.store.len(&self.key)?.ok_or_else(|| {
            io::Error::new(ErrorKind::NotFound, format!("{}/{}: no such object", self.store.url(), self.key))
        })?;
        Ok(*self.len.get_or_init(|| found))
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        self.read_only()
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        self.read_only()
    }
}
