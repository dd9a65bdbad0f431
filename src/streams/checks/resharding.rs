use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::Value;
use world::{
    Timestamp,
    sim::{Dice, SimClock},
};

use super::{Site, data};
use crate::{DataStreams, input::*};

async fn list(s: &DataStreams, filter: Option<&str>) -> Vec<Value> {
    let shard_filter = filter.map(|f| ShardFilter { r#type: Some(f.into()), ..<_>::default() });
    let i = ListShards { stream_name: Some("s".into()), shard_filter, ..<_>::default() };
    let out = serde_json::to_value(s.list_shards(s.permit(), i).await.unwrap()).unwrap();
    out["Shards"].as_array().unwrap().clone()
}

fn text<'a>(v: &'a Value, k: &str) -> &'a str {
    v[k].as_str().unwrap_or_default()
}

/// Reads a stream from its beginning as KCL does: a child once all of its parents are at their ends. Returns the records in
/// the order in which they were seen, once `done` holds and everything is read.
pub(super) async fn follow(s: &DataStreams, done: Arc<AtomicBool>) -> Vec<(String, String)> {
    let (mut seen, mut numbers) = (Vec::new(), BTreeSet::new());
    let (mut open, mut ended) = (BTreeMap::new(), BTreeSet::new());
    for v in list(s, Some("AT_TRIM_HORIZON")).await {
        let id = text(&v, "ShardId").to_owned();
        let it = s.from("s", &id, "TRIM_HORIZON", None).await.unwrap();
        open.insert(id, it);
    }
    let mut waiting: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let last = done.load(SeqCst);
        let mut idle = true;
        for id in open.keys().cloned().collect::<Vec<_>>() {
            let page = s.read(&open[&id]).await.unwrap();
            for (r, d) in page["Records"].as_array().unwrap().iter().zip(data(&page)) {
                assert!(numbers.insert(text(r, "SequenceNumber").to_owned()), "seen once");
                seen.push((text(r, "PartitionKey").to_owned(), d));
                idle = false;
            }
            match page["NextShardIterator"].as_str() {
                Some(next) => drop(open.insert(id, next.into())),
                None => {
                    idle = false;
                    open.remove(&id);
                    ended.insert(id);
                    for c in page["ChildShards"].as_array().unwrap() {
                        let parents = c["ParentShards"].as_array().unwrap();
                        let parents = parents.iter().map(|p| p.as_str().unwrap().to_owned()).collect();
                        waiting.insert(text(c, "ShardId").to_owned(), parents);
                    }
                }
            }
        }
        let ready: Vec<String> = waiting
            .iter()
            .filter(|(_, p)| p.iter().all(|p| ended.contains(p)))
            .map(|(c, _)| c.clone())
            .collect();
        for id in ready {
            waiting.remove(&id);
            let it = s.from("s", &id, "TRIM_HORIZON", None).await.unwrap();
            open.insert(id, it);
            idle = false;
        }
        if last && idle {
            assert!(waiting.is_empty());
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

/// Splits, merges and recounts at random; what is refused is refused.
pub(super) async fn reshard(s: &DataStreams, dice: &mut Dice) {
    let open = list(s, Some("AT_LATEST")).await;
    let pick = open[dice.below(open.len())].clone();
    let key = |k: &str| pick["HashKeyRange"][k].as_str().unwrap().parse::<u128>().unwrap();
    let stream_name = Some("s".to_owned());
    match dice.below(5) {
        0 | 1 => {
            let (a, z) = (key("StartingHashKey"), key("EndingHashKey"));
            let at = a + (z - a) / 3 + 2;
            let i = SplitShard {
                stream_name,
                shard_to_split: Some(text(&pick, "ShardId").into()),
                new_starting_hash_key: Some(at.to_string()),
                ..<_>::default()
            };
            let _ = s.split_shard(s.permit(), i).await;
        }
        2 | 3 => {
            let next = open.iter().find(|o| {
                o["HashKeyRange"]["StartingHashKey"].as_str().unwrap().parse::<u128>().ok()
                    == key("EndingHashKey").checked_add(1)
            });
            let i = MergeShards {
                stream_name,
                shard_to_merge: Some(text(&pick, "ShardId").into()),
                adjacent_shard_to_merge: next.map(|n| text(n, "ShardId").to_owned()),
                ..<_>::default()
            };
            if next.is_some() {
                let _ = s.merge_shards(s.permit(), i).await;
            }
        }
        _ => {
            let i = UpdateShardCount {
                stream_name,
                target_shard_count: Some(1 + dice.below(6) as i64),
                scaling_type: Some("UNIFORM_SCALING".into()),
                ..<_>::default()
            };
            let _ = s.update_shard_count(s.permit(), i).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_splits_and_merges_each_record_is_seen_once_and_keys_keep_their_order() {
    for seed in 0..6 {
        let site = Site::new().await;
        let s = site.open().await;
        s.make("s", 2).await;
        let done = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn({
            let (s, done) = (s.clone(), done.clone());
            async move { follow(&s, done).await }
        });
        let writers: Vec<_> = (0..4)
            .map(|w| {
                let (s, done) = (s.clone(), done.clone());
                tokio::spawn(async move {
                    let mut n = 0;
                    while !done.load(SeqCst) {
                        s.put("s", &format!("key-{w}"), n.to_string().as_bytes()).await.unwrap();
                        n += 1;
                        tokio::task::yield_now().await;
                    }
                    n
                })
            })
            .collect();
        let mut dice = Dice::new(seed);
        for _ in 0..12 {
            reshard(&s, &mut dice).await;
            s.rest("s").await;
        }
        done.store(true, SeqCst);
        let mut wrote = Vec::new();
        for w in writers {
            wrote.push(w.await.unwrap());
        }
        let during = reader.await.unwrap();
        // Once more from the beginning, for what was written after the reader's last look.
        let after = follow(&s, done).await;
        for (w, n) in wrote.iter().enumerate() {
            let of = |seen: &[(String, String)]| -> Vec<usize> {
                let its = seen.iter().filter(|(k, _)| *k == format!("key-{w}"));
                its.map(|(_, d)| d.parse().unwrap()).collect()
            };
            assert_eq!(of(&after), (0..*n).collect::<Vec<_>>(), "seed {seed}, key {w}");
            let during = of(&during);
            assert_eq!(during, (0..during.len()).collect::<Vec<_>>(), "seed {seed}, key {w}, while written");
        }
    }
}

#[tokio::test]
async fn children_know_their_parents_and_parents_their_end() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 1).await;
    let i = SplitShard {
        stream_name: Some("s".into()),
        shard_to_split: Some("shardId-000000000000".into()),
        new_starting_hash_key: Some((1u128 << 127).to_string()),
        ..<_>::default()
    };
    s.split_shard(s.permit(), i).await.unwrap();
    s.rest("s").await;
    let all = list(&s, None).await;
    let [parent, a, b] = &all[..] else { panic!("{all:?}") };
    let end = text(&parent["SequenceNumberRange"], "EndingSequenceNumber");
    for c in [a, b] {
        assert_eq!(text(c, "ParentShardId"), "shardId-000000000000");
        assert!(c["AdjacentParentShardId"].is_null());
        assert!(text(&c["SequenceNumberRange"], "StartingSequenceNumber") > end);
    }
    let i = MergeShards {
        stream_name: Some("s".into()),
        shard_to_merge: Some(text(a, "ShardId").into()),
        adjacent_shard_to_merge: Some(text(b, "ShardId").into()),
        ..<_>::default()
    };
    s.merge_shards(s.permit(), i).await.unwrap();
    s.rest("s").await;
    let all = list(&s, None).await;
    assert_eq!(text(&all[3], "ParentShardId"), "shardId-000000000001");
    assert_eq!(text(&all[3], "AdjacentParentShardId"), "shardId-000000000002");
    assert_eq!(list(&s, Some("AT_LATEST")).await.len(), 1);
    assert_eq!(list(&s, Some("AT_TRIM_HORIZON")).await.len(), 1, "the first shard");
}

/// Asks for a split, a merge and a count, each with arguments that are wrong in all ways; what each says.
async fn wrong(s: &DataStreams) -> [&'static str; 3] {
    let (stream_name, missing) = (Some("s".to_owned()), Some("shardId-000000000009".to_owned()));
    let i = SplitShard {
        stream_name: stream_name.clone(),
        shard_to_split: missing.clone(),
        new_starting_hash_key: Some("0".into()),
        ..<_>::default()
    };
    let split = s.split_shard(s.permit(), i).await.unwrap_err();
    let i = MergeShards {
        stream_name: stream_name.clone(),
        shard_to_merge: missing.clone(),
        adjacent_shard_to_merge: missing,
        ..<_>::default()
    };
    let merge = s.merge_shards(s.permit(), i).await.unwrap_err();
    let i = UpdateShardCount {
        stream_name,
        target_shard_count: Some(1_000),
        scaling_type: Some("UNIFORM_SCALING".into()),
        ..<_>::default()
    };
    [split.code, merge.code, s.update_shard_count(s.permit(), i).await.unwrap_err().code]
}

#[tokio::test]
async fn a_stream_that_is_not_at_rest_says_so_before_anything_else() {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let mut site = Site::at(clock.clone()).await;
    (site.config.limits, site.config.transition) = (true, Duration::from_secs(10));
    site.config.shard_quota = 2;
    let s = site.open().await;
    let i = CreateStream { stream_name: Some("s".into()), shard_count: Some(2), ..<_>::default() };
    s.create_stream(s.permit(), i).await.unwrap();
    assert_eq!(s.get("s").unwrap().status().text(), "CREATING");
    assert_eq!(wrong(&s).await, ["ResourceInUseException"; 3], "being created");
    let rest = async || {
        while s.get("s").unwrap().read().body.work.is_some() {
            clock.advance(Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
    };
    rest().await;
    let at_rest = ["ResourceNotFoundException", "ResourceNotFoundException", "LimitExceededException"];
    assert_eq!(wrong(&s).await, at_rest);
    let i = IncreaseStreamRetentionPeriod {
        stream_name: Some("s".into()),
        retention_period_hours: Some(48),
        ..<_>::default()
    };
    s.increase_retention(s.permit(), i).await.unwrap();
    assert_eq!(s.get("s").unwrap().status().text(), "UPDATING");
    assert_eq!(wrong(&s).await, ["ResourceInUseException"; 3], "being updated");
    rest().await;
    assert_eq!(wrong(&s).await, at_rest);
}
