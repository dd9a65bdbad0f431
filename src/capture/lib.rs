//! Floor 4: live media in and out: RTSP, pulled from cameras and pushed by encoders.
//!
//! This room turns what cameras and encoders send into [`media::AccessUnit`]s and hands them to a [`Sink`], which the
//! binary wires to the video streams. It never stores anything. One sick camera never touches another.
//!
//! - [`pull`]: one supervised task for each camera; `retina` speaks `rtsp://`, GStreamer `rtsps://`.
//! - [`push`]: an RTSP server to which encoders ANNOUNCE and RECORD.
//! - [`feed`]: packets that another room receives, such as WebRTC's, on the same way.
//! - [`probe`]: a look at a camera before it is added.
//!
//! Whatever brings packets, they go one way: `rtp` puts access units together, [`times`] gives them their times,
//! `intake` decides what the sink is told. These, and the protocol of `push`, do no I/O.
//!
//! **Promises.** Every access unit of which all packets arrived is handed to the sink, in order, its NAL units as they
//! came; what is missing is counted and told as a discontinuity. Nothing that a peer sends makes this room panic,
//! hang, or hold more than a bounded amount of memory. Credentials appear in no message and no log.

mod board;
pub mod cameras;
mod drift;
pub mod feed;
#[doc(hidden)]
pub mod hostile;
mod intake;
mod ntp;
mod probe;
pub mod pull;
pub mod push;
mod registry;
mod rtp;
mod sdp;
mod sink;
mod source;
pub mod times;

pub use probe::{ProbeFrame, ProbeResult, probe};
pub use pull::Trouble;
pub use sink::*;
pub use source::redact;
