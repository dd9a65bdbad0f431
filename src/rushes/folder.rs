//! The data folder: one process at a time, a format number, the root key's file.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::Failure;

/// The format of the folder as a whole; its parts have numbers of their own.
const FORMAT: u32 = 1;

/// An open data folder. The lock is held as long as this lives.
pub struct DataFolder {
    pub path: PathBuf,
    lock: Option<File>,
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |e| Failure(format!("{}: {e}", path.display()))
}

/// `None`: another process has it.
fn try_lock(path: &Path) -> Result<Option<File>, Failure> {
    let name = path.join("lock");
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&name).map_err(at(&name))?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(at(&name)(e.into())),
    }
}

impl DataFolder {
    /// Makes it if it is absent, and locks it.
    pub fn open(path: &Path) -> Result<DataFolder, Failure> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        let lock = try_lock(path)?.ok_or_else(|| {
            Failure(format!(
                "{}: another rushes is using this data folder; stop it, or give another folder with --data",
                path.display()
            ))
        })?;
        let folder = DataFolder { path: path.to_owned(), lock: Some(lock) };
        folder.check_format()?;
        Ok(folder)
    }

    /// One that exists, to be looked at: with its lock, so that no server starts meanwhile, or beside the process that
    /// has it ([`DataFolder::alone`] says which).
    pub fn visit(path: &Path) -> Result<DataFolder, Failure> {
        for name in ["format", "catalog.sqlite"] {
            let file = path.join(name);
            if !file.exists() {
                return Err(Failure(format!(
                    "{}: is missing; is {} a rushes data folder? (--data)",
                    file.display(),
                    path.display()
                )));
            }
        }
        let folder = DataFolder { path: path.to_owned(), lock: try_lock(path)? };
        folder.check_format()?;
        Ok(folder)
    }

    /// Whether the lock is ours: nobody else uses the folder.
    pub fn alone(&self) -> bool {
        self.lock.is_some()
    }

    fn check_format(&self) -> Result<(), Failure> {
        let path = self.path.join("format");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let found = text.trim().strip_prefix("rushes ").and_then(|n| n.parse::<u32>().ok());
                match found {
                    Some(n) if n <= FORMAT => Ok(()),
                    Some(n) => Err(Failure(format!(
                        "{}: this data folder has format {n}, and this version of rushes knows up to {FORMAT}: run the newer version that wrote it",
                        self.path.display()
                    ))),
                    None => {
                        Err(Failure(format!("{}: is not a rushes data folder's format file", path.display())))
                    }
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let others = fs::read_dir(&self.path)
                    .map_err(at(&self.path))?
                    .filter_map(Result::ok)
                    .any(|e| e.file_name() != "lock" && e.file_name() != crate::master::CURRENT);
                if others {
                    return Err(Failure(format!(
                        "{}: this folder is not empty and is not a rushes data folder; give an empty or a new one with --data",
                        self.path.display()
                    )));
                }
                self.write_new("format", format!("rushes {FORMAT}\n").as_bytes())
            }
            Err(e) => Err(at(&path)(e)),
        }
    }

    /// Writes a file that only its owner can read: whole or not at all, durable when this returns.
    pub fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let (tmp, path) = (self.path.join(format!("{name}.tmp")), self.path.join(name));
        step()?;
        let mut f = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&tmp)
            .map_err(at(&tmp))?;
        step()?;
        f.write_all(bytes).and_then(|()| f.sync_all()).map_err(at(&tmp))?;
        step()?;
        fs::rename(&tmp, &path).map_err(at(&path))?;
        self.sync()
    }

    /// Refuses to begin a new catalog where there are records: without theirs they cannot be read, and a new one would
    /// only be in the way of it.
    pub fn check_catalog(&self) -> Result<(), Failure> {
        if self.path.join("catalog.sqlite").exists() {
            return Ok(());
        }
        let holds = |dir: &str, ext: &[&str]| {
            fs::read_dir(self.path.join(dir)).is_ok_and(|d| {
                d.filter_map(Result::ok)
                    .any(|e| e.path().extension().is_some_and(|x| ext.iter().any(|y| x == *y)))
            })
        };
        if holds("journal", &["j"]) || holds("segments", &["seg", "open"]) {
            return Err(Failure(format!(
                "{}: the catalog (catalog.sqlite) is missing, and without it nothing recorded here can be read; put it back, or restore a snapshot: rushes catalog restore --help",
                self.path.display()
            )));
        }
        Ok(())
    }

    /// Removes a file if it is there; durable when this returns.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        let path = self.path.join(name);
        step()?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(at(&path)(e)),
            _ => self.sync(),
        }
    }

    /// Gives a file another name, in the place of what has it; durable when this returns.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        let from = self.path.join(from);
        step()?;
        fs::rename(&from, self.path.join(to)).map_err(at(&from))?;
        self.sync()
    }

    /// Writes zeroes over a file and removes it, if it is there.
    pub fn destroy(&self, name: &str) -> Result<(), Failure> {
        let path = self.path.join(name);
        step()?;
        let file = match OpenOptions::new().write(true).open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            r => r.map_err(at(&path))?,
        };
        let len = file.metadata().map_err(at(&path))?.len() as usize;
        // For what that is worth: a file system or a drive may keep the old bytes elsewhere.
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; len], 0)
            .and_then(|()| file.sync_all())
            .map_err(at(&path))?;
        self.remove(name)
    }

    fn sync(&self) -> Result<(), Failure> {
        step()?;
        File::open(&self.path).and_then(|d| d.sync_all()).map_err(at(&self.path))
    }

    /// Keeps the root key where its owner finds it.
    pub fn write_root_key(&self, id: &str, secret: &str) -> Result<(), Failure> {
        let text = serde_json::json!({"accessKeyId": id, "secretAccessKey": secret});
        self.write_new("root-key.json", format!("{text:#}\n").as_bytes())
    }

    /// The id in the root key's file, if that can be read.
    pub fn root_key_id(&self) -> Option<String> {
        let text = fs::read(self.path.join("root-key.json")).ok()?;
        let key: serde_json::Value = serde_json::from_slice(&text).ok()?;
        key["accessKeyId"].as_str().map(str::to_owned)
    }

    /// Tells the command line on this machine where the server is.
    pub fn write_address(&self, url: &str) -> Result<(), Failure> {
        let text = serde_json::json!({"url": url, "pid": std::process::id()});
        self.write_new("server.json", format!("{text:#}\n").as_bytes())
    }

    /// Undoes [`DataFolder::write_address`].
    pub fn remove_address(&self) {
        // Only a convenience: a stale file is found out when nobody answers.
        let _ = fs::remove_file(self.path.join("server.json"));
    }

    /// Reads a small file, or writes what `make` gives if it is absent.
    pub fn file_or(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Vec<u8>, Failure>,
    ) -> Result<Vec<u8>, Failure> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(b) => Ok(b),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let b = make()?;
                self.write_new(name, &b)?;
                Ok(b)
            }
            Err(e) => Err(at(&path)(e)),
        }
    }
}

/// Where a power cut may come between two operations on files: nothing but in tests.
#[cfg(not(test))]
#[inline]
pub fn step() -> Result<(), Failure> {
    Ok(())
}
#[cfg(test)]
pub use cut::step;

/// Cuts the power after so many operations on files: what follows on this thread fails.
#[cfg(test)]
pub mod cut {
    use std::cell::Cell;

    use crate::Failure;

    thread_local! {
        /// How many more there are; -1: it is gone.
        static LEFT: Cell<Option<i32>> = const { Cell::new(None) };
    }

    /// Until [`restored`].
    pub fn after(operations: i32) {
        LEFT.set(Some(operations));
    }

    /// The power is back. Whether it was gone.
    pub fn restored() -> bool {
        LEFT.replace(None) == Some(-1)
    }

    pub fn step() -> Result<(), Failure> {
        match LEFT.get() {
            None => Ok(()),
            Some(n) if n <= 0 => {
                LEFT.set(Some(-1));
                Err(Failure("the power is off".into()))
            }
            Some(n) => {
                LEFT.set(Some(n - 1));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_one_format() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let folder = DataFolder::open(&path).unwrap();
        assert!(DataFolder::open(&path).err().unwrap().to_string().contains("another rushes"));
        drop(folder);
        fs::write(path.join("format"), "rushes 9\n").unwrap();
        assert!(DataFolder::open(&path).err().unwrap().to_string().contains("newer version"));
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("letter.txt"), "dear").unwrap();
        assert!(DataFolder::open(&other).err().unwrap().to_string().contains("not empty"));
    }
}
