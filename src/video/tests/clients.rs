//! Through clients that we did not write: FFmpeg and GStreamer read what is served, without a warning, and every NAL
//! unit and AAC frame of what was published comes out of FFmpeg, in order, bit-exact (parameter sets, delimiters and
//! filler aside).
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use axum::{
    extract::Request,
    middleware::{Next, from_fn},
};
use bytes::Bytes;
use common::{NOON, Rig, aac_track, rig};
use media::{AccessUnit, Codec, Framing, Kind, RandomAccess, Track};
use tokio::{process::Command, sync::Notify};
use video::{Ask, Session};
use world::Timestamp;

async fn tool(program: &str, args: &[&str]) -> (bool, Vec<u8>, String) {
    let out = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|e| panic!("{program}: {e} (`make test` installs it)"));
    (out.status.success(), out.stdout, String::from_utf8_lossy(&out.stderr).into_owned())
}

/// What FFmpeg made: two tracks and their units in the order in which they lie in the file.
struct Clip {
    video: Arc<Track>,
    units: Vec<AccessUnit>,
}

/// Makes a clip of so many seconds with x264's `options`; times begin at `start`. Pictures come without decode times, as
/// from RTP.
async fn clip(dir: &Path, seconds: u32, options: &[&str], start: Timestamp) -> Clip {
    let path = dir.join("clip.mp4");
    let path = path.to_str().unwrap();
    let duration = seconds.to_string();
    let mut args =
        vec!["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i"];
    args.extend([
        "sine=frequency=440:sample_rate=48000",
        "-t",
        &duration,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
    ]);
    args.extend(["-pix_fmt", "yuv420p", "-video_track_timescale", "90000"]);
    args.extend(options);
    args.extend(["-c:a", "aac", "-ac", "2", "-b:a", "64k", path]);
    let (ok, _, err) = tool("ffmpeg", &args).await;
    assert!(ok, "{err}");
    let file = Bytes::from(std::fs::read(path).unwrap());
    let at = file.windows(4).position(|w| w == b"avcC").unwrap();
    let len = u32::from_be_bytes(file[at - 4..at].try_into().unwrap()) as usize;
    let video = Arc::new(Track {
        id: 1,
        codec: Codec::H264,
        kind: Kind::Video { width: 320, height: 180 },
        timescale: 90_000,
        framing: Framing::Length(4),
        config: file.slice(at + 4..at - 4 + len),
    });
    let entries = "packet=stream_index,pts,size,pos,flags";
    let (_, list, _) =
        tool("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv=p=0", path]).await;
    let mut units: Vec<(usize, AccessUnit)> = String::from_utf8(list)
        .unwrap()
        .lines()
        .map(|l| l.split(',').collect::<Vec<_>>())
        // Side data have lines of their own.
        .filter(|f| f.len() > 4)
        .map(|f| {
            let (track, scale) = if f[0] == "0" { (1, 90_000) } else { (2, 48_000) };
            let (size, pos): (usize, usize) = (f[2].parse().unwrap(), f[3].parse().unwrap());
            let key = f[4].starts_with('K');
            let unit = AccessUnit {
                track,
                pts: common::ticks(start, scale) + f[1].parse::<i64>().unwrap(),
                dts: None,
                duration: None,
                access: if key { RandomAccess::Idr } else { RandomAccess::None },
                data: file.slice(pos..pos + size),
            };
            (pos, unit)
        })
        .collect();
    units.sort_by_key(|(pos, _)| *pos);
    Clip { video, units: units.into_iter().map(|(_, u)| u).collect() }
}

impl Clip {
    async fn publish(&self, rig: &Rig, s: &mut Session) {
        s.tracks(vec![self.video.clone(), aac_track()]).await.unwrap();
        for u in &self.units {
            let scale = if u.track == 1 { 90_000 } else { 48_000 };
            rig.set(rig.now().max(video::index::time_of(u.pts, scale)));
            s.write(u.clone(), rig.now()).await.unwrap();
        }
    }
    /// NAL units but parameter sets, delimiters and filler.
    fn nals(&self) -> Vec<Vec<u8>> {
        let video = self.units.iter().filter(|u| u.track == 1);
        video.flat_map(|u| nals(Framing::Length(4), &u.data)).collect()
    }
    fn sound(&self) -> Vec<Bytes> {
        self.units.iter().filter(|u| u.track == 2).map(|u| u.data.clone()).collect()
    }
}

fn nals(framing: Framing, data: &[u8]) -> Vec<Vec<u8>> {
    let all = media::nals(framing, data).map(|n| n.unwrap().to_vec());
    all.filter(|n| !matches!(n[0] & 31, 7 | 8 | 9 | 12)).collect()
}

fn adts(mut data: &[u8]) -> Vec<Bytes> {
    let mut out = Vec::new();
    while data.len() >= 7 {
        assert_eq!((data[0], data[1] & 0xf6), (0xff, 0xf0), "ADTS sync");
        let len = usize::from(data[3] & 3) << 11 | usize::from(data[4]) << 3 | usize::from(data[5]) >> 5;
        let head = if data[1] & 1 == 1 { 7 } else { 9 };
        out.push(Bytes::copy_from_slice(&data[head..len]));
        data = &data[len..];
    }
    out
}

/// Serves the router on a free port.
async fn serve(rig: &Rig) -> String {
    serve_told(rig, Arc::default()).await
}

/// The same, telling whenever a media segment is asked for.
async fn serve_told(rig: &Rig, told: Arc<Notify>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let tell = move |req: Request, next: Next| {
        let told = told.clone();
        async move {
            let segment = req.uri().path().ends_with(".m4s");
            let answer = next.run(req).await;
            if segment {
                told.notify_one();
            }
            answer
        }
    };
    let router = video::router(rig.video.clone()).layer(from_fn(tell));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{at}")
}

/// FFmpeg reads it all and says nothing; what was published comes out.
async fn ffmpeg_reads(dir: &Path, url: &str, clips: &[&Clip]) {
    let (h264, aac) = (dir.join("out.h264"), dir.join("out.aac"));
    let (video, sound) = (h264.to_str().unwrap(), aac.to_str().unwrap());
    let (ok, _, err) = tool("ffprobe", &["-v", "warning", "-show_streams", url]).await;
    assert!(ok && err.is_empty(), "ffprobe: {err}");
    let mut args =
        vec!["-v", "warning", "-xerror", "-y", "-i", url, "-map", "0:v", "-c", "copy", "-f", "h264", video];
    args.extend(["-map", "0:a", "-c", "copy", "-f", "adts", sound]);
    let (ok, _, err) = tool("ffmpeg", &args).await;
    assert!(ok && err.is_empty(), "ffmpeg: {err}");
    let want: Vec<_> = clips.iter().flat_map(|c| c.nals()).collect();
    let got = nals(Framing::AnnexB, &std::fs::read(&h264).unwrap());
    assert_eq!(got.len(), want.len());
    assert!(got == want, "NAL units differ");
    let want: Vec<_> = clips.iter().flat_map(|c| c.sound()).collect();
    assert!(adts(&std::fs::read(&aac).unwrap()) == want, "AAC frames differ");
    // Decoding finds nothing wrong either.
    let (ok, _, err) = tool("ffmpeg", &["-v", "warning", "-xerror", "-i", url, "-f", "null", "-"]).await;
    assert!(ok && err.is_empty(), "ffmpeg decoding: {err}");
}

async fn gstreamer_reads(url: &str) {
    let uri = format!("uri={url}");
    let video = "video-sink=fakesink sync=false";
    let args = ["-q", "playbin3", &uri, video, "audio-sink=fakesink sync=false"];
    let (ok, out, err) = tool("gst-launch-1.0", &args).await;
    let said = String::from_utf8_lossy(&out);
    assert!(ok && err.is_empty() && said.is_empty(), "gst-launch: {err}{said}");
}

fn on_demand(seconds: u64) -> Ask {
    Ask { from: Some(NOON), to: Some(NOON + Duration::from_secs(seconds)), ..Ask::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_with_and_without_reordering() {
    for (name, options) in [
        ("no reordering", ["-g", "50", "-bf", "0", "-sc_threshold", "0"]),
        ("reordering", ["-g", "50", "-bf", "2", "-b_strategy", "0"]),
    ] {
        let (rig, dir) = (rig().await, tempfile::tempdir().unwrap());
        let clip = clip(dir.path(), 9, &options, NOON).await;
        let mut s = rig.session("yard").await;
        clip.publish(&rig, &mut s).await;
        s.end().await.unwrap();
        let status = rig.video.ingest_status("yard").unwrap();
        assert_eq!(
            (status.units_in, status.units_out),
            (clip.units.len() as u64, clip.units.len() as u64),
            "{name}"
        );
        rig.set(NOON + Duration::from_secs(60));
        let url = serve(&rig).await + &rig.play("yard", on_demand(30)).await;
        ffmpeg_reads(dir.path(), &url, &[&clip]).await;
        gstreamer_reads(&url).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn across_a_gap_between_two_sessions() {
    let (rig, dir) = (rig().await, tempfile::tempdir().unwrap());
    let options = ["-g", "50", "-bf", "0"];
    let one = clip(dir.path(), 5, &options, NOON).await;
    let two = clip(dir.path(), 5, &options, NOON + Duration::from_secs(3600)).await;
    for c in [&one, &two] {
        let mut s = rig.session("yard").await;
        c.publish(&rig, &mut s).await;
        s.end().await.unwrap();
    }
    rig.set(NOON + Duration::from_secs(4000));
    let url = serve(&rig).await + &rig.play("yard", on_demand(4000)).await;
    ffmpeg_reads(dir.path(), &url, &[&one, &two]).await;
    gstreamer_reads(&url).await;
}

/// A player that joins while it is being recorded, and stays to the end.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_while_it_grows() {
    let (rig, dir) = (rig().await, tempfile::tempdir().unwrap());
    let clip = clip(dir.path(), 12, &["-g", "25", "-bf", "0"], NOON).await;
    let mut s = rig.session("yard").await;
    let half = Clip { video: clip.video.clone(), units: clip.units[..clip.units.len() / 2].to_vec() };
    let rest = Clip { video: clip.video.clone(), units: clip.units[clip.units.len() / 2..].to_vec() };
    half.publish(&rig, &mut s).await;
    let ask = Ask { mode: Some(video::Mode::Event), ..on_demand(12) };
    let told = Arc::new(Notify::new());
    let url = serve_told(&rig, told.clone()).await + &rig.play("yard", ask).await;
    let out = dir.path().join("live.h264");
    let args = [
        "-v",
        "warning",
        "-y",
        "-live_start_index",
        "0",
        "-i",
        &url,
        "-map",
        "0:v",
        "-c",
        "copy",
        "-f",
        "h264",
    ];
    let player = Command::new("ffmpeg")
        .args(args)
        .arg(&out)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    told.notified().await;
    rest.publish(&rig, &mut s).await;
    s.end().await.unwrap();
    // The event is over: its playlist says so at the player's next look.
    rig.set(NOON + Duration::from_secs(60));
    let done = player.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    // FFmpeg (5.1 to 7 at least) reads the initialisation segment anew after each look at a playlist that grows,
    // whoever made it, and then says so.
    let other = said
        .lines()
        .find(|l| !l.contains("Found duplicated MOOV Atom") && !l.contains("Last message repeated"));
    assert!(done.status.success() && other.is_none(), "{said}");
    assert!(nals(Framing::AnnexB, &std::fs::read(&out).unwrap()) == clip.nals());
}
