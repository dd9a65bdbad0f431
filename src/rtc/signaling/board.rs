//! Who is at which channel, and what waits for whom. No I/O: time is given, and what goes to a client goes into its queue.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::sync::mpsc;

use super::message::{Event, Fault, Kind, Message};

/// Messages that wait for a client that is there.
const QUEUE: usize = 256;
/// Messages that wait at a channel for clients that are not, and from one client to another.
const HELD: usize = 128;
const HELD_PAIR: usize = 40;
/// Bytes that wait at all channels.
const HELD_BYTES: usize = 64 << 20;
/// Viewers at a channel (service quotas).
const VIEWERS: usize = 10;
/// Sessions of the server's own at a channel, begun or waiting for an answer, whether or not limits hold.
const OWN: usize = 16;
/// In a second (service quotas): connections as master and as viewer, each; calls of an operation for a channel.
const CONNECTS: u32 = 3;
const CALLS: u32 = 5;
/// In a second: descriptions of a kind, and candidates, of a connection.
const DESCRIPTIONS: u32 = 5;
const CANDIDATES: u32 = 20;
/// How often what has expired is looked for everywhere.
const SWEEP: Duration = Duration::from_secs(60);

/// A party at a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Master,
    Viewer(String),
    /// One that offers once and waits for the answer (`SendAlexaOfferToMaster`).
    Caller(String),
    /// The server itself, by the name it has there, which stores what the master sends, or shows it to a viewer.
    Storage(String),
}

impl Who {
    /// As others know it.
    fn name(&self) -> Option<&str> {
        match self {
            Who::Master => None,
            Who::Viewer(n) | Who::Caller(n) | Who::Storage(n) => Some(n),
        }
    }
}

/// So many in a second.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    began: Duration,
    n: u32,
}

impl Rate {
    fn one(&mut self, most: u32, now: Duration) -> bool {
        if now.saturating_sub(self.began) >= Duration::from_secs(1) {
            (self.began, self.n) = (now, 0);
        }
        self.n += 1;
        self.n <= most
    }
}

/// What a connection sent within the last second.
#[derive(Debug, Default)]
pub(crate) struct Sends {
    offers: Rate,
    answers: Rate,
    candidates: Rate,
}

struct Seat {
    serial: u64,
    out: mpsc::Sender<Event>,
    /// Of a storage session: the viewer that it is for; the master's otherwise.
    of: Option<String>,
}

struct Held {
    to: Option<String>,
    event: Event,
    until: Duration,
}

#[derive(Default)]
struct Channel {
    seats: HashMap<Who, Seat>,
    held: VecDeque<Held>,
    masters: Rate,
    viewers: Rate,
    calls: HashMap<&'static str, Rate>,
}

/// Where a client sits.
pub(crate) struct Entered {
    pub(crate) serial: u64,
    /// Ends when another takes the seat, or the channel is no more.
    pub(crate) events: mpsc::Receiver<Event>,
}

/// All channels, by ARN.
#[derive(Default)]
pub(crate) struct Board {
    channels: HashMap<String, Channel>,
    held: usize,
    serial: u64,
    swept: Duration,
}

impl Board {
    /// Takes a seat. Who sat there before has it no more; what waited for them comes at once.
    pub(crate) fn enter(
        &mut self,
        arn: &str,
        who: &Who,
        of: Option<&str>,
        limits: bool,
        now: Duration,
    ) -> Result<Entered, Fault> {
        self.sweep(now);
        let c = self.channels.entry(arn.into()).or_default();
        let rate = match who {
            Who::Master => Some((&mut c.masters, "ConnectAsMaster")),
            Who::Viewer(_) => Some((&mut c.viewers, "ConnectAsViewer")),
            Who::Caller(_) | Who::Storage(_) => None,
        };
        if let Some((rate, name)) = rate
            && limits
            && !rate.one(CONNECTS, now)
        {
            return Err(Fault::limit(format!("{name}: {CONNECTS} a second for a channel.")));
        }
        let others = c.seats.keys().filter(|s| matches!(s, Who::Viewer(_)) && *s != who).count();
        if limits && matches!(who, Who::Viewer(_)) && others >= VIEWERS {
            return Err(Fault::limit(format!("The channel has {VIEWERS} viewers, which are the most.")));
        }
        if let Who::Storage(_) = who {
            // The newest is the one that counts.
            c.seats.retain(|w, s| !matches!(w, Who::Storage(_)) || s.of.as_deref() != of);
            if c.seats.keys().filter(|w| matches!(w, Who::Storage(_))).count() >= OWN {
                return Err(Fault::limit(format!(
                    "The channel has {OWN} storage sessions, which are the most."
                )));
            }
        }
        self.serial += 1;
        let (out, events) = mpsc::channel(QUEUE);
        let name = who.name();
        let mut freed = 0;
        c.held.retain(|h| {
            let mine = h.to.as_deref() == name;
            if mine || h.until <= now {
                freed += h.event.payload.len();
            }
            if mine && h.until > now {
                // There is room: no more are held than the queue has.
                let _ = out.try_send(h.event.clone());
            }
            !mine && h.until > now
        });
        self.held -= freed;
        let seat = Seat { serial: self.serial, out, of: of.map(str::to_owned) };
        c.seats.insert(who.clone(), seat);
        Ok(Entered { serial: self.serial, events })
    }

    /// Gives a seat up, if it was not taken by another.
    pub(crate) fn leave(&mut self, arn: &str, who: &Who, serial: u64) {
        let Some(c) = self.channels.get_mut(arn) else { return };
        if c.seats.get(who).is_some_and(|s| s.serial == serial) {
            c.seats.remove(who);
        }
        if c.seats.is_empty() && c.held.is_empty() {
            self.channels.remove(arn);
        }
    }

    /// Whether somebody is there.
    pub(crate) fn has(&self, arn: &str, who: &Who) -> bool {
        self.channels.get(arn).is_some_and(|c| c.seats.contains_key(who))
    }

    /// Who is there, by role.
    pub(crate) fn seats(&self) -> [(&'static str, usize); 3] {
        let all = self.channels.values().flat_map(|c| c.seats.keys());
        let (mut masters, mut viewers, mut storage) = (0, 0, 0);
        for who in all {
            match who {
                Who::Master => masters += 1,
                Who::Viewer(_) => viewers += 1,
                Who::Storage(_) => storage += 1,
                // No connection: a call.
                Who::Caller(_) => {}
            }
        }
        [("master", masters), ("viewer", viewers), ("storage", storage)]
    }

    /// One more call of an operation for a channel.
    pub(crate) fn call(&mut self, arn: &str, name: &'static str, now: Duration) -> Result<(), Fault> {
        self.sweep(now);
        let c = self.channels.entry(arn.into()).or_default();
        match c.calls.entry(name).or_default().one(CALLS, now) {
            true => Ok(()),
            false => Err(Fault::limit(format!("{name}: {CALLS} a second for a channel."))),
        }
    }

    /// Passes a message on, or keeps it for `ttl` for who is not there. `sends`: what the connection sent before.
    pub(crate) fn send(
        &mut self,
        arn: &str,
        from: &Who,
        message: &Message,
        sends: Option<&mut Sends>,
        ttl: Duration,
        now: Duration,
    ) -> Result<(), Fault> {
        self.sweep(now);
        if let Some(s) = sends {
            let (rate, most) = match message.kind {
                Kind::Offer => (&mut s.offers, DESCRIPTIONS),
                Kind::Answer => (&mut s.answers, DESCRIPTIONS),
                Kind::Candidate => (&mut s.candidates, CANDIDATES),
            };
            if !rate.one(most, now) {
                let name = message.kind.name();
                return Err(Fault::limit(format!("{name}: {most} a second for a connection.")));
            }
        }
        let c = self.channels.entry(arn.into()).or_default();
        let to = c.recipient(from, message)?;
        let sender = from.name().map(str::to_owned);
        let event = Event { kind: message.kind, payload: message.payload.clone(), sender };
        let seat = match &to {
            None => c.seats.get(&Who::Master),
            Some(n) => [Who::Storage(n.clone()), Who::Caller(n.clone()), Who::Viewer(n.clone())]
                .iter()
                .filter(|w| message.kind == Kind::Answer || !matches!(w, Who::Caller(_)))
                .find_map(|w| c.seats.get(w)),
        };
        match seat {
            Some(seat) => seat
                .out
                .try_send(event)
                .map_err(|_| Fault::limit("The recipient does not read its messages.")),
            None => self.hold(arn, to, event, now + ttl),
        }
    }

    fn hold(&mut self, arn: &str, to: Option<String>, event: Event, until: Duration) -> Result<(), Fault> {
        let Some(c) = self.channels.get_mut(arn) else { return Ok(()) };
        let same = |h: &Held| h.to == to && h.event.sender == event.sender;
        if event.kind == Kind::Offer {
            // A newer offer overwrites one that was not delivered, and what belonged to it.
            let mut freed = 0;
            c.held.retain(|h| {
                if same(h) {
                    freed += h.event.payload.len();
                }
                !same(h)
            });
            self.held -= freed;
        }
        let pair = c.held.iter().filter(|h| same(h)).count();
        if c.held.len() >= HELD || pair >= HELD_PAIR || self.held + event.payload.len() > HELD_BYTES {
            return Err(Fault::limit("Too many messages wait for clients that are not connected."));
        }
        self.held += event.payload.len();
        c.held.push_back(Held { to, event, until });
        Ok(())
    }

    /// Forgets what has expired, once in a while.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < SWEEP && self.held < HELD_BYTES / 2 {
            return;
        }
        self.swept = now;
        let mut held = 0;
        self.channels.retain(|_, c| {
            c.held.retain(|h| h.until > now);
            held += c.held.iter().map(|h| h.event.payload.len()).sum::<usize>();
            !c.seats.is_empty() || !c.held.is_empty()
        });
        self.held = held;
    }
}

impl Channel {
    /// To whom a message goes: by name, or to the master.
    fn recipient(&self, from: &Who, message: &Message) -> Result<Option<String>, Fault> {
        let storage = |of: Option<&str>| {
            self.seats.iter().find_map(|(w, s)| match w {
                Who::Storage(n) if s.of.as_deref() == of => Some(n.clone()),
                _ => None,
            })
        };
        match from {
            Who::Master => match &message.recipient {
                Some(n) => Ok(Some(n.clone())),
                None => storage(None)
                    .map(Some)
                    .ok_or_else(|| Fault::argument("recipientClientId is required of the master.")),
            },
            // What a viewer says to the server is an answer to it; all else is for the master.
            Who::Viewer(v) if message.kind != Kind::Offer => Ok(storage(Some(v))),
            Who::Viewer(_) | Who::Caller(_) => Ok(None),
            Who::Storage(_) => Ok(message.recipient.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn message(kind: Kind, payload: &str, to: Option<&str>) -> Message {
        Message { kind, payload: payload.into(), recipient: to.map(str::to_owned), correlation: None }
    }
    fn at(s: u64) -> Duration {
        Duration::from_secs(1000 + s)
    }
    fn viewer(n: &str) -> Who {
        Who::Viewer(n.into())
    }
    fn got(e: &mut Entered) -> Option<(Kind, String, Option<String>)> {
        e.events.try_recv().ok().map(|e| (e.kind, e.payload.to_string(), e.sender))
    }

    #[test]
    fn messages_go_between_the_master_and_its_viewers() {
        let mut b = Board::default();
        let mut master = b.enter("a", &Who::Master, None, true, at(0)).unwrap();
        let mut one = b.enter("a", &viewer("1"), None, true, at(0)).unwrap();
        let mut two = b.enter("a", &viewer("2"), None, true, at(0)).unwrap();
        // What a viewer says of a recipient is passed over.
        b.send("a", &viewer("1"), &message(Kind::Offer, "o", Some("2")), None, TTL, at(1)).unwrap();
        assert_eq!(got(&mut master), Some((Kind::Offer, "o".into(), Some("1".into()))));
        b.send("a", &Who::Master, &message(Kind::Answer, "a", Some("1")), None, TTL, at(1)).unwrap();
        assert_eq!(got(&mut one), Some((Kind::Answer, "a".into(), None)));
        assert!(got(&mut two).is_none() && got(&mut master).is_none());
        let none = b.send("a", &Who::Master, &message(Kind::Answer, "a", None), None, TTL, at(1));
        assert_eq!(none.unwrap_err().code, "InvalidArgumentException");
    }

    #[test]
    fn seats_are_counted_by_role() {
        let mut b = Board::default();
        let old = b.enter("a", &Who::Master, None, true, at(0)).unwrap();
        let _new = b.enter("a", &Who::Master, None, true, at(0)).unwrap();
        let _other = b.enter("b", &Who::Master, None, true, at(0)).unwrap();
        let one = b.enter("a", &viewer("1"), None, true, at(0)).unwrap();
        let _call = b.enter("a", &Who::Caller("c".into()), None, true, at(0)).unwrap();
        let _storage = b.enter("b", &Who::Storage("s".into()), None, true, at(0)).unwrap();
        assert_eq!(b.seats(), [("master", 2), ("viewer", 1), ("storage", 1)]);
        b.leave("a", &Who::Master, old.serial);
        b.leave("a", &viewer("1"), one.serial);
        assert_eq!(b.seats(), [("master", 2), ("viewer", 0), ("storage", 1)]);
    }

    #[test]
    fn a_newer_master_has_the_seat() {
        let mut b = Board::default();
        let mut old = b.enter("a", &Who::Master, None, true, at(0)).unwrap();
        let mut new = b.enter("a", &Who::Master, None, true, at(0)).unwrap();
        assert_eq!(old.events.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        b.leave("a", &Who::Master, old.serial);
        b.send("a", &viewer("1"), &message(Kind::Offer, "o", None), None, TTL, at(0)).unwrap();
        assert!(got(&mut new).is_some());
    }

    #[test]
    fn a_master_that_comes_later_gets_what_has_not_expired() {
        let mut b = Board::default();
        let _v = b.enter("a", &viewer("1"), None, true, at(0)).unwrap();
        b.send("a", &viewer("1"), &message(Kind::Offer, "old", None), None, TTL, at(0)).unwrap();
        b.send("a", &viewer("1"), &message(Kind::Candidate, "c0", None), None, TTL, at(0)).unwrap();
        b.send("a", &viewer("1"), &message(Kind::Offer, "new", None), None, TTL, at(1)).unwrap();
        b.send("a", &viewer("1"), &message(Kind::Candidate, "c1", None), None, TTL, at(1)).unwrap();
        let mut m = b.enter("a", &Who::Master, None, true, at(30)).unwrap();
        let one = Some("1".to_owned());
        assert_eq!(got(&mut m), Some((Kind::Offer, "new".into(), one.clone())));
        assert_eq!(got(&mut m), Some((Kind::Candidate, "c1".into(), one)));
        assert!(got(&mut m).is_none());
        b.leave("a", &Who::Master, m.serial);
        b.send("a", &viewer("1"), &message(Kind::Offer, "x", None), None, TTL, at(40)).unwrap();
        let mut m = b.enter("a", &Who::Master, None, true, at(100)).unwrap();
        assert!(got(&mut m).is_none() && b.held == 0);
    }

    #[test]
    fn ten_viewers_and_three_a_second() {
        let mut b = Board::default();
        let mut seats = Vec::new();
        for n in 0..10 {
            seats.push(b.enter("a", &viewer(&n.to_string()), None, true, at(n)).unwrap());
        }
        assert_eq!(
            b.enter("a", &viewer("x"), None, true, at(20)).err().unwrap().code,
            "ClientLimitExceededException"
        );
        // One that comes again is no other.
        assert!(b.enter("a", &viewer("3"), None, true, at(20)).is_ok());
        assert!(b.enter("a", &viewer("x"), None, false, at(20)).is_ok());
        let often =
            (0..4).map(|_| b.enter("a", &Who::Master, None, true, at(30)).is_ok()).collect::<Vec<_>>();
        assert_eq!(often, [true, true, true, false]);
    }

    #[test]
    fn so_many_a_second() {
        let (mut b, mut s) = (Board::default(), Sends::default());
        let _m = b.enter("a", &Who::Master, None, true, at(0)).unwrap();
        let mut sent = |kind, s: &mut Sends, t| {
            b.send("a", &viewer("1"), &message(kind, "x", None), Some(s), TTL, at(t)).is_ok()
        };
        assert_eq!((0..9).filter(|_| sent(Kind::Offer, &mut s, 1)).count(), 5);
        assert_eq!((0..30).filter(|_| sent(Kind::Candidate, &mut s, 1)).count(), 20);
        assert!(sent(Kind::Offer, &mut s, 2));
    }

    #[test]
    fn the_server_is_answered() {
        let mut b = Board::default();
        let mut m = b.enter("a", &Who::Master, None, true, at(0)).unwrap();
        let _v = b.enter("a", &viewer("1"), None, true, at(0)).unwrap();
        let s = Who::Storage("s1".into());
        let mut seat = b.enter("a", &s, None, true, at(0)).unwrap();
        b.send("a", &s, &message(Kind::Offer, "o", None), None, TTL, at(0)).unwrap();
        assert_eq!(got(&mut m), Some((Kind::Offer, "o".into(), Some("s1".into()))));
        for to in [None, Some("s1")] {
            b.send("a", &Who::Master, &message(Kind::Answer, "a", to), None, TTL, at(0)).unwrap();
            assert!(got(&mut seat).is_some());
        }
        // One for a viewer does not push the master's out; the next for the master does.
        let for_viewer = b.enter("a", &Who::Storage("s2".into()), Some("1"), true, at(0)).unwrap();
        b.send("a", &viewer("1"), &message(Kind::Answer, "v", None), None, TTL, at(0)).unwrap();
        let mut for_viewer = for_viewer;
        assert!(got(&mut for_viewer).is_some() && got(&mut m).is_none() && got(&mut seat).is_none());
        let _third = b.enter("a", &Who::Storage("s3".into()), None, true, at(0)).unwrap();
        assert_eq!(seat.events.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[test]
    fn so_many_sessions_of_the_servers_own() {
        let mut b = Board::default();
        let mut join =
            |n: usize, of: &str| b.enter("a", &Who::Storage(format!("s{n}")), Some(of), false, at(0));
        let seats: Vec<_> = (0..OWN).map(|n| join(n, &n.to_string()).unwrap()).collect();
        assert_eq!(join(99, "another").err().unwrap().code, "ClientLimitExceededException");
        // In place of one that there is.
        assert!(join(100, "0").is_ok());
        assert_eq!(seats.len(), OWN);
    }

    proptest! {
        #[test]
        fn what_is_held_is_bounded_and_counted(ops in prop::collection::vec((0u8..4, 0u8..4, 0u8..30, 0usize..5000), 0..600)) {
            let mut b = Board::default();
            let mut seats = Vec::new();
            for (n, (op, who, t, size)) in ops.into_iter().enumerate() {
                let now = at(n as u64 / 9 + u64::from(t));
                let name = Who::Viewer(who.to_string());
                match op {
                    0 => seats.extend(b.enter("a", &name, None, false, now).ok().map(|e| (name.clone(), e))),
                    1 => if let Some((w, e)) = seats.pop() { b.leave("a", &w, e.serial); },
                    _ => {
                        let kind = if op == 2 { Kind::Offer } else { Kind::Candidate };
                        let _ = b.send("a", &Who::Master, &message(kind, &"x".repeat(size), Some(&who.to_string())), None, TTL, now);
                    }
                }
                let held: usize = b.channels.values().flat_map(|c| &c.held).map(|h| h.event.payload.len()).sum();
                prop_assert_eq!(held, b.held);
                prop_assert!(b.channels.values().all(|c| c.held.len() <= HELD));
            }
        }
    }
}
