//! What KVS knows of a stream and nobody else does, as it is stored in the stream's document, and as it goes over the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::aws::{Pattern, Shown, Violations};

use super::edge::Edge;

/// A stream's part of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// `DeviceName`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// `MediaType`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// `KmsKeyId`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// `DefaultStorageTier`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_tier: Option<String>,
    /// Images that are to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// Notifications that are to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification: Option<Notification>,
    /// What an edge agent is to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
}

impl Settings {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Settings::default()
    }
}

static URI: Pattern = Pattern::new(r"^[a-zA-Z_0-9]+:(//)?([^/]+)/?([^*]*)$");
static REGION: Pattern = Pattern::new("^[a-z]+(-[a-z]+)?-[a-z]+-[0-9]$");
static FORMAT_VALUE: Pattern = Pattern::new("^[a-zA-Z_0-9]+");
const STATUS: [&str; 2] = ["ENABLED", "DISABLED"];

/// API_ImageGenerationDestinationConfig, API_NotificationDestinationConfig
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Destination {
    /// Where to.
    pub uri: Option<String>,
    /// The region there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_region: Option<String>,
}
impl Shown for Destination {}

/// API_ImageGenerationConfiguration
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Images {
    /// `ENABLED` or `DISABLED`.
    pub status: Option<String>,
    /// Which clock.
    pub image_selector_type: Option<String>,
    /// Where to.
    pub destination_config: Option<Destination>,
    /// Milliseconds from one to the next.
    pub sampling_interval: Option<i64>,
    /// `JPEG` or `PNG`.
    pub format: Option<String>,
    /// `JPEGQuality`
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "wire::aws::few")]
    pub format_config: Option<BTreeMap<String, String>>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width_pixels: Option<i64>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_pixels: Option<i64>,
}
impl Shown for Images {}

impl Images {
    pub(crate) fn check(&self, v: &mut Violations) {
        v.text("status", &self.status).required().one_of(&STATUS);
        v.text("imageSelectorType", &self.image_selector_type)
            .required()
            .one_of(&["SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"]);
        v.any("destinationConfig", &self.destination_config).required().nested(|d, v| {
            v.text("uri", &d.uri).required().pattern(&URI).length(1, 255);
            v.text("destinationRegion", &d.destination_region).required().pattern(&REGION).length(9, 14);
        });
        v.number("samplingInterval", &self.sampling_interval).required();
        v.text("format", &self.format).required().one_of(&["JPEG", "PNG"]);
        v.map("formatConfig", &self.format_config).count(1, 1).values_length(0, 256);
        v.number("widthPixels", &self.width_pixels).range(1, 3840);
        v.number("heightPixels", &self.height_pixels).range(1, 2160);
    }

    /// What the model does not say.
    pub(crate) fn further(&self) -> Result<(), String> {
        self.sampling_interval.map_or(Ok(()), often_enough)?;
        quality(&self.format_config)
    }
}

/// Checks a `SamplingInterval` (milliseconds), of which Amazon bounds the least alone.
pub(crate) fn often_enough(interval: i64) -> Result<(), String> {
    if interval < 200 {
        return Err("SamplingInterval must be at least 200 milliseconds.".into());
    }
    Ok(())
}

/// Checks a `FormatConfig`.
pub(crate) fn quality(config: &Option<BTreeMap<String, String>>) -> Result<(), String> {
    for (key, value) in config.iter().flatten() {
        let good = value.parse::<u32>().is_ok_and(|q| (1..=100).contains(&q));
        if key != "JPEGQuality" || !FORMAT_VALUE.matches(value) || !good {
            return Err("FormatConfig may only have JPEGQuality, between 1 and 100.".into());
        }
    }
    Ok(())
}

/// API_NotificationConfiguration
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Notification {
    /// `ENABLED` or `DISABLED`.
    pub status: Option<String>,
    /// Where to.
    pub destination_config: Option<Destination>,
}
impl Shown for Notification {}

impl Notification {
    pub(crate) fn check(&self, v: &mut Violations) {
        v.text("status", &self.status).required().one_of(&STATUS);
        v.any("destinationConfig", &self.destination_config).required().nested(|d, v| {
            v.text("uri", &d.uri).required().pattern(&URI).length(1, 255);
        });
    }
}
