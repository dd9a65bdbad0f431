//! Enhanced fan-out: how long after a record's acknowledgement the last of many consumers has it.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        Arc,
    },
    time::{Duration, Instant},
};

use base64::Engine as _;
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use memchr::memmem;

use crate::{Client, Common, Error, Payload};

/// Connections of the producer.
const PRODUCERS: u64 = 8;

/// What is known of each record, by its number: nanoseconds since the start, 0 for not yet.
struct Seen {
    start: Instant,
    acknowledged: Vec<AtomicU64>,
    last: Vec<AtomicU64>,
    receipts: Vec<AtomicU64>,
    done: AtomicBool,
}

impl Seen {
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// The numbers that a frame's records begin with: eight bytes, big-endian.
fn numbers(frame: &[u8]) -> impl Iterator<Item = u64> + '_ {
    memmem::find_iter(frame, b"\"Data\":\"").filter_map(|at| {
        let text = frame.get(at + 8..at + 20)?;
        let raw = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        Some(u64::from_be_bytes(raw.get(..8)?.try_into().ok()?))
    })
}

async fn consume(
    mut client: Client,
    arn: String,
    ready: tokio::sync::mpsc::Sender<()>,
    seen: Arc<Seen>,
) -> Result<(), Error> {
    let body = serde_json::json!({
        "ConsumerARN": arn, "ShardId": "shardId-000000000000", "StartingPosition": {"Type": "LATEST"}
    });
    let answer = client.send("SubscribeToShard", &Payload::new(serde_json::to_vec(&body)?)).await?;
    if answer.status() != 200 {
        return Err(format!("SubscribeToShard: {}", answer.status()).into());
    }
    let mut body = answer.into_body();
    let (mut held, mut told) = (Vec::new(), false);
    while !seen.done.load(Relaxed) {
        let Ok(frame) = tokio::time::timeout(Duration::from_millis(500), body.frame()).await else {
            continue;
        };
        let Some(frame) = frame else { return Err("the subscription ended".into()) };
        let Ok(data) = frame?.into_data() else { continue };
        let now = seen.now();
        held.extend_from_slice(&data);
        while let Some(total) = held.first_chunk::<4>().map(|b| u32::from_be_bytes(*b) as usize) {
            if held.len() < total {
                break;
            }
            if !std::mem::replace(&mut told, true) {
                ready.send(()).await?;
            }
            for n in numbers(&held[..total]) {
                let n = n as usize;
                seen.last[n].fetch_max(now, Relaxed);
                seen.receipts[n].fetch_add(1, Relaxed);
            }
            held.drain(..total);
        }
    }
    Ok(())
}

pub async fn run(cfg: Arc<Common>) -> Result<(), Error> {
    let total = (f64::from(cfg.rate) * cfg.seconds) as u64;
    let zeroes = || (0..total).map(|_| AtomicU64::new(0)).collect();
    let seen = Arc::new(Seen {
        start: Instant::now(),
        acknowledged: zeroes(),
        last: zeroes(),
        receipts: zeroes(),
        done: AtomicBool::new(false),
    });
    let mut client = Client::new(cfg.clone())?;
    let described =
        client.json("DescribeStreamSummary", serde_json::json!({"StreamName": cfg.stream})).await?;
    let stream = described["StreamDescriptionSummary"]["StreamARN"].clone();
    let (ready, mut readied) = tokio::sync::mpsc::channel(cfg.connections.max(1));
    let mut consumers = Vec::new();
    for i in 0..cfg.connections {
        let name = format!("consumer-{i}");
        // Five a second, as AWS allows.
        let arn = loop {
            match client
                .json(
                    "RegisterStreamConsumer",
                    serde_json::json!({"StreamARN": stream, "ConsumerName": name}),
                )
                .await
            {
                Ok(v) => break v["Consumer"]["ConsumerARN"].as_str().ok_or("no ARN")?.to_owned(),
                Err(e) if e.to_string().contains("LimitExceeded") => {
                    tokio::time::sleep(Duration::from_millis(250)).await
                }
                Err(e) => return Err(e),
            }
        };
        loop {
            let v = client.json("DescribeStreamConsumer", serde_json::json!({"ConsumerARN": arn})).await?;
            if v["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        consumers.push(tokio::spawn(consume(Client::new(cfg.clone())?, arn, ready.clone(), seen.clone())));
    }
    drop(ready);
    for _ in 0..cfg.connections {
        tokio::time::timeout(Duration::from_secs(30), readied.recv())
            .await?
            .ok_or("a consumer ended before it began")?;
    }
    let begin = Instant::now();
    let mut producers = Vec::new();
    for p in 0..PRODUCERS {
        let (cfg, seen) = (cfg.clone(), seen.clone());
        producers.push(tokio::spawn(async move {
            let mut client = Client::new(cfg.clone())?;
            let mut raw = vec![7u8; cfg.record_bytes.max(9)];
            for n in (p..total).step_by(PRODUCERS as usize) {
                let due = Duration::from_secs_f64(n as f64 / f64::from(cfg.rate));
                tokio::time::sleep_until((begin + due).into()).await;
                raw[..8].copy_from_slice(&n.to_be_bytes());
                let data = base64::engine::general_purpose::STANDARD.encode(&raw);
                client
                    .json(
                        "PutRecord",
                        serde_json::json!({"StreamName": cfg.stream, "Data": data, "PartitionKey": "k"}),
                    )
                    .await?;
                seen.acknowledged[n as usize].store(seen.now(), Relaxed);
            }
            Ok::<_, Error>(())
        }));
    }
    for p in producers {
        p.await??;
    }
    let sent_for = begin.elapsed().as_secs_f64();
    let all = cfg.connections as u64;
    let end = Instant::now() + Duration::from_secs(30);
    while seen.receipts.iter().any(|r| r.load(Relaxed) < all) && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen.done.store(true, Relaxed);
    for c in consumers {
        c.await??;
    }
    let mut hist = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let (mut missing, mut twice) = (0u64, 0u64);
    // The first second is the warm-up.
    for n in u64::from(cfg.rate).min(total / 2) as usize..total as usize {
        let r = seen.receipts[n].load(Relaxed);
        missing += all.saturating_sub(r);
        twice += r.saturating_sub(all);
        let late = seen.last[n].load(Relaxed).saturating_sub(seen.acknowledged[n].load(Relaxed));
        hist.saturating_record((late / 1000).max(1));
    }
    let ms = |q: f64| hist.value_at_quantile(q) as f64 / 1000.0;
    println!(
        "{}",
        serde_json::json!({
            "op": "fan-out", "consumers": all, "records": total, "records_per_s": total as f64 / sent_for,
            "p50_ms": ms(0.5), "p99_ms": ms(0.99), "max_ms": hist.max() as f64 / 1000.0, "missing": missing, "twice": twice,
        })
    );
    Ok(())
}
