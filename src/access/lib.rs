//! Floor 2: who may do what: one gate, one [`Permit`].
#![allow(missing_docs, reason = "a first outline")]

use world::Arn;

/// Proof that the gate let one action on one resource pass; taken by value by every operation.
#[derive(Debug)]
pub struct Permit {
    principal: Principal,
    action: Action,
    resource: Arn,
}

impl Permit {
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
    pub fn action(&self) -> Action {
        self.action
    }
    pub fn resource(&self) -> &Arn {
        &self.resource
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    Root,
    Publisher { stream: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action(pub &'static str);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("not authenticated: {0}")]
    NotAuthenticated(String),
    #[error("expired")]
    Expired,
    #[error("{action} on {resource} is not permitted")]
    NotPermitted { action: &'static str, resource: String },
}
