use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use usage::{Kind, Quantity};
use world::{Timestamp, sim::SimClock};

use super::{Site, fanout::consumer, made};
use crate::input::*;

#[tokio::test]
async fn what_goes_in_and_out_is_metered_by_stream_and_consumer() {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let site = Site::at(clock.clone()).await;
    let s = site.open().await;
    s.make("s", 2).await;
    let one = "shardId-000000000000";
    let key = (0..).map(|n| format!("{n:04}")).find(|k| crate::hashing::hash_key(k) < 1 << 127).unwrap();
    // 25 KiB with the key is one unit, a byte more is two; so is the rounding to KiB.
    for len in [0, 25 * 1024 - 4, 25 * 1024 - 3] {
        s.put("s", &key, &vec![b'x'; len]).await.unwrap();
    }
    let it = s.from("s", one, "TRIM_HORIZON", None).await.unwrap();
    s.read(&it).await.unwrap();
    s.read(&it).await.unwrap();
    let arn = consumer(&s, "s", "c").await;
    let mut events = Box::pin(s.subscription(&arn).await.unwrap());
    events.next().await.unwrap().unwrap();
    let stream = s.get("s").unwrap();
    clock.advance(Duration::from_millis(1500));
    s.meter_shards();
    s.meter_shards();
    // It is no older than that.
    s.meter_time(&stream, Duration::ZERO);
    s.meter_stored(Duration::from_secs(2)).await;
    s.meter_stored(Duration::ZERO).await;
    s.meter_stored(Duration::ZERO).await;
    let i = IncreaseStreamRetentionPeriod {
        stream_name: Some("s".into()),
        retention_period_hours: Some(25),
        ..<_>::default()
    };
    s.increase_retention(s.permit(), i).await.unwrap();
    s.rest("s").await;
    let i = UpdateStreamMode {
        stream_arn: Some(stream.arn.0.clone()),
        stream_mode_details: Some(StreamModeDetails { stream_mode: Some("ON_DEMAND".into()) }),
        ..<_>::default()
    };
    s.update_stream_mode(s.permit(), i).await.unwrap();
    s.rest("s").await;
    clock.advance(Duration::from_secs(1));
    s.stop();
    s.put("s", &key, &[b'x'; 1021]).await.unwrap();
    let tally = &s.tallies()[0];
    assert_eq!((tally.put_records, tally.put_units, tally.pushed_records), (4, 5, 3));
    let c = &tally.by_consumer[0];
    assert_eq!((c.consumer.as_str(), c.records, c.subscriptions), ("c", 3, 1));
    drop(events);
    assert_eq!(s.tallies()[0].by_consumer[0].subscriptions, 0);

    let used = site.usage.used(clock_start()).await.unwrap();
    let of = |kind: Kind, q: Quantity| {
        let mut its = used.iter().filter(|u| u.resource.kind == kind && u.resource.stream == "s");
        its.next().map_or(0, |u| u.amounts.of(q))
    };
    let bytes = 4 + 25 * 1024 + 25 * 1024 + 1;
    for (q, want) in [
        (Quantity::RecordsIn, 4),
        (Quantity::BytesIn, bytes + 1025),
        (Quantity::PutUnits, 5),
        (Quantity::OnDemandKibIn, 2),
        (Quantity::RecordsOut, 6),
        (Quantity::BytesOut, 2 * bytes),
        (Quantity::ShardMs, 2 * 2500),
        (Quantity::ExtendedShardMs, 2 * 1000),
        (Quantity::OnDemandMs, 1000),
    ] {
        assert_eq!(of(Kind::DataStream, q), want, "{}", q.name());
    }
    // 50 KiB and their seals, for a second and a half.
    let stored = of(Kind::DataStream, Quantity::StoredKibSeconds);
    assert!((75..=80).contains(&stored), "{stored}");
    for (q, want) in [(Quantity::RecordsOut, 3), (Quantity::BytesOut, bytes), (Quantity::ShardMs, 2 * 2500)] {
        assert_eq!(of(Kind::Consumer, q), want, "of the consumer: {}", q.name());
    }
    // A stream that is gone was used all the same, and so was its successor.
    let gone = DeleteStream {
        stream_name: Some("s".into()),
        enforce_consumer_deletion: Some(true),
        ..<_>::default()
    };
    s.delete_stream(s.permit(), gone).await.unwrap();
    drop(stream);
    s.make("s", 1).await;
    s.put("s", "k", b"").await.unwrap();
    let used = usage::Usage::new(site.world.clone(), site.catalog.clone());
    site.usage.flush().await.unwrap();
    let records: Vec<u64> = used
        .used(clock_start())
        .await
        .unwrap()
        .iter()
        .filter(|u| u.resource.kind == Kind::DataStream)
        .map(|u| u.amounts.of(Quantity::RecordsIn))
        .collect();
    assert_eq!(records.iter().sum::<u64>(), 5);
    assert_eq!(records.len(), 2, "each with an id of its own");
}

fn clock_start() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

#[tokio::test]
async fn a_reader_at_the_tip_hides_no_other_that_is_behind() {
    let (_site, clock, s) = made().await;
    let age = || s.tallies()[0].iterator_age_ms;
    let shard = "shardId-000000000000";
    for data in [b"1", b"2"] {
        s.put("s", "k", data).await.unwrap();
    }
    // In one shard and in two it is the same: of each what the other reader does says nothing.
    clock.advance(Duration::from_secs(3600));
    let first = s.from("s", shard, "TRIM_HORIZON", None).await.unwrap();
    let i = GetRecords { shard_iterator: Some(first.clone()), limit: Some(1), ..<_>::default() };
    s.get_records(s.permit(), i).await.unwrap();
    let tip = s.from("s", shard, "LATEST", None).await.unwrap();
    s.read(&tip).await.unwrap();
    assert_eq!(age(), 3_600_000);
    clock.advance(Duration::from_secs(60));
    s.read(&tip).await.unwrap();
    assert_eq!(age(), 3_600_000, "of the minute before, too");
    // It caught up.
    s.read(&first).await.unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(age(), 0);
    // What nobody reads has no readers behind.
    let i = GetRecords { shard_iterator: Some(first), limit: Some(1), ..<_>::default() };
    s.get_records(s.permit(), i).await.unwrap();
    assert_eq!(age(), 3_720_000);
    clock.advance(Duration::from_secs(120));
    assert_eq!(age(), 0);
}
