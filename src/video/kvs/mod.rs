//! The APIs of Kinesis Video Streams over the streams that there are: a stream made here is one of `/v1`, a camera's stream
//! is one here. `docs/kvs.md` says what is there, and what differs.
//!
//! What KVS knows of a stream and nobody else does ([`settings`]) lies in the stream's document. Versions are those of the
//! document, made unreadable: whatever changes a stream changes its version.

mod ack;
mod api;
mod channels;
mod control;
mod edge;
mod error;
mod find;
mod get;
pub mod hostile;
mod input;
mod number;
mod out;
mod play;
mod producer;
mod put;
pub(crate) mod rates;
pub mod settings;
mod tags;

use std::sync::Arc;

use tokio::sync::watch;

pub use api::service;
pub use channels::Channel;
pub use play::router;

use crate::Video;

/// What the APIs are set to.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether AWS's limits hold; what the model bounds holds always.
    pub limits: bool,
    /// Where clients reach the server, such as `https://video.example.org`; none: as they called it.
    pub endpoint: Option<String>,
    /// Whether the server speaks TLS.
    pub secure: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { limits: true, endpoint: None, secure: false }
    }
}

/// The APIs. Cloning is cheap.
#[derive(Clone)]
pub struct Kvs {
    pub(crate) video: Arc<Video>,
    pub(crate) config: Arc<Config>,
    stopping: watch::Sender<bool>,
    memory: Arc<play::Memory>,
}

impl Kvs {
    /// Over the streams of `video`.
    pub fn new(video: Arc<Video>, config: Config) -> Kvs {
        Kvs { video, config: Arc::new(config), stopping: watch::Sender::new(false), memory: Arc::default() }
    }

    /// Ends what is under way, as the server stops.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }
}
