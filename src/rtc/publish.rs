//! WHIP's half of a session: what a publisher may send, and its packets on their way to the stream.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::{BufMut, Bytes, BytesMut};
use str0m::{
    media::{Direction, KeyframeRequestKind, MediaKind, Mid, SenderFeedback},
    rtp::RtpHeader,
};

use crate::{
    peer::{Ground, Peer, Refused},
    sdp,
};

/// Seconds from NTP's epoch to Unix's (RFC 5905 figure 4).
const NTP: u64 = 2_208_988_800;

/// A publisher's media.
pub(crate) struct Publishing {
    /// In the order of the answer.
    media: Vec<(Mid, Option<MediaKind>)>,
}

/// What is taken of pictures, by the names that offers have for them.
const PICTURES: [&str; 5] = ["H264", "H265", "VP8", "VP9", "AV1"];

/// The codecs for pictures that an offer has and that are taken: H.264 first, which every player has, then the offer's order.
fn pictures(offer: &str) -> Vec<&'static str> {
    let offered = sdp::offered(offer, "video");
    let known = |name: &String| PICTURES.iter().find(|p| p.eq_ignore_ascii_case(name)).copied();
    let mut out: Vec<_> = offered.iter().filter_map(known).collect();
    out.sort_by_key(|name| *name != "H264");
    out
}

/// Answers a publisher's offer. Of sound Opus and G.711 are taken, of pictures one codec: the first of [`pictures`] that can
/// be agreed upon. Were there several in the answer, the publisher might change from one to another on its way.
pub(crate) fn negotiate(
    ground: &Ground,
    offer: &str,
    addresses: &[SocketAddr],
    now: Instant,
) -> Result<(Peer, Publishing), Refused> {
    let mut all = pictures(offer).into_iter();
    let mut first = None;
    loop {
        let name = all.next();
        match (with(ground, offer, name, addresses, now), first.take()) {
            // Another one may do.
            (Err(Refused::Nothing(why)), before) if all.len() > 0 => {
                first = before.or(Some(Refused::Nothing(why)));
            }
            (Err(Refused::Nothing(_)), Some(why)) => return Err(why),
            (done, _) => return done,
        }
    }
}

/// Answers it with one codec for pictures.
fn with(
    ground: &Ground,
    offer: &str,
    pictures: Option<&str>,
    addresses: &[SocketAddr],
    now: Instant,
) -> Result<(Peer, Publishing), Refused> {
    let is = |name| pictures == Some(name);
    let config = ground
        .config()
        .enable_h264(is("H264"))
        .enable_h265(is("H265"))
        .enable_vp8(is("VP8"))
        .enable_vp9(is("VP9"))
        .enable_av1(is("AV1"))
        .enable_opus(true, false)
        .enable_pcmu(true, false)
        .enable_pcma(true, false)
        .set_rtp_mode(true)
        .enable_raw_packets(true);
    let mut peer = Peer::accept(config, offer, addresses, now)?;
    peer.put_in_order();
    let media = peer.media.clone();
    let mut refused = Vec::new();
    let mut taken = 0;
    for (mid, kind) in &media {
        let Some(kind) = kind else { continue };
        let name = if *kind == MediaKind::Video { "video" } else { "audio" };
        match peer.rtc.media(*mid) {
            Some(m) if m.disabled() => refused.extend(sdp::offered(offer, name)),
            Some(m) if m.direction().is_receiving() => taken += 1,
            _ => {}
        }
    }
    if !refused.is_empty() {
        return Err(Refused::Nothing(format!(
            "{} cannot be received: send H.264 (or H.265, VP8, VP9, AV1), and Opus or G.711",
            refused.join(", ")
        )));
    }
    if taken == 0 {
        return Err(Refused::Nothing("the offer sends neither video nor audio".into()));
    }
    Ok((peer, Publishing { media }))
}

/// Offers to receive a picture in H.264 and sound in Opus (Kinesis Video Streams with WebRTC, "media codecs" of ingestion), and
/// to send sound: what viewers say.
pub(crate) fn propose(
    ground: &Ground,
    addresses: &[SocketAddr],
    now: Instant,
) -> Result<(Peer, String), Refused> {
    let config = ground
        .config()
        .enable_h264(true)
        .enable_opus(true, false)
        .set_rtp_mode(true)
        .enable_raw_packets(true);
    let kinds = [(MediaKind::Video, Direction::RecvOnly), (MediaKind::Audio, Direction::SendRecv)];
    Peer::offer(config, &kinds, addresses, now)
}

/// Takes the answer to that: what will come, and a description of it. What else the master takes is in the peer's media.
pub(crate) fn agreed(peer: &mut Peer, answer: &str, now: Instant) -> Result<(Publishing, String), Refused> {
    peer.answered(answer, now)?;
    peer.put_in_order();
    let comes = |m: &Mid| peer.rtc.media(*m).is_some_and(|m| m.direction().is_receiving() && !m.disabled());
    let there: Vec<bool> = peer.media.iter().map(|m| comes(&m.0)).collect();
    let description = sdp::only(answer, |n| there.get(n).copied().unwrap_or(false));
    let media: Vec<_> = peer.media.iter().zip(&there).filter(|(_, there)| **there).map(|(m, _)| *m).collect();
    if media.is_empty() {
        return Err(Refused::Nothing("the answer sends neither video nor audio".into()));
    }
    Ok((Publishing { media }, description))
}

impl Publishing {
    /// A medium's place in the answer.
    pub(crate) fn place(&self, mid: Mid) -> Option<usize> {
        self.media.iter().position(|m| m.0 == mid)
    }

    /// Whether the medium of a place is sound.
    pub(crate) fn is_sound(&self, place: usize) -> bool {
        self.media.get(place).is_some_and(|m| m.1 == Some(MediaKind::Audio))
    }

    /// Asks for a key frame. A peer that cannot be asked sends one when it likes.
    pub(crate) fn ask_key_frame(&self, peer: &mut Peer) {
        for (mid, _) in self.media.iter().filter(|m| m.1 == Some(MediaKind::Video)) {
            if let Some(rx) = peer.rtc.direct_api().stream_rx_by_mid(*mid, None) {
                rx.request_keyframe(KeyframeRequestKind::Pli);
            }
        }
    }
}

/// The packet as it was on the wire, but for extensions and contributing sources, which nobody reads.
pub(crate) fn packet(h: &RtpHeader, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(12 + payload.len());
    out.put_u8(0x80);
    out.put_u8(*h.payload_type | if h.marker { 0x80 } else { 0 });
    out.put_u16(h.sequence_number);
    out.put_u32(h.timestamp);
    out.put_u32(*h.ssrc);
    out.put_slice(payload);
    out.freeze()
}

/// A report's clocks: NTP's 32.32 fixed point, and the RTP timestamp.
pub(crate) fn clocks(f: &SenderFeedback) -> Option<(u64, u32)> {
    let since: Duration = f.sender_info.ntp_time.duration_since(UNIX_EPOCH).ok()?;
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    let ntp = (since.as_secs().checked_add(NTP)? & 0xffff_ffff) << 32 | fraction;
    Some((ntp, f.sender_info.rtp_time.numer() as u32))
}
