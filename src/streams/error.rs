//! What goes wrong, in AWS's words. The texts are the service's own where they are known: code is written against them.

use std::fmt;

use catalog::CatalogError;
use log::LogError;
use seal::KeyFault;
use wire::aws::AwsError;
use world::Home;

use crate::{body::Status, map};

/// `ResourceNotFoundException`: the stream.
pub fn no_stream(home: &Home, name: &str) -> AwsError {
    AwsError::new(
        "ResourceNotFoundException",
        format!("Stream {name} under account {} not found.", home.account),
    )
}
/// `ResourceNotFoundException`: the shard.
pub fn no_shard(home: &Home, stream: &str, shard: &str) -> AwsError {
    AwsError::new(
        "ResourceNotFoundException",
        format!("Could not find shard {shard} in stream {stream} under account {}.", home.account),
    )
}
/// `ResourceNotFoundException`: a shard that was there, or that may come.
pub fn shard_gone(home: &Home, stream: &str, index: u32) -> AwsError {
    not_found(format!(
        "Shard {} in stream {stream} under account {} does not exist",
        map::id(index),
        home.account
    ))
}
/// `ResourceNotFoundException`: anything else.
pub fn not_found(message: impl Into<String>) -> AwsError {
    AwsError::new("ResourceNotFoundException", message)
}
/// `ResourceInUseException`.
pub fn in_use(message: impl Into<String>) -> AwsError {
    AwsError::new("ResourceInUseException", message)
}
/// `ResourceInUseException`: the stream is not at rest.
pub fn not_active(home: &Home, name: &str, status: Status) -> AwsError {
    in_use(format!(
        "Stream {name} under account {} not ACTIVE, instead in state {}",
        home.account,
        status.text()
    ))
}
/// `InvalidArgumentException`.
pub fn argument(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidArgumentException", message)
}
/// `LimitExceededException`.
pub fn limit(message: impl Into<String>) -> AwsError {
    AwsError::new("LimitExceededException", message)
}
/// `ValidationException`.
pub fn validation(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationException", message)
}
/// `ProvisionedThroughputExceededException`.
pub fn throughput(message: impl Into<String>) -> AwsError {
    AwsError::new("ProvisionedThroughputExceededException", message)
}
/// `ExpiredNextTokenException`.
pub fn expired_token(message: impl Into<String>) -> AwsError {
    AwsError::new("ExpiredNextTokenException", message)
}
/// 500 `InternalFailure`; the details go to our own log.
pub fn internal(details: impl fmt::Display) -> AwsError {
    tracing::error!(%details, "data streams: internal failure");
    AwsError::internal("The request processing has failed because of an unknown error, exception or failure.")
}
/// The catalog failed.
pub fn catalog(e: CatalogError) -> AwsError {
    internal(e)
}
/// A key that a user named may not be used.
pub fn key(fault: KeyFault) -> AwsError {
    let code = match &fault {
        KeyFault::AccessDenied(_) => "KMSAccessDeniedException",
        KeyFault::Disabled(_) => "KMSDisabledException",
        KeyFault::InvalidState(_) => "KMSInvalidStateException",
        KeyFault::NotFound(_) => "KMSNotFoundException",
        KeyFault::OptInRequired(_) => "KMSOptInRequired",
        KeyFault::Throttling(_) => "KMSThrottlingException",
        KeyFault::Unavailable(why) => return internal(why),
    };
    AwsError::new(code, fault.to_string())
}
/// The log did not do it. What may be tried again says so.
pub fn log(e: LogError) -> AwsError {
    match e {
        LogError::Refused(why) => {
            // The log itself says that it refuses, and not for each of many.
            tracing::debug!(%why, "data streams: refused");
            AwsError::internal(format!("The record was not stored: {why}."))
        }
        e => internal(e),
    }
}

/// `DryRunOperationException`: the call would have passed.
pub fn dry_run() -> AwsError {
    AwsError::new("DryRunOperationException", "Request would have succeeded, but DryRun flag is set.")
}
