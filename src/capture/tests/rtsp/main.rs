//! Through clients and servers that we did not write: FFmpeg and GStreamer publish, a GStreamer server is pulled from.

#![allow(clippy::unwrap_used, reason = "tests")]

mod publish;
mod receive;
mod sick;
mod support;
