//! Sample tables and track configurations, read once and kept for a while.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use log::SharedLog;
use media::{Table, Track};
use world::StreamUid;

use crate::{
    VideoError,
    index::{InitHash, init_hash},
    mp4,
    store::Fragment,
    streams::Stream,
};

/// Configurations kept for each stream.
const MAX_CONFIGS: usize = 64;
/// Samples kept in tables, over all streams: about 10 MB.
const MAX_SAMPLES: usize = 200_000;
/// The largest table: far beyond what a builder makes.
const MAX_TABLE: u32 = 16 << 20;

/// The configurations of one stream that were met lately.
#[derive(Default)]
pub(crate) struct Tracks(Mutex<VecDeque<(InitHash, Arc<Track>)>>);

impl Tracks {
    pub fn get(&self, init: InitHash) -> Option<Arc<Track>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(h, _)| *h == init).map(|(_, t)| t.clone())
    }
    pub fn keep(&self, track: &Arc<Track>) {
        let hash = init_hash(track);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().all(|(h, _)| *h != hash) {
            if all.len() >= MAX_CONFIGS {
                all.pop_front();
            }
            all.push_back((hash, track.clone()));
        }
    }
}

/// The tables that were read last.
#[derive(Default)]
pub(crate) struct Tables(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    items: VecDeque<((StreamUid, u64), Arc<Table>)>,
    samples: usize,
}

impl Tables {
    /// The sample table of a fragment, checked against its payload's length.
    pub async fn get(
        &self,
        log: &SharedLog,
        stream: &Stream,
        f: &Fragment,
    ) -> Result<Arc<Table>, VideoError> {
        let key = (stream.info.uid, f.position());
        if let Some(t) = self.lock().items.iter().find(|(k, _)| *k == key).map(|(_, t)| t.clone()) {
            return Ok(t);
        }
        let bad = |why: &str| {
            VideoError::Damaged(stream.name().into(), format!("fragment {}: {why}", f.position()))
        };
        if f.entry.table_len > MAX_TABLE || u64::from(f.entry.table_len) > f.payload.len {
            return Err(bad("its index entry and its length disagree"));
        }
        let range = f.table_from()..f.payload.len;
        let bytes = log.read_payload(&f.payload, range).await.map_err(|e| stream.log_error(e))?;
        let table = media::table::decode(&bytes).map_err(mp4::damaged(stream.name(), f.position()))?;
        media::table::check(&table, f.media_len()).map_err(mp4::damaged(stream.name(), f.position()))?;
        for t in &table.tracks {
            stream.tracks.keep(t);
        }
        let table = Arc::new(table);
        let mut kept = self.lock();
        kept.samples += table.samples.len();
        kept.items.push_back((key, table.clone()));
        while kept.samples > MAX_SAMPLES && kept.items.len() > 1 {
            if let Some((_, old)) = kept.items.pop_front() {
                kept.samples -= old.samples.len();
            }
        }
        Ok(table)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The track that a fragment has under a configuration.
    pub async fn track(
        &self,
        log: &SharedLog,
        stream: &Stream,
        f: &Fragment,
        init: InitHash,
    ) -> Result<Option<Arc<Track>>, VideoError> {
        if let Some(t) = stream.tracks.get(init) {
            return Ok(Some(t));
        }
        let table = self.get(log, stream, f).await?;
        Ok(table.tracks.iter().find(|t| init_hash(t) == init).cloned())
    }
}
