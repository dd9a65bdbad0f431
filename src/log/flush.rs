//! Moving what is in the journal and in open segments into closed ones, and letting go of the journal's files.
//!
//! A flush has four steps. *Cut*: the committer, between two rounds, says what there is. *Prepare*: records' sealed
//! blocks are copied as they are from the journal (a shard with payloads has them copied into its own segment, others
//! share segments), footers are written, everything is synced and renamed. *Commit*: segments, runs, shards' rows and
//! the journal's mark go to the catalog in one transaction. *Finish*: memory and journal files are let go of. A stop
//! before the commit leaves orphans; what it did is done again from the journal.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use catalog::{LogUpdate, Mark, SegmentState, ShardRow};
use tokio::sync::oneshot;
use world::ShardId;

use crate::{
    LogError,
    committer::{Cut, CutRequest},
    entry::{Batch, Large, SegmentId},
    index::{Recent, Shard},
    journal::{HEADER, JournalFile, Loc},
    keys::lock,
    open_segment::OpenSegment,
    read::batches,
    shared::Shared,
    tier::{Piece, Tier},
};

/// What a flush takes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What is old or large enough, or holds too much of the journal.
    Due,
    /// Everything.
    All,
}

/// A flush that is on disk and not in the catalog yet. If the commit fails it is tried again as it is: whether it
/// took effect may be unknown, so its files must not change any more.
pub(crate) struct Prepared {
    update: LogUpdate,
    mark: Mark,
    /// Shards, and up to where they are in closed segments now.
    ends: Vec<(Arc<Shard>, u64)>,
    /// Segments that are no longer open.
    retired: Vec<SegmentId>,
    /// Files that nothing refers to any more.
    dropped: Vec<SegmentId>,
}

/// An open segment is closed when its index gets this large.
const INDEX_BYTES: u64 = 4 << 20;
/// Entries of the journal that one pass takes up, about.
const PASS_ENTRIES: u64 = 300_000;
/// More open segments than this, and the oldest are closed.
const OPEN_SEGMENTS: usize = 4096;

impl Shared {
    /// Journal bytes at which records are moved on.
    pub(crate) fn flush_at(&self) -> u64 {
        (4 * self.limits.journal_file).min(self.limits.journal_backlog / 4)
    }

    /// Moves on what `scope` says. May be given up at any moment: what was prepared waits for the next flush, what was
    /// only cut counts as not taken.
    pub async fn flush(self: &Arc<Self>, scope: Scope) -> Result<(), LogError> {
        let mut waiting = self.projection.lock().await;
        self.settle_doubts().await?;
        self.commit_waiting(&mut waiting).await?;
        loop {
            let held = self.counters.journal_bytes.load(Ordering::Relaxed);
            let Some(wanted) = self.wanted(scope, held) else { return Ok(()) };
            let more = wanted.more;
            let closing = wanted.closing.clone();
            let (done, cut) = oneshot::channel();
            let mut taken = Taken { shared: self, answer: Some(cut), rows: Vec::new() };
            self.queue.cut(CutRequest { shards: wanted.shards, closing: wanted.closing, rows: true, done });
            let cut = taken.answer().await?;
            let s = self.clone();
            let p = self.blocking(move || s.prepare(cut, closing)).await.and_then(|r| r)?;
            taken.rows.clear();
            // A journal file may stay for other reasons than what is in it.
            let moved = !p.ends.is_empty();
            waiting.push_back(p);
            self.commit_waiting(&mut waiting).await?;
            let left = self.counters.journal_bytes.load(Ordering::Relaxed);
            if !more || !moved || (scope == Scope::Due && left >= held) {
                return Ok(());
            }
        }
    }

    /// Brings what was prepared to the catalog. Whoever removes runs does this first: a flush whose commit seemed to fail
    /// is committed again, and would bring them back.
    pub(crate) async fn commit_waiting(
        self: &Arc<Self>,
        waiting: &mut VecDeque<Prepared>,
    ) -> Result<(), LogError> {
        while let Some(p) = waiting.front_mut() {
            self.commit_flush(p).await?;
            if let Some(p) = waiting.pop_front() {
                self.finish_flush(p).await;
            }
        }
        Ok(())
    }

    /// Marks shards whose rows were taken and did not reach the catalog.
    pub fn mark_dirty(&self, rows: &[ShardRow]) {
        let mut newly = Vec::new();
        for shard in rows.iter().filter_map(|r| self.find(r.shard)) {
            let mut st = shard.state();
            st.dirty = true;
            if !std::mem::replace(&mut st.active, true) {
                newly.push(shard.id);
            }
        }
        lock(&self.active).extend(newly);
    }

    /// What a flush should take up now. `None`: nothing.
    fn wanted(&self, scope: Scope, held: u64) -> Option<Wanted> {
        let now = self.world.clock.now();
        let limits = &self.limits;
        let mut segments = self.segments.all();
        let over = segments.len().saturating_sub(OPEN_SEGMENTS);
        // Ids rise with time: the first are the oldest.
        let oldest: BTreeSet<SegmentId> = segments.iter().take(over).map(|s| s.id).collect();
        segments.retain(|s| {
            let used = s.index_bytes.load(Ordering::Relaxed);
            scope == Scope::All
                || s.closed.load(Ordering::Acquire)
                || s.failed.load(Ordering::Acquire)
                || oldest.contains(&s.id)
                || used >= INDEX_BYTES
                || (used > 0
                    && (s.end.load(Ordering::Relaxed) >= limits.segment_bytes
                        || now.since(s.created) >= limits.segment_age
                        // The clock was set back.
                        || s.created.since(now) >= limits.segment_age))
        });
        let mut shards: BTreeMap<ShardId, (Arc<Shard>, Option<Loc>)> = BTreeMap::new();
        for s in &segments {
            if let Some(shard) = self.find(s.shard) {
                shards.insert(s.shard, (shard, None));
            }
        }
        let tier = limits.tiering || scope == Scope::All;
        let pressed = held >= limits.journal_backlog / 2;
        let full = held >= self.flush_at();
        let mut more = false;
        let due = tier && (full || pressed || scope == Scope::All);
        if tier {
            let ids: Vec<ShardId> = lock(&self.active).iter().copied().collect();
            let mut records = Vec::new();
            let mut old = false;
            for shard in ids.into_iter().filter_map(|id| self.find(id)) {
                let st = shard.state();
                let Some(first) = st.recent.front() else { continue };
                if st.larges == 0 {
                    old |= now.since(first.arrival()) >= limits.segment_age;
                    drop(st);
                    records.push(shard);
                } else if scope == Scope::All || pressed {
                    // Else it is closed by its segments' age and size.
                    drop(st);
                    shards.entry(shard.id).or_insert((shard, None));
                }
            }
            // All of them or none: they share segments.
            if full || old || scope == Scope::All {
                let upto = self.one_pass();
                more = upto.is_some();
                for shard in records {
                    shards.entry(shard.id).or_insert((shard, upto));
                }
            }
        }
        if shards.is_empty() && segments.is_empty() && !due {
            return None;
        }
        Some(Wanted { shards: shards.into_values().collect(), closing: segments, more })
    }

    /// Up to where in the journal one pass goes: as much as makes a large segment, and as fits in memory.
    fn one_pass(&self) -> Option<Loc> {
        let (mut bytes, mut entries) = (0, 0);
        let journal = lock(&self.journal);
        for (n, f) in journal.iter() {
            bytes += f.end.load(Ordering::Acquire).saturating_sub(HEADER.into());
            entries += f.entries.load(Ordering::Relaxed);
            if bytes >= self.limits.segment_bytes || entries >= PASS_ENTRIES {
                // After the newest there is no more: it stays, as full as it is, while it is written.
                let last = journal.last_key_value().is_none_or(|(last, _)| last == n);
                return (!last).then_some(Loc { file: n + 1, offset: 0 });
            }
        }
        None
    }

    /// Brings a cut to disk.
    fn prepare(self: &Arc<Self>, cut: Cut, closing: Vec<Arc<OpenSegment>>) -> Result<Prepared, LogError> {
        let _busy = lock(&self.busy);
        if self.dead.load(Ordering::Acquire) {
            return Err(LogError::Down);
        }
        let mut tier = Tier::new(self);
        let ends = match self.write_runs(cut.shards, &mut tier) {
            Ok(ends) => ends,
            Err(e) => {
                tier.give_up();
                return Err(e);
            }
        };
        let done = tier.done();
        let mut dropped = done.superseded;
        let mut retired = done.retired;
        for s in closing {
            // Closed without anything in it.
            if !retired.contains(&s.id) && s.closed.load(Ordering::Acquire) {
                retired.push(s.id);
                dropped.push(s.id);
            }
        }
        let update = LogUpdate {
            shards: cut.rows,
            segments: done.segments,
            runs: done.runs,
            mark: Some(cut.mark),
            ..LogUpdate::default()
        };
        Ok(Prepared { update, mark: cut.mark, ends, retired, dropped })
    }

    /// Writes each shard's run or runs; returns up to where that is.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn write_runs(
        &self,
        shards: Vec<(Arc<Shard>, Vec<Recent>)>,
        tier: &mut Tier<'_>,
    ) -> Result<Vec<(Arc<Shard>, u64)>, LogError> {
        let mut sources = self.locate(&shards)?;
        let mut ends = Vec::with_capacity(shards.len());
        for (shard, items) in shards {
            let mut blocks = sources.remove(&shard.id).unwrap_or_default().into_iter().peekable();
            let end = items.last().map_or(0, Recent::end);
            let mut pieces: Vec<Piece> = Vec::new();
            let mut segment: Option<SegmentId> = None;
            for item in items {
                match item {
                    Recent::Frame { .. } => {
                        let end = item.end();
                        while let Some((file, batch)) = blocks.next_if(|(_, b)| b.first < end) {
                            pieces.push(Piece::Batch { file, batch });
                        }
                    }
                    Recent::Large { large, .. } => {
                        // After a start there may be several open segments; each is a run of its own.
                        if segment.is_some_and(|s| s != large.segment) {
                            tier.run(shard.id, segment, std::mem::take(&mut pieces))?;
                        }
                        segment = Some(large.segment);
                        pieces.push(Piece::Large(large));
                    }
                }
            }
            tier.run(shard.id, segment, pieces)?;
            ends.push((shard, end));
        }
        tier.finish()?;
        Ok(ends)
    }

    /// Where the batches of these shards are: in the order of the journal, each directory read once.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn locate(
        &self,
        shards: &[(Arc<Shard>, Vec<Recent>)],
    ) -> Result<BTreeMap<ShardId, Vec<(Arc<JournalFile>, Batch)>>, LogError> {
        let mut frames: BTreeMap<Loc, BTreeMap<ShardId, u64>> = BTreeMap::new();
        for (shard, items) in shards {
            for i in items {
                if let Recent::Frame { first, at, .. } = i {
                    frames.entry(*at).or_default().entry(shard.id).or_insert(*first);
                }
            }
        }
        let mut out: BTreeMap<ShardId, Vec<(Arc<JournalFile>, Batch)>> = BTreeMap::new();
        for (at, wanted) in frames {
            let (file, dir) = self
                .directory(at)?
                .ok_or_else(|| LogError::Io(format!("journal file {} is not there any more", at.file)))?;
            if wanted.len() == 1 {
                for (id, first) in wanted {
                    out.entry(id)
                        .or_default()
                        .extend(batches(&dir, id, first, u64::MAX).map(|b| (file.clone(), b.clone())));
                }
                continue;
            }
            let firsts: Vec<Option<u64>> = dir.slots.iter().map(|s| wanted.get(&s.shard).copied()).collect();
            for (slot, e) in &dir.events {
                if let crate::entry::Event::Batch(b) = e
                    && firsts[*slot as usize].is_some_and(|first| b.first >= first)
                {
                    out.entry(dir.slots[*slot as usize].shard).or_default().push((file.clone(), b.clone()));
                }
            }
        }
        Ok(out)
    }

    async fn commit_flush(&self, p: &mut Prepared) -> Result<(), LogError> {
        // Streams that were deleted since the cut must not come back.
        p.update.shards.retain(|r| self.find(r.shard).is_some());
        p.update.runs.retain(|r| self.find(r.shard).is_some());
        let used: BTreeSet<SegmentId> = p.update.runs.iter().map(|r| r.segment).collect();
        let dropped = &mut p.dropped;
        p.update.segments.retain(|s| {
            let keep = used.contains(&s.id);
            if !keep {
                dropped.push(s.id);
            }
            keep
        });
        Ok(self.catalog.log_update(p.update.clone()).await?)
    }

    async fn finish_flush(self: &Arc<Self>, p: Prepared) {
        for (shard, end) in &p.ends {
            let mut st = shard.state();
            st.flushed = st.flushed.max(*end);
            st.drop_recent(*end);
        }
        if self.world.store.is_some() {
            self.uploads.add(&p.update.segments);
        }
        for id in &p.retired {
            self.segments.retire(id);
        }
        for id in &p.dropped {
            self.remove_file(id).await;
        }
        {
            let mut active = lock(&self.active);
            active.retain(|id| {
                let Some(shard) = self.find(*id) else { return false };
                let mut st = shard.state();
                st.active = st.dirty || !st.recent.is_empty();
                st.active
            });
        }
        let s = self.clone();
        let released = self.blocking(move || s.release(p.mark)).await;
        if let Err(e) = released {
            tracing::warn!(error = %e, "journal files could not be released");
        }
    }

    /// Lets go of the journal's files before the mark.
    fn release(&self, mark: Mark) {
        let _busy = lock(&self.busy);
        if self.dead.load(Ordering::Acquire) {
            return;
        }
        loop {
            let file = {
                let mut files = lock(&self.journal);
                match files.first_entry() {
                    Some(f) if u64::from(*f.key()) < mark.file => f.remove(),
                    _ => return,
                }
            };
            let bytes = file.end.load(Ordering::Acquire).saturating_sub(HEADER.into());
            self.counters.journal_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.backlog.moved();
            // A reader that still has it must not find another file's frames in it.
            let reusable = Arc::strong_count(&file) == 1;
            let given = lock(&self.spares).give(&*self.world.disk, &file, reusable, self.limits.journal_file);
            if let Err(e) = given {
                tracing::warn!(error = %e, file = file.header.number, "a journal file could not be released");
            }
        }
    }
}

/// Sees to it that the rows which a cut took are not forgotten if nothing comes of it: the journal's mark must never
/// pass a change of a shard that the catalog does not know.
struct Taken<'s> {
    shared: &'s Shared,
    answer: Option<oneshot::Receiver<Result<Cut, LogError>>>,
    rows: Vec<ShardRow>,
}

impl Taken<'_> {
    async fn answer(&mut self) -> Result<Cut, LogError> {
        // In its place until it is there, so that one that comes too late is met on the way out.
        let cut = match &mut self.answer {
            Some(a) => a.await.map_err(|_| LogError::Down)??,
            None => return Err(LogError::Down),
        };
        self.answer = None;
        self.rows = cut.rows.clone();
        Ok(cut)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(mut a) = self.answer.take() {
            // From here on the committer cannot answer any more; it takes the rows back itself.
            a.close();
            if let Ok(Ok(cut)) = a.try_recv() {
                self.rows = cut.rows;
            }
        }
        self.shared.mark_dirty(&self.rows);
    }
}

struct Wanted {
    shards: Vec<(Arc<Shard>, Option<Loc>)>,
    closing: Vec<Arc<OpenSegment>>,
    more: bool,
}

impl Large {
    /// The same payload, elsewhere.
    pub fn moved(&self, segment: SegmentId, extents: Vec<crate::entry::Extent>) -> Large {
        Large { segment, extents, ..self.clone() }
    }
}

/// Every segment starts its life here.
pub(crate) const LOCAL: SegmentState = SegmentState::Local;
