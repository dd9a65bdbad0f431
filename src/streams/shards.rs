//! Shards listed, split and merged.

use access::{Gate, Permit};
use serde::{Deserialize, Serialize};
use wire::aws::{AwsError, Empty, Input as _, Time};
use world::{Arn, Home, Timestamp};

use crate::{
    body::{Body, Mode, Status, StoredStep, Work},
    control::ShardOutput,
    error,
    hashing::parse_hash_key,
    input::{ListShards, MergeShards, ShardFilter, SplitShard, UpdateShardCount},
    map::{self, Shard},
    plan,
    service::{DataStreams, stream_arn},
    stream::{Stream, lately},
    token,
};

/// Shards in an answer of ListShards at most, and unless asked otherwise.
const SHARDS: usize = 1000;
/// What tokens of its pages are sealed for.
const PAGES: &str = "list-shards";
/// UpdateShardCount in 24 hours.
const COUNTS: usize = 10;
/// Shards of a stream (API_UpdateShardCount).
const STREAM_SHARDS: u32 = 10_000;

/// API_ListShards
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListShardsOutput {
    shards: Vec<ShardOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// API_UpdateShardCount
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateShardCountOutput {
    stream_name: String,
    current_shard_count: usize,
    target_shard_count: i64,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

/// Which shards are listed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Which {
    After(u32),
    OpenAtTrimHorizon,
    FromTrimHorizon,
    Latest,
    OpenAt(Timestamp),
    From(Timestamp),
}

#[derive(Serialize, Deserialize)]
struct Next {
    stream: String,
    uid: String,
    after: u32,
    which: Which,
}

fn which(f: &ShardFilter) -> Result<Which, AwsError> {
    let need = |what: &str| error::argument(format!("ShardFilter of this type needs a {what}."));
    match f.r#type.as_deref().unwrap_or_default() {
        "AFTER_SHARD_ID" => {
            let id = f.shard_id.as_deref().ok_or_else(|| need("ShardId"))?;
            map::parse_id(id)
                .map(Which::After)
                .ok_or_else(|| error::argument(format!("ShardId {id} is not one.")))
        }
        "AT_TRIM_HORIZON" => Ok(Which::OpenAtTrimHorizon),
        "FROM_TRIM_HORIZON" => Ok(Which::FromTrimHorizon),
        "AT_LATEST" => Ok(Which::Latest),
        "AT_TIMESTAMP" => Ok(Which::OpenAt(f.timestamp.ok_or_else(|| need("Timestamp"))?.0)),
        "FROM_TIMESTAMP" => Ok(Which::From(f.timestamp.ok_or_else(|| need("Timestamp"))?.0)),
        other => Err(error::argument(format!("ShardFilter type {other} is not known."))),
    }
}

/// The stream that is listed, which the gate is asked about: by name or ARN, or by the page's token.
pub(crate) fn resource(gate: &Gate, i: &ListShards, home: &Home) -> Result<Arn, AwsError> {
    let next = i.next_token.as_ref().and_then(|t| token::peek_page::<Next>(gate, PAGES, t));
    match next {
        Some(next) => Ok(stream_arn(home, &next.stream)),
        None => i.resource(home),
    }
}

impl Which {
    fn holds(self, s: &Shard, horizon: Timestamp) -> bool {
        let open_at = |t: Timestamp| s.opened <= t && s.closed.is_none_or(|z| z > t);
        match self {
            Which::After(n) => s.index > n,
            Which::FromTrimHorizon => s.closed.is_none_or(|z| z >= horizon),
            // A stream younger than the horizon began with its first shards.
            Which::OpenAtTrimHorizon => open_at(horizon) || (s.opened > horizon && s.parents[0].is_none()),
            Which::Latest => s.closed.is_none(),
            Which::OpenAt(t) => {
                open_at(t.max(horizon)) || (s.opened > t && s.parents[0].is_none() && t <= horizon)
            }
            Which::From(t) => s.closed.is_none_or(|z| z >= t.max(horizon)),
        }
    }
}

impl DataStreams {
    /// API_ListShards
    pub async fn list_shards(&self, permit: Permit, i: ListShards) -> Result<ListShardsOutput, AwsError> {
        drop(permit);
        let limit = i.max_results.and_then(|l| usize::try_from(l).ok()).unwrap_or(SHARDS).min(SHARDS);
        let named = i.stream_name.is_some() || i.stream_arn.is_some();
        let (stream, after, which) = match &i.next_token {
            Some(_) if named => {
                return Err(error::argument("NextToken and StreamName cannot be provided together."));
            }
            Some(_) if i.exclusive_start_shard_id.is_some() || i.stream_creation_timestamp.is_some() => {
                return Err(error::argument(
                    "NextToken and ExclusiveStartShardId or StreamCreationTimestamp cannot be provided together.",
                ));
            }
            Some(t) => {
                let next: Next = token::open_page(&self.inner.gate, PAGES, t, self.now())?;
                let stream = self.get(&next.stream)?;
                if stream.uid.to_string() != next.uid {
                    return Err(error::no_stream(&self.inner.home, &next.stream));
                }
                (stream, Some(next.after), next.which)
            }
            None if !named => {
                return Err(error::argument("Either NextToken or StreamName should be provided."));
            }
            None => {
                let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
                let after = match &i.exclusive_start_shard_id {
                    None => None,
                    Some(id) => Some(
                        map::parse_id(id)
                            .ok_or_else(|| error::no_shard(&self.inner.home, &stream.name, id))?,
                    ),
                };
                let which = i.shard_filter.as_ref().map(which).transpose()?.unwrap_or(Which::FromTrimHorizon);
                (stream, after, which)
            }
        };
        self.stream_call(&stream, "ListShards", 1000.0)?;
        if let Some(Time(t)) = i.stream_creation_timestamp
            && t.millis().div_euclid(1000) != stream.read().body.created.millis().div_euclid(1000)
        {
            return Err(error::no_stream(&self.inner.home, &stream.name));
        }
        let s = stream.read();
        let horizon = self.now() - std::time::Duration::from_secs(3600 * u64::from(s.body.retention_hours));
        let all = s.map.all();
        let from = after.map_or(0, |a| all.partition_point(|s| s.index <= a));
        let mut rest = all[from..].iter().filter(|s| which.holds(s, horizon));
        let page: Vec<&Shard> = rest.by_ref().take(limit).collect();
        let next_token = page.last().filter(|_| rest.next().is_some()).map(|last| {
            let next =
                Next { stream: stream.name.clone(), uid: stream.uid.to_string(), after: last.index, which };
            token::page(&self.inner.gate, PAGES, self.now(), next)
        });
        Ok(ListShardsOutput { shards: page.into_iter().map(ShardOutput::from).collect(), next_token })
    }

    /// API_SplitShard
    pub async fn split_shard(&self, permit: Permit, i: SplitShard) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("SplitShard", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let (now, shards) = (self.now(), self.open_shards());
        let id = i.shard_to_split.unwrap_or_default();
        let text = i.new_starting_hash_key.unwrap_or_default();
        self.update(&stream, Status::Updating, |b, map| {
            self.provisioned(b, &stream, "SplitShard")?;
            let shard = self.named_shard(&stream, map, &id)?;
            self.within_shard_quota(shards, 1)?;
            let (start, end) = shard.range;
            let at = parse_hash_key(&text).filter(|at| *at > start.saturating_add(1) && *at < end).ok_or_else(|| {
                error::argument(format!(
                    "NewStartingHashKey {text} used in SplitShard() on shard {} in stream {} under account {} is not both greater than one plus the shard's StartingHashKey {start} and less than the shard's EndingHashKey {end}.",
                    shard.id(),
                    stream.name,
                    self.inner.home.account
                ))
            })?;
            self.open_shard(&stream, &shard)?;
            let step = plan::split(map, &shard, at, now)
                .ok_or_else(|| error::argument(format!("Shard {} cannot be split at {text}.", shard.id())))?;
            Ok((Work::Steps(vec![StoredStep::from(&step)]), ()))
        })
        .await?;
        Ok(Empty {})
    }

    /// API_MergeShards
    pub async fn merge_shards(&self, permit: Permit, i: MergeShards) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("MergeShards", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let (a, z) = (i.shard_to_merge.unwrap_or_default(), i.adjacent_shard_to_merge.unwrap_or_default());
        let now = self.now();
        self.update(&stream, Status::Updating, |b, map| {
            self.provisioned(b, &stream, "MergeShards")?;
            let (a, b) = (self.named_shard(&stream, map, &a)?, self.named_shard(&stream, map, &z)?);
            self.open_shard(&stream, &a)?;
            self.open_shard(&stream, &b)?;
            let step = plan::merge(map, &a, &b, now).ok_or_else(|| {
                error::argument(format!(
                    "Shards {} and {} in stream {} under account {} are not an adjacent pair of shards eligible for merging",
                    a.id(),
                    b.id(),
                    stream.name,
                    self.inner.home.account
                ))
            })?;
            Ok((Work::Steps(vec![StoredStep::from(&step)]), ()))
        })
        .await?;
        Ok(Empty {})
    }

    /// API_UpdateShardCount
    pub async fn update_shard_count(
        &self,
        permit: Permit,
        i: UpdateShardCount,
    ) -> Result<UpdateShardCountOutput, AwsError> {
        drop(permit);
        self.account_call("UpdateShardCount", 10.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let target = i.target_shard_count.unwrap_or_default();
        let limits = self.inner.config.limits;
        let (now, shards) = (self.now(), self.open_shards());
        let current = self
            .update(&stream, Status::Updating, |b, map| {
                self.provisioned(b, &stream, "UpdateShardCount")?;
                let current = map.open_count();
                let wanted = countable(current, target, limits)?;
                self.within_shard_quota(shards, wanted.saturating_sub(current as u32))?;
                b.counted = lately(&b.counted, now);
                if limits && b.counted.len() >= COUNTS {
                    return Err(error::limit(format!(
                        "UpdateShardCount was called {COUNTS} times for stream {} in the last 24 hours; that is the limit.",
                        stream.name
                    )));
                }
                b.counted.push(now);
                Ok((Work::Count(wanted), current))
            })
            .await?;
        Ok(UpdateShardCountOutput {
            stream_name: stream.name.clone(),
            current_shard_count: current,
            target_shard_count: target,
            stream_arn: stream.arn.0.clone(),
        })
    }

    fn provisioned(&self, b: &Body, stream: &Stream, operation: &str) -> Result<(), AwsError> {
        if b.mode == Mode::OnDemand {
            return Err(error::validation(format!(
                "{operation} is not supported for streams in ON_DEMAND mode; stream {} under account {} is one.",
                stream.name, self.inner.home.account
            )));
        }
        Ok(())
    }

    fn named_shard(&self, stream: &Stream, map: &map::ShardMap, id: &str) -> Result<Shard, AwsError> {
        map.by_id(id).copied().ok_or_else(|| {
            let id = map::parse_id(id).map_or_else(|| id.to_owned(), map::id);
            error::no_shard(&self.inner.home, &stream.name, &id)
        })
    }

    fn open_shard(&self, stream: &Stream, s: &Shard) -> Result<(), AwsError> {
        if s.closed.is_some() {
            return Err(error::argument(format!(
                "Shard {} in stream {} under account {} is closed: it was split or merged before.",
                s.id(),
                stream.name,
                self.inner.home.account
            )));
        }
        Ok(())
    }
}

/// Whether a stream of so many open shards may be brought to `target`, with the service's limits or without.
fn countable(current: usize, target: i64, limits: bool) -> Result<u32, AwsError> {
    let counts = |what: String| {
        error::limit(format!("{what} Current open shard count: {current}, Target shard count: {target}"))
    };
    let wanted = u32::try_from(target).unwrap_or(u32::MAX);
    if limits && wanted > STREAM_SHARDS || wanted > plan::MOST {
        return Err(counts(format!(
            "Target shard count or number of open shards cannot be greater than {STREAM_SHARDS}."
        )));
    }
    if limits && wanted as usize > 2 * current {
        return Err(counts(
            "UpdateShardCount cannot scale up over double your current open shard count.".into(),
        ));
    }
    if limits && 2 * (wanted as usize) < current {
        return Err(counts(
            "UpdateShardCount cannot scale down below half your current open shard count.".into(),
        ));
    }
    Ok(wanted)
}
