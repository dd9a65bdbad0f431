//! What goes in comes out: playlists, segments, sessions, over a memory log.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "playback/codecs.rs"]
mod codecs;
mod common;

use std::time::Duration;

use access::actions;
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use common::{Camera, NOON, check, record, rig, rig_with};
use media::fmp4;
use video::{Ask, By, Config, Frames, Mode, VideoError};
use world::Timestamp;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn dir(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

#[tokio::test]
async fn a_live_stream_from_ingest_to_segments() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 500).await;
    let path = rig.play("yard", Ask::default()).await;
    let main = rig.text(&path).await;
    assert_eq!(
        main,
        "#EXTM3U\n#EXT-X-VERSION:7\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"AAC 2\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"2.m3u8\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=110300,AVERAGE-BANDWIDTH=110300,CODECS=\"avc1.64000c,mp4a.40.2\",\
         RESOLUTION=320x180,FRAME-RATE=25.000,AUDIO=\"audio\"\n1.m3u8\n"
    );
    let base = dir(&path);
    let mut pictures = 0u64;
    for track in [1, 2] {
        let text = rig.text(&format!("{base}/{track}.m3u8")).await;
        let list = check::media(&text);
        assert_eq!((list.target, list.entries.len(), list.ended, list.kind.as_deref()), (2, 10, false, None));
        assert!(list.independent);
        assert_eq!(list.entries[0].date, Some(NOON.millis()));
        assert_eq!((list.entries[0].sequence, list.entries[0].discontinuity), (0, 0));
        let init = rig.bytes(&format!("{base}/{}", list.entries[0].map)).await;
        assert_eq!(fmp4::read_init(&init).unwrap().len(), 1);
        let mut next = None;
        for e in &list.entries {
            let bytes = rig.bytes(&format!("{base}/{}", e.uri)).await;
            let seg = fmp4::read_segment(&bytes).unwrap();
            assert_eq!(seg.runs.len(), 1);
            let run = &seg.runs[0];
            assert!(
                next.is_none_or(|n| n == run.samples[0].dts),
                "segments follow one another without a gap"
            );
            let last = run.samples.last().unwrap();
            next = Some(last.dts + i64::from(last.duration));
            for s in run.samples.iter().filter(|_| track == 1) {
                let got = &bytes[s.offset as usize..s.offset as usize + s.len as usize];
                assert_eq!(got, common::picture(pictures, pictures.is_multiple_of(50), 500));
                pictures += 1;
            }
        }
    }
    assert_eq!(pictures, 500);
    let status = rig.video.ingest_status("yard").unwrap();
    assert_eq!((status.units_in, status.units_out, status.fragments), (1438, 1438, 10));
}

/// The playlist as a golden text: two sessions, the second with another configuration.
#[tokio::test]
async fn a_playlist_of_two_sessions() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 100).await;
    let mut camera = Camera { audio: false, ..Camera::new(NOON + secs(60)) };
    let mut s = rig.session("yard").await;
    let mut other = (*common::h264_track()).clone();
    other.kind = media::Kind::Video { width: 640, height: 360 };
    s.tracks(vec![other.into()]).await.unwrap();
    camera.send(&rig, &mut s, 50).await;
    s.end().await.unwrap();
    let path = rig.play("yard", Ask { from: Some(NOON), to: Some(NOON + secs(90)), ..Ask::default() }).await;
    let text = rig.text(&format!("{}/1.m3u8", dir(&path))).await;
    check::media(&text);
    let hashes: Vec<_> = text.lines().filter_map(|l| l.split("init-").nth(1)).map(|h| &h[..16]).collect();
    assert!(hashes.len() == 2 && hashes[0] != hashes[1]);
    assert_eq!(
        text.replace(hashes[0], "A").replace(hashes[1], "B"),
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-START:TIME-OFFSET=0.000,PRECISE=YES\n\
         #EXT-X-MAP:URI=\"1/init-A.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-05-01T12:00:00.000Z\n#EXTINF:2.00000,\n1/0.m4s\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-05-01T12:00:02.000Z\n#EXTINF:2.00000,\n1/1.m4s\n\
         #EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"1/init-B.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-05-01T12:01:00.000Z\n#EXTINF:2.00000,\n1/2.m4s\n#EXT-X-ENDLIST\n"
    );
}

#[tokio::test]
async fn a_live_playlist_slides_and_a_restart_changes_nothing() {
    let config = Config { window: secs(20), ..Config::default() };
    let mut rig = rig_with(config, None).await;
    let mut camera = Camera::new(NOON);
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 100).await;
    let path = rig.play("yard", Ask::default()).await;
    let base = dir(&path).to_owned();
    let mut before = None;
    for round in 0..30 {
        camera.send(&rig, &mut s, 50).await;
        if round % 7 == 3 {
            s.discontinuity("a test").await.unwrap();
        }
        for track in [1, 2] {
            let text = rig.text(&format!("{base}/{track}.m3u8")).await;
            let now = check::media(&text);
            if track == 1 {
                if let Some(b) = &before {
                    check::follows(b, &now);
                }
                before = Some(now);
            }
        }
    }
    s.end().await.unwrap();
    let last = rig.text(&format!("{base}/1.m3u8")).await;
    let list = check::media(&last);
    assert!(list.entries[0].sequence > 10 && list.entries.last().unwrap().discontinuity == 4, "{last}");
    let (video, sound) = (last, rig.text(&format!("{base}/2.m3u8")).await);
    rig.restart().await;
    assert_eq!(rig.text(&format!("{base}/1.m3u8")).await, video);
    assert_eq!(rig.text(&format!("{base}/2.m3u8")).await, sound);
    // Also the initialisation segment, without a playlist having been read first.
    rig.restart().await;
    rig.bytes(&format!("{base}/{}", list.entries[0].map)).await;
    // And what comes then continues the numbers.
    record(&rig, "yard", rig.now() + secs(5), 50).await;
    let now = check::media(&rig.text(&format!("{base}/1.m3u8")).await);
    check::follows(&list, &now);
    let (a, b) = (list.entries.last().unwrap(), now.entries.last().unwrap());
    assert_eq!((b.sequence, b.discontinuity), (a.sequence + 1, a.discontinuity + 1));
}

#[tokio::test]
async fn tracks_that_come_and_go_keep_dense_numbers_and_common_discontinuities() {
    let mut rig = rig().await;
    for (i, audio) in [true, false, false, true, false].into_iter().enumerate() {
        let mut camera = Camera { audio, ..Camera::new(NOON + secs(60 * i as u64)) };
        let mut s = rig.session("yard").await;
        s.tracks(camera.tracks()).await.unwrap();
        camera.send(&rig, &mut s, 100).await;
        s.end().await.unwrap();
        rig.restart().await;
    }
    let path = rig.play("yard", Ask { from: Some(NOON), to: Some(NOON + secs(600)), ..Ask::default() }).await;
    rig.set(NOON + secs(700));
    let sound = check::media(&rig.text(&format!("{}/2.m3u8", dir(&path))).await);
    let got: Vec<_> = sound.entries.iter().map(|e| (e.sequence, e.discontinuity)).collect();
    assert_eq!(got, [(0, 0), (1, 0), (2, 3), (3, 3)]);
    let video = check::media(&rig.text(&format!("{}/1.m3u8", dir(&path))).await);
    assert_eq!(video.entries.len(), 10);
    assert_eq!(video.entries.last().map(|e| e.discontinuity), Some(4));
}

#[tokio::test]
async fn no_player_starts_where_decoding_cannot() {
    let rig = rig_with(Config { window: secs(40), ..Config::default() }, None).await;
    let mut camera = Camera { gop: 750, ..Camera::new(NOON) };
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 2300).await;
    s.end().await.unwrap();
    let path = rig.play("yard", Ask::default()).await;
    let live = check::media(&rig.text(&format!("{}/1.m3u8", dir(&path))).await);
    assert!(!live.independent && live.target == 10);
    // Fragments begin at 0 10 20 30 … s, those at 0, 30, 60, 90 with a key frame.
    assert_eq!(live.entries[0].date, Some((NOON + secs(60)).millis()));
    assert_eq!(live.start, Some(-32.0));
    // On demand: from in the middle of a group, decoding begins before.
    let path = rig
        .play("yard", Ask { from: Some(NOON + secs(55)), to: Some(NOON + secs(58)), ..Ask::default() })
        .await;
    let list = check::media(&rig.text(&format!("{}/1.m3u8", dir(&path))).await);
    assert_eq!(list.entries[0].date, Some((NOON + secs(30)).millis()));
    assert_eq!((list.entries.len(), list.start), (3, Some(25.0)));
    for e in &list.entries {
        rig.bytes(&format!("{}/{}", dir(&path), e.uri)).await;
    }
}

#[tokio::test]
async fn events_grow_and_end() {
    let rig = rig().await;
    let mut camera = Camera::new(NOON);
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 200).await;
    let ask = Ask {
        mode: Some(Mode::Event),
        from: Some(NOON + secs(3)),
        to: Some(NOON + secs(11)),
        ..Ask::default()
    };
    let base = dir(&rig.play("yard", ask).await).to_owned();
    let mut before = check::media(&rig.text(&format!("{base}/1.m3u8")).await);
    assert_eq!((before.kind.as_deref(), before.ended, before.start), (Some("EVENT"), false, Some(1.0)));
    for _ in 0..16 {
        camera.send(&rig, &mut s, 50).await;
        let now = check::media(&rig.text(&format!("{base}/1.m3u8")).await);
        check::follows(&before, &now);
        before = now;
    }
    assert!(before.ended);
    assert_eq!(before.entries.last().unwrap().date, Some((NOON + secs(10)).millis()));
}

#[tokio::test]
async fn a_session_from_the_past_joins_live_within_its_bound() {
    let config = Config { max_entries: 50, ..Config::default() };
    let rig = rig_with(config, None).await;
    let mut camera = Camera { audio: false, len: 20, ..Camera::new(NOON) };
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 50 * 30).await;
    // Everything fits: all of it is there, and it grows.
    let young =
        dir(&rig.play("yard", Ask { from: Some(NOON + secs(20)), ..Ask::default() }).await).to_owned();
    let list = check::media(&rig.text(&format!("{young}/1.m3u8")).await);
    assert_eq!(
        (list.kind.as_deref(), list.start, list.entries[0].date),
        (None, Some(0.0), Some((NOON + secs(20)).millis()))
    );
    camera.send(&rig, &mut s, 50 * 170).await;
    // 200 fragments: a session from the beginning sees the first 50, then goes along with its player …
    let old = dir(&rig.play("yard", Ask { from: Some(NOON), ..Ask::default() }).await).to_owned();
    let mut before = check::media(&rig.text(&format!("{old}/1.m3u8")).await);
    assert_eq!((before.entries.len(), before.entries[0].sequence, before.start), (50, 0, Some(0.0)));
    let made = rig.now();
    for _ in 0..260 {
        camera.send(&rig, &mut s, 50).await;
        let now = check::media(&rig.text(&format!("{old}/1.m3u8")).await);
        check::follows(&before, &now);
        let player = NOON + rig.now().since(made);
        let (first, last) = (now.entries.first().unwrap(), now.entries.last().unwrap());
        assert!(now.entries.len() == 50 && first.date.unwrap() <= player.millis());
        assert!(last.date.unwrap() + 2000 > player.millis(), "the player is within the window");
        before = now;
    }
    // … and the young one has slid along with live.
    s.end().await.unwrap();
    let list = check::media(&rig.text(&format!("{young}/1.m3u8")).await);
    assert_eq!((list.entries.len(), list.entries.last().unwrap().sequence), (50, 459));
}

#[tokio::test]
async fn key_frames_alone() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 500).await;
    let ask = Ask { from: Some(NOON), to: Some(NOON + secs(20)), frames: Frames::Key, ..Ask::default() };
    let path = rig.play("yard", ask).await;
    assert!(!rig.text(&path).await.contains("AUDIO"));
    let list = check::media(&rig.text(&format!("{}/1.m3u8", dir(&path))).await);
    assert_eq!(list.entries.len(), 10);
    for e in &list.entries {
        let seg = fmp4::read_segment(&rig.bytes(&format!("{}/{}", dir(&path), e.uri)).await).unwrap();
        let s = &seg.runs[0].samples;
        assert_eq!((s.len(), s[0].duration), (1, 180_000));
    }
}

#[tokio::test]
async fn by_the_servers_clock() {
    let rig = rig().await;
    // The camera's clock is an hour slow.
    let mut camera = Camera::new(NOON - secs(3600));
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    for n in 0..500 {
        rig.set(NOON + Duration::from_millis(40 * n));
        let (units, _) = camera.units();
        for u in units {
            s.write(u, rig.now()).await.unwrap();
        }
        // Commits run beside; each is waited for here, so that it arrives at a known time.
        while rig.video.ingest_status("yard").unwrap().fragments < n / 50 {
            tokio::task::yield_now().await;
        }
    }
    s.end().await.unwrap();
    let ask = Ask { from: Some(NOON + secs(5)), to: Some(NOON + secs(9)), by: By::Server, ..Ask::default() };
    let path = rig.play("yard", ask).await;
    let list = check::media(&rig.text(&format!("{}/1.m3u8", dir(&path))).await);
    let dates: Vec<_> = list.entries.iter().map(|e| e.date.unwrap() - NOON.millis()).collect();
    // The sound of a fragment may end up to two frames after its pictures.
    assert!(
        dates.iter().zip([4000, 6000, 8000]).all(|(got, want)| (want - 50..=want).contains(got)),
        "{dates:?}"
    );
    let p = rig.permit(actions::GET_HLS_STREAMING_SESSION_URL, "yard");
    let ask = Ask { by: By::Producer, ..ask };
    assert!(matches!(rig.video.hls_session(p, "yard", ask).await, Err(VideoError::NoMedia(_))));
}

#[tokio::test]
async fn a_token_admits_to_its_session_and_to_nothing_else() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 500).await;
    record(&rig, "door", NOON, 100).await;
    let ask = Ask { from: Some(NOON), to: Some(NOON + secs(3)), lasts: Some(secs(60)), ..Ask::default() };
    let path = rig.play("yard", ask).await;
    let base = dir(&path).to_owned();
    let token = base.strip_prefix("/hls/").unwrap().to_owned();
    rig.bytes(&format!("{base}/1/1.m4s")).await;
    // Another time.
    assert_eq!(rig.get(&format!("{base}/1/5.m4s")).await.0, StatusCode::NOT_FOUND);
    // Nothing there.
    for file in [
        "1/99.m4s",
        "3/1.m4s",
        "9.m3u8",
        "x.m3u8",
        "1/x.m4s",
        "1/init-0.mp4x",
        "1/0.ts",
        "256/0.m4s",
        "main.mpd",
    ] {
        assert_eq!(rig.get(&format!("{base}/{file}")).await.0, StatusCode::NOT_FOUND, "{file}");
    }
    // Any change of the token.
    for i in (0..token.len()).step_by(7) {
        let mut t = token.clone().into_bytes();
        t[i] = if t[i] == b'A' { b'B' } else { b'A' };
        let t = String::from_utf8(t).unwrap();
        let (status, r) = rig.get(&format!("/hls/{t}/main.m3u8")).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(String::from_utf8_lossy(r.body()).contains("not valid"));
    }
    for t in
        ["", "x", &"A".repeat(5000), &rig.gate.seal_token("other", b"{}"), &rig.gate.seal_token("hls", b"{}")]
    {
        let (status, _) = rig.get(&format!("/hls/{t}/main.m3u8")).await;
        assert!(matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND), "{t:?}: {status}");
    }
    // Expired, in words.
    rig.set(rig.now() + secs(61));
    let (status, r) = rig.get(&path).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(String::from_utf8_lossy(r.body()).contains("expired"));
    // A stream of the same name is another stream.
    let path = rig.play("yard", Ask::default()).await;
    rig.video.delete_stream(rig.permit(actions::DELETE_STREAM, "yard"), "yard").await.unwrap();
    assert_eq!(rig.get(&path).await.0, StatusCode::NOT_FOUND);
    record(&rig, "yard", rig.now(), 100).await;
    assert_eq!(rig.get(&path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn headers_ranges_and_cross_origin() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 200).await;
    let path = rig.play("yard", Ask::default()).await;
    let base = dir(&path).to_owned();
    let (_, r) = rig.get(&path).await;
    assert_eq!(r.headers()[header::CACHE_CONTROL], "no-cache");
    assert_eq!(r.headers()[header::CONTENT_TYPE], "application/vnd.apple.mpegurl");
    let url = format!("{base}/1/1.m4s");
    let (_, whole) = rig.get(&url).await;
    assert_eq!(whole.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!(whole.headers()[header::CONTENT_LENGTH], whole.body().len().to_string());
    assert_eq!(whole.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let etag = whole.headers()[header::ETAG].clone();
    let len = whole.body().len();
    let ask = |name: header::HeaderName, value: String| {
        Request::get(&url).header(name, value).body(Body::empty()).unwrap()
    };
    for (text, want) in [
        ("bytes=0-0".to_owned(), 0..1),
        ("bytes=100-".into(), 100..len),
        ("bytes=-7".into(), len - 7..len),
        (format!("bytes=3-{}", len * 2), 3..len),
        ("bytes=700-20000".into(), 700..20001),
    ] {
        let (status, r) = rig.send(ask(header::RANGE, text)).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(
            r.headers()[header::CONTENT_RANGE],
            format!("bytes {}-{}/{len}", want.start, want.end - 1)
        );
        assert_eq!(r.body(), &whole.body()[want]);
    }
    let (status, r) = rig.send(ask(header::RANGE, format!("bytes={len}-"))).await;
    assert_eq!(
        (status, r.headers()[header::CONTENT_RANGE].to_str().unwrap()),
        (StatusCode::RANGE_NOT_SATISFIABLE, &*format!("bytes */{len}"))
    );
    for odd in ["bytes=5-3", "bytes=a-b", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=+1-2"] {
        assert_eq!(rig.send(ask(header::RANGE, odd.into())).await.0, StatusCode::OK, "{odd}");
    }
    let (status, r) = rig.send(ask(header::IF_NONE_MATCH, etag.to_str().unwrap().into())).await;
    assert_eq!((status, r.body().len()), (StatusCode::NOT_MODIFIED, 0));
    let head = Request::head(&url).body(Body::empty()).unwrap();
    let (status, r) = rig.send(head).await;
    assert_eq!((status, r.body().len()), (StatusCode::OK, 0));
    assert_eq!(r.headers()[header::CONTENT_LENGTH], len.to_string());
    let options =
        Request::options(&url).header(header::ORIGIN, "https://example.org").body(Body::empty()).unwrap();
    let (status, r) = rig.send(options).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(r.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().contains("Range"));
}

#[tokio::test]
async fn what_retention_took_is_gone() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 500).await;
    let path = rig.play("yard", Ask { from: Some(NOON), to: Some(NOON + secs(20)), ..Ask::default() }).await;
    let uid = rig.video.stream("yard").unwrap().uid;
    rig.log.trim(world::ShardId { stream: uid, shard: 0 }, 4).await.unwrap();
    assert_eq!(rig.get(&format!("{}/1/2.m4s", dir(&path))).await.0, StatusCode::GONE);
    let list = check::media(&rig.text(&format!("{}/1.m3u8", dir(&path))).await);
    assert_eq!((list.entries.len(), list.entries[0].sequence), (6, 4));
    rig.log.trim(world::ShardId { stream: uid, shard: 0 }, 10).await.unwrap();
    assert_eq!(rig.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.video.recorded("yard").await.unwrap(), None);
}

#[tokio::test]
async fn sessions_that_make_no_sense() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 100).await;
    let t = |n| Some(NOON + secs(n));
    for ask in [
        Ask { to: t(3), ..Ask::default() },
        Ask { from: t(5), to: t(3), ..Ask::default() },
        Ask { mode: Some(Mode::Live), from: t(1), to: t(3), ..Ask::default() },
        Ask { mode: Some(Mode::OnDemand), ..Ask::default() },
        Ask { lasts: Some(Duration::ZERO), ..Ask::default() },
        Ask { lasts: Some(secs(1 << 40)), ..Ask::default() },
    ] {
        let p = rig.permit(actions::GET_HLS_STREAMING_SESSION_URL, "yard");
        let got = rig.video.hls_session(p, "yard", ask).await;
        assert!(matches!(got, Err(VideoError::Bad(_))), "{ask:?}: {got:?}");
    }
    // A permit for another stream, or for something else.
    let p = rig.permit(actions::GET_HLS_STREAMING_SESSION_URL, "door");
    assert!(matches!(
        rig.video.hls_session(p, "yard", Ask::default()).await,
        Err(VideoError::NotPermitted { .. })
    ));
    let p = rig.permit(actions::DESCRIBE_STREAM, "yard");
    assert!(matches!(
        rig.video.hls_session(p, "yard", Ask::default()).await,
        Err(VideoError::NotPermitted { .. })
    ));
    let far = Ask { from: Some(Timestamp::MIN), to: Some(Timestamp::MAX), ..Ask::default() };
    let path = rig.play("yard", far).await;
    assert_eq!(check::media(&rig.text(&format!("{}/1.m3u8", dir(&path))).await).entries.len(), 2);
}
