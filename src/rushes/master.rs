//! The master key's files in a data folder, and changing it.
//!
//! `master.key` is the one in force. While it is changed, `master.key.new` has the next: which of the two it is, is what
//! the catalog's keys are wrapped under, and they change hands in one transaction. `retired.keys` has those before, which
//! open older snapshots.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use base64::Engine as _;
use catalog::Catalog;
use log::rewrap;
use seal::{DataKey, KeyProvider as _, LocalKey, LocalKeys};
use world::World;
use zeroize::Zeroizing;

use crate::{Failure, folder::DataFolder};

const B64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD;
/// The master key in force.
pub const CURRENT: &str = "master.key";
const NEXT: &str = "master.key.new";
const RETIRED: &str = "retired.keys";
/// Retired keys that are being destroyed.
const FORGOTTEN: &str = "retired.keys.forgotten";

fn at(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |e| Failure(format!("{}: {e}", path.display()))
}

/// Reads a file of keys, one a line; `None` if it is not there.
fn read(folder: &DataFolder, name: &str) -> Result<Option<Vec<Zeroizing<String>>>, Failure> {
    let path = folder.path.join(name);
    let mut f = match File::open(&path) {
        Ok(f) => f,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(at(&path)(e)),
    };
    let mode = f.metadata().map_err(at(&path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure(format!(
            "{}: others can read the master key (mode {mode:o}); run: chmod 600 {}",
            path.display(),
            path.display()
        )));
    }
    let mut text = Zeroizing::new(String::new());
    f.read_to_string(&mut text).map_err(at(&path))?;
    Ok(Some(
        text.lines().filter(|l| !l.trim().is_empty()).map(|l| Zeroizing::new(l.trim().to_owned())).collect(),
    ))
}

fn key(folder: &DataFolder, name: &str, line: &str) -> Result<LocalKey, Failure> {
    let raw = B64.decode(line).ok().map(Zeroizing::new).and_then(|b| <[u8; 32]>::try_from(&b[..]).ok());
    raw.map(|k| LocalKey::new(DataKey::new(k))).ok_or_else(|| {
        Failure(format!("{}: is not a master key: 32 bytes in base64", folder.path.join(name).display()))
    })
}

fn one(folder: &DataFolder, name: &str) -> Result<Option<LocalKey>, Failure> {
    let Some(lines) = read(folder, name)? else { return Ok(None) };
    let line = lines.first().map_or("", |l| l.as_str());
    key(folder, name, if lines.len() > 1 { "" } else { line }).map(Some)
}

/// Keys that were in force before, oldest first.
pub fn retired(folder: &DataFolder) -> Result<Vec<LocalKey>, Failure> {
    let lines = read(folder, RETIRED)?.unwrap_or_default();
    lines.iter().map(|l| key(folder, RETIRED, l)).collect()
}

/// The master keys of a folder that has one; made at the first start.
pub fn keys(folder: &DataFolder, world: &World) -> Result<LocalKeys, Failure> {
    if let Some(current) = one(folder, CURRENT)? {
        let mut others = retired(folder)?;
        others.extend(one(folder, NEXT)?);
        return Ok(LocalKeys::new(current, others));
    }
    // A folder with data and without its key must not get a new key that opens nothing.
    let path = folder.path.join(CURRENT);
    if ["catalog.sqlite", "journal", "segments"].iter().any(|n| folder.path.join(n).exists()) {
        return Err(Failure(format!(
            "{}: the master key is missing; put back the file that belongs to this folder (without it nothing here can be read)",
            path.display()
        )));
    }
    let text = fresh(world);
    folder.write_new(CURRENT, text.as_bytes())?;
    Ok(LocalKeys::new(key(folder, CURRENT, text.trim())?, Vec::new()))
}

/// The master keys of a folder that must have one.
pub fn existing(folder: &DataFolder, world: &World) -> Result<LocalKeys, Failure> {
    if !folder.path.join(CURRENT).exists() {
        return Err(Failure(format!(
            "{}: is missing; put the master key that belongs to the snapshot there (mode 600)",
            folder.path.join(CURRENT).display()
        )));
    }
    keys(folder, world)
}

fn fresh(world: &World) -> Zeroizing<String> {
    let raw = Zeroizing::new(world.random32());
    Zeroizing::new(format!("{}\n", B64.encode(&raw[..])))
}

/// Finishes, or takes back, a change of the master key that a stop interrupted. The folder's lock is held.
pub async fn settle(folder: &DataFolder, catalog: &dyn Catalog) -> Result<(), Failure> {
    folder.destroy(FORGOTTEN)?;
    // Half of a file that was being written.
    for name in [RETIRED, NEXT] {
        folder.destroy(&format!("{name}.tmp"))?;
    }
    let Some(next) = one(folder, NEXT)? else { return Ok(()) };
    let rows = catalog.all_keys().await.map_err(Failure::new)?;
    // All of them were wrapped anew in one transaction, or none.
    if rows.first().is_some_and(|r| r.provider == next.id()) {
        folder.rename(NEXT, CURRENT)
    } else {
        folder.remove(NEXT)
    }
}

/// What a change of the master key did.
pub struct Rotated {
    pub old: String,
    pub new: String,
    /// Wrapped keys that changed hands.
    pub keys: usize,
}

/// Makes a new master key and wraps every data key under it. The folder's lock is held, no server runs.
pub async fn rotate(folder: &DataFolder, world: &World, catalog: &dyn Catalog) -> Result<Rotated, Failure> {
    settle(folder, catalog).await?;
    let lines = read(folder, CURRENT)?.unwrap_or_default();
    let keys = keys(folder, world)?;
    let old = keys.id();
    // Before anything is wrapped under the new one, the old one is where it is found afterwards.
    let mut text = Zeroizing::new(String::new());
    for l in read(folder, RETIRED)?.unwrap_or_default().iter().chain(&lines) {
        if !text.lines().any(|t| t == l.as_str()) {
            text.push_str(l);
            text.push('\n');
        }
    }
    folder.write_new(RETIRED, text.as_bytes())?;
    let line = fresh(world);
    folder.write_new(NEXT, line.as_bytes())?;
    let next = LocalKeys::new(key(folder, NEXT, line.trim())?, retired(folder)?);
    let count = rewrap(world, catalog, &next).await.map_err(Failure::new)?;
    folder.rename(NEXT, CURRENT)?;
    Ok(Rotated { old, new: next.id(), keys: count })
}

/// Destroys the keys that were in force before: what they wrapped (older snapshots and backups) opens no more.
pub fn forget_retired(folder: &DataFolder) -> Result<usize, Failure> {
    let n = retired(folder)?.len();
    // Under another name first: a file of half of them would be taken for a damaged one.
    if folder.path.join(RETIRED).exists() {
        folder.rename(RETIRED, FORGOTTEN)?;
    }
    folder.destroy(FORGOTTEN)?;
    Ok(n)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use catalog::{KeyRow, MemoryCatalog};
    use seal::Wrapped;
    use world::StreamUid;

    use super::*;
    use crate::folder;

    async fn filled(folder: &DataFolder, world: &World) -> Arc<dyn Catalog> {
        let catalog = Arc::new(MemoryCatalog::new(world.clone()));
        let keys = keys(folder, world).unwrap();
        for n in [0, 1, 255] {
            let stream = StreamUid([n; 16]);
            let w = keys
                .wrap(&DataKey::new([n; 32]), &log::key_context(stream, 1), world.random32())
                .await
                .unwrap();
            let created = world.clock.now();
            let row = KeyRow { stream, generation: 1, provider: w.provider, wrapped: w.bytes, created };
            catalog.put_key(row).await.unwrap();
        }
        catalog
    }

    /// Every key opens, as itself.
    async fn opens(folder: &DataFolder, world: &World, catalog: &dyn Catalog) {
        let keys = keys(folder, world).unwrap();
        for r in catalog.all_keys().await.unwrap() {
            let w = Wrapped { provider: r.provider, bytes: r.wrapped };
            let k = keys.unwrap(&w, &log::key_context(r.stream, r.generation)).await.unwrap();
            assert_eq!(k.fingerprint(), DataKey::new([r.stream.0[0]; 32]).fingerprint());
        }
    }

    #[tokio::test]
    async fn the_key_is_made_once_and_kept_to_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let world = World::real(dir.path());
        let folder = DataFolder::open(&path).unwrap();
        let id = keys(&folder, &world).unwrap().id();
        assert_eq!(fs::metadata(path.join(CURRENT)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(keys(&folder, &world).unwrap().id(), id);
        fs::set_permissions(path.join(CURRENT), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(keys(&folder, &world).err().unwrap().to_string().contains("chmod 600"));
        fs::write(path.join("catalog.sqlite"), b"").unwrap();
        fs::remove_file(path.join(CURRENT)).unwrap();
        assert!(keys(&folder, &world).err().unwrap().to_string().contains("missing"));
    }

    #[tokio::test]
    async fn a_change_may_stop_anywhere_and_the_folder_still_opens() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(dir.path());
        let folder = DataFolder::open(&dir.path().join("d")).unwrap();
        let catalog = filled(&folder, &world).await;
        opens(&folder, &world, &*catalog).await;
        let first = keys(&folder, &world).unwrap().id();
        let before = fs::read(folder.path.join(CURRENT)).unwrap();
        let r = rotate(&folder, &world, &*catalog).await.unwrap();
        assert_eq!((r.old, r.keys), (first.clone(), 3));
        assert_eq!(keys(&folder, &world).unwrap().id(), r.new);
        opens(&folder, &world, &*catalog).await;
        assert_eq!(retired(&folder).unwrap()[0].id(), first);
        // Stopped after the transaction and before the file's new name.
        fs::rename(folder.path.join(CURRENT), folder.path.join(NEXT)).unwrap();
        fs::write(folder.path.join(CURRENT), &before).unwrap();
        fs::set_permissions(folder.path.join(CURRENT), fs::Permissions::from_mode(0o600)).unwrap();
        opens(&folder, &world, &*catalog).await;
        settle(&folder, &*catalog).await.unwrap();
        assert_eq!(keys(&folder, &world).unwrap().id(), r.new);
        opens(&folder, &world, &*catalog).await;
        // Stopped before the transaction: the new key is given up.
        folder.write_new(NEXT, fresh(&world).as_bytes()).unwrap();
        opens(&folder, &world, &*catalog).await;
        settle(&folder, &*catalog).await.unwrap();
        assert_eq!(keys(&folder, &world).unwrap().id(), r.new);
        assert!(!folder.path.join(NEXT).exists());
        // Once more, and the old ones go.
        rotate(&folder, &world, &*catalog).await.unwrap();
        assert_eq!(retired(&folder).unwrap().len(), 2);
        assert_eq!(forget_retired(&folder).unwrap(), 2);
        assert_eq!(forget_retired(&folder).unwrap(), 0);
        opens(&folder, &world, &*catalog).await;
    }

    /// What a start does, and what must hold afterwards.
    async fn starts(folder: &DataFolder, world: &World, catalog: &dyn Catalog) -> String {
        opens(folder, world, catalog).await;
        settle(folder, catalog).await.unwrap();
        opens(folder, world, catalog).await;
        let current = keys(folder, world).unwrap().id();
        assert!(catalog.all_keys().await.unwrap().iter().all(|r| r.provider == current));
        let left: Vec<_> = fs::read_dir(&folder.path).unwrap().map(|e| e.unwrap().file_name()).collect();
        let known = ["format", "lock", CURRENT, RETIRED];
        assert!(left.iter().all(|n| known.iter().any(|k| n == k)), "{left:?}");
        current
    }

    #[tokio::test]
    async fn the_power_may_go_at_every_operation_of_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(dir.path());
        let (mut both, mut done) = ([false; 2], false);
        for n in 0.. {
            let folder = DataFolder::open(&dir.path().join(n.to_string())).unwrap();
            let catalog = filled(&folder, &world).await;
            let first = keys(&folder, &world).unwrap().id();
            folder::cut::after(n);
            let told = rotate(&folder, &world, &*catalog).await;
            done = !folder::cut::restored();
            assert_eq!(told.is_ok(), done);
            let now = starts(&folder, &world, &*catalog).await;
            both[usize::from(now == first)] = true;
            assert!(!done || now != first);
            // And again, whatever is left.
            let r = rotate(&folder, &world, &*catalog).await.unwrap();
            assert_eq!((r.old, r.keys), (now, 3));
            starts(&folder, &world, &*catalog).await;
            // What was wrapped before opens still.
            assert!(retired(&folder).unwrap().iter().any(|k| k.id() == first));
            if done {
                break;
            }
        }
        assert!(done && both == [true; 2]);
    }

    #[tokio::test]
    async fn the_power_may_go_while_retired_keys_are_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(dir.path());
        for n in 0.. {
            let folder = DataFolder::open(&dir.path().join(n.to_string())).unwrap();
            let catalog = filled(&folder, &world).await;
            rotate(&folder, &world, &*catalog).await.unwrap();
            folder::cut::after(n);
            let told = forget_retired(&folder);
            let done = !folder::cut::restored();
            assert_eq!(told.is_ok(), done);
            starts(&folder, &world, &*catalog).await;
            forget_retired(&folder).unwrap();
            assert!(retired(&folder).unwrap().is_empty());
            if done {
                break;
            }
        }
    }
}
