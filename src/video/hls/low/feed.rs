//! What a stream keeps of its latest samples for players that wait for them.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use media::{Sample, Track};
use tokio::sync::watch;
use world::Timestamp;

use super::chain::Chain;
use crate::Closed;

/// How long parts are made after somebody last asked.
const LINGER: Duration = Duration::from_secs(30);

/// The parts of one stream, as long as somebody wants them.
pub(crate) struct Low {
    /// Parts are made until then (microseconds).
    until: AtomicI64,
    running: AtomicBool,
    chain: Mutex<Option<Chain>>,
    vain: Mutex<Vec<Vain>>,
    changed: watch::Sender<u64>,
}

impl Default for Low {
    fn default() -> Low {
        Low {
            until: AtomicI64::new(i64::MIN),
            running: AtomicBool::new(false),
            chain: Mutex::default(),
            vain: Mutex::default(),
            changed: watch::channel(0).0,
        }
    }
}

/// A fragment that was shown and then lost.
struct Vain {
    /// The tracks whose next number is not to be given again.
    tracks: Vec<u8>,
    /// The session that it is of, if another took over meanwhile: it may still store it, under that number if it is the
    /// first that stores anything.
    left_by: Option<u64>,
}

/// A sample that was just taken.
pub(crate) struct Taken<'a> {
    pub session: u64,
    pub tracks: &'a [std::sync::Arc<Track>],
    pub sample: &'a Sample,
    pub data: &'a Bytes,
    /// It begins a fragment, which does not continue the one before if `breaks`.
    pub first: bool,
    pub breaks: bool,
    /// Its decode time may still change.
    pub unsettled: bool,
    pub received: Timestamp,
    /// The part target, in seconds.
    pub target: f64,
}

impl Low {
    /// Somebody plays with low latency: parts are made for a while, from the next fragment on.
    pub fn want(&self, now: Timestamp) {
        self.until.fetch_max((now + LINGER).micros(), Relaxed);
    }

    /// Told whenever there is more, or less.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Has all who wait look again.
    pub fn wake(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// The parts there are.
    pub fn chain(&self) -> MutexGuard<'_, Option<Chain>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session has taken a sample.
    pub fn take(&self, t: &Taken) {
        if t.received.micros() > self.until.load(Relaxed) {
            if self.running.swap(false, Relaxed) {
                self.lost();
            }
            return;
        }
        self.running.store(true, Relaxed);
        let mut chain = self.chain();
        // A session's first fragment, and what nobody wanted until its middle, has no parts.
        let c = match &mut *chain {
            Some(c) if c.session == t.session => {
                if t.first {
                    c.begin(t.tracks, t.breaks, true);
                }
                c
            }
            c => {
                let epoch = u64::try_from(t.received.micros()).unwrap_or(0);
                let epoch = c.as_ref().map_or(epoch, |old| epoch.max(old.epoch + 1));
                if let Some(old) = c.as_ref() {
                    self.add_vain(old.shown_in_vain(None), Some(old.session));
                }
                let c = c.insert(Chain::new(t.session, epoch, t.target));
                c.begin(t.tracks, t.breaks, false);
                c
            }
        };
        let new = c.unit(t.sample, t.data, t.unsettled);
        self.tell(chain, new.map(|new| new.then_some(())));
    }

    /// A session's fragment has ended. What names it in [`Low::numbered`].
    pub fn end(&self, session: u64, closed: &Closed) -> Option<u64> {
        if !self.running.load(Relaxed) {
            return None;
        }
        let mut chain = self.chain();
        let c = chain.as_mut().filter(|c| c.session == session)?;
        let ended = c.end(closed);
        self.tell(chain, ended)
    }

    fn tell<T>(
        &self,
        mut chain: MutexGuard<'_, Option<Chain>>,
        done: Result<Option<T>, media::MediaError>,
    ) -> Option<T> {
        match done {
            Ok(None) => None,
            Ok(some) => {
                drop(chain);
                self.wake();
                some
            }
            Err(e) => {
                tracing::warn!(error = %e, "parts cannot be made");
                *chain = None;
                drop(chain);
                self.wake();
                None
            }
        }
    }

    /// A fragment is about to be stored under a number.
    pub fn numbered(&self, id: Option<u64>, session: u64, number: u64) {
        if let Some(id) = id
            && let Some(c) = self.chain().as_mut().filter(|c| c.session == session)
        {
            c.numbered(id, number);
        }
    }

    /// A session's fragment has its numbers for good.
    pub fn stored(&self, id: Option<u64>, session: u64) {
        if let Some(id) = id
            && let Some(c) = self.chain().as_mut().filter(|c| c.session == session)
        {
            c.stored(id);
        }
    }

    /// Whether parts are made of a session.
    pub fn shows(&self, session: u64) -> bool {
        self.running.load(Relaxed) && self.chain().as_ref().is_some_and(|c| c.session == session)
    }

    /// A session has ended, or its fragment could not be stored: there are no parts of it any more.
    pub fn end_of(&self, session: u64, failed: Option<u64>) {
        let mut chain = self.chain();
        if let Some(c) = chain.take_if(|c| c.session == session) {
            self.add_vain(c.shown_in_vain(failed), None);
            drop(chain);
            self.wake();
        }
    }

    fn vain(&self) -> MutexGuard<'_, Vec<Vain>> {
        self.vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_vain(&self, tracks: Vec<u8>, left_by: Option<u64>) {
        if !tracks.is_empty() {
            self.vain().push(Vain { tracks, left_by });
        }
    }

    /// Takes what numbers were shown in vain since this was last asked, for a session that is about to store a fragment: of
    /// each such fragment its tracks.
    pub fn in_vain(&self, session: u64) -> Vec<Vec<u8>> {
        let all = std::mem::take(&mut *self.vain());
        all.into_iter().filter(|v| v.left_by != Some(session)).map(|v| v.tracks).collect()
    }

    /// What was taken will not be stored, or nobody wants it any more.
    pub fn lost(&self) {
        *self.chain() = None;
        self.wake();
    }
}
