//! Pictures' packets that overtook others: held until those are there, or have to be asked for.
//!
//! `str0m` asks for whatever is not there yet, every 33 ms and five times in all, and neither asks for nor takes what is a hundred
//! packets behind the newest. With as much jitter as there is on a mobile network, most of what it asks for is merely late: the publisher
//! sends twice and three times what its link does not carry once, or stops to answer. So packets come to it in order, as long as
//! the network's own reordering lasts, and it asks when it is told to.
//!
//! Nothing is dropped here. What this believes of packets that nobody has checked yet (sequence numbers are not encrypted) can
//! delay others, by no more than [`PATIENCE`] and [`BLOCKS`].

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::net::Protocol;

/// The longest that a packet is held because one before it may be late.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);
/// How long what is missing is asked for.
pub(crate) const GIVE_UP: Duration = Duration::from_millis(600);
/// As late as the latest of so long a time packets are believed to be, and of one such time before.
const MEMORY: Duration = Duration::from_secs(5);
/// Later by so much, even.
const MARGIN: Duration = Duration::from_millis(5);
/// A missing packet is asked for again after the time that an answer takes, within these bounds: sooner, the publisher would send
/// it twice. `str0m` does nothing sooner than the lower one.
const AGAIN: (Duration, Duration) = (Duration::from_millis(34), Duration::from_millis(160));
/// How long an answer is believed to take at first.
const ANSWER: Duration = Duration::from_millis(100);
/// For so long others are held because one that is missing would else not be asked for any more: were it much longer, a stream of
/// many packets would be held up more and more.
const BLOCKS: Duration = Duration::from_millis(100);
/// `str0m` asks for what is so many packets behind the newest, and a few more.
const WINDOW: u64 = 96;
/// As many times it asks, at most.
const TIMES: u32 = 5;
/// The slowest pace of packets that is told from others: so long for [`WINDOW`] of them.
const SLOW: Duration = Duration::from_secs(1);
/// A leap by more is a sender that began anew.
const LEAP: u16 = 1000;
/// Packets held at most.
const MOST: usize = 1024;
/// Missing packets remembered.
const HOLES: usize = 1024;
/// Sources of pictures: more are not put in order.
const SOURCES: usize = 4;

/// A packet, as it came.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) at: Instant,
    pub(crate) protocol: Protocol,
    pub(crate) source: SocketAddr,
    pub(crate) data: Vec<u8>,
}

/// What is held of one publisher.
#[derive(Debug)]
pub(crate) struct Early {
    /// Payload types of pictures that can be asked for again, and of what is sent again (RFC 4588 §4).
    kinds: Vec<(u8, u8)>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// What was before it has been handed on, or is missing; none before the first.
    next: Option<u64>,
    /// The newest, after which others are numbered.
    newest: u64,
    /// By number, and the order in which they came.
    held: BTreeMap<(u64, u64), Held>,
    count: u64,
    /// When those that are held came, oldest first; some may have gone.
    arrivals: VecDeque<(Instant, u64, u64)>,
    missing: BTreeMap<u64, Hole>,
    lateness: Lateness,
    asked: Option<Instant>,
    /// How long answers take.
    answer: Duration,
    /// How long it takes until what is missing is outside of the window, and since when that is measured from which number on.
    pace: Duration,
    paced: Option<(Instant, u64)>,
    /// A packet of it was taken.
    known: bool,
}

#[derive(Debug)]
struct Hole {
    /// When a later one came.
    noticed: Instant,
    /// From when on it was asked for.
    asked: Instant,
    filled: bool,
}

/// How late packets come.
#[derive(Debug, Default)]
struct Lateness {
    most: [Duration; 2],
    turned: Option<Instant>,
}

impl Lateness {
    fn note(&mut self, late: Duration, now: Instant) {
        self.turn(now);
        self.most[0] = self.most[0].max(late);
    }

    fn turn(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        let gone = now.saturating_duration_since(turned);
        if gone >= MEMORY {
            self.turned = Some(now);
            self.most = [Duration::ZERO, if gone < 2 * MEMORY { self.most[0] } else { Duration::ZERO }];
        }
    }

    fn patience(&self) -> Duration {
        (self.most[0].max(self.most[1]) + MARGIN).min(PATIENCE)
    }
}

impl Early {
    pub(crate) fn new(kinds: Vec<(u8, u8)>) -> Early {
        Early { kinds, sources: Vec::new() }
    }

    /// Whether a packet is one to be put in order.
    pub(crate) fn is_picture(&self, data: &[u8]) -> bool {
        let Some((ssrc, _)) = self.picture(data) else { return false };
        self.sources.len() < SOURCES || self.sources.iter().any(|s| s.ssrc == ssrc)
    }

    /// Takes such a packet; [`Early::pop`] gives it out again.
    pub(crate) fn push(&mut self, held: Held) {
        let Some((ssrc, seq)) = self.picture(&held.data) else { return };
        let at = self.sources.iter().position(|s| s.ssrc == ssrc).unwrap_or_else(|| {
            self.sources.push(Source::new(ssrc, seq));
            self.sources.len() - 1
        });
        self.sources[at].push(seq, held);
    }

    /// A picture's source and sequence number (RFC 3550 §5.1).
    fn picture(&self, data: &[u8]) -> Option<(u32, u16)> {
        let head: &[u8; 12] = data.first_chunk()?;
        let is = head[0] >> 6 == 2 && self.kinds.iter().any(|k| k.0 == head[1] & 0x7f);
        let ssrc = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        is.then(|| (ssrc, u16::from_be_bytes([head[2], head[3]])))
    }

    /// The next that may be handed on.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Held> {
        let full = self.sources.iter().map(|s| s.held.len()).sum::<usize>() > MOST;
        self.sources.iter_mut().find_map(|s| s.pop(now, full))
    }

    /// When there will be something to do, unless something comes.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.sources.iter().flat_map(|s| [s.ready().map(|r| r.1), s.asks()]).flatten().min()
    }

    /// A source of which what is missing is to be asked for now.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<u32> {
        self.sources.iter_mut().find_map(|s| s.ask(now).then_some(s.ssrc))
    }

    /// The payload type of what is sent again by this one.
    pub(crate) fn again(&self, kind: u8) -> Option<u8> {
        self.kinds.iter().find(|k| k.1 == kind).map(|k| k.0)
    }

    /// Whether a packet was asked for, and is still missing.
    pub(crate) fn misses(&self, ssrc: u32, seq: u16) -> bool {
        self.sources.iter().find(|s| s.ssrc == ssrc).is_some_and(|s| s.misses(seq))
    }

    /// A packet was taken, whether it came by itself or again. True: it is the first of its source.
    pub(crate) fn taken(&mut self, ssrc: u32, seq: u16, now: Instant) -> bool {
        self.sources.iter_mut().find(|s| s.ssrc == ssrc).is_some_and(|s| s.taken(seq, now))
    }
}

impl Source {
    fn new(ssrc: u32, seq: u16) -> Source {
        Source {
            ssrc,
            next: None,
            // Far enough from zero for what came before.
            newest: 1 << 16 | u64::from(seq),
            held: BTreeMap::new(),
            count: 0,
            arrivals: VecDeque::new(),
            missing: BTreeMap::new(),
            lateness: Lateness::default(),
            asked: None,
            answer: ANSWER,
            pace: SLOW,
            paced: None,
            known: false,
        }
    }

    /// A number that does not wrap: the nearest to the newest, or a leap ahead of it.
    fn number(&self, seq: u16) -> u64 {
        let ahead = seq.wrapping_sub(self.newest as u16);
        match ahead as i16 {
            near if near.unsigned_abs() <= LEAP => self.newest.saturating_add_signed(near.into()),
            _ => self.newest + u64::from(ahead),
        }
    }

    fn push(&mut self, seq: u16, held: Held) {
        let (n, now) = (self.number(seq), held.at);
        self.lateness.turn(now);
        if n > self.newest + u64::from(LEAP) {
            // What is held of before has lower numbers, and goes now.
            self.missing.clear();
            self.next = Some(n);
        }
        self.newest = self.newest.max(n);
        let (since, from) = *self.paced.get_or_insert((now, n));
        if self.newest >= from + WINDOW {
            let took = now.saturating_duration_since(since).min(SLOW);
            self.pace = (self.pace * 3 + took) / 4;
            self.paced = Some((now, self.newest));
        }
        let overtaken = self.arrivals.iter().find(|a| a.1 > n).map(|a| a.0);
        if let Some(since) = self.missing.get(&n).map(|h| h.noticed).or(overtaken) {
            self.lateness.note(now.saturating_duration_since(since), now);
        }
        self.count += 1;
        self.arrivals.push_back((now, n, self.count));
        self.held.insert((n, self.count), held);
    }

    /// When the first of those that are held came.
    fn first(&self) -> Option<Instant> {
        self.arrivals.front().map(|a| a.0)
    }

    /// The next to be handed on, and when.
    fn ready(&self) -> Option<((u64, u64), Instant)> {
        let (key, held) = self.held.first_key_value()?;
        let first = self.first().unwrap_or(held.at);
        let mut at = match self.next {
            // At once, or sound, which is not held, would have begun without it.
            None => first,
            Some(next) if key.0 > next => first + self.lateness.patience(),
            Some(_) => held.at,
        };
        // What is missing would not be asked for any more.
        let behind = self.missing.iter().take_while(|(n, _)| **n + WINDOW <= key.0);
        if let Some(until) = behind.filter(|(_, h)| !h.filled).map(|(_, h)| h.asked + BLOCKS).max() {
            at = at.max(until);
        }
        Some((*key, at))
    }

    fn pop(&mut self, now: Instant, full: bool) -> Option<Held> {
        let (key, at) = self.ready()?;
        if at > now && !full {
            return None;
        }
        let held = self.held.remove(&key)?;
        let next = self.next.unwrap_or(key.0);
        if key.0 > next {
            let noticed = self.first().unwrap_or(now);
            // Of a long gap what str0m can ask for.
            for n in next.max(key.0.saturating_sub(WINDOW))..key.0 {
                self.missing.insert(n, Hole { noticed, asked: now, filled: false });
            }
        }
        self.next = Some(next.max(key.0 + 1));
        while self.arrivals.front().is_some_and(|a| !self.held.contains_key(&(a.1, a.2))) {
            self.arrivals.pop_front();
        }
        let old = |h: &Hole| now.saturating_duration_since(h.asked) >= 2 * GIVE_UP;
        while self.missing.len() > HOLES || self.missing.first_key_value().is_some_and(|(_, h)| old(h)) {
            self.missing.pop_first();
        }
        Some(held)
    }

    /// When to ask, if something is missing.
    fn asks(&self) -> Option<Instant> {
        // The newest is asked for longest.
        let last = self.missing.values().rev().find(|h| !h.filled)?.asked;
        let at = self.asked.map_or(last, |a| a + self.again()).max(last);
        (at < last + GIVE_UP).then_some(at)
    }

    /// How long to wait before asking again: as many times as can be, while `str0m` still asks.
    fn again(&self) -> Duration {
        let each = (self.pace + BLOCKS) / TIMES;
        self.answer.min(each).clamp(AGAIN.0, AGAIN.1)
    }

    fn ask(&mut self, now: Instant) -> bool {
        let asks = self.asks().is_some_and(|at| at <= now);
        if asks {
            self.asked = Some(now);
        }
        asks
    }

    fn misses(&self, seq: u16) -> bool {
        self.missing.get(&self.number(seq)).is_some_and(|h| !h.filled)
    }

    fn taken(&mut self, seq: u16, now: Instant) -> bool {
        let n = self.number(seq);
        if let Some(hole) = self.missing.get_mut(&n)
            && !std::mem::replace(&mut hole.filled, true)
        {
            let took = now.saturating_duration_since(hole.asked);
            self.answer = (self.answer * 7 + took) / 8;
        }
        !std::mem::replace(&mut self.known, true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn held(seq: u16, at: Instant) -> Held {
        let [a, b] = seq.to_be_bytes();
        let data = vec![0x80, 96, a, b, 0, 0, 0, 0, 0, 0, 0, 7];
        Held { at, protocol: Protocol::Udp, source: ([192, 0, 2, 2], 5000).into(), data }
    }

    fn seq(h: &Held) -> u16 {
        u16::from_be_bytes([h.data[2], h.data[3]])
    }

    /// Gives packets in at their times (milliseconds), and takes what may go each millisecond: when and what; and when was asked.
    fn run(early: &mut Early, mut packets: Vec<(u32, u16)>, until: u32) -> (Vec<(u32, u16)>, Vec<u32>) {
        let begun = crate::checks::instants().now();
        packets.sort_by_key(|p| p.0);
        let (mut out, mut asked, mut next) = (Vec::new(), Vec::new(), packets.into_iter().peekable());
        for ms in 0..until {
            let now = begun + MS * ms;
            while let Some((_, s)) = next.next_if(|p| p.0 <= ms) {
                early.push(held(s, now));
            }
            while let Some(h) = early.pop(now) {
                early.taken(7, seq(&h), now);
                out.push((ms, seq(&h)));
            }
            if early.ask(now).is_some() {
                asked.push(ms);
            }
            assert!(early.next().is_none_or(|n| n > now), "it would be woken at once, for ever");
        }
        (out, asked)
    }

    #[test]
    fn what_is_late_is_waited_for_and_what_is_lost_is_asked_for() {
        // Every 10 ms a packet, each of them late by up to 200 ms; the one of 7 s is lost.
        let late = |n: u32| n * 7919 % 200;
        let packets: Vec<(u32, u16)> =
            (0..1000u32).filter(|n| *n != 700).map(|n| (10 * n + late(n), (65_000 + n) as u16)).collect();
        let mut early = Early::new(vec![(96, 97)]);
        let (out, asked) = run(&mut early, packets, 12_000);
        let wanted: Vec<u16> = (0..1000u32).filter(|n| *n != 700).map(|n| (65_000 + n) as u16).collect();
        let learnt = |o: &&(u32, u16)| o.0 > 1_000;
        let got: Vec<u16> = out.iter().filter(learnt).map(|o| o.1).collect();
        assert_eq!(
            got,
            wanted[wanted.len() - got.len()..],
            "they come out in order once it is known how late they are"
        );
        assert_eq!(out.len(), wanted.len());
        let asked: Vec<u32> = asked.into_iter().filter(|ms| *ms > 1_000).collect();
        let (first, last) = (asked[0], *asked.last().unwrap());
        assert!((7_000..7_500).contains(&first) && last < first + 600, "asked at {asked:?}");
        assert!(asked.windows(2).all(|w| w[1] - w[0] >= 34), "asked at {asked:?}");
    }

    #[test]
    fn on_a_good_network_a_loss_is_asked_for_at_once_and_nothing_else_waits() {
        let packets = (0..200u32).filter(|n| *n != 100).map(|n| (200 + 10 * n, n as u16)).collect();
        let mut early = Early::new(vec![(96, 97)]);
        let (out, asked) = run(&mut early, packets, 3_000);
        let after: Vec<_> = out.iter().filter(|o| o.0 > 400).collect();
        assert!(after.iter().all(|o| o.0 <= 200 + 10 * u32::from(o.1) + 5), "{after:?}");
        assert_eq!(asked[0], 200 + 1010 + 5);
    }

    #[test]
    fn nothing_gets_so_far_ahead_at_once_that_what_is_missing_would_not_be_asked_for() {
        let packets = (0..800u32).filter(|n| *n != 100).map(|n| (200 + n, n as u16)).collect();
        let mut early = Early::new(vec![(96, 97)]);
        let (out, _) = run(&mut early, packets, 3_000);
        let given_up = out.iter().find(|o| u64::from(o.1) >= 100 + WINDOW).unwrap().0;
        assert_eq!(given_up, 200 + 101 + 5 + 100);
        assert_eq!(out.len(), 799);
    }

    #[test]
    fn the_more_packets_there_are_the_sooner_is_asked_again() {
        for (every, within) in [(1, 34..70), (12, 100..101)] {
            let packets = (0..1200u32).filter(|n| *n != 1100).map(|n| (200 + every * n, n as u16)).collect();
            let (_, asked) = run(&mut Early::new(vec![(96, 97)]), packets, 200 + every * 1200 + 1000);
            assert!(asked.len() > 4, "{asked:?}");
            assert!(asked.windows(2).all(|w| within.contains(&(w[1] - w[0]))), "{asked:?}");
        }
    }

    #[test]
    fn what_is_sent_again_is_missed_until_it_is_there() {
        let packets = (0..300u32).filter(|n| *n != 100).map(|n| (200 + n, n as u16)).collect();
        let mut early = Early::new(vec![(96, 97)]);
        run(&mut early, packets, 700);
        assert_eq!((early.again(97), early.again(96)), (Some(96), None));
        assert!(early.misses(7, 100) && !early.misses(7, 99) && !early.misses(8, 100));
        early.taken(7, 100, crate::checks::instants().now());
        assert!(!early.misses(7, 100));
    }

    proptest! {
        #[test]
        fn whatever_comes_goes_and_memory_is_bounded(
            packets in prop::collection::vec((0u32..500, prop_oneof![any::<u16>(), 0u16..300]), 0..2500),
        ) {
            let mut early = Early::new(vec![(96, 97)]);
            let begun = crate::checks::instants().now();
            let (mut count, mut at) = (0, 0);
            for (gap, s) in &packets {
                at += gap / 100;
                let now = begun + MS * at;
                early.push(held(*s, now));
                while early.pop(now).is_some() {
                    count += 1;
                }
                early.ask(now);
                let waiting: usize = early.sources.iter().map(|s| s.held.len()).sum();
                prop_assert!(waiting <= MOST);
                prop_assert!(early.sources.iter().all(|s| s.missing.len() <= HOLES + WINDOW as usize));
            }
            let mut now = begun + MS * at;
            while let Some(next) = early.next() {
                now = now.max(next);
                while early.pop(now).is_some() {
                    count += 1;
                }
                early.ask(now);
            }
            prop_assert!(now <= begun + MS * at + packets.len() as u32 * (PATIENCE + GIVE_UP), "it ends");
            prop_assert_eq!(count, packets.len(), "all that came has gone on");
        }
    }
}
