//! A worker of one's own, which mixes sounds and remembers what came before.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};

use crate::{
    Blend, Format, Frames, FramesError, Job,
    pool::Inner,
    process::{Worker, within},
    protocol::read_packets,
};

/// Who takes longer over some milliseconds of sound is of no use.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Mixes sounds, stretch by stretch, in a worker that does nothing else and ends when this is dropped.
pub struct Mixer {
    inner: Arc<Inner>,
    /// Gone after an error.
    worker: Option<Worker>,
    pid: u32,
    _turn: OwnedSemaphorePermit,
}

impl Frames {
    /// Starts one. [`FramesError::Busy`] when there are [`Options::mixers`](crate::Options::mixers) already.
    pub async fn mixer(&self) -> Result<Mixer, FramesError> {
        if cfg!(not(feature = "ffmpeg")) {
            return Err(FramesError::Unsupported("this build of Rushes has no FFmpeg to mix sound".into()));
        }
        let inner = self.inner.clone();
        let turn = inner.mixers.clone().try_acquire_owned().map_err(|e| match e {
            TryAcquireError::NoPermits => FramesError::Busy,
            TryAcquireError::Closed => FramesError::ShutDown,
        })?;
        let worker = inner.start().await?;
        Ok(Mixer { pid: worker.pid, worker: Some(worker), inner, _turn: turn })
    }
}

impl Mixer {
    /// The next stretch: a packet of Opus for each of [`Blend::without`], in that order. Whatever goes wrong with it other than
    /// with the blend itself ([`FramesError::Invalid`]), or when this is dropped before it ends: the mixer is of no use any more.
    pub async fn blend(&mut self, blend: &Blend) -> Result<Vec<Bytes>, FramesError> {
        let job = Job {
            codec: media::Codec::Opus,
            config: Bytes::new(),
            framing: media::Framing::Raw,
            data: blend.write()?,
            width: None,
            height: None,
            format: Format::Blend,
        };
        let died = |why: &str| FramesError::Died(why.to_owned());
        // Out of step, unless it answers.
        let mut worker = self.worker.take().ok_or_else(|| died("it mixes no more"))?;
        let answer = match within(&*self.inner.world.clock, TIMEOUT, worker.ask(&job)).await {
            Some(Ok(answer)) => answer?,
            Some(Err(e)) => return Err(died(&e.to_string())),
            None => return Err(FramesError::TimedOut(TIMEOUT)),
        };
        self.worker = Some(worker);
        let packets = read_packets(answer.bytes).map_err(|e| died(&e.to_string()))?;
        let asked = blend.without.iter().map(|w| w.cast_signed());
        if !packets.iter().map(|p| p.number).eq(asked) {
            return Err(died("it made other mixes than were asked for"));
        }
        self.inner.mixed.fetch_add(1, Ordering::Relaxed);
        Ok(packets.into_iter().map(|p| p.data).collect())
    }
}

impl Drop for Mixer {
    fn drop(&mut self) {
        self.inner.forget(self.pid);
    }
}
