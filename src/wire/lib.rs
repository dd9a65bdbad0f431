//! Floor 3: protocols on the wire: how a request carries credentials, how an answer says what went wrong.
//!
//! [`v1`] is the console's and the command line's JSON (`docs/api.md`). AWS's protocols (JSON 1.1, CBOR 1.1, REST-JSON,
//! Query, event streams, SigV4) come here with the data streams. No operation lives in this room.

pub mod time;
pub mod v1;
