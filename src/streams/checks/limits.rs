use std::collections::BTreeMap;

use serde_json::Value;

use super::{Site, data};
use crate::{DataStreams, input::*};

fn on_demand(name: &str, distribution: Option<&str>) -> CreateStream {
    CreateStream {
        stream_name: Some(name.into()),
        stream_mode_details: Some(StreamModeDetails { stream_mode: Some("ON_DEMAND".into()) }),
        distribution: distribution.map(Into::into),
        ..<_>::default()
    }
}

async fn distribute(s: &DataStreams, how: &str) -> Result<(), &'static str> {
    let i = UpdateStreamRecordDistributionStrategy {
        distribution: Some(how.into()),
        stream_arn: Some(s.get("s").unwrap().arn.0.clone()),
        ..<_>::default()
    };
    s.update_distribution(s.permit(), i).await.map(drop).map_err(|e| e.code)
}

/// Puts 40 records under one key, or none; how many each shard got, and how many were refused.
async fn forty(
    s: &DataStreams,
    key: Option<&str>,
    bytes: usize,
) -> Result<(BTreeMap<String, usize>, u64), &'static str> {
    let entry = |_| PutRecordsRequestEntry {
        data: Some(vec![b'x'; bytes].into()),
        partition_key: key.map(Into::into),
        // Out of range, where it is looked at.
        explicit_hash_key: key.is_none().then(|| "9".repeat(39)),
    };
    let records = Some((0..40).map(entry).collect());
    let i = PutRecords { stream_name: Some("s".into()), records, ..<_>::default() };
    let out = serde_json::to_value(s.put_records(s.permit(), i).await.map_err(|e| e.code)?).unwrap();
    let mut by = BTreeMap::new();
    for r in out["Records"].as_array().unwrap() {
        if let Some(shard) = r["ShardId"].as_str() {
            *by.entry(shard.to_owned()).or_default() += 1;
        }
    }
    Ok((by, out["FailedRecordCount"].as_u64().unwrap()))
}

#[tokio::test]
async fn records_without_keys_go_to_all_shards() {
    let mut site = Site::new().await;
    site.config.limits = true;
    let s = site.open().await;
    s.create_stream(s.permit(), on_demand("s", Some("AUTO"))).await.unwrap();
    s.rest("s").await;
    let (by, failed) = forty(&s, Some("one key"), 10).await.unwrap();
    assert_eq!((by.len(), by.values().all(|n| *n == 10), failed), (4, true, 0), "{by:?}");
    let (by, failed) = forty(&s, None, 10).await.unwrap();
    assert_eq!((by.values().sum::<usize>(), failed), (40, 0), "keys and hash keys are not looked at");
    let put = PutRecord { stream_name: Some("s".into()), data: Some(vec![1].into()), ..<_>::default() };
    s.put_record(s.permit(), put).await.unwrap();
    let it = s.from("s", "shardId-000000000000", "TRIM_HORIZON", None).await.unwrap();
    let page = s.read(&it).await.unwrap();
    let keys: Vec<&Value> = page["Records"].as_array().unwrap().iter().map(|r| &r["PartitionKey"]).collect();
    assert_eq!((keys[0], keys.last().unwrap()), (&Value::from("one key"), &&Value::Null));
    assert_eq!(data(&page).len(), keys.len());
    // 4 MB a second, however they are put: what one shard has no room for another takes.
    let (_, failed) = forty(&s, None, 90_000).await.unwrap();
    assert_eq!(failed, 0);
    let (_, failed) = forty(&s, None, 90_000).await.unwrap();
    assert!(failed > 20, "{failed}");
    // Back again, at once.
    distribute(&s, "USER_PARTITION_KEY").await.unwrap();
    assert_eq!(forty(&s, None, 10).await.unwrap_err(), "ValidationException");
    let put = PutRecord { stream_name: Some("s".into()), data: Some(vec![1].into()), ..<_>::default() };
    let e = s.put_record(s.permit(), put).await.unwrap_err();
    assert_eq!(
        e.message,
        "1 validation error detected: Value null at 'partitionKey' failed to satisfy constraint: Member must not be null"
    );
    distribute(&s, "AUTO").await.unwrap();
    let arn = Some(s.get("s").unwrap().arn.0.clone());
    let mode = Some(StreamModeDetails { stream_mode: Some("PROVISIONED".into()) });
    let i = UpdateStreamMode { stream_mode_details: mode, stream_arn: arn, ..<_>::default() };
    s.update_stream_mode(s.permit(), i).await.unwrap();
    s.rest("s").await;
    assert_eq!(distribute(&s, "AUTO").await, Err("InvalidArgumentException"), "only on demand");
    assert!(!s.get("s").unwrap().read().body.auto);
    let i = CreateStream {
        stream_name: Some("t".into()),
        shard_count: Some(1),
        distribution: Some("AUTO".into()),
        ..<_>::default()
    };
    assert_eq!(s.create_stream(s.permit(), i).await.unwrap_err().code, "InvalidArgumentException");
}

#[tokio::test]
async fn an_account_has_so_many_shards_and_streams_on_demand() {
    let mut site = Site::new().await;
    site.config.limits = true;
    (site.config.shard_quota, site.config.on_demand_quota) = (10, 1);
    let s = site.open().await;
    s.create_stream(s.permit(), on_demand("s", None)).await.unwrap();
    let code = |e: wire::aws::AwsError| e.code;
    let second = s.create_stream(s.permit(), on_demand("t", None)).await.map_err(code);
    assert_eq!(second.unwrap_err(), "LimitExceededException");
    let of = |name: &str, n| CreateStream {
        stream_name: Some(name.into()),
        shard_count: Some(n),
        ..<_>::default()
    };
    assert_eq!(
        s.create_stream(s.permit(), of("t", 7)).await.map_err(code).unwrap_err(),
        "LimitExceededException"
    );
    s.create_stream(s.permit(), of("t", 6)).await.unwrap();
    s.rest("t").await;
    let split = SplitShard {
        stream_name: Some("t".into()),
        shard_to_split: Some("shardId-000000000000".into()),
        new_starting_hash_key: Some("1000".into()),
        ..<_>::default()
    };
    assert_eq!(s.split_shard(s.permit(), split).await.map_err(code).unwrap_err(), "LimitExceededException");
    let limits =
        serde_json::to_value(s.describe_limits(s.permit(), DescribeLimits {}).await.unwrap()).unwrap();
    assert_eq!(limits["OpenShardCount"], 10);
    assert_eq!(limits["ShardLimit"], 10);
    assert_eq!((&limits["OnDemandStreamCount"], &limits["OnDemandStreamCountLimit"]), (&1.into(), &1.into()));
    // Five calls a second, in the account.
    let calls = async |_| s.list_streams(s.permit(), ListStreams::default()).await.map_err(code).err();
    let mut answers = Vec::new();
    for n in 0..8 {
        answers.push(calls(n).await);
    }
    assert!(answers[..5].iter().all(Option::is_none));
    assert_eq!(answers[7], Some("LimitExceededException"));
}
