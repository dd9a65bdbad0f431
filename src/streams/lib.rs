//! Floor 4: data streams: the API of Kinesis Data Streams over the shard log.
//!
//! A stream is a stream of the log and a document of the catalog ([`body`]); its shards are the log's, and the documents
//! know their ranges of hash keys and their lineage ([`map`]). A record is a record of the log ([`record`]): where it lands
//! is decided here ([`hashing`]), its number is computed from its position ([`sequence`]) and stored nowhere.
//!
//! **Changes** (creation, splits and merges, keys, deletion) are written down before they are begun, done in the log step by
//! step, and then written down as done; each step may be done twice. So a crash anywhere leaves something that the next
//! start goes on with. While a shard is replaced by its children, what is put to it waits and is placed anew.
//!
//! **What it promises.** A record is answered once it is durable; within a shard numbers rise in the order of reading, and
//! those of children are above those of their parents. Iterators and page tokens are sealed and kept by nobody. A consumer
//! that does not read holds up no other and no memory.

mod account;
mod api;
pub mod body;
#[cfg(test)]
mod checks;
mod consumers;
mod control;
mod error;
mod fanout;
mod get;
pub mod hashing;
mod input;
mod keys;
pub mod map;
mod meter;
mod page;
pub mod plan;
mod policies;
mod put;
mod quota;
pub mod record;
pub mod rejoin;
pub mod sequence;
mod service;
mod settings;
mod shards;
mod stream;
mod tags;
mod taken;
mod token;
mod upkeep;

pub use access::stream_actions as actions;
pub use api::service;
pub use meter::{ConsumerTally, Tally};
pub use quota::{Exact, Quotas, Rate, Ration, Unlimited};
pub use service::{Config, DataStreams, Parts};
