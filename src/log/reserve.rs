//! How much room there is, and the reserve: a file that only takes room, to be given up when the disk is full.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use world::{Disk, Mode};

use crate::{LogError, StorePolicy, opening::OpenError, shared::Shared};

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

/// What is left free, and what making room aims at.
pub(crate) fn floor_of(policy: &StorePolicy) -> u64 {
    policy.free_floor.max(policy.reserve)
}

impl Shared {
    /// Before anything is accepted: the reserve is made, or given up if the disk is full, and what may be written until
    /// the first pass is measured.
    pub async fn look_at_disk(self: &Arc<Self>) -> Result<(), OpenError> {
        let policy = self.rules.store();
        let io = |e: LogError| OpenError::Io(e.to_string());
        let free = self.space_and_reserve(&policy).await.map_err(io)?;
        let (free, held) = self.restore_reserve(&policy, free).await;
        if held < policy.reserve {
            // What there is may be what was given up for making room: the first pass, at once, comes before the others.
            self.rules.refuse_all("the disk is nearly full, and room is being made: try again");
        }
        self.measure(free, floor_of(&policy));
        Ok(())
    }

    /// What is in the journal needs its room once more, in segments, before that of the journal is free again.
    pub fn measure(&self, free: u64, floor: u64) {
        let journal = self.counters.journal_bytes.load(Ordering::Relaxed);
        self.rules.measure(free.saturating_sub(journal), floor);
    }

    pub async fn space(self: &Arc<Self>) -> Result<u64, LogError> {
        let s = self.clone();
        Ok(self.blocking(move || s.world.disk.space()).await??.free)
    }

    /// How much is free, after the reserve was given up if that is little.
    pub async fn space_and_reserve(self: &Arc<Self>, policy: &StorePolicy) -> Result<u64, LogError> {
        let free = self.space().await?;
        if free >= policy.reserve {
            return Ok(free);
        }
        // From here on nobody else takes what is given up.
        self.rules.refuse_all("the disk is full, and room is being made: try again");
        let (s, p) = (self.clone(), *policy);
        let given = self.blocking(move || make_way(&*s.world.disk, &p)).await??;
        if given > 0 {
            tracing::warn!(free, given, "the disk is full: the reserve was given up");
        }
        Ok(free + given)
    }

    /// What the reserve lacks.
    pub async fn lacking(self: &Arc<Self>, policy: &StorePolicy) -> Result<u64, LogError> {
        let s = self.clone();
        let held = self.blocking(move || held(&*s.world.disk)).await??;
        Ok(policy.reserve.saturating_sub(held))
    }

    /// Makes the reserve (again) when there is room for it, or another when its size was changed. Returns what is free
    /// after that, and how large it is.
    pub async fn restore_reserve(self: &Arc<Self>, policy: &StorePolicy, free: u64) -> (u64, u64) {
        let (s, policy) = (self.clone(), *policy);
        let floor = floor_of(&policy);
        let done = self
            .blocking(move || {
                let disk = &*s.world.disk;
                let before = held(disk)?;
                match before {
                    n if n == policy.reserve => return Ok((free, n)),
                    _ if policy.reserve == 0 => give_up(disk)?,
                    n if free + n >= floor + policy.reserve => make(disk, policy.reserve)?,
                    n => return Ok((free, n)),
                }
                Ok::<_, std::io::Error>(((free + before).saturating_sub(policy.reserve), policy.reserve))
            })
            .await;
        let why = match done {
            Ok(Ok(found)) => return found,
            Ok(Err(e)) => e.to_string(),
            Err(e) => e.to_string(),
        };
        tracing::warn!(error = why, "the reserve could not be made");
        (free, 0)
    }
}
