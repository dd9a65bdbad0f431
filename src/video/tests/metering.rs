//! What goes in and out of a stream, and what it stores, is metered: to the byte, and no more than was stored or sent.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use access::actions;
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use common::{Camera, NOON, Rig, record, rig};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use usage::{Amounts, Kind, Quantity};
use video::{Ask, By, ExportAsk, Form, StreamConfig};
use world::Timestamp;

/// Of all streams called `yard`, one after another.
async fn used(rig: &Rig) -> Vec<Amounts> {
    let all = rig.usage.used(NOON).await.unwrap();
    let mine =
        all.into_iter().filter(|u| u.resource.kind == Kind::VideoStream && u.resource.stream == "yard");
    mine.map(|u| u.amounts).collect()
}

async fn of(rig: &Rig, q: Quantity) -> u64 {
    used(rig).await.iter().map(|a| a.of(q)).sum()
}

/// Bytes of all that is recorded, and of how many fragments.
async fn recorded(rig: &Rig) -> (u64, u64) {
    let permit = rig.permit(actions::LIST_FRAGMENTS, "yard");
    let all =
        rig.video.fragments(permit, "yard", By::Server, (Timestamp(0), Timestamp::MAX), 1000).await.unwrap();
    (all.len() as u64, all.iter().map(|f| f.table_from()).sum())
}

#[tokio::test]
async fn what_is_stored_of_what_comes_in_is_counted_once() {
    let mut rig = rig().await;
    record(&rig, "yard", NOON, 200).await;
    let (fragments, bytes) = recorded(&rig).await;
    assert!(fragments == 4 && bytes > 200 * 500);
    assert_eq!((of(&rig, Quantity::RecordsIn).await, of(&rig, Quantity::BytesIn).await), (fragments, bytes));
    // Of a session that is given up, what became a fragment.
    let mut camera = Camera::new(rig.now());
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 70).await;
    s.abandon().await.unwrap();
    let both = recorded(&rig).await;
    assert_eq!(both.0, fragments + 1);
    assert_eq!((of(&rig, Quantity::RecordsIn).await, of(&rig, Quantity::BytesIn).await), both);
    let tally = &rig.video.tallies()[0];
    assert_eq!((tally.stream.as_str(), tally.put_fragments, tally.put_bytes), ("yard", both.0, both.1));
    // A restart counts on.
    rig.restart().await;
    assert_eq!(rig.video.tallies()[0].put_bytes, 0, "since the start");
    record(&rig, "yard", rig.now(), 50).await;
    let all = recorded(&rig).await;
    assert_eq!((of(&rig, Quantity::RecordsIn).await, of(&rig, Quantity::BytesIn).await), all);
    // One that is made anew under the name is another.
    rig.video.delete_stream(rig.permit(actions::DELETE_STREAM, "yard"), "yard").await.unwrap();
    let permit = rig.permit(actions::CREATE_STREAM, "yard");
    rig.video.create_stream(permit, "yard", StreamConfig::default()).await.unwrap();
    record(&rig, "yard", rig.now(), 50).await;
    let used = used(&rig).await;
    assert_eq!(used.len(), 2);
    assert_eq!(of(&rig, Quantity::BytesIn).await, all.1 + recorded(&rig).await.1);
}

#[tokio::test]
async fn what_players_take_is_counted_as_they_take_it() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 200).await;
    let path = rig.play("yard", Ask::default()).await;
    let base = path.trim_end_matches("/main.m3u8");
    let list = rig.text(&format!("{base}/1.m3u8")).await;
    assert_eq!(of(&rig, Quantity::HlsBytesOut).await, 0, "playlists are not media");
    let url = format!("{base}/1/1.m4s");
    let whole = rig.bytes(&url).await;
    let mut sum = whole.len() as u64;
    assert_eq!(of(&rig, Quantity::HlsBytesOut).await, sum);
    let init = list.lines().find_map(|l| l.strip_prefix("#EXT-X-MAP:URI=\"")?.strip_suffix('"')).unwrap();
    sum += rig.bytes(&format!("{base}/{init}")).await.len() as u64;
    assert_eq!(of(&rig, Quantity::HlsBytesOut).await, sum);
    let ask = |name, value: &str| Request::get(&url).header(name, value).body(Body::empty()).unwrap();
    let (status, r) = rig.send(ask(header::RANGE, "bytes=700-20000")).await;
    assert_eq!((status, r.body().len()), (StatusCode::PARTIAL_CONTENT, 19_301));
    sum += 19_301;
    // Nothing was sent.
    for (r, want) in [
        (ask(header::RANGE, "bytes=99999999-"), StatusCode::RANGE_NOT_SATISFIABLE),
        (ask(header::IF_NONE_MATCH, "*"), StatusCode::NOT_MODIFIED),
        (Request::head(&url).body(Body::empty()).unwrap(), StatusCode::OK),
        (Request::get(format!("{base}/1/99.m4s")).body(Body::empty()).unwrap(), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(rig.send(r).await.0, want);
    }
    assert_eq!(of(&rig, Quantity::HlsBytesOut).await, sum);
    // A player that leaves has what it took.
    let get = Request::get(&url).body(Body::empty()).unwrap();
    let mut body = video::router(rig.video.clone()).oneshot(get).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(!first.is_empty() && first.len() < whole.len());
    drop(body);
    sum += first.len() as u64;
    assert_eq!(of(&rig, Quantity::HlsBytesOut).await, sum);
    assert_eq!(of(&rig, Quantity::BytesOut).await, 0);
    assert_eq!(rig.video.tallies()[0].hls_bytes, sum);
}

#[tokio::test]
async fn exports_and_viewers_are_counted() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 200).await;
    let mut sum = 0;
    for form in [Form::Mp4, Form::Mkv] {
        let (gaps, audio) = Default::default();
        let to = NOON + Duration::from_secs(5);
        let ask = ExportAsk { from: NOON, to, by: By::Producer, form, gaps, audio };
        let permit = rig.permit(actions::GET_CLIP, "yard");
        let made = rig.video.export(permit, "yard", ask).await.unwrap();
        assert_eq!(of(&rig, Quantity::BytesOut).await, sum, "not before it is sent");
        let bytes = made.body().collect().await.unwrap().to_bytes();
        sum += bytes.len() as u64;
        assert_eq!(of(&rig, Quantity::BytesOut).await, sum);
    }
    rig.video.tap("yard").unwrap().sent(1000);
    assert_eq!(of(&rig, Quantity::BytesOut).await, sum + 1000);
    assert_eq!(rig.video.tallies()[0].get_bytes, sum + 1000);
    assert_eq!(of(&rig, Quantity::HlsBytesOut).await, 0);
}

#[tokio::test]
async fn what_is_stored_goes_by_time() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 200).await;
    rig.video.meter_stored().await;
    let begun = of(&rig, Quantity::StoredKibSeconds).await;
    let stored = rig.video.recorded("yard").await.unwrap().unwrap().bytes;
    assert_eq!(rig.video.tallies()[0].stored_bytes, stored);
    rig.set(rig.now() + Duration::from_millis(100_500));
    rig.video.meter_stored().await;
    rig.video.meter_stored().await;
    let after = of(&rig, Quantity::StoredKibSeconds).await - begun;
    assert_eq!(after, stored.div_ceil(1024) * 201 / 2);
    // No longer than it has been there.
    let permit = rig.permit(actions::CREATE_STREAM, "new");
    rig.set(rig.now() + Duration::from_secs(1000));
    rig.video.create_stream(permit, "new", StreamConfig::default()).await.unwrap();
    record(&rig, "new", rig.now(), 50).await;
    rig.video.meter_stored().await;
    let all = rig.usage.used(NOON).await.unwrap();
    let new = all.iter().find(|u| u.resource.stream == "new").unwrap();
    let stored = rig.video.recorded("new").await.unwrap().unwrap().bytes.div_ceil(1024);
    assert!(new.amounts.of(Quantity::StoredKibSeconds) <= 2 * stored, "{new:?}");
}
