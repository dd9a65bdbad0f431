//! `kload`: closed-loop load generator for Kinesis Data Streams compatible
//! endpoints (AWS JSON 1.1 over HTTP/1.1).
//!
//! Each connection is one keep-alive socket with one request outstanding.
//! Request bodies are built (and hashed) before the clock starts, so that the
//! client's own cost per request is a socket write, a SigV4 HMAC chain over a
//! precomputed payload hash, and a scan of the answer.
//! One line of JSON goes to stdout; progress and errors go to stderr.

mod fanout;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{sign, SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use base64::Engine as _;
use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use rand::{Rng, RngCore, SeedableRng};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create the stream and wait until it is ACTIVE.
    CreateStream(Common),
    /// PutRecords with --records records a call.
    PutRecords(Common),
    /// PutRecord, one record a call.
    PutRecord(Common),
    /// Read every shard from TRIM_HORIZON over and over with GetRecords.
    GetRecords(Common),
    /// A producer of --rate records a second to one shard and --connections consumers that subscribe to it: from the
    /// acknowledgement of a record to its receipt by the last of them.
    FanOut(Common),
}

#[derive(Args, Clone)]
struct Common {
    #[arg(long, default_value = "http://127.0.0.1:4567")]
    endpoint: String,
    #[arg(long, default_value = "bench")]
    stream: String,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Records a PutRecords call; Limit of a GetRecords call.
    #[arg(long, default_value_t = 500)]
    records: usize,
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds sent before measuring starts.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Records a second of fan-out.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Shards of create-stream.
    #[arg(long, default_value_t = 4)]
    shards: u32,
    /// Distinct request bodies, shared by all connections.
    #[arg(long, default_value_t = 16)]
    bodies: usize,
    /// Record contents: `random` (does not compress) or `json` (event-like).
    #[arg(long, default_value = "random")]
    content: String,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Sign with SigV4; without keys a dummy Authorization header is sent.
    #[arg(long, requires = "secret_key")]
    access_key: Option<String>,
    #[arg(long)]
    secret_key: Option<String>,
    /// Pid whose CPU time is reported as server_cpu_s (Linux).
    #[arg(long)]
    server_pid: Option<u32>,
    /// A label copied to the output.
    #[arg(long, default_value = "")]
    label: String,
}

/// A body and the hex SHA-256 of it.
struct Payload {
    bytes: Bytes,
    sha256: String,
}

impl Payload {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let sha256 = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        Payload { bytes: bytes.into(), sha256 }
    }
}

struct Client {
    sender: Option<SendRequest<Full<Bytes>>>,
    authority: String,
    cfg: Arc<Common>,
    identity: Option<Identity>,
}

impl Client {
    fn new(cfg: Arc<Common>) -> Result<Self, Error> {
        let authority = cfg
            .endpoint
            .strip_prefix("http://")
            .ok_or("only http:// endpoints are supported")?
            .trim_end_matches('/')
            .to_owned();
        let identity = cfg.access_key.as_ref().map(|ak| {
            let sk = cfg.secret_key.clone().unwrap_or_default();
            Credentials::new(ak.clone(), sk, None, None, "kload").into()
        });
        Ok(Client { sender: None, authority, cfg, identity })
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let stream = tokio::net::TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let (sender, conn) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(conn);
        self.sender = Some(sender);
        Ok(())
    }

    /// Sends one action; gives the HTTP status and the whole answer.
    async fn call(&mut self, action: &str, payload: &Payload) -> Result<(u16, Bytes), Error> {
        let result = async {
            let resp = self.send(action, payload).await?;
            let status = resp.status().as_u16();
            Ok::<_, Error>((status, resp.into_body().collect().await?.to_bytes()))
        }
        .await;
        if result.is_err() {
            self.sender = None;
        }
        result
    }

    /// GetRecords; gives the HTTP status and, if it is not 200, the answer.
    async fn get(&mut self, payload: &Payload, scan: &mut Scan) -> Result<(u16, Bytes), Error> {
        let result = async {
            let resp = self.send("GetRecords", payload).await?;
            let status = resp.status().as_u16();
            let mut body = resp.into_body();
            if status != 200 {
                return Ok((status, body.collect().await?.to_bytes()));
            }
            while let Some(frame) = body.frame().await {
                if let Some(data) = frame?.data_ref() {
                    scan.feed(data);
                }
            }
            Ok::<_, Error>((status, Bytes::new()))
        }
        .await;
        if result.is_err() {
            self.sender = None;
        }
        result
    }

    /// Sends one action; gives the answer as it begins.
    async fn send(&mut self, action: &str, payload: &Payload) -> Result<hyper::Response<Incoming>, Error> {
        if self.sender.as_ref().map_or(true, |s| s.is_closed()) {
            self.connect().await?;
        }
        let target = format!("Kinesis_20131202.{action}");
        let mut req = hyper::Request::post("/")
            .header("host", &self.authority)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", &target)
            .body(Full::new(payload.bytes.clone()))?;
        if let Some(identity) = &self.identity {
            let mut settings = SigningSettings::default();
            settings.payload_checksum_kind = aws_sigv4::http_request::PayloadChecksumKind::XAmzSha256;
            let params = v4::SigningParams::builder()
                .identity(identity)
                .region(&self.cfg.region)
                .name("kinesis")
                .time(SystemTime::now())
                .settings(settings)
                .build()?
                .into();
            let uri = format!("http://{}/", self.authority);
            let headers = [
                ("host", self.authority.as_str()),
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", target.as_str()),
            ];
            let signable = SignableRequest::new(
                "POST",
                &uri,
                headers.into_iter(),
                SignableBody::Precomputed(payload.sha256.clone()),
            )?;
            let (instructions, _signature) = sign(signable, &params)?.into_parts();
            instructions.apply_to_request_http1x(&mut req);
        } else {
            let h = req.headers_mut();
            let auth = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/{}/kinesis/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={:064x}",
                self.cfg.region, 0
            );
            h.insert("authorization", auth.parse()?);
            h.insert("x-amz-date", "20260101T000000Z".parse()?);
        }
        let sender = self.sender.as_mut().ok_or("no connection")?;
        sender.ready().await?;
        Ok(sender.send_request(req).await?)
    }

    async fn json(&mut self, action: &str, body: serde_json::Value) -> Result<serde_json::Value, Error> {
        let (status, bytes) = self.call(action, &Payload::new(serde_json::to_vec(&body)?)).await?;
        if status != 200 {
            return Err(format!("{action}: {status} {}", String::from_utf8_lossy(&bytes)).into());
        }
        Ok(if bytes.is_empty() { serde_json::Value::Null } else { serde_json::from_slice(&bytes)? })
    }
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    failed_records: AtomicU64,
    throttled: AtomicU64,
}

struct Run {
    counters: Counters,
    measuring: AtomicBool,
    stop: AtomicBool,
    first_error: std::sync::Mutex<Option<String>>,
}

impl Run {
    fn error(&self, text: String) {
        if self.measuring.load(Relaxed) {
            self.counters.errors.fetch_add(1, Relaxed);
        }
        if let Ok(mut slot) = self.first_error.lock() {
            slot.get_or_insert(text);
        }
    }
}

fn record_data(rng: &mut impl RngCore, cfg: &Common) -> String {
    let mut raw = vec![0u8; cfg.record_bytes];
    if cfg.content == "json" {
        let mut s = String::new();
        while s.len() < cfg.record_bytes {
            s.push_str(&format!(
                "{{\"ts\":{},\"user\":\"u{}\",\"event\":\"click\",\"page\":\"/p/{}\",\"price\":{:.2}}}\n",
                1_767_225_600_000u64 + rng.gen_range(0..86_400_000u64),
                rng.gen_range(0..100_000),
                rng.gen_range(0..1000),
                rng.gen_range(0.0..500.0)
            ));
        }
        raw.copy_from_slice(&s.as_bytes()[..cfg.record_bytes]);
    } else {
        rng.fill_bytes(&mut raw);
    }
    base64::engine::general_purpose::STANDARD.encode(raw)
}

fn put_payloads(cfg: &Common, batch: bool) -> Vec<Payload> {
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    (0..cfg.bodies.max(1))
        .map(|_| {
            let mut one = || {
                format!(
                    "\"Data\":\"{}\",\"PartitionKey\":\"key-{:08x}\"",
                    record_data(&mut rng, cfg),
                    rng.next_u32()
                )
            };
            let body = if batch {
                let items: Vec<_> = (0..cfg.records).map(|_| format!("{{{}}}", one())).collect();
                format!("{{\"StreamName\":\"{}\",\"Records\":[{}]}}", cfg.stream, items.join(","))
            } else {
                format!("{{\"StreamName\":\"{}\",{}}}", cfg.stream, one())
            };
            Payload::new(body.into_bytes())
        })
        .collect()
}

/// The text after `"name":` (with or without a space), up to `,` or `}`.
fn scalar<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let key = format!("\"{name}\":");
    let at = memmem::find(body, key.as_bytes())? + key.len();
    let rest = &body[at..];
    let end = memchr::memchr2(b',', b'}', rest)?;
    std::str::from_utf8(&rest[..end]).ok().map(|s| s.trim().trim_matches('"'))
}

/// What is in a GetRecords answer, found out as its pieces come: the same for all servers, and cheaper than a copy of it all.
#[derive(Default)]
struct Scan {
    records: u64,
    /// What the records' data decode to.
    bytes: u64,
    next: Option<String>,
    /// From the last `}` on.
    carry: Vec<u8>,
}

impl Scan {
    fn feed(&mut self, mut piece: &[u8]) {
        if !self.carry.is_empty() {
            let n = memchr::memchr(b'}', piece).map_or(piece.len(), |at| at + 1);
            self.carry.extend_from_slice(&piece[..n]);
            piece = &piece[n..];
            if self.carry.last() != Some(&b'}') {
                return;
            }
            let carry = std::mem::take(&mut self.carry);
            self.whole(&carry);
            self.carry = carry;
            self.carry.clear();
        }
        let n = memchr::memrchr(b'}', piece).map_or(0, |at| at + 1);
        self.whole(&piece[..n]);
        self.carry.extend_from_slice(&piece[n..]);
    }

    /// Of objects that are whole, or begun with what is not a record.
    fn whole(&mut self, text: &[u8]) {
        let find = memmem::Finder::new(b"\"Data\":");
        // What is not of records is before them or behind.
        let (begin, mut text) = (&text[..find.find(text).unwrap_or(0)], text);
        while let Some(at) = find.find(text) {
            text = &text[at + 7..];
            if text.first() == Some(&b' ') {
                text = &text[1..];
            }
            let Some(rest) = text.strip_prefix(b"\"") else { continue };
            let Some(len) = memchr::memchr(b'"', rest) else { continue };
            // On behind the data, which are not looked through for a name.
            text = &rest[len..];
            let pad = rest[..len].iter().rev().take_while(|b| **b == b'=').count();
            self.bytes += (len / 4 * 3 - pad.min(2)) as u64;
            self.records += 1;
        }
        if self.next.is_none() {
            let name = "NextShardIterator";
            self.next = scalar(begin, name)
                .or_else(|| scalar(text, name))
                // Some servers' iterators hold escapes (moto: `\\n`).
                .and_then(|s| serde_json::from_str(&format!("\"{s}\"")).ok());
        }
    }
}

async fn put_loop(
    mut client: Client,
    payloads: Arc<Vec<Payload>>,
    batch: bool,
    run: Arc<Run>,
    index: usize,
) -> Histogram<u64> {
    let mut hist = Histogram::new_with_bounds(1, 120_000_000, 3).expect("histogram bounds");
    let action = if batch { "PutRecords" } else { "PutRecord" };
    let per_call = if batch { client.cfg.records as u64 } else { 1 };
    let record_bytes = client.cfg.record_bytes as u64;
    let mut i = index;
    while !run.stop.load(Relaxed) {
        let start = Instant::now();
        let result = client.call(action, &payloads[i % payloads.len()]).await;
        let took = start.elapsed();
        i += 1;
        let on = run.measuring.load(Relaxed) && !run.stop.load(Relaxed);
        match result {
            Ok((200, body)) => {
                let failed = if batch {
                    scalar(&body, "FailedRecordCount").and_then(|s| s.parse().ok()).unwrap_or(0)
                } else {
                    0
                };
                if on {
                    let c = &run.counters;
                    c.calls.fetch_add(1, Relaxed);
                    c.records.fetch_add(per_call - failed, Relaxed);
                    c.bytes.fetch_add((per_call - failed) * record_bytes, Relaxed);
                    c.failed_records.fetch_add(failed, Relaxed);
                    hist.saturating_record(took.as_micros() as u64);
                }
            }
            Ok((status, body)) => {
                if memmem::find(&body, b"ThroughputExceeded").is_some() {
                    run.counters.throttled.fetch_add(1, Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                } else {
                    run.error(format!("{status} {}", String::from_utf8_lossy(&body)));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            Err(e) => {
                run.error(e.to_string());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    hist
}

async fn get_loop(mut client: Client, shard: String, run: Arc<Run>) -> Histogram<u64> {
    let mut hist = Histogram::new_with_bounds(1, 120_000_000, 3).expect("histogram bounds");
    let (stream, limit) = (client.cfg.stream.clone(), client.cfg.records);
    let mut iterator: Option<String> = None;
    while !run.stop.load(Relaxed) {
        let Some(it) = iterator.take() else {
            let body = serde_json::json!({
                "StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"
            });
            match client.json("GetShardIterator", body).await {
                Ok(v) => iterator = v["ShardIterator"].as_str().map(str::to_owned),
                Err(e) => {
                    run.error(e.to_string());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            continue;
        };
        let payload = Payload::new(
            serde_json::to_vec(&serde_json::json!({"ShardIterator": it, "Limit": limit}))
                .expect("a JSON object"),
        );
        let start = Instant::now();
        let mut scan = Scan::default();
        let result = client.get(&payload, &mut scan).await;
        let took = start.elapsed();
        let on = run.measuring.load(Relaxed) && !run.stop.load(Relaxed);
        match result {
            Ok((200, _)) => {
                if scan.records > 0 {
                    iterator = scan.next;
                }
                if on {
                    run.counters.calls.fetch_add(1, Relaxed);
                    run.counters.records.fetch_add(scan.records, Relaxed);
                    run.counters.bytes.fetch_add(scan.bytes, Relaxed);
                    hist.saturating_record(took.as_micros() as u64);
                }
            }
            Ok((_, body)) if memmem::find(&body, b"ThroughputExceeded").is_some() => {
                run.counters.throttled.fetch_add(1, Relaxed);
                iterator = Some(it);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok((status, body)) => {
                run.error(format!("{status} {}", String::from_utf8_lossy(&body)));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(e) => {
                run.error(e.to_string());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    hist
}

/// User + system CPU seconds of a process, all its threads.
fn cpu_seconds(pid: Option<u32>) -> Option<f64> {
    let path = pid.map_or("/proc/self/stat".into(), |p| format!("/proc/{p}/stat"));
    let text = std::fs::read_to_string(path).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

async fn bench(name: &str, cfg: Arc<Common>) -> Result<(), Error> {
    let run = Arc::new(Run {
        counters: Counters::default(),
        measuring: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        first_error: Default::default(),
    });
    let mut tasks = Vec::new();
    if name == "get-records" {
        let mut client = Client::new(cfg.clone())?;
        let body = serde_json::json!({"StreamName": cfg.stream});
        let list = client.json("ListShards", body).await?;
        let shards: Vec<String> = list["Shards"]
            .as_array()
            .map(|a| a.iter().filter_map(|s| s["ShardId"].as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        if shards.is_empty() {
            return Err("the stream has no shards".into());
        }
        for i in 0..cfg.connections {
            let shard = shards[i % shards.len()].clone();
            tasks.push(tokio::spawn(get_loop(Client::new(cfg.clone())?, shard, run.clone())));
        }
    } else {
        let batch = name == "put-records";
        let payloads = Arc::new(put_payloads(&cfg, batch));
        for i in 0..cfg.connections {
            let client = Client::new(cfg.clone())?;
            tasks.push(tokio::spawn(put_loop(client, payloads.clone(), batch, run.clone(), i)));
        }
    }
    tokio::time::sleep(Duration::from_secs_f64(cfg.warmup)).await;
    run.measuring.store(true, Relaxed);
    let (start, cpu0, srv0) =
        (Instant::now(), cpu_seconds(None), cfg.server_pid.and_then(|p| cpu_seconds(Some(p))));
    tokio::time::sleep(Duration::from_secs_f64(cfg.seconds)).await;
    let (cpu1, srv1) = (cpu_seconds(None), cfg.server_pid.and_then(|p| cpu_seconds(Some(p))));
    let elapsed = start.elapsed().as_secs_f64();
    run.stop.store(true, Relaxed);
    let mut hist = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
    for task in tasks {
        if let Ok(Ok(h)) = tokio::time::timeout(Duration::from_secs(30), task).await {
            hist.add(h)?;
        }
    }
    let c = &run.counters;
    let round = |v: f64, d: i32| (v * 10f64.powi(d)).round() / 10f64.powi(d);
    let ms = |q: f64| round(hist.value_at_quantile(q) as f64 / 1000.0, 3);
    let diff = |a: Option<f64>, b: Option<f64>| Some(round(b? - a?, 2));
    let mut out = serde_json::json!({
        "op": name, "connections": cfg.connections, "records": cfg.records,
        "record_bytes": cfg.record_bytes, "seconds": round(elapsed, 2),
        "signed": cfg.access_key.is_some(),
        "calls_per_s": round(c.calls.load(Relaxed) as f64 / elapsed, 1),
        "records_per_s": round(c.records.load(Relaxed) as f64 / elapsed, 1),
        "mb_per_s": round(c.bytes.load(Relaxed) as f64 / elapsed / 1e6, 2),
        "p50_ms": ms(0.5), "p99_ms": ms(0.99), "p999_ms": ms(0.999),
        "max_ms": round(hist.max() as f64 / 1000.0, 3),
        "errors": c.errors.load(Relaxed), "failed_records": c.failed_records.load(Relaxed),
        "throttled": c.throttled.load(Relaxed),
        "client_cpu_s": diff(cpu0, cpu1), "server_cpu_s": diff(srv0, srv1),
    });
    if !cfg.label.is_empty() {
        out["label"] = cfg.label.clone().into();
    }
    if let Some(e) = run.first_error.lock().ok().and_then(|mut s| s.take()) {
        out["first_error"] = e.chars().take(300).collect::<String>().into();
    }
    println!("{out}");
    Ok(())
}

async fn create_stream(cfg: Arc<Common>) -> Result<(), Error> {
    let mut client = Client::new(cfg.clone())?;
    let body = serde_json::json!({"StreamName": cfg.stream, "ShardCount": cfg.shards});
    client.json("CreateStream", body).await?;
    for _ in 0..300 {
        let body = serde_json::json!({"StreamName": cfg.stream});
        let v = client.json("DescribeStream", body).await?;
        if v["StreamDescription"]["StreamStatus"] == "ACTIVE" {
            println!("{}", serde_json::json!({"created": cfg.stream, "shards": cfg.shards}));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("the stream did not become ACTIVE in 30 s".into())
}

fn main() -> Result<(), Error> {
    let (name, cfg) = match Cli::parse().command {
        Command::CreateStream(c) => ("create-stream", c),
        Command::PutRecords(c) => ("put-records", c),
        Command::PutRecord(c) => ("put-record", c),
        Command::GetRecords(c) => ("get-records", c),
        Command::FanOut(c) => ("fan-out", c),
    };
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cfg.threads.max(1))
        .enable_all()
        .build()?;
    let cfg = Arc::new(cfg);
    rt.block_on(async {
        match name {
            "create-stream" => create_stream(cfg).await,
            "fan-out" => fanout::run(cfg).await,
            _ => bench(name, cfg).await,
        }
    })
}
