//! A log to look at: reads what is there and changes nothing. Beside a server that runs, or when none does.

use std::{collections::BTreeMap, io, sync::Arc};

use catalog::{Catalog, RunQuery, RunRow, SegmentRow, SegmentState};
use seal::{DataKey, KeyProvider, Wrapped};
use world::{DiskFile, Mode, ShardId, Timestamp, World};

use crate::{
    OpenError,
    blocks::DataKeys,
    entry::{Entry, SegmentId},
    findings::Finding,
    journal::JOURNAL,
    objects,
    open_segment::{closed_name, hex},
    rewrap::key_context,
    segment::{FooterError, Root, read_root},
};

pub(crate) const ALL: RunQuery = RunQuery::Positions((0, i64::MAX as u64));
/// Rows taken from the catalog at once.
pub(crate) const ROWS: usize = 1000;

/// A log that is only read.
pub struct Archive {
    pub(crate) world: World,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) keys: Arc<DataKeys>,
    /// Keys that do not unwrap.
    pub(crate) locked: Vec<Finding>,
}

/// One stretch of a shard in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRun {
    /// Whose.
    pub shard: ShardId,
    /// First position, and one past the last.
    pub positions: (u64, u64),
    /// Earliest and latest arrival.
    pub arrival: (Timestamp, Timestamp),
    /// By the producer's clock; `None` if there are no payloads.
    pub producer: Option<(Timestamp, Timestamp)>,
    /// Sealed bytes.
    pub bytes: u64,
    /// Pages of its index.
    pub pages: usize,
    /// Whether the catalog refers to it: else it was trimmed, or moved to another segment.
    pub live: bool,
}

/// One sealed block of a segment, as its index lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Whose.
    pub shard: ShardId,
    /// First position, and one past the last. A payload has one.
    pub positions: (u64, u64),
    /// When it arrived.
    pub arrival: Timestamp,
    /// Of a payload: start and end by the producer's clock.
    pub producer: Option<(Timestamp, Timestamp)>,
    /// Of a payload: plain bytes.
    pub plain: Option<u64>,
    /// Where its chunks are: (offset, length), in order.
    pub extents: Vec<(u64, u64)>,
    /// Generation of the stream's key.
    pub generation: u32,
    /// CRC-32C of the sealed bytes.
    pub crc: u32,
}

/// A segment's file name in the data folder, and its key in the store.
pub fn segment_name(id: &[u8; 16]) -> String {
    closed_name(id)
}

/// A segment's id in hexadecimal.
pub fn segment_id(id: &[u8; 16]) -> String {
    hex(id)
}

impl Archive {
    /// Unwraps the keys. Keys that do not unwrap are findings of [`Archive::verify`]; without any of the journal's
    /// nothing can be read.
    pub async fn open(
        world: World,
        catalog: Arc<dyn Catalog>,
        provider: &dyn KeyProvider,
    ) -> Result<Archive, OpenError> {
        let (mut keys, mut locked) = (BTreeMap::new(), Vec::new());
        let mut why = None;
        for row in catalog.all_keys().await? {
            let wrapped = Wrapped { provider: row.provider, bytes: row.wrapped };
            match provider.unwrap(&wrapped, &key_context(row.stream, row.generation)).await {
                Ok(k) => {
                    keys.insert((row.stream, row.generation), Arc::new(k));
                }
                Err(e) => {
                    let place = format!("catalog, key {} of stream {}", row.generation, row.stream);
                    locked.push(Finding::damage(place, e.to_string()));
                    why.get_or_insert(e.to_string());
                }
            }
        }
        match why {
            Some(e) if keys.is_empty() => {
                Err(OpenError::Key(format!("no key of this catalog opens: the first {e}")))
            }
            _ => Ok(Archive { world, catalog, keys: Arc::new(keys), locked }),
        }
    }

    pub(crate) fn journal_key(&self, generation: u32) -> Option<Arc<DataKey>> {
        self.keys.get(&(JOURNAL, generation)).cloned()
    }

    /// A segment's bytes where they rest: its object if it has one and the store is known, else its file.
    pub(crate) fn file(&self, row: &SegmentRow) -> io::Result<Arc<dyn DiskFile>> {
        match (row.state, &self.world.store) {
            (SegmentState::Stored, Some(store)) => Ok(objects::object(store.clone(), &row.id)),
            _ => self.world.disk.open(&closed_name(&row.id), Mode::Read),
        }
    }

    /// What [`Archive::file`] is called.
    pub(crate) fn place(&self, row: &SegmentRow) -> String {
        match (row.state, &self.world.store) {
            (SegmentState::Stored, Some(store)) => format!("{}/{}", store.url(), objects::key(&row.id)),
            _ => closed_name(&row.id),
        }
    }

    /// Opens a segment's footer.
    pub(crate) fn root(&self, file: &dyn DiskFile, id: &SegmentId) -> Result<Root, FooterError> {
        read_root(file, id, |g| self.journal_key(g))
    }

    /// The rows of a segment's runs that the catalog has.
    pub(crate) async fn rows(&self, id: &SegmentId, root: &Root) -> Result<Vec<RunRow>, OpenError> {
        let mut out = Vec::new();
        for r in &root.runs {
            let q = RunQuery::Positions((r.first, r.end.saturating_sub(1)));
            let rows = self.catalog.runs(r.shard, q).await?;
            out.extend(rows.into_iter().filter(|row| row.segment == *id));
        }
        // Two runs of a shard in one segment may each have found both.
        out.sort_by_key(|r| r.ordinal);
        out.dedup();
        Ok(out)
    }

    /// Finished segments in the order of their ids, after one, at most a thousand.
    pub async fn segments(&self, after: Option<[u8; 16]>) -> Result<Vec<SegmentRow>, OpenError> {
        Ok(self.catalog.segments(after, ROWS).await?)
    }

    /// One segment and its runs. `None`: the catalog does not know it.
    pub async fn segment(&self, id: [u8; 16]) -> Result<Option<(SegmentRow, Vec<SegmentRun>)>, OpenError> {
        let Some(row) = self.catalog.segment(id).await? else { return Ok(None) };
        let (_, root) = self.opened(&row)?;
        let live = self.rows(&id, &root).await?;
        let runs = root.runs.iter().enumerate().map(|(n, r)| SegmentRun {
            shard: r.shard,
            positions: (r.first, r.end),
            arrival: r.arrival,
            producer: (r.producer.0 <= r.producer.1).then_some(r.producer),
            bytes: r.bytes,
            pages: r.pages.len(),
            live: live.iter().any(|l| l.ordinal as usize == n && l.shard == r.shard && l.first == r.first),
        });
        Ok(Some((row, runs.collect())))
    }

    fn damaged(&self, row: &SegmentRow, e: &FooterError) -> OpenError {
        match e {
            FooterError::Io(e) => crate::opening::io(io::Error::new(e.kind(), e.to_string())),
            e => OpenError::Damaged { file: self.place(row), offset: row.footer, what: e.to_string() },
        }
    }

    fn opened(&self, row: &SegmentRow) -> Result<(Arc<dyn DiskFile>, Root), OpenError> {
        let file = self.file(row).map_err(crate::opening::io)?;
        let root = self.root(&*file, &row.id).map_err(|e| self.damaged(row, &e))?;
        Ok((file, root))
    }

    /// Hands out every entry of a segment's index, run by run, until `each` says `false`.
    pub fn entries(
        &self,
        row: &SegmentRow,
        each: &mut dyn FnMut(SegmentEntry) -> bool,
    ) -> Result<(), OpenError> {
        let (file, root) = self.opened(row)?;
        for (n, run) in root.runs.iter().enumerate() {
            for page in 0..run.pages.len() {
                for e in root.read_page(&*file, n, page).map_err(|e| self.damaged(row, &e))? {
                    if !each(listed(run.shard, &e)) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn listed(shard: ShardId, e: &Entry) -> SegmentEntry {
    let positions = (e.first(), e.end());
    let (sealed, crc, producer, plain, extents) = match e {
        Entry::Batch(b) => (&b.sealed, b.crc, None, None, vec![(b.offset, b.len.into())]),
        Entry::Large(l) => {
            let extents = l.extents.iter().map(|x| (x.offset, x.len)).collect();
            (&l.sealed, l.crc, Some(l.producer), Some(l.len), extents)
        }
    };
    let generation = sealed.generation;
    SegmentEntry { shard, positions, arrival: e.arrival(), producer, plain, extents, generation, crc }
}
