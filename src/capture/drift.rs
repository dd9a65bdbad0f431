//! How a source's RTP clock lies to this server's, whatever the network does. Without I/O.
//!
//! A unit arrives when it was made, plus a delay that is never negative and often small. So of what arrivals say, the
//! *lower envelope* is right: networks delay, nothing hurries. An [`Envelope`] takes the least of every second, and of
//! the last [`SECONDS`] of those the tenth percentile: neither a stall, a burst after it, nor minutes in which most
//! units are late move it, and a few wrong timestamps do not either. Against a clock that runs away at 200 millionths
//! it lags by 40 ms at most.

use std::collections::VecDeque;

/// Seconds (in which something came) that are looked at.
pub(crate) const SECONDS: usize = 200;
/// … and that it needs before it says anything.
const ENOUGH: usize = 120;
/// Which of them, ordered, is taken: one in so many.
const RANK: usize = 10;

/// Nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// See the module. 1.6 kB.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    past: VecDeque<i64>,
    /// The present second and its least.
    open: Option<(i64, i64)>,
    value: Option<i64>,
}

impl Envelope {
    /// Takes a unit: when it came, and that less its media time; in nanoseconds.
    pub(crate) fn push(&mut self, now: i64, lag: i64) {
        let second = now.div_euclid(SECOND);
        match &mut self.open {
            Some((at, least)) if *at == second => *least = lag.min(*least),
            open => {
                let done = open.replace((second, lag));
                let Some((_, least)) = done else { return };
                if self.past.len() == SECONDS {
                    self.past.pop_front();
                }
                self.past.push_back(least);
                if self.past.len() >= ENOUGH {
                    let mut all: Vec<i64> = self.past.iter().copied().collect();
                    let rank = all.len() / RANK;
                    self.value = Some(*all.select_nth_unstable(rank).1);
                }
            }
        }
    }

    /// The time of this server at media time 0, if enough came to say.
    pub(crate) fn value(&self) -> Option<i64> {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use world::Timestamp;

    use crate::times::Timeline;

    const T0: i64 = 1_790_000_000_000_000;
    const HZ: i64 = 90_000;

    /// SplitMix64: a day must be the same each time.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: i64) -> i64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % below.max(1) as u64) as i64
        }
    }

    /// A network: milliseconds of delay in microseconds out; nothing overtakes.
    struct Network {
        dice: Dice,
        last: i64,
        held_until: i64,
        busy_until: i64,
    }

    impl Network {
        fn arrival(&mut self, sent: i64) -> i64 {
            let d = &mut self.dice;
            // Held up altogether, five times an hour at four units a second, for up to 20 s.
            if d.roll(3_000) == 0 {
                self.held_until = sent + d.roll(20_000_000);
            }
            // Busy, now and then for up to two minutes of any five: everything is late.
            if d.roll(5_000) == 0 && sent > self.busy_until + 180_000_000 {
                self.busy_until = sent + d.roll(120_000_000);
            }
            let queue = if sent < self.busy_until { 250_000 } else { 0 };
            let spike = if d.roll(20) == 0 { d.roll(400_000) } else { 0 };
            let at = (sent + 2_000 + d.roll(80_000) + queue + spike).max(self.held_until);
            self.last = self.last.max(at);
            self.last
        }
    }

    /// The worst error in microseconds after the first ten minutes, of a camera that runs fast by so many millionths
    /// and whose first unit took `first` µs; `audio` has no reports and no arrivals of its own that count.
    fn worst(seed: u64, ppm: i64, hours: i64, first: i64) -> i64 {
        let mut t = Timeline::new([HZ as u32, 48_000]);
        let mut net = Network { dice: Dice(seed), last: 0, held_until: 0, busy_until: 0 };
        let (step, begin) = (250_000, seed as u32);
        let (mut worst, mut last, mut apart) = (0, i64::MIN, None);
        for i in 0..hours * 3600 * 4 {
            let made = i * step;
            let ticks = made * (1_000_000 + ppm) / 1_000_000 * HZ / 1_000_000;
            let came = if i == 0 { first } else { net.arrival(made) };
            let s = t.unit(0, begin.wrapping_add(ticks as u32), Timestamp(T0 + came));
            assert_eq!(s.jumped_ms, None, "{seed} {ppm}: at {made}");
            assert!(s.pts > last, "{seed} {ppm}: time went back at {made}");
            last = s.pts;
            let error = s.pts * 100 / 9 - T0 - made;
            if made > 600_000_000 {
                worst = worst.max(error.abs());
            }
            // The sound of the same moment, always 30 ms later than the picture: it moves along.
            let ticks = made * (1_000_000 + ppm) / 1_000_000 * 48 / 1000;
            let a = t.unit(1, ticks as u32, Timestamp(T0 + came + 30_000));
            let now = a.pts * 1000 / 48 - s.pts * 100 / 9;
            let was: i64 = *apart.get_or_insert(now);
            // What both are rounded by, and what the picture moved since the sound's last.
            assert!((now - was).abs() < 1_500, "{seed} {ppm}: sound moved by {} µs", now - was);
        }
        worst
    }

    /// The bound that `docs/decisions/producer-times.md` states.
    #[test]
    fn a_day_of_a_camera_that_runs_fast_or_slow() {
        for (seed, ppm) in [(1, 200), (2, -200)] {
            let us = worst(seed, ppm, 24, 5_000);
            println!("{ppm} millionths: {us} µs off at worst");
            assert!(us <= 100_000, "{ppm}: {us} µs");
        }
    }

    #[test]
    fn a_first_unit_that_came_late_is_made_good() {
        let us = worst(3, 0, 1, 500_000);
        assert!(us <= 100_000, "{us} µs");
    }

    #[test]
    fn a_clock_that_is_right_is_left_alone() {
        let mut t = Timeline::new([HZ as u32]);
        let mut net = Network { dice: Dice(9), last: 0, held_until: 0, busy_until: 0 };
        let first = t.unit(0, 0, Timestamp(T0 + 4_000)).pts;
        for i in 1..3 * 3600 * 4i64 {
            let s = t.unit(0, (i * 22_500) as u32, Timestamp(T0 + net.arrival(i * 250_000)));
            assert_eq!(s.pts, first + i * 22_500, "not a tick");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn whatever_the_drift(seed in any::<u64>(), ppm in -300i64..300) {
            let us = worst(seed, ppm, 1, 1_000);
            prop_assert!(us <= 120_000, "{} µs", us);
        }
    }
}
