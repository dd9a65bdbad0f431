use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::boxes::{boxed, full, u16, u32, u64, zeros};
use crate::{Codec, Kind, MediaError, RandomAccess, Sample, aac, fmp4, g711_track, opus};

/// Tables of a track of sound, as bytes.
#[derive(Clone, Default)]
struct Made {
    elst: Vec<u8>,
    entry: Vec<u8>,
    stts: Vec<u32>,
    ctts: Vec<u32>,
    stsc: Vec<u32>,
    stsz: Vec<u32>,
    stco: Vec<u32>,
}

fn sound(kind: &[u8; 4], version: u16, more: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    boxed(&mut out, kind, |out| {
        zeros(out, 6);
        u16(out, 1);
        u16(out, version);
        zeros(out, 6);
        u16(out, 2);
        u16(out, 16);
        zeros(out, 4);
        u32(out, 8_000 << 16);
        out.extend(more);
    });
    out
}

impl Made {
    fn moov(&self) -> Bytes {
        let mut out = vec![];
        full(&mut out, b"mvhd", 0, 0, |out| [0, 0, 1_000, 0].iter().for_each(|v| u32(out, *v)));
        boxed(&mut out, b"trak", |out| {
            full(out, b"tkhd", 0, 0, |out| [0, 0, 7, 0].iter().for_each(|v| u32(out, *v)));
            boxed(out, b"edts", |out| {
                if !self.elst.is_empty() {
                    boxed(out, b"elst", |out| out.extend(&self.elst))
                }
            });
            boxed(out, b"mdia", |out| {
                full(out, b"mdhd", 0, 0, |out| [0, 0, 8_000, 0].iter().for_each(|v| u32(out, *v)));
                full(out, b"hdlr", 0, 0, |out| out.extend(b"\0\0\0\0soun"));
                boxed(out, b"minf", |out| {
                    boxed(out, b"stbl", |out| {
                        full(out, b"stsd", 0, 0, |out| {
                            u32(out, 1);
                            out.extend(&self.entry);
                        });
                        for (kind, list, row) in [
                            (b"stts", &self.stts, 2),
                            (b"ctts", &self.ctts, 2),
                            (b"stsc", &self.stsc, 3),
                            (b"stco", &self.stco, 1),
                        ] {
                            if !list.is_empty() {
                                full(out, kind, 0, 0, |out| {
                                    u32(out, list.len() as u32 / row);
                                    list.iter().for_each(|v| u32(out, *v));
                                });
                            }
                        }
                        full(out, b"stsz", 0, 0, |out| self.stsz.iter().for_each(|v| u32(out, *v)));
                    });
                });
            });
        });
        // What some writers put after the last box.
        zeros(&mut out, 4);
        out.into()
    }
}

fn plain() -> Made {
    Made {
        entry: sound(b"ulaw", 0, &[]),
        stts: vec![3, 400],
        stsc: vec![1, 2, 1, 2, 1, 1],
        stsz: vec![0, 3, 10, 20, 30],
        stco: vec![100, 200],
        ..Made::default()
    }
}

fn samples(made: &Made) -> Vec<(u64, u32, i64, i64)> {
    let movie = Movie::parse(&made.moov()).unwrap();
    let samples = movie.tracks[0].samples(1 << 40).map(Result::unwrap);
    samples.map(|s| (s.offset, s.len, s.dts, s.pts)).collect()
}

#[test]
fn chunks_and_sizes() {
    assert_eq!(samples(&plain()), [(100, 10, 0, 0), (110, 20, 400, 400), (200, 30, 800, 800)]);
    let movie = Movie::parse(&plain().moov()).unwrap();
    let track = &movie.tracks[0];
    assert_eq!((track.id, track.timescale, movie.created), (7, 8_000, None));
    assert_eq!(track.descriptions[0], g711_track(1, Codec::Pcmu, 8_000, 2));
    assert_eq!(track.samples(229).filter(Result::is_err).count(), 1);
    assert_eq!(track.samples(229).count(), 3);
}

#[test]
fn sound_by_single_samples_comes_in_packets() {
    let made = Made { stts: vec![400, 1], stsz: vec![2, 400], stsc: vec![1, 200, 1], ..plain() };
    assert_eq!(
        samples(&made),
        [(100, 320, 0, 0), (420, 80, 160, 160), (200, 320, 200, 200), (520, 80, 360, 360)]
    );
}

#[test]
fn pictures_shown_before_they_are_decoded_move_decode_times() {
    let made = Made { ctts: vec![1, 0, 1, 400, 1, -400i32 as u32], ..plain() };
    assert_eq!(samples(&made), [(100, 10, -400, 0), (110, 20, 0, 800), (200, 30, 400, 400)]);
}

#[test]
fn broken_tables() {
    let error = |made: Made| Movie::parse(&made.moov()).map(|m| m.tracks[0].samples(1 << 40).last().unwrap());
    assert!(matches!(error(Made { stco: vec![100], ..plain() }), Ok(Err(MediaError::Invalid { .. }))));
    assert!(error(Made { stsc: vec![], ..plain() }).unwrap().is_err());
    assert!(error(Made { stsz: vec![0, 4, 10, 20, 30], ..plain() }).is_err());
    assert!(error(Made { entry: vec![], ..plain() }).is_err());
    assert!(error(Made { entry: sound(b"mp4a", 0, &[]), ..plain() }).is_err());
    // Times that stand still rise all the same.
    let made = Made { stts: vec![2, 0], ..plain() };
    assert_eq!(samples(&made).iter().map(|s| s.2).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn edit_lists() {
    let elst = |entries: &[(u32, i32, u32)]| {
        let mut out = vec![0; 4];
        u32(&mut out, entries.len() as u32);
        for (duration, time, rate) in entries {
            u32(&mut out, *duration);
            u32(&mut out, *time as u32);
            u32(&mut out, *rate);
        }
        let movie = Movie::parse(&Made { elst: out, ..plain() }.moov()).unwrap();
        let t = &movie.tracks[0];
        (t.shift, t.shown_until, t.edited)
    };
    assert_eq!(elst(&[]), (0, None, false));
    assert_eq!(elst(&[(100, 80, 0x1_0000)]), (-80, Some(800), false));
    assert_eq!(elst(&[(50, -1, 0x1_0000), (100, 80, 0x1_0000)]), (320, Some(1_200), false));
    assert_eq!(elst(&[(0, 80, 0x1_0000)]), (-80, None, false));
    assert_eq!(elst(&[(10, 0, 0x1_0000), (10, 800, 0x1_0000)]), (0, None, true));
    assert_eq!(elst(&[(10, 0, 0x8000)]), (0, None, true));
}

#[test]
fn quicktime_sound() {
    let wave = |esds: bool| {
        let mut out = vec![0; 16];
        boxed(&mut out, b"wave", |out| {
            if esds {
                full(out, b"esds", 0, 0, |out| {
                    out.extend([3, 22, 0, 1, 0, 4, 17, 0x40, 0x15]);
                    zeros(out, 11);
                    out.extend([5, 2, 0x11, 0x90, 6, 1, 2]);
                });
            }
        });
        Made { entry: sound(b"mp4a", 1, &out), ..plain() }
    };
    let movie = Movie::parse(&wave(true).moov()).unwrap();
    let d = &movie.tracks[0].descriptions[0];
    assert_eq!(
        (d.codec, &d.config[..], d.kind),
        (Codec::Aac, &[0x11, 0x90][..], Kind::Audio { rate: 48_000, channels: 2 })
    );
    assert!(Movie::parse(&wave(false).moov()).is_err());

    let mut second = vec![];
    u32(&mut second, 72);
    u64(&mut second, 96_000f64.to_bits());
    u32(&mut second, 6);
    zeros(&mut second, 20);
    let movie = Movie::parse(&Made { entry: sound(b"lpcm", 2, &second), ..plain() }.moov()).unwrap();
    let d = &movie.tracks[0].descriptions[0];
    assert_eq!((d.codec, d.kind), (Codec::Other(*b"lpcm"), Kind::Audio { rate: 96_000, channels: 6 }));
}

#[test]
fn heads_at_the_top() {
    let top = |bytes: &[u8]| next_box(bytes).map(|b| b.map(|b| (b.head, b.len)));
    assert_eq!(top(b"\0\0\0\x10free"), Ok(Some((8, Some(16)))));
    assert_eq!(top(b"\0\0\0\0mdat"), Ok(Some((8, None))));
    assert_eq!(top(b"\0\0\0\x01mdat\0\0\0\x01\0\0\0\0"), Ok(Some((16, Some(1 << 32)))));
    assert_eq!(top(b"\0\0\0\x01mdat\0\0"), Ok(None));
    assert_eq!(top(b"\0\0\0"), Ok(None));
    assert!(top(b"\0\0\0\x07free").is_err());
    assert!(top(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f").is_err());
}

#[test]
fn fragments_without_decode_times_go_on() {
    let tracks =
        vec![Arc::new(aac::track(1, &[0x11, 0x90]).unwrap()), Arc::new(opus::Head::simple(2).track(2))];
    let init = fmp4::init(&tracks).unwrap();
    let at = next_box(&init).unwrap().unwrap().len.unwrap() as usize;
    let mut movie = Movie::parse(&init.slice(at + 8..)).unwrap();
    assert!(movie.fragmented && movie.tracks.len() == 2);
    assert_eq!(movie.tracks[0].samples(0).count(), 0);
    let mut moof = vec![];
    boxed(&mut moof, b"traf", |out| {
        full(out, b"tfhd", 0, 0x8 | 0x10, |out| [2, 960, 50].iter().for_each(|v| u32(out, *v)));
        full(out, b"trun", 0, 0x1, |out| [2, 1_000].iter().for_each(|v| u32(out, *v)));
        full(out, b"trun", 0, 0x4, |out| [1, 0x1_0000].iter().for_each(|v| u32(out, *v)));
    });
    let times = |runs: &[MovieRun]| {
        runs[0].samples.iter().map(|s| (s.offset, s.len, s.dts, s.sync)).collect::<Vec<_>>()
    };
    let runs = movie.fragment(&moof, 500).unwrap();
    assert_eq!(runs[0].track, 1);
    assert_eq!(times(&runs), [(1_500, 50, 0, true), (1_550, 50, 960, true), (1_600, 50, 1_920, false)]);
    let runs = movie.fragment(&moof, 9_500).unwrap();
    assert_eq!(times(&runs)[0], (10_500, 50, 2_880, true));
    // A count with nothing behind it.
    let mut many = vec![];
    boxed(&mut many, b"traf", |out| {
        full(out, b"tfhd", 0, 0, |out| u32(out, 1));
        full(out, b"trun", 0, 0, |out| u32(out, u32::MAX));
    });
    assert!(movie.fragment(&many, 0).is_err());
}

proptest! {
    #[test]
    fn our_own_segments_read_the_same(
        list in proptest::collection::vec((1u32..100_000, 0u32..200_000, any::<bool>(), 0usize..50), 1..30), start in 0i64..1 << 50,
    ) {
        let track = Arc::new(aac::track(1, &[0x11, 0x90]).unwrap());
        let mut dts = start;
        let pieces: Vec<fmp4::Piece> = list.iter().map(|(duration, cts, key, len)| {
            let access = if *key { RandomAccess::Idr } else { RandomAccess::None };
            let sample = Sample {
                track: 1, dts, pts: dts + i64::from(*cts), duration: *duration, access, offset: 0, len: *len as u32,
            };
            dts += i64::from(*duration);
            fmp4::Piece { sample, data: Bytes::from(vec![7; *len]) }
        }).collect();
        let init = fmp4::init(std::slice::from_ref(&track)).unwrap();
        let at = next_box(&init).unwrap().unwrap().len.unwrap() as usize;
        let mut movie = Movie::parse(&init.slice(at + 8..)).unwrap();
        prop_assert_eq!(&movie.tracks[0].descriptions[0], &*track);
        let segment = fmp4::segment(1, &[fmp4::Run { track: &track, pieces: &pieces }]).unwrap().concat();
        let moof = next_box(&segment).unwrap().unwrap().len.unwrap() as usize;
        let runs = movie.fragment(&segment[8..moof], 77).unwrap();
        let old = fmp4::read_segment(&segment).unwrap();
        prop_assert_eq!(runs[0].samples.len(), pieces.len());
        for (a, b) in runs[0].samples.iter().zip(&old.runs[0].samples) {
            prop_assert_eq!((a.dts, a.pts, a.duration, a.len, a.offset), (b.dts, b.pts, b.duration, b.len, b.offset + 77));
            prop_assert_eq!(a.sync, b.access.is_start());
        }
    }
}
