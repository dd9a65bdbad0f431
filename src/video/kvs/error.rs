//! What goes wrong, in AWS's words.

use wire::aws::AwsError;

use crate::VideoError;

/// The error for what violates the model, and for all else that makes no sense.
pub const INVALID: &str = "InvalidArgumentException";

/// 400 `InvalidArgumentException`.
pub fn argument(message: impl Into<String>) -> AwsError {
    AwsError::new(INVALID, message)
}
/// 404 `ResourceNotFoundException`.
pub fn not_found() -> AwsError {
    AwsError::with_status(
        404,
        "ResourceNotFoundException",
        "The requested stream is not found or not active.",
    )
}
/// 400 `VersionMismatchException`.
pub fn version() -> AwsError {
    AwsError::new(
        "VersionMismatchException",
        "The stream version that you specified is not the latest version. To get the latest version, use the DescribeStream API.",
    )
}
/// 400 `ResourceInUseException`.
pub fn in_use(message: impl Into<String>) -> AwsError {
    AwsError::new("ResourceInUseException", message)
}
/// 400 `NoDataRetentionException`.
pub fn no_retention() -> AwsError {
    AwsError::new(
        "NoDataRetentionException",
        "The stream data retention in hours is equal to zero: change it with UpdateDataRetention.",
    )
}
/// 400 `TagsPerResourceExceededLimitException`.
pub fn too_many_tags() -> AwsError {
    AwsError::new(
        "TagsPerResourceExceededLimitException",
        "You have exceeded the limit of tags that you can associate with the resource. A resource can have up to 50 tags.",
    )
}

impl From<VideoError> for AwsError {
    fn from(e: VideoError) -> AwsError {
        let m = e.to_string();
        match &e {
            VideoError::NoStream(_) | VideoError::Deleted(_) => not_found(),
            VideoError::NoMedia(_) | VideoError::Gone(_) => {
                AwsError::with_status(404, "ResourceNotFoundException", m)
            }
            VideoError::Exists(name) => in_use(format!("The stream {name} already exists.")),
            VideoError::BadName(_) | VideoError::Bad(_) | VideoError::Build(..) => argument(m),
            VideoError::NotPermitted { .. } | VideoError::BadToken | VideoError::Expired => {
                AwsError::with_status(401, "NotAuthorizedException", m)
            }
            VideoError::Busy(_) | VideoError::Superseded(_) => {
                AwsError::new("ClientLimitExceededException", m)
            }
            VideoError::Log(..) | VideoError::Catalog(..) if e.retry() => AwsError::unavailable(m),
            _ => {
                tracing::error!(error = %m, "a request failed");
                AwsError::internal("An internal error has occurred.")
            }
        }
    }
}
