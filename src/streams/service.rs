//! The streams that are open here, how they are found, made and ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use access::Gate;
use catalog::{Catalog, Filter};
use log::{OnFull, Retention, SharedLog};
use seal::KeyProvider;
use tokio::sync::watch;
use usage::{Looks, Usage};
use wire::aws::AwsError;
use world::{Arn, Home, StreamUid, World};

use crate::{
    account::Account,
    body::{Body, Mode, Status, Work},
    consumers::Consumers,
    error,
    keys::Keys,
    quota::{Exact, Quotas, Rate, Ration, Unlimited},
    stream::{KIND, SHARDS, Stream, Tools},
};

/// What the service is set to.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether AWS's quotas hold; what the model bounds holds always.
    pub limits: bool,
    /// Open shards in the account (with [`Config::limits`]).
    pub shard_quota: u32,
    /// On-demand streams in the account (with [`Config::limits`]).
    pub on_demand_quota: u32,
    /// How long a stream is shown as CREATING, UPDATING or DELETING at least.
    pub transition: Duration,
    /// How long a request waits for a change that takes its time, before it answers that it has begun.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            limits: true,
            shard_quota: 20_000,
            on_demand_quota: 50,
            transition: Duration::ZERO,
            patience: Duration::from_secs(1),
        }
    }
}

/// What the service stands on.
pub struct Parts {
    /// Time and randomness.
    pub world: World,
    /// Where streams and consumers are written down.
    pub catalog: Arc<dyn Catalog>,
    /// Where the records are.
    pub log: SharedLog,
    /// What seals iterators and page tokens.
    pub gate: Gate,
    /// Account and region of the streams.
    pub home: Home,
    /// Who holds the keys that streams are encrypted under.
    pub keys: Arc<dyn KeyProvider>,
    /// What is metered.
    pub usage: Usage,
}

/// Shards of a new on-demand stream: 4 MB/s of writes.
pub(crate) const ON_DEMAND_SHARDS: u32 = 4;
/// Streams that are being created at a time (API_CreateStream).
const CREATING: usize = 5;
/// Pause before a change that failed is tried again.
pub(crate) const AGAIN: Duration = Duration::from_secs(2);

/// All data streams. Cloning is cheap.
#[derive(Clone)]
pub struct DataStreams {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub tools: Tools,
    pub gate: Gate,
    pub home: Home,
    pub config: Config,
    pub keys: Keys,
    pub usage: Usage,
    pub quotas: Box<dyn Quotas>,
    pub consumers: Consumers,
    pub account: Account,
    /// Up to when what goes by time is metered.
    pub metered: Mutex<Duration>,
    pub looks: Looks,
    /// Subscriptions end.
    pub stopping: watch::Sender<bool>,
    open: Mutex<BTreeMap<String, Arc<Stream>>>,
}

impl DataStreams {
    /// Opens all streams of the catalog, and goes on with what was being done to them. On a Tokio runtime.
    pub async fn open(parts: Parts, config: Config) -> Result<DataStreams, AwsError> {
        let Parts { world, catalog, log, gate, home, keys, usage } = parts;
        let mut shards: BTreeMap<String, Vec<catalog::Document>> = BTreeMap::new();
        for doc in catalog.list(Filter::kind(SHARDS)).await.map_err(error::catalog)? {
            let uid = doc.id.split('/').next().unwrap_or_default().to_owned();
            shards.entry(uid).or_default().push(doc);
        }
        let mut open = BTreeMap::new();
        for doc in catalog.list(Filter::kind(KIND)).await.map_err(error::catalog)? {
            let body: Body = serde_json::from_slice(&doc.body)
                .map_err(|e| error::internal(format!("the document of data stream {:?}: {e}", doc.id)))?;
            let its = shards.remove(&body.uid).unwrap_or_default();
            open.insert(doc.id.clone(), Stream::stored(&usage, stream_arn(&home, &doc.id), &doc, &its)?);
        }
        let quotas: Box<dyn Quotas> =
            if config.limits { Box::new(Exact::new(world.clock.clone())) } else { Box::new(Unlimited) };
        let consumers = Consumers::open(&*catalog, config.limits).await?;
        let account = Account::open(&*catalog, config.limits).await?;
        let keys = Keys::new(keys, world.clock.clone());
        let restored = log.restored().await.map_err(error::log)?;
        let tools = Tools { world, catalog, log, restored };
        let s = DataStreams {
            inner: Arc::new(Inner {
                metered: Mutex::new(tools.world.clock.monotonic()),
                looks: Looks::new(tools.world.clock.monotonic()),
                stopping: watch::Sender::new(false),
                tools,
                gate,
                home,
                config,
                keys,
                usage,
                quotas,
                consumers,
                account,
                open: Mutex::new(open),
            }),
        };
        let all: Vec<_> = s.map().values().cloned().collect();
        for stream in all {
            let begun = stream.read().body.work.is_some();
            if begun {
                s.settle(&stream);
            } else if let Err(e) = stream.work(&s.inner.tools).await {
                tracing::warn!(stream = stream.name, error = %e.message, "a stream could not be looked through; trying again");
                s.settle(&stream);
            }
        }
        for (stream, name, until) in s.inner.consumers.going() {
            s.see_off(stream, name, until);
        }
        Ok(s)
    }

    /// Ends all subscriptions, as the server stops; they go on where the consumer says, elsewhere or later.
    pub fn stop(&self) {
        self.inner.stopping.send_replace(true);
        self.meter_shards();
    }

    pub(crate) fn map(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Stream>>> {
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn now(&self) -> world::Timestamp {
        self.inner.tools.world.clock.now()
    }
    /// Streams by name.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.map().values().cloned().collect()
    }

    /// Takes from a ration, or refuses with `e`.
    pub(crate) fn ration(
        &self,
        r: Ration,
        per_second: f64,
        e: impl FnOnce() -> AwsError,
    ) -> Result<(), AwsError> {
        if self.inner.quotas.take(r, Rate::of(per_second), 1.0) { Ok(()) } else { Err(e()) }
    }
    /// One call of an operation, of so many a second that the account has.
    pub(crate) fn account_call(&self, operation: &'static str, per_second: f64) -> Result<(), AwsError> {
        self.ration(Ration::AccountCalls(operation), per_second, || {
            error::limit(format!("Rate exceeded for account {}.", self.inner.home.account))
        })
    }
    /// The same, of those that a stream has.
    pub(crate) fn stream_call(
        &self,
        stream: &Stream,
        operation: &'static str,
        per_second: f64,
    ) -> Result<(), AwsError> {
        self.ration(Ration::StreamCalls(stream.uid, operation), per_second, || {
            error::limit(format!(
                "Rate exceeded for stream {} under account {}.",
                stream.name, self.inner.home.account
            ))
        })
    }

    /// The stream that an input names.
    pub(crate) fn find(&self, name: Option<&str>, arn: Option<&str>) -> Result<Arc<Stream>, AwsError> {
        let name = named(name, arn)?;
        self.get(&name)
    }
    /// By name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Stream>, AwsError> {
        self.map().get(name).cloned().ok_or_else(|| error::no_stream(&self.inner.home, name))
    }
    /// One that can be written and read: ACTIVE or UPDATING.
    pub(crate) fn usable(&self, s: &Stream) -> Result<(), AwsError> {
        match s.status() {
            Status::Active | Status::Updating => Ok(()),
            Status::Creating => Err(error::no_stream(&self.inner.home, &s.name)),
            Status::Deleting => Err(error::no_stream(&self.inner.home, &s.name)),
        }
    }

    /// Open shards of all streams, and what those being changed will have.
    pub(crate) fn open_shards(&self) -> u32 {
        let count = |s: &Arc<Stream>| {
            let s = s.read();
            let open = s.map.open_count() as u32;
            match s.body.work {
                Some(Work::Create(n) | Work::Count(n)) => open.max(n),
                _ => open,
            }
        };
        self.map().values().map(count).fold(0, u32::saturating_add)
    }
    /// Refuses what would go beyond the account's shards.
    pub(crate) fn shard_quota(&self, more: u32) -> Result<(), AwsError> {
        self.within_shard_quota(self.open_shards(), more)
    }
    /// The same, of an account with so many.
    pub(crate) fn within_shard_quota(&self, now: u32, more: u32) -> Result<(), AwsError> {
        let (quota, home) = (self.inner.config.shard_quota, &self.inner.home);
        if more == 0 || !self.inner.config.limits || now.saturating_add(more) <= quota {
            return Ok(());
        }
        Err(error::limit(format!(
            "This request would exceed the shard limit for the account {} in {}. Current shard count for the account: {now}. Limit: {quota}. Number of additional shards that would have resulted from this request: {more}. Refer to the AWS Service Limits page (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request higher limits.",
            home.account, home.region
        )))
    }

    /// Begins a stream; its name is taken when this returns.
    pub(crate) async fn begin(
        &self,
        name: &str,
        body: impl FnOnce(&mut Body),
        shards: u32,
    ) -> Result<(), AwsError> {
        let i = &*self.inner;
        let uid = StreamUid(i.tools.world.random16());
        let mut new = Body::new(uid.to_string(), self.now());
        body(&mut new);
        new.joined = i.tools.restored;
        new.work = Some(Work::Create(shards));
        new.ready = Some(self.now() + i.config.transition);
        let stream = Stream::new(&i.usage, name.into(), uid, stream_arn(&i.home, name), new);
        {
            let mut map = self.map();
            if map.contains_key(name) {
                return Err(error::in_use(format!(
                    "Stream {name} under account {} already exists.",
                    i.home.account
                )));
            }
            let creating = map.values().filter(|s| s.status() == Status::Creating).count();
            if i.config.limits && creating >= CREATING {
                return Err(error::limit(format!(
                    "{creating} streams of account {} are in the CREATING state; that is the limit.",
                    i.home.account
                )));
            }
            map.insert(name.into(), stream.clone());
        }
        // The first change writes the document.
        if let Err(e) = stream.change(&i.tools, |_, _| Ok(())).await {
            self.map().remove(name);
            return Err(e);
        }
        self.wait(&stream).await;
        tracing::info!(stream = name, shards, "data stream created");
        Ok(())
    }

    /// Begins a change of a stream that is at rest.
    pub(crate) async fn update<T>(
        &self,
        stream: &Arc<Stream>,
        status: Status,
        f: impl FnOnce(&mut Body, &crate::map::ShardMap) -> Result<(Work, T), AwsError> + Send,
    ) -> Result<T, AwsError> {
        let (home, name, delay) = (&self.inner.home, &stream.name, self.inner.config.transition);
        let now = self.now();
        // Who makes a change has the documents for as long as that takes: nobody waits for it to be told that there is one.
        let before = stream.status();
        if before != Status::Active {
            return Err(error::not_active(home, name, before));
        }
        let out = stream
            .change(&self.inner.tools, |b, map| {
                if b.status != Status::Active {
                    return Err(error::not_active(home, name, b.status));
                }
                let (work, out) = f(b, map)?;
                (b.status, b.work, b.ready) = (status, Some(work), Some(now + delay));
                Ok(out)
            })
            .await?;
        self.wait(stream).await;
        Ok(out)
    }

    /// Lets a change go on by itself, and waits for it a moment.
    pub(crate) async fn wait(&self, stream: &Arc<Stream>) {
        let done = self.settle(stream);
        if self.inner.config.transition.is_zero() {
            tokio::select! {
                _ = done => {}
                () = self.inner.tools.world.clock.sleep(self.inner.config.patience) => {}
            }
        }
    }

    /// Goes on with a change until it is done.
    fn settle(&self, stream: &Arc<Stream>) -> tokio::task::JoinHandle<()> {
        let (s, stream) = (self.clone(), stream.clone());
        tokio::spawn(async move {
            while let Err(e) = stream.work(&s.inner.tools).await {
                tracing::warn!(stream = stream.name, error = %e.message, "a change could not be made; trying again");
                s.inner.tools.world.clock.sleep(AGAIN).await;
            }
            let ended = matches!(stream.read().body.work, Some(Work::Delete));
            if ended {
                s.inner.consumers.forget_stream(&s.inner.tools, stream.uid).await;
                let mut map = s.map();
                if map.get(&stream.name).is_some_and(|there| there.uid == stream.uid) {
                    map.remove(&stream.name);
                }
                tracing::info!(stream = stream.name, "data stream deleted");
                return;
            }
            if let Err(e) = s.retain(&stream).await {
                tracing::warn!(stream = stream.name, error = %e.message, "retention could not be set");
            }
        })
    }

    /// Tells the log how long records stay.
    pub(crate) async fn retain(&self, stream: &Stream) -> Result<(), AwsError> {
        let hours = stream.read().body.retention_hours;
        let age = Some(Duration::from_secs(3600 * u64::from(hours)));
        let want = Retention { age, bytes: None, on_full: OnFull::Refuse };
        let log = &self.inner.tools.log;
        if log.retention(stream.uid).await.map_err(error::log)? != want {
            log.set_retention(stream.uid, want).await.map_err(error::log)?;
        }
        Ok(())
    }

    /// Refuses one more stream on demand in an account that has so many.
    pub(crate) fn on_demand_quota(&self, there: u32) -> Result<(), AwsError> {
        let c = &self.inner.config;
        if !c.limits || there < c.on_demand_quota {
            return Ok(());
        }
        Err(error::limit(format!(
            "This request would exceed the limit of {} on-demand streams for the account {}.",
            c.on_demand_quota, self.inner.home.account
        )))
    }

    /// How many streams are on demand.
    pub(crate) fn on_demand_count(&self) -> u32 {
        self.map().values().filter(|s| s.read().body.mode == Mode::OnDemand).count() as u32
    }
}

/// `arn:aws:kinesis:REGION:ACCOUNT:stream/NAME`
pub(crate) fn stream_arn(home: &Home, name: &str) -> Arn {
    home.arn("kinesis", &format!("stream/{name}"))
}

/// What the gate is asked about for a stream that is named so: the stream, in this region, and in the account that the ARN
/// names if there is one.
pub(crate) fn asked_about(home: &Home, name: Option<&str>, arn: Option<&str>) -> Result<Arn, AwsError> {
    let name = named(name, arn)?;
    let account = arn.and_then(|a| a.split(':').nth(4)).unwrap_or(&home.account);
    Ok(stream_arn(&Home { account: account.to_owned(), ..home.clone() }, &name))
}

/// The same for an ARN that may be a consumer's.
pub(crate) fn resource_arn(home: &Home, arn: &str) -> Result<Arn, AwsError> {
    let (stream, consumer) = consumer_parts(arn);
    let stream = asked_about(home, None, Some(stream))?;
    Ok(match consumer {
        Some(consumer) => Arn(format!("{}/consumer/{consumer}", stream.0)),
        None => stream,
    })
}

/// A consumer's ARN: its stream's, and `NAME:SECONDS`. Any other: itself.
pub(crate) fn consumer_parts(arn: &str) -> (&str, Option<&str>) {
    arn.split_once("/consumer/").map_or((arn, None), |(stream, consumer)| (stream, Some(consumer)))
}

/// The name of the stream that an input means: by name, by ARN, or by both if they agree. A consumer's ARN is not its
/// stream's: nobody deletes a stream by it.
pub fn named(name: Option<&str>, arn: Option<&str>) -> Result<String, AwsError> {
    let from_arn = match arn {
        None => None,
        Some(a) => Some(
            a.split_once(":stream/")
                .map(|(_, name)| name)
                .filter(|n| !n.is_empty())
                .ok_or_else(|| error::argument(format!("{a} is not the ARN of a stream.")))?,
        ),
    };
    match (name, from_arn) {
        (None, None) => Err(error::argument("Either StreamName or StreamARN should be provided.")),
        (Some(n), Some(a)) if n != a => Err(error::argument(format!(
            "StreamName {n} and StreamARN {} do not match.",
            arn.unwrap_or_default()
        ))),
        (Some(n), _) | (None, Some(n)) => Ok(n.to_owned()),
    }
}
