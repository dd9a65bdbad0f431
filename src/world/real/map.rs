//! Finished files as bytes that are not on the heap: the one use of `unsafe` in this room.
#![allow(unsafe_code, reason = "a mapping cannot be made and read without; each use says why it holds")]

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
};

use bytes::Bytes;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes read at once before they are mapped.
const PIECE: usize = 1 << 20;

/// A read-only mapping of the beginning of a file, unmapped when dropped.
struct Map {
    at: *const u8,
    len: usize,
}

// SAFETY: `at` is the sole handle on a mapping that nobody writes through (it is `PROT_READ`), that stays where it is
// until `drop`, and that any thread may read and unmap.
unsafe impl Send for Map {}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `at` comes from a successful `mmap` of `len` bytes, `len > 0`, page-aligned and mapped until `drop`,
        // which the borrow of `self` outlives not. The bytes do not change meanwhile and are all within the file:
        // `DiskFile::bytes` is for finished files only, which this process (the folder's only user, by its lock)
        // neither writes nor truncates; renaming or removing the name leaves the mapped file as it is.
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly what `mmap` returned, once, and no slice of it is alive: they borrow `self`.
        // An error would leave it mapped, which is harmless.
        let _ = unsafe { munmap(self.at.cast_mut().cast(), self.len) };
    }
}

/// The first `len` bytes of a finished file.
///
/// They are read once before they are mapped: what the disk cannot read is an error here, not a `SIGBUS` in whoever
/// reads the mapping, and then they are in the page cache.
pub(super) fn bytes(file: &File, len: u64) -> io::Result<Bytes> {
    let len = usize::try_from(len).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
    if len == 0 {
        return Ok(Bytes::new());
    }
    let mut buf = vec![0; PIECE.min(len)];
    let mut done = 0;
    while done < len {
        let n = PIECE.min(len - done);
        file.read_exact_at(&mut buf[..n], done as u64)?;
        done += n;
    }
    // SAFETY: a fresh mapping at an address of the system's choice: it replaces none. The descriptor is valid, and the
    // file was at least `len` long just now.
    let at = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
    Ok(Bytes::from_owner(Map { at: at.cast_const().cast(), len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_outlives_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let content: Vec<u8> = (0..3 * PIECE as u32 + 17).map(|i| (i % 253) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        let (all, some) = (bytes(&file, content.len() as u64).unwrap(), bytes(&file, 5).unwrap());
        std::fs::remove_file(&path).unwrap();
        drop(file);
        let slice = all.slice(PIECE + 1..2 * PIECE);
        drop(all);
        let there = std::thread::spawn(move || slice.to_vec()).join().unwrap();
        assert_eq!(there, content[PIECE + 1..2 * PIECE]);
        assert_eq!(some, content[..5]);
    }

    #[test]
    fn a_short_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("short");
        std::fs::write(&path, b"abc").unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(bytes(&file, 4).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert!(bytes(&file, 0).unwrap().is_empty());
    }
}
