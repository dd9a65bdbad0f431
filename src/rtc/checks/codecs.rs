//! Each codec for pictures, both ways: what is sent arrives byte for byte, key frames are known for what they are.

use std::time::Duration;

use media::Codec;
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
const FRAMES: u32 = 30;

/// The track, the beginning of a key frame, and that of any other.
fn of(codec: Codec) -> (Arc<Track>, Vec<u8>, Vec<u8>) {
    match codec {
        Codec::VP8 => {
            let key = vec![0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00];
            (Arc::new(media::vp8::track(1, &key).unwrap()), key, vec![0x51, 0x42, 0x00])
        }
        Codec::VP9 => {
            let key = vec![0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0];
            (Arc::new(media::vp9::track(1, &key).unwrap()), key, vec![0x86, 0x00, 0x40])
        }
        Codec::AV1 => {
            let sequence = [0x0a, 0x0b, 0, 0, 0, 4, 0x3c, 0xff, 0xbc, 0xda, 0xf9, 0, 0x40];
            // Of the frame that follows, its length comes with its bytes.
            let key = [&[0x12, 0][..], &sequence, &[0x32, 0, 0x10]].concat();
            (Arc::new(media::av1::track(1, &key[..15]).unwrap()), key, vec![0x12, 0, 0x32, 0, 0x30])
        }
        Codec::H265 => {
            // From x265: Main 320×180.
            let vps: &[u8] = &[
                0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00,
                0x03, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x95, 0x94, 0x09,
            ];
            let sps: &[u8] = &[
                0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
                0x03, 0x00, 0x3c, 0xa0, 0x0a, 0x08, 0x0b, 0x9f, 0x79, 0x65, 0x65, 0x92, 0x4c, 0xaf, 0x01,
                0x68, 0x08, 0x00, 0x00, 0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x40,
            ];
            let pps: &[u8] = &[0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40];
            let track = media::h265::track_from_parameter_sets(1, &[vps], &[sps], &[pps]);
            (Arc::new(track.unwrap()), vec![0x26, 1, 0xaf], vec![0x02, 1, 0xd0])
        }
        other => panic!("{other:?}"),
    }
}

/// The `n`th picture, its number in it.
fn picture(codec: Codec, n: u32) -> Unit {
    let (track, key, other) = of(codec);
    let starts = n.is_multiple_of(10);
    let mut data = if starts { key } else { other };
    let body: Vec<u8> = (0..if starts { 9_000 } else { 300 + n }).map(|i| (i * 7 + n) as u8 | 0x80).collect();
    if codec == Codec::AV1 {
        // Where the length is to be.
        let at = data.len() - 2;
        let last = data.split_off(at);
        let unit = [&last[1..], &body].concat();
        data.extend([unit.len() as u8 | 0x80, (unit.len() >> 7) as u8]);
        data.extend(unit);
    } else {
        data.extend(body);
    }
    let data = match codec {
        Codec::H265 => media::join_length4([&data[..]]).unwrap(),
        _ => data.into(),
    };
    let access = media::random_access(&track, &data);
    assert_eq!(access.is_start(), starts, "{codec:?} {n}");
    Unit { track, pts: 1_795_000_000 * 90_000 + i64::from(n) * 3_600, access, data }
}

fn config(ground: &Ground, codec: Codec) -> RtcConfig {
    let config = ground.config();
    match codec {
        Codec::VP8 => config.enable_vp8(true),
        Codec::VP9 => config.enable_vp9(true),
        Codec::AV1 => config.enable_av1(true),
        _ => config.enable_h265(true),
    }
}

const ALL: [Codec; 4] = [Codec::VP8, Codec::VP9, Codec::AV1, Codec::H265];

#[test]
fn a_viewer_gets_what_there_is() {
    for codec in ALL {
        let (ground, now) = (ground(), instants().now());
        let client = Client::new(config(&ground, codec), &[MediaKind::Video], Direction::RecvOnly, now);
        let tracks = [of(codec).0];
        let (peer, mut play) = play::negotiate(&ground, &client.offer, &tracks, &[server_at()], now).unwrap();
        let mut pair = Pair::new(peer, client, now, network(1, 0, 0));
        pair.connect();
        let begun = pair.now;
        let mut sent = Vec::new();
        for n in 0..FRAMES {
            let unit = picture(codec, n);
            assert_eq!(play.send(&mut pair.server, &unit, pair.now), Sent::Yes);
            sent.push(out::payload(&unit).unwrap().to_vec());
            pair.run(begun + FRAME * (n + 1));
        }
        pair.run(pair.now + Duration::from_secs(1));
        let data = |e: &Event| match e {
            Event::MediaData(d) => Some(d.data.to_vec()),
            _ => None,
        };
        let got: Vec<_> = pair.at_client.iter().filter_map(data).collect();
        assert!(got == sent, "{codec:?}: {} of {} came as they were sent", got.len(), sent.len());
    }
}

#[test]
fn a_publisher_sends_the_one_codec_that_was_agreed_upon() {
    for codec in ALL {
        let (ground, now) = (ground(), instants().now());
        let client = Client::new(config(&ground, codec), &[MediaKind::Video], Direction::SendOnly, now);
        let (peer, publishing) = publish::negotiate(&ground, &client.offer, &[server_at()], now).unwrap();
        let name = media::codec_name(&of(codec).0).replace('.', "");
        assert_eq!(crate::sdp::offered(&peer.answer, "video"), [name]);
        let mid = peer.media[0].0;
        let mut pair = Pair::new(peer, client, now, network(2, 0, 0));
        pair.connect();
        let begun = pair.now;
        for n in 0..FRAMES {
            let writer = pair.client.rtc.writer(mid).unwrap();
            let pt = writer.payload_params().next().unwrap().pt();
            let at = MediaTime::new(u64::from(n) * 3600, Frequency::NINETY_KHZ);
            writer.write(pt, pair.now, at, out::payload(&picture(codec, n)).unwrap()).unwrap();
            pair.run(begun + FRAME * (n + 1));
            if n == 15 {
                publishing.ask_key_frame(&mut pair.server);
            }
        }
        pair.run(pair.now + Duration::from_secs(1));
        let markers = |e: &&Event| matches!(e, Event::RtpPacket(p) if p.header.marker);
        assert_eq!(pair.at_server.iter().filter(markers).count(), FRAMES as usize, "{codec:?}");
        let asked = pair.at_client.iter().filter(|e| matches!(e, Event::KeyframeRequest(_))).count();
        assert_eq!(asked, 1, "{codec:?}");
    }
}

#[test]
fn h264_is_preferred_then_the_offers_order() {
    let (ground, now) = (ground(), instants().now());
    let taken = |config: RtcConfig| {
        let client = Client::new(config, &[MediaKind::Video], Direction::SendOnly, now);
        let (peer, _) = publish::negotiate(&ground, &client.offer, &[server_at()], now).unwrap();
        crate::sdp::offered(&peer.answer, "video")
    };
    let all = || ground.config().enable_vp8(true).enable_av1(true).enable_vp9(true);
    assert_eq!(taken(all().enable_h264(true)), ["H264"]);
    assert_eq!(taken(all()), ["VP8"]);
    assert_eq!(taken(ground.config().enable_av1(true).enable_vp9(true)), ["AV1"]);
}

#[test]
fn a_profile_that_the_viewer_has_not_is_refused() {
    let (ground, now) = (ground(), instants().now());
    let odd = [0x92, 0x49, 0x83, 0x42, 0x10, 0x09, 0xf8, 0x07, 0x78];
    let track = [Arc::new(media::vp9::track(1, &odd).unwrap())];
    let client = Client::new(config(&ground, Codec::VP9), &[MediaKind::Video], Direction::RecvOnly, now);
    let ask = |offer: &str| play::negotiate(&ground, offer, &track, &[server_at()], now).map(|_| ());
    assert_eq!(ask(&client.offer), Ok(()));
    let only: String = client.offer.replace("profile-id=2", "profile-id=1");
    let why = ask(&only).unwrap_err().to_string();
    assert!(why.contains("the stream is VP9") && why.contains("HLS"), "{why}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]

    /// What is stored may be anything: packets are made of it, or they are not.
    #[test]
    fn any_payload_is_sent_or_left(
        all in proptest::collection::vec((0usize..3, proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4_000)), 1..10),
    ) {
        for codec in [Codec::VP8, Codec::VP9, Codec::AV1] {
            let (ground, now) = (ground(), instants().now());
            let client = Client::new(config(&ground, codec), &[MediaKind::Video], Direction::RecvOnly, now);
            let (track, ..) = of(codec);
            let (peer, mut play) =
                play::negotiate(&ground, &client.offer, std::slice::from_ref(&track), &[server_at()], now).unwrap();
            let mut pair = Pair::new(peer, client, now, network(3, 0, 0));
            pair.connect();
            for (n, (how, data)) in all.iter().enumerate() {
                // As they are; as one unit of AV1; as many small ones.
                let data = match how {
                    0 => data.clone(),
                    1 => [&[0x30][..], data].concat(),
                    _ => data.chunks(5).flat_map(|c| [&[c[0] & 0x7c | 2, c.len() as u8 - 1], &c[1..]].concat()).collect(),
                };
                let unit = Unit { track: track.clone(), pts: 90_000 + n as i64 * 3600, access: RandomAccess::Idr, data: data.into() };
                play.send(&mut pair.server, &unit, pair.now);
                pair.run(pair.now + FRAME);
            }
        }
    }
}
