//! A world that is made up: a disk in memory that loses what a real one may lose, a clock that somebody moves,
//! randomness from a seed. The same seed and the same calls give the same run, down to what a power cut leaves.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

mod disk;
mod store;

pub use disk::{Faults, SimDisk};
pub use store::{SimStore, StoreFaults};

use crate::{Clock, Entropy, Timestamp, World};

/// A made-up world and the handles to move it.
pub struct Sim {
    /// To be handed to the rooms above.
    pub world: World,
    /// Its clock.
    pub clock: Arc<SimClock>,
    /// Its disk.
    pub disk: Arc<SimDisk>,
    /// Its store.
    pub store: Arc<SimStore>,
}

impl Sim {
    /// All of it follows from `seed`. The clock stands at the start of 2026.
    pub fn new(seed: u64) -> Sim {
        let clock = Arc::new(SimClock::new(Timestamp(1_767_225_600_000_000)));
        let disk = Arc::new(SimDisk::new(seed ^ 0x5eed_d15c));
        let entropy = Arc::new(SimEntropy(Mutex::new(Dice::new(seed))));
        let store = Arc::new(SimStore::new(seed ^ 0x0005_7043));
        let world = World { clock: clock.clone(), entropy, disk: disk.clone(), store: Some(store.clone()) };
        Sim { world, clock, disk, store }
    }
}

/// Numbers that follow from a seed (SplitMix64). Fit for no key.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }
    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Less than `n` (0 if `n` is 0).
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.roll() % n as u64) as usize }
    }
    /// True once in `n` times; never if `n` is 0.
    pub fn once_in(&mut self, n: u32) -> bool {
        n != 0 && self.roll().is_multiple_of(u64::from(n))
    }
}

struct SimEntropy(Mutex<Dice>);

impl Entropy for SimEntropy {
    fn fill(&self, buf: &mut [u8]) {
        let mut d = lock(&self.0);
        for c in buf.chunks_mut(8) {
            c.copy_from_slice(&d.roll().to_le_bytes()[..c.len()]);
        }
    }
}

/// A clock that somebody moves.
pub struct SimClock {
    time: watch::Sender<(Timestamp, Duration)>,
}

impl SimClock {
    /// Shows `now` until it is moved.
    pub fn new(now: Timestamp) -> SimClock {
        SimClock { time: watch::Sender::new((now, Duration::ZERO)) }
    }
    /// Lets time pass; sleepers whose time has come go on.
    pub fn advance(&self, d: Duration) {
        self.time.send_modify(|(now, mono)| (*now, *mono) = (*now + d, *mono + d));
    }
    /// Sets the wall clock, as an administrator or NTP does; monotonic time goes on.
    pub fn set(&self, now: Timestamp) {
        self.time.send_modify(|t| t.0 = now);
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.time.borrow().0
    }
    fn monotonic(&self) -> Duration {
        self.time.borrow().1
    }
    async fn sleep(&self, d: Duration) {
        let until = self.monotonic() + d;
        // Fails only if the sender is gone, and that is this clock itself.
        let _ = self.time.subscribe().wait_for(|(_, mono)| *mono >= until).await;
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
