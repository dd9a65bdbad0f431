//! From RTP timestamps to the one time line of a session: ticks since the Unix epoch. Without I/O.
//!
//! **Anchor.** The first unit of a session stands at the server's wall clock (or, if a plausible sender report came
//! before it, at the sender's). From then on times advance by RTP timestamps, whatever the network does, but for what
//! is said below; a 32-bit wrap is nothing special.
//!
//! **Tracks together.** Audio and video of one session share the mapping: one track *leads* (the first that came, or the
//! first of those with sender reports), and where it is moved, those that have no reports of their own move with it. How
//! tracks lie to each other comes from, in this order: sender reports, the start of play time that an RTSP server told
//! (`RTP-Info`), the time of arrival.
//!
//! **The sender's clock.** A sender report (RFC 3550 §6.4.1) says which wall-clock time an RTP timestamp stands for.
//! If it is within [`PLAUSIBLE`] of the server's clock, the tracks are *slewed* towards it, by at most
//! [`SLEW_MS_PER_S`] of media, never by a step: at that rate ten seconds take 34 minutes, and what is further off is
//! no drifting clock but one that was never set, or in another time zone. An implausible clock is told in
//! [`Timeline::clock_warning`] and not used, except to keep the tracks of the session in step with each other.
//!
//! **Without one** (no reports, none for [`REPORT_LIFE`], or an implausible clock) the RTP clock's drift against this
//! server's is followed: where the lower envelope of the arrivals ([`Envelope`]) is more than [`SLACK`] away, the
//! leading track is slewed back to it, by at most [`FOLLOW_US_PER_S`]. Where reports have ceased, what is held is the
//! distance from the envelope that they had put the track at. Times are then [`Timeline::estimated`].
//!
//! **Jumps.** A track that goes back by more than a second, or further ahead of the server's clock than it was by
//! more than a second, has jumped: what follows is anchored anew and does not continue what was. A pause that the
//! server's clock saw as well is no jump.

use world::Timestamp;

use crate::{
    drift::Envelope,
    ntp::{ntp_to_unix, warning},
};

/// How far a sender's clock may be from the server's to be believed.
pub const PLAUSIBLE: i64 = 10 * SECOND;
/// How fast times are slewed: milliseconds per second of media.
pub const SLEW_MS_PER_S: i64 = 5;
/// How fast a drifting RTP clock is followed without reports: microseconds per second of media.
pub const FOLLOW_US_PER_S: i64 = 1000;
/// How far the leading track may be from the envelope of its arrivals before it is moved …
const SLACK: i64 = 30_000_000;
/// … and how near it is moved.
const SETTLED: i64 = 5_000_000;
/// How near to what the sender's clock says times are no estimates.
const NEAR: i64 = 100_000_000;
/// How long a report is good for.
const REPORT_LIFE: i64 = 120 * SECOND;
/// After so long without a unit another track leads.
const LEADER_SILENT: i64 = 30 * SECOND;
/// By how much a track must break its time line to have jumped.
const JUMP: i64 = SECOND;
/// How far the start of play time may be from what the arrivals say.
const PLAY_START_SLACK: i64 = 2 * SECOND;
/// How long after one track's jump another's is taken to be the same.
const SAME_JUMP: i64 = 10 * SECOND;

/// How far after the latest time what follows a jump begins at the earliest: about a picture.
const AFTER: i64 = 20_000_000;

/// Nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// Where a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Presentation time in ticks of the track since the Unix epoch.
    pub pts: i64,
    /// Set if the track jumped just before: by how many milliseconds, backwards if negative.
    pub jumped_ms: Option<i64>,
}

/// The mapping of one session. Times inside are nanoseconds since the Unix epoch.
#[derive(Debug)]
pub struct Timeline {
    tracks: Vec<Clock>,
    /// What the last report said of the sender's clock; `None` before there was one.
    trusted: Option<bool>,
    /// Which track leads.
    leader: Option<usize>,
    /// By how much the leading track was moved so far.
    shift: i64,
    /// Whether it is being moved towards its envelope.
    following: bool,
    estimated: bool,
    warning: Option<String>,
    /// The last jump: when it came, and by how much that track's mapping moved.
    jump: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Clock {
    rate: i64,
    /// The last RTP timestamp seen in a unit, and the same without wrapping.
    last: Option<(u32, i64)>,
    /// The furthest tick so far: only progress beyond it gives room to slew.
    highest: i64,
    /// Time at tick 0.
    offset: i64,
    /// When the last unit came.
    seen: i64,
    /// By how much it was moved with the leading track, or would have been.
    shift: i64,
    /// What the sender's clock said for tick 0, and when.
    sender: Option<(i64, i64)>,
    envelope: Envelope,
    /// How far before its envelope reports have put it; `None` if there were none. Unknown as long as there is no
    /// envelope.
    bias: Option<Option<i64>>,
    /// A report that came before the first unit: its RTP timestamp, its time, and when it came.
    early: Option<(u32, i64, i64)>,
    /// Where play time starts (`RTP-Info`).
    play_start: Option<u32>,
    /// How far ahead of the server's clock the last unit stood.
    lead: i64,
    /// The latest time given: pictures do not come in the order in which they are shown.
    furthest: i64,
}

impl Timeline {
    /// A time line for tracks of these clock rates, in ticks a second. A rate of 0 is taken as 1.
    pub fn new(rates: impl IntoIterator<Item = u32>) -> Timeline {
        let clock = |rate: u32| Clock {
            rate: i64::from(rate.max(1)),
            last: None,
            highest: 0,
            offset: 0,
            seen: 0,
            shift: 0,
            sender: None,
            envelope: Envelope::default(),
            bias: None,
            early: None,
            play_start: None,
            lead: 0,
            furthest: i64::MIN,
        };
        Timeline {
            tracks: rates.into_iter().map(clock).collect(),
            trusted: None,
            leader: None,
            shift: 0,
            following: false,
            estimated: true,
            warning: None,
            jump: None,
        }
    }

    /// Says which RTP timestamp is the start of play time. Only of use before the track's first unit.
    pub fn play_start(&mut self, track: usize, rtp: u32) {
        if let Some(clock) = self.tracks.get_mut(track) {
            clock.play_start = Some(rtp);
        }
    }

    /// Why the sender's clock is not used, in words; `None` if it is, or if it said nothing yet.
    pub fn clock_warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Whether the times given now are this server's estimate: not of the sender's clock, or not yet within 100 ms of it.
    pub fn estimated(&self) -> bool {
        self.estimated
    }

    /// Takes the RTP timestamp of a unit (as it arrives, in decode order) and gives its time. An unknown track stands
    /// at the server's time.
    pub fn unit(&mut self, track: usize, rtp: u32, received: Timestamp) -> Stamp {
        let now = received.micros().saturating_mul(1000);
        let Some(clock) = self.tracks.get_mut(track) else {
            return Stamp { pts: received.micros(), jumped_ms: None };
        };
        clock.seen = now;
        let Some((last_rtp, last_ticks)) = clock.last else {
            let ticks = i64::from(rtp);
            clock.last = Some((rtp, ticks));
            clock.highest = ticks;
            clock.shift = self.shift;
            if let Some((at, time, when)) = clock.early.take() {
                let ticks = ticks + i64::from(at.wrapping_sub(rtp) as i32);
                clock.sender = Some((time.saturating_sub(to_ns(ticks, clock.rate)), when));
            }
            let offset = self.first_offset(track, ticks, now);
            self.lead(track, now);
            self.tracks[track].arrived(ticks, now);
            self.judge(track, offset, now);
            return self.place(track, ticks, offset, now, None);
        };
        let delta = i64::from(rtp.wrapping_sub(last_rtp) as i32);
        let ticks = last_ticks.saturating_add(delta);
        clock.last = Some((rtp, ticks));
        let step = to_ns(delta, clock.rate);
        let time = to_ns(ticks, clock.rate).saturating_add(clock.offset);
        let lead = time.saturating_sub(now);
        if step < -JUMP || (step > JUMP && lead > clock.lead.max(0).saturating_add(JUMP)) {
            return self.anchor_anew(track, ticks, step, now);
        }
        clock.arrived(ticks, now);
        self.lead(track, now);
        let moved = self.slew(track, ticks, now);
        let offset = self.tracks[track].offset.saturating_add(moved);
        self.judge(track, offset, now);
        self.place(track, ticks, offset, now, None)
    }

    /// Takes a sender report: at RTP timestamp `rtp` the sender's clock read `ntp` (seconds since 1900 in 32.32 fixed
    /// point; 0 for no clock at all).
    pub fn sender_report(&mut self, track: usize, ntp: u64, rtp: u32, received: Timestamp) {
        let Some(clock) = self.tracks.get_mut(track) else { return };
        let now = received.micros().saturating_mul(1000);
        let time = ntp_to_unix(ntp);
        match clock.last {
            None => clock.early = Some((rtp, time, now)),
            Some((last_rtp, last_ticks)) => {
                let ticks = last_ticks.saturating_add(i64::from(rtp.wrapping_sub(last_rtp) as i32));
                clock.sender = Some((time.saturating_sub(to_ns(ticks, clock.rate)), now));
            }
        }
        let off = time.saturating_sub(now);
        let trusted = ntp != 0 && off.saturating_abs() <= PLAUSIBLE;
        self.trusted = Some(trusted);
        if trusted {
            self.warning = None;
        } else if self.warning.is_none() {
            self.warning = Some(warning(ntp, off));
        }
    }

    /// Sees to it that a track leads, when a unit of one has come.
    fn lead(&mut self, track: usize, now: i64) {
        let sender = |c: &Clock| c.sender.is_some();
        if let Some(leader) = self.leader.and_then(|l| self.tracks.get(l))
            && now.saturating_sub(leader.seen) <= LEADER_SILENT
            && (sender(leader) || !sender(&self.tracks[track]))
        {
            return;
        }
        if self.leader != Some(track) {
            self.leader = Some(track);
            self.shift = self.tracks[track].shift;
            self.following = false;
        }
    }

    /// Where the sender's clock, if it may be used, puts this track: by itself, or held to another track of it.
    fn target(&self, track: usize, now: i64) -> Option<i64> {
        let (sender, when) = self.tracks[track].sender?;
        if now.saturating_sub(when) > REPORT_LIFE {
            return None;
        }
        if self.trusted? {
            return Some(sender);
        }
        // The relation between the tracks is good also of a clock that is not.
        let held =
            |i: &usize| *i != track && self.tracks[*i].last.is_some() && self.tracks[*i].sender.is_some();
        match self.leader {
            Some(leader) if leader == track => None,
            leader => {
                let anchor = leader.filter(held).or_else(|| (0..self.tracks.len()).find(held))?;
                let anchor = &self.tracks[anchor];
                Some(sender.saturating_add(anchor.offset.saturating_sub(anchor.sender?.0)))
            }
        }
    }

    fn first_offset(&mut self, track: usize, ticks: i64, now: i64) -> i64 {
        let clock = &self.tracks[track];
        let media = to_ns(ticks, clock.rate);
        let arrival = now.saturating_sub(media);
        if let Some(target) = self.target(track, now)
            && target.saturating_sub(arrival).saturating_abs() <= PLAUSIBLE
        {
            return target;
        }
        let play = |c: &Clock| Some((c.last?.1, c.play_start?, c.last?.0));
        if let Some((_, start, first)) = play(clock) {
            let npt = to_ns(i64::from(first.wrapping_sub(start) as i32), clock.rate);
            for other in self.tracks.iter().enumerate().filter(|(i, _)| *i != track).map(|(_, c)| c) {
                let Some((last_ticks, start, last)) = play(other) else { continue };
                let start = last_ticks.saturating_add(i64::from(start.wrapping_sub(last) as i32));
                let zero = to_ns(start, other.rate).saturating_add(other.offset);
                let offset = zero.saturating_add(npt).saturating_sub(media);
                if offset.saturating_sub(arrival).saturating_abs() <= PLAY_START_SLACK {
                    return offset;
                }
            }
        }
        arrival
    }

    /// By how much to move a track at a unit; never more than its progress allows.
    fn slew(&mut self, track: usize, ticks: i64, now: i64) -> i64 {
        let target = self.target(track, now);
        let leads = self.leader == Some(track);
        let clock = &mut self.tracks[track];
        let progress = to_ns(ticks.saturating_sub(clock.highest).max(0), clock.rate);
        let room = progress / 1000 * SLEW_MS_PER_S;
        let moved = match target {
            Some(target) => {
                let error = target.saturating_sub(clock.offset);
                // A sender whose tracks disagree by more than this has stepped its clock between two reports.
                if error.saturating_abs() > 2 * PLAUSIBLE { 0 } else { error.clamp(-room, room) }
            }
            None if leads => {
                let room = progress / 1_000_000 * FOLLOW_US_PER_S;
                self.following = clock.error().is_some_and(|error| {
                    error.saturating_abs() > if self.following { SETTLED } else { SLACK }
                });
                if self.following { clock.error().unwrap_or(0).clamp(-room, room) } else { 0 }
            }
            None => self.shift.saturating_sub(clock.shift).clamp(-room, room),
        };
        if leads {
            if target.is_some() {
                let offset = clock.offset.saturating_add(moved);
                clock.bias = Some(clock.envelope.value().map(|e| offset.saturating_sub(e)));
            }
            self.shift = self.shift.saturating_add(moved);
            clock.shift = self.shift;
        } else {
            // What its own reports do to it is nothing that the leading track's would do again.
            clock.shift = if target.is_some() { self.shift } else { clock.shift.saturating_add(moved) };
        }
        moved
    }

    /// Whether what the leading track is given is an estimate.
    fn judge(&mut self, track: usize, offset: i64, now: i64) {
        if self.leader == Some(track) {
            let target = self.target(track, now).filter(|_| self.trusted == Some(true));
            self.estimated = target.is_none_or(|t| t.saturating_sub(offset).saturating_abs() > NEAR);
        }
    }

    fn anchor_anew(&mut self, track: usize, ticks: i64, step: i64, now: i64) -> Stamp {
        let given = self.tracks.iter().filter(|c| c.last.is_some()).map(|c| c.furthest);
        let latest = given.max().map_or(now, |t| t.saturating_add(AFTER));
        let clock = &mut self.tracks[track];
        // What was known belongs to the time line that ended.
        clock.sender = None;
        clock.envelope = Envelope::default();
        clock.bias = None;
        clock.shift = self.shift;
        clock.play_start = None;
        clock.highest = ticks;
        let media = to_ns(ticks, clock.rate);
        let fresh = now.max(latest).saturating_sub(media);
        // When the sender's clock jumps, its tracks do so together, and stay in step.
        let together = self.jump.and_then(|(when, moved)| {
            let offset = clock.offset.saturating_add(moved);
            let near = offset.saturating_sub(fresh).saturating_abs() <= JUMP
                && now.saturating_sub(when) <= SAME_JUMP;
            near.then_some(offset)
        });
        let offset = together.unwrap_or(fresh);
        if together.is_none() {
            self.jump = Some((now, offset.saturating_sub(clock.offset)));
        }
        self.judge(track, offset, now);
        self.place(track, ticks, offset, now, Some(step / 1_000_000))
    }

    fn place(&mut self, track: usize, ticks: i64, offset: i64, now: i64, jumped_ms: Option<i64>) -> Stamp {
        let clock = &mut self.tracks[track];
        clock.offset = offset;
        clock.highest = clock.highest.max(ticks);
        let time = to_ns(ticks, clock.rate).saturating_add(offset);
        clock.furthest = clock.furthest.max(time);
        clock.lead = time.saturating_sub(now);
        Stamp { pts: ticks.saturating_add(to_ticks(offset, clock.rate)), jumped_ms }
    }
}

impl Clock {
    fn arrived(&mut self, ticks: i64, now: i64) {
        self.envelope.push(now, now.saturating_sub(to_ns(ticks, self.rate)));
    }

    /// How far it is from where its arrivals put it; none as long as they do not say.
    fn error(&mut self) -> Option<i64> {
        let envelope = self.envelope.value()?;
        let offset = self.offset;
        let bias = match &mut self.bias {
            Some(bias) => *bias.get_or_insert(offset.saturating_sub(envelope)),
            None => 0,
        };
        Some(envelope.saturating_add(bias).saturating_sub(offset))
    }
}

fn to_ns(ticks: i64, rate: i64) -> i64 {
    clamp(i128::from(ticks) * i128::from(SECOND) / i128::from(rate))
}

fn to_ticks(ns: i64, rate: i64) -> i64 {
    clamp((i128::from(ns) * i128::from(rate)).div_euclid(i128::from(SECOND)))
}

fn clamp(v: i128) -> i64 {
    // Far inside of i64, so that sums of a few stay exact.
    v.clamp(-(1 << 62), 1 << 62) as i64
}

#[cfg(test)]
mod tests;
