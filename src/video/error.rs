use catalog::CatalogError;
use log::LogError;

use crate::builder::BuildError;

/// Why something about video did not work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VideoError {
    /// No such stream.
    #[error("there is no video stream {0:?}")]
    NoStream(String),
    /// A stream of this name exists.
    #[error("there is a video stream {0:?} already")]
    Exists(String),
    /// The name cannot be one.
    #[error("{0:?} cannot be a name: 1 to 256 of a-z A-Z 0-9 _ . -")]
    BadName(String),
    /// The permit is for something else.
    #[error("the permit is for {action} on {resource}, not for this on video stream {stream:?}")]
    NotPermitted {
        /// What it was given for.
        action: &'static str,
        /// On what.
        resource: String,
        /// What it was used on.
        stream: String,
    },
    /// Another session publishes to the stream by now.
    #[error("another session publishes to video stream {0:?} now")]
    Superseded(String),
    /// The stream was deleted meanwhile.
    #[error("video stream {0:?} was deleted")]
    Deleted(String),
    /// A unit or a declaration cannot be stored.
    #[error("video stream {0:?}: {1}")]
    Build(String, #[source] BuildError),
    /// The log did not do it.
    #[error("video stream {0:?}: {1}")]
    Log(String, #[source] LogError),
    /// The catalog did not do it.
    #[error("video stream {0:?}: {1}")]
    Catalog(String, String),
    /// The request makes no sense.
    #[error("{0}")]
    Bad(String),
    /// There is nothing in the range, or not yet.
    #[error("{0}")]
    NoMedia(String),
    /// It was there, and retention has removed it.
    #[error("{0}")]
    Gone(String),
    /// A playback session is over.
    #[error("this playback session has expired: ask for a new one")]
    Expired,
    /// A playback token that was not made here, or was changed.
    #[error("this playback token is not valid")]
    BadToken,
    /// Pictures cannot be decoded.
    #[error("the picture cannot be decoded: {0}")]
    Picture(String),
    /// Too much at once.
    #[error("{0}")]
    Busy(String),
    /// A bug, or damage.
    #[error("video stream {0:?}: {1}")]
    Damaged(String, String),
}

impl VideoError {
    pub(crate) fn log(name: &str) -> impl Fn(LogError) -> VideoError + '_ {
        move |e| VideoError::Log(name.into(), e)
    }
    pub(crate) fn catalog(name: &str) -> impl Fn(CatalogError) -> VideoError + '_ {
        move |e| VideoError::Catalog(name.into(), e.to_string())
    }
    /// Whether a source should try again by itself.
    pub fn retry(&self) -> bool {
        match self {
            VideoError::Log(_, e) => matches!(
                e,
                LogError::Refused(_)
                    | LogError::Unknown(_)
                    | LogError::Io(_)
                    | LogError::Down
                    | LogError::Key(..)
            ),
            VideoError::Catalog(..) | VideoError::Busy(_) => true,
            _ => false,
        }
    }
}
