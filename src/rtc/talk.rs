//! What a storage session's viewers say, on its way to the master: of who has the floor, and of who else speaks what is mixed
//! into that ([`Room`]).
//!
//! Who speaks while nobody does has the floor, and keeps it until there is a pause. All that follows from it, silence too, goes
//! on as it came unless others speak, too; only numbers and times are made one line of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use str0m::{
    format::Codec,
    media::{MediaData, MediaKind, Mid, Pt},
    rtp::{RtpWrite, SeqNo},
};
use tokio::sync::mpsc;

use crate::{
    peer::Peer,
    room::{PAUSE, Room},
};

/// Besides who was silent for a [`PAUSE`], he has the floor no more, if another speaks, who spoke for so long without a pause: that may be noise.
const LONGEST: Duration = Duration::from_secs(10);
/// As loud as speech, in decibels below the loudest that there is (RFC 6464 §3).
const SPEECH: i8 = -50;
/// Opus says nothing in so few bytes (RFC 7587 §3.1.3): what is left of silence, from who tells no level.
const SILENCE: usize = 3;
/// Packets that wait for the master: some tenths of a second.
const WAITING: usize = 32;
/// More than Opus ever is at the rates of speech and music; the rest of what a packet carries is headers.
const LARGEST: usize = 1_100;
/// Ticks a second (RFC 7587 §4.1).
const RATE: u64 = 48_000;
/// A packet's worth of them.
const PACKET: u32 = 960;
/// A sender's times leap if they are so far from the server's.
const LEAP: Duration = Duration::from_secs(2);
/// Nobody's turn.
const NOBODY: u64 = u64::MAX;
/// Packets that may be missing between two of a sender's.
const GAP: u64 = 50;

/// A packet of Opus, as a viewer sent it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// The same for all that is said until another has the floor.
    turn: u64,
    pub(crate) who: Arc<str>,
    /// Its number in the [`Room`], if it speaks.
    pub(crate) voice: Option<u32>,
    seq: u64,
    time: u32,
    pub(crate) data: Arc<[u8]>,
}

#[cfg(test)]
impl Said {
    pub(crate) fn of(who: &str, seq: u64, time: u32, data: &[u8]) -> Said {
        Said { turn: 0, who: who.into(), voice: None, seq, time, data: data.into() }
    }
}

/// Whose turn it is.
#[derive(Debug, Default)]
struct Floor {
    holder: Option<Holder>,
    turn: u64,
}

#[derive(Debug)]
struct Holder {
    who: String,
    /// When it spoke last, and since when without a pause.
    spoke: Option<(Instant, Instant)>,
}

impl Floor {
    /// Whether what `who` says now is heard; the turn that it belongs to.
    fn takes(&mut self, who: &str, speaks: bool, now: Instant) -> Option<u64> {
        let since = |t: Instant| now.saturating_duration_since(t);
        let free = match &self.holder {
            Some(h) if h.who == who => false,
            Some(h) => {
                speaks && h.spoke.is_none_or(|(last, begun)| since(last) > PAUSE || since(begun) > LONGEST)
            }
            None => true,
        };
        if free {
            self.turn += 1;
            self.holder = Some(Holder { who: who.into(), spoke: None });
        }
        let holder = self.holder.as_mut().filter(|h| h.who == who)?;
        if speaks {
            let begun = holder.spoke.filter(|s| since(s.0) <= PAUSE).map_or(now, |s| s.1);
            holder.spoke = Some((now, begun));
        }
        Some(self.turn)
    }
}

struct Listener {
    id: u64,
    to: mpsc::Sender<Said>,
    floor: Floor,
    room: Room,
}

struct Viewer {
    /// Its session's id.
    who: Arc<str>,
    to: mpsc::Sender<Option<Said>>,
}

#[derive(Default)]
struct Inner {
    serial: u64,
    /// By stream.
    masters: HashMap<String, Listener>,
    /// By stream: viewers of one that has no sound, who hear each other beside it.
    viewers: HashMap<String, Vec<Viewer>>,
}

/// The masters that listen. Cloning is cheap.
#[derive(Clone, Default)]
pub(crate) struct Talks(Arc<Mutex<Inner>>);

/// What viewers say, for a master; until this is dropped.
pub(crate) struct Hears {
    talks: Talks,
    stream: String,
    id: u64,
    said: mpsc::Receiver<Said>,
}

/// What other viewers say, for a viewer of a stream that has no sound; until this is dropped.
pub(crate) struct Overhears {
    talks: Talks,
    stream: String,
    who: Arc<str>,
    said: mpsc::Receiver<Option<Said>>,
}

impl Talks {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream's master listens from now on, in place of another that did.
    pub(crate) fn listen(&self, stream: &str) -> Hears {
        let (to, said) = mpsc::channel(WAITING);
        let mut t = self.lock();
        t.serial += 1;
        let id = t.serial;
        t.masters.insert(stream.into(), Listener { id, to, floor: Floor::default(), room: Room::default() });
        Hears { talks: self.clone(), stream: stream.into(), id, said }
    }

    /// A viewer hears what other viewers say from now on.
    pub(crate) fn overhear(&self, stream: &str, who: &str) -> Overhears {
        let (to, said) = mpsc::channel(WAITING);
        let who: Arc<str> = who.into();
        self.lock().viewers.entry(stream.into()).or_default().push(Viewer { who: who.clone(), to });
        Overhears { talks: self.clone(), stream: stream.into(), who, said }
    }

    /// A viewer of a stream says something. It is gone if nobody listens.
    pub(crate) fn say(&self, stream: &str, who: &str, said: &MediaData, now: Instant) {
        if said.params.spec().codec != Codec::Opus || said.data.is_empty() || said.data.len() > LARGEST {
            return;
        }
        let speaks = match said.ext_vals.audio_level {
            Some(level) => level > SPEECH,
            None => said.data.len() > SILENCE,
        };
        // The wire's 32 bits of what `str0m` counts on.
        let (seq, time) = (**said.seq_range.start(), said.time.numer() as u32);
        let said = Said { turn: 0, who: who.into(), voice: None, seq, time, data: said.data.clone() };
        self.hear(stream, speaks, said, now);
    }

    pub(crate) fn hear(&self, stream: &str, speaks: bool, said: Said, now: Instant) {
        let mut t = self.lock();
        let Some(master) = t.masters.get_mut(stream) else { return };
        let voice = master.room.say(&said.who, speaks, &said.data, now);
        let Some(turn) = master.floor.takes(&said.who, speaks, now) else { return };
        // Fails when the master does not keep up.
        let _ = master.to.try_send(Said { turn, voice, ..said });
    }

    /// What a viewer hears in place of what is stored, if that has its own voice in it.
    pub(crate) fn instead(&self, stream: &str, who: &str, stored: &[u8]) -> Option<Bytes> {
        self.lock().masters.get(stream)?.room.instead(who, stored)
    }
}

impl Hears {
    /// What is said next; `None` once another listens. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        self.said.recv().await
    }

    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Result<Said, mpsc::error::TryRecvError> {
        self.said.try_recv()
    }

    /// Those who speak to this master; `None` once they speak to another.
    pub(crate) fn room<T>(&self, then: impl FnOnce(&mut Room) -> T) -> Option<T> {
        let mut t = self.talks.lock();
        t.masters.get_mut(&self.stream).filter(|m| m.id == self.id).map(|m| then(&mut m.room))
    }

    /// Whether viewers hear each other by what is told here.
    pub(crate) fn overheard(&self) -> bool {
        self.talks.lock().viewers.contains_key(&self.stream)
    }

    /// Tells viewers who hear each other what the master hears. `others` are those who hear something else, or nothing.
    pub(crate) fn tell(&self, said: &Said, others: &[(Arc<str>, Option<Bytes>)]) {
        let t = self.talks.lock();
        for v in t.viewers.get(&self.stream).into_iter().flatten() {
            let heard = match others.iter().find(|o| o.0 == v.who) {
                Some((_, other)) => other.as_ref().map(|b| Said { data: b[..].into(), ..said.clone() }),
                None => Some(said.clone()),
            };
            // Fails when it does not keep up.
            let _ = v.to.try_send(heard);
        }
    }
}

impl Overhears {
    /// What is said next; `None` for what is its own. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        match self.said.recv().await {
            Some(said) => said,
            // Not while this is there.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Overhears {
    fn drop(&mut self) {
        let mut t = self.talks.lock();
        if let Some(viewers) = t.viewers.get_mut(&self.stream) {
            viewers.retain(|v| v.who != self.who);
            if viewers.is_empty() {
                t.viewers.remove(&self.stream);
            }
        }
    }
}

impl Drop for Hears {
    fn drop(&mut self) {
        let mut t = self.talks.lock();
        if t.masters.get(&self.stream).is_some_and(|m| m.id == self.id) {
            t.masters.remove(&self.stream);
        }
    }
}

/// What one who hears is sent: one line of numbers and times, whoever speaks.
#[derive(Debug, Default)]
struct Line {
    seq: u64,
    time: u32,
    /// What was sent last, by whoever said it, and when that was.
    last: Option<(u64, u64, u32, Instant)>,
}

impl Line {
    /// The number and the time of what is sent next, and whether it begins something; `None` if it comes too late.
    fn next(&mut self, said: &Said, now: Instant) -> Option<(u64, u32, bool)> {
        let mut begins = true;
        let (mut seq, mut time) = (1, PACKET);
        if let Some((turn, number, at, when)) = self.last {
            let passed = now.saturating_duration_since(when);
            let ticks =
                |d: Duration| u32::try_from(d.as_millis() * u128::from(RATE) / 1000).unwrap_or(u32::MAX / 4);
            let gone = said.time.wrapping_sub(at);
            let same = turn == said.turn && gone.abs_diff(ticks(passed)) <= ticks(LEAP);
            let (after, missing) = (said.seq > number, said.seq.saturating_sub(number));
            if turn == said.turn && !after && number - said.seq <= GAP {
                return None;
            }
            if same && after {
                (seq, time, begins) = (missing.min(GAP), gone, false);
            } else {
                time = ticks(passed).max(PACKET);
            }
        }
        self.seq += seq;
        self.time = self.time.wrapping_add(time);
        self.last = Some((said.turn, said.seq, said.time, now));
        Some((self.seq, self.time, begins))
    }

    /// What is sent next begins something, whoever says it.
    fn pause(&mut self) {
        if let Some(last) = &mut self.last {
            last.0 = NOBODY;
        }
    }
}

/// The ear of a master, or of a viewer of a stream without sound.
pub(crate) struct Ear {
    mid: Mid,
    pt: Pt,
    line: Line,
}

impl Ear {
    #[cfg(test)]
    pub(crate) fn any() -> Ear {
        Ear { mid: Mid::from("0"), pt: 111.into(), line: Line::default() }
    }

    /// Of a peer that takes sound in Opus, if it does.
    pub(crate) fn of(peer: &Peer) -> Option<Ear> {
        let sounds = peer.media.iter().filter(|m| m.1 == Some(MediaKind::Audio));
        let (mid, pt) = sounds.map(|m| m.0).find_map(|mid| Some((mid, opus(peer, mid)?)))?;
        Some(Ear { mid, pt, line: Line::default() })
    }

    /// Nothing is heard for a while.
    pub(crate) fn pause(&mut self) {
        self.line.pause();
    }

    /// Sends it as far as `str0m`'s queue; the peer's turn is next.
    pub(crate) fn hear(&mut self, peer: &mut Peer, said: &Said, now: Instant) {
        let Some((seq, time, begins)) = self.line.next(said, now) else { return };
        if let Some(tx) = peer.rtc.direct_api().stream_tx_by_mid(self.mid, None) {
            tx.write_rtp(
                RtpWrite::new(self.pt, SeqNo::from(seq), time, now, said.data.clone()).marker(begins),
            );
        }
    }
}

/// The number by which a peer takes Opus in a medium, if it does.
fn opus(peer: &Peer, mid: Mid) -> Option<Pt> {
    let m = peer.rtc.media(mid).filter(|m| m.direction().is_sending() && !m.disabled())?;
    let opus = peer.rtc.codec_config().params().iter().filter(|p| p.spec().codec == Codec::Opus);
    opus.map(|p| p.pt()).find(|pt| m.remote_pts().contains(pt))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Instant {
        crate::checks::instants().now()
    }
    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }
    fn said(turn: u64, seq: u64, time: u32) -> Said {
        Said { turn, ..Said::of("a", seq, time, &[0; 9]) }
    }

    #[test]
    fn who_speaks_has_the_floor_until_a_pause() {
        let (mut f, t) = (Floor::default(), now());
        // Silence is heard while nobody speaks.
        assert_eq!(f.takes("a", false, t), Some(1));
        assert_eq!(f.takes("b", false, t), None);
        assert_eq!(f.takes("b", true, t + ms(20)), Some(2));
        assert_eq!(f.takes("a", true, t + ms(40)), None);
        assert_eq!(f.takes("b", false, t + ms(600)), Some(2));
        assert_eq!(f.takes("a", true, t + ms(620)), None);
        assert_eq!(f.takes("a", false, t + ms(640)), None);
        assert_eq!(f.takes("a", true, t + ms(640)), Some(3));
        assert_eq!(f.takes("b", true, t + ms(660)), None);
    }

    #[test]
    fn nobody_has_it_for_good() {
        let (mut f, t) = (Floor::default(), now());
        let mut turns = Vec::new();
        for n in 0..1500 {
            for who in ["a", "b"] {
                if let Some(turn) = f.takes(who, true, t + ms(n * 20)) {
                    turns.push((who, turn));
                }
            }
        }
        let (a, b) =
            (turns.iter().filter(|t| t.0 == "a").count(), turns.iter().filter(|t| t.0 == "b").count());
        assert!(f.turn == 3 && a > 900 && b > 450, "{} turns, {a} and {b}", f.turn);
        // One that makes a pause now and then is alone: nobody takes it.
        let mut f = Floor::default();
        assert!((0..2000).all(|n| f.takes("a", n % 50 > 0, t + ms(n * 20)) == Some(1)));
    }

    #[test]
    fn whoever_speaks_it_is_one_line() {
        let (mut l, t) = (Line::default(), now());
        let mut next = |turn, seq, time, at| l.next(&said(turn, seq, time), t + ms(at));
        assert_eq!(next(1, 70_000, u32::MAX - 900, 0), Some((1, 960, true)));
        assert_eq!(next(1, 70_001, 59, 20), Some((2, 1920, false)));
        // One is missing, and comes too late.
        assert_eq!(next(1, 70_003, 59 + 1920, 60), Some((4, 3840, false)));
        assert_eq!(next(1, 70_002, 59 + 960, 61), None);
        // Another speaks, a second later, of its own time.
        assert_eq!(next(2, 5, 1_000_000, 1060), Some((5, 3840 + 48_000, true)));
        assert_eq!(next(2, 6, 1_000_960, 1060), Some((6, 3840 + 48_960, false)));
        // Its clock leaps.
        assert_eq!(next(2, 7, 9, 1080), Some((7, 3840 + 49_920, true)));
        // What it did not hear meanwhile is not lost.
        l.pause();
        let mut next = |turn, seq, time, at| l.next(&said(turn, seq, time), t + ms(at));
        assert_eq!(next(2, 27, 9 + 20 * 960, 1480), Some((8, 3840 + 49_920 + 19_200, true)));
        assert_eq!(next(2, 28, 9 + 21 * 960, 1500), Some((9, 3840 + 49_920 + 20_160, false)));
    }

    #[test]
    fn the_newest_master_listens() {
        let talks = Talks::default();
        let (first, second) = (talks.listen("yard"), talks.listen("yard"));
        drop(first);
        assert_eq!(talks.lock().masters.len(), 1);
        drop(second);
        assert!(talks.lock().masters.is_empty());
    }

    #[tokio::test]
    async fn viewers_of_a_silent_master_overhear_each_other() {
        let talks = Talks::default();
        let hears = talks.listen("yard");
        assert!(!hears.overheard());
        let [mut a, mut b] = ["a", "b"].map(|who| talks.overhear("yard", who));
        let other = talks.overhear("road", "c");
        assert!(hears.overheard());
        let said = Said::of("a", 1, 960, b"from a");
        hears.tell(&said, &[("a".into(), None)]);
        hears.tell(&said, &[("b".into(), Some(Bytes::from_static(b"from others")))]);
        let data = |s: Option<Said>| s.map(|s| String::from_utf8_lossy(&s.data).into_owned());
        assert_eq!((data(a.next().await), data(a.next().await)), (None, Some("from a".into())));
        assert_eq!(
            (data(b.next().await), data(b.next().await)),
            (Some("from a".into()), Some("from others".into()))
        );
        // Who does not keep up misses something, and nothing grows.
        (0..WAITING * 2).for_each(|_| hears.tell(&said, &[]));
        assert_eq!((b.said.len(), other.said.len()), (WAITING, 0));
        drop((a, b));
        assert!(!hears.overheard());
        drop(other);
        assert!(talks.lock().viewers.is_empty());
    }

    proptest! {
        #[test]
        fn numbers_rise_and_times_do_not_leap(all in prop::collection::vec((0u64..3, any::<u64>(), any::<u32>(), 0u64..50), 1..200)) {
            let (mut l, t) = (Line::default(), now());
            let (mut at, mut before) = (0, (0, 0u32));
            for (turn, seq, time, gone) in all {
                at += gone;
                if let Some((s, t, _)) = l.next(&said(turn, seq, time), t + ms(at)) {
                    prop_assert!(s > before.0 && s - before.0 <= GAP);
                    prop_assert!(t.wrapping_sub(before.1) <= 48 * (2_000 + at as u32) + PACKET);
                    before = (s, t);
                }
            }
        }
    }
}
