//! What is happening right now, in memory: samples as they arrive, and the latest key frame.
//!
//! Samples are not durable when they pass here, nor are they records: who needs that reads the log. Nothing is
//! allocated, and nothing but one atomic read done, for a stream that nobody follows.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use media::{Sample, Track};
use tokio::sync::broadcast;
use world::Timestamp;

use crate::hls::low::Low;

/// How many samples a follower may fall behind before it is told that it missed some.
const BACKLOG: usize = 256;
/// A key frame larger than this is not kept.
const MAX_KEY_FRAME: usize = 8 << 20;

/// One sample as it arrives.
#[derive(Clone, Debug)]
pub struct LiveSample {
    /// The session's tracks.
    pub tracks: Arc<[Arc<Track>]>,
    /// The sample; its duration is the usual one, since the next has not come yet.
    pub sample: Sample,
    /// Its bytes.
    pub data: Bytes,
    /// It begins a fragment.
    pub first: bool,
}

/// A picture that can be decoded alone.
#[derive(Clone, Debug)]
pub struct KeyFrame {
    /// The track, with its decoder's configuration.
    pub track: Arc<Track>,
    /// The access unit, framed as the track says.
    pub data: Bytes,
    /// When it is shown, by the producer's clock.
    pub time: Timestamp,
}

/// The live side of one stream.
#[derive(Default)]
pub struct Live {
    followers: OnceLock<broadcast::Sender<LiveSample>>,
    key: Mutex<Option<KeyFrame>>,
    pub(crate) counters: Counters,
    tracks: Mutex<Arc<[Arc<Track>]>>,
    /// Parts for players that wait for them.
    pub(crate) low: Low,
}

/// What went in and out since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub units_in: AtomicU64,
    pub units_out: AtomicU64,
    pub bytes_in: AtomicU64,
    pub fragments: AtomicU64,
    /// Bits a second of the latest fragment.
    pub bitrate: AtomicU64,
    /// When the latest unit was received (microseconds; 0: none).
    pub last: std::sync::atomic::AtomicI64,
}

/// What a stream's ingest is doing: since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestStatus {
    /// Access units taken.
    pub units_in: u64,
    /// Access units made durable. Equal to `units_in` once the session has ended, unless something failed.
    pub units_out: u64,
    /// Bytes taken.
    pub bytes_in: u64,
    /// Fragments made durable.
    pub fragments: u64,
    /// When the latest unit was received.
    pub last_unit: Option<Timestamp>,
    /// Bits a second of the latest fragment.
    pub bitrate: u64,
}

impl Live {
    /// Follows the samples from now on. A follower that falls behind by more than the backlog gets
    /// [`broadcast::error::RecvError::Lagged`] and goes on with the oldest still there.
    pub fn follow(&self) -> broadcast::Receiver<LiveSample> {
        self.followers.get_or_init(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    /// The latest key frame of the first video track since the start of the process.
    pub fn key_frame(&self) -> Option<KeyFrame> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The tracks of the present session, or of the latest there was.
    pub fn tracks(&self) -> Arc<[Arc<Track>]> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn declare(&self, tracks: Arc<[Arc<Track>]>) {
        *self.tracks.lock().unwrap_or_else(PoisonError::into_inner) = tracks;
    }

    pub(crate) fn publish(&self, tracks: &Arc<[Arc<Track>]>, sample: &Sample, data: &Bytes, first: bool) {
        if let Some(tx) = self.followers.get()
            && tx.receiver_count() > 0
        {
            let (tracks, sample, data) = (tracks.clone(), sample.clone(), data.clone());
            // Fails when the last follower has just left.
            let _ = tx.send(LiveSample { tracks, sample, data, first });
        }
    }

    pub(crate) fn keep_key_frame(&self, track: &Arc<Track>, data: &Bytes, time: Timestamp) {
        if data.len() <= MAX_KEY_FRAME {
            let frame = KeyFrame { track: track.clone(), data: data.clone(), time };
            *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(frame);
        }
    }

    pub(crate) fn status(&self) -> IngestStatus {
        let c = &self.counters;
        let last = c.last.load(Relaxed);
        IngestStatus {
            units_in: c.units_in.load(Relaxed),
            units_out: c.units_out.load(Relaxed),
            bytes_in: c.bytes_in.load(Relaxed),
            fragments: c.fragments.load(Relaxed),
            last_unit: (last != 0).then_some(Timestamp(last)),
            bitrate: c.bitrate.load(Relaxed),
        }
    }
}
