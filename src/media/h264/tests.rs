use proptest::prelude::*;

use super::*;

/// From x264: Baseline 320×180, Main 1920×1080 with two B-frames, High 4:4:4 322×178, High 720×576 interlaced BT.709.
const BASE: (&str, &str) = ("6742c00cd901419f9f011000000300100000030320f142a480", "68cb83cb20");
const MAIN: (&str, &str) = ("674d4028eca03c0113f2e022000003000200000300641e30632c", "68ce0fc8");
const H444: (&str, &str) = ("67f4000d919b282a33c7c7e022000003000200000300641e28532c", "68ebe3c44844");
const INTER: (&str, &str) =
    ("6764001eacd940b424dff80200016b50101014000003000400000300c87c50a658", "68fba3cb22c0");

pub(crate) fn hex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn track((sps, pps): (&str, &str)) -> Track {
    track_from_parameter_sets(1, &[&hex(sps)], &[&hex(pps)]).unwrap()
}

#[test]
fn sequence_parameter_sets() {
    let base = Sps::parse(&hex(BASE.0)).unwrap();
    assert_eq!((base.profile, base.level, base.width, base.height), (66, 12, 320, 180));
    assert_eq!((base.poc_type, base.reorder_depth(), base.frame_rate()), (2, 0, Some((50, 2))));
    let main = Sps::parse(&hex(MAIN.0)).unwrap();
    assert_eq!((main.width, main.height, main.reorder_frames), (1920, 1080, Some(2)));
    assert_eq!((main.reorder_depth(), main.dpb_frames, main.sample_aspect), (2, 4, Some((1, 1))));
    let h444 = Sps::parse(&hex(H444.0)).unwrap();
    assert_eq!((h444.width, h444.height, h444.chroma_format), (322, 178, 3));
    let inter = Sps::parse(&hex(INTER.0)).unwrap();
    assert_eq!((inter.width, inter.height, inter.frames_only), (720, 576, false));
    assert_eq!(inter.sample_aspect, Some((64, 45)));
    let bt709 = (1, 1, 1, false);
    assert_eq!(inter.colour.map(|c| (c.primaries, c.transfer, c.matrix, c.full_range)), Some(bt709));
    assert_eq!(inter.reorder_depth(), 2 * inter.reorder_frames.unwrap());
}

#[test]
fn usability_information_that_breaks_off_is_kept_so_far() {
    let whole = hex(MAIN.0);
    let cut = Sps::parse(&whole[..whole.len() - 4]).unwrap();
    assert_eq!((cut.width, cut.height, cut.frame_rate()), (1920, 1080, Some((50, 2))));
    assert_eq!(cut.reorder_frames, None);
    // Then the level's memory bounds what may be reordered, and the reference frames do.
    assert_eq!((cut.max_num_reorder_frames(), cut.reorder_depth()), (4, cut.ref_frames.min(4)));
    assert!(Sps::parse(&whole[..6]).is_err());
}

#[test]
fn reordering_is_not_assumed_of_cameras_that_say_nothing() {
    let mut sps = Sps::parse(&hex(MAIN.0)).unwrap();
    sps.reorder_frames = None;
    sps.ref_frames = 1;
    assert_eq!(sps.reorder_depth(), 0);
    sps.ref_frames = 3;
    assert_eq!(sps.reorder_depth(), 3);
    sps.poc_type = 2;
    assert_eq!(sps.reorder_depth(), 0);
    sps.poc_type = 0;
    (sps.profile, sps.constraints) = (100, 0x10);
    assert_eq!(sps.reorder_depth(), 0);
}

#[test]
fn starts() {
    let sei_recovery = hex("0601013280"); // picture timing only
    assert_eq!(access(&[&sei_recovery, &[0x41, 0x9a]]), RandomAccess::None);
    let recovery = hex("0605020102060180"); // user data of two bytes, then a recovery point: count 0 is bit 1
    assert_eq!(recovery_frame_count(&recovery), Some(0));
    assert_eq!(access(&[&recovery, &[0x41, 0x9a]]), RandomAccess::Recovery);
    assert_eq!(access(&[&recovery]), RandomAccess::None);
    let later = hex("060601204080"); // count: 00100... = 3
    assert_eq!(recovery_frame_count(&later), Some(3));
    assert_eq!(access(&[&later, &[0x41, 0x9a]]), RandomAccess::None);
    assert_eq!(access(&[&[9, 0xf0], &[0x65, 0x88]]), RandomAccess::Idr);
    assert_eq!(access(&[]), RandomAccess::None);
    let head = SliceHead::parse(&[0x65, 0x88, 0x84]).unwrap();
    assert_eq!(head, SliceHead { first_mb: 0, slice_type: 2, pps_id: 0 });
}

#[test]
fn configuration() {
    let t = track(MAIN);
    assert_eq!(Config::codec_string(&t.config).unwrap(), "avc1.4d4028");
    assert_eq!(t.kind, Kind::Video { width: 1920, height: 1080 });
    // Against FFmpeg's own record for the same stream.
    let ffmpeg = hex(&format!("014d4028ffe1001a{}010004{}", MAIN.0, MAIN.1));
    assert_eq!(t.config, ffmpeg);
    assert!(track_from_parameter_sets(1, &[], &[&hex(MAIN.1)]).is_err());
    assert!(track_from_parameter_sets(1, &[&hex(MAIN.1)], &[&hex(MAIN.1)]).is_err());
    let high = track(INTER);
    assert!(high.config.ends_with(&[0xfd, 0xf8, 0xf8, 0]));
}

#[test]
fn changes_are_noticed() {
    let mut sets = ParameterSets::new();
    assert!(sets.track(1).is_none());
    assert!(sets.update(&hex(MAIN.0)));
    assert!(sets.update(&hex(MAIN.1)));
    assert!(!sets.update(&hex(MAIN.0)));
    let mut padded = hex(MAIN.1);
    padded.extend([0, 0]);
    assert!(!sets.update(&padded));
    assert!(!sets.update(&[0x65, 0x88]));
    let first = sets.track(1).unwrap().unwrap();
    assert_eq!(*first, track(MAIN));
    assert_eq!(ParameterSets::from_config(&first.config).unwrap(), sets);
    assert!(sets.update(&hex(BASE.0)));
    let second = sets.track(1).unwrap().unwrap();
    assert_eq!(second.kind, Kind::Video { width: 320, height: 180 });
}

proptest! {
    #[test]
    fn configuration_round_trip(
        size in prop_oneof![Just(1u8), Just(2), Just(4)],
        more in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..4),
    ) {
        let pps = more.into_iter().map(|mut v| { v.insert(0, 0x68); Bytes::from(v) }).collect();
        let config = Config { length_size: size, sps: vec![hex(H444.0).into(), hex(MAIN.0).into()], pps };
        prop_assert_eq!(Config::parse(&config.build().unwrap()), Ok(config));
    }

    #[test]
    fn any_flipped_bit_is_survived(at in 0usize..200, cut in 0usize..33) {
        for (sps, _) in [BASE, MAIN, H444, INTER] {
            let mut sps = hex(sps);
            let len = sps.len();
            sps[at / 8 % len] ^= 1 << (at % 8);
            sps.truncate(len.saturating_sub(cut));
            if let Ok(parsed) = Sps::parse(&sps) {
                prop_assert!(parsed.width > 0 && parsed.height > 0 && parsed.reorder_depth() <= 32);
            }
        }
    }
}
