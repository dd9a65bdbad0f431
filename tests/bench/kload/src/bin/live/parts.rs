//! A part of low-latency HLS, from its last picture in to the part out. What waits for it is the request for the address that
//! the playlist announces (`EXT-X-PRELOAD-HINT`); what is in it, and so which picture was its last, the part itself says.
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{Error, http, picture, summary};

/// By its number: when the last byte of a picture was sent.
type Sent = Mutex<HashMap<u32, Instant>>;

/// `rtsp` is `rtsp://USER:PASSWORD@HOST:PORT/NAME`. The address of the playlist is read from the standard input, since there is
/// none before there is something to play.
pub fn run(rtsp: &str, seconds: f64) -> Result<(), Error> {
    let (sent, stop) = (Sent::default(), AtomicBool::new(false));
    let stream = announce(rtsp)?;
    let result = std::thread::scope(|s| {
        let publisher = s.spawn(|| {
            let r = publish(stream, &sent, &stop);
            stop.store(true, Relaxed);
            r
        });
        let result = play(seconds, &sent, &stop);
        stop.store(true, Relaxed);
        publisher.join().map_err(|_| "the publisher panicked")??;
        result
    })?;
    println!("{result}");
    Ok(())
}

fn announce(url: &str) -> Result<TcpStream, Error> {
    let rest = url.strip_prefix("rtsp://").ok_or("only rtsp://")?;
    let (user, rest) = rest.split_once('@').ok_or("no user")?;
    let (authority, _) = rest.split_once('/').ok_or("no path")?;
    let mut stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    let (url, auth) = (format!("rtsp://{rest}"), STANDARD.encode(user));
    let sets = [&picture::SPS[..], &picture::PPS].map(|s| STANDARD.encode(s)).join(",");
    let sdp = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
         a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets={sets}\r\na=control:streamid=0\r\n"
    );
    let mut session = String::new();
    for (n, (method, uri, more, body)) in [
        ("ANNOUNCE", url.clone(), "Content-Type: application/sdp\r\n", &sdp[..]),
        (
            "SETUP",
            format!("{url}/streamid=0"),
            "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n",
            "",
        ),
        ("RECORD", url.clone(), "Range: npt=0.000-\r\n", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let head = format!(
            "{method} {uri} RTSP/1.0\r\nCSeq: {}\r\nAuthorization: Basic {auth}\r\n{session}{more}Content-Length: {}\r\n\r\n{body}",
            n + 1,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        let (mut status, mut line, mut reader) = (String::new(), String::new(), BufReader::new(&stream));
        reader.read_line(&mut status)?;
        while reader.read_line(&mut line)? > 2 {
            if let Some(s) = line.strip_prefix("Session:") {
                session = format!("Session: {}\r\n", s.split(';').next().unwrap_or_default().trim());
            }
            line.clear();
        }
        if !status.contains(" 200 ") {
            return Err(format!("{method}: {status}").into());
        }
    }
    Ok(stream)
}

fn publish(mut stream: TcpStream, sent: &Sent, stop: &AtomicBool) -> Result<(), Error> {
    // What the server says (receiver reports) is of no interest, but has to go somewhere.
    let mut back = stream.try_clone()?;
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while matches!(back.read(&mut buffer), Ok(1..)) {}
    });
    let (begun, mut number) = (Instant::now(), 0u16);
    for n in 0u32.. {
        std::thread::sleep(
            (begun + Duration::from_secs(1) / picture::RATE * n).saturating_duration_since(Instant::now()),
        );
        if stop.load(Relaxed) {
            break;
        }
        let (nals, mut out) = (picture::nals(n), Vec::new());
        for (i, nal) in nals.iter().enumerate() {
            let payloads = picture::payloads(nal);
            for (j, (payload, _)) in payloads.iter().enumerate() {
                let marker = i + 1 == nals.len() && j + 1 == payloads.len();
                out.extend([b'$', 0]);
                out.extend((payload.len() as u16 + 12).to_be_bytes());
                out.extend([0x80, 96 | u8::from(marker) << 7]);
                out.extend(number.to_be_bytes());
                out.extend(n.wrapping_mul(picture::TICKS).wrapping_add(1_000_000).to_be_bytes());
                out.extend(0x1234_5678u32.to_be_bytes());
                out.extend(payload);
                number = number.wrapping_add(1);
            }
        }
        // Before it goes: what the system takes to carry it is part of what is measured.
        sent.lock().map_err(|_| "poisoned")?.insert(n, Instant::now());
        stream.write_all(&out)?;
    }
    // Nobody reads on.
    stream.shutdown(std::net::Shutdown::Both)?;
    Ok(())
}

/// The address of the next part, whole.
fn hint(playlist: &str) -> Result<Option<String>, Error> {
    let text = http::text(playlist)?;
    let line = text.lines().find_map(|l| l.strip_prefix("#EXT-X-PRELOAD-HINT:"));
    let uri = line.and_then(|l| l.split("URI=\"").nth(1)?.split('"').next().map(|u| resolve(playlist, u)));
    Ok(uri)
}

fn resolve(base: &str, uri: &str) -> String {
    let host = base.match_indices('/').nth(2).map_or(base.len(), |m| m.0);
    match uri.starts_with('/') {
        true => format!("{}{uri}", &base[..host]),
        false => format!("{}/{uri}", base.rsplit_once('/').map_or("", |b| b.0)),
    }
}

fn play(seconds: f64, sent: &Sent, stop: &AtomicBool) -> Result<serde_json::Value, Error> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let playlist = line.trim();
    // The first look has parts made.
    let patience = Instant::now() + Duration::from_secs(30);
    while hint(playlist)?.is_none() {
        if Instant::now() > patience {
            return Err("there are no parts".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let (mut late, mut first, mut early, mut pictures) = (Vec::new(), Vec::new(), 0, 0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut before = String::new();
    while Instant::now() < end && !stop.load(Relaxed) {
        let Some(uri) = hint(playlist)? else { return Err("the playlist announces nothing any more".into()) };
        if uri == before {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let asked = Instant::now();
        let part = http::ask("GET", &uri, "", b"")?;
        let came = Instant::now();
        if part.status != 200 {
            return Err(format!("{uri}: {} {}", part.status, String::from_utf8_lossy(&part.body)).into());
        }
        let (from, to) = picture::numbers(&part.body).ok_or("a part without pictures")?;
        let at = *sent.lock().map_err(|_| "poisoned")?.get(&to).ok_or("a picture that was not sent")?;
        // Not one that was there already: nobody waited for it.
        if asked < at {
            let ms = came.saturating_duration_since(at).as_secs_f64() * 1e3;
            if from.is_multiple_of(picture::GOP) {
                first.push(ms);
            }
            late.push(ms);
            pictures += to - from + 1;
        } else {
            early += 1;
        }
        before = uri;
    }
    let parts = late.len();
    let mut out = summary(late);
    out["pictures_a_part"] = (f64::from(pictures) / parts as f64).into();
    out["not_waited_for"] = early.into();
    out["first_of_a_fragment"] = summary(first);
    Ok(out)
}
