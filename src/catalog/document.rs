/// A versioned document of some service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is, such as `video-stream`; each service defines its own.
    pub kind: String,
    /// Unique within the kind.
    pub id: String,
    /// 1 when created, one more with each change.
    pub version: u64,
    /// The service's own encoding.
    pub body: Vec<u8>,
    /// Secondary keys, (name, value): what [`Filter`] finds it by. In any order, which is kept; a name may have several.
    pub keys: Vec<(String, String)>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates (`expect == 0`: it must not exist) or replaces (`expect`: the version it must have). The new version is
    /// `expect + 1`; the `version` of the document given is not looked at.
    Put {
        /// The document.
        doc: Document,
        /// The version it must have now.
        expect: u64,
    },
    /// Removes.
    Delete {
        /// The document's kind.
        kind: String,
        /// Its id.
        id: String,
        /// The version it must have now.
        expect: u64,
    },
}

/// Which documents [`crate::Catalog::list`] returns.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: String,
    /// With this secondary key.
    pub key: Option<(String, String)>,
    /// Whose ids begin so.
    pub prefix: Option<String>,
    /// With ids after this one (exclusive).
    pub after: Option<String>,
    /// At most so many; `None` for all.
    pub limit: Option<usize>,
}

impl Filter {
    /// All of a kind.
    pub fn kind(kind: impl Into<String>) -> Filter {
        Filter { kind: kind.into(), ..Filter::default() }
    }
}
