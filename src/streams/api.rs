//! The operations by their names, each with its action and its largest body.

use access::stream_actions::*;
use wire::aws::Service;

use crate::service::DataStreams;

/// Bytes of a request that carries records: 10 MiB of them in base64, and their keys.
const RECORDS: usize = 16 << 20;
/// Bytes of any other.
const SMALL: usize = 2 << 20;

/// The service `kinesis`, as SDKs know it.
pub fn service(streams: &DataStreams) -> Service {
    let mut service = Service::new("kinesis", "Kinesis_20131202");
    macro_rules! operations {
        ($($name:literal $action:ident $max:ident $handler:ident;)*) => {$(
            let s = streams.clone();
            service = service.operation($name, $action, $max, move |_, permit, input| {
                let s = s.clone();
                async move { s.$handler(permit, input).await }
            });
        )*};
    }
    operations! {
        "AddTagsToStream" ADD_TAGS_TO_STREAM SMALL add_tags_to_stream;
        "CreateStream" CREATE_STREAM SMALL create_stream;
        "DecreaseStreamRetentionPeriod" DECREASE_STREAM_RETENTION_PERIOD SMALL decrease_retention;
        "DeleteResourcePolicy" DELETE_RESOURCE_POLICY SMALL delete_resource_policy;
        "DeleteStream" DELETE_STREAM SMALL delete_stream;
        "DeregisterStreamConsumer" DEREGISTER_STREAM_CONSUMER SMALL deregister_consumer;
        "DescribeAccountSettings" DESCRIBE_ACCOUNT_SETTINGS SMALL describe_account_settings;
        "DescribeLimits" DESCRIBE_LIMITS SMALL describe_limits;
        "DescribeStream" DESCRIBE_STREAM SMALL describe_stream;
        "DescribeStreamConsumer" DESCRIBE_STREAM_CONSUMER SMALL describe_consumer;
        "DescribeStreamSummary" DESCRIBE_STREAM_SUMMARY SMALL describe_stream_summary;
        "DisableEnhancedMonitoring" DISABLE_ENHANCED_MONITORING SMALL disable_monitoring;
        "EnableEnhancedMonitoring" ENABLE_ENHANCED_MONITORING SMALL enable_monitoring;
        "GetResourcePolicy" GET_RESOURCE_POLICY SMALL get_resource_policy;
        "GetShardIterator" GET_SHARD_ITERATOR SMALL get_shard_iterator;
        "IncreaseStreamRetentionPeriod" INCREASE_STREAM_RETENTION_PERIOD SMALL increase_retention;
        "ListShards" LIST_SHARDS SMALL list_shards;
        "ListStreamConsumers" LIST_STREAM_CONSUMERS SMALL list_consumers;
        "ListStreams" LIST_STREAMS SMALL list_streams;
        "ListTagsForResource" LIST_TAGS_FOR_RESOURCE SMALL list_tags_for_resource;
        "ListTagsForStream" LIST_TAGS_FOR_STREAM SMALL list_tags_for_stream;
        "MergeShards" MERGE_SHARDS SMALL merge_shards;
        "PutRecord" PUT_RECORD RECORDS put_record;
        "PutResourcePolicy" PUT_RESOURCE_POLICY SMALL put_resource_policy;
        "RegisterStreamConsumer" REGISTER_STREAM_CONSUMER SMALL register_consumer;
        "RemoveTagsFromStream" REMOVE_TAGS_FROM_STREAM SMALL remove_tags_from_stream;
        "SplitShard" SPLIT_SHARD SMALL split_shard;
        "StartStreamEncryption" START_STREAM_ENCRYPTION SMALL start_encryption;
        "StopStreamEncryption" STOP_STREAM_ENCRYPTION SMALL stop_encryption;
        "TagResource" TAG_RESOURCE SMALL tag_resource;
        "UntagResource" UNTAG_RESOURCE SMALL untag_resource;
        "UpdateAccountSettings" UPDATE_ACCOUNT_SETTINGS SMALL update_account_settings;
        "UpdateMaxRecordSize" UPDATE_MAX_RECORD_SIZE SMALL update_max_record_size;
        "UpdateShardCount" UPDATE_SHARD_COUNT SMALL update_shard_count;
        "UpdateStreamMode" UPDATE_STREAM_MODE SMALL update_stream_mode;
        "UpdateStreamRecordDistributionStrategy" UPDATE_STREAM_RECORD_DISTRIBUTION_STRATEGY SMALL update_distribution;
        "UpdateStreamWarmThroughput" UPDATE_STREAM_WARM_THROUGHPUT SMALL update_warm_throughput;
    }
    let s = streams.clone();
    service = service.written("GetRecords", GET_RECORDS, SMALL, move |_, permit, input| {
        let s = s.clone();
        async move { s.get_records(permit, input).await }
    });
    let s = streams.clone();
    service = service.written("PutRecords", PUT_RECORDS, RECORDS, move |_, permit, input| {
        let s = s.clone();
        async move { s.put_records(permit, input).await }
    });
    let s = streams.clone();
    service.event_stream("SubscribeToShard", SUBSCRIBE_TO_SHARD, SMALL, move |_, permit, input| {
        let s = s.clone();
        async move { s.subscribe_to_shard(permit, input).await }
    })
}
