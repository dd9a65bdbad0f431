//! Data keys, unwrapped on demand, and the block keys derived from them; both bounded, both forgotten with their stream.

use std::sync::{Arc, Mutex, PoisonError};

use catalog::{Catalog, CatalogError, KeyRow};
use seal::{BlockKey, DataKey, KeyProvider, Salt, Wrapped};
use world::{StreamUid, World};

use crate::{LogError, entry::Writer, lru::Lru};

/// What seals a stream's new blocks.
pub(crate) struct Sealer {
    pub generation: u32,
    pub key: BlockKey,
}

type BlockName = (StreamUid, u32, Salt);

pub(crate) struct Keys {
    world: World,
    catalog: Arc<dyn Catalog>,
    provider: Arc<dyn KeyProvider>,
    data: Mutex<Lru<(StreamUid, u32), Arc<DataKey>>>,
    blocks: Mutex<Lru<BlockName, Arc<BlockKey>>>,
}

/// Binds a wrapped key to its place.
pub(crate) fn context(stream: StreamUid, generation: u32) -> Vec<u8> {
    [&b"rushes data key v1"[..], &stream.0, &generation.to_be_bytes()].concat()
}

impl Keys {
    pub fn new(world: World, catalog: Arc<dyn Catalog>, provider: Arc<dyn KeyProvider>) -> Self {
        Keys {
            world,
            catalog,
            provider,
            data: Mutex::new(Lru::new(4096)),
            blocks: Mutex::new(Lru::new(4096)),
        }
    }

    /// Makes a stream's key of one generation; durable when this returns. `false` if it was there before.
    pub async fn create(&self, stream: StreamUid, generation: u32) -> Result<bool, LogError> {
        let fail = |e: &dyn std::fmt::Display| LogError::Key(stream, e.to_string());
        let key = DataKey::new(self.world.random32());
        let wrapped = self
            .provider
            .wrap(&key, &context(stream, generation), self.world.random32())
            .await
            .map_err(|e| fail(&e))?;
        let created = self.world.clock.now();
        let row = KeyRow { stream, generation, provider: wrapped.provider, wrapped: wrapped.bytes, created };
        match self.catalog.put_key(row).await {
            Ok(()) => Ok(true),
            Err(CatalogError::Conflict { .. }) => Ok(false),
            // Of the key itself nothing is known then.
            Err(e) => Err(e.into()),
        }
    }

    /// The generations that a stream has, ascending.
    pub async fn generations(&self, stream: StreamUid) -> Result<Vec<u32>, LogError> {
        let rows = self.catalog.keys(stream).await?;
        Ok(rows.iter().map(|r| r.generation).collect())
    }

    pub async fn data(&self, stream: StreamUid, generation: u32) -> Result<Arc<DataKey>, LogError> {
        let fail = |e: &dyn std::fmt::Display| LogError::Key(stream, e.to_string());
        if let Some(k) = lock(&self.data).get(&(stream, generation)) {
            return Ok(k);
        }
        let rows = self.catalog.keys(stream).await?;
        let row = rows
            .into_iter()
            .find(|r| r.generation == generation)
            .ok_or_else(|| LogError::Key(stream, format!("generation {generation} does not exist")))?;
        let wrapped = Wrapped { provider: row.provider, bytes: row.wrapped };
        let key = self.provider.unwrap(&wrapped, &context(stream, generation)).await.map_err(|e| fail(&e))?;
        let key = Arc::new(key);
        lock(&self.data).put((stream, generation), key.clone(), 1);
        Ok(key)
    }

    /// What opens the blocks of one writer under one generation.
    pub async fn block(
        &self,
        stream: StreamUid,
        generation: u32,
        writer: &Writer,
    ) -> Result<Arc<BlockKey>, LogError> {
        let name = (stream, generation, writer.salt);
        if let Some(k) = lock(&self.blocks).get(&name) {
            return Ok(k);
        }
        let data = self.data(stream, generation).await?;
        let key = Arc::new(BlockKey::new(&data, &writer.salt, stream, generation));
        lock(&self.blocks).put(name, key.clone(), 1);
        Ok(key)
    }

    /// What seals new blocks: the latest generation's.
    pub async fn sealer(&self, stream: StreamUid, writer: &Writer) -> Result<Arc<Sealer>, LogError> {
        let generations = self.generations(stream).await?;
        let generation = *generations
            .last()
            .ok_or_else(|| LogError::Key(stream, "the stream has no key (any more)".into()))?;
        let data = self.data(stream, generation).await?;
        Ok(Arc::new(Sealer { generation, key: BlockKey::new(&data, &writer.salt, stream, generation) }))
    }

    pub fn forget(&self, stream: StreamUid) {
        lock(&self.data).retain(|k| k.0 != stream);
        lock(&self.blocks).retain(|k| k.0 != stream);
    }
}

/// A panic while a lock was held leaves these caches and counters usable: each is changed in single steps.
pub(crate) fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
