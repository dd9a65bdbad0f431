//! The operations by their names, each with its action, its path and its largest body.

use access::actions::*;
use wire::aws::Service;

use super::{Kvs, error, put};

/// Bytes of a request.
const SMALL: usize = 1 << 20;

/// The services that sign as `kinesisvideo`: Kinesis Video Streams, its media and its archived media.
pub fn service(kvs: &Kvs) -> Service {
    let mut service = Service::rest("kinesisvideo", error::INVALID);
    macro_rules! operations {
        ($($name:literal $path:literal $action:ident $handler:ident;)*) => {$(
            let k = kvs.clone();
            service = service.at($name, $action, ($path, &[]), SMALL, move |call, permit, input| {
                let k = k.clone();
                async move { k.$handler(call, permit, input).await }
            });
        )*};
    }
    operations! {
        "CreateSignalingChannel" "POST /createSignalingChannel" CREATE_SIGNALING_CHANNEL create_channel;
        "CreateStream" "POST /createStream" CREATE_STREAM create_stream;
        "DeleteEdgeConfiguration" "POST /deleteEdgeConfiguration" DELETE_EDGE_CONFIGURATION delete_edge;
        "DeleteSignalingChannel" "POST /deleteSignalingChannel" DELETE_SIGNALING_CHANNEL delete_channel;
        "DeleteStream" "POST /deleteStream" DELETE_STREAM delete_stream;
        "DescribeEdgeConfiguration" "POST /describeEdgeConfiguration" DESCRIBE_EDGE_CONFIGURATION describe_edge;
        "DescribeImageGenerationConfiguration" "POST /describeImageGenerationConfiguration" DESCRIBE_IMAGE_GENERATION_CONFIGURATION describe_images;
        "DescribeMappedResourceConfiguration" "POST /describeMappedResourceConfiguration" DESCRIBE_MAPPED_RESOURCE_CONFIGURATION describe_mapped;
        "DescribeMediaStorageConfiguration" "POST /describeMediaStorageConfiguration" DESCRIBE_MEDIA_STORAGE_CONFIGURATION describe_media_storage;
        "DescribeNotificationConfiguration" "POST /describeNotificationConfiguration" DESCRIBE_NOTIFICATION_CONFIGURATION describe_notification;
        "DescribeSignalingChannel" "POST /describeSignalingChannel" DESCRIBE_SIGNALING_CHANNEL describe_channel;
        "DescribeStream" "POST /describeStream" DESCRIBE_STREAM describe_stream;
        "DescribeStreamStorageConfiguration" "POST /describeStreamStorageConfiguration" DESCRIBE_STREAM_STORAGE_CONFIGURATION describe_storage;
        "GetDASHStreamingSessionURL" "POST /getDASHStreamingSessionURL" GET_DASH_STREAMING_SESSION_URL get_dash_session;
        "GetDataEndpoint" "POST /getDataEndpoint" GET_DATA_ENDPOINT get_data_endpoint;
        "GetHLSStreamingSessionURL" "POST /getHLSStreamingSessionURL" GET_HLS_STREAMING_SESSION_URL get_hls_session;
        "GetSignalingChannelEndpoint" "POST /getSignalingChannelEndpoint" GET_SIGNALING_CHANNEL_ENDPOINT get_channel_endpoint;
        "ListEdgeAgentConfigurations" "POST /listEdgeAgentConfigurations" LIST_EDGE_AGENT_CONFIGURATIONS list_edge;
        "GetImages" "POST /getImages" GET_IMAGES get_images;
        "ListFragments" "POST /listFragments" LIST_FRAGMENTS list_fragments;
        "ListSignalingChannels" "POST /listSignalingChannels" LIST_SIGNALING_CHANNELS list_channels;
        "ListStreams" "POST /listStreams" LIST_STREAMS list_streams;
        "ListTagsForResource" "POST /ListTagsForResource" LIST_TAGS_FOR_RESOURCE list_tags_for_resource;
        "ListTagsForStream" "POST /listTagsForStream" LIST_TAGS_FOR_STREAM list_tags_for_stream;
        "StartEdgeConfigurationUpdate" "POST /startEdgeConfigurationUpdate" START_EDGE_CONFIGURATION_UPDATE start_edge;
        "TagResource" "POST /TagResource" TAG_RESOURCE tag_resource;
        "TagStream" "POST /tagStream" TAG_STREAM tag_stream;
        "UntagResource" "POST /UntagResource" UNTAG_RESOURCE untag_resource;
        "UntagStream" "POST /untagStream" UNTAG_STREAM untag_stream;
        "UpdateDataRetention" "POST /updateDataRetention" UPDATE_DATA_RETENTION update_data_retention;
        "UpdateImageGenerationConfiguration" "POST /updateImageGenerationConfiguration" UPDATE_IMAGE_GENERATION_CONFIGURATION update_images;
        "UpdateMediaStorageConfiguration" "POST /updateMediaStorageConfiguration" UPDATE_MEDIA_STORAGE_CONFIGURATION update_media_storage;
        "UpdateNotificationConfiguration" "POST /updateNotificationConfiguration" UPDATE_NOTIFICATION_CONFIGURATION update_notification;
        "UpdateSignalingChannel" "POST /updateSignalingChannel" UPDATE_SIGNALING_CHANNEL update_channel;
        "UpdateStream" "POST /updateStream" UPDATE_STREAM update_stream;
        "UpdateStreamStorageConfiguration" "POST /updateStreamStorageConfiguration" UPDATE_STREAM_STORAGE_CONFIGURATION update_storage;
    }
    macro_rules! downloads {
        ($($name:literal $path:literal $action:ident $handler:ident;)*) => {$(
            let k = kvs.clone();
            service = service.download($name, $action, ($path, &[]), SMALL, move |call, permit, input| {
                let k = k.clone();
                async move { k.$handler(call, permit, input).await }
            });
        )*};
    }
    downloads! {
        "GetClip" "POST /getClip" GET_CLIP get_clip;
        "GetMedia" "POST /getMedia" GET_MEDIA get_media;
        "GetMediaForFragmentList" "POST /getMediaForFragmentList" GET_MEDIA_FOR_FRAGMENT_LIST get_media_for_list;
    }
    let k = kvs.clone();
    service.upload("PutMedia", PUT_MEDIA, ("POST /putMedia", put::BINDS), move |call, permit, input, body| {
        let k = k.clone();
        async move { k.put_media(call, permit, input, body).await }
    })
}
