//! Floor 2: the shard log. Every durable thing that happens is a record in a shard of it.
//!
//! [`Log`] is the trait that conformance holds engines to; [`Log`]'s **must** lines are in its documentation.

mod api;

pub use api::*;
