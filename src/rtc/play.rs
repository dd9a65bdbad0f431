//! WHEP's half of a session: what of a stream a viewer is sent.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use media::{Codec, Kind, Track, av1, vp9};
use str0m::{
    RtcConfig,
    format::PayloadParams,
    media::{Direction, Frequency, MediaKind, Mid, Pt},
    stats::MediaEgressStats,
};

use crate::{
    Unit,
    link::{Link, Report, Verdict},
    out::{self, Times},
    peer::{Ground, Peer, Refused},
    sdp,
};

/// What a viewer reports is looked at so often.
const STATS: Duration = Duration::from_secs(1);

/// A viewer's media.
pub(crate) struct Play {
    lanes: Vec<Lane>,
    times: Times,
    link: Link,
    /// What of the stream is not sent, in words.
    pub(crate) left_out: Vec<String>,
}

struct Lane {
    codec: Codec,
    video: bool,
    mid: Mid,
    pt: Pt,
    rate: Frequency,
    /// Pictures: nothing is sent until one that can be decoded alone.
    waits: bool,
    /// When the unit before this one is shown.
    before: i64,
}

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is on its way.
    Yes,
    /// Nobody is waiting for it.
    No,
    /// A key frame has to come first, or the link does not carry it.
    Waits,
    /// Its pictures are not shown in the order in which they come: no browser takes that.
    Reordered,
    /// The track has become one that was not agreed upon.
    Other,
}

/// The picture and the sound that are sent, and what cannot be, in words.
fn choose(tracks: &[Arc<Track>]) -> (Option<&Track>, Option<&Track>, Vec<String>) {
    let (mut video, mut audio, mut left_out) = (None, None, Vec::new());
    for track in tracks {
        let slot = if track.is_video() { &mut video } else { &mut audio };
        match out::rate(track.codec) {
            // G.711 is 8 kHz, one channel, wherever RTP has it by number.
            Some(_) if slot.is_none() && !odd_g711(track) => *slot = Some(&**track),
            Some(_) if slot.is_some() => {}
            _ => left_out.push(media::codec_name(track).to_owned()),
        }
    }
    (video, audio, left_out)
}

fn odd_g711(track: &Track) -> bool {
    let g711 = matches!(track.codec, Codec::Pcmu | Codec::Pcma);
    g711 && track.kind != (Kind::Audio { rate: 8_000, channels: 1 })
}

/// What else a viewer can do.
fn instead(tracks: &[&Track]) -> &'static str {
    // What no browser plays but by WebRTC.
    match tracks.iter().any(|t| t.codec == Codec::VP8) {
        true => "export it as a file",
        false => "watch it by HLS",
    }
}

/// What is to be sent of a stream.
struct Chosen<'a> {
    video: Option<&'a Track>,
    audio: Option<&'a Track>,
    left_out: Vec<String>,
    config: RtcConfig,
}

/// Chooses, or says why nothing can be sent.
fn chosen<'a>(ground: &Ground, tracks: &'a [Arc<Track>]) -> Result<Chosen<'a>, Refused> {
    let (video, audio, left_out) = choose(tracks);
    let has_video = tracks.iter().any(|t| t.is_video());
    if video.is_none() && (has_video || audio.is_none()) {
        return Err(Refused::Nothing(format!(
            "{} cannot be sent by WebRTC: {}",
            if left_out.is_empty() { "this".into() } else { left_out.join(" and ") },
            instead(&[])
        )));
    }
    let mut config = ground.config().set_stats_interval(Some(STATS));
    for codec in [video, audio].into_iter().flatten().map(|t| t.codec) {
        config = match codec {
            Codec::H264 => config.enable_h264(true),
            Codec::H265 => config.enable_h265(true),
            Codec::VP8 => config.enable_vp8(true),
            Codec::VP9 => config.enable_vp9(true),
            Codec::AV1 => config.enable_av1(true),
            Codec::Opus => config.enable_opus(true, false),
            Codec::Pcmu => config.enable_pcmu(true, false),
            Codec::Pcma => config.enable_pcma(true, false),
            Codec::Aac | Codec::Other(_) => config,
        };
    }
    Ok(Chosen { video, audio, left_out, config })
}

/// Answers a viewer's offer.
pub(crate) fn negotiate(
    ground: &Ground,
    offer: &str,
    tracks: &[Arc<Track>],
    addresses: &[SocketAddr],
    now: Instant,
) -> Result<(Peer, Play), Refused> {
    let mut chosen = chosen(ground, tracks)?;
    let config = std::mem::replace(&mut chosen.config, ground.config());
    let mut peer = Peer::accept(config, offer, addresses, now)?;
    let play = play(&mut peer, chosen, offer)?;
    Ok((peer, play))
}

/// How many packets of a viewer's sound may be held for one that is late: none is sent again.
const LATE: usize = 3;

/// Offers a viewer what there is, and to receive what it says, in Opus.
pub(crate) fn propose(
    ground: &Ground,
    tracks: &[Arc<Track>],
    addresses: &[SocketAddr],
    now: Instant,
) -> Result<(Peer, String), Refused> {
    let Chosen { video, audio, config, .. } = chosen(ground, tracks)?;
    let mut kinds = Vec::new();
    if video.is_some() {
        kinds.push((MediaKind::Video, Direction::SendOnly));
    }
    let way = match audio.map(|a| a.codec) {
        Some(Codec::Opus) => Direction::SendRecv,
        Some(_) => Direction::SendOnly,
        // It hears who else watches.
        None => Direction::SendRecv,
    };
    kinds.push((MediaKind::Audio, way));
    let config = if audio.is_none() { config.enable_opus(true, false) } else { config };
    Peer::offer(config.set_reordering_size_audio(LATE), &kinds, addresses, now)
}

/// Takes the answer to that. The tracks are those that were offered.
pub(crate) fn agreed(
    ground: &Ground,
    peer: &mut Peer,
    tracks: &[Arc<Track>],
    answer: &str,
    now: Instant,
) -> Result<Play, Refused> {
    peer.answered(answer, now)?;
    play(peer, chosen(ground, tracks)?, answer)
}

/// The lanes for what both sides have. `said`: the peer's description.
fn play(peer: &mut Peer, chosen: Chosen<'_>, said: &str) -> Result<Play, Refused> {
    let Chosen { video, audio, left_out, .. } = chosen;
    let mut play = Play { lanes: Vec::new(), times: Times::default(), link: Link::default(), left_out };
    let media = peer.media.clone();
    for (track, kind) in [(video, MediaKind::Video), (audio, MediaKind::Audio)] {
        let Some(track) = track else { continue };
        let lane = media.iter().filter(|m| m.1 == Some(kind)).find_map(|m| lane(peer, m.0, track));
        match lane {
            Some(lane) => play.lanes.push(lane),
            None if kind == MediaKind::Video || video.is_none() => {
                let name = if kind == MediaKind::Video { "video" } else { "audio" };
                let of_kind = |m: &&(Mid, Option<MediaKind>)| m.1 == Some(kind);
                let mut there = media.iter().filter(of_kind).filter_map(|m| peer.rtc.media(m.0)).peekable();
                if there.peek().is_some() && there.all(|m| !m.disabled() && !m.direction().is_sending()) {
                    let m = format!(
                        "the offer does not ask to receive {name}: it has to be recvonly or sendrecv"
                    );
                    return Err(Refused::Nothing(m));
                }
                let has = match &sdp::offered(said, name)[..] {
                    [] => format!("no {name}"),
                    some => some.join(", "),
                };
                let wanted = media::codec_name(track);
                return Err(Refused::Nothing(format!(
                    "the stream is {wanted}; the offer has {has} to receive: offer {wanted}, or {}",
                    instead(&[track])
                )));
            }
            None => play.left_out.push(media::codec_name(track).to_owned()),
        }
    }
    Ok(play)
}

fn lane(peer: &mut Peer, mid: Mid, track: &Track) -> Option<Lane> {
    let rate = out::rate(track.codec)?;
    let same = |p: &&PayloadParams| p.spec().codec.to_string().eq_ignore_ascii_case(rtp_name(track.codec));
    // Profile, then level: bytes of `profile_level_id`.
    let profile = (track.codec == Codec::H264).then(|| track.config.get(1)).flatten();
    peer.rtc.media(mid).filter(|m| m.direction().is_sending() && !m.disabled())?;
    let writer = peer.rtc.writer(mid)?;
    let fits = |p: &PayloadParams| {
        let f = p.spec().format;
        let whole = f.packetization_mode.unwrap_or(0) == 1;
        let mine = f.profile_level_id.map(|id| (id >> 16) as u8) == profile.copied();
        (!whole, !mine)
    };
    // Of VP9 and AV1 a decoder has to have the very profile.
    let decodes = |p: &&PayloadParams| {
        let f = p.spec().format;
        match track.codec {
            Codec::VP9 => {
                vp9::Config::of(track).is_ok_and(|c| f.profile_id.unwrap_or(0) == u32::from(c.profile))
            }
            Codec::AV1 => {
                let profile = av1::configured(&track.config).map_or(0, |s| s.profile);
                f.profile.unwrap_or(0) == profile
            }
            _ => true,
        }
    };
    let best = writer.payload_params().filter(same).filter(decodes).min_by_key(|p| fits(p))?;
    Some(Lane {
        codec: track.codec,
        video: track.is_video(),
        mid,
        pt: best.pt(),
        rate,
        waits: track.is_video(),
        before: i64::MIN,
    })
}

fn rtp_name(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "H264",
        Codec::H265 => "H265",
        Codec::VP8 => "VP8",
        Codec::VP9 => "VP9",
        Codec::AV1 => "AV1",
        Codec::Opus => "opus",
        Codec::Pcmu => "PCMU",
        Codec::Pcma => "PCMA",
        Codec::Aac | Codec::Other(_) => "",
    }
}

impl Play {
    /// Sends a unit as far as `str0m`'s queue; the peer's turn is next.
    pub(crate) fn send(&mut self, peer: &mut Peer, unit: &Unit, now: Instant) -> Sent {
        let video = unit.track.is_video();
        let Some(lane) = self.lanes.iter_mut().find(|l| l.video == video) else { return Sent::No };
        if lane.codec != unit.track.codec {
            // A second sound, say.
            return if self.left_out.is_empty() || video { Sent::Other } else { Sent::No };
        }
        let start = unit.access.is_start();
        if lane.waits && !start {
            return Sent::Waits;
        }
        if video && !self.link.passes(unit.data.len(), start, lane.waits, now) {
            lane.waits = true;
            return Sent::Waits;
        }
        if lane.waits {
            (lane.waits, lane.before) = (false, i64::MIN);
        }
        if video && unit.pts < lane.before {
            // A source whose clock went back begins with a key frame.
            if !start {
                return Sent::Reordered;
            }
        }
        lane.before = unit.pts;
        let Some(payload) = out::payload(unit) else { return Sent::No };
        let (at, shown) = self.times.of(unit.pts, unit.track.timescale, now);
        let Some(writer) = peer.rtc.writer(lane.mid) else { return Sent::No };
        match writer.write(lane.pt, shown, out::ticks(at, lane.rate), payload) {
            Ok(()) => Sent::Yes,
            Err(e) => {
                tracing::debug!(error = %e, "a unit was not sent");
                Sent::No
            }
        }
    }

    /// What a viewer said of what it received, so far. A verdict if it changes what is sent; the peer's turn is next.
    pub(crate) fn reported(&mut self, peer: &mut Peer, stats: &MediaEgressStats) -> Option<Verdict> {
        self.lanes.iter().find(|l| l.video && l.mid == stats.mid)?;
        let verdict = self.link.report(Report::of(stats)?)?;
        peer.pace(self.link.pace());
        Some(verdict)
    }

    /// Whether it is sent sound of the stream.
    pub(crate) fn sounds(&self) -> bool {
        self.lanes.iter().any(|l| !l.video)
    }

    /// Some units are missing: pictures wait for the next key frame.
    pub(crate) fn missed(&mut self) {
        self.lanes.iter_mut().for_each(|l| l.waits = l.video);
    }

    /// Sends a key frame of some seconds ago, so that there is something to see until the next one comes.
    pub(crate) fn send_still(&mut self, peer: &mut Peer, unit: &Unit, now: Instant) -> Sent {
        let sent = self.send(peer, unit, now);
        self.missed();
        // What comes is not as much later as its times say.
        self.times.forget();
        sent
    }
}
