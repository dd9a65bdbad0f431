//! Floor 4: live media in and out: RTSP by GStreamer (push, `rtsps` pull) and `retina`.
//!
//! This room turns what cameras and encoders send into [`media::AccessUnit`]s and hands them to a [`Sink`], which the
//! binary wires to the video streams. It never stores anything. One sick camera never touches another.

mod sink;

pub use sink::*;
