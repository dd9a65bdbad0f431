//! How full the disk is and how long it lasts at the present rate.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use log::{LocalLog, Log};
use world::World;

const EVERY: Duration = Duration::from_secs(30);
/// The rate is taken over at most a day: a camera's nights and days weigh alike.
const KEEP: usize = 24 * 60 * 2;
const DAY: f64 = 86_400.0;

/// Samples the log's counters.
pub struct Gauge {
    world: World,
    log: Arc<LocalLog>,
    samples: Mutex<VecDeque<(Duration, u64)>>,
}

impl Gauge {
    pub fn new(world: World, log: Arc<LocalLog>) -> Arc<Gauge> {
        let first = (world.clock.monotonic(), log.stats().appended_bytes);
        Arc::new(Gauge { world, log, samples: Mutex::new(VecDeque::from([first])) })
    }

    /// Samples until dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.world.clock.sleep(EVERY).await;
            let now = (self.world.clock.monotonic(), self.log.stats().appended_bytes);
            let mut s = self.samples.lock().expect("no panic while it was held");
            s.push_back(now);
            if s.len() > KEEP {
                s.pop_front();
            }
        }
    }

    fn bytes_per_day(&self) -> u64 {
        let (t1, b1) = (self.world.clock.monotonic(), self.log.stats().appended_bytes);
        let s = self.samples.lock().expect("no panic while it was held");
        let Some((t0, b0)) = s.front().copied() else { return 0 };
        let secs = t1.saturating_sub(t0).as_secs_f64();
        if secs < 1.0 { 0 } else { (b1.saturating_sub(b0) as f64 / secs * DAY) as u64 }
    }
}

#[async_trait::async_trait]
impl console::StorageView for Gauge {
    async fn storage(&self) -> Option<console::Storage> {
        let disk = self.world.disk.clone();
        let space = tokio::task::spawn_blocking(move || disk.space()).await.ok()?.ok()?;
        let used = self.log.stored_bytes(None).await.ok()?;
        let per_day = self.bytes_per_day();
        let policy = self.log.store_policy();
        let limits = console::Limits {
            total: policy.bytes,
            free_floor: policy.free_floor.max(policy.reserve),
            remote: self.world.store.is_some(),
        };
        let room = space.free.saturating_sub(limits.free_floor);
        let days_left = (per_day > 0).then(|| (room as f64 / per_day as f64 * 10.0).round() / 10.0);
        Some(console::Storage {
            used,
            free: space.free,
            total: space.total,
            bytes_per_day: per_day,
            days_left,
            limits,
        })
    }
}
