use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use world::StreamUid;

use crate::quantity::{Amounts, COUNT, Quantity};

/// What kind of thing is metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A data stream.
    DataStream,
    /// A consumer of enhanced fan-out of a data stream.
    Consumer,
    /// A video stream.
    VideoStream,
    /// A signaling channel.
    SignalingChannel,
    /// The TURN server.
    TurnServer,
}

/// Whose usage it is. A stream that is made anew under its old name is another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// The stream's name, or the channel's.
    pub stream: String,
    /// The stream's id in the log, hexadecimal; what no other channel ever is.
    pub uid: String,
    /// The consumer's name; empty for a stream.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consumer: String,
}

impl Resource {
    /// A stream.
    pub fn stream(kind: Kind, name: &str, uid: StreamUid) -> Resource {
        Resource { kind, stream: name.into(), uid: uid.to_string(), consumer: String::new() }
    }
}

/// How often it is looked at what is stored.
pub const LOOK: Duration = Duration::from_secs(300);

/// When it was last looked at what is stored.
#[derive(Debug)]
pub struct Looks(Mutex<Duration>);

impl Looks {
    /// First `now`, of a clock that only goes on.
    pub fn new(now: Duration) -> Looks {
        Looks(Mutex::new(now))
    }
    /// Looks again, if the last time was so long ago: how long ago it was.
    pub fn again(&self, now: Duration, least: Duration) -> Option<Duration> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_sub(*last);
        if passed < least {
            return None;
        }
        *last = now.max(*last);
        Some(passed)
    }
}

/// Counters since the meter was first asked for.
#[derive(Debug, Default)]
pub struct Meter([AtomicU64; COUNT]);

impl Meter {
    /// So much more.
    pub fn add(&self, q: Quantity, n: u64) {
        self.0[q as usize].fetch_add(n, Relaxed);
    }
    /// So many bytes were stored for so long.
    pub fn stored(&self, bytes: u64, passed: Duration) {
        let n = u128::from(bytes.div_ceil(1024)).saturating_mul(passed.as_millis()) / 1000;
        self.add(Quantity::StoredKibSeconds, n.try_into().unwrap_or(u64::MAX));
    }
    /// So much so far.
    pub fn total(&self, q: Quantity) -> u64 {
        self.0[q as usize].load(Relaxed)
    }
}

/// A meter that is in use, and what of it was taken.
#[derive(Default)]
pub(crate) struct Live {
    pub meter: Arc<Meter>,
    taken: [u64; COUNT],
}

impl Live {
    /// What was added since the last time.
    pub fn take(&mut self) -> Amounts {
        let mut added = Amounts::default();
        for ((n, taken), total) in added.0.iter_mut().zip(&mut self.taken).zip(&self.meter.0) {
            let total = total.load(Relaxed);
            *n = total.wrapping_sub(*taken);
            *taken = total;
        }
        added
    }
    /// Whether anybody may still add to it.
    pub fn is_held(&self) -> bool {
        Arc::strong_count(&self.meter) > 1
    }
}
