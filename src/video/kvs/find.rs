//! Fragments by what clients name them by.

use std::sync::Arc;

use log::Query;
use world::Timestamp;

use super::{Kvs, number};
use crate::{By, Fragment, VideoError, streams::Stream};

/// Below this many positions, bisecting is not worth it.
const FEW: u64 = 64;
/// How many fragments that arrived since a number was given out are looked at for it.
const NEAR: usize = 8;

/// When receipt of a fragment began.
pub fn server_start(f: &Fragment) -> Timestamp {
    match i64::try_from(f.entry.number) {
        Ok(n) if n > 0 => Timestamp(n),
        _ => f.start(By::Server),
    }
}

/// When it begins, by one of the two clocks.
pub fn start(f: &Fragment, by: By) -> Timestamp {
    match by {
        By::Producer => f.start(By::Producer),
        By::Server => server_start(f),
    }
}

/// Which of two moments of a range a fragment's beginning lies at, as AWS has it: both included.
pub fn within(f: &Fragment, by: By, (from, to): (Timestamp, Timestamp)) -> bool {
    // Clients know milliseconds.
    let ms = round(start(f, by));
    (round(from)..=round(to)).contains(&ms)
}

/// Milliseconds, to the nearest.
pub fn round(t: Timestamp) -> i64 {
    t.micros().saturating_add(500).div_euclid(1000)
}

/// Seconds with three digits after the point.
pub fn seconds(t: Timestamp) -> String {
    let ms = round(t);
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

impl Kvs {
    /// The first fragment whose number is at least this one.
    pub(super) async fn at_number(
        &self,
        stream: &Stream,
        wanted: u64,
    ) -> Result<Option<Arc<Fragment>>, VideoError> {
        let log = &self.video.log;
        // Most likely it is one of those that arrived just after its number was given out.
        let near = Query::Arrival(Timestamp(i64::try_from(wanted).unwrap_or(i64::MAX)), Timestamp::MAX);
        // What is lost there does not hide what is not.
        let found = log.readable_payloads(stream.shard, near, NEAR, false).await;
        for p in found.map_err(|e| stream.log_error(e))?.0 {
            if let Some(f) = Fragment::parse(stream, p).filter(|f| number::plain(f) == wanted) {
                return Ok(Some(f));
            }
        }
        let all = Query::Positions(0, u64::MAX);
        let (Some(first), Some(last)) =
            (stream.end(log, all, false).await?, stream.end(log, all, true).await?)
        else {
            return Ok(None);
        };
        if number::plain(&first) >= wanted {
            return Ok(Some(first));
        }
        if number::plain(&last) < wanted {
            return Ok(None);
        }
        // The answer lies above `low` and is `high` at the latest.
        let (mut low, mut high) = (first.position(), last);
        while high.position() - low > 1 {
            if high.position() - low <= FEW {
                for f in stream.page(log, low + 1, high.position() - 1, FEW as usize).await? {
                    if number::plain(&f) >= wanted {
                        return Ok(Some(f));
                    }
                }
                break;
            }
            let mid = low + (high.position() - low) / 2;
            match stream.end(log, Query::Positions(mid, high.position() - 1), false).await? {
                Some(f) if number::plain(&f) >= wanted => high = f,
                Some(f) => low = f.position(),
                None => match stream.end(log, Query::Positions(low + 1, mid - 1), true).await? {
                    Some(f) if number::plain(&f) >= wanted => high = f,
                    Some(f) => low = f.position(),
                    None => break,
                },
            }
        }
        Ok(Some(high))
    }

    /// The fragment that a number names.
    pub(super) async fn by_number(
        &self,
        stream: &Stream,
        text: &str,
    ) -> Result<Option<Arc<Fragment>>, VideoError> {
        let Some(wanted) = number::parse(stream.info.uid, text) else { return Ok(None) };
        let found = self.at_number(stream, wanted).await?;
        Ok(found.filter(|f| number::plain(f) == wanted))
    }

    /// The first fragment that begins at a moment or later.
    pub(super) async fn at_time(
        &self,
        stream: &Stream,
        by: By,
        from: Timestamp,
    ) -> Result<Option<Arc<Fragment>>, VideoError> {
        let log = &self.video.log;
        let q = match by {
            By::Producer => Query::Producer(from - std::time::Duration::from_millis(1), Timestamp::MAX),
            By::Server => Query::Arrival(from, Timestamp::MAX),
        };
        let Some(first) = stream.end(log, q, false).await? else { return Ok(None) };
        let mut at = first.position();
        loop {
            let page = stream.page(log, at, u64::MAX, FEW as usize).await?;
            let Some(last) = page.last().map(|f| f.position()) else { return Ok(None) };
            if let Some(f) = page.into_iter().find(|f| round(start(f, by)) >= round(from)) {
                return Ok(Some(f));
            }
            at = last.saturating_add(1);
        }
    }
}
