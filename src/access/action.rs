use std::fmt;

/// Something that can be done, by its name in policies: `service:Operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action(pub &'static str);

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Declares actions, and `ALL` of them.
macro_rules! declare {
    ($($name:ident = $text:literal;)*) => {
        $(#[doc = concat!("`", $text, "`")] pub const $name: $crate::Action = $crate::Action($text);)*
        /// Every one of them.
        pub const ALL: &[$crate::Action] = &[$($name),*];
    };
}
pub(crate) use declare;

/// All actions there are but those of data streams. Those of AWS's services have AWS's names (Service Authorization
/// Reference).
pub mod actions {
    super::declare! {
        CREATE_STREAM = "kinesisvideo:CreateStream";
        DELETE_STREAM = "kinesisvideo:DeleteStream";
        DESCRIBE_STREAM = "kinesisvideo:DescribeStream";
        LIST_STREAMS = "kinesisvideo:ListStreams";
        UPDATE_STREAM = "kinesisvideo:UpdateStream";
        UPDATE_DATA_RETENTION = "kinesisvideo:UpdateDataRetention";
        PUT_MEDIA = "kinesisvideo:PutMedia";
        GET_MEDIA = "kinesisvideo:GetMedia";
        LIST_FRAGMENTS = "kinesisvideo:ListFragments";
        GET_HLS_STREAMING_SESSION_URL = "kinesisvideo:GetHLSStreamingSessionURL";
        GET_DASH_STREAMING_SESSION_URL = "kinesisvideo:GetDASHStreamingSessionURL";
        GET_IMAGES = "kinesisvideo:GetImages";
        GET_CLIP = "kinesisvideo:GetClip";
        DESCRIBE_IMAGE_GENERATION_CONFIGURATION = "kinesisvideo:DescribeImageGenerationConfiguration";
        DESCRIBE_MAPPED_RESOURCE_CONFIGURATION = "kinesisvideo:DescribeMappedResourceConfiguration";
        DESCRIBE_NOTIFICATION_CONFIGURATION = "kinesisvideo:DescribeNotificationConfiguration";
        DESCRIBE_STREAM_STORAGE_CONFIGURATION = "kinesisvideo:DescribeStreamStorageConfiguration";
        GET_MEDIA_FOR_FRAGMENT_LIST = "kinesisvideo:GetMediaForFragmentList";
        GET_DATA_ENDPOINT = "kinesisvideo:GetDataEndpoint";
        LIST_TAGS_FOR_RESOURCE = "kinesisvideo:ListTagsForResource";
        LIST_TAGS_FOR_STREAM = "kinesisvideo:ListTagsForStream";
        TAG_RESOURCE = "kinesisvideo:TagResource";
        TAG_STREAM = "kinesisvideo:TagStream";
        UNTAG_RESOURCE = "kinesisvideo:UntagResource";
        UNTAG_STREAM = "kinesisvideo:UntagStream";
        UPDATE_IMAGE_GENERATION_CONFIGURATION = "kinesisvideo:UpdateImageGenerationConfiguration";
        UPDATE_NOTIFICATION_CONFIGURATION = "kinesisvideo:UpdateNotificationConfiguration";
        UPDATE_STREAM_STORAGE_CONFIGURATION = "kinesisvideo:UpdateStreamStorageConfiguration";
        CONNECT_AS_MASTER = "kinesisvideo:ConnectAsMaster";
        CONNECT_AS_VIEWER = "kinesisvideo:ConnectAsViewer";
        GET_ICE_SERVER_CONFIG = "kinesisvideo:GetIceServerConfig";
        SEND_ALEXA_OFFER_TO_MASTER = "kinesisvideo:SendAlexaOfferToMaster";
        JOIN_STORAGE_SESSION = "kinesisvideo:JoinStorageSession";
        JOIN_STORAGE_SESSION_AS_VIEWER = "kinesisvideo:JoinStorageSessionAsViewer";
        CREATE_SIGNALING_CHANNEL = "kinesisvideo:CreateSignalingChannel";
        DELETE_EDGE_CONFIGURATION = "kinesisvideo:DeleteEdgeConfiguration";
        DELETE_SIGNALING_CHANNEL = "kinesisvideo:DeleteSignalingChannel";
        DESCRIBE_EDGE_CONFIGURATION = "kinesisvideo:DescribeEdgeConfiguration";
        DESCRIBE_MEDIA_STORAGE_CONFIGURATION = "kinesisvideo:DescribeMediaStorageConfiguration";
        DESCRIBE_SIGNALING_CHANNEL = "kinesisvideo:DescribeSignalingChannel";
        GET_SIGNALING_CHANNEL_ENDPOINT = "kinesisvideo:GetSignalingChannelEndpoint";
        LIST_EDGE_AGENT_CONFIGURATIONS = "kinesisvideo:ListEdgeAgentConfigurations";
        LIST_SIGNALING_CHANNELS = "kinesisvideo:ListSignalingChannels";
        START_EDGE_CONFIGURATION_UPDATE = "kinesisvideo:StartEdgeConfigurationUpdate";
        UPDATE_MEDIA_STORAGE_CONFIGURATION = "kinesisvideo:UpdateMediaStorageConfiguration";
        UPDATE_SIGNALING_CHANNEL = "kinesisvideo:UpdateSignalingChannel";
        LIST_CAMERAS = "rushes:ListCameras";
        DESCRIBE_CAMERA = "rushes:DescribeCamera";
        CREATE_CAMERA = "rushes:CreateCamera";
        UPDATE_CAMERA = "rushes:UpdateCamera";
        DELETE_CAMERA = "rushes:DeleteCamera";
        PROBE_CAMERA = "rushes:ProbeCamera";
        LIST_PINS = "rushes:ListPins";
        PIN_RECORDING = "rushes:PinRecording";
        UNPIN_RECORDING = "rushes:UnpinRecording";
        READ_METRICS = "rushes:ReadMetrics";
        READ_STORAGE = "rushes:ReadStorage";
        READ_USAGE = "rushes:ReadUsage";
        SIGN_IN = "rushes:SignIn";
        CREATE_CONSOLE_LINK = "rushes:CreateConsoleLink";
    }
}
