//! What is in the segments, by codec.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use media::fmp4;
use video::Ask;

use crate::{
    common::{self, Camera, NOON, check, rig},
    dir,
};

#[tokio::test]
async fn large_fragments_are_streamed_exactly() {
    // Fragments of some 2 MiB: many sealed chunks, pictures and sound interleaved across their borders.
    let rig = rig().await;
    let mut camera = Camera { len: 41_003, ..Camera::new(NOON) };
    let mut s = rig.session("yard").await;
    s.tracks(camera.tracks()).await.unwrap();
    camera.send(&rig, &mut s, 60).await;
    s.end().await.unwrap();
    let path = rig.play("yard", Ask::default()).await;
    let mut n = 0;
    for track in [1u8, 2] {
        for position in [0, 1] {
            let url = format!("{}/{track}/{position}.m4s", dir(&path));
            let bytes = rig.bytes(&url).await;
            let seg = fmp4::read_segment(&bytes).unwrap();
            for s in &seg.runs[0].samples {
                let got = &bytes[s.offset as usize..(s.offset + u64::from(s.len)) as usize];
                if track == 1 {
                    assert_eq!(got, common::picture(n, n % 50 == 0, 41_003));
                    n += 1;
                }
            }
            let from = bytes.len() / 2;
            let ask = Request::get(&url)
                .header(header::RANGE, format!("bytes={from}-"))
                .body(Body::empty())
                .unwrap();
            assert_eq!(rig.send(ask).await.1.body(), &bytes[from..]);
        }
    }
    assert_eq!(n, 60);
}

#[tokio::test]
async fn annex_b_comes_out_with_lengths() {
    let rig = rig().await;
    let mut track = (*common::h264_track()).clone();
    track.framing = media::Framing::AnnexB;
    let mut s = rig.session("yard").await;
    s.tracks(vec![track.into()]).await.unwrap();
    let mut camera = Camera { audio: false, ..Camera::new(NOON) };
    for _ in 0..60 {
        let (units, at) = camera.units();
        for mut u in units {
            u.data = [&[0, 0, 0, 1, 9, 16, 0, 0, 1], &u.data[4..]].concat().into();
            s.write(u, at).await.unwrap();
        }
    }
    s.end().await.unwrap();
    let path = rig.play("yard", Ask::default()).await;
    let bytes = rig.bytes(&format!("{}/1/0.m4s", dir(&path))).await;
    let seg = fmp4::read_segment(&bytes).unwrap();
    for (n, s) in seg.runs[0].samples.iter().enumerate() {
        let got = &bytes[s.offset as usize..(s.offset + u64::from(s.len)) as usize];
        let want = [&[0, 0, 0, 2, 9, 16][..], &common::picture(n as u64, n % 50 == 0, 500)].concat();
        assert_eq!(got, want);
    }
}

#[tokio::test]
async fn what_mp4_cannot_carry_is_left_out_and_sound_plays_alone() {
    let rig = rig().await;
    let mut camera = Camera::new(NOON);
    let g711 = media::g711_track(3, media::Codec::Pcmu, 8000, 1);
    let mut s = rig.session("yard").await;
    s.tracks(vec![common::h264_track(), g711.into()]).await.unwrap();
    for n in 0..150 {
        let (units, at) = camera.units();
        s.write(units[0].clone(), at).await.unwrap();
        let pts = common::ticks(NOON, 8000) + 320 * n;
        let (access, data) = (media::RandomAccess::Idr, vec![0xff; 320].into());
        let unit = media::AccessUnit { track: 3, pts, dts: None, duration: None, access, data };
        s.write(unit, at).await.unwrap();
    }
    s.end().await.unwrap();
    let path = rig.play("yard", Ask::default()).await;
    let main = rig.text(&path).await;
    assert!(
        !main.contains("AUDIO") && main.contains("CODECS=\"avc1.64000c\",") && main.ends_with("1.m3u8\n"),
        "{main}"
    );
    assert_eq!(rig.get(&format!("{}/3.m3u8", dir(&path))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(rig.get(&format!("{}/3/0.m4s", dir(&path))).await.0, StatusCode::NOT_FOUND);
    let tracks = rig.video.tracks("yard").await.unwrap();
    assert_eq!((tracks.len(), tracks[1].mime.as_deref()), (2, None));

    let mut s = rig.session("bell").await;
    s.tracks(vec![common::aac_track()]).await.unwrap();
    for n in 0..300 {
        let pts = common::ticks(NOON, 48_000) + 1024 * n;
        let (access, data) = (media::RandomAccess::Idr, vec![0x21, 1, 2].into());
        let unit = media::AccessUnit { track: 2, pts, dts: None, duration: None, access, data };
        s.write(unit, NOON).await.unwrap();
    }
    s.end().await.unwrap();
    let path = rig.play("bell", Ask::default()).await;
    let main = rig.text(&path).await;
    assert!(main.contains("CODECS=\"mp4a.40.2\"\n2.m3u8\n") && !main.contains("RESOLUTION"), "{main}");
    let list = check::media(&rig.text(&format!("{}/2.m3u8", dir(&path))).await);
    assert!(list.independent && list.entries.len() == 4);
}

#[tokio::test]
async fn vp9_and_av1_have_playlists_and_vp8_is_refused_with_what_would_do() {
    let rig = rig().await;
    let vp8 = vec![0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00];
    let vp9 = vec![0x82, 0x49, 0x83, 0x42, 0x20, 0x13, 0xf0, 0x0e, 0xf0];
    let av1 = vec![0x0a, 0x0b, 0, 0, 0, 4, 0x3c, 0xff, 0xbc, 0xda, 0xf9, 0, 0x40, 0x32, 1, 0x10];
    for (name, track, key, codecs) in [
        ("vp8", media::vp8::track(1, &vp8), vp8, None),
        ("vp9", media::vp9::track(1, &vp9), vp9, Some("vp09.00.20.08")),
        ("av1", media::av1::track(1, &av1), av1, Some("av01.0.00M.08")),
    ] {
        let track = std::sync::Arc::new(track.unwrap());
        let mut s = rig.session(name).await;
        s.tracks(vec![track.clone()]).await.unwrap();
        for n in 0..150 {
            let pts = common::ticks(NOON, 90_000) + 3600 * n;
            let data: bytes::Bytes = if n % 50 == 0 { key.clone() } else { vec![0xa6, n as u8] }.into();
            let access = media::random_access(&track, &data);
            let unit = media::AccessUnit { track: 1, pts, dts: None, duration: None, access, data };
            s.write(unit, NOON).await.unwrap();
        }
        s.end().await.unwrap();
        let path = rig.play(name, Ask::default()).await;
        let seen = rig.video.tracks(name).await.unwrap();
        let Some(codecs) = codecs else {
            let (status, answer) = rig.get(&path).await;
            let why = String::from_utf8(answer.into_body().to_vec()).unwrap();
            assert_eq!(status, StatusCode::NOT_FOUND);
            assert!(why.contains("VP8") && why.contains("WHEP"), "{why}");
            assert_eq!(rig.get(&format!("{}/1.m3u8", dir(&path))).await.0, StatusCode::NOT_FOUND);
            assert_eq!(rig.get(&format!("{}/1/0.m4s", dir(&path))).await.0, StatusCode::NOT_FOUND);
            assert_eq!(seen[0].mime, None);
            continue;
        };
        let main = rig.text(&path).await;
        assert!(main.contains(&format!("CODECS=\"{codecs}\",RESOLUTION=320x240")), "{main}");
        assert_eq!(seen[0].mime, Some(format!("video/mp4; codecs=\"{codecs}\"")));
        let list = check::media(&rig.text(&format!("{}/1.m3u8", dir(&path))).await);
        assert!(list.independent && list.entries.len() == 3);
        let init = rig.bytes(&format!("{}/{}", dir(&path), list.entries[0].map)).await;
        assert_eq!(fmp4::read_init(&init).unwrap(), [(*track).clone()]);
        let bytes = rig.bytes(&format!("{}/{}", dir(&path), list.entries[1].uri)).await;
        let first = &fmp4::read_segment(&bytes).unwrap().runs[0].samples[0];
        assert_eq!(bytes[first.offset as usize..][..first.len as usize], key);
    }
}
