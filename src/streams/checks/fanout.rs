use std::{sync::Arc, time::Duration};

use futures_util::{Stream as Events, StreamExt as _};
use serde_json::Value;
use wire::aws::{AwsError, Time};
use world::{Timestamp, sim::SimClock};

use super::{Site, data, made, shown};
use crate::{DataStreams, fanout::SubscribeToShardEvent, input::*};

/// Registers one; its ARN.
pub(crate) async fn consumer(s: &DataStreams, stream: &str, name: &str) -> String {
    let out = register(s, stream, name).await.unwrap();
    out["Consumer"]["ConsumerARN"].as_str().unwrap().to_owned()
}

async fn register(s: &DataStreams, stream: &str, name: &str) -> Result<Value, AwsError> {
    let i = RegisterStreamConsumer {
        stream_arn: Some(s.get(stream).unwrap().arn.0.clone()),
        consumer_name: Some(name.into()),
        ..<_>::default()
    };
    s.register_consumer(s.permit(), i).await.map(|out| serde_json::to_value(out).unwrap())
}

impl DataStreams {
    /// Of the first shard, from its beginning.
    pub(crate) async fn subscription(
        &self,
        arn: &str,
    ) -> Result<impl Events<Item = Result<SubscribeToShardEvent, AwsError>> + Send + use<>, AwsError> {
        let i = SubscribeToShard {
            consumer_arn: Some(arn.into()),
            shard_id: Some("shardId-000000000000".into()),
            starting_position: Some(StartingPosition {
                r#type: Some("TRIM_HORIZON".into()),
                ..<_>::default()
            }),
            ..<_>::default()
        };
        self.subscribe_to_shard(self.permit(), i).await
    }
}

#[tokio::test]
async fn a_subscription_lasts_five_minutes() {
    let (_site, clock, s) = made().await;
    let arn = consumer(&s, "s", "c").await;
    let mut events = Box::pin(s.subscription(&arn).await.unwrap());
    let (mut seconds, mut empty, mut got) = (0, Vec::new(), Vec::new());
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some(event) => {
                    let event = shown(&event.unwrap());
                    match &data(&event)[..] {
                        [] => empty.push(seconds),
                        some => got.extend_from_slice(some),
                    }
                }
                None => break,
            },
            () = tokio::task::yield_now() => {
                clock.advance(Duration::from_secs(1));
                seconds += 1;
                assert!(seconds <= 300, "longer than five minutes");
                if seconds == 123 {
                    s.put("s", "k", b"in between").await.unwrap();
                }
            }
        }
    }
    assert_eq!(seconds, 300);
    assert_eq!(got, ["in between"]);
    assert_eq!(empty[..4], [0, 5, 10, 15], "when nothing comes, every five seconds");
    // Once over, it is not in the way of the next.
    drop(events);
    drop(s.subscription(&arn).await.unwrap());
}

#[tokio::test]
async fn a_later_subscription_takes_over_after_five_seconds() {
    let (_site, clock, s) = made().await;
    let arn = consumer(&s, "s", "c").await;
    let mut old = Box::pin(s.subscription(&arn).await.unwrap());
    old.next().await.unwrap().unwrap();
    clock.advance(Duration::from_millis(4999));
    let refused = s.subscription(&arn).await.map(drop).unwrap_err();
    assert_eq!(refused.code, "ResourceInUseException");
    s.put("s", "k", b"x").await.unwrap();
    assert_eq!(data(&shown(&old.next().await.unwrap().unwrap())), ["x"], "the old one goes on");
    clock.advance(Duration::from_millis(1));
    let mut new = Box::pin(s.subscription(&arn).await.unwrap());
    assert_eq!(old.next().await.unwrap().unwrap_err().code, "ResourceInUseException");
    assert!(old.next().await.is_none());
    drop(old);
    // That the old one is gone does not end the new one, nor lets another in early.
    assert_eq!(data(&shown(&new.next().await.unwrap().unwrap())), ["x"]);
    assert_eq!(s.subscription(&arn).await.map(drop).unwrap_err().code, "ResourceInUseException");
    // A consumer that is deregistered is told so.
    let i = DeregisterStreamConsumer { consumer_arn: Some(arn), ..<_>::default() };
    s.deregister_consumer(s.permit(), i).await.unwrap();
    assert_eq!(new.next().await.unwrap().unwrap_err().code, "ResourceInUseException");
}

/// One with AWS's quotas and a consumer of `s`.
async fn rationed() -> (Site, Arc<SimClock>, DataStreams, String) {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let mut site = Site::at(clock.clone()).await;
    site.config.limits = true;
    let s = site.open().await;
    s.make("s", 1).await;
    let arn = consumer(&s, "s", "c").await;
    (site, clock, s, arn)
}

#[tokio::test]
async fn a_consumer_subscribes_once_in_five_seconds_though_it_left() {
    let (_site, clock, s, arn) = rationed().await;
    drop(s.subscription(&arn).await.unwrap());
    clock.advance(Duration::from_millis(4999));
    assert_eq!(s.subscription(&arn).await.map(drop).unwrap_err().code, "ResourceInUseException");
    // Another consumer, and one that was refused, are not held up by it.
    let other = consumer(&s, "s", "d").await;
    drop(s.subscription(&other).await.unwrap());
    clock.advance(Duration::from_millis(1));
    drop(s.subscription(&arn).await.unwrap());
}

#[tokio::test]
async fn a_consumer_is_pushed_two_mebibytes_a_second() {
    let (_site, clock, s, arn) = rationed().await;
    // A record of a mebibyte a second is what a shard takes.
    const RECORDS: usize = 12;
    for n in 0..RECORDS {
        s.put("s", "k", &vec![b'a' + n as u8; (1 << 20) - 1]).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    let mut events = Box::pin(s.subscription(&arn).await.unwrap());
    let (mut got, mut tenths) = (0, 0);
    while got < RECORDS {
        tokio::select! {
            biased;
            event = events.next() => {
                got += data(&shown(&event.unwrap().unwrap())).len();
                // What was there to be taken at once, and what time has given.
                assert!(got as f64 <= 2.0 + 2.0 + 2.0 * f64::from(tenths) / 10.0, "{got} after {tenths} tenths");
            }
            () = tokio::task::yield_now() => {
                clock.advance(Duration::from_millis(100));
                tenths += 1;
                assert!(tenths < 100, "slower than it may be: {got}");
            }
        }
    }
    assert!(tenths >= 40, "{tenths}");
}

#[tokio::test]
async fn a_stream_has_so_many_consumers() {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let mut site = Site::at(clock.clone()).await;
    (site.config.limits, site.config.transition) = (true, Duration::from_secs(10));
    let s = site.open().await;
    let i = CreateStream { stream_name: Some("s".into()), shard_count: Some(1), ..<_>::default() };
    s.create_stream(s.permit(), i).await.unwrap();
    let rest = async || {
        while s.get("s").unwrap().read().body.work.is_some() {
            clock.advance(Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
    };
    rest().await;
    // Registers until there are so many, and one that is refused then; five at a time.
    let mut there = 0;
    let mut fill = async |most: usize| {
        while there < most {
            register(&s, "s", &format!("c{there}")).await.unwrap();
            there += 1;
            if there == 5 {
                clock.advance(Duration::from_secs(1));
                let sixth = register(&s, "s", "sixth").await.unwrap_err();
                assert_eq!(sixth.code, "LimitExceededException", "five are being created");
            }
            if there % 5 == 0 {
                clock.advance(Duration::from_secs(10));
            }
        }
        let more = register(&s, "s", "more").await.unwrap_err();
        assert_eq!(more.code, "LimitExceededException", "{most}");
        clock.advance(Duration::from_secs(10));
    };
    fill(20).await;
    let commitment = Some(Commitment { status: Some("ENABLED".into()) });
    s.update_account_settings(s.permit(), UpdateAccountSettings { commitment }).await.unwrap();
    // A provisioned stream has no advantage of it.
    fill(20).await;
    let i = UpdateStreamMode {
        stream_arn: Some(s.get("s").unwrap().arn.0.clone()),
        stream_mode_details: Some(StreamModeDetails { stream_mode: Some("ON_DEMAND".into()) }),
        ..<_>::default()
    };
    s.update_stream_mode(s.permit(), i).await.unwrap();
    rest().await;
    fill(50).await;
}

async fn status(s: &DataStreams, arn: &str) -> Result<String, &'static str> {
    let i = DescribeStreamConsumer { consumer_arn: Some(arn.into()), ..<_>::default() };
    let out = s.describe_consumer(s.permit(), i).await.map_err(|e| e.code)?;
    let out = serde_json::to_value(out).unwrap();
    Ok(out["ConsumerDescription"]["ConsumerStatus"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_consumer_is_deleted_for_a_while() {
    let (mut site, clock, s) = made().await;
    drop(s);
    site.config.transition = Duration::from_secs(10);
    let s = site.open().await;
    let arn = consumer(&s, "s", "c").await;
    assert_eq!(status(&s, &arn).await.unwrap(), "CREATING");
    clock.advance(Duration::from_secs(10));
    assert_eq!(status(&s, &arn).await.unwrap(), "ACTIVE");
    let mut events = Box::pin(s.subscription(&arn).await.unwrap());
    events.next().await.unwrap().unwrap();
    let deregister = async |s: &DataStreams| {
        let i = DeregisterStreamConsumer { consumer_arn: Some(arn.clone()), ..<_>::default() };
        s.deregister_consumer(s.permit(), i).await.map(drop).map_err(|e| e.code)
    };
    deregister(&s).await.unwrap();
    assert_eq!(status(&s, &arn).await.unwrap(), "DELETING");
    assert_eq!(events.next().await.unwrap().unwrap_err().code, "ResourceInUseException");
    assert_eq!(s.subscription(&arn).await.map(drop).unwrap_err().code, "ResourceInUseException");
    assert_eq!(register(&s, "s", "c").await.unwrap_err().code, "ResourceInUseException");
    deregister(&s).await.unwrap();
    // A start in between forgets neither that nor when.
    drop(events);
    drop(s);
    let s = site.open().await;
    clock.advance(Duration::from_millis(9999));
    tokio::task::yield_now().await;
    assert_eq!(status(&s, &arn).await.unwrap(), "DELETING");
    clock.advance(Duration::from_millis(1));
    while status(&s, &arn).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&s, &arn).await, Err("ResourceNotFoundException"));
    assert_eq!(deregister(&s).await, Err("ResourceNotFoundException"));
    register(&s, "s", "c").await.unwrap();
}

#[tokio::test]
async fn consumers_are_listed_a_hundred_at_a_time_and_deregistered_five_a_second_and_stream() {
    let (mut site, clock, s) = made().await;
    for n in 0..103 {
        consumer(&s, "s", &format!("c{n:03}")).await;
    }
    s.make("t", 1).await;
    consumer(&s, "t", "c").await;
    let list = async |max_results: Option<i64>, next_token: Option<String>, created: Option<Time>| {
        let i = ListStreamConsumers {
            stream_arn: Some(s.get("s").unwrap().arn.0.clone()),
            max_results,
            next_token,
            stream_creation_timestamp: created,
            ..<_>::default()
        };
        let out = s.list_consumers(s.permit(), i).await.map_err(|e| e.code)?;
        let out = serde_json::to_value(out).unwrap();
        let token = out["NextToken"].as_str().map(str::to_owned);
        Ok::<_, &str>((out["Consumers"].as_array().unwrap().len(), token))
    };
    let (many, token) = list(Some(10_000), None, None).await.unwrap();
    assert_eq!((many, token.is_some()), (100, true));
    assert_eq!(list(None, token.clone(), None).await, Ok((3, None)));
    let created = Some(Time(s.get("s").unwrap().read().body.created));
    assert_eq!(list(Some(1), None, created).await.unwrap().0, 1);
    assert_eq!(list(None, token, created).await, Err("InvalidArgumentException"));
    drop(s);
    site.config.limits = true;
    let s = site.open().await;
    let deregister = async |stream: &str, name: String| {
        let i = DeregisterStreamConsumer {
            stream_arn: Some(s.get(stream).unwrap().arn.0.clone()),
            consumer_name: Some(name),
            ..<_>::default()
        };
        s.deregister_consumer(s.permit(), i).await.map(drop).map_err(|e| e.code)
    };
    for n in 0..5 {
        deregister("s", format!("c{n:03}")).await.unwrap();
    }
    assert_eq!(deregister("s", "c005".into()).await, Err("LimitExceededException"));
    deregister("t", "c".into()).await.unwrap();
    clock.advance(Duration::from_secs(1));
    deregister("s", "c005".into()).await.unwrap();
}
