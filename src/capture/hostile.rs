//! What the fuzz targets (`fuzz/`) and this room's own tests do with arbitrary bytes: feed them to everything that
//! reads what came from a network, and check what must hold of whatever was understood. A panic here is a bug.

use bytes::Bytes;
use media::{Framing, nals};
use world::Timestamp;

use crate::intake::{Intake, Out};
use crate::push::hostile_rtsp;
use crate::rtp::Reorder;
use crate::sdp;

/// One description for each way in which media are carried.
const DESCRIPTIONS: [&str; 9] = [
    "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
    "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n",
    "v=0\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 MPEG4-GENERIC/48000/2\r\na=fmtp:96 mode=AAC-hbr;config=1190\r\n",
    "v=0\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 MP4A-LATM/48000/2\r\na=fmtp:96 cpresent=0;config=40002320\r\n",
    "v=0\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n",
    "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\nm=audio 0 RTP/AVP 8\r\n",
    "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n",
    "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 VP9/90000\r\n",
    "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 AV1/90000\r\n",
];

/// A session of packets: the first byte chooses the description, then each packet is preceded by its length (one byte)
/// and by what it is (one byte: RTP as it is, RTP with a header of ours, or RTCP, and for which medium).
pub fn packets(data: &[u8]) {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let description = DESCRIPTIONS[usize::from(*choice) % DESCRIPTIONS.len()];
    let Ok(description) = sdp::parse(description.as_bytes()) else { unreachable!("they are good") };
    let Ok(mut intake) = Intake::new(&description.media) else { unreachable!("they can be received") };
    let mut reorder = Reorder::default();
    let (mut sequence, mut now, mut taken) = (0u16, 0i64, 0usize);
    let mut told = Told::default();
    while let [len, what, more @ ..] = rest {
        let (packet, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        taken += packet.len();
        now += i64::from(*what) * 1000;
        let (media, at) = (usize::from(*what & 1), Timestamp(now));
        match what >> 1 & 3 {
            0 => intake.rtp(media, packet, at),
            1 => intake.rtcp(media, packet, at),
            kind => {
                // In order, of the right type: what random bytes seldom are.
                sequence = sequence.wrapping_add(u16::from(what & 0x40 == 0));
                let mut whole = vec![0x80, if media == 1 { 8 } else { 96 } | (what & 0x80)];
                whole.extend(sequence.to_be_bytes());
                whole.extend((u32::from(sequence) / 3 * 3000).to_be_bytes());
                whole.extend([0, 0, 0, 7]);
                whole.extend(packet);
                match kind {
                    2 => intake.rtp(media, &whole, at),
                    _ => reorder
                        .push(Bytes::from(whole), now as u64 / 1000, &mut |p| intake.rtp(media, &p, at)),
                }
            }
        }
        told.drain(&mut intake);
    }
    reorder.flush(&mut |p| intake.rtp(0, &p, Timestamp(now)));
    intake.end(Timestamp(now));
    told.drain(&mut intake);
    let _ = (intake.words(), intake.clock_warning().map(str::len));
    assert_eq!(told.units, intake.counts().units, "units in = out");
    // A NAL unit of one byte grows by its length of four.
    assert!(told.bytes <= taken * 5 + 4096, "{} bytes out of {taken}", told.bytes);
}

#[derive(Default)]
struct Told {
    tracks: Vec<std::sync::Arc<media::Track>>,
    units: u64,
    bytes: usize,
}

impl Told {
    fn drain(&mut self, intake: &mut Intake) {
        while let Some(out) = intake.next() {
            match out {
                Out::Tracks(tracks) => {
                    assert!(!tracks.is_empty());
                    self.tracks = tracks;
                }
                Out::Unit(unit, _) => {
                    let track =
                        self.tracks.iter().find(|t| t.id == unit.track).expect("tracks come before units");
                    assert!(!unit.data.is_empty());
                    if track.framing == Framing::Length(4) {
                        let all =
                            nals(track.framing, &unit.data).map(|n| n.expect("whole NAL units").len() + 4);
                        assert_eq!(all.sum::<usize>(), unit.data.len());
                    }
                    self.units += 1;
                    self.bytes += unit.data.len();
                }
                Out::Estimated(_) => {}
                Out::Discontinuity(why) => assert!(!why.is_empty()),
            }
        }
    }
}

/// A session description, and what it would have us receive.
pub fn description(data: &[u8]) {
    if let Ok(d) = sdp::parse(data) {
        assert!(d.media.len() <= 16);
        if let Err(words) = Intake::new(&d.media) {
            assert!(!words.is_empty());
        }
    }
}

/// What a client says to the push server, up to the first thing that is no RTSP.
pub fn rtsp(data: &[u8]) {
    hostile_rtsp(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..600)) {
            packets(&data);
            description(&data);
            rtsp(&data);
        }

        #[test]
        fn any_packets_of_the_right_kind_are_survived(
            choice in 0u8..9,
            parts in prop::collection::vec((prop::sample::select(vec![4u8, 5, 6, 7, 0x44, 0x84, 0x86, 0xc4]), prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        ) {
            let mut data = vec![choice];
            for (what, part) in parts {
                data.extend([part.len() as u8, what]);
                data.extend(part);
            }
            packets(&data);
        }

        #[test]
        fn any_conversation_is_survived(words in prop::collection::vec(prop::sample::select(vec![
            "ANNOUNCE", "SETUP", "RECORD", "TEARDOWN", "OPTIONS", " rtsp://h/a", " rtsp://h/a/s=0", " RTSP/1.0\r\n", "CSeq: 1\r\n",
            "Content-Length: 20\r\n", "Transport: RTP/AVP/TCP;interleaved=0-1\r\n", "Transport: RTP/AVP;client_port=65535\r\n",
            "Session: s\r\n", "Authorization: Basic eDp5\r\n", "\r\n", "v=0\r\nm=audio 0 R 0\r\n", "$\x00\x00\x02ab",
        ]), 0..60)) {
            rtsp(words.concat().as_bytes());
        }
    }
}
