//! Streams, sessions that publish, time lines, stills, and the `/v1` API.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use access::actions;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use catalog::Filter;
use common::{Camera, NOON, Rig, record, rig, rig_with};
use serde_json::{Value, json};
use video::{By, Config, KeyFrame, Stills, StreamConfig, VideoError};
use world::Timestamp;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn streams_are_made_listed_and_deleted() {
    let mut rig = rig().await;
    let make = |n: &'static str| {
        rig.video.create_stream(rig.permit(actions::CREATE_STREAM, n), n, StreamConfig::default())
    };
    let a = make("a").await.unwrap();
    assert_eq!(a.arn.0, format!("arn:aws:kinesisvideo:us-east-1:000000000000:stream/a/{}", NOON.millis()));
    assert!(matches!(make("a").await, Err(VideoError::Exists(_))));
    assert!(matches!(make("a/b").await, Err(VideoError::BadName(_))));
    make("b").await.unwrap();
    rig.restart().await;
    assert_eq!(rig.video.stream_names(), ["a", "b"]);
    assert_eq!(rig.video.stream("a").unwrap(), a);
    rig.video.delete_stream(rig.permit(actions::DELETE_STREAM, "a"), "a").await.unwrap();
    assert!(rig.log.shards(a.uid).await.map_or(true, |s| s.is_empty()), "the log's stream went with it");
    rig.restart().await;
    assert_eq!(rig.video.stream_names(), ["b"]);
    assert!(rig.catalog.list(Filter::kind("video-stream-doomed")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stream_that_only_its_document_knows_is_recorded_to() {
    let mut rig = rig().await;
    rig.video
        .create_stream(rig.permit(actions::CREATE_STREAM, "a"), "a", StreamConfig::default())
        .await
        .unwrap();
    // A snapshot of the catalog was put back that has not the log's row of the stream's shard.
    rig.log = log::MemoryLog::new(rig.world.clone(), log::Limits::default());
    rig.restart().await;
    record(&rig, "a", NOON, 100).await;
    let uid = rig.video.stream("a").unwrap().uid;
    assert!(rig.log.stored_bytes(Some(uid)).await.unwrap() > 0);
}

#[tokio::test]
async fn what_a_crash_left_half_is_finished_at_the_start() {
    let mut rig = rig().await;
    // As after a crash between the log's stream and its document.
    let uid = world::StreamUid(rig.world.random16());
    rig.log.create_stream(uid).await.unwrap();
    let doc = catalog::Document {
        kind: "video-stream-doomed".into(),
        id: uid.to_string(),
        version: 0,
        body: vec![],
        keys: vec![],
    };
    rig.catalog.commit(vec![catalog::Change::Put { doc, expect: 0 }]).await.unwrap();
    rig.restart().await;
    assert!(rig.log.shards(uid).await.map_or(true, |s| s.is_empty()));
    assert!(rig.catalog.list(Filter::kind("video-stream-doomed")).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_newest_session_wins_and_nothing_taken_is_lost() {
    let rig = rig().await;
    let mut one = Camera { audio: false, ..Camera::new(NOON) };
    let mut s1 = rig.session("yard").await;
    s1.tracks(one.tracks()).await.unwrap();
    one.send(&rig, &mut s1, 70).await;
    let mut two = Camera { audio: false, ..Camera::new(NOON + secs(3)) };
    let mut s2 = rig.session("yard").await;
    s2.tracks(two.tracks()).await.unwrap();
    two.send(&rig, &mut s2, 60).await;
    let (units, at) = one.units();
    let e = s1.write(units[0].clone(), at).await.unwrap_err();
    assert!(matches!(e, VideoError::Superseded(_)) && !e.retry());
    two.send(&rig, &mut s2, 60).await;
    s2.end().await.unwrap();
    let status = rig.video.ingest_status("yard").unwrap();
    assert_eq!((status.units_in, status.units_out), (190, 190));
    let all = fragments(&rig).await;
    let ordinals: Vec<_> = all.iter().map(|f| f.entry.ordinal).collect();
    assert_eq!(ordinals, (0..all.len() as u64).collect::<Vec<_>>());
    assert_eq!(all.iter().map(|f| f.entry.tracks[0].samples).sum::<u64>(), 190);
    // Whatever follows a fragment of the other session does not continue it.
    for w in all.windows(2) {
        let joins = w[0].payload.producer.1 == w[1].payload.producer.0;
        assert!(joins || w[1].entry.discontinuity, "{w:?}");
    }
}

async fn fragments(rig: &Rig) -> Vec<Arc<video::Fragment>> {
    let p = rig.permit(actions::LIST_FRAGMENTS, "yard");
    rig.video.fragments(p, "yard", By::Producer, (Timestamp(0), Timestamp::MAX), 10_000).await.unwrap()
}

#[tokio::test]
async fn estimated_times_are_marked() {
    let rig = rig().await;
    let (mut session, mut camera) = (rig.session("yard").await, Camera::new(NOON));
    session.tracks(camera.tracks()).await.unwrap();
    session.estimated(true);
    camera.send(&rig, &mut session, 75).await;
    // In the middle of the second fragment: some of it was an estimate.
    session.estimated(false);
    camera.send(&rig, &mut session, 75).await;
    session.end().await.unwrap();
    let all = fragments(&rig).await;
    assert_eq!(all.iter().map(|f| f.entry.estimated).collect::<Vec<_>>(), [true, true, false]);
    let permit = rig.permit(actions::LIST_FRAGMENTS, "yard");
    let t = rig.video.timeline(permit, "yard", By::Producer, Timestamp(0), Timestamp::MAX).await.unwrap();
    assert_eq!(t.spans.iter().map(|s| s.estimated).collect::<Vec<_>>(), [false]);
    assert!(!rig.video.recorded("yard").await.unwrap().unwrap().estimated);
}

#[tokio::test]
async fn a_dropped_session_keeps_what_it_took() {
    let rig = rig().await;
    let mut camera = Camera::new(NOON);
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 30).await;
    let uid = rig.video.stream("yard").unwrap().uid;
    let mut head = rig.log.watch(world::ShardId { stream: uid, shard: 0 }).unwrap();
    drop(s);
    head.changed().await.unwrap();
    assert_eq!(fragments(&rig).await[0].entry.tracks[0].samples, 30);
}

#[tokio::test]
async fn a_session_on_a_deleted_stream_fails() {
    let rig = rig().await;
    let mut camera = Camera::new(NOON);
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 60).await;
    rig.video.delete_stream(rig.permit(actions::DELETE_STREAM, "yard"), "yard").await.unwrap();
    let (units, at) = camera.units();
    assert!(matches!(s.write(units[0].clone(), at).await, Err(VideoError::Deleted(_))));
    assert!(s.end().await.is_err());
}

#[tokio::test]
async fn a_log_that_refuses_ends_the_session_with_words() {
    let rig = rig().await;
    let mut camera = Camera::new(NOON);
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 60).await;
    rig.log.shutdown().await.unwrap();
    let e = s.end().await.unwrap_err();
    assert!(e.retry() && e.to_string().contains("yard"), "{e}");
}

#[tokio::test]
async fn the_time_line_shows_recordings_and_gaps() {
    let rig = rig().await;
    // 7 recordings of 3 to 9 s, with gaps; then two that join within a second.
    let mut want = Vec::new();
    let mut at = NOON;
    for n in 0..7u64 {
        let long = secs(3 + n);
        record(&rig, "yard", at, 25 * (3 + n)).await;
        want.push((at, at + long));
        at = at + long + secs(5);
    }
    record(&rig, "yard", at, 50).await;
    record(&rig, "yard", at + Duration::from_millis(2900), 50).await;
    want.push((at, at + Duration::from_millis(4900)));
    for _ in 0..2 {
        let p = rig.permit(actions::LIST_FRAGMENTS, "yard");
        let t = rig.video.timeline(p, "yard", By::Producer, Timestamp(0), Timestamp::MAX).await.unwrap();
        // The sound ends up to a frame after the pictures.
        let near = |a: Timestamp, b: Timestamp| (a.micros() - b.micros()).abs() < 25_000;
        assert_eq!(t.spans.len(), want.len());
        assert!(
            t.spans.iter().zip(&want).all(|(s, w)| near(s.from, w.0) && near(s.to, w.1)),
            "{:?}\n{want:?}",
            t.spans
        );
        assert_eq!(t.earliest, Some(NOON));
    }
    // A range cuts.
    let p = rig.permit(actions::LIST_FRAGMENTS, "yard");
    let t = rig.video.timeline(p, "yard", By::Producer, NOON + secs(1), NOON + secs(9)).await.unwrap();
    let got: Vec<_> = t.spans.iter().map(|s| (s.from, s.to)).collect();
    assert_eq!(got.len(), 2);
    assert_eq!((got[0].0, got[1].1), (NOON + secs(1), NOON + secs(9)));
    let p = rig.permit(actions::LIST_FRAGMENTS, "yard");
    let t = rig.video.timeline(p, "yard", By::Producer, NOON + secs(4), NOON + secs(5)).await.unwrap();
    assert!(t.spans.is_empty() && t.earliest.is_some());
    let p = rig.permit(actions::LIST_FRAGMENTS, "yard");
    let t = rig.video.timeline(p, "yard", By::Server, Timestamp(0), Timestamp::MAX).await.unwrap();
    assert_eq!(t.spans.len(), want.len());
}

/// Says what it was asked, and counts.
#[derive(Default)]
struct Fake(AtomicU64);

#[async_trait::async_trait]
impl Stills for Fake {
    async fn jpeg(&self, frame: &KeyFrame, width: Option<u32>) -> Result<Bytes, String> {
        self.0.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        Ok(format!("{}:{}:{width:?}", frame.time.micros(), frame.data.len()).into())
    }
}

#[tokio::test]
async fn stills_are_of_the_asked_time_and_made_once() {
    let fake = Arc::new(Fake::default());
    let mut rig = rig_with(Config::default(), Some(fake.clone())).await;
    // A key frame each second, two in each fragment.
    let mut camera = Camera { gop: 25, ..Camera::new(NOON) };
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    let frame = |at| rig.video.key_frame(rig.permit(actions::GET_IMAGES, "yard"), "yard", at);
    assert!(frame(None).await.unwrap().is_none());
    camera.send(&rig, &mut s, 260).await;
    // The latest, though its fragment is not durable yet.
    let latest = frame(None).await.unwrap().unwrap();
    assert_eq!(latest.time, NOON + secs(10));
    assert_eq!(latest.data, common::picture(250, true, 500));
    s.end().await.unwrap();
    for (at, want) in [(3_500, 3), (3_000, 3), (4_999, 4), (0, 0), (700_000, 10)] {
        let f = frame(Some(NOON + Duration::from_millis(at))).await.unwrap().unwrap();
        assert_eq!(f.time, NOON + secs(want), "{at}");
        assert_eq!(f.data, common::picture(25 * want, true, 500));
    }
    assert!(frame(Some(NOON - secs(1))).await.unwrap().is_none());
    let (a, b) = tokio::join!(
        rig.video.picture("yard", &latest, Some(320)),
        rig.video.picture("yard", &latest, Some(320))
    );
    assert_eq!((a.unwrap(), fake.0.load(SeqCst)), (b.unwrap(), 1));
    rig.video.picture("yard", &latest, None).await.unwrap();
    assert_eq!(fake.0.load(SeqCst), 2);
    rig.restart().await;
    let f =
        rig.video.key_frame(rig.permit(actions::GET_IMAGES, "yard"), "yard", None).await.unwrap().unwrap();
    assert_eq!((f.time, &f.data), (latest.time, &latest.data));
}

#[tokio::test]
async fn followers_see_samples_as_they_arrive() {
    let rig = rig().await;
    let mut camera = Camera::new(NOON);
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 10).await;
    let mut rx = rig.video.follow(rig.permit(actions::GET_MEDIA, "yard"), "yard").unwrap();
    let (units, at) = camera.units();
    for u in units.clone() {
        s.write(u, at).await.unwrap();
    }
    for u in units {
        let got = rx.try_recv().unwrap();
        assert_eq!((got.sample.track, got.data, got.first, got.tracks.len()), (u.track, u.data, false, 2));
    }
    // One that does not keep up is told.
    camera.send(&rig, &mut s, 300).await;
    assert!(matches!(rx.try_recv(), Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_))));
}

async fn root_rig(stills: Option<Arc<dyn Stills>>) -> (Rig, String) {
    let mut rig = rig_with(Config::default(), stills.clone()).await;
    let (id, secret) = ("AKIAVIDEOTESTVIDEOAB", "averylongsecretfortheroutestests00000000");
    let keys = Arc::new(seal::LocalKey::new(seal::DataKey::new([7; 32])));
    let root = Some((id.to_owned(), secret.to_owned()));
    let gate = access::Gate::open(rig.world.clone(), rig.catalog.clone(), keys, rig.home.clone(), root).await;
    rig.gate = gate.unwrap().0;
    rig.open(stills).await;
    (rig, secret.to_owned())
}

#[tokio::test]
async fn an_address_that_outlasts_every_session() {
    let (rig, secret) = root_rig(None).await;
    let path = "/v1/streams/yard/live.m3u8";
    let session = async || {
        let (status, r) = rig.send(rig.signed("GET", path, &secret, None)).await;
        let to = r.headers().get("location").map(|l| l.to_str().unwrap().to_owned());
        (status, to.unwrap_or_default(), r.headers()["cache-control"].clone())
    };
    assert_eq!(session().await.0, StatusCode::NOT_FOUND);
    for _ in 0..2 {
        record(&rig, "yard", rig.now(), 200).await;
        let (status, to, kept) = session().await;
        assert_eq!((status, kept.to_str().ok()), (StatusCode::FOUND, Some("no-store")));
        assert!(rig.text(&to).await.contains("1.m3u8"));
        rig.set(rig.now() + Config::default().max_session - secs(1));
        assert_eq!(rig.get(&to).await.0, StatusCode::OK);
        rig.set(rig.now() + secs(1));
        assert_eq!(rig.get(&to).await.0, StatusCode::FORBIDDEN);
    }
    // Who has not said who it is, is asked.
    let (status, r) = rig.get(path).await;
    let asked = r.headers()["www-authenticate"].to_str().ok();
    assert_eq!((status, asked), (StatusCode::UNAUTHORIZED, Some("Basic realm=\"Rushes\"")));
    let (status, r) = rig.send(rig.signed("GET", &format!("{path}?audio=loud"), &secret, None)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{:?}", r.body());
}

#[tokio::test]
async fn the_api() {
    let (rig, secret) = root_rig(Some(Arc::new(Fake::default()))).await;
    let call = async |method: &str, path: &str, body: Option<Value>| {
        let (status, r) = rig.send(rig.signed(method, path, &secret, body)).await;
        (status, serde_json::from_slice::<Value>(r.body()).unwrap_or(Value::Null), r)
    };
    // Nobody gets in without a permit.
    for path in [
        "/v1/streams",
        "/v1/streams/x",
        "/v1/streams/x/timeline",
        "/v1/streams/x/still.jpg",
        "/v1/streams/x/live.m3u8",
        "/v1/streams/x/fragments",
    ] {
        assert_eq!(rig.get(path).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let (status, v, _) = call("POST", "/v1/streams", Some(json!({"name": "yard"}))).await;
    assert_eq!(
        (status, &v["name"], &v["recorded"], &v["tracks"]),
        (StatusCode::CREATED, &json!("yard"), &Value::Null, &json!([]))
    );
    assert_eq!(call("POST", "/v1/streams", Some(json!({"name": "yard"}))).await.0, StatusCode::CONFLICT);
    assert_eq!(call("POST", "/v1/streams", Some(json!({"name": "y/d"}))).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(
        call("POST", "/v1/streams", Some(json!({"name": "x", "colour": 1}))).await.0,
        StatusCode::BAD_REQUEST
    );
    let (status, v, _) = call("GET", "/v1/streams/yard/still.jpg", None).await;
    assert_eq!((status, &v["error"]["code"]), (StatusCode::NOT_FOUND, &json!("NoFrame")));

    record(&rig, "yard", NOON, 250).await;
    let (status, v, _) = call("GET", "/v1/streams", None).await;
    assert_eq!(status, StatusCode::OK);
    let s = &v["streams"][0];
    assert_eq!(s["recorded"]["from"], "2026-05-01T12:00:00.000000Z");
    assert!(s["recorded"]["bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(
        s["tracks"],
        json!([
            {"id": 1, "kind": "video", "codec": "avc1.64000c", "codecName": "H.264",
             "mime": "video/mp4; codecs=\"avc1.64000c\"", "width": 320, "height": 180, "fps": 25.0},
            {"id": 2, "kind": "audio", "codec": "mp4a.40.2", "codecName": "AAC",
             "mime": "audio/mp4; codecs=\"mp4a.40.2\"", "rate": 48000, "channels": 2},
        ])
    );
    let (_, v, _) = call(
        "GET",
        "/v1/streams/yard/timeline?from=2026-05-01T12:00:04Z&to=2026-05-01T14:00:06%2B02:00",
        None,
    )
    .await;
    assert_eq!(
        v["spans"],
        json!([{"from": "2026-05-01T12:00:04.000000Z", "to": "2026-05-01T12:00:06.000000Z", "estimated": false}])
    );
    assert_eq!(v["earliest"], "2026-05-01T12:00:00.000000Z");
    assert_eq!(call("GET", "/v1/streams/yard/timeline?from=noon", None).await.0, StatusCode::BAD_REQUEST);
    let (_, v, _) = call("GET", "/v1/streams/yard/fragments?limit=2", None).await;
    assert_eq!(v["fragments"].as_array().unwrap().len(), 2);
    assert_eq!(v["fragments"][0]["keyFrame"], true);
    let (status, v, _) =
        call("POST", "/v1/streams/yard/sessions", Some(json!({"protocol": "hls", "expiresInSeconds": 60})))
            .await;
    assert_eq!(
        (status, &v["expires"]),
        (StatusCode::CREATED, &json!(wire::time::format(rig.now() + secs(60))))
    );
    let url = v["url"].as_str().unwrap();
    assert!(rig.text(url).await.contains("1.m3u8"));
    for body in
        [json!({"protocol": "rtmp"}), json!({"protocol": "hls", "speed": 4}), json!({"mode": "replay"})]
    {
        assert_eq!(call("POST", "/v1/streams/yard/sessions", Some(body)).await.0, StatusCode::BAD_REQUEST);
    }
    let (status, _, r) = call("GET", "/v1/streams/yard/still.jpg?width=320", None).await;
    assert_eq!(
        (status, r.headers()["x-rushes-time"].to_str().unwrap()),
        (StatusCode::OK, "2026-05-01T12:00:08.000000Z")
    );
    assert_eq!(r.headers()[header::CONTENT_TYPE], "image/jpeg");
    assert_eq!(call("GET", "/v1/streams/yard/still.jpg?width=1", None).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(call("DELETE", "/v1/streams/yard", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(call("GET", "/v1/streams/yard", None).await.0, StatusCode::NOT_FOUND);
}

/// Two-second fragments with a break each hour, as the index has them, found by bisection.
#[tokio::test]
async fn the_time_line_of_a_long_recording() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 50).await;
    let uid = rig.video.stream("yard").unwrap().uid;
    let shard = world::ShardId { stream: uid, shard: 0 };
    let first = fragments(&rig).await[0].clone();
    let hours = 30;
    for n in 1..1800 * hours {
        let hour = n / 1800;
        let mut e = first.entry.clone();
        (e.ordinal, e.discontinuities, e.discontinuity) = (n, hour, n % 1800 == 0);
        // Each hour's recording misses its last 10 s.
        let at = NOON + Duration::from_millis(hour * 3_600_000 + (n % 1800) * 1_994);
        rig.set(at + Duration::from_millis(1_994));
        let mut w = rig.log.payload(shard).await.unwrap();
        w.write(b"x").await.unwrap();
        w.commit((at, at + Duration::from_millis(1_994)), e.encode().into()).await.unwrap();
    }
    let p = rig.permit(actions::LIST_FRAGMENTS, "yard");
    let t = rig.video.timeline(p, "yard", By::Producer, Timestamp(0), Timestamp::MAX).await.unwrap();
    assert_eq!(t.spans.len() as u64, hours);
    for (n, s) in t.spans.iter().enumerate() {
        let start = NOON + secs(3600 * n as u64);
        assert_eq!((s.from, s.to), (start, start + Duration::from_millis(1800 * 1_994)), "{n}");
    }
}

/// What is imported is not shown to who watches live, and does not become what a stream shows live.
#[tokio::test]
async fn an_import_is_not_live() {
    use video::units::{MEDIA_TYPE, Record, encode};
    let (rig, secret) = root_rig(None).await;
    let import = async |start: Timestamp| {
        let mut camera = Camera::new(start);
        let mut body = bytes::BytesMut::new();
        encode(&Record::Tracks(camera.tracks()), &mut body);
        for _ in 0..100 {
            camera.units().0.into_iter().for_each(|u| encode(&Record::Unit(u), &mut body));
        }
        encode(&Record::End, &mut body);
        let (from, to) = (wire::time::format(start), wire::time::format(start + secs(4)));
        let mut request =
            rig.signed("POST", &format!("/v1/streams/yard/import?from={from}&to={to}"), &secret, None);
        request.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE.parse().unwrap());
        *request.body_mut() = body.freeze().into();
        let (status, r) = rig.send(request).await;
        assert_eq!(status, StatusCode::CREATED, "{:?}", r.body());
    };
    import(NOON - secs(3600)).await;
    assert_eq!(fragments(&rig).await.len(), 2);
    assert!(rig.video.live_tracks("yard").unwrap().is_empty(), "nobody has published");
    assert!(rig.video.live_key_frame("yard").is_none());
    // Of what was published, nothing changes.
    record(&rig, "yard", NOON, 50).await;
    let key = rig.video.live_key_frame("yard").unwrap().time;
    let mut rx = rig.video.follow(rig.permit(actions::GET_MEDIA, "yard"), "yard").unwrap();
    import(NOON - secs(7200)).await;
    assert!(rx.try_recv().is_err());
    assert_eq!(rig.video.live_tracks("yard").unwrap().len(), 2);
    assert_eq!(rig.video.live_key_frame("yard").unwrap().time, key);
}
