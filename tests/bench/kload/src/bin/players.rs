//! `players URL COUNT SECONDS`: so many players of one live HLS media playlist, each on a connection of its own, paced as
//! players are: the playlist once in a target duration, each new segment as it appears in it. One line of JSON: bytes of
//! media, how long segments took, and how many took longer than they play.
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{client::conn::http1::SendRequest, Request};
use hyper_util::rt::TokioIo;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Seen {
    bytes: u64,
    segments: u64,
    late: u64,
    took: Vec<f64>,
}

async fn connect(authority: &str) -> Result<SendRequest<Empty<Bytes>>, Error> {
    let stream = tokio::net::TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn get(
    sender: &mut SendRequest<Empty<Bytes>>,
    authority: &str,
    path: &str,
    keep: bool,
) -> Result<(Vec<u8>, u64), Error> {
    sender.ready().await?;
    let request = Request::get(path).header("host", authority).body(Empty::new())?;
    let answer = sender.send_request(request).await?;
    if answer.status() != 200 {
        return Err(format!("{path}: {}", answer.status()).into());
    }
    let (mut body, mut kept, mut n) = (answer.into_body(), Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            n += data.len() as u64;
            if keep {
                kept.extend_from_slice(data);
            }
        }
    }
    Ok((kept, n))
}

/// Target duration, and the segments with their durations.
fn parse(text: &str) -> (f64, Vec<(f64, &str)>) {
    let (mut target, mut length, mut out) = (2.0, 0.0, Vec::new());
    for line in text.lines() {
        if let Some(n) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
            target = n.trim().parse().unwrap_or(target);
        } else if let Some(n) = line.strip_prefix("#EXTINF:") {
            length = n.split(',').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
        } else if !line.is_empty() && !line.starts_with('#') {
            out.push((length, line));
        }
    }
    (target, out)
}

async fn play(
    authority: Arc<str>,
    path: Arc<str>,
    delay: Duration,
    end: Instant,
    seen: Arc<Mutex<Seen>>,
) -> Result<(), Error> {
    tokio::time::sleep(delay).await;
    let mut sender = connect(&authority).await?;
    let folder = path.rsplit_once('/').map_or("", |p| p.0).to_owned();
    let mut last: Option<String> = None;
    while Instant::now() < end {
        let begun = Instant::now();
        let (text, _) = get(&mut sender, &authority, &path, true).await?;
        let text = String::from_utf8(text)?;
        let (target, segments) = parse(&text);
        let known = last.as_deref().and_then(|l| segments.iter().position(|s| s.1 == l));
        // The first time: three from the end, as RFC 8216 §6.3.3 has it.
        let from = known.map_or(segments.len().saturating_sub(3), |k| k + 1);
        for (length, uri) in &segments[from..] {
            let begun = Instant::now();
            let whole = if uri.starts_with('/') { (*uri).to_owned() } else { format!("{folder}/{uri}") };
            let (_, n) = get(&mut sender, &authority, &whole, false).await?;
            let took = begun.elapsed().as_secs_f64();
            let mut seen = seen.lock().map_err(|_| "poisoned")?;
            seen.bytes += n;
            seen.segments += 1;
            seen.late += u64::from(took > *length);
            seen.took.push(took * 1e3);
        }
        last = segments.last().map(|s| s.1.to_owned());
        tokio::time::sleep_until((begun + Duration::from_secs_f64(target)).into()).await;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, count, seconds] = &args[..] else { return Err("players URL COUNT SECONDS".into()) };
    let (count, seconds): (u32, f64) = (count.parse()?, seconds.parse()?);
    let rest = url.strip_prefix("http://").ok_or("only http://")?;
    let at = rest.find('/').ok_or("no path")?;
    let (authority, path): (Arc<str>, Arc<str>) = (rest[..at].into(), rest[at..].into());
    let seen = Arc::new(Mutex::new(Seen::default()));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut all = Vec::new();
    for i in 0..count {
        // They come over two seconds.
        let delay = Duration::from_secs_f64(2.0 * f64::from(i) / f64::from(count));
        all.push(tokio::spawn(play(authority.clone(), path.clone(), delay, end, seen.clone())));
    }
    for p in all {
        p.await??;
    }
    let mut seen = seen.lock().map_err(|_| "poisoned")?;
    seen.took.sort_by(f64::total_cmp);
    let quantile = |q: f64| seen.took.get((seen.took.len().saturating_sub(1) as f64 * q) as usize);
    println!(
        "{}",
        serde_json::json!({
            "players": count, "bytes": seen.bytes, "segments": seen.segments, "late": seen.late,
            "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
        })
    );
    Ok(())
}
