//! How many fragments there were, of which some are not there any more: each says how many there were before it, of the
//! stream and of each of its tracks.

use std::time::Duration;

use crate::{By, Fragment, index::Entry};

/// So many fragments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How many.
    pub all: u64,
    /// How many had a track, by the track's id.
    pub tracks: Vec<(u8, u64)>,
}

impl Count {
    /// A fragment that is there.
    pub fn one(e: &Entry) -> Count {
        Count { all: 1, tracks: e.tracks.iter().map(|t| (t.id, 1)).collect() }
    }

    /// Those that were between two fragments once and are not any more (lost, or removed), as the numbers of the two tell;
    /// with `from` also the first of the two.
    pub fn between(a: &Entry, b: &Entry, from: bool) -> Count {
        let one = |had: bool| u64::from(had && !from);
        let before = |e: &Entry, id: u8| {
            let absent = || e.absent.iter().find(|(t, _)| *t == id).map(|(_, n)| (*n, false));
            e.track(id).map(|t| (t.ordinal, true)).or_else(absent)
        };
        let ids = b.tracks.iter().map(|t| t.id).chain(b.absent.iter().map(|(id, _)| *id));
        let tracks = ids.filter_map(|id| {
            let (of_a, had) = before(a, id).unwrap_or((0, false));
            let n = before(b, id)?.0.saturating_sub(of_a + one(had));
            (n > 0).then_some((id, n))
        });
        Count { all: b.ordinal.saturating_sub(a.ordinal + one(true)), tracks: tracks.collect() }
    }

    /// How many had a track.
    pub fn of(&self, track: u8) -> u64 {
        self.tracks.iter().find(|(id, _)| *id == track).map_or(0, |(_, n)| *n)
    }

    /// And so many more.
    pub fn add(&mut self, more: &Count) {
        self.all += more.all;
        for (id, more) in &more.tracks {
            match self.tracks.iter_mut().find(|(t, _)| t == id) {
                Some((_, n)) => *n += more,
                None => self.tracks.push((*id, *more)),
            }
        }
    }
}

/// What was lost, and how long it lasted.
#[derive(Clone, Debug, Default)]
pub(super) struct Hole {
    /// How many.
    pub all: u64,
    lasted: Duration,
}

impl Hole {
    /// And what was lost between two fragments. By the producer's clock it was as long as there is room between them; where
    /// that clock leapt, too, no longer than as many of those two.
    pub fn add(&mut self, a: &Fragment, b: &Fragment) {
        let n = Count::between(&a.entry, &b.entry, false).all;
        if n == 0 {
            return;
        }
        let (end, start) = (a.end(By::Producer), b.start(By::Producer));
        let room = if start > end { start.since(end) } else { Duration::ZERO };
        let likely = times(a.duration() + b.duration(), n, 2);
        let leapt = a.entry.discontinuities != b.entry.discontinuities;
        self.all += n;
        self.lasted += if leapt { room.min(likely) } else { room };
    }

    /// How long so many of them lasted.
    pub fn of(&self, n: u64) -> Duration {
        times(self.lasted, n.min(self.all), self.all)
    }
}

/// `d` × `n` / `of`
fn times(d: Duration, n: u64, of: u64) -> Duration {
    let us = d.as_micros() * u128::from(n) / u128::from(of.max(1));
    Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
}
