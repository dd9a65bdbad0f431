use std::{fmt, time::Duration};

use world::Arn;

use crate::{Action, SignatureFault, SignedRequest};

/// Proof that the gate let one action on one resource pass; taken by value by every operation. It cannot be copied:
/// each operation passes the gate itself.
#[derive(Debug)]
pub struct Permit {
    principal: Principal,
    action: Action,
    resource: Arn,
}

impl Permit {
    pub(crate) fn new(principal: Principal, action: Action, resource: Arn) -> Permit {
        Permit { principal, action, resource }
    }
    /// Who asked.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
    /// What for.
    pub fn action(&self) -> Action {
        self.action
    }
    /// On what.
    pub fn resource(&self) -> &Arn {
        &self.resource
    }
}

/// Who is asking, found out before it is known on what: for protocols whose resource stands in a body that is only
/// worth reading then. Good for nothing but [`crate::Gate::authorize`].
#[derive(Debug)]
pub struct Known {
    pub(crate) principal: Principal,
    /// The kind of the credentials.
    pub(crate) by: &'static str,
}

/// Who somebody turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Principal {
    /// The holder of the root key, and of console sessions made with it. May do everything in the account.
    Root,
    /// The holder of a publish token: may send media to one stream.
    Publisher {
        /// The stream's name.
        stream: String,
    },
    /// The holder of a viewing token: may watch one stream.
    Viewer {
        /// The stream's name.
        stream: String,
    },
    /// The server's own tasks, such as camera pulls.
    Server,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Root => f.write_str("root"),
            Principal::Publisher { stream } => write!(f, "publisher of {stream}"),
            Principal::Viewer { stream } => write!(f, "viewer of {stream}"),
            Principal::Server => f.write_str("server"),
        }
    }
}

/// What a request brought to show who is asking. Nothing in it is believed before the gate has looked.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// Nothing.
    Anonymous,
    /// An access key id with its secret, as HTTP's and RTSP's Basic carry them (decoded by the caller).
    AccessKey {
        /// The id.
        id: &'a str,
        /// The secret.
        secret: &'a str,
    },
    /// The value of the console's cookie.
    Console(&'a str),
    /// A request signed with an access key's secret (AWS's Signature Version 4).
    Signature(&'a SignedRequest<'a>),
    /// A publish token.
    Token(&'a str),
    /// A viewing token.
    Playback(&'a str),
}

impl Credentials<'_> {
    /// Which kind, for the audit trail.
    pub fn kind(&self) -> &'static str {
        match self {
            Credentials::Anonymous => "anonymous",
            Credentials::AccessKey { .. } => "access key",
            Credentials::Console(_) => "console session",
            Credentials::Signature(_) => "signature",
            Credentials::Token(_) => "publish token",
            Credentials::Playback(_) => "viewing token",
        }
    }
}

impl fmt::Debug for Credentials<'_> {
    /// Without what is secret in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::AccessKey { id, .. } => write!(f, "access key {id:?}"),
            Credentials::Signature(r) => write!(f, "signature by {:?}", r.key_id),
            other => f.write_str(other.kind()),
        }
    }
}

/// Why the gate stayed shut, in words fit for whoever asked: they tell nothing that only a rightful caller may know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// It is not known who is asking.
    #[error("not authenticated: {0}")]
    NotAuthenticated(String),
    /// Its signature is not good.
    #[error("not authenticated: {0}")]
    Signature(#[from] SignatureFault),
    /// The token was good once.
    #[error("expired: sign in again, or ask for a new link")]
    Expired,
    /// Known, and not allowed to.
    #[error("{action} on {resource} is not permitted")]
    NotPermitted {
        /// What was to be done.
        action: &'static str,
        /// To what.
        resource: String,
    },
    /// Too many wrong secrets came from there lately; this one was not looked at.
    #[error("too many failed attempts: try again in {} s", retry_after.as_secs().max(1))]
    TooManyAttempts {
        /// When the next one will be looked at.
        retry_after: Duration,
    },
    /// The gate could not find out.
    #[error("cannot check who is asking: {0}")]
    Unavailable(String),
}

impl Denied {
    pub(crate) fn token() -> Denied {
        Denied::NotAuthenticated("the token is not one of this server, or was changed".into())
    }
}

impl From<catalog::CatalogError> for Denied {
    fn from(e: catalog::CatalogError) -> Denied {
        Denied::Unavailable(e.to_string())
    }
}
