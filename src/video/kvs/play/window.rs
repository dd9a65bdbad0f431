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

use super::{
    count::{Count, Hole},
    session::{Cuts, Mode, Session},
};
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
        self.gone.add(&Count::one(&f.entry));
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
    /// The last one that was shown.
    until: Option<Arc<Fragment>>,
    /// What those that were added one by one last, of a session that replays, with what was lost between them.
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
        self.until.as_ref().is_some_and(|until| f.position() <= until.position())
    }

    /// For comparing two of one session.
    fn got_to(&self) -> (u64, Option<u64>) {
        (self.first, self.until.as_ref().map(|f| f.position()))
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
            && old.got_to() > state.got_to()
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
    let mut stop = None;
    // The last that was shown; and of what was never shown before the last that was seen, and what was lost before it.
    let mut until = state.until.clone();
    let (mut seen, mut hole) = (until.clone(), Hole::default());
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
        if !state.knows(&f)
            && let Some(seen) = seen.replace(f.clone())
        {
            hole.add(&seen, &f);
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
            // What is lost takes the place that it had, and the time; but nobody waits for more than a playlist's worth of it,
            // nor before a playlist of which nothing is left.
            let places = window.len() as u64 + told + if window.is_empty() { 0 } else { lost.all };
            let most = session.most as u64;
            let filling = places < most && state.slid.gone.all == 0;
            if !filling {
                let free = match state.slid.gone.all {
                    _ if window.is_empty() => u64::MAX,
                    0 => most.saturating_sub(places.saturating_sub(hole.all)),
                    _ => 0,
                };
                let due = state.due + hole.of(hole.all.saturating_sub(free).min(most)) + f.duration();
                if due > elapsed {
                    stop = Some(Stop::Early);
                    break;
                }
                state.due = due;
            }
            hole = Hole::default();
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
        if until.as_ref().is_none_or(|u| u.position() < f.position()) {
            until = Some(f.clone());
        }
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
mod tests;
