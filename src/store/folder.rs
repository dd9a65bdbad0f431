//! A folder as a store, with one user at a time.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
};

use rustix::{fs::FlockOperation, io::Errno};
use world::{Body, DiskStore, Object, Store};

use crate::OpenError;

/// The folder's lock is held as long as this lives.
pub(crate) struct Folder {
    store: DiskStore,
    _lock: Option<File>,
}

impl Folder {
    /// One that is there, to look at.
    pub(crate) fn visit(path: &Path) -> Result<Folder, OpenError> {
        let absolute =
            path.canonicalize().map_err(|source| OpenError::Folder { path: path.into(), source })?;
        let disk = Arc::new(world::real::Folder::new(&absolute));
        Ok(Folder { store: DiskStore::visit(disk, absolute.display().to_string()), _lock: None })
    }

    pub(crate) fn open(path: &Path) -> Result<Folder, OpenError> {
        let at = |source| OpenError::Folder { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(at)?;
        match fs::create_dir(&absolute) {
            Ok(()) => {
                if let Some(parent) = absolute.parent() {
                    File::open(parent).and_then(|d| d.sync_all()).map_err(at)?;
                }
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(at(e)),
        }
        let lock = File::open(&absolute).map_err(at)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(OpenError::InUse(path.to_owned())),
            // Some network file systems cannot lock a folder; then nothing holds a second user off.
            Err(e) => tracing::warn!("{}: cannot be locked: {e}", path.display()),
            Ok(()) => {}
        }
        let disk = Arc::new(world::real::Folder::new(&absolute));
        let store = DiskStore::new(disk, absolute.display().to_string()).map_err(at)?;
        Ok(Folder { store, _lock: Some(lock) })
    }
}

impl Store for Folder {
    fn url(&self) -> String {
        self.store.url()
    }
    fn put(&self, key: &str, body: Body<'_>) -> io::Result<()> {
        self.store.put(key, body)
    }
    fn create(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.store.create(key, bytes)
    }
    fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.store.read_exact_at(key, buf, offset)
    }
    fn len(&self, key: &str) -> io::Result<Option<u64>> {
        self.store.len(key)
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.store.delete(key)
    }
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>> {
        self.store.list(prefix, after, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        let first = Folder::open(&path).unwrap();
        world::conformance::store(&first);
        assert!(matches!(Folder::open(&path), Err(OpenError::InUse(_))));
        drop(first);
        let url = format!("file://{}", path.display());
        let again = crate::open(&url, &crate::Options::default()).unwrap();
        again.create("kept", b"x").unwrap();
        std::fs::write(path.join(".incoming-7"), b"half").unwrap();
        // Beside its user it can be looked at, and nothing is changed by that.
        let looked =
            crate::open(&url, &crate::Options { read_only: true, ..crate::Options::default() }).unwrap();
        assert_eq!(looked.list("", None, 9).unwrap().len(), 1);
        for refused in [looked.put("x", Body::Bytes(b"")), looked.create("x", b""), looked.delete("kept")] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
        }
        assert!(path.join(".incoming-7").exists());
        drop((again, looked));
        assert_eq!(Folder::open(&path).unwrap().len("kept").unwrap(), Some(1));
        assert!(matches!(Folder::open(&dir.path().join("no/such")), Err(OpenError::Folder { .. })));
    }
}
