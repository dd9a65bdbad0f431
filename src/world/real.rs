//! The world as it is. The one room that may touch the system's clock and randomness.
#![allow(clippy::disallowed_methods, reason = "this is the room they are banned from everywhere else for")]

mod map;

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};

use crate::{Clock, Disk, DiskFile, Entropy, Entry, Mode, Space, Timestamp, World};

impl World {
    /// The real world, with `root` (which must exist) as the data folder.
    pub fn real(root: impl Into<PathBuf>) -> World {
        World {
            clock: Arc::new(SystemClock { origin: Instant::now() }),
            entropy: Arc::new(SystemEntropy(SystemRandom::new())),
            disk: Arc::new(Folder { root: root.into() }),
            store: None,
        }
    }
}

struct SystemClock {
    origin: Instant,
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
            Err(e) => -i64::try_from(e.duration().as_micros()).unwrap_or(i64::MAX),
        })
    }
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
    async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
    }
}

struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, buf: &mut [u8]) {
        // Without randomness no key may be made; there is nothing to go on with.
        self.0.fill(buf).expect("the system's random generator works");
    }
}

/// A folder of the local file system.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// `root` must exist.
    pub fn new(root: impl Into<PathBuf>) -> Folder {
        Folder { root: root.into() }
    }
    fn path(&self, rel: &str) -> io::Result<PathBuf> {
        let rel = Path::new(rel);
        if rel.components().any(|c| !matches!(c, std::path::Component::Normal(_))) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("{}: leaves the data folder", rel.display()),
            ));
        }
        Ok(self.root.join(rel))
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |e| io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

impl Disk for Folder {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(path)?;
        let mut o = fs::OpenOptions::new();
        o.read(true).write(mode != Mode::Read).create_new(mode == Mode::CreateNew);
        let file = o.open(&path).map_err(at(&path))?;
        Ok(Arc::new(RealFile { file, path }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        fs::rename(&from, &to).map_err(at(&from))
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.path(path)?;
        fs::remove_file(&path).map_err(at(&path))
    }
    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let path = self.path(path)?;
        fs::create_dir_all(&path).map_err(at(&path))
    }
    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let path = self.path(path)?;
        let dir = match fs::read_dir(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            r => r.map_err(at(&path))?,
        };
        let mut out = Vec::new();
        for e in dir {
            let e = e.map_err(at(&path))?;
            let meta = match e.metadata() {
                // Removed between the listing and the look.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                m => m.map_err(at(&path))?,
            };
            let is_dir = meta.is_dir();
            out.push(Entry {
                name: e.file_name().to_string_lossy().into_owned(),
                len: if is_dir { 0 } else { meta.len() },
                is_dir,
            });
        }
        out.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(out)
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let path = self.path(path)?;
        fs::File::open(&path).and_then(|d| d.sync_all()).map_err(at(&path))
    }
    fn space(&self) -> io::Result<Space> {
        let s = rustix::fs::statvfs(&self.root).map_err(|e| at(&self.root)(e.into()))?;
        Ok(Space { total: s.f_blocks * s.f_frsize, free: s.f_bavail * s.f_frsize })
    }
}

struct RealFile {
    file: fs::File,
    path: PathBuf,
}

impl DiskFile for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset).map_err(at(&self.path))
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset).map_err(at(&self.path))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(at(&self.path))
    }
    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(at(&self.path))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(at(&self.path))
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            r => r.map_err(|e| at(&self.path)(e.into())),
        }
    }
    fn forget(&self, offset: u64, len: u64) {
        // Advice only: a failure changes nothing.
        let _ = rustix::fs::fadvise(
            &self.file,
            offset,
            std::num::NonZeroU64::new(len),
            rustix::fs::Advice::DontNeed,
        );
    }
    fn bytes(&self, len: u64) -> io::Result<Bytes> {
        map::bytes(&self.file, len).map_err(at(&self.path))
    }
}
