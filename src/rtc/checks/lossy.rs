//! 5 % loss, 200 ms of jitter, a cut of five seconds: media go on, and all that can be sent again is.

use std::{collections::BTreeSet, time::Duration};

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

fn shown(events: &[Event]) -> BTreeSet<u32> {
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

#[test]
fn what_a_publisher_sends_arrives_with_its_clock() {
    // With 200 ms of jitter so much is asked for again that comes by itself, late, that the sender stops to answer.
    for (seed, loss, jitter, most) in [(21, 0, 0, 0), (22, 5, 15, 8), (23, 5, 200, 45)] {
        let (ground, now, track) = (ground(), instants().now(), h264());
        let config = ground.config().enable_h264(true);
        let client = Client::new(config, &[MediaKind::Video], Direction::SendOnly, now);
        let (peer, publishing) = publish::negotiate(&ground, &client.offer, &[server_at()], now).unwrap();
        let mid = peer.media[0].0;
        let mut pair = Pair::new(peer, client, now, network(seed, loss, jitter));
        pair.connect();
        let begun = pair.now;
        let frames = 250u32;
        for n in 0..frames {
            let payload = out::payload(&picture(&track, n)).unwrap();
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
        let asked = pair.at_client.iter().filter(|e| matches!(e, Event::KeyframeRequest(_))).count();
        assert!(asked >= if loss == 0 { 5 } else { 2 }, "asked for key frames {asked} times");
        let (mut seqs, mut last, mut reports) = (BTreeSet::new(), 0, 0);
        for e in &pair.at_server {
            match e {
                Event::RtpPacket(p) => {
                    assert_eq!(publishing.place(mid), Some(0));
                    let wire = publish::packet(p);
                    assert_eq!(wire[2..4], p.header.sequence_number.to_be_bytes());
                    seqs.insert(*p.seq_no);
                    last = last.max(p.header.timestamp);
                }
                Event::SenderFeedback(f) => {
                    let (ntp, _) = publish::clocks(f).unwrap();
                    // This century.
                    assert!(ntp >> 32 > 3_900_000_000);
                    reports += 1;
                }
                _ => {}
            }
        }
        let (first, end) = (*seqs.first().unwrap(), *seqs.last().unwrap());
        let missing = end - first + 1 - seqs.len() as u64;
        assert!(missing <= most, "seed {seed}: {missing} of {} packets are missing", end - first);
        assert!(reports > 0, "seed {seed}: no clock was told");
        assert!(seqs.len() as u32 > frames * 2);
    }
}
