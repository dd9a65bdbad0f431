use proptest::prelude::*;

use super::*;

use crate::ntp::tests::ntp;

const T0: i64 = 1_790_000_000_000_000;

fn at(us: i64) -> Timestamp {
    Timestamp(T0 + us)
}

#[test]
fn anchors_on_the_servers_clock_and_advances_by_rtp() {
    let mut t = Timeline::new([90_000]);
    let first = t.unit(0, 4_294_967_000, at(0));
    assert_eq!(first.pts, T0 / 1000 * 90);
    // Over the wrap, and however late it arrives.
    let next = t.unit(0, 4_294_967_000u32.wrapping_add(3600), at(900_000));
    assert_eq!(next, Stamp { pts: first.pts + 3600, jumped_ms: None });
}

#[test]
fn a_plausible_report_is_approached_without_a_step() {
    let mut t = Timeline::new([90_000]);
    let mut last = t.unit(0, 0, at(0)).pts;
    // The sender is 400 ms ahead.
    t.sender_report(0, ntp(T0 + 400_000), 0, at(0));
    for i in 1..=25 * 120u32 {
        let pts = t.unit(0, i * 3600, at(i64::from(i) * 40_000)).pts;
        assert!((pts - last - 3600).abs() <= 3600 * 5 / 1000 + 1, "a step of {}", pts - last);
        last = pts;
    }
    let wanted = T0 / 1000 * 90 + 400 * 90 + 25 * 120 * 3600;
    assert!((last - wanted).abs() <= 1, "{}", last - wanted);
    assert_eq!(t.clock_warning(), None);
}

#[test]
fn pictures_that_are_reordered_are_moved_between_groups_by_as_much_as_a_group_allows() {
    for group in 1..=4u32 {
        let mut t = Timeline::new([90_000]);
        let mut shown = vec![t.unit(0, 0, at(0)).pts];
        // The sender is 400 ms ahead.
        t.sender_report(0, ntp(T0 + 400_000), 0, at(0));
        for before in (0..100).map(|g| g * group) {
            // The last that is shown of a group comes first.
            for n in std::iter::once(group).chain(1..group) {
                let picture = before + n;
                shown.push(t.unit(0, picture * 3600, at(i64::from(picture) * 40_000)).pts);
            }
        }
        shown.sort_unstable();
        let steps: Vec<_> = shown.windows(2).map(|w| w[1] - w[0] - 3600).collect();
        let moved = 18 * i64::from(group);
        for (n, step) in (0..group).cycle().zip(&steps) {
            assert_eq!(*step, if n == 0 { moved } else { 0 }, "{group}: {steps:?}");
        }
    }
}

#[test]
fn an_implausible_clock_is_told_and_not_used() {
    for (ntp, words) in [
        (0, "has no clock"),
        (ntp(12_000_000), "56 years behind"),
        (ntp(T0 + 3600 * 1_000_000 * 2), "2 h 0 min ahead"),
        (1 << 32, "years behind"),
    ] {
        let mut t = Timeline::new([90_000]);
        let first = t.unit(0, 0, at(0)).pts;
        t.sender_report(0, ntp, 0, at(0));
        assert!(t.clock_warning().is_some_and(|w| w.contains(words)), "{:?}", t.clock_warning());
        for i in 1..1000 {
            assert_eq!(t.unit(0, i * 3600, at(i64::from(i) * 40_000)).pts, first + i64::from(i) * 3600);
        }
    }
}

#[test]
fn tracks_keep_in_step_by_reports_whatever_the_clock_says() {
    for sender in [T0 + 500_000, 12_000_000] {
        let mut t = Timeline::new([90_000, 48_000]);
        t.unit(0, 90_000, at(0));
        // The sound of the same moment arrives 300 ms late.
        t.unit(1, 7_000_000, at(300_000));
        t.sender_report(0, ntp(sender), 90_000, at(300_000));
        t.sender_report(1, ntp(sender), 7_000_000, at(300_000));
        let (mut v, mut a) = (0, 0);
        for s in 1..400i64 {
            v = t.unit(0, 90_000 + s as u32 * 90_000, at(s * 1_000_000)).pts;
            a = t.unit(1, 7_000_000 + s as u32 * 48_000, at(s * 1_000_000 + 300_000)).pts;
        }
        let apart = v as f64 / 90_000.0 - a as f64 / 48_000.0;
        assert!(apart.abs() < 0.000_1, "{apart}");
    }
}

#[test]
fn tracks_start_in_step_by_the_start_of_play_time() {
    let mut t = Timeline::new([90_000, 48_000]);
    t.play_start(0, 1000);
    t.play_start(1, 4_294_960_000);
    let v = t.unit(0, 1000 + 90_000, at(0)).pts;
    let a = t.unit(1, 4_294_960_000u32.wrapping_add(24_000), at(700_000)).pts;
    assert_eq!(v / 9, a * 90 / 48 / 9 + 5000, "half a second apart");
}

#[test]
fn jumps_are_seen_and_pauses_are_not() {
    let mut t = Timeline::new([90_000]);
    let first = t.unit(0, 0, at(0)).pts;
    // Five seconds pass on both clocks.
    assert_eq!(t.unit(0, 450_000, at(5_000_000)), Stamp { pts: first + 450_000, jumped_ms: None });
    // A held-up network lets go: five units at once.
    for i in 1..=5 {
        let s = t.unit(0, 450_000 + i * 180_000, at(15_000_000));
        assert_eq!(s, Stamp { pts: first + 450_000 + i64::from(i) * 180_000, jumped_ms: None });
    }
    let ahead = t.unit(0, 450_000 + 900_000 + 3_600_000, at(15_040_000));
    assert_eq!(ahead.jumped_ms, Some(40_000));
    assert_eq!(ahead.pts, (T0 + 15_040_000) / 100 * 9);
    let back = t.unit(0, 100, at(15_080_000));
    assert!(back.jumped_ms.is_some_and(|j| j < -50_000));
    assert_eq!(back.pts, (T0 + 15_080_000) / 100 * 9);
    // Pictures that are shown before those that came earlier are no jump.
    assert_eq!(t.unit(0, 100u32.wrapping_sub(7200), at(15_120_000)).jumped_ms, None);
}

#[test]
fn after_a_jump_nothing_is_shown_before_what_was() {
    let mut t = Timeline::new([90_000]);
    // Shown far ahead of the server's clock, and reordered: the latest shown is not the last that came.
    t.unit(0, 0, at(0));
    let shown = t.unit(0, 80_000, at(0)).pts;
    t.unit(0, 60_000, at(0));
    let s = t.unit(0, 80_000_000, at(10_000));
    assert!(s.jumped_ms.is_some() && s.pts > shown);
}

#[test]
fn tracks_that_jump_together_stay_in_step() {
    let mut t = Timeline::new([90_000, 48_000]);
    let v0 = t.unit(0, 0, at(0)).pts;
    let a0 = t.unit(1, 0, at(200_000)).pts;
    let v = t.unit(0, 900_000_000, at(1_000_000));
    let a = t.unit(1, 480_000_000, at(1_500_000));
    assert!(v.jumped_ms.is_some() && a.jumped_ms.is_some());
    let before = v0 as f64 / 90_000.0 - a0 as f64 / 48_000.0;
    let after = v.pts as f64 / 90_000.0 - a.pts as f64 / 48_000.0;
    assert!((before - after).abs() < 0.000_1, "{before} {after}");
}

#[test]
fn times_are_estimates_until_the_senders_clock_is_reached() {
    let mut t = Timeline::new([90_000, 8_000]);
    let tick = |t: &mut Timeline, s: i64, lag: i64| {
        t.unit(0, s as u32 * 90_000, at(s * 1_000_000 + lag));
        t.estimated()
    };
    assert!(tick(&mut t, 0, 0));
    t.unit(1, 0, at(0));
    assert!(tick(&mut t, 1, 0));
    // 599 ms apart: after 100 s it is 99 ms.
    t.sender_report(0, ntp(T0 + 1_401_000), 180_000, at(2_000_000));
    assert!(tick(&mut t, 2, 0));
    for s in 3..=130 {
        if s % 10 == 0 {
            t.sender_report(0, ntp(T0 + s * 1_000_000 - 599_000), s as u32 * 90_000, at(s * 1_000_000));
        }
        let estimated = tick(&mut t, s, 0);
        assert_eq!(estimated, s < 101, "{s}");
        // Sound that has no reports neither changes that nor stays behind.
        let a = t.unit(1, s as u32 * 8_000, at(s * 1_000_000)).pts;
        assert_eq!(t.estimated(), estimated);
        let v = t.unit(0, s as u32 * 90_000 + 9_000, at(s * 1_000_000 + 100_000)).pts;
        let apart = v as f64 / 90_000.0 - a as f64 / 8_000.0 - 0.1;
        assert!(apart.abs() < 0.006, "{s}: {apart}");
    }
    // No reports any more: what they said is kept, and is an estimate again after a while.
    let before = t.unit(0, 131 * 90_000, at(131_000_000)).pts;
    for s in 132..=1000 {
        assert_eq!(tick(&mut t, s, 0), s > 250, "{s}");
    }
    let after = t.unit(0, 1001 * 90_000, at(1_001_000_000)).pts;
    assert_eq!(after - before, 870 * 90_000, "no drift, no move");
    // The camera's clock is never believed: always an estimate.
    let mut t = Timeline::new([90_000]);
    t.sender_report(0, ntp(12_000_000), 0, at(0));
    assert!(tick(&mut t, 0, 0));
    // Believed from the first unit on.
    let mut t = Timeline::new([90_000]);
    t.sender_report(0, ntp(T0 - 300_000), 0, at(0));
    assert!(!tick(&mut t, 0, 0));
}

proptest! {
    #[test]
    fn any_input_is_survived(
        rates in prop::collection::vec(any::<u32>(), 1..3),
        events in prop::collection::vec((0usize..4, any::<u32>(), any::<u64>(), any::<i64>(), any::<bool>()), 0..200),
    ) {
        let mut t = Timeline::new(rates);
        for (track, rtp, ntp, now, report) in events {
            match report {
                true => t.sender_report(track, ntp, rtp, Timestamp(now)),
                false => { t.unit(track, rtp, Timestamp(now)); }
            }
        }
    }

    #[test]
    fn steady_rtp_gives_exactly_steady_times(start: u32, step in 1u32..90_000, late in prop::collection::vec(0i64..3_000_000, 1..100)) {
        let mut t = Timeline::new([90_000]);
        let first = t.unit(0, start, at(0)).pts;
        for (i, late) in late.into_iter().enumerate() {
            let i = i as u32 + 1;
            let now = i64::from(step) * i64::from(i) * 100 / 9 + late;
            let s = t.unit(0, start.wrapping_add(step.wrapping_mul(i)), at(now));
            prop_assert_eq!(s, Stamp { pts: first + i64::from(step) * i64::from(i), jumped_ms: None });
        }
    }

    #[test]
    fn reports_never_make_a_step(offsets in prop::collection::vec(-20_000_000i64..20_000_000, 1..60)) {
        let mut t = Timeline::new([90_000]);
        let mut last = t.unit(0, 0, at(0)).pts;
        for (i, off) in offsets.into_iter().enumerate() {
            let i = i as u32 + 1;
            let now = i64::from(i) * 200_000;
            t.sender_report(0, ntp(T0 + now + off), i * 18_000, at(now));
            let pts = t.unit(0, i * 18_000, at(now)).pts;
            prop_assert!((pts - last - 18_000).abs() <= 18_000 * 5 / 1000 + 1);
            last = pts;
        }
    }
}
