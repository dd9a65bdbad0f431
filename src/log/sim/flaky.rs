//! A catalog that outlives power cuts, whose every call takes several steps, and that fails before or after the fact.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use catalog::{
    CatalogError, MemoryCatalog,
    testing::{Between, Call, Steps},
};
use world::sim::{Dice, SimDisk};

pub struct Flaky {
    disk: Arc<SimDisk>,
    dice: Mutex<Dice>,
    once_in: Mutex<u32>,
}

/// Ready the second time: others may take steps in between.
struct Pause(bool);

impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Flaky {
    pub fn catalog(inner: Arc<MemoryCatalog>, disk: Arc<SimDisk>, seed: u64) -> Between<Flaky> {
        let dice = Mutex::new(Dice::new(seed ^ 0xca7));
        Between { inner, steps: Flaky { disk, dice, once_in: Mutex::new(0) } }
    }
    /// Once in so many commits fails; 0 for none.
    pub fn fail(&self, once_in: u32) {
        *self.once_in.lock().unwrap() = once_in;
    }
    fn broken(&self) -> Result<(), CatalogError> {
        let once_in = *self.once_in.lock().unwrap();
        if self.dice.lock().unwrap().once_in(once_in) {
            return Err(CatalogError::Engine("made up".into()));
        }
        Ok(())
    }
}

/// A commit may fail before it took effect, or be reported as failed after it did.
#[async_trait::async_trait]
impl Steps for Flaky {
    async fn before(&self, call: Call) -> Result<(), CatalogError> {
        if call == Call::Lease {
            return Ok(());
        }
        Pause(false).await;
        if self.disk.is_off() {
            return Err(CatalogError::Engine("the power is off".into()));
        }
        if call == Call::Write { self.broken() } else { Ok(()) }
    }
    async fn written(&self) -> Result<(), CatalogError> {
        Pause(false).await;
        self.broken()
    }
}
