//! `rushes stream tail`: the records of all shards, through splits and merges.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{data::Kinesis, text};
use crate::Failure;

/// Between two looks at a shard: a shard answers five times a second.
const LOOK: Duration = Duration::from_millis(250);
/// How often the rate is said, to a person.
const RATE: Duration = Duration::from_secs(5);
/// Colours of shards.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

struct Reader {
    iterator: String,
    /// The last number that was read.
    last: Option<String>,
}

pub async fn run(k: &Kinesis, name: &str, from: &str, no_follow: bool, json: bool) -> Result<(), Failure> {
    let (filter, begin) = match from {
        "latest" => (json!({"Type": "AT_LATEST"}), json!({"ShardIteratorType": "LATEST"})),
        "oldest" => (json!({"Type": "AT_TRIM_HORIZON"}), json!({"ShardIteratorType": "TRIM_HORIZON"})),
        t => {
            let t = wire::time::parse(t).map_err(|e| Failure(format!("--from: {e}, latest or oldest")))?;
            let seconds = t.millis() as f64 / 1000.0;
            (
                json!({"Type": "AT_TIMESTAMP", "Timestamp": seconds}),
                json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": seconds}),
            )
        }
    };
    let mut open = BTreeMap::new();
    for s in k.shards(name, filter).await? {
        let id = text(&s, "ShardId").to_owned();
        let iterator = iterator(k, name, &id, begin.clone()).await?;
        open.insert(id, Reader { iterator, last: None });
    }
    let (mut waiting, mut ended): (BTreeMap<String, Vec<String>>, BTreeSet<String>) = Default::default();
    let colour = std::io::stdout().is_terminal();
    let person = !json && std::io::stderr().is_terminal();
    let clock = k.world.clock.clone();
    let (mut count, mut bytes, mut said) = (0u64, 0u64, clock.monotonic());
    loop {
        let mut idle = true;
        for id in open.keys().cloned().collect::<Vec<_>>() {
            let Some(reader) = open.get_mut(&id) else { continue };
            let page = match k.call("GetRecords", json!({"ShardIterator": reader.iterator})).await {
                Ok(page) => page,
                Err(e) if e.code == "ProvisionedThroughputExceededException" => {
                    idle = false;
                    continue;
                }
                Err(e) if e.code == "ExpiredIteratorException" => {
                    let at = match &reader.last {
                        Some(n) => {
                            json!({"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": n})
                        }
                        None => begin.clone(),
                    };
                    reader.iterator = iterator(k, name, &id, at).await?;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            for r in page["Records"].as_array().into_iter().flatten() {
                let data = STANDARD.decode(text(r, "Data")).unwrap_or_default();
                (count, bytes) = (count + 1, bytes + data.len() as u64);
                reader.last = Some(text(r, "SequenceNumber").to_owned());
                if !print(&id, r, &data, json, colour) {
                    // Nobody reads our output any more.
                    return Ok(());
                }
            }
            idle &= page["MillisBehindLatest"].as_i64() == Some(0);
            match page["NextShardIterator"].as_str() {
                Some(next) => reader.iterator = next.to_owned(),
                None => {
                    idle = false;
                    open.remove(&id);
                    ended.insert(id);
                    for c in page["ChildShards"].as_array().into_iter().flatten() {
                        let parents = c["ParentShards"].as_array().into_iter().flatten();
                        let parents = parents.filter_map(|p| p.as_str().map(str::to_owned)).collect();
                        waiting.insert(text(c, "ShardId").to_owned(), parents);
                    }
                }
            }
        }
        // A child once all of its parents that were read are read to their ends.
        let ready = |parents: &[String]| parents.iter().all(|p| ended.contains(p) || !open.contains_key(p));
        let children: Vec<String> =
            waiting.iter().filter(|(_, p)| ready(p)).map(|(c, _)| c.clone()).collect();
        for id in children {
            waiting.remove(&id);
            let iterator = iterator(k, name, &id, json!({"ShardIteratorType": "TRIM_HORIZON"})).await?;
            open.insert(id, Reader { iterator, last: None });
            idle = false;
        }
        if idle && no_follow {
            return Ok(());
        }
        if !idle && no_follow {
            continue;
        }
        let now = clock.monotonic();
        if person && now - said >= RATE {
            let s = (now - said).as_secs_f64();
            eprintln!(
                "{:.1} records/s, {:.1} kB/s, {} shards",
                count as f64 / s,
                bytes as f64 / s / 1000.0,
                open.len()
            );
            (count, bytes, said) = (0, 0, now);
        }
        clock.sleep(LOOK).await;
    }
}

async fn iterator(k: &Kinesis, name: &str, shard: &str, mut at: Value) -> Result<String, Failure> {
    (at["StreamName"], at["ShardId"]) = (json!(name), json!(shard));
    loop {
        match k.call("GetShardIterator", at.clone()).await {
            Ok(v) => return Ok(text(&v, "ShardIterator").to_owned()),
            Err(e) if e.code == "ProvisionedThroughputExceededException" => k.world.clock.sleep(LOOK).await,
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether somebody still reads it.
fn print(shard: &str, r: &Value, data: &[u8], json: bool, colour: bool) -> bool {
    let mut out = std::io::stdout().lock();
    let written = if json {
        let mut r = r.clone();
        r["ShardId"] = json!(shard);
        writeln!(out, "{r}")
    } else {
        let number: usize = shard.trim_start_matches("shardId-").parse().unwrap_or(0);
        let c = COLOURS[number % COLOURS.len()];
        let (on, off) = if colour { (format!("\x1b[{c}m"), "\x1b[0m") } else { (String::new(), "") };
        // What a terminal would take for an order is shown, not sent.
        let shown: String = String::from_utf8_lossy(data)
            .chars()
            .map(|c| if c.is_control() && c != '\t' { '·' } else { c })
            .collect();
        let key: String = text(r, "PartitionKey").chars().filter(|c| !c.is_control()).collect();
        writeln!(out, "{on}{number:>4}{off}  {key}  {shown}")
    };
    written.and_then(|()| out.flush()).is_ok()
}
