//! What the operations take, and what the service's model says of it (API Reference, 2013-12-02).
//!
//! A member is declared once: its name here, its type, its name on the wire, and its constraints. The first word says which
//! resource the gate is asked about: `stream` (and adds the three members that name one), `arn` (the stream's ARN alone),
//! `consumer` (by its ARN, or its stream's and its name), `resource` (any ARN), `account`.

use std::collections::BTreeMap;

use serde::Deserialize;
use wire::aws::{Blob, Pattern, Shown, Time, Violations};
use world::Arn;

use crate::service::{asked_about, resource_arn, stream_arn};

static NAME: Pattern = Pattern::new("[a-zA-Z0-9_.-]+");
static STREAM_ID: Pattern = Pattern::new("[a-z0-9]{20}-[a-z0-9]{3}");
static STREAM_ARN: Pattern = Pattern::new(r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+");
static CONSUMER_ARN: Pattern = Pattern::new(
    r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+",
);
static RESOURCE_ARN: Pattern = Pattern::new(r"arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+");
static HASH_KEY: Pattern = Pattern::new(r"0|([1-9]\d{0,38})");
static SEQUENCE: Pattern = Pattern::new(r"0|([1-9]\d{0,128})");

const METRICS: [&str; 8] = [
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
    "ALL",
];
const ITERATORS: [&str; 5] =
    ["AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON"];
const MODES: [&str; 2] = ["PROVISIONED", "ON_DEMAND"];
const DISTRIBUTION: [&str; 2] = ["AUTO", "USER_PARTITION_KEY"];

macro_rules! input {
    ($(#[$doc:meta])* stream $name:ident { $($rest:tt)* }) => {
        wire::aws::input!($(#[$doc])* $name {
            $($rest)*
            stream_name: String = "StreamName" => |v, x| { v.text("streamName", x).pattern(&NAME).length(1, 128); };
            stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).pattern(&STREAM_ARN).length(1, 2048); };
            stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
        } |i, home| {
            asked_about(home, i.stream_name.as_deref(), i.stream_arn.as_deref())
        });
    };
    ($(#[$doc:meta])* arn $name:ident { $($rest:tt)* }) => {
        wire::aws::input!($(#[$doc])* $name {
            $($rest)*
            stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).required().pattern(&STREAM_ARN).length(1, 2048); };
            stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
        } |i, home| asked_about(home, None, i.stream_arn.as_deref()));
    };
    ($(#[$doc:meta])* resource $name:ident { $($rest:tt)* }) => {
        wire::aws::input!($(#[$doc])* $name {
            $($rest)*
            resource_arn: String = "ResourceARN" => |v, x| { v.text("resourceARN", x).required().pattern(&RESOURCE_ARN).length(1, 2048); };
            stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
        } |i, home| resource_arn(home, i.resource_arn.as_deref().unwrap_or_default()));
    };
    ($(#[$doc:meta])* consumer $name:ident {}) => {
        wire::aws::input!($(#[$doc])* $name {
            stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).pattern(&STREAM_ARN).length(1, 2048); };
            consumer_name: String = "ConsumerName" => |v, x| { v.text("consumerName", x).pattern(&NAME).length(1, 128); };
            consumer_arn: String = "ConsumerARN" => |v, x| { v.text("consumerARN", x).pattern(&CONSUMER_ARN).length(1, 2048); };
            stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
        } |i, home| match (&i.consumer_arn, &i.consumer_name) {
            (Some(arn), _) => resource_arn(home, arn),
            // When it was registered is part of its ARN, and not of what is asked.
            (None, name) => {
                let stream = asked_about(home, None, i.stream_arn.as_deref())?;
                Ok(Arn(format!("{}/consumer/{}:*", stream.0, name.as_deref().unwrap_or_default())))
            }
        });
    };
    ($(#[$doc:meta])* account $name:ident { $($rest:tt)* }) => {
        wire::aws::input!($(#[$doc])* $name { $($rest)* } |_, home| Ok(home.arn("kinesis", "*")));
    };
}

fn tags(v: &mut Violations, x: &Option<BTreeMap<String, String>>) {
    v.map("tags", x).count(1, 200).keys_length(1, 128).values_length(0, 256);
}
fn required_tags(v: &mut Violations, x: &Option<BTreeMap<String, String>>) {
    v.map("tags", x).required().count(1, 200).keys_length(1, 128).values_length(0, 256);
}
fn tag_keys(v: &mut Violations, x: &Option<Vec<String>>) {
    v.list("tagKeys", x).required().count(1, 50).each_length(1, 128);
}
fn metrics(v: &mut Violations, x: &Option<Vec<String>>) {
    v.list("shardLevelMetrics", x).required().count(1, 7).each_one_of(&METRICS);
}
fn next_token(v: &mut Violations, x: &Option<String>) {
    v.text("nextToken", x).length(1, 1_048_576);
}
fn max_results(v: &mut Violations, x: &Option<i64>) {
    v.number("maxResults", x).range(1, 10_000);
}
fn limit(v: &mut Violations, x: &Option<i64>) {
    v.number("limit", x).range(1, 10_000);
}
fn warm(v: &mut Violations, x: &Option<i64>) {
    v.number("warmThroughputMiBps", x).min(0);
}
fn mode(v: &mut Violations, x: &Option<StreamModeDetails>) {
    v.any("streamModeDetails", x).nested(|m, v| {
        v.text("streamMode", &m.stream_mode).required().one_of(&MODES);
    });
}

/// API_StreamModeDetails
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StreamModeDetails {
    pub(crate) stream_mode: Option<String>,
}

/// API_PutRecordsRequestEntry
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PutRecordsRequestEntry {
    pub(crate) data: Option<Blob>,
    pub(crate) explicit_hash_key: Option<String>,
    pub(crate) partition_key: Option<String>,
}
impl Shown for PutRecordsRequestEntry {}

/// API_ShardFilter
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ShardFilter {
    pub(crate) r#type: Option<String>,
    pub(crate) shard_id: Option<String>,
    pub(crate) timestamp: Option<Time>,
}
const FILTERS: [&str; 6] =
    ["AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP"];

/// API_StartingPosition
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StartingPosition {
    pub(crate) r#type: Option<String>,
    pub(crate) sequence_number: Option<String>,
    pub(crate) timestamp: Option<Time>,
}

/// API_MinimumThroughputBillingCommitmentInput
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Commitment {
    pub(crate) status: Option<String>,
}

input! {
    /// API_AddTagsToStream
    stream AddTagsToStream { tags: BTreeMap<String, String> = "Tags" ["wire::aws::few"] => required_tags; }
}
input! {
    /// API_RemoveTagsFromStream
    stream RemoveTagsFromStream { tag_keys: Vec<String> = "TagKeys" ["wire::aws::few"] => tag_keys; }
}
input! {
    /// API_ListTagsForStream
    stream ListTagsForStream {
        exclusive_start_tag_key: String = "ExclusiveStartTagKey" => |v, x| { v.text("exclusiveStartTagKey", x).length(1, 128); };
        limit: i64 = "Limit" => |v, x| { v.number("limit", x).range(1, 50); };
    }
}
input! {
    /// API_TagResource
    resource TagResource { tags: BTreeMap<String, String> = "Tags" ["wire::aws::few"] => required_tags; }
}
input! {
    /// API_UntagResource
    resource UntagResource { tag_keys: Vec<String> = "TagKeys" ["wire::aws::few"] => tag_keys; }
}
input! {
    /// API_ListTagsForResource
    resource ListTagsForResource {}
}
input! {
    /// API_PutResourcePolicy
    resource PutResourcePolicy { policy: String = "Policy" => |v, x| { v.text("policy", x).required(); }; }
}
input! {
    /// API_GetResourcePolicy
    resource GetResourcePolicy {}
}
input! {
    /// API_DeleteResourcePolicy
    resource DeleteResourcePolicy {}
}
wire::aws::input! {
    /// API_CreateStream
    CreateStream {
        stream_name: String = "StreamName" => |v, x| { v.text("streamName", x).required().pattern(&NAME).length(1, 128); };
        shard_count: i64 = "ShardCount" => |v, x| { v.number("shardCount", x).min(1); };
        stream_mode_details: StreamModeDetails = "StreamModeDetails" => mode;
        tags: BTreeMap<String, String> = "Tags" ["wire::aws::few"] => tags;
        warm_throughput: i64 = "WarmThroughputMiBps" => warm;
        max_record_size: i64 = "MaxRecordSizeInKiB" => |v, x| { v.number("maxRecordSizeInKiB", x).range(1024, 10_240); };
        distribution: String = "RecordDistributionStrategy" => |v, x| { v.text("recordDistributionStrategy", x).one_of(&DISTRIBUTION); };
    }
    |i, home| Ok(stream_arn(home, i.stream_name.as_deref().unwrap_or_default()))
}
input! {
    /// API_DeleteStream
    stream DeleteStream { enforce_consumer_deletion: bool = "EnforceConsumerDeletion"; }
}
input! {
    /// API_DescribeStream
    stream DescribeStream {
        limit: i64 = "Limit" => limit;
        exclusive_start_shard_id: String = "ExclusiveStartShardId" => |v, x| { v.text("exclusiveStartShardId", x).pattern(&NAME).length(1, 128); };
    }
}
input! {
    /// API_DescribeStreamSummary
    stream DescribeStreamSummary {}
}
input! {
    /// API_DescribeLimits
    account DescribeLimits {}
}
input! {
    /// API_DescribeAccountSettings
    account DescribeAccountSettings {}
}
input! {
    /// API_UpdateAccountSettings
    account UpdateAccountSettings {
        commitment: Commitment = "MinimumThroughputBillingCommitment" => |v, x| {
            v.any("minimumThroughputBillingCommitment", x).required().nested(|c, v| {
                v.text("status", &c.status).required().one_of(&["ENABLED", "DISABLED"]);
            });
        };
    }
}
input! {
    /// API_ListStreams
    account ListStreams {
        limit: i64 = "Limit" => limit;
        exclusive_start_stream_name: String = "ExclusiveStartStreamName" => |v, x| { v.text("exclusiveStartStreamName", x).pattern(&NAME).length(1, 128); };
        next_token: String = "NextToken" => next_token;
    }
}
wire::aws::input! {
    /// API_ListShards
    ListShards {
        stream_name: String = "StreamName" => |v, x| { v.text("streamName", x).pattern(&NAME).length(1, 128); };
        stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).pattern(&STREAM_ARN).length(1, 2048); };
        stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
        next_token: String = "NextToken" => next_token;
        exclusive_start_shard_id: String = "ExclusiveStartShardId" => |v, x| { v.text("exclusiveStartShardId", x).pattern(&NAME).length(1, 128); };
        max_results: i64 = "MaxResults" => max_results;
        stream_creation_timestamp: Time = "StreamCreationTimestamp";
        shard_filter: ShardFilter = "ShardFilter" => |v, x| {
            v.any("shardFilter", x).nested(|f, v| {
                v.text("type", &f.r#type).required().one_of(&FILTERS);
                v.text("shardId", &f.shard_id).pattern(&NAME).length(1, 128);
            });
        };
    }
    |i, home| match (&i.stream_name, &i.stream_arn) {
        // A token that is good names the stream (`shards::resource`).
        (None, None) if i.next_token.is_some() => Ok(stream_arn(home, "*")),
        (name, arn) => asked_about(home, name.as_deref(), arn.as_deref()),
    };
    by crate::shards::resource
}
input! {
    /// API_PutRecord
    stream PutRecord {
        data: Blob = "Data" => |v, x| { v.blob("data", x).required().length(0, 10_485_760); };
        partition_key: String = "PartitionKey" => |v, x| { v.text("partitionKey", x).length(1, 256); };
        explicit_hash_key: String = "ExplicitHashKey" => |v, x| { v.text("explicitHashKey", x).pattern(&HASH_KEY); };
        sequence_number_for_ordering: String = "SequenceNumberForOrdering" => |v, x| { v.text("sequenceNumberForOrdering", x).pattern(&SEQUENCE); };
        dry_run: bool = "DryRun";
    }
}
input! {
    /// API_PutRecords
    stream PutRecords {
        records: Vec<PutRecordsRequestEntry> = "Records" ["wire::aws::few"] => |v, x| {
            v.list("records", x).required().count(1, 500).each(|e, v| {
                v.blob("data", &e.data).required().length(0, 10_485_760);
                v.text("partitionKey", &e.partition_key).length(1, 256);
                v.text("explicitHashKey", &e.explicit_hash_key).pattern(&HASH_KEY);
            });
        };
        dry_run: bool = "DryRun";
    }
}
input! {
    /// API_GetShardIterator
    stream GetShardIterator {
        shard_id: String = "ShardId" => |v, x| { v.text("shardId", x).required().pattern(&NAME).length(1, 128); };
        r#type: String = "ShardIteratorType" => |v, x| { v.text("shardIteratorType", x).required().one_of(&ITERATORS); };
        starting_sequence_number: String = "StartingSequenceNumber" => |v, x| { v.text("startingSequenceNumber", x).pattern(&SEQUENCE); };
        timestamp: Time = "Timestamp";
        dry_run: bool = "DryRun";
    }
}
wire::aws::input! {
    /// API_GetRecords
    GetRecords {
        shard_iterator: String = "ShardIterator" => |v, x| { v.text("shardIterator", x).required().length(1, 512); };
        limit: i64 = "Limit" => limit;
        stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).pattern(&STREAM_ARN).length(1, 2048); };
        stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
        dry_run: bool = "DryRun";
    }
    // Usually it is the iterator that says (`get::resource`).
    |i, home| match &i.stream_arn {
        None => Ok(stream_arn(home, "*")),
        arn => asked_about(home, None, arn.as_deref()),
    };
    by crate::get::resource;
    answers crate::get::ANSWER
}
input! {
    /// API_SplitShard
    stream SplitShard {
        shard_to_split: String = "ShardToSplit" => |v, x| { v.text("shardToSplit", x).required().pattern(&NAME).length(1, 128); };
        new_starting_hash_key: String = "NewStartingHashKey" => |v, x| { v.text("newStartingHashKey", x).required().pattern(&HASH_KEY); };
    }
}
input! {
    /// API_MergeShards
    stream MergeShards {
        shard_to_merge: String = "ShardToMerge" => |v, x| { v.text("shardToMerge", x).required().pattern(&NAME).length(1, 128); };
        adjacent_shard_to_merge: String = "AdjacentShardToMerge" => |v, x| { v.text("adjacentShardToMerge", x).required().pattern(&NAME).length(1, 128); };
    }
}
input! {
    /// API_UpdateShardCount
    stream UpdateShardCount {
        target_shard_count: i64 = "TargetShardCount" => |v, x| { v.number("targetShardCount", x).required().min(1); };
        scaling_type: String = "ScalingType" => |v, x| { v.text("scalingType", x).required().one_of(&["UNIFORM_SCALING"]); };
    }
}
input! {
    /// API_IncreaseStreamRetentionPeriod
    stream IncreaseStreamRetentionPeriod {
        retention_period_hours: i64 = "RetentionPeriodHours" => |v, x| { v.number("retentionPeriodHours", x).required(); };
    }
}
input! {
    /// API_DecreaseStreamRetentionPeriod
    stream DecreaseStreamRetentionPeriod {
        retention_period_hours: i64 = "RetentionPeriodHours" => |v, x| { v.number("retentionPeriodHours", x).required(); };
    }
}
input! {
    /// API_EnableEnhancedMonitoring
    stream EnableEnhancedMonitoring { shard_level_metrics: Vec<String> = "ShardLevelMetrics" ["wire::aws::few"] => metrics; }
}
input! {
    /// API_DisableEnhancedMonitoring
    stream DisableEnhancedMonitoring { shard_level_metrics: Vec<String> = "ShardLevelMetrics" ["wire::aws::few"] => metrics; }
}
input! {
    /// API_StartStreamEncryption
    stream StartStreamEncryption {
        encryption_type: String = "EncryptionType" => |v, x| { v.text("encryptionType", x).required().one_of(&["NONE", "KMS"]); };
        key_id: String = "KeyId" => |v, x| { v.text("keyId", x).required().length(1, 2048); };
    }
}
input! {
    /// API_StopStreamEncryption
    stream StopStreamEncryption {
        encryption_type: String = "EncryptionType" => |v, x| { v.text("encryptionType", x).required().one_of(&["NONE", "KMS"]); };
        key_id: String = "KeyId" => |v, x| { v.text("keyId", x).required().length(1, 2048); };
    }
}
input! {
    /// API_UpdateStreamMode
    arn UpdateStreamMode {
        stream_mode_details: StreamModeDetails = "StreamModeDetails" => |v, x| {
            v.any("streamModeDetails", x).required();
            mode(v, x);
        };
        warm_throughput: i64 = "WarmThroughputMiBps" => warm;
    }
}
input! {
    /// API_UpdateStreamWarmThroughput
    stream UpdateStreamWarmThroughput {
        warm_throughput: i64 = "WarmThroughputMiBps" => |v, x| { v.number("warmThroughputMiBps", x).required().min(0); };
    }
}
wire::aws::input! {
    /// API_UpdateMaxRecordSize; its ARN is required by the service alone.
    UpdateMaxRecordSize {
        max_record_size: i64 = "MaxRecordSizeInKiB" => |v, x| { v.number("maxRecordSizeInKiB", x).required().range(1024, 10_240); };
        stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).pattern(&STREAM_ARN).length(1, 2048); };
        stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
    }
    |i, home| asked_about(home, None, i.stream_arn.as_deref())
}
input! {
    /// API_UpdateStreamRecordDistributionStrategy
    arn UpdateStreamRecordDistributionStrategy {
        distribution: String = "RecordDistributionStrategy" => |v, x| { v.text("recordDistributionStrategy", x).required().one_of(&DISTRIBUTION); };
    }
}
input! {
    /// API_RegisterStreamConsumer
    arn RegisterStreamConsumer {
        consumer_name: String = "ConsumerName" => |v, x| { v.text("consumerName", x).required().pattern(&NAME).length(1, 128); };
        tags: BTreeMap<String, String> = "Tags" ["wire::aws::few"] => tags;
    }
}
input! {
    /// API_DeregisterStreamConsumer
    consumer DeregisterStreamConsumer {}
}
input! {
    /// API_DescribeStreamConsumer
    consumer DescribeStreamConsumer {}
}
wire::aws::input! {
    /// API_ListStreamConsumers
    ListStreamConsumers {
        stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).required().pattern(&STREAM_ARN).length(1, 2048); };
        next_token: String = "NextToken" => next_token;
        max_results: i64 = "MaxResults" => max_results;
        stream_creation_timestamp: Time = "StreamCreationTimestamp";
        stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
    }
    |i, home| asked_about(home, None, i.stream_arn.as_deref())
}
wire::aws::input! {
    /// API_SubscribeToShard
    SubscribeToShard {
        consumer_arn: String = "ConsumerARN" => |v, x| { v.text("consumerARN", x).required().pattern(&CONSUMER_ARN).length(1, 2048); };
        shard_id: String = "ShardId" => |v, x| { v.text("shardId", x).required().pattern(&NAME).length(1, 128); };
        starting_position: StartingPosition = "StartingPosition" => |v, x| {
            v.any("startingPosition", x).required().nested(|p, v| {
                v.text("type", &p.r#type).required().one_of(&ITERATORS);
                v.text("sequenceNumber", &p.sequence_number).pattern(&SEQUENCE);
            });
        };
        stream_id: String = "StreamId" => |v, x| { v.text("streamId", x).pattern(&STREAM_ID).length(1, 24); };
        dry_run: bool = "DryRun";
    }
    |i, home| resource_arn(home, i.consumer_arn.as_deref().unwrap_or_default())
}
