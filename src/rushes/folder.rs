//! The data folder: one process at a time, a format number, the master key, the root key's file.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::Engine as _;
use seal::{DataKey, LocalKey};
use world::World;

use crate::Failure;

/// The format of the folder as a whole; its parts have numbers of their own.
const FORMAT: u32 = 1;
const B64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD;

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
                    .any(|e| e.file_name() != "lock");
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
    fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let (tmp, path) = (self.path.join(format!("{name}.tmp")), self.path.join(name));
        let mut f = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&tmp)
            .map_err(at(&tmp))?;
        f.write_all(bytes).and_then(|()| f.sync_all()).map_err(at(&tmp))?;
        fs::rename(&tmp, &path).map_err(at(&path))?;
        File::open(&self.path).and_then(|d| d.sync_all()).map_err(at(&self.path))
    }

    /// The master key, made at the first start.
    pub fn master_key(&self, world: &World) -> Result<LocalKey, Failure> {
        let path = self.path.join("master.key");
        let mut text = String::new();
        match File::open(&path) {
            Ok(mut f) => {
                let mode = f.metadata().map_err(at(&path))?.permissions().mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(Failure(format!(
                        "{}: others can read the master key (mode {mode:o}); run: chmod 600 {}",
                        path.display(),
                        path.display()
                    )));
                }
                f.read_to_string(&mut text).map_err(at(&path))?;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                // A folder with data and without its key must not get a new key that opens nothing.
                if self.path.join("catalog.sqlite").exists() {
                    return Err(Failure(format!(
                        "{}: the master key is missing; put back the file that belongs to this folder (without it nothing here can be read)",
                        path.display()
                    )));
                }
                text = format!("{}\n", B64.encode(world.random32()));
                self.write_new("master.key", text.as_bytes())?;
            }
            Err(e) => return Err(at(&path)(e)),
        }
        let raw = B64.decode(text.trim()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        raw.map(|k| LocalKey::new(DataKey::new(k)))
            .ok_or_else(|| Failure(format!("{}: is not a master key: 32 bytes in base64", path.display())))
    }

    /// Keeps the root key where its owner finds it.
    pub fn write_root_key(&self, id: &str, secret: &str) -> Result<(), Failure> {
        let text = serde_json::json!({"accessKeyId": id, "secretAccessKey": secret});
        self.write_new("root-key.json", format!("{text:#}\n").as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_one_format_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let world = World::real(dir.path());
        let folder = DataFolder::open(&path).unwrap();
        use seal::KeyProvider as _;
        let id = folder.master_key(&world).unwrap().id();
        assert_eq!(fs::metadata(path.join("master.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(DataFolder::open(&path).err().unwrap().to_string().contains("another rushes"));
        drop(folder);
        let folder = DataFolder::open(&path).unwrap();
        assert_eq!(folder.master_key(&world).unwrap().id(), id);
        fs::set_permissions(path.join("master.key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(folder.master_key(&world).err().unwrap().to_string().contains("chmod 600"));
        fs::write(path.join("catalog.sqlite"), b"").unwrap();
        fs::remove_file(path.join("master.key")).unwrap();
        assert!(folder.master_key(&world).err().unwrap().to_string().contains("missing"));
        drop(folder);
        fs::write(path.join("format"), "rushes 9\n").unwrap();
        assert!(DataFolder::open(&path).err().unwrap().to_string().contains("newer version"));
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("letter.txt"), "dear").unwrap();
        assert!(DataFolder::open(&other).err().unwrap().to_string().contains("not empty"));
    }
}
