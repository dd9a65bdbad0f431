//! Streams: made, described, changed, deleted; and where their data is to be had.

use access::Permit;
use log::{OnFull, Retention};
use serde::{Deserialize, Serialize};
use wire::aws::{AwsError, Call, Empty, Time};

use super::{
    Kvs, error,
    input::*,
    settings::{Images, Notification, Settings},
    tags,
};
use crate::{
    Bound, MAX_HOURS, StreamConfig, StreamRetention,
    streams::{Body, Described},
};

/// Streams of an account (with [`super::Config::limits`]).
const MOST_STREAMS: usize = 10_000;
/// Streams on a page unless asked for otherwise.
const PAGE: usize = 10_000;

/// API_CreateStream
#[derive(Debug, Serialize)]
pub struct Created {
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

/// API_StreamInfo
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<String>,
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    kms_key_id: String,
    version: String,
    status: &'static str,
    creation_time: Time,
    data_retention_in_hours: i64,
}

/// API_DescribeStream
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeOutput {
    stream_info: StreamInfo,
}

/// API_ListStreams
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListOutput {
    stream_info_list: Vec<StreamInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// API_GetDataEndpoint
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    data_endpoint: String,
}

/// API_DescribeImageGenerationConfiguration
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImagesOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    image_generation_configuration: Option<Images>,
}

/// API_DescribeNotificationConfiguration
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NotificationOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_configuration: Option<Notification>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StorageTier {
    default_storage_tier: String,
}

/// API_DescribeStreamStorageConfiguration
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StorageOutput {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_storage_configuration: StorageTier,
}

/// API_DescribeMappedResourceConfiguration
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MappedOutput {
    mapped_resource_configuration_list: Vec<Mapped>,
}

/// API_MappedResourceConfigurationListItem
#[derive(Debug, Serialize)]
struct Mapped {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "ARN")]
    arn: String,
}

/// Where the next page begins.
#[derive(Serialize, Deserialize)]
struct Page {
    after: String,
}

/// Whole hours, as AWS counts them: what is kept for ever is kept for the longest time there is.
fn hours(r: &Retention, own: &StreamRetention) -> i64 {
    let most = MAX_HOURS as i64;
    match own.hours {
        Some(Bound::At(h)) => h.ceil() as i64,
        Some(Bound::Unlimited(_)) => most,
        None => r.age.map_or(most, |a| i64::try_from(a.as_secs().div_ceil(3600)).unwrap_or(most).min(most)),
    }
}

impl Kvs {
    /// The stream that an input names, as stored.
    pub(super) async fn described(&self, (name, made): (String, Option<i64>)) -> Result<Described, AwsError> {
        let d = self.video.streams.described(&name).await?;
        if made.is_some_and(|m| m != d.info.created.millis()) {
            return Err(error::not_found());
        }
        Ok(d)
    }

    /// Whether a stream keeps anything.
    pub(super) async fn keeps(&self, d: &Described) -> Result<bool, AwsError> {
        let r = self.video.retention(&d.info.name).await?;
        Ok(hours(&r, &d.body.retention) > 0)
    }

    /// Changes what is stored of a stream, if it has the version that was said.
    pub(super) async fn change(
        &self,
        permit: Permit,
        stream: (String, Option<i64>),
        version: Option<&str>,
        mut f: impl FnMut(&mut Body) -> Result<(), AwsError>,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let (name, _) = &self.described(stream.clone()).await.map(|d| (d.info.name, ()))?;
        self.video
            .streams
            .change(name, |b, now| {
                if version.is_some_and(|v| v != now) {
                    return Err(error::version());
                }
                f(b)
            })
            .await?;
        Ok(Empty {})
    }

    async fn info(&self, d: Described) -> Result<StreamInfo, AwsError> {
        let r = self.video.retention(&d.info.name).await?;
        let home = &self.video.home;
        let s = d.body.kvs;
        Ok(StreamInfo {
            data_retention_in_hours: hours(&r, &d.body.retention),
            device_name: s.device_name,
            stream_name: d.info.name,
            stream_arn: d.info.arn.0,
            media_type: s.media_type,
            kms_key_id: s.kms_key_id.unwrap_or_else(|| home.arn("kms", "alias/aws/kinesisvideo").0),
            version: d.version,
            status: "ACTIVE",
            creation_time: Time(d.info.created),
        })
    }

    /// API_CreateStream
    pub(super) async fn create_stream(
        &self,
        _: Call,
        permit: Permit,
        i: CreateStream,
    ) -> Result<Created, AwsError> {
        drop(permit);
        let name = i.stream_name.unwrap_or_default();
        let tags = i.tags.unwrap_or_default();
        tags::check(&tags)?;
        let hours = i.hours.unwrap_or(0);
        if hours as f64 > MAX_HOURS {
            return Err(error::argument(format!("DataRetentionInHours must be between 0 and {MAX_HOURS}.")));
        }
        if self.config.limits && self.video.streams.list().len() >= MOST_STREAMS {
            return Err(AwsError::new(
                "AccountStreamLimitExceededException",
                format!("The number of streams created for the account is too high: at most {MOST_STREAMS}."),
            ));
        }
        let kvs = Settings {
            device_name: i.device_name,
            media_type: i.media_type,
            kms_key_id: i.kms_key_id,
            tags,
            storage_tier: i.storage.and_then(|s| s.default_storage_tier),
            ..Settings::default()
        };
        let retention = StreamRetention {
            hours: Some(Bound::At(hours as f64)),
            bytes: None,
            // Clients of AWS do not expect that what was acknowledged goes before its time.
            on_full: Some(OnFull::Refuse),
        };
        let stream = self.video.streams.create_with(&name, StreamConfig::default(), retention, kvs).await?;
        Ok(Created { stream_arn: stream.info.arn.0.clone() })
    }

    /// API_DescribeStream
    pub(super) async fn describe_stream(
        &self,
        _: Call,
        permit: Permit,
        i: DescribeStream,
    ) -> Result<DescribeOutput, AwsError> {
        drop(permit);
        let d = self.described(i.stream()?).await?;
        Ok(DescribeOutput { stream_info: self.info(d).await? })
    }

    /// API_ListStreams
    pub(super) async fn list_streams(
        &self,
        _: Call,
        permit: Permit,
        i: ListStreams,
    ) -> Result<ListOutput, AwsError> {
        drop(permit);
        let after = match i.next_token.filter(|t| !t.is_empty()) {
            None => None,
            Some(t) => Some(self.open_token::<Page>("list-streams", &t)?.after),
        };
        let prefix = i.condition.and_then(|c| c.comparison_value).unwrap_or_default();
        let most = i.max_results.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE);
        let found =
            self.video.streams.described_all(&prefix, after.as_deref(), most.saturating_add(1)).await?;
        let more = found.len() > most;
        let mut stream_info_list = Vec::new();
        for d in found.into_iter().take(most) {
            match self.info(d).await {
                Ok(info) => stream_info_list.push(info),
                // Deleted meanwhile.
                Err(e) if e.status == 404 => {}
                Err(e) => return Err(e),
            }
        }
        let last = stream_info_list.last().filter(|_| more);
        let next_token =
            last.map(|s| self.seal_token("list-streams", &Page { after: s.stream_name.clone() }));
        Ok(ListOutput { stream_info_list, next_token })
    }

    /// API_UpdateStream
    pub(super) async fn update_stream(
        &self,
        _: Call,
        permit: Permit,
        i: UpdateStream,
    ) -> Result<Empty, AwsError> {
        self.change(permit, i.stream()?, i.current_version.as_deref(), |b| {
            for (new, to) in
                [(&i.device_name, &mut b.kvs.device_name), (&i.media_type, &mut b.kvs.media_type)]
            {
                if new.is_some() {
                    to.clone_from(new);
                }
            }
            Ok(())
        })
        .await
    }

    /// API_UpdateDataRetention. At once.
    pub(super) async fn update_data_retention(
        &self,
        _: Call,
        permit: Permit,
        i: UpdateDataRetention,
    ) -> Result<Empty, AwsError> {
        let stream = i.stream()?;
        let d = self.described(stream.clone()).await?;
        let inherited = self.video.retention(&d.info.name).await?;
        let by = i.hours.unwrap_or(0);
        let by =
            if i.operation.as_deref() == Some("INCREASE_DATA_RETENTION") { by } else { by.saturating_neg() };
        self.change(permit, stream, i.current_version.as_deref(), |b| {
            let new = hours(&inherited, &b.retention).saturating_add(by);
            if !(0..=MAX_HOURS as i64).contains(&new) {
                return Err(error::argument(format!(
                    "The data retention would be {new} hours: it must be between 0 and {MAX_HOURS}."
                )));
            }
            b.retention.hours = Some(Bound::At(new as f64));
            Ok(())
        })
        .await
    }

    /// API_DeleteStream
    pub(super) async fn delete_stream(
        &self,
        _: Call,
        permit: Permit,
        i: DeleteStream,
    ) -> Result<Empty, AwsError> {
        let d = self.described(named(None, i.stream_arn.as_deref())?).await?;
        if i.current_version.is_some_and(|v| v != d.version) {
            return Err(error::version());
        }
        self.video.delete_stream(permit, &d.info.name).await?;
        Ok(Empty {})
    }

    /// API_GetDataEndpoint
    pub(super) async fn get_data_endpoint(
        &self,
        call: Call,
        permit: Permit,
        i: GetDataEndpoint,
    ) -> Result<Endpoint, AwsError> {
        drop(permit);
        self.described(i.stream()?).await?;
        Ok(Endpoint { data_endpoint: self.endpoint(&call) })
    }

    /// Scheme, host and port at which the caller reaches this server.
    pub(super) fn endpoint(&self, call: &Call) -> String {
        if let Some(e) = &self.config.endpoint {
            return e.trim_end_matches('/').to_owned();
        }
        let scheme = if self.config.secure || call.forwarded_secure { "https" } else { "http" };
        format!("{scheme}://{}", call.host.as_deref().unwrap_or("localhost"))
    }

    /// API_DescribeImageGenerationConfiguration
    pub(super) async fn describe_images(
        &self,
        _: Call,
        permit: Permit,
        i: DescribeImages,
    ) -> Result<ImagesOutput, AwsError> {
        drop(permit);
        let d = self.described(i.stream()?).await?;
        Ok(ImagesOutput { image_generation_configuration: d.body.kvs.images })
    }

    /// API_UpdateImageGenerationConfiguration. Without one, there is none any more.
    pub(super) async fn update_images(
        &self,
        _: Call,
        permit: Permit,
        i: UpdateImages,
    ) -> Result<Empty, AwsError> {
        let d = self.described(i.stream()?).await?;
        if let Some(images) = &i.images {
            images.further().map_err(error::argument)?;
            if !self.keeps(&d).await? {
                return Err(error::no_retention());
            }
        }
        self.change(permit, i.stream()?, None, |b| {
            b.kvs.images.clone_from(&i.images);
            Ok(())
        })
        .await
    }

    /// API_DescribeNotificationConfiguration
    pub(super) async fn describe_notification(
        &self,
        _: Call,
        permit: Permit,
        i: DescribeNotification,
    ) -> Result<NotificationOutput, AwsError> {
        drop(permit);
        let d = self.described(i.stream()?).await?;
        Ok(NotificationOutput { notification_configuration: d.body.kvs.notification })
    }

    /// API_UpdateNotificationConfiguration. Without one, there is none any more.
    pub(super) async fn update_notification(
        &self,
        _: Call,
        permit: Permit,
        i: UpdateNotification,
    ) -> Result<Empty, AwsError> {
        let d = self.described(i.stream()?).await?;
        if i.notification.is_some() && !self.keeps(&d).await? {
            return Err(error::no_retention());
        }
        self.change(permit, i.stream()?, None, |b| {
            b.kvs.notification.clone_from(&i.notification);
            Ok(())
        })
        .await
    }

    /// API_DescribeStreamStorageConfiguration
    pub(super) async fn describe_storage(
        &self,
        _: Call,
        permit: Permit,
        i: DescribeStorage,
    ) -> Result<StorageOutput, AwsError> {
        drop(permit);
        let d = self.described(i.stream()?).await?;
        let default_storage_tier = d.body.kvs.storage_tier.unwrap_or_else(|| "HOT".into());
        Ok(StorageOutput {
            stream_name: d.info.name,
            stream_arn: d.info.arn.0,
            stream_storage_configuration: StorageTier { default_storage_tier },
        })
    }

    /// API_UpdateStreamStorageConfiguration. Stored and returned: there is one tier here.
    pub(super) async fn update_storage(
        &self,
        _: Call,
        permit: Permit,
        i: UpdateStorage,
    ) -> Result<Empty, AwsError> {
        self.change(permit, i.stream()?, i.current_version.as_deref(), |b| {
            b.kvs.storage_tier = i.storage.as_ref().and_then(|s| s.default_storage_tier.clone());
            Ok(())
        })
        .await
    }

    /// API_DescribeMappedResourceConfiguration: the signaling channel whose media are stored in the stream.
    pub(super) async fn describe_mapped(
        &self,
        _: Call,
        permit: Permit,
        i: DescribeMapped,
    ) -> Result<MappedOutput, AwsError> {
        drop(permit);
        let d = self.described(i.stream()?).await?;
        let channels = self.stored_in(&d.info.arn.0).await?;
        let mapped = channels.into_iter().map(|(_, arn)| Mapped { kind: "SIGNALING_CHANNEL", arn });
        Ok(MappedOutput { mapped_resource_configuration_list: mapped.collect() })
    }

    /// What a client brings back, in the letters that the models allow.
    pub(super) fn seal_token<T: Serialize>(&self, kind: &str, t: &T) -> String {
        // Plain values: this cannot fail.
        let plain = serde_json::to_vec(t).unwrap_or_default();
        let token = self.video.gate.seal_token(&format!("kvs-{kind}"), &plain);
        token.replace('-', "+").replace('_', "/")
    }
    /// The inverse.
    pub(super) fn open_token<T: serde::de::DeserializeOwned>(
        &self,
        kind: &str,
        token: &str,
    ) -> Result<T, AwsError> {
        let bad = || error::argument("The value of NextToken is not valid.");
        let token = token.replace('+', "-").replace('/', "_");
        let plain = self.video.gate.open_token(&format!("kvs-{kind}"), &token).map_err(|_| bad())?;
        serde_json::from_slice(&plain).map_err(|_| bad())
    }
}
