//! What a stream is set to: retention, mode, sizes, monitoring, encryption; and the account.

use std::sync::Arc;

use access::Permit;
use serde::Serialize;
use wire::aws::{AwsError, Empty, Time};

use crate::{
    body::{Mode, Status, Work},
    control::WarmThroughput,
    error, input,
    service::DataStreams,
    stream::{Stream, lately},
};

/// Hours (API_IncreaseStreamRetentionPeriod).
const SHORTEST: i64 = 24;
const LONGEST: i64 = 8760;
/// Keys that encryption is started under in 24 hours, times that it is stopped, and changes of mode.
const KEYS: usize = 25;
const SWITCHES: usize = 2;

const ALL_METRICS: [&str; 7] = [
    "IncomingBytes",
    "IncomingRecords",
    "IteratorAgeMilliseconds",
    "OutgoingBytes",
    "OutgoingRecords",
    "ReadProvisionedThroughputExceeded",
    "WriteProvisionedThroughputExceeded",
];

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
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest_allowed_end_at: Option<Time>,
}

impl DataStreams {
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
        self.inner.keys.ask(&key).await?;
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
            let (times, what) = match key {
                Some(_) => (&mut b.rekeyed, "started"),
                None => (&mut b.unkeyed, "stopped"),
            };
            *times = lately(times, now);
            if limits && times.len() >= KEYS {
                return Err(error::limit(format!(
                    "Encryption of stream {} was {what} {KEYS} times in the last 24 hours; that is the limit.",
                    stream.name
                )));
            }
            times.push(now);
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
        let warm = i.warm_throughput.map(|w| self.warm_shards(mode, w)).transpose()?;
        let (now, limits) = (self.now(), self.inner.config.limits);
        let (shards, on_demand) = (self.open_shards(), self.on_demand_count());
        self.update(&stream, Status::Updating, |b, map| {
            if b.mode == mode {
                return Err(error::argument(format!(
                    "Stream {} is in {} mode already.",
                    stream.name,
                    mode.text()
                )));
            }
            if mode == Mode::OnDemand {
                self.on_demand_quota(on_demand)?;
            }
            b.switched = lately(&b.switched, now);
            if limits && b.switched.len() >= SWITCHES {
                return Err(error::limit(format!(
                    "The mode of stream {} was changed {SWITCHES} times in the last 24 hours; that is the limit.",
                    stream.name
                )));
            }
            let (least, open) = (warm.unwrap_or(0), map.open_count() as u32);
            self.within_shard_quota(shards, least.saturating_sub(open))?;
            b.switched.push(now);
            b.mode = mode;
            // Only on-demand streams distribute records.
            b.auto &= mode == Mode::OnDemand;
            b.warm_mibps = warm;
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
        let asked = i.warm_throughput.unwrap_or_default();
        let shards = self.open_shards();
        let (warm, current) = self
            .update(&stream, Status::Updating, |b, map| {
                let (warm, open) = (self.warm_shards(b.mode, asked)?, map.open_count() as u32);
                self.within_shard_quota(shards, warm.saturating_sub(open))?;
                b.warm_mibps = Some(warm);
                // What is not needed any more is released by a lower one (API_UpdateStreamWarmThroughput).
                b.peaks.clear();
                Ok((if warm > open { Work::Count(warm) } else { Work::Wait }, (warm, open)))
            })
            .await?;
        Ok(UpdateStreamWarmThroughputOutput {
            stream_arn: stream.arn.0.clone(),
            stream_name: stream.name.clone(),
            warm_throughput: WarmThroughput { target: warm, current },
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
        let home = &self.inner.home;
        // At once: the stream is not UPDATING meanwhile.
        stream
            .change(&self.inner.tools, |b, _| {
                if b.status != Status::Active {
                    return Err(error::not_active(home, &stream.name, b.status));
                }
                if auto && b.mode != Mode::OnDemand {
                    return Err(error::argument(format!(
                        "RecordDistributionStrategy AUTO is only supported for streams in ON_DEMAND mode; stream {} under account {} is not.",
                        stream.name, home.account
                    )));
                }
                b.auto = auto;
                Ok(())
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
        let (c, now) = (self.inner.account.commitment(), self.now());
        let commitment = Commitment {
            status: c.status(now),
            started_at: c.started.map(Time),
            ended_at: c.ended(now).map(Time),
            earliest_allowed_end_at: c.earliest_end(now).map(Time),
        };
        AccountSettingsOutput { minimum_throughput_billing_commitment: commitment }
    }
}
