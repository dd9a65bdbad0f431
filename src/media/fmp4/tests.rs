use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    Codec, Framing, Kind, RandomAccess, Sample, Table, Track, aac, h264, h265, opus, table, to_length4,
};

fn hex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn video() -> Arc<Track> {
    let sps = hex("674d4028eca03c0113f2e022000003000200000300641e30632c");
    Arc::new(h264::track_from_parameter_sets(1, &[&sps], &[&hex("68ce0fc8")]).unwrap())
}

fn hevc() -> Arc<Track> {
    let vps = hex("40010c01ffff01600000030090000003000003003c959409");
    let sps = hex("42010101600000030090000003000003003ca00a080b9f796565924caf016808000003000800000300c840");
    Arc::new(h265::track_from_parameter_sets(1, &[&vps], &[&sps], &[&hex("4401c172b46240")]).unwrap())
}

fn audio() -> Arc<Track> {
    Arc::new(aac::track(2, &[0x11, 0x90]).unwrap())
}

#[test]
fn initialisation_round_trip() {
    let g711 = Arc::new(crate::g711_track(3, Codec::Pcma, 8_000, 1));
    let head = opus::Head { pre_skip: 312, ..opus::Head::simple(2) };
    let opus = Arc::new(head.track(4));
    for tracks in
        [vec![video()], vec![hevc()], vec![audio()], vec![opus.clone()], vec![video(), audio(), g711, opus]]
    {
        let read = read_init(&init(&tracks).unwrap()).unwrap();
        assert_eq!(read.into_iter().map(Arc::new).collect::<Vec<_>>(), tracks);
    }
}

#[test]
fn four_byte_lengths_are_announced_whatever_the_source_had() {
    let mut track = (*video()).clone();
    let mut config = track.config.to_vec();
    config[4] = 0xfc | 1;
    track.config = config.into();
    track.framing = Framing::Length(2);
    let read = read_init(&init(&[Arc::new(track)]).unwrap()).unwrap();
    assert_eq!(read[0].config, video().config);
}

#[test]
fn what_cannot_be_described_is_refused() {
    assert!(init(&[]).is_err());
    let spoil = |f: &dyn Fn(&mut Track)| {
        let mut t = (*video()).clone();
        f(&mut t);
        init(&[Arc::new(t)])
    };
    assert!(spoil(&|_| ()).is_ok());
    assert!(spoil(&|t| t.config = Bytes::new()).is_err());
    assert!(spoil(&|t| t.timescale = 0).is_err());
    assert!(spoil(&|t| t.codec = Codec::Other(*b"xxxx")).is_err());
    assert!(spoil(&|t| t.kind = Kind::Audio { rate: 1, channels: 1 }).is_err());
}

#[test]
fn payloads_are_not_copied() {
    let data = Bytes::from_static(&[0, 0, 0, 2, 0x65, 1]);
    let sample =
        Sample { track: 1, dts: 5, pts: 5, duration: 3, access: RandomAccess::Idr, offset: 0, len: 6 };
    let run = [Piece { sample, data: data.clone() }];
    let out = segment(7, &[Run { track: &video(), pieces: &run }]).unwrap();
    assert_eq!(out.len(), 2);
    assert_eq!(out[1].as_ptr(), data.as_ptr());
}

#[test]
fn a_broken_payload_does_not_break_the_segment() {
    let data = Bytes::from_static(&[0, 0, 0, 2, 0x65, 1, 0, 0, 0, 9, 1]);
    let sample =
        Sample { track: 1, dts: 5, pts: 5, duration: 3, access: RandomAccess::Idr, offset: 0, len: 11 };
    let run = [Piece { sample, data }];
    let out = segment(7, &[Run { track: &video(), pieces: &run }]).unwrap();
    assert_eq!(out[1], &[0, 0, 0, 2, 0x65, 1][..]);
    assert_eq!(read_segment(&out[0]).unwrap().runs[0].samples[0].len, 6);
}

#[test]
fn nothing_to_send_or_too_much() {
    let large = |n| Sample {
        track: 1,
        dts: n,
        pts: n,
        duration: 1,
        access: RandomAccess::Idr,
        offset: 0,
        len: 1 << 30,
    };
    assert!(head(1, &video(), &[large(1)]).is_ok());
    assert!(head(1, &video(), &[large(1), large(2)]).is_err());
    assert!(segment(1, &[]).is_err());
    assert!(segment(1, &[Run { track: &video(), pieces: &[] }]).is_err());
}

#[test]
fn a_key_frame_stands_for_its_fragment() {
    let sample = |i: i64, access| Sample {
        track: 1,
        dts: 1_000 + 40 * i,
        pts: 1_080 + 40 * i,
        duration: 40,
        access,
        offset: 0,
        len: 0,
    };
    let list: Vec<Piece> = (0..50)
        .map(|i| Piece {
            sample: sample(i, if i == 1 { RandomAccess::Open } else { RandomAccess::None }),
            data: Bytes::new(),
        })
        .collect();
    let key = keyframe(&list).unwrap().sample;
    assert_eq!((key.dts, key.pts, key.duration), (1_120, 1_120, 2_000));
    assert_eq!(keyframe(&list[2..]), None);
}

/// A fragment of two tracks as it may be stored, in the given framing.
fn fragment() -> impl Strategy<Value = (Table, Bytes)> {
    let framing = prop_oneof![Just(Framing::Length(4)), Just(Framing::Length(2)), Just(Framing::AnnexB)];
    let one =
        (any::<bool>(), 1u32..100_000, 0i64..200_000, any::<bool>(), proptest::collection::vec(1u8.., 1..40));
    (framing, 0i64..1 << 50, proptest::collection::vec(one, 1..30)).prop_map(|(framing, start, list)| {
        let video = Arc::new(Track { framing, ..(*video()).clone() });
        let mut table = Table { tracks: vec![video, audio()], samples: vec![] };
        let mut payload = vec![];
        let mut dts = [start; 2];
        for (sound, duration, cts, key, body) in list {
            let offset = payload.len() as u64;
            let n = usize::from(sound);
            if sound {
                payload.extend(&body);
            } else {
                match framing {
                    Framing::Length(4) => payload.extend((body.len() as u32).to_be_bytes()),
                    Framing::Length(_) => payload.extend((body.len() as u16).to_be_bytes()),
                    _ => payload.extend([0, 0, 1]),
                }
                payload.extend(&body);
            }
            let access = if sound || key { RandomAccess::Idr } else { RandomAccess::None };
            let len = payload.len() as u32 - offset as u32;
            let pts = dts[n] + if sound { 0 } else { cts };
            table.samples.push(Sample {
                track: n as u8 + 1,
                dts: dts[n],
                pts,
                duration,
                access,
                offset,
                len,
            });
            dts[n] += i64::from(duration);
        }
        (table, payload.into())
    })
}

proptest! {
    #[test]
    fn segment_round_trip((table, payload) in fragment(), sequence in any::<u32>()) {
        prop_assert_eq!(table::check(&table, payload.len() as u64), Ok(()));
        let lists: Vec<_> = table.tracks.iter().map(|t| pieces(&table, &payload, t.id).unwrap()).collect();
        let runs: Vec<_> = table.tracks.iter().zip(&lists).map(|(track, pieces)| Run { track, pieces }).collect();
        let bytes = segment(sequence, &runs).unwrap().concat();
        let read = read_segment(&bytes).unwrap();
        prop_assert_eq!(read.sequence, sequence);
        for run in &runs {
            let samples: Vec<_> = table.samples.iter().filter(|s| s.track == run.track.id).collect();
            if run.track.framing == Framing::Length(4) || run.track.framing == Framing::Raw {
                let alone = segment(sequence, &[*run]).map(|slices| slices[0].clone());
                prop_assert_eq!(head(sequence, run.track, samples), alone);
            }
        }
        let mut wanted: Vec<_> = runs.iter().filter(|r| !r.pieces.is_empty()).collect();
        prop_assert_eq!(read.runs.len(), wanted.len());
        for (got, want) in read.runs.iter().zip(wanted.drain(..)) {
            prop_assert_eq!(got.track, u32::from(want.track.id));
            prop_assert_eq!(got.samples.len(), want.pieces.len());
            for (s, piece) in got.samples.iter().zip(want.pieces) {
                let w = &piece.sample;
                prop_assert_eq!((s.dts, s.pts, s.duration, s.access), (w.dts, w.pts, w.duration, w.access));
                let at = s.offset as usize;
                let data = to_length4(want.track.framing, &piece.data).unwrap();
                prop_assert_eq!(&bytes[at..at + s.len as usize], &data[..]);
            }
        }
    }

    #[test]
    fn any_table_and_payload_is_survived(
        dts in any::<i64>(), pts in any::<i64>(), next in any::<i64>(), offset in any::<u64>(), len in any::<u32>(),
    ) {
        let sample = |dts, offset, len| Sample { track: 1, dts, pts, duration: 0, access: RandomAccess::None, offset, len };
        let table = Table { tracks: vec![video()], samples: vec![sample(dts, offset, len), sample(next, 0, 0)] };
        prop_assert_eq!(pieces(&table, &Bytes::from_static(b"1234"), 1).is_ok(), offset.saturating_add(len.into()) <= 4);
        let list: Vec<_> =
            table.samples.iter().map(|s| Piece { sample: s.clone(), data: Bytes::from_static(b"1234") }).collect();
        prop_assert_eq!(segment(1, &[Run { track: &video(), pieces: &list }]).is_ok(), dts >= 0);
        let _ = keyframe(&list);
    }
}
