//! Links that are slower than what is sent over them: who publishes is told.

use std::time::Duration;

use str0m::{
    Event,
    bwe::{Bitrate, BweKind},
    media::{Direction, Frequency, MediaKind, MediaTime},
};

use super::*;
use crate::{out, publish};

const FRAME: Duration = Duration::from_millis(40);

/// A publisher that has transport-wide feedback, as browsers have, on a link of 800 kbit/s: what it believes the link to carry,
/// every second, if it sends as much as that.
fn believes(seed: u64, loss: u64, jitter: u64) -> Vec<u64> {
    let (ground, now, track) = (ground(), instants().now(), h264());
    let config = ground.config().enable_h264(true).enable_bwe(Some(Bitrate::kbps(2_000)));
    let mut client = Client::new(config, &[MediaKind::Video], Direction::SendOnly, now);
    client.rtc.bwe().set_desired_bitrate(Bitrate::kbps(3_000));
    let (peer, _) = publish::negotiate(&ground, &client.offer, &[server_at()], now).unwrap();
    assert!(peer.answer.contains("transport-wide-cc"), "{}", peer.answer);
    let mid = peer.media[0].0;
    let mut net = network(seed, loss, jitter);
    net.narrow = Some((100_000, Duration::from_millis(500)));
    let mut pair = Pair::new(peer, client, now, net);
    pair.connect();
    let begun = pair.now;
    let (mut rate, mut seen, mut out) = (2_000_000, 0, Vec::new());
    for n in 0..750u32 {
        // As much as it believes.
        let mut unit = picture(&track, n).data.to_vec();
        unit.resize((rate / 8 / 25) as usize, 0xab);
        let len = (unit.len() - 4) as u32;
        unit[..4].copy_from_slice(&len.to_be_bytes());
        let unit = Unit { data: unit.into(), ..picture(&track, n) };
        let payload = out::payload(&unit).unwrap();
        let writer = pair.client.rtc.writer(mid).unwrap();
        let pt = writer.payload_params().next().unwrap().pt();
        let at = MediaTime::new(u64::from(n) * 3600, Frequency::NINETY_KHZ);
        writer.write(pt, pair.now, at, payload).unwrap();
        pair.run(begun + FRAME * (n + 1));
        for e in &pair.at_client[seen..] {
            if let Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) = e {
                rate = estimate.as_u64();
            }
        }
        seen = pair.at_client.len();
        if n % 25 == 24 {
            out.push(rate);
        }
    }
    out
}

#[test]
fn a_publisher_learns_what_its_link_carries() {
    for (seed, loss, jitter) in [(31, 0, 0), (32, 1, 15)] {
        let rates = believes(seed, loss, jitter);
        let late = &rates[10..];
        let most = *late.iter().max().unwrap();
        assert!(most < 1_200_000, "{loss} % and {jitter} ms: {rates:?}");
        assert!(
            late.iter().sum::<u64>() / late.len() as u64 > 300_000,
            "{loss} % and {jitter} ms: {rates:?}"
        );
    }
}
