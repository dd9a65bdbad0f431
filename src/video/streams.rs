//! Video streams as documents of the catalog, and those that are open here.
//!
//! **Creation and deletion leave nothing half.** A stream is a document (kind `video-stream`, id its name) and a
//! stream of the log (its unique id). Creating notes the unique id as *doomed* first, makes the log's stream, and in
//! one transaction writes the document and takes the note away. Deleting does that backwards: one transaction removes
//! the document and notes the id, then the log's stream is deleted (its keys are destroyed), then the note. Whatever
//! is doomed when the program starts is deleted; so a crash anywhere leaves a whole stream or none.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use catalog::{Catalog, CatalogError, Change, Document, Filter};
use log::{LogError, Retention, SharedLog};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use usage::Usage;
use world::{Arn, Home, ShardId, StreamUid, Timestamp, World};

use crate::{
    Config, Live, Parts, RetentionChange, Rules, StreamRetention, VideoError,
    ingest::Tail,
    kvs::{rates::Bucket, settings::Settings},
    lost::Lost,
    meter::Meter,
    store::Recent,
    tables::Tracks,
    timeline::RunCache,
};

const KIND: &str = "video-stream";
const DOOMED: &str = "video-stream-doomed";
/// How often a change is tried while others change the same.
const CHANGES: usize = 5;

/// What a stream is set to; what is absent is as the server's [`Config`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamConfig {
    /// Milliseconds after which a fragment ends at the next key frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_duration_ms: Option<u64>,
    /// Milliseconds after which it ends anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_ms: Option<u64>,
    /// Seconds that a live playlist reaches back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
    /// The camera whose sub source is recorded here; none for all other streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_of: Option<String>,
}

/// One stream, as described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// Its unique id.
    pub uid: StreamUid,
    /// `arn:aws:kinesisvideo:REGION:ACCOUNT:stream/NAME/CREATED_MS`
    pub arn: Arn,
    /// When it was made.
    pub created: Timestamp,
    /// What it is set to.
    pub config: StreamConfig,
}

/// A stream's document.
#[derive(Serialize, Deserialize)]
pub(crate) struct Body {
    v: u32,
    uid: String,
    created: Timestamp,
    arn: String,
    #[serde(default)]
    config: StreamConfig,
    #[serde(default)]
    pub retention: StreamRetention,
    /// What the APIs of Kinesis Video Streams know of it.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub kvs: Settings,
}

/// A stream as its document says.
pub(crate) struct Described {
    pub info: StreamInfo,
    pub body: Body,
    /// Another after each change.
    pub version: String,
}

impl Described {
    fn of(doc: &Document) -> Result<Described, VideoError> {
        Ok(Described { info: parse(doc)?.0, body: parse_body(doc)?, version: version(doc) })
    }
}

/// Twenty letters and digits that stand for a document's version and say nothing.
pub(crate) fn version(doc: &Document) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let uid = doc.keys.iter().find(|(k, _)| k == "uid").map_or("", |(_, v)| v.as_str());
    let hash = access::sha256(format!("{uid}/{}", doc.version).as_bytes());
    hash[..20].iter().map(|b| char::from(LETTERS[usize::from(*b) % LETTERS.len()])).collect()
}

/// A stream that is open here.
pub(crate) struct Stream {
    pub info: StreamInfo,
    pub shard: ShardId,
    pub rules: Rules,
    pub window: Duration,
    /// How long a part of a fragment lasts for low latency.
    pub part: Duration,
    pub deleted: AtomicBool,
    /// The number of the session that may publish.
    pub session: AtomicU64,
    /// The session that publishes now; 0: none.
    pub publishing: AtomicU64,
    /// The highest fragment number given out, as far as it is known.
    pub numbers: AtomicU64,
    /// Connections that may read it at once: by GetMedia, and by GetMediaForFragmentList.
    pub getting: Arc<Semaphore>,
    pub listing: Arc<Semaphore>,
    /// How often PutMedia and GetMedia may be called, and how fast the former sends.
    pub put_calls: Bucket,
    pub get_calls: Bucket,
    pub put_bytes: Bucket,
    /// What the next fragment continues; held while one is committed.
    pub tail: AsyncMutex<Option<Tail>>,
    pub live: Live,
    pub recent: AsyncMutex<Recent>,
    pub runs: Mutex<RunCache>,
    pub tracks: Tracks,
    pub lost: Lost,
    /// What goes in and out.
    pub meter: Meter,
    /// What of its retention is its own.
    pub own: Mutex<StreamRetention>,
}

impl Stream {
    fn new(info: StreamInfo, config: &Config, usage: &Usage) -> Stream {
        let ms = |own: Option<u64>, usual: Duration| own.map_or(usual, Duration::from_millis);
        let target = ms(info.config.target_duration_ms, config.rules.target);
        Stream {
            shard: ShardId { stream: info.uid, shard: 0 },
            rules: Rules {
                target,
                max: ms(info.config.max_duration_ms, config.rules.max).max(target),
                ..config.rules
            },
            window: info.config.window_s.map_or(config.window, Duration::from_secs),
            part: config.part,
            deleted: AtomicBool::new(false),
            session: AtomicU64::new(0),
            publishing: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            getting: Arc::new(Semaphore::new(3)),
            listing: Arc::new(Semaphore::new(5)),
            put_calls: Bucket::calls(),
            get_calls: Bucket::calls(),
            put_bytes: Bucket::put(),
            tail: AsyncMutex::default(),
            live: Live::default(),
            recent: AsyncMutex::default(),
            runs: Mutex::default(),
            tracks: Tracks::default(),
            lost: Lost::default(),
            meter: Meter::new(usage, &info),
            own: Mutex::default(),
            info,
        }
    }
    pub fn name(&self) -> &str {
        &self.info.name
    }
    /// A number for a fragment receipt of which began at a time: that in microseconds, or more, so that numbers rise.
    pub fn number(&self, received: Timestamp) -> u64 {
        let time = u64::try_from(received.micros()).unwrap_or(0).max(1);
        let next = |last: u64| Some(time.max(last.saturating_add(1)));
        let before = self.numbers.fetch_update(SeqCst, SeqCst, next).unwrap_or_else(|last| last);
        time.max(before.saturating_add(1))
    }
    pub fn log_error(&self, e: LogError) -> VideoError {
        match e {
            LogError::NoShard(_) => VideoError::Deleted(self.info.name.clone()),
            LogError::Trimmed { position, .. } => VideoError::Gone(format!(
                "fragment {position} of video stream {:?} is gone: retention has removed it",
                self.info.name
            )),
            e => VideoError::Log(self.info.name.clone(), e),
        }
    }
}

/// All streams.
pub(crate) struct Streams {
    world: World,
    catalog: Arc<dyn Catalog>,
    log: SharedLog,
    home: Home,
    config: Config,
    usage: Usage,
    open: Mutex<BTreeMap<String, Arc<Stream>>>,
    /// What holds for streams that are not set otherwise.
    default: Mutex<Retention>,
}

impl Streams {
    pub async fn open(parts: &Parts, config: Config) -> Result<Streams, VideoError> {
        let default = Mutex::new(config.retention);
        let s = Streams {
            world: parts.world.clone(),
            catalog: parts.catalog.clone(),
            log: parts.log.clone(),
            home: parts.home.clone(),
            usage: parts.usage.clone(),
            config,
            open: Mutex::default(),
            default,
        };
        for doc in s.catalog.list(Filter::kind(DOOMED)).await.map_err(VideoError::catalog("*"))? {
            let uid = doc
                .id
                .parse()
                .map_err(|_| VideoError::Damaged(doc.id.clone(), "is not a stream id".into()))?;
            s.destroy(uid, &doc.id).await?;
        }
        let mut open = BTreeMap::new();
        for doc in s.catalog.list(Filter::kind(KIND)).await.map_err(VideoError::catalog("*"))? {
            let (info, own) = parse(&doc)?;
            // A snapshot of the catalog that was put back may be older than the log's row of a new stream's shard.
            match s.log.life(ShardId { stream: info.uid, shard: 0 }).await {
                Err(LogError::NoShard(_)) => s.log.create_stream(info.uid).await.map(drop),
                there => there.map(drop),
            }
            .map_err(VideoError::log(&info.name))?;
            let stream = Stream::new(info, &s.config, &s.usage);
            s.settle_retention(&stream, &own).await?;
            open.insert(stream.name().to_owned(), Arc::new(stream));
        }
        *s.map() = open;
        Ok(s)
    }

    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Stream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn list(&self) -> Vec<Arc<Stream>> {
        self.map().values().cloned().collect()
    }

    pub fn get(&self, name: &str) -> Result<Arc<Stream>, VideoError> {
        self.map().get(name).cloned().ok_or_else(|| VideoError::NoStream(name.into()))
    }

    pub async fn create(&self, name: &str, config: StreamConfig) -> Result<Arc<Stream>, VideoError> {
        self.create_with(name, config, StreamRetention::default(), Settings::default()).await
    }

    pub async fn create_with(
        &self,
        name: &str,
        config: StreamConfig,
        retention: StreamRetention,
        kvs: Settings,
    ) -> Result<Arc<Stream>, VideoError> {
        wire::v1::valid_name(name).map_err(|_| VideoError::BadName(name.into()))?;
        if self.map().contains_key(name) {
            return Err(VideoError::Exists(name.into()));
        }
        let uid = StreamUid(self.world.random16());
        let created = self.world.clock.now();
        let arn = self.home.arn("kinesisvideo", &format!("stream/{name}/{}", created.millis()));
        let info = StreamInfo { name: name.into(), uid, arn, created, config };
        let body = Body {
            v: 1,
            uid: uid.to_string(),
            created,
            arn: info.arn.0.clone(),
            config: info.config.clone(),
            retention,
            kvs,
        };
        let doc = Document {
            kind: KIND.into(),
            id: name.into(),
            version: 0,
            body: serde_json::to_vec(&body).map_err(|e| VideoError::Damaged(name.into(), e.to_string()))?,
            keys: vec![("uid".into(), uid.to_string())],
        };
        self.catalog.commit(vec![doom(uid)]).await.map_err(VideoError::catalog(name))?;
        self.log.create_stream(uid).await.map_err(VideoError::log(name))?;
        let stream = Arc::new(Stream::new(info, &self.config, &self.usage));
        self.settle_retention(&stream, &retention).await?;
        let done = self.catalog.commit(vec![Change::Put { doc, expect: 0 }, undoom(uid)]).await;
        match done {
            Ok(()) => {}
            Err(CatalogError::Conflict { .. }) => {
                self.destroy(uid, name).await?;
                return Err(VideoError::Exists(name.into()));
            }
            Err(e) => return Err(VideoError::catalog(name)(e)),
        }
        self.map().insert(name.into(), stream.clone());
        tracing::info!(stream = name, "video stream created");
        Ok(stream)
    }

    pub async fn delete(&self, name: &str) -> Result<(), VideoError> {
        let stream = self.get(name)?;
        let uid = stream.info.uid;
        let doc = self.catalog.get(KIND, name).await.map_err(VideoError::catalog(name))?;
        let doc = doc.ok_or_else(|| VideoError::NoStream(name.into()))?;
        let gone = Change::Delete { kind: KIND.into(), id: name.into(), expect: doc.version };
        self.catalog.commit(vec![gone, doom(uid)]).await.map_err(VideoError::catalog(name))?;
        stream.deleted.store(true, Relaxed);
        stream.live.low.lost();
        self.map().remove(name);
        self.destroy(uid, name).await?;
        tracing::info!(stream = name, "video stream deleted");
        Ok(())
    }

    /// Tells the log what holds for a stream, if it does not know.
    async fn settle_retention(
        &self,
        stream: &Stream,
        own: &StreamRetention,
    ) -> Result<Retention, VideoError> {
        *stream.own.lock().unwrap_or_else(PoisonError::into_inner) = *own;
        let uid = stream.info.uid;
        let default = *self.default.lock().unwrap_or_else(PoisonError::into_inner);
        let want = own.effective(default, stream.window);
        if self.log.retention(uid).await.map_err(|e| stream.log_error(e))? != want {
            self.log.set_retention(uid, want).await.map_err(|e| stream.log_error(e))?;
        }
        Ok(want)
    }

    pub async fn set_default_retention(&self, default: Retention) -> Result<(), VideoError> {
        *self.default.lock().unwrap_or_else(PoisonError::into_inner) = default;
        for doc in self.catalog.list(Filter::kind(KIND)).await.map_err(VideoError::catalog("*"))? {
            let (info, own) = parse(&doc)?;
            match self.get(&info.name) {
                Ok(s) if s.info.uid == info.uid => drop(self.settle_retention(&s, &own).await?),
                _ => {}
            }
        }
        Ok(())
    }

    /// As stored.
    pub async fn described(&self, name: &str) -> Result<Described, VideoError> {
        self.get(name)?;
        let doc = self.catalog.get(KIND, name).await.map_err(VideoError::catalog(name))?;
        Described::of(&doc.ok_or_else(|| VideoError::NoStream(name.into()))?)
    }

    /// Those whose names begin so, after one, by name.
    pub async fn described_all(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Described>, VideoError> {
        let filter = Filter {
            prefix: Some(prefix.to_owned()).filter(|p| !p.is_empty()),
            after: after.map(str::to_owned),
            limit: Some(limit),
            ..Filter::kind(KIND)
        };
        let docs = self.catalog.list(filter).await.map_err(VideoError::catalog("*"))?;
        docs.iter().map(Described::of).collect()
    }

    /// Changes a stream's document; `f` is told the version that it has, and may be called again when somebody else changes
    /// it meanwhile. What it says of retention holds at once. The document comes first: should the log not be told, the next
    /// start does it.
    pub async fn change<E: From<VideoError>>(
        &self,
        name: &str,
        mut f: impl FnMut(&mut Body, &str) -> Result<(), E>,
    ) -> Result<Retention, E> {
        let stream = self.get(name)?;
        for left in (0..CHANGES).rev() {
            let doc = self.catalog.get(KIND, name).await.map_err(VideoError::catalog(name))?;
            let mut doc = doc.ok_or_else(|| VideoError::NoStream(name.into()))?;
            let mut body = parse_body(&doc)?;
            f(&mut body, &version(&doc))?;
            doc.body =
                serde_json::to_vec(&body).map_err(|e| VideoError::Damaged(name.into(), e.to_string()))?;
            let expect = doc.version;
            match self.catalog.commit(vec![Change::Put { doc, expect }]).await {
                Ok(()) => return Ok(self.settle_retention(&stream, &body.retention).await?),
                Err(CatalogError::Conflict { .. }) if left > 0 => {}
                Err(e) => return Err(VideoError::catalog(name)(e).into()),
            }
        }
        Err(VideoError::Busy(format!("video stream {name:?} is being changed by others")).into())
    }

    pub async fn set_retention(&self, name: &str, change: RetentionChange) -> Result<Retention, VideoError> {
        let set = self
            .change(name, |body, _| {
                body.retention = change.apply(body.retention)?;
                Ok::<_, VideoError>(())
            })
            .await?;
        tracing::info!(stream = name, retention = ?set, "retention changed");
        Ok(set)
    }

    /// Deletes a doomed stream of the log, then forgets that it is doomed.
    async fn destroy(&self, uid: StreamUid, name: &str) -> Result<(), VideoError> {
        match self.log.delete_stream(uid).await {
            Ok(()) | Err(LogError::NoShard(_)) => {}
            Err(e) => return Err(VideoError::log(name)(e)),
        }
        match self.catalog.commit(vec![undoom(uid)]).await {
            Ok(()) | Err(CatalogError::Conflict { .. }) => Ok(()),
            Err(e) => Err(VideoError::catalog(name)(e)),
        }
    }
}

fn doom(uid: StreamUid) -> Change {
    let (kind, id) = (DOOMED.to_owned(), uid.to_string());
    Change::Put { doc: Document { kind, id, version: 0, body: Vec::new(), keys: Vec::new() }, expect: 0 }
}

fn undoom(uid: StreamUid) -> Change {
    Change::Delete { kind: DOOMED.into(), id: uid.to_string(), expect: 1 }
}

fn parse_body(doc: &Document) -> Result<Body, VideoError> {
    let bad = |e: String| VideoError::Damaged(doc.id.clone(), format!("its document does not parse: {e}"));
    let b: Body = serde_json::from_slice(&doc.body).map_err(|e| bad(e.to_string()))?;
    if b.v != 1 {
        return Err(bad(format!("version {}, this program knows 1", b.v)));
    }
    Ok(b)
}

fn parse(doc: &Document) -> Result<(StreamInfo, StreamRetention), VideoError> {
    let bad = |e: String| VideoError::Damaged(doc.id.clone(), format!("its document does not parse: {e}"));
    let b = parse_body(doc)?;
    let uid = b.uid.parse().map_err(|e: world::ArnError| bad(e.to_string()))?;
    let info =
        StreamInfo { name: doc.id.clone(), uid, arn: Arn(b.arn), created: b.created, config: b.config };
    Ok((info, b.retention))
}
