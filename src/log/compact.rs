//! Rewriting small segments, and those of which little is left, into full ones.
//!
//! Sealed blocks are copied as they are; no key of a stream is needed. The copy is written first, then one transaction
//! replaces the runs, then the old bytes go. A stop before the transaction leaves an orphan, one after it leaves several;
//! a reader that was about to read an old segment looks the run up again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering},
};

use catalog::{LogUpdate, RunQuery, RunRow, SegmentRow};
use world::ShardId;

use crate::{
    LogError,
    entry::{Entry, SegmentId},
    keys::lock,
    open_segment::new_id,
    segment,
    shared::Shared,
    tier::{Tier, Tiered},
};

/// Where a pass goes on.
#[derive(Default)]
pub(crate) struct Compaction {
    /// Segments of which something was removed.
    thin: Mutex<BTreeSet<SegmentId>>,
    /// Those before have been looked at.
    cursor: Mutex<Option<SegmentId>>,
    /// Held while files are copied.
    copying: Mutex<()>,
    /// Copies that this process began, and that are not known to the catalog: their notes are to stay.
    begun: Mutex<BTreeSet<SegmentId>>,
}

impl Compaction {
    /// Something of it was removed, and something is left.
    pub fn thin(&self, id: SegmentId) {
        lock(&self.thin).insert(id);
    }
    /// Whether it is, or may become, a copy that the catalog knows by its note alone.
    pub fn begun(&self, id: &SegmentId) -> bool {
        lock(&self.begun).contains(id)
    }
    /// Waits for a copy that is under way; it ends soon if the log is dead.
    pub fn wait(&self) {
        drop(lock(&self.copying));
    }
}

/// Rows looked at in one step.
const PAGE: usize = 500;
/// A small segment waits for others while so many larger ones are made; then it stays as it is.
const APART: usize = 5000;

/// A shard's runs that become one; in order, with nothing of the shard between them.
type Stretch = Vec<RunRow>;

impl Shared {
    /// Rewrites what is worth it, a full segment's worth at most; `false` if nothing is. May be given up at any moment.
    pub async fn compact(self: &Arc<Self>) -> Result<bool, LogError> {
        let small = self.limits.small_segment.min(self.limits.segment_bytes / 2);
        if small == 0 {
            return Ok(false);
        }
        let thin = lock(&self.compaction.thin).first().copied();
        if let Some(id) = thin {
            // Whatever comes of it, it is not looked at again until more of it goes.
            lock(&self.compaction.thin).remove(&id);
            if let Some(row) = self.catalog.segment(id).await? {
                let live: u64 = self.live(&row).await?.iter().map(|r| r.bytes).sum();
                if live < row.bytes / 2 {
                    self.rewrite(vec![row]).await?;
                }
            }
            return Ok(true);
        }
        let cursor = *lock(&self.compaction.cursor);
        let (mut at, mut before, mut group, mut bytes, mut passed) = (cursor, cursor, Vec::new(), 0, 0);
        loop {
            let rows = self.catalog.segments(at, PAGE).await?;
            let Some(last) = rows.last() else { break };
            at = Some(last.id);
            for row in rows {
                if row.bytes >= small {
                    passed += 1;
                    if passed > APART {
                        (group, bytes) = (Vec::new(), 0);
                    }
                    if group.is_empty() {
                        (before, passed) = (Some(row.id), 0);
                    }
                    continue;
                }
                bytes += row.bytes;
                group.push(row);
                if group.len() >= self.limits.small_segments || bytes >= self.limits.segment_bytes {
                    let last = group.last().map(|r: &SegmentRow| r.id);
                    self.rewrite(group).await?;
                    *lock(&self.compaction.cursor) = last;
                    return Ok(true);
                }
            }
        }
        *lock(&self.compaction.cursor) = before;
        Ok(false)
    }

    /// The runs that are in a segment, by shard and position.
    async fn live(self: &Arc<Self>, row: &SegmentRow) -> Result<Vec<RunRow>, LogError> {
        let root = self.root(row.id).await?;
        let mut live = BTreeMap::new();
        for r in &root.runs {
            let q = RunQuery::Positions((r.first, r.end.saturating_sub(1)));
            for run in self.catalog.runs(r.shard, q).await? {
                if run.segment == row.id {
                    live.insert((run.shard, run.first), run);
                }
            }
        }
        Ok(live.into_values().collect())
    }

    /// Joins runs that follow each other in their shard. Where there is a hole between two they stay apart: it is how the
    /// hole is known.
    fn stretches(runs: &BTreeMap<(ShardId, u64), RunRow>) -> Vec<Stretch> {
        let mut out: Vec<Stretch> = Vec::new();
        for r in runs.values() {
            match out.last_mut() {
                Some(s) if s.last().is_some_and(|l| l.shard == r.shard && l.end == r.first) => {
                    s.push(r.clone())
                }
                _ => out.push(vec![r.clone()]),
            }
        }
        out
    }

    /// Copies what is left of these segments into as few as can be, and removes them.
    async fn rewrite(self: &Arc<Self>, group: Vec<SegmentRow>) -> Result<(), LogError> {
        let mut runs = BTreeMap::new();
        for row in &group {
            for r in self.live(row).await? {
                runs.insert((r.shard, r.first), r);
            }
        }
        let stretches = Shared::stretches(&runs);
        // Retention may leave holes in what was copied before the copy is known, or given up.
        let bytes: u64 = group.iter().map(|r| r.bytes).sum();
        let full = self.limits.segment_bytes.saturating_sub(segment::HEADER).max(1);
        let ids: Vec<SegmentId> = (0..(bytes / full + 1).min(64)).map(|_| new_id(&self.world)).collect();
        lock(&self.compaction.begun).extend(ids.iter().copied());
        self.note_removals(&ids).await?;
        let (s, named) = (self.clone(), ids.clone());
        let written = self.blocking(move || s.copy(&stretches, named)).await??;
        self.replace(group, runs, written, ids).await
    }

    fn copy(self: &Arc<Self>, stretches: &[Stretch], ids: Vec<SegmentId>) -> Result<Tiered, LogError> {
        let _copying = lock(&self.compaction.copying);
        let mut tier = Tier::named(self, ids);
        let done =
            stretches.iter().try_for_each(|s| self.copy_stretch(s, &mut tier)).and_then(|()| tier.finish());
        match done {
            Ok(()) => Ok(tier.done()),
            Err(e) => {
                tier.give_up();
                Err(e)
            }
        }
    }

    fn copy_stretch(&self, stretch: &Stretch, tier: &mut Tier<'_>) -> Result<(), LogError> {
        let mut fresh = true;
        for run in stretch {
            if self.dead.load(Ordering::Acquire) {
                return Err(LogError::Down);
            }
            let trim = self.find(run.shard).map_or(0, |s| s.state().trim);
            let file = self.segment_file(&run.segment)?;
            let damaged =
                |e| LogError::Damaged(format!("{}: {e}", crate::open_segment::closed_name(&run.segment)));
            // Whoever looked which runs are live has read it.
            let root = match self.footers.root(&run.segment) {
                Some(r) => r,
                None => segment::read_root(&*file, &run.segment, |g| self.journal_keys.get(&g).cloned())
                    .map(Arc::new)
                    .map_err(damaged)?,
            };
            let ordinal = run.ordinal as usize;
            let pages = root.runs.get(ordinal).map_or(0, |r| r.pages.len());
            for p in 0..pages {
                if self.dead.load(Ordering::Acquire) {
                    return Err(LogError::Down);
                }
                let mut entries = root.read_page(&*file, ordinal, p).map_err(damaged)?;
                entries.retain(|e: &Entry| e.end() > trim);
                if !entries.is_empty() {
                    tier.copied(run.shard, std::mem::take(&mut fresh), &*file, &entries)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the copies in the place of what they were made from, shard by shard: those of which something was removed
    /// meanwhile stay as they are. `noted`: ids of the copies, and others that were not needed.
    async fn replace(
        self: &Arc<Self>,
        group: Vec<SegmentRow>,
        runs: BTreeMap<(ShardId, u64), RunRow>,
        written: Tiered,
        mut noted: Vec<SegmentId>,
    ) -> Result<(), LogError> {
        let mut waiting = self.projection.lock().await;
        self.commit_waiting(&mut waiting).await?;
        let mut changed: BTreeSet<ShardId> = BTreeSet::new();
        for r in runs.values() {
            if self.find(r.shard).is_none() || !self.there(r).await? {
                changed.insert(r.shard);
            }
        }
        let old: BTreeSet<SegmentId> = group.iter().map(|r| r.id).collect();
        // A segment stays if anything else is in it by now.
        let stay: BTreeSet<SegmentId> =
            runs.values().filter(|r| changed.contains(&r.shard)).map(|r| r.segment).collect();
        let mut update = LogUpdate {
            removed_runs: runs.keys().filter(|(s, _)| !changed.contains(s)).copied().collect(),
            removed_segments: old.difference(&stay).copied().collect(),
            ..LogUpdate::default()
        };
        update.runs = written.runs.into_iter().filter(|r| !changed.contains(&r.shard)).collect();
        let used: BTreeSet<SegmentId> = update.runs.iter().map(|r| r.segment).collect();
        let (segments, unused): (Vec<_>, Vec<_>) =
            written.segments.into_iter().partition(|s| used.contains(&s.id));
        update.segments = segments.clone();
        for s in unused {
            self.remove_file(&s.id).await;
            // A power cut may bring it back.
            noted.retain(|id| *id != s.id);
        }
        let removed = update.removed_segments.clone();
        self.note_removals(&removed).await?;
        if let Err(e) = self.catalog.log_update(update).await {
            // It may have taken effect: then the new ones are known and the old ones are gone.
            let Some(id) = segments.first().map(|s| s.id).or(removed.first().copied()) else {
                return Err(e.into());
            };
            if self.catalog.segment(id).await?.is_some() == segments.is_empty() {
                for s in &segments {
                    self.remove_file(&s.id).await;
                }
                return Err(e.into());
            }
        }
        if let Err(e) = self.drop_notes(&noted).await {
            tracing::warn!(error = %e, "notes of copies that are known now stay");
        }
        lock(&self.compaction.begun).retain(|id| !noted.contains(id));
        if self.world.store.is_some() {
            self.uploads.add(&segments);
        }
        self.counters.compacted.fetch_add(removed.len() as u64, Ordering::Relaxed);
        for id in &removed {
            self.remove_segment(id).await;
        }
        Ok(())
    }
}
