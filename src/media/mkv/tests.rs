use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::ebml::{put, put_float, put_id, put_master, put_uint, put_vint};
use super::ids::*;
use super::*;
use crate::{
    Codec, Framing, Gaps, Kind, MediaError, RandomAccess, Sample, Table, Track, aac, g711_track, h264, h265,
    opus, to_length4,
};
use RandomAccess::{Idr, None as Not};

fn hex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn video(pps: &str) -> Track {
    let sps = hex("674d4028eca03c0113f2e022000003000200000300641e30632c");
    h264::track_from_parameter_sets(1, &[&sps], &[&hex(pps)]).unwrap()
}

fn hevc() -> Track {
    let vps = hex("40010c01ffff01600000030090000003000003003c959409");
    let sps = hex("42010101600000030090000003000003003ca00a080b9f796565924caf016808000003000800000300c840");
    h265::track_from_parameter_sets(1, &[&vps], &[&sps], &[&hex("4401c172b46240")]).unwrap()
}

/// All events of some bytes, pushed so many at a time, and how it ended.
pub(crate) fn events(data: &[u8], step: usize) -> (Vec<Event>, Result<(), MediaError>) {
    let mut reader = Reader::default();
    let mut out = vec![];
    let mut take = |reader: &mut Reader| {
        loop {
            match reader.event() {
                Ok(Some(e)) => out.push(e),
                Ok(None) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    };
    for chunk in data.chunks(step) {
        reader.push(chunk);
        if let Err(e) = take(&mut reader) {
            return (out, Err(e));
        }
    }
    let end = reader.end();
    let rest = take(&mut reader);
    (out, end.and(rest))
}

fn frames(events: &[Event]) -> Vec<&Frame> {
    events.iter().filter_map(|e| if let Event::Frame(f) = e { Some(f) } else { None }).collect()
}

fn tracks(events: &[Event]) -> Vec<TrackEntry> {
    events.iter().find_map(|e| if let Event::Tracks(t) = e { Some(t.clone()) } else { None }).unwrap()
}

/// A file as it is streamed, and as it is once patched.
fn write(writer: Writer, fragments: &[(Table, Bytes)]) -> [Vec<u8>; 2] {
    let mut writer = writer;
    let mut file = vec![];
    for (table, payload) in fragments {
        writer.fragment(table, payload).unwrap().iter().for_each(|s| file.extend_from_slice(s));
    }
    let tail = writer.finish();
    file.extend_from_slice(&tail.bytes);
    let mut patched = file.clone();
    for p in &tail.patches {
        patched[p.at as usize..][..p.bytes.len()].copy_from_slice(&p.bytes);
    }
    [file, patched]
}

fn fragment(tracks: &[Arc<Track>], list: &[(u8, i64, i64, RandomAccess, &[u8])]) -> (Table, Bytes) {
    let mut table = Table { tracks: tracks.to_vec(), samples: vec![] };
    let mut payload = vec![];
    for (track, dts, pts, access, bytes) in list {
        let (offset, len) = (payload.len() as u64, bytes.len() as u32);
        let (track, dts, pts, access) = (*track, *dts, *pts, *access);
        table.samples.push(Sample { track, dts, pts, duration: 3_600, access, offset, len });
        payload.extend_from_slice(bytes);
    }
    (table, payload.into())
}

const NAL: &[u8] = &[0, 0, 0, 2, 0x65, 1];
/// 2024-05-01T12:00:00.5Z.
const EPOCH_MS: i64 = 1_714_564_800_500;

#[test]
fn tracks_are_the_same_again() {
    let opus = opus::Head { pre_skip: 312, ..opus::Head::simple(2) };
    let declared = [
        Arc::new(Track { id: 2, ..hevc() }),
        Arc::new(aac::track(3, &[0x11, 0x90]).unwrap()),
        Arc::new(aac::track(4, &[0x2b, 0x11, 0x88, 0]).unwrap()),
        Arc::new(opus.track(5)),
        Arc::new(g711_track(6, Codec::Pcma, 8_000, 1)),
        Arc::new(g711_track(7, Codec::Pcmu, 16_000, 2)),
        Arc::new(Track { id: 8, codec: Codec::Other(*b"mjpg"), framing: Framing::Raw, ..hevc() }),
        Arc::new(Track {
            id: 9,
            // As Matroska has it: profile, level, depth, sampling.
            config: Bytes::from_static(&[1, 1, 0, 2, 1, 11, 3, 1, 8, 4, 1, 1]),
            ..crate::vp9::track(9, &[0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0]).unwrap()
        }),
        Arc::new(
            crate::av1::track(10, &[0x0a, 0x0b, 0, 0, 0, 4, 0x3c, 0xff, 0xbc, 0xda, 0xf9, 0, 0x40]).unwrap(),
        ),
        Arc::new(crate::vp8::track(11, &[0x50, 0x42, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xf0, 0]).unwrap()),
    ];
    let first = Arc::new(video("68ce0fc8"));
    let mut writer = Writer::new(Gaps::Keep);
    writer.declare(&declared);
    let [file, _] = write(writer, &[fragment(std::slice::from_ref(&first), &[(1, 0, 0, Idr, NAL)])]);
    let (events, end) = events(&file, 1);
    assert_eq!(end, Ok(()));
    let read: Vec<Track> = tracks(&events).iter().map(|t| t.track(t.number as u8).unwrap()).collect();
    // Pictures first.
    let (pictures, sound): (Vec<_>, Vec<_>) = [first].into_iter().chain(declared).partition(|t| t.is_video());
    let wanted: Vec<Track> = pictures.iter().chain(&sound).map(|t| (**t).clone()).collect();
    let numbered = wanted.into_iter().enumerate().map(|(i, t)| Track { id: i as u8 + 1, ..t });
    assert_eq!(read, numbered.collect::<Vec<_>>());
    let opus = tracks(&events).into_iter().find(|t| t.codec_id == "A_OPUS").unwrap();
    assert_eq!((opus.codec_delay, opus.seek_pre_roll), (6_500_000, 80_000_000));
}

#[test]
fn times_clusters_and_date() {
    let tracks = [
        Arc::new(video("68ce0fc8")),
        Arc::new(opus::Head { pre_skip: 312, ..opus::Head::simple(2) }.track(2)),
    ];
    let (v, a) = (EPOCH_MS * 90, EPOCH_MS * 48);
    let one = fragment(
        &tracks,
        &[(1, v - 3_600, v, Idr, NAL), (2, a - 312, a - 312, Idr, &[0xfc, 1]), (1, v, v + 7_200, Not, NAL)],
    );
    // 40 s in one fragment, and then the clock goes back.
    let two = fragment(
        &tracks,
        &[(1, v + 90_000, v + 90_000, Idr, NAL), (1, v + 41 * 90_000, v + 41 * 90_000, Not, NAL)],
    );
    let three = fragment(&tracks, &[(1, v + 90, v + 90, Idr, NAL)]);
    let [file, patched] = write(Writer::new(Gaps::Keep), &[one, two, three]);
    for (file, patched) in [(&file, false), (&patched, true)] {
        let (events, end) = events(file, 7);
        assert_eq!(end, Ok(()));
        let info =
            events.iter().find_map(|e| if let Event::Info(i) = e { Some(i.clone()) } else { None }).unwrap();
        assert_eq!(info.date, Some(EPOCH_MS * 1_000_000));
        assert_eq!(info.duration, patched.then_some(41_080.0));
        let times: Vec<_> = frames(&events).iter().map(|f| (f.track, f.time / 100_000, f.key)).collect();
        assert_eq!(
            times,
            [
                (1, 0, true),
                (2, -65, true),
                (1, 800, false),
                (1, 10_000, true),
                (1, 410_000, false),
                (1, 410_400, true)
            ]
        );
        let clusters = events
            .iter()
            .filter_map(|e| if let Event::Cluster { timecode, .. } = e { Some(*timecode) } else { None });
        assert_eq!(clusters.collect::<Vec<_>>(), [0, 1_000, 41_000, 41_040]);
        for f in frames(&events) {
            assert_eq!(&file[f.offset as usize..][..f.stored as usize], &f.data);
        }
    }
}

#[test]
fn what_patches_say_is_true() {
    let tracks = [Arc::new(video("68ce0fc8"))];
    let at = |s: i64| {
        fragment(
            &tracks,
            &[(1, s * 90_000, s * 90_000, Idr, NAL), (1, s * 90_000 + 9, s * 90_000 + 9, Not, NAL)],
        )
    };
    let [file, patched] = write(Writer::new(Gaps::Keep), &[at(1), at(2), at(3)]);
    assert_eq!(file.len(), patched.len());
    let segment = file.windows(4).position(|w| w == SEGMENT.to_be_bytes()).unwrap() + 12;
    let size = u64::from_be_bytes(patched[segment - 8..segment].try_into().unwrap()) & ((1 << 56) - 1);
    assert_eq!(segment as u64 + size, file.len() as u64);
    // The SeekHead comes first; each place it names holds the element it names.
    let head = ebml::head(&patched[segment..]).unwrap().unwrap();
    assert_eq!(head.id, SEEK_HEAD);
    let content = &patched[segment + head.len..][..head.size.unwrap() as usize];
    let mut cues = 0;
    for seek in ebml::children(content) {
        let parts: Vec<(u32, &[u8])> = ebml::children(seek.unwrap().1).map(Result::unwrap).collect();
        let place = segment + ebml::uint(parts[1].1).unwrap() as usize;
        assert_eq!(&patched[place..place + 4], parts[0].1);
        if parts[0].1 == CUES.to_be_bytes() {
            cues = place;
        }
    }
    let head = ebml::head(&patched[cues..]).unwrap().unwrap();
    assert_eq!(cues + head.len + head.size.unwrap() as usize, patched.len());
    let mut times = vec![];
    for point in ebml::children(&patched[cues + head.len..]) {
        let parts: Vec<(u32, &[u8])> = ebml::children(point.unwrap().1).map(Result::unwrap).collect();
        times.push(ebml::uint(parts[0].1).unwrap());
        let positions: Vec<u64> =
            ebml::children(parts[1].1).map(|c| ebml::uint(c.unwrap().1).unwrap()).collect();
        let cluster = segment + positions[1] as usize;
        let head = ebml::head(&patched[cluster..]).unwrap().unwrap();
        assert_eq!((positions[0], head.id), (1, CLUSTER));
        assert_eq!(u32::from(patched[cluster + head.len + positions[2] as usize]), SIMPLE_BLOCK);
    }
    assert_eq!(times, [0, 1_000, 2_000]);
}

#[test]
fn parameter_sets_that_change_go_before_key_frames() {
    let (a, b) = (Arc::new(video("68ce0fc8")), Arc::new(video("68ce3c80")));
    let delimited: &[u8] = &[0, 0, 0, 2, 9, 16, 0, 0, 0, 2, 0x65, 1];
    let part = |t: &Arc<Track>, at: i64| {
        fragment(std::slice::from_ref(t), &[(1, at, at, Idr, delimited), (1, at + 90, at + 90, Not, NAL)])
    };
    let [file, _] = write(Writer::new(Gaps::Keep), &[part(&a, 0), part(&b, 9_000), part(&a, 18_000)]);
    let (events, end) = events(&file, 4096);
    assert_eq!(end, Ok(()));
    let kinds: Vec<Vec<u8>> = frames(&events)
        .iter()
        .map(|f| crate::nals(Framing::Length(4), &f.data).map(|n| n.unwrap()[0] & 31).collect())
        .collect();
    assert_eq!(kinds, [vec![9, 5], vec![5], vec![9, 7, 8, 5], vec![5], vec![9, 7, 8, 5], vec![5]]);
    let pps = |f: &Frame| crate::nals(Framing::Length(4), &f.data).nth(2).unwrap().unwrap().to_vec();
    assert_eq!([pps(frames(&events)[2]), pps(frames(&events)[4])], [hex("68ce3c80"), hex("68ce0fc8")]);
}

#[test]
fn what_cannot_be_written() {
    let other = Arc::new(Track { codec: Codec::Other(*b"zzzz"), ..video("68ce0fc8") });
    let sound = Arc::new(aac::track(2, &[0x11, 0x90]).unwrap());
    let mut writer = Writer::new(Gaps::Keep);
    let (table, payload) = fragment(std::slice::from_ref(&other), &[(1, 0, 0, Idr, NAL)]);
    assert!(writer.fragment(&table, &payload).is_err());
    let (table, payload) = fragment(&[other, sound.clone()], &[(1, 0, 0, Idr, NAL), (2, 0, 0, Idr, &[1])]);
    assert!(writer.fragment(&table, &payload).is_ok());
    assert_eq!(writer.left_out().len(), 1);
    let changed = Arc::new(aac::track(2, &[0x12, 0x10]).unwrap());
    let (table, payload) = fragment(&[changed], &[(2, 1_024, 1_024, Idr, &[1])]);
    assert_eq!(writer.fragment(&table, &payload).unwrap(), Vec::<Bytes>::new());
    assert_eq!(writer.left_out().len(), 2);
    assert_eq!(Writer::new(Gaps::Keep).finish(), Tail { bytes: Bytes::new(), patches: vec![] });
}

/// A document by hand: what comes before the Segment, then the Segment of unknown size with what is given.
fn document(content: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![];
    put_master(&mut out, EBML, |out| put(out, DOC_TYPE, b"webm"));
    put_id(&mut out, SEGMENT);
    out.push(0xff);
    content(&mut out);
    out
}

fn unknown(out: &mut Vec<u8>, id: u32) {
    put_id(out, id);
    out.extend([1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
}

fn tags(out: &mut Vec<u8>, name: &str) {
    put_master(out, TAGS, |out| {
        put_master(out, TAG, |out| {
            put_master(out, SIMPLE_TAG, |out| {
                put(out, TAG_NAME, name.as_bytes());
                put(out, TAG_STRING, b"1\0\0");
            });
        });
    });
}

#[test]
fn unknown_sizes_void_checksums_and_several_documents() {
    let file = document(|out| {
        put(out, VOID, &[0xec; 40]);
        put_master(out, TRACKS, |out| {
            put(out, CRC_32, &[1, 2, 3, 4]);
            put_master(out, TRACK_ENTRY, |out| {
                put_uint(out, TRACK_NUMBER, 300);
                put_uint(out, TRACK_TYPE, 2);
                put_uint(out, DEFAULT_DURATION, 20_000_000);
                put(out, CODEC_ID, b"A_OPUS\0");
            });
        });
        unknown(out, CLUSTER);
        put(out, CRC_32, &[1, 2, 3, 4]);
        put_uint(out, TIMESTAMP, 500);
        put(out, 0xab, &[7]); // PrevSize
        put(out, SIMPLE_BLOCK, &[0x41, 0x2c, 0, 10, 0x80 | 0x04, 1, 8, 9]);
        put(out, VOID, &[]);
        tags(out, "AWS_KINESISVIDEO_END_OF_FRAGMENT");
        unknown(out, CLUSTER);
        put_uint(out, TIMESTAMP, 600);
        put_master(out, BLOCK_GROUP, |out| {
            put_uint(out, BLOCK_DURATION, 20);
            put(out, BLOCK, &[0x81, 0xff, 0xff, 0, 5]);
            put(out, REFERENCE_BLOCK, &[0xff]);
        });
        put(out, CUES, &[0; 30]);
    });
    let twice = [&file[..], &file[..]].concat();
    for step in [1, 3, 10_000] {
        let (events, end) = events(&twice, step);
        assert_eq!(end, Ok(()));
        assert_eq!(events.len(), 20);
        let half: Vec<Event> = events[..10].to_vec();
        assert!(
            matches!(&half[2], Event::Cluster { timecode: 500, offset } if file[*offset as usize] == 0x1f)
        );
        let got: Vec<_> = frames(&half)
            .iter()
            .map(|f| (f.track, f.timecode, f.time / 1_000_000, f.lace, f.key, f.duration, f.data.to_vec()))
            .collect();
        assert_eq!(
            got,
            [
                (300, 510, 510, 0, true, None, vec![8]),
                (300, 510, 530, 1, true, None, vec![9]),
                (1, 599, 599, 0, false, Some(20_000_000), vec![5]),
            ]
        );
        assert!(frames(&half).iter().all(|f| file[f.offset as usize] == f.data[0]));
        let tag = Tag { name: "AWS_KINESISVIDEO_END_OF_FRAGMENT".into(), value: "1".into() };
        assert!(
            half.iter().any(|e| matches!(e, Event::Tags { tags, .. } if tags == std::slice::from_ref(&tag)))
        );
        assert!(matches!(&events[10], Event::Document { offset } if *offset == file.len() as u64));
    }
}

#[test]
fn stripped_headers_come_back() {
    let file = document(|out| {
        put_master(out, TRACKS, |out| {
            put_master(out, TRACK_ENTRY, |out| {
                put_uint(out, TRACK_NUMBER, 1);
                put_uint(out, TRACK_TYPE, 2);
                put(out, CODEC_ID, b"A_MPEG/L3");
                put_master(out, AUDIO, |out| put_float(out, SAMPLING_FREQUENCY, 44_100.0));
                put_master(out, CONTENT_ENCODINGS, |out| {
                    put_master(out, CONTENT_ENCODING, |out| {
                        put_master(out, CONTENT_COMPRESSION, |out| {
                            put_uint(out, CONTENT_ALGORITHM, 3);
                            put(out, CONTENT_SETTINGS, &[0xff, 0xfb]);
                        });
                    });
                });
            });
        });
        put_master(out, CLUSTER, |out| {
            put_uint(out, TIMESTAMP, 0);
            put(out, SIMPLE_BLOCK, &[0x81, 0, 0, 0, 1, 2]);
        });
    });
    let (events, end) = events(&file, 100);
    assert_eq!(end, Ok(()));
    let f = frames(&events)[0];
    assert_eq!((&f.data[..], f.stored), (&[0xff, 0xfb, 1, 2][..], 2));
    let track = tracks(&events)[0].track(1).unwrap();
    assert_eq!(
        (track.codec, track.kind),
        (Codec::Other(*b".mp3"), Kind::Audio { rate: 44_100, channels: 1 })
    );
}

#[test]
fn codecs_by_other_names() {
    let entry = |id: &str, kind, private: &[u8]| TrackEntry {
        number: 1,
        kind,
        codec_id: id.into(),
        codec_private: Bytes::copy_from_slice(private),
        rate: 48_000.0,
        channels: 2,
        ..TrackEntry::default()
    };
    let avc = video("68ce0fc8");
    assert_eq!(entry("V_MPEG/ISO/AVC", 1, &avc.config).track(1).unwrap(), avc);
    let sets = [
        &[0, 0, 0, 1][..],
        &hex("674d4028eca03c0113f2e022000003000200000300641e30632c"),
        &[0, 0, 1],
        &hex("68ce0fc8"),
    ];
    let annex = entry("V_MPEG4/ISO/AVC", 1, &sets.concat()).track(1).unwrap();
    assert_eq!(annex, Track { framing: Framing::AnnexB, ..avc.clone() });
    let none = entry("V_MPEG4/ISO/AVC", 1, &[]).track(1).unwrap();
    assert_eq!((none.framing, none.config.len()), (Framing::AnnexB, 0));
    assert!(entry("V_MPEG4/ISO/AVC", 1, &[1, 2, 3]).track(1).is_err());
    let aac = entry("A_AAC/MPEG4/LC", 2, &[]).track(1).unwrap();
    assert_eq!(aac, aac::track(1, &[0x11, 0x90]).unwrap());
    assert_eq!(entry("A_PCM/INT/LIT", 2, &[]).track(1).unwrap().codec, Codec::Other(*b"pcmi"));
    assert_eq!(entry("X", 2, &[]).track(1).unwrap().codec, Codec::Other(*b"    "));
    assert!(entry("S_TEXT/UTF8", 17, &[]).track(1).is_err());
    let encoded = TrackEntry { encoded: true, ..entry("A_OPUS", 2, &[]) };
    assert!(encoded.track(1).is_err());
}

#[test]
fn lies_are_found() {
    let cluster = |content: &dyn Fn(&mut Vec<u8>)| {
        let file = document(|out| {
            put_master(out, CLUSTER, |out| {
                put_uint(out, TIMESTAMP, 0);
                content(out);
            })
        });
        events(&file, 16).1
    };
    assert_eq!(cluster(&|_| ()), Ok(()));
    // A block larger than its Cluster, a Cluster in a Cluster, two times, an unknown size, nonsense.
    assert!(cluster(&|out| out.extend([0xa3, 0x90, 0x81, 0, 0, 0])).is_err());
    assert!(cluster(&|out| put(out, CLUSTER, &[])).is_err());
    assert!(cluster(&|out| put_uint(out, TIMESTAMP, 1)).is_err());
    assert!(cluster(&|out| out.extend([0xa3, 0xff, 0x81, 0, 0, 0])).is_err());
    assert!(cluster(&|out| out.extend([0, 1])).is_err());
    assert!(cluster(&|out| out.extend([0xa3, 0x81, 0x81])).is_err());

    let error = |file: &[u8]| events(file, 16).1.unwrap_err();
    let invalid = |e| matches!(e, MediaError::Invalid { .. });
    // Frames before the time of their Cluster, and outside of any.
    assert!(invalid(error(&document(|out| put_master(out, CLUSTER, |out| put(
        out,
        SIMPLE_BLOCK,
        &[0x81, 0, 0, 0]
    ))))));
    assert!(invalid(error(&document(|out| put(out, SIMPLE_BLOCK, &[0x81, 0, 0, 0])))));
    // Beyond the limits, by its head alone.
    assert!(invalid(error(&document(|out| {
        put_id(out, TRACKS);
        put_vint(out, 1 << 40);
    }))));
    assert!(matches!(error(b"RIFF0000AVI LIST"), MediaError::Invalid { .. }));
    let mut other = vec![];
    put_master(&mut other, EBML, |out| put(out, DOC_TYPE, b"pdf"));
    assert!(matches!(error(&other), MediaError::Unsupported { .. }));
}

#[test]
fn a_file_cut_off_gives_what_was_whole() {
    let tracks = [Arc::new(video("68ce0fc8"))];
    let at = |s: i64| {
        fragment(
            &tracks,
            &[(1, s * 90_000, s * 90_000, Idr, NAL), (1, s * 90_000 + 9, s * 90_000 + 9, Not, NAL)],
        )
    };
    for file in write(Writer::new(Gaps::Keep), &[at(1), at(2)]) {
        let whole = events(&file, 4096).0;
        for len in 0..file.len() {
            let (cut, end) = events(&file[..len], 4096);
            let same = cut.iter().zip(&whole).take_while(|(a, b)| a == b).count();
            // All but the end of a Cluster, which is now where the bytes end.
            assert!(same + 1 >= cut.len(), "{len}");
            assert!(
                same == cut.len()
                    || matches!(cut[same], Event::ClusterEnd { offset } if offset == len as u64)
            );
            assert!(matches!(end, Ok(()) | Err(MediaError::Truncated { .. })));
        }
    }
}

#[test]
fn nests_without_end() {
    let mut inner = vec![];
    for _ in 0..2_000 {
        let mut outer = vec![];
        put(&mut outer, SIMPLE_TAG, &inner);
        inner = outer;
    }
    let file = document(|out| put_master(out, TAGS, |out| put(out, TAG, &inner)));
    let (events, end) = events(&file, 1_000);
    assert_eq!(end, Ok(()));
    assert!(events.iter().any(|e| matches!(e, Event::Tags { tags, .. } if tags.len() == 9)));
}

proptest! {
    #[test]
    fn round_trip(
        list in proptest::collection::vec(
            (any::<bool>(), 1i64..200, 0i64..300, any::<bool>(), proptest::collection::vec(1u8.., 1..40)), 1..40),
        start in 0i64..1 << 40, annex in any::<bool>(), cut in 1usize..40, step in 1usize..5_000,
    ) {
        let framing = if annex { Framing::AnnexB } else { Framing::Length(4) };
        let tracks = [
            Arc::new(Track { framing, ..video("68ce0fc8") }),
            Arc::new(g711_track(2, Codec::Pcma, 8_000, 1)),
        ];
        let mut bodies = vec![];
        let mut dts = [start; 2];
        for (sound, duration, cts, key, body) in &list {
            let mut data = match (sound, annex) {
                (true, _) => vec![],
                (_, true) => vec![0, 0, 1],
                _ => (body.len() as u32).to_be_bytes().to_vec(),
            };
            data.extend(body);
            let n = usize::from(*sound);
            let scale = if *sound { 8 } else { 90 };
            let cts = if *sound { 0 } else { *cts };
            let access = if *sound || *key { Idr } else { Not };
            bodies.push((n as u8 + 1, dts[n] * scale, (dts[n] + cts) * scale, access, data));
            dts[n] += duration;
        }
        let fragments: Vec<_> = bodies.chunks(cut).map(|part| {
            let part: Vec<_> = part.iter().map(|(t, d, p, a, b)| (*t, *d, *p, *a, b.as_slice())).collect();
            fragment(&tracks, &part)
        }).collect();
        let origin = fragments[0].0.samples.iter().map(|s| s.pts / if s.track == 1 { 90 } else { 8 }).min().unwrap();
        for file in write(Writer::new(Gaps::Keep), &fragments) {
            let (events, end) = events(&file, step);
            prop_assert_eq!(end, Ok(()));
            let read = frames(&events);
            prop_assert_eq!(read.len(), bodies.len());
            for (f, (track, _, pts, access, data)) in read.iter().zip(&bodies) {
                let ms = pts / if *track == 1 { 90 } else { 8 };
                let framing = if *track == 1 { framing } else { Framing::Raw };
                let data = to_length4(framing, &Bytes::from(data.clone())).unwrap();
                prop_assert_eq!((f.track, f.time, f.key), (u64::from(*track), (ms - origin).max(0) * 1_000_000, access.is_start()));
                prop_assert_eq!(&f.data, &data);
                prop_assert_eq!(&file[f.offset as usize..][..f.stored as usize], &data[..]);
            }
        }
    }

    #[test]
    fn any_table_is_survived(times in proptest::collection::vec((any::<i64>(), any::<u32>(), 1u8..3), 1..20)) {
        let tracks = vec![Arc::new(video("68ce0fc8")), Arc::new(Track { timescale: u32::MAX, ..g711_track(2, Codec::Pcma, 1, 1) })];
        let mut writer = Writer::new(Gaps::Keep);
        let mut file = vec![];
        for (dts, cts, track) in &times {
            let pts = dts.saturating_add(i64::from(*cts));
            let sample = Sample { track: *track, dts: *dts, pts, duration: u32::MAX, access: Not, offset: 0, len: 0 };
            let table = Table { tracks: tracks.clone(), samples: vec![sample] };
            writer.fragment(&table, &Bytes::new()).unwrap().iter().for_each(|s| file.extend_from_slice(s));
        }
        file.extend_from_slice(&writer.finish().bytes);
        let (events, end) = events(&file, 100);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(frames(&events).len(), times.len());
    }
}
