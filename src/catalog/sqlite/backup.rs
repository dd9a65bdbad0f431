//! Copies of the database, and whether it is whole.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rusqlite::{Connection, OptionalExtension};

use super::{Fail, connect, io, schema};
use crate::CatalogError;

/// Problems that SQLite names before it stops looking.
const MOST: usize = 100;

pub(super) fn integrity(c: &Connection) -> Result<Vec<String>, Fail> {
    let mut found: Vec<String> = c
        .prepare(&format!("PRAGMA integrity_check({MOST})"))?
        .query_map([], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    if found == ["ok"] {
        found.clear();
    }
    let mut s = c.prepare("PRAGMA foreign_key_check")?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let (table, parent): (String, String) = (r.get(0)?, r.get(2)?);
        found.push(format!("a row of {table} refers to one of {parent} that is not there"));
    }
    let mut s = c.prepare(
        "SELECT hex(uid), bytes, (SELECT coalesce(sum(r.bytes), 0) FROM runs r WHERE r.stream = no) AS sum
         FROM streams WHERE bytes != sum",
    )?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let (uid, kept, sum): (String, i64, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
        found.push(format!("stream {uid} has runs of {sum} bytes, but its sum says {kept}"));
    }
    Ok(found)
}

/// Copies the database at `from`, as of one moment, to `to`, which must not exist.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), CatalogError> {
    let conn = connect(from)?;
    schema::expect(&conn)?;
    // Made by us first, as SQLite would make it readable by everybody; it takes an empty file as its own.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|e| io(to, e))?;
    let name =
        to.to_str().ok_or_else(|| CatalogError::Engine(format!("{}: not a name in UTF-8", to.display())))?;
    conn.execute("VACUUM INTO ?", [name]).map_err(Fail::from)?;
    File::open(to).and_then(|f| f.sync_all()).map_err(|e| io(to, e))
}

/// Whether a file is a whole catalog of a format that this program knows. Nobody has it open.
pub(super) fn check_copy(path: &Path) -> Result<(), CatalogError> {
    let c = connect(path)?;
    schema::expect(&c)?;
    match integrity(&c)?.first() {
        None => Ok(()),
        Some(why) => Err(CatalogError::Damaged(format!("{}: {why}", path.display()))),
    }
}

/// Takes the leases away from whoever had them when the copy was made; their epochs stay used.
pub(super) fn free_leases(path: &Path) -> Result<(), CatalogError> {
    let c = connect(path)?;
    c.execute("UPDATE leases SET holder = NULL", []).map_err(Fail::from)?;
    c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).optional().map_err(Fail::from)?;
    Ok(())
}
