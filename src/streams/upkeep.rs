//! What is done now and then: on-demand streams get as many shards as their load needs, and closed shards of which no
//! record is left are forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use wire::aws::AwsError;

use crate::{
    body::{Body, Mode, Peak, Status, StoredStep, Work},
    map::ShardMap,
    plan::{self, Step},
    service::{DataStreams, ON_DEMAND_SHARDS},
    stream::Stream,
};

/// How often loads are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// A shard that takes more than this is split (Developer Guide, "Choose the right mode": 500 KB/s).
const HOT: f64 = 500.0 * 1024.0;
/// What a shard takes (API_CreateStream).
const SHARD: f64 = 1024.0 * 1024.0;
const DAY: i64 = 24 * 3600 * 1000;
/// Neighbours that together took less than this over the whole of [`CALM`] are merged.
const COLD: f64 = 100.0 * 1024.0;
const CALM: u32 = 6 * 15;

/// What each shard of an on-demand stream took since it was last looked at.
#[derive(Default)]
pub(crate) struct Load {
    bytes: Mutex<HashMap<u32, u64>>,
    /// When it was last looked at.
    looked: Mutex<Option<Duration>>,
    /// For how many looks a shard has been cold.
    cold: Mutex<HashMap<u32, u32>>,
}

impl Load {
    pub fn add(&self, shard: u32, bytes: u64) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner).entry(shard).or_default() += bytes;
    }
    /// How long it is since the last look; zero the first time.
    fn lap(&self, now: Duration) -> Duration {
        let last = self.looked.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        last.map_or(Duration::ZERO, |last| now.saturating_sub(last))
    }
    /// By shard, since the last call.
    fn taken(&self) -> HashMap<u32, u64> {
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DataStreams {
    /// Runs until the program ends.
    pub async fn keep(self) {
        let clock = self.inner.tools.world.clock.clone();
        loop {
            clock.sleep(EVERY).await;
            self.meter_shards();
            self.meter_stored(usage::LOOK).await;
            for stream in self.all() {
                let passed = stream.load.lap(clock.monotonic());
                if let Err(e) = self.look_after(&stream, passed.as_secs_f64()).await {
                    tracing::warn!(stream = stream.name, error = %e.message, "upkeep of a data stream failed");
                }
            }
        }
    }

    /// One stream: `passed` seconds after the last look.
    pub(crate) async fn look_after(&self, stream: &Arc<Stream>, passed: f64) -> Result<(), AwsError> {
        // Whatever else comes of this look: what was taken before it is not to be divided by the next one's time.
        let took = stream.load.taken();
        if stream.status() != Status::Active {
            return Ok(());
        }
        self.forget_old(stream).await?;
        if stream.read().body.mode != Mode::OnDemand || passed <= 0.0 {
            return Ok(());
        }
        self.remember(stream, &took, passed).await?;
        let steps = self.wanted(stream, &took, passed);
        if steps.is_empty() {
            return Ok(());
        }
        let more = steps.iter().map(|s| s.children.len().saturating_sub(s.parents.len()) as u32).sum();
        self.shard_quota(more)?;
        tracing::info!(
            stream = stream.name,
            steps = steps.len(),
            "the shards of an on-demand stream follow its load"
        );
        let steps = steps.iter().map(StoredStep::from).collect();
        self.update(stream, Status::Updating, |_, _| Ok((Work::Steps(steps), ()))).await
    }

    async fn forget_old(&self, stream: &Arc<Stream>) -> Result<(), AwsError> {
        let old: Vec<u32> = {
            let s = stream.read();
            let horizon = self.now() - Duration::from_secs(3600 * u64::from(s.body.retention_hours));
            s.map.all().iter().filter(|s| s.closed.is_some_and(|z| z < horizon)).map(|s| s.index).collect()
        };
        if !old.is_empty() {
            stream.forget(&self.inner.tools, &old).await?;
        }
        stream.clear_log(&self.inner.tools).await
    }

    /// Writes down what was taken, if that is the most of the day and more than the least that a stream is kept at.
    async fn remember(&self, stream: &Stream, took: &HashMap<u32, u64>, passed: f64) -> Result<(), AwsError> {
        // Twice the peak (Developer Guide, "Choose the right mode").
        let shards = 2.0 * took.values().sum::<u64>() as f64 / passed / SHARD;
        let peak = Peak { day: self.day(), shards: (shards.ceil() as u32).min(plan::MOST) };
        if peak.shards <= ON_DEMAND_SHARDS || !stream.read().body.is_peak(peak) {
            return Ok(());
        }
        let add = |b: &mut Body, _: &ShardMap| {
            b.add_peak(peak);
            Ok(())
        };
        stream.change(&self.inner.tools, add).await
    }

    /// Days since 1970.
    pub(crate) fn day(&self) -> i64 {
        self.now().millis().div_euclid(DAY)
    }

    /// Splits of what is hot; else merges of what has been cold for long.
    fn wanted(&self, stream: &Stream, took: &HashMap<u32, u64>, passed: f64) -> Vec<Step> {
        let s = stream.read();
        let now = self.now();
        let rate = |index: u32| took.get(&index).copied().unwrap_or(0) as f64 / passed;
        let (mut scratch, mut steps) = (s.map.clone(), Vec::new());
        for shard in s.map.open().filter(|s| rate(s.index) > HOT) {
            let (start, end) = shard.range;
            if let Some(step) = plan::split(&scratch, shard, start + (end - start) / 2 + 1, now) {
                scratch.claim(step.children.len());
                steps.push(step);
            }
        }
        if !steps.is_empty() {
            return steps;
        }
        let warm = s.body.warm_mibps.unwrap_or(0);
        let least = ON_DEMAND_SHARDS.max(warm).max(s.body.peak(self.day())) as usize;
        let mut cold = stream.load.cold.lock().unwrap_or_else(PoisonError::into_inner);
        let looks: HashMap<u32, u32> = s
            .map
            .open()
            .filter(|s| rate(s.index) < COLD / 2.0)
            .map(|s| (s.index, cold.get(&s.index).copied().unwrap_or(0) + 1))
            .collect();
        *cold = looks;
        let long = |index: u32| cold.get(&index).is_some_and(|n| *n >= CALM);
        let (mut left, mut open) = (s.map.open_count(), s.map.open().peekable());
        while let Some(a) = open.next() {
            if left > least
                && long(a.index)
                && let Some(b) = open.next_if(|b| long(b.index))
                && let Some(step) = plan::merge(&scratch, a, b, now)
            {
                scratch.claim(step.children.len());
                steps.push(step);
                left -= 1;
            }
        }
        steps
    }
}
