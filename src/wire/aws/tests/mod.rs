//! Requests as clients send them, to a toy service.

mod bodies;
mod operations;
mod signing;
mod words;

use std::{sync::Arc, time::Duration};

use access::{Action, Gate, Permit, hex, sha256_hex};
use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request},
    response::Response,
};
use catalog::{MemoryCatalog, testing};
use http_body_util::BodyExt as _;
use ring::hmac;
use seal::{DataKey, LocalKey};
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;
use world::{Arn, Home, World};

use super::*;

const KEY: (&str, &str) = ("AKIAROOTROOTROOTROOT", "correct horse battery staple");
const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";
/// When the test's clock starts.
const NOW: &str = "20260101T000000Z";
static NAME: Pattern = Pattern::new("[a-zA-Z0-9_.-]+");
const PUT: Action = Action("kinesis:PutRecord");

/// An operation's input with one member of each kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_name: Option<String>,
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    stream_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Entry>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<String>,
}
impl Shown for Entry {}

impl Input for Put {
    fn check(&self, v: &mut Violations) {
        v.text("streamName", &self.stream_name).pattern(&NAME).length(1, 128);
        v.number("limit", &self.limit).range(1, 10_000);
        v.blob("data", &self.data).length(0, 1 << 20);
        v.list("records", &self.records).count(1, 500).each(|r, v| {
            v.blob("data", &r.data).required();
            v.text("partitionKey", &r.partition_key).required().length(1, 256);
        });
    }
    fn resource(&self, home: &Home) -> Result<Arn, AwsError> {
        match (&self.stream_arn, &self.stream_name) {
            (Some(arn), _) => Ok(Arn(arn.clone())),
            (None, Some(name)) => Ok(home.arn("kinesis", &format!("stream/{name}"))),
            (None, None) => Err(AwsError::new("InvalidArgumentException", "one of name and ARN is needed")),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Echo {
    resource: String,
    bytes: usize,
    data: Option<Blob>,
    at: Option<Time>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tick {
    n: u32,
    data: Blob,
}
impl Event for Tick {
    fn name(&self) -> &'static str {
        "TickEvent"
    }
}

fn toy() -> Service {
    let echo = |_: Call, permit: Permit, i: Put| async move {
        let records = i.records.iter().flatten().filter_map(|r| r.data.as_deref());
        let bytes = records.chain(i.data.as_deref()).map(<[u8]>::len).sum();
        Ok(Echo { resource: permit.resource().0.clone(), bytes, data: i.data, at: i.at })
    };
    let ticks = |_: Call, _: Permit, i: Put| async move {
        if i.limit.is_none() {
            return Err(AwsError::new("ResourceNotFoundException", "no limit"));
        }
        let n = i.limit.unwrap_or_default() as u32;
        let items = (0..=n).map(move |k| {
            if k < n {
                Ok(Tick { n: k, data: vec![k as u8; 3].into() })
            } else {
                Err(AwsError::internal("that was all"))
            }
        });
        Ok(futures_util::stream::iter(items))
    };
    Service::new("kinesis", "Kinesis_20131202")
        .operation("PutRecord", PUT, 1 << 20, echo)
        .operation("Nothing", PUT, 1 << 10, |_: Call, _: Permit, _: Put| async { Ok(Empty {}) })
        .operation("Fail", PUT, 1 << 10, |_: Call, _: Permit, _: Put| async {
            Err::<Empty, _>(AwsError::new("ResourceInUseException", "Stream x is \"busy\""))
        })
        .event_stream("Ticks", PUT, 1 << 10, ticks)
}

struct Site {
    world: World,
    clock: Arc<world::sim::SimClock>,
    router: Router,
}

impl Site {
    async fn new() -> Site {
        Site::with(|g| g).await
    }
    async fn with(change: impl FnOnce(Gate) -> Gate) -> Site {
        let (world, clock) = testing::world(7);
        let home = Home { account: "111122223333".into(), region: "eu-west-1".into() };
        let keys = Arc::new(LocalKey::new(DataKey::new([5; 32])));
        let catalog = Arc::new(MemoryCatalog::new(world.clone()));
        let root = Some((KEY.0.to_owned(), KEY.1.to_owned()));
        let gate = Gate::open(world.clone(), catalog, keys, home.clone(), root).await.unwrap().0;
        let rest = Router::new().fallback(|| async { "not for AWS" });
        let router = Services::new(world.clone(), change(gate), home).with(toy()).in_front_of(rest);
        Site { world, clock, router }
    }
    async fn send(&self, r: Request<Body>) -> Answered {
        Answered::of(self.router.clone().oneshot(r).await.unwrap()).await
    }
    async fn json(&self, operation: &str, body: &str) -> Answered {
        self.send(signed(operation, JSON, body.as_bytes().to_vec())).await
    }
}

struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    async fn of(r: Response) -> Answered {
        let (parts, body) = r.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered { status: parts.status.as_u16(), headers: parts.headers, body }
    }
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    /// `status code: message`
    fn error(&self) -> String {
        let j = self.json();
        let message = j["message"].as_str().or(j["Message"].as_str()).unwrap_or_default();
        format!("{} {}: {message}", self.status, j["__type"].as_str().unwrap_or_default())
    }
}

fn unsigned(operation: &str, content_type: &str, body: Vec<u8>) -> Request<Body> {
    Request::post("/")
        .header("host", "localhost:4566")
        .header("content-type", content_type)
        .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
        .body(Body::from(body))
        .unwrap()
}

fn signed(operation: &str, content_type: &str, body: Vec<u8>) -> Request<Body> {
    sign(unsigned(operation, content_type, Vec::new()), body, KEY, NOW)
}

/// Signs as clients do; written anew, on purpose.
fn sign(r: Request<Body>, body: Vec<u8>, key: (&str, &str), now: &str) -> Request<Body> {
    let (mut parts, _) = r.into_parts();
    parts.headers.insert("x-amz-date", now.parse().unwrap());
    let mut names: Vec<&str> = parts.headers.keys().map(axum::http::HeaderName::as_str).collect();
    names.sort_unstable();
    let lines: String =
        names.iter().map(|n| format!("{n}:{}\n", parts.headers[*n].to_str().unwrap())).collect();
    let names = names.join(";");
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256_hex(&body));
    let day = &now[..8];
    let scope = format!("{day}/us-west-2/kinesis/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let step =
        |k: &[u8], t: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, k), t.as_bytes()).as_ref().to_vec();
    let mut k = format!("AWS4{}", key.1).into_bytes();
    for part in [day, "us-west-2", "kinesis", "aws4_request", &to_sign] {
        k = step(&k, part);
    }
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
        key.0,
        hex(&k)
    );
    parts.headers.insert("authorization", authorization.parse().unwrap());
    Request::from_parts(parts, Body::from(body))
}

const MINUTE: Duration = Duration::from_secs(60);
