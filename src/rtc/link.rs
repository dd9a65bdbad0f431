//! Whether a viewer's link carries what it is sent, and what of it to send if not. No I/O: time is given.
//!
//! Judged by what the viewer says that it lost of all that it should have by then (RFC 3550 §6.4.1), never by the fraction in a
//! report: that counts for lost what is merely late, and does not take it back. A network that loses packets at random is
//! left alone; it loses as many when less is sent, by which the two are told apart.

use std::time::{Duration, Instant};

use str0m::stats::MediaEgressStats;

/// Reports are looked at together that span so much, and so many packets.
const SPAN: Duration = Duration::from_secs(2);
const PACKETS: u64 = 30;
/// What is lost of all, if the link is too slow; of what is left of it, if that is still too much.
const SLOW: f64 = 0.15;
const STILL: f64 = 0.12;
/// So many times in a row; once, if more is being tried.
const SLOW_TIMES: u32 = 3;
const STILL_TIMES: u32 = 2;
/// If it did not help so many times to send less, it is not too slow.
const IN_VAIN: u32 = 3;
/// And is not looked for again so soon.
const BLIND: Duration = Duration::from_secs(120);
/// Of what arrived so much is sent.
const PART: f64 = 0.8;
/// More is tried after so long without loss, at first, and twice as long each time that it was too much; if it was not, still
/// more after [`ALL`]. Each time so much that what comes of it is plain.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_PATIENCE: Duration = Duration::from_secs(80);
const MORE: f64 = 1.5;
/// If nothing had to be left out for so long, the link carries it all.
const ALL: Duration = Duration::from_secs(6);
/// So much may wait; and so much, if it is a picture that begins anew.
const QUEUE: Duration = Duration::from_millis(1_000);
const BEGINS: Duration = Duration::from_millis(1_500);
/// Packets leave so much faster than what they carry is counted: there are headers, and what is sent again.
const AROUND: f64 = 1.08;
/// Bytes a second that any link carries.
const LEAST: f64 = 8_000.0;

/// What a viewer has reported of its pictures, and what it had been sent by then; all since the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) at: Instant,
    /// The highest sequence number that arrived.
    pub(crate) highest: u64,
    /// 24 bits, which may be negative.
    pub(crate) lost: u32,
    pub(crate) bytes: u64,
}

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does not carry all: this many bytes a second from now on.
    Slow(u64),
    /// More is tried.
    More,
    /// All is sent again.
    Carries,
}

/// A viewer's link.
#[derive(Debug)]
pub(crate) struct Link {
    /// The last report that was looked at.
    last: Option<Report>,
    /// The one before the first of those in a row of which too much was lost, and how many there are.
    bad: Option<(Report, u32)>,
    limit: Option<Limit>,
    patience: Duration,
    /// Since when all is sent again.
    carries: Option<Instant>,
    /// Not judged before.
    blind: Option<Instant>,
}

/// What is sent at most.
#[derive(Debug)]
struct Limit {
    /// Bytes a second.
    rate: f64,
    /// Bytes that are thought to wait on the link, and when that was.
    queue: (f64, Instant),
    /// More is tried then.
    more: Instant,
    /// If it is: what it was before, which was not too much.
    before: Option<f64>,
    /// When something was left out last, or more was tried.
    left_out: Instant,
    /// How often in a row less was sent, and it did not help.
    in_vain: u32,
}

impl Report {
    pub(crate) fn of(stats: &MediaEgressStats) -> Option<Report> {
        let remote = stats.remote.as_ref()?;
        Some(Report {
            at: stats.timestamp,
            highest: *remote.maximum_sequence_number,
            lost: remote.packets_lost as u32,
            bytes: stats.bytes,
        })
    }

    /// Of what should have come after `before` the part that did not, and how many bytes came a second; `None` if that is too
    /// little to tell.
    fn since(&self, before: &Report) -> Option<(f64, f64)> {
        let expected = self.highest.saturating_sub(before.highest);
        let passed = self.at.saturating_duration_since(before.at);
        if passed < SPAN || expected < PACKETS {
            return None;
        }
        // Of 24 bits the sign is the highest.
        let lost = (self.lost.wrapping_sub(before.lost) << 8) as i32 >> 8;
        let part = (f64::from(lost) / expected as f64).clamp(0.0, 1.0);
        let sent = self.bytes.saturating_sub(before.bytes) as f64;
        Some((part, sent * (1.0 - part) / passed.as_secs_f64()))
    }
}

impl Default for Link {
    fn default() -> Link {
        Link { last: None, bad: None, limit: None, patience: PATIENCE, carries: None, blind: None }
    }
}

impl Link {
    /// A report came.
    pub(crate) fn report(&mut self, r: Report) -> Option<Verdict> {
        let Some(last) = self.last else {
            self.last = Some(r);
            return None;
        };
        let (lost, _) = r.since(&last)?;
        self.last = Some(r);
        if self.blind.is_some_and(|b| r.at < b) {
            return None;
        }
        let (much, times) = match &self.limit {
            None => (SLOW, SLOW_TIMES),
            Some(l) => (STILL, if l.before.is_some() { 1 } else { STILL_TIMES }),
        };
        if lost < much {
            self.bad = None;
            return self.good(r.at);
        }
        let (first, n) = self.bad.map_or((last, 1), |(first, n)| (first, n + 1));
        self.bad = Some((first, n));
        if n < times {
            return None;
        }
        self.bad = None;
        let (_, came) = r.since(&first)?;
        self.too_much(came, r.at)
    }

    fn good(&mut self, now: Instant) -> Option<Verdict> {
        let limit = self.limit.as_mut()?;
        limit.in_vain = 0;
        if now.saturating_duration_since(limit.left_out) >= ALL {
            (self.limit, self.carries) = (None, Some(now));
            return Some(Verdict::Carries);
        }
        if now >= limit.more {
            limit.before = Some(limit.rate);
            limit.rate *= MORE;
            (limit.more, limit.left_out) = (now + ALL, now);
            return Some(Verdict::More);
        }
        None
    }

    fn too_much(&mut self, came: f64, now: Instant) -> Option<Verdict> {
        let before = self.limit.as_ref().and_then(|l| l.before);
        let in_vain = self.limit.as_ref().filter(|_| before.is_none()).map_or(0, |l| l.in_vain + 1);
        if in_vain >= IN_VAIN {
            (self.limit, self.blind) = (None, Some(now + BLIND));
            return Some(Verdict::Carries);
        }
        let again = self.limit.is_some()
            || self.carries.is_some_and(|c| now.saturating_duration_since(c) < MOST_PATIENCE);
        self.patience = if again { (self.patience * 2).min(MOST_PATIENCE) } else { PATIENCE };
        let rate = before.unwrap_or_else(|| (came * PART).max(LEAST));
        let queue = self.limit.as_ref().map_or((0.0, now), |l| l.queue);
        self.limit =
            Some(Limit { rate, queue, more: now + self.patience, before: None, left_out: now, in_vain });
        Some(Verdict::Slow(rate as u64))
    }

    /// How fast packets of pictures may leave, in bytes a second, if that is bounded.
    pub(crate) fn pace(&self) -> Option<u64> {
        self.limit.as_ref().map(|l| (l.rate * AROUND) as u64)
    }

    /// Whether a picture is sent. If not, nor is any until one that can be decoded alone, which `start` is; that one goes if
    /// the link has nothing else to do.
    pub(crate) fn passes(&mut self, bytes: usize, start: bool, waits: bool, now: Instant) -> bool {
        let Some(l) = &mut self.limit else { return true };
        let passed = now.saturating_duration_since(l.queue.1).as_secs_f64();
        let waiting = (l.queue.0 - passed * l.rate).max(0.0);
        let after = waiting + bytes as f64;
        let fits = |most: Duration| after <= l.rate * most.as_secs_f64();
        let passes = if start { fits(BEGINS) || waiting == 0.0 } else { !waits && fits(QUEUE) };
        l.queue = (if passes { after } else { waiting }, now);
        if !passes {
            l.left_out = now;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A source of so many bytes a second, and what comes of it each second, as `lost` has it of what was sent.
    struct World {
        link: Link,
        now: Instant,
        report: Report,
    }

    impl World {
        fn new() -> World {
            let now = crate::checks::instants().now();
            let mut w = World {
                link: Link::default(),
                now,
                report: Report { at: now, highest: 0, lost: 0, bytes: 0 },
            };
            w.link.report(w.report);
            w
        }

        /// Of 250 kB a second, in 25 pictures of which every fiftieth can be decoded alone; the network passes `lost` of so
        /// many bytes.
        fn goes(&mut self, seconds: u32, lost: impl Fn(f64) -> f64) -> Vec<(u32, Verdict)> {
            let mut out = Vec::new();
            let mut waits = false;
            for s in 0..seconds {
                let mut bytes = 0;
                for n in 0..25 {
                    let start = s % 2 == 0 && n == 0;
                    waits = (waits && !start) || !self.link.passes(10_000, start, waits, self.now);
                    bytes += if waits { 0 } else { 10_000 };
                    self.now += Duration::from_millis(40);
                }
                let r = &mut self.report;
                (r.at, r.bytes) = (self.now, r.bytes + bytes);
                r.highest += bytes / 1_000;
                r.lost =
                    r.lost.wrapping_add((lost(bytes as f64) * bytes as f64 / 1_000.0) as u32) & 0xff_ffff;
                let r = *r;
                out.extend(self.link.report(r).filter(|v| *v != Verdict::More).map(|v| (s, v)));
            }
            out
        }
    }

    /// What does not pass.
    fn carries(rate: f64) -> impl Fn(f64) -> f64 {
        move |sent| (1.0 - rate / sent.max(1.0)).max(0.0)
    }

    #[test]
    fn a_slow_link_is_found_out_and_its_recovery_too() {
        let mut w = World::new();
        assert_eq!(w.goes(30, |_| 0.05), []);
        let slow = w.goes(60, carries(100_000.0));
        assert!(matches!(slow[0], (4..9, Verdict::Slow(75_000..85_000))), "{slow:?}");
        // Tried again, and again too much: rarely.
        assert!(slow.len() < 5, "{slow:?}");
        let again = w.goes(200, |_| 0.0);
        assert!(matches!(again[..], [(_, Verdict::Carries)]), "{again:?}");
        assert_eq!(w.goes(60, |_| 0.05), []);
    }

    /// As browsers report: what is sent again is no part of it. A key frame of 17 packets every two seconds.
    #[test]
    fn loss_and_jitter_are_no_slow_link() {
        for (seed, phase) in (1..20).flat_map(|s| [(s, 20_000), (s, 100_000), (s, 500_000)]) {
            let mut dice = crate::checks::Dice(seed);
            let mut came = Vec::new();
            for n in 0..25 * 120 {
                for _ in 0..if n % 50 == 0 { 17 } else { 3 } {
                    let lost = dice.below(100) < 5;
                    let at = n * 40_000 + 10_000 + dice.below(200_001);
                    came.push((!lost).then_some(at));
                }
            }
            let (mut link, now) = (Link::default(), crate::checks::instants().now());
            for s in 1..119u64 {
                let by = s * 1_000_000 + phase;
                let there = |at: &Option<u64>| at.is_some_and(|at| at <= by);
                let highest = came.iter().rposition(there).unwrap_or(0) as u64;
                let lost = highest + 1 - came.iter().filter(|at| there(at)).count() as u64;
                let r = Report {
                    at: now + Duration::from_micros(by),
                    highest,
                    lost: lost as u32,
                    bytes: s * 90_000,
                };
                assert_eq!(link.report(r), None, "seed {seed}, {s} s");
            }
        }
    }

    #[test]
    fn a_cut_is_no_slow_link() {
        let mut w = World::new();
        for _ in 0..9 {
            assert_eq!(w.goes(4, |_| 1.0), []);
            assert_eq!(w.goes(4, |_| 0.0), []);
        }
    }

    #[test]
    fn loss_that_stays_whatever_is_sent_is_left_alone() {
        let mut w = World::new();
        let all = w.goes(60, |_| 0.3);
        assert_eq!(all.last().map(|v| v.1), Some(Verdict::Carries), "{all:?}");
        assert_eq!(w.goes(60, |_| 0.3), []);
    }

    #[test]
    fn what_a_viewer_says_it_lost_may_become_less() {
        let at = crate::checks::instants().now();
        let r =
            |s, highest, lost| Report { at: at + Duration::from_secs(s), highest, lost, bytes: 9_000 * s };
        assert_eq!(r(3, 100, 3).since(&r(0, 0, 5)), Some((0.0, 9_000.0)));
        assert_eq!(r(3, 100, 0xff_fffe).since(&r(0, 0, 0xff_ffff)), Some((0.0, 9_000.0)));
        assert_eq!(r(3, 100, 40).since(&r(0, 0, 0xff_fff6)), Some((0.5, 4_500.0)));
        assert_eq!(r(1, 100, 40).since(&r(0, 0, 0)), None);
        assert_eq!(r(3, 9, 9).since(&r(0, 0, 0)), None);
    }

    proptest! {
        #[test]
        fn any_report_is_survived(all in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u64>(), 0u64..9_000, any::<usize>(), any::<bool>()), 0..200)) {
            let (mut l, mut now) = (Link::default(), crate::checks::instants().now());
            for (highest, lost, bytes, gone, len, start) in all {
                now += Duration::from_millis(gone);
                l.report(Report { at: now, highest, lost, bytes });
                l.passes(len, start, !start, now);
                prop_assert!(l.limit.as_ref().is_none_or(|l| l.rate >= LEAST && l.queue.0 >= 0.0));
            }
        }
    }
}
