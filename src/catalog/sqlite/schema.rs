use rusqlite::{Connection, OptionalExtension, config::DbConfig};

use super::Fail;
use crate::CatalogError;

/// "RUSH": what `file(1)` and we tell a catalog by.
const APPLICATION: i32 = 0x5255_5348;

/// Step n brings a catalog of format n to format n + 1. A released step is never changed, only followed by others.
const STEPS: &[&str] = &[include_str!("schema.1.sql")];

/// The format that this program writes.
pub(super) const FORMAT: u32 = STEPS.len() as u32;

/// Sets a connection up. Everything here is a property of the connection, except WAL, which the file remembers.
pub(super) fn configure(conn: &Connection) -> Result<(), Fail> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
    if mode != "wal" {
        return Err(CatalogError::Engine(format!(
            "this file system allows no write-ahead log (mode is {mode})"
        ))
        .into());
    }
    conn.execute_batch(
        // No old bytes stay behind in free pages, and none go to temporary files; a commit is durable when it
        // returns; the log is cut back to 16 MiB after a burst.
        "PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -2048; PRAGMA journal_size_limit = 16777216;",
    )?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Whether it is a catalog of the format that this program writes.
pub(super) fn expect(conn: &Connection) -> Result<(), Fail> {
    let found: u32 = conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let application: i32 = conn.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    if application != APPLICATION {
        return Err(CatalogError::Damaged("it is not a catalog".into()).into());
    }
    if found > FORMAT {
        return Err(CatalogError::Newer { found, known: FORMAT }.into());
    }
    if found < FORMAT {
        return Err(CatalogError::Engine(format!(
            "it has format {found}; start the server once to bring it to format {FORMAT}"
        ))
        .into());
    }
    Ok(())
}

/// Creates the tables, or brings them up to date.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), Fail> {
    let found: u32 = conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let application: i32 = conn.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    let other: Option<String> =
        conn.query_row("SELECT name FROM sqlite_schema LIMIT 1", [], |r| r.get(0)).optional()?;
    if application != APPLICATION && (application != 0 || found != 0 || other.is_some()) {
        return Err(CatalogError::Damaged("it is the database of another program".into()).into());
    }
    if found > FORMAT {
        return Err(CatalogError::Newer { found, known: FORMAT }.into());
    }
    for (from, step) in (0u32..).zip(STEPS).skip(found as usize) {
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", from + 1)?;
        tx.commit()?;
    }
    Ok(())
}
