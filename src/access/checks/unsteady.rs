use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use catalog::{
    CatalogError, MemoryCatalog,
    testing::{Between, Call, Steps},
};
use world::World;

/// Lets others go first before each step, as a catalog behind a network does, and can be made to fail.
pub(crate) struct Unsteady {
    fails: Arc<AtomicBool>,
}

impl Unsteady {
    pub(crate) fn catalog(world: World) -> (Between<Unsteady>, Arc<AtomicBool>) {
        let fails = Arc::new(AtomicBool::new(false));
        let steps = Unsteady { fails: fails.clone() };
        (Between { inner: Arc::new(MemoryCatalog::new(world)), steps }, fails)
    }
}

#[async_trait::async_trait]
impl Steps for Unsteady {
    async fn before(&self, _: Call) -> Result<(), CatalogError> {
        tokio::task::yield_now().await;
        match self.fails.load(Ordering::Relaxed) {
            true => Err(CatalogError::Engine("switched off".into())),
            false => Ok(()),
        }
    }
}
