use std::time::Duration;

use camera::Simulator;
use capture::pull::{Engine, Source, Transport};
use capture::{State, probe};
use media::{Codec, Kind, RandomAccess};

use crate::support::*;

fn camera(clip: &Clip, login: Option<(&str, &str)>, again: bool) -> Simulator {
    let login = login.map(|(u, p)| (u.to_string(), p.to_string()));
    Simulator::start("127.0.0.1:0".parse().unwrap(), &clip.path, None, login, again).unwrap()
}

fn by(engine: Engine, transport: Transport, url: &str) -> Source {
    Source { engine, transport, ..source(url) }
}

/// Pictures from the first of the clip on: a camera repeats it for ever, so what came is held to the clip repeated.
fn assert_repeats(clip: &Clip, events: &[Event], codec: Codec) {
    let pictures = units(events, codec);
    let got: Vec<_> = pictures
        .iter()
        .flat_map(|u| plain_nals(media::Framing::Length(4), &u.data, codec == Codec::H265))
        // The camera puts the SEI of the configuration before each key frame, beside the parameter sets.
        .filter(|n| codec != Codec::H265 || n[0] >> 1 != 39)
        .collect();
    let start = clip.nals.iter().position(|n| *n == got[0]).expect("a NAL unit of the clip");
    for (i, nal) in got.iter().enumerate() {
        assert!(*nal == clip.nals[(start + i) % clip.nals.len()], "NAL unit {i} of {}", got.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_received_whole_by_every_engine_and_transport() {
    let site = Site::new().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 2, video: H264_B, audio: true }).await;
    for (name, engine, transport) in [
        ("retina-tcp", Engine::Retina, Transport::Tcp),
        ("retina-udp", Engine::Retina, Transport::Udp),
        ("gstreamer-tcp", Engine::GStreamer, Transport::Tcp),
        ("gstreamer-udp", Engine::GStreamer, Transport::Udp),
    ] {
        let camera = camera(&clip, Some(("ad min", "p@ss:w/ord")), true);
        let handle = site.pull_by(by(engine, transport, camera.url()), name);
        let pictures = 2 * clip.pictures + 10;
        site.sink
            .wait(name, name, |e| {
                e.iter().filter(|e| matches!(e, Event::Unit(u, _) if u.track == 1)).count() >= pictures
            })
            .await;
        let status = handle.status();
        handle.stop().await;
        let events = site.sink.events(name);
        assert!(matches!(events.last(), Some(Event::End)), "{name}");
        assert_eq!(discontinuities(&events), Vec::<String>::new(), "{name}");
        assert_repeats(&clip, &events, Codec::H264);
        let s = status.borrow().clone();
        let came = events.iter().filter(|e| matches!(e, Event::Unit(..))).count() as u64;
        assert_eq!(
            (s.state, s.units_in, s.units_out, s.lost, s.connects),
            (State::Stopped, came, came, 0, 1),
            "{name}"
        );
        assert_eq!(tracks(&events)[0].kind, Kind::Video { width: 320, height: 180 }, "{name}");
        assert!(!units(&events, Codec::Aac).is_empty(), "{name}");
        let first = units(&events, Codec::H264).remove(0);
        assert_eq!(first.access, RandomAccess::Idr, "{name}");
        let age = site.world.clock.now().micros() - first.pts * 100 / 9;
        assert!((0..60_000_000).contains(&age), "{name}: the first picture is {age} µs old");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h265_is_received() {
    let site = Site::new().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 1, video: H265, audio: false }).await;
    let camera = camera(&clip, None, true);
    let handle = site.pull(camera.url(), "hevc");
    site.sink.wait("hevc", "pictures", |e| e.len() > 40).await;
    handle.stop().await;
    assert_repeats(&clip, &site.sink.events("hevc"), Codec::H265);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_finds_tracks_and_a_picture() {
    let site = Site::new().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 2, video: H264, audio: true }).await;
    let camera = camera(&clip, Some(("u", "p")), true);
    for engine in [Engine::Retina, Engine::GStreamer] {
        let seen = probe(&site.world, &by(engine, Transport::Auto, camera.url())).await.unwrap();
        assert_eq!(seen.words, "H.264 320×180 and AAC");
        let frame = seen.key_frame.expect("a picture");
        assert_eq!(frame.track.codec, Codec::H264);
        assert!(seen.server.is_some());
        let wrong = camera.url().replace("u:p@", "u:hush@");
        let e = probe(&site.world, &by(engine, Transport::Auto, &wrong)).await.unwrap_err();
        assert_eq!((e.code(), e.may_pass), ("WrongCredentials", false), "{engine:?}: {e}");
        assert!(!format!("{e} {e:?}").contains("hush"));
        let nowhere = camera.url().replace("/main", "/nowhere");
        let e = probe(&site.world, &by(engine, Transport::Auto, &nowhere)).await.unwrap_err();
        assert_eq!(e.code(), "NoSuchPath", "{engine:?}: {e}");
        let closed = format!("rtsp://127.0.0.1:{}/", free_port());
        let e = probe(&site.world, &by(engine, Transport::Auto, &closed)).await.unwrap_err();
        assert_eq!(e.code(), "Unreachable", "{engine:?}: {e}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_comes_back_is_received_again() {
    let site = Site::new().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 2, video: H264, audio: false }).await;
    let camera = camera(&clip, None, true);
    let cable = Cable::to(camera.url().trim_start_matches("rtsp://").trim_end_matches("/main")).await;
    let handle = site.pull(&format!("rtsp://{}/main", cable.address), "door");
    site.sink.wait("door", "pictures", |e| e.len() > 10).await;
    cable.plug(false);
    let mut status = handle.status();
    let failed = status.wait_for(|s| s.state == State::Failed);
    let words = tokio::time::timeout(PATIENCE, failed).await.unwrap().unwrap().detail.clone();
    assert!(words.contains("closed the connection; next attempt in"), "{words}");
    assert!(matches!(site.sink.events("door").last(), Some(Event::End)), "the session was ended cleanly");
    cable.plug(true);
    let opens = |e: &[Event]| e.iter().filter(|e| matches!(e, Event::Open)).count();
    site.sink
        .wait("door", "a second session", |e| opens(e) == 2 && matches!(e.last(), Some(Event::Unit(..))))
        .await;
    assert_eq!(status.borrow().connects, 2);
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_fifty_stops() {
    let site = Site::new().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 2, video: H264, audio: false }).await;
    let camera = camera(&clip, None, true);
    let count = || {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
        (tasks, files)
    };
    // Those that are still connecting as well as those that receive.
    for engine in [Engine::Retina, Engine::GStreamer] {
        let mut before = None;
        for i in 0..26 {
            let name = format!("{engine:?}-{i}");
            let handle = site.pull_by(by(engine, Transport::Tcp, camera.url()), &name);
            if i % 5 == 0 {
                site.sink.wait(&name, "pictures", |e| e.len() > 2).await;
            } else {
                tokio::time::timeout(Duration::from_millis(10 * i), handle.status().changed()).await.ok();
            }
            handle.stop().await;
            // What the first leaves for good (GStreamer's registry and pools) is no leak.
            if i == 0 {
                before = Some(count());
            }
        }
        let (tasks, files) = before.unwrap();
        // Connections that were cut while they were made are closed by their tasks in a moment of their own.
        let settled = async {
            loop {
                let (t, f) = count();
                if t <= tasks && f <= files + 2 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(20), settled).await;
        assert!(settled.is_ok(), "{engine:?}: {:?} after, {:?} before", count(), (tasks, files));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rtsps_is_received_if_its_certificate_may_be_anybodys() {
    let site = Site::new().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 2, video: H264, audio: true }).await;
    let camera = camera(&clip, None, true);
    let far = camera.url().trim_start_matches("rtsp://").trim_end_matches("/main").to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsps://{}/main", listener.local_addr().unwrap());
    let tls = tokio_rustls::TlsAcceptor::from(tls());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (tls, far) = (tls.clone(), far.clone());
            tokio::spawn(async move {
                let Ok(mut near) = tls.accept(near).await else { return };
                let mut far = tokio::net::TcpStream::connect(far).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let wary = site.pull(&url, "wary");
    let mut status = wary.status();
    let rejected = status.wait_for(|s| s.state == State::Rejected);
    let words = tokio::time::timeout(PATIENCE, rejected).await.unwrap().unwrap().detail.clone();
    assert!(words.contains("certificate"), "{words}");
    wary.stop().await;
    let trusting = site.pull_by(Source { tls_insecure: true, ..source(&url) }, "trusting");
    site.sink.wait("trusting", "pictures", |e| e.len() > 100).await;
    trusting.stop().await;
    assert_repeats(&clip, &site.sink.events("trusting"), Codec::H264);
}
