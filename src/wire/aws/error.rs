use access::{Denied, SKEW, SignatureFault};
use jiff::tz::TimeZone;
use world::Timestamp;

/// What went wrong, in any of AWS's protocols.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AwsError {
    /// HTTP status.
    pub status: u16,
    /// The error's name, such as `ResourceNotFoundException`.
    pub code: &'static str,
    /// A sentence for people; empty: none is sent.
    pub message: String,
}

impl AwsError {
    /// An error of the service's model: status 400.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::with_status(400, code, message)
    }
    /// Any status.
    pub fn with_status(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        AwsError { status, code, message: message.into() }
    }
    /// `ValidationException`: the input breaks a rule that its model does not tell.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }
    /// `InternalFailure`, 500: we failed. Clients try again.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::with_status(500, "InternalFailure", message)
    }
    /// `ServiceUnavailable`, 503: not now. Clients try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::with_status(503, "ServiceUnavailable", message)
    }
    /// `SerializationException`: the body is not what the protocol and the operation's shape want.
    pub fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }
    pub(crate) fn incomplete(message: impl Into<String>) -> Self {
        Self::new("IncompleteSignatureException", message)
    }
    pub(crate) fn signature(message: impl Into<String>) -> Self {
        Self::new("InvalidSignatureException", message)
    }
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::with_status(
            413,
            "RequestEntityTooLargeException",
            format!("The request is larger than {limit} bytes."),
        )
    }
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

/// `20130524T000000Z`
pub(crate) fn basic(t: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(t.micros())
        .unwrap_or_default()
        .to_zoned(TimeZone::UTC)
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string()
}

impl From<Denied> for AwsError {
    /// In AWS's words.
    fn from(d: Denied) -> Self {
        let minutes = SKEW.as_secs() / 60;
        match &d {
            Denied::Signature(SignatureFault::TooOld { until, now, signed }) if *until == *signed + SKEW => {
                Self::signature(format!(
                    "Signature expired: {} is now earlier than {} ({} - {minutes} min.)",
                    basic(*signed),
                    basic(*now - SKEW),
                    basic(*now)
                ))
            }
            Denied::Signature(SignatureFault::TooOld { until, now, .. }) => Self::signature(format!(
                "Signature expired: {} is now earlier than {}",
                basic(*until),
                basic(*now)
            )),
            Denied::Signature(SignatureFault::TooNew { signed, now }) => Self::signature(format!(
                "Signature not yet current: {} is still later than {} ({} + {minutes} min.)",
                basic(*signed),
                basic(*now + SKEW),
                basic(*now)
            )),
            Denied::Signature(SignatureFault::Mismatch) => Self::signature(MISMATCH),
            Denied::Signature(_) | Denied::NotAuthenticated(_) => Self::new(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            Denied::Expired => {
                Self::new("ExpiredTokenException", "The security token included in the request is expired")
            }
            Denied::NotPermitted { action, resource } => Self::new(
                "AccessDeniedException",
                format!("User is not authorized to perform: {action} on resource: {resource}"),
            ),
            Denied::TooManyAttempts { .. } => Self::new("ThrottlingException", d.to_string()),
            _ => Self::unavailable(d.to_string()),
        }
    }
}
