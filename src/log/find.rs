//! Finding: positions by time, payloads by position, arrival or producer time. Costs index reads only.

use std::sync::Arc;

use catalog::{RunQuery, RunRow};
use world::{ShardId, Timestamp};

use crate::{
    LogError, Payload, Query, Unreadable,
    entry::{Entry, Large, SegmentId},
    index::{Recent, Shard},
    objects,
    read::TRIES,
    shared::Shared,
};

/// Parts that cannot be read and that [`crate::Log::readable_payloads`] passes over at most.
pub const MAX_UNREADABLE: usize = 16;

impl Shared {
    pub async fn seek(self: &Arc<Self>, id: ShardId, arrival: Timestamp) -> Result<u64, LogError> {
        let shard = self.shard(id)?;
        for _ in 0..TRIES {
            let (recent, flushed, trim, next) = {
                let st = shard.state();
                let at = st.recent.partition_point(|r| r.arrival() < arrival);
                (st.recent.get(at).map(Recent::first), st.flushed, st.trim, st.next)
            };
            let fallback = recent.unwrap_or(next).max(trim);
            if flushed <= trim {
                return Ok(fallback);
            }
            // Runs do not overlap in arrival but at their ends: the first that meets the span has the answer, if any has.
            let q = RunQuery::Arrival((arrival, Timestamp::MAX));
            let runs = self.catalog.runs(id, q).await?;
            let mut moved = false;
            for run in runs.iter().filter(|r| r.end > trim && r.first < flushed) {
                match self.seek_run(run, arrival, trim).await {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => {}
                    Err(e) if self.there(run).await? => return Err(e),
                    Err(_) => {
                        moved = true;
                        break;
                    }
                }
            }
            if !moved && shard.state().flushed == flushed {
                return Ok(fallback);
            }
        }
        Err(LogError::Io(format!("shard {id} changed too often while it was read")))
    }

    async fn seek_run(
        self: &Arc<Self>,
        run: &RunRow,
        arrival: Timestamp,
        trim: u64,
    ) -> Result<Option<u64>, LogError> {
        let (root, ordinal) = self.root_of(run).await?;
        let pages = &root.runs[ordinal].pages;
        for p in pages.partition_point(|p| p.arrival.1 < arrival)..pages.len() {
            let entries = self.page(&run.segment, &root, ordinal, p).await?;
            if let Some(e) = entries.iter().find(|e| e.arrival() >= arrival && e.end() > trim) {
                return Ok(Some(e.first().max(trim)));
            }
        }
        Ok(None)
    }

    pub async fn gaps(&self, id: ShardId, from: u64, to: u64) -> Result<Vec<(u64, u64)>, LogError> {
        let shard = self.shard(id)?;
        let (flushed, recent) = {
            let st = shard.state();
            (st.flushed, st.recent.front().map(Recent::first))
        };
        let mut gaps = self.catalog.gaps(id, (from, to)).await?;
        // What is in no closed segment yet has no holes; there may be one before it.
        let (Some(recent), Some(last)) = (recent, flushed.checked_sub(1)) else { return Ok(gaps) };
        if (from..=to).contains(&recent)
            && self.catalog.runs(id, RunQuery::Positions((last, last))).await?.is_empty()
        {
            let runs = self.catalog.runs(id, RunQuery::Positions((from, last))).await?;
            gaps.extend(runs.last().filter(|r| r.end < recent).map(|r| (r.end, recent)));
        }
        Ok(gaps)
    }

    pub async fn payloads(
        self: &Arc<Self>,
        id: ShardId,
        query: Query,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Payload>, LogError> {
        for _ in 0..TRIES {
            if let Some(found) = self.try_payloads(id, query, limit, from_end, None).await? {
                return Ok(found);
            }
        }
        Err(LogError::Io(format!("shard {id} changed too often while it was read")))
    }

    pub async fn readable_payloads(
        self: &Arc<Self>,
        id: ShardId,
        query: Query,
        limit: usize,
        from_end: bool,
    ) -> Result<(Vec<Payload>, Vec<Unreadable>), LogError> {
        for _ in 0..TRIES {
            let mut passed = Vec::new();
            let found = self.try_payloads(id, query, limit, from_end, Some(&mut passed)).await?;
            if let Some(found) = found {
                return Ok((found, passed));
            }
        }
        Err(LogError::Io(format!("shard {id} changed too often while it was read")))
    }

    /// Whether a segment that could not be read is gone or damaged, rather than not to be had at the moment.
    pub async fn unreadable_for_good(self: &Arc<Self>, id: &SegmentId, e: &LogError) -> bool {
        match e {
            LogError::Damaged(_) => true,
            LogError::Io(_) => {
                let (s, id) = (self.clone(), *id);
                self.blocking(move || objects::gone(&s.world, &id)).await.is_ok_and(|gone| gone)
            }
            _ => false,
        }
    }

    /// `None` if a run was moved or removed meanwhile. `passed`: where to note parts that cannot be read, instead of
    /// failing.
    async fn try_payloads(
        self: &Arc<Self>,
        id: ShardId,
        query: Query,
        limit: usize,
        from_end: bool,
        mut passed: Option<&mut Vec<Unreadable>>,
    ) -> Result<Option<Vec<Payload>>, LogError> {
        let shard = self.shard(id)?;
        // What is recent at this moment; everything before `flushed` is in runs already.
        let (recent, flushed, trim) = {
            let st = shard.state();
            let matching = st.recent.iter().filter_map(|r| match r {
                Recent::Large { large, .. } if meets(&query, large) && large.position >= st.trim => {
                    Some(large)
                }
                _ => None,
            });
            let recent: Vec<Arc<Large>> = if from_end {
                matching.rev().take(limit).cloned().collect()
            } else {
                matching.take(limit).cloned().collect()
            };
            (recent, st.flushed, st.trim)
        };
        let mut out = Vec::new();
        if from_end {
            out.extend(recent.iter().map(|l| l.payload(id)));
        }
        if flushed > trim && out.len() < limit {
            let q = match query {
                Query::Positions(a, b) => RunQuery::Positions((a, b)),
                Query::Arrival(a, b) => RunQuery::Arrival((a, b)),
                Query::Producer(a, b) => RunQuery::Producer((a, b)),
            };
            let mut runs = self.catalog.runs(id, q).await?;
            if from_end {
                runs.reverse();
            }
            for run in runs.iter().filter(|r| r.first < flushed && r.end > trim) {
                if out.len() >= limit {
                    break;
                }
                let done = self.payloads_of_run(&shard, run, &query, trim, limit, from_end, &mut out).await;
                if let Err(e) = done {
                    if !self.there(run).await? {
                        return Ok(None);
                    }
                    match &mut passed {
                        Some(passed) if self.unreadable_for_good(&run.segment, &e).await => {
                            passed.push(Unreadable {
                                positions: (run.first.max(trim), run.end),
                                arrival: run.arrival,
                                bytes: run.bytes,
                                why: e.to_string(),
                            });
                            if passed.len() >= MAX_UNREADABLE {
                                break;
                            }
                        }
                        _ => return Err(e),
                    }
                }
            }
        }
        if from_end {
            out.truncate(limit);
            out.reverse();
        } else {
            let room = limit.saturating_sub(out.len());
            out.extend(recent.iter().take(room).map(|l| l.payload(id)));
        }
        Ok(Some(out))
    }

    #[allow(clippy::too_many_arguments, reason = "one step of one caller")]
    async fn payloads_of_run(
        self: &Arc<Self>,
        shard: &Shard,
        run: &RunRow,
        query: &Query,
        trim: u64,
        limit: usize,
        from_end: bool,
        out: &mut Vec<Payload>,
    ) -> Result<(), LogError> {
        let (root, ordinal) = self.root_of(run).await?;
        let pages = &root.runs[ordinal].pages;
        let mut order: Vec<usize> = (0..pages.len())
            .filter(|p| {
                let p = &pages[*p];
                p.end > trim
                    && match *query {
                        Query::Positions(a, b) => p.first <= b && p.end > a,
                        Query::Arrival(a, b) => p.arrival.0 <= b && p.arrival.1 >= a,
                        Query::Producer(a, b) => p.producer.0 <= b && p.producer.1 >= a,
                    }
            })
            .collect();
        if from_end {
            order.reverse();
        }
        for p in order {
            let entries = self.page(&run.segment, &root, ordinal, p).await?;
            let mut take = |e: &Entry| {
                if let Entry::Large(l) = e
                    && meets(query, l)
                    && l.position >= trim
                    && out.len() < limit
                {
                    out.push(l.payload(shard.id));
                }
            };
            if from_end {
                entries.iter().rev().for_each(&mut take);
            } else {
                entries.iter().for_each(&mut take);
            }
            if out.len() >= limit {
                break;
            }
        }
        Ok(())
    }
}

/// Both ends inclusive.
fn meets(q: &Query, l: &Large) -> bool {
    match *q {
        Query::Positions(a, b) => (a..=b).contains(&l.position),
        Query::Arrival(a, b) => (a..=b).contains(&l.arrival),
        Query::Producer(a, b) => l.producer.0 <= b && l.producer.1 >= a,
    }
}
