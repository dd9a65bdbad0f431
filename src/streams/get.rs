//! Records out: iterators, and pages of a shard.

use std::{sync::Arc, time::Duration};

use access::{Gate, Permit};
use log::{Head, Item, LogError};
use serde::Serialize;
use wire::aws::{AwsError, Input as _, Time};
use world::{Arn, Home, Timestamp};

use crate::{
    error,
    input::{GetRecords, GetShardIterator},
    map::{self, Shard},
    page::{ChildShard, GetRecordsOutput, HashKeyRange, Page, RecordOutput},
    quota::{Rate, Ration},
    record,
    sequence::{InOrder, SequenceNumber},
    service::{DataStreams, named, stream_arn},
    stream::Stream,
    token::Iterator,
};

/// Bytes a second that a shard gives (API_GetRecords), and calls.
const BYTES: f64 = 2.0 * 1_048_576.0;
const CALLS: f64 = 5.0;
/// Bytes in an answer; after so many the shard gives nothing for [`AFTER_LARGE`].
const PAGE: usize = 10 << 20;
const AFTER_LARGE: Duration = Duration::from_secs(5);
/// Bytes of an answer as it is written: a page in Base64, and what is said of its records.
pub(crate) const ANSWER: usize = PAGE / 2 * 3;
/// Records in an answer.
const MOST: usize = 10_000;

/// API_GetShardIterator
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetShardIteratorOutput {
    shard_iterator: String,
}

/// Where a reader begins.
pub(crate) enum From<'a> {
    At(&'a str),
    After(&'a str),
    TrimHorizon,
    Latest,
    Time(Timestamp),
}

/// The stream that an iterator is of, which the gate is asked about; what is no iterator could be of any.
pub(crate) fn resource(gate: &Gate, i: &GetRecords, home: &Home) -> Result<Arn, AwsError> {
    match Iterator::peek(gate, i.shard_iterator.as_deref().unwrap_or_default()) {
        Some(it) => Ok(stream_arn(home, &it.n)),
        None => i.resource(home),
    }
}

impl DataStreams {
    /// API_GetShardIterator
    pub async fn get_shard_iterator(
        &self,
        permit: Permit,
        i: GetShardIterator,
    ) -> Result<GetShardIteratorOutput, AwsError> {
        drop(permit);
        let name = named(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let id = i.shard_id.as_deref().unwrap_or_default();
        // Where there is no stream, it is the shard that is missing, as the service has it.
        let found = self.get(&name).and_then(|s| self.usable(&s).map(|()| s));
        let stream = found
            .map_err(|e| map::parse_id(id).map_or(e, |n| error::shard_gone(&self.inner.home, &name, n)))?;
        let shard = self.shard(&stream, id)?;
        let ty = i.r#type.as_deref().unwrap_or_default();
        let from = starting("ShardIteratorType", ty, i.starting_sequence_number.as_deref(), i.timestamp)?;
        self.ration(Ration::Iterators(stream.uid, shard.index), CALLS, || {
            self.too_fast(&stream, shard.index)
        })?;
        let position = self.position("GetShardIterator", &stream, &shard, from).await?;
        if i.dry_run == Some(true) {
            return Err(error::dry_run());
        }
        Ok(GetShardIteratorOutput { shard_iterator: self.iterator(&stream, shard.index, position) })
    }

    /// API_GetRecords
    pub async fn get_records(&self, permit: Permit, i: GetRecords) -> Result<GetRecordsOutput, AwsError> {
        drop(permit);
        let it =
            Iterator::open(&self.inner.gate, i.shard_iterator.as_deref().unwrap_or_default(), self.now())?;
        let gone = || error::shard_gone(&self.inner.home, &it.n, it.s);
        if let Some(arn) = &i.stream_arn
            && named(None, Some(arn))? != it.n
        {
            return Err(error::argument(format!("ShardIterator is not one of stream {arn}.")));
        }
        let stream = self.get(&it.n).ok().filter(|s| s.uid == it.u).ok_or_else(gone)?;
        self.usable(&stream)?;
        let shard = stream.read().map.get(it.s).copied().ok_or_else(gone)?;
        let q = &self.inner.quotas;
        let bytes = Ration::GetBytes(stream.uid, shard.index);
        if !q.take(Ration::GetCalls(stream.uid, shard.index), Rate::of(CALLS), 1.0)
            || !q.take(bytes, Rate::of(BYTES), 0.0)
        {
            stream.meter.get_refused();
            return Err(self.too_fast(&stream, shard.index));
        }
        if i.dry_run == Some(true) {
            return Err(error::dry_run());
        }
        let most = i.limit.and_then(|l| usize::try_from(l).ok()).map_or(MOST, |l| l.clamp(1, MOST));
        let page = self.page(&stream, &shard, it.p, most, PAGE).await?;
        let behind = page.behind.unsigned_abs();
        let now = self.inner.tools.world.clock.monotonic();
        stream.meter.got(page.records.len() as u64, page.bytes as u64, behind, now);
        q.charge(bytes, Rate::of(BYTES), page.bytes as f64);
        if page.bytes + 1024 >= PAGE {
            q.block(bytes, Rate::of(BYTES), AFTER_LARGE);
        }
        Ok(GetRecordsOutput {
            next_shard_iterator: page.next.map(|p| self.iterator(&stream, shard.index, p)),
            child_shards: page.next.is_none().then(|| children(&stream, shard.index)),
            millis_behind_latest: page.behind,
            records: page.records,
        })
    }

    fn iterator(&self, stream: &Stream, shard: u32, position: u64) -> String {
        let it = Iterator { u: stream.uid, n: stream.name.clone(), s: shard, p: position, t: self.now() };
        it.seal(&self.inner.gate)
    }

    fn too_fast(&self, stream: &Stream, shard: u32) -> AwsError {
        error::throughput(format!(
            "Rate exceeded for shard {} in stream {} under account {}.",
            map::id(shard),
            stream.name,
            self.inner.home.account
        ))
    }

    /// A shard by the id that a client gives.
    pub(crate) fn shard(&self, stream: &Stream, id: &str) -> Result<Shard, AwsError> {
        let s = stream.read().map.by_id(id).copied();
        s.ok_or_else(|| match map::parse_id(id) {
            Some(n) => error::shard_gone(&self.inner.home, &stream.name, n),
            None => error::no_shard(&self.inner.home, &stream.name, id),
        })
    }

    /// What is older than this is not given any more, whether or not it is gone yet.
    fn horizon(&self, stream: &Stream) -> Timestamp {
        self.now() - Duration::from_secs(3600 * u64::from(stream.read().body.retention_hours))
    }

    /// The position that a reader begins at.
    pub(crate) async fn position(
        &self,
        operation: &str,
        stream: &Stream,
        shard: &Shard,
        from: From<'_>,
    ) -> Result<u64, AwsError> {
        let log = &self.inner.tools.log;
        let id = stream.log_shard(shard.index);
        let (text, at) = match from {
            From::TrimHorizon => {
                return log.seek(id, self.horizon(stream)).await.map_err(|e| self.gone(stream, e));
            }
            From::Time(t) if t.millis() > self.now().millis() => {
                return Err(error::argument(format!(
                    "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: {}, currentTimestampInMillis: {}",
                    t.millis(),
                    self.now().millis()
                )));
            }
            From::Time(t) => {
                return log.seek(id, t.max(self.horizon(stream))).await.map_err(|e| self.gone(stream, e));
            }
            From::Latest => return Ok(self.head(stream, shard.index)?.next),
            From::At(text) => (text, true),
            From::After(text) => (text, false),
        };
        let used = |why: &str| {
            error::argument(format!(
                "StartingSequenceNumber {text} used in {operation} on shard {} in stream {} under account {} is invalid{why}.",
                shard.id(),
                stream.name,
                self.inner.home.account
            ))
        };
        let n = SequenceNumber::parse(text).ok_or_else(|| used(""))?;
        if n.shard != shard.index {
            return Err(error::argument(format!(
                "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {}",
                map::id(n.shard),
                shard.id()
            )));
        }
        if !shard.owns(&n) {
            return Err(used(" because it did not come from this stream"));
        }
        Ok(if at { n.at() } else { n.after() })
    }

    pub(crate) fn head(&self, stream: &Stream, shard: u32) -> Result<Head, AwsError> {
        let watch = self.inner.tools.log.watch(stream.log_shard(shard)).map_err(|e| self.gone(stream, e))?;
        Ok(*watch.borrow())
    }

    /// An error of the log on a read.
    pub(crate) fn gone(&self, stream: &Stream, e: LogError) -> AwsError {
        match e {
            // Forgotten at this moment: its records are too old.
            LogError::NoShard(id) if self.get(&stream.name).is_ok_and(|s| s.uid == stream.uid) => {
                error::shard_gone(&self.inner.home, &stream.name, id.shard)
            }
            LogError::NoShard(_) => error::no_stream(&self.inner.home, &stream.name),
            e => error::log(e),
        }
    }

    /// Reads on from a position: what is older than the retention is passed over.
    pub(crate) async fn page(
        &self,
        stream: &Stream,
        shard: &Shard,
        from: u64,
        most: usize,
        bytes: usize,
    ) -> Result<Page, AwsError> {
        let log = &self.inner.tools.log;
        let id = stream.log_shard(shard.index);
        let mut from = from;
        let page = loop {
            let page = match log.read(id, from.min(self.head(stream, shard.index)?.next), most, bytes).await {
                Ok(page) => page,
                Err(LogError::Trimmed { oldest, .. }) => {
                    from = oldest;
                    continue;
                }
                Err(e) => return Err(self.gone(stream, e)),
            };
            let horizon = self.horizon(stream);
            match page.items.first() {
                Some(Item::Record(r)) if r.arrival < horizon => {
                    let kept = log.seek(id, horizon).await.map_err(|e| self.gone(stream, e))?;
                    from = kept.max(r.position + 1);
                }
                _ => break page,
            }
        };
        let mut out = Page {
            records: Vec::with_capacity(page.items.len()),
            bytes: 0,
            next: None,
            last: None,
            behind: 0,
        };
        let (mut last_arrival, mut keys) = (None, Vec::<String>::new());
        let mut numbers = InOrder::default();
        for item in page.items {
            let Item::Record(r) = item else { continue };
            let record = record::decode(r.data)
                .map_err(|e| error::internal(format!("record {} of shard {id}: {e}", r.position)))?;
            let number = shard.number(r.position, r.arrival);
            if record.kms()
                && let Some(key) = stream.read().body.key_at(r.arrival)
                && !keys.iter().any(|k| k == key)
            {
                keys.push(key.to_owned());
            }
            out.bytes += record.data().len() + record.key().len();
            out.last = Some(number);
            last_arrival = Some(r.arrival);
            let number = numbers.digits(number);
            out.records.push(RecordOutput { number, arrived: Time(r.arrival), record });
        }
        for key in &keys {
            self.inner.keys.usable(key).await?;
        }
        let head = self.head(stream, shard.index)?;
        let tip = page.next >= head.next;
        // A shard ends for its readers once its children are known.
        let ended =
            tip && head.closed && stream.read().map.get(shard.index).is_none_or(|s| s.closed.is_some());
        out.next = (!ended).then_some(page.next);
        if !tip && let Some(t) = last_arrival {
            out.behind = self.now().since(t).as_millis() as i64;
        }
        Ok(out)
    }
}

/// A starting position as the API has it.
pub(crate) fn starting<'a>(
    what: &str,
    ty: &str,
    number: Option<&'a str>,
    time: Option<Time>,
) -> Result<From<'a>, AwsError> {
    let words = "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified";
    match (ty, number, time) {
        ("AT_SEQUENCE_NUMBER", Some(n), _) => Ok(From::At(n)),
        ("AFTER_SEQUENCE_NUMBER", Some(n), _) => Ok(From::After(n)),
        ("AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER", None, _) => {
            Err(error::argument(format!("{words} {ty} and no StartingSequenceNumber.")))
        }
        (_, Some(_), _) => Err(error::argument(format!("{words} {ty} and also a StartingSequenceNumber."))),
        ("AT_TIMESTAMP", None, Some(t)) => Ok(From::Time(t.0)),
        ("AT_TIMESTAMP", None, None) => Err(error::argument(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.",
        )),
        ("TRIM_HORIZON", ..) => Ok(From::TrimHorizon),
        ("LATEST", ..) => Ok(From::Latest),
        _ => Err(error::argument(format!("{what} {ty} is not known."))),
    }
}

/// The shards that continue one.
pub(crate) fn children(stream: &Arc<Stream>, shard: u32) -> Vec<ChildShard> {
    let s = stream.read();
    let child = |c: &Shard| ChildShard {
        shard_id: c.id(),
        parent_shards: c.parents.iter().flatten().map(|p| map::id(*p)).collect(),
        hash_key_range: HashKeyRange::of(c),
    };
    s.map.children(shard).map(child).collect()
}
