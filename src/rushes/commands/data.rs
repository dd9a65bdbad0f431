//! Data streams, over the API that AWS's SDKs use.

use std::io::BufRead as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use world::World;

use super::{short, table, tail, text};
use crate::{
    Failure,
    cli::{ClientArgs, DataStreamCommand},
    client::{AwsFailure, Client},
};

/// Records in a request, and bytes of them.
const RECORDS: usize = 500;
const BYTES: usize = 5 << 20;

/// A server, and a clock to sign by.
pub struct Kinesis {
    client: Client,
    pub world: World,
}

impl Kinesis {
    pub fn new(args: &ClientArgs) -> Result<Kinesis, Failure> {
        Ok(Kinesis { client: Client::new(args)?, world: World::real(".") })
    }
    /// One operation.
    pub async fn call(&self, operation: &str, body: Value) -> Result<Value, AwsFailure> {
        self.client.aws(&format!("Kinesis_20131202.{operation}"), &body, self.world.clock.now()).await
    }
    /// All shards that a filter takes.
    pub async fn shards(&self, name: &str, filter: Value) -> Result<Vec<Value>, Failure> {
        let (mut out, mut ask) = (Vec::new(), json!({"StreamName": name, "ShardFilter": filter}));
        loop {
            let mut page = self.call("ListShards", ask).await?;
            if let Some(Value::Array(shards)) = page.get_mut("Shards").map(Value::take) {
                out.extend(shards);
            }
            match page["NextToken"].as_str() {
                Some(t) => ask = json!({"NextToken": t}),
                None => return Ok(out),
            }
        }
    }
}

/// All data streams, as summaries.
pub async fn list(client: &Client) -> Result<Vec<Value>, Failure> {
    let world = World::real(".");
    let (mut out, mut ask) = (Vec::new(), json!({}));
    loop {
        let mut page = client.aws("Kinesis_20131202.ListStreams", &ask, world.clock.now()).await?;
        if let Some(Value::Array(streams)) = page.get_mut("StreamSummaries").map(Value::take) {
            out.extend(streams);
        }
        match page["NextToken"].as_str() {
            Some(t) => ask = json!({"NextToken": t}),
            None => return Ok(out),
        }
    }
}

pub async fn run(command: DataStreamCommand) -> Result<(), Failure> {
    match command {
        DataStreamCommand::Create { name, shards, on_demand, client } => {
            let body = match on_demand {
                true => json!({"StreamName": name, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}),
                false => json!({"StreamName": name, "ShardCount": shards}),
            };
            done(&client, "CreateStream", body, &format!("made {name}")).await
        }
        DataStreamCommand::Delete { name, client } => {
            let body = json!({"StreamName": name, "EnforceConsumerDeletion": true});
            done(&client, "DeleteStream", body, &format!("deleted {name}; its keys are destroyed")).await
        }
        DataStreamCommand::Scale { name, shards, client } => {
            let body =
                json!({"StreamName": name, "TargetShardCount": shards, "ScalingType": "UNIFORM_SCALING"});
            done(&client, "UpdateShardCount", body, &format!("{name} will have {shards} shards")).await
        }
        DataStreamCommand::Merge { name, shard, adjacent, client } => {
            let body = json!({"StreamName": name, "ShardToMerge": shard, "AdjacentShardToMerge": adjacent});
            done(&client, "MergeShards", body, &format!("merged {shard} and {adjacent}")).await
        }
        DataStreamCommand::Split { name, shard, at, client } => {
            let at = match at {
                Some(at) => at,
                None => middle(&Kinesis::new(&client)?, &name, &shard).await?,
            };
            let body =
                json!({"StreamName": name, "ShardToSplit": shard, "NewStartingHashKey": at.to_string()});
            done(&client, "SplitShard", body, &format!("split {shard} at {at}")).await
        }
        DataStreamCommand::Describe { name, all, client } => describe(&name, all, &client).await,
        DataStreamCommand::Put { name, records, key, client } => put(&name, records, key, &client).await,
        DataStreamCommand::Tail { name, from, no_follow, client } => {
            tail::run(&Kinesis::new(&client)?, &name, &from, no_follow, client.json).await
        }
    }
}

async fn done(client: &ClientArgs, operation: &str, body: Value, words: &str) -> Result<(), Failure> {
    let name = body["StreamName"].clone();
    let v = Kinesis::new(client)?.call(operation, body).await?;
    // Most answer with nothing.
    let v = if v.is_null() { json!({"stream": name}) } else { v };
    if client.json {
        println!("{v:#}")
    } else {
        println!("{words}")
    }
    Ok(())
}

fn hash(v: &Value, name: &str) -> u128 {
    v["HashKeyRange"][name].as_str().and_then(|s| s.parse().ok()).unwrap_or(0)
}

/// Whether what a person typed means this shard.
fn means(shard: &Value, typed: &str) -> bool {
    let id = text(shard, "ShardId");
    let number = |s: &str| s.trim_start_matches("shardId-").parse::<u64>().ok();
    id == typed || (number(typed).is_some() && number(typed) == number(id))
}

async fn middle(k: &Kinesis, name: &str, shard: &str) -> Result<u128, Failure> {
    let open = k.shards(name, json!({"Type": "AT_LATEST"})).await?;
    let s = open.iter().find(|s| means(s, shard));
    let s = s.ok_or_else(|| {
        Failure(format!("{name} has no open shard {shard}: see `rushes stream describe {name}`"))
    })?;
    let (a, z) = (hash(s, "StartingHashKey"), hash(s, "EndingHashKey"));
    Ok(a + (z - a) / 2 + 1)
}

async fn describe(name: &str, all: bool, client: &ClientArgs) -> Result<(), Failure> {
    let k = Kinesis::new(client)?;
    let v = k.call("DescribeStreamSummary", json!({"StreamName": name})).await?;
    let filter = if all { "FROM_TRIM_HORIZON" } else { "AT_LATEST" };
    let mut shards = k.shards(name, json!({"Type": filter})).await?;
    let v = &v["StreamDescriptionSummary"];
    if client.json {
        println!("{:#}", json!({"summary": v, "shards": shards}));
        return Ok(());
    }
    let created = v["StreamCreationTimestamp"].as_f64().unwrap_or(0.0) * 1000.0;
    println!(
        "{name}\n  arn         {}\n  status      {}, {}\n  created     {}\n  keeps       {} h\n  encryption  {} {}\n  consumers   {}\n  shards      {} open\n",
        text(v, "StreamARN"),
        text(v, "StreamStatus"),
        text(&v["StreamModeDetails"], "StreamMode"),
        short(&super::time(world::Timestamp::from_millis(created as i64))),
        v["RetentionPeriodHours"],
        text(v, "EncryptionType"),
        text(v, "KeyId"),
        v["ConsumerCount"],
        v["OpenShardCount"],
    );
    shards.sort_by_key(|s| (hash(s, "StartingHashKey"), text(s, "ShardId").to_owned()));
    let share = |s: &Value| {
        let keys = hash(s, "EndingHashKey") - hash(s, "StartingHashKey");
        format!("{:.1} %", keys as f64 / u128::MAX as f64 * 100.0)
    };
    let rows: Vec<_> = shards
        .iter()
        .map(|s| {
            let parents = [text(s, "ParentShardId"), text(s, "AdjacentParentShardId")];
            let closed = !s["SequenceNumberRange"]["EndingSequenceNumber"].is_null();
            vec![
                text(s, "ShardId").to_owned(),
                share(s),
                hash(s, "StartingHashKey").to_string(),
                parents.join(" ").trim().to_owned(),
                if closed { "closed".to_owned() } else { String::new() },
            ]
        })
        .collect();
    table(&["SHARD", "KEYS", "FROM HASH KEY", "PARENTS", ""], &rows);
    Ok(())
}

async fn put(
    name: &str,
    records: Vec<String>,
    key: Option<String>,
    client: &ClientArgs,
) -> Result<(), Failure> {
    let k = Kinesis::new(client)?;
    let mut count = 0;
    let record = |data: &[u8]| {
        let key = key.clone().unwrap_or_else(|| u128::from_be_bytes(k.world.random16()).to_string());
        json!({"PartitionKey": key, "Data": STANDARD.encode(data)})
    };
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut lines: Box<dyn Iterator<Item = std::io::Result<Vec<u8>>>> = match records.is_empty() {
        true => Box::new(std::io::stdin().lock().split(b'\n')),
        false => Box::new(records.into_iter().map(|d| Ok(d.into_bytes()))),
    };
    loop {
        let next = lines.next().transpose().map_err(|e| Failure(format!("standard input: {e}")))?;
        let full = batch.len() == RECORDS || bytes + next.as_ref().map_or(0, Vec::len) > BYTES;
        if !batch.is_empty() && (full || next.is_none()) {
            count += send(&k, name, std::mem::take(&mut batch), client.json).await?;
            bytes = 0;
        }
        let Some(line) = next else { break };
        bytes += line.len();
        batch.push(record(&line));
    }
    if !client.json {
        println!("put {count} record{}", if count == 1 { "" } else { "s" });
    }
    Ok(())
}

/// Puts them all; what is refused for its rate again, a little later.
async fn send(k: &Kinesis, name: &str, mut records: Vec<Value>, json: bool) -> Result<usize, Failure> {
    let count = records.len();
    loop {
        let v = k.call("PutRecords", json!({"StreamName": name, "Records": &records})).await?;
        let mut left = Vec::new();
        for (r, told) in records.into_iter().zip(v["Records"].as_array().into_iter().flatten()) {
            match told["ErrorCode"].as_str() {
                None if json => println!("{told}"),
                None => {}
                Some("ProvisionedThroughputExceededException") => left.push(r),
                Some(code) => return Err(Failure(format!("{code}: {}", text(told, "ErrorMessage")))),
            }
        }
        if left.is_empty() {
            return Ok(count);
        }
        records = left;
        k.world.clock.sleep(std::time::Duration::from_millis(250)).await;
    }
}
