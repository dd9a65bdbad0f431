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
fn a_replay_waits_for_what_was_lost_before_it_was_shown() {
    let s = session(Mode::LiveReplay, By::Producer, 2);
    let all: Vec<_> = (0..20).filter(|n| ![3, 4].contains(n)).map(|n| fragment(n, n as i64)).collect();
    let mut state = begin();
    let mut last = |elapsed| {
        let got = look(&s, &mut state, &all, elapsed);
        assert_eq!(got, look(&s, &mut begin(), &all, elapsed), "as often as it was looked at");
        got.0.last().copied()
    };
    let shown: Vec<_> = (0..7).map(|elapsed| last(elapsed).unwrap()).collect();
    assert_eq!(shown, [1, 2, 2, 2, 5, 6, 7]);
    // Of a hole that is wider than a playlist so much.
    let all: Vec<_> = [0, 1, 2, 50, 51].map(|n| fragment(n, n as i64)).into();
    let last = |elapsed| look(&s, &mut begin(), &all, elapsed).0.last().copied().unwrap();
    assert_eq!([1, 3, 4, 5].map(last), [2, 2, 50, 51]);
    // Of what was shown nothing is left: it goes on.
    let mut state = begin();
    assert_eq!(look(&s, &mut state, &all, 1).0, [1, 2]);
    assert_eq!(look(&s, &mut state, &all[3..], 2).0, [50]);
}

#[test]
fn a_replay_waits_for_time_that_is_lost_and_for_no_pause() {
    let s = session(Mode::LiveReplay, By::Producer, 1);
    let of = |at: i64, discontinuities| {
        let mut f = Arc::unwrap_or_clone(fragment(2, at));
        f.entry.discontinuities = discontinuities;
        [fragment(0, 0), Arc::new(f)]
    };
    let when = |all: &[Arc<Fragment>]| (0..99).find(|t| look(&s, &mut begin(), all, *t).0 == [2]);
    // One that was lost and lasted for five seconds; and one about whose length nothing is known.
    assert_eq!((when(&of(6, 0)), when(&of(60, 1))), (Some(6), Some(2)));
}

proptest! {
    /// Whatever is lost, and whenever, but for all that is shown: a replay is never ahead of its time, nor behind it.
    #[test]
    fn a_replay_keeps_its_pace(
        count in 2u64..40, most in 4usize..9, lost in vec(any::<proptest::sample::Index>(), 0..4),
        when in vec(0u64..40, 4), forget in vec(any::<bool>(), 41),
    ) {
        let s = session(Mode::LiveReplay, By::Producer, most);
        let all: Vec<_> = (0..count).map(|n| fragment(n, n as i64)).collect();
        let lost: Vec<_> = lost.iter().zip(&when).map(|(l, at)| (l.index(count as usize) as u64, *at)).collect();
        let lost: Vec<_> = lost.into_iter().filter(|(l, _)| *l > 0).collect();
        let mut state = begin();
        for elapsed in 0..=count {
            if forget[elapsed as usize] {
                state = begin();
            }
            let there = |f: &&Arc<Fragment>| !lost.iter().any(|(l, at)| f.position() == *l && *at <= elapsed);
            let page: Vec<_> = all.iter().filter(there).cloned().collect();
            let until = most as u64 - 1 + elapsed;
            let want = page.iter().map(|f| f.position()).filter(|p| *p <= until).max();
            prop_assert_eq!(look(&s, &mut state, &page, elapsed).0.last().copied(), want);
        }
    }
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
    assert_eq!([cuts(Cuts::Where, &b, &c), cuts(Cuts::Where, &a, &b), cuts(Cuts::Where, &c, &a)], [1, 0, 1]);
    assert_eq!([cuts(Cuts::Always, &a, &b), cuts(Cuts::Never, &b, &c)], [1, 0]);
    // What was lost between them was there.
    let lost = Count { all: 7, ..Count::default() };
    assert_eq!([Cuts::Where, Cuts::Always].map(|c| cut(c, &b, &fragment(9, 9), Some(&lost))), [0, 8]);
    assert!(goes_on(&a, &c) && !goes_on(&c, &a));
}
