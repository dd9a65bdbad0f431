use std::time::Duration;

use wire::aws::Time;

use super::{Site, data, made, shown};
use crate::{input::*, sequence::SequenceNumber};

const ONE: &str = "shardId-000000000000";

#[tokio::test]
async fn every_kind_of_iterator_begins_where_it_says() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 1).await;
    let mut numbers = Vec::new();
    for n in 0..5 {
        numbers.push(s.put("s", "k", n.to_string().as_bytes()).await.unwrap().1);
        if n == 2 {
            s.inner.tools.world.clock.sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let all = s.read(&s.from("s", ONE, "TRIM_HORIZON", None).await.unwrap()).await.unwrap();
    assert_eq!(data(&all), ["0", "1", "2", "3", "4"]);
    assert_eq!(all["MillisBehindLatest"], 0);
    let read: Vec<&str> =
        all["Records"].as_array().unwrap().iter().map(|r| r["SequenceNumber"].as_str().unwrap()).collect();
    assert_eq!(read, numbers, "numbers are read as they were given");
    let third = Time(world::Timestamp::from_millis(
        (all["Records"][3]["ApproximateArrivalTimestamp"].as_f64().unwrap() * 1000.0).round() as i64,
    ));
    for (ty, number, want) in [
        ("AT_SEQUENCE_NUMBER", Some(&numbers[1]), "1234"),
        ("AFTER_SEQUENCE_NUMBER", Some(&numbers[1]), "234"),
        ("LATEST", None, ""),
    ] {
        let it = s.from("s", ONE, ty, number.map(String::as_str)).await.unwrap();
        assert_eq!(data(&s.read(&it).await.unwrap()).concat(), want, "{ty}");
    }
    let at = GetShardIterator {
        stream_name: Some("s".into()),
        shard_id: Some(ONE.into()),
        r#type: Some("AT_TIMESTAMP".into()),
        timestamp: Some(third),
        ..<_>::default()
    };
    let it = s.ask_iterator(at).await.unwrap();
    assert!(it.len() <= 512);
    assert_eq!(data(&s.read(&it).await.unwrap()).concat(), "34");
    // A page is as long as asked, and says how far behind it leaves the reader.
    let it = s.from("s", ONE, "TRIM_HORIZON", None).await.unwrap();
    let page = GetRecords { shard_iterator: Some(it), limit: Some(2), ..<_>::default() };
    let page = shown(&s.get_records(s.permit(), page).await.unwrap());
    assert_eq!(data(&page).concat(), "01");
    assert!(page["MillisBehindLatest"].as_i64().unwrap() >= 20);
    let rest = s.read(page["NextShardIterator"].as_str().unwrap()).await.unwrap();
    assert_eq!(data(&rest).concat(), "234");
}

#[tokio::test]
async fn iterators_of_nothing_are_refused_in_the_service_s_words() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 1).await;
    for (stream, shard, ty, want) in [
        (
            "t",
            ONE,
            "LATEST",
            "Shard shardId-000000000000 in stream t under account 000000000000 does not exist",
        ),
        (
            "s",
            "7",
            "LATEST",
            "Shard shardId-000000000007 in stream s under account 000000000000 does not exist",
        ),
        ("s", "x", "LATEST", "Could not find shard x in stream s under account 000000000000."),
        (
            "s",
            ONE,
            "AT_TIMESTAMP",
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.",
        ),
    ] {
        assert_eq!(s.from(stream, shard, ty, None).await.unwrap_err().message, want);
    }
}

#[tokio::test]
async fn numbers_of_others_are_refused() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 2).await;
    let (shard, number) = s.put("s", "k", b"x").await.unwrap();
    let other = if shard == ONE { "shardId-000000000001" } else { ONE };
    let mut foreign = SequenceNumber::parse(&number).unwrap();
    foreign.created -= 5;
    for (shard, number, want) in [
        (other, number.clone(), "It encodes"),
        (shard.as_str(), foreign.to_string(), "did not come from this stream"),
        (shard.as_str(), "12345".into(), "is invalid"),
    ] {
        let e = s.from("s", shard, "AT_SEQUENCE_NUMBER", Some(&number)).await.unwrap_err();
        assert_eq!(e.code, "InvalidArgumentException");
        assert!(e.message.contains(want), "{e}");
    }
    for (ty, number) in [("LATEST", Some(number.as_str())), ("AT_SEQUENCE_NUMBER", None)] {
        assert_eq!(s.from("s", &shard, ty, number).await.unwrap_err().code, "InvalidArgumentException");
    }
    assert_eq!(s.from("s", "shardId-9", "LATEST", None).await.unwrap_err().code, "ResourceNotFoundException");
    assert_eq!(s.from("t", &shard, "LATEST", None).await.unwrap_err().code, "ResourceNotFoundException");
    assert_eq!(s.read("AAAA").await.unwrap_err().code, "InvalidArgumentException");
}

#[tokio::test]
async fn a_stream_made_anew_knows_nothing_of_the_old_one() {
    let site = Site::new().await;
    let s = site.open().await;
    s.make("s", 1).await;
    s.put("s", "k", b"old").await.unwrap();
    let old = s.from("s", ONE, "TRIM_HORIZON", None).await.unwrap();
    let gone = DeleteStream { stream_name: Some("s".into()), ..<_>::default() };
    s.delete_stream(s.permit(), gone).await.unwrap();
    assert_eq!(s.put("s", "k", b"x").await.unwrap_err().code, "ResourceNotFoundException");
    s.make("s", 1).await;
    assert_eq!(s.read(&old).await.unwrap_err().code, "ResourceNotFoundException");
    let new = s.from("s", ONE, "TRIM_HORIZON", None).await.unwrap();
    assert!(data(&s.read(&new).await.unwrap()).is_empty());
}

#[tokio::test]
async fn a_shard_takes_no_more_than_its_share() {
    let mut site = Site::new().await;
    site.config.limits = true;
    let s = site.open().await;
    s.make("s", 1).await;
    let entry = || PutRecordsRequestEntry {
        data: Some(vec![0; 100_000].into()),
        partition_key: Some("k".into()),
        explicit_hash_key: None,
    };
    let i = PutRecords {
        stream_name: Some("s".into()),
        records: Some((0..30).map(|_| entry()).collect()),
        ..<_>::default()
    };
    let out = serde_json::to_value(s.put_records(s.permit(), i).await.unwrap()).unwrap();
    let failed = out["FailedRecordCount"].as_u64().unwrap();
    assert!((15..=20).contains(&failed), "{failed}: a shard takes 1 MiB a second");
    let records = out["Records"].as_array().unwrap();
    let first = records.iter().position(|r| !r["ErrorCode"].is_null()).unwrap();
    assert_eq!(first as u64, 30 - failed, "nothing overtakes what was refused");
    let codes: Vec<_> = records.iter().filter_map(|r| r["ErrorCode"].as_str()).collect();
    assert_eq!(codes.len() as u64, failed);
    assert!(codes.iter().all(|c| *c == "ProvisionedThroughputExceededException"));
    let it = s.from("s", ONE, "TRIM_HORIZON", None).await.unwrap();
    let read = s.read(&it).await.unwrap();
    assert_eq!(read["Records"].as_array().unwrap().len() as u64, 30 - failed, "what failed is not there");
}

#[tokio::test]
async fn no_reader_begins_in_the_future() {
    let (_site, clock, s) = made().await;
    let at = |ms: i64| GetShardIterator {
        stream_name: Some("s".into()),
        shard_id: Some(ONE.into()),
        r#type: Some("AT_TIMESTAMP".into()),
        timestamp: Some(Time(world::Timestamp::from_millis(ms))),
        ..<_>::default()
    };
    let now = s.now().millis();
    let e = s.ask_iterator(at(now + 1)).await.unwrap_err();
    assert_eq!(e.code, "InvalidArgumentException");
    assert_eq!(
        e.message,
        format!(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: {}, currentTimestampInMillis: {now}",
            now + 1
        )
    );
    clock.advance(Duration::from_millis(1));
    s.ask_iterator(at(now + 1)).await.unwrap();
}

#[tokio::test]
async fn what_a_record_is_to_come_after_is_a_number() {
    let (_site, _clock, s) = made().await;
    let put = async |after: String| {
        let i = PutRecord {
            stream_name: Some("s".into()),
            partition_key: Some("k".into()),
            data: Some(vec![1].into()),
            sequence_number_for_ordering: Some(after),
            ..<_>::default()
        };
        s.put_record(s.permit(), i).await.map(drop).map_err(|e| (e.code, e.message))
    };
    let (_, number) = s.put("s", "k", b"x").await.unwrap();
    let n = SequenceNumber::parse(&number).unwrap();
    put(number.clone()).await.unwrap();
    put("0".into()).await.unwrap();
    // Those of other shards and streams, as a producer may not know where a record goes.
    put(SequenceNumber { shard: 7, created: n.created - 5, ..n }.to_string()).await.unwrap();
    // From before a clock was set back.
    put(SequenceNumber { arrived: n.arrived + 3600, ..n }.to_string()).await.unwrap();
    for bad in ["1".into(), format!("{number}0"), "9".repeat(56)] {
        let want = format!(
            "ExclusiveMinimumSequenceNumber {bad} used in PutRecord on stream s under account 000000000000 is invalid."
        );
        assert_eq!(put(bad.clone()).await, Err(("InvalidArgumentException", want)));
    }
}
