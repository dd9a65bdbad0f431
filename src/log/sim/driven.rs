//! An engine on a made-up world that a test drives step by step.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use catalog::{Catalog, MemoryCatalog};
use seal::{DataKey, LocalKey};
use world::{World, sim::Sim};

use crate::{
    Limits, LocalLog, StorePolicy,
    committer::Committer,
    opening::{OpenError, Parts},
    shared::Shared,
};

pub struct Driven {
    pub log: Arc<LocalLog>,
    pub shared: Arc<Shared>,
    pub catalog: Arc<MemoryCatalog>,
    /// Segment files that nothing refers to, for [`Shared::sweep`].
    pub strays: Vec<([u8; 16], bool)>,
    committer: Committer,
}

/// Without a store.
pub fn alone(sim: &Sim) -> World {
    World { store: None, ..sim.world.clone() }
}

impl Driven {
    /// A new one.
    pub fn new(world: &World, limits: Limits, policy: StorePolicy) -> Driven {
        let catalog = Arc::new(MemoryCatalog::new(world.clone()));
        Driven::open(world, catalog, limits, policy).unwrap()
    }
    pub fn open(
        world: &World,
        catalog: Arc<MemoryCatalog>,
        limits: Limits,
        policy: StorePolicy,
    ) -> Result<Driven, OpenError> {
        let keys = Arc::new(LocalKey::new(DataKey::new([3; 32])));
        let all: Arc<dyn Catalog> = catalog.clone();
        let parts = super::run(Parts::open(world.clone(), all, keys, limits, policy, true))?;
        let Parts { shared, committer, lease: _, strays } = parts;
        super::run(shared.load_rules()).expect("this catalog does not fail");
        let log = Arc::new(LocalLog::driven(shared.clone()));
        Ok(Driven { log, shared, catalog, strays, committer })
    }

    /// One round of the committer.
    pub fn round(&mut self) {
        let (mut ops, mut cuts) = (Vec::new(), Vec::new());
        self.shared.queue.take(&mut ops, &mut cuts, false);
        self.committer.round(&mut ops, cuts);
    }

    /// Goes on until it is done.
    pub fn go<T>(&mut self, task: impl Future<Output = T>) -> T {
        let mut task = std::pin::pin!(task);
        for _ in 0..1_000_000 {
            if let Poll::Ready(t) = task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return t;
            }
            self.round();
        }
        panic!("it never comes to an end");
    }

    /// Everything that waits for the store is brought there.
    pub fn store(&mut self) {
        let s = self.shared.clone();
        self.go(async move { while s.store_step().await.unwrap() {} });
    }

    /// Ends it as a crash does; the catalog stays.
    pub fn kill(self) -> Arc<MemoryCatalog> {
        self.log.die();
        self.catalog
    }
}
