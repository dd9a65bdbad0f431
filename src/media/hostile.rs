//! What the fuzz targets (`fuzz/`) and this room's own tests do with arbitrary bytes: feed them to every parser, and
//! check what must hold of whatever was understood. A panic here is a bug.

use std::sync::Arc;

use bytes::Bytes;

use crate::mp4read::{Movie, MovieSample, next_box};
use crate::{
    Framing, Gaps, Table, Track, aac, av1, fmp4, h264, h265, mkv, mp4file, nals, opus, salvage_length4,
    table, to_length4, vp8, vp9,
};

/// Parameter sets, headers and supplemental information.
pub fn parameter_sets(data: &[u8]) {
    if let Ok(sps) = h264::Sps::parse(data) {
        assert!(sps.width > 0 && sps.height > 0);
        assert!(sps.reorder_depth() <= 32 && sps.id < 32);
        assert!(sps.frame_rate().is_none_or(|(n, d)| n > 0 || d > 0));
    }
    if let Ok(sps) = h265::Sps::parse(data) {
        assert!(sps.width > 0 && sps.height > 0 && sps.reorder_depth() < 16);
        assert!(sps.profile.codec_string().starts_with("hvc1."));
    }
    let _ = (h264::Pps::parse(data), h265::Pps::parse(data), h265::vps_id(data));
    let _ = (h264::SliceHead::parse(data), h264::access(&[data]), h265::access(&[data]));
    let _ = (h264::recovery_frame_count(data), h265::recovery_poc_count(data));
    if let Ok(asc) = aac::Asc::parse(data) {
        assert!(asc.rate > 0 && asc.output_rate() > 0);
    }
    if let Ok((head, payload, rest)) = aac::split_adts(data) {
        assert_eq!(head.header + payload.len() + rest.len(), data.len());
    }
    if let Ok(samples) = opus::packet_duration(data) {
        assert!((120..=5_760).contains(&samples));
    }
    let mut sets = (h264::ParameterSets::new(), h265::ParameterSets::new());
    for nal in nals(Framing::Length(1), data).flatten() {
        for _ in 0..2 {
            sets.0.update(nal);
            sets.1.update(nal);
        }
        assert!(!sets.0.update(nal) && !sets.1.update(nal));
    }
    for track in [sets.0.track(1), sets.1.track(1)].into_iter().flatten().flatten() {
        described(&track);
    }
}

/// Splitting and joining NAL units: what was understood is the same in every framing.
pub fn framing(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    for framing in [
        Framing::AnnexB,
        Framing::Length(1),
        Framing::Length(2),
        Framing::Length(3),
        Framing::Length(4),
        Framing::Raw,
    ] {
        let units: Vec<&[u8]> = nals(framing, data).map_while(Result::ok).collect();
        assert!(units.iter().map(|u| u.len()).sum::<usize>() <= data.len());
        let four = salvage_length4(framing, &payload);
        if framing == Framing::Raw {
            assert_eq!(four, payload);
        } else {
            let again: Vec<&[u8]> = nals(Framing::Length(4), &four).map_while(Result::ok).collect();
            assert_eq!(units, again);
        }
        if let Ok(whole) = to_length4(framing, &payload) {
            assert_eq!(whole, four);
        }
    }
}

/// The stored sample table: what was understood reads again as the same, and slices safely.
pub fn sample_table(data: &[u8]) {
    let Ok(read) = table::decode(data) else { return };
    assert_eq!(table::decode(&table::encode(&read)).as_ref(), Ok(&read));
    let payload = Bytes::from_static(&[0, 0, 0, 1, 0x65, 0, 0, 0, 2, 1, 2, 3]);
    let fits = table::check(&read, payload.len() as u64).is_ok();
    for track in &read.tracks {
        let pieces = fmp4::pieces(&read, &payload, track.id);
        assert!(pieces.is_ok() || !fits);
        let Ok(pieces) = pieces else { continue };
        let _ = fmp4::keyframe(&pieces);
        if let Ok(slices) = fmp4::segment(1, &[fmp4::Run { track, pieces: &pieces }]) {
            let read = fmp4::read_segment(&slices.concat()).expect("what was written can be read");
            assert_eq!(read.runs[0].samples.len(), pieces.len());
        }
    }
    files(&read, &payload);
}

/// A table and a payload that may not fit it, as files: what can be written reads again with as many samples.
fn files(table: &Table, payload: &Bytes) {
    let mut plan = mp4file::Plan::new(Gaps::Close);
    let mut writer = mp4file::Writer::new(Gaps::Keep);
    let mut matroska = mkv::Writer::new(Gaps::Keep);
    let mut file = vec![];
    for _ in 0..2 {
        let planned = plan.add_payload(table, payload);
        assert_eq!(planned, writer.fragment(table, payload).map(|_| ()));
        if let Ok(slices) = matroska.fragment(table, payload) {
            slices.iter().for_each(|s| file.extend_from_slice(s));
        }
    }
    let tail = matroska.finish();
    file.extend_from_slice(&tail.bytes);
    for patch in tail.patches {
        file[patch.at as usize..][..patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    let mut reader = mkv::Reader::default();
    reader.push(&file);
    while reader.event().expect("what was written can be read").is_some() {}
    assert_eq!(reader.end(), Ok(()));
    let Ok(head) = plan.finish() else { return };
    assert!(writer.finish().is_ok());
    for fragment in 0..head.fragments() {
        let slices = head.slices(fragment, table, payload).expect("what was planned can be written");
        assert_eq!(slices.iter().map(|s| s.len() as u64).sum::<u64>(), head.len_of(fragment));
    }
    let moov = next_box(&head.bytes[28..]).expect("a moov").and_then(|b| b.len).map_or(0, |len| len as usize);
    let movie = Movie::parse(&head.bytes.slice(36..28 + moov)).expect("what was written can be read");
    for track in &movie.tracks {
        assert!(track.samples(head.total).all(|s| s.is_ok()));
    }
}

/// What a producer puts, cut into fragments: what is kept of each is one piece more than frames, and is read again.
fn fragments(data: &[u8]) {
    let mut splitter = mkv::Splitter::new(1 << 20);
    let mut frames = 0;
    let mut take = |splitter: &mut mkv::Splitter| {
        while let Ok(Some(part)) = splitter.part() {
            match part {
                mkv::Part::Frame(f) => {
                    assert_eq!(f.data.len() as u64, f.stored);
                    frames += 1;
                }
                mkv::Part::End { skeleton, .. } => {
                    assert_eq!(skeleton.pieces.len(), std::mem::take(&mut frames) + 1);
                    assert_eq!(mkv::Skeleton::decode(skeleton.encode().into()), Ok(skeleton));
                }
                mkv::Part::Begin { .. } => assert_eq!(frames, 0),
                mkv::Part::Tracks(_) => {}
            }
        }
    };
    for chunk in data.chunks(11) {
        splitter.push(chunk);
        take(&mut splitter);
    }
    let _ = splitter.end();
    take(&mut splitter);
}

/// Matroska: the same whatever the pieces that it comes in, and every frame is where it is said to be.
pub fn matroska(data: &[u8]) {
    let read = |step: usize| {
        let mut reader = mkv::Reader::default();
        let mut out = vec![];
        for chunk in data.chunks(step) {
            reader.push(chunk);
            while let Ok(Some(event)) = reader.event() {
                out.push(event);
            }
        }
        let _ = reader.end();
        while let Ok(Some(event)) = reader.event() {
            out.push(event);
        }
        out
    };
    let whole = read(usize::MAX);
    assert_eq!(whole, read(7));
    fragments(data);
    for event in whole {
        match event {
            mkv::Event::Frame(f) => {
                let stored = &data[f.offset as usize..][..f.stored as usize];
                assert!(f.data.ends_with(stored));
            }
            mkv::Event::Tracks(entries) => {
                for track in entries.iter().flat_map(|e| e.track(1)) {
                    described(&track);
                }
            }
            _ => {}
        }
    }
}

/// A `moov`, and a `moof` after it; their lengths come first.
pub fn movie(data: &[u8]) {
    let _ = next_box(data);
    let Some((len, data)) = data.split_first_chunk::<2>() else { return };
    let (moov, moof) = data.split_at(usize::from(u16::from_le_bytes(*len)).min(data.len()));
    let Ok(mut movie) = Movie::parse(&Bytes::copy_from_slice(moov)) else { return };
    let sound = |samples: &[MovieSample]| {
        assert!(samples.iter().all(|s| s.pts >= s.dts || s.dts == i64::MAX));
        assert!(samples.windows(2).all(|w| w[0].dts < w[1].dts || w[0].dts == i64::MAX));
    };
    for track in &movie.tracks {
        track.descriptions.iter().for_each(described);
        let samples: Vec<_> = track.samples(1 << 40).take(5_000).map_while(Result::ok).collect();
        assert!(samples.iter().all(|s| s.offset + u64::from(s.len) <= 1 << 40));
        sound(&samples);
    }
    for _ in 0..2 {
        for run in movie.fragment(moof, 1 << 20).into_iter().flatten() {
            assert!(run.track < movie.tracks.len());
            sound(&run.samples);
        }
    }
}

/// Decoder configurations and MP4: what was understood can be written, and reads again as the same.
pub fn configurations(data: &[u8]) {
    if let Ok(config) = h264::Config::parse(data)
        && let Ok(record) = config.build()
    {
        assert_eq!(h264::Config::parse(&record), Ok(config));
    }
    if let Ok(config) = h265::Config::parse(data)
        && let Ok(record) = config.build()
    {
        let again = h265::Config::parse(&record).expect("what was written can be read");
        assert_eq!((again.vps, again.sps, again.pps), (config.vps, config.sps, config.pps));
    }
    if let Ok(head) = opus::Head::parse(data) {
        assert_eq!(opus::Head::parse(&head.build()).as_ref(), Ok(&head));
        assert_eq!(opus::Head::parse_dops(&head.build_dops()).as_ref(), Ok(&head));
    }
    let _ = opus::Head::parse_dops(data);
    for made in [vp8::track(1, data), vp9::track(1, data), av1::track(1, data)].into_iter().flatten() {
        assert!(fmp4::init(&[Arc::new(made.clone())]).is_ok(), "what was seen can be written: {made:?}");
        let bare = Track { kind: crate::Kind::Video { width: 0, height: 0 }, config: Bytes::new(), ..made };
        let _ = crate::refined(&bare, data);
        described(&bare);
    }
    let _ = av1::plain(data).map(|units| av1::access(&units));
    let _ = fmp4::read_segment(data);
    for track in fmp4::read_init(data).into_iter().flatten() {
        described(&track);
    }
}

/// Everything that can be asked of a track.
fn described(track: &Track) {
    assert!(!crate::codec_string(track).is_empty() && !crate::codec_name(track).is_empty());
    assert!(crate::reorder_depth(track) <= 32);
    let _ = (crate::frame_rate(track), crate::payload_duration(track, &[0xfc, 1, 2]));
    let _ = crate::random_access(track, &[0, 0, 0, 1, 0x65]);
    if let Ok(init) = fmp4::init(&[Arc::new(track.clone())]) {
        let read = fmp4::read_init(&init).expect("what was written can be read");
        assert_eq!((read[0].id, read[0].codec, read[0].timescale), (track.id, track.codec, track.timescale));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that get past the first checks more often than chance would let them.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let start = prop_oneof![
            Just(vec![]),
            Just(vec![0x67, 0x64, 0, 0x1f]),
            Just(vec![0x42, 1, 1, 1, 0x60, 0, 0, 3, 0]),
            Just(vec![1, 0x64, 0, 0x1f, 0xff, 0xe1]),
            Just(vec![
                1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 60, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0f, 3
            ]),
            Just(b"OpusHead".to_vec()),
            Just(vec![1, 1, 1, 1, 0, 5, 5]),
            Just(b"\0\0\0\x60moov\0\0\0\x58trak\0\0\0\x10tkhd".to_vec()),
            Just(b"\0\0\0\x60moof\0\0\0\x10mfhd\0\0\0\0\0\0\0\0\0\0\0\x40traf".to_vec()),
            Just(
                b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\xff\x1f\x43\xb6\x75\xff\xe7\x81\x01"
                    .to_vec()
            ),
            Just(b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\xff\x16\x54\xae\x6b".to_vec()),
        ];
        let byte = prop_oneof![4 => any::<u8>(), 2 => Just(0), 1 => Just(0xff), 1 => Just(3), 1 => Just(1)];
        (start, proptest::collection::vec(byte, 0..200)).prop_map(|(mut start, rest)| {
            start.extend(rest);
            start
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn nothing_panics(data in hostile()) {
            parameter_sets(&data);
            framing(&data);
            sample_table(&data);
            configurations(&data);
            matroska(&data);
            movie(&data);
        }
    }

    /// One byte changed, or the end cut off, of something that is whole: deeper than chance gets.
    fn spoilt(good: &[u8], check: fn(&[u8])) {
        check(good);
        for at in 0..good.len() {
            check(&good[..at]);
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.to_vec();
                bad[at] = value;
                check(&bad);
            }
        }
    }

    fn fragment() -> (Table, Bytes) {
        let sps = [
            0x67, 0x4d, 0x40, 0x28, 0xec, 0xa0, 0x3c, 0x01, 0x13, 0xf2, 0xe0, 0x22, 0, 0, 3, 0, 2, 0, 0, 3,
            0, 0x64, 0x1e, 0x30, 0x63, 0x2c,
        ];
        let video = h264::track_from_parameter_sets(1, &[&sps], &[&[0x68, 0xce, 0x0f, 0xc8]]).unwrap();
        let tracks = vec![
            Arc::new(video),
            Arc::new(aac::track(2, &[0x11, 0x90]).unwrap()),
            Arc::new(opus::Head { pre_skip: 312, ..opus::Head::simple(2) }.track(3)),
            Arc::new(crate::g711_track(4, crate::Codec::Pcma, 8_000, 1)),
        ];
        let mut table = Table { tracks, samples: vec![] };
        for i in 0..12 {
            let track = i as u8 % 4 + 1;
            let access = if i == 4 { crate::RandomAccess::None } else { crate::RandomAccess::Idr };
            let dts = i64::from(table.tracks[usize::from(track) - 1].timescale) * (10 + i / 4);
            let (offset, len) = (6 * i as u64, 6);
            table.samples.push(crate::Sample {
                track,
                dts,
                pts: dts + i,
                duration: 400,
                access,
                offset,
                len,
            });
        }
        (table, [0, 0, 0, 2, 0x65, 1].repeat(12).into())
    }

    #[test]
    fn a_spoilt_matroska_file_is_survived() {
        let (table, payload) = fragment();
        let mut writer = mkv::Writer::new(Gaps::Keep);
        let slices = writer.fragment(&table, &payload).unwrap();
        spoilt(&[slices.concat(), writer.finish().bytes.to_vec()].concat(), matroska);
    }

    #[test]
    fn a_spoilt_movie_is_survived() {
        let (table, payload) = fragment();
        let mut plan = mp4file::Plan::default();
        plan.add_payload(&table, &payload).unwrap();
        plan.add_payload(&table, &payload).unwrap();
        let head = plan.finish().unwrap();
        let mut data = (head.bytes.len() as u16 - 44).to_le_bytes().to_vec();
        data.extend_from_slice(&head.bytes[36..head.bytes.len() - 8]);
        spoilt(&data, movie);

        let init = fmp4::init(&table.tracks).unwrap();
        let pieces: Vec<_> =
            table.tracks.iter().map(|t| fmp4::pieces(&table, &payload, t.id).unwrap()).collect();
        let runs: Vec<_> =
            table.tracks.iter().zip(&pieces).map(|(track, pieces)| fmp4::Run { track, pieces }).collect();
        let segment = fmp4::segment(1, &runs).unwrap();
        let moov = &init[next_box(&init).unwrap().unwrap().len.unwrap() as usize + 8..];
        let mut data = (moov.len() as u16).to_le_bytes().to_vec();
        data.extend_from_slice(moov);
        data.extend_from_slice(&segment[0][8..segment[0].len() - 8]);
        spoilt(&data, movie);
    }

    #[test]
    fn every_start_of_a_good_segment_is_survived() {
        let asc = aac::track(1, &[0x11, 0x90]).unwrap();
        let init = fmp4::init(&[Arc::new(asc), Arc::new(opus::Head::simple(2).track(2))]).unwrap();
        for len in 0..init.len() {
            configurations(&init[..len]);
            let mut spoilt = init.to_vec();
            for value in [0, 1, 0x7f, 0xff] {
                spoilt[len] = value;
                configurations(&spoilt);
            }
        }
    }
}
