//! HLS (RFC 8216): sessions, playlists, segments.
//!
//! Everything is a function of the stored index entries and the session's token: a restarted server, or another one,
//! gives the same playlist. Media sequence numbers are a track's stored ordinals, discontinuity sequence numbers the
//! stored counts.

pub(crate) mod low;
pub mod multivariant;
pub mod playlist;
mod segment;
mod serve;
pub mod token;

pub(crate) use segment::Segment;
pub(crate) use serve::{Source, media_playlist, multivariant_playlist, plan_target, renditions, with_init};
