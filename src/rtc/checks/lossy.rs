//! 5 % loss, 200 ms of jitter, a cut of five seconds: media go on, and all that can be sent again is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use str0m::{
    Event,
    media::{Direction, Frequency, MediaKind, MediaTime},
};

use super::*;
use crate::{
    out,
    play::{self, Sent},
    publish,
};

const FRAME: Duration = Duration::from_millis(40);

/// The number in a picture, by its slice's first bytes.
fn number(annexb: &[u8]) -> Option<u32> {
    let at = annexb.windows(5).rposition(|w| w[..4] == [0, 0, 0, 1] && matches!(w[4], 0x65 | 0x41))?;
    let b: &[u8; 4] = annexb.get(at + 5..)?.first_chunk()?;
    Some(b.iter().fold(0, |n, b| n << 7 | u32::from(b & 0x7f)))
}

pub(super) fn shown(events: &[Event]) -> BTreeSet<u32> {
    let of = |e: &Event| match e {
        Event::MediaData(d) => number(&d.data),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn watch(seed: u64, loss: u64, jitter: u64, cut: bool) -> (BTreeSet<u32>, u32) {
    let (ground, now, track) = (ground(), instants().now(), h264());
    // The sound is declined: there is none.
    let config = ground.config().enable_h264(true).enable_opus(true, false);
    let client = Client::new(config, &[MediaKind::Video, MediaKind::Audio], Direction::RecvOnly, now);
    let tracks = [track.clone()];
    let (peer, mut play) = play::negotiate(&ground, &client.offer, &tracks, &[server_at()], now).unwrap();
    let mut pair = Pair::new(peer, client, now, network(seed, loss, jitter));
    pair.connect();
    let begun = pair.now;
    if cut {
        pair.network.cut = Some((begun + FRAME * 200, begun + FRAME * 325));
    }
    let frames = 500;
    for n in 0..frames {
        let unit = picture(&track, n);
        assert_eq!(play.send(&mut pair.server, &unit, pair.now), Sent::Yes);
        pair.run(begun + FRAME * (n + 1));
    }
    pair.run(pair.now + Duration::from_secs(2));
    (shown(&pair.at_client), frames)
}

#[test]
fn a_viewer_on_a_good_network_gets_every_picture() {
    let (got, frames) = watch(1, 0, 0, false);
    assert_eq!(got, (0..frames).collect());
}

#[test]
fn a_viewer_on_a_bad_network_gets_nearly_all_and_goes_on_after_a_cut() {
    for seed in [11, 12, 13] {
        let (got, frames) = watch(seed, 5, 200, true);
        let missed = frames - got.len() as u32;
        // 125 pictures are in the cut.
        assert!(missed < 125 + 60, "seed {seed}: {missed} of {frames} were missed");
        assert!(got.iter().filter(|n| **n >= 400).count() > 80, "seed {seed}: it did not go on");
    }
}

/// What became of a publisher's packets.
#[derive(Debug, Default)]
struct Came {
    packets: usize,
    /// Never came, or after the others had been waited for as long as `capture` does.
    missing: usize,
    pictures: usize,
    /// Pictures of which something is missing.
    broken: usize,
    /// Of the bytes sent by the publisher, in a hundred of those without loss.
    sent: u64,
    reports: usize,
    /// Came again when `str0m` would not take them any more.
    again: usize,
    asked: usize,
    /// The longest that a packet took from its picture's time on.
    longest: Duration,
}

/// For so long `capture` waits for what is asked for again.
const WAITS: Duration = Duration::from_millis(600);

fn publishes(seed: u64, loss: u64, jitter: u64, times: usize, frames: u32) -> Came {
    let (ground, now, track) = (ground(), instants().now(), h264());
    let config = ground.config().enable_h264(true);
    let client = Client::new(config, &[MediaKind::Video], Direction::SendOnly, now);
    let (peer, publishing) = publish::negotiate(&ground, &client.offer, &[server_at()], now).unwrap();
    let mid = peer.media[0].0;
    assert_eq!(publishing.place(mid), Some(0));
    let mut pair = Pair::new(peer, client, now, network(seed, loss, jitter));
    pair.connect();
    let begun = pair.now;
    pair.network.bytes = [0; 2];
    let mut plain = 0;
    for n in 0..frames {
        let payload = out::payload(&larger(&track, n, times)).unwrap();
        plain += payload.len() as u64;
        let writer = pair.client.rtc.writer(mid).unwrap();
        let pt = writer.payload_params().next().unwrap().pt();
        let at = MediaTime::new(u64::from(n) * 3600, Frequency::NINETY_KHZ);
        writer.write(pt, pair.now, at, payload).unwrap();
        pair.run(begun + FRAME * (n + 1));
        if n % 50 == 25 {
            publishing.ask_key_frame(&mut pair.server);
        }
    }
    pair.run(pair.now + Duration::from_secs(2));
    let mut came = Came { sent: pair.network.bytes[1] * 100 / plain, ..Came::default() };
    came.asked = pair.at_client.iter().filter(|e| matches!(e, Event::KeyframeRequest(_))).count();
    // By number: when it came out, its time, whether it ends its picture.
    let mut packets = BTreeMap::new();
    for (e, when) in pair.at_server.iter().zip(&pair.when) {
        match e {
            Event::RtpPacket(p) => {
                let wire = publish::packet(&p.header, &p.payload);
                assert_eq!(wire[2..4], p.header.sequence_number.to_be_bytes());
                packets.insert(*p.seq_no, (*when, p.header.timestamp, p.header.marker));
            }
            Event::SenderFeedback(f) => {
                let (ntp, _) = publish::clocks(f).unwrap();
                // This century.
                assert!(ntp >> 32 > 3_900_000_000);
                came.reports += 1;
            }
            _ => {}
        }
    }
    let first = *packets.keys().next().unwrap();
    for p in &pair.again {
        let n = first + u64::from(p.header.sequence_number.wrapping_sub(first as u16));
        let before = packets.insert(n, (p.at, p.header.timestamp, p.header.marker));
        assert!(before.is_none(), "{n} came twice");
        // A slice, a part of one, parameter sets (RFC 6184 §5.2): what it was sent again in is off.
        let kind = p.payload.first().map(|b| b & 31);
        assert!(matches!(kind, Some(1 | 5 | 24 | 28)), "{kind:?}");
    }
    came.again = pair.again.len();
    let (first, end) = (*packets.keys().next().unwrap(), *packets.keys().last().unwrap());
    let base = packets.values().map(|p| p.1).min().unwrap();
    // From the last on: when the first of those after it came.
    let mut after: Option<Instant> = None;
    let mut whole = BTreeMap::new();
    for n in (first..=end).rev() {
        let got = packets.get(&n).filter(|p| after.is_none_or(|a| p.0 < a + WAITS));
        let Some((when, time, _)) = got else {
            came.missing += 1;
            continue;
        };
        came.packets += 1;
        came.longest = came.longest.max(*when - (begun + FRAME * (time.wrapping_sub(base) / 3600)));
        after = Some(after.map_or(*when, |a| a.min(*when)));
        let of: &mut Vec<u64> = whole.entry(*time).or_default();
        of.push(n);
    }
    came.pictures = frames as usize;
    let is_whole = |of: &Vec<u64>| {
        let (last, first) = (of[0], of[of.len() - 1]);
        // The one before ends there, and it has its own end.
        let begins = first == packets.keys().next().copied().unwrap_or(0)
            || packets.get(&(first - 1)).is_some_and(|p| p.2);
        last - first + 1 == of.len() as u64 && packets[&last].2 && begins
    };
    came.broken = came.pictures - whole.values().filter(|of| is_whole(of)).count();
    came
}

#[test]
fn what_a_publisher_sends_arrives_with_its_clock() {
    for (seed, loss, jitter) in [(21, 0, 0), (22, 5, 15), (23, 5, 200)] {
        let came = publishes(seed, loss, jitter, 1, 250);
        assert!(came.asked >= if loss == 0 { 5 } else { 2 }, "asked for key frames {} times", came.asked);
        assert!(came.reports > 0, "seed {seed}: no clock was told");
        assert!(came.packets as u32 > came.pictures as u32 * 2);
    }
}

/// Of a thousand packets one may be missing at 5 and 10 Mbit/s, three at 0.7: fewer answers come in time. (`str0m` draws numbers
/// of its own: the same seed gives 1.9 to 2.2.)
#[test]
fn what_a_publisher_sends_over_a_bad_network_arrives_whole() {
    for times in [1, 8, 16] {
        for (loss, jitter) in [(0, 200), (5, 0), (5, 15), (5, 200)] {
            let seeds = if times == 1 { 21..31 } else { 21..24 };
            let all: Vec<_> = seeds.map(|seed| publishes(seed, loss, jitter, times, 500)).collect();
            let missing: usize = all.iter().map(|c| c.missing).sum();
            let packets: usize = all.iter().map(|c| c.packets + c.missing).sum();
            let longest = all.iter().map(|c| c.longest).max().unwrap();
            assert!(longest < Duration::from_millis(950), "{loss} %, {jitter} ms, {times} times: {all:?}");
            let most = if times == 1 { 3 } else { 1 };
            assert!(missing * 1000 <= packets * most, "{loss} %, {jitter} ms, {times} times: {all:?}");
            // Most of what comes again is too late for `str0m`.
            let late: usize = all.iter().map(|c| c.again).sum();
            assert!(
                times < 8 || (loss, jitter) != (5, 200) || late * 100 > packets,
                "{times} times: {all:?}"
            );
            assert!(loss > 0 || missing == 0, "nothing was lost: {all:?}");
            let bounded = |c: &Came| c.sent < 125 && c.broken <= 2 * c.missing + 2;
            assert!(all.iter().all(bounded), "{loss} %, {jitter} ms, {times} times: {all:?}");
        }
    }
}
