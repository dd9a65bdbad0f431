use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use world::Timestamp;

use super::Fail;
use crate::{CatalogError, Lease};

pub(super) fn acquire(
    c: &Connection,
    name: String,
    holder: String,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<Lease>, Fail> {
    let expires = now + ttl;
    // The condition is looked at only if there is a row.
    let epoch: Option<i64> = c
        .prepare_cached(
            "INSERT INTO leases (name, epoch, holder, expires) VALUES (?1, 1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1, holder = ?2, expires = ?3
             WHERE leases.holder IS NULL OR leases.holder = ?2 OR leases.expires <= ?4 RETURNING epoch",
        )?
        .query_row(params![name, holder, expires.0, now.0], |r| r.get(0))
        .optional()?;
    let Some(epoch) = epoch else { return Ok(None) };
    let epoch =
        u64::try_from(epoch).map_err(|_| CatalogError::Damaged(format!("the epoch of lease {name:?}")))?;
    Ok(Some(Lease { name, holder, epoch, expires }))
}

pub(super) fn renew(c: &Connection, lease: Lease, expires: Timestamp) -> Result<Lease, Fail> {
    let held = match i64::try_from(lease.epoch) {
        Ok(epoch) => c
            .prepare_cached("UPDATE leases SET expires = ?4 WHERE name = ?1 AND epoch = ?2 AND holder = ?3")?
            .execute(params![lease.name, epoch, lease.holder, expires.0])?,
        Err(_) => 0,
    };
    if held == 0 {
        return Err(CatalogError::LeaseLost(lease.name).into());
    }
    Ok(Lease { expires, ..lease })
}

pub(super) fn release(c: &Connection, lease: &Lease) -> Result<(), Fail> {
    if let Ok(epoch) = i64::try_from(lease.epoch) {
        c.prepare_cached("UPDATE leases SET holder = NULL WHERE name = ?1 AND epoch = ?2 AND holder = ?3")?
            .execute(params![lease.name, epoch, lease.holder])?;
    }
    Ok(())
}
