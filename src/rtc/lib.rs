//! Floor 4: live video by WebRTC, below a second: WHIP in (RFC 9725), WHEP out (draft-ietf-wish-whep).
//!
//! All sessions share one UDP and one TCP port ([`Hub`]); the server is ICE-lite (RFC 8445 §2.5): it tells where it is
//! and answers. `str0m` is the protocol and does no I/O; what it needs of cryptography it gets from `crypto`. What is
//! watched comes from a [`Source`], what is published goes to a [`Publish`]: the binary wires both to other rooms.
//!
//! **Promises.** Nothing that a peer sends makes this room panic, hang, or hold more than a bounded amount of memory: so
//! many sessions, so many packets waiting for each, and who does not connect, or goes silent, is forgotten. Payloads go
//! through as they came, but for what is said in storage sessions while viewers speak, which a [`Mixers`] mixes; what a peer
//! cannot take is refused in words, before anything is sent. Slow peers lose packets of their own, never another's.

mod burst;
#[cfg(test)]
mod checks;
mod clock;
mod crypto;
mod desk;
mod early;
pub mod hostile;
mod http;
mod hub;
mod link;
mod order;
mod out;
mod pace;
mod peer;
mod play;
mod publish;
mod room;
mod sdp;
mod session;
pub mod signaling;
mod sockets;
mod source;
mod table;
mod talk;
pub mod turn;

pub use http::router;
pub use hub::{Config, Hub, Parts};
pub use source::{Blend, Feed, Follow, Mixer, Mixers, Next, Part, Publish, Source, Unit};
