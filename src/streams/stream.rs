//! A stream that is open here, and how it changes.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use catalog::{Catalog, Change, Document};
use log::{LogError, SharedLog};
use tokio::sync::watch;
use usage::Usage;
use wire::aws::AwsError;
use world::{Arn, ShardId, StreamUid, Timestamp, World};

use crate::{
    body::{Body, Status, StoredStep, Work},
    error,
    hashing::uniform,
    map::{CHUNK, Shard, ShardMap, Stored, seconds},
    meter::Meter,
    plan::{self, Step},
    rejoin::{Stray, rejoin},
    upkeep::Load,
};

/// The document of a stream; its id is the name.
pub(crate) const KIND: &str = "data-stream";
/// Some of its shards; the id is `UID/CHUNK`.
pub(crate) const SHARDS: &str = "data-stream-shards";
/// Shards opened or closed at once: they share the log's rounds.
const AT_ONCE: usize = 512;

/// What changes of a stream, and is committed.
pub(crate) struct State {
    pub body: Body,
    pub map: ShardMap,
    version: u64,
    /// Of the documents of its shards, by chunk.
    chunks: Vec<u64>,
}

/// A stream.
pub(crate) struct Stream {
    pub name: String,
    pub uid: StreamUid,
    pub arn: Arn,
    state: RwLock<State>,
    /// Held by whoever changes the documents.
    turn: tokio::sync::Mutex<()>,
    /// Changes with every commit.
    changed: watch::Sender<u64>,
    /// What goes in and out.
    pub meter: Meter,
    /// What its shards take, if it is on demand.
    pub load: Load,
    /// Counts records that go to any shard.
    dealt: std::sync::atomic::AtomicUsize,
    /// The log may have shards that are forgotten here.
    leftovers: AtomicBool,
}

/// What changing a stream takes.
#[derive(Clone)]
pub(crate) struct Tools {
    pub world: World,
    pub catalog: Arc<dyn Catalog>,
    pub log: SharedLog,
    /// When an older catalog was put back, if ever ([`log::Log::restored`]).
    pub restored: Option<Timestamp>,
}

impl Stream {
    pub fn new(usage: &Usage, name: String, uid: StreamUid, arn: Arn, body: Body) -> Arc<Stream> {
        let map = ShardMap::new(Vec::new(), body.next_shard);
        Stream::with(usage, name, uid, arn, State { body, map, version: 0, chunks: Vec::new() })
    }

    fn with(usage: &Usage, name: String, uid: StreamUid, arn: Arn, state: State) -> Arc<Stream> {
        Arc::new(Stream {
            meter: Meter::new(usage, &name, uid),
            name,
            uid,
            arn,
            state: RwLock::new(state),
            turn: <_>::default(),
            changed: watch::Sender::new(0),
            load: Load::default(),
            dealt: <_>::default(),
            leftovers: AtomicBool::new(true),
        })
    }

    /// From its documents.
    pub fn stored(
        usage: &Usage,
        arn: Arn,
        doc: &Document,
        shards: &[Document],
    ) -> Result<Arc<Stream>, AwsError> {
        let damaged =
            |what: &str| error::internal(format!("the document of data stream {:?} {what}", doc.id));
        let body: Body = serde_json::from_slice(&doc.body).map_err(|e| damaged(&e.to_string()))?;
        let uid = body.uid.parse().map_err(|_| damaged("has no id"))?;
        let (mut all, mut chunks) = (Vec::new(), Vec::new());
        for d in shards {
            let n = d.id.rsplit('/').next().and_then(|n| n.parse::<usize>().ok());
            let n =
                n.filter(|n| *n <= (u32::MAX / CHUNK) as usize).ok_or_else(|| damaged("has odd shards"))?;
            if chunks.len() <= n {
                chunks.resize(n + 1, 0);
            }
            chunks[n] = d.version;
            let stored: Vec<Stored> = serde_json::from_slice(&d.body).map_err(|e| damaged(&e.to_string()))?;
            for s in stored {
                all.push(s.shard().ok_or_else(|| damaged("has odd shards"))?);
            }
        }
        let map = ShardMap::new(all, body.next_shard);
        let state = State { body, map, version: doc.version, chunks };
        Ok(Stream::with(usage, doc.id.clone(), uid, arn, state))
    }

    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn status(&self) -> Status {
        self.read().body.status
    }
    pub fn log_shard(&self, index: u32) -> ShardId {
        ShardId { stream: self.uid, shard: index }
    }
    /// Changes with every commit.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
    /// One more each time.
    pub fn turnstile(&self) -> usize {
        self.dealt.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
    /// Waits until whoever changes the documents is done.
    pub async fn settled(&self) {
        drop(self.turn.lock().await);
    }

    /// Changes the document; what `f` refuses changes nothing. Durable when it returns.
    pub async fn change<T>(
        &self,
        tools: &Tools,
        f: impl FnOnce(&mut Body, &ShardMap) -> Result<T, AwsError> + Send,
    ) -> Result<T, AwsError> {
        let _turn = self.turn.lock().await;
        self.change_in_turn(tools, &[], &[], f).await
    }

    async fn change_in_turn<T>(
        &self,
        tools: &Tools,
        shards: &[Shard],
        gone: &[u32],
        f: impl FnOnce(&mut Body, &ShardMap) -> Result<T, AwsError> + Send,
    ) -> Result<T, AwsError> {
        let (mut body, map, version, chunks) = {
            let s = self.read();
            let map = if shards.is_empty() && gone.is_empty() { None } else { Some(s.map.clone()) };
            (s.body.clone(), map, s.version, s.chunks.clone())
        };
        let (mut changes, mut chunks, mut new_map) = (Vec::new(), chunks, None);
        if let Some(mut map) = map {
            map.apply(shards);
            map.forget(gone);
            body.next_shard = map.next();
            let mut touched: Vec<u32> =
                shards.iter().map(|s| s.index / CHUNK).chain(gone.iter().map(|g| g / CHUNK)).collect();
            touched.sort_unstable();
            touched.dedup();
            for n in touched {
                let in_it: Vec<Stored> = map.chunk(n).iter().map(Stored::from).collect();
                if chunks.len() <= n as usize {
                    chunks.resize(n as usize + 1, 0);
                }
                let expect = chunks[n as usize];
                let id = format!("{}/{n:08}", self.uid);
                if in_it.is_empty() {
                    if expect > 0 {
                        changes.push(Change::Delete { kind: SHARDS.into(), id, expect });
                    }
                    chunks[n as usize] = 0;
                    continue;
                }
                let body = serde_json::to_vec(&in_it).map_err(error::internal)?;
                let doc = Document { kind: SHARDS.into(), id, version: 0, body, keys: Vec::new() };
                changes.push(Change::Put { doc, expect });
                chunks[n as usize] = expect + 1;
            }
            new_map = Some(map);
        }
        let out = match &new_map {
            Some(map) => f(&mut body, map)?,
            None => f(&mut body, &self.read().map)?,
        };
        let doc = Document {
            kind: KIND.into(),
            id: self.name.clone(),
            version: 0,
            body: serde_json::to_vec(&body).map_err(error::internal)?,
            keys: Vec::new(),
        };
        changes.push(Change::Put { doc, expect: version });
        tools.catalog.commit(changes).await.map_err(error::catalog)?;
        {
            let mut s = self.write();
            (s.body, s.version, s.chunks) = (body, version + 1, chunks);
            if let Some(map) = new_map {
                s.map = map;
            }
        }
        self.changed.send_modify(|n| *n += 1);
        Ok(out)
    }

    /// Does what the document says is to be done, and says that it is done. May be begun again at any point. After an
    /// older catalog was put back, it also sees to it that the documents and the log are of one mind.
    pub async fn work(self: &Arc<Self>, tools: &Tools) -> Result<(), AwsError> {
        let turn = self.turn.lock().await;
        self.reopen(tools).await?;
        loop {
            let (work, ready) = {
                let s = self.read();
                (s.body.work.clone(), s.body.ready)
            };
            let Some(work) = work else { return self.rejoin(tools).await };
            let next = match work {
                Work::Wait => None,
                Work::Create(count) => {
                    self.create(tools, count).await?;
                    None
                }
                Work::Steps(steps) => {
                    let steps = steps.iter().map(StoredStep::step).collect::<Option<Vec<_>>>();
                    let steps = steps.ok_or_else(|| {
                        error::internal(format!("the document of data stream {:?} has odd steps", self.name))
                    })?;
                    self.take(tools, &steps, Work::Wait).await?;
                    None
                }
                // Nobody can be asked any more: the stream stays as it is.
                Work::Count(target) if target > plan::MOST => {
                    tracing::error!(
                        stream = self.name,
                        target,
                        "a data stream was to have more shards than any can have: it keeps those that it has"
                    );
                    None
                }
                Work::Count(target) => {
                    let steps = plan::towards(&self.read().map, target, tools.world.clock.now());
                    if steps.is_empty() {
                        None
                    } else {
                        self.take(tools, &steps, Work::Count(target)).await?;
                        Some(())
                    }
                }
                Work::Key(key) => {
                    tools.log.rotate_key(self.uid).await.map_err(error::log)?;
                    let now = tools.world.clock.now();
                    self.change_in_turn(tools, &[], &[], |b, _| {
                        b.switch_key(
                            key,
                            now,
                            now - Duration::from_secs(3600 * u64::from(b.retention_hours)),
                        );
                        b.work = Some(Work::Wait);
                        Ok(())
                    })
                    .await?;
                    None
                }
                Work::Delete => {
                    drop(turn);
                    if let Some(left) = ready.map(|r| r.since(tools.world.clock.now())) {
                        tools.world.clock.sleep(left).await;
                    }
                    let _turn = self.turn.lock().await;
                    return self.destroy(tools).await;
                }
            };
            if next.is_some() {
                continue;
            }
            self.rejoin(tools).await?;
            drop(turn);
            if let Some(left) = ready.map(|r| r.since(tools.world.clock.now())) {
                tools.world.clock.sleep(left).await;
            }
            return self
                .change(tools, |b, _| {
                    // A deletion may have come meanwhile.
                    if !matches!(b.work, Some(Work::Delete)) {
                        (b.status, b.work, b.ready) = (Status::Active, None, None);
                    }
                    Ok(())
                })
                .await;
        }
    }

    /// The log's stream and the first shards.
    async fn create(&self, tools: &Tools, count: u32) -> Result<(), AwsError> {
        tools.log.create_stream(self.uid).await.map_err(error::log)?;
        self.open_in_log(tools, (1..count).map(|n| (n, Vec::new())).collect()).await?;
        let opened = tools.world.clock.now();
        let created = seconds(self.read().body.created);
        let shards: Vec<Shard> = (0..)
            .zip(uniform(count))
            .map(|(index, range)| Shard { index, range, parents: [None; 2], created, opened, closed: None })
            .collect();
        self.change_in_turn(tools, &shards, &[], |b, _| {
            b.work = Some(Work::Wait);
            Ok(())
        })
        .await
    }

    /// Closes and opens shards, in the log first. What is done already stays done.
    async fn take(&self, tools: &Tools, steps: &[Step], then: Work) -> Result<(), AwsError> {
        let parents: Vec<u32> = steps.iter().flat_map(|s| s.parents.iter().copied()).collect();
        for some in parents.chunks(AT_ONCE) {
            let close = some.iter().map(|p| async {
                match tools.log.close_shard(self.log_shard(*p)).await {
                    Ok(_) | Err(LogError::Closed(_)) => Ok(()),
                    Err(e) => Err(error::log(e)),
                }
            });
            futures_util::future::try_join_all(close).await?;
        }
        let mut children = Vec::new();
        for s in steps {
            children.extend(s.children.iter().map(|c| (c.index, s.parents.clone())));
        }
        self.open_in_log(tools, children).await?;
        let now = tools.world.clock.now();
        let shards: Vec<Shard> = {
            let s = self.read();
            steps.iter().flat_map(|step| plan::outcome(&s.map, step, now)).collect()
        };
        self.change_in_turn(tools, &shards, &[], |b, _| {
            b.work = Some(then);
            Ok(())
        })
        .await
    }

    async fn open_in_log(&self, tools: &Tools, shards: Vec<(u32, Vec<u32>)>) -> Result<(), AwsError> {
        for some in shards.chunks(AT_ONCE) {
            let open = some.iter().map(|(n, parents)| async {
                // What is open stays so. With an older catalog the log may have lost whose children they are.
                match tools.log.life(self.log_shard(*n)).await {
                    Ok(_) => Ok(()),
                    Err(LogError::NoShard(_)) => tools.log.open_shard(self.log_shard(*n), parents).await,
                    Err(e) => Err(e),
                }
            });
            futures_util::future::try_join_all(open).await.map_err(error::log)?;
        }
        Ok(())
    }

    /// The log's shards, with their parents.
    async fn in_log(&self, tools: &Tools) -> Result<BTreeMap<u32, Vec<u32>>, AwsError> {
        let all = tools.log.shards(self.uid).await.map_err(error::log)?;
        Ok(all.into_iter().map(|(id, parents)| (id.shard, parents)).collect())
    }

    /// Whether there may be a difference between documents and log that is to be settled.
    fn is_astray(&self, tools: &Tools) -> bool {
        let s = self.read();
        s.body.joined != tools.restored && !matches!(s.body.work, Some(Work::Delete))
    }

    /// Sees to it that a shard is in the log, and closed there if it is so here. `there`: what the log has, to which it is
    /// added. Returns whether it had to be opened.
    async fn settle(&self, tools: &Tools, there: &mut HashSet<u32>, s: &Shard) -> Result<bool, AwsError> {
        let id = self.log_shard(s.index);
        let anew = there.insert(s.index);
        if anew {
            let parents: Vec<u32> = s.parents.into_iter().flatten().filter(|p| there.contains(p)).collect();
            tools.log.open_shard(id, &parents).await.map_err(error::log)?;
        }
        if s.closed.is_some() && !tools.log.life(id).await.map_err(error::log)?.closed {
            tools.log.close_shard(id).await.map_err(error::log)?;
        }
        Ok(anew)
    }

    /// Opens and closes in the log what the documents have: it may have lost that, if the journal is not whole.
    async fn reopen(&self, tools: &Tools) -> Result<(), AwsError> {
        if !self.is_astray(tools) {
            return Ok(());
        }
        let mut there: HashSet<u32> = self.in_log(tools).await?.into_keys().collect();
        // Parents come before their children.
        let shards = self.read().map.all().to_vec();
        for s in &shards {
            if self.settle(tools, &mut there, s).await? {
                let (stream, shard) = (&self.name, s.index);
                tracing::warn!(stream, shard, "the log had lost a shard: it is opened anew");
            }
        }
        Ok(())
    }

    /// Takes up what the log did after these documents were written: see [`crate::rejoin`].
    async fn rejoin(&self, tools: &Tools) -> Result<(), AwsError> {
        if !self.is_astray(tools) {
            return Ok(());
        }
        let there = self.in_log(tools).await?;
        let (next, open): (u32, Vec<u32>) = {
            let s = self.read();
            (s.map.next(), s.map.open().map(|s| s.index).collect())
        };
        let (mut strays, mut ended) = (Vec::new(), Vec::new());
        for n in open {
            if tools.log.life(self.log_shard(n)).await.map_err(error::log)?.closed {
                ended.push(n);
            }
        }
        for (index, parents) in there.range(next..) {
            let life = tools.log.life(self.log_shard(*index)).await.map_err(error::log)?;
            let (parents, opened, closed) = (parents.clone(), life.opened, life.closed);
            strays.push(Stray { index: *index, parents, opened, closed });
        }
        let shards = rejoin(&self.read().map, &strays, &ended, tools.world.clock.now());
        if !shards.is_empty() {
            tracing::warn!(
                stream = self.name,
                shards = strays.len(),
                "shards of a data stream were changed since its documents were written: what was opened is taken up, and \
                 the ranges of hash keys are again those of the documents"
            );
            let mut there: HashSet<u32> = there.into_keys().collect();
            for s in &shards {
                self.settle(tools, &mut there, s).await?;
            }
        }
        self.change_in_turn(tools, &shards, &[], |b, _| {
            b.joined = tools.restored;
            Ok(())
        })
        .await
    }

    /// The records first: then nothing says that there were any.
    async fn destroy(&self, tools: &Tools) -> Result<(), AwsError> {
        match tools.log.delete_stream(self.uid).await {
            Ok(()) | Err(LogError::NoShard(_)) => {}
            Err(e) => return Err(error::log(e)),
        }
        let (version, chunks) = {
            let s = self.read();
            (s.version, s.chunks.clone())
        };
        let mut changes = vec![Change::Delete { kind: KIND.into(), id: self.name.clone(), expect: version }];
        for (n, expect) in chunks.into_iter().enumerate().filter(|(_, v)| *v > 0) {
            changes.push(Change::Delete { kind: SHARDS.into(), id: format!("{}/{n:08}", self.uid), expect });
        }
        tools.catalog.commit(changes).await.map_err(error::catalog)?;
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    /// Forgets closed shards of which no record is to be had any more.
    pub async fn forget(&self, tools: &Tools, gone: &[u32]) -> Result<(), AwsError> {
        let _turn = self.turn.lock().await;
        self.change_in_turn(tools, &[], gone, |_, _| Ok(())).await?;
        self.leftovers.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes what is forgotten here out of the log, too, once its retention has removed the records. Tried again with the
    /// next call until all of it is gone.
    pub async fn clear_log(&self, tools: &Tools) -> Result<(), AwsError> {
        if !self.leftovers.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let clear = async {
            // Shards are opened in the log before the map has them, but with numbers that it has not given yet.
            let (kept, next): (HashSet<u32>, u32) = {
                let s = self.read();
                (s.map.all().iter().map(|s| s.index).collect(), s.map.next())
            };
            let there = tools.log.shards(self.uid).await?.into_iter().map(|(id, _)| id.shard);
            let old: Vec<u32> = there.filter(|n| *n < next && !kept.contains(n)).collect();
            if old.is_empty() {
                return Ok(true);
            }
            Ok(tools.log.forget_shards(self.uid, &old).await?.is_empty())
        };
        let done = match clear.await {
            // Deleted meanwhile.
            Err(LogError::NoShard(_)) => Ok(true),
            done => done,
        };
        if !matches!(done, Ok(true)) {
            self.leftovers.store(true, Ordering::Release);
        }
        done.map(drop).map_err(error::log)
    }
}

/// What happened in the last 24 hours.
pub(crate) fn lately(times: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
    times.iter().copied().filter(|t| now.since(*t) < Duration::from_secs(24 * 3600)).collect()
}
