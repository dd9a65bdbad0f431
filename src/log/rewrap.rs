//! Wrapping every data key under another master key. Data is not touched.

use catalog::{Catalog, KeyRow};
use seal::{KeyProvider, Wrapped};
use world::{StreamUid, World};

use crate::{LogError, keys::context};

/// The stream id that the catalog's own key, which is not the log's, is kept under.
const CATALOG: StreamUid = StreamUid([0xff; 16]);

/// What a key in the catalog is wrapped for.
pub fn key_context(stream: StreamUid, generation: u32) -> Vec<u8> {
    if stream == CATALOG { b"catalog".to_vec() } else { context(stream, generation) }
}

/// Wraps every key that another master key wraps under `provider`'s, which must be able to open them all; in one
/// transaction. Nobody else uses the catalog. Returns how many there were.
pub async fn rewrap(
    world: &World,
    catalog: &dyn Catalog,
    provider: &dyn KeyProvider,
) -> Result<usize, LogError> {
    let fail = |stream, e: &dyn std::fmt::Display| LogError::Key(stream, e.to_string());
    let mut out: Vec<KeyRow> = Vec::new();
    for row in catalog.all_keys().await? {
        if row.provider == provider.id() {
            continue;
        }
        let context = key_context(row.stream, row.generation);
        let old = Wrapped { provider: row.provider.clone(), bytes: row.wrapped.clone() };
        let key = provider.unwrap(&old, &context).await.map_err(|e| fail(row.stream, &e))?;
        let new = provider.wrap(&key, &context, world.random32()).await.map_err(|e| fail(row.stream, &e))?;
        out.push(KeyRow { provider: new.provider, wrapped: new.bytes, ..row });
    }
    let n = out.len();
    catalog.rewrap(out).await?;
    Ok(n)
}
