//! The actions of data streams, by their names in policies (Service Authorization Reference, Amazon Kinesis Data Streams).

crate::action::declare! {
    ADD_TAGS_TO_STREAM = "kinesis:AddTagsToStream";
    CREATE_STREAM = "kinesis:CreateStream";
    DECREASE_STREAM_RETENTION_PERIOD = "kinesis:DecreaseStreamRetentionPeriod";
    DELETE_RESOURCE_POLICY = "kinesis:DeleteResourcePolicy";
    DELETE_STREAM = "kinesis:DeleteStream";
    DEREGISTER_STREAM_CONSUMER = "kinesis:DeregisterStreamConsumer";
    DESCRIBE_ACCOUNT_SETTINGS = "kinesis:DescribeAccountSettings";
    DESCRIBE_LIMITS = "kinesis:DescribeLimits";
    DESCRIBE_STREAM = "kinesis:DescribeStream";
    DESCRIBE_STREAM_CONSUMER = "kinesis:DescribeStreamConsumer";
    DESCRIBE_STREAM_SUMMARY = "kinesis:DescribeStreamSummary";
    DISABLE_ENHANCED_MONITORING = "kinesis:DisableEnhancedMonitoring";
    ENABLE_ENHANCED_MONITORING = "kinesis:EnableEnhancedMonitoring";
    GET_RECORDS = "kinesis:GetRecords";
    GET_RESOURCE_POLICY = "kinesis:GetResourcePolicy";
    GET_SHARD_ITERATOR = "kinesis:GetShardIterator";
    INCREASE_STREAM_RETENTION_PERIOD = "kinesis:IncreaseStreamRetentionPeriod";
    LIST_SHARDS = "kinesis:ListShards";
    LIST_STREAM_CONSUMERS = "kinesis:ListStreamConsumers";
    LIST_STREAMS = "kinesis:ListStreams";
    LIST_TAGS_FOR_RESOURCE = "kinesis:ListTagsForResource";
    LIST_TAGS_FOR_STREAM = "kinesis:ListTagsForStream";
    MERGE_SHARDS = "kinesis:MergeShards";
    PUT_RECORD = "kinesis:PutRecord";
    PUT_RECORDS = "kinesis:PutRecords";
    PUT_RESOURCE_POLICY = "kinesis:PutResourcePolicy";
    REGISTER_STREAM_CONSUMER = "kinesis:RegisterStreamConsumer";
    REMOVE_TAGS_FROM_STREAM = "kinesis:RemoveTagsFromStream";
    SPLIT_SHARD = "kinesis:SplitShard";
    START_STREAM_ENCRYPTION = "kinesis:StartStreamEncryption";
    STOP_STREAM_ENCRYPTION = "kinesis:StopStreamEncryption";
    SUBSCRIBE_TO_SHARD = "kinesis:SubscribeToShard";
    TAG_RESOURCE = "kinesis:TagResource";
    UNTAG_RESOURCE = "kinesis:UntagResource";
    UPDATE_ACCOUNT_SETTINGS = "kinesis:UpdateAccountSettings";
    UPDATE_MAX_RECORD_SIZE = "kinesis:UpdateMaxRecordSize";
    UPDATE_SHARD_COUNT = "kinesis:UpdateShardCount";
    UPDATE_STREAM_MODE = "kinesis:UpdateStreamMode";
    UPDATE_STREAM_RECORD_DISTRIBUTION_STRATEGY = "kinesis:UpdateStreamRecordDistributionStrategy";
    UPDATE_STREAM_WARM_THROUGHPUT = "kinesis:UpdateStreamWarmThroughput";
}
