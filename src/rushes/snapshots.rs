//! Snapshots of the catalog where they are kept: made, listed, and old ones removed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use catalog::{Catalog as _, SqliteCatalog};
use seal::KeyProvider;
use world::{Body, Mode, Store, Timestamp, World};

use crate::{
    Failure,
    folder::step,
    snapshot::{self, Header},
    visit::blocking,
};

/// What the keys of snapshots begin with.
const PREFIX: &str = "catalog/";
/// The copy of the database that a snapshot is made of, and the snapshot that is made, in the data folder.
const COPY: &str = "catalog.copy";
const SEALED: &str = "catalog.snapshot";

/// A snapshot in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub key: String,
    pub time: Timestamp,
    pub bytes: u64,
}

/// `catalog/20261124T103000.123456Z-ID.snap`
fn key(h: &Header) -> String {
    let time: String = wire::time::format(h.time()).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{PREFIX}{time}-{}.snap", h.id)
}

fn time_of(key: &str) -> Option<Timestamp> {
    let (time, id) = key.strip_prefix(PREFIX)?.strip_suffix(".snap")?.split_once('-')?;
    let t = time.as_bytes();
    if t.len() != 23 || id.len() != 32 || !time.is_ascii() {
        return None;
    }
    let text = format!("{}-{}-{}:{}:{}", &time[..4], &time[4..6], &time[6..11], &time[11..13], &time[13..]);
    wire::time::parse(&text).ok()
}

/// All snapshots of a store, oldest first. Blocks.
pub fn list(store: &dyn Store) -> Result<Vec<Kept>, Failure> {
    let mut out = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(PREFIX, after.as_deref(), 1000).map_err(Failure::new)?;
        let Some(last) = page.last() else { return Ok(out) };
        after = Some(last.key.clone());
        out.extend(page.into_iter().filter_map(|o| {
            let time = time_of(&o.key)?;
            Some(Kept { key: o.key, time, bytes: o.len })
        }));
    }
}

/// Reads an object from its beginning.
pub struct ObjectReader {
    pub store: Arc<dyn Store>,
    pub key: String,
    pub at: u64,
    pub len: u64,
}

impl Read for ObjectReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = buf.len().min(usize::try_from(self.len - self.at).unwrap_or(usize::MAX));
        self.store.read_exact_at(&self.key, &mut buf[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Makes a snapshot as of now into `to`, which must not exist: whole or not at all, durable when this returns. Blocks;
/// called from within the runtime.
pub fn write(
    world: &World,
    catalog: &SqliteCatalog,
    keys: &dyn KeyProvider,
    data: &Path,
    to: &Path,
) -> Result<Header, Failure> {
    let at = |e: io::Error| Failure(format!("{}: {e}", to.display()));
    if to.exists() {
        return Err(at(io::ErrorKind::AlreadyExists.into()));
    }
    let copy = Temporary::new(data.join(COPY))?;
    let created = world.clock.now();
    step()?;
    catalog.copy_to(&copy.0).map_err(Failure::new)?;
    // Half a snapshot is none.
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let part = Temporary::new(name.into())?;
    step()?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part.0).map_err(at)?;
    let mut from = io::BufReader::with_capacity(1 << 20, File::open(&copy.0).map_err(Failure::new)?);
    let len = fs::metadata(&copy.0).map_err(Failure::new)?.len();
    let sealing = snapshot::seal(world, keys, created, len, &mut from, &mut out);
    step()?;
    let header = tokio::runtime::Handle::current().block_on(sealing)?;
    out.sync_all().map_err(at)?;
    step()?;
    fs::rename(&part.0, to).map_err(at)?;
    std::mem::forget(part);
    step()?;
    let dir = to.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|d| d.sync_all()).map_err(at)?;
    Ok(header)
}

/// A file that is removed when done with, and was before if a stop left it.
pub struct Temporary(pub PathBuf);

impl Temporary {
    pub fn new(path: PathBuf) -> Result<Temporary, Failure> {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure(format!("{}: {e}", path.display()))),
            _ => Ok(Temporary(path)),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Left over, it is removed by the next one.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes snapshots of a running server's catalog, one after another.
pub struct Snapshots {
    pub world: World,
    pub data: PathBuf,
    pub catalog: Arc<SqliteCatalog>,
    pub keys: Arc<dyn KeyProvider>,
    pub store: Arc<dyn Store>,
    pub every: Duration,
    /// So many of the newest stay.
    pub keep: usize,
}

/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(60);

impl Snapshots {
    /// Goes on for ever. The first is made at once if the newest that is kept is old enough.
    pub async fn run(self: Arc<Self>) {
        let s = self.clone();
        let newest = blocking(move || list(&*s.store)).await.ok().and_then(|l| l.last().map(|k| k.time));
        let now = self.world.clock.now();
        // A time in the future is a clock that was set back.
        let age = newest.filter(|t| *t <= now).map_or(self.every, |t| now.since(t));
        let mut due = self.world.clock.monotonic() + self.every.saturating_sub(age);
        let mut known = self.keys_now().await;
        loop {
            // A key that no snapshot has would be lost with the catalog, and what it seals with it.
            let keys = self.keys_now().await;
            if self.world.clock.monotonic() >= due || keys != known {
                let s = self.clone();
                match blocking(move || s.take()).await {
                    Ok(kept) => {
                        tracing::debug!(
                            key = kept.key,
                            bytes = kept.bytes,
                            "a snapshot of the catalog was kept"
                        );
                        due = self.world.clock.monotonic() + self.every;
                        known = keys;
                    }
                    Err(e) => {
                        tracing::warn!("a snapshot of the catalog could not be kept: {e}; trying again")
                    }
                }
            }
            self.world.clock.sleep(LOOK).await;
        }
    }

    /// Names the keys that there are.
    async fn keys_now(&self) -> Option<Vec<(world::StreamUid, u32)>> {
        let rows = self.catalog.all_keys().await.ok()?;
        Some(rows.into_iter().map(|r| (r.stream, r.generation)).collect())
    }

    /// Makes one and removes the oldest beyond what is kept. Blocks; called from within the runtime.
    pub fn take(&self) -> Result<Kept, Failure> {
        let sealed = Temporary::new(self.data.join(SEALED))?;
        let header = write(&self.world, &self.catalog, &*self.keys, &self.data, &sealed.0)?;
        let file = self.world.disk.open(SEALED, Mode::Read).map_err(Failure::new)?;
        let (key, bytes) = (key(&header), file.len().map_err(Failure::new)?);
        self.store.put(&key, Body::File(&*file, bytes)).map_err(Failure::new)?;
        let all = list(&*self.store)?;
        // By name, which is by time; never the one that was just made, whatever the clock says.
        for old in all.iter().rev().skip(self.keep.max(1)).filter(|k| k.key != key) {
            self.store.delete(&old.key).map_err(Failure::new)?;
        }
        Ok(Kept { key, time: header.time(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal::{DataKey, LocalKey};
    use world::DiskStore;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_newest_are_kept_and_each_opens() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let world = World::real(&data);
        let disk = Arc::new(world::real::Folder::new(dir.path().join("store")));
        let store: Arc<dyn Store> = Arc::new(DiskStore::new(disk, "store").unwrap());
        let catalog = Arc::new(SqliteCatalog::open(&data.join("catalog.sqlite"), world.clone()).unwrap());
        let keys: Arc<dyn KeyProvider> = Arc::new(LocalKey::new(DataKey::new([1; 32])));
        store.put("catalog/a person's note", Body::Bytes(b"stays")).unwrap();
        let every = Duration::from_secs(60);
        let s = Snapshots {
            world,
            data: data.clone(),
            catalog,
            keys: keys.clone(),
            store: store.clone(),
            every,
            keep: 3,
        };
        let s = Arc::new(s);
        let mut made = Vec::new();
        for _ in 0..5 {
            let s = s.clone();
            made.push(blocking(move || s.take()).await.unwrap());
        }
        assert_eq!(list(&*store).unwrap(), made[2..]);
        assert_eq!(store.list("catalog/", None, 99).unwrap().len(), 4);
        assert!(!data.join(COPY).exists() && !data.join(SEALED).exists());
        let last = made.pop().unwrap();
        let mut from = ObjectReader { store, key: last.key, at: 0, len: last.bytes };
        let header = Header::read(&mut from).unwrap();
        assert_eq!(header.time(), last.time);
        let mut out = Vec::new();
        snapshot::open(&header, &*keys, &mut from, &mut out).await.unwrap();
        assert!(out.starts_with(b"SQLite format 3\0"));
    }
}
