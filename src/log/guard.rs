//! A wall clock that is not believed at once. Retention by age removes for good, so it does not follow a clock that
//! leaps ahead: by a receiver that went wrong, a battery that died, a hand that slipped.
//!
//! What is believed is a moment that was seen, and how much time has gone by since as the monotonic clock measures it,
//! also over starts. A wall clock that is no more than [`LEAP`] ahead of that is right, and is the moment seen from then
//! on. One that is further ahead is in doubt: meanwhile age goes by the time that is believed. A clock that has shown the
//! same for [`BELIEVED`] of running, with nobody setting it back, is right after all (the server was off for long).

use std::time::Duration;

use catalog::{Catalog, CatalogError, Change, Document};
use world::Timestamp;

use crate::{keys::lock, shared::Shared};

/// So much further than time has gone by may a clock show.
pub(crate) const LEAP: Duration = Duration::from_secs(24 * 3600);
/// So long a clock in doubt has to go on showing the same.
pub(crate) const BELIEVED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often what was seen is noted.
const NOTED: Duration = Duration::from_secs(600);
/// The document: `SEEN DOUBTED`, microseconds since the epoch and seconds.
const KIND: &str = "log-clock";
const ID: &str = "log";

/// What a look at the clocks shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// What age goes by.
    pub now: Timestamp,
    /// How far ahead of what is believed the wall clock is, if it is in doubt.
    pub leap: Option<Duration>,
    /// It is in doubt since this look.
    pub new: bool,
}

/// What is believed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Guard {
    /// A moment that was right, and the monotonic clock at it.
    seen: Option<(Timestamp, Duration)>,
    /// How long the clock has been in doubt, while running, and the monotonic clock at the last look.
    doubted: Option<(Duration, Duration)>,
    /// What was noted last.
    noted: Option<Timestamp>,
    /// How far ahead the clock was at the last look.
    leap: Duration,
}

impl Guard {
    /// Begins with what an earlier start noted, or else with the newest arrival. `mono`: the monotonic clock now.
    pub fn begin(noted: Option<(Timestamp, Duration)>, newest: Option<Timestamp>, mono: Duration) -> Guard {
        let seen = noted.map(|n| n.0).or(newest).map(|t| (t, mono));
        let doubted = noted.filter(|n| n.1 > Duration::ZERO).map(|n| (n.1, mono));
        Guard { seen, doubted, noted: noted.map(|n| n.0), leap: Duration::ZERO }
    }

    /// How far ahead of what is believed the clock was at the last look, if it is in doubt.
    pub fn leap(&self) -> Duration {
        self.leap
    }

    /// Looks at the clocks; `trust`: somebody says that the wall clock is right.
    pub fn look(&mut self, wall: Timestamp, mono: Duration, trust: bool) -> Look {
        let look = self.judge(wall, mono, trust);
        self.leap = look.leap.unwrap_or_default();
        look
    }

    fn judge(&mut self, wall: Timestamp, mono: Duration, trust: bool) -> Look {
        let (seen, at) = *self.seen.get_or_insert((wall, mono));
        let believed = seen + mono.saturating_sub(at);
        let ahead = wall.since(believed);
        if ahead <= LEAP || trust {
            self.doubted = None;
            // Behind: time goes on as it was believed, until the clock is right again.
            if wall >= believed || trust {
                self.seen = Some((wall, mono));
            }
            return Look { now: wall, leap: None, new: false };
        }
        let new = self.doubted.is_none();
        let (ran, last) = self.doubted.unwrap_or((Duration::ZERO, mono));
        let ran = ran + mono.saturating_sub(last);
        if ran >= BELIEVED {
            (self.seen, self.doubted) = (Some((wall, mono)), None);
            return Look { now: wall, leap: None, new: false };
        }
        self.doubted = Some((ran, mono));
        Look { now: believed, leap: Some(ahead), new }
    }

    /// What is to be noted now, if it is time.
    fn due(&self, mono: Duration) -> Option<(Timestamp, Duration)> {
        let (seen, at) = self.seen?;
        let now = seen + mono.saturating_sub(at);
        let old = self.noted.is_none_or(|n| now.since(n) >= NOTED || n > now);
        old.then_some((now, self.doubted.map_or(Duration::ZERO, |d| d.0)))
    }

    /// What an earlier start noted.
    pub async fn load(catalog: &dyn Catalog) -> Result<Option<(Timestamp, Duration)>, CatalogError> {
        Ok(catalog.get(KIND, ID).await?.and_then(|d| parse(&d.body)))
    }

    /// Notes what is believed, now and then.
    pub async fn note(&mut self, catalog: &dyn Catalog, mono: Duration) -> Result<(), CatalogError> {
        let Some((seen, ran)) = self.due(mono) else { return Ok(()) };
        let expect = catalog.get(KIND, ID).await?.map_or(0, |d| d.version);
        let body = format!("{} {}", seen.0, ran.as_secs()).into();
        let doc = Document { kind: KIND.into(), id: ID.into(), version: 0, body, keys: Vec::new() };
        catalog.commit(vec![Change::Put { doc, expect }]).await?;
        self.noted = Some(seen);
        Ok(())
    }
}

impl Shared {
    /// Begins to watch the clock, once it is known what is stored.
    pub async fn watch_clock(&self) -> Result<(), CatalogError> {
        let noted = Guard::load(&*self.catalog).await?;
        let newest = self.shards(None).iter().map(|s| s.state().last).max().filter(|t| *t > Timestamp(0));
        let mono = self.world.clock.monotonic();
        *lock(&self.guard) = Guard::begin(noted, newest, mono);
        self.look_at_clock(mono);
        // Before anything arrives by a clock that may be wrong.
        let mut guard = *lock(&self.guard);
        guard.note(&*self.catalog, mono).await?;
        lock(&self.guard).noted = guard.noted;
        Ok(())
    }

    fn look_at_clock(&self, mono: Duration) -> Timestamp {
        let (wall, trust) = (self.world.clock.now(), self.rules.store().trust_clock);
        let look = lock(&self.guard).look(wall, mono, trust);
        if let (Some(leap), true) = (look.leap, look.new) {
            tracing::error!(
                ahead_hours = leap.as_secs() / 3600,
                "the clock is further ahead than time has gone by since it was last seen: age removes nothing by it \
                 until it has shown this for a week of running (retention.trust_clock says that it is right)"
            );
        }
        look.now
    }

    /// What age goes by now.
    pub async fn age_now(&self) -> Timestamp {
        let mono = self.world.clock.monotonic();
        let now = self.look_at_clock(mono);
        let mut guard = *lock(&self.guard);
        if let Err(e) = guard.note(&*self.catalog, mono).await {
            tracing::warn!(error = %e, "what the clock showed could not be noted");
        }
        lock(&self.guard).noted = guard.noted;
        now
    }
}

fn parse(body: &[u8]) -> Option<(Timestamp, Duration)> {
    let (seen, ran) = std::str::from_utf8(body).ok()?.split_once(' ')?;
    Some((Timestamp(seen.parse().ok()?), Duration::from_secs(ran.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const NOON: Timestamp = Timestamp(1_767_225_600_000_000);

    fn days(n: u32) -> Duration {
        DAY * n
    }

    #[test]
    fn a_leap_is_in_doubt_and_time_goes_on_as_it_was() {
        let mut g = Guard::begin(None, None, days(3));
        let ok = |now| Look { now, leap: None, new: false };
        assert_eq!(g.look(NOON, days(3), false), ok(NOON));
        assert_eq!(g.look(NOON + days(2), days(5), false), ok(NOON + days(2)), "as much as has gone by");
        let leap = g.look(NOON + days(400), days(5), false);
        assert_eq!(leap, Look { now: NOON + days(2), leap: Some(days(398)), new: true });
        let later = g.look(NOON + days(401), days(6), false);
        assert_eq!(later, Look { now: NOON + days(3), leap: Some(days(398)), new: false });
        // It is set right.
        assert_eq!(g.look(NOON + days(4), days(7), false), ok(NOON + days(4)));
        // And back, as after a start without a battery; then right again.
        assert_eq!(g.look(Timestamp(0), days(8), false), ok(Timestamp(0)));
        assert_eq!(g.look(NOON + days(9), days(12), false), ok(NOON + days(9)));
    }

    #[test]
    fn a_clock_that_stays_is_believed_after_a_week_of_running_or_when_somebody_says_so() {
        let mut g = Guard::begin(Some((NOON, Duration::ZERO)), None, Duration::ZERO);
        let off = NOON + days(90);
        for d in 0..7 {
            let l = g.look(off + days(d), days(d), false);
            assert_eq!((l.now, l.leap.is_some()), (NOON + days(d), true), "day {d}");
            if d == 3 {
                // A start in between.
                let noted = g.due(days(d)).unwrap();
                assert_eq!(noted, (NOON + days(3), days(3)));
                let body = format!("{} {}", noted.0.0, noted.1.as_secs());
                g = Guard::begin(parse(body.as_bytes()), None, days(d));
            }
        }
        assert_eq!(g.look(off + days(7), days(7), false).now, off + days(7));
        let mut g = Guard::begin(Some((NOON, Duration::ZERO)), None, Duration::ZERO);
        assert!(g.look(off, Duration::ZERO, false).leap.is_some());
        assert_eq!(g.look(off, Duration::ZERO, true).now, off);
        assert_eq!(g.look(off + days(1), days(1), false).now, off + days(1), "it need not be said again");
    }

    #[test]
    fn without_a_note_the_newest_arrival_is_what_was_seen() {
        let mut g = Guard::begin(None, Some(NOON), Duration::ZERO);
        assert_eq!(g.look(NOON + days(30), Duration::ZERO, false).now, NOON);
        let mut g = Guard::begin(None, None, Duration::ZERO);
        assert_eq!(g.look(NOON, Duration::ZERO, false).now, NOON, "nothing is stored yet");
        for bad in [&b""[..], b"1", b"x 1", b"1 -1", b"\xff"] {
            assert_eq!(parse(bad), None);
        }
    }
}
