//! Over the local engine: what was taken is there after a restart, bit for bit, and numbers go on.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{sync::Arc, time::Duration};

use access::{Gate, actions};
use catalog::{Catalog, CatalogError, SqliteCatalog};
use common::{Camera, NOON, check};
use log::{Limits, LocalLog, Log, StorePolicy};
use media::fmp4;
use seal::{DataKey, LocalKey};
use usage::Usage;
use video::{Ask, By, Config, ExportAsk, Form, Mode, Parts, Video};
use world::{Home, World};

struct Node {
    log: Arc<LocalLog>,
    gate: Gate,
    home: Home,
    video: Arc<Video>,
}

/// Waits for the node before, which may still be letting go of it.
async fn open(path: &std::path::Path, world: &World) -> SqliteCatalog {
    let until = world.clock.monotonic() + Duration::from_secs(20);
    loop {
        match SqliteCatalog::open(path, world.clone()) {
            Err(CatalogError::Locked(_)) if world.clock.monotonic() < until => {
                world.clock.sleep(Duration::from_millis(10)).await;
            }
            opened => return opened.unwrap(),
        }
    }
}

async fn start(dir: &std::path::Path) -> Node {
    let world = World::real(dir);
    let catalog: Arc<dyn Catalog> = Arc::new(open(&dir.join("catalog.db"), &world).await);
    let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
    let log = LocalLog::open(
        world.clone(),
        catalog.clone(),
        keys.clone(),
        Limits::default(),
        StorePolicy::default(),
    )
    .await
    .unwrap();
    let home = Home::default();
    let (gate, _) = Gate::open(world.clone(), catalog.clone(), keys, home.clone(), None).await.unwrap();
    let usage = Usage::new(world.clone(), catalog.clone());
    let (log_, gate_, home_) = (log.clone(), gate.clone(), home.clone());
    let parts = Parts { world, catalog, log: log_, gate: gate_, home: home_, stills: None, usage };
    let video = Video::open(parts, Config::default()).await.unwrap();
    Node { log, gate, home, video }
}

impl Node {
    async fn status(&self, path: &str) -> u16 {
        use tower::ServiceExt;
        let req = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        video::router(self.video.clone()).oneshot(req).await.unwrap().status().as_u16()
    }
    async fn get(&self, path: &str) -> Vec<u8> {
        use http_body_util::BodyExt;
        use tower::ServiceExt;
        let req = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let r = video::router(self.video.clone()).oneshot(req).await.unwrap();
        assert_eq!(r.status(), 200, "{path}");
        r.into_body().collect().await.unwrap().to_bytes().to_vec()
    }
    async fn record(&self, camera: &mut Camera, pictures: u64) {
        let permit = self.gate.internal(actions::PUT_MEDIA, &self.home.video_stream("yard"));
        let mut s = self.video.ingest(permit, "yard").await.unwrap();
        s.tracks(camera.tracks()).await.unwrap();
        for _ in 0..pictures {
            let (units, at) = camera.units();
            for u in units {
                s.write(u, at).await.unwrap();
            }
        }
        s.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_every_picture_and_goes_on_counting() {
    let dir = tempfile::tempdir().unwrap();
    let mut camera = Camera { len: 9_001, ..Camera::new(NOON) };
    let ask = Ask { from: Some(NOON), to: Some(NOON + Duration::from_secs(600)), ..Ask::default() };
    let mut path = String::new();
    for round in 0..3 {
        let node = start(dir.path()).await;
        if round == 0 {
            let permit = node.gate.internal(actions::PUT_MEDIA, &node.home.video_stream("yard"));
            node.video.ensure_stream(&permit, "yard").await.unwrap();
        }
        node.record(&mut camera, 120).await;
        if round == 0 {
            let url = actions::GET_HLS_STREAMING_SESSION_URL;
            let permit = node.gate.internal(url, &node.home.video_stream("yard"));
            path = node.video.hls_session(permit, "yard", ask).await.unwrap().path;
        }
        let base = path.rsplit_once('/').unwrap().0;
        // The token of the first start still opens, and its playlist has what came since.
        let text = String::from_utf8(node.get(&format!("{base}/1.m3u8")).await).unwrap();
        let list = check::media(&text);
        let sequences: Vec<_> = list.entries.iter().map(|e| e.sequence).collect();
        assert_eq!(sequences, (0..list.entries.len() as u64).collect::<Vec<_>>());
        assert_eq!(list.entries.last().unwrap().discontinuity, round);
        let mut n = 0;
        for e in &list.entries {
            let bytes = node.get(&format!("{base}/{}", e.uri)).await;
            for s in &fmp4::read_segment(&bytes).unwrap().runs[0].samples {
                let got = &bytes[s.offset as usize..(s.offset + u64::from(s.len)) as usize];
                assert!(got == common::picture(n, n % 50 == 0, 9_001), "picture {n}");
                n += 1;
            }
        }
        assert_eq!(n, 120 * (round + 1));
        node.log.shutdown().await.unwrap();
    }
}

/// Media sequence and discontinuity of each entry of the live playlist.
async fn live(node: &Node) -> Vec<(u64, u64)> {
    let url = actions::GET_HLS_STREAMING_SESSION_URL;
    let permit = node.gate.internal(url, &node.home.video_stream("yard"));
    let path = node.video.hls_session(permit, "yard", Ask::default()).await.unwrap().path;
    let base = path.rsplit_once('/').unwrap().0;
    let text = String::from_utf8(node.get(&format!("{base}/1.m3u8")).await).unwrap();
    let list = check::media(&text);
    for e in &list.entries {
        assert!(!node.get(&format!("{base}/{}", e.uri)).await.is_empty());
    }
    list.entries.iter().map(|e| (e.sequence, e.discontinuity)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_goes_on_where_the_newest_segment_is_lost_and_no_number_comes_again() {
    // The newest, or all that there is.
    for lose in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let mut camera = Camera { len: 9_001, ..Camera::new(NOON) };
        let mut seen = Vec::new();
        for round in 0..2 {
            let node = start(dir.path()).await;
            if round == 0 {
                let permit = node.gate.internal(actions::PUT_MEDIA, &node.home.video_stream("yard"));
                node.video.ensure_stream(&permit, "yard").await.unwrap();
            }
            node.record(&mut camera, 240).await;
            seen.extend(live(&node).await);
            node.log.shutdown().await.unwrap();
        }
        let segments = dir.path().join("segments");
        let mut files: Vec<_> = std::fs::read_dir(&segments).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 2);
        for f in files.iter().rev().take(lose) {
            std::fs::remove_file(f).unwrap();
        }
        let before = *seen.iter().max().unwrap();

        let node = start(dir.path()).await;
        let (recorded, unreadable) = node.video.recorded_and_not("yard").await.unwrap();
        assert_eq!((recorded.is_some(), unreadable.len()), (lose == 1, lose));
        let name = files[1].file_name().unwrap().to_str().unwrap();
        assert!(unreadable[lose - 1].why.contains(name), "{unreadable:?}");
        node.record(&mut camera, 240).await;
        let now = live(&node).await;
        assert!(now.len() > 2, "{now:?}");
        // Not one more than there were: those without pictures count, too, as nobody knows.
        assert!(now[0].0 > before.0 && now[0].0 <= before.0 + 2, "{now:?} after {before:?}");
        assert!(now[0].1 > before.1, "{now:?} after {before:?}");
        assert!(now.windows(2).all(|w| w[1] == (w[0].0 + 1, w[0].1)), "{now:?}");
        assert!(node.video.recorded("yard").await.unwrap().is_some());
        node.log.shutdown().await.unwrap();
        drop(node);

        // And goes on from there.
        let node = start(dir.path()).await;
        node.record(&mut camera, 240).await;
        let again = live(&node).await;
        let last = *now.last().unwrap();
        assert!(again.contains(&(last.0 + 1, last.1 + 1)), "{again:?} after {last:?}");
        node.log.shutdown().await.unwrap();
    }
}

/// A session whose recording lies in three segments, of which the middle one's is deleted behind our back.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_part_is_passed_over_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut camera = Camera { len: 900, ..Camera::new(NOON) };
    {
        let node = start(dir.path()).await;
        let permit = node.gate.internal(actions::PUT_MEDIA, &node.home.video_stream("yard"));
        node.video.ensure_stream(&permit, "yard").await.unwrap();
        let mut s = node.video.ingest(permit, "yard").await.unwrap();
        s.tracks(camera.tracks()).await.unwrap();
        for _ in 0..3 {
            for _ in 0..300 {
                let (units, at) = camera.units();
                for u in units {
                    s.write(u, at).await.unwrap();
                }
            }
            node.log.flush().await.unwrap();
        }
        s.end().await.unwrap();
        node.log.shutdown().await.unwrap();
    }
    let segments = dir.path().join("segments");
    let mut files: Vec<_> = std::fs::read_dir(&segments).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    let away = dir.path().join("away");
    let end = NOON + Duration::from_secs(60);
    let node = start(dir.path()).await;
    let mut growing = Vec::new();
    for mode in [Mode::Event, Mode::Live] {
        let permit =
            node.gate.internal(actions::GET_HLS_STREAMING_SESSION_URL, &node.home.video_stream("yard"));
        let ask = Ask { mode: Some(mode), from: Some(NOON), ..Ask::default() };
        let path = node.video.hls_session(permit, "yard", ask).await.unwrap().path;
        for track in 1..=2 {
            let path = format!("{}/{track}.m3u8", path.rsplit_once('/').unwrap().0);
            let text = String::from_utf8(node.get(&path).await).unwrap();
            assert!(!text.contains("#EXT-X-GAP"), "{text}");
            growing.push((path, check::media(&text)));
        }
    }
    node.log.shutdown().await.unwrap();
    drop(node);
    std::fs::rename(&files[1], &away).unwrap();

    let node = start(dir.path()).await;
    // In playlists that change, whoever has the earlier one finds every entry at its number.
    for (path, before) in &growing {
        let text = String::from_utf8(node.get(path).await).unwrap();
        let after = check::media(&text);
        check::follows(before, &after);
        assert_eq!(after.entries.len(), before.entries.len());
        let base = path.rsplit_once('/').unwrap().0;
        let gaps = after.entries.iter().filter(|e| e.gap).count();
        assert!(gaps > 2 && text.matches("# nothing from 20").count() == 1, "{text}");
        assert_eq!(before.entries.last().unwrap().discontinuity, after.entries.last().unwrap().discontinuity);
        let total = |l: &check::Playlist| l.entries.iter().map(|e| e.seconds).sum::<f64>();
        assert!((total(before) - total(&after)).abs() < 0.2, "{} and {}", total(before), total(&after));
        for e in &after.entries {
            assert_eq!(node.status(&format!("{base}/{}", e.uri)).await == 200, !e.gap, "{}", e.uri);
        }
    }
    let url = actions::GET_HLS_STREAMING_SESSION_URL;
    let permit = || node.gate.internal(url, &node.home.video_stream("yard"));
    let ask = Ask { from: Some(NOON), to: Some(end), ..Ask::default() };
    let path = node.video.hls_session(permit(), "yard", ask).await.unwrap().path;
    let base = path.rsplit_once('/').unwrap().0;
    let mut holes = Vec::new();
    for track in 1..=2 {
        let text = String::from_utf8(node.get(&format!("{base}/{track}.m3u8")).await).unwrap();
        let list = check::media(&text);
        for e in &list.entries {
            assert!(!node.get(&format!("{base}/{}", e.uri)).await.is_empty());
        }
        let breaks = list.entries.last().unwrap().discontinuity - list.entries[0].discontinuity;
        assert_eq!((breaks, text.matches("# nothing from 20").count()), (1, 1), "{text}");
        let jump = |w: &[check::Entry]| w[1].date.unwrap() - w[0].date.unwrap() > 9000;
        assert_eq!(list.entries.windows(2).filter(|w| jump(w)).count(), 1);
        holes.push(list.entries.windows(2).position(|w| w[0].discontinuity != w[1].discontinuity));
    }
    assert!(holes[0].is_some() && holes[0] == holes[1], "{holes:?}");

    let lists = || node.gate.internal(actions::LIST_FRAGMENTS, &node.home.video_stream("yard"));
    let spans = async || node.video.timeline(lists(), "yard", By::Producer, NOON, end).await.unwrap().spans;
    let told = spans().await;
    assert_eq!(told.len(), 2, "{told:?}");
    let (_, unreadable) = node.video.recorded_and_not("yard").await.unwrap();
    let name = files[1].file_name().unwrap().to_str().unwrap();
    assert!(unreadable.len() == 1 && unreadable[0].why.contains(name), "{unreadable:?}");
    for form in [Form::Mp4, Form::Mkv] {
        let (gaps, audio) = Default::default();
        let ask = ExportAsk { from: NOON, to: end, by: By::Producer, form, gaps, audio };
        let permit = node.gate.internal(actions::GET_CLIP, &node.home.video_stream("yard"));
        let made = node.video.export(permit, "yard", ask).await.unwrap();
        assert!(made.left_out.iter().any(|l| l.contains(name)), "{:?}", made.left_out);
        use http_body_util::BodyExt as _;
        assert!(!made.body().collect().await.unwrap().to_bytes().is_empty());
    }

    // It was found again.
    std::fs::rename(&away, &files[1]).unwrap();
    let text = String::from_utf8(node.get(&format!("{base}/1.m3u8")).await).unwrap();
    assert!(!text.contains("# nothing") && !text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
    assert_eq!(spans().await.len(), 1);
    node.log.shutdown().await.unwrap();
}
