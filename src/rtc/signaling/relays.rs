//! What clients were told of the TURN server, and who is to be told when that ends. No I/O: time is given, monotonic.

use std::{collections::HashMap, time::Duration};

use super::board::Who;

/// Clients of which it is remembered; others are not warned when it ends.
const MOST: usize = 16_384;
/// Of one channel.
const MOST_OF_ONE: usize = 256;
/// So long before it ends, a client is told that it does.
const GRACE: Duration = Duration::from_secs(60);

/// What a client was told, once.
#[derive(Clone, Copy, Debug)]
struct Grant {
    begun: Duration,
    end: Duration,
    /// It is a viewer's for certain: one of that name was connected then, or has come since.
    viewers: bool,
}

/// All channels, by ARN.
#[derive(Debug, Default)]
pub(super) struct Relays {
    channels: HashMap<String, HashMap<Who, Grant>>,
    held: usize,
}

impl Relays {
    /// A client was told credentials that are good for so long. `here`: a client of that name is connected.
    pub(super) fn granted(&mut self, arn: &str, who: Who, here: bool, ttl: Duration, now: Duration) {
        let of = |r: &Self| r.channels.get(arn).map_or(0, HashMap::len);
        if self.held >= MOST || of(self) >= MOST_OF_ONE {
            self.forget(now);
        }
        let known = self.channels.get(arn).is_some_and(|c| c.contains_key(&who));
        if !known && (self.held >= MOST || of(self) >= MOST_OF_ONE) {
            return;
        }
        self.held += usize::from(!known);
        self.channels
            .entry(arn.into())
            .or_default()
            .insert(who, Grant { begun: now, end: now + ttl, viewers: here });
    }

    /// A client has connected.
    pub(super) fn entered(&mut self, arn: &str, who: &Who) {
        if let Some(g) = self.channels.get_mut(arn).and_then(|c| c.get_mut(who)) {
            g.viewers = true;
        }
    }

    /// When a client is to be warned next, if ever; not of what has ended already. `warned`: when it was last, which was a
    /// warning of all that it had been told until then.
    ///
    /// A master connects without a name, and may have asked by one (the SDK for C does): what nobody of that name has come for
    /// may be the master's. A viewer that never comes costs it one warning too many, at which it asks anew.
    pub(super) fn due(
        &self,
        arn: &str,
        who: &Who,
        warned: Option<Duration>,
        now: Duration,
    ) -> Option<Duration> {
        let c = self.channels.get(arn)?;
        let masters = |w: &Who, g: &Grant| *who == Who::Master && matches!(w, Who::Viewer(_)) && !g.viewers;
        let mine = c.iter().filter(|(w, g)| *w == who || masters(w, g)).map(|(_, g)| g);
        let new = mine.filter(|g| g.end > now && warned.is_none_or(|w| g.begun > w));
        new.map(|g| g.end.saturating_sub(GRACE)).min()
    }

    fn forget(&mut self, now: Duration) {
        self.channels.retain(|_, c| {
            c.retain(|_, g| g.end > now);
            !c.is_empty()
        });
        self.held = self.channels.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3600);

    fn at(s: u64) -> Duration {
        Duration::from_secs(1000 + s)
    }
    fn viewer(n: &str) -> Who {
        Who::Viewer(n.into())
    }

    #[test]
    fn a_client_is_warned_once_of_what_it_was_told() {
        let mut r = Relays::default();
        let v = viewer("v");
        assert_eq!(r.due("a", &v, None, at(0)), None);
        r.granted("a", v.clone(), true, TTL, at(0));
        assert_eq!(r.due("a", &v, None, at(5)), Some(at(3540)));
        assert_eq!((r.due("a", &Who::Master, None, at(5)), r.due("b", &v, None, at(5))), (None, None));
        assert_eq!(r.due("a", &v, Some(at(3540)), at(3550)), None);
        // It has asked anew.
        r.granted("a", v.clone(), true, TTL, at(3551));
        assert_eq!(r.due("a", &v, Some(at(3540)), at(3560)), Some(at(7091)));
        // One that connects long after.
        assert_eq!(r.due("a", &v, None, at(9000)), None);
    }

    #[test]
    fn a_master_that_asked_by_a_name_is_warned_and_not_of_its_viewers() {
        let mut r = Relays::default();
        let due = |r: &Relays, who: &Who, now| r.due("a", who, None, at(now));
        r.granted("a", viewer("ProducerMaster"), false, TTL, at(0));
        assert_eq!(due(&r, &Who::Master, 1), Some(at(3540)));
        // Viewers ask before they come.
        r.granted("a", viewer("v"), false, TTL - Duration::from_secs(100), at(2));
        r.entered("a", &viewer("v"));
        assert_eq!(due(&r, &Who::Master, 3), Some(at(3540)));
        assert_eq!(due(&r, &viewer("v"), 3), Some(at(3442)));
        // And again while they are there.
        r.granted("a", viewer("v"), true, TTL, at(3450));
        assert_eq!(r.due("a", &Who::Master, Some(at(3540)), at(3541)), None);
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let mut r = Relays::default();
        for n in 0..1000 {
            r.granted("a", viewer(&n.to_string()), false, TTL, at(0));
        }
        assert_eq!((r.held, r.channels["a"].len()), (MOST_OF_ONE, MOST_OF_ONE));
        // Of those that are, new ends are taken; and others once they have ended.
        r.granted("a", viewer("0"), false, TTL, at(50));
        assert_eq!(r.due("a", &viewer("0"), None, at(60)), Some(at(3590)));
        r.granted("a", viewer("last"), false, TTL, at(3605));
        assert_eq!(r.held, 2);
        for n in 0..20_000 {
            r.granted(&n.to_string(), Who::Master, false, TTL, at(3606));
        }
        assert_eq!(r.held, MOST);
    }
}
