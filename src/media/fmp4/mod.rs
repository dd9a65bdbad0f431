//! Fragmented MP4 (ISO/IEC 14496-12): what Media Source Extensions, HLS, FFmpeg and GStreamer play.
//!
//! An initialisation segment describes tracks; each media segment is one `moof` and one `mdat`, and stands by itself:
//! its decode times (`tfdt`, 64 bits) are the samples' own, ticks since 1970, so nothing depends on what was sent
//! before. There are no edit lists: presentation times are exactly the samples' `pts`. Payload bytes are passed
//! through as they are, and copied only where NAL units are not framed by four-byte lengths yet.

mod init;
mod read;
mod segment;

pub use init::init;
pub use read::{ReadRun, ReadSegment, read_init, read_segment};
pub use segment::{Piece, Run, head, keyframe, pieces, segment};

#[cfg(test)]
mod tests;
