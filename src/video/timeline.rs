//! What is recorded when.
//!
//! Within a session fragments follow one another without a gap (each one's last sample lasts until the next one's
//! first), and whatever breaks that is counted in the index as a discontinuity. So a stretch between two
//! discontinuities is found by its two ends, and its end by bisection over positions: a month of two-second fragments
//! (1.3 million) costs some twenty index reads for each break, not one for each fragment.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use log::{Query, SharedLog};
use world::Timestamp;

use crate::{
    VideoError,
    store::{By, Fragment},
    streams::Stream,
};

/// Gaps shorter than this are none.
const JOIN: Duration = Duration::from_secs(1);
/// Stretches visited for one answer.
const MAX_RUNS: usize = 100_000;
/// Spans in one answer; where there are more the shortest gaps are closed.
const MAX_SPANS: usize = 10_000;
/// Stretches remembered for each stream.
const MAX_CACHED: usize = 10_000;
/// Below this many positions, bisecting is not worth it.
const FEW: u64 = 32;

/// A stretch of time in which there is something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// The producer's times were an estimate of the server's when it ended (when one of those that it was joined from
    /// did).
    pub estimated: bool,
}

/// What is recorded in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The oldest moment there is anything of.
    pub earliest: Option<Timestamp>,
    /// The latest.
    pub latest: Option<Timestamp>,
    /// Ascending, apart by a second at least, cut to the range.
    pub spans: Vec<Span>,
}

/// One stretch without discontinuity, whose two ends are known for good.
#[derive(Clone)]
struct Run {
    first: Arc<Fragment>,
    last: Arc<Fragment>,
    /// The first fragment of the next stretch.
    next: Arc<Fragment>,
}

/// Stretches that were found before, by discontinuity count.
#[derive(Default)]
pub(crate) struct RunCache(BTreeMap<u64, Run>);

/// What is recorded between two moments.
pub(crate) async fn timeline(
    log: &SharedLog,
    stream: &Stream,
    by: By,
    from: Timestamp,
    to: Timestamp,
) -> Result<Timeline, VideoError> {
    let (oldest, newest) =
        match (stream.end(log, Query::Positions(0, u64::MAX), false).await?, stream.last(log).await?) {
            (Some(a), Some(b)) => (a, b),
            _ => return Ok(Timeline { earliest: None, latest: None, spans: Vec::new() }),
        };
    let mut spans = Vec::new();
    if let Some((first, last)) = stream.ends(log, by, from, to).await? {
        // Holes that retention left, as something before them is pinned: no fragment tells of them.
        let gaps = log.gaps(stream.shard, first.position(), last.position()).await;
        let mut gaps = gaps.map_err(|e| stream.log_error(e))?;
        // And what cannot be read any more, as far as somebody came upon it.
        gaps.extend(stream.lost.between(first.position(), last.position()).iter().map(|u| u.positions));
        gaps.sort_unstable();
        let mut at = first;
        // Whether the stretch begins with `at` for certain.
        let mut whole = at.position() == oldest.position();
        for visited in 0.. {
            if visited >= MAX_RUNS {
                return Err(VideoError::Busy(format!(
                    "the recording of video stream {:?} is interrupted more than {MAX_RUNS} times in this range: \
                     ask for a shorter one",
                    stream.name()
                )));
            }
            let (end, next) = run(log, stream, &at, &last, whole).await?;
            for (first, last) in split(log, stream, &at, &end, &gaps).await? {
                let (a, b) = (first.start(by).max(from), last.end(by).min(to));
                if a <= b {
                    spans.push(Span { from: a, to: b, estimated: last.entry.estimated });
                }
            }
            match next {
                Some(n) if n.position() <= last.position() => at = n,
                _ => break,
            }
            whole = true;
        }
    }
    let spans = join(spans, JOIN);
    Ok(Timeline {
        // Producer times may lie in any order; the ends of the log are what a time line is drawn between.
        earliest: Some(oldest.start(by)),
        latest: Some(newest.end(by)),
        spans,
    })
}

/// A stretch, cut where fragments are missing from its middle.
async fn split(
    log: &SharedLog,
    stream: &Stream,
    at: &Arc<Fragment>,
    end: &Arc<Fragment>,
    gaps: &[(u64, u64)],
) -> Result<Vec<(Arc<Fragment>, Arc<Fragment>)>, VideoError> {
    let mut out = Vec::new();
    let mut first = at.clone();
    let within = gaps.iter().filter(|g| g.0 > at.position() && g.1 <= end.position());
    for (a, b) in within {
        let before = stream.end(log, Query::Positions(first.position(), a - 1), true).await?;
        let after = stream.end(log, Query::Positions(*b, end.position()), false).await?;
        let (Some(before), Some(after)) = (before, after) else { continue };
        // Positions may also be missing that never were fragments.
        if after.entry.ordinal > before.entry.ordinal + 1 {
            out.push((first, before));
            first = after;
        }
    }
    out.push((first, end.clone()));
    Ok(out)
}

/// The last fragment up to `bound` that continues `at`, and the first that does not.
async fn run(
    log: &SharedLog,
    stream: &Stream,
    at: &Arc<Fragment>,
    bound: &Arc<Fragment>,
    whole: bool,
) -> Result<(Arc<Fragment>, Option<Arc<Fragment>>), VideoError> {
    let count = at.entry.discontinuities;
    if let Some(r) = stream.runs.lock().unwrap_or_else(PoisonError::into_inner).0.get(&count)
        && r.last.position() <= bound.position()
        && r.first.position() <= at.position()
    {
        return Ok((r.last.clone(), Some(r.next.clone())));
    }
    if bound.entry.discontinuities == count {
        return Ok((bound.clone(), None));
    }
    // The answer lies in `last ..= next`: those two are known.
    let (mut last, mut next) = (at.clone(), bound.clone());
    while next.position() - last.position() > 1 {
        let (lo, hi) = (last.position(), next.position());
        if hi - lo <= FEW {
            for f in stream.page(log, lo + 1, hi - 1, FEW as usize).await? {
                if f.entry.discontinuities == count {
                    last = f;
                } else {
                    next = f;
                    break;
                }
            }
            break;
        }
        let mid = lo + (hi - lo) / 2;
        match stream.end(log, Query::Positions(mid, hi - 1), false).await? {
            Some(f) if f.entry.discontinuities == count => last = f,
            Some(f) => next = f,
            // Nothing from there on: what is before decides.
            None => match stream.end(log, Query::Positions(lo + 1, mid - 1), true).await? {
                Some(f) if f.entry.discontinuities == count => {
                    last = f;
                    break;
                }
                Some(f) => next = f,
                None => break,
            },
        }
    }
    if whole {
        let mut cache = stream.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.0.len() >= MAX_CACHED {
            cache.0.pop_first();
        }
        cache.0.insert(count, Run { first: at.clone(), last: last.clone(), next: next.clone() });
    }
    Ok((last, Some(next)))
}

/// In order, those less than `gap` apart as one; with wider gaps closed if there are too many.
fn join(mut spans: Vec<Span>, mut gap: Duration) -> Vec<Span> {
    spans.sort_by_key(|s| (s.from, s.to));
    loop {
        let mut out: Vec<Span> = Vec::new();
        for s in &spans {
            match out.last_mut() {
                Some(l) if s.from < l.to + gap => {
                    l.to = l.to.max(s.to);
                    l.estimated |= s.estimated;
                }
                _ => out.push(*s),
            }
        }
        if out.len() <= MAX_SPANS {
            return out;
        }
        gap *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, to: i64) -> Span {
        Span { from: Timestamp::from_millis(from), to: Timestamp::from_millis(to), estimated: false }
    }

    #[test]
    fn spans_less_than_a_second_apart_are_one() {
        let got =
            join(vec![span(5_000, 6_000), span(0, 1_000), span(1_999, 3_000), span(4_000, 4_500)], JOIN);
        assert_eq!(got, [span(0, 3_000), span(4_000, 6_000)]);
        assert_eq!(join(vec![span(0, 1_000), span(2_000, 3_000)], JOIN).len(), 2);
    }

    #[test]
    fn too_many_spans_are_drawn_coarser() {
        let many = (0..25_000).map(|i| span(i * 3_000, i * 3_000 + 500)).collect();
        let got = join(many, JOIN);
        assert!(got.len() <= MAX_SPANS && got[0].from == Timestamp(0));
        assert_eq!(got.last().map(|s| s.to), Some(Timestamp::from_millis(24_999 * 3_000 + 500)));
    }
}
