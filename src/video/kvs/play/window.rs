//! Which fragments a session shows now.
//!
//! Sessions that slide are a fold over the stream's fragments from the session's first on: so the numbers that playlists
//! count by are the same wherever and whenever they are asked for. Where the fold has got to is remembered for a while,
//! since nobody wants to begin anew for each look at a playlist.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use log::Query;
use world::Timestamp;

use super::session::{Cuts, Mode, Session};
use crate::{
    By, Fragment, Video, VideoError,
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

/// What slid out of a session's playlist.
#[derive(Clone, Debug, Default)]
pub(super) struct Slid {
    /// Fragments that had a track, by the track's id.
    entries: Vec<(u8, u64)>,
    /// Fragments that had any.
    pub all: u64,
    /// Discontinuities up to the first fragment that is shown.
    pub cuts: u64,
    /// The last one.
    before: Option<Arc<Fragment>>,
    /// The run that the first one shown is of.
    pub run: Option<Run>,
}

impl Slid {
    /// How many had a track.
    pub fn of(&self, track: u8) -> u64 {
        self.entries.iter().find(|(id, _)| *id == track).map_or(0, |(_, n)| *n)
    }

    fn push(&mut self, f: Arc<Fragment>) {
        self.all += u64::from(f.entry.tracks.iter().any(|t| t.mp4));
        for t in f.entry.tracks.iter().filter(|t| t.mp4) {
            match self.entries.iter_mut().find(|(id, _)| *id == t.id) {
                Some((_, n)) => *n += 1,
                None => self.entries.push((t.id, 1)),
            }
        }
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
    /// Nothing will be added.
    pub over: bool,
}

/// How far the fold of a session has got.
#[derive(Clone, Debug)]
struct State {
    /// The position of the first fragment that is shown.
    first: u64,
    /// How many are shown that were shown before.
    shown: usize,
    /// What those that were added one by one last, of a session that replays.
    due: Duration,
    slid: Slid,
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
            && (old.first, old.shown) > (state.first, state.shown)
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

/// Whether something lies between two fragments that players should be told of.
pub(super) fn cut(cuts: Cuts, a: &Fragment, b: &Fragment) -> bool {
    match cuts {
        Cuts::Always => true,
        Cuts::Never => false,
        Cuts::Where => apart(a, b) || !same_tracks(a, b),
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
    Ok(Shown { items, slid: Slid { run, ..Slid::default() }, over: true })
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
    let begin = || State { first: session.base, shown: 0, due: Duration::ZERO, slid: Slid::default() };
    let mut state = memory.get(&key).unwrap_or_else(begin);
    let mut limit = session.most + AHEAD;
    loop {
        let before = state.first;
        let page = stream.page(&video.log, state.first, u64::MAX, limit).await?;
        let full = page.len() == limit;
        let (items, stop) = fold(session, &mut state, page, elapsed);
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
        return Ok(Shown { items, slid: state.slid, over: stop == Some(Stop::End) || past });
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
) -> (Vec<Arc<Fragment>>, Option<Stop>) {
    let mut window: VecDeque<Arc<Fragment>> = VecDeque::new();
    let (mut stop, mut known) = (None, state.shown);
    for f in page {
        if !session.within(&f) {
            let begins = find::start(&f, session.by);
            if session.to.is_some_and(|to| find::round(begins) > find::round(to)) && known == 0 {
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
                        *back = f;
                    }
                    continue;
                }
                _ => {}
            }
        }
        if known > 0 {
            known -= 1;
        } else if session.mode == Mode::LiveReplay {
            let filling = window.len() < session.most && state.slid.before.is_none();
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
        window.push_back(f);
        while window.len() > session.most
            && let Some(old) = window.pop_front()
        {
            if let Some(next) = window.front() {
                state.slid.cuts += u64::from(cut(session.cuts, &old, next));
                if let Some(run) = state.slid.run.as_mut().filter(|_| !goes_on(&old, next)) {
                    *run = Run { number: run.number + 1, first: next.clone() };
                }
                state.first = next.position();
            }
            state.slid.push(old);
        }
    }
    state.shown = window.len();
    (window.into(), stop)
}

/// The newest fragments.
pub(super) async fn latest(
    video: &Video,
    stream: &Stream,
    most: usize,
) -> Result<Vec<Arc<Fragment>>, VideoError> {
    let all = Query::Positions(0, u64::MAX);
    let page = video.log.payloads(stream.shard, all, most, true).await.map_err(|e| stream.log_error(e))?;
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
    use crate::index::{Entry, InitHash, TrackEntry};

    const UID: StreamUid = StreamUid([1; 16]);
    const CREATED: Timestamp = Timestamp(2_000_000_000_000_000);

    /// A fragment of a second that begins at a second by the producer's clock.
    fn fragment(position: u64, start: i64) -> Arc<Fragment> {
        let at = Timestamp::from_millis(1_700_000_000_000 + start * 1000);
        let second = Duration::from_secs(1);
        let track = TrackEntry {
            id: 1,
            video: true,
            mp4: true,
            rewrite: false,
            init: InitHash(7),
            timescale: 1000,
            first_dts: at.millis(),
            first_cts: 0,
            duration: 1000,
            ordinal: position,
            samples: 1,
            bytes: 1,
        };
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
        State { first: 0, shown: 0, due: Duration::ZERO, slid: Slid::default() }
    }

    /// What is shown of so many fragments: positions, and how many slid out.
    fn look(s: &Session, state: &mut State, all: &[Arc<Fragment>], elapsed: u64) -> (Vec<u64>, u64, u64) {
        let page = all.iter().filter(|f| f.position() >= state.first).cloned().collect();
        let (items, _) = fold(s, state, page, Duration::from_secs(elapsed));
        (items.iter().map(|f| f.position()).collect(), state.slid.of(1), state.slid.cuts)
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
    fn on_demand_the_newest_of_each_time_in_their_order() {
        let all = [(0, 5), (1, 3), (2, 5), (3, 4), (4, 3)].map(|(p, at)| fragment(p, at));
        let kept: Vec<_> = newest_of_each(all.to_vec()).iter().map(|f| f.position()).collect();
        assert_eq!(kept, [4, 3, 2]);
    }

    #[test]
    fn where_something_lies_between() {
        let (a, b, c) = (fragment(0, 0), fragment(1, 1), fragment(2, 9));
        assert!(cut(Cuts::Where, &b, &c) && !cut(Cuts::Where, &a, &b) && cut(Cuts::Where, &c, &a));
        assert!(cut(Cuts::Always, &a, &b) && !cut(Cuts::Never, &b, &c));
        assert!(goes_on(&a, &c) && !goes_on(&c, &a));
    }
}
