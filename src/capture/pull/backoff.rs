//! When to try again.

use std::time::Duration;

use world::Entropy;

/// The first wait, and the longest.
const FIRST: Duration = Duration::from_secs(1);
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length starts the count over.
const STABLE: Duration = Duration::from_secs(30);

/// Doubles from one second to a minute, with a quarter of jitter either way, so that cameras which went down together
/// do not all come back in the same moment.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after a run of this length.
    pub(super) fn after(&mut self, run: Duration, entropy: &dyn Entropy) -> Duration {
        if run >= STABLE {
            self.failures = 0;
        }
        let wait = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        jitter(wait, entropy)
    }
}

/// Three to five quarters of it.
pub(super) fn jitter(wait: Duration, entropy: &dyn Entropy) -> Duration {
    let mut b = [0; 2];
    entropy.fill(&mut b);
    let half = wait.as_micros() as u64 / 2;
    Duration::from_micros(half + half / 2 + half * u64::from(u16::from_le_bytes(b)) / 65_535)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);
    impl Entropy for Fixed {
        fn fill(&self, buf: &mut [u8]) {
            buf.fill(self.0);
        }
    }

    #[test]
    fn doubles_up_to_a_minute_and_starts_over() {
        let mut b = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| b.after(Duration::ZERO, &Fixed(0)).as_millis() as u64).collect();
        assert_eq!(waits, [750, 1500, 3000, 6000, 12_000, 24_000, 45_000, 45_000]);
        assert_eq!(b.after(STABLE, &Fixed(255)), Duration::from_millis(1250));
    }
}
