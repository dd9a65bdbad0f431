//! Low-Latency HLS (draft-pantos-hls-rfc8216bis): parts of the fragment that is being made, from memory.
//!
//! [`chain`] makes parts of the samples as they are taken, without I/O; [`ask`] reads what a player asks for; [`serve`]
//! waits until it is there; [`text`] writes it. Parts are no records: nothing of them outlives the process, and what is
//! durable is the fragment. So nothing is announced that a number could be given to twice: a session's first fragment has
//! no parts (by its second, the stream's numbers are known), a fragment's parts are listed once the fragment before it is
//! durable, and a part's address has the moment in it at which this chain of parts began.
//!
//! Nothing is kept for streams that nobody plays with low latency.

pub(crate) mod ask;
pub(crate) mod chain;
mod feed;
pub(crate) mod serve;
mod text;

pub(crate) use feed::{Low, Taken};
