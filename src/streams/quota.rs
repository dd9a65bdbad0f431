//! AWS's quotas: so much a second for each shard, stream, consumer or account.
//!
//! [`Quotas`] is a trait so that a cluster can keep them approximately; [`Exact`] is one node's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use world::Rate;
use world::{Allowance, Clock, StreamUid};

/// What is rationed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ration {
    /// Bytes put into a shard: 1 MiB a second.
    PutBytes(StreamUid, u32),
    /// Records put into a shard: 1,000 a second.
    PutRecords(StreamUid, u32),
    /// Bytes read from a shard by `GetRecords`: 2 MiB a second.
    GetBytes(StreamUid, u32),
    /// Calls of `GetRecords` on a shard: 5 a second.
    GetCalls(StreamUid, u32),
    /// Calls of `GetShardIterator` on a shard: 5 a second.
    Iterators(StreamUid, u32),
    /// Bytes pushed to a consumer from a shard: 2 MiB a second. Consumers are told apart by their number in this process.
    Pushed(u64, u32),
    /// Calls of an operation on one stream.
    StreamCalls(StreamUid, &'static str),
    /// Calls of an operation in the account.
    AccountCalls(&'static str),
}

/// Who counts.
pub trait Quotas: Send + Sync + 'static {
    /// Takes `amount`, or says that it is not there. What is larger than the burst is taken when the burst is full, and
    /// paid back over time.
    fn take(&self, ration: Ration, rate: Rate, amount: f64) -> bool;
    /// Takes `amount` though it may not be there: nothing more until it is paid back.
    fn charge(&self, ration: Ration, rate: Rate, amount: f64);
    /// Nothing more for so long.
    fn block(&self, ration: Ration, rate: Rate, time: Duration);
    /// How long it is until what was charged is paid back; zero: it is.
    fn owed(&self, ration: Ration, rate: Rate) -> Duration;
}

/// No quotas.
pub struct Unlimited;

impl Quotas for Unlimited {
    fn take(&self, _: Ration, _: Rate, _: f64) -> bool {
        true
    }
    fn charge(&self, _: Ration, _: Rate, _: f64) {}
    fn block(&self, _: Ration, _: Rate, _: Duration) {}
    fn owed(&self, _: Ration, _: Rate) -> Duration {
        Duration::ZERO
    }
}

#[derive(Default)]
struct Buckets {
    by: HashMap<Ration, Allowance>,
    /// When so many are kept, the full ones are forgotten.
    sweep_at: usize,
}

/// One node's, exact. What is full is forgotten: idle shards take no memory.
pub struct Exact {
    clock: Arc<dyn Clock>,
    buckets: Mutex<Buckets>,
}

const SWEEP: usize = 1024;

impl Exact {
    /// By this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Exact {
        Exact { clock, buckets: Mutex::new(Buckets { by: HashMap::new(), sweep_at: SWEEP }) }
    }

    fn with<T>(&self, ration: Ration, rate: Rate, f: impl FnOnce(&mut Allowance, Duration) -> T) -> T {
        let now = self.clock.monotonic();
        let mut b = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if b.by.len() >= b.sweep_at {
            b.by.retain(|_, a| !a.is_full(now));
            b.sweep_at = (2 * b.by.len()).max(SWEEP);
        }
        let a = b.by.entry(ration).or_insert_with(|| Allowance::new(rate, now));
        a.set_rate(rate);
        f(a, now)
    }
}

impl Quotas for Exact {
    fn take(&self, ration: Ration, rate: Rate, amount: f64) -> bool {
        self.with(ration, rate, |a, now| a.take(amount, now))
    }
    fn charge(&self, ration: Ration, rate: Rate, amount: f64) {
        self.with(ration, rate, |a, now| a.charge(amount, now));
    }
    fn block(&self, ration: Ration, rate: Rate, time: Duration) {
        self.with(ration, rate, |a, now| a.block(time, now));
    }
    fn owed(&self, ration: Ration, rate: Rate) -> Duration {
        self.with(ration, rate, |a, now| a.owed(now))
    }
}

#[cfg(test)]
mod tests {
    use world::{Timestamp, sim::SimClock};

    use super::*;

    const CALLS: Ration = Ration::AccountCalls("X");

    #[test]
    fn a_second_is_a_second() {
        let clock = Arc::new(SimClock::new(Timestamp(0)));
        let q = Exact::new(clock.clone());
        let rate = Rate::of(5.0);
        let five = |q: &Exact| (0..9).filter(|_| q.take(CALLS, rate, 1.0)).count();
        assert_eq!(five(&q), 5);
        clock.advance(Duration::from_millis(400));
        assert_eq!(five(&q), 2);
        clock.advance(Duration::from_secs(60));
        assert_eq!(five(&q), 5);
    }

    #[test]
    fn what_is_larger_than_the_burst_is_paid_back() {
        let clock = Arc::new(SimClock::new(Timestamp(0)));
        let q = Exact::new(clock.clone());
        let rate = Rate::of(1.0);
        assert!(q.take(CALLS, rate, 10.0));
        clock.advance(Duration::from_secs(9));
        assert!(!q.take(CALLS, rate, 1.0));
        clock.advance(Duration::from_secs(1));
        assert!(q.take(CALLS, rate, 1.0));
        q.charge(CALLS, rate, 2.5);
        let owed = q.owed(CALLS, rate);
        assert!(owed > Duration::from_millis(2499) && owed < Duration::from_millis(2501), "{owed:?}");
        clock.advance(owed);
        assert_eq!(q.owed(CALLS, rate), Duration::ZERO);
        clock.advance(Duration::from_secs(1));
        assert!(q.take(CALLS, rate, 1.0));
        q.block(CALLS, rate, Duration::from_secs(5));
        clock.advance(Duration::from_millis(4900));
        assert!(!q.take(CALLS, rate, 1.0));
        clock.advance(Duration::from_millis(100));
        assert!(q.take(CALLS, rate, 1.0));
    }

    #[test]
    fn idle_ones_are_forgotten() {
        let clock = Arc::new(SimClock::new(Timestamp(0)));
        let q = Exact::new(clock.clone());
        for n in 0..10_000 {
            q.take(Ration::PutBytes(StreamUid([0; 16]), n), Rate::of(10.0), 1.0);
            clock.advance(Duration::from_millis(200));
        }
        assert!(q.buckets.lock().unwrap().by.len() <= 2 * SWEEP);
    }
}
