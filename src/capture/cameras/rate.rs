use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

const WINDOW: Duration = Duration::from_secs(10);

/// Bit rates over the last ten seconds, from byte counters sampled once a second. Names that are no longer sampled are
/// forgotten.
#[derive(Default)]
pub struct Rates(HashMap<String, VecDeque<(Duration, u64)>>);

impl Rates {
    pub fn sample(&mut self, now: Duration, bytes: Vec<(u64, String)>) {
        let mut next = HashMap::with_capacity(bytes.len());
        for (n, name) in bytes {
            let mut ring = self.0.remove(&name).unwrap_or_default();
            // The counter begins anew with each push session.
            if ring.back().is_some_and(|(_, last)| *last > n) {
                ring.clear();
            }
            ring.push_back((now, n));
            while ring.len() > 2 && ring.front().is_some_and(|(t, _)| now.saturating_sub(*t) > WINDOW) {
                ring.pop_front();
            }
            next.insert(name, ring);
        }
        self.0 = next;
    }

    pub fn bits_per_second(&self, name: &str) -> u64 {
        let Some((Some((t0, b0)), Some((t1, b1)))) = self.0.get(name).map(|r| (r.front(), r.back())) else {
            return 0;
        };
        let secs = t1.saturating_sub(*t0).as_secs_f64();
        if secs <= 0.0 { 0 } else { ((b1 - b0) as f64 * 8.0 / secs) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_seconds_count() {
        let mut r = Rates::default();
        for s in 0..30u64 {
            let bytes = if s < 15 { s * 1000 } else { 15_000 + (s - 15) * 500_000 };
            r.sample(Duration::from_secs(s), vec![(bytes, "a".into())]);
        }
        assert_eq!(r.bits_per_second("a"), 4_000_000);
        r.sample(Duration::from_secs(30), vec![(10, "a".into())]);
        assert_eq!(r.bits_per_second("a"), 0);
        r.sample(Duration::from_secs(31), vec![]);
        assert!(r.0.is_empty());
    }
}
