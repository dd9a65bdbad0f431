use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use camera::Simulator;
use capture::{State, probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

/// A peer that does what it is told with every connection; says where it is.
async fn peer<F>(conduct: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsp://user:hush@{}/main", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(conduct(socket));
        }
    });
    url
}

/// A camera of few words: answers DESCRIBE, SETUP and PLAY over TCP, then sends these bytes and holds the line.
async fn camera(sdp: &'static str, media: Vec<u8>) -> String {
    let media = Arc::new(media);
    peer(move |mut s| {
        let media = media.clone();
        async move {
            let mut have = Vec::new();
            let mut buf = [0; 4096];
            while let Ok(n) = s.read(&mut buf).await {
                if n == 0 {
                    return;
                }
                have.extend_from_slice(&buf[..n]);
                while let Some(end) = have.windows(4).position(|w| w == b"\r\n\r\n") {
                    let text = String::from_utf8_lossy(&have[..end]).into_owned();
                    have.drain(..end + 4);
                    let cseq = text.lines().find_map(|l| l.strip_prefix("CSeq: ")).unwrap_or("0");
                    let mut answer = format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1\r\n");
                    match text.split(' ').next().unwrap() {
                        "DESCRIBE" => {
                            answer += &format!(
                                "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
                                sdp.len()
                            );
                        }
                        "SETUP" => answer += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
                        _ => answer += "\r\n",
                    }
                    if s.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                    if text.starts_with("PLAY") && s.write_all(&media).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await
}

async fn state(site: &Site, url: &str, stream: &str, state: State) -> String {
    let handle = site.pull(url, stream);
    let mut status = handle.status();
    let wait = status.wait_for(|s| s.state == state);
    let words = match tokio::time::timeout(PATIENCE, wait).await {
        Ok(s) => s.unwrap().detail.clone(),
        Err(_) => panic!("waited for {state:?}, is {:?}", handle.status().borrow().clone()),
    };
    assert!(!words.contains("hush"), "{words}");
    handle.stop().await;
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_words() {
    let site = Site::new().await;
    let clip = clip(site.dir.path(), Recipe { seconds: 1, video: H264, audio: false }).await;
    let login = Some(("user".to_string(), "secret".to_string()));
    let good = Simulator::start("127.0.0.1:0".parse().unwrap(), &clip.path, None, login, true).unwrap();
    let wrong = good.url().replace("secret", "hush");
    let words = state(&site, &wrong, "credentials", State::Rejected).await;
    assert!(words.contains("refused the user name or password"), "{words}");
    let words = state(&site, &good.url().replace("user:secret@", ""), "none", State::Rejected).await;
    assert!(words.contains("asks for a user name and password"), "{words}");
    let words = state(&site, &good.url().replace("/main", "/nowhere"), "path", State::Rejected).await;
    assert!(words.contains("nothing at this path"), "{words}");
    let words = state(&site, &format!("rtsp://127.0.0.1:{}/", free_port()), "closed", State::Failed).await;
    assert!(words.contains("refused"), "{words}");
    let words = state(&site, "rtsp://no-such-host.invalid/", "host", State::Failed).await;
    assert!(words.contains("no such host"), "{words}");
    let words = state(&site, "http://127.0.0.1/", "scheme", State::Rejected).await;
    assert!(words.contains("http://"), "{words}");
    let jpeg = camera("v=0\r\nm=video 0 RTP/AVP 26\r\na=control:x\r\n", vec![]).await;
    let words = state(&site, &jpeg, "codec", State::Rejected).await;
    assert!(words.contains("JPEG video cannot be received"), "{words}");
    // Through all of that a good camera goes on, and none of the sick ever opened a session.
    let handle = site.pull(good.url(), "good");
    site.sink.wait("good", "pictures", |e| e.len() > 10).await;
    handle.stop().await;
    for stream in ["credentials", "none", "path", "closed", "host", "scheme", "codec"] {
        assert!(site.sink.events(stream).is_empty(), "{stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_camera() {
    let site = Site::new().await;
    let world = site.world.clone();
    let random = peer(move |mut s| {
        let world = world.clone();
        async move {
            let mut junk = vec![0; 100_000];
            world.entropy.fill(&mut junk);
            let _ = s.write_all(&junk).await;
            // Until the other side has had enough.
            let _ = s.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let words = state(&site, &random, "random", State::Failed).await;
    assert!(words.contains("does not speak RTSP"), "{words}");
    let web = peer(|mut s| async move {
        let _ = s.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _ = s.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let words = state(&site, &web, "web", State::Failed).await;
    assert!(words.contains("does not speak RTSP") || words.contains("closed"), "{words}");
    let shut = peer(|s| async move { drop(s) }).await;
    let words = state(&site, &shut, "shut", State::Failed).await;
    assert!(words.contains("closed the connection"), "{words}");
}

const H264_SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:x\r\n";

fn frame(packet: &[u8]) -> Vec<u8> {
    let mut f = vec![b'$', 0];
    f.extend((packet.len() as u16).to_be_bytes());
    f.extend(packet);
    f
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_sends_nonsense_is_left_alone_and_tried_again() {
    let site = Site::new().await;
    let nonsense: Vec<u8> = (0..200u8).flat_map(|i| frame(&[i; 30])).collect();
    let url = camera(H264_SDP, nonsense).await;
    let words = state(&site, &url, "nonsense", State::Failed).await;
    assert!(words.contains("next attempt"), "{words}");
    assert!(site.sink.events("nonsense").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_dribbles_or_says_nothing_stalls() {
    let site = Site::new().await;
    let silent = camera(H264_SDP, vec![]).await;
    // Half of a packet, and never the rest.
    let dribbling = camera(H264_SDP, frame(&[0x80; 40])[..20].to_vec()).await;
    let (a, b) = tokio::join!(
        state(&site, &silent, "silent", State::Stalled),
        state(&site, &dribbling, "dribble", State::Stalled)
    );
    assert!(a.contains("nothing is received") && b.contains("nothing is received"), "{a}, {b}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_given_up() {
    let site = Site::new().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let mute = peer(move |mut s| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let _ = s.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let e = probe(&site.world, &source(&mute)).await.unwrap_err();
    assert_eq!(e.code(), "TimedOut");
    assert!(!e.to_string().contains("hush"));
    let words = state(&site, &mute, "mute", State::Failed).await;
    assert!(words.contains("no answer for 10 s"), "{words}");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

/// What strangers do to an open port.
#[tokio::test(flavor = "multi_thread")]
async fn the_push_server_survives_strangers() {
    let site = Site::new().await;
    let server = site.server().await;
    let at = server.local_addr();
    let mut tasks = Vec::new();
    for i in 0..40u32 {
        let world = site.world.clone();
        tasks.push(tokio::spawn(async move {
            let mut s = TcpStream::connect(at).await.unwrap();
            let mut junk = vec![0; 5000];
            world.entropy.fill(&mut junk);
            let start: &[u8] = match i % 5 {
                0 => b"",
                1 => b"$\x00\xff\xff",
                2 => b"ANNOUNCE rtsp://x/y RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 60000\r\n\r\n",
                3 => b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                _ => &[b'A'; 4096],
            };
            let _ = s.write_all(start).await;
            let _ = s.write_all(&junk).await;
            let _ = s.shutdown().await;
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(20), s.read_to_end(&mut answer))
                .await
                .expect("closed in time");
        }));
    }
    for t in tasks {
        t.await.unwrap();
    }
    assert!(server.sessions().is_empty());
    server.stop().await;
}

/// With the transport left to us, a camera that refuses TCP is asked for UDP.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_refuses_tcp_is_asked_for_udp() {
    let site = Site::new().await;
    let asked = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let heard = asked.clone();
    let url = peer(move |mut s| {
        let heard = heard.clone();
        async move {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = s.read(&mut buf).await {
                let text = String::from_utf8_lossy(&buf[..n]).into_owned();
                let line =
                    |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("0").to_string();
                let mut answer = format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\n", line("CSeq: "));
                if text.starts_with("DESCRIBE") {
                    answer += &format!(
                        "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{H264_SDP}",
                        H264_SDP.len()
                    );
                } else {
                    heard.lock().unwrap().push(line("Transport: "));
                    answer = answer.replace("200 OK", "461 Unsupported Transport") + "\r\n";
                }
                let _ = s.write_all(answer.as_bytes()).await;
            }
        }
    })
    .await;
    let source = capture::pull::Source { transport: capture::pull::Transport::Auto, ..source(&url) };
    let handle = site.pull_by(source, "auto");
    let mut status = handle.status();
    let refused = status.wait_for(|s| s.state == State::Failed);
    let words = tokio::time::timeout(PATIENCE, refused).await.unwrap().unwrap().detail.clone();
    assert!(words.contains("refused this transport"), "{words}");
    let udp = async {
        while !asked.lock().unwrap().iter().any(|t| t.contains("client_port")) {
            status.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, udp).await.unwrap();
    handle.stop().await;
    assert!(asked.lock().unwrap()[0].contains("RTP/AVP/TCP"));
}
