//! Retention at work: a pass looks at what there is, chooses what goes (`policy`), and removes it.
//!
//! A shard's front is trimmed, by a frame of the journal; beyond the first run that stays, whole runs are taken out of
//! the catalog, which leaves holes. Catalog first, bytes after: see `retain`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use catalog::{LogUpdate, Mark, RunQuery, RunRow};
use tokio::sync::oneshot;
use world::{ShardId, StreamUid, Timestamp};

use crate::{
    LogError, OnFull, StorePolicy,
    committer::{Fail, Op},
    index::Shard,
    keys::lock,
    policy::{Demand, Run, Stretch, choose},
    reserve::floor_of,
    rules::{Hint, Reason, Refused, Rule},
    shared::Shared,
};

/// How often a pass is made …
const EVERY: Duration = Duration::from_secs(10);
/// … and how soon after another when one is asked for.
const SOON: Duration = Duration::from_secs(1);
/// Runs of a shard that are looked at together.
const PAGE: usize = 64;
/// Shards that are looked at together when the whole store is too large.
const SHARDS: usize = 32;
/// How often one pass goes on for the same purpose.
const ROUNDS: usize = 10_000;

/// Makes a pass now and then until the log ends.
pub(crate) async fn keep_enforcing(shared: Arc<Shared>) {
    shared.sweep_rules().await;
    shared.finish_trims().await;
    loop {
        match shared.enforce().await {
            Err(LogError::Down) => return,
            Err(e) => tracing::warn!(error = %e, "retention could not do all it has to; trying again"),
            Ok(()) => {}
        }
        let soon = shared.world.clock.monotonic() + SOON;
        tokio::select! {
            () = shared.world.clock.sleep(EVERY) => {}
            () = shared.rules.wake.notified() => {
                if shared.rules.at_once.swap(false, Ordering::AcqRel) {
                    continue;
                }
                let now = shared.world.clock.monotonic();
                shared.world.clock.sleep(soon.saturating_sub(now)).await;
            }
        }
    }
}

/// A shard's oldest runs, with what is needed to remove some.
struct Oldest {
    shard: Arc<Shard>,
    rows: Vec<RunRow>,
    stretch: Stretch,
    /// Pinned runs come before these.
    behind_pin: bool,
}

/// MiB, for people.
fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

impl Shared {
    /// Removes what the rules say, and settles who is refused.
    pub async fn enforce(self: &Arc<Self>) -> Result<(), LogError> {
        let _one = self.rules.pass.lock().await;
        self.admit()?;
        let policy = self.rules.store();
        let floor = floor_of(&policy);
        let mut free = self.space_and_reserve(&policy).await?;
        let now = self.age_now().await;
        let mut refused = Refused::default();
        let mut failed = Ok(());
        for (stream, rule) in self.rules.all() {
            match self.enforce_stream(stream, &rule, now).await {
                Ok(Some(why)) => {
                    refused.streams.insert(stream, why.into());
                }
                Ok(None) => {}
                Err(LogError::Down) => return Err(LogError::Down),
                Err(e) => {
                    tracing::warn!(error = %e, %stream, "retention of a stream");
                    failed = Err(e);
                }
            }
        }
        match self.enforce_budget(&policy).await {
            Ok(why) => refused.all = why.map(Into::into),
            Err(e) => failed = Err(e),
        }
        // Room for the reserve, too, where it was used: it is only made beside the floor.
        let aim = floor + self.lacking(&policy).await?;
        if free < aim {
            let need = aim - free;
            let freed = if self.world.store.is_some() {
                // What is here is a cache, or waits to be uploaded: removing recordings would free nothing for long.
                self.free_local(need).await
            } else {
                self.make_room(need).await.unwrap_or_else(|e| {
                    failed = Err(e);
                    0
                })
            };
            // Counted rather than measured: a file system may take its time.
            free = self.space().await?.max(free + freed);
            if free < floor {
                let why = format!(
                    "the disk has {} MiB free, fewer than the {} MiB that are kept free, and nothing may be removed",
                    mib(free),
                    mib(floor)
                );
                refused.all = Some(why.into());
                // What is in segments that are being written can go once these are closed.
                self.flush.notify_one();
            }
        }
        let (free, _) = self.restore_reserve(&policy, free).await;
        self.measure(free, floor);
        self.rules.refuse(refused);
        failed
    }

    /// By age and by the stream's own budget. Says why the stream is to be refused, if it is.
    async fn enforce_stream(
        self: &Arc<Self>,
        stream: StreamUid,
        rule: &Rule,
        now: Timestamp,
    ) -> Result<Option<String>, LogError> {
        let r = rule.retention;
        if r.age.is_none() && r.bytes.is_none() {
            return Ok(None);
        }
        let before = r.age.map_or(Timestamp::MIN, |age| now - age);
        let shards = self.shards(Some(stream));
        let mut over = 0;
        let mut held = 0;
        if let Some(budget) = r.bytes {
            let recent: u64 = shards.iter().map(|s| s.state().recent_bytes).sum();
            held = recent + self.catalog.stored_bytes(Some(stream)).await?;
            if held > budget {
                held = held.saturating_sub(self.pinned_bytes(&shards, rule).await?);
            }
            over = held.saturating_sub(budget);
        }
        let overwrite = r.on_full == OnFull::Overwrite;
        for _ in 0..ROUNDS {
            let due = shards.iter().any(|s| self.oldest(s) < before);
            let room = over > 0 && overwrite;
            if !due && !room {
                break;
            }
            let demand = Demand { before, bytes: if overwrite { over } else { 0 }, bound: Timestamp::MAX };
            let mut oldest = Vec::with_capacity(shards.len());
            for s in &shards {
                oldest.push(self.look(s, rule).await?);
            }
            let (gone, more) = self.take(oldest, demand, Reason::Stream).await?;
            over = over.saturating_sub(gone.bytes);
            held = held.saturating_sub(gone.bytes);
            if !more || gone.runs == 0 {
                break;
            }
        }
        if r.age.is_some() {
            for s in &shards {
                self.trim_recent(s, before).await?;
            }
        }
        Ok(match r.bytes {
            Some(budget) if !overwrite && held > budget => Some(format!(
                "the stream holds {held} bytes, more than the {budget} that it may, and it does not overwrite"
            )),
            _ => None,
        })
    }

    /// Bytes that do not count towards a stream's budget.
    async fn pinned_bytes(&self, shards: &[Arc<Shard>], rule: &Rule) -> Result<u64, LogError> {
        let mut seen: BTreeMap<(ShardId, u64), u64> = BTreeMap::new();
        for p in &rule.pins {
            let q = RunQuery::Arrival((p.from - crate::PIN_MARGIN, p.to + crate::PIN_MARGIN));
            for s in shards {
                let runs = self.catalog.runs(s.id, q).await?;
                seen.extend(runs.into_iter().map(|r| ((r.shard, r.first), r.bytes)));
            }
        }
        Ok(seen.values().sum())
    }

    /// The whole store's budget. Says why everybody is to be refused, if so.
    async fn enforce_budget(self: &Arc<Self>, policy: &StorePolicy) -> Result<Option<String>, LogError> {
        let Some(budget) = policy.bytes else { return Ok(None) };
        let recent: u64 = self.shards(None).iter().map(|s| s.state().recent_bytes).sum();
        let held = recent + self.catalog.stored_bytes(None).await?;
        let over = held.saturating_sub(budget);
        if over == 0 {
            return Ok(None);
        }
        let gone = self.remove_oldest(over, Reason::Store).await?.bytes;
        // What was just received is in segments that are being written: they go next.
        Ok((held - gone > budget + recent).then(|| {
            format!(
                "the store holds {} MiB, more than the {} MiB that it may, and nothing may be removed",
                mib(held - gone),
                mib(budget)
            )
        }))
    }

    /// Removes the oldest recordings until files of so many bytes are gone. Returns how many are.
    async fn make_room(self: &Arc<Self>, need: u64) -> Result<u64, LogError> {
        let mut freed = 0;
        for _ in 0..ROUNDS {
            if freed >= need {
                break;
            }
            let gone = self.remove_oldest(need - freed, Reason::Space).await?;
            freed += gone.freed;
            if gone.runs == 0 {
                break;
            }
        }
        Ok(freed)
    }

    /// Removes runs of so many bytes, the oldest of all streams that overwrite.
    async fn remove_oldest(self: &Arc<Self>, bytes: u64, why: Reason) -> Result<Gone, LogError> {
        let mut all = Gone::default();
        for _ in 0..ROUNDS {
            if all.bytes >= bytes {
                break;
            }
            let mut shards: Vec<(Timestamp, Arc<Shard>, Arc<Rule>)> = Vec::new();
            for (stream, rule) in self.rules.all() {
                if rule.retention.on_full == OnFull::Overwrite {
                    let of = self.shards(Some(stream)).into_iter();
                    shards.extend(of.map(|s| (self.oldest(&s), s, rule.clone())));
                }
            }
            shards.retain(|s| s.0 < Timestamp::MAX);
            shards.sort_by_key(|s| (s.0, s.1.id));
            let bound = shards.get(SHARDS).map_or(Timestamp::MAX, |s| s.0);
            shards.truncate(SHARDS);
            if shards.is_empty() {
                break;
            }
            let mut oldest = Vec::with_capacity(shards.len());
            let hints: Vec<Timestamp> = shards.iter().map(|s| s.0).collect();
            for (_, s, rule) in &shards {
                oldest.push(self.look(s, rule).await?);
            }
            // Nothing was known of some: what they have may be older than what others were chosen for.
            let learnt = shards.iter().zip(&hints).any(|(s, h)| self.oldest(&s.1) != *h);
            if learnt && bound < Timestamp::MAX {
                continue;
            }
            let demand = Demand { before: Timestamp::MIN, bytes: bytes - all.bytes, bound };
            let (gone, _) = self.take(oldest, demand, why).await?;
            all.bytes += gone.bytes;
            all.freed += gone.freed;
            all.runs += gone.runs;
            if gone.runs == 0 {
                break;
            }
        }
        Ok(all)
    }

    /// When the oldest run of a shard that may go arrived, as far as is known; `MIN`: not known.
    fn oldest(&self, shard: &Shard) -> Timestamp {
        let st = shard.state();
        if st.gone || st.flushed == 0 {
            return Timestamp::MAX;
        }
        match lock(&self.rules.hints).get(&shard.id) {
            Some(h) if h.oldest < Timestamp::MAX || h.flushed == st.flushed => h.oldest,
            _ => Timestamp::MIN,
        }
    }

    /// Reads a shard's oldest runs, up to at least one that is not pinned.
    async fn look(&self, shard: &Arc<Shard>, rule: &Rule) -> Result<Oldest, LogError> {
        let (flushed, trim) = {
            let st = shard.state();
            (st.flushed, st.trim)
        };
        let (mut after, mut behind_pin) = (0, false);
        loop {
            let rows = self.catalog.first_runs(shard.id, after, PAGE).await?;
            let mut runs: Vec<Run> = rows
                .iter()
                .map(|r| Run {
                    first: r.first,
                    end: r.end,
                    bytes: r.bytes,
                    latest: r.arrival.1,
                    pinned: rule.pinned(r.arrival),
                    trimmed: r.end <= trim,
                })
                .collect();
            let more = rows.len() == PAGE;
            let blocked = behind_pin || runs.iter().any(|r| r.pinned && !r.trimmed);
            let mut held_back = false;
            if let (false, true, Some(last)) = (more, blocked, runs.last_mut())
                && !last.pinned
                && !self.last_may_go(shard.id, last.end).await?
            {
                // It stays for now, as if it were pinned.
                (last.pinned, held_back) = (true, true);
            }
            let first = runs.iter().find(|r| !r.pinned || r.trimmed);
            if let (None, true, Some(last)) = (first, more, rows.last()) {
                (after, behind_pin) = (last.end, true);
                continue;
            }
            let oldest = first.map_or(Timestamp::MAX, |r| r.latest);
            // Its state is held: what is told of a shard goes when it does.
            let st = shard.state();
            if st.gone || held_back && first.is_none() {
                lock(&self.rules.hints).remove(&shard.id);
            } else {
                lock(&self.rules.hints).insert(shard.id, Hint { oldest, flushed });
            }
            return Ok(Oldest { shard: shard.clone(), rows, stretch: Stretch { runs, more }, behind_pin });
        }
    }

    /// Chooses and removes. The second answer: there may be more.
    async fn take(
        self: &Arc<Self>,
        oldest: Vec<Oldest>,
        demand: Demand,
        why: Reason,
    ) -> Result<(Gone, bool), LogError> {
        let (stretches, rest): (Vec<Stretch>, Vec<_>) =
            oldest.into_iter().map(|o| (o.stretch, (o.shard, o.rows, o.behind_pin))).unzip();
        let (picks, more) = choose(&stretches, demand);
        let mut chosen: BTreeMap<usize, BTreeMap<usize, bool>> = BTreeMap::new();
        for p in picks {
            chosen.entry(p.shard).or_default().insert(p.run, p.aged);
        }
        let mut gone = Gone::default();
        for (n, runs) in chosen {
            let (shard, rows, behind_pin) = &rest[n];
            // The front goes by a trim, up to the first run that stays.
            let front = (0..rows.len()).take_while(|i| runs.contains_key(i)).count();
            let trim = match rows.get(front) {
                _ if *behind_pin || front == 0 => 0,
                // Over the hole before it, if there is one.
                Some(next) => next.first,
                None => rows[front - 1].end,
            };
            let rows: Vec<(RunRow, bool)> = runs.iter().map(|(i, aged)| (rows[*i].clone(), *aged)).collect();
            gone.add(self.remove_runs(shard, trim, rows, why).await?);
            lock(&self.rules.hints).remove(&shard.id);
        }
        Ok((gone, more))
    }

    async fn trim_to(self: &Arc<Self>, shard: &Arc<Shard>, before: u64) -> Result<(), LogError> {
        if shard.state().trim >= before {
            return Ok(());
        }
        let (done, outcome) = oneshot::channel();
        let op = Op::Trim { shard: shard.clone(), before, done };
        self.queue.push(op).map_err(|_| LogError::Down)?;
        match outcome.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Fail::Log(e))) => Err(e),
            Ok(Err(Fail::Moved)) | Err(_) => Err(LogError::Unknown("the log stopped meanwhile".into())),
        }
    }

    /// Removes runs, those of the front after a trim.
    async fn remove_runs(
        self: &Arc<Self>,
        shard: &Arc<Shard>,
        trim: u64,
        chosen: Vec<(RunRow, bool)>,
        why: Reason,
    ) -> Result<Gone, LogError> {
        let _removing = self.rules.removing.lock().await;
        // Pinned since it was chosen?
        let rule = self.rules.of(shard.id.stream);
        let before = shard.state().trim;
        if chosen.iter().any(|(r, _)| r.end > before && rule.pinned(r.arrival)) {
            return Ok(Gone::default());
        }
        if trim > 0 {
            self.trim_to(shard, trim).await?;
        }
        let mut waiting = self.projection.lock().await;
        self.commit_waiting(&mut waiting).await?;
        let Some(end) = chosen.iter().map(|(r, _)| r.end).max() else { return Ok(Gone::default()) };
        let trim = shard.state().trim;
        let last_may_go = self.last_may_go(shard.id, end).await?;
        let mut rows = Vec::new();
        for (r, aged) in chosen {
            // A compaction may have put others in their place: those are for the next look.
            let found = self.catalog.first_runs(shard.id, r.end - 1, 1).await?;
            if found.first() == Some(&r) && (r.end <= trim || r.end < end || last_may_go) {
                rows.push((r, aged));
            }
        }
        if rows.is_empty() {
            return Ok(Gone::default());
        }
        let mut removed: BTreeSet<(ShardId, u64)> = rows.iter().map(|(r, _)| (r.shard, r.first)).collect();
        let (mut empty, mut freed) = (Vec::new(), 0);
        for id in rows.iter().map(|(r, _)| r.segment).collect::<BTreeSet<_>>() {
            match self.unreferenced(&id, &removed).await {
                Ok(true) => {
                    freed += self.catalog.segment(id).await?.map_or(0, |s| s.bytes);
                    empty.push(id);
                }
                Ok(false) => self.compaction.thin(id),
                // Its runs stay until it can be: without them nobody would come upon it again.
                Err(e) => {
                    tracing::warn!(error = %e, "a segment could not be looked at for removal");
                    rows.retain(|(r, _)| r.segment != id);
                    removed.retain(|gone| rows.iter().any(|(r, _)| (r.shard, r.first) == *gone));
                }
            }
        }
        if rows.is_empty() {
            return Ok(Gone::default());
        }
        self.note_removals(&empty).await?;
        let update = LogUpdate {
            removed_runs: removed.into_iter().collect(),
            removed_segments: empty.clone(),
            ..LogUpdate::default()
        };
        self.catalog.log_update(update).await?;
        if let Some(end) = rows.iter().map(|(r, _)| r.end).max() {
            // What is gone from the middle is not read from memory either.
            shard.state().drop_tail(end);
        }
        for id in empty {
            self.remove_segment(&id).await;
        }
        let mut gone = Gone { runs: rows.len(), bytes: 0, freed };
        for (r, aged) in rows {
            gone.bytes += r.bytes;
            self.rules.count(if aged { Reason::Age } else { why }, r.bytes);
        }
        Ok(gone)
    }

    /// Whether a run that ends there may be taken out of a shard's middle. A start takes what the journal has beyond the
    /// catalog's last run for new: the last run can only go once the journal's mark has passed all of it.
    async fn last_may_go(&self, shard: ShardId, end: u64) -> Result<bool, LogError> {
        if !self.catalog.first_runs(shard, end, 1).await?.is_empty() {
            return Ok(true);
        }
        // It is in the catalog: whatever the journal has of it was written before now.
        let now = lock(&self.journal).last_key_value().map_or(Mark::default(), |(n, f)| Mark {
            file: u64::from(*n),
            offset: f.end.load(Ordering::Acquire),
        });
        let seen = match *lock(&self.rules.last_runs).entry(shard).or_insert((end, now)) {
            (e, at) if e == end => at,
            ref mut other => {
                *other = (end, now);
                now
            }
        };
        let passed = self.catalog.mark().await? >= seen;
        if passed {
            lock(&self.rules.last_runs).remove(&shard);
        }
        Ok(passed)
    }

    /// Trims what is too old and in no closed segment yet, if everything before it is gone.
    async fn trim_recent(self: &Arc<Self>, shard: &Arc<Shard>, before: Timestamp) -> Result<(), LogError> {
        let _removing = self.rules.removing.lock().await;
        let rule = self.rules.of(shard.id.stream);
        let (from, to, bytes) = {
            let st = shard.state();
            let (mut to, mut bytes) = (0, 0);
            for r in st.recent.iter() {
                if r.arrival() >= before || rule.pinned((r.arrival(), r.arrival())) {
                    break;
                }
                to = r.end();
                bytes += r.bytes();
            }
            (st.flushed, to, bytes)
        };
        let trim = shard.state().trim;
        if to == 0 || !self.catalog.first_runs(shard.id, trim, 1).await?.is_empty() {
            return Ok(());
        }
        // What is being moved into a segment at this moment is the next pass's.
        if shard.state().flushed != from {
            return Ok(());
        }
        self.trim_to(shard, to).await?;
        self.rules.count(Reason::Age, bytes);
        Ok(())
    }

    /// Once after a start: what was trimmed and not removed any more.
    pub async fn finish_trims(self: &Arc<Self>) {
        for s in self.shards(None) {
            if s.state().trim > 0 {
                self.drop_runs(&s).await;
            }
        }
    }
}

/// What was removed.
#[derive(Default)]
struct Gone {
    runs: usize,
    /// Of the runs.
    bytes: u64,
    /// Of the files that went.
    freed: u64,
}

impl Gone {
    fn add(&mut self, other: Gone) {
        self.runs += other.runs;
        self.bytes += other.bytes;
        self.freed += other.freed;
    }
}
