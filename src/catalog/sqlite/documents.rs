use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Fail;
use crate::{CatalogError, Change, Document, Filter, check};

fn document(c: &Connection, kind: &str, r: &Row<'_>) -> Result<Document, Fail> {
    let no: i64 = r.get(0)?;
    let mut keys =
        c.prepare_cached("SELECT name, value FROM document_keys WHERE document = ? ORDER BY ordinal")?;
    Ok(Document {
        kind: kind.to_owned(),
        id: r.get(1)?,
        version: u64::try_from(r.get::<_, i64>(2)?)
            .map_err(|_| CatalogError::Damaged("a negative version".into()))?,
        body: r.get(3)?,
        keys: keys.query_map([no], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?,
    })
}

pub(super) fn get(c: &Connection, kind: &str, id: &str) -> Result<Option<Document>, Fail> {
    let mut s = c.prepare_cached("SELECT no, id, version, body FROM documents WHERE kind = ? AND id = ?")?;
    let mut rows = s.query([kind, id])?;
    rows.next()?.map(|r| document(c, kind, r)).transpose()
}

pub(super) fn list(c: &Connection, f: &Filter) -> Result<Vec<Document>, Fail> {
    let prefix = f.prefix.as_deref().unwrap_or_default();
    let from = f.after.as_deref().unwrap_or_default().max(prefix);
    let mut s = c.prepare_cached(match f.key {
        None => "SELECT no, id, version, body FROM documents WHERE kind = ? AND id >= ? ORDER BY id",
        // DISTINCT by id costs nothing in this order; a document may carry the same key twice.
        Some(_) => {
            "SELECT d.no, d.id, d.version, d.body FROM document_keys k JOIN documents d ON d.no = k.document
             WHERE k.kind = ?1 AND k.id >= ?2 AND k.name = ?3 AND k.value = ?4 GROUP BY k.id ORDER BY k.id"
        }
    })?;
    let mut rows = match &f.key {
        None => s.query([f.kind.as_str(), from])?,
        Some((name, value)) => s.query([f.kind.as_str(), from, name, value])?,
    };
    let mut found = Vec::new();
    while found.len() < f.limit.unwrap_or(usize::MAX) {
        let Some(r) = rows.next()? else { break };
        let id = r.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if f.after.as_deref().is_some_and(|after| id <= after) {
            continue;
        }
        if !id.starts_with(prefix) {
            break;
        }
        found.push(document(c, &f.kind, r)?);
    }
    Ok(found)
}

pub(super) fn apply(c: &Connection, change: &Change) -> Result<(), Fail> {
    match change {
        Change::Put { doc, expect } => {
            let no: Option<i64> = match i64::try_from(*expect) {
                Ok(0) => c
                    .prepare_cached(
                        "INSERT INTO documents (kind, id, version, body) VALUES (?, ?, 1, ?)
                         ON CONFLICT DO NOTHING RETURNING no",
                    )?
                    .query_row(params![doc.kind, doc.id, doc.body], |r| r.get(0))
                    .optional()?,
                Ok(expect) => c
                    .prepare_cached(
                        "UPDATE documents SET version = version + 1, body = ?4
                         WHERE kind = ?1 AND id = ?2 AND version = ?3 RETURNING no",
                    )?
                    .query_row(params![doc.kind, doc.id, expect, doc.body], |r| r.get(0))
                    .optional()?,
                Err(_) => None,
            };
            let no = no.ok_or_else(|| check::changed(change))?;
            c.prepare_cached("DELETE FROM document_keys WHERE document = ?")?.execute([no])?;
            let mut put = c.prepare_cached(
                "INSERT INTO document_keys (document, ordinal, kind, name, value, id) VALUES (?, ?, ?, ?, ?, ?)",
            )?;
            for (n, (name, value)) in (0i64..).zip(&doc.keys) {
                put.execute(params![no, n, doc.kind, name, value, doc.id])?;
            }
        }
        Change::Delete { kind, id, expect } => {
            let gone = match i64::try_from(*expect) {
                Ok(expect) => c
                    .prepare_cached("DELETE FROM documents WHERE kind = ? AND id = ? AND version = ?")?
                    .execute(params![kind, id, expect])?,
                Err(_) => 0,
            };
            if gone == 0 {
                return Err(check::changed(change).into());
            }
        }
    }
    Ok(())
}
