//! Actions that only these APIs have, by their names in policies (Service Authorization Reference, Amazon Kinesis Video
//! Streams); the others are in [`access::actions`].

use access::Action;

macro_rules! actions {
    ($($name:ident = $text:literal;)*) => {
        $(#[doc = concat!("`", $text, "`")] pub const $name: Action = Action($text);)*
        /// Every one of them.
        pub const ALL: &[Action] = &[$($name),*];
    };
}

actions! {
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
}
