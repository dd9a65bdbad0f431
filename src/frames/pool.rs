//! The server's side: a few workers, a bounded queue before them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use world::World;

use crate::{
    Format, FramesError, Job, Options, Packet, Picture, Stats,
    process::{Worker, within},
    protocol::read_packets,
};

/// After so many jobs a worker is replaced: whatever a picture may have done to it does not last.
const JOBS_PER_WORKER: u32 = 500;
/// How long a worker may take to greet.
const START: Duration = Duration::from_secs(10);

/// Makes pictures in worker processes. To be used within a Tokio runtime with time and I/O.
pub struct Frames {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) world: World,
    options: Options,
    turns: Arc<Semaphore>,
    /// One for each [`Mixer`](crate::Mixer) that may be.
    pub(crate) mixers: Arc<Semaphore>,
    state: Mutex<State>,
    closed: AtomicBool,
    waiting: AtomicUsize,
    started: AtomicU64,
    pictures: AtomicU64,
    failed: AtomicU64,
    busy: AtomicU64,
    lost: AtomicU64,
    pub(crate) mixed: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The one used last is taken first, so that the others may end.
    idle: Vec<(Worker, Duration)>,
    /// Whether somebody looks after `idle`.
    watched: bool,
    pids: BTreeSet<u32>,
}

impl Frames {
    /// Starts nothing: the first job does.
    pub fn new(world: World, mut options: Options) -> Arc<Frames> {
        options.workers = options.workers.max(1);
        Arc::new(Frames {
            inner: Arc::new(Inner {
                turns: Arc::new(Semaphore::new(options.workers)),
                mixers: Arc::new(Semaphore::new(options.mixers)),
                world,
                options,
                state: Mutex::default(),
                closed: AtomicBool::new(false),
                waiting: AtomicUsize::new(0),
                started: AtomicU64::new(0),
                pictures: AtomicU64::new(0),
                failed: AtomicU64::new(0),
                busy: AtomicU64::new(0),
                lost: AtomicU64::new(0),
                mixed: AtomicU64::new(0),
            }),
        })
    }

    /// Makes a picture. May be dropped while it waits; once a worker has the job it is finished regardless.
    pub async fn picture(&self, job: Job) -> Result<Picture, FramesError> {
        if cfg!(not(feature = "ffmpeg")) {
            return Err(FramesError::Unsupported(
                "this build of Rushes has no FFmpeg to decode pictures".into(),
            ));
        }
        job.check()?;
        let turn = self.turn().await?;
        let inner = self.inner.clone();
        // In a task of its own, so that a caller who goes away does not cost a worker.
        match tokio::spawn(async move { inner.run(job, turn).await }).await {
            Ok(result) => result,
            Err(e) => Err(FramesError::Died(format!("the task that waited for it failed: {e}"))),
        }
    }

    /// Encodes sound (16-bit samples, channels interleaved) as AAC-LC, packets of 1,024 samples. A decoder gives the nth
    /// 1,024 samples once it has the packet of number n and the one before; the first packet, which gives nothing of use,
    /// has number -1. A stretch that is encoded with two thousand samples before it joins what was encoded before without
    /// a seam.
    pub async fn aac(&self, samples: &[i16], rate: u32, channels: u8) -> Result<Vec<Packet>, FramesError> {
        self.sound(media::Codec::Aac, plain(samples), Format::Aac { rate, channels }).await
    }

    /// … as Opus, packets of 20 ms: a decoder gives the nth 20 ms of the input for the packet of number n, once it has
    /// had some before. The last packet's sound is not whole: what is to be used ends before it.
    pub async fn opus(&self, samples: &[i16], rate: u32, channels: u8) -> Result<Vec<Packet>, FramesError> {
        self.sound(media::Codec::Opus, plain(samples), Format::Opus { rate, channels }).await
    }

    /// Decodes packets of Opus, MP3, AC-3 or E-AC-3 to 16-bit little-endian samples, channels interleaved: of each input
    /// packet that gave some, its number from 0 on, and they. Sound of another rate, or of more than two channels, is
    /// refused.
    pub async fn pcm(
        &self,
        codec: media::Codec,
        packets: &[bytes::Bytes],
        rate: u32,
        channels: u8,
    ) -> Result<Vec<Packet>, FramesError> {
        let mut data = Vec::with_capacity(packets.iter().map(|p| p.len() + 4).sum());
        for p in packets {
            data.extend(u32::try_from(p.len()).unwrap_or(u32::MAX).to_le_bytes());
            data.extend_from_slice(p);
        }
        self.sound(codec, data, Format::Pcm { rate, channels }).await
    }

    async fn sound(
        &self,
        codec: media::Codec,
        data: Vec<u8>,
        format: Format,
    ) -> Result<Vec<Packet>, FramesError> {
        let (config, framing) = (bytes::Bytes::new(), media::Framing::Raw);
        let job = Job { codec, config, framing, data: data.into(), width: None, height: None, format };
        read_packets(self.picture(job).await?.bytes).map_err(|e| FramesError::Died(e.to_string()))
    }

    /// Waits until a worker is free, in the order of arrival.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, FramesError> {
        let inner = &self.inner;
        let permit = match inner.turns.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = Waiting(&inner.waiting);
                if inner.waiting.fetch_add(1, Ordering::Relaxed) >= inner.options.queue {
                    inner.busy.fetch_add(1, Ordering::Relaxed);
                    return Err(FramesError::Busy);
                }
                // With every worker at its worst, nobody waits longer than two whole jobs.
                let patience = inner.options.timeout.saturating_mul(2);
                let permit = within(&*inner.world.clock, patience, inner.turns.clone().acquire_owned()).await;
                drop(waiting);
                match permit {
                    Some(permit) => permit.map_err(|_| FramesError::ShutDown)?,
                    None => {
                        inner.busy.fetch_add(1, Ordering::Relaxed);
                        return Err(FramesError::Busy);
                    }
                }
            }
        };
        if inner.closed.load(Ordering::Acquire) { Err(FramesError::ShutDown) } else { Ok(permit) }
    }

    /// Refuses new jobs, waits for those that a worker has (each takes at most [`Options::timeout`]), and ends the
    /// workers.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.closed.store(true, Ordering::Release);
        let all = u32::try_from(inner.options.workers).unwrap_or(u32::MAX);
        // Fails only if it was shut down before.
        let turns = inner.turns.acquire_many(all).await;
        inner.turns.close();
        inner.mixers.close();
        drop(turns);
        let idle = std::mem::take(&mut inner.state().idle);
        for (worker, _) in idle {
            inner.retire(worker).await;
        }
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        let inner = &self.inner;
        let count = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Stats {
            pids: inner.state().pids.iter().copied().collect(),
            waiting: inner.waiting.load(Ordering::Relaxed),
            started: count(&inner.started),
            pictures: count(&inner.pictures),
            failed: count(&inner.failed),
            busy: count(&inner.busy),
            lost: count(&inner.lost),
            mixed: count(&inner.mixed),
        }
    }
}

fn plain(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|s| s.to_le_bytes()).collect()
}

/// Counts one that waits, for as long as it is there.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, job: Job, turn: OwnedSemaphorePermit) -> Result<Picture, FramesError> {
        let result = self.work(&job).await;
        match &result {
            Ok(_) => self.pictures.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.failed.fetch_add(1, Ordering::Relaxed),
        };
        drop(turn);
        result
    }

    async fn work(self: &Arc<Self>, job: &Job) -> Result<Picture, FramesError> {
        let clock = &*self.world.clock;
        let mut worker = self.worker().await?;
        let pid = worker.pid;
        match within(clock, self.options.timeout, worker.ask(job)).await {
            Some(Ok(answer)) => {
                if worker.jobs < JOBS_PER_WORKER && !self.closed.load(Ordering::Acquire) {
                    self.keep(worker);
                } else {
                    self.retire(worker).await;
                }
                answer
            }
            Some(Err(e)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                let end = worker.end(clock).await;
                self.forget(pid);
                tracing::warn!(pid, "a decoder ended while it worked on a picture: {end}; {e}");
                Err(FramesError::Died(end))
            }
            None => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                worker.end(clock).await;
                self.forget(pid);
                tracing::warn!(pid, "a decoder took too long over a picture and was stopped");
                Err(FramesError::TimedOut(self.options.timeout))
            }
        }
    }

    /// An idle worker, or a new one.
    async fn worker(&self) -> Result<Worker, FramesError> {
        loop {
            let idle = self.state().idle.pop();
            let Some((mut worker, _)) = idle else { break };
            if worker.alive() {
                return Ok(worker);
            }
            // It died while it had nothing to do: nobody's picture is lost.
            let pid = worker.pid;
            self.forget(pid);
        }
        self.start().await
    }

    pub(crate) async fn start(&self) -> Result<Worker, FramesError> {
        match within(&*self.world.clock, START, Worker::start(&self.options)).await {
            Some(Ok(worker)) => {
                self.started.fetch_add(1, Ordering::Relaxed);
                self.state().pids.insert(worker.pid);
                Ok(worker)
            }
            Some(Err(e)) => Err(FramesError::NotStarted(e.to_string())),
            None => Err(FramesError::NotStarted(format!("it was not ready after {} s", START.as_secs()))),
        }
    }

    fn keep(self: &Arc<Self>, worker: Worker) {
        let mut state = self.state();
        state.idle.push((worker, self.world.clock.monotonic()));
        if !state.watched {
            state.watched = true;
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }

    async fn retire(&self, worker: Worker) {
        let pid = worker.pid;
        worker.retire(&*self.world.clock).await;
        self.forget(pid);
    }

    pub(crate) fn forget(&self, pid: u32) {
        self.state().pids.remove(&pid);
    }
}

/// Ends workers that have been idle for long, and itself when there is none.
async fn watch(inner: Weak<Inner>) {
    loop {
        let Some(me) = inner.upgrade() else { return };
        let (clock, idle) = (me.world.clock.clone(), me.options.idle);
        let now = clock.monotonic();
        let (old, next) = {
            let mut state = me.state();
            let (old, young): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.idle).into_iter().partition(|(_, since)| *since + idle <= now);
            let next = young.iter().map(|(_, since)| *since + idle - now).min();
            state.idle = young;
            if next.is_none() && old.is_empty() {
                state.watched = false;
                return;
            }
            (old, next)
        };
        for (worker, _) in old {
            me.retire(worker).await;
        }
        drop(me);
        if let Some(next) = next {
            clock.sleep(next).await;
        }
    }
}
