//! `putmedia URL STREAM SECONDS COUNT [ACCESS_KEY SECRET_KEY]`: one producer of Kinesis Video, fragments of 1 MiB.
//!
//! COUNT 0: as fast as they are taken for SECONDS; MB/s until the last byte is acknowledged as persisted (or, by a server
//! that acknowledges nothing, until it has answered). Else: COUNT fragments, each sent when the one before is persisted;
//! milliseconds from its first byte, and from the tag that ends it, to its acknowledgement. One line of JSON.
use std::{
    io::{BufRead, BufReader, IoSlice, Read, Write},
    net::TcpStream,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{sign, SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use rand::{RngCore, SeedableRng};

type Error = Box<dyn std::error::Error + Send + Sync>;

const FRAGMENT: usize = 1 << 20;
const FRAMES: usize = 25;
/// What is written at a time.
const CHUNK: usize = 64 << 10;
/// SHA-256 of nothing, which the C SDK signs in the body's place.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size, content].concat()
}

/// EBML, a Segment of unknown size, Info (a tick is a millisecond), one track of H.264.
fn header() -> Vec<u8> {
    let small = |id: &[u8], n: u8| element(id, &[n]);
    let ebml = [
        small(&[0x42, 0x86], 1),
        small(&[0x42, 0xf7], 1),
        small(&[0x42, 0xf2], 4),
        small(&[0x42, 0xf3], 8),
        element(&[0x42, 0x82], b"matroska"),
        small(&[0x42, 0x87], 2),
        small(&[0x42, 0x85], 2),
    ]
    .concat();
    let info = [
        element(&[0x2a, 0xd7, 0xb1], &1_000_000u32.to_be_bytes()),
        element(&[0x4d, 0x80], b"bench"),
        element(&[0x57, 0x41], b"bench"),
    ]
    .concat();
    let avcc = [
        &[1, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0, 27][..],
        b"\x67\x42\xc0\x0d\xd9\x01\x41\x41\xfb\x01\x6a\x02\x02\x02\x80\x00\x00\x03\x00\x80\x00\x00\x19\x07\x83\x05\x4c",
        &[1, 0, 5],
        b"\x68\xcb\x83\xcb\x20",
    ]
    .concat();
    let video = [element(&[0xb0], &320u16.to_be_bytes()), element(&[0xba], &240u16.to_be_bytes())].concat();
    let track = [
        small(&[0xd7], 1),
        small(&[0x73, 0xc5], 1),
        small(&[0x83], 1),
        element(&[0x86], b"V_MPEG4/ISO/AVC"),
        element(&[0x63, 0xa2], &avcc),
        element(&[0xe0], &video),
    ]
    .concat();
    let mut out = element(&[0x1a, 0x45, 0xdf, 0xa3], &ebml);
    out.extend([0x18, 0x53, 0x80, 0x67, 0xff]);
    out.extend(element(&[0x15, 0x49, 0xa9, 0x66], &info));
    out.extend(element(&[0x16, 0x54, 0xae, 0x6b], &element(&[0xae], &track)));
    out
}

/// A Cluster of unknown size, and where in it its time is.
fn fragment() -> (Vec<u8>, usize) {
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let mut out = vec![0x1f, 0x43, 0xb6, 0x75, 0xff];
    let at = out.len() + 9;
    out.extend(element(&[0xe7], &0u64.to_be_bytes()));
    for i in 0..FRAMES {
        let length = FRAGMENT / FRAMES - 32;
        let mut unit = vec![0; length];
        rng.fill_bytes(&mut unit);
        // No start codes inside.
        unit.iter_mut().for_each(|b| *b |= 1);
        unit[..4].copy_from_slice(&(length as u32 - 4).to_be_bytes());
        unit[4] = if i == 0 { 0x65 } else { 0x41 };
        let time = (i as u16 * 40).to_be_bytes();
        let head = [0x81, time[0], time[1], if i == 0 { 0x80 } else { 0 }];
        out.extend(element(&[0xa3], &[&head[..], &unit].concat()));
    }
    (out, at)
}

fn end_of_fragment() -> Vec<u8> {
    let simple =
        [element(&[0x45, 0xa3], b"AWS_KINESISVIDEO_END_OF_FRAGMENT"), element(&[0x44, 0x87], b"")].concat();
    element(&[0x12, 0x54, 0xc3, 0x67], &element(&[0x73, 0x73], &element(&[0x67, 0xc8], &simple)))
}

fn head(authority: &str, stream: &str, keys: Option<(String, String)>) -> Result<String, Error> {
    let mut fields = vec![
        ("host".to_owned(), authority.to_owned()),
        ("x-amzn-stream-name".into(), stream.into()),
        ("x-amzn-fragment-timecode-type".into(), "ABSOLUTE".into()),
        ("x-amzn-fragment-acknowledgment-required".into(), "1".into()),
    ];
    if let Some((key, secret)) = keys {
        let identity = Credentials::new(key, secret, None, None, "putmedia").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("kinesisvideo")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let uri = format!("http://{authority}/putMedia");
        let headers = fields.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let request = SignableRequest::new("POST", &uri, headers, SignableBody::Precomputed(EMPTY.into()))?;
        let (instructions, _) = sign(request, &params)?.into_parts();
        fields.extend(instructions.headers().map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
    let lines: String = fields.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
    Ok(format!("POST /putMedia HTTP/1.1\r\n{lines}Transfer-Encoding: chunked\r\n\r\n"))
}

fn send(s: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for piece in bytes.chunks(CHUNK) {
        let size = format!("{:x}\r\n", piece.len());
        let mut parts = [IoSlice::new(size.as_bytes()), IoSlice::new(piece), IoSlice::new(b"\r\n")];
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            let n = s.write_vectored(parts)?;
            IoSlice::advance_slices(&mut parts, n);
        }
    }
    Ok(())
}

/// Reads the answer's lines as they come; each PERSISTED is told. Ends with the answer.
fn read(s: TcpStream, persisted: std::sync::mpsc::Sender<Instant>) -> Result<(), Error> {
    let mut r = BufReader::new(s);
    let mut line = String::new();
    r.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        let mut rest = vec![0; 2000];
        let n = r.read(&mut rest)?;
        return Err(format!("{line}{}", String::from_utf8_lossy(&rest[..n])).into());
    }
    let mut length = None;
    loop {
        line.clear();
        r.read_line(&mut line)?;
        let lower = line.to_ascii_lowercase();
        if let Some(n) = lower.strip_prefix("content-length:") {
            length = Some(n.trim().parse::<u64>()?);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    if let Some(n) = length {
        std::io::copy(&mut r.take(n), &mut std::io::sink())?;
        let _ = persisted.send(Instant::now());
        return Ok(());
    }
    loop {
        line.clear();
        // Lines of chunk sizes and of acknowledgements alike.
        if r.read_line(&mut line)? == 0 || line == "0\r\n" {
            return Ok(());
        }
        if line.contains("\"ERROR\"") {
            return Err(line.into());
        }
        if line.contains("\"PERSISTED\"") && persisted.send(Instant::now()).is_err() {
            return Ok(());
        }
    }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q) as usize]
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, stream, seconds, count, keys @ ..] = &args[..] else {
        return Err("putmedia URL STREAM SECONDS COUNT [ACCESS_KEY SECRET_KEY]".into());
    };
    let (seconds, count): (f64, usize) = (seconds.parse()?, count.parse()?);
    let authority = url.strip_prefix("http://").ok_or("only http://")?.trim_end_matches('/');
    let keys = match keys {
        [key, secret] => Some((key.clone(), secret.clone())),
        _ => None,
    };
    let mut s = TcpStream::connect(authority)?;
    s.set_nodelay(true)?;
    let (tell, persisted) = std::sync::mpsc::channel();
    let answer = s.try_clone()?;
    let reader = std::thread::spawn(move || read(answer, tell));
    s.write_all(head(authority, stream, keys)?.as_bytes())?;
    send(&mut s, &header())?;
    let (mut bytes, at) = fragment();
    let end = end_of_fragment();
    let mut time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let start = Instant::now();
    let (mut sent, mut from_first, mut from_tag) = (0usize, Vec::new(), Vec::new());
    while if count == 0 { start.elapsed().as_secs_f64() < seconds } else { from_tag.len() < count } {
        bytes[at..at + 8].copy_from_slice(&time.to_be_bytes());
        time += 1000;
        let first = Instant::now();
        send(&mut s, &bytes)?;
        let tag = Instant::now();
        send(&mut s, &end)?;
        sent += 1;
        if count > 0 {
            let Ok(at) = persisted.recv_timeout(Duration::from_secs(30)) else { break };
            from_first.push((at - first).as_secs_f64() * 1e3);
            from_tag.push((at - tag).as_secs_f64() * 1e3);
        }
    }
    s.write_all(b"0\r\n\r\n")?;
    let mut last = start;
    let mut acknowledged = from_tag.len();
    while let Ok(at) = persisted.recv_timeout(Duration::from_secs(30)) {
        (last, acknowledged) = (at, acknowledged + 1);
    }
    reader.join().map_err(|_| "the reader failed")??;
    if count > 0 && acknowledged < sent {
        return Err(format!("{acknowledged} of {sent} fragments were acknowledged").into());
    }
    let mut out = serde_json::json!({
        "fragments": sent, "acknowledged": acknowledged,
        "mb_per_s": (sent * bytes.len()) as f64 / (last - start).as_secs_f64() / 1e6,
    });
    for (name, mut ms) in [("first", from_first), ("tag", from_tag)] {
        if !ms.is_empty() {
            ms.sort_by(f64::total_cmp);
            out[format!("{name}_p50_ms")] = quantile(&ms, 0.5).into();
            out[format!("{name}_p99_ms")] = quantile(&ms, 0.99).into();
        }
    }
    println!("{out}");
    Ok(())
}
