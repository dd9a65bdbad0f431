//! Edge configurations: what a stream's edge agent is to record, upload and delete. There is no edge agent that would ask for
//! them here (cameras are pulled by the server itself): they are kept and returned, and never become `IN_SYNC`.

use access::Permit;
use serde::{Deserialize, Serialize};
use wire::aws::{AwsError, Call, Empty, Pattern, Shown, Time, Violations};
use world::Timestamp;

use super::{
    Kvs, error,
    input::{input, next_token},
};
use crate::streams::Described;

static HUB: Pattern = Pattern::new(r"arn:[a-z\d-]+:iot:[a-z0-9-]+:[0-9]+:thing/[a-zA-Z0-9_.-]+");
static SECRET: Pattern =
    Pattern::new(r"arn:[a-z\d-]+:secretsmanager:[a-z0-9-]+:[0-9]+:secret:[a-zA-Z0-9_.-]+");
static SCHEDULE: Pattern = Pattern::new(r"[^\n]{11,100}");
/// Configurations on a page unless asked for otherwise.
const PAGE: usize = 5;
/// Streams that are looked at for one page.
const AT_ONCE: usize = 1000;

/// A stream's configuration, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    created: Timestamp,
    updated: Timestamp,
    config: EdgeConfig,
}

/// API_EdgeConfig
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EdgeConfig {
    hub_device_arn: Option<String>,
    recorder_config: Option<Recorder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uploader_config: Option<Uploader>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_config: Option<Deletion>,
}
impl Shown for EdgeConfig {}

/// API_RecorderConfig
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Recorder {
    media_source_config: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_config: Option<Schedule>,
}
impl Shown for Recorder {}

/// API_MediaSourceConfig
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Source {
    media_uri_secret_arn: Option<String>,
    media_uri_type: Option<String>,
}
impl Shown for Source {}

/// API_ScheduleConfig
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Schedule {
    schedule_expression: Option<String>,
    duration_in_seconds: Option<i64>,
}
impl Shown for Schedule {}

/// API_UploaderConfig
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Uploader {
    schedule_config: Option<Schedule>,
}
impl Shown for Uploader {}

/// API_DeletionConfig
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Deletion {
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_retention_in_hours: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_size_config: Option<LocalSize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_after_upload: Option<bool>,
}
impl Shown for Deletion {}

/// API_LocalSizeConfig
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LocalSize {
    #[serde(rename = "MaxLocalMediaSizeInMB", skip_serializing_if = "Option::is_none")]
    most: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy_on_full_size: Option<String>,
}
impl Shown for LocalSize {}

fn schedule(s: &Schedule, v: &mut Violations) {
    v.text("scheduleExpression", &s.schedule_expression).required().pattern(&SCHEDULE).length(11, 100);
    v.number("durationInSeconds", &s.duration_in_seconds).required().range(60, 3600);
}

impl EdgeConfig {
    fn check(&self, v: &mut Violations) {
        v.text("hubDeviceArn", &self.hub_device_arn).required().pattern(&HUB).length(1, 1024);
        v.any("recorderConfig", &self.recorder_config).required().nested(|r, v| {
            v.any("mediaSourceConfig", &r.media_source_config).required().nested(|m, v| {
                v.text("mediaUriSecretArn", &m.media_uri_secret_arn)
                    .required()
                    .pattern(&SECRET)
                    .length(20, 2048);
                v.text("mediaUriType", &m.media_uri_type).required().one_of(&["RTSP_URI", "FILE_URI"]);
            });
            v.any("scheduleConfig", &r.schedule_config).nested(schedule);
        });
        v.any("uploaderConfig", &self.uploader_config).nested(|u, v| {
            v.any("scheduleConfig", &u.schedule_config).required().nested(schedule);
        });
        v.any("deletionConfig", &self.deletion_config).nested(|d, v| {
            v.number("edgeRetentionInHours", &d.edge_retention_in_hours).range(1, 720);
            v.any("localSizeConfig", &d.local_size_config).nested(|l, v| {
                v.number("maxLocalMediaSizeInMB", &l.most).range(64, 2_000_000);
                v.text("strategyOnFullSize", &l.strategy_on_full_size)
                    .one_of(&["DELETE_OLDEST_MEDIA", "DENY_NEW_MEDIA"]);
            });
        });
    }
}

input! {
    /// API_StartEdgeConfigurationUpdate
    stream StartEdge {
        config: EdgeConfig = "EdgeConfig" => |v, x| { v.any("edgeConfig", x).required().nested(|e, v| e.check(v)); };
    }
}
input! {
    /// API_DescribeEdgeConfiguration
    stream DescribeEdge {}
}
input! {
    /// API_DeleteEdgeConfiguration
    stream DeleteEdge {}
}
input! {
    /// API_ListEdgeAgentConfigurations
    other ListEdge {
        hub: String = "HubDeviceArn" => |v, x| { v.text("hubDeviceArn", x).required().pattern(&HUB).length(1, 1024); };
        max_results: i64 = "MaxResults" => |v, x| { v.number("maxResults", x).range(1, 10); };
        next_token: String = "NextToken" => next_token;
    }
    |_, home| Ok(home.video_stream("*"))
}

/// API_StartEdgeConfigurationUpdate, API_DescribeEdgeConfiguration, API_ListEdgeAgentConfigurationsEdgeConfig
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EdgeOutput {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    creation_time: Time,
    last_updated_time: Time,
    sync_status: &'static str,
    edge_config: EdgeConfig,
}

impl EdgeOutput {
    fn of(d: &Described, e: &Edge) -> EdgeOutput {
        EdgeOutput {
            stream_name: d.info.name.clone(),
            stream_arn: d.info.arn.0.clone(),
            creation_time: Time(e.created),
            last_updated_time: Time(e.updated),
            sync_status: "SYNCING",
            edge_config: e.config.clone(),
        }
    }
}

/// API_ListEdgeAgentConfigurations
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EdgeList {
    edge_configs: Vec<EdgeOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Where the next page begins.
#[derive(Serialize, Deserialize)]
struct Page {
    after: String,
}

fn none() -> AwsError {
    AwsError::with_status(
        404,
        "StreamEdgeConfigurationNotFoundException",
        "The stream has no edge configuration.",
    )
}

impl Kvs {
    /// API_StartEdgeConfigurationUpdate
    pub(super) async fn start_edge(
        &self,
        _: Call,
        permit: Permit,
        i: StartEdge,
    ) -> Result<EdgeOutput, AwsError> {
        let stream = i.stream()?;
        let d = self.described(stream.clone()).await?;
        if !self.keeps(&d).await? {
            return Err(error::no_retention());
        }
        let config = i.config.unwrap_or_default();
        let now = self.video.world.clock.now();
        self.change(permit, stream.clone(), None, |b| {
            let created = b.kvs.edge.as_ref().map_or(now, |e| e.created);
            b.kvs.edge = Some(Edge { created, updated: now, config: config.clone() });
            Ok(())
        })
        .await?;
        let d = self.described(stream).await?;
        let edge = d.body.kvs.edge.as_ref().ok_or_else(none)?;
        Ok(EdgeOutput::of(&d, edge))
    }

    /// API_DescribeEdgeConfiguration
    pub(super) async fn describe_edge(
        &self,
        _: Call,
        permit: Permit,
        i: DescribeEdge,
    ) -> Result<EdgeOutput, AwsError> {
        drop(permit);
        let d = self.described(i.stream()?).await?;
        let edge = d.body.kvs.edge.as_ref().ok_or_else(none)?;
        Ok(EdgeOutput::of(&d, edge))
    }

    /// API_DeleteEdgeConfiguration. At once: no agent has to agree.
    pub(super) async fn delete_edge(
        &self,
        _: Call,
        permit: Permit,
        i: DeleteEdge,
    ) -> Result<Empty, AwsError> {
        self.change(permit, i.stream()?, None, |b| b.kvs.edge.take().map(|_| ()).ok_or_else(none)).await
    }

    /// API_ListEdgeAgentConfigurations. By the streams' names.
    pub(super) async fn list_edge(&self, _: Call, permit: Permit, i: ListEdge) -> Result<EdgeList, AwsError> {
        drop(permit);
        let mut after = match i.next_token.filter(|t| !t.is_empty()) {
            None => None,
            Some(t) => Some(self.open_token::<Page>("list-edge", &t)?.after),
        };
        let most = i.max_results.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE);
        let mut edge_configs: Vec<EdgeOutput> = Vec::new();
        loop {
            let some = self.video.streams.described_all("", after.as_deref(), AT_ONCE).await?;
            let Some(last) = some.last() else { return Ok(EdgeList { edge_configs, next_token: None }) };
            after = Some(last.info.name.clone());
            for d in &some {
                let Some(e) = d.body.kvs.edge.as_ref().filter(|e| e.config.hub_device_arn == i.hub) else {
                    continue;
                };
                if edge_configs.len() == most {
                    let page = edge_configs.last().map(|e| Page { after: e.stream_name.clone() });
                    let next_token = page.map(|p| self.seal_token("list-edge", &p));
                    return Ok(EdgeList { edge_configs, next_token });
                }
                edge_configs.push(EdgeOutput::of(d, e));
            }
        }
    }
}
