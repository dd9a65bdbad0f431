//! Floor 3: protocols on the wire: how a request carries credentials, how an answer says what went wrong.
//!
//! [`v1`] is the console's and the command line's JSON (`docs/api.md`); [`aws`] has AWS's protocols (`docs/aws.md`;
//! Query is still to come). No operation lives in this room.

pub mod aws;
pub mod intake;
pub mod time;
pub mod v1;
