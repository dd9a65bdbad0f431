//! Ordinary MP4 files (ISO/IEC 14496-12) of fragments: what `export` and clips give.
//!
//! Two ways, from the same tables:
//!
//! - **`moov` first** ([`Plan`], then [`Head`]): plays while it is downloaded, and its length is known before the first
//!   byte. Every fragment's table is seen twice: first to plan, then, payload in hand, to write. Payloads need not be
//!   at hand while planning, unless they are framed as Annex B.
//! - **`moov` last** ([`Writer`]): one pass, nothing known before. Every fragment is an `mdat` of its own.
//!
//! **Memory.** While planning, at most 24 bytes a sample, and 16 for each second of a track; a steady camera's pictures
//! take 12 and its sound 4. [`Head::bytes`] is about as much again.
//!
//! **Time.** The first presented sample is at 0, and tracks keep their distance: a track that starts later than the
//! first gets an empty edit, and what must be decoded before the start but is not shown (leading pictures of an open
//! GOP, which have lost their references; an Opus decoder's pre-skip) is cut off by an edit, not thrown away. A pause
//! between fragments makes the sample before it longer, or is left out: [`Gaps`]. Time that goes back is moved forward
//! to where the file ended, and a pause of more than 2³¹ ticks (6.6 hours at 90 kHz) is left out in any case. When it
//! was recorded stands in `mvhd` (whole seconds) and, to the millisecond, in `udta/©day` (RFC 3339).
//!
//! **Payloads** are passed through as they are: NAL units preceded by lengths of 1 or 2 bytes are announced as such,
//! not rewritten. What is framed otherwise, or broken, is rewritten if the payload was given while planning.
//!
//! **Configurations** that change become further sample descriptions of the same track; and since many players look only
//! at the first, key frames bring their parameter sets along from the first change on. So does a change of a track's
//! timescale, whose times are then told in the first one's. A track whose *codec* changes goes on as another track.
//! Tracks that MP4 has no name for here are left out and listed ([`LeftOut`](crate::LeftOut)). G.711 is `ulaw` and `alaw`, a sample for
//! each packet.

mod emit;
mod layout;
mod moov;
mod plan;
mod track;
mod writer;

pub use emit::Part;
pub use plan::{Head, MAX_SAMPLES, Plan};
pub use writer::Writer;

#[cfg(test)]
mod tests;
