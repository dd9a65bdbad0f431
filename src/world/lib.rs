//! Floor 0: the world outside: clock, randomness, disk, object store, and the ids that name things.
//!
//! Everything that a simulated run must be able to replace or to fail is a trait here, and every room above takes
//! a [`World`] instead of reaching for the system. `clippy.toml` bans the system's clock, sleeps and randomness
//! everywhere but in [`real`].
//!
//! What this room promises: no policy, no knowledge of streams; calls do exactly what they say and report every
//! error with the path that it happened on.

mod clock;
pub mod conformance;
mod disk;
mod ids;
mod rate;
pub mod real;
pub mod sim;
mod store;

use std::sync::Arc;

pub use clock::{Clock, Timestamp};
pub use disk::{Disk, DiskFile, Entry, Mode, Space};
pub use ids::{Arn, ArnError, Home, ShardId, StreamUid};
pub use rate::{Allowance, Rate};
pub use store::{Body, DiskStore, Object, Store};

/// Unpredictable bytes, fit for keys and salts.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `buf` completely.
    fn fill(&self, buf: &mut [u8]);
}

/// What a room is given of the outside. Cloning is cheap.
#[derive(Clone)]
pub struct World {
    /// What time it is, and waiting.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The data folder.
    pub disk: Arc<dyn Disk>,
    /// Where finished segments go; `None`: they stay in the data folder.
    pub store: Option<Arc<dyn Store>>,
}

impl World {
    /// Sixteen random bytes.
    pub fn random16(&self) -> [u8; 16] {
        let mut b = [0; 16];
        self.entropy.fill(&mut b);
        b
    }
    /// Thirty-two random bytes.
    pub fn random32(&self) -> [u8; 32] {
        let mut b = [0; 32];
        self.entropy.fill(&mut b);
        b
    }
}
