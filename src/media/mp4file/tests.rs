use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mp4read::{Movie, MovieSample, next_box};
use crate::{
    Codec, Framing, Gaps, Kind, MediaError, RandomAccess, Sample, Table, Track, aac, g711_track, h264, opus,
    table, to_length4,
};

fn hex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn video(pps: &str) -> Track {
    let sps = hex("674d4028eca03c0113f2e022000003000200000300641e30632c");
    h264::track_from_parameter_sets(1, &[&sps], &[&hex(pps)]).unwrap()
}

fn audio() -> Track {
    aac::track(2, &[0x11, 0x90]).unwrap()
}

/// A whole file in memory, taken apart: each track's samples with their bytes.
fn read(file: &Bytes) -> (Movie, Vec<Vec<(MovieSample, Bytes)>>) {
    let mut at = 0;
    let mut movie = None;
    while let Some(found) = next_box(&file[at..]).unwrap() {
        let end = found.len.map_or(file.len(), |len| at + len as usize);
        if &found.kind == b"moov" {
            movie = Some(Movie::parse(&file.slice(at + usize::from(found.head)..end)).unwrap());
        }
        at = end;
    }
    assert_eq!(at, file.len());
    let movie = movie.unwrap();
    let tracks = movie.tracks.iter().map(|t| {
        let samples = t.samples(file.len() as u64).map(Result::unwrap);
        samples.map(|s| (s, file.slice(s.offset as usize..s.offset as usize + s.len as usize))).collect()
    });
    let tracks = tracks.collect();
    (movie, tracks)
}

/// Both ways of writing.
fn write(gaps: Gaps, fragments: &[(Table, Bytes)], with_payload: bool) -> [Bytes; 2] {
    let mut plan = Plan::new(gaps);
    let mut writer = Writer::new(gaps);
    let mut last = writer.start().to_vec();
    for (table, payload) in fragments {
        match with_payload {
            true => plan.add_payload(table, payload).unwrap(),
            false => plan.add(table, payload.len() as u64).unwrap(),
        }
        writer.fragment(table, payload).unwrap().iter().for_each(|s| last.extend_from_slice(s));
    }
    let head = plan.finish().unwrap();
    let mut first = head.bytes.to_vec();
    for (i, (table, payload)) in fragments.iter().enumerate() {
        let slices = head.slices(i, table, payload).unwrap();
        assert_eq!(slices.iter().map(|s| s.len() as u64).sum::<u64>(), head.len_of(i));
        if let Ok(parts) = head.parts(i, table) {
            let by_part = parts.into_iter().map(|part| match part {
                Part::Payload(r) => payload.slice(r.start as usize..r.end as usize),
                Part::Bytes(bytes) => bytes,
            });
            assert_eq!(by_part.collect::<Vec<_>>(), slices);
        }
        slices.iter().for_each(|s| first.extend_from_slice(s));
    }
    assert_eq!(head.total, first.len() as u64);
    last.extend_from_slice(&writer.finish().unwrap());
    [first.into(), last.into()]
}

/// A fragment: (track, dts, pts − dts, duration, access, bytes).
type Unit<'a> = (u8, i64, i64, u32, RandomAccess, &'a [u8]);

fn fragment(tracks: &[Arc<Track>], list: &[Unit<'_>]) -> (Table, Bytes) {
    let mut table = Table { tracks: tracks.to_vec(), samples: vec![] };
    let mut payload = vec![];
    for (track, dts, cts, duration, access, bytes) in list {
        table.samples.push(Sample {
            track: *track,
            dts: *dts,
            pts: dts + cts,
            duration: *duration,
            access: *access,
            offset: payload.len() as u64,
            len: bytes.len() as u32,
        });
        payload.extend_from_slice(bytes);
    }
    (table, payload.into())
}

const NAL: &[u8] = &[0, 0, 0, 2, 0x65, 1];
/// 2024-05-01T12:00:00.5Z.
const EPOCH_MS: i64 = 1_714_564_800_500;
use RandomAccess::{Idr, None as Not, Open};

#[test]
fn starts_at_zero_in_step_and_tells_when() {
    let tracks = [Arc::new(video("68ce0fc8")), Arc::new(audio())];
    let (v, a) = (EPOCH_MS * 90, EPOCH_MS * 48);
    // Sound begins 20 ms after the first picture is shown, 60 ms after it is decoded.
    let list = [
        (1, v - 3_600, 3_600, 3_600, Idr, NAL),
        (1, v, 7_200, 3_600, Not, NAL),
        (2, a + 960, 0, 1_024, Idr, &[1, 2][..]),
        (1, v + 3_600, 0, 3_600, Not, NAL),
    ];
    for file in write(Gaps::Keep, &[fragment(&tracks, &list)], false) {
        let (movie, samples) = read(&file);
        assert_eq!(movie.created, Some(EPOCH_MS));
        assert_eq!(movie.tracks.iter().map(|t| t.shift).collect::<Vec<_>>(), [-3_600, 960]);
        assert!(movie.tracks.iter().all(|t| !t.edited));
        let times: Vec<_> = samples[0].iter().map(|(s, _)| (s.dts, s.pts, s.duration, s.sync)).collect();
        assert_eq!(
            times,
            [(0, 3_600, 3_600, true), (3_600, 10_800, 3_600, false), (7_200, 7_200, 3_600, false)]
        );
        assert_eq!(movie.tracks[0].shown_until, Some(10_800));
        assert_eq!(movie.tracks[1].descriptions[0].config, audio().config);
    }
}

#[test]
fn leading_pictures_of_an_open_start_are_not_shown() {
    let tracks = [Arc::new(video("68ce0fc8"))];
    let list = [
        (1, 90_000, 7_200, 3_600, Open, NAL),
        (1, 93_600, 0, 3_600, Not, NAL),
        (1, 97_200, 7_200, 3_600, Not, NAL),
    ];
    let (movie, samples) = read(&write(Gaps::Keep, &[fragment(&tracks, &list)], false)[0]);
    assert_eq!(movie.tracks[0].shift, -7_200);
    let shown: Vec<i64> = samples[0].iter().map(|(s, _)| s.pts + movie.tracks[0].shift).collect();
    assert_eq!(shown, [0, -3_600, 7_200]);
    assert_eq!(movie.created, Some(1_080));
}

#[test]
fn opus_pre_skip_is_cut_off() {
    let head = opus::Head { pre_skip: 312, ..opus::Head::simple(2) };
    let tracks = [Arc::new(head.track(1))];
    let list = [(1, 48_000, 0, 960, Idr, &[0xfc, 1][..]), (1, 48_960, 0, 960, Idr, &[0xfc, 2][..])];
    let (movie, _) = read(&write(Gaps::Keep, &[fragment(&tracks, &list)], false)[0]);
    assert_eq!((movie.tracks[0].shift, movie.tracks[0].shown_until), (-312, Some(1_608)));
}

#[test]
fn pauses_and_clocks_that_go_back() {
    let tracks = [Arc::new(video("68ce0fc8")), Arc::new(audio())];
    let at = |s: i64| {
        fragment(
            &tracks,
            &[
                (1, s * 90_000, 0, 45_000, Idr, NAL),
                (2, s * 48_000, 0, 24_000, Idr, &[1][..]),
                (1, s * 90_000 + 45_000, 0, 45_000, Not, NAL),
                (2, s * 48_000 + 24_000, 0, 24_000, Idr, &[2][..]),
            ],
        )
    };
    let times = |gaps, list: &[i64]| {
        let fragments: Vec<_> = list.iter().map(|s| at(*s)).collect();
        let (_, samples) = read(&write(gaps, &fragments, false)[0]);
        let of = |i: usize, scale: i64| samples[i].iter().map(|(s, _)| s.dts * 2 / scale).collect::<Vec<_>>();
        let (pictures, sound) = (of(0, 90_000), of(1, 48_000));
        assert_eq!(pictures, sound);
        pictures
    };
    // In half seconds.
    assert_eq!(times(Gaps::Keep, &[100, 101]), [0, 1, 2, 3]);
    assert_eq!(times(Gaps::Keep, &[100, 111]), [0, 1, 22, 23]);
    assert_eq!(times(Gaps::Close, &[100, 111, 112]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(times(Gaps::Keep, &[100, 50, 51]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(times(Gaps::Keep, &[100, 100_100]), [0, 1, 2, 3], "beyond what a sample can last");
}

#[test]
fn configurations_that_change() {
    let sound = Arc::new(audio());
    let first = [Arc::new(video("68ce0fc8")), sound.clone()];
    let second = [Arc::new(video("68ce3c80")), sound.clone()];
    let both = |t: &[Arc<Track>], at: i64| {
        fragment(t, &[(1, at * 90, 0, 90, Idr, NAL), (2, at * 48, 0, 48, Idr, &[7][..])])
    };
    let fragments = [both(&first, 1_000), both(&second, 1_001), both(&second, 1_002), both(&first, 1_003)];
    let (movie, samples) = read(&write(Gaps::Keep, &fragments, false)[0]);
    assert_eq!(samples[0].iter().map(|(s, _)| s.description).collect::<Vec<_>>(), [0, 1, 1, 0]);
    let configs: Vec<_> = movie.tracks[0].descriptions.iter().map(|d| &d.config).collect();
    assert_eq!(configs, [&first[0].config, &second[0].config]);
    assert_eq!(movie.tracks[1].descriptions.len(), 1);
    // Its sets come before a key frame's own bytes, once they have changed.
    let kinds: Vec<Vec<u8>> = samples[0]
        .iter()
        .map(|(_, data)| crate::nals(Framing::Length(4), data).map(|n| n.unwrap()[0] & 31).collect())
        .collect();
    assert_eq!(kinds, [vec![5], vec![7, 8, 5], vec![7, 8, 5], vec![7, 8, 5]]);
    assert!(samples[0][3].1.windows(4).any(|w| w == hex("68ce0fc8")));
}

#[test]
fn a_timescale_or_a_codec_that_changes() {
    let one = [Arc::new(g711_track(1, Codec::Pcmu, 8_000, 1))];
    let two = [Arc::new(g711_track(1, Codec::Pcmu, 16_000, 1))];
    let three = [Arc::new(g711_track(1, Codec::Pcma, 8_000, 1))];
    let piece =
        |t: &[Arc<Track>], at: i64, duration| fragment(t, &[(1, at, 0, duration, Idr, &[9; 160][..])]);
    let fragments = [piece(&one, 8_000, 160), piece(&two, 16_320, 320), piece(&three, 8_320, 160)];
    let (movie, samples) = read(&write(Gaps::Keep, &fragments, false)[0]);
    assert_eq!(movie.tracks.len(), 2);
    let times: Vec<_> = samples[0].iter().map(|(s, _)| (s.dts, s.duration, s.description)).collect();
    assert_eq!(times, [(0, 160, 0), (160, 160, 1)]);
    assert_eq!((movie.tracks[1].shift, samples[1].len()), (320, 1));
    assert_eq!(movie.tracks[1].descriptions[0].codec, Codec::Pcma);
}

#[test]
fn short_lengths_are_kept_and_annex_b_is_rewritten() {
    let two = Arc::new(Track { framing: Framing::Length(2), ..video("68ce0fc8") });
    let list = [(1, 90_000, 0, 90, Idr, &[0, 2, 0x65, 1][..])];
    let (movie, samples) = read(&write(Gaps::Keep, &[fragment(&[two], &list)], false)[0]);
    assert_eq!(movie.tracks[0].descriptions[0].framing, Framing::Length(2));
    assert_eq!(samples[0][0].1, &[0, 2, 0x65, 1][..]);

    let annex = Arc::new(Track { framing: Framing::AnnexB, ..video("68ce0fc8") });
    let (table, payload) = fragment(&[annex], &[(1, 90_000, 0, 90, Idr, &[0, 0, 1, 0x65, 1][..])]);
    assert!(Plan::needs_payload(&table));
    assert!(Plan::default().add(&table, payload.len() as u64).is_err());
    let (movie, samples) = read(&write(Gaps::Keep, &[(table, payload)], true)[0]);
    assert_eq!(movie.tracks[0].descriptions[0].framing, Framing::Length(4));
    assert_eq!(samples[0][0].1, NAL);
}

#[test]
fn what_cannot_be_written() {
    assert!(Plan::default().finish().is_err());
    let other = Arc::new(Track { codec: Codec::Other(*b"mjpg"), ..video("68ce0fc8") });
    let (alone, payload) = fragment(std::slice::from_ref(&other), &[(1, 1, 0, 1, Idr, NAL)]);
    let mut plan = Plan::default();
    plan.add(&alone, payload.len() as u64).unwrap();
    assert!(matches!(plan.finish().unwrap_err(), MediaError::Unsupported { .. }));

    let tracks = [other, Arc::new(audio())];
    let (table, payload) = fragment(&tracks, &[(1, 1, 0, 1, Idr, NAL), (2, 1, 0, 1, Idr, &[5][..])]);
    let mut plan = Plan::default();
    plan.add(&table, payload.len() as u64).unwrap();
    let head = plan.finish().unwrap();
    assert_eq!(head.left_out.len(), 1);
    assert_eq!(head.parts(0, &table).unwrap(), [Part::Payload(6..7)]);
    assert!(head.parts(1, &table).is_err() && head.parts(0, &alone).is_err());

    let mut twice = table.clone();
    twice.samples[1].offset = 0;
    twice.samples[1].len = 7;
    assert!(Plan::default().add(&twice, 7).is_err());
    assert!(Plan::default().add(&table, 6).is_err());
}

#[test]
fn files_beyond_4_gib() {
    let tracks = [Arc::new(audio())];
    let sample =
        |dts, offset| Sample { track: 2, dts, pts: dts, duration: 1_024, access: Idr, offset, len: 3 << 30 };
    let table = Table { tracks: tracks.to_vec(), samples: vec![sample(0, 0), sample(50_000, 3 << 30)] };
    let mut plan = Plan::default();
    plan.add(&table, 6 << 30).unwrap();
    let head = plan.finish().unwrap();
    assert_eq!(head.total, head.bytes.len() as u64 + (6 << 30));
    let first = head.bytes.len() as u64;
    let moov = next_box(&head.bytes[28..]).unwrap().unwrap();
    let movie = Movie::parse(&head.bytes.slice(36..28 + moov.len.unwrap() as usize)).unwrap();
    let offsets: Vec<u64> = movie.tracks[0].samples(head.total).map(|s| s.unwrap().offset).collect();
    assert_eq!(offsets, [first, first + (3 << 30)]);
    assert_eq!(
        movie.tracks[0].samples(head.total - 1).last().unwrap(),
        Err(MediaError::Truncated { what: "MP4 file" })
    );
}

/// Fragments that follow one another, as they may be stored.
fn fragments() -> impl Strategy<Value = Vec<(Table, Bytes)>> {
    let framing = prop_oneof![Just(Framing::Length(4)), Just(Framing::Length(2)), Just(Framing::AnnexB)];
    let one =
        (any::<bool>(), 1u32..100_000, 0i64..200_000, any::<bool>(), proptest::collection::vec(1u8.., 1..40));
    let list = proptest::collection::vec(proptest::collection::vec(one, 1..20), 1..5);
    (framing, 0i64..1 << 47, list).prop_map(|(framing, start, list)| {
        let tracks = [Arc::new(Track { framing, ..video("68ce0fc8") }), Arc::new(audio())];
        let mut dts = [start, start * 48 / 90];
        let mut out = vec![];
        for part in list {
            let bodies: Vec<Vec<u8>> = part
                .iter()
                .map(|(sound, .., body)| {
                    let mut bytes = match (sound, framing) {
                        (true, _) => vec![],
                        (false, Framing::Length(4)) => (body.len() as u32).to_be_bytes().to_vec(),
                        (false, Framing::Length(_)) => (body.len() as u16).to_be_bytes().to_vec(),
                        (false, _) => vec![0, 0, 1],
                    };
                    bytes.extend(body);
                    bytes
                })
                .collect();
            let mut samples = vec![];
            for ((sound, duration, cts, key, _), body) in part.iter().zip(&bodies) {
                let n = usize::from(*sound);
                let access = if *sound || *key { Idr } else { Not };
                let cts = if *sound { 0 } else { *cts };
                samples.push((n as u8 + 1, dts[n], cts, *duration, access, body.as_slice()));
                dts[n] += i64::from(*duration);
            }
            out.push(fragment(&tracks, &samples));
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn round_trip(fragments in fragments()) {
        // Time that goes back is tested above; where tracks drift apart it would show here.
        let mut line = crate::timeline::Timeline::new(Gaps::Keep);
        prop_assume!(fragments.iter().all(|(t, _)| line.place(t, i128::MAX) == 0));
        for (table, payload) in &fragments {
            prop_assert_eq!(table::check(table, payload.len() as u64), Ok(()));
        }
        let annex = fragments[0].0.tracks[0].framing == Framing::AnnexB;
        for file in write(Gaps::Keep, &fragments, annex) {
            let (movie, tracks) = read(&file);
            let mut starts = vec![];
            for (track, samples) in movie.tracks.iter().zip(&tracks) {
                let video = track.descriptions[0].is_video();
                let id = if video { 1 } else { 2 };
                let want: Vec<_> = fragments.iter()
                    .flat_map(|(t, p)| t.samples.iter().filter(|s| s.track == id).map(move |s| (s, p)))
                    .collect();
                prop_assert_eq!(samples.len(), want.len());
                let zero = want[0].0.dts;
                for ((got, bytes), (s, payload)) in samples.iter().zip(&want) {
                    prop_assert_eq!((got.dts, got.pts), (s.dts - zero, s.pts - zero));
                    prop_assert_eq!(got.sync, s.access.is_start());
                    let data = payload.slice(s.offset as usize..s.offset as usize + s.len as usize);
                    let framing = if annex && video { Framing::AnnexB } else { Framing::Raw };
                    prop_assert_eq!(bytes, &to_length4(framing, &data).unwrap());
                }
                prop_assert_eq!(samples.last().unwrap().0.duration, want.last().unwrap().0.duration);
                // Seconds at which it is first shown, in both clocks.
                let shown = want.iter().map(|(s, _)| s.pts).min().unwrap();
                let in_file = samples.iter().map(|(s, _)| s.pts + track.shift).min().unwrap();
                let scale = f64::from(track.timescale);
                starts.push((shown as f64 / scale, in_file as f64 / scale));
            }
            let zero = starts.iter().map(|s| s.0).fold(f64::MAX, f64::min);
            for (shown, in_file) in starts {
                prop_assert!((shown - zero - in_file).abs() < 1.2e-5, "{} {}", shown - zero, in_file);
            }
        }
    }

    #[test]
    fn any_table_is_survived(
        times in proptest::collection::vec((any::<i64>(), any::<u32>(), any::<u32>(), 0u8..3), 1..20), close in any::<bool>(),
        scale in prop_oneof![Just(1), Just(u32::MAX), any::<u32>()],
    ) {
        let tracks = vec![
            Arc::new(Track { timescale: scale.max(1), ..video("68ce0fc8") }), Arc::new(audio()),
            Arc::new(Track { kind: Kind::Audio { rate: u32::MAX, channels: 0 }, ..g711_track(3, Codec::Pcma, 1, 1) }),
        ];
        let mut plan = Plan::new(if close { Gaps::Close } else { Gaps::Keep });
        let mut tables = vec![];
        for (dts, cts, duration, track) in times {
            let pts = dts.saturating_add(i64::from(cts));
            let sample = Sample { track: track + 1, dts, pts, duration, access: Not, offset: 0, len: 0 };
            let table = Table { tracks: tracks.clone(), samples: vec![sample] };
            prop_assert_eq!(plan.add(&table, 0), Ok(()));
            tables.push(table);
        }
        let head = plan.finish().unwrap();
        let size = next_box(&head.bytes[28..]).unwrap().unwrap().len.unwrap() as usize;
        let movie = Movie::parse(&head.bytes.slice(36..28 + size)).unwrap();
        let n: usize = movie.tracks.iter().map(|t| t.samples(head.total).map(Result::unwrap).count()).sum();
        prop_assert_eq!(n, tables.len());
        for (i, table) in tables.iter().enumerate() {
            prop_assert_eq!(head.parts(i, table), Ok(vec![]));
        }
    }
}

#[test]
fn codecs_without_nal_units_are_the_same_again() {
    let vp8: &[u8] = &[0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00];
    let vp9: &[u8] = &[0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0];
    let av1: &[u8] = &[0x0a, 0x0b, 0, 0, 0, 4, 0x3c, 0xff, 0xbc, 0xda, 0xf9, 0, 0x40, 0x32, 1, 0x10];
    let made = [crate::vp8::track(1, vp8), crate::vp9::track(2, vp9), crate::av1::track(3, av1)];
    let tracks = made.map(|t| Arc::new(t.unwrap()));
    let list = [(1, 9, 0, 1, Idr, vp8), (2, 9, 0, 1, Idr, vp9), (3, 9, 0, 1, Idr, av1)];
    for file in write(Gaps::Keep, &[fragment(&tracks, &list)], false) {
        let (movie, samples) = read(&file);
        for (i, (track, read)) in tracks.iter().zip(&movie.tracks).enumerate() {
            let d = &read.descriptions[0];
            assert_eq!((d.codec, d.kind, d.framing), (track.codec, track.kind, Framing::Raw));
            assert_eq!((&d.config, &samples[i][0].1[..]), (&track.config, list[i].5));
        }
    }
}
