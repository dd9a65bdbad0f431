use std::net::SocketAddr;
use std::time::Duration;

use capture::State;
use media::{Codec, Kind};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::watch;

use crate::support::*;

fn url(server: SocketAddr, stream: &str) -> String {
    let enc = |s| utf8_percent_encode(s, NON_ALPHANUMERIC).to_string();
    format!("rtsp://{}:{}@{server}/{stream}", enc(KEY.0), enc(KEY.1))
}

async fn by_ffmpeg(clip: &Clip, url: &str, transport: &str, pace: &[&str]) {
    let mut args = pace.to_vec();
    args.extend(["-i", clip.path(), "-c", "copy", "-f", "rtsp", "-rtsp_transport", transport, url]);
    ffmpeg(&args).await;
}

/// As fast as it can, FFmpeg sends a clip and its TEARDOWN in a few milliseconds: nothing of it may be lost then.
#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_over_tcp_loses_nothing() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 6, video: H264_B, audio: true }).await;
    assert_eq!(clip.pictures, 150);
    for round in 0..5 {
        let stream = format!("tcp-{round}");
        by_ffmpeg(&clip, &url(server.local_addr(), &stream), "tcp", &[]).await;
        clip.assert_received(&site.sink.ended(&stream).await, Codec::H264, FFMPEG_KEEPS);
    }
    let events = site.sink.events("tcp-0");
    let tracks = tracks(&events);
    assert_eq!(tracks[0].kind, Kind::Video { width: 320, height: 180 });
    assert_eq!(tracks[1].kind, Kind::Audio { rate: 48_000, channels: 2 });
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_over_udp_loses_nothing() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 3, video: H264_B, audio: true }).await;
    by_ffmpeg(&clip, &url(server.local_addr(), "udp"), "udp", &["-re"]).await;
    clip.assert_received(&site.sink.ended("udp").await, Codec::H264, FFMPEG_KEEPS);
}

#[tokio::test(flavor = "multi_thread")]
async fn h265_comes_through() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 2, video: H265, audio: false }).await;
    by_ffmpeg(&clip, &url(server.local_addr(), "hevc"), "tcp", &[]).await;
    let events = site.sink.ended("hevc").await;
    clip.assert_received(&events, Codec::H265, 0);
    assert_eq!(tracks(&events)[0].kind, Kind::Video { width: 320, height: 180 });
}

#[tokio::test(flavor = "multi_thread")]
async fn rtspclientsink_loses_nothing() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 3, video: H264_B, audio: true }).await;
    for protocol in ["tcp", "udp"] {
        let mut gst = Command::new("gst-launch-1.0");
        let line = format!(
            "-q filesrc location={} ! qtdemux name=d rtspclientsink name=s protocols={protocol} location={} \
             d.video_0 ! queue ! h264parse ! s. d.audio_0 ! queue ! aacparse ! s.",
            clip.path(),
            url(server.local_addr(), protocol),
        );
        gst.args(line.split_ascii_whitespace());
        let mut client = start(gst);
        let pictures =
            |e: &[Event]| e.iter().filter(|e| matches!(e, Event::Unit(u, _) if u.track == 1)).count();
        site.sink.wait(protocol, "the last picture", |e| pictures(e) == clip.pictures).await;
        // Version 1.22 does not always come to its end, whatever the server: one run in twelve against
        // gst-rtsp-server does not. Then it is cut off, and what it sent must be there all the same.
        if tokio::time::timeout(Duration::from_secs(10), client.wait()).await.is_err() {
            client.kill().await.unwrap();
        }
        clip.assert_received(&site.sink.ended(protocol).await, Codec::H264, GSTREAMER_KEEPS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_the_servers_and_advance_by_the_media() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 2, video: H264, audio: true }).await;
    let before = site.world.clock.now();
    by_ffmpeg(&clip, &url(server.local_addr(), "times"), "tcp", &["-re"]).await;
    let events = site.sink.ended("times").await;
    let pictures = units(&events, Codec::H264);
    let first = pictures[0].pts * 100 / 9;
    let after_start = first - before.micros();
    assert!((-500_000..10_000_000).contains(&after_start), "{after_start} µs after the start");
    for pair in pictures.windows(2) {
        let step = pair[1].pts - pair[0].pts;
        assert!((3600 - 19..=3600 + 19).contains(&step), "25 pictures a second: {step}");
    }
    // Sound of the same moment stands at the same time.
    let sounds = units(&events, Codec::Aac);
    let apart = sounds[0].pts as f64 / 48_000.0 - pictures[0].pts as f64 / 90_000.0;
    assert!(apart.abs() < 0.1, "{apart} s");
    assert!(sounds.iter().all(|s| s.duration == Some(1024)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_publishes_to_its_stream_alone() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 1, video: H264, audio: false }).await;
    let token = site.gate.publish_token("mine").await.unwrap();
    let at = server.local_addr();
    by_ffmpeg(&clip, &format!("rtsp://{token}:@{at}/mine"), "tcp", &[]).await;
    site.sink.ended("mine").await;
    for (bad, words) in [
        (format!("rtsp://{token}:@{at}/other"), "403"),
        (format!("rtsp://{}:wrong@{at}/mine", KEY.0), "401"),
        (format!("rtsp://{at}/mine"), "401"),
        (url(at, "not%20a%20name"), "404"),
        (url(at, "refused"), ""),
    ] {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args([
            "-v",
            "error",
            "-i",
            clip.path(),
            "-c",
            "copy",
            "-f",
            "rtsp",
            "-rtsp_transport",
            "tcp",
            &bad,
        ]);
        let out = ffmpeg.kill_on_drop(true).output().await.unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(words), "{bad}: {said}");
    }
    assert!(site.sink.events("other").is_empty());
    assert_eq!(site.sink.events("mine").iter().filter(|e| matches!(e, Event::Open)).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_to_watch_is_told_where() {
    let site = Site::new().await;
    let server = site.server().await;
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-rtsp_transport", "tcp", &url(server.local_addr(), "x")]);
    let out = probe.output().await.unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("405"), "{said}");
}

/// A camera that was cut off comes back while its dead connection is still there.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_publisher_wins() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 4, video: H264, audio: false }).await;
    let to = url(server.local_addr(), "door");
    let mut first = Command::new("ffmpeg");
    first.args(["-v", "error", "-re", "-stream_loop", "-1", "-i", clip.path(), "-c", "copy"]);
    first.args(["-f", "rtsp", "-rtsp_transport", "tcp", &to]);
    let mut first = start(first);
    site.sink.wait("door", "units", |e| e.len() > 20).await;
    assert_eq!(server.sessions().len(), 1);
    assert_eq!(server.status("door").unwrap().state, State::Running);
    by_ffmpeg(&clip, &to, "tcp", &[]).await;
    first.wait().await.unwrap();
    let events = site
        .sink
        .wait("door", "two ends", |e| e.iter().filter(|e| matches!(e, Event::End)).count() == 2)
        .await;
    let second = events.iter().rposition(|e| matches!(e, Event::Open)).unwrap();
    assert!(matches!(events[second - 1], Event::End), "the first had ended before the second began");
    clip.assert_received(&events[second..], Codec::H264, FFMPEG_KEEPS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sink_slows_a_tcp_publisher_and_loses_nothing() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 30, video: H264, audio: false }).await;
    let mut first = Command::new("ffmpeg");
    first.args(["-v", "error", "-i", clip.path(), "-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]);
    first.arg(url(server.local_addr(), "slow"));
    site.sink.gate(false);
    let mut ffmpeg = start(first);
    site.sink.wait("slow", "tracks", |e| e.len() == 2).await;
    site.sink.gate(true);
    ffmpeg.wait().await.unwrap();
    clip.assert_received(&site.sink.ended("slow").await, Codec::H264, FFMPEG_KEEPS);
}

#[tokio::test(flavor = "multi_thread")]
async fn rtsps_is_spoken() {
    let site = Site::new().await;
    let server = site.server().await;
    let at = server.listen_tls("127.0.0.1:0".parse().unwrap(), tls()).await.unwrap();
    let clip = clip(site.dir.path(), Recipe { seconds: 2, video: H264, audio: false }).await;
    let to = url(at, "tls").replace("rtsp://", "rtsps://");
    // Not by rtspclientsink, which over TLS gives up in mid-packet now and then ("Received end-of-file" in sending).
    by_ffmpeg(&clip, &to, "tcp", &["-re"]).await;
    clip.assert_received(&site.sink.ended("tls").await, Codec::H264, FFMPEG_KEEPS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_stores_what_came_and_frees_the_port() {
    let site = Site::new().await;
    let server = site.server().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 4, video: H264, audio: false }).await;
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args([
        "-v",
        "error",
        "-re",
        "-i",
        clip.path(),
        "-c",
        "copy",
        "-f",
        "rtsp",
        "-rtsp_transport",
        "tcp",
    ]);
    ffmpeg.arg(url(server.local_addr(), "door"));
    let _ffmpeg = start(ffmpeg);
    site.sink.wait("door", "units", |e| e.len() > 10).await;
    let at = server.local_addr();
    let taken = capture::push::Server::start(site.world.clone(), at, site.admit(), site.sink.clone()).await;
    let words = taken.err().unwrap().to_string();
    assert!(words.contains(&at.to_string()) && words.contains("in use"), "{words}");
    server.stop().await;
    assert!(matches!(site.sink.events("door").last(), Some(Event::End)));
    assert!(server.sessions().is_empty());
    capture::push::Server::start(site.world.clone(), at, site.admit(), site.sink.clone()).await.unwrap();
}

/// What a publisher asks for that will send packets from this UDP port.
fn asked(stream: &str, port: u16) -> [String; 3] {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", KEY.0, KEY.1));
    let sdp = "v=0\r\nm=audio 0 RTP/AVP 8\r\na=control:a\r\n";
    [
        format!(
            "ANNOUNCE rtsp://h/{stream} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Basic {auth}\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        ),
        format!(
            "SETUP rtsp://h/{stream}/a RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP;unicast;client_port={port}-{};mode=record\r\n\r\n",
            port + 1
        ),
        format!("RECORD rtsp://h/{stream} RTSP/1.0\r\nCSeq: 3\r\n\r\n"),
    ]
}

/// A publisher by hand: as much as it takes to have UDP ports to send to.
async fn by_hand(server: SocketAddr, stream: &str) -> (tokio::net::TcpStream, tokio::net::UdpSocket) {
    let mut tcp = tokio::net::TcpStream::connect(server).await.unwrap();
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut to = 0;
    for request in asked(stream, udp.local_addr().unwrap().port()) {
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 2000];
        let n = tcp.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..n]).into_owned();
        assert!(answer.starts_with("RTSP/1.0 200"), "{answer}");
        if let Some((_, rest)) = answer.split_once("server_port=") {
            to = rest.split('-').next().unwrap().parse().unwrap();
        }
    }
    udp.connect((server.ip(), to)).await.unwrap();
    (tcp, udp)
}

/// The first of those that it sends.
fn packet() -> Vec<u8> {
    [&[0x80, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0x55; 160]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sink_costs_a_udp_publisher_what_does_not_fit_and_it_is_counted() {
    let site = Site::new().await;
    let server = site.server().await;
    let (tcp, udp) = by_hand(server.local_addr(), "flood").await;
    site.sink.gate(false);
    const SENT: u32 = 12_000;
    for i in 0..SENT {
        let mut packet = vec![0x80, 8];
        packet.extend((i as u16).to_be_bytes());
        packet.extend((i * 160).to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend([0x55; 160]);
        udp.send(&packet).await.unwrap();
        if i % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    site.sink.gate(true);
    // A last one, which shows what is missing before it.
    let more = async {
        let mut i = SENT;
        loop {
            let mut packet = vec![0x80, 8];
            packet.extend((i as u16).to_be_bytes());
            packet.extend((i * 160).to_be_bytes());
            packet.extend([0, 0, 0, 1, 0x55]);
            udp.send(&packet).await.unwrap();
            i += 1;
            site.world.clock.sleep(Duration::from_millis(50)).await;
        }
    };
    let counted = async {
        loop {
            // All that was sent is in one count or the other, but for what the last gap of all hides.
            if let Some(s) = server.status("flood").filter(|s| s.lost > 0)
                && u64::from(SENT) <= s.units_in + s.lost + 300
            {
                return s;
            }
            tokio::task::yield_now().await;
        }
    };
    let status = tokio::select! {
        _ = more => unreachable!(),
        s = tokio::time::timeout(PATIENCE, counted) => s.unwrap(),
    };
    assert!(status.units_out >= 4096, "what fits is kept: {}", status.units_out);
    drop(tcp);
    let events = site.sink.ended("flood").await;
    assert!(discontinuities(&events)[0].contains("packets lost"), "{:?}", discontinuities(&events));
}

/// As rtspclientsink does, whose RTCP may come after its TEARDOWN.
#[tokio::test(flavor = "multi_thread")]
async fn who_still_sends_after_teardown_has_its_answer() {
    let site = Site::new().await;
    let server = site.server().await;
    let (tcp, udp) = by_hand(server.local_addr(), "late").await;
    udp.send(&packet()).await.unwrap();
    site.sink.wait("late", "a unit", |e| matches!(e.last(), Some(Event::Unit(..)))).await;
    let (mut from, mut to) = tcp.into_split();
    let mut sent = b"TEARDOWN rtsp://h/late RTSP/1.0\r\nCSeq: 4\r\n\r\n".to_vec();
    for _ in 0..2000 {
        sent.extend(b"$\x01\x04\x00");
        sent.extend([0; 1024]);
    }
    let sending = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to
    });
    let mut answer = Vec::new();
    from.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("RTSP/1.0 200 OK\r\nCSeq: 4\r\n"), "{answer}");
    let mut to = tokio::time::timeout(PATIENCE, sending).await.unwrap().unwrap();
    to.write_all(b"$").await.unwrap();
    site.sink.ended("late").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_in_mid_stream_has_its_answer_though_it_still_sends() {
    let site = Site::new().await;
    let server = site.server().await;
    for (stream, words) in [("full", "nothing more is taken"), ("ended", "ended by the server")] {
        let (tcp, udp) = by_hand(server.local_addr(), stream).await;
        let (mut from, mut to) = tcp.into_split();
        let (answered, until) = watch::channel(false);
        let sending = tokio::spawn(async move {
            let frames = [&b"$\x01\x04\x00"[..], &[0; 1024]].concat().repeat(64);
            let mut more = 32;
            while more > 0 {
                to.write_all(&frames).await.unwrap();
                more -= i32::from(*until.borrow());
            }
        });
        udp.send(&packet()).await.unwrap();
        if stream == "ended" {
            site.sink.wait(stream, "a unit", |e| matches!(e.last(), Some(Event::Unit(..)))).await;
            server.end(stream);
        }
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, from.read_to_string(&mut answer));
        read.await.expect("an answer and an end").unwrap();
        assert!(answer.starts_with(&format!("RTSP/1.0 400 {words}\r\n")), "{answer}");
        // Two megabytes more go through.
        answered.send_replace(true);
        tokio::time::timeout(PATIENCE, sending).await.unwrap().unwrap();
        site.sink.ended(stream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_record_is_told_once() {
    let site = Site::new().await;
    let server = site.server().await;
    let mut tcp = tokio::net::TcpStream::connect(server.local_addr()).await.unwrap();
    for request in asked("refused", 40_000) {
        tcp.write_all(request.as_bytes()).await.unwrap();
    }
    let mut answers = String::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_string(&mut answers)).await.expect("an end").unwrap();
    let lines: Vec<_> = answers.lines().filter(|l| l.starts_with("RTSP/")).collect();
    assert_eq!(lines, ["RTSP/1.0 200 OK", "RTSP/1.0 200 OK", "RTSP/1.0 503 this stream takes nothing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_udp_publisher_is_given_up_when_its_connection_is() {
    let site = Site::new().await;
    let server = site.server().await;
    let (tcp, udp) = by_hand(server.local_addr(), "gone").await;
    udp.send(&packet()).await.unwrap();
    site.sink.wait("gone", "a unit", |e| matches!(e.last(), Some(Event::Unit(..)))).await;
    drop(tcp);
    site.sink.ended("gone").await;
    // The sink hears of the end a moment before the server forgets the session.
    let forgotten = async {
        while server.status("gone").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("the session is forgotten");
}
