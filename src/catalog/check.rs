//! What every engine refuses alike. Numbers are stored as signed 64-bit integers, the widest that SQLite and
//! PostgreSQL order; no position, offset or length comes near that.

use crate::{CatalogError, Change, KeyRow, LogUpdate, RunQuery};

const MOST: u64 = i64::MAX as u64;

fn fits(what: &str, n: u64) -> Result<(), CatalogError> {
    if n > MOST {
        return Err(CatalogError::Engine(format!("{what} {n} is more than a catalog can hold ({MOST})")));
    }
    Ok(())
}

/// The conflict of a key that exists.
pub(crate) fn key_exists(key: &KeyRow) -> CatalogError {
    CatalogError::Conflict { kind: "key".into(), id: format!("{}/{}", key.stream, key.generation) }
}

/// The conflict of a key that does not exist.
pub(crate) fn no_key(key: &KeyRow) -> CatalogError {
    key_exists(key)
}

/// The conflict of a document.
pub(crate) fn changed(change: &Change) -> CatalogError {
    let (kind, id) = match change {
        Change::Put { doc, .. } => (&doc.kind, &doc.id),
        Change::Delete { kind, id, .. } => (kind, id),
    };
    CatalogError::Conflict { kind: kind.clone(), id: id.clone() }
}

/// Whether every number can be stored, and every run has a length.
pub(crate) fn update(u: &LogUpdate) -> Result<(), CatalogError> {
    for s in &u.shards {
        fits("a shard's end", s.closed.unwrap_or(0))?;
        fits("a shard's trim point", s.trim)?;
        fits("a shard's next position", s.next)?;
    }
    for s in &u.segments {
        fits("a segment's length", s.bytes)?;
        fits("a footer's offset", s.footer)?;
    }
    for r in &u.runs {
        fits("a run's end", r.end)?;
        fits("a run's length", r.bytes)?;
        if r.first >= r.end {
            return Err(CatalogError::Engine(format!(
                "a run of {} from {} to {} is empty",
                r.shard, r.first, r.end
            )));
        }
    }
    let mark = u.mark.unwrap_or_default();
    fits("a journal file's number", mark.file)?;
    fits("a journal offset", mark.offset)
}

/// Whether a span has its ends the wrong way round: it meets nothing.
pub(crate) fn inverted(q: &RunQuery) -> bool {
    match q {
        RunQuery::Positions((a, b)) => a > b,
        RunQuery::Arrival((a, b)) | RunQuery::Producer((a, b)) => a > b,
    }
}
