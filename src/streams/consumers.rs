//! Enhanced fan-out's consumers: registered names with dedicated throughput, kept as documents of the catalog.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use catalog::{Catalog, Change, Document, Filter};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wire::aws::AwsError;
use world::{Arn, StreamUid, Timestamp};

use crate::{
    error,
    service::{AGAIN, DataStreams},
    stream::{Stream, Tools},
};

/// The document of a consumer; its id is `UID/NAME`.
const KIND: &str = "data-stream-consumer";

/// A registered consumer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Consumer {
    pub v: u32,
    pub name: String,
    pub created: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// It is being deleted, until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Timestamp>,
    #[serde(skip)]
    pub version: u64,
    /// Its number in this process: what it is rationed by.
    #[serde(skip)]
    pub number: u64,
}

impl Consumer {
    pub fn new(name: &str, created: Timestamp, tags: BTreeMap<String, String>) -> Consumer {
        Consumer { v: 1, name: name.into(), created, tags, policy: None, gone: None, version: 0, number: 0 }
    }
    /// `…:stream/S/consumer/C:SECONDS`
    pub fn arn(&self, stream: &Stream) -> Arn {
        Arn(format!("{}/consumer/{}:{}", stream.arn.0, self.name, self.created.millis().div_euclid(1000)))
    }
    /// Right after its registration it is being created; once it is deregistered, deleted.
    pub fn status(&self, now: Timestamp, transition: Duration) -> &'static str {
        if self.gone.is_some() {
            "DELETING"
        } else if now.since(self.created) < transition {
            "CREATING"
        } else {
            "ACTIVE"
        }
    }
}

type Key = (StreamUid, String);

/// A subscription: when it began, and what ends it, unless it is over and only in the way of who comes too soon.
struct Served {
    begun: Duration,
    number: u64,
    end: Option<watch::Sender<bool>>,
}

impl Served {
    fn end(&self) {
        if let Some(end) = &self.end {
            end.send_replace(true);
        }
    }
}

#[derive(Default)]
struct Subscriptions {
    by: HashMap<(Key, u32), Served>,
    /// When so many are kept, those that are in nobody's way any more are forgotten.
    sweep_at: usize,
}

/// All consumers, and who is subscribed.
pub(crate) struct Consumers {
    all: Mutex<BTreeMap<Key, Consumer>>,
    served: Mutex<Subscriptions>,
    /// Whether a subscription that is over keeps the next one waiting, too.
    limits: bool,
    turn: tokio::sync::Mutex<u64>,
}

/// "If you call SubscribeToShard again with the same ConsumerARN and ShardId within 5 seconds of a successful call, you'll
/// get a ResourceInUseException. If you call SubscribeToShard 5 seconds or more after a successful call, the second call
/// takes over the subscription" (API_SubscribeToShard).
const TAKEOVER: Duration = Duration::from_secs(5);
const SWEEP: usize = 1024;

impl Consumers {
    /// `limits`: whether AWS's quotas hold.
    pub async fn open(catalog: &dyn Catalog, limits: bool) -> Result<Consumers, AwsError> {
        let mut all = BTreeMap::new();
        for doc in catalog.list(Filter::kind(KIND)).await.map_err(error::catalog)? {
            let odd = |e: &dyn std::fmt::Display| {
                error::internal(format!("the document of consumer {:?}: {e}", doc.id))
            };
            let mut c: Consumer = serde_json::from_slice(&doc.body).map_err(|e| odd(&e))?;
            (c.version, c.number) = (doc.version, all.len() as u64 + 1);
            let uid = doc.id.split('/').next().unwrap_or_default().parse().map_err(|e| odd(&e))?;
            all.insert((uid, c.name.clone()), c);
        }
        let turn = tokio::sync::Mutex::new(all.len() as u64);
        Ok(Consumers { all: Mutex::new(all), served: Mutex::default(), limits, turn })
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<Key, Consumer>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, stream: StreamUid, name: &str) -> Option<Consumer> {
        self.map().get(&(stream, name.to_owned())).cloned()
    }
    /// A stream's, by name.
    pub fn of(&self, stream: StreamUid) -> Vec<Consumer> {
        let map = self.map();
        map.range((stream, String::new())..)
            .take_while(|((s, _), _)| *s == stream)
            .map(|(_, c)| c.clone())
            .collect()
    }

    /// Writes one: a new one (version 0), or a changed one. Durable when it returns.
    pub async fn put(&self, tools: &Tools, stream: StreamUid, mut c: Consumer) -> Result<(), AwsError> {
        let mut turn = self.turn.lock().await;
        let doc = Document {
            kind: KIND.into(),
            id: format!("{stream}/{}", c.name),
            version: 0,
            body: serde_json::to_vec(&c).map_err(error::internal)?,
            keys: Vec::new(),
        };
        let put = Change::Put { doc, expect: c.version };
        tools.catalog.commit(vec![put]).await.map_err(|e| match e {
            catalog::CatalogError::Conflict { .. } => {
                error::in_use(format!("Consumer {} was changed meanwhile.", c.name))
            }
            e => error::catalog(e),
        })?;
        c.version += 1;
        if c.number == 0 {
            *turn += 1;
            c.number = *turn;
        }
        self.map().insert((stream, c.name.clone()), c);
        Ok(())
    }

    /// Removes one and ends its subscriptions.
    pub async fn remove(&self, tools: &Tools, stream: StreamUid, name: &str) -> Result<(), AwsError> {
        let _turn = self.turn.lock().await;
        let Some(c) = self.get(stream, name) else { return Ok(()) };
        let gone = Change::Delete { kind: KIND.into(), id: format!("{stream}/{name}"), expect: c.version };
        tools.catalog.commit(vec![gone]).await.map_err(error::catalog)?;
        self.map().remove(&(stream, name.to_owned()));
        self.end(stream, name);
        Ok(())
    }

    /// Ends its subscriptions.
    fn end(&self, stream: StreamUid, name: &str) {
        self.subscriptions().by.retain(|((s, n), _), served| {
            let its = *s == stream && n == name;
            if its {
                served.end();
            }
            !its
        });
    }

    /// Those that are being deleted: of which stream, and until when.
    pub fn going(&self) -> Vec<(StreamUid, String, Timestamp)> {
        let map = self.map();
        map.iter().filter_map(|((s, name), c)| Some((*s, name.clone(), c.gone?))).collect()
    }

    /// Removes all of a stream that is gone.
    pub async fn forget_stream(&self, tools: &Tools, stream: StreamUid) {
        for c in self.of(stream) {
            if let Err(e) = self.remove(tools, stream, &c.name).await {
                tracing::warn!(consumer = c.name, error = %e.message, "a consumer of a deleted stream is still listed");
            }
        }
    }

    /// Begins to serve a consumer's subscription to a shard; the one before, if it is old enough, is told to end. `None`
    /// if it is not: also if it is over, where quotas hold.
    pub async fn subscribe(
        &self,
        stream: StreamUid,
        name: &str,
        shard: u32,
        now: Duration,
    ) -> Option<(u64, watch::Receiver<bool>)> {
        let mut turn = self.turn.lock().await;
        *turn += 1;
        let key = ((stream, name.to_owned()), shard);
        let mut served = self.subscriptions();
        let early = |s: &Served| now.saturating_sub(s.begun) < TAKEOVER;
        if let Some(before) = served.by.get(&key) {
            if early(before) {
                return None;
            }
            before.end();
        }
        if served.by.len() >= served.sweep_at {
            served.by.retain(|_, s| s.end.is_some() || early(s));
            served.sweep_at = (2 * served.by.len()).max(SWEEP);
        }
        let (end, ended) = watch::channel(false);
        served.by.insert(key, Served { begun: now, number: *turn, end: Some(end) });
        Some((*turn, ended))
    }

    /// Ends to serve it, if it was not taken over: then `true`.
    pub fn unsubscribe(&self, stream: StreamUid, name: &str, shard: u32, number: u64) -> bool {
        let mut served = self.subscriptions();
        let key = ((stream, name.to_owned()), shard);
        let Some(its) = served.by.get_mut(&key).filter(|s| s.number == number) else { return false };
        if self.limits {
            its.end = None;
        } else {
            served.by.remove(&key);
        }
        true
    }
}

impl DataStreams {
    /// Deregisters a consumer. It is shown as DELETING for as long as streams are.
    pub(crate) async fn let_go(&self, stream: &Stream, mut c: Consumer) -> Result<(), AwsError> {
        let i = &*self.inner;
        if i.config.transition.is_zero() {
            return i.consumers.remove(&i.tools, stream.uid, &c.name).await;
        }
        if c.gone.is_some() {
            return Ok(());
        }
        let (name, until) = (c.name.clone(), self.now() + i.config.transition);
        c.gone = Some(until);
        i.consumers.put(&i.tools, stream.uid, c).await?;
        i.consumers.end(stream.uid, &name);
        self.see_off(stream.uid, name, until);
        Ok(())
    }

    /// Removes a consumer then, if this service is still there; otherwise the next does.
    pub(crate) fn see_off(&self, stream: StreamUid, name: String, until: Timestamp) {
        let (inner, clock) = (Arc::downgrade(&self.inner), self.inner.tools.world.clock.clone());
        tokio::spawn(async move {
            clock.sleep(until.since(clock.now())).await;
            // Another of its name may have been registered meanwhile.
            while let Some(i) = inner.upgrade()
                && i.consumers.get(stream, &name).is_some_and(|c| c.gone == Some(until))
                && let Err(e) = i.consumers.remove(&i.tools, stream, &name).await
            {
                tracing::warn!(consumer = name, error = %e.message, "a consumer could not be removed; trying again");
                drop(i);
                clock.sleep(AGAIN).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use catalog::MemoryCatalog;
    use world::sim::Sim;

    use super::*;

    #[tokio::test]
    async fn subscriptions_that_are_in_nobodys_way_are_forgotten() {
        let sim = Sim::new(1);
        let catalog = MemoryCatalog::new(sim.world.clone());
        for limits in [true, false] {
            let consumers = Consumers::open(&catalog, limits).await.unwrap();
            let stream = StreamUid([1; 16]);
            let at = Duration::from_secs;
            let (_, there) = consumers.subscribe(stream, "c", 0, at(1)).await.unwrap();
            for shard in 1..10_000 {
                let now = Duration::from_millis(1000 + u64::from(shard));
                let (number, _) = consumers.subscribe(stream, "c", shard, now).await.unwrap();
                assert!(consumers.unsubscribe(stream, "c", shard, number));
                assert!(!consumers.unsubscribe(stream, "c", shard, number) || limits);
                let kept = consumers.subscriptions().by.len();
                assert!(kept <= if limits { 11_000 } else { 2 }, "{kept}");
            }
            // Those of the last five seconds, and the one that is served.
            consumers.subscriptions().sweep_at = 0;
            let late = consumers.subscribe(stream, "c", 1, at(14)).await;
            assert!(late.is_some());
            let kept = consumers.subscriptions().by.len();
            assert!(kept <= if limits { 2002 } else { 2 }, "{kept}");
            assert!(!*there.borrow());
        }
    }
}
