//! Floor 1: object stores by URL: a folder, S3 and what speaks its protocol, Google Cloud Storage, Azure.
//!
//! [`open`] makes a [`world::Store`] of a URL and [`Options`]; [`probe`] finds out whether it does what is relied on,
//! and says in words what it does not; [`Counted`] keeps count of its use.
//!
//! What this room promises: a write that was acknowledged is durable as far as the store's own word goes (a folder is
//! synced); every error names the object and what the server said, and no secret; a call ends within a time that
//! follows from its size. It knows nothing of segments.

mod counted;
mod error;
mod folder;
mod open;
mod probe;
mod read_only;
mod remote;

pub use counted::{Counted, SECONDS, Tally};
pub use error::Answer;
pub use open::{OpenError, Options, local_path, open};
pub use probe::{ProbeError, probe};
