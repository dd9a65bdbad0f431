//! Who publishes to which stream. The newest wins: a camera that comes back after a power cut must not be kept out by
//! its own dead connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use world::Clock;

use crate::Status;

/// How long the former publisher may take to hand over what it has.
const HANDOVER: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Registry {
    streams: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    id: u64,
    status: watch::Receiver<Status>,
    end: watch::Sender<Option<&'static str>>,
}

/// A place in the registry; leaves it when dropped.
pub(crate) struct Place {
    registry: Arc<Registry>,
    stream: String,
    id: u64,
    /// Why to end, once it is so.
    pub end: watch::Receiver<Option<&'static str>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.registry.lock();
        if streams.get(&self.stream).is_some_and(|e| e.id == self.id) {
            streams.remove(&self.stream);
        }
    }
}

impl Registry {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        // Nothing panics while it is held; if something did, the map is still whole.
        self.streams.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes a stream, ending whoever has it and waiting until they are done.
    pub(crate) async fn take(
        self: &Arc<Self>,
        stream: &str,
        id: u64,
        status: watch::Receiver<Status>,
        clock: &dyn Clock,
    ) -> Result<Place, String> {
        let deadline = clock.monotonic() + HANDOVER;
        loop {
            let former = {
                let mut streams = self.lock();
                match streams.get(stream) {
                    None => {
                        let (end, ended) = watch::channel(None);
                        streams.insert(stream.into(), Entry { id, status, end });
                        return Ok(Place { registry: self.clone(), stream: stream.into(), id, end: ended });
                    }
                    Some(entry) => {
                        entry.end.send_replace(Some("another publisher took over"));
                        entry.end.clone()
                    }
                }
            };
            let left = deadline.saturating_sub(clock.monotonic());
            tokio::select! {
                () = former.closed() => {}
                () = clock.sleep(left) => {
                    return Err(format!("what was published to {stream} before is still being stored; try again"));
                }
            }
        }
    }

    pub(crate) fn sessions(&self) -> Vec<(String, Status)> {
        let streams = self.lock();
        let mut all: Vec<_> = streams.iter().map(|(s, e)| (s.clone(), e.status.borrow().clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    pub(crate) fn status(&self, stream: &str) -> Option<Status> {
        self.lock().get(stream).map(|e| e.status.borrow().clone())
    }

    pub(crate) fn end(&self, stream: &str, why: &'static str) {
        if let Some(entry) = self.lock().get(stream) {
            entry.end.send_replace(Some(why));
        }
    }
}
