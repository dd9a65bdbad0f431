//! Matroska (RFC 9559) over EBML (RFC 8794): files for `export`, and a reader for `import` and for what producers put.
//!
//! Both are streams: [`Writer`] is given fragments and gives slices to be written one after another; [`Reader`] is given
//! bytes as they come and gives events. Neither holds more than one fragment, or one element, at a time.
//!
//! **Writing.** One Segment; each fragment becomes a Cluster of known size (several where it is longer than 32 s) of
//! SimpleBlocks in the order of decoding; Cues at the end. What is only known at the end (the Segment's size, its
//! duration, where the Cues are) is given as [`Patch`]es for who can go back, and the file is valid without. Times are
//! whole milliseconds from the first presented sample, whose date is `DateUTC`. NAL units have four-byte lengths.
//! Time between fragments is treated as in [`mp4file`](crate::mp4file). Matroska cannot change a configuration:
//! parameter sets that change are put before the pictures that need them, and other tracks whose configuration changes
//! to what was not [declared](Writer::declare) are left out from there on.
//!
//! **Reading.** Segments and Clusters of unknown size, several documents one after another (as GetMedia answers), all
//! lacings, Void and CRC-32 anywhere (checksums are not checked), elements that nobody knows. Sizes are held against
//! those of the elements around them and against [`Limits`]. Every event tells its offset, and every frame where its
//! bytes lie: what is between them is what has to be kept for giving the very same bytes back. [`Splitter`] does that: it
//! cuts what a producer puts into fragments, each with its [`Skeleton`].

mod block;
mod ebml;
mod entry;
mod ids;
mod reader;
mod skeleton;
mod split;
mod writer;

pub use entry::TrackEntry;
pub use reader::{Event, Frame, Info, Limits, Reader, Tag};
pub use skeleton::{Skeleton, tags};
pub use split::{END_OF_FRAGMENT, Part, Splitter};
pub use writer::{Patch, Tail, Writer};

#[cfg(test)]
mod tests;

const WHAT: &str = "Matroska";
