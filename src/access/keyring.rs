//! The catalog's key: a data key like a stream's, kept under a stream id that no stream has, wrapped by the master key.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use catalog::{Catalog, CatalogError, KeyRow};
use seal::{DataKey, KeyProvider, SealError, Wrapped};
use world::{StreamUid, World};

use crate::{AccessError, Denied};

/// Under which the catalog lists the key. The log's own is under sixteen zeroes.
const RESERVED: StreamUid = StreamUid([0xff; 16]);
/// What the key is wrapped for.
const CONTEXT: &[u8] = b"catalog";
/// Longer than any that we make.
const LONGEST_TOKEN: usize = 16 * 1024;

pub(crate) struct Keyring {
    world: World,
    /// By generation; what is sealed names the one that it was sealed under.
    keys: BTreeMap<u32, DataKey>,
    /// The newest.
    current: u32,
}

impl Keyring {
    /// Unwraps all generations, or makes the first.
    pub(crate) async fn open(
        world: &World,
        catalog: &dyn Catalog,
        keys: &dyn KeyProvider,
    ) -> Result<Keyring, AccessError> {
        let mut rows = catalog.keys(RESERVED).await?;
        if rows.is_empty() {
            let wrapped = keys
                .wrap(&DataKey::new(world.random32()), CONTEXT, world.random32())
                .await
                .map_err(AccessError::Key)?;
            let row = KeyRow {
                stream: RESERVED,
                generation: 1,
                provider: wrapped.provider,
                wrapped: wrapped.bytes,
                created: world.clock.now(),
            };
            match catalog.put_key(row).await {
                // Another made it at the same time: that one it is.
                Ok(()) | Err(CatalogError::Conflict { .. }) => rows = catalog.keys(RESERVED).await?,
                Err(e) => return Err(e.into()),
            }
        }
        let mut ring = BTreeMap::new();
        for row in rows {
            let wrapped = Wrapped { provider: row.provider, bytes: row.wrapped };
            ring.insert(row.generation, keys.unwrap(&wrapped, CONTEXT).await.map_err(AccessError::Key)?);
        }
        let current = ring.keys().next_back().copied();
        let current =
            current.ok_or_else(|| AccessError::Damaged("the catalog's key was there and is gone".into()))?;
        Ok(Keyring { world: world.clone(), keys: ring, current })
    }

    fn current(&self) -> &DataKey {
        // `current` is one of them by construction.
        &self.keys[&self.current]
    }

    /// `generation u32 | what `seal` makes`
    fn stamp(&self, sealed: &[u8]) -> Vec<u8> {
        [&self.current.to_be_bytes(), sealed].concat()
    }

    fn key_of<'s>(&self, stamped: &'s [u8]) -> Result<(&DataKey, &'s [u8]), SealError> {
        let (generation, sealed) =
            stamped.split_first_chunk::<4>().ok_or(SealError::Malformed("too short"))?;
        let key = self.keys.get(&u32::from_be_bytes(*generation)).ok_or(SealError::Broken)?;
        Ok((key, sealed))
    }

    pub(crate) fn seal_secret(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        self.stamp(&seal::seal_secret(self.current(), self.world.random32(), context, plain))
    }

    pub(crate) fn open_secret(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (key, sealed) = self.key_of(sealed)?;
        seal::open_secret(key, context, sealed)
    }

    pub(crate) fn seal_token(&self, kind: &str, plain: &[u8]) -> String {
        let sealed = seal::seal_token(self.current(), self.world.random32(), kind, plain);
        URL_SAFE_NO_PAD.encode(self.stamp(&sealed))
    }

    pub(crate) fn open_token(&self, kind: &str, token: &str) -> Result<Vec<u8>, Denied> {
        if token.len() > LONGEST_TOKEN {
            return Err(Denied::token());
        }
        let stamped = URL_SAFE_NO_PAD.decode(token).map_err(|_| Denied::token())?;
        let (key, sealed) = self.key_of(&stamped).map_err(|_| Denied::token())?;
        seal::open_token(key, kind, sealed).map_err(|_| Denied::token())
    }

    /// Sixteen hexadecimal digits that follow from `parts` and the key, and tell nothing about `parts`.
    pub(crate) fn fingerprint(&self, parts: &[&[u8]]) -> String {
        self.current().derive(b"rushes fingerprint v1", parts).fingerprint()
    }
}

/// Shared by the gate's parts.
pub(crate) type SharedKeyring = Arc<Keyring>;
