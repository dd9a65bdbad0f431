//! Packets that go on in the order in which they came, though some wait for what is made of them. No I/O: time is given.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

/// Who waits so long goes on as it came.
pub(crate) const LATE: Duration = Duration::from_millis(100);
/// Packets at most; beyond that they go on, too.
const MOST: usize = 64;

#[derive(Debug)]
struct Place<T> {
    packet: T,
    /// What it waits for, and until when.
    waits: Option<(u64, Instant)>,
    made: Option<Vec<Bytes>>,
}

/// What goes on next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Goes<T> {
    pub(crate) packet: T,
    /// What was made of it, if anything was.
    pub(crate) made: Option<Vec<Bytes>>,
    /// Whether it waited in vain.
    pub(crate) late: bool,
}

#[derive(Debug)]
pub(crate) struct Order<T>(VecDeque<Place<T>>);

impl<T> Default for Order<T> {
    fn default() -> Order<T> {
        Order(VecDeque::new())
    }
}

impl<T> Order<T> {
    /// The newest. `ticket`: of what is being made of it.
    pub(crate) fn push(&mut self, packet: T, ticket: Option<u64>, now: Instant) {
        self.0.push_back(Place { packet, waits: ticket.map(|t| (t, now + LATE)), made: None });
    }

    /// That was made; whether anybody waits for it.
    pub(crate) fn made(&mut self, ticket: u64, made: Vec<Bytes>) -> bool {
        let Some(place) = self.0.iter_mut().find(|p| p.waits.is_some_and(|w| w.0 == ticket)) else {
            return false;
        };
        (place.waits, place.made) = (None, Some(made));
        true
    }

    /// Nothing more will be made.
    pub(crate) fn give_up(&mut self) {
        self.0.iter_mut().for_each(|p| p.waits = None);
    }

    pub(crate) fn pop(&mut self, now: Instant) -> Option<Goes<T>> {
        let late = self.0.front()?.waits.is_some();
        if self.0.len() <= MOST && self.due().is_some_and(|due| due > now) {
            return None;
        }
        let place = self.0.pop_front()?;
        Some(Goes { packet: place.packet, made: place.made, late })
    }

    /// When the next goes on at the latest, if it waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.front().and_then(|p| p.waits).map(|w| w.1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_behind_wait_for_the_first() {
        let now = crate::checks::instants().now();
        let mut o = Order::default();
        let goes = |packet, made, late| Some(Goes { packet, made, late });
        o.push(1, None, now);
        assert_eq!(o.pop(now), goes(1, None, false));
        o.push(2, Some(7), now);
        o.push(3, None, now);
        o.push(4, Some(8), now);
        assert_eq!((o.pop(now), o.due()), (None, Some(now + LATE)));
        let what = vec![Bytes::from_static(b"x")];
        assert!(o.made(8, what.clone()) && !o.made(8, vec![]) && !o.made(9, vec![]));
        assert_eq!(o.pop(now), None);
        assert_eq!(o.pop(now + LATE), goes(2, None, true));
        assert!(!o.made(7, vec![]), "it comes too late");
        assert_eq!(o.pop(now), goes(3, None, false));
        assert_eq!(o.pop(now), goes(4, Some(what), false));
        assert_eq!((o.pop(now), o.due()), (None, None));
        o.push(5, Some(9), now);
        o.give_up();
        assert_eq!(o.pop(now), goes(5, None, false));
    }

    proptest! {
        #[test]
        fn all_go_on_in_order_and_in_time(all in prop::collection::vec((0u64..9, 0u64..30, any::<bool>()), 1..300)) {
            let start = crate::checks::instants().now();
            let (mut o, mut at, mut next) = (Order::default(), 0, 0);
            for (n, (which, gone, waits)) in all.iter().enumerate() {
                at += gone;
                let now = start + Duration::from_millis(at);
                o.push((n, now), waits.then_some(n as u64), now);
                if let Some(earlier) = (n as u64).checked_sub(*which) {
                    o.made(earlier, vec![]);
                }
                while let Some(g) = o.pop(now) {
                    prop_assert_eq!(g.packet.0, next);
                    // Time goes by in steps of less than 30 ms here.
                    prop_assert!(now - g.packet.1 < LATE + Duration::from_millis(30));
                    prop_assert!(!g.late || g.made.is_none());
                    next += 1;
                }
                prop_assert!(o.0.len() <= MOST);
            }
        }
    }
}
