//! Ranges as files: what is in them, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use access::actions;
use axum::body::Body;
use bytes::Bytes;
use common::{Camera, NOON, Rig, record, rig};
use http_body_util::BodyExt as _;
use media::mp4read::{Movie, next_box};
use video::{By, Export, ExportAsk, Form, VideoError};
use world::Timestamp;

fn ask(from: Timestamp, to: Timestamp) -> ExportAsk {
    ExportAsk {
        from,
        to,
        by: By::Producer,
        form: Form::Mp4,
        gaps: Default::default(),
        audio: Default::default(),
    }
}

async fn export(rig: &Rig, ask: ExportAsk) -> Result<Export, VideoError> {
    rig.video.export(rig.permit(actions::GET_CLIP, "yard"), "yard", ask).await
}

async fn file(rig: &Rig, ask: ExportAsk) -> Bytes {
    let made = export(rig, ask).await.unwrap();
    let len = made.len;
    let bytes = Body::new(made.body()).collect().await.unwrap().to_bytes();
    assert!(len.is_none_or(|len| len == bytes.len() as u64));
    bytes
}

/// When the pictures in an MP4 file are shown, in milliseconds after noon.
fn pictures(file: &Bytes) -> Vec<i64> {
    let mut at = 0usize;
    while let Some(b) = next_box(&file[at..]).unwrap() {
        let end = at + b.len.unwrap() as usize;
        if &b.kind == b"moov" {
            let movie = Movie::parse(&file.slice(at + usize::from(b.head)..end)).unwrap();
            let t = &movie.tracks[0];
            let all = t.samples(file.len() as u64).map(Result::unwrap);
            return all.map(|s| movie.created.unwrap() - NOON.millis() + (s.pts + t.shift) / 90).collect();
        }
        at = end;
    }
    panic!("no moov")
}

fn ms(n: u64) -> Timestamp {
    NOON + Duration::from_millis(n)
}

fn steps(from: i64, to: i64) -> Vec<i64> {
    (from / 40..to / 40).map(|n| n * 40).collect()
}

#[tokio::test]
async fn a_range_begins_with_a_key_frame_and_keeps_gaps() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 250).await;
    record(&rig, "yard", ms(20_000), 100).await;
    assert_eq!(pictures(&file(&rig, ask(ms(5_100), ms(7_300))).await), steps(4_000, 7_320));
    let across = [steps(8_000, 10_000), steps(20_000, 21_000)].concat();
    assert_eq!(pictures(&file(&rig, ask(ms(9_000), ms(21_000))).await), across);
    let closed = file(&rig, ExportAsk { gaps: media::Gaps::Close, ..ask(ms(9_000), ms(21_000)) }).await;
    assert_eq!(pictures(&closed).len(), 75);
    // To within the two ticks of sound that reach beyond the last picture.
    assert!(pictures(&closed)[50] - 10_000 < 100, "{:?}", pictures(&closed));
    let mkv = file(&rig, ExportAsk { form: Form::Mkv, ..ask(ms(9_000), ms(21_000)) }).await;
    assert!(mkv.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]));
}

#[tokio::test]
async fn by_the_servers_clock() {
    let rig = rig().await;
    // Received five seconds late.
    let mut camera = Camera::new(NOON);
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    for _ in 0..250 {
        let (units, at) = camera.units();
        rig.set(at + Duration::from_secs(5));
        for u in units {
            s.write(u, rig.now()).await.unwrap();
        }
        // A fragment that ended is committed now, not later.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    s.end().await.unwrap();
    let got = pictures(&file(&rig, ExportAsk { by: By::Server, ..ask(ms(9_500), ms(11_500)) }).await);
    // 4.5 to 6.5 s by the producer's; arrival is the end of the last picture, or a little before.
    assert_eq!(got[0], 4_000);
    assert!((6_400..6_600).contains(got.last().unwrap()), "{got:?}");
}

#[tokio::test]
async fn what_is_refused() {
    let mut rig = rig().await;
    record(&rig, "yard", NOON, 100).await;
    let nothing = export(&rig, ask(ms(100_000), ms(200_000))).await.err().unwrap();
    assert!(matches!(nothing, VideoError::NoMedia(_)), "{nothing}");
    let back = export(&rig, ask(ms(2_000), ms(1_000))).await.err().unwrap();
    assert!(matches!(back, VideoError::Bad(_)), "{back}");
    let p = rig.permit(actions::GET_IMAGES, "yard");
    let other = rig.video.export(p, "yard", ask(NOON, ms(1_000))).await.err().unwrap();
    assert!(matches!(other, VideoError::NotPermitted { .. }), "{other}");
    // A few at once; one that is given up makes room.
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(export(&rig, ask(NOON, ms(1_000))).await.unwrap());
    }
    let busy = export(&rig, ask(NOON, ms(1_000))).await.err().unwrap();
    assert!(matches!(busy, VideoError::Busy(_)), "{busy}");
    open.pop();
    assert!(export(&rig, ask(NOON, ms(1_000))).await.is_ok());
    drop(open);
    rig.config.max_range = 1;
    rig.restart().await;
    let long = export(&rig, ask(NOON, ms(4_000))).await.err().unwrap();
    assert!(long.to_string().contains("shorter"), "{long}");
}

#[tokio::test]
async fn what_retention_takes_meanwhile_breaks_the_file_off() {
    let rig = rig().await;
    record(&rig, "yard", NOON, 200).await;
    let made = export(&rig, ask(NOON, ms(8_000))).await.unwrap();
    let uid = rig.video.stream("yard").unwrap().uid;
    rig.log.trim(world::ShardId { stream: uid, shard: 0 }, 2).await.unwrap();
    assert!(Body::new(made.body()).collect().await.is_err());
}
