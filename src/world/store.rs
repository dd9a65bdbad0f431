//! The object store that finished segments go to, and a folder that serves as one.

use std::{
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Disk, DiskFile, Mode};

/// What an object is made of.
pub enum Body<'a> {
    /// The first so many bytes of a file.
    File(&'a dyn DiskFile, u64),
    /// These bytes.
    Bytes(&'a [u8]),
}

impl Body<'_> {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Body::File(_, n) => *n,
            Body::Bytes(b) => b.len() as u64,
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One object, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key, below the store's prefix.
    pub key: String,
    /// Length in bytes.
    pub len: u64,
}

/// An object store, or a prefix of one. Keys are `/`-separated and never begin with one.
///
/// Calls block, as those of [`Disk`] do. An object is there wholly or not at all. Errors name the object; their kinds:
/// `NotFound`, `AlreadyExists` ([`Store::create`]), `PermissionDenied` (credentials), `Unsupported`; any other may pass
/// by itself, and leaves open whether a write took effect.
pub trait Store: Send + Sync + 'static {
    /// What it is called in messages, without secrets: `s3://bucket/prefix`.
    fn url(&self) -> String;
    /// Writes an object, in the place of what is there; durable when it returns.
    fn put(&self, key: &str, body: Body<'_>) -> io::Result<()>;
    /// Writes an object that must not exist: of several that create the same at once, one succeeds.
    fn create(&self, key: &str, bytes: &[u8]) -> io::Result<()>;
    /// Reads exactly `buf.len()` bytes (`UnexpectedEof` if the object is shorter).
    fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Its length; `None` if there is no such object.
    fn len(&self, key: &str) -> io::Result<Option<u64>>;
    /// Removes it; fine if it is not there.
    fn delete(&self, key: &str) -> io::Result<()>;
    /// Objects whose keys begin with `prefix`, in the order of their keys, after one, at most `limit`.
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>>;
}

/// A folder as a store. Unlike most, it syncs files and names before it says that they are there.
pub struct DiskStore {
    disk: Arc<dyn Disk>,
    url: String,
    next: AtomicU64,
}

/// What the names of objects begin with while they are written.
const TEMPORARY: &str = ".incoming-";
/// Bytes copied at once.
const PIECE: usize = 1 << 20;

fn folder(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(f, _)| f)
}

impl DiskStore {
    /// On a folder that exists. Removes what an earlier process left half written: a folder has one user.
    pub fn new(disk: Arc<dyn Disk>, url: impl Into<String>) -> io::Result<DiskStore> {
        let store = DiskStore::visit(disk, url);
        let (mut all, mut half) = (Vec::new(), Vec::new());
        store.walk("", &mut all, &mut half)?;
        for name in half {
            store.disk.remove(&name)?;
        }
        Ok(store)
    }

    /// On a folder that another may be using; it is not tidied.
    pub fn visit(disk: Arc<dyn Disk>, url: impl Into<String>) -> DiskStore {
        DiskStore { disk, url: url.into(), next: AtomicU64::new(0) }
    }

    fn write(&self, temporary: &str, body: &Body<'_>) -> io::Result<()> {
        let file = self.disk.open(temporary, Mode::CreateNew)?;
        match body {
            Body::Bytes(b) => file.write_all_at(b, 0)?,
            Body::File(from, len) => {
                let mut buf = vec![0; PIECE.min(*len as usize)];
                let mut at = 0;
                while at < *len {
                    let n = (*len - at).min(PIECE as u64) as usize;
                    from.read_exact_at(&mut buf[..n], at)?;
                    file.write_all_at(&buf[..n], at)?;
                    at += n as u64;
                }
            }
        }
        file.sync_data()
    }

    /// Makes a folder and its names durable, from the top down.
    fn folders(&self, key: &str) -> io::Result<()> {
        let parent = folder(key);
        if parent.is_empty() {
            return Ok(());
        }
        self.disk.create_dir_all(parent)?;
        let mut at = Some(parent);
        while let Some(f) = at {
            self.disk.sync_dir(folder(f))?;
            at = f.rsplit_once('/').map(|(up, _)| up);
        }
        Ok(())
    }

    fn place(&self, key: &str, body: &Body<'_>) -> io::Result<()> {
        let dir = folder(key);
        let name = format!("{TEMPORARY}{}", self.next.fetch_add(1, Ordering::Relaxed));
        let temporary = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        let done = self
            .folders(key)
            .and_then(|()| self.write(&temporary, body))
            .and_then(|()| self.disk.rename(&temporary, key))
            .and_then(|()| self.disk.sync_dir(dir));
        if done.is_err() {
            // On a full disk nothing must be left of an attempt.
            let _ = self.disk.remove(&temporary);
        }
        done
    }

    /// Lists objects, and what is half written.
    fn walk(&self, dir: &str, out: &mut Vec<Object>, half: &mut Vec<String>) -> io::Result<()> {
        for e in self.disk.list(dir)? {
            let temporary = e.name.starts_with(TEMPORARY);
            let key = if dir.is_empty() { e.name } else { format!("{dir}/{}", e.name) };
            if e.is_dir {
                self.walk(&key, out, half)?;
            } else if temporary {
                half.push(key);
            } else {
                out.push(Object { key, len: e.len });
            }
        }
        Ok(())
    }
}

impl Store for DiskStore {
    fn url(&self) -> String {
        self.url.clone()
    }
    fn put(&self, key: &str, body: Body<'_>) -> io::Result<()> {
        self.place(key, &body)
    }
    /// A folder has one user, so that looking first is enough.
    fn create(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        if self.len(key)?.is_some() {
            return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{}/{key}: exists", self.url)));
        }
        self.place(key, &Body::Bytes(bytes))
    }
    fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.open(key, Mode::Read)?.read_exact_at(buf, offset)
    }
    fn len(&self, key: &str) -> io::Result<Option<u64>> {
        match self.disk.open(key, Mode::Read) {
            Ok(f) => f.len().map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        match self.disk.remove(key) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>> {
        let mut all = Vec::new();
        let top = folder(prefix);
        self.walk(top, &mut all, &mut Vec::new())?;
        all.retain(|o| o.key.starts_with(prefix) && after.is_none_or(|a| *o.key > *a));
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all.truncate(limit);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conformance,
        sim::{Faults, SimDisk, SimStore},
    };

    #[test]
    fn a_folder_is_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(crate::real::Folder::new(dir.path()));
        conformance::store(&DiskStore::new(disk, "folder").unwrap());
    }

    #[test]
    fn simulated_stores_conform() {
        conformance::store(&SimStore::new(1));
        conformance::store(&DiskStore::new(Arc::new(SimDisk::new(1)), "sim").unwrap());
    }

    #[test]
    fn what_a_folder_has_acknowledged_survives_a_power_cut() {
        let (mut kept, mut failed) = (0, 0);
        for seed in 0..300 {
            let disk = Arc::new(SimDisk::new(seed));
            let s = DiskStore::new(disk.clone(), "sim").unwrap();
            disk.set_faults(Faults { write: 9, sync: 9, names: 9 });
            let body: Vec<u8> = (0..5000).map(|i| (i + seed) as u8).collect();
            let put = s.put("segments/a/x", Body::Bytes(&body));
            disk.set_faults(Faults::default());
            disk.restart();
            let s = DiskStore::new(disk.clone(), "sim").unwrap();
            let mut found = vec![0; 5000];
            match (put, s.len("segments/a/x").unwrap()) {
                (Ok(()), len) => {
                    assert_eq!(len, Some(5000), "seed {seed}");
                    s.read_exact_at("segments/a/x", &mut found, 0).unwrap();
                    assert_eq!(found, body);
                    kept += 1;
                }
                // It may have taken effect; then it is whole.
                (Err(_), Some(len)) => {
                    assert_eq!(len, 5000, "seed {seed}");
                    s.read_exact_at("segments/a/x", &mut found, 0).unwrap();
                    assert_eq!(found, body);
                }
                (Err(_), None) => failed += 1,
            }
            let left = disk.list("segments/a").unwrap();
            assert!(
                left.iter().all(|e| e.name == "x"),
                "seed {seed}: something is left of an attempt: {left:?}"
            );
        }
        assert!(kept > 50 && failed > 50, "{kept} {failed}");
    }
}
