//! Streams made, listed, described and deleted.

use access::Permit;
use serde::Serialize;
use wire::aws::{AwsError, Empty, Time};

use crate::{
    body::{Mode, Status, Work},
    error,
    input::{CreateStream, DeleteStream, DescribeLimits, DescribeStream, DescribeStreamSummary, ListStreams},
    map::{self, Shard},
    page::HashKeyRange,
    plan::MOST,
    service::{DataStreams, ON_DEMAND_SHARDS},
    stream::Stream,
    tags::check_tags,
    token,
};

/// Shards in an answer of DescribeStream.
const SHARDS: usize = 100;
/// Streams in an answer, unless asked otherwise.
const STREAMS: usize = 100;
/// Warm throughput in MiB/s (API_UpdateStreamWarmThroughput).
const WARMEST: i64 = 10 * 1024;

/// API_StreamModeDetails
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamModeOutput {
    stream_mode: &'static str,
}

/// API_SequenceNumberRange
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SequenceNumberRange {
    starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<String>,
}

/// API_Shard
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShardOutput {
    shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: HashKeyRange,
    sequence_number_range: SequenceNumberRange,
}

impl From<&Shard> for ShardOutput {
    fn from(s: &Shard) -> Self {
        ShardOutput {
            shard_id: s.id(),
            parent_shard_id: s.parents[0].map(map::id),
            adjacent_parent_shard_id: s.parents[1].map(map::id),
            hash_key_range: HashKeyRange::of(s),
            sequence_number_range: SequenceNumberRange {
                starting_sequence_number: s.starting().to_string(),
                ending_sequence_number: s.ending().map(|n| n.to_string()),
            },
        }
    }
}

/// API_EnhancedMetrics
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnhancedMetrics {
    shard_level_metrics: Vec<String>,
}

/// API_WarmThroughputObject
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WarmThroughput {
    #[serde(rename = "TargetMiBps")]
    pub(crate) target: u32,
    #[serde(rename = "CurrentMiBps")]
    pub(crate) current: u32,
}

/// What DescribeStream and DescribeStreamSummary have in common.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Common {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: StreamModeOutput,
    retention_period_hours: u32,
    stream_creation_timestamp: Time,
    enhanced_monitoring: [EnhancedMetrics; 1],
    encryption_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
}

fn common(s: &Stream) -> Common {
    let state = s.read();
    let b = &state.body;
    Common {
        stream_name: s.name.clone(),
        stream_arn: s.arn.0.clone(),
        stream_status: b.status.text(),
        stream_mode_details: StreamModeOutput { stream_mode: b.mode.text() },
        retention_period_hours: b.retention_hours,
        stream_creation_timestamp: Time(b.created),
        enhanced_monitoring: [EnhancedMetrics { shard_level_metrics: b.metrics.clone() }],
        encryption_type: if b.key.is_some() { "KMS" } else { "NONE" },
        key_id: b.key.clone(),
    }
}

/// API_DescribeStream
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamOutput {
    stream_description: StreamDescription,
}

/// API_StreamDescription
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamDescription {
    #[serde(flatten)]
    common: Common,
    shards: Vec<ShardOutput>,
    has_more_shards: bool,
}

/// API_DescribeStreamSummary
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamSummaryOutput {
    stream_description_summary: StreamDescriptionSummary,
}

/// API_StreamDescriptionSummary
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamDescriptionSummary {
    #[serde(flatten)]
    common: Common,
    open_shard_count: usize,
    consumer_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    warm_throughput: Option<WarmThroughput>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size: u32,
    record_distribution_strategy: &'static str,
}

/// API_DescribeLimits
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeLimitsOutput {
    shard_limit: u32,
    open_shard_count: u32,
    on_demand_stream_count: u32,
    on_demand_stream_count_limit: u32,
}

/// API_StreamSummary
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamSummary {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: &'static str,
    stream_mode_details: StreamModeOutput,
    stream_creation_timestamp: Time,
}

/// API_ListStreams
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStreamsOutput {
    stream_names: Vec<String>,
    has_more_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    stream_summaries: Vec<StreamSummary>,
}

impl DataStreams {
    /// API_CreateStream
    pub async fn create_stream(&self, permit: Permit, i: CreateStream) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("CreateStream", 5.0)?;
        let name = i.stream_name.unwrap_or_default();
        let tags = i.tags.unwrap_or_default();
        check_tags(&name, &self.inner.home, &tags, 0)?;
        let on_demand = i.stream_mode_details.and_then(|m| m.stream_mode).as_deref() == Some("ON_DEMAND");
        let shards = match (on_demand, i.shard_count) {
            (true, Some(_)) => {
                return Err(error::argument("ShardCount cannot be set when StreamMode is ON_DEMAND."));
            }
            (true, None) => ON_DEMAND_SHARDS,
            (false, Some(n)) => u32::try_from(n).unwrap_or(u32::MAX),
            (false, None) => {
                return Err(error::argument("ShardCount must be set when StreamMode is PROVISIONED."));
            }
        };
        let mode = if on_demand { Mode::OnDemand } else { Mode::Provisioned };
        let warm = i.warm_throughput.map(|w| self.warm_shards(mode, w)).transpose()?;
        let shards = shards.max(warm.unwrap_or(0));
        if self.map().contains_key(&name) {
            return Err(error::in_use(format!(
                "Stream {name} under account {} already exists.",
                self.inner.home.account
            )));
        }
        if on_demand {
            self.on_demand_quota(self.on_demand_count())?;
        }
        if shards > MOST {
            return Err(error::limit(format!(
                "A stream has at most {MOST} shards; {shards} were asked for."
            )));
        }
        self.shard_quota(shards)?;
        if !on_demand && i.distribution.as_deref() == Some("AUTO") {
            return Err(error::argument(
                "RecordDistributionStrategy AUTO is only supported for streams in ON_DEMAND mode.",
            ));
        }
        let size = i.max_record_size;
        let auto = i.distribution.as_deref() == Some("AUTO");
        let fill = |b: &mut crate::body::Body| {
            b.mode = mode;
            b.tags = tags;
            b.max_record_kib = size.and_then(|s| u32::try_from(s).ok()).unwrap_or(1024);
            b.auto = auto;
            b.warm_mibps = warm;
        };
        self.begin(&name, fill, shards).await?;
        Ok(Empty {})
    }

    /// API_DeleteStream
    pub async fn delete_stream(&self, permit: Permit, i: DeleteStream) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("DeleteStream", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        if i.enforce_consumer_deletion != Some(true) && !self.inner.consumers.of(stream.uid).is_empty() {
            return Err(error::in_use(format!(
                "Stream {} under account {} has registered consumers. Deregister them, or set EnforceConsumerDeletion.",
                stream.name, self.inner.home.account
            )));
        }
        self.update(&stream, Status::Deleting, |_, _| Ok((Work::Delete, ()))).await?;
        Ok(Empty {})
    }

    /// API_DescribeStream
    pub async fn describe_stream(
        &self,
        permit: Permit,
        i: DescribeStream,
    ) -> Result<DescribeStreamOutput, AwsError> {
        drop(permit);
        self.account_call("DescribeStream", 10.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let after = match &i.exclusive_start_shard_id {
            None => None,
            Some(id) => {
                Some(map::parse_id(id).ok_or_else(|| error::no_shard(&self.inner.home, &stream.name, id))?)
            }
        };
        let limit = i.limit.and_then(|l| usize::try_from(l).ok()).map_or(SHARDS, |l| l.min(SHARDS));
        let (shards, more) = {
            let s = stream.read();
            let all = s.map.all();
            let rest = &all[after.map_or(0, |a| all.partition_point(|s| s.index <= a))..];
            let page = &rest[..limit.min(rest.len())];
            (page.iter().map(ShardOutput::from).collect::<Vec<_>>(), page.len() < rest.len())
        };
        Ok(DescribeStreamOutput {
            stream_description: StreamDescription { common: common(&stream), shards, has_more_shards: more },
        })
    }

    /// API_DescribeStreamSummary
    pub async fn describe_stream_summary(
        &self,
        permit: Permit,
        i: DescribeStreamSummary,
    ) -> Result<DescribeStreamSummaryOutput, AwsError> {
        drop(permit);
        self.account_call("DescribeStreamSummary", 20.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let consumer_count = self.inner.consumers.of(stream.uid).len();
        let (open_shard_count, max_record_size, auto, warm) = {
            let s = stream.read();
            (
                s.map.open_count(),
                s.body.max_record_kib,
                s.body.auto,
                self.warm_throughput(&s.body, s.map.open_count()),
            )
        };
        Ok(DescribeStreamSummaryOutput {
            stream_description_summary: StreamDescriptionSummary {
                common: common(&stream),
                open_shard_count,
                consumer_count,
                warm_throughput: warm,
                max_record_size,
                record_distribution_strategy: if auto { "AUTO" } else { "USER_PARTITION_KEY" },
            },
        })
    }

    /// API_DescribeLimits
    pub async fn describe_limits(
        &self,
        permit: Permit,
        _: DescribeLimits,
    ) -> Result<DescribeLimitsOutput, AwsError> {
        drop(permit);
        self.account_call("DescribeLimits", 1.0)?;
        Ok(DescribeLimitsOutput {
            shard_limit: self.inner.config.shard_quota,
            open_shard_count: self.open_shards(),
            on_demand_stream_count: self.on_demand_count(),
            on_demand_stream_count_limit: self.inner.config.on_demand_quota,
        })
    }

    /// API_ListStreams
    pub async fn list_streams(&self, permit: Permit, i: ListStreams) -> Result<ListStreamsOutput, AwsError> {
        drop(permit);
        self.account_call("ListStreams", 5.0)?;
        let after: Option<String> = match (&i.next_token, i.exclusive_start_stream_name) {
            (Some(_), Some(_)) => {
                return Err(error::argument(
                    "NextToken and ExclusiveStartStreamName cannot be provided together.",
                ));
            }
            (Some(t), None) => Some(token::open_page(&self.inner.gate, "list-streams", t, self.now())?),
            (None, name) => name,
        };
        let limit = i.limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(STREAMS);
        let all = self.all();
        let mut rest = all.iter().filter(|s| after.as_ref().is_none_or(|a| s.name > *a));
        let summary = |s: &std::sync::Arc<Stream>| {
            let c = common(s);
            StreamSummary {
                stream_name: c.stream_name,
                stream_arn: c.stream_arn,
                stream_status: c.stream_status,
                stream_mode_details: c.stream_mode_details,
                stream_creation_timestamp: c.stream_creation_timestamp,
            }
        };
        let stream_summaries: Vec<StreamSummary> = rest.by_ref().take(limit).map(summary).collect();
        let more = rest.next().is_some();
        let last = stream_summaries.last().map(|s| s.stream_name.clone());
        let next = more.then(|| token::page(&self.inner.gate, "list-streams", self.now(), last));
        Ok(ListStreamsOutput {
            stream_names: stream_summaries.iter().map(|s| s.stream_name.clone()).collect(),
            has_more_streams: more,
            next_token: next,
            stream_summaries,
        })
    }

    /// Shards that a warm throughput of so many MiB/s takes, if a stream may have it: one a MiB/s
    /// (API_UpdateStreamWarmThroughput).
    pub(crate) fn warm_shards(&self, mode: Mode, mibps: i64) -> Result<u32, AwsError> {
        if mode != Mode::OnDemand {
            return Err(error::validation(
                "WarmThroughputMiBps can only be set for streams in ON_DEMAND mode.",
            ));
        }
        if !self.may_warm() {
            return Err(error::validation(format!(
                "WarmThroughputMiBps can only be set in accounts that have MinimumThroughputBillingCommitment enabled; account {} has not.",
                self.inner.home.account
            )));
        }
        if mibps > WARMEST {
            return Err(error::limit(format!(
                "WarmThroughputMiBps is at most {WARMEST}; {mibps} was asked for."
            )));
        }
        Ok(u32::try_from(mibps).unwrap_or(0))
    }

    fn may_warm(&self) -> bool {
        !self.inner.config.limits || self.inner.account.committed(self.now())
    }

    /// What a stream is warmed to; told only where it can be set (API_WarmThroughputObject).
    fn warm_throughput(&self, b: &crate::body::Body, open: usize) -> Option<WarmThroughput> {
        (b.mode == Mode::OnDemand && self.may_warm())
            .then(|| WarmThroughput { target: b.warm_mibps.unwrap_or(0), current: open as u32 })
    }
}
