//! Pulling from cameras: one supervised task for each, which connects, receives, and tries again.
//!
//! What speaks RTSP is behind [`Puller`]; what it brings, packets as they came, is received by the same code as what
//! encoders push (`intake`).

mod backoff;
mod engine;
#[cfg(feature = "gstreamer")]
mod gst;
mod retina;
mod supervise;
mod trouble;

pub use supervise::{Handle, MakePermit, spawn};
pub use trouble::{Kind, Trouble};

pub(crate) use engine::{Connected, connect};

pub use crate::source::{Engine, Source, Transport};
