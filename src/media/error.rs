/// Why bytes are not what they should be. Every parser of this room returns it; none panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The bytes end before the structure does.
    #[error("{what} ends too early")]
    Truncated {
        /// The structure that was being read.
        what: &'static str,
    },
    /// A value that the specification does not allow, or a size beyond our bounds.
    #[error("{what}: {why}")]
    Invalid {
        /// The structure that was being read or written.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Allowed, but nothing here can do it.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// Why it cannot be had.
        why: &'static str,
    },
}

pub(crate) fn truncated<T>(what: &'static str) -> Result<T, MediaError> {
    Err(MediaError::Truncated { what })
}

pub(crate) fn invalid<T>(what: &'static str, why: &'static str) -> Result<T, MediaError> {
    Err(MediaError::Invalid { what, why })
}
