//! A world for tests: time that stands still until it is moved, randomness from a seed, no disk.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use world::{Clock, Disk, DiskFile, Entropy, Entry, Mode, Space, Timestamp, World};

/// A world whose clock is the one returned, whose randomness follows from `seed` (and is fit for no real key), and
/// whose disk refuses everything.
pub fn world(seed: u64) -> (World, Arc<TestClock>) {
    let clock = Arc::new(TestClock::new(Timestamp(1_767_225_600_000_000)));
    (
        World {
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy(Mutex::new(seed))),
            disk: Arc::new(NoDisk),
            store: None,
        },
        clock,
    )
}

/// A clock that somebody moves.
pub struct TestClock {
    time: watch::Sender<(Timestamp, Duration)>,
}

impl TestClock {
    /// Shows `now` until it is moved.
    pub fn new(now: Timestamp) -> TestClock {
        TestClock { time: watch::Sender::new((now, Duration::ZERO)) }
    }
    /// Lets time pass; sleepers whose time has come go on.
    pub fn advance(&self, d: Duration) {
        self.time.send_modify(|(now, mono)| (*now, *mono) = (*now + d, *mono + d));
    }
    /// Sets the wall clock, as an administrator or NTP does; monotonic time goes on as if nothing had happened.
    pub fn set(&self, now: Timestamp) {
        self.time.send_modify(|t| t.0 = now);
    }
}

#[async_trait::async_trait]
impl Clock for TestClock {
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

struct SeededEntropy(Mutex<u64>);

impl Entropy for SeededEntropy {
    fn fill(&self, buf: &mut [u8]) {
        // SplitMix64.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in buf.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

struct NoDisk;

fn none<T>(path: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("{path}: this test has no disk")))
}

impl Disk for NoDisk {
    fn open(&self, path: &str, _: Mode) -> io::Result<Arc<dyn DiskFile>> {
        none(path)
    }
    fn rename(&self, from: &str, _: &str) -> io::Result<()> {
        none(from)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        none(path)
    }
    fn create_dir_all(&self, path: &str) -> io::Result<()> {
        none(path)
    }
    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        none(path)
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        none(path)
    }
    fn space(&self) -> io::Result<Space> {
        none("")
    }
}
