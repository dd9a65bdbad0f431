//! What these tests share: clips by FFmpeg's own command, a clock, workers.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its own part, and fails as tests do"
)]

use std::{
    ffi::OsString,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use frames::{Format, Frames, Job, Options, Picture};
use media::{Codec, Framing};
use world::World;

/// The worker of these tests (an example of this crate, which `cargo test -p frames` builds).
pub fn worker() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/frames-worker");
    assert!(path.exists(), "{} is missing: run `cargo build -p frames --examples`", path.display());
    path
}

pub fn options() -> Options {
    // Longer than the product's: these tests share a machine with whatever else is being built on it.
    Options { timeout: Duration::from_secs(60), ..Options::new([worker()]) }
}

pub fn frames(options: Options) -> Arc<Frames> {
    Frames::new(World::real("."), options)
}

/// Workers run by a shell script; `$W` is the real one, `$HELLO` prints the greeting.
pub fn script(text: &str) -> Vec<OsString> {
    let start =
        format!("W='{}'; HELLO() {{ printf '\\017\\000\\000\\000rushes frames 5'; }}; ", worker().display());
    vec!["sh".into(), "-c".into(), (start + text).into()]
}

/// Runs `ffmpeg` with these arguments, `input` on its standard input; what it wrote on standard output.
pub fn ffmpeg(arguments: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-loglevel", "error"])
        .args(arguments.split_whitespace())
        .arg("pipe:1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(out.status.success(), "ffmpeg {arguments}: {}", out.status);
    out.stdout
}

/// `count` pictures as an H.264 byte stream with one key frame.
pub fn h264(source: &str, count: u32) -> Bytes {
    ffmpeg(
        &format!(
            "-f lavfi -i {source} -frames:v {count} -c:v libx264 -preset ultrafast -crf 18 -g 1000 -f h264"
        ),
        &[],
    )
    .into()
}

pub fn job(data: Bytes) -> Job {
    Job {
        codec: Codec::H264,
        config: Bytes::new(),
        framing: Framing::AnnexB,
        data,
        width: None,
        height: None,
        format: Format::Jpeg { quality: 95 },
    }
}

/// A picture's pixels, three bytes each.
pub fn pixels(p: &Picture) -> Vec<u8> {
    let out = ffmpeg("-f mjpeg -i pipe:0 -f rawvideo -pix_fmt rgb24", &p.bytes);
    assert_eq!(out.len(), 3 * usize::from(p.width) * usize::from(p.height), "the size that the JPEG has");
    out
}

/// Peak signal-to-noise ratio in dB.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / square.max(1e-9)).log10()
}

/// Polls until `done`, at most a minute.
pub async fn wait_until(what: &str, done: impl Fn() -> bool) {
    let clock = World::real(".").clock;
    let end = clock.monotonic() + Duration::from_secs(60);
    while !done() {
        assert!(clock.monotonic() < end, "waited in vain until {what}");
        clock.sleep(Duration::from_millis(5)).await;
    }
}
