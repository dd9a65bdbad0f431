//! Floor 1: authenticated encryption and keys, without I/O.
//!
//! Three things are sealed here: *blocks* of the log (chunked, so that a range opens alone), *secrets* (small values
//! in the catalog: data keys, camera passwords), and *tokens* (what clients hold: playback and console sessions).
//! Everything is AES-256-GCM by `ring`. `docs/formats/sealing.md` is this room's page for readers of the disk.
//!
//! **No nonce repeats under a key.** Every start of a writer makes 32 fresh random bytes ([`Salt`]) and derives a
//! sub-key of its own from each key it uses by HKDF-SHA256; under that sub-key it only counts. A restored snapshot or
//! a second process therefore never meets an old nonce again: it has another key. Secrets and tokens carry a fresh
//! salt each.
//!
//! Key material is wiped when dropped and has no `Debug` that shows it.

mod block;
mod key;
mod named;
mod secret;

pub use block::{Block, BlockKey, CHUNK, TAG, sealed_len};
pub use key::{DataKey, KeyProvider, LocalKey, LocalKeys, Salt, Wrapped};
pub use named::{KeyFault, is_key_name};
pub use secret::{open_secret, open_token, seal_secret, seal_token};

/// Why something could not be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Wrong key, wrong place, or changed bytes: these cannot be told apart.
    #[error("cannot be opened: it was changed, moved, or sealed under another key")]
    Broken,
    /// Too short or of an unknown version to be what it should be.
    #[error("is not a sealed value: {0}")]
    Malformed(&'static str),
    /// Wrapped by another provider key.
    #[error("is wrapped under master key {wanted}, but the master key here is {have}")]
    WrongMasterKey {
        /// Fingerprint of the key that wrapped it.
        wanted: String,
        /// Fingerprint of the key at hand.
        have: String,
    },
}
