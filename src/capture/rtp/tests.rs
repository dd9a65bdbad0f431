//! A packetiser of our own, as senders do it, and what must come back out of it.

use media::RandomAccess;
use proptest::prelude::*;

use super::*;
use crate::sdp;

pub(crate) const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00,
    0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x20,
];
pub(crate) const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];

/// An RTP packet.
pub(crate) fn rtp(payload_type: u8, marker: bool, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x80, payload_type | if marker { 0x80 } else { 0 }];
    p.extend(sequence.to_be_bytes());
    p.extend(timestamp.to_be_bytes());
    p.extend(7u32.to_be_bytes());
    p.extend(payload);
    p
}

/// Payloads of one access unit's NAL units, none longer than `mtu`.
pub(crate) fn packetise(nals: &[Vec<u8>], mtu: usize, h265: bool) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let head = if h265 { 2 } else { 1 };
    let mut i = 0;
    while i < nals.len() {
        let nal = &nals[i];
        if nal.len() > mtu {
            let body = &nal[head..];
            let parts: Vec<&[u8]> = body.chunks(mtu - head - 1).collect();
            for (n, part) in parts.iter().enumerate() {
                let mut p = match h265 {
                    false => vec![nal[0] & 0xe0 | 28, nal[0] & 0x1f],
                    true => vec![nal[0] & 0x81 | 49 << 1, nal[1], nal[0] >> 1 & 0x3f],
                };
                let last = p.len() - 1;
                if n == 0 {
                    p[last] |= 0x80;
                }
                if n == parts.len() - 1 {
                    p[last] |= 0x40;
                }
                p.extend_from_slice(part);
                out.push(p);
            }
            i += 1;
            continue;
        }
        // As many as fit together.
        let mut size = head + 2 + nal.len();
        let mut j = i + 1;
        while j < nals.len() && size + 2 + nals[j].len() <= mtu {
            size += 2 + nals[j].len();
            j += 1;
        }
        if j == i + 1 {
            out.push(nal.clone());
        } else {
            let mut p = if h265 { vec![48 << 1, 1] } else { vec![0x60 | 24] };
            for nal in &nals[i..j] {
                p.extend((nal.len() as u16).to_be_bytes());
                p.extend(nal);
            }
            out.push(p);
        }
        i = j;
    }
    out
}

/// The NAL units of a frame.
pub(crate) fn nals_of(frame: &[u8]) -> Vec<Vec<u8>> {
    media::nals(media::Framing::Length(4), frame).map(|n| n.unwrap().to_vec()).collect()
}

fn carried(media: &str) -> Carried {
    let d = sdp::parse(format!("v=0\r\n{media}").as_bytes()).unwrap();
    d.media[0].carried().unwrap()
}

fn h264() -> Depacketizer {
    Depacketizer::new(&carried("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"))
}

fn h265() -> Depacketizer {
    Depacketizer::new(&carried("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n"))
}

/// A slice's bytes: a header, whether it is the first of its picture, and something.
fn slice(kind: u8, first: bool, body: &[u8]) -> Vec<u8> {
    let mut s = vec![0x60 | kind, if first { 0x88 } else { 0x42 }];
    // No start codes in NAL units.
    s.extend(body.iter().map(|b| b | 0x04));
    s
}

struct Sender {
    sequence: u16,
    out: Vec<Vec<u8>>,
}

impl Sender {
    fn unit(&mut self, timestamp: u32, nals: &[Vec<u8>], mtu: usize, h265: bool) {
        let parts = packetise(nals, mtu, h265);
        for (i, part) in parts.iter().enumerate() {
            self.out.push(rtp(96, i == parts.len() - 1, self.sequence, timestamp, part));
            self.sequence = self.sequence.wrapping_add(1);
        }
    }
}

fn feed(d: &mut Depacketizer, packets: &[Vec<u8>]) -> (Vec<Frame>, u32) {
    let (mut out, mut broken, mut next) = (Vec::new(), 0, None);
    for p in packets {
        let p = Packet::parse(p).unwrap();
        let lost = next.replace(p.sequence.wrapping_add(1)).is_some_and(|n| n != p.sequence);
        broken += u32::from(d.push(&p, lost, &mut out).is_err());
    }
    d.end(&mut out);
    (out, broken)
}

#[test]
fn packets_are_read_as_rfc_3550_says() {
    let mut p = rtp(96, true, 0xfffe, 0x01020304, b"payload");
    p[0] |= 0x10 | 0x20 | 1;
    // One contributing source and an extension of one word before the payload, padding behind.
    p.splice(12..12, [1, 1, 1, 1, 0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
    p.extend([0, 0, 3]);
    let got = Packet::parse(&p).unwrap();
    assert_eq!(
        (got.sequence, got.timestamp, got.marker, got.payload),
        (0xfffe, 0x01020304, true, &b"payload"[..])
    );
    p.truncate(p.len() - 1);
    p.push(255);
    assert_eq!(Packet::parse(&p), None, "more padding than packet");
    assert_eq!(Packet::parse(&p[..11]), None);
}

#[test]
fn a_sender_report_is_found_behind_others() {
    let mut data = vec![0x81, 201, 0, 1, 0, 0, 0, 1];
    data.extend([0x80, 200, 0, 6, 0, 0, 0, 5]);
    data.extend(0x0102_0304_0506_0708u64.to_be_bytes());
    data.extend(99u32.to_be_bytes());
    data.extend([0; 8]);
    assert_eq!(
        SenderReport::parse(&data),
        Some(SenderReport { ssrc: 5, ntp: 0x0102_0304_0506_0708, rtp: 99 })
    );
    assert_eq!(SenderReport::parse(&data[..20]), None);
}

#[test]
fn parameter_sets_stay_where_they_were_and_changes_show() {
    let mut s = Sender { sequence: 0, out: vec![] };
    let idr = slice(5, true, b"idr");
    s.unit(0, &[SPS.to_vec(), PPS.to_vec(), idr.clone()], 1400, false);
    s.unit(3000, &[slice(1, true, b"p")], 1400, false);
    s.unit(6000, &[SPS.to_vec(), PPS.to_vec(), idr.clone()], 1400, false);
    let (frames, broken) = feed(&mut h264(), &s.out);
    assert_eq!((frames.len(), broken), (3, 0));
    assert_eq!(nals_of(&frames[0].data), [SPS.to_vec(), PPS.to_vec(), idr]);
    assert_eq!(frames.iter().map(|f| f.changed).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(frames[0].access, RandomAccess::Idr);
    assert_eq!(frames[1].access, RandomAccess::None);
}

#[test]
fn markers_and_timestamps_within_an_access_unit_do_not_split_it() {
    // One camera marks each parameter set, another gives them a time of their own.
    let idr = slice(5, true, b"idr");
    for times in [[9000, 9000, 9000], [0, 3000, 9000]] {
        let packets = vec![
            rtp(96, true, 1, times[0], SPS),
            rtp(96, true, 2, times[1], PPS),
            rtp(96, true, 3, times[2], &idr),
            rtp(96, true, 4, 12_000, &slice(1, true, b"p")),
        ];
        let (frames, broken) = feed(&mut h264(), &packets);
        assert_eq!((frames.len(), broken), (2, 0), "{times:?}");
        assert_eq!(nals_of(&frames[0].data), [SPS.to_vec(), PPS.to_vec(), idr.clone()]);
        assert_eq!(frames[0].timestamp, 9000);
    }
}

#[test]
fn without_markers_the_timestamp_ends_an_access_unit() {
    let packets: Vec<_> =
        (0..3).map(|i| rtp(96, false, i, u32::from(i) * 3000, &slice(1, true, b"x"))).collect();
    let (frames, _) = feed(&mut h264(), &packets);
    assert_eq!(frames.iter().map(|f| f.timestamp).collect::<Vec<_>>(), [0, 3000, 6000]);
}

#[test]
fn a_sender_that_marks_every_slice_is_understood_from_the_second_picture() {
    let mut packets = Vec::new();
    for picture in 0..3u16 {
        for part in 0..3u16 {
            let s = slice(1, part == 0, &[part as u8]);
            packets.push(rtp(96, true, picture * 3 + part, u32::from(picture) * 3000, &s));
        }
    }
    let (frames, broken) = feed(&mut h264(), &packets);
    assert_eq!(broken, 0);
    let slices: usize = frames.iter().map(|f| nals_of(&f.data).len()).sum();
    assert_eq!(slices, 9, "nothing is lost");
    assert_eq!(nals_of(&frames.last().unwrap().data).len(), 3);
}

#[test]
fn annex_b_within_a_nal_unit_is_taken_apart() {
    let mut all = SPS.to_vec();
    all.extend([0, 0, 0, 1]);
    all.extend(PPS);
    all.extend([0, 0, 1]);
    let idr = slice(5, true, b"idr");
    all.extend(&idr);
    let mut s = Sender { sequence: 0, out: vec![] };
    s.unit(0, &[all], 20, false);
    let (frames, broken) = feed(&mut h264(), &s.out);
    assert_eq!(broken, 0);
    assert_eq!(nals_of(&frames[0].data), [SPS.to_vec(), PPS.to_vec(), idr]);
    assert!(frames[0].changed);
}

#[test]
fn aac_units_of_a_packet_follow_each_other_in_time() {
    let c = carried(
        "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\na=fmtp:97 profile-level-id=1;mode=AAC-hbr;\
         sizelength=13;indexlength=3;indexdeltalength=3; config=1190\r\n",
    );
    let mut d = Depacketizer::new(&c);
    let track = d.track(3).unwrap();
    assert_eq!((track.id, track.timescale, &track.config[..]), (3, 48_000, &[0x11, 0x90][..]));
    let packet = [&[0, 32, 0, 3 << 3, 0, 2 << 3][..], b"abcde"].concat();
    let (frames, broken) = feed(&mut d, &[rtp(97, true, 0, 5000, &packet)]);
    assert_eq!(broken, 0);
    assert_eq!(
        frames.iter().map(|f| (f.timestamp, &f.data[..])).collect::<Vec<_>>(),
        [(5000, &b"abc"[..]), (6024, &b"de"[..])]
    );
    // One that comes in two packets.
    let first = [&[0, 16, 0, 5 << 3][..], b"ab"].concat();
    let second = [&[0, 16, 0, 5 << 3][..], b"cde"].concat();
    let (frames, broken) = feed(&mut d, &[rtp(97, false, 1, 7000, &first), rtp(97, true, 2, 7000, &second)]);
    assert_eq!((frames.len(), broken), (1, 0));
    assert_eq!(&frames[0].data[..], b"abcde");
}

#[test]
fn latm_gives_the_configuration_and_the_units() {
    // What GStreamer's rtpmp4apay says for AAC LC, 48 kHz, stereo.
    let c = carried(
        "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MP4A-LATM/48000/2\r\na=fmtp:97 cpresent=0;config=40002320\r\n",
    );
    let mut d = Depacketizer::new(&c);
    assert_eq!(&d.track(1).unwrap().config[..], [0x11, 0x90]);
    let mut frame = vec![255, 1];
    frame.extend([7; 256]);
    let (frames, broken) =
        feed(&mut d, &[rtp(97, false, 0, 0, &frame[..100]), rtp(97, true, 1, 0, &frame[100..])]);
    assert_eq!((frames.len(), broken), (1, 0));
    assert_eq!(frames[0].data, vec![7; 256]);
}

#[test]
fn plain_payloads() {
    let mut d = Depacketizer::new(&carried("m=audio 0 RTP/AVP 8\r\n"));
    let (frames, _) = feed(&mut d, &[rtp(8, false, 0, 160, &[0x55; 160])]);
    assert_eq!((frames[0].duration, frames[0].data.len()), (Some(160), 160));
    let mut d = Depacketizer::new(&carried("m=audio 0 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n"));
    // TOC 0xfc: CELT, 20 ms, stereo, one frame.
    let (frames, _) = feed(&mut d, &[rtp(96, false, 0, 0, &[0xfc, 1, 2])]);
    assert_eq!(frames[0].duration, Some(960));
}

#[test]
fn what_cannot_be_received_is_named() {
    for (media, name) in [
        ("m=video 0 RTP/AVP 26", "JPEG video"),
        ("m=audio 0 RTP/AVP 96\r\na=rtpmap:96 G726-32/8000", "G726-32 audio"),
        (
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=2",
            "H264 (interleaved) video",
        ),
        ("m=video 0 RTP/AVP 99", "payload type 99 video"),
    ] {
        assert_eq!(
            sdp::parse(format!("v=0\r\n{media}\r\n").as_bytes()).unwrap().media[0].carried().unwrap_err(),
            name
        );
    }
}

fn nal(h265: bool) -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 1..400);
    (0u8..4, body).prop_map(move |(kind, body)| {
        let mut out = match (h265, kind) {
            (false, 0) => vec![0x06, 0x80],
            (false, 1) => vec![0x0c, 0x80],
            (false, _) => vec![0x41, 0x22],
            (true, 0) => vec![39 << 1, 1, 0x80],
            (true, 1) => vec![38 << 1, 1, 0x80],
            (true, _) => vec![1 << 1, 1, 0x22],
        };
        out.extend(body.iter().map(|b| b | 0x04));
        out
    })
}

/// Access units: each a first slice with other NAL units about it, the last of which may end it.
fn units(h265: bool) -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let unit = (nal(h265), prop::collection::vec(nal(h265), 0..5)).prop_map(move |(first, mut rest)| {
        let head = if h265 { vec![1 << 1, 1, 0x84] } else { vec![0x41, 0x84] };
        let mut slice = head.clone();
        slice.extend(&first);
        rest.insert(0, slice);
        let mut last = head;
        let at = if h265 { 2 } else { 1 };
        last[at] = 0x24;
        rest.push(last);
        rest
    });
    prop::collection::vec(unit, 1..12)
}

fn round_trip(units: &[Vec<Vec<u8>>], mtu: usize, start: u16, h265: bool) -> Vec<Vec<u8>> {
    let mut s = Sender { sequence: start, out: vec![] };
    for (i, unit) in units.iter().enumerate() {
        s.unit(i as u32 * 3000, unit, mtu, h265);
    }
    s.out
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(u4 in units(false), u5 in units(true), mtu in 20usize..1500, start: u16) {
        for (units, is265) in [(u4, false), (u5, true)] {
            let packets = round_trip(&units, mtu, start, is265);
            let mut d = if is265 { h265() } else { h264() };
            let (frames, broken) = feed(&mut d, &packets);
            prop_assert_eq!(broken, 0);
            let got: Vec<_> = frames.iter().map(|f| nals_of(&f.data)).collect();
            prop_assert_eq!(got, units);
        }
    }

    #[test]
    fn with_packets_lost_what_comes_out_went_in(units in units(false), mtu in 20usize..300, drop in prop::collection::vec(any::<prop::sample::Index>(), 1..4)) {
        let mut packets = round_trip(&units, mtu, 0, false);
        for d in drop {
            if packets.len() > 1 {
                packets.remove(d.index(packets.len()));
            }
        }
        let (frames, _) = feed(&mut h264(), &packets);
        // Every slice that comes out is one that went in, whole; and no access unit is begun in its middle.
        let all: Vec<&Vec<u8>> = units.iter().flatten().collect();
        for f in &frames {
            for n in nals_of(&f.data) {
                prop_assert!(all.contains(&&n));
            }
        }
    }

    #[test]
    fn any_packets_are_survived(
        which in 0usize..5,
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<bool>(), 0u32..3, any::<bool>()), 0..60),
    ) {
        let media = [
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n",
            "m=audio 0 RTP/AVP 96\r\na=rtpmap:96 MPEG4-GENERIC/48000/2\r\na=fmtp:96 mode=AAC-hbr;config=1190\r\n",
            "m=audio 0 RTP/AVP 96\r\na=rtpmap:96 MP4A-LATM/48000/2\r\na=fmtp:96 cpresent=0;config=40002320\r\n",
            "m=audio 0 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n",
        ];
        let mut d = Depacketizer::new(&carried(media[which]));
        let mut out = Vec::new();
        for (payload, marker, timestamp, lost) in packets {
            let p = Packet { payload_type: 96, marker, sequence: 0, timestamp, ssrc: 0, payload: &payload };
            let _ = d.push(&p, lost, &mut out);
            let _ = d.track(1);
        }
        d.end(&mut out);
        let _ = Packet::parse(&out.first().map(|f| f.data.to_vec()).unwrap_or_default());
    }

    #[test]
    fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Packet::parse(&data);
        let _ = SenderReport::parse(&data);
    }
}
