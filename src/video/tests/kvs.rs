//! What Kinesis Video Streams' clients meet as time goes by, on a clock that is set.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use bytes::Bytes;
use common::{Camera, NOON, Rig, record, rig, rig_with};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tower::ServiceExt as _;
use video::kvs::{Config, Kvs};
use wire::aws::Services;

/// AWS's services in front of what sessions' URLs lead to.
fn served(rig: &Rig) -> Router {
    let kvs = Kvs::new(rig.video.clone(), Config::default());
    let gate = rig.gate.accepting_any_signature();
    let services = Services::new(rig.world.clone(), gate, rig.home.clone()).with(video::kvs::service(&kvs));
    services.in_front_of(video::kvs::router(&kvs))
}

/// A call at noon, signed with a key that nobody looks at.
fn call(path: &str, more: &[(&str, &str)], body: Body) -> Request<Body> {
    let scope = "AKIDEXAMPLE/20260501/us-east-1/kinesisvideo/aws4_request";
    let signature = "0".repeat(64);
    let mut r =
        Request::post(path).header("host", "localhost").header("x-amz-date", "20260501T120000Z").header(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
            ),
        );
    for (name, value) in more {
        r = r.header(*name, *value);
    }
    r.body(body).unwrap()
}

async fn json(site: &Router, path: &str, body: serde_json::Value) -> serde_json::Value {
    let json = [("content-type", "application/json")];
    let r = site.clone().oneshot(call(path, &json, Body::from(body.to_string()))).await.unwrap();
    let status = r.status();
    let body = r.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, StatusCode::OK, "{path}: {body:?}");
    serde_json::from_slice(&body).unwrap()
}

async fn status(site: &Router, url: &str) -> (StatusCode, String) {
    let path = url.strip_prefix("http://localhost").unwrap();
    let r = site.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = r.status();
    let body = r.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_session_is_over_when_it_expires() {
    let rig = rig().await;
    let site = served(&rig);
    json(&site, "/createStream", serde_json::json!({"StreamName": "yard", "DataRetentionInHours": 24})).await;
    record(&rig, "yard", NOON, 100).await;
    let range = serde_json::json!({"StartTimestamp": NOON.millis() / 1000 - 10, "EndTimestamp": NOON.millis() / 1000 + 60});
    let selector = serde_json::json!({"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range});
    let mut urls = Vec::new();
    for kind in ["HLS", "DASH"] {
        let mut ask = serde_json::json!({"StreamName": "yard", "PlaybackMode": "ON_DEMAND", "Expires": 600});
        ask[format!("{kind}FragmentSelector")] = selector.clone();
        let made = json(&site, &format!("/get{kind}StreamingSessionURL"), ask).await;
        urls.push(made[format!("{kind}StreamingSessionURL")].as_str().unwrap().to_owned());
    }
    // What the first leads to has its token.
    let master = status(&site, &urls[0]).await.1;
    let playlist = master.lines().find(|l| l.starts_with("getHLSMediaPlaylist")).unwrap();
    let media = status(&site, &format!("http://localhost/hls/v1/{playlist}")).await.1;
    let segment = media.lines().find(|l| l.starts_with("getMP4MediaFragment")).unwrap();
    urls.extend([playlist, segment].map(|u| format!("http://localhost/hls/v1/{u}")));
    let made = rig.now();
    rig.set(made + Duration::from_secs(599));
    for url in &urls {
        assert_eq!(status(&site, url).await.0, StatusCode::OK, "{url}");
    }
    rig.set(made + Duration::from_secs(600));
    for url in &urls {
        let (status, said) = status(&site, url).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{url}");
        assert!(said.contains("expired"), "{said}");
    }
}

#[tokio::test]
async fn a_producer_is_sent_away_after_three_quarters_of_an_hour() {
    let rig = rig().await;
    let site = served(&rig);
    json(&site, "/createStream", serde_json::json!({"StreamName": "yard", "DataRetentionInHours": 24})).await;
    let (send, from) = mpsc::channel::<Bytes>(1);
    let body = futures_util::stream::unfold(from, |mut from| async move {
        from.recv().await.map(|b| (Ok::<_, Infallible>(b), from))
    });
    let how = [("x-amzn-stream-name", "yard"), ("x-amzn-fragment-timecode-type", "ABSOLUTE")];
    // Without the service, its connections end.
    let r = site.clone().oneshot(call("/putMedia", &how, Body::from_stream(body))).await.unwrap();
    assert_eq!(r.status(), StatusCode::OK);
    let mut lines = r.into_body();
    let mut line = async || {
        let frame = lines.frame().await.unwrap().unwrap().into_data().unwrap();
        serde_json::from_slice::<serde_json::Value>(&frame).unwrap()
    };
    send.send(document(NOON.millis())).await.unwrap();
    assert_eq!(line().await["EventType"], "BUFFERING");
    rig.set(NOON + Duration::from_secs(45 * 60));
    send.send(tags("AWS_KINESISVIDEO_END_OF_FRAGMENT")).await.unwrap();
    assert_eq!(
        (line().await["EventType"].clone(), line().await["EventType"].clone()),
        ("RECEIVED".into(), "PERSISTED".into())
    );
    rig.set(NOON + Duration::from_secs(45 * 60 + 1));
    send.send(tags("place")).await.unwrap();
    let error = line().await;
    assert_eq!(
        (&error["ErrorId"], &error["ErrorCode"]),
        (&4003.into(), &"MAX_CONNECTION_DURATION_REACHED".into())
    );
}

fn element(id: &str, content: &[u8]) -> Vec<u8> {
    let mut out = common::hex(id);
    out.extend((content.len() as u64 | 1 << 56).to_be_bytes());
    out.extend_from_slice(content);
    out
}

fn tags(name: &str) -> Bytes {
    let simple = [element("45a3", name.as_bytes()), element("4487", b"")].concat();
    element("1254c367", &element("7373", &element("67c8", &simple))).into()
}

/// A document with one Cluster of one frame, which may go on.
fn document(milliseconds: i64) -> Bytes {
    let track = [element("d7", &[1]), element("83", &[1]), element("86", b"V_NOBODY/KNOWS")].concat();
    let head = [
        element("1a45dfa3", &element("4282", b"matroska")),
        common::hex("18538067ff"),
        element("1549a966", &element("2ad7b1", &1_000_000u32.to_be_bytes())),
        element("1654ae6b", &element("ae", &track)),
        common::hex("1f43b675ff"),
        element("e7", &milliseconds.to_be_bytes()),
        element("a3", &[0x81, 0, 0, 0x80, 1, 2, 3]),
    ];
    head.concat().into()
}

/// Decodes and encodes nothing: playlists alone are asked for.
struct Mute;

#[async_trait::async_trait]
impl video::Stills for Mute {
    async fn jpeg(&self, _: &video::KeyFrame, _: Option<u32>) -> Result<Bytes, String> {
        Err("not here".into())
    }
}

/// A second of G.711 as a track, which begins so many seconds after noon.
async fn speak(rig: &Rig, s: &mut video::Session, track: u8, seconds: u64) {
    let start = NOON + Duration::from_secs(seconds);
    for n in 0..25 {
        let at = start + Duration::from_millis(40 * n);
        let (pts, data) = (common::ticks(start, 8000) + 320 * n as i64, vec![0xff; 320].into());
        let access = media::RandomAccess::Idr;
        rig.set(at.max(rig.now()));
        let unit = media::AccessUnit { track, pts, dts: None, duration: None, access, data };
        s.write(unit, at).await.unwrap();
    }
}

/// Where a session's media playlist is, of a track or of transport streams.
async fn live(site: &Router, more: serde_json::Value, track: Option<u8>) -> String {
    let mut ask = serde_json::json!({"StreamName": "yard", "PlaybackMode": "LIVE"});
    ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = json(site, "/getHLSStreamingSessionURL", ask).await;
    let master = made["HLSStreamingSessionURL"].as_str().unwrap();
    let track = track.map_or(String::new(), |t| format!("&TrackNumber={t}"));
    master.replace("getHLSMasterPlaylist", "getHLSMediaPlaylist") + &track
}

/// Adds a playlist's numbers to those seen of its segments, which are the same; the first number, and which are gaps.
async fn numbers(site: &Router, url: &str, seen: &mut HashMap<String, u64>) -> (u64, Vec<u64>) {
    let (status, text) = status(site, url).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let first = text.lines().find_map(|l| l.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().parse().unwrap();
    let mut gaps = Vec::new();
    for (uri, n) in text.lines().filter(|l| !l.starts_with('#')).zip(first..) {
        if uri.contains("=gap-") {
            gaps.push(n);
        } else {
            assert_eq!(*seen.entry(uri.to_owned()).or_insert(n), n, "{uri} in {text}");
        }
    }
    (first, gaps)
}

#[tokio::test]
async fn sound_that_is_made_keeps_its_numbers_in_a_live_session() {
    let rig = rig_with(video::Config::default(), Some(Arc::new(Mute))).await;
    let site = served(&rig);
    json(&site, "/createStream", serde_json::json!({"StreamName": "yard", "DataRetentionInHours": 24})).await;
    let mut s = rig.session("yard").await;
    s.tracks(vec![media::g711_track(3, media::Codec::Pcmu, 8000, 1).into()]).await.unwrap();
    speak(&rig, &mut s, 3, 0).await;
    s.discontinuity("a fragment").await.unwrap();
    while rig.video.ingest_status("yard").unwrap().fragments < 1 {
        tokio::task::yield_now().await;
    }
    let most = 3;
    let ask = serde_json::json!({"MaxMediaPlaylistFragmentResults": most});
    let mp4 = live(&site, ask.clone(), Some(3)).await;
    let mut transport = ask;
    transport["ContainerFormat"] = "MPEG_TS".into();
    let transport = live(&site, transport, None).await;
    let mut seen = [HashMap::new(), HashMap::new()];
    for n in 1..=10 {
        for (url, seen) in [&mp4, &transport].into_iter().zip(&mut seen) {
            let (first, gaps) = numbers(&site, url, seen).await;
            assert_eq!((first, gaps, seen.len() as u64), (n.max(most) - most, vec![], n), "{url}");
        }
        speak(&rig, &mut s, 3, 2 * n).await;
        s.discontinuity("a fragment").await.unwrap();
        while rig.video.ingest_status("yard").unwrap().fragments < n + 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// A track that becomes what nobody plays, and then what it was.
#[tokio::test]
async fn what_cannot_be_played_keeps_its_numbers_in_a_live_session() {
    let rig = rig().await;
    let site = served(&rig);
    json(&site, "/createStream", serde_json::json!({"StreamName": "yard", "DataRetentionInHours": 24})).await;
    let pictures = async |start| {
        let mut camera = Camera { audio: false, ..Camera::new(NOON + Duration::from_secs(start)) };
        let mut s = rig.session("yard").await;
        s.tracks(camera.tracks()).await.unwrap();
        camera.send(&rig, &mut s, 100).await;
        s.end().await.unwrap();
    };
    pictures(0).await;
    let ask = serde_json::json!({"MaxMediaPlaylistFragmentResults": 4});
    let mp4 = live(&site, ask.clone(), Some(1)).await;
    let mut transport = ask;
    transport["ContainerFormat"] = "MPEG_TS".into();
    let transport = live(&site, transport, None).await;
    let mut s = rig.session("yard").await;
    s.tracks(vec![media::g711_track(1, media::Codec::Pcmu, 8000, 1).into()]).await.unwrap();
    speak(&rig, &mut s, 1, 4).await;
    s.end().await.unwrap();
    let mut seen = [HashMap::new(), HashMap::new()];
    let want: [(u64, &[u64]); 4] = [(0, &[]), (1, &[2]), (3, &[]), (5, &[])];
    for (n, (first, gaps)) in want.into_iter().enumerate() {
        for (url, seen) in [&mp4, &transport].into_iter().zip(&mut seen) {
            assert_eq!(numbers(&site, url, seen).await, (first, gaps.to_vec()), "{n}: {url}");
        }
        pictures(6 + 4 * n as u64).await;
    }
}
