//! What no peer should send.

use proptest::prelude::*;
use str0m::{
    media::{Direction, MediaKind},
    net::Protocol,
};

use super::*;
use crate::{hostile, peer::Refused, play, publish};

fn offer(config: RtcConfig, kinds: &[MediaKind], direction: Direction) -> String {
    Client::new(config, kinds, direction, instants().now()).offer
}

fn both(offer: &str) -> [Result<(), Refused>; 2] {
    let (ground, now) = (ground(), instants().now());
    [
        play::negotiate(&ground, offer, &[h264()], &[server_at()], now).map(|_| ()),
        publish::negotiate(&ground, offer, &[server_at()], now).map(|_| ()),
    ]
}

#[test]
fn who_asks_for_nothing_that_there_is_is_told_what_there_is() {
    let config = || ground().config().enable_vp8(true);
    let [watch, _] = both(&offer(config(), &[MediaKind::Video], Direction::RecvOnly));
    let why = watch.unwrap_err().to_string();
    assert!(why.contains("the stream is H.264; the offer has VP8") && why.contains("HLS"), "{why}");
    let h266 = ground().config().enable_h266(true);
    let [_, publish] = both(&offer(h266, &[MediaKind::Video], Direction::SendOnly));
    assert!(publish.unwrap_err().to_string().contains("H266 cannot be received: send H.264"));
    let sound = offer(ground().config().enable_opus(true, false), &[MediaKind::Audio], Direction::RecvOnly);
    assert!(both(&sound)[0].as_ref().unwrap_err().to_string().contains("the offer has no video"));
    for bad in ["", "hello", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"] {
        for r in both(bad) {
            assert!(matches!(r, Err(Refused::Offer(_))), "{bad:?}: {r:?}");
        }
    }
}

#[test]
fn a_certificate_that_could_not_be_known_is_refused_and_what_is_accepted_is_said() {
    let offer = offer(ground().config().enable_h264(true), &[MediaKind::Video], Direction::SendRecv);
    let sha1 = offer.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1");
    for r in both(&sha1) {
        let why = "the offer's a=fingerprint is sha-1: only sha-256 is accepted";
        assert_eq!(r, Err(Refused::Nothing(why.into())));
    }
    // Likewise where it is the server that offers.
    let (ground, now) = (ground(), instants().now());
    let (mut peer, offered) = publish::propose(&ground, &[server_at()], now).unwrap();
    let mut rtc = ground.config().enable_h264(true).enable_opus(true, false).build(now);
    let offered = str0m::change::SdpOffer::from_sdp_string(&offered).unwrap();
    let answer = rtc.sdp_api().accept_offer(offered).unwrap().to_sdp_string();
    let sha1 = answer.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1");
    let why = publish::agreed(&mut peer, &sha1, now).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("the answer's a=fingerprint is sha-1"), "{why}");
}

#[test]
fn a_certificate_is_known_by_any_of_its_fingerprints_that_is_understood() {
    let (ground, now) = (ground(), instants().now());
    let kinds = [MediaKind::Video];
    let mut client = Client::new(ground.config().enable_h264(true), &kinds, Direction::SendOnly, now);
    let more = "a=fingerprint:sha-1 00:11\r\na=fingerprint:SHA-256 ";
    client.offer = client.offer.replace("a=fingerprint:sha-256 ", more);
    let (peer, _) = publish::negotiate(&ground, &client.offer, &[server_at()], now).unwrap();
    Pair::new(peer, client, now, network(1, 0, 0)).connect();
}

#[test]
fn a_viewer_that_would_send_is_not_sent_anything() {
    let offer = offer(ground().config().enable_h264(true), &[MediaKind::Video], Direction::SendOnly);
    let Err(Refused::Nothing(why)) = &both(&offer)[0] else { panic!("it is answered") };
    assert!(why.contains("recvonly"), "{why}");
}

#[test]
fn what_cannot_be_sent_is_named_with_what_can_be_done() {
    let (ground, now) = (ground(), instants().now());
    let offer = offer(ground.config().enable_h264(true), &[MediaKind::Video], Direction::RecvOnly);
    let aac = Arc::new(media::aac::track(2, &[0x12, 0x10]).unwrap());
    let of = |tracks: &[Arc<Track>]| play::negotiate(&ground, &offer, tracks, &[server_at()], now);
    let left_out = of(&[h264(), aac.clone()]).map(|(_, play)| play.left_out).unwrap();
    assert_eq!(left_out, ["AAC"]);
    let why = of(&[aac]).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("AAC cannot be sent by WebRTC: watch it by HLS"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_packets_are_survived(packets in prop::collection::vec((0u8..200, prop::collection::vec(any::<u8>(), 0..200)), 0..20)) {
        let (ground, now) = (ground(), instants().now());
        let text = offer(ground.config().enable_h264(true), &[MediaKind::Video], Direction::SendOnly);
        let (mut peer, _) = publish::negotiate(&ground, &text, &[server_at()], now).unwrap();
        for (first, mut data) in packets {
            data.insert(0, first);
            peer.receive(now, Protocol::Udp, client_at(), &data);
            for _ in 0..100 {
                if matches!(peer.turn(), Turn::Wait(_) | Turn::Over(_)) {
                    break;
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..300)) {
        hostile::description(&data);
        hostile::packets(&data);
        hostile::signaling(&data);
    }

    #[test]
    fn a_description_with_bytes_changed_is_survived(changes in prop::collection::vec((0usize..4000, any::<u8>()), 0..6)) {
        let config = ground().config().enable_h264(true).enable_opus(true, false);
        let mut text = offer(config, &[MediaKind::Video, MediaKind::Audio], Direction::SendRecv).into_bytes();
        for (at, with) in changes {
            let at = at % text.len();
            text[at] = with;
        }
        hostile::description(&text);
    }

    #[test]
    fn an_offer_with_lines_missing_doubled_or_changed_is_answered_or_refused(
        changes in prop::collection::vec((0usize..100, 0u8..3, "[ -~]{0,20}"), 1..6),
    ) {
        let config = ground().config().enable_h264(true).enable_opus(true, false);
        let text = offer(config, &[MediaKind::Video, MediaKind::Audio], Direction::RecvOnly);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, how, with) in changes {
            let at = at % lines.len().max(1);
            match (how, lines.get(at).cloned()) {
                (0, Some(_)) => { lines.remove(at); }
                (1, Some(line)) => lines.insert(at, line),
                (_, Some(line)) => lines[at] = line.chars().take(line.len() / 2).collect::<String>() + &with,
                _ => {}
            }
        }
        let _ = both(&(lines.join("\r\n") + "\r\n"));
    }
}
