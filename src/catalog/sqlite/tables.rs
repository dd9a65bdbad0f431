//! The log's tables, but for the finding of runs.

use rusqlite::{Connection, OptionalExtension, Row, params};
use world::{ShardId, StreamUid, Timestamp};

use super::Fail;
use crate::{CatalogError, KeyRow, LogUpdate, Mark, RunRow, SegmentRow, SegmentState, ShardRow, check};

/// A number that is never negative.
pub(super) fn number(r: &Row<'_>, i: usize) -> rusqlite::Result<u64> {
    let n: i64 = r.get(i)?;
    u64::try_from(n).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(i, n))
}

/// [`check::update`] has seen it.
pub(super) fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn time(r: &Row<'_>, i: usize) -> rusqlite::Result<Timestamp> {
    r.get(i).map(Timestamp)
}

/// The number of a stream that the tables know.
pub(super) fn find_stream(c: &Connection, uid: StreamUid) -> Result<Option<i64>, Fail> {
    let mut s = c.prepare_cached("SELECT no FROM streams WHERE uid = ?")?;
    Ok(s.query_row([uid.0], |r| r.get(0)).optional()?)
}

fn number_stream(c: &Connection, uid: StreamUid) -> Result<i64, Fail> {
    if let Some(no) = find_stream(c, uid)? {
        return Ok(no);
    }
    Ok(c.prepare_cached("INSERT INTO streams (uid) VALUES (?) RETURNING no")?
        .query_row([uid.0], |r| r.get(0))?)
}

pub(super) fn put_key(c: &Connection, key: &KeyRow) -> Result<(), Fail> {
    let new = c
        .prepare_cached(
            "INSERT INTO keys (stream, generation, provider, wrapped, created) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            number_stream(c, key.stream)?,
            key.generation,
            key.provider,
            key.wrapped,
            key.created.0
        ])?;
    if new == 0 {
        return Err(check::key_exists(key).into());
    }
    Ok(())
}

pub(super) fn keys(c: &Connection, stream: StreamUid) -> Result<Vec<KeyRow>, Fail> {
    let mut s = c.prepare_cached(
        "SELECT generation, provider, wrapped, created FROM keys JOIN streams ON no = stream
         WHERE uid = ? ORDER BY generation",
    )?;
    let rows = s.query_map([stream.0], |r| {
        Ok(KeyRow {
            stream,
            generation: r.get(0)?,
            provider: r.get(1)?,
            wrapped: r.get(2)?,
            created: time(r, 3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn all_keys(c: &Connection) -> Result<Vec<KeyRow>, Fail> {
    let mut s = c.prepare_cached(
        "SELECT uid, generation, provider, wrapped, created FROM keys JOIN streams ON no = stream
         ORDER BY uid, generation",
    )?;
    let rows = s.query_map([], |r| {
        Ok(KeyRow {
            stream: StreamUid(r.get(0)?),
            generation: r.get(1)?,
            provider: r.get(2)?,
            wrapped: r.get(3)?,
            created: time(r, 4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn rewrap(c: &Connection, keys: &[KeyRow]) -> Result<(), Fail> {
    let mut s = c.prepare_cached(
        "UPDATE keys SET provider = ?3, wrapped = ?4
         WHERE stream = (SELECT no FROM streams WHERE uid = ?1) AND generation = ?2",
    )?;
    for k in keys {
        if s.execute(params![k.stream.0, k.generation, k.provider, k.wrapped])? == 0 {
            return Err(check::no_key(k).into());
        }
    }
    Ok(())
}

pub(super) fn forget_stream(c: &Connection, stream: StreamUid) -> Result<(), Fail> {
    let Some(no) = find_stream(c, stream)? else { return Ok(()) };
    for sql in [
        "DELETE FROM keys WHERE stream = ?",
        "DELETE FROM shards WHERE stream = ?",
        "DELETE FROM runs WHERE stream = ?",
        "DELETE FROM streams WHERE no = ?",
    ] {
        c.prepare_cached(sql)?.execute([no])?;
    }
    Ok(())
}

pub(super) fn update(c: &Connection, u: &LogUpdate) -> Result<(), Fail> {
    for id in &u.removed_shards {
        let Some(stream) = find_stream(c, id.stream)? else { continue };
        c.prepare_cached("DELETE FROM shards WHERE stream = ? AND shard = ?")?
            .execute(params![stream, id.shard])?;
    }
    for (shard, first) in &u.removed_runs {
        remove_run(c, *shard, *first)?;
    }
    for id in &u.removed_segments {
        c.prepare_cached("DELETE FROM segments WHERE id = ?")?.execute([id])?;
    }
    u.shards.iter().try_for_each(|s| put_shard(c, s))?;
    for s in &u.segments {
        let state = state_number(s.state);
        c.prepare_cached(
            "INSERT OR REPLACE INTO segments (id, state, bytes, footer, created) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![s.id, state, integer(s.bytes), integer(s.footer), s.created.0])?;
    }
    u.runs.iter().try_for_each(|r| put_run(c, r))?;
    if let Some(m) = u.mark {
        c.prepare_cached("UPDATE mark SET file = ?1, offset = ?2 WHERE (file, offset) < (?1, ?2)")?
            .execute([integer(m.file), integer(m.offset)])?;
    }
    Ok(())
}

fn put_shard(c: &Connection, s: &ShardRow) -> Result<(), Fail> {
    let parents: Vec<String> = s.parents.iter().map(u32::to_string).collect();
    c.prepare_cached(
        "INSERT OR REPLACE INTO shards (stream, shard, parents, opened, closed, trim, next, last_arrival)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        number_stream(c, s.shard.stream)?,
        s.shard.shard,
        format!("[{}]", parents.join(",")),
        s.opened.0,
        s.closed.map(integer),
        integer(s.trim),
        integer(s.next),
        s.last_arrival.0
    ])?;
    Ok(())
}

/// Removes a run and takes its bytes off its stream's sum.
fn remove_run(c: &Connection, shard: ShardId, first: u64) -> Result<(), Fail> {
    let Some(stream) = find_stream(c, shard.stream)? else { return Ok(()) };
    let Ok(first) = i64::try_from(first) else { return Ok(()) };
    let bytes: Option<i64> = c
        .prepare_cached("DELETE FROM runs WHERE stream = ? AND shard = ? AND first = ? RETURNING bytes")?
        .query_row(params![stream, shard.shard, first], |r| r.get(0))
        .optional()?;
    count(c, stream, -bytes.unwrap_or(0))
}

fn put_run(c: &Connection, r: &RunRow) -> Result<(), Fail> {
    remove_run(c, r.shard, r.first)?;
    let stream = number_stream(c, r.shard.stream)?;
    c.prepare_cached(
        "INSERT INTO runs (stream, shard, first, \"end\", segment, ordinal, bytes, arrival_first, arrival_last,
             producer_class, producer_start, producer_end) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        stream,
        r.shard.shard,
        integer(r.first),
        integer(r.end),
        r.segment,
        r.ordinal,
        integer(r.bytes),
        r.arrival.0.0,
        r.arrival.1.0,
        super::runs::class(r.producer),
        r.producer.0.0,
        r.producer.1.0
    ])?;
    count(c, stream, integer(r.bytes))
}

fn count(c: &Connection, stream: i64, bytes: i64) -> Result<(), Fail> {
    if bytes != 0 {
        c.prepare_cached("UPDATE streams SET bytes = bytes + ? WHERE no = ?")?.execute([bytes, stream])?;
    }
    Ok(())
}

pub(super) fn mark(c: &Connection) -> Result<Mark, Fail> {
    let mut s = c.prepare_cached("SELECT file, offset FROM mark")?;
    Ok(s.query_row([], |r| Ok(Mark { file: number(r, 0)?, offset: number(r, 1)? }))?)
}

pub(super) fn shards(c: &Connection, stream: Option<StreamUid>) -> Result<Vec<ShardRow>, Fail> {
    let mut s = c.prepare_cached(
        "SELECT uid, shard, parents, opened, closed, trim, next, last_arrival FROM streams JOIN shards ON stream = no
         WHERE ?1 IS NULL OR uid = ?1 ORDER BY uid, shard",
    )?;
    let mut rows = s.query([stream.map(|u| u.0)])?;
    let mut found = Vec::new();
    while let Some(r) = rows.next()? {
        let shard = ShardId { stream: StreamUid(r.get(0)?), shard: r.get(1)? };
        let parents = r.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        found.push(ShardRow {
            shard,
            parents: serde_json::from_str(parents)
                .map_err(|e| CatalogError::Damaged(format!("the parents of shard {shard}: {e}")))?,
            opened: time(r, 3)?,
            closed: r.get::<_, Option<i64>>(4)?.map(|_| number(r, 4)).transpose()?,
            trim: number(r, 5)?,
            next: number(r, 6)?,
            last_arrival: time(r, 7)?,
        });
    }
    Ok(found)
}

fn state_number(s: SegmentState) -> i64 {
    match s {
        SegmentState::Local => 0,
        SegmentState::Stored => 1,
    }
}

fn segment_row(r: &Row<'_>) -> rusqlite::Result<SegmentRow> {
    Ok(SegmentRow {
        id: r.get(0)?,
        state: match r.get(1)? {
            0 => SegmentState::Local,
            1 => SegmentState::Stored,
            n => return Err(rusqlite::Error::IntegralValueOutOfRange(1, n)),
        },
        bytes: number(r, 2)?,
        footer: number(r, 3)?,
        created: time(r, 4)?,
    })
}

pub(super) fn segment(c: &Connection, id: [u8; 16]) -> Result<Option<SegmentRow>, Fail> {
    let mut s = c.prepare_cached("SELECT id, state, bytes, footer, created FROM segments WHERE id = ?")?;
    Ok(s.query_row([id], segment_row).optional()?)
}

pub(super) fn segments(
    c: &Connection,
    after: Option<[u8; 16]>,
    limit: usize,
) -> Result<Vec<SegmentRow>, Fail> {
    // An empty blob comes before every id.
    let after = after.as_ref().map_or(&[][..], |a| a);
    let mut s = c.prepare_cached(
        "SELECT id, state, bytes, footer, created FROM segments WHERE id > ? ORDER BY id LIMIT ?",
    )?;
    let rows = s.query_map(params![after, i64::try_from(limit).unwrap_or(i64::MAX)], segment_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn segments_in(
    c: &Connection,
    state: SegmentState,
    after: Option<[u8; 16]>,
    limit: usize,
) -> Result<Vec<SegmentRow>, Fail> {
    let after = after.as_ref().map_or(&[][..], |a| a);
    let mut s = c.prepare_cached(
        "SELECT id, state, bytes, footer, created FROM segments WHERE state = ? AND id > ? ORDER BY id LIMIT ?",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = s.query_map(params![state_number(state), after, limit], segment_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn stored_bytes(c: &Connection, stream: Option<StreamUid>) -> Result<u64, Fail> {
    let mut s =
        c.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM streams WHERE ?1 IS NULL OR uid = ?1")?;
    Ok(s.query_row([stream.map(|u| u.0)], |r| number(r, 0))?)
}
