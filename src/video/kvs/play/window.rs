//! Which fragments a session shows now.
//!
//! Sessions that slide are a fold over the stream's fragments from the session's first on: so the numbers that playlists
//! count by are the same wherever and whenever they are asked for. Where the fold has got to is remembered for a while,
//! since nobody wants to begin anew for each look at a playlist.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use log::Query;
use world::Timestamp;

use super::session::{Cuts, Mode, Session};
use crate::{
    By, Fragment, Video, VideoError,
    index::Entry,
    kvs::{find, number},
    streams::Stream,
};

/// Fragments that are read at once beyond those of a playlist.
const AHEAD: usize = 500;
/// Sessions remembered.
const REMEMBERED: usize = 1000;
/// What neither a gap nor an overlap is (DiscontinuityMode).
const SEAM: Duration = Duration::from_millis(50);
/// How long after a fragment's receipt began it may have arrived at the latest.
const LONGEST: Duration = Duration::from_secs(120);

/// A stretch of fragments with one configuration, on one line of time.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Of those before it.
    pub number: u64,
    /// Its first fragment.
    pub first: Arc<Fragment>,
}

/// So many fragments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How many.
    pub all: u64,
    /// How many had a track, by the track's id.
    tracks: Vec<(u8, u64)>,
}

impl Count {
    /// Those that were between two fragments once and are not any more (lost, or removed), as the numbers of the two tell; with `from` also the first of the two.
    fn between(a: &Entry, b: &Entry, from: bool) -> Count {
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

    fn add(&mut self, more: &Count) {
        self.all += more.all;
        for (id, more) in &more.tracks {
            match self.tracks.iter_mut().find(|(t, _)| t == id) {
                Some((_, n)) => *n += more,
                None => self.tracks.push((*id, *more)),
            }
        }
    }
}

/// What slid out of a session's playlist, and what would have, were it not lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Slid {
    /// How many. Whether a track can be played does not matter: of those that are lost nobody knows.
    pub gone: Count,
    /// Discontinuities up to the first fragment that is shown.
    pub cuts: u64,
    /// The last one.
    before: Option<Arc<Fragment>>,
    /// The run that the first one shown is of.
    pub run: Option<Run>,
}

impl Slid {
    fn push(&mut self, f: Arc<Fragment>) {
        self.gone.add(&Count { all: 1, tracks: f.entry.tracks.iter().map(|t| (t.id, 1)).collect() });
        self.before = Some(f);
    }
}

/// What a session shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// In the order of playing.
    pub items: Vec<Arc<Fragment>>,
    /// What was there before.
    pub slid: Slid,
    /// What was lost right before those of the items that have such a position.
    pub lost: BTreeMap<u64, Count>,
    /// Nothing will be added.
    pub over: bool,
}

/// How far the fold of a session has got.
#[derive(Clone, Debug)]
struct State {
    /// The position of the first fragment that is shown.
    first: u64,
    /// That fragment, unless nothing slid out yet.
    at: Option<Arc<Fragment>>,
    /// The position of the last one that was shown.
    until: Option<u64>,
    /// What those that were added one by one last, of a session that replays.
    due: Duration,
    slid: Slid,
}

impl State {
    /// Of a session that begins at a position.
    fn begin(first: u64) -> State {
        State { first, at: None, until: None, due: Duration::ZERO, slid: Slid::default() }
    }

    /// Whether a fragment was shown before, or could have been.
    fn knows(&self, f: &Fragment) -> bool {
        self.until.is_some_and(|until| f.position() <= until)
    }

    /// One slides out, and what was lost between it and the next.
    fn slide(&mut self, session: &Session, old: Arc<Fragment>, next: &Arc<Fragment>, lost: Option<&Count>) {
        self.pass(session, &old, next, lost);
        self.slid.push(old);
        if let Some(lost) = lost {
            self.slid.gone.add(lost);
        }
    }

    /// Another one is the first that is shown.
    fn pass(&mut self, session: &Session, old: &Fragment, next: &Arc<Fragment>, lost: Option<&Count>) {
        self.slid.cuts += cut(session.cuts, old, next, lost);
        if let Some(run) = self.slid.run.as_mut().filter(|_| !goes_on(old, next)) {
            *run = Run { number: run.number + 1, first: next.clone() };
        }
        (self.first, self.at) = (next.position(), Some(next.clone()));
    }
}

/// What is remembered of sessions.
#[derive(Default)]
pub struct Memory(Mutex<VecDeque<([u8; 32], State)>>);

impl Memory {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<([u8; 32], State)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn get(&self, key: &[u8; 32]) -> Option<State> {
        self.lock().iter().find(|(k, _)| k == key).map(|(_, s)| s.clone())
    }
    fn keep(&self, key: [u8; 32], state: State) {
        let mut all = self.lock();
        if let Some(i) = all.iter().position(|(k, _)| *k == key)
            && let Some((_, old)) = all.remove(i)
            && (old.first, old.until) > (state.first, state.until)
        {
            // Somebody else was faster.
            all.push_back((key, old));
            return;
        }
        if all.len() >= REMEMBERED {
            all.pop_front();
        }
        all.push_back((key, state));
    }
}

/// How often something lies between two fragments, of which so many between them were lost, that players should be told
/// of. As far as it can be known that is as often as while nothing was lost, so that the counts stay.
pub(super) fn cut(cuts: Cuts, a: &Fragment, b: &Fragment, lost: Option<&Count>) -> u64 {
    match (cuts, lost) {
        (Cuts::Always, lost) => 1 + lost.map_or(0, |l| l.all),
        (Cuts::Never, _) => 0,
        (Cuts::Where, None) => u64::from(apart(a, b) || !same_tracks(a, b)),
        (Cuts::Where, Some(_)) => {
            u64::from(a.entry.discontinuities != b.entry.discontinuities || !same_tracks(a, b))
        }
    }
}

fn apart(a: &Fragment, b: &Fragment) -> bool {
    let (end, start) = (a.end(By::Producer), b.start(By::Producer));
    end.since(start) > SEAM || start.since(end) > SEAM
}

fn same_tracks(a: &Fragment, b: &Fragment) -> bool {
    let all = |f: &Fragment| f.entry.tracks.iter().map(|t| (t.id, t.init)).collect::<Vec<_>>();
    all(a) == all(b)
}

/// Whether a fragment goes on in the same run: time does not go back, and tracks are as they were.
pub(super) fn goes_on(a: &Fragment, b: &Fragment) -> bool {
    b.start(By::Producer) > a.start(By::Producer) && same_tracks(a, b)
}

/// What a session shows now.
pub(super) async fn shown(
    video: &Video,
    memory: &Memory,
    stream: &Stream,
    session: &Session,
) -> Result<Shown, VideoError> {
    match session.mode {
        Mode::OnDemand => range(video, stream, session).await,
        Mode::Live | Mode::LiveReplay => slide(video, memory, stream, session).await,
    }
}

/// All of a range. By the producer's clock in its order, and of those that begin together the one with the highest number.
async fn range(video: &Video, stream: &Stream, session: &Session) -> Result<Shown, VideoError> {
    let log = &video.log;
    let (from, to) = (session.from.unwrap_or_default(), session.to.unwrap_or_default());
    let ms = Duration::from_millis(1);
    let q = match session.by {
        By::Producer => Query::Producer(from - ms, to + ms),
        By::Server => Query::Arrival(from - ms, to + LONGEST),
    };
    let ends = (stream.end(log, q, false).await?, stream.end(log, q, true).await?);
    let (Some(first), Some(last)) = ends else { return Ok(Shown { over: true, ..Shown::default() }) };
    let mut items = Vec::new();
    let mut at = first.position();
    let enough = |n: usize| match session.by {
        By::Server => n >= session.most,
        By::Producer => n >= video.config.max_range,
    };
    while at <= last.position() && !enough(items.len()) {
        let page = stream.page(log, at, last.position(), AHEAD).await?;
        let Some(end) = page.last().map(|f| f.position()) else { break };
        items.extend(page.into_iter().filter(|f| session.within(f)));
        at = end.saturating_add(1);
    }
    if session.by == By::Producer {
        items = newest_of_each(items);
    }
    items.truncate(session.most);
    let run = items.first().map(|f| Run { number: 0, first: f.clone() });
    Ok(Shown { items, slid: Slid { run, ..Slid::default() }, over: true, ..Shown::default() })
}

/// By the producer's time, and of those that begin at the same time the one with the highest number.
fn newest_of_each(mut items: Vec<Arc<Fragment>>) -> Vec<Arc<Fragment>> {
    let start = |f: &Fragment| find::round(f.start(By::Producer));
    items.sort_by_key(|f| (start(f), std::cmp::Reverse(number::plain(f))));
    items.dedup_by_key(|f| start(f));
    items
}

async fn slide(
    video: &Video,
    memory: &Memory,
    stream: &Stream,
    session: &Session,
) -> Result<Shown, VideoError> {
    let elapsed = video.world.clock.now().since(session.created);
    let key = access::sha256(&serde_json::to_vec(session).unwrap_or_default());
    let mut state = memory.get(&key).unwrap_or_else(|| State::begin(session.base));
    let mut limit = session.most + AHEAD;
    loop {
        let before = state.first;
        let page = stream.page(&video.log, state.first, u64::MAX, limit).await?;
        let full = page.len() == limit;
        let (items, lost, stop) = fold(session, &mut state, page, elapsed);
        if full && stop.is_none() && limit < video.config.max_range {
            if state.first == before {
                // All of it is older than what is shown.
                limit *= 2;
            }
            continue;
        }
        memory.keep(key, state.clone());
        let last = items.last().map_or(session.from.unwrap_or(session.created), |f| f.end(session.by));
        // What begins before the end is there soon after it, if at all.
        let now = video.world.clock.now();
        let past = session.to.is_some_and(|to| stop.is_none() && now > to + LONGEST && now > last);
        return Ok(Shown { items, slid: state.slid, lost, over: stop == Some(Stop::End) || past });
    }
}

/// Why no more was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Its time has not come.
    Early,
    /// It is beyond the session's end.
    End,
}

/// Takes what a page adds, and lets go of what is too much.
fn fold(
    session: &Session,
    state: &mut State,
    page: Vec<Arc<Fragment>>,
    elapsed: Duration,
) -> (Vec<Arc<Fragment>>, BTreeMap<u64, Count>, Option<Stop>) {
    let mut window: VecDeque<Arc<Fragment>> = VecDeque::new();
    let (mut stop, mut until) = (None, state.until);
    // What was lost before those that are shown, and since the last one of them; what was seen before.
    let (mut all_lost, mut lost, mut before) = (BTreeMap::new(), Count::default(), None::<Arc<Fragment>>);
    // How many were lost before those that are shown.
    let mut told = 0u64;
    for f in page {
        match (before.replace(f.clone()), &state.at) {
            (Some(b), _) => lost.add(&Count::between(&b.entry, &f.entry, false)),
            // The first one that was shown is gone.
            (None, Some(at)) if at.position() != f.position() => {
                let gone = Count::between(&at.entry, &f.entry, true);
                let between = Count { all: gone.all.saturating_sub(1), ..Count::default() };
                let at = at.clone();
                state.pass(session, &at, &f, Some(&between));
                state.slid.gone.add(&gone);
            }
            (None, _) => {}
        }
        if !session.within(&f) {
            let begins = find::start(&f, session.by);
            if session.to.is_some_and(|to| find::round(begins) > find::round(to)) && !state.knows(&f) {
                stop = Some(Stop::End);
                break;
            }
            continue;
        }
        if session.by == By::Producer {
            let start = |f: &Fragment| find::round(f.start(By::Producer));
            let newest = window.back().or(state.slid.before.as_ref()).map(|b| start(b));
            match newest.map(|n| start(&f).cmp(&n)) {
                Some(std::cmp::Ordering::Less) => continue,
                // The highest number plays, unless what it would replace is gone already.
                Some(std::cmp::Ordering::Equal) => {
                    if let Some(back) = window.back_mut() {
                        if let Some(lost) = all_lost.remove(&back.position()) {
                            all_lost.insert(f.position(), lost);
                        }
                        *back = f;
                    }
                    continue;
                }
                _ => {}
            }
        }
        if session.mode == Mode::LiveReplay && !state.knows(&f) {
            // What is lost takes the place that it had.
            let places = window.len() as u64 + told + if window.is_empty() { 0 } else { lost.all };
            let filling = places < session.most as u64 && state.slid.gone.all == 0;
            if !filling {
                if state.due + f.duration() > elapsed {
                    stop = Some(Stop::Early);
                    break;
                }
                state.due += f.duration();
            }
        }
        if state.slid.run.is_none() {
            state.slid.run = Some(Run { number: 0, first: f.clone() });
        }
        let lost = std::mem::take(&mut lost);
        match &state.at {
            // What lies before the first one that was ever shown was not to be.
            _ if lost.all == 0 => {}
            None if window.is_empty() => {}
            Some(_) if window.is_empty() => {
                state.slid.cuts += if session.cuts == Cuts::Always { lost.all } else { 0 };
                state.slid.gone.add(&lost);
                (state.first, state.at) = (f.position(), Some(f.clone()));
            }
            _ => {
                told += lost.all;
                all_lost.insert(f.position(), lost);
            }
        }
        until = until.max(Some(f.position()));
        window.push_back(f);
        // Holes that together are wider than a playlist are not told one by one.
        while (window.len() > session.most || window.len() > 1 && told > session.most as u64)
            && let Some(old) = window.pop_front()
        {
            if let Some(next) = window.front() {
                let lost = all_lost.remove(&next.position());
                told -= lost.as_ref().map_or(0, |l| l.all);
                state.slide(session, old, next, lost.as_ref());
            }
        }
    }
    state.until = until;
    if state.at.is_none()
        && let Some(first) = window.front()
    {
        (state.first, state.at) = (first.position(), Some(first.clone()));
    }
    (window.into(), all_lost, stop)
}

/// The newest fragments.
pub(super) async fn latest(
    video: &Video,
    stream: &Stream,
    most: usize,
) -> Result<Vec<Arc<Fragment>>, VideoError> {
    let all = Query::Positions(0, u64::MAX);
    let found = video.log.readable_payloads(stream.shard, all, most, true).await;
    let (page, _) = found.map_err(|e| stream.log_error(e))?;
    Ok(page.into_iter().filter_map(|p| Fragment::parse(stream, p)).collect())
}

/// When a fragment was there to be played.
pub(super) fn there(f: &Fragment) -> Timestamp {
    find::server_start(f)
}

#[cfg(test)]
mod tests {
    use log::Payload;
    use proptest::{collection::vec, prelude::*};
    use world::{ShardId, StreamUid};

    use super::*;
    use crate::index::{Entry, TrackEntry};

    const UID: StreamUid = StreamUid([1; 16]);
    const CREATED: Timestamp = Timestamp(2_000_000_000_000_000);

    /// A fragment of a second that begins at a second by the producer's clock.
    fn fragment(position: u64, start: i64) -> Arc<Fragment> {
        let at = Timestamp::from_millis(1_700_000_000_000 + start * 1000);
        let second = Duration::from_secs(1);
        let track = TrackEntry::picture(at, 1000, position);
        let payload = Payload {
            shard: ShardId { stream: UID, shard: 0 },
            position,
            arrival: CREATED + second * (position as u32 + 1),
            producer: (at, at + second),
            len: 1,
            index: Default::default(),
            place: Default::default(),
        };
        let number = (CREATED + second * position as u32).micros() as u64;
        let entry =
            Entry { independent: true, number, tracks: vec![track], ordinal: position, ..Entry::default() };
        Arc::new(Fragment { payload, entry })
    }

    fn session(mode: Mode, by: By, most: usize) -> Session {
        let mut s = Session::new("s", UID, mode, by, CREATED);
        (s.most, s.cuts) = (most, Cuts::Always);
        s
    }

    fn begin() -> State {
        State::begin(0)
    }

    /// What is shown of so many fragments: positions, and how many slid out.
    fn look(s: &Session, state: &mut State, all: &[Arc<Fragment>], elapsed: u64) -> (Vec<u64>, u64, u64) {
        let (items, slid, cuts, _) = look_lost(s, state, all, elapsed);
        (items, slid, cuts)
    }

    /// And how many were lost before which of them.
    fn look_lost(
        s: &Session,
        state: &mut State,
        all: &[Arc<Fragment>],
        elapsed: u64,
    ) -> (Vec<u64>, u64, u64, Vec<(u64, u64)>) {
        let page = all.iter().filter(|f| f.position() >= state.first).cloned().collect();
        let (items, lost, _) = fold(s, state, page, Duration::from_secs(elapsed));
        let lost = lost.iter().map(|(p, l)| (*p, l.of(1)));
        (items.iter().map(|f| f.position()).collect(), state.slid.gone.of(1), state.slid.cuts, lost.collect())
    }

    proptest! {
        #[test]
        fn it_is_the_same_however_often_it_was_looked_at(
            steps in vec(-2i64..4, 1..40), most in 1usize..6, looks in vec(any::<bool>(), 40),
            producer in any::<bool>(), replay in any::<bool>(),
        ) {
            let by = if producer { By::Producer } else { By::Server };
            let s = session(if replay { Mode::LiveReplay } else { Mode::Live }, by, most);
            let mut at = 0;
            let all: Vec<_> = steps.iter().enumerate().map(|(n, step)| { at += step; fragment(n as u64, at) }).collect();
            let mut state = begin();
            let mut numbers = std::collections::BTreeMap::new();
            for n in 1..=all.len() {
                if looks[n - 1] {
                    continue;
                }
                let got = look(&s, &mut state, &all[..n], n as u64);
                prop_assert_eq!(&got, &look(&s, &mut begin(), &all[..n], n as u64));
                prop_assert!(got.0.len() <= most && (got.0.len() == most || got.1 == 0));
                // Between any two there is a discontinuity: their count is that of entries.
                prop_assert_eq!(got.1, got.2);
                for (i, p) in got.0.iter().enumerate() {
                    prop_assert_eq!(*numbers.entry(*p).or_insert(got.1 + i as u64), got.1 + i as u64);
                }
                if producer {
                    let starts: Vec<_> = got.0.iter().map(|p| all[*p as usize].start(by)).collect();
                    prop_assert!(starts.is_sorted_by(|a, b| a < b));
                }
            }
        }
    }

    proptest! {
        /// Whatever is lost between looks, a number never comes to name another fragment, nor does a discontinuity's.
        #[test]
        fn numbers_stay_where_fragments_are_lost(
            count in 2usize..40, most in 1usize..6, lost in vec(any::<proptest::sample::Index>(), 0..12),
            when in vec(1usize..40, 12), forget in vec(any::<bool>(), 40),
        ) {
            let s = session(Mode::Live, By::Producer, most);
            let all: Vec<_> = (0..count).map(|n| fragment(n as u64, n as i64)).collect();
            let lost: Vec<_> = lost.iter().zip(&when).map(|(l, at)| (l.index(count) as u64, *at)).collect();
            // After a restart the fold begins at the session's first fragment, which this one does not lose.
            let lost: Vec<_> = lost.into_iter().filter(|(l, _)| *l > 0).collect();
            let mut state = begin();
            for n in 1..=count {
                let there = |f: &&Arc<Fragment>| !lost.iter().any(|(l, at)| f.position() == *l && *at <= n);
                let page: Vec<_> = all[..n].iter().filter(there).cloned().collect();
                if forget[n - 1] {
                    state = begin();
                }
                let (items, slid, cuts, gaps) = look_lost(&s, &mut state, &page, n as u64);
                let told: u64 = gaps.iter().map(|(_, n)| n).sum();
                prop_assert!(items.len() <= most && told <= most as u64);
                let mut number = slid;
                for (i, p) in items.iter().enumerate() {
                    number += gaps.iter().find(|(at, _)| at == p).map_or(0, |(_, n)| *n);
                    prop_assert!(i > 0 || number == slid, "a gap at the beginning");
                    prop_assert_eq!(number, *p);
                    number += 1;
                }
                prop_assert_eq!(slid, cuts);
            }
        }
    }

    #[test]
    fn holes_are_bounded_together() {
        let all = [(0, 0), (3, 3), (6, 6), (7, 7)].map(|(p, at)| fragment(p, at));
        let s = session(Mode::Live, By::Server, 3);
        assert_eq!(look_lost(&s, &mut begin(), &all[..2], 0), (vec![0, 3], 0, 0, vec![(3, 2)]));
        assert_eq!(look_lost(&s, &mut begin(), &all, 0), (vec![3, 6, 7], 3, 3, vec![(6, 2)]));
    }

    #[test]
    fn what_replaces_a_fragment_behind_a_hole_is_behind_it_too() {
        let s = session(Mode::Live, By::Producer, 3);
        let all = [(0, 0), (3, 3), (4, 3), (5, 5), (6, 6)].map(|(p, at)| fragment(p, at));
        let mut state = begin();
        assert_eq!(look_lost(&s, &mut state, &all[..2], 0), (vec![0, 3], 0, 0, vec![(3, 2)]));
        for state in [&mut state, &mut begin()] {
            assert_eq!(look_lost(&s, state, &all[..3], 0), (vec![0, 4], 0, 0, vec![(4, 2)]));
            assert_eq!(look_lost(&s, state, &all, 0), (vec![4, 5, 6], 3, 3, vec![]));
        }
    }

    #[test]
    fn a_replay_adds_one_when_its_time_has_passed() {
        let s = session(Mode::LiveReplay, By::Producer, 2);
        let all: Vec<_> = (0..6).map(|n| fragment(n, n as i64)).collect();
        let mut state = begin();
        let mut at = |elapsed| look(&s, &mut state, &all, elapsed);
        assert_eq!(at(0), (vec![0, 1], 0, 0));
        assert_eq!(at(1), (vec![1, 2], 1, 1));
        assert_eq!(at(1), (vec![1, 2], 1, 1));
        assert_eq!(at(9), (vec![4, 5], 4, 4));
    }

    #[test]
    fn a_replay_does_not_run_ahead_where_something_is_lost() {
        let s = session(Mode::LiveReplay, By::Producer, 5);
        let all: Vec<_> = (0..9).map(|n| fragment(n, n as i64)).collect();
        let mut state = begin();
        let holed: Vec<_> = all.iter().filter(|f| f.position() != 2).cloned().collect();
        assert_eq!(look(&s, &mut state, &holed, 0), (vec![0, 1, 3, 4], 0, 0));
        // Count before the last that it begins with.
        let end: Vec<_> = all.iter().filter(|f| f.position() != 4).cloned().collect();
        assert_eq!(look(&s, &mut begin(), &end, 0), (vec![0, 1, 2, 3], 0, 0));
        // The first is lost once it was shown.
        let mut state = begin();
        assert_eq!(look(&s, &mut state, &all, 0), (vec![0, 1, 2, 3, 4], 0, 0));
        assert_eq!(look(&s, &mut state, &all[1..], 0), (vec![1, 2, 3, 4], 1, 1));
        assert_eq!(look(&s, &mut state, &all[1..], 1), (vec![1, 2, 3, 4, 5], 1, 1));
    }

    #[test]
    fn on_demand_the_newest_of_each_time_in_their_order() {
        let all = [(0, 5), (1, 3), (2, 5), (3, 4), (4, 3)].map(|(p, at)| fragment(p, at));
        let kept: Vec<_> = newest_of_each(all.to_vec()).iter().map(|f| f.position()).collect();
        assert_eq!(kept, [4, 3, 2]);
    }

    #[test]
    fn where_something_lies_between() {
        let (a, b, c) = (fragment(0, 0), fragment(1, 1), fragment(2, 9));
        let cuts = |cuts, a, b| cut(cuts, a, b, None);
        assert_eq!(
            [cuts(Cuts::Where, &b, &c), cuts(Cuts::Where, &a, &b), cuts(Cuts::Where, &c, &a)],
            [1, 0, 1]
        );
        assert_eq!([cuts(Cuts::Always, &a, &b), cuts(Cuts::Never, &b, &c)], [1, 0]);
        // What was lost between them was there.
        let lost = Count { all: 7, ..Count::default() };
        assert_eq!([Cuts::Where, Cuts::Always].map(|c| cut(c, &b, &fragment(9, 9), Some(&lost))), [0, 8]);
        assert!(goes_on(&a, &c) && !goes_on(&c, &a));
    }
}
