//! Enhanced fan-out: consumers registered, and records pushed to them as soon as they are durable.

use std::{sync::Arc, time::Duration};

use access::Permit;
use futures_util::{Stream as Events, stream};
use log::Head;
use serde::Serialize;
use tokio::sync::watch;
use wire::aws::{AwsError, Empty, Event, Time};

use crate::{
    body::Mode,
    consumers::Consumer,
    error,
    get::{children, starting},
    input,
    map::Shard,
    meter::Consumed,
    page::{ChildShard, RecordOutput},
    quota::{Rate, Ration},
    sequence::SequenceNumber,
    service::{DataStreams, consumer_parts},
    stream::Stream,
    token,
};

/// Consumers of a stream: provisioned and on demand; on demand in an account that has committed itself (on-demand
/// advantage).
const CONSUMERS: usize = 20;
const CONSUMERS_ADVANTAGE: usize = 50;
/// Those being registered at a time.
const CREATING: usize = 5;
/// Consumers in an answer of ListStreamConsumers at most, and unless asked otherwise.
const LISTED: usize = 100;
/// How long a subscription lasts (API_SubscribeToShard).
const SUBSCRIPTION: Duration = Duration::from_secs(300);
/// When nothing comes, an empty event says how far behind the reader is.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Bytes and records of an event.
const EVENT_BYTES: usize = 2 << 20;
const EVENT_RECORDS: usize = 10_000;
/// Bytes a second that a consumer is pushed from a shard.
const PUSHED: Rate = Rate::of(2.0 * 1_048_576.0);

/// API_Consumer
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsumerOutput {
    consumer_name: String,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: String,
    consumer_status: &'static str,
    consumer_creation_timestamp: Time,
}

/// API_RegisterStreamConsumer
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterOutput {
    consumer: ConsumerOutput,
}

/// API_DescribeStreamConsumer
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeOutput {
    consumer_description: ConsumerDescription,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConsumerDescription {
    #[serde(flatten)]
    consumer: ConsumerOutput,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

/// API_ListStreamConsumers
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListOutput {
    consumers: Vec<ConsumerOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// API_SubscribeToShardEvent
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubscribeToShardEvent {
    records: Vec<RecordOutput>,
    /// None at the end of a shard: by this the Kinesis Client Library knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_sequence_number: Option<String>,
    millis_behind_latest: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<ChildShard>>,
}

impl Event for SubscribeToShardEvent {
    fn name(&self) -> &'static str {
        "SubscribeToShardEvent"
    }
}

impl DataStreams {
    fn shown(&self, stream: &Stream, c: &Consumer) -> ConsumerOutput {
        ConsumerOutput {
            consumer_name: c.name.clone(),
            consumer_arn: c.arn(stream).0,
            consumer_status: c.status(self.now(), self.inner.config.transition),
            consumer_creation_timestamp: Time(c.created),
        }
    }

    /// The consumer that `NAME:SECONDS` means, the end of its ARN.
    pub(crate) fn consumer_by(&self, stream: &Stream, rest: &str, arn: &str) -> Result<Consumer, AwsError> {
        let name = rest.rsplit_once(':').map_or(rest, |(name, _)| name);
        let c = self.inner.consumers.get(stream.uid, name).filter(|c| c.arn(stream).0 == arn);
        c.ok_or_else(|| error::not_found(format!("Consumer {arn} is not found.")))
    }

    fn consumer(
        &self,
        stream_arn: Option<&str>,
        name: Option<&str>,
        arn: Option<&str>,
    ) -> Result<(Arc<Stream>, Consumer), AwsError> {
        match (stream_arn, name, arn) {
            (_, _, Some(arn)) => {
                let (its, rest) = consumer_parts(arn);
                let stream = self.find(None, Some(its))?;
                let c = self.consumer_by(&stream, rest.unwrap_or_default(), arn)?;
                if name.is_some_and(|n| n != c.name) || stream_arn.is_some_and(|a| a != stream.arn.0) {
                    return Err(error::argument("ConsumerARN does not match StreamARN and ConsumerName."));
                }
                Ok((stream, c))
            }
            (Some(stream_arn), Some(name), None) => {
                let stream = self.find(None, Some(stream_arn))?;
                let c = self.inner.consumers.get(stream.uid, name).ok_or_else(|| {
                    error::not_found(format!(
                        "Consumer {name} is not found in stream {} under account {}.",
                        stream.name, self.inner.home.account
                    ))
                })?;
                Ok((stream, c))
            }
            _ => {
                Err(error::argument("Either ConsumerARN, or StreamARN and ConsumerName should be provided."))
            }
        }
    }

    /// API_RegisterStreamConsumer
    pub async fn register_consumer(
        &self,
        permit: Permit,
        i: input::RegisterStreamConsumer,
    ) -> Result<RegisterOutput, AwsError> {
        drop(permit);
        self.account_call("RegisterStreamConsumer", 5.0)?;
        let stream = self.find(None, i.stream_arn.as_deref())?;
        self.usable(&stream)?;
        let name = i.consumer_name.unwrap_or_default();
        let there = self.inner.consumers.of(stream.uid);
        if there.iter().any(|c| c.name == name) {
            return Err(error::in_use(format!("Consumer {name} of stream {} exists already.", stream.name)));
        }
        let advantage = self.inner.account.committed(self.now()) && stream.read().body.mode == Mode::OnDemand;
        let most = if advantage { CONSUMERS_ADVANTAGE } else { CONSUMERS };
        if self.inner.config.limits && there.len() >= most {
            return Err(error::limit(format!(
                "Stream {} has {most} consumers; that is the limit.",
                stream.name
            )));
        }
        let (now, transition) = (self.now(), self.inner.config.transition);
        let creating = there.iter().filter(|c| c.status(now, transition) == "CREATING").count();
        if self.inner.config.limits && creating >= CREATING {
            return Err(error::limit(format!(
                "{creating} consumers of stream {} are being created; that is the limit.",
                stream.name
            )));
        }
        let tags = i.tags.unwrap_or_default();
        crate::tags::check_tags(&stream.name, &self.inner.home, &tags, 0)?;
        let c = Consumer::new(&name, self.now(), tags);
        self.inner.consumers.put(&self.inner.tools, stream.uid, c.clone()).await?;
        Ok(RegisterOutput { consumer: self.shown(&stream, &c) })
    }

    /// API_DeregisterStreamConsumer
    pub async fn deregister_consumer(
        &self,
        permit: Permit,
        i: input::DeregisterStreamConsumer,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let (stream, c) =
            self.consumer(i.stream_arn.as_deref(), i.consumer_name.as_deref(), i.consumer_arn.as_deref())?;
        self.stream_call(&stream, "DeregisterStreamConsumer", 5.0)?;
        self.let_go(&stream, c).await?;
        Ok(Empty {})
    }

    /// API_DescribeStreamConsumer
    pub async fn describe_consumer(
        &self,
        permit: Permit,
        i: input::DescribeStreamConsumer,
    ) -> Result<DescribeOutput, AwsError> {
        drop(permit);
        let (stream, c) =
            self.consumer(i.stream_arn.as_deref(), i.consumer_name.as_deref(), i.consumer_arn.as_deref())?;
        self.stream_call(&stream, "DescribeStreamConsumer", 20.0)?;
        let consumer = self.shown(&stream, &c);
        Ok(DescribeOutput {
            consumer_description: ConsumerDescription { consumer, stream_arn: stream.arn.0.clone() },
        })
    }

    /// API_ListStreamConsumers
    pub async fn list_consumers(
        &self,
        permit: Permit,
        i: input::ListStreamConsumers,
    ) -> Result<ListOutput, AwsError> {
        drop(permit);
        let stream = self.find(None, i.stream_arn.as_deref())?;
        self.stream_call(&stream, "ListStreamConsumers", 5.0)?;
        if i.next_token.is_some() && i.stream_creation_timestamp.is_some() {
            return Err(error::argument(
                "NextToken and StreamCreationTimestamp cannot be provided together.",
            ));
        }
        if let Some(Time(t)) = i.stream_creation_timestamp
            && t.millis().div_euclid(1000) != stream.read().body.created.millis().div_euclid(1000)
        {
            return Err(error::no_stream(&self.inner.home, &stream.name));
        }
        let after: Option<String> = match &i.next_token {
            None => None,
            Some(t) => {
                let (uid, after): (String, String) =
                    token::open_page(&self.inner.gate, "list-consumers", t, self.now())?;
                if uid != stream.uid.to_string() {
                    return Err(error::argument("Invalid NextToken."));
                }
                Some(after)
            }
        };
        let limit = i.max_results.and_then(|l| usize::try_from(l).ok()).unwrap_or(LISTED).min(LISTED);
        let all = self.inner.consumers.of(stream.uid);
        let mut rest = all.iter().filter(|c| after.as_ref().is_none_or(|a| c.name > *a));
        let page: Vec<&Consumer> = rest.by_ref().take(limit).collect();
        let next_token = page.last().filter(|_| rest.next().is_some()).map(|last| {
            token::page(&self.inner.gate, "list-consumers", self.now(), (stream.uid.to_string(), &last.name))
        });
        Ok(ListOutput { consumers: page.into_iter().map(|c| self.shown(&stream, c)).collect(), next_token })
    }

    /// API_SubscribeToShard: a stream of events that is asked for the next one only as fast as the consumer reads, so that
    /// a slow one holds up nobody and no memory.
    pub async fn subscribe_to_shard(
        &self,
        permit: Permit,
        i: input::SubscribeToShard,
    ) -> Result<impl Events<Item = Result<SubscribeToShardEvent, AwsError>> + Send + use<>, AwsError> {
        drop(permit);
        let (stream, c) = self.consumer(None, None, i.consumer_arn.as_deref())?;
        self.usable(&stream)?;
        let now = self.now();
        let status = c.status(now, self.inner.config.transition);
        if status != "ACTIVE" {
            return Err(error::in_use(format!("Consumer {} is {status}, not ACTIVE.", c.name)));
        }
        let shard = self.shard(&stream, i.shard_id.as_deref().unwrap_or_default())?;
        let p = i.starting_position.unwrap_or_default();
        let from = starting(
            "StartingPosition",
            p.r#type.as_deref().unwrap_or_default(),
            p.sequence_number.as_deref(),
            p.timestamp,
        )?;
        let position = self.position("SubscribeToShard", &stream, &shard, from).await?;
        if i.dry_run == Some(true) {
            return Err(error::dry_run());
        }
        let head = self.inner.tools.log.watch(stream.log_shard(shard.index));
        let head = head.map_err(|e| self.gone(&stream, e))?;
        let clock = self.inner.tools.world.clock.clone();
        let served =
            self.inner.consumers.subscribe(stream.uid, &c.name, shard.index, clock.monotonic()).await;
        let (number, ended) = served.ok_or_else(|| {
            error::in_use(format!(
                "Consumer {} was subscribed to shard {} less than 5 seconds ago.",
                c.name,
                shard.id()
            ))
        })?;
        let s = Subscription {
            number,
            ration: Ration::Pushed(c.number, shard.index),
            consumed: stream.meter.consumer(&self.inner.usage, &stream, &c.name),
            consumer: c.name,
            until: clock.monotonic() + SUBSCRIPTION,
            changed: stream.follow(),
            last: shard.number(position, now).before(),
            service: self.clone(),
            stream,
            shard,
            position,
            head,
            ended,
            stopping: self.inner.stopping.subscribe(),
            first: true,
            over: false,
        };
        Ok(stream::unfold(s, |mut s| async move { s.next().await.map(|e| (e, s)) }))
    }
}

/// One consumer on one shard.
struct Subscription {
    service: DataStreams,
    stream: Arc<Stream>,
    shard: Shard,
    consumer: String,
    /// What it was given.
    consumed: Arc<Consumed>,
    number: u64,
    ration: Ration,
    position: u64,
    head: watch::Receiver<Head>,
    /// The stream's shards changed.
    changed: watch::Receiver<u64>,
    /// Taken over, or the consumer is gone.
    ended: watch::Receiver<bool>,
    stopping: watch::Receiver<bool>,
    until: Duration,
    last: SequenceNumber,
    first: bool,
    over: bool,
}

impl Subscription {
    async fn next(&mut self) -> Option<Result<SubscribeToShardEvent, AwsError>> {
        let clock = self.service.inner.tools.world.clock.clone();
        let mut beat = clock.monotonic() + HEARTBEAT;
        while !self.over {
            if *self.ended.borrow() {
                self.over = true;
                let message = "Another active subscription exists for this consumer, or it was deregistered.";
                return Some(Err(error::in_use(message)));
            }
            let now = clock.monotonic();
            if now >= self.until || *self.stopping.borrow() {
                return None;
            }
            let quotas = &self.service.inner.quotas;
            let owed = quotas.owed(self.ration, PUSHED);
            if !owed.is_zero() {
                tokio::select! {
                    _ = self.ended.changed() => {}
                    _ = self.stopping.changed() => {}
                    () = clock.sleep(owed.min(self.until.saturating_sub(now))) => {}
                }
                continue;
            }
            // What changes from here on wakes us.
            self.head.borrow_and_update();
            self.changed.borrow_and_update();
            let page = match self
                .service
                .page(&self.stream, &self.shard, self.position, EVENT_RECORDS, EVENT_BYTES)
                .await
            {
                Ok(page) => page,
                Err(e) => {
                    self.over = true;
                    return Some(Err(e));
                }
            };
            if let Some(last) = page.last {
                self.last = last;
            }
            self.over = page.next.is_none();
            if let Some(next) = page.next {
                self.position = next;
            }
            if !page.records.is_empty() || self.over || self.first || now >= beat {
                self.first = false;
                let (records, bytes) = (page.records.len() as u64, page.bytes as u64);
                quotas.charge(self.ration, PUSHED, page.bytes as f64);
                self.consumed.pushed(self.shard.index, records, bytes, page.behind.unsigned_abs());
                return Some(Ok(SubscribeToShardEvent {
                    records: page.records,
                    continuation_sequence_number: (!self.over).then(|| self.last.to_string()),
                    millis_behind_latest: page.behind,
                    child_shards: self.over.then(|| children(&self.stream, self.shard.index)),
                }));
            }
            let wait = beat.min(self.until).saturating_sub(now);
            tokio::select! {
                gone = self.head.changed() => if gone.is_err() {
                    // The log let go of the watch; if its shard is gone, the next page says so.
                    if let Ok(head) = self.service.inner.tools.log.watch(self.stream.log_shard(self.shard.index)) {
                        self.head = head;
                    }
                },
                _ = self.changed.changed() => {}
                _ = self.ended.changed() => {}
                _ = self.stopping.changed() => {}
                () = clock.sleep(wait) => beat = beat.min(clock.monotonic()),
            }
        }
        None
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (shard, number) = (self.shard.index, self.number);
        if self.service.inner.consumers.unsubscribe(self.stream.uid, &self.consumer, shard, number) {
            self.consumed.left(shard);
        }
    }
}
