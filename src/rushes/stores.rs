//! The object store as it is configured: opened, asked whether it will do, counted.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use store::{Counted, ProbeError};
use world::World;

use crate::{Failure, config::StoreConfig};

/// How long a start waits for the store's answers. Recording does not wait for a store that is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the store. What will not do is an error; one that does not answer is used once it does.
pub async fn open(config: &StoreConfig, world: &World, data: &Path) -> Result<Arc<Counted>, Failure> {
    if let Some(folder) = store::local_path(&config.url) {
        apart(&folder, data)?;
    }
    let (a, clock) = (config.clone(), world.clock.clone());
    let store = blocking(move || store::open(&a.url, &a.options)).await?.map_err(Failure::new)?;
    let store = Arc::new(Counted::new(store, clock));
    let (s, id, conditional) = (store.clone(), world.random16(), config.options.conditional_writes);
    if !conditional {
        tracing::warn!(
            "the store's conditional writes are not relied on: a second server on it is not noticed"
        );
    }
    let mut asking = tokio::task::spawn_blocking(move || store::probe(&*s, id));
    let answered = tokio::select! {
        biased;
        done = &mut asking => done.map_err(Failure::new)?,
        () = world.clock.sleep(PATIENCE) => {
            tracing::warn!(store = config.url, "the store does not answer so far; going on without waiting");
            tokio::spawn(async move {
                match asking.await {
                    Ok(Err(e)) if e.is_final() => tracing::error!("the store will not do: {e}"),
                    Ok(Err(e)) => tracing::warn!("the store did not answer {e}"),
                    Ok(Ok(())) => tracing::info!("the store answers"),
                    Err(_) => {}
                }
            });
            return Ok(store);
        }
    };
    match answered {
        Ok(()) => Ok(store),
        Err(e) if e.is_final() => Err(refusal(&config.url, &e)),
        Err(e) => {
            tracing::warn!("the store did not answer {e}; going on without waiting for it");
            Ok(store)
        }
    }
}

fn refusal(url: &str, e: &ProbeError) -> Failure {
    Failure(format!("--store {url}: {e}"))
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(f).await.map_err(Failure::new)
}

/// A path as the system knows it, of which the last component need not exist.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(p) = absolute.canonicalize() {
        return p;
    }
    match (absolute.parent().and_then(|p| p.canonicalize().ok()), absolute.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => absolute,
    }
}

/// A store and the data folder are not within one another: each takes every file in it for its own.
fn apart(folder: &Path, data: &Path) -> Result<(), Failure> {
    let (store, data) = (real(folder), real(data));
    if store.starts_with(&data) || data.starts_with(&store) {
        return Err(Failure(format!(
            "--store {}: the store and the data folder {} must not be within one another",
            folder.display(),
            data.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_not_in_the_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, dir.path().join("link")).unwrap();
        for wrong in ["data", "data/store", "link/store", "", "data/../data"] {
            assert!(apart(&dir.path().join(wrong), &data).is_err(), "{wrong}");
        }
        for fine in ["store", "data-store"] {
            apart(&dir.path().join(fine), &data).unwrap();
        }
    }
}
