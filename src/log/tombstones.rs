//! Notes of segments that are about to be removed from the store though the catalog has nothing in their place: retention
//! left a hole. Without one, a sweep of the store takes such an object for one that the catalog has lost, and leaves it.

use std::collections::BTreeSet;

use catalog::{CatalogError, Change, Document, Filter};

use crate::{LogError, entry::SegmentId, open_segment::hex, shared::Shared};

const KIND: &str = "log-removal";

fn io(e: CatalogError) -> LogError {
    LogError::Io(e.to_string())
}

impl Shared {
    /// To be called before the catalog forgets these segments; `hole`: something that is not trimmed goes with them.
    pub async fn note_removals(
        self: &std::sync::Arc<Self>,
        ids: &[SegmentId],
        hole: bool,
    ) -> Result<(), LogError> {
        if self.world.store.is_none() {
            return Ok(());
        }
        let mut notes = Vec::new();
        for id in ids {
            // A hole may also be there from before.
            if (hole || !self.wanted_by_nobody(id).await?)
                && self.catalog.get(KIND, &hex(id)).await.map_err(io)?.is_none()
            {
                let doc = Document {
                    kind: KIND.into(),
                    id: hex(id),
                    version: 0,
                    body: Vec::new(),
                    keys: Vec::new(),
                };
                notes.push(Change::Put { doc, expect: 0 });
            }
        }
        if notes.is_empty() {
            return Ok(());
        }
        self.catalog.commit(notes).await.map_err(io)
    }

    /// Segments that were noted.
    pub async fn noted_removals(&self) -> Result<BTreeSet<SegmentId>, LogError> {
        let all = self.catalog.list(Filter::kind(KIND)).await.map_err(io)?;
        let id = |d: &Document| d.id.parse().ok().map(|u: world::StreamUid| u.0);
        Ok(all.iter().filter_map(id).collect())
    }

    /// After a look through the store: forgets the notes of segments that are not there any more.
    pub async fn forget_removals(&self, gone: &BTreeSet<SegmentId>) -> Result<(), LogError> {
        let mut changes = Vec::new();
        for id in gone {
            if let Some(d) = self.catalog.get(KIND, &hex(id)).await.map_err(io)? {
                changes.push(Change::Delete { kind: d.kind, id: d.id, expect: d.version });
            }
        }
        if changes.is_empty() { Ok(()) } else { self.catalog.commit(changes).await.map_err(io) }
    }
}
