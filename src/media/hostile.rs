//! What the fuzz targets (`fuzz/`) and this room's own tests do with arbitrary bytes: feed them to every parser, and
//! check what must hold of whatever was understood. A panic here is a bug.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Framing, Track, aac, fmp4, h264, h265, nals, opus, salvage_length4, table, to_length4};

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
        }
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
