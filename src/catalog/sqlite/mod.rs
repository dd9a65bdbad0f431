//! The embedded engine.

mod backup;
mod documents;
mod leases;
mod readers;
mod runs;
mod schema;
mod tables;
mod writer;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::Read as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use world::{ShardId, StreamUid, World};

use crate::{
    Catalog, CatalogError, Change, Document, Filter, KeyRow, Lease, LogUpdate, Mark, RunQuery, RunRow,
    SegmentRow, SegmentState, ShardRow, Span, check,
};
use readers::Readers;
use writer::{After, Writer};

/// The catalog in one SQLite file: a thread that writes, a few connections that read.
pub struct SqliteCatalog {
    world: World,
    // Before the readers, so that the writer's is the last connection but theirs, and the log is folded in at the end.
    /// `None`: opened for reading only.
    writer: Option<Writer>,
    readers: Readers,
    path: PathBuf,
}

/// Why a piece of work failed, before it is known to whom it is told.
enum Fail {
    Sql(rusqlite::Error),
    Catalog(CatalogError),
}

impl From<rusqlite::Error> for Fail {
    fn from(e: rusqlite::Error) -> Fail {
        Fail::Sql(e)
    }
}

impl From<CatalogError> for Fail {
    fn from(e: CatalogError) -> Fail {
        Fail::Catalog(e)
    }
}

impl From<Fail> for CatalogError {
    fn from(f: Fail) -> CatalogError {
        use rusqlite::Error as E;
        match f {
            Fail::Catalog(e) => e,
            Fail::Sql(
                e @ (E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
                | E::InvalidColumnType(..)),
            ) => CatalogError::Damaged(e.to_string()),
            Fail::Sql(e) => match e.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    CatalogError::Damaged(e.to_string())
                }
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    CatalogError::Locked("the catalog".into())
                }
                _ => CatalogError::Engine(e.to_string()),
            },
        }
    }
}

/// How much of the file is read through when it is opened.
const WARM: u64 = 16 << 20;

/// Brings the file into the page cache: else the first look at each stream waits for the disk at each level of a tree.
/// It is small: less than a byte a fragment.
fn warm(file: File) {
    // What cannot be read SQLite will say better.
    let _ = std::io::copy(&mut file.take(WARM), &mut std::io::sink());
}

/// Held as long as anything of the catalog lives; the system lets go of it when the process dies.
struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl SqliteCatalog {
    /// Opens the file, or makes it (readable by its owner alone) in a folder that exists. Beside it lie SQLite's
    /// `-wal` and `-shm`, and `.lock`, by which a second process is told [`CatalogError::Locked`].
    ///
    /// Blocks for as long as recovery after a crash takes (the write-ahead log is small). The catalog is then used
    /// from within a tokio runtime. Dropping it finishes what was accepted.
    pub fn open(path: &Path, world: World) -> Result<SqliteCatalog, CatalogError> {
        let lock = Arc::new(lock(path)?);
        let at = |e: Fail| match CatalogError::from(e) {
            CatalogError::Locked(_) => CatalogError::Locked(path.display().to_string()),
            CatalogError::Damaged(why) => CatalogError::Damaged(format!("{}: {why}", path.display())),
            CatalogError::Engine(why) => CatalogError::Engine(format!("{}: {why}", path.display())),
            e => e,
        };
        // Made by us first, as SQLite would make it readable by everybody; its other files copy these rights.
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| io(path, e))?;
        // Before there are connections, whose locks go when the process closes any descriptor of the file.
        warm(file);
        let mut conn = connect(path).map_err(at)?;
        schema::migrate(&mut conn).map_err(at)?;
        let readers = Readers::open(|| connect(path), Some(lock.clone())).map_err(at)?;
        let writer = Writer::start(conn, lock).map_err(|e| io(path, e))?;
        Ok(SqliteCatalog { world, writer: Some(writer), readers, path: path.to_owned() })
    }

    /// Opens a file that exists for reading, beside a process that may have it open: everything that would write fails.
    /// It must have this program's format.
    pub fn read_only(path: &Path, world: World) -> Result<SqliteCatalog, CatalogError> {
        let at = |e: Fail| match CatalogError::from(e) {
            CatalogError::Damaged(why) => CatalogError::Damaged(format!("{}: {why}", path.display())),
            CatalogError::Engine(why) => CatalogError::Engine(format!("{}: {why}", path.display())),
            e => e,
        };
        schema::expect(&connect(path).map_err(at)?).map_err(at)?;
        let readers = Readers::open(|| connect(path), None).map_err(at)?;
        Ok(SqliteCatalog { world, writer: None, readers, path: path.to_owned() })
    }

    fn writer(&self) -> Result<&Writer, CatalogError> {
        self.writer
            .as_ref()
            .ok_or_else(|| CatalogError::Engine("the catalog was opened for reading only".into()))
    }

    /// What is wrong with it, a line each: pages and indexes as SQLite checks them, references between tables, sums.
    pub async fn integrity(&self) -> Result<Vec<String>, CatalogError> {
        self.readers.read(backup::integrity).await
    }

    /// Writes a copy, as of one moment, to a file that must not exist; it is readable by its owner alone, has no free
    /// pages, and is durable when this returns. Blocks. What is committed meanwhile goes on.
    pub fn copy_to(&self, to: &Path) -> Result<(), CatalogError> {
        backup::copy(&self.path, to)
    }

    /// Makes a file that [`SqliteCatalog::copy_to`] wrote ready to be opened as a catalog: checks that it is whole, and
    /// takes its leases away from whoever had them (their epochs stay used). Nobody has it open. Blocks.
    pub fn ready(copy: &Path) -> Result<(), CatalogError> {
        backup::check_copy(copy)?;
        backup::free_leases(copy)
    }
}

fn io(path: &Path, e: std::io::Error) -> CatalogError {
    CatalogError::Engine(format!("{}: {e}", path.display()))
}

fn lock(path: &Path) -> Result<Lock, CatalogError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&name)
        .map_err(|e| io(&name, e))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(CatalogError::Locked(path.display().to_string())),
        Err(TryLockError::Error(e)) => Err(io(&name, e)),
    }
}

fn connect(path: &Path) -> Result<Connection, Fail> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(writer::BUSY)?;
    schema::configure(&conn)?;
    Ok(conn)
}

#[async_trait::async_trait]
impl Catalog for SqliteCatalog {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>, CatalogError> {
        let (kind, id) = (kind.to_owned(), id.to_owned());
        self.readers.read(move |c| documents::get(c, &kind, &id)).await
    }
    async fn list(&self, filter: Filter) -> Result<Vec<Document>, CatalogError> {
        self.readers.read(move |c| documents::list(c, &filter)).await
    }
    async fn commit(&self, changes: Vec<Change>) -> Result<(), CatalogError> {
        self.writer()?
            .write(After::Nothing, move |c| changes.iter().try_for_each(|x| documents::apply(c, x)))
            .await
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, CatalogError> {
        let (name, holder, clock) = (name.to_owned(), holder.to_owned(), self.world.clock.clone());
        self.writer()?
            .write(After::Nothing, move |c| leases::acquire(c, name, holder, clock.now(), ttl))
            .await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, CatalogError> {
        let (lease, clock) = (lease.clone(), self.world.clock.clone());
        self.writer()?.write(After::Nothing, move |c| leases::renew(c, lease, clock.now() + ttl)).await
    }
    async fn release(&self, lease: Lease) -> Result<(), CatalogError> {
        self.writer()?.write(After::Nothing, move |c| leases::release(c, &lease)).await
    }

    async fn put_key(&self, key: KeyRow) -> Result<(), CatalogError> {
        self.writer()?.write(After::Nothing, move |c| tables::put_key(c, &key)).await
    }
    async fn keys(&self, stream: StreamUid) -> Result<Vec<KeyRow>, CatalogError> {
        self.readers.read(move |c| tables::keys(c, stream)).await
    }
    async fn all_keys(&self) -> Result<Vec<KeyRow>, CatalogError> {
        self.readers.read(tables::all_keys).await
    }
    async fn rewrap(&self, keys: Vec<KeyRow>) -> Result<(), CatalogError> {
        self.writer()?.write(After::Truncate, move |c| tables::rewrap(c, &keys)).await
    }
    async fn forget_stream(&self, stream: StreamUid) -> Result<(), CatalogError> {
        self.writer()?.write(After::Truncate, move |c| tables::forget_stream(c, stream)).await
    }

    async fn log_update(&self, update: LogUpdate) -> Result<(), CatalogError> {
        check::update(&update)?;
        self.writer()?.write(After::Nothing, move |c| tables::update(c, &update)).await
    }
    async fn mark(&self) -> Result<Mark, CatalogError> {
        self.readers.read(tables::mark).await
    }
    async fn shards(&self, stream: Option<StreamUid>) -> Result<Vec<ShardRow>, CatalogError> {
        self.readers.read(move |c| tables::shards(c, stream)).await
    }
    async fn runs(&self, shard: ShardId, query: RunQuery) -> Result<Vec<RunRow>, CatalogError> {
        if check::inverted(&query) {
            return Ok(Vec::new());
        }
        self.readers.read(move |c| runs::find(c, shard, query)).await
    }
    async fn first_runs(
        &self,
        shard: ShardId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RunRow>, CatalogError> {
        self.readers.read(move |c| runs::first(c, shard, after, limit)).await
    }
    async fn gaps(&self, shard: ShardId, span: Span<u64>) -> Result<Vec<(u64, u64)>, CatalogError> {
        self.readers.read(move |c| runs::gaps(c, shard, span)).await
    }
    async fn segment(&self, id: [u8; 16]) -> Result<Option<SegmentRow>, CatalogError> {
        self.readers.read(move |c| tables::segment(c, id)).await
    }
    async fn segments(&self, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<SegmentRow>, CatalogError> {
        self.readers.read(move |c| tables::segments(c, after, limit)).await
    }
    async fn segments_in(
        &self,
        state: SegmentState,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, CatalogError> {
        self.readers.read(move |c| tables::segments_in(c, state, after, limit)).await
    }
    async fn stored_bytes(&self, stream: Option<StreamUid>) -> Result<u64, CatalogError> {
        self.readers.read(move |c| tables::stored_bytes(c, stream)).await
    }
}

#[cfg(test)]
mod tests;
