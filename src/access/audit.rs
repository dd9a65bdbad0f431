use std::net::IpAddr;

use world::{Arn, Timestamp};

use crate::{Action, Denied, Principal};

/// What the gate decided, once for each request.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// When.
    pub time: Timestamp,
    /// From where, if whoever asked said so ([`crate::Gate::at`]).
    pub source: Option<IpAddr>,
    /// With what: `access key`, `signature`, `console session`, `publish token`, `viewing token`, `anonymous`, `internal`.
    pub credentials: &'static str,
    /// By whom, if that was found out.
    pub principal: Option<&'a Principal>,
    /// What was to be done.
    pub action: Action,
    /// To what.
    pub resource: &'a Arn,
    /// Why not, if not.
    pub denied: Option<&'a Denied>,
}

/// Where decisions are written down.
pub trait AuditSink: Send + Sync + 'static {
    /// Called on the request's own task before it goes on: must not block.
    fn decided(&self, decision: &Decision<'_>);
}

pub(crate) struct NoAudit;

impl AuditSink for NoAudit {
    fn decided(&self, _: &Decision<'_>) {}
}
