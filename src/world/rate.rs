//! Keeping to a rate: so much a second, and so much at once. Times are of [`crate::Clock::monotonic`].

use std::time::Duration;

/// A rate, which may be used up ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Units a second.
    pub per_second: f64,
    /// Units that may be taken at once.
    pub burst: f64,
}

impl Rate {
    /// So many a second, and a second's worth at once.
    pub const fn of(per_second: f64) -> Rate {
        Rate { per_second, burst: per_second }
    }
}

/// What may be taken at a rate: it fills over time, up to the burst, and below nothing it is owed.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    rate: Rate,
    left: f64,
    at: Duration,
}

impl Allowance {
    /// A full one.
    pub const fn new(rate: Rate, now: Duration) -> Allowance {
        Allowance { rate, left: rate.burst, at: now }
    }
    /// Goes by another rate from its last use on.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }
    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.left = (self.left + passed * self.rate.per_second).min(self.rate.burst);
        self.at = self.at.max(now);
    }
    /// Takes `amount`, or says that it is not there. What is larger than the burst is taken when the burst is full, and
    /// paid back over time.
    pub fn take(&mut self, amount: f64, now: Duration) -> bool {
        self.fill(now);
        let enough = self.left >= amount.min(self.rate.burst);
        if enough {
            self.left -= amount;
        }
        enough
    }
    /// Takes `amount` though it may not be there.
    pub fn charge(&mut self, amount: f64, now: Duration) {
        self.fill(now);
        self.left -= amount;
    }
    /// There is less than one unit for so long.
    pub fn block(&mut self, time: Duration, now: Duration) {
        self.fill(now);
        self.left = self.left.min(1.0 - time.as_secs_f64() * self.rate.per_second);
    }
    /// How long it is until what was charged is paid back; zero: it is.
    pub fn owed(&mut self, now: Duration) -> Duration {
        self.fill(now);
        // A nanosecond more than what rounding may take off.
        let wait = Duration::from_secs_f64((-self.left).max(0.0) / self.rate.per_second);
        if wait.is_zero() { wait } else { wait + Duration::from_nanos(1) }
    }
    /// Whether it is as a new one is.
    pub fn is_full(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.left >= self.rate.burst
    }
}
