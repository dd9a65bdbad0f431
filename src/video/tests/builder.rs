//! The builder's promises, on any input.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{NOON, aac_track, h264_track, ticks};
use media::{AccessUnit, Framing, RandomAccess, Track};
use proptest::{collection::vec, prelude::*};
use video::{BuildError, Closed, FragmentBuilder, Rules};

/// What a source may do.
#[derive(Clone, Debug)]
enum Step {
    /// A picture so many ticks after the one before, shown so many later, with or without a decode time.
    Picture {
        after: i64,
        later: i64,
        key: bool,
        timed: bool,
        len: usize,
    },
    Sound {
        after: i64,
        len: usize,
    },
    Break,
    /// Another configuration.
    Change(u8),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let after = prop_oneof![20 => 3000i64..4000, 2 => 0i64..10, 1 => -300_000i64..2_000_000];
    let later = prop_oneof![3 => Just(0i64), 1 => 0i64..20_000];
    prop_oneof![
        40 => (after, later, prop::bool::weighted(0.04), any::<bool>(), 0usize..400)
            .prop_map(|(after, later, key, timed, len)| Step::Picture { after, later, key, timed, len }),
        40 => (1000i64..1100, 0usize..50).prop_map(|(after, len)| Step::Sound { after, len }),
        1 => Just(Step::Break),
        1 => (0u8..3).prop_map(Step::Change),
        1 => Just(Step::Flush),
    ]
}

fn tracks(variant: u8) -> Vec<Arc<Track>> {
    let mut video = (*h264_track()).clone();
    video.config = [&video.config[..], &[variant]].concat().into();
    video.framing = Framing::AnnexB;
    vec![Arc::new(video), aac_track()]
}

/// What happened: units in the order in which they went in, fragments in the order in which they came out, each with
/// the bytes that the caller would have written to it.
struct Run {
    units: Vec<AccessUnit>,
    out: Vec<(Closed, Vec<u8>)>,
}

fn run(rules: Rules, steps: Vec<Step>) -> Run {
    let mut b = FragmentBuilder::new(rules);
    assert_eq!(b.tracks(tracks(0)), Ok(None));
    let (mut video, mut audio) = (ticks(NOON, 90_000), ticks(NOON, 48_000));
    let mut run = Run { units: Vec::new(), out: Vec::new() };
    let mut open: Vec<u8> = Vec::new();
    for (n, s) in steps.into_iter().enumerate() {
        let fill = |len: usize| Bytes::from(vec![n as u8; len]);
        let unit = match s {
            Step::Picture { after, later, key, timed, len } => {
                video = (video + after).max(0);
                AccessUnit {
                    track: 1,
                    pts: video + later,
                    dts: timed.then_some(video),
                    duration: None,
                    access: if key { RandomAccess::Idr } else { RandomAccess::None },
                    data: fill(len),
                }
            }
            Step::Sound { after, len } => {
                audio += after;
                let (pts, data) = (audio, fill(len));
                AccessUnit { track: 2, pts, dts: None, duration: None, access: RandomAccess::Idr, data }
            }
            other => {
                let closed = match other {
                    Step::Break => b.discontinuity(),
                    Step::Change(v) => b.tracks(tracks(v)).unwrap(),
                    _ => b.end(),
                };
                run.out.extend(closed.map(|c| (c, std::mem::take(&mut open))));
                continue;
            }
        };
        if let Some(c) = b.push(&unit).unwrap() {
            run.out.push((c, std::mem::take(&mut open)));
        }
        open.extend_from_slice(&unit.data);
        run.units.push(unit);
    }
    run.out.extend(b.end().map(|c| (c, std::mem::take(&mut open))));
    assert!(open.is_empty() && b.is_empty() && b.end().is_none());
    run
}

fn rules() -> Rules {
    Rules { max_bytes: 8_000, max_samples: 400, ..Rules::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_unit_comes_out_once_in_order_and_exact(steps in vec(step(), 1..700)) {
        let rules = rules();
        let run = run(rules, steps);
        let samples: Vec<_> =
            run.out.iter().flat_map(|(c, bytes)| c.table.samples.iter().map(move |s| (s, bytes))).collect();
        prop_assert_eq!(samples.len(), run.units.len());
        for ((s, bytes), u) in samples.iter().zip(&run.units) {
            prop_assert_eq!(s.track, u.track);
            prop_assert_eq!(s.access, u.access);
            let at = s.offset as usize;
            prop_assert_eq!(&bytes[at..at + s.len as usize], &u.data[..]);
            prop_assert!(s.pts >= u.pts, "a picture is never shown earlier");
        }
        for (c, bytes) in &run.out {
            prop_assert_eq!(c.bytes, bytes.len() as u64);
            media::table::check(&c.table, c.bytes).unwrap();
            let end = c.table.samples.iter().try_fold(0, |at, s| (s.offset == at).then(|| at + u64::from(s.len)));
            prop_assert_eq!(end, Some(c.bytes), "sample bytes fill the payload without a hole");
            prop_assert!(c.bytes <= rules.max_bytes || c.table.samples.len() == 1);
            prop_assert!(c.table.samples.len() <= rules.max_samples);
            prop_assert!(c.table.samples.iter().all(|s| s.duration > 0));
            prop_assert!(c.table.tracks.iter().all(|t| c.table.samples.iter().any(|s| s.track == t.id)));
            for t in &c.entry().tracks {
                let max = rules.max + Duration::from_secs(10);
                prop_assert!(t.seconds() <= max.as_secs_f64(), "{}", t.seconds());
            }
            let (start, end) = c.producer();
            prop_assert!(start <= end);
        }
    }

    #[test]
    fn decode_times_rise_within_an_unbroken_stretch(steps in vec(step(), 1..500)) {
        let mut last = [i64::MIN; 3];
        for (c, _) in run(rules(), steps).out {
            if c.discontinuity {
                // A change of configuration keeps the time line, a jump leaves it: either may come.
                last = [i64::MIN; 3];
            }
            for s in &c.table.samples {
                let l = &mut last[usize::from(s.track)];
                prop_assert!(s.dts > *l);
                *l = s.dts;
            }
        }
    }

    #[test]
    fn fragments_are_independent_where_they_say_so(steps in vec(step(), 1..500)) {
        for (c, bytes) in run(rules(), steps).out {
            let e = c.entry();
            let video: Vec<_> = c.table.samples.iter().filter(|s| s.track == 1).collect();
            prop_assert_eq!(e.independent, video.first().is_none_or(|s| s.access != RandomAccess::None));
            let key = video.iter().find(|s| s.access != RandomAccess::None);
            prop_assert_eq!(e.key.map(|k| (k.offset, k.len)), key.map(|s| (s.offset, s.len)));
            let sum: u64 = e.tracks.iter().map(|t| t.bytes).sum();
            prop_assert_eq!(sum, bytes.len() as u64);
        }
    }
}

fn regular(gop: u64, frames: u64, audio: bool) -> Vec<Closed> {
    let mut camera = common::Camera { gop, audio, ..common::Camera::new(NOON) };
    let mut b = FragmentBuilder::new(Rules::default());
    b.tracks(camera.tracks()).unwrap();
    let mut out = Vec::new();
    for _ in 0..frames {
        for u in camera.units().0 {
            out.extend(b.push(&u).unwrap());
        }
    }
    out.extend(b.end());
    out
}

#[test]
fn fragments_end_at_the_first_key_frame_after_the_target() {
    // A key frame each second: two groups in each fragment.
    let out = regular(25, 250, true);
    assert_eq!(out.len(), 5);
    for c in &out {
        let e = c.entry();
        assert!(e.independent && !e.discontinuity);
        assert_eq!((e.tracks[0].samples, e.tracks[0].duration), (50, 180_000));
        assert_eq!(c.producer().1.since(c.producer().0).as_millis() / 50, 2000 / 50);
    }
}

#[test]
fn long_groups_are_cut_and_the_rest_says_that_it_cannot_start() {
    // A key frame each 30 s.
    let out = regular(750, 1500, false);
    let spans: Vec<_> = out.iter().map(|c| (c.entry().independent, c.entry().tracks[0].samples)).collect();
    assert_eq!(spans, [(true, 250), (false, 250), (false, 250), (true, 250), (false, 250), (false, 250)]);
}

#[test]
fn a_key_frame_ends_a_fragment_that_cannot_start() {
    // A key frame each 11 s: the second after the cut is not lost to the next fragment.
    let out = regular(275, 550, false);
    let spans: Vec<_> = out.iter().map(|c| (c.entry().independent, c.entry().tracks[0].samples)).collect();
    assert_eq!(spans, [(true, 250), (false, 25), (true, 250), (false, 25)]);
}

#[test]
fn sound_alone_ends_at_the_target() {
    let mut b = FragmentBuilder::new(Rules::default());
    b.tracks(vec![aac_track()]).unwrap();
    let mut out = Vec::new();
    for n in 0..470 {
        let pts = ticks(NOON, 48_000) + 1024 * n;
        let data = Bytes::from_static(b"sound");
        let u = AccessUnit { track: 2, pts, dts: None, duration: None, access: RandomAccess::Idr, data };
        out.extend(b.push(&u).unwrap());
    }
    assert_eq!(out.len(), 5);
    assert!(out.iter().all(|c| c.entry().independent && (1.9..2.1).contains(&c.entry().tracks[0].seconds())));
}

#[test]
fn reordered_pictures_without_decode_times() {
    // I P B B P B B …, the SPS says that two are reordered.
    let mut b = FragmentBuilder::new(Rules::default());
    b.tracks(vec![h264_track()]).unwrap();
    let base = ticks(NOON, 90_000);
    let mut out = Vec::new();
    let order = [0i64, 3, 1, 2];
    let mut shown = Vec::new();
    for n in 0..200i64 {
        let at = if n % 50 == 0 {
            n
        } else {
            let m = n % 50 - 1;
            n - n % 50 + m / 3 * 3 + order[(m % 3 + 1) as usize]
        };
        shown.push(base + at * 3600);
        let u = AccessUnit {
            track: 1,
            pts: base + at * 3600,
            dts: None,
            duration: None,
            access: if n % 50 == 0 { RandomAccess::Idr } else { RandomAccess::None },
            data: common::picture(n as u64, n % 50 == 0, 20),
        };
        out.extend(b.push(&u).unwrap());
    }
    out.extend(b.end());
    let samples: Vec<_> = out.iter().flat_map(|c| &c.table.samples).collect();
    assert_eq!(samples.len(), 200);
    assert!(
        samples.windows(2).all(|w| w[0].dts < w[1].dts && w[0].dts + i64::from(w[0].duration) == w[1].dts)
    );
    assert!(samples.iter().zip(&shown).all(|(s, p)| s.pts == *p && s.pts >= s.dts));
    assert!(out.iter().all(|c| c.entry().independent));
}

#[test]
fn jumps_break_the_time_line_and_pauses_of_sound_do_not() {
    let mut b = FragmentBuilder::new(Rules::default());
    b.tracks(vec![h264_track(), aac_track()]).unwrap();
    let base = ticks(NOON, 90_000);
    let mut at = |track: u8, pts: i64| {
        let access = RandomAccess::Idr;
        b.push(&AccessUnit {
            track,
            pts,
            dts: None,
            duration: None,
            access,
            data: Bytes::from_static(&[0, 0, 0, 1, 0x65]),
        })
        .unwrap()
    };
    for n in 0..25 {
        assert_eq!(at(1, base + n * 3600), None);
    }
    assert_eq!(at(2, ticks(NOON, 48_000)), None);
    assert_eq!(at(2, ticks(NOON, 48_000) + 48_000 * 9), None);
    let back = at(1, base - 90_000 * 3600).expect("an hour back ends the fragment");
    assert!(!back.discontinuity && back.table.samples.len() == 27);
    let closed = b.end().unwrap();
    assert!(closed.discontinuity);
}

#[test]
fn what_cannot_be_stored_is_refused_and_changes_nothing() {
    let mut b = FragmentBuilder::new(Rules::default());
    let unit = |track, pts| AccessUnit {
        track,
        pts,
        dts: None,
        duration: None,
        access: RandomAccess::Idr,
        data: Bytes::from_static(b"x"),
    };
    assert_eq!(b.push(&unit(1, 0)), Err(BuildError::UnknownTrack(1)));
    assert_eq!(b.tracks(vec![]), Err(BuildError::TrackCount(0)));
    assert_eq!(b.tracks(vec![h264_track(), h264_track()]), Err(BuildError::TrackId(1)));
    b.tracks(vec![h264_track()]).unwrap();
    assert_eq!(b.push(&unit(1, i64::MIN)), Err(BuildError::Time(i64::MIN)));
    assert_eq!(b.push(&unit(1, -1)), Err(BuildError::Time(-1)));
    assert!(b.is_empty());
    // The same declaration again changes nothing either.
    b.push(&unit(1, 5)).unwrap();
    assert_eq!(b.tracks(vec![h264_track()]), Ok(None));
    assert!(!b.is_empty());
}

#[test]
fn decode_times_rise_through_a_break_after_which_time_goes_on() {
    // Without decode times, two pictures reordered: those of the first pictures are derived from before them.
    let mut b = FragmentBuilder::new(Rules::default());
    b.tracks(vec![h264_track()]).unwrap();
    let picture = |pts: i64| AccessUnit {
        track: 1,
        pts,
        dts: None,
        duration: None,
        access: RandomAccess::Idr,
        data: Bytes::from_static(&[0, 0, 0, 1, 0x65]),
    };
    let start = 90_000 * 1_000_000;
    let mut closed = Vec::new();
    for again in [0, 60_000, -900_000] {
        for n in [0, 3, 1, 2, 4, 7, 5, 6] {
            closed.extend(b.push(&picture(start + again + 3600 * n)).unwrap());
        }
        closed.extend(b.discontinuity());
    }
    let times: Vec<Vec<_>> =
        closed.iter().map(|c| c.table.samples.iter().map(|s| (s.dts, s.pts)).collect()).collect();
    assert_eq!(times.len(), 3);
    assert!(times[1][0].0 > times[0].last().unwrap().0, "{times:?}");
    assert_eq!(times[1].iter().map(|t| t.1).min(), Some(start + 60_000), "what is shown when is as it was");
    // Time that goes back goes back.
    assert!(times[2][0].0 < times[0][0].0);
}
