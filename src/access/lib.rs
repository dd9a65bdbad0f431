//! Floor 2: who may do what: one gate, one [`Permit`].
//!
//! Every request, whatever its protocol, brings [`Credentials`] to the [`Gate`] and leaves with a [`Permit`] for one
//! action on one resource, or with words about why not ([`Denied`]). Operations take the permit by value, and only the
//! gate makes one, so that none can be reached past it.
//!
//! Today's principals are the root key's holder, who may do everything in the account; whoever holds a publish token,
//! who may send media to one stream; whoever holds a viewing token, who may watch one; and the server itself. Users,
//! roles and policies come behind the same gate.
//!
//! Root may show itself by its secret, by a session, or by a signature over each request as AWS's clients make them.
//!
//! The room also keeps the catalog's key: it seals what clients hold (sessions, playback tokens) and what services
//! store (camera passwords). `docs/formats/catalog.md` says what lies where.
//!
//! What it promises: secrets are compared in constant time and never shown, logged or stored in the clear; wrong
//! guesses are slowed by source in bounded memory; a signed-out session is worth nothing; a token of one kind, stream
//! or purpose passes for no other.

mod action;
mod audit;
#[cfg(test)]
mod checks;
mod gate;
mod keyring;
mod permit;
mod policy;
mod publish;
mod root;
mod session;
mod signature;
mod throttle;

pub use action::{Action, actions};
pub mod stream_actions;
pub use audit::{AuditSink, Decision};
pub use gate::{AccessError, Gate};
pub use permit::{Credentials, Denied, Known, Permit, Principal};
pub use root::RootKey;
pub use session::ConsoleSession;
pub use signature::{SKEW, SignatureFault, SignedRequest, hex, sha256, sha256_hex, sign};
