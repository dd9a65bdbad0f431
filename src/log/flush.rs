//! Moving what is in the journal into closed segments.

/// A flush that is on disk and not in the catalog yet.
pub(crate) struct Prepared {}
