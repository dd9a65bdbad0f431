//! How many fragments there were, of which some are not there any more: each says how many there were before it, of the
//! stream and of each of its tracks.

use crate::index::Entry;

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
