//! What is asked of signaling channels, and what is answered.

use serde::{Deserialize, Serialize};
use wire::aws::{Shown, Time, Violations};

use super::{
    super::input::{ARN, NAME, NameCondition, Tag, input, next_token, required_version, tag_list, version},
    named, resource,
};

/// API_MediaStorageConfiguration
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MediaStorage {
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub(super) stream_arn: Option<String>,
    pub(super) status: Option<String>,
}
impl Shown for MediaStorage {}

/// API_SingleMasterConfiguration
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SingleMaster {
    pub(super) message_ttl_seconds: Option<i64>,
}
impl Shown for SingleMaster {}

/// API_SingleMasterChannelEndpointConfiguration
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointConfig {
    #[serde(deserialize_with = "wire::aws::few")]
    pub(super) protocols: Option<Vec<String>>,
    pub(super) role: Option<String>,
}
impl Shown for EndpointConfig {}

fn ttl(v: &mut Violations, x: &Option<SingleMaster>) {
    v.any("singleMasterConfiguration", x).nested(|s, v| {
        v.number("messageTtlSeconds", &s.message_ttl_seconds).range(5, 120);
    });
}
fn arn(v: &mut Violations, x: &Option<String>) {
    v.text("channelARN", x).required().pattern(&ARN).length(1, 1024);
}

input! {
    /// API_CreateSignalingChannel
    other CreateChannel {
        name: String = "ChannelName" => |v, x| { v.text("channelName", x).required().pattern(&NAME).length(1, 256); };
        kind: String = "ChannelType" => |v, x| { v.text("channelType", x).one_of(&["SINGLE_MASTER", "FULL_MESH"]); };
        single: SingleMaster = "SingleMasterConfiguration" => ttl;
        tags: Vec<Tag> = "Tags" ["wire::aws::few"] => |v, x| tag_list(v, x, 0);
    }
    |i, home| Ok(resource(home, i.name.as_deref().unwrap_or_default()))
}

macro_rules! by_either {
    ($(#[$doc:meta])* $name:ident) => {
        input! {
            $(#[$doc])*
            other $name {
                name: String = "ChannelName" => |v, x| { v.text("channelName", x).pattern(&NAME).length(1, 256); };
                arn: String = "ChannelARN" => |v, x| { v.text("channelARN", x).pattern(&ARN).length(1, 1024); };
            }
            |i, home| Ok(resource(&home.of(i.arn.as_deref()), &named(i.name.as_deref(), i.arn.as_deref())?.0))
        }
    };
}
by_either! {
    /// API_DescribeSignalingChannel
    DescribeChannel
}
by_either! {
    /// API_DescribeMediaStorageConfiguration
    DescribeMediaStorage
}
input! {
    /// API_ListSignalingChannels
    other ListChannels {
        max_results: i64 = "MaxResults" => |v, x| { v.number("maxResults", x).range(1, 10_000); };
        next_token: String = "NextToken" => next_token;
        condition: NameCondition = "ChannelNameCondition" => |v, x| {
            v.any("channelNameCondition", x).nested(|c, v| {
                v.text("comparisonOperator", &c.comparison_operator).one_of(&["BEGINS_WITH"]);
                v.text("comparisonValue", &c.comparison_value).pattern(&NAME).length(1, 256);
            });
        };
    }
    |_, home| Ok(resource(home, "*"))
}
input! {
    /// API_UpdateSignalingChannel
    other UpdateChannel {
        arn: String = "ChannelARN" => arn;
        current_version: String = "CurrentVersion" => required_version;
        single: SingleMaster = "SingleMasterConfiguration" => ttl;
    }
    |i, home| Ok(resource(&home.of(i.arn.as_deref()), &named(None, i.arn.as_deref())?.0))
}
input! {
    /// API_DeleteSignalingChannel
    other DeleteChannel {
        arn: String = "ChannelARN" => arn;
        current_version: String = "CurrentVersion" => version;
    }
    |i, home| Ok(resource(&home.of(i.arn.as_deref()), &named(None, i.arn.as_deref())?.0))
}
input! {
    /// API_GetSignalingChannelEndpoint
    other GetChannelEndpoint {
        arn: String = "ChannelARN" => arn;
        config: EndpointConfig = "SingleMasterChannelEndpointConfiguration" => |v, x| {
            v.any("singleMasterChannelEndpointConfiguration", x).nested(|c, v| {
                v.list("protocols", &c.protocols).count(1, 5);
                v.text("role", &c.role).one_of(&["MASTER", "VIEWER"]);
            });
        };
    }
    |i, home| Ok(resource(&home.of(i.arn.as_deref()), &named(None, i.arn.as_deref())?.0))
}
input! {
    /// API_UpdateMediaStorageConfiguration
    other UpdateMediaStorage {
        arn: String = "ChannelARN" => arn;
        media: MediaStorage = "MediaStorageConfiguration" => |v, x| {
            v.any("mediaStorageConfiguration", x).required().nested(|m, v| {
                v.text("streamARN", &m.stream_arn).pattern(&ARN).length(1, 1024);
                v.text("status", &m.status).required().one_of(&["ENABLED", "DISABLED"]);
            });
        };
    }
    |i, home| Ok(resource(&home.of(i.arn.as_deref()), &named(None, i.arn.as_deref())?.0))
}

/// API_CreateSignalingChannel
#[derive(Debug, Serialize)]
pub struct Created {
    #[serde(rename = "ChannelARN")]
    pub(super) arn: String,
}

/// API_ChannelInfo
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChannelInfo {
    pub(super) channel_name: String,
    #[serde(rename = "ChannelARN")]
    pub(super) arn: String,
    pub(super) channel_type: &'static str,
    pub(super) channel_status: &'static str,
    pub(super) creation_time: Time,
    pub(super) single_master_configuration: SingleMaster,
    pub(super) version: String,
}

/// API_DescribeSignalingChannel
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Described {
    pub(super) channel_info: ChannelInfo,
}

/// API_ListSignalingChannels
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    pub(super) channel_info_list: Vec<ChannelInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<String>,
}

/// API_ResourceEndpointListItem
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointItem {
    pub(super) protocol: String,
    pub(super) resource_endpoint: String,
}

/// API_GetSignalingChannelEndpoint
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoints {
    pub(super) resource_endpoint_list: Vec<EndpointItem>,
}

/// API_DescribeMediaStorageConfiguration
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MediaStorageOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) media_storage_configuration: Option<MediaStorage>,
}
