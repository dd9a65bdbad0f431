//! Reading fragments: the latest ones from memory, any from the log's index.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use log::{Head, Log, MAX_UNREADABLE, Payload, Query, SharedLog, Unreadable};
use tokio::sync::watch;
use world::Timestamp;

use crate::{VideoError, index::Entry, streams::Stream};

/// How many entries are asked of the log at once.
const PAGE: usize = 1000;
/// How far back the first page of a live window reaches.
const FIRST_PAGE: usize = 512;
/// How many fragments of the same time are looked at for one that was put before.
const SAME: usize = 64;
/// How many fragments before a moment are searched for one where decoding can start.
const LEAD: u64 = 32;

/// One stored fragment: what the log and the index say of it.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// Position, times, length.
    pub payload: Payload,
    /// The rest.
    pub entry: Entry,
}

/// Which clock is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The server's: when it was received.
    Server,
    /// The producer's: when it was seen.
    #[default]
    Producer,
}

impl Fragment {
    pub(crate) fn parse(stream: &Stream, payload: Payload) -> Option<Arc<Fragment>> {
        match Entry::decode(&payload.index) {
            Ok(entry) => Some(Arc::new(Fragment { payload, entry })),
            Err(e) => {
                // One that cannot be read must not hide the others.
                tracing::error!(stream = stream.name(), position = payload.position, error = %e, "index entry");
                None
            }
        }
    }
    /// Its number in its stream.
    pub fn position(&self) -> u64 {
        self.payload.position
    }
    /// Length of the samples' bytes: the skeleton, if there is one, and the table come after.
    pub fn media_len(&self) -> u64 {
        let skeleton = self.entry.matroska.map_or(0, |m| u64::from(m.skeleton_len));
        self.table_from().saturating_sub(skeleton)
    }
    /// Where the table begins.
    pub fn table_from(&self) -> u64 {
        self.payload.len.saturating_sub(u64::from(self.entry.table_len))
    }
    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        self.payload.producer.1.since(self.payload.producer.0)
    }
    /// When it begins.
    pub fn start(&self, by: By) -> Timestamp {
        match by {
            By::Producer => self.payload.producer.0,
            By::Server => self.payload.arrival - self.duration(),
        }
    }
    /// When it ends.
    pub fn end(&self, by: By) -> Timestamp {
        match by {
            By::Producer => self.payload.producer.1,
            By::Server => self.payload.arrival,
        }
    }
}

/// The latest fragments of a stream, as far back as its live window.
#[derive(Default)]
pub(crate) struct Recent {
    items: VecDeque<Arc<Fragment>>,
    /// Positions before this one were looked at.
    next: u64,
    head: Option<watch::Receiver<Head>>,
}

impl Recent {
    async fn refresh(&mut self, log: &dyn Log, stream: &Stream, most: usize) -> Result<(), VideoError> {
        let err = |e| stream.log_error(e);
        if self.head.is_none() {
            let mut head = log.watch(stream.shard).map_err(err)?;
            let next = head.borrow_and_update().next;
            for limit in [FIRST_PAGE.min(most), most] {
                let (page, unreadable) = log
                    .readable_payloads(stream.shard, Query::Positions(0, u64::MAX), limit, true)
                    .await
                    .map_err(err)?;
                // A live window begins after what cannot be read: it has no holes.
                let from = unreadable.iter().map(|u| u.positions.1).max().unwrap_or(0);
                let full = page.len() == limit;
                let reaches = match (page.first(), page.last()) {
                    (Some(a), Some(b)) => b.arrival.since(a.arrival) > stream.window,
                    _ => true,
                };
                self.next = page.last().map_or(next, |p| p.position + 1).max(next);
                let page = page.into_iter().filter(|p| p.position >= from);
                self.items = page.filter_map(|p| Fragment::parse(stream, p)).collect();
                if !full || reaches || limit == most {
                    break;
                }
            }
            self.head = Some(head);
        }
        let Some(head) = &mut self.head else { return Ok(()) };
        if stream.deleted.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(VideoError::Deleted(stream.name().into()));
        }
        let Head { oldest, next, .. } = *head.borrow_and_update();
        while self.next < next {
            let page = log
                .payloads(stream.shard, Query::Positions(self.next, u64::MAX), PAGE, false)
                .await
                .map_err(err)?;
            self.next = page.last().map_or(next, |p| p.position + 1).max(self.next + 1);
            self.items.extend(page.into_iter().filter_map(|p| Fragment::parse(stream, p)));
        }
        while self.items.front().is_some_and(|f| f.position() < oldest) {
            self.items.pop_front();
        }
        // Measured from the newest, not from now: the same playlist whenever it is asked for.
        let newest = self.items.back().map_or(Timestamp::MIN, |f| f.payload.arrival);
        while self.items.len() > most
            || self.items.front().is_some_and(|f| newest.since(f.payload.arrival) > stream.window)
        {
            self.items.pop_front();
        }
        Ok(())
    }
}

/// Parts that cannot be read and are passed over for one answer.
const MAX_PARTS: usize = 1000;

/// What is found in a range.
pub(crate) struct Found {
    /// Ascending by position.
    pub items: Vec<Arc<Fragment>>,
    /// There is more than was asked for.
    pub more: bool,
}

impl Stream {
    /// The live window: the latest fragments, oldest first.
    pub async fn window(&self, log: &SharedLog, most: usize) -> Result<Vec<Arc<Fragment>>, VideoError> {
        let mut recent = self.recent.lock().await;
        recent.refresh(log.as_ref(), self, most).await?;
        Ok(recent.items.iter().cloned().collect())
    }

    /// The latest fragment that can be read.
    pub async fn last(&self, log: &SharedLog) -> Result<Option<Arc<Fragment>>, VideoError> {
        Ok(self.outermost(log, true).await?.0)
    }

    /// The first or the latest fragment that can be read, and what beyond it cannot.
    pub async fn outermost(
        &self,
        log: &SharedLog,
        from_end: bool,
    ) -> Result<(Option<Arc<Fragment>>, Vec<Unreadable>), VideoError> {
        let (page, unreadable) = log
            .readable_payloads(self.shard, Query::Positions(0, u64::MAX), 1, from_end)
            .await
            .map_err(|e| self.log_error(e))?;
        Ok((page.into_iter().find_map(|p| Fragment::parse(self, p)), unreadable))
    }

    /// Payloads, past what cannot be read, which is remembered.
    async fn readable(
        &self,
        log: &SharedLog,
        q: Query,
        most: usize,
        from_end: bool,
    ) -> Result<(Vec<Payload>, Vec<Unreadable>), VideoError> {
        let found = log.readable_payloads(self.shard, q, most, from_end).await;
        let (page, lost) = found.map_err(|e| self.log_error(e))?;
        self.lost.note(&lost);
        Ok((page, lost))
    }

    fn too_much_lost(&self) -> VideoError {
        let what =
            "too many parts of this range are gone or damaged: ask for a shorter one, or run rushes verify";
        VideoError::Damaged(self.name().into(), what.into())
    }

    /// The first or the last fragment of a stretch, of what can be read.
    pub async fn end(
        &self,
        log: &SharedLog,
        q: Query,
        from_end: bool,
    ) -> Result<Option<Arc<Fragment>>, VideoError> {
        let (page, lost) = self.readable(log, q, 1, from_end).await?;
        // What is recent would come before what was not looked at.
        if lost.len() >= MAX_UNREADABLE && (page.is_empty() || !from_end) {
            return Err(self.too_much_lost());
        }
        Ok(page.into_iter().find_map(|p| Fragment::parse(self, p)))
    }

    /// One fragment.
    pub async fn fragment(&self, log: &SharedLog, position: u64) -> Result<Arc<Fragment>, VideoError> {
        if let Ok(recent) = self.recent.try_lock()
            && let Ok(i) = recent.items.binary_search_by_key(&position, |f| f.position())
            && let Some(f) = recent.items.get(i)
        {
            return Ok(f.clone());
        }
        let here = log.payloads(self.shard, Query::Positions(position, position), 1, false).await;
        let here = here.map_err(|e| self.log_error(e))?;
        if let Some(f) = here.into_iter().find_map(|p| Fragment::parse(self, p)) {
            return Ok(f);
        }
        let next = log.watch(self.shard).map_err(|e| self.log_error(e))?.borrow().next;
        let what = format!("fragment {position} of video stream {:?}", self.name());
        // Retention leaves holes, too, where something before is pinned.
        Err(if position < next {
            VideoError::Gone(format!("{what} is gone: retention has removed it"))
        } else {
            VideoError::NoMedia(format!("there is no {what}"))
        })
    }

    /// The number of the fragment that begins at a time by the producer's clock and whose frames have this digest.
    pub async fn same(
        &self,
        log: &SharedLog,
        start: Timestamp,
        digest: &[u8; 16],
    ) -> Result<Option<u64>, VideoError> {
        let q = Query::Producer(start, start);
        // What is lost is not known again, and holds nothing up.
        let found = log.readable_payloads(self.shard, q, SAME, true).await;
        let (page, _) = found.map_err(|e| self.log_error(e))?;
        let mut all = page.into_iter().filter(|p| p.producer.0 == start);
        let same = |f: &Arc<Fragment>| f.entry.matroska.is_some_and(|m| m.digest == *digest);
        Ok(all.find_map(|p| Fragment::parse(self, p).filter(same)).map(|f| f.entry.number))
    }

    /// Entries from a position on, in pages, of what can be read.
    pub async fn page(
        &self,
        log: &SharedLog,
        from: u64,
        to: u64,
        most: usize,
    ) -> Result<Vec<Arc<Fragment>>, VideoError> {
        let mut out = Vec::new();
        let (mut at, mut parts) = (from, 0);
        while out.len() < most && at <= to {
            let want = PAGE.min(most - out.len());
            let (mut page, lost) = self.readable(log, Query::Positions(at, to), want, false).await?;
            let after = lost.iter().map(|u| u.positions.1).max();
            let more = lost.len() >= MAX_UNREADABLE;
            if more {
                // What is between those and what is recent was not looked at.
                page.retain(|p| after.is_some_and(|after| p.position < after));
            }
            let last = page.last().map(|p| p.position).max(after.map(|after| after.saturating_sub(1)));
            let Some(last) = last else { break };
            self.lost.settle(at, last, &lost);
            let got = page.len();
            out.extend(page.into_iter().filter_map(|p| Fragment::parse(self, p)));
            if got < want && !more || last == u64::MAX {
                break;
            }
            parts += lost.len();
            if parts > MAX_PARTS {
                return Err(self.too_much_lost());
            }
            at = last + 1;
        }
        Ok(out)
    }

    /// The first and the last fragment with something between two moments.
    pub async fn ends(
        &self,
        log: &SharedLog,
        by: By,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<(Arc<Fragment>, Arc<Fragment>)>, VideoError> {
        // A fragment that ends with the moment has nothing of it.
        let from = from + Duration::from_micros(1);
        let q = match by {
            By::Producer => Query::Producer(from, to),
            // A fragment arrives when it ends: one that begins within the range may arrive after it.
            By::Server => Query::Arrival(from, to + self.rules.max + Duration::from_secs(1)),
        };
        let (Some(first), Some(mut last)) = (self.end(log, q, false).await?, self.end(log, q, true).await?)
        else {
            return Ok(None);
        };
        if by == By::Server {
            // Not many begin within one fragment's longest duration.
            while last.start(by) > to {
                if last.position() <= first.position() {
                    return Ok(None);
                }
                match self.end(log, Query::Positions(first.position(), last.position() - 1), true).await? {
                    Some(f) => last = f,
                    None => return Ok(None),
                }
            }
        }
        Ok(Some((first, last)))
    }

    /// Where decoding must start to show `first`: itself, or a fragment shortly before that it continues.
    pub async fn lead(&self, log: &SharedLog, first: Arc<Fragment>) -> Result<Arc<Fragment>, VideoError> {
        if first.entry.independent {
            return Ok(first);
        }
        let p = first.position();
        let before = self.page(log, p.saturating_sub(LEAD), p.saturating_sub(1), LEAD as usize).await?;
        // Nor over a hole.
        let mut next = first.entry.ordinal;
        let lead = before
            .into_iter()
            .rev()
            .take_while(|f| {
                let joined = f.entry.discontinuities == first.entry.discontinuities
                    && f.entry.ordinal.saturating_add(1) == next;
                next = f.entry.ordinal;
                joined
            })
            .find(|f| f.entry.independent);
        Ok(lead.unwrap_or(first))
    }

    /// Everything between two moments, and what must be decoded before it.
    pub async fn range(
        &self,
        log: &SharedLog,
        by: By,
        from: Timestamp,
        to: Timestamp,
        most: usize,
    ) -> Result<Found, VideoError> {
        let Some((first, last)) = self.ends(log, by, from, to).await? else {
            return Ok(Found { items: Vec::new(), more: false });
        };
        let lead = self.lead(log, first.clone()).await?;
        let mut items = self.page(log, lead.position(), last.position(), most + 1).await?;
        let more = items.len() > most;
        items.truncate(most);
        items.retain(|f| f.position() < first.position() || f.end(by) > from && f.start(by) <= to);
        Ok(Found { items, more })
    }
}

/// Goes through a stretch of fragments, a page at a time.
pub(crate) struct Paging {
    at: u64,
    to: u64,
    page: std::vec::IntoIter<Arc<Fragment>>,
}

impl Paging {
    /// Both ends inclusive.
    pub fn new(from: u64, to: u64) -> Paging {
        Paging { at: from, to, page: Vec::new().into_iter() }
    }

    pub async fn next(
        &mut self,
        stream: &Stream,
        log: &SharedLog,
    ) -> Result<Option<Arc<Fragment>>, VideoError> {
        if self.page.len() == 0 && self.at <= self.to {
            let page = stream.page(log, self.at, self.to, PAGE).await?;
            // The end, or a page of which nothing can be read.
            self.at = page.last().map_or(u64::MAX, |f| f.position().saturating_add(1));
            self.page = page.into_iter();
        }
        Ok(self.page.next())
    }
}
