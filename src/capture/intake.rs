//! From the packets of a session to what its sink is told. Without I/O.
//!
//! An [`Intake`] takes RTP and RTCP as they arrive, whoever brings them, and queues [`Out`] in the order in which the
//! sink must hear it. It keeps access units back only until the tracks can be declared, and not for long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use media::{AccessUnit, Kind, Track};
use world::Timestamp;

use crate::rtp::{Broken, Carried, Depacketizer, Frame, Packet, SenderReport};
use crate::sdp::Media;
use crate::times::Timeline;

/// How long, and how many bytes of, access units wait for parameter sets that the description did not have.
const HOLD: Duration = Duration::from_secs(5);
const HOLD_BYTES: usize = 8 << 20;
/// A bigger leap in sequence numbers is no loss but another beginning: half of all numbers lie behind.
const MAX_LOSS: u16 = 0x7fff;
/// So many packets of an unannounced payload type and none of the announced one: it is what the sender means.
const ODD_TYPES: u32 = 20;

/// What a sink is to be told.
#[derive(Debug, PartialEq)]
pub(crate) enum Out {
    Tracks(Vec<Arc<Track>>),
    Unit(AccessUnit, Timestamp),
    /// Whether times from here on are estimates; before the first, they are not.
    Estimated(bool),
    Discontinuity(String),
}

#[derive(Debug)]
pub(crate) struct Intake {
    lanes: Vec<Lane>,
    timeline: Timeline,
    /// What was told last.
    estimated: bool,
    declared: bool,
    held: usize,
    held_since: Option<Timestamp>,
    out: VecDeque<Out>,
    left_out: Vec<String>,
    counts: Counts,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Access units.
    pub units: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that made no sense.
    pub broken: u64,
}

/// One medium that is received.
#[derive(Debug)]
struct Lane {
    /// Its place in the description.
    media: usize,
    id: u8,
    payload_type: u8,
    odd: Option<(u8, u32)>,
    rate: u32,
    ssrc: Option<u32>,
    next: Option<u16>,
    depacketizer: Depacketizer,
    frames: Vec<Frame>,
    track: Option<Arc<Track>>,
    video: bool,
}

impl Intake {
    /// For the media of a description that can be received. `Err` names those that there are if none can.
    pub(crate) fn new(description: &[Media]) -> Result<Intake, String> {
        let (mut lanes, mut left_out) = (Vec::new(), Vec::new());
        for (at, m) in description.iter().enumerate() {
            match m.carried() {
                Ok(carried) => lanes.push(Lane::new(at, lanes.len() as u8 + 1, m, &carried)),
                // What is neither seen nor heard is not missed.
                Err(_) if !matches!(m.kind.as_str(), "video" | "audio") => {}
                Err(what) => left_out.push(what),
            }
        }
        if lanes.is_empty() {
            return Err(match &left_out[..] {
                [] => "there is neither video nor audio in it".into(),
                names => format!("{} cannot be received", names.join(" and ")),
            });
        }
        let timeline = Timeline::new(lanes.iter().map(|l| l.rate));
        Ok(Intake {
            lanes,
            timeline,
            estimated: false,
            declared: false,
            held: 0,
            held_since: None,
            out: VecDeque::new(),
            left_out,
            counts: Counts::default(),
        })
    }

    /// Whether a medium of the description is received.
    pub(crate) fn takes(&self, media: usize) -> bool {
        self.lanes.iter().any(|l| l.media == media)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// See [`Timeline::estimated`].
    pub(crate) fn estimated(&self) -> bool {
        self.timeline.estimated()
    }

    pub(crate) fn clock_warning(&self) -> Option<&str> {
        self.timeline.clock_warning()
    }

    /// What to tell next.
    pub(crate) fn next(&mut self) -> Option<Out> {
        self.declared.then(|| self.out.pop_front()).flatten()
    }

    /// Whether there is something to tell.
    pub(crate) fn waiting(&self) -> bool {
        self.declared && !self.out.is_empty()
    }

    /// `H.264 1920×1080 and AAC`
    pub(crate) fn words(&self) -> String {
        let tracks = self.lanes.iter().filter_map(|l| l.track.as_deref());
        let mut words = tracks.map(describe).collect::<Vec<_>>().join(" and ");
        if !self.left_out.is_empty() {
            words += &format!(" ({} cannot be received and is left out)", self.left_out.join(" and "));
        }
        words
    }

    /// Whether no packet of a medium has come yet.
    pub(crate) fn fresh(&self, media: usize) -> bool {
        self.lanes.iter().any(|l| l.media == media && l.next.is_none())
    }

    /// See [`Timeline::play_start`].
    pub(crate) fn play_start(&mut self, media: usize, rtp: u32) {
        if let Some(lane) = self.lanes.iter().position(|l| l.media == media) {
            self.timeline.play_start(lane, rtp);
        }
    }

    /// Takes an RTP packet of a medium. Packets come in order; `received` is when this one did.
    pub(crate) fn rtp(&mut self, media: usize, data: &[u8], received: Timestamp) {
        let Some(at) = self.lanes.iter().position(|l| l.media == media) else { return };
        let Some(packet) = Packet::parse(data) else {
            self.counts.broken += 1;
            return;
        };
        let lane = &mut self.lanes[at];
        if !lane.is_mine(packet.payload_type) {
            return;
        }
        let Some(loss) = lane.sequence(&packet) else { return };
        if let Loss::Packets(n) = loss {
            self.counts.lost += u64::from(n);
        }
        let lost = loss != Loss::None;
        let result = lane.depacketizer.push(&packet, lost, &mut lane.frames);
        // Sound says by its times where it is missing; a picture that is missing spoils those after it.
        let speaks = lane.video || !self.lanes.iter().any(|l| l.video);
        if speaks {
            match loss {
                Loss::None => {}
                Loss::Packets(n) => self.broke(format!("{n} packets lost")),
                Loss::Restart => self.broke("the sender started over".into()),
            }
        }
        if let Err(Broken(why)) = result {
            self.counts.broken += 1;
            tracing::debug!(media, sequence = packet.sequence, why, "an access unit was dropped");
            if speaks {
                self.broke(format!("an access unit was dropped: {why}"));
            }
        }
        self.collect(at, received);
        if !self.declared
            && self.held_since.is_some_and(|since| received.since(since) > HOLD || self.held > HOLD_BYTES)
        {
            self.declare();
        }
    }

    /// Takes an RTCP packet of a medium.
    pub(crate) fn rtcp(&mut self, media: usize, data: &[u8], received: Timestamp) {
        if let Some(report) = SenderReport::parse(data) {
            self.report(media, report.ntp, report.rtp, received);
        }
    }

    /// Takes what a sender report said.
    pub(crate) fn report(&mut self, media: usize, ntp: u64, rtp: u32, received: Timestamp) {
        if let Some(lane) = self.lanes.iter().position(|l| l.media == media) {
            self.timeline.sender_report(lane, ntp, rtp, received);
        }
    }

    /// The time line broke for a reason that packets do not show.
    pub(crate) fn broke(&mut self, why: String) {
        // One is as good as many.
        if !matches!(self.out.back(), Some(Out::Discontinuity(_))) {
            self.out.push_back(Out::Discontinuity(why));
        }
    }

    /// Nothing more comes.
    pub(crate) fn end(&mut self, received: Timestamp) {
        for at in 0..self.lanes.len() {
            let lane = &mut self.lanes[at];
            lane.depacketizer.end(&mut lane.frames);
            self.collect(at, received);
        }
        if self.counts.units > 0 && !self.declared {
            self.declare();
        }
    }

    fn collect(&mut self, at: usize, received: Timestamp) {
        let mut frames = std::mem::take(&mut self.lanes[at].frames);
        for frame in frames.drain(..) {
            let lane = &mut self.lanes[at];
            if frame.changed || lane.track.is_none() {
                lane.track = lane.depacketizer.track(lane.id).map(Arc::new);
                if self.declared && lane.track.is_some() {
                    self.out.push_back(Out::Tracks(self.tracks()));
                }
            }
            let lane = &self.lanes[at];
            let id = lane.id;
            let stamp = self.timeline.unit(at, frame.timestamp, received);
            if let Some(ms) = stamp.jumped_ms {
                self.broke(format!("times jumped by {ms} ms"));
            }
            if self.estimated != self.timeline.estimated() {
                self.estimated = !self.estimated;
                self.out.push_back(Out::Estimated(self.estimated));
            }
            self.counts.units += 1;
            self.counts.bytes += frame.data.len() as u64;
            if !self.declared {
                self.held += frame.data.len() + 64;
                self.held_since.get_or_insert(received);
            }
            let unit = AccessUnit {
                track: id,
                pts: stamp.pts,
                dts: None,
                duration: frame.duration,
                access: frame.access,
                data: frame.data,
            };
            self.out.push_back(Out::Unit(unit, received));
        }
        self.lanes[at].frames = frames;
        if !self.declared && self.counts.units > 0 && self.lanes.iter().all(|l| l.track.is_some()) {
            self.declare();
        }
    }

    fn tracks(&self) -> Vec<Arc<Track>> {
        let track =
            |l: &Lane| l.track.clone().unwrap_or_else(|| Arc::new(l.depacketizer.bare_track(l.id, l.rate)));
        self.lanes.iter().map(track).collect()
    }

    fn declare(&mut self) {
        self.declared = true;
        // Nothing was before, so nothing can have broken.
        while matches!(self.out.front(), Some(Out::Discontinuity(_))) {
            self.out.pop_front();
        }
        self.out.push_front(Out::Tracks(self.tracks()));
    }
}

#[derive(PartialEq)]
enum Loss {
    None,
    Packets(u16),
    Restart,
}

impl Lane {
    fn new(media: usize, id: u8, m: &Media, carried: &Carried) -> Lane {
        let depacketizer = Depacketizer::new(carried);
        Lane {
            media,
            id,
            payload_type: m.payload_type,
            odd: None,
            rate: carried.rate,
            ssrc: None,
            next: None,
            track: depacketizer.track(id).map(Arc::new),
            depacketizer,
            frames: Vec::new(),
            video: m.kind == "video",
        }
    }

    fn is_mine(&mut self, payload_type: u8) -> bool {
        if payload_type == self.payload_type {
            self.odd = None;
            return true;
        }
        if self.next.is_some() {
            return false;
        }
        // Some senders announce one type and send another.
        let n = match self.odd {
            Some((t, n)) if t == payload_type => n + 1,
            _ => 1,
        };
        self.odd = Some((payload_type, n));
        if n > ODD_TYPES {
            self.payload_type = payload_type;
        }
        n > ODD_TYPES
    }

    /// What is missing before a packet; `None` if it is from the past.
    fn sequence(&mut self, p: &Packet<'_>) -> Option<Loss> {
        let restart = self.ssrc.replace(p.ssrc).is_some_and(|old| old != p.ssrc);
        let ahead = self.next.map_or(0, |next| p.sequence.wrapping_sub(next));
        let loss = match ahead {
            _ if restart => Loss::Restart,
            0 => Loss::None,
            1..=MAX_LOSS => Loss::Packets(ahead),
            // Late or twice.
            _ if ahead > u16::MAX - 1000 => return None,
            _ => Loss::Restart,
        };
        self.next = Some(p.sequence.wrapping_add(1));
        Some(loss)
    }
}

/// `H.264 1920×1080`
pub(crate) fn describe(track: &Track) -> String {
    let name = media::codec_name(track);
    match track.kind {
        Kind::Video { width: 0, .. } => name.to_string(),
        Kind::Video { width, height } => format!("{name} {width}×{height}"),
        Kind::Audio { .. } => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::tests::{PPS, SPS, rtp};
    use crate::sdp;

    const VIDEO: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    const SOUND: &str = "m=audio 0 RTP/AVP 8\r\n";
    const IDR: &[u8] = &[0x65, 0x88, 1];
    const P: &[u8] = &[0x41, 0x88, 1];

    fn intake(description: &str) -> Intake {
        Intake::new(&sdp::parse(description.as_bytes()).unwrap().media).unwrap()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp(1_790_000_000_000_000 + ms * 1000)
    }

    struct Sender(u16);

    impl Sender {
        fn unit(&mut self, to: &mut Intake, ms: i64, nals: &[&[u8]]) {
            for (i, nal) in nals.iter().enumerate() {
                to.rtp(0, &rtp(96, i + 1 == nals.len(), self.0, ms as u32 * 90, nal), at(ms));
                self.0 = self.0.wrapping_add(1);
            }
        }
    }

    fn told(to: &mut Intake) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(out) = to.next() {
            all.push(match out {
                Out::Estimated(_) => continue,
                Out::Tracks(t) => {
                    format!("tracks {}", t.iter().map(|t| describe(t)).collect::<Vec<_>>().join(", "))
                }
                Out::Unit(u, _) => format!("unit {}", u.track),
                Out::Discontinuity(w) => w,
            });
        }
        all
    }

    #[test]
    fn tracks_come_first_and_again_when_they_change() {
        let (mut i, mut s) = (intake(VIDEO), Sender(0));
        s.unit(&mut i, 0, &[SPS, PPS, IDR]);
        s.unit(&mut i, 40, &[P]);
        s.unit(&mut i, 80, &[SPS, PPS, IDR]);
        assert_eq!(told(&mut i), ["tracks H.264 320×240", "unit 1", "unit 1", "unit 1"]);
        s.unit(&mut i, 120, &[SPS, &[0x68, 0xce, 0x3c, 0x80], IDR]);
        assert_eq!(told(&mut i), ["tracks H.264 320×240", "unit 1"]);
        assert_eq!(i.counts().units, 4);
    }

    #[test]
    fn units_wait_for_parameter_sets_but_not_for_ever() {
        let (mut i, mut s) = (intake(&format!("{VIDEO}{SOUND}")), Sender(0));
        s.unit(&mut i, 0, &[P]);
        i.rtp(1, &rtp(8, false, 0, 0, &[1; 160]), at(10));
        assert!(told(&mut i).is_empty());
        s.unit(&mut i, 40, &[SPS, PPS, IDR]);
        assert_eq!(told(&mut i), ["tracks H.264 320×240, G.711 A-law", "unit 1", "unit 2", "unit 1"]);

        let (mut i, mut s) = (intake(VIDEO), Sender(0));
        for n in 0..=150 {
            s.unit(&mut i, n * 40, &[P]);
        }
        let all = told(&mut i);
        assert_eq!((all[0].as_str(), all.len()), ("tracks H.264", 152));
    }

    #[test]
    fn what_is_lost_is_counted_and_told_and_the_rest_goes_on() {
        let (mut i, mut s) = (intake(VIDEO), Sender(65_530));
        s.unit(&mut i, 0, &[SPS, PPS, IDR]);
        told(&mut i);
        s.0 = s.0.wrapping_add(5);
        s.unit(&mut i, 40, &[P]);
        assert_eq!(told(&mut i), ["5 packets lost", "unit 1"]);
        // Late, and twice: nothing.
        i.rtp(0, &rtp(96, true, s.0.wrapping_sub(3), 0, P), at(41));
        i.rtp(0, &rtp(96, true, s.0.wrapping_sub(1), 0, P), at(41));
        assert!(told(&mut i).is_empty());
        assert_eq!((i.counts().lost, i.counts().units), (5, 2));
        // Another source.
        let mut other = rtp(96, true, 9, 0, IDR);
        other[11] = 99;
        i.rtp(0, &other, at(80));
        assert_eq!(told(&mut i)[0], "the sender started over");
    }

    #[test]
    fn a_lost_packet_of_sound_does_not_cut_the_picture() {
        let (mut i, mut s) = (intake(&format!("{VIDEO}{SOUND}")), Sender(0));
        s.unit(&mut i, 0, &[SPS, PPS, IDR]);
        i.rtp(1, &rtp(8, false, 0, 0, &[1; 160]), at(0));
        i.rtp(1, &rtp(8, false, 3, 480, &[1; 160]), at(60));
        assert_eq!(told(&mut i)[1..], ["unit 1", "unit 2", "unit 2"]);
        assert_eq!(i.counts().lost, 2);
    }

    #[test]
    fn a_jump_of_the_senders_clock_is_told() {
        let (mut i, mut s) = (intake(VIDEO), Sender(0));
        s.unit(&mut i, 0, &[SPS, PPS, IDR]);
        told(&mut i);
        i.rtp(0, &rtp(96, true, s.0, 900_000_000, P), at(40));
        assert_eq!(told(&mut i), ["times jumped by 10000000 ms", "unit 1"]);
    }

    #[test]
    fn whether_times_are_estimates_is_told_before_what_it_is_of() {
        let (mut i, mut s) = (intake(VIDEO), Sender(0));
        s.unit(&mut i, 0, &[SPS, PPS, IDR]);
        s.unit(&mut i, 40, &[P]);
        let now = at(40).micros() as u64;
        let ntp = ((now / 1_000_000 + 2_208_988_800) << 32) + ((now % 1_000_000) << 32) / 1_000_000;
        i.report(0, ntp, 40 * 90, at(40));
        s.unit(&mut i, 80, &[P]);
        let mut told = Vec::new();
        while let Some(out) = i.next() {
            told.push(match out {
                Out::Estimated(true) => "estimated",
                Out::Estimated(false) => "known",
                Out::Unit(..) => "unit",
                _ => continue,
            });
        }
        assert_eq!(told, ["estimated", "unit", "unit", "known", "unit"]);
    }

    #[test]
    fn packets_of_another_type_are_left_out_unless_they_are_all_there_is() {
        let (mut i, mut s) = (intake(VIDEO), Sender(0));
        s.unit(&mut i, 0, &[SPS, PPS, IDR]);
        i.rtp(0, &rtp(50, true, 77, 0, b"odd"), at(0));
        assert_eq!((told(&mut i).len(), i.counts().lost), (2, 0));
        let mut i = intake(VIDEO);
        for n in 0..60 {
            i.rtp(
                0,
                &rtp(99, n % 3 == 2, n, u32::from(n) / 3 * 3600, [SPS, PPS, IDR][usize::from(n) % 3]),
                at(0),
            );
        }
        assert!(i.counts().units > 10);
    }

    #[test]
    fn what_cannot_be_received_is_named() {
        let all = sdp::parse(
            b"v=0\r\nm=video 0 RTP/AVP 26\r\nm=audio 0 RTP/AVP 9\r\nm=application 0 RTP/AVP 98\r\n",
        );
        let e = Intake::new(&all.unwrap().media).unwrap_err();
        assert_eq!(e, "JPEG video and G722 audio cannot be received");
        let mut i = intake(&format!("v=0\r\nm=video 0 RTP/AVP 26\r\n{SOUND}"));
        i.rtp(1, &rtp(8, false, 0, 0, &[1; 160]), at(0));
        told(&mut i);
        assert_eq!(i.words(), "G.711 A-law (JPEG video cannot be received and is left out)");
        assert!(Intake::new(&[]).is_err());
    }
}
