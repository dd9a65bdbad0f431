//! Floor 2: containers and codecs, without I/O: the neutral fragment, parameter sets, fMP4, MP4 and Matroska files.
//!
//! What is stored is neutral: samples in decode order and their bytes as they came. Every output is made around the
//! same payloads, without a transcode, and bit-exact (parameter sets by effect, delimiters and filler aside).
//!
//! **Time.** Sample times are in ticks of their track's timescale *since the Unix epoch by the producer's clock*
//! (an `i64`; 90 kHz ticks of today are about 1.6 × 10¹⁴). So any two fragments of a stream stand on one time line
//! and an output needs no state of the session that made them.
//!
//! **No input is trusted.** Nothing here panics, hangs, or asks for memory that is not in proportion to its input.
//!
//! Where to look: [`nals`] and [`to_length4`] for framing; [`h264`], [`h265`], [`vp8`], [`vp9`], [`av1`],
//! [`aac`], [`opus`] for what a configuration says and how to make one; [`codec_string`] and its neighbours to ask that of any [`Track`];
//! [`DtsFiller`] for decode times; [`table`] for the stored sample table; [`fmp4`] and [`ts`] for what players get. Files:
//! [`mp4file`] and [`mkv::Writer`] for export, [`mp4read`] and [`mkv::Reader`] for import; `examples/containers` uses
//! all four, and holds them against FFmpeg.

pub mod aac;
pub mod av1;
mod bits;
mod boxes;
mod codec;
mod date;
mod dts;
mod error;
pub mod fmp4;
pub mod h264;
pub mod h265;
#[doc(hidden)]
pub mod hostile;
pub mod mkv;
pub mod mp4file;
pub mod mp4read;
mod nal;
pub mod opus;
pub mod table;
mod timeline;
mod trak;
pub mod ts;
mod types;
pub mod vp8;
pub mod vp9;
mod vui;

pub use codec::{
    codec_name, codec_string, frame_rate, g711_track, payload_duration, random_access, refined, reorder_depth,
};
pub use dts::{DtsFiller, Stamp};
pub use error::MediaError;
pub use nal::{Nals, join_length4, nals, salvage_length4, to_length4};
pub use timeline::Gaps;
pub use types::*;
pub use vui::{Colour, Timing};
