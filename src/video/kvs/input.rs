//! What the operations take, and what the services' models say of it (API Reference, 2017-09-30).
//!
//! A member is declared once: its name here, its type, its name on the wire, and its constraints. The first word says how
//! the stream is named: `stream` (by `StreamName` or `StreamARN`, which it adds), `resource` (by `ResourceARN`), `other`.

use std::collections::BTreeMap;

use serde::Deserialize;
use wire::aws::{AwsError, Pattern, Shown, Time, Violations};
use world::{Arn, Home};

use super::{
    error,
    settings::{Images, Notification},
};

pub(super) static NAME: Pattern = Pattern::new("[a-zA-Z0-9_.-]+");
pub(super) static ARN: Pattern =
    Pattern::new(r"arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+");
static TOKEN: Pattern = Pattern::new("[a-zA-Z0-9+/=]*");
static VERSION: Pattern = Pattern::new("[a-zA-Z0-9]+");
static MEDIA_TYPE: Pattern = Pattern::new(r"[\w\-\.\+]+/[\w\-\.\+]+(,[\w\-\.\+]+/[\w\-\.\+]+)*");
static KMS_KEY: Pattern = Pattern::new(".+");
const TIERS: [&str; 2] = ["HOT", "WARM"];
const APIS: [&str; 8] = [
    "PUT_MEDIA",
    "GET_MEDIA",
    "LIST_FRAGMENTS",
    "GET_MEDIA_FOR_FRAGMENT_LIST",
    "GET_HLS_STREAMING_SESSION_URL",
    "GET_DASH_STREAMING_SESSION_URL",
    "GET_CLIP",
    "GET_IMAGES",
];

/// The parts of an ARN of this service: `stream` or `channel`, the name, and when it was made.
pub(super) fn parts(arn: &str) -> Option<(&str, &str, Option<i64>)> {
    let mut parts = arn.splitn(6, ':').nth(5)?.split('/');
    let (kind, name, made) = (parts.next()?, parts.next()?, parts.next());
    Some((kind, name, made.and_then(|m| m.parse().ok())))
}

/// What tags are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tagged {
    /// A stream's name, and its creation time.
    Stream((String, Option<i64>)),
    /// A signaling channel's.
    Channel((String, Option<i64>)),
}

impl Tagged {
    fn of(arn: Option<&str>) -> Result<Tagged, AwsError> {
        match arn.and_then(parts) {
            Some(("channel", name, made)) => Ok(Tagged::Channel((name.to_owned(), made))),
            _ => Ok(Tagged::Stream(named(None, arn)?)),
        }
    }
    fn resource(&self, home: &Home) -> Arn {
        match self {
            Tagged::Stream((name, _)) => home.video_stream(name),
            Tagged::Channel((name, _)) => super::channels::resource(home, name),
        }
    }
}

/// The stream that an input names; the ARN's creation time, if it was named so.
pub(super) fn named(name: Option<&str>, arn: Option<&str>) -> Result<(String, Option<i64>), AwsError> {
    match (name, arn) {
        (Some(n), None) => Ok((n.to_owned(), None)),
        (None, Some(a)) => match parts(a) {
            Some(("stream", name, made)) => Ok((name.to_owned(), made)),
            _ => Err(error::argument(format!("{a} is not the ARN of a stream."))),
        },
        (Some(_), Some(_)) => {
            Err(error::argument("StreamARN and StreamName cannot be provided at the same time."))
        }
        (None, None) => Err(error::argument("Either StreamARN or StreamName must be provided.")),
    }
}

macro_rules! input {
    ($(#[$doc:meta])* other $name:ident { $($rest:tt)* } $resource:expr) => {
        wire::aws::input!($(#[$doc])* $name { $($rest)* } $resource);
    };
    ($(#[$doc:meta])* stream $name:ident { $($rest:tt)* }) => {
        $crate::kvs::input::input!($(#[$doc])* other $name {
            $($rest)*
            stream_name: String = "StreamName" => |v, x| { v.text("streamName", x).pattern(&$crate::kvs::input::NAME).length(1, 256); };
            stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).pattern(&$crate::kvs::input::ARN).length(1, 1024); };
        } |i, home| Ok(home.of(i.stream_arn.as_deref()).video_stream(&i.stream()?.0)));
        impl $name {
            /// The stream's name, and its creation time if it was named by ARN.
            pub(crate) fn stream(&self) -> Result<(String, Option<i64>), AwsError> {
                $crate::kvs::input::named(self.stream_name.as_deref(), self.stream_arn.as_deref())
            }
        }
    };
    ($(#[$doc:meta])* resource $name:ident { $($rest:tt)* }) => {
        $crate::kvs::input::input!($(#[$doc])* other $name {
            $($rest)*
            resource_arn: String = "ResourceARN" => |v, x| { v.text("resourceARN", x).required().pattern(&$crate::kvs::input::ARN).length(1, 1024); };
        } |i, home| Ok(i.tagged()?.resource(&home.of(i.resource_arn.as_deref()))));
        impl $name {
            /// What its ARN names.
            pub(super) fn tagged(&self) -> Result<$crate::kvs::input::Tagged, AwsError> {
                $crate::kvs::input::Tagged::of(self.resource_arn.as_deref())
            }
        }
    };
}
pub(super) use input;

pub(super) fn next_token(v: &mut Violations, x: &Option<String>) {
    v.text("nextToken", x).pattern(&TOKEN).length(0, 1024);
}
pub(super) fn version(v: &mut Violations, x: &Option<String>) {
    v.text("currentVersion", x).pattern(&VERSION).length(1, 64);
}
pub(super) fn required_version(v: &mut Violations, x: &Option<String>) {
    v.text("currentVersion", x).required().pattern(&VERSION).length(1, 64);
}
fn device(v: &mut Violations, x: &Option<String>) {
    v.text("deviceName", x).pattern(&NAME).length(1, 128);
}
fn media_type(v: &mut Violations, x: &Option<String>) {
    v.text("mediaType", x).pattern(&MEDIA_TYPE).length(1, 128);
}
fn tags(v: &mut Violations, x: &Option<BTreeMap<String, String>>) {
    v.map("tags", x).count(1, 50).keys_length(1, 128).values_length(0, 256);
}
pub(super) fn tag_list(v: &mut Violations, x: &Option<Vec<Tag>>, least: usize) {
    v.list("tags", x).count(least, 50).each(|t, v| {
        v.text("key", &t.key).required().length(1, 128);
        v.text("value", &t.value).required().length(0, 256);
    });
}
fn tag_keys(v: &mut Violations, x: &Option<Vec<String>>) {
    v.list("tagKeyList", x).required().count(1, 50).each_length(1, 128);
}
fn tier(v: &mut Violations, x: &Option<Storage>) {
    v.any("streamStorageConfiguration", x).nested(|s, v| {
        v.text("defaultStorageTier", &s.default_storage_tier).required().one_of(&TIERS);
    });
}

/// API_StreamStorageConfiguration
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Storage {
    pub(crate) default_storage_tier: Option<String>,
}
impl Shown for Storage {}

/// API_reader_TimestampRange, and those of clips and sessions, which are the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Range {
    pub(super) start_timestamp: Option<Time>,
    pub(super) end_timestamp: Option<Time>,
}
impl Shown for Range {}

/// API_reader_FragmentSelector, and those of clips and sessions, which are the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Selector {
    pub(super) fragment_selector_type: Option<String>,
    pub(super) timestamp_range: Option<Range>,
}
impl Shown for Selector {}

/// API_StreamNameCondition
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NameCondition {
    pub(crate) comparison_operator: Option<String>,
    pub(crate) comparison_value: Option<String>,
}
impl Shown for NameCondition {}

/// API_Tag
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Tag {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
}
impl Shown for Tag {}

input! {
    /// API_CreateStream
    other CreateStream {
        stream_name: String = "StreamName" => |v, x| { v.text("streamName", x).required().pattern(&NAME).length(1, 256); };
        device_name: String = "DeviceName" => device;
        media_type: String = "MediaType" => media_type;
        kms_key_id: String = "KmsKeyId" => |v, x| { v.text("kmsKeyId", x).pattern(&KMS_KEY).length(1, 2048); };
        hours: i64 = "DataRetentionInHours" => |v, x| { v.number("dataRetentionInHours", x).min(0); };
        tags: BTreeMap<String, String> = "Tags" ["wire::aws::few"] => tags;
        storage: Storage = "StreamStorageConfiguration" => tier;
    }
    |i, home| Ok(home.video_stream(i.stream_name.as_deref().unwrap_or_default()))
}
input! {
    /// API_DescribeStream
    stream DescribeStream {}
}
input! {
    /// API_ListStreams
    other ListStreams {
        max_results: i64 = "MaxResults" => |v, x| { v.number("maxResults", x).range(1, 10_000); };
        next_token: String = "NextToken" => next_token;
        condition: NameCondition = "StreamNameCondition" => |v, x| {
            v.any("streamNameCondition", x).nested(|c, v| {
                v.text("comparisonOperator", &c.comparison_operator).one_of(&["BEGINS_WITH"]);
                v.text("comparisonValue", &c.comparison_value).pattern(&NAME).length(1, 256);
            });
        };
    }
    |_, home| Ok(home.video_stream("*"))
}
input! {
    /// API_UpdateStream
    stream UpdateStream {
        current_version: String = "CurrentVersion" => required_version;
        device_name: String = "DeviceName" => device;
        media_type: String = "MediaType" => media_type;
    }
}
input! {
    /// API_UpdateDataRetention
    stream UpdateDataRetention {
        current_version: String = "CurrentVersion" => required_version;
        operation: String = "Operation" => |v, x| {
            v.text("operation", x).required().one_of(&["INCREASE_DATA_RETENTION", "DECREASE_DATA_RETENTION"]);
        };
        hours: i64 = "DataRetentionChangeInHours" => |v, x| { v.number("dataRetentionChangeInHours", x).required().min(1); };
    }
}
input! {
    /// API_DeleteStream
    other DeleteStream {
        stream_arn: String = "StreamARN" => |v, x| { v.text("streamARN", x).required().pattern(&ARN).length(1, 1024); };
        current_version: String = "CurrentVersion" => version;
    }
    |i, home| Ok(home.of(i.stream_arn.as_deref()).video_stream(&named(None, i.stream_arn.as_deref())?.0))
}
input! {
    /// API_TagStream
    stream TagStream {
        tags: BTreeMap<String, String> = "Tags" ["wire::aws::few"] => |v, x| { v.map("tags", x).required(); tags(v, x); };
    }
}
input! {
    /// API_UntagStream
    stream UntagStream { tag_keys: Vec<String> = "TagKeyList" ["wire::aws::few"] => tag_keys; }
}
input! {
    /// API_ListTagsForStream
    stream ListTagsForStream { next_token: String = "NextToken" => next_token; }
}
input! {
    /// API_TagResource
    resource TagResource {
        tags: Vec<Tag> = "Tags" ["wire::aws::few"] => |v, x| { v.list("tags", x).required(); tag_list(v, x, 1); };
    }
}
input! {
    /// API_UntagResource
    resource UntagResource { tag_keys: Vec<String> = "TagKeyList" ["wire::aws::few"] => tag_keys; }
}
input! {
    /// API_ListTagsForResource
    resource ListTagsForResource { next_token: String = "NextToken" => next_token; }
}
input! {
    /// API_GetDataEndpoint
    stream GetDataEndpoint {
        api: String = "APIName" => |v, x| { v.text("aPIName", x).required().one_of(&APIS); };
    }
}
input! {
    /// API_DescribeImageGenerationConfiguration
    stream DescribeImages {}
}
input! {
    /// API_UpdateImageGenerationConfiguration
    stream UpdateImages {
        images: Images = "ImageGenerationConfiguration" => |v, x| {
            v.any("imageGenerationConfiguration", x).nested(|i, v| i.check(v));
        };
    }
}
input! {
    /// API_DescribeNotificationConfiguration
    stream DescribeNotification {}
}
input! {
    /// API_UpdateNotificationConfiguration
    stream UpdateNotification {
        notification: Notification = "NotificationConfiguration" => |v, x| {
            v.any("notificationConfiguration", x).nested(|n, v| n.check(v));
        };
    }
}
input! {
    /// API_DescribeStreamStorageConfiguration
    stream DescribeStorage {}
}
input! {
    /// API_UpdateStreamStorageConfiguration
    stream UpdateStorage {
        current_version: String = "CurrentVersion" => required_version;
        storage: Storage = "StreamStorageConfiguration" => |v, x| {
            v.any("streamStorageConfiguration", x).required();
            tier(v, x);
        };
    }
}
input! {
    /// API_DescribeMappedResourceConfiguration
    stream DescribeMapped {
        max_results: i64 = "MaxResults" => |v, x| { v.number("maxResults", x).range(1, 1); };
        next_token: String = "NextToken" => next_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_patterns_are_patterns() {
        for p in [&NAME, &ARN, &TOKEN, &VERSION, &MEDIA_TYPE, &KMS_KEY] {
            assert!(p.is_good());
        }
        assert!(ARN.matches("arn:aws:kinesisvideo:us-east-1:000000000000:stream/a_b.c-d/1700000000000"));
        assert!(MEDIA_TYPE.matches("video/h264,audio/aac") && !MEDIA_TYPE.matches("video"));
    }

    #[test]
    fn a_stream_is_named_once() {
        let arn = "arn:aws:kinesisvideo:us-east-1:000000000000:stream/door/17";
        assert_eq!(named(Some("door"), None), Ok(("door".into(), None)));
        assert_eq!(named(None, Some(arn)), Ok(("door".into(), Some(17))));
        for (n, a) in [
            (None, None),
            (Some("door"), Some(arn)),
            (None, Some("arn:aws:kinesisvideo:x:1:channel/door/17")),
            (None, Some("stream/door/17")),
        ] {
            assert!(named(n, a).is_err());
        }
    }
}
