use proptest::prelude::*;

use super::*;
use crate::Colour;

/// From x265: Main 320×180 with B-frames, and Main 4:2:2 10 1366×768, full range BT.709, scaling lists.
const MAIN: [&str; 3] = [
    "40010c01ffff01600000030090000003000003003c959409",
    "42010101600000030090000003000003003ca00a080b9f796565924caf016808000003000800000300c840",
    "4401c172b46240",
];
const TEN: [&str; 3] = [
    "40010c01ffff0408000003009d08000003000078ba0240",
    "4201010408000003009d08000003000078b002b080301cdb65ba4a4e1780b7010101040000030004000003007820",
    "4401c073c189",
];
/// What FFmpeg makes of them.
const MAIN_RECORD: &str = "0101600000009000000000003cf000fcfdf8f800000f03a00001001840010c01ffff01600000030090000003000003\
003c959409a10001002b42010101600000030090000003000003003ca00a080b9f796565924caf016808000003000800000300c840a2000100074401\
c172b46240";
const TEN_RECORD: &str = "0104080000009d080000000078f000fcfefafa00000f03a00001001740010c01ffff0408000003009d08000003000078\
ba0240a10001002e4201010408000003009d08000003000078b002b080301cdb65ba4a4e1780b7010101040000030004000003007820a20001000644\
01c073c189";

fn hex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn track([vps, sps, pps]: [&str; 3]) -> Track {
    track_from_parameter_sets(1, &[&hex(vps)], &[&hex(sps)], &[&hex(pps)]).unwrap()
}

#[test]
fn sequence_parameter_sets() {
    let main = Sps::parse(&hex(MAIN[1])).unwrap();
    assert_eq!((main.width, main.height, main.chroma_format, main.luma_bits), (320, 180, 1, 8));
    assert_eq!((main.reorder, main.frame_rate(), main.sample_aspect), (2, Some((25, 1)), Some((1, 1))));
    let ten = Sps::parse(&hex(TEN[1])).unwrap();
    assert_eq!((ten.width, ten.height, ten.chroma_format, ten.luma_bits), (1366, 768, 2, 10));
    assert_eq!((ten.reorder, ten.frame_rate()), (0, Some((30, 1))));
    assert_eq!(ten.colour, Some(Colour { primaries: 1, transfer: 1, matrix: 1, full_range: true }));
}

#[test]
fn what_breaks_off_is_kept_so_far() {
    let whole = hex(MAIN[1]);
    let cut = Sps::parse(&whole[..whole.len() - 8]).unwrap();
    assert_eq!((cut.width, cut.height, cut.reorder, cut.timing), (320, 180, 2, None));
    assert!(Sps::parse(&whole[..12]).is_err());
}

#[test]
fn configuration() {
    let main = track(MAIN);
    assert_eq!(main.config, hex(MAIN_RECORD));
    assert_eq!(Config::codec_string(&main.config).unwrap(), "hvc1.1.6.L60.90");
    let ten = track(TEN);
    assert_eq!(ten.config, hex(TEN_RECORD));
    assert_eq!(Config::codec_string(&ten.config).unwrap(), "hvc1.4.10.L120.9D.8");
    let b0 = [1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93];
    assert_eq!(Config::codec_string(&b0).unwrap(), "hvc1.1.6.L93.B0");
    let parsed = Config::parse(&main.config).unwrap();
    assert_eq!((parsed.vps.len(), parsed.sps.len(), parsed.pps.len(), parsed.length_size), (1, 1, 1, 4));
}

#[test]
fn starts() {
    let unit = |kind: u8| vec![kind << 1, 1, 0x80, 0x80];
    for (kind, want) in [
        (19, RandomAccess::Idr),
        (20, RandomAccess::Idr),
        (21, RandomAccess::Open),
        (16, RandomAccess::Open),
        (18, RandomAccess::Open),
        (1, RandomAccess::None),
        (9, RandomAccess::None),
    ] {
        assert_eq!(access(&[&unit(35), &unit(kind)]), want, "{kind}");
    }
    assert!(is_rasl(&unit(8)) && is_rasl(&unit(9)) && !is_rasl(&unit(7)));
    let recovery = |count: u8| vec![39 << 1, 1, 6, 1, count, 0x80];
    assert_eq!(access(&[&recovery(0xc0), &unit(1)]), RandomAccess::Recovery);
    assert_eq!(access(&[&recovery(0x50), &unit(1)]), RandomAccess::None);
    assert_eq!(access(&[&recovery(0xc0)]), RandomAccess::None);
}

#[test]
fn changes_are_noticed() {
    let mut sets = ParameterSets::new();
    for nal in MAIN {
        assert!(sets.track(1).is_none());
        assert!(sets.update(&hex(nal)));
        assert!(!sets.update(&hex(nal)));
    }
    let first = sets.track(1).unwrap().unwrap();
    assert_eq!(*first, track(MAIN));
    assert_eq!(ParameterSets::from_config(&first.config).unwrap(), sets);
    for nal in TEN {
        assert!(sets.update(&hex(nal)));
    }
    assert_eq!(*sets.track(1).unwrap().unwrap(), track(TEN));
}

#[test]
fn other_layers_are_left_aside() {
    let mut sps = hex(MAIN[1]);
    sps[1] |= 0x08;
    assert!(Sps::parse(&sps).is_err());
    assert!(!ParameterSets::new().update(&sps));
}

proptest! {
    #[test]
    fn configuration_round_trip(
        size in prop_oneof![Just(1u8), Just(2), Just(4)],
        more in proptest::collection::vec((32u8..=40, proptest::collection::vec(any::<u8>(), 0..30)), 0..6),
    ) {
        let mut config = Config { length_size: size, vps: vec![], sps: vec![hex(TEN[1]).into()], pps: vec![], sei: vec![] };
        for (kind, mut body) in more {
            body.insert(0, kind << 1);
            let list = match kind {
                VPS => &mut config.vps,
                SPS => &mut config.sps,
                PPS => &mut config.pps,
                PREFIX_SEI => &mut config.sei,
                _ => continue,
            };
            list.push(body.into());
        }
        prop_assert_eq!(Config::parse(&config.build().unwrap()), Ok(config));
    }

    #[test]
    fn any_flipped_bit_is_survived(at in 0usize..400, cut in 0usize..43) {
        for [_, sps, _] in [MAIN, TEN] {
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
