//! Data folders and stores looked at by commands, without a server or beside one.

use std::sync::Arc;

use catalog::SqliteCatalog;
use log::Archive;
use world::{DiskStore, Store, World};

use crate::{
    Failure,
    cli::{FolderArgs, ServeArgs},
    config,
    folder::DataFolder,
    master,
};

/// A data folder to look at.
pub struct Visited {
    pub folder: DataFolder,
    pub world: World,
    pub catalog: Arc<SqliteCatalog>,
    pub archive: Arc<Archive>,
}

/// Opens a data folder, and its store if one is named, for reading.
pub async fn open(args: &FolderArgs) -> Result<Visited, Failure> {
    let folder = DataFolder::visit(&args.data)?;
    let mut world = World::real(&folder.path);
    world.store = store(args).await?;
    let keys = master::keys(&folder, &world)?;
    let file = folder.path.join("catalog.sqlite");
    let catalog = Arc::new(SqliteCatalog::read_only(&file, world.clone()).map_err(Failure::new)?);
    let archive = Archive::open(world.clone(), catalog.clone(), &keys)
        .await
        .map_err(|e| Failure(format!("{}: {e}", args.data.display())))?;
    Ok(Visited { folder, world, catalog, archive: Arc::new(archive) })
}

/// The store that is named, to read from. A folder is not locked: a server may have it.
pub async fn store(args: &FolderArgs) -> Result<Option<Arc<dyn Store>>, Failure> {
    let (config, store, set) = (args.config.clone(), args.store.clone(), args.set.clone());
    let Some(s) = config::load(&ServeArgs { config, store, set, ..ServeArgs::default() })?.store else {
        return Ok(None);
    };
    if let Some(path) = store::local_path(&s.url) {
        if !path.is_dir() {
            return Err(Failure(format!("--store {}: there is no such folder", s.url)));
        }
        let disk = Arc::new(world::real::Folder::new(&path));
        return Ok(Some(Arc::new(DiskStore::visit(disk, path.display().to_string()))));
    }
    blocking(move || store::open(&s.url, &s.options).map(Some).map_err(Failure::new)).await
}

/// Runs something that blocks, off the runtime.
pub async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(f).await.map_err(Failure::new)?
}
