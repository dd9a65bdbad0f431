//! Segments that the catalog does not know, and what a catalog that is older than the log does not know: what of it is
//! wanted, what is taken up, what is left alone, what may go.
//!
//! A catalog is older than the log when a snapshot of it was put back (the restoring command leaves a document that says
//! so), or when the journal was written by a later lease than the catalog ever gave. Then finished segments that it does
//! not know are *adopted*: their footers say all that the catalog has to know. Rows of segments that are not there any
//! more are dropped, and if parts of the journal are gone, the log goes on after what is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use catalog::{
    Catalog, CatalogError, Change, Document, LogUpdate, Mark, RunQuery, RunRow, SegmentRow, SegmentState,
};
use world::{ShardId, StreamUid, Timestamp, World};

use crate::{
    LogError, OpenError,
    entry::{Entry, SegmentId},
    index::Shard,
    objects,
    open_segment::{DIR, closed_name, parse_name},
    opening::io,
    recovery::UNMADE,
    segment::{self, FooterError},
    shared::Shared,
};

/// The document that says that the catalog was restored: `SNAPSHOT RESTORED SETTLED`, two times in microseconds and 0 or 1.
const KIND: &str = "log-restored";
const ID: &str = "log";
const ALL: RunQuery = RunQuery::Positions((0, i64::MAX as u64));
/// Positions that are skipped when acknowledged ones may have been in a part of the journal that is gone: more than are
/// given out between two snapshots, and 2^23 restores fit.
const SKIP: u64 = 1 << 40;
/// How far the numbers of keys jump at least after a restore.
const APART: u32 = 1000;

/// When the catalog was not the log's newest: it may not know what was made in that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Older {
    pub snapshot: Timestamp,
    pub restored: Timestamp,
    /// What was there to adopt has been.
    pub settled: bool,
}

impl Older {
    fn parse(body: &[u8]) -> Option<Older> {
        let text = std::str::from_utf8(body).ok()?;
        let mut parts = text.split(' ').map(|p| p.parse::<i64>().ok());
        let mut next = || parts.next().flatten();
        Some(Older { snapshot: Timestamp(next()?), restored: Timestamp(next()?), settled: next()? != 0 })
    }
    fn body(&self) -> Vec<u8> {
        format!("{} {} {}", self.snapshot.0, self.restored.0, u8::from(self.settled)).into()
    }
    /// Whether a segment was made while the catalog, as it is now, did not look.
    pub fn made_meanwhile(&self, id: &SegmentId) -> bool {
        let ms = u64::from_be_bytes([0, 0, id[0], id[1], id[2], id[3], id[4], id[5]]) as i64;
        // A segment gets its id when it is begun, which may have been a while before the snapshot.
        let day = 86_400_000;
        (self.snapshot.millis().saturating_sub(day)..=self.restored.millis()).contains(&ms)
    }
    pub async fn load(catalog: &dyn Catalog) -> Result<Option<Older>, CatalogError> {
        Ok(catalog.get(KIND, ID).await?.and_then(|d| Older::parse(&d.body)))
    }
    async fn store(self, catalog: &dyn Catalog) -> Result<(), CatalogError> {
        let expect = catalog.get(KIND, ID).await?.map_or(0, |d| d.version);
        let doc =
            Document { kind: KIND.into(), id: ID.into(), version: 0, body: self.body(), keys: Vec::new() };
        catalog.commit(vec![Change::Put { doc, expect }]).await
    }
}

/// Notes in a catalog that was just restored that it is as of `snapshot`: the next start of the log takes up what it
/// does not know. `now` is the time of restoring.
pub async fn note_restored(
    catalog: &dyn Catalog,
    snapshot: Timestamp,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let before = Older::load(catalog).await?;
    let snapshot = before.map_or(snapshot, |b| b.snapshot.min(snapshot));
    Older { snapshot, restored: now, settled: false }.store(catalog).await
}

/// What is known of a shard that a segment has a run of.
pub(crate) struct Known<'a> {
    /// Its stream has a key.
    pub key: bool,
    /// It has those of all generations that the segment's blocks are sealed under.
    pub opens: bool,
    /// The catalog may not know all that happened.
    pub older: bool,
    pub trim: u64,
    /// The first position that the journal has; it has all that follow.
    pub journal: Option<u64>,
    /// The catalog's runs that meet this one, ascending, in other segments, whose bytes are there.
    pub runs: &'a [RunRow],
}

/// What becomes of a run in a segment that the catalog does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All of it is elsewhere, or trimmed, or nobody can open it.
    Unwanted,
    /// Some of it is nowhere else: the catalog is to know it, in the place of these runs (shard, first position).
    Adopt(Vec<(ShardId, u64)>),
    /// Not for us to decide: it stays where it is.
    Leave(&'static str),
}

/// Decides over a run `first..end` whose blocks hold these stretches of positions.
pub(crate) fn judge(first: u64, end: u64, entries: &[(u64, u64)], known: &Known<'_>) -> Fate {
    if !known.key {
        return match known.older {
            true => Fate::Leave("its stream's key is not in this catalog, but may be in a newer snapshot"),
            false => Fate::Unwanted,
        };
    }
    let elsewhere = |a: u64, b: u64| {
        b <= known.trim
            || known.journal.is_some_and(|j| a >= j)
            || known.runs.iter().any(|r| r.first <= a && b <= r.end)
    };
    if entries.iter().all(|(a, b)| elsewhere(*a, *b)) {
        return Fate::Unwanted;
    }
    if known.runs.iter().any(|r| r.first < first || r.end > end) {
        return Fate::Leave("it overlaps in part with what the catalog knows");
    }
    if !known.opens {
        return Fate::Leave(
            "a later key of its stream is not in this catalog, but may be in a newer snapshot",
        );
    }
    if !known.older {
        return Fate::Leave(
            "the catalog does not know what is in it, and says nothing of having been restored",
        );
    }
    Fate::Adopt(known.runs.iter().map(|r| (r.shard, r.first)).collect())
}

/// A run of a segment that the catalog does not know.
struct Candidate {
    row: RunRow,
    entries: Vec<(u64, u64)>,
    /// Of the keys that its blocks are sealed under.
    generations: BTreeSet<u32>,
}

impl Candidate {
    /// Whether its stream has any key, and all that are needed.
    async fn keys(&self, catalog: &dyn Catalog) -> Result<(bool, bool), CatalogError> {
        let rows = catalog.keys(self.row.shard.stream).await?;
        let opens = self.generations.iter().all(|g| rows.iter().any(|r| r.generation == *g));
        Ok((!rows.is_empty(), opens))
    }
}

/// What there is of segments.
#[derive(Default)]
struct There {
    /// Length of the file.
    file: Option<u64>,
    /// Length of the object.
    object: Option<u64>,
}

fn segments_there(world: &World) -> Result<BTreeMap<SegmentId, There>, OpenError> {
    let mut out: BTreeMap<SegmentId, There> = BTreeMap::new();
    for e in world.disk.list(DIR).map_err(io)? {
        if let Some((id, _)) = parse_name(&e.name) {
            out.entry(id).or_default().file = Some(e.len);
        }
    }
    if let Some(store) = &world.store {
        let mut after: Option<String> = None;
        loop {
            let page = store.list(objects::PREFIX, after.as_deref(), 1000).map_err(io)?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for o in &page {
                if let Some(id) = objects::parse_key(&o.key) {
                    out.entry(id).or_default().object = Some(o.len);
                }
            }
        }
    }
    Ok(out)
}

impl Shared {
    /// The number of a stream's next key. Numbers follow each other, but for the first after the catalog was restored:
    /// what was sealed since the snapshot may be under keys whose numbers this catalog would give again, and must not
    /// pass for sealed under the new ones. No more than [`APART`] rotations between a snapshot and its restoring are
    /// taken for granted, and that two restores of one snapshot draw different numbers.
    pub async fn next_generation(&self, stream: StreamUid) -> Result<u32, LogError> {
        let keys = self.catalog.keys(stream).await?;
        let last = keys.iter().max_by_key(|k| k.generation);
        let last = last.ok_or_else(|| LogError::Key(stream, "the stream has no key (any more)".into()))?;
        let older = Older::load(&*self.catalog).await?;
        let step = match older {
            Some(o) if last.created <= o.restored => {
                let r = self.world.random16();
                APART + u32::from(u16::from_be_bytes([r[0], r[1]]))
            }
            _ => 1,
        };
        let next = last.generation.checked_add(step);
        next.ok_or_else(|| LogError::Key(stream, "the numbers of its keys are used up".into()))
    }

    /// What a segment's footer says, past the caches.
    fn candidates(&self, id: &SegmentId) -> Result<(SegmentRow, Vec<Candidate>), FooterError> {
        let file = objects::open(&self.world, id)?;
        let root = segment::read_root(&*file, id, |g| self.journal_keys.get(&g).cloned())?;
        let mut out = Vec::new();
        for (ordinal, r) in root.runs.iter().enumerate() {
            let (mut entries, mut generations) = (Vec::new(), BTreeSet::new());
            for p in 0..r.pages.len() {
                for e in root.read_page(&*file, ordinal, p)? {
                    entries.push((e.first(), e.end()));
                    generations.insert(match &e {
                        Entry::Batch(b) => b.sealed.generation,
                        Entry::Large(l) => l.sealed.generation,
                    });
                }
            }
            let row = RunRow {
                shard: r.shard,
                first: r.first,
                end: r.end,
                segment: *id,
                ordinal: ordinal as u32,
                bytes: r.bytes,
                arrival: r.arrival,
                producer: if r.producer.0 > r.producer.1 { r.arrival } else { r.producer },
            };
            out.push(Candidate { row, entries, generations });
        }
        let bytes = root.end + segment::TRAILER;
        let (state, created) = (SegmentState::Local, self.world.clock.now());
        Ok((SegmentRow { id: *id, state, bytes, footer: root.base, created }, out))
    }

    /// Brings a catalog that is older than the log up to what there is, in one transaction. `journal`: the first file of
    /// the journal that is there, if some before it are missing. Returns the shards that were changed.
    pub(crate) async fn settle_older(
        self: &Arc<Self>,
        older: Older,
        journal: Option<u32>,
    ) -> Result<BTreeSet<ShardId>, OpenError> {
        let s = self.clone();
        let off = |e: LogError| OpenError::Io(e.to_string());
        let there = self.blocking(move || segments_there(&s.world)).await.map_err(off)??;
        let mut update = LogUpdate::default();
        let (mut gone, mut strays) = (BTreeSet::new(), there.keys().copied().collect::<BTreeSet<_>>());
        let mut after = None;
        loop {
            let rows = self.catalog.segments(after, 1000).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            for mut row in rows {
                strays.remove(&row.id);
                let found = there.get(&row.id);
                let (file, object) = found.map_or((None, None), |f| (f.file, f.object));
                match (row.state, file, object) {
                    (SegmentState::Local, _, Some(_)) => row.state = SegmentState::Stored,
                    (SegmentState::Stored, Some(_), None) if self.world.store.is_some() => {
                        row.state = SegmentState::Local;
                    }
                    (SegmentState::Stored, _, None) if self.world.store.is_none() => continue,
                    (_, None, None) => {
                        gone.insert(row.id);
                        update.removed_segments.push(row.id);
                        continue;
                    }
                    _ => continue,
                }
                update.segments.push(row);
            }
        }
        let s = self.clone();
        let (found, unread) = self
            .blocking(move || {
                let (mut found, mut unread) = (Vec::new(), 0u64);
                for id in strays {
                    match s.candidates(&id) {
                        Ok(c) => found.push(c),
                        // One that is being written has no footer; else it stays, and the next start looks again.
                        Err(e) => {
                            unread += u64::from(matches!(&e, FooterError::Io(_)));
                            tracing::warn!(segment = closed_name(&id), "left alone: {e}");
                        }
                    }
                }
                (found, unread)
            })
            .await
            .map_err(off)?;
        let mut rows: BTreeMap<SegmentId, SegmentRow> = BTreeMap::new();
        let mut of: BTreeMap<ShardId, Vec<Candidate>> = BTreeMap::new();
        for (mut row, candidates) in found {
            if there.get(&row.id).is_some_and(|t| t.object.is_some()) {
                row.state = SegmentState::Stored;
            }
            rows.insert(row.id, row);
            for c in candidates {
                of.entry(c.row.shard).or_default().push(c);
            }
        }
        let mut shards: BTreeSet<ShardId> = self.shards(None).iter().map(|s| s.id).collect();
        shards.extend(of.keys().copied());
        let (mut adopted, mut lost, mut changed) = (Vec::new(), (0u64, 0u64), BTreeSet::new());
        for id in shards {
            let mut runs = self.catalog.runs(id, ALL).await?;
            for r in runs.extract_if(.., |r| gone.contains(&r.segment)) {
                lost = (lost.0 + 1, lost.1 + r.bytes);
                update.removed_runs.push((r.shard, r.first));
            }
            let key = !self.catalog.keys(id.stream).await?.is_empty();
            let mut candidates = of.remove(&id).unwrap_or_default();
            // Of several that overlap the longest has most.
            candidates.sort_by_key(|c| std::cmp::Reverse(c.row.end - c.row.first));
            // The journal has a payload where its file is here. Where one is only in the store all of the shard's segments
            // are taken up, as what is before a run of the catalog is dropped from what was replayed.
            let here = |c: &Candidate| there.get(&c.row.segment).is_some_and(|t| t.file.is_some());
            let all_here = candidates.iter().all(here);
            for c in candidates {
                let (trim, journal) = self.find(id).map_or((self.forgotten_trim(id), None), |s| {
                    let st = s.state();
                    (st.trim, st.recent.front().filter(|_| all_here).map(crate::index::Recent::first))
                });
                let meets: Vec<RunRow> =
                    runs.iter().filter(|r| r.first < c.row.end && r.end > c.row.first).cloned().collect();
                let (_, opens) = c.keys(&*self.catalog).await?;
                let known = Known { key, opens, older: true, trim, journal, runs: &meets };
                match judge(c.row.first, c.row.end, &c.entries, &known) {
                    Fate::Unwanted => {}
                    Fate::Leave(why) => {
                        tracing::warn!(segment = closed_name(&c.row.segment), "left alone: {why}")
                    }
                    Fate::Adopt(replaced) => {
                        runs.retain(|r| !replaced.contains(&(r.shard, r.first)));
                        update.removed_runs.extend(replaced);
                        runs.push(c.row.clone());
                        runs.sort_by_key(|r| r.first);
                        adopted.push(c.row);
                    }
                }
            }
            if key && self.bring_on(id, &runs, journal.is_some()) {
                changed.insert(id);
            }
        }
        let used: BTreeSet<SegmentId> = adopted.iter().map(|r| r.segment).collect();
        update.segments.extend(rows.into_iter().filter(|(id, _)| used.contains(id)).map(|(_, r)| r));
        for id in &changed {
            if let Some(s) = self.find(*id) {
                update.shards.push(s.row(&s.state()));
            }
        }
        let bytes: u64 = adopted.iter().map(|r| r.bytes).sum();
        tracing::warn!(
            snapshot = ?older.snapshot,
            "the catalog is older than the log: {} segments that it did not know were taken up ({bytes} bytes); \
             {} runs ({} bytes) that it knew are not there any more",
            used.len(), lost.0, lost.1
        );
        update.runs = adopted;
        if let Some(file) = journal {
            tracing::warn!(
                "the journal before its file {file:x} is not there: what was in it and not yet in segments is lost; \
                 the log goes on after what is known"
            );
            update.mark = Some(Mark { file: file.into(), offset: UNMADE });
            // Shards of which nothing is known may have been there, too.
            self.begin.store(SKIP, Ordering::Relaxed);
        }
        self.catalog.log_update(update).await?;
        Older { settled: unread == 0, ..older }.store(&*self.catalog).await?;
        Ok(changed)
    }

    /// The trim point of a shard that is not there: behind everything if it was forgotten.
    fn forgotten_trim(&self, id: ShardId) -> u64 {
        if self.forgotten.has(id) { u64::MAX } else { 0 }
    }

    /// Brings a shard's state on to what its runs show; `true` if that changed it. `skip`: positions after them may
    /// have been given out.
    fn bring_on(&self, id: ShardId, runs: &[RunRow], skip: bool) -> bool {
        let shard = match (self.find(id), runs.first()) {
            (Some(s), _) => s,
            (None, Some(first)) => {
                // It was opened after the snapshot, in a part of the journal that is gone.
                let s = Shard::new(id, self.stream(id.stream), &[], first.arrival.0);
                self.insert(s.clone());
                s
            }
            (None, None) => return false,
        };
        let mut st = shard.state();
        let before = (st.next, st.last);
        if let Some(last) = runs.last() {
            st.next = st.next.max(last.end);
            st.last = st.last.max(last.arrival.1);
        }
        if skip && !st.closed {
            st.next += SKIP;
        }
        (st.next, st.last) != before
    }

    /// Whether a finished segment that the catalog does not know may go: nothing of it is wanted. `half`: one without a
    /// footer that can be used may go, too (a file; an object is never there by half).
    pub(crate) async fn may_go(
        self: &Arc<Self>,
        id: &SegmentId,
        older: Option<Older>,
        half: bool,
    ) -> Result<bool, CatalogError> {
        let older = older.is_some_and(|o| o.made_meanwhile(id));
        let (s, i) = (self.clone(), *id);
        let candidates = match self.blocking(move || s.candidates(&i)).await {
            Ok(Ok((_, candidates))) => candidates,
            // What cannot be read now may be another time.
            Err(_) | Ok(Err(FooterError::Io(_))) => return Ok(false),
            Ok(Err(_)) => return Ok(half && !older),
        };
        for c in candidates {
            let r = &c.row;
            let meets = self.catalog.runs(r.shard, RunQuery::Positions((r.first, r.end - 1))).await?;
            let (key, opens) = c.keys(&*self.catalog).await?;
            let (trim, journal) = match self.find(r.shard) {
                Some(s) => {
                    let st = s.state();
                    (st.trim, Some(st.flushed))
                }
                None => (self.forgotten_trim(r.shard), None),
            };
            let known = Known { key, opens, older, trim, journal, runs: &meets };
            match judge(r.first, r.end, &c.entries, &known) {
                Fate::Unwanted => {}
                Fate::Adopt(_) => {
                    tracing::warn!(segment = closed_name(id), "left alone: the next start takes it up");
                    return Ok(false);
                }
                Fate::Leave(why) => {
                    tracing::warn!(segment = closed_name(id), "left alone: {why}");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: ShardId = ShardId { stream: StreamUid([1; 16]), shard: 0 };

    fn row(first: u64, end: u64) -> RunRow {
        let at = (Timestamp(1), Timestamp(2));
        RunRow { shard: S, first, end, segment: [9; 16], ordinal: 0, bytes: 1, arrival: at, producer: at }
    }

    fn known(runs: &[RunRow]) -> Known<'_> {
        Known { key: true, opens: true, older: true, trim: 0, journal: None, runs }
    }

    #[test]
    fn what_is_nowhere_else_is_taken_up() {
        let all = [(10, 14), (14, 15), (18, 20)];
        assert_eq!(judge(10, 20, &all, &known(&[])), Fate::Adopt(vec![]));
        // Trimmed in part: the rest is wanted.
        assert_eq!(judge(10, 20, &all, &Known { trim: 15, ..known(&[]) }), Fate::Adopt(vec![]));
        assert_eq!(judge(10, 20, &all, &Known { trim: 20, ..known(&[]) }), Fate::Unwanted);
        // The journal has the end, or all.
        assert_eq!(judge(10, 20, &all, &Known { journal: Some(14), ..known(&[]) }), Fate::Adopt(vec![]));
        assert_eq!(judge(10, 20, &all, &Known { journal: Some(10), ..known(&[]) }), Fate::Unwanted);
    }

    #[test]
    fn what_is_elsewhere_is_not_wanted_whatever_holes_there_are() {
        let all = [(10, 14), (14, 15), (18, 20)];
        let whole = [row(10, 15), row(18, 25)];
        assert_eq!(judge(10, 20, &all, &known(&whole)), Fate::Unwanted);
        // A compaction's result, of whose sources one is gone, takes the place of the other.
        let part = [row(10, 14)];
        assert_eq!(judge(10, 20, &all, &known(&part)), Fate::Adopt(vec![(S, 10)]));
        let across = [row(5, 12)];
        assert!(matches!(judge(10, 20, &all, &known(&across)), Fate::Leave(_)));
    }

    #[test]
    fn without_a_key_or_without_a_reason_nothing_is_decided() {
        let all = [(1, 2)];
        let k = |key, older| Known { key, older, ..known(&[]) };
        assert!(matches!(judge(1, 2, &all, &k(false, true)), Fate::Leave(_)));
        assert_eq!(judge(1, 2, &all, &k(false, false)), Fate::Unwanted);
        assert!(matches!(judge(1, 2, &all, &k(true, false)), Fate::Leave(_)));
        assert!(matches!(judge(1, 2, &all, &Known { opens: false, ..k(true, true) }), Fate::Leave(_)));
    }

    #[test]
    fn the_note_comes_back_and_covers_what_was_made_meanwhile() {
        let o = Older {
            snapshot: Timestamp(86_400_000_000),
            restored: Timestamp(99_000_000_000),
            settled: false,
        };
        assert_eq!(Older::parse(&o.body()), Some(o));
        for bad in [&b""[..], b"1 2", b"1 x 0", b"\xff"] {
            assert_eq!(Older::parse(bad), None);
        }
        let id = |ms: u64| {
            let mut id = [7; 16];
            id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
            id
        };
        assert!(
            o.made_meanwhile(&id(90_000_000))
                && o.made_meanwhile(&id(0))
                && !o.made_meanwhile(&id(99_000_001))
        );
    }
}
