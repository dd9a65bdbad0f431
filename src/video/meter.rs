//! What goes in and out of each stream, and what of it is stored. Counted in one place for each way: fragments in when their
//! commit is done, whatever brought them; media out as the connection takes them ([`Tap`]), so that of an answer which
//! is broken off only the beginning counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream as Chunks, TryStreamExt as _};
use usage::{Kind, Quantity, Resource, Usage};

use crate::{StreamInfo, Video, VideoError};

/// Images of more pixels than 1080p are counted apart.
const LARGE: u32 = 1920 * 1080;

/// One stream's counters.
pub(crate) struct Meter {
    usage: Arc<usage::Meter>,
    /// Bytes when it was last looked.
    stored: AtomicU64,
}

/// Counts what of a stream goes one way out.
#[derive(Clone)]
pub struct Tap {
    usage: Arc<usage::Meter>,
    to: Quantity,
}

impl Tap {
    /// So many bytes more.
    pub fn sent(&self, bytes: usize) {
        self.usage.add(self.to, bytes as u64);
    }
    /// Counts chunks as they are taken.
    pub(crate) fn through<S, E>(self, chunks: S) -> impl Chunks<Item = Result<Bytes, E>> + Send
    where
        S: Chunks<Item = Result<Bytes, E>> + Send,
        E: Send,
    {
        chunks.inspect_ok(move |b| self.sent(b.len()))
    }
}

impl Meter {
    pub fn new(usage: &Usage, info: &StreamInfo) -> Meter {
        let of = Resource::stream(Kind::VideoStream, &info.name, info.uid);
        Meter { usage: usage.meter(of), stored: AtomicU64::default() }
    }
    /// A fragment of so many bytes was stored.
    pub fn put(&self, bytes: u64) {
        self.usage.add(Quantity::RecordsIn, 1);
        self.usage.add(Quantity::BytesIn, bytes);
    }
    /// For what is read, exported or watched.
    pub fn out(&self) -> Tap {
        Tap { usage: self.usage.clone(), to: Quantity::BytesOut }
    }
    /// For the media of a session's URLs.
    pub fn session(&self) -> Tap {
        Tap { usage: self.usage.clone(), to: Quantity::HlsBytesOut }
    }
    /// `GetImages` answered with one of a width and height.
    pub fn image(&self, (width, height): (u16, u16)) {
        let large = u32::from(width) * u32::from(height) > LARGE;
        self.usage.add(if large { Quantity::LargeImages } else { Quantity::Images }, 1);
    }
    /// A still was sent.
    pub fn still(&self) {
        self.usage.add(Quantity::Stills, 1);
    }
}

/// What [`Video::tallies`] tells of one stream. Counters since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The stream's name.
    pub stream: String,
    /// Fragments stored.
    pub put_fragments: u64,
    /// Their bytes: frames, and what a producer's Matroska has around them.
    pub put_bytes: u64,
    /// Bytes read, exported or watched by WebRTC.
    pub get_bytes: u64,
    /// Bytes of media that sessions' URLs led to.
    pub hls_bytes: u64,
    /// Images of up to 1080p that `GetImages` answered with.
    pub images: u64,
    /// Larger ones.
    pub large_images: u64,
    /// Stills that were sent.
    pub stills: u64,
    /// Sealed bytes when it was last looked.
    pub stored_bytes: u64,
}

impl Video {
    /// Counts what of a stream is sent by others than this room: WebRTC.
    pub fn tap(&self, name: &str) -> Result<Tap, VideoError> {
        Ok(self.streams.get(name)?.meter.out())
    }

    /// A still of a stream was sent.
    pub(crate) fn sent_still(&self, name: &str) {
        // It may be gone by now.
        if let Ok(s) = self.streams.get(name) {
            s.meter.still();
        }
    }

    /// What each stream took and gave, by name.
    pub fn tallies(&self) -> Vec<Tally> {
        let tally = |name: String, m: &Meter| {
            let total = |q| m.usage.total(q);
            Tally {
                stream: name,
                put_fragments: total(Quantity::RecordsIn),
                put_bytes: total(Quantity::BytesIn),
                get_bytes: total(Quantity::BytesOut),
                hls_bytes: total(Quantity::HlsBytesOut),
                images: total(Quantity::Images),
                large_images: total(Quantity::LargeImages),
                stills: total(Quantity::Stills),
                stored_bytes: m.stored.load(Relaxed),
            }
        };
        self.streams.list().iter().map(|s| tally(s.info.name.clone(), &s.meter)).collect()
    }

    /// Adds what all streams store, since the last time.
    pub async fn meter_stored(&self) {
        let Some(passed) = self.looks.again(self.world.clock.monotonic(), Duration::ZERO) else { return };
        for s in self.streams.list() {
            let since = self.world.clock.now().since(s.info.created);
            match self.log.stored_bytes(Some(s.info.uid)).await {
                Ok(bytes) => {
                    s.meter.stored.store(bytes, Relaxed);
                    s.meter.usage.stored(bytes, passed.min(since));
                }
                Err(log::LogError::NoShard(_)) => {}
                Err(e) => {
                    tracing::warn!(stream = s.name(), error = %e, "it is not known what it stores")
                }
            }
        }
    }

    /// Looks at what is stored, until the program ends.
    pub async fn keep(self: Arc<Video>) {
        loop {
            self.meter_stored().await;
            self.world.clock.sleep(usage::LOOK).await;
        }
    }
}
