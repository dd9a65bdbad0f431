//! How often and how fast a stream is put to and got from (Kinesis Video Streams quotas).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use wire::aws::AwsError;
use world::{Allowance, Rate};

/// Calls of PutMedia, and of GetMedia, of a stream in a second.
const CALLS: f64 = 5.0;
/// Bytes a second: of one producer, and of one reader.
const PUT: f64 = 12.5e6;
const GET: f64 = 25e6;

/// What may be called, put or got by now.
#[derive(Debug)]
pub struct Bucket(Mutex<Allowance>);

impl Bucket {
    fn new(per_second: f64) -> Bucket {
        Bucket(Mutex::new(Allowance::new(Rate::of(per_second), Duration::ZERO)))
    }

    /// For one call at a time.
    pub fn calls() -> Bucket {
        Bucket::new(CALLS)
    }

    /// For what a producer sends: a second of it at once.
    pub fn put() -> Bucket {
        Bucket::new(PUT)
    }

    /// For what a reader is sent.
    pub fn get() -> Bucket {
        Bucket::new(GET)
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `n` in any case; how long to wait until that was there. `now` is monotonic.
    pub fn owe(&self, n: f64, now: Duration) -> Duration {
        let mut a = self.allowance();
        a.charge(n, now);
        a.owed(now)
    }

    /// Takes one if it is there.
    pub fn call(&self, now: Duration) -> Result<(), AwsError> {
        if self.allowance().take(1.0, now) {
            return Ok(());
        }
        Err(AwsError::new(
            "ClientLimitExceededException",
            format!(
                "The rate of calls for the stream is exceeded: {CALLS} a second. Try making the call later."
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn five_calls_a_second() {
        let b = Bucket::calls();
        let at = Duration::from_secs(9);
        assert!((0..5).all(|_| b.call(at).is_ok()) && b.call(at).is_err());
        let later = at + Duration::from_millis(200);
        assert!(b.call(later).is_ok() && b.call(later).is_err());
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_keeps_to_the_rate(pieces in vec(1u32..5_000_000, 1..60)) {
            let (b, mut now) = (Bucket::put(), Duration::from_secs(1));
            let begin = now;
            for p in &pieces {
                now += b.owe(f64::from(*p), now);
            }
            let all: f64 = pieces.iter().map(|p| f64::from(*p)).sum();
            let took = (now - begin).as_secs_f64();
            prop_assert!(all <= PUT * (took + 1.0) + 1.0, "{} in {}", all, took);
            prop_assert!(took <= (all / PUT).max(0.0) + 0.001);
        }
    }
}
