//! Floor 5: the web console's back end: its pages, embedded at compile time, its sign-in, and the few JSON endpoints
//! that put together what several services know (cameras, events, storage).
//!
//! Pages carry a strict content security policy; a change made with the cookie needs a header that other sites cannot
//! send. `docs/api.md` is the contract; the command line is another client of it.

mod assets;
mod cameras;
mod events;
mod session;
mod storage;

use std::{net::SocketAddr, sync::Arc};

use access::Gate;
use axum::Router;
use bytes::Bytes;
pub use storage::{Limits, Storage, StorageView};
use tokio::sync::watch;
use world::{Home, World};

/// Makes a picture of a key frame that is not stored (yet); the binary wires it to `frames`.
#[async_trait::async_trait]
pub trait ProbeStills: Send + Sync + 'static {
    /// A `data:` URL, or nothing if it cannot be decoded.
    async fn data_url(&self, track: &media::Track, data: Bytes) -> Option<String>;
}

/// What the console needs.
#[derive(Clone)]
pub struct Console {
    /// Clock and the like.
    pub world: World,
    /// The gate.
    pub gate: Gate,
    /// Account and region.
    pub home: Home,
    /// The cameras.
    pub cameras: Arc<capture::cameras::Cameras>,
    /// The streams.
    pub video: Arc<video::Video>,
    /// How full the disk is.
    pub storage: Arc<dyn StorageView>,
    /// Pictures for probes.
    pub stills: Arc<dyn ProbeStills>,
    /// Where RTSP is listened for.
    pub rtsp: Option<SocketAddr>,
    /// Host name for publish URLs; the request's own if absent.
    pub public_host: Option<String>,
    /// Whether the cookie is for HTTPS only.
    pub secure: bool,
    /// The server's version, shown in a corner.
    pub version: &'static str,
    /// Turns true when the server drains.
    pub stop: watch::Receiver<bool>,
}

/// Pages at every path that is not claimed by others (as a fallback), `/login`, and its part of `/v1`.
pub fn router(console: Console) -> Router {
    session::router(console.clone())
        .merge(cameras::router(console.clone()))
        .merge(events::router(console.clone()))
        .merge(storage::router(console))
        .fallback(assets::serve)
}
