//! Low-latency HLS: parts as samples come, those who wait for them, and what becomes of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use common::{Camera, NOON, Rig, check, rig, rig_with, rig_within};
use log::Limits;
use media::fmp4;
use video::{Ask, Config};

fn parts(text: &str) -> Vec<String> {
    let of = |l: &str| l.split("URI=\"").nth(1).and_then(|u| u.split('"').next()).map(str::to_owned);
    text.lines().filter(|l| l.starts_with("#EXT-X-PART:")).filter_map(of).collect()
}

fn hint(text: &str) -> Option<String> {
    let line = text.lines().find(|l| l.starts_with("#EXT-X-PRELOAD-HINT:"))?;
    Some(line.split("URI=\"").nth(1)?.split('"').next()?.to_owned())
}

/// Waits until so many fragments are durable: commits run beside what comes next.
async fn durable(rig: &Rig, fragments: u64) {
    while rig.video.ingest_status("yard").unwrap().fragments < fragments {
        tokio::task::yield_now().await;
    }
}

/// A camera that has published two fragments and a bit, watched since the first.
async fn watched(rig: &Rig) -> (Camera, video::Session, String) {
    watched_by(rig, Camera::new(NOON)).await
}

async fn watched_by(rig: &Rig, mut camera: Camera) -> (Camera, video::Session, String) {
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(rig, &mut s, 60).await;
    durable(rig, 1).await;
    let path = rig.play("yard", Ask::default()).await;
    let base = path.rsplit_once('/').unwrap().0.to_owned();
    rig.text(&format!("{base}/1.m3u8")).await;
    camera.send(rig, &mut s, 52).await;
    durable(rig, 2).await;
    (camera, s, base)
}

#[tokio::test]
async fn parts_come_as_samples_do() {
    let rig = rig().await;
    let (mut camera, mut s, base) = watched(&rig).await;
    camera.send(&rig, &mut s, 10).await;
    let text = rig.text(&format!("{base}/1.m3u8")).await;
    let list = check::media(&text);
    // The third fragment began with picture 100; 22 pictures of it are four parts of five, and two that wait.
    assert_eq!((list.entries.len(), list.parts), (2, 4), "{text}");
    assert!(text.contains("#EXT-X-PART-INF:PART-TARGET=0.210\n"), "{text}");
    let mut pictures = 100u64;
    for uri in parts(&text) {
        let bytes = rig.bytes(&format!("{base}/{uri}")).await;
        let seg = fmp4::read_segment(&bytes).unwrap();
        for sample in &seg.runs[0].samples {
            let got = &bytes[sample.offset as usize..sample.offset as usize + sample.len as usize];
            assert_eq!(got, common::picture(pictures, pictures.is_multiple_of(50), 500));
            pictures += 1;
        }
    }
    assert_eq!(pictures, 120);
    // When the fragment is whole, it has its parts before it, and the next goes on.
    camera.send(&rig, &mut s, 50).await;
    durable(&rig, 3).await;
    let text = rig.text(&format!("{base}/1.m3u8")).await;
    let list = check::media(&text);
    assert_eq!((list.entries.len(), list.parts), (3, 10 + 4), "{text}");
    assert_eq!(text.matches("INDEPENDENT=YES").count(), 2);
    let sound = rig.text(&format!("{base}/2.m3u8")).await;
    assert!(check::media(&sound).parts > 10 && !parts(&sound).iter().any(|p| p.starts_with("1/")), "{sound}");
    assert!(text.contains("#EXT-X-RENDITION-REPORT:URI=\"2.m3u8\",LAST-MSN=3,LAST-PART="), "{text}");
    s.end().await.unwrap();
    // Nobody publishes: nothing is announced.
    let text = rig.text(&format!("{base}/1.m3u8")).await;
    assert!(!text.contains("PART") && text.contains("#EXT-X-VERSION:7"), "{text}");
}

/// A fragment of which parts were shown, and that is never stored, keeps its media sequence number.
#[tokio::test]
async fn what_is_lost_after_it_was_shown_leaves_a_gap() {
    let rig = rig().await;
    let (mut camera, mut s, base) = watched(&rig).await;
    camera.send(&rig, &mut s, 10).await;
    let tracks = [1, 2];
    let mut shown = Vec::new();
    for track in tracks {
        let text = rig.text(&format!("{base}/{track}.m3u8")).await;
        let list = check::media(&text);
        assert!(list.parts > 0 && list.entries.len() == 2, "{text}");
        shown.push(list);
    }
    s.abandon().await.unwrap();
    // Where nothing was shown none is passed over, and the numbers go on.
    let start = camera.start + Duration::from_secs(10);
    for (n, pictures) in [100, 60, 50].into_iter().enumerate() {
        let mut next = Camera::new(start + Duration::from_secs(60 * n as u64));
        let mut s = rig.session("yard").await;
        s.tracks(next.tracks()).await.unwrap();
        next.send(&rig, &mut s, pictures).await;
        if n == 1 { s.abandon().await.unwrap() } else { s.end().await.unwrap() }
    }
    for (track, before) in tracks.into_iter().zip(shown) {
        let text = rig.text(&format!("{base}/{track}.m3u8")).await;
        let list = check::media(&text);
        check::follows(&before, &list);
        let gaps: Vec<_> = list.entries.iter().filter(|e| e.gap).map(|e| e.sequence).collect();
        let all: Vec<_> = list.entries.iter().map(|e| e.sequence).collect();
        assert_eq!((gaps, all), (vec![2], (0..7).collect()), "{text}");
    }
}

/// Numbers of a track's gaps, and of all its entries.
async fn gaps(rig: &Rig, base: &str, track: u8) -> (Vec<u64>, Vec<u64>) {
    let list = check::media(&rig.text(&format!("{base}/{track}.m3u8")).await);
    let gaps = list.entries.iter().filter(|e| e.gap).map(|e| e.sequence).collect();
    (gaps, list.entries.iter().map(|e| e.sequence).collect())
}

/// The log refuses what comes next while the fragment before is being stored: that one keeps the number that it was shown
/// at. What has parts after it may be shown from then on.
#[tokio::test]
async fn what_is_being_stored_when_a_session_fails_keeps_its_number() {
    let limits = Limits { payload_bytes: 200_000, ..Limits::default() };
    let rig = rig_within(limits, Config::default(), None).await;
    let (mut camera, mut s, base) = watched(&rig).await;
    // Nothing lets the third fragment's commit run before the log has refused a picture of the fourth.
    camera.send(&rig, &mut s, 50).await;
    assert_eq!(rig.video.ingest_status("yard").unwrap().fragments, 2);
    camera.len = 300_000;
    let (units, at) = camera.units();
    assert!(s.write(units[0].clone(), at).await.is_err());
    drop(s);
    durable(&rig, 3).await;
    common::record(&rig, "yard", camera.start + Duration::from_secs(10), 100).await;
    for track in [1, 2] {
        assert_eq!(gaps(&rig, &base, track).await, (vec![3], (0..6).collect()), "{track}");
    }
}

/// The same, where that one cannot be stored either.
#[tokio::test]
async fn what_fails_to_be_stored_after_its_session_failed_leaves_a_gap() {
    // So much that the third fragment has no room for its table.
    let camera = || Camera { audio: false, ..Camera::new(NOON) };
    let len = |n: u64| if n < 112 { 500 } else { 900 };
    let third: usize = (100..150).map(|n| common::picture(n, n % 50 == 0, len(n)).len()).sum();
    let limits = Limits { payload_bytes: third as u64, ..Limits::default() };
    let rig = rig_within(limits, Config::default(), None).await;
    let (mut camera, mut s, base) = watched_by(&rig, camera()).await;
    camera.len = 900;
    camera.send(&rig, &mut s, 10).await;
    assert!(check::media(&rig.text(&format!("{base}/1.m3u8")).await).parts > 0);
    camera.send(&rig, &mut s, 30).await;
    camera.len = 300_000;
    let (units, at) = camera.units();
    assert!(s.write(units[0].clone(), at).await.is_err());
    drop(s);
    common::record(&rig, "yard", camera.start + Duration::from_secs(10), 100).await;
    assert_eq!(gaps(&rig, &base, 1).await, (vec![2], (0..5).collect()));
}

/// Another session takes over while a fragment is shown: its number is the one that it was shown at, or nobody's.
#[tokio::test]
async fn what_is_shown_when_another_session_takes_over_keeps_its_number() {
    for first in [true, false] {
        let rig = rig().await;
        let (mut camera, mut old, base) = watched(&rig).await;
        camera.send(&rig, &mut old, 10).await;
        let before = check::media(&rig.text(&format!("{base}/1.m3u8")).await);
        assert!(before.parts > 0 && before.entries.len() == 2);
        let mut next = Camera::new(camera.start + Duration::from_secs(10));
        let mut s = rig.session("yard").await;
        s.tracks(next.tracks()).await.unwrap();
        next.send(&rig, &mut s, 10).await;
        if first {
            old.end().await.unwrap();
            next.send(&rig, &mut s, 50).await;
        } else {
            next.send(&rig, &mut s, 50).await;
            durable(&rig, 3).await;
            old.end().await.unwrap();
        }
        s.end().await.unwrap();
        let want = if first { (vec![], (0..5).collect()) } else { (vec![2], (0..6).collect::<Vec<_>>()) };
        for track in [1, 2] {
            assert_eq!(gaps(&rig, &base, track).await, want, "{track}");
        }
    }
}

/// The same, where the whole process was lost.
#[tokio::test]
async fn what_a_crash_takes_after_it_was_shown_leaves_a_gap() {
    let mut rig = rig().await;
    let (mut camera, mut s, base) = watched(&rig).await;
    camera.send(&rig, &mut s, 60).await;
    durable(&rig, 3).await;
    let before = check::media(&rig.text(&format!("{base}/1.m3u8")).await);
    assert!(before.parts > 10 && before.entries.len() == 3);
    std::mem::forget(s);
    rig.restart().await;
    common::record(&rig, "yard", camera.start + Duration::from_secs(60), 100).await;
    let text = rig.text(&format!("{base}/1.m3u8")).await;
    let after = check::media(&text);
    check::follows(&before, &after);
    let gaps: Vec<_> = after.entries.iter().filter(|e| e.gap).map(|e| e.sequence).collect();
    assert_eq!((gaps, after.entries.len()), (vec![3], 6), "{text}");
    // After a session that came to its end there is none.
    rig.restart().await;
    common::record(&rig, "yard", camera.start + Duration::from_secs(90), 100).await;
    let text = rig.text(&format!("{base}/1.m3u8")).await;
    assert_eq!(text.matches("#EXT-X-GAP").count(), 1, "{text}");
}

#[tokio::test]
async fn who_waits_is_answered_when_it_is_there() {
    let rig = Arc::new(rig().await);
    let (mut camera, mut s, base) = watched(&rig).await;
    let text = rig.text(&format!("{base}/1.m3u8")).await;
    let next = hint(&text).unwrap();
    let ask = |path: String| {
        let rig = rig.clone();
        tokio::spawn(async move { rig.get(&path).await })
    };
    let listed = parts(&text).len();
    let playlist = ask(format!("{base}/1.m3u8?_HLS_msn=2&_HLS_part={listed}"));
    let part = ask(format!("{base}/{next}"));
    let segment = ask(format!("{base}/1.m3u8?_HLS_msn=2"));
    while rig.video.waiting() < 3 {
        tokio::task::yield_now().await;
    }
    camera.send(&rig, &mut s, 4).await;
    let (status, r) = playlist.await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let text = String::from_utf8(r.into_body().to_vec()).unwrap();
    assert_eq!(parts(&text)[listed], next, "the hint came true");
    let (status, r) = part.await.unwrap();
    let again = rig.bytes(&format!("{base}/{next}")).await;
    assert_eq!((status, r.body()), (StatusCode::OK, &again));
    assert_eq!(rig.video.tallies()[0].hls_bytes, 2 * again.len() as u64, "parts are metered");
    assert!(!segment.is_finished());
    camera.send(&rig, &mut s, 50).await;
    let (_, r) = segment.await.unwrap();
    let list = check::media(std::str::from_utf8(r.body()).unwrap());
    assert!(list.entries.iter().any(|e| e.sequence == 2));
    // Of what is over, its address says so.
    s.end().await.unwrap();
    assert_eq!(rig.get(&format!("{base}/{next}")).await.0, StatusCode::GONE);
}

#[tokio::test]
async fn who_waits_in_vain_is_told() {
    let rig = Arc::new(rig().await);
    let (_, s, base) = watched(&rig).await;
    for (query, status) in [
        ("_HLS_part=1", StatusCode::BAD_REQUEST),
        ("_HLS_msn=5", StatusCode::BAD_REQUEST),
        ("_HLS_msn=2&_HLS_part=99", StatusCode::BAD_REQUEST),
        ("_HLS_msn=99999999999999999999", StatusCode::BAD_REQUEST),
        ("_HLS_msn=1&_HLS_part=3", StatusCode::OK),
        ("_HLS_msn=0", StatusCode::OK),
    ] {
        assert_eq!(rig.get(&format!("{base}/1.m3u8?{query}")).await.0, status, "{query}");
    }
    let far = format!("{base}/1.m3u8?_HLS_msn=3");
    let ask = || {
        let (rig, far) = (rig.clone(), far.clone());
        tokio::spawn(async move { rig.get(&far).await.0 })
    };
    // Who goes away leaves its place.
    let gone = ask();
    while rig.video.waiting() < 1 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.is_err());
    assert_eq!(rig.video.waiting(), 0);
    let waiting: Vec<_> = (0..5).map(|_| ask()).collect();
    while rig.video.waiting() < 5 {
        tokio::task::yield_now().await;
    }
    rig.video.stop();
    for w in waiting {
        assert_eq!(w.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    }
    drop(s);
}

#[tokio::test]
async fn a_deleted_stream_keeps_nobody_waiting() {
    let rig = Arc::new(rig().await);
    let (_, s, base) = watched(&rig).await;
    let asked = {
        let rig = rig.clone();
        tokio::spawn(async move { rig.get(&format!("{base}/1.m3u8?_HLS_msn=3")).await.0 })
    };
    while rig.video.waiting() < 1 {
        tokio::task::yield_now().await;
    }
    rig.video.delete_stream(rig.permit(access::actions::DELETE_STREAM, "yard"), "yard").await.unwrap();
    assert_eq!(asked.await.unwrap(), StatusCode::NOT_FOUND);
    drop(s);
}

#[tokio::test]
async fn a_break_is_announced_with_its_parts() {
    let rig = rig().await;
    let (mut camera, mut s, base) = watched(&rig).await;
    s.discontinuity("a test").await.unwrap();
    camera.send(&rig, &mut s, 20).await;
    durable(&rig, 3).await;
    let text = rig.text(&format!("{base}/1.m3u8")).await;
    let list = check::media(&text);
    assert!(list.parts > 0, "{text}");
    let broken = text.find("#EXT-X-DISCONTINUITY\n").unwrap();
    assert!(
        broken > text.rfind("#EXTINF").unwrap() && text.rfind("#EXT-X-PART:").unwrap() > broken,
        "{text}"
    );
    camera.send(&rig, &mut s, 50).await;
    durable(&rig, 4).await;
    let now = check::media(&rig.text(&format!("{base}/1.m3u8")).await);
    check::follows(&list, &now);
    assert_eq!(now.entries.last().unwrap().discontinuity, list.entries.last().unwrap().discontinuity + 1);
    s.end().await.unwrap();
}

/// Nobody looked for a while: nothing is kept, and what is looked at again has parts again.
#[tokio::test]
async fn parts_are_made_while_somebody_wants_them() {
    let rig = rig().await;
    let (mut camera, mut s, base) = watched(&rig).await;
    let first = parts(&rig.text(&format!("{base}/1.m3u8")).await);
    camera.send(&rig, &mut s, 1000).await;
    durable(&rig, 22).await;
    assert_eq!(
        rig.get(&format!("{base}/{}", first.last().cloned().unwrap_or_else(|| "1/part-1-1.m4s".into())))
            .await
            .0,
        StatusCode::GONE
    );
    let text = rig.text(&format!("{base}/1.m3u8")).await;
    assert_eq!(check::media(&text).parts, 0);
    camera.send(&rig, &mut s, 120).await;
    durable(&rig, 24).await;
    assert!(check::media(&rig.text(&format!("{base}/1.m3u8")).await).parts > 0);
    s.end().await.unwrap();
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let rig = rig_with(Config { part: Duration::ZERO, ..Config::default() }, None).await;
    let (_, s, base) = watched(&rig).await;
    let text = rig.text(&format!("{base}/1.m3u8?_HLS_msn=7")).await;
    assert!(!text.contains("PART") && !text.contains("SERVER-CONTROL"), "{text}");
    s.end().await.unwrap();
}

#[tokio::test]
async fn deltas_hold_what_is_near() {
    let rig = rig().await;
    let (mut camera, mut s, base) = watched(&rig).await;
    camera.send(&rig, &mut s, 700).await;
    durable(&rig, 16).await;
    let delta = rig.text(&format!("{base}/1.m3u8?_HLS_skip=YES")).await;
    let whole = rig.text(&format!("{base}/1.m3u8")).await;
    let skipped = delta.lines().find_map(|l| l.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS=")).unwrap();
    let skipped: usize = skipped.parse().unwrap();
    let uris = |t: &str| t.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert!(skipped > 5, "{delta}");
    assert_eq!(uris(&whole)[skipped..], uris(&delta)[..]);
    // Six target durations at least.
    assert!(uris(&delta).len() >= 6);
    s.end().await.unwrap();
}
