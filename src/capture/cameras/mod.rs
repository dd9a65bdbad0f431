//! Cameras: what is to be received from where. A camera is a document in the catalog and, while it is enabled, a pull
//! that runs or a place at which a push may arrive. It publishes to the stream of its own name. A camera that has the same
//! view in fewer pixels has a second pull, its sub, which publishes to `NAME.sub` and has a state of its own.
//!
//! Passwords are sealed in the document and shown to nobody. A failure of one camera stays with it.

mod document;
mod rate;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use access::{Gate, Permit, actions};
use catalog::{Catalog, CatalogError, Change, Document, Filter};
pub use document::{Camera, SUB, Source, SourceError, sub_stream};
use tokio::sync::watch;
use world::{Home, World};

use crate::{Session, Sink, SinkError, State, Status, pull, redact};
use rate::Rates;

const KIND: &str = "camera";

/// Why a camera could not be added or changed.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// There is one of this name.
    #[error("there is a camera {0:?} already")]
    Exists(String),
    /// There is a camera of the name that a sub's stream would have, or the other way round.
    #[error("{sub:?} would be both the sub stream of camera {of:?} and a camera's own")]
    SubName {
        /// The stream.
        sub: String,
        /// Whose sub it is.
        of: String,
    },
    /// There is none.
    #[error("there is no camera {0:?}")]
    NotFound(String),
    /// The source makes no sense.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The gate's key does not open what is stored, or the gate failed.
    #[error("{0}")]
    Access(String),
}

/// What a camera is doing.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The state.
    pub status: Status,
    /// Payload bits a second over the last ten seconds.
    pub bitrate: u64,
}

/// Who is publishing by push right now; implemented by the push server.
pub trait Pushes: Send + Sync + 'static {
    /// The session on a stream, if there is one.
    fn status(&self, stream: &str) -> Option<Status>;
    /// Streams with a session.
    fn streams(&self) -> Vec<String>;
    /// Ends a stream's session, if there is one.
    fn end(&self, stream: &str);
}

impl Pushes for crate::push::Server {
    fn status(&self, stream: &str) -> Option<Status> {
        self.status(stream)
    }
    fn streams(&self) -> Vec<String> {
        self.sessions().into_iter().map(|(name, _)| name).collect()
    }
    fn end(&self, stream: &str) {
        self.end(stream);
    }
}

/// All cameras.
pub struct Cameras {
    world: World,
    catalog: Arc<dyn Catalog>,
    gate: Gate,
    home: Home,
    sink: Arc<dyn Sink>,
    pushes: Option<Arc<dyn Pushes>>,
    known: Mutex<BTreeMap<String, Camera>>,
    /// By stream.
    pulls: Mutex<HashMap<String, pull::Handle>>,
    rates: Mutex<Rates>,
    /// One change at a time: documents and pulls go together.
    change: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
}

impl Cameras {
    /// Reads the documents and starts what is enabled.
    pub async fn open(
        world: World,
        catalog: Arc<dyn Catalog>,
        gate: Gate,
        home: Home,
        sink: Arc<dyn Sink>,
        pushes: Option<Arc<dyn Pushes>>,
    ) -> Result<Arc<Cameras>, CameraError> {
        let cameras = Arc::new(Cameras {
            world,
            catalog,
            gate,
            home,
            sink,
            pushes,
            known: Mutex::default(),
            pulls: Mutex::default(),
            rates: Mutex::default(),
            change: tokio::sync::Mutex::new(()),
            changed: watch::Sender::new(0),
        });
        for doc in cameras.catalog.list(Filter::kind(KIND)).await? {
            // One unreadable camera must not keep the others from recording.
            match Camera::decode(&doc, &cameras.gate) {
                Ok(c) => {
                    cameras.start(&c, true, true);
                    cameras.take(c);
                }
                Err(e) => {
                    tracing::error!(camera = doc.id, error = %e, "a camera's document cannot be read; it is left out")
                }
            }
        }
        Ok(cameras)
    }

    /// Samples the bit rates; runs until the last other handle is gone.
    pub async fn measure(self: Arc<Self>) {
        let weak = Arc::downgrade(&self);
        let clock = self.world.clock.clone();
        drop(self);
        loop {
            clock.sleep(Duration::from_secs(1)).await;
            let Some(me) = weak.upgrade() else { return };
            let now = me.world.clock.monotonic();
            let bytes: Vec<_> = me.streams().into_iter().map(|n| (me.status(&n).bytes, n)).collect();
            me.rates.lock().expect("no panic while it was held").sample(now, bytes);
        }
    }

    /// Turns whenever a camera is added, changed or removed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// All names: cameras, and streams to which somebody publishes without having been added.
    pub fn names(&self) -> Vec<String> {
        let known = self.known.lock().expect("no panic while it was held");
        let mut names: Vec<_> = known.keys().cloned().collect();
        if let Some(p) = &self.pushes {
            names.extend(p.streams().into_iter().filter(|s| !is_sub(&known, s)));
        }
        names.sort();
        names.dedup();
        names
    }

    /// The streams of all cameras: their names', and those of their subs.
    pub fn streams(&self) -> Vec<String> {
        let mut all = self.names();
        let known = self.known.lock().expect("no panic while it was held");
        all.extend(known.values().filter_map(Camera::sub_stream));
        all
    }

    /// One camera's document; a stream that is pushed to without one looks like a push camera.
    pub fn get(&self, name: &str) -> Option<Camera> {
        if let Some(c) = self.known.lock().expect("no panic while it was held").get(name) {
            return Some(c.clone());
        }
        let pushed = self.pushes.as_ref().and_then(|p| p.status(name))?;
        Some(Camera {
            name: name.into(),
            source: Source::Push,
            sub: None,
            enabled: true,
            created: pushed.since,
            version: 0,
        })
    }

    /// What the source of a stream is doing: a camera's own stream, or its sub's.
    pub fn seen(&self, stream: &str) -> Seen {
        let bitrate = self.rates.lock().expect("no panic while it was held").bits_per_second(stream);
        Seen { status: self.status(stream), bitrate }
    }

    fn status(&self, stream: &str) -> Status {
        if let Some(h) = self.pulls.lock().expect("no panic while it was held").get(stream) {
            return h.status().borrow().clone();
        }
        if let Some(s) = self.pushes.as_ref().and_then(|p| p.status(stream)) {
            return s;
        }
        let known = self.known.lock().expect("no panic while it was held");
        let of = stream.strip_suffix(SUB).filter(|_| is_sub(&known, stream));
        let enabled = known.get(of.unwrap_or(stream)).is_none_or(|c| c.enabled);
        let (state, detail) = if enabled {
            (State::Waiting, "nobody publishes to it")
        } else {
            (State::Stopped, "switched off")
        };
        Status { state, detail: detail.into(), ..Status::default() }
    }

    /// Adds a camera and starts it, with its sub if it has one.
    pub async fn add(
        &self,
        permit: Permit,
        name: &str,
        source: Source,
        sub: Option<pull::Source>,
    ) -> Result<Camera, CameraError> {
        debug_assert_eq!(permit.action(), actions::CREATE_CAMERA);
        let _one = self.change.lock().await;
        source.check()?;
        {
            let known = self.known.lock().expect("no panic while it was held");
            if known.contains_key(name) {
                return Err(CameraError::Exists(name.into()));
            }
            if let Some(of) = name.strip_suffix(SUB).filter(|_| is_sub(&known, name)) {
                return Err(CameraError::SubName { sub: name.into(), of: of.into() });
            }
        }
        self.check_sub(name, sub.as_ref())?;
        let created = self.world.clock.now();
        let camera = Camera { name: name.into(), source, sub, enabled: true, created, version: 0 };
        let camera = self.store(camera).await.map_err(|e| match e {
            CameraError::Catalog(CatalogError::Conflict { .. }) => CameraError::Exists(name.into()),
            e => e,
        })?;
        self.start(&camera, true, true);
        self.take(camera.clone());
        Ok(camera)
    }

    /// Whether a sub could work and its stream's name is free.
    fn check_sub(&self, name: &str, sub: Option<&pull::Source>) -> Result<(), CameraError> {
        let Some(p) = sub else { return Ok(()) };
        document::check(p)?;
        let stream = sub_stream(name);
        let taken = self.known.lock().expect("no panic while it was held").contains_key(&stream);
        if taken || self.pushes.as_ref().is_some_and(|p| p.status(&stream).is_some()) {
            return Err(CameraError::SubName { sub: stream, of: name.into() });
        }
        Ok(())
    }

    /// Switches a camera on or off, gives it another source, or another sub, or takes that away. What is not changed goes
    /// on undisturbed.
    pub async fn update(
        &self,
        permit: Permit,
        name: &str,
        enabled: Option<bool>,
        source: Option<Source>,
        sub: Option<Option<pull::Source>>,
    ) -> Result<Camera, CameraError> {
        debug_assert_eq!(permit.action(), actions::UPDATE_CAMERA);
        let _one = self.change.lock().await;
        let mut camera = self.own(name)?;
        let main_too = source.is_some() || enabled.is_some();
        let sub_too = sub.is_some() || enabled.is_some();
        if let Some(s) = source {
            s.check()?;
            camera.source = s;
        }
        if let Some(s) = sub {
            if camera.sub.is_none() {
                self.check_sub(name, s.as_ref())?;
            } else {
                s.as_ref().map(document::check).transpose()?;
            }
            camera.sub = s;
        }
        camera.enabled = enabled.unwrap_or(camera.enabled);
        let camera = self.store(camera).await?;
        if main_too {
            self.halt(name).await;
        }
        if sub_too {
            self.halt(&sub_stream(name)).await;
        }
        self.start(&camera, main_too, sub_too);
        self.take(camera.clone());
        Ok(camera)
    }

    /// Removes a camera; its streams are left alone.
    pub async fn remove(&self, permit: Permit, name: &str) -> Result<(), CameraError> {
        debug_assert_eq!(permit.action(), actions::DELETE_CAMERA);
        let _one = self.change.lock().await;
        let camera = self.own(name)?;
        let gone = Change::Delete { kind: KIND.into(), id: name.into(), expect: camera.version };
        self.catalog.commit(vec![gone]).await?;
        self.known.lock().expect("no panic while it was held").remove(name);
        self.halt(name).await;
        if let Some(stream) = camera.sub_stream() {
            self.halt(&stream).await;
        }
        self.gate.revoke_publish_token(name).await.map_err(|e| CameraError::Access(e.to_string()))?;
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    /// A new token that may only publish to this camera's stream; the one before stops working.
    pub async fn publish_token(&self, permit: Permit, name: &str) -> Result<String, CameraError> {
        debug_assert!([actions::CREATE_CAMERA, actions::UPDATE_CAMERA].contains(&permit.action()));
        self.own(name)?;
        self.gate.publish_token(name).await.map_err(|e| CameraError::Access(e.to_string()))
    }

    /// Ends all pulls; what they took is durable when this returns.
    pub async fn shutdown(&self) {
        let _one = self.change.lock().await;
        let all: Vec<_> = self.pulls.lock().expect("no panic while it was held").drain().collect();
        futures_util::future::join_all(all.into_iter().map(|(_, h)| h.stop())).await;
    }

    fn own(&self, name: &str) -> Result<Camera, CameraError> {
        let known = self.known.lock().expect("no panic while it was held");
        known.get(name).cloned().ok_or_else(|| CameraError::NotFound(name.into()))
    }

    async fn store(&self, mut camera: Camera) -> Result<Camera, CameraError> {
        let doc: Document = camera.encode(&self.gate);
        self.catalog.commit(vec![Change::Put { doc, expect: camera.version }]).await?;
        camera.version += 1;
        Ok(camera)
    }

    /// Knows a camera from now on.
    fn take(&self, camera: Camera) {
        self.known.lock().expect("no panic while it was held").insert(camera.name.clone(), camera);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Starts a camera's pulls, if it is enabled: of its main source, its sub, or both.
    fn start(&self, camera: &Camera, main: bool, sub: bool) {
        if !camera.enabled {
            return;
        }
        if let (Source::Pull(source), true) = (&camera.source, main) {
            self.pull(camera.name.clone(), source, self.sink.clone());
        }
        if let (Some(source), true) = (&camera.sub, sub) {
            let sink = Arc::new(SubSink { to: self.sink.clone(), camera: camera.name.clone() });
            self.pull(sub_stream(&camera.name), source, sink);
        }
    }

    fn pull(&self, stream: String, source: &pull::Source, sink: Arc<dyn Sink>) {
        tracing::info!(stream, url = %redact(&source.url), "pulling");
        let (gate, arn) = (self.gate.clone(), self.home.video_stream(&stream));
        let permit = move || gate.internal(actions::PUT_MEDIA, &arn);
        let handle = pull::spawn(self.world.clone(), source.clone(), stream.clone(), Arc::new(permit), sink);
        self.pulls.lock().expect("no panic while it was held").insert(stream, handle);
    }

    async fn halt(&self, name: &str) {
        let pull = self.pulls.lock().expect("no panic while it was held").remove(name);
        if let Some(h) = pull {
            h.stop().await;
        }
        if let Some(p) = &self.pushes {
            p.end(name);
        }
    }
}

/// Whether a stream is the sub of one of these cameras.
fn is_sub(known: &BTreeMap<String, Camera>, stream: &str) -> bool {
    stream.strip_suffix(SUB).and_then(|of| known.get(of)).is_some_and(|c| c.sub.is_some())
}

/// Tells the sink whose sub it is that publishes.
struct SubSink {
    to: Arc<dyn Sink>,
    camera: String,
}

#[async_trait::async_trait]
impl Sink for SubSink {
    async fn open(&self, permit: Permit, stream: &str) -> Result<Box<dyn Session>, SinkError> {
        self.to.open_sub(permit, stream, &self.camera).await
    }
}
