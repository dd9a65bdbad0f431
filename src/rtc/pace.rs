//! Pictures' packets on their way over a link that carries so much and no more: one after the other, for what a slow link
//! cannot keep of a key frame's hundred it drops.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::net::Protocol;

/// Bytes that wait at most. Who fills it looks at what it sends: see [`crate::link`].
const MOST: usize = 8 << 20;
/// So much of what was not sent in time may be made up for.
const LATE: Duration = Duration::from_millis(10);

/// A packet, and where it goes.
pub(crate) type Out = (Protocol, SocketAddr, Vec<u8>);

#[derive(Default)]
pub(crate) struct Pace {
    /// Bytes a second, if it is bounded.
    rate: Option<f64>,
    /// Which packets wait, by payload type: pictures', and those sent again.
    kinds: Vec<u8>,
    waiting: VecDeque<Out>,
    bytes: usize,
    /// When the next may go.
    next: Option<Instant>,
}

impl Pace {
    pub(crate) fn set(&mut self, rate: Option<u64>, kinds: Vec<u8>) {
        (self.rate, self.kinds) = (rate.map(|r| r.max(1) as f64), kinds);
    }

    /// Takes a packet that has to wait; gives back one that has not. What is too much is dropped.
    pub(crate) fn push(&mut self, out: Out) -> Option<Out> {
        // RTP (RFC 7983 §7), and of these RTCP has other numbers (RFC 5761 §4).
        let kind = match out.2[..] {
            [128..=191, kind, ..] if self.rate.is_some() => kind & 0x7f,
            _ => return Some(out),
        };
        if !self.kinds.contains(&kind) {
            return Some(out);
        }
        if self.bytes + out.2.len() <= MOST {
            self.bytes += out.2.len();
            self.waiting.push_back(out);
        }
        None
    }

    /// The next that may go.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Out> {
        if self.rate.is_some() && self.next.is_some_and(|n| n > now) {
            return None;
        }
        let out = self.waiting.pop_front()?;
        self.bytes -= out.2.len();
        let begins = self.next.map_or(now, |n| n.max(now.checked_sub(LATE).unwrap_or(now)));
        self.next = self.rate.map(|r| begins + Duration::from_secs_f64(out.2.len() as f64 / r));
        Some(out)
    }

    /// When the next may go, if one waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| !self.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, n: u8) -> Out {
        let mut data = vec![0x80, kind, n];
        data.resize(1000, 0);
        (Protocol::Udp, ([192, 0, 2, 1], 5).into(), data)
    }

    #[test]
    fn pictures_wait_their_turn_and_nothing_else_does() {
        let (mut p, t) = (Pace::default(), crate::checks::instants().now());
        assert!(p.push(packet(96, 0)).is_some());
        p.set(Some(100_000), vec![96, 97]);
        assert!(p.push(packet(111, 0)).is_some());
        assert!(p.push((Protocol::Udp, ([192, 0, 2, 1], 5).into(), vec![22, 96, 0])).is_some());
        for n in 0..10 {
            assert!(p.push(packet([96, 0x80 | 97][usize::from(n % 2)], n)).is_none());
        }
        let mut came = Vec::new();
        for ms in 0..200 {
            let now = t + Duration::from_millis(ms);
            while let Some(o) = p.pop(now) {
                came.push((ms, o.2[2]));
            }
        }
        assert_eq!(came, (0..10).map(|n| (n * 10, n as u8)).collect::<Vec<_>>());
        assert_eq!((p.due(), p.bytes), (None, 0));
        // Once it is not bounded any more, all goes.
        for n in 0..5 {
            assert!(p.push(packet(96, n)).is_none());
        }
        p.set(None, vec![]);
        assert_eq!(std::iter::from_fn(|| p.pop(t)).count(), 5);
    }

    #[test]
    fn so_much_waits_and_no_more() {
        let mut p = Pace::default();
        p.set(Some(1), vec![96]);
        for _ in 0..9_000 {
            assert!(p.push(packet(96, 0)).is_none());
        }
        assert!(p.bytes <= MOST);
    }
}
