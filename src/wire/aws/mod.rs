//! AWS's protocols, for all services: JSON 1.0 and 1.1, CBOR 1.1, REST-JSON, event streams, and SigV4 on the way in.
//!
//! An operation is a typed function, declared once with its name, its [`access::Action`], the largest body it takes and
//! its [`Input`], which says what the model allows ([`Violations`]) and which resource the gate is asked about:
//!
//! ```ignore
//! let kinesis = Service::new("kinesis", "Kinesis_20131202")
//!     .operation("ListStreams", LIST_STREAMS, 1 << 20, move |call, permit, input: ListStreams| async move { … });
//! let router = Services::new(world, gate, home).with(kinesis).in_front_of(router);
//! ```
//!
//! The operations of a REST-JSON service ([`Service::rest`]) have a method and path besides, and may take their body or give
//! their answer as a stream ([`Service::upload`], [`Service::download`]).
//!
//! The order in which a request is looked at: target and content type, what its head says of its signature, body
//! (bounded, in bounded time), signature, form of the body, constraints of the model, resource and permission, and then
//! the operation. Whatever goes wrong is answered in the protocol of the request; `docs/aws.md` has the table.
//!
//! What it promises: nothing that is sent makes it panic or use memory without bound; no operation runs unless the gate
//! let it pass; bodies are hashed as they are, whatever a header says of them.

pub(crate) mod body;
mod error;
pub mod event;
mod few;
pub mod hostile;
mod input;
mod protocol;
mod rest;
mod room;
mod service;
mod services;
mod shape;
mod signature;
mod spare;
mod value;
mod violations;
pub mod written;

#[cfg(test)]
mod tests;

pub use crate::__aws_input as input;
pub use error::AwsError;
pub use event::Event;
pub use few::{Few, KEPT, few};
pub use protocol::Protocol;
pub use rest::Bind;
pub use service::{Call, Input, Service};
pub use services::Services;
pub use value::{Blob, Empty, Time};
pub use violations::{Member, Pattern, Shown, Violations};
