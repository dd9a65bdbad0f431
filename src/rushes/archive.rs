//! Data folders looked at by commands, without a server or beside one.

use std::{path::Path, sync::Arc};

use catalog::SqliteCatalog;
use log::Archive;
use world::World;

use crate::{Failure, folder::DataFolder};

/// A data folder to look at.
pub struct Visited {
    pub folder: DataFolder,
    pub world: World,
    pub catalog: Arc<SqliteCatalog>,
    pub archive: Arc<Archive>,
}

/// Opens a data folder for reading.
pub async fn visit(path: &Path) -> Result<Visited, Failure> {
    let folder = DataFolder::visit(path)?;
    let world = World::real(&folder.path);
    let key = folder.master_key(&world)?;
    let at = |e: &dyn std::fmt::Display| Failure(format!("{}: {e}", path.display()));
    let file = folder.path.join("catalog.sqlite");
    let catalog = Arc::new(SqliteCatalog::read_only(&file, world.clone()).map_err(Failure::new)?);
    let archive = Archive::open(world.clone(), catalog.clone(), &key).await.map_err(|e| at(&e))?;
    Ok(Visited { folder, world, catalog, archive: Arc::new(archive) })
}
