use std::{fmt, ops, time::Duration};

use async_trait::async_trait;

/// A moment in wall-clock time: microseconds since the Unix epoch, UTC, without leap seconds.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The earliest and the latest representable moments, for open ranges.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// See [`Timestamp::MIN`].
    pub const MAX: Timestamp = Timestamp(i64::MAX);
    /// From whole milliseconds, the unit of AWS's APIs.
    pub const fn from_millis(ms: i64) -> Self {
        Timestamp(ms.saturating_mul(1000))
    }
    /// Whole milliseconds, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// Microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// `self - earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000))
    }
}

/// Time, as the rooms above know it.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time. May step backwards; never use it to measure durations.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary origin; never steps backwards.
    fn monotonic(&self) -> Duration;
    /// Returns after `d` of monotonic time.
    async fn sleep(&self, d: Duration);
}
