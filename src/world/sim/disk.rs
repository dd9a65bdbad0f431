//! A disk in memory that loses what a real one may lose.
//!
//! What it does to its user is what POSIX allows and disks have done: written bytes are lost, kept, or torn
//! at sectors of 512 bytes until [`DiskFile::sync_data`] returned; names created, renamed and removed are undone, the
//! latest first, until [`Disk::sync_dir`] returned; a failed sync leaves its pages readable and never written.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Dice, lock};
use crate::{Disk, DiskFile, Entry, Mode, Space};

/// What a disk loses or keeps as a whole when a write is torn.
const SECTOR: usize = 512;

/// How often things go wrong: once in so many calls, 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A write reaches the file in part or not at all, and fails.
    pub write: u32,
    /// A sync fails, and its pages are dropped.
    pub sync: u32,
    /// A file cannot be created, renamed, or a folder synced.
    pub names: u32,
}

/// Something that is not durable yet.
#[derive(Clone)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    SetLen(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write { at, data } => {
                if to.len() < at + data.len() {
                    to.resize(at + data.len(), 0);
                }
                to[*at..at + data.len()].copy_from_slice(data);
            }
            Change::SetLen(n) => to.resize(*n, 0),
        }
    }
}

/// A file's content, whatever names it has.
#[derive(Default)]
struct Inode {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives.
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Create(n, i) => drop(names.insert(n.clone(), *i)),
            NameChange::Rename(a, b) => {
                if let Some(i) = names.remove(a) {
                    names.insert(b.clone(), i);
                }
            }
            NameChange::Remove(n) => drop(names.remove(n)),
        }
    }
}

#[derive(Default)]
struct Folder {
    seen: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
}

struct State {
    dice: Dice,
    faults: Faults,
    capacity: Option<u64>,
    inodes: BTreeMap<u64, Inode>,
    folders: BTreeMap<String, Folder>,
    next: u64,
    calls: u64,
    /// The power goes at this call.
    cut_at: Option<u64>,
    off: bool,
    /// Handles of an earlier life do nothing.
    life: u64,
    trace: u64,
    log: Option<Vec<String>>,
}

/// A disk in memory; see the module.
pub struct SimDisk(Arc<Mutex<State>>);

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn missing(path: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{path}: no such file"))
}

impl State {
    /// Notes a call, and says whether the power is still on.
    fn call(&mut self, what: impl FnOnce() -> String) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        self.calls += 1;
        if self.cut_at.is_some_and(|n| self.calls >= n) {
            self.off = true;
            return Err(io::Error::other("the power went"));
        }
        let what = what();
        // FNV-1a: enough to tell two runs apart.
        for b in what.bytes() {
            self.trace = (self.trace ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
        }
        if let Some(log) = &mut self.log {
            log.push(what);
        }
        Ok(())
    }
    fn fail(&mut self, once_in: u32, what: &str) -> io::Result<()> {
        if self.dice.once_in(once_in) {
            Err(io::Error::other(format!("{what}: input/output error")))
        } else {
            Ok(())
        }
    }
    fn folder(&mut self, path: &str) -> io::Result<&mut Folder> {
        self.folders.get_mut(path).ok_or_else(|| missing(path))
    }
    /// What files with a name take.
    fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.folders.values().flat_map(|f| f.seen.values().copied()).collect();
        named.iter().filter_map(|i| self.inodes.get(i)).map(|i| i.seen.len() as u64).sum()
    }
    /// Bytes by which files may grow.
    fn room(&self) -> usize {
        match self.capacity {
            Some(c) => usize::try_from(c.saturating_sub(self.used())).unwrap_or(usize::MAX),
            None => usize::MAX,
        }
    }
    fn change_name(&mut self, folder: &str, c: NameChange) -> io::Result<()> {
        let f = self.folder(folder)?;
        c.apply(&mut f.seen);
        f.pending.push(c);
        Ok(())
    }
}

impl SimDisk {
    /// Empty; what it does follows from `seed`.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            faults: Faults::default(),
            capacity: None,
            inodes: BTreeMap::new(),
            folders: BTreeMap::from([(String::new(), Folder::default())]),
            next: 1,
            calls: 0,
            cut_at: None,
            off: false,
            life: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            log: None,
        })))
    }
    /// What goes wrong from now on.
    pub fn set_faults(&self, f: Faults) {
        lock(&self.0).faults = f;
    }
    /// Files take so many bytes at most from now on; more is refused as a full disk does. `None`: no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.0).capacity = bytes;
    }
    /// The power goes after so many more calls: that call and all later ones fail until [`SimDisk::restart`].
    pub fn cut_after(&self, calls: u64) {
        let mut s = lock(&self.0);
        s.cut_at = Some(s.calls + 1 + calls);
    }
    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        lock(&self.0).off
    }
    /// Starts again after a power cut (whether or not one was announced): each file and folder keeps what was synced
    /// and an arbitrary part of what was not. Handles from before are dead.
    pub fn restart(&self) {
        let mut guard = lock(&self.0);
        let s = &mut *guard;
        for i in s.inodes.values_mut() {
            for c in std::mem::take(&mut i.pending) {
                match &c {
                    Change::Write { at, data } => match s.dice.below(3) {
                        0 => {}
                        1 => c.apply(&mut i.durable),
                        _ => {
                            // Torn: each sector that it touches is kept or lost.
                            let mut from = 0;
                            while from < data.len() {
                                let to = data.len().min(((at + from) / SECTOR + 1) * SECTOR - at);
                                if s.dice.once_in(2) {
                                    let part = Change::Write { at: at + from, data: data[from..to].to_vec() };
                                    part.apply(&mut i.durable);
                                }
                                from = to;
                            }
                        }
                    },
                    Change::SetLen(_) if s.dice.once_in(2) => c.apply(&mut i.durable),
                    Change::SetLen(_) => {}
                }
            }
            i.seen = i.durable.clone();
        }
        for f in s.folders.values_mut() {
            // Names change in order, as a journaling file system keeps them: any number of the first ones made it.
            let kept = s.dice.below(f.pending.len() + 1);
            f.pending.drain(..).take(kept).for_each(|c| c.apply(&mut f.durable));
            f.seen = f.durable.clone();
        }
        s.collect();
        (s.off, s.cut_at) = (false, None);
        s.life += 1;
    }
    /// Starts again after the process was killed and the system was not: all that was written is there. Handles from
    /// before are dead.
    pub fn restart_process(&self) {
        let mut s = lock(&self.0);
        s.collect();
        (s.off, s.cut_at) = (false, None);
        s.life += 1;
    }
    /// A number that tells two different runs apart: what was called, in which order, with which bytes.
    pub fn trace(&self) -> u64 {
        lock(&self.0).trace
    }
    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        lock(&self.0).calls
    }
    /// Keeps every call from now on in words.
    pub fn keep_log(&self) {
        lock(&self.0).log = Some(Vec::new());
    }
    /// What was kept since the last time.
    pub fn take_log(&self) -> Vec<String> {
        lock(&self.0).log.as_mut().map(std::mem::take).unwrap_or_default()
    }
    /// Flips a bit of a stored file, as disks do: in what is seen and in what is durable.
    pub fn flip(&self, path: &str, at: usize, bit: u8) -> io::Result<()> {
        let mut s = lock(&self.0);
        let (dir, name) = split(path);
        let i = *s.folder(dir)?.seen.get(name).ok_or_else(|| missing(path))?;
        let inode = s.inodes.get_mut(&i).ok_or_else(|| missing(path))?;
        for v in [&mut inode.seen, &mut inode.durable] {
            if let Some(b) = v.get_mut(at) {
                *b ^= 1 << (bit & 7);
            }
        }
        Ok(())
    }
}

impl State {
    /// Forgets files that have no name any more, and cannot get one back.
    fn collect(&mut self) {
        let mut named: BTreeSet<u64> = BTreeSet::new();
        for f in self.folders.values() {
            named.extend(f.seen.values().chain(f.durable.values()));
            named.extend(
                f.pending
                    .iter()
                    .filter_map(|c| if let NameChange::Create(_, i) = c { Some(i) } else { None }),
            );
        }
        self.inodes.retain(|i, _| named.contains(i));
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let mut s = lock(&self.0);
        s.call(|| format!("open {path} {mode:?}"))?;
        let (dir, name) = split(path);
        let there = s.folder(dir).map_err(|_| missing(path))?.seen.get(name).copied();
        let inode = match (there, mode) {
            (Some(_), Mode::CreateNew) => {
                return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{path}: exists")));
            }
            (Some(i), _) => i,
            (None, Mode::CreateNew) => {
                let once_in = s.faults.names;
                s.fail(once_in, path)?;
                let i = s.next;
                s.next += 1;
                s.inodes.insert(i, Inode::default());
                s.change_name(dir, NameChange::Create(name.into(), i))?;
                i
            }
            (None, _) => return Err(missing(path)),
        };
        let life = s.life;
        Ok(Arc::new(SimFile {
            disk: self.0.clone(),
            inode,
            path: path.into(),
            life,
            writable: mode != Mode::Read,
        }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut s = lock(&self.0);
        s.call(|| format!("rename {from} {to}"))?;
        let once_in = s.faults.names;
        s.fail(once_in, from)?;
        let ((dir, a), (to_dir, b)) = (split(from), split(to));
        if dir != to_dir {
            return Err(io::Error::new(ErrorKind::Unsupported, "renaming between folders is not made up"));
        }
        if !s.folder(dir)?.seen.contains_key(a) {
            return Err(missing(from));
        }
        s.change_name(dir, NameChange::Rename(a.into(), b.into()))
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        let mut s = lock(&self.0);
        s.call(|| format!("remove {path}"))?;
        let (dir, name) = split(path);
        if !s.folders.get(dir).is_some_and(|f| f.seen.contains_key(name)) {
            return Err(missing(path));
        }
        s.change_name(dir, NameChange::Remove(name.into()))
    }
    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let mut s = lock(&self.0);
        s.call(|| format!("mkdir {path}"))?;
        // Folders are durable at once: nothing here depends on losing one.
        let mut at = path;
        while !at.is_empty() {
            s.folders.entry(at.into()).or_default();
            at = split(at).0;
        }
        Ok(())
    }
    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let mut s = lock(&self.0);
        s.call(|| format!("list {path}"))?;
        let s = &*s;
        let Some(f) = s.folders.get(path) else { return Ok(Vec::new()) };
        let files = f.seen.iter().map(|(n, i)| Entry {
            name: n.clone(),
            len: s.inodes.get(i).map_or(0, |i| i.seen.len() as u64),
            is_dir: false,
        });
        let within = |p: &String| {
            let (dir, name) = split(p);
            (dir == path && !name.is_empty()).then(|| Entry { name: name.into(), len: 0, is_dir: true })
        };
        let mut all: Vec<Entry> = files.chain(s.folders.keys().filter_map(within)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut s = lock(&self.0);
        s.call(|| format!("syncdir {path}"))?;
        let once_in = s.faults.names;
        s.fail(once_in, path)?;
        let f = s.folder(path)?;
        f.durable = f.seen.clone();
        f.pending.clear();
        Ok(())
    }
    fn space(&self) -> io::Result<Space> {
        let mut s = lock(&self.0);
        s.call(|| "space".into())?;
        Ok(match s.capacity {
            Some(total) => Space { total, free: total.saturating_sub(s.used()) },
            None => Space { total: 1 << 40, free: 1 << 39 },
        })
    }
}

struct SimFile {
    disk: Arc<Mutex<State>>,
    inode: u64,
    path: String,
    life: u64,
    writable: bool,
}

impl SimFile {
    /// The disk, if this handle is of its present life.
    fn state(&self, what: &str, at: u64, len: usize) -> io::Result<MutexGuard<'_, State>> {
        let mut s = lock(&self.disk);
        if s.life != self.life {
            return Err(io::Error::other(format!("{}: opened before a restart", self.path)));
        }
        s.call(|| format!("{what} {} {at} {len}", self.path))?;
        Ok(s)
    }
    fn full(&self) -> io::Error {
        io::Error::new(ErrorKind::StorageFull, format!("{}: no space left on device", self.path))
    }
    fn gone(&self) -> io::Error {
        missing(&self.path)
    }
    fn change(&self, s: &mut State, c: Change) -> io::Result<()> {
        if !self.writable {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                format!("{}: opened for reading", self.path),
            ));
        }
        let len = s.inodes.get(&self.inode).ok_or_else(|| self.gone())?.seen.len();
        let (c, fits) = match c {
            Change::SetLen(n) if n > len && n - len > s.room() => return Err(self.full()),
            Change::Write { at, mut data } if at + data.len() > len => {
                let most = len.max(at).saturating_add(s.room()).saturating_sub(at);
                let fits = data.len() <= most;
                data.truncate(most);
                (Change::Write { at, data }, fits)
            }
            c => (c, true),
        };
        let i = s.inodes.get_mut(&self.inode).ok_or_else(|| self.gone())?;
        c.apply(&mut i.seen);
        i.pending.push(c);
        if fits { Ok(()) } else { Err(self.full()) }
    }
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let s = self.state("read", offset, buf.len())?;
        let i = s.inodes.get(&self.inode).ok_or_else(|| self.gone())?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        match i.seen.get(at..at.saturating_add(buf.len())) {
            Some(b) => buf.copy_from_slice(b),
            None => {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{}: too short", self.path)));
            }
        }
        Ok(())
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut s = self.state("write", offset, buf.len())?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let once_in = s.faults.write;
        if let Err(e) = s.fail(once_in, &self.path) {
            let n = s.dice.below(buf.len() + 1);
            self.change(&mut s, Change::Write { at, data: buf[..n].to_vec() })?;
            return Err(e);
        }
        // The bytes are part of the trace.
        for b in buf.iter().step_by(7) {
            s.trace = (s.trace ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
        }
        self.change(&mut s, Change::Write { at, data: buf.to_vec() })
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut s = self.state("sync", 0, 0)?;
        let once_in = s.faults.sync;
        let failed = s.fail(once_in, &self.path);
        let keep = s.dice.below(2) == 0;
        let i = s.inodes.get_mut(&self.inode).ok_or_else(|| self.gone())?;
        for (n, c) in std::mem::take(&mut i.pending).into_iter().enumerate() {
            // After a failure some made it; the rest is taken for clean, and is not written by a later sync either.
            if failed.is_ok() || (keep && n % 2 == 0) {
                c.apply(&mut i.durable);
            }
        }
        failed
    }
    fn len(&self) -> io::Result<u64> {
        let s = self.state("len", 0, 0)?;
        s.inodes.get(&self.inode).map(|i| i.seen.len() as u64).ok_or_else(|| self.gone())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut s = self.state("setlen", len, 0)?;
        self.change(&mut s, Change::SetLen(usize::try_from(len).map_err(io::Error::other)?))
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut s = self.state("allocate", len, 0)?;
        let now = s.inodes.get(&self.inode).map_or(0, |i| i.seen.len() as u64);
        if now < len {
            self.change(&mut s, Change::SetLen(usize::try_from(len).map_err(io::Error::other)?))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
