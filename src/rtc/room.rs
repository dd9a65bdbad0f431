//! Who speaks in a storage session, and what is to be mixed of it. No I/O: time is given.
//!
//! What is mixed has a packet that it is mixed *into*, which is its clock: each of the master's for what is stored and what
//! viewers hear, each of the viewer's that has the floor for what the master hears. So no time is kept here, and who takes that
//! packet as it came does what is done where nobody mixes.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{Blend, Part};

/// Who was silent for so long speaks no more.
pub(crate) const PAUSE: Duration = Duration::from_millis(600);
/// Who speaks at once. More are not heard until one of these pauses.
const VOICES: usize = 8;
/// Of a voice waits so much at most, in samples at 48 kHz: 100 ms.
const MOST: u32 = 4_800;
/// It begins with so much, to have something when a packet is late: 40 ms.
const LEAST: u32 = 1_920;
/// The longest packets that are mixed: 60 ms.
const LONGEST: u32 = 2_880;
/// Mixes of which others hear something else are known for so long, and so many.
const KNOWN: Duration = Duration::from_secs(10);
const MOST_KNOWN: usize = 512;

/// Desks: what is stored, and what the master hears.
pub(crate) const STORED: u8 = 0;
pub(crate) const HEARD: u8 = 1;
/// In a blend nobody, and the master.
const NOBODY: u32 = 0;
const MASTER: u32 = 1;

/// A packet's length in samples at 48 kHz, if it is one that may be mixed.
fn samples(packet: &[u8]) -> Option<u32> {
    media::opus::packet_duration(packet).ok().filter(|n| *n <= LONGEST)
}

/// … if it is one that may be mixed into.
fn whole(packet: &[u8]) -> Option<u16> {
    let n = samples(packet).filter(|n| matches!(*n, 480 | 960 | 1_920 | LONGEST))?;
    u16::try_from(n).ok()
}

/// What waits of a voice.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(u32, Arc<[u8]>)>,
    total: u32,
    /// What was taken, and is not used yet.
    ahead: u32,
    /// Whether there was enough to begin.
    begun: bool,
}

impl Queue {
    fn push(&mut self, samples: u32, packet: Arc<[u8]>) {
        self.waiting.push_back((samples, packet));
        self.total += samples;
        while self.total > MOST {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<(u32, Arc<[u8]>)> {
        let next = self.waiting.pop_front()?;
        self.total -= next.0;
        Some(next)
    }

    /// Packets of which the next so many samples are made; none until there are enough, and again after there were too few.
    fn take(&mut self, samples: u32) -> Vec<Arc<[u8]>> {
        let mut out = Vec::new();
        self.begun |= self.total >= LEAST;
        while self.begun && self.ahead < samples {
            let Some((n, packet)) = self.pop() else {
                (self.begun, self.ahead) = (false, 0);
                return out;
            };
            self.ahead += n;
            out.push(packet);
        }
        self.ahead = self.ahead.saturating_sub(samples);
        out
    }

    fn clear(&mut self) {
        *self = Queue::default();
    }
}

/// A viewer that speaks.
#[derive(Debug)]
struct Voice {
    who: Arc<str>,
    number: u32,
    spoke: Instant,
    /// By desk.
    queues: [Queue; 2],
}

/// What is stored, and what who is in it hears in its place.
#[derive(Debug)]
struct Known {
    stored: Bytes,
    at: Instant,
    others: Vec<(Arc<str>, Bytes)>,
}

/// What is to be mixed, and whose voices are in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) blend: Blend,
    pub(crate) who: Vec<Arc<str>>,
}

/// Those who speak.
#[derive(Debug, Default)]
pub(crate) struct Room {
    voices: Vec<Voice>,
    numbers: u32,
    known: VecDeque<Known>,
}

impl Room {
    fn expire(&mut self, now: Instant) {
        self.voices.retain(|v| now.saturating_duration_since(v.spoke) <= PAUSE);
        while self.known.front().is_some_and(|k| now.saturating_duration_since(k.at) > KNOWN) {
            self.known.pop_front();
        }
    }

    /// How many speak.
    pub(crate) fn voices(&mut self, now: Instant) -> usize {
        self.expire(now);
        self.voices.len()
    }

    /// A viewer's packet; whether it speaks. Its number, if it is one of those who do.
    pub(crate) fn say(&mut self, who: &str, speaks: bool, packet: &Arc<[u8]>, now: Instant) -> Option<u32> {
        self.expire(now);
        let samples = samples(packet)?;
        if speaks && self.voices.len() < VOICES && !self.voices.iter().any(|v| *v.who == *who) {
            self.numbers = self.numbers.wrapping_add(1);
            let number = self.numbers.saturating_add(MASTER);
            self.voices.push(Voice { who: who.into(), number, spoke: now, queues: Default::default() });
        }
        let voice = self.voices.iter_mut().find(|v| *v.who == *who)?;
        if speaks {
            voice.spoke = now;
        }
        voice.queues.iter_mut().for_each(|q| q.push(samples, packet.clone()));
        Some(voice.number)
    }

    /// What is mixed into a packet of the master's: first everybody, then, if there are several, all without each viewer.
    pub(crate) fn stored(&mut self, packet: &[u8], now: Instant) -> Option<Due> {
        let samples = whole(packet)?;
        self.expire(now);
        let voices = self.voices.len();
        let part = |v: &mut Voice| Part {
            who: v.number,
            packets: v.queues[usize::from(STORED)].take(samples.into()),
        };
        let master = Part { who: MASTER, packets: vec![packet.into()] };
        let parts: Vec<_> = [master].into_iter().chain(self.voices.iter_mut().map(part)).collect();
        // What a single one hears is the master, as it is.
        let each = self.voices.iter().map(|v| v.number).filter(|_| voices > 1);
        let without = [NOBODY].into_iter().chain(each).collect();
        let who = self.voices.iter().map(|v| v.who.clone()).collect();
        (voices > 0).then_some(Due { blend: Blend { desk: STORED, samples, parts, without }, who })
    }

    /// What is mixed into a packet of who has the floor, if others speak, too: everybody, and, if viewers hear each other by this,
    /// all without each.
    pub(crate) fn heard(
        &mut self,
        number: u32,
        packet: &Arc<[u8]>,
        overheard: bool,
        now: Instant,
    ) -> Option<Due> {
        let samples = whole(packet)?;
        self.expire(now);
        if self.voices.len() < 2 || !self.voices.iter().any(|v| v.number == number) {
            return None;
        }
        let part = |v: &mut Voice| {
            let queue = &mut v.queues[usize::from(HEARD)];
            let packets = if v.number == number {
                queue.clear();
                vec![packet.clone()]
            } else {
                queue.take(samples.into())
            };
            Part { who: v.number, packets }
        };
        let parts = self.voices.iter_mut().map(part).collect();
        let each = || self.voices.iter().filter(|_| overheard);
        let without = [NOBODY].into_iter().chain(each().map(|v| v.number)).collect();
        let who = each().map(|v| v.who.clone()).collect();
        Some(Due { blend: Blend { desk: HEARD, samples, parts, without }, who })
    }

    /// What came of [`Room::stored`], which is stored now. `plain`: the master's packet.
    pub(crate) fn remember(&mut self, mut made: Vec<Bytes>, who: Vec<Arc<str>>, plain: Bytes, now: Instant) {
        self.expire(now);
        let others = made.split_off(1.min(made.len()));
        let Some(stored) = made.pop() else { return };
        let others = if others.is_empty() { vec![plain] } else { others };
        if self.known.len() >= MOST_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(Known { stored, at: now, others: who.into_iter().zip(others).collect() });
    }

    /// What a viewer hears in place of what is stored, if that has its own voice in it.
    pub(crate) fn instead(&self, who: &str, stored: &[u8]) -> Option<Bytes> {
        let known = self.known.iter().rev().find(|k| k.stored == stored)?;
        known.others.iter().find(|o| *o.0 == *who).map(|o| o.1.clone())
    }
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
    /// 20 ms, with a number in it.
    fn packet(n: u8) -> Arc<[u8]> {
        Arc::from([0xf8, n])
    }
    fn numbers(p: &Part) -> Vec<u8> {
        p.packets.iter().map(|p| p[1]).collect()
    }

    #[test]
    fn nothing_is_mixed_while_nobody_speaks() {
        let (mut r, t) = (Room::default(), now());
        assert_eq!(r.stored(&packet(0), t), None);
        assert_eq!(r.say("a", false, &packet(1), t), None);
        assert_eq!((r.voices(t), r.stored(&packet(0), t)), (0, None));
        let number = r.say("a", true, &packet(2), t);
        assert!(number.is_some() && r.stored(&packet(0), t).is_some());
        // Silence is a part of what it says, for a while.
        assert_eq!(r.say("a", false, &packet(3), t + ms(600)), number);
        assert_eq!(r.say("a", false, &packet(4), t + ms(601)), None);
        assert_eq!(r.stored(&packet(0), t + ms(602)), None);
    }

    #[test]
    fn one_hears_the_master_and_several_each_other() {
        let (mut r, t) = (Room::default(), now());
        let a = r.say("a", true, &packet(1), t).unwrap();
        assert_eq!(r.heard(a, &packet(1), true, t), None, "the master hears it as it is");
        r.say("a", true, &packet(2), t);
        let due = r.stored(&packet(9), t).unwrap();
        assert_eq!((due.who.len(), &due.blend.without[..], due.blend.samples), (1, &[NOBODY][..], 960));
        assert_eq!(due.blend.parts.iter().map(numbers).collect::<Vec<_>>(), [vec![9], vec![1]]);
        r.remember(vec![Bytes::from_static(b"all")], due.who, Bytes::from_static(b"master"), t);
        assert_eq!(r.instead("a", b"all"), Some(Bytes::from_static(b"master")));
        assert_eq!((r.instead("b", b"all"), r.instead("a", b"master")), (None, None));

        let b = r.say("b", true, &packet(5), t).unwrap();
        r.say("b", true, &packet(6), t);
        let due = r.stored(&packet(10), t).unwrap();
        assert_eq!(due.blend.without, [NOBODY, a, b]);
        assert_eq!(due.blend.parts.iter().map(numbers).collect::<Vec<_>>(), [vec![10], vec![2], vec![5]]);
        let made = [&b"all of them"[..], b"no a", b"no b"].map(Bytes::from_static);
        r.remember(made.to_vec(), due.who, Bytes::from_static(b"master"), t);
        assert_eq!(r.instead("b", b"all of them"), Some(Bytes::from_static(b"no b")));
        assert_eq!(r.instead("c", b"all of them"), None);
        // What the master hears is another's packet with all that was said meanwhile.
        let Due { blend, who } = r.heard(a, &packet(2), false, t).unwrap();
        assert_eq!((blend.desk, &blend.without[..], who.len()), (HEARD, &[NOBODY][..], 0));
        assert_eq!(blend.parts.iter().map(numbers).collect::<Vec<_>>(), [vec![2], vec![5]]);
        let due = r.heard(b, &packet(6), true, t).unwrap();
        assert_eq!((&due.blend.without[..], due.who.len()), (&[NOBODY, a, b][..], 2));
        assert_eq!(r.instead("a", b"all").as_deref(), Some(&b"master"[..]));
        r.expire(t + KNOWN + ms(1));
        assert_eq!(r.instead("a", b"all"), None);
    }

    #[test]
    fn a_voice_begins_with_some_and_what_is_old_is_dropped() {
        let (mut q, mut next) = (Queue::default(), 0..);
        let mut push = |q: &mut Queue, n| (0..n).for_each(|_| q.push(960, packet(next.next().unwrap())));
        let take = |q: &mut Queue, samples| q.take(samples).iter().map(|p| p[1]).collect::<Vec<_>>();
        push(&mut q, 1);
        assert!(take(&mut q, 960).is_empty());
        push(&mut q, 1);
        assert_eq!(take(&mut q, 960), [0]);
        assert_eq!(take(&mut q, 480), [1]);
        // The other half of it.
        assert!(take(&mut q, 480).is_empty());
        assert!(take(&mut q, 480).is_empty());
        push(&mut q, 1);
        assert!(take(&mut q, 960).is_empty(), "it ran dry, and begins anew");
        push(&mut q, 7);
        assert_eq!(take(&mut q, 2_880), [5, 6, 7]);
    }

    /// A minute of a voice whose packets come up to `jitter` µs late, by a clock that is so many millionths faster than the master's:
    /// how many of the master's packets have nothing of it, once it has begun, and how many of its packets are lost.
    fn lacking(seed: u64, jitter: u64, faster: i64) -> (usize, usize) {
        let (mut r, start, mut dice) = (Room::default(), now(), crate::checks::Dice(seed));
        let at = |us: u64| start + Duration::from_micros(us);
        let mut comes: Vec<u64> = Vec::new();
        for n in 0..3_100i64 {
            let due = n * (20_000_000_000 / (1_000_000 + faster)) / 1_000 * 1_000;
            // In order, as `str0m` hands them on.
            let then = due as u64 + dice.below(jitter + 1);
            comes.push(comes.last().map_or(then, |last| then.max(*last)));
        }
        let mut comes = comes.into_iter().peekable();
        let (mut said, mut had, mut none) = (0, 0, 0);
        for n in 0..3_000u64 {
            let now = 7_000 + n * 20_000;
            while let Some(then) = comes.next_if(|c| *c <= now) {
                r.say("a", true, &packet(0), at(then));
                said += 1;
            }
            let Some(due) = r.stored(&packet(0), at(now)) else { continue };
            let taken = due.blend.parts[1].packets.len();
            had += taken;
            none += usize::from(taken == 0 && had > 0);
        }
        let waits = r.voices.iter().map(|v| v.queues[0].waiting.len()).sum::<usize>();
        (none, said - had - waits)
    }

    #[test]
    fn a_voice_is_whole_whatever_its_network_and_clock_do() {
        for seed in 1..20 {
            assert_eq!(lacking(seed, 0, 0), (0, 0));
            // What is held back at first is enough, or becomes so.
            let (none, lost) = lacking(seed, 30_000, 0);
            assert!(none <= 3 && lost == 0, "{none} are without, {lost} are lost");
            let (none, lost) = lacking(seed, 60_000, 0);
            assert!(none <= 12 && lost <= 6, "{none} are without, {lost} are lost");
        }
        // Seven packets a minute too few or too many: a clock that is far worse than any.
        let (none, lost) = lacking(1, 0, -2_400);
        assert!((6..=14).contains(&none) && lost == 0, "{none} are without, {lost} are lost");
        let (none, lost) = lacking(1, 0, 2_400);
        assert!(none == 0 && (3..=8).contains(&lost), "{none} are without, {lost} are lost");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_in_order_and_bounded(all in prop::collection::vec((0u8..16, any::<bool>(), 0u8..32, 0u64..40), 1..400)) {
            let (mut r, start) = (Room::default(), now());
            let mut at = 0;
            let mut said = 0u16;
            let mut seen: std::collections::HashMap<(u8, u32), u16> = Default::default();
            for (who, speaks, config, gone) in all {
                at += gone;
                let now = start + ms(at);
                said += 1;
                // One frame of each length that there is; from its first bytes on its number.
                let p: Arc<[u8]> = Arc::from([config << 3, (said >> 8) as u8, said as u8]);
                let due = match who {
                    0 => r.stored(&p, now),
                    _ => r.say(&who.to_string(), speaks, &p, now).and_then(|n| r.heard(n, &p, speaks, now)),
                };
                for v in &r.voices {
                    prop_assert!(v.queues.iter().all(|q| q.total <= MOST && q.waiting.len() <= 40 && q.ahead <= LONGEST));
                }
                let Some(Due { blend, .. }) = due else { continue };
                prop_assert!((2..=VOICES + 1).contains(&blend.parts.len()));
                for without in &blend.without[1..] {
                    prop_assert!(blend.parts.iter().any(|p| p.who == *without));
                }
                for part in &blend.parts {
                    prop_assert!(part.packets.len() <= 24);
                    for p in &part.packets {
                        let n = u16::from_be_bytes([p[1], p[2]]);
                        let before = seen.insert((blend.desk, part.who), n);
                        prop_assert!(before.is_none_or(|b| b < n), "{n} after {before:?}");
                    }
                }
                r.remember(vec![Bytes::new(); blend.without.len()], vec![], Bytes::new(), now);
                prop_assert!(r.known.len() <= MOST_KNOWN);
            }
        }
    }
}
