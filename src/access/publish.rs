//! Publish tokens: who holds one may send media to one stream. They end up in cameras' forms and in URLs (FFmpeg 5.1
//! sends no more than 127 bytes of user, colon and password), and they must be revocable one by one. So they are short
//! and random, and the catalog keeps a document with their hash for each stream that has one.

use catalog::{Catalog, CatalogError, Change, Document, Filter};
use ring::digest;
use serde::Serialize;
use world::World;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{AccessError, Denied, policy};

const KIND: &str = "publish-token";
const KEY: &str = "hash";
/// What all begin with, so that people and scanners know one when they see it.
const PREFIX: &str = "rpub_";
/// 128 bits in base64.
const LENGTH: usize = PREFIX.len() + 22;
/// Attempts at a change that others make, too.
const TRIES: usize = 16;

#[derive(Serialize)]
struct Body {
    /// Microseconds since 1970.
    created: i64,
}

/// 128 random bits need neither salt nor stretching.
fn hash(token: &str) -> String {
    let mut of = digest::Context::new(&digest::SHA256);
    of.update(b"rushes publish token v1\0");
    of.update(token.as_bytes());
    of.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Makes a stream's token; the one before stops working.
pub(crate) async fn renew(world: &World, catalog: &dyn Catalog, stream: &str) -> Result<String, AccessError> {
    if !policy::is_stream_name(stream) {
        return Err(AccessError::BadName(stream.into()));
    }
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(world.random16()));
    let body = serde_json::to_vec(&Body { created: world.clock.now().micros() })
        .map_err(|e| AccessError::Damaged(e.to_string()))?;
    let doc = Document {
        kind: KIND.into(),
        id: stream.into(),
        version: 0,
        body,
        keys: vec![(KEY.into(), hash(&token))],
    };
    change(catalog, stream, |expect| Some(Change::Put { doc: doc.clone(), expect })).await?;
    Ok(token)
}

/// A stream's token stops working.
pub(crate) async fn revoke(catalog: &dyn Catalog, stream: &str) -> Result<(), AccessError> {
    let gone = |expect| (expect > 0).then(|| Change::Delete { kind: KIND.into(), id: stream.into(), expect });
    change(catalog, stream, gone).await
}

async fn change(
    catalog: &dyn Catalog,
    id: &str,
    f: impl Fn(u64) -> Option<Change>,
) -> Result<(), AccessError> {
    for _ in 0..TRIES {
        let now = catalog.get(KIND, id).await?.map_or(0, |d| d.version);
        let Some(change) = f(now) else { return Ok(()) };
        match catalog.commit(vec![change]).await {
            Err(CatalogError::Conflict { .. }) => {}
            r => return Ok(r?),
        }
    }
    Err(CatalogError::Conflict { kind: KIND.into(), id: id.into() }.into())
}

/// Which stream a token is for.
pub(crate) async fn stream(catalog: &dyn Catalog, token: &str) -> Result<Option<String>, Denied> {
    if token.len() != LENGTH || !token.starts_with(PREFIX) {
        return Ok(None);
    }
    let filter = Filter { key: Some((KEY.into(), hash(token))), limit: Some(1), ..Filter::kind(KIND) };
    Ok(catalog.list(filter).await?.pop().map(|d| d.id))
}
