//! Notes of segments that are about to be removed, and of copies before the catalog knows them. A file that a power cut
//! brings back, a copy that nobody took up, or an object that could not be removed, looks like one that the catalog has
//! lost as soon as retention has left a hole where it was; by its note it is known.

use std::collections::BTreeSet;

use catalog::{Change, Document, Filter};

use crate::{
    LogError,
    entry::SegmentId,
    open_segment::{DIR, hex, parse_name},
    shared::Shared,
};

const KIND: &str = "log-removal";

impl Shared {
    /// To be called before the catalog forgets these segments, or before they are made of others.
    pub async fn note_removals(&self, ids: &[SegmentId]) -> Result<(), LogError> {
        let mut notes = Vec::new();
        for id in ids {
            if self.catalog.get(KIND, &hex(id)).await?.is_none() {
                let (kind, id) = (KIND.into(), hex(id));
                let doc = Document { kind, id, version: 0, body: Vec::new(), keys: Vec::new() };
                notes.push(Change::Put { doc, expect: 0 });
            }
        }
        if notes.is_empty() {
            return Ok(());
        }
        Ok(self.catalog.commit(notes).await?)
    }

    /// Segments that were noted.
    pub async fn noted_removals(&self) -> Result<BTreeSet<SegmentId>, LogError> {
        let all = self.catalog.list(Filter::kind(KIND)).await?;
        let id = |d: &Document| d.id.parse().ok().map(|u: world::StreamUid| u.0);
        Ok(all.iter().filter_map(id).collect())
    }

    /// Forgets the notes of these segments, of which there is no object: those whose files are gone for good, too.
    pub async fn forget_removals(
        self: &std::sync::Arc<Self>,
        mut gone: BTreeSet<SegmentId>,
    ) -> Result<(), LogError> {
        gone.retain(|id| !self.compaction.begun(id));
        if gone.is_empty() {
            return Ok(());
        }
        let s = self.clone();
        let here = self.blocking(move || {
            // What is not there after this does not come back.
            s.world.disk.sync_dir(DIR)?;
            s.world.disk.list(DIR)
        });
        for e in here.await?? {
            if let Some((id, _)) = parse_name(&e.name) {
                gone.remove(&id);
            }
        }
        let mut unknown = Vec::new();
        for id in gone {
            // A removal that did not come about: the note is of use when it is tried again.
            if self.catalog.segment(id).await?.is_none() {
                unknown.push(id);
            }
        }
        self.drop_notes(&unknown).await
    }

    /// Forgets the notes of these segments, whatever became of them.
    pub async fn drop_notes(&self, ids: &[SegmentId]) -> Result<(), LogError> {
        let mut changes = Vec::new();
        for id in ids {
            if let Some(d) = self.catalog.get(KIND, &hex(id)).await? {
                changes.push(Change::Delete { kind: d.kind, id: d.id, expect: d.version });
            }
        }
        if !changes.is_empty() {
            self.catalog.commit(changes).await?;
        }
        Ok(())
    }
}
