use std::time::Duration;

use wire::aws::Time;

use super::{Site, data};
use crate::{body::Status, input::*};

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
    // 600 KB a second in one shard, 400 in another, for ten seconds.
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
