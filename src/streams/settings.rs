//! What a stream is set to: tags, retention, mode, sizes, monitoring, encryption, policies.

use std::{collections::BTreeMap, sync::Arc};

use access::Permit;
use serde::Serialize;
use wire::aws::{AwsError, Empty};
use world::Home;

use crate::{
    body::{Body, Mode, Status, Work},
    control::{WarmThroughput, warm_shards},
    error, input,
    service::DataStreams,
    stream::{Stream, lately},
};

/// Hours (API_IncreaseStreamRetentionPeriod).
const SHORTEST: i64 = 24;
const LONGEST: i64 = 8760;
/// Tags of a resource.
const TAGS: usize = 50;
/// Changes of key, and of mode, in 24 hours.
const KEYS: usize = 25;
const SWITCHES: usize = 2;
/// MiB/s (API_UpdateStreamWarmThroughput).
const WARMEST: i64 = 10 * 1024;
/// Bytes of a resource policy (IAM's limit for Kinesis).
const POLICY: usize = 20 * 1024;

const ALL_METRICS: [&str; 7] = [
    "IncomingBytes",
    "IncomingRecords",
    "IteratorAgeMilliseconds",
    "OutgoingBytes",
    "OutgoingRecords",
    "ReadProvisionedThroughputExceeded",
    "WriteProvisionedThroughputExceeded",
];

/// API_Tag
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    key: String,
    value: String,
}

/// API_ListTagsForStream
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForStreamOutput {
    tags: Vec<Tag>,
    has_more_tags: bool,
}

/// API_ListTagsForResource
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForResourceOutput {
    tags: Vec<Tag>,
}

/// API_GetResourcePolicy
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetResourcePolicyOutput {
    policy: String,
}

/// API_EnableEnhancedMonitoring, API_DisableEnhancedMonitoring
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnhancedMonitoringOutput {
    stream_name: String,
    current_shard_level_metrics: Vec<String>,
    desired_shard_level_metrics: Vec<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

/// API_UpdateStreamWarmThroughput
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateStreamWarmThroughputOutput {
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_name: String,
    warm_throughput: WarmThroughput,
}

/// API_MinimumThroughputBillingCommitmentOutput
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountSettingsOutput {
    minimum_throughput_billing_commitment: Commitment,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Commitment {
    status: &'static str,
}

/// Whether these may be a resource's tags; `there`: how many others it has.
pub(crate) fn check_tags(
    name: &str,
    home: &Home,
    tags: &BTreeMap<String, String>,
    there: usize,
) -> Result<(), AwsError> {
    let fine =
        |s: &str| s.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c));
    if !tags.iter().all(|(k, v)| fine(k) && fine(v)) {
        return Err(error::argument(
            "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . : / = + - @.",
        ));
    }
    if tags.keys().any(|k| k.to_ascii_lowercase().starts_with("aws:")) {
        return Err(error::argument("Tag keys beginning with \"aws:\" are reserved."));
    }
    if there + tags.len() > TAGS {
        return Err(error::argument(format!(
            "Failed to add tags to stream {name} under account {} because a given stream cannot have more than {TAGS} tags associated with it.",
            home.account
        )));
    }
    Ok(())
}

fn listed(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(k, v)| Tag { key: k.clone(), value: v.clone() }).collect()
}

impl DataStreams {
    async fn add_tags(&self, stream: &Stream, tags: BTreeMap<String, String>) -> Result<Empty, AwsError> {
        stream
            .change(&self.inner.tools, |b, _| {
                let there = b.tags.keys().filter(|k| !tags.contains_key(*k)).count();
                check_tags(&stream.name, &self.inner.home, &tags, there)?;
                b.tags.extend(tags);
                Ok(Empty {})
            })
            .await
    }

    /// API_AddTagsToStream
    pub async fn add_tags_to_stream(
        &self,
        permit: Permit,
        i: input::AddTagsToStream,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("AddTagsToStream", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        self.add_tags(&stream, i.tags.unwrap_or_default()).await
    }

    /// API_RemoveTagsFromStream
    pub async fn remove_tags_from_stream(
        &self,
        permit: Permit,
        i: input::RemoveTagsFromStream,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("RemoveTagsFromStream", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let keys = i.tag_keys.unwrap_or_default();
        stream
            .change(&self.inner.tools, |b, _| {
                b.tags.retain(|k, _| !keys.contains(k));
                Ok(Empty {})
            })
            .await
    }

    /// API_ListTagsForStream
    pub async fn list_tags_for_stream(
        &self,
        permit: Permit,
        i: input::ListTagsForStream,
    ) -> Result<ListTagsForStreamOutput, AwsError> {
        drop(permit);
        self.account_call("ListTagsForStream", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let tags = stream.read().body.tags.clone();
        let after = i.exclusive_start_tag_key.unwrap_or_default();
        let limit = i.limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(TAGS);
        let mut rest = tags.into_iter().filter(|(k, _)| *k > after);
        let page: BTreeMap<String, String> = rest.by_ref().take(limit).collect();
        Ok(ListTagsForStreamOutput { tags: listed(&page), has_more_tags: rest.next().is_some() })
    }

    /// A resource's ARN: a stream's, or one of its consumers'.
    fn resource(&self, arn: &str) -> Result<(Arc<Stream>, Option<crate::consumers::Consumer>), AwsError> {
        let stream = self.find(None, Some(arn))?;
        match arn.split_once("/consumer/") {
            None => Ok((stream, None)),
            Some((_, rest)) => {
                let c = self.consumer_by(&stream, rest, arn)?;
                Ok((stream, Some(c)))
            }
        }
    }

    /// API_TagResource
    pub async fn tag_resource(&self, permit: Permit, i: input::TagResource) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("TagResource", 5.0)?;
        let tags = i.tags.unwrap_or_default();
        match self.resource(i.resource_arn.as_deref().unwrap_or_default())? {
            (stream, None) => self.add_tags(&stream, tags).await,
            (stream, Some(mut c)) => {
                let there = c.tags.keys().filter(|k| !tags.contains_key(*k)).count();
                check_tags(&stream.name, &self.inner.home, &tags, there)?;
                c.tags.extend(tags);
                self.inner.consumers.put(&self.inner.tools, stream.uid, c).await.map(|()| Empty {})
            }
        }
    }

    /// API_UntagResource
    pub async fn untag_resource(&self, permit: Permit, i: input::UntagResource) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("UntagResource", 5.0)?;
        let keys = i.tag_keys.unwrap_or_default();
        match self.resource(i.resource_arn.as_deref().unwrap_or_default())? {
            (stream, None) => {
                let change = |b: &mut Body, _: &crate::map::ShardMap| {
                    b.tags.retain(|k, _| !keys.contains(k));
                    Ok(Empty {})
                };
                stream.change(&self.inner.tools, change).await
            }
            (stream, Some(mut c)) => {
                c.tags.retain(|k, _| !keys.contains(k));
                self.inner.consumers.put(&self.inner.tools, stream.uid, c).await.map(|()| Empty {})
            }
        }
    }

    /// API_ListTagsForResource
    pub async fn list_tags_for_resource(
        &self,
        permit: Permit,
        i: input::ListTagsForResource,
    ) -> Result<ListTagsForResourceOutput, AwsError> {
        drop(permit);
        self.account_call("ListTagsForResource", 5.0)?;
        let tags = match self.resource(i.resource_arn.as_deref().unwrap_or_default())? {
            (stream, None) => listed(&stream.read().body.tags),
            (_, Some(c)) => listed(&c.tags),
        };
        Ok(ListTagsForResourceOutput { tags })
    }

    /// API_PutResourcePolicy
    pub async fn put_resource_policy(
        &self,
        permit: Permit,
        i: input::PutResourcePolicy,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("PutResourcePolicy", 5.0)?;
        let text = i.policy.unwrap_or_default();
        check_policy(&text)?;
        self.set_policy(i.resource_arn, Some(text)).await
    }

    /// API_DeleteResourcePolicy
    pub async fn delete_resource_policy(
        &self,
        permit: Permit,
        i: input::DeleteResourcePolicy,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        self.account_call("DeleteResourcePolicy", 5.0)?;
        let arn = i.resource_arn.as_deref().unwrap_or_default();
        let there = match self.resource(arn)? {
            (stream, None) => stream.read().body.policy.is_some(),
            (_, Some(c)) => c.policy.is_some(),
        };
        if !there {
            return Err(error::not_found(format!("No resource policy found for resource ARN {arn}")));
        }
        self.set_policy(i.resource_arn, None).await
    }

    async fn set_policy(&self, arn: Option<String>, policy: Option<String>) -> Result<Empty, AwsError> {
        match self.resource(arn.as_deref().unwrap_or_default())? {
            (stream, None) => {
                let home = &self.inner.home;
                let change = |b: &mut Body, _: &crate::map::ShardMap| {
                    if b.status != Status::Active {
                        return Err(error::not_active(home, &stream.name, b.status));
                    }
                    b.policy = policy;
                    Ok(Empty {})
                };
                stream.change(&self.inner.tools, change).await
            }
            (stream, Some(mut c)) => {
                c.policy = policy;
                self.inner.consumers.put(&self.inner.tools, stream.uid, c).await.map(|()| Empty {})
            }
        }
    }

    /// API_GetResourcePolicy
    pub async fn get_resource_policy(
        &self,
        permit: Permit,
        i: input::GetResourcePolicy,
    ) -> Result<GetResourcePolicyOutput, AwsError> {
        drop(permit);
        self.account_call("GetResourcePolicy", 5.0)?;
        let arn = i.resource_arn.unwrap_or_default();
        let policy = match self.resource(&arn)? {
            (stream, None) => stream.read().body.policy.clone(),
            (_, Some(c)) => c.policy,
        };
        let policy = policy
            .ok_or_else(|| error::not_found(format!("No resource policy found for resource ARN {arn}")))?;
        Ok(GetResourcePolicyOutput { policy })
    }

    /// API_IncreaseStreamRetentionPeriod
    pub async fn increase_retention(
        &self,
        permit: Permit,
        i: input::IncreaseStreamRetentionPeriod,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        self.set_hours(&stream, i.retention_period_hours.unwrap_or_default(), true).await
    }

    /// API_DecreaseStreamRetentionPeriod
    pub async fn decrease_retention(
        &self,
        permit: Permit,
        i: input::DecreaseStreamRetentionPeriod,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        self.set_hours(&stream, i.retention_period_hours.unwrap_or_default(), false).await
    }

    async fn set_hours(&self, stream: &Arc<Stream>, hours: i64, up: bool) -> Result<Empty, AwsError> {
        self.account_call("StreamRetentionPeriod", 5.0)?;
        if hours < SHORTEST {
            return Err(error::argument(format!(
                "Minimum allowed retention period is {SHORTEST} hours. Requested retention period ({hours} hours) is too short."
            )));
        }
        if hours > LONGEST {
            return Err(error::argument(format!(
                "Maximum allowed retention period is {LONGEST} hours. Requested retention period ({hours} hours) is too long."
            )));
        }
        self.update(stream, Status::Updating, |b, _| {
            let now = i64::from(b.retention_hours);
            let (bad, word, other) = if up { (now > hours, "shorter", "Decrease") } else { (now < hours, "longer", "Increase") };
            if bad {
                return Err(error::argument(format!(
                    "Requested retention period ({hours} hours) for stream {} can not be {word} than existing retention period ({now} hours). Use {other}RetentionPeriod API.",
                    stream.name
                )));
            }
            b.retention_hours = hours as u32;
            Ok((Work::Wait, ()))
        })
        .await?;
        Ok(Empty {})
    }

    /// API_EnableEnhancedMonitoring
    pub async fn enable_monitoring(
        &self,
        permit: Permit,
        i: input::EnableEnhancedMonitoring,
    ) -> Result<EnhancedMonitoringOutput, AwsError> {
        drop(permit);
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        self.set_metrics(&stream, i.shard_level_metrics.unwrap_or_default(), true).await
    }

    /// API_DisableEnhancedMonitoring
    pub async fn disable_monitoring(
        &self,
        permit: Permit,
        i: input::DisableEnhancedMonitoring,
    ) -> Result<EnhancedMonitoringOutput, AwsError> {
        drop(permit);
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        self.set_metrics(&stream, i.shard_level_metrics.unwrap_or_default(), false).await
    }

    async fn set_metrics(
        &self,
        stream: &Arc<Stream>,
        named: Vec<String>,
        on: bool,
    ) -> Result<EnhancedMonitoringOutput, AwsError> {
        self.account_call("EnhancedMonitoring", 5.0)?;
        let all = named.iter().any(|m| m == "ALL");
        let meant = |m: &str| all || named.iter().any(|n| n == m);
        let (before, after) = self
            .update(stream, Status::Updating, |b, _| {
                let before = b.metrics.clone();
                let keep = |m: &&str| if meant(m) { on } else { before.iter().any(|b| b == m) };
                b.metrics = ALL_METRICS.iter().filter(|m| keep(m)).map(|m| (*m).to_owned()).collect();
                Ok((Work::Wait, (before.clone(), b.metrics.clone())))
            })
            .await?;
        Ok(EnhancedMonitoringOutput {
            stream_name: stream.name.clone(),
            current_shard_level_metrics: before,
            desired_shard_level_metrics: after,
            stream_arn: stream.arn.0.clone(),
        })
    }

    /// API_StartStreamEncryption
    pub async fn start_encryption(
        &self,
        permit: Permit,
        i: input::StartStreamEncryption,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        if i.encryption_type.as_deref() != Some("KMS") {
            return Err(error::argument("EncryptionType must be KMS."));
        }
        let key = i.key_id.unwrap_or_default();
        self.set_key(&stream, Some(key)).await
    }

    /// API_StopStreamEncryption
    pub async fn stop_encryption(
        &self,
        permit: Permit,
        i: input::StopStreamEncryption,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        if i.encryption_type.as_deref() != Some("KMS") {
            return Err(error::argument("EncryptionType must be KMS."));
        }
        self.set_key(&stream, None).await
    }

    async fn set_key(&self, stream: &Arc<Stream>, key: Option<String>) -> Result<Empty, AwsError> {
        self.account_call("StreamEncryption", 5.0)?;
        let (now, limits) = (self.now(), self.inner.config.limits);
        self.update(stream, Status::Updating, |b, _| {
            if b.key == key {
                // It is so already.
                return Ok((Work::Wait, ()));
            }
            b.rekeyed = lately(&b.rekeyed, now);
            if limits && b.rekeyed.len() >= KEYS {
                return Err(error::limit(format!(
                    "The key of stream {} was changed {KEYS} times in the last 24 hours; that is the limit.",
                    stream.name
                )));
            }
            b.rekeyed.push(now);
            Ok((Work::Key(key), ()))
        })
        .await?;
        Ok(Empty {})
    }

    /// API_UpdateStreamMode
    pub async fn update_stream_mode(
        &self,
        permit: Permit,
        i: input::UpdateStreamMode,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let stream = self.find(None, i.stream_arn.as_deref())?;
        let mode = match i.stream_mode_details.and_then(|m| m.stream_mode).as_deref() {
            Some("ON_DEMAND") => Mode::OnDemand,
            _ => Mode::Provisioned,
        };
        if mode == Mode::Provisioned && i.warm_throughput.is_some() {
            return Err(error::validation(
                "WarmThroughputMiBps can only be set for streams in ON_DEMAND mode.",
            ));
        }
        let (now, limits) = (self.now(), self.inner.config.limits);
        let least = warm_shards(i.warm_throughput);
        self.update(&stream, Status::Updating, |b, map| {
            if b.mode == mode {
                return Err(error::argument(format!(
                    "Stream {} is in {} mode already.",
                    stream.name,
                    mode.text()
                )));
            }
            b.switched = lately(&b.switched, now);
            if limits && b.switched.len() >= SWITCHES {
                return Err(error::limit(format!(
                    "The mode of stream {} was changed {SWITCHES} times in the last 24 hours; that is the limit.",
                    stream.name
                )));
            }
            b.switched.push(now);
            b.mode = mode;
            b.warm_mibps = i.warm_throughput.and_then(|w| u32::try_from(w).ok());
            let open = map.open_count() as u32;
            Ok((if least > open { Work::Count(least) } else { Work::Wait }, ()))
        })
        .await?;
        Ok(Empty {})
    }

    /// API_UpdateStreamWarmThroughput
    pub async fn update_warm_throughput(
        &self,
        permit: Permit,
        i: input::UpdateStreamWarmThroughput,
    ) -> Result<UpdateStreamWarmThroughputOutput, AwsError> {
        drop(permit);
        self.account_call("UpdateStreamWarmThroughput", 5.0)?;
        let stream = self.find(i.stream_name.as_deref(), i.stream_arn.as_deref())?;
        let warm = i.warm_throughput.unwrap_or_default();
        if warm > WARMEST {
            return Err(error::limit(format!(
                "WarmThroughputMiBps is at most {WARMEST}; {warm} was asked for."
            )));
        }
        let current = self
            .update(&stream, Status::Updating, |b, map| {
                if b.mode != Mode::OnDemand {
                    return Err(error::validation(format!(
                        "WarmThroughputMiBps can only be set for streams in ON_DEMAND mode; stream {} is not.",
                        stream.name
                    )));
                }
                b.warm_mibps = Some(warm as u32);
                let open = map.open_count() as u32;
                Ok((if warm as u32 > open { Work::Count(warm as u32) } else { Work::Wait }, open))
            })
            .await?;
        Ok(UpdateStreamWarmThroughputOutput {
            stream_arn: stream.arn.0.clone(),
            stream_name: stream.name.clone(),
            warm_throughput: WarmThroughput { target: warm as u32, current },
        })
    }

    /// API_UpdateMaxRecordSize
    pub async fn update_max_record_size(
        &self,
        permit: Permit,
        i: input::UpdateMaxRecordSize,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let stream = self.find(None, i.stream_arn.as_deref())?;
        self.account_call("UpdateMaxRecordSize", 5.0)?;
        let kib = i.max_record_size.and_then(|n| u32::try_from(n).ok()).unwrap_or(1024);
        self.update(&stream, Status::Updating, |b, _| {
            b.max_record_kib = kib;
            Ok((Work::Wait, ()))
        })
        .await?;
        Ok(Empty {})
    }

    /// API_UpdateStreamRecordDistributionStrategy
    pub async fn update_distribution(
        &self,
        permit: Permit,
        i: input::UpdateStreamRecordDistributionStrategy,
    ) -> Result<Empty, AwsError> {
        drop(permit);
        let stream = self.find(None, i.stream_arn.as_deref())?;
        self.account_call("UpdateStreamRecordDistributionStrategy", 5.0)?;
        let auto = i.distribution.as_deref() == Some("AUTO");
        self.update(&stream, Status::Updating, |b, _| {
            b.auto = auto;
            Ok((Work::Wait, ()))
        })
        .await?;
        Ok(Empty {})
    }

    /// API_DescribeAccountSettings
    pub async fn describe_account_settings(
        &self,
        permit: Permit,
        _: input::DescribeAccountSettings,
    ) -> Result<AccountSettingsOutput, AwsError> {
        drop(permit);
        self.account_call("DescribeAccountSettings", 5.0)?;
        Ok(self.account_settings())
    }

    /// API_UpdateAccountSettings
    pub async fn update_account_settings(
        &self,
        permit: Permit,
        i: input::UpdateAccountSettings,
    ) -> Result<AccountSettingsOutput, AwsError> {
        drop(permit);
        self.account_call("UpdateAccountSettings", 5.0)?;
        let on = i.commitment.and_then(|c| c.status).as_deref() == Some("ENABLED");
        self.inner.account.set(&self.inner.tools, on).await?;
        Ok(self.account_settings())
    }

    fn account_settings(&self) -> AccountSettingsOutput {
        let status = if self.inner.account.committed() { "ENABLED" } else { "DISABLED" };
        AccountSettingsOutput { minimum_throughput_billing_commitment: Commitment { status } }
    }
}

/// Whether a text can be a resource's policy; what it allows is enforced by the gate, once that knows policies.
fn check_policy(text: &str) -> Result<(), AwsError> {
    let bad = |why: String| error::validation(format!("The resource policy is not valid: {why}."));
    if text.len() > POLICY {
        return Err(bad(format!("it is larger than {POLICY} bytes")));
    }
    let v: serde_json::Value = serde_json::from_str(text).map_err(|e| bad(format!("it is not JSON: {e}")))?;
    let statements = match v.get("Statement") {
        Some(serde_json::Value::Array(a)) if !a.is_empty() => a.clone(),
        Some(s @ serde_json::Value::Object(_)) => vec![s.clone()],
        _ => return Err(bad("it has no Statement".into())),
    };
    if !matches!(v.get("Version").and_then(|v| v.as_str()), None | Some("2012-10-17" | "2008-10-17")) {
        return Err(bad("its Version is neither 2012-10-17 nor 2008-10-17".into()));
    }
    for s in statements {
        if !matches!(s.get("Effect").and_then(|e| e.as_str()), Some("Allow" | "Deny")) {
            return Err(bad("a statement has no Effect of Allow or Deny".into()));
        }
        for need in [["Principal", "NotPrincipal"], ["Action", "NotAction"]] {
            if need.iter().all(|n| s.get(*n).is_none()) {
                return Err(bad(format!("a statement has no {}", need[0])));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_looked_at() {
        let good = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kinesis:*","Resource":"*"}]}"#;
        assert!(check_policy(good).is_ok());
        for bad in [
            "",
            "{}",
            r#"{"Statement":[]}"#,
            &good.replace("Allow", "Maybe"),
            &good.replace("Principal", "P"),
        ] {
            assert_eq!(check_policy(bad).unwrap_err().code, "ValidationException", "{bad}");
        }
    }
}
