//! The reserve: a file that only takes room, to be given up when the disk is full.

use std::io;

use world::{Disk, Mode};

use crate::StorePolicy;

/// Its name in the data folder.
const NAME: &str = "reserve";
/// Zeroes written at once where a file system cannot set room aside.
const PIECE: usize = 1 << 20;

/// How large the reserve is now; 0: there is none.
pub(crate) fn held(disk: &dyn Disk) -> io::Result<u64> {
    match disk.open(NAME, Mode::Read) {
        Ok(f) => f.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

/// Makes one of `len` bytes.
pub(crate) fn make(disk: &dyn Disk, len: u64) -> io::Result<()> {
    give_up(disk)?;
    let file = disk.open(NAME, Mode::CreateNew)?;
    let made = (|| {
        file.allocate(len)?;
        let mut at = file.len()?;
        while at < len {
            let n = (len - at).min(PIECE as u64);
            file.write_all_at(&vec![0; n as usize], at)?;
            at += n;
        }
        file.sync_data()
    })();
    if made.is_err() {
        give_up(disk)?;
    }
    made
}

/// Gives the reserve up if the disk is full; returns what that freed. For whoever starts on a full disk, before the
/// catalog is opened: that needs room, too. The log makes the reserve again once there is room for it.
pub fn make_way(disk: &dyn Disk, policy: &StorePolicy) -> io::Result<u64> {
    if disk.space()?.free >= policy.reserve {
        return Ok(0);
    }
    let held = held(disk)?;
    if held > 0 {
        give_up(disk)?;
    }
    Ok(held)
}

/// Removes it.
pub(crate) fn give_up(disk: &dyn Disk) -> io::Result<()> {
    match disk.remove(NAME) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
