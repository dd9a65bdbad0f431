use std::{sync::Arc, time::Duration};

use wire::aws::{AwsError, Time};
use world::{Timestamp, sim::SimClock};

use super::{Site, data};
use crate::{DataStreams, body::Status, input::*};

fn on_demand() -> CreateStream {
    let mode = StreamModeDetails { stream_mode: Some("ON_DEMAND".into()) };
    CreateStream { stream_name: Some("s".into()), stream_mode_details: Some(mode), ..<_>::default() }
}

#[tokio::test]
async fn shards_on_demand_follow_the_load() {
    let site = Site::new().await;
    let s = site.open().await;
    s.create_stream(s.permit(), on_demand()).await.unwrap();
    s.rest("s").await;
    let stream = s.get("s").unwrap();
    let open = || stream.read().map.open_count();
    assert_eq!(open(), 4);
    // 600 KB a second in one shard, 400 in another, for ten seconds: four shards take twice as much.
    stream.load.add(1, 6_000_000);
    stream.load.add(2, 4_000_000);
    s.look_after(&stream, 10.0).await.unwrap();
    s.rest("s").await;
    assert_eq!(open(), 5, "the hot one is split, no other");
    assert!(stream.read().map.get(1).unwrap().closed.is_some());
    // A quarter of an hour of nothing, a look every ten seconds.
    for n in 1..90 {
        s.look_after(&stream, 10.0).await.unwrap();
        assert_eq!(open(), 5, "look {n}");
    }
    s.look_after(&stream, 10.0).await.unwrap();
    s.rest("s").await;
    assert_eq!((open(), stream.status()), (4, Status::Active), "no fewer than at first");
    for _ in 0..200 {
        s.look_after(&stream, 10.0).await.unwrap();
    }
    assert_eq!(open(), 4);
}

#[tokio::test]
async fn twice_the_peak_of_thirty_days_is_kept() {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let site = Site::at(clock.clone()).await;
    let s = site.open().await;
    s.create_stream(s.permit(), on_demand()).await.unwrap();
    s.rest("s").await;
    let look = async |s: &DataStreams, looks: usize, mib: u64| {
        for _ in 0..looks {
            let stream = s.get("s").unwrap();
            let open: Vec<u32> = stream.read().map.open().map(|s| s.index).collect();
            for shard in &open {
                stream.load.add(*shard, (mib << 20) * 10 / open.len() as u64);
            }
            s.look_after(&stream, 10.0).await.unwrap();
            s.rest("s").await;
        }
        s.get("s").unwrap().read().map.open_count()
    };
    // Seven MiB a second: split until no shard takes more than 500 KB, and a half of it on another day.
    assert_eq!(look(&s, 5, 7).await, 16);
    let documents = async || site.catalog.get("data-stream", "s").await.unwrap().unwrap().version;
    let before = documents().await;
    assert_eq!(look(&s, 20, 7).await, 16);
    assert_eq!(documents().await, before, "what is no news is not written down");
    clock.advance(Duration::from_secs(24 * 3600));
    look(&s, 1, 3).await;
    assert_eq!(look(&s, 500, 0).await, 14, "twice seven");
    // A start forgets nothing.
    drop(s);
    let s = site.open().await;
    clock.advance(Duration::from_secs(28 * 24 * 3600));
    assert_eq!(look(&s, 500, 0).await, 14);
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(look(&s, 500, 0).await, 6, "twice three, which was a day later");
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(look(&s, 500, 0).await, 4);
    // Who says so is rid of it at once.
    assert_eq!(look(&s, 5, 7).await, 16);
    let i = UpdateStreamWarmThroughput {
        stream_name: Some("s".into()),
        warm_throughput: Some(5),
        ..<_>::default()
    };
    s.update_warm_throughput(s.permit(), i).await.unwrap();
    s.rest("s").await;
    assert_eq!(look(&s, 500, 0).await, 5);
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_not_given_and_its_shards_are_forgotten() {
    let clock =
        std::sync::Arc::new(world::sim::SimClock::new(world::Timestamp::from_millis(1_800_000_000_000)));
    let site = Site::at(clock.clone()).await;
    let s = site.open().await;
    s.make("s", 1).await;
    s.put("s", "k", b"old").await.unwrap();
    clock.advance(Duration::from_secs(3600));
    let id = "shardId-000000000000";
    s.put("s", "k", b"new").await.unwrap();
    let early = s.from("s", id, "TRIM_HORIZON", None).await.unwrap();
    assert_eq!(data(&s.read(&early).await.unwrap()), ["old", "new"]);
    // The first record is a little older than 24 hours, the second is not.
    clock.advance(Duration::from_secs(23 * 3600 + 60));
    let it = s.from("s", id, "TRIM_HORIZON", None).await.unwrap();
    assert_eq!(data(&s.read(&it).await.unwrap()), ["new"]);
    let at = GetShardIterator {
        stream_name: Some("s".into()),
        shard_id: Some(id.into()),
        r#type: Some("AT_TIMESTAMP".into()),
        timestamp: Some(Time(world::Timestamp(0))),
        ..<_>::default()
    };
    let it = s.ask_iterator(at).await.unwrap();
    assert_eq!(data(&s.read(&it).await.unwrap()), ["new"]);
    assert_eq!(s.read(&early).await.unwrap_err().code, "ExpiredIteratorException");
    let i = SplitShard {
        stream_name: Some("s".into()),
        shard_to_split: Some(id.into()),
        new_starting_hash_key: Some((1u128 << 127).to_string()),
        ..<_>::default()
    };
    s.split_shard(s.permit(), i).await.unwrap();
    s.rest("s").await;
    let stream = s.get("s").unwrap();
    s.look_after(&stream, 10.0).await.unwrap();
    assert_eq!(stream.read().map.all().len(), 3, "its records are still there");
    clock.advance(Duration::from_secs(24 * 3600 + 1));
    s.look_after(&stream, 10.0).await.unwrap();
    assert_eq!(stream.read().map.all().len(), 2);
    assert_eq!(site.open().await.get("s").unwrap().read().map.all().len(), 2, "also after a start");
}

/// What ListShards says with a filter: ids and parents.
async fn listed(s: &DataStreams, r#type: &str, at: Option<Timestamp>) -> Vec<(String, Option<String>)> {
    let filter = ShardFilter {
        r#type: Some(r#type.into()),
        timestamp: at.map(Time),
        shard_id: (r#type == "AFTER_SHARD_ID").then(|| "shardId-000000000000".into()),
    };
    let i = ListShards { stream_name: Some("s".into()), shard_filter: Some(filter), ..<_>::default() };
    let out = super::shown(&s.list_shards(s.permit(), i).await.unwrap());
    let text =
        |v: &serde_json::Value| v.as_str().map(|t| t.trim_start_matches("shardId-0000000000").to_owned());
    let all = out["Shards"].as_array().unwrap().iter();
    all.map(|s| (text(&s["ShardId"]).unwrap(), text(&s["ParentShardId"]))).collect()
}

#[tokio::test]
async fn a_closed_shard_is_gone_once_its_records_are_too_old() {
    let (site, clock, s) = super::made().await;
    let stream = s.get("s").unwrap();
    let in_log = async || -> Vec<u32> {
        site.log.shards(stream.uid).await.unwrap().into_iter().map(|(id, _)| id.shard).collect()
    };
    let split = async |s: &DataStreams, shard: &str, at: u128| {
        let i = SplitShard {
            stream_name: Some("s".into()),
            shard_to_split: Some(shard.into()),
            new_starting_hash_key: Some(at.to_string()),
            ..<_>::default()
        };
        s.split_shard(s.permit(), i).await.unwrap();
        s.rest("s").await;
    };
    let (first, began) = ("shardId-000000000000", site.world.clock.now());
    s.put("s", "k", b"old").await.unwrap();
    split(&s, first, 1 << 127).await;
    clock.advance(Duration::from_secs(12 * 3600));
    split(&s, "shardId-000000000001", 1 << 126).await;
    let halfway = site.world.clock.now();
    let it = s.from("s", first, "TRIM_HORIZON", None).await.unwrap();
    let (root, child) = (("00".into(), None), |n: &str, p: &str| (n.to_owned(), Some(p.to_owned())));
    let all = [root, child("01", "00"), child("02", "00"), child("03", "01"), child("04", "01")];
    site.log.enforce().await.unwrap();
    s.look_after(&stream, 10.0).await.unwrap();
    assert_eq!(listed(&s, "FROM_TRIM_HORIZON", None).await, all);
    assert_eq!(in_log().await, [0, 1, 2, 3, 4]);
    clock.advance(Duration::from_secs(12 * 3600 + 1));
    // Its time has passed, and the log has not looked yet: it has a record, and is not told of.
    s.look_after(&stream, 10.0).await.unwrap();
    assert_eq!(in_log().await, [0, 1, 2, 3, 4]);
    let gone = |e: AwsError| {
        let m = "Shard shardId-000000000000 in stream s under account 000000000000 does not exist";
        assert_eq!((e.code, &*e.message), ("ResourceNotFoundException", m));
    };
    for _ in 0..2 {
        for f in ["FROM_TRIM_HORIZON", "AFTER_SHARD_ID"] {
            assert_eq!(listed(&s, f, None).await, all[1..], "{f}");
        }
        assert_eq!(listed(&s, "AT_TRIM_HORIZON", None).await, all[1..3]);
        assert_eq!(listed(&s, "AT_LATEST", None).await, all[2..]);
        for t in [began, halfway - Duration::from_secs(1)] {
            assert_eq!(listed(&s, "AT_TIMESTAMP", Some(t)).await, all[1..3]);
            assert_eq!(listed(&s, "FROM_TIMESTAMP", Some(t)).await, all[1..]);
        }
        assert_eq!(listed(&s, "AT_TIMESTAMP", Some(halfway)).await, all[2..]);
        let i = DescribeStream { stream_name: Some("s".into()), ..<_>::default() };
        let out = super::shown(&s.describe_stream(s.permit(), i).await.unwrap());
        assert_eq!(out["StreamDescription"]["Shards"].as_array().unwrap().len(), 4);
        assert_eq!(out["StreamDescription"]["Shards"][0]["ParentShardId"], first);
        gone(s.from("s", first, "TRIM_HORIZON", None).await.unwrap_err());
        assert_eq!(s.read(&it).await.unwrap_err().code, "ExpiredIteratorException");
        site.log.enforce().await.unwrap();
        s.look_after(&stream, 10.0).await.unwrap();
        assert_eq!(in_log().await, [1, 2, 3, 4]);
    }
    // Who was about to read it when it went is told the same.
    gone(s.gone(&stream, log::LogError::NoShard(stream.log_shard(0))));
    // Numbers go on, also after a start.
    split(&s, "shardId-000000000002", (1 << 127) + (1 << 126)).await;
    let s = site.open().await;
    let stream = s.get("s").unwrap();
    clock.advance(Duration::from_secs(48 * 3600));
    site.log.enforce().await.unwrap();
    s.look_after(&stream, 10.0).await.unwrap();
    assert_eq!(in_log().await, [3, 4, 5, 6]);
    let ids: Vec<String> = listed(&s, "AT_LATEST", None).await.into_iter().map(|s| s.0).collect();
    assert_eq!(ids, ["03", "04", "05", "06"]);
    let i = DeleteStream { stream_name: Some("s".into()), ..<_>::default() };
    s.delete_stream(s.permit(), i).await.unwrap();
    assert_eq!(in_log().await, [0; 0]);
}

/// Left by a version that did not know how.
#[tokio::test]
async fn what_the_log_has_and_the_stream_has_forgotten_goes_at_a_start() {
    let (site, clock, s) = super::made().await;
    let stream = s.get("s").unwrap();
    let i = UpdateShardCount {
        stream_name: Some("s".into()),
        target_shard_count: Some(4),
        scaling_type: Some("UNIFORM_SCALING".into()),
        ..<_>::default()
    };
    s.update_shard_count(s.permit(), i).await.unwrap();
    s.rest("s").await;
    clock.advance(Duration::from_secs(24 * 3600 + 1));
    let old: Vec<u32> =
        stream.read().map.all().iter().filter(|s| s.closed.is_some()).map(|s| s.index).collect();
    assert_eq!(old, [0, 1, 2]);
    stream.forget(&s.inner.tools, &old).await.unwrap();
    assert_eq!(site.log.shards(stream.uid).await.unwrap().len(), 7);
    let s = site.open().await;
    let stream = s.get("s").unwrap();
    // A shard that is being opened is not taken for one that is to go.
    let next = stream.read().map.next();
    site.log.open_shard(stream.log_shard(next), &[]).await.unwrap();
    site.log.close_shard(stream.log_shard(next)).await.unwrap();
    s.look_after(&stream, 10.0).await.unwrap();
    let left = site.log.shards(stream.uid).await.unwrap().into_iter().map(|(id, _)| id.shard);
    assert_eq!(left.collect::<Vec<_>>(), [3, 4, 5, 6, next]);
    s.put("s", "k", b"new").await.unwrap();
}

#[tokio::test]
async fn what_came_while_a_stream_was_changed_is_no_peak_afterwards() {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let mut site = Site::at(clock.clone()).await;
    site.config.transition = Duration::from_secs(30);
    let s = site.open().await;
    s.create_stream(s.permit(), on_demand()).await.unwrap();
    let stream = s.get("s").unwrap();
    while stream.read().body.work.is_some() {
        clock.advance(Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    let i = StartStreamEncryption {
        stream_name: Some("s".into()),
        encryption_type: Some("KMS".into()),
        key_id: Some("alias/aws/kinesis".into()),
        ..<_>::default()
    };
    s.start_encryption(s.permit(), i).await.unwrap();
    assert_eq!(stream.status(), Status::Updating);
    // Three MiB a second: what four shards are there for.
    for _ in 0..2 {
        stream.load.add(1, 30 << 20);
        s.look_after(&stream, 10.0).await.unwrap();
    }
    while stream.read().body.work.is_some() {
        clock.advance(Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    s.look_after(&stream, 10.0).await.unwrap();
    assert_eq!(stream.read().body.peaks, []);
}
