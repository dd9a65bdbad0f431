//! What the front costs beside what cannot be spared. Prints one line of JSON.
//!
//! `wirebench [SECONDS]`: PutRecords of 500 × 1 KiB on one core, without a socket, in turns: hashed, parsed and decoded
//! by hand from one buffer (`bare`); and the whole way through [`wire::aws::Services`], in chunks as a connection gives
//! them: target, signature, input, constraints, gate, answer (`services`). Megabytes (10^6) of records a second.

use std::{hint::black_box, sync::Arc, time::Duration};

use access::{Action, Gate, Permit, hex, sha256_hex};
use axum::{
    Router,
    body::{Body, Bytes},
    http::Request,
};
use catalog::MemoryCatalog;
use futures_util::stream;
use http_body_util::BodyExt as _;
use ring::{digest, hmac};
use seal::{DataKey, LocalKey};
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;
use wire::aws::{AwsError, Blob, Call, Input, Pattern, Service, Services, Shown, Violations};
use world::{Arn, Home, World};

const RECORDS: usize = 500;
const RECORD: usize = 1024;
/// What hyper gives at a time.
const CHUNK: usize = 64 << 10;
const KEY: (&str, &str) = ("AKIAROOTROOTROOTROOT", "correct horse battery staple");
static NAME: Pattern = Pattern::new("[a-zA-Z0-9_.-]+");
static HASH_KEY: Pattern = Pattern::new(r"0|([1-9]\d{0,38})");

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    stream_name: Option<String>,
    records: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Option<Blob>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}
impl Shown for Entry {}

impl Input for Put {
    fn check(&self, v: &mut Violations) {
        v.text("streamName", &self.stream_name).pattern(&NAME).length(1, 128);
        v.list("records", &self.records).required().count(1, 500).each(|r, v| {
            v.blob("data", &r.data).required();
            v.text("partitionKey", &r.partition_key).required().length(1, 256);
            v.text("explicitHashKey", &r.explicit_hash_key).pattern(&HASH_KEY);
        });
    }
    fn resource(&self, home: &Home) -> Result<Arn, AwsError> {
        Ok(home.arn("kinesis", &format!("stream/{}", self.stream_name.as_deref().unwrap_or_default())))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Done {
    failed_record_count: usize,
    records: Vec<DoneEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DoneEntry {
    sequence_number: String,
    shard_id: &'static str,
}

#[derive(Deserialize)]
struct Bare<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<BareEntry<'a>>,
}

#[derive(Deserialize)]
struct BareEntry<'a> {
    #[serde(rename = "Data")]
    data: &'a str,
    #[serde(rename = "PartitionKey")]
    key: &'a str,
}

fn bare(body: &[u8]) -> Result<usize, Box<dyn std::error::Error>> {
    black_box(digest::digest(&digest::SHA256, body));
    let put: Bare<'_> = serde_json::from_slice(body)?;
    let mut out = Vec::with_capacity(body.len());
    for r in &put.records {
        black_box(r.key);
        base64_simd::STANDARD.decode_append(r.data, &mut out)?;
    }
    Ok(black_box(&out).len())
}

async fn router(world: &World) -> Result<Router, Box<dyn std::error::Error>> {
    let keys = Arc::new(LocalKey::new(DataKey::new([5; 32])));
    let catalog = Arc::new(MemoryCatalog::new(world.clone()));
    let root = Some((KEY.0.to_owned(), KEY.1.to_owned()));
    let gate = Gate::open(world.clone(), catalog, keys, Home::default(), root).await?.0;
    let put = |_: Call, _: Permit, i: Put| async move {
        let one = |_| DoneEntry {
            sequence_number: "49590338271490256608559692538361571095921575989136588898".into(),
            shard_id: "shardId-000000000000",
        };
        Ok(Done { failed_record_count: 0, records: i.records.iter().flatten().map(one).collect() })
    };
    let service = Service::new("kinesis", "Kinesis_20131202").operation(
        "PutRecords",
        Action("kinesis:PutRecords"),
        16 << 20,
        put,
    );
    Ok(Services::new(world.clone(), gate, Home::default()).with(service).in_front_of(Router::new()))
}

/// The `Authorization` and `X-Amz-Date` of a request with this body, made now.
fn sign(world: &World, body: &[u8]) -> (String, String) {
    let now = wire::time::format(world.clock.now());
    let now = format!("{}Z", now.replace(['-', ':'], "").split('.').next().unwrap_or_default());
    let names = "host;x-amz-date;x-amz-target";
    let canonical = format!(
        "POST\n/\n\nhost:localhost\nx-amz-date:{now}\nx-amz-target:Kinesis_20131202.PutRecords\n\n{names}\n{}",
        sha256_hex(body)
    );
    let scope = format!("{}/us-east-1/kinesis/aws4_request", &now[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let mut k = format!("AWS4{}", KEY.1).into_bytes();
    for part in [&now[..8], "us-east-1", "kinesis", "aws4_request", &text] {
        k = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &k), part.as_bytes()).as_ref().to_vec();
    }
    let id = KEY.0;
    (format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={}", hex(&k)), now)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(4), |s| s.parse::<u32>())?;
    let world = World::real(std::env::temp_dir());
    let router = router(&world).await?;
    let data = base64_simd::STANDARD
        .encode_to_string((0..RECORD / 32).flat_map(|_| world.random32()).collect::<Vec<u8>>());
    let records: Vec<String> =
        (0..RECORDS).map(|n| format!(r#"{{"Data":"{data}","PartitionKey":"key-{n}"}}"#)).collect();
    let body = Bytes::from(format!(r#"{{"StreamName":"bench","Records":[{}]}}"#, records.join(",")));
    let (mut bare_time, mut bare_n, mut time, mut n) = (Duration::ZERO, 0, Duration::ZERO, 0);
    let turn = Duration::from_millis(250);
    for _ in 0..seconds * 2 {
        let began = world.clock.monotonic();
        while world.clock.monotonic() - began < turn {
            bare_n += bare(&body)?;
        }
        bare_time += world.clock.monotonic() - began;
        let (authorization, date) = sign(&world, &body);
        let began = world.clock.monotonic();
        while world.clock.monotonic() - began < turn {
            let chunks: Vec<_> = (0..body.len())
                .step_by(CHUNK)
                .map(|at| Ok::<_, std::convert::Infallible>(body.slice(at..body.len().min(at + CHUNK))))
                .collect();
            let request = Request::post("/")
                .header("host", "localhost")
                .header("content-type", "application/x-amz-json-1.1")
                .header("x-amz-target", "Kinesis_20131202.PutRecords")
                .header("x-amz-date", &date)
                .header("authorization", &authorization)
                .body(Body::from_stream(stream::iter(chunks)))?;
            let answer = router.clone().oneshot(request).await?;
            if !answer.status().is_success() {
                let told = answer.into_body().collect().await?.to_bytes();
                return Err(String::from_utf8_lossy(&told).into_owned().into());
            }
            black_box(answer.into_body().collect().await?.to_bytes());
            n += RECORDS * RECORD;
        }
        time += world.clock.monotonic() - began;
    }
    let rate = |bytes: usize, t: Duration| bytes as f64 / 1e6 / t.as_secs_f64();
    let (bare, services) = (rate(bare_n, bare_time), rate(n, time));
    println!(
        r#"{{"bare_mb_per_s":{bare:.0},"services_mb_per_s":{services:.0},"ratio":{:.2}}}"#,
        services / bare
    );
    Ok(())
}
