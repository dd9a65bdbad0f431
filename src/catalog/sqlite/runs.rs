//! Finding the runs that meet a span without looking at many that do not.
//!
//! By position and by arrival the runs of a shard are in one order, so that those wanted lie side by side. By producer
//! time they are not: a run may be long, and lie anywhere. They are therefore kept in classes by the number of bits
//! that their length has. In a class the longest is at most twice the shortest, so that those that meet a span begin
//! within one such length before it, and a look into each class that exists (a handful) is again a short scan.

use rusqlite::{Connection, OptionalExtension, Row, params};
use world::{ShardId, Timestamp};

use super::{
    Fail,
    tables::{find_stream, number},
};
use crate::{RunQuery, RunRow};

/// A selection of what [`run`] takes.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT first, \"end\", segment, ordinal, bytes, arrival_first, arrival_last, producer_start, producer_end
             FROM runs WHERE stream = ?1 AND shard = ?2 AND ",
            $rest
        )
    };
}

// The last that begins at or before the span may reach into it; no earlier one can.
const BY_POSITION: &str = select!(
    "first <= ?4 AND \"end\" > ?3
     AND first >= coalesce((SELECT max(first) FROM runs WHERE stream = ?1 AND shard = ?2 AND first <= ?3), ?3)"
);
// The same, without an end.
const FIRST: &str = select!(
    "\"end\" > ?3
     AND first >= coalesce((SELECT max(first) FROM runs WHERE stream = ?1 AND shard = ?2 AND first <= ?3), ?3)
     ORDER BY first LIMIT ?4"
);
// Neighbours that do not meet.
const GAPS: &str = "SELECT \"end\", next FROM (
    SELECT \"end\", lead(first) OVER (ORDER BY first) AS next FROM runs WHERE stream = ?1 AND shard = ?2
    AND first <= ?4 AND \"end\" > ?3
    AND first >= coalesce((SELECT max(first) FROM runs WHERE stream = ?1 AND shard = ?2 AND first <= ?3), ?3))
    WHERE next > \"end\"";
const BY_ARRIVAL: &str = select!("arrival_last >= ?3 ORDER BY arrival_last, first");
const NEXT_CLASS: &str =
    "SELECT producer_class FROM runs WHERE stream = ? AND shard = ? AND producer_class > ?
    ORDER BY producer_class LIMIT 1";
const BY_PRODUCER: &str =
    select!("producer_class = ?3 AND producer_start BETWEEN ?4 AND ?5 AND producer_end >= ?6");

/// All of them, for tests to look at what they cost.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 5] = [BY_POSITION, FIRST, BY_ARRIVAL, NEXT_CLASS, BY_PRODUCER];

fn run(shard: ShardId, r: &Row<'_>) -> rusqlite::Result<RunRow> {
    let time = |i| r.get(i).map(Timestamp);
    Ok(RunRow {
        shard,
        first: number(r, 0)?,
        end: number(r, 1)?,
        segment: r.get(2)?,
        ordinal: r.get(3)?,
        bytes: number(r, 4)?,
        arrival: (time(5)?, time(6)?),
        producer: (time(7)?, time(8)?),
    })
}

/// How many bits the length of a range has: 0 for none (or less), at most 64.
pub(super) fn class((start, end): (Timestamp, Timestamp)) -> u32 {
    let length = i128::from(end.0) - i128::from(start.0);
    u128::BITS - u128::try_from(length).unwrap_or(0).leading_zeros()
}

pub(super) fn find(c: &Connection, shard: ShardId, query: RunQuery) -> Result<Vec<RunRow>, Fail> {
    let Some(stream) = find_stream(c, shard.stream)? else { return Ok(Vec::new()) };
    let mut found = match query {
        RunQuery::Positions((lo, hi)) => by_position(c, stream, shard, lo, hi)?,
        RunQuery::Arrival((lo, hi)) => by_arrival(c, stream, shard, lo, hi)?,
        RunQuery::Producer((lo, hi)) => by_producer(c, stream, shard, lo, hi)?,
    };
    found.sort_unstable_by_key(|r| r.first);
    Ok(found)
}

pub(super) fn gaps(c: &Connection, shard: ShardId, (lo, hi): (u64, u64)) -> Result<Vec<(u64, u64)>, Fail> {
    let (Some(stream), Ok(lo)) = (find_stream(c, shard.stream)?, i64::try_from(lo)) else {
        return Ok(Vec::new());
    };
    let hi = i64::try_from(hi).unwrap_or(i64::MAX);
    let mut s = c.prepare_cached(GAPS)?;
    let rows = s.query_map(params![stream, shard.shard, lo, hi], |r| Ok((number(r, 0)?, number(r, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn first(c: &Connection, shard: ShardId, after: u64, limit: usize) -> Result<Vec<RunRow>, Fail> {
    let (Some(stream), Ok(after)) = (find_stream(c, shard.stream)?, i64::try_from(after)) else {
        return Ok(Vec::new());
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut s = c.prepare_cached(FIRST)?;
    let rows = s.query_map(params![stream, shard.shard, after, limit], |r| run(shard, r))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn by_position(c: &Connection, stream: i64, shard: ShardId, lo: u64, hi: u64) -> Result<Vec<RunRow>, Fail> {
    let Ok(lo) = i64::try_from(lo) else { return Ok(Vec::new()) };
    let hi = i64::try_from(hi).unwrap_or(i64::MAX);
    let mut s = c.prepare_cached(BY_POSITION)?;
    let rows = s.query_map(params![stream, shard.shard, lo, hi], |r| run(shard, r))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn by_arrival(
    c: &Connection,
    stream: i64,
    shard: ShardId,
    lo: Timestamp,
    hi: Timestamp,
) -> Result<Vec<RunRow>, Fail> {
    let mut s = c.prepare_cached(BY_ARRIVAL)?;
    let mut rows = s.query(params![stream, shard.shard, lo.0])?;
    let mut found = Vec::new();
    while let Some(r) = rows.next()? {
        let r = run(shard, r)?;
        // Arrival never falls: what comes after this one begins no earlier.
        if r.arrival.0 > hi {
            break;
        }
        found.push(r);
    }
    Ok(found)
}

fn by_producer(
    c: &Connection,
    stream: i64,
    shard: ShardId,
    lo: Timestamp,
    hi: Timestamp,
) -> Result<Vec<RunRow>, Fail> {
    let mut next = c.prepare_cached(NEXT_CLASS)?;
    let mut scan = c.prepare_cached(BY_PRODUCER)?;
    let mut found = Vec::new();
    let mut class = -1;
    while let Some(n) = next.query_row(params![stream, shard.shard, class], |r| r.get(0)).optional()? {
        class = n;
        let longest = (1i128 << class.clamp(0, 64)) - 1;
        let from = i64::try_from(i128::from(lo.0) - longest).unwrap_or(i64::MIN);
        let rows =
            scan.query_map(params![stream, shard.shard, class, from, hi.0, lo.0], |r| run(shard, r))?;
        for r in rows {
            found.push(r?);
        }
    }
    Ok(found)
}
