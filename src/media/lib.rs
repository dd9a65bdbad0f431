//! Floor 2: containers and codecs, without I/O: the neutral fragment, parameter sets, fMP4.
//!
//! What is stored is neutral: samples in decode order and their bytes as they came. Every output is made around the
//! same payloads, without a transcode, and bit-exact (parameter sets by effect, delimiters and filler aside).
//!
//! **Time.** Sample times are in ticks of their track's timescale *since the Unix epoch by the producer's clock*
//! (an `i64`; 90 kHz ticks of today are about 1.6 × 10¹⁴). So any two fragments of a stream stand on one time line
//! and an output needs no state of the session that made them.

mod types;

pub use types::*;
