//! `rushes catalog`: backups of the catalog, and putting them back.

use std::{
    collections::BTreeSet, fs, fs::File, fs::OpenOptions, io::Read, os::unix::fs::OpenOptionsExt as _,
    path::Path, sync::Arc,
};

use catalog::{Catalog as _, SqliteCatalog};
use seal::{KeyProvider as _, LocalKeys};
use serde_json::json;
use world::{Timestamp, World};

use super::time;
use crate::{
    Failure,
    cli::{CatalogCommand, FolderArgs, RestoreArgs},
    folder::{DataFolder, step},
    master,
    snapshot::{self, Header},
    snapshots::{self, Kept, ObjectReader, Temporary},
    visit::{self, blocking},
};

/// The catalog that is being put back, before it has its name.
const RESTORING: &str = "catalog.restoring";

pub async fn run(c: CatalogCommand) -> Result<(), Failure> {
    match c {
        CatalogCommand::Backup { file, folder } => backup(&file, &folder).await,
        CatalogCommand::Restore(args) => restore(args).await,
    }
}

async fn backup(file: &Path, args: &FolderArgs) -> Result<(), Failure> {
    let folder = DataFolder::visit(&args.data)?;
    let world = World::real(&folder.path);
    let keys = master::keys(&folder, &world)?;
    let name = folder.path.join("catalog.sqlite");
    let catalog = SqliteCatalog::read_only(&name, world.clone()).map_err(Failure::new)?;
    let (to, data, master) = (file.to_owned(), folder.path.clone(), keys.id());
    let made = blocking(move || snapshots::write(&world, &catalog, &keys, &data, &to)).await?;
    let bytes = fs::metadata(file).map_err(Failure::new)?.len();
    if args.json {
        let told = json!({"file": file, "time": time(made.time()), "id": made.id, "bytes": bytes, "masterKey": master});
        println!("{told}");
    } else {
        println!(
            "{}: the catalog as of {}, {}\nIt opens with the master key {master} only: keep a copy of master.key, elsewhere.",
            file.display(),
            time(made.time()),
            super::bytes(&json!(bytes))
        );
    }
    Ok(())
}

/// Where a snapshot comes from.
type Source = Box<dyn Read + Send>;

/// The newest made at or before a time.
fn pick(all: &[Kept], at: Option<Timestamp>) -> Option<&Kept> {
    all.iter().rev().find(|k| at.is_none_or(|t| k.time <= t))
}

async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let store = match args.file {
        Some(_) => None,
        None => visit::store(&args.folder).await?,
    };
    let (from, source): (String, Source) = match (&args.file, store) {
        (Some(file), _) => {
            let f = File::open(file).map_err(|e| Failure(format!("{}: {e}", file.display())))?;
            (file.display().to_string(), Box::new(std::io::BufReader::new(f)))
        }
        (None, Some(store)) => {
            let url = store.url();
            let s = store.clone();
            let all = blocking(move || snapshots::list(&*s)).await?;
            if args.list {
                return print(&all, args.folder.json);
            }
            let at = args.at.as_deref().map(wire::time::parse).transpose().map_err(Failure)?;
            let Some(kept) = pick(&all, at) else {
                return Err(Failure(format!(
                    "{url}: has no snapshot{}",
                    match at {
                        Some(t) => format!(" from before {}", time(t)),
                        None => String::new(),
                    }
                )));
            };
            let name = format!("{url}/{}", kept.key);
            let reader = ObjectReader { store, key: kept.key.clone(), at: 0, len: kept.bytes };
            (name, Box::new(std::io::BufReader::with_capacity(1 << 20, reader)))
        }
        (None, None) => {
            return Err(Failure(
                "which snapshot? a file, or --store URL (with --list, --latest or --at)".into(),
            ));
        }
    };
    let folder = DataFolder::open(&args.folder.data)?;
    let world = World::real(&folder.path);
    let keys = Arc::new(master::existing(&folder, &world)?);
    let (header, streams, kept) = put_back(&folder, &world, keys, source, args.force, &from).await?;
    // The log's own key and the catalog's are no streams.
    let streams = streams.saturating_sub(2);
    if args.folder.json {
        println!(
            "{}",
            json!({"from": from, "time": time(header.time()), "streams": streams, "replaced": kept})
        );
        return Ok(());
    }
    println!("restored the catalog as of {} ({streams} streams) from {from}", time(header.time()));
    if let Some(kept) = kept {
        println!("the one that was there is now {kept}: remove it once all is well");
    }
    println!(
        "The next start takes up segments made since then; what else happened after that time is not known to it."
    );
    Ok(())
}

/// Puts what a snapshot has in the place of the catalog. A stop leaves the catalog that was there, or none (the next start
/// says so, and this can be done again), or the snapshot's. Returns how many streams' keys it has, and the new name of the
/// catalog that was there.
async fn put_back(
    folder: &DataFolder,
    world: &World,
    keys: Arc<LocalKeys>,
    source: Source,
    force: bool,
    from: &str,
) -> Result<(Header, usize, Option<String>), Failure> {
    let named = |e: Failure| Failure(format!("{from}: {e}"));
    let path = folder.path.join(RESTORING);
    let temporary = Temporary::new(path.clone())?;
    for left in ["-wal", "-shm"] {
        folder.remove(&format!("{RESTORING}{left}"))?;
    }
    let (k, to) = (keys.clone(), path.clone());
    let header = blocking(move || unseal(source, &*k, &to)).await.map_err(named)?;
    let p = path.clone();
    blocking(move || SqliteCatalog::ready(&p).map_err(Failure::new)).await?;
    step()?;
    let streams = {
        let c = SqliteCatalog::open(&path, world.clone()).map_err(Failure::new)?;
        // It may be from before the master key was changed.
        log::rewrap(world, &c, &*keys).await.map_err(Failure::new)?;
        step()?;
        log::note_restored(&c, header.time(), world.clock.now()).await.map_err(Failure::new)?;
        let streams: BTreeSet<_> =
            c.all_keys().await.map_err(Failure::new)?.iter().map(|k| k.stream).collect();
        streams.len()
    };
    folder.remove(&format!("{RESTORING}.lock"))?;
    File::open(&path).and_then(|f| f.sync_all()).map_err(Failure::new)?;
    let kept = put_aside(folder, world, header.time(), force).await?;
    folder.rename(RESTORING, "catalog.sqlite")?;
    std::mem::forget(temporary);
    Ok((header, streams, kept))
}

fn unseal(mut source: Source, keys: &dyn seal::KeyProvider, to: &Path) -> Result<Header, Failure> {
    let header = Header::read(&mut *source)?;
    let at = |e: std::io::Error| Failure(format!("{}: {e}", to.display()));
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(at)?;
    let opening = snapshot::open(&header, keys, &mut *source, &mut out);
    tokio::runtime::Handle::current().block_on(opening)?;
    out.sync_all().map_err(at)?;
    Ok(header)
}

/// Gives the catalog that is there another name. Refuses one that is whole, unless told to.
async fn put_aside(
    folder: &DataFolder,
    world: &World,
    snapshot: Timestamp,
    force: bool,
) -> Result<Option<String>, Failure> {
    let name = folder.path.join("catalog.sqlite");
    if !name.exists() {
        // Of one that was lost, or of a restore that was interrupted here.
        folder.remove("catalog.sqlite-wal")?;
        folder.remove("catalog.sqlite-shm")?;
        return Ok(None);
    }
    let whole = match SqliteCatalog::read_only(&name, world.clone()) {
        Ok(c) => c.integrity().await.is_ok_and(|bad| bad.is_empty()),
        Err(_) => false,
    };
    if whole && !force {
        return Err(Failure(format!(
            "{}: has a whole catalog, which knows more than the snapshot of {}: --force puts the snapshot in its place",
            folder.path.display(),
            time(snapshot)
        )));
    }
    let stamp: String = time(world.clock.now()).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let kept = format!("catalog.sqlite.replaced-{stamp}");
    // Its log first: with the name free and the log there, the log would be another's.
    if folder.path.join("catalog.sqlite-wal").exists() {
        folder.rename("catalog.sqlite-wal", &format!("{kept}-wal"))?;
    }
    folder.remove("catalog.sqlite-shm")?;
    folder.rename("catalog.sqlite", &kept)?;
    Ok(Some(kept))
}

fn print(all: &[Kept], json: bool) -> Result<(), Failure> {
    if json {
        let all: Vec<_> =
            all.iter().map(|k| json!({"key": k.key, "time": time(k.time), "bytes": k.bytes})).collect();
        println!("{}", json!({"snapshots": all}));
    } else {
        let rows: Vec<_> =
            all.iter().map(|k| vec![time(k.time), super::bytes(&json!(k.bytes)), k.key.clone()]).collect();
        super::table(&["MADE", "SIZE", "OBJECT"], &rows);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use catalog::{Change, Document};

    use super::*;
    use crate::folder::cut;

    async fn put(c: &SqliteCatalog, id: &str) {
        let doc = Document { kind: "t".into(), id: id.into(), version: 0, body: vec![7; 5000], keys: vec![] };
        c.commit(vec![Change::Put { doc, expect: 0 }]).await.unwrap();
    }

    /// What is in the catalog.
    async fn names(folder: &DataFolder, world: &World) -> Vec<String> {
        let c = SqliteCatalog::open(&folder.path.join("catalog.sqlite"), world.clone()).unwrap();
        assert!(c.integrity().await.unwrap().is_empty());
        let all = c.list(catalog::Filter::kind("t")).await.unwrap();
        all.into_iter().map(|d| d.id).collect()
    }

    /// A folder as a power cut left it: `new` is in the write-ahead log alone; and a backup from before.
    async fn cut_off(dir: &Path, n: i32, world: &World) -> (DataFolder, Arc<LocalKeys>, std::path::PathBuf) {
        let made = DataFolder::open(&dir.join(format!("{n}.made"))).unwrap();
        let keys = Arc::new(master::keys(&made, world).unwrap());
        let name = made.path.join("catalog.sqlite");
        let c = Arc::new(SqliteCatalog::open(&name, world.clone()).unwrap());
        put(&c, "old").await;
        let (w, k, file) = (world.clone(), keys.clone(), dir.join(format!("{n}.backup")));
        let (data, to, from) = (made.path.clone(), file.clone(), c.clone());
        blocking(move || snapshots::write(&w, &from, &*k, &data, &to)).await.unwrap();
        put(&c, "new").await;
        let folder = DataFolder::open(&dir.join(format!("{n}.cut"))).unwrap();
        for f in [master::CURRENT, "catalog.sqlite", "catalog.sqlite-wal"] {
            fs::copy(made.path.join(f), folder.path.join(f)).unwrap();
        }
        fs::create_dir(folder.path.join("journal")).unwrap();
        fs::write(folder.path.join("journal/1.j"), "").unwrap();
        (folder, keys, file)
    }

    fn source(file: &Path) -> Source {
        Box::new(File::open(file).unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_power_may_go_at_every_operation_of_a_restore() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(dir.path());
        let mut seen = BTreeSet::new();
        for n in 0.. {
            let (folder, keys, file) = cut_off(dir.path(), n, &world).await;
            cut::after(n);
            let told = put_back(&folder, &world, keys.clone(), source(&file), true, "it").await;
            let done = !cut::restored();
            assert_eq!(told.is_ok(), done, "{:?}", told.err().map(|e| e.to_string()));
            if folder.path.join("catalog.sqlite").exists() {
                let names = names(&folder, &world).await;
                assert!(names == ["new", "old"] && !done || names == ["old"], "cut at {n}: {names:?}");
                seen.insert(names.len());
            } else {
                let why = folder.check_catalog().err().map(|e| e.to_string());
                assert!(why.is_some_and(|w| w.contains("rushes catalog restore")), "cut at {n}");
                seen.insert(0);
            }
            // And again, whatever is left.
            put_back(&folder, &world, keys, source(&file), true, "it").await.unwrap();
            assert_eq!(names(&folder, &world).await, ["old"]);
            // What was there can be had back.
            let mut kept = Vec::new();
            for e in fs::read_dir(&folder.path).unwrap() {
                let name = e.unwrap().file_name().into_string().unwrap();
                if name.starts_with("catalog.sqlite.replaced") && !name.contains("-wal") {
                    kept.push(name);
                }
            }
            let mut whole = false;
            for k in kept {
                let c = SqliteCatalog::read_only(&folder.path.join(k), world.clone()).unwrap();
                whole |= c.list(catalog::Filter::kind("t")).await.unwrap().len() == 2;
            }
            assert!(whole, "cut at {n}: the one that was there is not");
            if done {
                break;
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn the_power_may_go_at_every_operation_of_a_backup() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = DataFolder::open(&dir.path().join("d")).unwrap();
        let keys = master::keys(&folder, &world).unwrap();
        let name = folder.path.join("catalog.sqlite");
        let c = SqliteCatalog::open(&name, world.clone()).unwrap();
        runtime.block_on(put(&c, "old"));
        let file = dir.path().join("backup");
        let _inside = runtime.enter();
        for n in 0.. {
            cut::after(n);
            let told = snapshots::write(&world, &c, &keys, &folder.path, &file);
            let done = !cut::restored();
            assert_eq!(told.is_ok(), done);
            if file.exists() {
                let mut from = source(&file);
                let header = Header::read(&mut *from).unwrap();
                let mut out = Vec::new();
                runtime.block_on(snapshot::open(&header, &keys, &mut *from, &mut out)).unwrap();
                fs::remove_file(&file).unwrap();
            }
            if done {
                break;
            }
        }
    }
}
