//! Records in: placed by hash key, rationed by shard, appended, and answered once they are durable.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use access::Permit;
use bytes::{Bytes, BytesMut};
use log::{Committed, LogError};
use serde::Serialize;
use wire::aws::{AwsError, Violations};

use crate::{
    body::Mode,
    error,
    hashing::{hash_key, parse_hash_key},
    input::{PutRecord, PutRecords},
    map::{self, Shard},
    quota::{Rate, Ration},
    record,
    sequence::{Digits, SequenceNumber},
    service::DataStreams,
    stream::Stream,
    taken::{Outcome, PutRecordsOutput},
};

/// Bytes a second that a shard takes, and records (API_CreateStream).
const BYTES: f64 = 1_048_576.0;
const RECORDS: f64 = 1000.0;
/// Of a request, partition keys included (API_PutRecords).
const REQUEST: usize = 10 << 20;
/// Shards that are tried for a record that may go to any.
const TURNS: usize = 8;
/// How often records are placed anew, as their shard was closed meanwhile.
const PLACINGS: usize = 16;

/// API_PutRecord
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordOutput {
    shard_id: String,
    sequence_number: Digits,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

/// A record on its way.
struct Placed {
    hash: u128,
    /// As the log keeps it.
    stored: Bytes,
    /// Counted: data and key.
    len: usize,
    outcome: Option<Outcome>,
}

/// What is asked of a stream's document for each request.
struct Taking {
    /// Whether records are encrypted under a user's key.
    kms: bool,
    /// Bytes of a record.
    limit: usize,
    /// Whether records go to any shard.
    auto: bool,
}

/// `room`: where the record is written, behind those of the same request.
fn place(
    key: &str,
    explicit: Option<&str>,
    data: &[u8],
    t: &Taking,
    room: &mut BytesMut,
) -> Result<Placed, AwsError> {
    let hash = match explicit {
        // Keys are not looked at.
        _ if t.auto => 0,
        None => hash_key(key),
        Some(text) => parse_hash_key(text).ok_or_else(|| {
            error::argument(format!(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}"
            ))
        })?,
    };
    record::encode_into(room, key, data, t.kms);
    Ok(Placed { hash, stored: room.split().freeze(), len: key.len() + data.len(), outcome: None })
}

impl DataStreams {
    /// API_PutRecord
    pub async fn put_record(&self, permit: Permit, i: PutRecord) -> Result<PutRecordOutput, AwsError> {
        drop(permit);
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let t = self.puttable(&stream).await?;
        if !t.auto {
            let mut v = Violations::default();
            v.text("partitionKey", &i.partition_key).required();
            v.into_result()?;
        }
        if let Some(text) = &i.sequence_number_for_ordering {
            self.check_ordering(&stream, text)?;
        }
        let (key, data) = (i.partition_key.unwrap_or_default(), i.data.unwrap_or_default());
        let placed = place(&key, i.explicit_hash_key.as_deref(), &data, &t, &mut BytesMut::new())?;
        check_size(&stream, placed.len, t.limit)?;
        if i.dry_run == Some(true) {
            return Err(error::dry_run());
        }
        let mut placed = [placed];
        self.append(&stream, &mut placed).await;
        let [p] = placed;
        let (shard, position, arrival) = p.outcome.unwrap_or_else(|| Err(moving(&stream)))?;
        Ok(PutRecordOutput {
            shard_id: shard.id(),
            sequence_number: shard.number(position, arrival).digits(),
            encryption_type: t.kms.then_some("KMS"),
        })
    }

    /// API_PutRecords
    pub async fn put_records(&self, permit: Permit, i: PutRecords) -> Result<PutRecordsOutput, AwsError> {
        drop(permit);
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let t = self.puttable(&stream).await?;
        if !t.auto {
            let mut v = Violations::default();
            v.list("records", &i.records).each(|e, v| {
                v.text("partitionKey", &e.partition_key).required();
            });
            v.into_result()?;
        }
        let entries = i.records.unwrap_or_default();
        let (mut placed, mut total) = (Vec::with_capacity(entries.len()), 0);
        let bytes = entries.iter().map(|e| {
            let key = e.partition_key.as_ref().map_or(0, String::len);
            record::encoded_len(key, e.data.as_ref().map_or(0, |d| d.len()))
        });
        let mut room = BytesMut::with_capacity(bytes.sum());
        for e in entries {
            let (key, data) = (e.partition_key.unwrap_or_default(), e.data.unwrap_or_default());
            let p = place(&key, e.explicit_hash_key.as_deref(), &data, &t, &mut room)?;
            check_size(&stream, p.len, t.limit)?;
            total += p.len;
            placed.push(p);
        }
        if total > REQUEST {
            return Err(error::argument("Records size exceeds 10 MB limit"));
        }
        if i.dry_run == Some(true) {
            return Err(error::dry_run());
        }
        self.append(&stream, &mut placed).await;
        let outcomes = placed.into_iter().map(|p| p.outcome.unwrap_or_else(|| Err(moving(&stream))));
        Ok(PutRecordsOutput::new(outcomes, t.kms))
    }

    /// A number that a record is to come after. It does in any case, so that all there is to be said of it is that it is none.
    fn check_ordering(&self, stream: &Stream, text: &str) -> Result<(), AwsError> {
        if text == "0" || SequenceNumber::parse(text).is_some_and(|n| n.is_given()) {
            return Ok(());
        }
        Err(error::argument(format!(
            "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {} under account {} is invalid.",
            stream.name, self.inner.home.account
        )))
    }

    /// How a stream takes records now, if its key may be used.
    async fn puttable(&self, stream: &Stream) -> Result<Taking, AwsError> {
        self.usable(stream)?;
        let (key, t) = {
            let b = &stream.read().body;
            let t = Taking { kms: b.key.is_some(), limit: b.max_record_kib as usize * 1024, auto: b.auto };
            (b.key.clone(), t)
        };
        if let Some(key) = key {
            self.inner.keys.usable(&key).await?;
        }
        Ok(t)
    }

    /// Appends what has no outcome yet; what is left without one is of shards that kept being closed.
    async fn append(&self, stream: &Arc<Stream>, records: &mut [Placed]) {
        let mode = stream.read().body.mode;
        for _ in 0..PLACINGS {
            let groups = self.group(stream, records);
            if groups.is_empty() {
                return;
            }
            let mut closed = false;
            let appends = groups.into_iter().map(|(shard, which)| {
                let batch: Vec<Bytes> = which.iter().map(|n| records[*n].stored.clone()).collect();
                let id = stream.log_shard(shard.index);
                async move { (shard, which, self.inner.tools.log.append(id, batch).await) }
            });
            let done: Vec<(Shard, Vec<usize>, Result<Committed, LogError>)> =
                futures_util::future::join_all(appends).await;
            for (shard, which, outcome) in done {
                match outcome {
                    Ok(c) => {
                        for (n, position) in which.into_iter().zip(c.first..) {
                            stream.meter.put(records[n].len as u64, mode);
                            records[n].outcome = Some(Ok((shard, position, c.arrival)));
                        }
                    }
                    // Its children take the records.
                    Err(LogError::Closed(_)) => closed = true,
                    Err(LogError::NoShard(_)) => {
                        let e = error::no_stream(&self.inner.home, &stream.name);
                        which.into_iter().for_each(|n| records[n].outcome = Some(Err(e.clone())));
                    }
                    Err(e) => {
                        let e = error::log(e);
                        which.into_iter().for_each(|n| records[n].outcome = Some(Err(e.clone())));
                    }
                }
            }
            if !closed {
                return;
            }
            // Whoever closed it holds the turn until the children are open.
            stream.settled().await;
        }
    }

    /// By the shard that takes them, in their order; what is beyond a shard's ration gets its outcome here.
    fn group(&self, stream: &Stream, records: &mut [Placed]) -> Vec<(Shard, Vec<usize>)> {
        let s = stream.read();
        let mut groups: Vec<(Shard, Vec<usize>)> = Vec::new();
        let (mut by_index, mut refused) = (HashMap::new(), HashSet::new());
        let on_demand = s.body.mode == Mode::OnDemand;
        let auto = s.body.auto.then(|| s.map.open_count()).filter(|n| *n > 0);
        let q = &self.inner.quotas;
        let allowed = |index: u32, len: usize| {
            q.take(Ration::PutRecords(stream.uid, index), Rate::of(RECORDS), 1.0)
                && q.take(Ration::PutBytes(stream.uid, index), Rate::of(BYTES), len as f64)
        };
        for (n, r) in records.iter_mut().enumerate().filter(|(_, r)| r.outcome.is_none()) {
            let (shard, taken) = match auto {
                // The next shard's turn; if its ration is used up, one of those after it. There is no order to keep.
                Some(open) => {
                    let mut turns = (0..open.min(TURNS)).map(|_| s.map.open_at(stream.turnstile() % open));
                    let first = s.map.open_at(0);
                    match turns.find(|s| s.is_some_and(|s| allowed(s.index, r.len))) {
                        Some(shard) => (shard, true),
                        None => (first, false),
                    }
                }
                // One that was refused is put again after this request: what follows it in its shard must not overtake it.
                None => {
                    let shard = s.map.taking(r.hash);
                    (shard, shard.is_some_and(|s| !refused.contains(&s.index) && allowed(s.index, r.len)))
                }
            };
            let Some(shard) = shard else {
                r.outcome = Some(Err(moving(stream)));
                continue;
            };
            let index = shard.index;
            if !taken {
                refused.insert(index);
                stream.meter.put_refused();
                r.outcome = Some(Err(error::throughput(format!(
                    "Rate exceeded for shard {} in stream {} under account {}.",
                    map::id(index),
                    stream.name,
                    self.inner.home.account
                ))));
                continue;
            }
            if on_demand {
                stream.load.add(index, r.len as u64);
            }
            let at = *by_index.entry(index).or_insert_with(|| {
                groups.push((*shard, Vec::new()));
                groups.len() - 1
            });
            groups[at].1.push(n);
        }
        groups
    }
}

fn check_size(stream: &Stream, len: usize, limit: usize) -> Result<(), AwsError> {
    if len > limit {
        return Err(error::argument(format!(
            "A record of {len} bytes, partition key included, is larger than the {limit} bytes that stream {} takes.",
            stream.name
        )));
    }
    Ok(())
}

/// Its shards changed faster than it could be placed.
fn moving(stream: &Stream) -> AwsError {
    error::internal(format!("data stream {:?} is being resharded without end", stream.name))
}
