//! A stream as a document of the catalog (`docs/formats/data-stream.md`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use world::Timestamp;

use crate::{
    map::{Shard, Stored},
    plan::Step,
};

/// Where a stream is in its life (API_StreamDescription).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Its shards are being made.
    Creating,
    /// Its records are being destroyed.
    Deleting,
    /// At rest.
    Active,
    /// Its shards or its key are being changed; it is read and written as before.
    Updating,
}

impl Status {
    /// As the API has it.
    pub fn text(self) -> &'static str {
        match self {
            Status::Creating => "CREATING",
            Status::Deleting => "DELETING",
            Status::Active => "ACTIVE",
            Status::Updating => "UPDATING",
        }
    }
}

/// How capacity is managed (API_StreamModeDetails).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// The shards that were asked for.
    #[default]
    Provisioned,
    /// As many as the load needs.
    OnDemand,
}

impl Mode {
    /// As the API has it.
    pub fn text(self) -> &'static str {
        match self {
            Mode::Provisioned => "PROVISIONED",
            Mode::OnDemand => "ON_DEMAND",
        }
    }
}

/// What a stream that is not at rest is being brought to; done again from the start after a crash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Work {
    /// The first shards.
    Create(u32),
    /// These splits and merges.
    Steps(Vec<StoredStep>),
    /// So many shards of equal size, by as many steps as that takes.
    Count(u32),
    /// New records under this key, or under the server's own.
    Key(Option<String>),
    /// Nothing but the time that it takes.
    Wait,
    /// The end.
    Delete,
}

/// A [`Step`] as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredStep {
    parents: Vec<u32>,
    children: Vec<StoredShard>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredShard(String);

impl From<&Step> for StoredStep {
    fn from(s: &Step) -> Self {
        let text = |c: &Shard| StoredShard(serde_json::to_string(&Stored::from(c)).unwrap_or_default());
        StoredStep { parents: s.parents.clone(), children: s.children.iter().map(text).collect() }
    }
}

impl StoredStep {
    /// The step, unless what is stored is damaged.
    pub fn step(&self) -> Option<Step> {
        let shard = |c: &StoredShard| serde_json::from_str::<Stored>(&c.0).ok()?.shard();
        let children = self.children.iter().map(shard).collect::<Option<_>>()?;
        Some(Step { parents: self.parents.clone(), children })
    }
}

/// A key that new records were encrypted under once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastKey {
    /// As it was named.
    pub key: String,
    /// Until then.
    pub until: Timestamp,
}

/// A day's peak of writes on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// Days since 1970.
    pub day: i64,
    /// Shards that take twice as much.
    pub shards: u32,
}

/// Days that a peak is remembered (Developer Guide, "Choose the right mode").
const PEAK_DAYS: i64 = 30;

/// Former keys that are remembered: more than can be changed in ten days.
const PAST_KEYS: usize = 256;

/// The document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Body {
    /// The format, 1.
    pub v: u32,
    /// The log's id of the stream, hexadecimal.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// Where it is in its life.
    pub status: Status,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// Until when that lasts at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Timestamp>,
    /// Above every shard's index.
    pub next_shard: u32,
    /// How capacity is managed.
    #[serde(default)]
    pub mode: Mode,
    /// Hours that records stay: 24 to 8,760.
    pub retention_hours: u32,
    /// Up to 50.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Shard-level metrics that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// The key that new records are encrypted under, as it was named; `None`: the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Keys before it, the oldest first, while there may be records under them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_keys: Vec<PastKey>,
    /// Of a record, key included, in KiB.
    pub max_record_kib: u32,
    /// What was asked for, MiB/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_mibps: Option<u32>,
    /// `AUTO`: records go to all shards by turns, whatever their keys.
    #[serde(default)]
    pub auto: bool,
    /// The resource policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// When its shard count was updated, in the last 24 hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<Timestamp>,
    /// Peaks on demand, the oldest first; each is higher than those after it, so that the first that is not too old is the
    /// highest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peaks: Vec<Peak>,
    /// When its mode was, in the last 24 hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switched: Vec<Timestamp>,
    /// When it was given a key, in the last 24 hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rekeyed: Vec<Timestamp>,
    /// When it was left without, in the last 24 hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unkeyed: Vec<Timestamp>,
    /// The restore of the catalog after which its shards were brought together with the log's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Timestamp>,
}

impl Body {
    /// Switches to another key; `horizon`: there are no records from before.
    pub fn switch_key(&mut self, key: Option<String>, now: Timestamp, horizon: Timestamp) {
        self.past_keys.retain(|k| k.until >= horizon);
        if let Some(key) = std::mem::replace(&mut self.key, key) {
            self.past_keys.push(PastKey { key, until: now });
        }
        let many = self.past_keys.len().saturating_sub(PAST_KEYS);
        self.past_keys.drain(..many);
    }
    /// The highest peak of the last 30 days, in shards that take twice as much.
    pub fn peak(&self, day: i64) -> u32 {
        self.peaks.iter().find(|p| p.day > day - PEAK_DAYS).map_or(0, |p| p.shards)
    }
    /// Whether this is a peak that is to be remembered: higher than what was that day.
    pub fn is_peak(&self, peak: Peak) -> bool {
        self.peaks.last().is_none_or(|p| p.day < peak.day || p.shards < peak.shards)
    }
    /// Remembers it, and forgets those that it hides and those that are too old.
    pub fn add_peak(&mut self, peak: Peak) {
        self.peaks.retain(|p| p.shards > peak.shards && p.day > peak.day - PEAK_DAYS);
        self.peaks.push(peak);
    }
    /// The key that an encrypted record, arrived then, is under. One that arrived as the stream's encryption was stopped is
    /// under the last.
    pub fn key_at(&self, arrival: Timestamp) -> Option<&str> {
        let past = self.past_keys.iter().find(|k| k.until > arrival).map(|k| &k.key);
        past.or(self.key.as_ref()).or(self.past_keys.last().map(|k| &k.key)).map(String::as_str)
    }
    /// A stream that is to be created.
    pub fn new(uid: String, created: Timestamp) -> Body {
        Body {
            v: 1,
            uid,
            created,
            status: Status::Creating,
            work: None,
            ready: None,
            next_shard: 0,
            mode: Mode::Provisioned,
            retention_hours: 24,
            tags: BTreeMap::new(),
            metrics: Vec::new(),
            key: None,
            past_keys: Vec::new(),
            max_record_kib: 1024,
            warm_mibps: None,
            auto: false,
            policy: None,
            counted: Vec::new(),
            peaks: Vec::new(),
            switched: Vec::new(),
            rekeyed: Vec::new(),
            unkeyed: Vec::new(),
            joined: None,
        }
    }
}
