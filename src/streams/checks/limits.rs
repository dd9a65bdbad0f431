use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use world::{Timestamp, sim::SimClock};

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
    // Nor by another way.
    s.create_stream(s.permit(), of("provisioned", 1)).await.unwrap();
    s.rest("provisioned").await;
    let i = UpdateStreamMode {
        stream_arn: Some(s.get("provisioned").unwrap().arn.0.clone()),
        stream_mode_details: Some(StreamModeDetails { stream_mode: Some("ON_DEMAND".into()) }),
        ..<_>::default()
    };
    let switched = s.update_stream_mode(s.permit(), i).await.map_err(code);
    assert_eq!(switched.unwrap_err(), "LimitExceededException");
    let i = DeleteStream { stream_name: Some("provisioned".into()), ..<_>::default() };
    s.delete_stream(s.permit(), i).await.unwrap();
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

/// On demand; `committed`: in an account that has committed itself.
async fn warmable(site: &mut Site, committed: bool) -> DataStreams {
    (site.config.limits, site.config.shard_quota) = (true, 30);
    let s = site.open().await;
    if committed {
        let commitment = Some(Commitment { status: Some("ENABLED".into()) });
        s.update_account_settings(s.permit(), UpdateAccountSettings { commitment }).await.unwrap();
    }
    s
}

/// Tries to warm by each of the three operations, streams of their own; what each says.
async fn warm(s: &DataStreams, mibps: i64) -> [Option<&'static str>; 3] {
    let code = |e: wire::aws::AwsError| e.code;
    let warm_throughput = Some(mibps);
    let create = CreateStream { warm_throughput, ..on_demand("created", None) };
    let create = s.create_stream(s.permit(), create).await.map_err(code).err();
    let stream_arn = Some(s.get("provisioned").unwrap().arn.0.clone());
    let mode = Some(StreamModeDetails { stream_mode: Some("ON_DEMAND".into()) });
    let i = UpdateStreamMode { stream_arn, stream_mode_details: mode, warm_throughput, ..<_>::default() };
    let switch = s.update_stream_mode(s.permit(), i).await.map_err(code).err();
    let stream_name = Some("on-demand".into());
    let i = UpdateStreamWarmThroughput { stream_name, warm_throughput, ..<_>::default() };
    [create, switch, s.update_warm_throughput(s.permit(), i).await.map_err(code).err()]
}

#[tokio::test]
async fn no_stream_is_warmed_beyond_what_it_may_have() {
    let mut site = Site::new().await;
    let s = warmable(&mut site, false).await;
    s.create_stream(s.permit(), on_demand("on-demand", None)).await.unwrap();
    s.make("provisioned", 1).await;
    s.rest("on-demand").await;
    assert_eq!(warm(&s, 8).await, [Some("ValidationException"); 3], "the account is not committed");
    drop(s);
    let s = warmable(&mut site, true).await;
    // Far beyond any stream; beyond the service's limit; within it, and beyond the account's shards.
    for mibps in [4_000_000_000, 10 * 1024 + 1, 31] {
        assert_eq!(warm(&s, mibps).await, [Some("LimitExceededException"); 3], "{mibps}");
    }
    for (name, shards) in [("on-demand", 4), ("provisioned", 1)] {
        let stream = s.get(name).unwrap();
        assert_eq!((stream.read().map.open_count(), stream.status().text()), (shards, "ACTIVE"), "{name}");
    }
    drop(s);
    // Another second, of which there are five calls of each.
    let s = warmable(&mut site, true).await;
    assert_eq!(warm(&s, 8).await, [None; 3]);
    for name in ["created", "provisioned", "on-demand"] {
        s.rest(name).await;
        assert_eq!(s.get(name).unwrap().read().map.open_count(), 8, "{name}");
    }
}

#[tokio::test]
async fn a_stream_that_was_to_have_too_many_shards_keeps_its_own() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 2).await;
    drop(s);
    let mut doc = site.catalog.get("data-stream", "s").await.unwrap().unwrap();
    let mut body: Value = serde_json::from_slice(&doc.body).unwrap();
    body["status"] = "UPDATING".into();
    body["work"] = serde_json::json!({"Count": 4_000_000_000u32});
    doc.body = serde_json::to_vec(&body).unwrap();
    let expect = doc.version;
    site.catalog.commit(vec![catalog::Change::Put { doc, expect }]).await.unwrap();
    let s = site.open().await;
    s.rest("s").await;
    let stream = s.get("s").unwrap();
    assert_eq!((stream.read().map.open_count(), stream.status().text()), (2, "ACTIVE"));
}

#[tokio::test]
async fn five_streams_are_created_at_a_time_and_tagged_once_they_are() {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let mut site = Site::at(clock.clone()).await;
    (site.config.limits, site.config.transition) = (true, Duration::from_secs(10));
    let s = site.open().await;
    let create = async |name: &str| {
        let tags = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let i = CreateStream { stream_name: Some(name.into()), shard_count: Some(1), tags, ..<_>::default() };
        clock.advance(Duration::from_secs(1));
        s.create_stream(s.permit(), i).await.map(drop).map_err(|e| e.code)
    };
    for name in ["a", "b", "c", "d", "e"] {
        create(name).await.unwrap();
    }
    assert_eq!(create("f").await, Err("LimitExceededException"));
    let tag = async |name: &str| {
        let stream_name = Some(name.to_owned());
        let arn = Some(s.get(name).unwrap().arn.0.clone());
        let tags = Some(BTreeMap::from([("c".to_owned(), "d".to_owned())]));
        let keys = Some(vec!["a".to_owned()]);
        let i = AddTagsToStream { stream_name: stream_name.clone(), tags: tags.clone(), ..<_>::default() };
        let one = s.add_tags_to_stream(s.permit(), i).await.map(drop).map_err(|e| e.code);
        let i = TagResource { resource_arn: arn.clone(), tags, ..<_>::default() };
        let two = s.tag_resource(s.permit(), i).await.map(drop).map_err(|e| e.code);
        let i = RemoveTagsFromStream { stream_name, tag_keys: keys.clone(), ..<_>::default() };
        let three = s.remove_tags_from_stream(s.permit(), i).await.map(drop).map_err(|e| e.code);
        let i = UntagResource { resource_arn: arn, tag_keys: keys, ..<_>::default() };
        [one, two, three, s.untag_resource(s.permit(), i).await.map(drop).map_err(|e| e.code)]
    };
    assert_eq!(tag("e").await, [Err("ResourceInUseException"); 4]);
    assert_eq!(s.get("e").unwrap().read().body.tags.len(), 1, "those that it was created with are there");
    while s.get("e").unwrap().read().body.work.is_some() {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(tag("e").await, [Ok(()); 4]);
    create("f").await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_being_changed_refuses_others_at_once() {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let mut site = Site::at(clock.clone()).await;
    let s = site.open().await;
    s.make("s", 1).await;
    drop(s);
    site.config.transition = Duration::from_secs(10);
    let s = site.open().await;
    let delete = async || {
        let i = DeleteStream { stream_name: Some("s".into()), ..<_>::default() };
        s.delete_stream(s.permit(), i).await.map(drop)
    };
    let count = async || {
        let i =
            UpdateShardCount { stream_name: Some("s".into()), target_shard_count: Some(2), ..<_>::default() };
        s.update_shard_count(s.permit(), i).await.map(drop)
    };
    let tag = async || {
        let tags = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let i = AddTagsToStream { stream_name: Some("s".into()), tags, ..<_>::default() };
        s.add_tags_to_stream(s.permit(), i).await.map(drop)
    };
    let policy = async || {
        let text =
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"kinesis:*","Resource":"*"}]}"#;
        let resource_arn = Some(s.get("s").unwrap().arn.0.clone());
        let i = PutResourcePolicy { resource_arn, policy: Some(text.into()), ..<_>::default() };
        s.put_resource_policy(s.permit(), i).await.map(drop)
    };
    // Nothing moves the clock while these are asked.
    let soon = Duration::from_secs(20);
    let code = |r: Result<(), wire::aws::AwsError>| r.unwrap_err().code;
    delete().await.unwrap();
    assert_eq!(code(tokio::time::timeout(soon, delete()).await.unwrap()), "ResourceInUseException");
    assert_eq!(code(tokio::time::timeout(soon, count()).await.unwrap()), "ResourceInUseException");
    assert_eq!(code(tokio::time::timeout(soon, tag()).await.unwrap()), "ResourceInUseException");
    assert_eq!(code(tokio::time::timeout(soon, policy()).await.unwrap()), "ResourceInUseException");
    assert_eq!(s.get("s").unwrap().status().text(), "DELETING");
    while s.get("s").is_ok() {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
}
