//! The service over a real log, without a wire.

mod crashes;
mod fanout;
mod gate;
mod keys;
mod limits;
mod metering;
mod records;
mod resharding;
mod restored;
mod upkeep;

use std::{sync::Arc, time::Duration};

use access::{Gate, Permit};
use catalog::{Catalog, MemoryCatalog};
use log::{Limits, MemoryLog, SharedLog};
use seal::{DataKey, LocalKey};
use wire::aws::{AwsError, Blob};
use world::{Home, Timestamp, World, sim::SimClock};

use crate::{Config, DataStreams, Parts, actions, input::*};

/// One with a stream `s` of one shard, in a time of its own.
async fn made() -> (Site, Arc<SimClock>, DataStreams) {
    let clock = Arc::new(SimClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let site = Site::at(clock.clone()).await;
    let s = site.open().await;
    s.make("s", 1).await;
    (site, clock, s)
}

/// A catalog, a log, and what opens the service on them.
pub(crate) struct Site {
    pub world: World,
    pub catalog: Arc<dyn Catalog>,
    pub log: SharedLog,
    pub config: Config,
    pub gate: Gate,
    pub keys: Arc<keys::TestKeys>,
    pub usage: usage::Usage,
    _folder: tempfile::TempDir,
}

impl Site {
    pub async fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let world = World::real(folder.path());
        Site::on(world, folder).await
    }
    async fn on(world: World, folder: tempfile::TempDir) -> Site {
        let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(world.clone()));
        let log = MemoryLog::new(world.clone(), Limits::default());
        let keys = Arc::new(LocalKey::new(DataKey::new([5; 32])));
        let (gate, _) =
            Gate::open(world.clone(), catalog.clone(), keys, Home::default(), None).await.unwrap();
        let config = Config { limits: false, ..Config::default() };
        let usage = usage::Usage::new(world.clone(), catalog.clone());
        Site { world, catalog, log, config, gate, keys: Arc::default(), usage, _folder: folder }
    }
    /// One whose time is set.
    pub async fn at(clock: Arc<dyn world::Clock>) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let world = World { clock, ..World::real(folder.path()) };
        Site::on(world, folder).await
    }
    pub async fn open(&self) -> DataStreams {
        self.open_on(self.catalog.clone()).await.unwrap()
    }
    pub async fn open_on(&self, catalog: Arc<dyn Catalog>) -> Result<DataStreams, AwsError> {
        let parts = Parts {
            world: self.world.clone(),
            catalog,
            log: self.log.clone(),
            gate: self.gate.clone(),
            home: Home::default(),
            keys: self.keys.clone(),
            usage: self.usage.clone(),
        };
        DataStreams::open(parts, self.config.clone()).await
    }
}

impl DataStreams {
    pub(crate) fn permit(&self) -> Permit {
        self.inner.gate.internal(actions::PUT_RECORD, &crate::service::stream_arn(&self.inner.home, "s"))
    }
    pub(crate) async fn make(&self, name: &str, shards: i64) {
        let i = CreateStream { stream_name: Some(name.into()), shard_count: Some(shards), ..<_>::default() };
        self.create_stream(self.permit(), i).await.unwrap();
        self.rest(name).await;
    }
    /// Waits until the stream is at rest.
    pub(crate) async fn rest(&self, name: &str) {
        let stream = self.get(name).unwrap();
        let mut changed = stream.follow();
        while stream.read().body.work.is_some() {
            tokio::time::timeout(Duration::from_secs(20), changed.changed()).await.unwrap().unwrap();
        }
    }
    pub(crate) async fn put(&self, name: &str, key: &str, data: &[u8]) -> Result<(String, String), AwsError> {
        let i = PutRecord {
            stream_name: Some(name.into()),
            partition_key: Some(key.into()),
            data: Some(Blob(data.to_vec().into())),
            ..<_>::default()
        };
        let out = self.put_record(self.permit(), i).await?;
        let v = serde_json::to_value(&out).unwrap();
        let text = |k: &str| v[k].as_str().unwrap().to_owned();
        Ok((text("ShardId"), text("SequenceNumber")))
    }
    pub(crate) async fn ask_iterator(&self, i: GetShardIterator) -> Result<String, AwsError> {
        let out = self.get_shard_iterator(self.permit(), i).await?;
        Ok(serde_json::to_value(&out).unwrap()["ShardIterator"].as_str().unwrap().to_owned())
    }
    pub(crate) async fn from(
        &self,
        name: &str,
        shard: &str,
        ty: &str,
        number: Option<&str>,
    ) -> Result<String, AwsError> {
        let i = GetShardIterator {
            stream_name: Some(name.into()),
            shard_id: Some(shard.into()),
            r#type: Some(ty.into()),
            starting_sequence_number: number.map(Into::into),
            ..<_>::default()
        };
        self.ask_iterator(i).await
    }
    pub(crate) async fn read(&self, iterator: &str) -> Result<serde_json::Value, AwsError> {
        let i = GetRecords { shard_iterator: Some(iterator.into()), ..<_>::default() };
        let out = self.get_records(self.permit(), i).await?;
        Ok(shown(&out))
    }
}

/// An answer or event as clients get it, in JSON.
pub(crate) fn shown(out: &impl serde::Serialize) -> serde_json::Value {
    serde_json::from_slice(&wire::aws::Protocol::Json11.encode(out).unwrap()).unwrap()
}

/// The data of the records of an answer.
pub(crate) fn data(v: &serde_json::Value) -> Vec<String> {
    use base64::Engine as _;
    let text = |r: &serde_json::Value| {
        let d = base64::engine::general_purpose::STANDARD.decode(r["Data"].as_str().unwrap()).unwrap();
        String::from_utf8(d).unwrap()
    };
    v["Records"].as_array().unwrap().iter().map(text).collect()
}
