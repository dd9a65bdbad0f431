use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

use bytes::Bytes;

/// How [`Disk::open`] treats what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The file exists; it is only read.
    Read,
    /// The file exists; it is read and written.
    ReadWrite,
    /// The file must not exist (`AlreadyExists` otherwise); it is read and written.
    CreateNew,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last component of its path.
    pub name: String,
    /// Length in bytes; 0 for a folder.
    pub len: u64,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// How much room the file system has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the whole file system.
    pub total: u64,
    /// What an ordinary writer may still use.
    pub free: u64,
}

/// A data folder. Paths are relative to it, `/`-separated, and never leave it.
///
/// Calls block; callers on an async runtime move them off it. What a power cut may undo is what POSIX allows:
/// written bytes until [`DiskFile::sync_data`] returned, created, renamed and removed names until
/// [`Disk::sync_dir`] of their folder returned. Errors name the path.
pub trait Disk: Send + Sync + 'static {
    /// Opens or creates a file.
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces `to` if it exists. Both in this folder's file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Creates a folder and its parents; fine if it is there.
    fn create_dir_all(&self, path: &str) -> io::Result<()>;
    /// The names in a folder, sorted; empty if the folder does not exist.
    fn list(&self, path: &str) -> io::Result<Vec<Entry>>;
    /// Makes the names in a folder durable ("" is the data folder itself).
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// How much room there is.
    fn space(&self) -> io::Result<Space>;
}

/// An open file, written and read at explicit offsets, from any thread.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads exactly `buf.len()` bytes (`UnexpectedEof` if the file is shorter).
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf`.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// `fdatasync`: when it returns, what was written survives a power cut. After an error nothing is known.
    fn sync_data(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Truncates or extends with zeroes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves room for `len` bytes from the start without changing what is read (the length grows to `len`);
    /// a file system that cannot do this ignores it.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Tells the system that these bytes will not be read again soon.
    fn forget(&self, _offset: u64, _len: u64) {}
    /// The first `len` bytes, to be handed on (`UnexpectedEof` if the file is shorter). Only for a file that is
    /// finished: until the last clone is dropped nobody may write or truncate it (removing and renaming are fine).
    /// A real file is mapped, so that a large one does not fill the heap.
    fn bytes(&self, len: u64) -> io::Result<Bytes> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        let mut buf = vec![0; len];
        self.read_exact_at(&mut buf, 0)?;
        Ok(buf.into())
    }
}
